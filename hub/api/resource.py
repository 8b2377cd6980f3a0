"""Declarations of resources: how a route, command, list, view, tool and audit entry is declared.

``@route("POST", "/release", Scope.RUN, errors=[ErrorCode.LOCK_LOST])`` above an ``async def`` declares the
route, its row in the table of roles, and its OpenAPI entry. ``@listed`` declares a list with its
pages and its envelope: the method gets the requested ``ListPart``, and returns the items from there on.
``@audited("lock.released")`` names the entry in the audit log of a method that changes something. The
other parameters of a method are those of the request, as ``binding`` reads them. ``@device`` declares the
request of devices that the method answers, as ``device`` binds it.
A method with several of these decorators answers at several routes. Its parameter of the type
``board_access.Caller`` is the agent at a route of ``AGENT``, and the operator at any other.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import datetime
from functools import cache
from itertools import product
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar, get_args
from urllib.parse import quote, unquote, urlencode

import msgspec
from anyio import to_thread
from msgspec import Meta, Struct
from msgspec.structs import fields
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp

from hub.api.binding import From, FromHeader, RequestContext, ResponseHead
from hub.api.errors import Refusal
from hub.api.events import Streams
from hub.api.peers import Peers
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.roles import AGENT, DeviceNeed, Need, Principal, declare, declare_request
from hub.coordination import board_access
from protocol import coordination
from protocol.errors import CodedError, ErrorCode
from protocol.grants import NO_LIMITS, Grant, TokenLimits
from protocol.ids import UserId
from storage import audit
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.devices import users as devices_users
from storage.kernel.columns import Key, foreign_key
from storage.store import Store

Endpoint = Callable[..., Awaitable[Any]]
Method = TypeVar("Method", bound=Endpoint)
T = TypeVar("T")
_ROUTES: Final = "__routes__"  # attribute of a method: its Routes
_COMMAND: Final = "__command__"  # attribute of a method: its Command
_REQUEST: Final = "__request__"  # attribute of a method: its DeviceRequest
_AUDIT: Final = "__audit__"  # attribute of a method: its Audit
_TOOL: Final = "__tool__"  # attribute of a method: its Tool


class DeclaredCommand(NamedTuple):
    """A command of the command line: one request to the route of its method, and how the response is shown.

    A column is spelled ``field|format as header``: a field of the response (``a.b``: of an object in it,
    ``*``: the response itself), a function of ``hub/cli/formats``, and a header; or as a text of fields,
    ``{sent} of {boards} as sent``. A header that ends in ``?`` is left out with an empty fact, or with a
    column that is the same in all rows. Other texts name fields of the response and arguments alike: ``token
    {name} expires {expires_at|moment}``.

    Attributes:
        words: the command; its arguments are parameters of the request, in capitals, and in brackets where
            they may be left out: ``boards lead BOARD [AGENT]``, ``[SCOPE=agent]``. An argument that is not
            at the end belongs to a group of commands on one item: ``boards memory BOARD add CONTENT``.
        example: a command line, at the end of the help.
        json: name of the response's schema, for ``--json``.
        options: help of the other parameters, by their names: ``help``, or ``FLAGS=DEFAULT/NULL: help``, of
            which any part may be left out: flags that differ from the name, a value that is sent without
            them, and a flag that sends null. A flag that is named after a value of the parameter sends it:
            ``--handoff: help``.
        facts: columns that are shown for the response itself, one on a line.
        table: columns of a table; of the list *rows* in the response, by default of the listed items.
        below: column with lines below each row of the table.
        lines: a flag, its help, and the text of a row: with the flag, rows are such lines instead of a table.
        total: object of the response that is the last row of the table.
        empty: text in place of an empty table.
        message: text about the response.
        confirm: question before the request, unless ``--yes`` answers it.
        help: text of the help in place of the docstring of the method.
        quotes: fields with texts of people, ``answer|->`` with a mark before the text.
        prints: column that is printed alone, to be copied or piped.
        notes: texts about the response, or about each item of a list, where they are not empty.
        fails_if: column that makes the command exit with 1 unless it is empty.
        file: help of ``--file``, a TOML or JSON file with the body of the request.
    """

    words: str
    example: str
    json: str
    options: Mapping[str, str] = MappingProxyType({})
    facts: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    rows: str = ""
    below: str = ""
    lines: tuple[str, ...] = ()
    total: str = ""
    empty: str = ""
    message: str = ""
    confirm: str = ""
    file: str = ""
    help: str = ""
    quotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    prints: str = ""
    fails_if: str = ""


def _marked(attribute: str, declared: object) -> Callable[[Method], Method]:
    """Return a decorator that sets an attribute of a method to its declaration."""

    def mark(method: Method) -> Method:
        setattr(method, attribute, declared)
        return method

    return mark


def command(words: str, **shown: Any) -> Callable[[Method], Method]:
    """Declare a command for the request of a method; *shown* are further fields of ``DeclaredCommand``."""

    return _marked(_COMMAND, DeclaredCommand(words, **shown))


def command_of(method: Endpoint) -> DeclaredCommand | None:
    """Return the declared command of a method, or None."""
    found: DeclaredCommand | None = getattr(method, _COMMAND, None)
    return found


class Consent(NamedTuple):
    """Question to the person behind an assistant, before a tool acts in the name of an owner.

    Attributes:
        tool: that reads an object which the call is about, shown to the person.
        names: arguments of *tool*, with the fields of the call, or of one of its *entries*, that are them.
        text: returns the text about an object, of the call or entry and the result of *tool*.
        entries: argument of the call with a list of objects; empty: the call is about one.
        bound: fields of the call or entry that are set to those of the object as it was shown.
    """

    tool: str
    names: Mapping[str, str]
    text: Callable[[Mapping[str, Any], Mapping[str, Any]], str]
    entries: str = ""
    bound: tuple[str, ...] = ()


class AddressedResource(NamedTuple):
    """Objects with an address, which the tool of a method returns by the parts of it.

    Attributes:
        uri: template of the address: ``hub://runs/{run_id}``, with names of arguments of the tool.
        listed: tool that lists them below *key*, each with its ``id``; empty: they are not listed.
        title: format of the fields of a listed one.
        changes: kinds of changes after which a subscriber reads one again.
    """

    uri: str
    listed: str = ""
    key: str = ""
    title: str = ""
    changes: tuple[str, ...] = ()

    def uri_of(self, id: str) -> str:
        """Return the address of the object with this id."""
        return self.uri.partition("{")[0] + quote(id, safe="")

    def arguments_of(self, uri: str) -> dict[str, str] | None:
        """Return the arguments in an address, or None if it is of other objects."""
        template, parts = self.uri.split("/"), uri.split("/")
        pairs = [*zip(template, parts, strict=False)]
        named = {name[1:-1]: unquote(part) for name, part in pairs if name[:1] == "{"}
        is_alike = all(part and name in (part, f"{{{name[1:-1]}}}") for name, part in pairs[2:])
        return named if is_alike and len(template) == len(parts) and pairs[0] == ("hub:", "hub:") else None


class Tool(NamedTuple):
    """A tool of assistants: one request to the operators' route of its method (``hub.api.http.assistants``).

    Attributes:
        is_reading: whether a call changes nothing, as each by ``GET``.
        is_destructive: whether a call ends or discards something.
        is_repeatable: whether a second call with the same arguments changes nothing further.
        consent: asked for before each call; every tool that acts in the name of an owner has it.
        resource: address of what it returns.
        help: text for assistants in place of the docstring of the method.
    """

    is_reading: bool = False
    is_destructive: bool = False
    is_repeatable: bool = False
    consent: Consent | None = None
    resource: AddressedResource | None = None
    help: str = ""


def tool(**options: Any) -> Callable[[Method], Method]:
    """Declare a tool of assistants for the request of a method; *options* are fields of ``Tool``."""

    return _marked(_TOOL, Tool(**options))


def tool_of(method: Endpoint) -> Tool | None:
    """Return the declared tool of a method, or None."""
    found: Tool | None = getattr(method, _TOOL, None)
    return found


class ListPart(NamedTuple):
    """Requested part of a list: at most *limit* items after the sort key *after*."""

    limit: int | None = None
    after: Key | None = None

    def of(self, items: Collection[T], key: Callable[[T], Key]) -> list[T]:
        """Return this part of a list in memory, in the order of *key*.

        Raises:
            CodedError (BAD_PARAMS): *after* is a key of another list.
        """
        try:
            found = [item for item in items if self.after is None or key(item) > self.after]
        except TypeError as error:
            raise foreign_key() from error
        return sorted(found, key=key)[: self.limit]


ALL: Final = ListPart()


class Route(NamedTuple):
    """A route as its method declares it.

    Attributes:
        path: below the path of the resource.
        errors: codes that it may answer, in addition to those of the resource.
        key: the sort key of a listed item, by the same columns as in the database; ``None``: the method
            returns the whole response.
        page: name of the schema, and key of the items, of a ``ListPage`` that the method returns:
            ``FirePage.fires``; empty: it returns none.
        most: number of items in a page of long items, whatever its limit.
        is_tagged: whether ``ETag`` is sent, and ``If-Match`` checked before a change.
        is_secret: whether the response bears a secret, so that no cache may store it.
        is_whole: whether it answers the same for all users, in a resource that is scoped.
        location: the header of that name, formatted with the response and the path parameters:
            ``/v1/runs/{0.id}``.
        also: further statuses whose responses have the same model.
        within: kinds of limits of tokens that the method respects; ``None``: those of the resource.
    """

    verb: str
    path: str
    need: Need
    errors: tuple[ErrorCode, ...]
    status: int = 200
    key: Callable[[Any], Key] | None = None
    page: str = ""
    most: int | None = None
    is_tagged: bool = False
    is_secret: bool = False
    is_whole: bool = False
    location: str | None = None
    also: tuple[int, ...] = ()
    within: Collection[str] | None = None


def route(
    verb: str, path: str, need: Need, *, errors: Iterable[ErrorCode] = (), **options: Any
) -> Callable[[Method], Method]:
    """Declare a method as the route *verb* *path*; *options* are further fields of ``Route``.

    Its return annotation is the response model, or a class of responses. Before
    a change of a tagged route, ``get`` reads the item with those parameters that both methods have.
    """
    return _routed(Route(verb, path, need, tuple(errors), **options))


def listed(
    path: str,
    need: Need,
    *,
    key: Callable[[Any], Key],
    errors: Iterable[ErrorCode] = (),
    most: int | None = None,
    within: Collection[str] | None = None,
) -> Callable[[Method], Method]:
    """Declare a method that returns a ``ListPart`` of a list as the route ``GET`` *path*, with its pages."""
    return _routed(Route("GET", path, need, tuple(errors), key=key, most=most, within=within))


def _routed(declared: Route) -> Callable[[Method], Method]:
    def mark(method: Method) -> Method:
        setattr(method, _ROUTES, (declared, *getattr(method, _ROUTES, ())))
        return method

    return mark


class Audit(NamedTuple):
    """Entry in the audit log of a method that changes something.

    Attributes:
        event: name of the entry; empty: the method changes nothing.
        is_act: whether there is an entry even if nothing in the database changes.
        is_often: whether programs ask it again and again: a caller has one entry a day about the same
            objects.
        is_noted: whether the method appends the entry itself, after what it did.
    """

    event: str
    is_act: bool = False
    is_often: bool = False
    is_noted: bool = False


NO_CHANGE: Final = ""
_READING: Final = ("get", "list", "query", "subscribe", "unsubscribe")  # last parts of requests of devices


def audited(event: str, **options: bool) -> Callable[[Method], Method]:
    """Declare the audit entry of a method: *event*, or ``NO_CHANGE``; *options* are fields of ``Audit``.

    Every method that answers another verb than ``GET``, or a request of devices, has to have one. The entry
    is appended with the first change of the request (``storage.audit.PendingAuditEntry``), unless the change
    appends one.
    """

    return _marked(_AUDIT, Audit(event, **options))


def audit_of(method: Endpoint) -> Audit:
    """Return the declared audit entry of a method."""
    found: Audit = getattr(method, _AUDIT, Audit(NO_CHANGE))
    return found


class DeviceRequest(NamedTuple):
    """A request of devices as its method declares it.

    Attributes:
        of: the objects that it applies to, for people.
        grant: that the device needs; None: for requests about the device itself, for reading its own agents,
            and for reports on behalf of its owner.
        answer: makes the result of the request out of what the method returns.
        names: names of parameters in the request, where they differ from those of the method.
        arguments: values of arguments that the request does not have, or functions that make them out of it.
    """

    method: coordination.Method
    of: str
    grant: Grant | None = None
    answer: Callable[[Any], Any] = lambda result: result
    names: Mapping[str, str] = MappingProxyType({})
    arguments: Mapping[str, Any] = MappingProxyType({})


def device(
    method: coordination.Method, of: str, grant: Grant | None = None, **options: Any
) -> Callable[[Method], Method]:
    """Declare a request of devices for a method; *options* are further fields of ``DeviceRequest``."""

    return _marked(_REQUEST, DeviceRequest(method, of, grant, **options))


def tag_of(*parts: object) -> str:
    """Return a strong ``ETag`` of *parts*, which have to be serializable as JSON."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts, enc_hook=str)).hexdigest()[:24]}"'


