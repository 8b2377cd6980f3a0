"""Code, queries and data in a text, which rules and models do not read as prose.

Rules and models read the view of a text, in which such parts are blank: what is not there becomes no item.
Blocks of CommonMark (code, HTML) are found by markdown-it. Vaults and outlines add marks of their own:
comments of Obsidian, templates, ids of blocks, queries and properties of Logseq.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from markdown_it import MarkdownIt
from markdown_it.parser_block import ParserBlock
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markdown_it.utils import EnvType
from pygments.lexers import get_all_lexers

from hub.document import Document
from hub.extraction.items import DocumentLine, blanked
from hub.text.files import JSON, PLAIN
from hub.text.places import Place

_NO_PROSE: Final = frozenset({"fence", "code_block", "html_block"})
_ORG_BLOCKS: Final = """
CAPTION CAUTION CENTER COMMENT EXAMPLE EXPORT IMPORTANT NOTE PINNED QUERY QUOTE SRC TIP VERSE WARNING
"""
# Of comments, of what a template fills in, of the times that a vault has logged, of quotations of Logseq.
_CLOSERS: Final = {
    **{"<!--": "-->", "%%": "%%", "<%": "%>", ":LOGBOOK:": ":END:"},
    **{f"#+BEGIN_{kind}": f"#+END_{kind}" for kind in _ORG_BLOCKS.split()},
}
_OPENER: Final = re.compile("|".join(map(re.escape, _CLOSERS)))
# Without these signs, or a line that is indented, a text has no such block and no reference.
_MAY_BE_BLOCK: Final = re.compile(
    r"```|~~~|<[A-Za-z!?/]|\]:|\r(?!\n)|^[-*+>\d.) ]*?(?: {4}|\t)", re.MULTILINE
)
# An entry of a list that is struck out, or all words of a line.
STRUCK: Final = re.compile(
    r"^[ \t>]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++(?:\[.\][ \t]++)?~~[^\r\n]*+"
    r"|~~[^~\r\n]{1,400}+~~[ \t]*+$)",
    re.MULTILINE,
)
STRUCK_WORDS: Final = re.compile(r"~~[^~\r\n]{1,400}+~~")  # anywhere
_ON_A_LINE: Final = re.compile(
    r"(?<!`)`{2,3}(?!`)[^`\r\n]{1,400}+`{2,3}(?!`)"  # code with two marks or three
    r"|^[ \t>]*+(?:[-*+][ \t]++)?`[^`\r\n]{1,400}+`[ \t]*+$"  # code alone
    r"|^[^`\r\n]{0,200}`\$?= [^`\r\n]{1,400}+`[^\r\n]*+"  # a line with a query of Dataview
    r"|(?<!`)`(?:[-*+] )?\[.?\] [^`\r\n]{0,400}+`(?!`)"  # a check box as an example
    r"|\{\{[^{}\r\n]{1,400}+\}\}"  # a query of Logseq, a template
    r"|(?<=\s)\^[A-Za-z0-9-]{1,40}+(?=[ \t]*+(?:[\r\n]|$))"  # the id of a block
    r"|\(\([0-9a-f-]{36}\)\)|\[\^[^\[\]\s]{1,40}+\](?!:)"  # a reference to a block, to a footnote
    r"|^[ \t]*+\[\^[^\[\]\s]{1,40}+\]:[^\r\n]*+"  # a footnote
    r"|^[ \t]*+[-*+][ \t]++>[^\r\n]*+"  # a quotation in an outline
    # The name of a page, unless it is a day.
    r"|^[ \t]*+[-*+][ \t]++\[\[(?!\d|[^\]\r\n]{3,12}\d\w\w, \d)[^\[\]\r\n]{1,200}+\]\]"
    r"[ \t]*+(?>(?:#[^\s#]++[ \t]*+)*)$"
    rf"|{STRUCK.pattern}"
    r"|<(?P<struck>del|s)>[^<>\r\n]{0,400}+</(?P=struck)>"
    r"|</?[A-Za-z][A-Za-z0-9]{0,20}+(?:[ \t][^<>\r\n]{0,400}+)?/?>",  # a tag of HTML
    re.MULTILINE,
)
# A link is shown by its words, and an embedded file not at all.
_LINK: Final = re.compile(
    r"(?P<embedded>!?)(?:\[\[(?:[^\[\]|\r\n]{1,200}+(?:\||\]\[))?(?P<page>[^\[\]|\r\n]{1,200}+)\]\]"
    r"|\[(?P<words>[^\[\]\r\n]{0,200}+)\]\([^()\r\n]{0,400}+\))"
)
_PROPERTY: Final = re.compile(r"[ \t]*+(?:[-*+][ \t]++)?[^\W\d_][\w./-]{0,60}+::(?:[ \t].*)?")
# Of a block that is a template, with all below it, or words that its owner has marked in a book.
_NOT_OWN: Final = re.compile(r"[ \t]*+(?:[-*+][ \t]++)?(?:(?P<tree>template::)|ls-type::[ \t]*+annotation)")
_ENTRY: Final = re.compile(r"[ \t]*+[-*+][ \t]")
# What a template leaves to be filled in: "{{date}}", "{{date:YYYY}}", "<% tp.date.now() %>".
PLACEHOLDER: Final = re.compile(r"\{\{[ ]?[\w.-]{1,40}+(?::[^{}\r\n]{0,80}+)?[ ]?\}\}|<%")

_ORG_BEGIN: Final = re.compile(r"[ \t]*+#\+BEGIN_(?P<kind>\w{1,40})", re.IGNORECASE)
_ORG_DRAWER: Final = re.compile(r"[ \t]*+:[A-Za-z][\w-]{0,60}+:[ \t]*+")
_ORG_REMARK: Final = re.compile(
    r"[ \t]*+#(?:[ \t].*|\+[A-Za-z_]{1,40}:.*)?|[ \t]*+CLOCK:.*"
    r"|[ \t]*+- (?:State \"|Note taken on \[|Rescheduled from|New deadline|Refiled on|CLOSING NOTE).*"
    r"|<{7}.*|={7}|>{7}.*"  # marks of a merge
    r"|[ \t]*+\[\d{4}-\d\d-\d\d[^\[\]]{0,40}+\](?:--\[[^\[\]]{0,40}+\])?[ \t]*+"  # when it was noted
)
_ORG_HEADING: Final = re.compile(r"(?P<stars>\*+)[ \t]")
# A tree that is put away, up to the next heading of its level or a higher one.
_ORG_AWAY: Final = re.compile(r"\*+[ \t]+(?:[A-Z-]{2,20}[ \t]+)?COMMENT\b|\*.*:ARCHIVE:(?:[\w@#%]+:)*[ \t]*$")

# Languages of pygments whose texts are written for people.
_PROSE_LANGUAGES: Final = frozenset(
    ("Text only", "Markdown", "Org Mode", "reStructuredText", "Todotxt", "E-mail", "HTML", "TeX", "Groff")
)
# Data that pygments does not know: cards, and what Python packages say of themselves.
_DATA: Final = frozenset({"*.vcf", "METADATA", "RECORD", "entry_points.txt", "top_level.txt"})
_OBJECT: Final = re.compile(r"\s*\{\s*(?:\"|\}\s*\Z)")  # beginning of a JSON object
_DATA_TYPES: Final = frozenset({PLAIN, JSON, "text/vcard"})

COVER: Final = "\u2060"  # "word joiner": invisible, and not a blank; over what is no part of a sentence


def is_code(document: Document) -> bool:
    """Return True for source code, settings and data, which have no prose. Most are known by their names."""
    name = PurePosixPath(document.unit_key.replace("\\", "/")).name
    if document.media_type is not None and document.media_type not in _DATA_TYPES:
        return False
    is_named = not _code_names().isdisjoint((name, f"*{PurePosixPath(name).suffix.lower()}"))
    return is_named or document.text.startswith("#!") or _OBJECT.match(document.text) is not None


@cache
def _code_names() -> frozenset[str]:
    """Return names of files, and endings as in ``*.py``."""
    known = get_all_lexers(plugins=False)
    names = {name for language, _, names, _ in known if language not in _PROSE_LANGUAGES for name in names}
    return frozenset(names | _DATA) - {"*.txt", "*"}


class _NoProse(StateBlock):
    """State of a parser that forgets headings, lists and paragraphs: each would cost 1 KB until the end."""

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        """Return a new token, which is among the tokens of the text only if it is no prose."""
        token = super().push(ttype, tag, nesting)
        if ttype not in _NO_PROSE:
            self.tokens.pop()
        return token


class _NoProseParser(ParserBlock):
    """Parser of blocks with such a state."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, outTokens: list[Token]) -> list[Token]:
        """Append the blocks of *src* to *outTokens*."""
        state = _NoProse(src, md, env, outTokens)
        self.tokenize(state, state.line, state.lineMax)
        return state.tokens


