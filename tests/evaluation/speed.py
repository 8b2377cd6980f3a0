"""Bar 12: a thousand questions at 200 ms, sixteen at once, take little more than they must."""

import tempfile
from pathlib import Path
from typing import Any, Final

import anyio

from hub.lab.planted import Lots
from tests.bench.machine import Load, tree_cpu_s
from tests.evaluation.documents import Planted, facts, long_texts
from tests.evaluation.figures import Figure, Told, at_least, at_most, only
from tests.evaluation.ours import read
from tests.evaluation.stage import played, run, titles
from tests.scenarios.folders import memory_mib
from tests.scenarios.scene import Scene
from tests.support.oracle import Stats, oracle_process
from tests.support.oracle.process import OracleProcess

_CALLS: Final = 1_000
_LATENCY_S: Final = 0.2
_IN_FLIGHT: Final = 16
_RATIO: Final = 1.3
_GROWTH_MIB: Final = 16.0
_CPU_MS: Final = 5.0  # of the hub for a question, with all it does for its file: it has other work as well
_CPU_BEFORE_MS: Final = 8.9  # before the client was handed bytes: it used to walk the schema of each question
_CHARS: Final = 60_000  # of a file: about thirteen questions
_LOOK_S: Final = 0.25


async def measure(told: Told) -> list[Figure]:
    """Without a hub around it, and through a real hub to a real device."""
    chosen = _documents()
    async with oracle_process(latency_s=_LATENCY_S) as oracle:
        load = Load()
        await read(chosen, oracle.base_url, in_flight=_IN_FLIGHT)
        told(f"others used {load.others():.0%} of the CPU meanwhile; much more than nothing: no evidence")
        alone = await oracle.stats()
    figures = [_ratio("extraction alone", alone, told)]
    files = {f"{one.name}.txt": one.text for one in chosen}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            oracle_process(latency_s=_LATENCY_S) as oracle,
            played(Path(folder), files, oracle, model=f"concurrency = {_IN_FLIGHT}\n") as play,
        ):
            used_s = tree_cpu_s(play.hub.pid)
            ended, early_mib = await _run_watched(play, oracle)
            used_s = tree_cpu_s(play.hub.pid) - used_s
            within = await oracle.stats()
            growth = memory_mib(play, "VmHWM") - early_mib
            missing = sum(len(one.titles) for one in chosen) - len(set(titles(play)))
    told(f"through a hub: {ended['outcome']}, {len(files)} files, {early_mib:.0f} MiB after the first tenth")
    cpu_ms = used_s * 1000 / within.calls
    return [
        *figures,
        _ratio("through a hub", within, told),
        at_least("through a hub: most questions at once", within.most_in_flight, _IN_FLIGHT, "d"),
        at_most("through a hub: its CPU for a question, ms", cpu_ms, _CPU_MS, ".1f"),
        only("the same before questions were handed to the client as bytes, ms", _CPU_BEFORE_MS, ".1f"),
        at_most("through a hub: memory grows after the first tenth, MiB", growth, _GROWTH_MIB, ".1f"),
        at_most("through a hub: facts missing", missing, 0, "d"),
        only("seed's way: one question after the other, s", within.calls * _LATENCY_S, ".0f"),
    ]


def _ratio(name: str, stats: Stats, told: Told) -> Figure:
    ideal_s = stats.calls * _LATENCY_S / _IN_FLIGHT
    told(f"{name}: {stats.calls} questions in {stats.seconds:.1f} s, ideally {ideal_s:.1f} s")
    return at_most(f"{name}: seconds over the ideal", stats.seconds / ideal_s, _RATIO, ".2f")


async def _run_watched(play: Scene, oracle: OracleProcess) -> tuple[dict[str, Any], float]:
    """The ended run, and the hub's memory when a tenth of it was done."""
    early: list[float] = []
    ended: dict[str, Any] = {}

    async def watch() -> None:
        while (await oracle.stats()).calls < _CALLS / 10:
            await anyio.sleep(_LOOK_S)
        early.append(memory_mib(play, "VmHWM"))

    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        ended.update(await run(play, every_s=1.0))  # to answer costs the hub CPU too
        watching.cancel_scope.cancel()
    return ended, early[0] if early else memory_mib(play, "VmHWM")


def _documents() -> list[Planted]:
    """So many that about a thousand questions are asked; two facts in each."""
    texts = list(long_texts().values())
    chosen: list[Planted] = []
    chars = 0
    while chars < _CALLS * 4_500:
        number = len(chosen)
        said = [texts[(number * 3 + at) % len(texts)] for at in range(4)]
        text = "\n\n".join(said)[:_CHARS]
        (first, one), (second, other) = facts(number * 2, 2, Lots(f"speed {number}"))
        chosen.append(Planted(f"file{number:03}", f"{one} {text} {other}", (first, second), (one, other)))
        chars += len(text)
    return chosen
