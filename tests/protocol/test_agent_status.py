"""The axes on which agents move, and their tables."""

from itertools import pairwise

import pytest

from protocol.agent_status import (
    AVAILABILITY,
    LIFECYCLE,
    TABLES,
    VALUES,
    Activity,
    Axes,
    Axis,
    Health,
    IllegalMove,
    Lifecycle,
    activity_of,
    axis_value,
    check_move,
    legal_moves,
)
from protocol.errors import CATALOGUE, CodedError, ErrorCode
from tests.support.coded import coded


@pytest.mark.parametrize("axis", TABLES)
def test_every_value_of_an_axis_is_reached_and_each_move_has_one_event(axis: Axis) -> None:
    reached = {str(TABLES[axis].initial)}
    while more := {to for value in reached for to in legal_moves(axis, value)} - reached:
        reached |= more
    assert reached == set(map(str, VALUES[axis]))
    moves = [(before, after) for before, _, after in TABLES[axis].moves()]
    assert len(moves) == len(set(moves))
    assert all(before is not after for before, after in moves)


def test_a_terminated_agent_goes_nowhere_and_every_other_may_be_terminated() -> None:
    assert [state for state in Lifecycle if LIFECYCLE.is_final(state)] == [Lifecycle.TERMINATED]
    assert all(
        "terminated" in legal_moves(Axis.LIFECYCLE, state) for state in Lifecycle if state != "terminated"
    )


def test_an_agent_becomes_active_step_by_step() -> None:
    steps = ["created", "initializing", "ready", "active", "paused"]
    for before, after in pairwise(steps):
        check_move(Axis.LIFECYCLE, before, after)
    for before, after in (("created", "ready"), ("ready", "paused"), ("paused", "ready")):
        with pytest.raises(IllegalMove):
            check_move(Axis.LIFECYCLE, before, after)


def test_maintenance_is_entered_and_left_from_and_to_anywhere_but_the_end() -> None:
    others = {"created", "initializing", "ready", "active", "paused"}
    assert set(legal_moves(Axis.LIFECYCLE, "maintenance")) == {*others, "terminated"}
    assert all("maintenance" in legal_moves(Axis.LIFECYCLE, other) for other in others)


def test_an_agent_may_be_exhausted_in_any_state_and_returns_to_either() -> None:
    assert {before for before, event, _ in AVAILABILITY.moves() if event.name == "EXHAUSTED"} == {
        "available",
        "on_call",
    }
    assert legal_moves(Axis.AVAILABILITY, "exhausted") == ("available", "on_call")


def test_an_illegal_move_names_axis_present_value_requested_value_and_legal_ones() -> None:
    with pytest.raises(IllegalMove) as refused:
        check_move(Axis.LIFECYCLE, "created", "active")
    assert str(refused.value) == (
        "lifecycle: created -> active is not a move; legal moves: initializing, maintenance, terminated"
    )
    assert (refused.value.code, CATALOGUE[ErrorCode.BAD_STATUS].http_status) == (ErrorCode.BAD_STATUS, 409)
    with pytest.raises(IllegalMove, match="terminated is final"):
        check_move(Axis.LIFECYCLE, "terminated", "active")


def test_staying_is_no_move_and_is_never_refused() -> None:
    for axis, values in VALUES.items():
        for value in values:
            check_move(axis, value, value)


def test_activity_moves_nowhere_by_word() -> None:
    with pytest.raises(IllegalMove, match="activity is derived from runs"):
        check_move(Axis.ACTIVITY, "idle", "processing")


@pytest.mark.parametrize(
    ("live", "running", "limit", "activity"),
    [
        (0, 0, 1, Activity.IDLE),
        (3, 0, 1, Activity.WAITING),
        (1, 1, 2, Activity.PROCESSING),
        (1, 1, 1, Activity.SATURATED),
        (9, 3, 2, Activity.SATURATED),  # the limit was lowered meanwhile
    ],
)
def test_the_runs_of_an_agent_make_its_activity(
    live: int, running: int, limit: int, activity: Activity
) -> None:
    assert activity_of(live=live, running=running, limit=limit) is activity


def test_an_unknown_axis_or_value_is_refused_with_the_known_ones() -> None:
    for axis, message in (
        ("mood", "there is no axis 'mood'; axes: lifecycle, availability"),
        ("health", "health has no value 'fine'; values: ok, error"),
    ):
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=message):
            axis_value(axis, "fine")


def test_axes_after_a_move_differ_in_that_axis_alone() -> None:
    axes = Axes()
    after = axes.after(Axis.HEALTH, "error")
    assert [axis for axis in Axis if after.on(axis) != axes.on(axis)] == [Axis.HEALTH]
    assert after.health is Health.ERROR
