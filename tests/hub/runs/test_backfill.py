"""Whatever range is backfilled: every fire is told of by one row, and has one run at most."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hub.clock import IdFactory
from hub.runs import scheduler
from hub.runs.run_order import RunSettings
from protocol.ids import AgentId, DeviceId, RunId
from storage.schedules.fires import BackfillPlan, BackfillSight, FireRow
from storage.schedules.schedule_rows import DueSchedule, ScheduleRow
from tests.support.clock import FakeClock, SeededChance

EVERY = 10_000
FIRES = range(EVERY, 31 * EVERY, EVERY)  # thirty, all decided
PARAMETERS = RunSettings(
    paths=(), file_extensions=(), data_types=(), prompt="", timezone="UTC", config_fingerprint="f"
)
SCHEDULE = ScheduleRow(
    kind="every",
    every_ms=EVERY,
    id="s",
    agent_id=AgentId("a"),
    agent_name="notes",
    device_id=DeviceId("d"),
    lifecycle="active",
    is_archived=False,
    enabled=True,
    paused_reason=None,
    is_catching_up=False,
    consecutive_failures=0,
    cursor_at=FIRES[-1],
    next_fire_at=FIRES[-1] + EVERY,
    due_at=FIRES[-1] + EVERY,
    first_connect=None,
    rev=1,
    created_at=0,
    updated_at=0,
)
DUE = DueSchedule(
    schedule=SCHEDULE,
    paths=(),
    file_extensions=(),
    data_types=(),
    prompt="",
    timezone="UTC",
    priority=0,
    config_rev=1,
)


def row(first: int, last: int, decision: str) -> FireRow:
    """The *first* to the *last* fire, counted from 0, told of together."""
    run_id = RunId(f"old-{last}") if decision in ("run", "coalesced") else None
    made = FireRow("s", FIRES[last], FIRES[first], last - first, "run", None, run_id, 0)
    return msgspec.structs.replace(made, decision=decision)


@st.composite
def histories(draw: st.DrawFn) -> list[FireRow]:
    """Rows that tell of all thirty fires."""
    ends = [*sorted(draw(st.sets(st.integers(0, 28)))), 29]
    starts = [0, *(end + 1 for end in ends[:-1])]
    decisions = st.sampled_from(["run", "coalesced", "skipped_window", "skipped_overlap"])
    return [row(first, last, draw(decisions)) for first, last in zip(starts, ends, strict=True)]


def planned(rows: list[FireRow], first: int, last: int, had: dict[int, RunId]) -> BackfillPlan:
    fires = scheduler.fires_between(SCHEDULE, first, last)
    within = tuple(told for told in rows if told.fire_at >= fires[0] and told.first_at <= fires[-1])
    seen = BackfillSight(within, {at: run_id for at, run_id in had.items() if at in fires})
    return scheduler.plan_backfill(DUE, fires, seen, PARAMETERS, IdFactory(FakeClock(), SeededChance()))


@given(
    histories(),
    st.tuples(st.integers(0, 29), st.integers(0, 29)).map(sorted),
    st.dictionaries(st.sampled_from(FIRES), st.just(RunId("kept")), max_size=3),
)
def test_every_fire_is_reported_once_before_and_after(
    rows: list[FireRow], bounds: list[int], had: dict[int, RunId]
) -> None:
    first, last = (FIRES[bound] for bound in bounds)
    plan = planned(rows, first, last, had)
    stay = [told for told in rows if told not in plan.dropped]
    spans = [(told.first_at, told.fire_at, told.fires) for told in (*stay, *plan.remaining)]
    spans += [(run.fire_at, run.fire_at, 1) for run in plan.runs]
    assert sorted([at for begin, end, _ in spans for at in FIRES if begin <= at <= end]) == list(FIRES)
    assert sum(count for _, _, count in spans) == len(FIRES)


@given(histories())
def test_what_had_a_run_or_is_part_of_one_gets_none(rows: list[FireRow]) -> None:
    plan = planned(rows, FIRES[0], FIRES[-1], {})
    skipped = [
        at
        for told in rows
        if told.decision.startswith("skipped")
        for at in FIRES
        if told.first_at <= at <= told.fire_at
    ]
    assert [run.fire_at for run in plan.runs] == skipped


def test_fires_are_counted_from_both_ends_of_the_range() -> None:
    assert scheduler.fires_between(SCHEDULE, FIRES[3], FIRES[5]) == tuple(FIRES[3:6])
    assert scheduler.fires_between(SCHEDULE, FIRES[3] + 1, FIRES[5] - 1) == (FIRES[4],)
    assert scheduler.fires_between(SCHEDULE, FIRES[-1] + 1, FIRES[-1] + EVERY) == ()
