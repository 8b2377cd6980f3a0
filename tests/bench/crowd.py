"""Row 19: ten thousand devices that are only there, and a hundred that talk.

Their calls against those of a hundred alone, on two hubs of which one works at a time; what a
connection keeps in memory; and whether anybody was lost. Two client processes: one holds those
who are only there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any, Final

from tests.bench.client import ClientConfig
from tests.bench.hub_server import HubConfig
from tests.bench.processes import Pair, client_process, paired, python_process
from tests.bench.rounds import alone, play, ratio
from tests.bench.rows import Goal, Row, at_most, gate

_HUB: Final = "tests.bench.hub_server"
_IDLE: Final = 10_000
_TALKING: Final = 100
_SECONDS: Final = 4.0
_COME_S: Final = 240.0  # for all of them; a machine without anything else to do takes ten seconds
_TOUCH_S: Final = 120.0
_KIB: Final = 1024.0
_ONE_CALL_EACH: Final = {"do": "touch"}
_P99: Final = Goal(3, is_most=True)


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 19, on uvloop."""
    told(f"{_IDLE:,} devices come")
    with ExitStack() as stack:
        few = stack.enter_context(
            paired(_HUB, HubConfig(devices=_TALKING), ClientConfig(port=0, devices=_TALKING))
        )
        many = stack.enter_context(_crowd())
        many.server.ask(_ONE_CALL_EACH, within_s=_TOUCH_S)
        kept = float(many.ask({"do": "memory"})["bytes"]) / _KIB
        p99_ms: dict[str, list[float]] = {"few": [], "many": []}

        def measure(name: str, pair: Pair) -> float:
            answer = pair.ask({"do": "calls", "peers": _TALKING, "in_flight": 1, "seconds": _SECONDS})
            p99_ms[name].append(answer["p99_ms"])
            return p99_ms[name][-1]

        measurements = {"few": partial(measure, "few", few), "many": partial(measure, "many", many)}
        rounds = play(measurements, [*few.pids, *many.pids], told=told)
        for name, spelled in (("few", f"{_TALKING} alone"), ("many", f"with {_IDLE:,} idle")):
            told(f"{spelled}: p99 of a call {median(p99_ms[name]):.2f} ms")
        many.server.ask(_ONE_CALL_EACH, within_s=_TOUCH_S)  # nobody may be missing
        there = float(many.ask({"do": "there"})["share"])
    for played in rounds:
        others = played["many"].others
        played["kept"] = played["many"]._replace(value=kept, others=others)
        played["there"] = played["many"]._replace(value=there, others=others)
    return [
        Row(
            "19",
            "RSS a connection, 10,000 of them idle",
            at_most(20, "KiB"),
            alone(rounds, "kept"),
            False,
            "KiB",
        ),
        Row("19", "... share that is there at the end", gate(1), alone(rounds, "there"), False),
        Row("19", "... p99 of 100 others / of 100 alone", _P99, ratio(rounds, "many", "few")),
    ]


@contextmanager
def _crowd() -> Iterator[Pair]:
    """A hub with those who talk first, then those who do not."""
    with ExitStack() as stack:
        server = stack.enter_context(python_process(_HUB, HubConfig(devices=_TALKING + _IDLE)))
        opened: dict[str, Any] = server.hear()
        clients = []
        for first, devices in ((0, _TALKING), (_TALKING, _IDLE)):
            config = ClientConfig(port=opened["port"], devices=devices, first=first)
            client = stack.enter_context(client_process(config))
            client.hear(_COME_S)
            clients.append(client)
        yield Pair(server, clients[0], opened["loop"], also=[clients[1].pid])
