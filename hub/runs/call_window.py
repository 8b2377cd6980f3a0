"""Calls of a run: which are sent next, which are awaited in vain, and whether the device is silent."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import anyio
import msgspec

from hub.base.call_coalescer import CallCoalescer
from hub.links.device_link import LATE_AFTER_S, DeviceLink, RepeatedCall, is_idempotent
from hub.runs.found_items import CallPayload
from protocol.backoff import Backoff
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
# All times begin anew with each answer of the device, of one that may not keep ids with each answer to a call
# that was sent before: it may do one call after the other. After so long a call is sent again with its id.
CALL_TIMEOUT_MS = 30_000
LOST_TIMEOUT_MS: Final = 15_000  # of the second sending of a call whose first answer was lost
# Then the run sends no further call, so that the device is free for other runs. The next run sends them, or
# takes an answer that has come on the same connection.
MAX_SILENT_MS = 90_000
# A connection loses answers if a batch has some and lacks others. A device that keeps ids gets the calls of
# this run again sooner then, each time after four times as long.
LOSSY_TIMEOUT_MS = 1_000
# Places of a run at a device that may not keep ids: those of its calls that are neither late nor lost.
MIN_PLACES, MAX_PLACES, MAX_OPEN = 2, 128, 256
# Between two sendings of a query, which shows that answers are lost.
PROBE: Final = Backoff(cap_s=2.0)


class SentCall:
    """Call of a window. *sends*: how often it was sent in this execution.

    *sent_from*, *sent_at*: moments of its first sending, which was the one of this *number* in the window,
    and of its newest. *is_passed*: a call that was sent after it was answered.

    *refusal*: the newest answer, if the device may answer differently. *is_of_whole*: nothing is missing of
    its unit. *is_marked*: its plan marked it as sent, just now. *is_withdrawn*: the task that delivers its
    unit has left, so no task of the window sends it again.
    """

    __slots__ = (
        "call",
        "is_done",
        "is_marked",
        "is_of_whole",
        "is_passed",
        "is_waiting",
        "is_withdrawn",
        "number",
        "payload",
        "refusal",
        "sends",
        "sent_at",
        "sent_from",
    )

    def __init__(self, call: OpenCall, *, is_of_whole: bool, is_marked: bool) -> None:
        self.call = call
        self.is_of_whole = is_of_whole
        self.is_marked = is_marked
        self.payload = msgspec.convert(call.payload, CallPayload)
        self.sends = 0
        self.sent_from, self.sent_at = math.inf, -math.inf
        self.number = 0
        self.refusal: ErrorBody | None = None
        self.is_waiting = True
        self.is_done = self.is_withdrawn = self.is_passed = False


class LateCalls:
    """Calls to a device that may not keep ids, which had no answer within a moment.

    They are sent again when their own time is over. A device that does one call after the other has lost its
    answer to one that it passed: that gives its place to the next call, so that many lost answers take no
    longer than one. A query, which may be done twice, is sent where nothing else can tell. One that does
    several at a time shows by its answers how long it may take for one.

    A device that is only slow has MIN_PLACES open. What has no answer when the connection ends may be done
    twice.
    """

    def __init__(self) -> None:
        self._late: list[SentCall] = []
        self._open: set[SentCall] = set()  # sent, or about to be, without an answer
        self._places = MIN_PLACES
        self._sent = self._answers = 0  # first sendings, and answers
        self._longest_s = 0.0  # until a late answer to one
        self.probes = 0  # different queries
        # First sendings and answers to them before the open query, and how often that was sent.
        self._probe: tuple[int, int, int] | None = None
        self._probed_until = -math.inf

    def next_batch(
        self, link: DeviceLink, fresh: deque[SentCall], now: float, *, is_winding_up: bool
    ) -> list[SentCall]:
        """Take late calls that are answered or whose time is over, else fresh ones, else await a late one.

        A run that winds up awaits what was sent, and sends nothing.
        """
        self._open = {call for call in self._open if not (call.is_done or call.is_withdrawn)}
        repeats = {call: link.repeat_of(call.call.call_id) for call in self._late}
        ready = {RepeatedCall.ANSWERED} if is_winding_up else {RepeatedCall.ANSWERED, RepeatedCall.SENT}
        at_once = self._places // 2
        batch = [call for call, repeat in repeats.items() if repeat in ready][:at_once]
        if not batch and not is_winding_up:
            places = min(self._places - self._taken(now), MAX_OPEN - len(self._open))
            batch = [fresh.popleft() for _ in range(min(at_once, places, len(fresh)))]
            self._open.update(batch)
        if not batch:
            batch = [call for call, repeat in repeats.items() if repeat is RepeatedCall.AWAITED][:1]
        self._late = [call for call in self._late if call not in batch]
        return batch

    @property
    def _late_s(self) -> float:
        return max(LATE_AFTER_S, 4 * self._longest_s)

    def _taken(self, now: float) -> int:
        """Return the number of open calls that give their place to no other."""
        return sum(not (call.is_passed and now - call.sent_from > self._late_s) for call in self._open)

    def put_back(self, call: SentCall, fresh: deque[SentCall]) -> None:
        """Return a call that has no answer yet, and may be unsent."""
        if call.sends:
            self._open.add(call)  # a refusal, which is an answer, took it out
            self._late.append(call)
        else:
            self._open.discard(call)
            fresh.appendleft(call)

    def note_sent(self, call: SentCall) -> None:
        """Number a call that is sent for the first time."""
        self._sent += 1
        call.number = self._sent

    def note_answer(self, call: SentCall, now: float, *, is_late: bool) -> None:
        """Note what the answer to a call tells of those that were sent before."""
        self._open.discard(call)  # its place is free before the answer is written
        self._answers += 1
        self._places = MIN_PLACES
        self._probe, self._probed_until = None, -math.inf
        # What is answered at once when it is sent again was lost before.
        if is_late and (call.sends == 1 or now - call.sent_at > 2 * LATE_AFTER_S):
            self._longest_s = max(self._longest_s, now - call.sent_from)
        self._pass(call.number)

    def _pass(self, number: int) -> None:
        for call in self._open:
            call.is_passed = call.is_passed or 0 < call.number < number

    def is_to_probe(self, fresh: Collection[SentCall], now: float) -> bool:
        """Return True if a query is to be sent now, which shows whether answers are lost."""
        unpassed = (call.sent_from for call in self._open if not call.is_passed)
        is_late = now - min(unpassed, default=now) > self._late_s
        has_place = bool(fresh) and self._taken(now) < self._places
        if has_place or not is_late or now < self._probed_until:
            return False
        sent, answers, sendings = self._probe or (self._sent, self._answers, 0)
        self.probes += self._probe is None
        self._probe = sent, answers, sendings + 1
        self._probed_until = now + PROBE.delay(sendings, 1.0)
        return True

    def note_probe(self) -> None:
        """Note that the device answered the newest query."""
        if self._probe is not None:
            sent, answers, _ = self._probe
            self._probe, self._probed_until = None, -math.inf
            self._pass(sent + 1)
            if answers == self._answers:  # it answered this alone
                self._places = min(MAX_PLACES, 2 * self._places)

    def withdraw(self) -> None:
        """Forget the calls whose tasks have left."""
        self._late = [call for call in self._late if not call.is_withdrawn]


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
        self.late: LateCalls | None = None  # None: the device keeps ids
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

    def next_batch(self, link: DeviceLink, now: float, *, is_winding_up: bool = False) -> list[SentCall]:
        """Take the next calls that fit into one frame, and no more than the device takes.

        A run that winds up sends none.
        """
        if not is_idempotent(link.capabilities):
            self.late = self.late or LateCalls()
            batch = self.late.next_batch(link, self.waiting, now, is_winding_up=is_winding_up)
            for call in batch:
                call.is_waiting = False
            return batch
        batch = []
        most = 0 if is_winding_up else most_in_batch(link)
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
            if sending.is_done or sending.is_withdrawn:
                continue
            sending.is_waiting = True
            if self.late is not None:
                self.late.put_back(sending, self.waiting)
            else:
                put = self.waiting.appendleft if sending.sends < 2 else self.waiting.append
                put(sending)

    def timeout_ms(self, call: SentCall) -> int:
        """Return how long the newest sending of a call is awaited, at most."""
        if self.is_lossy:
            return LOSSY_TIMEOUT_MS << 2 * (call.sends - 1)
        if call.sends == 1 or (call.sends == 2 and self.late is None):
            return CALL_TIMEOUT_MS
        return LOST_TIMEOUT_MS if call.sends == 2 and call.is_passed else MAX_SILENT_MS

    def note_sent(self, calls: Iterable[SentCall], now: float) -> None:
        """Note that calls are sent now."""
        for call in calls:
            call.sends += 1
            call.sent_at = now
            if call.sends == 1:
                call.sent_from = min(call.sent_from, now)
                if self.late is not None:
                    self.late.note_sent(call)

    def silent_ms(self, link: DeviceLink, now: float) -> float:
        """Return how long unanswered calls have been open since the device's last answer."""
        opened_at = min((sending.sent_from for sending in self.unanswered), default=now)
        return 1000 * (now - max(opened_at, link.answered_at))

    def note_silence(self, link: DeviceLink, outcomes: Mapping[SentCall, object], now: float) -> None:
        """Note whether the connection loses answers, and whether its device is silent."""
        answered = {sending for sending, outcome in outcomes.items() if isinstance(outcome, Answer)}
        if answered and not self.unanswered.isdisjoint(outcomes):
            self.is_lossy = self.late is None
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
            if self.late is not None:
                self.late.withdraw()

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
    if not is_idempotent(link.capabilities):
        return 1
    return MAX_BATCH_CALLS if CapabilityName.TOOL_CALLS in link.capabilities else SINGLE_CALLS
