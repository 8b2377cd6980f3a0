"""The operators' interface as one ASGI application: it calls the routes of all nouns, and answers errors.

Callers are checked by ``api/door/access``, which also finds the route in the table of roles.
"""

import inspect
import re
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin
from urllib.parse import quote, unquote

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api import nouns
from hub.api.binding import Binding, Call, bad_request
from hub.api.door.access import BODY, ROUTE
from hub.api.errors import Problem
from hub.api.events import EventStream
from hub.api.noun import (
    Endpoint,
    Match,
    Matching,
    Noun,
    Paging,
    Part,
    Route,
    Seen,
    Served,
    agent,
    audit_of,
    operator,
)
from hub.api.others import ALL, HEADER, Others
from hub.cluster.messages import Reply, Request
from hub.coordination.authority import Caller
from hub.log import Channel
from hub.printable import spelled
from hub.roles import AGENT, PRINCIPAL, Asked, Principal, may_ask, rows_of
from protocol.errors import ErrorCode, HubError
from storage.kernel.database import CAUSE

log = Channel(__name__)

FORWARDED: Final = "forwarded"  # in the scope's state: another node sent the request


class RouteOf:
    """A route of a noun: answers its requests, and says what the document tells of it.

    Attributes:
        asked: its row in the table of roles.
        path: names of the path parameters.
    """

    def __init__(self, noun: type[Noun], declared: Route, method: Endpoint) -> None:
        self.noun, self.declared, self.method = noun, declared, method
        self.asked = Asked(declared.verb, noun.path + declared.path)
        self.path = re.findall(r"\{(\w+)\}", self.asked.path)

    @property
    def operation_id(self) -> str:
        """Return the name of the route in the document."""
        suffix = "_as_agent" if self.declared.need is AGENT else ""
        return f"{self.noun.name}_{self.method.__name__}{suffix}"

    @property
    def items_key(self) -> str:
        """Return the key of the items in a page of a list."""
        return self.declared.page.partition(".")[2] or self.noun.list_key or self.noun.name

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
        if self.noun.is_scoped and not declared.is_whole:
            own["_seen"] = Seen
        if declared.key is not None:
            own["_paging"] = Paging
        if declared.is_tagged and declared.verb != "GET":
            own["_match"] = Match

        def requested(paging: Paging) -> Part:
            if declared.most is not None:
                paging.limit = min(paging.limit, declared.most)
            return paging.part

        caller = agent if declared.need is AGENT else operator
        return Binding(self.method, path=self.path, own=own, instead={Caller: caller, Part: requested})

    @cached_property
    def _has_match(self) -> bool:
        """Return True if ``If-Match`` is checked before the change."""
        return any((part.place, part.name) == ("header", "if-match") for part in self.binding.parts)

    async def answer(self, call: Call) -> Response:
        """Return the response to a request. Raises HubError."""
        declared, headers = self.declared, call.head.headers
        if declared.verb != "GET" and "if-match" in call.headers and not self._has_match:
            raise bad_request(["header.if-match: what is changed here has no ETag"], ["leave it out"])
        given = await self.binding.arguments(call)
        seen, paging = given.pop("_seen", None), given.pop("_paging", None)
        noun = call.served.hub.noun(self.noun, seen)
        match: Matching | None = given.pop("_match", None)
        if match is not None and match.is_asked and self.path:
            names = given.keys() & inspect.signature(noun.get).parameters
            match.check(noun.tag_of(await noun.get(**{name: given[name] for name in names})))
        work = getattr(noun, self.method.__name__)(**given)
        result = await call.served.hub.traced(audit_of(self.method), call, call.path, work)
        if isinstance(result, Response):
            return result
        if declared.is_tagged and declared.verb != "DELETE":
            headers["etag"] = noun.tag_of(result)
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


def _declared() -> tuple[type[Noun], ...]:
    """Return the nouns that the modules of ``hub.api.nouns`` define, by module."""
    modules = [import_module(f"{nouns.__name__}.{found.name}") for found in iter_modules(nouns.__path__)]
    return tuple(
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Noun) and kind.__module__ == module.__name__
    )


