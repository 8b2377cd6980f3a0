"""Items that a hub holds because its rules are unsure of them: list, verdicts, and rows approved ahead.

The connected device asks its hub for them. An approval is stored here before the hub gets it, so that the row
is approved in the transaction that inserts it, whatever is killed in between. All functions block.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from hub.device import owner_requests
from hub.device.device_file import connect_shared
from hub.device.schema import transaction
from hub.device.verdicts import APPROVED_AHEAD
from protocol.coordination import Method

HeldVerdict = Literal["approve", "reject", "undo"]


class HeldItem(msgspec.Struct, frozen=True):
    """Item that the hub holds. *call_id*: of the call that would bring it; *data*: with dates as texts."""

    id: str
    call_id: str
    table: str
    title: str
    path: str
    quote: str
    created_at: datetime
    data: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    evidence: str | None = None


class HeldItems(msgspec.Struct, frozen=True):
    """Newest items that the hub holds for a device, and the number of all."""

    items: tuple[HeldItem, ...] = ()
    total: int = 0


def list_held(path: Path) -> HeldItems:
    """Return what the hub holds for the device of the file at *path*; nothing while it is not connected."""
    try:
        answer = owner_requests.ask_hub(path.with_suffix(owner_requests.SUFFIX), Method.HELD_LIST, {})
        return msgspec.convert(answer.result, HeldItems)
    except (OSError, AttributeError, msgspec.ValidationError):  # some systems have no such sockets
        return HeldItems()


def judge_held(path: Path, items: Sequence[HeldItem], verdict: HeldVerdict) -> list[str | None]:
    """Give a verdict on items that the hub holds. Return what is wrong with each, or None.

    Raises:
        DeviceFileError: the disk fails.
    """
    ids = [(item.call_id,) for item in items]
    with connect_shared(path) as db:
        if verdict == "approve":
            with transaction(db):
                db.execute(APPROVED_AHEAD)
                db.executemany("INSERT OR IGNORE INTO approved_ahead VALUES (?)", ids)
        results = _asked(path, items, verdict)
        refused = (
            ids if verdict == "undo" else [id for id, problem in zip(ids, results, strict=True) if problem]
        )
        with transaction(db):
            db.execute(APPROVED_AHEAD)
            db.executemany("DELETE FROM approved_ahead WHERE call_id = ?", refused)
    return results


def _asked(path: Path, items: Sequence[HeldItem], verdict: HeldVerdict) -> list[str | None]:
    verdicts = [{"id": item.id, "call_id": item.call_id, "verdict": verdict} for item in items]
    try:
        answer = owner_requests.ask_hub(
            path.with_suffix(owner_requests.SUFFIX), Method.HELD_JUDGE, {"verdicts": verdicts}
        )
        problem = answer.problem
        results = [] if problem else msgspec.convert(answer.result.get("results"), list[str | None])
    except (OSError, AttributeError, msgspec.ValidationError):
        problem, results = "the device is not connected to its hub; start it: hub connect", []
    return results if len(results) == len(items) else [problem or "the hub gave no answer"] * len(items)
