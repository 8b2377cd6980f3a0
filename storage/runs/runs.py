"""Runs in the database: reading, listing, filters, counters, progress and errors."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypedDict, Unpack

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BootId, DeviceId, RunId, UserId
from protocol.items import sought_in
from protocol.lifecycles import LIVE_RUN_STATES, CallState, PauseReason, RunOutcome, RunState
from protocol.secret_rules import redact_secrets
from protocol.status_vocabularies import RunLogStatus
from protocol.work import Usage
from storage.agents.agents import of_user
from storage.executing_runs import FencedRun, check_held, is_held, stale
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    folded_text,
    in_parts,
    listed_keys,
    paged,
    readable,
    readable_page,
    reader,
    spelled,
    struct_from,
    unindexed,
    whole_id,
)
from storage.schema import LIVE, agents, run_calls, run_state_history, runs


class RunError(msgspec.Struct, frozen=True):
    """Error in a run, for people. *unit_key*: ``None`` for the run as a whole.

    *attempt*: number of the attempt that it occurred in; ``None``: recorded by release 0.1.0.
    """

    unit_key: str | None
    code: str
    message: str
    at: int
    attempt: int | None = None


CHANGE: Final = "change"  # begins the fire key of a run that changed files started


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """Run. Instants are epoch milliseconds; *units_...* count units, *items_created* accepted calls.

    *fire_at*: newest fire that it covers; *coalesced_count*: number of earlier fires that it covers.
    *deadline_at*: deadline of the current execution, only while it executes. *needs*: capabilities required
    for its start. *locks*: names of locks that it holds while it executes. *context*: the requester's
    description. *task_id*: the task that the context names. *status_message*: last report of its device.
    *result*: summary after its end. *folded*: number of earlier runs without news that it represents, since
    *folded_since*.
    """

    id: RunId
    agent_id: AgentId
    agent_name: str
    agent_source: str
    user_id: UserId
    device_id: DeviceId | None
    schedule_id: str | None
    trigger_kind: str
    fire_key: str
    fire_at: int
    rerun_of: RunId | None
    state: RunState
    outcome: RunOutcome | None
    reason: str | None
    pause_reason: PauseReason | None
    fence: int
    lease_boot_id: BootId | None
    attempt: int
    max_attempts: int
    crash_count: int
    dispatch_count: int
    coalesced_count: int
    cancel_requested_at: int | None
    cancel_reason: str | None
    eligible_at: int
    timeout_ms: int
    deadline_at: int | None
    start_deadline_at: int | None
    priority: int
    config_rev: int
    config_fingerprint: str
    needs: tuple[str, ...]
    locks: tuple[str, ...]
    settings: dict[str, Any]
    parameters: dict[str, Any]
    context: dict[str, Any]
    task_id: str | None
    progress: float
    status_message: str | None
    result: dict[str, Any] | None
    errors: tuple[RunError, ...]
    error_count: int
    units_total: int
    units_done: int
    units_skipped: int
    units_failed: int
    items_created: int
    items_updated: int
    items_known: int
    usage: Usage
    created_at: int
    started_at: int | None
    completed_at: int | None
    folded: int
    folded_since: int | None
    updated_at: int

    @property
    def trigger(self) -> str:
        """Cause of the run: its *trigger_kind*, or of a run after a hint of its device ``change``."""
        return CHANGE if self.fire_key.startswith(f"{CHANGE}:") else self.trigger_kind

    @property
    def held(self) -> FencedRun:
        """State and fence that its holder compares with."""
        return FencedRun(self.id, self.state, self.fence)

    @property
    def lasting_errors(self) -> tuple[RunError, ...]:
        """Errors that decide the outcome: without those of the run as a whole that a later attempt overcame.

        A file that failed is not read again in its run, so its errors last.
        """
        if self.state is RunState.FAILED:
            return self.errors
        return tuple(error for error in self.errors if not _is_overcome(error, self.attempt))


class RunMove(msgspec.Struct, frozen=True):
    """Row of a run's history."""

    seq: int
    old_state: RunState | None
    new_state: RunState
    attempt: int
    fence: int
    reason: str | None
    actor: str
    at: int


