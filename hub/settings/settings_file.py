"""The file that a hub's settings come from, what goes before it, and what is left of it when it is broken.

After each settings that were taken up the text is kept as ``last-good.toml`` in the
state folder; a hub whose file is broken starts on that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from hub.clock import Clock, SystemClock
from hub.settings.atomic import write_atomically
from hub.settings.overrides import PREFIX, Override
from hub.settings.problems import Problem, SettingsInvalid, Severity
from hub.settings.reading import Reading, check_settings, check_text
from hub.settings.settings import Settings

LAST_GOOD: Final = "last-good.toml"
_PRIVATE: Final = 0o600
_CLOCK: Final = SystemClock()


@dataclass(frozen=True)
class SettingsFile:
    """hub.toml of one hub.

    Attributes:
        given: what the command line sets; it goes before all else.
        environ: its ``HUB__`` variables go before the file.
    """

    path: Path
    given: Sequence[Override] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = _CLOCK

    def read(self) -> Reading:
        """What it says now, with all that is wrong with it."""
        return check_settings(
            self.path, environ=self.environ, given=self.given, serving=True, clock=self.clock
        )

    def read_text(self, text: str, *, name: str = "", folder: Path | None = None) -> Reading:
        """What it would say if *text* stood in it.

        Args:
            name: what it is called in problems then.
            folder: where relative paths begin then; by default where it lies.
        """
        return check_text(
            text,
            self.path if folder is None else folder / self.path.name,
            name=name,
            environ=self.environ,
            given=self.given,
            serving=True,
            clock=self.clock,
        )

    def alone(self) -> "SettingsFile":
        """The same file, with nothing that goes before it."""
        environ = {name: value for name, value in self.environ.items() if not name.startswith(PREFIX)}
        return replace(self, given=(), environ=environ)

    def write(self, text: str) -> None:
        """Put *text* into it, whole or not at all. Raises OSError; it then stands as it was."""
        write_atomically(self.path, text.encode(), mode=self.path.stat().st_mode & 0o777)


class OpenedSettings(NamedTuple):
    """What a hub starts with.

    Attributes:
        refused: why the file could not be used; *reading* is then what was good last.
    """

    file: SettingsFile
    reading: Reading
    refused: tuple[Problem, ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings themselves."""
        return self.reading.usable()


def open_settings(file: SettingsFile, state: Path, *, strict: bool = False) -> OpenedSettings:
    """The settings to start with: those of *file*, else those that were good last.

    Args:
        state: the folder in which what was good last is kept.
        strict: do not fall back to that.

    Raises:
        SettingsInvalid: neither can be used; it has the problems of *file*.
    """
    reading = file.read()
    if reading.settings is not None:
        return OpenedSettings(file, reading)
    refused = SettingsInvalid(problem for problem in reading.problems if problem.severity is Severity.ERROR)
    kept = state / LAST_GOOD
    if strict or not file.path.exists():  # a hub without a file was more likely started in the wrong folder
        raise refused
    try:
        last_good = file.read_text(kept.read_text("utf-8"), name=str(kept))
    except (OSError, UnicodeDecodeError):
        raise refused from None
    if last_good.settings is None:
        raise refused
    return OpenedSettings(file, last_good, tuple(refused.problems))


def keep_last_good(state: Path, text: str) -> None:
    """Keep *text*, which was taken up, for a start with a broken file. Raises OSError."""
    write_atomically(state / LAST_GOOD, text.encode(), mode=_PRIVATE)
