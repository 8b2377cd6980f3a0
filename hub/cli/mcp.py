"""Commands ``hub mcp``: bridge between an assistant and the hub, retries, settings entries."""

import base64
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import click

from hub.cli import show
from hub.cli.hub_client import TOKEN_VARIABLE, check_address, lasting_client
from hub.cli.options import TOKEN_FILE, URL, USER, example, hub_option

if TYPE_CHECKING:
    import httpx2
    from anyio.abc import TaskGroup

Message = dict[str, Any]

ADDRESS: Final = "/mcp"
META_KEY: Final = "hub/idempotency-key"  # as in hub.api.http.assistants
SCOPES: Final = "hub-scopes"  # header of a request that is made with these scopes alone
CALLED: Final = "hub-assistant"  # header with the name of the assistant
WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # before a message is sent again: a hub restarts
AGAIN_S: Final = 1.0  # before events are followed again
MAX_ASKED: Final = 64  # requests that wait for the hub, each with a task
FAILED: Final = -32603  # code of JSON-RPC: internal error
INVALID: Final = -32600
UNREADABLE: Final = -32700
_VERSION: Final = "io.modelcontextprotocol/protocolVersion"  # in the _meta of a message without a session
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_IN_A_HEADER: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Bridge:
    """Passes the messages of an assistant on to the hub, and its answers back.

    A message that the hub could not answer is sent again, also to a hub that was restarted. So a call of a
    tool gets an idempotency key, and a session that ended is opened again.

    Args:
        write: writes one message to the assistant.
        key: begin of the keys of this process.
    """

    def __init__(
        self, client: "httpx2.AsyncClient", write: Callable[[bytes], Awaitable[None]], key: str
    ) -> None:
        self._client = client
        self._write = write
        self._key = key
        self._first: Message | None = None  # that opened the session
        self._session: dict[str, str] = {}  # headers
        self._opening = anyio.Lock()
        self._asked: dict[str, anyio.CancelScope] = {}  # requests, by their ids, until they are answered
        self._is_following = False

    async def serve(self, lines: AsyncIterator[bytes]) -> None:
        """Pass messages on until the assistant closes its pipe."""
        async with anyio.create_task_group() as tasks:
            async for line in lines:
                try:
                    message = json.loads(line)
                    if not isinstance(message, dict) or not isinstance(message.get("params", {}), dict):
                        raise ValueError("expected an object, and one as its params")
                except ValueError as error:
                    await self._reply(None, f"no message: {error}", UNREADABLE)
                    continue
                await self._handle_message(message, tasks)
            tasks.cancel_scope.cancel()
        if self._session:
            with suppress(self._lost), anyio.move_on_after(AGAIN_S):
                await self._client.delete(ADDRESS, headers=self._session)

    @property
    def _lost(self) -> type[Exception]:
        import httpx2

        return httpx2.TransportError

    async def _handle_message(self, message: Message, tasks: "TaskGroup") -> None:
        method = message.get("method")
        if method is not None and "id" in message:
            key = str(message["id"])
            if key in self._asked:
                await self._reply(message["id"], f"the request {key!r} is not answered yet", INVALID)
            elif len(self._asked) >= MAX_ASKED:
                await self._reply(message["id"], f"{MAX_ASKED} requests wait for the hub: ask again later")
            else:
                self._asked[key] = anyio.CancelScope()
                tasks.start_soon(self._ask, message, self._asked[key])
            return
        asked = self._asked.get(str(message.get("params", {}).get("requestId")))
        if method == "notifications/cancelled" and asked is not None and not self._session:
            asked.cancel()  # which ends the request to the hub
            return
        with suppress(self._lost):  # in their order
            await self._client.post(ADDRESS, json=message, headers=self._headers(message))
        if method == "notifications/initialized" and not self._is_following:
            self._is_following = True
            tasks.start_soon(self._follow)

    async def _ask(self, message: Message, scope: anyio.CancelScope) -> None:
        """Pass a request on until it is answered, or *scope* is cancelled."""
        if message["method"] == "tools/call":
            params = message.setdefault("params", {})
            params["_meta"] = {META_KEY: f"{self._key}-{message['id']}"} | (params.get("_meta") or {})
        problem = ""
        with scope:
            for wait_s in (*WAITS_S, None):
                try:
                    if (problem := await self._send(message)) == "":
                        break
                except self._lost as error:
                    problem = f"the hub does not answer: {error or type(error).__name__}; is it running?"
                if wait_s is not None:
                    await anyio.sleep(wait_s)
        del self._asked[str(message["id"])]
        if problem:
            await self._reply(message["id"], problem)

    async def _send(self, message: Message) -> str:
        """Send a request, and pass its answer back. Return why it is to be sent again, or an empty text."""
        session = self._session
        opens = message["method"] == "initialize"
        headers = self._headers({} if opens else message)
        if opens:
            self._first, headers = message, _ACCEPT
        async with self._client.stream(
            "POST", ADDRESS, json=message, headers=headers, timeout=None
        ) as answer:
            if answer.status_code == 404 and session and not opens:
                await self._open_again(session)
                return "the session ended"
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                async for found in _events(answer):
                    if await self._pass(found, message, answer):
                        return ""
                return "the hub ended its answer"
            body = await answer.aread()
            found = json.loads(body) if body else {}
            if answer.is_error and "jsonrpc" not in found:
                if found.get("retryable"):
                    return str(found["detail"])
                text = "; ".join(filter(None, (found.get("detail"), found.get("hint"))))
                await self._reply(message["id"], text or f"the hub responded with {answer.status_code}")
            else:
                await self._pass(found, message, answer)
            return ""

    async def _pass(self, found: Message, message: Message, answer: "httpx2.Response") -> bool:
        """Pass a message of the hub on. Return whether it answers *message*."""
        if "method" in found:
            await self._write(json.dumps(found).encode())
            return False
        if message is self._first and "result" in found:
            self._session = {
                "mcp-session-id": answer.headers.get("mcp-session-id", ""),
                "mcp-protocol-version": found["result"]["protocolVersion"],
            }
        await self._write(json.dumps(found | {"id": message["id"]}).encode())
        return True

    async def _open_again(self, ended: Mapping[str, str]) -> None:
        """Open a session in place of one that ended, as the assistant opened the first."""
        async with self._opening:
            if self._session is not ended or self._first is None:
                return
            answer = await self._client.post(ADDRESS, json=self._first, headers=_ACCEPT)
            if answer.is_success:
                self._session = {**ended, "mcp-session-id": answer.headers.get("mcp-session-id", "")}
                done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
                await self._client.post(ADDRESS, json=done, headers=self._headers(done))

    async def _follow(self) -> None:
        """Pass the events of the session on, as long as the assistant has its pipe open."""
        while True:
            session = self._session
            with suppress(self._lost):
                async with self._client.stream(
                    "GET", ADDRESS, headers=self._headers({}), timeout=None
                ) as answer:
                    if answer.status_code == 404:
                        await self._open_again(session)
                    elif answer.is_success:
                        async for found in _events(answer):
                            await self._write(json.dumps(found).encode())
            await anyio.sleep(AGAIN_S)

    def _headers(self, message: Message) -> dict[str, str]:
        """Return the headers of a message: of the session, or, of one without, what it is about."""
        if not (version := _version(message)):
            return {**_ACCEPT, **self._session}
        method = message["method"]
        name = message["params"].get(_NAMED.get(method, ""))
        named = {} if not isinstance(name, str) else {"mcp-name": _spelled(name)}
        return {**_ACCEPT, "mcp-protocol-version": version, "mcp-method": method, **named}

    async def _reply(self, id: str | int | None, problem: str, code: int = FAILED) -> None:
        error = {"code": code, "message": problem}
        await self._write(json.dumps({"jsonrpc": "2.0", "id": id, "error": error}).encode())


