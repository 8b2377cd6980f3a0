"""Delivery of items to a device: batches, retries, refused tables; excerpts for the review.

The plan of a unit is committed before its first call is sent. A call is repeated with the same id until it is
answered, in this run or after a restart. The device stores answer and row in one transaction. So each item is
inserted exactly once, despite crashes on either side.

The extracted parts of a file are kept if other parts could not be extracted. The file still counts as failed,
so that the failure is reported and the next run reads the file again. Questions that are already answered
cost nothing then.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from hub.accounts.sealing_keys import BadKeys, Keyring, KeyStore, NotOpened
from hub.base.call_coalescer import CallCoalescer
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.name_lists import often
from hub.base.toml.limits import Limits
from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import Extraction, Notes
from hub.links.device_link import ALWAYS_ACTIONS, LATE_AFTER_S, DeviceLink, RepeatedCall
from hub.runs.call_window import BATCHES_IN_FLIGHT, MAX_SILENT_MS, LateCalls, SentCall, Window, most_in_batch
from hub.runs.found_items import CallPayload, found_items, frame_of
from hub.runs.interrupt import Interrupt
from hub.runs.matching import decide
from hub.runs.owner_opinions import are_certain, tiered
from hub.runs.run_order import RunOrder
from hub.text.excerpt import Excerpt, Excerpts
from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.errors import (
    CATALOGUE,
    CallInWork,
    CallTimedOut,
    DeliveryError,
    DeviceSlow,
    ErrorCode,
    HubError,
    LinkLost,
    TooManyCalls,
)
from protocol.frame import ErrorBody
from protocol.ids import CallId
from protocol.lifecycles import CallEvent, RunState
from protocol.tables import DeviceTable, TableName, Tables
from protocol.tool_calls import Action, Answer, ToolCall
from storage.kernel.database import Conflict, StorageError
from storage.runs import plans
from storage.runs.calls import CallAnswer, OpenCall, mark_sent
from storage.runs.excerpts import SealedExcerpt, find_excerpts
from storage.runs.items import DecidedKinds, ItemRow, decided_kinds
from storage.runs.plans import ItemCaps, PlannedMessage, Seal, UnitPlan, UnitToPlan
from storage.runs.units import AnsweredCalls, SettledCalls, settle_answers
from storage.store import Connection, Store

log = Channel(__name__)

PartT = TypeVar("PartT")
OutcomeT = TypeVar("OutcomeT")
MAX_UNITS: Final = 64  # planned in one transaction
MAX_ITEMS: Final = 1_000  # likewise, unless one unit has more
# So long, plans wait for texts that rules or a model are reading, and settled calls for the other batches
# under way. What comes alone waits for nothing.
MAX_PLAN_WAIT_S, MAX_SETTLE_WAIT_S = 0.05, 0.01


class ExcerptSeals:
    """Seals excerpts by the keys of this node, and opens them."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def of(self, document: Document) -> Seal:
        """Return a function that seals the excerpt of an item of a document; None without a usable key."""
        excerpts = Excerpts(document.text)
        ring: Keyring | None = None

        def seal(item: ItemRow) -> SealedExcerpt | None:
            nonlocal ring
            source = item.source or {}
            if item.unit_key != document.unit_key or source.get("sha256") != document.content_hash:
                return None  # of another text
            try:
                ring = ring or self._keys.ring_now()
            except BadKeys as error:
                log.warning("excerpt.not_sealed", why=str(error))
                return None
            is_alone = not source["quote"]  # the quote of a message is only here
            around = excerpts.around(source["start"], source["end"], has_quote=is_alone)
            key_id, sealed = ring.seal(around, row=item.id, owner=item.id)
            return SealedExcerpt(item.id, key_id, sealed)

        return seal

    def open(self, sealed: Mapping[str, SealedExcerpt]) -> dict[str, Excerpt]:
        """Return those of these excerpts, by item, that this node can open."""
        opened: dict[str, Excerpt] = {}
        for id, found in sealed.items():
            try:
                ring = self._keys.ring_now()
                opened[id] = ring.open(found.sealed, Excerpt, row=id, owner=id, key_id=found.key_id)
            except (BadKeys, NotOpened) as error:
                log.warning("excerpt.not_opened", item_id=id, why=str(error))
        return opened

    def with_quotes(self, c: Connection, rows: Sequence[ItemRow]) -> list[ItemRow]:
        """Return items with the quotes of messages in their sources, if these can be opened."""
        lacking = [row.id for row in rows if row.source is not None and not row.source["quote"]]
        excerpts = self.open(find_excerpts(c, lacking))
        return [
            msgspec.structs.replace(row, source={**row.source, "quote": words_of(row, excerpts[row.id])[0]})
            if row.source is not None and row.id in excerpts
            else row
            for row in rows
        ]


