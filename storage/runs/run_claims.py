"""Claims of runs from the queue: which runs may start, in which order, and their exclusive claim."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BootId, DeviceId, RunId, UserId
from protocol.lifecycles import RUN, PauseReason, RunEvent, RunState
from storage import schema
from storage.agents.lock_turns import DEFAULT_LIMITS, LockLimits
from storage.kernel.columns import Int, in_parts, listed, now_ms
from storage.runs import run_locks
from storage.runs.run_locks import WAITS_FOR_LOCKS, RunToLock, let_go, take_locks
from storage.runs.run_moves import remember_moves
from storage.runs.run_rows import RunMove, RunRow, get_run
from storage.schema import runs

# in one transaction: many starts take several of them, and other writers wait only briefly
CLAIMS_AT_ONCE = 32
CANDIDATES = 512  # devices that are compared in one round, longest waiting first
HELD_UP_AT_ONCE = 256  # runs whose locks are held, in one transaction; the rest with the next claim
CLAIM_LOCK = 0x6875_6201  # key of PostgreSQL's advisory lock that serializes counting and claiming


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions at the time of a claim.

    Attributes:
        online: devices that are connected to this hub.
        settled: devices of *online* whose connection is old enough. A run requested by a person starts on any
            online device.
        per_device, total: maximum numbers of executing runs; an agent's own limit is in its row.
        mailboxes: maximum number of runs that read connectors. They take no slot of their device, which may
            be offline.
        is_held: the hub crashed repeatedly: catch-up runs, and runs that it may have crashed on, wait.
        offered: capabilities of the online devices: versions by capability.
        locks: limits on locks.
    """

    online: frozenset[DeviceId]
    settled: frozenset[DeviceId]
    per_device: int = 1
    total: int = 32
    mailboxes: int = 8
    is_held: bool = False
    offered: Mapping[DeviceId, Mapping[str, str]] = {}
    locks: LockLimits = DEFAULT_LIMITS


# A bound parameter could not use the index WHERE state = 'QUEUED'.
QUEUED = runs.c.state == sa.literal_column("'QUEUED'", runs.c.state.type)
EXECUTING_NOW = (
    sa.select(
        runs.c.device_id,
        runs.c.agent_id,
        schema.agents.c.user_id,
        schema.agents.c.executor,
        sa.func.count().label("runs"),
    )
    .join_from(runs, schema.agents)
    .where(sa.text("runs." + schema.EXECUTING))
    .group_by(runs.c.device_id, runs.c.agent_id, schema.agents.c.user_id, schema.agents.c.executor)
)
_other = runs.alias("other")
# Runs of one schedule execute one after the other unless it allows overlap. A run that began earlier goes
# first, unless it waits for a model: runs that need none execute meanwhile.
FOLLOWS = sa.exists().where(
    _other.c.schedule_id == runs.c.schedule_id,
    sa.text("other.schedule_id IS NOT NULL AND other.state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')"),
    _other.c.id != runs.c.id,
    _other.c.pause_reason.is_distinct_from(PauseReason.MODEL_AWAY),
    sa.or_(
        sa.text("other." + schema.EXECUTING),
        sa.and_(_other.c.fence > 0, runs.c.fence == 0),
    ),
)
# The device is online, but reports that the agent is not, or its heartbeats stopped.
_its_device = schema.devices.alias("its_device")
AWAY = sa.and_(
    schema.agent_states.c.connectivity == "offline",
    sa.exists().where(_its_device.c.id == schema.agents.c.device_id, _its_device.c.connectivity == "online"),
)
_user_waits = runs.c.trigger_kind.in_(("manual", "rerun"))
# A run that began before holds its planned calls, which another run of its agent would conflict with. Then
# come runs that people requested; backfills come last.
_rank = sa.case((runs.c.fence > 0, 0), (_user_waits, 1), (runs.c.trigger_kind == "backfill", 3), else_=2)
_reads_mailbox = schema.agents.c.executor == sa.literal_column("'connector'", sa.Text)


