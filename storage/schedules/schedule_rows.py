"""Rows of schedules and wakes: reading them, due ones, ones to plan.

``storage.schedules.schedules`` changes them.

A wake says that a slot of an agent's calendar has begun, and its device is notified until it acknowledges.
The row is inserted in the transaction that decides the fire, so each slot fires once. States: *waiting* for
the agent's conditions, *sent* but not acknowledged, *deferred* until the agent's quota recovers. Final
states: *acknowledged*, *failed*, *skipped*. Every move states in its UPDATE the values that it read. So of
two hubs, or of an answer and the slot's end, one wins. The fire's row is updated with the outcome.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, UserId
from storage.agents import configs
from storage.agents.configs import Mailbox, ModelUse
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fill,
    fill_each,
    fill_page,
    in_parts,
    paged,
    readable,
    readable_page,
    reader,
)
from storage.kernel.database import UnreadableRow
from storage.schema import Decision, agent_states, agent_templates, agents, schedule_fires, schedules, wakes

Kind = Literal["cron", "every", "at"]
Overlap = Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"]
Coalesce = Literal["latest", "earliest", "all"]
Does = Literal["run", "wake"]

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
    action: Does = "run"
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
        return fill(DeclaredSchedule, self)


class DueSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Schedule with the current settings of its agent's runs."""

    schedule: ScheduleRow
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    mailbox: Mailbox | None = None
    needs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    timezone: str
    model_use: ModelUse = ModelUse()
    priority: int
    config_rev: int


class Unreadable(msgspec.Struct, frozen=True):
    """Due schedule whose agent's settings cannot be read; *why*: explanation for people."""

    schedule: ScheduleRow
    why: str


