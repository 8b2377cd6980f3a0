"""Nouns of the operators' interface: a class per noun, whose marked methods are its routes.

``@route("POST", "/release", Scope.RUN, errors=[ErrorCode.LOCK_LOST])`` above an ``async def`` declares the
route, its row in the table of roles, and its OpenAPI entry. ``@listed`` declares a list with its
pages and its envelope: the method gets the requested ``Part``, and returns the items from there on.
``@audited("lock.released")`` names the entry in the audit log of a method that changes something. The
other parameters of a method are those of the request, as ``binding`` reads them. ``@device`` declares the
request of devices that the method answers, as ``device`` binds it.
A method with several of these decorators answers at several routes. Its parameter of the type
``authority.Caller`` is the agent at a route of ``AGENT``, and the operator at any other.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar

import msgspec

from hub.api.door.roles import AGENT, DeviceNeed, Need, declare, declare_request
from protocol import coordination
from protocol.errors import ErrorCode
from protocol.ids import UserId
from storage.devices.devices import Grant
from storage.kernel.columns import ForeignKey, Key

Endpoint = Callable[..., Awaitable[Any]]
Method = TypeVar("Method", bound=Endpoint)
T = TypeVar("T")
_ROUTES: Final = "__routes__"  # attribute of a method: its Routes
_COMMAND: Final = "__command__"  # attribute of a method: its Command
_REQUEST: Final = "__request__"  # attribute of a method: its DeviceRequest
_AUDIT: Final = "__audit__"  # attribute of a method: its Audit


class Command(NamedTuple):
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
        lines: a flag, its help, and the text of a row: with the flag, rows are such lines instead of a table.
        total: object of the response that is the last row of the table.
        empty: text in place of an empty table.
        message: text about the response.
        confirm: question before the request, unless ``--yes`` answers it.
        help: text of the help in place of the docstring of the method.
        ids: argument that may be the end of an id in the list of the noun.
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
    lines: tuple[str, ...] = ()
    total: str = ""
    empty: str = ""
    message: str = ""
    confirm: str = ""
    file: str = ""
    help: str = ""
    ids: str = ""
    quotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    prints: str = ""
    fails_if: str = ""


def command(words: str, **shown: Any) -> Callable[[Method], Method]:
    """Declare a command for the request of a method; *shown* are further fields of ``Command``."""

    def mark(method: Method) -> Method:
        setattr(method, _COMMAND, Command(words, **shown))
        return method

    return mark


class Part(NamedTuple):
    """Requested part of a list: at most *limit* items after the sort key *after*."""

    limit: int | None = None
    after: Key | None = None

    def of(self, items: Collection[T], key: Callable[[T], Key]) -> list[T]:
        """Return this part of a list in memory, in the order of *key*.

        Raises:
            ForeignKey: *after* is a key of another list.
        """
        try:
            found = [item for item in items if self.after is None or key(item) > self.after]
        except TypeError as error:
            raise ForeignKey from error
        return sorted(found, key=key)[: self.limit]


ALL: Final = Part()


class Route(NamedTuple):
    """A route as its method declares it.

    Attributes:
        path: below the path of the noun.
        errors: codes that it may answer, in addition to those of the noun.
        key: the sort key of a listed item, by the same columns as in the database; ``None``: the method
            returns the whole response.
        most: number of items in a page of long items, whatever its limit.
        is_tagged: whether ``ETag`` is sent, and ``If-Match`` checked before a change.
        is_secret: whether the response bears a secret, so that no cache may store it.
        is_whole: whether it answers the same for all users, in a noun that is scoped.
        location: the header of that name, formatted with the response and the path parameters:
            ``/v1/runs/{0.id}``.
        also: further statuses whose responses have the same model.
    """

    verb: str
    path: str
    need: Need
    errors: tuple[ErrorCode, ...]
    status: int = 200
    key: Callable[[Any], Key] | None = None
    most: int | None = None
    is_tagged: bool = False
    is_secret: bool = False
    is_whole: bool = False
    location: str | None = None
    also: tuple[int, ...] = ()


def route(
    verb: str, path: str, need: Need, *, errors: Iterable[ErrorCode] = (), **options: Any
) -> Callable[[Method], Method]:
    """Declare a method as the route *verb* *path*; *options* are further fields of ``Route``.

    Its return annotation is the response model, or a class of responses. Before
    a change of a tagged route, ``get`` reads the item with those parameters that both methods have.
    """
    return _marked(Route(verb, path, need, tuple(errors), **options))


def listed(
    path: str,
    need: Need,
    *,
    key: Callable[[Any], Key],
    errors: Iterable[ErrorCode] = (),
    most: int | None = None,
) -> Callable[[Method], Method]:
    """Declare a method that returns a ``Part`` of a list as the route ``GET`` *path*, with its pages."""
    return _marked(Route("GET", path, need, tuple(errors), key=key, most=most))


def _marked(declared: Route) -> Callable[[Method], Method]:
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
    is appended with the first change of the request (``storage.audit.Owed``), unless the change appends one.
    """

    def mark(method: Method) -> Method:
        setattr(method, _AUDIT, Audit(event, **options))
        return method

    return mark


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

    def mark(answering: Method) -> Method:
        setattr(answering, _REQUEST, DeviceRequest(method, of, grant, **options))
        return answering

    return mark


