"""Types and states of agents: stored axes, moves on each, and the status words of other vocabularies.

The axes are independent, so an exhausted agent that goes offline keeps its recovery time. Every other status
is a projection of these. The spellings are used in rows, in answers and on the
wire.

Status words of other vocabularies, read from the axes of an agent and written to them.

Five vocabularies existed before this hub: calendar, orchestrator, foundation, run log and coordination. Each
but the last has its own status, of which no word is stored; the last has names of events.

A column is a ``Reading``: ordered rules, of which the first that holds determines the word. Writing a word
moves the agent on the axes that its rule names. The two columns of the orchestrator are read and written as
pairs. A refusal names the legal words.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from protocol.errors import CodedError, ErrorCode, HubError, IllegalTransition
from protocol.lifecycles import LIVE_RUN_STATES, AgentStatus, RunOutcome, RunState, Table

# The orchestrator vocabulary has ten types. Each is mapped to one of eight shared types; a finer one is also
# stored as the *subtype*, so that it reads back unchanged.


class AgentType(StrEnum):
    """Shared types, as stored in rows."""

    COORDINATOR = "COORDINATOR"
    ASSISTANT = "ASSISTANT"
    RESEARCHER = "RESEARCHER"
    DEVELOPER = "DEVELOPER"
    DESIGNER = "DESIGNER"
    SPECIALIST = "SPECIALIST"
    AUDITOR = "AUDITOR"
    CUSTOM = "CUSTOM"


class AgentSubtype(StrEnum):
    """Types of the orchestrator vocabulary that are finer than a shared type."""

    PLANNER = "PLANNER"
    REVIEWER = "REVIEWER"
    MANAGER = "MANAGER"
    TOOL_CURATOR = "TOOL_CURATOR"
    DEPLOYMENT = "DEPLOYMENT"


TYPE_OF: Final = {
    AgentSubtype.PLANNER: AgentType.COORDINATOR,
    AgentSubtype.MANAGER: AgentType.COORDINATOR,
    AgentSubtype.REVIEWER: AgentType.AUDITOR,
    AgentSubtype.TOOL_CURATOR: AgentType.SPECIALIST,
    AgentSubtype.DEPLOYMENT: AgentType.SPECIALIST,
}
TYPE_NAMES: Final = (*AgentType, *AgentSubtype)  # accepted spellings of an agent's type


class Kind(NamedTuple):
    """Shared type, with the finer subtype if there is one."""

    type: AgentType
    subtype: AgentSubtype | None = None

    @property
    def written(self) -> AgentType | AgentSubtype:
        """Single word for the pair."""
        return self.subtype or self.type


def kind_of(written: str) -> Kind:
    """Parse an agent's type in either vocabulary.

    Raises:
        ValueError: the type is in neither vocabulary.
    """
    if written in AgentType.__members__:
        return Kind(AgentType(written))
    subtype = AgentSubtype(written)
    return Kind(TYPE_OF[subtype], subtype)


# States


class Axis(StrEnum):
    """Axis of an agent's state."""

    LIFECYCLE = "lifecycle"
    AVAILABILITY = "availability"
    CONNECTIVITY = "connectivity"
    HEALTH = "health"
    ACTIVITY = "activity"  # derived from its runs; never written


class Lifecycle(StrEnum):
    """Lifecycle: whether an agent should work."""

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    ACTIVE = "active"
    PAUSED = "paused"
    MAINTENANCE = "maintenance"
    TERMINATED = "terminated"


class Availability(StrEnum):
    """Availability: whether its model allows it to work."""

    AVAILABLE = "available"
    ON_CALL = "on_call"  # works when called, by its calendar or a person
    EXHAUSTED = "exhausted"


class ExhaustReason(StrEnum):
    """Reason for exhaustion."""

    RATE_LIMIT = "rate_limit"  # the provider named a delay
    BILLING = "billing"  # unknown duration: a probe or a person ends it
    BUDGET = "budget"  # the agent's own daily budget is spent


class Connectivity(StrEnum):
    """Connectivity of its device."""

    ONLINE = "online"
    OFFLINE = "offline"


class Health(StrEnum):
    """Health of an agent."""

    OK = "ok"
    ERROR = "error"


