"""Wakes: a slot of an agent's calendar has come, and its device is to be told until it says that it knows.

A row is made in the transaction that decides the fire, so each slot fires once. Its
state is what became of it: *waiting* for the agent's gates, *sent* and not answered yet,
*deferred* until the agent's quota is back; then *acknowledged*, *failed* or *skipped*,
which are final. Every move says in its UPDATE what it saw, so of two hubs, or of an
answer and the end of the slot, one wins. The fire's row follows the outcome.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, UserId
from storage.kernel.columns import Int
from storage.schedules.fire_rows import Decision
from storage.schedules.schedule_rows import REMOVED
from storage.schema import agent_states, agents, schedule_fires, schedules, wakes

WakeState = Literal["waiting", "sent", "deferred", "acknowledged", "failed", "skipped"]
WakeEnd = Literal["acknowledged", "failed", "skipped"]
# What the fire of a wake that is over is said to have become.
WakeDecision = Literal["woken", "wake_failed", "skipped_paused", "skipped_exhausted", "skipped_overlap"]

OPEN: Final = "wakes.state IN ('waiting', 'sent', 'deferred')"  # as text: the partial index is used then
GRACE_MS: Final = 5_000  # after the slot's end, in which an answer that came in time is written down
WAITING: Final = "not_told_yet"  # why a fire is put off when it has only just been decided


class WakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A wake, as people see it. Instants are epoch milliseconds.

    Attributes:
        fire_at, ends_at: the slot; after its end nobody is woken for it.
        reason: a stable word: why it is not sent, or was not answered, or is over.
        sends: how often the device was told.
        next_at: when it is looked at again.
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


class WakeSight(WakeRow, frozen=True, kw_only=True):
    """An open wake about which something can be done, with all that decides what.

    Attributes:
        is_gone: its slot, or its agent, is there no more.
        recovery_at: of an exhausted agent, if that is known.
    """

    user_id: UserId
    device_id: DeviceId | None
    lifecycle: str
    availability: str
    connectivity: str
    runs_waiting: int
    runs_executing: int
    recovery_at: int | None
    is_gone: bool


_SPELLED: dict[str, sa.ColumnElement[Any]] = {
    "label": sa.func.coalesce(schedules.c.label, ""),
    "user_id": agents.c.user_id,
    "device_id": agents.c.device_id,
    "is_gone": sa.or_(
        agents.c.deleted_at.is_not(None),
        sa.and_(sa.not_(schedules.c.enabled), schedules.c.paused_reason == REMOVED),
    ),
} | {
    name: agent_states.c[name]
    for name in (
        "lifecycle",
        "availability",
        "connectivity",
        "runs_waiting",
        "runs_executing",
        "recovery_at",
    )
}


def _columns(of: type[WakeRow]) -> list[sa.ColumnElement[Any]]:
    return [
        (_SPELLED[name] if name in _SPELLED else wakes.c[name]).label(name) for name in of.__struct_fields__
    ]


_is_wake = wakes.c.id == sa.bindparam("wake")
_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)
_is_due = wakes.c.next_at <= _now
_is_exhausted = agent_states.c.availability == "exhausted"
# What nobody can do anything about is not told: an agent that is offline or at work, before its slot ends.
_is_up = sa.and_(
    agent_states.c.connectivity == "online",
    agent_states.c.runs_waiting == 0,
    agent_states.c.runs_executing == 0,
    sa.or_(_is_due, wakes.c.state == "deferred"),
)
LOOK = (
    sa.select(*_columns(WakeSight))
    .join_from(wakes, schedules, schedules.c.id == wakes.c.schedule_id)
    .join(agents, agents.c.id == wakes.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == wakes.c.agent_id)
    .where(
        sa.text(OPEN),
        sa.or_(
            wakes.c.ends_at <= _now - GRACE_MS,
            sa.and_(wakes.c.state != "sent", wakes.c.ends_at <= _now),
            # One that is on its way has until its next_at to be answered.
            sa.and_(
                sa.or_(wakes.c.state != "sent", _is_due),
                sa.or_(
                    _SPELLED["is_gone"],
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
ANY_OPEN = sa.select(sa.exists().where(sa.text(OPEN)).select_from(wakes))
OF_AGENT = (
    sa.select(*_columns(WakeRow))
    .join_from(wakes, schedules, schedules.c.id == wakes.c.schedule_id)
    .where(wakes.c.agent_id == sa.bindparam("agent"))
    .order_by(wakes.c.fire_at.desc(), wakes.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
OF_AGENT_BEFORE = OF_AGENT.where(
    sa.or_(
        wakes.c.fire_at < sa.bindparam("before"),
        sa.and_(wakes.c.fire_at == sa.bindparam("before"), wakes.c.id < sa.bindparam("beyond")),
    )
)


def look(c: sa.Connection, at: int, limit: int) -> list[WakeSight]:
    """Open wakes about which something can be done at *at*, those first that have waited longest."""
    return [WakeSight(**row._mapping) for row in c.execute(LOOK, {"now": at, "most": limit})]


def is_any_open(c: sa.Connection) -> bool:
    """Whether there is anything to look at, now or later."""
    return bool(c.execute(ANY_OPEN).scalar_one())


def wakes_of(
    c: sa.Connection, agent_id: AgentId, limit: int, *, after: tuple[int, str] | None = None
) -> list[WakeRow]:
    """An agent's wakes, the newest slot first.

    Args:
        after: the fire and the id of one; only what follows it in this order.
    """
    given: dict[str, Any] = {"agent": agent_id, "most": limit}
    if after is None:
        return [WakeRow(**row._mapping) for row in c.execute(OF_AGENT, given)]
    given |= {"before": after[0], "beyond": after[1]}
    return [WakeRow(**row._mapping) for row in c.execute(OF_AGENT_BEFORE, given)]


INSERT = sa.insert(wakes)
OPEN_OF = (
    sa.select(wakes.c.id, wakes.c.schedule_id)
    .where(wakes.c.schedule_id.in_(sa.bindparam("listed", expanding=True)), sa.text(OPEN))
    .order_by(wakes.c.fire_at)
)
FIRED = sa.select(wakes.c.fire_at, wakes.c.id).where(
    wakes.c.schedule_id == sa.bindparam("schedule"),
    wakes.c.fire_at.in_(sa.bindparam("fires", expanding=True)),
)


def open_of(c: sa.Connection, schedule_ids: Sequence[str]) -> dict[str, list[str]]:
    """The open wakes of each of these slots that has any, oldest first."""
    found: dict[str, list[str]] = {}
    for row in c.execute(OPEN_OF, {"listed": list(schedule_ids)}):
        found.setdefault(row.schedule_id, []).append(row.id)
    return found


def wakes_of_fires(c: sa.Connection, schedule_id: str, fires: Sequence[int]) -> dict[int, str]:
    """The wakes that some of these fires of a slot have, by fire."""
    had = c.execute(FIRED, {"schedule": schedule_id, "fires": list(fires)})
    return {row.fire_at: row.id for row in had}


def wake_row(
    id: str, *, schedule_id: str, agent_id: AgentId, fire_at: int, duration_ms: int, at: int
) -> dict[str, Any]:
    """The row of a wake whose slot has come."""
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


_as_seen = (
    wakes.c.state == sa.bindparam("seen_state"),
    wakes.c.sends == sa.bindparam("seen_sends"),
)
TAKE = (
    sa.update(wakes)
    .where(_is_wake, *_as_seen, sa.or_(wakes.c.state == "deferred", wakes.c.next_at <= _now))
    .values(
        state="sent",
        reason=None,
        sends=wakes.c.sends + 1,
        sent_at=_now,
        next_at=sa.bindparam("again"),
        updated_at=_now,
    )
)
PUT_OFF = (
    sa.update(wakes)
    .where(_is_wake, *_as_seen)
    .values(
        state=sa.bindparam("to"),
        reason=sa.bindparam("why"),
        next_at=sa.bindparam("again"),
        updated_at=_now,
    )
)
SETTLE = (
    sa.update(wakes)
    .where(_is_wake, sa.text(OPEN))
    .values(state=sa.bindparam("to"), reason=sa.bindparam("why"), settled_at=_now, updated_at=_now)
    .returning(wakes.c.schedule_id, wakes.c.fire_at)
)
TELL_FIRE = (
    sa.update(schedule_fires)
    .where(
        schedule_fires.c.schedule_id == sa.bindparam("schedule"),
        schedule_fires.c.fire_at == sa.bindparam("fire"),
    )
    .values(decision=sa.bindparam("became"), reason=sa.bindparam("why"), decided_at=_now)
)


def take(c: sa.Connection, wake: WakeRow, *, at: int, next_at: int) -> bool:
    """The device is told now; False if somebody else does so, or it is over.

    Args:
        next_at: when it is told again unless it has answered by then.
    """
    return c.execute(TAKE, _seen(wake, at) | {"again": next_at}).rowcount > 0


RESEND = sa.update(wakes).where(sa.text("wakes.state = 'sent'")).values(next_at=_now, updated_at=_now)


def resend(c: sa.Connection, at: int) -> int:
    """What was told by a hub that has ended is told again at once, where there is no other hub; how many."""
    return c.execute(RESEND, {"now": at}).rowcount


def put_off(
    c: sa.Connection, wake: WakeRow, *, at: int, next_at: int, reason: str, is_deferred: bool = False
) -> bool:
    """It waits until *next_at*, and why; False if it is not as it was seen.

    Args:
        is_deferred: the agent's quota is back by then, so the fire is told as put off for that.
    """
    given = _seen(wake, at) | {
        "again": next_at,
        "why": reason,
        "to": "deferred" if is_deferred else wake.state,
    }
    if c.execute(PUT_OFF, given).rowcount == 0:
        return False
    if is_deferred:
        _tell_fire(c, wake.schedule_id, wake.fire_at, "deferred", reason, at)
    return True


def settle(
    c: sa.Connection, wake_id: str, to: WakeEnd, decision: WakeDecision, *, at: int, reason: str | None = None
) -> bool:
    """It is over, and the row of its fire says how; False if it was so already, which stays."""
    settled = c.execute(SETTLE, {"wake": wake_id, "to": to, "why": reason, "now": at}).one_or_none()
    if settled is None:
        return False
    _tell_fire(c, settled.schedule_id, settled.fire_at, decision, reason, at)
    return True


def _seen(wake: WakeRow, at: int) -> dict[str, Any]:
    return {"wake": wake.id, "seen_state": wake.state, "seen_sends": wake.sends, "now": at}


def _tell_fire(
    c: sa.Connection, schedule_id: str, fire_at: int, decision: Decision, reason: str | None, at: int
) -> None:
    told = {"schedule": schedule_id, "fire": fire_at, "became": decision, "why": reason, "now": at}
    c.execute(TELL_FIRE, told)
