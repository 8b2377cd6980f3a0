"""Row 24: what it costs a message of 250 B that its connection's time on the loop is measured."""

import asyncio
import gc
import json
from collections.abc import Callable
from itertools import cycle
from time import thread_time_ns
from typing import Any, Final, cast

from hub.clock import SystemClock
from hub.links.auth import Admission
from hub.links.connection import Connection
from hub.links.gate import DeadlineWheel, Gate, Intake, LinkLimits, PortLimits
from hub.links.roster import Roster, Takeovers
from hub.metrics import Metrics
from protocol.codec import JSON
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import HubSession
from tests.bench.decoding import frames
from tests.bench.rounds import play, ratio
from tests.bench.rows import Row, at_most

_REPEATS: Final = 9
_MESSAGES: Final = 5_000


class _Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.intake = Intake(0)

    def is_full(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _connection() -> Connection:
    """A connection of a device that was welcomed."""
    clock, metrics = SystemClock(), Metrics()
    gate = Gate(PortLimits(), clock=clock, metrics=metrics, prefix="")
    connection = Connection(
        cast(Any, _Wire()),
        HubSession(codec=JSON, hub_id="bench", nonce=bytes(32), now=0.0, ts_ms=0),
        connection_id=ConnectionId("c"),
        place=gate.enter("127.0.0.1"),
        roster=Roster(lambda _: None, metrics=metrics, takeovers=Takeovers(clock)),
        wheel=DeadlineWheel(clock),
        clock=clock,
        metrics=metrics,
        limits=LinkLimits(),
    )
    connection._receive(JSON.encode(DeviceHello()))
    connection.welcome(Admission(DeviceId("d"), UserId("u"), 1))
    return connection


def _timed(take: Callable[[bytes], None]) -> Callable[[], float]:
    """A measurement: nanoseconds of CPU time for one message, the least of a few tries."""

    def measure() -> float:
        best = float("inf")
        for _ in range(_REPEATS):
            messages = cycle(frames())
            gc.collect()
            began = thread_time_ns()
            for _, data in zip(range(_MESSAGES), messages, strict=False):
                take(data)
            best = min(best, (thread_time_ns() - began) / _MESSAGES)
        return best

    return measure


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 24, in this process."""
    told(f"answers of {len(frames()[0])} B to a real connection without a socket")

    async def measured() -> list[dict[str, Any]]:
        connection = _connection()
        return play(
            {
                "measured": _timed(connection._receive),
                "not measured": _timed(connection._handle_data),
                "json": _timed(json.loads),
            },
            told=told,
        )

    rounds = asyncio.run(measured())
    for name in rounds[0]:
        told(f"{name:>12}: {min(played[name].value for played in rounds):7.0f} ns a message at best")
    return [
        Row(
            "24", "measured message / the same, not", at_most(1.15), ratio(rounds, "measured", "not measured")
        )
    ]
