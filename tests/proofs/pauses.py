"""Three HTTP clients of others call a hub with pauses on connections that they keep: no call is lost.

``python -m tests.proofs.pauses --seed 1`` takes six minutes. httpx, requests and the official Python client
of MCP keep connections to ``hub serve`` and never close one themselves. Each client calls from an address of
its own, because the hub closes the longest idle connection of an address with 64 of them. A pause is drawn
from 4.9 to 75 s, every second one at or near an idle time after which servers usually close.

It fails when a call is lost, when the hub closed a connection within a pause, and when the audit log does not
have exactly one entry for each answered POST. Then ``--at-once`` connections of one address each send a
request. Each must be served, or be refused with 503 and ``Retry-After`` and be served at its second try.
"""

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
import httpx
import httpx2
import requests
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from requests.adapters import HTTPAdapter

from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import rows
from tests.simulation.dice import Dice
from tests.support.processes import ROOT, SETTINGS, HubProcess, closing

SHORTEST_S, LONGEST_S = 4.9, 75.0  # the hub announces 75 s
BORDERS_S: Final = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 65.0, 70.0, 75.0)  # idle times of servers
OFFSETS_S: Final = (-0.1, -0.01, -0.002, 0.0, 0.1)  # a call that crosses the close is sent just before it
START_WITHIN_S, NO_ANSWER_S = 10.0, 60.0
SESSIONS: Final = 6  # connections of MCP in revision 2025-11-25; a token may have 8 of their event streams
READ, WRITE, NOTE = "/v1/status", "/v1/boards/room/memory", {"content": "Water the beds."}
_LISTENER: Final = "[listen.operator]\n"
_AGENT: Final = '[[agents]]\nname = "mcp-{}"\ndevice = "desk"\npaths = ["notes"]\ndata_types = ["tasks"]\n'
_DONE: Final = "SELECT count(*) FROM audit_log WHERE event IN ('memory.added','agent.paused','agent.resumed')"


class Line(NamedTuple):
    """A client that keeps a connection.

    Attributes:
        call: sends a GET, or a request that changes something if its argument is True.
        ports: local port of the connection of each response.
    """

    call: Callable[[bool], Awaitable[object]]
    ports: list[int]


class Target(NamedTuple):
    """Address of the hub (``http://HOST:PORT``), headers with a token, and the local address to call from."""

    url: str
    headers: dict[str, str]
    source: str


class Plan(NamedTuple):
    """Calls of one connection: seconds before each of them, and whether it changes something."""

    client: str
    number: int
    pauses_s: list[float]
    writes: list[bool]

    @property
    def pauses_kept(self) -> int:
        """Number of pauses in which the connection must stay open.

        With a session, the client of MCP closes the connection of each response, which is an event stream.
        """
        has_session = self.client == "mcp" and self.number < SESSIONS
        return 0 if has_session else len(self.pauses_s) - 1


def draw(seed: int, calls: int, span_s: float) -> list[Plan]:
    """Return plans of *calls* calls, a third for each client. The pauses of a plan take *span_s* at most."""
    longest_s, plans = min(LONGEST_S, span_s), list[Plan]()
    borders_s = [border_s for border_s in BORDERS_S if border_s <= longest_s]
    for client in CLIENTS:
        dice, left, number = Dice(f"pauses {seed}/{client}"), calls // len(CLIENTS), 0
        while left > 0:
            pauses_s = list[float]()
            while len(pauses_s) < left:
                near_s = dice.choice(borders_s) + dice.choice(OFFSETS_S)
                drawn_s = near_s if dice.says(0.5) else dice.uniform(SHORTEST_S, longest_s)
                pause_s = round(min(longest_s, max(SHORTEST_S, drawn_s)), 3)
                if pauses_s and sum(pauses_s[1:]) + pause_s > span_s:
                    break
                pauses_s.append(pause_s if pauses_s else dice.uniform(0.0, START_WITHIN_S))
            plans.append(Plan(client, number, pauses_s, [dice.says(0.5) for _ in pauses_s]))
            left, number = left - len(pauses_s), number + 1
    return plans


