"""The records in what a model wrote, however it wrote them."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.answers import ParsedRecords, UnreadableAnswer, read
from tests.support.calls import calls_of
from tests.support.families import each

TASK = {"table": "tasks", "title": "send the quote"}
TOLD = '{"items": [{"table": "tasks", "title": "send the quote"}]}'


@each(
    "answer",
    [
        TOLD,
        f"```json\n{TOLD}\n```",
        f"Sure {{as you wish}}, see [1]: {TOLD} Bye.",
        f"Empty fields are []. {TOLD}",
        f'It looks like {{"items": []}}: {TOLD}',
        '[{"table": "tasks", "title": "send the quote"}]',
        '{"table": "tasks", "title": "send the quote"}',
        f'<think>maybe {{"items": []}}?</think>{TOLD}',
        f'Maybe {{"items": [{{"table": "notes"}}]}}?</think>{TOLD}',
        '{items: [{table: "tasks", title: "send the quote",},],}',
        "{'items': [{'table': 'tasks', 'title': 'send the quote'}]}",
        "{“items”: [{“table”: “tasks”, “title”: “send the quote”}]}",
        '{"items": [{"table": tasks, "title": send the quote}]}',
        '// found\n{"items": [/* one */ {"table": "tasks", "title": "send the quote" // there\n}]}',
        '{"items": [{"table": "tasks" "title": "send the quote"}]}',
        '{"items" = [{"table": "tasks", "title": "send the quote"}]}',
    ],
)
def test_records_are_parsed_from_every_answer_notation(answer: str) -> None:
    assert read(answer) == ParsedRecords([TASK])


@pytest.mark.parametrize(
    ("answer", "records"),
    [
        ('{"items": [{"table": "tasks", "title": "send the quote"}, {"ta', [TASK]),
        ('{"items": [{"table": "tasks", "title": "send the quote"}', [TASK]),
        ('{"items": [{"table": "tasks", "title": "send the quote"}]', [TASK]),
        ('{"items": [{"table": "tasks", "title": "send the', []),
        ('{"items": [', []),
        ('[] {"items": [{"table": "ta', []),
        ('{"table": "tasks", "title": "send the quote"}\n{"table": "no', [TASK]),
        ('Sure! [{table: "tasks", title: "send the quote",}, {"ta', [TASK]),
        ('{"items": [{"table": "tasks", "title": "send the quote"}, {"table": : }]}', [TASK]),
    ],
)
def test_truncated_answer_yields_the_complete_records_and_is_marked_cut(
    answer: str, records: list[object]
) -> None:
    assert read(answer) == ParsedRecords(records, is_cut=True)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nothing",
        "{",
        '{"items": 7}',
        "[" * 100_000,
        "[1",
        "I leave assignee as [] here.",
        '<think>Perhaps {"items": []}, or',
    ],
)
def test_a_text_without_an_answer_is_unreadable_and_not_empty(answer: str) -> None:
    with pytest.raises(UnreadableAnswer):
        read(answer)


@pytest.mark.parametrize(
    ("answer", "records"),
    [
        *(
            (empty, [])
            for empty in (
                '{"items": []}',
                "[]",
                "```json\n[]\n```",
                'None found: {"items": []}',
                "{items: []}",
            )
        ),
        (
            '{"table": "tasks"}\n{"table": "notes"},\n{"table": "tasks", "title": "x"}',
            [{"table": "tasks"}, {"table": "notes"}, {"table": "tasks", "title": "x"}],
        ),
        ('{"items": [{"quote": "a </think> b"}]}', [{"quote": "a </think> b"}]),
        (
            '{"items": [{"table": "tasks", "assignee": ["Anna"}, {"table": "notes", {"table": "projects"}]}',
            [{"table": "tasks", "assignee": ["Anna"]}, {"table": "notes"}, {"table": "projects"}],
        ),
    ],
)
def test_answer_with_no_bare_or_unclosed_records_is_parsed(answer: str, records: list[object]) -> None:
    assert read(answer).records == records


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"He said "go", and left."', 'He said "go", and left.'),
        ("'Anna's quote'", "Anna's quote"),
        (r'"caf\u00e9 \ud83d\ude00"', "café 😀"),
        (r'"one\ntwo \"three\" \q"', 'one\ntwo "three" q'),
        ('"over\ntwo lines"', "over\ntwo lines"),
        ("HIGH", "HIGH"),
        ("None", None),
        ("True", True),
        ("12", 12),
        ("-0.5", -0.5),
    ],
)
def test_values_in_invalid_json_notation_are_parsed_leniently(written: str, said: object) -> None:
    assert read(f'{{items: [{{table: "tasks", quote: {written}, status: "todo"}}]}}').records == [
        {"table": "tasks", "quote": said, "status": "todo"}
    ]


RECORD = st.fixed_dictionaries(
    {
        "table": st.just("tasks"),
        "quote": st.text(max_size=20),
        "assignee": st.lists(st.text(max_size=5), max_size=2),
    }
)


@given(st.lists(RECORD, max_size=4), st.data())
def test_answer_truncated_at_any_place_is_marked_cut(records: list[object], data: st.DataObject) -> None:
    whole = json.dumps({"items": records}, ensure_ascii=data.draw(st.booleans()))
    assert read(whole) == ParsedRecords(records)
    at = data.draw(st.integers(0, len(whole) - 1))
    try:
        answer = read(whole[:at])
    except UnreadableAnswer:
        return
    assert answer.is_cut
    assert answer.records == records[: len(answer.records)]


@given(st.text(alphabet="{}[]\":,\\'abtableitems/*`\n 1", max_size=80))
def test_answer_reader_raises_only_unreadable_for_any_text(text: str) -> None:
    with suppress(UnreadableAnswer):
        read(text)


MARKS = (*"\"'[{}]:,\\ \na=`\u201c", "/*", "//", '"items"')
UNITS = ('[" ["', '["\\', '{"a" "', "{a:", '" x', " /*", "[{", '{"table": "tasks", "quote": "a" b"}, ')
CALLS_PER_CHARACTER = 60  # of functions, C ones included


def calls(text: str) -> int:
    def work() -> None:
        with suppress(UnreadableAnswer):
            read(text)

    return calls_of(work)


@each("opening", ["", "[", '{"items": [', '{"items": ["'])
@each("unit", UNITS)
def test_a_hostile_answer_is_read_in_linear_time(opening: str, unit: str) -> None:
    for length in (1_000, 8_000):
        assert calls((opening + unit * length)[:length]) <= CALLS_PER_CHARACTER * length


@given(unit=st.lists(st.sampled_from(MARKS), min_size=1, max_size=6).map("".join))
def test_any_repetition_of_marks_is_read_in_linear_time(unit: str) -> None:
    length = 2_000
    assert calls((unit * length)[:length]) <= CALLS_PER_CHARACTER * length
