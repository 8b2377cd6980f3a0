"""The running hub as the routes see it, and parameters of routes that are no part of the request."""

from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Annotated, NamedTuple, TypeVar

from anyio import to_thread
from msgspec import Meta
from starlette.datastructures import Headers
from starlette.responses import Response

from hub.api.binding import Call, From, Header
from hub.api.door.roles import Principal
from hub.api.events import Streams
from hub.api.noun import Noun
from hub.coordination import authority
from protocol.ids import UserId
from storage.devices import users
from storage.devices.users import UnknownUser
from storage.store import Store

AnyNoun = TypeVar("AnyNoun", bound=Noun)


class Hub:
    """A running hub."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nouns: dict[type[Noun], Noun] = {}

    def add(self, *nouns: Noun) -> None:
        """Add nouns, each by the class that declares its routes."""
        for noun in nouns:
            kind = next(one for one in type(noun).__mro__ if Noun in one.__bases__)
            self._nouns[kind] = noun

    @property
    def nouns(self) -> Collection[type[Noun]]:
        """Return the classes of the nouns."""
        return self._nouns.keys()

    def noun(self, kind: type[AnyNoun], user_id: UserId | None = None) -> AnyNoun:
        """Return the noun of this class, scoped to a user's things; None: to everybody's.

        Names of other users' things are unknown to a scoped noun, never forbidden.
        """
        noun = self._nouns[kind]
        assert isinstance(noun, kind)
        return noun if user_id is None else noun.seen_by(user_id)

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises UnknownUser."""
        row = await self._store.read(users.find_user_by_name, name)
        if row is None:
            raise UnknownUser(f"there is no user {name!r}")
        return row.id


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


def _metrics(call: Call) -> bytes:
    served: Served = call.served
    return served.metrics()


async def _document(call: Call) -> Response:
    # In a thread, as building it takes a while.
    return await to_thread.run_sync(call.served.document, call.headers)


Document = Annotated[Response, From(_document)]
Exposed = Annotated[bytes, From(_metrics)]
OpenStreams = Annotated[Streams, From(attrgetter("served.streams"))]
Caller = Annotated[Principal, From(attrgetter("caller"))]
Actor = Annotated[str, From(attrgetter("caller.actor"))]


async def _seen(
    hub: Annotated[Hub, From(attrgetter("served.hub"))],
    caller: Caller,
    user: Annotated[str, Meta(max_length=200, description="See this user's things only, by the user's name.")]
    | None = None,
) -> UserId | None:
    """Return the user whose objects are visible: the caller's, or *user* as requested; None: all users."""
    if user is None:
        return caller.user_id
    user_id = await hub.user_named(user)
    if caller.user_id not in (None, user_id):
        raise UnknownUser(f"there is no user {user!r}")
    return user_id


Seen = Annotated[UserId | None, From(_seen)]


def operator(caller: Caller, seen: Seen) -> authority.Caller:
    """Return the caller of an operators' route as an ``authority.Caller``."""
    return authority.Caller(caller.actor, seen)


def agent(caller: Caller) -> authority.Caller:
    """Return the agent that calls a route under /v1/agent."""
    assert caller.agent_id is not None and caller.user_id is not None, "the table lets agents alone come here"
    return authority.Caller(caller.actor, caller.user_id, caller.agent_id)


# Stored with the written row, in addition to the response in ``api.door.idempotency``: a hub that is killed
# between the two finds the row when the request is repeated.
Key = Annotated[Annotated[str, Meta(min_length=1, max_length=128)] | None, Header("idempotency-key")]
