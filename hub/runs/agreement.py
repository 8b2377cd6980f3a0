"""Agreement of the hub's ledger with the store of each device, and delivery of verdicts to devices.

Either side may have been restored from an older backup, or may have lost data without notice. Up to the
counter in ``storage.runs.agreement``, the ledger contains every row that hubs wrote into the device's store.
Rows above that counter are requested page by page and added to the ledger.

A store that is new, or whose counter is lower than before, is compared with the ledger. Items that it lacks
are sent again under their old call ids. An item whose row exists in an older version is sent as an update of
that row.

Each page is one transaction, so reconciliation continues from the last page after a crash. If decisions of
the owner are reported before a page is written, the page is requested again, since they may be newer. The
device gets no run until reconciliation is complete.

Delivery of verdicts on items, which people gave at the hub, to the items' devices.

A verdict is marked as sent before it leaves. Without an answer it is sent again, with the same id: after a
while, or over the device's next connection. The device answers a repeated id as before. So a verdict is
applied once, whichever hub is killed, frozen or restored, and whichever takes over the device.
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
from hub.base.periodic_loop import Rounds
from hub.links.roster import DeviceLink
from hub.runs.attempt import gravest
from hub.runs.delivery import TableRefused, declare, is_row_deleted, may_change, row_id_of
from hub.runs.found_items import CallPayload, frame_of, taken_item
from protocol.calls import MARKED, KnownToDevice, OwnerGrant, Reviewed, RowsPage
from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.errors import (
    CallNotGranted,
    CallUnsupported,
    CodedError,
    DeliveryError,
    DeviceSlow,
    ErrorCode,
    HubError,
    LinkLost,
    TooManyCalls,
)
from protocol.frame import Record
from protocol.handshake import StoreMark
from protocol.ids import CallId, DeviceId
from protocol.items import ItemSource, ReviewVerdict, RowReview
from protocol.tables import TABLES, DeviceTable, Filler, Tables, problems_of
from protocol.work import Action, Answer, ToolCall
from storage.kernel.database import StorageError
from storage.runs import agreement, item_verdicts
from storage.runs.agreement import ReportedRow, Resent, StoreRow
from storage.runs.item_verdicts import DueVerdict, NewVerdict, VerdictAnswer
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


class _Visit:
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
        self.turns = Rounds(clock)
        self._store = store
        self._clock = clock
        self._ids = ids
        self._on_agreed = on_agreed
        self._on_lost = on_lost
        self._tables = tables  # returns the declarations in use
        self._pending: dict[DeviceId, _Visit] = {}  # connected, and not reconciled
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
            self._pending[link.device_id] = _Visit(link)
            self.turns.wake()

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
            await self.turns.serve(
                partial(self._begin_all, tasks, limiter), of="agreements", every_s=math.inf
            )

    async def _begin_all(self, tasks: TaskGroup, limiter: anyio.CapacityLimiter) -> None:
        for device_id, visit in self._pending.items():
            key = (device_id, visit.link.epoch)
            if key not in self._under_way:
                self._under_way.add(key)
                tasks.start_soon(self._until_agreed, visit, limiter)

    async def _until_agreed(self, visit: _Visit, limiter: anyio.CapacityLimiter) -> None:
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

    async def _agree(self, visit: _Visit) -> None:
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

    async def _take_unknown(self, visit: _Visit, known: StoreRow, *, is_compared: bool = True) -> StoreRow:
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
            except (DeviceSlow, TooManyCalls):
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


POLL_S: Final = 2.0  # with a shared database, into which other hubs write verdicts; and after a failure
REST_S: Final = 30.0
ANSWER_MS: Final = 30_000
AGAIN_MS: Final = 5_000  # after a call that was not answered
# one call in each frame: the texts of a verdict may be as long as those of an item
DELIVERIES_AT_ONCE: Final = 16
MAX_PROBLEMS: Final = 20  # in one message
MAX_TITLE: Final = 500  # characters
MAX_CHOICES: Final = 200  # rows that an item may be put under
CHOICE_MS: Final = 10_000


class VerdictDelivery:
    """Service that sends open verdicts to connected devices."""

    def __init__(
        self, store: Store, *, find_link: Callable[[DeviceId], DeviceLink | None], clock: Clock
    ) -> None:
        """Set up the service.

        Args:
            find_link: returns the link of a device that is connected to this hub and agrees about the past.
        """
        self.turns = Rounds(clock)
        self._store = store
        self._find_link = find_link
        self._clock = clock
        self._in_progress: set[DeviceId] = set()

    def recheck(self) -> None:
        """Wake the loop, because a verdict was given or a device has connected."""
        self.turns.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send verdicts until cancelled."""
        task_status.started()
        self._in_progress.clear()
        async with anyio.create_task_group() as tasks:
            await self.turns.serve(partial(self._begin, tasks), of="verdicts", every_s=POLL_S)

    async def _begin(self, tasks: TaskGroup) -> float:
        """Start to send the open verdicts of each connected device. Return the seconds to rest."""
        is_any = False
        for device_id in await self._store.read(item_verdicts.devices_with_open):
            link = self._find_link(device_id)
            is_any = is_any or link is not None
            if link is not None and device_id not in self._in_progress:
                self._in_progress.add(device_id)
                tasks.start_soon(self._send_all, link)
        return POLL_S if is_any or self._store.is_shared else REST_S

    async def _send_all(self, link: DeviceLink) -> None:
        try:
            while await self._send_next(link):
                pass
        except StorageError as exc:
            log.error("verdict.database", exc=exc)
        except Exception as exc:  # the other devices' verdicts must go on
            log.error("verdict.broke", exc=exc)
        finally:
            self._in_progress.discard(link.device_id)

    async def _send_next(self, link: DeviceLink) -> bool:
        """Send the oldest verdicts and store the answers. Return True if others may follow."""
        at = now_ms(self._clock)
        due = await self._store.read(
            item_verdicts.due, link.device_id, epoch=link.epoch, at=at, limit=DELIVERIES_AT_ONCE
        )
        if not due:
            return False
        ids, again = [one.id for one in due], at + ANSWER_MS + AGAIN_MS
        taken = await self._store.write(item_verdicts.take, ids, epoch=link.epoch, at=at, again=again)
        answers: list[VerdictAnswer] = []

        async def send(verdict: DueVerdict) -> None:
            if (answer := await self._ask(link, verdict)) is not None:
                answers.append(answer)

        sent = [one for one in due if one.id in taken]
        async with anyio.create_task_group() as senders:
            for one in sent:
                senders.start_soon(send, one)
        await self._settle(link, sent, answers)
        return len(answers) == len(due)

    async def _settle(
        self, link: DeviceLink, sent: Sequence[DueVerdict], answers: Sequence[VerdictAnswer]
    ) -> None:
        at = now_ms(self._clock)
        settled = await self._store.write(
            item_verdicts.settle, link.device_id, answers, epoch=link.epoch, at=at
        )
        for row in settled:
            log.info(
                "verdict.settled",
                verdict_id=row.id,
                item_id=row.item_id,
                device_id=row.device_id,
                state=row.state,
                reason=row.reason,
                sends=row.sends,
            )
        left = {verdict.id for verdict in sent} - {answer.id for answer in answers}
        if left:
            await self._store.write(
                item_verdicts.put_off, sorted(left), epoch=link.epoch, next_at=at + AGAIN_MS
            )

    async def _ask(self, link: DeviceLink, verdict: DueVerdict) -> VerdictAnswer | None:
        """Return the device's answer; None if there is none yet."""
        # The device may have applied what was sent before: only its answer tells.
        is_marked = bool(verdict.warnings) and verdict.verdict in ("approve", "edit")
        if verdict.sends == 0 and (refused := refused_by(link, is_marked=is_marked)) is not None:
            return VerdictAnswer(id=verdict.id, reason=refused)
        seen = verdict.seen_call if verdict.undoes is None else verdict.undoes
        data, titles = _with_titles(verdict.data)
        frame = ToolCall(
            id=verdict.id,
            action=Action.REVIEW_APPLY,
            table=verdict.target_table,
            where={"id": verdict.row_id},
            data=data,
            review=RowReview(verdict=ReviewVerdict(verdict.verdict), seen=seen, titles=titles),
            deadline_ms=ANSWER_MS,
        )
        try:
            answer = await link.call(frame)
        except (CallUnsupported, CallNotGranted) as error:
            return VerdictAnswer(id=verdict.id, reason=error.code)
        except DeliveryError:
            return None
        return _answer_of(verdict, answer)


