"""Receipts of devices, places of items, proposals of verdicts and the words of items are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _add_places_of_items()
    _add_receipts()
    _add_proposals()
    _add_words()


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


def _add_words() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "item_words",
        sa.Column("number", number, autoincrement=False, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("due", number),
        *(
            sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)
            for name in ("title", "project", "person", "body")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_item_words")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["items.id"], name=op.f("fk_item_words_item_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("item_id", name=op.f("uq_item_words_item_id")),
        sqlite_strict=True,
    )
    # Numbers below zero: the hub writes the words of these items in parts, while it works.
    op.execute(
        "INSERT INTO item_words (number, item_id, user_id, due)"
        " SELECT -row_number() OVER (ORDER BY created_at, id), id, user_id, date_ms FROM items"
    )
    for statement in WORDS_INDEX[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)


_ADD = """INSERT INTO item_search (rowid, title, project, person, body)
    VALUES (NEW.number, NEW.title, NEW.project, NEW.person, NEW.body);"""
_DROP = """INSERT INTO item_search (item_search, rowid, title, project, person, body)
    VALUES ('delete', OLD.number, OLD.title, OLD.project, OLD.person, OLD.body);"""
WORDS_INDEX = {
    "sqlite": (
        """CREATE VIRTUAL TABLE item_search USING fts5(title, project, person, body, content='item_words',
        content_rowid='number', columnsize=0, tokenize='ascii')""",
        f"CREATE TRIGGER item_words_added AFTER INSERT ON item_words BEGIN {_ADD} END",
        f"""CREATE TRIGGER item_words_changed AFTER UPDATE OF title, project, person, body ON item_words
        BEGIN {_DROP} {_ADD} END""",
        f"CREATE TRIGGER item_words_deleted AFTER DELETE ON item_words BEGIN {_DROP} END",
        "INSERT INTO item_search (item_search) VALUES ('rebuild')",
    ),
    "postgresql": (
        """ALTER TABLE item_words ADD COLUMN search tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', project), 'B') ||
        setweight(to_tsvector('simple', person), 'C') || setweight(to_tsvector('simple', body), 'D')
        ) STORED""",
        "CREATE INDEX item_words_search ON item_words USING gin (search)",
    ),
}
