"""Operators' tokens may be limited to devices, tables and shared folders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    is_file = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("operator_tokens", table_kwargs={"sqlite_strict": True}) as tokens:
        tokens.add_column(sa.Column("limits", sa.Text() if is_file else postgresql.JSONB()))
        if is_file:
            check = "limits IS NULL OR json_valid(limits)"
            tokens.create_check_constraint(op.f("ck_operator_tokens_limits_json"), check)
