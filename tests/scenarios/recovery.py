"""A hub that died with ten thousand live runs: how long it takes until it is ready again.

``python -m tests.scenarios.recovery`` (``make soak``) fills a database, starts the hub as it is
installed, and fails when it is not ready in time. The suite does it small.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import msgspec

from hub.clock import SystemClock, epoch_ms
from tests.scenarios.live_runs import EACH, expected, fill
from tests.scenarios.scene import rows
from tests.support.processes import POLL_S, HubProcess

READY_S = 2.0  # that a start with 10,000 live runs may take, all of it
RUNS = 10_000
SETTLED_S = 30.0
PAUSED = "SELECT count(*) FROM runs WHERE state = 'PAUSED'"  # in the end those whose device is not there


class Recovery(msgspec.Struct, frozen=True):
    """Two starts of the hub: with nothing in the database, and with live runs.

    Attributes:
        said: what the hub said of it: how many runs it had requeued, cancelled, failed.
    """

    empty_s: float
    full_s: float
    said: dict[str, int]


async def recover(folder: Path, hub: HubProcess, *, agents: int) -> Recovery:
    """Start *hub* twice in *folder*; between, its database gets the live runs of so many agents."""
    await hub.start()  # makes the tables
    await hub.kill()
    empty_s = await _start(hub)
    await hub.kill()
    fill(folder / "hub.db", agents, at=epoch_ms(SystemClock().now()))
    full_s = await _start(hub)
    with anyio.fail_after(SETTLED_S):  # ready, it goes on with runs that a drain had paused
        while rows(folder / "hub.db", PAUSED) != [(agents,)]:
            await anyio.sleep(POLL_S)
    await hub.kill()
    return Recovery(empty_s, full_s, _said_last(hub))


async def _start(hub: HubProcess) -> float:
    began = perf_counter()
    await hub.start()
    return perf_counter() - began


def _said_last(hub: HubProcess) -> dict[str, int]:
    said = [line for line in hub.log().splitlines() if '"hub.recovered"' in line]
    event: dict[str, Any] = msgspec.json.decode(said[-1])
    return {name: event[name] for name in expected(0)}


async def main(runs: int) -> int:
    """Prints how long it took; 1 when it took too long, or the hub says something else than it should."""
    agents = runs // EACH
    with tempfile.TemporaryDirectory() as folder:
        recovery = await recover(Path(folder), HubProcess(Path(folder)), agents=agents)
    told = ", ".join(f"{number} {what}" for what, number in recovery.said.items())
    print(  # noqa: T201  # for the person who runs it
        f"{runs} live runs: ready after {recovery.full_s:.2f} s (with none after {recovery.empty_s:.2f} s);"
        f" of those that had executed {told}"
    )
    return int(recovery.full_s > READY_S or recovery.said != expected(agents))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=RUNS)
    sys.exit(anyio.run(main, options.parse_args().runs))
