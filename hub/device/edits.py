"""Parsing of item fields that the owner types: human-readable dates, and rows by title.

Plain functions over a connection, inside the caller's transaction.
"""

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from hub.clock import IdFactory, SystemChance, SystemClock, epoch_ms
from hub.device import rows, verdicts
from hub.device.rows import Refusal
from hub.device.schema import quoted
from protocol.errors import ErrorCode
from protocol.frame import Field, Record
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName

_OWNERS: Final = frozenset({Filler.MODEL, Filler.PERSON})  # columns that an owner may fill
_OWN: Final[Record] = {"isAiSuggested": 0, "isApproved": 1}
_SHOWN: Final = 80  # characters of the typed text that a message quotes


class Editor:
    """Parser of typed fields to column values; creates or approves the projects that they name."""

    def __init__(self, db: sqlite3.Connection, at_ms: int) -> None:
        self._db = db
        self._at_ms = at_ms

    def read(self, table: DeviceTable, typed: Mapping[str, str]) -> tuple[Record, str]:
        """Return values by column, and the end of a sentence that reports created or approved projects.

        The name of a column that refers to a row may omit its ``Id``. Its value is the row's title, review
        number or id. A missing project is created.

        Raises:
            Refusal: the field does not exist, or the value has the wrong type.
        """
        values: Record = {}
        told = ""
        for name, text in typed.items():
            column = _column(table, name)
            if column.refers_to is not None and text:
                values[column.name], more = self._row(TABLES[column.refers_to], _utf8(column, text))
                told += more
            else:
                values[column.name] = _value(column, text)
        return values, told

    def _row(self, table: DeviceTable, text: str) -> tuple[str, str]:
        """Return the id of the row of *table* that *text* names, and a report of a created project.

        The report may also be about a project that was approved; it is empty otherwise.
        """
        title = quoted(table.title)
        there = self._db.execute(f"SELECT id, {title}, isApproved FROM {quoted(table.name)}").fetchall()
        numbered = verdicts.row_of(self._db, table, text)
        found = (
            [row for row in there if row["id"] in (text, numbered)]
            or [row for row in there if row[1] == text]
            or [row for row in there if row[1].casefold() == text.casefold()]
        )
        if len(found) > 1:
            raise _wrong(f"{len(found)} {table.name} are called {_cut(text)}: name one by its number or id")
        is_made = table.name is TableName.PROJECTS
        if not found and is_made:
            row_id = IdFactory(SystemClock(), SystemChance()).fresh()
            rows.insert(self._db, table, row_id, {table.title: text}, self._at_ms, flags=_OWN)
            return row_id, f"; the project {_cut(text)} is new"
        if not found:
            near = get_close_matches(text, [row[1] for row in there], n=1)
            hint = f"did you mean {_cut(near[0])}?" if near else "'hub review ls --all' lists those there are"
            raise _wrong(f"{table.name}: there is no {_cut(text)}; {hint}")
        (row,) = found
        if is_made and not row["isApproved"]:
            rows.update(self._db, table, row["id"], {"isApproved": 1}, self._at_ms)
            return row["id"], f"; the project {_cut(row[1])} is approved with it"
        return row["id"], ""


def _column(table: DeviceTable, name: str) -> Column:
    known = {column.name: column for column in table.columns if column.filler in _OWNERS}
    column = known.get(name) or known.get(f"{name}Id")
    if column is None:
        others = [one.name for one in TABLES.values() if any(c.name == f"{name}Id" for c in one.columns)]
        if others:
            raise _wrong(f"{table.name} belong to no {name}; {', '.join(others)} do")
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise _wrong(f"{table.name} have no field {_cut(name)}; {hint}")
    return column


def _value(column: Column, text: str) -> Field:
    if not text:
        if column.required or column.required_to_approve or column.default is not None:
            raise _wrong(f"{column.name} cannot be empty")
        return None
    text = _utf8(column, text)
    match column.kind:
        case Kind.EPOCH_MS:
            try:
                return epoch_ms(datetime.fromisoformat(text).astimezone())  # without a zone: this machine's
            except (ValueError, OverflowError, OSError):
                told = f"{column.name}: expected a time as 2027-02-03 or '2027-02-03 15:00', got {_cut(text)}"
                raise _wrong(told) from None
        case Kind.NAMES:
            return [name.strip() for name in text.split(",") if name.strip()]
        case _:
            return text


def _utf8(column: Column, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(f"{column.name}: this is no UTF-8") from None
    return text


def _cut(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _wrong(why: str) -> Refusal:
    return Refusal(ErrorCode.BAD_RECORD, why)
