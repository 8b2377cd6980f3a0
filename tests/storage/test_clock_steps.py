"""What a step of the hub's clock does to the stored instants."""

from typing import Any, get_args

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage import audit
from storage.agents import exhaustion
from storage.effects import clock_steps
from storage.effects.clock_steps import DOUBTED_MS, ClockStep
from storage.kernel.columns import Instant, instants, is_instant, metadata
from storage.runs import runs
from storage.schedules import schedule_rows
from storage.schema import invitations, users, wakes
from storage.schema import runs as run_table
from tests.storage.rows import AT, make_agent, make_run
from tests.storage.scheduled import HOUR, fire, make_schedule, told
from tests.storage.test_schedules import come
from tests.support import stored

DAY = 24 * HOUR
ID, INBOX = "schedule-inbox", AgentId("agent-inbox")
# Instants that no step moves by themselves.
NOMINAL = {
    *(f"schedules.{name}" for name in ("starts_at", "ends_at", "cursor_at", "created_at")),
    *("schedules.next_fire_at", "schedules.due_at", "schedule_fires.fire_at", "schedule_fires.first_at"),
    *("runs.fire_at", "wakes.fire_at", "wakes.ends_at"),  # with their schedule
    *("agent_metrics.bucket_at", "agent_metrics.last_at"),  # a part of the key, and of a sample in it
    "audit_log.at",  # hashed
    *("run_units.began_at", "run_units.read_at", "run_units.planned_at", "run_units.updated_at"),
    *("run_calls.sent_at", "run_calls.updated_at"),  # of the largest tables, and only compared there
}


def step(c: sa.Connection, *, before: int, to: int) -> ClockStep:
    """Step the clock, as ``hub.runs.clock_watch`` does."""
    base = msgspec.structs.replace(clock_steps.record_base(c, before, 0, "machine"), at=to)
    after = clock_steps.judge_again(
        c, base, before=before, id=f"step-{base.steps}", follows_wall=lambda expr: expr.startswith("*")
    )
    for table in clock_steps.REDATE if to < before else ():
        clock_steps.redate(c, table, by_ms=to - before, at=to)
    assert after.last is not None
    return after.last


def test_each_instant_column_has_a_single_clock_step_kind() -> None:
    kinds: dict[str, list[Instant]] = {}
    for kind in get_args(Instant):
        for table, _, columns in instants(kind):
            for column in columns:
                kinds.setdefault(f"{table.name}.{column.name}", []).append(kind)
    every = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if is_instant(column)
    }
    assert {name for name in every if kinds.get(name, ["nominal"]) == ["nominal"]} == NOMINAL
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    assert mixed == {"messages.created_at", "messages.updated_at", "runs.updated_at"}
    assert len(kinds["runs.eligible_at"]) == 1


def test_clock_step_queries_of_all_instant_columns_execute(c: sa.Connection) -> None:
    for by in (-HOUR, HOUR):
        step(c, before=AT, to=AT + by)


# kind, expression; when the clock was set, by how much; cursor and next fire after it (None: to be planned)
EVERY, MINUTELY, DAILY = ("every", None), ("cron", "* * * * *"), ("cron", "0 7 * * *")


