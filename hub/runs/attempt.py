"""State in memory of a run that is executing."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.links.device_link import DeviceLink
from hub.runs.asking import RunAsking
from hub.runs.call_window import Window
from hub.runs.run_order import RunOrder
from hub.runs.sources import PathListing, ReadTree, UnreadUnit
from protocol.lifecycles import RunState, UnitState
from protocol.skipped_files import LEFT_OUT
from storage.runs.items import ItemRow, source_of
from storage.runs.run_moves import FollowUp
from storage.runs.units import UnitRow, unread_languages


class Attempt:
    """State of one execution of a run."""

    def __init__(self, order: RunOrder, window: Window) -> None:
        self.order = order
        self.window = window
        self.state = RunState.PREPARING
        self.is_full = False  # reached the largest number of items of a run
        self.postponed: set[str] = set()  # units whose free text waits for the model
        self.unanswered: dict[str, str] = {}  # why the model was asked about some of them in vain
        self.waiting: set[str] = set()  # units that were postponed before this visit
        self.unchanged = 0  # files of this visit that are settled since an earlier run
        self.left_out: Counter[str] = Counter()  # files of this run that are left out on purpose, by reason
        self.unlisted = 0  # of them, those without a name
        self.unread_languages: Counter[str] = Counter()  # files of this run, by a language that is not read
        self.tree: ReadTree | None = None  # the manifest, if the visit read all of it
        self.left: UnreadUnit | None = None  # files that this visit leaves to the next runs
        self.fresh: set[str] = set()  # paths of the chosen files that no run of its fire tried
        self.listing = PathListing()  # of the newest visit
        self.unread = 0  # files beyond the largest number of items that no run of its fire tried
        self.is_broke = False  # reached the budget of a run
        self.follow_up: FollowUp | None = None  # queued already, as messages are left
        # only for a run that reads a mailbox, while its device is connected
        self.link: DeviceLink | None = None

    def begin_listing(self, units: Iterable[UnitRow]) -> None:
        """Prepare for a listing of the device's files.

        Args:
            units: units that the run has from earlier visits.
        """
        units = list(units)
        self.waiting = {unit.unit_key for unit in units if unit.state is UnitState.PENDING}
        self.left_out.clear()
        self.unread_languages = unread_languages(units)
        for unit in units:
            if unit.state is UnitState.SKIPPED and unit.error is not None:
                self.leave_out(unit.error.partition(":")[0])
        self.unchanged = self.unlisted = 0
        self.listing = PathListing()
        self.tree = self.left = None

    def lacks(self, link: DeviceLink | None, own: str, item: ItemRow) -> bool:
        """Return True if the file of an item is not offered any more, as far as the run can know.

        Its shared folder is not there any more, or the listing of the item's own agent lacks the path.

        Args:
            own: shared folder of a file that is read.
        """
        folder = source_of(item.unit_key)
        if link is None or not folder or not link.roots or "~" in link.roots:
            return False
        alike = [root for root in link.roots if _is_name_of(folder, root)]
        if not alike or (len(alike) == 1 and own != folder and _is_name_of(own, alike[0])):
            return True
        return item.agent_id == self.order.agent_id and self.listing.lacks(item.unit_key)

    def leave_out(self, code: str, files: int = 1) -> None:
        """Count files that are left out on purpose."""
        if code in LEFT_OUT:
            self.left_out[code] += files


def _is_name_of(name: str, root: str) -> bool:
    """Return True if a shared folder at *root* may have this name: its own, or with its parent."""
    base = root.rpartition("/")[2]
    return name == base or name.startswith(f"{base} (")


class DocumentReading(NamedTuple):
    """A document that is being read.

    Attributes:
        link: link to the unit's device, or None if it is not connected.
        read_at: when the document was read, in epoch milliseconds.
        message: the mailbox message of the document; None for a file.
    """

    link: DeviceLink | None
    asking: RunAsking
    extraction_config: ExtractionOptions
    document: Document
    read_at: int
    message: Message | None = None  # of a mailbox
