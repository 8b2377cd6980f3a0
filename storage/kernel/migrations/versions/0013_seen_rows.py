"""Verdicts have the row that was seen and the verdict that leads them, repeats the item that they repeat."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for table, name in (("items", "same_as"), ("item_verdicts", "seen_row"), ("item_verdicts", "led_by")):
        op.add_column(table, sa.Column(name, sa.Text()))
    is_led = sa.text("led_by IS NOT NULL")
    op.create_index(
        "item_verdicts_led", "item_verdicts", ["led_by"], sqlite_where=is_led, postgresql_where=is_led
    )
