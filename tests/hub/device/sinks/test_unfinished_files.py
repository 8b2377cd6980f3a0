"""Temporary files of a device that was killed while it replaced a file of a place."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.base.system import folders
from hub.device.device_file import connect_shared
from hub.device.sinks.file_ticks import tick_sources
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.test_sources import CLOCK, Note

# Of rsync, Vim, a sync program, and an owner; and of no file that this device makes.
OTHERS = (
    ".there.md.3xbQZp",
    ".there.md.swp",
    ".syncthing.there.md.tmp",
    ".hub-unfinished-",
    ".hub-unfinished-a.md",
)


def write_in_another_process(write: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Let another process stop where its file is about to replace another one; return its id."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(folders, "replace", lambda *words: os.kill(os.getpid(), signal.SIGSTOP))
        write()
        os._exit(1)
    os.waitpid(child, os.WUNTRACED)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def hidden(folder: Path) -> set[str]:
    return {file.name for file in folder.glob(".*")}


def test_file_of_a_killed_device_is_removed_at_the_next_look_and_no_other_one(
    bench: SinkBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = tmp_path / "vault"
    vault.mkdir()
    for name in OTHERS:
        (vault / name).write_text("of others")
    path = vault / "there.md"
    bench.approve({"title": "Call Ana"})
    child = write_in_another_process(lambda: bench.synchronize(TextFile(path, Markdown())), monkeypatch)
    (left,) = hidden(vault) - {*OTHERS}
    assert bench.synchronize(TextFile(path, Markdown())).written == 1
    assert hidden(vault) == {*OTHERS, left}  # of a process that may go on
    end(child)
    assert bench.synchronize(TextFile(path, Markdown())).written == 0
    assert hidden(vault) == {*OTHERS}


def test_file_of_a_killed_tick_is_removed_with_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay")

    def tick() -> None:
        with connect_shared(note.db) as db:
            assert tick_sources(db, (note.root,), CLOCK.now()).problem == ""

    end(write_in_another_process(tick, monkeypatch))
    assert (len(hidden(note.root)), note.path.read_text()) == (1, "- [ ] Pay\n")
    tick()
    assert (hidden(note.root), note.path.read_text()) == (set(), "- [x] Pay\n")
