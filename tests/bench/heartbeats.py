"""Row 21: a thousand agents on two hundred devices, a heartbeat every 15 s, over real sockets.

Two hubs at the same time, each with devices of its own in this process: the hub as it is, and one
that writes with every heartbeat when it came (the baseline). Rows are counted by triggers in both
databases. Then agents change their status, ten a second, and a subscriber of the first hub's
events waits for each change.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import anyio
import httpx2
import sqlalchemy as sa
from anyio.abc import TaskGroup
from websockets.asyncio.client import ClientConnection, connect

from hub.base.clock import SystemClock, epoch_ms
from hub.base.tokens import hash_token
from storage import schema
from storage.schema import agent_states, device_tokens, users
from tests.bench.machine import Load, allow_open_files, tree_cpu_s
from tests.bench.rounds import ROUNDS, Figure, Rounds, alone, ratio
from tests.bench.rows import Row, at_least, at_most
from tests.scenarios.scene import rows
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import CROWD

_DEVICES: Final = 200
_AGENTS: Final = 5  # on each
_INTERVAL_S: Final = 15.0
_ROUND_S: Final = 30.0
_CHANGES: Final = 500
_CHANGES_PER_S: Final = 10.0
_DISK: Final = "/var/tmp"  # as row 13
_EVERY_BEAT: Final = ["--given", "hub.agents.heartbeats:SAVE_MS=0"]
_COUNTED: Final = """
    CREATE TABLE bench_rows (n INTEGER NOT NULL);
    INSERT INTO bench_rows VALUES (0);
    CREATE TRIGGER bench_states AFTER UPDATE ON agent_states BEGIN UPDATE bench_rows SET n = n + 1; END;
    CREATE TRIGGER bench_moves AFTER INSERT ON agent_state_history BEGIN UPDATE bench_rows SET n = n + 1; END
