"""Gateways of hub.toml as rows (no address, no token); states, creation of agents; names of boards' leads.

The file decides: a gateway that it names is created or revived as the same row. A gateway that it no longer
names is archived with its main agent. The agents that live at it (``storage.coordination.gateway_agents``)
stay listed, and are offline.

States of agents are written as their gateway reports them, if they changed. As with heartbeats
(``storage.effects.status_writes``), a gateway revokes only its own reports: an error that a person or a
template caused stays. Reports about archived and terminated agents are ignored, and those of a gateway that
is no longer declared: it was asked before it was archived.

Creation of agents at their gateways, and of the leads that boards need. A new lead has the name of its board,
cut, with ``-lead`` behind.

A hub claims an agent before it creates it, so only one of several hubs does. Claims of a dead hub are free
for the others. No row is locked while the gateway is called.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Availability, Axis, Connectivity, ExhaustReason, Health
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, BootId, GatewayId, UserId
from storage import audit
from storage.agents import agent_states
from storage.agents import agents as all_agents
from storage.agents.agents import free_name, get_agent
from storage.agents.declared_agents import LOCK_USER, AgentLimits
from storage.agents.heartbeat_states import LAST_MOVE
from storage.connectors.connectors import Reconciled
from storage.coordination import boards, gateway_agents
from storage.coordination.boards import DEFAULT_LIMITS, BoardLimits, MemberRow, get_board, lock_board
from storage.coordination.gateway_agents import (
    CREATING,
    FAILED,
    GATEWAY_AGENTS,
    LEAD,
    READY,
    REQUESTED,
    GatewayAgentRow,
    find_by_remote_id,
    find_gateway_agent,
    lead_remote_id,
    make_gateway_agent,
)
from storage.coordination.messages import Hand
from storage.devices import devices
from storage.kernel.columns import Int, Key, columns_of, fill, fill_each, fill_page, filled, paged, sparing
from storage.leases import is_alive
from storage.schema import agent_states as states
from storage.schema import agents, gateways
from storage.schema import gateway_agents as agent_rows
from storage.schema import users as user_table

ACTOR: Final = "hub.toml"
IDS_PER_GATEWAY: Final = 3  # fresh ids for the gateway, its main agent, its user
MAIN_WORD: Final = "main"  # suffix of a main agent's name, after its gateway's name


class UnknownGateway(HubError):
    """Error: no declared gateway has that name or id."""

    code = ErrorCode.UNKNOWN_GATEWAY


class DeclaredGateway(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a gateway in hub.toml, without its address and token.

    Attributes:
        main_agent: id of an existing main agent there; ``None``: the hub creates one.
    """

    name: str
    user_name: str
    main_agent: str | None = None


class GatewayRow(msgspec.Struct, frozen=True, kw_only=True):
    """Gateway. *archived_at*: time at which it was no longer declared."""

    id: GatewayId
    user_id: UserId
    user_name: str
    name: str
    created_at: int
    archived_at: int | None = None


GATEWAYS = sa.select(
    *columns_of(GatewayRow, gateways, user_name=user_table.c.name, archived_at=gateways.c.deleted_at)
).join_from(gateways, user_table)
GATEWAY = GATEWAYS.where(gateways.c.id == sa.bindparam("gateway"))
GATEWAY_NAMED = GATEWAYS.where(gateways.c.name == sa.bindparam("named"))
PRESENT_GATEWAYS = GATEWAYS.where(gateways.c.deleted_at.is_(None))
SET_ASIDE = (
    sa.update(gateways)
    .where(gateways.c.id == sa.bindparam("gateway"))
    .values(name=sa.bindparam("called"), updated_at=sa.bindparam("now"))
)


