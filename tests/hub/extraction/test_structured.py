"""Documents whose form says what they hold, read by rules; captions are prose over several cues."""

from contextlib import aclosing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from hub.base.clock import epoch_ms
from hub.document import Document
from hub.extraction import chunk, structured
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, Item, RulesForm
from hub.extraction.model import Models
from hub.extraction.ruled import ToRead
from hub.runs.delivery import missing_of
from protocol.tables import TableName
from tests.hub.extraction.conftest import model_at
from tests.hub.extraction.test_extractor import extract, long_text, note
from tests.support.oracle import Oracle, plant

WRITTEN = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
EVERYTHING = ExtractionOptions(data_types=tuple(TableName), timezone="Europe/Berlin")

PLANTED = [
    plant(("Anna", "Bob", "Eve")[n % 3], f"send report {n}", "2026-12-01", f"K-{n:04}") for n in range(8)
]
_WORDS = 5  # of a cue: every planted sentence is in three of them


def read(
    name: str, text: str, wanted: ExtractionOptions = EVERYTHING, media_type: str | None = None
) -> RulesForm:
    document = Document(unit_key=name, text=text, content_hash="0" * 64, media_type=media_type)
    form = structured.read(document, wanted)
    assert [text[item.start : item.end] for item in form.items] == [item.quote for item in form.items]
    return form


def suggested(name: str, text: str, media_type: str | None = None) -> list[Item]:
    """Return the items that rules suggest: what is done is none."""
    document = Document(unit_key=name, text=text, content_hash="", modified_at=WRITTEN, media_type=media_type)
    items = ToRead(document=document, options=EVERYTHING, reads_prose=True).answer().items
    assert [text[item.start : item.end] for item in items] == [item.quote for item in items]
    return [item for item in items if item.data.get("status") != "done"]


def berlin(day: str, offset: str = "+01:00") -> int:
    return epoch_ms(datetime.fromisoformat(f"{day}{'T00:00' if len(day) == 10 else ''}{offset}"))


def test_check_boxes_are_tasks_and_the_rest_is_prose() -> None:
    text = "# House\nHello.\n- [ ] Call Bob\n* [x] Pay rent\n1. [/] Paint\n- plain\n"
    form = read("a.md", text)
    assert [(item.data["title"], item.data["status"]) for item in form.items] == [
        ("Call Bob", "todo"),
        ("Pay rent", "done"),
        ("Paint", "in_progress"),
    ]
    assert [text[span.start : span.end] for span in form.prose] == ["Hello.\n", "- plain\n"]
    assert {span.headings for span in form.prose} == {("House",)}


def test_nested_check_box_includes_indented_continuation_lines() -> None:
    text = (
        "- [ ] Outer\r\n  - [ ] Inner task\r\n    continues here\r\n    With a remark.\r\n  prose after\r\n"
    )
    outer, inner = read("a.md", text).items
    assert (outer.data["title"], inner.data["title"]) == ("Outer", "Inner task continues here")
    assert inner.data["description"] == "With a remark."
    assert inner.quote == "Inner task\r\n    continues here\r\n    With a remark."


def test_check_box_below_a_person_is_a_task_of_the_person() -> None:
    text = (
        "# Move\n- [ ] **Anna**\n  - [ ] order boxes\n  - [ ] ask @ben\n- Frau Demir:\n  - [ ] paint\n"
        "- [ ] Kitchen\n  - [ ] buy a lamp\n## Eve\n- [ ] pack\n"
    )
    assert [(item.data["title"], item.data.get("assignee")) for item in read("a.md", text).items] == [
        ("order boxes", ["Anna"]),
        ("ask @ben", ["ben"]),
        ("paint", ["Frau Demir"]),
        ("Kitchen", None),
        ("buy a lamp", None),
        ("pack", ["Eve"]),
    ]


def test_list_row_above_check_boxes_is_the_assignee_among_person_rows() -> None:
    text = "".join(f"- {who}\n  - [ ] order {who} boxes\n" for who in ("Ben", "**Dmitri**", "Carla"))
    form = read("a.md", f"# To do\n{text}")
    assert [item.data["assignee"] for item in form.items] == [["Ben"], ["Dmitri"], ["Carla"]]
    assert form.prose == []
    topic = read("a.md", "# To do\n- Kitchen\n  - [ ] buy a lamp\n- call Ann\n  - [ ] buy a bed\n")
    assert [item.data.get("assignee") for item in topic.items] == [None, None]
    assert [span.end - span.start for span in topic.prose] == [len("- call Ann\n")]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n", "\r\n\r\n"])
