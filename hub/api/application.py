"""The REST interface as an ASGI application: routes, unknown paths, errors, and the OpenAPI document.

Callers are checked by ``api/http/access``, which also finds the route in the table of roles.

The interface as an OpenAPI 3.1 document, made from the declarations of the routes.

The permitted callers come from ``roles``. The refusals come from the rules of
``api/http/access``, which hold for every route, and from the route's own declaration.
"""

import gzip
import hashlib
import inspect
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, cached_property
from http import HTTPStatus
from importlib import import_module
from pkgutil import iter_modules
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin
from urllib.parse import quote, unquote

import msgspec
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from hub.api import resources
from hub.api.binding import MISSING, Binding, RequestContext, RequestParameter, bad_request
from hub.api.events import StreamedResponse
from hub.api.http.access import BODY, ROUTE
from hub.api.peers import ALL, HEADER, READ_WITHIN_S, WITHIN_S, Peers
from hub.api.resource import (
    Endpoint,
    IfMatch,
    ListPart,
    Match,
    Paging,
    Resource,
    Route,
    Seen,
    Served,
    agent,
    audit_of,
    operator,
)
from hub.base.log import Channel
from hub.base.printable import TYPED, spelled
from hub.base.roles import (
    AGENT,
    PRINCIPAL,
    PUBLIC,
    ROLE_SCOPES,
    Need,
    Principal,
    RouteKey,
    Scope,
    may_ask,
    rows_of,
)
from hub.base.version import VERSION
from hub.base.web.problem import MEDIA_TYPE, ProblemResponse
from hub.cluster.messages import BusReply, BusRequest
from hub.coordination.board_access import Caller
from protocol.errors import CATALOGUE, AtAnotherNode, CodedError, ErrorCode, HubError
from protocol.grants import NO_LIMITS
from storage.kernel.database import CAUSE

log = Channel(__name__)

FORWARDED: Final = "forwarded"  # in the scope's state: another node sent the request


class RouteHandler:
    """A route of a resource: answers its requests, and says what the document tells of it.

    Attributes:
        asked: its row in the table of roles.
        path: names of the path parameters.
    """

    def __init__(self, resource: type[Resource], declared: Route, method: Endpoint) -> None:
        self.resource, self.declared, self.method = resource, declared, method
        self.asked = RouteKey(declared.verb, resource.path + declared.path)
        self.path = re.findall(r"\{(\w+)\}", self.asked.path)

    @property
    def operation_id(self) -> str:
        """Return the name of the route in the document."""
        suffix = "_as_agent" if self.declared.need is AGENT else ""
        return f"{self.resource.name}_{self.method.__name__}{suffix}"

    @property
    def items_key(self) -> str:
        """Return the key of the items in a page of a list."""
        return self.declared.page.partition(".")[2] or self.resource.list_key or self.resource.name

    @property
    def returned(self) -> Any:
        """Return the type of the response, or of its items if it is a page of a list."""
        returned = inspect.signature(self.method).return_annotation
        if get_origin(returned) in (Union, UnionType):
            returned = get_args(returned)[0]
        return get_args(returned)[0] if self.is_page else returned

    @property
    def is_page(self) -> bool:
        """Return True if the response is a page of a list."""
        return self.declared.key is not None or self.declared.page != ""

    @cached_property
    def binding(self) -> Binding:
        """Return the parameters of the method, and those that the declaration adds."""
        declared = self.declared
        own: dict[str, Any] = {}
        if self.resource.is_scoped and not declared.is_whole:
            own["_seen"] = Seen
        if declared.key is not None:
            own["_paging"] = Paging
        if declared.is_tagged and declared.verb != "GET":
            own["_match"] = Match

        def requested(paging: Paging) -> ListPart:
            if declared.most is not None:
                paging.limit = min(paging.limit, declared.most)
            return paging.part

        caller = agent if declared.need is AGENT else operator
        return Binding(self.method, path=self.path, own=own, instead={Caller: caller, ListPart: requested})

    @cached_property
    def _has_match(self) -> bool:
        """Return True if ``If-Match`` is checked before the change."""
        return any((part.place, part.name) == ("header", "if-match") for part in self.binding.parts)

    async def answer(self, call: RequestContext) -> Response:
        """Return the response to a request. Raises HubError."""
        declared, headers = self.declared, call.head.headers
        if declared.verb != "GET" and "if-match" in call.headers and not self._has_match:
            raise bad_request(["header.if-match: what is changed here has no ETag"], ["leave it out"])
        given = await self.binding.arguments(call)
        seen, paging = given.pop("_seen", None), given.pop("_paging", None)
        limits = NO_LIMITS if call.caller is None else call.caller.limits
        resource = call.served.hub.resource(self.resource, seen, limits)
        match: IfMatch | None = given.pop("_match", None)
        if match is not None and match.is_asked and self.path:
            names = given.keys() & inspect.signature(resource.get).parameters
            match.check(resource.tag_of(await resource.get(**{name: given[name] for name in names})))
        work = getattr(resource, self.method.__name__)(**given)
        result = await call.served.hub.traced(audit_of(self.method), call, call.path, work)
        if isinstance(result, Response):
            return result
        if declared.is_tagged and declared.verb != "DELETE":
            headers["etag"] = resource.tag_of(result)
        if declared.location is not None:
            path = {name: quote(part, safe="") for name, part in call.path.items()}
            headers["location"] = quote(declared.location.format(result, **path), safe="/%")
        if declared.is_secret:
            headers["cache-control"] = "no-store"
        if declared.key is not None:
            result = paging.fetched(result, key=declared.key)
        if self.is_page:
            result = {self.items_key: result.items, "next_cursor": result.next_cursor}
        status = call.head.status or declared.status
        return Response(msgspec.json.encode(result), status, headers, "application/json")


