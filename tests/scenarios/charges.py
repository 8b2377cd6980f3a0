"""Charged and spent: the CPU time of the hub's loop that requests cost, and what of it their callers pay.

``python -m tests.scenarios.charges [--only WORDS]`` sends REQUESTS of each route and method of the tables, of
assistants, pages, webhooks and devices to a hub, one after the other, and prints both times of each. Exit
code 1: of one less than MIN_CHARGED was charged. ``make attack`` does the same.

Spent is the time of the loop's thread, less what an idle hub takes; charged is what ``/metrics`` counts.
"""

import argparse
import http.client
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import anyio
import msgspec
from anyio import to_thread
from websockets.asyncio.client import connect

from hub.app import resources as _nouns  # noqa: F401  # the classes of nouns declare the routes
from hub.base.roles import AGENT, DEVICE_REQUESTS, ROUTES
from tests.scenarios.arena import END_S, LimitedHub

MIN_CHARGED: Final = 0.7
REQUESTS: Final = 64
CLIENTS: Final = 8
TRIES: Final = 3
FRAMES: Final = 640  # of a device: one of 64 is measured
MIN_MS: Final = 0.3  # of CPU time: what costs less is mostly the system's
_SETTINGS: Final = """\
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
assistants = true
[listen.webhooks]
address = "127.0.0.1:0"
[limits]
new_connections_per_s = 2000.0
operator_new_connections_per_s = 2000.0
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_ID: Final = b'"id": 1'
_OLDER: Final = "2025-11-25"
_ACCEPT: Final = {"accept": "application/json, text/event-stream"}
_INITIALIZE: Final = {
    "protocolVersion": _OLDER,
    "capabilities": {},
    "clientInfo": {"name": "charges", "version": "1"},
}


class Asked(NamedTuple):
    """Requests of one kind: by whom and where, and what is sent."""

    name: str
    method: str
    path: str
    port: str
    headers: dict[str, str]
    body: bytes | None = None


class Charges(msgspec.Struct, frozen=True):
    """CPU time of a request, in milliseconds, and the codes of the answers."""

    name: str
    spent_ms: float
    charged_ms: float
    answers: str

    @property
    def is_paid(self) -> bool:
        """Return True if the caller paid enough."""
        return self.spent_ms < MIN_MS or self.charged_ms >= MIN_CHARGED * self.spent_ms


class Rig:
    """A hub, and its figures.

    Attributes:
        operators, hooks, devices: addresses of the listeners.
    """

    def __init__(self, hub: LimitedHub, listeners: dict[str, str]) -> None:
        self.hub = hub
        self.operators, self.hooks = listeners["operator"], listeners["webhooks"]
        self.devices = listeners["devices"]
        self.idle = 0.0  # part of a second that an idle hub takes
        self.read_s = 0.0  # that reading the figures takes

    def spent_s(self) -> float:
        """Return the CPU time of the loop's thread, which is the first one."""
        pid = self.hub.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9

    async def charged_s(self) -> float:
        """Return what was charged to anyone."""
        return sum((await self.hub.metric("hub_loop_seconds_total")).values())

    async def measure(self, name: str, ask: Callable[[], Any], times: int = REQUESTS) -> Charges:
        """Measure what *times* requests cost, which *ask* sends; again, where the hub did other work."""
        for _ in range(TRIES):
            measured = await self._measure(name, ask, times)
            if measured.is_paid:
                break
        return measured

    async def _measure(self, name: str, ask: Callable[[], Any], times: int) -> Charges:
        charged = await self.charged_s()
        spent, began = self.spent_s(), perf_counter()
        answers = await ask()
        spent = self.spent_s() - spent - self.idle * (perf_counter() - began)
        charged = await self.charged_s() - charged - self.read_s
        return Charges(name, spent / times * 1e3, charged / times * 1e3, answers)


