"""Resumption of paused runs when a device, agent or model is back, spread over time."""

from collections.abc import Collection

import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RESUMED_BY, RUN, PauseReason, RunState
from storage.agents import exhaustion
from storage.kernel.columns import in_parts
from storage.runs.run_moves import MOVED, remember_moves
from storage.runs.runs import RunMove
from storage.schema import runs

SPREAD_CAP_MS = 60_000
PAUSED_RUNS = (
    sa.select(runs.c.id, runs.c.agent_id)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == sa.bindparam("pause"),
    )
    .with_for_update(skip_locked=True)  # unordered: to sort, SQLite would scan all runs
)
PAUSED_OF_DEVICES = PAUSED_RUNS.where(runs.c.device_id.in_(sa.bindparam("devices", expanding=True)))
PAUSED_OF_AGENTS = PAUSED_RUNS.where(runs.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
RESUME = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        state=RunState.QUEUED,
        pause_reason=None,
        reason=None,
        eligible_at=sa.bindparam("not_before"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
)


def resume_runs(
    c: sa.Connection,
    paused: PauseReason,
    *,
    devices: Collection[DeviceId] | None = None,
    agents: Collection[AgentId] | None = None,
    at: int,
    spread_ms: int = 0,
    actor: str = "hub",
) -> list[RunId]:
    """Queue all runs again that were paused for this reason: ten thousand in one transaction.

    Args:
        devices, agents: only runs of these.
        spread_ms: time between the starts of two runs, so that they do not start at once; all start within
            ``SPREAD_CAP_MS``.
    """
    found: list[RunId] = []
    if devices is not None:
        for some_devices in in_parts(sorted(devices)):
            found += _paused(c, PAUSED_OF_DEVICES, {"pause": paused, "devices": some_devices})
    elif agents is not None:
        for some_agents in in_parts(sorted(agents)):
            found += _paused(c, PAUSED_OF_AGENTS, {"pause": paused, "agents": some_agents})
    else:
        found = _paused(c, PAUSED_RUNS, {"pause": paused})
    if not found:
        return []
    found.sort()
    spread_ms = min(spread_ms, SPREAD_CAP_MS // len(found))
    after = RUN.after(RunState.PAUSED, RESUMED_BY[paused])
    c.execute(
        RESUME,
        [
            {"run": run_id, "not_before": at + number * spread_ms, "now": at}
            for number, run_id in enumerate(found)
        ],
    )
    moved = [row for part in in_parts(found) for row in c.execute(MOVED, {"runs": part})]
    remember_moves(
        c,
        (
            (
                RunId(row.id),
                AgentId(row.agent_id),
                RunMove(row.state_seq, RunState.PAUSED, after, row.attempt, row.fence, None, actor, at),
            )
            for row in moved
        ),
    )
    return [RunId(row.id) for row in moved]


def _paused(c: sa.Connection, query: sa.Select[str, str], given: dict[str, object]) -> list[RunId]:
    return [RunId(row.id) for row in c.execute(query, given)]


def recover_agents(c: sa.Connection, at: int, *, spread_ms: int = 0, actor: str = "hub") -> list[AgentId]:
    """Make agents available whose recovery or probe is due, and resume their paused runs."""
    back = exhaustion.recover_due(c, at, actor=actor)
    if back:
        resume_runs(c, PauseReason.EXHAUSTED, agents=back, at=at, spread_ms=spread_ms, actor=actor)
    return back