# Modules whose routes the documents list behind each other; other modules are listed by their names.
_TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "agent_configs": ("agent_configs", "capabilities", "checkpoints"),
    "agent_status": ("agent_status", "heartbeats"),
    "connectors": ("connectors", "sealing_keys"),
    "costs": ("costs", "why", "previews"),
    "devices": ("devices", "device_events", "receipts", "pairings", "users"),
    "logs": ("logs", "hub_events", "debug"),
    "overviews": ("audit_log", "overviews", "activity", "summaries", "changes"),
    "system": ("system", "nodes", "handbook"),
}


def _declared() -> tuple[type[Resource], ...]:
    """Return the resources that modules of ``hub.api.resources`` define, in the order of the documents."""
    topics = {name: (topic, number) for topic, names in _TOPICS.items() for number, name in enumerate(names)}
    found = (module.name for module in iter_modules(resources.__path__))
    names = sorted(found, key=lambda name: topics.get(name, (name, 0)))
    modules = [import_module(f"{resources.__name__}.{name}") for name in names]
    return tuple(
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Resource) and kind.__module__ == module.__name__
    )


DECLARED: Final = _declared()
ANSWERED: Final = {
    found.asked: found
    for resource in DECLARED
    for found in (RouteHandler(resource, declared, method) for declared, method in resource.routes())
}


async def application(served: Served, scope: AsgiScope, receive: Receive, send: Send) -> None:
    """Answer a request that ``api/http/access`` permits."""
    try:
        response = await _response(served, scope)
    except Exception as error:  # a fault, which the server logs with its traceback
        await _fault(error)(scope, receive, send)
        raise
    await response(scope, receive, send)


async def reply_to(served: Served, request: BusRequest) -> BusReply:
    """Return the reply to a request of another node, which has checked the caller."""
    principal = msgspec.convert(request.principal, Principal)
    asked = rows_of(request.path).get(request.method)
    response: Response = ProblemResponse(
        ErrorCode.UNKNOWN_METHOD, "a node of another release has no such route"
    )
    if asked is not None and may_ask(principal, asked):
        state = {ROUTE: asked, PRINCIPAL: principal, BODY: request.body, FORWARDED: True}
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query.encode("latin-1"),
            "headers": [] if request.key is None else [(b"idempotency-key", request.key.encode("latin-1"))],
            "state": state,
        }
        CAUSE.set(principal.actor)
        try:
            response = await _response(served, scope)
        except Exception as error:  # a fault ends neither the bus nor the wait of the other node
            log.error("node.request_failed", exc=error)
            response = _fault(error)
    return _reply(response)


