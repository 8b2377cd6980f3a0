"""Hub and device in TypeScript are killed at random moments, while files come and runs go on."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.scenarios.scene import Scene, are_there_once, scene, write
from tests.support.clock import SeededChance
from tests.support.node_device import NodeDevice, needs_node

pytestmark = [needs_node, pytest.mark.soak]
KILLS = 14
LIVES_S = (0.0, 1.2)
EVERY_S = 0.2
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


class Work:
    """Files that come and runs over them, until *is_over*."""

    def __init__(self, play: Scene) -> None:
        self.play = play
        self.titles: list[str] = []
        self.is_over = False

    async def write_files(self) -> None:
        for number in count():
            if self.is_over:
                return
            titles = [f"Task {number:04}-{box}" for box in range(3)]
            write(self.play.folder, {f"page{number:04}.md": "".join(f"- [ ] {title}\n" for title in titles)})
            self.titles += titles
            await anyio.sleep(EVERY_S)

    async def order_runs(self) -> None:
        while not self.is_over:
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, OSError):  # the hub is dead just now
                await self.order()
            await anyio.sleep(EVERY_S)

    async def order(self) -> None:
        """Start a run of the agent, unless it has one."""
        (agent,) = (await self.play.hub.get("/v1/agents"))["agents"]
        if agent["last_run"] is None or agent["last_run"]["state"] in FINAL:
            await self.play.hub.start_run()


async def settled(play: Scene) -> None:
    """Wait until the run that was ordered last has ended, and another one after it."""
    for run in (await play.hub.get("/v1/runs"))["runs"]:
        await play.hub.ended(run["id"])
    run = await play.hub.ended(await play.hub.start_run())
    assert (run["state"], run["outcome"]) == ("COMPLETED", "success"), run


@pytest.mark.parametrize("ends", [["hub", "device"], ["device"], ["hub"]], ids="-".join)
async def test_no_item_is_lost_or_doubled_while_either_side_is_killed(
    tmp_path: Path, ends: Sequence[str]
) -> None:
    chance = SeededChance(len(ends))
    async with scene(tmp_path, {}) as play:
        play.device = device = NodeDevice(tmp_path, play.wire.url, await play.hub.token())
        play.also(device)
        work = Work(play)
        (tmp_path / "notes").mkdir(exist_ok=True)
        await device.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.write_files)
            tasks.start_soon(work.order_runs)
            for number in range(KILLS):
                await anyio.sleep(chance.uniform(*LIVES_S))
                if ends[number % len(ends)] == "hub":
                    await play.kill_hub()
                    await play.start_hub()
                else:
                    await play.restart_device()
            work.is_over = True
        await play.has_connected(within_s=70)  # a device that was thrown off so often waits up to a minute
        await settled(play)
        are_there_once((row["row"]["title"] for row in device.kept()), work.titles)
        assert len(work.titles) > KILLS
