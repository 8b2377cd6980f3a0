"""Problems of a settings file, positions of its keys, and origins of its values.

A problem never quotes the faulty value, which may be a secret.

Positions of keys and values in a TOML text.

The text must have been accepted by ``tomllib``; the scanner relies on that and validates nothing. Paths have
pydantic's form: ``("agents", 1, "paths", 0)``.

Origin of a setting's value: a position in the file, or an override.

Overrides are ``HUB__LIMITS__RUNS=9`` in the environment and ``--set limits.runs=9``. The command line takes
precedence over the environment, which takes precedence over the file. Agents cannot be overridden.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from protocol.errors import ErrorCode, HubError, did_you_mean, nearest

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


class Span(NamedTuple):
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
        self.keys: dict[KeyPath, Span] = {}
        self.values: dict[KeyPath, Span] = {}
        self.headers: dict[KeyPath, Span] = {}
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
        span = Span(start, self._at)
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

    def _dotted_key(self) -> list[tuple[str, Span]]:
        """Scan and return the parts of a key; stop after the blanks that follow the key."""
        parts: list[tuple[str, Span]] = []
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
            parts.append((name, Span(start, self._at)))
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
        self.values[path] = Span(start, self._at)

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


PREFIX: Final = "HUB__"
NOWHERE: Final[Mapping[str, tuple[str, Located]]] = MappingProxyType({})


class Override(NamedTuple):
    """Override of *path* with its unparsed value. *origin* names its source for people."""

    path: tuple[str, ...]
    text: str
    origin: str


class NotAnOverride(ValueError):
    """Malformed override."""


def in_environment(environ: Mapping[str, str]) -> Iterator[Override]:
    """Yield the overrides in the environment, ordered by name."""
    for name, text in sorted(environ.items()):
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if name.startswith(PREFIX) and all(path):
            yield Override(path, text, name)


def on_command_line(words: Iterable[str]) -> Iterator[Override]:
    """Yield the overrides of ``--set TABLE.KEY=VALUE``.

    Raises:
        NotAnOverride: a word has another form.
    """
    for word in words:
        key, equals, text = word.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise NotAnOverride(f"{word!r} is not TABLE.KEY=VALUE, as in limits.runs=9")
        yield Override(path, text.strip(), f"--set {key.strip()}")


def overlaid(
    doc: Mapping[str, Any], overrides: Iterable[Override], *, is_text: Callable[[KeyPath], bool]
) -> dict[str, Any]:
    """Return a copy of *doc* with the overrides applied in order; *doc* is unchanged."""
    whole = dict(doc)
    for path, text, _ in overrides:
        table = whole
        for part in path[:-1]:
            inner = table.get(part)
            table[part] = dict(inner) if isinstance(inner, dict) else {}
            table = table[part]
        table[path[-1]] = value_of(text, is_text=is_text(path))
    return whole


def value_of(text: str, *, is_text: bool = False) -> Any:
    """Parse *text* as a TOML value; what is not TOML, or is for a setting that *is_text*, needs no quotes."""
    if is_text and not text.startswith(("'", '"')):
        return text
    try:
        read = tomllib.loads(f"x = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["x"] if len(read) == 1 else text


class Place(NamedTuple):
    """Position in a file; numbers count from 1, columns in code points. Line 0: *file* names an override."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Places:
    """Positions of one reading's values; an overridden value has the origin of its override.

    Args:
        doc: all tables, with the overrides applied.
        elsewhere: name and positions of the text that has a table, for each table that is not of *file*.
    """

    def __init__(
        self,
        file: str,
        located: Located,
        doc: Mapping[str, Any],
        overrides: Iterable[Override] = (),
        *,
        elsewhere: Mapping[str, tuple[str, Located]] = NOWHERE,
    ) -> None:
        self.doc = doc
        self._texts: dict[int | str | None, tuple[str, Located]] = {None: (file, located)}
        self._texts.update(elsewhere)
        self._overrides: dict[KeyPath, str] = {each.path: each.origin for each in overrides}

    def has(self, path: KeyPath) -> bool:
        """Return True if *path* has a value in the file or an override."""
        return self._override(path) is not None or self._text(path)[1].has(path)

    def key(self, path: KeyPath) -> Place:
        """Return the position of the key at *path*."""
        file, located = self._text(path)
        return self._override(path) or Place(file, *located.key(path))

    def value(self, path: KeyPath) -> Place:
        """Return the position of the value at *path*, else of its nearest table."""
        file, located = self._text(path)
        return self._override(path) or Place(file, *located.value(path))

    def origin(self, path: KeyPath) -> Place | None:
        """Return the origin of the value at *path*, or None if it is the default."""
        return self.value(path) if self.has(path) else None

    def _override(self, path: KeyPath) -> Place | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return Place(self._overrides[path[:length]])
        if path and not self._text(path)[1].has(path):  # a table that exists only in overrides
            for inner, origin in self._overrides.items():
                if inner[: len(path)] == path:
                    return Place(origin)
        return None

    def _text(self, path: KeyPath) -> tuple[str, Located]:
        return self._texts.get(path[0] if path else None, self._texts[None])


