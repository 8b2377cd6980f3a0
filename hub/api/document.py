"""The interface as an OpenAPI 3.1 document, made from the declarations of the routes.

The permitted callers come from ``api/door/routes``. The refusals come from the rules of
``api/door/access``, which hold for every route, and from the route's own declaration.
"""

import gzip
import hashlib
import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import Response

from hub.api.binding import MISSING, Value
from hub.api.door.routes import AGENT, PUBLIC, roles_that_may
from hub.api.errors import MEDIA_TYPE, Problem
from hub.api.examples import VALUES, example_of
from hub.api.routing import RouteOf
from hub.version import VERSION
from protocol.errors import CATALOGUE, ErrorCode

_E = ErrorCode
EVERY: Final = (
    *(_E.TOKEN_IN_URL, _E.UNTRUSTED_PROXY, _E.FORBIDDEN, _E.FOREIGN_ORIGIN, _E.HELLO_TIMEOUT, _E.TOO_LARGE),
    *(_E.BAD_CONTENT_TYPE, _E.WRONG_HOST, _E.BAD_PARAMS, _E.INTERNAL, _E.OVERLOADED, _E.STOPPING),
)
WITH_TOKEN: Final = (_E.AUTH_FAILED, _E.RATE_LIMITED, _E.DATABASE_BUSY, _E.DATABASE_UNAVAILABLE)
_SHARED: Final = (*EVERY, *WITH_TOKEN)
POSTED: Final = (_E.KEY_USED, _E.DATABASE_CONFLICT)
# Statuses that differ from the catalogue's, as HTTP has a more specific number.
OWN_STATUS: Final = {
    400: _E.BAD_PARAMS,
    405: _E.UNKNOWN_METHOD,
    411: _E.BAD_PARAMS,
    431: _E.TOO_LARGE,
}

_PROBLEM: Final = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal (RFC 9457). *code* is stable; *hint* says what a person can do.",
    "required": ["type", "title", "status", "detail", "code", "retryable", "hint"],
    "properties": {
        "type": {"type": "string", "description": "``urn:hub:error:`` and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, for a person."},
        "code": {"type": "string", "enum": [str(code) for code in ErrorCode]},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "hint": {"type": "string"},
    },
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key means the same request, done once; its answer is told again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
}
_SCHEMA: Final = "#/components/schemas/{name}"

Schema = dict[str, Any]
Spelled = Mapping[str, bytes]  # the document in each content coding


def document_server(routes: Collection[RouteOf]) -> Callable[[Headers], Response]:
    """Return a function that answers requests for the document; it may be called in several threads."""
    building = threading.Lock()

    @cache
    def spelled() -> Spelled:
        plain = msgspec.json.encode(openapi_document(routes))
        return {"identity": plain, "gzip": gzip.compress(plain, mtime=0)}

    def serve(asked: Headers) -> Response:
        with building:
            codings = spelled()
        coding = "gzip" if "gzip" in asked.get("accept-encoding", "") else "identity"
        tag = f'"{hashlib.sha256(codings["identity"]).hexdigest()[:32]}-{coding}"'
        headers = {"etag": tag, "vary": "accept-encoding", "cache-control": "no-cache"}
        if tag in asked.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if coding != "identity":
            headers["content-encoding"] = coding
        return Response(codings[coding], media_type="application/json", headers=headers)

    return serve


def openapi_document(routes: Collection[RouteOf]) -> dict[str, Any]:
    """Return the document of these routes."""
    parts = _Components(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.asked.path, {})[route.asked.method.lower()] = _operation(route, parts)
    token = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "hub", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": parts.schemas | {"Problem": _PROBLEM},
            "parameters": parts.parameters,
            "examples": parts.examples | {str(code): {"value": _problem(code)} for code in ErrorCode},
            "responses": parts.responses | {every: _refusal_of_all(every) for every in ("4XX", "5XX")},
            "securitySchemes": {
                "token": token | {"description": "An operator's token: hub_op_..."},
                "agent": token | {"description": "An agent's token: hub_agt_..."},
            },
        },
    }


class _Components:
    """Parts of the document that routes share: schemas, parameters, and an example of each body."""

    def __init__(self, routes: Collection[RouteOf]) -> None:
        kinds = [part.kind for route in routes for part in route.binding.parts if part.table is None]
        kinds += [route.returned for route in routes if not _is_response(route.returned)]
        made, self.schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMA)
        self._by_kind = dict(zip(map(repr, kinds), made, strict=True))
        self.parameters: dict[str, Any] = {}
        self.examples: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}

    def schema(self, kind: Any) -> Schema:
        """Return the schema of a type that a route has."""
        return dict(self._by_kind[repr(kind)])

    def table(self, table: type[BaseModel]) -> Schema:
        """Return a reference to the schema of a table of hub.toml."""
        schema = table.model_json_schema(ref_template="#/components/schemas/{model}")
        self.schemas |= schema.pop("$defs", {})
        return self.named(table.__name__, schema)

    def named(self, name: str, schema: Schema) -> Schema:
        """Add a schema, and return a reference to it."""
        self.schemas[name] = schema
        return {"$ref": _SCHEMA.format(name=name)}

    def parameter(self, parameter: dict[str, Any]) -> dict[str, Any]:
        """Return a reference to a parameter, or itself if another one has its name."""
        if self.parameters.setdefault(parameter["name"], parameter) != parameter:
            return parameter
        return {"$ref": f"#/components/parameters/{parameter['name']}"}

    def refusal(self, status: str, codes: Collection[ErrorCode]) -> dict[str, Any]:
        """Return a reference to a refusal, which has one of these codes or of those of every route."""
        shared = (code for code in _SHARED if str(CATALOGUE[code].http_status) == status)
        name = "-".join((status, *codes))
        self.responses.setdefault(name, _refusal([*codes, *shared]))
        return {"$ref": f"#/components/responses/{name}"}

    def json(self, schema: Schema) -> dict[str, Any]:
        """Return the content of a body in JSON, with an example."""
        content: dict[str, Any] = {"schema": schema}
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            self.examples.setdefault(name, {"value": example_of(schema, self.schemas)})
            content["examples"] = {name: {"$ref": f"#/components/examples/{name}"}}
        elif schema:
            content["example"] = example_of(schema, self.schemas)
        return {"application/json": content}