"""


class _Device:
    """A socket that beats; its agents are idle or on call."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.status = dict.fromkeys((f"a{number}-{n}" for n in range(_AGENTS)), "idle")
        self.socket: ClientConnection | None = None

    async def come(self, url: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Connect, beat once, and read until cancelled."""
        async with connect(url, compression=None, open_timeout=60) as self.socket:
            await self.socket.send(json.dumps({"type": "device_hello", "token": _token(self.number)}))
            while json.loads(await self.socket.recv())["type"] != "welcome":
                pass
            await self.beat()
            task_status.started()
            async for _ in self.socket:
                pass

    async def beat_on(self) -> None:
        """Every fifteen seconds, each device at its own moment of them."""
        await anyio.sleep(self.number / _DEVICES * _INTERVAL_S)
        while True:
            await self.beat()
            await anyio.sleep(_INTERVAL_S)

    async def beat(self) -> None:
        """One heartbeat, with all of its agents in it."""
        usage = {"cpu": 0.25, "rss_bytes": 81_264_640}
        listed = [
            {"agent_id": agent_id, "status": status, "state_detail": "READY", "resource_usage": usage}
            for agent_id, status in self.status.items()
        ]
        assert self.socket is not None
        await self.socket.send(json.dumps({"type": "heartbeat", "agents": listed}))


class _Side:
    """One hub and its devices."""

    def __init__(self, folder: Path, faults: list[str]) -> None:
        folder.mkdir()
        self.database = folder / "hub.db"
        self.hub = FaultyHub(folder, settings=CROWD, is_forked=False)
        self.hub.faults = faults
        self.devices = [_Device(number) for number in range(_DEVICES)]

    async def open(self, tasks: TaskGroup) -> None:
        """Start the hub, and let all devices come and beat."""
        await self.hub.start()  # makes the tables
        await self.hub.kill()
        _fill(self.database)
        await self.hub.start()
        url = f"{await self.hub.device_url()}/v1/device"
        for device in self.devices:
            await tasks.start(device.come, url)
        for device in self.devices:
            tasks.start_soon(device.beat_on)

    def written(self) -> int:
        """Rows of agents written so far."""
        ((found,),) = rows(self.database, "SELECT n FROM bench_rows")
        return int(found)


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 21."""
    echo(f"{_DEVICES * _AGENTS:,} agents on {_DEVICES} devices, a heartbeat in {_INTERVAL_S:g} s; two hubs")
    return anyio.run(_run, echo)


async def _run(echo: Callable[[str], None]) -> list[Row]:
    allow_open_files(2 * _DEVICES + 200)
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as name:
        sides = {
            "changes": _Side(Path(name) / "changes", []),
            "every beat": _Side(Path(name) / "every", _EVERY_BEAT),
        }
        try:
            async with anyio.create_task_group() as tasks:
                for side in sides.values():
                    await side.open(tasks)
                await anyio.sleep(_INTERVAL_S)
                rounds = [await _round(sides, echo) for _ in range(ROUNDS)]
                latencies = await _follow(sides["changes"], tasks)
                tasks.cancel_scope.cancel()
        finally:
            for side in sides.values():
                await side.hub.close()
    worst = quantiles(latencies, n=100)[-1]
    echo(f"{len(latencies)} status changes: median {quantiles(latencies, n=2)[0]:.1f} ms, p99 {worst:.1f} ms")
    for played in rounds:
        played["p99"] = Figure(worst, max(figure.others for figure in played.values()))
    return _judged(rounds)


async def _round(sides: dict[str, _Side], echo: Callable[[str], None]) -> dict[str, Figure]:
    """What each hub used of a core, in per cent, and wrote, in rows a minute."""
    load = Load()
    began = perf_counter()
    before = {name: (tree_cpu_s(side.hub.pid), side.written()) for name, side in sides.items()}
    await anyio.sleep(_ROUND_S)
    figures: dict[str, Figure] = {}
    took_s = perf_counter() - began
    others = load.others()
    for name, side in sides.items():
        used_s, written = before[name]
        share = 100 * (tree_cpu_s(side.hub.pid) - used_s) / took_s
        a_minute = (side.written() - written) * 60 / took_s
        figures[name] = Figure(share, others)
        figures[f"{name}, rows"] = Figure(a_minute, others)
        echo(f"{name:>10}: {share:.2f} % of a core, {a_minute:,.0f} rows a minute; others used {others:.0%}")
    return figures


async def _follow(side: _Side, tasks: TaskGroup) -> list[float]:
    """Milliseconds from a heartbeat that says something new to its event at a subscriber."""
    sent: dict[str, float] = {}
    took: list[float] = []
    done = anyio.Event()

    async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with _events(side) as events:
            task_status.started()
            async for data in events:
                began = sent.pop(data["fields"].get("agent_id", ""), None)
                if began is not None and data["fields"].get("axis") == "availability":
                    took.append((perf_counter() - began) * 1_000)
                    if len(took) == _CHANGES:
                        done.set()

    await tasks.start(listen)
    for device, agent_id in islice(_turns(side.devices), _CHANGES):
        device.status[agent_id] = "on_call" if device.status[agent_id] == "idle" else "idle"
        sent[agent_id] = perf_counter()
        await device.beat()
        await anyio.sleep(1 / _CHANGES_PER_S)
    with anyio.fail_after(30):
        await done.wait()
    return took


def _turns(devices: list[_Device]) -> Iterator[tuple[_Device, str]]:
    """One agent of each device after the other, then the next of each."""
    for turn in count():
        device = devices[turn % len(devices)]
        yield device, list(device.status)[turn // len(devices) % _AGENTS]


@asynccontextmanager
async def _events(side: _Side) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What a subscriber of ``agent.moved`` reads."""
    transport = httpx2.AsyncHTTPTransport(uds=str(side.database.with_name("hub.sock")))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=None) as client,
        client.stream("GET", "/v1/events?events=agent.moved") as answer,
    ):
        lines = answer.aiter_lines()

        async def echo() -> AsyncIterator[dict[str, Any]]:
            async for line in lines:
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

        yield echo()


def _judged(rounds: Rounds) -> list[Row]:
    return [
        Row(
            "21", "1,000 agents' heartbeats, of one core", at_most(5, "%"), alone(rounds, "changes"), unit="%"
        ),
        Row(
            "21",
            "... rows written a minute, nothing new",
            at_most(1, "rows"),
            alone(rounds, "changes, rows"),
            False,
            "rows",
        ),
        Row(
            "21",
            "... CPU, written with every beat / as it is",
            at_least(1.5),
            ratio(rounds, "every beat", "changes"),
        ),
        Row("21", "... a status to its event, p99", at_most(100, "ms"), alone(rounds, "p99"), unit="ms"),
    ]


def _token(number: int) -> str:
    return f"hub_dev_{number}"


def _fill(database: Path) -> None:
    """The devices, each with a token and its agents; and the triggers that count."""
    at = epoch_ms(SystemClock().now())
    numbers = range(_DEVICES)
    stamps = {"created_at": at, "updated_at": at}
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as c:
        owner = {"user_id": c.execute(sa.select(users.c.id)).scalar_one()}
        device = owner | {"created_at": at}
        agent = owner | stamps | {"executor": "device"}
        state = {"lifecycle": "active", "last_activity_at": at, "updated_at": at}
        agents = [(f"a{n}-{one}", f"desk{n}") for n in numbers for one in range(_AGENTS)]
        c.execute(
            sa.insert(schema.devices),
            [device | {"id": f"desk{n}", "name": f"desk{n}"} for n in numbers],
        )
        tokens = [
            {"id": f"t{n}", "device_id": f"desk{n}", "token_hash": hash_token(_token(n)), "created_at": at}
            for n in numbers
        ]
        c.execute(sa.insert(device_tokens), tokens)
        made = [agent | {"id": id, "name": id, "device_id": device_id} for id, device_id in agents]
        c.execute(sa.insert(schema.agents), made)
        c.execute(sa.insert(agent_states), [state | {"agent_id": id} for id, _ in agents])
        for statement in _COUNTED.split(";\n"):
            c.exec_driver_sql(statement)
    engine.dispose()
