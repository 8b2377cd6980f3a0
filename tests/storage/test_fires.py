"""Every fire gets one run, or one row that says why not; who comes second changes nothing."""

from itertools import product
from typing import get_args

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage import leases
from storage.agents import agents, due_schedules, exhaustion, locks, state_moves
from storage.effects import fire_decisions, fire_runs, first_runs
from storage.effects.fire_decisions import (
    WAITING_PER_DEVICE,
    WAITING_PER_SCHEDULE,
    CoveredFireRow,
    decide_overlap,
)
from storage.effects.fire_runs import BackfillPlan, FreshRun
from storage.effects.first_runs import FirstRun
from storage.kernel.database import Conflict
from storage.leases import LostLease
from storage.runs import run_moves, run_pauses, runs
from storage.schedules import fires, schedule_rows, schedules
from storage.schedules.fires import FireCount, FireRow
from storage.schedules.schedule_rows import Overlap, ScheduleRow
from storage.schema import agent_states as states
from storage.schema import runs as run_table
from storage.schema import schedule_fires
from storage.schema import schedules as schedule_table
from tests.storage.rows import AT, ME, NEXT_BOOT, claim, declare, make_agent, some
from tests.storage.scheduled import HOUR, begin, decision, fire, lead, make_schedule, told
from tests.support.families import each
from tests.support.presence import BOOT, open_session

INBOX = AgentId("agent-inbox")
ID = "schedule-inbox"
FIRST, SECOND, THIRD = AT + HOUR, AT + 2 * HOUR, AT + 3 * HOUR


def run_of(fire_at: int) -> RunId:
    return RunId(f"{ID}-{fire_at}")


def queued(c: sa.Connection) -> list[RunId]:
    return [run.id for run in runs.list_runs(c, states=[RunState.QUEUED])][::-1]


def rows_of(c: sa.Connection) -> list[tuple[int, str, str | None, RunId | None]]:
    return [(row.fire_at, row.decision, row.reason, row.run_id) for row in told(c)]


@pytest.fixture
def fired(c: sa.Connection, schedule: ScheduleRow) -> None:
    """The first fire of the schedule is decided."""
    fire(c, FIRST)


def test_fire_queues_a_run_and_moves_the_cursor_forward(c: sa.Connection) -> None:
    make_schedule(c, start_deadline_ms=7, run_timeout_ms=60_000, max_attempts=3)
    (decided,) = fire(c, FIRST, fingerprint="f", prompt="Find notes.")
    assert (decided.decision, decided.fire_at, decided.run_id) == ("run", FIRST, run_of(FIRST))
    run = runs.get_run(c, run_of(FIRST))
    assert (
        run.state,
        run.trigger_kind,
        run.fire_at,
        run.eligible_at,
        run.schedule_id,
        run.device_id,
        run.fire_key,
    ) == (RunState.QUEUED, "schedule", FIRST, FIRST, ID, "device-laptop", f"s:{ID}:{FIRST}")
    assert (
        run.timeout_ms,
        run.max_attempts,
        run.start_deadline_at,
        run.config_fingerprint,
        run.settings,
    ) == (60_000, 3, FIRST + 7, "f", {"prompt": "Find notes."})
    assert [(move.new_state, move.actor) for move in runs.run_history(c, run.id)] == [
        (RunState.QUEUED, "scheduler")
    ]
    schedule = schedule_rows.get_schedule(c, ID)
    assert (schedule.cursor_at, schedule.next_fire_at, schedule.due_at) == (FIRST, SECOND, SECOND)
    assert rows_of(c) == [(FIRST, "run", None, run_of(FIRST))]


@pytest.mark.parametrize(
    ("window_ms", "kind", "waits_ms"),
    [
        (None, "schedule", None),
        (0, "schedule", 60_000),
        (HOUR, "schedule", HOUR + 60_000),
        (HOUR, "catchup", None),
    ],
)
def test_run_of_a_fire_has_the_catchup_window_as_start_deadline(
    c: sa.Connection, window_ms: int | None, kind: str, waits_ms: int | None
) -> None:
    make_schedule(c, catchup_window_ms=window_ms)
    fire(c, FIRST, kind=kind)
    (run,) = runs.list_runs(c)
    assert run.start_deadline_at == (None if waits_ms is None else FIRST + waits_ms)


