"""Complete facts about one agent from one snapshot, for documents in other vocabularies."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import LIVE_RUN_STATES
from storage import schema
from storage.agents import agent_snapshot, capabilities, checkpoints, configs, lock_turns, templates
from storage.agents.agent_rows import AgentRow, get_agent
from storage.agents.agent_states import AgentMove, AgentState, find_state, history_page
from storage.agents.capabilities import CapabilityRow
from storage.agents.checkpoints import CheckpointRow
from storage.agents.configs import ConfigRow
from storage.agents.lock_turns import LockRow
from storage.agents.templates import TemplateRow
from storage.kernel.rows import columns_of, fill
from storage.runs import run_rows
from storage.runs.run_rows import RunMove, RunRow
from storage.schema import agent_metrics, metric_series

RUNS: Final = 20  # newest runs, with their histories
MOVES: Final = 100  # newest state changes
SERIES: Final = 1_000  # maximum number of series of one agent


class Measured(msgspec.Struct, frozen=True):
    """Series of a metric with its newest sample. Instants are epoch milliseconds."""

    id: str
    name: str
    type: str
    tags: dict[str, str]
    last: float
    last_at: int


class AgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about an agent.

    Attributes:
        configuration: its configs over the defaults of its template.
        live_runs: ids, oldest first.
        runs: its newest runs, newest first.
        run_moves: state changes of each of these runs.
        moves: state changes of the agent, newest first.
        locks: locks that its runs or its device hold for it.
        cron: expression of its first cron schedule.
    """

    agent: AgentRow
    created_at: int
    updated_at: int
    state: AgentState
    template: TemplateRow | None
    configuration: dict[str, Any]
    configs: tuple[ConfigRow, ...]
    capabilities: tuple[CapabilityRow, ...]
    checkpoint: CheckpointRow | None
    locks: tuple[LockRow, ...]
    metrics: tuple[Measured, ...]
    live_runs: tuple[RunId, ...]
    runs: tuple[RunRow, ...]
    run_moves: dict[RunId, list[RunMove]]
    moves: tuple[AgentMove, ...]
    cron: str | None
    last_run_at: int | None
    executor: str


STAMPS = sa.select(schema.agents.c.created_at, schema.agents.c.updated_at, schema.agents.c.executor).where(
    schema.agents.c.id == sa.bindparam("agent")
)
LIVE = (
    sa.select(schema.runs.c.id)
    .where(schema.runs.c.agent_id == sa.bindparam("agent"), schema.runs.c.state.in_(sorted(LIVE_RUN_STATES)))
    .order_by(schema.runs.c.id)
)
NEWEST_SAMPLES = (
    sa.select(*columns_of(Measured, metric_series, agent_metrics, type=metric_series.c.metric_type))
    .join_from(metric_series, agent_metrics, agent_metrics.c.series_id == metric_series.c.id)
    .where(
        metric_series.c.agent_id == sa.bindparam("agent"),
        agent_metrics.c.last_at == metric_series.c.last_at,
    )
    .order_by(metric_series.c.name, metric_series.c.tags_key, agent_metrics.c.bucket_ms)
    .limit(SERIES)
)
FIRST_CRON = (
    sa.select(schema.schedules.c.expr)
    .where(
        schema.schedules.c.agent_id == sa.bindparam("agent"),
        schema.schedules.c.kind == "cron",
        schema.schedules.c.action == "run",
        schema.schedules.c.enabled,
    )
    .order_by(schema.schedules.c.created_at, schema.schedules.c.id)
    .limit(1)
)
LAST_END = sa.select(sa.func.max(schema.runs.c.completed_at)).where(
    schema.runs.c.agent_id == sa.bindparam("agent"), schema.runs.c.completed_at.is_not(None)
)


def facts_of(c: sa.Connection, agent_id: AgentId) -> AgentFacts:
    """Return the facts about an agent.

    Raises:
        UnknownAgent: no agent has the id.
    """
    agent = get_agent(c, agent_id)
    given = {"agent": agent_id}
    stamps = c.execute(STAMPS, given).one()
    setup = agent_snapshot.setup_of(c, agent_id)
    newest = run_rows.list_runs(c, agent_id=agent_id, limit=RUNS)
    now = lock_turns.database_now(c)
    held = lock_turns.list_locks(c, agent_ids=[agent_id])
    measured = {row.id: fill(Measured, row) for row in reversed(c.execute(NEWEST_SAMPLES, given).all())}
    return fill(
        AgentFacts,
        stamps,
        agent=agent,
        state=find_state(c, agent_id),
        template=None if agent.template is None else templates.find_template(c, agent.template),
        configuration=setup.configuration,
        configs=tuple(configs.list_configs(c, agent_id)),
        capabilities=tuple(capabilities.list_capabilities(c, agent_id)),
        checkpoint=checkpoints.find_checkpoint(c, agent_id),
        locks=tuple(
            lock
            for lock in held
            if lock.holder is not None and lock.holder.agent_id == agent_id and lock.is_held(now)
        ),
        metrics=tuple(reversed(measured.values())),
        live_runs=tuple(RunId(run_id) for run_id in c.execute(LIVE, given).scalars()),
        runs=tuple(newest),
        run_moves={run.id: run_rows.run_history(c, run.id) for run in newest},
        moves=tuple(history_page(c, agent_id, limit=MOVES)),
        cron=c.execute(FIRST_CRON, given).scalar_one_or_none(),
        last_run_at=c.execute(LAST_END, given).scalar_one_or_none(),
    )