def test_first_row_of_a_list_of_work_is_a_task_whatever_line_ends_the_text(end: str) -> None:
    titles = [item.data["title"] for item in suggested("tasks.txt", f"roof repair\nkitchen lamp{end}")]
    assert titles == ["roof repair", "kitchen lamp"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.taskpaper", "Garden:\n- @due(2026-06-06)\n- mow the lawn\n"),
        ("todo.txt", "x 2026-01-02 due:2026-06-06\n(A) mow the lawn +garden\n"),
        ("a.md", "- [ ] @due(2026-06-06)\n- [ ] mow the lawn\n"),
    ],
)
def test_row_with_marks_and_no_word_is_no_task_in_any_format(name: str, text: str) -> None:
    tasks = [item.data["title"] for item in read(name, text).items if item.table == TableName.TASKS]
    assert tasks == ["mow the lawn"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.taskpaper", "Garden:\n\t- mow the lawn\nGarden:\n\t- cut the hedge\n"),
        ("todo.txt", "(A) mow the lawn +Garden\n(B) cut the hedge +Garden\n"),
        ("a.csv", "Task,Who,Project\nmow the lawn,Ann,Garden\ncut the hedge,Ben,Garden\n"),
        (
            "a.md",
            "".join(
                f"|Task|Who|Project|\n|-|-|-|\n|{what}|Ann|Garden|\n\nthen\n\n" for what in ("mow", "cut")
            ),
        ),
    ],
)
def test_project_of_several_rows_is_one_item_in_any_format(name: str, text: str) -> None:
    projects = [item.data for item in read(name, text).items if item.table == TableName.PROJECTS]
    assert projects == [{"name": "Garden"}]


def test_front_matter_sets_the_document_date_and_the_default_due_date() -> None:
    front = "---\ntitle: Plan\ndate: 2026-03-01 # today\ndue: '2026-04-01'\n---\n"
    text = f"{front}- [ ] One\n- [ ] Two by 2026-03-05\n- [ ] Three tomorrow\n- [ ] Four one day\n"
    assert read("a.md", text).date == datetime(2026, 2, 28, 23, tzinfo=UTC)
    document = Document(unit_key="a.md", text=text, content_hash="")
    items = ToRead(document=document, options=EVERYTHING, reads_prose=False).answer().items
    assert [item.data["dueDate"] for item in items] == [
        berlin("2026-04-01", "+02:00"),
        berlin("2026-03-05"),
        berlin("2026-03-02"),
        berlin("2026-04-01", "+02:00"),
    ]


def test_unclosed_front_matter_is_read_as_prose() -> None:
    assert read("a.md", "---\nnot closed\n").prose[0].start == 0


def test_title_over_the_length_limit_is_complete_in_the_description() -> None:
    words = "word " * 200
    (item,) = read("a.md", f"- [ ] {words}").items
    assert len(str(item.data["title"])) <= 500
    assert item.data["description"] == words.strip()


def test_todo_txt_line_is_read_as_a_task_with_all_fields() -> None:
    form = read(
        "x/todo.txt", "x 2026-01-02 2026-01-01 Done +home @phone\n(A) Pay rent due:2026-02-01 +home\n\n"
    )
    tasks = [item for item in form.items if item.table == TableName.TASKS]
    assert tasks[0].data == {"title": "Done", "description": "+home @phone", "status": "done"}
    assert tasks[1].data == {
        "title": "Pay rent",
        "description": "+home",
        "status": "todo",
        "priority": "high",
        "dueDate": berlin("2026-02-01"),
    }
    assert [item.data for item in form.items if item.table == TableName.PROJECTS] == [{"name": "home"}]
    assert form.prose == []


def test_a_heading_of_an_org_file_with_a_state_or_a_planned_day_is_a_task() -> None:
    text = (
        "* TODO Write the report\n  DEADLINE: <2026-12-20 Sun>\nIt is long.\n"
        "** DONE [#A] Pay rent :home:\nCLOSED: [2026-11-01 Sun 10:00]\n* CANCELLED Paint\n"
        "* Dinner\nSCHEDULED: <2026-12-24 Thu> DEADLINE: <2026-12-25 Fri 19:00>\n"
        "* House\n- [ ] Call Bob\nEnd.\n"
    )
    form = read("plan.org", text)
    assert [item.data for item in form.items] == [
        {"title": "Write the report", "status": "todo", "dueDate": berlin("2026-12-20")},
        {"title": "Pay rent", "status": "done", "priority": "high"},
        {
            "title": "Dinner",
            "description": "SCHEDULED: <2026-12-24 Thu>",
            "status": "todo",
            "dueDate": berlin("2026-12-25T19:00"),
        },
        {"title": "Call Bob", "status": "todo"},
    ]
    assert [text[span.start : span.end] for span in form.prose] == ["End.\n"]