class MoveOfRun(RunMove, frozen=True, kw_only=True):
    """Row of the history of an agent's runs."""

    run_id: RunId
    run_created_at: int


# Units that need no reading: those with a row of their own, and those that have not changed.
passed_over = (runs.c.units_skipped + runs.c.units_unchanged).label("units_skipped")
RUNS = sa.select(
    *columns_of(
        *(RunRow, runs, agents),
        agent_name=agents.c.name,
        agent_source=agents.c.source,
        units_skipped=passed_over,
        usage=None,
    ),
    *columns_of(Usage, runs, requests=runs.c.model_requests),
).join_from(runs, agents)
LIVE_COUNTS = (
    sa.select(runs.c.state, sa.func.count().label("runs"))
    .where(sa.text(f"runs.{LIVE}"))
    .group_by(runs.c.state)
)
RUN_BY_ID = RUNS.where(runs.c.id == sa.bindparam("run"))
RUNS_BY_ID = RUNS.where(runs.c.id.in_(sa.bindparam("runs", expanding=True)))


def get_run(c: sa.Connection, id: RunId) -> RunRow:
    """Return the run.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
    """
    run = find_run(c, id)
    if run is None:
        raise CodedError(ErrorCode.UNKNOWN_RUN, f"there is no run {id}")
    return run


def find_run(
    c: sa.Connection, id: RunId, *, user_id: UserId | None = None, devices: Collection[DeviceId] = ()
) -> RunRow | None:
    """Return the run, if any; with *user_id* or *devices*, only a run of this user's agents, or of these."""
    row = c.execute(_of_devices(of_user(RUN_BY_ID, user_id), devices), {"run": id}).one_or_none()
    return None if row is None else _run(row)


def find_runs(c: sa.Connection, ids: Sequence[RunId]) -> list[RunRow]:
    """Return those of these runs that exist, in no particular order."""
    return [run for part in in_parts(ids) for run in readable(_run, c.execute(RUNS_BY_ID, {"runs": part}))]


def whole_run_id(
    c: sa.Connection, given: str, user_id: UserId | None = None, devices: Collection[DeviceId] = ()
) -> RunId:
    """Return the id of the run that *given* is, or is the end of; see ``whole_id``."""
    of_user = sa.select(agents.c.id).where(agents.c.user_id == user_id)
    only = [] if user_id is None else [runs.c.agent_id.in_(of_user)]
    only += [runs.c.device_id.in_(devices)] if devices else []
    return RunId(whole_id(c, runs, given, only=only))


# as ``protocol.status_vocabularies.run_log_status``, which a test compares
LOGGED_AS: Final = sa.case(
    (sa.text("runs." + LIVE), "running"),
    (sa.text("runs.state <> 'COMPLETED'"), "error"),
    (runs.c.error_count == 0, "success"),
    (runs.c.items_created > 0, "partial"),
    else_="error",
)


def _are_in(states: Collection[RunState]) -> Iterator[sa.ColumnElement[bool] | sa.TextClause]:
    """Yield the conditions of runs in one of these states, and those of the index of such runs."""
    if not states:
        yield sa.false()
    elif len(states) > 1:
        yield sa.text(f"runs.state IN ({spelled(sorted(states))})")
    else:  # as text: a bound parameter could not use the index
        yield sa.text(f"runs.state = {spelled(states)}")
    if states and LIVE_RUN_STATES.issuperset(states):
        yield sa.text("runs." + LIVE)


class RunFilter(TypedDict, total=False):
    """Conditions of runs; those that are missing or None restrict nothing.

    *task_id*: a run without a task is one for the task of its own id. *logged_as*: its status in the run log.
    *by_hint*: True for those that a hint of the device started. *since* (included) and *until* (not): when it
    was created, epoch milliseconds. *text*: in the name of its agent, its task, its reason, its message or
    its errors; only the newest runs are searched for it.
    """

    agent_id: AgentId | None
    device_id: DeviceId | None
    devices: Collection[DeviceId]
    user_id: UserId | None
    states: Collection[RunState] | None
    outcome: RunOutcome | None
    task_id: str | None
    by_hint: bool
    logged_as: RunLogStatus | None
    since: int | None
    until: int | None
    text: str | None


