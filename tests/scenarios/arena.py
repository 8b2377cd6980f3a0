"""A hub that is attacked, its attacker, and two who do no harm: a device, and an operator at its machine."""

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from time import perf_counter
from typing import Final

import anyio
import httpx2
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.asyncio.client import ClientConnection, connect

from storage.devices import users
from tests.scenarios.attackers import Plan
from tests.scenarios.attacks import AGENT, Attack, Door
from tests.support.processes import ROOT, HubProcess, Running
from tests.support.programs import ending

END_S: Final = 30.0  # for what should be over by now, on a busy machine
_ASKED_EVERY_S: Final = 0.04
_LONGEST_ANSWER: Final = 64 * 1024
_CORES: Final = sorted(os.sched_getaffinity(0))
_LONGEST_TIMEOUT_S: Final = 1.0
# Of a peer that says nothing; the hub's own are longer than an attack here takes.
_TIMEOUTS: Final = (
    "hub.links.listener:DevicesPort.open_s",
    "hub.links.link_limits:LinkLimits.hello_timeout_s",
    "hub.api.http.server:OperatorServer.head_s",
    "hub.api.http.server:OperatorServer.body_s",
)

_SETTINGS: Final = """\
[listen.devices]
address = "127.0.0.1:0"
{listen}
[listen.operator]
address = "127.0.0.1:0"
assistants = true
[listen.webhooks]
address = "127.0.0.1:0"
[limits]
{limits}
"""

_AGENT: Final = """\
[[agents]]
name = "agent{number}"
device = "bad0"
paths = ["{path}"]
data_types = ["tasks"]
prompt = "Find tasks."
"""

Question = Callable[[], Awaitable[None]]


class LimitedHub(HubProcess):
    """A hub on the first core, away from its attackers, that may open so many files; 0: as usual."""

    program = "tests.support.faulty_hub"

    def __init__(self, folder: Path, *, settings: str, files: int) -> None:
        super().__init__(folder, settings=settings)
        self.unix_path = folder / "hub.sock"
        self._files = files
        self.given: Sequence[str] = ()

    async def _spawn(self, words: list[str], log: Path) -> Running:
        before = [] if len(_CORES) < 2 else ["taskset", "--cpu-list", str(_CORES[0])]
        if self._files:
            before += ["prlimit", f"--nofile={self._files}"]
        given = [word for one in self.given for word in ("--given", one)]
        with log.open("ab") as output:
            return await anyio.open_process(
                [*before, sys.executable, "-m", self.program, *given, "--", *words],
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )

    def memory_mib(self, field: str) -> float:
        """``VmRSS``, or ``VmHWM``: the most since ``forget_peak``."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    def forget_peak(self) -> None:
        """Let ``VmHWM`` count from here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    async def metric(self, name: str) -> dict[str, float]:
        """The values of a metric, by their labels as they are spelled."""
        lines = (await self.ask("GET", "/metrics")).text.splitlines()
        found = [line.rpartition(" ") for line in lines if line.startswith(name)]
        return {labels.removeprefix(name): float(value) for labels, _, value in found}

    async def counts(self) -> tuple[dict[str, float], float]:
        """How often each limit was reached, and how many devices did not read."""
        reached = await self.metric("hub_limits_reached_total")
        slow = await self.metric("hub_slow_consumers_total")
        return {labels.split('"')[1]: count for labels, count in reached.items()}, sum(slow.values())


