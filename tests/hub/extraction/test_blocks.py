"""Parts of Markdown, of vaults, outlines and Org files that are no prose: none of them becomes an item."""

from typing import Final

import pytest

from hub.extraction.blocks import _parser, view_of_markdown
from hub.extraction.items import lines_of
from hub.text.files import HTML, MAIL
from tests.hub.extraction.test_structured import berlin, read, suggested
from tests.support.families import each

REAL: Final = "- [ ] real one\n"
# What stands before a real task in a file, of which nothing is to be read.
NO_PROSE: Final = {
    "a fence": "```python\n- [ ] Call Bob by 2026-12-01\n# TODO pay\n```\n\n",
    "a fence of tildes with another inside": "~~~\n```\n- [ ] Call Bob\n```\nAnna must pay.\n~~~\n\n",
    "a query of a vault": "```tasks\nnot done\n- [ ] Call Bob\nlimit 10\n```\n\n",
    "an indented block": "Text:\n\n    - [ ] Call Bob\n    make install\n\n",
    "a fence in a list": "- Steps\n\n  ```\n  - [ ] Call Bob\n  ```\n\n",
    "a fence in a quotation": "> ```\n> - [ ] Call Bob\n> ```\n\n",
    "a comment of HTML": "<!--\n- [ ] Call Bob\n-->\n\n",
    "a comment in a line": "Text <!-- Anna must pay by Friday --> goes on.\n\n",
    "a comment of a vault": "%%\n- [ ] Call Bob\n%%\n\n",
    "a block of HTML": "<div>\n- [ ] Call Bob\n</div>\n\n",
    "a template": "<% tp.date.now() %>\n\n",
    "a query of an outline": "{{query (and (todo TODO) [[Anna]])}}\n\n",
    "a note of a vault": "#+BEGIN_NOTE\nAnna must pay by Friday.\n#+END_NOTE\n\n",
    "a quotation in an outline": "- > Anna must pay by Friday.\n\n",
    "an entry that is struck out": "- ~~Anna must pay by Friday~~, says Bob\n\n",
    "a box that is struck out": "- [ ] ~~pay~~\n\n",
    "a line that is struck out": "~~Anna must pay by Friday~~\n\n",
    "text that was deleted": "Rain. <del>Anna must pay by Friday.</del>\n\n",
    "a footnote": "Rain.[^1]\n\n[^1]: Anna must pay by Friday.\n\n",
    "an address with a title": '[a]: https://a.example/Bob "Anna must pay by Friday"\n\n',
    "the name of a page": "- [[Bob must pay]]\n\n",
    "a picture": "![Anna must pay by Friday](a.png) ![[Bob.png]]\n\n",
    "a template of an outline": "- Book\n  template:: book\n\t- Anna must pay by Friday\n\n",
    "properties of an outline": "title:: Anna must pay by Friday\n- collapsed:: true\n\n",
}
OPEN: Final = {
    "a comment that is not closed": "Costs: 100 %% of it <!-- or so\n\n",
    "code in a line": "Run `make` first.\n\n",
}


@each("what", [*NO_PROSE, *OPEN])
def test_non_prose_markdown_blocks_yield_no_items(what: str) -> None:
    form = read("a.md", (NO_PROSE | OPEN)[what] + REAL)
    assert [item.data for item in form.items] == [{"title": "real one", "status": "todo"}]
    view = form.view or ""
    assert not any(word in view for word in ("Bob", "Anna", "pay", "make install", "collapsed"))


@pytest.mark.parametrize(
    ("text", "title", "who"),
    [
        ("- [[Anna Berg]] will call the roofer tomorrow.\n", "call the roofer", ["Anna Berg"]),
        ("- [[people/anna|Anna]] will call the roofer tomorrow.\n", "call the roofer", ["Anna"]),
        (
            "Anna will [call the roofer](https://a.example/2026-12-09) tomorrow.\n",
            "call the roofer",
            ["Anna"],
        ),
        (
            "- [ ] call [[Mr Orr|the roofer]] on [[Nov 26th, 2026]]\n",
            "call the roofer on Nov 26th, 2026",
            None,
        ),
    ],
)
def test_link_in_a_task_is_read_by_link_text_and_quoted_in_full(
    text: str, title: str, who: list[str] | None
) -> None:
    (item,) = suggested("note.md", text)
    assert (item.data["title"], item.data.get("assignee")) == (title, who)
    assert item.data["dueDate"] == berlin("2026-11-26")
    assert item.quote.count("[") == item.quote.count("]")


def test_the_id_of_a_block_is_no_part_of_a_title() -> None:
    form = read("a.md", "- [ ] Call Bob ^a1b2-c3\n")
    assert [item.data["title"] for item in form.items] == ["Call Bob"]


