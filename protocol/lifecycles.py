"""State tables of runs, files and messages of runs, and calls: legal changes and final states.

Only a table decides on a move; the engine is a look-up. An event that the state does not allow raises
``IllegalTransition`` and changes nothing. The spellings of the states are used in rows and on the wire.
"""

from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum, auto
from typing import Generic, TypeVar

from protocol.errors import IllegalTransition

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)


class Table(Generic[StateT, EventT]):
    """State machine as a table.

    Args:
        name: name of the machine, for messages and diagrams.
        initial: initial state.
        moves: the legal moves; missing pairs are illegal.
    """

    def __init__(self, name: str, initial: StateT, moves: Mapping[tuple[StateT, EventT], StateT]) -> None:
        self.name = name
        self.initial = initial
        self._moves = dict(moves)

    def after(self, state: StateT, event: EventT) -> StateT:
        """Return the state that follows on *event*.

        Raises:
            IllegalTransition: the table has no such move.
        """
        try:
            return self._moves[state, event]
        except KeyError:
            legal = ", ".join(sorted(e.name for s, e in self._moves if s is state)) or "none, it is final"
            raise IllegalTransition(
                f"{self.name}: {event.name} is not a move from {state.name}; legal moves: {legal}"
            ) from None

    def allows(self, state: StateT, event: EventT) -> bool:
        """Return True if the table has the move."""
        return (state, event) in self._moves

    def is_final(self, state: StateT) -> bool:
        """Return True if no event leads out of *state*."""
        return all(before is not state for before, _ in self._moves)

    def moves(self) -> Iterator[tuple[StateT, EventT, StateT]]:
        """Iterate over every move, in the order of declaration."""
        for (before, event), after in self._moves.items():
            yield before, event, after


class RunState(StrEnum):
    """State of a run."""

    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


LIVE_RUN_STATES = frozenset({RunState.QUEUED, RunState.PREPARING, RunState.RUNNING, RunState.PAUSED})
EXECUTING_RUN_STATES = frozenset({RunState.PREPARING, RunState.RUNNING})
FINAL_RUN_STATES = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})


class RunEvent(Enum):
    """Event of a run."""

    DISPATCHED = auto()  # claimed by a node, with a new fence
    ACKNOWLEDGED = auto()  # the device accepted it, or its first data came
    SENT_BACK = auto()  # not accepted: busy, or unreachable; or the hub's database was unavailable
    DEVICE_LOST = auto()
    DEVICE_BACK = auto()
    EXHAUSTED = auto()  # the model's quota is used up
    RECOVERED = auto()  # the quota recovered
    MODEL_AWAY = auto()  # rule-based items are delivered, the rest waits for an unavailable model
    MODEL_BACK = auto()
    DRAINED = auto()  # the hub stops in good order
    HUB_BACK = auto()  # the hub runs again
    HUB_LOST = auto()  # the lease's holder is dead; detected at start-up
    USER_PAUSED = auto()
    USER_RESUMED = auto()
    RETRIED = auto()  # a temporary error; another attempt
    FINISHED = auto()  # every unit settled, no call open
    FAILED = auto()  # a permanent error, or no attempts left
    CANCELLED = auto()


_S, _E = RunState, RunEvent

