"""Marks of task lists without a field of rows: on the line of a place again, in its own spelling.

Only those that a rule found in a list of the owner act; the same words of others are text.
"""

from pathlib import Path

import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import connect_shared, open_device_store
from hub.device.owner import approve
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile, read_back
from hub.document import Document
from hub.extraction.ruled import ToExtract
from hub.runs.found_items import source_of
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.marks import MARKS, repetition_in
from hub.text.rows.row import Put
from hub.text.rows.row_format import Format
from protocol.items import FoundBy, ItemSource, Provenance, ProvenanceOrigin
from protocol.tables import SUGGESTED, TABLES
from protocol.tool_calls import Action, ToolCall
from tests.hub.extraction.test_structured import EVERYTHING, read
from tests.support.clock import FakeClock, SeededChance
from tests.support.families import each

TASKS = TABLES["tasks"]
KEY = "hub-aaaaaaaaaaaaaaaa"


def row_in(name: str, text: str) -> dict[str, str]:
    """Return the fields of the task of a list, as a reader of lists finds them, in texts."""
    (item,) = read(name, text, EVERYTHING).items
    data = {"description": "", **item.data, "dueDate": "", MARKS: "\n".join(item.marks)}
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
        MARKS: "@phone\n+a",
    }
    assert written(TodoTxt(), fields) == f"Call id:{KEY} @phone +a +Old-flat\n"
    assert written(TodoTxt(), {**fields, "projectId": "a; b"}) == f"Call id:{KEY} @phone +a\n"


@pytest.mark.parametrize(
    "text",
    ["@home today", "rec:1d; rm", "h:1", "id:x", "@home\nand more", "+", "x 2026-01-01", "🔁 every day; x"],
)
def test_words_among_marks_are_no_marks(text: str) -> None:
    fields = {"title": "Call", "status": "todo", "description": text, MARKS: text.replace(" ", "\n")}
    assert written(TodoTxt(), fields) == f"Call id:{KEY}\n"
    assert "\n" in written(Markdown(), fields).strip()


def test_mark_that_the_owner_changes_on_the_line_stays_as_typed() -> None:
    form, fields = TodoTxt(), {"title": "Call", "status": "todo", "description": "@phone rec:1w"}
    fields[MARKS] = "@phone\nrec:1w"
    after = written(form, {**fields, "title": "Call Bo"}, f"Call id:{KEY} @home due:2026-12-01\n")
    assert after == f"Call Bo id:{KEY} @home\n"
    (piece,) = form.pieces(f"Call id:{KEY} @home soon\n", {KEY: TASKS})
    assert (piece.fields["title"], piece.former["title"]) == ("Call soon", "Call @home soon")
    note = written(Markdown(), {**fields, "title": "Call Bo"}, f"- [ ] Call ^{KEY}\n")
    assert "🔁" not in note


def test_row_of_a_former_release_gets_the_sign_of_its_words() -> None:
    fields = {"title": "Water", "status": "todo", "description": "🔁 every week", MARKS: "🔁 every week"}
    former = f"- [ ] Water ^{KEY}\n  &#x1f501; every week\n"
    assert written(Markdown(), fields, former) == f"- [ ] Water 🔁 every week ^{KEY}\n"


OWN = Provenance(origin=ProvenanceOrigin.OWN, trusted=True)
MAIL = Provenance(origin=ProvenanceOrigin.MAIL, author="eve@example.org", trusted=False)
FRIEND = Provenance(origin=ProvenanceOrigin.MAIL, author="bo@example.org", trusted=True)
SHARED = Provenance(origin=ProvenanceOrigin.SHARED, trusted=True)
MARKED = ["@home", "+flat", "rec:1w"]


