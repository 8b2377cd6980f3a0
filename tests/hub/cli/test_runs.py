"""Runs as a person looks back on them, stops them and lets them go on."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from protocol.lifecycles import RunOutcome, RunState
from tests.hub.cli.conftest import Hub
from tests.support.clock import START
from tests.support.facade import FakeHub, make_run, steps

ID = "0197a3c4-5b6d-7e8f-9012-3456789abcde"


def test_a_run_is_named_by_the_end_of_its_id_and_says_what_it_waits_for(hub: Hub, served: FakeHub) -> None:
    served.newest = [
        make_run(
            ID,
            waiting_for="device desk is offline, last seen 09:14",
            missed_because="2 missed: device desk was offline",
        ),
        make_run("r-0", RunState.COMPLETED),
    ]
    told = hub("runs").stdout.splitlines()
    assert told[0].split() == ["run", "agent", "state", "started", "(UTC)", "files", "items", "note"]
    assert told[1].split(maxsplit=7) == [
        "789abcde",
        "notes",
        "QUEUED",
        "01-05",
        "09:00",
        "0/3",
        "0",
        "device desk is offline, last seen 09:14; 2 missed: device desk was offline",
    ]
    assert told[2].split()[-1] == "-"
    assert json.loads(hub("runs", "--json").stdout)["runs"][0]["id"] == ID


def test_a_run_that_ended_badly_says_why(hub: Hub, served: FakeHub) -> None:
    served.newest = [
        structs.replace(
            make_run(ID, RunState.CANCELLED), reason="start_deadline", because="not started in time"
        )
    ]
    assert hub("runs").stdout.splitlines()[1].endswith("not started in time")
    assert json.loads(hub("runs", "--json").stdout)["runs"][0]["reason"] == "start_deadline"


def test_a_run_that_left_files_for_the_next_runs_says_how_many(hub: Hub, served: FakeHub) -> None:
    run = structs.replace(make_run(ID, RunState.COMPLETED), units_total=20_000, units_left=19_997)
    served.newest, served.progress = [run], steps(run)
    assert hub("runs").stdout.splitlines()[1].endswith("3/20000  0      19997 files left for the next runs")
    assert "2 read, 1 skipped, 0 failed, 19997 left for the next runs" in hub("runs", "show", ID).stdout


def test_a_run_that_ended_partial_says_in_the_list_what_was_left_out_and_how_many(
    hub: Hub, served: FakeHub
) -> None:
    ended = {"outcome": RunOutcome.PARTIAL, "because": "2 failed: too_large, file_changed", "units_left": 4}
    served.newest = [structs.replace(make_run(ID, RunState.COMPLETED), **ended)]
    told = "2 failed: too_large, file_changed; 4 files left for the next runs"
    assert hub("runs").stdout.splitlines()[1].endswith(told)


def test_a_pause_that_waits_for_the_files_in_hand_says_so(hub: Hub, served: FakeHub) -> None:
    served.started["key"] = make_run("r-9", RunState.RUNNING)
    told = hub("runs", "pause", "r-9").stderr
    assert told == "run r-9 of notes: RUNNING, pauses when the files in hand are done\n"
    assert json.loads(hub("runs", "pause", "r-9", "--json").stdout)["is_pausing"] is True


def test_one_run_shows_what_took_how_long(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.COMPLETED, items=2))
    told = hub("runs", "show", "r-2").stdout
    assert "queued    15 s  |############          " in told
    assert "running  1 min  |            ###########" in told
    assert "a.md  DONE           2      1 min  |..............--------------===============|" in told
    assert "c.md" not in told  # the ledger knew it
    assert all(len(line) <= 80 for line in told.splitlines())


def test_a_run_that_is_shown_while_it_goes_on_can_be_followed_to_its_end(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-1", RunState.RUNNING), make_run("r-1", RunState.COMPLETED, items=2))
    served.started["key"] = make_run("r-1")
    result = hub("runs", "show", "r-1", "--follow")
    assert (result.exit_code, "outcome   success" in result.stdout) == (0, True)


def test_following_a_run_that_failed_already_just_shows_it_and_ends_with_1(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.FAILED))
    result = hub("runs", "show", "r-2", "--follow")
    assert (result.exit_code, served.following.is_set()) == (1, False)


@pytest.mark.parametrize(
    ("words", "stands", "done"),
    [
        (["cancel", "r-1", "--reason", "wrong folder"], "CANCELLED", ("cancel run", "r-1", "wrong folder")),
        (["pause", "r-1"], "PAUSED", ("pause run", "r-1")),
        (["rerun", "r-1"], "QUEUED", ("rerun", "r-1")),
    ],
)
def test_a_run_is_stopped_and_let_go_on_in_somebodys_name(
    hub: Hub, served: FakeHub, words: list[str], stands: str, done: tuple[str, ...]
) -> None:
    result = hub("runs", *words)
    assert result.exit_code == 0
    assert stands in result.stderr
    assert served.done[0][:-1] == done
    assert served.done[0][-1].startswith("operator:")


def test_a_run_that_nobody_paused_cannot_be_resumed(hub: Hub, served: FakeHub) -> None:
    result = hub("runs", "resume", "r-1")
    assert result.exit_code == 1
    assert "was not paused by anybody" in result.stderr


def test_a_rerun_is_named_alone_on_stdout(hub: Hub, served: FakeHub) -> None:
    assert hub("runs", "rerun", "r-1").stdout == "r-again\n"


def test_runs_are_listed_by_outcome_device_and_time(hub: Hub, served: FakeHub) -> None:
    assert hub("runs", "--outcome", "failed", "--since", "yesterday 18:00", "--device", "desk").exit_code == 0
    assert served.wanted_runs == {
        "device": "desk",
        "outcome": "failed",
        "since": (START - timedelta(days=1)).replace(hour=18, minute=0),
        "until": None,
    }


def test_why_prints_a_line_for_each_run(hub: Hub, served: FakeHub) -> None:
    partial = structs.replace(
        make_run("r-2", RunState.COMPLETED),
        outcome=RunOutcome.PARTIAL,
        because="2 failed: too_large, file_changed",
    )
    failed = structs.replace(
        make_run("r-1", RunState.FAILED), outcome=RunOutcome.ERROR, because="not started in time"
    )
    served.newest = [
        make_run("r-3", waiting_for="device desk is offline"),
        partial,
        failed,
        make_run("r-0", RunState.COMPLETED),
    ]
    at = "2026-01-05 09:00:00 UTC"
    assert hub("runs", "--why").stdout.splitlines() == [
        f"r-3 notes, {at}: queued: device desk is offline",
        f"r-2 notes, {at}: partial: 2 failed: too_large, file_changed",
        f"r-1 notes, {at}: failed: not started in time",
        f"r-0 notes, {at}: succeeded",
    ]


def test_a_list_without_a_match_says_so(hub: Hub, served: FakeHub) -> None:
    served.newest = []
    assert hub("runs", "--outcome", "partial").stderr == "no matching runs\n"
    assert "hub run AGENT" in hub("runs").stderr


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
    ],
)
def test_a_time_is_read_in_the_zone_of_the_operator(
    hub: Hub, served: FakeHub, monkeypatch: pytest.MonkeyPatch, text: str, at: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert hub("runs", "--since", text).exit_code == 0
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
    assert served.wanted_runs["since"] == datetime.fromisoformat(at).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yestrday", "2 hours", "25:00", "today 24:30", "2026-13-01"])
def test_a_time_that_is_none_is_refused_with_the_forms_that_are(hub: Hub, served: FakeHub, text: str) -> None:
    refused = hub("runs", "--since", text)
    assert refused.exit_code == 2
    told = " ".join(refused.stderr.replace("│", " ").split())
    assert "is not a time" in told and "yesterday 18:00" in told
