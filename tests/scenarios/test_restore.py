"""Hub and device restored from older copies, or lost: each item is at the device once, none is missing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.scenarios.restores import Restores
from tests.scenarios.scene import Point, check_boxes, scene, sentences, write
from tests.support.oracle import Oracle

EARLIER = check_boxes(2)[0] | sentences(2)[0]  # there before everything that is put back
BOXES = check_boxes(8)[0]
LETTERS = sentences(6)[0]
MIDDLE = Point("the middle of the run", "to_hub", "tool_result", answers=12)

Undo = Callable[[Restores], Awaitable[None]]


@asynccontextmanager
async def played(folder: Path) -> AsyncIterator[Restores]:
    """A device that has the items of two runs; kept before the second, in its middle, and after it."""
    (folder / "copies").mkdir()
    async with scene(folder, EARLIER, oracle=Oracle(rewords=True)) as play:
        restores = Restores(play)
        await play.device.start()
        await restores.run()
        await restores.keep("before")
        write(folder, BOXES | LETTERS)
        play.at(MIDDLE, lambda: restores.keep("middle"))
        run = await restores.run()
        await play.happened()
        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        await restores.keep("after")
        yield restores


async def hub_before(restores: Restores) -> None:
    await restores.hub_goes_back("before")


async def hub_middle(restores: Restores) -> None:
    await restores.hub_goes_back("middle")


async def hub_after(restores: Restores) -> None:
    await restores.hub_goes_back("after")


async def hub_lost(restores: Restores) -> None:
    await restores.hub_is_lost()


async def device_before(restores: Restores) -> None:
    await restores.device_goes_back("before")


async def device_middle(restores: Restores) -> None:
    await restores.device_goes_back("middle")


async def device_lost(restores: Restores) -> None:
    await restores.device_is_lost()


async def hub_before_device_middle(restores: Restores) -> None:
    await restores.hub_goes_back("before")
    await restores.device_goes_back("middle")


async def hub_middle_device_before(restores: Restores) -> None:
    await restores.hub_goes_back("middle")
    await restores.device_goes_back("before")


async def hub_forgot(restores: Restores) -> None:
    await restores.hub_forgets()


async def hub_forgot_device_before(restores: Restores) -> None:
    await restores.hub_forgets()
    await restores.device_goes_back("before")


async def hub_before_forgot(restores: Restores) -> None:
    await restores.hub_goes_back("before")
    await restores.hub_forgets()


UNDOINGS: list[Undo] = [
    hub_forgot,
    hub_forgot_device_before,
    hub_before_forgot,
    hub_before,
    hub_middle,
    hub_after,
    hub_lost,
    device_before,
    device_middle,
    device_lost,
    hub_before_device_middle,
    hub_middle_device_before,
]


def all_files() -> list[str]:
    return list((EARLIER | BOXES | LETTERS).values())


async def test_a_device_that_lost_everything_gets_it_again_without_a_run(tmp_path: Path) -> None:
    async with played(tmp_path) as restores:
        before = restores.items()
        await device_lost(restores)
        await restores.has(before)


@pytest.mark.soak
@pytest.mark.parametrize("undo", UNDOINGS, ids=lambda undo: undo.__name__)
async def test_whatever_was_restored_or_lost_each_item_is_there_once(tmp_path: Path, undo: Undo) -> None:
    async with played(tmp_path) as restores:
        before = restores.items()
        assert set(before.values()) == {1}
        assert len(before) == sum(text.count("- [ ]") + text.count("(ref") for text in all_files())
        await undo(restores)
        await restores.play.has_connected()
        run = await restores.run()
        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        found = restores.items()
        wrong = f"lost {before - found}, too many {found - before}"
        assert found == before, f"{wrong}\n{restores.play.hub.log()[-4000:]}"