_ACCEPT: Final = {"accept": "application/json, text/event-stream"}


def _version(message: Message) -> str:
    """Return the revision of a message without a session, or an empty text."""
    return str((message.get("params", {}).get("_meta") or {}).get(_VERSION, ""))


def _spelled(name: str) -> str:
    if _IN_A_HEADER.fullmatch(name) and not name.startswith("=?"):
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


async def _events(answer: "httpx2.Response") -> AsyncIterator[Message]:
    """Yield the messages of a stream."""
    import httpx2

    async for event in httpx2.EventSource(answer):
        if event.data:
            yield json.loads(event.data)


@click.group(epilog=example("hub mcp setup claude-desktop"))
def mcp() -> None:
    """Connect an assistant that speaks MCP with the hub."""


def _checked(name: str | None) -> str:
    """Return the name of an assistant, or an empty text. Raises click.UsageError."""
    if name is not None and not _NAME.fullmatch(name):
        raise click.UsageError(f"--name {name}: expected at most 40 letters, digits, blanks, dots and dashes")
    if name is not None and URL in click.get_current_context().meta:
        raise click.UsageError("--name: with --url it is that of the token, as 'hub token create' made it")
    return name or ""


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")
_name_option = click.option("--name", help="Name of the assistant in what it proposes, starts and answers.")


