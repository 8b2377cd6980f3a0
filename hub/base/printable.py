"""Escaping of untrusted text for terminals and shells: control, hidden and reversed characters."""

import json
import re
import shlex
from typing import Final

# C0 without tab and line feed, DEL, C1, separators of lines, controls of direction, halves of characters,
# and characters without a width: soft hyphens, zero-width spaces, invisible operators, fillers, tags and the
# selectors that no emoji uses. One joiner stays after a letter or an emoji that may be written with it.
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
_NOT_TYPED: Final = re.compile(f"[{_CONTROL}]")
TYPED: Final = rf"^(?!\s*$)[^{_CONTROL}]+$"  # a text without ``typed_problem``, in a schema
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")  # escaped surrogate; two in a row make a whole character
_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")  # as "surrogatepass" encodes it
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()
MAX_LONE_SURROGATES: Final = 8_192  # each takes time of the caller, which may be the event loop
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")  # halves of characters, which stand for other bytes
CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U000e0000-\U000e0fff][\u200c\u200d]*"
    "|(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]"
)

NOT_QUOTED: Final = " (the quote does not say this)"  # behind a value that others propose
_LONG: Final = re.compile(r"""(?<!\w)(?:'[^'\n]{200,}+'|"[^"\n]{200,}+")|\S{201,}+""")


def printable(text: str) -> str:
    """Spell out every control character of *text* but line feeds and tabs."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str) -> str:
    """Cut each quotation and word of *text* that has more than 200 characters, as a message repeats them."""
    return _LONG.sub(lambda found: f"{found[0][:80]}…{found[0][-20:]} ({len(found[0])} characters)", text)


def one_line(text: str) -> str:
    """Spell out every control character of *text*; a line feed or a tab becomes a blank."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def spelled(text: str) -> str:
    """Spell out every control character of *text*, line feeds and tabs too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shell_word(word: object) -> str:
    """Return a word of a command, as a path or address, that a shell takes as it is; it is no option.

    Control characters are escapes, so that ``printable`` changes nothing of the word.
    """
    text = f"./{word}" if str(word).startswith("-") else str(word)
    if one_line(text) == text:
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if one_line(character) == character:
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable_json(text: str) -> str:
    r"""Spell out every control character in the strings of *text*, which is JSON and stays so."""
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def typed_problem(text: str, most: int, *, blanks: str = "") -> str:
    """Return why a person cannot mean *text* as a value; an empty text if it is no such.

    Args:
        most: maximum number of characters.
        blanks: control characters that the value may have.
    """
    if not text:
        return "is empty"
    if text.isspace():
        return "is blank"
    if len(text) > most:
        return f"has {len(text)} characters; at most {most} are allowed"
    if any(found[0] not in blanks for found in _NOT_TYPED.finditer(text)):
        return "has control characters"
    return "is no UTF-8" if _NO_UTF8.search(text) else ""


def with_whole_characters(data: bytes | str) -> bytes | None:
    """Return a JSON text with U+FFFD for lone surrogates.

    A program in JavaScript may cut a text between two surrogates. It then sends the lone one as an escape.
    ``read_json`` refuses such a JSON text.

    Returns:
        None: it has none, more than MAX_LONE_SURROGATES, or other mistakes.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        if not _HALF.search(text):
            return None
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None
    mended, count = _SURROGATE.subn(_REPLACEMENT, whole, count=MAX_LONE_SURROGATES + 1)
    return mended if count <= MAX_LONE_SURROGATES else None
