"""Normalization of spellings: case, accents, widths, dashes, points. Pure functions."""

import re
import unicodedata
from typing import Final

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_DASHES: Final = re.compile(r"[\u2010-\u2015\u2212~\u301c]")
_APOSTROPHES: Final = re.compile(r"[\u2019\u2018\u02bc`\u00b4]")
_ASIDE: Final = re.compile(r"[,;!?()\[\]{}\"\u201c\u201d\u201e\u00ab\u00bb\u3001\u3002\u300a\u300b_*|\s]+")
_POINT_AFTER_LETTER: Final = re.compile(r"(?<=[^\W\d_])\.")
_SPACE_BY_HAN: Final = re.compile(rf"(?<=[{_HAN}]) | (?=[{_HAN}])")
_ISO_T: Final = re.compile(r"(?<=\d)t(?=\d\d:)")
# Traditional characters in the sayings, and their simplified forms.
_SIMPLE: Final = str.maketrans("點週後號兩個禮時鐘內間從這", "点周后号两个礼时钟内间从这")


def unmarked(text: str) -> str:
    """Remove accents and other marks from letters; Cyrillic short i and yo become i and ye."""
    apart = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).replace("\u00df", "ss")


def fold(text: str) -> str:
    """Normalize *text* for the sayings: lower case, without marks, with single spaces and plain dashes."""
    text = unmarked(unicodedata.normalize("NFKC", text).casefold()).translate(_SIMPLE)
    text = _APOSTROPHES.sub("'", _DASHES.sub("-", text))
    text = _POINT_AFTER_LETTER.sub("", _ASIDE.sub(" ", text)).strip()
    return _SPACE_BY_HAN.sub("", _ISO_T.sub(" ", text))


def has_han(text: str) -> bool:
    return re.search(f"[{_HAN}]", text) is not None


def has_cyrillic(text: str) -> bool:
    return re.search("[\u0400-\u04ff]", text) is not None


def has_latin(text: str) -> bool:
    return re.search("[a-z]", text) is not None