MAX_EXAMINED: Final = 10_000  # newest runs that are counted, and searched for a text


def list_runs(
    c: sa.Connection, *, limit: int | None = None, after: Key | None = None, **of: Unpack[RunFilter]
) -> list[RunRow]:
    """Return runs, newest first."""
    query = paged(RUNS, runs.c.created_at, runs.c.id, limit=limit, after=after, descending=True)
    return readable_page(c, _run, _filtered(query, of), limit)


def count_runs(c: sa.Connection, most: int, **of: Unpack[RunFilter]) -> int:
    """Return the number of runs, with those that others represent; *most* if there are more."""
    query, outcome = sa.select(runs.c.folded).join_from(runs, agents), of.get("outcome")
    if of.get("user_id") is not None and outcome is not None:  # a user has fewer runs than an outcome
        query, of["outcome"] = query.where(unindexed(runs.c.outcome) == outcome), None
    found = _filtered(query, of).limit(most).subquery()
    return min(most, int(c.execute(sa.select(sa.func.coalesce(_sum_of(found), 0))).scalar_one()))


def _sum_of(found: sa.Subquery) -> sa.ColumnElement[int]:
    """Return the number of runs of the rows *found*, with those that others represent."""
    return sa.func.sum(found.c.folded + 1)


class EndCount(NamedTuple):
    """Number of runs that came to an end; *folded*: of them, those that others represent."""

    state: RunState
    outcome: RunOutcome | None
    runs: int
    folded: int


def count_by_end(c: sa.Connection, **of: Unpack[RunFilter]) -> list[EndCount]:
    """Return the numbers of the newest ``MAX_EXAMINED`` runs, and of those that they represent."""
    columns = runs.c.state, runs.c.outcome
    found = _newest(_filtered(sa.select(*columns, runs.c.folded).join_from(runs, agents), of)).subquery()
    ends = found.c.state, found.c.outcome
    rows = c.execute(sa.select(*ends, _sum_of(found), sa.func.sum(found.c.folded)).group_by(*ends))
    return [EndCount(row[0], row[1], int(row[2] or 0), int(row[3] or 0)) for row in rows]


