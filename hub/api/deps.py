"""Dependencies of routes: the caller, the hub scoped to the caller, and the counter of event streams."""

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Header, Query, Request

from hub.api.door.access import ROUTE
from hub.api.door.roles import PRINCIPAL, Principal
from hub.api.door.routes import Asked
from hub.api.events import Streams
from hub.api.facade import HubFacade
from hub.coordination import authority
from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.devices.users import UnknownUser


class Served(NamedTuple):
    """State of an operators' server that its routes answer from.

    Attributes:
        streams: the open event streams, and the limit on them.
        metrics: returns the body of ``/metrics``, in Prometheus' text format.
    """

    hub: HubFacade
    streams: Streams
    metrics: Callable[[], bytes]


SERVED: Final = "served"  # in the scope's state: the server's Served


def _served(request: Request) -> Served:
    served: Served = request.scope["state"][SERVED]
    return served


def _whole_hub(request: Request) -> HubFacade:
    return _served(request).hub


def _streams(request: Request) -> Streams:
    return _served(request).streams


def _metrics(request: Request) -> Callable[[], bytes]:
    return _served(request).metrics


def _caller(request: Request) -> Principal:
    principal: Principal = request.scope["state"][PRINCIPAL]
    return principal


class NotInTheTable(HubError):
    """The route has no row in ``api/door/routes``, so no role may use it."""

    code = ErrorCode.FORBIDDEN


def stands_in_the_table(request: Request) -> None:
    """Refuse a request whose route in the application is not the one in the table of routes.

    Raises:
        NotInTheTable: the table has another route for it, or none.
    """
    asked: Asked | None = request.scope["state"].get(ROUTE)
    if asked is None or asked.path != request.scope["route"].path:
        raise NotInTheTable(f"{request.method} {request.url.path} is not in the table of routes")


class NounRouter(APIRouter):
    """The routes of a noun. Added to the application as is: ``include_router`` would rebuild each route."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dependencies=[Depends(stands_in_the_table)], **options)


WholeHub = Annotated[HubFacade, Depends(_whole_hub)]
Metrics = Annotated[Callable[[], bytes], Depends(_metrics)]
OpenStreams = Annotated[Streams, Depends(_streams)]
Caller = Annotated[Principal, Depends(_caller)]


async def _seen(
    hub: WholeHub,
    caller: Caller,
    user: Annotated[
        str | None, Query(max_length=200, description="See this user's things only, by the user's name.")
    ] = None,
) -> UserId | None:
    """Return the user whose objects are visible: the caller's, or *user* as requested; None: all users."""
    if user is None:
        return caller.user_id
    user_id = await hub.user_named(user)
    if caller.user_id not in (None, user_id):
        raise UnknownUser(f"there is no user {user!r}")
    return user_id


_Seen = Annotated[UserId | None, Depends(_seen)]


async def _hub(hub: WholeHub, seen: _Seen) -> HubFacade:
    """Return the hub, scoped to the user whose objects are visible."""
    return hub.seen_by(seen)


def _actor(caller: Caller) -> str:
    return caller.actor


async def _operator(caller: Caller, seen: _Seen) -> authority.Caller:
    """Return the caller of an operators' route as an ``authority.Caller``."""
    return authority.Caller(caller.actor, seen)


async def _agent(caller: Caller) -> authority.Caller:
    """Return the agent that calls a route under /v1/agent."""
    assert caller.agent_id is not None and caller.user_id is not None, "the table lets agents alone come here"
    return authority.Caller(caller.actor, caller.user_id, caller.agent_id)


Hub = Annotated[HubFacade, Depends(_hub)]
Actor = Annotated[str, Depends(_actor)]
AnOperator = Annotated[authority.Caller, Depends(_operator)]
AnAgent = Annotated[authority.Caller, Depends(_agent)]
# Stored with the written row, in addition to the response in ``api.door.idempotency``: a hub that is killed
# between the two finds the row when the request is repeated.
Key = Annotated[str | None, Header(alias="idempotency-key", min_length=1, max_length=128)]
