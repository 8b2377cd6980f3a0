"""Indexes of the words of items: tables and columns that only one kind of database has.

A file has an FTS5 table of the rows of ``item_words``, which triggers follow; a server a generated column of
weighted words with a GIN index.
"""

from collections.abc import Mapping
from typing import Final

_COLUMNS: Final = "title, project, person, body"
_NEW, _OLD = (", ".join(f"{row}.{name}" for name in _COLUMNS.split(", ")) for row in ("NEW", "OLD"))
_ADD: Final = f"INSERT INTO item_search (rowid, {_COLUMNS}) VALUES (NEW.number, {_NEW});"
_DROP: Final = (
    f"INSERT INTO item_search (item_search, rowid, {_COLUMNS}) VALUES ('delete', OLD.number, {_OLD});"
)
WORDS_INDEX: Final[Mapping[str, tuple[str, ...]]] = {
    "sqlite": (
        # the tokenizer splits at blanks only: other signs are not among the words
        f"CREATE VIRTUAL TABLE item_search USING fts5({_COLUMNS}, content='item_words',"
        " content_rowid='number', columnsize=0, tokenize='ascii')",
        f"CREATE TRIGGER item_words_added AFTER INSERT ON item_words BEGIN {_ADD} END",
        f"CREATE TRIGGER item_words_changed AFTER UPDATE OF {_COLUMNS} ON item_words"
        f" BEGIN {_DROP} {_ADD} END",
        f"CREATE TRIGGER item_words_deleted AFTER DELETE ON item_words BEGIN {_DROP} END",
    ),
    "postgresql": (
        "ALTER TABLE item_words ADD COLUMN search tsvector GENERATED ALWAYS AS ("
        + " || ".join(
            f"setweight(to_tsvector('simple', {name}), '{weight}')"
            for name, weight in zip(_COLUMNS.split(", "), "ABCD", strict=True)
        )
        + ") STORED",
        "CREATE INDEX item_words_search ON item_words USING gin (search)",
    ),
}
