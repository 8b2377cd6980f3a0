"""Tables about runs (constraints on their states, too) and connectors: units, calls, items, accounts.

Tables of connectors: accounts, sealed credentials, cursors, seen messages, posts.

Part of the metadata of ``storage.schema``.
"""

from typing import Any

import sqlalchemy as sa

from protocol.lifecycles import CallState, PauseReason, RunOutcome, RunState, UnitState
from storage.kernel.columns import (
    HAPPENED,
    NOMINAL,
    Choice,
    Doc,
    Flag,
    Int,
    Reported,
    doc,
    index,
    key,
    number,
    one_of,
    reference,
    table,
    text,
    waits,
    zero_or_one,
)

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
    one_of("verdict", ("open", "approved", "edited", "rejected")),
    sa.CheckConstraint("(verdict = 'open') = (verdict_at IS NULL)", name="verdict_at"),
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
)

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
