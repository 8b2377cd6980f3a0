"""The settings: told, checked, edited and taken up."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.api.door.roles import Principal
from hub.api.views.config import ConfigCheckView, ConfigEdit, ConfigText, ConfigView, ProblemView, ReloadView
from hub.settings.locate import KeyPath
from hub.settings.problems import Problem, Severity, spell
from hub.settings.reload import Edit, Reloader, TakenUp


class ConfigOperations:
    """Implements ``api.facades.ConfigFacade``."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    @property
    def reloader(self) -> Reloader:
        """What takes settings up; issues and readiness look at it."""
        return self._reloader

    def get(self) -> ConfigView:
        """The settings in use."""
        reloader = self._reloader
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

    def tag(self) -> str:
        """The entity tag of the settings in use."""
        return self._reloader.tag

    async def check(self, text: ConfigText, *, by: Principal) -> ConfigCheckView:
        """What would be wrong with *text*, and what would change."""
        folder = None if text.folder is None else Path(text.folder)
        problems, changes = await self._reloader.check(text.text, may_all=by.may_all, folder=folder)
        return ConfigCheckView(
            ok=all(problem.severity is Severity.WARNING for problem in problems),
            problems=_views(problems),
            live=changes.live,
            reconnect=changes.reconnect,
            restart=changes.restart,
            archived=changes.archived,
        )

    async def reload(self, *, wait: bool, actor: str) -> ReloadView:
        """Take up what the file says now."""
        return _view(await self._reloader.reload(actor=actor, wait=wait))

    async def edit(self, edit: ConfigEdit, *, expected: Sequence[str] | None, by: Principal) -> ReloadView:
        """Write an edit into the file and take it up."""
        wanted = Edit(text=edit.text, values=edit.values, without=edit.without)
        done = await self._reloader.edit(wanted, expected=expected, actor=by.actor, may_all=by.may_all)
        return _view(done)

    def _origins(self) -> dict[str, str]:
        """Of each key that was given a value, where. An agent's keys bear its name."""
        places = self._reloader.reading.places
        assert places is not None
        settings = self._reloader.current.model_dump(mode="json", exclude_none=True)
        found = ((spell(key), places.origin(path)) for key, path in _keys(settings))
        return {key: str(place) for key, place in found if place is not None}


def _keys(value: Any, key: KeyPath = (), path: KeyPath = ()) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Every value that is no table, as people call it and where it stands; an agent's schedule too."""
    match value:
        case dict():
            if key[:1] == ("agents",) and len(key) > 2:
                yield key, path  # a schedule may stand there in short, as a text
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
    return tuple(ProblemView.model_validate(problem._asdict()) for problem in problems)