class Resource:
    """Base of the resources. A resource answers for all users, or for the one that it is scoped to.

    Attributes:
        name: of the resource.
        list_key: of the items in its lists; empty: its name.
        path: prefix of its routes.
        errors: codes that each of its routes may answer.
        tagged: fields of an item that an edit may change, or that name it: its ``ETag`` covers them.
        commands_help: help of the group of its commands, where they are about one item each.
        is_scoped: whether routes see the resource as the caller may; else they check the caller themselves.
        user_id: the user whose things are visible; None: everybody's. Methods have to respect it.
        within: kinds of limits of tokens that its routes respect, unless they declare others.
        limited_to: the only devices, tables and shared folders that are visible; of those kinds.
    """

    name: ClassVar[str]
    list_key: ClassVar[str] = ""
    path: ClassVar[str] = ""
    errors: ClassVar[tuple[ErrorCode, ...]] = ()
    tagged: ClassVar[tuple[str, ...]] = ()
    commands_help: ClassVar[str] = ""
    is_scoped: ClassVar[bool] = True
    within: ClassVar[Collection[str]] = ()
    user_id: UserId | None = None
    limited_to: TokenLimits = NO_LIMITS
    _store: Store
    _clock: Clock

    @property
    def _now(self) -> int:
        """The time in epoch milliseconds."""
        return epoch_ms(self._clock.now())

    async def _agent_called(self, name: str) -> AgentRow:
        """Return the visible agent of that name or id. Raises CodedError."""
        return await self._store.read(agents.agent_called, name, self.user_id)

    def seen_by(self, user_id: UserId | None, limits: TokenLimits = NO_LIMITS) -> Self:
        """Return the same resource, scoped to this user's things within *limits*."""
        scoped = copy(self)
        scoped.user_id, scoped.limited_to = user_id, limits
        return scoped

    @classmethod
    def tag_of(cls, item: Any) -> str:
        """Return the ``ETag`` of an item."""
        return tag_of(*[getattr(item, name) for name in cls.tagged])

    def __init_subclass__(cls) -> None:
        """Enter the routes and the device requests of a resource in their tables."""
        for declared, method in cls.routes():
            cls._check_audit(method, is_reading=declared.verb == "GET")
            within = cls.within if declared.within is None else declared.within
            path = cls.path + declared.path
            declare(declared.verb, path, declared.need, audit_of(method).event, within)
        for request, method in cls.requests():
            cls._check_audit(method, is_reading=request.method.rpartition(".")[2] in _READING)
            declare_request(request.method, DeviceNeed(request.of, request.grant, audit_of(method).event))

    @classmethod
    def _check_audit(cls, method: Endpoint, *, is_reading: bool) -> None:
        if not is_reading and not hasattr(method, _AUDIT):
            raise TypeError(f"{cls.__name__}.{method.__name__}: declare its audit entry: @audited(...)")

    @classmethod
    def commands(cls) -> Iterator[tuple[DeclaredCommand, Route, Endpoint]]:
        """Return the declared commands with the operators' routes of their methods."""
        for declared, method in cls.routes():
            if hasattr(method, _COMMAND) and declared.need is not AGENT:
                yield getattr(method, _COMMAND), declared, method

    @classmethod
    def requests(cls) -> Iterator[tuple[DeviceRequest, Endpoint]]:
        """Return the declared device requests with their methods."""
        for method in vars(cls).values():
            if hasattr(method, _REQUEST):
                yield getattr(method, _REQUEST), method

    @classmethod
    def routes(cls) -> Iterator[tuple[Route, Endpoint]]:
        """Return the declared routes with their methods, in the order of the class."""
        for method in vars(cls).values():
            for declared in getattr(method, _ROUTES, ()):
                yield declared, method


