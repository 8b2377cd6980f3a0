"""Approval, edit and rejection of rows by a device's owner, checks of edited fields, and answers.

The functions write to the device's file while the device may be serving it, as any program of the owner may.
The device detects decisions and answers, and reports them to its hub.

An owner types fields of items as people write them: dates, and rows by their titles.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Final

import msgspec

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.dates import DAY, begin_of, day_at
from hub.base.name_lists import listed
from hub.device import declared_tables, grants, messages, proposals, rows, verdicts
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.items import DeviceItem, read_items, shown_repeats
from hub.device.messages import StoredQuestion
from hub.device.proposals import Proposal
from hub.device.rows import CallRefusal, bad_record
from hub.device.schema import transaction
from hub.device.titled_rows import cut, row_called
from hub.device.verdicts import Review
from protocol.agent_messages import QuestionState
from protocol.calls import ANSWER_CHARACTERS
from protocol.frame import Field, Record
from protocol.similar_names import did_you_mean
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, plain_choice

_TITLE_CHARACTERS: Final = 120  # of an item's title in a sentence
_MAX_NAMED: Final = 8  # items in a sentence


class OwnerDecisions(msgspec.Struct, frozen=True):
    """Results of a decision: a sentence for each changed item, and for each item left unchanged."""

    done: list[str]
    refused: list[str]


def approve(
    path: Path,
    numbers: Sequence[int | str],
    *,
    at_ms: int,
    deletes: bool = False,
    fields: Mapping[str, str] | None = None,
    also: Collection[str] = (),
) -> OwnerDecisions:
    """Approve items, or accept their proposed changes; an item that cannot be approved affects no other.

    Args:
        numbers: current numbers of the items, or their labels as listed.
        deletes: accept proposed deletions; otherwise they are refused.
        fields: values to fill in first, as for ``edit``.
        also: labels of waiting items that the owner saw as the same thing; they are removed with it.

    Raises:
        DeviceFileError: a number or label names no item; nothing was changed.
        DeviceFileError: the file is not a device's, or the disk fails.
    """

    items = read_items(path) if also else []

    def decide(db: sqlite3.Connection, review: Review) -> str:
        proposal = proposals.of_row(db, review.table.name, review.row_id)
        if proposal is not None and proposal.data is None:
            if not deletes:
                raise bad_record("the hub would delete it; to agree, add --deletions")
            _refuse_referred(db, review)
            proposals.accept(db, review.table, review.row_id, proposal, at_ms)
            return f"deleted: {_title(review)}"
        timezone = verdicts.timezone_of(db, review.call_id)
        filled, report = read_fields(db, review.table, fields or {}, at_ms, timezone)
        if proposal is not None:
            filled = {**(proposal.data or {}), **filled}
            proposals.accept(db, review.table, review.row_id, Proposal(proposal.call_id, filled), at_ms)
        else:
            assert review.row is not None
            if (column := lacking(review.table, {**review.row, **filled})) is not None:
                raise bad_record(f"it {remedy(column, review.label)}")
            rows.update(db, review.table, review.row_id, {**filled, "isApproved": 1}, at_ms)
            report += _remove_repeats(db, shown_repeats(items, review.number, also))
        return f"approved: {_title(review, filled)}{report}"

    return _decide(path, numbers, decide)


def _remove_repeats(db: sqlite3.Connection, others: Iterable[DeviceItem]) -> str:
    """Remove waiting items that are as they were compared. Return the end of a sentence that counts them."""
    removed = 0
    for other in others:
        table, row_id = other.declaration, other.row_id
        row = rows.find(db, table, row_id)
        is_same = row is not None and {**row, **other.data} == row and not row["isApproved"]
        if is_same and not _referring(db, table, row_id):
            rows.delete(db, table, row_id)
            removed += 1
    return f"; {removed} more of the same thing settled with it" if removed else ""


def edit(
    path: Path, numbers: Sequence[int | str], fields: Mapping[str, str], *, at_ms: int
) -> OwnerDecisions:
    """Change fields of items, as their owner types them. Raises as ``approve``.

    An open item stays open, but counts as edited by its owner: hubs cannot change it any more.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        timezone = verdicts.timezone_of(db, review.call_id)
        filled, report = read_fields(db, review.table, fields, at_ms, timezone)
        rows.update(db, review.table, review.row_id, filled, at_ms)
        proposals.drop_done(db, review.table, review.row_id)
        title = _title(review, filled)
        return f"changed {', '.join(filled)}: {review.label}  {review.table.name}  {title}{report}"

    return _decide(path, numbers, decide)


