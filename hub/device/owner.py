"""What the owner of a device does with what was found: approve it, or reject it.

Writes into the device's file beside the device that serves it, as any program of
the owner's may. The device notices, and tells its hub.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from hub.device import proposals, rows, verdicts
from hub.device.inserts import DeviceFileError, connect_beside
from hub.device.rows import Refusal
from hub.device.verdicts import Review


class UnknownNumber(DeviceFileError):
    """No row that a hub wrote has this number, or its owner has removed it."""


class NotApproved(DeviceFileError):
    """A row cannot be approved or removed as it is; nothing was changed."""


def approve(path: Path, numbers: Sequence[int], *, at_ms: int, deletes: bool = False) -> list[str]:
    """Approve the items of these numbers, or what is proposed for them, all or none; return their titles.

    Args:
        deletes: delete an item where that is what is proposed; without it that is NotApproved.

    Raises:
        UnknownNumber, NotApproved: see there; nothing was changed.
        DeviceFileError: it is no device's file, or the disk refuses.
    """
    with _reviews(path, numbers) as (db, chosen):
        for review in chosen:
            proposal = proposals.of_row(db, review.table.name, review.row_id)
            if proposal is None:
                rows.update(db, review.table, review.row_id, {"isApproved": 1}, at_ms)
            elif proposal.data is None and not deletes:
                raise NotApproved(f"{review.number}: the hub would delete it; nothing was changed")
            else:
                proposals.accept(db, review.table, review.row_id, proposal, at_ms)
        return [_title(review) for review in chosen]


def reject(path: Path, numbers: Sequence[int]) -> list[str]:
    """Remove the items of these numbers, or leave them as they are where a change is proposed, all or none.

    Return their titles. Raises as ``approve`` does.
    """
    with _reviews(path, numbers) as (db, chosen):
        for review in chosen:
            if proposals.of_row(db, review.table.name, review.row_id) is None:
                rows.delete(db, review.table, review.row_id)
            else:
                proposals.reject(db, review.table, review.row_id)
        return [_title(review) for review in chosen]


@contextmanager
def _reviews(path: Path, numbers: Sequence[int]) -> Iterator[tuple[sqlite3.Connection, list[Review]]]:
    """The rows of these numbers, in a transaction that ends with the block."""
    try:
        with closing(connect_beside(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            known = {review.number: review for review in verdicts.reviews(db) if review.row is not None}
            missing = [number for number in numbers if number not in known]
            if missing:
                told = ", ".join(map(str, missing))
                raise UnknownNumber(f"there is no item {told}; 'hub review' lists those there are")
            try:
                yield db, [known[number] for number in dict.fromkeys(numbers)]
            except Refusal as refusal:
                raise NotApproved(f"{refusal}; nothing was changed") from refusal
            db.execute("COMMIT")  # what was raised before it is rolled back with the connection
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def _title(review: Review) -> str:
    assert review.row is not None
    return str(review.row[review.table.title])
