"""Attempts of runs: their state in memory, and the classification of the error that ended one.

The decisive error of several determines the state change of the run. This is pure, except for the jitter of
waiting times.

When a device disconnects, questions sent to a model are still in flight and paid for. They get a grace period
to complete, so that they need not be asked again. Their items wait in the outbox.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVarTuple

import anyio
import msgspec
from anyio.abc import TaskGroup

from hub.base.clock import Chance
from hub.base.log import Channel
from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import ModelExhausted, ModelUnavailable
from hub.links.roster import DeviceLink
from hub.runs.asking import BatchPending, NoModel, RunAsking
from hub.runs.delivery import TableRefused, Window
from hub.runs.run_order import RunOrder
from hub.runs.sources import DeviceStalled, NotTakenOn, ReadTree, UnreadUnit
from protocol.errors import DeliveryError, DeviceOffline, ErrorCode, HubError, LinkLost
from protocol.lifecycles import RunEvent, RunOutcome, RunState, UnitState
from protocol.skipped_files import LEFT_OUT
from storage.devices.devices import NotGranted
from storage.held import StaleRun
from storage.kernel.database import Conflict, StorageError
from storage.runs.units import UnitRow

log = Channel(__name__)

RETRY_BASE_S, RETRY_CAP_S = 30.0, 3600.0
SENT_BACK_BASE_S, SENT_BACK_CAP_S = 1.0, 60.0
FULL_CAP_S = 5.0  # when the disk is full, its guard keeps the run waiting anyway


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """End of an attempt: the run is moved by *event*.

    *error*: what went wrong, if the run is tried again; a run that only waits has none. *code*: stable word
    for the reason, if it failed. *is_followed*: another run reads at once what this one left.
    """

    event: RunEvent
    reason: str | None = None
    error: str | None = None
    code: str = "run_failed"
    outcome: RunOutcome | None = None
    wait_s: float | None = None
    exhausted: ModelExhausted | None = None
    is_followed: bool = False


def ending_of(
    exc: Exception, order: RunOrder, state: RunState, chance: Chance, *, is_model_away: bool = False
) -> Ending:
    """Return how an attempt in *state* ends after the error *exc*.

    Args:
        is_model_away: True if the unavailable model answers no run at all, so the run waits for it.
    """
    match exc:
        case ModelUnavailable() if is_model_away and state is RunState.RUNNING:
            return Ending(event=RunEvent.MODEL_AWAY, reason=f"the run waits for the model: {exc}")
        case NotTakenOn(busy=True) if state is RunState.PREPARING:
            wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, SENT_BACK_CAP_S)
            return Ending(event=RunEvent.SENT_BACK, reason=str(exc), error=str(exc), wait_s=wait_s)
        case BatchPending():
            return Ending(event=RunEvent.SENT_BACK, reason=str(exc), wait_s=exc.wait_s)
        case NotTakenOn() | NoModel() | NotGranted() | TableRefused():
            code = exc.reason if isinstance(exc, NotTakenOn) else exc.code
            return Ending(event=RunEvent.FAILED, reason=str(exc), code=code, outcome=RunOutcome.ERROR)
        case ModelExhausted():
            return Ending(event=RunEvent.EXHAUSTED, reason=str(exc), exhausted=exc)
        case LinkLost() | DeviceOffline():
            return Ending(event=RunEvent.DEVICE_LOST, reason=str(exc))
        case DeliveryError() | DeviceStalled() | ModelUnavailable() | StorageError():
            is_outage = isinstance(exc, StorageError) and not isinstance(exc, Conflict)
            if state is RunState.PREPARING or is_outage:
                is_full = isinstance(exc, StorageError) and exc.trouble == "full"
                cap_s = FULL_CAP_S if is_full else SENT_BACK_CAP_S
                wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, cap_s)
                return Ending(event=RunEvent.SENT_BACK, reason=str(exc), error=str(exc), wait_s=wait_s)
            if order.attempt < order.max_attempts:
                return retried(str(exc), order, chance)
            reason = f"given up after {order.attempt} attempts: {exc}"
            return Ending(event=RunEvent.FAILED, reason=reason, code=exc.code, outcome=RunOutcome.ERROR)
        case HubError() if exc.code.startswith("unknown_"):
            reason = f"what the run uses was removed meanwhile: {exc}"
            return Ending(event=RunEvent.FAILED, reason=reason, code=exc.code, outcome=RunOutcome.ERROR)
        case _:
            log.error("run.broke", exc=wordless(exc))
            code, reason = ErrorCode.INTERNAL, f"{ErrorCode.INTERNAL}: {type(exc).__name__}"
            return Ending(event=RunEvent.FAILED, reason=reason, code=code, outcome=RunOutcome.ERROR)


def retried(reason: str, order: RunOrder, chance: Chance) -> Ending:
    """Return an ending with another attempt after a wait."""
    wait_s = _wait(chance, order.attempt - 1, RETRY_BASE_S, RETRY_CAP_S)
    return Ending(event=RunEvent.RETRIED, reason=reason, error=reason, wait_s=wait_s)


def _wait(chance: Chance, tries: int, base_s: float, cap_s: float) -> float:
    """Return the seconds before the next attempt, after *tries* earlier attempts."""
    longest: float = min(cap_s, base_s * 2.0 ** min(tries, 30))
    return longest * chance.uniform(0.5, 1.0)


# Precedence when several units fail at the same time, most severe first.
_EXPECTED: Final[tuple[type[Exception], ...]] = (
    StaleRun,
    LinkLost,
    DeviceOffline,
    DeliveryError,
    ModelExhausted,
    ModelUnavailable,
    NotTakenOn,
    NotGranted,
    NoModel,
    BatchPending,
    DeviceStalled,
    StorageError,
)


def gravest(exc: Exception) -> Exception:
    """Return the decisive error of a group; an unexpected error comes first, so that it is noticed."""
    leaves = list(_leaves(exc))
    unexpected = [leaf for leaf in leaves if not isinstance(leaf, _EXPECTED)]
    if unexpected:
        return unexpected[0]
    return min(leaves, key=lambda leaf: next(i for i, kind in enumerate(_EXPECTED) if isinstance(leaf, kind)))


def wordless(broken: Exception) -> Exception:
    """Return an error with only the type and traceback of *broken*, for logs.

    Error messages may quote parts of a document.
    """
    return RuntimeError(type(broken).__name__).with_traceback(broken.__traceback__)


def _leaves(exc: Exception) -> Iterator[Exception]:
    if isinstance(exc, ExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc


class Attempt:
    """State of one execution of a run."""

    def __init__(self, order: RunOrder, window: Window) -> None:
        self.order = order
        self.window = window
        self.state = RunState.PREPARING
        self.is_full = False  # reached the largest number of items of a run
        self.postponed: set[str] = set()  # units whose free text waits for the model
        self.unanswered: str | None = None  # why the model did not answer about one of them
        self.waiting: set[str] = set()  # units that were postponed before this visit
        self.unchanged = 0  # files of this visit that are settled since an earlier run
        self.left_out: Counter[str] = Counter()  # files of this run that are left out on purpose, by reason
        self.unlisted = 0  # of them, those without a name
        self.tree: ReadTree | None = None  # the manifest, if the visit read all of it
        self.left: UnreadUnit | None = None  # files that this visit leaves to the next runs
        self.fresh: set[str] = set()  # paths of the chosen files that no run of its fire tried
        self.unread = 0  # files beyond the largest number of items that no run of its fire tried
        self.is_broke = False  # reached the budget of a run
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
        for unit in units:
            if unit.state is UnitState.SKIPPED and unit.error is not None:
                self.leave_out(unit.error.partition(":")[0])
        self.unchanged = self.unlisted = 0
        self.tree = self.left = None

    def leave_out(self, code: str, files: int = 1) -> None:
        """Count files that are left out on purpose."""
        if code in LEFT_OUT:
            self.left_out[code] += files


class Reading(NamedTuple):
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


Parts = TypeVarTuple("Parts")


class UnitTasks:
    """Units in progress.

    Attributes:
        lost: the error that reported the loss of the device, or None.
    """

    def __init__(self, tasks: TaskGroup, grace_s: float) -> None:
        self._tasks = tasks
        self._grace_s = grace_s
        self.lost: LinkLost | DeviceOffline | None = None

    def start(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        """Start processing a unit."""
        self._tasks.start_soon(self._do, work, *parts)

    async def _do(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        try:
            await work(*parts)
        except Exception as exc:
            self.take(exc)

    def take(self, exc: Exception) -> None:
        """Record the loss of the device if *exc* reports it, else raise the error."""
        error = gravest(exc)
        if not isinstance(error, LinkLost | DeviceOffline):
            raise exc
        if self.lost is None:
            self.lost = error
            self._tasks.cancel_scope.deadline = anyio.current_time() + self._grace_s


@asynccontextmanager
async def unit_tasks(grace_s: float) -> AsyncIterator[UnitTasks]:
    """Yield a collection of units in progress; wait at the end until all units have ended.

    Args:
        grace_s: time that units have to end once the device is lost.

    Raises:
        LinkLost, DeviceOffline: the device was lost; the units have ended or were cancelled.
    """
    async with anyio.create_task_group() as tasks:
        hands = UnitTasks(tasks, grace_s)
        try:
            yield hands
        except Exception as exc:
            hands.take(exc)
    if hands.lost is not None:
        raise hands.lost
