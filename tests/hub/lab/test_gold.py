"""Gold files, the one of this repository, and the scores of items against them."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.base.clock import epoch_ms
from hub.extraction.items import Item
from hub.extraction.when.resolve import resolve
from hub.lab.gold import BadGold, GoldDocument, Label, LabelValue, Tally, added, in_all, read_gold, score
from protocol.frame import Field
from protocol.tables import TABLES, Column, DeviceTable, Kind, TableName, tables_with
from tests.support.families import each

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

TEXT = "Greta orders the new badges and Otto books the van; both by Wednesday. Greta orders the cake."
SENTENCE = (0, 70)
LATER = (71, 94)


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


def test_gold_set_line_is_parsed_into_a_document_with_labels() -> None:
    (document,) = read_gold(json.dumps(DOCUMENT) + "\n\n")
    (label,) = document.labels
    assert (label.table, label.places, document.words) == (TableName.TASKS, ((0, 24),), {0: "on Friday"})
    assert document.document("Asia/Tokyo").unit_key == "a.txt"
    assert str(document.document("Asia/Tokyo").modified_at) == "2026-03-04 00:00:00+09:00"


@each(
    ("line", "told"),
    [
        ('{"id": "a",', "column 12: no JSON: "),
        ("[" * 100_000, "no JSON: too many brackets"),
        ("[1]", "a document is a JSON object"),
        ({**DOCUMENT, "itmes": []}, "unknown key 'itmes'; there are date, day, id, items,"),
        ({"id": "a", "text": "b"}, "items: write a list; [] where there is nothing to be found"),
        ({**DOCUMENT, "text": " "}, "text: is missing, or no text"),
        ({**DOCUMENT, "date": "4.3.2026"}, "date: write ISO 8601, as in 2026-03-04T09:12"),
        (item(table="task"), "items[0]: table: 'task' is none; there are tasks, notes,"),
        (item(table=[]), "items[0]: table: [] is none"),
        (item(quote="Anna rings Ben"), "items[0]: quote: is not in the text"),
        (item(words="on Monday"), "items[0]: words: are not in the text"),
        (item(data={"assignee": ["Anna"]}), "items[0]: data.title: is missing"),
        (item(data={"title": "x", "isApproved": 1}), "items[0]: data.isApproved: not a field that a doc"),
        (item(data={"title": "x", "assignee": "Anna"}), "items[0]: data.assignee: write a list of names"),
        (item(data={"title": "x", "dueDate": "Friday"}), "items[0]: data.dueDate: write a local date"),
        (item(data={"title": "x", "dueDate": 1}), "items[0]: data.dueDate: write a local date"),
        (item(data={"title": "x", "priority": "huge"}), "items[0]: data.priority: expected one of high,"),
        (item(data={"title": ""}), "items[0]: data.title: write a text that is not empty"),
    ],
)
def test_gold_set_error_is_reported_with_the_line_number(line: object, told: str) -> None:
    ((number, said),) = told_of({**DOCUMENT, "id": "other"}, "", line)
    assert number == 3
    assert said.startswith(told)


def test_all_mistakes_are_reported_at_once() -> None:
    problems = told_of(DOCUMENT, DOCUMENT, "{", item(table="none"))
    assert [line for line, _ in problems] == [2, 3, 4]
    assert problems[0][1] == "id: 'a' is the id of another document too"


def test_gold_file_without_a_document_is_reported() -> None:
    assert told_of("", " ")[0][1].startswith("there is no document")


def test_a_third_of_gold_set_documents_of_each_language_has_no_labels() -> None:
    assert len(EVERY) >= 150
    for documents in ALL.values():
        empty = sum(not document.labels for document in documents)
        assert 3 * empty >= len(documents) >= 25
        assert {label.table for document in documents for label in document.labels} == set(TABLES)
    assert Counter(document.text for document in EVERY).most_common(1)[0][1] == 1


def test_gold_set_dates_equal_the_dates_resolved_from_the_labelled_words() -> None:
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


def test_perfect_items_have_full_scores() -> None:
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


def task(title: str, *, at: tuple[int, int] = SENTENCE, **others: LabelValue) -> Label:
    return Label(table=TableName.TASKS, data={"title": title, **others}, places=(at,))


def found(
    title: str, *, at: tuple[int, int] = SENTENCE, table: TableName = TableName.TASKS, **others: Field
) -> Item:
    start, end = at
    data = {"title": title, **others}
    return Item(table=table, data=data, quote=TEXT[start:end], start=start, end=end, origin="model")


CAKE = Label(table=TableName.TASKS, data={"title": "order the cake"}, places=(SENTENCE, LATER))
METER = Label(
    table=TableName.NOTES, data={"title": "gas meter", "content": "reads 10482"}, places=(SENTENCE,)
)
QUOTE = "把修改后的报价单发给海宁公司"


@pytest.mark.parametrize(
    ("labels", "items", "tally"),
    [
        ([task("order the new badges")], [found("Order new badges")], Tally(right=1, found=1, labelled=1)),
        ([task("order the badges")], [found("order the badges", at=LATER)], Tally(found=1, labelled=1)),
        (
            [task("order the new badges")],
            [found("order the new badges", table=TableName.TIMELINES)],
            Tally(found=1, labelled=1),
        ),
        ([task("book the van")], [found("order the new badges")], Tally(found=1, labelled=1)),
        (
            [task("order the new badges", assignee=["Greta"]), task("book the van", assignee=["Otto"])],
            [found("book the new van", assignee=["Otto"]), found("order the badges", assignee=["Greta"])],
            Tally(right=2, found=2, labelled=2, right_fields=2, fields=2),
        ),
        ([task("book the van")], [found("book the van")] * 2, Tally(right=1, found=2, labelled=1)),
        ([CAKE], [found("order the cake", at=LATER)], Tally(right=1, found=1, labelled=1)),
        ([task(QUOTE)], [found("发送报价单给海宁公司")], Tally(right=1, found=1, labelled=1)),
        ([task(QUOTE)], [found("核对运费")], Tally(found=1, labelled=1)),
        (
            [METER],
            [found("Meter", content="the gas meter reads 10482", table=TableName.NOTES)],
            Tally(right=1, found=1, labelled=1),
        ),
        (
            [task("book the van")],
            [found("book the van", assignee=["Otto"])],
            Tally(right=1, found=1, labelled=1),
        ),
    ],
    ids=[
        "in other words",
        "at another place",
        "in another table",
        "one word in common",
        "two of one sentence",
        "repeated",
        "repeated quote",
        "script without blanks",
        "another sentence in that script",
        "content of a note",
        "field without a label",
    ],
)
def test_item_is_scored_right_if_words_table_and_place_match_the_label(
    labels: list[Label], items: list[Item], tally: Tally
) -> None:
    assert in_all(score(labels, items, timezone="UTC")) == tally


def test_precision_recall_and_f1_are_shares_of_found_and_labelled_items() -> None:
    tallies = (Tally(right=1, found=2, labelled=1), Tally(found=1, labelled=1), Tally())
    assert [(one.precision, one.recall) for one in tallies] == [(0.5, 1.0), (0.0, 0.0), (None, None)]
    assert [one.f1 for one in tallies[1:]] == [0.0, None]


def test_gold_date_matches_by_local_day_and_a_time_by_the_minute() -> None:
    def share(label: str, at: datetime, timezone: str = "UTC") -> float | None:
        items = [found("book the van", dueDate=epoch_ms(at))]
        return in_all(score([task("book the van", dueDate=label)], items, timezone=timezone)).field_share

    midnight_there, three = datetime(2026, 6, 2, 22, tzinfo=UTC), datetime(2026, 6, 3, 15, tzinfo=UTC)
    assert (share("2026-06-03", midnight_there, "Europe/Berlin"), share("2026-06-03", midnight_there)) == (
        1,
        0,
    )
    assert share("2026-06-03T15:00", three) == 1
    assert share("2026-06-03T15:00", three + timedelta(minutes=1)) == 0


def test_score_tallies_are_added_per_table() -> None:
    one = score([task("book the van")], [], timezone="UTC")
    other = score([], [found("A day", table=TableName.TIMELINES)], timezone="UTC")
    assert added(one, other) == {TableName.TASKS: Tally(labelled=1), TableName.TIMELINES: Tally(found=1)}
    assert in_all(added(one, other)) == Tally(found=1, labelled=1)


def test_custom_table_is_labelled_and_scored_like_built_in_tables() -> None:
    fields = (
        Column(name="name", kind=Kind.TEXT, required=True),
        Column(name="met", kind=Kind.EPOCH_MS),
        Column(name="age", kind=Kind.NUMBER),
        Column(name="knows", kind=Kind.FLAG),
    )
    tables = tables_with((DeviceTable(name="contacts", title="name", key=("name",), fields=fields),))
    data = {"name": "Ben", "met": "2026-03-06", "age": 41, "knows": True}
    label = {"table": "contacts", "data": data, "quote": "Anna calls Ben on Friday"}
    line = json.dumps({**DOCUMENT, "items": [label]})
    assert "contacts" in told_of(line)[0][1]
    (document,) = read_gold(line, tables)
    met = epoch_ms(datetime(2026, 3, 6, tzinfo=UTC))
    start, end = document.labels[0].places[0]
    ben = Item(
        table="contacts",
        data={"name": "Ben", "met": met, "age": 42.0, "knows": True},
        quote=document.text[start:end],
        start=start,
        end=end,
        origin="model",
    )
    scores = score(document.labels, [ben], timezone="UTC", tables=tables)
    assert scores == {"contacts": Tally(right=1, found=1, labelled=1, right_fields=2, fields=3)}


@pytest.mark.parametrize(("kind", "value"), [(Kind.NUMBER, "41"), (Kind.NUMBER, True), (Kind.FLAG, 1)])
def test_numbers_and_flags_of_a_label_are_written_as_such(kind: Kind, value: object) -> None:
    fields = (Column(name="name", kind=Kind.TEXT), Column(name="seen", kind=kind))
    tables = tables_with((DeviceTable(name="contacts", title="name", key=("name",), fields=fields),))
    label = {"table": "contacts", "data": {"name": "Ben", "seen": value}, "quote": "Anna"}
    with pytest.raises(BadGold, match=r"data\.seen: write"):
        read_gold(json.dumps({**DOCUMENT, "items": [label]}), tables)
