"""The commands that show and change the times at which agents run."""

import json
from datetime import UTC, datetime
from functools import partial

import pytest
from anyio.from_thread import BlockingPortal

from hub.clock import epoch_ms
from protocol.lifecycles import RunOutcome
from storage.schedules import schedules
from storage.schedules.schedule_rows import FINISHED, DeclaredSchedule
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import START
from tests.support.hub import WEEKDAYS, ServedHub

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


def test_agents_of_several_users_are_listed_with_their_users(
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


def test_the_fires_of_one_agent_have_the_reasons_why_they_had_no_run(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.pass_days, 2)
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    *_, header, second, first = hub("agents", "next", "notes").stdout.splitlines()
    assert header.split() == ["scheduled", "(UTC)", "result", "run"]
    assert first.split("  ") == ["01-06 06:00", *first.split("  ")[1:-1], run["id"][-8:]]
    assert "one run covers it: a run was waiting already" in second
    assert "result" not in hub("agents", "next").stdout


def test_the_calendar_of_all_agents_has_past_fires_with_their_results_and_next_ones(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.pass_days, 1)
    header, past, *coming = hub("agents", "calendar", "--since", "2d").stdout.splitlines()
    assert header.split() == ["scheduled", "(UTC)", "agent", "schedule", "result", "run"]
    assert past.startswith("2026-01-06 06:00  notes  Monday to Friday at 07:00") and "run" in past
    assert [line.split()[0] for line in coming][-1] < "2026-01-13"


def test_the_next_fires_in_json_have_everything(hub: Hub, served: ServedHub) -> None:
    response = json.loads(hub("agents", "next", "notes", "--json").stdout)
    (agent,) = response["agents"]
    assert (agent["agent"], agent["schedules"][0]["expr"]) == ("notes", "0 7 * * 1-5")
    assert agent["schedules"][0]["next_fires"][0]["at"] == "2026-01-06T06:00:00Z"
    assert response["fires"] == []


def test_a_schedule_that_failures_paused_names_the_command_that_resumes_it(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    id = portal.call(served.reschedule, WEEKDAYS)
    for _ in range(5):
        portal.call(served.store.write, schedules.count_outcome, id, RunOutcome.ERROR, served.now_ms)
    because = "paused after 5 failed runs in a row"
    listed = hub("agents").stdout
    assert "Monday to Friday at 07:00" in listed
    assert because in listed
    assert f"notes: {because}; resume it: hub agents resume notes" in hub("agents", "next").stderr


def test_a_schedule_that_has_fired_for_the_last_time_is_not_to_be_resumed(
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


def test_an_agent_without_a_schedule_is_shown_with_the_command_that_starts_it(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.reschedule, None)
    assert hub("agents", "next").stderr == "notes: has no schedule; start a run by hand: hub run notes\n"


def test_an_agent_without_a_device_is_not_shown_a_run_that_is_refused(hub: Hub, served: ServedHub) -> None:
    hub("agents", "create", "planner")
    shown = hub("agents", "show", "planner").stderr
    assert shown == "starts no runs; what they need: hub agents validate planner\n"
    assert "device" in hub("agents", "validate", "planner").stderr


def test_a_paused_agent_is_shown_as_such_until_it_is_resumed(hub: Hub, served: ServedHub) -> None:
    assert "resume it: hub agents resume notes" in hub("agents", "pause", "notes").stderr
    assert "paused" in hub("agents").stdout
    assert "so its runs wait" in hub("agents", "next").stderr
    assert hub("agents", "resume", "notes").exit_code == 0
    assert "paused" not in hub("agents").stdout


def test_an_agent_that_is_resumed_with_catch_up_runs_what_it_missed(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    id = portal.call(served.reschedule, WEEKDAYS)
    portal.call(served.pass_days, 0)
    portal.call(
        partial(served.store.write, schedules.set_enabled, id, False, at=served.now_ms, reason="user")
    )
    served.clock.advance(86_400)
    assert hub("agents", "resume", "notes", "--catch-up").exit_code == 0
    portal.call(served.pass_days, 0)
    (run,) = json.loads(hub("runs", "--json").stdout)["runs"]
    assert (run["trigger"], run["fire_at"]) == ("catchup", "2026-01-06T06:00:00Z")


def test_a_backfill_shows_its_size_before_anything_is_queued(hub: Hub, served: ServedHub) -> None:
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


def test_a_backfill_of_a_time_without_fires_fails(hub: Hub, served: ServedHub) -> None:
    same = "2026-01-01T09:00"
    for words in ([], ["--yes"], ["--yes", "--json"]):
        result = hub("agents", "backfill", "notes", "--from", same, "--to", same, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "nothing to backfill" in result.stderr


def test_a_backfill_whose_end_is_before_its_start_is_a_usage_error(hub: Hub, served: ServedHub) -> None:
    days = ("--from", "2026-11-05", "--to", "2026-11-01")
    ends(hub("agents", "backfill", "notes", *days, "--yes"), 2, "--to is before --from")


def test_days_of_a_backfill_are_those_of_the_time_zone_of_the_agent(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    served.clock.set_wall(datetime(2026, 4, 1, tzinfo=UTC))
    portal.call(partial(served.agent, "mail", timezone="Europe/Berlin", schedule=NIGHTLY))
    times = ("--from", "2026-03-28", "--to", "2026-03-29T12:00:00Z")
    asked = hub("agents", "backfill", "mail", *times)
    assert "from 2026-03-28 02:30 +01:00 to 2026-03-29 03:00 +02:00" in asked.stderr


@pytest.mark.parametrize("typed", ["yesterday", "20261106", "2026-W46", "2026-11-31", "2026-11-06T0900"])
def test_an_invalid_time_is_a_usage_error(hub: Hub, served: ServedHub, typed: str) -> None:
    ends(
        hub("agents", "backfill", "notes", "--from", typed, "--to", "2026-12-01"),
        2,
        f"invalid time '{typed}'",
    )


def test_a_time_in_another_year_is_shown_with_its_year(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    at = epoch_ms(datetime(2027, 10, 25, 0, 30, tzinfo=UTC))
    portal.call(served.reschedule, DeclaredSchedule(kind="at", at_ms=at))
    assert "2027-10-25 00:30" in hub("agents").stdout
