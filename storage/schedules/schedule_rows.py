"""Schedules and slots in the database: reading, listing and locking."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, UserId
from storage.kernel.columns import (
    Key,
    columns_of,
    in_parts,
    paged,
    readable,
    readable_page,
    reader,
    struct_from,
)
from storage.schema import agent_states, agents, schedules

Kind = Literal["cron", "every", "at"]
Overlap = Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"]
Coalesce = Literal["latest", "earliest", "all"]
FireAction = Literal["run", "wake"]

# Progress of a schedule's first run at a connection; see ``fire_rows``.
FirstConnect = Literal["awaited", "due", "done"]
AWAITED: Final[FirstConnect] = "awaited"
DUE_NOW: Final[FirstConnect] = "due"
DONE: Final[FirstConnect] = "done"

# Reasons why a schedule is disabled; the last marks an enabled schedule that catches up after a pause.
USER, FAILURES, FINISHED, REMOVED, BROKEN, CATCHING_UP = (
    "user",
    "failures",
    "finished",
    "removed",
    "broken",
    "catching_up",
)


_UNITS: Final = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"))
_WEEKDAYS: Final = {
    key: name
    for number, name in enumerate(
        ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    )
    for key in (str(number), name[:3].lower())
}
_TIMED: Final = re.compile(r"([0-5]?[0-9]) ([01]?[0-9]|2[0-3]) (\*|[0-9]{1,2}) \* (\*|[0-9a-z,-]{1,40})")
_REPEATED: Final = {
    "* * * * *": "every minute",
    "0 * * * *": "every hour",
    **{f"*/{n} * * * *": f"every {n} minutes" for n in (2, 3, 4, 5, 6, 10, 12, 15, 20, 30)},
    **{f"0 */{n} * * *": f"every {n} hours" for n in (2, 3, 4, 6, 8, 12)},
}


class DeclaredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Declared schedule: when an agent runs or is woken, and the policies for delayed fires.

    Attributes:
        action: effect of a fire: a run, or a wake, which makes this a *slot* of the agent's calendar.
        label: label of a slot, unique for an agent.
        duration_ms: duration of a slot.
        kind: which of *expr* (valid cron), *every_ms* and *at_ms* is set.
        tz: time zone of *expr*.
        overlap, coalesce, catchup_window_ms, max_catchup, start_deadline_ms: policies of its fires.
        jitter_ms: maximum random delay of a decision.
        pause_after_failures: number of consecutive failures; 0: never pause.
        on_first_connect: an agent that has never run gets a run when its device connects for the first time.
    """

    kind: Kind
    action: FireAction = "run"
    label: str | None = None
    duration_ms: int | None = None
    expr: str | None = None
    every_ms: int | None = None
    at_ms: int | None = None
    tz: str = "UTC"
    overlap: Overlap = "skip"
    coalesce: Coalesce = "latest"
    catchup_window_ms: int | None = None
    max_catchup: int = 10
    start_deadline_ms: int | None = None
    run_timeout_ms: int = 3_600_000
    jitter_ms: int = 0
    max_attempts: int = 5
    pause_after_failures: int = 5
    on_first_connect: bool = False


class ScheduleRow(DeclaredSchedule, frozen=True, kw_only=True):
    """Schedule with its state. Instants are epoch milliseconds.

    Attributes:
        lifecycle, is_archived: of its agent.
        paused_reason: why it is not *enabled*: ``user``, ``failures``, ``finished`` (no fire is left),
            ``removed`` (no longer declared), ``broken`` (unreadable).
        is_catching_up: it was enabled again, and decides the fires that it passed over.
        cursor_at: every fire up to this instant is decided.
        next_fire_at: nominal time of the next fire; for a paused schedule, of the first passed fire.
        due_at: time at which that fire is decided; ``None``: not planned yet, or never.
        first_connect: progress of *on_first_connect*; see ``fire_rows``.
    """

    id: str
    agent_id: AgentId
    agent_name: str
    device_id: DeviceId | None
    lifecycle: str
    is_archived: bool
    enabled: bool
    paused_reason: str | None
    is_catching_up: bool
    consecutive_failures: int
    cursor_at: int
    next_fire_at: int | None
    due_at: int | None
    first_connect: FirstConnect | None
    rev: int
    created_at: int
    updated_at: int

    @property
    def declared(self) -> DeclaredSchedule:
        """Declaration of the schedule."""
        return struct_from(DeclaredSchedule, self)


