"""Differences between two readings of hub.toml, and when each takes effect."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hub.settings.agent_settings import AgentSettings
from hub.settings.locate import KeyPath
from hub.settings.problems import spell
from hub.settings.schema import effect_of
from hub.settings.settings import Settings
from hub.settings.values import Effect, Table


class Changes(NamedTuple):
    """Keys whose values changed, as people write them; an agent counts as one key, ``agents.NAME``.

    *archived* are agents missing from the new file; they are in no other list.
    """

    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()

    def with_renewed(self, keys: Iterable[str]) -> "Changes":
        """Return the changes plus *keys* with an unchanged value whose files changed, effective at once."""
        more = [key for key in keys if not any(path.startswith(key) for path in (*self.live, *self.restart))]
        return self._replace(live=(*self.live, *more))


def changes(before: Settings, after: Settings, *, started: Settings) -> Changes:
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
        waiting += [(key, Effect.RESTART) for key, _ in waiting if key.partition(".")[0] == "transcription"]
    live = [key for key, effect in since if effect is Effect.LIVE and key.partition(".")[0] not in fixed]
    return Changes(
        live=(*changed, *live),
        reconnect=tuple(key for key, effect in since if effect is Effect.RECONNECT),
        restart=tuple(key for key, effect in waiting if effect is Effect.RESTART),
        archived=archived,
    )


def _differences(before: Table, after: Table, path: KeyPath = ()) -> Iterator[tuple[str, Effect]]:
    """Yield the differences, except those of agents."""
    for name, field in type(after).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        if old == new or (path == () and name == "agents"):
            continue
        match old, new:
            case Table(), Table() if type(old) is type(new):
                yield from _differences(old, new, (*path, name))
            case _:
                waits = any(table.needs_restart for value in (old, new) for table in _tables(value))
                yield spell((*path, name)), Effect.RESTART if waits else effect_of(field)


def _tables(value: object) -> Iterator[Table]:
    """Yield *value* if it is a table, or the tables in it if it is a list."""
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, Table):
            yield one


class _Agents(NamedTuple):
    changed: tuple[str, ...]
    archived: tuple[str, ...]


def _agents_that_differ(old: Sequence[AgentSettings], new: Sequence[AgentSettings]) -> _Agents:
    """Return the names of changed and archived agents; with the user, if the name is ambiguous."""
    before = {(agent.user, agent.name): agent for agent in old}
    after = {(agent.user, agent.name): agent for agent in new}
    users = Counter(name for _, name in before.keys() | after.keys())

    def called(keys: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(
            f"agents.{name}" if users[name] == 1 else f"agents.{name} (of {user})" for user, name in keys
        )

    return _Agents(
        called(key for key, agent in after.items() if before.get(key) != agent),
        called(key for key in before if key not in after),
    )
