"""Text of others made safe to print: nothing in it drives a terminal, hides, or reads backwards."""

import re
from typing import Final

# C0 without tab and line feed, DEL, C1, separators of lines, controls of direction, halves of characters.
# Joiners stay: languages and emoji are written with them.
_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Spell out every control character of *text* but line feeds and tabs."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Spell out every control character of *text*; a line feed or a tab becomes a blank."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def spelled(text: str) -> str:
    """Spell out every control character of *text*, line feeds and tabs too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def printable_json(text: str) -> str:
    r"""Spell out every control character in the strings of *text*, which is JSON and stays so."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
