"""Writes to how an agent stands: all of one is done, or nothing."""

import pytest
import sqlalchemy as sa

from protocol.agent_status import READINGS, Axis, AxisMove, IllegalMove, Refused, Vocabulary
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.lifecycles import RunState
from storage.agents import agent_moves, agent_states
from storage.agents.agent_states import exhaust
from storage.agents.agents import AgentRow
from storage.agents.status_writes import BadWrite, StatusWrite, Written, write_status
from tests.storage.rows import AT, make_agent, make_run
from tests.support.coded import coded


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    """An agent that is active and online."""
    agent = make_agent(c)
    agent_moves.move(c, agent.id, "connectivity", "online", at=AT, actor="device:laptop")
    return agent


def write(c: sa.Connection, agent: AgentRow, asked: StatusWrite, *, at: int = AT + 1) -> Written:
    return write_status(c, agent.id, asked, at=at, actor="operator:1")


def test_several_axes_move_in_one_write(c: sa.Connection, agent: AgentRow) -> None:
    asked = StatusWrite(axes={"health": "error", "availability": "on_call"}, reason="no disk")
    written = write(c, agent, asked)
    assert written.moves == (AxisMove(Axis.HEALTH, "error"), AxisMove(Axis.AVAILABILITY, "on_call"))
    assert (written.state.health, written.state.health_reason, written.state.availability) == (
        "error",
        "no disk",
        "on_call",
    )
    assert [(move.reason, move.actor) for move in agent_states.agent_history(c, agent.id)[-2:]] == [
        ("no disk", "operator:1")
    ] * 2


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (StatusWrite(axes={"availability": "on_call", "lifecycle": "created"}), IllegalMove),
        (StatusWrite(axes={"availability": "on_call", "activity": "saturated"}), Refused),
        (StatusWrite(axes={"health": "error", "mood": "fine"}), CodedError),
        (StatusWrite(axes={"health": "error"}, recovery_at=AT + 9), BadWrite),
        (
            StatusWrite(axes={"availability": "exhausted"}, exhaust_reason="billing", recovery_at=AT),
            BadWrite,
        ),
        (StatusWrite(axes={"availability": "exhausted"}, exhaust_reason="tired"), BadWrite),
        (StatusWrite(axes={"health": "error"}, version=1), CodedError),
        (
            StatusWrite(vocabulary=Vocabulary.CALENDAR, words={"status": "busy"}),
            Refused,
        ),
        (StatusWrite(vocabulary=Vocabulary.CALENDAR, words={"user_id": "me"}), BadWrite),
    ],
    ids=range(9),
)
def test_of_a_write_that_is_refused_nothing_is_done(
    c: sa.Connection, agent: AgentRow, asked: StatusWrite, error: type[Exception]
) -> None:
    before = agent_states.find_state(c, agent.id)
    with pytest.raises(error):
        write(c, agent, asked)
    assert agent_states.find_state(c, agent.id) == before


def test_nobody_is_told_so(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        write_status(c, AgentId("nobody"), StatusWrite(), at=AT, actor="operator:1")


def test_who_read_the_newest_state_may_write_and_who_read_an_older_one_may_not(
    c: sa.Connection, agent: AgentRow
) -> None:
    version = agent_states.find_state(c, agent.id).version
    written = write(c, agent, StatusWrite(axes={"health": "error"}, version=version))
    assert written.state.version == version + 1
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)):
        write(c, agent, StatusWrite(axes={"health": "ok"}, version=version))


@pytest.mark.parametrize(
    ("cause", "recovery_at", "told", "probe"),
    [
        ("rate_limit", AT + 500_000, AT + 500_000, None),
        ("rate_limit", None, AT + 60_001, None),
        ("billing", None, None, AT + 600_001),
        ("billing", AT + 7_000, AT + 7_000, None),
        ("budget", AT + 7_000, AT + 7_000, None),
        (None, None, None, AT + 600_001),
    ],
)
def test_an_agent_is_exhausted_for_a_reason_and_until_a_given_time(
    c: sa.Connection,
    agent: AgentRow,
    cause: str | None,
    recovery_at: int | None,
    told: int | None,
    probe: int | None,
) -> None:
    state = write(
        c,
        agent,
        StatusWrite(axes={"availability": "exhausted"}, exhaust_reason=cause, recovery_at=recovery_at),
    ).state
    assert (state.exhaust_reason, state.exhausted_at, state.recovery_at, state.probe_at) == (
        cause,
        AT + 1,
        told,
        probe,
    )


def test_the_details_of_an_exhaustion_are_changed_without_a_move(c: sa.Connection, agent: AgentRow) -> None:
    exhaust(c, agent.id, cause="rate_limit", retry_after_ms=900_000, at=AT, actor="hub")
    later = write(c, agent, StatusWrite(recovery_at=AT + 10_000)).state
    assert (later.exhaust_reason, later.recovery_at) == ("rate_limit", AT + 10_000)
    other = write(c, agent, StatusWrite(exhaust_reason="billing")).state
    assert (other.exhaust_reason, other.recovery_at) == ("billing", AT + 10_000)
    history = agent_states.history_page(c, agent.id, limit=9, axis=Axis.AVAILABILITY)
    assert [move.new_value for move in history] == ["exhausted"]


def test_a_terminated_agent_lets_go_of_its_runs(c: sa.Connection, agent: AgentRow) -> None:
    run = make_run(c, agent=agent, state=RunState.RUNNING)
    asked = StatusWrite(vocabulary=Vocabulary.ORCHESTRATOR, words={"state_detail": "TERMINATED"})
    written = write(c, agent, asked)
    assert (written.called_off, written.state.lifecycle, written.state.connectivity) == (
        (run.id,),
        "terminated",
        "offline",
    )


def test_what_is_so_already_is_no_move_and_writes_nothing(c: sa.Connection, agent: AgentRow) -> None:
    before = agent_states.find_state(c, agent.id)
    written = write(c, agent, StatusWrite(axes={"lifecycle": "active", "health": "ok"}))
    assert (written.moves, written.state) == ((), before)


@pytest.mark.parametrize("column", READINGS, ids=lambda column: column.name)
def test_every_word_that_can_be_written_is_kept_by_the_database_as_it_is_read(
    c: sa.Connection, agent: AgentRow, column: object
) -> None:
    reading = next(one for one in READINGS if one is column)
    done = 0
    for word in reading.words:
        point = c.begin_nested()
        try:
            asked = StatusWrite(
                vocabulary=reading.vocabulary,
                words={reading.column: str(word)},
                exhaust_reason="billing" if word == "exhausted" else None,
            )
            assert reading.read(write(c, agent, asked).state.axes) == word
            done += 1
        except Refused:
            pass
        point.rollback()
    assert done >= 2


def test_what_others_note_replaces_what_they_noted(c: sa.Connection, agent: AgentRow) -> None:
    write(c, agent, StatusWrite(metadata={"room": 7}))
    assert write(c, agent, StatusWrite(metadata={"desk": "b"})).state.metadata == {"desk": "b"}