# The method that takes such a text says what is wrong with it: the pattern is of the OpenAPI document alone.
NotBlank = Annotated[str, Meta(extra_json_schema={"pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"})]
# For URLs and command lines, as in hub.toml. Python's ``$`` alone would allow a line feed after the name.
Name = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,63}$(?!\n)")]
Instant = Annotated[datetime, Meta(tz=True)]


class View(Struct, forbid_unknown_fields=True):
    """Base of the bodies of requests and responses, which ``--json`` prints too.

    A field is added, never renamed. Times are aware UTC unless they say otherwise; ids are text.

    Attributes:
        refused_keys: keys of a body that are no fields, with a message and a hint for each.
        aliases: names that fields have in other documents, which a body may use instead, with their fields.
    """

    refused_keys: ClassVar[Mapping[str, Refusal]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def from_row(cls, *sources: object, **own: Any) -> Self:
        """Return a view of rows or other objects: their attributes that are fields of the view, and *own*.

        The first source with an attribute gives it. Without an attribute ``device``, that field is taken from
        ``device_name``, else from ``device_id``. Epoch milliseconds of an ``Instant`` become an aware time.
        """
        kinds = (cls, *map(type, sources))
        if kinds not in _ATTRIBUTES:
            _ATTRIBUTES[kinds] = list(_attributes(cls, sources))
        for field, number, attribute in _ATTRIBUTES[kinds]:
            if field not in own:
                own[field] = getattr(sources[number], attribute)
        for field in _instants(cls):
            if isinstance(own.get(field), int):
                own[field] = from_epoch_ms(own[field])
        return cls(**own)


# Of each view and its sources: fields, numbers of sources, and attributes. Looked up once, not in each row.
_ATTRIBUTES: Final[dict[tuple[type, ...], list[tuple[str, int, str]]]] = {}


def _attributes(view: type[View], sources: Sequence[object]) -> Iterator[tuple[str, int, str]]:
    for field in view.__struct_fields__:
        for attribute, number in product((field, f"{field}_name", f"{field}_id"), range(len(sources))):
            if hasattr(sources[number], attribute):
                yield field, number, attribute
                break


@cache
def _instants(kind: type[View]) -> frozenset[str]:
    """Return the names of the fields that hold a time."""
    return frozenset(field.name for field in fields(kind) if _has_time(field.type))


def _has_time(hint: object) -> bool:
    return hint is datetime or any(_has_time(part) for part in get_args(hint))


DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
MAX_LONG: Final = 200  # of items with a text that may be long


class ListPage(NamedTuple, Generic[T]):
    """Page of ordered items; *next_cursor* is the cursor of the next page, None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None


class PageRequest:
    """The requested part of a list: at most *limit* items, behind those of the page before.

    A cursor is the sort key of the last item of its page, so concurrent additions and removals
    neither repeat nor hide other items. It is opaque to clients.
    ``@listed`` does this for a method. A method with a ``Paging`` of its own reads ``paging.part``, and gives
    the items to ``paging.fetched``.

    Args:
        call: the request whose URL, with another cursor, its response links to; without it there is no link.

    Attributes:
        limit: number of items at most.
        after: the sort key of the last item of the page before; None: from the start.
    """

    def __init__(
        self,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        call: RequestContext | None = None,
    ) -> None:
        self._call = call
        self.limit = limit
        self.after = None if cursor is None else _key(cursor)

    @property
    def part(self) -> ListPart:
        """The part to read: one item more than the page has, which tells whether another page follows."""
        return ListPart(self.limit + 1, self.after)

    def fetched(self, items: Sequence[T], *, key: Callable[[T], Key], rest: Key | None = None) -> ListPage[T]:
        """Return the page out of the ``limit + 1`` items after ``after``, or fewer, and set its ``Link``.

        Args:
            rest: the sort key after which other items may follow fewer ones.
        """
        page = tuple(items[: self.limit])
        if len(items) > self.limit:
            rest = key(page[-1])
        if rest is None:
            return ListPage(page, None)
        cursor = cursor_of(rest)
        if self._call is not None:
            others = [(name, value) for name, value in self._call.query if name not in ("cursor", "limit")]
            query = [*others, ("cursor", cursor), ("limit", str(self.limit))]
            path = self._call.scope["path"]
            self._call.head.headers["link"] = f'<{path}?{urlencode(query)}>; rel="next"'
        return ListPage(page, cursor)


def page(
    call: RequestContext,
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="Maximum number of items.")] = DEFAULT_LIMIT,
    cursor: Annotated[
        str,
        Meta(max_length=1_000, pattern="^[A-Za-z0-9_-]+$", description="``next_cursor`` of the page before."),
    ]
    | None = None,
) -> PageRequest:
    """Return the part of a list that a REST request asks for."""
    return PageRequest(limit=limit, cursor=cursor, call=call)


Paging = Annotated[PageRequest, From(page)]


def cursor_of(key: Key) -> str:
    """Return the cursor that leads to the items after the one with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _key(cursor: str) -> Key:
    with suppress(ValueError, msgspec.MsgspecError):
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=Key)
        if key and all(map(_is_bearable, key)):
            return key
    raise CodedError(ErrorCode.BAD_PARAMS, "cursor: take it from next_cursor of the page before")


