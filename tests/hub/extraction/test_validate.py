"""A model's answer into items: what is taken, what is not, and where it stands."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.base.clock import epoch_ms
from hub.extraction import duplicates
from hub.extraction.chunk import Chunk
from hub.extraction.items import ExtractionOptions, Item, Reference
from hub.extraction.validate import CheckedRecords, Checking
from hub.text.folding import Folded, fold
from protocol.frame import Field
from protocol.tables import TableName
from tests.hub.extraction.conftest import material_of

TEXT = "Hello all. Anna must send the quote by Friday. Bob likes tea. Anna must send the quote by Friday."
QUOTE = "Anna must send the quote by Friday."


WRITTEN = datetime(2026, 5, 6, 12, tzinfo=UTC)  # a Wednesday
EVENTS = (TableName.TASKS, TableName.TIMELINES)


def checking(
    text: str = TEXT,
    *,
    is_literal: bool = False,
    timezone: str = "UTC",
    data_types: tuple[TableName, ...] = EVENTS,
    references: dict[str, Reference] | None = None,
    piece: Chunk | None = None,
) -> Checking:
    wanted = ExtractionOptions(data_types=data_types, timezone=timezone)
    material = material_of(text, wanted, date=WRITTEN, labels=references)
    return Checking(material, piece or Chunk(0, len(text)), is_literal=is_literal)


def check(
    *records: object, text: str = TEXT, is_literal: bool = False, timezone: str = "UTC"
) -> CheckedRecords:
    checked = checking(text, is_literal=is_literal, timezone=timezone).take_all(records)
    assert [text[item.start : item.end] for item in checked.items] == [item.quote for item in checked.items]
    return checked


def task(**fields: object) -> dict[str, object]:
    return {"table": "tasks", "quote": QUOTE, "title": "send the quote"} | fields


def reasons(checked: CheckedRecords) -> list[tuple[str, str]]:
    return [(note.reason, note.detail) for note in checked.dropped]


def test_a_record_with_a_true_quote_is_an_item() -> None:
    (item,) = check(task(assignee=["Anna"], status=None)).items
    assert item.data == {"title": "send the quote", "assignee": ["Anna"]}
    assert (item.start, item.quote, item.origin) == (11, QUOTE, "model")


@pytest.mark.parametrize("title", ["send the quote", "quote goes out"])
def test_repeated_quote_is_located_at_the_next_occurrence(title: str) -> None:
    first, second = check(task(), task(title=title)).items
    assert (first.start, second.start) == (11, TEXT.rindex(QUOTE))


@pytest.mark.parametrize(
    "quote",
    ["Carla must send the bill.", "", None, 7, "...", "nna must"],  # the last: short, and not a whole word
)
def test_a_record_without_a_true_quote_is_dropped(quote: object) -> None:
    assert reasons(check(task(quote=quote))) == [("ungrounded", "tasks.quote")]


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("He said: “Call   Bob\r\nnow, please”.", '"Call Bob now, please"', "“Call   Bob\r\nnow, please”"),
        ("A cafe\u0301 visit is due soon.", "a café visit is due", "A cafe\u0301 visit is due"),
        ("Pay\u200b the\u00ad bill on time.", "Pay the bill on time.", "Pay\u200b the\u00ad bill on time."),
        (
            "请在周五之前发送报价单给客户。谢谢。",
            "请在周五之前发送报价单给客户。",
            "请在周五之前发送报价单给客户。",
        ),
        ("The ﬁnal draft — by noon today", "final draft - by noon", "ﬁnal draft — by noon"),
        ("So: 🙂 call Bob about the lease. Bye.", "call Bob about the lease...", "call Bob about the lease"),
    ],
)
def test_quote_is_located_in_every_spelling_variant(text: str, quote: str, found: str) -> None:
    (item,) = check(task(quote=quote), text=text).items
    assert item.quote == found


def test_too_short_quote_is_extended_to_the_sentence() -> None:
    (item,) = check(task(quote="Bob")).items
    assert item.quote == "Bob likes tea."


@pytest.mark.parametrize(
    ("fields", "data", "dropped"),
    [
        (
            {"id": "1", "isApproved": 1, "projectId": "p", "madeUp": "x"},
            {},
            [("forbidden_field", f"tasks.{name}") for name in ("id", "isApproved", "projectId", "(unknown)")],
        ),
        (
            {"dueDate": "when it rains", "priority": "whenever", "description": {"a": 1}, "assignee": [1]},
            {},
            [("bad_field", f"tasks.{name}") for name in ("assignee", "description", "dueDate", "priority")],
        ),
        (
            {"assignee": "Anna", "status": "In Progress", "priority": "HIGH", "description": " None "},
            {"assignee": ["Anna"], "status": "in_progress", "priority": "high"},
            [],
        ),
        ({"title": " send\u202e it "}, {"title": "send it"}, []),
    ],
    ids=["not the model's", "not readable", "clear", "hidden characters"],
)
def test_record_fields_are_normalized_or_dropped_without_losing_the_record(
    fields: dict[str, object], data: dict[str, object], dropped: list[tuple[str, str]]
) -> None:
    checked = check(task(**fields))
    assert checked.items[0].data == {"title": "send the quote"} | data
    assert sorted(reasons(checked)) == sorted(dropped)


@pytest.mark.parametrize(
    ("told", "timezone", "meant"),
    [
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        ("2026-12-01T14:30", "America/New_York", "2026-12-01T19:30:00+00:00"),
        ("2026-12-01 14:30:00+05:30", "UTC", "2026-12-01T09:00:00+00:00"),
        ("2026-12-01T14:30Z", "Asia/Tokyo", "2026-12-01T14:30:00+00:00"),
    ],
)
def test_local_due_date_is_converted_to_a_time_in_the_agent_zone(
    told: str, timezone: str, meant: str
) -> None:
    said = "Anna must send the quote."
    (item,) = check(task(quote=said, dueDate=told), text=said, timezone=timezone).items
    assert item.data["dueDate"] == epoch_ms(datetime.fromisoformat(meant))


@pytest.mark.parametrize(
    "told", [1764547200000, "2026-02-30", "01/02/2026", "9999-12-31T23:59-12:00", "1900-01-01"]
)
def test_impossible_date_of_a_record_is_dropped(told: object) -> None:
    assert reasons(check(task(dueDate=told))) == [("bad_field", "tasks.dueDate")]


def test_assignee_missing_in_the_text_is_dropped() -> None:
    assert check(task(assignee=["Anna", "Dave"])).items[0].data["assignee"] == ["Anna"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("a string", ("not_an_object", "")),
        ([], ("not_an_object", "")),
        ({"table": "notes", "quote": QUOTE, "title": "x"}, ("foreign_table", "")),
        ({"table": ["tasks"], "quote": QUOTE, "title": "x"}, ("foreign_table", "")),
        ({"quote": QUOTE, "title": "x"}, ("foreign_table", "")),
        (task(title=""), ("bad_record", "tasks.title")),
    ],
)
def test_invalid_record_does_not_drop_a_valid_record(record: object, reason: tuple[str, str]) -> None:
    checked = check(record, task())
    assert len(checked.items) == 1
    assert reason in reasons(checked)


def test_literal_model_record_with_changed_text_is_dropped() -> None:
    assert check(task(), is_literal=True).items
    invented = check(task(title="send the invoice"), task(title=QUOTE), is_literal=True)
    assert reasons(invented) == [("ungrounded", "tasks.title")] * 2


MAY = "Anna must send the quote by 9 May 2026."
NEXT = "Anna must send the quote by next Friday, she says."
LAST = "Anna must send the quote by 9999-12-31T23:30:00Z at last."


@pytest.mark.parametrize(
    ("text", "fields", "has_date"),
    [
        ("Could Anna please send the quote?", {"quote": "Could Anna please send the quote"}, False),
        (MAY, {"dueDate": "2026-05-09"}, True),
        (MAY, {"dueDate": "2025-03-03", "assignee": ["the quote"]}, False),
        (NEXT, {"dueDate": "next Friday"}, True),
        (LAST, {"dueDate": "9999-12-31T23:30:00Z"}, True),  # beyond the owner's calendar
        (LAST, {"dueDate": "9999-12-31T23:45:00Z"}, False),
    ],
)
def test_literal_model_item_quotes_the_sentence_and_takes_the_date_from_the_text(
    text: str, fields: dict[str, object], has_date: bool
) -> None:
    record = task(quote=text) | fields
    (item,) = check(record, text=text, is_literal=True, timezone="Europe/Berlin").items
    assert (item.quote, "dueDate" in item.data, "assignee" in item.data) == (text, has_date, False)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = ["table", "quote", "title", "assignee", "dueDate", "status", "id", "data"]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANYTHING | st.just("tasks") | st.just("Anna"))))
def test_validation_accepts_any_json_records_without_an_error(records: list[object]) -> None:
    check(*json.loads(json.dumps(records)))


@given(st.text(alphabet="aB ﬁe\u0301\u200b\n“”'-各", max_size=30))
def test_folded_text_finds_the_original_text(text: str) -> None:
    folded = fold(text)
    if folded:
        assert list(Folded(text).find(text)) != []


def test_literal_model_event_missing_in_the_sentence_is_dropped() -> None:
    record = {"table": "timelines", "quote": QUOTE, "title": "the quote", "date": "2026-12-24"}
    checked = check(record, is_literal=True)
    assert (checked.items, reasons(checked)) == ([], [("ungrounded", "timelines.title")])


FAIR = "The fair opens next Friday at noon. The stalls close some day soon, as Bob says."


def event(**fields: object) -> dict[str, object]:
    quote = "The stalls close some day soon, as Bob says."
    return {"table": "timelines", "quote": quote, "title": "stalls close", "date": "some day soon"} | fields


def test_a_date_in_words_counts_from_the_day_the_document_was_written() -> None:
    opens = event(quote="The fair opens next Friday at noon.", title="fair opens", date="next Friday at noon")
    (item,) = check(opens, text=FAIR, timezone="Europe/Berlin").items
    assert (item.data["date"], item.unresolved) == (epoch_ms(datetime(2026, 5, 15, 10, tzinfo=UTC)), {})


@pytest.mark.parametrize(
    ("quote", "told", "meant"),
    [
        ("The fair opens next Friday at noon.", "2026-05-08", "2026-05-15T12:00Z"),  # the words win
        ("The fair opens next Friday at noon.", "2026-05-15T11:00", "2026-05-15T11:00Z"),  # the day is right
        ("Die Messe beginnt am 3. Juni.", "2026-07-03", "2026-06-03T00:00Z"),
        ("Ярмарка открывается завтра.", "2026-05-08", "2026-05-07T00:00Z"),
        ("集市明天开幕。", "2026-05-09", "2026-05-07T00:00Z"),
        ("The fair opens on Friday, not on Monday.", "2026-05-12", "2026-05-12T00:00Z"),  # which is meant?
        ("The fair sat in the sun of May.", "2026-05-12", "2026-05-12T00:00Z"),  # no day at all
        ("The fair opens on 30 February.", "2026-03-01", "2026-03-01T00:00Z"),
    ],
)
def test_date_words_of_the_quote_override_the_date_of_the_model(quote: str, told: str, meant: str) -> None:
    checked = check(event(quote=quote, title="fair", date=told), text=quote)
    (item,) = checked.items
    at = datetime.fromisoformat(meant)
    assert item.data["date"] == epoch_ms(at)
    assert reasons(checked) == (
        [("wrong_date", "timelines.date")] if at.date().isoformat() != told[:10] else []
    )


def test_unresolvable_due_date_of_a_record_is_unresolved() -> None:
    record = event(table="tasks", dueDate="some day soon")
    del record["date"]
    (item,) = check(record, text=FAIR).items
    assert (item.data, item.unresolved) == ({"title": "stalls close"}, {"dueDate": "some day soon"})


def test_date_words_missing_in_the_text_are_dropped() -> None:
    checked = check(task(dueDate="when the cows come home"))
    assert (checked.items[0].unresolved, reasons(checked)) == ({}, [("bad_field", "tasks.dueDate")])


def test_event_without_a_date_becomes_a_note_if_notes_are_requested() -> None:
    checker = checking(FAIR, data_types=(TableName.TIMELINES, TableName.NOTES))
    (item,) = checker.take_all([event()]).items
    assert item.table is TableName.NOTES
    assert item.data == {"title": "stalls close", "content": event()["quote"]}
    assert item.unresolved == {"date": "some day soon"}


def test_event_without_a_date_is_dropped_if_notes_are_not_requested() -> None:
    checked = check(event(), text=FAIR)
    assert (checked.items, reasons(checked)) == ([], [("unresolved_date", "timelines.date")])
    assert checked.failed == []


def test_two_repeated_records_of_a_quote_yield_four_items() -> None:
    titles = ["send the quote", "quote by Friday"]
    items = check(*(task(title=title) for title in titles * 2)).items
    assert len({(item.data["title"] == titles[0], item.start) for item in items}) == 4


def test_a_repeated_mention_may_be_spelled_in_another_way() -> None:
    text = "Call Bob about the lease. And, again: CALL BOB ABOUT THE LEASE."
    quote = "Call Bob about the lease."
    items = check(task(quote=quote), task(quote=quote), text=text).items
    assert [item.quote for item in items] == ["Call Bob about the lease.", "CALL BOB ABOUT THE LEASE."]


def test_record_of_a_second_question_is_located_at_the_next_occurrence() -> None:
    checker = checking()
    first = checker.take_all([task()])
    second = checker.take_all([task()])
    assert [item.start for item in first.items + second.items] == [11, TEXT.rindex(QUOTE)]


def test_misspelled_quote_is_replaced_by_the_source_text_and_marked() -> None:
    (item,) = check(task(quote="Anna must send the qoute by Friday. Bob likes tea.")).items
    assert item.quote == "Anna must send the quote by Friday. Bob likes tea"
    assert item.warnings == ("approximate_quote",)


def test_records_to_request_again_are_returned_with_the_reason() -> None:
    invented, untitled = task(quote="Carla must send the bill."), task(title=None)
    failed = check(invented, untitled, task(), {"table": "users"}).failed
    assert [(one.record, one.why) for one in failed] == [
        (invented, "its quote is not copied from the text"),
        (untitled, "tasks.title: is required"),
    ]


def test_a_record_from_elsewhere_in_the_document_is_not_requested_again() -> None:
    checked = checking(piece=Chunk(0, TEXT.index("Bob"))).take_all([task(quote="Bob likes tea.")])
    assert (checked.failed, reasons(checked)) == ([], [("ungrounded", "tasks.quote")])


PROJECT = Reference(TableName.PROJECTS, "row-7", "Lighthouse")
TASK = Reference(TableName.TASKS, "row-8", "paint the fence")


@pytest.mark.parametrize(
    ("told", "data"),
    [
        ({"project": "P1"}, {"projectId": "row-7"}),
        ({"project": "P2"}, {}),
        ({"project": "T1"}, {}),
        ({"project": "row-7"}, {}),
        ({"project": ["P1"]}, {}),
        ({"project": None, "projectId": "row-7"}, {}),
        ({"task": "T1"}, {}),
    ],
)
def test_device_row_is_referenced_only_by_the_row_label(
    told: dict[str, object], data: dict[str, object]
) -> None:
    (item,) = checking(references={"P1": PROJECT, "T1": TASK}).take_all([task(**told)]).items
    assert item.data == {"title": "send the quote"} | data


def test_comment_record_is_assigned_to_the_referenced_task() -> None:
    checker = checking(data_types=(TableName.TASK_COMMENTS,), references={"T1": TASK})
    remark = {"table": "taskComments", "quote": "Bob likes tea.", "content": "likes tea", "task": "T1"}
    (item,) = checker.take_all([remark]).items
    assert item.data == {"content": "likes tea", "taskId": "row-8"}


def item(
    title: str, start: int = 0, end: int = 40, table: TableName = TableName.TASKS, **data: Field
) -> Item:
    quote = "x" * (end - start)
    data = {"title": title, **data}
    return Item(table=table, data=data, quote=quote, start=start, end=end, origin="model")


FIRST = item("Call Bob", 0, 10)


@pytest.mark.parametrize(
    ("items", "doubles"),
    [
        ([FIRST, item("call  bob", 5, 12)], 1),
        ([FIRST, item("Call Bob", 10, 20)], 0),
        ([FIRST, item("Pay rent", 0, 10), item("Call Bob", 0, 10, TableName.NOTES)], 0),
        ([item("Call Bob", at * 10, at * 10 + 10) for at in range(10_000)], 0),
        ([item(f"do work {nth}", 0, 40) for nth in range(2_000)], 0),
    ],
    ids=["one place", "two places", "one sentence", "rows of a table", "thousands of one place"],
)
def test_items_of_equal_text_at_the_same_place_are_merged(items: list[Item], doubles: int) -> None:
    kept, dropped = duplicates.deduplicate(items)
    assert (kept, [one.reason for one in dropped]) == (
        tuple(items[: len(items) - doubles]),
        ["duplicate"] * doubles,
    )


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8))))
def test_items_are_dropped_only_on_overlap_with_an_equal_item(places: list[tuple[int, int]]) -> None:
    items = [item("Call Bob", start, start + length) for start, length in places]
    kept: list[Item] = []
    for one in items:
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    assert duplicates.deduplicate(items)[0] == tuple(kept)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item("Send the quote"), item("send quote", 20, 60)),
        (item("sending the quotes"), item("Please send a quote")),
        (item("Anna: send the quote", assignee=["Anna"]), item("send the quote", assignee=["anna"])),
        (item("send the quote", dueDate=5), item("Send quote", dueDate=5)),
        (item("Angebote schicken"), item("das Angebot schicken")),
        (item("отправить смету"), item("отправить сметы")),
        (item("寄报价单"), item("请寄报价单")),
    ],
)
def test_items_of_similar_text_at_the_same_place_are_merged(first: Item, second: Item) -> None:
    kept, doubles = duplicates.deduplicate([first, second])
    assert len(kept) == len(doubles) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item("send the report to Anna"), item("send the report to Bob")),
        (item("send the quote", dueDate=5), item("send the quote", dueDate=6)),
        (item("send the quote", assignee=["Anna"]), item("send the quote", assignee=["Bob"])),
        (item("send the quote"), item("do not send the quote")),
        (item("call room 101"), item("call room 1011")),
        (item("call Bob"), item("call Bob back")),
        (item("call Maria"), item("call Marie")),
        (item("send quote", 0, 40), item("send the quote", 40, 80)),
    ],
)
def test_items_differing_in_a_word_a_date_or_a_person_are_no_duplicates(first: Item, second: Item) -> None:
    assert duplicates.deduplicate([first, second]) == ((first, second), ())


def test_item_with_more_fields_replaces_the_duplicate() -> None:
    short, full = item("send quote"), item("send the quote", dueDate=5)
    later = item("call Bob", 50, 60)
    assert duplicates.deduplicate([short, later, full])[0] == (full, later)


def test_item_of_a_rule_is_not_replaced_by_an_item_of_a_model() -> None:
    rule = msgspec.structs.replace(item("send quote"), origin="rule")
    assert duplicates.deduplicate([rule, item("send the quote", dueDate=5)])[0] == (rule,)
