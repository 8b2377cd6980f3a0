"""How an agent stands: four axes that are stored, one that its runs make, and the moves on each.

The axes are independent of each other, so an agent without quota that goes offline still
knows when its quota is back. Whatever else is called a status is a projection of these
(``protocol.vocabularies``). The spellings stand in rows, in answers and on the wire.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Any

import msgspec

from protocol.errors import ErrorCode, HubError, IllegalTransition
from protocol.machine import Table


class Axis(StrEnum):
    """What an agent moves on."""

    LIFECYCLE = "lifecycle"
    AVAILABILITY = "availability"
    CONNECTIVITY = "connectivity"
    HEALTH = "health"
    ACTIVITY = "activity"  # derived from its runs; never written


class Lifecycle(StrEnum):
    """Whether an agent is to work."""

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    ACTIVE = "active"
    PAUSED = "paused"
    MAINTENANCE = "maintenance"
    TERMINATED = "terminated"


class Availability(StrEnum):
    """Whether its model lets it work."""

    AVAILABLE = "available"
    ON_CALL = "on_call"  # works when it is called, by its calendar or a person
    EXHAUSTED = "exhausted"


class ExhaustReason(StrEnum):
    """Why an agent is exhausted."""

    RATE_LIMIT = "rate_limit"  # the provider said when to come back
    BILLING = "billing"  # nobody knows when: a probe goes out, or a person says so
    BUDGET = "budget"  # its own budget of the day is spent


class Connectivity(StrEnum):
    """Whether its device is there."""

    ONLINE = "online"
    OFFLINE = "offline"


class Health(StrEnum):
    """Whether it works as it should."""

    OK = "ok"
    ERROR = "error"


class Activity(StrEnum):
    """What its runs make of it."""

    IDLE = "idle"
    WAITING = "waiting"  # live runs, and none RUNNING
    PROCESSING = "processing"
    SATURATED = "saturated"  # as many RUNNING as it may have


class LifecycleEvent(Enum):
    """What happened to an agent as a whole."""

    RESET = auto()  # out of maintenance, to begin anew
    BEGUN = auto()
    PREPARED = auto()
    ACTIVATED = auto()
    PAUSED = auto()
    TAKEN_OUT = auto()  # for maintenance
    TERMINATED = auto()


class AvailabilityEvent(Enum):
    """What happened to an agent's quota, or who it works for."""

    FREED = auto()  # the quota is back, or it is on call no more
    CALLED = auto()
    EXHAUSTED = auto()


class ConnectivityEvent(Enum):
    """What happened to the connection of an agent's device."""

    CAME = auto()
    LEFT = auto()


class HealthEvent(Enum):
    """What was found out about an agent."""

    FAILED = auto()
    HEALED = auto()


_L, _V = Lifecycle, LifecycleEvent
_A, _Q = Availability, AvailabilityEvent

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
        (_L.CREATED, _V.TAKEN_OUT): _L.MAINTENANCE,
        (_L.INITIALIZING, _V.TAKEN_OUT): _L.MAINTENANCE,
        (_L.READY, _V.TAKEN_OUT): _L.MAINTENANCE,
        (_L.ACTIVE, _V.TAKEN_OUT): _L.MAINTENANCE,
        (_L.PAUSED, _V.TAKEN_OUT): _L.MAINTENANCE,
        (_L.MAINTENANCE, _V.RESET): _L.CREATED,
        (_L.MAINTENANCE, _V.BEGUN): _L.INITIALIZING,
        (_L.MAINTENANCE, _V.PREPARED): _L.READY,
        (_L.MAINTENANCE, _V.ACTIVATED): _L.ACTIVE,
        (_L.MAINTENANCE, _V.PAUSED): _L.PAUSED,
        (_L.CREATED, _V.TERMINATED): _L.TERMINATED,
        (_L.INITIALIZING, _V.TERMINATED): _L.TERMINATED,
        (_L.READY, _V.TERMINATED): _L.TERMINATED,
        (_L.ACTIVE, _V.TERMINATED): _L.TERMINATED,
        (_L.PAUSED, _V.TERMINATED): _L.TERMINATED,
        (_L.MAINTENANCE, _V.TERMINATED): _L.TERMINATED,
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
        (Connectivity.OFFLINE, ConnectivityEvent.CAME): Connectivity.ONLINE,
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
VALUES: Mapping[Axis, type[StrEnum]] = {
    Axis.LIFECYCLE: Lifecycle,
    Axis.AVAILABILITY: Availability,
    Axis.CONNECTIVITY: Connectivity,
    Axis.HEALTH: Health,
    Axis.ACTIVITY: Activity,
}
FINAL = "a terminated agent stays so: make another one; to use its name again, remove it first"
DERIVED = "activity is derived from runs: start, pause or cancel runs instead"


