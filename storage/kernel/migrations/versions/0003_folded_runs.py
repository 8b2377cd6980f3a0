"""Runs count the earlier ones without news that they represent."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("runs", sa.Column("folded", number, server_default=sa.text("0"), nullable=False))
    op.add_column("runs", sa.Column("folded_since", number))
