"""What is wrong with a settings file, and where: ``file:line:column: error: path: message - hint``.

A problem never repeats the value it complains about, which may be a secret.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import ValidationError

from hub.ops.locate import KeyPath, Located, Position
from protocol.errors import ErrorCode, HubError

NamesAt = Callable[[KeyPath], Iterable[str]]  # the keys that a table may have


class Severity(StrEnum):
    """An error keeps the hub from starting; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One line of ``hub check``. *line* and *column* count from 1, in code points."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        hint = f" - {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {path}{self.message}{hint}"


class SettingsInvalid(HubError):
    """The settings cannot be used; *problems* has all that is wrong with them, by position."""

    code = ErrorCode.BAD_SETTINGS

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sorted by position, each once."""
    return sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem))


def spell(path: KeyPath) -> str:
    """A key path as people write it: ``agents.0.name``."""
    return ".".join(str(part) for part in path)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of *known*; empty when none is near."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def found_by_validation(
    error: ValidationError, *, file: str, doc: Mapping[str, Any], located: Located, names_at: NamesAt
) -> list[Problem]:
    """What pydantic found, put where it stands in the text.

    A validator of ours may say more in its error's context: ``hint``, and ``key`` when it
    judged a whole table and one of its keys is to blame; ``schedule.jitter_s`` is one of a table in it.
    """
    problems: list[Problem] = []
    for found in error.errors(include_url=False):
        context = found.get("ctx", {})
        path = _path_in(doc, found["loc"], is_there=found["type"] != "missing")
        if "key" in context:
            path = (*path, *context["key"].split("."))
        message, hint = found["msg"], context.get("hint", "")
        position = located.value(path)
        match found["type"]:
            case "extra_forbidden":
                message = "unknown table" if isinstance(found["input"], dict) else "unknown key"
                hint = _hint_for(str(path[-1]), names_at(path[:-1]))
                position = located.key(path)
            case "missing":
                message = "missing"
                position = located.value(path[:-1])
            case "union_tag_not_found":
                path = (*path, "kind")
                message = "missing"
            case "tuple_type":
                message = "a list is expected"
                hint = "write [[agents]]" if path == ("agents",) else 'as in ["one", "another"]'
            case "model_type" | "model_attributes_type" | "dict_type" | "dataclass_type":
                message = "a table is expected"
            case "too_short":
                message = "may not be empty"
            case "literal_error" | "enum" | "union_tag_invalid":
                if found["type"] == "union_tag_invalid":
                    path = (*path, "kind")
                    position = located.value(path)
                    message = f"Input should be {context['expected_tags']}"
                hint = _nearest_choice(_value_at(doc, path), message)
        problems.append(Problem(file, position.line, position.column, spell(path), message, hint))
    return problems


def found_by_parser(message: str, *, file: str, text: str) -> Problem:
    """A TOML syntax error. Python 3.11 tells the position in the message alone."""
    what, _, where = message.rpartition(" (at ")
    numbers = [int(word) for word in where.rstrip(")").replace(",", "").split() if word.isdigit()]
    if len(numbers) == 2:
        at = Position(*numbers)
    else:  # "at end of document"
        lines = text.split("\n")
        at = Position(len(lines), len(lines[-1]) + 1)
    return Problem(file, at.line, at.column, "", what or message)


def _path_in(doc: Mapping[str, Any], loc: tuple[int | str, ...], *, is_there: bool) -> KeyPath:
    """*loc* without the parts that pydantic adds: names of union members.

    What is missing is the last part of its own path; all else is there.
    """
    path: list[int | str] = []
    here: Any = doc
    for number, part in enumerate(loc, start=1):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]  # a number where it is a list
            path.append(part)
        elif number == len(loc) and not is_there:
            path.append(part)
    return tuple(path)


def _hint_for(unknown: str, names: Iterable[str]) -> str:
    known = list(names)
    return "another kind of this table has it" if unknown in known else did_you_mean(unknown, known)


def _value_at(doc: Mapping[str, Any], path: KeyPath) -> object:
    here: Any = doc
    for part in path:
        here = here[part]
    return here


def _nearest_choice(value: object, message: str) -> str:
    choices = message.split("'")[1::2]
    return did_you_mean(value, choices) if isinstance(value, str) else ""
