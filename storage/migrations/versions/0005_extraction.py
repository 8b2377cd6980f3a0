"""What extraction remembers: items and their verdicts, the model's answers, what each call cost, batches.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO = sa.text("0")


def _number(name: str, default: int | None = None) -> sa.Column[int]:
    told = None if default is None else sa.text(str(default))
    return sa.Column(name, INT, server_default=told, nullable=False)


def upgrade() -> None:
    for name in ("cost_nanos", "items_updated", "items_known"):
        op.add_column("runs", sa.Column(name, INT, server_default=ZERO, nullable=False))
    op.add_column("run_units", sa.Column("notes", DOC))
    for name in ("items_known", "is_behind"):
        op.add_column("run_units", sa.Column(name, INT, server_default=ZERO, nullable=False))
    op.add_column("run_units", sa.Column("awaits", DOC, server_default=sa.text("'[]'"), nullable=False))
    op.add_column(
        "run_calls", sa.Column("action", sa.Text(), server_default=sa.text("'insert'"), nullable=False)
    )
    op.add_column("run_calls", sa.Column("item_id", sa.Text()))
    op.create_table(
        "items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text()),
        sa.Column("unit_key", sa.Text(), nullable=False),
        sa.Column("target_table", sa.Text(), nullable=False),
        sa.Column("likeness", sa.Text(), nullable=False),
        sa.Column("quote_hash", sa.Text(), nullable=False),
        sa.Column("place_hash", sa.Text(), nullable=False),
        sa.Column("config_fingerprint", sa.Text(), nullable=False),
        sa.Column("data", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("before", DOC),
        sa.Column("date_ms", INT),
        sa.Column("warnings", DOC, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text()),
        sa.Column("told_at", INT),
        sa.Column("verdict", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("verdict_at", INT),
        _number("version", 1),
        _number("created_at"),
        _number("updated_at"),
        sa.CheckConstraint(
            "verdict IN ('open', 'approved', 'edited', 'rejected')", name=op.f("ck_items_verdict")
        ),
        sa.CheckConstraint("(verdict = 'open') = (verdict_at IS NULL)", name=op.f("ck_items_verdict_at")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_items_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_items_agent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_items_device_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("items_unit", "items", ["user_id", "unit_key"])
    op.create_index("items_likeness", "items", ["user_id", "likeness"])
    dated = sa.text("date_ms IS NOT NULL")
    op.create_index(
        "items_day",
        "items",
        ["user_id", "target_table", "date_ms"],
        sqlite_where=dated,
        postgresql_where=dated,
    )
    op.create_index("items_call", "items", ["call_id"])
    op.create_index("items_newest", "items", ["user_id", "created_at", "id"])
    waiting = sa.text("verdict = 'open' AND row_id IS NOT NULL")
    op.create_index("items_open", "items", ["device_id"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "model_answers",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("finish", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        _number("created_at"),
        _number("used_at"),
        sa.CheckConstraint(
            "finish IN ('whole', 'cut_off', 'too_long')", name=op.f("ck_model_answers_finish")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_model_answers_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "question", name=op.f("pk_model_answers")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("model_answers_used", "model_answers", ["used_at"])
    op.create_table(
        "model_calls",
        sa.Column("id", sa.Text(), nullable=False),
        _number("at"),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("unit_key", sa.Text()),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        _number("requests", 1),
        _number("prompt_tokens", 0),
        _number("completion_tokens", 0),
        _number("cost_nanos", 0),
        _number("took_ms", 0),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_model_calls_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_calls")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("model_calls_at", "model_calls", ["at"])
    op.create_index("model_calls_agent", "model_calls", ["agent_id", "at"])
    of_run = sa.text("run_id IS NOT NULL")
    op.create_index(
        "model_calls_run", "model_calls", ["run_id"], sqlite_where=of_run, postgresql_where=of_run
    )
    op.create_table(
        "model_batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text()),
        sa.Column("state", sa.Text(), server_default=sa.text("'made'"), nullable=False),
        sa.Column("questions", DOC, server_default=sa.text("'{}'"), nullable=False),
        _number("created_at"),
        sa.Column("checked_at", INT),
        sa.Column("done_at", INT),
        sa.CheckConstraint(
            "state IN ('made', 'submitted', 'done', 'failed')", name=op.f("ck_model_batches_state")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_model_batches_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_batches")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("model_batches_run", "model_batches", ["run_id"])