def _ready(
    turns_of: sa.Column[Any], *where: sa.ColumnElement[bool], of: sa.FromClause | None = None
) -> sa.Subquery:
    """Select runs that may start under *where* and the common conditions, with their turn.

    Args:
        turns_of: column that groups the runs; each group has its own order.
        of: additional table to join, of the agents' connectors.
    """
    turn = sa.func.row_number().over(
        partition_by=turns_of, order_by=(runs.c.priority.desc(), _rank, runs.c.eligible_at, runs.c.id)
    )
    joined = runs.join(schema.agents, schema.agents.c.id == runs.c.agent_id).join(
        schema.agent_states, schema.agent_states.c.agent_id == schema.agents.c.id
    )
    if of is not None:
        joined = joined.join(of, of.c.id == schema.agents.c.connector_id)
    return (
        sa.select(
            runs.c.id,
            runs.c.agent_id,
            runs.c.device_id,
            schema.agents.c.user_id,
            runs.c.priority,
            runs.c.eligible_at,
            runs.c.locks,
            runs.c.timeout_ms,
            _reads_mailbox.label("reads_mailbox"),
            turn.label("turn"),
        )
        .select_from(joined.outerjoin(schema.schedules, schema.schedules.c.id == runs.c.schedule_id))
        .where(
            QUEUED,
            *where,
            runs.c.eligible_at <= sa.bindparam("now"),
            sa.or_(
                runs.c.start_deadline_at.is_(None),
                runs.c.started_at.is_not(None),
                runs.c.start_deadline_at > sa.bindparam("now"),
            ),
            sa.or_(
                sa.bindparam("held", type_=sa.Integer) == 0,
                _user_waits,
                sa.and_(runs.c.trigger_kind != "catchup", runs.c.crash_count == 0),
            ),
            schema.agents.c.deleted_at.is_(None),
            schema.agent_states.c.lifecycle == "active",
            schema.agent_states.c.availability != "exhausted",
            sa.or_(schema.agent_states.c.health == "ok", _user_waits),
            runs.c.agent_id.not_in(sa.bindparam("busy_agents", expanding=True)),
            runs.c.id.not_in(listed(sa.bindparam("unmet"))),
            sa.not_(WAITS_FOR_LOCKS),
            sa.or_(sa.func.coalesce(schema.schedules.c.overlap, "allow") == "allow", sa.not_(FOLLOWS)),
        )
        .subquery("ready")
    )


def _firsts(ready: sa.Subquery) -> sa.Select[Any]:
    return (
        sa.select(ready)
        .where(ready.c.turn == 1)
        .order_by(ready.c.priority.desc(), ready.c.eligible_at, ready.c.id)
        .limit(CANDIDATES)
    )


