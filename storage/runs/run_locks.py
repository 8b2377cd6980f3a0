"""Needs, locks and devices of runs.

Locks are taken in the transaction that claims a run, and released in the one that ends or parks it. A run
holds locks only while it executes. A run whose turn has not come stays QUEUED and waits in the queues of its
locks, together with devices, in order of arrival. It joins the queues when everything else is ready. Its turn
grants it the locks for ``START_MS``, within which it must be claimed. Otherwise the next request gets them,
and the run joins the queues again.

The needs of a waiting run are met by its agent or its connected device. In most hubs no run has needs, so a
separate index finds those that have.

An agent that reads a connector may have no device of its own. Its run gets one when it is claimed, and keeps
it from its first unit on. Its items stay at that device, and so do their later versions: a run for another
device leaves these messages to a run for theirs.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.capabilities import ALWAYS_OFFERED
from protocol.errors import ErrorCode, HubError, connect_command
from protocol.ids import AgentId, BootId, DeviceId, RunId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, CallState, PauseReason
from protocol.requirements import Unmet, unmet_by
from storage import schema
from storage.agents import configs
from storage.agents.agents import AgentRow, roams
from storage.agents.locks import (
    FREED,
    Grant,
    Holder,
    HoldsAlready,
    LockLimits,
    LockRequest,
    LockRow,
    TooManyLocks,
    alone,
    database_now,
    hand_over,
    locks_named,
    take,
)
from storage.kernel.columns import in_parts, spelled, texts
from storage.leases import is_online
from storage.runs.units import AT_ANOTHER_DEVICE
from storage.schema import (
    agent_locks,
    agents,
    device_keys,
    device_tokens,
    devices,
    items,
    lock_waits,
    run_calls,
    run_units,
    runs,
)

START_MS: Final = 10_000  # for the claim: five rounds of a dispatcher
GRACE_MS: Final = 600_000  # after a run's deadline, for its cancellation by this hub or another


class RunToLock(msgspec.Struct, frozen=True, kw_only=True):
    """Run to be claimed."""

    id: RunId
    agent_id: AgentId
    user_id: UserId
    locks: tuple[str, ...]
    timeout_ms: int


class LockInTheWay(msgspec.Struct, frozen=True, kw_only=True):
    """Lock that a run waits for. *ahead*: number of requests before it; *lock*: its current row."""

    lock: LockRow
    is_held: bool
    ahead: int


# For queries of runs: such a run waits for its locks, and only their queues decide.
WAITS_FOR_LOCKS = sa.exists().where(lock_waits.c.holder_kind == "run", lock_waits.c.holder_id == runs.c.id)
_run_ids: sa.BindParameter[str] = sa.bindparam("runs", expanding=True)
HELD_BY_RUNS = sa.select(agent_locks.c.user_id, agent_locks.c.resource, agent_locks.c.holder_id).where(
    agent_locks.c.holder_kind == "run", agent_locks.c.holder_id.in_(_run_ids)
)
WAITED_BY_RUNS = sa.select(lock_waits.c.user_id, lock_waits.c.resource, lock_waits.c.holder_id).where(
    lock_waits.c.holder_kind == "run", lock_waits.c.holder_id.in_(_run_ids)
)
FREE_OF_RUNS = (
    sa.update(agent_locks)
    .where(
        agent_locks.c.user_id == sa.bindparam("user"),
        agent_locks.c.holder_kind == "run",
        agent_locks.c.holder_id.in_(_run_ids),
    )
    .values(FREED)
    .returning(agent_locks.c.resource)
)
RUNS_LEAVE = (
    sa.delete(lock_waits)
    .where(
        lock_waits.c.user_id == sa.bindparam("user"),
        lock_waits.c.holder_kind == "run",
        lock_waits.c.holder_id.in_(_run_ids),
    )
    .returning(lock_waits.c.resource)
)
LOCKING_RUNS = (
    sa.select(runs.c.id, runs.c.locks, schema.agents.c.user_id)
    .join_from(runs, schema.agents)
    .where(runs.c.id.in_(_run_ids), sa.text("runs.state = 'QUEUED'"))
)
UNSTARTED = (
    sa.select(runs.c.id, runs.c.locks)
    .where(runs.c.id.in_(_run_ids), runs.c.fence == 0, sa.text("runs.state IN ('QUEUED', 'PAUSED')"))
    .order_by(runs.c.id)
    .with_for_update()  # prevents their claim until the transaction ends
)


def take_locks(c: sa.Connection, run: RunToLock, limits: LockLimits) -> bool:
    """Acquire all locks of a run that is claimed in this transaction. Return False if it must wait.

    They belong to the run until its deadline plus ``GRACE_MS``; a move frees them earlier.
    """
    request = LockRequest(
        request_id=f"run:{run.id}",
        user_id=run.user_id,
        names=run.locks,
        holder=Holder("run", run.id, run.agent_id),
        ttl_ms=run.timeout_ms + GRACE_MS,
        wait_ms=None,
        turn_ttl_ms=START_MS,
    )
    try:
        return take(c, request, limits).grant is not None
    except (TooManyLocks, HoldsAlready):  # retried with the next claim
        return False


def let_go(c: sa.Connection, run_ids: Collection[RunId]) -> list[Grant]:
    """Release the locks of these runs and withdraw their waits. Return the new grants."""
    users: defaultdict[UserId, list[RunId]] = defaultdict(list)
    for part in in_parts(sorted(run_ids)):
        for query in (HELD_BY_RUNS, WAITED_BY_RUNS):
            for row in c.execute(query, {"runs": part}):
                users[UserId(row.user_id)].append(RunId(row.holder_id))
    handed: list[Grant] = []
    for user_id, ids in sorted(users.items()):
        alone(c, user_id)
        names: set[str] = set()
        for part in in_parts(sorted(set(ids))):
            for change in (FREE_OF_RUNS, RUNS_LEAVE):
                names.update(c.execute(change, {"user": user_id, "runs": part}).scalars())
        handed += hand_over(c, user_id, sorted(names))
    return handed


def with_other_locks(c: sa.Connection, locks: Mapping[RunId, Sequence[str]]) -> list[RunId]:
    """Return those of these runs that never started and whose locks differ so far.

    Their rows are locked until the transaction ends.
    """
    return [
        RunId(row.id)
        for part in in_parts(sorted(locks))
        for row in c.execute(UNSTARTED, {"runs": part})
        if sorted(row.locks) != sorted(locks[RunId(row.id)])
    ]


def locks_in_the_way(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, LockInTheWay]:
    """Return, for those of these runs that wait for locks, the first lock by name."""
    waiting = [
        row for part in in_parts(run_ids) for row in c.execute(LOCKING_RUNS, {"runs": part}) if row.locks
    ]
    now = database_now(c) if waiting else 0
    found = ((RunId(row.id), _in_the_way(c, row, now)) for row in waiting)
    return {run_id: lock for run_id, lock in found if lock is not None}


def _in_the_way(c: sa.Connection, run: Any, now: int) -> LockInTheWay | None:
    queues: defaultdict[str, list[bool]] = defaultdict(list)  # whether each in it is this run
    query = (
        sa.select(lock_waits.c.resource, lock_waits.c.holder_kind, lock_waits.c.holder_id)
        .where(lock_waits.c.user_id == run.user_id, lock_waits.c.resource.in_(run.locks))
        .order_by(lock_waits.c.resource, lock_waits.c.ticket)
    )
    for name, kind, holder_id in c.execute(query):
        queues[name].append(kind == "run" and holder_id == run.id)
    for lock in locks_named(c, run.user_id, run.locks):
        is_own = lock.holder is not None and (lock.holder.kind, lock.holder.id) == ("run", run.id)
        if is_own:
            continue
        queue = queues[lock.resource]
        ahead = queue.index(True) if True in queue else len(queue)
        if lock.is_held(now) or ahead:
            return LockInTheWay(lock=lock, is_held=lock.is_held(now), ahead=ahead)
    return None


Offered = Mapping[DeviceId, Mapping[str, str]]  # capabilities of connected devices: versions by capability

NEEDS = sa.select(runs.c.id, runs.c.agent_id, runs.c.device_id, runs.c.needs)
# As text: a bound parameter could not use the index.
NEEDY_RUNS = NEEDS.where(sa.text("runs.state = 'QUEUED' AND runs.needs <> '[]'"))
NEEDS_OF = NEEDS.where(runs.c.id.in_(sa.bindparam("runs", expanding=True)), sa.text("runs.needs <> '[]'"))


def unmet_runs(c: sa.Connection, offered: Offered) -> dict[RunId, list[Unmet]]:
    """Return the queued runs with needs that neither agent nor connected device meets, with these needs."""
    return _unmet(c, c.execute(NEEDY_RUNS).all(), offered)


def unmet_of(c: sa.Connection, run_ids: Sequence[RunId], offered: Offered) -> dict[RunId, list[Unmet]]:
    """Return the unmet needs of these runs, in any state."""
    rows = [row for part in in_parts(run_ids) for row in c.execute(NEEDS_OF, {"runs": part})]
    return _unmet(c, rows, offered)


def _unmet(c: sa.Connection, rows: Sequence[Any], offered: Offered) -> dict[RunId, list[Unmet]]:
    if not rows:
        return {}
    enabled = configs.enabled_of(c, (row.agent_id for row in rows))
    known: dict[tuple[str, ...], list[Unmet]] = {}  # most runs of an agent have the same needs
    found: dict[RunId, list[Unmet]] = {}
    for row in rows:
        needs = texts(row.needs)
        alike = (row.agent_id, row.device_id or "", *needs)
        if alike not in known:
            of_device = {**ALWAYS_OFFERED, **offered.get(row.device_id, {})}
            known[alike] = unmet_by(needs, of_device, enabled.get(AgentId(row.agent_id), {}))
        if known[alike]:
            found[RunId(row.id)] = known[alike]
    return found


ADMIT: Final = "admit one: hub connect on the device, then hub pair"
IS_ENDED: Final = f"IN ({spelled(sorted(FINAL_RUN_STATES))})"
IS_LEFT: Final = sa.text(
    f"run_calls.state IN ({spelled((CallState.PLANNED, CallState.SENT, CallState.UNKNOWN))})"
)


class NoDevice(HubError):
    """Error: the agent has no device, and its user has none that is admitted. Nothing was written."""

    code = ErrorCode.BAD_CONFIG
    hint = ADMIT

    def __init__(self, agent: AgentRow, device: str | None = None, *, is_revoked: bool = False) -> None:
        problem = f"has no device, and no device of {agent.user_name} is admitted"
        if device is not None:
            problem = f"works on device {device}, which {'was revoked' if is_revoked else 'was never paired'}"
            self.hint = f"on that device: {connect_command(device, anew=is_revoked)}; then here: hub pair"
        super().__init__(f"agent {agent.name!r} {problem}")


def _is_admitted(rows: Any) -> sa.ColumnElement[bool]:
    """Return the condition of a device that has connected, or has a credential to connect with."""
    return sa.and_(
        rows.c.revoked_at.is_(None),
        sa.or_(
            rows.c.last_seen_at.is_not(None),
            rows.c.boot_id.is_not(None),
            sa.exists().where(device_keys.c.device_id == rows.c.id),
            sa.exists().where(device_tokens.c.device_id == rows.c.id, device_tokens.c.revoked_at.is_(None)),
        ),
    )


ADMISSION = sa.select(devices.c.name, devices.c.revoked_at, _is_admitted(devices).label("is_admitted")).where(
    devices.c.id == sa.bindparam("device", type_=sa.Text)
)

_place = devices.alias("place")


def has_place(user_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that the user has an admitted device."""
    return sa.exists().where(_place.c.user_id == user_id, _is_admitted(_place))


