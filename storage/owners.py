"""Whose a thing is, by its id: for what is told of a thing without its row at hand."""

from typing import Final

import sqlalchemy as sa

from protocol.ids import UserId
from storage.schema import agents, devices, runs, schedules

OWNER_OF_AGENT = sa.select(agents.c.user_id).where(agents.c.id == sa.bindparam("thing"))
OWNER_OF_DEVICE = sa.select(devices.c.user_id).where(devices.c.id == sa.bindparam("thing"))
OWNER_OF_RUN = sa.select(agents.c.user_id).join_from(runs, agents).where(runs.c.id == sa.bindparam("thing"))
OWNER_OF_SCHEDULE = (
    sa.select(agents.c.user_id).join_from(schedules, agents).where(schedules.c.id == sa.bindparam("thing"))
)
_OWNERS: Final = {
    "agent_id": OWNER_OF_AGENT,
    "device_id": OWNER_OF_DEVICE,
    "run_id": OWNER_OF_RUN,
    "schedule_id": OWNER_OF_SCHEDULE,
}
KINDS: Final = frozenset(_OWNERS)


def find_owner(c: sa.Connection, kind: str, id: str) -> UserId | None:
    """Whose the thing is; ``None`` where it is nobody's, as it is not there.

    Args:
        kind: one of KINDS, as the fields of events are called.
    """
    found = c.execute(_OWNERS[kind], {"thing": id}).scalar_one_or_none()
    return None if found is None else UserId(found)
