"""Termination of an agent for good: schedules stop, runs end."""

import sqlalchemy as sa

from protocol.agent_status import Axis, Connectivity, Lifecycle
from protocol.ids import AgentId, RunId
from storage import schema
from storage.agents.locks import release_agent
from storage.agents.state_moves import move
from storage.runs.run_pauses import request_cancel
from storage.schedules import schedules
from storage.schema import runs

LIVE_RUNS = (
    sa.select(runs.c.id)
    .where(runs.c.agent_id == sa.bindparam("agent"), sa.text("runs." + schema.LIVE))
    .order_by(runs.c.id)
)
BECAUSE = "agent terminated"


def terminate(
    c: sa.Connection, agent_id: AgentId, *, at: int, actor: str, reason: str | None = None
) -> list[RunId]:
    """Terminate the agent for good. Return the runs of it that were live.

    Waiting runs are CANCELLED. Executing runs are asked to end as soon as their sent calls are answered. Its
    schedules stop. It stays listed with its history, and is offline whatever its device does. A terminated
    agent is left unchanged.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
    """
    if not move(c, agent_id, Axis.LIFECYCLE, Lifecycle.TERMINATED, at=at, actor=actor, reason=reason):
        return []
    schedules.remove(c, agent_id, at)
    release_agent(c, agent_id)
    live = [RunId(run_id) for run_id in c.execute(LIVE_RUNS, {"agent": agent_id}).scalars()]
    for run_id in live:
        request_cancel(c, run_id, BECAUSE, at, actor=actor)
    move(c, agent_id, Axis.CONNECTIVITY, Connectivity.OFFLINE, at=at, actor=actor, reason="terminated")
    return live
