"""What is told of an edit by its keys: no line of a file has the values that were asked for."""

import tomllib
from collections.abc import Collection, Iterator, Sequence

from hub.settings.edits import path_of
from hub.settings.locate import KeyPath
from hub.settings.places import Places
from hub.settings.problems import Problem, Severity, spell


def told_of_keys(keys: Collection[str], text: str, problems: Sequence[Problem]) -> list[Problem]:
    """*problems*, those of *keys* told of the key itself, for *text*, which has it, was not written."""
    key_at = {spell(path): key for key, path in _paths(keys, text)}

    def told(problem: Problem) -> Problem:
        key = key_at.get(problem.path)
        if key is None:
            return problem
        message = f"{problem.message}; nothing was written"
        return problem._replace(file=key, line=0, column=0, path="", message=message)

    return [told(problem) for problem in problems]


def wrong_by_itself(keys: Collection[str], text: str, problems: Sequence[Problem]) -> list[Problem]:
    """Errors of *keys* in *text* alone: what goes before a value hides what is wrong with it."""
    told = told_of_keys(keys, text, problems)
    return [problem for problem in told if problem.file in keys and problem.severity is Severity.ERROR]


def written_in_vain(keys: Collection[str], text: str, places: Places) -> Iterator[Problem]:
    """A warning for each of *keys* in *text* that something goes before, so that its value is not used."""
    for key, path in _paths(keys, text):
        place = places.origin(path)
        if place is not None and not place.line:
            told = f"written; {place} goes before it"
            yield Problem("hub.toml", 0, 0, key, told, severity=Severity.WARNING)


def _paths(keys: Collection[str], text: str) -> list[tuple[str, KeyPath]]:
    if not keys:
        return []  # the whole text was edited, which may be no TOML
    doc = tomllib.loads(text)
    return [(key, path_of(key, doc)) for key in keys]
