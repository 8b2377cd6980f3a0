"""Effect of a clock step on stored instants: shifted waits, and expired rights restored.

Every stored instant is judged again, in the transaction that records the step. What a step does to an instant
is declared with its column in ``storage.schema``, by the kinds of ``storage.kernel.columns.Instant``.
Schedules follow in ``storage.schedules.schedules.follow_step``.

The clock moves before the rows when it goes back, and after them when it goes forward: so between the two
nothing is due before its time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from storage import audit
from storage.kernel.columns import HISTORY_OF, Int, instants, now_ms
from storage.kernel.database import lone
from storage.schedules import schedules
from storage.schema import activity_log, hub, model_calls, nodes

CLOCK: Final = "clock"  # key in the table hub
# A step forward within this time may be a mistake; what expired by it comes back when it is taken back.
DOUBTED_MS: Final = 24 * 3_600_000
DAY_MS: Final = 24 * 3_600_000


class ClockStep(msgspec.Struct, frozen=True, kw_only=True):
    """Step of the hub's clock.

    Attributes:
        at: the hub's time after it.
        by_ms: negative if the clock went back.
        schedules: number of schedules that continue from *at*.
        ended: number of rights that a step forward ended, or that have ended and would have come back.
    """

    at: int
    by_ms: int
    schedules: int = 0
    ended: int = 0


class ClockBase(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's time at a moment.

    Attributes:
        at: the hub's time, epoch milliseconds.
        uptime_ms: uptime of the machine then.
        machine: id of the machine's start; empty if it has none.
        steps: number of steps so far.
        last: the newest of them.
        forward_at, forward_ms: newest step forward, or time for which the machine seems to have been off.
    """

    at: int
    uptime_ms: int
    machine: str
    steps: int = 0
    last: ClockStep | None = None
    forward_at: int = 0
    forward_ms: int = 0


BASE = sa.select(hub.c.value).where(hub.c.key == CLOCK)
# Of these, one is written at least every hour by a hub that works; each query reads the end of an index.
NEWEST: Final = tuple(
    sa.select(sa.func.max(column))
    for column in (activity_log.c.at, model_calls.c.at, nodes.c.seen_at, nodes.c.stopped_at)
)


def find_base(c: sa.Connection) -> tuple[ClockBase | None, int]:
    """Return the base that was recorded last, and the newest instant that the database has."""
    base = _base(c, BASE)
    newest = [c.execute(query).scalar_one() or 0 for query in NEWEST]
    return base, max(*newest, 0 if base is None else base.at)


def read_base(c: sa.Connection) -> ClockBase | None:
    """Return the base that was recorded last, with the newest step; None before the first start."""
    return _base(c, BASE)


@lone
def database_time(c: sa.Connection) -> int:
    """Return the time of the database's own clock, UTC epoch milliseconds."""
    return int(c.execute(sa.select(now_ms())).scalar_one())


def record_base(c: sa.Connection, at: int, uptime_ms: int, machine: str, *, off_ms: int = 0) -> ClockBase:
    """Record the hub's time, and return the base; it keeps the steps.

    Args:
        off_ms: time for which the machine seems to have been off until now.
    """
    base = _base(c, BASE.with_for_update()) or ClockBase(at=at, uptime_ms=uptime_ms, machine=machine)
    base = replace(base, at=at, uptime_ms=uptime_ms, machine=machine)
    if off_ms:
        base = replace(base, forward_at=at, forward_ms=off_ms)
    return _write(c, base)


