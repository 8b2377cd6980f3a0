"""Replacement of revoked devices: a new device of the same name inherits the agents of hub.toml.

An agent of hub.toml names its device. After a theft, for example, the device is revoked and another one gets
its name. The agent and its waiting runs then move to the new device.
"""

import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, UserId
from storage.agents import agent_states
from storage.devices import devices
from storage.devices.devices import DeviceRow
from storage.runs import run_pauses
from storage.schema import agents
from storage.schema import devices as device_table

_revoked = sa.select(device_table.c.id).where(
    device_table.c.user_id == sa.bindparam("user"),
    device_table.c.name == sa.bindparam("named"),
    device_table.c.revoked_at.is_not(None),
)
SUCCEED = (
    sa.update(agents)
    .where(agents.c.device_id.in_(_revoked), agents.c.source == "file", agents.c.deleted_at.is_(None))
    .values(device_id=sa.bindparam("successor"), updated_at=sa.bindparam("now"))
    .returning(agents.c.id)
)


def ensure_device(
    c: sa.Connection, *, id: DeviceId, user_id: UserId, name: str, at: int, actor: str = "hub"
) -> DeviceRow:
    """Return the device of ``devices.ensure_device`` after it inherited a revoked one's agents."""
    device = devices.ensure_device(c, id=id, user_id=user_id, name=name, at=at)
    given = {"user": user_id, "named": name, "successor": device.id, "now": at}
    left = c.execute(SUCCEED, given).scalars().all()
    for agent_id in left:
        agent_states.move(
            c,
            AgentId(agent_id),
            "connectivity",
            device.connectivity,
            at=at,
            actor=actor,
            reason="its device was revoked",
        )
    if left:
        run_pauses.follow_agents(c, at, actor=actor)
    return device
