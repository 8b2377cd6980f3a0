"""Agents: their rows, declarations, and reconciliation with hub.toml.

Re-exports ``agent_rows`` (rows and reading them), ``agent_declarations`` (declarations), ``declared_agents``
(agents of hub.toml) and ``made_agents`` (agents of the API).
"""

from storage.agents.agent_declarations import DeclaredAgent, ExternalIdTaken
from storage.agents.agent_rows import (
    AgentRow,
    AmbiguousAgent,
    LastRun,
    UnknownAgent,
    agent_called,
    agents_by,
    agents_named,
    count_agents,
    find_agent,
    find_agent_by_name,
    get_agent,
    list_agents,
    with_agent,
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
    "AmbiguousAgent",
    "DeclaredAgent",
    "ExternalIdTaken",
    "LastRun",
    "NameTaken",
    "Reconciled",
    "UnknownAgent",
    "agent_called",
    "agents_by",
    "agents_named",
    "check_names",
    "count_agents",
    "find_agent",
    "find_agent_by_name",
    "get_agent",
    "list_agents",
    "reconcile_declared",
    "with_agent",
]
