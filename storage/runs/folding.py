"""Folding of runs without news, so that agents that run often do not fill the database.

A run has no news if its schedule fired it, it succeeded without a detour, and it found nothing new: no item,
no question to a model, no message of its device, and the same files as the run before it. Of consecutive runs
without news the first stays, and the newest of each hour, so that lists and calendars show when an agent ran.
The others are deleted, with the rows that only tell of them: their moves, those of their agent's activity,
and their lines in the activity log. The newest one counts them (``runs.folded``), and the row of its fire
covers their fires, so that each stays decided.

The end of a run folds those before it in its own transaction, which has locked the state of the agent.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from protocol.ids import AgentId
from storage.kernel.columns import spelled
from storage.schema import activity_log, agent_state_history, changes, run_units, runs, schedule_fires

FIRED: Final = frozenset({"schedule", "catchup"})  # triggers of runs that a schedule started
MOVES: Final = 4  # of a run without a detour: queued, claimed, taken on, completed
BECAUSE: Final = "run {} is "  # begins the reason of an agent's move that follows from a move of the run
HOUR_MS: Final = 3_600_000
EXAMINED: Final = 16  # runs: those that ended within the last seconds are not measured yet

_NONE = (
    *("coalesced_count", "error_count", "units_done", "units_failed", "model_requests"),
    *("items_created", "items_updated", "items_known"),
)
_SAME: Final = (
    *("schedule_id", "device_id", "config_rev", "config_fingerprint"),
    *("units_total", "units_unchanged", "units_skipped"),
)
NEWEST = (
    sa.select(
        *(runs.c[name] for name in ("id", "fire_at", "created_at", "completed_at", "measured_at", "folded")),
        *(runs.c[name] for name in _SAME),
        sa.and_(
            sa.text(f"runs.trigger_kind IN ({spelled(sorted(FIRED))}) AND runs.outcome = 'success'"),
            *(runs.c[name] == 0 for name in _NONE),
            runs.c.state_seq == MOVES,
            runs.c.status_message.is_(None),
            sa.cast(runs.c.context, sa.Text) == "{}",
        ).label("has_no_news"),
    )
    .where(runs.c.agent_id == sa.bindparam("agent"), runs.c.completed_at.is_not(None))
    .order_by(runs.c.completed_at.desc())
    .limit(EXAMINED)
)
_before = run_units.alias("before")
OTHER_UNITS = (
    sa.select(run_units.c.unit_key)
    .where(
        run_units.c.run_id == sa.bindparam("newer"),
        ~sa.exists().where(
            _before.c.run_id == sa.bindparam("older"),
            _before.c.unit_key == run_units.c.unit_key,
            _before.c.content_hash == run_units.c.content_hash,
            _before.c.error.is_not_distinct_from(run_units.c.error),
        ),
    )
    .limit(1)
)
_within = (
    schedule_fires.c.schedule_id == sa.bindparam("schedule"),
    schedule_fires.c.fire_at >= sa.bindparam("since"),
    schedule_fires.c.fire_at <= sa.bindparam("until"),
)
FIRES = (
    sa.select(schedule_fires.c.run_id, schedule_fires.c.first_at, schedule_fires.c.missed_count)
    .where(*_within)
    .order_by(schedule_fires.c.fire_at)
)
DROP_FIRES = sa.delete(schedule_fires).where(*_within, schedule_fires.c.run_id == sa.bindparam("older"))
EXTEND_FIRE = (
    sa.update(schedule_fires)
    .where(
        schedule_fires.c.schedule_id == sa.bindparam("schedule"),
        schedule_fires.c.fire_at == sa.bindparam("until"),
    )
    .values(first_at=sa.bindparam("first"), missed_count=schedule_fires.c.missed_count + sa.bindparam("more"))
)
_older = runs.alias("older")
_is_older = _older.c.id == sa.bindparam("older")
COUNT = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("newer"))
    .values(
        folded=runs.c.folded + sa.select(_older.c.folded + 1).where(_is_older).scalar_subquery(),
        folded_since=sa.select(sa.func.coalesce(_older.c.folded_since, _older.c.created_at))
        .where(_is_older)
        .scalar_subquery(),
    )
)
DROPS = (
    sa.delete(activity_log).where(
        activity_log.c.agent_id == sa.bindparam("agent"),
        activity_log.c.at >= sa.bindparam("created"),
        activity_log.c.run_id == sa.bindparam("older"),
    ),
    sa.delete(runs).where(runs.c.id == sa.bindparam("older")),
    # The change of the run that took its place is newer.
    sa.delete(changes).where(changes.c.source == "runs", changes.c.subject == sa.bindparam("older")),
)
_history = agent_state_history.c
ACTIVITY = (
    sa.select(_history.seq, _history.old_value, _history.new_value, _history.reason)
    .where(_history.agent_id == sa.bindparam("agent"), _history.axis == "activity")
    .order_by(_history.seq.desc())
    .limit(MOVES * EXAMINED)
)
DROP_ACTIVITY = sa.delete(agent_state_history).where(
    _history.agent_id == sa.bindparam("agent"), _history.seq.in_(sa.bindparam("moves", expanding=True))
)


def fold(c: sa.Connection, agent_id: AgentId) -> None:
    """Fold the agent's newest runs without news that were measured, each into the next one of its hour."""
    newest, *earlier = c.execute(NEWEST, {"agent": agent_id}).all()
    alike = [newest]
    for run in earlier:
        if not _is_alike(c, alike[-1], run):
            break
        alike.append(run)
    for place in range(len(alike) - 1, 0, -1):
        newer, older = alike[place - 1], alike[place]
        is_first = older is alike[-1] and not older.folded
        is_same_hour = newer.fire_at // HOUR_MS == older.fire_at // HOUR_MS
        if is_same_hour and not is_first and older.measured_at is not None and _join_fires(c, newer, older):
            both = {"newer": newer.id, "older": older.id, "agent": agent_id, "created": older.created_at}
            if moves := _round_trip(c.execute(ACTIVITY, both).all(), older.id):
                c.execute(DROP_ACTIVITY, both | {"moves": moves})
            for statement in (COUNT, *DROPS):
                c.execute(statement, both)


