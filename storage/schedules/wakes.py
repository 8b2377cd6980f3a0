"""Wakes of devices for calendar slots: states, retries, and end.

The row is inserted in the transaction that decides the fire, so each slot fires once. States: *waiting* for
the conditions of the agent, *sent* but not acknowledged, *deferred* until the quota of the agent recovers.
Final states: *acknowledged*, *failed*, *skipped*. Every move states in its UPDATE the values that it read. So
of two hubs, or of an answer and the end of the slot, one wins. The outcome is written to the row of the fire.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, UserId
from storage.kernel.columns import Int, Key, columns_of, fetch_page, paged, structs_from
from storage.schedules.schedule_rows import REMOVED
from storage.schema import Decision, agent_states, agents, schedule_fires, schedules, wakes

WakeState = Literal["waiting", "sent", "deferred", "acknowledged", "failed", "skipped"]
WakeEnd = Literal["acknowledged", "failed", "skipped"]
# Decisions recorded for the fire of a settled wake.
WakeDecision = Literal["woken", "wake_failed", "skipped_paused", "skipped_exhausted", "skipped_overlap"]
OPEN: Final = "wakes.state IN ('waiting', 'sent', 'deferred')"  # as text, so that the partial index is used
GRACE_MS: Final = 5_000  # after the slot's end, to record an answer that came in time
WAITING: Final = "not_told_yet"  # reason of a fire that was deferred because its wake is new


class WakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Wake, as shown to people. Instants are epoch milliseconds.

    Attributes:
        fire_at, ends_at: start and end of the slot; after its end the device is not notified.
        reason: stable code: why it is not sent, not acknowledged, or over.
        sends: number of notifications.
        next_at: next time of processing.
    """

    id: str
    schedule_id: str
    agent_id: AgentId
    label: str
    fire_at: int
    ends_at: int
    state: WakeState
    reason: str | None
    sends: int
    next_at: int
    sent_at: int | None
    settled_at: int | None


class WakeProjection(WakeRow, frozen=True, kw_only=True):
    """Open wake that can be processed, with everything that determines how.

    Attributes:
        external_id: what another program calls the agent.
        is_removed: its slot or its agent was removed.
        recovery_at: known recovery time of an exhausted agent.
    """

    user_id: UserId
    device_id: DeviceId | None
    external_id: str | None
    lifecycle: str
    availability: str
    connectivity: str
    runs_waiting: int
    runs_executing: int
    recovery_at: int | None
    is_removed: bool


_is_removed = sa.or_(
    agents.c.deleted_at.is_not(None),
    sa.and_(sa.not_(schedules.c.enabled), schedules.c.paused_reason == REMOVED),
)


def _columns(of: type[WakeRow]) -> list[sa.ColumnElement[Any]]:
    label = sa.func.coalesce(schedules.c.label, "")
    return columns_of(of, wakes, agents, agent_states, label=label, is_removed=_is_removed)


