"""Line and column of each key and value in a TOML text.

The text must have been accepted by ``tomllib``; the scanner relies on that and validates nothing. Paths have
pydantic's form: ``("agents", 1, "paths", 0)``.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

KeyPath = tuple[int | str, ...]


_TRIVIA = re.compile(r"(?:[ \t\n]|#[^\n]*)*")


_BLANK = re.compile(r"[ \t]*")


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


_BASIC_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


_LITERAL_STRING = re.compile(r"'[^'\n]*'")


# Up to two quotes may precede the closing three.
_LONG_BASIC = re.compile(r'"""(?:[^\\"]|\\[\s\S]|"(?!""))*?"""(?:"{1,2})?')


_LONG_LITERAL = re.compile(r"'''[\s\S]*?'''(?:'{1,2})?")


_SCALAR = re.compile(
    r"[ \t]*+[^,\]}#\n \t]++(?>(?:[ \t]++[^,\]}#\n \t]++)*)"
)  # a number, a boolean, a date with a space in it


def document(text: str) -> dict[str, Any]:
    """Return the tables of a text; empty if it is not valid TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # the former also for a number of thousands of digits
        return {}


def value_at(doc: object, path: KeyPath) -> object:
    """Return the value of a document at *path*, or None without one."""
    here = doc
    for part in path:
        match here, part:
            case Mapping(), str():
                here = here.get(part)
            case list(), int():
                here = here[part]
            case _:
                return None
    return here


class Position(NamedTuple):
    """Position in the text; both numbers count from 1, columns in code points."""

    line: int
    column: int


class OffsetRange(NamedTuple):
    """Range from *start* to *end*, exclusive: offsets into the text with ``\\n`` line ends."""

    start: int
    end: int


class Located:
    """Positions of a text's keys and values."""

    def __init__(self, text: str) -> None:
        scanner = _Scanner(text.replace("\r\n", "\n"))
        scanner.scan()
        self.keys = scanner.keys
        self.values = scanner.values
        self.starts = scanner.starts  # offset and table of each header, and of each key before all headers
        self._headers = scanner.headers
        self._text = scanner.text

    def has(self, path: KeyPath) -> bool:
        """Return True if the text has a value at *path*."""
        return path in self.values

    def key(self, path: KeyPath) -> Position:
        """Return the position of the key at *path*; without a key (in an array), that of its value."""
        span = self.keys.get(path)
        return self.value(path) if span is None else self._position(span.start)

    def value(self, path: KeyPath) -> Position:
        """Return the position of the value at *path*, else of its nearest table, that is, its header."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.values:
                return self._position(self.values[path[:length]].start)
        return Position(1, 1)

    def end_of(self, table: KeyPath) -> int | None:
        """Return the offset after the last value of the table with this header, or None without a header.

        Offsets refer to the text with ``\\n`` line ends.
        """
        header = self._headers.get(table)
        if header is None:
            return None
        following = [other.start for other in self._headers.values() if other.start > header.start]
        ends = min(following, default=len(self._text))
        return max(span.end for span in self.values.values() if header.start <= span.start < ends)

    def lines_of(self, entry: KeyPath) -> tuple[int, int]:
        """Return the number, from 0, of an entry's first line, and of the line after its last value."""
        start = self.values[entry].start
        inside = (span.end for path, span in self.values.items() if path[: len(entry)] == entry)
        return self._text.count("\n", 0, start), self._text.count("\n", 0, max(inside)) + 1

    def _position(self, offset: int) -> Position:
        before = self._text.rfind("\n", 0, offset)
        return Position(self._text.count("\n", 0, offset) + 1, offset - before)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[KeyPath, OffsetRange] = {}
        self.values: dict[KeyPath, OffsetRange] = {}
        self.headers: dict[KeyPath, OffsetRange] = {}
        self.starts: list[tuple[int, str]] = []
        self._at = 0
        self._table_counts: dict[KeyPath, int] = {}  # number of tables seen in each array of tables

    def scan(self) -> None:
        table: KeyPath = ()
        self._skip(_TRIVIA)
        while self._at < len(self.text):
            start = self._at
            if self.text[start] == "[":
                table = self._header()
                self.starts.append((start, str(table[0])))
            elif table:
                self._pair(table)
            else:
                self.starts.append((start, self._pair(table)))
            self._skip(_TRIVIA)

    def _header(self) -> KeyPath:
        start = self._at
        is_array = self.text.startswith("[[", start)
        self._at += 2 if is_array else 1
        parts = self._dotted_key()
        self._at += 2 if is_array else 1
        span = OffsetRange(start, self._at)
        path: KeyPath = ()
        for number, (part, part_span) in enumerate(parts, start=1):
            path = (*path, part)
            self.keys.setdefault(path, part_span)
            self.values.setdefault(path, span)
            if number == len(parts):
                if is_array:
                    self._table_counts[path] = self._table_counts.get(path, 0) + 1
                else:  # its own header, even if a nested table came first
                    self.keys[path], self.values[path] = part_span, span
            if path in self._table_counts:  # below this path, the newest table of the array is meant
                path = (*path, self._table_counts[path] - 1)
                self.values.setdefault(path, span)
        self.headers[path] = span
        return path

    def _pair(self, table: KeyPath) -> str:
        """Scan a key with its value; return the first part of the key."""
        path = table
        parts = self._dotted_key()
        for part, span in parts:
            path = (*path, part)
            self.keys.setdefault(path, span)
            # For the tables of a dotted key; the value of the last part is set below.
            self.values.setdefault(path, span)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)
        return parts[0][0]

    def _dotted_key(self) -> list[tuple[str, OffsetRange]]:
        """Scan and return the parts of a key; stop after the blanks that follow the key."""
        parts: list[tuple[str, OffsetRange]] = []
        while True:
            self._skip(_BLANK)
            start = self._at
            match self.text[start]:
                case '"':
                    self._skip(_BASIC_STRING)
                case "'":
                    self._skip(_LITERAL_STRING)
                case _:
                    self._skip(_BARE_KEY)
            spelled = self.text[start : self._at]
            name = _read(spelled) if spelled[0] in "\"'" else spelled
            parts.append((name, OffsetRange(start, self._at)))
            self._skip(_BLANK)
            if self.text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        start = self._at
        if self.text.startswith('"""', start):
            self._skip(_LONG_BASIC)
        elif self.text.startswith("'''", start):
            self._skip(_LONG_LITERAL)
        else:
            match self.text[start]:
                case '"':
                    self._skip(_BASIC_STRING)
                case "'":
                    self._skip(_LITERAL_STRING)
                case "[":
                    self._array(path)
                case "{":
                    self._inline_table(path)
                case _:
                    self._skip(_SCALAR)
        self.values[path] = OffsetRange(start, self._at)

    def _array(self, path: KeyPath) -> None:
        self._at += 1  # the opening bracket
        count = 0
        while not self._closes("]"):
            self._value((*path, count))
            count += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1  # the opening brace
        while not self._closes("}"):
            self._pair(path)

    def _closes(self, close: str) -> bool:
        """Skip to the next element. Return True if *close* follows, after skipping *close*."""
        self._skip(_TRIVIA)
        if self.text[self._at] == ",":
            self._at += 1
            self._skip(_TRIVIA)
        if self.text[self._at] != close:
            return False
        self._at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self._at)
        if found is not None:
            self._at = found.end()


def _read(spelled: str) -> str:
    name = tomllib.loads(f"x = {spelled}")["x"]
    assert isinstance(name, str)
    return name
