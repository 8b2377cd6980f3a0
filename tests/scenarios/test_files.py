"""A device that reads nothing sends its files as they are: the hub reads what is well, and marks the rest."""

import json
import sys
from pathlib import Path
from subprocess import DEVNULL

import anyio
import pytest

from hub.cli.runs import _notes
from hub.text import office
from tests.scenarios.scene import rows, scene
from tests.support import odd_files
from tests.support.oracle import Oracle, plant

pytestmark = pytest.mark.skipif(not office.is_installed(), reason="needs the extra [files]")


@pytest.mark.soak
async def test_a_hub_reads_what_is_well_marks_a_bomb_and_notes_what_a_page_hides(tmp_path: Path) -> None:
    letter = plant("Anna", "send the offer", "2026-12-01", "K-0001")
    report = plant("Bob", "pay the rent", "2026-12-02", "K-0002")
    planted = plant("Eve", "wire the money", "2026-12-03", "K-0003")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a-bomb.docx").write_bytes(odd_files.docx_bomb(36 * odd_files.MIB))
    (notes / "b-locked.pdf").write_bytes(odd_files.locked_pdf())
    (notes / "c-letter.docx").write_bytes(odd_files.docx("It rained.", letter))
    (notes / "d-report.pdf").write_bytes(odd_files.pdf(report))
    (notes / "e-page.html").write_text(f"<p>It rained.</p><p hidden>{planted}</p>", encoding="utf-8")
    (notes / "f-broken.md").write_bytes(b"It rained all day, and the caf\xc3\xa9 of Ana\xc3 was closed.\n")

    async with scene(tmp_path, {}, oracle=Oracle()) as play:
        url = f"{await play.hub.device_url()}/v1/device"
        words = (url, await play.hub.token(), str(notes), str(tmp_path / "raw.db"))
        command = [sys.executable, "-m", "tests.evaluation.raw_device", *words]
        async with await anyio.open_process(command, stdin=DEVNULL, stdout=None, stderr=None) as device:
            await play.has_connected()
            run = await play.hub.ended(await play.hub.start_run())
            device.kill()

    found = [json.loads(data) for (data,) in rows(tmp_path / "raw.db", "SELECT data FROM tasks")]
    assert sorted(task["title"] for task in found) == ["pay the rent", "send the offer"]
    (page,) = (unit for unit in run["units"] if unit["path"] == "e-page.html")
    assert page["notes"]["hidden_parts"] == 1
    broken = next(line for line in _notes(run) if line.startswith("f-broken.md: "))
    assert "undecoded 1 characters, U+FFFD was read in their place" in broken
    marked = {unit["path"]: unit["error"] for unit in run["units"] if unit["error"]}
    assert marked == {
        "a-bomb.docx": "unpacks to more than 33554432 bytes of text",
        "b-locked.pdf": "damaged, locked with a password, or not really a .pdf file",
    }
