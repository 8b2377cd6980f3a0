"""Runs: the newest, one of them, and one as it goes."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from hub.ops.api.deps import Hub, OpenStreams
from hub.ops.events import EventStream
from hub.ops.facade import RunDetail, RunView, View

router = APIRouter(prefix="/v1/runs", tags=["runs"])


class Runs(View):
    """Some runs."""

    runs: tuple[RunView, ...]


@router.get("")
async def list_runs(
    hub: Hub, agent: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 50
) -> Runs:
    """The newest runs first, of all agents or of one."""
    return Runs(runs=tuple(await hub.runs(agent=agent, limit=limit)))


@router.get("/{run_id}")
async def get_run(hub: Hub, run_id: str) -> RunDetail:
    """One run with its files, errors and moves."""
    return await hub.run(run_id)


@router.get("/{run_id}/events", status_code=200, response_class=EventStream)
async def follow_run(hub: Hub, streams: OpenStreams, run_id: str) -> Response:
    """Server-sent events named ``progress``, from now until the run's state is final."""
    await hub.run(run_id)  # an unknown run is a 404, which cannot be said once events flow
    return EventStream(hub.follow_run(run_id), name="progress", streams=streams)
