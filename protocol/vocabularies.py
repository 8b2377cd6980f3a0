"""Status words of other vocabularies, read from the axes of an agent and written to them.

Four vocabularies existed before this hub, each with its own status: calendar, orchestrator, foundation and
run log. None of their words is stored.

Each column is a ``Reading``: ordered rules, of which the first that holds determines the word. Writing a word
moves the agent on the axes that its rule names. A write is refused if the tables lack its moves, or if
another word would be read afterwards; the error names the blocking axis.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from protocol.agent_status import (
    DERIVED,
    FINAL,
    Activity,
    AgentSubtype,
    AgentType,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    IllegalMove,
    Kind,
    Lifecycle,
    UnknownValue,
    check_move,
    legal_moves,
)
from protocol.errors import ErrorCode, HubError
from protocol.lifecycles import LIVE_RUN_STATES, AgentStatus, RunOutcome, RunState


class Vocabulary(StrEnum):
    """Names of the vocabularies."""

    CALENDAR = "calendar"
    ORCHESTRATOR = "orchestrator"
    FOUNDATION = "foundation"
    RUN_LOG = "runlog"


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


class CalendarExhaustReason(StrEnum):
    """``ExhaustReason`` of the calendar vocabulary."""

    RATE_LIMIT = "rate_limit"
    BILLING = "billing"


class RunLogStatus(StrEnum):
    """Status of a run in the run-log vocabulary."""

    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"


class RunLogAgentType(StrEnum):
    """Types of agents in the run-log vocabulary, by the reader of documents."""

    LOCAL = "local"
    CLOUD = "cloud"


class AxisMove(msgspec.Struct, frozen=True):
    """Move that a write requests."""

    axis: Axis
    to: str


class Rule(msgspec.Struct, frozen=True):
    """Word, with the condition for reading it and the effect of writing it.

    Attributes:
        when: allowed values on each named axis; empty: always.
        axis: the decisive axis, which blocks every other word.
        writes: moves of a write; ``None``: the word is derived and cannot be written.
    """

    word: StrEnum
    axis: Axis
    when: Mapping[Axis, frozenset[str]]
    writes: tuple[AxisMove, ...] | None = None

    def holds(self, axes: Axes) -> bool:
        """Return True if the word is read for an agent with these axes."""
        return all(axes.on(axis) in values for axis, values in self.when.items())


class Refused(HubError):
    """Error: the word cannot be written now; nothing was written.

    Attributes:
        axis: the blocking axis.
        legal: allowed next values on it.
    """

    code = ErrorCode.BAD_STATUS

    def __init__(self, message: str, *, axis: Axis, legal: tuple[str, ...], is_final: bool = False) -> None:
        super().__init__(message)
        self.axis = axis
        self.legal = legal
        if is_final:
            self.hint = FINAL


class Reading:
    """Column of a vocabulary.

    Args:
        name: as in ``calendar.status``.
        words: enum of its words.
        rules: the first rule that holds determines the word; the last always holds.
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

    def rule_of(self, axes: Axes) -> Rule:
        """Return the rule that determines the word for these axes."""
        return next(rule for rule in self.rules if rule.holds(axes))

    def read(self, axes: Axes) -> StrEnum:
        """Return the word for these axes."""
        return self.rule_of(axes).word

    def write(self, word: str, axes: Axes) -> tuple[AxisMove, ...]:
        """Return the transitions of the status *axes* after which this column shows *word*.

        Raises:
            UnknownValue: the column has no such word.
            Refused: the column is read-only, a transition is not allowed, or another word would remain.
        """
        rule = self._rule_for(word)
        if self.read(axes) == rule.word:
            return ()
        if rule.writes is None:
            raise Refused(f"{self.name}: {word!r} is not written: {DERIVED}", axis=rule.axis, legal=())
        after = axes
        moves: list[AxisMove] = []
        for move in rule.writes:
            if after.on(move.axis) == move.to:
                continue
            try:
                check_move(move.axis, after.on(move.axis), move.to)
            except IllegalMove as exc:
                is_final = after.lifecycle is Lifecycle.TERMINATED
                message = f"{self.name}: {word!r}: {exc}"
                raise Refused(message, axis=exc.axis, legal=exc.legal, is_final=is_final) from exc
            after = after.after(move.axis, move.to)
            moves.append(move)
        in_the_way = self.rule_of(after)
        if in_the_way.word != rule.word:
            raise self._hidden(rule, in_the_way, after)
        return tuple(moves)

    def _rule_for(self, word: str) -> Rule:
        """Return the first rule of the word, which defines its write."""
        for rule in self.rules:
            if rule.word == word:
                return rule
        known = ", ".join(self.words)
        raise UnknownValue(f"{self.name} has no value {word!r}; values: {known}")

    def _hidden(self, rule: Rule, in_the_way: Rule, axes: Axes) -> Refused:
        axis = in_the_way.axis
        legal = legal_moves(axis, axes.on(axis))
        hint = f"legal moves: {', '.join(legal)}" if legal else f"{axes.on(axis)} is final"
        if axis is Axis.ACTIVITY:
            hint = DERIVED
        is_final = axes.lifecycle is Lifecycle.TERMINATED
        if axis is Axis.CONNECTIVITY:
            hint = "it is terminated, for good" if is_final else "it is online once its device connects"
        return Refused(
            f"{self.name}: {str(rule.word)!r} would still be read as {str(in_the_way.word)!r}:"
            f" {axis} is {axes.on(axis)}; {hint}",
            axis=axis,
            legal=legal,
            is_final=is_final,
        )


