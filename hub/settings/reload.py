"""Change of a running hub's settings: all or nothing, reports of refusals, reload when the file changes.

A change is read, checked, prepared and then applied completely or not at all: after any failure, the hub
continues with the old settings, and ``refused`` has the reasons. Settings that need new connections or a
restart are accepted, too, and reported as pending.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from difflib import unified_diff
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.call_coalescer import CallCoalescer
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.base.toml.positions import KeyPath
from hub.base.toml.problems import Reporter, SettingsInvalid, SettingsProblem, in_order, spell
from hub.base.toml.schema import effect_of
from hub.base.toml.values import Effect, SettingsTable
from hub.settings.agent_settings import AgentSettings
from hub.settings.edits import (
    BeyondSettings,
    Revision,
    Source,
    check_guarded,
    check_own,
    edited,
    key_changes,
    problems_of_keys,
    written_in_vain,
    wrong_by_itself,
)
from hub.settings.reading import (
    SHARED,
    OpenedSettings,
    ParsedSettings,
    Shared,
    has_shared_tables,
    keep_last_good,
    last_good,
    revision_tag,
    revision_text,
)
from hub.settings.settings import Settings
from protocol.errors import CodedError, ErrorCode, HubError
from storage.devices.settings_revisions import PublishedMeanwhile
from storage.kernel.database import StorageError


class ChangedKeys(NamedTuple):
    """Keys whose values changed, as people write them; an agent counts as one key, ``agents.NAME``.

    *archived* are agents missing from the new file; they are in no other list.
    """

    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()

    def with_renewed(self, keys: Iterable[str]) -> "ChangedKeys":
        """Return the changes plus *keys* with an unchanged value whose files changed, effective at once."""
        more = [key for key in keys if not any(path.startswith(key) for path in (*self.live, *self.restart))]
        return self._replace(live=(*self.live, *more))


def changes(before: Settings, after: Settings, *, started: Settings) -> ChangedKeys:
    """Return the changed keys of *after* in the order of the file.

    Args:
        started: the settings at the hub's start. Keys that need a restart are compared with them, so that
            they are reported until the restart.
    """
    since = list(_differences(before, after))
    waiting = list(_differences(started, after))
    changed, archived = _agents_that_differ(before.agents, after.agents)
    # A model with needs_restart stays in use until then, whatever the file says meanwhile.
    is_model_fixed = any(
        table.needs_restart for table in (*_tables(started.model), *_tables(started.fallback_models))
    )
    fixed = ("model", "fallback_models", "transcription") if is_model_fixed else ()
    if is_model_fixed:  # the transcriber is opened with the models
        waiting += [(key, "restart") for key, _ in waiting if key.partition(".")[0] == "transcription"]
    live = [key for key, effect in since if effect == "live" and key.partition(".")[0] not in fixed]
    return ChangedKeys(
        live=(*changed, *live),
        reconnect=tuple(key for key, effect in since if effect == "reconnect"),
        restart=tuple(key for key, effect in waiting if effect == "restart"),
        archived=archived,
    )


def _differences(
    before: SettingsTable, after: SettingsTable, path: KeyPath = ()
) -> Iterator[tuple[str, Effect]]:
    """Yield the differences, except those of agents."""
    for name, field in type(after).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        if old == new or (path == () and name == "agents"):
            continue
        match old, new:
            case SettingsTable(), SettingsTable() if type(old) is type(new):
                yield from _differences(old, new, (*path, name))
            case _:
                waits = any(table.needs_restart for value in (old, new) for table in _tables(value))
                yield spell((*path, name)), "restart" if waits else effect_of(field)


def _tables(value: object) -> Iterator[SettingsTable]:
    """Yield *value* if it is a table, or the tables in it if it is a list."""
    for table in value if isinstance(value, tuple) else (value,):
        if isinstance(table, SettingsTable):
            yield table


def _agents_that_differ(
    old: Sequence[AgentSettings], new: Sequence[AgentSettings]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of changed and archived agents; with the user, if the name is ambiguous."""
    before = {(agent.user, agent.name): agent for agent in old}
    after = {(agent.user, agent.name): agent for agent in new}
    users = Counter(name for _, name in before.keys() | after.keys())

    def called(keys: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(
            f"agents.{name}" if users[name] == 1 else f"agents.{name} (of {user})" for user, name in keys
        )

    return (
        called(key for key, agent in after.items() if before.get(key) != agent),
        called(key for key in before if key not in after),
    )


Commit = Callable[[], None]  # applies prepared settings; cannot fail
Prepare = Callable[[Settings], Commit]  # performs all steps that can fail; raises HubError


class Remark(NamedTuple):
    """Warning of a part of the hub about the value at *path*, which is applied nonetheless."""

    path: KeyPath
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Parts:
    """Callbacks by which the hub applies settings.

    Attributes:
        prepare: performs everything that can fail, without any change.
        reconcile: writes the agents' rows, the audit entries and the revision of the shared settings in one
            transaction: the last step that can fail.
        record: writes the audit entries of settings that were changed while the hub was down; returns False
            if the log has them already.
        validate: detects by reading alone what reconcile would refuse; raises HubError.
        record_refused: writes a refused change and its actor to the audit log.
        newest: returns the newest revision of the shared settings; None: there is none, or it has the number
            of the argument.
        lag: records why this node does not use the newest revision.
        remark: returns warnings about settings that can be applied.
        renewed: returns keys with an unchanged value but changed files behind it.
        after: called after each attempt, whether it succeeded or not.
    """

    prepare: Prepare
    reconcile: Callable[[Settings, str, ChangedKeys, Revision], Awaitable[None]]
    record_refused: Callable[[str, str], Awaitable[None]]
    record: Callable[[Revision], Awaitable[bool]]
    validate: Callable[[Settings], Awaitable[None]]
    newest: Callable[[int | None], Awaitable[Shared | None]]
    lag: Callable[[str], Awaitable[None]]
    remark: Callable[[Settings], Awaitable[Sequence[Remark]]]
    renewed: Callable[[Settings], Sequence[str]]
    after: Callable[[], None]


log = Channel(__name__)

MAX_JOINED: Final = 1_000  # callers of one reload
_OF_KEYS: Final = "correct the key or its value; hub config show lists all"
REMEMBERED: Final = 8  # texts of earlier generations, to show differences to editors with stale settings


class Unfit(HubError):
    """Value at *path* that a part of the hub cannot work with; nothing was changed."""

    code = ErrorCode.BAD_SETTINGS

    def __init__(self, path: KeyPath, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


class CannotWriteSettings(HubError):
    """Unwritable settings file; nothing was changed."""

    code = ErrorCode.FORBIDDEN
    hint = "edit the file as its owner, then: hub reload"


class ReloadResult(NamedTuple):
    """Result of a reload. *revision*: number of the shared settings in use; 0 without any."""

    generation: int
    changes: ChangedKeys
    warnings: tuple[SettingsProblem, ...] = ()
    revision: int = 0


@dataclass(frozen=True)
class Edit:
    """Requested edit of hub.toml: the whole *text*, or *values* of keys and keys to remove (*without*)."""

    text: str | None = None
    values: Mapping[str, Any] | None = None
    without: tuple[str, ...] = ()
    source: Source = "edit"

    def of(self, text: str) -> str:
        """Apply the edit to *text*. Raises CannotEdit."""
        if self.text is not None:
            return self.text
        return edited(text, self.values or {}, self.without)


class Reloader:
    """Holder of the settings in use, which applies new ones.

    Args:
        opened: the settings at the hub's start.
        state: folder of the last good text.
        around: context in which a reload runs; notifies the service manager.
    """

    def __init__(
        self,
        opened: OpenedSettings,
        *,
        state: Path,
        clock: Clock,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._file = opened.file
        self._state = state
        self._clock = clock
        self._metrics: Metrics | None = None
        self._around = around
        self._reading = opened.reading
        self._started = opened.settings
        self._lock = anyio.Lock()
        self._reloads = CallCoalescer[str, ReloadResult](self._reload_once, max_items=MAX_JOINED)
        self._parts: Parts | None = None
        self._is_begun = False
        self._earlier: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._seen = opened.reading.text  # content of the file at the last check, applied or not
        self._lagging: int | None = None  # number of the revision that was refused last
        self.generation = 1
        self.refused = opened.refused
        self.on_last_good = bool(opened.refused)

    # --- state of the settings ---

    @property
    def current(self) -> Settings:
        """Settings that were applied last."""
        return self._reading.usable()

    @property
    def reading(self) -> ParsedSettings:
        """Text of the settings in use, with the position of each value."""
        return self._reading

    @property
    def shared(self) -> Shared | None:
        """Revision of the shared settings in use; its text is None if each node uses its own file."""
        return self._reading.shared

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._file.path

    @property
    def tag(self) -> str:
        """Strong entity tag of the settings in use (RFC 9110, 8.8.1)."""
        return f'"{self.generation}-{sha256(self._reading.text.encode()).hexdigest()[:16]}"'

    @property
    def waiting(self) -> tuple[str, ...]:
        """Keys whose values wait for a restart."""
        return changes(self.current, self.current, started=self._started).restart

    def is_news(self) -> bool:
        """Return True if the file exists and its content was not examined yet."""
        try:
            return self._file.path.read_bytes() != self._seen.encode()
        except OSError:
            return False  # between the two steps of an editor that replaces the file

    # --- changes ---

    def attach(self, parts: Parts, metrics: Metrics, *, generation: int = 1) -> None:
        """Set the callbacks that apply changes, once the hub runs, the metrics and the last generation."""
        self._parts, self._metrics, self.generation = parts, metrics, generation
        self._set_metrics()

    async def begin(self) -> None:
        """Allow changes from now on, and keep the initial settings as the last good ones."""
        self._is_begun = True
        before = await anyio.to_thread.run_sync(last_good, self._state)
        if before is not None and before != self._reading.text and self._parts is not None:
            earlier = self._reading._replace(text=before)
            changed = key_changes(earlier.tables(), self._reading.tables())
            if await self._parts.record(Revision(self.generation + 1, "start", changed, self.shared)):
                self.generation += 1
        await self._keep()

    async def reload(self, *, actor: str) -> ReloadResult:
        """Apply the current content of the file.

        Callers that come during a reload share the one that follows it, since the file may have changed
        after it was read.

        Args:
            actor: initiator of the reload, for the audit log.

        Raises:
            SettingsInvalid: all problems of the file; the hub continues with the old settings.
            CodedError (OVERLOADED): the hub is starting; nothing was applied.
        """
        return await self._reloads.run(actor)

    async def _reload_once(self, actors: Sequence[str]) -> Sequence[ReloadResult]:
        """Apply the content of the file once for all callers; the audit log names the first person."""
        actor = next((candidate for candidate in actors if candidate != ACTOR), ACTOR)
        async with self._lock:
            with self._around():
                newest = None if self._parts is None else await self._parts.newest(None)
                reading = await anyio.to_thread.run_sync(self._file.read, newest)
                return [await self._attempt(reading, actor, "file")] * len(actors)

    def begin_with(self, shared: Shared) -> None:
        """Use a revision of the shared settings from the hub's start on.

        Raises:
            SettingsInvalid: this node cannot use it; the settings are as they were.
        """
        reading = self._read_in_use(shared)
        self._started = reading.usable()
        self._reading = reading

    async def follow(self, *, actor: str) -> None:
        """Apply the newest revision of the shared settings, unless it is in use or was refused already.

        Raises:
            SettingsInvalid: this node cannot use it, and continues with the one before.
        """
        async with self._lock:
            if self._parts is None:
                return
            newest = await self._parts.newest(self._lagging or (self.shared.number if self.shared else 0))
            if newest is None:
                return
            with self._around():
                reading = await anyio.to_thread.run_sync(self._read_in_use, newest)
                await self._attempt(reading, actor, "revision", is_edit=True)

    async def publish(
        self,
        text: str | None,
        *,
        name: str,
        actor: str,
        expected: Sequence[str] | None = None,
        archives: bool = False,
    ) -> ReloadResult:
        """Publish the shared tables of *text* as a revision for all nodes, and apply it.

        Args:
            text: None: each node uses the tables of its own file from then on.
            name: name of the text in problems.
            expected: tags of the newest revision that the caller has seen, or ``*``; None: no check.
            archives: True if agents may be archived because no file of a node declares them.

        Raises:
            CodedError (BAD_PARAMS): they may not; nothing was published.
            CodedError (BAD_PARAMS): the text has no such table.
            SettingsInvalid: this node cannot use it, and nothing was published.
            PublishedMeanwhile: another caller published a revision since.
        """
        async with self._lock:
            if self._parts is None or not self._is_begun:
                raise CodedError(ErrorCode.OVERLOADED, "the hub is starting")
            newest = await self._parts.newest(None)
            last = 0 if newest is None else newest.number
            if expected is not None and not {revision_tag(last), "*"} & set(expected):
                raise PublishedMeanwhile(
                    f"revision {last} is the newest one, not {', '.join(expected)}: nothing was published"
                )
            number = last + 1
            with self._around():
                own = None if text is None else revision_text(text, number)
                shared = Shared(number, None if own is None else own.text)
                reading = await anyio.to_thread.run_sync(self._read_in_use, shared)
                if reading.settings is not None and text is not None and not has_shared_tables(text):
                    raise CodedError(
                        ErrorCode.BAD_PARAMS, f"the text has no table that nodes share: {', '.join(SHARED)}"
                    )
                if text is None and reading.settings is not None and not archives:
                    _check_none_archived(changes(self.current, reading.settings, started=self._started))
                try:
                    return await self._attempt(reading, actor, "revision", is_edit=True, is_new=True)
                except SettingsInvalid as error:
                    raise SettingsInvalid(
                        problem
                        if own is None or problem.file != shared.name
                        else problem._replace(file=name, line=own.line(problem.line))
                        for problem in error.problems
                    ) from error

    def _read_in_use(self, shared: Shared) -> ParsedSettings:
        """Read the file as it was applied, with another revision of the shared settings."""
        reading = self._file.read(shared)
        if reading.text == self._reading.text:
            return reading
        return self._file.read_text(self._reading.text, shared=shared)

    async def edit(
        self, edit: Edit, *, expected: Sequence[str] | None, actor: str, may_all: bool = True
    ) -> ReloadResult:
        """Write *edit* to the file and apply it.

        Args:
            expected: tags of the settings that the editor has seen, or ``*``; None: no check.
            may_all: True if the editor may change the guarded keys of ``settings.protected_keys``, too.

        Raises:
            BeyondSettings: the edit changes a guarded key without the permission.
            CodedError (CHANGED_MEANWHILE): the settings or the file changed; the message shows how.
            SettingsInvalid: the edit cannot be applied, and the file was not changed; or the file is missing.
            CannotEdit: a key cannot exist.
            CannotWriteSettings: the file cannot be written.
        """
        async with self._lock:
            with self._around():
                before = self._check_unchanged(expected)
                check_own((*(edit.values or ()), *edit.without), before, edit.text or before, self.shared)
                text = edit.of(before)
                if not may_all:
                    try:
                        check_guarded(before, text)
                    except BeyondSettings as error:
                        if self._parts is not None:
                            await self._parts.record_refused(actor, str(error))
                        raise
                reading = await self._read_edited(edit, text)
                keys = edit.values or ()
                try:
                    done = await self._attempt(reading, actor, edit.source, write_over=before)
                except SettingsInvalid as error:
                    hint = _OF_KEYS if keys else error.hint
                    raise SettingsInvalid(problems_of_keys(keys, error.problems), hint) from error
                assert reading.places is not None
                in_vain = written_in_vain(keys, text, reading.places)
                return done._replace(warnings=(*in_vain, *done.warnings))

    async def check(
        self, edit: Edit, *, may_all: bool = True, folder: Path | None = None
    ) -> tuple[list[SettingsProblem], ChangedKeys]:
        """Return the problems of the file after *edit*, and the changes that it would make.

        Args:
            may_all: as for ``edit``, since problems of a secret or a file reveal information about it.
            folder: base of relative paths; by default the folder of the file.

        Raises:
            BeyondSettings: the permission is missing; the new text was not evaluated.
            CannotEdit: a key cannot exist.
        """
        text, keys = edit.of(self._reading.text), edit.values or ()
        if edit.text is None:
            check_own((*keys, *edit.without), text, text, self.shared)
        if not may_all:
            check_guarded(self._reading.text, text)
            if folder not in (None, self.path.absolute().parent):
                raise BeyondSettings("files of another folder are looked at with all scopes of an admin")
        reading = await self._read_edited(edit, text, folder)
        problems = problems_of_keys(keys, reading.problems)
        if reading.settings is None:
            return problems, ChangedKeys()
        found = changes(self.current, reading.settings, started=self._started)
        if self._parts is not None:
            try:
                self._parts.prepare(reading.settings)
                await self._parts.validate(reading.settings)
                problems += await self._remarks(self._parts, reading)
                found = found.with_renewed(self._parts.renewed(reading.settings))
            except HubError as error:
                problems.append(self._problem_at(error, reading))
        return in_order(problems), found

    async def _read_edited(self, edit: Edit, text: str, folder: Path | None = None) -> ParsedSettings:
        """Read *text*, in which an edited value has to be valid even where an override hides it."""
        read = partial(self._file.read_text, text, folder=folder, shared=self.shared)
        reading = await anyio.to_thread.run_sync(read)
        if edit.values and reading.settings is not None:
            alone = await anyio.to_thread.run_sync(self._file.alone().read_text, text)
            if wrong := wrong_by_itself(edit.values, alone.problems):
                return reading._replace(settings=None, problems=wrong)
        return reading

    def _check_unchanged(self, expected: Sequence[str] | None) -> str:
        """Return the text of the file. Raises CodedError if an edit would undo another user's change."""
        if expected is not None and not {self.tag, "*"} & set(expected):
            known = next((text for tag, text in self._earlier if tag in expected), None)
            shown = "" if known is None else ":\n" + _difference(known, self._reading.text)
            raise CodedError(ErrorCode.CHANGED_MEANWHILE, f"the settings changed since they were read{shown}")
        try:
            text = self._file.path.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            raise SettingsInvalid(self._file.read().problems) from None
        if text != self._reading.text:
            shown = _difference(self._reading.text, text)
            raise CodedError(
                ErrorCode.CHANGED_MEANWHILE,
                f"{self.path} was edited and is not applied yet; reload it first:\n{shown}",
            )
        return text

    async def _attempt(
        self,
        reading: ParsedSettings,
        actor: str,
        source: Source,
        *,
        write_over: str | None = None,
        is_edit: bool = False,
        is_new: bool = False,
    ) -> ReloadResult:
        """Apply *reading*.

        Args:
            write_over: text of the file, over which that of *reading* is written first.
            is_edit: the file is as it was: it is not what is refused.
            is_new: its revision of the shared settings has to be published.
        """
        try:
            taken_up = await self._take_up(reading, actor, source, write_over, is_new)
        except SettingsInvalid as error:
            assert self._parts is not None
            is_away = isinstance(error.__cause__, StorageError)  # and the same may succeed once it is back
            is_newer = reading.shared != self.shared and not is_new and not is_away
            if reading.shared is not None and is_newer:
                self._lagging = reading.shared.number
                await self._parts.lag(str(error.problems[0]))
            if write_over is None and not is_edit:  # a refused edit leaves the file unchanged
                self._seen = reading.text
                self.refused = tuple(error.problems)
                self._set_metrics()
            log.error("settings.refused", problems=len(error.problems), first=str(error.problems[0]))
            await self._parts.record_refused(actor, str(error.problems[0]))
            raise
        finally:
            if self._parts is not None:
                self._parts.after()
        self._lagging = None
        if not is_edit:
            self._seen = reading.text
            self.refused, self.on_last_good = (), False
        self._set_metrics()
        await self._keep()
        return taken_up

    async def _take_up(
        self, reading: ParsedSettings, actor: str, source: Source, write_over: str | None, is_published: bool
    ) -> ReloadResult:
        parts = self._parts
        if parts is None or not self._is_begun:
            raise CodedError(ErrorCode.OVERLOADED, "the hub is starting")
        settings = reading.usable()
        found = changes(self.current, settings, started=self._started)
        try:
            commit = parts.prepare(settings)
            found = found.with_renewed(parts.renewed(settings))
            warnings = [problem for problem in reading.problems if problem.severity == "warning"]
            warnings += await self._remarks(parts, reading)
            if write_over is not None:
                await anyio.to_thread.run_sync(self._write, reading.text)
            with anyio.CancelScope(shield=True):  # a cancelled transaction may have been committed
                try:
                    # Keys that already waited for a restart were logged when they were applied.
                    fresh = changes(self.current, settings, started=self.current).restart
                    is_same = reading.text == self._reading.text and reading.shared == self.shared
                    is_new = not is_same or settings != self.current
                    is_followed = reading.shared != self.shared and not is_published
                    changed = key_changes(self._reading.tables(), reading.tables())
                    revision = Revision(
                        self.generation + is_new,
                        source,
                        () if is_followed else changed,  # the node that published it has written them
                        reading.shared,
                        is_published,
                    )
                    await parts.reconcile(settings, actor, found._replace(restart=fresh), revision)
                except BaseException:
                    if write_over is not None:
                        self._write(write_over)
                    raise
                commit()
        except (CannotWriteSettings, PublishedMeanwhile):
            raise
        except HubError as error:
            raise SettingsInvalid([self._problem_at(error, reading)]) from error
        if is_new:
            self._earlier.append((self.tag, self._reading.text))
            self.generation = revision.generation
        self._reading = reading
        log.info(
            "settings.applied",
            generation=self.generation,
            live=len(found.live),
            reconnect=len(found.reconnect),
            restart=len(found.restart),
            archived=len(found.archived),
        )
        number = 0 if reading.shared is None else reading.shared.number
        return ReloadResult(self.generation, found, tuple(in_order(warnings)), number)

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise CannotWriteSettings(f"cannot write {self.path}: {error.strerror}") from error
        self._seen = text

    async def _keep(self) -> None:
        """Keep the text for a start with a broken file. A failure is only logged."""
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(keep_last_good, self._state, self._reading.text, self.path)
        except OSError as error:
            log.error("settings.not_kept", exc=error)

    async def _remarks(self, parts: Parts, reading: ParsedSettings) -> list[SettingsProblem]:
        """Return the parts' remarks about a usable reading, as warnings with positions."""
        assert reading.places is not None
        report = Reporter(reading.places)
        return [report.warning(*remark) for remark in await parts.remark(reading.usable())]

    def _problem_at(self, error: HubError, reading: ParsedSettings) -> SettingsProblem:
        """Convert a part's refusal of a value to a problem with its position."""
        path, hint = (error.path, error.hint) if isinstance(error, Unfit) else ((), "")
        assert reading.places is not None
        return Reporter(reading.places).error(path, str(error), hint)

    def _set_metrics(self) -> None:
        if self._metrics is None:
            return
        self._metrics.config_generation.set(self.generation)
        self._metrics.config_successful.set(0 if self.refused else 1)
        if not self.refused:
            self._metrics.config_success_at.set(now_ms(self._clock) / 1000)


def _check_none_archived(found: ChangedKeys) -> None:
    """Raise CodedError if the changes archive agents."""
    if found.archived:
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"hub.toml of this node does not declare {', '.join(found.archived)}, which would be archived:"
            " write their tables there first, or ask for it: archive, --archive",
        )


def _difference(before: str, after: str) -> str:
    lines = unified_diff(before.splitlines(), after.splitlines(), "read", "now", lineterm="", n=1)
    return "\n".join(lines)


POLL_S: Final = 1.0  # reading the file costs microseconds; some file systems do not notify
SETTLE_S: Final = 0.2  # an editor saves in several steps
ACTOR: Final = "hub"


class SettingsWatch:
    """Service that reloads the file after an edit, unless ``[reload] watch`` is off, and on request.

    Attributes:
        renew_certificates: called each second, unless ``[reload] watch`` is off.
    """

    def __init__(self, reloader: Reloader, clock: Clock) -> None:
        self.loop = LoopReports(clock)  # of the loop that watches the file
        self.reloader = reloader
        self.renew_certificates: Callable[[], None] = lambda: None
        self._clock = clock
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Request a reload, even if the file is unchanged. Returns at once."""
        self._asked.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; all other services must have started before."""
        await self.reloader.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reload_when_asked)
            task_status.started()
            await self._reload_when_edited()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            await self._reload()

    async def _reload_when_edited(self) -> None:
        while True:  # at once too: an edit during the hub's start is news
            if self.reloader.current.reload.watch:
                self.renew_certificates()
                if self.reloader.is_news():
                    await self._clock.sleep(SETTLE_S)
                    await self._reload()
            with suppress(SettingsInvalid, StorageError):  # already recorded; the database is away
                await self.reloader.follow(actor=ACTOR)
            self.loop.wait(POLL_S)
            await self._clock.sleep(POLL_S)

    async def _reload(self) -> None:
        with suppress(SettingsInvalid, StorageError):  # already logged, counted and reported as an issue
            await self.reloader.reload(actor=ACTOR)
