"""A person reviews what was found, with real processes: the hub remembers it, and so does the next run."""

from pathlib import Path
from typing import Any

import anyio

from hub.device.inbox import read_items
from hub.device.owner import approve, reject
from tests.scenarios.scene import Scene, scene, write
from tests.support.processes import POLL_S

FIRST = "- [ ] call Anna on Friday\n- [ ] pay the rent\n- [ ] mend the roof\n"
SECOND = "- [ ] call Anna on Monday\n- [ ] pay the rent\n- [ ] mend the roof\n- [ ] feed the cat\n"


async def a_run(play: Scene) -> dict[str, Any]:
    return await play.hub.ended(await play.hub.start_run())


async def has_heard(play: Scene, verdict: str, titles: list[str]) -> None:
    """Until the hub knows these items under this verdict."""
    with anyio.fail_after(30):
        while True:
            told = await play.hub.get(f"/v1/items?verdict={verdict}")
            if sorted(item["title"] for item in told["items"]) == titles:
                return
            await anyio.sleep(POLL_S)


async def test_what_a_person_said_outlives_a_new_edition_of_the_file(tmp_path: Path) -> None:
    async with scene(tmp_path, {"a.md": FIRST}) as play:
        await play.device.start()
        await play.has_connected()
        assert (await a_run(play))["items_created"] == 3

        db = play.device.database
        numbers = {item.title: item.number for item in read_items(db)}
        approve(db, [numbers["call Anna on Friday"]], at_ms=1)
        reject(db, [numbers["mend the roof"]])
        await has_heard(play, "rejected", ["mend the roof"])
        await has_heard(play, "approved", ["call Anna on Friday"])

        write(tmp_path, {"a.md": SECOND})
        run = await a_run(play)
        assert (run["items_created"], run["items_updated"], run["items_known"]) == (1, 1, 2)
        assert play.items() == ["call Anna on Friday", "feed the cat", "pay the rent"]
        (hers,) = [item for item in read_items(db) if item.title == "call Anna on Friday"]
        assert (hers.number, hers.verdict) == (numbers["call Anna on Friday"], "approved")
        assert hers.proposal is not None and hers.proposal.data is not None
        assert hers.proposal.data["title"] == "call Anna on Monday"
        await has_heard(play, "approved", [])

        await play.restart_device()
        await play.has_connected()
        approve(db, [hers.number], at_ms=2)
        assert play.items() == ["call Anna on Monday", "feed the cat", "pay the rent"]
        await has_heard(play, "approved", ["call Anna on Monday"])
        reject(db, [hers.number], deletes=True)
        await has_heard(play, "rejected", ["call Anna on Monday", "mend the roof"])
