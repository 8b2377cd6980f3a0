"""Row 32: items of two nodes on one PostgreSQL against those of one, each limited to the same number of runs.

The model answers after 200 ms, and a run asks one question at a time, so a node waits for most of the time:
the second one must double the items per second, and must not cost more CPU time for each of them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import anyio

from tests.bench.machine import tree_cpu_s
from tests.bench.rounds import Rounds, alone, play, ratio
from tests.bench.rows import Row, at_least, at_most
from tests.scenarios.cluster import Cluster, open_cluster
from tests.support.faulty_hub import FaultyHub
from tests.support.postgres import why_no_postgres
from tests.support.processes import HubProcess

_DEVICES: Final = 6
_PAGES: Final = 20  # of each device, with one item that only the model finds
_RUNS: Final = 1  # of a node at once: with more, two nodes would take more than a core
_ROUNDS: Final = 3


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 32."""
    if (problem := why_no_postgres()) is not None:
        echo(f"left out: {problem}")
        return []
    echo(f"{_DEVICES * _PAGES} items of {_DEVICES} devices, at one node and at two; runs at once: {_RUNS}")
    cpu_ms: dict[int, float] = {}

    def items_per_s(nodes: int) -> float:
        found, cpu_ms[nodes] = anyio.run(_measure, nodes)
        echo(f"{nodes} of them: {found:.1f} items/s, {cpu_ms[nodes]:.1f} ms CPU an item")
        return found

    rounds: Rounds = []
    for _ in range(_ROUNDS):
        (played,) = play({str(n): partial(items_per_s, n) for n in (1, 2)}, echo=echo, rounds=1, extra=0)
        for nodes, spent in cpu_ms.items():
            played[f"{nodes}, CPU"] = played[str(nodes)]._replace(value=spent)
        rounds.append(played)
    cpu = ratio(rounds, "2, CPU", "1, CPU")
    return [
        Row("32", "items/s, 2 nodes of 1, each with a limit", at_least(1.9), ratio(rounds, "2", "1")),
        Row("32", "... CPU an item, hubs and PostgreSQL", at_most(1.15), cpu, False),
        Row("32", "... items/s of one", None, alone(rounds, "1"), unit="/s"),
        Row("32", "... CPU an item of one", None, alone(rounds, "1, CPU"), False, "ms"),
    ]


def _make_hub(state: Path, settings: str) -> HubProcess:
    settings = settings.replace("[limits]", f"[limits]\nruns = {_RUNS}\n")
    hub = FaultyHub(state, settings=settings, is_forked=False)  # a fork would count as others
    hub.faults = ("--given", "hub.runs.runner:Runner.units_in_flight=1")
    return hub


async def _measure(nodes: int) -> tuple[float, float]:
    """Return the items per second, and the milliseconds of CPU for each, of so many nodes."""
    with TemporaryDirectory(prefix="hub-bench-") as name:
        opening = open_cluster(Path(name), hubs=nodes, devices=_DEVICES, make_hub=_make_hub, uses_lines=False)
        async with opening as cluster:
            # What a process pays once, as for loading the client of models, is no cost of an item.
            for desk in cluster.desks:
                desk.write(1)
            await cluster.start_runs()
            await cluster.all_ended()
            for desk in cluster.desks:
                desk.write(_PAGES, round=1)
            began, before_s = perf_counter(), _cpu_s(cluster)
            await cluster.start_runs()
            await cluster.all_ended()
            took_s, spent_s = perf_counter() - began, _cpu_s(cluster) - before_s
            assert cluster.wrong_items() == (0, 0)
    items = _DEVICES * _PAGES
    return items / took_s, 1000 * spent_s / items


def _cpu_s(cluster: Cluster) -> float:
    """Return the CPU time of the hubs and of PostgreSQL, so far."""
    hubs = sum(tree_cpu_s(node.hub.pid) for node in cluster.nodes)
    return hubs + cluster.postgres.cpu_seconds()
