"""The address of assistants that speak MCP (streamable HTTP): ``/mcp`` on the operators' listener."""

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Request

from hub.api.door.access import ASSISTANTS
from hub.api.events import Continued
from hub.api.noun import NO_CHANGE, Assistants, Noun, audited, route
from hub.roles import Scope
from protocol.errors import CodedError, ErrorCode


class Passed(Continued):
    """Response that another application sends."""

    def __init__(self, app: ASGIApp | None) -> None:
        if app is None:
            raise CodedError(
                ErrorCode.UNKNOWN_METHOD,
                "this hub serves no assistants",
                hint="write assistants = true below [listen.operator] in hub.toml, and restart the hub",
            )
        super().__init__()
        self._app = app

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class AssistantMessages(Noun):
    """Messages of assistants; ``hub.api.door.assistants`` answers them by the declared tools."""

    name, path = "assistants", ASSISTANTS
    is_scoped = False

    @route("POST", "", Scope.READ)
    @audited(NO_CHANGE)
    async def post(self, app: Assistants) -> Passed:
        """Answer a message of an assistant. A tool is a route of the hub, and needs the scope of that route.

        A client of the revision 2025-11-25 opens a session first; one of 2026-07-28 has none.
        """
        return Passed(app)

    @route("GET", "", Scope.READ)
    async def listen(self, app: Assistants) -> Passed:
        """Send the events of a session."""
        return Passed(app)

    @route("DELETE", "", Scope.READ)
    @audited(NO_CHANGE)
    async def end(self, app: Assistants) -> Passed:
        """End a session."""
        return Passed(app)