def reject(path: Path, numbers: Sequence[int | str], *, deletes: bool = False) -> OwnerDecisions:
    """Remove items, or reject their proposed changes and leave the items unchanged.

    Items that refer to other items of *numbers* are removed first.

    Args:
        deletes: also delete approved items, with or without a proposal; otherwise that is refused.

    Raises as ``approve``.
    """

    def decide(db: sqlite3.Connection, review: Review) -> str:
        assert review.row is not None
        is_deleted = deletes and review.row["isApproved"]
        if proposals.of_row(db, review.table.name, review.row_id) is not None and not is_deleted:
            proposals.reject(db, review.table, review.row_id)
            return f"stays as it was: {_title(review)}; what the hub proposed is rejected"
        if review.row["isApproved"] and not deletes:
            raise bad_record("you have approved it; to delete it, add --approved")
        _refuse_referred(db, review)
        rows.delete(db, review.table, review.row_id)
        return f"{'deleted' if review.row['isApproved'] else 'rejected'}: {_title(review)}"

    return _decide(path, numbers, decide)


def lacking(table: DeviceTable, row: Record) -> Column | None:
    """Return the column that *row* needs a value in before it can be approved, or None."""
    return next(
        (c for c in table.columns if c.required_to_approve and row.get(c.name) in (None, "", [])), None
    )


def remedy(column: Column, label: str) -> str:
    """Return what the approval of an item needs, and the command that gives it."""
    if column.refers_to is None:
        return f"needs a value of {column.name}: hub review edit {label} {column.name}=VALUE"
    name = column.name.removesuffix("Id")
    return f"needs a {name}: hub review approve {label} --{name} TITLE"


def _refuse_referred(db: sqlite3.Connection, review: Review) -> None:
    """Refuse to remove a row that other rows refer to; the Refusal names them by label, or as the owner's."""
    found = _referring(db, review.table, review.row_id)
    if not found:
        return
    labels = {(review.table.name, review.row_id): review.label for review in verdicts.reviews(db)}
    named = list(dict.fromkeys(labels.get(key, f"{key[0]} of your own") for key in found))
    shown = listed(named, _MAX_NAMED)
    raise bad_record(f"{shown} belong to it; reject them with it, or let them belong to another first")


