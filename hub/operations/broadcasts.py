"""Broadcasts to leads, as operators and gateways' main agents are told of them."""

from collections.abc import Callable, Sequence
from typing import cast

from hub.api.facades.broadcasts import BroadcastStanding
from hub.api.views.leads import BroadcastResultView, BroadcastView, LeadKindWord
from hub.clock import from_epoch_ms
from hub.coordination.authority import Caller
from hub.coordination.broadcasts import Broadcasts, Standing
from hub.coordination.lead_messages import ToLead
from hub.operations.moments import moment
from protocol.errors import ErrorCode
from protocol.messages import DELIVERED, MessageState
from storage.coordination import questions
from storage.coordination.broadcasts import BoardResult, Refused
from storage.store import Store


class BroadcastOperations:
    """Implements ``api.facades.broadcasts.BroadcastFacade``.

    Args:
        why_away: why a gateway cannot be spoken to just now, by its name; ``None``: it can.
    """

    def __init__(self, store: Store, sent: Broadcasts, *, why_away: Callable[[str], str | None]) -> None:
        self._store = store
        self._broadcasts = sent
        self._why_away = why_away

    async def send(
        self, caller: Caller, said: ToLead, boards: Sequence[str] | None, *, wait_s: float, limit: int
    ) -> BroadcastStanding:
        """Say something to the leads of boards."""
        is_decision = caller.agent_id is None
        stands = await self._broadcasts.send(caller, said, boards, wait_s=wait_s, is_decision=is_decision)
        return await self._told(stands, limit=limit)

    async def page(
        self, caller: Caller, *, limit: int, after: tuple[int, str] | None = None
    ) -> list[BroadcastView]:
        """Broadcasts, the newest first."""
        found = await self._broadcasts.page(caller, limit=limit, after=after)
        named = await self._store.read(questions.told_actors, {stands.row.actor for stands in found})
        return [_view(stands, named) for stands in found]

    async def get(
        self, caller: Caller, id: str, *, limit: int, after: str | None = None
    ) -> BroadcastStanding:
        """A broadcast as it stands now."""
        return await self._told(await self._broadcasts.get(caller, id), limit=limit, after=after)

    async def resume(self, caller: Caller, id: str, *, wait_s: float, limit: int) -> BroadcastStanding:
        """Say it again to those leads that never got it."""
        return await self._told(await self._broadcasts.resume(caller, id, wait_s=wait_s), limit=limit)

    async def _told(self, stands: Standing, *, limit: int, after: str | None = None) -> BroadcastStanding:
        named = await self._store.read(questions.told_actors, {stands.row.actor})
        found = await self._broadcasts.results(stands.row.id, after=after or "", limit=limit)
        refused = () if after is not None else tuple(map(_refused, stands.row.refused))
        return BroadcastStanding(_view(stands, named), (*refused, *map(self._result, found)))

    def _result(self, found: BoardResult) -> BroadcastResultView:
        code, error = found.code, found.error
        if found.state is MessageState.WAITING and found.gateway is not None:
            away = self._why_away(found.gateway)
            if away is not None:
                code, error = str(ErrorCode.GATEWAY_UNREACHABLE), away
        return BroadcastResultView(
            board=found.board,
            board_id=found.board_id,
            ok=found.state in DELIVERED,
            state=found.state.value,
            lead=found.lead,
            lead_id=found.lead_id,
            lead_created=found.lead_created,
            gateway=found.gateway,
            message_id=found.message_id,
            code=code,
            error=error,
        )


def _refused(one: Refused) -> BroadcastResultView:
    return BroadcastResultView(
        board=one.board or one.given,
        board_id=one.board_id,
        ok=False,
        state="refused",
        code=one.code,
        error=one.error,
    )


def _view(stands: Standing, named: dict[str, str]) -> BroadcastView:
    row = stands.row
    return BroadcastView(
        id=row.id,
        user=row.user,
        gateway=row.gateway,
        kind=cast("LeadKindWord", row.kind.value),
        content=row.content,
        from_agent=row.from_agent,
        sent_by=named[row.actor],
        correlation_id=row.correlation_id,
        ok=stands.is_ok,
        boards=row.boards,
        sent=stands.tally.sent,
        failed=stands.tally.failed,
        waiting=stands.tally.waiting,
        rounds=row.rounds,
        trace_id=row.trace_id,
        created_at=from_epoch_ms(row.created_at),
        # One that is tried again by hand, or was not heard after all, is on its way again.
        settled_at=None if stands.tally.waiting else moment(row.settled_at),
    )
