"""The commands that ask a running hub."""

import json
import os
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from msgspec import structs

from protocol.lifecycles import RunState
from tests.hub.api.test_item_routes import keep
from tests.hub.cli.conftest import Hub
from tests.support.facade import FakeHub, make_run, steps


def test_status_fits_on_one_screen(hub: Hub, served: FakeHub) -> None:
    told = hub("status").stdout
    assert "home (running)" in told
    assert "1 h 2 min" in told
    assert "1 RUNNING, 4 COMPLETED" in told
    assert "generation 1" in told
    assert all(len(line) <= 80 for line in told.splitlines())
    assert "held back" not in told


def test_status_says_what_is_held_back_and_what_is_not(hub: Hub, served: FakeHub) -> None:
    served.held_back = "held back until 11:46 UTC after 8 starts"
    assert f"{served.held_back}; runs started by hand are not" in hub("status").stdout


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["status"], "hub.status/1"),
        (["agents"], "hub.agents/1"),
        (["agents", "next"], "hub.next/1"),
        (["agents", "next", "notes"], "hub.next/1"),
        (["agents", "pause", "notes"], "hub.agent/1"),
        (["agents", "resume", "notes"], "hub.agent/1"),
        (
            ["agents", "backfill", "notes", "--from", "2026-01-01", "--to", "2026-01-03", "--yes"],
            "hub.backfill/1",
        ),
        (["runs"], "hub.runs/1"),
        (["runs", "ls", "--agent", "notes"], "hub.runs/1"),
        (["runs", "show", "r-1"], "hub.run/1"),
        (["runs", "cancel", "r-1"], "hub.run/1"),
        (["runs", "pause", "r-1"], "hub.run/1"),
        (["runs", "rerun", "r-1"], "hub.run/1"),
        (["run", "notes"], "hub.run/1"),
    ],
)
def test_json_is_one_object_that_names_its_shape(
    hub: Hub, served: FakeHub, words: list[str], schema: str
) -> None:
    result = hub(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["schema"] == schema


@pytest.mark.parametrize(
    "words",
    [["status"], ["devices"], ["agents"], ["runs"], ["run", "notes"], ["token", "create", "--device", "d"]],
)
def test_without_a_hub_a_command_says_how_to_start_one(hub: Hub, words: list[str]) -> None:
    result = hub(*words)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "no hub is running" in result.stderr
    assert "hub serve" in result.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every socket")
def test_a_socket_of_another_user_is_not_permitted(hub: Hub, state: Path, served: FakeHub) -> None:
    (state / "hub.sock").chmod(0)
    assert hub("status").exit_code == 77


def test_a_refusal_says_what_and_what_next(hub: Hub, served: FakeHub) -> None:
    result = hub("run", "nobody")
    assert result.exit_code == 1
    assert "no agent is named nobody" in result.stderr
    assert "'hub agents' lists" in result.stderr


def test_tables_elsewhere_than_on_a_terminal_are_plain_and_uncut(hub: Hub, served: FakeHub) -> None:
    told = hub("agents").stdout.splitlines()
    assert told[0].split() == [
        "agent",
        "state",
        "device",
        "connected",
        "schedule",
        "next",
        "(UTC)",
        "last",
        "run",
        "(UTC)",
    ]
    assert told[1] == (
        "notes  active  desk    yes        0 7 * * 1-5  01-06 06:00  01-05 09:00 success, 2 items"
    )


def test_one_run_is_shown_with_its_files_and_errors(hub: Hub, served: FakeHub) -> None:
    result = hub("runs", "show", "r-1")
    assert "b.md  FAILED         0          -  not text" in result.stdout
    assert "not_convertible: b.md: not text" in result.stderr


def test_a_run_that_is_not_followed_is_named(hub: Hub, served: FakeHub) -> None:
    result = hub("run", "notes")
    assert result.stdout == "r-2\n"
    assert "hub runs show r-2" in result.stderr


def test_a_run_that_had_ended_is_not_said_to_be_cancelled(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-1", RunState.COMPLETED))
    told = hub("runs", "cancel", "r-1")
    assert (told.exit_code, "had ended already: COMPLETED" in told.stderr) == (0, True), told.stderr


def test_the_same_key_starts_one_run(hub: Hub, served: FakeHub) -> None:
    assert hub("run", "notes", "--key", "k").stdout == hub("run", "notes", "--key", "k").stdout


def test_a_followed_run_tells_each_new_state_and_sums_up(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(
        make_run("r-2"),
        make_run("r-2", RunState.RUNNING),
        make_run("r-2", RunState.RUNNING, items=1),
        make_run("r-2", RunState.PAUSED, waiting_for="the device desk"),
        make_run("r-2", RunState.COMPLETED, items=2),
    )
    result = hub("run", "notes", "--follow")
    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.stderr.splitlines()[:5]] == [
        "QUEUED",
        "RUNNING",
        "PAUSED, the device desk",
        "the run resumes by itself; Ctrl-C ends only this command, then",
        "COMPLETED",
    ]
    summary, *found = result.stdout.splitlines()
    assert summary == "success: 2 read, 1 skipped, 0 failed, 2 items, 0 model requests"
    assert found == ["  ... and 2 more"]


def test_a_followed_run_ends_with_titles_and_the_next_command(
    hub: Hub, served: FakeHub, portal: BlockingPortal
) -> None:
    portal.call(served.bench.store.write, keep)
    served.progress = steps(make_run("r-1", RunState.COMPLETED, items=12))
    result = hub("run", "notes", "--follow")
    _, *found = result.stdout.splitlines()
    assert sorted(found[:4]) == [f"  tasks  task {n}" for n in range(4)]
    assert found[4:] == ["  ... and 8 more"]
    assert result.stderr.splitlines()[-1] == "they wait for review on desk; run there: hub review"


def test_a_followed_run_that_found_nothing_names_no_next_command(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.COMPLETED))
    assert "hub review" not in hub("run", "notes", "--follow").output


def test_what_brought_no_new_row_is_summed_up_too(hub: Hub, served: FakeHub) -> None:
    ended = make_run("r-2", RunState.COMPLETED, items=2)
    served.progress = steps(structs.replace(ended, items_updated=1, items_known=20, usd=0.25))
    told = hub("run", "notes", "--follow").stdout
    assert "2 items, 1 updated, 20 known before, 0 model requests, 0.2500 USD" in told


def test_a_followed_run_that_fails_ends_with_1(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.FAILED))
    assert hub("run", "notes", "--follow").exit_code == 1


def test_a_followed_run_in_json_is_one_object_a_line(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2"), make_run("r-2", RunState.COMPLETED))
    result = hub("run", "notes", "--follow", "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(step["schema"], step["seq"], step["run"]["state"]) for step in told] == [
        ("hub.progress/1", 0, "QUEUED"),
        ("hub.progress/1", 1, "COMPLETED"),
    ]


def test_a_hub_that_stops_while_a_run_is_followed_asks_to_try_again(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.RUNNING))  # and then the stream ends
    result = hub("run", "notes", "--follow")
    assert result.exit_code == 75
    assert "hub runs show r-2" in result.stderr


def test_a_name_cannot_drive_the_terminal(hub: Hub, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.PAUSED, waiting_for="\x1b]0;x\x07"))
    assert "\x1b" not in hub("run", "notes", "--follow").stderr


def test_a_fault_in_the_hub_is_told_without_a_traceback(hub: Hub, served: FakeHub) -> None:
    served.broken = RuntimeError("boom")
    result = hub("status")
    assert result.exit_code == 69
    assert "Traceback" not in result.output
