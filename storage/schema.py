"""Tables of the database, declared once for SQLite and PostgreSQL.

``SCHEMA.md`` describes the contents of each. Forbidden states are constraints here, written so that NULL does
not satisfy them. Instants are UTC epoch milliseconds, ids are text. ``kernel/migrations/`` leads to the
same tables step by step, and a test compares the two.
"""

import sqlalchemy as sa

from protocol.lifecycles import CallState, PauseReason, RunOutcome, RunState, UnitState
from storage.agents.schema import (
    agent_capabilities,
    agent_config_history,
    agent_configs,
    agent_locks,
    agent_metrics,
    agent_state_history,
    agent_states,
    agent_templates,
    agents,
    checkpoints,
    lock_waits,
    metric_series,
    wakes,
)
from storage.connectors.schema import (
    connector_cursors,
    connectors,
    credentials,
    posted,
    seen_messages,
    sign_ins,
)
from storage.coordination.schema import (
    agent_tokens,
    board_members,
    board_memory,
    boards,
    broadcasts,
    gateway_agents,
    gateways,
    message_moves,
    messages,
    question_tellings,
    questions,
    soul_versions,
    soul_writes,
)
from storage.kernel.columns import (
    Choice,
    Doc,
    Flag,
    Int,
    doc,
    index,
    metadata,
    number,
    one_of,
    reference,
    table,
    text,
    zero_or_one,
)

__all__ = [
    "EXECUTING",
    "LIVE",
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
    "audit_log",
    "board_members",
    "board_memory",
    "boards",
    "broadcasts",
    "checkpoints",
    "connector_cursors",
    "connectors",
    "credentials",
    "device_keys",
    "device_stores",
    "device_tokens",
    "devices",
    "gateway_agents",
    "gateways",
    "hub",
    "idempotency_keys",
    "invitations",
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
    "operator_tokens",
    "pairings",
    "posted",
    "question_tellings",
    "questions",
    "run_calls",
    "run_state_history",
    "run_units",
    "runs",
    "schedule_fires",
    "schedules",
    "seen_messages",
    "sign_ins",
    "soul_versions",
    "soul_writes",
    "unit_ledger",
    "users",
    "wakes",
]

EXECUTING = "state IN ('PREPARING', 'RUNNING')"
LIVE = "state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')"
_FINAL = "state IN ('COMPLETED', 'FAILED', 'CANCELLED')"

hub = table("hub", sa.Column("key", sa.Text, primary_key=True), text("value"), rowid=False)

nodes = table(
    "nodes",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("boot_id", sa.Text, nullable=False, unique=True),
    number("started_at"),
    number("seen_at"),
    sa.Column("stopped_at", Int),
    number("boots_10min", 1),
)

users = table("users", sa.Column("id", sa.Text, primary_key=True), text("name"), number("created_at"))
index("users_one_name", users.c.name, unique=True)

devices = table(
    "devices",
    sa.Column("id", sa.Text, primary_key=True),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("name"),
    sa.Column("platform", sa.Text),
    number("max_concurrent_runs", 1),
    text("connectivity", "offline"),
    sa.Column("node_id", sa.Text, sa.ForeignKey("nodes.id")),
    number("session_epoch", 0),
    sa.Column("last_seen_at", Int),
    sa.Column("revoked_at", Int),
    number("created_at"),
    doc("grants", '["files", "agents", "coordination"]'),
    sa.CheckConstraint("max_concurrent_runs BETWEEN 1 AND 64", name="max_concurrent_runs"),
    one_of("connectivity", ("online", "offline")),
)
index("devices_user", devices.c.user_id)
index("devices_by_name", devices.c.name, devices.c.id)
index("devices_one_name", devices.c.user_id, devices.c.name, where="revoked_at IS NULL", unique=True)

device_tokens = table(
    "device_tokens",
    sa.Column("id", sa.Text, primary_key=True),
    reference("device_id", "devices.id", ondelete="CASCADE"),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    doc("scopes", "[]"),
    number("created_at"),
    sa.Column("expires_at", Int),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    sa.Column("last4", sa.Text),
    sa.Column("created_by", sa.Text),
)
index("device_tokens_device", device_tokens.c.device_id)
index("device_tokens_by_age", device_tokens.c.created_at, device_tokens.c.id)

device_keys = table(
    "device_keys",
    sa.Column("id", sa.Text, primary_key=True),
    reference("device_id", "devices.id", ondelete="CASCADE"),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    number("created_at"),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    sa.Column("rotated_to", sa.Text),
)
index("device_keys_device", device_keys.c.device_id)