def tag_of(*parts: object) -> str:
    """Return a strong ``ETag`` of *parts*, which have to be serializable as JSON."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts, enc_hook=str)).hexdigest()[:24]}"'


class Noun:
    """Base of the nouns. A noun answers for all users, or for the one that it is scoped to.

    Attributes:
        name: of the noun.
        list_key: of the items in its lists; empty: its name.
        path: prefix of its routes.
        errors: codes that each of its routes may answer.
        tagged: fields of an item that an edit may change, or that name it: its ``ETag`` covers them.
        commands_help: help of the group of its commands, where they are about one item each.
        is_scoped: whether routes see the noun as the caller may; else they check the caller themselves.
        user_id: the user whose things are visible; None: everybody's. Methods have to respect it.
    """

    name: ClassVar[str]
    list_key: ClassVar[str] = ""
    path: ClassVar[str] = ""
    errors: ClassVar[tuple[ErrorCode, ...]] = ()
    tagged: ClassVar[tuple[str, ...]] = ()
    commands_help: ClassVar[str] = ""
    is_scoped: ClassVar[bool] = True
    user_id: UserId | None = None

    def seen_by(self, user_id: UserId | None) -> Self:
        """Return the same noun, scoped to this user's things."""
        scoped = copy(self)
        scoped.user_id = user_id
        return scoped

    @classmethod
    def tag_of(cls, item: Any) -> str:
        """Return the ``ETag`` of an item."""
        return tag_of(*[getattr(item, name) for name in cls.tagged])

    def __init_subclass__(cls) -> None:
        """Enter the routes and the device requests of a noun in their tables."""
        for declared, method in cls.routes():
            cls._check_audit(method, is_reading=declared.verb == "GET")
            declare(declared.verb, cls.path + declared.path, declared.need, audit_of(method).event)
        for request, method in cls.requests():
            cls._check_audit(method, is_reading=request.method.rpartition(".")[2] in _READING)
            declare_request(request.method, DeviceNeed(request.of, request.grant, audit_of(method).event))

    @classmethod
    def _check_audit(cls, method: Endpoint, *, is_reading: bool) -> None:
        if not is_reading and not hasattr(method, _AUDIT):
            raise TypeError(f"{cls.__name__}.{method.__name__}: declare its audit entry: @audited(...)")

    @classmethod
    def commands(cls) -> Iterator[tuple[Command, Route, Endpoint]]:
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