def test_waiting_runs_of_fires_are_counted_for_the_agent(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    fire(c, FIRST, SECOND)
    assert c.execute(sa.select(states.c.runs_waiting)).scalar_one() == 2


@pytest.mark.usefixtures("schedule")
def test_second_decision_of_the_same_fire_is_void(c: sa.Connection) -> None:
    mine, theirs = (decision(c, runs=[FIRST]) for _ in range(2))
    assert len(fire_decisions.decide(c, lead(c), [mine], FIRST)) == 1
    assert (fire_decisions.decide(c, lead(c), [theirs], FIRST), queued(c)) == ([], [run_of(FIRST)])


@pytest.mark.usefixtures("schedule")
def test_decision_about_a_schedule_paused_or_edited_since_is_void(c: sa.Connection) -> None:
    seen = decision(c, runs=[FIRST])
    schedules.set_enabled(c, ID, False, at=AT + 1)
    assert fire_decisions.decide(c, lead(c), [seen], FIRST) == []
    schedules.set_enabled(c, ID, True, at=AT + 2)
    assert (fire_decisions.decide(c, lead(c), [seen], FIRST), queued(c), told(c)) == ([], [], [])


def test_void_decision_does_not_affect_others_of_the_batch(c: sa.Connection) -> None:
    make_agent(c, "notes")
    make_schedule(c)
    make_schedule(c, "notes")
    both = [decision(c, "schedule-inbox", runs=[FIRST]), decision(c, "schedule-notes", runs=[FIRST])]
    schedules.set_enabled(c, ID, False, at=AT + 1)
    assert [done.schedule_id for done in fire_decisions.decide(c, lead(c), both, FIRST)] == ["schedule-notes"]


@pytest.mark.usefixtures("schedule")
def test_scheduler_without_the_lease_decides_no_fire(c: sa.Connection) -> None:
    old = lead(c)
    leases.resign_lease(c, old)
    leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=60_000)
    with pytest.raises(LostLease):
        fire_decisions.decide(c, old, [decision(c, runs=[FIRST])], FIRST)
    assert (queued(c), schedule_rows.get_schedule(c, ID).cursor_at) == ([], AT)


@pytest.mark.usefixtures("schedule")
def test_an_archived_agent_does_not_fire(c: sa.Connection) -> None:
    seen = decision(c, runs=[FIRST])
    declare(c, at=AT + 1)
    assert fire_decisions.decide(c, lead(c), [seen], FIRST) == []


@pytest.mark.usefixtures("fired")
def test_run_merged_with_other_locks_leaves_the_queues_of_the_old_locks(c: sa.Connection) -> None:
    (run_id,) = queued(c)
    c.execute(sa.update(run_table).values(locks=["mailbox"]))
    mine = locks.LockRequest(
        request_id="r",
        user_id=ME,
        names=("mailbox",),
        holder=locks.Holder("device", "another"),
        ttl_ms=60_000,
    )
    locks.acquire(c, mine)
    assert (claim(c, at=FIRST), [wait.holder.id for wait in locks.list_lock_waits(c)]) == (None, [run_id])
    fire(c, SECOND)
    assert locks.list_lock_waits(c) == []
    assert claim(c, at=SECOND) is not None


def test_fires_merge_into_the_run_waiting_for_the_device(c: sa.Connection) -> None:
    make_schedule(c, start_deadline_ms=7)
    fire(c, FIRST)
    fire(c, SECOND)
    fire(c, THIRD, fingerprint="newer", prompt="Find notes.")
    (waiting,) = queued(c)
    run = runs.get_run(c, waiting)
    assert (run.id, run.fire_at, run.coalesced_count) == (run_of(FIRST), THIRD, 2)
    assert (run.config_fingerprint, run.settings, run.start_deadline_at) == (
        "newer",
        {"prompt": "Find notes."},
        THIRD + 7,
    )
    assert rows_of(c) == [
        (FIRST, "run", None, waiting),
        (SECOND, "coalesced", "device_offline", waiting),
        (THIRD, "coalesced", "device_offline", waiting),
    ]
    assert fires.missed_of(c, [waiting]) == {waiting: (FireCount("coalesced", "device_offline", 2),)}
    assert c.execute(sa.select(states.c.runs_waiting)).scalar_one() == 1


