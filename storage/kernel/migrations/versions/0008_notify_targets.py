"""Addresses that are notified of events, and what was delivered to them, are kept."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    is_file = op.get_bind().dialect.name == "sqlite"
    document: sa.types.TypeEngine[Any] = sa.Text() if is_file else postgresql.JSONB()

    def number(name: str, default: str | None = None, *, is_optional: bool = False) -> sa.Column[int]:
        usual = None if default is None else sa.text(default)
        type_ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        return sa.Column(name, type_, server_default=usual, nullable=is_optional)

    def doc(name: str) -> sa.Column[Any]:
        return sa.Column(name, document, server_default=sa.text("'{}'"), nullable=False)

    def is_json(table: str, name: str) -> list[sa.CheckConstraint]:
        check = f"{name} IS NULL OR json_valid({name})"
        return [sa.CheckConstraint(check, name=op.f(f"ck_{table}_{name}_json"))] if is_file else []

    op.create_table(
        "notify_targets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text()),
        number("cursor"),
        sa.Column("digest", sa.Text(), nullable=False),
        number("failures", "0"),
        number("failing_since", is_optional=True),
        number("retry_at", "0"),
        number("delivered_at", is_optional=True),
        number("disabled_at", is_optional=True),
        sa.Column("problem", sa.Text()),
        number("left_out", "0"),
        number("left_out_since", is_optional=True),
        doc("issues"),
        number("created_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_notify_targets")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_notify_targets_user_id"), ondelete="CASCADE"
        ),
        *is_json("notify_targets", "issues"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        number("number"),
        sa.Column("user_id", sa.Text()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("event", "subject")),
        doc("data"),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        number("attempts", "0"),
        sa.Column("answer", sa.Text()),
        number("due_at"),
        number("created_at"),
        number("answered_at", is_optional=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.ForeignKeyConstraint(
            ["target"], ["notify_targets.name"], name=op.f("fk_deliveries_target"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name=op.f("ck_deliveries_state")),
        *is_json("deliveries", "data"),
        sqlite_strict=True,
    )
    is_waiting = sa.text("state = 'waiting'")
    op.create_index("deliveries_age", "deliveries", ["created_at"])
    op.create_index("deliveries_listed", "deliveries", ["target", "number"], unique=True)
    op.create_index(
        *("deliveries_waiting", "deliveries", ["target", "number"]),
        sqlite_where=is_waiting,
        postgresql_where=is_waiting,
    )
