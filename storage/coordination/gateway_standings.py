"""States of a gateway's agents as the gateway reports them, written only if they changed.

As with heartbeats (``storage.agents.heartbeats``), a gateway revokes only its own reports: an error that a
person or a template caused stays. Reports about archived and terminated agents are ignored.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, GatewayId
from protocol.standing import Availability, Axis, Connectivity, ExhaustReason, Health
from storage.agents import agent_activity, agent_states
from storage.agents.heartbeats import LAST_MOVE
from storage.kernel.columns import Int
from storage.schema import agent_states as states
from storage.schema import agents, gateway_agents

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


_STANDS = (
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
STANDS = _STANDS.with_for_update(of=states)
HEARD = (
    sa.update(states)
    .where(
        states.c.agent_id.in_(
            sa.select(gateway_agents.c.agent_id).where(gateway_agents.c.gateway_id == sa.bindparam("gateway"))
        ),
        states.c.connectivity == "online",
        sa.func.coalesce(states.c.last_heartbeat_at, 0) < sa.bindparam("heard", type_=Int),
    )
    .values(last_heartbeat_at=sa.bindparam("heard", type_=Int))
)


def record(c: sa.Connection, gateway: str, seen: Sequence[Seen], *, at: int) -> None:
    """Write all changes that these observations contain. Writing them again changes nothing.

    Args:
        gateway: name of the gateway, for the history: ``gateway:NAME``.
    """
    actor = f"gateway:{gateway}"
    for one in sorted(seen, key=lambda one: one.agent_id):  # all writers lock agents in this order
        row = c.execute(STANDS, {"agent": one.agent_id}).one_or_none()
        if row is None:
            continue
        if one.is_known is not None:
            _say_health(c, row, one, at, actor)
        if one.is_online is not None:
            to = Connectivity.ONLINE if one.is_online else Connectivity.OFFLINE
            agent_states.move(c, one.agent_id, Axis.CONNECTIVITY, to, at=at, actor=actor, reason=one.why)
        if one.turns is not None:
            agent_activity.count_turns(c, one.agent_id, one.turns, because=one.because, at=at, actor=actor)
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
                agent_states.move(
                    c, one.agent_id, Axis.AVAILABILITY, free, at=at, actor=actor, reason=ENDED_WELL
                )
            if row.exhaust_count:
                agent_states.forgive(c, one.agent_id, at)


def heard(c: sa.Connection, gateway_id: GatewayId, *, at: int) -> None:
    """Update the last heartbeat of the gateway's online agents."""
    c.execute(HEARD, {"gateway": gateway_id, "heard": at})


def _say_health(c: sa.Connection, row: Any, seen: Seen, at: int, actor: str) -> None:
    agent_id = seen.agent_id
    if not seen.is_known:
        agent_states.move(c, agent_id, Axis.HEALTH, Health.ERROR, at=at, actor=actor, reason=seen.problem)
    elif row.health == Health.ERROR:
        last = c.execute(LAST_MOVE, {"agent": agent_id, "on_axis": Axis.HEALTH}).one_or_none()
        if last is not None and (last.actor, last.reason) == (actor, row.health_reason):
            back = "it is there again"
            agent_states.move(c, agent_id, Axis.HEALTH, Health.OK, at=at, actor=actor, reason=back)
