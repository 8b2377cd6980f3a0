"""Gateways of hub.toml as rows, the agents that live at them, and what is seen of these."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.agent_status import Activity, ExhaustReason
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import AgentId, BoardId, BootId, GatewayId, NodeId
from storage import audit, leases
from storage.agents import agent_states, agents, declared_agents, exhaustion, state_moves
from storage.agents.declared_agents import AgentLimits, DeclaredAgent
from storage.connectors.connectors import Reconciled
from storage.coordination import boards, gateway_agents, gateway_creations, gateway_reports, gateways, leads
from storage.coordination.boards import BoardLimits, TooManyOfBoards, create_board, edit_board, lead_of
from storage.coordination.gateway_agents import GatewayAgentRow, RemoteIdTaken
from storage.coordination.gateway_reports import Exhaustion, Seen
from storage.coordination.gateways import DeclaredGateway, UnknownGateway
from storage.coordination.leads import Led, NoGateway
from storage.coordination.messages import Hand
from storage.devices import users
from storage.effects import agent_changes, termination
from storage.runs import runs
from storage.runs.run_moves import LivesAtGateway
from tests.storage.rows import AT, ME, declare, make_agent, make_run, some
from tests.storage.test_agents import WRITING, make
from tests.support import stored
from tests.support.coded import coded

OFFICE = DeclaredGateway(name="office", user_name="me")
MINUTE_MS = 60_000


def put(c: sa.Connection, *declared: DeclaredGateway, at: int = AT) -> Reconciled:
    """The gateways of hub.toml are these now. Ids tell what they are of."""
    owner = users.ensure_user(c, ME, "me", at)
    fresh = [id for one in declared for id in (f"gw-{one.name}", f"main-{one.name}", f"user-{one.user_name}")]
    return gateways.reconcile_gateways(c, owner_id=owner, declared=declared, at=at, fresh_ids=fresh)


def worker(
    c: sa.Connection,
    name: str = "notes",
    *,
    id: str | None = None,
    remote_id: str | None = None,
    limits: AgentLimits | None = None,
) -> GatewayAgentRow:
    return gateway_agents.make_gateway_agent(
        c,
        gateway_id=GatewayId("gw-office"),
        user_id=ME,
        name=name,
        remote_id=remote_id,
        fresh_id=AgentId(id or f"agent-{name}"),
        at=AT,
        actor="anna",
        limits=limits,
    )


def see(c: sa.Connection, agent: GatewayAgentRow, *seen: Seen, at: int = AT) -> None:
    assert all(one.agent_id == agent.agent_id for one in seen)
    gateway_reports.record_observations(c, "office", seen, at=at)


def moves(c: sa.Connection, agent: GatewayAgentRow) -> list[str]:
    """Its moves since it was made."""
    told = stored.agent_history(c, agent.agent_id)
    return [f"{one.axis}: {one.new_value}" for one in told if one.axis != "lifecycle"]


def events(c: sa.Connection) -> Sequence[str]:
    return [entry.event for entry in audit.list_entries(c, limit=100)][::-1]


# --- gateways ---


@pytest.fixture
def office(c: sa.Connection) -> None:
    """A gateway."""
    put(c, OFFICE)


@pytest.fixture
def row(c: sa.Connection, office: None) -> GatewayAgentRow:
    """The agent ``notes`` at the gateway."""
    return worker(c)


def test_declared_gateway_is_created_once_with_the_main_agent(c: sa.Connection) -> None:
    assert put(c, OFFICE) == Reconciled(created=("office",))
    main = some(gateway_agents.find_main_agent(c, gateways.get_gateway(c, "office").id))
    assert (main.agent_name, main.role, main.state, main.remote_id, main.session_key) == (
        "office-main",
        "main",
        "wanted",
        "mc-gateway-gw-office",
        "agent:mc-gateway-gw-office:main",
    )
    row = agents.get_agent(c, main.agent_id)
    assert (row.executor, row.device_id, row.gateway, row.gateway_role, row.lifecycle, row.connectivity) == (
        "gateway",
        None,
        "office",
        "main",
        "active",
        "offline",
    )
    assert put(c, OFFICE) == Reconciled()
    assert events(c) == ["gateway.created"]


@pytest.mark.usefixtures("office")
def test_gateway_declared_again_is_revived_as_the_same_row(c: sa.Connection) -> None:
    helper = worker(c)
    see(c, helper, Seen(agent_id=helper.agent_id, is_online=True, turns=1, because="turn k began"))
    assert put(c, at=AT + 1) == Reconciled(archived=("office",))
    with pytest.raises(UnknownGateway):
        gateways.get_gateway(c, "office")
    assert agents.get_agent(c, AgentId("main-office")).archived_at == AT + 1
    left = agents.get_agent(c, helper.agent_id)
    assert (left.archived_at, left.connectivity, left.runs_executing) == (None, "offline", 0)
    assert not some(gateway_agents.find_gateway_agent(c, helper.agent_id)).is_listed
    see(c, helper, Seen(agent_id=helper.agent_id, is_online=True, why="asked before"), at=AT + 1)
    assert agents.get_agent(c, helper.agent_id).connectivity == "offline"
    assert put(c, OFFICE, at=AT + 2) == Reconciled(revived=("office",))
    assert gateways.get_gateway(c, "office").id == "gw-office"
    back = agents.get_agent(c, AgentId("main-office"))
    assert (back.archived_at, back.lifecycle) == (None, "active")
    assert events(c) == ["gateway.created", "gateway.archived", "gateway.revived"]


@pytest.mark.usefixtures("office")
def test_gateway_of_the_same_name_of_another_user_is_separate(c: sa.Connection) -> None:
    theirs = DeclaredGateway(name="office", user_name="ben")
    fresh = ["gw-2", "main-2", "user-ben"]
    done = gateways.reconcile_gateways(c, owner_id=ME, declared=[theirs], at=AT + 1, fresh_ids=fresh)
    assert (done.created, gateways.get_gateway(c, "office").id) == (("office",), "gw-2")
    with pytest.raises(UnknownGateway):
        gateways.get_gateway(c, "office", user_id=ME)
    assert gateways.list_gateways(c, user_id=ME) == []
    assert some(gateways.find_gateway(c, GatewayId("gw-office"))).archived_at is not None


def test_declared_main_agent_of_a_gateway_may_be_changed_later(c: sa.Connection) -> None:
    put(c, DeclaredGateway(name="office", user_name="me", main_agent="main"))
    main = some(gateway_agents.find_main_agent(c, GatewayId("gw-office")))
    assert (main.remote_id, main.session_key, main.state) == ("main", "agent:main:main", "ready")
    assert put(c, OFFICE, at=AT + 1) == Reconciled()  # the gateway's own one is the default
    put(c, DeclaredGateway(name="office", user_name="me", main_agent="clerk"))
    assert put(c, OFFICE, at=AT + 1).updated == ("office",)
    made = some(gateway_agents.find_main_agent(c, GatewayId("gw-office")))
    assert (made.agent_id, made.remote_id, made.state) == (main.agent_id, "mc-gateway-gw-office", "wanted")


@pytest.mark.usefixtures("office")
def test_main_agent_with_the_remote_id_of_another_agent_is_refused(c: sa.Connection) -> None:
    worker(c, "reader", remote_id="reader")
    with pytest.raises(RemoteIdTaken) as refused:
        put(c, DeclaredGateway(name="office", user_name="me", main_agent="reader"))
    assert refused.value.gateway == "office"


def test_main_agent_with_a_taken_name_gets_a_numbered_name(c: sa.Connection) -> None:
    make_agent(c, "office-main")
    put(c, OFFICE)
    assert some(gateway_agents.find_main_agent(c, GatewayId("gw-office"))).agent_name == "office-main-2"


@pytest.mark.usefixtures("office")
def test_main_agent_of_a_gateway_cannot_be_removed(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.MANAGED_BY_FILE)):
        agent_changes.remove_agent(c, AgentId("main-office"), writing=WRITING)


@pytest.mark.usefixtures("office")
def test_user_with_a_gateway_cannot_be_removed(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.ILLEGAL_TRANSITION), match=r"gateways \(1\)"):
        users.remove_user(c, "me", at=AT, actor="anna")


# --- agents at a gateway ---


def test_worker_has_a_remote_id_made_from_the_agent_id(c: sa.Connection, row: GatewayAgentRow) -> None:
    assert (row.remote_id, row.session_key, row.role, row.state) == (
        "mc-agent-notes",
        "agent:mc-agent-notes:main",
        "worker",
        "wanted",
    )
    assert gateway_agents.find_by_session(c, row.gateway_id, "agent:mc-agent-notes:main") == row
    assert gateway_agents.find_by_session(c, row.gateway_id, "agent:mc-agent-notes:cron:7") == row
    assert gateway_agents.find_by_session(c, row.gateway_id, "mc-agent-notes") is None


@pytest.mark.usefixtures("office")
def test_existing_agent_of_a_gateway_is_taken_over_once(c: sa.Connection) -> None:
    assert worker(c, remote_id="main").state == "ready"
    with pytest.raises(RemoteIdTaken, match="agent 'notes' is 'main' at gateway 'office' already"):
        worker(c, "other", remote_id="main")


def test_agent_name_is_unique_across_devices_and_gateways(c: sa.Connection) -> None:
    make_agent(c, "notes")
    put(c, OFFICE)
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN)):
        worker(c)


@pytest.mark.usefixtures("office")
def test_gateway_worker_beyond_the_agent_limit_is_refused(c: sa.Connection) -> None:
    with pytest.raises(LimitReached):
        worker(c, limits=AgentLimits(agents=1))


def test_removed_gateway_worker_is_revived_with_the_agent_id(c: sa.Connection, row: GatewayAgentRow) -> None:
    agent_changes.remove_agent(c, row.agent_id, writing=WRITING)
    assert gateway_agents.list_gateway_agents(c, row.gateway_id) == [
        gateway_agents.find_main_agent(c, row.gateway_id)
    ]
    assert worker(c, id="fresh").agent_id == row.agent_id
    assert agents.get_agent(c, row.agent_id).lifecycle == "active"


@pytest.mark.usefixtures("office")
def test_remote_id_of_a_removed_agent_may_be_used_by_another_agent(c: sa.Connection) -> None:
    agent_changes.remove_agent(c, worker(c, remote_id="main").agent_id, writing=WRITING)
    assert worker(c, "other", remote_id="main").agent_id == "agent-other"


@pytest.mark.usefixtures("office")
def test_name_of_a_removed_agent_may_be_reused_between_gateway_and_device(c: sa.Connection) -> None:
    agent_changes.remove_agent(c, worker(c, "mail", id="first").agent_id, writing=WRITING)
    made = make(c)
    assert (made.id, made.executor, made.gateway) == ("a-1", "device", None)
    agent_changes.remove_agent(c, made.id, writing=WRITING)
    again = worker(c, "mail", id="third")
    assert again.agent_id == "third"
    agent_changes.remove_agent(c, again.agent_id, writing=WRITING)
    declare(c, DeclaredAgent(name="mail", device_name="laptop", paths=("mail",)))
    declared = some(agents.find_agent_by_name(c, "mail"))
    assert (declared.id, declared.executor) == ("agent-mail", "device")


@pytest.mark.usefixtures("office")
def test_run_of_a_gateway_agent_is_refused(c: sa.Connection) -> None:
    row = agents.get_agent(c, worker(c).agent_id)
    with pytest.raises(LivesAtGateway, match="agent 'notes' lives at gateway 'office'"):
        make_run(c, agent=row)
    assert runs.list_runs(c, limit=10) == []


@pytest.mark.usefixtures("office")
def test_declaration_of_a_gateway_agent_can_be_edited(c: sa.Connection) -> None:
    row = agents.get_agent(c, worker(c).agent_id)
    said = declared_agents.declaration_of(c, row)
    changed = DeclaredAgent(
        **{name: getattr(said, name) for name in said.__struct_fields__} | {"name": "desk"}
    )
    done = agent_changes.edit_agent(c, row.id, changed, fresh_schedule_id="s", writing=WRITING)
    assert (done.name, done.executor, done.gateway, done.device_id) == ("desk", "gateway", "office", None)


# --- what is seen of them ---


def test_gateway_agent_is_saturated_while_the_turn_runs(c: sa.Connection, row: GatewayAgentRow) -> None:
    id = row.agent_id
    see(c, row, Seen(agent_id=id, is_online=True, why="gateway office has it"))
    see(
        c,
        row,
        Seen(agent_id=id, turns=1, because="turn k began"),
        Seen(agent_id=id, turns=1, because="turn k began"),
        Seen(agent_id=id, turns=0, because="turn k is over", has_answered=True),
    )
    assert moves(c, row) == ["connectivity: online", "activity: saturated", "activity: idle"]
    last = stored.agent_history(c, id)[-1]
    assert (last.actor, last.reason) == ("gateway:office", "turn k is over")


def test_recount_of_runs_leaves_gateway_turns_unchanged(c: sa.Connection, row: GatewayAgentRow) -> None:
    see(c, row, Seen(agent_id=row.agent_id, turns=1, because="turn k began"))
    assert state_moves.recount(c, at=AT, actor="hub") == []
    assert agent_states.find_state(c, row.agent_id).activity is Activity.SATURATED


def test_gateway_agent_without_quota_is_exhausted_until_the_next_answer(
    c: sa.Connection, row: GatewayAgentRow
) -> None:
    see(c, row, Seen(agent_id=row.agent_id, exhausted=Exhaustion(ExhaustReason.RATE_LIMIT, AT + 2_748)))
    state = agent_states.find_state(c, row.agent_id)
    assert (state.availability, state.exhaust_reason, state.recovery_at) == (
        "exhausted",
        "rate_limit",
        AT + 2_748,
    )
    see(c, row, Seen(agent_id=row.agent_id, turns=0, has_answered=True), at=AT + 3_000)
    assert agent_states.find_state(c, row.agent_id).availability == "available"
    assert stored.agent_history(c, row.agent_id)[-1].reason == "a run of it ended well"


def test_gateway_agent_without_credit_is_probed_after_ten_minutes(
    c: sa.Connection, row: GatewayAgentRow
) -> None:
    see(c, row, Seen(agent_id=row.agent_id, exhausted=Exhaustion(ExhaustReason.BILLING)))
    state = agent_states.find_state(c, row.agent_id)
    assert (state.exhaust_reason, state.recovery_at, state.probe_at) == ("billing", None, AT + 10 * MINUTE_MS)
    assert exhaustion.recover_due(c, AT + 10 * MINUTE_MS, actor="hub") == [row.agent_id]


def test_gateway_report_does_not_clear_an_error_set_by_a_person(
    c: sa.Connection, row: GatewayAgentRow
) -> None:
    state_moves.move(c, row.agent_id, "health", "error", at=AT, actor="anna", reason="answers nonsense")
    see(c, row, Seen(agent_id=row.agent_id, is_known=True))
    assert agent_states.find_state(c, row.agent_id).health_reason == "answers nonsense"


def test_gateway_report_on_a_terminated_agent_is_ignored(c: sa.Connection, row: GatewayAgentRow) -> None:
    termination.terminate(c, row.agent_id, at=AT, actor="anna")
    before = moves(c, row)
    see(c, row, Seen(agent_id=row.agent_id, is_online=True, turns=1))
    assert moves(c, row) == before


@pytest.mark.usefixtures("office")
def test_the_last_heartbeat_is_known_while_the_agent_is_online(c: sa.Connection) -> None:
    here, away = worker(c), worker(c, "other")
    see(c, here, Seen(agent_id=here.agent_id, is_online=True))
    gateways.note_heartbeat(c, here.gateway_id, at=AT + 7)
    assert agent_states.find_state(c, here.agent_id).last_heartbeat_at == AT + 7
    assert agent_states.find_state(c, away.agent_id).last_heartbeat_at is None


GARDEN, OFFICE_ID = BoardId("board-garden"), GatewayId("gw-office")
FIRST, SECOND = BootId("boot-1"), BootId("boot-2")


def board(c: sa.Connection, gateway_id: GatewayId | None = OFFICE_ID) -> None:
    put(c, OFFICE)
    create_board(c, id=GARDEN, user_id=ME, name="garden", gateway_id=gateway_id, at=AT, actor="anna")


def ensure(c: sa.Connection, id: str = "agent-lead", **limits: Any) -> Led:
    return leads.ensure_lead(c, GARDEN, fresh_id=AgentId(id), at=AT, actor="anna", **limits)


def home(c: sa.Connection, agent_id: str = "agent-lead") -> GatewayAgentRow:
    return some(gateway_agents.find_gateway_agent(c, AgentId(agent_id)))


def shared(boot: BootId) -> Hand:
    return Hand(boot, is_alone=False)


def claim(c: sa.Connection, hand: Hand) -> bool:
    return gateway_creations.claim(c, AgentId("agent-lead"), hand, at=AT)


def made(c: sa.Connection, boot: BootId = FIRST) -> bool:
    return gateway_creations.made(c, AgentId("agent-lead"), boot, at=AT, activity_id=f"a-{boot}")


def not_made(c: sa.Connection, *, is_final: bool) -> None:
    gateway_creations.not_made(
        c,
        AgentId("agent-lead"),
        FIRST,
        problem="no",
        is_final=is_final,
        at=AT,
        activity_id=f"not-{is_final}",
    )


@pytest.fixture
def making_office(c: sa.Connection) -> None:
    """A board of a gateway, without a lead."""
    board(c)


@pytest.fixture
def led(c: sa.Connection, making_office: None) -> None:
    """A board with a lead that is not made yet."""
    ensure(c)


@pytest.mark.usefixtures("making_office")
def test_ensured_lead_is_created_as_board_lead_with_audit_entries(c: sa.Connection) -> None:
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


@pytest.mark.usefixtures("making_office")
def test_second_request_for_a_board_lead_gets_the_same_lead(c: sa.Connection) -> None:
    first = ensure(c)
    second = ensure(c, "agent-other")
    assert (second.lead.agent_id, second.is_created) == (first.lead.agent_id, False)


@pytest.mark.usefixtures("making_office")
def test_lead_with_a_taken_name_gets_a_numbered_name(c: sa.Connection) -> None:
    worker(c, "garden-lead")
    assert ensure(c).lead.name == "garden-lead-2"


def test_ensure_lead_without_a_gateway_is_refused_with_a_reason(c: sa.Connection) -> None:
    board(c, None)
    with pytest.raises(CodedError, check=coded(ErrorCode.NO_LEAD)):
        ensure(c)
    edit_board(c, GARDEN, gateway_id=OFFICE_ID, at=AT, actor="anna")
    put(c)
    with pytest.raises(NoGateway):
        ensure(c)
    assert lead_of(c, GARDEN) is None


@pytest.mark.usefixtures("making_office")
def test_lead_counts_against_the_agent_limits_of_user_and_board(c: sa.Connection) -> None:
    with c.begin_nested() as undone:
        with pytest.raises(LimitReached):
            ensure(c, limits=AgentLimits(agents_per_user=1))
        undone.rollback()
    worker(c)
    boards.add_member(c, GARDEN, AgentId("agent-notes"), at=AT, actor="anna")
    with pytest.raises(TooManyOfBoards):
        ensure(c, board_limits=BoardLimits(members_per_board=1))


@pytest.mark.usefixtures("led")
def test_gateway_agent_is_claimed_by_a_single_hub_at_a_time(c: sa.Connection) -> None:
    for boot in (FIRST, SECOND):
        leases.beat(c, NodeId(boot), boot, ttl_ms=60_000)
    assert claim(c, shared(FIRST)) and not claim(c, shared(SECOND)) and claim(c, shared(FIRST))
    assert not made(c, SECOND) and made(c)
    assert (home(c).state, home(c).made_at) == ("ready", AT)
    assert not claim(c, shared(SECOND))
    assert [one.event_type for one in audit.list_activity(c)] == ["agent.made"]


@pytest.mark.usefixtures("led")
def test_gateway_agent_claimed_by_a_dead_hub_may_be_claimed_by_another(c: sa.Connection) -> None:
    leases.beat(c, NodeId(SECOND), SECOND, ttl_ms=60_000)
    assert claim(c, shared(FIRST))  # which has no lease that lasts
    assert claim(c, shared(SECOND)) and not made(c, FIRST)


@pytest.mark.usefixtures("led")
def test_agent_refused_by_the_gateway_is_retried_only_on_request(c: sa.Connection) -> None:
    alone = Hand(FIRST, is_alone=True)
    assert claim(c, alone)
    not_made(c, is_final=False)
    assert (home(c).state, home(c).problem) == ("creating", "no")
    assert {row.agent_name for row in gateway_creations.list_unmade(c)} == {"office-main", "garden-lead"}
    assert claim(c, alone)
    not_made(c, is_final=True)
    assert home(c).state == "failed"
    assert [row.agent_name for row in gateway_creations.list_unmade(c, OFFICE_ID)] == ["office-main"]
    again = gateway_creations.list_unmade(c, OFFICE_ID, with_failed=True)
    assert {row.agent_name for row in again} == {"office-main", "garden-lead"}
    assert [one.event_type for one in audit.list_activity(c)] == ["agent.not_made"]


@pytest.mark.usefixtures("led")
def test_agent_lost_by_the_gateway_is_to_be_created_again(c: sa.Connection) -> None:
    claim(c, Hand(FIRST, is_alone=True))
    made(c)
    assert gateway_creations.note_missing(c, AgentId("agent-lead"), problem="lost", at=AT)
    assert (home(c).state, home(c).made_at) == ("wanted", None)
    assert not gateway_creations.note_missing(c, AgentId("agent-lead"), problem="lost", at=AT)