class Attacker:
    """The process that attacks."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._plans = process.stdin
        self._told = BufferedByteReceiveStream(process.stdout)

    async def attack(self, plan: Plan) -> dict[str, int]:
        """What the sockets were answered, and how many of them."""
        with anyio.fail_after(plan.seconds + END_S):
            await self._plans.send(msgspec.json.encode(plan) + b"\n")
            line = await self._told.receive_until(b"\n", _LONGEST_ANSWER)
        return msgspec.json.decode(line, type=dict[str, int])


class Arena:
    """The hub, and what those who do no harm ask it: something small, again and again.

    Attributes:
        ports: of the doors, as ``127.0.0.1:8770``.
        device, operator: ask one question each.
    """

    def __init__(
        self,
        hub: LimitedHub,
        attacker: Attacker,
        *,
        ports: dict[Door, str],
        device: Question,
        operator: Question,
    ) -> None:
        self.hub = hub
        self.attacker = attacker
        self.ports = ports
        self.device = device
        self.operator = operator
        self._operator_token = ""

    def harmless(self, door: Door) -> list[Question]:
        """Return the questions of those whom an attack at this door could harm."""
        return [self.device, *([] if door is Door.DEVICES else [self.operator])]

    async def aimed(self, attack: Attack) -> Plan:
        """Return the plan of *attack* with its tokens, for the door that it comes in at."""
        plan = msgspec.structs.replace(attack.plan, tokens=await self.tokens(attack) or attack.plan.tokens)
        if attack.door is Door.UNIX:
            plan.unix = str(self.hub.unix_path)
        else:
            plan.port = int(self.ports[attack.door].rpartition(":")[2])
        return plan

    async def tokens(self, attack: Attack) -> list[str]:
        """Of as many devices of a user as the attacker has, or of the operator that it is."""
        hub = self.hub
        if attack.role == AGENT:
            return [(await hub.post("/v1/agents/agent0/tokens", {}))["token"]]
        if attack.role:
            wanted = {"name": f"attacker {attack.plan.subnet}", "role": attack.role}
            return [(await hub.post("/v1/operator-tokens", wanted))["token"]]
        user = users.OWNER if attack.agents else f"user{attack.plan.subnet}"
        if attack.devices and user != users.OWNER:
            await hub.post("/v1/users", {"name": user})
        return [
            (await hub.post(f"/v1/tokens?user={user}", {"device": f"bad{number}"}))["token"]
            for number in range(attack.devices)
        ]

    async def operator_token(self) -> str:
        """Return the token of a viewer, which is made once."""
        if not self._operator_token:
            wanted = {"name": "other", "role": "viewer"}
            self._operator_token = (await self.hub.post("/v1/operator-tokens", wanted))["token"]
        return self._operator_token

    async def newcomer(self, door: Door) -> Question:
        """Somebody else, from an address that did no harm, who comes in at *door* and asks."""
        hub, port = self.hub, self.ports[door]
        if door is Door.DEVICES:
            token = await hub.token("other")

            async def connect_a_device() -> None:
                async with _opened_device(port, token):
                    pass

            return connect_a_device
        if door is Door.HOOKS:

            async def post() -> None:
                async with httpx2.AsyncClient(base_url=f"http://{port}") as client:
                    assert (await client.post("/hooks/none", content=b"{}")).status_code == 401

            return post
        token = await self.operator_token()
        shown = {} if door is Door.UNIX else {"authorization": f"Bearer {token}"}
        path = str(hub.unix_path) if door is Door.UNIX else None

        async def operate() -> None:
            transport = httpx2.AsyncHTTPTransport(uds=path)
            async with httpx2.AsyncClient(transport=transport, base_url=f"http://{port}") as client:
                (await client.get("/v1/agents", headers=shown)).raise_for_status()

        return operate


@asynccontextmanager
async def arena(
    folder: Path, attack: Attack, make: type[LimitedHub] = LimitedHub, *, more: str = ""
) -> AsyncIterator[Arena]:
    """A hub with the settings of *attack*, and *more* of them."""
    timeout_s = min(_LONGEST_TIMEOUT_S, attack.plan.seconds / 2)
    settings = _SETTINGS.format(listen=attack.listen, limits=attack.limits)
    settings += "".join(_AGENT.format(number=number, path="x" * 4_000) for number in range(attack.agents))
    settings += more
    hub = make(folder, settings=settings, files=attack.files)
    hub.given = (*(f"{name}={timeout_s}" for name in _TIMEOUTS), *attack.given)
    try:
        await hub.start()
        listeners = (await hub.get("/v1/status"))["listeners"]
        ports = {
            Door.DEVICES: listeners["devices"],
            Door.OPERATORS: listeners["operator"],
            Door.HOOKS: listeners["webhooks"],
            Door.UNIX: "hub",
        }
        transport = httpx2.AsyncHTTPTransport(uds=str(hub.unix_path))
        async with (
            _started_attacker() as attacker,
            _opened_device(ports[Door.DEVICES], await hub.token("good")) as socket,
            httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=30) as client,
        ):

            async def ask_as_device() -> None:
                await socket.send(json.dumps({"type": "request", "id": "q-1", "method": "agents.list"}))
                while (answer := json.loads(await socket.recv()))["type"] != "response":
                    pass
                assert "error" not in answer, answer

            async def ask_as_operator() -> None:
                (await client.get("/v1/agents")).raise_for_status()

            await asked([ask_as_device, ask_as_operator], 0.2)
            yield Arena(hub, attacker, ports=ports, device=ask_as_device, operator=ask_as_operator)
    finally:
        await hub.close()


@asynccontextmanager
async def _started_attacker() -> AsyncIterator[Attacker]:
    words = [sys.executable, "-m", "tests.scenarios.attackers"]
    process = await anyio.open_process(words, stdin=PIPE, stdout=PIPE, stderr=None, cwd=ROOT)
    async with process:
        with ending(process):
            yield Attacker(process)


@asynccontextmanager
async def _opened_device(port: str, token: str) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{port}/v1/device", compression=None, open_timeout=30) as socket:
        await socket.send(json.dumps({"type": "device_hello", "token": token}))
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        yield socket


async def asked(
    questions: list[Question], seconds: float, took: list[list[float]] | None = None
) -> list[list[float]]:
    """Ask each question again and again; how long each answer took, in seconds."""
    took = [[] for _ in questions] if took is None else took

    async def ask(question: Question, took: list[float]) -> None:
        end = perf_counter() + seconds
        while (began := perf_counter()) < end:
            await question()
            took.append(perf_counter() - began)
            await anyio.sleep(max(0.0, _ASKED_EVERY_S - took[-1]))

    async with anyio.create_task_group() as tasks:
        for question, times in zip(questions, took, strict=True):
            tasks.start_soon(ask, question, times)
    return took
