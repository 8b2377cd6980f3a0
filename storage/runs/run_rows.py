"""Rows of runs and their history. ``storage.runs.runs`` re-exports creation and moves."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BootId, DeviceId, RunId, UserId
from protocol.lifecycles import PauseReason, RunOutcome, RunState
from storage.kernel.columns import in_parts
from storage.kernel.keyset import Key, paged
from storage.kernel.rows import columns_of, fill
from storage.schema import EXECUTING, agents, run_state_history, runs


class UnknownRun(HubError):
    """Error: no run has that id."""

    code = ErrorCode.UNKNOWN_RUN


class StaleRun(HubError):
    """Error: another process moved the run; nothing was written."""

    code = ErrorCode.STALE_RUN


class HeldRun(msgspec.Struct, frozen=True):
    """Run as its holder last read it; every move compares with it."""

    id: RunId
    state: RunState
    fence: int


class RunError(msgspec.Struct, frozen=True):
    """Error in a run, for people. *unit_key*: ``None`` for the run as a whole."""

    unit_key: str | None
    code: str
    message: str
    at: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of models."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int = 0  # billionths of a US dollar


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """Run. Instants are epoch milliseconds; *units_...* count units, *items_created* accepted calls.

    *fire_at*: newest fire that it covers; *coalesced_count*: number of earlier fires that it covers.
    *deadline_at*: deadline of the current execution, only while it executes. *needs*: capabilities required
    for its start. *locks*: names of locks that it holds while it executes. *context*: the requester's
    description. *status_message*: last report of its device. *result*: summary after its end.
    """

    id: RunId
    agent_id: AgentId
    agent_name: str
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
    parameters: dict[str, Any]
    context: dict[str, Any]
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
    updated_at: int

    @property
    def held(self) -> HeldRun:
        """State and fence that its holder compares with."""
        return HeldRun(self.id, self.state, self.fence)


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


RUNS = sa.select(
    *columns_of(RunRow, runs, agents, agent_name=agents.c.name, usage=None),
    *columns_of(Usage, runs, requests=runs.c.model_requests),
).join_from(runs, agents)
RUN_COUNTS = sa.select(runs.c.state, sa.func.count().label("runs")).group_by(runs.c.state)
EXECUTING_COUNT = sa.select(sa.func.count()).select_from(runs).where(sa.text("runs." + EXECUTING))
RUN_BY_ID = RUNS.where(runs.c.id == sa.bindparam("run"))
RUNS_BY_ID = RUNS.where(runs.c.id.in_(sa.bindparam("runs", expanding=True)))
RUNS_BY_END = (
    sa.select(runs.c.id)
    .join_from(runs, agents)
    .where(runs.c.id.endswith(sa.bindparam("end"), autoescape=False))
    .order_by(runs.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
RUN_BY_FIRE = sa.select(runs.c.id).where(
    runs.c.agent_id == sa.bindparam("agent"), runs.c.fire_key == sa.bindparam("fire")
)
HISTORY = (
    sa.select(*columns_of(RunMove, run_state_history))
    .where(run_state_history.c.run_id == sa.bindparam("run"))
    .order_by(run_state_history.c.seq)
)


def get_run(c: sa.Connection, id: RunId) -> RunRow:
    """Return the run.

    Raises:
        UnknownRun: no run has the id.
    """
    run = find_run(c, id)
    if run is None:
        raise UnknownRun(f"there is no run {id}")
    return run


def find_run(c: sa.Connection, id: RunId, *, user_id: UserId | None = None) -> RunRow | None:
    """Return the run, if any; with *user_id*, only a run of this user's agents."""
    row = c.execute(_of_user(RUN_BY_ID, user_id), {"run": id}).one_or_none()
    return None if row is None else _run(row)


def find_runs(c: sa.Connection, ids: Sequence[RunId]) -> list[RunRow]:
    """Return those of these runs that exist, in no particular order."""
    return [_run(row) for part in in_parts(ids) for row in c.execute(RUNS_BY_ID, {"runs": part})]


def runs_ending_in(
    c: sa.Connection, end: str, *, most: int = 2, user_id: UserId | None = None
) -> list[RunId]:
    """Return runs whose id ends with *end*; two results mean that it is ambiguous. Scans all ids.

    *end* must not contain wildcards.
    """
    query = _of_user(RUNS_BY_END, user_id)
    return [RunId(found) for found in c.execute(query, {"end": end, "most": most}).scalars()]


def list_runs(
    c: sa.Connection,
    *,
    agent_id: AgentId | None = None,
    device_id: DeviceId | None = None,
    user_id: UserId | None = None,
    states: Collection[RunState] | None = None,
    outcome: RunOutcome | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[RunRow]:
    """Return runs, newest first.

    Args:
        since, until: only runs created in this range, epoch milliseconds; the first is included, the second
            is not.
    """
    query = _of_user(RUNS, user_id)
    query = paged(query, runs.c.created_at, runs.c.id, limit=limit, after=after, descending=True)
    if agent_id is not None:
        query = query.where(runs.c.agent_id == agent_id)
    if device_id is not None:
        query = query.where(runs.c.device_id == device_id)
    if states is not None:
        query = query.where(runs.c.state.in_(sorted(states)))
    if outcome is not None:
        query = query.where(runs.c.outcome == outcome)
    if since is not None:
        query = query.where(runs.c.created_at >= since)
    if until is not None:
        query = query.where(runs.c.created_at < until)
    return [_run(row) for row in c.execute(query)]


def count_runs(c: sa.Connection, *, user_id: UserId | None = None) -> dict[RunState, int]:
    """Return the number of runs in each state, of all users or one; states without runs are omitted."""
    counts = RUN_COUNTS if user_id is None else _of_user(RUN_COUNTS.join_from(runs, agents), user_id)
    return {row.state: row.runs for row in c.execute(counts)}


def count_executing(
    c: sa.Connection, *, device_id: DeviceId | None = None, agent_id: AgentId | None = None
) -> int:
    """Return the number of executing runs: of this device, of this agent, or in all."""
    query = EXECUTING_COUNT
    if device_id is not None:
        query = query.where(runs.c.device_id == device_id)
    if agent_id is not None:
        query = query.where(runs.c.agent_id == agent_id)
    return c.execute(query).scalar_one()


def run_history(c: sa.Connection, run_id: RunId) -> list[RunMove]:
    """Return every move of the run, oldest first; the first one created it."""
    return [RunMove(*row) for row in c.execute(HISTORY, {"run": run_id})]


def _of_user(query: sa.Select[Any], user_id: UserId | None) -> sa.Select[Any]:
    """Restrict *query*, which joins the agents, to one user; None: no restriction."""
    return query if user_id is None else query.where(agents.c.user_id == user_id)


def _run(row: Any) -> RunRow:
    return fill(RunRow, row, usage=fill(Usage, row))
