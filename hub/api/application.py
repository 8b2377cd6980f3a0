"""The operators' interface as one ASGI application: it calls the routes of all nouns, and answers errors.

Callers are checked by ``api/door/access``, which also finds the route in the table of roles.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api import nouns
from hub.api.binding import Call
from hub.api.deps import Served
from hub.api.door.access import BODY, ROUTE
from hub.api.door.roles import PRINCIPAL, Asked, rows_of
from hub.api.errors import Problem
from hub.api.noun import Noun
from hub.api.routing import RouteOf
from protocol.errors import ErrorCode, HubError


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
    state = scope["state"]
    asked: Asked | None = state[ROUTE]
    try:
        if asked is None:
            response = _unknown(scope)
        else:
            parts = zip(asked.path.split("/"), scope["path"].split("/"), strict=True)
            path = {template[1:-1]: part for template, part in parts if template[:1] == "{"}
            call = Call(scope, path, state[BODY], caller=state[PRINCIPAL], served=served)
            response = await ANSWERED[asked].answer(call)
    except HubError as error:
        response = Problem.of(error)
    except Exception as error:  # a fault, which the server logs with its traceback
        await Problem(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")(scope, receive, send)
        raise
    await response(scope, receive, send)


def _unknown(scope: Scope) -> Response:
    allowed = rows_of(scope["path"])
    if not allowed:
        return Problem(ErrorCode.UNKNOWN_METHOD, "Not Found", status=404)
    headers = {"allow": ", ".join(allowed)}
    return Problem(ErrorCode.UNKNOWN_METHOD, "Method Not Allowed", status=405, headers=headers)
