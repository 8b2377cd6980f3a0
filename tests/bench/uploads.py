"""Row 10: ``agent_data`` of devices that upload without pause."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Final

from tests.bench.calls import FASTAPI, HUB, RAW
from tests.bench.client import ClientConfig
from tests.bench.fastapi_server import FastApiConfig
from tests.bench.hub_server import HubConfig
from tests.bench.payloads import FILE_SETS
from tests.bench.processes import Pair, paired
from tests.bench.raw_server import RawConfig
from tests.bench.rounds import play, ratio, spread_of
from tests.bench.rows import Row, at_least

_DEVICES: Final = 4
_SECONDS: Final = 0.2  # short, so that all servers meet the same noise
_ROUNDS: Final = 20


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 10. The hub's devices obey credit; the baselines have none."""
    with ExitStack() as stack:

        def open_pair(module: str, config: FastApiConfig | HubConfig | RawConfig) -> Pair:
            client = ClientConfig(
                port=0, devices=_DEVICES, has_uploads=True, is_prefixed=isinstance(config, RawConfig)
            )
            return stack.enter_context(paired(module, config, client, steady_malloc=True))

        pairs = {
            "hub": open_pair(HUB, HubConfig(devices=_DEVICES)),
            "fastapi": open_pair(FASTAPI, FastApiConfig(devices=_DEVICES)),
            "raw": open_pair(RAW, RawConfig(devices=_DEVICES)),
        }

        rates: dict[str, list[float]] = {}

        def measure(server: str, file_set: str) -> float:
            order = {"do": "files", "peers": _DEVICES, "file_set": file_set, "seconds": _SECONDS}
            answer = pairs[server].ask(order)
            rates.setdefault(f"{server} {file_set}", []).append(answer["rate"])
            return FILE_SETS[file_set].size_bytes / float(answer["cpu_us"])

        measurements = {
            f"{server} {file_set}": partial(measure, server, file_set)
            for server in pairs
            for file_set in FILE_SETS
        }
        echo(f"{_DEVICES} devices, all servers on uvloop and with a steady malloc threshold")
        rounds = play(measurements, echo=echo, rounds=_ROUNDS, extra=0)
        for name in measurements:
            spread = spread_of([played[name].value for played in rounds])
            echo(
                f"{name:>18}: {spread.least:6.0f} / {spread.middle:6.0f} / {spread.most:6.0f} MB in a second "
                f"of CPU time, {median(rates[name]):5.0f} frames/s"
            )
        for server, pair in pairs.items():
            echo(f"{server}: client at most {pair.client_share:.0%} of its core")
    goals = {"ascii-64k": at_least(1.7), "ascii-256k": at_least(1.7), "mixed-64k": at_least(1.3)}
    return [
        Row(
            "10",
            f"uploads, {name}: hub / FastAPI hub",
            goals[name],
            ratio(rounds, f"hub {name}", f"fastapi {name}"),
            is_timed=False,
        )
        for name in FILE_SETS
    ] + [
        Row("10", f"uploads, {name}: hub / raw TCP", None, ratio(rounds, f"hub {name}", f"raw {name}"), False)
        for name in FILE_SETS
    ]
