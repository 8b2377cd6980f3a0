"""Settings: reading, checking, editing and reloading hub.toml."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from hub.api.binding import Head, Header
from hub.api.deps import Actor, Caller
from hub.api.door.roles import Scope
from hub.api.noun import Noun, route
from hub.api.view import View
from hub.settings.locate import KeyPath
from hub.settings.problems import Problem, Severity, spell
from hub.settings.reload import Edit, Reloader, TakenUp
from hub.settings.schema import settings_schema
from protocol.errors import ErrorCode

Key = Annotated[str, Meta(min_length=1, max_length=300)]


class ProblemView(View):
    """Line of ``hub check``. *line* and *column* count from 1; 0: *file* overrides the file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"


class ConfigView(View):
    """The settings of a hub.

    Attributes:
        generation: grows with each change that was applied.
        tag: for ``If-Match``, the same as ``ETag``.
        file: the path of hub.toml.
        text: the file as it was applied.
        settings: every value in use, defaults too; secrets as references.
        origins: of each key with a value that is not the default, the place that sets it.
        waiting: keys whose values apply after a restart.
        refused: problems of the file when it was read last; empty: it was applied.
        on_last_good: the file was broken at the start, so that the last good settings are in use.
    """

    generation: int
    tag: str
    file: str
    text: str
    settings: dict[str, Any]
    origins: dict[str, str]
    waiting: tuple[str, ...] = ()
    refused: tuple[ProblemView, ...] = ()
    on_last_good: bool = False


class ReloadView(View):
    """The keys that a reload changed, by the time that their values apply.

    Attributes:
        live: at once.
        reconnect: to new connections.
        restart: after the next start; also keys that an earlier reload changed.
        archived: agents that are no longer in hub.toml.
    """

    generation: int
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    warnings: tuple[ProblemView, ...] = ()


class ConfigCheckView(View):
    """Problems of a text, and the changes if it were hub.toml."""

    ok: bool
    problems: tuple[ProblemView, ...] = ()
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


class ConfigText(View):
    """A text to check as hub.toml. *folder*: base of its relative paths; by default that of hub.toml."""

    text: Annotated[str, Meta(max_length=1_000_000)]
    folder: Annotated[str, Meta(max_length=4_096, pattern=r"^/[^\x00]*$", examples=["/etc/hub"])] | None = (
        None
    )


class ConfigEdit(View, kw_only=True):
    """An edit of hub.toml: the whole *text*; or new values for keys, and keys to remove."""

    text: Annotated[str, Meta(max_length=1_000_000)] | None = None
    values: Annotated[dict[Key, Any], Meta(max_length=100, examples=[{"limits.runs": 40}])] = {}
    without: Annotated[tuple[Key, ...], Meta(max_length=100, examples=[["limits.run_files"]])] = ()

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.values and not self.without):
            raise ValueError("give either text, or values and without")


class Config(Noun):
    """The settings of a running hub. A field is added, never renamed; a secret is shown by its reference."""

    name, path = "settings", "/v1"

    def __init__(self, reloader: Reloader) -> None:
        self.reloader = reloader

    @route("GET", "/config", Scope.SETTINGS)
    async def get(self, head: Head) -> ConfigView:
        """Return the settings in use, with the file's text and the place that sets each value."""
        reloader = self.reloader
        head.headers["etag"] = reloader.tag
        return ConfigView(
            generation=reloader.generation,
            tag=reloader.tag,
            file=str(reloader.path.absolute()),
            text=reloader.reading.text,
            settings=reloader.current.model_dump(mode="json", exclude_none=True),
            origins=self._origins(),
            waiting=reloader.waiting,
            refused=_views(reloader.refused),
            on_last_good=reloader.on_last_good,
        )

    @route("PATCH", "/config", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    async def edit(
        self,
        caller: Caller,
        edit: ConfigEdit,
        head: Head,
        if_match: Annotated[
            Annotated[str, Meta(max_length=1_000, description="``ETag`` of the settings that were read.")]
            | None,
            Header("if-match"),
        ] = None,
    ) -> ReloadView:
        """Edit hub.toml and apply it; comments and order stay. An edit that cannot apply is not written.

        Only a caller with all scopes of an admin changes a secret, a file or the place of the model.
        """
        done = await self.reloader.edit(
            Edit(text=edit.text, values=edit.values, without=edit.without),
            expected=None if if_match is None else tuple(tag.strip() for tag in if_match.split(",")),
            actor=caller.actor,
            may_all=caller.may_all,
        )
        head.headers["etag"] = self.reloader.tag
        return _view(done)

    @route("GET", "/config/schema", Scope.READ, is_whole=True)
    async def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of hub.toml."""
        return settings_schema()

    @route("POST", "/config/check", Scope.SETTINGS)
    async def check(self, caller: Caller, text: ConfigText) -> ConfigCheckView:
        """List the problems of a text, and the changes if it were hub.toml. Changes nothing."""
        folder = None if text.folder is None else Path(text.folder)
        problems, changes = await self.reloader.check(text.text, may_all=caller.may_all, folder=folder)
        return ConfigCheckView(
            ok=all(problem.severity is Severity.WARNING for problem in problems),
            problems=_views(problems),
            live=changes.live,
            reconnect=changes.reconnect,
            restart=changes.restart,
            archived=changes.archived,
        )

    @route("POST", "/reload", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    async def reload(
        self,
        actor: Actor,
        head: Head,
        wait: Annotated[bool, Meta(description="For a reload that is under way; else it is refused.")] = True,
    ) -> ReloadView:
        """Apply hub.toml as it is now, all or nothing."""
        done = await self.reloader.reload(actor=actor, wait=wait)
        head.headers["etag"] = self.reloader.tag
        return _view(done)

    def _origins(self) -> dict[str, str]:
        """Return of each key with a value the place that sets it. Keys of an agent have its name."""
        places = self.reloader.reading.places
        assert places is not None
        settings = self.reloader.current.model_dump(mode="json", exclude_none=True)
        found = ((spell(key), places.origin(path)) for key, path in _keys(settings))
        return {key: str(place) for key, place in found if place is not None}


def _keys(value: Any, key: KeyPath = (), path: KeyPath = ()) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Yield the name and the path of each value that is no table, and of an agent's schedule."""
    match value:
        case dict():
            if key[:1] == ("agents",) and len(key) > 2:
                yield key, path  # a schedule may be abbreviated to a text
            for name, inner in value.items():
                yield from _keys(inner, (*key, name), (*path, name))
        case [{"name": _}, *_]:
            for number, agent in enumerate(value):
                yield from _keys(agent, (*key, agent["name"]), (*path, number))
        case _:
            yield key, path


def _view(done: TakenUp) -> ReloadView:
    return ReloadView(
        generation=done.generation,
        live=done.changes.live,
        reconnect=done.changes.reconnect,
        restart=done.changes.restart,
        archived=done.changes.archived,
        warnings=_views(done.warnings),
    )


def _views(problems: Sequence[Problem]) -> tuple[ProblemView, ...]:
    return tuple(ProblemView(**problem._asdict()) for problem in problems)
