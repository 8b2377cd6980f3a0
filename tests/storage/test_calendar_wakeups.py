"""A slot of an agent's calendar fires once, and what becomes of its wake is told by the row of its fire."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from storage import retention
from storage.agents import agent_states, agents
from storage.schedules import fires, schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow, WakeRow, WakeSight
from storage.schedules.schedules import NextFire
from storage.schema import schedules as schedule_table
from storage.schema import wakes as wake_table
from tests.storage.rows import AT, make_agent, make_run, some
from tests.storage.scheduled import HOUR, decision, fire, lead, make_schedule, told

INBOX = AgentId("agent-inbox")
MINUTE = 60_000
SLOT = DeclaredSchedule(kind="every", every_ms=HOUR, action="wake", label="standup", duration_ms=10 * MINUTE)
FIRST, SECOND = AT + HOUR, AT + 2 * HOUR


def make_slot(c: sa.Connection, **fields: Any) -> ScheduleRow:
    """A slot of the agent ``inbox``, who is online; it comes every hour and lasts ten minutes."""
    make_agent(c)
    agent_states.connect_agents(c, [DeviceId("device-laptop")], online=True, at=AT, actor="hub")
    schedules.declare_slots(c, INBOX, [msgspec.structs.replace(SLOT, **fields)], at=AT)
    (made,) = schedule_rows.slots_of(c, INBOX)
    schedules.plan_next(c, lead(c), [NextFire(made.id, made.rev, FIRST, FIRST)], AT)
    return schedule_rows.get_schedule(c, made.id)


def come(c: sa.Connection, at: int = FIRST, **fields: Any) -> WakeRow:
    """The slot's time has come."""
    fire(c, at, schedule_id=make_slot(c, **fields).id)
    (wake,) = schedule_rows.wakes_of(c, INBOX, 10)
    return wake


def look(c: sa.Connection, at: int = FIRST) -> list[WakeSight]:
    return schedule_rows.due_wakes(c, at, 100)


def outcome(c: sa.Connection) -> tuple[str, str | None]:
    """What the row of the only fire says."""
    (row,) = told(c)
    return row.decision, row.reason


@pytest.fixture
def wake(c: sa.Connection) -> WakeRow:
    """A slot of the calendar that has come."""
    return come(c)


@pytest.fixture
def slot(c: sa.Connection) -> ScheduleRow:
    """A slot of the calendar."""
    return make_slot(c)


def test_a_slot_that_has_come_is_a_wake_and_no_run(c: sa.Connection, wake: WakeRow) -> None:
    assert (wake.label, wake.fire_at, wake.ends_at, wake.state, wake.sends, wake.next_at) == (
        "standup",
        FIRST,
        FIRST + 10 * MINUTE,
        "waiting",
        0,
        FIRST,
    )
    assert outcome(c) == ("deferred", "not_told_yet")
    (sight,) = look(c)
    assert (sight.id, sight.device_id, sight.is_removed) == (wake.id, "device-laptop", False)


def test_the_same_slot_cannot_come_twice(c: sa.Connection, wake: WakeRow) -> None:
    again = schedule_rows.wake_row(
        "other", schedule_id=wake.schedule_id, agent_id=INBOX, fire_at=FIRST, duration_ms=1, at=FIRST
    )
    with pytest.raises(sa.exc.IntegrityError):
        c.execute(sa.insert(wake_table), again)


def test_a_fire_whose_wake_is_there_already_keeps_that_one(c: sa.Connection, slot: ScheduleRow) -> None:
    row = schedule_rows.wake_row(
        "there", schedule_id=slot.id, agent_id=INBOX, fire_at=FIRST, duration_ms=MINUTE, at=FIRST
    )
    c.execute(sa.insert(wake_table), row)
    decided = some(fires.decide_what_is_left(c, lead(c), decision(c, slot.id, runs=[FIRST]), FIRST))
    assert (decided[0].decision, [wake.id for wake in schedule_rows.wakes_of(c, INBOX, 10)]) == (
        "deferred",
        ["there"],
    )


