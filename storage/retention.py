"""Deletion of old rows: each function is one bounded transaction, to be repeated until it returns 0.

Live runs are never touched. ``runs.rerun_of``, ``unit_ledger.run_id``, ``schedule_fires.run_id`` and
``activity_log.run_id`` may name a deleted run. The ledger needs only its own row; other readers say "a run
that is no longer kept" where ``find_run`` returns nothing.

**Why no item is delivered twice** although ``run_calls`` of old runs are deleted. A known call id prevents a
second send only while its row exists. A plan can name an old id only if the ledger does not skip the unit
before. That happens if the unit failed in part, or if its content or its agent's prompt returned to an
earlier state. Then:

* while runs see the unit again and again, every plan adopts the rows into the newest run, so they are never
  old;
* an agent that rests keeps its newest runs at any age, with their calls;
* otherwise the call is planned again and sent with its old id. The device answers it from its own store,
  where an answer lasts as long as the row it describes (PROTOCOL.md, "Calls"). Only a device that kept ids no
  longer than the hub keeps runs would insert again.

``forget_payloads`` keeps id, state and answer. A call that an adopting run has to send again gets the payload
of the new plan (``plans.plan_unit``).
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from storage.runs.calls import IS_OPEN
from storage.schema import (
    activity_log,
    agent_config_history,
    agent_state_history,
    agents,
    hub,
    idempotency_keys,
    run_calls,
    run_state_history,
    run_units,
    runs,
    schedule_fires,
    schedules,
    wakes,
)

ROWS = 500  # in one transaction: a few milliseconds of the only writer
RUNS = 100  # examined in one transaction
PAGES = 250  # pages of 4 kB, moved in one transaction
SPARE_PAGES = 2_000  # 8 MB of free pages stay in the file, for the next hour's writes

_rows: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer)
_before: sa.BindParameter[int] = sa.bindparam("before")
_old: sa.BindParameter[str] = sa.bindparam("old", expanding=True)

DAY_MS = 86_400_000
STEADY_MS = 90 * 60_000  # with an hourly check, the third check that agrees

CLOCK = "housekeeping.clock"  # key in the table hub
KNOWN_CLOCK = sa.select(hub.c.value).where(hub.c.key == CLOCK).with_for_update()
KEEP_CLOCK = sa.update(hub).where(hub.c.key == CLOCK).values(value=sa.bindparam("looks"))


class _Looks(msgspec.Struct, frozen=True):
    """Time of the last check of the clock, and start of the period in which all checks agreed."""

    at: int
    since: int


def is_clock_steady(c: sa.Connection, at: int) -> bool:
    """Return True if the clock is plausible, so that rows older than *at* may be deleted.

    To be called about once an hour. A clock that differs by a day or more from the check before is wrong now,
    or was wrong then. Otherwise no check ran for a long time. The clock counts as steady again after it has
    advanced normally for an hour and a half. Timestamps of other rows prove nothing, because a hub with a
    wrong clock writes them with that clock.
    """
    known = c.execute(KNOWN_CLOCK).scalar_one_or_none()
    before = None if known is None else msgspec.json.decode(known, type=_Looks)
    agrees = before is not None and abs(at - before.at) < DAY_MS
    looks = _Looks(at, before.since if before is not None and agrees else at)
    if known is None:
        c.execute(sa.insert(hub), {"key": CLOCK, "value": msgspec.json.encode(looks).decode()})
    else:
        c.execute(KEEP_CLOCK, {"looks": msgspec.json.encode(looks).decode()})
    return at - looks.since >= STEADY_MS


AGENTS = sa.select(agents.c.id).order_by(agents.c.id)
_ended = runs.alias("ended")
_oldest_kept = (
    sa.select(_ended.c.completed_at)
    .where(_ended.c.agent_id == sa.bindparam("agent"), _ended.c.completed_at.is_not(None))
    .order_by(_ended.c.completed_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
)
# A mailbox's cursor is already past this data, so the call waits for its device at any age.
_waits = sa.exists().where(
    runs.c.id == run_calls.c.run_id,
    agents.c.id == runs.c.agent_id,
    sa.text("agents.executor = 'connector'"),
    IS_OPEN,
)
OLD_RUNS = (
    sa.select(runs.c.id)
    .where(
        runs.c.agent_id == sa.bindparam("agent"),
        runs.c.completed_at < _before,
        runs.c.completed_at < _oldest_kept.scalar_subquery(),
        sa.or_(
            runs.c.state != sa.literal_column("'FAILED'", runs.c.state.type),
            runs.c.completed_at < sa.bindparam("failed_before"),
        ),
        ~sa.exists().where(run_calls.c.run_id == runs.c.id, _waits.correlate(run_calls)),
    )
    .order_by(runs.c.completed_at)
    .limit(_rows)
)
# Checked again under the row's lock: meanwhile a plan may have adopted the call into another run.
_is_of_old_run = run_calls.c.run_id.in_(_old)
DROP_CALLS = sa.delete(run_calls).where(
    run_calls.c.call_id.in_(sa.select(run_calls.c.call_id).where(_is_of_old_run).limit(_rows)),
    _is_of_old_run,
)
_unit = sa.tuple_(run_units.c.run_id, run_units.c.unit_key)
DROP_UNITS = sa.delete(run_units).where(
    _unit.in_(
        sa.select(run_units.c.run_id, run_units.c.unit_key).where(run_units.c.run_id.in_(_old)).limit(_rows)
    )
)
_move = sa.tuple_(run_state_history.c.run_id, run_state_history.c.seq)
DROP_HISTORY = sa.delete(run_state_history).where(
    _move.in_(
        sa.select(run_state_history.c.run_id, run_state_history.c.seq)
        .where(run_state_history.c.run_id.in_(_old))
        .limit(_rows)
    )
)
DROP_RUNS = sa.delete(runs).where(runs.c.id.in_(sa.select(runs.c.id).where(runs.c.id.in_(_old)).limit(_rows)))


def list_agent_ids(c: sa.Connection) -> list[AgentId]:
    """Return the ids of all agents, also archived ones, whose runs may be pruned."""
    return [AgentId(id) for id in c.execute(AGENTS).scalars()]


def prune_runs(
    c: sa.Connection,
    agent_ids: Sequence[AgentId],
    *,
    before: int,
    failed_before: int,
    kept: int,
    rows: int = ROWS,
) -> int:
    """Delete runs of these agents that ended before *before*, with their units, calls and history.

    The last run that a transaction touches may keep some of its rows until the next call.

    Args:
        agent_ids: agents to prune; each costs two queries, so a caller passes only some at a time.
        before, failed_before: epoch milliseconds; the second for FAILED runs.
        kept: number of runs of each agent, the last ended, that stay at any age; at least 1.
        rows: maximum number of rows to delete in this transaction, of all tables together.

    Returns:
        The number of deleted rows; 0 if none are left to delete.
    """
    ended = {"before": before, "failed_before": failed_before, "newer": kept - 1}
    went = 0
    for agent_id in agent_ids:
        if went == rows:
            break
        chosen = ended | {"agent": agent_id, "rows": rows - went}
        old = c.execute(OLD_RUNS, chosen).scalars().all()
        for drop in (DROP_CALLS, DROP_UNITS, DROP_HISTORY, DROP_RUNS):
            if old and went < rows:
                went += c.execute(drop, {"old": old, "rows": rows - went}).rowcount
    return went


REMEMBERED = (
    sa.select(runs.c.id)
    .where(runs.c.completed_at.is_not(None), runs.c.forgotten_at.is_(None), runs.c.completed_at < _before)
    .order_by(runs.c.completed_at)
    .limit(_rows)
)
FORGET = (
    sa.update(run_calls)
    .where(
        run_calls.c.call_id.in_(
            sa.select(run_calls.c.call_id)
            .where(_is_of_old_run, run_calls.c.payload.is_not(None), ~_waits)
            .limit(_rows)
        ),
        _is_of_old_run,
    )
    .values(payload=None)
)
MARK_FORGOTTEN = sa.update(runs).where(runs.c.id.in_(_old)).values(forgotten_at=sa.bindparam("now"))


def forget_payloads(c: sa.Connection, *, before: int, at: int, rows: int = ROWS) -> int:
    """Delete the payloads of calls of runs that ended before *before*: text of items, and their quotes.

    Id, state and answer stay. The item's own text and quote stay in ``items`` as long as its agent exists. A
    new version of a file is compared with them, and a device that lost the row gets them again.

    Returns:
        The number of changed rows, calls and runs; 0 if none are left.
    """
    old = c.execute(REMEMBERED, {"before": before, "rows": RUNS}).scalars().all()
    if not old:
        return 0
    forgot = c.execute(FORGET, {"old": old, "rows": rows}).rowcount
    if forgot == rows:
        return forgot  # these runs may have more calls
    return forgot + c.execute(MARK_FORGOTTEN, {"old": old, "now": at}).rowcount


_fire = sa.tuple_(schedule_fires.c.schedule_id, schedule_fires.c.fire_at)
_fires = sa.select(schedule_fires.c.schedule_id, schedule_fires.c.fire_at)
DROP_FIRES = sa.delete(schedule_fires).where(
    _fire.in_(
        _fires.where(schedule_fires.c.decided_at < _before).order_by(schedule_fires.c.decided_at).limit(_rows)
    )
)


def prune_fires(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete decisions about fires made before *before*. Return the number of deleted rows.

    The schedule's cursor prevents a second decision about them. A backfill of a deleted range would decide
    them again.
    """
    return c.execute(DROP_FIRES, {"before": before, "rows": rows}).rowcount


