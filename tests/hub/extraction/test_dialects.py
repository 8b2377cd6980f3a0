"""Lists of tasks in the dialects that people write: each field of a dialect, and what is suggested of it."""

from typing import Any, Final

import pytest

from protocol.tables import TableName
from tests.hub.extraction.test_structured import berlin, suggested

DUE: Final = {"due": "2026-12-04"}
HIGH: Final = {"priority": "high"}
OPEN: Final[dict[str, str]] = {}
NONE: Final = None

# By dialect: the name of a file, and by field, the line and what is suggested of "call the roofer" in it.
DIALECTS: Final[dict[str, tuple[str, dict[str, tuple[str, dict[str, Any] | None]]]]] = {
    "todo.txt": (
        "todo.txt",
        {
            "open": ("call the roofer", OPEN),
            "done": ("x call the roofer", NONE),
            "done date": ("x 2026-11-24 2026-11-20 call the roofer", NONE),
            "done with priority": ("x 2026-11-24 (A) call the roofer", NONE),
            "struck out": ("(A) ~~call the roofer~~ @phone", NONE),
            "created": ("2026-11-20 call the roofer", OPEN),
            "due": ("call the roofer due:2026-12-04", DUE),
            "due, short": ("call the roofer due:2026-12-4", DUE),
            "due, figures": ("call the roofer due:20261204", DUE),
            "due, time": ("call the roofer due:2026-12-04T18:00", {"due": "2026-12-04T18:00"}),
            "due, words": ("call the roofer due:tomorrow", {"due": "2026-11-26"}),
            "due, no day": ("call the roofer due:2026-13-01", {"words": "2026-13-01"}),
            "start": ("call the roofer t:2026-12-01", {"description": "t:2026-12-01"}),
            "priority": ("(A) call the roofer", HIGH),
            "priority behind a day": ("2026-11-20 (B) call the roofer", {"priority": "medium"}),
            "priority before a day": ("(C) 2026-11-20 call the roofer", {"priority": "low"}),
            "priority, key": ("call the roofer pri:A", HIGH),
            "repeat": ("call the roofer rec:+1w", {"description": "rec:+1w"}),
            "project": ("call the roofer +house", {"project": "house", "description": "+house"}),
            "context": ("call the roofer @phone", {"description": "@phone"}),
            "person": ("Ravi: call the roofer", {"who": ["Ravi"]}),
            "id": ("call the roofer id:7 h:1", OPEN),
        },
    ),
    "TaskPaper": (
        "list.taskpaper",
        {
            "open": ("- call the roofer", OPEN),
            "done": ("- call the roofer @done", NONE),
            "done date": ("- call the roofer @done(2026-11-24 11:20)", NONE),
            "cancelled": ("- call the roofer @cancelled", NONE),
            "struck out": ("- ~~call the roofer~~ @due(2026-12-04)", NONE),
            "due": ("- call the roofer @due(2026-12-04)", DUE),
            "due, time": ("- call the roofer @due(2026-12-04 17:00)", {"due": "2026-12-04T17:00"}),
            "due, words": ("- call the roofer @due(tomorrow)", {"due": "2026-11-26"}),
            "due in the sentence": ("- call the roofer by Friday", {"due": "2026-11-27"}),
            "start": ("- call the roofer @start(2026-12-01)", {"description": "@start(2026-12-01)"}),
            "priority": ("- call the roofer @priority(1)", HIGH),
            "project": ("House:\n\t- call the roofer", {"project": "House"}),
            "archive": ("Archive:\n\t- call the roofer", NONE),
            "archive in another language": ("Archiv:\n- call the roofer", NONE),
            "project that is done": ("House: @done(2026-11-01)\n\t- call the roofer", NONE),
            "inbox": ("Inbox:\n\t- call the roofer", OPEN),
            "search": ("Searches:\n\tcall the roofer @search(@today and not @done)", NONE),
            "context": ("- call the roofer @phone", {"description": "@phone"}),
            "person": ("- Ravi: call the roofer", {"who": ["Ravi"]}),
        },
    ),
    "Obsidian Tasks": (
        "note.md",
        {
            "open": ("- [ ] #task call the roofer", OPEN),
            "begun": ("- [/] call the roofer", {"status": "in_progress"}),
            "done": ("- [x] call the roofer", NONE),
            "done date": ("- [ ] call the roofer \u2705 2026-11-24", NONE),
            "cancelled": ("- [-] call the roofer", NONE),
            "cancelled date": ("- [ ] call the roofer \u274c 2026-11-24", NONE),
            "struck out": ("- [ ] ~~call the roofer~~", NONE),
            "created": ("- [ ] call the roofer \u2795 2026-11-20", OPEN),
            "due": ("- [ ] call the roofer \U0001f4c5 2026-12-04", DUE),
            "scheduled": (
                "- [ ] call the roofer \u23f3 2026-12-01",
                {"description": "\u23f3 2026-12-01"},
            ),
            "start": (
                "- [ ] call the roofer \U0001f6eb 2026-12-01",
                {"description": "\U0001f6eb 2026-12-01"},
            ),
            "priority": ("- [ ] call the roofer \u23eb", HIGH),
            "repeat": (
                "- [ ] call the roofer \U0001f501 every week \U0001f4c5 2026-12-04",
                DUE | {"description": "\U0001f501 every week"},
            ),
            "id": ("- [ ] call the roofer \U0001f194 r00f", OPEN),
            "remark": ('- ["] call the roofer', NONE),
            "empty": ("- [ ] ", NONE),
        },
    ),
    "Dataview": (
        "note.md",
        {
            "done": ("- [ ] call the roofer [completion:: 2026-11-24]", NONE),
            "cancelled": ("- [ ] call the roofer [cancelled:: 2026-11-24]", NONE),
            "created": ("- [ ] call the roofer (created:: 2026-11-20)", OPEN),
            "due": ("- [ ] call the roofer [due:: 2026-12-04]", DUE),
            "due, link": ("- [ ] call the roofer [due::[[2026-12-04]]]", DUE),
            "due, words": ("- [ ] call the roofer (due:: in nine days)", DUE),
            "scheduled": (
                "- [ ] call the roofer [scheduled:: 2026-12-01]",
                {"description": "[scheduled:: 2026-12-01]"},
            ),
            "priority": ("- [ ] call the roofer [priority:: high]", HIGH),
            "person": ("- [ ] call the roofer [assignee:: Ravi]", {"who": ["Ravi"]}),
            "id": ("- [ ] call the roofer [id:: r00f]", OPEN),
        },
    ),
    "Logseq": (
        "2026_11_25.md",
        {
            "open": ("- TODO call the roofer", OPEN),
            "later": ("- LATER call the roofer", OPEN),
            "waiting": ("- WAITING call the roofer", OPEN),
            "begun": ("- DOING call the roofer", {"status": "in_progress"}),
            "now": ("- NOW call the roofer", {"status": "in_progress"}),
            "done": ("- DONE call the roofer", NONE),
            "cancelled": ("- CANCELED call the roofer", NONE),
            "struck out": ("- TODO ~~call the roofer~~", NONE),
            "due": ("- TODO call the roofer\n  DEADLINE: <2026-12-04 Fri>", DUE),
            "due, words": ("- TODO call the roofer before Monday", {"due": "2026-11-30"}),
            "due, link": ("- TODO call the roofer until [[Dec 4th, 2026]]", DUE),
            "scheduled": (
                "- LATER call the roofer\n  SCHEDULED: <2026-12-01 Tue .+1w>",
                {"description": "SCHEDULED: <2026-12-01 Tue .+1w>"},
            ),
            "priority": ("- TODO [#A] call the roofer", HIGH),
            "person": ("- TODO [[Ravi]]: call the roofer", {"who": ["Ravi"]}),
            "id": ("- TODO call the roofer\n  id:: 655a9d10-3c1e-49ab-9e61-aa01bb02cc03", OPEN),
            "template": ("- Visit\n  template:: visit\n\t- TODO call the roofer", NONE),
            "quotation": ("- #+BEGIN_QUOTE\n  Ravi must call the roofer.\n  #+END_QUOTE", NONE),
            "quotation of a line": ("- > Ravi must call the roofer by Friday.", NONE),
            "property": ("- a\n  \u0437\u0430\u0434\u0430\u0447\u0430:: call the roofer", NONE),
            "mark in a book": ("- hl-page:: 12\n  ls-type:: annotation\n  Ravi must call the roofer.", NONE),
            "name of a page": ("- [[Call the roofer]]\n- [[Call the painter]] #house", NONE),
            "empty": ("- TODO", NONE),
        },
    ),
    "Org": (
        "house.org",
        {
            "open": ("* TODO call the roofer", OPEN),
            "begun": ("#+TODO: TODO CURSO | HECHO\n* CURSO call the roofer", {"status": "in_progress"}),
            "done": ("* DONE call the roofer\n  CLOSED: [2026-11-24 Tue 16:40]", NONE),
            "cancelled": ("* CANCELLED call the roofer", NONE),
            "struck out": ("* TODO +call the roofer+ :house:", NONE),
            "below what is done": ("* DONE repair the house\n** TODO call the roofer\n- [ ] call", NONE),
            "due": (
                "* TODO call the roofer\n  DEADLINE: <2026-12-04 Fri 09:00 -3d>",
                {"due": "2026-12-04T09:00"},
            ),
            "due, words": ("* TODO call the roofer by Friday", {"due": "2026-11-27"}),
            "scheduled": (
                "* TODO call the roofer\n  SCHEDULED: <2026-12-01 Tue>",
                {"description": "SCHEDULED: <2026-12-01 Tue>"},
            ),
            "priority": ("* TODO [#B] call the roofer", {"priority": "medium"}),
            "box": ("* House\n- [ ] call the roofer", OPEN),
            "box with boxes below": ("* House\n- [-] call the roofer", {"status": "in_progress"}),
            "time of writing": ("* Visit\n  [2026-12-01 Tue 09:00]--[2026-12-01 Tue 10:00]", NONE),
            "archive": ("* Old :ARCHIVE:\n** TODO call the roofer", NONE),
            "person": ("* TODO Ravi: call the roofer", {"who": ["Ravi"]}),
        },
    ),
    "GitHub": (
        "TODO.md",
        {
            "open": ("1. [ ] call the roofer", OPEN),
            "begun": ("## In progress\n- [ ] call the roofer", {"status": "in_progress"}),
            "begun, line below": (
                "In progress\n-----------\n\n- [ ] call the roofer",
                {"status": "in_progress"},
            ),
            "heading": ("Ravi calls the roofer by Friday\n======\n\nRain.", NONE),
            "query": ("Open tasks: `= length(this.file.tasks)` or `- [ ] call the roofer`", NONE),
            "begun, German": ("## In Arbeit\n- [ ] call the roofer", {"status": "in_progress"}),
            "done": ("## Done\n- [ ] call the roofer", NONE),
            "struck out": ("- ~~Ravi must call the roofer by Friday~~ done", NONE),
            "deleted": ("<del>- [ ] call the roofer</del>", NONE),
            "due": ("- [ ] call the roofer (due: 2026-12-04)", DUE),
            "due, words": ("- [ ] call the roofer until 4 December 2026", DUE),
            "due in an address": ("- [ ] call the roofer https://a.example/?due=2026-12-04", OPEN),
            "due of a link": ("- [ ] [call the roofer](https://a.example/?due=2026-12-04)", OPEN),
            "priority": ("- [ ] **[high]** call the roofer", HIGH),
            "priority, sign": ("- [ ] call the roofer !!", HIGH),
            "priority, letter": ("- [ ] p1 call the roofer", HIGH),
            "priority, tag": ("- [ ] call the roofer #low", {"priority": "low"}),
            "priority, tag in Spanish": ("- [ ] call the roofer #prio/alta", HIGH),
            "person": ("- [ ] call the roofer @ravi", {"who": ["ravi"]}),
            "person in front": ("- [ ] Ravi: call the roofer", {"who": ["Ravi"]}),
            "person in brackets": ("- [ ] call the roofer (Ravi)", {"who": ["Ravi"]}),
            "person behind a dash": ("- [ ] call the roofer &ndash; Ravi", {"who": ["Ravi"]}),
            "person in Chinese": ("- [ ] \u738b\u82b3\uff1acall the roofer", {"who": ["\u738b\u82b3"]}),
            "text below": (
                "- [ ] call the roofer\n\n  Ravi must\n\n      make\n\n  pay by Friday.\n\n`LATER call`",
                {"description": "Ravi must\npay by Friday."},
            ),
            "example": ("So: `- [ ] call the roofer by 2026-12-04`", NONE),
            "topic in front": ("- [ ] House: call the roofer", {"title": "House: call the"}),
            "definition of a link": ('[a]: https://a.example "call the roofer by 2026-12-04"', NONE),
            "to fill in": ("- [ ] call the roofer {{date}}", NONE),
            "template": ("# {{title}}\n- [ ] call the roofer", NONE),
        },
    ),
    "Kanban": (
        "Board.md",
        {
            "open": ("---\nkanban-plugin: board\n---\n## To do\n- [ ] call the roofer", OPEN),
            "begun": ("## Doing\n- [ ] call the roofer", {"status": "in_progress"}),
            "done": ("## Fertig\n- [ ] call the roofer", NONE),
            "archive": ("***\n\n## Archive\n- [ ] 2026-11-01 call the roofer", NONE),
            "due": ("- [ ] call the roofer @{2026-12-04}", DUE),
            "due, time": ("- [ ] call the roofer @{2026-12-04} @@{17:30}", {"due": "2026-12-04T17:30"}),
            "due, link": ("- [ ] call the roofer @[[2026-12-04]]", DUE),
        },
    ),
    "plain boxes": (
        "list.txt",
        {
            "open": ("- [ ] call the roofer", OPEN),
            "open, no list": ("[ ] call the roofer", OPEN),
            "open, no blank": ("-[ ] call the roofer", OPEN),
            "open, nothing inside": ("* [] call the roofer\n[ ] b", OPEN),
            "open, indented": ("a\n\n      [ ] call the roofer", OPEN),
            "open, sign": ("\u2610 call the roofer", OPEN),
            "done": ("[x] call the roofer", NONE),
            "struck out": ("- ~~Ravi must call the roofer by Friday~~", NONE),
            "done, sign": ("\u2611 call the roofer", NONE),
            "title": ("Friday + house\n\n- [ ] call the roofer", OPEN),
            "another sign": ("[x] b\n[1] call the roofer", NONE),
            "radio": ("[x] b\n( ) call the roofer", NONE),
            "due": ("[ ] call the roofer before 18/12/2026", {"due": "2026-12-18"}),
            "priority": ("[!] call the roofer\n[ ] b", HIGH),
        },
    ),
}
CASES: Final = [(dialect, field) for dialect, (_, rows) in DIALECTS.items() for field in rows]


@pytest.mark.parametrize(("dialect", "field"), CASES)
def test_each_field_of_a_dialect_is_read(dialect: str, field: str) -> None:
    name, rows = DIALECTS[dialect]
    text, expected = rows[field]
    items = suggested(name, text)
    found = [item for item in items if "roofer" in str(item.data.get("title"))]
    if expected is None:
        assert items == []
        return
    (task,) = found
    due = expected.get("due")
    data = {
        "title": expected.get("title", "call the roofer"),
        "status": expected.get("status", "todo"),
        "priority": expected.get("priority"),
        "assignee": expected.get("who"),
        "description": expected.get("description"),
        "dueDate": due and berlin(due),
    }
    got = {name: task.data.get(name) for name in data}
    got["title"] = str(got["title"])[: len("call the roofer")]  # behind it are words that became fields
    assert got == data
    assert task.unresolved == ({"dueDate": expected["words"]} if "words" in expected else {})
    projects = [item.data["name"] for item in items if item.table == TableName.PROJECTS]
    assert projects == ([expected["project"]] if "project" in expected else [])