def _is_alike(c: sa.Connection, newer: Any, older: Any) -> bool:
    """Return True if neither run has news, and both found the same files."""
    return (
        newer.has_no_news
        and older.has_no_news
        and all(getattr(newer, name) == getattr(older, name) for name in _SAME)
        and (
            newer.units_skipped == 0
            or c.execute(OTHER_UNITS, {"newer": newer.id, "older": older.id}).first() is None
        )
    )


def _join_fires(c: sa.Connection, newer: Any, older: Any) -> bool:
    """Join the fires of the older run to that of the newer one. Return False if others lie between."""
    within = {"schedule": newer.schedule_id, "since": older.fire_at, "until": newer.fire_at}
    found = c.execute(FIRES, within).all()
    joined = [row for row in found if row.run_id == older.id]
    if not joined or any(row.run_id not in (newer.id, older.id) for row in found):
        return False
    more = sum(row.missed_count + 1 for row in joined)
    c.execute(EXTEND_FIRE, within | {"first": joined[0].first_at, "more": more})
    c.execute(DROP_FIRES, within | {"older": older.id})
    return True


def _round_trip(activity: Sequence[Any], run_id: str) -> list[int]:
    """Return the numbers of the agent's moves by the run, if they led back to where they began.

    Otherwise another run moved the agent meanwhile, and its moves follow from those of this one.
    """
    begin = BECAUSE.format(run_id)
    places = [place for place, move in enumerate(activity) if move.reason.startswith(begin)]
    own = activity[places[0] : places[-1] + 1] if places else []
    is_closed = len(own) == len(places) and own and own[0].new_value == own[-1].old_value
    return [move.seq for move in own] if is_closed else []
