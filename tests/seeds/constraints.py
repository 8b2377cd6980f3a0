"""Constraints, defaults and lengths of the documents: what each database refuses, and what a new row has."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from tests.seeds.columns import furnish
from tests.seeds.walk import Document, Walk


class Constraint(NamedTuple):
    """Constraint of a document. *statement*: SQL that violates it; *says*: columns that keep it."""

    text: str
    lives: str
    statement: str


def _all(table: str, lives: str, not_null: str) -> list[Constraint]:
    """Return a constraint for each column of *table* that is never null; *lives* is the table of this hub."""
    named = (name.partition("=")[::2] for name in not_null.split())
    return [
        Constraint(
            f"{table}.{theirs}: nullable=False",
            f"{lives}.{ours or theirs}",
            f"UPDATE {lives} SET {ours or theirs} = NULL",
        )
        for theirs, ours in named
    ]


CALENDAR: Final = [
    *_all("agents", "agents", "user_id created_at"),
    *_all("agents", "agent_states", "status=availability"),
    Constraint("agents.agent_id unique=True", "agents.external_id", "UPDATE agents SET external_id = 'one'"),
    Constraint("ForeignKey users.id", "agents.user_id", "UPDATE agents SET user_id = 'nobody'"),
]
ORCHESTRATOR: Final = [
    *_all("agent", "agents", "name type created_at updated_at"),
    *_all("agent", "agent_states", "status=lifecycle"),
    *_all(
        "agent_template",
        "agent_templates",
        "name agent_type configuration_schema default_configuration created_at updated_at",
    ),
    *_all("agent_state_history", "agent_state_history", "agent_id new_status=new_value timestamp=at"),
    *_all("agent_checkpoint", "checkpoints", "agent_id state_data sequence_number is_recoverable created_at"),
    *_all("agent_execution", "runs", "agent_id state progress_percentage=progress retry_count=attempt"),
    *_all("agent_execution", "runs", "created_at updated_at"),
    *_all("execution_state_history", "run_state_history", "execution_id=run_id new_state timestamp=at"),
    Constraint("agent.name: String(100)", "agents.title", f"UPDATE agents SET title = '{'n' * 101}'"),
    Constraint("agent_type_check", "agents.type", "UPDATE agents SET type = 'PILOT'"),
    Constraint("agent_status_check", "agent_states.lifecycle", "UPDATE agent_states SET lifecycle = 'on'"),
    Constraint(
        "agent_state_detail_check",
        "agent_states.state_detail",
        "UPDATE agent_states SET state_detail = 'ASLEEP'",
    ),
    Constraint(
        "agent_template_agent_type_check",
        "agent_templates.agent_type",
        "UPDATE agent_templates SET agent_type = 'PILOT'",
    ),
    Constraint("agent_execution_state_check", "runs.state", "UPDATE runs SET state = 'LOST'"),
    Constraint("agent_execution.parameters: JSON", "runs.parameters", "UPDATE runs SET parameters = 'x'"),
    Constraint(
        "agent_checkpoint.state_data: JSON",
        "checkpoints.state_data",
        "UPDATE checkpoints SET state_data = 'x'",
    ),
    Constraint("agent_execution.retry_count: from 0", "runs.attempt", "UPDATE runs SET attempt = 0"),
    Constraint(
        "execution_state_history_new_state_check",
        "run_state_history.new_state",
        "UPDATE run_state_history SET new_state = 'LOST'",
    ),
    Constraint(
        "execution_state_history_previous_state_check",
        "run_state_history.old_state",
        "UPDATE run_state_history SET old_state = 'LOST' WHERE old_state IS NOT NULL",
    ),
    Constraint(
        "agent_state_history_previous_state_detail_check",
        "agent_state_history.old_detail",
        "UPDATE agent_state_history SET old_detail = 'ASLEEP'",
    ),
    Constraint(
        "agent_state_history_new_status_check",
        "agent_state_history.axis",
        "UPDATE agent_state_history SET axis = 'mood'",
    ),
    Constraint(
        "agent_state_history_new_status_check: a status, on the axis of the row",
        "agent_state_history.new_value",
        "UPDATE agent_state_history SET new_value = 'ok' WHERE axis = 'lifecycle'",
    ),
    Constraint(
        "agent_state_history_previous_status_check",
        "agent_state_history.old_value",
        "UPDATE agent_state_history SET old_value = 'asleep'",
    ),
    Constraint("agent.name: not empty", "agents.name", "UPDATE agents SET name = '' WHERE name = 'notes'"),
    Constraint(
        "agent_checkpoint.agent_id unique=True",
        "checkpoints.agent_id, checkpoints.scope",
        "INSERT INTO checkpoints SELECT * FROM checkpoints",
    ),
    Constraint(
        "agent_execution.agent_id ForeignKey agent.id", "runs.agent_id", "UPDATE runs SET agent_id = 'nobody'"
    ),
]
FOUNDATION: Final = [
    Constraint("metadata: JSONB", "agent_states.metadata", "UPDATE agent_states SET metadata = 'no JSON'"),
    Constraint("tags: JSONB", "metric_series.tags", "UPDATE metric_series SET tags = '{'"),
    *_all("agent_configs", "agent_configs", "agent_id config_key config_value config_type"),
    *_all("agent_configs", "agent_configs", "created_at updated_at"),
    *_all("agent_states", "agent_states", "agent_id current_status=health last_activity=last_activity_at"),
    *_all("agent_states", "agent_states", "updated_at"),
    *_all("agent_capabilities", "agent_capabilities", "agent_id capability_name=name enabled"),
    *_all("agent_capabilities", "agent_capabilities", "capability_version=ver_major created_at updated_at"),
    *_all("agent_metrics", "metric_series", "metric_name=name metric_type"),
    Constraint(
        "agent_metrics.agent_id ForeignKey agent.id; without one the series is of the whole hub",
        "metric_series.agent_id",
        "UPDATE metric_series SET agent_id = 'nobody'",
    ),
    *_all("agent_metrics", "agent_metrics", "metric_value=last recorded_at=last_at"),
    Constraint(
        "uq_agent_config",
        "agent_configs (agent_id, config_key)",
        "INSERT INTO agent_configs SELECT * FROM agent_configs",
    ),
    Constraint(
        "uq_agent_capability",
        "agent_capabilities_one_enabled: of several versions one is enabled",
        "INSERT INTO agent_capabilities (agent_id, name, ver_major, ver_minor, ver_patch, created_at,"
        " updated_at) SELECT agent_id, name, 9, 0, 0, created_at, updated_at FROM agent_capabilities",
    ),
    Constraint(
        "enum configtype", "agent_configs.config_type", "UPDATE agent_configs SET config_type = 'date'"
    ),
    Constraint("enum agentstatusdetail", "agent_states.health", "UPDATE agent_states SET health = 'well'"),
    Constraint(
        "enum metrictype", "metric_series.metric_type", "UPDATE metric_series SET metric_type = 'sum'"
    ),
    Constraint(
        "config_key String(255)",
        "agent_configs.config_key",
        f"UPDATE agent_configs SET config_key = '{'k' * 256}'",
    ),
    Constraint(
        "capability_name String(255)",
        "agent_capabilities.name",
        f"UPDATE agent_capabilities SET name = '{'c' * 256}'",
    ),
    Constraint(
        "metric_name String(255)", "metric_series.name", f"UPDATE metric_series SET name = '{'m' * 256}'"
    ),
]


def _walk_of(constraints: list[Constraint]) -> Callable[[Walk], Awaitable[None]]:
    async def constraints_of_the_tables(walk: Walk) -> None:
        await furnish(walk)
        for one in constraints:
            assert await walk.sql(f"SELECT count(*) FROM {_table(one.statement)}") != [(0,)], one
            await walk.sql_refused(one.statement)

    return constraints_of_the_tables


def _table(statement: str) -> str:
    """Return the table that a statement changes."""
    return statement.removeprefix("INSERT INTO ").removeprefix("UPDATE ").partition(" ")[0]


for name, constraints in (
    ("calendar", CALENDAR),
    ("orchestrator", ORCHESTRATOR),
    ("foundation", FOUNDATION),
):
    drive = _walk_of(constraints)
    for constraint in constraints:
        Document(name)(constraint.text, lives=constraint.lives)(drive)
