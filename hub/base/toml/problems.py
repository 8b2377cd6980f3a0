"""Error reports about a settings file: position, message, hint, and order.

A problem never quotes the faulty value, which may be a secret.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from hub.base.printable import shell_word
from hub.base.toml.origins import TomlPositions
from hub.base.toml.positions import KeyPath, value_at
from hub.base.toml.sentences import AS_NUMBER, sentence
from protocol.errors import ErrorCode, HubError
from protocol.similar_names import did_you_mean, nearest

NamesAt = Callable[[KeyPath], Iterable[str]]  # the keys that a table may have
DefaultAt = Callable[[KeyPath], object]  # the default of a key, or None
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)")
_UNIT_S: Final = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}

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
ARRAYS_OF_TABLES: Final = (
    "agents",
    "tables",
    "templates",
    "fallback_models",
    "gateways",
    "connectors",
    "notify",
)
_HEADS_NAMED: Final = 3  # in a hint


# Severity of a problem: an error prevents the hub's start, a warning does not.
Severity = Literal["error", "warning"]


class SettingsProblem(NamedTuple):
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


def unreadable(file: str, error: OSError | UnicodeDecodeError, remedy: str) -> SettingsProblem:
    """Return the problem of a *file* that cannot be read. *remedy*: what to do if there is none."""
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start].decode().split("\n")
        return SettingsProblem(file, len(before), len(before[-1]) + 1, "", "not UTF-8")
    may_read = f"let this user read it, as its owner or root: chmod a+r {shell_word(file)}"
    hint = {FileNotFoundError: remedy, PermissionError: may_read}.get(type(error), "")
    return SettingsProblem(file, 1, 1, "", error.strerror or "cannot be read", hint)


class Reporter(NamedTuple):
    """Factory of problems at the position of a value."""

    places: TomlPositions

    def warning(self, path: KeyPath, message: str, hint: str = "") -> SettingsProblem:
        return self.error(path, message, hint)._replace(severity="warning")

    def error(self, path: KeyPath, message: str, hint: str = "") -> SettingsProblem:
        return SettingsProblem(*self.places.value(path), spell(path, self.places.doc), message, hint)


class SettingsInvalid(HubError):
    """Unusable settings; *problems* has all of their problems, by position."""

    code = ErrorCode.BAD_SETTINGS
    hint = "correct the file that is named"  # hub check reads no device.toml

    def __init__(self, problems: Iterable[SettingsProblem], hint: str = hint) -> None:
        self.problems, self.hint = in_order(problems), hint
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_order(problems: Iterable[SettingsProblem]) -> list[SettingsProblem]:
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
    whole = f"[[{listed}]]" if listed in ARRAYS_OF_TABLES else f"of {listed}"
    return f"the {_ORDINALS[number]} {whole}" if number < len(_ORDINALS) else f"number {number + 1} {whole}"


def is_secret_like(text: str) -> bool:
    """Return True if *text* contains a string in the form of a key, a token or a password."""
    return _SECRET_LIKE.search(text) is not None


def found_by_validation(
    error: ValidationError,
    *,
    doc: Mapping[str, Any],
    places: TomlPositions,
    names_at: NamesAt,
    default_at: DefaultAt,
) -> list[SettingsProblem]:
    """Convert pydantic's errors to problems with positions.

    The project's validators may add to an error's context: ``hint``, and ``key``, if they check a whole table
    but one key is at fault; ``schedule.jitter_s`` is a key of a nested table.
    """
    problems: list[SettingsProblem] = []
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
            case "tuple_type" if len(path) == 1 and path[0] in ARRAYS_OF_TABLES:
                hint = f"write [[{path[0]}]]"
            case "literal_error" | "enum" | "union_tag_invalid":
                hint = _nearest_choice(value_at(doc, path), message)
        if not place.line and "quotes" in hint:
            hint = ""  # overrides need no quotes
        problems.append(SettingsProblem(*place, spell(path, doc), message, hint))
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


def _hint_for(path: KeyPath, doc: Mapping[str, Any], places: TomlPositions, names_at: NamesAt) -> str:
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
            head = f"[[{table}]]" if path == (table,) and table in ARRAYS_OF_TABLES else f"[{spell(path)}]"
            for key in names_at(path):
                found.setdefault(key, {})[head] = None
    return {key: list(heads) for key, heads in found.items()}


def _nearest_choice(value: object, message: str) -> str:
    choices = message.split("'")[1::2]
    return did_you_mean(value, choices) if isinstance(value, str) else ""