def _is_bearable(part: str | int) -> bool:
    """Return whether every database takes this part of a key."""
    return "\0" not in part if isinstance(part, str) else abs(part) < 2**63


AnyResource = TypeVar("AnyResource", bound=Resource)
DAY_S: Final = 86_400.0
MAX_ENTRIES: Final = 10_000  # frequent requests whose last entry is remembered


class ResourceRegistry:
    """A running hub. *peers*: its other nodes."""

    def __init__(self, store: Store, clock: Clock, peers: Peers | None = None) -> None:
        self._store = store
        self._clock = clock
        self.peers = peers
        self._entries: dict[tuple[object, ...], float] = {}  # time of the last entries of frequent requests
        self._resources: dict[type[Resource], Resource] = {}

    def add(self, *resources: Resource) -> None:
        """Add resources, each by the class that declares its routes."""
        for resource in resources:
            kind = next(base for base in type(resource).__mro__ if Resource in base.__bases__)
            self._resources[kind] = resource

    @property
    def resources(self) -> Collection[type[Resource]]:
        """Return the classes of the resources."""
        return self._resources.keys()

    def resource(
        self, kind: type[AnyResource], user_id: UserId | None = None, limits: TokenLimits = NO_LIMITS
    ) -> AnyResource:
        """Return the resource of this class, scoped to a user's things, or everybody's, within *limits*.

        Names of other things are unknown to a scoped resource, never forbidden.
        """
        resource = self._resources[kind]
        assert isinstance(resource, kind)
        return resource if user_id is None and limits == NO_LIMITS else resource.seen_by(user_id, limits)

    async def traced(
        self, declared: Audit, call: RequestContext, detail: audit.Detail, work: Awaitable[T]
    ) -> T:
        """Await the work of a request, which leaves its entry in the audit log."""
        if not declared.event or declared.is_noted or call.caller is None:
            return await work
        at, key = self._clock.monotonic(), (call.caller.actor, declared.event, *detail.items())
        if declared.is_often and self._entries.get(key, at - DAY_S) > at - DAY_S:
            return await work
        owed = audit.PendingAuditEntry(call.caller.actor, declared.event, detail)
        before = audit.OWED.set(owed)
        try:
            done = await work
        finally:
            audit.OWED.reset(before)
        if declared.is_act and not owed.is_paid:
            await self._store.write(owed.append)
            owed.is_paid = True
        if declared.is_often and owed.is_paid:
            if len(self._entries) >= MAX_ENTRIES:
                self._entries.clear()
            self._entries[key] = at
        owed.is_paid = True  # for tasks that the work has started
        return done

    async def zone_of(self, caller: Principal | None) -> str | None:
        """Return the time zone of most agents of the caller's user; None: that of this machine."""
        if caller is None or caller.user_id is None:
            return None
        return await self._store.read(agents.usual_timezone, caller.user_id)

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises CodedError."""
        row = await self._store.read(devices_users.find_user_by_name, name)
        if row is None:
            raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {name!r}")
        return row.id


class Served(NamedTuple):
    """State of an operators' server that its routes answer from.

    Attributes:
        streams: the open event streams, and the limit on them.
        metrics: returns the body of ``/metrics``, in Prometheus' text format.
        document: answers a request with these headers for the OpenAPI document.
        assistants: serves assistants that speak MCP; None: they are not served.
    """

    hub: ResourceRegistry
    streams: Streams
    metrics: Callable[[], bytes]
    document: Callable[[Headers], Response]
    assistants: ASGIApp | None = None


async def _document(call: RequestContext) -> Response:
    # In a thread, as building it takes a while.
    return await to_thread.run_sync(call.served.document, call.headers)


Document = Annotated[Response, From(_document)]
Exposed = Annotated[Callable[[], bytes], From(attrgetter("served.metrics"))]
Assistants = Annotated[ASGIApp | None, From(attrgetter("served.assistants"))]
OpenStreams = Annotated[Streams, From(attrgetter("served.streams"))]
Caller = Annotated[Principal, From(attrgetter("caller"))]
Actor = Annotated[str, From(attrgetter("caller.actor"))]


async def _seen(
    hub: Annotated[ResourceRegistry, From(attrgetter("served.hub"))],
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


def operator(caller: Caller, seen: Seen) -> board_access.Caller:
    """Return the caller of an operators' route as an ``board_access.Caller``."""
    return board_access.Caller(caller.actor, seen)