def words_of(row: ItemRow, excerpt: Excerpt | None) -> tuple[str | None, Excerpt | None]:
    """Return the quote of an item, and the lines around it, which have the quote of a message."""
    source = row.source or {}
    if excerpt is None or source["quote"]:
        return source.get("quote"), excerpt
    length = source["end"] - source["start"]
    rest = excerpt.after[length:]
    return excerpt.after[:length], msgspec.structs.replace(excerpt, after=rest)


MAX_SENDS = 5  # afterwards the effect is unknown and a person must check
SLOW_DEVICE_WAIT_S = 0.5  # within seconds the write buffer drains, or the connection is cut
# backoff between attempts of a call that the device refused temporarily
REFUSED_BASE_S, REFUSED_CAP_S = 0.5, 30.0
_MANY_ITEMS: Final = 100  # takes about 20 ms
NOT_READ: Final = (
    "it was not read: the run has brought as many items as one may (items_per_run of [limits]); "
    "the next run goes on with it"
)
_NEXT: Final = {
    "items_per_file": "; raise it, or split the file",
    "items_per_run": "; the next run brings them",
}
POSTPONED: Final = "what no rule reads in it waits for the model"
_TABLE_TOOLS: Final = tuple(CAPABILITY_OF[action] for action in ALWAYS_ACTIONS)


