"""What every route may ask for."""

from typing import Annotated

from fastapi import Depends, Request

from hub.ops.events import Streams
from hub.ops.facade import HubFacade


def _hub(request: Request) -> HubFacade:
    hub: HubFacade = request.app.state.hub
    return hub


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


Hub = Annotated[HubFacade, Depends(_hub)]
OpenStreams = Annotated[Streams, Depends(_streams)]
