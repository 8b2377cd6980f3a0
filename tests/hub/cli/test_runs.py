"""The commands that list, show, stop and repeat runs; durations drawn to scale."""

import base64
import json
import os
import pwd
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.cli import show, up
from hub.cli.hub_client import HubClient
from hub.cli.options import TimeParam
from hub.cli.runs import (
    DELIVERING,
    EXTRACTING,
    LEGEND,
    MAX_FILES,
    READING,
    TimelineSpan,
    bar,
    file_lines,
    follow_to_end,
    stage_lines,
)
from hub.cli.show import took
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from protocol.skipped_files import SkippedFile
from protocol.work import AgentComplete, AgentData, PartCount, RunLimits
from storage.runs import run_moves
from storage.schema import run_units
from storage.schema import runs as run_table
from tests.hub.cli.conftest import Hub, Leads, ends
from tests.support.clock import START, FakeClock
from tests.support.families import each
from tests.support.hub import ServedHub
from tests.support.runs import folder

ID = "0197a3c4-5b6d-7e8f-9012-3456789abcde"


@pytest.fixture
def partial_run(hub: Hub, served: ServedHub, portal: BlockingPortal) -> str:
    """A run of one file with two items, two files that failed, and four that are left for the next runs."""
    (frames,) = folder(a="- [ ] call Ann\n- [ ] pay")
    reasons = {"b.md": "unreadable: no permission", "c.md": "changed"}
    frames[-1] = AgentComplete(
        run_id="r", skipped=[SkippedFile(path=path, reason=why) for path, why in reasons.items()]
    )
    id = read(hub, served, portal, frames)
    portal.call(served.store.write, lambda c: c.execute(sa.update(run_table).values(units_total=7)) and None)
    return id


def test_runs_command_lists_id_end_and_cause_of_the_wait(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.run, "r-0", RunState.COMPLETED)
    served.clock.advance(60)
    portal.call(served.run, ID)
    desk = portal.call(served.device, "desk")
    portal.call(served.disconnect, desk)
    header, first, second = hub("runs").stdout.splitlines()
    assert header.split() == ["run", "agent", "state", "started", "(UTC)", "files", "items", "note"]
    assert first.split(maxsplit=7) == [
        "789abcde",
        "notes",
        "QUEUED",
        "01-05",
        "09:01",
        "0/?",
        "0",
        "device desk is offline, last seen 09:01:00 UTC",
    ]
    assert (second.split()[-1], json.loads(hub("runs", "--json").stdout)["runs"][0]["id"]) == ("-", ID)


def read(hub: Hub, served: ServedHub, portal: BlockingPortal, frames: list[Any]) -> str:
    """Return the id of a run to whose end a device sends *frames*."""
    with portal.wrap_async_context_manager(served.working(frames)):
        id = hub("run", "notes").stdout.strip()
        portal.call(served.ends, id)
    return id


def mail(kind: str, other: str) -> dict[str, Any]:
    """Return the piece of a mail of two parts."""
    text = (
        f"Content-Type: multipart/{kind}; boundary=x\n\n--x\n\nCall Ana\n--x\nContent-Type: {other}\n--x--\n"
    )
    content = base64.b64encode(text.encode()).decode()
    return {"content": content, "encoding": "base64", "media_type": "message/rfc822"}


ENCRYPTED: dict[str, Any] = {
    "content": "Subject: Rent\n",
    "media_type": "message/rfc822",
    "parts": [PartCount(name="application/pkcs7-mime encrypted")],
}


