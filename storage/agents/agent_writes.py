"""Requested changes of an agent's state, on the hub's axes or in the words of another vocabulary.

The whole request is checked against the agent's locked state before the first write: all of it is done, or
nothing.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, RunId
from protocol.standing import (
    DERIVED,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    Lifecycle,
    axis_value,
    check_move,
)
from protocol.vocabularies import AxisMove, Refused, Vocabulary, reading
from storage import schema
from storage.agents.agent_moves import axes_in, locked_state, move
from storage.agents.agent_states import AgentState, exhaust, find_state, write_metadata
from storage.agents.lock_turns import let_agent_go
from storage.runs.run_pauses import request_cancel
from storage.schedules import schedules
from storage.schema import runs

LIVE_RUNS = (
    sa.select(runs.c.id)
    .where(runs.c.agent_id == sa.bindparam("agent"), sa.text("runs." + schema.LIVE))
    .order_by(runs.c.id)
)
BECAUSE = "agent terminated"


def terminate(
    c: sa.Connection, agent_id: AgentId, *, at: int, actor: str, reason: str | None = None
) -> list[RunId]:
    """Terminate the agent for good. Return the runs of it that were live.

    Waiting runs are CANCELLED. Executing runs are asked to end as soon as their sent calls are answered. Its
    schedules stop. It stays listed with its history, and is offline whatever its device does. A terminated
    agent is left unchanged.

    Raises:
        UnknownAgent: no agent has the id.
    """
    if not move(c, agent_id, Axis.LIFECYCLE, Lifecycle.TERMINATED, at=at, actor=actor, reason=reason):
        return []
    schedules.remove(c, agent_id, at)
    let_agent_go(c, agent_id)
    live = [RunId(run_id) for run_id in c.execute(LIVE_RUNS, {"agent": agent_id}).scalars()]
    for run_id in live:
        request_cancel(c, run_id, BECAUSE, at, actor=actor)
    move(c, agent_id, Axis.CONNECTIVITY, Connectivity.OFFLINE, at=at, actor=actor, reason="terminated")
    return live


FOLLOWS_DEVICE: Final = "connectivity follows the device: it is online once its device connects"


class BadWrite(HubError):
    """Error: the requested changes contradict each other; nothing was written."""

    code = ErrorCode.BAD_PARAMS


class StateChanged(HubError):
    """Error: the state changed since the caller read it; nothing was written."""

    code = ErrorCode.CHANGED_MEANWHILE


class Word(msgspec.Struct, frozen=True):
    """Requested value for a column of a vocabulary, such as ``status`` of the calendar."""

    vocabulary: Vocabulary
    column: str
    word: str


class StandingWrite(msgspec.Struct, frozen=True, kw_only=True):
    """Requested change of an agent's state. ``UNSET`` leaves a value unchanged.

    Attributes:
        axes: values of stored axes, by axis.
        words: values in another vocabulary, applied after the axes in this order.
        reason: text for the history; the reason of an error is also kept with the state.
        exhaust_reason: required to become exhausted; may be changed while exhausted.
        recovery_at: epoch milliseconds; ``None``: unknown, so the hub probes from time to time.
        metadata: replaces the agent's metadata.
        version: version of the state that the caller read; a different version refuses the change.
    """

    axes: dict[str, str] = {}
    words: tuple[Word, ...] = ()
    reason: str | None = None
    exhaust_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    recovery_at: int | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    version: int | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a change of an agent's state.

    Attributes:
        state: the agent's new state.
        moves: changes of its axes.
        called_off: runs that were live when it was terminated.
    """

    state: AgentState
    moves: tuple[AxisMove, ...] = ()
    called_off: tuple[RunId, ...] = ()

    def went(self, axis: Axis, to: str) -> bool:
        """Return True if this change moved the agent to *to*."""
        return AxisMove(axis, to) in self.moves


