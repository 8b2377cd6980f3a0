"""Agreement about the past: how far each device's store is known, and what an item needs to be sent again.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO = sa.text("0")
STRICT = {"sqlite_strict": True}  # a rebuilt table forgets it otherwise
HAS_ROW = sa.text("row_id IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "device_stores",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("counter", INT, server_default=ZERO, nullable=False),
        sa.Column("resend_after", sa.Text()),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("began_at", INT, nullable=False),
        sa.Column("agreed_at", INT),
        sa.Column("sent", INT, server_default=ZERO, nullable=False),
        sa.Column("taken", INT, server_default=ZERO, nullable=False),
        sa.Column("refused", INT, server_default=ZERO, nullable=False),
        sa.Column("problem", sa.Text()),
        sa.CheckConstraint(
            "cause IN ('first', 'store_older', 'store_replaced', 'hub_older', 'asked')",
            name=op.f("ck_device_stores_cause"),
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_device_stores_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device_stores")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("items", table_kwargs=STRICT) as items:
        items.alter_column("agent_id", existing_type=sa.Text(), nullable=True)
        items.add_column(sa.Column("source", DOC))
    op.drop_index("items_likeness", "items")
    op.create_index("items_likeness", "items", ["likeness", "device_id"])
    op.create_index("items_of_device", "items", ["device_id", "call_id"])
    op.create_index(
        "items_row", "items", ["device_id", "row_id"], sqlite_where=HAS_ROW, postgresql_where=HAS_ROW
    )
    op.create_index("items_quote", "items", ["device_id", "quote_hash"])
