"""Writes to how an agent stands: all of one is done, or nothing."""

import pytest
import sqlalchemy as sa

from protocol.agent_status import Availability, Axis, ExhaustReason, IllegalMove
from protocol.causes import LEFT
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId
from protocol.lifecycles import RunState
from protocol.status_vocabularies import READINGS, AxisMove, StatusWordRefused, Vocabulary
from storage.agents import agent_states, exhaustion, heartbeat_states, state_history, state_moves
from storage.agents.agents import AgentRow
from storage.agents.exhaustion import exhaust
from storage.agents.heartbeat_states import AgentReport, Reports, Silence
from storage.effects import sessions
from storage.effects.status_writes import BadWrite, StatusWrite, Written, write_status
from tests.storage.rows import AT, declare, make_agent, make_run
from tests.support import stored
from tests.support.coded import coded
from tests.support.presence import BOOT, open_session


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    """An agent that is active and online."""
    agent = make_agent(c)
    state_moves.move(c, agent.id, "connectivity", "online", at=AT, actor="device:laptop")
    return agent


def write(c: sa.Connection, agent: AgentRow, asked: StatusWrite, *, at: int = AT + 1) -> Written:
    return write_status(c, agent.id, asked, at=at, actor="operator:1")


def test_single_status_write_moves_several_axes(c: sa.Connection, agent: AgentRow) -> None:
    asked = StatusWrite(axes={"health": "error", "availability": "on_call"}, reason="no disk")
    written = write(c, agent, asked)
    assert written.moves == (AxisMove(Axis.HEALTH, "error"), AxisMove(Axis.AVAILABILITY, "on_call"))
    assert (written.state.health, written.state.health_reason, written.state.availability) == (
        "error",
        "no disk",
        "on_call",
    )
    assert [(move.reason, move.actor) for move in stored.agent_history(c, agent.id)[-2:]] == [
        ("no disk", "operator:1")
    ] * 2


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (StatusWrite(axes={"availability": "on_call", "lifecycle": "created"}), IllegalMove),
        (StatusWrite(axes={"availability": "on_call", "activity": "saturated"}), StatusWordRefused),
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
            StatusWordRefused,
        ),
        (StatusWrite(vocabulary=Vocabulary.CALENDAR, words={"user_id": "me"}), BadWrite),
    ],
    ids=range(9),
)
def test_refused_status_write_changes_nothing(
    c: sa.Connection, agent: AgentRow, asked: StatusWrite, error: type[Exception]
) -> None:
    before = agent_states.find_state(c, agent.id)
    with pytest.raises(error):
        write(c, agent, asked)
    assert agent_states.find_state(c, agent.id) == before