@cache
def _parser() -> MarkdownIt:
    """Return a parser of blocks alone: what is inside a line costs no time."""
    parser, blocks = MarkdownIt("commonmark"), _NoProseParser()
    parser.core.ruler.disable(["inline", "text_join"])
    blocks.ruler = parser.block.ruler
    parser.block = blocks
    return parser


def view_of_markdown(text: str, lines: Sequence[DocumentLine], *, is_plain: bool = False) -> str:
    """Return *text* with blanks in place of all that is no prose; line ends stay.

    Args:
        lines: those behind the front matter.
        is_plain: the text is not meant as Markdown: lines that are indented are no code.
    """
    if not lines:
        return text
    begin, env = lines[0].start, dict[str, Any]()
    if _MAY_BE_BLOCK.search(text[begin:]):
        kinds = _NO_PROSE - {"code_block"} if is_plain else _NO_PROSE
        maps = [token.map for token in _parser().parse(text[begin:], env) if token.type in kinds]
        maps += [reference["map"] for reference in env.get("references", {}).values()]
        places = [(lines[first].start, lines[last - 1].end) for first, last in filter(None, maps)]
        text = blanked(text, places)  # a mark in code opens nothing
    places = [*_enclosed(text, begin), *(match.span() for match in _ON_A_LINE.finditer(text, begin))]
    places += [(line.start, line.end) for line in lines if _PROPERTY.fullmatch(line.text)]
    places += _not_own(lines)
    return _LINK.sub(_shown_link, blanked(text, places))


