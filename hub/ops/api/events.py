"""What happens, as it happens: one stream of server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from hub.ops.api.deps import Hub, OpenStreams
from hub.ops.events import EventStream
from hub.ops.views_events import EventView

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get("", status_code=200, response_class=EventStream)
async def follow_events(
    hub: Hub, streams: OpenStreams, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> Response:
    """Server-sent events, from now on, or after ``Last-Event-ID``; ``reset``: read the state again.

    Open the stream first, then read the state: so nothing falls between the two. Events are those
    that the log tells: with ``[log] level = "warning"`` there are few.
    """
    return EventStream(hub.events.follow(last_event_id), spell=_spelled, streams=streams)


def _spelled(event: EventView) -> str:
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.model_dump_json()}\n\n"