@pytest.mark.parametrize("by", [2 * HOUR, -HOUR, -20 * HOUR, -21 * DAY, DAY, 10_000 * DAY])
def test_schedules_continue_after_each_clock_step(c: sa.Connection, by: int) -> None:
    for name, (kind, expr) in {"every": EVERY, "minutely": MINUTELY, "daily": DAILY}.items():
        every_ms = HOUR if kind == "every" else None
        make_schedule(c, name, kind=kind, expr=expr, every_ms=every_ms, overlap="allow")
        fire(c, AT + HOUR, schedule_id=f"schedule-{name}")
    before, to = AT + HOUR + 1_000, AT + HOUR + 1_000 + by
    assert step(c, before=before, to=to).schedules == 1 + (by < 0) + (by < -3 * HOUR)
    found = {row.agent_name: row for row in stored.list_schedules(c)}
    every = found["every"]
    assert (every.cursor_at, every.next_fire_at, every.created_at) == (
        AT + HOUR + by,
        AT + 2 * HOUR + by,
        AT + by,
    )
    is_reset = {"minutely": by < 0, "daily": by < -3 * HOUR}
    for name, reset in is_reset.items():
        expected = (to, None) if reset else (AT + HOUR, AT + 2 * HOUR)
        assert (found[name].cursor_at, found[name].next_fire_at) == expected, name
    for name, reset in ({"every": by < 0} | is_reset).items():
        assert (told(c, name) == []) == reset, name
        run = runs.get_run(c, RunId(f"schedule-{name}-{AT + HOUR}"))
        assert (run.state, run.eligible_at) == ("QUEUED", AT + HOUR + by)
    keys = [key for (key,) in c.execute(sa.select(run_table.c.fire_key))]
    assert sum(key.startswith("w:") for key in keys) == (by < 0) + sum(is_reset.values())


def test_clock_step_and_the_reverse_leave_the_next_fire_unchanged(c: sa.Connection) -> None:
    before = make_schedule(c)
    step(c, before=AT, to=AT + 2 * HOUR)
    step(c, before=AT + 2 * HOUR + 500, to=AT + 500)
    after = schedule_rows.get_schedule(c, ID)
    assert (after.cursor_at, after.next_fire_at) == (before.cursor_at, before.next_fire_at)


def test_backward_clock_step_forgets_future_fires_and_dates_back_their_runs(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow", kind="cron", expr="* * * * *", every_ms=None)
    fire(c, AT + HOUR)
    step(c, before=AT + HOUR, to=AT)
    assert [row.fire_at for row in told(c)] == []
    early = runs.get_run(c, RunId(f"{ID}-{AT + HOUR}"))
    assert (early.fire_at, early.eligible_at) == (AT, AT)


def test_at_schedule_fired_by_a_clock_far_ahead_is_enabled_again(c: sa.Connection) -> None:
    make_schedule(c, kind="at", at_ms=AT + DAY, every_ms=None)
    fire(c, AT + DAY, next_fire_at=None)
    assert not schedule_rows.get_schedule(c, ID).enabled
    step(c, before=AT + DAY, to=AT)
    again = schedule_rows.get_schedule(c, ID)
    assert (again.enabled, again.paused_reason, again.cursor_at) == (True, None, AT)


def test_backward_clock_step_deletes_wakes_of_future_slots(c: sa.Connection) -> None:
    wake = come(c, at=AT + 10 * HOUR)
    step(c, before=AT + 10 * HOUR, to=AT)
    assert c.execute(sa.select(wakes.c.id).where(wakes.c.id == wake.id)).all() == []


@pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR, 10_000 * DAY])
def test_clock_step_shifts_run_and_recovery_waits(c: sa.Connection, by: int) -> None:
    run_id = make_run(c, "retried").id
    c.execute(sa.update(run_table).where(run_table.c.id == run_id).values(eligible_at=AT + 5_000))
    back = exhaustion.exhaust(c, INBOX, cause="rate_limit", retry_after_ms=HOUR, at=AT, actor="hub")
    step(c, before=AT + 1_000, to=AT + 1_000 + by)
    assert runs.get_run(c, run_id).eligible_at == AT + 5_000 + by
    assert exhaustion.next_recovery(c) == back + by


def invite(c: sa.Connection, name: str, *, at: int, ends: int) -> None:
    """An invitation, as any right that ends."""
    user_id = c.execute(sa.select(users.c.id)).scalars().first()
    about: dict[str, Any] = {"last4": "", "created_by": "me", "uses_left": 1, "user_id": user_id}
    row = {"id": name, "token_hash": name.encode(), "created_at": at, "expires_at": ends}
    c.execute(sa.insert(invitations).values(row | about))


def ends_of(c: sa.Connection) -> dict[str, int]:
    return {row.id: row.expires_at for row in c.execute(sa.select(invitations))}


