"""An assistant on this machine: its messages reach the hub, and its settings are printed."""

import json
import shlex
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import TaskGroup
from click.testing import CliRunner

from hub.api.http.assistants import META_KEY
from hub.cli import mcp
from hub.cli.app import hub as program
from hub.cli.errors import Exit
from hub.cli.mcp import ASSISTANTS, SCOPES, Bridge
from tests.hub.api.test_assistants import INITIALIZE
from tests.hub.cli.conftest import ends
from tests.support.families import each
from tests.support.hub import over_tcp, over_unix, serving

WORDS = ["--user", "anna", "--scope", "read"]


@each("client", ASSISTANTS)
def test_mcp_setup_entry_of_each_assistant_starts_the_bridge(client: str) -> None:
    for named, name in (([], client), (["--name", "my tidy one"], "my tidy one")):
        typed = ["mcp", "setup", client, "--state", "/srv/hub", *named, *WORDS]
        done = CliRunner().invoke(program, typed)
        assert done.exit_code == 0
        words = ["mcp", "stdio", "--state", "/srv/hub", "--name", name, *WORDS]
        assistant = ASSISTANTS[client]
        if not assistant.file:
            assert shlex.split(done.stdout)[-len(words) :] == words
            continue
        read = tomllib.loads if assistant.file.endswith(".toml") else json.loads
        entry = read(done.stdout)[assistant.key]["hub"]
        assert [entry["command"], *entry["args"]][-len(words) :] == words
        assert assistant.file in done.stderr


@each(
    ("words", "message"),
    [
        (["--name", "a\nb"], "expected"),
        (["--name", ""], "expected"),
        (["--name", "x" * 41], "at most 40"),
        (
            ["--name", "tidy", "--url", "https://hub.example", "--token-file", "/srv/token"],
            "that of the token",
        ),
    ],
)
def test_mcp_setup_refuses_an_invalid_name_or_the_name_of_a_token(words: list[str], message: str) -> None:
    ends(CliRunner().invoke(program, ["mcp", "setup", "cursor", *words]), Exit.USAGE, message)


def test_mcp_setup_without_a_name_lists_all_assistants_with_the_command() -> None:
    typed = ["mcp", "setup", "--url", "https://hub.example:8771"]
    done = CliRunner().invoke(program, [*typed, "--token-file", "/srv/token"])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in ASSISTANTS)
    assert "mcp stdio --url https://hub.example:8771 --token-file /srv/token" in done.stdout


def test_mcp_setup_without_a_token_prints_only_the_address() -> None:
    typed = ["mcp", "setup", "--url", "https://hub.example:8771/"]
    done = CliRunner().invoke(program, typed, env={"HUB_TOKEN_FILE": None})
    assert (done.exit_code, done.stdout) == (0, "https://hub.example:8771/mcp\n")


@each("url", ["ftp://hub.example", "http://hub.example:8771", "https://[::1"])
def test_mcp_setup_refuses_an_invalid_or_unencrypted_address(url: str) -> None:
    ends(
        CliRunner().invoke(program, ["mcp", "setup", "--url", url], env={"HUB_TOKEN_FILE": None}),
        Exit.USAGE,
        "https://",
    )


class Pipe:
    """Ends of the pipes of an assistant: lines that it writes, and messages that it gets."""

    def __init__(self) -> None:
        self.send, self._lines = anyio.create_memory_object_stream[bytes](10)
        self._got, self.receive = anyio.create_memory_object_stream[dict[str, Any]](10)

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self._lines:
            yield line

    async def write(self, message: bytes) -> None:
        await self._got.send(json.loads(message))

    async def says(self, **message: Any) -> None:
        await self.send.send(json.dumps({"jsonrpc": "2.0"} | message).encode())

    async def asks(self, id: int, method: str, **params: Any) -> dict[str, Any]:
        await self.says(id=id, method=method, params=params)
        with anyio.fail_after(20):
            while (got := await self.receive.receive()).get("id") != id:
                pass
        return got


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    monkeypatch.setattr(mcp, "WAITS_S", (0.0, 0.0))
    made = Pipe()
    yield made
    for stream in (made.send, made._lines, made._got, made.receive):
        stream.close()


async def opened(pipe: Pipe) -> None:
    await pipe.send.send(json.dumps(INITIALIZE).encode())
    assert (await pipe.receive.receive())["result"]["protocolVersion"] == "2025-11-25"
    await pipe.says(method="notifications/initialized")


async def bridged(client: httpx2.AsyncClient, pipe: Pipe, tasks: TaskGroup) -> Bridge:
    bridge = Bridge(client, pipe.write, "key")
    tasks.start_soon(bridge.serve, pipe.lines())
    return bridge


