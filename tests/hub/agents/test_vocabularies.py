"""Where every name of the seeds lives here."""

import pytest

from hub.agents.vocabularies import CHAPTERS, columns_of, places
from hub.agents.vocabularies.page import page
from hub.agents.vocabulary_export import writable, write_of
from protocol.vocabularies import READINGS, Vocabulary
from storage.agents.status_writes import BadWrite
from storage.schema import metadata
from tests.hub.agents.seed_names import SEED_NAMES

COLUMNS = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.c}


@pytest.mark.parametrize("vocabulary", SEED_NAMES)
def test_no_name_of_a_seed_is_missing_and_none_is_invented(vocabulary: Vocabulary) -> None:
    mapped = [place.name for whose, place in places() if whose is vocabulary]
    assert sorted(mapped) == sorted(SEED_NAMES[vocabulary])


def test_every_name_of_a_seed_is_in_the_document() -> None:
    written = page()
    assert [name for names in SEED_NAMES.values() for name in names if f"| `{name}` |" not in written] == []


def test_what_a_name_lives_in_is_a_column_that_there_is() -> None:
    assert [
        (place.name, lives) for _, place in places() for lives in place.lives if lives not in COLUMNS
    ] == []


def test_of_every_name_it_is_said_how_it_is_read_and_how_it_is_written_or_why_not() -> None:
    assert [place.name for _, place in places() if not place.read or not place.written] == []
    nowhere = [place.name for _, place in places() if not place.lives]
    derived = {
        "AgentStatus.busy",
        "AgentStatus.BUSY",
        "AgentStatusDetail.busy",
        "AgentStatusDetail.processing",
    }
    assert set(nowhere) == {*derived, "agents.user_id unique"}


def test_every_column_that_is_read_by_rules_can_be_written_as_the_mapping_says() -> None:
    for column in READINGS:
        assert columns_of(column.vocabulary)[column.column].startswith("PATCH")
        asked = write_of(column.vocabulary, {column.column: "x"})
        assert [(word.column, word.word) for word in asked.words] == [(column.column, "x")]


@pytest.mark.parametrize("vocabulary", Vocabulary)
def test_what_is_not_written_here_is_refused_with_where_it_is(vocabulary: Vocabulary) -> None:
    for column, written in columns_of(vocabulary).items():
        if column not in writable(vocabulary):
            with pytest.raises(BadWrite) as refused:
                write_of(vocabulary, {column: "x"})
            assert str(refused.value) == f"{vocabulary}.{column} is not written here: {written}"


def test_a_chapter_is_of_one_kind_and_has_no_name_twice() -> None:
    for chapter in CHAPTERS:
        names = [place.name for place in chapter.places]
        assert chapter.kind in ("value", "column", "constraint", "index")
        assert len(names) == len(set(names))
