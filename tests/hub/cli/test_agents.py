"""When agents run by themselves, as a person is told of it."""

import json

import pytest

from tests.hub.cli.conftest import Hub
from tests.support.clock import START
from tests.support.facade import FakeHub, make_decision, make_schedule

SHIFTED = {
    "at": "2026-03-29T01:00:00Z",
    "local": "2026-03-29T03:00:00+02:00",
    "shift": "02:30 does not exist that night; fires at 03:00",
}


def test_the_next_fires_are_told_in_utc_and_where_the_schedule_is_at_home(hub: Hub, served: FakeHub) -> None:
    served.schedule = make_schedule(next_fires=[SHIFTED])
    told = hub("agents", "next").stdout.splitlines()
    assert told[0].split() == ["agent", "UTC", "local", "time", "note"]
    assert told[1].split("  ") == [
        "notes",
        "2026-03-29 01:00",
        "Sun 2026-03-29 03:00 +02:00",
        "02:30 does not exist that night; fires at 03:00",
    ]


def test_agents_of_several_users_are_told_apart(hub: Hub, served: FakeHub) -> None:
    assert [line.split()[0] for line in hub("agents").stdout.splitlines()[1:]] == ["notes"]
    served.owners = ["anna", "otto"]
    told = hub("agents").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in told] == [["notes", "anna"], ["notes", "otto"]]


def test_jitter_is_said_with_the_share_of_this_schedule(hub: Hub, served: FakeHub) -> None:
    served.schedule = make_schedule(jitter_s=120, offset_s=73)
    assert "notes: its runs are queued 1 min 13 s after each scheduled time" in hub("agents", "next").stderr


def test_of_one_agent_one_also_sees_why_a_fire_had_no_run(hub: Hub, served: FakeHub) -> None:
    served.decided = [
        make_decision(),
        make_decision("coalesced", "one run stands for them: device desk was offline", fires=2),
    ]
    result = hub("agents", "next", "notes")
    assert result.stdout.splitlines()[-3:] == [
        "scheduled (UTC)                 result                                            run",
        "01-05 09:00                     a run was queued                                  ccccdddd",
        "01-04 09:00 to 01-05 09:00 (2)  one run stands for them: device desk was offline  ccccdddd",
    ]
    assert "result" not in hub("agents", "next").stdout


def test_the_next_fires_in_json_have_everything(hub: Hub, served: FakeHub) -> None:
    told = json.loads(hub("agents", "next", "notes", "--json").stdout)
    (agent,) = told["agents"]
    assert (agent["agent"], agent["schedules"][0]["expr"]) == ("notes", "0 7 * * 1-5")
    assert agent["schedules"][0]["next_fires"][0]["at"] == "2026-01-06T06:00:00Z"
    assert told["fires"] == []


def test_a_schedule_that_failures_paused_says_so_and_how_it_goes_on(hub: Hub, served: FakeHub) -> None:
    because = "paused after 5 failed runs in a row"
    served.schedule = make_schedule(
        enabled=False, paused_reason="failures", paused_because=because, next_fires=[]
    )
    told = hub("agents").stdout
    assert "0 7 * * 1-5" in told
    assert because in told
    assert f"notes: {because}; resume it: hub agents resume notes" in hub("agents", "next").stderr


def test_a_schedule_that_has_come_to_its_end_is_not_to_be_resumed(hub: Hub, served: FakeHub) -> None:
    served.schedule = make_schedule(
        kind="at",
        expr=None,
        at=START,
        enabled=False,
        paused_reason="finished",
        paused_because="it has fired for the last time",
        next_fires=[],
    )
    assert hub("agents", "next").stderr == "notes: it has fired for the last time\n"


def test_an_agent_without_a_schedule_says_how_to_start_it(hub: Hub, served: FakeHub) -> None:
    served.schedule = None
    assert hub("agents", "next").stderr == "notes: has no schedule; start a run by hand: hub run notes\n"


def test_a_paused_agent_is_shown_as_such_until_it_is_resumed(hub: Hub, served: FakeHub) -> None:
    assert "resume it: hub agents resume notes" in hub("agents", "pause", "notes").stderr
    assert "paused" in hub("agents").stdout
    assert "so its runs wait" in hub("agents", "next").stderr
    assert hub("agents", "resume", "notes", "--catch-up").exit_code == 0
    assert "paused" not in hub("agents").stdout
    assert [done[:3] for done in served.done][1] == ("resume agent", "notes", "catch up")


def test_a_backfill_says_how_much_it_is_before_anything_is_queued(hub: Hub, served: FakeHub) -> None:
    days = ("--from", "2026-01-01", "--to", "2026-01-03")
    asked = hub("agents", "backfill", "notes", *days)
    assert asked.exit_code == 2
    assert "4 scheduled times from 2026-01-01 00:00:00 UTC to 2026-01-03 23:59:59 UTC" in asked.stderr
    assert "1 of them had a run; queue 3 runs?" in asked.stderr
    assert [done[4] for done in served.done] == ["True"]

    done = hub("agents", "backfill", "notes", *days, "--yes")
    assert done.stdout.splitlines() == ["r-0", "r-1", "r-2"]
    assert "3 runs queued" in done.stderr


def test_a_backfill_of_a_time_without_fires_fails(hub: Hub, served: FakeHub) -> None:
    same = "2026-01-01T09:00"
    for words in ([], ["--yes"], ["--yes", "--json"]):
        result = hub("agents", "backfill", "notes", "--from", same, "--to", same, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "nothing to backfill" in result.stderr


def test_a_backfill_whose_end_lies_before_its_beginning_is_a_usage_error(hub: Hub, served: FakeHub) -> None:
    days = ("--from", "2026-11-05", "--to", "2026-11-01")
    result = hub("agents", "backfill", "notes", *days, "--yes")
    assert (result.exit_code, served.done) == (2, [])
    assert "--to is before --from" in result.stderr


def test_days_of_a_backfill_are_those_of_the_agents_time_zone(hub: Hub, served: FakeHub) -> None:
    served.timezone = "Europe/Berlin"
    times = ("--from", "2026-03-29", "--to", "2026-03-29T12:00:00Z")
    asked = hub("agents", "backfill", "notes", *times)
    assert served.done[0][2:4] == ("2026-03-29T00:00:00+01:00", "2026-03-29T12:00:00+00:00")
    assert "from 2026-03-29 00:00:00 +01:00 to 2026-03-29 14:00:00 +02:00" in asked.stderr


@pytest.mark.parametrize("typed", ["yesterday", "20261106", "2026-W46", "2026-11-31", "2026-11-06T0900"])
def test_a_time_that_is_none_is_a_usage_error(hub: Hub, served: FakeHub, typed: str) -> None:
    result = hub("agents", "backfill", "notes", "--from", typed, "--to", "2026-12-01")
    assert result.exit_code == 2
    assert f"invalid time '{typed}'" in result.stderr


def test_a_time_that_is_far_off_is_told_with_its_year(hub: Hub, served: FakeHub) -> None:
    at = "2027-10-25T00:30:00Z"
    served.schedule = make_schedule(next_fires=[{"at": at, "local": at}])
    assert "2027-10-25 00:30" in hub("agents").stdout