async def test_mcp_bridge_reopens_an_ended_session_and_calls_stay_idempotent(
    tmp_path: Path, pipe: Pipe
) -> None:
    async with (
        serving(tmp_path, assistants=True, body_bytes=100_000) as hub,
        anyio.create_task_group() as tasks,
    ):
        async with over_unix(hub) as client:
            client.headers[SCOPES] = "read run"
            bridge = await bridged(client, pipe, tasks)
            await opened(pipe)
            call = {"name": "agents_start_run", "arguments": {"name": "notes"}}
            first = await pipe.asks(2, "tools/call", **call)
            assert (await client.delete("/mcp", headers=bridge._session)).status_code == 200
            again = await pipe.asks(2, "tools/call", **call)  # the same id of the same pipe: the same call
            other = await pipe.asks(3, "tools/call", **call, _meta={META_KEY: "of its own"})
            runs = [one["result"]["structuredContent"]["id"] for one in (first, again, other)]
            assert runs[0] == runs[1] != runs[2]
        tasks.cancel_scope.cancel()


async def test_mcp_bridge_refuses_a_request_with_the_id_of_an_unanswered_request(
    tmp_path: Path, pipe: Pipe
) -> None:
    async with (
        serving(tmp_path, assistants=True, body_bytes=100_000) as hub,
        over_unix(hub) as client,
        anyio.create_task_group() as tasks,
    ):
        await bridged(client, pipe, tasks)
        await opened(pipe)
        for id in (7, "7", 7):
            await pipe.says(id=id, method="tools/call", params={"name": "agents_all", "arguments": {}})
        with anyio.fail_after(20):
            got = [await pipe.receive.receive() for _ in range(3)]
        assert [one.get("error", {}).get("code") for one in got] == [-32600, -32600, None]
        assert "result" in await pipe.asks(7, "tools/list")  # it is free again
        tasks.cancel_scope.cancel()


@each(
    ("line", "code", "message"),
    [
        (b"{", -32700, "no message"),
        (b"[1]", -32700, "expected an object"),
        (b'{"id": 1, "method": "x", "params": [1]}', -32700, "one as its params"),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "tools/list"}', -32603, "this hub serves no assistants"),
    ],
)
async def test_mcp_bridge_answers_an_undeliverable_message_with_an_error(
    tmp_path: Path, pipe: Pipe, line: bytes, code: int, message: str
) -> None:
    async with serving(tmp_path) as hub, over_unix(hub) as client, anyio.create_task_group() as tasks:
        await bridged(client, pipe, tasks)
        await pipe.send.send(line)
        error = (await pipe.receive.receive())["error"]
        tasks.cancel_scope.cancel()
    assert error["code"] == code
    assert message in error["message"]


async def test_mcp_bridge_refuses_requests_beyond_the_waiting_limit(pipe: Pipe) -> None:
    held, events = anyio.Event(), list[str]()

    async def hold(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            events.append("followed")
            await anyio.sleep_forever()
        await held.wait()
        return httpx2.Response(200, json={"jsonrpc": "2.0", "result": {}})

    transport = httpx2.MockTransport(hold)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://hub") as client,
        anyio.create_task_group() as tasks,
    ):
        await bridged(client, pipe, tasks)
        for number in range(mcp.MAX_ASKED):
            await pipe.says(id=number, method="ping", params={})
        refused = await pipe.asks(-1, "ping")
        assert f"{mcp.MAX_ASKED} requests wait for the hub" in refused["error"]["message"]
        held.set()
        for _ in range(mcp.MAX_ASKED):
            assert (await pipe.receive.receive())["result"] == {}
        for _ in range(3):
            await pipe.says(method="notifications/initialized")
        assert (await pipe.asks(-2, "ping"))["result"] == {}
        assert events == ["followed"]
        tasks.cancel_scope.cancel()


async def test_mcp_bridge_reports_an_unreachable_hub_after_the_last_attempt(
    pipe: Pipe, tmp_path: Path
) -> None:
    transport = httpx2.AsyncHTTPTransport(uds=str(tmp_path / "none.sock"), verify=False)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://hub") as client,
        anyio.create_task_group() as tasks,
    ):
        await bridged(client, pipe, tasks)
        assert "is it running?" in (await pipe.asks(1, "ping"))["error"]["message"]
        tasks.cancel_scope.cancel()


async def test_mcp_request_for_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, assistants=True) as hub, over_tcp(hub, await hub.token()) as client:
        answer = await client.post("/mcp", json=INITIALIZE, headers={SCOPES: "read reed"})
    assert answer.status_code == 422
    assert "there is no scope 'reed'" in answer.json()["detail"]
