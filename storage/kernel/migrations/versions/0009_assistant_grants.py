"""Assistants that their persons allowed renew their tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "assistant_grants",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("family_hash", sa.LargeBinary(), nullable=False),
        sa.Column("turn_hash", sa.LargeBinary(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("client_id", "redirect_uri")),
        *(sa.Column(name, sa.Text()) for name in ("code_challenge", "opener")),
        *(sa.Column(name, number, nullable=False) for name in ("created_at", "renewed_at", "ends_at")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_assistant_grants")),
        sa.UniqueConstraint("family_hash", name=op.f("uq_assistant_grants_family_hash")),
        sa.ForeignKeyConstraint(
            *(["token_id"], ["operator_tokens.id"]),
            name=op.f("fk_assistant_grants_token_id"),
            ondelete="CASCADE",
        ),
        sqlite_strict=True,
    )
