"""The configuration that an agent works by: its own configs over the defaults of its template."""

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
    """What an agent works by. *rev* is its ``config_rev``, which grows with each change."""

    agent_id: AgentId
    rev: int
    configuration: dict[str, Any]


REVISIONS = sa.select(agents.c.id, agents.c.config_rev)
REVISIONS_OF = REVISIONS.where(agents.c.id.in_(sa.bindparam("listed", expanding=True)))
REVISIONS_ON = REVISIONS.where(
    agents.c.device_id == sa.bindparam("device"), agents.c.deleted_at.is_(None)
).order_by(agents.c.id)


def revisions_on(c: sa.Connection, device_id: DeviceId) -> dict[AgentId, int]:
    """The ``config_rev`` of each agent of a device that is not archived."""
    return {AgentId(row.id): row.config_rev for row in c.execute(REVISIONS_ON, {"device": device_id})}


def effective(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[EffectiveConfig]:
    """What these agents work by; one that is not there is left out.

    Raises:
        UnreadableConfig: what the hub keeps for one is not what this release takes it for.
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
    """What one agent works by.

    Raises:
        UnknownAgent: there is none.
        UnreadableConfig: as ``effective``.
    """
    found = effective(c, [agent_id])
    if not found:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return found[0]
