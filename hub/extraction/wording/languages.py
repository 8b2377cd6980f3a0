"""Languages of the rules, read from the data files beside this module when they are first asked for."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from hub.extraction.when.language import NotationError, has_cyrillic, has_han
from hub.extraction.wording.lexicon import Lexicon, Script

_HAN: Final = re.compile("[\u4e00-\u9fff]")
_CYRILLIC: Final = re.compile("[\u0400-\u04ff]+")
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u024f]+")
FOLDER: Final = Path(__file__).parent


@cache
def languages() -> tuple[Lexicon, ...]:
    """Return all languages by their rank."""
    paths = sorted(FOLDER.glob("*.toml"))
    found = [read_language(path.stem, path.read_text(encoding="utf-8")) for path in paths]
    return tuple(sorted(found, key=lambda language: language.rank))


@cache
def languages_in(script: Script) -> tuple[Lexicon, ...]:
    """Return the languages that are written in a script."""
    return tuple(language for language in languages() if language.script == script)


def script_of(text: str) -> Script:
    """Return the script of most words of a text; two signs of Han are counted as a word."""
    if not (has_han(text) or has_cyrillic(text)):
        return "latin"
    counts: Mapping[Script, float] = {
        "han": len(_HAN.findall(text)) / 2,
        "cyrillic": len(_CYRILLIC.findall(text)),
        "latin": len(_LATIN.findall(text)),
    }
    return max(counts, key=lambda script: counts[script])


@cache
def way_fields() -> frozenset[str]:
    """Return the fields of a mail's header that tell by whom, to whom and when it was sent."""
    return frozenset(field for language in languages() for field in language.way_fields.split())


@cache
def mail_fields() -> frozenset[str]:
    """Return the fields of a mail's header, in all languages."""
    return way_fields().union(*(language.other_fields.split() for language in languages()))


def is_label(lexicon: Lexicon, words: str) -> bool:
    """Return True for words before a colon that are no person: labels, or fields of a mail's header."""
    return words.strip().lower() in mail_fields() or lexicon.match("labels", words) is not None


def is_line_of(attribute: str, words: str) -> bool:
    """Return True if a pattern of *attribute* in any language matches from the start of *words*."""
    return any(language.match(attribute, words) is not None for language in languages())


def read_language(code: str, text: str) -> Lexicon:
    """Return the language of a data file.

    Raises:
        NotationError: it is no TOML, or has a key that is missing, unknown or of another type.
    """
    try:
        written = tomllib.loads(text)
        for named in (written, written.get("time")):
            if isinstance(named, dict):
                named["code"] = code
        return msgspec.convert(written, Lexicon)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise NotationError(f"{code}.toml: {error}") from error