def _fault(error: Exception) -> ProblemResponse:
    return ProblemResponse(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")


async def _response(served: Served, scope: AsgiScope) -> Response:
    state = scope["state"]
    asked: RouteKey | None = state[ROUTE]
    if asked is None:
        return _unknown(scope)
    parts = zip(asked.path.split("/"), scope["path"].split("/"), strict=True)
    path = {template[1:-1]: unquote(part) for template, part in parts if template[:1] == "{"}
    call = RequestContext(scope, path, state[BODY], caller=state[PRINCIPAL], served=served)
    try:
        return await _answer(ANSWERED[asked], call)
    except HubError as error:
        return ProblemResponse.of(error)


async def _answer(route: RouteHandler, call: RequestContext) -> Response:
    """Return the response of this node, of the one that the request needs, or of all."""
    peers: Peers | None = call.served.hub.peers
    if peers is None or call.caller is None or FORWARDED in call.scope["state"]:
        return await route.answer(call)
    named = call.headers.get(HEADER)
    if named is not None and call.caller.limits.kinds:  # a node of release 0.2 knows no limits
        raise CodedError(ErrorCode.FORBIDDEN, "Hub-Node is not for a token that is limited to some things")
    if named == ALL:
        return await _answer_of_all(route, call, peers)
    boot_id = await peers.named(named)
    is_read = boot_id is not None and route.declared.verb == "GET"
    if boot_id is None:
        try:
            return await route.answer(call)
        except AtAnotherNode as error:
            boot_id = error.boot_id
            if boot_id is None or not peers.can_answer(boot_id):
                raise
    # Other requests may wait there for a device.
    within_s = READ_WITHIN_S if is_read else WITHIN_S
    reply = await peers.ask(boot_id, _request(call), within_s)
    return Response(reply.body, reply.status, reply.headers)


async def _answer_of_all(route: RouteHandler, call: RequestContext, peers: Peers) -> Response:
    if route.declared.verb != "GET":
        raise bad_request(["header.hub-node: a change is made at one node, not at all"])
    try:
        response = await route.answer(call)
    except HubError as error:
        response = ProblemResponse.of(error)
    replies = await peers.ask_all(_reply(response), _request(call))
    return Response(msgspec.json.encode({"nodes": replies}), media_type="application/json")


def _request(call: RequestContext) -> BusRequest:
    return BusRequest(
        method=call.scope["method"],
        path=call.scope["path"],
        query=call.scope["query_string"].decode("latin-1"),
        body=call.body,
        principal=msgspec.to_builtins(call.caller),
        key=call.headers.get("idempotency-key"),
    )


def _reply(response: Response) -> BusReply:
    if isinstance(response, StreamedResponse):
        response = ProblemResponse(
            ErrorCode.UNKNOWN_METHOD,
            "a stream of another node cannot be followed here",
            hint="follow it without --node, and logs with --all-nodes; what the command began goes on",
        )
    return BusReply(status=response.status_code, headers=dict(response.headers), body=bytes(response.body))


def _unknown(scope: AsgiScope) -> Response:
    path, hint = spelled(scope["path"]), "GET /v1/openapi.json describes the routes"
    allowed = ", ".join(rows_of(scope["path"]))
    if not allowed:
        what, members = f"there is nothing at {path}", {"title": "unknown path"}
        return ProblemResponse(ErrorCode.UNKNOWN_METHOD, what, status=404, hint=hint, members=members)
    what, headers = f"{path} does not take {scope['method']}, but {allowed}", {"allow": allowed}
    return ProblemResponse(ErrorCode.UNKNOWN_METHOD, what, status=405, hint=hint, headers=headers)


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
    431: _E.TOO_LARGE,
    501: _E.UNKNOWN_METHOD,
}

