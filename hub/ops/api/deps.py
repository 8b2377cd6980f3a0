"""What every route may ask for."""

from typing import Annotated

from fastapi import Depends, Request

from hub.ops.access import PEER_UID
from hub.ops.events import Streams
from hub.ops.facade import HubFacade


def _hub(request: Request) -> HubFacade:
    hub: HubFacade = request.app.state.hub
    return hub


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


def _actor(request: Request) -> str:
    """Who asks, as the Unix socket knows it. What changes something never comes in over TCP."""
    uid = request.scope["state"].get(PEER_UID)
    return "operator" if uid is None else f"operator:{uid}"


Hub = Annotated[HubFacade, Depends(_hub)]
OpenStreams = Annotated[Streams, Depends(_streams)]
Actor = Annotated[str, Depends(_actor)]
