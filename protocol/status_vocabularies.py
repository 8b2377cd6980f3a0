"""Status words of other systems, and their translation to and from the hub's status axes.

Five vocabularies existed before this hub: calendar, orchestrator, foundation, run log and coordination.
Each but the last has its own status, of which no word is stored; the last has names of events.

A column is a ``StatusProjection``: ordered rules, of which the first that holds determines the word.
Writing a word moves the agent on the axes that its rule names. The two columns of the orchestrator are read
and written as pairs. A refusal names the legal words.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from protocol.agent_status import (
    DERIVED,
    FINAL,
    Activity,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    Lifecycle,
    legal_moves,
)
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.lifecycles import LIVE_RUN_STATES, AgentStatus, RunOutcome, RunState

WordT = TypeVar("WordT", bound=StrEnum)


class Vocabulary(StrEnum):
    """Names of the vocabularies."""

    CALENDAR = "calendar"
    ORCHESTRATOR = "orchestrator"
    FOUNDATION = "foundation"
    RUN_LOG = "runlog"
    COORDINATION = "coordination"


class EventAlias(NamedTuple):
    """Name of an event in the coordination vocabulary for entries of the audit log.

    Attributes:
        name: in the vocabulary; the activity log has its entries under this name.
        event: of the entries, which are done and not refused.
        kind: of the entries, in their detail; empty: any.
    """

    name: str
    event: str
    kind: str = ""

    def fits(self, event: str, detail: Mapping[str, Any]) -> bool:
        """Return True if an entry of this event with this detail has the name."""
        return event == self.event and self.kind in ("", detail.get("kind"))


EVENT_ALIASES: Final = (
    EventAlias("agent.nudge.sent", "message.sent", "nudge"),
    EventAlias("gateway.main.lead_message.sent", "message.sent", "question"),
    EventAlias("gateway.main.lead_message.sent", "message.sent", "handoff"),
    EventAlias("gateway.main.lead_broadcast.sent", "broadcast.sent"),
    EventAlias("gateway.lead.ask_user.sent", "question.asked"),
    EventAlias("agent.soul.updated", "soul.updated"),
)


class OrchestratorStatus(StrEnum):
    """``AgentStatus`` of the orchestrator vocabulary, shared by its services."""

    INACTIVE = "INACTIVE"
    ACTIVE = "ACTIVE"
    BUSY = "BUSY"
    ERROR = "ERROR"
    MAINTENANCE = "MAINTENANCE"


class StateDetail(StrEnum):
    """``AgentStateDetail`` of the orchestrator vocabulary, a finer status."""

    CREATED = "CREATED"
    INITIALIZING = "INITIALIZING"
    READY = "READY"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


class FoundationStatus(StrEnum):
    """``AgentStatusDetail`` of the foundation vocabulary."""

    IDLE = "idle"
    BUSY = "busy"
    PROCESSING = "processing"
    WAITING = "waiting"
    ERROR = "error"


# ``ExhaustReason`` of the calendar vocabulary.
CalendarExhaustReason = Literal["rate_limit", "billing"]

# Status of a run in the run-log vocabulary.
RunLogStatus = Literal["running", "success", "partial", "error"]

# Types of agents in the run-log vocabulary, by the reader of documents.
RunLogAgentType = Literal["local", "cloud"]


class AxisMove(msgspec.Struct, frozen=True):
    """Move that a write requests."""

    axis: Axis
    to: str


class Rule(msgspec.Struct, frozen=True):
    """Word, with the condition for reading it and the effect of writing it.

    Attributes:
        when: allowed values on each named axis; empty: always.
        axis: the decisive axis.
        writes: moves of a write; ``None``: the word is derived and cannot be written.
    """

    word: StrEnum
    axis: Axis
    when: Mapping[Axis, frozenset[str]]
    writes: tuple[AxisMove, ...] | None = None

    def holds(self, axes: Axes) -> bool:
        """Return True if the word is read for an agent with these axes."""
        return all(axes.on(axis) in values for axis, values in self.when.items())


class StatusWordRefused(HubError):
    """Error: the word cannot be written now; nothing was written. The message names the legal words."""

    code = ErrorCode.BAD_STATUS

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        if is_final:
            self.hint = FINAL


class StatusProjection:
    """Column of a vocabulary.

    A word is written also while the runs or the device of the agent hide it. Then it is read once they no
    longer do.

    Args:
        words: enum of its words.
        rules: the first rule that holds determines the word; the last always holds.
        in_seed: name of the enum in the document of the vocabulary.
    """

    def __init__(
        self, vocabulary: Vocabulary, column: str, words: type[StrEnum], *rules: Rule, in_seed: str
    ) -> None:
        self.vocabulary = vocabulary
        self.column = column
        self.words = words
        self.rules = rules
        self.in_seed = in_seed

    @property
    def name(self) -> str:
        """Name of the vocabulary and the column."""
        return f"{self.vocabulary}.{self.column}"

    def read(self, axes: Axes) -> StrEnum:
        """Return the word for these axes."""
        return next(rule for rule in self.rules if rule.holds(axes)).word

    def word(self, written: str) -> StrEnum:
        """Return the word that is written so.

        Raises:
            CodedError (BAD_PARAMS): the column has no such word.
        """
        if written not in list(self.words):
            known = ", ".join(self.words)
            raise CodedError(ErrorCode.BAD_PARAMS, f"{self.name} has no value {written!r}; values: {known}")
        return self.words(written)

    def rule_of(self, word: StrEnum) -> Rule:
        """Return the first rule of the word, which defines its write."""
        return next(rule for rule in self.rules if rule.word == word)

    def write(self, written: str, axes: Axes) -> tuple[AxisMove, ...]:
        """Return the moves that write a word; none if it is read already.

        Raises:
            CodedError (BAD_PARAMS): the column has no such word.
            Refused: the word is derived, or the agent is terminated.
        """
        word = self.word(written)
        rule = self.rule_of(word)
        if self.read(axes) == word:
            return ()
        if rule.writes is None:
            legal = ", ".join(word for word in self.words if self.rule_of(word).writes is not None)
            raise StatusWordRefused(f"{self.name}: {written!r} is not written: {DERIVED}; legal: {legal}")
        if axes.lifecycle is Lifecycle.TERMINATED:
            raise refused_for_good(f"{self.name}: {written!r}")
        return tuple(move for move in rule.writes if axes.on(move.axis) != move.to)


def refused_for_good(written: str) -> StatusWordRefused:
    """Return the refusal of a write to a terminated agent."""
    return StatusWordRefused(f"{written} is not written: the agent is terminated; legal: none", is_final=True)


def _when(**on: StrEnum | frozenset[StrEnum]) -> Mapping[Axis, frozenset[str]]:
    return {
        Axis(axis): frozenset(map(str, value)) if isinstance(value, frozenset) else frozenset({str(value)})
        for axis, value in on.items()
    }


def _moves(**to: StrEnum) -> tuple[AxisMove, ...]:
    return tuple(AxisMove(Axis(axis), str(value)) for axis, value in to.items())


RUNNING: Final = frozenset({Activity.PROCESSING, Activity.SATURATED})
_LIFE, _H = Lifecycle, Health
CALENDAR_STATUS: Final = StatusProjection(
    Vocabulary.CALENDAR,
    "status",
    AgentStatus,
    Rule(
        AgentStatus.OFFLINE,
        Axis.CONNECTIVITY,
        _when(connectivity=Connectivity.OFFLINE),
        _moves(connectivity=Connectivity.OFFLINE),  # of this agent, until another word is written
    ),
    Rule(
        AgentStatus.EXHAUSTED,
        Axis.AVAILABILITY,
        _when(availability=Availability.EXHAUSTED),
        _moves(availability=Availability.EXHAUSTED),  # with a reason and the instants
    ),
    Rule(AgentStatus.BUSY, Axis.ACTIVITY, _when(activity=RUNNING)),
    Rule(
        AgentStatus.ON_CALL,
        Axis.AVAILABILITY,
        _when(availability=Availability.ON_CALL),
        _moves(availability=Availability.ON_CALL),
    ),
    Rule(AgentStatus.IDLE, Axis.AVAILABILITY, {}, _moves(availability=Availability.AVAILABLE)),
    in_seed="AgentStatus",
)
FOUNDATION_STATUS: Final = StatusProjection(
    Vocabulary.FOUNDATION,
    "current_status",
    FoundationStatus,
    Rule(FoundationStatus.ERROR, Axis.HEALTH, _when(health=_H.ERROR), _moves(health=_H.ERROR)),
    Rule(FoundationStatus.BUSY, Axis.ACTIVITY, _when(activity=Activity.SATURATED)),
    Rule(FoundationStatus.PROCESSING, Axis.ACTIVITY, _when(activity=Activity.PROCESSING)),
    Rule(FoundationStatus.WAITING, Axis.ACTIVITY, _when(activity=Activity.WAITING)),
    Rule(FoundationStatus.WAITING, Axis.AVAILABILITY, _when(availability=Availability.EXHAUSTED)),
    Rule(
        FoundationStatus.IDLE,
        Axis.AVAILABILITY,
        {},
        _moves(health=_H.OK, availability=Availability.AVAILABLE),
    ),
    in_seed="AgentStatusDetail",
)
READINGS: Final = (CALENDAR_STATUS, FOUNDATION_STATUS)
_S, _D = OrchestratorStatus, StateDetail
PAIRS: Final[Mapping[tuple[OrchestratorStatus, StateDetail], Axes]] = {
    **{
        (_S.INACTIVE, StateDetail(state.name)): Axes(lifecycle=state)
        for state in (_LIFE.CREATED, _LIFE.INITIALIZING, _LIFE.READY, _LIFE.PAUSED, _LIFE.TERMINATED)
    },
    (_S.ACTIVE, _D.ACTIVE): Axes(lifecycle=_LIFE.ACTIVE),
    (_S.ACTIVE, _D.READY): Axes(lifecycle=_LIFE.ACTIVE, state_detail=_D.READY),
    (_S.MAINTENANCE, _D.PAUSED): Axes(lifecycle=_LIFE.MAINTENANCE),
    **{
        (_S.MAINTENANCE, detail): Axes(lifecycle=_LIFE.MAINTENANCE, state_detail=detail)
        for detail in (_D.CREATED, _D.INITIALIZING, _D.READY, _D.ACTIVE)
    },
    (_S.ERROR, _D.ERROR): Axes(health=_H.ERROR),  # whatever its lifecycle is
}
_STATUS_OF_DETAIL: Final = {detail: status for status, detail in reversed(list(PAIRS))}
_DETAIL_OF_STATUS: Final = {
    _S.INACTIVE: _D.PAUSED,
    _S.ACTIVE: _D.ACTIVE,
    _S.MAINTENANCE: _D.PAUSED,
    _S.ERROR: _D.ERROR,
}


class StatusPair(NamedTuple):
    """Both words of the orchestrator for an agent."""

    status: OrchestratorStatus
    state_detail: StateDetail


def pair_of(axes: Axes) -> StatusPair:
    """Return the words of the orchestrator; while a run of an ACTIVE agent executes, it is BUSY."""
    if axes.health is _H.ERROR and axes.lifecycle is not _LIFE.TERMINATED:
        return StatusPair(_S.ERROR, _D.ERROR)
    if axes.lifecycle is _LIFE.ACTIVE:
        if axes.activity in RUNNING:
            return StatusPair(_S.BUSY, _D.ACTIVE)
        return StatusPair(_S.ACTIVE, StateDetail(axes.state_detail or _D.ACTIVE))
    if axes.lifecycle is _LIFE.MAINTENANCE:
        return StatusPair(_S.MAINTENANCE, StateDetail(axes.state_detail or _D.PAUSED))
    return StatusPair(_S.INACTIVE, StateDetail(axes.lifecycle.name))


def write_pair(status: str | None, state_detail: str | None, axes: Axes) -> Axes:
    """Return the axes of an agent after one or both words of the orchestrator are written.

    A status alone keeps the state detail, and a state detail alone keeps the status, if the two are a legal
    pair; otherwise the other word follows.

    Args:
        status, state_detail: None: not written.

    Raises:
        CodedError (BAD_PARAMS): a column has no such word.
        Refused: no legal pair has the words, or the tables do not lead to it; the message names the pairs.
    """
    now = pair_of(axes)
    present = (
        StatusPair(_S.ACTIVE, StateDetail(axes.state_detail or _D.ACTIVE)) if now.status is _S.BUSY else now
    )
    new_status = None if status is None else _word(OrchestratorStatus, "status", status)
    new_detail = None if state_detail is None else _word(StateDetail, "state_detail", state_detail)
    if now.status is _S.BUSY is new_status and new_detail in (None, _D.ACTIVE):
        return axes  # what was read is written back
    if (new_status or present.status, new_detail or present.state_detail) == present:
        return axes
    if new_status is None:
        assert new_detail is not None
        with_status = (present.status, new_detail)
        pair = with_status if with_status in PAIRS else (_STATUS_OF_DETAIL[new_detail], new_detail)
    elif new_detail is None:
        inactive = pair_of(msgspec.structs.replace(axes, health=_H.OK)).state_detail
        candidates = ((new_status, detail) for detail in (present.state_detail, inactive))
        default = (new_status, _DETAIL_OF_STATUS.get(new_status, _D.ACTIVE))
        pair = next((candidate for candidate in candidates if candidate in PAIRS), default)
    else:
        pair = (new_status, new_detail)
    found = PAIRS.get(pair)
    written = f"orchestrator: {' and '.join(repr(word) for word in (status, state_detail) if word)}"
    if axes.lifecycle is _LIFE.TERMINATED:
        raise refused_for_good(written)
    if found is None:
        why = f": {DERIVED}" if pair[0] is _S.BUSY else ""
        raise StatusWordRefused(f"{written} is not written{why}; legal: {_legal_pairs(axes)}")
    lifecycle = axes.lifecycle if found.health is _H.ERROR else found.lifecycle
    if lifecycle_path(axes.lifecycle, lifecycle) is None:
        raise StatusWordRefused(
            f"{written} cannot follow {now.status} + {now.state_detail}; legal: {_legal_pairs(axes)}"
        )
    return msgspec.structs.replace(
        axes, lifecycle=lifecycle, health=found.health, state_detail=found.state_detail
    )


def lifecycle_path(before: Lifecycle, to: Lifecycle) -> tuple[Lifecycle, ...] | None:
    """Return the moves from one state of the lifecycle to another, None if there are none.

    On the way an agent is neither in maintenance nor terminated.
    """
    paths: dict[Lifecycle, tuple[Lifecycle, ...]] = {before: ()}
    queue = [before]
    for state in queue:
        if state is to:
            return paths[state]
        if state in (_LIFE.MAINTENANCE, _LIFE.TERMINATED) and state is not before:
            continue
        for after in map(Lifecycle, legal_moves(Axis.LIFECYCLE, state)):
            if after not in paths:
                paths[after] = (*paths[state], after)
                queue.append(after)
    return None


def _legal_pairs(axes: Axes) -> str:
    return ", ".join(
        f"{status} + {detail}"
        for (status, detail), found in PAIRS.items()
        if found.health is _H.ERROR or lifecycle_path(axes.lifecycle, found.lifecycle) is not None
    )


def _word(words: type[WordT], column: str, written: str) -> WordT:
    if written not in list(words):
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"orchestrator.{column} has no value {written!r}; values: {', '.join(words)}",
        )
    return words(written)


def status_columns(vocabulary: Vocabulary) -> dict[str, type[StrEnum]]:
    """Return the status columns of a vocabulary with their words, the coarsest first; some have none."""
    if vocabulary is Vocabulary.ORCHESTRATOR:
        return {"status": OrchestratorStatus, "state_detail": StateDetail}
    return {
        projection.column: projection.words for projection in READINGS if projection.vocabulary is vocabulary
    }


def reading(vocabulary: Vocabulary, column: str) -> StatusProjection | None:
    """Return the reading of a column, if any."""
    return next(
        (
            projection
            for projection in READINGS
            if (projection.vocabulary, projection.column) == (vocabulary, column)
        ),
        None,
    )


_CALENDAR_REASONS: Final[Mapping[ExhaustReason, CalendarExhaustReason]] = {
    ExhaustReason.RATE_LIMIT: "rate_limit",
    ExhaustReason.BILLING: "billing",
    # the vocabulary has no word for an agent's own budget
    ExhaustReason.BUDGET: "billing",
}


def calendar_reason(reason: str | None) -> CalendarExhaustReason | None:
    """Return the calendar vocabulary's word for a reason of exhaustion."""
    return None if reason is None else _CALENDAR_REASONS[ExhaustReason(reason)]


