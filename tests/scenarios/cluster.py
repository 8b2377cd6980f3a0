"""Several hubs on one PostgreSQL and one NATS, and devices with the addresses of all of them.

``python -m tests.scenarios.cluster`` (``make cluster-demo``) connects 20 devices to three hubs, kills a hub
in the middle of runs, and prints what became of the items, of the devices and of each run. It fails when an
item is lost or doubled, or when a run went on later than it may.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncpg
from rich.console import Console

from hub.base.clock import SystemClock, now_ms
from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import rows
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.lines import Line, open_line
from tests.support.nats import Nats, running_nats, why_no_nats
from tests.support.oracle import Oracle, plant
from tests.support.postgres import Postgres, running_postgres, why_no_postgres
from tests.support.processes import POLL_S, HubProcess, model_at
from tests.support.programs import free_port

AFTER_HELLO_S, AFTER_KILL_S = (
    5.0,
    10.0,
)  # at most, until a run goes on, for each process that waits for a core
END_S = 240.0  # until everything is over, on a busy machine
CLOCK = "clock"  # name of the file with the seconds by which a hub's clock is ahead
_LATENCY_S = 0.2  # of the model

_SETTINGS = """\
[storage]
url = "postgresql://hub@127.0.0.1:{database}/{name}"
[listen.devices]
address = "127.0.0.1:{port}"
[listen.operator]
address = "127.0.0.1:0"
[limits]  # all devices come from one address, and are one person's
connections_per_network = 100
connections_per_user = 100
new_connections_per_s = 500.0
"""
_BUS = """\
[cluster]
bus = "nats://127.0.0.1:{port}"
node = "{node}"
address = "ws://127.0.0.1:{own}"
"""
_AGENT = """\
[[agents]]
name = "{name}"
device = "{name}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""


@dataclass(frozen=True)
class Node:
    """Hub of a cluster, with the lines between it and the servers of the database and of the bus."""

    state: Path
    hub: HubProcess
    database_line: Line
    bus_line: Line | None
    port: int

    @property
    def name(self) -> str:
        """Name for people."""
        return self.state.name

    @property
    def clock_file(self) -> Path:
        """File with the seconds by which this hub's clock is ahead."""
        return self.state / CLOCK

    @property
    def id(self) -> str:
        """Identity in the database."""
        return (self.state / "node_id").read_text().split()[0]


class Desk:
    """A device of a person: its files hold what is to be found, its database what was."""

    def __init__(self, name: str, running: RunningDevice) -> None:
        self.name = name
        self._running = running
        self.planted: list[str] = []

    def write(self, pages: int, *, round: int = 0) -> None:
        """Write files with one task each that only a model can find."""
        for page in range(pages):
            title = f"send {self.name} offer {round}-{page:03}"
            sentence = plant("Anna", title, "2026-12-01", f"K-{round}{page:03}")
            self._running.write(
                f"letter{round}-{page:03}.md", f"We met on Monday. {sentence} Then we went home.\n"
            )
            self.planted.append(title)

    def found(self) -> list[str]:
        """Return the titles of its tasks: one for each row."""
        return [title for (title,) in rows(self._running.db, TITLES)]


