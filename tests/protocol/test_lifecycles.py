"""The tables of runs, units and calls, whole."""

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

R = RunState
TABLES: list[tuple[Table[Any, Any], type[Enum], type[Enum]]] = [
    (RUN, RunState, RunEvent),
    (UNIT, UnitState, UnitEvent),
    (CALL, CallState, CallEvent),
]
each_table = pytest.mark.parametrize(
    ("table", "states", "events"), TABLES, ids=lambda x: x.__class__.__name__
)


@each_table
def test_each_pair_of_state_and_event_is_a_move_or_a_refusal_that_changes_nothing(
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
def test_every_state_but_the_ledgers_own_can_be_reached(
    table: Table[Any, Any], states: type[Enum], events: type[Enum]
) -> None:
    reached: set[Enum] = {table.initial}
    for _ in states:
        reached |= {after for before, _, after in table.moves() if before in reached}
    assert set(states) - reached <= {UnitState.SKIPPED}  # such a unit is written down settled


@each_table
def test_every_event_is_a_move_of_some_state(
    table: Table[Any, Any], states: type[Enum], events: type[Enum]
) -> None:
    assert {event for _, event, _ in table.moves()} == set(events)


def test_a_run_is_final_when_completed_failed_or_cancelled() -> None:
    assert {state for state in RunState if RUN.is_final(state)} == FINAL_RUN_STATES
    assert set(RunState) == LIVE_RUN_STATES | FINAL_RUN_STATES
    assert EXECUTING_RUN_STATES < LIVE_RUN_STATES


def test_a_call_is_final_when_answered_or_given_up() -> None:
    finals = {state for state in CallState if CALL.is_final(state)}
    assert finals == {CallState.ACKED, CallState.REJECTED, CallState.UNKNOWN}


def test_a_failed_unit_may_be_tried_again_and_a_done_one_not() -> None:
    assert {state for state in UnitState if UNIT.is_final(state)} == {UnitState.DONE, UnitState.SKIPPED}


@pytest.mark.parametrize("state", sorted(LIVE_RUN_STATES))
def test_every_live_run_can_be_cancelled(state: RunState) -> None:
    assert RUN.after(state, RunEvent.CANCELLED) is R.CANCELLED


def test_every_way_into_a_pause_of_our_own_has_a_reason_and_a_way_out() -> None:
    into = {event for before, event, after in RUN.moves() if after is R.PAUSED}
    assert into == set(PAUSE_REASONS)
    for event in into:
        assert RUN.after(R.PAUSED, RESUMED_BY[PAUSE_REASONS[event]]) is R.QUEUED


def test_a_paused_run_returns_through_the_queue_with_a_new_fence() -> None:
    out = {after for before, _, after in RUN.moves() if before is R.PAUSED}
    assert out == {R.QUEUED, R.FAILED, R.CANCELLED}


def test_a_run_that_the_hub_lost_is_queued_again() -> None:
    for state in EXECUTING_RUN_STATES:
        assert RUN.after(state, RunEvent.HUB_LOST) is R.QUEUED


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
def test_the_outcome_counts_units_items_and_errors(
    units_done: int, items: int, errors: int, outcome: RunOutcome
) -> None:
    assert outcome_of(units_done=units_done, items_created=items, errors=errors) is outcome
