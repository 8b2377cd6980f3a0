"""Parts of Markdown, of vaults and outlines that are no prose: none of them becomes an item."""

from typing import Final

import pytest

from hub.extraction.blocks import view_of_markdown
from hub.extraction.items import lines_of
from tests.hub.extraction.test_structured import read

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
    "properties of an outline": "title:: Anna must pay by Friday\n- collapsed:: true\n\n",
}
OPEN: Final = {
    "a comment that is not closed": "Costs: 100 %% of it <!-- or so\n\n",
    "code in a line": "Run `make` first.\n\n",
}


@pytest.mark.parametrize("what", [*NO_PROSE, *OPEN])
def test_nothing_is_read_in_what_is_no_prose(what: str) -> None:
    form = read("a.md", (NO_PROSE | OPEN)[what] + REAL)
    assert [item.data for item in form.items] == [{"title": "real one", "status": "todo"}]
    view = form.view or ""
    assert not any(word in view for word in ("Bob", "Anna", "pay", "make install", "collapsed"))


def test_the_id_of_a_block_is_no_part_of_a_title() -> None:
    form = read("a.md", "- [ ] Call Bob ^a1b2-c3\n")
    assert [item.data["title"] for item in form.items] == ["Call Bob"]


def test_a_view_has_the_places_of_its_text() -> None:
    text = "a\r\n```\r\n\U0001f4c5 x\r\n```\r\nb %%c\rd%% e"
    assert view_of_markdown(text, list(lines_of(text))) == "a\r\n   \r\n   \r\n   \r\nb    \r    e"