class Cluster:
    """The hubs, the devices, and the database and the bus between them."""

    def __init__(
        self, nodes: Sequence[Node], desks: Sequence[Desk], postgres: Postgres, nats: Nats | None, url: str
    ) -> None:
        self.nodes = nodes
        self.desks = desks
        self.postgres = postgres
        self.nats = nats
        self._url = url

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Return rows of the shared database."""
        return [tuple(row.values()) for row in self.postgres.sql(query, url=self._url)]

    def devices_at(self) -> Counter[str]:
        """Return the number of devices at each hub that lives, by the hub's identity."""
        boots = dict(self.sql("SELECT boot_id, id FROM nodes"))
        here = self.sql("SELECT boot_id FROM devices WHERE boot_id IS NOT NULL")
        return Counter(boots.get(boot, "a dead hub") for (boot,) in here)

    async def all_connected(self) -> None:
        """Wait until a hub that lives says that each device is connected.

        Raises:
            AssertionError: that never came true.
        """
        devices: list[dict[str, Any]] = []
        with anyio.move_on_after(END_S):
            while len(devices) < len(self.desks) or not all(device["connected"] for device in devices):
                await anyio.sleep(POLL_S)
                node = next(node for node in self.nodes if node.hub.is_running)
                devices = (await node.hub.get("/v1/devices"))["devices"]
            return
        raise AssertionError(f"not all devices are connected: {devices}")

    async def until(self, query: str, what: str, *, within_s: float = END_S) -> None:
        """Wait until *query* finds something. One connection asks: each new one costs the server a process.

        Raises:
            AssertionError: *what* never came true.
        """
        connection = await asyncpg.connect(self._url)
        try:
            with anyio.move_on_after(within_s):
                while not await connection.fetch(query):
                    await anyio.sleep(POLL_S)
                return
        finally:
            await connection.close()
        logs = "\n".join(f"{node.name}: {node.hub.log()[-3000:]}" for node in self.nodes)
        raise AssertionError(f"never came true: {what}\n{logs}")

    async def start_runs(self, *nodes: Node) -> None:
        """Start a run of each device's agent, at these hubs in turn, by default at all."""
        at = nodes or self.nodes
        async with anyio.create_task_group() as tasks:
            for place, desk in enumerate(self.desks):
                tasks.start_soon(at[place % len(at)].hub.start_run, desk.name)

    async def all_ended(self) -> None:
        """Wait until each run has ended well."""
        ends = await self.ends()
        assert list(ends) == ["COMPLETED success"], ends

    async def ends(self) -> dict[str, int]:
        """Wait until each run has ended; return the numbers of runs by state and outcome."""
        final = "state IN ('COMPLETED', 'FAILED', 'CANCELLED')"
        await self.until(f"SELECT 1 FROM runs HAVING bool_and({final})", "each run has ended")
        ends = self.sql("SELECT state, outcome, count(*) FROM runs GROUP BY state, outcome ORDER BY 1, 2")
        return {f"{state} {outcome}": count for state, outcome, count in ends}

    def wrong_items(self) -> tuple[int, int]:
        """Return the numbers of items that are lost, and that are there too often."""
        planted = Counter((desk.name, title) for desk in self.desks for title in desk.planted)
        found = Counter((desk.name, title) for desk in self.desks for title in desk.found())
        return (planted - found).total(), (found - planted).total()


def _make_hub(state: Path, settings: str) -> HubProcess:
    hub = FaultyHub(state, settings=settings)
    hub.faults = ("--clock-file", str(state / CLOCK))
    return hub


@asynccontextmanager
async def open_cluster(
    folder: Path,
    *,
    hubs: int = 3,
    devices: int = 20,
    database: Path | None = None,
    make_hub: Callable[[Path, str], HubProcess] = _make_hub,
    begin_with: int | None = None,
    has_bus: bool = why_no_nats() is None,
    uses_lines: bool = True,
) -> AsyncIterator[Cluster]:
    """Start PostgreSQL, NATS, the hubs and the devices; each device is connected. All is gone afterwards.

    Args:
        database: folder for PostgreSQL's files; by default one in memory.
        make_hub: returns the hub with this state folder and these settings.
        begin_with: number of hubs to start; by default all. The first one makes the tables.
        has_bus: False for hubs that only the database connects.
        uses_lines: False for hubs that reach the servers directly: a line costs this process time.
    """
    async with AsyncExitStack() as opened:
        postgres = opened.enter_context(running_postgres(database))
        url = opened.enter_context(postgres.bare_database())
        nats = opened.enter_context(running_nats()) if has_bus else None
        tasks = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(tasks.cancel_scope.cancel)
        model = model_at(await tasks.start(Oracle(latency_s=_LATENCY_S).serve))
        names = [f"desk-{number:02}" for number in range(devices)]
        nodes = []
        for number in range(hubs):
            line = await opened.enter_async_context(open_line(postgres.port))
            state = folder / f"hub-{number}"
            state.mkdir()
            port = free_port()
            to = line.port if uses_lines else postgres.port
            settings = _SETTINGS.format(database=to, name=url.rpartition("/")[2], port=port)
            bus_line = None
            if nats is not None:
                bus_line = await opened.enter_async_context(open_line(nats.port))
                bus_port = bus_line.port if uses_lines else nats.port
                settings += _BUS.format(port=bus_port, node=state.name, own=port)
            settings += model + "".join(_AGENT.format(name=name) for name in names)
            hub = make_hub(state, settings)
            opened.push_async_callback(hub.close)
            if begin_with is None or number < begin_with:
                await hub.start()
            nodes.append(Node(state, hub, line, bus_line, port))
        addresses = [f"ws://127.0.0.1:{node.port}" for node in nodes]
        desks = []
        for number, name in enumerate(names):
            state = folder / name
            state.mkdir()
            first = number % hubs
            url_of_device, *more = addresses[first:] + addresses[:first]
            token = await nodes[0].hub.token(name)
            device = await opened.enter_async_context(open_device(url_of_device, state, token, more=more))
            desks.append(Desk(name, device))
        cluster = Cluster(nodes, desks, postgres, nats, url)
        await cluster.all_connected()
        yield cluster


def now_s() -> float:
    """Return the wall time in epoch seconds."""
    return now_ms(SystemClock()) / 1000


