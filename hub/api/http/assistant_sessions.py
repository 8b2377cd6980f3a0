"""MCP sessions of assistants: how many a user has, when one ends; shared lists of tools.

Clients rarely end a session: the official ones close without a word. So a session ends by idleness, and a new
one of a user that has SESSIONS ends the one that was idle for longest. One with an open request or stream is
never ended for another.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from http import HTTPStatus
from typing import Any, Final

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from hub.api.http.access import BODY
from protocol.frame import NO_JSON

SESSIONS: Final = 16  # of one user at once; each costs three tasks
SESSION_S: Final = 1_800.0  # a session without a request for so long ends
HEADER: Final = "mcp-session-id"
MAX_LISTS: Final = 64  # lists of tools, of 140 kB each


def session_of(scope: Scope) -> str:
    """Return the id of the session of a request; empty without one."""
    return Headers(scope=scope).get(HEADER, "")


def is_accepted(message: Message) -> bool:
    """Return whether a message begins the answer to a request that the session accepted."""
    return (message["type"], message.get("status")) == ("http.response.start", HTTPStatus.OK)


class _Initialize(msgspec.Struct, tag_field="method", tag="initialize"):
    """Request that opens a session."""


class AssistantSession:
    """Session of a token; *id*: empty while it is opened; *requests*: number of open ones and streams."""

    def __init__(self, id: str, user: AuthenticatedUser) -> None:
        self.id, self.user = id, user
        self.requests = 0


class UserSessions:
    """Sessions of one user.

    Args:
        on_end: called with the id of a session that was ended.
    """

    def __init__(self, server: Server[Any], on_end: Callable[[str], None]) -> None:
        self._manager = StreamableHTTPSessionManager(
            server, max_sessions=SESSIONS, session_idle_timeout=SESSION_S
        )
        self._on_end = on_end
        self._sessions: list[AssistantSession] = []  # the one that was idle for longest first

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Hold the sessions until cancelled."""
        async with self._manager.run():
            task_status.started()
            await anyio.sleep_forever()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the user."""
        session = self._find(scope)
        session.requests += 1

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                id = Headers(raw=message["headers"]).get(HEADER, session.id)
                if id != session.id and session not in self._sessions:  # the package read the body otherwise
                    self._sessions.append(session)
                session.id = id
                is_deleted = scope["method"] == "DELETE" and is_accepted(message)
                is_unknown = message["status"] == HTTPStatus.NOT_FOUND
                if session in self._sessions and (is_deleted or is_unknown):
                    self._forget(session)
            await send(message)

        try:
            await self._make_room()
            await self._manager.handle_request(scope, receive, noted)
        finally:
            session.requests -= 1
            if session in self._sessions:
                self._sessions.remove(session)
                self._sessions += [session] if session.id else []  # it was used last

    def _find(self, scope: Scope) -> AssistantSession:
        """Return the session of a request: a new one where the request opens it."""
        id, user = session_of(scope), scope["user"]
        for session in self._sessions if id else ():
            if (session.id, session.user.access_token.client_id) == (id, user.access_token.client_id):
                return session
        session = AssistantSession(id, user)
        try:
            msgspec.json.decode(scope["state"][BODY], type=_Initialize)
        except NO_JSON:
            return session
        if not id:
            self._sessions.append(session)
        return session

    async def _make_room(self) -> None:
        """End sessions that are idle while there are more than SESSIONS, those idle for longest first."""
        while len(self._sessions) > SESSIONS:
            idle = next((session for session in self._sessions if not session.requests), None)
            if idle is None:
                return
            self._forget(idle)
            scope: Scope = {"type": "http", "method": "DELETE", "path": "/", "query_string": b""}
            scope["headers"] = [(HEADER.encode(), idle.id.encode())]
            scope["user"] = idle.user
            await self._manager.handle_request(scope, _nothing, _dropped)

    def _forget(self, session: AssistantSession) -> None:
        self._sessions.remove(session)
        self._on_end(session.id)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _dropped(_: Message) -> None:
    pass


class ToolLists:
    """Middleware that keeps the lists of tools, which are the same for all callers with the same tools.

    Args:
        key_of: returns what the list of a caller depends on.
    """

    def __init__(self, key_of: Callable[[ServerRequestContext[Any, Any]], Hashable]) -> None:
        self._key_of = key_of
        self._lists: OrderedDict[Hashable, HandlerResult] = OrderedDict()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Return the list that was made for an equal caller, or make it."""
        is_plain = ctx.method == "tools/list" and not {*(ctx.params or {})} - {"_meta"}
        if not is_plain or ctx.session.client_capabilities is None:
            return await call_next(ctx)
        key = (ctx.protocol_version, self._key_of(ctx))
        if key not in self._lists:
            self._lists[key] = await call_next(ctx)
            if len(self._lists) > MAX_LISTS:
                self._lists.popitem(last=False)
        return self._lists[key]
