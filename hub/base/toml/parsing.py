"""Parsing of a TOML text: nesting limit, and the error for a text that is not TOML."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from hub.base.toml.positions import Position
from hub.base.toml.problems import ARRAYS_OF_TABLES, SettingsProblem, spell

_BACKSLASH: Final = (
    r"a backslash begins an escape in double quotes; write 'C:\Users' in single quotes, or C:/Users"
)


# Hints for TOML errors, by the beginning of the parser's message and of the text at its position.
_PARSER_HINTS: Final = (
    (
        "Invalid value",
        r"(True|False|yes|no|on|off|Yes|No|On|Off)\b",
        "a switch is true or false, in small letters",
    ),
    (
        "Invalid value",
        "[\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb]",
        'these quotes are curly; write straight ones, as in "text"',
    ),
    ("Invalid value", "", 'a text is written in quotes, as in key = "text"'),
    ("Invalid hex value", "", _BACKSLASH),
    ("Unescaped", "", _BACKSLASH),
    ("Illegal character '\\n'", "", "the text that begins in this line has no closing quote"),
    ("Cannot overwrite a value", "", "this key is written twice; keep one"),
    ("Expected '=' after a key", "", "write key = value, or [table] for the head of a table"),
)


_TABLE_TWICE: Final = re.compile(r"Cannot declare \((.+?),?\) twice")


def found_by_parser(message: str, *, file: str, text: str) -> SettingsProblem:
    """Convert a TOML syntax error. In Python 3.11, only the message has the position."""
    what, _, where = message.rpartition(" (at ")
    numbers = [int(word) for word in where.rstrip(")").replace(",", "").split() if word.isdigit()]
    if len(numbers) == 2:
        at = Position(*numbers)
    else:  # "at end of document"
        lines = text.split("\n")
        at = Position(len(lines), len(lines[-1]) + 1)
    message = " ".join((what or message).split())
    if twice := _TABLE_TWICE.match(message):
        return _declared_twice(file, text, at, tuple(re.findall(r"'([^']*)'", twice[1])))
    here = text.split("\n")[at.line - 1][at.column - 1 :]
    hints = (h for begins, word, h in _PARSER_HINTS if message.startswith(begins) and re.match(word, here))
    return SettingsProblem(file, at.line, at.column, "", message, next(hints, ""))


def _declared_twice(file: str, text: str, at: Position, table: tuple[str, ...]) -> SettingsProblem:
    """Return the problem of a table whose head is written twice, with the line of the first one."""
    head = re.compile(r"\s*\[{1,2}\s*" + r"\s*\.\s*".join(map(re.escape, table)) + r"\s*\]")
    first = next((n for n, line in enumerate(text.split("\n"), start=1) if head.match(line)), at.line)
    name = spell(table)
    several = f", or write [[{name}]] for each of several" if name in ARRAYS_OF_TABLES else ""
    hint = f"put the keys of both under the first head{several}"
    return SettingsProblem(file, at.line, 1, "", f"[{name}] is in line {first} already", hint)


MAX_LEVELS: Final = 64  # of tables and lists in each other; the code behind walks them by recursion


def parsed(text: str, file: str) -> dict[str, Any] | SettingsProblem:
    """Parse a text as TOML; return its problem if it cannot be used."""
    if text.startswith("\ufeff"):  # some editors write it
        message = "begins with a byte order mark, which TOML does not have"
        return SettingsProblem(file, 1, 1, "", message, "save it as UTF-8 without one")
    if not text.strip():  # an editor or a full disk cut the file off
        hint = "write it again, or a comment for the defaults; last-good.toml has the settings of before"
        return SettingsProblem(file, 1, 1, "", "the file is empty", hint)
    try:
        doc = tomllib.loads(text)
        too_deep = next(_deeper(doc, MAX_LEVELS), None)
    except ValueError as error:
        found = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a number has too many digits"
        return found_by_parser(found, file=file, text=text)
    except RecursionError:
        too_deep = "a value"
    if too_deep is not None:
        message = f"{too_deep} is nested more than {MAX_LEVELS} levels deep"
        return SettingsProblem(file, 1, 1, "", message, "no setting needs as many")
    return doc


def _deeper(value: object, levels: int) -> Iterator[str]:
    """Yield the names of the tables of a document in which something is nested deeper than that."""
    if not levels:
        yield "a value"
    elif isinstance(value, dict):
        for name, inner in value.items():
            found = _deeper(inner, levels - 1)
            yield from (f"[{name}]" if levels == MAX_LEVELS else deep for deep in found)
    elif isinstance(value, list):
        for inner in value:
            yield from _deeper(inner, levels - 1)
