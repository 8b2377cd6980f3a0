"""Tables of connectors: accounts, sealed credentials, cursors, seen messages, posts.

Part of the metadata of ``storage.schema``.
"""

import sqlalchemy as sa

from storage.kernel.columns import (
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
