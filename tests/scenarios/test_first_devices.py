"""Devices that know little of the hub: the oldest one, that of the handbook, and a hub of relative paths."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import anyio
import pytest

from hub import docs
from tests.scenarios.scene import Scene, are_there_once, check_boxes, rows, scene, sentences
from tests.support import seed_device
from tests.support.documents import device_program
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle
from tests.support.processes import ROOT, SETTINGS, closing
from tests.support.programs import ending

BOXES, BOX_TITLES = check_boxes(10)
LETTERS, LETTER_TITLES = sentences(2)
SEED_TITLES = BOX_TITLES + LETTER_TITLES


KINDS = ("oldest", "handbook")  # the device of the first description, and that of the handbook


@asynccontextmanager
async def connected(play: Scene, kind: str = "oldest") -> AsyncIterator[Path]:
    """A device of *kind* as a process of its own; the file in which it keeps its rows, or prints them."""
    kept = play.folder / f"{kind}.rows"
    url, token = f"{await play.hub.device_url()}/v1/device", await play.hub.token()
    notes = str(play.folder / "notes")
    if kind == "oldest":
        command = [sys.executable, str(seed_device.__file__), url, token, notes, str(kept)]
    else:
        program, own = play.folder / "device.py", play.folder / "own.token"
        program.write_text(device_program())
        own.write_text(token)
        command = [sys.executable, "-u", str(program), url, str(own), notes]
    printed = os.open(kept if kind == "handbook" else os.devnull, os.O_CREAT | os.O_WRONLY)
    try:
        async with await anyio.open_process(command, stdin=DEVNULL, stdout=printed, stderr=None) as process:
            with ending(process):
                await play.has_connected()
                yield kept
    finally:
        os.close(printed)


def titles_of(kind: str, kept: Path) -> list[str]:
    """Titles of the tasks that a device has, one for each row."""
    if kind == "oldest":
        return [json.loads(data)["title"] for (data,) in rows(kept, "SELECT data FROM tasks")]
    return re.findall(r"^insert tasks .*'title': '([^']+)'", kept.read_text(), re.MULTILINE)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
async def test_device_with_a_token_alone_gets_each_item_once(tmp_path: Path, kind: str) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play, connected(play, kind) as kept:
        run = await play.hub.ended(await play.hub.start_run())

        assert (run["state"], run["outcome"], run["units_done"]) == (
            "COMPLETED",
            "success",
            len(BOXES | LETTERS),
        )
        are_there_once(titles_of(kind, kept), SEED_TITLES)
        if kind == "oldest":
            tasks = [json.loads(data) for (data,) in rows(kept, "SELECT data FROM tasks")]
            assert {(row["isAiSuggested"], row["isApproved"]) for row in tasks} == {(1, 0)}

        asked = oracle.stats.calls
        again = await play.hub.ended(await play.hub.start_run())

        assert (again["outcome"], again["items_created"], again["units_skipped"]) == ("success", 0, 12)
        assert (oracle.stats.calls, len(titles_of(kind, kept))) == (asked, len(SEED_TITLES))


LONGEST_LINES = 24


PAGES = {
    "today.md": "# Today\n\n- [ ] Water the plants\n- [x] Buy bread\n\nIt rained on the roof.\n",
    "one/same.md": "- [ ] Call Anna\n",
    "two/same.md": "- [ ] Send the quote\n",
    "two/gone.md": "- [ ] Order tiles\n",
    "empty.md": "",
    "picture.png": "no text",
}
PAGE_TITLES = ["Call Anna", "Order tiles", "Send the quote", "Water the plants"]
ENDINGS = 'file_extensions = [".md"]\n'
# A question, and the codes of its answer; the first one is about the file.
BEFORE = {
    "today.md:3": ["unread", "new"],
    "notes/today.md:4": ["unread", "done"],
    "one/same.md:1": ["unread", "new"],
    "same.md": ["ambiguous"],
    "three/same.md": ["not_sent"],
    "y.md": ["not_sent"],
    "missing.md:1": ["not_sent"],
    "picture.png": ["other_extension"],
    "missing.png": ["other_extension"],
}
BEYOND: dict[str, dict[str, object]] = {  # requests that the devices cannot answer
    "agents/notes/estimate": {},
    "agents/notes/preview": {"newest": 2},
    "devices/desk/resync": {},
    "devices/desk/calls": {"table": "tasks"},
    "devices/desk/calls/list-files": {},
    "devices/desk/calls/read-file": {"path": "notes/today.md"},
}
AFTER = {
    "today.md:3": ["settled", "item"],
    "today.md:6": ["settled", "no_rule"],
    "today.md:99": ["settled", "no_line"],
    "two/same.md:1": ["settled", "item"],
    "same.md:1": ["ambiguous"],
    "empty.md": ["settled", "empty"],
    "missing.md": ["not_sent"],
    "x/notes/today.md:3": ["not_sent"],
    "q/r/today.md": ["not_sent"],
}
LATER = {
    "one/same.md:2": ["changed", "new"],
    "two/gone.md": ["not_sent"],
    "late.md:1": ["unread", "new"],
}


async def wrong_answers(play: Scene, questions: dict[str, list[str]]) -> list[object]:
    """Ask why of each path and line; return the answers that are not about it, or not as expected."""
    wrong: list[object] = []
    for place, codes in questions.items():
        reasons = (await play.hub.get(f"/v1/why?path={place}"))["reasons"]
        path = place.partition(":")[0]
        is_about = all(f"/{one['path']}".endswith(f"/{path}") for one in reasons)
        if not is_about or [one["code"] for one in reasons] != codes:
            wrong.append((place, [(one["path"], one["code"]) for one in reasons]))
    return wrong


async def emptied(play: Scene) -> list[str]:
    """Run the checks of the doctor; return what they say of empty folders."""
    issues = (await play.hub.get("/v1/issues?anew=true"))["issues"]
    return [one["explanation"] for one in issues if one["id"] == "folder.empty"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_answers_about_a_simple_device_are_about_the_asked_file(tmp_path: Path, kind: str) -> None:
    notes = tmp_path / "notes"
    async with scene(tmp_path, PAGES, settings=ENDINGS) as play, connected(play, kind) as kept:
        assert await wrong_answers(play, BEFORE) == []
        for path, body in BEYOND.items():
            refused = await play.hub.ask("POST", f"/v1/{path}", json=body)
            assert (path, refused.status_code, refused.json()["code"]) == (path, 409, "call_unsupported")

        previewed = await play.hub.ask("POST", "/v1/agents/notes/preview", json={})
        assert '"read":5,"added":4,"removed":0,"changed":0' in previewed.text.replace(" ", "")

        run = await play.hub.ended(await play.hub.start_run())
        assert (run["outcome"], run["units_total"], run["units_done"], run["items_created"]) == (
            *("success", 5, 5),
            len(PAGE_TITLES),
        )
        assert sorted(titles_of(kind, kept)) == PAGE_TITLES
        assert await wrong_answers(play, AFTER) == []
        found = (await play.hub.get("/v1/why?path=call%20ANNA"))["reasons"]  # words, and no path
        assert [(one["path"][-11:], one["lines"], one["code"]) for one in found] == [
            ("one/same.md", "", "settled"),
            ("one/same.md", "1", "item"),
        ]
        assert await emptied(play) == []

        (notes / "one" / "same.md").write_text("- [ ] Call Anna\n- [ ] Call Ben\n")
        (notes / "late.md").write_text("- [ ] Pay the rent\n")
        (notes / "two" / "gone.md").unlink()
        assert await wrong_answers(play, LATER) == []
        run = await play.hub.ended(await play.hub.start_run())
        assert (run["units_total"], run["units_done"], run["units_skipped"]) == (5, 2, 3)
        run = await play.hub.ended(await play.hub.start_run())
        assert (run["units_total"], run["units_done"], run["units_skipped"]) == (5, 0, 5)
        assert await emptied(play) == []
        assert sorted(titles_of(kind, kept)) == sorted([*PAGE_TITLES, "Call Ben", "Pay the rent"])

        for file in list(notes.rglob("*.md")):
            file.unlink()
        await play.hub.ended(await play.hub.start_run())
        (sentence,) = await emptied(play)
        assert "and finds none there" in sentence
        assert await wrong_answers(play, {"today.md": ["not_sent"]}) == []


def test_device_of_the_handbook_imports_nothing_of_the_project() -> None:
    assert f"```python\n{device_program()}```" in docs.page("write-a-device")
    assert len([line for line in device_program().splitlines() if line.strip()]) <= LONGEST_LINES
    imported = re.findall(r"^(?:import|from) (.*?)(?: import .*)?$", device_program(), re.MULTILINE)
    assert imported == ["json, pathlib, shelve, sys", "websockets.sync.client"]


MODEL = """\
[model]
kind = "openai"
base_url = "http://127.0.0.1:9"
name = "m"
api_key = { file = "model.key" }
"""


@pytest.mark.soak
async def test_hub_with_relative_paths_writes_the_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.key").write_text("secret")
    (tmp_path / "database").write_text("sqlite:///hub.db")
    monkeypatch.setenv("HUB__STORAGE__URL", '{ file = "database" }')
    monkeypatch.chdir(ROOT)  # where the hub is started
    folder = Path(os.path.relpath(tmp_path, ROOT))  # noqa: ASYNC240 - of names alone
    hub = FaultyHub(folder, settings=SETTINGS.format(model=MODEL), is_forked=False)
    hub.faults = ("--given", "hub.health.backups:FIRST_AFTER_S=0.0")
    async with closing(hub):
        await hub.start()
        await hub.says('"backup.made"')
        assert await hub.stop() == 0
    assert [file.suffix for file in (tmp_path / "backups").iterdir()] == [".hub-backup"]
