"""How agents stand: read, written and remembered, on our axes and in the words of other vocabularies."""

from typing import Annotated, Any

from fastapi import Body, Query
from pydantic import Field

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, tag_of
from hub.api.paging import Paging
from hub.api.views.standings import AgentMoveView, StandingChange, StandingView
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/agents/{name}", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT))

_WRITES = refusals(
    ErrorCode.UNKNOWN_AGENT, ErrorCode.BAD_STATUS, ErrorCode.BAD_PARAMS, ErrorCode.MANAGED_BY_FILE
)


class Moves(View):
    """Some moves of an agent, the newest first."""

    moves: tuple[AgentMoveView, ...]
    next_cursor: str | None = None


class End(View):
    """Why an agent is terminated."""

    reason: Annotated[str | None, Field(max_length=1_000, pattern=r"^[^\x00]*$")] = None


@router.get("/status")
async def get_status(hub: Hub, name: str, match: Match) -> StandingView:
    """How an agent stands on each axis, since when, why, and where it may go from there."""
    return _tagged(await hub.standings.get(name), match)


@router.patch("/status", responses=_WRITES)
async def change_status(
    hub: Hub, actor: Actor, name: str, match: Match, change: Annotated[StandingChange, Body()]
) -> StandingView:
    """Move it on axes. A move that an axis has not is refused with those it has; then nothing is done."""
    version = None
    if match.is_asked:
        now = await hub.standings.get(name)
        match.check(_tag(now))
        version = now.version
    return _tagged(await hub.standings.change(name, change, version=version, actor=actor), match)


@router.post("/terminate", responses=_WRITES)
async def terminate_agent(
    hub: Hub, actor: Actor, name: str, match: Match, end: Annotated[End, Body(default_factory=End)]
) -> StandingView:
    """End it, for good: its live runs are cancelled, its schedules removed; its history stays."""
    return _tagged(await hub.standings.terminate(name, reason=end.reason, actor=actor), match)


@router.get("/history")
async def list_moves(
    hub: Hub,
    name: str,
    paging: Paging,
    axis: Annotated[
        str | None, Query(max_length=20, description="Moves on this axis only, as in lifecycle.")
    ] = None,
) -> Moves:
    """Every move of the agent on an axis: when, from where to where, why, and who."""
    found = await hub.standings.history(name, limit=paging.limit + 1, below=paging.after_number(), axis=axis)
    page = paging.fetched(found, key=lambda move: (move.seq,))
    return Moves(moves=page.items, next_cursor=page.next_cursor)


@router.get("/as/{vocabulary}")
async def get_document(hub: Hub, name: str, vocabulary: str) -> dict[str, Any]:
    """The agent whole, in the words of another vocabulary: calendar, orchestrator, foundation or runlog."""
    return await hub.standings.document(name, vocabulary)


@router.patch("/as/{vocabulary}", responses=_WRITES)
async def change_document(
    hub: Hub, actor: Actor, name: str, vocabulary: str, change: Annotated[dict[str, Any], Body()]
) -> dict[str, Any]:
    """Write columns of that vocabulary, as in ``{"status": "on_call"}``; a derived word is refused."""
    return await hub.standings.change_document(name, vocabulary, change, actor=actor)


def _tag(standing: StandingView) -> str:
    return tag_of(standing.agent, standing.version)


def _tagged(standing: StandingView, match: Match) -> StandingView:
    match.tell(_tag(standing))
    return standing
