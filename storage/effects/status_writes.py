"""Requested status changes of an agent, checked as a whole before the first write.

A request is checked as a whole against the agent's locked state before the first write: all of it is done, or
nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.agent_status import (
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
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, RunId
from protocol.lifecycles import AgentStatus as CalendarStatus
from protocol.status_vocabularies import (
    AxisMove,
    StatusWordRefused,
    Vocabulary,
    lifecycle_path,
    reading,
    write_pair,
)
from storage.agents.agent_states import AgentState, find_state, write_metadata
from storage.agents.exhaustion import exhaust
from storage.agents.state_moves import axes_in, end_keeping_offline, keep_offline, locked_state, move, refine
from storage.effects.termination import terminate

FOLLOWS_DEVICE: Final = (
    "connectivity follows the device, or the agent's own heartbeats: it is online once one of them arrives"
)


class BadWrite(HubError):
    """Error: the requested changes contradict each other; nothing was written."""

    code = ErrorCode.BAD_PARAMS


class StatusWrite(msgspec.Struct, frozen=True, kw_only=True):
    """Requested change of an agent's state. ``UNSET`` leaves a value unchanged.

    Attributes:
        axes: values of stored axes, by axis. Connectivity *offline* keeps the agent offline, whatever its
            device does, and *online* lets it follow its device again.
        words: status columns of *vocabulary* with their words; written instead of the axes.
        reason: text for the history; the reason of an error is also kept with the state.
        exhaust_reason: of an exhausted agent; may be changed while it is exhausted.
        recovery_at: epoch milliseconds; ``None``: unknown, so the hub probes from time to time.
        metadata: replaces the agent's metadata.
        version: version of the state that the caller read; a different version refuses the change.
    """

    axes: dict[str, str] = {}
    vocabulary: Vocabulary | None = None
    words: dict[str, str | None] = {}
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


def write_status(c: sa.Connection, agent_id: AgentId, asked: StatusWrite, *, at: int, actor: str) -> Written:
    """Apply the requested change.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        CodedError (BAD_PARAMS): an axis, a column or a value of them does not exist.
        IllegalMove, Refused: an axis does not allow the move.
        BadWrite: contradicting details of an exhaustion.
        CodedError (CHANGED_MEANWHILE): *asked.version* is not the state's current version.
        In each case nothing was written.
    """
    row = locked_state(c, agent_id)
    if asked.version is not None and asked.version != row.version:
        message = "its state changed since it was read; nothing was done"
        raise CodedError(ErrorCode.CHANGED_MEANWHILE, message)
    plan = _planned(row, asked)
    details = _exhaustion(row, plan.moves, asked, at)
    called_off: list[RunId] = []
    about: dict[str, Any] = {"at": at, "actor": actor, "reason": asked.reason}
    if plan.keep_offline is not None:
        (keep_offline if plan.keep_offline else end_keeping_offline)(c, agent_id, **about)
    for planned in plan.moves:
        if planned.axis is Axis.CONNECTIVITY or planned.to == Availability.EXHAUSTED:
            continue  # above, and below with its reason
        if planned.to == Lifecycle.TERMINATED:
            called_off = terminate(c, agent_id, **about)
        else:
            move(c, agent_id, planned.axis, planned.to, **about)
    if asked.axes.get(Axis.HEALTH) == Health.ERROR and asked.reason is not None:
        move(c, agent_id, Axis.HEALTH, Health.ERROR, **about)
    if plan.state_detail != locked_state(c, agent_id).state_detail:
        refine(c, agent_id, plan.state_detail, **about)
    if details is not None:
        cause, recovery_at = details
        exhaust(c, agent_id, cause=cause, recovery_at=recovery_at, is_last_word=True, **about)
    if asked.metadata is not msgspec.UNSET:
        write_metadata(c, agent_id, asked.metadata, at=at)
    return Written(state=find_state(c, agent_id), moves=plan.moves, called_off=tuple(called_off))


class _Plan(NamedTuple):
    """Checked moves of a write.

    *keep_offline*: True keeps the agent offline, False lets it follow its device; None changes neither.
    """

    moves: tuple[AxisMove, ...]
    keep_offline: bool | None
    state_detail: str | None


def _planned(row: Any, asked: StatusWrite) -> _Plan:
    """Return the requested moves after checking that all of them are legal."""
    axes = axes_in(row)
    if asked.vocabulary is not None:
        return _planned_words(axes, asked.vocabulary, asked.words)
    moves: list[AxisMove] = []
    keep_offline = None
    for name, value in asked.axes.items():
        axis, to = axis_value(name, value)
        if axis is Axis.CONNECTIVITY:
            if to == Connectivity.ONLINE != axes.connectivity and row.reported_connectivity is None:
                raise StatusWordRefused(FOLLOWS_DEVICE)
            keep_offline = to == Connectivity.OFFLINE
        if axes.on(axis) == to:
            continue
        if axis is Axis.ACTIVITY:
            raise StatusWordRefused(f"{to!r} is not written: {DERIVED}")
        check_move(axis, axes.on(axis), to)
        moves.append(AxisMove(axis, to))
        axes = axes.after(axis, to)
    return _Plan(tuple(moves), keep_offline, axes.state_detail)


def _planned_words(axes: Axes, vocabulary: Vocabulary, words: Mapping[str, str | None]) -> _Plan:
    if vocabulary is Vocabulary.ORCHESTRATOR and words:
        after = write_pair(words.get("status"), words.get("state_detail"), axes)
        steps = lifecycle_path(axes.lifecycle, after.lifecycle) or ()
        moves = [AxisMove(Axis.LIFECYCLE, step) for step in steps]
        if after.health is not axes.health:
            moves.append(AxisMove(Axis.HEALTH, after.health))
        return _Plan(tuple(moves), None, after.state_detail)
    found: list[AxisMove] = []
    keep_offline = None
    for name, word in words.items():
        column = reading(vocabulary, name)
        if column is None or word is None:
            raise BadWrite(f"{vocabulary} has no column {name!r} that could be written so")
        found += column.write(word, axes)
        if vocabulary is Vocabulary.CALENDAR:
            keep_offline = word == CalendarStatus.OFFLINE and axes.lifecycle is not Lifecycle.TERMINATED
    return _Plan(tuple(found), keep_offline, axes.state_detail)


def _exhaustion(
    row: Any, moves: tuple[AxisMove, ...], asked: StatusWrite, at: int
) -> tuple[str | None, int | None] | None:
    """Return reason and recovery time of the exhaustion to write; ``None``: it stays unchanged."""
    cause, recovery_at = asked.exhaust_reason, asked.recovery_at
    to = next((planned.to for planned in moves if planned.axis is Axis.AVAILABILITY), row.availability)
    is_asked = cause is not msgspec.UNSET or recovery_at is not msgspec.UNSET
    if to != Availability.EXHAUSTED:
        if (cause is not msgspec.UNSET and cause is not None) or isinstance(recovery_at, int):
            raise BadWrite(f"exhaust_reason and recovery_at belong to an exhausted agent; this one is {to}")
        return None
    if row.availability == Availability.EXHAUSTED and not is_asked:
        return None
    if cause is msgspec.UNSET:
        cause = row.exhaust_reason
    if cause is not None and cause not in list(ExhaustReason):
        raise BadWrite(f"exhaust_reason: {cause!r} is none of {', '.join(ExhaustReason)}")
    if recovery_at is msgspec.UNSET:
        # A new reason for the current exhaustion keeps its recovery time.
        recovery_at = row.recovery_at if row.availability == Availability.EXHAUSTED else None
    if recovery_at is not None and recovery_at < at:
        raise BadWrite(
            "recovery_at: it lies in the past; give a later time, or make the agent available (idle)"
        )
    return None if cause is None else str(cause), recovery_at