@pytest.mark.parametrize(
    ("provenance", "found_by", "marks", "acts"),
    [
        (OWN, FoundBy.RULE, MARKED, True),
        (OWN, FoundBy.RULE, ["@home"], False),  # others are words of a sentence
        (OWN, FoundBy.RULE, [], False),
        (OWN, FoundBy.MODEL, MARKED, False),
        (MAIL, FoundBy.RULE, MARKED, False),
        (FRIEND, FoundBy.RULE, MARKED, False),
        (SHARED, FoundBy.RULE, MARKED, False),
        (Provenance(origin=ProvenanceOrigin.CHAT, trusted=False), FoundBy.RULE, MARKED, False),
        (Provenance(origin=ProvenanceOrigin.WEB, trusted=False), FoundBy.RULE, MARKED, False),
        (Provenance(origin=ProvenanceOrigin.OWN, trusted=False), FoundBy.RULE, MARKED, False),
        (None, None, [], False),  # of an older hub
    ],
)
def test_marks_act_where_a_rule_found_them_in_a_list_of_the_owner(
    tmp_path: Path, provenance: Provenance | None, found_by: FoundBy | None, marks: list[str], acts: bool
) -> None:
    clock, words = FakeClock(), "@home +flat rec:1w"
    source = ItemSource(
        path="notes/todo.txt",
        quote=f"Water {words}",
        start=0,
        end=24,
        provenance=provenance,
        found_by=found_by,
        marks=marks,
    )
    data = {"title": "Water", "description": words, **SUGGESTED}
    with open_device_store(tmp_path / "desk.db", clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply([ToolCall(id="c1", action=Action.INSERT, table="tasks", data=data, source=source)])
    approve(tmp_path / "desk.db", [1], at_ms=1_800_000_000_000)
    for form, path in ((TodoTxt(), tmp_path / "there.txt"), (Markdown(), tmp_path / "there.md")):
        with connect_shared(tmp_path / "desk.db") as db:
            sink = Sink(form.kind, TextFile(path, form), ("tasks",), kind=form.kind)
            assert synchronize(db, sink, clock.now()).problem == ""
    line, note = (tmp_path / "there.txt").read_text(), (tmp_path / "there.md").read_text()
    assert [word in line.split() for word in MARKED] == [acts] * 3
    assert ("🔁 every week when done ^" in note, words in note) == (acts, not acts)


INVITATION = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//a//b//EN\n{}BEGIN:VTODO\nUID:1\nDTSTART;VALUE=DATE:20261201\n"
    "ORGANIZER:mailto:eve@example.org\nSUMMARY:Water\nRRULE:FREQ=WEEKLY\nEND:VTODO\nEND:VCALENDAR\n"
)
ATTACKED = [
    ("todo.txt", "> Water rec:1w +a", False),
    ("todo.txt", "(B) > Water rec:1w +a", False),
    ("todo.txt", "x 2026-11-01 > Water rec:1w +a", False),
    ("a.md", " > > - [ ] Water 🔁 every week", False),
    ("a.md", "----- Original Message -----\n- [ ] Water 🔁 every week", False),
    (
        "a.md",
        "Hello\n\nOn Mon, 2 Nov 2026 at 10:00, Eve <eve@example.org> wrote:\n\n- [ ] Water 🔁 every week",
        False,
    ),
    ("a.md", "Am 2.11.2026 um 10:00 schrieb Eve <eve@example.org>:\n- [ ] Water 🔁 every week", False),
    (
        "a.txt",
        "From: eve@example.org\nTo: me\nSubject: a\nDate: 2 Nov 2026\n\n- [ ] Water 🔁 every week",
        False,
    ),
    ("a.txt", "De : Eve\nÀ : moi\nObjet : eau\n\n- [ ] Water 🔁 every week", False),
    ("a.md", '---\ntitle: a\nsource: "https://example.org/a"\n---\n- [ ] Water 🔁 every week', False),
    ("a.ics", INVITATION.format("METHOD:REQUEST\n"), False),
    ("a.md", "On Mon, 2 Nov 2026 at 10:00, Eve wrote:\n> Hello\n\n- [ ] Water 🔁 every week", True),
    ("a.md", "---\ntitle: a\nsource: Ann\n---\n- [ ] Water 🔁 every week", True),
    ("a.md", "See https://example.org/a\n- [>] Water 🔁 every week", True),
    ("a.ics", INVITATION.format("METHOD:PUBLISH\n"), True),
    ("a.ics", INVITATION.format(""), True),
]


@each(("name", "text", "acts"), ATTACKED)
def test_marks_are_named_in_words_of_the_owner_alone(name: str, text: str, acts: bool) -> None:
    document = Document(unit_key=name, text=text, content_hash="0" * 64)
    items = ToExtract(document=document, options=EVERYTHING, reads_prose=True).answer().items
    assert [bool(item.marks) for item in items if item.table == "tasks"] == [acts]


@pytest.mark.parametrize(
    ("media_type", "line", "expected"),
    [
        (None, "- [ ] Water 🔁 every week", ["🔁 every week"]),
        ("text/markdown", "- [ ] Water 🔁 every week ⏳ 2026-12-01", ["🔁 every week", "⏳ 2026-12-01"]),
        (None, "- [ ] Water 🔁 every workday", []),
        (None, "- [ ] Ask @home about +flat", []),
        ("application/pdf", "- [ ] Water 🔁 every week", []),
    ],
)
def test_hub_names_the_marks_of_a_list_unless_the_text_is_converted(
    media_type: str | None, line: str, expected: list[str]
) -> None:
    (item,) = read("a.md", line).items
    document = Document(unit_key="a.md", text=line, content_hash="0" * 64, media_type=media_type)
    assert source_of(document, item).get("marks", []) == expected


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        (["@home", "rec:+1m"], "rec:+1m"),
        (["🔁 every 2 weeks when done"], "🔁 every 2 weeks when done"),
        (["t:2026-12-01", "+flat"], ""),
        (["record:1"], ""),
        ([], ""),
    ],
)
def test_repetition_is_the_first_repeating_mark(marks: list[str], found: str) -> None:
    assert repetition_in(marks) == found