@pytest.mark.parametrize(
    ("piece", "parts", "remark"),
    [
        ({"guessed": "cp1252"}, {}, "guessed encoding cp1252 1 characters, which may be wrong"),
        (mail("alternative", "text/html\n\n<p>Call"), {"text/plain read": 1}, ""),
        (
            mail("mixed", "image/png; name=a.png\n\nx"),
            {"text/plain read": 1},
            "parts text/plain read 1, parts image/png no text 1",
        ),
        (ENCRYPTED, {}, "parts application/pkcs7-mime encrypted 1"),
    ],
    ids=["guessed encoding", "other form of the text", "unread part", "part unread by the device"],
)
def test_runs_show_names_guessed_and_unread_parts_of_a_file(
    hub: Hub,
    served: ServedHub,
    portal: BlockingPortal,
    piece: dict[str, Any],
    parts: dict[str, int],
    remark: str,
) -> None:
    (frames,) = folder(a="- [ ] payer Zoé")
    (data,) = (frame for frame in frames if isinstance(frame, AgentData))
    sent = [msgspec.structs.replace(one, **piece) for one in data.files]
    frames[frames.index(data)] = msgspec.structs.replace(data, files=sent)
    id = read(hub, served, portal, frames)
    lines = hub("runs", "show", id).stdout.splitlines()
    assert [line for line in lines if re.search("parts|guessed", line)] == [f"a.md: {remark}"] * bool(remark)
    (unit,) = json.loads(hub("runs", "show", id, "--json").stdout)["units"]
    assert unit["notes"].get("parts", {}).items() >= parts.items()


def test_a_partial_run_shows_failed_and_remaining_files(hub: Hub, partial_run: str) -> None:
    note = "2 failed: 1 changed, 1 unreadable; first: "
    assert f"3/7    2      {note}" in hub("runs").stdout
    assert "4 files left for the next runs" in hub("runs").stdout
    shown = hub("runs", "show", partial_run).stdout
    assert "1 read, 0 skipped, 2 failed, 4 left for the next runs" in shown


POLISH = "Trzeba jeszcze zapłacić czynsz do 9.12, bo nie mam już czasu."
IN_POLISH = "file in Polish: rules read only check boxes and dates there; choose a model: hub help models"


class RunningHub:
    """A hub whose run, perhaps the first one, has gone on for longer than ``hub up`` waits."""

    def __init__(self, last_run: dict[str, Any] | None, files: int, run_files: int) -> None:
        self.last_run, self.files, self.run_files = last_run, files, run_files

    def get_all(self, path: str, kind: str) -> dict[str, Any]:
        agent = {"name": "notes", "user": "anna", "device": "desk", "paths": ["/notes"], "timezone": "UTC"}
        return {kind: [agent | {"last_run": self.last_run}]}

    def post(self, path: str) -> dict[str, Any]:
        return {"id": ID}

    def get(self, path: str) -> dict[str, Any]:
        if path == "/v1/config":
            return {"settings": {"limits": {"run_files": self.run_files}}}
        counts = {
            "units_total": self.files,
            "units_done": 3,
            "units_skipped": 1,
            "units_failed": 0,
            "items_created": 1,
        }
        found = {"unread_languages": {"Polish": 1}, "followed_by": None, "left_because": None}
        return counts | found | {"id": ID, "state": "RUNNING", "waiting_for": None, "message": None}


MORE_RUNS = "; a run reads at most 7 files, and the next run goes on at once"


@pytest.mark.parametrize(
    ("files", "run_files", "told"),
    [
        (9, 8, "4/9 files, 1 item"),
        (9, 7, f"4/9 files, 1 item{MORE_RUNS}"),
        (0, 7, f"4 files finished so far, 1 item{MORE_RUNS}"),
    ],
)
@pytest.mark.parametrize(
    ("last_run", "named"), [(None, "the first run"), ({"id": ID, "state": "RUNNING"}, "a run")]
)
def test_up_names_progress_next_run_and_unread_languages_of_an_unfinished_run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    last_run: dict[str, Any] | None,
    named: str,
    files: int,
    run_files: int,
    told: str,
) -> None:
    monkeypatch.setattr(up, "RUN_S", -1.0)
    running: Any = RunningHub(last_run, files, run_files)
    assert up._first_run(running, "desk", (), (), ()) is None
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "goes on" in line]
    assert line.startswith(f"{named} goes on, {told}; 1 {IN_POLISH}; the page shows")


