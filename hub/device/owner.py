"""What the owner of a device does with what was found: approve it, or reject it.

Writes into the device's file beside the device that serves it, as any program of
the owner's may. The device notices, and tells its hub.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from hub.device import proposals, rows, verdicts
from hub.device.inserts import DeviceFileError, connect_beside
from hub.device.rows import Refusal
from hub.device.verdicts import Review


class UnknownNumber(DeviceFileError):
    """No row that a hub wrote has this number, its owner has removed it, or a hub has changed it since."""


class NotApproved(DeviceFileError):
    """A row cannot be approved or removed as it is; nothing was changed."""


def approve(path: Path, numbers: Sequence[int | str], *, at_ms: int, deletes: bool = False) -> list[str]:
    """Approve these items, or what is proposed for them, all or none; return their titles.

    Args:
        numbers: of the items as they are now; or their labels, as they were listed.
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


def reject(path: Path, numbers: Sequence[int | str]) -> list[str]:
    """Remove these items, or leave them as they are where a change is proposed, all or none.

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
def _reviews(path: Path, numbers: Sequence[int | str]) -> Iterator[tuple[sqlite3.Connection, list[Review]]]:
    """The rows of these numbers or labels, in a transaction that ends with the block."""
    try:
        with closing(connect_beside(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            there = [review for review in verdicts.reviews(db) if review.row is not None]
            known: dict[int | str, Review] = {review.number: review for review in there}
            known |= {review.label: review for review in there}
            if missing := [number for number in numbers if number not in known]:
                raise UnknownNumber(_unknown(missing, known))
            chosen = {known[number].number: known[number] for number in numbers}
            try:
                yield db, list(chosen.values())
            except Refusal as refusal:
                raise NotApproved(f"{refusal}; nothing was changed") from refusal
            db.execute("COMMIT")  # what was raised before it is rolled back with the connection
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def _unknown(missing: Sequence[int | str], known: Mapping[int | str, Review]) -> str:
    """Say which items are not there, or not as they were listed."""
    told: list[str] = []
    for label in map(str, missing):
        review = known.get(int(label.partition(".")[0]))
        told.append(
            f"there is no item {label}"
            if review is None
            else f"a hub has changed item {label} since it was listed: it is {review.label} now"
        )
    return f"{'; '.join(told)}; 'hub review' lists what waits; nothing was changed"


def _title(review: Review) -> str:
    assert review.row is not None
    return str(review.row[review.table.title])
