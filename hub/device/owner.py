"""What the owner of a device does with what was found: approve it, or reject it.

Writes into the device's file beside the device that serves it, as any program of
the owner's may. The device notices, and tells its hub.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hub.device import proposals, rows, verdicts
from hub.device.inserts import DeviceFileError, connect_beside
from hub.device.rows import Refusal
from hub.device.verdicts import Review
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import Column, DeviceTable

_TITLE_CHARACTERS: Final = 120  # of an item, in a sentence about it


class UnknownNumber(DeviceFileError):
    """No row that a hub wrote has this number, its owner has removed it, or a hub has changed it since."""


class Decided(msgspec.Struct, frozen=True):
    """What became of items, a sentence each: of those that were done, and of those left as they are."""

    done: list[str]
    refused: list[str]


def approve(path: Path, numbers: Sequence[int | str], *, at_ms: int, deletes: bool = False) -> Decided:
    """Approve these items, or what is proposed for them; one that cannot be so keeps no other from it.

    Args:
        numbers: of the items as they are now; or their labels, as they were listed.
        deletes: delete an item where that is what is proposed; without it that is refused.

    Raises:
        UnknownNumber: see there; nothing was changed.
        DeviceFileError: it is no device's file, or the disk refuses.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        proposal = proposals.of_row(db, review.table.name, review.row_id)
        if proposal is None:
            _refuse_incomplete(review)
            rows.update(db, review.table, review.row_id, {"isApproved": 1}, at_ms)
        elif proposal.data is None and not deletes:
            raise _left("the hub would delete it; to agree, add --deletions")
        else:
            proposals.accept(db, review.table, review.row_id, proposal, at_ms)
            if proposal.data is None:
                return f"deleted: {_title(review)}"
        return f"approved: {_title(review)}"

    return _decide(path, numbers, decide)


def reject(path: Path, numbers: Sequence[int | str]) -> Decided:
    """Remove these items, or leave them as they are where a change is proposed. Raises as ``approve``."""

    def decide(db: sqlite3.Connection, review: Review) -> str:
        if proposals.of_row(db, review.table.name, review.row_id) is None:
            rows.delete(db, review.table, review.row_id)
        else:
            proposals.reject(db, review.table, review.row_id)
        return f"rejected: {_title(review)}"

    return _decide(path, numbers, decide)


def lacking(table: DeviceTable, row: Record) -> Column | None:
    """Return the column that *row* must have a value in before it can be approved."""
    return next((c for c in table.columns if c.required_to_approve and row.get(c.name) is None), None)


def _refuse_incomplete(review: Review) -> None:
    assert review.row is not None
    if (column := lacking(review.table, review.row)) is not None:
        raise _left(f"{column.name} is required to approve it")


def _left(why: str) -> Refusal:
    return Refusal(ErrorCode.BAD_RECORD, why)


def _decide(
    path: Path, numbers: Sequence[int | str], decide: Callable[[sqlite3.Connection, Review], str]
) -> Decided:
    """Do *decide* to each item by itself, in one transaction."""
    decided = Decided([], [])
    with _reviews(path, numbers) as (db, chosen):
        for review in chosen:
            db.execute("SAVEPOINT one_item")
            try:
                decided.done.append(decide(db, review))
            except Refusal as refusal:
                db.execute("ROLLBACK TO one_item")
                decided.refused.append(
                    f"left as it is: {review.label}  {review.table.name}  {_title(review)}: {refusal}"
                )
            db.execute("RELEASE one_item")
    return decided


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
            yield db, list(chosen.values())
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
    return str(review.row[review.table.title])[:_TITLE_CHARACTERS]
