"""Parameters of routes that are no part of the request: the caller, the scoped hub, the event streams."""

from collections.abc import Callable
from typing import Annotated, Final, NamedTuple

from anyio import to_thread
from msgspec import Meta
from starlette.datastructures import Headers
from starlette.responses import Response

from hub.api.binding import Call, From, Header
from hub.api.door.roles import PRINCIPAL, Principal
from hub.api.events import Streams
from hub.api.hub import Hub
from hub.coordination import authority
from protocol.ids import UserId
from storage.devices.users import UnknownUser


class Served(NamedTuple):
    """State of an operators' server that its routes answer from.

    Attributes:
        streams: the open event streams, and the limit on them.
        metrics: returns the body of ``/metrics``, in Prometheus' text format.
        document: answers a request with these headers for the OpenAPI document.
    """

    hub: Hub
    streams: Streams
    metrics: Callable[[], bytes]
    document: Callable[[Headers], Response]


SERVED: Final = "served"  # in the scope's state: the server's Served


def _served(call: Call) -> Served:
    served: Served = call.scope["state"][SERVED]
    return served


def whole_hub(call: Call) -> Hub:
    """Return the hub as everybody's, for routes that are not scoped."""
    return _served(call).hub


def _streams(call: Call) -> Streams:
    return _served(call).streams


def _metrics(call: Call) -> bytes:
    return _served(call).metrics()


async def _document(call: Call) -> Response:
    # In a thread, as building it takes a while.
    return await to_thread.run_sync(_served(call).document, call.headers)


def _caller(call: Call) -> Principal:
    principal: Principal = call.scope["state"][PRINCIPAL]
    return principal


Document = Annotated[Response, From(_document)]
Exposed = Annotated[bytes, From(_metrics)]
OpenStreams = Annotated[Streams, From(_streams)]
Caller = Annotated[Principal, From(_caller)]


async def _seen(
    call: Call,
    caller: Caller,
    user: Annotated[str, Meta(max_length=200, description="See this user's things only, by the user's name.")]
    | None = None,
) -> UserId | None:
    """Return the user whose objects are visible: the caller's, or *user* as requested; None: all users."""
    if user is None:
        return caller.user_id
    user_id = await whole_hub(call).user_named(user)
    if caller.user_id not in (None, user_id):
        raise UnknownUser(f"there is no user {user!r}")
    return user_id


_Seen = Annotated[UserId | None, From(_seen)]


def scoped_hub(call: Call, seen: _Seen) -> Hub:
    """Return the hub, scoped to the user whose objects are visible."""
    return whole_hub(call).seen_by(seen)


def _actor(caller: Caller) -> str:
    return caller.actor


def operator(caller: Caller, seen: _Seen) -> authority.Caller:
    """Return the caller of an operators' route as an ``authority.Caller``."""
    return authority.Caller(caller.actor, seen)


def agent(caller: Caller) -> authority.Caller:
    """Return the agent that calls a route under /v1/agent."""
    assert caller.agent_id is not None and caller.user_id is not None, "the table lets agents alone come here"
    return authority.Caller(caller.actor, caller.user_id, caller.agent_id)


Actor = Annotated[str, From(_actor)]
# Stored with the written row, in addition to the response in ``api.door.idempotency``: a hub that is killed
# between the two finds the row when the request is repeated.
Key = Annotated[Annotated[str, Meta(min_length=1, max_length=128)] | None, Header("idempotency-key")]