def _newest(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(MAX_EXAMINED)


def _has_text(text: str) -> sa.ColumnElement[bool]:
    places = agents.c.name, runs.c.task_id, runs.c.reason, runs.c.status_message
    errors = sa.cast(runs.c.errors, sa.Text)
    searched = [folded_text(place) for place in (*places, errors)]
    return sa.and_(
        sa.true(),
        *(sa.or_(*(place.contains(part, autoescape=True) for place in searched)) for part in sought_in(text)),
    )


def _filtered(query: sa.Select[Any], of: RunFilter) -> sa.Select[Any]:
    agent_id, states, task_id = of.get("agent_id"), of.get("states"), of.get("task_id")
    query = _of_devices(of_user(query, of.get("user_id")), of.get("devices", ()))
    if agent_id is not None:
        # SQLite has no figures by which to choose an index: a task has fewer runs than an agent
        query = query.where((runs.c.agent_id if task_id is None else unindexed(runs.c.agent_id)) == agent_id)
    if (device_id := of.get("device_id")) is not None:
        query = query.where(runs.c.device_id == device_id, listed_keys(runs))
    if states is not None:
        query = query.where(*_are_in(states))
    if agent_id is None and states is not None and set(states) == {RunState.FAILED}:
        query = query.where(runs.c.outcome == RunOutcome.ERROR)  # it has an index
    if task_id is not None:
        is_own = sa.and_(runs.c.id == task_id, runs.c.task_id.is_(None))
        query = query.where(sa.or_(runs.c.task_id == task_id, is_own))
    if (logged_as := of.get("logged_as")) is not None:
        query = query.where(sa.literal(str(logged_as)) == LOGGED_AS)
    if (outcome := of.get("outcome")) is not None:
        query = query.where((runs.c.outcome if agent_id is None else unindexed(runs.c.outcome)) == outcome)
    if of.get("by_hint"):
        query = query.where(runs.c.fire_key.startswith(f"{CHANGE}:"))
    if (since := of.get("since")) is not None:
        query = query.where(runs.c.created_at >= since)
    if (until := of.get("until")) is not None:
        query = query.where(runs.c.created_at < until)
    if (text := of.get("text")) is not None:
        newest = _newest(_filtered(sa.select(runs.c.id).join_from(runs, agents), {**of, "text": None}))
        query = query.where(runs.c.id.in_(sa.select(newest.subquery().c.id)), _has_text(text))
    return query


def count_live(c: sa.Connection, *, user_id: UserId | None = None) -> dict[RunState, int]:
    """Return the number of live runs in each state, of all users or one; states without runs are omitted."""
    query = LIVE_COUNTS if user_id is None else of_user(LIVE_COUNTS.join_from(runs, agents), user_id)
    found = {row.state: row.runs for row in c.execute(query)}
    return {state: found[state] for state in sorted(RunState) if state in found}


def run_history(c: sa.Connection, run_id: RunId) -> list[RunMove]:
    """Return every move of the run, oldest first; the first one created it."""
    query = (
        sa.select(*columns_of(RunMove, run_state_history))
        .where(run_state_history.c.run_id == run_id)
        .order_by(run_state_history.c.seq)
    )
    return [RunMove(*row) for row in c.execute(query)]


MOVES_OF_RUNS = (
    sa.select(*columns_of(MoveOfRun, run_state_history, run_created_at=runs.c.created_at))
    .join_from(runs, run_state_history, run_state_history.c.run_id == runs.c.id)
    .where(runs.c.agent_id == sa.bindparam("agent"))
)


def moves_of_runs(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    run_id: str | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[MoveOfRun]:
    """Return the moves of the agent's runs, or of one run: of the newest run first, its newest move first."""
    query = MOVES_OF_RUNS if run_id is None else MOVES_OF_RUNS.where(runs.c.id == run_id)
    by = (runs.c.created_at, run_state_history.c.run_id, run_state_history.c.seq)
    query = paged(query, *by, limit=limit, after=after, descending=True)
    if after is not None:
        query = query.where(runs.c.created_at <= after[0])  # the index of runs has no other part of the key
    return fetch_page(c, MoveOfRun, query, limit, {"agent": agent_id})


def _of_devices(query: sa.Select[Any], devices: Collection[DeviceId]) -> sa.Select[Any]:
    """Restrict *query* to the runs of *devices*, if any."""
    return query.where(runs.c.device_id.in_(devices), listed_keys(runs)) if devices else query


@reader
def _run(row: Any) -> RunRow:
    return struct_from(RunRow, row, usage=struct_from(Usage, row))


MAX_ERRORS = 100  # stored with a run, and one for each failed attempt; error_count counts the rest too
MAX_ERROR_CHARS = 1_000


def units_counted(**added: sa.BindParameter[int]) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns of a run after more of its units are *done*, *skipped* or *failed*, by name."""
    settled: sa.ColumnElement[Any] = runs.c.units_unchanged
    for name in ("done", "skipped", "failed"):
        settled = settled + runs.c[f"units_{name}"]
    for more in added.values():
        settled = settled + more
    return {f"units_{name}": runs.c[f"units_{name}"] + more for name, more in added.items()} | {
        "progress": sa.case(
            (runs.c.units_total <= 0, runs.c.progress),  # only its device may know
            (settled >= runs.c.units_total, 100.0),
            else_=100.0 * settled / runs.c.units_total,
        )
    }


ADVANCE = (
    sa.update(runs)
    .where(*is_held)
    .values(
        **units_counted(**{name: sa.bindparam(name, type_=Int) for name in ("done", "skipped", "failed")}),
        crash_count=sa.case((sa.bindparam("further", type_=Int) > 0, 0), else_=runs.c.crash_count),
        updated_at=sa.bindparam("now"),
    )
)
_total = sa.func.coalesce(sa.bindparam("total", type_=Int), runs.c.units_total)
_unchanged = sa.bindparam("unchanged", type_=Int)
_passed = runs.c.units_done + runs.c.units_skipped + runs.c.units_failed + _unchanged
NOTE_TOTAL = (
    sa.update(runs)
    .where(*is_held)
    .values(
        units_total=_total,
        units_unchanged=_unchanged,
        progress=sa.case(
            (_total <= 0, runs.c.progress), (_passed >= _total, 100.0), else_=100.0 * _passed / _total
        ),
        updated_at=sa.bindparam("now"),
    )
)


def advance(
    c: sa.Connection,
    held: FencedRun,
    *,
    at: int,
    done: int = 0,
    skipped: int = 0,
    failed: int = 0,
    got_further: bool = True,
) -> None:
    """Count settled units; progress resets the run's crash count.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    counts = {"done": done, "skipped": skipped, "failed": failed, "further": int(got_further)}
    if c.execute(ADVANCE, {"run": held.id, "held": held.fence, "now": at} | counts).rowcount == 0:
        raise stale(held)


def note_progress(
    c: sa.Connection, held: FencedRun, units_total: int | None, at: int, *, unchanged: int = 0
) -> None:
    """Record the run's total number of units.

    Args:
        units_total: None if the number is not known.
        unchanged: number of units that are settled since an earlier run, and have no row in this one.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    noted = {"run": held.id, "held": held.fence, "total": units_total, "unchanged": unchanged, "now": at}
    if c.execute(NOTE_TOTAL, noted).rowcount == 0:
        raise stale(held)


NOTE_LEFT_OUT = (
    sa.update(runs).where(*is_held).values(result=sa.bindparam("counts"), updated_at=sa.bindparam("now"))
)


def note_left_out(
    c: sa.Connection,
    held: FencedRun,
    left_out: Mapping[str, int],
    at: int,
    *,
    unlisted: int,
    unread_languages: Mapping[str, int] = {},
) -> None:
    """Record the number of files that were left out on purpose, by reason, in the run's result.

    Args:
        unlisted: how many of them were counted without their names, so that no unit counts them.
        unread_languages: files of the agent, by the language in which nothing reads their sentences.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    counts: dict[str, Any] = {"left_out": dict(left_out), "unlisted": unlisted}
    if unread_languages:
        counts[UNREAD_LANGUAGES] = dict(sorted(unread_languages.items()))
    noted = {"run": held.id, "held": held.fence, "counts": counts, "now": at}
    if c.execute(NOTE_LEFT_OUT, noted).rowcount == 0:
        raise stale(held)


UNREAD_LANGUAGES: Final = "unread_languages"  # of a run's result
NEWEST_RESULT = (
    sa.select(runs.c.result)
    .where(runs.c.agent_id == sa.bindparam("agent"), runs.c.completed_at.is_not(None))
    .order_by(runs.c.completed_at.desc())
    .limit(1)
)


def all_unread_languages(
    c: sa.Connection, agent_id: AgentId, run_id: RunId, found: Counter[str]
) -> Counter[str]:
    """Return the files of an agent in languages that are not read: those that a run *found*, and former ones.

    A run that goes on with another one reads other files; else it may have read the same ones again.
    """
    result = c.execute(NEWEST_RESULT, {"agent": agent_id}).scalar_one_or_none() or {}
    known = Counter[str](result.get(UNREAD_LANGUAGES, {}))
    return known + found if result.get("followed_by") == run_id else known | found


ATTEMPT_FAILED: Final = "attempt_failed"  # code of the error that ended an attempt, but not the run
ERRORS = (
    sa.select(runs.c.error_count, runs.c.errors, runs.c.attempt)
    .where(runs.c.id == sa.bindparam("run"))
    .with_for_update()
)
COUNT_ERROR = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(error_count=runs.c.error_count + 1, updated_at=sa.bindparam("now"))
)
KEEP_ERRORS = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(errors=sa.bindparam("kept"), error_count=sa.bindparam("count"), updated_at=sa.bindparam("now"))
)


