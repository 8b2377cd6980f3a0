"""Queue of runs: which runs may start, in which order, and their claim by one hub."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BootId, DeviceId, RunId, UserId
from protocol.lifecycles import RUN, PauseReason, RunEvent, RunState
from storage.agents.agents import AgentRow, get_agent, roams
from storage.agents.locks import DEFAULT_LIMITS, LockLimits
from storage.connectors.connectors import NOT_YET
from storage.kernel.columns import (
    Int,
    execute_among,
    in_parts,
    isolating_broken_row,
    listed,
    now_ms,
    readable,
    struct_from,
    texts,
)
from storage.kernel.database import UnreadableRow, lone
from storage.leases import is_online
from storage.runs import run_needs
from storage.runs.calls import IS_OPEN
from storage.runs.run_devices import WAITS_FOR_LOCKS, check_place, has_place, place_runs, waits_alone
from storage.runs.run_locks import LockInTheWay, RunToLock, acquire_locks, locks_in_the_way, release_locks
from storage.runs.run_moves import MOVED_FOR, CannotRun, create_run, remember_moves
from storage.runs.runs import RunMove, RunRow, get_run
from storage.schema import (
    EXECUTING,
    agent_state_history,
    agent_states,
    agents,
    connectors,
    credentials,
    devices,
    run_calls,
    runs,
    schedules,
)

# in one transaction: many starts take several of them, and other writers wait only briefly
CLAIMS_AT_ONCE = 32
MOVES_AT_ONCE = 8  # claims of a run that moves with its device, before it waits for the device to settle
CANDIDATES = 512  # devices that are compared in one round, longest waiting first
HELD_UP_AT_ONCE = 256  # runs that are locked or unreadable, in one transaction; the rest with the next claim


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions at the time of a claim.

    Attributes:
        online: devices that are connected to this hub and may get runs.
        settling: devices of *online* whose connection is too young: only runs requested by a person start.
        per_device: maximum number of executing runs of a device; an agent's own limit is in its row.
        total: maximum number of runs that this process executes.
        mailboxes: of these, maximum number of runs that read connectors. They take no slot of their device,
            which may be offline.
        is_held: the hub crashed repeatedly: catch-up runs, and runs that it may have crashed on, wait.
        offered: capabilities of the online devices: versions by capability.
        locks: limits on locks.
    """

    online: Set[DeviceId]
    settling: Set[DeviceId] = frozenset()
    per_device: int = 1
    total: int = 32
    mailboxes: int = 8
    is_held: bool = False
    offered: Mapping[DeviceId, Mapping[str, str]] = {}
    locks: LockLimits = DEFAULT_LIMITS


# A bound parameter could not use the index WHERE state = 'QUEUED'.
QUEUED = runs.c.state == sa.literal_column("'QUEUED'", runs.c.state.type)


def _executes(rows: Any) -> sa.ColumnElement[bool]:
    """Return the condition of a run that executes; a broken row that nothing executes takes no place."""
    is_state = sa.text(f"{rows.name}.{EXECUTING}")
    return sa.and_(is_state, rows.c.lease_boot_id.is_not(None), rows.c.completed_at.is_(None))


EXECUTING_NOW = (
    sa.select(
        runs.c.device_id,
        runs.c.agent_id,
        agents.c.user_id,
        agents.c.executor,
        runs.c.lease_boot_id,
        sa.func.count().label("runs"),
    )
    .join_from(runs, agents)
    .where(_executes(runs))
    .group_by(runs.c.device_id, runs.c.agent_id, agents.c.user_id, agents.c.executor, runs.c.lease_boot_id)
)
_other = runs.alias("other")
# Runs of one schedule execute one after the other unless it allows overlap. A run that began earlier goes
# first, unless it waits for a model: runs that need none execute meanwhile.
FOLLOWS = sa.exists().where(
    _other.c.schedule_id == runs.c.schedule_id,
    _other.c.agent_id == runs.c.agent_id,  # that of another one, or of none, is a broken row
    sa.text("other.schedule_id IS NOT NULL AND other.state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')"),
    _other.c.id != runs.c.id,
    _other.c.pause_reason.is_distinct_from(PauseReason.MODEL_AWAY),
    sa.func.coalesce(sa.not_(waits_alone(_other)), sa.true()),
    sa.or_(
        _executes(_other),
        sa.and_(_other.c.fence > 0, runs.c.fence == 0),
    ),
)
# The device is online, but reports that the agent is not, or its heartbeats stopped.
_its_device = devices.alias("its_device")
AWAY = sa.and_(
    agent_states.c.connectivity == "offline",
    sa.exists().where(_its_device.c.id == agents.c.device_id, is_online(_its_device)),
)
_user_waits = runs.c.trigger_kind.in_(("manual", "rerun"))
# A run that moved with its device goes on at once; one that moved often waits until the device has settled.
_may_start_at_once = sa.or_(_user_waits, sa.and_(runs.c.reason == MOVED_FOR, runs.c.fence <= MOVES_AT_ONCE))
# A run that began before holds its planned calls, which another run of its agent would conflict with. Then
# come runs that people requested; backfills come last.
_rank = sa.case((runs.c.fence > 0, 0), (_user_waits, 1), (runs.c.trigger_kind == "backfill", 3), else_=2)
_reads_mailbox = agents.c.executor == sa.literal_column("'connector'", sa.Text)


