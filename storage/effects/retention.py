"""Deletion of old rows: which runs, fires, messages and answers go, and which are kept at any age.

Live runs are never touched. ``runs.rerun_of``, ``unit_ledger.run_id``, ``schedule_fires.run_id`` and
``activity_log.run_id`` may name a deleted run. The ledger needs only its own row; other readers say "a run
that is no longer kept" where ``find_run`` returns nothing. ``vacuum`` returns free pages of a SQLite file,
except ``SPARE_PAGES``.

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
of the new plan (``plans.plan_units``).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from storage.kernel.columns import Int
from storage.runs.calls import IS_OPEN
from storage.runs.model_batches import is_run_on
from storage.schema import (
    activity_log,
    agent_config_history,
    agent_state_history,
    agents,
    broadcasts,
    deliveries,
    failed_attempts,
    hub,
    idempotency_keys,
    issue_mutes,
    item_excerpts,
    item_proposals,
    item_verdicts,
    items,
    message_moves,
    messages,
    model_answers,
    model_batches,
    model_calls,
    posted,
    questions,
    receipts,
    run_calls,
    run_state_history,
    run_units,
    runs,
    schedule_fires,
    schedules,
    seen_messages,
    sign_ins,
    wakes,
)

ROWS = 500  # in one transaction: a few milliseconds of the only writer
RUNS = 100  # examined in one transaction
PAGES = 250  # pages of 4 kB, moved in one transaction
SPARE_PAGES = 2_000  # 8 MB of free pages stay in the file, for the next hour's writes

ROW_LIMIT: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer)
_before: sa.BindParameter[int] = sa.bindparam("before")
_old: sa.BindParameter[str] = sa.bindparam("old", expanding=True)


class Pruning:
    """Function that deletes old rows of a table, oldest first.

    Args:
        at: column with the age of a row.
        only: further conditions of the rows.
    """

    def __init__(
        self, table: sa.Table, at: sa.Column[Any], *only: sa.ColumnElement[bool] | sa.TextClause
    ) -> None:
        key = list(table.primary_key)
        oldest = sa.select(*key).where(*only, at < _before).order_by(at).limit(ROW_LIMIT)
        self._drop = sa.delete(table).where((sa.tuple_(*key) if len(key) > 1 else key[0]).in_(oldest))

    def __call__(self, c: sa.Connection, /, *, before: int, rows: int = ROWS, **values: str) -> int:
        """Delete at most *rows* rows of before *before*. Return the number of deleted rows.

        Args:
            values: parameters of the further conditions.
        """
        return c.execute(self._drop, {"before": before, "rows": rows} | values).rowcount


DAY_MS = 86_400_000

_ended = runs.alias("ended")
_oldest_retained = (
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
        runs.c.completed_at < _oldest_retained.scalar_subquery(),
        sa.or_(
            runs.c.state != sa.literal_column("'FAILED'", runs.c.state.type),
            runs.c.completed_at < sa.bindparam("failed_before"),
        ),
        ~sa.exists().where(run_calls.c.run_id == runs.c.id, _waits.correlate(run_calls)),
    )
    .order_by(runs.c.completed_at)
    .limit(ROW_LIMIT)
)
# Checked again under the row's lock: meanwhile a plan may have adopted the call into another run.
_is_of_old_run = run_calls.c.run_id.in_(_old)
DROP_CALLS = sa.delete(run_calls).where(
    run_calls.c.call_id.in_(sa.select(run_calls.c.call_id).where(_is_of_old_run).limit(ROW_LIMIT)),
    _is_of_old_run,
)
_unit = sa.tuple_(run_units.c.run_id, run_units.c.unit_key)
DROP_UNITS = sa.delete(run_units).where(
    _unit.in_(
        sa.select(run_units.c.run_id, run_units.c.unit_key)
        .where(run_units.c.run_id.in_(_old))
        .limit(ROW_LIMIT)
    )
)
_move = sa.tuple_(run_state_history.c.run_id, run_state_history.c.seq)
DROP_HISTORY = sa.delete(run_state_history).where(
    _move.in_(
        sa.select(run_state_history.c.run_id, run_state_history.c.seq)
        .where(run_state_history.c.run_id.in_(_old))
        .limit(ROW_LIMIT)
    )
)
DROP_RUNS = sa.delete(runs).where(
    runs.c.id.in_(sa.select(runs.c.id).where(runs.c.id.in_(_old)).limit(ROW_LIMIT))
)


_oldest = (
    sa.select(_ended.c.completed_at)
    .where(_ended.c.agent_id == agents.c.id, _ended.c.completed_at.is_not(None))
    .order_by(_ended.c.completed_at)
    .limit(1)
    .scalar_subquery()
)
_oldest_retained_run = (
    sa.select(_ended.c.completed_at)
    .where(_ended.c.agent_id == agents.c.id, _ended.c.completed_at.is_not(None))
    .order_by(_ended.c.completed_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
    .scalar_subquery()
)
_after: sa.BindParameter[str] = sa.bindparam("after", type_=sa.Text)
AGENTS_FROM = (
    sa.select(
        agents.c.id,
        # a case, as most agents have no old run
        sa.case((_oldest < _before, _oldest < _oldest_retained_run), else_=sa.false()).label("is_found"),
    )
    .where(agents.c.id > _after)
    .order_by(agents.c.id)
    .limit(ROW_LIMIT)
)


def list_agents_with_old_runs(
    c: sa.Connection, after: str, *, before: int, retained: int, rows: int = ROWS
) -> tuple[list[str], str]:
    """Return those with more than *retained* ended runs, some before *before*, of *rows* agents.

    Archived agents, too.

    Args:
        after: id of an agent; those behind it are examined.

    Returns:
        The ids, and the place to go on; empty after the last agent.
    """
    return _examine(c, AGENTS_FROM, rows, {"after": after, "before": before, "newer": retained - 1})


def _examine(
    c: sa.Connection, query: sa.Select[Any], rows: int, given: dict[str, Any]
) -> tuple[list[str], str]:
    examined = c.execute(query, given | {"rows": rows}).all()
    found = [row.id for row in examined if row.is_found]
    return found, examined[-1].id if len(examined) == rows else ""


def prune_runs(
    c: sa.Connection,
    agent_ids: Sequence[str],
    *,
    before: int,
    failed_before: int,
    retained: int,
    rows: int = ROWS,
) -> int:
    """Delete runs of these agents that ended before *before*, with their units, calls and history.

    The last run that a transaction touches may keep some of its rows until the next call.

    Args:
        agent_ids: agents to prune; each costs two queries, so a caller passes only some at a time.
        before, failed_before: epoch milliseconds; the second for FAILED runs.
        retained: number of runs of each agent, the last ended, that stay at any age; at least 1.
        rows: maximum number of rows to delete in this transaction, of all tables together.

    Returns:
        The number of deleted rows; 0 if none are left to delete.
    """
    ended = {"before": before, "failed_before": failed_before, "newer": retained - 1}
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
    .limit(ROW_LIMIT)
)
FORGET = (
    sa.update(run_calls)
    .where(
        run_calls.c.call_id.in_(
            sa.select(run_calls.c.call_id)
            .where(_is_of_old_run, run_calls.c.payload.is_not(None), ~_waits)
            .limit(ROW_LIMIT)
        ),
        _is_of_old_run,
    )
    .values(payload=None)
)


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
    forgotten = sa.update(runs).where(runs.c.id.in_(old)).values(forgotten_at=at)
    return forgot + c.execute(forgotten).rowcount


# The schedule's cursor prevents a second decision. A backfill of a deleted range would decide again.
prune_fires = Pruning(schedule_fires, schedule_fires.c.decided_at)


prune_wakes = Pruning(wakes, wakes.c.settled_at)


# With the words of the items: a verdict can be undone as long as its row is here. The values that one gave
# to an item are in no other row, and stay as long as it is not undone and the item has no newer version.
# One that leads others stays until they are settled, too: they are sent once it is done.
_undoing, _led = item_verdicts.alias(), item_verdicts.alias()
prune_verdicts = Pruning(
    item_verdicts,
    item_verdicts.c.settled_at,
    ~sa.exists().where(_led.c.led_by == item_verdicts.c.id, _led.c.settled_at.is_(None)),
    sa.or_(
        sa.text("item_verdicts.state <> 'done'"),
        sa.cast(item_verdicts.c.data, sa.Text) == "{}",
        ~sa.exists().where(
            items.c.id == item_verdicts.c.item_id, items.c.call_id == item_verdicts.c.seen_call
        ),
        sa.exists().where(
            _undoing.c.item_id == item_verdicts.c.item_id,
            _undoing.c.undoes == item_verdicts.c.id,
            _undoing.c.state == "done",
        ),
    ),
)
prune_proposals = Pruning(item_proposals, item_proposals.c.settled_at)
# Of items without a verdict: those of the others are gone.
prune_excerpts = Pruning(item_excerpts, item_excerpts.c.created_at)


OLDEST_RETAINED_FIRE = (
    sa.select(schedule_fires.c.fire_at)
    .where(schedule_fires.c.schedule_id == sa.bindparam("schedule"))
    .order_by(schedule_fires.c.fire_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
)
_prune_fires_of = Pruning(
    schedule_fires, schedule_fires.c.fire_at, schedule_fires.c.schedule_id == sa.bindparam("schedule")
)


_is_crowded = (
    sa.select(schedule_fires.c.fire_at)
    .where(schedule_fires.c.schedule_id == schedules.c.id)
    .order_by(schedule_fires.c.fire_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
    .scalar_subquery()
    .is_not(None)
)
SCHEDULES_FROM = (
    sa.select(schedules.c.id, _is_crowded.label("is_found"))
    .where(schedules.c.id > _after)
    .order_by(schedules.c.id)
    .limit(ROW_LIMIT)
)


def list_crowded_schedules(
    c: sa.Connection, after: str, *, retained: int, rows: int = ROWS
) -> tuple[list[str], str]:
    """Return those with more than *retained* fires of the *rows* schedules behind *after*.

    Also disabled ones. See ``list_agents_with_old_runs`` for the result.
    """
    return _examine(c, SCHEDULES_FROM, rows, {"after": after, "newer": retained})


def prune_crowded_fires(
    c: sa.Connection, schedule_ids: Sequence[str], *, retained: int, rows: int = ROWS
) -> int:
    """Delete all but the newest *retained* fires of each schedule. Return the number of deleted rows.

    Scans up to *retained* rows of each schedule, so a caller passes only some at a time.
    """
    went = 0
    for schedule_id in schedule_ids:
        if went == rows:
            break
        crowd = {"schedule": schedule_id, "newer": retained - 1}
        oldest_retained = c.execute(OLDEST_RETAINED_FIRE, crowd).scalar_one_or_none()
        if oldest_retained is not None:
            went += _prune_fires_of(c, before=oldest_retained, rows=rows - went, schedule=schedule_id)
    return went


prune_activity = Pruning(activity_log, activity_log.c.at)
_later = agent_state_history.alias()
_is_newest = ~sa.exists().where(
    _later.c.agent_id == agent_state_history.c.agent_id,
    _later.c.axis == agent_state_history.c.axis,
    _later.c.seq > agent_state_history.c.seq,
)
# The newest change on each axis stays: it dates and explains the agent's current state.
prune_agent_history = Pruning(agent_state_history, agent_state_history.c.at, ~_is_newest)
_later_config = agent_config_history.alias()
# The newest change of an agent stays: the next is numbered after it.
prune_config_history = Pruning(
    agent_config_history,
    agent_config_history.c.at,
    sa.exists().where(
        _later_config.c.agent_id == agent_config_history.c.agent_id,
        _later_config.c.seq > agent_config_history.c.seq,
    ),
)
_later_receipt = receipts.alias()
# The newest receipt of a device stays: the next one is numbered after it, and names it.
prune_receipts = Pruning(
    receipts,
    receipts.c.at,
    sa.exists().where(
        _later_receipt.c.device_id == receipts.c.device_id, _later_receipt.c.number > receipts.c.number
    ),
)
# Requests whose stored responses are deleted would run again.
prune_idempotency = Pruning(idempotency_keys, idempotency_keys.c.created_at)


# --- answers of models, requests to them, batches

prune_answers = Pruning(model_answers, model_answers.c.used_at)
# Requests outlive their runs, because costs are also reported by day, agent and user.
prune_calls = Pruning(model_calls, model_calls.c.at)
# A run that has not ended would submit its questions again, and pay for them again.
prune_batches = Pruning(model_batches, model_batches.c.created_at, ~is_run_on)


Place = tuple[int, int]
ANSWERS_FROM: Place = (2**62, 0)  # the beginning: above the newest answer
_used_at = model_answers.c.used_at
NTH_ANSWER = (
    sa.select(_used_at)
    .where(_used_at < sa.bindparam("from", type_=Int))
    .order_by(_used_at.desc())
    .limit(1)
    .offset(sa.bindparam("newer", type_=sa.Integer))
)


def count_answers(c: sa.Connection, place: Place, *, retained: int, rows: int) -> tuple[int | None, Place]:
    """Count answers from *place*, newest first. Return an instant if answers used before it are surplus.

    About *retained* answers were used since that instant: those used at the instant where a count goes on are
    counted once. Also returns the place to go on.

    Args:
        place: instant above the answers that were not counted yet, and the number of counted ones.
    """
    start, counted = place
    some = min(rows, retained + 1 - counted)
    if some < 1:
        return start, ANSWERS_FROM  # fewer are retained than when the count began
    last = c.execute(NTH_ANSWER, {"from": start, "newer": some - 1}).scalar_one_or_none()
    if last is None:
        return None, ANSWERS_FROM
    return (last, ANSWERS_FROM) if counted + some > retained else (None, (last, counted + some))


# --- messages of mailboxes, posts, sign-ins and failed attempts

prune_seen = Pruning(seen_messages, seen_messages.c.seen_at)
prune_left_out = Pruning(seen_messages, seen_messages.c.seen_at, sa.text("seen_messages.state = 'left_out'"))
prune_posted = Pruning(posted, posted.c.settled_at, sa.text("posted.settled_at IS NOT NULL"))
prune_sign_ins = Pruning(sign_ins, sign_ins.c.expires_at)
prune_attempts = Pruning(failed_attempts, failed_attempts.c.failed_at)
prune_deliveries = Pruning(deliveries, deliveries.c.created_at)
prune_mutes = Pruning(issue_mutes, issue_mutes.c.ends_at, sa.text("issue_mutes.ends_at IS NOT NULL"))


# --- messages between agents, questions and broadcasts

# Rows of notified devices are deleted too. The answers stay in the memories of their boards.
prune_questions = Pruning(questions, questions.c.settled_at)
OLD_MESSAGES = (
    sa.select(messages.c.id)
    .where(messages.c.settled_at < _before)
    .order_by(messages.c.settled_at)
    .limit(ROW_LIMIT)
)
_message_move = sa.tuple_(message_moves.c.message_id, message_moves.c.seq)
DROP_MOVES = sa.delete(message_moves).where(
    _message_move.in_(
        sa.select(message_moves.c.message_id, message_moves.c.seq)
        .where(message_moves.c.message_id.in_(_old))
        .limit(ROW_LIMIT)
    )
)
_has_messages = sa.exists().where(messages.c.broadcast_id == broadcasts.c.id)
# After all its messages.
prune_broadcasts = Pruning(broadcasts, broadcasts.c.settled_at, ~_has_messages)
MESSAGES = 100  # examined in one transaction


def prune_messages(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete messages that were settled before *before*, and their moves. Return the number of deleted rows.

    Answers stay in the memories of boards.
    """
    old = list(c.execute(OLD_MESSAGES, {"before": before, "rows": MESSAGES}).scalars())
    if not old:
        return 0
    if moves := c.execute(DROP_MOVES, {"old": old, "rows": rows}).rowcount:
        return moves  # moves first: a message with many moves takes more than one transaction
    return c.execute(sa.delete(messages).where(messages.c.id.in_(old))).rowcount


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


PLACES = "housekeeping.places"  # key in the table hub


class PruningCursors(msgspec.Struct, frozen=True):
    """Places where the searches go on: primary keys; empty: at the beginning."""

    unit: tuple[str, str] = ("", "")
    item: str = ""
    agent: str = ""  # whose runs may be old
    schedule: str = ""  # whose fires may be too many
    answers: tuple[int, int] = ANSWERS_FROM  # counted to here, see ``count_answers``


def find_places(c: sa.Connection) -> PruningCursors:
    """Return the stored places; the beginnings if they are unreadable."""
    stored = c.execute(sa.select(hub.c.value).where(hub.c.key == PLACES)).scalar_one_or_none()
    try:
        return PruningCursors() if stored is None else msgspec.json.decode(stored, type=PruningCursors)
    except msgspec.DecodeError:
        return PruningCursors()


def note_places(c: sa.Connection, places: PruningCursors) -> None:
    """Store the places."""
    value = msgspec.json.encode(places).decode()
    if c.execute(sa.update(hub).where(hub.c.key == PLACES).values(value=value)).rowcount == 0:
        c.execute(sa.insert(hub), {"key": PLACES, "value": value})
