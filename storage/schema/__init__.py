"""Tables of the database, declared once for SQLite and PostgreSQL.

``SCHEMA.md`` describes the contents of each. Forbidden states are constraints, written so that NULL does not
satisfy them. Instants are UTC epoch milliseconds, ids are text. ``kernel/migrations/`` leads to the same
tables, and a test compares the two.
"""

from typing import Any

import sqlalchemy as sa

from storage.kernel.columns import (
    HAPPENED,
    NOMINAL,
    Doc,
    Int,
    Reported,
    doc,
    expires,
    index,
    key,
    metadata,
    number,
    one_of,
    reference,
    table,
    text,
    waits,
)
from storage.schema.agent_tables import (
    AGENT_SUBTYPES,
    AGENT_TYPES,
    MAY_CHANGE_WORDS,
    VALUES_OF_AXIS,
    Decision,
    agent_capabilities,
    agent_config_history,
    agent_configs,
    agent_locks,
    agent_metrics,
    agent_state_history,
    agent_states,
    agent_templates,
    agents,
    board_members,
    board_memory,
    boards,
    broadcasts,
    checkpoints,
    gateway_agents,
    gateways,
    lock_waits,
    message_moves,
    messages,
    metric_series,
    question_tellings,
    questions,
    schedule_fires,
    schedules,
    soul_versions,
    soul_writes,
    wakes,
)
from storage.schema.run_tables import (
    CONNECTOR_STATES,
    EXECUTING,
    LIVE,
    SEEN_STATES,
    SIGN_IN_WAYS,
    budget_holds,
    connector_cursors,
    connectors,
    credentials,
    folder_trees,
    item_excerpts,
    item_proposals,
    item_verdicts,
    item_words,
    items,
    model_answers,
    model_batches,
    model_calls,
    posted,
    run_calls,
    run_state_history,
    run_units,
    runs,
    seen_messages,
    sign_ins,
    unit_ledger,
)

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


__all__ = [
    "AGENT_SUBTYPES",
    "AGENT_TYPES",
    "CONNECTOR_STATES",
    "EXECUTING",
    "LIVE",
    "MAY_CHANGE_WORDS",
    "SEEN_STATES",
    "SIGN_IN_WAYS",
    "VALUES_OF_AXIS",
    "Decision",
    "activity_log",
    "agent_capabilities",
    "agent_config_history",
    "agent_configs",
    "agent_locks",
    "agent_metrics",
    "agent_state_history",
    "agent_states",
    "agent_templates",
    "agent_tokens",
    "agents",
    "assistant_grants",
    "audit_log",
    "board_members",
    "board_memory",
    "boards",
    "broadcasts",
    "browser_sessions",
    "budget_holds",
    "changes",
    "checkpoints",
    "connector_cursors",
    "connectors",
    "credentials",
    "deliveries",
    "device_keys",
    "device_stores",
    "device_tokens",
    "devices",
    "failed_attempts",
    "folder_trees",
    "gateway_agents",
    "gateways",
    "hub",
    "idempotency_keys",
    "invitations",
    "issue_mutes",
    "item_excerpts",
    "item_proposals",
    "item_verdicts",
    "item_words",
    "items",
    "leases",
    "lock_waits",
    "message_moves",
    "messages",
    "metadata",
    "metric_series",
    "model_answers",
    "model_batches",
    "model_calls",
    "nodes",
    "notify_targets",
    "operator_tokens",
    "pairings",
    "posted",
    "question_tellings",
    "questions",
    "receipts",
    "run_calls",
    "run_state_history",
    "run_units",
    "runs",
    "schedule_fires",
    "schedules",
    "seen_messages",
    "settings_revisions",
    "sign_ins",
    "soul_versions",
    "soul_writes",
    "unit_ledger",
    "users",
    "wakes",
]