_ended, _newest = runs.alias("ended"), runs.alias("newest")
_of_agent: sa.BindParameter[str] = sa.bindparam("agent", type_=sa.Text)
_last = (
    sa.select(_newest.c.id)
    .where(_newest.c.agent_id == _of_agent, _newest.c.device_id.is_not(None))
    .order_by(_newest.c.created_at.desc(), _newest.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_was_last = _place.c.id == sa.select(runs.c.device_id).where(runs.c.id == _last).scalar_subquery()
# Uncorrelated: the runs of the agent are searched once, not for each device.
_with_items = (
    sa.select(_ended.c.device_id)
    .join_from(_ended, run_calls, run_calls.c.run_id == _ended.c.id)
    .where(_ended.c.agent_id == _of_agent, sa.text(f"ended.state {IS_ENDED}"), IS_LEFT)
)
_with_messages = (
    sa.select(items.c.device_id)
    .join_from(run_units, items, items.c.unit_key == run_units.c.unit_key)
    .where(
        run_units.c.run_id == _last,
        run_units.c.error.startswith(AT_ANOTHER_DEVICE),
        items.c.user_id == sa.bindparam("user"),
        items.c.agent_id == _of_agent,
    )
)
_is_awaited = sa.or_(_place.c.id.in_(_with_items), _place.c.id.in_(_with_messages))
_is_connected = is_online(_place)
_is_here = _place.c.boot_id == sa.bindparam("boot", type_=sa.Text)
# By name: every hub process chooses the same one.
PLACE = (
    sa.select(_place.c.id)
    .where(_place.c.user_id == sa.bindparam("user"), _is_admitted(_place))
    .order_by(
        sa.case((sa.and_(_is_connected, _is_awaited), 0), (_is_connected, 1), (_was_last, 2), else_=3),
        sa.case((_is_here, 0), else_=1),
        _place.c.name,
        _place.c.id,
    )
    .limit(1)
)
ROAMING = (
    sa.select(runs.c.id, runs.c.agent_id, agents.c.user_id)
    .join_from(runs, agents)
    .where(
        runs.c.id.in_(sa.bindparam("runs", expanding=True)),
        sa.text("runs.state = 'QUEUED'"),
        roams(),
        ~sa.exists().where(run_units.c.run_id == runs.c.id),
    )
    .with_for_update(of=runs, skip_locked=True)
)
SET_PLACE = sa.update(runs).where(runs.c.id == sa.bindparam("run")).values(device_id=sa.bindparam("device"))


def place_runs(c: sa.Connection, run_ids: Collection[RunId], boot_id: BootId) -> None:
    """Give each run of an agent without a device one of its user, unless the run has read something.

    A connected device comes first, above all one that undelivered items of the agent wait for. With none
    connected it is the device of the agent's newest run, else any.
    """
    for row in c.execute(ROAMING, {"runs": list(run_ids)}).all():
        given = {"agent": row.agent_id, "user": row.user_id, "boot": boot_id}
        c.execute(SET_PLACE, {"run": row.id, "device": c.execute(PLACE, given).scalar_one()})


def check_place(c: sa.Connection, agent: AgentRow) -> None:
    """Check that the device of the agent's next run can connect, or is needed only later, for the items.

    Raises:
        NoDevice: nothing can bring that device to the run but a person.
    """
    device = c.execute(ADMISSION, {"device": place_of(c, agent)}).one()
    if agent.executor == "device" and not device.is_admitted:
        raise NoDevice(agent, device.name, is_revoked=device.revoked_at is not None)


def place_of(c: sa.Connection, agent: AgentRow) -> DeviceId:
    """Return the agent's device, else the one that its next run would get. Raises NoDevice."""
    given = {"agent": agent.id, "user": agent.user_id, "boot": ""}
    found = agent.device_id or c.execute(PLACE, given).scalar_one_or_none()
    if found is None:
        raise NoDevice(agent)
    return DeviceId(found)


_waiter, _its_own = agents.alias("waiter"), devices.alias("its_own")


def waits_alone(rows: Any) -> sa.ColumnElement[bool]:
    """Return the condition of a run that waits for its device, while its agent can use another one."""
    is_back = sa.exists().where(_its_own.c.id == rows.c.device_id, is_online(_its_own))
    is_other = sa.exists().where(_place.c.user_id == _waiter.c.user_id, is_online(_place))
    return sa.and_(
        rows.c.pause_reason == PauseReason.DEVICE_OFFLINE,
        sa.exists().where(_waiter.c.id == rows.c.agent_id, roams(_waiter), is_other),
        sa.not_(is_back),
    )
