"""The commands that ask a running hub."""

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.base.clock import epoch_ms
from hub.cli.hub_client import HubClient
from protocol.ids import BootId, NodeId
from protocol.lifecycles import RunState
from protocol.skipped_files import SkippedFile
from protocol.work import AgentComplete
from storage.devices import nodes
from storage.runs import runs
from tests.hub.cli.conftest import Hub, Leads, ends
from tests.support.clock import START
from tests.support.families import each
from tests.support.hub import NODE, ServedHub, serving
from tests.support.runs import folder


@pytest.fixture
def worked(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Iterator[ServedHub]:
    """A hub that executes runs, and that has executed one: two items of one file, and two files skipped."""
    (frames,) = folder(a="- [ ] call Ann\n- [ ] pay")
    skipped = [
        SkippedFile(path="b.md", reason="unreadable: no permission"),
        SkippedFile(path="c", reason="hidden"),
    ]
    frames[-1] = AgentComplete(run_id="r", skipped=skipped)
    with portal.wrap_async_context_manager(served.working(frames)):
        portal.call(served.ends, hub("run", "notes").stdout.strip())
        yield served


def test_status_fits_on_a_single_screen(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    assert re.search(r"^runs +none in progress$", hub("status").stdout, re.MULTILINE)
    portal.call(served.run, "r-1", RunState.COMPLETED)
    portal.call(served.run, "r-2", RunState.RUNNING)
    served.clock.advance(3_725.0)
    screen = hub("status").stdout
    assert "home (running)" in screen and "1 h 2 min" in screen
    assert "1 RUNNING" in screen and "COMPLETED" not in screen
    assert "generation 1" in screen
    assert all(len(line) <= 80 for line in screen.splitlines() if "hub.sock" not in line)
    assert "held back" not in screen


def test_status_after_crashes_shows_until_when_schedules_are_held(
    hub: Hub, state: Path, portal: BlockingPortal
) -> None:
    def crash(c: sa.Connection) -> None:
        for number in range(7):
            boot = BootId(f"crashed-{number}")
            nodes.begin_boot(c, NodeId(NODE), boot, epoch_ms(START), window_ms=600_000)

    state.mkdir()
    with portal.wrap_async_context_manager(serving(state, before=crash)):
        screen = " ".join(hub("status").stdout.split())
    assert "held back until 09:10" in screen and "after 8 starts" in screen
    assert "a run that you start does not wait: hub run AGENT" in screen


@each(
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
        (["runs", "pause", "r-1"], "hub.run/1"),
        (["runs", "cancel", "r-1"], "hub.run/1"),
        (["runs", "rerun", "r-1"], "hub.run/1"),
        (["run", "notes"], "hub.run/1"),
    ],
)
def test_json_output_is_a_single_object_with_the_schema_name(
    hub: Hub, served: ServedHub, portal: BlockingPortal, words: list[str], schema: str
) -> None:
    if not portal.call(served.store.read, runs.list_runs):
        portal.call(served.run, "r-1")
    result = hub(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["schema"] == schema


@each(
    "words",
    [
        ["status"],
        ["devices"],
        ["agents"],
        ["runs"],
        ["run", "notes"],
        ["token", "create", "--device", "d"],
        ["drain"],
    ],
)
def test_command_without_a_running_hub_names_the_serve_command(hub: Hub, words: list[str]) -> None:
    result = hub(*words)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no hub is running" in result.stderr and "hub serve" in result.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every socket")
def test_inaccessible_unix_socket_exits_with_77(hub: Hub, state: Path, served: ServedHub) -> None:
    (state / "hub.sock").chmod(0)
    assert hub("status").exit_code == 77


def test_refused_command_shows_reason_and_next_step(hub: Hub, served: ServedHub) -> None:
    ends(hub("run", "nobody"), 1, "there is no agent 'nobody'", "'hub agents' lists")


def test_tables_elsewhere_than_on_a_terminal_are_plain_and_uncut(hub: Hub, worked: ServedHub) -> None:
    header, row = hub("agents").stdout.splitlines()
    assert " ".join(header.split()) == "agent state device connected schedule next (UTC) last run"
    assert row.split("  ")[:3] == ["notes", "active", "desk"]
    assert row.endswith("  Monday to Friday at 07:00  01-06 06:00  01-05 09:00 partial, 2 items")


def test_runs_show_lists_files_and_errors_of_the_run(hub: Hub, worked: ServedHub) -> None:
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    result = hub("runs", "show", run["id"])
    assert "a.md  DONE           2" in result.stdout
    assert result.stderr.splitlines() == ["b.md: unreadable: no permission"]


def test_run_command_repeated_with_the_same_key_starts_a_single_run(hub: Hub, served: ServedHub) -> None:
    first, again = (hub("run", "notes", "--key", "k") for _ in range(2))
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    assert first.stdout == again.stdout == f"{run['id']}\n"
    assert f"hub runs show {run['id'][-8:]}" in first.stderr


def test_a_followed_run_shows_each_state_and_ends_with_a_summary(
    hub: Hub, served: ServedHub, leads: Leads
) -> None:
    leads(RunState.RUNNING, RunState.PAUSED, RunState.CANCELLED)
    result = hub("run", "notes", "--follow")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()[:5]] == [
        "QUEUED, next in line",
        "RUNNING",
        "PAUSED, next in line",
        "the run resumes by itself; what is wrong",
        "CANCELLED",
    ]
    assert result.stdout == "cancelled: 0 read, 0 skipped, 0 failed, 0 items, 0 model requests\n"