class Activity(StrEnum):
    """Activity that follows from its runs."""

    IDLE = "idle"
    WAITING = "waiting"  # live runs, and none RUNNING
    PROCESSING = "processing"
    SATURATED = "saturated"  # the maximum number of runs is RUNNING


class LifecycleEvent(Enum):
    """Event of the lifecycle."""

    RESET = auto()  # from maintenance back to the beginning
    BEGUN = auto()
    PREPARED = auto()
    ACTIVATED = auto()
    PAUSED = auto()
    TAKEN_OUT = auto()  # for maintenance
    TERMINATED = auto()


class AvailabilityEvent(Enum):
    """Event of the availability."""

    FREED = auto()  # the quota recovered, or the agent is no longer on call
    CALLED = auto()
    EXHAUSTED = auto()


class ConnectivityEvent(Enum):
    """Event of the connectivity."""

    CONNECTED = auto()
    LEFT = auto()


class HealthEvent(Enum):
    """Event of the health."""

    FAILED = auto()
    HEALED = auto()


_L, _V = Lifecycle, LifecycleEvent
_A, _Q = Availability, AvailabilityEvent
_WORKING = (_L.CREATED, _L.INITIALIZING, _L.READY, _L.ACTIVE, _L.PAUSED)

LIFECYCLE: Table[Lifecycle, LifecycleEvent] = Table(
    "lifecycle",
    _L.CREATED,
    {
        (_L.CREATED, _V.BEGUN): _L.INITIALIZING,
        (_L.INITIALIZING, _V.PREPARED): _L.READY,
        (_L.READY, _V.ACTIVATED): _L.ACTIVE,
        (_L.ACTIVE, _V.PREPARED): _L.READY,
        (_L.ACTIVE, _V.PAUSED): _L.PAUSED,
        (_L.PAUSED, _V.ACTIVATED): _L.ACTIVE,
        **dict.fromkeys(((state, _V.TAKEN_OUT) for state in _WORKING), _L.MAINTENANCE),
        (_L.MAINTENANCE, _V.RESET): _L.CREATED,
        (_L.MAINTENANCE, _V.BEGUN): _L.INITIALIZING,
        (_L.MAINTENANCE, _V.PREPARED): _L.READY,
        (_L.MAINTENANCE, _V.ACTIVATED): _L.ACTIVE,
        (_L.MAINTENANCE, _V.PAUSED): _L.PAUSED,
        **dict.fromkeys(((state, _V.TERMINATED) for state in (*_WORKING, _L.MAINTENANCE)), _L.TERMINATED),
    },
)
AVAILABILITY: Table[Availability, AvailabilityEvent] = Table(
    "availability",
    _A.AVAILABLE,
    {
        (_A.AVAILABLE, _Q.CALLED): _A.ON_CALL,
        (_A.AVAILABLE, _Q.EXHAUSTED): _A.EXHAUSTED,
        (_A.ON_CALL, _Q.FREED): _A.AVAILABLE,
        (_A.ON_CALL, _Q.EXHAUSTED): _A.EXHAUSTED,
        (_A.EXHAUSTED, _Q.FREED): _A.AVAILABLE,
        (_A.EXHAUSTED, _Q.CALLED): _A.ON_CALL,
    },
)
CONNECTIVITY: Table[Connectivity, ConnectivityEvent] = Table(
    "connectivity",
    Connectivity.OFFLINE,
    {
        (Connectivity.OFFLINE, ConnectivityEvent.CONNECTED): Connectivity.ONLINE,
        (Connectivity.ONLINE, ConnectivityEvent.LEFT): Connectivity.OFFLINE,
    },
)
HEALTH: Table[Health, HealthEvent] = Table(
    "health",
    Health.OK,
    {
        (Health.OK, HealthEvent.FAILED): Health.ERROR,
        (Health.ERROR, HealthEvent.HEALED): Health.OK,
    },
)