def _open(library: ModuleType, target: Target, ports: list[int]) -> Any:
    """Return a client of httpx, or of its successor httpx2, that adds the local port of each response."""

    async def note(answer: Any) -> None:
        ports.append(answer.extensions["network_stream"].get_extra_info("client_addr")[1])

    transport = library.AsyncHTTPTransport(
        verify=False, limits=library.Limits(keepalive_expiry=None), local_address=target.source
    )
    options = {"headers": target.headers, "timeout": NO_ANSWER_S, "event_hooks": {"response": [note]}}
    return library.AsyncClient(base_url=target.url, transport=transport, trust_env=False, **options)


@asynccontextmanager
async def by_httpx(target: Target, number: int) -> AsyncIterator[Line]:
    ports = list[int]()
    async with _open(httpx, target, ports) as client:

        async def call(writes: bool) -> None:
            answer = await (client.post(WRITE, json=NOTE) if writes else client.get(READ))
            answer.raise_for_status().json()

        yield Line(call, ports)


@asynccontextmanager
async def by_requests(target: Target, number: int) -> AsyncIterator[Line]:
    ports = list[int]()
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(target.headers)
        session.mount("http://", adapter := HTTPAdapter())
        adapter.init_poolmanager(1, 1, source_address=(target.source, 0))

        def ask(writes: bool) -> None:
            what = ("POST", target.url + WRITE) if writes else ("GET", target.url + READ)
            body = NOTE if writes else None
            with session.request(*what, json=body, timeout=NO_ANSWER_S, stream=True) as answer:
                answer.raise_for_status()
                ports.append(answer.raw.connection.sock.getsockname()[1])
                answer.json()

        yield Line(lambda writes: anyio.to_thread.run_sync(ask, writes, abandon_on_cancel=True), ports)


@asynccontextmanager
async def by_mcp(target: Target, number: int) -> AsyncIterator[Line]:
    ports, changes = list[int](), cycle(("agents_pause", "agents_resume"))
    async with _open(httpx2, target, ports) as http:
        streams = streamable_http_client(f"{target.url}/mcp", http_client=http)
        async with Client(streams, mode="legacy" if number < SESSIONS else "auto") as client:

            async def call(writes: bool) -> None:
                tool = next(changes) if writes else "agents_get"
                result = await client.call_tool(tool, {"name": f"mcp-{number}"})
                if result.is_error:
                    raise ValueError(f"{tool}: {result.content}")

            yield Line(call, ports)


Opener = Callable[[Target, int], AbstractAsyncContextManager[Line]]
CLIENTS: Final[dict[str, Opener]] = {"httpx": by_httpx, "requests": by_requests, "mcp": by_mcp}


async def keep(plan: Plan, target: Target, tally: Counter[str]) -> None:
    """Make the calls of a plan on one connection. *tally* also counts the reasons of losses."""
    await anyio.sleep(plan.pauses_s[0])
    try:
        async with CLIENTS[plan.client](target, plan.number) as line:
            for number, (pause_s, writes) in enumerate(zip(plan.pauses_s, plan.writes, strict=True)):
                await anyio.sleep(pause_s if number else 0.0)
                before, responses = {*line.ports}, len(line.ports)
                try:
                    with anyio.fail_after(NO_ANSWER_S):
                        await line.call(writes)
                except Exception as error:
                    tally[f"at call {number + 1}, after {pause_s:g} s: {_reason(error)}"] += 1
                else:
                    is_kept = number and plan.pauses_kept and before.issuperset(line.ports[responses:])
                    tally.update(answered=1, written=int(writes), kept=int(bool(is_kept)))
    except Exception as error:  # of the client itself, as while it opens
        tally[f"of the client: {_reason(error)}"] += 1


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


async def rush(target: Target, count: int) -> Counter[str]:
    """Send a request on each of *count* new connections at once, again if refused, and count the outcomes."""
    outcomes = Counter[str]()

    async def ask(number: int) -> str:
        async with _open(httpx, target, []) as client:
            for tried in ("first", "second"):
                answer = await (client.post(WRITE, json=NOTE) if number % 2 else client.get(READ))
                if answer.is_success:
                    return f"served at the {tried} try"
                wait = answer.headers.get("retry-after", "")
                if answer.status_code != 503 or not wait.isdecimal():
                    return f"{answer.status_code} without Retry-After"
                outcomes[f"refused with Retry-After at the {tried} try"] += 1
                await anyio.sleep(int(wait))
        return "not served"

    async def note(number: int) -> None:
        try:
            outcomes[await ask(number)] += 1
        except Exception as error:
            outcomes[f"lost by {type(error).__name__}"] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(note, number)
    return outcomes