DROP_WAKES = sa.delete(wakes).where(
    wakes.c.id.in_(
        sa.select(wakes.c.id).where(wakes.c.settled_at < _before).order_by(wakes.c.settled_at).limit(_rows)
    )
)


def prune_wakes(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete wakes that were settled before *before*. Return the number of deleted rows."""
    return c.execute(DROP_WAKES, {"before": before, "rows": rows}).rowcount


SCHEDULES = sa.select(schedules.c.id).order_by(schedules.c.id)
OLDEST_KEPT_FIRE = (
    sa.select(schedule_fires.c.fire_at)
    .where(schedule_fires.c.schedule_id == sa.bindparam("schedule"))
    .order_by(schedule_fires.c.fire_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
)
DROP_CROWDED = sa.delete(schedule_fires).where(
    _fire.in_(
        _fires.where(
            schedule_fires.c.schedule_id == sa.bindparam("schedule"),
            schedule_fires.c.fire_at < sa.bindparam("oldest_kept"),
        )
        .order_by(schedule_fires.c.fire_at)
        .limit(_rows)
    )
)


def list_schedule_ids(c: sa.Connection) -> list[str]:
    """Return the ids of all schedules, also disabled ones, for ``prune_crowded_fires``."""
    return list(c.execute(SCHEDULES).scalars())


def prune_crowded_fires(c: sa.Connection, schedule_ids: Sequence[str], *, kept: int, rows: int = ROWS) -> int:
    """Delete all but the newest *kept* fires of each of these schedules. Return the number of deleted rows.

    Scans up to *kept* rows of each schedule, so a caller passes only some at a time.
    """
    went = 0
    for schedule_id in schedule_ids:
        if went == rows:
            break
        crowd = {"schedule": schedule_id, "newer": kept - 1}
        oldest_kept = c.execute(OLDEST_KEPT_FIRE, crowd).scalar_one_or_none()
        if oldest_kept is not None:
            crowd |= {"oldest_kept": oldest_kept, "rows": rows - went}
            went += c.execute(DROP_CROWDED, crowd).rowcount
    return went


DROP_ACTIVITY = sa.delete(activity_log).where(
    activity_log.c.id.in_(
        sa.select(activity_log.c.id)
        .where(activity_log.c.at < _before)
        .order_by(activity_log.c.at)
        .limit(_rows)
    )
)
_agent_move = sa.tuple_(agent_state_history.c.agent_id, agent_state_history.c.seq)
_later = agent_state_history.alias()
_is_newest = ~sa.exists().where(
    _later.c.agent_id == agent_state_history.c.agent_id,
    _later.c.axis == agent_state_history.c.axis,
    _later.c.seq > agent_state_history.c.seq,
)
DROP_AGENT_HISTORY = sa.delete(agent_state_history).where(
    _agent_move.in_(
        sa.select(agent_state_history.c.agent_id, agent_state_history.c.seq)
        .where(agent_state_history.c.at < _before, ~_is_newest)
        .order_by(agent_state_history.c.at)
        .limit(_rows)
    )
)
_config_move = sa.tuple_(agent_config_history.c.agent_id, agent_config_history.c.seq)
_later_config = agent_config_history.alias()
DROP_CONFIG_HISTORY = sa.delete(agent_config_history).where(
    _config_move.in_(
        sa.select(agent_config_history.c.agent_id, agent_config_history.c.seq)
        .where(
            agent_config_history.c.at < _before,
            sa.exists().where(
                _later_config.c.agent_id == agent_config_history.c.agent_id,
                _later_config.c.seq > agent_config_history.c.seq,
            ),
        )
        .order_by(agent_config_history.c.at)
        .limit(_rows)
    )
)
_key = sa.tuple_(idempotency_keys.c.scope, idempotency_keys.c.key)
DROP_ANSWERS = sa.delete(idempotency_keys).where(
    _key.in_(
        sa.select(idempotency_keys.c.scope, idempotency_keys.c.key)
        .where(idempotency_keys.c.created_at < _before)
        .order_by(idempotency_keys.c.created_at)
        .limit(_rows)
    )
)


def prune_activity(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete entries of the activity log older than *before*. Return the number of deleted rows."""
    return c.execute(DROP_ACTIVITY, {"before": before, "rows": rows}).rowcount


def prune_agent_history(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete state changes of agents before *before*. Return the number of deleted rows.

    The newest change on each axis stays: it dates and explains the agent's current state.
    """
    return c.execute(DROP_AGENT_HISTORY, {"before": before, "rows": rows}).rowcount


def prune_config_history(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete config changes of agents before *before*. Return the number of deleted rows.

    The newest change of an agent stays: the next is numbered after it.
    """
    return c.execute(DROP_CONFIG_HISTORY, {"before": before, "rows": rows}).rowcount


def prune_idempotency(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete stored responses older than *before*; their requests would then run again.

    Returns:
        The number of deleted rows.
    """
    return c.execute(DROP_ANSWERS, {"before": before, "rows": rows}).rowcount


def vacuum(c: sa.Connection, *, pages: int = PAGES, spare: int = SPARE_PAGES) -> int:
    """Return free pages of the SQLite file to the file system, except *spare*. Return their number.

    Runs inside the transaction like any write; the file shrinks at the next checkpoint. The driver steps a
    PRAGMA once, so each statement frees one page, whatever its argument. Always 0 on PostgreSQL, which
    vacuums itself, and in a file created without ``auto_vacuum``.
    """
    if c.dialect.name != "sqlite" or c.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == 0:
        return 0
    free = c.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    surplus = max(0, min(pages, free - spare))
    for _ in range(surplus):
        c.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return int(surplus)
