"""Devices keep the origin of their connection, and the machines that share their credential."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("devices", sa.Column("origin", sa.Text()))
    op.add_column("devices", sa.Column("copies", sa.Text()))