ICS = """BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
SUMMARY:Hello\\, wor
 ld
DTSTART;TZID=America/New_York:20260305T090000
END:VEVENT
BEGIN:VTODO
SUMMARY;LANGUAGE=en:Pay the rent
DUE;VALUE=DATE:20260401
PRIORITY:1
STATUS:IN-PROCESS
ATTENDEE;CN=Anna:mailto:a@example.org
END:VTODO
BEGIN:VEVENT
SUMMARY:Called off
STATUS:CANCELLED
DTSTART:20260305
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


EVENT = {"title": "Hello, world", "date": berlin("2026-03-05T09:00", "-05:00")}
TASK = {"title": "Pay the rent", "status": "in_progress", "priority": "high", "assignee": ["Anna"]}


def test_a_calendar_holds_tasks_and_events() -> None:
    event, task = read("c.ics", ICS).items
    assert (event.table, event.data) == (TableName.TIMELINES, EVENT)
    assert event.quote == "Hello\\, wor\r\n ld"
    assert (task.table, task.data) == (TableName.TASKS, TASK | {"dueDate": berlin("2026-04-01", "+02:00")})
    assert (event.has_time, task.has_time) == (True, False)


@pytest.mark.parametrize(
    ("name", "text", "items", "passages"),
    [
        ("a.md", "- [-] Never mind\n", [], 0),
        ("a.md", "```\n- [ ] example\n```\n- [ ] real\n", [{"title": "real", "status": "todo"}], 0),
        (
            "a.md",
            "- [ ] Send @anna the plan ⏫ 📅 2026-03-04",
            [
                {
                    "title": "Send @anna the plan",
                    "status": "todo",
                    "priority": "high",
                    "assignee": ["anna"],
                    "dueDate": berlin("2026-03-04"),
                }
            ],
            0,
        ),
        (
            "a.md",
            "- [ ] Write to bob@example.org",
            [{"title": "Write to bob@example.org", "status": "todo"}],
            0,
        ),
        (
            "t.csv",
            "title,notes,status\na,b,done\n",
            [{"title": "a", "description": "b", "status": "done"}],
            0,
        ),
        (
            "a.md",
            "## 2026-01-05\n\n| Task | When |\n|---|---|\n| Call Bob | Friday |\n",
            [{"title": "Call Bob", "dueDate": berlin("2026-01-09")}],
            0,
        ),
        ("letter.txt", "- [ ] as in Markdown", [{"title": "as in Markdown", "status": "todo"}], 0),
        *(
            ("c.ics", ICS.replace("DUE;VALUE=DATE:20260401", due), [EVENT, TASK], 0)
            for due in (
                "DUE;VALUE=DATE:banana",
                "DUE;TZID=America/New_York:99991231T235959",
                "DUE;TZID=Europe:20260101T000000",
            )
        ),
    ],
)
def test_items_of_a_document_are_read_by_rules_and_the_rest_is_prose(
    name: str, text: str, items: list[dict[str, object]], passages: int
) -> None:
    form = read(name, text)
    assert ([item.data for item in form.items], len(form.prose)) == (items, passages)


def test_calendar_is_recognized_by_media_type() -> None:
    assert len(read("message-7", ICS, media_type="text/calendar; charset=utf-8").items) == 2


def test_only_items_of_requested_tables_are_returned() -> None:
    only_tasks = ExtractionOptions(data_types=(TableName.TASKS,))
    assert [item.table for item in read("c.ics", ICS, only_tasks).items] == [TableName.TASKS]


def test_a_table_whose_header_is_clear_is_read_row_by_row() -> None:
    header = "Task;Due date;Owner;Status;Notes\n"
    rows = 'Buy milk;2026-03-03;Anna/Bob;open;"two\nlines"\n;;;;\nX;03/04;;odd;\n'
    first, second = read("t.csv", header + rows).items
    assert first.data == {
        "title": "Buy milk",
        "dueDate": berlin("2026-03-03"),
        "assignee": ["Anna", "Bob"],
        "status": "todo",
        "description": "two\nlines",
    }
    assert first.quote == 'Buy milk;2026-03-03;Anna/Bob;open;"two\nlines"'
    assert second.data == {"title": "X", "description": "status: odd\ndueDate: 03/04"}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",  # no column we know
        "title,description\na,b\n",  # a task, or a note?
        "title,due,date\na,2026-01-01,2026-01-02\n",  # a task, or an event?
        "task,title,due\na,b,2026-01-01\n",  # two titles
        "title,due\na,2026-01-01,surplus\n",  # a row longer than its header
        'title,due\n"never closed,2026-01-01\n',
        "",
    ],
)
def test_ambiguous_table_is_left_to_the_model(text: str) -> None:
    form = read("t.csv", text)
    assert (form.items, [(span.start, span.end) for span in form.prose]) == ([], [(0, len(text))])


PIPES = """# Move

