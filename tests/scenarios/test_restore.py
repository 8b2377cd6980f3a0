"""Hub and device restored from older copies, or lost: each item is at the device once, none is missing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.scenarios.restores import Restores
from tests.scenarios.scene import Point, check_boxes, scene, sentences, write
from tests.support.node_device import NodeDevice, needs_node
from tests.support.oracle import Oracle
from tests.support.processes import DeviceProcess

EARLIER = check_boxes(2)[0] | sentences(2)[0]  # there before everything that is put back
BOXES = check_boxes(8)[0]
LETTERS = sentences(6)[0]
MIDDLE = Point("the middle of the run", "to_hub", "tool_result", answers=12)


@asynccontextmanager
async def played(folder: Path, kind: type[DeviceProcess] = DeviceProcess) -> AsyncIterator[Restores]:
    """A device that has the items of two runs; kept before the second, in its middle, and after it."""
    (folder / "copies").mkdir()
    async with scene(folder, EARLIER, oracle=Oracle(rewords=True)) as play:
        play.device = kind(folder, play.wire.url, await play.hub.token())
        play.also(play.device)
        restores = Restores(play)
        await play.device.start()
        await restores.run()
        reports = kind is DeviceProcess  # a device in TypeScript has no places
        if reports:
            await restores.approve()
            restores.place()
            await restores.places_agree()
        await restores.keep("before")
        write(folder, BOXES | LETTERS)
        play.at(MIDDLE, lambda: restores.keep("middle"))
        run = await restores.run()
        await play.happened()
        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        if reports:
            await restores.approve()
        await restores.keep("after")
        if reports:  # what the hub does not know any more once it goes back
            restores.place()
            await restores.places_agree()
        yield restores
        if reports:
            await restores.places_agree()


# Methods of Restores, each with the moment that it goes back to.
UNDOINGS = [
    "hub_forgets",
    "hub_forgets device_goes_back:before",
    "hub_goes_back:before hub_forgets",
    "hub_goes_back:before",
    "hub_goes_back:middle",
    "hub_goes_back:after",
    "hub_is_lost",
    "device_goes_back:before",
    "device_goes_back:middle",
    "device_is_lost",
    "hub_goes_back:before device_goes_back:middle",
    "hub_goes_back:middle device_goes_back:before",
]


async def undo(restores: Restores, words: str) -> None:
    for word in words.split():
        name, _, moment = word.partition(":")
        await getattr(restores, name)(*([moment] if moment else []))


async def test_device_without_items_gets_all_items_again_without_a_run(tmp_path: Path) -> None:
    async with played(tmp_path) as restores:
        before = restores.items()
        await restores.device_is_lost()
        await restores.has(before)


@pytest.mark.soak
@pytest.mark.parametrize("kind", [DeviceProcess, pytest.param(NodeDevice, marks=needs_node)])
@pytest.mark.parametrize("words", UNDOINGS)
async def test_each_item_is_at_the_device_once_after_any_restore_or_loss(
    tmp_path: Path, words: str, kind: type[DeviceProcess]
) -> None:
    async with played(tmp_path, kind) as restores:
        before = restores.items()
        assert set(before.values()) == {1}
        assert len(before) == sum(
            text.count("- [ ]") + text.count("(ref") for text in (EARLIER | BOXES | LETTERS).values()
        )
        await undo(restores, words)
        await restores.play.has_connected()
        run = await restores.run()
        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        found = restores.items()
        wrong = f"lost {before - found}, too many {found - before}"
        assert found == before, f"{wrong}\n{restores.play.hub.log()[-4000:]}"
