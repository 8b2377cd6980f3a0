"""Settings that all nodes share: which tables of hub.toml these are, and a revision of them.

A revision is a text with those tables, stored in the database. While one is in use, its tables replace those
of each node's own file.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from hub.settings.problems import Located, document
from hub.settings.settings import Settings

# Tables about the machine of a node, or needed before the database is open.
OWN: Final = ("hub", "listen", "storage", "cluster", "log", "reload", "outbound", "plugins", "backup")
SHARED: Final = tuple(name for name in Settings.model_fields if name not in OWN)
MARK: Final = "# settings revision {}"  # first line of a revision
_MARKED: Final = re.compile(r"# settings revision (\d{1,15})\r?(?:\n|$)")


class Shared(NamedTuple):
    """Revision of the shared settings. *text*: None if each node uses its own file alone."""

    number: int
    text: str | None

    @property
    def name(self) -> str:
        """Name of the text in problems and origins."""
        return f"settings revision {self.number}"


def ignored_tables(own: Mapping[str, Any]) -> list[str]:
    """Return the tables of a node's file that a revision replaces."""
    return [name for name in own if name in SHARED]


def merged(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the own tables of a node's file with the shared ones of a revision; unknown ones stay."""
    return {name: value for name, value in own.items() if name not in SHARED} | {
        name: value for name, value in shared.items() if name not in OWN
    }


def has_shared_tables(text: str) -> bool:
    """Return True if the text has a table that all nodes share."""
    return any(name in SHARED for name in document(text))


class RevisionText(NamedTuple):
    """Text of a revision. *lines*: the number that each of its lines has in the text it was made of."""

    text: str
    lines: tuple[int, ...]

    def line(self, number: int) -> int:
        """Return the number of a line in the text that the revision was made of."""
        return self.lines[min(number, len(self.lines)) - 1]


def revision_text(text: str, number: int) -> RevisionText:
    """Return the text of a hub.toml as that of revision *number*: without a node's own tables."""
    text = text.replace("\r\n", "\n").rstrip()
    lines = text.split("\n")
    own = {
        line
        for first, behind, table in (_parts(text) if document(text) else ())
        if table in OWN
        for line in range(first, behind)
    }
    own |= {0} if revision_of(text) is not None else set()
    left = [line for line in range(len(lines)) if line not in own]
    while left and not lines[left[-1]]:
        left.pop()
    shown = [MARK.format(number), *(lines[line] for line in left)]
    return RevisionText("\n".join(shown) + "\n", (1, *(line + 1 for line in left)))


def revision_tag(number: int) -> str:
    """Return the strong entity tag of a revision; 0 is none."""
    return f'"{number}"'


def revision_of(text: str) -> int | None:
    """Return the number of the revision that a text was made of, as its first line says."""
    found = _MARKED.match(text)
    return None if found is None else int(found[1])


def _parts(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield first line, line behind and table of each head with its keys, and of each key before all heads.

    Comments directly above belong to it.
    """
    starts = Located(text).starts
    lines = text.split("\n")
    firsts = []
    for offset, _ in starts:
        first = text.count("\n", 0, offset)
        while first and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        firsts.append(first)
    for number, (_, table) in enumerate(starts):
        behind = firsts[number + 1] if number + 1 < len(firsts) else len(lines)
        if behind > firsts[number]:
            yield firsts[number], behind, table
