"""Reading of hub.toml: errors, the last good version for a broken file, tables shared by all nodes.

Settings file of a hub, its overrides, and the fallback for a broken file.

After settings were applied, their text is kept as ``last-good.toml`` in the state folder; a hub with a broken
file starts with it, unless the broken file may name another database: two databases that go different ways
are worse than a hub that does not start.

Settings that all nodes share: which tables of hub.toml these are, and a revision of them.

A revision is a text with those tables, stored in the database. While one is in use, its tables replace those
of each node's own file.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock, SystemClock
from hub.base.printable import shell_word
from hub.base.toml.origins import Override, TomlPosition, TomlPositions
from hub.base.toml.parsing import parsed
from hub.base.toml.positions import KeyPath, Located, document
from hub.base.toml.problems import (
    Reporter,
    SettingsInvalid,
    SettingsProblem,
    found_by_validation,
    in_order,
    spell,
    unreadable,
)
from hub.base.toml.schema import default_at, names_at
from hub.settings.editor_schema import is_text
from hub.settings.needed_packages import found_in_packages
from hub.settings.overrides import PREFIX, in_environment, overlaid
from hub.settings.settings import Settings
from hub.settings.settings_checks import (
    ReferenceContext,
    drop_removed,
    found_beyond,
    found_by_looking,
    found_in_references,
    removed_value,
)
from protocol.similar_names import nearest

# Tables about the machine of a node, or needed before the database is open.
OWN: Final = ("hub", "listen", "storage", "cluster", "log", "reload", "outbound", "plugins", "backup")
SHARED: Final = tuple(name for name in Settings.model_fields if name not in OWN)
_names_at, _default_at = partial(names_at, top=Settings), partial(default_at, top=Settings)
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


_CLOCK: Final = SystemClock()


class ParsedSettings(NamedTuple):
    """Result of reading a file: *settings* if they are usable, and all problems in order.

    *text* is the content of the file; *places* has the position of each value. Both are missing if the file
    could not be read; *places* also if it is not valid TOML. *shared*: revision whose tables replace those of
    the file.
    """

    settings: Settings | None
    problems: list[SettingsProblem]
    text: str = ""
    places: TomlPositions | None = None
    shared: Shared | None = None

    @property
    def shared_text(self) -> str | None:
        """Text of the revision in use; None if all tables are those of the file."""
        return None if self.shared is None else self.shared.text

    def tables(self) -> dict[str, Any]:
        """Return the tables in use, without overrides; those of a text that is not valid TOML are missing."""
        own = document(self.text)
        return own if self.shared_text is None else merged(own, document(self.shared_text))

    def usable(self) -> Settings:
        """Return the settings.

        Raises:
            SettingsInvalid: the settings are unusable; it has all problems that are errors.
        """
        if self.settings is None:
            raise SettingsInvalid(problem for problem in self.problems if problem.severity == "error")
        return self.settings


def check_settings(
    path: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    given: Iterable[Override] = (),
    serving: bool = False,
    clock: Clock = _CLOCK,
    shared: Shared | None = None,
) -> ParsedSettings:
    """Read a settings file and report all of its problems. See ``check_text``."""
    file = str(path)
    try:
        text = path.read_bytes().decode()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        return ParsedSettings(None, [unreadable(file, error, "'hub init' writes one")])
    reading = check_text(
        text, path, environ=environ, given=given, serving=serving, clock=clock, shared=shared
    )
    if mode & 0o022:
        message = "users other than its owner may change this file"
        problem = SettingsProblem(file, 1, 1, "", message, f"chmod go-w {shell_word(file)}", "warning")
        reading = reading._replace(problems=in_order([problem, *reading.problems]))
    return reading


def check_text(
    text: str,
    path: Path,
    *,
    name: str = "",
    environ: Mapping[str, str] = os.environ,
    given: Iterable[Override] = (),
    serving: bool = False,
    clock: Clock = _CLOCK,
    shared: Shared | None = None,
) -> ParsedSettings:
    """Report all problems of *text* as the content of the file *path*.

    A missing secret or package is an error if *serving*, else a warning: a file may be checked on a machine
    where no hub serves with it.

    Args:
        name: name of the file in problems; by default its path.
        environ: environment; its ``HUB__`` variables override the text.
        given: overrides with precedence over the environment.
        clock: clock for warnings about times in the past.
    """
    file = name or str(path)
    doc = parsed(text, file)
    if isinstance(doc, SettingsProblem):
        return ParsedSettings(None, [doc], text, shared=shared)
    located, problems, elsewhere = Located(text), list[SettingsProblem](), dict[str, tuple[str, Located]]()
    if shared is not None and shared.text is not None:
        common = parsed(shared.text, shared.name)
        if isinstance(common, SettingsProblem):
            return ParsedSettings(None, [common], text, shared=shared)
        problems += _ignored(doc, TomlPosition(file, *located.key(tuple(ignored_tables(doc)[:1]))), shared)
        doc = merged(doc, common)
        of_shared = (shared.name, Located(shared.text))
        elsewhere = dict.fromkeys((*SHARED, *(name for name in common if name not in OWN)), of_shared)
    overrides = [*in_environment(environ), *given]
    doc = overlaid(doc, overrides, is_text=is_text)
    places = TomlPositions(file, located, doc, overrides, elsewhere=elsewhere)
    folder = path.absolute().parent  # paths in the settings are absolute from here on
    problems += [_removed(path, places) for path in drop_removed(doc)]
    problems += found_by_looking(doc, places)
    settings = None
    try:
        settings = Settings.model_validate(doc, context={"base": folder})
    except ValidationError as error:
        problems += found_by_validation(
            error, doc=doc, places=places, names_at=_names_at, default_at=_default_at
        )
    else:
        problems += found_beyond(settings, places, now=clock.now())
        problems += found_in_packages(settings, Reporter(places), environ, is_server=serving)
    around = ReferenceContext(folder, environ, is_server=serving, now=clock.now())
    problems += found_in_references(doc, places, around)
    if any(problem.severity == "error" for problem in problems):
        settings = None
    return ParsedSettings(settings, in_order(problems), text, places, shared)


def _ignored(own: Mapping[str, Any], place: TomlPosition, shared: Shared) -> Iterator[SettingsProblem]:
    """Yield a warning if a node's file has tables that the revision replaces. *place*: of the first one."""
    tables = ignored_tables(own)
    if tables:
        named = ", ".join(f"[{name}]" for name in tables)
        message = f"{named}: not used, because {shared.name} has the tables of all nodes"
        hint = "remove them here; change them with 'hub config push FILE'"
        yield SettingsProblem(*place, tables[0], message, hint, "warning")


