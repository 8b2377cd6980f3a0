"""The built plug-in of Obsidian at a real hub: suggestions are lines of notes, and are decided there."""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.hub.device_typescript.test_device import verdicts
from tests.scenarios.scene import scene, sentences
from tests.support.node_device import NodeDevice, needs_node
from tests.support.oracle import Oracle
from tests.support.wire import until

pytestmark = [needs_node, pytest.mark.soak]
LETTERS, TITLES = sentences(3)


async def reads(note: Path, is_so: Callable[[str], bool]) -> str:
    """Wait until a note is as expected, and return its text."""
    await until(lambda: is_so(note.read_text()))
    return await anyio.Path(note).read_text()


async def test_suggestions_are_lines_of_their_notes_and_decided_by_their_boxes(tmp_path: Path) -> None:
    async with scene(tmp_path, LETTERS | {"own.md": "- [ ] Water the plants\n"}, oracle=Oracle()) as play:
        await play.hub.post("/v1/devices/desk/revoke")
        play.device = device = NodeDevice(tmp_path, play.wire.url)
        device.script = "obsidian.mjs"
        play.also(device)
        await device.start()
        (notice,) = await device.happens("notice")
        await play.hub.post("/v1/pairings/approve", {"code": notice.split()[-1]})
        await device.happens("status")
        run = await play.hub.ended(await play.hub.start_run())
        assert (run["outcome"], run["items_created"]) == ("success", 4)

        notes = [tmp_path / "notes" / name for name in LETTERS]
        for note, before, title in zip(notes, LETTERS.values(), TITLES, strict=True):
            text = await reads(note, lambda text: "%%hub:" in text)
            line = rf"- \[\?\] {title} 📅 2026-12-01 %%hub:[\w-]+%%\n?"
            assert len(re.findall(line, text)) == 1
            assert re.sub(line, "", text).strip() == before.strip()
        assert await anyio.Path(tmp_path / "notes" / "own.md").read_text() == "- [ ] Water the plants\n"

        approved, changed, rejected = notes
        await device.types(approved.name, "- [?] ", "- [ ] ")
        await device.types(changed.name, f"- [?] {TITLES[1]}", "- [x] send it by post")
        await device.types(rejected.name, "- [?] ", "- [-] ")
        expected = {TITLES[0]: "approved", TITLES[2]: "rejected"}
        await verdicts(play, expected)
        await reads(rejected, lambda text: "%%hub:" not in text)
        await reads(changed, lambda text: "- [x] send it by post 📅 2026-12-01 %%hub:" in text)
        rows = {row["row"]["title"]: row["row"] for row in device.kept()}
        assert (rows["send it by post"]["status"], rows["send it by post"]["isApproved"]) == ("done", 1)

        again = await play.hub.ended(await play.hub.start_run())
        assert (again["outcome"], again["items_created"], again["units_skipped"]) == ("success", 0, 4)
