"""Rows 7 and 8: what an idle connection keeps in memory."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
import msgspec

from storage.store import open_store
from tests.bench.calls import FASTAPI, HUB
from tests.bench.client import PAUSE_MS, ClientConfig
from tests.bench.fastapi_server import FastApiConfig
from tests.bench.hub_server import HubConfig, enrol
from tests.bench.machine import allow_open_files, tree_rss_bytes
from tests.bench.processes import client_process, paired
from tests.bench.rounds import alone, play, ratio
from tests.bench.rows import Goal, Row, at_most
from tests.support.processes import CROWD, HubProcess

ROWS: Final = frozenset({7, 8})
DEVICES: Final = 5_000
_ROUNDS: Final = 3  # repeats agree within a tenth of a KiB, and noise does not matter
_KIB: Final = 1024.0
_COME_S: Final = 240.0
_UNIT: Final = "KiB"


def _measure(module: str, config: msgspec.Struct, *, is_compressed: bool = False) -> float:
    """KiB of RSS for each connection of a fresh server, after one round trip on each."""
    client = ClientConfig(port=0, devices=DEVICES, is_compressed=is_compressed)
    with paired(module, config, client) as pair:
        pair.ask({"do": "touch"})  # zlib and some libraries take their memory with the first message
        kept: float = pair.ask({"do": "memory"})["bytes"]
        return kept / _KIB


_SETTINGS: Final = CROWD.replace("2000", str(DEVICES + 100))


def _measure_daemon() -> float:
    """KiB of RSS for each connection of ``hub serve``, with everything that a hub has."""
    allow_open_files(DEVICES + 1_000)
    with TemporaryDirectory() as folder:
        return anyio.run(_grown_by, Path(folder)) / DEVICES / _KIB


async def _grown_by(folder: Path) -> float:
    hub = HubProcess(folder, settings=_SETTINGS)
    async with open_store(f"sqlite:///{folder / 'hub.db'}", base=None) as store:
        await store.write(enrol, DEVICES)
    await hub.start()
    try:
        port = int((await hub.device_url()).rpartition(":")[2])
        before = tree_rss_bytes(hub.pid)
        with client_process(ClientConfig(port=port, devices=DEVICES, pause_ms=PAUSE_MS)) as client:
            client.hear(_COME_S)
            return tree_rss_bytes(hub.pid) - before
    finally:
        await hub.kill()


def run(echo: Callable[[str], None], wanted: Collection[int]) -> list[Row]:
    """Play the rounds of those *wanted*; every figure has a fresh server. uvloop throughout."""
    measurements: dict[str, Callable[[], float]] = {}
    if 7 in wanted:
        measurements["hub"] = partial(_measure, HUB, HubConfig(devices=DEVICES))
        measurements["daemon"] = _measure_daemon
        measurements["fastapi"] = partial(_measure, FASTAPI, FastApiConfig(devices=DEVICES))
    if 8 in wanted:
        deflating = HubConfig(devices=DEVICES, compression=True)
        measurements["compressing"] = partial(_measure, HUB, deflating, is_compressed=True)
    rounds = play(measurements, echo=echo, rounds=_ROUNDS, extra=0)
    rows: list[Row] = []
    if 7 in wanted:
        rows += [
            Row(
                "7", "RSS a connection, 5,000 of them", at_most(20, _UNIT), alone(rounds, "hub"), False, _UNIT
            ),
            Row(
                "7",
                "... of hub serve",
                Goal(22, is_most=True, unit=_UNIT),
                alone(rounds, "daemon"),
                False,
                _UNIT,
            ),
            Row("7", "... / FastAPI hub", at_most(0.65), ratio(rounds, "hub", "fastapi"), False),
        ]
    if 8 in wanted:
        what = "RSS a connection with compression, 5,000"
        rows.append(Row("8", what, at_most(24, _UNIT), alone(rounds, "compressing"), False, _UNIT))
    return rows