def list_gateways(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[GatewayRow]:
    """Return the declared gateways, or those of a user, by name."""
    query = paged(PRESENT_GATEWAYS, gateways.c.name, limit=limit, after=after)
    if user_id is not None:
        query = query.where(gateways.c.user_id == user_id)
    return fill_page(c, GatewayRow, query, limit)


def find_gateway(c: sa.Connection, id: GatewayId) -> GatewayRow | None:
    """Return the gateway, archived or not."""
    return filled(GatewayRow, c.execute(GATEWAY, {"gateway": id}).one_or_none())


def get_gateway(c: sa.Connection, given: str, *, user_id: UserId | None = None) -> GatewayRow:
    """Return the declared gateway with that name or id.

    Args:
        user_id: its required owner; gateways of other users do not match.

    Raises:
        UnknownGateway: no gateway matches.
    """
    row = c.execute(GATEWAY_NAMED, {"named": given}).one_or_none()
    row = row or c.execute(GATEWAY, {"gateway": given}).one_or_none()
    if row is None or row.archived_at is not None or user_id not in (None, row.user_id):
        raise UnknownGateway(f"there is no gateway {given!r}")
    return fill(GatewayRow, row)


def reconcile_gateways(
    c: sa.Connection,
    *,
    owner_id: UserId,
    declared: Sequence[DeclaredGateway],
    at: int,
    fresh_ids: Sequence[str],
    is_elsewhere: Callable[[str], bool] = lambda name: False,
) -> Reconciled:
    """Make the gateways match the declarations, each with its main agent.

    Users named for the first time are created. A gateway declared for another user is another gateway. Every
    change has an entry in the audit log.

    Args:
        owner_id: user whose lock serializes hubs that start at once with different files.
        fresh_ids: ``IDS_PER_GATEWAY`` for each declared gateway; not all are used.
        is_elsewhere: returns True for a gateway that stays although it is not declared.

    Raises:
        RemoteIdTaken: another agent has the id of a declared main agent; nothing was written.
    """
    c.execute(LOCK_USER, {"user": owner_id})
    rows = c.execute(GATEWAYS).all()
    known = {row.name: row for row in fill_each(GatewayRow, rows)}
    broken = {row.name for row in rows} - known.keys()  # stay as they are until they are corrected
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, one in enumerate(declared):
        own_id, main_id, fresh_user = fresh_ids[position * IDS_PER_GATEWAY :][:IDS_PER_GATEWAY]
        whose = devices.ensure_user(c, UserId(fresh_user), one.user_name, at)
        if one.name in broken:
            continue
        old = known.pop(one.name, None)
        if old is not None and old.user_id != whose:
            _archive(c, old, at)
            c.execute(SET_ASIDE, {"gateway": old.id, "called": f"{old.name}~{old.id}", "now": at})
            old = None
        if old is None:
            about = {"id": own_id, "user_id": whose, "name": one.name, "created_at": at, "updated_at": at}
            c.execute(sa.insert(gateways), about)
            row = fill(GatewayRow, c.execute(GATEWAY, {"gateway": own_id}).one())
            created.append(row.name)
            _record(c, row, "gateway.created", at)
        else:
            row = old
            if old.archived_at is not None:
                c.execute(
                    sa.update(gateways).where(gateways.c.id == old.id).values(deleted_at=None, updated_at=at)
                )
                revived.append(row.name)
                _record(c, row, "gateway.revived", at)
        main, is_changed = gateway_agents.put_main_agent(
            c,
            gateway_id=row.id,
            user_id=row.user_id,
            preferred=f"{row.name}-{MAIN_WORD}",
            remote_id=one.main_agent,
            fresh_id=AgentId(main_id),
            at=at,
            actor=ACTOR,
        )
        if is_changed and row.name not in (*created, *revived):
            updated.append(row.name)
            _record(c, row, "gateway.changed", at, main_agent=main.remote_id)
    undeclared = [row for row in known.values() if row.archived_at is None and not is_elsewhere(row.name)]
    for row in undeclared:
        with sparing(c):
            _archive(c, row, at)
    names = tuple(sorted(row.name for row in undeclared))
    return Reconciled(tuple(created), tuple(updated), tuple(revived), names)


def check_main_agents(c: sa.Connection, declared: Sequence[DeclaredGateway]) -> None:
    """Check whether ``reconcile_gateways`` would refuse a main agent; nothing is written.

    Raises:
        RemoteIdTaken: another agent has the id of a declared main agent.
    """
    for one in declared:
        row = c.execute(GATEWAY_NAMED, {"named": one.name}).one_or_none()
        if row is not None and one.main_agent is not None:
            gateway_agents.check_main_agent(c, GatewayId(row.id), one.main_agent)


def _archive(c: sa.Connection, row: GatewayRow, at: int) -> None:
    """Archive a gateway that is no longer declared, with its main agent; its other agents are offline."""
    if row.archived_at is not None:
        return
    c.execute(sa.update(gateways).where(gateways.c.id == row.id).values(deleted_at=at, updated_at=at))
    gateway_agents.let_go(c, row.id, at=at, actor=ACTOR, reason="its gateway is no longer declared")
    _record(c, row, "gateway.archived", at)


def _record(c: sa.Connection, row: GatewayRow, event: str, at: int, **detail: str) -> None:
    audit.append(c, at=at, actor=ACTOR, event=event, subject=row.id, detail={"name": row.name} | detail)


ENDED_WELL: Final = "a run of it ended well"


class Exhaustion(msgspec.Struct, frozen=True):
    """Exhaustion of an agent's model. *recovery_at*: epoch milliseconds; ``None``: unknown."""

    cause: ExhaustReason
    recovery_at: int | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Observation of an agent at a gateway. ``None`` values were not observed.

    Attributes:
        is_online: the agent can be reached there; *why*: reason for the history.
        turns: number of its running turns; *because*: cause of the change.
        is_known: the gateway has the agent; *problem*: description if not.
        exhausted: its quota is used up.
        has_answered: a turn of it ended well, so it has quota.
    """

    agent_id: AgentId
    is_online: bool | None = None
    why: str | None = None
    turns: int | None = None
    because: str = ""
    is_known: bool | None = None
    problem: str | None = None
    exhausted: Exhaustion | None = None
    has_answered: bool = False


_reported_states = (
    sa.select(
        states.c.agent_id,
        states.c.availability,
        states.c.health,
        states.c.health_reason,
        states.c.exhaust_count,
    )
    .join_from(states, agents, agents.c.id == states.c.agent_id)
    .where(
        states.c.agent_id == sa.bindparam("agent"),
        agents.c.deleted_at.is_(None),
        sa.text("agents.executor = 'gateway'"),
        states.c.lifecycle != "terminated",
    )
)
REPORTED_STATE = _reported_states.with_for_update(of=states)
# Read once the state is locked: who archives the gateway takes its agents offline in the same transaction.
IS_DECLARED = (
    sa.select(gateways.c.id)
    .join_from(agent_rows, gateways)
    .where(agent_rows.c.agent_id == sa.bindparam("agent"), gateways.c.deleted_at.is_(None))
)


def record_observations(c: sa.Connection, gateway: str, seen: Sequence[Seen], *, at: int) -> None:
    """Write all changes that these observations contain. Writing them again changes nothing.

    Args:
        gateway: name of the gateway, for the history: ``gateway:NAME``.
    """
    actor = f"gateway:{gateway}"
    for one in sorted(seen, key=lambda one: one.agent_id):  # all writers lock agents in this order
        with sparing(c):
            _write_seen(c, one, at, actor)


def _write_seen(c: sa.Connection, one: Seen, at: int, actor: str) -> None:
    row = c.execute(REPORTED_STATE, {"agent": one.agent_id}).one_or_none()
    if row is None or c.execute(IS_DECLARED, {"agent": one.agent_id}).one_or_none() is None:
        return
    if one.is_known is not None:
        _write_health(c, row, one, at, actor)
    if one.is_online is not None:
        to = Connectivity.ONLINE if one.is_online else Connectivity.OFFLINE
        all_agents.move(c, one.agent_id, Axis.CONNECTIVITY, to, at=at, actor=actor, reason=one.why)
    if one.turns is not None:
        all_agents.count_turns(c, one.agent_id, one.turns, because=one.because, at=at, actor=actor)
    if one.exhausted is not None:
        agent_states.exhaust(
            c,
            one.agent_id,
            cause=one.exhausted.cause,
            recovery_at=one.exhausted.recovery_at,
            at=at,
            actor=actor,
        )
    elif one.has_answered:
        if row.availability == Availability.EXHAUSTED:
            free = Availability.AVAILABLE
            all_agents.move(c, one.agent_id, Axis.AVAILABILITY, free, at=at, actor=actor, reason=ENDED_WELL)
        if row.exhaust_count:
            agent_states.forgive(c, one.agent_id, at)


def note_heartbeat(c: sa.Connection, gateway_id: GatewayId, *, at: int) -> None:
    """Update the last heartbeat of the gateway's online agents."""
    c.execute(
        sa.update(states)
        .where(
            states.c.agent_id.in_(
                sa.select(agent_rows.c.agent_id).where(agent_rows.c.gateway_id == gateway_id)
            ),
            states.c.connectivity == "online",
            sa.func.coalesce(states.c.last_heartbeat_at, 0) < sa.literal(at, Int),
        )
        .values(last_heartbeat_at=at)
    )


def _write_health(c: sa.Connection, row: Any, seen: Seen, at: int, actor: str) -> None:
    agent_id = seen.agent_id
    if not seen.is_known:
        all_agents.move(c, agent_id, Axis.HEALTH, Health.ERROR, at=at, actor=actor, reason=seen.problem)
    elif row.health == Health.ERROR:
        last = c.execute(LAST_MOVE, {"agent": agent_id, "on_axis": Axis.HEALTH}).one_or_none()
        if last is not None and (last.actor, last.reason) == (actor, row.health_reason):
            back = "it is there again"
            all_agents.move(c, agent_id, Axis.HEALTH, Health.OK, at=at, actor=actor, reason=back)


NAME_CHARACTERS: Final = 58  # of a board's name in its lead's name: with "-lead" at most 64
MOST: Final = 500  # agents in one query


class NoGateway(HubError):
    """Error: the board's gateway is not declared; nothing was written."""

    code = ErrorCode.NO_GATEWAY


class Led(NamedTuple):
    """Lead of a board; *is_created*: the call created it."""

    lead: MemberRow
    is_created: bool


_agent: sa.BindParameter[str] = sa.bindparam("agent")
_boot: sa.BindParameter[str] = sa.bindparam("boot")
_now: sa.BindParameter[int] = sa.bindparam("now")
_state: dict[str, sa.ColumnElement[str]] = {
    state: sa.literal_column(f"'{state}'") for state in (REQUESTED, CREATING, READY, FAILED)
}
CLAIM = (
    sa.update(agent_rows)
    .where(
        agent_rows.c.agent_id == _agent,
        sa.or_(
            agent_rows.c.state.in_((_state[REQUESTED], _state[FAILED])),
            sa.and_(
                agent_rows.c.state == _state[CREATING],
                sa.or_(
                    agent_rows.c.lease_boot_id.is_(None),
                    agent_rows.c.lease_boot_id == _boot,
                    sa.bindparam("is_alone", type_=sa.Integer) == 1,
                    sa.not_(is_alive(agent_rows.c.lease_boot_id)),
                ),
            ),
        ),
    )
    .values(state=CREATING, lease_boot_id=_boot, updated_at=_now)
)
UNMADE = (
    GATEWAY_AGENTS.where(
        agents.c.deleted_at.is_(None),
        gateways.c.deleted_at.is_(None),
        agent_rows.c.state.in_(sa.bindparam("states", expanding=True)),
    )
    .order_by(agent_rows.c.created_at, agent_rows.c.agent_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
# --- making ---


def claim(c: sa.Connection, agent_id: AgentId, hand: Hand, *, at: int) -> bool:
    """Claim an agent to create it at its gateway. Return False if it exists or another hub creates it."""
    given = {"agent": agent_id, "boot": hand.boot_id, "is_alone": int(hand.is_alone), "now": at}
    return c.execute(CLAIM, given).rowcount == 1


def missing(c: sa.Connection, agent_id: AgentId, boot_id: BootId) -> bool:
    """Record that the gateway lacks the agent, so that its first texts must be written."""
    return c.execute(_if_claimed(agent_id, boot_id).values(made_at=None)).rowcount == 1


def _if_claimed(agent_id: AgentId, boot_id: BootId) -> sa.Update:
    """Return an update of the agent at its gateway, if this process creates it."""
    return sa.update(agent_rows).where(
        agent_rows.c.agent_id == agent_id,
        agent_rows.c.state == _state[CREATING],
        agent_rows.c.lease_boot_id == boot_id,
    )


def made(c: sa.Connection, agent_id: AgentId, boot_id: BootId, *, at: int, activity_id: str) -> bool:
    """Record that the agent and its texts exist. Return False if another hub claimed it meanwhile."""
    ready = _if_claimed(agent_id, boot_id).values(
        state=READY,
        problem=None,
        lease_boot_id=None,
        made_at=sa.func.coalesce(agent_rows.c.made_at, sa.literal(at, Int)),
        updated_at=at,
    )
    if c.execute(ready).rowcount == 0:
        return False
    row = _present(c, agent_id)
    _record_agent(
        c,
        row,
        "agent.made",
        f"Agent {row.agent_name} is ready at gateway {row.gateway_name}.",
        at,
        activity_id,
    )
    return True


def not_made(
    c: sa.Connection,
    agent_id: AgentId,
    boot_id: BootId,
    *,
    problem: str,
    is_final: bool,
    at: int,
    activity_id: str,
) -> None:
    """Record that the agent could not be created.

    Args:
        is_final: the gateway refused. The hub retries on request or when the gateway reconnects; otherwise it
            retries by itself.
    """
    state = FAILED if is_final else CREATING
    released = _if_claimed(agent_id, boot_id).values(
        state=state, problem=problem, lease_boot_id=None, updated_at=at
    )
    if c.execute(released).rowcount and is_final:
        row = _present(c, agent_id)
        words = f"Agent {row.agent_name} could not be made at gateway {row.gateway_name}: {problem}"
        _record_agent(c, row, "agent.not_made", words, at, activity_id, level="warning")


def note_missing(c: sa.Connection, agent_id: AgentId, *, problem: str, at: int) -> bool:
    """Mark a ready agent that its gateway lost for creation. Return False if it was not ready."""
    ready = sa.update(agent_rows).where(
        agent_rows.c.agent_id == agent_id, agent_rows.c.state == _state[READY]
    )
    missing = ready.values(state=REQUESTED, problem=problem, made_at=None, updated_at=at)
    return c.execute(missing).rowcount == 1


def list_unmade(
    c: sa.Connection,
    gateway_id: GatewayId | None = None,
    *,
    with_failed: bool = False,
    most: int = MOST,
) -> Sequence[GatewayAgentRow]:
    """Return agents that are yet to be created at their gateway, or at any; oldest first.

    Args:
        with_failed: include agents that a gateway refused.
    """
    states = [REQUESTED, CREATING, *([FAILED] if with_failed else [])]
    query = UNMADE if gateway_id is None else UNMADE.where(agent_rows.c.gateway_id == gateway_id)
    return fill_each(GatewayAgentRow, c.execute(query, {"states": states, "most": most}))


# --- leads ---


def ensure_lead(
    c: sa.Connection,
    board_id: BoardId,
    *,
    fresh_id: AgentId,
    limits: AgentLimits | None = None,
    board_limits: BoardLimits = DEFAULT_LIMITS,
    at: int,
    actor: str,
) -> Led:
    """Return the board's lead. Without one, insert a lead at its gateway, yet to be created there.

    Concurrent calls get the same lead. A lead that the hub created moves with its board to another gateway.

    Raises:
        UnknownBoard: no board has the id.
        CodedError (NO_LEAD): the board has neither lead nor gateway.
        NoGateway: its gateway is no longer declared.
        LimitReached, TooManyOfBoards: a limit is reached.
        In each case nothing was written.
    """
    lock_board(c, board_id)
    board, lead = get_board(c, board_id), boards.lead_of(c, board_id)
    if lead is not None:
        _follow(c, board_id, board.gateway_id, lead, at=at, actor=actor)
        return Led(boards.lead_of(c, board_id) or lead, False)
    if board.gateway_id is None:
        raise CodedError(
            ErrorCode.NO_LEAD, f"board {board.name} has no lead, and no gateway at which one could be made"
        )
    gateway = find_gateway(c, board.gateway_id)
    if gateway is None or gateway.archived_at is not None:
        raise NoGateway(f"the gateway of board {board.name} is not in hub.toml any more")
    remote_id = lead_remote_id(board_id)
    known = find_by_remote_id(c, board.gateway_id, remote_id)
    if known is not None and get_agent(c, known.agent_id).archived_at is None:
        agent_id, is_created = known.agent_id, False  # it was taken off the board
    else:
        preferred = f"{board.name[:NAME_CHARACTERS]}-lead"
        name = free_name(c, board.user_id, preferred) if known is None else known.agent_name
        row = make_gateway_agent(
            c,
            gateway_id=board.gateway_id,
            user_id=board.user_id,
            name=name,
            role=LEAD,
            remote_id=remote_id,
            description=f"Lead of board {board.name}.",
            fresh_id=fresh_id,
            at=at,
            actor=actor,
            limits=limits,
        )
        agent_id, is_created = row.agent_id, True
        detail: audit.Detail = {"agent": row.agent_name, "board": board_id, "remote_id": remote_id}
        audit.append(c, at=at, actor=actor, event="agent.created", subject=agent_id, detail=detail)
    lead = boards.add_member(c, board_id, agent_id, is_lead=True, limits=board_limits, at=at, actor=actor)
    return Led(lead, is_created)


def _follow(
    c: sa.Connection,
    board_id: BoardId,
    gateway_id: GatewayId | None,
    lead: MemberRow,
    *,
    at: int,
    actor: str,
) -> None:
    """Move a lead that the hub created for the board to the board's gateway."""
    home = find_gateway_agent(c, lead.agent_id)
    if home is None or gateway_id in (None, home.gateway_id) or home.remote_id != lead_remote_id(board_id):
        return
    gateway = find_gateway(c, gateway_id)
    if gateway is None or gateway.archived_at is not None:
        return
    if find_by_remote_id(c, gateway_id, home.remote_id) is not None:
        return  # another agent has the id there, and keeps it
    fresh = {"state": REQUESTED, "problem": None, "made_at": None, "lease_boot_id": None, "updated_at": at}
    moved = sa.update(agent_rows).where(agent_rows.c.agent_id == lead.agent_id)
    c.execute(moved.values(fresh | {"gateway_id": gateway_id}))
    detail: audit.Detail = {"board": board_id, "before": home.gateway_id, "gateway": gateway_id}
    audit.append(c, at=at, actor=actor, event="agent.gateway_changed", subject=lead.agent_id, detail=detail)


def _present(c: sa.Connection, agent_id: AgentId) -> GatewayAgentRow:
    row = find_gateway_agent(c, agent_id)
    assert row is not None, "it was moved in this transaction"
    return row


def _record_agent(
    c: sa.Connection,
    row: GatewayAgentRow,
    event: str,
    words: str,
    at: int,
    activity_id: str,
    *,
    level: str = "info",
) -> None:
    audit.record(
        c,
        id=activity_id,
        at=at,
        event_type=event,
        message=words,
        actor="hub",
        agent_id=row.agent_id,
        level=level,
        data={"gateway": row.gateway_name, "remote_id": row.remote_id, "role": row.role},
    )
