"""Runs: the newest, one of them, one as it goes, and what a person does with one."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response
from pydantic import StringConstraints

from hub.ops.api.deps import Actor, Hub, OpenStreams
from hub.ops.events import EventStream
from hub.ops.views import RunDetail, RunView, View

router = APIRouter(prefix="/v1/runs", tags=["runs"])


class Runs(View):
    """Some runs."""

    runs: tuple[RunView, ...]


class Cancellation(View):
    """Why a run is cancelled; the first reason stays."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "cancelled by an operator"


@router.get("")
async def list_runs(
    hub: Hub, agent: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 50
) -> Runs:
    """The newest runs first, of all agents or of one."""
    return Runs(runs=tuple(await hub.runs.newest(agent=agent, limit=limit)))


@router.get("/{run_id}")
async def get_run(hub: Hub, run_id: str) -> RunDetail:
    """One run with its files, errors and moves. Six or more last characters of its id are enough."""
    return await hub.runs.get(run_id)


@router.get("/{run_id}/events", status_code=200, response_class=EventStream)
async def follow_run(hub: Hub, streams: OpenStreams, run_id: str) -> Response:
    """Server-sent events named ``progress``, from now until the run's state is final."""
    run = await hub.runs.get(run_id)  # an unknown run is a 404, which cannot be said once events flow
    return EventStream(hub.runs.follow(run.id), name="progress", streams=streams)


@router.post("/{run_id}/cancel")
async def cancel_run(
    hub: Hub, actor: Actor, run_id: str, why: Annotated[Cancellation, Body(default_factory=Cancellation)]
) -> RunView:
    """End it. What it brought to its device stays. A run that has ended is answered as it is."""
    return await hub.runs.cancel(run_id, reason=why.reason, actor=actor)


@router.post("/{run_id}/pause")
async def pause_run(hub: Hub, actor: Actor, run_id: str) -> RunView:
    """Let it wait until it is resumed."""
    return await hub.runs.pause(run_id, actor=actor)


@router.post("/{run_id}/resume")
async def resume_run(hub: Hub, actor: Actor, run_id: str) -> RunView:
    """Queue a run again that a person had paused."""
    return await hub.runs.resume(run_id, actor=actor)


@router.post("/{run_id}/rerun", status_code=202)
async def rerun(hub: Hub, actor: Actor, run_id: str, response: Response) -> RunView:
    """A new run of the same agent; files that are settled are not read again."""
    run = await hub.runs.rerun(run_id, actor=actor)
    response.headers["location"] = f"/v1/runs/{run.id}"
    return run