def test_backward_clock_step_revives_no_ended_right_and_keeps_future_ends(c: sa.Connection) -> None:
    make_agent(c)
    before, to = AT + 30 * DAY, AT + 10 * DAY
    for name, at, end in (
        ("over", AT, AT + 20 * DAY),
        ("long over", AT, AT + 5 * DAY),
        ("valid", AT, AT + 60 * DAY),
        ("of the clock ahead", AT + 29 * DAY, AT + 31 * DAY),
    ):
        invite(c, name, at=at, ends=end)
    assert step(c, before=before, to=to).ended == 1
    assert ends_of(c) == {
        "over": to,
        "long over": AT + 5 * DAY,
        "valid": AT + 60 * DAY,
        "of the clock ahead": AT + 11 * DAY,
    }


@pytest.mark.parametrize("is_start", [False, True])
@pytest.mark.parametrize(("after", "comes_back"), [(HOUR, True), (DOUBTED_MS + HOUR, False)])
def test_timely_step_back_revives_rights_ended_by_a_forward_step(
    c: sa.Connection, after: int, comes_back: bool, is_start: bool
) -> None:
    make_agent(c)
    invite(c, "honest", at=AT, ends=AT + 30 * DAY)
    invite(c, "over", at=AT - DAY, ends=AT + 1_000)
    if is_start:  # of a machine whose clock was ahead, or which was off for so long
        clock_steps.record_base(c, AT + 2_000, 0, "")
        clock_steps.record_base(c, AT + 400 * DAY, 0, "", off_ms=400 * DAY - 2_000)
    else:
        assert step(c, before=AT + 2_000, to=AT + 400 * DAY).ended == 1
    back = AT + 2_000 + after
    step(c, before=AT + 400 * DAY + after, to=back)
    assert ends_of(c) == {
        "honest": AT + 30 * DAY if comes_back else back,
        "over": AT + 1_000,
    }


def test_records_of_a_clock_ahead_are_dated_back_and_keep_their_order(c: sa.Connection) -> None:
    for id, at in (("old", AT), ("new", AT + DAY + 1), ("newer", AT + DAY + 2)):
        audit.record(c, id=id, at=at, event_type="run.started", message="", actor="hub")
    step(c, before=AT + DAY + 1_000, to=AT + 1_000)
    assert [(entry.id, entry.at) for entry in audit.list_activity(c)] == [
        ("step-0", AT + 1_000),
        ("newer", AT + 2),
        ("new", AT + 1),
        ("old", AT),
    ]


def test_second_hub_seeing_the_same_step_changes_nothing(c: sa.Connection) -> None:
    before = make_schedule(c)
    base = clock_steps.record_base(c, AT, 0, "machine")
    base = msgspec.structs.replace(base, at=AT + HOUR)
    first, second = (
        clock_steps.judge_again(c, base, before=AT, id=f"step-{n}", follows_wall=bool) for n in range(2)
    )
    assert (first, first.last) == (second, ClockStep(at=AT + HOUR, by_ms=HOUR, schedules=1))
    assert schedule_rows.get_schedule(c, ID).cursor_at == before.cursor_at + HOUR


@pytest.mark.parametrize(
    ("skipped", "after", "is_doubted"),
    [(DAY, 0, True), (DAY, DOUBTED_MS - 1, True), (DAY, DOUBTED_MS, False), (20 * HOUR, 0, False)],
)
def test_clock_is_doubted_for_a_day_after_a_skipped_day(
    c: sa.Connection, skipped: int, after: int, is_doubted: bool
) -> None:
    assert not clock_steps.is_doubted(c, AT)
    step(c, before=AT, to=AT + skipped)
    assert clock_steps.is_doubted(c, AT + skipped + after) == is_doubted
    clock_steps.record_base(c, AT + 90 * DAY, 0, "", off_ms=skipped)
    assert clock_steps.is_doubted(c, AT + 90 * DAY + after) == is_doubted