def _removed(path: KeyPath, places: TomlPositions) -> SettingsProblem:
    message = f"is no longer a setting: the hub always uses {removed_value(path)}"
    return SettingsProblem(*places.key(path), spell(path, places.doc), message, "remove the line", "warning")


class FileLines:
    """Locator of agents and templates in the settings in use.

    Args:
        reading: returns the text in use with the position of each value.
    """

    def __init__(self, reading: Callable[[], ParsedSettings]) -> None:
        self._reading = reading

    def of_agent(self, name: str, user: str, *key: str) -> str:
        """Return the line of this user's agent, or of one *key* of the agent."""
        reading = self._reading()
        agents = () if reading.settings is None else reading.settings.agents
        for number, agent in enumerate(agents):
            if (agent.name, agent.user) == (name, user):
                return self._line(("agents", number, *(key or ("name",))))
        return self._line(("agents",))

    def of_template(self, name: str) -> str:
        """Return the line of the template."""
        reading = self._reading()
        templates = () if reading.settings is None else reading.settings.templates
        for number, template in enumerate(templates):
            if template.name == name:
                return self._line(("templates", number, "name"))
        return self._line(("templates",))

    def _line(self, path: KeyPath) -> str:
        places = self._reading().places
        if places is None:
            return "hub.toml"
        place = places.value(path)
        return f"{place.file}:{place.line}"