device_stores = table(
    "device_stores",
    sa.Column("device_id", sa.Text, sa.ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    text("store_id"),
    number("counter", 0),
    sa.Column("resend_after", sa.Text),
    text("cause"),
    number("began_at"),
    sa.Column("agreed_at", Int),
    number("sent", 0),
    number("taken", 0),
    number("refused", 0),
    sa.Column("problem", sa.Text),
    one_of("cause", ("first", "store_older", "store_replaced", "hub_older", "asked")),
    rowid=False,
)

pairings = table(
    "pairings",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("code_hash", sa.LargeBinary, nullable=False, unique=True),
    text("key_id"),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    text("label", ""),
    text("platform", ""),
    text("network"),
    text("connection_id"),
    number("created_at"),
    number("expires_at"),
    sa.Column("decided_at", Int),
    sa.Column("decision", sa.Text),
    sa.Column("actor", sa.Text),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    one_of("decision", ("approved", "denied"), or_null=True),
    sa.CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided_at"),
)
index("pairings_expires", pairings.c.expires_at)

invitations = table(
    "invitations",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("device_name", sa.Text),
    number("uses_left"),
    text("last4"),
    text("created_by"),
    number("created_at"),
    number("expires_at"),
    sa.Column("revoked_at", Int),
    sa.CheckConstraint("uses_left >= 0", name="uses_left"),
)

operator_tokens = table(
    "operator_tokens",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    text("name"),
    text("role"),
    doc("scopes", "[]"),
    reference("user_id", "users.id", ondelete="CASCADE", nullable=True),
    text("last4"),
    text("created_by"),
    number("created_at"),
    number("expires_at"),
    sa.Column("last_used_at", Int),
    sa.Column("revoked_at", Int),
    one_of("role", ("viewer", "operator", "admin")),
)

schedules = table(
    "schedules",
    sa.Column("id", sa.Text, primary_key=True),
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
    sa.Column("starts_at", Int),
    sa.Column("ends_at", Int),
    number("cursor_at"),
    sa.Column("next_fire_at", Int),
    sa.Column("due_at", Int),
    number("rev", 1),
    number("created_at"),
    number("updated_at"),
    one_of("kind", ("cron", "every", "at")),
    one_of("action", ("run", "wake")),
    one_of("overlap", ("skip", "queue_one", "queue_all", "cancel_running", "allow")),
    one_of("coalesce_policy", ("latest", "earliest", "all")),
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
)
index("schedules_agent", schedules.c.agent_id)
index("schedules_due", schedules.c.due_at, where="enabled AND due_at IS NOT NULL")
index("schedules_unplanned", schedules.c.id, where="enabled AND due_at IS NULL")

runs = table(
    "runs",
    sa.Column("id", sa.Text, primary_key=True),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    reference("schedule_id", "schedules.id", ondelete="SET NULL", nullable=True),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    text("trigger_kind"),
    text("fire_key"),
    number("fire_at"),
    number("eligible_at"),
    sa.Column("queue_slot", sa.Text),
    sa.Column("rerun_of", sa.Text),
    sa.Column("state", Choice(RunState), nullable=False, server_default=sa.text("'QUEUED'")),
    sa.Column("outcome", Choice(RunOutcome)),
    sa.Column("reason", sa.Text),
    sa.Column("pause_reason", Choice(PauseReason)),
    number("fence", 0),
    sa.Column("lease_boot_id", sa.Text),
    sa.Column("lease_expires_at", Int),
    sa.Column("cancel_requested_at", Int),
    sa.Column("cancel_reason", sa.Text),
    number("attempt", 1),
    number("max_attempts", 5),
    number("crash_count", 0),
    number("dispatch_count", 0),
    number("coalesced_count", 0),
    number("timeout_ms", 3_600_000),
    sa.Column("deadline_at", Int),
    sa.Column("start_deadline_at", Int),
    number("priority", 0),
    number("config_rev"),
    text("config_fingerprint"),
    doc("needs", "[]"),
    doc("locks", "[]"),
    doc("parameters", "{}"),
    doc("context", "{}"),
    sa.Column("progress", sa.REAL, nullable=False, server_default=sa.text("0")),
    sa.Column("status_message", sa.Text),
    sa.Column("result", Doc),
    doc("errors", "[]"),
    number("error_count", 0),
    number("units_total", 0),
    number("units_done", 0),
    number("units_skipped", 0),
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
    number("updated_at"),
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
    sa.CheckConstraint("attempt <= max_attempts", name="attempt"),
    sa.CheckConstraint("fence > 0 OR state IN ('QUEUED', 'PAUSED', 'CANCELLED')", name="fence"),
)
index("runs_ready", runs.c.eligible_at, runs.c.id, where="state = 'QUEUED'")
index("runs_executing", runs.c.device_id, runs.c.agent_id, where=EXECUTING)
index("runs_lease", runs.c.lease_expires_at, where=EXECUTING)
index("runs_paused", runs.c.agent_id, runs.c.pause_reason, where="state = 'PAUSED'")
index("runs_history", runs.c.agent_id, runs.c.completed_at, where="completed_at IS NOT NULL")
index("runs_remembered", runs.c.completed_at, where="completed_at IS NOT NULL AND forgotten_at IS NULL")
index("runs_unmeasured", runs.c.completed_at, where="completed_at IS NOT NULL AND measured_at IS NULL")
index("runs_agent", runs.c.agent_id, runs.c.created_at, runs.c.id)
index("runs_by_age", runs.c.created_at, runs.c.id)
index("runs_by_outcome", runs.c.outcome, runs.c.created_at, runs.c.id, where="outcome IS NOT NULL")
index("runs_of_schedule", runs.c.schedule_id, where=f"schedule_id IS NOT NULL AND {LIVE}")
index("runs_queued", runs.c.device_id, runs.c.trigger_kind, where="state = 'QUEUED'")
index("runs_needy", runs.c.eligible_at, where="state = 'QUEUED' AND needs <> '[]'")
index("runs_late", runs.c.start_deadline_at, where="state = 'QUEUED' AND start_deadline_at IS NOT NULL")
index(
    "runs_one_waiting",
    runs.c.queue_slot,
    where="state = 'QUEUED' AND fence = 0 AND queue_slot IS NOT NULL",
    unique=True,
)

run_state_history = table(
    "run_state_history",
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", Int, primary_key=True),
    sa.Column("old_state", Choice(RunState)),
    sa.Column("new_state", Choice(RunState), nullable=False),
    number("attempt"),
    number("fence"),
    sa.Column("reason", sa.Text),
    text("actor"),
    number("at"),
    one_of("new_state", RunState),
    rowid=False,
)

leases = table(
    "leases",
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder_boot_id", sa.Text),
    number("fence", 0),
    sa.Column("acquired_at", Int),
    number("expires_at", 0),
    sa.CheckConstraint("fence >= 0", name="fence"),
    rowid=False,
)

schedule_fires = table(
    "schedule_fires",
    sa.Column("schedule_id", sa.Text, sa.ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("fire_at", Int, primary_key=True),
    number("first_at"),
    number("missed_count", 0),
    text("decision"),
    sa.Column("reason", sa.Text),
    sa.Column("run_id", sa.Text),
    number("decided_at"),
    one_of(
        "decision",
        (
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
        ),
    ),
    sa.CheckConstraint("missed_count >= 0", name="missed_count"),
    sa.CheckConstraint("first_at <= fire_at", name="first_at"),
    rowid=False,
)
index("schedule_fires_run", schedule_fires.c.run_id, where="run_id IS NOT NULL")
index("schedule_fires_decided", schedule_fires.c.decided_at)

run_units = table(
    "run_units",
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("unit_key", sa.Text, primary_key=True),
    text("content_hash"),
    sa.Column("size_bytes", Int),
    sa.Column("state", Choice(UnitState), nullable=False),
    number("attempts", 0),
    number("calls_planned", 0),
    number("calls_settled", 0),
    sa.Column("truncated", Flag, nullable=False, server_default=sa.false()),
    sa.Column("error", sa.Text),
    sa.Column("read_at", Int),
    sa.Column("planned_at", Int),
    sa.Column("notes", Doc),
    number("items_known", 0),
    doc("awaits", "[]"),
    number("is_behind", 0),
    number("updated_at"),
    one_of("state", UnitState),
    zero_or_one("truncated"),
    sa.CheckConstraint("calls_settled <= calls_planned", name="calls_settled"),
    sa.CheckConstraint("state <> 'DONE' OR calls_settled = calls_planned", name="done"),
    rowid=False,
)

run_calls = table(
    "run_calls",
    sa.Column("call_id", sa.Text, primary_key=True),
    text("run_id"),
    text("unit_key"),
    number("ordinal"),
    text("target_table"),
    text("action", "insert"),
    sa.Column("item_id", sa.Text),
    sa.Column("payload", Doc),
    sa.Column("state", Choice(CallState), nullable=False, server_default=sa.text("'PLANNED'")),
    number("sends", 0),
    sa.Column("result", Doc),
    number("updated_at"),
    sa.ForeignKeyConstraint(
        ["run_id", "unit_key"], ["run_units.run_id", "run_units.unit_key"], ondelete="CASCADE"
    ),
    one_of("state", CallState),
)
index("run_calls_unit", run_calls.c.run_id, run_calls.c.unit_key)
index(
    "run_calls_open",
    run_calls.c.run_id,
    run_calls.c.unit_key,
    run_calls.c.ordinal,
    where="state IN ('PLANNED', 'SENT')",
)

unit_ledger = table(
    "unit_ledger",
    sa.Column("agent_id", sa.Text, sa.ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("unit_key", sa.Text, primary_key=True),
    text("content_hash"),
    text("config_fingerprint"),
    text("run_id"),
    number("done_at"),
    rowid=False,
)

items = table(
    "items",
    sa.Column("id", sa.Text, primary_key=True),
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
    sa.Column("before", Doc),
    sa.Column("date_ms", Int),
    doc("warnings", "[]"),
    sa.Column("source", Doc),
    text("call_id"),
    text("run_id"),
    sa.Column("row_id", sa.Text),
    sa.Column("told_at", Int),
    text("verdict", "open"),
    sa.Column("verdict_at", Int),
    number("version", 1),
    number("created_at"),
    number("updated_at"),
    one_of("verdict", ("open", "approved", "edited", "rejected")),
    sa.CheckConstraint("(verdict = 'open') = (verdict_at IS NULL)", name="verdict_at"),
)
index("items_unit", items.c.user_id, items.c.unit_key)
index("items_likeness", items.c.likeness, items.c.device_id)
index("items_day", items.c.user_id, items.c.target_table, items.c.date_ms, where="date_ms IS NOT NULL")
index("items_call", items.c.call_id)
index("items_of_device", items.c.device_id, items.c.call_id)
index("items_quote", items.c.device_id, items.c.quote_hash)
index("items_row", items.c.device_id, items.c.row_id, where="row_id IS NOT NULL")
index("items_by_age", items.c.created_at, items.c.id)
index("items_newest", items.c.user_id, items.c.created_at, items.c.id)
index("items_open", items.c.device_id, where="verdict = 'open' AND row_id IS NOT NULL")

model_answers = table(
    "model_answers",
    sa.Column("agent_id", sa.Text, sa.ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("question", sa.Text, primary_key=True),
    text("model"),
    text("finish"),
    text("answer"),
    number("created_at"),
    number("used_at"),
    one_of("finish", ("whole", "cut_off", "too_long")),
)
index("model_answers_used", model_answers.c.used_at)

model_calls = table(
    "model_calls",
    sa.Column("id", sa.Text, primary_key=True),
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
)
index("model_calls_at", model_calls.c.at)
index("model_calls_unmeasured", model_calls.c.at, where="measured_at IS NULL")
index("model_calls_agent", model_calls.c.agent_id, model_calls.c.at)
index("model_calls_run", model_calls.c.run_id, where="run_id IS NOT NULL")

model_batches = table(
    "model_batches",
    sa.Column("id", sa.Text, primary_key=True),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("run_id"),
    text("model"),
    sa.Column("remote_id", sa.Text),
    text("state", "made"),
    doc("questions", "{}"),
    number("created_at"),
    sa.Column("checked_at", Int),
    sa.Column("done_at", Int),
    one_of("state", ("made", "submitted", "done", "failed")),
)
index("model_batches_run", model_batches.c.run_id)

activity_log = table(
    "activity_log",
    sa.Column("id", sa.Text, primary_key=True),
    number("at"),
    text("event_type"),
    text("level", "info"),
    sa.Column("agent_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("device_id", sa.Text),
    text("actor"),
    sa.Column("trace_id", sa.Text),
    text("message"),
    doc("data", "{}"),
    one_of("level", ("debug", "info", "warning", "error")),
)
index("activity_log_agent", activity_log.c.agent_id, activity_log.c.at)
index("activity_log_at", activity_log.c.at)

idempotency_keys = table(
    "idempotency_keys",
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    text("request_hash"),
    sa.Column("response", Doc),
    number("created_at"),
    rowid=False,
)
index("idempotency_keys_created", idempotency_keys.c.created_at)

audit_log = table(
    "audit_log",
    sa.Column("seq", Int, primary_key=True, autoincrement=False),
    number("at"),
    text("actor"),
    text("event"),
    sa.Column("subject", sa.Text),
    text("outcome"),
    text("detail"),  # canonical JSON, exactly as hashed: a JSON column would change the spelling
    sa.Column("prev_hash", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    one_of("outcome", ("done", "refused")),
)
index("audit_log_at", audit_log.c.at)
