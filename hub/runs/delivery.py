"""Delivery of items to a device: planned per unit, sent until answered, settled once.

The plan of a unit is committed before its first call is sent. A call is repeated with the same id until it is
answered, in this run or after a restart. The device stores answer and row in one transaction. So each item is
inserted exactly once, despite crashes on either side.

The extracted parts of a file are kept if other parts could not be extracted. The file still counts as failed,
so that the failure is reported and the next run reads the file again. Questions that are already answered
cost nothing then.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from hub.clock import Clock, now_ms
from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import Extraction, Notes
from hub.links.link import ALWAYS_ACTIONS, DeviceLink
from hub.log import Channel
from hub.metrics import Metrics
from hub.runs.found_items import CallPayload, found_items, frame_of
from hub.runs.lifecycle import Interrupt
from hub.runs.matching import decide
from hub.runs.run_order import RunOrder
from hub.runs.settling import Settling
from hub.settings.limit_settings import Limits
from protocol.errors import CATALOGUE, CallTimedOut, DeviceSlow, ErrorCode, HubError, TooManyCalls
from protocol.frame import ErrorBody
from protocol.handshake import CAPABILITY_OF, CapabilityName
from protocol.lifecycles import CallEvent, RunState
from protocol.tables import TABLES, TableName
from protocol.work import Action, Answer, ToolCall
from storage.runs import plans
from storage.runs.calls import CallAnswer, OpenCall, mark_sent, settle_calls
from storage.runs.plans import ItemCaps, UnitPlan
from storage.store import Store

log = Channel(__name__)

CALLS_IN_FLIGHT = 32  # per run; half of a device's limit, so that other calls get through
MAX_SENDS = 5  # afterwards the effect is unknown and a person must check
CALL_TIMEOUT_MS = 30_000  # then the call is sent again with its id; a device writes a row in milliseconds
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


class Lanes(NamedTuple):
    """Calls in flight of a run. *free*: places for more of them; *settling* writes their answers."""

    free: anyio.Semaphore
    settling: Settling


class Delivery:
    """Plans and delivers the items of a run to its device."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        limits: Limits,
        max_sends: int = MAX_SENDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._max_sends = max_sends
        self.limits = limits

    def open_lanes(self) -> Lanes:
        """Return the lanes of one execution of a run."""

        async def write(answers: Sequence[CallAnswer]) -> list[bool | HubError]:
            return await self._store.write(settle_calls, answers, at=now_ms(self._clock))

        return Lanes(anyio.Semaphore(CALLS_IN_FLIGHT), Settling(write))

    async def plan(
        self,
        link: DeviceLink | None,
        order: RunOrder,
        document: Document,
        found: Extraction,
        *,
        read_at: int,
        message: Message | None = None,
    ) -> UnitPlan:
        """Commit the calls to be sent for a document: items that are new or have changed. Sends nothing.

        Args:
            link: None if the device is disconnected; its capabilities are unknown then, so no row is updated.
            read_at: when the document's text was read, in epoch milliseconds.
            message: the mail message that the document comes from; it is recorded as read.

        Raises:
            StaleRun: another process has taken over the run; nothing was written.
            Conflict: a run that has not ended owns one of the calls; nothing was written.
        """
        timezone = order.settings.timezone
        # Many items are looked up in a thread, to keep the event loop responsive.
        items = (
            found_items(document, found.items, timezone)
            if len(found.items) < _MANY_ITEMS
            else await anyio.to_thread.run_sync(found_items, document, found.items, timezone)
        )
        decision = partial(
            decide,
            found=items,
            document=document,
            with_quotes=message is None,  # no part of a mail is stored
            timezone=timezone,
            can_update=link is not None and can_update(link.capabilities),
        )
        plan_it: Callable[..., UnitPlan] = plans.plan_unit
        notes = found.notes
        if message is not None:
            seen_keys = [message.seen_key]
            if message.copy:
                seen_keys += message.key, message.content_key(document.text)
            if document.unit_key != message.key:
                notes = msgspec.structs.replace(notes, shared_message_id=1)
            plan_it = partial(
                plans.plan_message,
                agent_id=order.agent_id,
                seen_keys=seen_keys,
                version=message.version,
                is_whole=missing_of(found.notes) is None,
            )
        plan = await self._store.write(
            plan_it,
            order.held(RunState.RUNNING),
            unit_key=document.unit_key,
            content_hash=document.content_hash,
            size_bytes=len(document.text),
            found=items,
            decide=decision,
            read_at=read_at,
            notes=msgspec.to_builtins(notes),
            caps=ItemCaps(self.limits.items_per_file, self.limits.items_per_run),
            at=now_ms(self._clock),
        )
        self._metrics.items_known.inc(plan.known)
        for cap in plan.left_out:
            self._metrics.limits_reached.labels(cap).inc()
        return plan

    async def deliver(
        self,
        link: DeviceLink,
        order: RunOrder,
        calls: Sequence[OpenCall],
        lanes: Lanes,
        interrupt: Interrupt,
    ) -> bool:
        """Send every call until it is answered, refused, or sent MAX_SENDS times.

        Return True if all calls were sent. Once the run is winding up, no further call is sent, and calls in
        flight are awaited.

        Args:
            lanes: of the whole run.

        Raises:
            LinkLost: the connection ended; unanswered calls stay open.
            StaleRun: another process has taken over the run.
        """
        if interrupt.is_winding_up or not calls:
            return not calls
        # Marked together: SENT only means that a call may have been sent, and one commit is cheaper than
        # many.
        ids = [call.call_id for call in calls]
        held = order.held(RunState.RUNNING)
        marked = {*await self._store.write(mark_sent, held, ids, at=now_ms(self._clock))}
        waiting = deque(call for call in calls if call.call_id in marked)

        async def send_each() -> None:
            while waiting:
                async with lanes.free:
                    if interrupt.is_winding_up or not waiting:
                        return
                    await self._send(link, order, waiting.popleft(), lanes)

        async with anyio.create_task_group() as senders:
            for _ in range(min(CALLS_IN_FLIGHT, len(calls))):
                senders.start_soon(send_each)
        return not waiting

    async def _send(self, link: DeviceLink, order: RunOrder, call: OpenCall, lanes: Lanes) -> None:
        frame = frame_of(
            call.call_id,
            call.table,
            msgspec.convert(call.payload, CallPayload),
            run_id=order.run_id,
            agent_id=order.agent_id,
            deadline_ms=CALL_TIMEOUT_MS,
        )
        why = "no answer came"
        for sends in range(self._max_sends):
            if sends:
                held = order.held(RunState.RUNNING)
                if not await self._store.write(mark_sent, held, [call.call_id], at=now_ms(self._clock)):
                    return  # its owner rejected the item meanwhile
            answer = await self._ask(link, frame)
            if answer is None:
                continue
            if not may_change(answer):
                await self._settle(lanes, order, call, answer, epoch=link.epoch)
                return
            assert answer.error is not None
            why = f"at last: {answer.error.code}: {answer.error.message}"
            await self._clock.sleep(min(REFUSED_CAP_S, REFUSED_BASE_S * 2.0**sends))
        self._metrics.limits_reached.labels("call_sends").inc()
        error = ErrorBody(
            code=ErrorCode.UNKNOWN_EFFECT,
            message=f"sent {self._max_sends} times without an answer that settles it; {why}",
        )
        await self._settle(lanes, order, call, Answer(error=error), CallEvent.GIVEN_UP)

    async def _ask(self, link: DeviceLink, frame: ToolCall) -> Answer | None:
        """Return the device's answer, or None if it did not arrive in time."""
        while True:
            try:
                return await link.call(frame)
            except CallTimedOut:
                return None
            except (DeviceSlow, TooManyCalls):
                # Nothing was sent, so no attempt is counted: the device reads on, or its connection ends.
                await self._clock.sleep(SLOW_DEVICE_WAIT_S)

    async def _settle(
        self,
        lanes: Lanes,
        order: RunOrder,
        call: OpenCall,
        answer: Answer,
        event: CallEvent | None = None,
        *,
        epoch: int | None = None,
    ) -> None:
        is_deleted = is_row_deleted(TableName(call.table), msgspec.convert(call.payload, CallPayload), answer)
        if event is None:
            event = CallEvent.ACKED if answer.error is None or is_deleted else CallEvent.REJECTED
        answered = {"result": answer.result, "error": msgspec.to_builtins(answer.error)}
        settled = CallAnswer(
            call_id=call.call_id,
            event=event,
            result=answered,
            row_id=row_id_of(answer),
            is_deleted=is_deleted,
            counter=answer.counter,
            epoch=epoch,
        )
        await lanes.settling.settle(settled)
        self._metrics.run_items.labels(call.table, event.name.lower()).inc()
        # the call's unit fails, and the run's errors report it
        if answer.error is not None and not is_deleted:
            log.warning("call.refused", call_id=call.call_id, run_id=order.run_id, code=answer.error.code)