def test_status_write_of_an_unknown_agent_is_refused(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        write_status(c, AgentId("nobody"), StatusWrite(), at=AT, actor="operator:1")


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
    history = state_history.history_page(c, agent.id, limit=9, axis=Axis.AVAILABILITY)
    assert [move.new_value for move in history] == ["exhausted"]


def test_termination_of_an_agent_cancels_the_runs(c: sa.Connection, agent: AgentRow) -> None:
    run = make_run(c, agent=agent, state=RunState.RUNNING)
    asked = StatusWrite(vocabulary=Vocabulary.ORCHESTRATOR, words={"state_detail": "TERMINATED"})
    written = write(c, agent, asked)
    assert (written.called_off, written.state.lifecycle, written.state.connectivity) == (
        (run.id,),
        "terminated",
        "offline",
    )


def test_status_write_of_the_present_values_writes_no_move(c: sa.Connection, agent: AgentRow) -> None:
    before = agent_states.find_state(c, agent.id)
    written = write(c, agent, StatusWrite(axes={"lifecycle": "active", "health": "ok"}))
    assert (written.moves, written.state) == ((), before)


@pytest.mark.parametrize("column", READINGS, ids=lambda column: column.name)
def test_each_written_status_word_is_read_back_from_the_database(
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
        except StatusWordRefused:
            pass
        point.rollback()
    assert done >= 2


def test_status_metadata_replaces_the_previous_metadata(c: sa.Connection, agent: AgentRow) -> None:
    write(c, agent, StatusWrite(metadata={"room": 7}))
    assert write(c, agent, StatusWrite(metadata={"desk": "b"})).state.metadata == {"desk": "b"}


MINUTE = 60_000
SAYS = AgentReport


@pytest.fixture
def reporting(c: sa.Connection) -> AgentRow:
    return make_agent(c)


@pytest.fixture
def epoch(c: sa.Connection, reporting: AgentRow) -> int:
    """Of the connection of its device."""
    return open_session(c, device_of(reporting), boot_id=BOOT, platform=None, at=AT)


def device_of(reporting: AgentRow) -> DeviceId:
    assert reporting.device_id is not None
    return reporting.device_id


def hear(c: sa.Connection, reporting: AgentRow, epoch: int, *says: AgentReport, at: int = AT + 1) -> None:
    heartbeat_states.record(c, received=[Reports(device_of(reporting), epoch, at, says)])


def silence(c: sa.Connection, reporting: AgentRow, epoch: int, at: int = AT + 5) -> None:
    heartbeat_states.record(c, silent=[Silence(device_of(reporting), epoch, at, "no heartbeat for 45 s")])


def moves(c: sa.Connection, reporting: AgentRow) -> list[tuple[str, str | None, str, str | None]]:
    """Its moves since its device connected: axis, from, to, reason; the newest last."""
    return [
        (move.axis, move.old_value, move.new_value, move.reason)
        for move in stored.agent_history(c, reporting.id)
        if move.axis != "lifecycle"
    ][1:]


def test_agent_is_on_call_while_reported_so_by_the_device(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, availability=Availability.ON_CALL))
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, availability=Availability.ON_CALL), at=AT + 2)
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, availability=Availability.AVAILABLE), at=AT + 3)
    assert moves(c, reporting) == [
        ("availability", "available", "on_call", heartbeat_states.BY_REPORT),
        ("availability", "on_call", "available", heartbeat_states.BY_REPORT),
    ]


def test_heartbeat_does_not_revert_axes_set_by_a_person(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    state_moves.move(c, reporting.id, "availability", "on_call", at=AT, actor="user:anna")
    state_moves.move(c, reporting.id, "health", "error", at=AT, actor="user:anna", reason="looks wrong")
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, availability=Availability.AVAILABLE))
    stands = agent_states.find_state(c, reporting.id)
    assert (stands.availability, stands.health) == ("on_call", "error")


def test_error_in_a_heartbeat_sets_health_and_reason_until_no_longer_reported(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, error="the disk is full"))
    assert agent_states.find_state(c, reporting.id).health_reason == "the disk is full"
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id))
    stands = agent_states.find_state(c, reporting.id)
    assert (stands.health, stands.health_reason) == ("ok", None)


def test_heartbeat_does_not_clear_an_error_with_another_reason(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, error="the disk is full"))
    state_moves.move(c, reporting.id, "health", "error", at=AT + 2, actor="hub", reason="not set up right")
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id))
    stands = agent_states.find_state(c, reporting.id)
    assert (stands.health, stands.health_reason) == ("error", "not set up right")