# As a subquery: the few queued runs look up their devices, not each connected device its runs.
_has_own_device = sa.exists().where(
    devices.c.id == runs.c.device_id, devices.c.boot_id == sa.bindparam("boot", type_=sa.Text)
)


def _ready(
    turns_of: Sequence[sa.ColumnElement[Any]],
    *where: sa.ColumnElement[bool],
    of: sa.FromClause | None = None,
) -> sa.Subquery:
    """Select runs that may start under *where* and the common conditions, with their turn.

    Args:
        turns_of: columns that group the runs; each group has its own order.
        of: additional table to join, of the agents' connectors.
    """
    turn = sa.func.row_number().over(
        partition_by=turns_of, order_by=(runs.c.priority.desc(), _rank, runs.c.eligible_at, runs.c.id)
    )
    joined = runs.join(agents, agents.c.id == runs.c.agent_id).join(
        agent_states, agent_states.c.agent_id == agents.c.id
    )
    if of is not None:
        joined = joined.join(of, of.c.id == agents.c.connector_id)
    now: sa.BindParameter[int] = sa.bindparam("now")
    is_in_time = sa.or_(
        runs.c.start_deadline_at.is_(None),
        runs.c.started_at.is_not(None),
        runs.c.start_deadline_at > now,
    )
    # After repeated crashes of the hub, only what cannot have caused them starts by itself.
    is_let_through = sa.or_(
        sa.bindparam("held", type_=sa.Integer) == 0,
        _user_waits,
        sa.and_(runs.c.trigger_kind != "catchup", runs.c.crash_count == 0),
    )
    may_overlap = sa.or_(sa.func.coalesce(schedules.c.overlap, "allow") == "allow", sa.not_(FOLLOWS))
    return (
        sa.select(
            runs.c.id,
            runs.c.agent_id,
            runs.c.device_id,
            agents.c.user_id,
            runs.c.priority,
            runs.c.eligible_at,
            runs.c.locks,
            runs.c.timeout_ms,
            _reads_mailbox.label("reads_mailbox"),
            _may_start_at_once.label("may_start_at_once"),
            _rank.label("rank"),
            turn.label("turn"),
        )
        .select_from(joined.outerjoin(schedules, schedules.c.id == runs.c.schedule_id))
        .where(
            QUEUED,
            *where,
            runs.c.eligible_at <= now,
            is_in_time,
            is_let_through,
            agents.c.deleted_at.is_(None),
            agent_states.c.lifecycle == "active",
            agent_states.c.availability != "exhausted",
            sa.or_(agent_states.c.health == "ok", _user_waits),
            runs.c.agent_id.not_in(sa.bindparam("busy_agents", expanding=True)),
            runs.c.id.not_in(listed(sa.bindparam("unmet"))),
            sa.not_(WAITS_FOR_LOCKS),
            may_overlap,
        )
        .subquery("ready")
    )