class Sentence(NamedTuple):
    """Problem and remedy; *hint* may be empty."""

    message: str
    hint: str = ""


AS_NUMBER: Final = "write a number without quotes"
_OF_NAMES: Final = "letters, digits, _ . and -, at most 64 of them; the first no . and no -"


def sentence(kind: str, message: str, value: object, context: Mapping[str, Any]) -> Sentence:
    """Return the message for an error of *kind*.

    Args:
        message: pydantic's message, used for kinds without a message of the project.
        value: the invalid value; examined, but never quoted.
        context: further data of the error, from pydantic or from the project's validators.
    """
    make = _SENTENCES.get(kind)
    made = Sentence(message) if make is None else make(value, context)
    return made._replace(hint=context.get("hint", made.hint))


def _whole(value: object, _: Mapping[str, Any]) -> Sentence:
    if isinstance(value, float):
        return Sentence("a whole number is expected", "write it without a decimal point")
    return Sentence("a whole number is expected", AS_NUMBER if isinstance(value, str) else "")


def _number(value: object, _: Mapping[str, Any]) -> Sentence:
    return Sentence("a number is expected", AS_NUMBER if isinstance(value, str) else "")


def _flag(value: object, _: Mapping[str, Any]) -> Sentence:
    hint = "without quotes" if isinstance(value, str) else "as in key = true"
    return Sentence("true or false is expected", hint)


def _text(value: object, _: Mapping[str, Any]) -> Sentence:
    return Sentence("a text is expected", "" if isinstance(value, dict | list) else "write a text in quotes")


def _bound(word: str, key: str) -> Callable[[object, Mapping[str, Any]], Sentence]:
    return lambda _, context: Sentence(f"{word} {_spelled(context[key])}")


def _spelled(bound: float) -> str:
    return f"{int(bound) if bound == int(bound) else bound:_}"


def _pattern(_: object, context: Mapping[str, Any]) -> Sentence:
    if r"[\w.-]" in context["pattern"]:
        return Sentence("not a valid name", _OF_NAMES)
    if "{64}" in context["pattern"]:
        return Sentence("not the whole of a SHA-256", "64 digits and letters from a to f")
    return Sentence("has characters that are not allowed here")


def _always(message: str, hint: str = "") -> Callable[[object, Mapping[str, Any]], Sentence]:
    """Return a function that fills the error's context into *message*."""
    return lambda _, context: Sentence(message.format(**context), hint)


_SENTENCES: Final[Mapping[str, Callable[[object, Mapping[str, Any]], Sentence]]] = {
    "int_type": _whole,
    "int_parsing": _whole,
    "int_from_float": _whole,
    "datetime_from_date_parsing": _always("a point in time is expected", "as in 2026-01-05T09:00:00Z"),
    "datetime_parsing": _always("a point in time is expected", "as in 2026-01-05T09:00:00Z"),
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": _always("inf and nan are no limits"),
    "bool_type": _flag,
    "bool_parsing": _flag,
    "string_type": _text,
    "path_type": _text,
    "greater_than": _bound("must be more than", "gt"),
    "greater_than_equal": _bound("must be at least", "ge"),
    "less_than": _bound("must be less than", "lt"),
    "less_than_equal": _bound("must be at most", "le"),
    "string_too_short": lambda _, context: Sentence(
        "may not be empty" if context["min_length"] == 1 else f"at least {context['min_length']} characters"
    ),
    "string_too_long": _always("longer than {max_length} characters"),
    "too_short": _always("may not be empty"),
    "too_long": _always("more than {max_length} are given"),
    "literal_error": _always("must be {expected}"),
    "enum": _always("must be {expected}"),
    "union_tag_invalid": lambda _, context: Sentence(
        f"must be {context['expected_tags'].replace(', ', ' or ')}"
    ),
    "union_tag_not_found": _always("missing"),
    "missing": _always("missing"),
    "extra_forbidden": _always("there is no such field"),
    "json_invalid": _always("is no JSON"),
    "string_pattern_mismatch": _pattern,
    "tuple_type": _always("a list is expected", 'as in ["one", "another"]'),
    "model_type": _always("a table is expected"),
    "model_attributes_type": _always("a table is expected"),
    "dict_type": _always("a table is expected"),
    "dataclass_type": _always("a table is expected"),
}


_BACKSLASH: Final = (
    r"a backslash begins an escape in double quotes; write 'C:\Users' in single quotes, or C:/Users"
)
NamesAt = Callable[[KeyPath], Iterable[str]]  # the keys that a table may have
DefaultAt = Callable[[KeyPath], object]  # the default of a key, or None
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)")
_UNIT_S: Final = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
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