@asynccontextmanager
async def opened_rig(folder: Path, *, uses_uvloop: bool = False) -> AsyncIterator[Rig]:
    """Start a hub, and measure it idle."""
    hub = LimitedHub(folder, settings=_SETTINGS, files=0)
    try:
        await hub.start()
        rig = Rig(hub, (await hub.get("/v1/status"))["listeners"])
        await anyio.sleep(2.0)  # until its start has settled
        before = rig.spent_s()
        await anyio.sleep(1.0)
        rig.idle = rig.spent_s() - before
        await rig.charged_s()
        readings = [await rig.charged_s() for _ in range(9)]
        rig.read_s = (readings[-1] - readings[0]) / 8
        yield rig
    finally:
        await hub.close()


def flood(asked: Asked, number: int, times: int, codes: Counter[int]) -> None:
    """Send requests one after the other, over one connection where that stays; count the codes."""
    host, _, port = asked.port.rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=END_S)
    body = asked.body and asked.body.replace(_ID, f'"id": {number}'.encode())  # each in use is another one
    for _ in range(times):
        client.request(asked.method, asked.path, body, asked.headers)
        answer = client.getresponse()
        is_stream = answer.getheader("content-type", "").startswith("text/event-stream")
        if is_stream and asked.method == "GET":
            answer.close()  # it has no end
            client.close()
        else:
            answer.read()
        codes[answer.status] += 1
    client.close()