@pytest.mark.parametrize(
    ("overlap", "decided", "states"),
    [
        ("skip", ("skipped_overlap", "still_waking"), ["waiting"]),
        ("allow", ("deferred", "not_told_yet"), ["waiting", "waiting"]),
        ("cancel_running", ("deferred", "not_told_yet"), ["waiting", "skipped"]),
    ],
)
def test_a_slot_that_comes_while_its_last_wake_is_open_follows_its_policy(
    c: sa.Connection, overlap: str, decided: tuple[str, str], states: list[str]
) -> None:
    (later,) = fire(c, SECOND, schedule_id=come(c, overlap=overlap, duration_ms=3 * HOUR).schedule_id)
    assert (later.decision, later.reason) == decided
    assert [row.state for row in schedule_rows.wakes_of(c, INBOX, 10)] == states
    if overlap == "cancel_running":
        assert (told(c)[0].decision, told(c)[0].reason) == ("skipped_overlap", "superseded")


@pytest.mark.usefixtures("wake")
def test_a_notified_device_is_not_notified_again_before_its_time(c: sa.Connection) -> None:
    (sight,) = look(c)
    assert schedule_rows.take(c, sight, at=FIRST, next_at=FIRST + MINUTE)
    assert not schedule_rows.take(c, sight, at=FIRST, next_at=FIRST + MINUTE), "another hub came second"
    assert look(c, FIRST + MINUTE - 1) == []
    (again,) = look(c, FIRST + MINUTE)
    assert (again.state, again.sends, again.sent_at) == ("sent", 1, FIRST)
    assert schedule_rows.take(c, again, at=FIRST + MINUTE, next_at=FIRST + 2 * MINUTE)


def test_an_acknowledgement_counts_once_and_its_fire_is_woken(c: sa.Connection, wake: WakeRow) -> None:
    assert schedule_rows.settle(c, wake.id, "acknowledged", "woken", at=FIRST + 5)
    assert not schedule_rows.settle(c, wake.id, "failed", "wake_failed", at=FIRST + 6, reason="no_answer")
    (row,) = schedule_rows.wakes_of(c, INBOX, 10)
    assert (row.state, row.reason, row.settled_at) == ("acknowledged", None, FIRST + 5)
    assert outcome(c) == ("woken", None)
    assert not schedule_rows.is_any_open(c)
    assert look(c, FIRST + HOUR) == []


def test_an_answer_that_came_in_time_is_waited_for_a_little_after_the_end(
    c: sa.Connection, wake: WakeRow
) -> None:
    (sight,) = look(c)
    schedule_rows.take(c, sight, at=FIRST, next_at=wake.ends_at + MINUTE)
    assert look(c, wake.ends_at + schedule_rows.GRACE_MS - 1) == []
    assert [row.state for row in look(c, wake.ends_at + schedule_rows.GRACE_MS)] == ["sent"]


def test_an_agent_that_is_away_or_at_work_is_looked_at_when_its_slot_is_over(
    c: sa.Connection, wake: WakeRow
) -> None:
    make_run(c, agent=agents.get_agent(c, INBOX))
    assert (look(c), schedule_rows.is_any_open(c)) == ([], True)
    assert [(busy.runs_waiting, busy.connectivity) for busy in look(c, wake.ends_at)] == [(1, "online")]


def test_an_agent_that_its_device_calls_offline_is_not_woken_though_the_device_is_there(
    c: sa.Connection,
    wake: WakeRow,
) -> None:
    agents.move(c, INBOX, "connectivity", "offline", at=FIRST, actor="device:device-laptop")
    assert (look(c), [away.connectivity for away in look(c, wake.ends_at)]) == ([], ["offline"])


@pytest.mark.usefixtures("wake")
def test_an_agent_that_is_paused_is_looked_at_at_once(c: sa.Connection) -> None:
    agents.move(c, INBOX, "lifecycle", "paused", at=FIRST, actor="operator")
    assert [sight.lifecycle for sight in look(c)] == ["paused"]


