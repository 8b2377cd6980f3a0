"""Classification of the error that ended an attempt of a run.

Selects the decisive error of several, and returns the state change of the run. Pure, except for the jitter of
waiting times.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from hub.clock import Chance
from hub.extraction.model import ModelExhausted, ModelUnavailable
from hub.log import Channel
from hub.runs.asking import NoModel
from hub.runs.batching import BatchPending
from hub.runs.run_order import RunOrder
from hub.runs.sources import DeviceStalled, NotTakenOn
from protocol.errors import DeliveryError, DeviceGone, DeviceOffline, ErrorCode
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.devices.devices import NotGranted
from storage.kernel.database import Conflict, DiskFull, StorageError
from storage.runs.runs import StaleRun

log = Channel(__name__)

RETRY_BASE_S, RETRY_CAP_S = 30.0, 3600.0
SENT_BACK_BASE_S, SENT_BACK_CAP_S = 1.0, 60.0
FULL_CAP_S = 5.0  # when the disk is full, its guard keeps the run waiting anyway


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """End of an attempt: the run is moved by *event*."""

    event: RunEvent
    reason: str | None = None
    outcome: RunOutcome | None = None
    wait_s: float | None = None
    exhausted: ModelExhausted | None = None


def ending_of(
    exc: Exception, order: RunOrder, state: RunState, chance: Chance, *, is_model_away: bool = False
) -> Ending:
    """Return how an attempt in *state* ends after the error *exc*.

    Args:
        is_model_away: True if the unavailable model answers no run at all, so the run waits for it.
    """
    match exc:
        case ModelUnavailable() if is_model_away and state is RunState.RUNNING:
            return Ending(event=RunEvent.MODEL_AWAY, reason=f"the run waits for the model: {exc}")
        case NotTakenOn(busy=True) if state is RunState.PREPARING:
            wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, SENT_BACK_CAP_S)
            return Ending(event=RunEvent.SENT_BACK, reason=str(exc), wait_s=wait_s)
        case BatchPending():
            return Ending(event=RunEvent.SENT_BACK, reason=str(exc), wait_s=exc.wait_s)
        case NotTakenOn() | NoModel() | NotGranted():
            return Ending(event=RunEvent.FAILED, reason=str(exc), outcome=RunOutcome.ERROR)
        case ModelExhausted():
            return Ending(event=RunEvent.EXHAUSTED, reason=str(exc), exhausted=exc)
        case DeviceGone() | DeviceOffline():
            return Ending(event=RunEvent.DEVICE_LOST, reason=str(exc))
        case DeliveryError() | DeviceStalled() | ModelUnavailable() | StorageError():
            is_outage = isinstance(exc, StorageError) and not isinstance(exc, Conflict)
            if state is RunState.PREPARING or is_outage:
                cap_s = FULL_CAP_S if isinstance(exc, DiskFull) else SENT_BACK_CAP_S
                wait_s = _wait(chance, order.dispatches, SENT_BACK_BASE_S, cap_s)
                return Ending(event=RunEvent.SENT_BACK, reason=str(exc), wait_s=wait_s)
            if order.attempt < order.max_attempts:
                return retried(str(exc), order, chance)
            reason = f"given up after {order.attempt} attempts: {exc}"
            return Ending(event=RunEvent.FAILED, reason=reason, outcome=RunOutcome.ERROR)
        case _:
            log.error("run.broke", exc=wordless(exc))
            reason = f"{ErrorCode.INTERNAL}: {type(exc).__name__}"
            return Ending(event=RunEvent.FAILED, reason=reason, outcome=RunOutcome.ERROR)


def retried(reason: str, order: RunOrder, chance: Chance) -> Ending:
    """Return an ending with another attempt after a wait."""
    wait_s = _wait(chance, order.attempt - 1, RETRY_BASE_S, RETRY_CAP_S)
    return Ending(event=RunEvent.RETRIED, reason=reason, wait_s=wait_s)


def _wait(chance: Chance, tries: int, base_s: float, cap_s: float) -> float:
    """Return the seconds before the next attempt, after *tries* earlier attempts."""
    longest: float = min(cap_s, base_s * 2.0 ** min(tries, 30))
    return longest * chance.uniform(0.5, 1.0)


# Precedence when several units fail at the same time, most severe first.
_EXPECTED: Final[tuple[type[Exception], ...]] = (
    StaleRun,
    DeviceGone,
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


def wordless(broken: Exception) -> Exception:
    """Return an error with only the type and traceback of *broken*, for logs.

    Error messages may quote parts of a document.
    """
    return RuntimeError(type(broken).__name__).with_traceback(broken.__traceback__)


def _leaves(exc: Exception) -> Iterator[Exception]:
    if isinstance(exc, ExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc
