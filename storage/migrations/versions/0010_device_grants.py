"""What each device is granted at the hub.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    default = sa.text("""'["files", "agents", "coordination"]'""")
    op.add_column("devices", sa.Column("grants", DOC, server_default=default, nullable=False))