def _referring(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> list[tuple[str, str]]:
    """Return the tables and ids of the rows that refer to a row."""
    return [
        (other.name, id)
        for other in declared_tables.tables_of(db).values()
        for column in other.columns
        if column.refers_to == table.name
        for id in rows.ids_of(db, other, {column.name: row_id})
    ]


def _depth(table: DeviceTable) -> int:
    """Return the depth of *table* in the hierarchy; referring rows are deleted before their targets."""
    above = [TABLES[column.refers_to] for column in table.columns if column.refers_to is not None]
    return max((1 + _depth(referred) for referred in above), default=0)


def _decide(
    path: Path, numbers: Sequence[int | str], decide: Callable[[sqlite3.Connection, Review], str]
) -> OwnerDecisions:
    """Apply *decide* to each item, each within its own savepoint of one transaction."""
    decided = OwnerDecisions([], [])
    with _reviews(path, numbers) as (db, chosen):
        for review in sorted(chosen, key=lambda review: -_depth(review.table)):
            db.execute("SAVEPOINT one_item")
            try:
                decided.done.append(decide(db, review))
            except CallRefusal as refusal:
                db.execute("ROLLBACK TO one_item")
                decided.refused.append(
                    f"left as it is: {review.label}  {review.table.name}  {_title(review)}: {refusal}"
                )
            db.execute("RELEASE one_item")
    return decided


def change_grants(path: Path, hub: str, changes: Sequence[str]) -> dict[str, list[str]]:
    """Change the owner's grants to *hub*, identified by its key, and return the new grants.

    Args:
        changes: as for ``grants.changed``; may be empty.

    Raises:
        BadGrant: a change is invalid; nothing was changed.
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    with connect_shared(path) as db, transaction(db):
        return grants.change(db, hub, changes)


@contextmanager
def _reviews(path: Path, numbers: Sequence[int | str]) -> Iterator[tuple[sqlite3.Connection, list[Review]]]:
    """Yield the rows of these numbers or labels, in a transaction that ends with the block."""
    with connect_shared(path) as db, transaction(db):
        existing = [review for review in verdicts.reviews(db) if review.row is not None]
        known: dict[int | str, Review] = {review.number: review for review in existing}
        known |= {review.label: review for review in existing}
        if missing := [number for number in numbers if number not in known]:
            raise DeviceFileError(_unknown(missing, known))
        chosen = {known[number].number: known[number] for number in numbers}
        yield db, list(chosen.values())


def _unknown(missing: Sequence[int | str], known: Mapping[int | str, Review]) -> str:
    """Describe which items do not exist, or have another revision."""
    problems: list[str] = []
    for label in map(str, missing):
        number, _, revision = label.partition(".")
        review = known.get(int(number))
        if review is None:
            problems.append(f"there is no item {label}")
        elif int(revision or 1) > review.revision:
            problems.append(f"item {number} has no change {revision}: type {review.label}")
        else:
            problems.append(f"a hub has changed item {label} since it was listed: it is {review.label} now")
    return f"{'; '.join(problems)}; 'hub review' lists what waits; nothing was changed"


def _title(review: Review, changed: Record | None = None) -> str:
    """Return the title of an item after the changes in *changed*."""
    assert review.row is not None
    return str({**review.row, **(changed or {})}[review.table.title])[:_TITLE_CHARACTERS]


_OWNERS: Final = frozenset({Filler.MODEL, Filler.PERSON})  # columns that an owner may fill


def read_fields(
    db: sqlite3.Connection, table: DeviceTable, typed: Mapping[str, str], at_ms: int, timezone: str | None
) -> tuple[Record, str]:
    """Return values by column, and the end of a sentence that reports created or approved projects.

    The name of a column that refers to a row may omit its ``Id``. Its value is the row's title, review
    number or id. A missing project is created.

    Args:
        timezone: the zone in which the days of the row begin; None: that of this machine.

    Raises:
        Refusal: the field does not exist, or the value has the wrong type.
    """
    values: Record = {}
    report = ""
    for name, text in typed.items():
        column = _column(table, name)
        if column.refers_to is not None and text:
            referred = TABLES[column.refers_to]
            values[column.name], more = row_called(db, referred, _utf8(column, text), at_ms)
            report += more
        else:
            values[column.name] = _value(column, text, timezone)
    return values, report


def typed(column: Column, value: Field, timezone: str | None) -> str:
    """Return the text that an owner types for a value; days begin in *timezone*, or as on this machine."""
    match value:
        case None:
            return ""
        case int() if column.kind is Kind.EPOCH_MS:
            at = from_epoch_ms(value).astimezone()
            begins_day = timezone is None and at.time() == time()
            day = at.date() if begins_day else day_at(value, timezone)
            seconds = f":{at:%S}" if at.second else ""
            return f"{at:%Y-%m-%d %H:%M}{seconds}" if day is None else day.isoformat()
        case list():
            return ", ".join(value)
        case int() if column.kind is Kind.FLAG:
            return "yes" if value else "no"
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            return str(value)


def _column(table: DeviceTable, name: str) -> Column:
    known = {column.name: column for column in table.columns if column.filler in _OWNERS}
    column = known.get(name) or known.get(f"{name}Id")
    if column is None:
        others = [
            other.name for other in TABLES.values() if any(c.name == f"{name}Id" for c in other.columns)
        ]
        if others:
            raise bad_record(f"{table.name} belong to no {name}; {', '.join(others)} do")
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise bad_record(f"{table.name} have no field {cut(name)}; {hint}")
    return column


_FLAGS: Final = {"yes": 1, "true": 1, "1": 1, "no": 0, "false": 0, "0": 0}


def _value(column: Column, text: str, timezone: str | None) -> Field:
    if not text:
        if column.required or column.required_to_approve or column.default is not None:
            raise bad_record(f"{column.name} cannot be empty")
        return None
    text = _utf8(column, text)
    match column.kind:
        case Kind.EPOCH_MS:
            try:
                if DAY.fullmatch(text):
                    return begin_of(date.fromisoformat(text), timezone)
                return epoch_ms(datetime.fromisoformat(text).astimezone())  # without a zone: this machine's
            except (KeyError, ValueError, OverflowError, OSError):
                problem = (
                    f"{column.name}: expected a time as 2027-02-03 or '2027-02-03 15:00', got {cut(text)}"
                )
                raise bad_record(problem) from None
        case Kind.NAMES:
            return [name.strip() for name in text.split(",") if name.strip()]
        case Kind.NUMBER:
            try:
                return float(text)
            except ValueError:
                raise bad_record(f"{column.name}: expected a number as 12.5, got {cut(text)}") from None
        case Kind.FLAG:
            if text.lower() not in _FLAGS:
                raise bad_record(f"{column.name}: expected yes or no, got {cut(text)}")
            return _FLAGS[text.lower()]
        case _ if column.choices:
            return next(
                (choice for choice in column.choices if plain_choice(choice) == plain_choice(text)), text
            )
        case _:
            return text


def _utf8(column: Column, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_record(f"{column.name}: this is no UTF-8") from None
    return text


def read_questions(path: Path) -> list[StoredQuestion]:
    """Return every question that the device received, the oldest first.

    Raises:
        DeviceFileError: the file does not exist, is not a device's, or the disk fails.
    """
    with connect_shared(path) as db:
        return messages.list_questions(db)


def answer(path: Path, number: int, text: str, *, at_ms: int) -> StoredQuestion:
    """Answer the question with this number and return its new state.

    Raises:
        DeviceFileError, DeviceFileError: no such question, or an answer that is refused.
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    content = text.replace("\0", "").strip()
    if not content:
        raise DeviceFileError("an answer has words")
    if len(content) > ANSWER_CHARACTERS:
        raise DeviceFileError(f"an answer has at most {ANSWER_CHARACTERS} characters, not {len(content)}")
    with connect_shared(path) as db, transaction(db):
        known = {question.number: question for question in messages.list_questions(db)}
        if number not in known:
            raise DeviceFileError(f"there is no question {number}; 'hub answer' lists those there are")
        if not messages.write_answer(db, number, content, at_ms):
            raise DeviceFileError(f"question {number} {_why_not(known[number])}")
        return next(question for question in messages.list_questions(db) if question.number == number)


def _why_not(question: StoredQuestion) -> str:
    match question.state:
        case QuestionState.WITHDRAWN:
            return "was withdrawn: no answer is expected any more"
        case QuestionState.EXPIRED:
            return "has expired: no answer is expected any more"
        case _:
            return f"was answered by {question.settled_by or 'you'}: {question.answer}"
