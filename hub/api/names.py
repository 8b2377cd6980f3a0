"""Lookups of agents and users by their names."""

from typing import Final

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.agents import agents
from storage.agents.agents import AgentRow, UnknownAgent
from storage.devices import users
from storage.store import Store

EXTERNAL: Final = "external:"  # before an agent's external identifier, in the place of its name


class AmbiguousAgent(HubError):
    """An agent name that is not unique, as several users have an agent of that name."""

    code = ErrorCode.BAD_PARAMS


async def agent_named(
    store: Store, name: str, user_id: UserId | None, *, or_removed: bool = False
) -> AgentRow:
    """Return the agent of that name among this user's, or among all; also by ``external:ID``.

    Args:
        or_removed: return the last one that was removed where there is no other.

    Raises:
        UnknownAgent: no user has an agent of that name.
        AmbiguousAgent: several users have one.
    """
    if name.startswith(EXTERNAL):
        return await _known_as(store, name.removeprefix(EXTERNAL), user_id)
    found = await store.read(agents.agents_named, name, user_id=user_id)
    if len(found) > 1:
        raise AmbiguousAgent(f"several users have an agent {name!r}; say whose: --user NAME")
    if not found and or_removed:
        removed = await store.read(agents.find_agent_by_name, name, user_id=user_id)
        found = [] if removed is None else [removed]
    if not found:
        raise UnknownAgent(f"there is no agent {name!r}")
    return found[0]


async def _known_as(store: Store, external_id: str, user_id: UserId | None) -> AgentRow:
    for row in await store.read(agents.list_agents, user_id=user_id):
        if row.external_id == external_id:
            return row
    raise UnknownAgent(f"there is no agent with the external identifier {external_id!r}")


async def user_names(store: Store) -> dict[UserId, str]:
    """Return the names of all users, by id."""
    return {row.id: row.name for row in await store.read(users.list_users)}
