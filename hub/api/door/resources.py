"""Resources of assistants that speak MCP: objects with an address, which are read by the tools of the hub.

A subscriber is notified when a resource has changed, from the changes that the database keeps
(``/v1/changes``): in the revision 2026-07-28 on the stream of ``subscriptions/listen``, in that of 2025-11-25
on the stream of events of its session. It then reads the resource again.

The card of an item is a page for programs that show one (MCP Apps), which read it as a resource.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack, aclosing
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus
from mcp.server.apps import APP_MIME_TYPE
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    InMemorySubscriptionBus,
    ListenHandler,
    ResourceUpdated,
)
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolResult,
    EmptyResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceTemplate,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from mcp.types import Resource as Listed
from starlette.requests import Request

from hub.api.events import Streams, cancel_when_revoked
from hub.api.noun import Hub, Resource
from hub.api.nouns.overviews import OPEN, RESET, Changes, ChangesView
from hub.api.pages import BUNDLE
from hub.api.tools import MOST_ROWS, Arguments, ToolOf
from hub.roles import PRINCIPAL, Asked, Principal, may_ask
from protocol.errors import HubError

JSON: Final = "application/json"
SESSION: Final = "mcp-session-id"  # header
CARD: Final = "ui://hub/review"
# It asks no other address, and needs no permission.
_CSP: Final[dict[str, list[str]]] = {
    "connectDomains": [],
    "resourceDomains": [],
    "frameDomains": [],
    "baseUriDomains": [],
}
_OF_CARD: Final[dict[str, Any]] = {"ui": {"csp": _CSP, "prefersBorder": True}}
MOST_SUBSCRIBERS: Final = 1_000  # sessions with subscriptions; beyond, the oldest loses its own
MOST_SUBSCRIBED: Final = 100  # resources of one session
_CHANGES: Final = Asked("GET", "/v1/changes")

Context = ServerRequestContext[Any, Request]
Result = Callable[[Context, ToolOf, Arguments], Awaitable[CallToolResult]]


class Subscriber:
    """A session of the revision 2025-11-25 and the resources that it is notified about."""

    def __init__(self) -> None:
        self.session: ServerSession | None = None
        self.uris: set[str] = set()
        self.after: str | None = None  # id of the last event of changes
        self.begun = anyio.Event()  # set with the first subscription


class Resources:
    """The resources of the declared tools.

    Args:
        result: returns the result of a call of a tool.
    """

    def __init__(self, hub: Hub, streams: Streams, tools: Mapping[str, ToolOf], result: Result) -> None:
        self._hub, self._streams, self._tools, self._result = hub, streams, tools, result
        self._kinds: dict[str, Resource] = {}  # by the tool that reads them
        self._changing: dict[str, Resource] = {}  # by a kind of changes
        for tool in tools.values():
            if (declared := tool.declared.resource) is not None:
                self._kinds[tool.name] = declared
                self._changing |= dict.fromkeys(declared.changes, declared)
        self._subscribers: OrderedDict[str, Subscriber] = OrderedDict()
        self._card = (BUNDLE / "card.html").read_text(encoding="utf-8")

    async def list(self, context: Context, page: PaginatedRequestParams | None) -> ListResourcesResult:
        """List the resources, those of one kind after the other, the newest of each first."""
        kinds = [name for name, declared in self._kinds.items() if declared.listed]
        kind, _, after = ((page.cursor if page else None) or kinds[0]).partition(" ")
        if kind not in kinds:
            raise MCPError(INVALID_PARAMS, "cursor: take it from nextCursor of the page before")
        declared = self._kinds[kind]
        asked = {"limit": MOST_ROWS} | ({"cursor": after} if after else {})
        found = await self._read(context, declared.listed, asked)
        rest = [*kinds[kinds.index(kind) + 1 :], None]
        listed = [
            Listed(
                uri=declared.uri_of(one["id"]),
                name=one["id"],
                title=declared.title.format_map(one),
                mime_type=JSON,
            )
            for one in found[declared.key]
        ]
        following = f"{kind} {found['next_cursor']}" if found["next_cursor"] else rest[0]
        return ListResourcesResult(resources=listed, next_cursor=following)

    async def templates(self, _: Context, __: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        """List the kinds of resources."""
        listed = [
            ResourceTemplate(
                uri_template=declared.uri, name=name, description=self._tools[name].about, mime_type=JSON
            )
            for name, declared in self._kinds.items()
        ]
        return ListResourceTemplatesResult(resource_templates=listed)

    async def read(self, context: Context, asked: ReadResourceRequestParams) -> ReadResourceResult:
        """Return a resource, behind the sentence about texts of others."""
        uri = str(asked.uri)
        if uri == CARD:
            page = TextResourceContents(uri=uri, mime_type=APP_MIME_TYPE, text=self._card, _meta=_OF_CARD)
            return ReadResourceResult(contents=[page])
        for name, declared in self._kinds.items():
            if (arguments := declared.arguments_of(uri)) is not None:
                result = await self._result(context, self._tools[name], arguments)
                about, text = result.content[0], _text(result)
                if result.is_error:
                    raise MCPError(INVALID_PARAMS, text)
                assert isinstance(about, TextContent)
                parts = [
                    TextResourceContents(uri=uri, mime_type="text/plain", text=about.text),
                    TextResourceContents(uri=uri, mime_type=JSON, text=text),
                ]
                return ReadResourceResult(contents=[*parts])
        templates = ", ".join(one.uri for one in self._kinds.values())
        raise MCPError(INVALID_PARAMS, f"there is no resource {uri!r}; resources are {templates}")

    async def listen(
        self, context: Context, asked: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Notify of changes until the client leaves, its token is revoked, or the hub stops."""
        principal = self._subscriber(context)
        bus = InMemorySubscriptionBus()

        async def publish(*, task_status: TaskStatus[None]) -> None:
            async with aclosing(self._changes(principal).follow(None)) as events:
                async for event in events:
                    if event.event == OPEN:
                        task_status.started()
                    for uri in self._changed(event, asked.notifications.resource_subscriptions or ()):
                        await bus.publish(ResourceUpdated(uri))

        with ExitStack() as places:
            try:
                places.enter_context(self._streams.place(principal))
            except HubError as refusal:
                raise MCPError(INVALID_PARAMS, str(refusal)) from refusal
            stream = places.enter_context(self._streams.scope())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_when_revoked, self._streams.still_counts, principal, stream)
                await tasks.start(publish)  # no change after the acknowledgement is missed
                await ListenHandler(bus)(context, asked)
        return SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: context.request_id})

    async def subscribe(self, context: Context, asked: SubscribeRequestParams) -> EmptyResult:
        """Notify the session of changes of a resource from now on."""
        principal = self._subscriber(context)
        subscriber = self._of_session(_session(context))
        if len(subscriber.uris) >= MOST_SUBSCRIBED:
            raise MCPError(INVALID_PARAMS, f"a session subscribes to {MOST_SUBSCRIBED} resources at most")
        if subscriber.after is None:
            async with aclosing(self._changes(principal).follow(None)) as events:
                subscriber.after = (await anext(events)).id
        subscriber.session = context.session
        subscriber.uris.add(str(asked.uri))
        subscriber.begun.set()
        return EmptyResult()

    async def unsubscribe(self, context: Context, asked: UnsubscribeRequestParams) -> EmptyResult:
        """Notify the session of changes of a resource no more."""
        self._of_session(_session(context)).uris.discard(str(asked.uri))
        return EmptyResult()

    async def notify(self, session: str, principal: Principal) -> None:
        """Notify a session, whose stream of events is open, until cancelled."""
        subscriber = self._of_session(session)
        await subscriber.begun.wait()
        async with aclosing(self._changes(principal).follow(subscriber.after)) as events:
            async for event in events:
                for uri in self._changed(event, subscriber.uris):
                    if subscriber.session is not None:
                        await subscriber.session.send_resource_updated(uri)
                subscriber.after = event.id

    def forget(self, session: str) -> None:
        """Drop the subscriptions of a session that ended."""
        self._subscribers.pop(session, None)

    def _of_session(self, session: str) -> Subscriber:
        subscriber = self._subscribers.setdefault(session, Subscriber())
        self._subscribers.move_to_end(session)
        if len(self._subscribers) > MOST_SUBSCRIBERS:
            self._subscribers.popitem(last=False)
        return subscriber

    def _subscriber(self, context: Context) -> Principal:
        """Return the caller. Raises MCPError if it may not follow changes."""
        principal: Principal = _scope(context)["state"][PRINCIPAL]
        if not may_ask(principal, _CHANGES):
            raise MCPError(INVALID_PARAMS, "a token with limits follows no changes: read the resource again")
        return principal

    def _changes(self, principal: Principal) -> Changes:
        return self._hub.noun(Changes, principal.user_id)

    def _changed(self, event: ChangesView, uris: Collection[str]) -> Collection[str]:
        """Return those of *uris* that an event is about: all, if changes may be missing."""
        if event.event == RESET:
            return [*uris]
        found = ((self._changing.get(one.kind), one.id) for one in event.changes)
        changed = {declared.uri_of(id) for declared, id in found if declared is not None}
        return changed & {*uris}

    async def _read(self, context: Context, tool: str, arguments: Arguments) -> Mapping[str, Any]:
        result = await self._result(context, self._tools[tool], arguments)
        if result.is_error or result.structured_content is None:
            raise MCPError(INVALID_PARAMS, _text(result))
        found: Mapping[str, Any] = result.structured_content
        return found


def _text(result: CallToolResult) -> str:
    part = result.content[-1]
    assert isinstance(part, TextContent)
    return part.text


def _scope(context: Context) -> Any:
    assert context.request is not None
    return context.request.scope


def _session(context: Context) -> str:
    assert context.request is not None
    return str(context.request.headers.get(SESSION, ""))
