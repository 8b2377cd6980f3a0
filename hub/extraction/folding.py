"""Pure: text as it is compared and as it is shown, without losing its place.

Two texts that look alike should compare alike: Unicode forms, kinds of quotation
marks, line breaks inside a sentence and characters nobody can see make no
difference. Every folded character knows where it stood in the original.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_MARKS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
_WORD: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]|\w+?(?=[\u2e80-\u9fff]|\b)"
)
# What stands in a text without being said: reply marks, the lines above a cue of captions, tags inside one.
_STAMP: Final = r"(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3}"
CUE: Final = re.compile(
    r"(?:(?:^|(?<=\n)|(?<=\r))(?:\d{1,9}[ \t]*(?:\r\n|\r|\n)|(?<=\n\n)[^\r\n]{1,80}\n)?)?"
    rf"(?<![^\r\n])[ \t]*{_STAMP}[ \t]+-->[ \t]+{_STAMP}[^\r\n]*"
)
_ASIDES: Final = re.compile(
    rf"{CUE.pattern}|(?<![^\r\n])[ \t]*(?:>[ \t]?)+"
    rf"|</?[vcibu](?:[ .][^<>\r\n]{{0,80}})?>|<{_STAMP}>|\{{\\an\d\}}"
    r"|\*+|_+|~~+|`+|(?<!=)==(?!=)"
)
_EMPHASIS: Final = "*_~`="
_EMOJI: Final = ("\U0001f300", "\U0001faff")  # new ones come every year, before Python knows them
_NOWHERE: Final = (sys.maxsize, sys.maxsize)
_SPACED_CONTROLS: Final = frozenset("\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85")
_JOINERS: Final = frozenset("\u200c\u200d")  # they spell words in Persian and Hindi, and build emoji
_FILLERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # blank, but no controls


@lru_cache(maxsize=8_192)  # a text has few different characters, and is looked at over and over
def is_hidden(char: str) -> bool:
    """Whether a character has no look of its own: control, zero-width, bidi, tag, private use."""
    if char in _SPACED_CONTROLS or _EMOJI[0] <= char <= _EMOJI[1]:
        return False
    return char in _FILLERS or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")


def shown(text: str) -> str:
    """*text* without what a reader cannot see; joiners stay where they spell a word."""
    hidden = {ord(char): None for char in set(text) if char not in _JOINERS and is_hidden(char)}
    return text.translate(hidden) if hidden else text


def fold(text: str) -> str:
    """*text* for comparing: case, Unicode form, marks, blanks and hidden characters make no difference."""
    hidden = {ord(char): None for char in set(text) if is_hidden(char)}
    visible = text.translate(hidden) if hidden else text
    lines = _unified(visible).splitlines()  # line by line: a book's words would be a long list
    return " ".join(" ".join(line.split()) for line in lines if line.strip())


def stands_in(words: str, folded: str) -> bool:
    """Whether *words* stand in a folded text, as whole words."""
    sought = fold(words)
    at = folded.find(sought) if sought else -1
    while at >= 0:
        if not (_splits_word(folded, at) or _splits_word(folded, at + len(sought))):
            return True
        at = folded.find(sought, at + 1)
    return False


def words_of(text: str) -> list[str]:
    """The folded words of *text*; of a script without blanks, its characters."""
    return _WORD.findall(fold(text))


class Folded:
    """A text folded for searching; what is found is told in places of the original.

    Marks of emphasis, of replies and of cues are passed over: a quote with them and one without are alike.

    Attributes:
        letters: the folded text; places in it are *of letters*.
    """

    def __init__(self, text: str) -> None:
        letters: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        for folded, start, end in _folded(text):
            letters.append(folded)
            self._starts.extend([start] * len(folded))
            self._ends.extend([end] * len(folded))
        self.letters = "".join(letters)

    def find(self, words: str) -> Iterator[tuple[int, int]]:
        """Every place ``(start, end)`` of *words* in the original, as whole words, in order."""
        sought = folded_alone(words)
        at = self.letters.find(sought) if sought else -1
        while at >= 0:
            end = at + len(sought)
            if not (_splits_word(self.letters, at) or _splits_word(self.letters, end)):
                yield self.place(at, end)
            at = self.letters.find(sought, at + 1)

    def whole_words(self, start: int, end: int) -> tuple[int, int]:
        """A place of letters, widened to the words that it cuts, without the blanks at its ends."""
        while _splits_word(self.letters, start):
            start -= 1
        while _splits_word(self.letters, end):
            end += 1
        inner = self.letters[start:end]
        return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The place in the original of a place of letters, which must not be empty."""
        return self._starts[start], self._ends[end - 1]