def _not_own(lines: Sequence[DocumentLine]) -> Iterator[Place]:
    """Yield the blocks of an outline that are templates, or marked in a book."""
    entry, after = 0, 0
    for nth, line in enumerate(lines):
        entry = nth if _ENTRY.match(line.text) else entry
        if nth < after or (mark := _NOT_OWN.match(line.text)) is None:
            continue
        depth, after = lines[entry].indent, nth + 1
        while after < len(lines) and lines[after].indent > depth:
            if not mark["tree"] and _ENTRY.match(lines[after].text):
                break
            after += 1
        yield lines[entry].start, lines[after - 1].end


def _shown_link(link: re.Match[str]) -> str:
    """Return a link with all but its words covered; an embedded file has none."""
    if link["embedded"]:
        return " " * len(link[0])
    start, end = link.span("page" if link["page"] else "words")
    return COVER * (start - link.start()) + link.string[start:end] + COVER * (link.end() - end)


def view_of_rst(text: str, lines: Sequence[DocumentLine]) -> str:
    """Return *text* with blanks in place of literal blocks, directives and comments of reStructuredText.

    Such a block begins below a line with ``::`` at its end, or with ``..``, and is what is indented more.
    """
    places, indent = list[Place](), -1
    for line in lines:
        width = len(line.text) - len(line.text.lstrip())
        if not line.text.strip():
            continue
        is_marked = line.text.lstrip().startswith(".. ")
        if 0 <= indent < width:
            places.append((line.start, line.end))
            continue
        indent = width if is_marked or line.text.rstrip().endswith("::") else -1
        if is_marked:
            places.append((line.start, line.end))
    return blanked(text, places)


def view_of_org(text: str, lines: Sequence[DocumentLine]) -> str:
    """Return *text* with blanks in place of blocks, drawers, comments, settings and archived trees."""
    places, end_mark, away_level = list[Place](), "", 0
    for line in lines:
        heading = _ORG_HEADING.match(line.text)
        if heading is not None:
            end_mark = ""  # a block that is not closed ends with its section
            level = len(heading["stars"])
            if not away_level or level <= away_level:
                away_level = level if _ORG_AWAY.match(line.text) else 0
        elif end_mark:
            if line.text.strip().upper() == end_mark:
                places.append((line.start, line.end))
                end_mark = ""
                continue
        elif (block := _ORG_BEGIN.match(line.text)) is not None:
            end_mark = f"#+END_{block['kind'].upper()}"
        elif _ORG_DRAWER.fullmatch(line.text):
            end_mark = ":END:"
        if end_mark or away_level or (heading is None and _ORG_REMARK.fullmatch(line.text)):
            places.append((line.start, line.end))
    return blanked(text, places)


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
