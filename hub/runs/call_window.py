"""Calls of a run: which are sent next, which are awaited in vain, and whether the device is silent."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import anyio
import msgspec

from hub.base.call_coalescer import CallCoalescer
from hub.links.device_link import IDEMPOTENT, DeviceLink
from hub.runs.found_items import CallPayload
from protocol.capabilities import CapabilityName
from protocol.frame import MAX_BATCH_CALLS, MAX_BATCH_CHARACTERS, ErrorBody
from protocol.tool_calls import Answer
from storage.runs.calls import OpenCall
from storage.runs.items import DecidedKinds
from storage.runs.plans import UnitPlan, UnitToPlan
from storage.runs.units import AnsweredCalls, SettledCalls

BATCHES_IN_FLIGHT = 2  # per run: the hub writes the answers to one while the device writes the other's rows;
# together half of a device's limit, so that other calls get through
SINGLE_CALLS: Final = 16  # in a batch of a device that takes one call in a frame; old ones have 64 at most
_CHARACTERS_AROUND: Final = 1_000  # of a call beside its payload: ids, names, numbers
# All times begin anew with each answer of the device: it may do one call after the other. After so long a
# call is sent again with its id.
CALL_TIMEOUT_MS = 30_000
# Then the run sends no further call, so that the device is free for other runs. The next run sends them, or
# takes an answer that has come on the same connection.
MAX_SILENT_MS = 90_000
# A connection loses answers if a batch has some and lacks others. A device that keeps ids gets the calls of
# this run again sooner then, each time after four times as long.
LOSSY_TIMEOUT_MS = 2_000


class SentCall:
    """Call of a window. *sends*: how often it was sent in this execution, first at the moment *sent_from*.

    *refusal*: the newest answer, if the device may answer differently. *is_of_whole*: nothing is missing of
    its unit. *is_marked*: its plan marked it as sent, just now. *is_withdrawn*: the task that delivers its
    unit has left, so no task of the window sends it again.
    """

    __slots__ = (
        "call",
        "is_done",
        "is_marked",
        "is_of_whole",
        "is_waiting",
        "is_withdrawn",
        "payload",
        "refusal",
        "sends",
        "sent_from",
    )

    def __init__(self, call: OpenCall, *, is_of_whole: bool, is_marked: bool) -> None:
        self.call = call
        self.is_of_whole = is_of_whole
        self.is_marked = is_marked
        self.payload = msgspec.convert(call.payload, CallPayload)
        self.sends = 0
        self.sent_from = math.inf
        self.refusal: ErrorBody | None = None
        self.is_waiting = True
        self.is_done = self.is_withdrawn = False

    def timeout_ms(self, *, is_lossy: bool) -> int:
        """Return how long the next sending is awaited, at most."""
        if is_lossy:
            return LOSSY_TIMEOUT_MS << 2 * self.sends
        return CALL_TIMEOUT_MS if self.sends < 2 else MAX_SILENT_MS


class Window:
    """Calls of one execution of a run: those that wait to be sent, and room for those under way.

    It has an upper bound on the number of the run's calls too, since no other process plans calls of the run.

    All units of the run share it. A task of a unit that has unanswered calls sends and settles the next batch
    when there is room, whatever units its calls are of. So there is no task for each call.
    """

    def __init__(
        self,
        plans: CallCoalescer[Callable[[], UnitToPlan], UnitPlan],
        settles: CallCoalescer[AnsweredCalls, SettledCalls],
    ) -> None:
        self.plans = plans
        self.settles = settles
        self.room = BATCHES_IN_FLIGHT
        self.waiting: deque[SentCall] = deque()
        self.is_lossy = False  # the connection loses answers of a device that keeps ids
        self.silent_link: DeviceLink | None = None  # its device has answered no call for MAX_SILENT_MS
        self.unanswered: set[SentCall] = set()  # open calls that were awaited in vain
        self.done: set[str] = set()  # keys of units that were settled with their calls
        self.changed = anyio.Event()
        self._planned: int | None = None  # calls of units whose plans are written; None: not known
        self._in_plans = 0  # items of plans that are being written
        self.decided: DecidedKinds | None = None  # as its owner had decided when the first plan needed it

    @property
    def planned_at_most(self) -> int | None:
        """Upper bound on the number of calls that the run has planned; None: it is not known."""
        return None if self._planned is None else self._planned + self._in_plans

    @contextmanager
    def planning(self, items: int) -> Iterator[None]:
        """Count that many items as planned in the block, which writes their plan.

        They are counted for good after an error or a cancellation: the plan may be written all the same.
        """
        self._in_plans += items
        yield
        self._in_plans -= items

    def note_plan(self, plan: UnitPlan) -> None:
        """Count the calls of a plan that was written."""
        before = self._planned if plan.planned_before is None else plan.planned_before
        if before is not None:
            # Others may have been written since the plan counted the calls before it.
            self._planned = max(before, self._planned or 0) + plan.calls

    def next_batch(self, link: DeviceLink) -> list[SentCall]:
        """Take the next calls that fit into one frame: at least one, and no more than the device takes."""
        batch: list[SentCall] = []
        most = most_in_batch(link)
        room = MAX_BATCH_CHARACTERS
        while self.waiting and len(batch) < most:
            if batch and (batch[0].sends == 0) != (self.waiting[0].sends == 0):
                break  # repeated alone, so that a fresh call that is lost does not hold up its answer
            room -= _characters(self.waiting[0])
            if room < 0 and batch:
                break
            batch.append(self.waiting.popleft())
            batch[-1].is_waiting = False
        return batch

    def put_back(self, batch: Sequence[SentCall]) -> None:
        """Return the unanswered calls of a batch to those that wait, apart from those withdrawn meanwhile.

        What was sent twice waits behind the others: a device may answer all calls but some.
        """
        for sending in reversed(batch):
            if not (sending.is_done or sending.is_withdrawn):
                sending.is_waiting = True
                put = self.waiting.appendleft if sending.sends < 2 else self.waiting.append
                put(sending)

    def silent_ms(self, link: DeviceLink, now: float) -> float:
        """Return how long unanswered calls have been open since the device's last answer."""
        opened_at = min((sending.sent_from for sending in self.unanswered), default=now)
        return 1000 * (now - max(opened_at, link.answered_at))

    def note_silence(self, link: DeviceLink, outcomes: Mapping[SentCall, object], now: float) -> None:
        """Note whether the connection loses answers, and whether its device is silent."""
        answered = {sending for sending, outcome in outcomes.items() if isinstance(outcome, Answer)}
        if answered and not self.unanswered.isdisjoint(outcomes):
            self.is_lossy = not IDEMPOTENT.isdisjoint(link.capabilities)
        self.unanswered -= answered
        if self.silent_ms(link, now) >= MAX_SILENT_MS:
            self.silent_link = link

    def withdraw(self, calls: Collection[SentCall]) -> None:
        """Mark the calls of a task that leaves. Another task may hold some of them in its batch."""
        self.unanswered.difference_update(calls)
        for sending in calls:
            sending.is_withdrawn = True
        if any(sending.is_waiting and not sending.is_done for sending in calls):
            self.waiting = deque(sending for sending in self.waiting if not sending.is_withdrawn)

    def notify(self) -> None:
        """Wake all tasks that wait for a change."""
        self.changed.set()
        self.changed = anyio.Event()


def _characters(sending: SentCall) -> int:
    """Return a bound on the characters of a call as JSON."""
    return _CHARACTERS_AROUND + len(msgspec.json.encode(sending.payload).decode())


def most_in_batch(link: DeviceLink) -> int:
    """Return the number of calls that the device takes at once.

    It is 1 for a device that may not keep ids: each answer is stored at once, so that the end of a connection
    leaves few calls that may have been done.
    """
    if IDEMPOTENT.isdisjoint(link.capabilities):
        return 1
    return MAX_BATCH_CALLS if CapabilityName.TOOL_CALLS in link.capabilities else SINGLE_CALLS
