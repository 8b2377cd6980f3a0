"""What a person sees on a terminal."""

import io
import os
import pty
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import click
import pytest
from anyio.from_thread import BlockingPortal

from hub.cli import show
from storage.runs import runs
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.hub.cli.conftest import Hub
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.hub import ServedHub
from tests.support.runs import folder
from tests.support.source import ROOT
from tests.support.terminal import terminal


def _on_a_terminal(state: Path, *words: str) -> str:
    """What ``hub`` writes when its streams are one terminal of 80 columns, without the escapes."""
    told = _told([sys.executable, "-m", "hub", "--state", str(state), *words])
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", told)


def _told(command: list[str]) -> str:
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        told = b""
        while True:
            try:
                told += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    return told.decode()


def test_table_with_a_long_first_column_shows_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", "80")
        show.print_table(
            ["folder", "files", "endings"], [("/home/anna/" + "long-name/" * 12, 1, ".md, .txt")]
        )
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert {"files", "endings", "1", ".md,", ".txt"} <= {*shown.split()}
    assert "".join(word for word in shown.split() if "long" in word or "/" in word).count("long-name/") >= 10


def test_redirected_table_is_cut_only_if_columns_is_set(
    state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.disconnect, portal.call(served.device, "desk"))
    portal.call(served.pass_days, 3)
    (run, *_) = portal.call(served.store.read, runs.list_runs)
    for words in (("agents",), ("runs", "show", run.id)):
        command = [sys.executable, "-m", "hub", "--state", str(state), *words]
        widest = {}
        for columns in ("", "0", "70"):
            environ = os.environ | {"COLUMNS": columns}
            printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
            widest[columns] = max(map(len, printed.splitlines()))
        assert widest["70"] <= 70 < widest[""] == widest["0"], (words, widest)


def test_table_on_a_terminal_wraps_only_the_long_note_column(
    state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.disconnect, portal.call(served.device, "desk"))
    portal.call(served.pass_days, 3)
    header, *lines = _on_a_terminal(state, "runs").splitlines()
    note = header.index("note")
    _, agent, run_state, _, *rest = lines[0][:note].split()
    assert (agent, run_state, rest) == ("notes", "QUEUED", ["09:00", "0/?", "0"])
    wrapped = " ".join(line[note:].strip() for line in lines)
    assert wrapped.startswith("device desk is offline, last seen ")
    assert wrapped.endswith("2 missed: device desk was offline")
    assert all(len(line) <= 80 for line in lines)


