"""Schedules: what an edit, a pause and a wrong clock do to the cursor, and to fires that nobody decided."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId
from protocol.lifecycles import RunEvent, RunOutcome
from storage import audit, leases
from storage.agents import agent_states, agents, due_schedules, exhaustion, state_moves
from storage.agents.configs import UnreadableConfig
from storage.effects import fire_decisions, retention
from storage.leases import LostLease
from storage.runs import run_moves
from storage.schedules import schedule_rows, schedules, wakes
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow, time_text
from storage.schedules.schedules import NextFire, PassedFires
from storage.schedules.wakes import WakeProjection, WakeRow
from storage.schema import agent_configs
from storage.schema import schedules as schedule_table
from storage.schema import schedules as table
from storage.schema import wakes as wake_table
from tests.storage.rows import AT, NEXT_BOOT, claim, declare, make_agent, make_run, some
from tests.storage.scheduled import HOUR, HOURLY, decision, fire, lead, make_schedule, told
from tests.support import stored
from tests.support.coded import coded

INBOX = AgentId("agent-inbox")
ID = "schedule-inbox"
DAY = 24 * HOUR


def redeclare(c: sa.Connection, declared: DeclaredSchedule | None, at: int) -> bool:
    return schedules.declare(c, INBOX, declared, fresh_id="another", at=at)


@pytest.fixture
def paused(c: sa.Connection, schedule: ScheduleRow) -> None:
    """A schedule that a person has paused."""
    schedules.set_enabled(c, ID, False, at=AT + 1)


def test_trigger_is_described_in_words_and_an_unusual_cron_expression_verbatim() -> None:
    words = {
        "0 7 * * *": "every day at 07:00",
        "5 19 * * 1-5": "Monday to Friday at 19:05",
        "30 18 * * FRI": "Friday at 18:30",
        "0 9 * * 1,3,sat-7": "Monday, Wednesday and Saturday to Sunday at 09:00",
        "0 6 1 * *": "on day 1 of each month at 06:00",
        "*/15 * * * *": "every 15 minutes",
        "0 */6 * * *": "every 6 hours",
        "0 * * * *": "every hour",
        **{expr: expr for expr in ("*/7 * * * *", "0 7 1 * 1", "0 7 * * 5#1", "0 7 * 2 *", "0 9-17 * * *")},
    }
    assert {expr: time_text(expr, None, None) for expr in words} == words
    periods = {
        1: "second",
        20: "20 seconds",
        60: "minute",
        900: "15 minutes",
        90: "90 seconds",
        86_400: "day",
    }
    for seconds, text in periods.items():
        assert time_text(None, seconds * 1_000, None) == f"every {text}"
    assert time_text(None, None, 1_767_600_000_000) == "once, 2026-01-05 08:00 UTC"


def test_new_schedule_is_unplanned_with_the_cursor_at_creation(c: sa.Connection) -> None:
    made = make_schedule(c, planned=None, overlap="queue_one", jitter_ms=7)
    assert (
        made.declared.overlap,
        made.jitter_ms,
        made.kind,
        made.cursor_at,
        made.next_fire_at,
        made.due_at,
        made.rev,
    ) == ("queue_one", 7, "every", AT, None, None, 1)
    assert (made.enabled, made.agent_name, made.device_id) == (True, "inbox", "device-laptop")
    assert schedule_rows.unplanned(c, 10) == [made]


def test_schedule_edit_keeps_the_row_and_moves_the_cursor_to_now(c: sa.Connection) -> None:
    made = make_schedule(c)
    assert redeclare(c, DeclaredSchedule(kind="cron", expr="0 7 * * *", tz="Asia/Tokyo"), AT + 5)
    (edited,) = stored.list_schedules(c)
    assert (
        edited.id,
        edited.rev,
        edited.expr,
        edited.tz,
        edited.every_ms,
        edited.cursor_at,
        edited.next_fire_at,
        edited.due_at,
    ) == (made.id, made.rev + 1, "0 7 * * *", "Asia/Tokyo", None, AT + 5, None, None)


@pytest.mark.usefixtures("schedule")
def test_fire_passed_over_by_a_schedule_edit_is_recorded_as_skipped(c: sa.Connection) -> None:
    redeclare(c, DeclaredSchedule(kind="every", every_ms=2 * HOUR), AT + 3 * HOUR)
    (row,) = told(c)
    assert (row.first_at, row.fire_at, row.decision, row.reason, row.run_id) == (
        AT + HOUR,
        AT + 3 * HOUR,
        "skipped_window",
        "edited",
        None,
    )


@pytest.mark.usefixtures("schedule")
def test_unchanged_schedule_declaration_changes_nothing_and_leaves_a_pause(c: sa.Connection) -> None:
    schedules.set_enabled(c, ID, False, at=AT + 1, reason=schedule_rows.FAILURES)
    before = stored.list_schedules(c)
    assert not redeclare(c, HOURLY, AT + 2)
    assert stored.list_schedules(c) == before


@pytest.mark.usefixtures("schedule")
def test_schedule_edit_ends_only_a_pause_after_failures(c: sa.Connection) -> None:
    schedules.set_enabled(c, ID, False, at=AT + 1, reason=schedule_rows.FAILURES)
    redeclare(c, DeclaredSchedule(kind="every", every_ms=2 * HOUR), AT + 2)
    assert schedule_rows.get_schedule(c, ID).enabled
    schedules.set_enabled(c, ID, False, at=AT + 3)
    redeclare(c, DeclaredSchedule(kind="every", every_ms=3 * HOUR), AT + 4)
    paused = schedule_rows.get_schedule(c, ID)
    assert (paused.enabled, paused.paused_reason, paused.every_ms, paused.cursor_at) == (
        False,
        "user",
        3 * HOUR,
        AT + 2,
    )


@pytest.mark.usefixtures("schedule")
def test_schedule_declared_again_after_removal_is_the_same_row(c: sa.Connection) -> None:
    assert redeclare(c, None, AT + 1) and not redeclare(c, None, AT + 2)
    removed = schedule_rows.get_schedule(c, ID)
    assert (removed.enabled, removed.paused_reason) == (False, "removed")
    assert redeclare(c, HOURLY, AT + 3)
    back = schedule_rows.get_schedule(c, ID)
    assert (back.enabled, back.paused_reason, back.cursor_at) == (True, None, AT + 3)


@pytest.mark.usefixtures("schedule")
def test_declared_schedule_switched_off_by_an_older_release_is_enabled_again(
    c: sa.Connection,
) -> None:
    c.execute(sa.update(table).values(enabled=False, paused_reason=None))
    assert redeclare(c, HOURLY, AT + 3) and schedule_rows.get_schedule(c, ID).enabled


@pytest.mark.usefixtures("schedule")
def test_schedule_of_an_archived_agent_does_not_fire(c: sa.Connection) -> None:
    make_schedule(c, "notes", planned=None)
    declare(c, at=AT + 1)
    assert due_schedules.agenda(c, AT + DAY, 10) == due_schedules.Agenda((), (), None)
    assert [(row.is_archived, row.paused_reason) for row in stored.list_schedules(c)] == [
        (True, "removed")
    ] * 2


def test_planned_schedule_is_due_at_due_at(c: sa.Connection) -> None:
    made = make_schedule(c, planned=None)
    schedules.plan_next(c, lead(c), [NextFire(ID, made.rev, AT + HOUR, AT + HOUR + 7)], AT)
    assert (due_schedules.due(c, AT + HOUR + 6, 10), schedule_rows.next_due_at(c, AT)) == ([], AT + HOUR + 7)
    (found,) = due_schedules.due(c, AT + HOUR + 7, 10)
    assert (found.schedule.id, found.schedule.next_fire_at, found.paths) == (ID, AT + HOUR, ("notes",))
    assert (schedule_rows.next_due_at(c, AT + HOUR + 7), schedule_rows.unplanned(c, 10)) == (None, [])


def test_due_schedules_are_listed_longest_waiting_first(c: sa.Connection) -> None:
    for name in ("a", "b", "d"):
        make_agent(c, name)
    for name, hours in (("a", 3), ("b", 1), ("d", 2)):
        make_schedule(c, name, planned=AT + hours * HOUR)
    assert [due.schedule.agent_name for due in due_schedules.due(c, AT + DAY, 2)] == ["b", "d"]


def test_plan_of_a_schedule_edited_since_is_void(c: sa.Connection) -> None:
    seen = make_schedule(c, planned=None)
    redeclare(c, DeclaredSchedule(kind="every", every_ms=2 * HOUR), AT + 1)
    schedules.plan_next(c, lead(c), [NextFire(ID, seen.rev, AT + HOUR, AT + HOUR)], AT + 1)
    assert schedule_rows.get_schedule(c, ID).next_fire_at is None


def test_schedule_without_a_next_fire_is_finished(c: sa.Connection) -> None:
    seen = make_schedule(c, planned=None, kind="at", every_ms=None, at_ms=AT - 1)
    schedules.plan_next(c, lead(c), [NextFire(ID, seen.rev, None, None)], AT)
    finished = schedule_rows.get_schedule(c, ID)
    assert (finished.enabled, finished.paused_reason) == (False, "finished")


def test_scheduler_without_the_lease_plans_nothing(c: sa.Connection) -> None:
    seen = make_schedule(c, planned=None)
    old = lead(c)
    leases.resign_lease(c, old)
    leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=60_000)
    with pytest.raises(LostLease):
        schedules.plan_next(c, old, [NextFire(ID, seen.rev, AT + HOUR, AT + HOUR)], AT)
    with pytest.raises(LostLease):
        schedules.replan_all(c, old, "2026b", AT)
    with pytest.raises(LostLease):
        schedules.give_up(c, old, seen, AT)
    assert schedule_rows.unplanned(c, 10) == [seen]


@pytest.mark.usefixtures("schedule")
def test_paused_schedule_does_not_fire_until_enabled(c: sa.Connection) -> None:
    assert schedules.set_enabled(c, ID, False, at=AT + 1)
    assert not schedules.set_enabled(c, ID, False, at=AT + 2)
    assert due_schedules.agenda(c, AT + DAY, 10) == due_schedules.Agenda((), (), None)
    assert schedules.set_enabled(c, ID, True, at=AT + 3) and not schedules.set_enabled(c, ID, True, at=AT + 4)
    enabled = schedule_rows.get_schedule(c, ID)
    assert (enabled.cursor_at, enabled.next_fire_at, enabled.paused_reason) == (AT + 3, None, None)
    assert told(c) == []


@pytest.mark.usefixtures("paused")
def test_fires_passed_over_in_a_pause_are_recorded_as_a_single_row(c: sa.Connection) -> None:
    passed = PassedFires(cursor_at=AT, first_at=AT + HOUR, fire_at=AT + 4 * HOUR, count=4)
    schedules.set_enabled(c, ID, True, at=AT + 4 * HOUR + 1, passed=passed)
    (row,) = told(c)
    assert (row.decision, row.reason, row.fires, row.first_at, row.fire_at) == (
        "skipped_paused",
        "schedule_paused",
        4,
        AT + HOUR,
        AT + 4 * HOUR,
    )


@pytest.mark.usefixtures("paused")
def test_passed_fires_counted_from_another_cursor_are_ignored(c: sa.Connection) -> None:
    passed = PassedFires(cursor_at=AT - HOUR, first_at=AT, fire_at=AT + HOUR, count=2)
    schedules.set_enabled(c, ID, True, at=AT + HOUR, passed=passed)
    assert [(row.first_at, row.fire_at, row.fires) for row in told(c)] == [(AT + HOUR, AT + HOUR, 1)]


def test_schedule_enabled_with_catch_up_keeps_the_cursor(c: sa.Connection) -> None:
    before = make_schedule(c, planned=AT + HOUR)
    schedules.set_enabled(c, ID, False, at=AT + 1)
    schedules.set_enabled(c, ID, True, at=AT + 4 * HOUR, catch_up=True)
    (enabled,) = schedule_rows.unplanned(c, 10)
    assert (
        enabled.cursor_at,
        enabled.next_fire_at,
        enabled.due_at,
        enabled.is_catching_up,
        enabled.paused_reason,
    ) == (before.cursor_at, None, None, True, None)


@pytest.mark.usefixtures("paused")
def test_edit_of_a_paused_schedule_records_passed_fires_and_catches_up_nothing(c: sa.Connection) -> None:
    redeclare(c, DeclaredSchedule(kind="every", every_ms=HOUR // 2), AT + 2 * HOUR)
    paused = schedule_rows.get_schedule(c, ID)
    assert (paused.cursor_at, paused.next_fire_at, paused.due_at) == (AT + 2 * HOUR, None, None)
    (row,) = told(c)
    assert (row.first_at, row.fire_at, row.decision, row.reason) == (
        AT + HOUR,
        AT + 2 * HOUR,
        "skipped_paused",
        "schedule_paused",
    )


@pytest.mark.usefixtures("paused")
def test_second_edit_in_a_pause_records_no_passed_fires_yet(c: sa.Connection) -> None:
    redeclare(c, DeclaredSchedule(kind="every", every_ms=HOUR // 2), AT + 10)
    redeclare(c, DeclaredSchedule(kind="every", every_ms=2 * HOUR), AT + 9 * HOUR)
    assert (schedule_rows.get_schedule(c, ID).cursor_at, told(c)) == (AT + 10, [])


def test_schedule_edited_since_is_not_given_up(c: sa.Connection) -> None:
    seen = make_schedule(c)
    redeclare(c, DeclaredSchedule(kind="every", every_ms=2 * HOUR), AT + 1)
    assert not schedules.give_up(c, lead(c), seen, AT + 2)
    edited = schedule_rows.get_schedule(c, ID)
    assert schedules.give_up(c, lead(c), edited, AT + 3)
    assert schedule_rows.get_schedule(c, ID).paused_reason == schedule_rows.BROKEN


@pytest.mark.usefixtures("schedule")
def test_schedule_no_longer_declared_cannot_be_enabled(c: sa.Connection) -> None:
    redeclare(c, None, AT + 1)
    assert not schedules.set_enabled(c, ID, True, at=AT + 2)


def test_an_unknown_schedule_is_reported(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="schedule-9"):
        schedules.set_enabled(c, "schedule-9", True, at=AT)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="schedule-9"):
        due_schedules.with_settings(c, "schedule-9")


def test_schedule_pauses_after_consecutive_failures_with_an_activity_entry(c: sa.Connection) -> None:
    make_schedule(c, pause_after_failures=3)
    outcomes = [
        RunOutcome.ERROR,
        RunOutcome.SUCCESS,
        RunOutcome.ERROR,
        RunOutcome.PARTIAL,
        None,
        RunOutcome.ERROR,
    ]
    assert not any(schedules.count_outcome(c, ID, outcome, AT) for outcome in outcomes)
    assert schedules.count_outcome(c, ID, RunOutcome.ERROR, AT + 9)
    paused = schedule_rows.get_schedule(c, ID)
    assert (paused.enabled, paused.paused_reason, paused.consecutive_failures) == (False, "failures", 3)
    (entry,) = audit.list_activity(c)
    assert (entry.event_type, entry.agent_id, entry.at) == ("schedule.paused", INBOX, AT + 9)
    assert "3 failed runs" in entry.message


@pytest.mark.parametrize(("code", "failures"), [("no_folder", 0), ("nothing_shared", 1)])
def test_failure_for_a_missing_folder_does_not_count_for_the_pause_of_the_schedule(
    c: sa.Connection, code: str, failures: int
) -> None:
    make_schedule(c)
    fire(c, AT)
    claimed = some(claim(c, at=AT + HOUR))
    run_moves.move(c, claimed.held, RunEvent.FAILED, at=AT + HOUR, actor="hub", error="the cause", code=code)
    assert schedule_rows.get_schedule(c, ID).consecutive_failures == failures


def test_enabling_a_schedule_resets_the_consecutive_failures(c: sa.Connection) -> None:
    make_schedule(c, pause_after_failures=1)
    assert schedules.count_outcome(c, ID, RunOutcome.ERROR, AT)
    assert not schedules.count_outcome(c, ID, RunOutcome.ERROR, AT)  # it is paused by then
    schedules.set_enabled(c, ID, True, at=AT + 1)
    assert schedule_rows.get_schedule(c, ID).consecutive_failures == 0
    assert schedules.count_outcome(c, ID, RunOutcome.ERROR, AT + 2)
    assert len(audit.list_activity(c)) == 2


def test_schedule_with_zero_pause_after_failures_never_pauses(c: sa.Connection) -> None:
    make_schedule(c, pause_after_failures=0)
    assert not any(schedules.count_outcome(c, ID, RunOutcome.ERROR, AT) for _ in range(9))


@pytest.mark.parametrize(("key", "value"), [("paths", '{"glob": ["a"]}'), ("timezone", "nonsense")])
def test_unreadable_settings_of_a_schedule_do_not_affect_the_others(
    c: sa.Connection, key: str, value: str
) -> None:
    make_agent(c, "notes")
    make_schedule(c)
    make_schedule(c, "notes")
    of_inbox = (agent_configs.c.agent_id == INBOX, agent_configs.c.config_key == key)
    c.execute(sa.update(agent_configs).where(*of_inbox).values(config_value=value))
    agenda = due_schedules.agenda(c, AT + HOUR, 10)
    assert [due.schedule.agent_name for due in agenda.due] == ["notes"]
    (unreadable,) = agenda.unreadable
    assert unreadable.schedule.agent_name == "inbox"
    assert "cannot be read" in unreadable.why
    with pytest.raises(UnreadableConfig):
        due_schedules.with_settings(c, ID)


def test_new_time_zone_data_replans_each_cron_schedule_and_moves_no_cursor(c: sa.Connection) -> None:
    make_agent(c, "often")
    make_schedule(c, "inbox", kind="cron", every_ms=None, expr="0 7 * * *")
    make_schedule(c, "often")
    term = lead(c)
    assert schedules.replan_all(c, term, "2026a", AT + 1) == 1  # planned with nobody knows what
    assert schedules.replan_all(c, term, "2026a", AT + 2) == 0
    assert schedules.replan_all(c, term, "2026b", AT + 3) == 1
    (cron,) = schedule_rows.unplanned(c, 10)
    assert (cron.id, cron.cursor_at, cron.due_at) == (ID, AT, None)


@pytest.mark.usefixtures("schedule")
def test_newest_of_several_schedules_of_an_older_release_is_shown(
    c: sa.Connection,
) -> None:
    old = {"id": "older", "agent_id": INBOX, "kind": "cron", "expr": "5 4 * * *", "enabled": False}
    c.execute(sa.insert(table), old | {"cursor_at": 1, "created_at": 1, "updated_at": 1})
    assert [row.id for row in schedule_rows.schedules_of(c, INBOX)] == [ID, "older"]
    assert agents.get_agent(c, INBOX).schedule == "every hour"


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
    (wake,) = wakes.wakes_of(c, INBOX, 10)
    return wake


def look(c: sa.Connection, at: int = FIRST) -> list[WakeProjection]:
    return wakes.due_wakes(c, at, 100)


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


def test_due_calendar_slot_creates_a_wake_and_no_run(c: sa.Connection, wake: WakeRow) -> None:
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


def test_second_wake_of_the_same_slot_is_refused_by_the_database(c: sa.Connection, wake: WakeRow) -> None:
    again = wakes.wake_row(
        "other", schedule_id=wake.schedule_id, agent_id=INBOX, fire_at=FIRST, duration_ms=1, at=FIRST
    )
    with pytest.raises(sa.exc.IntegrityError):
        c.execute(sa.insert(wake_table), again)


def test_fire_with_an_existing_wake_creates_no_second_wake(c: sa.Connection, slot: ScheduleRow) -> None:
    row = wakes.wake_row(
        "there", schedule_id=slot.id, agent_id=INBOX, fire_at=FIRST, duration_ms=MINUTE, at=FIRST
    )
    c.execute(sa.insert(wake_table), row)
    decided = some(fire_decisions.decide_what_is_left(c, lead(c), decision(c, slot.id, runs=[FIRST]), FIRST))
    assert (decided[0].decision, [wake.id for wake in wakes.wakes_of(c, INBOX, 10)]) == (
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
def test_slot_due_while_the_last_wake_is_open_follows_the_overlap_policy(
    c: sa.Connection, overlap: str, decided: tuple[str, str], states: list[str]
) -> None:
    (later,) = fire(c, SECOND, schedule_id=come(c, overlap=overlap, duration_ms=3 * HOUR).schedule_id)
    assert (later.decision, later.reason) == decided
    assert [row.state for row in wakes.wakes_of(c, INBOX, 10)] == states
    if overlap == "cancel_running":
        assert (told(c)[0].decision, told(c)[0].reason) == ("skipped_overlap", "superseded")


@pytest.mark.usefixtures("wake")
def test_notified_device_of_a_wake_is_not_notified_again_before_next_at(c: sa.Connection) -> None:
    (sight,) = look(c)
    assert wakes.claim_wake(c, sight, at=FIRST, next_at=FIRST + MINUTE)
    assert not wakes.claim_wake(c, sight, at=FIRST, next_at=FIRST + MINUTE), "another hub came second"
    assert look(c, FIRST + MINUTE - 1) == []
    (again,) = look(c, FIRST + MINUTE)
    assert (again.state, again.sends, again.sent_at) == ("sent", 1, FIRST)
    assert wakes.claim_wake(c, again, at=FIRST + MINUTE, next_at=FIRST + 2 * MINUTE)


def test_wake_is_acknowledged_once_and_the_fire_is_woken(c: sa.Connection, wake: WakeRow) -> None:
    assert wakes.settle(c, wake.id, "acknowledged", "woken", at=FIRST + 5)
    assert not wakes.settle(c, wake.id, "failed", "wake_failed", at=FIRST + 6, reason="no_answer")
    (row,) = wakes.wakes_of(c, INBOX, 10)
    assert (row.state, row.reason, row.settled_at) == ("acknowledged", None, FIRST + 5)
    assert outcome(c) == ("woken", None)
    assert not wakes.is_any_open(c)
    assert look(c, FIRST + HOUR) == []


def test_sent_wake_is_due_only_after_a_grace_period_past_the_end(c: sa.Connection, wake: WakeRow) -> None:
    (sight,) = look(c)
    wakes.claim_wake(c, sight, at=FIRST, next_at=wake.ends_at + MINUTE)
    assert look(c, wake.ends_at + wakes.GRACE_MS - 1) == []
    assert [row.state for row in look(c, wake.ends_at + wakes.GRACE_MS)] == ["sent"]


def test_wake_of_a_busy_agent_is_due_at_slot_end(c: sa.Connection, wake: WakeRow) -> None:
    make_run(c, agent=agents.get_agent(c, INBOX))
    assert (look(c), wakes.is_any_open(c)) == ([], True)
    assert [(busy.runs_waiting, busy.connectivity) for busy in look(c, wake.ends_at)] == [(1, "online")]


def test_agent_reported_offline_by_a_connected_device_is_not_woken(
    c: sa.Connection,
    wake: WakeRow,
) -> None:
    state_moves.move(c, INBOX, "connectivity", "offline", at=FIRST, actor="device:device-laptop")
    assert (look(c), [away.connectivity for away in look(c, wake.ends_at)]) == ([], ["offline"])


@pytest.mark.usefixtures("wake")
def test_wake_of_a_paused_agent_is_due_at_once(c: sa.Connection) -> None:
    state_moves.move(c, INBOX, "lifecycle", "paused", at=FIRST, actor="operator")
    assert [sight.lifecycle for sight in look(c)] == ["paused"]


@pytest.mark.usefixtures("wake")
def test_deferred_wake_is_due_at_recovery_or_at_the_expected_recovery_time(c: sa.Connection) -> None:
    back = FIRST + 5 * MINUTE
    exhaustion.exhaust(c, INBOX, cause="rate_limit", recovery_at=back, at=FIRST, actor="model")
    (sight,) = look(c)
    assert (sight.availability, sight.recovery_at) == ("exhausted", back)
    assert wakes.postpone(c, sight, at=FIRST, next_at=back, reason="exhausted", is_deferred=True)
    assert (outcome(c), look(c, back - 1)) == (("deferred", "exhausted"), [])
    assert [sight.state for sight in look(c, back)] == ["deferred"]
    exhaustion.recover_agent(c, INBOX, at=FIRST + MINUTE, actor="operator")
    (early,) = look(c, FIRST + MINUTE)
    assert wakes.claim_wake(c, early, at=FIRST + MINUTE, next_at=back), "the quota came back sooner"


@pytest.mark.usefixtures("wake")
def test_open_wake_of_a_removed_slot_is_marked_as_removed(c: sa.Connection) -> None:
    assert schedules.declare_slots(c, INBOX, [], at=FIRST)
    assert [sight.is_removed for sight in look(c)] == [True]


def test_calendar_slot_declared_again_by_label_is_the_same_row(c: sa.Connection, slot: ScheduleRow) -> None:
    again = [SLOT, msgspec.structs.replace(SLOT, label="retro")]
    assert schedules.declare_slots(c, INBOX, again, at=AT + 1)
    assert not schedules.declare_slots(c, INBOX, again, at=AT + 2), "nothing has changed"
    assert schedules.declare_slots(c, INBOX, [again[1]], at=AT + 3)
    rows = {row.label: (row.enabled, row.paused_reason) for row in schedule_rows.slots_of(c, INBOX)}
    assert rows == {"standup": (False, "removed"), "retro": (True, None)}
    assert schedules.declare_slots(c, INBOX, again, at=AT + 4)
    assert {row.id for row in schedule_rows.slots_of(c, INBOX) if row.label == "standup"} == {slot.id}


def test_run_schedule_and_calendar_slots_of_an_agent_are_independent(
    c: sa.Connection, slot: ScheduleRow
) -> None:
    runs = make_schedule(c)
    assert agents.get_agent(c, INBOX).schedule == "every hour"
    assert [row.id for row in schedule_rows.schedules_of(c, INBOX)] == [runs.id]
    schedules.declare(c, INBOX, None, fresh_id="", at=AT)
    assert [row.enabled for row in schedule_rows.slots_of(c, INBOX)] == [True]
    assert schedules.remove(c, INBOX, AT)
    assert [row.id for row in schedule_rows.slots_of(c, INBOX) if row.enabled] == []
    assert slot.id == schedules.slot_id(INBOX, "standup")


def test_database_refuses_a_calendar_slot_without_a_label(c: sa.Connection, slot: ScheduleRow) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="ck_schedules_slot"):
        c.execute(sa.update(schedule_table).where(schedule_table.c.id == slot.id).values(label=None))


def test_pruning_deletes_old_settled_wakes_and_leaves_open_wakes(c: sa.Connection) -> None:
    wake = come(c, overlap="allow", duration_ms=3 * HOUR)
    fire(c, SECOND, schedule_id=wake.schedule_id)
    wakes.settle(c, wake.id, "acknowledged", "woken", at=FIRST)
    assert (retention.prune_wakes(c, before=FIRST), retention.prune_wakes(c, before=FIRST + 1)) == (0, 1)
    assert [row.fire_at for row in wakes.wakes_of(c, INBOX, 10)] == [SECOND]


def test_wakes_are_listed_page_by_page_the_newest_first(c: sa.Connection) -> None:
    wake = come(c, overlap="allow")
    fire(c, SECOND, schedule_id=wake.schedule_id)
    (newest,) = wakes.wakes_of(c, INBOX, 1)
    (older,) = wakes.wakes_of(c, INBOX, 1, after=(newest.fire_at, newest.id))
    assert (newest.fire_at, older.id) == (SECOND, wake.id)
