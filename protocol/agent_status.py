"""Status of an agent: its axes, their values, and legal changes of each.

The axes are independent, so an exhausted agent that goes offline keeps its recovery time. Every other status
is a projection of these. The spellings are used in rows, in answers and on the wire.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Any, Final

import msgspec

from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.lifecycles import Table

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
    values = [str(legal) for legal in VALUES[known]]
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


# The orchestrator has two columns, and what they mean together is a table of pairs.


# Words about other properties than the axes.
