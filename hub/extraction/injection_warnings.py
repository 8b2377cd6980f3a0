"""Warnings on items from passages that give orders to a machine or are hidden from people.

Anyone may have written a document. Rules detect passages that give orders, openly (``prompt_injection``) or
in a form invisible to people. An item from such a passage has a warning and is never delivered without it. An
item that an order caused, with a harmless quote, is not supported by that quote (``quote_support``). The
rules are broad on purpose: a false warning costs a glance, a missed order costs trust. The own judgement of
the model is not used.
"""

import base64
import binascii
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.authorship import authors_in
from hub.extraction.chunk import sentences
from hub.extraction.items import Dropped, Item, Outside
from hub.extraction.prompt_injection import SCALE, find_orders, score_of, sentences_of
from hub.extraction.quote_support import is_supported
from hub.text.folding import clusters, is_hidden, is_plain, normalized, with_few_marks
from hub.text.places import merged, place_at
from hub.text.quotations import places_of_others
from protocol.items import Mark
from protocol.tables import TABLES, Tables

Span = tuple[int, int]

_WINDOW_CHARS: Final = 16_384  # searched at a time: 50 ms
_OVERLAP_CHARS: Final = 600  # longer than any wording
_MAX_ORDERS: Final = 1_000
_HONEST: Final = -4 * SCALE  # of a sentence, whatever address it names
_REACH_CHARS: Final = 400  # maximum extent of the suspected paragraph on both sides of an order
_PARAGRAPH_END: Final = re.compile(r"\n[ \t>|]*+(?:\r?\n[ \t>|]*+)+|\r[ \t>]*+\r")
# The mark of a list, a heading or a setting, or the stamp of a message or of finished work.
_ROW_MARK: Final = re.compile(
    r"^[ \t]{0,40}(?:(?:[-*+\u2022\u2023\u25e6]|\*\*|\d{1,3}[.)])[ \t]+(?:\[.\][ \t]+)?|#\+(?=\w)"
    r"|(?:[xX][ \t]+)?\[?\d[\d :./,-]{6,30}\]?[ \t]+(?:-[ \t]+)?(?=[^\W\d_]))",
    re.MULTILINE,
)
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"')\]]{1,1000}+")
# An entry of a list of tasks, which is one by itself, whatever an entry above it demands.
_TASK_ROW: Final = re.compile(
    r"^[ \t]{0,40}(?:[-*+][ \t]+\[.\][ \t]|\*{1,9}[ \t]+[A-Z]{3,20}[ \t])", re.MULTILINE
)
_TURN: Final = re.compile(r"\n(?=[^\W\d_][\w .'\u2019-]{0,30}:[ \t])")
_ANNOUNCING: Final = (":", "\uff1a")
_FEW_BLANKS: Final = re.compile(r"[\s>|]{0,40}+")

_JOINERS: Final = frozenset("\u200c\u200d")
_SOFT_HYPHEN: Final = "\u00ad"
_DIRECTIONS: Final = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069")
_ALWAYS_SUSPECT: Final = re.compile("[\u202d\u202e]|\U0001f3f4?[\U000e0001-\U000e007f]{2,}+")
_BLACK_FLAG: Final = "\U0001f3f4"  # tag characters after it spell a region (Unicode TR 51)

_BLOB: Final = re.compile(r"[A-Za-z0-9+/]{32,}+={0,2}")
_MAX_BLOBS: Final = 200


def spans(text: str, apart: Sequence[Span] = (), *, is_row: bool = False) -> tuple[Span, ...]:
    """Return the places of *text* that give orders to its reader, in order and disjoint.

    Each is at least a sentence, and a paragraph if the wording is strong. A text with an implausible number
    of such passages is suspected as a whole.

    Args:
        apart: places that are texts of their own, such as rows of a table, in order and disjoint. They make
            no other text suspect, but a suspect paragraph around them does so with them.
        is_row: *text* is such a row.
    """
    passages = list(islice(_passages(_covered(text, apart), is_row=is_row), _MAX_ORDERS + 1))
    if len(passages) > _MAX_ORDERS:
        return ((0, len(text)),)
    found = [_widened(text, start, end, is_strong) for start, end, is_strong in passages]
    for begin, stop in apart:
        found += ((begin + start, begin + end) for start, end in spans(text[begin:stop], is_row=True))
    return tuple(merged(found))


def _covered(text: str, places: Sequence[Span]) -> str:
    """Return *text* with blanks at some places."""
    pieces, at = list[str](), 0
    for start, end in places:
        pieces += (text[at:start], " " * (end - start))
        at = end
    return "".join([*pieces, text[at:]])


def marked(
    items: Iterable[Item], text: str, suspicions: Sequence[Span], tables: Tables = TABLES
) -> list[Item]:
    """Return *items* with additional warnings.

    *suspicions* are ``spans(text)``. An item of a rule reflects its own place; a model may return an ordered
    item with a harmless quote, which does not support it.
    """
    return [_marked(item, text, suspicions, tables) for item in items]


def by_authorship(
    items: Iterable[Item], document: Document, outside: Outside
) -> tuple[list[Item], list[Dropped]]:
    """Mark or drop the items in text of unknown authors, whatever its wording, by the agent's policy."""
    remaining: list[Item] = []
    dropped: list[Dropped] = []
    foreign: list[Span] | None = None
    author_at = authors_in(document)
    for found in items:
        item = found
        if item.marks:  # which act in words of the owner alone
            foreign = merged(places_of_others(document.text)) if foreign is None else foreign
            item = item if place_at(foreign, item.start) is None else msgspec.structs.replace(item, marks=())
        _, provenance = author_at(item.start)
        if provenance is None or provenance.trusted:
            remaining.append(item)
        elif outside == "drop":
            dropped.append(Dropped(table=item.table, reason="outside", start=item.start, end=item.end))
        else:
            marks: tuple[Mark, ...] = ("outside", "apart") if outside == "separate" else ("outside",)
            remaining.append(msgspec.structs.replace(item, warnings=(*item.warnings, *marks)))
    return remaining, dropped


def hidden_count(text: str) -> int:
    """Count the characters of *text* that are invisible and not part of a word."""
    if is_plain(text) or not any(map(is_hidden, set(text))):
        return 0
    return sum(_is_hidden_at(text, at) for at, char in enumerate(text) if is_hidden(char))


def _marked(item: Item, text: str, suspicions: Sequence[Span], tables: Tables) -> Item:
    warnings: list[Mark] = list(item.warnings)
    nearest = bisect_left(suspicions, item.end, key=lambda span: span[0]) - 1  # they are ordered and disjoint
    touches = nearest >= 0 and suspicions[nearest][1] > item.start
    if touches:
        warnings.append("instruction")
    if item.origin == "model" and not is_supported(item, text, tables):
        warnings.append("unsupported")
    if hidden_count(text[item.start : item.end]):
        warnings.append("hidden_characters")
    return msgspec.structs.replace(item, warnings=tuple(dict.fromkeys(warnings)))


