"""Items that a hub holds because its rules are unsure of them: list, verdicts, and rows approved ahead.

The connected device asks its hub for them. An approval is stored here, with a digest of what was seen, before
the hub gets it. So the row is approved in the transaction that inserts it, whatever is killed; a row other
than the seen one comes as a suggestion. All functions block.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from hub.device import owner_requests
from hub.device.declared_tables import tables_of
from hub.device.device_file import connect_shared
from hub.device.owner import OwnerDecisions
from hub.device.schema import transaction
from hub.device.titled_rows import titles_of_referred
from hub.device.verdicts import APPROVALS_AHEAD, is_approved_ahead, seen_ahead
from protocol.coordination import Method

HeldVerdict = Literal["approve", "reject", "undo"]
LABEL_CHARACTERS: Final = 6
UNSURE_COMMAND: Final = "hub review ls --unsure"
_DONE: Final = {
    "approve": "approved, it comes in a moment",
    "reject": "rejected",
    "undo": "waits again",
}


class HeldItem(msgspec.Struct, frozen=True):
    """Item that the hub holds. *call_id*: of the call that would bring it; *data*: with dates as texts.

    *marks*: words of it that are marks of its task list.
    """

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
    marks: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """Digest of all that its owner is shown, a number that a page can repeat."""
        return 1 + int.from_bytes(hashlib.blake2b(msgspec.json.encode(self), digest_size=6).digest())


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


def label_of(item: HeldItem) -> str:
    """Return the label by which an owner names an item: ``u`` and the end of its id."""
    return f"u{item.id[-LABEL_CHARACTERS:]}"


def decide_held(path: Path, found: HeldItems, labels: Sequence[str], verdict: HeldVerdict) -> OwnerDecisions:
    """Give a verdict on items of *found*, as shown, by labels. Return sentences. Raises DeviceFileError."""
    held = {label_of(item): item for item in found.items}
    unknown = [f"the hub holds no item {label}: {UNSURE_COMMAND}" for label in labels if label not in held]
    items = [held[label] for label in labels if label in held]
    results = judge_held(path, items, verdict) if items else []
    pairs = list(zip(items, results, strict=True))
    done = [f"{_DONE[verdict]}: {item.title}" for item, problem in pairs if problem is None]
    refused = [f"{label_of(item)}: {problem}" for item, problem in pairs if problem is not None]
    return OwnerDecisions(done, unknown + refused)


def judge_held(path: Path, items: Sequence[HeldItem], verdict: HeldVerdict) -> list[str | None]:
    """Give a verdict on items that the hub holds. Return what is wrong with each, or None.

    Raises:
        DeviceFileError: the disk fails.
    """
    with connect_shared(path) as db:
        ids = [(item.call_id, _seen(db, item)) for item in items]
        with transaction(db):
            db.execute(APPROVALS_AHEAD)
            # A refusal of a second approval takes nothing from the first one.
            new = [id for id in ids if not is_approved_ahead(db, *id)]
            if verdict == "approve":
                db.executemany("INSERT INTO approvals_ahead VALUES (?, ?)", new)
            else:
                db.executemany("DELETE FROM approvals_ahead WHERE call_id = ?", [(id,) for id, _ in ids])
        results = _asked(path, items, verdict)
        refused = {id for id, problem in zip(ids, results, strict=True) if problem}
        with transaction(db):
            stale = refused.intersection(new)
            db.executemany("DELETE FROM approvals_ahead WHERE call_id = ? AND seen = ?", stale)
    return results


def _seen(db: sqlite3.Connection, item: HeldItem) -> str:
    table = tables_of(db).get(item.table)
    titles = titles_of_referred(db, table, item.data) if table else {}
    return seen_ahead(item.table, item.data, item.quote, item.warnings, titles=titles, marks=item.marks)


def _asked(path: Path, items: Sequence[HeldItem], verdict: HeldVerdict) -> list[str | None]:
    verdicts = [{"id": item.id, "call_id": item.call_id, "verdict": verdict} for item in items]
    try:
        answer = owner_requests.ask_hub(
            path.with_suffix(owner_requests.SUFFIX), Method.HELD_JUDGE, {"verdicts": verdicts}
        )
        problem = answer.problem or "the hub gave no answer that this device can read"
        results = msgspec.convert(answer.result.get("results", []), list[str | None])
    except msgspec.ValidationError:
        results = []
    except (OSError, AttributeError):  # some systems have no such sockets
        problem, results = "the device is not connected to its hub; start it: hub connect", []
    return results if len(results) == len(items) else [problem] * len(items)
