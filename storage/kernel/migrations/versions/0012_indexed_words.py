"""Items are found by their days, and on a server by words of one column, without reading others."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_COLUMNS = ", ".join(f"to_tsvector('simple', {name})" for name in ("title", "project", "person"))


def upgrade() -> None:
    has_due = sa.text("due IS NOT NULL")
    op.create_index("item_words_due", "item_words", ["due"], sqlite_where=has_due, postgresql_where=has_due)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE INDEX item_words_columns ON item_words USING gin ({_COLUMNS})")
        op.execute("ANALYZE item_words")  # a server without figures of them would not use them
