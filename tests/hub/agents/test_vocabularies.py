"""Where the values and columns of the vocabularies are stored, and how they are written."""

import pytest

from hub.agents.vocabularies import TABLES, columns_of, writable, write_of
from protocol.agent_status import Axes
from protocol.status_vocabularies import Vocabulary, status_words
from storage.effects.status_writes import BadWrite
from storage.schema import metadata
from tests.hub.agents.seed_names import SEED_NAMES
from tests.support.families import each
from tests.support.vocabulary_page import page

COLUMNS = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.c}


def test_every_value_and_column_of_a_seed_is_in_the_document() -> None:
    written = page()
    assert [name for names in SEED_NAMES.values() for name in names if f"| `{name}` |" not in written] == []


def test_vocabulary_columns_refer_to_existing_database_columns() -> None:
    columns = [column for tables in TABLES.values() for table in tables for column in table.columns]
    assert [column.name for column in columns if not COLUMNS.issuperset(column.lives.split())] == []
    assert [column.name for column in columns if not (column.lives and column.note and column.written)] == []


@each("vocabulary", Vocabulary)
def test_every_status_column_can_be_written(vocabulary: Vocabulary) -> None:
    for column in status_words(Axes(), vocabulary):
        assert columns_of(vocabulary)[column].startswith("PATCH")
        asked = write_of(vocabulary, {column: "x"})
        assert (asked.vocabulary, asked.words) == (vocabulary, {column: "x"})


@each("vocabulary", Vocabulary)
def test_write_to_a_read_only_column_is_refused_with_the_proper_place(vocabulary: Vocabulary) -> None:
    for column, written in columns_of(vocabulary).items():
        if column not in writable(vocabulary):
            with pytest.raises(BadWrite) as refused:
                write_of(vocabulary, {column: "x"})
            assert str(refused.value) == f"{vocabulary}.{column} is not written here: {written}"
