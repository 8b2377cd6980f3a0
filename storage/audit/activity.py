"""Activity log: who did what, for people."""

from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.trace import trace_id_of
from storage.kernel.rows import columns_of, fill
from storage.schema import activity_log


class Activity(msgspec.Struct, frozen=True):
    """Entry of the activity log. *event_type*: stable name; *message*: sentence for people."""

    id: str
    at: int
    event_type: str
    level: str  # "debug", "info", "warning" or "error"
    message: str
    agent_id: AgentId | None
    run_id: RunId | None
    device_id: DeviceId | None
    actor: str
    data: dict[str, Any]


NEWEST_FIRST = sa.select(*columns_of(Activity, activity_log)).order_by(
    activity_log.c.at.desc(), activity_log.c.id.desc()
)


def record(
    c: sa.Connection,
    *,
    id: str,
    at: int,
    event_type: str,
    message: str,
    actor: str,
    agent_id: AgentId | None = None,
    run_id: RunId | None = None,
    device_id: DeviceId | None = None,
    level: str = "info",
    data: dict[str, Any] | None = None,
    trace_id: str | None = None,
) -> None:
    """Add an entry.

    Args:
        trace_id: trace of the entry; by default that of its run.

    Raises:
        Conflict: an entry has this id already.
    """
    entry = Activity(id, at, event_type, level, message, agent_id, run_id, device_id, actor, data or {})
    trace_id = trace_id or (None if run_id is None else trace_id_of(run_id))
    c.execute(sa.insert(activity_log), msgspec.structs.asdict(entry) | {"trace_id": trace_id})


def list_activity(
    c: sa.Connection,
    *,
    agent_id: AgentId | None = None,
    run_id: RunId | None = None,
    limit: int = 100,
    before: int | None = None,
) -> list[Activity]:
    """Return entries, newest first; *before* is the ``at`` of the previous page's last entry."""
    query = NEWEST_FIRST.limit(limit)
    if agent_id is not None:
        query = query.where(activity_log.c.agent_id == agent_id)
    if run_id is not None:
        query = query.where(activity_log.c.run_id == run_id)
    if before is not None:
        query = query.where(activity_log.c.at < before)
    return [fill(Activity, row) for row in c.execute(query)]
