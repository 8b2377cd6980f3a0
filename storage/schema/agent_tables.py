"""Tables about agents and schedules: identity, state, capabilities, locks, measurements, fires.

Part of the metadata of ``storage.schema``.

Tables about schedules and their fires.
"""

from typing import Any, Literal, get_args

import sqlalchemy as sa

from storage.kernel.columns import (
    NOMINAL,
    Doc,
    Flag,
    Int,
    Real,
    Reported,
    doc,
    index,
    key,
    number,
    one_of,
    reference,
    spelled,
    table,
    text,
    waits,
    zero_or_one,
)

AGENT_TYPES = (
    "COORDINATOR",
    "ASSISTANT",
    "RESEARCHER",
    "DEVELOPER",
    "DESIGNER",
    "SPECIALIST",
    "AUDITOR",
    "CUSTOM",
)
AGENT_SUBTYPES = ("PLANNER", "REVIEWER", "MANAGER", "TOOL_CURATOR", "DEPLOYMENT")
VALUES_OF_AXIS = {
    "lifecycle": ("created", "initializing", "ready", "active", "paused", "maintenance", "terminated"),
    "availability": ("available", "on_call", "exhausted"),
    "connectivity": ("online", "offline"),
    "health": ("ok", "error"),
    "activity": ("idle", "waiting", "processing", "saturated"),
}


def _value_of_axis(column: str) -> str:
    each = VALUES_OF_AXIS.items()
    return " OR ".join(f"(axis = '{axis}' AND {column} IN ({spelled(words)}))" for axis, words in each)


# Moves of an agent that may change a word of the orchestrator; every move that does is among them.
MAY_CHANGE_WORDS = (
    "axis IN ('lifecycle', 'health') OR (axis = 'activity'"
    " AND (old_value IN ('processing', 'saturated')) <> (new_value IN ('processing', 'saturated')))"
)

agent_templates = table(
    "agent_templates",
    key("id"),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text),
    text("agent_type", "CUSTOM"),
    sa.Column("subtype", sa.Text),
    doc("configuration_schema", "{}"),
    doc("default_configuration", "{}"),
    sa.Column("prompt_template", sa.Text),
    text("source", "api"),
    number("version", 1),
    number("created_at"),
    number("updated_at"),
    one_of("agent_type", AGENT_TYPES),
    one_of("subtype", AGENT_SUBTYPES, or_null=True),
    one_of("source", ("file", "api")),
)

agents = table(
    "agents",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("external_id", sa.Text, unique=True),
    sa.Column("instance_id", sa.Text),
    sa.Column("project_id", sa.Text),
    text("name"),
    sa.Column("title", sa.Text),
    sa.Column("description", sa.Text),
    text("type", "CUSTOM"),
    sa.Column("subtype", sa.Text),
    text("source", "api"),
    text("executor"),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    reference("template_id", "agent_templates.id", ondelete="SET NULL", nullable=True),
    reference("connector_id", "connectors.id", ondelete="SET NULL", nullable=True),
    sa.Column("prompt_template", sa.Text),
    doc("data_types", "[]"),
    doc("needs", "[]"),
    doc("locks", "[]"),
    number("max_concurrent_runs", 1),
    number("priority", 0),
    number("config_rev", 1),
    text("config_fingerprint", ""),
    number("created_at"),
    number("updated_at"),
    sa.Column("deleted_at", Int),
    sa.UniqueConstraint("user_id", "name"),
    one_of("type", AGENT_TYPES),
    one_of("subtype", AGENT_SUBTYPES, or_null=True),
    one_of("source", ("file", "api")),
    one_of("executor", ("device", "connector", "gateway")),
    sa.CheckConstraint("max_concurrent_runs BETWEEN 1 AND 64", name="max_concurrent_runs"),
    sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name="name"),
    sa.CheckConstraint("title IS NULL OR length(title) BETWEEN 1 AND 100", name="title"),
    index("agents_device", "device_id"),
    index("agents_by_name", "name", "id", where="deleted_at IS NULL"),
    index("agents_template", "template_id", where="template_id IS NOT NULL"),
    index("agents_connector", "connector_id", where="connector_id IS NOT NULL"),
    index("agents_removed", "name", "created_at", where="deleted_at IS NOT NULL"),
)

