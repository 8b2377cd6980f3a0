"""A model's answer into items: what is taken, what is not, and where it stands."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.clock import epoch_ms
from hub.extraction.chunk import Chunk
from hub.extraction.folding import Folded, fold
from hub.extraction.items import Wanted
from hub.extraction.validate import Checked, Checking, Unreadable, records_of
from protocol.tables import TableName

TEXT = "Hello all. Anna must send the quote by Friday. Bob likes tea. Anna must send the quote by Friday."
QUOTE = "Anna must send the quote by Friday."


def check(*records: object, text: str = TEXT, is_literal: bool = False, timezone: str = "UTC") -> Checked:
    wanted = Wanted(data_types=(TableName.TASKS, TableName.TIMELINES), timezone=timezone)
    checking = Checking(text, Chunk(0, len(text)), wanted, known=fold(text), is_literal=is_literal)
    checked = checking.take_all(records)
    assert [text[item.start : item.end] for item in checked.items] == [item.quote for item in checked.items]
    return checked


def task(**fields: object) -> dict[str, object]:
    return {"table": "tasks", "quote": QUOTE, "title": "send the quote"} | fields


def reasons(checked: Checked) -> list[tuple[str, str]]:
    return [(note.reason, note.detail) for note in checked.dropped]


def test_a_record_with_a_true_quote_is_an_item() -> None:
    (item,) = check(task(assignee=["Anna"], status=None)).items
    assert item.data == {"title": "send the quote", "assignee": ["Anna"]}
    assert (item.start, item.quote, item.origin) == (11, QUOTE, "model")


def test_a_repeated_mention_stands_at_its_own_place() -> None:
    first, second = check(task(), task()).items
    assert (first.start, second.start) == (11, TEXT.rindex(QUOTE))


@pytest.mark.parametrize(
    "quote", ["Carla must send the bill.", "", None, 7, "...", "nna must send the quote by"]
)
def test_a_record_without_a_true_quote_is_dropped(quote: object) -> None:
    record = task(quote=quote)
    if quote == "nna must send the quote by":
        record["quote"] = "nna must"  # short, and not a whole word
    assert reasons(check(record)) == [("ungrounded", "tasks.quote")]


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
def test_a_quote_is_found_however_it_is_written(text: str, quote: str, found: str) -> None:
    (item,) = check(task(quote=quote), text=text).items
    assert item.quote == found


def test_a_quote_too_short_to_say_anything_is_shown_as_its_sentence() -> None:
    (item,) = check(task(quote="Bob")).items
    assert item.quote == "Bob likes tea."


def test_fields_that_are_not_the_models_are_stripped_and_noted() -> None:
    checked = check(task(id="1", isApproved=1, projectId="p", madeUp="x"))
    assert checked.items[0].data == {"title": "send the quote"}
    assert reasons(checked) == [
        ("forbidden_field", "tasks.id"),
        ("forbidden_field", "tasks.isApproved"),
        ("forbidden_field", "tasks.projectId"),
        ("forbidden_field", "tasks.(unknown)"),
    ]


def test_a_field_in_a_shape_we_cannot_read_is_dropped_and_the_record_kept() -> None:
    checked = check(task(dueDate="next Friday", priority="whenever", description={"a": 1}, assignee=[1]))
    assert checked.items[0].data == {"title": "send the quote"}
    assert {detail for _, detail in reasons(checked)} == {
        "tasks.dueDate",
        "tasks.priority",
        "tasks.description",
        "tasks.assignee",
    }


def test_values_are_brought_into_shape_where_their_meaning_is_clear() -> None:
    (item,) = check(
        task(
            assignee="Anna",
            status="In Progress",
            priority="HIGH",
            description=" None ",
            title=" send\u202e it ",
        )
    ).items
    assert item.data == {
        "assignee": ["Anna"],
        "status": "in_progress",
        "priority": "high",
        "title": "send it",
    }


@pytest.mark.parametrize(
    ("told", "timezone", "meant"),
    [
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        ("2026-12-01T14:30", "America/New_York", "2026-12-01T19:30:00+00:00"),
        ("2026-12-01 14:30:00+05:30", "UTC", "2026-12-01T09:00:00+00:00"),
        ("2026-12-01T14:30Z", "Asia/Tokyo", "2026-12-01T14:30:00+00:00"),
    ],
)
def test_a_local_date_becomes_a_point_in_time(told: str, timezone: str, meant: str) -> None:
    (item,) = check(task(dueDate=told), timezone=timezone).items
    assert item.data["dueDate"] == epoch_ms(datetime.fromisoformat(meant))


@pytest.mark.parametrize(
    "told", [1764547200000, "2026-02-30", "01/02/2026", "9999-12-31T23:59-12:00", "1900-01-01"]
)
def test_a_date_that_cannot_be_is_left_out(told: object) -> None:
    assert reasons(check(task(dueDate=told))) == [("bad_field", "tasks.dueDate")]


def test_a_name_that_stands_nowhere_is_an_invention() -> None:
    checked = check(task(assignee=["Anna", "Dave"]))
    assert checked.items[0].data["assignee"] == ["Anna"]


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
def test_one_bad_record_costs_no_good_one(record: object, reason: tuple[str, str]) -> None:
    checked = check(record, task())
    assert len(checked.items) == 1
    assert reason in reasons(checked)


def test_a_model_that_only_copies_must_have_copied() -> None:
    assert check(task(), is_literal=True).items
    invented = check(task(title="send the invoice"), task(title=QUOTE), is_literal=True)
    assert reasons(invented) == [("ungrounded", "tasks.title")] * 2


def test_of_a_model_that_only_copies_the_whole_sentence_is_shown() -> None:
    text = "Could Anna please send the quote?"
    (item,) = check(task(quote="Could Anna please send the quote"), text=text, is_literal=True).items
    assert item.quote == text


def test_of_a_model_that_only_copies_a_date_must_stand_in_the_sentence() -> None:
    text = "Anna must send the quote by 9 May 2026."
    right, wrong = check(
        task(quote=text, dueDate="2026-05-09"),
        task(quote=text, dueDate="2025-03-03", title="the quote", assignee=["the quote"]),
        text=text,
        is_literal=True,
    ).items
    assert "dueDate" in right.data
    assert wrong.data == {"title": "the quote"}


@pytest.mark.parametrize(
    "answer",
    [
        '{"items": [{"table": "tasks"}]}',
        '```json\n{"items": [{"table": "tasks"}]}\n```',
        'Sure {as you wish}, see [1]: {"items": [{"table": "tasks"}]} Bye.',
        '[{"table": "tasks"}]',
        '{"table": "tasks"}',
        '<think>maybe {"items": []}?</think>{"items": [{"table": "tasks"}]}',
    ],
)
def test_records_are_found_in_fences_and_chatter(answer: str) -> None:
    assert records_of(answer) == [{"table": "tasks"}]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nothing",
        "{",
        '{"items": [{"table": "tasks", "assignee": []}, {"ta',
        '{"items": [{"table": "tasks", "assignee": [], "ti',
        '{"items": 7}',
        "[" * 100_000,
        "[1",
    ],
)
def test_an_answer_that_breaks_off_is_not_an_empty_one(answer: str) -> None:
    with pytest.raises(Unreadable):
        records_of(answer)


@pytest.mark.parametrize("answer", ['{"items": []}', "[]", "```json\n[]\n```", 'None found: {"items": []}'])
def test_an_empty_list_is_an_answer(answer: str) -> None:
    assert records_of(answer) == []


@pytest.mark.parametrize("answer", ["I leave assignee as [] here.", '[] {"items": [{"table": "ta'])
def test_an_empty_list_in_chatter_is_no_answer(answer: str) -> None:
    with pytest.raises(Unreadable):
        records_of(answer)


def test_an_empty_list_before_the_answer_does_not_hide_it() -> None:
    told = '{"items": [{"table": "tasks"}]}'
    assert records_of(f"Empty fields are []. {told}") == [{"table": "tasks"}]
    assert records_of(f'It looks like {{"items": []}}: {told}') == [{"table": "tasks"}]


def test_bare_records_one_after_the_other_are_all_taken() -> None:
    answer = '{"table": "tasks"}\n{"table": "notes"},\n{"table": "tasks", "title": "x"}'
    assert [record["table"] for record in records_of(answer) if isinstance(record, dict)] == [
        "tasks",
        "notes",
        "tasks",
    ]


def test_bare_records_of_which_one_breaks_off_are_no_answer() -> None:
    with pytest.raises(Unreadable):
        records_of('{"table": "tasks"}\n{"table": "no')


def test_thoughts_that_lost_their_opening_mark_are_not_the_answer() -> None:
    answer = 'Maybe {"items": [{"table": "notes"}]}?</think>{"items": [{"table": "tasks"}]}'
    assert records_of(answer) == [{"table": "tasks"}]


def test_the_end_mark_of_thoughts_may_be_quoted() -> None:
    answer = '{"items": [{"quote": "a </think> b"}]}'
    assert records_of(answer) == [{"quote": "a </think> b"}]


def test_a_date_beyond_the_owners_calendar_is_not_taken_literally() -> None:
    text = "Anna must send the quote by 9999-12-31T23:30:00Z at last."
    record = task(quote=text, dueDate="9999-12-31T23:30:00Z")
    (item,) = check(record, text=text, is_literal=True, timezone="Europe/Berlin").items
    assert "dueDate" not in item.data


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = ["table", "quote", "title", "assignee", "dueDate", "status", "id", "data"]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANYTHING | st.just("tasks") | st.just("Anna"))))
def test_no_answer_makes_the_check_fail(records: list[object]) -> None:
    check(*records_of(json.dumps({"items": records})))


@given(st.text(alphabet="aB ﬁe\u0301\u200b\n“”'-各", max_size=30))
def test_every_text_is_found_in_itself_folded(text: str) -> None:
    folded = fold(text)
    if folded:
        assert list(Folded(text).find(text)) != []


def test_an_event_whose_date_the_sentence_does_not_say_is_no_event() -> None:
    record = {"table": "timelines", "quote": QUOTE, "title": "the quote", "date": "2026-12-24"}
    checked = check(record, is_literal=True)
    assert (checked.items, reasons(checked)) == ([], [("ungrounded", "timelines.title")])
