"""Connectors: accounts, sealed credentials, cursors, what was seen, what was posted.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EMPTY_LIST = sa.text("'[]'")
STRICT = {"sqlite_strict": True}  # a rebuilt table forgets it otherwise


def upgrade() -> None:
    op.create_table(
        "connectors",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("settings_digest", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("account", sa.Text()),
        sa.Column("state", sa.Text(), server_default=sa.text("'ok'"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("version", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("failures", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", INT),
        sa.Column("last_ok_at", INT),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("deleted_at", INT),
        sa.CheckConstraint("state IN ('ok', 'sign_in', 'blocked')", name=op.f("ck_connectors_state")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_connectors_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connectors")),
        sa.UniqueConstraint("name", name=op.f("uq_connectors_name")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "credentials",
        sa.Column("connector_id", sa.Text(), nullable=False),
        sa.Column("version", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("scopes", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("expires_at", INT),
        sa.Column("granted_at", INT, nullable=False),
        sa.Column("refreshed_at", INT, nullable=False),
        sa.Column("ended_after", INT),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", INT),
        sa.ForeignKeyConstraint(
            ["connector_id"], ["connectors.id"], name=op.f("fk_credentials_connector_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("connector_id", name=op.f("pk_credentials")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("credentials_key", "credentials", "key_id")
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("connector_id", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("problem", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('done', 'failed')", name=op.f("ck_sign_ins_outcome")
        ),
        sa.CheckConstraint("(outcome IS NULL) = (settled_at IS NULL)", name=op.f("ck_sign_ins_settled_at")),
        sa.CheckConstraint("way IN ('device', 'paste', 'code')", name=op.f("ck_sign_ins_way")),
        sa.ForeignKeyConstraint(
            ["connector_id"], ["connectors.id"], name=op.f("fk_sign_ins_connector_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_sign_ins_state_hash")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("sign_ins_connector", "sign_ins", "connector_id")
    _index("sign_ins_expires", "sign_ins", "expires_at")
    op.create_table(
        "connector_cursors",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text()),
        sa.Column("moves", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("last_ok_at", INT),
        sa.Column("updated_at", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_connector_cursors_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_connector_cursors")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "seen_messages",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("subject_hash", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("seen_at", INT, nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'left_out', 'failed', 'dead')",
            name=op.f("ck_seen_messages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_seen_messages_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "key_hash", name=op.f("pk_seen_messages")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("seen_messages_failed", "seen_messages", "agent_id", where="state IN ('failed', 'dead')")
    _index("seen_messages_seen", "seen_messages", "seen_at")
    op.create_table(
        "posted",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("connector_id", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("received_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint("(body IS NULL) = (settled_at IS NOT NULL)", name=op.f("ck_posted_body")),
        sa.ForeignKeyConstraint(
            ["connector_id"], ["connectors.id"], name=op.f("fk_posted_connector_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posted")),
        sa.UniqueConstraint("connector_id", "dedupe_key", name=op.f("uq_posted_connector_id_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("posted_settled", "posted", "settled_at", where="settled_at IS NOT NULL")
    _index("posted_waiting", "posted", "connector_id", "id", where="settled_at IS NULL")
    with op.batch_alter_table("agents", table_kwargs=STRICT) as agents:
        agents.add_column(sa.Column("connector_id", sa.Text()))
        agents.create_foreign_key(
            op.f("fk_agents_connector_id"), "connectors", ["connector_id"], ["id"], ondelete="SET NULL"
        )
    _index("agents_connector", "agents", "connector_id", where="connector_id IS NOT NULL")


def _index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    predicate = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=predicate, postgresql_where=predicate)
