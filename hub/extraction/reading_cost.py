"""Work of the rules at a text, estimated from its lines, and the part of a text that a reading covers.

A step is about a microsecond of a processor. Steps are counted from the characters, words, numbers,
sentences and lines of a text, and no clock is asked: each reading of a text ends at the same place, on a
busy machine too. Texts by others have a fixed number of steps, whatever their size. Those of the owner and of
known senders have a minimum, and beyond it steps for each character.
"""

import re
from collections.abc import Sequence
from math import fsum
from operator import mul
from pathlib import PurePosixPath
from typing import Final

from hub.document import Document

OWN_STEPS: Final = 1_450_000
_OWN_STEPS_PER_CHAR: Final = 15  # of a longer text: lists are read as a whole, and a third of dense prose
OTHERS_STEPS: Final = 320_000
_FREE_CHARS: Final = 2_000  # of a text that is read without counting
_CUT_CHARS: Final = 2_000  # before the last step, in which the end of a line or of a sentence is sought
_PIECE: Final = re.compile(r"[^\r\n]{1,400}[\r\n]{0,400}|[\r\n]{1,400}")  # a line, or a part of a long one
_WORD: Final = re.compile("[^\\W\\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]{1,2}")
_NUMBER: Final = re.compile(r"\d+")
_SENTENCE: Final = re.compile("[.!?;:](?=[\\s\"')\\]])|[\u3002\uff01\uff1f\uff1b]")
_STAMP: Final = re.compile(  # of a message in a chat, and of a caption: its numbers are no days to resolve
    r"\[[\d.,/: -]{8,24}\]|[\d./]{6,10}, \d{1,2}:\d\d - |[\d:.,]{8,16} --> [^\r\n]*"
)
_ROW: Final = re.compile(r"[ \t>]*(?:[-*+\u2022]|\d+[.)])?[ \t]*\[[ xX.-]\]|[^|\n]*\|[^|\n]*\||[ \t]*>")
_STRUCTURED: Final = (".ics", ".ical", ".csv", ".tsv", ".org", ".org_archive", ".taskpaper", "todo.txt")
# Steps of one character, word, number, sentence and piece, fitted to 80 measured shapes of texts.
_PROSE: Final = (14.5, 65, 530, 420, 720)
_LEFT_TO_MODEL: Final = (3.4, 18, 8, 24, 190)  # prose that the rules only divide and date
_ROWS: Final = (10.6, 0, 185, 0, 110)  # boxes, tables, quotations, and formats of fields


def steps_until(document: Document, limit: float, *, reads_prose: bool) -> tuple[float, int]:
    """Return the steps of a text and its length; beyond a limit, the steps and the place that reached it."""
    steps, text = 0.0, document.text
    if len(text) <= _FREE_CHARS:
        return 50.0 * len(text), len(text)
    is_structured = PurePosixPath(document.unit_key.lower()).name.endswith(_STRUCTURED)
    prose = _ROWS if is_structured else _PROSE if reads_prose else _LEFT_TO_MODEL
    for piece in _PIECE.finditer(text):
        line = _STAMP.sub("", piece[0], 1)
        steps += _steps_of(line, _ROWS if _ROW.match(line) else prose)
        if steps > limit:
            return steps, piece.start()
    return steps, len(text)


def _steps_of(line: str, weights: Sequence[float]) -> float:
    counts = (len(kind.findall(line)) for kind in (_WORD, _NUMBER, _SENTENCE))
    return fsum(map(mul, weights, (len(line), *counts, 1)))


def readable_chars(document: Document, *, reads_prose: bool) -> int:
    """Return the number of characters of a text that are read, from its beginning, within its steps."""
    text, by = document.text, document.provenance
    if len(text) <= _FREE_CHARS:
        return len(text)
    own_steps = max(OWN_STEPS, _OWN_STEPS_PER_CHAR * len(text))
    limit = own_steps if by is None or by.trusted else OTHERS_STEPS
    _, end = steps_until(document, limit, reads_prose=reads_prose)
    if end == len(text):
        return end
    marks, end = ("\n", "\r", ". ", "\u3002"), max(end, _FREE_CHARS)
    return max(text.rfind(mark, end - _CUT_CHARS, end) for mark in marks) + 1 or end