_FIELDS = [name for name in ScheduleRow.__struct_fields__ if name != "is_catching_up"]
# In the order of _FIELDS: rows are read by position, ten thousand of them in a tick.
_COLUMNS = columns_of(
    ScheduleRow,
    schedules,
    coalesce=schedules.c.coalesce_policy,
    agent_name=agents.c.name,
    device_id=agents.c.device_id,
    lifecycle=agent_states.c.lifecycle,
    is_archived=agents.c.deleted_at.is_not(None),
    on_first_connect=schedules.c.first_connect.is_not(None),
    is_catching_up=None,
)
SCHEDULES = (
    sa.select(*_COLUMNS)
    .join_from(schedules, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
)
# As text: a bound parameter, or ``enabled = 1``, could not use the partial indexes.
IS_PLANNED = sa.text("schedules.enabled AND schedules.due_at IS NOT NULL")
_UNPLANNED = sa.text("schedules.enabled AND schedules.due_at IS NULL")
SCHEDULE = SCHEDULES.where(schedules.c.id == sa.bindparam("schedule"))
_OF_AGENT = SCHEDULES.where(schedules.c.agent_id == sa.bindparam("agent"))
SCHEDULES_OF = _OF_AGENT.where(schedules.c.action == "run").order_by(
    schedules.c.enabled.desc(), schedules.c.created_at.desc(), schedules.c.id.desc()
)
SCHEDULES_OF_AGENTS = SCHEDULES.where(
    schedules.c.agent_id.in_(sa.bindparam("listed", expanding=True)), schedules.c.action == "run"
).order_by(schedules.c.enabled.desc(), schedules.c.created_at.desc(), schedules.c.id.desc())
SLOTS_OF = _OF_AGENT.where(schedules.c.action == "wake").order_by(schedules.c.label, schedules.c.id)
# For writers that depend on the row: another hub may decide a fire meanwhile, and move the cursor.
LOCKED_SCHEDULE, LOCKED_SCHEDULES_OF, LOCKED_SLOTS_OF = (
    query.with_for_update(of=schedules) for query in (SCHEDULE, SCHEDULES_OF, SLOTS_OF)
)
UNPLANNED = (
    SCHEDULES.where(_UNPLANNED, agents.c.deleted_at.is_(None))
    .order_by(schedules.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
NEXT_DUE = (
    sa.select(schedules.c.due_at)
    .join_from(schedules, agents)
    .where(IS_PLANNED, schedules.c.due_at > sa.bindparam("now"), agents.c.deleted_at.is_(None))
    .order_by(schedules.c.due_at)
    .limit(1)
)


def get_schedule(c: sa.Connection, id: str) -> ScheduleRow:
    """Return the schedule.

    Raises:
        CodedError (BAD_PARAMS): no schedule has the id.
    """
    return _found(c, SCHEDULE, id)


def lock_schedule(c: sa.Connection, id: str) -> ScheduleRow:
    """Lock the schedule until the transaction ends, and return it.

    Raises:
        CodedError (BAD_PARAMS): no schedule has the id.
    """
    return _found(c, LOCKED_SCHEDULE, id)


def page_of_declared(
    c: sa.Connection, *, user_id: UserId | None, limit: int | None, after: Key | None
) -> list[ScheduleRow]:
    """Return schedules and slots that are declared, of agents that are not archived, by id."""
    query = SCHEDULES.where(
        agents.c.deleted_at.is_(None),
        sa.or_(schedules.c.enabled, schedules.c.paused_reason != REMOVED),
    )
    if user_id is not None:
        query = query.where(agents.c.user_id == user_id)
    return readable_page(c, read_schedule, paged(query, schedules.c.id, limit=limit, after=after), limit)


def schedules_in(rows: Iterable[Any]) -> list[ScheduleRow]:
    """Convert rows of ``SCHEDULES``, without unreadable ones."""
    return readable(read_schedule, rows)


def schedules_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Return an agent's schedules of runs: the current one first, then those of older releases."""
    return readable(read_schedule, c.execute(SCHEDULES_OF, {"agent": agent_id}))


def schedules_of_agents(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[ScheduleRow]:
    """Return the schedules of runs of these agents, in the order of ``schedules_of``."""
    return [
        schedule
        for part in in_parts(agent_ids)
        for schedule in readable(read_schedule, c.execute(SCHEDULES_OF_AGENTS, {"listed": part}))
    ]


def slots_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Return an agent's slots, by label, including those that are no longer declared."""
    return readable(read_schedule, c.execute(SLOTS_OF, {"agent": agent_id}))


def lock_slots_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Lock an agent's slots until the transaction ends, and return them like ``slots_of``."""
    return readable(read_schedule, c.execute(LOCKED_SLOTS_OF, {"agent": agent_id}))


def lock_schedules_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Lock an agent's schedules until the transaction ends, and return them like ``schedules_of``."""
    return readable(read_schedule, c.execute(LOCKED_SCHEDULES_OF, {"agent": agent_id}))


def unplanned(c: sa.Connection, limit: int) -> list[ScheduleRow]:
    """Return enabled schedules whose next fire is unknown: new, edited, enabled again."""
    return readable(read_schedule, c.execute(UNPLANNED, {"most": limit}))


def next_due_at(c: sa.Connection, at: int) -> int | None:
    """Return when the next schedule becomes due, after those that are due already."""
    return c.execute(NEXT_DUE, {"now": at}).scalar_one_or_none()


def time_text(expr: str | None, every_ms: int | None, at_ms: int | None) -> str:
    """Return a trigger in words: ``every day at 07:00``. A cron expression that has none stays as it is."""
    if every_ms is not None:
        size, unit = next((unit for unit in _UNITS if every_ms % unit[0] == 0), (1_000, "second"))
        return f"every {unit}" if every_ms == size else f"every {every_ms / size:g} {unit}s"
    if at_ms is not None:
        at = datetime.fromtimestamp(at_ms // 1000, UTC)
        return f"once, {at:%Y-%m-%d %H:%M} UTC"
    expr = expr or ""
    timed = _TIMED.fullmatch(expr.lower())
    if timed is None:
        return _REPEATED.get(expr, expr)
    minute, hour, day, weekdays = timed.groups()
    names = [[_WEEKDAYS.get(end, "") for end in part.split("-")] for part in weekdays.split(",")]
    if weekdays == "*":
        days = "every day" if day == "*" else f"on day {day} of each month"
    elif day != "*" or not all(map(all, names)):
        return expr
    else:
        *others, last = map(" to ".join, names)
        days = " and ".join(filter(None, (", ".join(others), last)))
    return f"{days} at {hour:0>2}:{minute:0>2}"


def _found(c: sa.Connection, query: sa.Select[Any], id: str) -> ScheduleRow:
    row = c.execute(query, {"schedule": id}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.BAD_PARAMS, f"there is no schedule {id}")
    return read_schedule(row)


@reader
def read_schedule(row: Any) -> ScheduleRow:
    fields = dict(zip(_FIELDS, row, strict=False))  # additional columns of a query follow
    reason, enabled = fields["paused_reason"], fields["enabled"]
    fields["paused_reason"] = None if enabled else reason
    return struct_from(ScheduleRow, fields, is_catching_up=enabled and reason == CATCHING_UP)
