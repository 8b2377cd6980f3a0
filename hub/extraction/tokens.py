"""Tokens of a text, with their positions in the original. Pure functions.

A text is cut one time, in linear time. What is found in the line begins and ends where tokens do. So its
place in the original is known, and is never found again by folding and counting letters::

    tokens = Tokens("Call Zoë by 3.\u00a0Mai (Sonntag), not 4.2.1")
    tokens.line                        # "call zoe by 3. mai sonntag not #"
    tokens.place(9, 26)                # (9, 28): of the text, with the bracket that closes one inside
    without(tokens.text, [(9, 28)])    # "Call Zoë, not 4.2.1"

``hub.extraction.when.resolve.dates_in`` returns the days of a text with such places.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

from hub.text.folding import normalized

Kind = Literal["word", "number", "time", "value", "sign", "link", "code"]

HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_MARKED: Final = f"[^\\W\\d_{HAN}]"
_TOKEN: Final = re.compile(
    r"(?P<code>`(?!\d{4}-)[^`\r\n]{1,300}+`)|(?P<link>(?:https?|ftp)://\S++)"
    r"|(?P<time>\d{1,2}:[0-5]\d(?::[0-5]\d)?(?!\d))|(?P<number>\d+)"
    rf"|(?P<han>[{HAN}])|(?P<word>{_MARKED}+(?>(?:[\u0300-\u036f]+{_MARKED}*+)*))|(?P<sign>\S)"
)
_COUNTED: Final = """
version v vers fassung release rev build stand section abschnitt kapitel chapter no nr ref réf dossier isbn
iban ip port tel fax código número numéro версия номер заказ версии 版本 版 订单号 单号 编号 电话 号码 地址
part teil partie parte lecture lesson lektion leçon episode folge épisode chapitre capítulo slide folie
step schritt étape paso шаг page seite página стр score issue ticket pr bug punkt point пункт
"""
_UNITS: Final = """
€ $ £ ¥ eur usd gbp chf euro euros rub \u0440\u0443\u0431 kg g mg km cm mm m l ml bar nm kwh mb gb tb °c %
pounds dollars 元
"""
_LABEL: Final = rf"(?:\b(?:{'|'.join(_COUNTED.split())})|\xa7|n[\xb0\xba]|\u2116)[\s.:#]{{0,3}}"
_UNIT: Final = rf"(?:{'|'.join(map(re.escape, _UNITS.split()))})(?![^\W\d_])"
_FULL_DATE: Final = r"\d{1,2}[./-]\d{1,2}[./-]\d{4}(?!\d)|\d{4}[-./]\d"
# Numbers that are no days and no times: versions, addresses, prices, telephones, ids. Each begins at a
# figure, or at a sign or letters before it, and ends at the end of a run of figures.
_VALUE: Final = re.compile(
    r"(?:https?|ftp)://\S{1,2000}+|(?<![\w.])(?:"
    r"\d{1,9}(?:\.\d{1,9}){3,9}"  # 10.12.20.26
    r"|\d{1,4}\.\d{1,4}\.(?:\d|\d{3})(?![\d.])|\d{4}\.\d{3,4}\.\d{1,4}"  # 4.2.1
    r"|\d{1,4}(?:\.\d{1,4}){1,3},\d{1,2}(?![\d:.])"  # 30.11.26,4
    rf"|{_LABEL}(?!{_FULL_DATE})\d{{1,9}}(?:[./-]\d{{1,9}}){{1,9}}"
    r"|[a-z]{1,6}-\d[\w./-]{3,40}|[a-z\d]{1,6}-\d{4}-\d[\w-]{1,40}"  # BX-2026-11-30
    r"|\d[\d./-]{1,20}[/-][a-z]{1,3}\b(?![\d:])|\d{3,12}[/-]\d{3,12}(?:[/-]\w{1,12})*"  # 2026/118-C
    r"|\d{1,4}[./]\d{1,2}[./]\d{1,4}-\d{1,4}(?![\d./])|\d{7,20}"  # 04.12.20-77
    r"|\+\d[\d ()/.-]{6,20}\d|\(?0\d{1,5}\)?[ /-]{1,3}\d[\d /-]{4,20}\d"  # of a telephone
    r"|\d{1,5}(?:[ -]\d{2,5}){2,6}(?![\d:.-])"
    r"|\d{1,9}(?:[.,'\u00a0\u202f]\d{3}){1,4}(?:[.,]\d{1,3})?(?![\d.])|\d{1,9},\d{1,3}(?![\d:])"  # 1.204,26
    rf"|\d{{1,9}}(?:[.,]\d{{1,4}})?\s?{_UNIT}|[€$£¥]\s?\d[\d.,]{{0,12}}"
    r")",
    re.IGNORECASE,
)
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d|\b)(?!-\d)", re.IGNORECASE)
# Without which no number is such a value, or it is no day either.
_FIGURES: Final = re.compile(
    r"\d(?:[\s./,'()-]{1,3}\d|[/-][a-z])|\d{7}|[a-z]-\d|[€$£¥]\s?\d|://", re.IGNORECASE
)

_DASHES: Final = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212~\u301c")
_APOSTROPHES: Final = frozenset("\u2019\u2018\u02bc`\u00b4")
_ASIDES: Final = frozenset(
    ',;!?()[]{}"\u201c\u201d\u201e\u00ab\u00bb\u3001\u3002\u300a\u300b_*|\uff0c\uff08\uff09'
)
# Traditional characters in the sayings, and their simplified forms.
_SIMPLE: Final = str.maketrans("點週後號兩個禮時鐘內間從這", "点周后号两个礼时钟内间从这")
_COVERED: Final = "#"  # in the place of values, links and code
# Of texts in ASCII: what is neither a word nor a sign, the signs in the line, the points of abbreviations.
_LINKED: Final = re.compile("`|://")
_PLAIN: Final = str.maketrans({sign: " " for sign in _ASIDES if sign.isascii()} | {"~": "-"})
_ABBREVIATED: Final = re.compile(r"(?<=[a-z])\.")
_CLOSING: Final = {"(": ")", "[": "]", "\uff08": "\uff09"}
_EMPTY: Final = re.compile(r"[ \t]?(?:\([ \t]{0,2}\)|\[[ \t]{0,2}\]|\uff08[ \t]{0,2}\uff09)")
_EDGES: Final = " \t,;:\u2013\u2014-\uff0c\u3001\uff1a"
_ANNOUNCING: Final = "\U0001f4c5\U0001f5d3\u23f3\u23f0\ufe0f@ \t"  # a day


class Token(NamedTuple):
    """Piece of a text without blanks. *folded*: its form in the line, or "" for a sign that has none."""

    start: int
    end: int
    folded: str
    kind: Kind


@lru_cache(maxsize=16_384)  # words and signs of a text are often the same
def unmarked(text: str) -> str:
    """Remove accents and other marks from letters; Cyrillic short i and yo become i and ye."""
    if text.isascii():
        return text
    apart = normalized("NFD", text)
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).replace("\u00df", "ss")


@lru_cache(maxsize=16_384)
def _folded(piece: str) -> str:
    """Return the form of a word, a number or a sign in a line."""
    if piece.isalnum() and piece.isascii():
        return piece.lower()
    if piece in _ASIDES:
        return " "
    if piece in _DASHES:
        return "-"
    if piece in _APOSTROPHES:
        return "'"
    folded = unmarked(normalized("NFKC", piece).casefold()).translate(_SIMPLE)
    return " " if folded in _ASIDES else folded


def fold(text: str) -> str:
    """Return the line of a text: lower case, without marks, with single spaces and plain dashes."""
    return Tokens(text, covers=False).line


class Tokens:
    """Tokens of a text.

    Attributes:
        text: the original.
        line: their folded forms, with one space where blanks or asides part them, none beside signs of Han.
    """

    def __init__(self, text: str, *, covers: bool = True) -> None:
        """Cut *text*. *covers*: numbers that are no days, links and code have a sign in the line."""
        self.text = text
        self._covers = covers

    @cached_property
    def line(self) -> str:
        """Folded line; for plain text it is made without tokens, which few lines need."""
        text = self.text
        if not text.isascii() or _LINKED.search(text) or (self._covers and _FIGURES.search(text)):
            return self._read[2]
        return " ".join(_ABBREVIATED.sub("", text.lower().translate(_PLAIN)).split())

    @property
    def tokens(self) -> list[Token]:
        """Tokens of the text, in order."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[list[Token], list[int], str]:
        """Tokens, their starts in the line, and the line."""
        text, covers = self.text, self._covers
        tokens: list[Token] = []
        starts: list[int] = []
        pieces: list[str] = []
        at = length = 0
        is_apart, has_han, has_letter = False, True, False
        for kind, start, end in _cut(text, covers):
            piece = text[start:end]
            folded = _COVERED if covers and kind in ("value", "link", "code") else _folded(piece)
            if folded == "." and has_letter and start == at:  # of an abbreviation
                folded = ""
            is_apart = is_apart or start > at or folded == " "
            if folded == " ":
                folded = ""
            is_han = kind == "han"
            if folded:
                if is_apart and not (is_han or has_han):
                    pieces.append(" ")
                    length += 1
                pieces.append(folded)
                is_apart, has_han = False, is_han
            has_letter = is_han or kind == "word"
            starts.append(length)
            length += len(folded)
            tokens.append(Token(start, end, folded, "word" if is_han else kind))  # type: ignore[arg-type]
            at = end
        return tokens, starts, "".join(pieces)

    def numbers(self, start: int, end: int) -> tuple[int, int]:
        """Return the numbers of the first token in a place of the line, and of the one after the last."""
        _, starts, _ = self._read
        return bisect_right(starts, start) - 1, bisect_left(starts, end)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the text of a place of the line.

        The point of an abbreviation within a sentence, and a bracket that closes one inside, belong to it.
        """
        tokens = self.tokens
        first, last = self.numbers(start, end)
        begin, after = tokens[first].start, tokens[last - 1].end
        follows = tokens[last] if last < len(tokens) else None
        if (
            follows
            and not follows.folded
            and self.text[after : follows.end] == "."
            and last + 1 < len(tokens)
        ):
            after, last = follows.end, last + 1
        for opening, closing in _CLOSING.items():
            left = self.text.count(opening, begin, after) - self.text.count(closing, begin, after)
            while left > 0 and self.text.startswith(closing, after):
                left, after = left - 1, after + 1
        return begin, after


def _cut(text: str, covers: bool) -> Iterator[tuple[str, int, int]]:
    """Yield the kinds and places of tokens, with ``han`` for signs of Han."""
    at = 0
    for value in _VALUE.finditer(text) if covers and _FIGURES.search(text) else ():
        if _ISO.match(value.group()) is None:
            for match in _TOKEN.finditer(text, at, value.start()):
                yield match.lastgroup or "sign", *match.span()
            yield "value", *value.span()
            at = value.end()
    for match in _TOKEN.finditer(text, at):
        yield match.lastgroup or "sign", *match.span()


def without(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return *text* without the words at *places*, signs that announce them, and brackets around them."""
    at, left = 0, ""
    for start, end in sorted(places):
        if start < at:
            continue
        between = text[at:start]
        is_sign = between.rstrip()[-1:] in (*_ANNOUNCING.strip(),)
        left = _joined(left, between.rstrip(_ANNOUNCING) + " " if is_sign else between)
        at = end
    left = _joined(left, text[at:]) if at else text
    return _EMPTY.sub("", left).strip(_EDGES)


def _joined(left: str, right: str) -> str:
    """Join what is left of a text on both sides of words that were taken out."""
    left, rest = left.rstrip(), right.lstrip()
    if not left:
        return right
    if not rest or rest[0] in ".,;:!?)]":
        return left.rstrip(",;:") + rest if rest[:1] in (".", "!", "?") else left + rest
    is_close = left[-1] in "([" or re.match(f"[{HAN}]", left[-1] + rest[0]) is not None
    return left + rest if is_close else f"{left} {rest}"