def _passages(text: str, *, is_row: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield passages with orders, and whether the wording is strong; some are repeated."""
    for begin, stop in _windows(text):
        for start, end, is_strong in _passages_in(text[begin:stop], is_row=is_row):
            yield begin + start, begin + end, is_strong


def _windows(text: str) -> Iterator[Span]:
    """Split *text* into overlapping pieces, because a pattern search blocks the whole process."""
    begin = 0
    while len(text) - begin > _WINDOW_CHARS:
        yield begin, begin + _WINDOW_CHARS
        latest = begin + _WINDOW_CHARS - _OVERLAP_CHARS
        line = text.rfind("\n", begin + 1, latest)
        begin = line + 1 if line > latest - _OVERLAP_CHARS else latest
    yield begin, len(text)


def _passages_in(text: str, *, is_row: bool) -> Iterator[tuple[int, int, bool]]:
    written, places = _plain(text)
    # A row of a list, or a message, is no part of the sentence in the line above it.
    plain = _ROW_MARK.sub(lambda match: " " * len(match.group()), written)
    for start, end, is_strong in find_orders(plain):
        in_row = is_row or _ROW_MARK.match(written, written.rfind("\n", 0, start) + 1) is not None
        if _is_of_neighbours(plain[start:end]) or (in_row and _is_of_address(plain[start:end])):
            continue
        yield (places[start], places[end], is_strong) if places else (start, end, is_strong)
    for start, end in (*_hidden_runs(text), *_blobs(text)):
        yield start, end, True


def _is_of_neighbours(plain: str) -> bool:
    """Return True for lines of different speakers ("Ann: ..."), none of which is an order by itself."""
    lines = _TURN.split(plain)
    return len(lines) > 1 and not any(next(find_orders(line), None) for line in lines)


def _is_of_address(plain: str) -> bool:
    """Return True for words that are honest by far, but for an address of a page in them."""
    words = _ADDRESS.sub(" ", plain)
    return len(words) < len(plain) and all(score_of(sentence) < _HONEST for sentence in sentences_of(words))


def _plain(text: str) -> tuple[str, list[int]]:
    """Return the normalized *text* for the patterns, and the place of each character; empty if unchanged."""
    chars = set(text)
    alike, hidden = {ord(char): _alike(char) for char in chars}, set(filter(is_hidden, chars))
    if with_few_marks(text) == text and unicodedata.is_normalized("NFC", text):
        if not hidden:
            return text.translate(alike), []
        places = [at for at, char in enumerate(text) if char not in hidden]
        return "".join(text[at] for at in places).translate(alike), [*places, len(text)]
    letters: list[str] = []
    places = []
    for start, end in clusters(text):
        visible = "".join(char for char in text[start:end] if char not in hidden)
        plain = "".join(map(_alike, normalized("NFC", visible)))
        letters.append(plain)
        places += [start] * len(plain)
    return "".join(letters), [*places, len(text)]


@lru_cache(maxsize=4_096)
def _alike(char: str) -> str:
    """Return the plain equivalent of a character: full-width, mathematical, circled or capital."""
    if char == "_":
        return " "
    for plain in (unicodedata.normalize("NFKC", char).lower(), char.lower()):
        if len(plain) == 1:
            return plain
    return char


def _hidden_runs(text: str) -> Iterator[Span]:
    hidden = [char for char in sorted(set(text)) if is_hidden(char)]
    if not hidden:
        return
    found = (match.span() for match in _ALWAYS_SUSPECT.finditer(text))
    yield from (span for span in found if text[span[0]] != _BLACK_FLAG)
    # One or two hidden characters may come from typesetting.
    run = re.compile(f"[{''.join(map(re.escape, hidden))}]{{3,}}+")
    yield from (match.span() for match in run.finditer(text) if text[match.start() - 1] != _BLACK_FLAG)


def _blobs(text: str) -> Iterator[Span]:
    """Yield base64 strings that contain text."""
    for nth, match in enumerate(_BLOB.finditer(text)):
        if nth == _MAX_BLOBS:
            return
        blob = match.group()[:8_000].rstrip("=")
        try:
            decoded = base64.b64decode(blob[: len(blob) // 4 * 4])
        except binascii.Error:
            continue
        readable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in decoded)
        # Keys and digests are random, orders are text.
        if b" " in decoded and readable >= 0.95 * len(decoded):
            yield match.span()


def _widened(text: str, start: int, end: int, is_strong: bool) -> Span:
    """Expand a place to its sentence and the next, or to its paragraph, and to text after a colon."""
    begin, stop = _within(text, start, end, _PARAGRAPH_END, _TASK_ROW)
    if not is_strong:
        since = [place for place in sentences(text, begin, stop) if start < place[1]]
        touched = [place for place in since if place[0] < end]
        if touched:  # and the next sentence, which the order may refer to
            begin, stop = touched[0][0], since[min(len(touched), len(since) - 1)][1]
    if text[begin:stop].rstrip().endswith(_ANNOUNCING):
        blanks = _FEW_BLANKS.match(text, stop)
        after = blanks.end() if blanks else stop
        _, stop = _within(text, after, after, _PARAGRAPH_END)
    return begin, stop


def _within(text: str, start: int, end: int, *bounds: re.Pattern[str]) -> Span:
    """Return the paragraph or row around a place, up to a maximum extent."""
    before, after = max(start - _REACH_CHARS, 0), min(end + _REACH_CHARS, len(text))
    breaks = [match for bound in bounds for match in bound.finditer(text, before, end)]
    following = [match.start() for bound in bounds if (match := bound.search(text, end, after))]
    begins = (min(match.end(), start) for match in breaks if match.start() < start)
    return max(begins, default=before), min(following, default=after)


def _is_hidden_at(text: str, at: int) -> bool:
    """Return True if a hidden character serves no spelling or typesetting purpose."""
    char, before, after = text[at], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if char == _SOFT_HYPHEN:
        return not (before.isalpha() and after.isalpha())
    if char in _JOINERS:
        return not before or before.isascii() or not after or after.isascii()
    if char in _DIRECTIONS:
        around = text[max(at - 40, 0) : at + 40]
        return not any(
            near not in _DIRECTIONS and unicodedata.bidirectional(near) in ("R", "AL") for near in around
        )
    if "\U000e0020" <= char <= "\U000e007f":
        return _BLACK_FLAG not in text[max(at - 7, 0) : at]
    return not (char == "\ufeff" and at == 0)
