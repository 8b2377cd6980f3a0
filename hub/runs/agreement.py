"""Comparison of the hub's ledger with a device's store after it connects: lost and newer rows.

Either side may have been restored from an older backup, or may have lost data without notice. Up to the
counter in ``storage.runs.agreement``, the ledger contains every row that hubs wrote into the device's store.
Rows above that counter are requested page by page and added to the ledger.

A store that is new, or whose counter is lower than before, is compared with the ledger. Items that it lacks
are sent again under their old call ids. An item whose row exists in an older version is sent as an update of
that row.

Each page is one transaction, so reconciliation continues from the last page after a crash. If decisions of
the owner are reported before a page is written, the page is requested again, since they may be newer. The
device gets no run until reconciliation is complete.
"""

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.links.device_link import DeviceLink
from hub.runs.attempt_ending import gravest
from hub.runs.delivery import TableRefused, declare, is_row_deleted, may_change, row_id_of
from hub.runs.found_items import CallPayload, frame_of
from hub.runs.reported_rows import taken_item
from protocol.calls import KnownToDevice, RowsPage
from protocol.capabilities import CapabilityName
from protocol.errors import (
    CallInWork,
    CodedError,
    DeviceSlow,
    ErrorCode,
    HubError,
    LinkLost,
    TooManyCalls,
)
from protocol.frame import Record
from protocol.handshake import StoreMark
from protocol.ids import CallId, DeviceId
from protocol.items import ItemSource
from protocol.tables import TABLES, Tables
from protocol.tool_calls import Action, Answer, ToolCall
from storage.kernel.database import StorageError
from storage.runs import agreement
from storage.runs.agreement import ReportedRow, Resent, StoreRow
from storage.runs.items import ItemRow
from storage.store import Store

log = Channel(__name__)

T = TypeVar("T")

AT_ONCE: Final = 8  # devices compared concurrently
ROWS: Final = 200  # page size of a request; a device sends fewer rows if they are long
# items per request to a device; with the rows they refer to, this stays below MAX_ASKED
COMPARED: Final = 100
SENT_AT_ONCE: Final = 16
DEADLINE_MS: Final = 30_000
AGAIN_BASE_S, AGAIN_CAP_S = 1.0, 60.0  # backoff between attempts with a device that answers wrongly
SLOW_DEVICE_WAIT_S: Final = 0.5
MAX_LISTINGS: Final = 20  # of one page in a row, while its device reports decisions


class _DeviceComparison:
    """Reconciliation of one connection of a device.

    Attributes:
        reports: number of reports of the owner's decisions since the device connected.
        writing: held while a page or a report is written.
    """

    def __init__(self, link: DeviceLink) -> None:
        self.link = link
        self.reports = 0
        self.writing = anyio.Lock()


