"""Problems of an edit by keys, reported by key, because no line of the file has the new values."""

import tomllib
from collections.abc import Collection, Iterator, Sequence

from hub.settings.edits import path_of
from hub.settings.locate import KeyPath
from hub.settings.places import Places
from hub.settings.problems import Problem, Severity, spell


def told_of_keys(keys: Collection[str], text: str, problems: Sequence[Problem]) -> list[Problem]:
    """Return *problems*, with those of the edited *keys* assigned to the key: *text* was not written."""
    key_at = {spell(path): key for key, path in _paths(keys, text)}

    def told(problem: Problem) -> Problem:
        key = key_at.get(problem.path)
        if key is None:
            return problem
        message = f"{problem.message}; nothing was written"
        return problem._replace(file=key, line=0, column=0, path="", message=message)

    return [told(problem) for problem in problems]


def wrong_by_itself(keys: Collection[str], text: str, problems: Sequence[Problem]) -> list[Problem]:
    """Return the errors of *keys* in *text* without overrides, which would hide an invalid value."""
    told = told_of_keys(keys, text, problems)
    return [problem for problem in told if problem.file in keys and problem.severity is Severity.ERROR]


def written_in_vain(keys: Collection[str], text: str, places: Places) -> Iterator[Problem]:
    """Yield a warning for each of *keys* whose value in *text* is overridden and thus has no effect."""
    for key, path in _paths(keys, text):
        place = places.origin(path)
        if place is not None and not place.line:
            told = f"written; {place} goes before it"
            yield Problem("hub.toml", 0, 0, key, told, severity=Severity.WARNING)


def _paths(keys: Collection[str], text: str) -> list[tuple[str, KeyPath]]:
    if not keys:
        return []  # the whole text was edited, which may not be valid TOML
    doc = tomllib.loads(text)
    return [(key, path_of(key, doc)) for key in keys]