def _when(**on: StrEnum | frozenset[StrEnum]) -> Mapping[Axis, frozenset[str]]:
    return {
        Axis(axis): frozenset(map(str, value)) if isinstance(value, frozenset) else frozenset({str(value)})
        for axis, value in on.items()
    }


def _moves(**to: StrEnum) -> tuple[AxisMove, ...]:
    return tuple(AxisMove(Axis(axis), str(value)) for axis, value in to.items())


_BUSY = frozenset({Activity.WAITING, Activity.PROCESSING, Activity.SATURATED})
_RUNNING = frozenset({Activity.PROCESSING, Activity.SATURATED})
_NOT_ACTIVE = frozenset(Lifecycle) - {Lifecycle.ACTIVE}
_NOT_OVER = frozenset(Lifecycle) - {Lifecycle.TERMINATED}
_L, _H = Lifecycle, Health

CALENDAR_STATUS: Final = Reading(
    Vocabulary.CALENDAR,
    "status",
    AgentStatus,
    Rule(
        AgentStatus.OFFLINE,
        Axis.CONNECTIVITY,
        _when(connectivity=Connectivity.OFFLINE),
        _moves(connectivity=Connectivity.OFFLINE),  # also closes its device's session
    ),
    Rule(
        AgentStatus.EXHAUSTED,
        Axis.AVAILABILITY,
        _when(availability=Availability.EXHAUSTED),
        _moves(availability=Availability.EXHAUSTED),  # with a reason and the instants
    ),
    Rule(AgentStatus.BUSY, Axis.ACTIVITY, _when(activity=_BUSY)),
    Rule(
        AgentStatus.ON_CALL,
        Axis.AVAILABILITY,
        _when(availability=Availability.ON_CALL),
        _moves(availability=Availability.ON_CALL),
    ),
    Rule(AgentStatus.IDLE, Axis.AVAILABILITY, {}, _moves(availability=Availability.AVAILABLE)),
    in_seed="AgentStatus",
)
ORCHESTRATOR_STATUS: Final = Reading(
    Vocabulary.ORCHESTRATOR,
    "status",
    OrchestratorStatus,
    Rule(OrchestratorStatus.ERROR, Axis.HEALTH, _when(health=_H.ERROR), _moves(health=_H.ERROR)),
    Rule(
        OrchestratorStatus.MAINTENANCE,
        Axis.LIFECYCLE,
        _when(lifecycle=_L.MAINTENANCE),
        _moves(lifecycle=_L.MAINTENANCE),
    ),
    Rule(
        OrchestratorStatus.INACTIVE,
        Axis.LIFECYCLE,
        _when(lifecycle=_NOT_ACTIVE),
        _moves(lifecycle=_L.PAUSED),
    ),
    Rule(OrchestratorStatus.BUSY, Axis.ACTIVITY, _when(activity=_RUNNING)),
    Rule(OrchestratorStatus.ACTIVE, Axis.LIFECYCLE, {}, _moves(lifecycle=_L.ACTIVE, health=_H.OK)),
    in_seed="AgentStatus",
)
STATE_DETAIL: Final = Reading(
    Vocabulary.ORCHESTRATOR,
    "state_detail",
    StateDetail,
    Rule(
        StateDetail.ERROR,
        Axis.HEALTH,
        _when(health=_H.ERROR, lifecycle=_NOT_OVER),
        _moves(health=_H.ERROR),
    ),
    Rule(
        StateDetail.PAUSED,
        Axis.LIFECYCLE,
        _when(lifecycle=frozenset({_L.PAUSED, _L.MAINTENANCE})),
        _moves(lifecycle=_L.PAUSED),
    ),
    *(
        Rule(StateDetail(state.name), Axis.LIFECYCLE, _when(lifecycle=state), _moves(lifecycle=state))
        for state in (_L.CREATED, _L.INITIALIZING, _L.READY, _L.ACTIVE, _L.TERMINATED)
    ),
    in_seed="AgentStateDetail",
)
FOUNDATION_STATUS: Final = Reading(
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
READINGS: Final = (CALENDAR_STATUS, ORCHESTRATOR_STATUS, STATE_DETAIL, FOUNDATION_STATUS)


def reading(vocabulary: Vocabulary, column: str) -> Reading | None:
    """Return the reading of a column, if any."""
    return next((one for one in READINGS if (one.vocabulary, one.column) == (vocabulary, column)), None)


# Words about other properties than the axes.

_CALENDAR_REASONS: Final[Mapping[ExhaustReason, CalendarExhaustReason]] = {
    ExhaustReason.RATE_LIMIT: CalendarExhaustReason.RATE_LIMIT,
    ExhaustReason.BILLING: CalendarExhaustReason.BILLING,
    # the vocabulary has no word for an agent's own budget
    ExhaustReason.BUDGET: CalendarExhaustReason.BILLING,
}
# The orchestrator vocabulary has no words for these three types.
_OWN_TYPES: Final[Mapping[AgentType, str]] = {
    AgentType.COORDINATOR: AgentSubtype.PLANNER,
    AgentType.ASSISTANT: AgentType.CUSTOM,
    AgentType.DESIGNER: AgentType.CUSTOM,
}


def calendar_reason(reason: str | None) -> CalendarExhaustReason | None:
    """Return the calendar vocabulary's word for a reason of exhaustion."""
    return None if reason is None else _CALENDAR_REASONS[ExhaustReason(reason)]


def own_type(kind: Kind) -> str:
    """Return the orchestrator vocabulary's word for a type, or its nearest word."""
    return str(kind.subtype or _OWN_TYPES.get(kind.type, kind.type))


def run_log_status(state: RunState, outcome: RunOutcome | None) -> RunLogStatus:
    """Return the run-log vocabulary's word for a run's state; a cancelled run is an error there."""
    if state in LIVE_RUN_STATES:
        return RunLogStatus.RUNNING
    if state is RunState.COMPLETED and outcome is not None:
        return RunLogStatus(outcome)
    return RunLogStatus.ERROR


def run_log_agent_type(executor: str) -> RunLogAgentType:
    """Return the run-log vocabulary's word for the reader of documents: the device, or a connector."""
    return RunLogAgentType.LOCAL if executor == "device" else RunLogAgentType.CLOUD


def words_of(vocabulary: str) -> Vocabulary:
    """Return the vocabulary with that name.

    Raises:
        UnknownValue: no vocabulary has that name.
    """
    try:
        return Vocabulary(vocabulary)
    except ValueError:
        known = ", ".join(Vocabulary)
        raise UnknownValue(f"there is no vocabulary {vocabulary!r}; vocabularies: {known}") from None


def status_words(axes: Axes, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return every status column of a vocabulary with its word."""
    return {one.column: str(one.read(axes)) for one in READINGS if one.vocabulary is vocabulary}