READY = _firsts(
    _ready(
        runs.c.device_id,
        sa.not_(_reads_mailbox),
        runs.c.device_id.in_(sa.bindparam("devices", expanding=True)),
        sa.or_(sa.bindparam("settled", type_=sa.Integer) == 1, _user_waits),
        sa.not_(AWAY),
    )
)
# The device may be offline: items wait for it. A connector that needs a person blocks all its runs; after a
# temporary error it blocks only runs that no person requested.
READY_MAILBOXES = _firsts(
    _ready(
        runs.c.agent_id,
        _reads_mailbox,
        schema.connectors.c.state == "ok",
        schema.connectors.c.deleted_at.is_(None),
        sa.or_(
            schema.connectors.c.retry_at.is_(None),
            schema.connectors.c.retry_at <= sa.bindparam("now"),
            _user_waits,
        ),
        of=schema.connectors,
    )
)
# Most hubs read no mailbox, and the query above runs with each claim.
READ_MAILBOXES = (
    sa.select(sa.literal(1))
    .select_from(schema.agents)
    .where(schema.agents.c.connector_id.is_not(None))
    .limit(1)
)
AGENT_LIMITS = sa.select(schema.agents.c.id, schema.agents.c.max_concurrent_runs).where(
    schema.agents.c.id.in_(sa.bindparam("agents", expanding=True))
)
AT_REST = (
    sa.select(schema.agent_states.c.agent_id)
    .where(schema.agent_states.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
    .with_for_update(skip_locked=True)
)
_due = (
    sa.select(runs.c.id)
    .where(runs.c.id.in_(sa.bindparam("runs", expanding=True)), QUEUED)
    .with_for_update(skip_locked=True)
    .cte("due")
)
CLAIM = (
    sa.update(runs)
    .where(runs.c.id.in_(sa.select(_due.c.id)), QUEUED)
    .values(
        state=RunState.PREPARING,
        reason=None,
        fence=runs.c.fence + 1,
        lease_boot_id=sa.bindparam("boot"),
        lease_expires_at=now_ms() + sa.bindparam("lease", type_=Int),
        deadline_at=runs.c.timeout_ms + sa.bindparam("now"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
    .returning(runs.c.id, runs.c.agent_id, runs.c.state_seq, runs.c.attempt, runs.c.fence)
)


class _Candidate(msgspec.Struct, frozen=True):
    id: RunId
    agent_id: AgentId
    device_id: DeviceId
    user_id: str
    priority: int
    eligible_at: int
    locks: Sequence[str]
    timeout_ms: int
    reads_mailbox: bool


def claim_runs(
    c: sa.Connection,
    *,
    boot_id: BootId,
    gates: Gates,
    lease_ms: int,
    at: int,
    most: int = CLAIMS_AT_ONCE,
    actor: str = "hub",
) -> list[RunRow]:
    """Claim ready runs exclusively: QUEUED -> PREPARING, fence + 1. Counts and claims in one transaction.

    A run is ready if its time has come and its device is connected, or it reads a working connector. Its
    agent must be active, and neither away nor exhausted; it may be in error only for a run that a person
    requested. The capabilities that it needs must be offered. No other run of its schedule may be under way,
    unless that allows overlap, and no limit on executing runs may be reached. A ready run takes all its locks
    here, or waits for them (``run_locks``).

    The order: higher priority, then the user with the fewest executing runs, then the longest waiting run. On
    one device, runs that began before go first, then those that people requested; backfills come last.

    Args:
        most: maximum number of claimed runs.
        lease_ms: duration of the lease without renewal, on a shared database.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIM_LOCK)))
    unmet = run_locks.unmet_runs(c, gates.offered)
    held_up: set[RunId] = set()  # by their locks; most of them are in the locks' queues now
    claimed: list[RunRow] = []
    takes_locks = False
    while len(claimed) < most:
        counts = _Counts(c.execute(EXECUTING_NOW).all())
        # One run of each device, and so of each agent and schedule: the next round counts it as
        # executing.
        found = _next_of_each_device(c, gates, counts, (*unmet, *held_up), at)
        chosen = list(_in_turn(found, counts, gates, most=most - len(claimed)))
        if not chosen or len(held_up) >= HELD_UP_AT_ONCE:
            break
        takes_locks = takes_locks or any(run.locks for run in chosen)
        if takes_locks:
            chosen = _at_rest(c, chosen, held_up)
        free = _with_locks(c, chosen, gates.locks, held_up)
        taken = _claim(c, free, boot_id=boot_id, lease_ms=lease_ms, at=at, actor=actor) if free else []
        if free and not taken:
            break  # all rows are locked by others, for example to cancel them
        claimed += taken
    return claimed


class _Counts:
    """Numbers of executing runs, by the limits that apply to them."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self.total = self.mailboxes = 0
        self.by_device: Counter[str] = Counter()
        self.by_agent: Counter[str] = Counter()
        self.by_user: Counter[str] = Counter()
        for device_id, agent_id, user_id, executor, count in rows:
            self._add(device_id or "", agent_id, user_id, executor == "connector", count)

    def take(self, run: _Candidate) -> None:
        self._add(run.device_id, run.agent_id, run.user_id, run.reads_mailbox, 1)

    def _add(self, device_id: str, agent_id: str, user_id: str, reads_mailbox: bool, count: int) -> None:
        self.total += count
        if reads_mailbox:
            self.mailboxes += count
        else:
            self.by_device[device_id] += count
        self.by_agent[agent_id] += count
        self.by_user[user_id] += count


def _next_of_each_device(
    c: sa.Connection, gates: Gates, counts: _Counts, unmet: Iterable[RunId], at: int
) -> list[_Candidate]:
    """Return the next run of each device with a free slot; of many devices, the longest waiting."""
    busy = [
        row.id
        for part in in_parts(sorted(counts.by_agent))
        for row in c.execute(AGENT_LIMITS, {"agents": part})
        if counts.by_agent[row.id] >= row.max_concurrent_runs
    ]
    asked = {"now": at, "held": int(gates.is_held), "busy_agents": busy, "unmet": list(unmet)}
    found: list[_Candidate] = []
    for devices, settled in ((gates.settled, 1), (gates.online - gates.settled, 0)):
        free = sorted(device for device in devices if counts.by_device[device] < gates.per_device)
        for part in in_parts(free):
            rows = c.execute(READY, asked | {"devices": part, "settled": settled})
            found += [_candidate(row) for row in rows]
    if counts.mailboxes < gates.mailboxes and c.execute(READ_MAILBOXES).first() is not None:
        found += [_candidate(row) for row in c.execute(READY_MAILBOXES, asked)]
    return found


def _candidate(row: Sequence[Any]) -> _Candidate:
    fields = [*row[:8], bool(row[8])]
    return _Candidate(*fields)


def _in_turn(
    found: Sequence[_Candidate], counts: _Counts, gates: Gates, *, most: int
) -> Iterable[_Candidate]:
    """Choose among the first runs of the devices; each choice changes the order of the rest."""
    waiting = list(found)
    for _ in range(most):
        if not waiting or counts.total >= gates.total:
            return
        run = min(
            waiting, key=lambda run: (-run.priority, counts.by_user[run.user_id], run.eligible_at, run.id)
        )
        counts.take(run)
        # An agent that moved may have runs on two devices; the next round sees its limit and its
        # schedule.
        waiting = [
            other
            for other in waiting
            if other.agent_id != run.agent_id
            and not (other.reads_mailbox and counts.mailboxes >= gates.mailboxes)
        ]
        yield run


def _at_rest(c: sa.Connection, chosen: Sequence[_Candidate], held_up: set[RunId]) -> list[_Candidate]:
    """Return the runs whose agents no other transaction changes; add the others to *held_up*.

    A transaction that ends a run locks its agent and then its user's locks. A claim takes them in the reverse
    order, so it must not wait for the agent.
    """
    if c.dialect.name != "postgresql":
        return list(chosen)  # it has only one writer
    free = set(c.execute(AT_REST, {"agents": [run.agent_id for run in chosen]}).scalars())
    held_up.update(run.id for run in chosen if run.agent_id not in free)
    return [run for run in chosen if run.agent_id in free]


def _with_locks(
    c: sa.Connection, chosen: Iterable[_Candidate], limits: LockLimits, held_up: set[RunId]
) -> list[RunId]:
    """Return the runs that have all their locks now; add the others to *held_up*."""
    free: list[RunId] = []
    for run in chosen:
        to_lock = RunToLock(
            id=run.id,
            agent_id=run.agent_id,
            user_id=UserId(run.user_id),
            locks=tuple(run.locks),
            timeout_ms=run.timeout_ms,
        )
        if not run.locks or take_locks(c, to_lock, limits):
            free.append(run.id)
        else:
            held_up.add(run.id)
    return free


def _claim(
    c: sa.Connection, chosen: Collection[RunId], *, boot_id: BootId, lease_ms: int, at: int, actor: str
) -> list[RunRow]:
    given = {"runs": list(chosen), "boot": boot_id, "lease": lease_ms, "now": at}
    after = RUN.after(RunState.QUEUED, RunEvent.DISPATCHED)
    taken = c.execute(CLAIM, given).all()
    if len(taken) < len(chosen):
        let_go(c, {*chosen} - {row.id for row in taken})
    remember_moves(
        c,
        (
            (
                RunId(row.id),
                AgentId(row.agent_id),
                RunMove(row.state_seq, RunState.QUEUED, after, row.attempt, row.fence, None, actor, at),
            )
            for row in taken
        ),
    )
    claimed = {row.id for row in taken}
    return [get_run(c, run_id) for run_id in chosen if run_id in claimed]
