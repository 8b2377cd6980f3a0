"""Set-up of agents, and complete facts about one agent, each read in one snapshot.

A set-up has the values that prompts may name and templates validate. A function passed in decides whether it
is valid: this module knows rows, but neither JSON Schema nor prompts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, RunId, TemplateId
from protocol.lifecycles import LIVE_RUN_STATES
from storage.agents import capabilities, checkpoints, configs, lock_turns, templates
from storage.agents.agent_states import AgentMove, AgentState, find_state, history_page
from storage.agents.agents import AgentRow, UnknownAgent, get_agent
from storage.agents.capabilities import CapabilityRow
from storage.agents.checkpoints import CheckpointRow
from storage.agents.configs import ConfigRow
from storage.agents.lock_turns import LockRow
from storage.agents.schema import agent_metrics, agents, metric_series
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.devices.schema import devices, users
from storage.kernel.columns import in_parts
from storage.kernel.rows import columns_of, fill
from storage.runs import runs
from storage.runs import schema as run_schema
from storage.runs.runs import RunMove, RunRow
from storage.schedules.schema import schedules

VARIABLE: Final = "{{"  # marks a prompt with variables


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Set-up of an agent.

    Attributes:
        user, device: their names; *device* is empty for an agent without a device.
        prompt: its own prompt; empty: its template's.
        configs: its own configs by key, without those that the hub itself uses.
    """

    name: str
    user: str
    device: str
    timezone: str
    data_types: tuple[str, ...]
    prompt: str
    template: WrittenTemplate | None = None
    configs: Mapping[str, Any] = {}

    @property
    def configuration(self) -> dict[str, Any]:
        """Its configs over the defaults of its template, key by key: nested tables are not merged."""
        defaults = {} if self.template is None else self.template.default_configuration
        return {**defaults, **self.configs}

    @property
    def prompt_in_use(self) -> str:
        """Prompt of the agent, else of its template."""
        return self.prompt or (self.template and self.template.prompt_template) or ""


Check: TypeAlias = Callable[[Setup], Sequence[str]]  # returns the problems, in words; must be pure


class BadConfiguration(HubError):
    """Error: the agent violates its template's schema, or its prompt names an unknown variable.

    The message lists all problems; nothing was written.
    """

    code = ErrorCode.BAD_CONFIG


_SETUPS = (
    sa.select(
        agents.c.id,
        agents.c.name,
        users.c.name.label("user"),
        devices.c.name.label("device"),
        agents.c.data_types,
        agents.c.prompt_template.label("prompt"),
        agents.c.template_id,
        configs.COLUMNS["timezone"],
    )
    .join_from(agents, users)
    .outerjoin(devices, devices.c.id == agents.c.device_id)
)


def setup_of(c: sa.Connection, agent_id: AgentId) -> Setup:
    """Return the set-up of the agent.

    Raises:
        KeyError: no agent has the id.
        UnreadableConfig: a config of the agent is unreadable for this release.
    """
    return setups_of(c, [agent_id])[agent_id]


def setups_of(c: sa.Connection, agent_ids: Iterable[AgentId]) -> dict[AgentId, Setup]:
    """Return the set-ups of these agents, in the order of their names.

    Raises:
        UnreadableConfig: a config of an agent is unreadable for this release.
    """
    requested = list(agent_ids)
    known = templates.templates_by_id(c) if requested else {}
    found: dict[AgentId, Setup] = {}
    for part in in_parts(requested):
        own = configs.configurations_of(c, part)
        query = (
            configs.with_configs(_SETUPS).where(agents.c.id.in_(part)).order_by(agents.c.name, agents.c.id)
        )
        for row in c.execute(query):
            id = AgentId(row.id)
            found[id] = Setup(
                name=row.name,
                user=row.user,
                device=row.device or "",
                timezone=configs.read_config("timezone", row.timezone),
                data_types=tuple(row.data_types),
                prompt=row.prompt or "",
                template=None if row.template_id is None else known.get(TemplateId(row.template_id)),
                configs=own.get(id, {}),
            )
    return found


def setups_with(c: sa.Connection, template_id: TemplateId) -> dict[AgentId, Setup]:
    """Return the set-ups of the agents with that template that are not archived."""
    query = (
        sa.select(agents.c.id)
        .where(agents.c.template_id == template_id, agents.c.deleted_at.is_(None))
        .order_by(agents.c.name, agents.c.id)
    )
    ids = [AgentId(id) for id in c.execute(query).scalars()]
    return setups_of(c, ids)


