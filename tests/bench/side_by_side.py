"""Row 25: the hub beside FastAPI and bare WebSocket libraries, in one run: CPU time of a call.

A server whose library cannot be installed is left out, by name.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from tests.bench.calls import open_pair
from tests.bench.payloads import LARGE, LARGE_RESULT, RESULT, SMALL
from tests.bench.rounds import play, ratio, spread_of
from tests.bench.rows import Row
from tests.support.programs import CannotInstall

_SERVERS: Final = ("hub", "raw", "fastapi", "websockets", "aiohttp", "node ws")
_SECONDS: Final = 0.15  # short, so that all servers meet the same noise
_ROUNDS: Final = 15


class _Shape(NamedTuple):
    peers: int
    in_flight: int
    agent_id: str

    @property
    def name(self) -> str:
        size = f"{len(LARGE_RESULT) / 1024:.0f} KiB" if self.agent_id == LARGE else f"{len(RESULT)} B"
        return f"{self.peers}x{self.in_flight} {size}"


_SHAPES: Final = (
    _Shape(100, 1, SMALL),
    _Shape(1_000, 1, SMALL),
    _Shape(1, 100, SMALL),
    _Shape(100, 1, LARGE),
    _Shape(1, 100, LARGE),
)


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 25."""
    with ExitStack() as stack:
        pairs = {}
        for server in _SERVERS:
            try:
                pairs[server] = open_pair(stack, server, max(shape.peers for shape in _SHAPES))
            except CannotInstall as missing:
                told(f"{server}: left out: {missing}")
        go = (
            "is not measured: no server is written in it" if shutil.which("go") else "left out: no go in PATH"
        )
        told(f"gorilla (Go): {go}")

        def measure(server: str, shape: _Shape) -> float:
            order = shape._asdict() | {"do": "calls", "seconds": _SECONDS}
            return 1e6 / float(pairs[server].ask(order)["cpu_us"])

        rounds = play(
            {
                f"{server} {shape.name}": partial(measure, server, shape)
                for server in pairs
                for shape in _SHAPES
            },
            [pid for pair in pairs.values() for pid in pair.pids],
            told=told,
            rounds=_ROUNDS,
            extra=0,
        )
    for shape in _SHAPES:
        told(f"{shape.name}: us of CPU a call, min / med / max")
        for server in pairs:
            name = f"{server} {shape.name}"
            spread = spread_of([1e6 / played[name].value for played in rounds])
            told(f"{server:>12}: {spread.least:6.1f} / {spread.middle:6.1f} / {spread.most:6.1f}")
    return [
        Row(
            "25",
            f"{shape.name}: hub / {server}",
            None,
            ratio(rounds, f"hub {shape.name}", f"{server} {shape.name}"),
            is_timed=False,
        )
        for shape in _SHAPES
        for server in pairs
        if server != "hub"
    ]
