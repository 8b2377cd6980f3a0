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

from hub.device import grants, proposals, rows, verdicts
from hub.device.edits import Editor
from hub.device.inserts import DeviceFileError, connect_beside
from hub.device.proposals import Proposal
from hub.device.rows import Refusal
from hub.device.verdicts import Review
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import TABLES, Column, DeviceTable

_TITLE_CHARACTERS: Final = 120  # of an item, in a sentence about it
_MOST_NAMED: Final = 8  # items in a sentence


class UnknownNumber(DeviceFileError):
    """No row that a hub wrote has this number, its owner has removed it, or it is another revision."""


class Decided(msgspec.Struct, frozen=True):
    """What became of items, a sentence each: of those that were done, and of those left as they are."""

    done: list[str]
    refused: list[str]


def approve(
    path: Path,
    numbers: Sequence[int | str],
    *,
    at_ms: int,
    deletes: bool = False,
    fields: Mapping[str, str] | None = None,
) -> Decided:
    """Approve these items, or what is proposed for them; one that cannot be so keeps no other from it.

    Args:
        numbers: of the items as they are now; or their labels, as they were listed.
        deletes: delete an item where that is what is proposed; without it that is refused.
        fields: what to fill in before, as ``edit`` takes it.

    Raises:
        UnknownNumber: see there; nothing was changed.
        DeviceFileError: it is no device's file, or the disk refuses.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        proposal = proposals.of_row(db, review.table.name, review.row_id)
        if proposal is not None and proposal.data is None:
            if not deletes:
                raise _left("the hub would delete it; to agree, add --deletions")
            _refuse_referred(db, review)
            proposals.accept(db, review.table, review.row_id, proposal, at_ms)
            return f"deleted: {_title(review)}"
        filled, told = Editor(db, at_ms).read(review.table, fields or {})
        if proposal is not None:
            filled = {**(proposal.data or {}), **filled}
            proposals.accept(db, review.table, review.row_id, Proposal(proposal.call_id, filled), at_ms)
        else:
            _refuse_incomplete(review, filled)
            rows.update(db, review.table, review.row_id, {**filled, "isApproved": 1}, at_ms)
        return f"approved: {_title(review, filled)}{told}"

    return _decide(path, numbers, decide)


def edit(path: Path, numbers: Sequence[int | str], fields: Mapping[str, str], *, at_ms: int) -> Decided:
    """Change fields of these items, as their owner types them. Raises as ``approve``.

    An open item stays open, with words of its owner: no hub changes it any more.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        filled, told = Editor(db, at_ms).read(review.table, fields)
        rows.update(db, review.table, review.row_id, filled, at_ms)
        title = _title(review, filled)
        return f"changed {', '.join(filled)}: {review.label}  {review.table.name}  {title}{told}"

    return _decide(path, numbers, decide)


def reject(path: Path, numbers: Sequence[int | str], *, deletes: bool = False) -> Decided:
    """Remove these items, or drop what is proposed for them and leave them as they are.

    Items that refer to others of *numbers* are removed before those.

    Args:
        deletes: delete an approved item as well, whatever is proposed for it; without it that is refused.

    Raises as ``approve``.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        assert review.row is not None
        is_deleted = deletes and review.row["isApproved"]
        if proposals.of_row(db, review.table.name, review.row_id) is not None and not is_deleted:
            proposals.reject(db, review.table, review.row_id)
            return f"stays as it was: {_title(review)}; what the hub proposed is rejected"
        if review.row["isApproved"] and not deletes:
            raise _left("you have approved it; to delete it, add --approved")
        _refuse_referred(db, review)
        rows.delete(db, review.table, review.row_id)
        return f"{'deleted' if review.row['isApproved'] else 'rejected'}: {_title(review)}"

    return _decide(path, numbers, decide)


def lacking(table: DeviceTable, row: Record) -> Column | None:
    """Return the column that *row* must have a value in before it can be approved."""
    return next((c for c in table.columns if c.required_to_approve and row.get(c.name) is None), None)


def _refuse_referred(db: sqlite3.Connection, review: Review) -> None:
    """Raises Refusal: other rows refer to this one; they are named by their labels, or as the owner's."""
    found = [
        (table.name, row_id)
        for table in TABLES.values()
        for column in table.columns
        if column.refers_to == review.table.name
        for row_id in rows.ids_of(db, table, {column.name: review.row_id})
    ]
    if not found:
        return
    labels = {(one.table.name, one.row_id): one.label for one in verdicts.reviews(db)}
    named = list(dict.fromkeys(labels.get(key, f"{key[0]} of your own") for key in found))
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    told = ", ".join(named[:_MOST_NAMED]) + more
    raise _left(f"{told} belong to it; reject them with it, or let them belong to another first")


def _depth(table: DeviceTable) -> int:
    """Return how many tables stand above *table*: what refers to a row goes before it."""
    above = [TABLES[column.refers_to] for column in table.columns if column.refers_to is not None]
    return max((1 + _depth(one) for one in above), default=0)


def _refuse_incomplete(review: Review, filled: Record) -> None:
    assert review.row is not None
    if (column := lacking(review.table, {**review.row, **filled})) is not None:
        name = column.name.removesuffix("Id")
        raise _left(f"it needs a {name}; approve it with --{name} TITLE")


def _left(why: str) -> Refusal:
    return Refusal(ErrorCode.BAD_RECORD, why)


def _decide(
    path: Path, numbers: Sequence[int | str], decide: Callable[[sqlite3.Connection, Review], str]
) -> Decided:
    """Do *decide* to each item by itself, in one transaction."""
    decided = Decided([], [])
    with _reviews(path, numbers) as (db, chosen):
        for review in sorted(chosen, key=lambda review: -_depth(review.table)):
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


def change_grants(path: Path, hub: str, changes: Sequence[str]) -> dict[str, list[str]]:
    """Change what the owner grants *hub*, by its key, and return what is granted then.

    Args:
        changes: as ``grants.changed`` takes them; none: nothing is changed.

    Raises:
        BadGrant: one of them is none; nothing was changed.
        DeviceFileError: it is no device's file, or the disk refuses.
    """
    try:
        with closing(connect_beside(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            after = grants.changed(grants.of_hub(db, hub), changes)
            grants.put(db, hub, after)
            db.execute("COMMIT")
            return after
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


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
        number, _, revision = label.partition(".")
        review = known.get(int(number))
        if review is None:
            told.append(f"there is no item {label}")
        elif int(revision or 1) > review.revision:
            told.append(f"item {number} has no change {revision}: type {review.label}")
        else:
            told.append(f"a hub has changed item {label} since it was listed: it is {review.label} now")
    return f"{'; '.join(told)}; 'hub review' lists what waits; nothing was changed"


def _title(review: Review, changed: Record | None = None) -> str:
    """Return what an item is called, once it is *changed*."""
    assert review.row is not None
    return str({**review.row, **(changed or {})}[review.table.title])[:_TITLE_CHARACTERS]