class ItemDelivery:
    """Plans and delivers the items of a run to its device."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        limits: Limits,
        seals: ExcerptSeals,
        max_sends: int = MAX_SENDS,
    ) -> None:
        self._store = store
        self._seals = seals
        self._clock = clock
        self._metrics = metrics
        self._max_sends = max_sends
        self.limits = limits
        window = self._new_window()
        self._plans, self._settles = window.plans, window.settles

    def window(self) -> Window:
        """Return the window of an execution of a run.

        Runs share their writes only where no other hub can hold rows of one of them, which the others await.
        """
        return self._new_window() if self._store.is_shared else Window(self._plans, self._settles)

    def _new_window(self) -> Window:
        return Window(
            CallCoalescer(self._plan_all, max_items=MAX_UNITS, is_whole=True, max_wait_s=MAX_PLAN_WAIT_S),
            CallCoalescer(self._settle_all, max_items=MAX_UNITS, is_whole=True, max_wait_s=MAX_SETTLE_WAIT_S),
        )

    async def _plan_all(self, made: Sequence[Callable[[], UnitToPlan]]) -> list[UnitPlan | HubError]:
        """Plan units in few transactions, of ``MAX_ITEMS`` items each if no unit has more."""
        units = [make() for make in made]
        outcomes: list[UnitPlan | HubError] = []
        while left := units[len(outcomes) :]:
            sums = accumulate(len(unit.found) for unit in left)
            fitting = sum(items <= MAX_ITEMS for items in sums)
            outcomes += await self._write_together(plans.plan_units, left[: max(1, fitting)])
        return outcomes

    async def _settle_all(self, batches: Sequence[AnsweredCalls]) -> list[SettledCalls | HubError]:
        return await self._write_together(settle_answers, batches)

    async def _write_together(
        self, write: Callable[[Connection, Sequence[PartT]], list[OutcomeT]], parts: Sequence[PartT]
    ) -> list[OutcomeT | HubError]:
        """Write parts in one transaction. If it fails, write each alone, so that a bad one fails alone."""
        try:
            return [*await self._store.write(write, parts)]
        except Exception as error:
            is_away = isinstance(error, StorageError) and not isinstance(error, Conflict)
            if is_away or len(parts) == 1:
                return [error] * len(parts)  # type: ignore[list-item]
        return [outcome for part in parts for outcome in await self._write_together(write, [part])]

    async def plan(
        self,
        link: DeviceLink | None,
        order: RunOrder,
        document: Document,
        found: Extraction,
        *,
        window: Window,
        read_at: int,
        message: Message | None = None,
        is_absent: Callable[[ItemRow], bool] | None = None,
    ) -> UnitPlan:
        """Commit the calls to be sent for a document: items that are new or have changed. Sends nothing.

        A document without calls is settled at once, if nothing of it is missing.

        Args:
            link: None if the device is disconnected; its capabilities are unknown then, so no row is updated.
            window: of the run; the calls are marked as sent if it can send them next.
            read_at: when the document's text was read, in epoch milliseconds.
            message: the mail message that the document comes from; it is recorded as read.
            is_absent: returns True for an item whose own file is not offered any more.

        Raises:
            StaleRun: another process has taken over the run; nothing was written.
            Conflict: a run that has not ended owns one of the calls; nothing was written.
        """
        timezone = order.settings.timezone
        if window.decided is None and not are_certain(found.items):
            window.decided = await self._store.read(decided_kinds, order.agent_id)
        found, tiers = tiered(document, found, window.decided or DecidedKinds())
        # Many items are looked up in a thread, to keep the event loop responsive.
        build = partial(found_items, document, found.items, timezone, order.tables, tiers.unsure)
        items = build() if len(found.items) < _MANY_ITEMS else await anyio.to_thread.run_sync(build)
        decision = partial(
            decide,
            found=items,
            document=document,
            with_quotes=message is None,  # no part of a mail is stored, but sealed until the verdict
            timezone=timezone,
            learns=order.settings.learn,
            can_update=link is not None and can_update(link.capabilities),
            is_absent=is_absent if message is None else None,
        )
        notes = found.notes
        if message is not None and document.unit_key != message.key and not document.event:
            notes = msgspec.structs.replace(notes, shared_message_id=1)
        unit = UnitToPlan(
            held=order.held(RunState.RUNNING),
            unit_key=document.unit_key,
            content_hash=document.content_hash,
            size_bytes=len(document.text),
            found=items,
            decide=decision,
            began_at=document.began_at,
            read_at=read_at,
            notes=msgspec.to_builtins(notes),
            caps=ItemCaps(self.limits.items_per_file, self.limits.items_per_run),
            planned_at_most=window.planned_at_most,
            is_whole=missing_of(notes) is None and not notes.awaits_model,
            seal=self._seals.of(document),
            message=None if message is None else _planned_message(message, document),
            at=now_ms(self._clock),
        )
        with window.planning(len(items)):
            plan = await window.plans.run(partial(_with_room, unit, window, link))
            window.note_plan(plan)
        self._metrics.items_known.inc(plan.known)
        for cap in plan.left_out:
            self._metrics.limits_reached.labels(cap).inc()
        return plan

    async def deliver(
        self,
        link: DeviceLink,
        order: RunOrder,
        calls: Sequence[OpenCall],
        window: Window,
        interrupt: Interrupt,
        *,
        is_whole: bool = False,
        marked: int = 0,
    ) -> bool:
        """Send every call until it is answered, refused or sent MAX_SENDS times, or the device is silent.

        Return True if all calls were settled. Once the run is winding up, no further call is sent, and calls
        in flight are awaited.

        Args:
            window: of the whole run; notes in ``done`` if the unit was settled too.
            is_whole: nothing is missing of the unit of the calls.
            marked: so many calls, the first ones, are marked as sent by their plan.

        Raises:
            LinkLost: the connection ended; unanswered calls stay open.
            StaleRun: another process has taken over the run.
        """
        # Behind others, they may be settled before they are sent.
        if window.room == 0 or not all(sending.is_marked for sending in window.waiting):
            marked = 0
        mine = [
            SentCall(call, is_of_whole=is_whole, is_marked=number < marked)
            for number, call in enumerate(calls)
        ]
        window.waiting.extend(mine)
        try:
            await anyio.lowlevel.checkpoint()  # calls of units that were planned with this one
            while left := [sending for sending in mine if not sending.is_done]:
                now, winds_up = self._clock.monotonic(), interrupt.is_winding_up
                if window.room and (batch := window.next_batch(link, now, is_winding_up=winds_up)):
                    await self._send_next(link, order, window, batch, interrupt)
                elif interrupt.is_winding_up and all(sending.is_waiting for sending in left):
                    return False
                else:
                    await window.changed.wait()
                for sending in left:  # time has passed: those that still wait may be settled meanwhile
                    sending.is_marked = False
            return True
        finally:
            window.withdraw(mine)

    async def _send_next(
        self,
        link: DeviceLink,
        order: RunOrder,
        window: Window,
        batch: Sequence[SentCall],
        interrupt: Interrupt,
    ) -> None:
        """Send a batch and those after it, as long as all calls are answered."""
        left = batch
        try:
            while left:
                window.room -= 1
                try:
                    left, following = await self._send(link, order, window, left, interrupt)
                finally:
                    window.room += 1
                    window.notify()
                if following:
                    batch = left = following
                elif any(sending.refusal is not None for sending in left):
                    sends = max(sending.sends for sending in left)
                    await self._clock.sleep(min(REFUSED_CAP_S, REFUSED_BASE_S * 2.0 ** (sends - 1)))
                else:
                    break
        finally:
            window.put_back(batch)
            window.notify()

    async def _send(
        self,
        link: DeviceLink,
        order: RunOrder,
        window: Window,
        batch: Sequence[SentCall],
        interrupt: Interrupt,
    ) -> tuple[list[SentCall], list[SentCall]]:
        """Send calls once, or await those that were sent, and settle those that are answered for good.

        Returns:
            The others; if there are none, the next batch: its calls are marked as sent with these answers.
        """
        given_up = self._given_up(batch, window, link)
        window.unanswered.difference_update(given_up)
        settled = [_unknown(call) for call in given_up]
        may_send = [sending for sending in batch if sending not in given_up]
        answers = await self._answers_to(may_send, link, order, window, interrupt)
        left: list[SentCall] = []
        done = list(given_up)
        lost: LinkLost | None = None
        for sending, answer in answers.items():
            if isinstance(answer, LinkLost):  # it ends each task of the window, and counts for none of them
                sending.sends -= 1
                left.append(sending)
                lost = answer
            elif isinstance(answer, DeliveryError):
                sending.refusal = None
                window.unanswered.add(sending)
                left.append(sending)
            elif may_change(answer):
                sending.refusal = answer.error
                left.append(sending)
            else:
                stored = None if order.settings.mailbox is None else _without_quote(sending.call.payload)
                settled.append(_settled(sending, answer, link.epoch, order.tables, stored))
                done.append(sending)
            if window.late is not None and isinstance(answer, Answer):
                is_late = sending in window.unanswered
                window.late.note_answer(sending, self._clock.monotonic(), is_late=is_late)
        if window.unanswered:
            window.note_silence(link, answers, self._clock.monotonic())
        goes_on = bool(settled) and not left and not interrupt.is_winding_up
        following = window.next_batch(link, self._clock.monotonic()) if goes_on else []
        try:
            over = self._given_up(following, window, link)
            sent = [sending for sending in following if sending not in over]
            await self._settle(order, window, done, settled, sent)
        except BaseException:
            window.put_back(following)
            raise
        if lost is not None:
            raise lost
        return [sending for sending in left if not sending.is_withdrawn], following

    async def _answers_to(
        self,
        batch: Sequence[SentCall],
        link: DeviceLink,
        order: RunOrder,
        window: Window,
        interrupt: Interrupt,
    ) -> dict[SentCall, Answer | DeliveryError]:
        """Send those calls of a batch that are to be sent, and await all but those that were settled before.

        Return for each the device's answer, CallTimedOut or LinkLost.
        """
        fresh = counted = batch
        if window.late is not None:
            fresh = [sending for sending in batch if _is_to_send(sending, link)]
            # What was planned anew is marked, too, if an earlier run sent it on this connection.
            counted = [sending for sending in batch if sending in fresh or not sending.sends]
        await self._mark(order, counted)
        sent = [sending for sending in counted if not sending.is_done]
        window.note_sent(sent, self._clock.monotonic())
        if not fresh and window.late is not None and not interrupt.is_winding_up:
            await self._probe(link, order, window.late, window.waiting)
        asked = [sending for sending in batch if not sending.is_done]
        # What is awaited for long holds up no answer of the others.
        with window.settles.expected() if fresh else nullcontext():
            return dict(zip(asked, await self._ask(link, order, window, asked), strict=True))

    async def _mark(self, order: RunOrder, batch: Sequence[SentCall]) -> None:
        """Mark calls as sent, except for those that their plan or the answers before have marked."""
        # Committed before the send: SENT only means that a call may have been sent.
        unmarked = [sending for sending in batch if not sending.is_marked]
        for sending in batch:
            sending.is_marked = False
        if unmarked:
            ids = [sending.call.call_id for sending in unmarked]
            held = order.held(RunState.RUNNING)
            marked = await self._store.write(mark_sent, held, ids, at=now_ms(self._clock))
            for sending in unmarked:  # the owner rejected the others meanwhile
                sending.is_done = sending.call.call_id not in marked

    def _given_up(self, calls: Sequence[SentCall], window: Window, link: DeviceLink) -> Sequence[SentCall]:
        """Return the calls that are not sent any more, and have no answer that is there or awaited."""
        if link is window.silent_link:
            return calls
        return [call for call in calls if call.sends >= self._max_sends and _is_to_send(call, link)]

    async def _probe(
        self, link: DeviceLink, order: RunOrder, late: LateCalls, fresh: Collection[SentCall]
    ) -> None:
        """Ask a device that is late for a row, if it is time: it may answer that, and have lost an answer."""
        if late.is_to_probe(fresh, self._clock.monotonic()):
            frame = ToolCall(
                id=CallId(f"{order.run_id}:late:{late.probes}"),
                action=Action.QUERY,
                table=TableName.TASKS,
                where={"isApproved": 1},
                limit=1,
                deadline_ms=math.ceil(1000 * LATE_AFTER_S),
            )
            # After a stall, this one is due before the task of the one before has seen its time-out.
            with suppress(CallTimedOut, DeviceSlow, TooManyCalls, CallInWork):
                await link.call(frame)
                late.note_probe()

    async def _ask(
        self, link: DeviceLink, order: RunOrder, window: Window, batch: Sequence[SentCall]
    ) -> list[Answer | DeliveryError]:
        """Return for each call the device's answer, CallTimedOut or LinkLost."""
        silent_ms = window.silent_ms(link, self._clock.monotonic())
        left_ms = max(0, math.ceil(MAX_SILENT_MS - silent_ms))
        frames = [
            frame_of(
                sending.call.call_id,
                sending.call.table,
                sending.payload,
                run_id=order.run_id,
                agent_id=order.agent_id,
                deadline_ms=min(left_ms, window.timeout_ms(sending)),
            )
            for sending in batch
        ]
        answers: dict[str, Answer | DeliveryError] = {}
        while frames:
            try:
                outcomes = await link.call_many(frames)
            except (DeviceSlow, TooManyCalls, CallInWork):
                outcomes = []
            except LinkLost as error:  # some of the calls may have been answered before
                outcomes = [error] * len(frames)
            unsent = frames[len(outcomes) :]
            for frame, outcome in zip(frames, outcomes, strict=False):
                if isinstance(outcome, DeviceSlow):
                    unsent.append(frame)
                else:
                    answers[frame.id] = outcome
            frames = unsent
            if frames:
                # No attempt is counted: the device reads on, a verdict on the item has brought it, or the
                # connection ends.
                await self._clock.sleep(SLOW_DEVICE_WAIT_S)
        return [answers[sending.call.call_id] for sending in batch]

    async def _settle(
        self,
        order: RunOrder,
        window: Window,
        sendings: Sequence[SentCall],
        answers: Sequence[CallAnswer],
        following: Sequence[SentCall],
    ) -> None:
        if not answers:
            return
        answered = AnsweredCalls(
            held=order.held(RunState.RUNNING),
            answers=answers,
            at=now_ms(self._clock),
            whole={sending.call.unit_key for sending in sendings if sending.is_of_whole},
            following=[sending.call.call_id for sending in following],
        )
        # Another task of the run may end it meanwhile, as the connection has; what the device did is written.
        with anyio.CancelScope(shield=True):
            result = await window.settles.run(answered)
        window.done |= result.done
        if result.marked is not None:  # the owner rejected the others meanwhile
            for sending in following:
                sending.is_marked = sending.call.call_id in result.marked
                sending.is_done = not sending.is_marked
        failed = [outcome for outcome in result.outcomes if isinstance(outcome, Exception)]
        together = zip(sendings, answers, result.outcomes, strict=True)
        written = [(one, answer) for one, answer, outcome in together if not isinstance(outcome, Exception)]
        for sending, answer in written:
            sending.is_done = True
            error = answer.result["error"]
            # the call's unit fails, and the run's errors report it
            about = {"call_id": answer.call_id, "run_id": order.run_id, "code": error and error["code"]}
            if answer.event is CallEvent.GIVEN_UP:
                log.warning("call.given_up", **about)
            elif error is not None and not answer.is_deleted:
                log.warning("call.refused", **about)
        counts = Counter((sending.call.table, answer.event) for sending, answer in written)
        for (table, event), count in counts.items():
            self._metrics.run_items.labels(table, event.name.lower()).inc(count)
        if given_up := sum(answer.event is CallEvent.GIVEN_UP for _, answer in written):
            self._metrics.limits_reached.labels("call_sends").inc(given_up)
        if failed:
            raise failed[0]


