"""What happens, as it happens: one stream of server-sent events."""

from typing import Annotated

from fastapi import Header, Query
from fastapi.responses import Response

from hub.api.deps import Hub, NounRouter, OpenStreams
from hub.api.errors import refusals
from hub.api.events import EventStream
from hub.api.nouns.agents import Agents
from hub.api.views.events import EventView
from protocol.errors import ErrorCode
from protocol.ids import AgentId

router = NounRouter(prefix="/v1/events", tags=["events"])


Kinds = Annotated[
    str,
    Query(
        max_length=500,
        description="Names, or all of a kind, as in ``agent.moved,run.*``; ``run`` says the same.",
    ),
]


@router.get("", status_code=200, response_class=EventStream, responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def follow_events(
    hub: Hub,
    streams: OpenStreams,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    events: Kinds = "",
    agent: Annotated[str | None, Query(max_length=200, description="Only what is about this agent.")] = None,
) -> Response:
    """Server-sent events, from now on, or after ``Last-Event-ID``; ``reset``: read the state again.

    Open the stream first, then read the state: so nothing falls between the two. Events are those
    that the log tells: with ``[log] level = "warning"`` there are few.
    """
    kinds = {kind.strip().removesuffix(".*") for kind in events.split(",") if kind.strip()} - {""}
    if "*" in kinds:
        kinds = set()
    agent_id = None if agent is None else AgentId((await hub.noun(Agents).get(agent)).id)
    told = hub.events.follow(last_event_id, kinds=kinds, agent_id=agent_id)
    return EventStream(told, spell=_spelled, streams=streams)


def _spelled(event: EventView) -> str:
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.model_dump_json()}\n\n"
