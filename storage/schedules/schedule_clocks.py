"""Repair of schedules after a wrong clock or a change of time zones."""

from typing import Any

import sqlalchemy as sa

from storage.devices.leases import Term, check_term
from storage.kernel.columns import Int, in_parts
from storage.schema import agent_states, hub, runs, schedule_fires, schedules, wakes

FUTURE_MS = 86_400_000  # a cursor further ahead was moved by a wrong clock
# Upper bounds of regular waits: a retry takes at most 1 h, a quota as long as its provider says, a probe 6 h.
RETRY_MS, RECOVERY_MS, PROBE_MS = 2 * 3_600_000, 24 * 3_600_000, 6 * 3_600_000

_listed: sa.BindParameter[Any] = sa.bindparam("listed", expanding=True)
FROM_THE_FUTURE = (
    sa.select(schedules.c.id).where(schedules.c.cursor_at > sa.bindparam("limit")).order_by(schedules.c.id)
)
CLAMP = (
    sa.update(schedules)
    .where(schedules.c.id.in_(_listed))
    .values(
        cursor_at=sa.bindparam("now"),
        next_fire_at=None,
        due_at=None,
        rev=schedules.c.rev + 1,
        # Otherwise intervals ("every") would start as late.
        created_at=sa.case(
            (schedules.c.created_at > sa.bindparam("now"), sa.bindparam("now", type_=Int)),
            else_=schedules.c.created_at,
        ),
    )
)
FORGET_FUTURE = sa.delete(schedule_fires).where(
    schedule_fires.c.schedule_id.in_(_listed), schedule_fires.c.first_at > sa.bindparam("now")
)
FORGET_WAKES = sa.delete(wakes).where(wakes.c.schedule_id.in_(_listed), wakes.c.fire_at > sa.bindparam("now"))
SHORTEN = (
    sa.update(schedule_fires)
    .where(schedule_fires.c.schedule_id.in_(_listed), schedule_fires.c.fire_at > sa.bindparam("now"))
    .values(fire_at=sa.bindparam("now"))
)
BRING_BACK = (
    sa.update(runs)
    .where(runs.c.schedule_id.in_(_listed), runs.c.fire_at > sa.bindparam("now"))
    .values(
        fire_key="w:" + runs.c.id,  # its original fire is in the future, and will have its own run
        fire_at=sa.bindparam("now"),
        eligible_at=sa.case(
            (runs.c.eligible_at > sa.bindparam("now"), sa.bindparam("now", type_=Int)),
            else_=runs.c.eligible_at,
        ),
    )
)


def clamp_future_cursors(c: sa.Connection, term: Term, at: int) -> list[str]:
    """Restart schedules from *at* whose cursor a wrong clock moved over a day ahead. Return their ids.

    Otherwise they would be silent until that day. Decisions about future fires are deleted; runs created for
    them become runs of now.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    found = c.execute(FROM_THE_FUTURE, {"limit": at + FUTURE_MS}).scalars().all()
    for part in in_parts(found):
        for statement in (CLAMP, FORGET_FUTURE, FORGET_WAKES, SHORTEN, BRING_BACK):
            c.execute(statement, {"listed": part, "now": at})
    return list(found)


READY_NOW = (
    sa.update(runs)
    .where(sa.text("runs.state = 'QUEUED'"), runs.c.eligible_at > sa.bindparam("latest"))
    .values(eligible_at=sa.bindparam("now"), updated_at=sa.bindparam("now"))
)
BACK_NOW = (
    sa.update(agent_states)
    .where(
        sa.text("agent_states.availability = 'exhausted'"),
        sa.or_(
            agent_states.c.recovery_at > sa.bindparam("latest_recovery"),
            agent_states.c.probe_at > sa.bindparam("latest_probe"),
        ),
    )
    .values(
        # An unknown time stays unknown.
        recovery_at=sa.case((agent_states.c.recovery_at.is_not(None), sa.bindparam("now", type_=Int))),
        probe_at=sa.case((agent_states.c.probe_at.is_not(None), sa.bindparam("now", type_=Int))),
        exhausted_at=sa.case(
            (agent_states.c.exhausted_at > sa.bindparam("now"), sa.bindparam("now", type_=Int)),
            else_=agent_states.c.exhausted_at,
        ),
        updated_at=sa.bindparam("now"),
    )
)


def bring_back(c: sa.Connection, term: Term, at: int) -> tuple[int, int]:
    """End the waits of runs and exhausted agents that exceed every regular wait, after a wrong clock.

    If an agent's quota has not recovered, its provider refuses again.

    Returns:
        The numbers of runs and of agents.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    ready = c.execute(READY_NOW, {"now": at, "latest": at + RETRY_MS}).rowcount
    limits = {"latest_recovery": at + RECOVERY_MS, "latest_probe": at + PROBE_MS}
    return ready, c.execute(BACK_NOW, {"now": at} | limits).rowcount


TZDATA = "tzdata"  # key in the table hub
KNOWN_TZDATA = sa.select(hub.c.value).where(hub.c.key == TZDATA)
KEEP_TZDATA = sa.update(hub).where(hub.c.key == TZDATA).values(value=sa.bindparam("digest"))
REPLAN = (
    sa.update(schedules)
    .where(schedules.c.enabled, schedules.c.kind == "cron")
    .values(next_fire_at=None, due_at=None, rev=schedules.c.rev + 1, updated_at=sa.bindparam("now"))
)


def replan_all(c: sa.Connection, term: Term, tzdata: str, at: int) -> int:
    """Plan all cron schedules again if the time zone data changed. Return their number.

    Cursors stay, so no fire is lost or decided twice.

    Args:
        tzdata: identifies the release of the tz database.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    known = c.execute(KNOWN_TZDATA).scalar_one_or_none()
    if known == tzdata:
        return 0
    if known is None:
        c.execute(sa.insert(hub), {"key": TZDATA, "value": tzdata})
    else:
        c.execute(KEEP_TZDATA, {"digest": tzdata})
    return c.execute(REPLAN, {"now": at}).rowcount