_REFUSAL_HEADERS: Final = {
    "Retry-After": {
        "description": "Seconds after which to ask again; of 429 and 503.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {"description": "Methods of the path; of 405.", "schema": {"type": "string"}},
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key means the same request, done once; its response is repeated.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
}
_MOMENT: Final = "2026-01-05T09:14:00Z"
_ID: Final = "019b8d5c-1f6e-7c3a-9d2e-5b1c7f0a4e21"
# Examples by the name of a field or parameter, consistent with one small hub.
_EXAMPLES: Final[Mapping[str, Any]] = {
    "activity": "idle",
    "actor": "operator:1000",
    "agent": "notes",
    "availability": "available",
    "axis": "lifecycle",
    "because": "its device is away",
    "code": "K7QF-2M9X",
    "capabilities": "tool_call",
    "connectivity": "online",
    "created_by": "operator:1000",
    "data_types": "tasks",
    "database": "sqlite:///hub.db",
    "detail": "there is no agent 'nots'",
    "device": "desk",
    "device_id": _ID,
    "event": "run.moved",
    "expr": "0 7 * * 1-5",
    "file_extensions": ".md",
    "first": _MOMENT,
    "from": _MOMENT,
    "health": "ok",
    "hub_id": _ID,
    "id": _ID,
    "invitation_id": _ID,
    "last": _MOMENT,
    "topic": "schedules",
    "to": _MOMENT,
    "last4": "x9Qa",
    "lifecycle": "active",
    "message": "the file is no text",
    "model": "gpt-5-mini (openai)",
    "name": "notes",
    "network": "192.0.2.7",
    "of": "its own agents",
    "overlap": "skip",
    "pairing_id": _ID,
    "path": "notes/monday.md",
    "paths": "notes",
    "platform": "linux",
    "prompt": "Find the tasks that a person has to do.",
    "reason": "asked by its owner",
    "run": _ID,
    "run_id": _ID,
    "said": "Monday to Friday at 07:00",
    "schedule": "0 7 * * 1-5",
    "scope": "read",
    "timezone": "Europe/Berlin",
    "token_id": _ID,
    "token": "hub_op_4fT2mB0qZ7xKpW9sLrN1vYcE3hJd5gUa0kR8wQmPzx",
    "trigger": "schedule",
    "user": "owner",
    "vocabulary": "calendar",
    "version": VERSION,
}
ALIAS: Final = "x-alias-of"  # of a field that is another one by a further name
_SCHEMA: Final = "#/components/schemas/{name}"
_REFUSED: Final = "default"  # refusals of every route
_OF_VALUES: Final = frozenset(("enum", "const", "format"))  # keys of a schema that lists its texts

Schema = dict[str, Any]
Spelled = Mapping[str, bytes]  # the document in each content coding


def document_server(routes: Collection[RouteHandler]) -> Callable[[Headers], Response]:
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


def openapi_document(routes: Collection[RouteHandler]) -> dict[str, Any]:
    """Return the document of these routes."""
    parts = _Components(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.asked.path, {})[route.asked.method.lower()] = _operation(route, parts)
    _require_fields_of_responses(parts.schemas, paths)
    token = {"type": "http", "scheme": "bearer"}
    also = "".join(f", also as {status} {code}" for status, code in OWN_STATUS.items())
    roles = "; ".join(f"{role}: {', '.join(sorted(scopes))}" for role, scopes in ROLE_SCOPES.items())
    return {
        "openapi": "3.1.0",
        "info": {"title": "hub", "version": VERSION},
        "security": _security(Scope.READ),  # of each operation without its own
        "paths": paths,
        "components": {
            "schemas": {name: _plain(schema) for name, schema in parts.schemas.items()}
            | {"Problem": _problem()},
            "parameters": parts.parameters,
            "responses": parts.responses
            | {
                _REFUSED: _refusal(_SHARED, f"Refusals of every route{also}: ")
                | {"headers": _REFUSAL_HEADERS}
            },
            "securitySchemes": {
                "token": token
                | {"description": f"An operator's token, hub_op_..., with the scopes of its role. {roles}"},
                "agent": token | {"description": "An agent's token: hub_agt_..."},
            },
        },
    }


class _Components:
    """Parts of the document that routes share: schemas, parameters and refusals."""

    def __init__(self, routes: Collection[RouteHandler]) -> None:
        kinds = [part.kind for route in routes for part in route.binding.parts if part.table is None]
        kinds += [route.returned for route in routes if not _is_response(route.returned)]
        made, self.schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMA)
        self._by_kind = dict(zip(map(repr, kinds), made, strict=True))
        bodies = [part for route in routes for part in route.binding.parts if part.struct and part.aliases]
        for name, aliases in {part.struct.__name__: part.aliases for part in bodies if part.struct}.items():
            _add_aliases(self.schemas[name], aliases)
        self.parameters: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}

    def schema(self, kind: Any, name: str = "") -> Schema:
        """Return the schema of a type that a route has."""
        return _plain(self._by_kind[repr(kind)], name)

    def table(self, table: type[BaseModel]) -> Schema:
        """Return a reference to the schema of a table of hub.toml."""
        schema = table.model_json_schema(ref_template="#/components/schemas/{model}")
        self.schemas |= schema.pop("$defs", {})
        return self.named(table.__name__, schema)

    def named(self, name: str, schema: Schema) -> Schema:
        """Add a schema, and return a reference to it."""
        self.schemas[name] = schema
        return {"$ref": _SCHEMA.format(name=name)}

    def parameter(self, parameter: dict[str, Any], resource: str) -> dict[str, Any]:
        """Return a reference to a parameter, or itself if others have its name and that of its resource."""
        for name in (parameter["name"], f"{parameter['name']}-of-{resource}"):
            if self.parameters.setdefault(name, parameter) == parameter:
                return {"$ref": f"#/components/parameters/{name}"}
        return parameter

    def refusal(self, status: str, codes: Collection[ErrorCode]) -> dict[str, Any]:
        """Return a reference to a refusal, which has one of these codes or of those of every route."""
        shared = (code for code in _SHARED if str(CATALOGUE[code].http_status) == status)
        name = "-".join((status, *codes))
        self.responses.setdefault(name, _refusal([*codes, *shared]))
        return {"$ref": f"#/components/responses/{name}"}


