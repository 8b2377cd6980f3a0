"""Interface of a target of approved rows. Fields are texts by column, as an owner types them."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from hub.text.rows.row import Fields, Put, Shape, TargetFailed, shape_of
from protocol.calls import PlaceProblem
from protocol.errors import HubError
from protocol.places import FoundCalendar
from protocol.similar_names import did_you_mean
from protocol.tables import DeviceTable

__all__ = ["Fields", "Found", "Put", "Shape", "Target", "TargetFailed", "shape_of", "target_of_package"]

GROUP: Final = "hub.sinks"  # entry points


class Found(NamedTuple):
    """Row as a target has it.

    Attributes:
        fields: the columns that the target expresses; others are unknown, not empty.
        place: the file or resource that has it.
        at_ms: when the place was last changed.
        former: the fields if a former release wrote them, where words are spelled in another way since.
        line: the number of its line, where a place has lines.
        source: the text from which the fields are parsed. While it and the row of the device are as they were
            recorded, the fields are not used. Empty: they are always used.
        is_by_others: it is in a clipped page, an invitation or a quotation, so that it is not the row.
    """

    fields: Fields
    place: str
    at_ms: int
    former: Mapping[str, str] = {}
    line: int = 0
    source: str = ""
    is_by_others: bool = False


class Snapshot(NamedTuple):
    """State of a target.

    Attributes:
        found: the rows by key.
        missing: places that are not there, or have no content.
        contents: the bytes of each file; None for a missing one.
        tables: the tables of all keys.
        unreadable: why a row is not in *found* though it is there, by its key or its place.
        agreed: place and matter of each ``Unconfirmed`` that the owner has agreed to.
        copies: all lines of each key that is on several ones; the first is also in *found*.
        strays: lines of others with the key of a row that is nowhere else.
        note: called before a file is exchanged for one with these rows, with the inode of the new file, which
            is left if that fails.
    """

    found: Mapping[str, Found]
    missing: Collection[str]
    contents: Mapping[str, bytes | None]
    tables: Mapping[str, DeviceTable]
    unreadable: Mapping[str, str] = {}
    agreed: Collection[tuple[str, str]] = ()
    copies: Mapping[str, Sequence[Found]] = {}
    strays: Mapping[str, Found] = {}
    note: Callable[[Sequence[Put], int], None] = lambda puts, inode: None


Written = Found | TargetFailed | None  # None: not tried, after refusals of other rows


class TargetChanged(TargetFailed):
    """Target, or row, that another program changed since it was read; nothing was written."""

    why = PlaceProblem.BUSY


class WrongPlace(TargetFailed):
    """Place of another kind than the settings say; the message names the right one if it is known.

    *others*: the right ones; *tables*: those whose rows this place takes; *short*: the message without both.
    """

    why = PlaceProblem.WRONG

    def __init__(
        self,
        message: str,
        others: Sequence[FoundCalendar] = (),
        tables: Sequence[str] = (),
        short: str = "",
    ) -> None:
        super().__init__(message)
        self.others, self.tables, self.short = others, tables, short or message


class Unconfirmed(TargetFailed):
    """Write that changes more than rows, and waits until the owner of the device agrees to it.

    *place*, *matter*: what the owner agrees to.
    """

    why = PlaceProblem.UNCONFIRMED

    def __init__(self, place: str, matter: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place, self.matter = place, matter


class Target(Protocol):
    """Target of approved rows. All methods block.

    A package offers targets of its own: an entry point of the group ``hub.sinks`` names a function that makes
    one of the options in device.toml.
    """

    def fresh_place(self, now: datetime) -> str:
        """Return the place of a new row."""

    def owns(self, place: str) -> bool:
        """Return True if a place is one of this target, as its settings are now."""

    def link(self, place: str, key: str) -> str:
        """Return the http address at which people find the row of a key; empty if there is none."""

    def expressed(self, table: DeviceTable, fields: Fields) -> Fields:
        """Return the fields that ``read`` returns after ``write`` wrote *fields*.

        Raises:
            TargetFailed: the target cannot express this row.
        """

    def examine(self, place: str, tables: Collection[DeviceTable], agreed: Collection[str]) -> None:
        """Check that a place can have rows of *tables*, before the first one is written to it.

        Targets without this method are not examined.

        Args:
            agreed: the matters of ``Unconfirmed`` about this place that the owner has agreed to.

        Raises:
            WrongPlace: it is a place of another kind.
            Unconfirmed: the owner has to agree first.
            TargetFailed: it cannot be examined now.
        """

    def stamp(self, places: Collection[str]) -> Hashable:
        """Return a value that differs once these places have changed; it costs little."""

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        """Return the rows of the keys of *tables* at these places.

        Raises:
            TargetFailed: the target cannot be read.
        """

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        """Write rows, replacing those with the same key, and remove others, in this order.

        Return those, by key, that have another place, or other fields, which the next synchronization writes,
        unless they have a source: that is what the target made of the row, and stays;
        the error of each row that the target refuses, unlike others; and None for rows that were not tried.

        Raises:
            TargetChanged: the target is not as in *snapshot*.
            TargetFailed: the target cannot be written.
        """


@runtime_checkable
class SearchingTarget(Target, Protocol):
    """Target whose rows people and programs move to other places, where they are searched."""

    def search(self, snapshot: Snapshot, lost: Mapping[str, str], others: Collection[str]) -> Snapshot:
        """Return the snapshot with those rows of *lost* that are at places near this target.

        Args:
            lost: the last place of this target that each row had, by key.
            others: places of other sinks, which have rows with the same keys.
        """

    def was_searched(self, keys: Collection[str]) -> bool:
        """Return True if the last search was for *keys*, too, and the places that it read are unchanged."""


def is_archived(target: Target, place: str, fields: Fields) -> bool:
    """Return True for a done row at a place that is none of the target's: such an archive is not written."""
    return not target.owns(place) and fields.get("status") == "done"


def target_of_package(provider: str, options: Mapping[str, Any]) -> Target:
    """Return the target that an installed package registers as *provider*.

    Raises:
        HubError: no package does, or it refuses the options.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if provider not in points:
        hint = did_you_mean(provider, points) or "install its package beside the hub"
        raise HubError(f"no package offers the sink {provider!r}; {hint}")
    try:
        target: Target = points[provider].load()(dict(options))
    except Exception as error:
        raise HubError(f"the sink {provider!r} cannot be used: {error}") from error
    return target
