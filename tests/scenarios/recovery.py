"""A hub that died with ten thousand live runs: how long it takes until it is ready again.

``python -m tests.scenarios.recovery`` (``make soak``) fills a database, starts the hub as it is
installed, and fails when it is not ready in time. The suite does it small.
"""

from pathlib import Path
from time import perf_counter

import anyio
import msgspec

from hub.clock import SystemClock, epoch_ms
from tests.scenarios.live_runs import EACH, expected, fill
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import rows
from tests.support.processes import POLL_S, HubProcess

READY_S = 2.0  # that a start with 10,000 live runs may take, all of it
SETTLED_S = 30.0
PAUSED = "SELECT count(*) FROM runs WHERE state = 'PAUSED'"  # in the end those whose device is not there


async def recover(folder: Path, hub: HubProcess, *, agents: int) -> tuple[dict[str, int], float]:
    """Start *hub* in *folder*, where its database got the live runs of so many agents.

    Returns how many runs the hub says that it has requeued, cancelled and failed, and the seconds until then.
    """
    await hub.start()  # makes the tables
    await hub.kill()
    fill(folder / "hub.db", agents, at=epoch_ms(SystemClock().now()))
    began = perf_counter()
    await hub.start()
    took_s = perf_counter() - began
    with anyio.fail_after(SETTLED_S):  # ready, it goes on with runs that a drain had paused
        while rows(folder / "hub.db", PAUSED) != [(agents,)]:
            await anyio.sleep(POLL_S)
    await hub.kill()
    (*_, last) = (line for line in hub.log().splitlines() if '"hub.recovered"' in line)
    return {name: msgspec.json.decode(last)[name] for name in expected(0)}, took_s


async def play(folder: Path, *, runs: int = 10_000) -> Verdict:
    """Start a hub that died with so many live runs."""
    said, took_s = await recover(folder, HubProcess(folder, is_forked=False), agents=runs // EACH)
    told = ", ".join(f"{number} {what}" for what, number in said.items())
    is_well = took_s <= READY_S and said == expected(runs // EACH)
    return f"{runs} live runs: ready after {took_s:.2f} s; of those that had executed {told}", is_well


if __name__ == "__main__":
    run(play)