@pytest.mark.usefixtures("fired")
@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"connectivity": "online"}, "still_waiting"),
        ({"connectivity": "online", "lifecycle": "paused"}, "agent_paused"),
        ({"lifecycle": "paused"}, "agent_paused"),
    ],
)
def test_merged_fire_records_the_wait_reason_of_the_run(
    c: sa.Connection, axes: dict[str, str], reason: str
) -> None:
    for axis, to in axes.items():
        state_moves.move(c, INBOX, axis, to, at=AT, actor="test")
    assert [(decided.decision, decided.reason) for decided in fire(c, SECOND)] == [("coalesced", reason)]


@pytest.mark.usefixtures("fired")
def test_merged_fire_of_an_exhausted_agent_records_exhausted_as_reason(c: sa.Connection) -> None:
    state_moves.move(c, INBOX, "connectivity", "online", at=AT, actor="test")
    exhaustion.exhaust(c, INBOX, cause="rate_limit", retry_after_ms=None, at=AT, actor="test")
    assert fire(c, SECOND)[0].reason == "exhausted"


@pytest.mark.usefixtures("fired")
@pytest.mark.parametrize("state", [RunState.PREPARING, RunState.RUNNING, RunState.PAUSED])
def test_fire_is_skipped_while_a_run_of_the_schedule_is_under_way(c: sa.Connection, state: RunState) -> None:
    begin(c, state)
    (decided,) = fire(c, SECOND)
    assert (decided.decision, decided.reason, decided.run_id) == (
        "skipped_overlap",
        "still_running",
        run_of(FIRST),
    )
    assert (queued(c), schedule_rows.get_schedule(c, ID).cursor_at) == ([], SECOND)


@pytest.mark.usefixtures("fired")
def test_fire_is_skipped_while_a_retried_run_waits_again(c: sa.Connection) -> None:
    run_moves.move(c, runs.get_run(c, begin(c)).held, RunEvent.RETRIED, at=AT, actor="hub")
    assert fire(c, SECOND)[0].decision == "skipped_overlap"


@pytest.mark.usefixtures("fired")
def test_fire_after_the_end_of_the_last_run_makes_a_run(c: sa.Connection) -> None:
    held = runs.get_run(c, begin(c)).held
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    assert fire(c, SECOND)[0].decision == "run"


def test_queue_one_schedule_merges_later_fires_into_the_waiting_run(
    c: sa.Connection,
) -> None:
    make_schedule(c, overlap="queue_one")
    fire(c, FIRST)
    begin(c)
    assert fire(c, SECOND)[0].run_id == run_of(SECOND)
    assert fire(c, THIRD)[0].run_id == run_of(SECOND)
    assert queued(c) == [run_of(SECOND)]


def test_queue_all_schedule_makes_a_run_for_each_fire_in_order(c: sa.Connection) -> None:
    make_schedule(c, overlap="queue_all")
    fire(c, FIRST)
    fire(c, SECOND, THIRD, kind="catchup")
    ready = [runs.get_run(c, run_of(fire_at)).eligible_at for fire_at in (FIRST, SECOND, THIRD)]
    assert ready == sorted(set(ready))


@pytest.mark.parametrize(
    ("overlap", "slot"),
    [("skip", ID), ("queue_one", ID), ("cancel_running", ID), ("queue_all", None), ("allow", None)],
)
def test_run_has_a_queue_slot_under_policies_with_a_single_waiting_run(
    c: sa.Connection, overlap: str, slot: str | None
) -> None:
    make_schedule(c, overlap=overlap)
    fire(c, FIRST)
    assert c.execute(sa.select(run_table.c.queue_slot)).scalar_one() == slot


def test_cancel_running_schedule_replaces_executing_and_waiting_runs_by_the_newest(
    c: sa.Connection,
) -> None:
    make_schedule(c, overlap="cancel_running")
    fire(c, FIRST)
    begin(c)
    (decided,) = fire(c, SECOND)
    assert (decided.decision, decided.cancelled) == ("run", (run_of(FIRST),))
    executing = runs.get_run(c, run_of(FIRST))
    assert (executing.state, executing.cancel_reason) == (RunState.RUNNING, "superseded")
    fire(c, THIRD)
    waited = runs.get_run(c, run_of(SECOND))
    assert (waited.state, waited.reason, queued(c)) == (RunState.CANCELLED, "superseded", [run_of(THIRD)])