def test_view_of_markdown_preserves_the_positions_of_the_source_text() -> None:
    text = "a\r\n```\r\n\U0001f4c5 x\r\n```\r\nb %%c\rd%% e"
    assert view_of_markdown(text, list(lines_of(text))) == "a\r\n   \r\n   \r\n   \r\nb    \r    e"


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ("- TODO call the roofer", {"status": "todo"}),
        ("- LATER [#C] call the roofer", {"status": "todo", "priority": "low"}),
        ("\t- DOING call the roofer", {"status": "in_progress"}),
        ("- DONE call the roofer", {"status": "done"}),
        ("- CANCELED call the roofer", None),
        (
            "- TODO call the roofer\n  DEADLINE: <2026-12-04 Fri>\n  id:: 655a9d10",
            {"status": "todo", "dueDate": berlin("2026-12-04")},
        ),
        (
            "- NOW call the roofer\n  SCHEDULED: <2026-12-04 Fri .+1w>\n"
            "  :LOGBOOK:\n  CLOCK: [2026-12-04 Fri]\n  :END:",
            {"status": "in_progress", "description": "SCHEDULED: <2026-12-04 Fri .+1w>"},
        ),
    ],
)
def test_list_row_with_a_state_keyword_is_read_as_a_task(row: str, fields: dict[str, object] | None) -> None:
    found = [item.data for item in read("2026_11_25.md", f"- a\n{row}\n").items]
    assert found == ([] if fields is None else [{"title": "call the roofer"} | fields])


@pytest.mark.parametrize(
    ("before", "after", "is_read"), [('{\n "note": "', '"}', False), ("[a]\n\n", "", True)]
)
def test_prose_inside_a_json_object_is_not_read_under_any_file_name(
    before: str, after: str, is_read: bool
) -> None:
    text = f"{before}Anna must send the contract by Friday, 4 December 2026.{after}\n"
    assert bool(suggested("plan", text, "text/plain")) == is_read


def test_literal_blocks_directives_and_comments_of_rst_are_not_read() -> None:
    text = (
        "Notes::\n\n    Anna must pay by 4 December 2026.\n\n      Bob must pay by 5 December 2026.\n\n"
        ".. code-block:: sh\n\n   Carl must pay by 4 December 2026.\n\n.. Dora must pay by Friday.\n\n"
        "Emil must pay the rent by 4 December 2026.\n"
    )
    (item,) = suggested("a.rst", text)
    assert item.data["assignee"] == ["Emil"]


def test_blocks_comments_drawers_and_archived_trees_of_org_are_not_read() -> None:
    text = (
        "#+TITLE: Anna must pay by Friday\n# - [ ] Call Bob\n* House\n:PROPERTIES:\n:ID: Bob\n:END:\n"
        "#+begin_src sh\n- [ ] Call Bob\n#+end_src\n* COMMENT Later\n** TODO Call Bob\n"
        "* TODO Old :ARCHIVE:\n** TODO Call Bob\n* TODO Paint\n:LOGBOOK:\nCLOCK: [2026-11-24]\n"
    )
    form = read("plan.org", text)
    assert [item.data["title"] for item in form.items] == ["Paint"]
    assert form.prose == []


def test_org_headings_use_the_states_declared_in_the_org_file() -> None:
    text = (
        "#+TODO: OFFEN(o) WARTET | ERLEDIGT(e!) ENTFALLEN\n"
        "* OFFEN Dach\n* WARTET Tor\n* ERLEDIGT Zaun\n* TODO x\n"
    )
    form = read("plan.org", text)
    assert [(item.data["title"], item.data["status"]) for item in form.items] == [
        ("Dach", "todo"),
        ("Tor", "todo"),
        ("Zaun", "done"),
        ("x", "todo"),
    ]


def test_quote_of_an_org_heading_excludes_the_state_keyword() -> None:
    form = read("plan.org", "* TODO  O\n* TODO\n* DONE DONE\n")
    assert [(item.data["title"], item.quote) for item in form.items] == [("O", "O"), ("DONE", "DONE")]


def test_a_heading_of_an_org_file_with_a_day_is_an_event() -> None:
    text = "* Dinner <2026-12-04 Fri 19:00>\n* Trip :family:\n  <2026-12-11 Fri>--<2026-12-15 Tue>\n* Ideas\n"
    form = read("plan.org", text)
    assert [(item.table, item.data) for item in form.items] == [
        ("timelines", {"title": "Dinner", "date": berlin("2026-12-04T19:00")}),
        ("timelines", {"title": "Trip", "date": berlin("2026-12-11")}),
    ]


@each(
    ("name", "media_type", "is_read"),
    [
        *(
            (name, "text/plain", False)
            for name in ("pay.py", "a/Main.C", "Makefile", "unit.service", "b.json")
        ),
        *(
            (name, "text/plain", True)
            for name in ("a.txt", "LICENSE", "notes", "letter.2026", "a.rst", "b.tex")
        ),
        ("a.md", "text/markdown", True),
        ("page.php", HTML, True),
        ("<1@mail.py>", MAIL, True),
        ("ann.vcf", "text/vcard", False),
        ("dist-info/RECORD", "text/plain", False),
    ],
)
def test_sentences_of_source_code_and_data_are_not_read_by_rules(
    name: str, media_type: str, is_read: bool
) -> None:
    text = "Anna must send the contract by Friday, 4 December 2026.\n"
    assert bool(suggested(name, text, media_type)) == is_read


def test_parser_keeps_tokens_of_blocks_without_prose_alone() -> None:
    text = "a\n===\n\n- b\n\n  ```\n  code\n  ```\n\n> c\n" * 50
    assert [token.type for token in _parser().parse(text)] == ["fence"] * 50
