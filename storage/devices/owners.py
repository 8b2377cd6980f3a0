"""Owners of objects by id, for events whose rows are not loaded."""

from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, UserId
from storage.schema import agents, boards, broadcasts, devices, gateways, messages, questions, runs, schedules

OWNER_OF_AGENT = sa.select(agents.c.user_id).where(agents.c.id == sa.bindparam("thing"))
OWNER_OF_DEVICE = sa.select(devices.c.user_id).where(devices.c.id == sa.bindparam("thing"))
OWNER_OF_RUN = sa.select(agents.c.user_id).join_from(runs, agents).where(runs.c.id == sa.bindparam("thing"))
OWNER_OF_SCHEDULE = (
    sa.select(agents.c.user_id).join_from(schedules, agents).where(schedules.c.id == sa.bindparam("thing"))
)
OWNER_OF_BOARD = sa.select(boards.c.user_id).where(boards.c.id == sa.bindparam("thing"))
OWNER_OF_GATEWAY = sa.select(gateways.c.user_id).where(gateways.c.id == sa.bindparam("thing"))
OWNER_OF_MESSAGE = sa.select(messages.c.user_id).where(messages.c.id == sa.bindparam("thing"))
OWNER_OF_QUESTION = sa.select(questions.c.user_id).where(questions.c.id == sa.bindparam("thing"))
OWNER_OF_BROADCAST = sa.select(broadcasts.c.user_id).where(broadcasts.c.id == sa.bindparam("thing"))
_OWNERS: Final = {
    "agent_id": OWNER_OF_AGENT,
    "board_id": OWNER_OF_BOARD,
    "broadcast_id": OWNER_OF_BROADCAST,
    "device_id": OWNER_OF_DEVICE,
    "gateway_id": OWNER_OF_GATEWAY,
    "message_id": OWNER_OF_MESSAGE,
    "question_id": OWNER_OF_QUESTION,
    "run_id": OWNER_OF_RUN,
    "schedule_id": OWNER_OF_SCHEDULE,
}
KINDS: Final = frozenset(_OWNERS)


def find_owner(c: sa.Connection, kind: str, id: str) -> UserId | None:
    """Return the owner of the object; ``None`` if it does not exist.

    Args:
        kind: one of KINDS, the names of event fields.
    """
    found = c.execute(_OWNERS[kind], {"thing": id}).scalar_one_or_none()
    return None if found is None else UserId(found)


class Worker(msgspec.Struct, frozen=True):
    """Agent that works on an object, with its device; ``None``: no device."""

    agent_id: AgentId
    device_id: DeviceId | None


WORKER = sa.select(agents.c.id, agents.c.device_id)
WORKER_OF_AGENT = WORKER.where(agents.c.id == sa.bindparam("thing"))
WORKER_OF_RUN = (
    sa.select(agents.c.id, sa.func.coalesce(runs.c.device_id, agents.c.device_id).label("device_id"))
    .join_from(runs, agents)
    .where(runs.c.id == sa.bindparam("thing"))
)
_WORKERS: Final = {"agent_id": WORKER_OF_AGENT, "run_id": WORKER_OF_RUN}


def find_worker(c: sa.Connection, kind: str, id: str) -> Worker | None:
    """Return the agent of the object; ``None`` if the object does not exist.

    Args:
        kind: ``agent_id`` or ``run_id``, the names of event fields.
    """
    row = c.execute(_WORKERS[kind], {"thing": id}).one_or_none()
    return None if row is None else Worker(row.id, row.device_id)