class Agreements:
    """Compares the ledger with the store of each device that connects.

    Args:
        on_agreed: called when a device may get runs.
        on_lost: called when a connection has ended.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        on_agreed: Callable[[DeviceLink], None],
        on_lost: Callable[[DeviceId, int], None] = lambda _, __: None,
        tables: Callable[[], Tables] = lambda: TABLES,
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._clock = clock
        self._ids = ids
        self._on_agreed = on_agreed
        self._on_lost = on_lost
        self._tables = tables  # returns the declarations in use
        self._pending: dict[DeviceId, _DeviceComparison] = {}  # connected, and not reconciled
        # the connection epoch in which the device completed reconciliation
        self._agreed: dict[DeviceId, int] = {}
        self._under_way: set[tuple[DeviceId, int]] = set()  # reconciliations in progress, by device and epoch

    def agrees(self, link: DeviceLink) -> bool:
        """Return True if the device may get runs. A device without ``rows.list`` always may."""
        return not link.can(CapabilityName.ROWS_LIST) or self._agreed.get(link.device_id) == link.epoch

    def device_ready(self, link: DeviceLink) -> None:
        """Reconcile a device that has connected."""
        self._agreed.pop(link.device_id, None)
        if self.agrees(link):
            self._pending.pop(link.device_id, None)
            self._on_agreed(link)
        else:
            self._pending[link.device_id] = _DeviceComparison(link)
            self.loop.wake()

    def device_lost(self, device_id: DeviceId, epoch: int) -> None:
        """Forget a connection that has ended."""
        pending = self._pending.get(device_id)
        if pending is not None and pending.link.epoch == epoch:
            del self._pending[device_id]
        if self._agreed.get(device_id) == epoch:
            del self._agreed[device_id]
        self._on_lost(device_id, epoch)

    @asynccontextmanager
    async def reporting(self, device_id: DeviceId) -> AsyncIterator[None]:
        """Order a report of a device's owner, which the block writes, after the page that is being read."""
        visit = self._pending.get(device_id)
        if visit is None:
            yield
            return
        visit.reports += 1
        async with visit.writing:
            yield

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Reconcile connected devices until cancelled."""
        self._under_way.clear()
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            task_status.started()
            await self.loop.serve(partial(self._begin_all, tasks, limiter), of="agreements", every_s=math.inf)

    async def _begin_all(self, tasks: TaskGroup, limiter: anyio.CapacityLimiter) -> None:
        for device_id, visit in self._pending.items():
            key = (device_id, visit.link.epoch)
            if key not in self._under_way:
                self._under_way.add(key)
                tasks.start_soon(self._until_agreed, visit, limiter)

    async def _until_agreed(self, visit: _DeviceComparison, limiter: anyio.CapacityLimiter) -> None:
        link, wait_s = visit.link, AGAIN_BASE_S
        try:
            while self._pending.get(link.device_id) is visit:
                try:
                    async with limiter:
                        await self._agree(visit)
                    if self._pending.get(link.device_id) is visit:
                        del self._pending[link.device_id]
                        self._agreed[link.device_id] = link.epoch
                        self._on_agreed(link)
                    return
                except Exception as exc:  # a failure with one device must not stop the others
                    broken = gravest(exc)
                    if isinstance(broken, LinkLost):
                        return
                    log.warning("agreement.failed", exc=broken, device_id=link.device_id)
                    problem = str(broken) if isinstance(broken, HubError) else type(broken).__name__
                    try:
                        await self._store.write(
                            agreement.note_problem, link.device_id, problem, epoch=link.epoch
                        )
                    except LinkLost:
                        return
                    except StorageError as error:
                        log.warning("agreement.failed", exc=error, device_id=link.device_id)
                await self._clock.sleep(wait_s)
                wait_s = min(2 * wait_s, AGAIN_CAP_S)
        finally:
            self._under_way.discard((link.device_id, link.epoch))

    async def _agree(self, visit: _DeviceComparison) -> None:
        link = visit.link
        known = await self._store.read(agreement.find_store, link.device_id)
        if known is None:
            return  # the device supports ``rows.list``, but never reported a counter of its store
        if known.resend_after is not None:
            at_device = await self._at_device(link, known.resend_after, limit=1)
            # Fetch unknown rows first: an item that seems lost may have been inserted by another call.
            known = await self._take_unknown(visit, known, is_compared=False)
            await self._send_lost(link, known, is_any=bool(at_device))
        await self._take_unknown(visit, known)

    # --- items that the device lost ---

    async def _at_device(self, link: DeviceLink, after: str, *, limit: int = COMPARED) -> list[ItemRow]:
        return await self._store.read(agreement.list_at_device, link.device_id, after=after, limit=limit)

    async def _send_lost(self, link: DeviceLink, known: StoreRow, *, is_any: bool) -> None:
        """Send items that the device lost again.

        Args:
            is_any: False if the ledger had no item of this device before reconciliation.
        """
        after = known.resend_after
        log.info("agreement.comparing", device_id=link.device_id, cause=known.cause)
        while after is not None:
            present = await self._at_device(link, after) if is_any else []
            resent: list[Resent] = []
            deleted: list[ItemRow] = []
            unknown: list[ItemRow] = []
            rowless: list[ItemRow] = []
            refused = 0
            if present:
                lost, rows = await self._lost(link, present)
                coming = [item for item in lost if item.answered_at is None and item.data]
                rowless = [item for item in coming if item.row_id not in rows]
                lost = [item for item in lost if item.answered_at is not None]
                unknown = [item for item in lost if not item.data]
                resent, deleted = await self._send_all(link, [item for item in lost if item.data], rows)
                refused = len(lost) - len(unknown) - len(resent) - len(deleted)
            after = present[-1].call_id if present else None
            await self._store.write(
                agreement.note_resent,
                link.device_id,
                resent,
                unknown=unknown,
                rowless=rowless,
                deleted=deleted,
                refused=refused,
                after=after,
                epoch=link.epoch,
                at=now_ms(self._clock),
            )

    async def _lost(self, link: DeviceLink, items: Sequence[ItemRow]) -> tuple[list[ItemRow], set[str]]:
        """Return the items that the device lacks, and the ids of related rows that the device has.

        Related rows are rows that the items refer to, and older versions of the items' own rows.
        """
        # Of an item whose first call is on its way, the row is that of the same words, which it changes.
        rows = {item.row_id for item in items if item.version > 1 or item.answered_at is None}
        rows |= {value for item in items for value in _references(item, self._tables()).values()}
        done, existing = await self._known(link, [item.call_id for item in items], rows)
        return [item for item in items if item.call_id not in done], existing

    async def _send_all(
        self, link: DeviceLink, lost: Sequence[ItemRow], rows: Collection[str]
    ) -> tuple[list[Resent], list[ItemRow]]:
        """Send lost items again. Return those that the device accepted, and those whose row was deleted.

        Items that the device refuses permanently are left out.
        """
        resent: list[Resent] = []
        deleted: list[ItemRow] = []
        lanes = anyio.Semaphore(SENT_AT_ONCE)

        tables = self._tables()
        own = [table for table in tables.own if any(item.target_table == table.name for item in lost)]
        try:
            await declare(link, own, call_id=f"agree-{self._ids.fresh()}")
        except TableRefused as exc:
            log.warning("table.refused", device_id=link.device_id, detail=str(exc))

        async def send(item: ItemRow) -> None:
            payload = _payload_of(item, rows, tables)
            async with lanes:
                frame = frame_of(
                    item.call_id,
                    item.target_table,
                    payload,
                    run_id=item.run_id,
                    agent_id=item.agent_id,
                    deadline_ms=DEADLINE_MS,
                )
                answer = await self._call(link, frame)
            if is_row_deleted(tables.of(item.target_table), payload, answer):
                deleted.append(item)  # by its owner, since the device listed it
                return
            if answer.error is not None:
                log.warning("call.refused", call_id=item.call_id, code=answer.error.code)
                return
            resent.append(Resent(item.id, row_id_of(answer)))

        async with anyio.create_task_group() as senders:
            for item in lost:
                senders.start_soon(send, item)
        return resent, deleted

    # --- rows that the hub does not know ---

    async def _take_unknown(
        self, visit: _DeviceComparison, known: StoreRow, *, is_compared: bool = True
    ) -> StoreRow:
        """Add the device's rows above the known counter to the ledger; return the new state of its store.

        Args:
            is_compared: False if lost items have yet to be sent, so the store is not marked as reconciled.
        """
        link, since, listings, more = visit.link, known.counter, 0, True
        while more:
            reports, listings = visit.reports, listings + 1
            result = await self._ask(link, Action.ROWS_LIST, {"since": since}, limit=ROWS)
            page = _read(result, RowsPage, Action.ROWS_LIST)
            if any(row.counter <= since for row in page.rows):  # would request the same page for ever
                raise CodedError(
                    ErrorCode.DEVICE_ERROR, f"{Action.ROWS_LIST}: the device listed again rows up to {since}"
                )
            at, has_more = now_ms(self._clock), page.more and bool(page.rows)
            up_to = page.rows[-1].counter if has_more else page.store.counter
            is_known = known.agreed_at is not None and page.store == agreement.mark_of(known)
            if is_known and not page.rows:
                return known  # the usual case on reconnect: nothing to write
            reported = [
                ReportedRow(
                    taken_item(
                        row,
                        self._tables().of(row.table),
                        user_id=link.user_id,
                        device_id=link.device_id,
                        at=at,
                    ),
                    row.inserted_by,
                    row.places,
                )
                for row in page.rows
            ]
            doubtful = await self._store.read(agreement.list_doubtful, reported, device_id=link.device_id)
            done: set[CallId] = set()
            rows: set[str] = set()
            for start in range(0, len(doubtful), COMPARED):
                part = sorted(doubtful)[start : start + COMPARED]
                found = await self._known(link, part, (doubtful[call] for call in part))
                done, rows = done | found[0], rows | found[1]
            async with visit.writing:
                if self._pending.get(link.device_id) is not visit:
                    raise LinkLost("the connection ended while the device listed its rows", dispatched=True)
                if visit.reports != reports:  # the page may have older decisions
                    if listings == MAX_LISTINGS:
                        raise CodedError(
                            ErrorCode.DEVICE_ERROR,
                            f"{Action.ROWS_LIST}: the device reported decisions all the while",
                        )
                    continue
                taken = await self._store.write(
                    agreement.take_rows,
                    reported,
                    device_id=link.device_id,
                    epoch=link.epoch,
                    lost=doubtful.keys() - done,
                    rowless=[call for call, row in doubtful.items() if row and row not in rows],
                    mark=StoreMark(id=page.store.id, counter=up_to),
                    is_last=is_compared and not has_more,
                    at=at,
                )
            since, listings, more = up_to, 0, has_more
            if taken:
                log.warning("agreement.taken", device_id=link.device_id, rows=taken)
        return msgspec.structs.replace(known, store_id=page.store.id, counter=since)

    async def _known(
        self, link: DeviceLink, calls: Sequence[CallId], rows: Iterable[str | None]
    ) -> tuple[set[CallId], set[str]]:
        """Return which of *calls* the device has done, and which of *rows* it has. None is ignored."""
        asked: Record = {"calls": [*calls], "rows": sorted({row for row in rows if row})}
        answer = await self._ask(link, Action.ROWS_KNOWN, asked)
        known = _read(answer, KnownToDevice, Action.ROWS_KNOWN)
        return {*calls} & {*known.calls}, {*known.rows}

    # --- requests to the device ---

    async def _ask(self, link: DeviceLink, action: Action, data: Record, limit: int = 100) -> Any:
        """Return the result of a read of the device's store.

        Raises:
            CodedError (DEVICE_ERROR): the device refused the request.
        """
        frame = ToolCall(
            id=f"agree-{self._ids.fresh()}", action=action, data=data, limit=limit, deadline_ms=DEADLINE_MS
        )
        answer = await self._call(link, frame)
        if answer.error is not None:
            raise CodedError(ErrorCode.DEVICE_ERROR, f"{action}: {answer.error.code}: {answer.error.message}")
        return answer.result

    async def _call(self, link: DeviceLink, frame: ToolCall) -> Answer:
        """Return the device's answer; repeat the call while the device is slow or has too many calls.

        Raises:
            CodedError (DEVICE_ERROR): the device failed with an error that may be temporary.
            CallTimedOut, LinkLost: see ``DeviceLink.call``.
        """
        while True:
            try:
                answer = await link.call(frame)
            except (DeviceSlow, TooManyCalls, CallInWork):
                await self._clock.sleep(SLOW_DEVICE_WAIT_S)
                continue
            if answer.error is not None and may_change(answer):
                raise CodedError(
                    ErrorCode.DEVICE_ERROR, f"{frame.action}: {answer.error.code}: {answer.error.message}"
                )
            return answer


def _read(result: Any, shape: type[T], action: Action) -> T:
    """Convert a device's result to *shape*. Raises CodedError if it has another shape."""
    try:
        return msgspec.convert(result, shape)
    except msgspec.ValidationError as exc:
        raise CodedError(
            ErrorCode.DEVICE_ERROR, f"{action}: the device answered with something else: {exc}"
        ) from exc


def _references(item: ItemRow, tables: Tables) -> dict[str, str]:
    """Return the ids of the rows that the item refers to, keyed by column."""
    columns = tables.of(item.target_table).columns
    named = {column.name: item.data.get(column.name) for column in columns if column.refers_to is not None}
    return {name: value for name, value in named.items() if isinstance(value, str) and value}


def _payload_of(item: ItemRow, rows: Collection[str], tables: Tables) -> CallPayload:
    """Return the content of a call that repeats the item's latest write.

    The call is an update if the device has an older version of the item's row, else an insert. References to
    rows that the device lacks are left out.
    """
    missing = {name for name, row in _references(item, tables).items() if row not in rows}
    is_update = item.row_id is not None and item.version > 1 and item.row_id in rows
    return CallPayload(
        data={name: value for name, value in item.data.items() if name not in missing},
        source=msgspec.convert(item.source, ItemSource),
        action=Action.UPDATE if is_update else Action.INSERT,
        where={"id": item.row_id} if is_update else {},
    )
