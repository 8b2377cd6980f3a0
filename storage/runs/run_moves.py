"""Creation and state changes of runs; recovery after a hub's crash, end after three crashes.

Also recovery of runs from a dead hub, and adoption of undelivered units by an agent's next run. Runs over
files need no adoption, because their files are read again. A mailbox message is never read again after its
items are planned, so they must be delivered whatever the end of their run.

Folding of runs without news, so that agents that run often do not fill the database.

A run has no news if its schedule fired it, it succeeded without a detour, and it found nothing new: no item,
no question to a model, no message of its device, and the same files as the run before it. Of consecutive runs
without news the first stays, and the newest of each hour, so that lists and calendars show when an agent ran.
The others are deleted, with the rows that only tell of them: their moves, those of their agent's activity,
and their lines in the activity log. The newest one counts them (``runs.folded``), and the row of its fire
covers their fires, so that each stays decided.

The end of a run folds those before it in its own transaction, which has locked the state of the agent.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_status import FINAL, Lifecycle
from protocol.causes import FOLDER_MISSING
from protocol.errors import CodedError, ErrorCode, HubError, IllegalTransition
from protocol.ids import AgentId, BootId, DeviceId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    PAUSE_REASONS,
    RUN,
    CallState,
    RunEvent,
    RunOutcome,
    RunState,
    UnitState,
)
from storage import schema
from storage.agents import agents
from storage.agents.state_moves import Counts, count_runs, recount
from storage.executing_runs import FencedRun, StaleRun, check_held
from storage.kernel.columns import (
    Int,
    in_parts,
    isolating_broken_row,
    listed,
    now_ms,
    spelled,
    unindexed,
    write_each,
)
from storage.kernel.database import end_sessions
from storage.leases import is_alive
from storage.runs.calls import count_calls
from storage.runs.run_devices import IS_ENDED, IS_LEFT
from storage.runs.run_locks import release_locks
from storage.runs.runs import (
    ANSWER,
    RunMove,
    RunRow,
    discount_overcome,
    find_run,
    get_run,
    keep_result,
    record_error,
    record_failed_attempt,
    run_history,
    task_in,
)
from storage.runs.units import ADD_UNIT, find_unit
from storage.schedules import schedules
from storage.schema import (
    activity_log,
    agent_state_history,
    changes,
    devices,
    run_calls,
    run_state_history,
    run_units,
    runs,
    schedule_fires,
)
from storage.schema import agents as agent_table

FIRED: Final = frozenset({"schedule", "catchup"})  # triggers of runs that a schedule started
FOLLOWED: Final = "wake"  # trigger of runs that continue where another run stopped
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
            sa.not_(sa.func.coalesce(sa.cast(runs.c.result, sa.Text), "").contains(f'"{ANSWER}"')),
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


RUN_TIMEOUT_MS = 3_600_000

RUN_BY_FIRE = sa.select(runs.c.id).where(
    runs.c.agent_id == sa.bindparam("agent"), runs.c.fire_key == sa.bindparam("fire")
)


# A run that has begun to read may have passed a file that was changed afterwards: it is not joined.
_COMPARED: Final = (
    *("agent_id", "trigger_kind", "rerun_of", "config_rev", "config_fingerprint"),
    *("needs", "locks", "parameters", "context", "task_id"),
)
UNREAD = (
    sa.select(runs.c.id)
    .where(
        sa.text(f"runs.{schema.LIVE} AND runs.state IN ('QUEUED', 'PAUSED')"),
        runs.c.started_at.is_(None),
        runs.c.cancel_requested_at.is_(None),
        *(
            runs.c[name].is_not_distinct_from(sa.bindparam(name, type_=runs.c[name].type))
            for name in _COMPARED
        ),
    )
    .order_by(runs.c.id)
)


# of a run that its device or its connector has sent back
END_WAIT = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"), runs.c.eligible_at > sa.bindparam("now"))
    .values(eligible_at=sa.bindparam("now"))
)


class LivesAtGateway(HubError):
    """Error: the agent works at a gateway, and only devices execute runs. Nothing was written."""

    code = ErrorCode.BAD_PARAMS
    hint = "say what it is to do in a message, over its board: hub boards"

    def __init__(self, agent: agents.AgentRow) -> None:
        super().__init__(f"agent {agent.name!r} lives at gateway {agent.gateway!r}: no device runs it")


class CannotRun(HubError):
    """Error: the agent lacks settings that runs need. Nothing was written."""

    code = ErrorCode.BAD_CONFIG

    def __init__(self, agent: agents.AgentRow, missing: Sequence[str]) -> None:
        is_task = "paths" in missing and agents.is_worker(agent.paths, agent.mailbox, agent.data_types)
        without = agents.spell_missing(missing)
        super().__init__(f"agent {agent.name!r} cannot {'read' if is_task else 'run'} without {without}")
        keys = ", ".join(missing)
        self.hint = f"add {keys}: hub agents edit {agent.name} --help, or PATCH /v1/agents/{agent.name}"
        if agent.source == "file":
            self.hint = f"add {keys} to its table in hub.toml"


def create_run(
    c: sa.Connection,
    *,
    id: RunId,
    agent: agents.AgentRow,
    fire_key: str,
    at: int,
    config_fingerprint: str,
    settings: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    task_id: str | None = None,
    needs: Sequence[str] = (),
    locks: Sequence[str] = (),
    trigger_kind: str = "manual",
    rerun_of: RunId | None = None,
    actor: str = "hub",
    eligible_at: int | None = None,
    schedule_id: str | None = None,
    fire_at: int | None = None,
    timeout_ms: int = RUN_TIMEOUT_MS,
    max_attempts: int = 5,
    joins: bool = False,
) -> RunRow:
    """Create a run in the queue, or return the one with the same fire key of this agent.

    Args:
        joins: return also an equal run that waits and has read nothing yet.
        fire_key: identity of the trigger; an agent has at most one run for each key.
        settings: of the agent.
        parameters, context: the requester's values and description of the run.
        task_id: its task; by default the one that the context names.
        needs, locks: of this run, in addition to those of its agent.
        eligible_at: earliest time of the claim; by default *at*.
        fire_at: nominal time; by default *at*.
        timeout_ms: maximum time of its executions together.

    Raises:
        CodedError (UNKNOWN_AGENT): the agent does not exist or was archived; nothing was written.
        CodedError, LivesAtGateway, CodedError: nothing was written.
    """
    known = c.execute(RUN_BY_FIRE, {"agent": agent.id, "fire": fire_key}).scalar_one_or_none()
    if known is not None:
        return get_run(c, RunId(known))
    now = agents.get_agent(c, agent.id)
    if now.archived_at is not None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"the agent {agent.name!r} was removed; declare it again")
    if now.lifecycle == Lifecycle.TERMINATED:
        raise CodedError(
            ErrorCode.BAD_STATUS,
            f"the agent {agent.name!r} is terminated, for good; nothing of it starts again",
            hint=FINAL,
        )
    if now.executor == "gateway":
        raise LivesAtGateway(now)
    row = {
        "id": id,
        "agent_id": agent.id,
        "device_id": agent.device_id,
        "trigger_kind": trigger_kind,
        "fire_key": fire_key,
        "schedule_id": schedule_id,
        "fire_at": at if fire_at is None else fire_at,
        "eligible_at": at if eligible_at is None else eligible_at,
        "timeout_ms": timeout_ms,
        "rerun_of": rerun_of,
        "priority": agent.priority,
        "max_attempts": max_attempts,
        "config_rev": agent.config_rev,
        "config_fingerprint": config_fingerprint,
        "needs": list(dict.fromkeys((*agent.needs, *needs))),
        "locks": sorted({*agent.locks, *locks}),
        "settings": settings or {},
        "parameters": parameters or {},
        "context": context or {},
        "task_id": task_in(context or {}) if task_id is None else task_id,
        "created_at": at,
        "updated_at": at,
    }
    if joins and (equal := c.execute(UNREAD, row).scalars().first()) is not None:
        c.execute(END_WAIT, {"run": equal, "now": at})
        return get_run(c, RunId(equal))
    c.execute(sa.insert(runs), row)
    remember_move(c, id, agent.id, RunMove(1, None, RunState.QUEUED, 1, 0, None, actor, at))
    return get_run(c, id)


class FollowUp(msgspec.Struct, frozen=True):
    """Run that reads at once what another run left. *settings*: the current ones of its agent."""

    id: RunId
    config_fingerprint: str
    settings: dict[str, Any]


WAITING = sa.select(sa.func.min(runs.c.id)).where(
    runs.c.agent_id == sa.bindparam("agent"),
    sa.text(f"runs.{schema.LIVE} AND runs.state = 'QUEUED'"),
    runs.c.fence == 0,
    runs.c.config_fingerprint == sa.bindparam("fingerprint"),
)


def follow(c: sa.Connection, run: RunRow, follow_up: FollowUp, at: int) -> RunId | None:
    """Queue the run that reads what *run* left, and return its id; None: its agent starts no run any more.

    It belongs to the same fire, with the requester's values. If a run of the agent waits with the same
    settings, that one reads the rest, and its id is returned.
    """
    sought = {"agent": run.agent_id, "fingerprint": follow_up.config_fingerprint}
    if (waiting := c.execute(WAITING, sought).scalar_one()) is not None:
        return RunId(waiting)
    try:
        return create_run(
            c,
            id=follow_up.id,
            agent=agents.get_agent(c, run.agent_id),
            fire_key=f"more:{run.id}",
            at=at,
            config_fingerprint=follow_up.config_fingerprint,
            settings=follow_up.settings,
            parameters=run.parameters,
            context=run.context,
            needs=run.needs,
            locks=run.locks,
            trigger_kind=FOLLOWED,
            schedule_id=run.schedule_id,
            fire_at=run.fire_at,
            timeout_ms=run.timeout_ms,
            max_attempts=run.max_attempts,
        ).id
    except (CodedError, LivesAtGateway):
        return None


def remember_move(c: sa.Connection, run_id: RunId, agent_id: AgentId, made: RunMove) -> None:
    """Record a move in the run's history, and update the agent's counters and activity."""
    remember_moves(c, [(run_id, agent_id, made)])


def remember_moves(c: sa.Connection, moves: Iterable[tuple[RunId, AgentId, RunMove]]) -> None:
    """Record moves of one actor at one instant, and update their agents' counters and activity."""
    rows: list[dict[str, Any]] = []
    counts: dict[AgentId, Counts] = {}
    for run_id, agent_id, made in moves:
        rows.append(msgspec.structs.asdict(made) | {"run_id": run_id})
        by = counts.setdefault(agent_id, Counts())
        by.move(made.old_state, made.new_state)
        by.because = BECAUSE.format(run_id) + made.new_state
    if rows:
        c.execute(sa.insert(run_state_history), rows)
        count_runs(c, counts, at=made.at, actor=made.actor)