@mcp.command(epilog=example("hub mcp stdio --name tidy --scope read --scope run"))
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="Let it use this scope; may be repeated [default: read; with --url, all of the token].",
)
@hub_option
@_name_option
def stdio(scopes: tuple[str, ...], state: Path, name: str | None) -> None:
    """Pass the messages of an assistant, on standard input and output, on to the hub.

    An assistant starts this command itself: 'hub mcp setup' prints what to write into its settings.
    """
    from hub.base.clock import IdFactory, SystemChance, SystemClock

    client = lasting_client(state)
    if scopes or URL not in click.get_current_context().meta:
        client.headers[SCOPES] = " ".join(scopes or ("read",))
    client.headers[CALLED] = _checked(name)
    key = IdFactory(SystemClock(), SystemChance()).fresh()

    async def serve() -> None:
        output, writing = anyio.wrap_file(sys.stdout.buffer), anyio.Lock()

        async def write(message: bytes) -> None:
            async with writing:
                await output.write(message + b"\n")
                await output.flush()

        async with client:
            await Bridge(client, write, key).serve(aiter(anyio.wrap_file(sys.stdin.buffer)))

    with suppress(KeyboardInterrupt, BrokenPipeError):  # the assistant ends it
        anyio.run(serve)


class Assistant(NamedTuple):
    """Program that speaks MCP, and where its settings name servers.

    Attributes:
        file: of its settings; empty: a command changes them.
        key: of the object or table of servers.
        entry: what it has beside the command and its arguments.
    """

    name: str
    file: str
    key: str = "mcpServers"
    entry: Mapping[str, str] = {}


ASSISTANTS: Final = {
    "claude-code": Assistant("Claude Code", ""),
    "claude-desktop": Assistant(
        "Claude Desktop",
        "~/.config/Claude/claude_desktop_config.json"
        " (macOS: ~/Library/Application Support/Claude, Windows: %APPDATA%\\Claude)",
    ),
    "codex": Assistant("Codex", "~/.codex/config.toml", "mcp_servers"),
    "cursor": Assistant("Cursor", "~/.cursor/mcp.json"),
    "gemini": Assistant("Gemini CLI", "~/.gemini/settings.json"),
    "vscode": Assistant(
        "Visual Studio Code",
        ".vscode/mcp.json, or that of the command 'MCP: Open User Configuration'",
        "servers",
        {"type": "stdio"},
    ),
    "windsurf": Assistant("Windsurf", "~/.codeium/windsurf/mcp_config.json"),
    "zed": Assistant("Zed", "~/.config/zed/settings.json", "context_servers"),
}


@mcp.command(epilog=example("hub mcp setup vscode --name tidy --scope read --scope run"))
@click.argument("client", type=click.Choice(list(ASSISTANTS)), required=False)
@click.option("--scope", "scopes", multiple=True, help="As of 'hub mcp stdio'.")
@hub_option
@_name_option
def setup(client: str | None, scopes: tuple[str, ...], state: Path, name: str | None) -> None:
    """Print what to write into the settings of an assistant, so that it starts 'hub mcp stdio'.

    Without --name, it is called as CLIENT. Without CLIENT, list the assistants and print the command.
    With --url and no token, print the address, where an assistant asks its person in a browser to be
    allowed.
    """
    meta = click.get_current_context().meta
    if URL in meta and TOKEN_FILE not in meta and TOKEN_VARIABLE not in os.environ:
        check_address(meta[URL])
        show.report("Give the assistant this address; it opens a page of the hub, where you allow it:")
        show.out(meta[URL].rstrip("/") + ADDRESS)
        return
    words = _words(state, scopes, _checked(name) or client or "")
    if client is None:
        rows = (
            (name, assistant.name, assistant.file or "(a command)") for name, assistant in ASSISTANTS.items()
        )
        show.print_table(("client", "assistant", "settings"), rows)
        show.out(f"\nAny other starts this command:\n  {shlex.join(words)}")
        return
    assistant = ASSISTANTS[client]
    if not assistant.file:
        show.report("Type:")
        show.out(f"claude mcp add --scope user hub -- {shlex.join(words)}")
        return
    show.report(f"Add to {assistant.file}:")
    if assistant.file.endswith(".toml"):
        show.out(f"[{assistant.key}.hub]")
        show.out(f"command = {json.dumps(words[0])}\nargs = {json.dumps(words[1:])}")
        return
    entry = {**assistant.entry, "command": words[0], "args": words[1:]}
    show.out(json.dumps({assistant.key: {"hub": entry}}, indent=2))


def _words(state: Path, scopes: tuple[str, ...], name: str) -> list[str]:
    """Return the command that an assistant starts, with the hub that this command was given."""
    meta = click.get_current_context().meta
    program = Path(sys.argv[0]).absolute()
    words = [str(program)] if program.name == "hub" else [sys.executable, "-m", "hub"]
    words += ["mcp", "stdio"]
    if URL in meta:
        words += ["--url", meta[URL]]
        words += ["--token-file", str(Path(meta[TOKEN_FILE]).absolute())] if TOKEN_FILE in meta else []
    else:
        words += ["--state", str(state)] + (["--name", name] if name else [])
    words += ["--user", meta[USER]] if USER in meta else []
    return [*words, *(part for scope in scopes for part in ("--scope", scope))]