def setups_to_judge(c: sa.Connection) -> dict[AgentId, Setup]:
    """Return the set-ups that can be invalid: of agents with a template, or variables in the prompt."""
    query = sa.select(agents.c.id).where(
        agents.c.deleted_at.is_(None),
        sa.or_(agents.c.template_id.is_not(None), agents.c.prompt_template.like(f"%{VARIABLE}%")),
    )
    return setups_of(c, [AgentId(id) for id in c.execute(query).scalars()])


def check_setup(
    c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any] | None = None, *, check: Check
) -> None:
    """Validate the agent's set-up in the transaction that changes it.

    Args:
        configs: future configs of the agent; by default its current ones.

    Raises:
        BadConfiguration: the set-up is invalid; the caller must roll back.
    """
    setup = setup_of(c, agent_id)
    if configs is not None:
        setup = msgspec.structs.replace(setup, configs=configs)
    if wrong := check(setup):
        raise BadConfiguration(f"agent {setup.name}: {'; '.join(wrong)}")


class EffectiveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Effective configuration of an agent. *rev*: its ``config_rev``, which grows with each change."""

    agent_id: AgentId
    rev: int
    configuration: dict[str, Any]


REVISIONS = sa.select(agents.c.id, agents.c.config_rev)


def revisions_on(c: sa.Connection, device_id: DeviceId) -> dict[AgentId, int]:
    """Return the ``config_rev`` of each agent of a device that is not archived."""
    query = REVISIONS.where(agents.c.device_id == device_id, agents.c.deleted_at.is_(None)).order_by(
        agents.c.id
    )
    return {AgentId(row.id): row.config_rev for row in c.execute(query)}


def effective(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[EffectiveConfig]:
    """Return the effective configurations of these agents; unknown ids are omitted.

    Raises:
        UnreadableConfig: a config that the hub itself uses is unreadable for this release.
    """
    revisions: dict[AgentId, int] = {}
    for part in in_parts(agent_ids):
        query = REVISIONS.where(agents.c.id.in_(part))
        revisions |= {AgentId(row.id): row.config_rev for row in c.execute(query)}
    found = setups_of(c, revisions)
    return [
        EffectiveConfig(agent_id=agent_id, rev=revisions[agent_id], configuration=setup.configuration)
        for agent_id, setup in found.items()
    ]


def effective_of(c: sa.Connection, agent_id: AgentId) -> EffectiveConfig:
    """Return the effective configuration of an agent.

    Raises:
        UnknownAgent: no agent has the id.
        UnreadableConfig: as ``effective``.
    """
    found = effective(c, [agent_id])
    if not found:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return found[0]


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


STAMPS = sa.select(agents.c.created_at, agents.c.updated_at, agents.c.executor).where(
    agents.c.id == sa.bindparam("agent")
)
LIVE = (
    sa.select(run_schema.runs.c.id)
    .where(
        run_schema.runs.c.agent_id == sa.bindparam("agent"),
        run_schema.runs.c.state.in_(sorted(LIVE_RUN_STATES)),
    )
    .order_by(run_schema.runs.c.id)
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
    sa.select(schedules.c.expr)
    .where(
        schedules.c.agent_id == sa.bindparam("agent"),
        schedules.c.kind == "cron",
        schedules.c.action == "run",
        schedules.c.enabled,
    )
    .order_by(schedules.c.created_at, schedules.c.id)
    .limit(1)
)
LAST_END = sa.select(sa.func.max(run_schema.runs.c.completed_at)).where(
    run_schema.runs.c.agent_id == sa.bindparam("agent"), run_schema.runs.c.completed_at.is_not(None)
)


def facts_of(c: sa.Connection, agent_id: AgentId) -> AgentFacts:
    """Return the facts about an agent.

    Raises:
        UnknownAgent: no agent has the id.
    """
    agent = get_agent(c, agent_id)
    given = {"agent": agent_id}
    stamps = c.execute(STAMPS, given).one()
    setup = setup_of(c, agent_id)
    newest = runs.list_runs(c, agent_id=agent_id, limit=RUNS)
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
        run_moves={run.id: runs.run_history(c, run.id) for run in newest},
        moves=tuple(history_page(c, agent_id, limit=MOVES)),
        cron=c.execute(FIRST_CRON, given).scalar_one_or_none(),
        last_run_at=c.execute(LAST_END, given).scalar_one_or_none(),
    )
