"""Generated texts through each writer: its readers find nothing that acts, and the texts as they were."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import icalendar
import pytest

from hub.device.sinks.text_file import TextFile, read_back
from hub.text.item_text import plain_lines, title_line
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row import Put
from hub.text.rows.row_format import Format
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.support.active_texts import random_texts
from tests.support.written_forms import (
    FORMS,
    active_texts,
    acts_in_a_list,
    cells_of,
    is_formula,
    obeyed_by_a_terminal,
)

vobject = pytest.importorskip("vobject")  # comes with the calendar server of the tests
TASKS = TABLES["tasks"]
KEY = "hub-aaaaaaaaaaaaaaaa"
SEED = 65
GENERATED = [one.text for one in active_texts()]
DRAWN = [one.text for one in random_texts(SEED, 400, FORMS)]
TEXTS = list(dict.fromkeys((*GENERATED, *DRAWN)))


def written(form: Format, text: str, before: str = "") -> str:
    """Return the content of a place to which a row was written, with *text* as title and description."""
    fields = {"title": text, "description": text, "status": "todo", "priority": "medium", "dueDate": ""}
    return form.insert(before, Put(KEY, TASKS, fields, "", 0))


def read(form: Format, text: str) -> tuple[str | None, str | None]:
    fields = read_back(form, TASKS, {"title": text, "description": text, "status": "todo"})
    return fields.get("title"), fields.get("description")


def test_generated_set_has_more_than_a_thousand_texts() -> None:
    assert len(set(GENERATED)) > 1_000


def test_no_spreadsheet_finds_a_formula_or_another_record_in_csv() -> None:
    for before in ("", "id;title;description\n", "id\ttitle\tdescription\n"):
        delimiter = next((one for one in ";\t" if one in before), ",")
        for text in TEXTS:
            sheet = written(Csv(), text, before)
            head, *records = cells_of(sheet, delimiter)
            cells = dict(zip(head, records[0], strict=True))
            assert (len(records), cells["id"]) == (1, KEY), ascii(text)
            for assumed in ",;\t":
                active = [cell for record in cells_of(sheet, assumed) for cell in record if is_formula(cell)]
                assert active == [], ascii((text, assumed))


@pytest.mark.parametrize("form", [Csv(), JsonLines()])
def test_records_are_read_back_exactly(form: Format) -> None:
    for text in TEXTS:
        assert read(form, text) == (text, text), ascii(text)


def test_json_line_is_a_single_line_for_every_reader() -> None:
    for text in TEXTS:
        (line,) = written(JsonLines(), text).splitlines()
        assert json.loads(line)["title"] == text
        assert obeyed_by_a_terminal(line) == []


def test_words_of_a_title_are_no_marks_in_todo_txt() -> None:
    for text in map(title_line, TEXTS):
        (line,) = written(TodoTxt(), text).splitlines()
        assert acts_in_a_list(line) == [f"id:{KEY}"], ascii(text)
        assert read(TodoTxt(), text)[0] == " ".join(text.split()), ascii(text)


def names_of(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith((" ", "\t")):
            yield re.split("[:;]", line)[0]


def test_calendar_has_a_single_component_with_the_properties_of_the_row() -> None:
    names = [*names_of(written(CalendarFormat(), "Call").splitlines())]
    for text in TEXTS[::3]:  # two libraries parse each
        content = written(CalendarFormat(), text)
        lines = content.splitlines()
        assert [*names_of(lines)] == names, ascii(text)
        (todo,) = icalendar.Calendar.from_ical(content).subcomponents
        assert ([*todo.keys()], todo.subcomponents, todo.errors) == (names[4:-2], [], []), ascii(text)
        title, lasting = title_line(text), plain_lines(text)
        assert (str(todo["SUMMARY"]), str(todo["DESCRIPTION"])) == (title, lasting), ascii(text)
        assert todo["SUMMARY"].params == todo["DESCRIPTION"].params == {}
        other = vobject.readOne(content).vtodo
        assert (other.summary.value, other.description.value) == (title, lasting), ascii(text)
        assert re.search("[\0-\x08\v-\x1f\x7f-\x9f]", content) is None, ascii(text)
        assert read(CalendarFormat(), text) == (" ".join(title.split()), lasting.strip("\n")), ascii(text)


def test_words_added_by_the_owner_to_a_todo_txt_line_keep_their_meaning() -> None:
    form, fields = TodoTxt(), {"title": "Call Ana +calls rec:+1w", "status": "todo", "priority": "high"}
    line = f"Call +calls rec:+1w id:{KEY}\n"
    (piece,) = form.pieces(line, {KEY: TASKS})
    put = Put(KEY, TASKS, fields | {"title": f"{fields['title']} +other id:{KEY}"}, "", 0)
    after = form.rendered(put, line, piece)
    assert after == f"(A) Call Ana +calls rec:+1w \\+other id\\:{KEY} id:{KEY}\n"
    (piece,) = form.pieces(after, {KEY: TASKS})
    again = form.rendered(put._replace(fields=fields | {"title": r"Call \+other"}), after, piece)
    assert again == f"(A) Call \\\\+other id:{KEY}\n"


def test_formula_of_the_owner_stays_in_the_row_of_an_item() -> None:
    form = Csv()
    sheet = f"id,title,sum\n1,=A1,=B1\n{KEY},Call,=1+2\n"
    (piece,) = form.pieces(sheet, {KEY: TASKS})
    after = form.rendered(Put(KEY, TASKS, {"title": "=1"}, "", 0), sheet, piece)
    assert after == f"{KEY},'=1,=1+2\n"


def test_multiline_title_typed_at_a_place_stays_there_and_is_a_single_line_at_the_device(
    bench: SinkBench, tmp_path: Path
) -> None:
    row = bench.approve({"title": "Call Ana"})
    path = tmp_path / "there.jsonl"
    target = TextFile(path, JsonLines())
    bench.synchronize(target)
    bench.clock.advance(60)
    path.write_text(typed := path.read_text().replace("Call Ana", "Call\\r\\n\\u0085 Bo\\u001b[2J"))
    assert bench.synchronize(target).taken_back == 1
    bench.clock.advance(60)
    assert bench.synchronize(target).problem == ""
    assert (bench.row(row)["title"], path.read_text()) == ("Call Bo[2J", typed)
