"""Gold files, and the one of this repository."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hub.extraction.gold import BadGold, GoldDocument, read_gold
from hub.extraction.items import Item
from hub.extraction.scoring import in_all, score
from hub.extraction.when import resolve
from protocol.tables import TABLES, Kind, TableName

FOLDER = Path(__file__).parents[2] / "gold"
LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")
ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai", "America/Mexico_City")

TASK: dict[str, Any] = {
    "table": "tasks",
    "data": {"title": "call Ben", "assignee": ["Anna"], "dueDate": "2026-03-06"},
    "quote": "Anna calls Ben on Friday",
    "words": "on Friday",
}
DOCUMENT: dict[str, Any] = {
    "id": "a",
    "text": "Anna calls Ben on Friday.",
    "date": "2026-03-04",
    "items": [TASK],
}


def gold_of(language: str) -> list[GoldDocument]:
    """The documents of one language."""
    return read_gold((FOLDER / f"{language}.jsonl").read_text(encoding="utf-8"))


ALL = {language: gold_of(language) for language in LANGUAGES}
EVERY = [document for documents in ALL.values() for document in documents]


def told_of(*lines: object) -> list[tuple[int, str]]:
    """What is wrong with a file of these lines."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    with pytest.raises(BadGold) as caught:
        read_gold(text)
    return caught.value.problems


def item(**changes: object) -> dict[str, Any]:
    return {**DOCUMENT, "items": [{**TASK, **changes}]}


def test_a_line_becomes_a_document_with_its_labels() -> None:
    (document,) = read_gold(json.dumps(DOCUMENT) + "\n\n")
    (label,) = document.labels
    assert (label.table, label.places, document.words) == (TableName.TASKS, ((0, 24),), {0: "on Friday"})
    assert document.document("Asia/Tokyo").unit_key == "a.txt"
    assert str(document.document("Asia/Tokyo").modified_at) == "2026-03-04 00:00:00+09:00"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "a",', "column 12: no JSON: "),
        ("[" * 100_000, "no JSON: too many brackets"),
        ("[1]", "a document is a JSON object"),
        ({**DOCUMENT, "itmes": []}, "unknown key 'itmes'; there are date, id, items,"),
        ({"id": "a", "text": "b"}, "items: write a list; [] where there is nothing to be found"),
        ({**DOCUMENT, "text": " "}, "text: is missing, or no text"),
        ({**DOCUMENT, "date": "4.3.2026"}, "date: write ISO 8601, as in 2026-03-04T09:12"),
        (item(table="task"), "items[0]: table: 'task' is none; there are tasks, notes,"),
        (item(table=[]), "items[0]: table: [] is none"),
        (item(quote="Anna rings Ben"), "items[0]: quote: does not stand in the text"),
        (item(words="on Monday"), "items[0]: words: do not stand in the text"),
        (item(data={"assignee": ["Anna"]}), "items[0]: data.title: is missing"),
        (item(data={"title": "x", "isApproved": 1}), "items[0]: data.isApproved: not a field that a doc"),
        (item(data={"title": "x", "assignee": "Anna"}), "items[0]: data.assignee: write a list of names"),
        (item(data={"title": "x", "dueDate": "Friday"}), "items[0]: data.dueDate: write a local date"),
        (item(data={"title": "x", "dueDate": 1}), "items[0]: data.dueDate: write a local date"),
        (item(data={"title": "x", "priority": "huge"}), "items[0]: data.priority: expected one of high,"),
        (item(data={"title": ""}), "items[0]: data.title: write a text that is not empty"),
    ],
)
def test_a_mistake_is_told_with_its_line(line: object, told: str) -> None:
    ((number, said),) = told_of({**DOCUMENT, "id": "other"}, "", line)
    assert number == 3
    assert said.startswith(told)


def test_all_mistakes_are_told_at_once() -> None:
    problems = told_of(DOCUMENT, DOCUMENT, "{", item(table="none"))
    assert [line for line, _ in problems] == [2, 3, 4]
    assert problems[0][1] == "id: 'a' is the id of another document too"


def test_a_file_without_a_document_is_none() -> None:
    assert told_of("", " ")[0][1].startswith("there is no document")


def test_the_gold_set_has_documents_in_six_languages_and_a_third_of_them_says_nothing() -> None:
    assert len(EVERY) >= 150
    for documents in ALL.values():
        empty = sum(not document.labels for document in documents)
        assert len(documents) >= 25
        assert 3 * empty >= len(documents)


def test_each_language_has_items_of_every_table() -> None:
    for documents in ALL.values():
        tables = Counter(label.table for document in documents for label in document.labels)
        assert set(tables) == set(TABLES)


def test_no_document_stands_there_twice() -> None:
    texts = Counter(document.text for document in EVERY)
    assert texts.most_common(1)[0][1] == 1


def test_what_the_gold_set_says_of_a_date_is_what_its_words_come_to() -> None:
    dates = 0
    for document in EVERY:
        for number, label in enumerate(document.labels):
            for column in TABLES[label.table].columns:
                if column.kind is not Kind.EPOCH_MS or column.name not in label.data:
                    continue
                dates += 1
                for zone in ZONES:
                    told = local_day(document, document.words[number], zone, is_due=column.name == "dueDate")
                    assert told.startswith(str(label.data[column.name])), (document.id, zone)
    assert dates >= 80


def local_day(document: GoldDocument, words: str, zone: str, *, is_due: bool) -> str:
    """The local time that *words* of a document stand for."""
    anchor = document.document(zone).modified_at
    assert anchor is not None
    assert anchor.tzinfo is not None
    moment = resolve(words, anchor=anchor, timezone=zone, is_due=is_due)
    assert moment is not None, (document.id, words)
    return f"{moment.at.astimezone(anchor.tzinfo):%Y-%m-%dT%H:%M}"


def test_who_finds_all_that_is_labelled_scores_one() -> None:
    for document in EVERY:
        perfect = [
            Item(
                table=label.table,
                data={TABLES[label.table].title: label.data[TABLES[label.table].title]},
                quote=document.text[slice(*label.places[-1])],
                start=label.places[-1][0],
                end=label.places[-1][1],
                origin="model",
            )
            for label in document.labels
        ]
        tally = in_all(score(document.labels, perfect, timezone="UTC"))
        assert tally.right == tally.found == tally.labelled == len(document.labels)
