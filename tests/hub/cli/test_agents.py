"""``hub agents`` and ``hub templates``: calendars, overview, status, writing, configs and abilities."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal
from msgspec import convert, to_builtins

from hub.api.resources.agent_status import AgentStatusView, AxisView
from hub.api.resources.capabilities import CapabilityView
from hub.api.resources.costs import CostView, SpendView
from hub.api.resources.locks import LockHolderView, LockView
from hub.api.resources.overviews import AgentOverview, CheckpointBrief
from hub.api.resources.runs import RunView
from hub.api.resources.schedules import ScheduleView
from hub.base.clock import epoch_ms
from hub.cli.agents import _facts, print_overview
from hub.docs import page
from hub.schedules.trigger import Upcoming
from protocol.lifecycles import RunOutcome, RunState
from storage.schedules import schedules
from storage.schedules.schedule_rows import FINISHED, DeclaredSchedule
from tests.hub.api.test_agent_configs import an_agent
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import START
from tests.support.families import each
from tests.support.hub import WEEKDAYS, ServedHub
from tests.support.presence import have_connected

NIGHTLY = DeclaredSchedule(kind="cron", expr="30 2 * * *", tz="Europe/Berlin")


def test_the_next_fires_are_shown_in_utc_and_in_the_zone_of_the_schedule(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.reschedule, NIGHTLY)
    served.clock.set_wall(datetime(2026, 3, 28, 12, tzinfo=UTC))
    header, first, *_ = hub("agents", "next").stdout.splitlines()
    assert header.split() == ["agent", "UTC", "local", "time", "note"]
    assert first.split("  ") == [
        "notes",
        "2026-03-29 01:00",
        "Sun 2026-03-29 03:00 +02:00",
        "02:30 does not exist that night; fires at 03:00",
    ]


def test_agents_list_shows_users_when_several_users_have_agents(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert [line.split()[0] for line in hub("agents").stdout.splitlines()[1:]] == ["notes"]
    anna = portal.call(served.user, "anna")
    portal.call(partial(served.agent, "notes", user_id=anna))
    rows = hub("agents").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in rows] == [["notes", "anna"], ["notes", "owner"]]


def test_the_offset_of_a_schedule_with_jitter_is_shown(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.reschedule, DeclaredSchedule(kind="every", every_ms=900_000, jitter_ms=120_000))
    (agent,) = json.loads(hub("agents", "next", "--json").stdout)["agents"]
    offset_s = agent["schedules"][0]["offset_s"]
    assert 0 < offset_s <= 120
    assert "notes: its runs are queued " in hub("agents", "next").stderr


def test_agents_next_of_an_agent_shows_why_past_fires_had_no_run(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.pass_days, 2)
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    *_, header, second, first = hub("agents", "next", "notes").stdout.splitlines()
    assert header.split() == ["scheduled", "(UTC)", "result", "run"]
    assert first.split("  ") == ["01-06 06:00", *first.split("  ")[1:-1], run["id"][-8:]]
    assert "one run covers it: a run was waiting already" in second
    assert "result" not in hub("agents", "next").stdout


def test_agents_calendar_shows_past_fires_with_results_and_next_fires(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.pass_days, 1)
    header, past, *coming = hub("agents", "calendar", "--since", "2d").stdout.splitlines()
    assert header.split() == ["scheduled", "(UTC)", "agent", "schedule", "result", "run"]
    assert past.startswith("2026-01-06 06:00  notes  Monday to Friday at 07:00") and "run" in past
    assert [line.split()[0] for line in coming][-1] < "2026-01-13"


def test_schedule_paused_by_failures_names_the_resume_command(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    id = portal.call(served.reschedule, WEEKDAYS)
    for _ in range(5):
        portal.call(served.store.write, schedules.count_outcome, id, RunOutcome.ERROR, served.now_ms)
    because = "paused after 5 failed runs in a row"
    listed = hub("agents").stdout
    assert "Monday to Friday at 07:00" in listed and because in listed
    assert f"notes: {because}; resume it: hub agents resume notes" in hub("agents", "next").stderr


def test_finished_schedule_names_the_command_to_set_another_schedule(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    at = epoch_ms(START)
    once = portal.call(served.reschedule, DeclaredSchedule(kind="at", at_ms=at))
    portal.call(
        partial(served.store.write, schedules.set_enabled, once, False, at=served.now_ms, reason=FINISHED)
    )
    assert hub("agents", "next").stderr == (
        "notes: its time 2026-01-05 09:00 UTC is over;"
        " set another: hub agents edit notes, or start a run: hub run notes\n"
    )
    portal.call(served.reschedule, None)
    assert hub("agents", "next").stderr == "notes: has no schedule; start a run by hand: hub run notes\n"


def test_agent_without_a_device_is_shown_with_the_validate_command(hub: Hub, served: ServedHub) -> None:
    hub("agents", "create", "planner")
    shown = hub("agents", "show", "planner").stderr
    assert shown == "starts no runs; what they need: hub agents validate planner\n"
    assert "device" in hub("agents", "validate", "planner").stderr


def test_paused_agent_is_shown_as_paused_until_resumed(hub: Hub, served: ServedHub) -> None:
    assert "resume it: hub agents resume notes" in hub("agents", "pause", "notes").stderr
    assert "paused" in hub("agents").stdout
    assert "so its runs wait" in hub("agents", "next").stderr
    assert hub("agents", "resume", "notes").exit_code == 0
    assert "paused" not in hub("agents").stdout


def test_backfill_command_shows_the_number_of_runs_and_asks_before_queueing(
    hub: Hub, served: ServedHub
) -> None:
    backfill = ("agents", "backfill", "notes", "--from", "2026-01-01")
    assert hub(*backfill, "--to", "2026-01-01", "--yes").exit_code == 0
    ends(
        hub(*backfill, "--to", "2026-01-03"),
        2,
        "2 scheduled times from 2026-01-01 06:00 UTC to 2026-01-02 06:00 UTC",
        "1 of them had a run; queue 1 run?",
    )
    assert len(json.loads(hub("runs", "--json").stdout)["runs"]) == 1

    done = hub(*backfill, "--to", "2026-01-03", "--yes")
    runs = [run["id"] for run in json.loads(hub("runs", "--json").stdout)["runs"]]
    assert done.stdout.split() == [runs[0]]
    assert (len(runs), "1 run queued" in done.stderr) == (2, True)


def test_a_backfill_of_impossible_times_is_refused(hub: Hub, served: ServedHub) -> None:
    same = "2026-01-01T09:00"
    typed = ("yesterday", "20261106", "2026-W46", "2026-11-31", "2026-11-06T0900")
    for first, last, words, code, said in (
        *((same, same, words, 1, "nothing to backfill") for words in ([], ["--yes"], ["--yes", "--json"])),
        ("2026-11-05", "2026-11-01", ["--yes"], 2, "--to is before --from"),
        *((time, "2026-12-01", [], 2, f"invalid time '{time}'") for time in typed),
    ):
        ends(hub("agents", "backfill", "notes", "--from", first, "--to", last, *words), code, said)


def test_backfill_dates_are_read_in_the_time_zone_of_the_agent(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    served.clock.set_wall(datetime(2026, 4, 1, tzinfo=UTC))
    portal.call(partial(served.agent, "mail", timezone="Europe/Berlin", schedule=NIGHTLY))
    times = ("--from", "2026-03-28", "--to", "2026-03-29T12:00:00Z")
    asked = hub("agents", "backfill", "mail", *times)
    assert "from 2026-03-28 02:30 +01:00 to 2026-03-29 03:00 +02:00" in asked.stderr


def test_time_in_another_year_is_shown_with_the_year(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    at = epoch_ms(datetime(2027, 10, 25, 0, 30, tzinfo=UTC))
    portal.call(served.reschedule, DeclaredSchedule(kind="at", at_ms=at))
    assert "2027-10-25 00:30" in hub("agents").stdout


SPENT: dict[str, Any] = {
    "key": "notes",
    "requests": 12,
    "prompt_tokens": 900,
    "completion_tokens": 80,
    "took_s": 3.0,
}


def make_schedule(**about: object) -> ScheduleView:
    """Return a schedule of weekdays at seven in Berlin, but for *about*."""
    fires = tuple(
        Upcoming(at=at, local=at) for at in (START + timedelta(days=day, hours=-3) for day in (1, 2))
    )
    given: dict[str, object] = {"id": "s-1", "kind": "cron", "expr": "0 7 * * 1-5", "next_fires": fires}
    return convert(given | about, ScheduleView)


RUN = RunView(
    id="r-0",
    agent="notes",
    device="desk",
    state=RunState.COMPLETED,
    outcome=RunOutcome.SUCCESS,
    items_created=2,
    created_at=START,
    completed_at=START + timedelta(seconds=75),
)


def make_overview(*, agent: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """An agent that works well, but for what is said otherwise."""
    schedule = make_schedule()
    shown = {
        "id": "a-1",
        "name": "notes",
        "user": "owner",
        "device": "desk",
        "device_connected": True,
        "paths": ["notes"],
        "file_extensions": [".md"],
        "data_types": ["tasks"],
        "prompt": "Find what I promised to do. " * 9,
        "schedule": schedule.expr,
        "schedules": [schedule],
        "next_fires": schedule.next_fires,
    } | (agent or {})
    given: dict[str, Any] = {
        "agent": shown,
        "status": make_status(),
        "slots": (),
        "runs": (RUN,),
        "locks": (),
        "capabilities": (),
        "config": (),
        "checkpoints": (),
        "spend": SpendView(
            day=CostView(calls=0, usd=0.0, **SPENT), month=CostView(calls=0, usd=0.0, **SPENT)
        ),
        "series": 0,
    }
    overview: dict[str, Any] = to_builtins(convert(to_builtins(given | about), AgentOverview))
    return overview


def make_status(**axes: AxisView) -> AgentStatusView:
    """Active, available, online and well since the start, but for what is said otherwise."""
    calm = {
        "lifecycle": AxisView(value="active", since=START, actor="hub.toml"),
        "availability": AxisView(value="available"),
        "connectivity": AxisView(value="online", since=START, actor="hub", reason="device desk connected"),
        "health": AxisView(value="ok"),
        "activity": AxisView(value="idle"),
    }
    shown = calm | axes
    is_exhausted = shown["availability"].value == "exhausted"
    values: dict[str, Any] = {axis: one.value for axis, one in shown.items()}
    return AgentStatusView(
        agent="notes",
        **values,
        resource_usage={},
        metadata={},
        exhaust_reason="rate_limit" if is_exhausted else None,
        exhausted_at=START if is_exhausted else None,
        recovery_at=START + timedelta(minutes=3) if is_exhausted else None,
        last_activity_at=START,
        max_concurrent_runs=1,
        version=7,
        axes=shown,
    )


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str]) -> Any:
    def shown(**about: Any) -> dict[str, str]:
        print_overview(make_overview(**about))
        facts: dict[str, str] = {}
        for line in capsys.readouterr().out.splitlines():
            assert len(line) <= 200, line
            name, _, value = line.partition("  ") if not line.startswith("  ") else line[2:].partition("  ")
            facts.setdefault(name.strip(), value.strip())
        return facts

    return shown


def test_agent_screen_omits_empty_sections(screen: Any) -> None:
    shown = screen()
    assert shown["identity"] == "CUSTOM of owner, managed by hub.toml"
    assert shown["state"] == "active, available, online, ok, idle"
    assert shown["lifecycle"].endswith("by hub.toml")
    assert shown["next run"].startswith("2026-01-06")
    assert len(shown["prompt"]) == 70
    assert not shown.keys() & {"slots", "locks", "config", "checkpoints", "spend", "metrics", "availability"}


def test_the_sample_of_the_handbook_has_the_names_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    overview = make_overview()
    names = {name.strip() for name, _ in _facts(overview)} | overview["status"]["axes"].keys()
    print_overview(overview)
    *_, header, _ = capsys.readouterr().out.splitlines()
    sample = page("agents").partition("$ hub agents show scholar\n")[2].partition("```")[0].splitlines()
    assert {line[:16].strip() for line in sample[:-2]} - names == set()
    assert sample[-2].split() == header.split()


def test_exhaustion_locks_capabilities_configs_checkpoints_and_spend_are_shown(screen: Any) -> None:
    exhausted = AxisView(value="exhausted", since=START, reason="429 of the model", actor="hub")
    shown = screen(
        status=make_status(availability=exhausted),
        locks=(
            LockView(
                resource="mailbox",
                user="owner",
                fence=4,
                holder=LockHolderView(kind="run", id="r-1", agent="notes"),
                since=START,
            ),
            LockView(
                resource="scanner",
                user="owner",
                fence=2,
                holder=LockHolderView(kind="device", id="d-2", agent="scans"),
            ),
        ),
        capabilities=(
            CapabilityView(
                name="file.read",
                version="1.2.0",
                enabled=True,
                source="device",
                created_at=START,
                updated_at=START,
            ),
        ),
        config=tuple(f"key{number}" for number in range(10)),
        checkpoints=(CheckpointBrief(scope="agent", sequence=12, is_recoverable=False, updated_at=START),),
        spend=SpendView(
            day=CostView(calls=1, usd=0.0123, **SPENT), month=CostView(calls=12, usd=0.4, **SPENT)
        ),
        series=3,
    )
    assert shown["availability"].endswith("by hub: 429 of the model")
    assert shown["exhausted"].startswith("rate_limit, available again at 2026-01-05")
    assert shown["locks"].startswith("holds mailbox (fence 4) since")
    assert shown["locks"].endswith("waits for scanner, held by device scans")
    assert shown["capabilities"] == "file.read 1.2.0"
    assert shown["config"].endswith("key7 and 2 more")
    assert shown["checkpoints"].startswith("agent #12 of") and shown["checkpoints"].endswith(
        "not recoverable"
    )
    assert shown["spend"] == "$0.0123 in 24 h (1 request); $0.4000 in 30 days (12 requests)"
    assert shown["metrics"] == "3 series"


def test_agent_screen_shows_fire_policies_and_pause_reason_of_a_schedule(screen: Any) -> None:
    schedule = make_schedule(overlap="queue_all", catch_up="all", catch_up_window_s=172_800.0)
    policies = screen(agent={"schedules": [schedule]})["policies"]
    assert "overlap queue_all, catch up all not older than 2 d" in policies
    because = "paused after 5 failed runs in a row"
    schedule = make_schedule(enabled=False, paused_reason="failures", paused_because=because, next_fires=[])
    shown = screen(agent={"schedules": [schedule], "next_fires": []})
    assert (shown["schedule"], shown["next run"]) == (f"0 7 * * 1-5 (UTC, {because})", "none")


@pytest.fixture
def agent(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Hub:
    """``hub agents COMMAND inbox``: an agent of hub.toml that is offline."""
    portal.call(served.store.write, an_agent)

    def run(command: str, *words: str, **given: str) -> Any:
        return hub("agents", command, "inbox", *words, **given)

    return run


def _rows(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def test_agents_status_shows_value_and_allowed_next_values_of_each_axis(agent: Hub) -> None:
    printed = agent("status").stdout
    told = {row[0]: row[1] for row in _rows(printed)[1:]}
    assert told == {
        "lifecycle": "active",
        "availability": "available",
        "connectivity": "offline",
        "health": "ok",
        "activity": "idle",
    }
    assert "ready, paused, maintenance, terminated" in printed


def test_agents_status_change_is_stored_with_the_reason(agent: Hub) -> None:
    ends(
        agent("status", "--set", "health=error", "--set", "availability=on_call", "--reason", "no disk"),
        0,
        "in error: no disk",
    )
    rows = _rows(agent("history").stdout)
    assert " ".join(next(row for row in rows if "health" in row)).find("ok error no disk") > 0
    on_axis = _rows(agent("history", "--axis", "availability").stdout)
    assert len(on_axis) == 2 and "on_call" in on_axis[1]


def test_illegal_agent_status_move_is_refused_with_the_legal_moves(agent: Hub) -> None:
    ends(
        agent("status", "--set", "lifecycle=created"),
        1,
        "active -> created is not a move; legal moves: ready, paused, maintenance, terminated",
    )


def test_agents_status_shows_the_end_of_an_exhaustion(agent: Hub) -> None:
    words = ["--set", "availability=exhausted", "--set", "exhaust_reason=billing"]
    assert "exhausted by billing: next probe" in agent("status", *words).stderr
    assert (
        "exhausted by billing: available again"
        in agent("status", "--set", "recovery_at=2200-01-01T00:00:00Z").stderr
    )


def test_agents_status_is_read_and_written_in_another_vocabulary(agent: Hub) -> None:
    printed = agent("status", "--as", "orchestrator", "--set", "status=MAINTENANCE").stdout
    told = {row[0]: row[1:] for row in _rows(printed)}
    assert (told["status"], told["state_detail"]) == (["MAINTENANCE"], ["ACTIVE"])
    assert "rows (see --json)" in printed
    assert json.loads(agent("status", "--as", "calendar", "--json").stdout)["status"] == "offline"


def test_malformed_status_assignment_is_a_usage_error_without_a_request(agent: Hub) -> None:
    for words in (("--set", "health"), ("--set", "metadata={"), ("--reason", "why")):
        assert agent("status", *words).exit_code == 2, words


def test_terminate_is_refused_for_file_agents_and_done_for_api_agents(
    agent: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    ends(agent("terminate", "--yes"), 1, "managed by hub.toml")
    portal.call(served.store.write, lambda c: c.execute(sa.text("UPDATE agents SET source = 'api'")))
    ends(agent("terminate", "--yes", "--reason", "not needed"), 0, "hub agents history inbox")
    told = json.loads(agent("status", "--json").stdout)
    assert (told["lifecycle"], told["axes"]["lifecycle"]["reason"]) == ("terminated", "not needed")
    assert json.loads(agent("history", "--limit", "1", "--json").stdout)["next_cursor"] is not None


TEMPLATE = """\
type = "AUDITOR"
prompt = "Look at {{ thing }}."
[configuration_schema]
required = ["thing"]
"""
SAID = ("--device", "desk", "--path", "books", "--data-type", "tasks")


@pytest.fixture
def auditor(hub: Hub, served: ServedHub, tmp_path: Path) -> Path:
    """A template of that name, and the file that it was written from."""
    file = tmp_path / "auditor.toml"
    file.write_text(TEMPLATE)
    put = hub("templates", "put", "auditor", "--file", str(file))
    assert put.exit_code == 0, put.output
    return file


def test_a_template_is_written_listed_shown_and_removed(hub: Hub, auditor: Path) -> None:
    assert hub("templates").stdout.splitlines()[1].split()[:5] == ["auditor", "AUDITOR", "0", "the", "API"]
    assert "Look at {{ thing }}." in hub("templates", "show", "auditor").stdout
    shown = json.loads(hub("templates", "show", "auditor", "--json").stdout)
    assert (shown["schema"], shown["configuration_schema"]) == ("hub.template/1", {"required": ["thing"]})
    assert "is removed" in hub("templates", "rm", "auditor").stderr
    assert "no template" in hub("templates").stderr


def test_an_agent_is_made_changed_and_removed(hub: Hub, auditor: Path) -> None:
    ends(
        hub("agents", "create", "books", *SAID, "--template", "auditor", "--config", "thing=money"),
        0,
        "hub run books",
    )
    assert hub("templates").stdout.splitlines()[1].split()[2] == "1"
    edited = hub("agents", "edit", "books", "--set", "priority=3", "--unset", "schedule", "--json")
    assert json.loads(edited.stdout)["config_rev"] > 1
    ends(
        hub("agents", "edit", "books", "--prompt", "Find {{ it }}."), 1, "there is no variable 'it'", "thing"
    )
    assert "is deleted" in hub("agents", "delete", "books", "--yes").stderr


def test_agents_create_reads_a_file_and_options_override_the_file(
    hub: Hub, auditor: Path, tmp_path: Path
) -> None:
    file = tmp_path / "books.toml"
    file.write_text(
        'device = "desk"\npaths = ["books"]\ndata_types = ["tasks"]\nprompt = "x"\n'
        "schedule = { at = 2030-01-01T09:00:00Z }\n"
    )
    made = hub("agents", "create", "books", "--file", str(file), "--path", "ledgers", "--json")
    assert made.exit_code == 0, made.output
    assert (json.loads(made.stdout)["paths"], json.loads(made.stdout)["prompt"]) == (["ledgers"], "x")


def test_agents_validate_of_a_template_names_broken_agents_and_changes_nothing(
    hub: Hub, auditor: Path
) -> None:
    hub("agents", "create", "books", *SAID, "--template", "auditor", "--config", "thing=money")
    auditor.write_text(TEMPLATE.replace('["thing"]', '["owner"]'))
    ends(
        hub("agents", "validate", "--template", "auditor", "--file", str(auditor)),
        1,
        stdout=("agent books of owner", "$: missing: owner"),
    )
    assert hub("agents", "validate", "books").exit_code == 0
    ends(hub("templates", "put", "auditor", "--file", str(auditor)), 1, "agent books")
    assert hub("templates", "put", "auditor", "--file", str(auditor), "--force").exit_code == 0
    judged = hub("agents", "validate", "books", "--json")
    assert (judged.exit_code, json.loads(judged.stdout)["ok"]) == (1, False)


def test_contradictory_options_are_a_usage_error(hub: Hub, auditor: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    for words, said in (
        (("agents", "edit", "books"), "nothing to change"),
        (("agents", "create", "books", *SAID, "--set", "priority"), "KEY=VALUE"),
        (("agents", "create", "books", "--file", str(broken)), "cannot read"),
        (("agents", "validate", "--file", str(auditor)), "--template"),
    ):
        ends(hub(*words), 2, said)


@pytest.fixture
def config(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Hub:
    """``hub agents config inbox``."""
    portal.call(served.store.write, an_agent)

    def run(*words: str, **given: str) -> Any:
        return hub("agents", "config", "inbox", *words, **given)

    return run


def test_agents_config_lists_set_values_with_types(config: Hub) -> None:
    ends(
        config("set", "limit=5", "share=0.5", "is_on=true", 'where={"a": 1}', "name=5 o'clock", "e="),
        0,
        "changed e, is_on, limit, name, share, where",
    )
    told = [line.split()[:4] for line in config().stdout.splitlines()]
    assert told[0] == ["config", "type", "value", "source"]
    assert ["folder", "string", "in", "hub.toml"] in told and ["limit", "integer", "5", "the"] in told
    assert ["is_on", "boolean", "true", "the"] in told
    assert [line[:2] for line in told if line[0] in ("where", "name", "share")] == [
        ["name", "string"],
        ["share", "float"],
        ["where", "json"],
    ]


def test_agents_config_set_retains_the_type_unless_another_type_is_given(config: Hub) -> None:
    config("set", "--type", "string", "code=007")
    assert config("get", "code").stdout == "007\n"
    config("set", "code=008")
    assert config("get", "code").stdout == "008\n", "a text, though it looks like a number"
    config("set", "limit=5")
    ends(config("set", "limit=five"), 2, "limit: expected integer, not the text 'five'", "--type")
    assert config("set", "--type", "string", "limit=five").exit_code == 0
    assert (config("get", "limit").stdout, config("set", "a=NaN", "b=-Infinity").exit_code) == ("five\n", 0)
    assert (config("get", "a").stdout, config("get", "b").stdout) == ("NaN\n", "-Infinity\n")


def test_agents_config_refuses_invalid_arguments_and_sets_nothing(config: Hub) -> None:
    for words, exit_code, said in (
        (("set", "limit"), 2, "'limit': expected KEY=VALUE"),
        (("set", "=5"), 2, "'=5': expected KEY=VALUE"),
        (("set", "a=1", "9=2"), 1, "begins with a letter"),
        (("set", "folder=out"), 1, "config 'folder' is managed by /"),
        (("unset", "gone"), 1, "has no config 'gone'"),
        (("get", "gone"), 1, "agent inbox has no config 'gone'"),
        (("revert", "--to", "99"), 1, "cannot go back to change 99"),
    ):
        wrong = config(*words)
        assert (wrong.exit_code, said in wrong.stderr) == (exit_code, True), (words, wrong.output)
    assert json.loads(config("--json").stdout)["configuration"] == {"folder": "in"}


def test_agents_config_unset_removes_configs_and_revert_restores(config: Hub) -> None:
    config("set", "a=1", "b=2")
    assert "changed a, b" in config("unset", "a", "b", "a").stderr
    assert "changed a, b" in config("revert", "--to", "3").stderr
    assert config("get", "b").stdout == "2\n"
    assert "nothing changed" in config("revert", "--to", "3").stderr or config("get", "a").stdout == "1\n"


def test_agents_config_history_shows_the_author_of_each_change(config: Hub) -> None:
    config("set", "a=1")
    config("set", "a=2")
    lines = config("history", "a").stdout.splitlines()
    assert lines[0].split()[0] == "change"
    assert [line.split()[3:6] for line in lines[1:]] == [["a", "1", "2"], ["a", "-", "1"]]
    assert all("operator:" in line for line in lines[1:])


@each(
    ("words", "schema"),
    [
        ((), "hub.agent_config/1"),
        (("get", "folder"), "hub.agent_config_value/1"),
        (("history",), "hub.agent_config_history/1"),
        (("set", "a=1"), "hub.agent_config_changed/1"),
    ],
)
def test_agents_config_commands_print_json_with_the_schema_name(
    config: Hub, words: tuple[str, ...], schema: str
) -> None:
    assert json.loads(config(*words, "--json").stdout)["schema"] == schema


@pytest.fixture
def inbox(served: ServedHub, portal: BlockingPortal) -> ServedHub:
    """A hub with an agent of that name, which can read files."""
    portal.call(partial(served.store.write, an_agent))
    portal.call(partial(served.store.write, have_connected))
    return served


def test_capabilities_are_registered_listed_and_removed(hub: Hub, inbox: ServedHub) -> None:
    put = hub("agents", "capabilities", "inbox", "put", "web.search", "1.0.0", "--description", "looks")
    assert (put.exit_code, put.stderr.strip()) == (0, "web.search 1.0.0 is enabled")
    newer = hub("agents", "capabilities", "inbox", "put", "web.search", "1.1.0")
    assert newer.stderr.strip() == "web.search 1.1.0 is enabled; replaces 1.0.0"
    listed = hub("agents", "capabilities", "inbox").stdout.splitlines()
    assert [line.split()[:4] for line in listed[1:]] == [
        ["file.read", "1.2.0", "yes", "hub.toml"],
        ["web.search", "1.1.0", "yes", "the"],
        ["web.search", "1.0.0", "no", "the"],
    ]
    gone = hub("agents", "capabilities", "inbox", "rm", "web.search")
    assert gone.stderr.strip() == "removed: web.search 1.1.0, web.search 1.0.0"
    told = json.loads(hub("agents", "capabilities", "inbox", "--json").stdout)
    assert (told["schema"], len(told["capabilities"])) == ("hub.capabilities/1", 1)


def test_checkpoints_are_stored_shown_and_cleared(hub: Hub, inbox: ServedHub) -> None:
    state = '{"folder": "in", "seen": [1, 2]}'
    kept = hub("agents", "checkpoints", "inbox", "put", "--sequence", "3", "--json-state", state)
    assert (kept.exit_code, kept.stderr.strip()) == (0, "written: agent at sequence 3")
    assert json.loads(hub("agents", "checkpoints", "inbox", "show").stdout) == json.loads(state)
    assert "agent  3         yes" in hub("agents", "checkpoints", "inbox").stdout
    cleared = hub("agents", "checkpoints", "inbox", "clear")
    assert cleared.stderr.strip() == "cleared: agent, which was at sequence 3"
    assert "has no checkpoints" in hub("agents", "checkpoints", "inbox").stderr


def test_invalid_capability_or_checkpoint_is_refused_with_a_remedy(hub: Hub, inbox: ServedHub) -> None:
    ends(
        hub("agents", "capabilities", "inbox", "put", "file.read", "1.2.0", "--disable"),
        1,
        "file.read 1.2.0 is declared in hub.toml; change it there",
    )
    state = ("--sequence", "3", "--json-state", "[1]")
    ends(hub("agents", "checkpoints", "inbox", "put", *state), 2, "'[1]' is not a JSON object")


def test_run_has_needs_locks_task_and_context_of_the_run_command(hub: Hub, inbox: ServedHub) -> None:
    words = ("--need", "file.read >= 1.2", "--lock", "box", "--task", "t-7", "--context", '{"why": "asked"}')
    id = hub("run", "inbox", *words).stdout.strip()
    run = json.loads(hub("runs", "show", id, "--json").stdout)
    assert (run["needs"], run["locks"]) == (["file.read >= 1.2"], ["box"])
    assert (run["context"], run["task_id"]) == ({"why": "asked"}, "t-7")