def test_follow_of_a_run_paused_by_hand_names_the_resuming_command(
    hub: Hub, served: ServedHub, leads: Leads
) -> None:
    id = hub("run", "notes").stdout.strip()
    hub("runs", "pause", id)
    leads(RunState.CANCELLED)
    said = hub("runs", "show", id, "--follow").stderr
    assert f"the run was paused by hand; resume it: hub runs resume {id[-8:]}" in said
    assert "by itself" not in said


def test_a_followed_run_ends_with_titles_and_the_next_command(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    tasks = "".join(f"- [ ] task {number}\n" for number in range(12)) + "- [ ] pay 📅 2027-02-03\n"
    file = served.folder / "devices" / "desk.db"  # of a device on the same machine, as in a demo
    file.parent.mkdir()
    file.touch()
    with portal.wrap_async_context_manager(served.working(*folder(a=tasks))):
        result = hub("run", "notes", "--follow")
    summary, *titles = result.stdout.splitlines()
    assert result.exit_code == 0
    assert summary == "success: 1 read, 0 skipped, 0 failed, 13 items, 0 model requests"
    assert titles[0] == "  tasks  pay, 2027-02-03"
    assert {title.rstrip("0123456789") for title in titles[1:10]} == {"  tasks  task "}
    assert titles[10:] == ["  ... and 3 more"]
    review = f"hub review --state {served.folder} --name desk"
    assert result.stderr.splitlines()[-1] == f"they wait for review on desk; run there: {review}"


def test_a_followed_run_without_items_names_no_next_command(
    hub: Hub, served: ServedHub, leads: Leads
) -> None:
    leads(RunState.COMPLETED)
    result = hub("run", "notes", "--follow")
    assert (result.exit_code, "hub review" in result.output) == (0, False)


def test_runs_show_counts_updated_and_known_items(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    def count(c: sa.Connection) -> None:
        counts = "items_created = 2, items_updated = 1, items_known = 20, cost_nanos = 250000000"
        c.execute(sa.text(f"UPDATE runs SET {counts}"))

    portal.call(served.run, "r-1", RunState.RUNNING)
    portal.call(served.store.write, count)
    portal.call(served.move, "r-1", RunState.COMPLETED)
    shown = " ".join(hub("runs", "show", "r-1").stdout.split())
    assert "items 2, 1 updated, 20 known before model 0 requests, 0 + 0 tokens, 0.2500 USD" in shown


def test_followed_run_in_json_prints_an_object_per_line(hub: Hub, served: ServedHub, leads: Leads) -> None:
    leads(RunState.COMPLETED)
    result = hub("run", "notes", "--follow", "--json")
    steps = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(step["schema"], step["seq"], step["run"]["state"]) for step in steps] == [
        ("hub.progress/1", 1, "QUEUED"),
        ("hub.progress/1", 2, "COMPLETED"),
    ]


def test_follow_of_a_run_exits_with_75_when_the_hub_stops(
    hub: Hub, state: Path, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    running = portal.wrap_async_context_manager(serving(state))
    running.__enter__()
    follow = HubClient.follow

    def stopped(self: HubClient, path: str) -> Iterator[object]:
        steps = follow(self, path)
        yield next(steps)
        running.__exit__(None, None, None)
        yield from steps

    monkeypatch.setattr(HubClient, "follow", stopped)
    ends(hub("run", "notes", "--follow"), 75, "hub runs show ")


def test_the_text_of_a_device_cannot_drive_the_terminal(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(partial(served.run, "r-1", RunState.CANCELLED, reason="\x1b]0;x\x07"))
    assert "\x1b" not in hub("runs", "show", "r-1").output


def test_a_fault_in_the_hub_is_reported_without_a_traceback(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(served.store, "read", fail)
    ends(hub("status"), 69, unsaid=("Traceback",))
