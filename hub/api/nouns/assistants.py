"""The address of assistants that speak MCP (streamable HTTP): ``/mcp`` on the operators' listener."""

from dataclasses import replace
from typing import Annotated

from msgspec import Meta
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Request

from hub.api.binding import Header, bad_request
from hub.api.door.access import ASSISTANTS
from hub.api.events import Continued
from hub.api.noun import NO_CHANGE, Assistants, Noun, audited, route
from hub.roles import BY_ALL, PRINCIPAL, Principal, Scope
from protocol.errors import CodedError, ErrorCode, did_you_mean
from protocol.ids import UserId

Scopes = Annotated[
    Annotated[str, Meta(max_length=200, description="Act with these scopes alone, with blanks between them.")]
    | None,
    Header("hub-scopes"),
]


class Passed(Continued):
    """Response of another application to a request, whose caller has *scopes* alone if they are given.

    Args:
        user_id: the user that the caller is limited to; None: it is limited no further.
    """

    def __init__(self, app: ASGIApp | None, user_id: UserId | None, scopes: str | None) -> None:
        if app is None:
            raise CodedError(
                ErrorCode.UNKNOWN_METHOD,
                "this hub serves no assistants",
                hint="write assistants = true below [listen.operator] in hub.toml, and restart the hub",
            )
        named = None if scopes is None else {*scopes.split()}
        if unknown := sorted((named or set()) - {*Scope}):
            hints = [did_you_mean(one, Scope) for one in unknown]
            raise bad_request([f"header.hub-scopes: there is no scope {one!r}" for one in unknown], hints)
        super().__init__()
        self._app, self._user_id, self._scopes = app, user_id, named

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        caller: Principal = scope["state"][PRINCIPAL]
        scopes = caller.scopes if self._scopes is None else caller.scopes & self._scopes
        limited = replace(caller, user_id=self._user_id or caller.user_id, scopes=frozenset(scopes))
        scope["state"][PRINCIPAL] = limited
        await self._app(scope, receive, send)


class AssistantMessages(Noun):
    """Messages of assistants; ``hub.api.door.assistants`` answers them by the declared tools."""

    name, path, within = "assistants", ASSISTANTS, BY_ALL  # each tool asks its own route

    @route("POST", "", Scope.READ)
    @audited(NO_CHANGE)
    async def post(self, app: Assistants, scopes: Scopes = None) -> Passed:
        """Answer a message of an assistant. A tool is a route of the hub, and needs the scope of that route.

        A client of the revision 2025-11-25 opens a session first; one of 2026-07-28 has none.
        """
        return Passed(app, self.user_id, scopes)

    @route("GET", "", Scope.READ)
    async def listen(self, app: Assistants, scopes: Scopes = None) -> Passed:
        """Send the events of a session."""
        return Passed(app, self.user_id, scopes)

    @route("DELETE", "", Scope.READ)
    @audited(NO_CHANGE)
    async def end(self, app: Assistants, scopes: Scopes = None) -> Passed:
        """End a session."""
        return Passed(app, self.user_id, scopes)