def _plain(schema: Schema, name: str = "") -> Schema:
    """Return the schema of a field *name* in few words, with an example of each text in it."""
    plain = {key: value for key, value in schema.items() if key not in ("title", "x-effect", "x-scope")}
    match plain.get("anyOf"):
        case [{"type": str(kind)} as choice, {"type": "null"}] if not choice.keys() & {"enum", "const"}:
            del plain["anyOf"]
            plain = choice | plain | {"type": [kind, "null"]}
        case [*choices]:
            plain["anyOf"] = [_plain(choice, name) for choice in choices]
    if "default" in plain and plain["default"] is None:
        del plain["default"]  # a field that may be null and is not required
    if "description" in plain:
        plain["description"] = inspect.cleandoc(plain["description"])
    if "properties" in plain:
        plain["properties"] = {field: _plain(inner, field) for field, inner in plain["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = _plain(plain[key], name)
    if _is_text(plain) and name in _EXAMPLES:
        plain["examples"] = [_EXAMPLES[name]]
    return plain


def _require_fields_of_responses(schemas: Mapping[str, Schema], paths: Mapping[str, Any]) -> None:
    """Mark the fields of schemas that no request has as required: a response always has all of them."""
    asked = [operation.get("requestBody") for path in paths.values() for operation in path.values()]
    requested = set[str]()
    while asked:
        names = set(references(asked)) - requested
        requested |= names
        asked = [schemas[name] for name in names]
    for name in schemas.keys() - requested:
        if fields := schemas[name].get("properties"):
            schemas[name]["required"] = list(fields)


def references(part: Any) -> Iterator[str]:
    """Return the names of the schemas that a part of the document refers to."""
    if isinstance(part, dict) and isinstance(part.get("$ref"), str):
        yield part["$ref"].rpartition("/")[2]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for nested in inner:
        yield from references(nested)


def _add_aliases(schema: Schema, aliases: Mapping[str, str]) -> None:
    """Add the further names of fields to the schema of a body."""
    for alias, field in aliases.items():
        named = schema["properties"][field]
        schema["properties"][alias] = named | {"description": f"The same as ``{field}``.", ALIAS: field}
        if field in schema.get("required", ()):
            schema["required"] = [name for name in schema["required"] if name != field]
            schema.setdefault("allOf", []).append({"anyOf": [{"required": [field]}, {"required": [alias]}]})


def _is_text(schema: Schema) -> bool:
    """Return whether the schema is one of a text that says nothing about its values."""
    is_text = schema.get("type") in ("string", ["string", "null"])
    return is_text and not schema.keys() & {"enum", "const", "examples", "format"}


def _is_response(returned: Any) -> bool:
    return isinstance(returned, type) and issubclass(returned, Response)


def _operation(route: RouteHandler, parts: _Components) -> dict[str, Any]:
    about = inspect.cleandoc(route.method.__doc__ or "").partition("Raises:")[0].strip()
    summary, _, description = about.partition("\n\n")
    operation: dict[str, Any] = {
        "tags": [route.resource.name],
        "operationId": route.operation_id,
        "summary": summary,
    }
    if description:
        operation["description"] = description
    if route.declared.need is not Scope.READ:
        operation["security"] = _security(route.declared.need)
    given = {part.name: part for part in route.binding.parts if part.place != "body"}
    given.pop("idempotency-key", None)  # as every POST has it
    parameters = [_parameter(part, parts) for part in given.values()]
    if route.asked.method == "POST":
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = [
            parts.parameter(parameter, route.resource.name) for parameter in parameters
        ]
    if body := route.binding.body:
        schema = parts.schema(body.kind) if body.table is None else parts.table(body.table)
        operation["requestBody"] = {"required": True} if body.default is MISSING else {}
        operation["requestBody"]["content"] = {"application/json": {"schema": schema}}
    operation["responses"] = _answers(route, parts) | _refusals(route, parts)
    return operation


def _security(need: Need) -> list[dict[str, Any]]:
    """Return the requirement of a route: a token with the scope, or that of an agent."""
    if need is PUBLIC:
        return []
    return [{"agent": []} if need is AGENT else {"token": [need.value]}]


def _parameter(part: RequestParameter, parts: _Components) -> dict[str, Any]:
    schema = parts.schema(part.kind, part.name)
    text = schema.get("items", schema)
    if part.place != "header" and text.get("type") == "string" and not text.keys() & _OF_VALUES:
        text |= {"maxLength": part.most, "pattern": TYPED} | text
    parameter: dict[str, Any] = {"name": part.name, "in": part.place}
    if part.default is MISSING:
        parameter["required"] = True
    elif part.default not in (None, ""):
        schema["default"] = part.default
    if about := schema.pop("description", ""):
        parameter["description"] = about
    return parameter | {"schema": schema}


def _answers(route: RouteHandler, parts: _Components) -> dict[str, Any]:
    """Return the responses of a route to requests that are not refused."""
    declared, returned = route.declared, route.returned
    if _is_response(returned):
        is_text = returned.media_type is not None
        content = {
            returned.media_type or "application/json": {"schema": {"type": "string"} if is_text else {}}
        }
    elif route.is_page:
        name = declared.page.partition(".")[0] or route.resource.__name__.removesuffix("Resource")
        page = parts.named(name, _page(route.items_key, parts.schema(returned)))
        content = {"application/json": {"schema": page}}
    else:
        content = {"application/json": {"schema": parts.schema(returned)}}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in (declared.status, *declared.also)
    }


def _page(items_key: str, item: Schema) -> Schema:
    return {
        "type": "object",
        "description": f"A page of {items_key}; *next_cursor* leads to the next one.",
        "required": [items_key, "next_cursor"],
        "properties": {
            items_key: {"type": "array", "items": item},
            "next_cursor": {"type": ["string", "null"]},
        },
    }


def _refusals(route: RouteHandler, parts: _Components) -> dict[str, Any]:
    """Return the refusals of a route. Statuses of ``_SHARED`` are listed if the route adds codes to them."""
    own = dict.fromkeys((*route.resource.errors, *route.declared.errors, *_codes_of(route)))
    by_status: dict[int, list[ErrorCode]] = {}
    for code in own:
        if code not in _SHARED:
            by_status.setdefault(CATALOGUE[code].http_status, []).append(code)
    refusals = {str(status): parts.refusal(str(status), codes) for status, codes in sorted(by_status.items())}
    return refusals | {_REFUSED: {"$ref": f"#/components/responses/{_REFUSED}"}}


def _codes_of(route: RouteHandler) -> Iterable[ErrorCode]:
    names = {part.name for part in route.binding.parts}
    if "user" in names:
        yield _E.UNKNOWN_USER
    if "if-match" in names:
        yield _E.CHANGED_MEANWHILE
    if route.asked.method == "POST":
        yield from POSTED


def _refusal(codes: Iterable[ErrorCode], about: str = "") -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMA.format(name="Problem")}}}
    return {"description": about + ", ".join(codes), "content": content}


def _problem() -> Schema:
    """Return the schema of a refusal, which explains the codes once for all routes."""
    rows = ["| code | status | retryable | hint |", "|-|-|-|-|"]
    rows += [
        f"| {code} | {error.http_status} | {error.retryable} | {error.hint} |"
        for code, error in CATALOGUE.items()
    ]
    text = {"type": "string"}
    fields: dict[str, Schema] = {
        "type": text | {"description": "``urn:hub:error:`` and the code."},
        "title": text,
        "status": {"type": "integer"},
        "detail": text | {"description": "What happened, for a person."},
        "code": text | {"description": "\n".join(("Stable.", "", *rows)), "enum": list(CATALOGUE)},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "hint": text | {"description": "What a person can do."},
    }
    by_field = {
        "type": "object",
        "additionalProperties": text,
        "description": "Messages about single fields of the body, by their keys.",
    }
    return {
        "type": "object",
        "description": "A refusal (RFC 9457).",
        "required": list(fields),
        "properties": fields | {"fields": by_field},
        "examples": [ProblemResponse.content(_E.UNKNOWN_AGENT, "there is no agent 'nots'", status=404)],
    }
