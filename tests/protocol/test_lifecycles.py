"""The tables of runs, units, calls and sessions, whole."""

from enum import Enum
from typing import Any

import pytest

from protocol.errors import IllegalTransition
from protocol.lifecycles import (
    CALL,
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    LIVE_RUN_STATES,
    PAUSE_REASONS,
    RESUMED_BY,
    RUN,
    UNIT,
    CallEvent,
    CallState,
    RunEvent,
    RunOutcome,
    RunState,
    Table,
    UnitEvent,
    UnitState,
    outcome_of,
)
from protocol.session import DEVICE_SESSION, HUB_SESSION, SessionMove, SessionState

R = RunState
TABLES: list[tuple[Table[Any, Any], type[Enum], type[Enum]]] = [
    (RUN, RunState, RunEvent),
    (UNIT, UnitState, UnitEvent),
    (CALL, CallState, CallEvent),
    (HUB_SESSION, SessionState, SessionMove),
    (DEVICE_SESSION, SessionState, SessionMove),
]
each_table = pytest.mark.parametrize(
    ("table", "states", "events"), TABLES, ids=lambda x: x.__class__.__name__
)


@each_table
def test_each_pair_of_state_and_event_is_a_move_or_a_refusal_without_a_change(
    table: Table[Any, Any], states: type[Enum], events: type[Enum]
) -> None:
    moves = {(before, event): after for before, event, after in table.moves()}
    for state in states:
        for event in events:
            if (state, event) in moves:
                assert table.allows(state, event)
                assert table.after(state, event) is moves[state, event]
            else:
                assert not table.allows(state, event)
                with pytest.raises(IllegalTransition, match=f"{event.name} is not a move from {state.name}"):
                    table.after(state, event)


@each_table
def test_each_state_except_skipped_is_reachable_by_moves(
    table: Table[Any, Any], states: type[Enum], events: type[Enum]
) -> None:
    reached: set[Enum] = {table.initial}
    for _ in states:
        reached |= {after for before, _, after in table.moves() if before in reached}
    assert set(states) - reached <= {UnitState.SKIPPED}  # such a unit is written down settled


def test_every_event_is_a_move_of_some_state() -> None:
    for events in (RunEvent, UnitEvent, CallEvent, SessionMove):
        moves = {event for table, _, own in TABLES if own is events for _, event, _ in table.moves()}
        assert moves == set(events)


@pytest.mark.parametrize(
    ("table", "states", "finals"),
    [
        (RUN, RunState, FINAL_RUN_STATES),
        (UNIT, UnitState, {UnitState.DONE, UnitState.SKIPPED}),
        (CALL, CallState, {CallState.ACKED, CallState.REJECTED, CallState.UNKNOWN}),
        (HUB_SESSION, SessionState, {SessionState.CLOSED}),
        (DEVICE_SESSION, SessionState, {SessionState.CLOSED}),
    ],
)
def test_table_has_exactly_the_listed_final_states(
    table: Table[Any, Any], states: type[Enum], finals: frozenset[Enum]
) -> None:
    assert {state for state in states if table.is_final(state)} == finals


def test_every_run_is_live_or_final() -> None:
    assert set(RunState) == LIVE_RUN_STATES | FINAL_RUN_STATES
    assert EXECUTING_RUN_STATES < LIVE_RUN_STATES


def test_live_runs_can_be_cancelled_and_executing_runs_requeued_on_hub_loss() -> None:
    assert {RUN.after(state, RunEvent.CANCELLED) for state in LIVE_RUN_STATES} == {R.CANCELLED}
    assert {RUN.after(state, RunEvent.HUB_LOST) for state in EXECUTING_RUN_STATES} == {R.QUEUED}


def test_each_run_pause_event_has_a_reason_and_a_resume_move() -> None:
    into = {event for before, event, after in RUN.moves() if after is R.PAUSED}
    assert into == set(PAUSE_REASONS)
    assert {RUN.after(R.PAUSED, RESUMED_BY[PAUSE_REASONS[event]]) for event in into} == {R.QUEUED}
    out = {after for before, _, after in RUN.moves() if before is R.PAUSED}
    assert out == {R.QUEUED, R.FAILED, R.CANCELLED}


@pytest.mark.parametrize(
    ("units_done", "items", "errors", "outcome"),
    [
        (0, 0, 0, RunOutcome.SUCCESS),
        (3, 0, 0, RunOutcome.SUCCESS),
        (3, 0, 1, RunOutcome.PARTIAL),
        (0, 1, 2, RunOutcome.PARTIAL),
        (0, 0, 1, RunOutcome.ERROR),
    ],
)
def test_run_outcome_is_derived_from_units_items_and_errors(
    units_done: int, items: int, errors: int, outcome: RunOutcome
) -> None:
    assert outcome_of(units_done=units_done, items_created=items, errors=errors) is outcome