agent_configs = table(
    "agent_configs",
    key("agent_id", of="agents.id"),
    key("config_key"),
    text("config_type", "string"),
    text("config_value"),
    sa.Column("description", sa.Text),
    text("source", "api"),
    number("created_at"),
    number("updated_at"),
    sa.CheckConstraint("length(config_key) BETWEEN 1 AND 255", name="config_key"),
    one_of("source", ("file", "api")),
    one_of("config_type", ("string", "integer", "float", "boolean", "json")),
    rowid=False,
)

_exhausted = waits("availability = 'exhausted'")
agent_states = table(
    "agent_states",
    key("agent_id", of="agents.id"),
    text("lifecycle", "created"),
    text("availability", "available"),
    text("connectivity", "offline"),
    sa.Column("reported_connectivity", sa.Text),  # by its device, while a person keeps the agent offline
    text("health", "ok"),
    sa.Column("health_reason", Reported),
    sa.Column("state_detail", sa.Text),  # word of the orchestrator that is finer than the axes
    sa.Column("exhaust_reason", sa.Text),
    sa.Column("exhausted_at", Int, info=_exhausted),
    sa.Column("recovery_at", Int, info=_exhausted),
    sa.Column("probe_at", Int, info=_exhausted),
    number("exhaust_count", 0),
    number("runs_waiting", 0),
    number("runs_executing", 0),
    number("runs_running", 0),
    doc("resource_usage", "{}"),
    doc("metadata", "{}"),
    sa.Column("last_heartbeat_at", Int),
    number("last_activity_at"),
    number("version", 1),
    number("updated_at"),
    *(one_of(axis, words) for axis, words in VALUES_OF_AXIS.items() if axis != "activity"),
    one_of("reported_connectivity", VALUES_OF_AXIS["connectivity"], or_null=True),
    one_of("state_detail", ("CREATED", "INITIALIZING", "READY", "ACTIVE"), or_null=True),
    one_of("exhaust_reason", ("rate_limit", "billing", "budget"), or_null=True),
    sa.CheckConstraint("runs_waiting >= 0", name="runs_waiting"),
    sa.CheckConstraint("runs_executing >= 0", name="runs_executing"),
    sa.CheckConstraint("runs_running BETWEEN 0 AND runs_executing", name="runs_running"),
    sa.CheckConstraint("(availability = 'exhausted') = (exhausted_at IS NOT NULL)", name="exhausted"),
    sa.CheckConstraint("availability = 'exhausted' OR exhaust_reason IS NULL", name="exhausted_why"),
    sa.CheckConstraint("connectivity = 'offline' OR reported_connectivity IS NULL", name="kept_offline"),
    sa.CheckConstraint(
        "recovery_at IS NULL OR (availability = 'exhausted' AND recovery_at >= exhausted_at)",
        name="recovery_at",
    ),
    index("agent_states_recovery", "recovery_at", where="availability = 'exhausted'"),
    index("agent_states_failing", "agent_id", where="health <> 'ok'"),
)

agent_state_history = table(
    "agent_state_history",
    key("agent_id", of="agents.id"),
    sa.Column("seq", Int, primary_key=True),
    text("axis"),
    sa.Column("old_value", sa.Text),
    sa.Column("old_detail", sa.Text),  # state_detail before the move
    text("new_value"),
    doc("snapshot", "{}"),
    sa.Column("reason", Reported),
    text("actor"),
    number("at"),
    one_of("axis", VALUES_OF_AXIS),
    sa.CheckConstraint(_value_of_axis("new_value"), name="new_value"),
    sa.CheckConstraint(f"old_value IS NULL OR {_value_of_axis('old_value')}", name="old_value"),
    index("agent_state_history_at", "at"),
    index(
        "agent_state_history_axis",
        "agent_id",
        "axis",
        "seq",
    ),
    index(
        "agent_state_history_words",
        "agent_id",
        "seq",
        where=MAY_CHANGE_WORDS,
    ),
    rowid=False,
)

