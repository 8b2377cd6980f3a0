"""Marks of task lists without a field of rows: on the line of a place again, in its own spelling."""

import pytest

from hub.device.sinks.text_file import read_back
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.row import Put
from hub.text.rows.row_format import Format
from protocol.tables import TABLES
from tests.hub.extraction.test_structured import EVERYTHING, read

TASKS = TABLES["tasks"]
KEY = "hub-aaaaaaaaaaaaaaaa"


def row_in(name: str, text: str) -> dict[str, str]:
    """Return the fields of the task of a list, as a reader of lists finds them, in texts."""
    (item,) = read(name, text, EVERYTHING).items
    data = {"description": "", **item.data, "dueDate": ""}
    return {column: str(value) for column, value in data.items()}


def written(form: Format, fields: dict[str, str], before: str = "") -> str:
    put = Put(KEY, TASKS, fields, "", 0)
    piece = next(iter(form.pieces(before, {KEY: TASKS})), None)
    return form.rendered(put, before, piece)


CASES = [
    ("todo.txt", "Water @home rec:+3d", f"Water id:{KEY} @home rec:+3d\n", "🔁 every 3 days", "@home"),
    ("todo.txt", "Pay t:2026-12-01 rec:1m", f"Pay id:{KEY} t:2026-12-01 rec:1m\n", "🛫 2026-12-01", ""),
    ("a.md", "- [ ] Water 🔁 every week", f"Water id:{KEY} rec:+1w\n", "🔁 every week", ""),
    (
        "a.md",
        "- [ ] Pay 🔁 every 2 weeks when done",
        f"Pay id:{KEY} rec:2w\n",
        "🔁 every 2 weeks when done",
        "",
    ),
    ("a.md", "- [ ] Pay 🛫 2026-12-01", f"Pay id:{KEY} t:2026-12-01\n", "🛫 2026-12-01", ""),
    ("a.md", "- [ ] Pay ⏳ 2026-12-01", f"Pay id:{KEY}\n", "⏳ 2026-12-01", ""),
    ("a.md", "- [ ] Pay 🔁 every workday", f"Pay id:{KEY}\n", "", "&#x1f501; every workday"),
]


@pytest.mark.parametrize(("name", "line", "todo", "sign", "words"), CASES)
def test_mark_of_a_list_is_a_mark_at_each_place_that_knows_a_spelling(
    name: str, line: str, todo: str, sign: str, words: str
) -> None:
    fields = row_in(name, f"{line}\n")
    assert written(TodoTxt(), fields) == todo
    note = written(Markdown(), fields)
    row, _, below = note.partition("\n")
    assert sign in row
    assert (row.count("🔁") + row.count("🛫") + row.count("⏳") > 0) == (sign != "")
    assert below.strip() == words
    for form in (TodoTxt(), Markdown()):
        assert read_back(form, TASKS, fields)["title"] == fields["title"]
        text = written(form, fields)
        assert written(form, fields, text) == text, "a second writing changes nothing"


def test_project_is_a_mark_in_todo_txt() -> None:
    fields = {
        "title": "Call",
        "status": "todo",
        "projectId": "Old flat",
        "description": "by phone\n@phone +a",
    }
    assert written(TodoTxt(), fields) == f"Call id:{KEY} @phone +a +Old-flat\n"
    assert written(TodoTxt(), {**fields, "projectId": "a; b"}) == f"Call id:{KEY} @phone +a\n"


@pytest.mark.parametrize(
    "text",
    ["@home today", "rec:1d; rm", "h:1", "id:x", "@home\nand more", "+", "x 2026-01-01", "🔁 every day; x"],
)
def test_words_among_marks_are_no_marks(text: str) -> None:
    fields = {"title": "Call", "status": "todo", "description": text}
    assert written(TodoTxt(), fields) == f"Call id:{KEY}\n"
    assert "\n" in written(Markdown(), fields).strip()


def test_mark_that_the_owner_changes_on_the_line_stays_as_typed() -> None:
    form, fields = TodoTxt(), {"title": "Call", "status": "todo", "description": "@phone rec:1w"}
    after = written(form, {**fields, "title": "Call Bo"}, f"Call id:{KEY} @home due:2026-12-01\n")
    assert after == f"Call Bo id:{KEY} @home\n"
    (piece,) = form.pieces(f"Call id:{KEY} @home soon\n", {KEY: TASKS})
    assert (piece.fields["title"], piece.former["title"]) == ("Call soon", "Call @home soon")
    note = written(Markdown(), {**fields, "title": "Call Bo"}, f"- [ ] Call ^{KEY}\n")
    assert "🔁" not in note


def test_row_of_a_former_release_gets_the_sign_of_its_words() -> None:
    fields = {"title": "Water", "status": "todo", "description": "🔁 every week"}
    former = f"- [ ] Water ^{KEY}\n  &#x1f501; every week\n"
    assert written(Markdown(), fields, former) == f"- [ ] Water 🔁 every week ^{KEY}\n"
