"""Resources of MCP servers as messages, read from a server of the package mcp."""

import json
import re
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import mcp
import pytest
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from hub.base.clock import SystemChance, SystemClock
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors import process
from hub.connectors.calling import (
    FileUnusable,
    Misconfigured,
    ProviderCaller,
    SignInNeeded,
    Throttle,
    Unavailable,
    Unread,
)
from hub.connectors.conformance import ConnectorConformance, Place
from hub.connectors.connector import Context, Cursor, Filter
from hub.connectors.mcp import McpConnector, McpSettings
from hub.connectors.process import ProgramSettings
from hub.document import Document
from tests.hub.connectors.test_handbook_plugin import SINCE
from tests.support.asgi import serving
from tests.support.programs import CannotInstall, cache_folder, npm_packages

pytestmark = pytest.mark.anyio
NOT_FOUND = -32002
AT = "2026-05-01T07:00:00Z"


class Kitchen:
    """A server whose resources a test adds: texts by name, in pages."""

    page = 2

    def __init__(self, url: str, client: OutboundClient) -> None:
        self.texts: dict[str, str | None] = {}
        self.times: dict[str, str] = {}
        self.read: list[str] = []
        self._url, self._client = url, client

    async def listed(self, context: Any, params: Any) -> types.ListResourcesResult:
        begin = int((params and params.cursor) or 0)
        names = list(self.texts)[begin : begin + self.page]
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=f"note://{name.replace(' ', '-')}",
                    name=name,
                    annotations=types.Annotations(last_modified=self.times.get(name)),
                )
                for name in names
            ],
            next_cursor=str(begin + self.page) if begin + self.page < len(self.texts) else None,
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
        chosen = McpSettings.model_validate(({"url": self._url} if self._url else {}) | settings)
        clock, chance = SystemClock(), SystemChance()
        caller = ProviderCaller(
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

    async def called(self, context: Any, params: Any) -> types.CallToolResult:
        """Answer a tool: tickets in pages of two, or the texts as they are, or a refusal."""
        arguments = params.arguments or {}
        if params.name == "plain":
            return types.CallToolResult(
                content=[types.TextContent(text=str(self.texts[one])) for one in self.texts]
            )
        if params.name != "tickets":
            return types.CallToolResult(content=[types.TextContent(text="no such tool")], is_error=True)
        begin = int(arguments.get("page") or 0)
        entries = [
            {
                "number": number,
                "head": name,
                "by": {"name": "Ann", "mail": "ann@example.com"},
                "body": text,
                "at": self.times.get(name, "yesterday"),
                "tags": [{"n": "home"}],
                "web": f"https://tickets.example.com/{number}",
            }
            for number, (name, text) in enumerate(self.texts.items())
            if arguments.get("state") == "open"
        ][begin : begin + 2]
        more = str(begin + 2) if begin + 2 < len(self.texts) else None
        data = {"found": {"tickets": entries}, "more": more}
        if arguments.get("as_text"):
            return types.CallToolResult(content=[types.TextContent(text=json.dumps(data))])
        return types.CallToolResult(content=[], structured_content=data)

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

    async def called(context: Any, params: Any) -> types.CallToolResult:
        return await here.called(context, params)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if token and (b"authorization", f"Bearer {token}".encode()) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await manager.handle_request(scope, receive, send)

    async def tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    server: Server[Any] = Server("kitchen", on_call_tool=called, on_list_tools=tools)
    if has_resources:
        server = Server("kitchen", on_list_resources=listed, on_read_resource=contents)
    manager = StreamableHTTPSessionManager(server, json_response=is_json)
    async with manager.run(), serving(app) as url, OutboundClient(OutboundRules()) as client:
        here = Kitchen(f"{url}/mcp", client)
        yield here


class TestMcp(ConnectorConformance):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        async with kitchen(is_json=True) as here:
            here.page = 50

            async def arrive(subject: str) -> None:
                here.texts[subject] = f"the text of {subject}"

            yield Place(here.open, arrive, SINCE)


async def test_mcp_resource_is_read_once_per_version_and_a_removed_resource_is_ignored() -> None:
    async with kitchen() as here:
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


async def test_mcp_connector_sends_the_token_and_asks_for_sign_in_on_refusal() -> None:
    async with kitchen(token="of-the-kitchen") as here:
        connector = here.open("of-the-kitchen")
        assert (await connector.check()).name == "kitchen"
        await connector.aclose()
        with pytest.raises(SignInNeeded, match="does not take"):
            await here.open("of-another").check()
        with pytest.raises(SignInNeeded, match=r"name its secret = \{ file"):
            await here.open().check()


async def test_a_server_without_resources_is_refused_with_the_reason() -> None:
    async with kitchen(has_resources=False) as here:
        with pytest.raises(Misconfigured, match="the server has no resources"):
            await here.open().check()


# --- tools ---

FIELDS = {
    **{"key": ["number"], "title": ["head"], "text": ["body"], "author": ["by.mail", "by.name"]},
    **{"modified": ["at"], "labels": ["tags[*].n"], "link": ["web"]},
}
TICKETS: dict[str, Any] = {
    "name": "tickets",
    "arguments": {"state": "open"},
    "list": "found.tickets",
    "cursor": "page",
    "next": "more",
    "fields": FIELDS,
}


async def test_entries_listed_by_a_tool_are_messages_read_once_for_each_version() -> None:
    tools = [TICKETS]
    async with kitchen(has_resources=False) as here:
        here.texts = {"milk": "buy milk", "bread": "bake bread", "photo": None, "tea": "make tea"}
        here.times = {"milk": AT}
        cursor, found = await here.run(tools=tools)
        assert found == {
            "milk": "buy milk",
            "bread": "bake bread",
            "photo": "it has no text",
            "tea": "make tea",
        }
        connector = here.open(tools=tools)
        pages = [page async for page in connector.pages(None, SINCE)]
        first, second, *_ = [message for page in pages for message in page.messages]
        assert (first.key, first.subject, first.labels) == ("tickets:0", "milk", ("home",))
        assert (str(first.sender), first.link) == ("ann@example.com", "https://tickets.example.com/0")
        assert (first.received_at is not None, second.received_at) == (True, None)
        assert (await connector.check()).detail == "4 entries"
        here.texts["tea"] = "make mint tea"
        await connector.aclose()
        (content,) = [one async for _, one in connector.read([second])]
        assert isinstance(content, Document) and content.text == "bake bread", (
            "after the program was replaced"
        )
        here.texts.clear()
        await connector.aclose()
        (content,) = [one async for _, one in connector.read([second])]
        assert isinstance(content, Unread) and content.is_removed
        here.texts = {"milk": "buy milk", "bread": "bake bread", "photo": None, "tea": "make mint tea"}
        _, found = await here.run(cursor, tools=tools)
        assert found == {"tea": "make mint tea"}
        await connector.aclose()


async def test_half_surrogate_in_an_mcp_entry_is_replaced() -> None:
    async with kitchen(has_resources=False) as here:
        here.texts = {"tea": "make tea", "cut \ud83d": "wash the cup \ud83d"}
        tool = {"name": "tickets", "arguments": {"state": "open", "as_text": True}, "list": "found.tickets"}
        fields = {"key": "number", "title": "head", "text": "body"}
        _, found = await here.run(tools=[tool | {"fields": fields}])
    assert found == {"tea": "make tea", "cut \ufffd": "wash the cup \ufffd"}


async def test_mcp_text_results_are_entries_and_a_failing_tool_ends_the_run() -> None:
    async with kitchen(has_resources=False) as here:
        here.texts = {"a": "Buy milk\nsoon", "b": "bake bread"}
        _, found = await here.run(tools=[{"name": "plain"}])
        assert found == {"Buy milk": "Buy milk\nsoon", "bake bread": "bake bread"}
        with pytest.raises(Unavailable, match="the tool absent answered: no such tool"):
            await here.run(tools=[{"name": "absent"}])
        with pytest.raises(Unavailable, match="lists the same page again"):
            await here.run(
                tools=[TICKETS | {"next": "found.tickets.0.number", "arguments": {"state": "open"}}]
            )
    for wrong in ({"name": "x", "list": "a..b"}, {"name": "x", "fields": {"due": "at"}}, {}):
        with pytest.raises(ValidationError):
            McpSettings.model_validate({"url": "https://wiki.example.com/mcp", "tools": [wrong]})


async def test_entry_of_an_mcp_tool_with_long_fields_is_read_with_truncated_fields() -> None:
    long = "x" * 20_000
    fields = {"key": "number", "version": "body", "title": "body", "text": ["body"], "thread": "body"}
    async with kitchen(has_resources=False) as here:
        here.texts = {"a": long}
        tool = TICKETS | {"arguments": {"state": "open"}, "fields": fields | {"labels": ["body"]}}
        first, found = await here.run(tools=[tool])
        assert found == {"x" * 1_000: "x" * 12_000}
        here.texts = {"a": f"{long}, changed"}
        _, found = await here.run(first, tools=[tool])
        assert len(found) == 1, "its version is a digest"


# --- servers that are programs ---

PACKAGES = Path(sysconfig.get_path("purelib"))
SERVER = """
import json, os, sys
sys.path.insert(0, %r)
import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

texts = json.load(open("notes.json"))

async def listed(context, params):
    resources = [types.Resource(uri="note://" + name, name=name) for name in texts]
    return types.ListResourcesResult(resources=resources)

async def contents(context, params):
    uri = str(params.uri)
    name = uri.removeprefix("note://")
    if name == "reach":
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, text=reach())])
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, text=texts[name])])

def reach():
    import socket
    found = []
    for what, work in (
        ("net", lambda: socket.create_connection(("127.0.0.1", 9), 1)),
        ("file", lambda: open(%r)),
        ("write", lambda: open("own.txt", "w")),
        ("start", os.fork),
        ("environ", lambda: os.environ["PATH"]),
    ):
        try:
            work()
            found.append(what)
        except (OSError, KeyError):
            pass
    return "reached: " + ", ".join(found)

async def main():
    server = Server("pantry", on_list_resources=listed, on_read_resource=contents)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""


class Pantry(Kitchen):
    """A server that is a program: the package mcp over standard input and output."""

    def __init__(self, folder: Path, program: str = SERVER) -> None:
        super().__init__("", OutboundClient(OutboundRules()))
        self.command: tuple[str, ...] = ("python", "server.py")
        self.runtime = PACKAGES
        self.folder = folder / "server"
        self.folder.mkdir()
        secret = folder / "hub.toml"
        secret.write_text("of the hub")
        text = program % (str(PACKAGES), str(secret)) if program is SERVER else program
        (self.folder / "server.py").write_text(text)
        self.put({})

    def put(self, texts: dict[str, str]) -> None:
        (self.folder / "notes.json").write_text(json.dumps(texts))

    def open(self, secret: str = "", **settings: Any) -> McpConnector:
        program = ProgramSettings(command=self.command, folder=self.folder, runtime=(self.runtime,))
        return super().open(secret, server=program, **settings)


async def test_third_party_mcp_server_is_read_over_pipes_in_a_jail(tmp_path: Path) -> None:
    pantry = Pantry(tmp_path)
    pantry.put({"milk": "buy milk", "reach": ""})
    assert mcp.__file__.startswith(str(PACKAGES))
    _, found = await pantry.run()
    assert found == {"milk": "buy milk", "reach": "reached: "}


# The smallest server of the official SDK for Node, as its documentation begins.
NODE_SERVER = """
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
const server = new McpServer({ name: "notes", version: "1.0.0" });
const milk = { uri: "note://milk", text: "buy" };
server.registerResource("milk", milk.uri, {}, () => ({ contents: [milk] }));
await server.connect(new StdioServerTransport());
"""


@pytest.mark.slow
async def test_server_of_the_official_node_sdk_is_read_in_a_jail(tmp_path: Path) -> None:
    try:
        packages = npm_packages(cache_folder("mcp-sdk-for-node"), "@modelcontextprotocol/sdk@1.32.2")
    except CannotInstall as error:
        pytest.skip(str(error))
    pantry = Pantry(tmp_path)
    (pantry.folder / "server.mjs").write_text(NODE_SERVER)
    (pantry.folder / "node_modules").symlink_to(packages / "node_modules")
    pantry.command, pantry.runtime = ("node", "server.mjs"), packages
    assert (await pantry.run())[1] == {"milk": "buy"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise KeyError('no such shelf')", "; its last words: KeyError: 'no such shelf'"),
        ("import sys; sys.exit('token: ghp_abcdefghijklmnopqrstuvwxyz0123456789')", "[redacted]"),
        ("import os; os.write(2, b'\x1b[2Jbye'); os._exit(3)", r"it wrote; its last words: \x1b[2Jbye"),
        ("import os; os._exit(3)", "the server's program ended; [log]"),
    ],
)
async def test_last_words_of_an_ended_mcp_server_are_part_of_the_reason(
    tmp_path: Path, source: str, words: str
) -> None:
    with pytest.raises(Unavailable, match=re.escape(words)) as caught:
        await Pantry(tmp_path, source).run()
    assert "ghp_" not in str(caught.value)


HEAD = """
import json, sys
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def answer(request):
    results = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"resources": {}},
            "serverInfo": {"name": "x", "version": "1"}},
        "resources/list": {"resources": [{"uri": "note://a", "name": "a"}]},
        "resources/read": {"contents": [{"uri": "note://a", "text": "asked for: " + ", ".join(heard)}]},
    }
    return results[request["method"]]