_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)
_is_due = wakes.c.next_at <= _now
_is_exhausted = agent_states.c.availability == "exhausted"
# Wakes of an agent that is offline or busy are left out until their slot ends.
_is_up = sa.and_(
    agent_states.c.connectivity == "online",
    agent_states.c.runs_waiting == 0,
    agent_states.c.runs_executing == 0,
    sa.or_(_is_due, wakes.c.state == "deferred"),
)
DUE_WAKES = (
    sa.select(*_columns(WakeProjection))
    .join_from(wakes, schedules, schedules.c.id == wakes.c.schedule_id)
    .join(agents, agents.c.id == wakes.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == wakes.c.agent_id)
    .where(
        sa.text(OPEN),
        sa.or_(
            wakes.c.ends_at <= _now - GRACE_MS,
            sa.and_(wakes.c.state != "sent", wakes.c.ends_at <= _now),
            # A sent wake can be answered until its next_at.
            sa.and_(
                sa.or_(wakes.c.state != "sent", _is_due),
                sa.or_(
                    _is_removed,
                    agent_states.c.lifecycle != "active",
                    sa.and_(_is_exhausted, sa.or_(wakes.c.state != "deferred", _is_due)),
                    sa.and_(sa.not_(_is_exhausted), _is_up),
                ),
            ),
        ),
    )
    .order_by(wakes.c.next_at, wakes.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
OF_AGENT = (
    sa.select(*_columns(WakeRow))
    .join_from(wakes, schedules, schedules.c.id == wakes.c.schedule_id)
    .where(wakes.c.agent_id == sa.bindparam("agent"))
)


def due_wakes(c: sa.Connection, at: int, limit: int) -> list[WakeProjection]:
    """Return the open wakes that can be processed at *at*, longest waiting first."""
    return structs_from(WakeProjection, c.execute(DUE_WAKES, {"now": at, "most": limit}))


def is_any_open(c: sa.Connection) -> bool:
    """Return True if any wake is open."""
    return bool(c.execute(sa.select(sa.exists().where(sa.text(OPEN)).select_from(wakes))).scalar_one())


def wakes_of(
    c: sa.Connection, agent_id: AgentId, limit: int | None = None, *, after: Key | None = None
) -> list[WakeRow]:
    """Return an agent's wakes, newest slot first.

    Args:
        after: ``(fire_at, id)`` of the last wake of the previous page.
    """
    query = paged(OF_AGENT, wakes.c.fire_at, wakes.c.id, limit=limit, after=after, descending=True)
    return fetch_page(c, WakeRow, query, limit, {"agent": agent_id})


INSERT = sa.insert(wakes)
FIRED = sa.select(wakes.c.fire_at, wakes.c.id).where(
    wakes.c.schedule_id == sa.bindparam("schedule"),
    wakes.c.fire_at.in_(sa.bindparam("fires", expanding=True)),
)


def open_of(c: sa.Connection, schedule_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the open wakes of these slots, oldest first; slots without any are omitted."""
    found: dict[str, list[str]] = {}
    query = (
        sa.select(wakes.c.id, wakes.c.schedule_id)
        .where(wakes.c.schedule_id.in_(list(schedule_ids)), sa.text(OPEN))
        .order_by(wakes.c.fire_at)
    )
    for row in c.execute(query):
        found.setdefault(row.schedule_id, []).append(row.id)
    return found


def wakes_of_fires(c: sa.Connection, schedule_id: str, fires: Sequence[int]) -> dict[int, str]:
    """Return the ids of the wakes of these fires of a slot, by fire."""
    had = c.execute(FIRED, {"schedule": schedule_id, "fires": list(fires)})
    return {row.fire_at: row.id for row in had}


def wake_row(
    id: str, *, schedule_id: str, agent_id: AgentId, fire_at: int, duration_ms: int, at: int
) -> dict[str, Any]:
    """Return the row of a new wake."""
    return {
        "id": id,
        "schedule_id": schedule_id,
        "agent_id": agent_id,
        "fire_at": fire_at,
        "ends_at": fire_at + duration_ms,
        "state": "waiting",
        "sends": 0,
        "next_at": at,
        "created_at": at,
        "updated_at": at,
    }


def _if_seen(wake: WakeRow) -> sa.Update:
    """Return an update of the wake, unless another process changed it since it was read."""
    return sa.update(wakes).where(
        wakes.c.id == wake.id, wakes.c.state == wake.state, wakes.c.sends == wake.sends
    )


def claim_wake(c: sa.Connection, wake: WakeRow, *, at: int, next_at: int) -> bool:
    """Claim the wake for a notification. Return False if another process did, or it is settled.

    Args:
        next_at: time of the next notification if the device does not answer.
    """
    free = _if_seen(wake).where(sa.or_(wakes.c.state == "deferred", wakes.c.next_at <= at))
    sent = {"state": "sent", "reason": None, "sends": wakes.c.sends + 1, "sent_at": at}
    return c.execute(free.values(sent | {"next_at": next_at, "updated_at": at})).rowcount > 0


def resend(c: sa.Connection, at: int) -> int:
    """Make all sent wakes due again. Return their number.

    For a restart of a hub whose database no other hub uses.
    """
    sent = sa.update(wakes).where(sa.text("wakes.state = 'sent'"))
    return c.execute(sent.values(next_at=at, updated_at=at)).rowcount


def postpone(
    c: sa.Connection, wake: WakeRow, *, at: int, next_at: int, reason: str, is_deferred: bool = False
) -> bool:
    """Postpone the wake to *next_at* with a reason. Return False if another process changed it.

    Args:
        is_deferred: the agent's quota recovers then; the fire's row records the deferral.
    """
    state = "deferred" if is_deferred else wake.state
    postponed = _if_seen(wake).values(state=state, reason=reason, next_at=next_at, updated_at=at)
    if c.execute(postponed).rowcount == 0:
        return False
    if is_deferred:
        _update_fire(c, wake.schedule_id, wake.fire_at, "deferred", reason, at)
    return True


def settle(
    c: sa.Connection, wake_id: str, to: WakeEnd, decision: WakeDecision, *, at: int, reason: str | None = None
) -> bool:
    """Settle the wake and record the decision in its fire's row. Return False if it was settled before."""
    settled = c.execute(
        sa.update(wakes)
        .where(wakes.c.id == wake_id, sa.text(OPEN))
        .values(state=to, reason=reason, settled_at=at, updated_at=at)
        .returning(wakes.c.schedule_id, wakes.c.fire_at)
    ).one_or_none()
    if settled is None:
        return False
    _update_fire(c, settled.schedule_id, settled.fire_at, decision, reason, at)
    return True


def _update_fire(
    c: sa.Connection, schedule_id: str, fire_at: int, decision: Decision, reason: str | None, at: int
) -> None:
    c.execute(
        sa.update(schedule_fires)
        .where(schedule_fires.c.schedule_id == schedule_id, schedule_fires.c.fire_at == fire_at)
        .values(decision=decision, reason=reason, decided_at=at)
    )
