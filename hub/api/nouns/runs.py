"""Runs: the newest, one of them, one as it goes, and what a person does with one."""

from typing import Annotated

from fastapi import Body, Query
from fastapi.responses import Response
from pydantic import StringConstraints

from hub.api.deps import Actor, Hub, NounRouter, OpenStreams
from hub.api.errors import refusals
from hub.api.etags import Match, Matching, tag_of
from hub.api.events import EventStream
from hub.api.facade import HubFacade
from hub.api.paging import Paging
from hub.api.views.view import RunDetail, RunView, View
from protocol.errors import ErrorCode

_NO_RUN = refusals(ErrorCode.UNKNOWN_RUN)
_NO_CHANGE = refusals(ErrorCode.UNKNOWN_RUN, ErrorCode.ILLEGAL_TRANSITION, ErrorCode.STALE_RUN)

router = NounRouter(prefix="/v1/runs", tags=["runs"])


class Runs(View):
    """Some runs."""

    runs: tuple[RunView, ...]
    next_cursor: str | None = None


class Cancellation(View):
    """Why a run is cancelled; the first reason stays."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")] = (
        "cancelled by an operator"
    )


@router.get("", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def list_runs(
    hub: Hub, paging: Paging, agent: Annotated[str | None, Query(max_length=200)] = None
) -> Runs:
    """The newest runs first, of all agents or of one."""
    found = await hub.runs.newest(agent=agent, limit=paging.limit + 1, before=paging.after_text())
    page = paging.fetched(found, key=lambda run: (run.id,))
    return Runs(runs=page.items, next_cursor=page.next_cursor)


@router.get("/{run_id}", responses=_NO_RUN)
async def get_run(hub: Hub, run_id: str, match: Match) -> RunDetail:
    """One run with its files, errors and moves. Six or more last characters of its id are enough."""
    run = await hub.runs.get(run_id)
    match.tell(_tag(run))
    return run


@router.get("/{run_id}/events", status_code=200, response_class=EventStream, responses=_NO_RUN)
async def follow_run(hub: Hub, streams: OpenStreams, run_id: str) -> Response:
    """Server-sent events named ``progress``, from now until the run's state is final."""
    run = await hub.runs.get(run_id)  # an unknown run is a 404, which cannot be said once events flow
    return EventStream(hub.runs.follow(run.id), name="progress", streams=streams)


@router.post("/{run_id}/cancel", responses=_NO_CHANGE)
async def cancel_run(
    hub: Hub,
    actor: Actor,
    run_id: str,
    match: Match,
    why: Annotated[Cancellation, Body(default_factory=Cancellation)],
) -> RunView:
    """End it. What it brought to its device stays. A run that has ended is answered as it is."""
    await _check(hub, run_id, match)
    return _tagged(await hub.runs.cancel(run_id, reason=why.reason, actor=actor), match)


@router.post("/{run_id}/pause", responses=_NO_CHANGE)
async def pause_run(hub: Hub, actor: Actor, run_id: str, match: Match) -> RunView:
    """Let it wait until it is resumed."""
    await _check(hub, run_id, match)
    return _tagged(await hub.runs.pause(run_id, actor=actor), match)


@router.post("/{run_id}/resume", responses=_NO_CHANGE)
async def resume_run(hub: Hub, actor: Actor, run_id: str, match: Match) -> RunView:
    """Queue a run again that a person had paused."""
    await _check(hub, run_id, match)
    return _tagged(await hub.runs.resume(run_id, actor=actor), match)


@router.post(
    "/{run_id}/rerun",
    status_code=202,
    responses=refusals(ErrorCode.UNKNOWN_RUN, ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED),
)
async def rerun(hub: Hub, actor: Actor, run_id: str, response: Response) -> RunView:
    """A new run of the same agent; files that are settled are not read again."""
    run = await hub.runs.rerun(run_id, actor=actor)
    response.headers["location"] = f"/v1/runs/{run.id}"
    return run


def _tag(run: RunView) -> str:
    """Of where the run stands, not of how far it got."""
    return tag_of(run.id, run.state, run.is_pausing, run.reason)


def _tagged(run: RunView, match: Matching) -> RunView:
    match.tell(_tag(run))
    return run


async def _check(hub: HubFacade, run_id: str, match: Matching) -> None:
    if match.is_asked:
        match.check(_tag(await hub.runs.get(run_id)))
