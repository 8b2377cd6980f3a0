"""Who may come in: keys of devices, pairings, invitations, operators' tokens; and the audit's chain.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("device_tokens", sa.Column("last4", sa.Text()))
    op.add_column("device_tokens", sa.Column("created_by", sa.Text()))
    op.create_table(
        "device_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("last_used_at", INT),
        sa.Column("revoked_at", INT),
        sa.Column("rotated_to", sa.Text()),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_device_keys_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_keys")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("device_keys_device", "device_keys", ["device_id"])
    op.create_table(
        "pairings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("platform", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("decided_at", INT),
        sa.Column("decision", sa.Text()),
        sa.Column("actor", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.CheckConstraint(
            "decision IS NULL OR decision IN ('approved', 'denied')", name=op.f("ck_pairings_decision")
        ),
        sa.CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name=op.f("ck_pairings_decided_at")),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_pairings_device_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairings")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_pairings_code_hash")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("pairings_expires", "pairings", ["expires_at"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_name", sa.Text()),
        sa.Column("uses_left", INT, nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("revoked_at", INT),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_invitations_uses_left")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_invitations_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "operator_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", DOC, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("last_used_at", INT),
        sa.Column("revoked_at", INT),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_operator_tokens_role")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_operator_tokens_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_operator_tokens_token_hash")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "audit_log",
        sa.Column("seq", INT, autoincrement=False, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("ck_audit_log_outcome")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("audit_log_at", "audit_log", ["at"])
    # A hub that has started before begins its chain now; without this end its chain would count as lost.
    start = '{"seq":0,"hash":"' + 64 * "0" + '"}'
    begun = "INSERT INTO hub (key, value) SELECT 'audit.head', :start WHERE EXISTS (SELECT 1 FROM nodes)"
    op.execute(sa.text(begun).bindparams(start=start))
