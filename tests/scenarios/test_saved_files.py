"""A line that is typed into a note becomes an item long before the schedule of its agent is due."""

from pathlib import Path

import anyio
import pytest

from tests.scenarios.scene import scene, write
from tests.support.processes import POLL_S

pytestmark = pytest.mark.anyio


async def test_saved_line_becomes_an_item_by_a_run_with_the_trigger_change(tmp_path: Path) -> None:
    async with scene(tmp_path, {"monday.md": "# Monday\n"}, settings='schedule = "0 7 1 1 *"\n') as play:
        await play.device.start()
        await play.has_connected()
        saves = 0
        with anyio.fail_after(60):
            while not play.items():
                saves += 1  # the first saves may come before the folder is watched
                write(tmp_path, {"monday.md": f"# Monday\n\n- [ ] call Anna\n\n{saves}\n"})
                for _ in range(int(2 / POLL_S)):  # longer than a device waits for calm
                    if play.items():
                        break
                    await anyio.sleep(POLL_S)
        assert play.items() == ["call Anna"]
        runs = (await play.hub.get("/v1/runs"))["runs"]
        assert {run["trigger"] for run in runs} == {"change"}
        hints = [frame for way, frame in play.seen if frame.get("method") == "files.changed"]
        (agent,) = (await play.hub.get("/v1/agents"))["agents"]
        assert {str(hint["params"]) for hint in hints} == {str({"agents": [agent["id"]]})}