def agent(caller: Caller) -> board_access.Caller:
    """Return the agent that calls a route under /v1/agent."""
    assert caller.agent_id is not None and caller.user_id is not None, "the table lets agents alone come here"
    return board_access.Caller(caller.actor, caller.user_id, caller.agent_id)


class IfMatch:
    """``If-Match`` of a request (RFC 9110, 13.1.1), and ``ETag`` of its response.

    ``If-Match`` refuses an edit of an outdated version; it is optional. An ``ETag`` covers the fields that an
    edit may change; other fields, such as the time when a device was last seen, are left out. A route that is
    declared with ``is_tagged`` checks it and sends the tag. A method with a ``Match`` of its own calls
    ``match.check`` before the change, and ``match.set_tag`` after it.
    """

    def __init__(self, head: ResponseHead, if_match: str | None) -> None:
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
    call: RequestContext,
    if_match: Annotated[
        Annotated[str, Meta(max_length=1_000, description="``ETag`` of what was read.")] | None,
        FromHeader("if-match"),
    ] = None,
) -> IfMatch:
    return IfMatch(call.head, if_match)


Match = Annotated[IfMatch, From(_matching)]


# Stored with the written row, in addition to the response in ``api.http.idempotency``: a hub that is killed
# between the two finds the row when the request is repeated.
DryRun = Annotated[bool, Meta(description="Only check the request: nothing is changed.")]
RetryKey = Annotated[Annotated[str, Meta(min_length=1, max_length=128)] | None, FromHeader("idempotency-key")]