def write_standing(
    c: sa.Connection, agent_id: AgentId, asked: StandingWrite, *, at: int, actor: str
) -> Written:
    """Apply the requested change.

    Raises:
        UnknownAgent: no agent has the id.
        UnknownValue: an axis, a column or a value of them does not exist.
        IllegalMove, Refused: an axis does not allow the move.
        BadWrite: exhaustion without a reason, or with contradicting details.
        StateChanged: *asked.version* is not the state's current version.
        In each case nothing was written.
    """
    row = locked_state(c, agent_id)
    if asked.version is not None and asked.version != row.version:
        raise StateChanged("its state changed since it was read; nothing was done")
    moves = _planned(axes_in(row), asked)
    details = _exhaustion(row, moves, asked, at)
    called_off: list[RunId] = []
    for one in moves:
        if one.to == Availability.EXHAUSTED:
            continue  # below, with its reason
        if one.to == Lifecycle.TERMINATED:
            called_off = terminate(c, agent_id, at=at, actor=actor, reason=asked.reason)
        else:
            move(c, agent_id, one.axis, one.to, at=at, actor=actor, reason=asked.reason)
    if asked.axes.get(Axis.HEALTH) == Health.ERROR and asked.reason is not None:
        move(c, agent_id, Axis.HEALTH, Health.ERROR, at=at, actor=actor, reason=asked.reason)
    if details is not None:
        cause, recovery_at = details
        exhaust(
            c,
            agent_id,
            cause=cause,
            recovery_at=recovery_at,
            at=at,
            actor=actor,
            reason=asked.reason,
            is_last_word=True,
        )
    if asked.metadata is not msgspec.UNSET:
        write_metadata(c, agent_id, asked.metadata, at=at)
    return Written(state=find_state(c, agent_id), moves=moves, called_off=tuple(called_off))


def _planned(axes: Axes, asked: StandingWrite) -> tuple[AxisMove, ...]:
    """Return the requested moves after checking that all of them are legal."""
    moves: list[AxisMove] = []
    for name, value in asked.axes.items():
        axis, to = axis_value(name, value)
        if axes.on(axis) == to:
            continue
        if axis is Axis.ACTIVITY:
            raise Refused(f"{to!r} is not written: {DERIVED}", axis=axis, legal=())
        if to == Connectivity.ONLINE:
            raise Refused(FOLLOWS_DEVICE, axis=axis, legal=())
        check_move(axis, axes.on(axis), to)
        moves.append(AxisMove(axis, to))
        axes = axes.after(axis, to)
    for word in asked.words:
        column = reading(word.vocabulary, word.column)
        if column is None:
            raise BadWrite(f"{word.vocabulary} has no column {word.column!r} that could be written")
        for one in column.write(word.word, axes):
            moves.append(one)
            axes = axes.after(one.axis, one.to)
    return tuple(moves)


def _exhaustion(
    row: Any, moves: tuple[AxisMove, ...], asked: StandingWrite, at: int
) -> tuple[str, int | None] | None:
    """Return reason and recovery time of the exhaustion to write; ``None``: it stays unchanged."""
    cause, recovery_at = asked.exhaust_reason, asked.recovery_at
    to = next((one.to for one in moves if one.axis is Axis.AVAILABILITY), row.availability)
    is_asked = cause is not msgspec.UNSET or recovery_at is not msgspec.UNSET
    if to != Availability.EXHAUSTED:
        if (cause is not msgspec.UNSET and cause is not None) or isinstance(recovery_at, int):
            raise BadWrite(f"exhaust_reason and recovery_at belong to an exhausted agent; this one is {to}")
        return None
    if row.availability == Availability.EXHAUSTED and not is_asked:
        return None
    if cause is msgspec.UNSET:
        cause = row.exhaust_reason
    if cause is None:
        raise BadWrite("exhaust_reason: an agent is exhausted for a reason: rate_limit, billing or budget")
    if cause not in list(ExhaustReason):
        raise BadWrite(f"exhaust_reason: {cause!r} is none of {', '.join(ExhaustReason)}")
    if recovery_at is msgspec.UNSET:
        # A new reason for the current exhaustion keeps its recovery time.
        recovery_at = row.recovery_at if row.availability == Availability.EXHAUSTED else None
    if recovery_at is not None and recovery_at < at:
        raise BadWrite("recovery_at: it lies in the past; write availability available instead")
    return str(cause), recovery_at