Hello all.

| Task | Who | When |
|------|-----|:----:|
| Order **boxes** | Anna | 2026-12-01 |
|  | Ben | |
| Call the landlord | Ben; Eve | by Friday |

```
| Task | Who |
|---|---|
| no | task |
```
"""


@pytest.mark.parametrize("name", ["a.md", "a.txt", "mail"])
def test_a_pipe_table_in_any_text_is_read_row_by_row(name: str) -> None:
    document = Document(
        unit_key=name, text=PIPES, content_hash="0" * 64, modified_at=datetime(2026, 11, 25, 9, tzinfo=UTC)
    )
    form = structured.read(document, EVERYTHING)
    assert [(item.data, item.quote) for item in form.items] == [
        (
            {"title": "Order boxes", "assignee": ["Anna"], "dueDate": berlin("2026-12-01")},
            "| Order **boxes** | Anna | 2026-12-01 |",
        ),
        (
            {"title": "Call the landlord", "assignee": ["Ben", "Eve"], "dueDate": berlin("2026-11-27")},
            "| Call the landlord | Ben; Eve | by Friday |",
        ),
    ]
    hello, row, *code = form.prose
    assert PIPES[hello.start : hello.end].strip().endswith("Hello all.")
    assert (PIPES[row.start : row.end], row.headings[-1]) == ("|  | Ben | |", "| Task | Who | When |")
    assert ["no | task" in PIPES[one.start : one.end] for one in code] == [True] * (name != "a.md")


@pytest.mark.parametrize(
    "rule", ["|---|---|---|\n", "|---+---+---|\n", "+---+---+---+\n", ""], ids=["md", "org", "box", "none"]
)
def test_the_rows_of_a_table_may_be_ragged_and_have_any_border(rule: str) -> None:
    rows = ("| Order boxes | [ ] | Anna |", "| Call Bob |", "| Pay | [x] | Ben |")
    text = "\n".join(["| Task | Done | Who |", *rows, ""]).replace("|\n", f"|\n{rule}", 1)
    found = [item.data for item in read("a.txt", text).items]
    assert [(one["title"], one.get("status"), one.get("assignee")) for one in found] == [
        ("Order boxes", "todo", ["Anna"]),
        ("Call Bob", None, None),
        ("Pay", "done", ["Ben"]),
    ]


def test_a_time_in_an_unknown_zone_is_marked_as_unclear() -> None:
    told = ICS.replace("TZID=America/New_York", "TZID=Mars/Phobos").replace(
        "DUE;VALUE=DATE:20260401", "DUE;TZID=Elsewhere:20260401T100000"
    )
    event, task = read("c.ics", told).items
    assert event.unresolved == {"date": "2026-03-05 09:00 Mars/Phobos"}
    assert event.data["date"] == berlin("2026-03-05T09:00"), "the zone of the agent is the best guess"
    assert task.unresolved == {"dueDate": "2026-04-01 10:00 Elsewhere"}
    floating = ICS.replace(";TZID=America/New_York", "")
    assert [item.unresolved for item in (*read("c.ics", ICS).items, *read("c.ics", floating).items)] == [
        {}
    ] * 4


def test_windows_time_zone_names_of_cldr_are_resolved() -> None:
    """Each name of the table of CLDR, in winter and in summer."""
    names = {**WINDOWS_TO_OLSON, "Alberta Standard Time": "America/Edmonton"}
    times = [
        (name, datetime(2027, month, 15, 12, tzinfo=ZoneInfo(zone)))
        for name, zone in names.items()
        for month in (1, 7)
    ]
    events = "".join(
        f"BEGIN:VEVENT\nSUMMARY:{name}\nDTSTART;TZID={name}:{time:%Y%m%dT%H%M%S}\nEND:VEVENT\n"
        for name, time in times
    )
    items = read("zones.ics", f"BEGIN:VCALENDAR\n{events}END:VCALENDAR\n").items
    assert [item.unresolved for item in items] == [{}] * len(times)
    assert [item.data["date"] for item in items] == [epoch_ms(time.astimezone(UTC)) for _, time in times]


async def test_calendar_property_names_are_no_titles_and_descriptions_are_read() -> None:
    entry = (
        "SUMMARY;LANGUAGE=en:Team lunch with Bo\r\nDTSTART;TZID=Europe:20260101T000000\r\nLOCATION:Room A\r\n"
        "DESCRIPTION:Anna must send the report by 3 December 2026.\r\n"
    )
    text = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{entry}END:VEVENT\r\nEND:VCALENDAR\r\n"
    document = Document(unit_key="c.ics", text=text, content_hash="0" * 64)
    (task,) = (await extract(None, document, EVERYTHING)).items
    assert (task.data["title"], task.data["assignee"]) == ("send the report", ["Anna"])
    assert "DTSTART TZID=Europe 20260101T000000" in (read("c.ics", text).view or ""), "a model reads the time"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (ICS.removesuffix("END:VCALENDAR\r\n"), 2),
        (ICS[: ICS.index("END:VTODO")], 1),
        (ICS[: ICS.index("ATTENDEE")], 1),
        (ICS.replace("END:VTODO\r\n", ""), 1),
    ],
)
async def test_truncated_calendar_is_noted_and_the_complete_entries_are_read(text: str, whole: int) -> None:
    extraction = await extract(None, Document(unit_key="c.ics", text=text, content_hash="0" * 64), EVERYTHING)
    assert len(extraction.items) == whole
    missing = missing_of(extraction.notes)
    assert missing is not None
    assert "the calendar is cut off" in missing[1]
    sound = await extract(None, Document(unit_key="c.ics", text=ICS, content_hash="0" * 64), EVERYTHING)
    assert missing_of(sound.notes) is None


def test_calendar_event_with_text_but_no_date_is_left_to_the_model() -> None:
    text = ICS.replace("DTSTART;TZID=America/New_York:20260305T090000", "UID:1a-hello")
    form = read("c.ics", text)
    assert [item.table for item in form.items] == [TableName.TASKS]
    (span,) = form.prose
    assert text[span.start : span.end].startswith("BEGIN:VEVENT")
    assert "Hello" in text[span.start : span.end]
    assert [(one.table, one.reason, one.start) for one in form.dropped] == [
        (TableName.TIMELINES, "unresolved_date", span.start)
    ]
    assert "UID" not in (form.view or "")
    assert "1a-hello" not in (form.view or "")
    assert read("c.ics", text.replace("SUMMARY:Hello\\, wor\r\n ld\r\n", "")).prose == []
    assert read("c.ics", text, ExtractionOptions(data_types=(TableName.NOTES,))).prose == []


@pytest.mark.parametrize(
    ("entry", "data"),
    [
        ("BEGIN:VTODO\nSUMMARY:Feed the hens\nEND:VTODO", {"title": "Feed the hens"}),
        (
            "BEGIN:VTODO\nSUMMARY:Buy salt\nDUE:2026-04-03\nSTATUS:NEEDS ACTION\nEND:VTODO",
            {"title": "Buy salt", "status": "todo", "dueDate": berlin("2026-04-03", "+02:00")},
        ),
        (
            "BEGIN:VTODO\nDUE:20260403\nDESCRIPTION:Write to Sven\\nabout the fence\nEND:VTODO",
            {
                "title": "Write to Sven",
                "description": "Write to Sven\nabout the fence",
                "dueDate": berlin("2026-04-03", "+02:00"),
            },
        ),
        (
            "BEGIN:VEVENT\nSUMMARY;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:F=EAte =\nchez Zo=EB\n"
            "DTSTART:20260403\nEND:VEVENT",
            {"title": "F\u00eate chez Zo\u00eb", "date": berlin("2026-04-03", "+02:00")},
        ),
        (
            "BEGIN:VEVENT\nSUMMARY:Ulla is born\nDTSTART;VALUE=DATE:19480229\nRRULE:FREQ=YEARLY\nEND:VEVENT",
            {"title": "Ulla is born", "date": berlin("1972-02-29")},
        ),
        (
            "BEGIN:VJOURNAL\nDESCRIPTION:Snow until noon\\, then sun.\nDTSTART:soon\nEND:VJOURNAL",
            {"title": "Snow until noon, then sun.", "content": "Snow until noon, then sun."},
        ),
        ("BEGIN:VTODO\nSUMMARY:Sell the boat\nSTATUS:CANCELLED\nEND:VTODO", None),
        ("METHOD:CANCEL\nBEGIN:VTODO\nSUMMARY:Sell the boat\nEND:VTODO", None),
        ("BEGIN:VTODO\nSUMMARY:\nDUE:20260403\nEND:VTODO", None),
    ],
)
def test_calendar_entry_with_broken_properties_is_read_by_the_valid_ones(
    entry: str, data: dict[str, object] | None
) -> None:
    for text in (entry, f"BEGIN:VCALENDAR\n{entry}\nEND:VCALENDAR\n"):
        form = read("c.ics", text.replace("\n", "\r\n"))
        assert [item.data for item in form.items] == ([] if data is None else [data])
        assert form.prose == []


def test_invalid_due_date_of_a_calendar_task_is_unresolved() -> None:
    (task,) = read("c.ics", "BEGIN:VTODO\r\nSUMMARY:Call\r\nDUE:next Friday\r\nEND:VTODO\r\n").items
    assert task.unresolved == {"dueDate": "next Friday"}


@pytest.mark.parametrize(
    ("cell", "due"),
    [
        ("3 May 2026", "2026-05-03"),
        ("18. Mai 2026", "2026-05-18"),
        ("tomorrow", "2026-03-04"),
        ("Friday", "2026-03-06"),
        ("3.4.2026", "2026-04-03"),
    ],
)
def test_relative_date_in_a_table_cell_counts_from_the_file_date(cell: str, due: str) -> None:
    written = datetime(2026, 3, 3, 9, tzinfo=UTC)
    document = msgspec.structs.replace(note(f"Task,Due\nPay,{cell}\n", "t.csv"), modified_at=written)
    (item,) = structured.read(document, EVERYTHING).items
    assert item.data == {"title": "Pay", "dueDate": berlin(due, "+02:00" if due > "2026-03-29" else "+01:00")}


def test_rows_yielding_no_item_are_left_to_the_model_under_their_header() -> None:
    text = "Event,Date\nFair,2026-03-03\nBall,3 May 2026\n,\n,2026-05-05\nRun,2026-06-01\nWalk,soon\n"
    form = read("t.csv", text)
    assert [item.data["title"] for item in form.items] == ["Fair", "Ball", "Run"]
    assert [(text[span.start : span.end], span.headings) for span in form.prose] == [
        (",2026-05-05", ("Event,Date",)),
        ("Walk,soon", ("Event,Date",)),
    ]
    assert read("t.csv", text, ExtractionOptions(data_types=(TableName.TASKS,))).prose == []


def test_adjacent_unreadable_table_rows_form_a_single_prose_passage() -> None:
    text = "Task,Due,Notes\n,2026-01-01,call the plumber\n\n,,paint the door\n"
    (span,) = read("t.csv", text).prose
    assert text[span.start : span.end] == ",2026-01-01,call the plumber\n\n,,paint the door"


def test_assignees_of_a_task_are_limited_to_fifty() -> None:
    people = [f"p{n}" for n in range(60)]
    attendees = "".join(f"ATTENDEE;CN={name}:mailto:x@example.org\r\n" for name in people)
    for name, text in (
        ("a.md", "- [ ] Call " + " ".join(f"@{name}" for name in people)),
        ("t.csv", "Task,Owner\nCall," + ";".join(people)),
        ("c.ics", f"BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nSUMMARY:Call\r\n{attendees}END:VTODO\r\nEND:VCALENDAR"),
    ):
        (item,) = read(name, text).items
        assert item.data["assignee"] == people[:50]


BLANKS = " " * 200_000


@pytest.mark.parametrize(
    ("name", "text", "titles"),
    [
        ("a.md", f"- [ ] a{BLANKS}b 📅 2026-03-04", ["a b"]),
        ("a.md", f"# a{BLANKS}b\n- [ ] c", ["c"]),
        ("a.md", f"---\na{BLANKS}b\ndue: 2026-03-04{BLANKS}b{BLANKS}# c\n---\n- [ ] c", ["c"]),
        (
            "c.ics",
            ICS.replace("END:VCALENDAR", "BEGIN:VJOURNAL\r\n" * 50_000),
            ["Hello, world", "Pay the rent"],
        ),
        (
            "c.ics",
            ICS.replace("END:VCALENDAR", "BEGIN:VTIMEZONE\r\n" * 50_000),
            ["Hello, world", "Pay the rent"],
        ),
    ],
)
def test_repeated_unclosed_openings_are_parsed_quickly(name: str, text: str, titles: list[str]) -> None:
    assert [item.data["title"] for item in read(name, text).items] == titles


@pytest.mark.parametrize(
    ("line", "heading"),
    [("# a #", "a"), ("## a# ", "a#"), ("# a # ##\t", "a #"), ("# #", "#"), ("#  a  b ", "a  b")],
)
def test_a_heading_may_be_closed_by_hashes(line: str, heading: str) -> None:
    assert read("a.md", f"{line}\ntext").prose[0].headings == (heading,)


SCRAPS = st.lists(
    st.sampled_from(
        [
            *("- [ ] a", "- [x]", "---", "due: 2026-02-30", "# h", "```"),
            *("x (A) ", "due:x", "title,due", ",", '"'),
            *("| Task | When |", "|---|---|", "| a | b |", "|", "| b | Friday |"),
            *("BEGIN:VCALENDAR", "BEGIN:VTODO", "END:VTODO", "SUMMARY:s", "DUE:9", "RRULE:FREQ=x"),
            *("DTSTART;TZID=No/Where:20260101T000000", "DTSTART:99999999T999999Z", "PRIORITY:x"),
            *("\n", "\r\n", "\r", "\x00", " ", "\ud7ff", "🙂"),
        ]
    )
)


@given(SCRAPS, st.sampled_from(["a.md", "todo.txt", "c.ics", "t.csv"]))
def test_structured_reader_accepts_any_text_without_an_error(scraps: list[str], name: str) -> None:
    form = read(name, "".join(scraps))
    ends = [span.end for span in form.prose]
    assert ends == sorted(ends)


def captions(kind: str, text: str) -> str:
    words = text.split()
    cues = [" ".join(words[at : at + _WORDS]) for at in range(0, len(words), _WORDS)]
    point = "," if kind == "srt" else "."
    end = "\r\n" if kind == "srt" else "\n"
    lines = ["WEBVTT - Standup", "", "NOTE", "Made by a machine.", ""] if kind == "vtt" else []
    for nth, cue in enumerate(cues):
        begins, ends = (f"00:{at // 60 % 60:02}:{at % 60:02}{point}000" for at in (nth * 2, nth * 2 + 2))
        lines += [str(nth + 1)] if kind == "srt" or nth % 2 else []
        said = f"<v Host>{cue}</v>" if kind == "vtt" and nth % 3 == 0 else cue
        lines += [f"{begins} --> {ends}", said, ""]
    return end.join(lines)


@pytest.mark.parametrize("kind", ["vtt", "srt"])
async def test_items_of_captions_are_quoted_at_the_position_of_each_sentence(
    oracle: Oracle, kind: str
) -> None:
    text = captions(kind, long_text(PLANTED, filling=4))
    async with aclosing(model_at(oracle.base_url, chunk_tokens=300)) as model:
        extraction = await extract(model, note(text, f"talk.{kind}"))
    assert [item.data["title"] for item in extraction.items] == [f"send report {n}" for n in range(8)]
    for number, item in enumerate(extraction.items):
        assert item.quote.startswith(PLANTED[number].split()[0])
        assert item.quote.endswith(f"K-{number:04}).")
    assert {item.warnings for item in extraction.items} == {()}


async def test_prompt_for_captions_has_speakers_and_no_cue_timings(oracle: Oracle, model: Endpoint) -> None:
    text = (
        "WEBVTT\n\n1\n00:01.000 --> 00:02.000\n<v Anna>Bob must send\n\n2\n00:02.000 --> 00:03.000\n"
        "<v Anna>the report by 2026-12-01 (ref K-0001).\n\n00:03.000 --> 00:04.000\n<v Bob>Yes.\n"
    )
    extraction = await extract(model, note(text, "talk.vtt"))
    shown = oracle.requests[0]["messages"][-1]["content"]
    assert "Anna: Bob must send the report by 2026-12-01 (ref K-0001).\nBob: Yes." in shown
    (item,) = extraction.items
    assert item.quote == text[text.index("Bob must") : text.index("\n\n00:03")]
    assert item.data["title"] == "send the report"


async def test_cue_with_a_speaker_name_begins_a_new_line_in_the_prompt(
    oracle: Oracle, model: Endpoint
) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nAnna: Well, we go\n\n2\n00:00:02,000 --> 00:00:03,000\n"
        "home then.\n\n3\n00:00:03,000 --> 00:00:04,000\nBob Ray: Yes, at 12:30.\n"
    )
    await extract(model, note(text, "talk.srt"))
    assert (
        "Anna: Well, we go home then.\nBob Ray: Yes, at 12:30."
        in oracle.requests[0]["messages"][-1]["content"]
    )


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_chunk_of_a_divided_turn_is_enclosed_by_the_speaker(kind: str) -> None:
    turns = [
        ("Anna", "We went home late. I pay the rent."),
        ("Bob Ray", "It rained all day. I mend the roof. I call Eve tomorrow."),
    ]
    text = "WEBVTT\n\n" if kind == "vtt" else ""
    for nth, (who, said) in enumerate(turns):
        begins = f"00:00:0{nth}{'.' if kind == 'vtt' else ','}000"
        spoken = f"<v {who}>{said}</v>" if kind == "vtt" else f"{who}: {said}"
        text += f"{nth + 1}\n{begins} --> {begins}\n{spoken}\n\n"
    form = read(f"talk.{kind}", text)
    assert form.view is not None
    last = chunk.split(form.view, form.prose, 12, by_sentence=True)[-1]
    assert "call Eve" in form.view[last.start : last.end]
    assert [form.view[slice(*place)] for place in last.above] == ["Bob Ray:"]


async def test_caption_file_without_a_cue_is_read_as_prose(model: Endpoint) -> None:
    extraction = await extract(model, note(PLANTED[0], "talk.srt"))
    assert [item.quote for item in extraction.items] == PLANTED[:1]


def test_a_component_in_a_time_zone_of_many_dots_is_prose() -> None:
    event = f"BEGIN:VEVENT\r\nSUMMARY:Call\r\nDTSTART;TZID=a{'.' * 2_000}/b:20260506T090000\r\nEND:VEVENT\r\n"
    form = read("c.ics", f"BEGIN:VCALENDAR\r\n{event}END:VCALENDAR\r\n")
    assert (form.items, len(form.prose)) == ([], 1)


@pytest.mark.parametrize(("kind", "point"), [("vtt", "."), ("srt", ",")])
async def test_quote_from_captions_excludes_cue_and_speaker(kind: str, point: str) -> None:
    said = [("Anna", "Let us begin."), ("Ben", "I'll send the budget to Bo\nby Friday."), ("Ben", "Bye.")]
    cues = [
        f"{nth}\n00:00:0{nth}{point}500 --> 00:00:0{nth}{point}900\n"
        + (f"<v {who}>{words}" if kind == "vtt" else words)
        for nth, (who, words) in enumerate(said, 1)
    ]
    text = "\n\n".join(["WEBVTT", *cues] if kind == "vtt" else cues) + "\n"
    (task,) = (await extract(None, note(text, f"talk.{kind}"), EVERYTHING)).items
    assert task.quote == "I'll send the budget to Bo\nby Friday."


def test_time_zone_defined_in_a_calendar_counts_for_the_defining_calendar_alone() -> None:
    def zone(offset: str) -> str:
        return (
            "BEGIN:VTIMEZONE\r\nTZID:Office\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n"
            f"TZOFFSETFROM:{offset}\r\nTZOFFSETTO:{offset}\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
        )

    event = "BEGIN:VEVENT\r\nSUMMARY:Call\r\nDTSTART;TZID=Office:20260506T090000\r\nEND:VEVENT\r\n"
    calendars = (zone("+0500"), zone("+0800"), "")
    found = [read("c.ics", f"BEGIN:VCALENDAR\r\n{one}{event}END:VCALENDAR\r\n").items[0] for one in calendars]
    utc = [epoch_ms(datetime(2026, 5, 6, hour, tzinfo=UTC)) for hour in (4, 1)]
    assert [item.data["date"] for item in found[:2]] == utc
    assert found[2].unresolved == {"date": "2026-05-06 09:00 Office"}


async def test_guessed_encoding_is_noted_with_the_count_of_affected_characters() -> None:
    document = Document(unit_key="a.txt", text="Milk\nДым\n", content_hash="", guessed="cp1251")
    extractor = Extractor(Models(), secret=bytes(32))
    assert (await extractor.extract(document, EVERYTHING)).notes.guessed_encoding == {"cp1251": 3}
    certain = msgspec.structs.replace(document, guessed=None)
    assert (await extractor.extract(certain, EVERYTHING)).notes.guessed_encoding == {}


@pytest.mark.parametrize(("day", "count"), [("2026-05-05", 0), ("2026-05-06", 1), ("2026-06-01", 1)])
@pytest.mark.parametrize(
    ("name", "text"),
    [("plan.org", "* Concert\n<{}>\n"), ("plan.csv", "Event,Date\nConcert,{}\n")],
)
def test_event_of_a_day_before_its_file_was_written_is_not_suggested(
    name: str, text: str, day: str, count: int
) -> None:
    saved = datetime(2026, 5, 6, 12, tzinfo=UTC)
    document = Document(unit_key=name, text=text.format(day), content_hash="0" * 64, modified_at=saved)
    options = ExtractionOptions(data_types=(TableName.TIMELINES,), timezone="UTC")
    request = ToRead(document=document, options=options, reads_prose=True)
    assert len(request.answer().items) == count


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.org", "* A\n  SCHEDULED: <2026-03-16 Mon> <2026-03-17 Tue>\n* TODO  [#A]  [#B] Visit\n"),
        ("mail.txt", "Thanks!\n\nOn 1/6/2025 at 14:22, Bob <bob@example.org> wrote:\n>"),
    ],
)
def test_text_with_blanks_between_marks_or_an_empty_last_row_is_read(name: str, text: str) -> None:
    assert len(suggested(name, text)) <= 2
