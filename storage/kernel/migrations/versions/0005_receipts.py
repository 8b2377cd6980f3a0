"""Receipts of devices, and the places of items outside of their files, are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _add_places_of_items()
    _add_receipts()


def _add_places_of_items() -> None:
    is_file = op.get_bind().dialect.name == "sqlite"
    kind = sa.Text() if is_file else postgresql.JSONB()
    with op.batch_alter_table("items", table_kwargs={"sqlite_strict": True}) as items:
        items.add_column(sa.Column("places", kind, server_default=sa.text("'[]'"), nullable=False))
        if is_file:
            check = "places IS NULL OR json_valid(places)"
            items.create_check_constraint(op.f("ck_items_places_json"), check)


def _add_receipts() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "receipts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("number", number, nullable=False),
        sa.Column("at", number, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_receipts_device_id"), ondelete="CASCADE"
        ),
        sqlite_strict=True,
    )
    op.create_index("receipts_at", "receipts", ["at"])
    op.create_index("receipts_device", "receipts", ["device_id", "number"], unique=True)
