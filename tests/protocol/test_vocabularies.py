"""The words of four other vocabularies for how an agent stands, over everything an agent can be."""

from itertools import product

import pytest

from protocol.agent_status import (
    VALUES,
    Activity,
    AgentSubtype,
    AgentType,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    Lifecycle,
    UnknownValue,
    kind_of,
    legal_moves,
)
from protocol.lifecycles import RunOutcome, RunState
from protocol.vocabularies import (
    CALENDAR_STATUS,
    FOUNDATION_STATUS,
    ORCHESTRATOR_STATUS,
    READINGS,
    STATE_DETAIL,
    CalendarExhaustReason,
    Reading,
    Refused,
    RunLogStatus,
    Vocabulary,
    calendar_reason,
    own_type,
    reading,
    run_log_agent_type,
    run_log_status,
    status_words,
    words_of,
)

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


def test_there_are_336_ways_to_stand() -> None:
    assert len(EVERYTHING) == len(set(EVERYTHING)) == 7 * 3 * 2 * 2 * 4 == 336


@named
def test_reading_is_total_and_every_word_of_the_seed_is_read_of_some_agent(column: Reading) -> None:
    assert {column.read(axes) for axes in EVERYTHING} == set(column.words)


@named
def test_each_write_is_refused_or_reads_back_as_itself(column: Reading) -> None:
    done = 0
    for axes, word in product(EVERYTHING, column.words):
        try:
            moves = column.write(word, axes)
        except Refused as refused:
            assert column.read(axes) != word
            assert set(refused.legal) <= {str(value) for value in VALUES[refused.axis]}
            continue
        after = axes
        for move in moves:
            assert move.to in legal_moves(move.axis, after.on(move.axis))  # it is a move, and a legal one
            after = after.after(move.axis, move.to)
        assert column.read(after) == word
        assert (moves == ()) == (column.read(axes) == word)
        done += bool(moves)
    assert done > 200


@named
def test_no_write_moves_on_activity_or_puts_an_agent_online(column: Reading) -> None:
    written = [move for rule in column.rules for move in rule.writes or ()]
    assert all(move.axis is not Axis.ACTIVITY and move.to != "online" for move in written)


@named
def test_a_write_changes_no_axis_that_its_word_does_not_name(column: Reading) -> None:
    for axes, rule in product(EVERYTHING, column.rules):
        try:
            moves = column.write(rule.word, axes)
        except Refused:
            continue
        first = next(one for one in column.rules if one.word == rule.word)
        assert {move.axis for move in moves} <= {move.axis for move in first.writes or ()}


READ = [
    # what the page says, row by row: column, what is true of the agent beside "all is well", the word
    (CALENDAR_STATUS, {"connectivity": "offline", "availability": "exhausted"}, "offline"),
    (CALENDAR_STATUS, {"availability": "exhausted", "activity": "processing"}, "exhausted"),
    (CALENDAR_STATUS, {"activity": "waiting"}, "busy"),
    (CALENDAR_STATUS, {"availability": "on_call"}, "on_call"),
    (CALENDAR_STATUS, {"health": "error", "lifecycle": "paused"}, "idle"),
    (ORCHESTRATOR_STATUS, {"health": "error", "lifecycle": "maintenance"}, "ERROR"),
    (ORCHESTRATOR_STATUS, {"lifecycle": "maintenance"}, "MAINTENANCE"),
    (ORCHESTRATOR_STATUS, {"lifecycle": "ready", "activity": "processing"}, "INACTIVE"),
    (ORCHESTRATOR_STATUS, {"lifecycle": "terminated"}, "INACTIVE"),
    (ORCHESTRATOR_STATUS, {"activity": "processing"}, "BUSY"),
    (ORCHESTRATOR_STATUS, {"activity": "saturated"}, "BUSY"),
    (ORCHESTRATOR_STATUS, {"activity": "waiting", "availability": "exhausted"}, "ACTIVE"),
    (STATE_DETAIL, {"health": "error", "lifecycle": "paused"}, "ERROR"),
    (STATE_DETAIL, {"health": "error", "lifecycle": "terminated"}, "TERMINATED"),
    (STATE_DETAIL, {"lifecycle": "maintenance"}, "PAUSED"),
    (STATE_DETAIL, {"lifecycle": "initializing"}, "INITIALIZING"),
    (FOUNDATION_STATUS, {"health": "error", "activity": "saturated"}, "error"),
    (FOUNDATION_STATUS, {"activity": "saturated"}, "busy"),
    (FOUNDATION_STATUS, {"activity": "processing", "availability": "exhausted"}, "processing"),
    (FOUNDATION_STATUS, {"activity": "waiting"}, "waiting"),
    (FOUNDATION_STATUS, {"availability": "exhausted"}, "waiting"),
    (FOUNDATION_STATUS, {"lifecycle": "terminated", "connectivity": "offline"}, "idle"),
]
WELL = Axes(lifecycle=Lifecycle.ACTIVE, connectivity=Connectivity.ONLINE)


def _axes(told: dict[str, str]) -> Axes:
    axes = WELL
    for axis, value in told.items():
        axes = axes.after(Axis(axis), value)
    return axes


@pytest.mark.parametrize(
    ("column", "told", "word"), READ, ids=[f"{column.name}-{n}" for n, (column, *_) in enumerate(READ)]
)
def test_a_word_is_read_as_the_page_says(column: Reading, told: dict[str, str], word: str) -> None:
    assert column.read(_axes(told)) == word