def refused_by(link: DeviceLink, *, is_marked: bool = False) -> ErrorCode | None:
    """Return why a device takes no verdict from this hub, or None.

    Args:
        is_marked: the verdict approves or edits an item that has a mark.
    """
    if not link.can(CAPABILITY_OF[Action.REVIEW_APPLY]):
        return ErrorCode.CALL_UNSUPPORTED
    granted = link.owner_grants.get(OwnerGrant.REVIEW_REMOTE)
    return ErrorCode.NOT_GRANTED if granted is None or (is_marked and MARKED not in granted) else None


class RowTitle(msgspec.Struct, frozen=True):
    """Row of the item's device."""

    id: str
    title: str


class _Rows(msgspec.Struct):
    rows: list[Record]


async def choices_of(link: DeviceLink, table: DeviceTable, *, call_id: str) -> list[RowTitle] | None:
    """Return the newest approved rows of a device's table by their titles; None: the device does not say."""
    frame = ToolCall(
        id=call_id,
        action=Action.QUERY,
        table=table.name,
        where={"isApproved": 1},
        data={"newest_first": True, "fields": ["id", table.title]},
        limit=MAX_CHOICES,
        deadline_ms=CHOICE_MS,
    )
    try:
        answer = await link.call(frame)
        rows = [] if answer.error is not None else msgspec.convert(answer.result, _Rows).rows
    except (DeliveryError, msgspec.ValidationError):
        return None
    found = [(row.get("id"), row.get(table.title)) for row in rows]
    return [RowTitle(id, title) for id, title in found if isinstance(id, str) and isinstance(title, str)]


