"""Status of agents as reported by their gateway, and which statuses such a report may undo.

They are written if they changed. As with heartbeats (``storage.agents.heartbeat_states``), a gateway revokes
only its own reports: an error that a person or a template caused stays. Reports about archived and terminated
agents are ignored, and those of a gateway that is no longer declared: it was asked before it was archived.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Availability, Axis, Connectivity, ExhaustReason, Health
from protocol.ids import AgentId
from storage.agents import exhaustion, state_moves
from storage.agents.heartbeat_states import LAST_MOVE
from storage.kernel.columns import isolating_broken_row
from storage.schema import agent_states as states
from storage.schema import agents, gateways
from storage.schema import gateway_agents as agent_rows

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
    for observation in sorted(
        seen, key=lambda observation: observation.agent_id
    ):  # all writers lock agents in this order
        with isolating_broken_row(c):
            _write_seen(c, observation, at, actor)


def _write_seen(c: sa.Connection, one: Seen, at: int, actor: str) -> None:
    row = c.execute(REPORTED_STATE, {"agent": one.agent_id}).one_or_none()
    if row is None or c.execute(IS_DECLARED, {"agent": one.agent_id}).one_or_none() is None:
        return
    if one.is_known is not None:
        _write_health(c, row, one, at, actor)
    if one.is_online is not None:
        to = Connectivity.ONLINE if one.is_online else Connectivity.OFFLINE
        state_moves.move(c, one.agent_id, Axis.CONNECTIVITY, to, at=at, actor=actor, reason=one.why)
    if one.turns is not None:
        state_moves.count_turns(c, one.agent_id, one.turns, because=one.because, at=at, actor=actor)
    if one.exhausted is not None:
        exhaustion.exhaust(
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
            state_moves.move(c, one.agent_id, Axis.AVAILABILITY, free, at=at, actor=actor, reason=ENDED_WELL)
        if row.exhaust_count:
            exhaustion.forgive(c, one.agent_id, at)


def _write_health(c: sa.Connection, row: Any, seen: Seen, at: int, actor: str) -> None:
    agent_id = seen.agent_id
    if not seen.is_known:
        state_moves.move(c, agent_id, Axis.HEALTH, Health.ERROR, at=at, actor=actor, reason=seen.problem)
    elif row.health == Health.ERROR:
        last = c.execute(LAST_MOVE, {"agent": agent_id, "on_axis": Axis.HEALTH}).one_or_none()
        if last is not None and (last.actor, last.reason) == (actor, row.health_reason):
            back = "it is there again"
            state_moves.move(c, agent_id, Axis.HEALTH, Health.OK, at=at, actor=actor, reason=back)