def test_messages_between_agents_are_readable_on_a_narrow_terminal(
    hub: Hub, state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    garden = "vegetable-garden"
    portal.call(served.agent, "gardener")
    hub("boards", "create", garden)
    hub("boards", "add", garden, "gardener")
    hub("messages", "nudge", garden, "gardener", "water at six", "--wait", "0")
    told = _on_a_terminal(state, "messages")
    assert "water at six" in told and "gardener" in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_agents_next_and_runs_show_fit_the_terminal(
    state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    nightly = DeclaredSchedule(kind="cron", expr="30 2 * * *", tz="Europe/Berlin")
    served.clock.set_wall(datetime(2026, 3, 26, 12, tzinfo=UTC))
    portal.call(served.reschedule, nightly)
    portal.call(served.pass_days, 2)
    (run,) = portal.call(served.store.read, runs.list_runs)
    for words in (("agents", "next", "notes"), ("runs", "show", run.id)):
        printed = _on_a_terminal(state, *words)
        assert printed and all(len(line) <= 80 for line in printed.splitlines())


def test_followed_run_on_a_terminal_ends_with_the_summary(
    state: Path, served: ServedHub, portal: BlockingPortal
) -> None:
    with portal.wrap_async_context_manager(served.working(*folder(a="- [ ] call Ann\n- [ ] pay"))):
        printed = _on_a_terminal(state, "run", "notes", "--follow")
    assert "success: 1 read, 0 skipped, 0 failed, 2 items, 0 model requests" in printed


def test_follow_of_a_task_prints_each_report_of_the_program_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = {"state": "RUNNING", "waiting_for": None, "units_total": 0}
    reports = ((10.0, "fetched"), (10.0, "fetched"), (50.0, "sorted"))
    with show.following() as show_step:
        for progress, message in reports:
            show_step({"run": run | {"progress": progress, "message": message}})
    assert capsys.readouterr().err.splitlines() == ["RUNNING: 10 %, fetched", "RUNNING: 50 %, sorted"]


UNCOUNTED: Final = {
    **{"state": "RUNNING", "message": None, "waiting_for": None, "progress": 0.0, "items_created": 0},
    **{"units_total": 0, "units_done": 0, "units_skipped": 0, "units_failed": 0},
}


@each(
    ("run", "files", "progress"),
    [
        ({"state": "PREPARING"}, "0/?", "looks for files"),
        ({"state": "QUEUED"}, "0/?", "0 files finished so far, 0 items"),
        ({}, "0/?", "0 files finished so far, 0 items"),
        ({"items_created": 7}, "0/?", "0 files finished so far, 7 items"),
        ({"units_done": 1, "items_created": 9}, "1/?", "1 file finished so far, 9 items"),
        ({"state": "PREPARING", "units_failed": 2}, "2/?", "2 files finished so far, 0 items"),
        ({"units_total": 1, "units_done": 1, "units_skipped": 1}, "2/?", "2 files finished so far, 0 items"),
        ({"units_total": 9, "units_done": 4}, "4/9", "4/9 files, 0 items"),
        ({"state": "COMPLETED"}, "0/0", "0/0 files, 0 items"),
    ],
)
def test_run_without_a_known_number_of_files_counts_finished_files(
    run: dict[str, Any], files: str, progress: str
) -> None:
    of = UNCOUNTED | run
    assert (show.settled(of), show.progress_of(of)) == (files, progress)


@pytest.mark.parametrize(
    "line",
    [
        "it waits: the device is away",
        f"the first run goes on, {'9 of 9 files, ' * 5}the page shows more: hub runs show 1 --follow",
    ],
    ids=["short", "wider than the terminal"],
)
def test_report_line_of_a_followed_run_is_printed_whole_above_the_progress_bar(line: str) -> None:
    program = f"""
from hub.cli import show
counts = dict.fromkeys(("units_done", "units_skipped", "units_failed", "units_total", "items_created"), 0)
with show.following() as step:
    run = dict(counts, message=None, waiting_for=None, state="RUNNING")
    step(dict(run=run, working_on="a.md"))
    show.report({line!r})
"""
    shown = [line.rpartition("\x1b[2K")[2] for line in _told([sys.executable, "-c", program]).split("\r\n")]
    assert line in [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in shown]


async def test_background_command_prints_no_lines_into_an_open_prompt(
    tmp_path: Path,
) -> None:
    ask = f"{sys.executable} -c \"input('approve it? [y/N] '); print('answ' + 'ered')\""
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        refusing.settimeout(60)
        address = f"ws://127.0.0.1:{refusing.getsockname()[1]}"

        async def refuse() -> None:
            connection, _ = await anyio.to_thread.run_sync(refusing.accept)
            connection.close()

        environment = {**os.environ, "HOME": str(tmp_path), "COLUMNS": "200"}
        connect = (
            f"{sys.executable} -m hub --state {tmp_path / 's'} connect --log-level info {address} --root ."
        )
        async with terminal(tmp_path, environment, has_jobs=True) as typed:
            typed.type(f"{connect} --grant +rows.read=tasks --name desk &")
            await refuse()
            await typed.shows(r"device.connection.lost")
            await typed.shows(r"next try in")
            typed.type(ask)
            await typed.shows(r"approve it\? \[y/N\] ")
            asked = len(typed.shown)
            for _ in range(3):  # the lines about the first two are due by the third
                await refuse()
            typed.type("y")
            await typed.shows("answered")
            await typed.shows(r"next try in")
            until_answered = typed.shown[asked:].partition("answered")[0]
            assert "next try" not in until_answered and "lost" not in until_answered


def test_name_of_a_folder_in_a_question_reaches_a_terminal_as_an_escaped_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n" * 2))
    assert not show.ask("share Z\r\x1b[2Kshare the folder Notes\n?")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(click.Abort):
        show.confirm("share Z\r\x1b[2K\n?")
    shown = capfd.readouterr().err
    assert (shown.count("\\r\\x1b[2K"), "\r" in shown, "\x1b" in shown) == (2, False, False), ascii(shown)


def test_no_command_asks_beside_the_function_that_escapes_names() -> None:
    asking = [file for file in (ROOT / "hub").rglob("*.py") if "click.confirm(" in file.read_text("utf-8")]
    assert asking == [ROOT / "hub/cli/show.py"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2027-03-18T18:00:00Z", "2027-03-18 18:00"),
        ("2026-12-31T18:00:00Z", "12-31 18:00"),
        ("2026-03-18T18:00:00Z", "2026-03-18 18:00"),
        ("2026-08-18T18:00:00Z", "08-18 18:00"),
    ],
)
def test_time_in_a_column_has_its_year_in_a_later_year_or_far_away(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "clock", FakeClock(datetime(2026, 11, 28, tzinfo=UTC)))
    assert show.column_moment(text, UTC) == shown