def test_unfinished_run_names_unread_languages(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    row = portal.call(served.run, ID, RunState.RUNNING)
    unit = {"run_id": row.id, "unit_key": "notes/a.md", "content_hash": "0", "state": "DONE"}
    noted = unit | {"updated_at": 1, "notes": {"unread_languages": {"Polish": 1}}}
    portal.call(served.store.write, lambda c: c.execute(sa.insert(run_units), noted) and None)
    assert json.loads(hub("runs", "show", ID, "--json").stdout)["unread_languages"] == {"Polish": 1}


def test_runs_name_the_files_in_unread_languages(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    (frames,) = folder(a=POLISH, b="Call Ann by Friday, please.")
    sentence = f"1 {IN_POLISH}"
    for counts in ("2 read, 0 skipped", "0 read, 2 skipped"):
        with portal.wrap_async_context_manager(served.working(frames)):
            followed = hub("run", "notes", "--follow")
        assert counts in followed.stdout and sentence in followed.stderr
    runs = json.loads(hub("runs", "--json").stdout)["runs"]
    assert [run["unread_languages"] for run in runs] == [{"Polish": 1}, {"Polish": 1}]


def test_run_outputs_count_skipped_files_with_reasons(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    (frames,) = folder(a="- [ ] pay")
    skipped = [
        SkippedFile(path="cat.png", reason="not_convertible: a picture"),
        SkippedFile(path="*", reason="other_extension", files=7),
    ]
    frames[-1] = AgentComplete(run_id="r", skipped=skipped)
    with portal.wrap_async_context_manager(served.working(frames)):
        followed = hub("run", "notes", "--follow").stdout
    counts = "1 read, 8 skipped (1 not convertible, 7 other extension), 0 failed"
    assert f"success: {counts}, 1 item" in followed
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    assert run["left_out"] == {"not_convertible": 1, "other_extension": 7}
    assert (run["units_total"], run["units_skipped"], run["units_left"]) == (9, 8, 0)
    sentence = "7 skipped, other extension: file_extensions of the agent do not name it"
    shown = hub("runs", "show", run["id"]).stdout
    assert counts in shown and sentence in shown
    assert sentence in hub("runs", "files", run["id"]).stderr


@pytest.mark.parametrize("deleted", ["a.md", None])
def test_runs_files_names_files_whose_rows_another_program_deleted(
    hub: Hub, served: ServedHub, portal: BlockingPortal, deleted: str | None
) -> None:
    id = read(hub, served, portal, folder(a="- [ ] pay", b="- [ ] call")[0])
    whole = hub("runs", "files", id)
    assert (whole.exit_code, "missing" in whole.stderr) == (0, False)
    is_row = (run_units.c.unit_key == deleted) if deleted else sa.true()
    portal.call(served.store.write, lambda c: c.execute(sa.delete(run_units).where(is_row)) and None)
    left = hub("runs", "files", id)
    count = 1 if deleted else 2
    assert (left.exit_code, f"{count} files are missing" in left.stderr) == (1, True)


def test_runs_pause_reports_a_pause_waiting_for_files_in_progress(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    with portal.wrap_async_context_manager(served.working(*folder(a="- [ ] one"), answers=())) as link:
        id = hub("run", "notes").stdout.strip()
        portal.call(link.is_called)
        paused = hub("runs", "pause", id)
        as_json = json.loads(hub("runs", "pause", id, "--json").stdout)
        portal.call(link.cut)
    waits = "of notes: RUNNING, pauses when its calls are answered: device desk has not answered a call of "
    assert waits in paused.stderr
    assert as_json["is_pausing"] is True


def test_runs_show_counts_begun_files_while_their_number_is_unknown(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    (frames,) = folder(a="- [ ] one", b="- [ ] two")
    frames = [frame for frame in frames if isinstance(frame, AgentData)]
    with portal.wrap_async_context_manager(served.working(frames, answers=(), capabilities=())) as link:
        id = hub("run", "notes").stdout.strip()
        portal.call(link.is_called)
        shown, listed = hub("runs", "show", id).stdout, hub("runs").stdout
        portal.call(link.cut)
    (files,) = re.findall(r"^files +(.+)", shown, re.MULTILINE)
    begun = len(re.findall(r"^\w\.md +EXTRACTED", shown, re.MULTILINE))
    assert (files, begun > 0) == (f"0 done, 0 skipped, 0 failed, {begun} begun", True)
    assert re.search(r" RUNNING .* 0/\? ", listed)


def test_runs_show_names_a_silent_device_five_seconds_after_a_call_or_the_last_answer(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    def reason(seconds: float) -> str:
        """Return why the run waits after these seconds."""
        served.clock.advance(seconds)
        shown = json.loads(hub("runs", "show", id, "--json").stdout)
        return str(shown["waiting_for"]).partition(" of ")[0]

    def advances(c: sa.Connection) -> None:
        c.execute(sa.update(run_table).values(updated_at=served.now_ms))

    with portal.wrap_async_context_manager(served.working(*folder(a="- [ ] one"), answers=())) as link:
        id = hub("run", "notes").stdout.strip()
        portal.call(link.is_called)
        reasons = [reason(4), reason(1)]
        portal.call(served.store.write, advances)
        reasons += [reason(4), reason(1)]
        portal.call(link.cut)
    assert reasons == ["None", "device desk has not answered a call"] * 2


def test_runs_show_prints_the_duration_of_each_step(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.run, "r-2")
    served.clock.advance(15)
    portal.call(served.move, "r-2", RunState.RUNNING)
    served.clock.advance(60)
    portal.call(served.move, "r-2", RunState.COMPLETED)
    shown = hub("runs", "show", "r-2").stdout
    assert re.search(r"queued +15 s  \|#+ +\|", shown)
    assert re.search(r"running +1 min  \| +#+\|", shown)
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_runs_show_with_follow_shows_the_outcome_of_the_run(
    hub: Hub, served: ServedHub, portal: BlockingPortal, leads: Leads
) -> None:
    portal.call(served.run, "r-1", RunState.RUNNING)
    leads(RunState.COMPLETED)
    ends(hub("runs", "show", "r-1", "--follow"), 0, stdout=("outcome   success",))


def test_runs_show_with_follow_of_a_failed_run_exits_with_1(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.run, "r-2", RunState.FAILED)
    result = hub("runs", "show", "r-2", "--follow")
    assert (result.exit_code, len(served.work.watch)) == (1, 0)


@pytest.mark.parametrize(
    ("words", "after", "reason"),
    [
        (["cancel", "r-1", "--reason", "wrong folder"], RunState.CANCELLED, "wrong folder"),
        (["pause", "r-1"], RunState.PAUSED, None),
    ],
)
def test_a_run_is_stopped_with_the_caller_as_actor(
    hub: Hub, served: ServedHub, portal: BlockingPortal, words: list[str], after: RunState, reason: str | None
) -> None:
    portal.call(served.run, "r-1")
    ends(hub("runs", *words), 0, after)
    move = json.loads(hub("runs", "show", "r-1", "--json").stdout)["history"][-1]
    assert (move["after"], move["reason"]) == (after, reason)
    me = pwd.getpwuid(os.getuid()).pw_name
    assert (move["actor"], move["actor_name"]) == (f"operator:{os.getuid()}", me)
    shown = hub("runs", "show", "r-1").stdout
    assert f"operator {me}" in shown and "operator:" not in shown


def test_runs_rerun_prints_only_the_new_run_id_on_stdout(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.run, "r-1", RunState.CANCELLED)
    result = hub("runs", "rerun", "r-1")
    again = result.stdout.strip()
    assert json.loads(hub("runs", "show", again, "--json").stdout)["rerun_of"] == "r-1"
    assert "QUEUED" in result.stderr


def test_runs_are_listed_by_outcome_device_and_time(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    def listed(*words: str) -> list[str]:
        return [run["id"] for run in json.loads(hub("runs", *words, "--json").stdout)["runs"]]

    served.clock.set_wall((START - timedelta(days=1)).replace(hour=17, minute=59))
    portal.call(served.run, "r-0", RunState.FAILED)
    served.clock.advance(60)
    portal.call(served.run, "r-1", RunState.FAILED)
    portal.call(served.run, "r-2", RunState.COMPLETED)
    assert listed("--outcome", "failed", "--since", "yesterday 18:00", "--device", "desk") == ["r-1"]
    assert listed("--until", "yesterday 18:00") == ["r-0"]
    (row,) = (line for line in hub("runs").stdout.splitlines() if line.startswith("r-1"))
    assert (row.split()[2], hub("runs", "--device", "lab").exit_code) == ("failed", 1)


def test_runs_show_reports_why_a_connector_returned_the_run(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    why = "connector wiki: the server wrote a line of more than 2097152 bytes"
    row = portal.call(served.run, "r-1", RunState.RUNNING)
    sent_back = partial(run_moves.move, held=row.held, event=RunEvent.SENT_BACK, actor="hub", reason=why)
    later = served.now_ms + 60_000
    portal.call(served.store.write, lambda c: sent_back(c, at=served.now_ms, eligible_at=later))
    lines = hub("runs", "show", "r-1").stdout.splitlines()
    facts = dict(line.split("  ", 1) for line in lines if "  " in line)
    assert facts["reason"].strip() == "tried again at 09:01:00 UTC"
    assert facts["returned because"].strip() == why
    assert facts["attempts"].strip() == "attempt 1 of 5; returned to the queue 1 time"


def test_runs_why_prints_a_line_per_run(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.run, "r-0", RunState.COMPLETED)
    portal.call(partial(served.run, "r-1", RunState.CANCELLED, reason="start_deadline"))
    portal.call(partial(served.run, "r-2", RunState.FAILED, reason="the device refused"))
    portal.call(partial(served.run, "r-3", RunState.COMPLETED, outcome=RunOutcome.PARTIAL))
    portal.call(served.run, "r-4")
    at = "2026-01-05 09:00 UTC"
    assert hub("runs", "--why").stdout.splitlines() == [
        f"r-4 notes, {at}: queued: next in line",
        f"r-3 notes, {at}: partial",
        f"r-2 notes, {at}: failed: the device refused",
        f"r-1 notes, {at}: cancelled: not started in time",
        f"r-0 notes, {at}: succeeded",
    ]


def test_runs_command_without_a_match_reports_no_matching_runs(hub: Hub, served: ServedHub) -> None:
    assert hub("runs").stderr == "no matching runs; start one: hub run AGENT --follow\n"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", "2026-01-05T07:00:00"),
        ("90m", "2026-01-05T07:30:00"),
        ("1w", "2025-12-29T09:00:00"),
        ("today", "2026-01-04T23:00:00"),
        ("today 8:30", "2026-01-05T07:30:00"),
        ("yesterday 18:00", "2026-01-04T17:00:00"),
        ("2025-07-01", "2025-06-30T22:00:00"),
        ("2025-07-01 12:00", "2025-07-01T10:00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05"),
        ("2026-01-02T03:04+01:00", "2026-01-02T02:04:00"),
        ("gestern", "2026-01-03T23:00:00"),
        ("6.1.", "2026-01-05T23:00:00"),
        ("1.7.2025 12:00", "2025-07-01T10:00:00"),
        ("--until yesterday", "2026-01-04T23:00:00"),
        ("--until 2025-06-30", "2025-06-30T22:00:00"),
        ("--until today 8:30", "2026-01-05T07:30:00"),
    ],
)
def test_a_time_is_read_in_the_zone_of_the_operator(
    monkeypatch: pytest.MonkeyPatch, text: str, at: str
) -> None:
    monkeypatch.setattr(show, "clock", FakeClock())
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        option = click.Option(["--until"]) if text.startswith("--until ") else None
        moment = TimeParam().convert(text.removeprefix("--until "), option, None)
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
    assert datetime.fromisoformat(moment) == datetime.fromisoformat(at).replace(tzinfo=UTC)


@each("text", ["", "yestrday", "2 hours", "25:00", "today 24:30", "2026-13-01", "31.2.", "monday 9:00"])
def test_an_invalid_time_is_refused_with_the_valid_forms(hub: Hub, text: str) -> None:
    refused = hub("runs", "--since", text)
    assert refused.exit_code == 2
    error = " ".join(refused.stderr.replace("│", " ").split())
    assert "is not a time" in error and "yesterday 18:00" in error


def test_agents_preview_without_a_model_reports_the_prompt_as_ineffective(
    hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path
) -> None:
    prompt = tmp_path / "new.txt"
    prompt.write_text("Find invoices.")
    (frames,) = folder(a="- [ ] call Ann\n")
    with portal.wrap_async_context_manager(served.working(frames, frames)):
        shown = hub("agents", "preview", "notes", "--prompt", str(prompt))
        assert "the prompt changes nothing" in shown.stderr
        assert "the prompt" not in hub("agents", "preview", "notes").stderr


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def _unit(path: str, *seconds: float | None, state: str = "DONE", error: str | None = None) -> dict[str, Any]:
    """A file that was read, planned and settled so many seconds after the start."""
    read, planned, settled = (None if at is None else _at(at) for at in (*seconds, None, None, None)[:3])
    times = {"began_at": None, "read_at": read, "planned_at": planned, "settled_at": settled}
    return {"path": path, "state": state, "items": 1, "error": error} | times


def _run(*units: dict[str, Any], moves: dict[str, float], ended: float | None = None) -> dict[str, Any]:
    return {
        "history": [{"after": state, "at": _at(at)} for state, at in moves.items()],
        "completed_at": None if ended is None else _at(ended),
        "as_of": _at(100),
        "units": list(units),
    }


@each(
    ("spans", "drawn"),
    [
        ([(0, 10, "#")], "##########"),
        ([(0, 5, "."), (5, 10, "=")], ".....====="),
        ([(2, 4, "#")], "  ##      "),
        ([(3, 3.01, "#")], "   #      "),
        ([(9.9, 10, "#")], "         #"),
    ],
)
def test_time_bar_is_to_scale_and_shows_every_short_span(
    spans: list[tuple[float, float, str]], drawn: str
) -> None:
    def at(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    assert bar([TimelineSpan(at(a), at(b), mark) for a, b, mark in spans], at(0), at(10), 10) == drawn


def test_a_stage_lasts_until_the_next_move_and_the_end_lasts_no_time() -> None:
    run = _run(moves={"QUEUED": 0, "RUNNING": 20, "COMPLETED": 40}, ended=40)
    assert stage_lines(run, 37) == [
        "queued   20 s  |##########          |",
        "running  20 s  |          ##########|",
    ]


def test_stage_of_a_live_run_lasts_until_now() -> None:
    assert stage_lines(_run(moves={"QUEUED": 0, "PAUSED": 40}), 27) == [
        "queued   40 s  |####      |",
        "paused  1 min  |    ######|",
    ]


def test_file_bar_shows_reading_extracting_and_delivering_in_order() -> None:
    moves = {"QUEUED": 0.0, "RUNNING": 10.0, "COMPLETED": 40.0}
    run = _run(_unit("a.md", 20, 30, 40), moves=moves, ended=40)
    header, line, legend = file_lines(run, 80)
    drawn = line.split("|")[1]
    assert header.split() == ["file", "state", "items", "took"]
    assert line.split()[:4] == ["a.md", "DONE", "1", "30"]
    thirds = [drawn.count(mark) for mark in (READING, EXTRACTING, DELIVERING)]
    assert drawn == READING * thirds[0] + EXTRACTING * thirds[1] + DELIVERING * thirds[2]
    assert max(thirds) - min(thirds) <= 1
    assert legend == LEGEND


def test_failed_file_line_shows_the_reason_instead_of_a_bar() -> None:
    moves = {"RUNNING": 0.0, "COMPLETED": 40.0}
    run = _run(_unit("b.md", 10, None, 20, state="FAILED", error="not\ntext"), moves=moves, ended=40)
    assert file_lines(run, 80)[1].endswith("20 s  not text")


def test_file_lines_omit_known_files_and_show_the_reason_of_skipped_files() -> None:
    known, left_out = _unit("a.md", state="SKIPPED"), _unit("b.md", state="SKIPPED", error="too large")
    run = _run(known, left_out, moves={"RUNNING": 0})
    told = file_lines(run, 80)
    assert not any("a.md" in line for line in told)
    assert told[1].split() == ["b.md", "SKIPPED", "1", "-", "too", "large"]


def test_file_lines_are_limited_to_failed_and_slowest_files() -> None:
    quick = [_unit(f"quick-{n:03}.md", 1, 2, 3 + n / 1_000) for n in range(MAX_FILES)]
    slow = _unit("slow.md", 1, 2, 90)
    failed = _unit("failed.md", state="FAILED", error="gone")
    told = file_lines(_run(*quick, slow, failed, moves={"RUNNING": 0, "COMPLETED": 95}, ended=95), 80)
    assert len(told) == MAX_FILES + 3
    assert any("slow.md" in line for line in told)
    assert any("failed.md" in line for line in told)
    assert "and 2 more files" in told[-2]


def test_long_path_in_file_lines_is_shown_by_the_end_without_controls() -> None:
    run = _run(_unit("a\x1b" + "folder/" * 20 + "end.md", 1, 2, 3), moves={"RUNNING": 0})
    line = file_lines(run, 80)[1]
    assert line.startswith("...") and "end.md" in line
    assert "\x1b" not in line
    assert len(line) <= 80


def test_durations_below_ten_seconds_are_shown_with_tenths() -> None:
    assert [took(seconds) for seconds in (0.04, 9.96, 12.3, 200)] == ["0.0 s", "10.0 s", "12 s", "3 min 20 s"]


def test_long_failure_reason_is_wrapped_below_the_file_line() -> None:
    reason = "the budget budget.run_usd = 1 is reached: 0.9990 USD spent, and the next question may cost more"
    failed = _unit("a.md", state="FAILED", error=reason)
    lines = file_lines(_run(failed, moves={"RUNNING": 0}, ended=10), 80)
    assert " ".join(line.strip() for line in [line for line in lines if line.startswith("    ")]) == reason
    assert all(len(line) <= 80 for line in lines)


def test_run_with_follow_continues_with_the_following_runs(
    hub: Hub, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((manifest, first, second, end),) = folder(a=f"{POLISH}\n\n- [ ] call Ann", b=f"{POLISH}\n\n- [ ] pay")
    served.work._source.limits = RunLimits(files=1)
    follow = HubClient.follow

    def after_settling(self: HubClient, path: str) -> Iterator[Any]:
        served.clock.advance(60)
        portal.call(served.work.dispatcher.recheck)
        yield from follow(self, path)

    monkeypatch.setattr(HubClient, "follow", after_settling)
    with portal.wrap_async_context_manager(served.working([manifest, first, end], [manifest, second, end])):
        result = hub("run", "notes", "--follow")
    listed = json.loads(hub("runs", "--json").stdout)["runs"]
    before, last = sorted(listed, key=lambda run: str(run["trigger"]))
    assert (before["followed_by"], last["followed_by"]) == (last["id"], None)
    summed_up = [line for line in result.stdout.splitlines() if line.startswith("success")]
    assert summed_up == [
        f"success: 1 read, 0 skipped, 0 failed, 1 left to run {last['id'][-8:]}, 1 item, 0 model requests",
        "success: 1 read, 1 skipped, 0 failed, 1 item, 0 model requests",
    ]
    assert f"1 file left to run {last['id'][-8:]}" in hub("runs").stdout
    assert before["left_because"] == "1 of 2 files read; the next run goes on with 1 at once"
    assert last["left_because"] is None
    assert [run["unread_languages"] for run in (before, last)] == [{"Polish": 1}, {"Polish": 2}]
    assert before["left_because"] in result.stderr
    assert "with the runs before: 2 items" in result.stderr.splitlines()
    assert before["left_because"] in hub("runs", "show", before["id"]).stdout


class ChainedRuns:
    """A hub in which *most* runs follow one another."""

    def __init__(self, most: int) -> None:
        self._most = most

    def get(self, path: str) -> dict[str, Any]:
        number = int(path.rpartition("/")[2])
        followed_by = str(number + 1) if number < self._most else None
        run = {"id": str(number), "state": "COMPLETED", "waiting_for": None, "items_created": 1}
        return run | {"followed_by": followed_by}

    def follow(self, path: str) -> Iterator[Any]:
        yield {"run": self.get(path.removesuffix("/events"))}


def test_follow_ends_with_the_last_of_many_chained_runs(capsys: pytest.CaptureFixture[str]) -> None:
    most = 2 * sys.getrecursionlimit()
    chained: Any = ChainedRuns(most)
    with click.Context(click.Command("show")) as ctx:
        last = follow_to_end(ctx, chained, chained.get("/v1/runs/1"), as_json=True)
    assert last["id"] == str(most)