def _is_to_send(sending: SentCall, link: DeviceLink) -> bool:
    """Return False if the answer to a call is there or awaited, of a device that may not keep its id."""
    return link.repeat_of(sending.call.call_id) is RepeatedCall.SENT


def _with_room(unit: UnitToPlan, window: Window, link: DeviceLink | None) -> UnitToPlan:
    """Return a unit that is written now, with the number of calls that will be sent next."""
    most = 0 if link is None else BATCHES_IN_FLIGHT * most_in_batch(link) - len(window.waiting)
    return msgspec.structs.replace(unit, most_sent=max(0, most))


def _planned_message(message: Message, document: Document) -> PlannedMessage:
    """Return what is recorded of a message with the plan of its text."""
    copies = (message.key, message.content_key(document.text)) if message.copy else ()
    return PlannedMessage((message.seen_key, *copies), message.version, document.event)


def _without_quote(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the payload of a message's item at its device, whose quote is stored sealed alone."""
    source = payload.get("source")
    return None if source is None else payload | {"source": source | {"quote": ""}}


def _settled(
    one: SentCall, answer: Answer, epoch: int, tables: Tables, stored: dict[str, Any] | None
) -> CallAnswer:
    """Return the answer of a device as it is stored."""
    is_deleted = is_row_deleted(tables.of(one.call.table), one.payload, answer)
    return CallAnswer(
        call_id=one.call.call_id,
        event=CallEvent.ACKED if answer.error is None or is_deleted else CallEvent.REJECTED,
        result={"result": answer.result, "error": msgspec.to_builtins(answer.error)},
        row_id=row_id_of(answer),
        is_deleted=is_deleted,
        is_proposed=isinstance(answer.result, dict) and "proposed" in answer.result,
        counter=answer.counter,
        epoch=epoch,
        stored=stored,
    )


def _unknown(one: SentCall) -> CallAnswer:
    """Return the answer in place of the one that did not come."""
    if one.refusal is not None:
        message = f"{often(one.sends)}, at last: {one.refusal.message}"
        error = ErrorBody(code=one.refusal.code, message=message)
    elif one.sends:
        error = ErrorBody(code=ErrorCode.UNKNOWN_EFFECT, message=f"sent {often(one.sends)}")
    else:
        message = f"it answered no call for {MAX_SILENT_MS // 1000} s, and the next run sends this one"
        error = ErrorBody(code=ErrorCode.CALL_TIMED_OUT, message=message)
    result = {"result": None, "error": msgspec.to_builtins(error)}
    return CallAnswer(call_id=one.call.call_id, event=CallEvent.GIVEN_UP, result=result)


def can_update(capabilities: Collection[str]) -> bool:
    """Return True if the device can update rows. A device that lists no table tool can."""
    lists_tools = any(name in capabilities for name in _TABLE_TOOLS)
    return CapabilityName.TOOL_UPDATE in capabilities or not lists_tools


def row_id_of(answer: Answer) -> str | None:
    """Return the id of the inserted row, or None: old devices may not report it."""
    row = answer.result.get("id") if isinstance(answer.result, dict) else None
    return row if isinstance(row, str) and row else None


def is_row_deleted(table: DeviceTable, payload: CallPayload, answer: Answer) -> bool:
    """Return True if the row to be updated was deleted by its owner.

    The same error code also reports a missing row that the updated row refers to; then the result is False.
    """
    if payload.action is not Action.UPDATE or answer.error is None:
        return False
    columns = table.columns
    refers = any(column.refers_to is not None and payload.data.get(column.name) for column in columns)
    return answer.error.code == ErrorCode.DATABASE_CONFLICT and not refers


def may_change(answer: Answer) -> bool:
    """Return True if the device may answer differently when the call is repeated."""
    if answer.error is None:
        return False
    if answer.error.retryable:
        return True
    try:
        return CATALOGUE[ErrorCode(answer.error.code)].retryable
    except ValueError:
        return False  # an error code that only the device knows


def missing_of(notes: Notes) -> tuple[ErrorCode, str] | None:
    """Return the code and message of what the notes on the reading say is missing; None: nothing is."""
    if notes.given_up_chars or notes.unanswered:
        about = f" about {notes.given_up_chars} characters of it" if notes.given_up_chars else ""
        message = f"no whole answer could be had{about}; the rest was read"
        code = ErrorCode(notes.code or ErrorCode.MODEL_ANSWER_CUT_OFF)
        return code, ": ".join(filter(None, (message, notes.failed)))
    if notes.lost:
        return (
            ErrorCode.MODEL_ANSWER_INVALID,
            f"{notes.lost} of the model's records about it could not be used, nor could its second answer "
            "about them be read; the rest was read",
        )
    if notes.is_cut_off:
        return (
            ErrorCode.NOT_CONVERTIBLE,
            "the calendar is cut off: an END line is missing; its whole entries were read",
        )
    if notes.left_out:
        ((cap, count),) = notes.left_out.items()
        return (
            ErrorCode.LIMIT_REACHED,
            f"{count} of its items were left out, by {cap} of [limits]" + _NEXT[cap],
        )
    return None


_DEADLINE_MS = 30_000


class TableRefused(HubError):
    """A device does not take a table of the settings, so it gets no items of it."""

    code = ErrorCode.UNKNOWN_TABLE


async def declare(link: DeviceLink, tables: Iterable[DeviceTable], *, call_id: str) -> None:
    """Declare tables at a device; those that it has as they are stay unchanged.

    Args:
        call_id: beginning of the ids of the calls.

    Raises:
        TableRefused: the device knows built-in tables only, or refuses a declaration.
        DeliveryError: the device did not answer.
    """
    for table in tables:
        if not link.can(CAPABILITY_OF[Action.TABLE_DECLARE]):
            raise TableRefused(
                f"{table.name}: the program of the device knows only the built-in tables; update it, "
                "or take the table out of data_types"
            )
        answer = await link.call(
            ToolCall(
                id=f"{call_id}:{table.name}",
                action=Action.TABLE_DECLARE,
                table=table.name,
                declares=table,
                deadline_ms=_DEADLINE_MS,
            )
        )
        if answer.error is not None:
            raise TableRefused(f"the device refuses the table: {answer.error.message or answer.error.code}")