class Agenda(msgspec.Struct, frozen=True):
    """Pending work of a scheduler; *next_due_at*: time of the next work after this.

    *connected*: schedules whose agent gets a run because its device connected for the first time.
    """

    unplanned: tuple[ScheduleRow, ...]
    due: tuple[DueSchedule, ...]
    next_due_at: int | None
    unreadable: tuple[Unreadable, ...] = ()
    connected: tuple[DueSchedule, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing is to be done now."""
        return not (self.unplanned or self.due or self.unreadable or self.connected)


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
_PLANNED = sa.text("schedules.enabled AND schedules.due_at IS NOT NULL")
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
WITH_SETTINGS = configs.with_configs(
    SCHEDULES.add_columns(
        *columns_of(
            DueSchedule,
            agents,
            schedule=None,
            prompt=sa.func.coalesce(agents.c.prompt_template, agent_templates.c.prompt_template, ""),
            **configs.COLUMNS,
        )
    ).outerjoin(agent_templates, agent_templates.c.id == agents.c.template_id)
)
DUE = (
    WITH_SETTINGS.where(_PLANNED, schedules.c.due_at <= sa.bindparam("now"), agents.c.deleted_at.is_(None))
    .order_by(schedules.c.due_at)  # no other key, so that ten thousand of one minute need no sorting
    .limit(sa.bindparam("most", type_=sa.Integer))
)
# A schedule that is due or not planned yet decides its missed fires first: one of them may start a run.
CONNECTED = (
    WITH_SETTINGS.where(
        sa.text("schedules.first_connect = 'due' AND schedules.enabled"),
        schedules.c.due_at > sa.bindparam("now"),
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle == "active",
    )
    .order_by(schedules.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
NEXT_DUE = (
    sa.select(schedules.c.due_at)
    .join_from(schedules, agents)
    .where(_PLANNED, schedules.c.due_at > sa.bindparam("now"), agents.c.deleted_at.is_(None))
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
    return readable_page(c, _schedule, paged(query, schedules.c.id, limit=limit, after=after), limit)


def schedules_in(rows: Iterable[Any]) -> list[ScheduleRow]:
    """Convert rows of ``SCHEDULES``, without unreadable ones."""
    return readable(_schedule, rows)


def schedules_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Return an agent's schedules of runs: the current one first, then those of older releases."""
    return readable(_schedule, c.execute(SCHEDULES_OF, {"agent": agent_id}))


def schedules_of_agents(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[ScheduleRow]:
    """Return the schedules of runs of these agents, in the order of ``schedules_of``."""
    return [
        schedule
        for part in in_parts(agent_ids)
        for schedule in readable(_schedule, c.execute(SCHEDULES_OF_AGENTS, {"listed": part}))
    ]


def slots_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Return an agent's slots, by label, including those that are no longer declared."""
    return readable(_schedule, c.execute(SLOTS_OF, {"agent": agent_id}))


def lock_slots_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Lock an agent's slots until the transaction ends, and return them like ``slots_of``."""
    return readable(_schedule, c.execute(LOCKED_SLOTS_OF, {"agent": agent_id}))


def lock_schedules_of(c: sa.Connection, agent_id: AgentId) -> list[ScheduleRow]:
    """Lock an agent's schedules until the transaction ends, and return them like ``schedules_of``."""
    return readable(_schedule, c.execute(LOCKED_SCHEDULES_OF, {"agent": agent_id}))


def unplanned(c: sa.Connection, limit: int) -> list[ScheduleRow]:
    """Return enabled schedules whose next fire is unknown: new, edited, enabled again."""
    return readable(_schedule, c.execute(UNPLANNED, {"most": limit}))


def due(c: sa.Connection, at: int, limit: int) -> list[DueSchedule]:
    """Return readable schedules with a fire to decide, longest waiting first."""
    return _with_readable_settings(c, DUE, at, limit)[0]


def next_due_at(c: sa.Connection, at: int) -> int | None:
    """Return when the next schedule becomes due, after those that are due already."""
    return c.execute(NEXT_DUE, {"now": at}).scalar_one_or_none()


def agenda(c: sa.Connection, at: int, limit: int) -> Agenda:
    """Return the scheduler's pending work at this moment."""
    found, unreadable = _with_readable_settings(c, DUE, at, limit)
    connected, unreadable_too = _with_readable_settings(c, CONNECTED, at, limit)
    return Agenda(
        tuple(unplanned(c, limit)),
        tuple(found),
        next_due_at(c, at),
        (*unreadable, *unreadable_too),
        tuple(connected),
    )


def with_settings(c: sa.Connection, id: str) -> DueSchedule:
    """Return the schedule, due or not, with the current settings of its agent's runs.

    Raises:
        CodedError (BAD_PARAMS): no schedule has the id.
        UnreadableConfig: the settings cannot be read.
    """
    row = c.execute(WITH_SETTINGS.where(schedules.c.id == id)).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.BAD_PARAMS, f"there is no schedule {id}")
    return _with_settings(row)


def time_text(expr: str | None, every_ms: int | None, at_ms: int | None) -> str:
    """Return a trigger in words: ``every day at 07:00``. A cron expression that has none stays as it is."""
    if every_ms is not None:
        size, unit = next((one for one in _UNITS if every_ms % one[0] == 0), (1_000, "second"))
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
    return _schedule(row)


def _with_readable_settings(
    c: sa.Connection, query: sa.Select[Any], at: int, limit: int
) -> tuple[list[DueSchedule], list[Unreadable]]:
    """Read schedules row by row, so that an unreadable one does not block the others."""
    most = limit
    while True:
        found: list[DueSchedule] = []
        unreadable: list[Unreadable] = []
        rows = c.execute(query, {"now": at, "most": most}).all()
        for row in rows:
            try:
                found.append(_with_settings(row))
            except UnreadableRow as exc:
                unreadable += [Unreadable(schedule, str(exc)) for schedule in readable(_schedule, [row])]
        if found or unreadable or len(rows) < most:
            return found, unreadable
        most *= 2  # all of them are broken: others take their places


@reader
def _schedule(row: Any) -> ScheduleRow:
    fields = dict(zip(_FIELDS, row, strict=False))  # additional columns of a query follow
    reason, enabled = fields["paused_reason"], fields["enabled"]
    fields["paused_reason"] = None if enabled else reason
    return fill(ScheduleRow, fields, is_catching_up=enabled and reason == CATCHING_UP)


@reader
def _with_settings(row: Any) -> DueSchedule:
    return fill(DueSchedule, row, schedule=_schedule(row), **configs.configs_in(row))


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


class WakeSight(WakeRow, frozen=True, kw_only=True):
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
    sa.select(*_columns(WakeSight))
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


def due_wakes(c: sa.Connection, at: int, limit: int) -> list[WakeSight]:
    """Return the open wakes that can be processed at *at*, longest waiting first."""
    return fill_each(WakeSight, c.execute(DUE_WAKES, {"now": at, "most": limit}))


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
    return fill_page(c, WakeRow, query, limit, {"agent": agent_id})


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


def take(c: sa.Connection, wake: WakeRow, *, at: int, next_at: int) -> bool:
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


def put_off(
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
