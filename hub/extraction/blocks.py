"""Parts of a text that are no prose, by the parser of its format: code, comments, queries and data.

Rules and models read the view of a text, in which such parts are blank: what is not there becomes no item.
Blocks of CommonMark (code, HTML) are found by markdown-it. Vaults and outlines add marks of their own:
comments of Obsidian, templates, ids of blocks, queries and properties of Logseq.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

from markdown_it import MarkdownIt

from hub.extraction.items import Line, merged

_NO_PROSE: Final = frozenset({"fence", "code_block", "html_block"})
# Of comments, of what a template fills in, and of the times that a vault has logged.
_CLOSERS: Final = {"<!--": "-->", "%%": "%%", "<%": "%>", ":LOGBOOK:": ":END:"}
_OPENER: Final = re.compile("|".join(_CLOSERS))
_ON_A_LINE: Final = re.compile(
    r"(?<!`)`{2,3}(?!`)[^`\r\n]{1,400}+`{2,3}(?!`)"  # code with two marks or three
    r"|\{\{[a-z]{1,20}[ \t:][^{}\r\n]{0,400}+\}\}"  # a query of Logseq, a template
    r"|(?<=\s)\^[A-Za-z0-9-]{1,40}+(?=[ \t]*+(?:[\r\n]|$))"  # the id of a block
)
_PROPERTY: Final = re.compile(r"[ \t]*+(?:[-*+][ \t]++)?[A-Za-z][\w./-]{0,60}+::(?:[ \t].*)?")

Place = tuple[int, int]


@cache
def _parser() -> MarkdownIt:
    """Return a parser of blocks alone: what is inside a line costs no time."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.disable(["inline", "text_join"])
    return parser


def view_of_markdown(text: str, lines: Sequence[Line]) -> str:
    """Return *text* with blanks in place of all that is no prose; line ends stay.

    Args:
        lines: those behind the front matter.
    """
    if not lines:
        return text
    begin = lines[0].start
    places = [
        (lines[token.map[0]].start, lines[token.map[1] - 1].end)
        for token in _parser().parse(text[begin:])
        if token.type in _NO_PROSE and token.map
    ]
    text = _blanked(text, places)  # a mark in code opens nothing
    places = [*_enclosed(text, begin), *(match.span() for match in _ON_A_LINE.finditer(text, begin))]
    places += [(line.start, line.end) for line in lines if _PROPERTY.fullmatch(line.text)]
    return _blanked(text, places)


def _enclosed(text: str, at: int) -> Iterator[Place]:
    """Yield what is between an opening mark and the next closing one; a mark that is not closed is text."""
    unclosed = set[str]()
    while (opener := _OPENER.search(text, at)) is not None:
        closer = _CLOSERS[opener[0]]
        end = -1 if closer in unclosed else text.find(closer, opener.end())
        if end < 0:
            unclosed.add(closer)  # searched for once: otherwise many openers would cost n²
            at = opener.end()
        else:
            at = end + len(closer)
            yield opener.start(), at


def _blanked(text: str, places: Iterable[Place]) -> str:
    view, at = list[str](), 0
    for start, end in merged(places):
        view += (text[at:start], re.sub(r"[^\r\n]", " ", text[start:end]))
        at = end
    return "".join([*view, text[at:]])
