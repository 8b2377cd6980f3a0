"""Preview of a mixed folder: what it names is what a run sends, and what it holds back stays."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hub.base.clock import Clock
from hub.device.preview import FolderPreview, preview
from protocol.handshake import Limits
from protocol.work import MANY, AgentComplete, AgentData, RunMode
from tests.hub.device.test_folder import Desk
from tests.hub.device.test_secret_scan import HIDDEN, PLANTED, Maker
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio

KINDS = [*PLANTED, *PLANTED, *HIDDEN]
SECRETS = len(KINDS)
NAMED = 4  # files and folders with a secret in their name
OFFERED = 1 + 60 + 40 + 3
MANY_PIECES = 10_000


def fill(root: Path) -> list[str]:
    """Write 500 files of a person: a project, notes, photos and oddities; return the secrets in them."""
    made: list[str] = []

    def secret(number: int, kind: str) -> str:
        maker = Maker(number)
        text = (PLANTED | HIDDEN)[kind](maker)
        made.extend(maker.made)
        return text

    def write(name: str, content: str | bytes = "Call Ana by Friday.\n") -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    for number in range(300):
        write(f"project/node_modules/package{number % 20}/index{number}.js", "module.exports = 1\n")
    write("project/package.json", "{}")
    write("project/.gitignore", "*.log\n/drafts/\n")
    for name in ("dist/bundle.js", "debug.log", "drafts/plan.md", ".env", "creds.json", "id_rsa"):
        write(f"project/{name}")
    for number in range(60):
        write(f"project/src/module{number}.py", f"def f{number}(): return {number}\n")
    for number, kind in enumerate(KINDS):
        write(f"notes/secret{number}.md", f"# Note {number}\n\n{secret(number, kind)}\n")
    for number, kind in enumerate(("github", "en", "stripe", "de"), 1_000):
        write(f"names/{secret(number, kind)}{'' if number % 2 else '/inner'}.md")
    for number in range(40):
        write(f"notes/day{number}.md")
    for number in range(30):
        write(f"photos/photo{number}.jpg", b"\xff\xd8\xff\xe0" + bytes(64))
    write("notes/Cafe\u0301.md")  # as macOS composes it
    write("notes/two\nlines.md")
    write("notes/latin.txt", "Besprechung mit Jürgen\n".encode("latin-1"))
    write("closed/.hubignore", "[z-a]\n")
    write("closed/a.md")
    write("environment/pyvenv.cfg")
    write("environment/lib/site.py")
    write("project/.venv/lib/site.py")
    (root / "photos/film.mkv").touch()
    os.truncate(root / "photos/film.mkv", 2 << 30)  # it has holes: no space on the disk
    (root / "notes/large.txt").touch()
    os.truncate(root / "notes/large.txt", 64 << 20)
    outside = root.parent / "outside.md"
    outside.write_text("Outside.\n")
    (root / "notes/link.md").symlink_to(outside)
    (root / "folder-link").symlink_to(root.parent)
    os.link(outside, root / "notes/hard.md")
    (root.parent / os.fsdecode(b"notes/n\xe4me.md")).write_text("Its name is not UTF-8.\n")
    return made


@pytest.fixture
async def desk(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Desk]:
    (tmp_path / "notes").mkdir()
    fill(tmp_path / "notes")
    async with anyio.create_task_group() as tasks:
        opened = Desk(tmp_path / "notes", clock, tasks, Limits())
        yield opened
        tasks.cancel_scope.cancel()
    opened.close()


def shown(desk: Desk, clock: Clock, seconds: float = 60.0) -> FolderPreview:
    return preview([desk.notes], clock=clock, seconds=seconds)


async def test_run_sends_exactly_the_files_of_the_preview(desk: Desk, clock: FakeClock) -> None:
    found = shown(desk, clock)
    desk.run(mode=RunMode.STREAM, credit=MANY_PIECES)
    frames = await desk.hear_all()
    sent = {
        piece.path: piece.content for frame in frames if isinstance(frame, AgentData) for piece in frame.files
    }
    (complete,) = [frame for frame in frames if isinstance(frame, AgentComplete)]

    assert len(sent) == sum(folder.files for folder in found.offered) == OFFERED
    in_names = [one for one in found.stays if one.detail.endswith("in its name")]
    assert sum(one.reason == "key_in_text" for one in found.stays) - len(in_names) == SECRETS
    assert len(in_names) == NAMED
    skipped = {one.path: one.reason.partition(":")[0] for one in complete.skipped if one.path != MANY}
    counted = {one.reason: one.files for one in complete.skipped if one.path == MANY}
    assert counted.pop("key_in_text") == NAMED
    named = {
        one.path.replace(str(desk.notes), "notes"): one.reason for one in found.stays if one not in in_names
    }
    assert skipped == {path: reason for path, reason in named.items() if reason not in counted}
    assert counted == {
        reason: sum(reason == other for other in named.values())
        for reason in set(named.values()) - set(skipped.values())
    }
    private = ("node_modules", "dist/", ".log", "drafts", ".env", "creds", "id_rsa", "closed", "environment")
    assert not [path for path in sent for part in private if part in path]
    assert not [text for text in sent.values() if "Outside" in text or "PRIVATE KEY" in text]


async def test_preview_without_time_lists_excluded_names_and_counts_unsearched_files(
    desk: Desk, clock: FakeClock
) -> None:
    found = shown(desk, clock, seconds=0)
    assert (found.unsearched, sum(one.reason == "key_in_text" for one in found.stays)) == (
        OFFERED + SECRETS,
        NAMED,
    )
    (dependencies,) = [one for one in found.stays if one.path.endswith("node_modules")]
    assert (dependencies.reason, dependencies.detail, dependencies.files) == (
        "generated",
        "dependencies",
        300,
    )
