"""Row 16: a device that never reads costs a bounded amount of memory, and the others do not feel it."""

from collections.abc import Callable
from typing import Any, Final

from hub.links.gate import OUTGOING_BYTES
from tests.bench.calls import HUB
from tests.bench.client import ClientConfig
from tests.bench.hub_server import HubConfig
from tests.bench.processes import paired
from tests.bench.rounds import alone, play
from tests.bench.rows import Row, at_most, gate
from tests.bench.silence import OFFERED

_OTHERS: Final = 100
_SECONDS: Final = 2.0
_WRITE_DEADLINE_S: Final = 1.0  # instead of 10, so that the cut falls into the round
_MIB: Final = 1024.0 * 1024
_SPARE_MIB: Final = 2.0


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 16; every round has a fresh hub, on uvloop."""
    told(f"{OFFERED:,} frames of 64 KiB to one device, {_OTHERS} others with a call open on each")
    answers: list[dict[str, Any]] = []

    def measure() -> float:
        config = HubConfig(devices=1 + _OTHERS, write_deadline_s=_WRITE_DEADLINE_S)
        with paired(HUB, config, ClientConfig(port=0, devices=1 + _OTHERS, silent=1)) as pair:
            order = {"do": "overwhelm", "peers": _OTHERS, "seconds": _SECONDS}
            answer = pair.ask(order)
        answers.append(answer)
        told(
            f"taken {answer['taken']:,}, refused {answer['refused']:,}, cut: {answer['was_cut']}, "
            f"p99 quiet {answer['quiet_p99'] * 1e3:.1f} ms, flooded {answer['busy_p99'] * 1e3:.1f} ms"
        )
        return float(answer["busy_p99"] / answer["quiet_p99"])

    rounds = play({"p99": measure}, told=told)
    for played, answer in zip(rounds, answers, strict=True):
        others = played["p99"].others
        played["grown"] = played["p99"]._replace(value=answer["grown_bytes"] / _MIB, others=others)
        played["cut"] = played["p99"]._replace(value=float(answer["was_cut"]), others=others)
    most = OUTGOING_BYTES / _MIB + _SPARE_MIB
    return [
        Row("16", "a silent device: RSS growth", at_most(most, "MiB"), alone(rounds, "grown"), False, "MiB"),
        Row("16", "... share of rounds in which it was cut", gate(1), alone(rounds, "cut"), False),
        Row("16", "... others' p99 / their quiet p99", at_most(2), alone(rounds, "p99")),
    ]
