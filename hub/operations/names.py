"""What people call things, found in the rows."""

from storage.store import AgentRow, Store, UnknownAgent, agents


async def agent_named(store: Store, name: str) -> AgentRow:
    """The agent of that name; one that was removed counts as none.

    Raises:
        UnknownAgent: there is none.
    """
    row = await store.read(agents.find_agent_by_name, name)
    if row is None or row.archived_at is not None:
        raise UnknownAgent(f"there is no agent {name!r}")
    return row
