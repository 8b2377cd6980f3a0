"""Receipts of devices, the places of items outside of their files, and proposals of verdicts are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _add_places_of_items()
    _add_receipts()
    _add_proposals()


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


def _add_proposals() -> None:
    is_file = op.get_bind().dialect.name == "sqlite"
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    document = sa.Text() if is_file else postgresql.JSONB()
    checks = {
        "verdict": "verdict IN ('approve', 'edit', 'reject')",
        "state": "state IN ('open', 'accepted', 'declined', 'withdrawn')",
        "settled_at": "(state = 'open') = (settled_at IS NULL)",
    }
    if is_file:
        checks["data_json"] = "data IS NULL OR json_valid(data)"
    op.add_column("item_verdicts", sa.Column("proposed_by", sa.Text()))
    op.create_table(
        "item_proposals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("data", document, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seen_call", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", number, nullable=False),
        sa.Column("settled_at", number),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_proposals")),
        *(
            sa.ForeignKeyConstraint(
                [f"{of}_id"], [f"{of}s.id"], name=op.f(f"fk_item_proposals_{of}_id"), ondelete="CASCADE"
            )
            for of in ("item", "user")
        ),
        *(
            sa.CheckConstraint(check, name=op.f(f"ck_item_proposals_{name}"))
            for name, check in checks.items()
        ),
        sqlite_strict=True,
    )
    is_open, is_settled = sa.text("state = 'open'"), sa.text("settled_at IS NOT NULL")
    op.create_index("item_proposals_item", "item_proposals", ["item_id"])
    op.create_index(
        *("item_proposals_open", "item_proposals", ["actor", "item_id"]),
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index(
        *("item_proposals_settled", "item_proposals", ["settled_at"]),
        sqlite_where=is_settled,
        postgresql_where=is_settled,
    )
    op.create_index("item_proposals_user", "item_proposals", ["user_id"])
