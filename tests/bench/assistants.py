"""Row 36: CPU time of the hub for a call of a tool, next to the same request over REST."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
from anyio.from_thread import start_blocking_portal

from tests.bench.machine import tree_cpu_s, tree_rss_bytes
from tests.bench.rounds import Ratio, alone, play, ratio, spread_of
from tests.bench.rows import Row
from tests.support.processes import HubProcess

ROWS: Final = frozenset({36})
_CALLS: Final = 200
_SETTINGS: Final = """\
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
assistants = {}
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
_NEWER, _OLDER, _REST = "2026-07-28", "2025-11-25", "REST"
_ACCEPT: Final = {"accept": "application/json, text/event-stream"}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": _NEWER,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_TOOL: Final = "agents_all"
_CALL: Final[dict[str, Any]] = {"name": _TOOL, "arguments": {}}


def run(echo: Callable[[str], None]) -> list[Row]:
    """Measure row 36: a hub in a process of its own, asked over TCP."""
    with _hub("false") as (_, pid, _):
        plain = tree_rss_bytes(pid)
    with _hub("true") as (url, pid, token):
        extra = (tree_rss_bytes(pid) - plain) / 2**20
        with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as client:
            rest = partial(client.get, "/v1/agents", params={"limit": 20})
            ways: dict[str, Callable[[], httpx2.Response]] = {_REST: rest, **_tools(client)}
            asked = {name: partial(_cost_ms, pid, ask) for name, ask in ways.items()}
            rounds = play(asked, echo=echo)
    echo(f"a hub that serves assistants has {extra:.0f} MiB more")
    return [
        *(Row("36", f"CPU ms of a call, {way}", None, alone(rounds, way), False, "ms") for way in ways),
        Row("36", f"the same: {_NEWER} / REST", None, ratio(rounds, _NEWER, _REST), is_timed=False),
        Row("36", "MiB to serve assistants", None, Ratio(spread_of([extra]), True, 0.0), False, "MiB"),
    ]


@contextmanager
def _hub(assistants: str) -> Iterator[tuple[str, int, str]]:
    """A hub that runs: its address, its process, and the token of a viewer."""
    with TemporaryDirectory(prefix="hub-bench-") as folder, start_blocking_portal() as portal:
        hub = HubProcess(Path(folder), settings=_SETTINGS.format(assistants), is_forked=False)
        portal.call(hub.start)
        try:
            wanted = {"name": "bench", "role": "viewer"}
            token = portal.call(hub.post, "/v1/operator-tokens", wanted)["token"]
            url = f"http://{portal.call(hub.get, '/v1/status')['listeners']['operator']}"
            yield url, hub.pid, token
        finally:
            portal.call(hub.close)


def _tools(client: httpx2.Client) -> dict[str, Callable[[], httpx2.Response]]:
    """Return a call of the tool in each revision."""
    named = {"mcp-protocol-version": _NEWER, "mcp-method": "tools/call", "mcp-name": _TOOL}
    newer = _message("tools/call", _CALL | {"_meta": _META})
    about = {"name": "bench", "version": "1"}
    first = {"protocolVersion": _OLDER, "capabilities": {}, "clientInfo": about}
    opened = client.post("/mcp", json=_message("initialize", first), headers=_ACCEPT)
    session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": _OLDER}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    client.post("/mcp", json=ready, headers=_ACCEPT | session)
    older = _message("tools/call", _CALL)
    return {
        _NEWER: partial(client.post, "/mcp", json=newer, headers=_ACCEPT | named),
        _OLDER: partial(client.post, "/mcp", json=older, headers=_ACCEPT | session),
    }


def _message(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _cost_ms(pid: int, ask: Callable[[], httpx2.Response]) -> float:
    """Return the CPU time of the hub for a request, in milliseconds."""
    began = tree_cpu_s(pid)
    for _ in range(_CALLS):
        answer = ask()
        assert answer.status_code == 200 and b"next_cursor" in answer.content, answer.text
    return 1_000 * (tree_cpu_s(pid) - began) / _CALLS