def judge_again(
    c: sa.Connection,
    base: ClockBase,
    *,
    before: int,
    id: str,
    follows_wall: Callable[[str], bool],
) -> ClockBase:
    """Judge every stored instant again after a step of the clock from *before* to the time of *base*.

    Records of events are left to ``redate``.

    Args:
        base: the hub's time after the step, and the number of steps that the caller knows.
        id: of the entry in the activity log.
        follows_wall: whether a cron expression repeats times that the clock shows again.

    Returns:
        The base with the step: that of another hub, if one on the same database was first.
    """
    known = _base(c, BASE.with_for_update())
    if known is None or known.steps != base.steps:
        return known or base
    at, by_ms = base.at, base.at - before
    reset = schedules.follow_step(c, by_ms=by_ms, at=at, follows_wall=follows_wall)
    for statement in _waits():
        c.execute(statement, {"by": by_ms})
    forward = known.forward_ms if before - known.forward_at <= DOUBTED_MS else 0
    ended = _expire(c, before=before, at=at, forward=forward)
    step = ClockStep(at=at, by_ms=by_ms, schedules=reset, ended=ended)
    forward = max(0, by_ms)
    audit.record(
        c,
        id=id,
        at=at,
        event_type="clock.stepped",
        level="warning",
        message=f"The clock was set {'back' if by_ms < 0 else 'forward'} by {abs(by_ms) / 1000:.0f} s",
        actor="hub",
        data=msgspec.to_builtins(step),
    )
    return _write(c, replace(base, steps=base.steps + 1, last=step, forward_at=at, forward_ms=forward))


def is_doubted(c: sa.Connection, at: int) -> bool:
    """Return True if rows may look old because the clock is ahead: it has just skipped a day or more."""
    base = _base(c, BASE)
    return base is not None and base.forward_ms >= DAY_MS and at - base.forward_at < DOUBTED_MS


def redate(c: sa.Connection, table: str, *, by_ms: int, at: int) -> int:
    """Move records of a table that are later than *at* by *by_ms*. Return their number."""
    return c.execute(REDATE[table], {"by": by_ms, "now": at}).rowcount


_by: sa.BindParameter[int] = sa.bindparam("by", type_=Int)
_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)


@cache
def _waits() -> list[sa.Update]:
    return [
        sa.update(table).where(sa.text(where)).values({column: column + _by for column in columns})
        for table, where, columns in instants("waits")
    ]


def _redating(table: sa.Table, columns: list[sa.Column[Any]]) -> sa.Update:
    later = {column: _is_later(column) for column in columns}
    if HISTORY_OF in table.info:  # its rows move together, so that their order stays
        whole = table.c[table.info[HISTORY_OF]]
        moving = whole.in_(sa.select(whole).where(sa.or_(*later.values())))
        return sa.update(table).where(moving).values({column: column + _by for column in columns})
    moved = {column: sa.case((is_later, column + _by), else_=column) for column, is_later in later.items()}
    return sa.update(table).where(sa.or_(*later.values())).values(moved)


def _is_later(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Return the condition of an event that a clock ahead has dated; one that waits is no event."""
    waiting = column.info.get("waits")
    return column > _now if waiting is None else sa.and_(column > _now, sa.text(f"NOT ({waiting})"))


REDATE: Final = {table.name: _redating(table, columns) for table, _, columns in instants("happened")}


def _expire(c: sa.Connection, *, before: int, at: int, forward: int) -> int:
    """End each right again that had ended by the clock *before*. Return the number of ended rights.

    Args:
        forward: size of a recent step forward; a right that ended by it alone comes back.
    """
    ended = 0
    for table, born, columns in instants("expires"):
        (end,), begin = columns, table.c[born]
        if at > before:
            has_ended = sa.and_(end > before, end <= at)
            ended += c.execute(sa.select(sa.func.count()).select_from(table).where(has_ended)).scalar_one()
            continue
        # Its begin moves with the records.
        c.execute(sa.update(table).where(begin > at).values({end: end + (at - before)}))
        over = sa.update(table).where(begin <= at, end > at, end <= before - forward)
        ended += c.execute(over.values({end: at})).rowcount
    return ended


def _base(c: sa.Connection, query: sa.Select[Any]) -> ClockBase | None:
    known = c.execute(query).scalar_one_or_none()
    try:
        return None if known is None else msgspec.json.decode(known, type=ClockBase)
    except msgspec.DecodeError:  # a broken row, which the next record replaces
        return None


def _write(c: sa.Connection, base: ClockBase) -> ClockBase:
    value = msgspec.json.encode(base).decode()
    if c.execute(sa.update(hub).where(hub.c.key == CLOCK).values(value=value)).rowcount == 0:
        c.execute(sa.insert(hub), {"key": CLOCK, "value": value})
    return base