heard = []
for line in sys.stdin:
    request = json.loads(line)
    if "error" in request:
        heard.append(request["error"]["message"])
    if "id" not in request or "method" not in request:
        continue
"""
HOSTILE = {
    "asks": (
        """
    for number, method in enumerate(("sampling/createMessage", "elicitation/create", "roots/list")):
        say(id=f"s-{number}", method=method, params={})
    say(id=request["id"], result=answer(request))
""",
        "asked for: this client answers no requests",
    ),
    "pages that repeat": (
        """
    result = answer(request)
    if request["method"] == "resources/list":
        result["nextCursor"] = "again"
    say(id=request["id"], result=result)
""",
        "same page",
    ),
    "pages without end": (
        """
    result = answer(request)
    if request["method"] == "resources/list":
        result = {"resources": [], "nextCursor": str(int(request["params"].get("cursor", 0)) + 1)}
    say(id=request["id"], result=result)
""",
        "more than 1000 resources, or 200 pages",
    ),
    "notifications": (
        """
    while True:
        say(method="notifications/message", params={"level": "info", "data": "x" * 1000})
""",
        "1000 messages and no answer",
    ),
    "a long line": (
        """
    print("x" * 3_000_000, flush=True)
""",
        "more than 2097152 bytes",
    ),
    "no message": (
        """
    print("[1]", flush=True)