def _firsts(ready: sa.Subquery) -> sa.Select[Any]:
    return (
        sa.select(ready)
        .where(ready.c.turn == 1)
        .order_by(ready.c.priority.desc(), ready.c.eligible_at, ready.c.id)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


# Of each device the first run of all, and the first one that a person requested.
READY = _firsts(
    _ready(
        (runs.c.device_id, _user_waits),
        sa.not_(_reads_mailbox),
        _has_own_device,
        runs.c.device_id.not_in(sa.bindparam("busy_devices", expanding=True)),
        sa.not_(AWAY),
    )
)
# The device may be offline: items wait for it. A connector that needs a person blocks all its runs; after a
# temporary error it blocks only runs that no person requested.
READY_MAILBOXES = _firsts(
    _ready(
        (runs.c.agent_id,),
        _reads_mailbox,
        sa.or_(sa.not_(roams()), has_place(agents.c.user_id)),
        connectors.c.state == "ok",
        connectors.c.deleted_at.is_(None),
        sa.or_(
            connectors.c.retry_at.is_(None),
            connectors.c.retry_at <= sa.bindparam("now"),
            _user_waits,
        ),
        of=connectors,
    )
)
# Most hubs read no mailbox, and the query above runs with each claim.
READ_MAILBOXES = (
    sa.select(sa.literal(1)).select_from(agents).where(agents.c.connector_id.is_not(None)).limit(1)
)
_mailbox_agent = agents.alias("mailbox_agent")
ANY_WAITING = (
    sa.select(sa.literal(1))
    .where(
        QUEUED,
        runs.c.eligible_at <= sa.bindparam("now"),
        sa.or_(
            _has_own_device,
            sa.exists().where(
                _mailbox_agent.c.id == runs.c.agent_id, _mailbox_agent.c.executor == "connector"
            ),
        ),
    )
    .limit(1)
)
AGENT_LIMITS = sa.select(agents.c.id, agents.c.max_concurrent_runs).where(
    agents.c.id.in_(sa.bindparam("agents", expanding=True))
)
AT_REST = (
    sa.select(agent_states.c.agent_id)
    .where(agent_states.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
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
    may_start_at_once: bool
    rank: int

    @property
    def place(self) -> tuple[int, int, int, RunId]:
        """Sort key among the runs of one device."""
        return -self.priority, self.rank, self.eligible_at, self.id


@lone
def is_any_waiting(c: sa.Connection, *, boot_id: BootId, at: int) -> bool:
    """Return True if the time of a queued run has come that this process might claim. Only reads.

    With nothing queued, this is one look into an index, however many devices are connected.
    """
    return c.execute(ANY_WAITING, {"boot": boot_id, "now": at}).first() is not None


def claim_runs(
    c: sa.Connection,
    *,
    boot_id: BootId,
    gates: Gates,
    lease_ms: int,
    at: int,
    most: int = CLAIMS_AT_ONCE,
    broken: set[RunId] | None = None,
    actor: str = "hub",
) -> list[RunRow]:
    """Claim ready runs exclusively: QUEUED -> PREPARING, fence + 1. Counts and claims in one transaction.

    A run is ready if its time has come and its device is connected here, or it reads a working connector. Its
    agent must be active, and neither away nor exhausted; it may be in error only for a run that a person
    requested. The capabilities that it needs must be offered. No other run of its schedule may be under way,
    unless that allows overlap, and no limit on executing runs may be reached. A ready run takes all its locks
    here, or waits for them (``run_locks``).

    The order: higher priority, then the user with the fewest executing runs, then the longest waiting run. On
    one device, runs that began before go first, then those that people requested; backfills come last.

    Args:
        most: maximum number of claimed runs.
        broken: runs to pass over, because an earlier claim could not read them; gets those of this claim.
        lease_ms: duration of the lease without renewal, on a shared database.
    """
    broken = set() if broken is None else broken
    unmet = run_needs.unmet_runs(c, gates.offered)
    known_broken = len(broken)
    held_up: set[RunId] = set()  # by their locks; most of them are in the locks' queues now
    claimed: list[RunRow] = []
    while len(claimed) < most and len(held_up) + len(broken) - known_broken < HELD_UP_AT_ONCE:
        # One run of each device, and so of each agent and schedule: the next round counts it as
        # executing.
        find = partial(_next_of_each_device, c, boot_id, gates, at=at)
        found, counts = find((*unmet, *held_up, *broken))
        chosen = list(_in_turn(found, counts, gates, most=most - len(claimed)))
        if not chosen:
            break
        if c.dialect.name == "postgresql":  # the other database has only one writer
            chosen = _at_rest(c, chosen, held_up)
            still, _ = find((*unmet, *held_up, *broken))  # of agents that no other hub can claim for now
            still_ready = {run.id for run in still}
            chosen = [run for run in chosen if run.id in still_ready]
        free = _with_locks(c, chosen, gates.locks, held_up)
        mailboxes = {run.id for run in chosen if run.reads_mailbox}
        claim = partial(
            _claim, c, mailboxes=mailboxes, boot_id=boot_id, lease_ms=lease_ms, at=at, actor=actor
        )
        unread: set[RunId] = set()
        taken = _claim_or_each(c, claim, free, unread) if free else []
        if free and not (taken or unread):
            break  # all rows are locked by others, for example to cancel them
        broken |= unread
        claimed += taken
    return claimed


class _Counts:
    """Numbers of executing runs, by the limits that apply to them; *total* and *mailboxes* of one process."""

    def __init__(self, rows: Iterable[Sequence[Any]], boot_id: BootId) -> None:
        self.total = self.mailboxes = 0
        self.by_device: Counter[str] = Counter()
        self.by_agent: Counter[str] = Counter()
        self.by_user: Counter[str] = Counter()
        for device_id, agent_id, user_id, executor, holder, count in rows:
            own = count if holder == boot_id else 0
            self._add(device_id or "", agent_id, user_id, executor == "connector", count, own)

    def count(self, run: _Candidate) -> None:
        self._add(run.device_id, run.agent_id, run.user_id, run.reads_mailbox, 1, 1)

    def _add(
        self, device_id: str, agent_id: str, user_id: str, reads_mailbox: bool, count: int, own: int
    ) -> None:
        self.total += own
        if reads_mailbox:
            self.mailboxes += own
        else:
            self.by_device[device_id] += count
        self.by_agent[agent_id] += count
        self.by_user[user_id] += count


def _next_of_each_device(
    c: sa.Connection, boot_id: BootId, gates: Gates, passed_over: Iterable[RunId], *, at: int
) -> tuple[list[_Candidate], _Counts]:
    """Return the next run of each device with a free slot, and the counts; of many, the longest waiting."""
    counts = _Counts(c.execute(EXECUTING_NOW).all(), boot_id)
    if counts.total >= gates.total:
        return [], counts
    busy = [
        row.id
        for part in in_parts(sorted(counts.by_agent))
        for row in c.execute(AGENT_LIMITS, {"agents": part})
        if counts.by_agent[row.id] >= row.max_concurrent_runs
    ]
    asked = {
        "now": at,
        "held": int(gates.is_held),
        "busy_agents": busy,
        "unmet": list(passed_over),
        "most": CANDIDATES,
    }
    full = [device for device, count in counts.by_device.items() if count >= gates.per_device]
    # Rows of settling devices may be left out below; those behind them are found nevertheless.
    of_devices = {"boot": boot_id, "busy_devices": full, "most": 2 * (CANDIDATES + len(gates.settling))}
    first: dict[DeviceId, _Candidate] = {}
    for run in map(_candidate, c.execute(READY, asked | of_devices)):
        may_start = run.device_id in gates.online and (
            run.may_start_at_once or run.device_id not in gates.settling
        )
        if may_start and (run.device_id not in first or run.place < first[run.device_id].place):
            first[run.device_id] = run
    found = list(first.values())
    if counts.mailboxes < gates.mailboxes and c.execute(READ_MAILBOXES).first() is not None:
        found += map(_candidate, c.execute(READY_MAILBOXES, asked))
    return found, counts


def _candidate(row: Sequence[Any]) -> _Candidate:
    fields = [*row[:8], bool(row[8]), bool(row[9]), row[10]]
    fields[6] = texts(fields[6])
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
        counts.count(run)
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

    These stay locked, so that no other hub claims for them. A transaction that ends a run locks its agent and
    then its user's locks; a claim that has taken locks in an earlier round must not wait for an agent.
    """
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
        if not run.locks or acquire_locks(c, to_lock, limits):
            free.append(run.id)
        else:
            held_up.add(run.id)
    return free


def _claim_or_each(
    c: sa.Connection, claim: Callable[[list[RunId]], list[RunRow]], chosen: list[RunId], broken: set[RunId]
) -> list[RunRow]:
    """Claim the runs together; if a row of them is broken, claim each, and add those to *broken*."""
    try:
        with c.begin_nested():
            return claim(chosen)
    except (UnreadableRow, sa.exc.IntegrityError):
        taken: list[RunRow] = []
        for run_id in chosen:
            broken.add(run_id)
            with isolating_broken_row(c):
                taken += claim([run_id])
                broken.discard(run_id)
        release_locks(c, broken)
        return taken


def _claim(
    c: sa.Connection,
    chosen: list[RunId],
    *,
    mailboxes: Set[RunId],
    boot_id: BootId,
    lease_ms: int,
    at: int,
    actor: str,
) -> list[RunRow]:
    given = {"runs": chosen, "boot": boot_id, "lease": lease_ms, "now": at}
    if of_mailboxes := [run_id for run_id in chosen if run_id in mailboxes]:
        place_runs(c, of_mailboxes, boot_id)
    after = RUN.after(RunState.QUEUED, RunEvent.DISPATCHED)
    taken = c.execute(CLAIM, given).all()
    if len(taken) < len(chosen):
        release_locks(c, {*chosen} - {row.id for row in taken})
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


class WaitingConditions(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of a waiting run. Instants are epoch milliseconds.

    Attributes:
        recovery_at: time of an exhausted agent's recovery or probe.
        is_online: the device is connected, to any node.
        is_revoked: the device was revoked.
        is_away: the device is connected, but the agent is offline; *away_since*, *away_reason*: details.
        last_seen_at: last contact of the device; ``None``: it never connected.
        follows: another run of the same schedule is under way, and the schedule allows no overlap.
        of_agent, on_device, on_hub: numbers of executing runs; on a device without those that read a
            connector.
        of_mailboxes: number of executing runs that read a connector.
        reads_mailbox: it reads a connector, and its device may be offline.
        connector: name of its connector; ``None``: no longer declared.
        connector_state, connector_reason, connector_detail: whether its runs may start, and why not.
        connector_ok_at: its last success with its present settings and sign-in.
        connector_retry_at: end of its wait after a temporary error.
        has_place: the agent has a device, or its user has one that is admitted.
        is_granted: a person signs in to it; otherwise its secret is in hub.toml.
        lock: the first lock that it waits for.
        unanswered_since: when the oldest call that its device has not answered was sent first.
    """

    run_id: RunId
    lifecycle: str
    availability: str
    exhaust_reason: str | None
    recovery_at: int | None
    health: str
    device_name: str | None
    is_online: bool
    is_revoked: bool
    is_away: bool = False
    away_since: int | None = None
    away_reason: str | None = None
    last_seen_at: int | None
    per_agent: int
    follows: bool
    of_agent: int
    on_device: int
    on_hub: int
    lock: LockInTheWay | None = None
    of_mailboxes: int = 0
    reads_mailbox: bool = False
    connector: str | None = None
    connector_state: Literal["ok", "sign_in", "blocked"] | None = None
    connector_reason: str | None = None
    connector_detail: str | None = None
    connector_ok_at: int | None = None
    connector_retry_at: int | None = None
    is_granted: bool = False
    has_place: bool = True
    unanswered_since: int | None = None


_executing = sa.select(sa.func.count()).where(_executes(_other)).select_from(_other)
_reader = agents.alias("reader")
# of the hub process that has the device, as far as one has it
_here = sa.or_(devices.c.boot_id.is_(None), _other.c.lease_boot_id == devices.c.boot_id)
_by_mailboxes = sa.exists().where(_reader.c.id == _other.c.agent_id, _reader.c.executor == "connector")
_left = (
    sa.select(agent_state_history.c.at, agent_state_history.c.reason)
    .where(agent_state_history.c.agent_id == runs.c.agent_id, agent_state_history.c.axis == "connectivity")
    .order_by(agent_state_history.c.seq.desc())
    .limit(1)
)
WAITS = (
    sa.select(
        runs.c.id.label("run_id"),
        agent_states.c.lifecycle,
        agent_states.c.availability,
        agent_states.c.exhaust_reason,
        sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at).label("recovery_at"),
        agent_states.c.health,
        devices.c.name.label("device_name"),
        is_online().label("is_online"),
        devices.c.revoked_at.is_not(None).label("is_revoked"),
        AWAY.label("is_away"),
        _left.with_only_columns(agent_state_history.c.at).scalar_subquery().label("away_since"),
        _left.with_only_columns(agent_state_history.c.reason).scalar_subquery().label("away_reason"),
        devices.c.last_seen_at,
        agents.c.max_concurrent_runs.label("per_agent"),
        sa.and_(sa.func.coalesce(schedules.c.overlap, "allow") != "allow", FOLLOWS).label("follows"),
        _executing.where(_other.c.agent_id == runs.c.agent_id).scalar_subquery().label("of_agent"),
        _executing.where(_other.c.device_id == runs.c.device_id, sa.not_(_by_mailboxes))
        .scalar_subquery()
        .label("on_device"),
        _executing.where(_here).scalar_subquery().label("on_hub"),
        _executing.where(_here, _by_mailboxes).scalar_subquery().label("of_mailboxes"),
        (agents.c.executor == "connector").label("reads_mailbox"),
        sa.select(sa.func.min(run_calls.c.sent_at))
        .where(run_calls.c.run_id == runs.c.id, IS_OPEN)
        .scalar_subquery()
        .label("unanswered_since"),
        sa.or_(sa.not_(roams()), has_place(agents.c.user_id)).label("has_place"),
        connectors.c.name.label("connector"),
        connectors.c.state.label("connector_state"),
        connectors.c.reason.label("connector_reason"),
        connectors.c.detail.label("connector_detail"),
        connectors.c.last_ok_at.label("connector_ok_at"),
        connectors.c.retry_at.label("connector_retry_at"),
        sa.or_(
            sa.func.coalesce(connectors.c.detail, "") == NOT_YET,
            sa.exists().where(credentials.c.connector_id == connectors.c.id),
        ).label("is_granted"),
    )
    .join_from(runs, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .outerjoin(devices, devices.c.id == runs.c.device_id)
    .outerjoin(schedules, schedules.c.id == runs.c.schedule_id)
    .outerjoin(
        connectors, sa.and_(connectors.c.id == agents.c.connector_id, connectors.c.deleted_at.is_(None))
    )
    .where(runs.c.id.in_(sa.bindparam("runs", expanding=True)))
)


def waits_of(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, WaitingConditions]:
    """Return the conditions of these runs, by run, without those that depend on an unreadable row."""
    locked = locks_in_the_way(c, run_ids)
    found: dict[RunId, WaitingConditions] = {}
    for row in execute_among(c, WAITS, "runs", run_ids):
        run_id = RunId(row.run_id)
        for wait in readable(partial(struct_from, WaitingConditions, lock=locked.get(run_id)), [row]):
            found[run_id] = wait
    return found


ASKED_FOR: Final = ("manual", "rerun")  # triggers of requested runs


class WaitingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on waiting requested runs; a refusal names the limit."""

    waiting_manual_runs: int = 20  # of one agent
    waiting_manual_runs_per_device: int = 100


# Serializes counting and inserting. A SQLite database has only one writer anyway.
LOCK_AGENT = (
    sa.select(agent_states.c.agent_id)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .with_for_update()
)
_WAITING = sa.select(sa.func.count()).where(
    sa.text("runs.state = 'QUEUED'"), runs.c.trigger_kind.in_(ASKED_FOR)
)
WAITING_OF_AGENT = _WAITING.where(runs.c.agent_id == sa.bindparam("agent"))
WAITING_OF_DEVICE = _WAITING.where(runs.c.device_id == sa.bindparam("device"))
DEFAULT_WAITING_LIMITS: Final = WaitingLimits()


def start_run(
    c: sa.Connection,
    /,
    *,
    agent: AgentRow,
    limits: WaitingLimits = DEFAULT_WAITING_LIMITS,
    **made: Any,
) -> RunRow:
    """Create a requested run within the limits, or return the one that ``create_run`` finds.

    *made*: the other arguments of ``create_run``.

    Raises:
        CodedError (LIMIT_REACHED): the agent or its device has too many waiting runs; nothing was written.
        CodedError (UNKNOWN_AGENT): the agent does not exist or was archived; nothing was written.
        CannotRun, NoDevice: the agent lacks settings that runs need, or a device that can connect; nothing
            was written.
    """
    c.execute(LOCK_AGENT, {"agent": agent.id})
    row = create_run(c, agent=agent, **made)
    if row.id != made["id"]:
        return row
    _check_room(c, agent, limits)
    if missing := get_agent(c, agent.id).missing_for_runs:
        raise CannotRun(agent, missing)
    check_place(c, agent)
    return row


_REMEDY: Final = ": wait until one has started, or cancel some"


def _check_room(c: sa.Connection, agent: AgentRow, limits: WaitingLimits) -> None:
    for limit, whose, waiting, row in (
        ("waiting_manual_runs", f"of {agent.name!r}", WAITING_OF_AGENT, {"agent": agent.id}),
        ("waiting_manual_runs_per_device", "of this device", WAITING_OF_DEVICE, {"device": agent.device_id}),
    ):
        if c.execute(waiting, row).scalar_one() > (most := getattr(limits, limit)):
            message = f"{most} runs {whose} wait that were started by hand ({limit})"
            raise CodedError(ErrorCode.LIMIT_REACHED, message + _REMEDY, limit=limit)
