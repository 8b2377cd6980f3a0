"""A hub is stopped while a crowd is connected, part of it at work and part of it deaf.

``python -m tests.scenarios.drains`` (``make soak``) does it with a thousand devices; the suite small.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import anyio
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.clock import SystemClock, epoch_ms
from tests.bench.machine import allow_open_files
from tests.scenarios.herd import fill, token
from tests.scenarios.scene import rows
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import CROWD, POLL_S

DEVICES, DEAF = 1_000, 20
MOST_S = 50.0  # drain_timeout_s, and what goodbyes and the database take
WAITING = {"QUEUED", "PAUSED drain"}  # what a run is then, before its device has begun and after
_AT_ONCE = 32  # runs; the hub's own limit
_A_SHORT_SPREAD = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.001")
_WITHIN_S = 90.0


class Stopped(msgspec.Struct, kw_only=True):
    """How it went."""

    took_s: float = 0.0
    exit_code: int | None = None
    executed: int = 0  # runs, when it was asked to stop
    connected: int = 0
    goodbyes: int = 0
    runs: dict[str, int] = {}  # by state, and what a paused one waits for


async def stop_in_a_crowd(folder: Path, devices: int, deaf: int) -> Stopped:
    """Connect so many devices, let their runs begin, and stop the hub; *deaf* of them read no more."""
    allow_open_files(devices + 200)
    went = Stopped()
    hub = FaultyHub(folder, settings=CROWD + "connected_s = 0.1\n")
    hub.faults = list(_A_SHORT_SPREAD)
    try:
        await hub.start()  # makes the tables
        await hub.kill()
        fill(folder / "hub.db", devices, at=epoch_ms(SystemClock().now()))
        await hub.start()
        url = f"{await hub.device_url()}/v1/device"
        async with anyio.create_task_group() as crowd:
            for number in range(devices):
                crowd.start_soon(_be_there, url, token(number), number < deaf, went)
            await _until(lambda: went.connected == devices)
            await _until(lambda: _executing(folder) >= min(devices - deaf, _AT_ONCE))
            went.executed = _executing(folder)
            began = perf_counter()
            went.exit_code = await hub.stop()
            went.took_s = perf_counter() - began
            await _until(lambda: went.goodbyes >= devices - deaf)
            crowd.cancel_scope.cancel()
    finally:
        await hub.close()
    by_state = "SELECT state || COALESCE(' ' || pause_reason, ''), count(*) FROM runs GROUP BY 1"
    went.runs = dict(rows(folder / "hub.db", by_state))
    return went


async def _be_there(url: str, token: str, is_deaf: bool, went: Stopped) -> None:
    """One device: it takes a run and never answers it, until it hears goodbye or, deaf, nothing."""
    while True:
        try:
            socket = await connect(url, compression=None, open_timeout=60, ping_interval=None)
            break
        except (InvalidStatus, ConnectionClosed):
            await anyio.sleep(POLL_S)
    await socket.send(json.dumps({"type": "device_hello", "token": token}))
    try:
        async for message in socket:
            match json.loads(message)["type"]:
                case "welcome":
                    went.connected += 1
                    if is_deaf:
                        socket.transport.pause_reading()
                        await anyio.sleep_forever()
                case "goodbye":
                    went.goodbyes += 1
    except ConnectionClosed:
        pass
    finally:
        socket.transport.abort()


def _executing(folder: Path) -> int:
    ((count,),) = rows(folder / "hub.db", "SELECT count(*) FROM runs WHERE state IN ('PREPARING', 'RUNNING')")
    return int(count)


async def _until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(_WITHIN_S):
        while not is_so():
            await anyio.sleep(POLL_S)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--devices", type=int, default=DEVICES)
    arguments.add_argument("--deaf", type=int, default=DEAF)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        went = anyio.run(stop_in_a_crowd, Path(folder), chosen.devices, chosen.deaf)
    sys.stdout.write(
        f"{chosen.devices} devices, {chosen.deaf} of them deaf, {went.executed} runs under way: exit code"
        f" {went.exit_code} after {went.took_s:.1f} s, {went.goodbyes} goodbyes heard, {went.runs}\n"
    )
    is_well = went.exit_code == 0 and went.took_s <= MOST_S and went.runs.keys() <= WAITING
    return int(not is_well)


if __name__ == "__main__":
    sys.exit(main())
