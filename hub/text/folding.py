"""Normalization of text for comparison, and detection of invisible characters. Pure functions.

Texts that look alike must compare as equal: Unicode forms, kinds of quotation marks, line breaks in a
sentence and invisible characters make no difference. Every folded character has its position in the original.
"""

import html
import re
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal

from hub.text.excerpt import CUE, STAMP

# Blanks and characters without a glyph that programs put before the first line of a text.
LEAD: Final = (
    " \t\r\n\x0b\x0c\x85\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2066\u2067\u2068\u2069\u3000\ufeff"
)
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
# Markup that is not part of the wording: reply marks, cue headers of captions, and their tags.
_ASIDES: Final = re.compile(
    rf"{CUE.pattern}|(?<![^\r\n])[ \t]*(?:>[ \t]?)+"
    rf"|</?[vcibu](?:[ .][^<>\r\n]{{0,80}})?>|<{STAMP}>|\{{\\an\d\}}"
    r"|\*+|_+|~~+|`+|(?<!=)==(?!=)"
)
_EMPHASIS: Final = "*_~`="
_INVISIBLE: Final = "\u200d"
# Dashes and dots in addition to those that Unicode calls so.
_SIGNS: Final = dict.fromkeys("\u2212\u2043\u02d7", "-") | dict.fromkeys(
    "\u00b7\u0387\u2022\u2027\u2219\u22c5\u3002\uff61", "."
)
_SPELLED: Final = {"at": "@", "\u00e4t": "@", "a": "@", "@": "@", "dot": ".", "punkt": ".", ".": "."}
# One set of first characters, so that other text is skipped fast.
_MARKUP: Final = re.compile(
    r"[\u200d*`~_\\&%\[({<](?:(?<=\u200d)\u200d*+|(?<=[*`~])[*`~]*+|(?<=_)_*+|(?<=\\)(?=[^\w\s])"
    r"|(?<=&)(?:#\d{2,6}|#x[0-9a-f]{2,5}|[a-z]{2,8});|(?<=%)[2-7][0-9a-f]"
    rf"|(?<=[\[({{<]) ?(?:{'|'.join(map(re.escape, _SPELLED))}) ?[\])}}>]"
    r"|(?<=<)/?(?:b|i|u|em|strong|code|span|font)(?: [^<>\r\n]{0,80})?>)",
    re.IGNORECASE,
)
_MAX_MARKS: Final = 30  # in a row, as in the Stream-Safe Text Format of UAX #15
_LONG_MARKS: Final = re.compile(rf"[^\w\s\x00-\x7f]{{{_MAX_MARKS + 1},}}")  # and other signs
_EMOJI: Final = ("\U0001f300", "\U0001faff")  # new ones appear every year, before Python's database has them
_NOWHERE: Final = (sys.maxsize, sys.maxsize)
_SPACED_CONTROLS: Final = frozenset("\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85")
_JOINERS: Final = frozenset("\u200c\u200d")  # part of words in Persian and Hindi, and of emoji
FILLERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # blank, but not control characters


@lru_cache(maxsize=8_192)  # texts have few different characters, which are tested repeatedly
def is_hidden(char: str) -> bool:
    """Return True for characters without a glyph: control, zero-width, bidi, tag, private use."""
    if char in _SPACED_CONTROLS or _EMOJI[0] <= char <= _EMOJI[1]:
        return False
    return char in FILLERS or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")


def with_few_marks(text: str) -> str:
    """Return *text* without combining marks beyond 30 in a row, which Python sorts in quadratic time."""
    if len(text) <= _MAX_MARKS or text.isascii():
        return text
    return _LONG_MARKS.sub(_first_marks, text)


def _first_marks(run: re.Match[str]) -> str:
    marks, chars = 0, list[str]()
    for char in run[0]:
        marks = marks + 1 if unicodedata.combining(char) else 0
        chars += [char] if marks <= _MAX_MARKS else []
    return "".join(chars)


def normalized(form: Literal["NFC", "NFD", "NFKC"], text: str) -> str:
    """Return *text* in a form of Unicode, without more combining marks than letters have."""
    return unicodedata.normalize(form, with_few_marks(text))


def is_plain(text: str) -> bool:
    """Return True if *text* has only letters, digits and signs of ASCII, and blanks: the usual case."""
    return text.isascii() and text.isprintable()


def shown(text: str) -> str:
    """Remove invisible characters from *text*; joiners are kept, because they are part of words."""
    if is_plain(text):
        return text
    hidden = {ord(char): None for char in set(text) if char not in _JOINERS and is_hidden(char)}
    return text.translate(hidden) if hidden else text


def fold(text: str) -> str:
    """Normalize *text* for comparison, ignoring case, Unicode form, punctuation variants and blanks."""
    if is_plain(text):  # in which nothing is hidden, and no line ends
        return " ".join(_unified(text).split())
    hidden = {ord(char): None for char in set(text) if is_hidden(char)}
    visible = text.translate(hidden) if hidden else text
    # Line by line, because the list of all words of a book would be large.
    lines = _unified(visible).splitlines()
    return " ".join(" ".join(line.split()) for line in lines if line.strip())


def occurs_in(words: str, folded: str) -> bool:
    """Return True if *words* occur in a folded text as whole words."""
    sought = fold(words)
    at = folded.find(sought) if sought else -1
    while at >= 0:
        if not (_splits_word(folded, at) or _splits_word(folded, at + len(sought))):
            return True
        at = folded.find(sought, at + 1)
    return False


def words_of(text: str) -> list[str]:
    """Return the folded words of *text*; in scripts without blanks, its characters."""
    return words_in(fold(text))


def words_in(folded: str) -> list[str]:
    """Return the words of a folded text."""
    return _WORD.findall(folded)


class Folded:
    """Folded text for searches, with results as places in the original.

    Markup of emphasis, replies and cues is skipped, so that quotes match with or without it.

    Attributes:
        letters: folded text; positions in it are called *of letters*.
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
        """Yield every place ``(start, end)`` of *words* in the original, as whole words, in order."""
        sought = folded_alone(words)
        at = self.letters.find(sought) if sought else -1
        while at >= 0:
            end = at + len(sought)
            if not (_splits_word(self.letters, at) or _splits_word(self.letters, end)):
                yield self.place(at, end)
            at = self.letters.find(sought, at + 1)

    def whole_words(self, start: int, end: int) -> tuple[int, int]:
        """Expand a place of letters to whole words, and strip blanks at its ends."""
        while _splits_word(self.letters, start):
            start -= 1
        while _splits_word(self.letters, end):
            end += 1
        inner = self.letters[start:end]
        return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Convert a non-empty place of letters to a place in the original."""
        return self._starts[start], self._ends[end - 1]