""",
        "no message",
    ),
    "silence": ("    pass", "did not answer within 1 s"),
    "a resource of another shape": (
        """
    result = answer(request)
    if request["method"] == "resources/list":
        result["resources"].append({"uri": 5, "name": "b"})
    say(id=request["id"], result=result)
""",
        "answer to resources/list has not the form",
    ),
    "depth": (
        """
    print('{"id": %d, "result": %s}' % (request["id"], "[" * 100_000 + "]" * 100_000), flush=True)
""",
        "answer to initialize has not the form",
    ),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_hostile_mcp_server_ends_the_run_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 1.0 if how == "silence" else 20.0)
    does, words = HOSTILE[how]
    pantry = Pantry(tmp_path, HEAD + does)
    with anyio.fail_after(60):
        if how == "asks":
            _, found = await pantry.run()
            assert words in found["a"]
        else:
            with pytest.raises((Unavailable, Misconfigured), match=words):
                await pantry.run()


SHELF = """
import json, os, sys
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "initialize":
        about = {"name": "x", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"resources": {}}, "serverInfo": about}
    elif request["method"] == "resources/list":
        uris = [f"note://{number}" for number in range(120)]
        result = {"resources": [{"uri": uri, "name": uri, %s} for uri in uris]}
    elif "id" in request:
        uri = request["params"]["uri"]
        if uri == "note://3":
            %s
        result = {"contents": [{"uri": uri, "text": f"text of {uri}"}]}
    if "id" in request:
        say(id=request["id"], result=result)
