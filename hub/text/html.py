"""Conversion of HTML to the text that a reader of the page sees, line by line.

Scripts, styles, comments and invisible parts are left out and counted: a hidden paragraph is the oldest way
of prompt injection; see ``styles``. Text that may be invisible has invisible characters between its words,
for which items have a mark. The tree is walked without recursion. Pages constructed to overload a parser are
refused before they are parsed.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hub.text.styles import Element, Style, Styles

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

# Number of tags times nesting depth: the parser's worst-case work. It grows with the page at most. A real
# page needs two for each character; 200,000 nested divs (1 MB, measured: 77 s) need 40,000 million.
_MAX_STEPS: Final = 8_000_000

_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)")


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_NEVER_OPEN: Final = _tags(  # void elements, and those closed by the next sibling
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup"
)
_COUNTED: Final = _tags("script style template iframe object title noembed noframes")
_NOT_SHOWN: Final = _COUNTED | _tags("noscript head svg math canvas audio video select datalist")
_BLOCKS: Final = _tags(
    "address article aside blockquote body caption details dialog dd div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr li main nav ol p pre section summary table tr ul"
)
_BULLET: Final = "- "
_HEADINGS: Final = {f"h{level}": f"{'#' * level} " for level in range(1, 7)}
_LISTS: Final = frozenset(("ul", "ol"))
_INDENT: Final = "  "
_MAX_LISTS: Final = 8
_QUOTE: Final = "blockquote"
_MAX_QUOTES: Final = 5

_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_SPACES: Final = re.compile(" {2,}")
DOUBT: Final = "\u2063"


class TooTangled(Exception):
    """Page nested so deeply that parsing would take minutes or gigabytes."""


@dataclass(frozen=True)
class PageText:
    """Visible text of a page, and the number of hidden parts left out."""

    text: str
    dropped: int


def text_of_html(page: str, *, marks_quotes: bool = False) -> PageText:
    """Return the visible text of *page*; blocks and breaks start lines, cells are separated by tabs.

    Args:
        marks_quotes: start the lines of a ``blockquote`` with ``"> "``, as in a mail.

    Raises:
        TooTangled: the page would overload the parser.
    """
    from selectolax.lexbor import LexborHTMLParser  # imported here: takes 2 MB, and few hubs read pages

    _refuse_a_bomb(page)
    parser = LexborHTMLParser(page)
    lines = _Lines(quote_mark="> " if marks_quotes else "")
    if parser.root is not None:
        sheets = [(node.attributes.get("media") or "", node.text()) for node in parser.css("style")]
        links = parser.css("link[rel~=stylesheet]")
        is_whole = not links and not any("@import" in text for _, text in sheets)
        _walk(parser.root, lines, Styles(sheets), Style(has_picture=not is_whole))
    return PageText(lines.text(), lines.dropped)


def _refuse_a_bomb(page: str) -> None:
    tags = deepest = depth = 0
    is_open: Counter[str] = Counter()
    for match in _TAG.finditer(page):
        tags += 1
        name = match[2].lower()
        if name in _NEVER_OPEN:
            continue
        if not match[1]:
            is_open[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif is_open[name]:
            is_open[name] -= 1
            depth -= 1
    if tags * deepest > min(100_000 + 8 * len(page), _MAX_STEPS):  # 15 ms
        raise TooTangled(f"nested too deeply: {deepest} levels over {tags} tags")


class _Lines:
    """Collector of text lines that folds white space like a browser."""

    def __init__(self, *, quote_mark: str) -> None:
        self.dropped = 0
        self.quotes = 0  # number of enclosing <blockquote> elements
        self.lists = 0  # number of enclosing lists
        self.links = 0  # number of enclosing links
        self._linked = 0  # characters of the line that are words of links
        self._quote_mark = quote_mark
        self._done: list[str] = []
        self._line: list[str] = []
        self._sign = ""  # of the line: a bullet, or the mark of a heading
        self._is_preformatted = False  # part of the line is preformatted

    def add(self, text: str, *, as_it_is: bool, is_sure: bool) -> None:
        if not is_sure and text.strip():
            text = _doubted(text)
        self._linked += len("".join(text.split())) * (self.links > 0)
        if not as_it_is:
            self._line.append(_SPACE.sub(" ", text))
            return
        self._is_preformatted = True
        first, *others = text.split("\n")
        self._line.append(first)
        for other in others:
            self._add_line("".join(self._line))
            self._line = [other]

    def mark(self, sign: str) -> None:
        """Begin the next line that has text with *sign*."""
        self._sign = sign

    def add_tab(self) -> None:
        self._line.append("\t")

    def begin_block(self) -> None:
        if self._line and "".join(self._line).strip():
            self.end_line()

    def end_block(self) -> None:
        self.end_line()
        self._sign = ""

    def end_line(self, *, even_if_empty: bool = False) -> None:
        line = "".join(self._line).rstrip()
        if not self._is_preformatted:
            line = _SPACES.sub(" ", line).lstrip(" ")
        is_link = self._linked > 0 and self._linked == len("".join(line.split()))
        if is_link and not (self._sign or self.lists or "\t" in line):
            line = f"[{line}]"  # a button
        if line:
            depth = min(self.lists - (self._sign == _BULLET), _MAX_LISTS)
            line = f"{_INDENT * depth}{self._sign}{line}"
            self._sign = ""
        if line or even_if_empty:
            self._add_line(line)
        self._line = []
        self._linked = 0
        self._is_preformatted = False

    def _add_line(self, line: str) -> None:
        # Only some levels of nested quotes are marked: a thousand levels would be all marks and no text.
        self._done.append(self._quote_mark * min(self.quotes, _MAX_QUOTES) + line)

    def text(self) -> str:
        self.end_line()
        return "\n".join(self._done).strip("\n")


def _doubted(text: str) -> str:
    """Return *text* with signs at its beginning, at the ends of sentences, and between words."""
    words = enumerate(text.split(" "), start=1)
    # The last of five words is followed by a sign, so that each quote has one.
    ends = (word.endswith((".", "!", "?", ":", ";")) or nth % 5 == 0 for nth, word in words)
    signed = (
        f"{word}{DOUBT}" if is_end else word for word, is_end in zip(text.split(" "), ends, strict=True)
    )
    return DOUBT + " ".join(signed)


def _walk(root: "LexborNode", lines: _Lines, styles: Styles, style: Style) -> None:
    node: LexborNode | None = root
    preformatted = 0  # number of enclosing <pre> elements
    around: list[tuple[Element | None, Style]] = [(None, style)]
    hidden = 0  # depth at which text was hidden and counted
    while node is not None:
        tag = node.tag or ""
        goes_in = False
        element, style = around[-1]
        if node.is_text_node:
            text = node.text_content or ""
            if style.shows_text or not text.strip():
                lines.add(text, as_it_is=preformatted > 0, is_sure=style.is_sure)
            elif hidden != len(around):
                hidden = len(around)
                lines.dropped += 1
        elif node.is_element_node:
            own = node.attributes
            inner = element
            if own or styles.has_rules or tag == "dialog":
                classes = (own.get("class") or "").lower().split() if styles.has_rules else ()
                inner = Element(tag, own, frozenset(classes), element)
                style = styles.of(inner, style)
            goes_in = tag not in _NOT_SHOWN and style.is_open
            lines.dropped += tag in _COUNTED or not (goes_in or tag in _NOT_SHOWN)
            if goes_in:
                preformatted += tag == "pre"
                _open(tag, lines)
        if goes_in and (child := node.first_child) is not None:
            around.append((inner, style))
            hidden = 0
            node = child
            continue
        if goes_in:
            preformatted -= tag == "pre"
            _close(tag, lines)
        while node is not None and node.next is None:
            node = node.parent
            if node is None or node.mem_id == root.mem_id:  # == would compare their HTML
                return
            around.pop()
            preformatted -= node.tag == "pre"
            _close(node.tag or "", lines)
        node = node.next if node is not None else None


def _open(tag: str, lines: _Lines) -> None:
    lines.links += tag == "a"
    if tag == "br":
        lines.end_line(even_if_empty=True)
    elif tag in _BLOCKS:
        lines.begin_block()
        lines.quotes += tag == _QUOTE
        lines.lists += tag in _LISTS
        if tag == "li":
            lines.mark(_BULLET)
        elif tag in _HEADINGS:
            lines.mark(_HEADINGS[tag])


def _close(tag: str, lines: _Lines) -> None:
    lines.links -= tag == "a"
    if tag in _BLOCKS:
        lines.end_block()
        lines.quotes -= tag == _QUOTE
        lines.lists -= tag in _LISTS
    elif tag in ("td", "th"):
        lines.add_tab()