@pytest.mark.parametrize(
    ("column", "word", "told", "moved"),
    [
        (CALENDAR_STATUS, "offline", {}, {"connectivity": "offline"}),
        (CALENDAR_STATUS, "exhausted", {}, {"availability": "exhausted"}),
        (CALENDAR_STATUS, "on_call", {"availability": "exhausted"}, {"availability": "on_call"}),
        (CALENDAR_STATUS, "idle", {"availability": "exhausted"}, {"availability": "available"}),
        (ORCHESTRATOR_STATUS, "ERROR", {}, {"health": "error"}),
        (ORCHESTRATOR_STATUS, "MAINTENANCE", {}, {"lifecycle": "maintenance"}),
        (ORCHESTRATOR_STATUS, "INACTIVE", {}, {"lifecycle": "paused"}),
        (
            ORCHESTRATOR_STATUS,
            "ACTIVE",
            {"lifecycle": "paused", "health": "error"},
            {"lifecycle": "active", "health": "ok"},
        ),
        (STATE_DETAIL, "TERMINATED", {}, {"lifecycle": "terminated"}),
        (STATE_DETAIL, "READY", {}, {"lifecycle": "ready"}),
        (FOUNDATION_STATUS, "error", {"activity": "processing"}, {"health": "error"}),
        (
            FOUNDATION_STATUS,
            "idle",
            {"health": "error", "availability": "exhausted"},
            {"health": "ok", "availability": "available"},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Reading) else None,
)
def test_a_word_is_written_as_the_page_says(
    column: Reading, word: str, told: dict[str, str], moved: dict[str, str]
) -> None:
    assert {str(move.axis): move.to for move in column.write(word, _axes(told))} == moved


def test_a_derived_word_is_refused_with_what_it_is_derived_from() -> None:
    for column, word in (
        (CALENDAR_STATUS, "busy"),
        (ORCHESTRATOR_STATUS, "BUSY"),
        (FOUNDATION_STATUS, "waiting"),
    ):
        with pytest.raises(Refused, match="is not written: activity is derived from runs") as refused:
            column.write(word, WELL)
        assert (refused.value.axis, refused.value.legal) == (Axis.ACTIVITY, ())


def test_a_word_that_another_would_hide_is_refused_with_the_axis_in_the_way() -> None:
    with pytest.raises(Refused, match="'idle' would still be read as 'busy': activity is processing"):
        CALENDAR_STATUS.write("idle", _axes({"activity": "processing", "availability": "on_call"}))
    with pytest.raises(Refused, match="'on_call' would still be read as 'offline'") as refused:
        CALENDAR_STATUS.write("on_call", _axes({"connectivity": "offline"}))
    assert refused.value.axis is Axis.CONNECTIVITY
    with pytest.raises(Refused, match="health is error; legal moves: ok"):
        ORCHESTRATOR_STATUS.write("MAINTENANCE", _axes({"health": "error"}))


def test_a_step_that_the_table_has_not_is_refused_with_those_it_has() -> None:
    with pytest.raises(Refused, match="legal moves: initializing, maintenance, terminated") as refused:
        ORCHESTRATOR_STATUS.write("ACTIVE", _axes({"lifecycle": "created"}))
    assert refused.value.legal == ("initializing", "maintenance", "terminated")


def test_a_word_of_nobody_is_told_with_the_words_there_are() -> None:
    with pytest.raises(
        UnknownValue, match=r"foundation\.current_status has no value 'ACTIVE'; values: idle, busy"
    ):
        FOUNDATION_STATUS.write("ACTIVE", WELL)
    with pytest.raises(UnknownValue, match="there is no vocabulary 'klingon'; vocabularies: calendar"):
        words_of("klingon")


def test_every_reason_for_exhaustion_is_told_to_the_calendar() -> None:
    assert {calendar_reason(reason) for reason in ExhaustReason} == set(CalendarExhaustReason)
    assert all(calendar_reason(reason) == reason for reason in CalendarExhaustReason)
    assert calendar_reason(ExhaustReason.BUDGET) is CalendarExhaustReason.BILLING
    assert calendar_reason(None) is None


def test_every_type_is_read_back_as_it_was_written_and_all_have_a_local_word() -> None:
    local = {*AgentSubtype, "RESEARCHER", "DEVELOPER", "SPECIALIST", "AUDITOR", "CUSTOM"}
    assert {own_type(kind_of(word)) for word in local} == local
    assert {own_type(kind_of(word)) for word in AgentType} <= local


def test_every_end_of_a_run_is_told_to_the_run_log() -> None:
    told = {
        run_log_status(state, outcome)
        for state in RunState
        for outcome in ([RunOutcome.SUCCESS, RunOutcome.PARTIAL] if state is RunState.COMPLETED else [None])
    }
    assert told == set(RunLogStatus)
    assert run_log_status(RunState.CANCELLED, None) is RunLogStatus.ERROR
    assert {run_log_agent_type(executor) for executor in ("device", "connector")} == {"local", "cloud"}


def test_the_words_of_a_vocabulary_are_told_by_column() -> None:
    assert status_words(WELL, Vocabulary.ORCHESTRATOR) == {"status": "ACTIVE", "state_detail": "ACTIVE"}
    assert status_words(WELL, Vocabulary.RUN_LOG) == {}
    assert reading(Vocabulary.CALENDAR, "status") is CALENDAR_STATUS
    assert reading(Vocabulary.CALENDAR, "user_id") is None