DECLARED: Final = _declared()
ANSWERED: Final = {
    found.asked: found
    for noun in DECLARED
    for found in (RouteOf(noun, declared, method) for declared, method in noun.routes())
}


async def application(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that ``api/door/access`` permits."""
    try:
        response = await _response(served, scope)
    except Exception as error:  # a fault, which the server logs with its traceback
        await _fault(error)(scope, receive, send)
        raise
    await response(scope, receive, send)


async def reply_to(served: Served, request: Request) -> Reply:
    """Return the reply to a request of another node, which has checked the caller."""
    principal = msgspec.convert(request.principal, Principal)
    asked = rows_of(request.path).get(request.method)
    response: Response = Problem(ErrorCode.UNKNOWN_METHOD, "a node of another release has no such route")
    if asked is not None and may_ask(principal, asked):
        state = {ROUTE: asked, PRINCIPAL: principal, BODY: request.body, FORWARDED: True}
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query.encode("latin-1"),
            "headers": [],
            "state": state,
        }
        CAUSE.set(principal.actor)
        try:
            response = await _response(served, scope)
        except Exception as error:  # a fault ends neither the bus nor the wait of the other node
            log.error("node.request_failed", exc=error)
            response = _fault(error)
    return _reply(response)


def _fault(error: Exception) -> Problem:
    return Problem(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")


async def _response(served: Served, scope: Scope) -> Response:
    state = scope["state"]
    asked: Asked | None = state[ROUTE]
    if asked is None:
        return _unknown(scope)
    parts = zip(asked.path.split("/"), scope["path"].split("/"), strict=True)
    path = {template[1:-1]: unquote(part) for template, part in parts if template[:1] == "{"}
    call = Call(scope, path, state[BODY], caller=state[PRINCIPAL], served=served)
    try:
        return await _answer(ANSWERED[asked], call)
    except HubError as error:
        return Problem.of(error)


async def _answer(route: RouteOf, call: Call) -> Response:
    """Return the response of this node, of the one that the request needs, or of all."""
    others: Others | None = call.served.hub.others
    if others is None or call.caller is None or FORWARDED in call.scope["state"]:
        return await route.answer(call)
    named = call.headers.get(HEADER)
    if named == ALL:
        return await _answer_of_all(route, call, others)
    boot_id = await others.named(named)
    if boot_id is None:
        try:
            return await route.answer(call)
        except HubError as error:
            boot_id = getattr(error, "boot_id", None)
            if boot_id is None or not others.can_answer(boot_id):
                raise
    reply = await others.ask(boot_id, _request(call))
    return Response(reply.body, reply.status, reply.headers)


async def _answer_of_all(route: RouteOf, call: Call, others: Others) -> Response:
    if route.declared.verb != "GET":
        raise bad_request(["header.hub-node: a change is made at one node, not at all"])
    try:
        response = await route.answer(call)
    except HubError as error:
        response = Problem.of(error)
    replies = await others.ask_all(_reply(response), _request(call))
    return Response(msgspec.json.encode({"nodes": replies}), media_type="application/json")


def _request(call: Call) -> Request:
    return Request(
        method=call.scope["method"],
        path=call.scope["path"],
        query=call.scope["query_string"].decode("latin-1"),
        body=call.body,
        principal=msgspec.to_builtins(call.caller),
    )


def _reply(response: Response) -> Reply:
    if isinstance(response, EventStream):
        response = Problem(
            ErrorCode.UNKNOWN_METHOD,
            "a stream of another node cannot be followed here",
            hint="follow it without --node, and logs with --all-nodes; what the command began goes on",
        )
    return Reply(status=response.status_code, headers=dict(response.headers), body=bytes(response.body))


def _unknown(scope: Scope) -> Response:
    path, hint = spelled(scope["path"]), "GET /v1/openapi.json describes the routes"
    allowed = ", ".join(rows_of(scope["path"]))
    if not allowed:
        what, members = f"there is nothing at {path}", {"title": "unknown path"}
        return Problem(ErrorCode.UNKNOWN_METHOD, what, status=404, hint=hint, members=members)
    what, headers = f"{path} does not take {scope['method']}, but {allowed}", {"allow": allowed}
    return Problem(ErrorCode.UNKNOWN_METHOD, what, status=405, hint=hint, headers=headers)
