"""What goes when it is old is found by an index, and a run knows that its payloads are forgotten.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("runs", sa.Column("forgotten_at", INT))
    remembered = sa.text("completed_at IS NOT NULL AND forgotten_at IS NULL")
    op.create_index(
        "runs_remembered",
        "runs",
        ["completed_at"],
        sqlite_where=remembered,
        postgresql_where=remembered,
    )
    op.create_index("idempotency_keys_created", "idempotency_keys", ["created_at"])
