"""Runs that people request: ``WaitingLimits`` bounds the number of waiting ones."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from storage.agents.agents import AgentRow
from storage.runs.run_moves import RUN_BY_FIRE, create_run
from storage.runs.run_rows import RunRow
from storage.schema import agent_states, runs

ASKED_FOR: Final = ("manual", "rerun")  # triggers of requested runs


class WaitingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on waiting requested runs; hub.toml has a key of the same name for each."""

    waiting_manual_runs: int = 20  # of one agent
    waiting_manual_runs_per_device: int = 100


class TooManyWaiting(HubError):
    """Error: the maximum number of runs waits. *limit*: name of the limit."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(f"{message} ({limit}): wait until one has started, or cancel some")
        self.limit = limit


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
DEFAULT_LIMITS: Final = WaitingLimits()


def start_run(
    c: sa.Connection,
    /,
    *,
    agent: AgentRow,
    fire_key: str,
    limits: WaitingLimits = DEFAULT_LIMITS,
    **made: Any,
) -> RunRow:
    """Create a requested run within the limits; *made*: the other arguments of ``create_run``.

    Raises:
        TooManyWaiting: the agent or its device has too many waiting runs; nothing was written.
        UnknownAgent: the agent does not exist or was archived; nothing was written.
    """
    c.execute(LOCK_AGENT, {"agent": agent.id})
    is_there = c.execute(RUN_BY_FIRE, {"agent": agent.id, "fire": fire_key}).first() is not None
    if not is_there:
        _check_room(c, agent, limits)
    return create_run(c, agent=agent, fire_key=fire_key, **made)


def _check_room(c: sa.Connection, agent: AgentRow, limits: WaitingLimits) -> None:
    most = limits.waiting_manual_runs
    if c.execute(WAITING_OF_AGENT, {"agent": agent.id}).scalar_one() >= most:
        message = f"{most} runs of {agent.name!r} wait that somebody started"
        raise TooManyWaiting(message, limit="waiting_manual_runs")
    most = limits.waiting_manual_runs_per_device
    if c.execute(WAITING_OF_DEVICE, {"device": agent.device_id}).scalar_one() >= most:
        message = f"{most} runs of this device wait that somebody started"
        raise TooManyWaiting(message, limit="waiting_manual_runs_per_device")