def can_update(capabilities: Collection[str]) -> bool:
    """Return True if the device can update rows. A device that lists no table tool can."""
    lists_tools = any(name in capabilities for name in _TABLE_TOOLS)
    return CapabilityName.TOOL_UPDATE in capabilities or not lists_tools


def row_id_of(answer: Answer) -> str | None:
    """Return the id of the inserted row, or None: old devices may not report it."""
    row = answer.result.get("id") if isinstance(answer.result, dict) else None
    return row if isinstance(row, str) and row else None


def is_row_deleted(table: TableName, payload: CallPayload, answer: Answer) -> bool:
    """Return True if the row to be updated was deleted by its owner.

    The same error code also reports a missing row that the updated row refers to; then the result is False.
    """
    if payload.action is not Action.UPDATE or answer.error is None:
        return False
    columns = TABLES[table].columns
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


class Missing(NamedTuple):
    """Reason for the failure of a file that was read."""

    code: ErrorCode
    message: str


def missing_of(notes: Notes) -> Missing | None:
    """Return what is missing according to the notes on the reading, or None if nothing is."""
    if notes.given_up_chars:
        return Missing(
            ErrorCode.MODEL_ANSWER_CUT_OFF,
            f"no whole answer could be had about {notes.given_up_chars} characters of it; the rest was read",
        )
    if notes.lost:
        return Missing(
            ErrorCode.MODEL_ANSWER_INVALID,
            f"{notes.lost} of the model's records about it could not be used, nor could its second answer "
            "about them be read; the rest was read",
        )
    if notes.left_out:
        ((cap, count),) = notes.left_out.items()
        return Missing(
            ErrorCode.LIMIT_REACHED,
            f"{count} of its items were left out, by {cap} of [limits]" + _NEXT[cap],
        )
    return None
