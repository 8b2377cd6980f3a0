"""The operators' interface as one ASGI application: it calls the routes of all nouns, and answers errors.

Callers are checked by ``api/door/access``, which also finds the route in the table of roles.
"""

from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hub.api.binding import Call
from hub.api.door.access import BODY_S, ROUTE
from hub.api.door.bodies import read_body
from hub.api.door.routes import Asked, methods_of, parameters_in
from hub.api.errors import Problem
from hub.api.noun import Noun
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses
from hub.api.nouns.agent_tokens import AgentTokens
from hub.api.nouns.agents import Agents
from hub.api.nouns.audit import AuditLog
from hub.api.nouns.board_memory import BoardMemories
from hub.api.nouns.boards import Boards
from hub.api.nouns.broadcasts import Broadcasts
from hub.api.nouns.capabilities import Capabilities
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.config import Config
from hub.api.nouns.connectors import Connectors
from hub.api.nouns.costs import Costs
from hub.api.nouns.debug import Debug
from hub.api.nouns.devices import Devices
from hub.api.nouns.events import Events
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.handbook import Handbook
from hub.api.nouns.invitations import Invitations
from hub.api.nouns.issues import Issues
from hub.api.nouns.items import Items
from hub.api.nouns.keys import Keys
from hub.api.nouns.leads import Leads
from hub.api.nouns.locks import Locks
from hub.api.nouns.logs import Logs
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.messages import Messages
from hub.api.nouns.operator_tokens import OperatorTokens
from hub.api.nouns.overviews import Overviews
from hub.api.nouns.pairings import Pairings
from hub.api.nouns.questions import Questions
from hub.api.nouns.runs import Runs
from hub.api.nouns.schedules import Schedules
from hub.api.nouns.slots import Slots
from hub.api.nouns.souls import Souls
from hub.api.nouns.system import System
from hub.api.nouns.templates import Templates
from hub.api.nouns.tokens import Tokens
from hub.api.nouns.upkeep import Upkeep
from hub.api.nouns.users import Users
from hub.api.routing import RouteOf
from protocol.errors import ErrorCode, HubError

DECLARED: Final[tuple[type[Noun], ...]] = (
    AgentConfigs,
    AgentStatuses,
    AgentTokens,
    Agents,
    AuditLog,
    BoardMemories,
    Boards,
    Broadcasts,
    Capabilities,
    Checkpoints,
    Config,
    Connectors,
    Costs,
    Debug,
    Devices,
    Events,
    Gateways,
    Handbook,
    Invitations,
    Issues,
    Items,
    Keys,
    Leads,
    Locks,
    Logs,
    Measurements,
    Messages,
    OperatorTokens,
    Overviews,
    Pairings,
    Questions,
    Runs,
    Schedules,
    Slots,
    Souls,
    System,
    Templates,
    Tokens,
    Upkeep,
    Users,
)


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
        response = await _answer(scope, receive)
        if response is not None:
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


async def _answer(scope: Scope, receive: Receive) -> Response | None:
    """Return the response; None: the peer disconnected."""
    asked: Asked | None = scope["state"][ROUTE]
    if asked is None:
        return _unknown(scope)
    route = ANSWERED[asked]
    body: bytes | None = b""
    if route.binding.body is not None:
        body = await read_body(receive, within_s=BODY_S)
    return (
        None if body is None else await route.answer(Call(scope, parameters_in(asked, scope["path"]), body))
    )


def _unknown(scope: Scope) -> Response:
    allowed = methods_of(scope["path"])
    if not allowed:
        return Problem(ErrorCode.UNKNOWN_METHOD, "Not Found", status=404)
    headers = {"allow": ", ".join(allowed)}
    return Problem(ErrorCode.UNKNOWN_METHOD, "Method Not Allowed", status=405, headers=headers)