_holds_lease = sa.bindparam("keeps_lease", type_=sa.Integer) == 1
MOVE = (
    sa.update(runs)
    .where(
        runs.c.id == sa.bindparam("run"),
        runs.c.state == sa.bindparam("before"),
        runs.c.fence == sa.bindparam("held"),
        runs.c.attempt + sa.bindparam("attempts") <= runs.c.max_attempts,
    )
    .values(
        state=sa.bindparam("after"),
        reason=sa.bindparam("why"),
        pause_reason=sa.bindparam("pause"),
        outcome=sa.bindparam("ends_as"),
        fence=runs.c.fence + sa.bindparam("fences"),
        attempt=runs.c.attempt + sa.bindparam("attempts"),
        crash_count=runs.c.crash_count + sa.bindparam("crashes"),
        dispatch_count=runs.c.dispatch_count + sa.bindparam("dispatches"),
        eligible_at=sa.func.coalesce(sa.bindparam("not_before", type_=Int), runs.c.eligible_at),
        lease_boot_id=sa.case((_holds_lease, runs.c.lease_boot_id), else_=None),
        lease_expires_at=sa.case((_holds_lease, runs.c.lease_expires_at), else_=None),
        deadline_at=sa.case((_holds_lease, runs.c.deadline_at), else_=None),
        cancel_requested_at=sa.func.coalesce(
            runs.c.cancel_requested_at, sa.bindparam("cancelled", type_=Int)
        ),
        started_at=sa.func.coalesce(runs.c.started_at, sa.bindparam("started", type_=Int)),
        completed_at=sa.bindparam("ended"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
    .returning(
        runs.c.agent_id,
        runs.c.schedule_id,
        runs.c.trigger_kind,
        runs.c.state_seq,
        runs.c.attempt,
        runs.c.fence,
        runs.c.cancel_requested_at,
        runs.c.cancel_reason,
        runs.c.units_done,
        runs.c.locks,
    )
)
_open_calls = sa.select(sa.func.count()).where(
    run_calls.c.run_id == sa.bindparam("run"),
    sa.text(f"run_calls.state IN ({spelled((CallState.PLANNED, CallState.SENT))})"),
)
_open_units = sa.select(sa.func.count()).where(
    run_units.c.run_id == sa.bindparam("run"),
    sa.text(f"run_units.state IN ({spelled((UnitState.PENDING, UnitState.EXTRACTED))})"),
)
FINISH = MOVE.where(_open_calls.scalar_subquery() + _open_units.scalar_subquery() == 0)
OPEN_WORK = sa.select(_open_units.scalar_subquery(), _open_calls.scalar_subquery())


def move(
    c: sa.Connection,
    held: FencedRun,
    event: RunEvent,
    *,
    at: int,
    actor: str,
    reason: str | None = None,
    outcome: RunOutcome | None = None,
    eligible_at: int | None = None,
    error: str | None = None,
    code: str = "run_failed",
    follow_up: FollowUp | None = None,
) -> FencedRun:
    """Move a run by *event*, record the move and count it. Return the held run for the next comparison.

    A run that leaves execution loses its lease and its locks. A run that is failed or cancelled while it
    executes also gets a new fence. RETRIED counts an attempt, HUB_LOST a crash; a return to the queue before
    it ran counts a dispatch. A run with a requested cancellation does not wait: a move to the queue or a
    pause cancels it in the same transaction. The outcome of a scheduled run counts for its schedule.

    Args:
        held: the run as the caller last read it.
        outcome: for FINISHED, success or partial; FAILED is always ``error``.
        eligible_at: earliest time of the next claim.
        error: what ended the attempt; recorded as an error of the run as a whole, with *code* if the run
            failed. A completed run does not count those that a later attempt overcame.
        follow_up: run to queue in the same transaction if this one ends now and settled something, unless a
            person cancelled it.

    Raises:
        IllegalTransition: the state table does not allow the event.
        IllegalTransition: FINISHED while a unit or a call is not settled.
        IllegalTransition: RETRIED at the last attempt.
        StaleRun: the run has another state or fence.
        In each case nothing was written.
    """
    if event is RunEvent.DISPATCHED:
        raise ValueError("a run is dispatched by claim_run alone, which gives it its lease")
    after = RUN.after(held.state, event)
    executes = held.state in EXECUTING_RUN_STATES
    forced = executes and after in (RunState.FAILED, RunState.CANCELLED)
    never_ran = held.state is RunState.PREPARING and event in (RunEvent.DEVICE_LOST, RunEvent.DRAINED)
    ends_as = _outcome(after, outcome)
    change = {
        "run": held.id,
        "before": held.state,
        "held": held.fence,
        "after": after,
        "why": reason,
        "pause": PAUSE_REASONS[event] if after is RunState.PAUSED else None,
        "ends_as": ends_as,
        "fences": int(forced),
        "attempts": int(event is RunEvent.RETRIED),
        "crashes": int(event is RunEvent.HUB_LOST),
        "dispatches": int(never_ran or event is RunEvent.SENT_BACK),
        "not_before": eligible_at,
        "keeps_lease": int(after in EXECUTING_RUN_STATES),
        "cancelled": at if after is RunState.CANCELLED else None,
        "started": at if after is RunState.RUNNING else None,
        "ended": at if after in FINAL_RUN_STATES else None,
        "now": at,
    }
    moved = c.execute(FINISH if event is RunEvent.FINISHED else MOVE, change).one_or_none()
    if moved is None:
        raise _why_not(c, held, event)
    made = RunMove(moved.state_seq, held.state, after, moved.attempt, moved.fence, reason, actor, at)
    remember_move(c, held.id, moved.agent_id, made)
    if moved.locks and after not in EXECUTING_RUN_STATES:
        release_locks(c, [held.id])
    if error is not None and after is RunState.FAILED:
        record_error(c, held.id, None, code, error, at)
    elif error is not None:
        record_failed_attempt(c, held.id, moved.attempt - change["attempts"], error, at)
    elif after is RunState.COMPLETED:
        discount_overcome(c, held.id, at)
    counts = moved.trigger_kind in FIRED and code != FOLDER_MISSING  # a folder that is back needs no resume
    if moved.schedule_id is not None and after in FINAL_RUN_STATES and counts:
        schedules.count_outcome(c, moved.schedule_id, ends_as, at)
    if after in FINAL_RUN_STATES:
        followed_by: RunId | None = None
        if follow_up is not None and moved.units_done and moved.cancel_requested_at is None:
            followed_by = follow(c, get_run(c, held.id), follow_up, at)
        keep_result(c, held.id, followed_by=followed_by)
    if ends_as is RunOutcome.SUCCESS and moved.state_seq == MOVES and moved.trigger_kind in FIRED:
        fold(c, moved.agent_id)
    waiting = FencedRun(held.id, after, moved.fence)
    if moved.cancel_requested_at is not None and after in (RunState.QUEUED, RunState.PAUSED):
        # Requested while the run was leaving execution: it must not start again.
        return move(c, waiting, RunEvent.CANCELLED, at=at, actor=actor, reason=moved.cancel_reason)
    return waiting


def _outcome(after: RunState, outcome: RunOutcome | None) -> RunOutcome | None:
    if after is RunState.COMPLETED and outcome not in (RunOutcome.SUCCESS, RunOutcome.PARTIAL):
        raise ValueError(f"a run is completed with success or partial, not {outcome}; else it FAILED")
    if after is RunState.FAILED:
        return RunOutcome.ERROR
    return outcome if after is RunState.COMPLETED else None


def _why_not(c: sa.Connection, held: FencedRun, event: RunEvent) -> HubError:
    """Return the error that explains why a move changed no row."""
    run = find_run(c, held.id)
    if run is None:
        return CodedError(ErrorCode.UNKNOWN_RUN, f"there is no run {held.id}")
    if run.held != held:
        return StaleRun(
            f"run {held.id} is {run.state} under fence {run.fence}, no longer {held.state} under {held.fence}"
        )
    if event is RunEvent.FINISHED:
        units, calls = c.execute(OPEN_WORK, {"run": held.id}).one()
        return IllegalTransition(f"run {held.id} has {units} units and {calls} calls that are not settled")
    return IllegalTransition(f"run {held.id} was tried {run.attempt} times, as often as it may be")


CRASH_LIMIT = 3  # crashes of the hub under a run that makes no progress
REQUEUED_FOR = "hub_restart"
BROKEN_FOR: Final = "hub_error"  # its task ended here with an exception, or the answer of a commit was lost
MOVED_FOR: Final = "device_moved"
# Reasons and messages of runs that failed as often as CRASH_LIMIT, by the reason of their last return.
_GIVEN_UP: Final = {
    REQUEUED_FOR: ("crash_loop", "the hub ended {} times at the same point of it"),
    BROKEN_FOR: (BROKEN_FOR, "an error of the hub ended its work {} times; the log has each as run.broke"),
}


class Recovered(msgspec.Struct, frozen=True):
    """Results of recovering the runs of a dead hub."""

    requeued: tuple[RunId, ...] = ()
    cancelled: tuple[RunId, ...] = ()
    failed: tuple[RunId, ...] = ()


# Runs whose holder is dead: on a private database any other process; on a shared one a process whose lease
# expired by the database's clock, or an earlier process of this node.
_is_over = sa.and_(runs.c.lease_expires_at <= now_ms(), ~is_alive(runs.c.lease_boot_id))
_LEFT = sa.and_(
    sa.text("runs." + schema.EXECUTING),
    runs.c.lease_boot_id.is_distinct_from(sa.bindparam("boot")),  # in a broken row there is no holder
    sa.or_(
        sa.bindparam("is_alone", type_=sa.Integer) == 1,
        _is_over,
        runs.c.lease_boot_id.in_(sa.bindparam("dead", expanding=True)),
    ),
)
EXPIRED = (
    sa.select(runs.c.lease_boot_id)
    .where(
        sa.text("runs." + schema.EXECUTING),
        runs.c.lease_boot_id != sa.bindparam("boot"),
        _is_over,
    )
    .distinct()
)
_what_is_left = (
    runs.c.id,
    runs.c.state,
    runs.c.fence,
    runs.c.crash_count,
    runs.c.cancel_requested_at,
    runs.c.cancel_reason,
)
LEFT = sa.select(*_what_is_left).where(_LEFT)
LEFT_BEHIND = LEFT.order_by(unindexed(runs.c.id)).with_for_update(skip_locked=True)
REQUEUE = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        state=RunState.QUEUED,
        reason=sa.bindparam("why"),
        crash_count=runs.c.crash_count + sa.bindparam("crashes"),
        lease_boot_id=None,
        lease_expires_at=None,
        deadline_at=None,
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
)
MOVED = sa.select(runs.c.id, runs.c.agent_id, runs.c.state_seq, runs.c.attempt, runs.c.fence).where(
    runs.c.id.in_(sa.bindparam("runs", expanding=True))
)


def recover(
    c: sa.Connection,
    *,
    boot_id: BootId,
    at: int,
    is_alone: bool = True,
    dead: Collection[BootId] = (),
    crash_limit: int = CRASH_LIMIT,
) -> Recovered:
    """Recover every run whose holder is dead: at start-up, and regularly on a shared database.

    A run with a requested cancellation is CANCELLED. A run under which the hub crashed *crash_limit* times
    without progress is FAILED (``crash_loop``). Every other run is QUEUED again. Progress (a unit planned or
    settled, a call answered) resets the crash count, so a long run survives any number of restarts. The time
    without execution does not count: the deadline was that of the lost execution.

    On a shared database, runs that are left elsewhere although *boot_id* has their device are QUEUED, too.

    Args:
        is_alone: no other hub uses the database, so runs of other processes are free.
        dead: earlier processes of this node, on a shared database.
    """
    if is_alone:
        recount(c, at=at, actor="hub")  # first, because a wrong counter would refuse the following moves
    else:
        end_sessions(c, c.execute(EXPIRED, {"boot": boot_id}).scalars().all())
    left = {"boot": boot_id, "is_alone": int(is_alone), "dead": sorted(dead)}
    recovered = _settle(c, c.execute(LEFT_BEHIND, left).all(), at, REQUEUED_FOR, crash_limit)
    if is_alone:
        return recovered
    moved = _settle(c, c.execute(ALL_ELSEWHERE, {"boot": boot_id}).all(), at, MOVED_FOR)
    return Recovered(
        recovered.requeued + moved.requeued,
        recovered.cancelled + moved.cancelled,
        recovered.failed + moved.failed,
    )


_elsewhere = (
    sa.select(*_what_is_left)
    .join_from(runs, agent_table)
    .where(
        sa.text("runs." + schema.EXECUTING),
        runs.c.lease_boot_id != sa.bindparam("boot"),
        agent_table.c.executor == "device",
    )
)
ELSEWHERE = _elsewhere.where(runs.c.device_id.in_(listed(sa.bindparam("ids")))).with_for_update(
    of=runs, skip_locked=True
)
STRAYED = _elsewhere.join(devices, devices.c.id == runs.c.device_id).where(
    devices.c.boot_id == sa.bindparam("boot", type_=sa.Text)
)
ALL_ELSEWHERE = STRAYED.with_for_update(of=runs, skip_locked=True)


def hand_over(c: sa.Connection, device_ids: Collection[DeviceId], *, boot_id: BootId, at: int) -> Recovered:
    """Queue runs again that other hub processes execute for devices that *boot_id* has now.

    The other process loses them, as after the end of its lease. It did not crash at them, so they are not
    counted as crashes. A run that the other one claims or changes at the same moment is left to ``recover``.
    """
    found = c.execute(ELSEWHERE, {"ids": sorted(device_ids), "boot": boot_id}).all()
    return _settle(c, found, at, MOVED_FOR)


def executed_ms(c: sa.Connection, run_id: RunId) -> int:
    """Return how long the ended executions of a run took, but for those that ended with their hub."""
    total, began = 0, None
    for made in run_history(c, run_id):
        is_over = made.new_state not in EXECUTING_RUN_STATES
        if is_over and began is not None and made.reason != REQUEUED_FOR:
            total += max(0, made.at - began)
        began = None if is_over else made.at if began is None else began
    return total


_IS_OURS = sa.and_(sa.text("runs." + schema.EXECUTING), runs.c.lease_boot_id == sa.bindparam("boot"))
STRAYS = (
    sa.select(*_what_is_left)
    .where(_IS_OURS, runs.c.id.in_(sa.bindparam("runs", expanding=True)))
    .with_for_update(skip_locked=True)
)


EXECUTED = sa.select(runs.c.id).where(_IS_OURS)


def executing_of(c: sa.Connection, boot_id: BootId) -> set[RunId]:
    """Return the runs that this process executes according to their rows."""
    return {RunId(run_id) for run_id in c.execute(EXECUTED, {"boot": boot_id}).scalars()}


def take_back(c: sa.Connection, boot_id: BootId, run_ids: Collection[RunId], at: int) -> Recovered:
    """Recover runs that this process holds but does not execute, after a lost commit response.

    They get the same result as in ``recover``.
    """
    strays = c.execute(STRAYS, {"boot": boot_id, "runs": sorted(run_ids)}).all()
    return _settle(c, strays, at, BROKEN_FOR)


def _settle(
    c: sa.Connection, left: Sequence[Any], at: int, why: str, crash_limit: int = CRASH_LIMIT
) -> Recovered:
    """End or queue again the runs *left*, for the reason *why*; a run that only moved did not crash."""
    cancelled: list[RunId] = []
    failed: list[RunId] = []
    requeued: dict[RunId, RunState] = {}
    for row in left:
        held = FencedRun(RunId(row.id), row.state, row.fence)
        if row.cancel_requested_at is not None:
            with isolating_broken_row(c):
                move(c, held, RunEvent.CANCELLED, at=at, actor="hub", reason=row.cancel_reason)
                cancelled.append(held.id)
        elif why in _GIVEN_UP and row.crash_count + 1 >= crash_limit:
            reason, message = _GIVEN_UP[why]
            with isolating_broken_row(c):
                record_error(c, held.id, None, reason, message.format(crash_limit), at)
                move(c, held, RunEvent.FAILED, at=at, actor="hub", reason=reason)
                failed.append(held.id)
        else:
            requeued[held.id] = row.state
    ids = _requeue(c, requeued, at, why)
    return Recovered(tuple(ids), tuple(cancelled), tuple(failed))


def _requeue(c: sa.Connection, left: dict[RunId, RunState], at: int, why: str) -> list[RunId]:
    """Requeue runs in sets, not one by one: a hub may have died with ten thousand of them."""
    if not left:
        return []
    given = {"now": at, "why": why, "crashes": int(why in _GIVEN_UP)}
    written = write_each(c, REQUEUE, [{"run": run_id, **given} for run_id in left])
    ids = [RunId(str(move["run"])) for move in written]
    release_locks(c, ids)
    moved = [row for part in in_parts(ids) for row in c.execute(MOVED, {"runs": part})]
    moves = []
    for row in moved:
        before = left[row.id]
        after = RUN.after(before, RunEvent.HUB_LOST)
        made = RunMove(row.state_seq, before, after, row.attempt, row.fence, why, "hub", at)
        moves.append((RunId(row.id), AgentId(row.agent_id), made))
    remember_moves(c, moves)
    return ids


AT_ONCE: Final = 500  # units in one transaction
_own = runs.alias("own")


def adopt_left(c: sa.Connection, held: FencedRun, agent_id: AgentId, at: int) -> int:
    """Adopt the open calls of the agent's ended runs, with their units; repeat until it returns 0.

    A unit keeps the time of its plan, which defines the order of delivery. Items of an agent without a device
    stay with the device that they were planned for; those of another agent follow it to its device.

    Returns:
        The number of adopted units.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    query = (
        sa.select(run_calls.c.run_id, run_calls.c.unit_key)
        .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
        .join(_own, _own.c.id == held.id)
        .join(agent_table, agent_table.c.id == runs.c.agent_id)
        .where(
            runs.c.agent_id == agent_id,
            sa.text(f"runs.state {IS_ENDED}"),
            IS_LEFT,
            sa.or_(sa.not_(agents.roams(agent_table)), runs.c.device_id == _own.c.device_id),
        )
        .distinct()
        .limit(AT_ONCE)
    )
    left = c.execute(query).all()
    for run_id, unit_key in left:
        unit = c.execute(
            sa.select(
                run_units.c.content_hash,
                run_units.c.size_bytes,
                run_units.c.read_at,
                run_units.c.planned_at,
            ).where(run_units.c.run_id == run_id, run_units.c.unit_key == unit_key)
        ).one_or_none()
        if find_unit(c, held.id, unit_key) is None:
            row = {"run_id": held.id, "unit_key": unit_key, "state": UnitState.EXTRACTED, "updated_at": at}
            about = {"content_hash": ""} if unit is None else dict(unit._mapping)
            c.execute(ADD_UNIT, row | about)
        # A call that was given up without an answer is sent again under its old id.
        unknown = run_calls.c.state == CallState.UNKNOWN
        c.execute(
            sa.update(run_calls)
            .where(run_calls.c.run_id == run_id, run_calls.c.unit_key == unit_key, IS_LEFT)
            .values(
                run_id=held.id,
                state=sa.case((unknown, CallState.PLANNED), else_=run_calls.c.state),
                sends=0,
                sent_at=None,
                updated_at=at,
            )
        )
        total, still_open, _ = count_calls(c, held.id, unit_key)
        c.execute(
            sa.update(run_units)
            .where(run_units.c.run_id == held.id, run_units.c.unit_key == unit_key)
            .values(
                state=UnitState.EXTRACTED,
                calls_planned=total,
                calls_settled=total - still_open,
                updated_at=at,
            )
        )
    return len(left)
