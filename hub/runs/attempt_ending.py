"""Outcome of an attempt by the error that ended it: retry, pause or failure, and after which wait.

The decisive error of several determines the state change. This is pure, except for the jitter of waiting
times.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from hub.base.clock import Chance
from hub.base.log import Channel
from hub.extraction.model import ModelExhausted, ModelUnavailable
from hub.runs.asking import NoModel
from hub.runs.batches import BatchPending
from hub.runs.delivery import TableRefused
from hub.runs.run_order import RunOrder
from hub.runs.sources import DeviceStalled, NotTakenOn
from protocol.errors import DeliveryError, DeviceOffline, ErrorCode, HubError, LinkLost
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.devices.devices import NotGranted
from storage.executing_runs import StaleRun
from storage.kernel.database import Conflict, StorageError

log = Channel(__name__)

RETRY_BASE_S, RETRY_CAP_S = 30.0, 3600.0
SENT_BACK_BASE_S, SENT_BACK_CAP_S = 1.0, 60.0
FULL_CAP_S = 5.0  # when the disk is full, its guard keeps the run waiting anyway


class AttemptEnding(msgspec.Struct, frozen=True, kw_only=True):
    """End of an attempt: the run is moved by *event*.

    *error*: what went wrong, if the run is tried again; a run that only waits has none. *code*: stable word
    for the reason, if it failed. *is_followed*: another run reads at once what this one left.
    """

    event: RunEvent
    reason: str | None = None
    error: str | None = None
    code: str = "run_failed"
    outcome: RunOutcome | None = None
    wait_s: float | None = None
    exhausted: ModelExhausted | None = None
    is_followed: bool = False


def ending_of(
    exc: Exception, order: RunOrder, state: RunState, chance: Chance, *, is_model_away: bool = False
) -> AttemptEnding:
    """Return how an attempt in *state* ends after the error *exc*.

    Args:
        is_model_away: True if the unavailable model answers no run at all, so the run waits for it.
    """
    match exc:
        case ModelUnavailable() if is_model_away and state is RunState.RUNNING:
            return AttemptEnding(event=RunEvent.MODEL_AWAY, reason=f"the run waits for the model: {exc}")
        case NotTakenOn(busy=True) if state is RunState.PREPARING:
            wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, SENT_BACK_CAP_S)
            return AttemptEnding(event=RunEvent.SENT_BACK, reason=str(exc), error=str(exc), wait_s=wait_s)
        case BatchPending():
            return AttemptEnding(event=RunEvent.SENT_BACK, reason=str(exc), wait_s=exc.wait_s)
        case NotTakenOn() | NoModel() | NotGranted() | TableRefused():
            code = exc.reason if isinstance(exc, NotTakenOn) else exc.code
            return AttemptEnding(event=RunEvent.FAILED, reason=str(exc), code=code, outcome=RunOutcome.ERROR)
        case ModelExhausted():
            return AttemptEnding(event=RunEvent.EXHAUSTED, reason=str(exc), exhausted=exc)
        case LinkLost() | DeviceOffline():
            return AttemptEnding(event=RunEvent.DEVICE_LOST, reason=str(exc))
        case DeliveryError() | DeviceStalled() | ModelUnavailable() | StorageError():
            is_outage = isinstance(exc, StorageError) and not isinstance(exc, Conflict)
            if state is RunState.PREPARING or is_outage:
                is_full = isinstance(exc, StorageError) and exc.trouble == "full"
                cap_s = FULL_CAP_S if is_full else SENT_BACK_CAP_S
                wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, cap_s)
                return AttemptEnding(event=RunEvent.SENT_BACK, reason=str(exc), error=str(exc), wait_s=wait_s)
            if order.attempt < order.max_attempts:
                wait_s = _wait(chance, order.attempt - 1, RETRY_BASE_S, RETRY_CAP_S)
                return AttemptEnding(event=RunEvent.RETRIED, reason=str(exc), error=str(exc), wait_s=wait_s)
            reason = f"given up after {order.attempt} attempts: {exc}"
            return AttemptEnding(
                event=RunEvent.FAILED, reason=reason, code=exc.code, outcome=RunOutcome.ERROR
            )
        case HubError() if exc.code.startswith("unknown_"):
            reason = f"what the run uses was removed meanwhile: {exc}"
            return AttemptEnding(
                event=RunEvent.FAILED, reason=reason, code=exc.code, outcome=RunOutcome.ERROR
            )
        case _:
            log.error("run.broke", exc=wordless(exc))
            code, reason = ErrorCode.INTERNAL, f"{ErrorCode.INTERNAL}: {type(exc).__name__}"
            return AttemptEnding(event=RunEvent.FAILED, reason=reason, code=code, outcome=RunOutcome.ERROR)


def _wait(chance: Chance, tries: int, base_s: float, cap_s: float) -> float:
    """Return the seconds before the next attempt, after *tries* earlier attempts."""
    longest: float = min(cap_s, base_s * 2.0 ** min(tries, 30))
    return longest * chance.uniform(0.5, 1.0)


def wordless(broken: Exception) -> Exception:
    """Return an error with only the type and traceback of *broken*, for logs.

    Error messages may quote parts of a document.
    """
    return RuntimeError(type(broken).__name__).with_traceback(broken.__traceback__)


# Precedence when several units fail at the same time, most severe first.
_EXPECTED: Final[tuple[type[Exception], ...]] = (
    StaleRun,
    LinkLost,
    DeviceOffline,
    DeliveryError,
    ModelExhausted,
    ModelUnavailable,
    NotTakenOn,
    NotGranted,
    NoModel,
    BatchPending,
    DeviceStalled,
    StorageError,
)


def gravest(exc: Exception) -> Exception:
    """Return the decisive error of a group; an unexpected error comes first, so that it is noticed."""
    leaves = list(_leaves(exc))
    unexpected = [leaf for leaf in leaves if not isinstance(leaf, _EXPECTED)]
    if unexpected:
        return unexpected[0]
    return min(leaves, key=lambda leaf: next(i for i, kind in enumerate(_EXPECTED) if isinstance(leaf, kind)))


def _leaves(exc: Exception) -> Iterator[Exception]:
    if isinstance(exc, ExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc
