"""The operators' interface as one ASGI application: it calls the routes of all nouns, and answers errors.

Callers are checked by ``api/door/access``, which also finds the route in the table of roles.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hub.api import nouns
from hub.api.binding import Call
from hub.api.door.access import BODY, ROUTE
from hub.api.door.roles import Asked, methods_of, parameters_in
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


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that ``api/door/access`` permits; the hub is in the state of the request."""
    is_begun = False

    async def begin(message: Message) -> None:
        nonlocal is_begun
        is_begun = True
        await send(message)

    try:
        response = await _answer(scope)
        await response(scope, receive, begin)
    except HubError as error:
        if is_begun:
            raise
        await Problem.of(error)(scope, receive, send)
    except Exception as error:  # a fault, which the server logs with its traceback
        if not is_begun:
            problem = Problem(ErrorCode.INTERNAL, f"{type(error).__name__} in the hub")
            await problem(scope, receive, send)
        raise


async def _answer(scope: Scope) -> Response:
    asked: Asked | None = scope["state"][ROUTE]
    if asked is None:
        return _unknown(scope)
    call = Call(scope, parameters_in(asked, scope["path"]), scope["state"][BODY])
    return await ANSWERED[asked].answer(call)


def _unknown(scope: Scope) -> Response:
    allowed = methods_of(scope["path"])
    if not allowed:
        return Problem(ErrorCode.UNKNOWN_METHOD, "Not Found", status=404)
    headers = {"allow": ", ".join(allowed)}
    return Problem(ErrorCode.UNKNOWN_METHOD, "Method Not Allowed", status=405, headers=headers)
