"""Agents on their way to their gateway, each in the hands of one hub, and leads that come to be once."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import AgentId, BoardId, BootId, GatewayId, NodeId
from storage import audit
from storage.agents.declared_agents import AgentLimits
from storage.coordination import boards, gateway_agents, gateways
from storage.coordination.boards import BoardLimits, TooManyOfBoards, create_board, edit_board, lead_of
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import Led, NoGateway
from storage.coordination.messages import Hand
from storage.devices import nodes
from tests.storage.rows import AT, ME, some
from tests.storage.test_gateways import OFFICE, put, worker
from tests.support.coded import coded

GARDEN, OFFICE_ID = BoardId("board-garden"), GatewayId("gw-office")
FIRST, SECOND = BootId("boot-1"), BootId("boot-2")


def board(c: sa.Connection, gateway_id: GatewayId | None = OFFICE_ID) -> None:
    put(c, OFFICE)
    create_board(c, id=GARDEN, user_id=ME, name="garden", gateway_id=gateway_id, at=AT, actor="anna")


def ensure(c: sa.Connection, id: str = "agent-lead", **limits: Any) -> Led:
    return gateways.ensure_lead(c, GARDEN, fresh_id=AgentId(id), at=AT, actor="anna", **limits)


def home(c: sa.Connection, agent_id: str = "agent-lead") -> GatewayAgentRow:
    return some(gateway_agents.find_gateway_agent(c, AgentId(agent_id)))


def shared(boot: BootId) -> Hand:
    return Hand(boot, is_alone=False)


def claim(c: sa.Connection, hand: Hand) -> bool:
    return gateways.claim(c, AgentId("agent-lead"), hand, at=AT)


def made(c: sa.Connection, boot: BootId = FIRST) -> bool:
    return gateways.made(c, AgentId("agent-lead"), boot, at=AT, activity_id=f"a-{boot}")


def not_made(c: sa.Connection, *, is_final: bool) -> None:
    gateways.not_made(
        c,
        AgentId("agent-lead"),
        FIRST,
        problem="no",
        is_final=is_final,
        at=AT,
        activity_id=f"not-{is_final}",
    )


@pytest.fixture
def office(c: sa.Connection) -> None:
    """A board of a gateway, without a lead."""
    board(c)


@pytest.fixture
def led(c: sa.Connection, office: None) -> None:
    """A board with a lead that is not made yet."""
    ensure(c)


@pytest.mark.usefixtures("office")
def test_a_lead_comes_to_be_with_its_place_on_the_board(c: sa.Connection) -> None:
    led = ensure(c)
    assert led.is_created and led.lead.name == "garden-lead" and led.lead.is_lead
    row = home(c)
    assert (row.remote_id, row.session_key, row.role, row.state) == (
        "lead-board-garden",
        "agent:lead-board-garden:main",
        "lead",
        "wanted",
    )
    assert [entry.event for entry in audit.list_entries(c, limit=3)] == [
        "board.lead",
        "board.joined",
        "agent.created",
    ]


@pytest.mark.usefixtures("office")
def test_who_comes_second_has_the_same_lead(c: sa.Connection) -> None:
    first = ensure(c)
    second = ensure(c, "agent-other")
    assert (second.lead.agent_id, second.is_created) == (first.lead.agent_id, False)


@pytest.mark.usefixtures("office")
def test_a_name_that_is_taken_gets_a_number(c: sa.Connection) -> None:
    worker(c, "garden-lead")
    assert ensure(c).lead.name == "garden-lead-2"


def test_a_board_without_a_possible_lead_gives_the_reason(c: sa.Connection) -> None:
    board(c, None)
    with pytest.raises(CodedError, check=coded(ErrorCode.NO_LEAD)):
        ensure(c)
    edit_board(c, GARDEN, gateway_id=OFFICE_ID, at=AT, actor="anna")
    put(c)
    with pytest.raises(NoGateway):
        ensure(c)
    assert lead_of(c, GARDEN) is None


@pytest.mark.usefixtures("office")
def test_a_lead_counts_among_the_agents_of_its_user_and_its_board(c: sa.Connection) -> None:
    with c.begin_nested() as undone:
        with pytest.raises(LimitReached):
            ensure(c, limits=AgentLimits(agents_per_user=1))
        undone.rollback()
    worker(c)
    boards.add_member(c, GARDEN, AgentId("agent-notes"), at=AT, actor="anna")
    with pytest.raises(TooManyOfBoards):
        ensure(c, board_limits=BoardLimits(members_per_board=1))


@pytest.mark.usefixtures("led")
def test_an_agent_is_in_the_hands_of_one_hub(c: sa.Connection) -> None:
    for boot in (FIRST, SECOND):
        nodes.beat(c, NodeId(boot), boot, ttl_ms=60_000)
    assert claim(c, shared(FIRST)) and not claim(c, shared(SECOND)) and claim(c, shared(FIRST))
    assert not made(c, SECOND) and made(c)
    assert (home(c).state, home(c).made_at) == ("ready", AT)
    assert not claim(c, shared(SECOND))
    assert [one.event_type for one in audit.list_activity(c)] == ["agent.made"]


@pytest.mark.usefixtures("led")
def test_what_a_hub_had_in_hand_that_is_gone_is_anybodys(c: sa.Connection) -> None:
    nodes.beat(c, NodeId(SECOND), SECOND, ttl_ms=60_000)
    assert claim(c, shared(FIRST))  # which has no lease that lasts
    assert claim(c, shared(SECOND)) and not made(c, FIRST)


@pytest.mark.usefixtures("led")
def test_an_agent_that_its_gateway_refused_is_retried_only_on_request(c: sa.Connection) -> None:
    alone = Hand(FIRST, is_alone=True)
    assert claim(c, alone)
    not_made(c, is_final=False)
    assert (home(c).state, home(c).problem) == ("creating", "no")
    assert {row.agent_name for row in gateways.list_unmade(c)} == {"office-main", "garden-lead"}
    assert claim(c, alone)
    not_made(c, is_final=True)
    assert home(c).state == "failed"
    assert [row.agent_name for row in gateways.list_unmade(c, OFFICE_ID)] == ["office-main"]
    again = gateways.list_unmade(c, OFFICE_ID, with_failed=True)
    assert {row.agent_name for row in again} == {"office-main", "garden-lead"}
    assert [one.event_type for one in audit.list_activity(c)] == ["agent.not_made"]


@pytest.mark.usefixtures("led")
def test_an_agent_that_its_gateway_has_lost_is_wanted_with_its_texts(c: sa.Connection) -> None:
    claim(c, Hand(FIRST, is_alone=True))
    made(c)
    assert gateways.note_missing(c, AgentId("agent-lead"), problem="lost", at=AT)
    assert (home(c).state, home(c).made_at) == ("wanted", None)
    assert not gateways.note_missing(c, AgentId("agent-lead"), problem="lost", at=AT)
