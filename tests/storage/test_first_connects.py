"""The first run at a connection is queued by the holder of the lease, and once."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import DeviceId, RunId
from storage.devices.nodes import LostLease
from storage.runs import runs
from storage.schedules import fires, schedule_rows
from storage.schedules.fires import FirstRun, FreshRun
from storage.schedules.schedule_rows import ScheduleRow
from tests.storage.rows import AT, make_agent
from tests.storage.scheduled import HOUR, lead, make_schedule
from tests.support.presence import BOOT, open_session


def connected(c: sa.Connection, at: int = AT) -> list[ScheduleRow]:
    """The schedules whose agents get a run now."""
    return [one.schedule for one in schedule_rows.agenda(c, at, 10).connected]


def planned(c: sa.Connection, run: str = "run-1") -> FirstRun:
    due = schedule_rows.with_settings(c, "schedule-inbox")
    return FirstRun(due=due, run=FreshRun(RunId(run), AT), config_fingerprint="", settings={})


def connect(c: sa.Connection, schedule: ScheduleRow) -> None:
    open_session(c, DeviceId(schedule.device_id or ""), boot_id=BOOT, platform=None, at=AT)


def test_a_connection_makes_the_waiting_schedules_of_its_own_agents_due(c: sa.Connection) -> None:
    make_agent(c)
    make_agent(c, "other")
    make_agent(c, "away", device="desktop")
    inbox = make_schedule(c, on_first_connect=True)
    make_schedule(c, "other")
    make_schedule(c, "away", on_first_connect=True)
    assert (inbox.first_connect, connected(c)) == ("awaited", [])
    connect(c, inbox)
    assert [one.first_connect for one in connected(c)] == ["due"]
    connect(c, inbox)
    assert [one.id for one in connected(c)] == [inbox.id]


def test_its_run_is_queued_once(c: sa.Connection) -> None:
    connect(c, make_schedule(c, on_first_connect=True))
    (queued,) = fires.queue_first_runs(c, lead(c), [planned(c)], AT)
    assert fires.queue_first_runs(c, lead(c), [planned(c, "run-2")], AT) == []
    (run,) = runs.list_runs(c)
    assert (run.id, run.fire_key, run.schedule_id) == (queued.run.id, "first-connect", "schedule-inbox")
    assert connected(c) == []


def test_a_hub_without_the_lease_queues_nothing(c: sa.Connection) -> None:
    connect(c, make_schedule(c, on_first_connect=True))
    stale = msgspec.structs.replace(lead(c), fence=0)
    with pytest.raises(LostLease):
        fires.queue_first_runs(c, stale, [planned(c)], AT)
    assert (runs.list_runs(c), len(connected(c))) == ([], 1)


def test_a_schedule_decides_its_missed_fires_first(c: sa.Connection) -> None:
    make_agent(c, "new")
    make_schedule(c, "new", on_first_connect=True, planned=None)
    connect(c, make_schedule(c, on_first_connect=True))
    assert ([one.agent_name for one in connected(c)], connected(c, AT + HOUR)) == (["inbox"], [])
    assert len(schedule_rows.due(c, AT + HOUR, 10)) == 1
