"""Tables of the hub itself: its nodes and their leases, logs, changes and keys."""

from typing import Any

import sqlalchemy as sa

from storage.kernel.columns import (
    NOMINAL,
    Doc,
    Int,
    Reported,
    doc,
    expires,
    index,
    key,
    number,
    one_of,
    table,
    text,
    waits,
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
