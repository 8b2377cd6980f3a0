"""Reading of request parameters and bodies for a resource's method, and errors about invalid ones.

A parameter that the path names is a path parameter; a struct, a table of hub.toml or a ``dict`` is the
body; any other is a query parameter. In ``Annotated``, ``Header(name)`` makes it a header. ``Body(name,
about)`` makes it a field of the body, and ``From(function)`` the result of a function whose own parameters
are bound in the same way. Limits and descriptions are ``msgspec.Meta``. A signature is read once, at the
first request of its route.

A time may be a date, ``2026-12-04``: the begin of that day in the zone of its user's agents, or its end where
the name of the parameter ends in ``until``.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import date, timedelta
from operator import attrgetter
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect as shapes
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Scope

from hub.api.errors import (
    MAX_REFUSALS,
    Refusal,
    at,
    by_field,
    no_json,
    parts_of,
    refusals,
    refused_parts,
    sentence,
    table_refusals,
)
from hub.base.clock import from_epoch_ms
from hub.base.dates import DAY, begin_of
from hub.base.printable import typed_problem
from protocol.errors import CodedError, ErrorCode
from protocol.frame import NO_JSON
from protocol.similar_names import did_you_mean

MISSING: Final = object()
MAX_OF_TEXT: Final = 1_000  # characters of a parameter of a path or a query, if it has no limit of its own
T = TypeVar("T")
_EXACT: Final = 2**53  # numbers below are the same in each language
_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY


def bad_request(wrong: Collection[str], hints: Collection[str] = ()) -> CodedError:
    """Return the error about invalid parameters or an invalid body; the message names every one of them."""
    hint = "; ".join(dict.fromkeys(hints))
    return CodedError(ErrorCode.BAD_PARAMS, "; ".join(wrong), hint=hint, members=by_field(wrong))


class FromHeader(NamedTuple):
    """Marks a parameter that is a header of the request."""

    name: str


class From(NamedTuple):
    """Marks a parameter whose value *function* returns; its own parameters are bound as those of a method.

    An ``attrgetter`` is called with the ``RequestContext`` instead.
    """

    function: Callable[..., Any]


class BodyField(NamedTuple):
    """Marks a parameter that is a field of the body.

    Attributes:
        name: of the schema of the body, which all its fields give.
        about: description of that schema.
        is_optional: whether the body may be left out: each of its fields has a default.
    """

    name: str
    about: str
    is_optional: bool = False


class MayBeLeftOut:
    """Marks a body that may be left out, which is the same as an empty object."""


OPTIONAL: Final = MayBeLeftOut()


class ResponseHead(msgspec.Struct):
    """Head of the response to a request: its headers, and its status if it is not that of the route."""

    headers: dict[str, str] = {}
    status: int | None = None


class RequestContext:
    """A request that is being answered.

    Attributes:
        path: path parameters by name.
        caller: principal of the request; None: a public route without a token.
        served: state of the server, a ``parameters.Served``.
        query: parameters of the query, in order.
        head: the head of its response.
        is_strict: whether a text is no number, as it is in a query.
    """

    is_strict = False

    def __init__(
        self, scope: Scope, path: Mapping[str, str], body: bytes, caller: Any = None, served: Any = None
    ) -> None:
        self.scope = scope
        self.path = path
        self.body = body
        self.caller = caller
        self.served = served
        self.headers = Headers(scope=scope)
        self.query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.head = ResponseHead()

    def given(self, value: "RequestParameter") -> Any:
        """Return what the request has of *value*, or MISSING."""
        match value.place:
            case "path":
                return self.path[value.name]
            case "query":
                values = [given for name, given in self.query if name == value.name]
                return MISSING if not values else values if value.is_list else values[-1]
            case "header":
                return self.headers.get(value.name, MISSING)
        return MISSING if self.body in (b"", b"null") else self.body

    def where(self, value: "RequestParameter") -> str:
        """Return the place of *value* as a refusal names it."""
        return value.place if value.place == "body" else f"{value.place}.{value.name}"


class RequestParameter:
    """A parameter whose value is a part of the request.

    Attributes:
        place: ``path``, ``query``, ``header`` or ``body``.
        name: as the request spells it; of the body, the name of the parameter.
        kind: type of the value, with its limits. Outside of a body it is never null: that is a text.
        default: value where the request has none; MISSING: it is required.
        is_time: whether it is a time of a query: text of RFC 3339, and no number of seconds.
        most: characters that a text in a path or a query may have.
        table, struct: the table of hub.toml, or the struct, that the value is, if it is one.
        aliases: of the fields of the struct, see ``View``.
    """

    def __init__(self, place: str, name: str, kind: Any, default: Any) -> None:
        kind = kind if place == "body" else _without_null(kind)
        self.place, self.name, self.kind, self.default = place, name, kind, default
        self.is_time = place == "query" and _has(kind, shapes.DateTimeType)
        self.is_list = place == "query" and _has(kind, shapes.ListType | shapes.VarTupleType)
        self.most = _most_of(kind) if place in ("path", "query") else MAX_OF_TEXT
        self.table = _class_in(kind, BaseModel)
        self.struct = _class_in(kind, msgspec.Struct)
        self.aliases: Mapping[str, str] = getattr(self.struct, "aliases", {})
        is_decoded = place == "body" and self.table is None
        self._decoder = msgspec.json.Decoder(kind) if is_decoded else None

    def read(self, call: RequestContext, wrong: list[Refusal]) -> Any:
        """Return the value in *call*; append refusals, and hints that may be empty, to *wrong*."""
        given = call.given(self)
        if given is MISSING:
            if self.default is MISSING:
                wrong.append((f"{call.where(self)}: missing", ""))
            return self.default
        if isinstance(given, bytes):
            return self._decoded(given, call.where(self), wrong)
        if self.place == "body":
            return self._converted(given, call.where(self), wrong)
        typed = [] if call.is_strict or self.place == "header" else given if self.is_list else [given]
        for problem in filter(None, (typed_problem(text, self.most) for text in typed)):
            wrong.append((f"{call.where(self)}: it {problem}", ""))
            return None
        try:
            return msgspec.convert(given, self.kind, strict=call.is_strict or self.is_time)
        except msgspec.ValidationError as error:
            wrong.append((sentence(str(error), self.kind, given, call.where(self)), ""))
            return None

    def _decoded(self, body: bytes, where: str, wrong: list[Refusal]) -> Any:
        try:
            if self._decoder is not None and not self.aliases:
                with suppress(msgspec.ValidationError):  # read again below, where 7.0 is a whole number
                    return self._decoder.decode(body)
            if self.table is None:
                return self._converted(_UNTYPED.decode(body), where, wrong)
            given = msgspec.json.decode(body)
            if too_many := refused_parts(given, where):
                wrong += too_many
                return None
            return self.table.model_validate(given)
        except ValidationError as error:
            wrong += table_refusals(error, where)
        except NO_JSON as error:
            wrong.append(no_json(where, error))
        return None

    def _converted(self, given: Any, where: str, wrong: list[Refusal]) -> Any:
        renamed, used = given, dict[str, str]()  # aliases of the request, by the field
        for alias, field in self.aliases.items() if isinstance(given, dict) else ():
            if alias in given:
                if given.get(field, given[alias]) != given[alias]:
                    message = f"{at(where, alias)}: another name of {field}, which has another value"
                    wrong.append((message, f"leave {alias} or {field} out"))
                used |= {} if field in given else {field: alias}
                renamed = {field if key == alias else key: value for key, value in renamed.items()}
        for message, hint in refusals(renamed, self.kind, where):
            for field, alias in used.items():
                message = re.sub(rf"^{re.escape(at(where, field))}\b", at(where, alias), message)
            wrong.append((message, hint))
        return None if wrong else msgspec.convert(renamed, self.kind)


def _number(text: str) -> float:
    """Return the number that JSON spells, as a whole one where it is: some write 7 as 7.0."""
    number: float = msgspec.json.decode(text)
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


_UNTYPED: Final = msgspec.json.Decoder(float_hook=_number)


class _Step(NamedTuple):
    """A function whose arguments are bound.

    Attributes:
        values: parts of the request, by argument.
        made: functions whose results are arguments.
        attributes: of the call, by argument.
        calls: arguments that are the call.
        fields: names of the fields of the body *body*, by argument.
    """

    function: Callable[..., Any]
    is_async: bool
    values: dict[str, RequestParameter]
    made: dict[str, Callable[..., Any]]
    attributes: dict[str, Callable[[RequestContext], Any]]
    calls: list[str]
    fields: dict[str, str]
    body: list[RequestParameter]


class Binding:
    """The parameters of a function.

    Args:
        path: names of the path parameters.
        own: annotations of further parameters, which the caller of the function consumes.
        instead: functions that make the values of these parameters, or types, or marks ``From``.

    Attributes:
        parts: the parts of a request that are read.
        body: the part that is the body, if one is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        path: Collection[str] = (),
        own: Mapping[str, Any] = MappingProxyType({}),
        instead: Mapping[Any, Callable[..., Any]] = MappingProxyType({}),
    ) -> None:
        self._function, self._path, self._instead = function, path, instead
        self._steps: dict[Callable[..., Any], _Step] = {}  # those that others need first; the function last
        parts = {(part.place, part.name): part for part in self._add(function, own)}
        self.parts = tuple(parts.values())
        self._last = self._steps[function]
        queries = [part.name for part in self.parts if part.place == "query"]
        self._queries = [*queries, "user"]  # which has no effect where nothing belongs to a user
        self.body = next((part for part in self.parts if part.place == "body"), None)
        self._times = {part.name for part in self.parts if part.is_time}

    def _add(self, function: Callable[..., Any], own: Mapping[str, Any]) -> list[RequestParameter]:
        """Add the steps up to the call of a function, and return the parts that they read."""
        step = _Step(function, inspect.iscoroutinefunction(function), {}, {}, {}, [], {}, [])
        in_body: dict[str, tuple[BodyField, inspect.Parameter, Any]] = {}
        taken = [inspect.Parameter(name, _KEYWORD, annotation=kind) for name, kind in own.items()]
        for parameter in (*taken, *inspect.signature(function).parameters.values()):
            kind, marks = _parted(parameter.annotation)
            made = next((mark.function for mark in marks if isinstance(mark, From)), None)
            made = self._instead.get(made, made)
            if made is None and isinstance(kind, type):
                made = attrgetter("head") if kind is ResponseHead else self._instead.get(kind)
            if function is self._function:
                made = self._instead.get(parameter.name, made)
            if kind is RequestContext:
                step.calls.append(parameter.name)
            elif isinstance(made, attrgetter):
                step.attributes[parameter.name] = made
            elif made is not None:
                step.made[parameter.name] = made
            elif body := next((mark for mark in marks if isinstance(mark, BodyField)), None):
                in_body[parameter.name] = body, parameter, kind
            elif parameter.name != "self":
                step.values[parameter.name] = _value(parameter, kind, marks, self._path)
        if in_body:
            step.fields.update({name: name.removesuffix("_") for name in in_body})
            step.body.append(_body_of(function, in_body))
        parts = [*step.values.values(), *step.body]
        for made in step.made.values():
            parts += self._steps[made].values.values() if made in self._steps else self._add(made, {})
        self._steps[function] = step
        return parts

    async def arguments(self, call: RequestContext) -> dict[str, Any]:
        """Return the arguments of the function for a request.

        Raises:
            CodedError (BAD_PARAMS): parts of the request are missing or invalid.
        """
        if self._times and any(DAY.fullmatch(given) for _, given in call.query):
            zone = await call.served.hub.zone_of(call.caller)
            call.query = [
                (name, _instant(given, zone, days=name.endswith("until")) if name in self._times else given)
                for name, given in call.query
            ]
        wrong: list[Refusal] = []
        parts = {(part.place, part.name): part.read(call, wrong) for part in self.parts}
        names = [name for name, _ in call.query]
        singles = [part.name for part in self.parts if part.place == "query" and not part.is_list]
        wrong += [
            (f"query.{name}: given {names.count(name)} times", "keep one of them")
            for name in singles
            if names.count(name) > 1
        ]
        unknown = [*dict.fromkeys(name for name in names if name not in self._queries)][:MAX_REFUSALS]
        wrong += [
            (f"query.{name}: there is no such parameter", did_you_mean(name, self._queries))
            for name in unknown
        ]
        if wrong:
            raise bad_request([message for message, _ in wrong], [hint for _, hint in wrong if hint])
        results: dict[Callable[..., Any], Any] = {}
        given: dict[str, Any] = {}
        for step in self._steps.values():
            given = {name: parts[part.place, part.name] for name, part in step.values.items()}
            given |= {name: results[made] for name, made in step.made.items()}
            given |= {name: read(call) for name, read in step.attributes.items()}
            given |= dict.fromkeys(step.calls, call)
            for body in step.body:
                given |= {name: getattr(parts["body", body.name], key) for name, key in step.fields.items()}
            if step is not self._last:
                result = step.function(**given)
                results[step.function] = await result if step.is_async else result
        return given