class PlainForm:
    """Text in plain typography, for patterns of values, with results as places in the original.

    Blanks, dashes, digits and wide characters are those of ASCII. Invisible characters and signs of emphasis
    are left out; ``%40``, ``&nbsp;``, ``(at)`` and ``[.]`` are the characters that they stand for. Ends of
    lines and the case of letters are kept.

    Attributes:
        text: the plain form.
    """

    def __init__(self, original: str) -> None:
        self.original = text = original
        for char in set(original):
            if (plain := _plain_char(char)) != char:
                text = text.replace(char, plain)
        pieces: list[str] = []
        # Places in the plain form and in the original from which both run in parallel.
        self._plain_starts, self._starts = [0], [0]
        at = length = 0
        for match in _MARKUP.finditer(text):
            start, end = match.span()
            sign = _sign_of(match.group(), text, start, end)
            if sign is None:
                continue
            pieces += [text[at:start], sign]
            length += start - at
            if sign:  # the last character of the markup is its place
                self._plain_starts.append(length)
                self._starts.append(end - 1)
            length += len(sign)
            self._plain_starts.append(length)
            self._starts.append(end)
            at = end
        self.text = "".join((*pieces, text[at:]))

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Convert a non-empty place of the plain form to a place in the original."""
        first, last = self._original_of(start), self._original_of(end - 1)
        return first, last + 1

    def _original_of(self, at: int) -> int:
        nth = bisect_right(self._plain_starts, at) - 1
        return self._starts[nth] + at - self._plain_starts[nth]


@lru_cache(maxsize=8_192)
def _plain_char(char: str) -> str:
    """Return the plain form of a character, which is one character too; _INVISIBLE is left out later."""
    if char in "\r\n" or (char.isascii() and char.isprintable()):
        return char
    if char in _JOINERS or is_hidden(char):
        return _INVISIBLE
    kind, digit = unicodedata.category(char), unicodedata.decimal(char, None)
    plain = unicodedata.normalize("NFKC", char) if digit is None else str(digit)
    if kind == "Pd" or char.isspace():
        plain = "-" if kind == "Pd" else " "
    return _SIGNS.get(char, plain if len(plain) == 1 else char)


def _sign_of(found: str, text: str, start: int, end: int) -> str | None:
    """Return the sign that markup spells, or None if the markup is text."""
    match found[0]:
        case "\\" | "\u200d":
            return ""
        case "*" | "_" | "~" | "`":
            return "" if _is_emphasis(text, start, end) else None
        case "&":
            named = html.unescape(found)
            return _plain_char(named) if len(named) == 1 else None
        case "%":
            return chr(int(found[1:], 16))
        case _:
            return _SPELLED.get(found[1:-1].strip().lower(), "")


def folded_alone(words: str) -> str:
    """Return *words* as they appear in the letters of a ``Folded`` text."""
    # Folded piece by piece like the text: normalized as a whole, it could differ at the edges.
    return "".join(folded for folded, _, _ in _folded(words)).strip()


def asides(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of markup: emphasis, reply marks and cue headers."""
    for match in _ASIDES.finditer(text):
        if text[match.start()] not in _EMPHASIS or _is_emphasis(text, *match.span()):
            yield match.span()


def _is_emphasis(text: str, start: int, end: int) -> bool:
    """Return True if signs mark emphasis: at the edge of words, or double inside a word."""
    before, after = text[start - 1 : start], text[end : end + 1]
    if before.isalnum() and after.isalnum():
        is_spaced = _is_spaced_letter(before) and _is_spaced_letter(after)
        return text[start] in "*~" and (end - start > 1 or not is_spaced)
    return bool(before.strip() or after.strip())


def _folded(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the folded pieces of *text* with their places; a sequence of blanks is one piece."""
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
    if text.isascii():
        return text.replace("`", "'").lower()
    folded = normalized("NFKC", text.translate(_MARKS)).casefold()
    return unicodedata.normalize("NFKC", folded)


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield a base character with its combining marks, or the letters of a Korean syllable."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or text[start].isspace() or not _combines(text[at]):
            yield start, at
            start = at


def _combines(char: str) -> bool:
    return unicodedata.combining(char) != 0 or "\u1160" <= char <= "\u11ff"


def splits(text: str, at: int) -> bool:
    """Return True if a cut before ``text[at]`` would split a word or a grapheme cluster."""
    return _splits_word(text, at) or (0 < at < len(text) and _combines(text[at]))


def _splits_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _is_spaced_letter(text[at - 1]) and _is_spaced_letter(text[at])


def _is_spaced_letter(char: str) -> bool:
    """Return True for a letter of a script with blanks between words."""
    return char.isalnum() and not is_unspaced(char)


def is_unspaced(char: str) -> bool:
    """Return True for scripts without blanks between words: Chinese, Japanese, Thai and similar."""
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
