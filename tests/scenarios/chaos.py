"""Faults of a cluster, one at a time in the middle of runs, each from several seeds.

``python -m tests.scenarios.chaos --seeds 5`` kills and freezes hubs, restarts PostgreSQL and NATS, cuts a
hub off from either, fills PostgreSQL's disk, and lets the clock of a hub jump. Devices leave a hub that is
cut off from PostgreSQL. Hubs also stop and start one after another, as in an upgrade. After each fault every
item is there once, no device counts as connected that is not, every hub gives the same answers, and work goes
on within ``AGAIN_S``.
"""

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import anyio
import httpx2
from rich.console import Console

from tests.scenarios.cluster import Cluster, Node, now_s, open_cluster
from tests.support.clock import SeededChance
from tests.support.nats import why_no_nats
from tests.support.postgres import why_no_postgres
from tests.support.processes import POLL_S

HUBS, DEVICES, PAGES = 3, 6, 12
STOPPED_S, PARTED_S, DOWN_S, FULL_S = 60.0, 45.0, 5.0, 5.0
JUMPS_S = (3_600.0, -3_600.0)
AGAIN_S: Final = 20.0  # after a fault: all devices are connected, and a new run has brought an item
AGREE_S: Final = 90.0  # a lease, and what a busy machine takes
DISK: Final = "400m"  # of PostgreSQL
PRIVATE: Final = ("unshare", "--mount")  # what is mounted goes with the process

Fault = Callable[["World"], Awaitable[None]]


class World(NamedTuple):
    """A cluster in the middle of runs, and the hub to which something is to happen."""

    cluster: Cluster
    victim: Node
    chance: SeededChance
    disk: Path

    async def rest(self, longest_s: float) -> None:
        """Wait for a time that the seed draws."""
        await anyio.sleep(self.chance.uniform(0.0, longest_s))


async def kill(world: World) -> None:
    """Kill a hub, and start it again later."""
    await world.victim.hub.kill()
    await world.rest(10.0)


async def roll(world: World) -> None:
    """Stop each hub in turn, and start it again, as when all are upgraded."""
    for node in world.cluster.nodes:
        await node.hub.stop()
        await node.hub.start()


async def freeze(world: World) -> None:
    """Stop a hub for longer than its leases last."""
    os.kill(world.victim.hub.pid, signal.SIGSTOP)
    await anyio.sleep(STOPPED_S)
    os.kill(world.victim.hub.pid, signal.SIGCONT)


async def restart_postgres(world: World) -> None:
    """Kill PostgreSQL, and start it again."""
    world.cluster.postgres.kill()
    await anyio.sleep(DOWN_S)
    world.cluster.postgres.start()  # in this thread, with which the server is to end


async def part_from_postgres(world: World) -> None:
    """Let no byte pass between a hub and PostgreSQL for longer than its leases last.

    Raises:
        AssertionError: devices are not at other hubs by then.
    """
    await world.victim.database_line.change("held")
    await anyio.sleep(PARTED_S)
    there = world.cluster.devices_at()
    expected = len(world.cluster.desks), 0
    assert (there.total(), there[world.victim.id]) == expected, f"devices did not move: {there}"
    await world.victim.database_line.change("open")


async def restart_nats(world: World) -> None:
    """Stop NATS, and start it again."""
    assert world.cluster.nats is not None
    world.cluster.nats.stop()
    await world.rest(DOWN_S)
    world.cluster.nats.start()


async def part_from_nats(world: World) -> None:
    """Let no byte pass between a hub and NATS for a while."""
    assert world.victim.bus_line is not None
    await world.victim.bus_line.change("held")
    await anyio.sleep(PARTED_S)
    await world.victim.bus_line.change("open")


async def jump(world: World) -> None:
    """Let the clock of a hub jump by an hour and back."""
    world.victim.clock_file.write_text(str(JUMPS_S[int(world.chance.uniform(0, 2)) % 2]))
    await world.rest(20.0)
    world.victim.clock_file.write_text("0")


async def fill_disk(world: World) -> None:
    """Leave PostgreSQL no byte of disk for a while."""
    filler = world.disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            pass  # it is full
    await anyio.sleep(FULL_S)
    filler.unlink()


FAULTS: Final[Mapping[str, Fault]] = {
    "kill": kill,
    "roll": roll,
    "freeze": freeze,
    "postgresql": restart_postgres,
    "partition": part_from_postgres,
    "nats": restart_nats,
    "partition from nats": part_from_nats,
    "clock": jump,
    "disk": fill_disk,
}