async def target_of(hub: HubProcess, name: str, source: str) -> Target:
    """Return the hub's address for a client, with a token that the command line has issued."""
    words = ["token", "create", "--role", "operator", "--name", name]
    command = [sys.executable, "-m", "hub", "--state", str(hub.folder), *words]
    made = await anyio.run_process(command, cwd=ROOT)
    url = f"http://{(await hub.get('/v1/status'))['listeners']['operator']}"
    return Target(url, {"authorization": f"Bearer {made.stdout.decode().strip()}"}, source)


def drawn(plans: list[Plan], seed: int) -> str:
    """Return the line about the pauses."""
    pauses_s = [pause_s for plan in plans for pause_s in plan.pauses_s[1:]] or [0.0]
    digest = sha256(repr([plan.pauses_s for plan in plans]).encode()).hexdigest()[:16]
    total = f"{len(pauses_s):,} on {len(plans)} connections, {sum(pauses_s):,.3f} s in all"
    return f"pauses of seed {seed}: {total}, {min(pauses_s):g} to {max(pauses_s):g} s, digest {digest}"


def judged(name: str, plans: list[Plan], tally: Counter[str]) -> Verdict:
    """Return the lines about a client, and whether no call was lost and no connection closed in a pause."""
    writes = [is_write for plan in plans for is_write in plan.writes]
    pauses = sum(plan.pauses_kept for plan in plans)
    missing = len(writes) - tally["answered"]
    told = f"{len(writes)} calls, {sum(writes)} of them changes: {tally['answered']} answered, {missing} lost"
    kept = f"{tally['kept']} of {pauses} pauses left the connection open"
    reasons = "".join(f"\n  {times} x {why}" for why, times in tally.items() if " " in why)
    return f"{name} {version(name)}: {told}; {kept}{reasons}", missing == 0 and tally["kept"] == pauses


async def play(
    folder: Path, *, seed: int = 1, calls: int = 1_200, span_s: float = 330.0, at_once: int = 40
) -> Verdict:
    """Let three clients call a hub with pauses on kept connections, then many connections at once."""
    began, plans = perf_counter(), draw(seed, calls, span_s)
    of_client = {name: [plan for plan in plans if plan.client == name] for name in CLIENTS}
    tallies = {name: Counter[str]() for name in CLIENTS}
    served = SETTINGS.format(model="").replace(_LISTENER, f"{_LISTENER}assistants = true\n")
    agents = "".join(_AGENT.format(plan.number) for plan in of_client["mcp"])
    hub = HubProcess(folder, settings=served + agents, is_forked=False)
    async with closing(hub):
        await hub.start()
        await hub.token()  # creates the device of the agents
        await hub.post("/v1/boards", {"name": "room"})
        names = (*CLIENTS, "crowd")
        targets = [await target_of(hub, name, f"127.0.0.{at}") for at, name in enumerate(names, 2)]
        async with anyio.create_task_group() as tasks:
            for name, target in zip(CLIENTS, targets, strict=False):
                for plan in of_client[name]:
                    tasks.start_soon(keep, plan, target, tallies[name])
        ((done,),) = rows(folder / "hub.db", _DONE)
        outcomes = await rush(targets[-1], at_once)
        nice = os.getpriority(os.PRIO_PROCESS, hub.pid)
    verdicts = [judged(name, of_client[name], tallies[name]) for name in CLIENTS]
    planned = sum(len(plan.pauses_s) for plan in plans)
    total = sum(tallies.values(), Counter[str]())
    lines = [
        drawn(plans, seed),
        *(told for told, _ in verdicts),
        f"{total['written']} changes answered, {done} in the audit log",
        f"{at_once} connections at once: {', '.join(f'{n} {what}' for what, n in sorted(outcomes.items()))}",
        f"niceness of the hub: {nice}",
        f"{planned - total['answered']} of {planned:,} calls lost (bound: 0); {perf_counter() - began:.0f} s",
    ]
    are_served = outcomes["served at the first try"] + outcomes["served at the second try"] == at_once
    return "\n".join(lines), all(well for _, well in verdicts) and done == total["written"] and are_served


if __name__ == "__main__":
    run(play)