@pytest.mark.usefixtures("wake")
def test_a_deferred_wake_is_looked_at_when_the_quota_is_back_or_ought_to_be(c: sa.Connection) -> None:
    back = FIRST + 5 * MINUTE
    agent_states.exhaust(c, INBOX, cause="rate_limit", recovery_at=back, at=FIRST, actor="model")
    (sight,) = look(c)
    assert (sight.availability, sight.recovery_at) == ("exhausted", back)
    assert schedule_rows.put_off(c, sight, at=FIRST, next_at=back, reason="exhausted", is_deferred=True)
    assert (outcome(c), look(c, back - 1)) == (("deferred", "exhausted"), [])
    assert [sight.state for sight in look(c, back)] == ["deferred"]
    agent_states.recover_agent(c, INBOX, at=FIRST + MINUTE, actor="operator")
    (early,) = look(c, FIRST + MINUTE)
    assert schedule_rows.take(c, early, at=FIRST + MINUTE, next_at=back), "the quota came back sooner"


@pytest.mark.usefixtures("wake")
def test_a_slot_that_is_taken_away_takes_its_open_wake_along(c: sa.Connection) -> None:
    assert schedules.declare_slots(c, INBOX, [], at=FIRST)
    assert [sight.is_removed for sight in look(c)] == [True]


def test_slots_are_known_by_their_labels_and_come_back_as_the_same_rows(
    c: sa.Connection, slot: ScheduleRow
) -> None:
    again = [SLOT, msgspec.structs.replace(SLOT, label="retro")]
    assert schedules.declare_slots(c, INBOX, again, at=AT + 1)
    assert not schedules.declare_slots(c, INBOX, again, at=AT + 2), "nothing has changed"
    assert schedules.declare_slots(c, INBOX, [again[1]], at=AT + 3)
    rows = {row.label: (row.enabled, row.paused_reason) for row in schedule_rows.slots_of(c, INBOX)}
    assert rows == {"standup": (False, "removed"), "retro": (True, None)}
    assert schedules.declare_slots(c, INBOX, again, at=AT + 4)
    assert {row.id for row in schedule_rows.slots_of(c, INBOX) if row.label == "standup"} == {slot.id}


def test_a_schedule_of_runs_and_slots_leave_each_other_alone(c: sa.Connection, slot: ScheduleRow) -> None:
    runs = make_schedule(c)
    assert agents.get_agent(c, INBOX).schedule == "every hour"
    assert [row.id for row in schedule_rows.schedules_of(c, INBOX)] == [runs.id]
    schedules.declare(c, INBOX, None, fresh_id="", at=AT)
    assert [row.enabled for row in schedule_rows.slots_of(c, INBOX)] == [True]
    assert schedules.remove(c, INBOX, AT)
    assert [row.id for row in schedule_rows.slots_of(c, INBOX) if row.enabled] == []
    assert slot.id == schedules.slot_id(INBOX, "standup")


def test_a_slot_without_a_label_or_an_end_cannot_be(c: sa.Connection, slot: ScheduleRow) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="ck_schedules_slot"):
        c.execute(sa.update(schedule_table).where(schedule_table.c.id == slot.id).values(label=None))


def test_old_wakes_go_and_open_ones_stay(c: sa.Connection) -> None:
    wake = come(c, overlap="allow", duration_ms=3 * HOUR)
    fire(c, SECOND, schedule_id=wake.schedule_id)
    schedule_rows.settle(c, wake.id, "acknowledged", "woken", at=FIRST)
    assert (retention.prune_wakes(c, before=FIRST), retention.prune_wakes(c, before=FIRST + 1)) == (0, 1)
    assert [row.fire_at for row in schedule_rows.wakes_of(c, INBOX, 10)] == [SECOND]


def test_wakes_are_listed_page_by_page_the_newest_first(c: sa.Connection) -> None:
    wake = come(c, overlap="allow")
    fire(c, SECOND, schedule_id=wake.schedule_id)
    (newest,) = schedule_rows.wakes_of(c, INBOX, 1)
    (older,) = schedule_rows.wakes_of(c, INBOX, 1, after=(newest.fire_at, newest.id))
    assert (newest.fire_at, older.id) == (SECOND, wake.id)
