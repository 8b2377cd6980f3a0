"""What every route may ask for: who asks, the hub as that one sees it, and where streams are counted."""

from typing import Annotated

from fastapi import Depends, Query, Request

from hub.ops.events import Streams
from hub.ops.facade import HubFacade
from hub.ops.roles import PRINCIPAL, Principal
from storage.store import UnknownUser


def _whole_hub(request: Request) -> HubFacade:
    hub: HubFacade = request.app.state.hub
    return hub


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


def _caller(request: Request) -> Principal:
    principal: Principal = request.scope["state"][PRINCIPAL]
    return principal


WholeHub = Annotated[HubFacade, Depends(_whole_hub)]
OpenStreams = Annotated[Streams, Depends(_streams)]
Caller = Annotated[Principal, Depends(_caller)]


async def _hub(
    hub: WholeHub,
    caller: Caller,
    user: Annotated[
        str | None, Query(max_length=200, description="See this user's things only, by the user's name.")
    ] = None,
) -> HubFacade:
    """The hub as the caller sees it, or as much of it as *user* sees."""
    if user is None:
        return hub.seen_by(caller.user_id)
    user_id = await hub.user_named(user)
    if caller.user_id not in (None, user_id):
        raise UnknownUser(f"there is no user {user!r}")
    return hub.seen_by(user_id)


def _actor(caller: Caller) -> str:
    return caller.actor


Hub = Annotated[HubFacade, Depends(_hub)]
Actor = Annotated[str, Depends(_actor)]
