"""Items of which rules are unsure are held at the hub, and items have the evidence of their rules."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_CHECKS = {
    "verdict": "verdict IN ('open', 'approved', 'edited', 'rejected', 'held')",
    "verdict_at": "(verdict IN ('open', 'held')) = (verdict_at IS NULL)",
}


def upgrade() -> None:
    with op.batch_alter_table("items", table_kwargs={"sqlite_strict": True}) as items:
        items.add_column(sa.Column("evidence", sa.Text()))
        for name, check in _CHECKS.items():
            items.drop_constraint(op.f(f"ck_items_{name}"), type_="check")
            items.create_check_constraint(op.f(f"ck_items_{name}"), check)