RUN: Table[RunState, RunEvent] = Table(
    "run",
    RunState.QUEUED,
    {
        (_S.QUEUED, _E.DISPATCHED): _S.PREPARING,
        (_S.QUEUED, _E.USER_PAUSED): _S.PAUSED,
        (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,
        (_S.PREPARING, _E.ACKNOWLEDGED): _S.RUNNING,
        (_S.PREPARING, _E.SENT_BACK): _S.QUEUED,
        (_S.PREPARING, _E.DEVICE_LOST): _S.QUEUED,
        (_S.PREPARING, _E.DRAINED): _S.QUEUED,
        (_S.PREPARING, _E.HUB_LOST): _S.QUEUED,
        (_S.PREPARING, _E.FAILED): _S.FAILED,
        (_S.PREPARING, _E.CANCELLED): _S.CANCELLED,
        (_S.RUNNING, _E.DEVICE_LOST): _S.PAUSED,
        (_S.RUNNING, _E.EXHAUSTED): _S.PAUSED,
        (_S.RUNNING, _E.MODEL_AWAY): _S.PAUSED,
        (_S.RUNNING, _E.DRAINED): _S.PAUSED,
        (_S.RUNNING, _E.USER_PAUSED): _S.PAUSED,
        (_S.RUNNING, _E.FINISHED): _S.COMPLETED,
        (_S.RUNNING, _E.RETRIED): _S.QUEUED,
        (_S.RUNNING, _E.SENT_BACK): _S.QUEUED,  # for a fault of the hub itself: no attempt is spent
        (_S.RUNNING, _E.HUB_LOST): _S.QUEUED,
        (_S.RUNNING, _E.FAILED): _S.FAILED,
        (_S.RUNNING, _E.CANCELLED): _S.CANCELLED,
        (_S.PAUSED, _E.DEVICE_BACK): _S.QUEUED,  # through dispatch again: a new fence
        (_S.PAUSED, _E.RECOVERED): _S.QUEUED,
        (_S.PAUSED, _E.MODEL_BACK): _S.QUEUED,
        (_S.PAUSED, _E.HUB_BACK): _S.QUEUED,
        (_S.PAUSED, _E.USER_RESUMED): _S.QUEUED,
        (_S.PAUSED, _E.FAILED): _S.FAILED,
        (_S.PAUSED, _E.CANCELLED): _S.CANCELLED,
    },
)


class PauseReason(StrEnum):
    """Reason why a run is PAUSED."""

    USER = "user"
    DEVICE_OFFLINE = "device_offline"
    EXHAUSTED = "exhausted"
    MODEL_AWAY = "model_away"
    DRAIN = "drain"
    WAITING_INPUT = "waiting_input"


PAUSE_REASONS: dict[RunEvent, PauseReason] = {
    RunEvent.DEVICE_LOST: PauseReason.DEVICE_OFFLINE,
    RunEvent.EXHAUSTED: PauseReason.EXHAUSTED,
    RunEvent.MODEL_AWAY: PauseReason.MODEL_AWAY,
    RunEvent.DRAINED: PauseReason.DRAIN,
    RunEvent.USER_PAUSED: PauseReason.USER,
}
RESUMED_BY: dict[PauseReason, RunEvent] = {
    PauseReason.DEVICE_OFFLINE: RunEvent.DEVICE_BACK,
    PauseReason.EXHAUSTED: RunEvent.RECOVERED,
    PauseReason.MODEL_AWAY: RunEvent.MODEL_BACK,
    PauseReason.DRAIN: RunEvent.HUB_BACK,
    PauseReason.USER: RunEvent.USER_RESUMED,
}


class RunOutcome(StrEnum):
    """Outcome of a finished run."""

    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"


def outcome_of(*, units_done: int, items_created: int, errors: int) -> RunOutcome:
    """Return the outcome of a finished run; *units_done*: number of settled units, known or new."""
    if errors == 0:
        return RunOutcome.SUCCESS
    return RunOutcome.PARTIAL if units_done or items_created else RunOutcome.ERROR


class UnitState(StrEnum):
    """State of a file or message of a run."""

    PENDING = "PENDING"
    EXTRACTED = "EXTRACTED"  # its plan of calls is committed
    DONE = "DONE"
    SKIPPED = "SKIPPED"  # the ledger knows it, or it was left out on purpose: then its error says why
    FAILED = "FAILED"


class UnitEvent(Enum):
    """Event of a unit."""

    PLANNED = auto()
    POSTPONED = auto()  # rule-based items are delivered; the rest waits for the model
    SETTLED = auto()
    FAILED = auto()
    RETRIED = auto()


UNIT: Table[UnitState, UnitEvent] = Table(
    "unit",
    UnitState.PENDING,
    {
        (UnitState.PENDING, UnitEvent.PLANNED): UnitState.EXTRACTED,
        (UnitState.PENDING, UnitEvent.FAILED): UnitState.FAILED,
        (UnitState.EXTRACTED, UnitEvent.SETTLED): UnitState.DONE,
        (UnitState.EXTRACTED, UnitEvent.POSTPONED): UnitState.PENDING,
        (UnitState.EXTRACTED, UnitEvent.FAILED): UnitState.FAILED,
        (UnitState.FAILED, UnitEvent.RETRIED): UnitState.PENDING,
    },
)


class CallState(StrEnum):
    """State of a call of the outbox."""

    PLANNED = "PLANNED"
    SENT = "SENT"
    ACKED = "ACKED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"  # given up in its run: not answered, or not sent to a silent device


class CallEvent(Enum):
    """Event of a call."""

    SENT = auto()  # may have left the hub; repeated with the same id until it is answered
    ACKED = auto()
    REJECTED = auto()
    GIVEN_UP = auto()


CALL: Table[CallState, CallEvent] = Table(
    "call",
    CallState.PLANNED,
    {
        (CallState.PLANNED, CallEvent.SENT): CallState.SENT,
        (CallState.PLANNED, CallEvent.GIVEN_UP): CallState.UNKNOWN,
        (CallState.SENT, CallEvent.SENT): CallState.SENT,
        (CallState.SENT, CallEvent.ACKED): CallState.ACKED,
        (CallState.SENT, CallEvent.REJECTED): CallState.REJECTED,
        (CallState.SENT, CallEvent.GIVEN_UP): CallState.UNKNOWN,
    },
)


class AgentStatus(StrEnum):
    """Status that an agent reports in a hello or heartbeat."""

    IDLE = "idle"
    ON_CALL = "on_call"
    BUSY = "busy"
    EXHAUSTED = "exhausted"
    OFFLINE = "offline"
