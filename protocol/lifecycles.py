"""The states of runs, units and calls, and their moves. The spellings stand in rows and on the wire.

Moves of a run are T1-T13 of the run table; the comment at each row names it.
"""

from enum import Enum, StrEnum, auto

from protocol.machine import Table


class RunState(StrEnum):
    """Where a run stands."""

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
    """What happened to a run."""

    DISPATCHED = auto()  # claimed by a node, with a new fence
    ACKNOWLEDGED = auto()  # the device took it on, or its first data came
    SENT_BACK = auto()  # not taken on: busy, or not reached; or the hub's database was away
    DEVICE_LOST = auto()
    DEVICE_BACK = auto()
    EXHAUSTED = auto()  # the model's quota is used up
    RECOVERED = auto()  # ... and there again
    MODEL_AWAY = auto()  # what rules read is delivered, the rest waits for a model that does not answer
    MODEL_BACK = auto()
    DRAINED = auto()  # the hub stops in good order
    HUB_BACK = auto()  # ... and is there again
    HUB_LOST = auto()  # the lease's holder is dead; found at start-up
    USER_PAUSED = auto()
    USER_RESUMED = auto()
    RETRIED = auto()  # a passing error; another attempt
    FINISHED = auto()  # every unit settled, no call open
    FAILED = auto()  # a lasting error, or attempts spent
    CANCELLED = auto()


_S, _E = RunState, RunEvent

RUN: Table[RunState, RunEvent] = Table(
    "run",
    RunState.QUEUED,  # T1 makes it
    {
        (_S.QUEUED, _E.DISPATCHED): _S.PREPARING,  # T2
        (_S.QUEUED, _E.USER_PAUSED): _S.PAUSED,  # T6
        (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,  # T12
        (_S.PREPARING, _E.ACKNOWLEDGED): _S.RUNNING,  # T3
        (_S.PREPARING, _E.SENT_BACK): _S.QUEUED,  # T4
        (_S.PREPARING, _E.DEVICE_LOST): _S.QUEUED,  # T4
        (_S.PREPARING, _E.DRAINED): _S.QUEUED,  # T4
        (_S.PREPARING, _E.HUB_LOST): _S.QUEUED,  # T4
        (_S.PREPARING, _E.FAILED): _S.FAILED,  # T10
        (_S.PREPARING, _E.CANCELLED): _S.CANCELLED,  # T13
        (_S.RUNNING, _E.DEVICE_LOST): _S.PAUSED,  # T5
        (_S.RUNNING, _E.EXHAUSTED): _S.PAUSED,  # T5
        (_S.RUNNING, _E.MODEL_AWAY): _S.PAUSED,  # T5
        (_S.RUNNING, _E.DRAINED): _S.PAUSED,  # T5
        (_S.RUNNING, _E.USER_PAUSED): _S.PAUSED,  # T5
        (_S.RUNNING, _E.FINISHED): _S.COMPLETED,  # T8
        (_S.RUNNING, _E.RETRIED): _S.QUEUED,  # T9
        (_S.RUNNING, _E.SENT_BACK): _S.QUEUED,  # T9, for a fault of the hub's own: no attempt is spent
        (_S.RUNNING, _E.HUB_LOST): _S.QUEUED,  # T9
        (_S.RUNNING, _E.FAILED): _S.FAILED,  # T10
        (_S.RUNNING, _E.CANCELLED): _S.CANCELLED,  # T13
        (_S.PAUSED, _E.DEVICE_BACK): _S.QUEUED,  # T7, through dispatch again: a new fence
        (_S.PAUSED, _E.RECOVERED): _S.QUEUED,  # T7
        (_S.PAUSED, _E.MODEL_BACK): _S.QUEUED,  # T7
        (_S.PAUSED, _E.HUB_BACK): _S.QUEUED,  # T7
        (_S.PAUSED, _E.USER_RESUMED): _S.QUEUED,  # T7
        (_S.PAUSED, _E.FAILED): _S.FAILED,  # T11
        (_S.PAUSED, _E.CANCELLED): _S.CANCELLED,  # T12
    },
)


class PauseReason(StrEnum):
    """Why a run is PAUSED."""

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
    """How a finished run went."""

    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"


def outcome_of(*, units_done: int, errors: int) -> RunOutcome:
    """The outcome of a run that came to its end; *units_done* are the settled ones, known or new."""
    if errors == 0:
        return RunOutcome.SUCCESS
    return RunOutcome.PARTIAL if units_done > 0 else RunOutcome.ERROR


class UnitState(StrEnum):
    """Where one file or message of a run stands."""

    PENDING = "PENDING"
    EXTRACTED = "EXTRACTED"  # its plan of calls is committed
    DONE = "DONE"
    SKIPPED = "SKIPPED"  # the ledger knows it, or it was left out on purpose: then its error says why
    FAILED = "FAILED"


class UnitEvent(Enum):
    """What happened to a unit."""

    PLANNED = auto()
    POSTPONED = auto()  # what rules found in it is delivered; its prose waits for the model
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
    """Where one call of the outbox stands."""

    PLANNED = "PLANNED"
    SENT = "SENT"
    ACKED = "ACKED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"  # sent as often as it may be, never answered


class CallEvent(Enum):
    """What happened to a call."""

    SENT = auto()  # may have left; it is repeated with the same id until it is answered
    ACKED = auto()
    REJECTED = auto()
    GIVEN_UP = auto()


CALL: Table[CallState, CallEvent] = Table(
    "call",
    CallState.PLANNED,
    {
        (CallState.PLANNED, CallEvent.SENT): CallState.SENT,
        (CallState.SENT, CallEvent.SENT): CallState.SENT,
        (CallState.SENT, CallEvent.ACKED): CallState.ACKED,
        (CallState.SENT, CallEvent.REJECTED): CallState.REJECTED,
        (CallState.SENT, CallEvent.GIVEN_UP): CallState.UNKNOWN,
    },
)


class AgentStatus(StrEnum):
    """What an agent reports of itself in a hello or heartbeat."""

    IDLE = "idle"
    ON_CALL = "on_call"
    BUSY = "busy"
    EXHAUSTED = "exhausted"
    OFFLINE = "offline"