_NAME: Final = re.compile(r"\w[\w.-]{0,63}")
_ORDINALS: Final = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
# Forms of providers' keys and of the hub's own tokens.
_SECRET_LIKE: Final = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|hub_(dev|inv|op)_\w{8,}|gh[pousr]_\w{16,}|xox[abprs]-\S{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s@]+@"
)
# Arrays of tables.
_LISTED: Final = ("agents", "tables", "templates", "fallback_models", "gateways", "connectors", "notify")
_HEADS_NAMED: Final = 3  # in a hint


# Severity of a problem: an error prevents the hub's start, a warning does not.
Severity = Literal["error", "warning"]


class Problem(NamedTuple):
    """Line of the output of ``hub check``. *line* and *column* count from 1, in code points.

    Line 0: *file* names an override instead of a file.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        at = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        hint = f" - {self.hint}" if self.hint else ""
        return f"{at}: {self.severity}: {path}{self.message}{hint}"


class Reporter(NamedTuple):
    """Factory of problems at the position of a value."""

    places: Places

    def warning(self, path: KeyPath, message: str, hint: str = "") -> Problem:
        return self.error(path, message, hint)._replace(severity="warning")

    def error(self, path: KeyPath, message: str, hint: str = "") -> Problem:
        return Problem(*self.places.value(path), spell(path, self.places.doc), message, hint)


class SettingsInvalid(HubError):
    """Unusable settings; *problems* has all of their problems, by position."""

    code = ErrorCode.BAD_SETTINGS
    hint = "correct the file that is named"  # hub check reads no device.toml

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by position and remove duplicates."""
    return sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem))


def spell(path: KeyPath, doc: object = None) -> str:
    """Spell a key path as people write it: ``agents.notes.paths``, or ``name of the third [[agents]]``.

    Args:
        doc: document with the names of list entries. An entry without a usable name has its place in words.
    """
    entry, keys = "", list[str]()
    for part in path:
        doc = value_at(doc, (part,))
        if isinstance(part, str):
            keys.append(part)
        elif name := _usable_name(doc):
            keys.append(name)
        else:
            entry, keys = _in_words(part, _joined(keys, entry)), []
    return _joined(keys, entry)


def _joined(keys: Iterable[str], entry: str) -> str:
    return " of ".join(filter(None, (".".join(keys), entry)))


def _usable_name(entry: object) -> str:
    """Return the name of a list's entry; empty if it has none, or a value that may not be quoted."""
    named = (value_at(entry, (key,)) for key in ("name", "label"))
    name = next((value for value in named if isinstance(value, str)), "")
    return name if _NAME.fullmatch(name) and not is_secret_like(name) else ""


def _in_words(number: int, listed: str) -> str:
    whole = f"[[{listed}]]" if listed in _LISTED else f"of {listed}"
    return f"the {_ORDINALS[number]} {whole}" if number < len(_ORDINALS) else f"number {number + 1} {whole}"


def is_secret_like(text: str) -> bool:
    """Return True if *text* contains a string in the form of a key, a token or a password."""
    return _SECRET_LIKE.search(text) is not None


def found_by_validation(
    error: ValidationError,
    *,
    doc: Mapping[str, Any],
    places: Places,
    names_at: NamesAt,
    default_at: DefaultAt,
) -> list[Problem]:
    """Convert pydantic's errors to problems with positions.

    The project's validators may add to an error's context: ``hint``, and ``key``, if they check a whole table
    but one key is at fault; ``schedule.jitter_s`` is a key of a nested table.
    """
    problems: list[Problem] = []
    listed = error.errors(include_url=False)
    for found in listed:
        if found["type"] == "too_short" and any(_is_inside(other["loc"], found["loc"]) for other in listed):
            continue  # only empty because of its items' errors, which are reported
        context = found.get("ctx", {})
        path = _path_in(doc, found["loc"], has_value=found["type"] != "missing")
        if "key" in context:
            path = (*path, *(int(part) if part.isdigit() else part for part in context["key"].split(".")))
        if found["type"] in ("union_tag_not_found", "union_tag_invalid"):
            path = (*path, "kind")
        message, hint = sentence(found["type"], found["msg"], found["input"], context)
        place = places.value(path)
        if hint in ("", AS_NUMBER):
            hint = _with_example(hint, path, found["input"], default_at)
        match found["type"]:
            case "extra_forbidden":
                message = "unknown table" if isinstance(found["input"], dict) else "unknown key"
                hint = _hint_for(path, doc, places, names_at)
                place = places.key(path)
            case "missing" | "union_tag_not_found":
                place = places.value(path[:-1])
            case "tuple_type" if len(path) == 1 and path[0] in _LISTED:
                hint = f"write [[{path[0]}]]"
            case "literal_error" | "enum" | "union_tag_invalid":
                hint = _nearest_choice(value_at(doc, path), message)
        if not place.line and "quotes" in hint:
            hint = ""  # overrides need no quotes
        problems.append(Problem(*place, spell(path, doc), message, hint))
    return problems