def _parted(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split an annotation into the type with its limits, and the marks of this module."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *metas = get_args(annotation)
    marks = tuple(meta for meta in metas if isinstance(meta, FromHeader | From | BodyField | MayBeLeftOut))
    limits = [meta for meta in metas if meta not in marks]
    for limit in limits:
        kind = Annotated[kind, limit]
    return kind, marks


def _body_of(
    function: Callable[..., Any], fields: Mapping[str, tuple[BodyField, inspect.Parameter, Any]]
) -> RequestParameter:
    """Return the body whose fields these parameters are."""
    key = (function, *fields)
    body = next(iter(fields.values()))[0]
    if key not in _STRUCTS:  # once for all routes of a function, as the document names it once
        columns = [
            (name.removesuffix("_"), kind)
            if parameter.default is parameter.empty
            else (name.removesuffix("_"), kind, parameter.default)
            for name, (_, parameter, kind) in fields.items()
        ]
        _STRUCTS[key] = msgspec.defstruct(
            body.name, columns, forbid_unknown_fields=True, kw_only=True, namespace={"__doc__": body.about}
        )
    struct = _STRUCTS[key]
    return RequestParameter("body", "body", struct, struct() if body.is_optional else MISSING)


_STRUCTS: Final[dict[tuple[object, ...], type[msgspec.Struct]]] = {}


def _value(
    parameter: inspect.Parameter, kind: Any, marks: tuple[Any, ...], path: Collection[str]
) -> RequestParameter:
    name = parameter.name.removesuffix("_")  # which is added to a keyword of Python
    default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    if header := next((mark for mark in marks if isinstance(mark, FromHeader)), None):
        return RequestParameter("header", header.name, kind, default)
    if name in path:
        return RequestParameter("path", name, kind, MISSING)
    is_dict = any(get_origin(member) is dict for member in (kind, *get_args(kind)))
    is_object = _class_in(kind, BaseModel) is not None or _class_in(kind, msgspec.Struct) is not None
    if is_dict or is_object:
        return RequestParameter("body", name, kind, kind() if OPTIONAL in marks else default)
    return RequestParameter("query", name, kind, default)


def _class_in(kind: Any, base: type[T]) -> type[T] | None:
    """Return the subclass of *base* that a type is, or a member of its union; None: it has none."""
    members = (kind, *get_args(kind))
    return next((member for member in members if isinstance(member, type) and issubclass(member, base)), None)


def _without_null(kind: Any) -> Any:
    """Return a type without None."""
    if get_origin(kind) is Annotated:
        inner, *limits = get_args(kind)
        return Annotated[(_without_null(inner), *limits)]
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return Union[tuple(member for member in get_args(kind) if member is not NoneType)]  # noqa: UP007


def _has(kind: Any, shape: Any) -> bool:
    """Return whether a type has a part of this shape."""
    return any(isinstance(part, shape) for part in parts_of(kind))


def _instant(given: str, zone: str | None, *, days: int) -> str:
    """Return a date as the instant at which it begins; another text as it is, to be read or refused."""
    if DAY.fullmatch(given) is None:
        return given
    try:
        return from_epoch_ms(begin_of(date.fromisoformat(given) + timedelta(days=days), zone)).isoformat()
    except (KeyError, ValueError, OSError, OverflowError):  # no such day, or this machine has no such zone
        return given


def _most_of(kind: Any) -> int:
    """Return how many characters a text may have; a type with a smaller limit refuses it by itself."""
    texts = (part for part in parts_of(kind) if isinstance(part, shapes.StrType))
    return max(MAX_OF_TEXT, *(text.max_length or 0 for text in texts), 0)