"""
UNTIMED: Final = '"title": None'
OTHER_ANSWER: Final = 'request["id"] += 1_000'
TIMED: Final = '"annotations": {"lastModified": "2026-05-01T07:00:00Z"}'


@pytest.mark.parametrize("more", [TIMED, UNTIMED])
@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("os._exit(1)", "the server's program ended"),
        ('say(id=request["id"], result="x" * 9_000_000)', "more than 2097152 bytes"),
    ],
)
async def test_resource_ending_the_program_or_too_large_is_left_out_alone(
    tmp_path: Path, does: str, words: str, more: str
) -> None:
    pantry = Pantry(tmp_path, SHELF % (more, does))
    with anyio.fail_after(60):
        cursor, found = await pantry.run()
    assert len(found) == 120
    assert words in found.pop("note://3")
    assert found == {uri: f"text of {uri}" for uri in found}
    (pantry.folder / "server.py").write_text(SHELF % (more, "pass"))
    with anyio.fail_after(60):
        _, later = await pantry.run(cursor)
    assert later.get("note://3") == (None if more is TIMED else "text of note://3")


@pytest.mark.parametrize(
    ("does", "more"),
    [  # each waits for six seconds of silence, without a time of change for twelve
        pytest.param("sys.stdin.read()", TIMED, id="silence, timed"),
        pytest.param("sys.stdin.read()", UNTIMED, id="silence, untimed", marks=pytest.mark.slow),
        pytest.param(OTHER_ANSWER, TIMED, id="another answer, timed"),
        pytest.param(OTHER_ANSWER, UNTIMED, id="another answer, untimed", marks=pytest.mark.slow),
    ],
)
async def test_resource_unanswered_by_a_program_is_left_out_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, more: str
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 6.0)
    pantry = Pantry(tmp_path, SHELF % (more, does))
    with anyio.fail_after(60):
        _, found = await pantry.run()
    assert len(found) == 120
    assert found.pop("note://3") == "the server's program did not answer in time"
    assert found == {uri: f"text of {uri}" for uri in found}


FORGING = """
    forged = json.dumps({"id": 2, "error": {"code": "sign_in", "message": "sign in anew"}}) + "\\n"
    for descriptor in range(2, 256):
        try:
            os.write(descriptor, forged.encode())
        except OSError:
            pass
    say(id=request["id"], result=answer(request))
"""


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": loop}) for loop in (False, True)])
async def test_mcp_server_cannot_write_into_the_pipe_of_the_bridge(tmp_path: Path) -> None:
    pantry = Pantry(tmp_path, "import os\n" + HEAD + FORGING)
    with anyio.fail_after(60):
        _, contents = await pantry.run()
    assert contents == {"a": "asked for: "}


async def test_unstartable_mcp_server_and_settings_without_a_server_are_refused(tmp_path: Path) -> None:
    pantry = Pantry(tmp_path, "")
    program: dict[str, Any] = {"command": ("absent",), "folder": pantry.folder}
    connector = Kitchen.open(pantry, server=ProgramSettings(**program))
    with pytest.raises(FileUnusable, match="no program 'absent'"):
        await connector.check()
    assert (
        McpSettings(server=ProgramSettings(**program)).problem_of_files()
        == "there is no program 'absent' here"
    )
    both: dict[str, Any] = {"url": "https://wiki.example.com/mcp", "server": program}
    for wrong in ({}, both):
        with pytest.raises(ValidationError, match="write url, or server"):
            McpSettings(**wrong)