def folded_alone(words: str) -> str:
    """*words* as they stand in the letters of a ``Folded`` text."""
    # Folded piece by piece like the text itself: composed as a whole it could differ at an edge.
    return "".join(folded for folded, _, _ in _folded(words)).strip()


def asides(text: str) -> Iterator[tuple[int, int]]:
    """The places of marks that say nothing: of emphasis, of replies, of cues."""
    for match in _ASIDES.finditer(text):
        if text[match.start()] not in _EMPHASIS or _is_emphasis(text, *match.span()):
            yield match.span()


def _is_emphasis(text: str, start: int, end: int) -> bool:
    """Whether a row of signs marks words: at their edge, or two of them inside one."""
    before, after = text[start - 1 : start], text[end : end + 1]
    if before.isalnum() and after.isalnum():
        is_spaced = _is_spaced_letter(before) and _is_spaced_letter(after)
        return text[start] in "*~" and (end - start > 1 or not is_spaced)
    return bool(before.strip() or after.strip())


def _folded(text: str) -> Iterator[tuple[str, int, int]]:
    """The folded pieces of *text* with the places they stand for; blanks come as one."""
    blank_from: int | None = None
    passed_over = asides(text)
    aside_start, aside_end = next(passed_over, _NOWHERE)
    for start, end in clusters(text):
        while aside_end <= start:
            aside_start, aside_end = next(passed_over, _NOWHERE)
        if aside_start <= start:
            continue
        cluster = text[start:end]
        if cluster.isspace():
            blank_from = start if blank_from is None else blank_from
            continue
        visible = "".join(char for char in cluster if not is_hidden(char))
        if not visible:
            continue
        if blank_from is not None:
            yield " ", blank_from, start
            blank_from = None
        yield _unified(visible), start, end
    if blank_from is not None:
        yield " ", blank_from, len(text)


def _unified(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text.translate(_MARKS)).casefold()
    return unicodedata.normalize("NFKC", folded)


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """A character with what combines with it: marks, and the later letters of a Korean syllable."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or text[start].isspace() or not _combines(text[at]):
            yield start, at
            start = at


def _combines(char: str) -> bool:
    return unicodedata.combining(char) != 0 or "\u1160" <= char <= "\u11ff"


def splits(text: str, at: int) -> bool:
    """Whether a cut before ``text[at]`` would go through a word, or through one character of a reader's."""
    return _splits_word(text, at) or (0 < at < len(text) and _combines(text[at]))


def _splits_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _is_spaced_letter(text[at - 1]) and _is_spaced_letter(text[at])


def _is_spaced_letter(char: str) -> bool:
    """A letter of a script that puts blanks between words."""
    return char.isalnum() and not is_unspaced(char)


def is_unspaced(char: str) -> bool:
    """Whether *char* is of a script without blanks between words: Chinese, Japanese, Thai and the like."""
    point = ord(char)
    return (
        0x0E00 <= point <= 0x0EFF  # Thai, Lao
        or 0x1000 <= point <= 0x109F  # Burmese
        or 0x1780 <= point <= 0x17FF  # Khmer
        or 0x2E80 <= point <= 0x9FFF  # CJK radicals, kana, ideographs
        or 0xF900 <= point <= 0xFAFF
        or 0xFF66 <= point <= 0xFF9D  # half-width kana
        or 0x20000 <= point <= 0x3FFFF
    )
