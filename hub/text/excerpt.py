"""Lines around an item's quote, as an excerpt for the reviewer. Pure."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

LINES: Final = 3  # whole lines before and after the place
SIDE_BYTES: Final = 1_000  # of the text before the place, and of the text after it

STAMP: Final = r"(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3}"
CUE: Final = re.compile(
    r"(?:(?:^|(?<=\n)|(?<=\r))(?:\d{1,9}[ \t]*(?:\r\n|\r|\n)|(?<=\n\n)[^\r\n]{1,80}\n)?)?"
    rf"(?<![^\r\n])[ \t]*{STAMP}[ \t]+-->[ \t]+{STAMP}[^\r\n]*"
)
_SUBJECT: Final = "Subject: "  # with which the text of a mail begins
_VOICE: Final = re.compile(r"</?v[^<>\r\n]{0,80}>")


class Excerpt(msgspec.Struct, frozen=True):
    """Text before and after a place.

    *line*: number of the line in which *before* begins; the first is 1. *subject*: of the mail that it is in.
    """

    line: int
    before: str
    after: str
    subject: str = ""


class Excerpts:
    """Excerpts of one text. Places in ascending order cost least: line feeds are counted once then."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._counted = (0, 1)  # an offset, and the number of its line
        first = text[:SIDE_BYTES].partition("\n")[0].strip() if text.startswith(_SUBJECT) else _SUBJECT
        self._subject = _encoded(first[len(_SUBJECT) :]).decode()

    def around(self, start: int, end: int, *, has_quote: bool = False) -> Excerpt:
        """Return the rest of the lines of ``text[start:end]``, and LINES lines before and after them.

        A line that is cut by SIDE_BYTES begins or ends in ``…``.

        Args:
            has_quote: *after* begins with the whole of ``text[start:end]``.
        """
        text = self._text
        begin = start
        for _ in range(LINES + 1):
            begin = text.rfind("\n", max(0, start - SIDE_BYTES), begin)
            if begin < 0:
                begin = max(-1, start - SIDE_BYTES - 1)
                break
        begin += 1
        stop, most = end, min(len(text), end + SIDE_BYTES)
        for _ in range(LINES + 1):
            stop = text.find("\n", stop, most) + 1
            if not stop:
                stop = most
                break
        before = _encoded(text[begin:start])[-SIDE_BYTES:].decode("utf-8", "ignore")
        after = _encoded(text[end:stop])[:SIDE_BYTES].decode("utf-8", "ignore")
        first, last = start - len(before), end + len(after)
        is_cut = (first > 0 and text[first - 1] != "\n", last < len(text) and text[last - 1] != "\n")
        quote = _encoded(text[start:end]).decode() if has_quote else ""
        return Excerpt(
            self._line_of(first),
            f"…{before}" if is_cut[0] else before,
            quote + (f"{after}…" if is_cut[1] else after.removesuffix("\n")),
            self._subject,
        )

    def _line_of(self, offset: int) -> int:
        since, line = self._counted
        if offset < since:
            since, line = 0, 1
        line += self._text.count("\n", since, offset)
        self._counted = offset, line
        return line


def spoken(quote: str) -> str:
    """Return a quote without the headers of captions in it, for people."""
    return " ".join(_VOICE.sub("", CUE.sub("\n", quote)).split()) if CUE.search(quote) else quote


def lines_around(excerpt: Excerpt, quote: str) -> Iterator[str]:
    """Yield the lines of a quote, which begin with ``>``, and those around it, with their numbers."""
    first = excerpt.line + excerpt.before.count("\n")
    last = first + quote.count("\n")
    lines = f"{excerpt.before}{quote}{excerpt.after}".replace("\r\n", "\n").split("\n")
    width = len(str(excerpt.line + len(lines) - 1))
    for number, line in enumerate(lines, excerpt.line):
        mark = ">" if first <= number <= last else " "
        yield f"{mark} {number:{width}} | {line}".rstrip()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a lone surrogate, which no file has, is a question mark
