"""Settings file of a hub, its overrides, and the fallback for a broken file.

After settings were applied, their text is kept as ``last-good.toml`` in the state folder; a hub with a broken
file starts with it, unless the broken file may name another database: two databases that go different ways
are worse than a hub that does not start.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from hub.atomic_file import write_atomically
from hub.clock import Clock, SystemClock
from hub.settings.problems import (
    PREFIX,
    Override,
    Problem,
    SettingsInvalid,
    Severity,
    in_environment,
)
from hub.settings.reading import Reading, check_settings, check_text
from hub.settings.settings import Settings
from hub.settings.shared import Shared
from protocol.errors import nearest

LAST_GOOD: Final = "last-good.toml"
_PRIVATE: Final = 0o600
_CLOCK: Final = SystemClock()
_COMMENT: Final = re.compile(r"(^|\s)#.*")
_HEAD: Final = re.compile(r"\[+ ?[\"']?(\w*)")  # of a table, whether the brackets are complete or not
# A line about the database in whatever table it is written: its table, or an address.
_OF_STORAGE: Final = re.compile(r"^[\"']?storage\b|\b(sqlite|postgres\w*)\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class SettingsFile:
    """Settings file of a hub.

    Attributes:
        given: overrides of the command line, which take precedence over all others.
        environ: environment; its ``HUB__`` variables override the file.
    """

    path: Path
    given: Sequence[Override] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = _CLOCK

    def read(self, shared: Shared | None = None) -> Reading:
        """Read the file, with a revision of the shared settings, and report all problems."""
        return check_settings(
            self.path,
            environ=self.environ,
            given=self.given,
            serving=True,
            clock=self.clock,
            shared=shared,
        )

    def read_text(
        self, text: str, *, name: str = "", folder: Path | None = None, shared: Shared | None = None
    ) -> Reading:
        """Read *text* as if it were the content of the file.

        Args:
            name: name of the file in problems.
            folder: base of relative paths; by default the folder of the file.
            shared: revision of the shared settings.
        """
        return check_text(
            text,
            self.path if folder is None else folder / self.path.name,
            name=name,
            environ=self.environ,
            given=self.given,
            serving=True,
            clock=self.clock,
            shared=shared,
        )

    def sets_storage(self) -> bool:
        """Return True if an override names the database, so that the file's own words do not matter."""
        overrides = [*in_environment(self.environ), *self.given]
        return any(override.path[0] == "storage" for override in overrides)

    def alone(self) -> "SettingsFile":
        """Return the same file without overrides."""
        environ = {name: value for name, value in self.environ.items() if not name.startswith(PREFIX)}
        return replace(self, given=(), environ=environ)

    def write(self, text: str) -> None:
        """Replace the file's content atomically. Raises OSError; the file is then unchanged."""
        write_atomically(self.path, text.encode(), mode=self.path.stat().st_mode & 0o777)


class OpenedSettings(NamedTuple):
    """Settings at the hub's start.

    Attributes:
        refused: problems of an unusable file; *reading* then has the last good settings.
    """

    file: SettingsFile
    reading: Reading
    refused: tuple[Problem, ...] = ()

    @property
    def settings(self) -> Settings:
        """Usable settings."""
        return self.reading.usable()


def open_settings(file: SettingsFile, state: Path, *, strict: bool = False) -> OpenedSettings:
    """Return the settings for the hub's start: those of *file*, else the last good ones.

    A broken file whose lines about the database differ from the last good ones is not replaced by them: the
    hub would go on with the database of before, while its other nodes or its operator use the new one.

    Args:
        state: folder of the last good settings.
        strict: do not fall back to the last good settings.

    Raises:
        SettingsInvalid: neither is usable; it has the problems of *file*.
    """
    reading = file.read()
    if reading.settings is not None:
        return OpenedSettings(file, reading)
    refused = SettingsInvalid(problem for problem in reading.problems if problem.severity is Severity.ERROR)
    stored = last_good(state)
    if (
        strict or stored is None or not file.path.exists()
    ):  # a missing file suggests a start in the wrong folder
        raise refused
    if not file.sets_storage() and (other := _other_storage(file, stored)):
        raise SettingsInvalid([*refused.problems, other])
    reading = file.read_text(stored, name=str(state / LAST_GOOD))
    if reading.settings is None:
        raise refused
    return OpenedSettings(file, reading, tuple(refused.problems))


def _other_storage(file: SettingsFile, stored: str) -> Problem | None:
    """Return the problem of a broken file that may name another database than the *stored* text."""
    try:
        text = file.path.read_bytes().decode(errors="replace")
    except OSError:
        text = ""
    now, before = _lines(text), _lines(stored)
    lost = set(_about_storage(before)) - set(now)
    added = [number for line, number in _about_storage(now).items() if line not in before]
    if text.strip() and not lost and not added:
        return None
    state = "differs from them" if text.strip() else "is not known"
    message = f"the hub does not start with the last good settings, because [storage] {state}"
    hint = f"correct the file; for the settings and the database of before, copy {LAST_GOOD} over it"
    return Problem(str(file.path), min(added, default=1), 1, "storage", message, hint)


def _lines(text: str) -> list[str]:
    """Return the lines of *text* without comments and indents."""
    return [" ".join(_COMMENT.sub("", line).split()) for line in text.splitlines()]


def _about_storage(lines: Sequence[str]) -> dict[str, int]:
    """Return the lines that may name the database, with their numbers; the text may be no TOML.

    Lines under a misspelt head count, too, as does a ``url`` under a head that is no table of the settings.
    """
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(lines, start=1):
        if head := _HEAD.match(line):
            table = head[1]
        is_unknown = table not in ("", *Settings.model_fields)
        is_storage = table == "storage" or (is_unknown and nearest(table, Settings.model_fields) == "storage")
        if line and (is_storage or _OF_STORAGE.search(line) or (is_unknown and line.startswith("url"))):
            found.setdefault(line, number)
    return found


def last_good(state: Path) -> str | None:
    """Return the text that was applied last, or None if it is not kept."""
    try:
        return (state / LAST_GOOD).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep_last_good(state: Path, text: str) -> None:
    """Keep the applied *text* for a start with a broken file. Raises OSError."""
    write_atomically(state / LAST_GOOD, text.encode(), mode=_PRIVATE)