@dataclass
class Fate:
    """Course of a run of the killed hub, in seconds since the kill. None: not yet."""

    run_id: str
    device_id: str
    device: str
    hello_s: float | None = None
    claimed_s: float | None = None
    went_on_s: float | None = None


async def watch(cluster: Cluster, fates: Sequence[Fate], dead_boot: str, killed_at: float) -> None:
    """Note when the devices of these runs were connected elsewhere, and when the runs went on."""
    with anyio.fail_after(END_S):
        while any(fate.went_on_s is None for fate in fates):
            boots = dict(cluster.sql("SELECT id, boot_id FROM devices"))
            moved = {
                (run_id, state): at / 1000 - killed_at
                for run_id, state, at in cluster.sql(
                    "SELECT run_id, new_state, min(at) FROM run_state_history"
                    f" WHERE at > {killed_at * 1000:.0f} GROUP BY run_id, new_state"
                )
            }
            for fate in fates:
                if fate.hello_s is None and boots[fate.device_id] not in (None, dead_boot):
                    fate.hello_s = moved.get((fate.run_id, "QUEUED"), now_s() - killed_at)
                fate.claimed_s = moved.get((fate.run_id, "PREPARING"))
                fate.went_on_s = moved.get((fate.run_id, "RUNNING"))
            await anyio.sleep(POLL_S)


async def demo(folder: Path, *, hubs: int, devices: int, pages: int) -> bool:
    """Kill a hub in the middle of runs, and print what became of everything.

    Returns whether it is as it must be.
    """
    console = Console(highlight=False)
    async with open_cluster(folder, hubs=hubs, devices=devices) as cluster:
        servers = "PostgreSQL" if cluster.nats is None else "PostgreSQL, NATS"
        console.print(f"{servers} and {hubs} hubs run; {devices} devices are connected")
        for desk in cluster.desks:
            desk.write(pages)
        before = cluster.devices_at()
        await cluster.start_runs()
        victim = cluster.nodes[0]
        ((boot,),) = cluster.sql(f"SELECT boot_id FROM nodes WHERE id = '{victim.id}'")
        of_victim = f"runs.state = 'RUNNING' AND runs.lease_boot_id = '{boot}'"
        await cluster.until(
            f"SELECT 1 FROM runs WHERE {of_victim} AND items_created > 0", "a run has brought items"
        )
        found = "SELECT runs.id, devices.id, devices.name FROM runs JOIN devices ON devices.id = device_id"
        fates = [Fate(*row) for row in cluster.sql(f"{found} WHERE {of_victim} ORDER BY devices.name")]
        killed_at = now_s()
        await victim.hub.kill()
        console.print(f"{victim.name} is killed in the middle of {len(fates)} runs")
        await watch(cluster, fates, boot, killed_at)
        await cluster.all_connected()
        after = cluster.devices_at()
        await cluster.all_ended()
        ended_s = now_s() - killed_at
        lost, doubled = cluster.wrong_items()
        for node in cluster.nodes:
            console.print(f"{node.name}: {before[node.id]} devices, {after[node.id]} after the kill")
        for fate in fates:
            console.print(
                f"run of {fate.device}: its device was elsewhere after {fate.hello_s or 0.0:.1f} s,"
                f" claimed after {fate.claimed_s or 0.0:.1f} s, and it went on after {fate.went_on_s:.1f} s"
            )
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # other programs on the machine
        console.print(f"at most {AFTER_KILL_S * busy:.1f} s, {AFTER_HELLO_S * busy:.1f} s after the hello")
        planted = sum(len(desk.planted) for desk in cluster.desks)
        slowest_s = max(fate.went_on_s or END_S for fate in fates)
        after_hello_s = max((fate.went_on_s or END_S) - (fate.hello_s or 0.0) for fate in fates)
        console.print(
            f"{planted - lost} of {planted} items are there, {lost} lost, {doubled} doubled; all runs went on"
            f" {slowest_s:.1f} s and had ended {ended_s:.1f} s after the kill",
            soft_wrap=True,
        )
        is_in_time = slowest_s <= AFTER_KILL_S * busy and after_hello_s <= AFTER_HELLO_S * busy
        return not (lost or doubled) and is_in_time


def main(arguments: Sequence[str]) -> int:
    """Run the demo; 0 if everything is as it must be."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--hubs", type=int, default=3)
    options.add_argument("--devices", type=int, default=20)
    options.add_argument("--pages", type=int, default=20, help="files of each device")
    chosen = options.parse_args(arguments)
    if (problem := why_no_postgres()) is not None:
        sys.stderr.write(f"{problem}\n")
        return 69
    with tempfile.TemporaryDirectory() as folder:
        is_right = anyio.run(
            lambda: demo(Path(folder), hubs=chosen.hubs, devices=chosen.devices, pages=chosen.pages)
        )
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
