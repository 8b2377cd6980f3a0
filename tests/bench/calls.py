"""Rows 1, 2, 3, 5 and 6: round trips of ``tool_call`` and ``tool_result`` in a second of CPU time."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Final

from tests.bench import native_client
from tests.bench.client import ClientConfig
from tests.bench.fastapi_server import FastApiConfig
from tests.bench.hub_server import HubConfig, Variant
from tests.bench.processes import Pair, paired
from tests.bench.raw_server import RawConfig
from tests.bench.rounds import play, ratio, spread_of
from tests.bench.rows import Goal, Row, at_least, gate

ROWS: Final = frozenset({1, 2, 3, 5, 6})
_SECONDS: Final = 0.2  # short, so that all servers meet the same noise
_ROUNDS: Final = 20
_MANY: Final = 1_000
_FEW: Final = 100
_WARN_SHARE: Final = 0.9

HUB: Final = "tests.bench.hub_server"
FASTAPI: Final = "tests.bench.fastapi_server"
RAW: Final = "tests.bench.raw_server"


class _Phase:
    """A server, so many of its devices, and so many calls open on each."""

    def __init__(self, rows: Collection[int], server: str, peers: int, in_flight: int) -> None:
        self.rows = frozenset(rows)
        self.server = server
        self.peers = peers
        self.in_flight = in_flight

    @property
    def name(self) -> str:
        return f"{self.server} {self.peers}x{self.in_flight}"


_PHASES: Final = [
    _Phase({1, 3, 6}, "hub", _FEW, 1),
    _Phase({2, 3}, "hub", _MANY, 1),
    _Phase({5}, "hub", 1, _FEW),
    _Phase({1}, "fastapi", _FEW, 1),
    _Phase({2}, "fastapi", _MANY, 1),
    _Phase({5}, "fastapi", 1, _FEW),
    _Phase({3}, "raw", _FEW, 1),
    _Phase({3}, "raw", _MANY, 1),
    _Phase({5}, "raw", 1, _FEW),
    _Phase({5}, "plain", 1, _FEW),
    _Phase({6}, "timeless", _FEW, 1),
]

_RATIOS: Final[list[tuple[int, str, Goal, str, str, str]]] = [
    (1, "calls, 100 links: hub / FastAPI hub", at_least(2.5, hard=1.2), "100x1", "hub", "fastapi"),
    (2, "calls, 1,000 links: hub / FastAPI hub", at_least(1.6, hard=1.3), "1000x1", "hub", "fastapi"),
    (3, "calls, 100 links: hub / raw TCP", at_least(0.65), "100x1", "hub", "raw"),
    (3, "calls, 1,000 links: hub / raw TCP", at_least(0.5), "1000x1", "hub", "raw"),
    (5, "100 calls on a link: hub / plain send", gate(1.6), "1x100", "hub", "plain"),
    (5, "... / FastAPI hub", at_least(3.5), "1x100", "hub", "fastapi"),
    (5, "... / raw TCP", at_least(0.8), "1x100", "hub", "raw"),
    (6, "100 links: with / without deadlines", gate(0.9), "100x1", "hub", "timeless"),
]
_VARIANTS: Final = {
    "hub": Variant.WHOLE,
    "plain": Variant.LIBRARY_SENDS,
    "timeless": Variant.NO_DEADLINES,
}


def _open_pair(stack: ExitStack, server: str, devices: int) -> Pair:
    client = ClientConfig(port=0, devices=devices, is_prefixed=server == "raw")
    match server:
        case "fastapi":
            return stack.enter_context(paired(FASTAPI, FastApiConfig(devices=devices), client))
        case "raw":
            return stack.enter_context(paired(RAW, RawConfig(devices=devices), client))
        case _:
            hub = HubConfig(devices=devices, variant=_VARIANTS[server])
            return stack.enter_context(paired(HUB, hub, client))


def run(echo: Callable[[str], None], wanted: Collection[int]) -> list[Row]:
    """Play the rounds of those *wanted*. All servers are up at once, one works at a time."""
    phases = [phase for phase in _PHASES if phase.rows & set(wanted)]
    needed: dict[str, int] = {}
    for phase in phases:
        needed[phase.server] = max(needed.get(phase.server, 0), phase.peers)
    with ExitStack() as stack:
        pairs = {server: _open_pair(stack, server, devices) for server, devices in needed.items()}
        for server, pair in pairs.items():
            echo(f"{server}: {needed[server]} devices connected, server on {pair.loop}")

        rates: dict[str, list[float]] = {phase.name: [] for phase in phases}

        def measure(phase: _Phase) -> float:
            order = {"do": "calls", "peers": phase.peers, "in_flight": phase.in_flight, "seconds": _SECONDS}
            answer = pairs[phase.server].ask(order)
            rates[phase.name].append(answer["rate"])
            return 1e6 / float(answer["cpu_us"])

        rounds = play(
            {phase.name: partial(measure, phase) for phase in phases},
            echo=echo,
            rounds=_ROUNDS,
            extra=0,
        )
        for phase in phases:
            spread = spread_of([1e6 / played[phase.name].value for played in rounds])
            echo(
                f"{phase.name:>15}: {spread.least:5.1f} / {spread.middle:5.1f} / {spread.most:5.1f} us of CPU"
                f" a call, {median(rates[phase.name]):7.0f} calls/s"
            )
        shares = ", ".join(f"{server} {pair.client_share:.0%}" for server, pair in pairs.items())
        language = "C" if native_client.binary() else "Python"
        echo(f"clients in {language}; they used at most this of their core: {shares}")
        for server, pair in pairs.items():
            if pair.client_share > _WARN_SHARE:
                echo(f"WARNING: the client of {server} was near its limit: it may be faster than shown")
    return [
        Row(str(number), what, goal, ratio(rounds, f"{above} {shape}", f"{below} {shape}"), is_timed=False)
        for number, what, goal, shape, above, below in _RATIOS
        if number in wanted
    ]