agent_config_history = table(
    "agent_config_history",
    key("agent_id", of="agents.id"),
    sa.Column("seq", Int, primary_key=True),
    text("config_key"),
    sa.Column("old_type", sa.Text),
    sa.Column("old_value", sa.Text),
    sa.Column("new_type", sa.Text),
    sa.Column("new_value", sa.Text),
    text("actor"),
    number("at"),
    index("agent_config_history_at", "at"),
    rowid=False,
)

agent_capabilities = table(
    "agent_capabilities",
    key("agent_id", of="agents.id"),
    key("name"),
    sa.Column("ver_major", Int, primary_key=True),
    sa.Column("ver_minor", Int, primary_key=True),
    sa.Column("ver_patch", Int, primary_key=True),
    sa.Column("prerelease", sa.Text, primary_key=True, server_default=sa.text("''")),
    sa.Column("enabled", Flag, nullable=False, server_default=sa.true()),
    text("source", "api"),
    doc("config", "{}"),
    sa.Column("description", sa.Text),
    number("created_at"),
    number("updated_at"),
    sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name="name"),
    sa.CheckConstraint("ver_major >= 0 AND ver_minor >= 0 AND ver_patch >= 0", name="version"),
    one_of("source", ("file", "api", "device")),
    zero_or_one("enabled"),
    index(
        "agent_capabilities_one_enabled",
        "agent_id",
        "name",
        where="enabled",
        unique=True,
    ),
    index(
        "agent_capabilities_name",
        "name",
        "ver_major",
        "ver_minor",
        "ver_patch",
        "prerelease",
        where="enabled",
    ),
    rowid=False,
)

_held = waits("holder_id IS NOT NULL")
agent_locks = table(
    "agent_locks",
    key("user_id", of="users.id"),
    key("resource"),
    number("fence", 0),
    sa.Column("holder_kind", sa.Text),
    sa.Column("holder_id", sa.Text),
    reference("agent_id", "agents.id", ondelete="SET NULL", nullable=True),
    number("ttl_ms", 0),
    sa.Column("acquired_at", Int, info=_held),
    number("expires_at", 0, info=_held),
    sa.Column("request_id", sa.Text),
    one_of("holder_kind", ("run", "device", "agent"), or_null=True),
    sa.CheckConstraint("length(resource) BETWEEN 1 AND 255", name="resource"),
    sa.CheckConstraint("fence >= 0", name="fence"),
    sa.CheckConstraint("(holder_kind IS NULL) = (holder_id IS NULL)", name="holder"),
    sa.CheckConstraint("holder_id IS NOT NULL OR expires_at = 0", name="free"),
    index("agent_locks_holder", "holder_kind", "holder_id", where="holder_id IS NOT NULL"),
    index("agent_locks_agent", "agent_id", where="agent_id IS NOT NULL"),
    index("agent_locks_request", "request_id", where="request_id IS NOT NULL"),
    index("agent_locks_name", "resource"),
    rowid=False,
)

lock_waits = table(
    "lock_waits",
    key("user_id"),
    key("resource"),
    sa.Column("ticket", Int, primary_key=True),
    text("request_id"),
    text("holder_kind"),
    text("holder_id"),
    reference("agent_id", "agents.id", ondelete="CASCADE", nullable=True),
    number("ttl_ms"),
    number("queued_at", info=waits()),
    sa.Column("deadline_at", Int, info=waits()),
    sa.ForeignKeyConstraint(
        ["user_id", "resource"], ["agent_locks.user_id", "agent_locks.resource"], ondelete="CASCADE"
    ),
    one_of("holder_kind", ("run", "device", "agent")),
    index("lock_waits_holder", "holder_kind", "holder_id"),
    index("lock_waits_agent", "agent_id", where="agent_id IS NOT NULL"),
    index("lock_waits_request", "request_id"),
    rowid=False,
)