async def flooded(asked: Asked, times: int = REQUESTS) -> str:
    """Send requests over CLIENTS connections at once, and return the codes of the answers."""
    codes: Counter[int] = Counter()
    async with anyio.create_task_group() as tasks:
        for number in range(CLIENTS):
            tasks.start_soon(to_thread.run_sync, flood, asked, number, times // CLIENTS, codes)
    return ", ".join(f"{count} {code}" for code, count in codes.items())


def routes(rig: Rig, admin: str, agent: str, names: dict[str, str]) -> Iterator[Asked]:
    """Yield the requests of all routes. A change has a field that no body has, so that it changes nothing."""
    typed = {"content-type": "application/json"}
    for asked, need in ROUTES.items():
        if asked.path == "/mcp":
            continue
        path = _PARAMETER.sub(lambda found: names.get(found[1], "none"), asked.path)
        shown = {"authorization": f"Bearer {agent if need is AGENT else admin}"}
        is_change = asked.method in ("POST", "PUT", "PATCH")
        body = b'{"none":1}' if is_change else None
        if asked.path in ("/token", "/revoke"):
            typed, body = {"content-type": "application/x-www-form-urlencoded"}, b"grant_type=none"
        name = f"{asked.method} {asked.path}"
        yield Asked(name, asked.method, path, rig.operators, shown | (typed if is_change else {}), body)
        typed = {"content-type": "application/json"}


def others(rig: Rig, viewer: str, session: str) -> Iterator[Asked]:
    """Yield requests of assistants, browsers, strangers and senders of webhooks."""
    shown = {"authorization": f"Bearer {viewer}", "content-type": "application/json", **_ACCEPT}
    older = shown | {"mcp-session-id": session, "mcp-protocol-version": _OLDER}
    call = {"name": "agents_all", "arguments": {}}
    said: tuple[tuple[str, dict[str, Any]], ...] = (
        ("tools/list", {}),
        ("tools/call", call),
        ("resources/templates/list", {}),
        ("ping", {}),
    )
    for method, params in said:
        yield Asked(f"mcp {method}", "POST", "/mcp", rig.operators, older, message(method, params))
    newer = "2026-07-28"
    about = {
        "io.modelcontextprotocol/protocolVersion": newer,
        "io.modelcontextprotocol/clientInfo": _INITIALIZE["clientInfo"],
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    for method, params in said[:2]:
        headers = shown | {"mcp-protocol-version": newer, "mcp-method": method}
        headers |= {"mcp-name": "agents_all"} if params else {}
        body = message(method, params | {"_meta": about})
        yield Asked(f"mcp {method}, {newer}", "POST", "/mcp", rig.operators, headers, body)
    yield Asked("mcp GET", "GET", "/mcp", rig.operators, older)
    yield Asked("mcp initialize", "POST", "/mcp", rig.operators, shown, message("initialize", _INITIALIZE))
    yield Asked("mcp DELETE", "DELETE", "/mcp", rig.operators, shown | {"mcp-session-id": "none"})
    for path in ("/", "/agents", "/none.js"):
        yield Asked(f"page {path}", "GET", path, rig.operators, {"accept": "text/html"})
    yield Asked("no token", "GET", "/v1/agents", rig.operators, {})
    yield Asked("no permission", "GET", "/v1/config", rig.operators, shown)
    yield Asked("no route", "GET", "/v1/none", rig.operators, shown)
    yield Asked("webhook", "POST", "/hooks/none", rig.hooks, {}, b"{}")
    yield Asked("webhook, no route", "GET", "/none", rig.hooks, {})


def message(method: str, params: Any) -> bytes:
    """Return a request of an assistant."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


async def by_device(rig: Rig, only: Sequence[str], times: int = FRAMES) -> AsyncIterator[Charges]:
    """Measure each request of devices whose name has one of the words *only*."""
    token = await rig.hub.token("desk")
    async with connect(f"ws://{rig.devices}/v1/device", compression=None, open_timeout=END_S) as socket:
        await socket.send(json.dumps({"type": "device_hello", "token": token}))
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        for method in (one for one in DEVICE_REQUESTS if any(words in f"device {one}" for words in only)):
            request = json.dumps({"type": "request", "id": "q", "method": method, "params": {"none": 1}})

            async def ask(request: str = request) -> str:
                with anyio.fail_after(END_S):
                    for _ in range(times):
                        await socket.send(request)
                        while json.loads(await socket.recv())["type"] != "response":
                            pass
                return ""

            yield await rig.measure(f"device {method}", ask, times)


async def all_charges(rig: Rig, only: Sequence[str] = ("",)) -> AsyncIterator[Charges]:
    """Measure all that can be asked, or the requests whose name has one of the words *only*."""
    hub = rig.hub
    tokens = {}
    for role in ("admin", "viewer"):
        tokens[role] = (await hub.post("/v1/operator-tokens", {"name": role, "role": role}))["token"]
    device = (await hub.get("/v1/devices"))["devices"]
    names = {"name": "notes", "agent": "notes", "device_id": device[0]["id"] if device else "none"}
    agent = (await hub.post("/v1/agents/notes/tokens"))["token"]
    session = await to_thread.run_sync(_session, rig, tokens["viewer"])
    for asked in [*others(rig, tokens["viewer"], session), *routes(rig, tokens["admin"], agent, names)]:
        if not any(words in asked.name for words in only):
            continue
        await flooded(asked, CLIENTS)  # what is loaded at its first use
        yield await rig.measure(asked.name, partial(flooded, asked))
    async for charges in by_device(rig, only):
        yield charges


def _session(rig: Rig, token: str) -> str:
    host, _, port = rig.operators.rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=END_S)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", **_ACCEPT}
    client.request("POST", "/mcp", message("initialize", _INITIALIZE), headers)
    answer = client.getresponse()
    answer.read()
    session = answer.getheader("mcp-session-id")
    assert session is not None, answer.status
    body = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
    client.request("POST", "/mcp", body, headers | {"mcp-session-id": session})
    assert client.getresponse().status == 202
    client.close()
    return session


async def main(only: str, tell: Callable[[str], None]) -> int:
    """Measure, print, and return the exit code."""
    bad = count = 0
    with tempfile.TemporaryDirectory() as folder:
        async with opened_rig(Path(folder)) as rig:
            tell(f"{'request':60} {'spent':>7} {'charged':>7} {'part':>5}  ms of CPU time each; answers")
            async for one in all_charges(rig, [only]):
                part = one.charged_ms / one.spent_ms if one.spent_ms > 0 else 1.0
                tell(
                    f"{one.name[:60]:60} {one.spent_ms:7.2f} {one.charged_ms:7.2f} {part:5.2f}"
                    f"  {one.answers}{'' if one.is_paid else '  NOT CHARGED'}"
                )
                bad += not one.is_paid
                count += 1
    tell(f"{count} requests: {bad} with less than {MIN_CHARGED:.0%} charged")
    return int(bool(bad))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="requests with these words in their name")
    sys.exit(anyio.run(main, parser.parse_args().only, lambda line: print(line, flush=True)))  # noqa: T201
