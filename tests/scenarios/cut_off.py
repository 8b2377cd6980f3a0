"""Nodes of a cluster whose database is held, refused, slow or half open, in the middle of runs.

``python -m tests.scenarios.cut_off`` prints a row for each fault of the database, of one node and of all: how
many devices were at the node, after how many seconds each was at another one and its run went on there, and
the items that are lost or doubled. Words as arguments choose rows: ``held``, ``all``.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from tests.scenarios.cluster import Cluster, Gate, open_cluster
from tests.support.processes import POLL_S

LASTS_S, WITHIN_S = 60.0, 20.0
PAGES: Final = 40
DEVICES: Final = 3
LATENCY_S: Final = 2.0  # of the model, so that the runs outlast the fault's first seconds


def _half_open(gate: Gate) -> None:
    gate.shut()
    gate.cut()


def _refused(gate: Gate) -> None:
    gate.is_refusing = True
    gate.cut()


def _slow(gate: Gate) -> None:
    gate.delay_s = 5.0


FAULTS: Final[dict[str, Callable[[Gate], None]]] = {
    "held": Gate.shut,
    "refused": _refused,
    "slow": _slow,
    "half open": _half_open,
}
CASES: Final = [(fault, at) for at in ("one node", "all nodes") for fault in FAULTS]


class Row(NamedTuple):
    """Outcome of a fault for the devices.

    Attributes:
        here: devices at the node, or at all.
        moved_s: seconds until each device that left was connected to another node, in order.
        worked_s: seconds until each of them brought an item there, in order.
        sent_away: devices whose connection ended.
    """

    fault: str
    at: str
    here: int
    moved_s: list[float]
    worked_s: list[float]
    sent_away: int
    lost: int
    doubled: int

    @property
    def is_right(self) -> bool:
        """Return whether the devices worked elsewhere in time, or stayed, and each item is there once."""
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # other programs on the machine
        moves = self.here > 0 and len(self.worked_s) == self.here and max(self.worked_s) <= WITHIN_S * busy
        stays = self.sent_away == 0
        return not (self.lost or self.doubled) and (moves if self.at == "one node" else stays)

    def __str__(self) -> str:
        moved, worked = (" ".join(f"{one:.1f}" for one in times) for times in (self.moved_s, self.worked_s))
        return (
            f"{self.fault:9} {self.at:9} {self.here} devices, sent away {self.sent_away};"
            f" elsewhere after {moved or '-'} s; first item there after {worked or '-'} s;"
            f" lost {self.lost}, doubled {self.doubled}"
        )


async def meet(cluster: Cluster, fault: str, at: str, *, round: int) -> Row:
    """Let a fault last for a minute in the middle of runs, and wait until each run has ended."""
    await cluster.all_connected()
    here = cluster.devices_at()
    victims = [max(cluster.nodes, key=lambda node: here[node.id])] if at == "one node" else cluster.nodes
    for desk in cluster.desks:
        desk.write(PAGES, round=round)
    known = {desk.name: len(desk.found()) for desk in cluster.desks}
    await cluster.start_runs()
    while not all(len(desk.found()) > known[desk.name] for desk in cluster.desks):
        await anyio.sleep(POLL_S)
    nodes = ", ".join(f"'{node.id}'" for node in victims)
    boots = f"SELECT boot_id FROM nodes WHERE id IN ({nodes})"
    before = dict(cluster.sql(f"SELECT name, session_epoch FROM devices WHERE boot_id IN ({boots})"))
    began = anyio.current_time()
    for node in victims:
        FAULTS[fault](node.database_gate)
    moved: dict[str, tuple[float, int]] = {}
    worked: dict[str, float] = {}
    while (passed_s := anyio.current_time() - began) < LASTS_S:
        found = {desk.name: len(desk.found()) for desk in cluster.desks}
        for name, epoch in cluster.sql("SELECT name, session_epoch FROM devices"):
            if name in before and epoch != before[name]:
                moved.setdefault(name, (passed_s, found[name]))
        worked |= {
            name: passed_s for name, (_, items) in moved.items() if name not in worked and found[name] > items
        }
        await anyio.sleep(0.25)
    for node in victims:
        gate = node.database_gate
        gate.delay_s, gate.is_refusing = 0.0, False
        gate.open()
    await cluster.ends()
    await cluster.all_connected()
    epochs = dict(cluster.sql("SELECT name, session_epoch FROM devices"))
    left = sum(epochs[name] != epoch for name, epoch in before.items())
    times = sorted(passed_s for passed_s, _ in moved.values())
    return Row(fault, at, len(before), times, sorted(worked.values()), left, *cluster.wrong_items())


async def meet_all(folder: Path, words: Sequence[str] = ()) -> list[Row]:
    """Let each fault whose name contains one of *words* happen in turn, and print its row."""
    rows = []
    async with open_cluster(folder, devices=DEVICES, latency_s=LATENCY_S) as cluster:
        for number, case in enumerate(CASES):
            if words and not any(word in " ".join(case) for word in words):
                continue
            rows.append(await meet(cluster, *case, round=number))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    wrong = sum(not row.is_right for row in rows)
    lost, doubled = sum(row.lost for row in rows), sum(row.doubled for row in rows)
    sys.stdout.write(
        f"{len(rows)} faults: {lost} items lost, {doubled} doubled, {wrong} faults out of bounds\n"
    )
    return rows


def main(words: Sequence[str]) -> int:
    """Print the table; 0 if everything is as it must be."""
    with tempfile.TemporaryDirectory() as folder:
        rows = anyio.run(meet_all, Path(folder), words)
    return 0 if all(row.is_right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
