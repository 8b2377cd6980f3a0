"""Tables of the database for SQLite and PostgreSQL: columns, constraints and indexes.

``SCHEMA.md`` describes the contents of each. Forbidden states are constraints, written so that NULL does not
satisfy them. Instants are UTC epoch milliseconds, ids are text. ``kernel/migrations/`` leads to the same
tables, and a test compares the two.
"""

from typing import Any, Literal, get_args

import sqlalchemy as sa

from protocol.agent_messages import MessageKind, MessageState, QuestionState, QueueMode
from protocol.coordination import SoulWriteState
from protocol.lifecycles import CallState, PauseReason, RunOutcome, RunState, UnitState
from storage.kernel.columns import (
    HAPPENED,
    HISTORY_OF,
    NOMINAL,
    Choice,
    Doc,
    Flag,
    Int,
    Real,
    Reported,
    doc,
    expires,
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
from storage.kernel.columns import metadata as metadata  # with the tables below

# --- the hub ---

hub = table("hub", key("key"), text("value"), rowid=False)

nodes = table(
    "nodes",
    key("id"),
    sa.Column("boot_id", sa.Text, nullable=False, unique=True),
    number("started_at"),
    number("seen_at"),
    sa.Column("stopped_at", Int),
    number("boots_10min", 1),
    sa.Column("name", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("revision", sa.Text),  # the newest one that its release knows
    sa.Column("demand", Int),  # questions to models with limits that wait or are under way
    sa.Column("declared", Doc(dict[str, Any])),
    sa.Column("address", sa.Text),
    sa.Column("settings_number", Int),  # revision of the shared settings that it uses
    sa.Column("settings_refused", sa.Text),  # why it does not use a newer one
    sa.Column("sealed_keys", sa.LargeBinary),  # that another node gives it
)

settings_revisions = table(
    "settings_revisions",
    sa.Column("number", Int, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text),
    text("actor"),
    number("at"),
)

leases = table(
    "leases",
    key("name"),
    sa.Column("holder_boot_id", sa.Text),
    number("fence", 0),
    sa.Column("acquired_at", Int, info=waits("expires_at > 0")),
    number("expires_at", 0, info=waits("expires_at > 0")),
    sa.CheckConstraint("fence >= 0", name="fence"),
    rowid=False,
)

issue_mutes = table(
    "issue_mutes",
    key("key"),
    sa.Column("user_id", sa.Text),  # of the issue's subject; NULL: the hub's own
    text("reason"),
    text("actor"),
    number("muted_at"),
    sa.Column("ends_at", Int, info=expires("muted_at")),
    index("issue_mutes_ends", "ends_at", where="ends_at IS NOT NULL"),
    rowid=False,
)

idempotency_keys = table(
    "idempotency_keys",
    key("scope"),
    key("key"),
    text("request_hash"),
    sa.Column("response", Doc),
    number("created_at"),
    index("idempotency_keys_created", "created_at"),
    rowid=False,
)

changes = table(
    "changes",
    key("source"),  # table of the row
    key("subject"),
    number("seq"),
    sa.Column("user_id", sa.Text),  # of the subject; NULL: the hub's own
    index("changes_seq", "seq"),
    rowid=False,
)

# Addresses that are notified of events, by their names in hub.toml; ``storage.deliveries``.
notify_targets = table(
    "notify_targets",
    key("name"),
    reference("user_id", "users.id", ondelete="CASCADE", nullable=True),  # whose events; NULL: all
    number("cursor"),  # changes up to this number are in the deliveries
    text("digest"),  # of its settings: a target with other ones is tried again
    number("failures", 0),
    sa.Column("failing_since", Int, info=HAPPENED),
    number("retry_at", 0, info=waits()),
    sa.Column("delivered_at", Int),
    sa.Column("disabled_at", Int),
    sa.Column("problem", Reported),
    number("left_out", 0),
    sa.Column("left_out_since", Int, info=HAPPENED),
    doc("issues", "{}"),  # that it knows as open, by their keys
    number("created_at"),
    rowid=False,
)

deliveries = table(
    "deliveries",
    key("id"),
    reference("target", "notify_targets.name", ondelete="CASCADE"),
    number("number"),  # order of the events of a target
    sa.Column("user_id", sa.Text),  # of the subject; NULL: the hub's own
    text("event"),
    text("subject"),
    doc("data", "{}"),
    text("state", "waiting"),
    number("attempts", 0),
    sa.Column("answer", Reported),
    number("due_at", info=waits("state = 'waiting'")),
    number("created_at"),
    sa.Column("answered_at", Int),
    one_of("state", ("waiting", "delivered", "failed")),
    index("deliveries_listed", "target", "number", unique=True),
    index("deliveries_waiting", "target", "number", where="state = 'waiting'"),
    index("deliveries_age", "created_at"),
)

activity_log = table(
    "activity_log",
    key("id"),
    number("at"),
    text("event_type"),
    text("level", "info"),
    sa.Column("agent_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("device_id", sa.Text),
    text("actor"),
    sa.Column("trace_id", sa.Text),
    sa.Column("message", Reported, nullable=False),
    doc("data", "{}"),
    sa.Column("user_id", sa.Text),  # of its agent, else of its device
    one_of("level", ("debug", "info", "warning", "error")),
    index("activity_log_agent", "agent_id", "at"),
    index("activity_log_at", "at"),
    index("activity_log_event", "event_type", "at", "id"),
    index(
        "activity_log_user",
        "user_id",
        "at",
        "id",
        where="user_id IS NOT NULL",
    ),
)

audit_log = table(
    "audit_log",
    sa.Column("seq", Int, primary_key=True, autoincrement=False),
    number("at", info=NOMINAL),  # hashed with its entry
    text("actor"),
    text("event"),
    sa.Column("subject", sa.Text),
    text("outcome"),
    text("detail"),  # canonical JSON, exactly as hashed: a JSON column would change the spelling
    sa.Column("prev_hash", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    one_of("outcome", ("done", "refused")),
    index("audit_log_at", "at"),
    index("audit_log_event", "event", "seq"),
)

# --- users, devices and tokens ---

users = table(
    "users",
    key("id"),
    text("name"),
    number("created_at"),
    index("users_one_name", "name", unique=True),
)

devices = table(
    "devices",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("name"),
    sa.Column("platform", sa.Text),
    number("max_concurrent_runs", 1),
    sa.Column("boot_id", sa.Text),  # of the hub process that has its connection; NULL after it left
    sa.Column("taken_from", sa.Text),  # hub process that had the connection before, until it knows
    number("session_epoch", 0),
    sa.Column("last_seen_at", Int),
    sa.Column("revoked_at", Int),
    number("created_at"),
    doc("grants", '["files", "agents", "coordination"]'),
    sa.Column("origin", sa.Text),  # of its newest connection, see copies
    sa.Column("copies", sa.Text),  # the two machines that have its credential
    sa.CheckConstraint("max_concurrent_runs BETWEEN 1 AND 64", name="max_concurrent_runs"),
    index("devices_user", "user_id"),
    index("devices_by_name", "name", "id"),
    index("devices_one_name", "user_id", "name", where="revoked_at IS NULL", unique=True),
    index("devices_revoked", "revoked_at", where="revoked_at IS NOT NULL"),
    index("devices_present", "boot_id", "user_id", where="boot_id IS NOT NULL"),
    index("devices_taken", "taken_from", where="taken_from IS NOT NULL"),
)

device_tokens = table(
    "device_tokens",
    key("id"),
    reference("device_id", "devices.id", ondelete="CASCADE"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    doc("scopes", "[]"),
    number("created_at"),
    sa.Column("expires_at", Int, info=expires()),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    sa.Column("last4", sa.Text),
    sa.Column("created_by", sa.Text),
    index("device_tokens_device", "device_id"),
    index("device_tokens_by_age", "created_at", "id"),
    index("device_tokens_revoked", "revoked_at", where="revoked_at IS NOT NULL"),
    index("device_tokens_expires", "expires_at", where="revoked_at IS NULL AND expires_at IS NOT NULL"),
)

device_keys = table(
    "device_keys",
    key("id"),
    reference("device_id", "devices.id", ondelete="CASCADE"),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    number("created_at"),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    sa.Column("rotated_to", sa.Text),
    index("device_keys_device", "device_id"),
    index("device_keys_revoked", "revoked_at", where="revoked_at IS NOT NULL"),
)

receipts = table(
    "receipts",
    key("id"),
    reference("device_id", "devices.id", ondelete="CASCADE"),
    number("number"),
    number("at"),
    text("digest"),
    text("receipt"),  # exactly as signed
    sa.Column("files", sa.LargeBinary, nullable=False),
    index("receipts_device", "device_id", "number", unique=True),
    index("receipts_at", "at"),
)

device_stores = table(
    "device_stores",
    key("device_id", of="devices.id"),
    text("store_id"),
    number("counter", 0),
    sa.Column("resend_after", sa.Text),
    text("cause"),
    number("began_at"),
    sa.Column("agreed_at", Int),
    number("sent", 0),
    number("taken", 0),
    number("refused", 0),
    sa.Column("problem", Reported),
    one_of("cause", ("first", "store_older", "store_replaced", "hub_older", "asked")),
    rowid=False,
)

pairings = table(
    "pairings",
    key("id"),
    sa.Column("code_hash", sa.LargeBinary, nullable=False, unique=True),
    text("key_id"),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    text("label", ""),
    text("platform", ""),
    text("network"),
    text("connection_id"),
    number("created_at", info=waits()),
    number("expires_at", info=waits()),
    sa.Column("decided_at", Int, info=waits()),
    sa.Column("decision", sa.Text),
    sa.Column("actor", sa.Text),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    one_of("decision", ("approved", "denied"), or_null=True),
    sa.CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided_at"),
    index("pairings_expires", "expires_at"),
)

invitations = table(
    "invitations",
    key("id"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("device_name", sa.Text),
    number("uses_left"),
    text("last4"),
    text("created_by"),
    number("created_at"),
    number("expires_at", info=expires()),
    sa.Column("revoked_at", Int),
    sa.CheckConstraint("uses_left >= 0", name="uses_left"),
)

operator_tokens = table(
    "operator_tokens",
    key("id"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    text("name"),
    text("role"),
    doc("scopes", "[]"),
    reference("user_id", "users.id", ondelete="CASCADE", nullable=True),
    text("last4"),
    text("created_by"),
    number("created_at"),
    number("expires_at", info=expires()),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    one_of("role", ("viewer", "operator", "admin")),
    sa.Column("limits", Doc(dict[str, list[str]])),
)

# What a person allowed an assistant: the operator's token that it renews.
assistant_grants = table(
    "assistant_grants",
    key("token_id", of="operator_tokens.id"),
    sa.Column("family_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("turn_hash", sa.LargeBinary, nullable=False),
    text("client_id"),
    text("redirect_uri"),
    sa.Column("code_challenge", sa.Text),  # NULL: the code was used
    sa.Column("opener", sa.Text),
    number("created_at"),
    number("renewed_at"),
    number("ends_at", info=expires()),
)

browser_sessions = table(
    "browser_sessions",
    key("id"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    text("name"),
    text("role"),
    doc("scopes", "[]"),
    reference("user_id", "users.id", ondelete="CASCADE", nullable=True),
    reference("token_id", "operator_tokens.id", ondelete="CASCADE", nullable=True),
    reference("device_id", "devices.id", ondelete="CASCADE", nullable=True),
    text("last4"),
    text("created_by"),
    number("created_at"),
    sa.Column("opened_at", Int),  # NULL: a link that was not opened yet
    number("expires_at", info=expires()),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    one_of("role", ("viewer", "operator", "admin")),
    index("browser_sessions_token", "token_id", where="token_id IS NOT NULL"),
    index("browser_sessions_device", "device_id", where="device_id IS NOT NULL"),
)

agent_tokens = table(
    "agent_tokens",
    key("id"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("last4"),
    text("created_by"),
    number("created_at"),
    number("expires_at", info=expires()),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    index("agent_tokens_agent", "agent_id"),
    index("agent_tokens_revoked", "revoked_at", where="revoked_at IS NOT NULL"),
    index("agent_tokens_expires", "expires_at", where="revoked_at IS NULL"),
)

failed_attempts = table(
    "failed_attempts",
    key("party"),
    doc("recent", "[]", list[int]),
    number("waits", 0),
    number("wait_ends_at", 0, info=waits("wait_ends_at > 0")),
    number("failed_at"),
    index("failed_attempts_failed", "failed_at"),
    rowid=False,
)

# --- agents, schedules, boards and messages ---

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
_DETAILS = ("CREATED", "INITIALIZING", "READY", "ACTIVE")  # as words finer than the axes
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
    one_of("state_detail", _DETAILS, or_null=True),
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
    one_of("old_detail", _DETAILS, or_null=True),
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


gateways = table(
    "gateways",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    number("created_at"),
    number("updated_at"),
    sa.Column("deleted_at", Int),
)

gateway_agents = table(
    "gateway_agents",
    key("agent_id", of="agents.id"),
    reference("gateway_id", "gateways.id", ondelete="CASCADE"),
    text("remote_id"),
    sa.Column("session_key", sa.Text),
    text("role", "worker"),
    text("state", "wanted"),
    sa.Column("problem", Reported),
    sa.Column("made_at", Int),
    sa.Column("lease_boot_id", sa.Text),
    number("created_at"),
    number("updated_at"),
    sa.UniqueConstraint("gateway_id", "remote_id"),
    one_of("role", ("main", "lead", "worker")),
    one_of("state", ("wanted", "creating", "ready", "failed")),
    index("gateway_agents_main", "gateway_id", where="role = 'main'", unique=True),
    rowid=False,
)

boards = table(
    "boards",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("name"),
    sa.Column("description", sa.Text),
    reference("gateway_id", "gateways.id", ondelete="SET NULL", nullable=True),
    number("created_at"),
    number("updated_at"),
    sa.UniqueConstraint("user_id", "name"),
    index("boards_by_name", "name", "id"),
    index("boards_gateway", "gateway_id", where="gateway_id IS NOT NULL"),
)

board_members = table(
    "board_members",
    key("agent_id", of="agents.id"),
    reference("board_id", "boards.id", ondelete="CASCADE"),
    sa.Column("is_lead", Flag, nullable=False, server_default=sa.false()),
    number("joined_at"),
    zero_or_one("is_lead"),
    index("board_members_board", "board_id"),
    index("board_members_one_lead", "board_id", where="is_lead", unique=True),
    rowid=False,
)

board_memory = table(
    "board_memory",
    key("id"),
    reference("board_id", "boards.id", ondelete="CASCADE"),
    text("content"),
    doc("tags", "[]"),
    sa.Column("is_chat", Flag, nullable=False, server_default=sa.false()),
    sa.Column("source", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("reply_to", sa.Text),
    sa.Column("agent_id", sa.Text),
    text("actor"),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("created_at"),
    zero_or_one("is_chat"),
    index("board_memory_board", "board_id", "created_at", "id"),
)

broadcasts = table(
    "broadcasts",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("gateway_id", sa.Text),
    text("kind"),
    text("content"),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    sa.Column("correlation_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    doc("refused", "[]", list[dict[str, Any]]),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("boards"),
    number("rounds", 1),
    number("created_at"),
    sa.Column("settled_at", Int),
    one_of("kind", ("question", "handoff")),
    sa.CheckConstraint("boards >= 0 AND rounds >= 1", name="counts"),
    index("broadcasts_by_age", "created_at", "id"),
    index("broadcasts_user", "user_id", "created_at"),
    index("broadcasts_open", "id", where="settled_at IS NULL"),
    index("broadcasts_settled", "settled_at", where="settled_at IS NOT NULL"),
    index(
        "broadcasts_gateway",
        "gateway_id",
        "created_at",
        "id",
        where="gateway_id IS NOT NULL AND length(id) > 0",
    ),
)

questions = table(
    "questions",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    reference("board_id", "boards.id", ondelete="SET NULL", nullable=True),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    text("content"),
    sa.Column("preferred_channel", sa.Text),
    sa.Column("correlation_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    sa.Column("state", Choice(QuestionState), nullable=False, server_default=sa.text("'open'")),
    sa.Column("answer", sa.Text),
    sa.Column("answered_by", sa.Text),
    sa.Column("memory_id", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("created_at"),
    number("expires_at", info=waits("state = 'open'")),
    sa.Column("settled_at", Int),
    one_of("state", QuestionState),
    sa.CheckConstraint("(state = 'open') = (settled_at IS NULL)", name="settled_at"),
    sa.CheckConstraint(
        "(state = 'answered') = (answer IS NOT NULL AND answered_by IS NOT NULL)", name="answered"
    ),
    index("questions_by_age", "created_at", "id"),
    index("questions_user", "user_id", "created_at"),
    # Includes the state, so that SQLite prefers it to the index above.
    index(
        "questions_waiting",
        "user_id",
        "state",
        "expires_at",
        where="state = 'open'",
    ),
    index("questions_settled", "settled_at", where="settled_at IS NOT NULL"),
    index("questions_message", "message_id", where="message_id IS NOT NULL"),
    index("questions_state", "state", "created_at", "id", where="length(id) > 0"),
    index(
        "questions_board",
        "board_id",
        "created_at",
        "id",
        where="board_id IS NOT NULL AND length(id) > 0",
    ),
    index(
        "questions_correlation",
        "correlation_id",
        "created_at",
        "id",
        where="correlation_id IS NOT NULL AND length(id) > 0",
    ),
)

question_tellings = table(
    "question_tellings",
    key("question_id", of="questions.id"),
    key("device_id", of="devices.id"),
    number("asked_at"),
    sa.Column("closed_at", Int),
    index("question_tellings_device", "device_id"),
    rowid=False,
)

_unsettled = waits("settled_at IS NULL")
messages = table(
    "messages",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("kind", Choice(MessageKind), nullable=False),
    reference("board_id", "boards.id", ondelete="SET NULL", nullable=True),
    reference("broadcast_id", "broadcasts.id", ondelete="SET NULL", nullable=True),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    reference("to_agent_id", "agents.id", ondelete="SET NULL", nullable=True),
    sa.Column("to_lead", Flag, nullable=False, server_default=sa.false()),
    reference("gateway_id", "gateways.id", ondelete="SET NULL", nullable=True),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    text("content"),
    sa.Column("deliver", Flag, nullable=False, server_default=sa.false()),
    sa.Column("queue_mode", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("reply_to", sa.Text),
    sa.Column("question_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    sa.Column("state", Choice(MessageState), nullable=False, server_default=sa.text("'waiting'")),
    number("attempt", 1),
    number("sends", 0),
    number("version", 1),
    sa.Column("lease_boot_id", sa.Text),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", Reported),
    sa.Column("answer", sa.Text),
    sa.Column("memory_id", sa.Text),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("not_before", info=_unsettled),
    number("expires_at", info=_unsettled),
    number("created_at", info=waits("settled_at IS NULL", happened=True)),
    number("updated_at", info=waits("settled_at IS NULL", happened=True)),
    sa.Column("settled_at", Int),
    one_of("kind", MessageKind),
    one_of("state", MessageState),
    one_of("queue_mode", QueueMode, or_null=True),
    zero_or_one("to_lead"),
    zero_or_one("deliver"),
    sa.CheckConstraint("attempt >= 1 AND sends >= 0", name="counts"),
    sa.CheckConstraint(
        "state NOT IN ('answered', 'failed', 'expired') OR settled_at IS NOT NULL", name="settled_at"
    ),
    sa.CheckConstraint("state <> 'answered' OR answer IS NOT NULL", name="answered"),
    sa.CheckConstraint("state <> 'failed' OR reason_code IS NOT NULL", name="failed"),
    index("messages_agent", "to_agent_id", "created_at", where="settled_at IS NULL"),
    index("messages_due", "gateway_id", "not_before", "id", where="settled_at IS NULL"),
    index("messages_expiring", "expires_at", where="settled_at IS NULL"),
    index("messages_open", "user_id", "settled_at", where="settled_at IS NULL"),
    index("messages_by_age", "created_at", "id"),
    index("messages_user", "user_id", "created_at", "id"),
    index("messages_board", "board_id", "created_at", where="board_id IS NOT NULL"),
    index(
        "messages_broadcast",
        "broadcast_id",
        "board_id",
        where="broadcast_id IS NOT NULL",
        unique=True,
    ),
    index("messages_settled", "settled_at", where="settled_at IS NOT NULL"),
    index("messages_state", "state", "created_at", "id", where="length(id) > 0"),
    index(
        "messages_to",
        "to_agent_id",
        "created_at",
        "id",
        where="to_agent_id IS NOT NULL AND length(id) > 0",
    ),
    index(
        "messages_from",
        "from_agent_id",
        "created_at",
        "id",
        where="from_agent_id IS NOT NULL AND length(id) > 0",
    ),
    index(
        "messages_correlation",
        "correlation_id",
        "created_at",
        "id",
        where="correlation_id IS NOT NULL AND length(id) > 0",
    ),
)

message_moves = table(
    "message_moves",
    key("message_id", of="messages.id"),
    sa.Column("seq", Int, primary_key=True),
    sa.Column("old_state", Choice(MessageState)),
    sa.Column("new_state", Choice(MessageState), nullable=False),
    number("attempt"),
    doc("proof", "{}"),
    sa.Column("reason", Reported),
    number("at"),
    one_of("old_state", MessageState, or_null=True),
    one_of("new_state", MessageState),
    rowid=False,
)

soul_writes = table(
    "soul_writes",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    sa.Column("board_id", sa.Text),
    text("content"),
    text("sha256"),
    sa.Column("expected_sha256", sa.Text),
    sa.Column("found_sha256", sa.Text),
    sa.Column("state", Choice(SoulWriteState), nullable=False, server_default=sa.text("'waiting'")),
    number("sends", 0),
    sa.Column("reason_code", sa.Text),
    sa.Column("problem", Reported),
    sa.Column("reason", Reported),
    sa.Column("source_url", sa.Text),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    sa.Column("correlation_id", sa.Text),
    text("trace_id"),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("not_before", info=_unsettled),
    number("created_at"),
    sa.Column("settled_at", Int),
    one_of("state", SoulWriteState),
    sa.CheckConstraint("(state = 'waiting') = (settled_at IS NULL)", name="settled_at"),
    index("soul_writes_open", "agent_id", where="state = 'waiting'", unique=True),
    index("soul_writes_agent", "agent_id", "created_at"),
)

soul_versions = table(
    "soul_versions",
    key("agent_id", of="agents.id"),
    sa.Column("seq", Int, primary_key=True),
    text("kind"),
    text("content"),
    text("sha256"),
    number("size_bytes"),
    sa.Column("write_id", sa.Text),
    text("actor"),
    sa.Column("reason", Reported),
    sa.Column("source_url", sa.Text),
    number("at"),
    one_of("kind", ("written", "seen", "refused")),
    rowid=False,
)

# --- runs, items, models and connectors ---

EXECUTING = "state IN ('PREPARING', 'RUNNING')"
LIVE = "state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')"
_FINAL = "state IN ('COMPLETED', 'FAILED', 'CANCELLED')"

_live = waits(LIVE)
runs = table(
    "runs",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    reference("schedule_id", "schedules.id", ondelete="SET NULL", nullable=True),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    text("trigger_kind"),
    text("fire_key"),
    number("fire_at", info=NOMINAL),
    number("eligible_at", info=_live),
    sa.Column("queue_slot", sa.Text),
    sa.Column("rerun_of", sa.Text),
    sa.Column("state", Choice(RunState), nullable=False, server_default=sa.text("'QUEUED'")),
    sa.Column("outcome", Choice(RunOutcome)),
    sa.Column("reason", Reported),
    sa.Column("pause_reason", Choice(PauseReason)),
    number("fence", 0),
    sa.Column("lease_boot_id", sa.Text),
    sa.Column("lease_expires_at", Int, info=_live),
    sa.Column("cancel_requested_at", Int, info=_live),
    sa.Column("cancel_reason", sa.Text),
    number("attempt", 1),
    number("max_attempts", 5),
    number("crash_count", 0),
    number("dispatch_count", 0),
    number("coalesced_count", 0),
    number("timeout_ms", 3_600_000),
    sa.Column("deadline_at", Int, info=_live),
    sa.Column("start_deadline_at", Int, info=_live),
    number("priority", 0),
    number("config_rev"),
    text("config_fingerprint"),
    doc("needs", "[]"),
    doc("locks", "[]"),
    doc("settings", "{}"),  # of the agent, copied when the run was created
    doc("parameters", "{}"),  # of the requester
    doc("context", "{}"),
    sa.Column("task_id", sa.Text),  # of the context
    sa.Column("progress", sa.REAL, nullable=False, server_default=sa.text("0")),
    sa.Column("status_message", sa.Text),
    sa.Column("result", Doc(dict[str, Any])),
    doc("errors", "[]", list[dict[str, Any]]),
    number("error_count", 0),
    number("units_total", 0),
    number("units_done", 0),
    number("units_skipped", 0),
    number("units_unchanged", 0),
    number("units_failed", 0),
    number("items_created", 0),
    number("model_requests", 0),
    number("prompt_tokens", 0),
    number("completion_tokens", 0),
    number("cost_nanos", 0),
    number("items_updated", 0),
    number("items_known", 0),
    number("state_seq", 1),
    number("created_at"),
    sa.Column("started_at", Int),
    sa.Column("completed_at", Int),
    sa.Column("forgotten_at", Int),
    sa.Column("measured_at", Int),
    number("folded", 0),  # earlier runs without news that it represents; see ``storage.runs.run_moves``
    sa.Column("folded_since", Int, info=HAPPENED),
    number("updated_at", info=waits(LIVE, happened=True)),
    sa.UniqueConstraint("agent_id", "fire_key"),
    one_of("trigger_kind", ("schedule", "catchup", "backfill", "manual", "wake", "rerun")),
    one_of("state", RunState),
    one_of("outcome", RunOutcome, or_null=True),
    one_of("pause_reason", PauseReason, or_null=True),
    sa.CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    sa.CheckConstraint(
        f"({EXECUTING}) = (lease_boot_id IS NOT NULL AND lease_expires_at IS NOT NULL)", name="lease"
    ),
    sa.CheckConstraint(f"({_FINAL}) = (completed_at IS NOT NULL)", name="completed_at"),
    sa.CheckConstraint(
        "CASE state WHEN 'COMPLETED' THEN COALESCE(outcome IN ('success', 'partial'), FALSE)"
        " WHEN 'FAILED' THEN COALESCE(outcome = 'error', FALSE) ELSE outcome IS NULL END",
        name="outcome_of_state",
    ),
    sa.CheckConstraint("(state = 'PAUSED') = (pause_reason IS NOT NULL)", name="paused"),
    sa.CheckConstraint("attempt BETWEEN 1 AND max_attempts", name="attempt"),
    sa.CheckConstraint("fence > 0 OR state IN ('QUEUED', 'PAUSED', 'CANCELLED')", name="fence"),
    index("runs_ready", "eligible_at", "id", where="state = 'QUEUED'"),
    index("runs_executing", "device_id", "agent_id", where=EXECUTING),
    index("runs_lease", "lease_expires_at", where=EXECUTING),
    index("runs_paused", "agent_id", "pause_reason", where="state = 'PAUSED'"),
    index("runs_history", "agent_id", "completed_at", where="completed_at IS NOT NULL"),
    index("runs_remembered", "completed_at", where="completed_at IS NOT NULL AND forgotten_at IS NULL"),
    index("runs_unmeasured", "completed_at", where="completed_at IS NOT NULL AND measured_at IS NULL"),
    index("runs_agent", "agent_id", "created_at", "id"),
    index("runs_by_age", "created_at", "id"),
    index("runs_live", "created_at", "id", where=LIVE),
    index("runs_live_agent", "agent_id", "id", where=LIVE),
    index("runs_cancelled", "created_at", "id", where="state = 'CANCELLED'"),
    index("runs_of_task", "task_id", "created_at", "id", where="task_id IS NOT NULL"),
    index("runs_by_outcome", "outcome", "created_at", "id", where="outcome IS NOT NULL"),
    index("runs_of_schedule", "schedule_id", where=f"schedule_id IS NOT NULL AND {LIVE}"),
    index("runs_queued", "device_id", "trigger_kind", where="state = 'QUEUED'"),
    index("runs_needy", "eligible_at", where="state = 'QUEUED' AND needs <> '[]'"),
    index("runs_late", "start_deadline_at", where="state = 'QUEUED' AND start_deadline_at IS NOT NULL"),
    index(
        "runs_one_waiting",
        "queue_slot",
        where="state = 'QUEUED' AND fence = 0 AND queue_slot IS NOT NULL",
        unique=True,
    ),
    index(
        "runs_of_device",
        "device_id",
        "created_at",
        "id",
        where="device_id IS NOT NULL AND length(id) > 0",
    ),
)

run_state_history = table(
    "run_state_history",
    key("run_id", of="runs.id"),
    sa.Column("seq", Int, primary_key=True),
    sa.Column("old_state", Choice(RunState)),
    sa.Column("new_state", Choice(RunState), nullable=False),
    number("attempt"),
    number("fence"),
    sa.Column("reason", Reported),
    text("actor"),
    number("at"),
    one_of("old_state", RunState, or_null=True),
    one_of("new_state", RunState),
    rowid=False,
)

run_units = table(
    "run_units",
    key("run_id", of="runs.id"),
    key("unit_key"),
    text("content_hash"),
    sa.Column("size_bytes", Int),
    sa.Column("state", Choice(UnitState), nullable=False),
    number("attempts", 0),
    number("calls_planned", 0),
    number("calls_settled", 0),
    sa.Column("truncated", Flag, nullable=False, server_default=sa.false()),
    sa.Column("error", Reported),
    sa.Column("began_at", Int, info=NOMINAL),
    sa.Column("read_at", Int, info=NOMINAL),
    sa.Column("planned_at", Int, info=NOMINAL),
    sa.Column("notes", Doc(dict[str, Any])),
    number("items_known", 0),
    doc("awaits", "[]"),
    number("is_behind", 0),
    number("updated_at", info=NOMINAL),
    one_of("state", UnitState),
    zero_or_one("truncated"),
    sa.CheckConstraint("calls_settled <= calls_planned", name="calls_settled"),
    sa.CheckConstraint("state <> 'DONE' OR calls_settled = calls_planned", name="done"),
    rowid=False,
)

run_calls = table(
    "run_calls",
    key("call_id"),
    text("run_id"),
    text("unit_key"),
    number("ordinal"),
    text("target_table"),
    text("action", "insert"),
    sa.Column("item_id", sa.Text),
    sa.Column("payload", Doc(dict[str, Any])),
    sa.Column("state", Choice(CallState), nullable=False, server_default=sa.text("'PLANNED'")),
    number("sends", 0),
    sa.Column("sent_at", Int, info=NOMINAL),
    sa.Column("result", Doc(dict[str, Any])),
    number("updated_at", info=NOMINAL),
    sa.ForeignKeyConstraint(
        ["run_id", "unit_key"], ["run_units.run_id", "run_units.unit_key"], ondelete="CASCADE"
    ),
    one_of("state", CallState),
    index("run_calls_unit", "run_id", "unit_key"),
    index(
        "run_calls_open",
        "run_id",
        "unit_key",
        "ordinal",
        where="state IN ('PLANNED', 'SENT')",
    ),
)

unit_ledger = table(
    "unit_ledger",
    key("agent_id", of="agents.id"),
    key("unit_key"),
    text("content_hash"),
    text("config_fingerprint"),
    text("run_id"),
    number("done_at"),
    rowid=False,
)

# Runs that may change an agent's ledger, and the digest of the listing that the last one settled.
folder_trees = table(
    "folder_trees",
    key("agent_id", of="agents.id"),
    key("run_id"),
    text("config_fingerprint"),
    sa.Column("digest", sa.Text),
    number("listed_at"),
    rowid=False,
)

_decided = "verdict_at IS NOT NULL AND length(id) > 0"
_listed = "agent_id IS NOT NULL AND length(id) > 0"
_page = ("verdict", "created_at", "id")
items = table(
    "items",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    reference("agent_id", "agents.id", ondelete="CASCADE", nullable=True),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    text("unit_key"),
    text("target_table"),
    text("likeness"),
    text("quote_hash"),
    text("place_hash"),
    text("config_fingerprint"),
    doc("data", "{}"),
    sa.Column("before", Doc(dict[str, Any])),
    sa.Column("date_ms", Int),
    doc("warnings", "[]"),
    sa.Column("source", Doc(dict[str, Any])),
    doc("places", "[]", list[dict[str, Any]]),
    text("call_id"),
    text("run_id"),
    sa.Column("row_id", sa.Text),
    sa.Column("answered_at", Int),
    text("verdict", "open"),
    sa.Column("verdict_at", Int),
    number("version", 1),
    number("created_at"),
    number("updated_at"),
    sa.Column("evidence", sa.Text),
    sa.Column("same_as", sa.Text),
    sa.Column("rank", Int),
    one_of("verdict", ("open", "approved", "edited", "rejected", "held")),
    sa.CheckConstraint("(verdict IN ('open', 'held')) = (verdict_at IS NULL)", name="verdict_at"),
    index("items_unit", "user_id", "unit_key"),
    index("items_likeness", "likeness", "device_id"),
    index("items_day", "user_id", "target_table", "date_ms", where="date_ms IS NOT NULL"),
    index("items_call", "call_id"),
    index("items_of_device", "device_id", "call_id"),
    index("items_quote", "device_id", "quote_hash"),
    index("items_row", "device_id", "row_id", where="row_id IS NOT NULL"),
    index("items_of_run", "run_id", where="length(id) > 0"),
    # Each counts the verdicts of a time.
    index("items_decided", "verdict", "verdict_at", where=_decided),
    index("items_decided_of_user", "user_id", "verdict", "verdict_at", where=_decided),
    index("items_open", "device_id", where="verdict = 'open' AND row_id IS NOT NULL"),
    # Each lists items: all of them as one page of each verdict.
    index("items_listed", *_page, where=_listed),
    index("items_of_user", "user_id", *_page, where=_listed),
    index("items_of_agent", "agent_id", *_page, where=_listed),
)

_on_its_way = "state IN ('pending', 'sent')"
# Verdicts that people gave at the hub, on their way to the items' devices; ``storage.runs.item_verdicts``.
item_verdicts = table(
    "item_verdicts",
    key("id"),
    reference("item_id", "items.id", ondelete="CASCADE"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("device_id"),
    text("verdict"),
    doc("data", "{}"),
    text("seen_call"),
    sa.Column("undoes", sa.Text),
    sa.Column("source", Doc(dict[str, Any])),
    text("state", "pending"),
    sa.Column("reason", Reported),
    number("sends", 0),
    number("epoch", 0),
    number("next_at", info=waits("settled_at IS NULL")),
    sa.Column("counter", Int),
    text("actor"),
    sa.Column("proposed_by", sa.Text),
    number("created_at"),
    sa.Column("settled_at", Int),
    sa.Column("seen_row", sa.Text),
    sa.Column("led_by", sa.Text),
    one_of("verdict", ("approve", "edit", "reject", "undo")),
    one_of("state", ("pending", "sent", "done", "refused")),
    sa.CheckConstraint("(verdict = 'undo') = (undoes IS NOT NULL)", name="undoes"),
    sa.CheckConstraint("(state IN ('done', 'refused')) = (settled_at IS NOT NULL)", name="settled_at"),
    index("item_verdicts_open", "item_id", where=_on_its_way, unique=True),
    index(
        "item_verdicts_due",
        "device_id",
        "created_at",
        "id",
        where=_on_its_way,
    ),
    index("item_verdicts_item", "item_id", "created_at"),
    index("item_verdicts_user", "user_id"),
    index("item_verdicts_settled", "settled_at", where="settled_at IS NOT NULL"),
    index("item_verdicts_led", "led_by", where="led_by IS NOT NULL"),
)
item_verdicts.info[HISTORY_OF] = "item_id"  # the newest one can be undone

# Verdicts that readers of items propose to their owners; ``storage.runs.item_proposals``.
item_proposals = table(
    "item_proposals",
    key("id"),
    reference("item_id", "items.id", ondelete="CASCADE"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("verdict"),
    doc("data", "{}"),
    text("why"),
    text("seen_call"),
    text("state", "open"),
    text("actor"),
    number("created_at"),
    sa.Column("settled_at", Int),
    one_of("verdict", ("approve", "edit", "reject")),
    one_of("state", ("open", "accepted", "declined", "withdrawn")),
    sa.CheckConstraint("(state = 'open') = (settled_at IS NULL)", name="settled_at"),
    index("item_proposals_open", "actor", "item_id", where="state = 'open'", unique=True),
    index("item_proposals_item", "item_id"),
    index("item_proposals_user", "user_id"),
    index("item_proposals_settled", "settled_at", where="settled_at IS NOT NULL"),
)

# Lines around the quote of an item without a verdict, sealed like credentials.
item_excerpts = table(
    "item_excerpts",
    key("item_id", of="items.id"),
    text("key_id"),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    number("created_at"),
    index("item_excerpts_key", "key_id", "created_at"),
    index("item_excerpts_age", "created_at"),
)

# Folded words of an item, as they are looked for; ``storage.runs.item_words``. due: its day, if it has one.
item_words = table(
    "item_words",
    sa.Column("number", Int, primary_key=True, autoincrement=False),
    sa.Column("item_id", sa.Text, sa.ForeignKey("items.id", ondelete="CASCADE"), nullable=False, unique=True),
    text("user_id"),
    sa.Column("due", Int),
    text("title", ""),
    text("project", ""),
    text("person", ""),
    text("body", ""),
    index("item_words_due", "due", where="due IS NOT NULL"),
)

model_answers = table(
    "model_answers",
    key("agent_id", of="agents.id"),
    key("question"),
    text("model"),
    text("finish"),
    text("answer"),
    number("created_at"),
    number("used_at"),
    one_of("finish", ("whole", "cut_off", "too_long")),
    index("model_answers_used", "used_at"),
)

ANSWERED = "answered"  # outcome of a request that brought an answer; other outcomes are error codes
model_calls = table(
    "model_calls",
    key("id"),
    number("at"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("user_id"),
    sa.Column("run_id", sa.Text),
    sa.Column("unit_key", sa.Text),
    text("question"),
    text("model"),
    text("outcome"),
    number("requests", 1),
    number("prompt_tokens", 0),
    number("completion_tokens", 0),
    number("cost_nanos", 0),
    number("took_ms", 0),
    sa.Column("measured_at", Int),
    index("model_calls_at", "at"),
    index("model_calls_unmeasured", "at", where="measured_at IS NULL"),
    index("model_calls_agent", "agent_id", "at"),
    index("model_calls_run", "run_id", where="run_id IS NOT NULL"),
)

model_batches = table(
    "model_batches",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("run_id"),
    text("model"),
    sa.Column("remote_id", sa.Text),
    text("state", "made"),
    doc("questions", "{}", dict[str, str]),
    number("created_at"),
    sa.Column("checked_at", Int),
    sa.Column("done_at", Int),
    one_of("state", ("made", "submitted", "done", "failed")),
    index("model_batches_run", "run_id"),
)

budget_holds = table(
    "budget_holds",
    key("boot_id"),
    key("account"),
    sa.Column("began", Int, primary_key=True),
    number("tokens"),
    number("cost_nanos"),
    number("in_flight"),
    rowid=False,
)


CONNECTOR_STATES = ("ok", "sign_in", "blocked")
SIGN_IN_WAYS = ("device", "paste", "code")
SEEN_STATES = ("planned", "left_out", "failed", "dead")

# A connector of hub.toml. state: whether its runs may start. origin: account and server of its cursors.
# version: grows with each change of state, so that an outdated refusal changes nothing. failures, retry_at:
# consecutive temporary errors; its runs wait until then.
connectors = table(
    "connectors",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    text("provider"),
    text("origin", ""),
    text("settings_digest", ""),
    sa.Column("account", sa.Text),
    text("state", "ok"),
    sa.Column("reason", Reported),
    sa.Column("detail", Reported),
    number("version", 1),
    number("failures", 0),
    sa.Column("retry_at", Int, info=waits()),
    sa.Column("last_ok_at", Int),
    number("created_at"),
    number("updated_at"),
    sa.Column("deleted_at", Int),
    one_of("state", CONNECTOR_STATES),
)

# Credentials, encrypted by a key that is not in the database. lease_*: process that refreshes the row.
# ended_after: lifetime of the previous grant until the provider ended it, in milliseconds.
credentials = table(
    "credentials",
    key("connector_id", of="connectors.id"),
    number("version", 1),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    text("key_id"),
    doc("scopes", "[]"),
    sa.Column("expires_at", Int, info=waits()),
    number("granted_at"),
    number("refreshed_at"),
    sa.Column("ended_after", Int),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", Int, info=waits()),
    index("credentials_key", "key_id"),
)

# Started sign-ins. sealed: the verifier, or the device code.
sign_ins = table(
    "sign_ins",
    key("id"),
    reference("connector_id", "connectors.id", ondelete="CASCADE"),
    text("way"),
    sa.Column("state_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    text("key_id"),
    sa.Column("redirect_uri", sa.Text),
    sa.Column("device_id", sa.Text),
    text("actor"),
    sa.Column("outcome", sa.Text),
    sa.Column("problem", Reported),
    number("created_at"),
    number("expires_at", info=waits()),
    sa.Column("settled_at", Int),
    one_of("way", SIGN_IN_WAYS),
    one_of("outcome", ("done", "failed"), or_null=True),
    sa.CheckConstraint("(outcome IS NULL) = (settled_at IS NULL)", name="settled_at"),
    index("sign_ins_connector", "connector_id"),
    index("sign_ins_expires", "expires_at"),
)

# Position up to which an agent has settled its connector's stream. origin: account and server of the cursor.
connector_cursors = table(
    "connector_cursors",
    key("agent_id", of="agents.id"),
    text("origin"),
    sa.Column("cursor", sa.Text),
    number("moves", 0),
    sa.Column("run_id", sa.Text),
    sa.Column("last_ok_at", Int),
    number("updated_at"),
)

# Messages that an agent has seen. key_hash: SHA-256 (hex) of the message's key.
seen_messages = table(
    "seen_messages",
    key("agent_id", of="agents.id"),
    key("key_hash"),
    text("version", ""),
    text("state"),
    number("attempts", 0),
    sa.Column("reason", Reported),
    sa.Column("subject_hash", sa.Text),
    sa.Column("run_id", sa.Text),
    number("seen_at"),
    one_of("state", SEEN_STATES),
    index("seen_messages_seen", "seen_at"),
    index("seen_messages_failed", "agent_id", where="state IN ('failed', 'dead')"),
    rowid=False,
)

# Posts to webhooks. The body is deleted when settled; the key stays while the delivery may be repeated.
posted = table(
    "posted",
    key("id"),
    reference("connector_id", "connectors.id", ondelete="CASCADE"),
    text("dedupe_key"),
    text("event", ""),
    text("media_type"),
    sa.Column("body", sa.LargeBinary),
    number("size_bytes"),
    number("received_at"),
    sa.Column("settled_at", Int),
    sa.UniqueConstraint("connector_id", "dedupe_key"),
    sa.CheckConstraint("(body IS NULL) = (settled_at IS NOT NULL)", name="body"),
    index("posted_waiting", "connector_id", "id", where="settled_at IS NULL"),
    index("posted_settled", "settled_at", where="settled_at IS NOT NULL"),
)