TABLES: Mapping[Axis, Table[Any, Any]] = {
    Axis.LIFECYCLE: LIFECYCLE,
    Axis.AVAILABILITY: AVAILABILITY,
    Axis.CONNECTIVITY: CONNECTIVITY,
    Axis.HEALTH: HEALTH,
}
STORED_AXES = tuple(TABLES)
DETAILED_AXES: Final = (Axis.LIFECYCLE, Axis.HEALTH)  # a move on one ends the state_detail
VALUES: Mapping[Axis, type[StrEnum]] = {
    Axis.LIFECYCLE: Lifecycle,
    Axis.AVAILABILITY: Availability,
    Axis.CONNECTIVITY: Connectivity,
    Axis.HEALTH: Health,
    Axis.ACTIVITY: Activity,
}
_LEGAL = {
    (axis, str(value)): tuple(str(after) for before, _, after in table.moves() if before == value)
    for axis, table in TABLES.items()
    for value in VALUES[axis]
}
FINAL = "a terminated agent stays so: make another one; to use its name again, remove it first"
DERIVED = "activity is derived from runs: start, pause or cancel runs instead"


class IllegalMove(IllegalTransition):
    """Error: an axis has no such move; nothing was written.

    Attributes:
        axis: the axis.
        before: current value.
        legal: allowed next values, in the order of the table.
    """

    code = ErrorCode.BAD_STATUS

    def __init__(self, axis: Axis, before: str, after: str) -> None:
        if axis is Axis.ACTIVITY:
            self.legal: tuple[str, ...] = ()
            hint = DERIVED
        else:
            self.legal = legal_moves(axis, before)
            hint = f"legal moves: {', '.join(self.legal)}" if self.legal else f"{before} is final"
        super().__init__(f"{axis}: {before} -> {after} is not a move; {hint}")
        self.axis = axis
        self.before = before
        self.after = after
        if before == Lifecycle.TERMINATED:
            self.hint = FINAL


def legal_moves(axis: Axis, before: str) -> tuple[str, ...]:
    """Return the values that may follow *before*, in the order of the table; empty for the derived axis."""
    return _LEGAL.get((axis, before), ())


def axis_value(axis: str, value: str) -> tuple[Axis, str]:
    """Parse the names of an axis and of a value.

    Raises:
        CodedError (BAD_PARAMS): the axis does not exist, or has no such value.
    """
    if axis not in VALUES:
        raise CodedError(ErrorCode.BAD_PARAMS, f"there is no axis {axis!r}; axes: {', '.join(STORED_AXES)}")
    known = Axis(axis)
    values = [str(one) for one in VALUES[known]]
    if value not in values:
        raise CodedError(ErrorCode.BAD_PARAMS, f"{axis} has no value {value!r}; values: {', '.join(values)}")
    return known, str(VALUES[known](value))


def check_move(axis: Axis, before: str, to: str) -> None:
    """Check that the axis' table has the move; an unchanged value is allowed.

    Raises:
        IllegalMove: the table does not have the move.
    """
    if before != to and to not in legal_moves(axis, before):
        raise IllegalMove(axis, before, to)


def activity_of(*, live: int, running: int, limit: int) -> Activity:
    """Return the activity of an agent with *live* runs, *running* of them RUNNING.

    Args:
        limit: ``max_concurrent_runs`` of the agent.
    """
    if running >= limit:
        return Activity.SATURATED
    if running > 0:
        return Activity.PROCESSING
    return Activity.WAITING if live > 0 else Activity.IDLE


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    """Values of all axes. *state_detail*: finer word that the orchestrator wrote; a move ends it."""

    lifecycle: Lifecycle = Lifecycle.CREATED
    availability: Availability = Availability.AVAILABLE
    connectivity: Connectivity = Connectivity.OFFLINE
    health: Health = Health.OK
    activity: Activity = Activity.IDLE
    state_detail: str | None = None

    def on(self, axis: Axis) -> str:
        """Return the value of one axis."""
        return str(getattr(self, axis))

    def after(self, axis: Axis, to: str) -> "Axes":
        """Return a copy with another value on one axis."""
        moved: Any = {str(axis): VALUES[axis](to)}
        if axis in DETAILED_AXES:
            moved["state_detail"] = None
        return msgspec.structs.replace(self, **moved)