metric_series = table(
    "metric_series",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE", nullable=True),
    text("name"),
    text("metric_type", "gauge"),
    text("tags_key", ""),
    doc("tags", "{}", dict[str, str]),
    number("created_at"),
    number("last_at"),
    sa.UniqueConstraint("agent_id", "name", "tags_key"),
    one_of("metric_type", ("counter", "gauge", "histogram")),
    sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name="name"),
    index("metric_series_last", "last_at"),
)

agent_metrics = table(
    "agent_metrics",
    key("series_id", of="metric_series.id"),
    sa.Column("bucket_ms", Int, primary_key=True),
    sa.Column("bucket_at", Int, primary_key=True),
    number("n"),
    sa.Column("sum", Real, nullable=False),
    sa.Column("min", Real, nullable=False),
    sa.Column("max", Real, nullable=False),
    sa.Column("last", Real, nullable=False),
    number("last_at", info=NOMINAL),
    sa.Column("hist", Doc(dict[str, Any])),
    sa.CheckConstraint("n > 0", name="n"),
    index("agent_metrics_at", "bucket_ms", "bucket_at"),
    rowid=False,
)

checkpoints = table(
    "checkpoints",
    key("agent_id", of="agents.id"),
    sa.Column("scope", sa.Text, primary_key=True, server_default=sa.text("'agent'")),
    number("sequence_number", 0),
    sa.Column("is_recoverable", Flag, nullable=False, server_default=sa.true()),
    doc("state_data", "{}"),
    sa.Column("run_id", sa.Text),
    number("fence", 0),
    text("actor"),
    number("created_at"),
    number("updated_at"),
    zero_or_one("is_recoverable"),
    sa.CheckConstraint("sequence_number >= 0", name="sequence_number"),
    sa.CheckConstraint("length(scope) BETWEEN 1 AND 255", name="scope"),
    rowid=False,
)

