"""Drawn lines of an owner and mails of a stranger: a hub, a device and a folder with saved mails."""

from pathlib import Path
from typing import Final

import anyio
import pytest

from hub.base.clock import SystemClock, now_ms
from hub.device.inbox import Inbox
from hub.device.items import DeviceItem
from tests.scenarios.scene import Scene, scene, write
from tests.support.authorship import Pair, Placed, drawn_pairs, wrong_about
from tests.support.processes import POLL_S

pytestmark = pytest.mark.anyio
SEED: Final = 20_261_130
QUIET: Final = 'schedule = "0 7 1 1 *"\n'  # runs are started here


def placed(item: DeviceItem) -> Placed:
    remarks = item.remarks
    return Placed(item.data, item.source_path or "", remarks.warnings, item.verdict, remarks.timezone)


def of_pair(item: DeviceItem, pair: Pair) -> bool:
    return (item.source_path or "").rpartition("/")[2] in (pair.note, pair.mail)


async def judge(play: Scene, pairs: list[Pair]) -> None:
    """Decide at the device about the rows of the first phase, and wait until the hub knows."""
    inbox, count = Inbox(play.device.database), 0
    for item in inbox.items():
        verdict = next((pair.verdict for pair in pairs if of_pair(item, pair)), None)
        if verdict is not None:
            inbox.judge(
                item, "approve" if verdict == "approved" else "reject", {}, at_ms=now_ms(SystemClock())
            )
            count += 1
    with anyio.fail_after(60):
        while True:
            items = (await play.hub.get("/v1/items?limit=500"))["items"]
            if sum(item["verdict"] in ("approved", "rejected") for item in items) == count:
                return
            await anyio.sleep(POLL_S)


async def played(folder: Path, pairs: list[Pair]) -> list[str]:
    """Play both phases, with restarts of both sides between them; return what is wrong."""
    first = {name: text for pair in pairs for name, text in pair.texts(0).items()}
    async with scene(folder, first, settings=QUIET) as play:
        await play.device.start()
        await play.has_connected()
        await play.hub.ended(await play.hub.start_run(), within_s=300)
        await judge(play, pairs)
        await play.kill_hub()
        write(folder, {name: text for pair in pairs for name, text in pair.texts(1).items()})
        await play.start_hub()
        await play.restart_device()
        await play.has_connected()
        for _ in range(2):
            await play.hub.ended(await play.hub.start_run(), within_s=300)
        found = [placed(item) for item in Inbox(play.device.database).items() if item.table == "tasks"]
    return [what for pair in pairs for what in wrong_about(pair, found)]


@pytest.mark.soak
async def test_lines_of_the_owner_remain_as_written_in_a_folder_with_mails_of_strangers(
    tmp_path: Path,
) -> None:
    assert await played(tmp_path, drawn_pairs(40, SEED)) == []
