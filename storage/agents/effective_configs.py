"""Effective configuration of an agent: its own configs over the defaults of its template."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from storage.agents import agent_snapshot
from storage.agents.agent_rows import UnknownAgent
from storage.kernel.columns import in_parts
from storage.schema import agents


class EffectiveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Effective configuration of an agent. *rev*: its ``config_rev``, which grows with each change."""

    agent_id: AgentId
    rev: int
    configuration: dict[str, Any]


REVISIONS = sa.select(agents.c.id, agents.c.config_rev)
REVISIONS_OF = REVISIONS.where(agents.c.id.in_(sa.bindparam("listed", expanding=True)))
REVISIONS_ON = REVISIONS.where(
    agents.c.device_id == sa.bindparam("device"), agents.c.deleted_at.is_(None)
).order_by(agents.c.id)


def revisions_on(c: sa.Connection, device_id: DeviceId) -> dict[AgentId, int]:
    """Return the ``config_rev`` of each agent of a device that is not archived."""
    return {AgentId(row.id): row.config_rev for row in c.execute(REVISIONS_ON, {"device": device_id})}


def effective(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[EffectiveConfig]:
    """Return the effective configurations of these agents; unknown ids are omitted.

    Raises:
        UnreadableConfig: a config that the hub itself uses is unreadable for this release.
    """
    revisions: dict[AgentId, int] = {}
    for part in in_parts(agent_ids):
        revisions |= {AgentId(row.id): row.config_rev for row in c.execute(REVISIONS_OF, {"listed": part})}
    found = agent_snapshot.setups_of(c, revisions)
    return [
        EffectiveConfig(agent_id=agent_id, rev=revisions[agent_id], configuration=setup.configuration)
        for agent_id, setup in found.items()
    ]


def effective_of(c: sa.Connection, agent_id: AgentId) -> EffectiveConfig:
    """Return the effective configuration of an agent.

    Raises:
        UnknownAgent: no agent has the id.
        UnreadableConfig: as ``effective``.
    """
    found = effective(c, [agent_id])
    if not found:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return found[0]