def record_error(
    c: sa.Connection, run_id: RunId, unit_key: str | None, code: str, message: str, at: int
) -> None:
    """Count an error of the run, and store it if it is among the first ``MAX_ERRORS``."""
    count, errors, attempt = c.execute(ERRORS, {"run": run_id}).one()
    if count >= MAX_ERRORS:
        c.execute(COUNT_ERROR, {"run": run_id, "now": at})
        return
    error = RunError(unit_key, str(code), redact_secrets(message)[:MAX_ERROR_CHARS], at, attempt)
    _keep_errors(c, run_id, [*errors, msgspec.structs.asdict(error)], count + 1, at)


def record_failed_attempt(c: sa.Connection, run_id: RunId, attempt: int, message: str, at: int) -> None:
    """Store the error that ended an attempt; an attempt has one, the newest, so a run has one for each."""
    count, errors, _ = c.execute(ERRORS, {"run": run_id}).one()
    others = [error for error in errors if (error["code"], error.get("attempt")) != (ATTEMPT_FAILED, attempt)]
    error = RunError(None, ATTEMPT_FAILED, redact_secrets(message)[:MAX_ERROR_CHARS], at, attempt)
    count += len(others) == len(errors)
    _keep_errors(c, run_id, [*others, msgspec.structs.asdict(error)], count, at)


