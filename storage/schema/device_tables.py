"""Tables about users, devices, and how devices and operators are let in."""

import sqlalchemy as sa

from storage.kernel.columns import (
    Int,
    Reported,
    doc,
    expires,
    index,
    key,
    number,
    one_of,
    reference,
    table,
    text,
    waits,
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