def test_cancel_running_schedule_replaces_runs_queued_under_another_policy(c: sa.Connection) -> None:
    make_schedule(c, overlap="queue_one")
    fire(c, FIRST)
    make_schedule(c, overlap="queue_all", planned=SECOND, at=FIRST)
    fire(c, SECOND)
    make_schedule(c, overlap="cancel_running", planned=THIRD, at=SECOND)
    fire(c, THIRD)
    assert queued(c) == [run_of(THIRD)]


def test_cancel_running_schedule_cancels_a_paused_run_at_once(c: sa.Connection) -> None:
    make_schedule(c, overlap="cancel_running")
    fire(c, FIRST)
    begin(c, RunState.PAUSED)
    assert [decided.cancelled for decided in fire(c, SECOND)] == [()]
    assert runs.get_run(c, run_of(FIRST)).state is RunState.CANCELLED


def wait_for_model(c: sa.Connection) -> RunId:
    """Begin the run whose turn it is, and let it wait for its model."""
    begun = begin(c)
    run_moves.move(c, runs.get_run(c, begun).held, RunEvent.MODEL_AWAY, at=AT, actor="hub")
    return begun


@pytest.mark.parametrize("overlap", ["skip", "queue_one", "cancel_running", "queue_all", "allow"])
def test_run_waiting_for_the_model_is_superseded_by_the_next_fire(c: sa.Connection, overlap: str) -> None:
    make_schedule(c, overlap=overlap)
    fire(c, FIRST)
    waiting = wait_for_model(c)
    (decided,) = fire(c, SECOND)
    assert (decided.decision, decided.run_id, decided.cancelled) == ("run", run_of(SECOND), ())
    before = runs.get_run(c, waiting)
    assert (before.state, before.reason, begin(c)) == (RunState.CANCELLED, "superseded", run_of(SECOND))


def test_run_queued_behind_a_run_waiting_for_the_model_begins(c: sa.Connection) -> None:
    make_schedule(c, overlap="queue_one")
    fire(c, FIRST)
    begun = begin(c)
    fire(c, SECOND)
    run_moves.move(c, runs.get_run(c, begun).held, RunEvent.MODEL_AWAY, at=AT, actor="hub")
    assert begin(c) == run_of(SECOND)


def test_run_paused_by_a_person_before_the_start_merges_later_fires(c: sa.Connection) -> None:
    make_schedule(c, overlap="queue_one")
    fire(c, FIRST)
    run_pauses.pause_run(c, run_of(FIRST), AT, actor="me")
    assert fire(c, SECOND)[0].decision == "coalesced"
    assert run_pauses.resume_run(c, run_of(FIRST), AT, actor="me").fire_at == SECOND


@pytest.mark.parametrize("overlap", ["queue_all", "allow"])
def test_the_hundred_and_first_run_of_a_schedule_is_not_queued(c: sa.Connection, overlap: str) -> None:
    make_schedule(c, overlap=overlap)
    fire(c, *(FIRST + n for n in range(WAITING_PER_SCHEDULE)))
    (decided,) = fire(c, SECOND)
    assert (decided.decision, decided.reason, decided.run_id) == ("dropped_queue_full", "queue_full", None)
    assert schedule_rows.get_schedule(c, ID).cursor_at == SECOND