_FILLERS: Final = frozenset({Filler.MODEL, Filler.PERSON})


def _with_titles(data: dict[str, Any]) -> tuple[Record, dict[str, str]]:
    """Return the values of a verdict, and the titles of rows that it names instead of their ids."""
    titles = {name: value["title"] for name, value in data.items() if isinstance(value, dict)}
    return {name: value for name, value in data.items() if name not in titles}, titles


def _problems_with_titles(table: DeviceTable, data: dict[str, Any]) -> list[str]:
    """Return the problems of rows that are named by ``{"title": ...}``."""
    problems: list[str] = []
    for name, value in data.items():
        if not isinstance(value, dict):
            continue
        column, title = table.column(name), value.get("title")
        if column is None or column.refers_to is None:
            problems.append(f"{table.name}.{name}: refers to no row, and takes no title")
        elif value.keys() != {"title"} or not isinstance(title, str) or not title.strip():
            problems.append(f'{table.name}.{name}: expected an id, or {{"title": "..."}}')
        elif len(title) > MAX_TITLE:
            problems.append(f"{table.name}.{name}: a title has at most {MAX_TITLE} characters")
    return problems


def lacking(table: DeviceTable, data: Record) -> tuple[str, ...]:
    """Return the fields that a row of *table* needs before it can be approved, and does not have."""
    needed = (column.name for column in table.columns if column.required_to_approve)
    return tuple(name for name in needed if data.get(name) in (None, "", []))


def problem_with(item: ItemRow, new: NewVerdict, tables: Tables) -> str | None:
    """Return why an item cannot have the verdict, by the schema of its table, or None.

    Of a table that is not declared any more, only its device knows the fields.
    """
    table = tables.of(item.target_table)
    if new.verdict in ("reject", "undo"):
        return f"data: '{new.verdict}' takes none" if new.data else None
    if new.verdict == "edit" and not new.data:
        return "data: 'edit' needs the values to write"
    problems = _problems_with_titles(table, new.data)
    plain = {name: value for name, value in new.data.items() if not isinstance(value, dict)}
    problems += problems_of(table, plain, _FILLERS, is_partial=True)
    emptied = [
        column.name
        for column in table.columns
        if column.required and new.data.get(column.name, "-") in (None, "")
    ]
    lacks = lacking(table, item.data | new.data) if new.verdict == "approve" else ()
    problems += [f"{table.name}.{name}: is required" for name in (*emptied, *lacks)]
    return "; ".join(problems[:MAX_PROBLEMS]) or None


def _answer_of(verdict: DueVerdict, answer: Answer) -> VerdictAnswer | None:
    """Return what a device answered; None if it may answer differently when it is asked again."""
    if answer.error is not None and answer.error.code != ErrorCode.NOT_GRANTED and may_change(answer):
        return None
    if answer.error is not None:
        return VerdictAnswer(id=verdict.id, reason=answer.error.code, counter=answer.counter)
    try:
        state = msgspec.convert(answer.result, Reviewed).state
    except msgspec.ValidationError:
        return VerdictAnswer(id=verdict.id, reason=ErrorCode.DEVICE_ERROR, counter=answer.counter)
    return VerdictAnswer(id=verdict.id, state=state, counter=answer.counter)
