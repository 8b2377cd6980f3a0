"""Items have the rank of the author of their words, which outlives the source of a rejected one.

Of an item from before, the rank is unknown, and derived from its source or the key of its unit.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("items", sa.Column("rank", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