wakes = table(
    "wakes",
    key("id"),
    reference("schedule_id", "schedules.id", ondelete="CASCADE"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    number("fire_at", info=NOMINAL),
    number("ends_at", info=NOMINAL),
    text("state", "waiting"),
    sa.Column("reason", Reported),
    number("sends", 0),
    number("next_at", info=waits("settled_at IS NULL")),
    sa.Column("sent_at", Int),
    sa.Column("settled_at", Int),
    number("created_at"),
    number("updated_at"),
    sa.UniqueConstraint("schedule_id", "fire_at"),
    one_of("state", ("waiting", "sent", "deferred", "acknowledged", "failed", "skipped")),
    sa.CheckConstraint("fire_at < ends_at", name="ends_at"),
    sa.CheckConstraint(
        "(state IN ('acknowledged', 'failed', 'skipped')) = (settled_at IS NOT NULL)", name="settled_at"
    ),
    index("wakes_due", "next_at", where="state IN ('waiting', 'sent', 'deferred')"),
    index("wakes_settled", "settled_at", where="settled_at IS NOT NULL"),
    index("wakes_agent", "agent_id", "fire_at"),
)


# What was decided about a fire.
Decision = Literal[
    "run",
    "coalesced",
    "skipped_overlap",
    "skipped_window",
    "skipped_paused",
    "skipped_exhausted",
    "dropped_queue_full",
    "deferred",
    "woken",
    "wake_failed",
]

schedules = table(
    "schedules",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("kind"),
    sa.Column("expr", sa.Text),
    sa.Column("every_ms", Int),
    sa.Column("at_ms", Int),
    text("tz", "UTC"),
    text("action", "run"),
    sa.Column("label", sa.Text),
    sa.Column("duration_ms", Int),
    text("overlap", "skip"),
    text("coalesce_policy", "latest"),
    sa.Column("catchup_window_ms", Int),
    number("max_catchup", 10),
    sa.Column("start_deadline_ms", Int),
    number("run_timeout_ms", 3_600_000),
    number("jitter_ms", 0),
    number("max_attempts", 5),
    number("pause_after_failures", 5),
    sa.Column("enabled", Flag, nullable=False, server_default=sa.true()),
    sa.Column("paused_reason", sa.Text),
    number("consecutive_failures", 0),
    sa.Column("remaining_runs", Int),
    sa.Column("first_connect", sa.Text),  # null: a connect starts no run; see fire_rows
    sa.Column("starts_at", Int, info=NOMINAL),
    sa.Column("ends_at", Int, info=NOMINAL),
    number("cursor_at", info=NOMINAL),
    sa.Column("next_fire_at", Int, info=NOMINAL),
    sa.Column("due_at", Int, info=NOMINAL),
    number("rev", 1),
    number("created_at", info=NOMINAL),
    number("updated_at"),
    one_of("kind", ("cron", "every", "at")),
    one_of("action", ("run", "wake")),
    one_of("overlap", ("skip", "queue_one", "queue_all", "cancel_running", "allow")),
    one_of("coalesce_policy", ("latest", "earliest", "all")),
    one_of("first_connect", ("awaited", "due", "done"), or_null=True),
    zero_or_one("enabled"),
    sa.CheckConstraint("every_ms IS NULL OR every_ms >= 5000", name="every_ms"),
    sa.CheckConstraint("duration_ms IS NULL OR duration_ms > 0", name="duration_ms"),
    sa.CheckConstraint("(action = 'wake') = (label IS NOT NULL AND duration_ms IS NOT NULL)", name="slot"),
    sa.CheckConstraint("catchup_window_ms IS NULL OR catchup_window_ms >= 0", name="catchup_window_ms"),
    sa.CheckConstraint("max_catchup BETWEEN 1 AND 1000", name="max_catchup"),
    sa.CheckConstraint("jitter_ms >= 0", name="jitter_ms"),
    sa.CheckConstraint("max_attempts BETWEEN 1 AND 20", name="max_attempts"),
    sa.CheckConstraint("pause_after_failures >= 0", name="pause_after_failures"),
    sa.CheckConstraint("(kind = 'cron') = (expr IS NOT NULL)", name="has_expr"),
    sa.CheckConstraint("(kind = 'every') = (every_ms IS NOT NULL)", name="has_every_ms"),
    sa.CheckConstraint("(kind = 'at') = (at_ms IS NOT NULL)", name="has_at_ms"),
    sa.CheckConstraint("next_fire_at IS NULL OR next_fire_at > cursor_at", name="next_fire_at"),
    sa.CheckConstraint("coalesce_policy <> 'all' OR catchup_window_ms IS NOT NULL", name="window"),
    index("schedules_agent", "agent_id"),
    index("schedules_due", "due_at", where="enabled AND due_at IS NOT NULL"),
    index("schedules_unplanned", "id", where="enabled AND due_at IS NULL"),
    index("schedules_first_connect", "id", where="first_connect = 'due'"),
)

schedule_fires = table(
    "schedule_fires",
    key("schedule_id", of="schedules.id"),
    sa.Column("fire_at", Int, primary_key=True),
    number("first_at", info=NOMINAL),
    number("missed_count", 0),
    text("decision"),
    sa.Column("reason", Reported),
    sa.Column("run_id", sa.Text),
    number("decided_at"),
    one_of("decision", get_args(Decision)),
    sa.CheckConstraint("missed_count >= 0", name="missed_count"),
    sa.CheckConstraint("first_at <= fire_at", name="first_at"),
    index("schedule_fires_run", "run_id", where="run_id IS NOT NULL"),
    index("schedule_fires_decided", "decided_at"),
    rowid=False,
)