def discount_overcome(c: sa.Connection, run_id: RunId, at: int) -> None:
    """Take the errors that a later attempt overcame out of the count of a completed run; they stay stored."""
    count, errors, attempt = c.execute(ERRORS, {"run": run_id}).one()
    overcome = sum(_is_overcome(msgspec.convert(error, RunError), attempt) for error in errors)
    if overcome:
        _keep_errors(c, run_id, errors, count - overcome, at)


def _is_overcome(error: RunError, attempt: int) -> bool:
    is_earlier = error.attempt is not None and error.attempt < attempt
    return error.unit_key is None and (is_earlier or error.code == ATTEMPT_FAILED)


def _keep_errors(c: sa.Connection, run_id: RunId, errors: list[Any], count: int, at: int) -> None:
    c.execute(KEEP_ERRORS, {"run": run_id, "now": at, "kept": errors, "count": count})


def record_held_error(
    c: sa.Connection, held: FencedRun, unit_key: str | None, code: str, message: str, at: int
) -> None:
    """Record an error like ``record_error``, on behalf of the run's holder.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    record_error(c, held.id, unit_key, code, message, at)


MAX_MESSAGE_CHARS: Final = 1_000


TASK: Final = "task_id"  # key in the context of a run
ANSWER: Final = "answer"  # key of what its device reports, in the result of a run
TASK_CHARACTERS: Final = 128


def task_in(context: Mapping[str, Any]) -> str | None:
    """Return the task that the context of a run names, if any. Raises CodedError."""
    task = context.get(TASK)
    if task is None or (isinstance(task, str) and 1 <= len(task) <= TASK_CHARACTERS):
        return task
    raise CodedError(
        ErrorCode.BAD_PARAMS, f"context.{TASK}: expected a text of 1 to {TASK_CHARACTERS} characters"
    )


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a run as its device reports it; None: it has not changed.

    Attributes:
        progress: 0 to 100; used until the hub knows the number of units and counts itself.
        context: merged into the previous context; a key with the value ``None`` is removed.
        result: what came of a task.
    """

    progress: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_CHARS, pattern="^[^\0]*$")] | None = None
    context: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