def test_runs_of_the_same_decision_count_against_the_queue_limit(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    decided = fire(c, *(FIRST + n for n in range(WAITING_PER_SCHEDULE + 2)))
    assert [one.decision for one in decided[-3:]] == ["run", "dropped_queue_full", "dropped_queue_full"]


def fill_the_queue_of(c: sa.Connection, agent: agents.AgentRow, waiting: int) -> None:
    row = {"agent_id": agent.id, "device_id": agent.device_id, "trigger_kind": "schedule", "fire_at": AT}
    row |= {"eligible_at": AT, "config_rev": 1, "config_fingerprint": "", "created_at": AT, "updated_at": AT}
    c.execute(sa.insert(run_table), [row | {"id": f"r-{n}", "fire_key": f"k-{n}"} for n in range(waiting)])
    c.execute(sa.insert(run_table), row | {"id": "m", "fire_key": "m", "trigger_kind": "manual"})


def test_fire_beyond_the_waiting_runs_of_a_device_is_dropped(c: sa.Connection) -> None:
    fill_the_queue_of(c, make_agent(c), WAITING_PER_DEVICE - 1)
    make_schedule(c, overlap="allow")
    assert (fire(c, FIRST)[0].decision, fire(c, SECOND)[0].decision) == ("run", "dropped_queue_full")


def test_last_queue_place_goes_to_a_single_schedule_of_two_decided_together(c: sa.Connection) -> None:
    fill_the_queue_of(c, make_agent(c), WAITING_PER_DEVICE - 1)
    make_agent(c, "notes")
    make_schedule(c)
    make_schedule(c, "notes")
    both = [decision(c, "schedule-inbox", runs=[FIRST]), decision(c, "schedule-notes", runs=[FIRST])]
    assert [one.decision for one in fire_decisions.decide(c, lead(c), both, FIRST)] == [
        "run",
        "dropped_queue_full",
    ]


@pytest.mark.usefixtures("schedule")
def test_three_fires_missed_during_a_hub_downtime_make_a_single_catchup_run(c: sa.Connection) -> None:
    fire(c, THIRD, covered=[CoveredFireRow(FIRST, SECOND, 2, "coalesced", THIRD)], kind="catchup")
    (caught_up,) = queued(c)
    run = runs.get_run(c, caught_up)
    assert (run.trigger_kind, run.fire_at, run.coalesced_count) == ("catchup", THIRD, 2)
    assert rows_of(c) == [
        (SECOND, "coalesced", "hub_down", caught_up),
        (THIRD, "run", None, caught_up),
    ]
    assert [(row.first_at, row.fires) for row in told(c)] == [(FIRST, 2), (THIRD, 1)]
    assert fires.missed_of(c, [caught_up]) == {caught_up: (FireCount("coalesced", "hub_down", 2),)}


@pytest.mark.usefixtures("schedule")
def test_fires_missed_in_a_pause_are_not_recorded_as_a_downtime(c: sa.Connection) -> None:
    schedules.set_enabled(c, ID, False, at=AT + 1)
    schedules.set_enabled(c, ID, True, at=SECOND, catch_up=True)
    fire(c, SECOND, covered=[CoveredFireRow(FIRST, FIRST, 1, "coalesced", SECOND)], kind="catchup")
    assert rows_of(c)[0] == (FIRST, "coalesced", "schedule_paused", run_of(SECOND))
    assert not schedule_rows.get_schedule(c, ID).is_catching_up


@pytest.mark.usefixtures("fired")
def test_all_missed_fires_merge_into_the_waiting_run(c: sa.Connection) -> None:
    fire(c, THIRD, covered=[CoveredFireRow(SECOND, SECOND, 1, "coalesced", THIRD)], kind="catchup")
    assert runs.get_run(c, run_of(FIRST)).coalesced_count == 2
    assert rows_of(c)[1:] == [
        (SECOND, "coalesced", "hub_down", run_of(FIRST)),
        (THIRD, "coalesced", "device_offline", run_of(FIRST)),
    ]


@pytest.mark.usefixtures("fired")
def test_missed_fires_are_skipped_with_their_skipped_catchup_fire(c: sa.Connection) -> None:
    begin(c)
    fire(c, THIRD, covered=[CoveredFireRow(SECOND, SECOND, 1, "coalesced", THIRD)], kind="catchup")
    assert [row[1:3] for row in rows_of(c)[1:]] == [("skipped_overlap", "still_running")] * 2


@pytest.mark.usefixtures("schedule")
def test_too_old_fires_are_recorded_and_get_no_run(c: sa.Connection) -> None:
    fire_decisions.decide(
        c,
        lead(c),
        [decision(c, runs=[], covered=[CoveredFireRow(FIRST, THIRD, 3, "skipped_window", None)])],
        THIRD,
    )
    assert (queued(c), rows_of(c)) == ([], [(THIRD, "skipped_window", "window", None)])
    assert schedule_rows.get_schedule(c, ID).cursor_at == THIRD


def test_several_runs_of_a_decision_merge_where_a_single_run_may_wait(c: sa.Connection) -> None:
    make_schedule(c, coalesce="all", catchup_window_ms=HOUR)
    fire(
        c,
        FIRST,
        SECOND,
        THIRD,
        covered=[CoveredFireRow(AT + 1, AT + 2, 2, "coalesced", FIRST)],
        kind="catchup",
    )
    assert queued(c) == [run_of(THIRD)]
    assert runs.get_run(c, run_of(THIRD)).coalesced_count == 4
    assert {row[3] for row in rows_of(c)} == {run_of(THIRD)}
    assert sum(row.fires for row in told(c)) == 5


@pytest.mark.usefixtures("schedule")
def test_schedule_without_a_further_fire_is_finished(c: sa.Connection) -> None:
    fire(c, FIRST, next_fire_at=None)
    schedule = schedule_rows.get_schedule(c, ID)
    assert (schedule.enabled, schedule.paused_reason, schedule.next_fire_at) == (False, "finished", None)
    assert queued(c) == [run_of(FIRST)]


def test_manual_run_neither_moves_the_cursor_nor_blocks_a_fire(c: sa.Connection) -> None:
    before = make_schedule(c)
    agent = agents.get_agent(c, INBOX)
    run_moves.create_run(c, id=RunId("m"), agent=agent, fire_key="m:1", at=AT, config_fingerprint="")
    assert schedule_rows.get_schedule(c, ID).cursor_at == before.cursor_at
    assert fire(c, FIRST)[0].decision == "run"


def put_cursor_back(c: sa.Connection, cursor_at: int) -> None:
    """As an older release could, that edited a schedule while another hub decided."""
    c.execute(sa.update(schedule_table).values(cursor_at=cursor_at, next_fire_at=None, due_at=None))


@pytest.mark.usefixtures("schedule")
def test_already_recorded_fires_are_skipped(c: sa.Connection) -> None:
    fire(c, FIRST, SECOND)
    put_cursor_back(c, AT)
    before = told(c)
    again = decision(c, runs=[THIRD], covered=[CoveredFireRow(FIRST, SECOND, 2, "coalesced", THIRD)])
    assert fire_decisions.decide_what_is_left(c, lead(c), again, THIRD) is None
    (moved_on,) = schedule_rows.unplanned(c, 10)
    assert (moved_on.cursor_at, told(c)) == (SECOND, before)


@pytest.mark.usefixtures("fired")
def test_fire_with_an_existing_run_makes_no_second_run(c: sa.Connection) -> None:
    c.execute(sa.delete(schedule_fires))  # pruned
    put_cursor_back(c, AT - HOUR)
    again = decision(c, runs=[FIRST], covered=[CoveredFireRow(AT, AT, 1, "coalesced", FIRST)])
    decided = some(fire_decisions.decide_what_is_left(c, lead(c), again, SECOND))
    assert [(one.decision, one.run_id) for one in decided] == [
        ("coalesced", run_of(FIRST)),
        ("run", run_of(FIRST)),
    ]
    assert queued(c) == [run_of(FIRST)]
    assert schedule_rows.get_schedule(c, ID).cursor_at == FIRST


@pytest.mark.usefixtures("schedule")
def test_decision_of_remaining_fires_of_a_changed_schedule_is_void(c: sa.Connection) -> None:
    seen = decision(c, runs=[FIRST])
    schedules.set_enabled(c, ID, False, at=AT + 1)
    assert fire_decisions.decide_what_is_left(c, lead(c), seen, FIRST) is None


@pytest.mark.parametrize("overlap", ["skip", "queue_one", "cancel_running"])
def test_backfill_run_under_way_does_not_block_a_fire(c: sa.Connection, overlap: str) -> None:
    make_schedule(c, overlap=overlap)
    fire(c, FIRST)
    c.execute(sa.update(run_table).values(trigger_kind="backfill", queue_slot=None))
    begun = begin(c)
    (decided,) = fire(c, SECOND)
    assert (decided.decision, decided.run_id, decided.cancelled) == ("run", run_of(SECOND), ())
    assert runs.get_run(c, begun).cancel_requested_at is None


def test_fire_decisions_of_an_agent_are_listed_newest_first(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    fire(c, FIRST, SECOND, THIRD)
    assert [row.fire_at for row in fires.list_fires(c, INBOX, 2)] == [THIRD, SECOND]
    assert [row.fire_at for row in fires.fires_within(c, ID, FIRST, SECOND)] == [FIRST, SECOND]


@pytest.mark.usefixtures("fired")
def test_the_same_fire_cannot_be_recorded_twice(c: sa.Connection) -> None:
    row = {"schedule_id": ID, "fire_at": FIRST, "first_at": FIRST, "decision": "run", "decided_at": AT}
    with pytest.raises(sa.exc.IntegrityError), c.begin_nested():
        c.execute(sa.insert(schedule_fires), row)


# --- the first run at a connection ---


def connected(c: sa.Connection, at: int = AT) -> list[ScheduleRow]:
    """The schedules whose agents get a run now."""
    return [one.schedule for one in due_schedules.agenda(c, at, 10).connected]


def planned(c: sa.Connection, run: str = "run-1") -> FirstRun:
    due = due_schedules.with_settings(c, "schedule-inbox")
    return FirstRun(due=due, run=FreshRun(RunId(run), AT), config_fingerprint="", settings={})


def connect(c: sa.Connection, schedule: ScheduleRow) -> None:
    open_session(c, DeviceId(schedule.device_id or ""), boot_id=BOOT, platform=None, at=AT)


def test_device_connection_makes_first_connect_schedules_of_the_agents_due(c: sa.Connection) -> None:
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


def test_first_connect_run_of_a_schedule_is_queued_once(c: sa.Connection) -> None:
    connect(c, make_schedule(c, on_first_connect=True))
    (queued,) = first_runs.queue_first_runs(c, lead(c), [planned(c)], AT)
    assert first_runs.queue_first_runs(c, lead(c), [planned(c, "run-2")], AT) == []
    (run,) = runs.list_runs(c)
    assert (run.id, run.fire_key, run.schedule_id) == (queued.run.id, "first-connect", "schedule-inbox")
    assert connected(c) == []


def test_hub_without_the_lease_queues_no_first_connect_run(c: sa.Connection) -> None:
    connect(c, make_schedule(c, on_first_connect=True))
    stale = msgspec.structs.replace(lead(c), fence=0)
    with pytest.raises(LostLease):
        first_runs.queue_first_runs(c, stale, [planned(c)], AT)
    assert (runs.list_runs(c), len(connected(c))) == ([], 1)


def test_schedule_with_due_fires_gets_no_first_connect_run_yet(c: sa.Connection) -> None:
    make_agent(c, "new")
    make_schedule(c, "new", on_first_connect=True, planned=None)
    connect(c, make_schedule(c, on_first_connect=True))
    assert ([one.agent_name for one in connected(c)], connected(c, AT + HOUR)) == (["inbox"], [])
    assert len(due_schedules.due(c, AT + HOUR, 10)) == 1


# What becomes of a fire: while nothing is there, a run is under way, one waits, both.
TABLE = {
    "skip": ("run", "skip", "merge", "merge"),
    "queue_one": ("run", "run", "merge", "merge"),
    "queue_all": ("run", "run", "run", "run"),
    "cancel_running": ("run", "replace", "replace", "replace"),
    "allow": ("run", "run", "run", "run"),
}


@each("policy", get_args(Overlap))
def test_each_overlap_policy_decides_a_fire_by_the_table(policy: Overlap) -> None:
    found = tuple(
        decide_overlap(policy, is_under_way=under_way, is_waiting=waiting, queued=int(waiting), most=9)
        for waiting, under_way in product((False, True), repeat=2)
    )
    assert found == TABLE[policy]


@each("policy", ["queue_all", "allow"])
def test_fire_beyond_the_queue_limit_of_a_schedule_is_dropped(policy: Overlap) -> None:
    fates = [
        decide_overlap(policy, is_under_way=True, is_waiting=True, queued=queued, most=9) for queued in (8, 9)
    ]
    assert fates == ["run", "drop"]


FIRST_SLOT, SECOND_SLOT, THIRD_SLOT, FOURTH = (AT + n * HOUR for n in (1, 2, 3, 4))


def skip_all(c: sa.Connection) -> FireRow:
    """The first four fires, told of in one row."""
    covered = CoveredFireRow(FIRST_SLOT, FOURTH, 4, "skipped_window", None)
    fire_decisions.decide(c, lead(c), [decision(c, runs=[], covered=[covered])], FOURTH)
    (row,) = told(c)
    return row


def plan(
    c: sa.Connection, *fires: int, dropped: tuple[FireRow, ...] = (), remaining: tuple[FireRow, ...] = ()
) -> BackfillPlan:
    return BackfillPlan(
        due=due_schedules.with_settings(c, ID),
        runs=tuple(FreshRun(RunId(f"b-{fire_at}"), fire_at) for fire_at in fires),
        dropped=dropped,
        remaining=remaining,
        config_fingerprint="",
        settings={},
    )


def part(first_at: int, fire_at: int, count: int) -> FireRow:
    return FireRow(ID, fire_at, first_at, count - 1, "skipped_window", "window", None, AT)


@pytest.mark.usefixtures("schedule")
def test_backfill_sight_returns_fire_rows_and_runs_of_old_fires(c: sa.Connection) -> None:
    fire(c, FIRST_SLOT)
    seen = fire_runs.backfill_sight(c, due_schedules.with_settings(c, ID), [FIRST_SLOT, SECOND_SLOT])
    assert ([row.fire_at for row in seen.rows], seen.runs) == (
        [FIRST_SLOT],
        {FIRST_SLOT: f"{ID}-{FIRST_SLOT}"},
    )


@pytest.mark.usefixtures("schedule")
def test_backfill_makes_ordered_runs_of_old_fires(c: sa.Connection) -> None:
    skipped = skip_all(c)
    remaining = (part(FIRST_SLOT, FIRST_SLOT, 1), part(FOURTH, FOURTH, 1))
    made = fire_runs.backfill(
        c, plan(c, SECOND_SLOT, THIRD_SLOT, dropped=(skipped,), remaining=remaining), AT, actor="me"
    )
    assert made == [f"b-{SECOND_SLOT}", f"b-{THIRD_SLOT}"]
    second, third = (runs.get_run(c, id) for id in made)
    assert (second.trigger_kind, second.fire_key, second.state) == (
        "backfill",
        f"s:{ID}:{SECOND_SLOT}",
        RunState.QUEUED,
    )
    assert second.eligible_at < third.eligible_at
    assert [(row.fire_at, row.decision, row.run_id) for row in told(c)] == [
        (FIRST_SLOT, "skipped_window", None),
        (SECOND_SLOT, "run", second.id),
        (THIRD_SLOT, "run", third.id),
        (FOURTH, "skipped_window", None),
    ]
    assert c.execute(sa.select(states.c.runs_waiting)).scalar_one() == 2


@pytest.mark.usefixtures("schedule")
def test_a_backfill_leaves_the_cursor_and_the_next_fire_alone(c: sa.Connection) -> None:
    skipped = skip_all(c)
    before = schedule_rows.get_schedule(c, ID)
    fire_runs.backfill(c, plan(c, FIRST_SLOT, dropped=(skipped,)), AT, actor="me")
    assert schedule_rows.get_schedule(c, ID) == before


@pytest.mark.usefixtures("schedule")
def test_second_backfill_of_the_same_fires_is_a_conflict(c: sa.Connection) -> None:
    again = plan(c, FIRST_SLOT, dropped=(skip_all(c),))
    fire_runs.backfill(c, again, AT, actor="me")
    with pytest.raises(Conflict, match="ask again"):
        fire_runs.backfill(c, again, AT, actor="me")


@pytest.mark.usefixtures("schedule")
def test_waiting_backfill_run_takes_no_new_fire(c: sa.Connection) -> None:
    fire_runs.backfill(c, plan(c, AT - HOUR), AT, actor="me")
    assert [(decided.decision, decided.run_id) for decided in fire(c, FIRST_SLOT)] == [
        ("run", f"{ID}-{FIRST_SLOT}")
    ]


@pytest.mark.usefixtures("schedule")
def test_fire_before_the_creation_of_the_schedule_may_be_backfilled(c: sa.Connection) -> None:
    fire_runs.backfill(c, plan(c, AT - HOUR), AT, actor="me")
    assert [(row.fire_at, row.decision) for row in told(c)] == [(AT - HOUR, "run")]
    assert c.execute(sa.select(sa.func.count()).select_from(schedule_fires)).scalar_one() == 1