LAST_GOOD: Final = "last-good.toml"
_FROM: Final = "# file: "  # begins its last line, with the path as JSON
_PRIVATE: Final = 0o600
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
        serving: as for ``check_text``.
    """

    path: Path
    given: Sequence[Override] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = _CLOCK
    serving: bool = True

    def read(self, shared: Shared | None = None) -> ParsedSettings:
        """Read the file, with a revision of the shared settings, and report all problems."""
        return check_settings(
            self.path,
            environ=self.environ,
            given=self.given,
            serving=self.serving,
            clock=self.clock,
            shared=shared,
        )

    def read_text(
        self, text: str, *, name: str = "", folder: Path | None = None, shared: Shared | None = None
    ) -> ParsedSettings:
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
            serving=self.serving,
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
        """Replace the file's content atomically, also behind a link. Raises OSError; it is then unchanged."""
        file = self.path.resolve()
        write_atomically(file, text.encode(), mode=file.stat().st_mode & 0o777)


class OpenedSettings(NamedTuple):
    """Settings at the hub's start.

    Attributes:
        refused: problems of an unusable file; *reading* then has the last good settings.
    """

    file: SettingsFile
    reading: ParsedSettings
    refused: tuple[SettingsProblem, ...] = ()

    @property
    def settings(self) -> Settings:
        """Usable settings."""
        return self.reading.usable()


def open_settings(
    file: SettingsFile, state: Path, *, strict: bool = False, only_reads: bool = False
) -> OpenedSettings:
    """Return the settings for the hub's start: those of *file*, else the last good ones.

    A broken file whose lines about the database differ from the last good ones is not replaced by them: the
    hub would go on with the database of before, while its other nodes or its operator use the new one.

    Args:
        state: folder of the last good settings.
        strict: do not fall back to the last good settings.
        only_reads: the caller writes nothing to the database: the last good one is used in any case, as a
            running hub does.

    Raises:
        SettingsInvalid: neither is usable; it has the problems of *file*.
    """
    reading = file.read()
    if reading.settings is not None:
        return OpenedSettings(file, reading)
    refused = SettingsInvalid(problem for problem in reading.problems if problem.severity == "error")
    stored = last_good(state)
    is_missing = not file.path.exists()  # which suggests a start in the wrong folder
    if strict or stored is None or (is_missing and not only_reads):
        raise refused
    if not (only_reads or file.sets_storage()) and (other := _other_storage(file, stored)):
        raise SettingsInvalid([*refused.problems, other])
    reading = file.read_text(stored, name=str(state / LAST_GOOD))
    if reading.settings is None:
        raise refused
    return OpenedSettings(file, reading, tuple(refused.problems))


def _other_storage(file: SettingsFile, stored: str) -> SettingsProblem | None:
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
    return SettingsProblem(str(file.path), min(added, default=1), 1, "storage", message, hint)


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
    return _last(state)[0]


def last_file(state: Path) -> Path | None:
    """Return the settings file with which a hub ran on the folder, if that file is still there."""
    file = _last(state)[1]
    return file if file is not None and file.is_file() else None


def _last(state: Path) -> tuple[str | None, Path | None]:
    try:
        stored = (state / LAST_GOOD).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None, None
    text, _, file = stored.rpartition(f"\n{_FROM}")
    with suppress(ValueError, TypeError):  # a comment of settings that an older release kept
        return text, Path(json.loads(file))
    return stored, None


def keep_last_good(state: Path, text: str, file: Path) -> None:
    """Keep the applied *text* of *file* for a start with a broken file. Raises OSError."""
    stored = f"{text}\n{_FROM}{json.dumps(str(file.absolute()))}\n"
    write_atomically(state / LAST_GOOD, stored.encode(errors="replace"), mode=_PRIVATE)