async def play(folder: Path, disk: Path, fault: Fault, seed: int, *, devices: int) -> dict[str, Any]:
    """Let a fault happen in the middle of runs, then let everything end, and return what was seen.

    Raises:
        AssertionError: an item is lost or doubled, the hubs do not agree, or do not work again in time.
    """
    chance = SeededChance(seed)
    async with open_cluster(folder, hubs=HUBS, devices=devices, database=disk) as cluster:
        for desk in cluster.desks:
            desk.write(PAGES)
        await cluster.start_runs()
        await cluster.until("SELECT 1 FROM runs WHERE items_created > 0", "a run has brought items")
        world = World(cluster, cluster.nodes[int(chance.uniform(0, HUBS)) % HUBS], chance, disk)
        await world.rest(2.0)
        began = now_s()
        await fault(world)
        for node in cluster.nodes:
            if not node.hub.is_running:
                await node.hub.start()
        healed = now_s()
        await cluster.all_connected()
        for desk in cluster.desks:
            desk.write(PAGES, round=1)
        await cluster.start_runs()
        since = f"created_at > {healed * 1000:.0f}"
        await cluster.until(
            f"SELECT 1 FROM runs WHERE items_created > 0 AND {since}", "a new run brings items"
        )
        again_s = round(now_s() - healed, 1)
        assert again_s <= AGAIN_S, f"work goes on after {again_s} s only"
        ends = await cluster.ends()
        lost, doubled = cluster.wrong_items()
        assert (lost, doubled) == (0, 0), f"{lost} items are lost, {doubled} are doubled"
        await agree(cluster)
        over_s = round(now_s() - healed, 1)
        return {"fault_s": round(healed - began, 1), "again_s": again_s, "over_s": over_s, "ends": ends}


async def agree(cluster: Cluster) -> None:
    """Wait until every hub gives the same answers, and all devices are connected to hubs that live.

    Raises:
        AssertionError: they differ for longer than AGREE_S.
    """
    answers: list[tuple[Any, Any]] = []
    with anyio.move_on_after(AGREE_S):
        while True:
            answers = [await _answers_of(node) for node in cluster.nodes]
            is_each_there = len(answers[0][0]) == len(cluster.desks) and all(
                there for _, there in answers[0][0]
            )
            if is_each_there and all(answer == answers[0] for answer in answers):
                return
            await anyio.sleep(POLL_S)
    raise AssertionError(f"the hubs do not agree: {answers}")


async def _answers_of(node: Node) -> tuple[Any, Any]:
    """Return what a hub says of the devices and of the runs."""
    devices = (await node.hub.get("/v1/devices"))["devices"]
    runs = (await node.hub.get("/v1/runs?limit=200"))["runs"]
    return (
        sorted((device["name"], device["connected"]) for device in devices),
        sorted((row["id"], row["state"]) for row in runs),
    )


def _innermost(error: BaseException) -> BaseException:
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def small_disk(folder: Path, *, is_small: bool) -> Iterator[Path]:
    """A folder for PostgreSQL; *is_small*: it is a disk of its own, which can be filled."""
    disk = folder / "postgresql"
    disk.mkdir(mode=0o711)
    folder.chmod(0o711)  # the account of the server must get through
    if is_small:
        run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=711", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        if is_small:
            run(["umount", str(disk)], check=True)


def play_all(faults: Sequence[str], seeds: int, devices: int, console: Console) -> bool:
    """Play each fault from each seed. Return whether every law held."""
    failed, longest_s = 0, 0.0
    for fault, seed in product(faults, range(seeds)):
        seen: dict[str, Any] = {"fault": fault, "seed": seed, "held": True}
        with TemporaryDirectory() as folder, small_disk(Path(folder), is_small=fault == "disk") as disk:
            try:
                seen |= anyio.run(partial(play, Path(folder), disk, FAULTS[fault], seed, devices=devices))
                longest_s = max(longest_s, seen["again_s"])
            except* (AssertionError, OSError, httpx2.HTTPError) as broken:
                seen |= {"held": False, "why": repr(_innermost(broken))[:4_000]}
                failed += 1
        console.print_json(data=seen, indent=None)
    plays = f"{len(faults) * seeds} plays of {len(faults)} faults, {HUBS} hubs, {devices} devices"
    console.print(f"{plays}: a law was broken in {failed}; work went on within {longest_s} s")
    return not failed


def main(arguments: Sequence[str]) -> int:
    """Play the faults; 0 if every law held."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--fault", choices=FAULTS, action="append", help="by default all")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--devices", type=int, default=DEVICES)
    options.add_argument("--private", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    faults = chosen.fault or list(FAULTS)
    console = Console(highlight=False, soft_wrap=True)
    if (problem := why_no_postgres()) is not None:
        console.print(problem)
        return 69
    if (problem := why_no_nats()) is not None:
        console.print(f"the faults of NATS are left out: {problem}")
        faults = [fault for fault in faults if "nats" not in fault]
    if "disk" in faults and not chosen.private:
        if os.geteuid() == 0:
            again = [*PRIVATE, sys.executable, "-m", "tests.scenarios.chaos", "--private", *arguments]
            return run(again).returncode
        console.print("the fault 'disk' is left out: only root may mount a small disk")
        faults = [fault for fault in faults if fault != "disk"]
    return 0 if play_all(faults, chosen.seeds, chosen.devices, console) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
