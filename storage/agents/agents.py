"""Agents: who works, on which device, and what it is said to do.

The door to its modules: ``agent_rows`` (what an agent is, and reading it), ``agent_declarations``
(what people write down of one), ``declared_agents`` (those of hub.toml) and ``made_agents``
(those made over the API).
"""

from storage.agents.agent_declarations import DeclaredAgent, ExternalIdTaken
from storage.agents.agent_rows import (
    AgentRow,
    LastRun,
    UnknownAgent,
    agents_named,
    find_agent,
    find_agent_by_name,
    get_agent,
    list_agents,
)
from storage.agents.declared_agents import (
    IDS_PER_AGENT,
    NameTaken,
    Reconciled,
    check_names,
    reconcile_declared,
)

__all__ = [
    "IDS_PER_AGENT",
    "AgentRow",
    "DeclaredAgent",
    "ExternalIdTaken",
    "LastRun",
    "NameTaken",
    "Reconciled",
    "UnknownAgent",
    "agents_named",
    "check_names",
    "find_agent",
    "find_agent_by_name",
    "get_agent",
    "list_agents",
    "reconcile_declared",
]
