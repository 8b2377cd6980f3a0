"""Backfills: runs for old fires, and rows that still tell of every fire once."""

import pytest
import sqlalchemy as sa

from protocol.ids import RunId
from protocol.lifecycles import RunState
from storage.kernel.database import Conflict
from storage.runs import runs
from storage.schedules import fires, schedule_rows
from storage.schedules.fires import BackfillPlan, Covered, FireRow, FreshRun
from storage.schema import agent_states, schedule_fires
from tests.storage.rows import AT
from tests.storage.scheduled import HOUR, decision, fire, lead, told

ID = "schedule-inbox"
FIRST, SECOND, THIRD, FOURTH = (AT + n * HOUR for n in (1, 2, 3, 4))


def skip_all(c: sa.Connection) -> FireRow:
    """The first four fires, told of in one row."""
    covered = Covered(FIRST, FOURTH, 4, "skipped_window", None)
    fires.decide(c, lead(c), [decision(c, runs=[], covered=[covered])], FOURTH)
    (row,) = told(c)
    return row


def plan(
    c: sa.Connection, *fires: int, dropped: tuple[FireRow, ...] = (), remaining: tuple[FireRow, ...] = ()
) -> BackfillPlan:
    return BackfillPlan(
        due=schedule_rows.with_settings(c, ID),
        runs=tuple(FreshRun(RunId(f"b-{fire_at}"), fire_at) for fire_at in fires),
        dropped=dropped,
        remaining=remaining,
        config_fingerprint="",
        settings={},
    )


def part(first_at: int, fire_at: int, count: int) -> FireRow:
    return FireRow(ID, fire_at, first_at, count - 1, "skipped_window", "window", None, AT)


@pytest.mark.usefixtures("schedule")
def test_what_is_known_of_old_fires_are_their_rows_and_their_runs(c: sa.Connection) -> None:
    fire(c, FIRST)
    seen = fires.backfill_sight(c, schedule_rows.with_settings(c, ID), [FIRST, SECOND])
    assert ([row.fire_at for row in seen.rows], seen.runs) == ([FIRST], {FIRST: f"{ID}-{FIRST}"})


@pytest.mark.usefixtures("schedule")
def test_old_fires_become_runs_one_after_the_other(c: sa.Connection) -> None:
    skipped = skip_all(c)
    remaining = (part(FIRST, FIRST, 1), part(FOURTH, FOURTH, 1))
    made = fires.backfill(c, plan(c, SECOND, THIRD, dropped=(skipped,), remaining=remaining), AT, actor="me")
    assert made == [f"b-{SECOND}", f"b-{THIRD}"]
    second, third = (runs.get_run(c, id) for id in made)
    assert (second.trigger_kind, second.fire_key, second.state) == (
        "backfill",
        f"s:{ID}:{SECOND}",
        RunState.QUEUED,
    )
    assert second.eligible_at < third.eligible_at
    assert [(row.fire_at, row.decision, row.run_id) for row in told(c)] == [
        (FIRST, "skipped_window", None),
        (SECOND, "run", second.id),
        (THIRD, "run", third.id),
        (FOURTH, "skipped_window", None),
    ]
    assert c.execute(sa.select(agent_states.c.runs_waiting)).scalar_one() == 2


@pytest.mark.usefixtures("schedule")
def test_a_backfill_leaves_the_cursor_and_the_next_fire_alone(c: sa.Connection) -> None:
    skipped = skip_all(c)
    before = schedule_rows.get_schedule(c, ID)
    fires.backfill(c, plan(c, FIRST, dropped=(skipped,)), AT, actor="me")
    assert schedule_rows.get_schedule(c, ID) == before


@pytest.mark.usefixtures("schedule")
def test_of_two_backfills_of_the_same_fires_one_is_refused(c: sa.Connection) -> None:
    again = plan(c, FIRST, dropped=(skip_all(c),))
    fires.backfill(c, again, AT, actor="me")
    with pytest.raises(Conflict, match="ask again"):
        fires.backfill(c, again, AT, actor="me")


@pytest.mark.usefixtures("schedule")
def test_runs_of_a_backfill_that_wait_take_no_new_fires(c: sa.Connection) -> None:
    fires.backfill(c, plan(c, AT - HOUR), AT, actor="me")
    assert [(decided.decision, decided.run_id) for decided in fire(c, FIRST)] == [("run", f"{ID}-{FIRST}")]


@pytest.mark.usefixtures("schedule")
def test_a_fire_before_the_schedule_was_created_may_be_backfilled_and_is_recorded(c: sa.Connection) -> None:
    fires.backfill(c, plan(c, AT - HOUR), AT, actor="me")
    assert [(row.fire_at, row.decision) for row in told(c)] == [(AT - HOUR, "run")]
    assert c.execute(sa.select(sa.func.count()).select_from(schedule_fires)).scalar_one() == 1
