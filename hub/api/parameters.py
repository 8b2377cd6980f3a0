"""Parameters of routes: the caller, the user whose objects are visible, ``If-Match``, services of the hub.

``If-Match`` (RFC 9110, 13.1.1) refuses an edit of an outdated version. An ``ETag`` covers the fields that an
edit may change. Fields that change without an edit, such as the time when a device was last seen, are left
out. ``If-Match`` is optional; with it, a client never overwrites a change that another caller made after the
client's read. A route that is declared with ``is_tagged`` checks it and sends the tag. A method with a
``Match`` of its own calls ``match.check`` before the change, and ``match.set_tag`` after it.
"""

from collections.abc import Awaitable, Callable, Collection
from operator import attrgetter
from typing import Annotated, Final, NamedTuple, TypeVar

from anyio import to_thread
from msgspec import Meta
from starlette.datastructures import Headers
from starlette.responses import Response

from hub.api.binding import Call, From, Head, Header
from hub.api.door.roles import Principal
from hub.api.events import Streams
from hub.api.noun import Audit, Noun
from hub.api.others import Others
from hub.clock import Clock
from hub.coordination import authority
from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from storage import audit
from storage.devices import devices
from storage.store import Store

AnyNoun = TypeVar("AnyNoun", bound=Noun)
T = TypeVar("T")
DAY_S: Final = 86_400.0
MOST_ENTRIES: Final = 10_000  # frequent requests whose last entry is remembered


class Hub:
    """A running hub. *others*: its other nodes."""

    def __init__(self, store: Store, clock: Clock, others: Others | None = None) -> None:
        self._store = store
        self._clock = clock
        self.others = others
        self._entries: dict[tuple[object, ...], float] = {}  # time of the last entries of frequent requests
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

    async def traced(self, declared: Audit, call: Call, detail: audit.Detail, work: Awaitable[T]) -> T:
        """Await the work of a request, which leaves its entry in the audit log."""
        if not declared.event or declared.is_noted or call.caller is None:
            return await work
        at, key = self._clock.monotonic(), (call.caller.actor, declared.event, *detail.items())
        if declared.is_often and self._entries.get(key, at - DAY_S) > at - DAY_S:
            return await work
        owed = audit.Owed(call.caller.actor, declared.event, detail)
        before = audit.OWED.set(owed)
        try:
            done = await work
        finally:
            audit.OWED.reset(before)
        if declared.is_act and not owed.is_paid:
            await self._store.write(owed.append)
            owed.is_paid = True
        if declared.is_often and owed.is_paid:
            if len(self._entries) >= MOST_ENTRIES:
                self._entries.clear()
            self._entries[key] = at
        owed.is_paid = True  # for tasks that the work has started
        return done

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises CodedError."""
        row = await self._store.read(devices.find_user_by_name, name)
        if row is None:
            raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {name!r}")
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


async def _document(call: Call) -> Response:
    # In a thread, as building it takes a while.
    return await to_thread.run_sync(call.served.document, call.headers)


Document = Annotated[Response, From(_document)]
Exposed = Annotated[Callable[[], bytes], From(attrgetter("served.metrics"))]
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
        raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {user!r}")
    return user_id


Seen = Annotated[UserId | None, From(_seen)]


def operator(caller: Caller, seen: Seen) -> authority.Caller:
    """Return the caller of an operators' route as an ``authority.Caller``."""
    return authority.Caller(caller.actor, seen)


def agent(caller: Caller) -> authority.Caller:
    """Return the agent that calls a route under /v1/agent."""
    assert caller.agent_id is not None and caller.user_id is not None, "the table lets agents alone come here"
    return authority.Caller(caller.actor, caller.user_id, caller.agent_id)


class Matching:
    """``If-Match`` of a request, and ``ETag`` of its response."""

    def __init__(self, head: Head, if_match: str | None) -> None:
        self._head = head
        self._if_match = if_match

    @property
    def is_asked(self) -> bool:
        """True if the request has ``If-Match``; only then the current object has to be read."""
        return self._if_match is not None

    @property
    def given(self) -> str | None:
        """Value of ``If-Match``, stripped; None if the request has none."""
        return None if self._if_match is None else self._if_match.strip()

    @property
    def tags(self) -> tuple[str, ...] | None:
        """Tags of ``If-Match``, or ``*``; None if the request has none."""
        return None if self._if_match is None else tuple(tag.strip() for tag in self._if_match.split(","))

    def check(self, tag: str) -> None:
        """Raise CodedError if the request has an ``If-Match`` without *tag*."""
        if self.tags is not None and not {tag, "*"} & {*self.tags}:
            raise CodedError(ErrorCode.CHANGED_MEANWHILE, "it changed since it was read; nothing was done")

    def set_tag(self, tag: str) -> None:
        """Set the ``ETag`` of the response."""
        self._head.headers["etag"] = tag


def _matching(
    call: Call,
    if_match: Annotated[
        Annotated[str, Meta(max_length=1_000, description="``ETag`` of what was read.")] | None,
        Header("if-match"),
    ] = None,
) -> Matching:
    return Matching(call.head, if_match)


Match = Annotated[Matching, From(_matching)]


# Stored with the written row, in addition to the response in ``api.door.idempotency``: a hub that is killed
# between the two finds the row when the request is repeated.
Key = Annotated[Annotated[str, Meta(min_length=1, max_length=128)] | None, Header("idempotency-key")]