CONTEXT = sa.select(runs.c.context, runs.c.task_id, runs.c.result).where(*is_held).with_for_update()
REPORT = (
    sa.update(runs)
    .where(*is_held)
    .values(
        progress=sa.case(
            (runs.c.units_total > 0, runs.c.progress),
            else_=sa.func.coalesce(sa.bindparam("done", type_=sa.REAL), runs.c.progress),
        ),
        status_message=sa.func.coalesce(sa.bindparam("said", type_=sa.Text), runs.c.status_message),
        context=sa.bindparam("about"),
        task_id=sa.bindparam("task"),
        result=sa.bindparam("answered"),
        updated_at=sa.bindparam("now"),
    )
)


def report(c: sa.Connection, held: FencedRun, reported: RunReport, *, at: int, context_bytes: int) -> RunRow:
    """Record a device's report about a run that it executes.

    Args:
        context_bytes: maximum size of the whole context as JSON.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
        CodedError: nothing was written.
    """
    row = c.execute(CONTEXT, {"run": held.id, "held": held.fence}).one_or_none()
    if row is None:
        raise stale(held)
    news = reported.context or {}
    context = {
        name: value for name, value in (row.context | news).items() if value is not None or name not in news
    }
    check_context(context, context_bytes)
    written = {
        "run": held.id,
        "held": held.fence,
        "done": reported.progress,
        "said": None if reported.message is None else reported.message[:MAX_MESSAGE_CHARS],
        "about": context,
        "task": task_in(context) if TASK in news else row.task_id,
        "answered": row.result if reported.result is None else {ANSWER: reported.result},
        "now": at,
    }
    c.execute(REPORT, written)
    return get_run(c, held.id)


def check_context(context: dict[str, Any], most: int) -> None:
    """Check that *context* has at most *most* bytes as JSON; raise CodedError otherwise."""
    size = len(msgspec.json.encode(context))
    if size > most:
        message = f"context: {size} bytes as JSON, and {most} are kept (run_context_bytes)"
        raise CodedError(
            ErrorCode.TOO_LARGE, f"{message}: leave out what the run does not need", limit="run_context_bytes"
        )


def keep_result(c: sa.Connection, run_id: RunId, *, followed_by: RunId | None = None) -> None:
    """Store the result of a run that has just ended: outcome, counts, items by table, files left out.

    A run that never started has no result.

    Args:
        followed_by: the run that reads at once what this one left; the progress stays that of all files.
    """
    tally = c.execute(
        sa.select(
            runs.c.outcome,
            runs.c.units_total,
            runs.c.units_done,
            passed_over,
            runs.c.units_failed,
            runs.c.items_created,
            runs.c.items_updated,
            runs.c.items_known,
            runs.c.error_count,
            runs.c.started_at,
            runs.c.result,
        ).where(runs.c.id == run_id)
    ).one()
    if tally.started_at is None:
        return
    is_acked = sa.text(f"run_calls.state = {spelled((CallState.ACKED,))}")
    query = (
        sa.select(run_calls.c.target_table, sa.func.count().label("items"))
        .where(run_calls.c.run_id == run_id, is_acked)
        .group_by(run_calls.c.target_table)
        .order_by(run_calls.c.target_table)
    )
    by_table = {row.target_table: row.items for row in c.execute(query)}
    followed = {} if followed_by is None else {"followed_by": followed_by}
    message = {
        "outcome": None if tally.outcome is None else str(tally.outcome),
        "units": {
            "total": tally.units_total,
            "done": tally.units_done,
            "skipped": tally.units_skipped,
            "failed": tally.units_failed,
        },
        "items": {
            "created": tally.items_created,
            "updated": tally.items_updated,
            "known": tally.items_known,
            "by_table": by_table,
        },
        "errors": tally.error_count,
        **(tally.result or {}),
        **followed,
    }
    is_whole = sa.text("runs.state = 'COMPLETED'") if followed_by is None else sa.false()
    c.execute(
        sa.update(runs)
        .where(runs.c.id == run_id)
        .values(result=message, progress=sa.case((is_whole, 100.0), else_=runs.c.progress))
    )