def _with_example(hint: str, path: KeyPath, value: object, default_at: DefaultAt) -> str:
    """Return *hint* with a number to write: that of a spelled duration, else the default."""
    key, per_unit = str(path[-1]) if path else "", 0
    if key.endswith("_s"):
        per_unit = 1
    elif key.endswith("_days"):
        per_unit = 86_400
    if per_unit and isinstance(value, str) and (spelled := _DURATION.fullmatch(value.strip().lower())):
        number = float(spelled[1]) * _UNIT_S[spelled[2]] / per_unit
        unit = "seconds" if per_unit == 1 else "days"
        if number == int(number) and number:
            return f"write the number of {unit}, as in {int(number)}"
    default = default_at(path)
    if isinstance(default, int | float) and not isinstance(default, bool):
        return f"{hint}, as in {key} = {default:.15g}".removeprefix(", ")
    return hint


def found_by_parser(message: str, *, file: str, text: str) -> Problem:
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
    return Problem(file, at.line, at.column, "", message, next(hints, ""))


def _declared_twice(file: str, text: str, at: Position, table: tuple[str, ...]) -> Problem:
    """Return the problem of a table whose head is written twice, with the line of the first one."""
    head = re.compile(r"\s*\[{1,2}\s*" + r"\s*\.\s*".join(map(re.escape, table)) + r"\s*\]")
    first = next((n for n, line in enumerate(text.split("\n"), start=1) if head.match(line)), at.line)
    name = spell(table)
    several = f", or write [[{name}]] for each of several" if name in _LISTED else ""
    hint = f"put the keys of both under the first head{several}"
    return Problem(file, at.line, 1, "", f"[{name}] is in line {first} already", hint)


def _is_inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _path_in(doc: Mapping[str, Any], loc: tuple[int | str, ...], *, has_value: bool) -> KeyPath:
    """Remove from *loc* the names of union members, which pydantic adds.

    The last part of a missing key's path is kept; all other parts exist in the document.
    """
    path: list[int | str] = []
    here: Any = doc
    for number, part in enumerate(loc, start=1):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]  # a number where it is a list
            path.append(part)
        elif number == len(loc) and not has_value:
            path.append(part)
    return tuple(path)


def _hint_for(path: KeyPath, doc: Mapping[str, Any], places: Places, names_at: NamesAt) -> str:
    """Return a hint for an unknown key: a similar key that the table does not have yet."""
    table, unknown = path[:-1], str(path[-1])
    known = list(names_at(table))
    if unknown in known:
        return "another kind of this table has it"
    values = value_at(doc, table)
    is_in_file = bool(places.key(path).line)
    taken = [
        name
        for name in known
        if isinstance(values, dict) and name in values and bool(places.key((*table, name)).line) == is_in_file
    ]
    if not table and (elsewhere := _elsewhere(unknown, names_at, is_in_table=False)):
        return elsewhere  # the same key is nearer than a similar table
    if near := nearest(unknown, known):
        return f"'{near}' is set already" if near in taken else f"did you mean '{near}'?"
    return _elsewhere(unknown, names_at, is_in_table=bool(table))


def _elsewhere(unknown: str, names_at: NamesAt, *, is_in_table: bool) -> str:
    """Return a hint with the tables that have such a key."""
    if not (heads := _tables_by_key(names_at).get(unknown)):
        return ""
    named = [*heads] if len(heads) <= _HEADS_NAMED else [*heads[:_HEADS_NAMED], "another table"]
    listed = " or ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    if is_in_table:
        return f"a key of {listed}"
    entry = "an entry of " if heads[0].startswith("[[") else ""
    return f"the hub itself has no such key: it belongs to {entry}{listed}, below that line"


@cache
def _tables_by_key(names_at: NamesAt) -> dict[str, list[str]]:
    """Return the heads of the tables that have each key, once: a file may have thousands of unknown keys."""
    found: dict[str, dict[str, None]] = {}
    for table in names_at(()):
        for path in ((table,), *((table, inner) for inner in names_at((table,)))):
            head = f"[[{table}]]" if path == (table,) and table in _LISTED else f"[{spell(path)}]"
            for key in names_at(path):
                found.setdefault(key, {})[head] = None
    return {key: list(heads) for key, heads in found.items()}


def _nearest_choice(value: object, message: str) -> str:
    choices = message.split("'")[1::2]
    return did_you_mean(value, choices) if isinstance(value, str) else ""