class IllegalMove(IllegalTransition):
    """An axis has no such move; nothing was written.

    Attributes:
        axis: which one.
        before: where the agent stands on it.
        wanted: where it was to go.
        legal: where it may go from there, in the order of the table.
    """

    code = ErrorCode.BAD_STATUS

    def __init__(self, axis: Axis, before: str, wanted: str) -> None:
        if axis is Axis.ACTIVITY:
            self.legal: tuple[str, ...] = ()
            hint = DERIVED
        else:
            self.legal = legal_moves(axis, before)
            hint = f"legal moves: {', '.join(self.legal)}" if self.legal else f"{before} is final"
        super().__init__(f"{axis}: {before} -> {wanted} is not a move; {hint}")
        self.axis = axis
        self.before = before
        self.wanted = wanted
        if before == Lifecycle.TERMINATED:
            self.hint = FINAL


class UnknownValue(HubError):
    """Such an axis, or such a value of it, there is not; nothing was written."""

    code = ErrorCode.BAD_PARAMS


def legal_moves(axis: Axis, before: str) -> tuple[str, ...]:
    """Where an agent that stands at *before* may go, in the order of the table; of a derived axis nowhere."""
    if axis not in TABLES:
        return ()
    return tuple(str(after) for state, _, after in TABLES[axis].moves() if state == before)


def axis_value(axis: str, value: str) -> tuple[Axis, str]:
    """The axis and value of those names.

    Raises:
        UnknownValue: there is no such axis, or it has no such value.
    """
    if axis not in VALUES:
        raise UnknownValue(f"there is no axis {axis!r}; axes: {', '.join(STORED_AXES)}")
    known = Axis(axis)
    values = [str(one) for one in VALUES[known]]
    if value not in values:
        raise UnknownValue(f"{axis} has no value {value!r}; values: {', '.join(values)}")
    return known, str(VALUES[known](value))


def check_move(axis: Axis, before: str, to: str) -> None:
    """Let a move pass that the axis' table has, and standing still.

    Raises:
        IllegalMove: it has not.
    """
    if before != to and to not in legal_moves(axis, before):
        raise IllegalMove(axis, before, to)


def activity_of(*, live: int, running: int, limit: int) -> Activity:
    """The activity of an agent with so many *live* runs, and *running* of them RUNNING.

    Args:
        limit: how many it may have at once, ``max_concurrent_runs``.
    """
    if running >= limit:
        return Activity.SATURATED
    if running > 0:
        return Activity.PROCESSING
    return Activity.WAITING if live > 0 else Activity.IDLE


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    """Where an agent stands on each axis."""

    lifecycle: Lifecycle = Lifecycle.CREATED
    availability: Availability = Availability.AVAILABLE
    connectivity: Connectivity = Connectivity.OFFLINE
    health: Health = Health.OK
    activity: Activity = Activity.IDLE

    def on(self, axis: Axis) -> str:
        """Where the agent stands on one axis."""
        return str(getattr(self, axis))

    def after(self, axis: Axis, to: str) -> "Axes":
        """These axes, with the agent at *to* on one of them."""
        moved: Any = {str(axis): VALUES[axis](to)}
        return msgspec.structs.replace(self, **moved)


class AgentMoved(msgspec.Struct, frozen=True, kw_only=True):
    """An agent has moved on one axis."""

    agent_id: str
    axis: Axis
    before: str | None
    after: str
    reason: str | None
    actor: str
    at: int
    seq: int
