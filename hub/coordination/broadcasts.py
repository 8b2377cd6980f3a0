"""Broadcasts to leads of boards: creation, waiting for answers, resumption after a restart.

A broadcast is committed in one transaction, with one message per board. The courier delivers a few messages
of each gateway at a time, so that an unreachable gateway does not delay the others. The result of a broadcast
is computed from its messages on each request.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.message_transitions import Waiters
from hub.coordination.messages import MAX_WAIT_S, WAIT_S, MessageService, ToLead
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import BroadcastId, GatewayId, MessageId, RunId, UserId, trace_id_of
from storage import audit
from storage.audit import AuditEntry
from storage.coordination import boards, messages
from storage.coordination.boards import LeadHome
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import (
    Aim,
    BoardResult,
    BroadcastRow,
    DeliveryTally,
    NewBroadcast,
    RefusedBoard,
)
from storage.kernel.columns import Key
from storage.kernel.database import StorageError
from storage.store import Connection, Store

log = Channel(__name__)

POLL_S: Final = 30.0  # another hub may have delivered the last messages
AT_ONCE: Final = 100  # broadcasts per read
NAME_CHARACTERS: Final = 200  # longest stored name of a refused board


class BroadcastStatus(msgspec.Struct, frozen=True):
    """A broadcast with its counts, and the results for some of its boards."""

    row: BroadcastRow
    tally: DeliveryTally
    results: Sequence[BoardResult] = ()

    @property
    def is_ok(self) -> bool:
        """True if the broadcast was delivered to the lead of every board."""
        return self.tally.failed == 0 and self.tally.waiting == 0


class BroadcastService:
    """Service that sends and settles broadcasts.

    Attributes:
        most_boards: limit of boards per broadcast.
    """

    def __init__(
        self,
        store: Store,
        sent: MessageService,
        courier: MessageDeliveryService,
        *,
        owner_id: UserId,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self.most_boards = 1_000
        self._store = store
        self._messages = sent
        self._courier = courier
        self._owner_id = owner_id
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._moved: set[str] = set()  # broadcasts with a changed message
        self._waiters = Waiters(clock)
        courier.listen(self._on_message)

    async def send(
        self,
        caller: Caller,
        message: ToLead,
        named: Sequence[str] | None = None,
        *,
        wait_s: float = WAIT_S,
    ) -> BroadcastStatus:
        """Send a broadcast. Return it once all leads have it, or its state after *wait_s*.

        Args:
            named: boards by name or id; None for all boards of the caller. An unknown board is refused by
                itself, and reported in the results.

        Raises:
            CodedError: the caller is an agent, but not a main agent.
            LimitReached, LimitReached, CodedError:
                nothing was written.
        """
        gateway_id = await self._gateway_of(caller)
        checked = message.checked()
        user_id = caller.user_id or self._owner_id
        places = await self._store.read(boards.list_places, user_id)
        recipients, refused = self._recipients(places, gateway_id, named)
        if not recipients and not refused:
            raise CodedError(ErrorCode.BAD_PARAMS, "boards: there is none that it could go to")
        id, at = BroadcastId(self._ids.fresh()), now_ms(self._clock)
        new = NewBroadcast(
            id=id,
            user_id=user_id,
            gateway_id=gateway_id,
            kind=checked.kind,
            content=checked.content,
            from_agent_id=caller.agent_id,
            actor=caller.actor,
            correlation_id=checked.correlation_id,
            reply_tags=tuple(checked.reply_tags),
            reply_source=checked.reply_source,
            trace_id=trace_id_of(RunId(id)),
            dedupe_key=None
            if checked.dedupe_key is None
            else f"{user_id}:{caller.actor}:{checked.dedupe_key}",
            refused=tuple(refused),
            at=at,
            expires_at=at + round(self._messages.expires_s * 1_000),
        )
        detail: audit.Detail = {"kind": str(checked.kind), "boards": len(recipients), "refused": len(refused)}
        entry = AuditEntry(at=at, actor=caller.actor, event="broadcast.sent", subject=id, detail=detail)
        row = await self._write(
            audit.audited(messages.add_broadcast, lambda row: entry if row.id == id else None),
            new,
            self._aims(recipients),
            limits=self._messages.limits,
        )
        if row.id == id:
            log.info("broadcast.sent", broadcast_id=id, boards=len(recipients), refused=len(refused))
        if row.id == id and row.settled_at is not None:
            await self._report_settled(row)
        self._courier.kick()
        return await self._settled_or(row.id, wait_s)

    async def resume(self, caller: Caller, id: str, *, wait_s: float = WAIT_S) -> BroadcastStatus:
        """Send a broadcast again to the leads that did not get it. Messages on their way continue.

        Refused boards are looked up again. Leads that have the message, or may have it, get no second one.

        Raises:
            CodedError: the caller may not, or its message is invalid.
            LimitReached: nothing was written.
        """
        seen = await self._seen(caller, id)
        places = await self._store.read(boards.list_places, seen.user_id)
        named = [refusal.given for refusal in seen.refused]
        recipients, refused = self._recipients(places, seen.gateway_id, named) if named else ([], [])
        at = now_ms(self._clock)
        row = await self._write(
            messages.resume,
            seen.id,
            [MessageId(self._ids.fresh()) for _ in range(seen.boards)],
            self._aims(recipients),
            refused,
            expires_at=at + round(self._messages.expires_s * 1_000),
            at=at,
            actor=caller.actor,
            limits=self._messages.limits,
        )
        if row.rounds != seen.rounds:
            log.info("broadcast.resumed", broadcast_id=row.id, round=row.rounds)
        self._courier.kick()
        return await self._settled_or(row.id, wait_s)

    async def get(self, caller: Caller, id: str) -> BroadcastStatus:
        """Return the current state of a broadcast, without results per board.

        Raises:
            CodedError
        """

        def read(c: Connection) -> BroadcastStatus:
            row = _seen(c, caller, id)
            return BroadcastStatus(row, messages.tally_of(c, row))

        return await self._store.read(read)

    async def results(self, id: str, *, limit: int, after: Key | None = None) -> Sequence[BoardResult]:
        """Return the results per board; refused boards are not included."""
        return await self._store.read(messages.results_of, id, after=after, limit=limit)

    async def page(
        self, caller: Caller, *, limit: int | None, after: Key | None = None
    ) -> list[BroadcastStatus]:
        """Return the broadcasts visible to the caller, newest first; a main agent sees its gateway's.

        Raises:
            CodedError
        """

        def read(c: Connection) -> list[BroadcastStatus]:
            rows = messages.list_broadcasts(
                c,
                user_id=caller.user_id,
                gateway_id=_gateway_of(c, caller),
                after=after,
                limit=limit,
            )
            return [BroadcastStatus(row, messages.tally_of(c, row)) for row in rows]

        return await self._store.read(read)

    # --- recipients ---

    async def _gateway_of(self, caller: Caller) -> GatewayId | None:
        """Return the gateway of a calling main agent, or None for a person. Raises CodedError."""
        return await self._store.read(_gateway_of, caller)

    def _recipients(
        self, places: Sequence[LeadHome], gateway_id: GatewayId | None, named: Sequence[str] | None
    ) -> tuple[list[LeadHome], list[RefusedBoard]]:
        """Return the recipient boards without duplicates, by name, and the refused boards with reasons."""
        if named is None:
            named = [place.board_id for place in places if gateway_id in (None, place.gateway_id)]
        matches = list(_found(places, named))
        if len(matches) > self.most_boards:
            self._metrics.limits_reached.labels("boards_per_broadcast").inc()
            raise LimitReached(
                f"a broadcast goes to at most {self.most_boards} boards", limit="boards_per_broadcast"
            )
        recipients: dict[str, LeadHome] = {}
        refused: dict[str, RefusedBoard] = {}
        for given, place in matches:
            why = _why_not(given, place, gateway_id)
            if why is None and place is not None:
                recipients.setdefault(place.board_id, place)
            elif why is not None:
                key = given if place is None else place.board_id
                refused.setdefault(key, _refused(given, place, *why))
        return sorted(recipients.values(), key=lambda place: (place.name, place.board_id)), list(
            refused.values()
        )

    def _aims(self, places: Sequence[LeadHome]) -> list[Aim]:
        ids = sorted(self._ids.fresh() for _ in places)  # results are listed in the order of the ids
        return [
            Aim(
                message_id=MessageId(id),
                board_id=place.board_id,
                gateway_id=place.goes_over[0],
                device_id=place.goes_over[1],
            )
            for id, place in zip(ids, places, strict=True)
        ]

    # --- waiting and settling ---

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Settle broadcasts until cancelled."""
        task_status.started()
        # Deliveries within a tenth of a second are counted together.
        await self.loop.serve(self._settle_moved, of="broadcasts", every_s=POLL_S, least_s=0.1)

    async def _settle_moved(self) -> None:
        """Settle the broadcasts with a changed message; after a rest all open ones."""
        moved, self._moved = self._moved, set()
        try:
            for id in moved:
                await self._settle(id)
        except StorageError:
            self._moved |= moved
            raise
        if self.loop.is_rested:
            await self._settle_all()

    async def _settle_all(self) -> None:
        after = ""
        while found := await self._store.read(messages.list_open, after, AT_ONCE):
            for id in found:
                await self._settle(id)
            after = found[-1]

    async def _settle(self, id: str) -> None:
        row = await self._store.write(messages.settle, id, at=now_ms(self._clock))
        if row is not None:
            await self._report_settled(row)

    async def _report_settled(self, row: BroadcastRow) -> None:
        tally = await self._store.read(messages.tally_of, row)
        outcome = "failed" if not tally.sent else "partial" if tally.failed else "sent"
        self._metrics.broadcasts.labels(outcome).inc()
        log.info(
            "broadcast.settled",
            broadcast_id=row.id,
            round=row.rounds,
            sent=tally.sent,
            failed=tally.failed,
        )
        self._waiters.notify(row.id)

    def _on_message(self, moved: MessageRow) -> None:
        if moved.broadcast_id is not None and (moved.is_delivered or moved.settled_at is not None):
            self._moved.add(moved.broadcast_id)
            self.loop.wake()

    async def _settled_or(self, id: BroadcastId, wait_s: float) -> BroadcastStatus:
        """Return the broadcast once it is settled, or its state after *wait_s*."""

        async def read() -> BroadcastRow:
            return await self._store.read(messages.get_broadcast, id)

        row = await self._waiters.wait(
            id,
            min(MAX_WAIT_S, max(0.0, wait_s)),
            read,
            lambda row: row.settled_at is not None,
            poll_s=1.0,
        )
        return BroadcastStatus(row, await self._store.read(messages.tally_of, row))

    async def _write(self, fn: Callable[..., BroadcastRow], *args: Any, **kwargs: Any) -> BroadcastRow:
        with self._metrics.count_limits():
            return await self._store.write(fn, *args, **kwargs)

    async def _seen(self, caller: Caller, id: str) -> BroadcastRow:
        return await self._store.read(_seen, caller, id)