class AgentMoved(msgspec.Struct, frozen=True, kw_only=True):
    """Move of an agent on one axis. *detail_before*: its ``state_detail`` before the move."""

    agent_id: str
    axis: Axis
    before: str | None
    after: str
    reason: str | None
    actor: str
    at: int
    seq: int
    detail_before: str | None = None


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


class Refused(HubError):
    """Error: the word cannot be written now; nothing was written. The message names the legal words."""

    code = ErrorCode.BAD_STATUS

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        if is_final:
            self.hint = FINAL


class Reading:
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
            raise Refused(f"{self.name}: {written!r} is not written: {DERIVED}; legal: {legal}")
        if axes.lifecycle is Lifecycle.TERMINATED:
            raise refused_for_good(f"{self.name}: {written!r}")
        return tuple(move for move in rule.writes if axes.on(move.axis) != move.to)


def refused_for_good(written: str) -> Refused:
    """Return the refusal of a write to a terminated agent."""
    return Refused(f"{written} is not written: the agent is terminated; legal: none", is_final=True)


def _when(**on: StrEnum | frozenset[StrEnum]) -> Mapping[Axis, frozenset[str]]:
    return {
        Axis(axis): frozenset(map(str, value)) if isinstance(value, frozenset) else frozenset({str(value)})
        for axis, value in on.items()
    }


def _moves(**to: StrEnum) -> tuple[AxisMove, ...]:
    return tuple(AxisMove(Axis(axis), str(value)) for axis, value in to.items())


RUNNING: Final = frozenset({Activity.PROCESSING, Activity.SATURATED})
_LIFE, _H = Lifecycle, Health

CALENDAR_STATUS: Final = Reading(
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
READINGS: Final = (CALENDAR_STATUS, FOUNDATION_STATUS)


# The orchestrator has two columns, and what they mean together is a table of pairs.

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


class Pair(NamedTuple):
    """Both words of the orchestrator for an agent."""

    status: OrchestratorStatus
    state_detail: StateDetail


def pair_of(axes: Axes) -> Pair:
    """Return the words of the orchestrator; while a run of an ACTIVE agent executes, it is BUSY."""
    if axes.health is _H.ERROR and axes.lifecycle is not _LIFE.TERMINATED:
        return Pair(_S.ERROR, _D.ERROR)
    if axes.lifecycle is _LIFE.ACTIVE:
        if axes.activity in RUNNING:
            return Pair(_S.BUSY, _D.ACTIVE)
        return Pair(_S.ACTIVE, StateDetail(axes.state_detail or _D.ACTIVE))
    if axes.lifecycle is _LIFE.MAINTENANCE:
        return Pair(_S.MAINTENANCE, StateDetail(axes.state_detail or _D.PAUSED))
    return Pair(_S.INACTIVE, StateDetail(axes.lifecycle.name))


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
    present = Pair(_S.ACTIVE, StateDetail(axes.state_detail or _D.ACTIVE)) if now.status is _S.BUSY else now
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
    written = f"orchestrator: {' and '.join(repr(one) for one in (status, state_detail) if one)}"
    if axes.lifecycle is _LIFE.TERMINATED:
        raise refused_for_good(written)
    if found is None:
        why = f": {DERIVED}" if pair[0] is _S.BUSY else ""
        raise Refused(f"{written} is not written{why}; legal: {_legal_pairs(axes)}")
    lifecycle = axes.lifecycle if found.health is _H.ERROR else found.lifecycle
    if lifecycle_path(axes.lifecycle, lifecycle) is None:
        raise Refused(
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
    return {one.column: one.words for one in READINGS if one.vocabulary is vocabulary}


def reading(vocabulary: Vocabulary, column: str) -> Reading | None:
    """Return the reading of a column, if any."""
    return next((one for one in READINGS if (one.vocabulary, one.column) == (vocabulary, column)), None)


# Words about other properties than the axes.

_CALENDAR_REASONS: Final[Mapping[ExhaustReason, CalendarExhaustReason]] = {
    ExhaustReason.RATE_LIMIT: "rate_limit",
    ExhaustReason.BILLING: "billing",
    # the vocabulary has no word for an agent's own budget
    ExhaustReason.BUDGET: "billing",
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
    return {one.column: str(one.read(axes)) for one in READINGS if one.vocabulary is vocabulary}
