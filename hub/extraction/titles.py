"""Titles as parts of a sentence: whole words, closed brackets, and no marks of emphasis. Pure functions."""

import re
from typing import Final

EDGES: Final = (
    ' \t\r\n,;:.!?()[]"*_->\u2013\u2014\u2026\u201c\u201d\u201e\u00ab\u00bb'
    "\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
MAX_CHARS: Final = 200
_Pair = tuple[str, str]
_PAIRS: Final[tuple[_Pair, ...]] = (
    ("(", ")"),
    ("[", "]"),
    ("\uff08", "\uff09"),
    ("\u00ab", "\u00bb"),
    ("\u300c", "\u300d"),
)
_LOW: Final = "\u201e", "\u201c"  # quotation marks, of which the second opens others
_HIGH: Final = "\u201c", "\u201d"
_MARKS: Final = re.compile(r"\*+(?=\S)|(?<=\S)\*+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)|~~+|`+")
_EMPTY: Final = re.compile(r"(?:(?<!\s)\s++)?(?:[(\uff08]\s*+[)\uff09]|\[\s*+\])\s*")
_BEFORE_SIGN: Final = re.compile(" (?=[,.;:)](?: |$))")


def closed_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a part of a sentence with the brackets and quotation marks that it opens or closes alone."""
    for opener, closer in _pairs(text):
        opened, unopened = _single(text[start:end], opener, closer)
        if opened and (at := text.find(closer, end, end + MAX_CHARS)) >= 0:
            end = at + 1
        if unopened and (at := text.rfind(opener, max(start - MAX_CHARS, 0), start)) >= 0:
            start = at
    if text.count('"', start, end) % 2 and (at := text.find('"', end, end + MAX_CHARS)) >= 0:
        end = at + 1
    return start, end


def title_of(words: str) -> str:
    """Return *words* as a title: without marks of emphasis, signs at the ends and halves of pairs."""
    words = _EMPTY.sub(" ", _MARKS.sub("", words))
    words = _BEFORE_SIGN.sub("", " ".join(words.split()))
    pairs = _pairs(words)
    for opener, closer in pairs:
        halves = {at for places in _single(words, opener, closer) for at in places}
        if halves:
            words = "".join(char for at, char in enumerate(words) if at not in halves)
    if words.count('"') % 2:
        words = words.replace('"', "")
    start, end = len(words) - len(words.lstrip(EDGES)), max(len(words.rstrip(EDGES)), 0)
    for opener, closer in (*pairs, ('"', '"')):
        if opener in words[:start] and closer in words[start:]:
            start = words.index(opener)
        if closer in words[end:] and opener in words[start:end]:
            end = words.rindex(closer) + 1
    words = " ".join(words[start:end].split())
    return words if len(words) <= MAX_CHARS else f"{words[: MAX_CHARS - 1].rpartition(' ')[0]}\u2026"


def _pairs(text: str) -> tuple[_Pair, ...]:
    return (*_PAIRS, _LOW if _LOW[0] in text else _HIGH)


def _single(words: str, opener: str, closer: str) -> tuple[list[int], list[int]]:
    """Return the places of openers without a closer, and of closers without an opener."""
    if opener not in words and closer not in words:
        return [], []
    opened, unopened = list[int](), list[int]()
    for at, char in enumerate(words):
        if char == closer and (opened or char != opener):
            (opened.pop() if opened else unopened.append(at))
        elif char == opener:
            opened.append(at)
    return opened, unopened