def _gateway_of(c: Connection, caller: Caller) -> GatewayId | None:
    return None if caller.agent_id is None else board_access.main_of(c, caller)


def _seen(c: Connection, caller: Caller, id: str) -> BroadcastRow:
    gateway_id = _gateway_of(c, caller)
    row = messages.get_broadcast(c, id, caller.user_id)
    if caller.user_id not in (None, row.user_id) or gateway_id not in (None, row.gateway_id):
        raise CodedError(ErrorCode.UNKNOWN_BROADCAST, f"there is no broadcast {id}")
    return row


def _found(places: Sequence[LeadHome], named: Sequence[str]) -> Iterator[tuple[str, LeadHome | None]]:
    """Yield each given name with its board, found by id or else by name."""
    by_id = {str(place.board_id): place for place in places}
    by_name = {place.name: place for place in places}
    for given in named:
        yield given, by_id.get(given) or by_name.get(given)


def _why_not(
    given: str, place: LeadHome | None, gateway_id: GatewayId | None
) -> tuple[ErrorCode, str] | None:
    """Return why a board is refused, or None if it is a recipient."""
    if place is None:
        return ErrorCode.UNKNOWN_BOARD, f"there is no board {given[:NAME_CHARACTERS]!r}"
    if gateway_id not in (None, place.gateway_id):
        return ErrorCode.NOT_YOUR_BOARD, f"board {place.name} is not one of this gateway"
    return place.refusal


def _refused(given: str, place: LeadHome | None, code: ErrorCode, error: str) -> RefusedBoard:
    known: Mapping[str, Any] = {} if place is None else {"board_id": place.board_id, "board": place.name}
    return RefusedBoard(given=given[:NAME_CHARACTERS], code=str(code), error=error, **known)
