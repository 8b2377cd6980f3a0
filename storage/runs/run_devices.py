"""Choice of the device for a run of an agent without its own device.

An agent that reads a connector may have no device of its own. Its run gets one when it is claimed, and keeps
it from its first unit on. Its items stay at that device, and so do their later versions: a run for another
device leaves these messages to a run for theirs.
"""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError, connect_command
from protocol.ids import BootId, DeviceId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, CallState, PauseReason
from storage.agents.agents import AgentRow, roams
from storage.kernel.columns import spelled
from storage.leases import is_online
from storage.runs.units import AT_ANOTHER_DEVICE
from storage.schema import (
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

_ended, _newest = runs.alias("ended"), runs.alias("newest")
_waiter, _its_own = agents.alias("waiter"), devices.alias("its_own")


# For queries of runs: such a run waits for its locks, and only their queues decide.
WAITS_FOR_LOCKS = sa.exists().where(lock_waits.c.holder_kind == "run", lock_waits.c.holder_id == runs.c.id)
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


def waits_alone(rows: Any) -> sa.ColumnElement[bool]:
    """Return the condition of a run that waits for its device, while its agent can use another one."""
    is_back = sa.exists().where(_its_own.c.id == rows.c.device_id, is_online(_its_own))
    is_other = sa.exists().where(_place.c.user_id == _waiter.c.user_id, is_online(_place))
    return sa.and_(
        rows.c.pause_reason == PauseReason.DEVICE_OFFLINE,
        sa.exists().where(_waiter.c.id == rows.c.agent_id, roams(_waiter), is_other),
        sa.not_(is_back),
    )