def run_log_status(state: RunState, outcome: RunOutcome | None) -> RunLogStatus:
    """Return the run-log vocabulary's word for a run's state; a cancelled run is an error there."""
    if state in LIVE_RUN_STATES:
        return "running"
    if state is RunState.COMPLETED and outcome is not None:
        status: RunLogStatus = outcome.value
        return status
    return "error"


def run_log_agent_type(executor: str) -> RunLogAgentType:
    """Return the run-log vocabulary's word for the reader of documents: the device, or a connector."""
    return "local" if executor == "device" else "cloud"


def words_of(vocabulary: str) -> Vocabulary:
    """Return the vocabulary with that name.

    Raises:
        CodedError (UNKNOWN_NAME): no vocabulary has that name.
    """
    try:
        return Vocabulary(vocabulary)
    except ValueError:
        known = ", ".join(Vocabulary)
        raise CodedError(
            ErrorCode.UNKNOWN_NAME, f"there is no vocabulary {vocabulary!r}; vocabularies: {known}"
        ) from None


def status_words(axes: Axes, vocabulary: Vocabulary, *, slots: int = 2) -> dict[str, Any]:
    """Return every status column of a vocabulary with its word.

    Args:
        slots: maximum number of runs of the agent at once; with one it is never more than processing.
    """
    if vocabulary is Vocabulary.ORCHESTRATOR:
        return {column: str(word) for column, word in pair_of(axes)._asdict().items()}
    if slots == 1 and axes.activity is Activity.SATURATED:
        axes = msgspec.structs.replace(axes, activity=Activity.PROCESSING)
    return {
        projection.column: str(projection.read(axes))
        for projection in READINGS
        if projection.vocabulary is vocabulary
    }
