"""Resources of MCP servers as messages, read from a server of the package mcp."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from hub.clock import SystemChance, SystemClock
from hub.connectors.calling import Caller, Misconfigured, SignInNeeded, Throttle
from hub.connectors.conformance import ConnectorConformance, Place
from hub.connectors.connector import Context, Cursor, Filter, Unread
from hub.connectors.mcp import McpConnector, McpSettings
from hub.document import Document
from hub.outbound.client import OutboundClient
from hub.outbound.rules import OutboundRules
from tests.hub.connectors.test_handbook_plugin import SINCE
from tests.support.asgi import serving

pytestmark = pytest.mark.anyio
NOT_FOUND = -32002
AT = "2026-05-01T07:00:00Z"


class Kitchen:
    """A server whose resources a test adds: texts by name, in pages of two."""

    def __init__(self, url: str, client: OutboundClient) -> None:
        self.texts: dict[str, str | None] = {}
        self.times: dict[str, str] = {}
        self.read: list[str] = []
        self._url, self._client = url, client

    async def listed(self, context: Any, params: Any) -> types.ListResourcesResult:
        begin = int((params and params.cursor) or 0)
        names = list(self.texts)[begin : begin + 2]
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=f"note://{name.replace(' ', '-')}",
                    name=name,
                    annotations=types.Annotations(last_modified=self.times.get(name)),
                )
                for name in names
            ],
            next_cursor=str(begin + 2) if begin + 2 < len(self.texts) else None,
        )

    async def contents(self, context: Any, params: Any) -> types.ReadResourceResult:
        name = str(params.uri).removeprefix("note://").replace("-", " ")
        self.read.append(name)
        if name not in self.texts:
            raise MCPError(code=NOT_FOUND, message="no such note")
        text, uri = self.texts[name], str(params.uri)
        content = (
            types.BlobResourceContents(uri=uri, blob="AAAA")
            if text is None
            else types.TextResourceContents(uri=uri, text=text, mime_type="text/markdown")
        )
        return types.ReadResourceResult(contents=[content])

    def open(self, secret: str = "", **settings: Any) -> McpConnector:
        chosen = McpSettings(url=self._url, **settings)
        clock, chance = SystemClock(), SystemChance()
        caller = Caller(
            self._client,
            tokens=None,
            throttle=Throttle(McpConnector.quota(chosen), clock),
            origins=McpConnector.origins(chosen),
            clock=clock,
            chance=chance,
        )
        give = (lambda: secret) if secret else None
        context = Context(account="kitchen", clock=clock, chance=chance, caller=caller, secret=give)
        return McpConnector(context, chosen, Filter())

    async def run(
        self, cursor: Cursor | None = None, **settings: Any
    ) -> tuple[Cursor | None, dict[str, str]]:
        """Return the last cursor, and the texts by subject, or reasons for none."""
        connector, found = self.open(**settings), {}
        async for page in connector.pages(cursor, SINCE):
            cursor = page.cursor
            async for message, content in connector.read(page.messages):
                found[message.subject] = content.text if isinstance(content, Document) else content.reason
        await connector.aclose()
        return cursor, found


@asynccontextmanager
async def kitchen(
    *, token: str = "", is_json: bool = False, has_resources: bool = True
) -> AsyncIterator[Kitchen]:
    """Serve a kitchen; with a *token*, requests without it are refused."""

    async def listed(context: Any, params: Any) -> types.ListResourcesResult:
        return await here.listed(context, params)

    async def contents(context: Any, params: Any) -> types.ReadResourceResult:
        return await here.contents(context, params)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if token and (b"authorization", f"Bearer {token}".encode()) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await manager.handle_request(scope, receive, send)

    server: Server[Any] = Server("kitchen")
    if has_resources:
        server = Server("kitchen", on_list_resources=listed, on_read_resource=contents)
    manager = StreamableHTTPSessionManager(server, json_response=is_json)
    async with manager.run(), serving(app) as url, OutboundClient(OutboundRules()) as client:
        here = Kitchen(f"{url}/mcp", client)
        yield here


class TestMcp(ConnectorConformance):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        async with kitchen() as here:

            async def arrive(subject: str) -> None:
                here.texts[subject] = f"the text of {subject}"

            yield Place(here.open, arrive, SINCE)


@pytest.mark.parametrize("is_json", [False, True])
async def test_resources_are_read_once_for_each_version_and_removed_ones_are_no_fault(is_json: bool) -> None:
    async with kitchen(is_json=is_json) as here:
        here.texts = {"milk": "buy milk", "bread": "bake bread", "photo": None}
        here.times = {"bread": AT}
        cursor, found = await here.run()
        assert found == {"milk": "buy milk", "bread": "bake bread", "photo": "it has no text"}
        here.texts["milk"], here.texts["bread"] = "buy oat milk", "changed without another time"
        here.read.clear()
        cursor, found = await here.run(cursor)
        assert found == {"milk": "buy oat milk"} and "bread" not in here.read
        here.times["bread"] = "2026-05-02T07:00:00Z"
        del here.texts["milk"]
        _, found = await here.run(cursor, prefix="note://b")
        assert found == {"bread": "changed without another time"}
        connector = here.open()
        (page,) = [page async for page in connector.pages(None, SINCE)]
        here.texts.clear()
        contents = [content async for _, content in connector.read(page.messages)]
        assert [isinstance(one, Unread) and one.is_removed for one in contents] == [True, True]
        await connector.aclose()


async def test_the_hub_adds_the_token_and_a_server_that_refuses_it_needs_another() -> None:
    async with kitchen(token="of-the-kitchen") as here:
        connector = here.open("of-the-kitchen")
        assert (await connector.check()).name == "kitchen"
        await connector.aclose()
        with pytest.raises(SignInNeeded):
            await here.open("of-another").check()


async def test_a_server_without_resources_is_refused_with_the_reason() -> None:
    async with kitchen(has_resources=False) as here:
        with pytest.raises(Misconfigured, match="the server has no resources"):
            await here.open().check()