def test_exhaustion_ends_at_the_recovery_time_despite_heartbeats(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    spent = SAYS(
        agent_id=reporting.id,
        availability=Availability.EXHAUSTED,
        exhaust_reason=ExhaustReason.BILLING,
        recovery_at=AT + 5 * MINUTE,
    )
    hear(c, reporting, epoch, spent)
    for availability in (Availability.AVAILABLE, Availability.ON_CALL, None):
        hear(c, reporting, epoch, SAYS(agent_id=reporting.id, availability=availability), at=AT + 2)
    stands = agent_states.find_state(c, reporting.id)
    assert (stands.availability, stands.exhaust_reason, stands.exhausted_at, stands.recovery_at) == (
        "exhausted",
        "billing",
        AT + 1,
        AT + 5 * MINUTE,
    )
    assert exhaustion.recover_due(c, AT + 5 * MINUTE, actor="hub") == [reporting.id]


def test_heartbeat_may_only_postpone_the_recovery_time(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    spent = Availability.EXHAUSTED
    for back in (10, 20, 5):
        hear(
            c,
            reporting,
            epoch,
            SAYS(agent_id=reporting.id, availability=spent, recovery_at=AT + back * MINUTE),
        )
    assert agent_states.find_state(c, reporting.id).recovery_at == AT + 20 * MINUTE
    assert [move[:3] for move in moves(c, reporting)] == [("availability", "available", "exhausted")]


def test_agents_of_a_silent_device_are_offline_until_the_next_heartbeat(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    silence(c, reporting, epoch)
    silence(c, reporting, epoch, at=AT + 6)
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, is_listed=False), at=AT + 7)
    assert moves(c, reporting) == [
        ("connectivity", "online", "offline", "no heartbeat for 45 s"),
        ("connectivity", "offline", "online", heartbeat_states.BACK),
    ]


def test_heartbeat_not_listing_an_agent_leaves_the_reported_error(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, error="the disk is full"))
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, is_listed=False))
    assert agent_states.find_state(c, reporting.id).health == "error"


def test_heartbeat_over_an_older_connection_is_ignored(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    newer = open_session(c, device_of(reporting), boot_id=BOOT, platform=None, at=AT + 1)
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, is_online=False))
    silence(c, reporting, epoch)
    sessions.close_session(c, device_of(reporting), newer, AT + 2)
    hear(c, reporting, newer, SAYS(agent_id=reporting.id))
    assert moves(c, reporting) == [("connectivity", "online", "offline", LEFT)]


def test_heartbeat_about_an_agent_of_another_device_is_ignored(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    other = make_agent(c, "outbox", device="desk")
    hear(c, reporting, epoch, SAYS(agent_id=other.id, error="not yours"))
    assert agent_states.find_state(c, other.id).health == "ok"


@pytest.mark.parametrize("end", ["archived", "terminated"])
def test_heartbeats_of_a_terminated_agent_are_ignored(
    c: sa.Connection, reporting: AgentRow, epoch: int, end: str
) -> None:
    if end == "archived":
        declare(c)
    else:
        state_moves.move(c, reporting.id, "lifecycle", "terminated", at=AT, actor="anna")
    before = agent_states.find_state(c, reporting.id)
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, error="too late"))
    silence(c, reporting, epoch)
    assert agent_states.find_state(c, reporting.id) == before
    assert heartbeat_states.statuses_of(c, [device_of(reporting)]) == {reporting.device_id: []}


def test_heartbeat_usage_and_time_are_stored_without_a_new_version(
    c: sa.Connection, reporting: AgentRow, epoch: int
) -> None:
    before = agent_states.find_state(c, reporting.id).version
    hear(c, reporting, epoch, SAYS(agent_id=reporting.id, usage={"cpu": 0.5, "files": 12}), at=AT + 9)
    stands = agent_states.find_state(c, reporting.id)
    assert (stands.resource_usage, stands.last_heartbeat_at, stands.version) == (
        {"cpu": 0.5, "files": 12},
        AT + 9,
        before,
    )


def test_last_heartbeat_of_a_device_is_stored_for_each_agent(c: sa.Connection, reporting: AgentRow) -> None:
    make_agent(c, "outbox")
    heartbeat_states.record(c, last={device_of(reporting): AT + 9})
    heartbeat_states.record(c, last={device_of(reporting): AT + 3})
    for name in ("inbox", "outbox"):
        assert agent_states.find_state(c, AgentId(f"agent-{name}")).last_heartbeat_at == AT + 9
