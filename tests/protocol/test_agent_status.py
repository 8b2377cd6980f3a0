"""The axes on which agents move, and their tables."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise, product
from typing import get_args

import msgspec
import pytest

from protocol.agent_status import (
    AVAILABILITY,
    LIFECYCLE,
    TABLES,
    VALUES,
    Activity,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    IllegalMove,
    Lifecycle,
    activity_of,
    axis_value,
    check_move,
    legal_moves,
)
from protocol.agent_types import AgentSubtype, AgentType, kind_of, own_type
from protocol.errors import CATALOGUE, CodedError, ErrorCode
from protocol.lifecycles import RunOutcome, RunState
from protocol.status_vocabularies import (
    CALENDAR_STATUS,
    FOUNDATION_STATUS,
    PAIRS,
    READINGS,
    CalendarExhaustReason,
    OrchestratorStatus,
    RunLogStatus,
    StateDetail,
    StatusProjection,
    StatusWordRefused,
    Vocabulary,
    calendar_reason,
    lifecycle_path,
    pair_of,
    reading,
    run_log_agent_type,
    run_log_status,
    status_words,
    words_of,
    write_pair,
)
from tests.support.coded import coded
from tests.support.families import each


@pytest.mark.parametrize("axis", TABLES)
def test_every_value_of_an_axis_is_reached_and_each_move_has_a_single_event(axis: Axis) -> None:
    reached = {str(TABLES[axis].initial)}
    while more := {to for value in reached for to in legal_moves(axis, value)} - reached:
        reached |= more
    assert reached == set(map(str, VALUES[axis]))
    moves = [(before, after) for before, _, after in TABLES[axis].moves()]
    assert len(moves) == len(set(moves))
    assert all(before is not after for before, after in moves)


def test_terminated_is_the_only_final_lifecycle_state_and_reachable_from_all_others() -> None:
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


def test_maintenance_is_reachable_from_and_to_each_lifecycle_state() -> None:
    others = {"created", "initializing", "ready", "active", "paused"}
    assert set(legal_moves(Axis.LIFECYCLE, "maintenance")) == {*others, "terminated"}
    assert all("maintenance" in legal_moves(Axis.LIFECYCLE, other) for other in others)


def test_exhaustion_is_legal_from_each_availability_and_returns_to_each() -> None:
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


def test_move_to_the_present_value_is_no_move_and_never_refused() -> None:
    for axis, values in VALUES.items():
        for value in values:
            check_move(axis, value, value)


def test_activity_cannot_be_moved_directly() -> None:
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
def test_activity_is_derived_from_the_runs_and_limit_of_an_agent(
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


def test_axes_after_a_move_differ_in_the_moved_axis_alone() -> None:
    axes = Axes()
    after = axes.after(Axis.HEALTH, "error")
    assert [axis for axis in Axis if after.on(axis) != axes.on(axis)] == [Axis.HEALTH]
    assert after.health is Health.ERROR


# --- words of four other vocabularies, over everything that an agent can be ---


EVERYTHING = [
    Axes(
        lifecycle=lifecycle,
        availability=availability,
        connectivity=connectivity,
        health=health,
        activity=activity,
    )
    for lifecycle, availability, connectivity, health, activity in product(
        Lifecycle, Availability, Connectivity, Health, Activity
    )
]
named = pytest.mark.parametrize("column", READINGS, ids=lambda column: column.name)
NOT_BUSY = {Activity.IDLE, Activity.WAITING}


@named
def test_each_combination_of_axes_is_read_as_a_status_word(column: StatusProjection) -> None:
    assert {column.read(axes) for axes in EVERYTHING} == set(column.words)


def _after(axes: Axes, column: StatusProjection, word: str) -> Axes:
    for move in column.write(word, axes):
        assert move.axis is Axis.CONNECTIVITY or move.to in legal_moves(move.axis, axes.on(move.axis))
        axes = axes.after(move.axis, move.to)
    return axes


@named
def test_written_word_is_read_back_without_runs_and_with_a_connected_device(column: StatusProjection) -> None:
    for axes, word in product(EVERYTHING, column.words):
        try:
            after = _after(axes, column, word)
        except StatusWordRefused as refused:
            assert column.read(axes) != word and "legal: " in str(refused)
            continue
        is_derived = column.rule_of(word).writes is None
        connectivity = after.connectivity if word == "offline" else Connectivity.ONLINE
        undisturbed = msgspec.structs.replace(after, activity=Activity.IDLE, connectivity=connectivity)
        assert column.read(after if is_derived else undisturbed) == word


@named
def test_written_word_changes_only_the_axes_of_the_rule(column: StatusProjection) -> None:
    for axes, word in product(EVERYTHING, column.words):
        try:
            moves = column.write(word, axes)
        except StatusWordRefused:
            continue
        assert {move.axis for move in moves} <= {move.axis for move in column.rule_of(word).writes or ()}


READ = [
    # what the page says, row by row: column, what differs from an agent that is well, the word
    (CALENDAR_STATUS, {"connectivity": "offline", "availability": "exhausted"}, "offline"),
    (CALENDAR_STATUS, {"availability": "exhausted", "activity": "processing"}, "exhausted"),
    (CALENDAR_STATUS, {"activity": "processing"}, "busy"),
    (CALENDAR_STATUS, {"activity": "waiting"}, "idle"),
    (CALENDAR_STATUS, {"availability": "on_call"}, "on_call"),
    (CALENDAR_STATUS, {"health": "error", "lifecycle": "paused"}, "idle"),
    (FOUNDATION_STATUS, {"health": "error", "activity": "saturated"}, "error"),
    (FOUNDATION_STATUS, {"activity": "saturated"}, "busy"),
    (FOUNDATION_STATUS, {"activity": "processing", "availability": "exhausted"}, "processing"),
    (FOUNDATION_STATUS, {"activity": "waiting"}, "waiting"),
    (FOUNDATION_STATUS, {"availability": "exhausted"}, "waiting"),
    (FOUNDATION_STATUS, {"lifecycle": "terminated", "connectivity": "offline"}, "idle"),
]
WELL = Axes(lifecycle=Lifecycle.ACTIVE, connectivity=Connectivity.ONLINE)


def _axes(different: dict[str, str]) -> Axes:
    axes = WELL
    for axis, value in different.items():
        axes = axes.after(Axis(axis), value)
    return axes


@each(("column", "different", "word"), READ)
def test_word_is_read_as_documented(column: StatusProjection, different: dict[str, str], word: str) -> None:
    assert column.read(_axes(different)) == word


@pytest.mark.parametrize(
    ("column", "word", "different", "moved"),
    [
        (CALENDAR_STATUS, "offline", {}, {"connectivity": "offline"}),
        (CALENDAR_STATUS, "exhausted", {}, {"availability": "exhausted"}),
        (CALENDAR_STATUS, "on_call", {"availability": "exhausted"}, {"availability": "on_call"}),
        (CALENDAR_STATUS, "on_call", {"connectivity": "offline"}, {"availability": "on_call"}),
        (
            CALENDAR_STATUS,
            "idle",
            {"availability": "exhausted", "activity": "processing"},
            {"availability": "available"},
        ),
        (FOUNDATION_STATUS, "error", {"activity": "processing"}, {"health": "error"}),
        (
            FOUNDATION_STATUS,
            "idle",
            {"health": "error", "availability": "exhausted"},
            {"health": "ok", "availability": "available"},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, StatusProjection) else None,
)
def test_word_is_written_as_documented(
    column: StatusProjection, word: str, different: dict[str, str], moved: dict[str, str]
) -> None:
    assert {str(move.axis): move.to for move in column.write(word, _axes(different))} == moved


def test_a_derived_word_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(
        StatusWordRefused, match=r"activity is derived .*; legal: idle, on_call, exhausted, offline"
    ):
        CALENDAR_STATUS.write("busy", WELL)
    with pytest.raises(StatusWordRefused, match=r"activity is derived .*; legal: idle, error"):
        FOUNDATION_STATUS.write("waiting", WELL)


def _orchestrators() -> Iterator[Axes]:
    """Return every combination of axes, also with each state detail that a pair stores."""
    yield from EVERYTHING
    for axes, found in product(EVERYTHING, PAIRS.values()):
        if found.state_detail is not None and (axes.lifecycle, axes.health) == (found.lifecycle, Health.OK):
            yield msgspec.structs.replace(axes, state_detail=found.state_detail)


def test_orchestrator_pair_is_read_back_as_written_or_refused_with_legal_pairs() -> None:
    done = 0
    words = product([None, *OrchestratorStatus], [None, *StateDetail])
    sample = list(_orchestrators())[::5]  # five has no factor in common with the number of values of an axis
    for axes, (status, detail) in product(sample, list(words)):
        if status is None and detail is None:
            continue
        now = pair_of(axes)
        try:
            after = write_pair(status, detail, axes)
        except StatusWordRefused as refused:
            assert (status or now.status, detail or now.state_detail) != now
            legal = str(refused).partition("legal: ")[2].split(", ")
            if legal == ["none"]:
                continue
            assert all(_is_read_as_written(*pair.split(" + "), axes) for pair in legal)
            continue
        if status == "BUSY":
            assert (now.status, after) == ("BUSY", axes)
            continue
        read = pair_of(_undisturbed(after))
        assert status in (None, read.status) and detail in (None, read.state_detail)
        assert lifecycle_path(axes.lifecycle, after.lifecycle) is not None
        done += after != axes
    assert done > 1_000


@cache
def _is_read_as_written(status: str, detail: str, axes: Axes) -> bool:
    return pair_of(_undisturbed(write_pair(status, detail, axes))) == (status, detail)


def _undisturbed(axes: Axes) -> Axes:
    """Return the axes once no run executes."""
    return msgspec.structs.replace(axes, activity=Activity.IDLE) if axes.activity not in NOT_BUSY else axes


@pytest.mark.parametrize(
    ("different", "written", "read"),
    [
        ({}, ("ACTIVE", "READY"), ("ACTIVE", "READY")),
        ({}, (None, "READY"), ("ACTIVE", "READY")),
        ({"activity": "processing"}, ("ACTIVE", "READY"), ("BUSY", "ACTIVE")),
        ({}, ("INACTIVE", None), ("INACTIVE", "PAUSED")),
        ({"lifecycle": "created"}, ("ACTIVE", None), ("ACTIVE", "ACTIVE")),
        ({"lifecycle": "ready"}, ("MAINTENANCE", None), ("MAINTENANCE", "READY")),
        ({"health": "error"}, ("MAINTENANCE", None), ("MAINTENANCE", "ACTIVE")),
        ({"health": "error", "lifecycle": "ready"}, ("INACTIVE", None), ("INACTIVE", "READY")),
        ({"lifecycle": "paused"}, ("ERROR", None), ("ERROR", "ERROR")),
        ({"lifecycle": "maintenance"}, (None, "ACTIVE"), ("MAINTENANCE", "ACTIVE")),
        ({"lifecycle": "terminated", "health": "error"}, (None, "TERMINATED"), ("INACTIVE", "TERMINATED")),
    ],
)
def test_pair_is_written_and_read_as_documented(
    different: dict[str, str], written: tuple[str | None, str | None], read: tuple[str, str]
) -> None:
    assert pair_of(write_pair(*written, _axes(different))) == read


def test_meaningless_orchestrator_pair_is_refused_with_the_legal_pairs() -> None:
    with pytest.raises(
        StatusWordRefused, match=r"'INACTIVE' and 'ACTIVE' is not written; legal: .*ACTIVE \+ READY"
    ):
        write_pair("INACTIVE", "ACTIVE", WELL)
    with pytest.raises(StatusWordRefused, match="'BUSY' is not written: activity is derived from runs"):
        write_pair("BUSY", None, WELL)
    with pytest.raises(
        StatusWordRefused, match=r"'CREATED' cannot follow ACTIVE \+ ACTIVE|cannot follow ACTIVE"
    ):
        write_pair("INACTIVE", "CREATED", WELL)
    with pytest.raises(StatusWordRefused, match="the agent is terminated; legal: none"):
        write_pair("ACTIVE", None, _axes({"lifecycle": "terminated"}))


def test_unknown_word_is_refused_with_the_known_words() -> None:
    refusals: list[tuple[str, Callable[[], object]]] = [
        (
            r"foundation\.current_status has no value 'ACTIVE'; values: idle, busy",
            lambda: FOUNDATION_STATUS.write("ACTIVE", WELL),
        ),
        (
            r"orchestrator\.status has no value 'idle'; values: INACTIVE",
            lambda: write_pair("idle", None, WELL),
        ),
    ]
    for message, write in refusals:
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=message):
            write()
    message = "there is no vocabulary 'klingon'; vocabularies: calendar"
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_NAME), match=message):
        words_of("klingon")


def test_every_reason_for_exhaustion_has_a_calendar_reason() -> None:
    assert {calendar_reason(reason) for reason in ExhaustReason} == set(get_args(CalendarExhaustReason))
    assert all(calendar_reason(reason) == reason for reason in get_args(CalendarExhaustReason))
    assert calendar_reason(ExhaustReason.BUDGET) == "billing"
    assert calendar_reason(None) is None


def test_each_agent_type_has_a_local_word_and_is_read_back() -> None:
    local = {*AgentSubtype, "RESEARCHER", "DEVELOPER", "SPECIALIST", "AUDITOR", "CUSTOM"}
    assert {own_type(kind_of(word)) for word in local} == local
    assert {own_type(kind_of(word)) for word in AgentType} <= local


def test_every_end_of_a_run_has_a_run_log_status() -> None:
    told = {
        run_log_status(state, outcome)
        for state in RunState
        for outcome in ([RunOutcome.SUCCESS, RunOutcome.PARTIAL] if state is RunState.COMPLETED else [None])
    }
    assert (told, run_log_status(RunState.CANCELLED, None)) == (set(get_args(RunLogStatus)), "error")
    assert {run_log_agent_type(executor) for executor in ("device", "connector")} == {"local", "cloud"}


def test_words_of_a_vocabulary_are_returned_by_column() -> None:
    assert status_words(WELL, Vocabulary.ORCHESTRATOR) == {"status": "ACTIVE", "state_detail": "ACTIVE"}
    assert status_words(WELL, Vocabulary.RUN_LOG) == {}
    assert reading(Vocabulary.CALENDAR, "status") is CALENDAR_STATUS
    assert reading(Vocabulary.CALENDAR, "user_id") is None
