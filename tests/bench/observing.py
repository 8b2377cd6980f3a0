"""Row 20: what it costs to be looked at (operations 8, OBS-7).

A hub that logs at info like a busy one and whose metrics somebody asks for every second, against
one that logs nothing, times no call and is asked for nothing. 100 devices talk.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any, Final

from tests.bench.client import ClientConfig
from tests.bench.hub_server import HubConfig, Variant
from tests.bench.processes import Pair, paired
from tests.bench.rounds import Figure, Rounds, play, ratio
from tests.bench.rows import Goal, Row

_SERVER: Final = "tests.bench.hub_server"
_DEVICES: Final = 100
_SECONDS: Final = 2.0
_CPU: Final = Goal(1.03, is_most=True)
_P99: Final = Goal(1.05, is_most=True)


def run(echo: Callable[[str], None]) -> list[Row]:
    """Both hubs are up at once, one works at a time."""
    with ExitStack() as stack:
        pairs = {
            "watched": _open(stack, HubConfig(devices=_DEVICES, is_watched=True)),
            "alone": _open(stack, HubConfig(devices=_DEVICES, variant=Variant.UNTOLD)),
        }
        p99_ms: dict[str, list[float]] = {name: [] for name in pairs}

        def measure(name: str) -> float:
            answer = _ask(pairs[name])
            p99_ms[name].append(answer["p99_ms"])
            cpu_us: float = answer["cpu_us"]
            return cpu_us

        rounds = play(
            {name: partial(measure, name) for name in pairs},
            echo=echo,
        )
        for name in pairs:
            cpu_us = median(played[name].value for played in rounds)
            echo(f"{name:>8}: {cpu_us:.1f} us of CPU a call, p99 {median(p99_ms[name]):.2f} ms")
    return [
        Row("20", "CPU a call: logs and metrics / none", _CPU, ratio(rounds, "watched", "alone")),
        Row("20", "p99 of calls: the same", _P99, ratio(_of_p99(rounds, p99_ms), "watched", "alone")),
    ]


def _of_p99(rounds: Rounds, p99_ms: dict[str, list[float]]) -> Rounds:
    """The same rounds, with what else was measured in them."""
    return [
        {name: Figure(p99_ms[name][number], figure.others) for name, figure in played.items()}
        for number, played in enumerate(rounds)
    ]


def _open(stack: ExitStack, config: HubConfig) -> Pair:
    return stack.enter_context(paired(_SERVER, config, ClientConfig(port=0, devices=_DEVICES)))


def _ask(pair: Pair) -> dict[str, Any]:
    return pair.ask({"do": "calls", "peers": _DEVICES, "in_flight": 1, "seconds": _SECONDS})