def _is_response(returned: Any) -> bool:
    return isinstance(returned, type) and issubclass(returned, Response)


def _operation(route: RouteOf, parts: _Components) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [route.noun.name],
        "operationId": route.operation_id,
        "summary": route.method.__name__.replace("_", " ").capitalize(),
        "description": _description(route),
        "security": _security(route),
    }
    given = {part.name: part for part in route.binding.parts if part.place != "body"}
    given.pop("idempotency-key", None)  # as every POST has it
    parameters = [_parameter(part, parts) for part in given.values()]
    if route.asked.method == "POST":
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = [parts.parameter(one) for one in parameters]
    if body := route.binding.body:
        schema = parts.schema(body.kind) if body.table is None else parts.table(body.table)
        operation["requestBody"] = {"required": body.default is MISSING, "content": parts.json(schema)}
    operation["responses"] = _answers(route, parts) | _refusals(route, parts)
    return operation


def _description(route: RouteOf) -> str:
    text, need = inspect.getdoc(route.method) or "", route.declared.need
    if need is PUBLIC:
        return text
    scope = f"the scope ``{need.value}`` (of {', '.join(roles_that_may(need))})"
    return f"{text}\n\nNeeds {'the token of an agent' if need is AGENT else scope}."


def _security(route: RouteOf) -> list[dict[str, Any]]:
    need = route.declared.need
    return [] if need is PUBLIC else [{"agent" if need is AGENT else "token": []}]


def _parameter(part: Value, parts: _Components) -> dict[str, Any]:
    schema = parts.schema(part.kind)
    parameter: dict[str, Any] = {"name": part.name, "in": part.place, "required": part.default is MISSING}
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    if about := next((choice["description"] for choice in choices if "description" in choice), ""):
        parameter["description"] = about
    if len(choices) == 1:  # a parameter that is left out is not null
        schema = {key: value for key, value in choices[0].items() if key != "description"}
    if part.default not in (MISSING, None):
        schema["default"] = part.default
    if part.place == "path" and part.name in VALUES:
        parameter["example"] = VALUES[part.name]
    return parameter | {"schema": schema}


def _answers(route: RouteOf, parts: _Components) -> dict[str, Any]:
    """Return the responses of a route to requests that are not refused."""
    declared, returned = route.declared, route.returned
    if _is_response(returned):
        is_text = returned.media_type is not None
        content = {
            returned.media_type or "application/json": {"schema": {"type": "string"} if is_text else {}}
        }
    elif declared.key is not None:
        content = parts.json(parts.named(route.noun.__name__, _page(route.items_key, parts.schema(returned))))
    else:
        content = parts.json(parts.schema(returned))
    answer = {"description": "Successful response", "content": content}
    return {str(status): answer for status in (declared.status, *declared.also)}


def _page(items_key: str, item: Schema) -> Schema:
    return {
        "type": "object",
        "description": f"A page of {items_key}; *next_cursor* leads to the next one.",
        "required": [items_key],
        "properties": {
            items_key: {"type": "array", "items": item},
            "next_cursor": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
    }


def _refusals(route: RouteOf, parts: _Components) -> dict[str, Any]:
    """Return the refusals of a route. Statuses of ``_SHARED`` are listed if the route adds codes to them."""
    own = dict.fromkeys((*route.noun.errors, *route.declared.errors, *_codes_of(route)))
    by_status: dict[int, list[ErrorCode]] = {}
    for code in own:
        if code not in _SHARED:
            by_status.setdefault(CATALOGUE[code].http_status, []).append(code)
    refusals = {str(status): parts.refusal(str(status), codes) for status, codes in sorted(by_status.items())}
    return refusals | {every: {"$ref": f"#/components/responses/{every}"} for every in ("4XX", "5XX")}


def _codes_of(route: RouteOf) -> Iterable[ErrorCode]:
    names = {part.name for part in route.binding.parts}
    if "user" in names:
        yield _E.UNKNOWN_USER
    if "if-match" in names:
        yield _E.CHANGED_MEANWHILE
    if route.asked.method == "POST":
        yield from POSTED


def _refusal(codes: Iterable[ErrorCode], about: str = "") -> dict[str, Any]:
    return {
        "description": about + ", ".join(codes),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {str(code): {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _refusal_of_all(every: str) -> dict[str, Any]:
    codes = [code for code in _SHARED if str(CATALOGUE[code].http_status)[0] == every[0]]
    own = [f"{status} {code}" for status, code in OWN_STATUS.items()] if every == "4XX" else []
    return _refusal(codes, f"Refusals of every route{''.join(f', also as {one}' for one in own)}: ")


def _problem(code: ErrorCode) -> dict[str, Any]:
    return Problem.told(code, CATALOGUE[code].hint, status=CATALOGUE[code].http_status)
