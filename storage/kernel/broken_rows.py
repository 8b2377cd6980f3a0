"""Search for broken rows: values that the schema forbids, which another program wrote or a disk damaged.

The hub writes no such row. It reads them as far as it can: an unknown word of an enum and text that is no
JSON as they are, text that is no UTF-8 with U+FFFD. ``rows.fill`` then refuses the row.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from storage.kernel.columns import FIRST_INSTANT, LAST_INSTANT, Doc, Flag, is_instant
from storage.schema import metadata

SHOWN: Final = 20  # broken rows of one table and cause


class BrokenRow(NamedTuple):
    """Row with a value that the schema forbids. *key*: values of its primary key; *what*: what is wrong."""

    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"row {self.table} {self.key}: {self.what}"


class Place(NamedTuple):
    """Place in the tables where a search continues. *after*: primary key of the last row examined."""

    table: str
    after: tuple[Any, ...] | None = None


FIRST_PLACE: Final = Place(metadata.sorted_tables[0].name)


def broken_rows(c: sa.Connection, *, without: frozenset[str] = frozenset()) -> list[BrokenRow]:
    """Return the broken rows of all tables but *without*, up to SHOWN of each cause."""
    return [
        row for table in metadata.sorted_tables if table.name not in without for row in _broken_in(c, table)
    ]


def broken_from(c: sa.Connection, place: Place, *, most: int) -> tuple[list[BrokenRow], Place | None]:
    """Return the broken rows among *most* rows at *place*, and the next place; ``None`` after the last."""
    table = metadata.tables[place.table]
    key = sa.tuple_(*table.primary_key)
    part = sa.true() if place.after is None else key > _literal(table, place.after)
    end = c.execute(
        sa.select(*table.primary_key).where(part).order_by(*table.primary_key).offset(most - 1).limit(1)
    ).one_or_none()
    if end is not None:
        return list(_broken_in(c, table, part & (key <= _literal(table, end)))), Place(table.name, tuple(end))
    names = [one.name for one in metadata.sorted_tables]
    following = names[names.index(table.name) + 1 :]
    return list(_broken_in(c, table, part)), Place(following[0]) if following else None


def _literal(table: sa.Table, key: Sequence[Any]) -> sa.Tuple:
    return sa.tuple_(
        *(sa.literal(value, one.type) for value, one in zip(key, table.primary_key, strict=True))
    )


def _broken_in(
    c: sa.Connection, table: sa.Table, part: sa.ColumnElement[bool] | None = None
) -> Iterator[BrokenRow]:
    faults = dict(_faults(table, c.dialect))
    if c.dialect.name == "sqlite":
        driver = c.connection.driver_connection
        driver = getattr(driver, "_conn", driver)
        assert isinstance(driver, sqlite3.Connection)
        driver.create_function("hub_is_utf8", 1, _is_utf8, deterministic=True)
        faults = dict(_faults_in_file(table, c.dialect)) | faults
    found: list[sa.ColumnElement[Any]] = [
        sa.literal_column(f"CASE WHEN {is_wrong} THEN 1 ELSE 0 END") for is_wrong in faults.values()
    ]
    any_wrong = " OR ".join(f"({is_wrong})" for is_wrong in faults.values())
    query = sa.select(*table.primary_key, *found).where(sa.literal_column(f"({any_wrong})", sa.Boolean))
    if part is not None:
        query = query.where(part)
    shown: Counter[str] = Counter()
    width = len(table.primary_key)
    for row in c.execute(query, execution_options={"compiled_cache": None}):
        for what, is_wrong in zip(faults, row[width:], strict=True):
            if is_wrong and shown[what] < SHOWN:
                shown[what] += 1
                yield BrokenRow(table.name, ", ".join(map(str, row[:width])), what)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# Conditions as SQL text: to compile expressions of all tables took 0.4 s at each start of the hub.
_Faults = Iterator[tuple[str, str]]


def _faults_in_file(table: sa.Table, dialect: sa.Dialect) -> _Faults:
    """Return conditions of values that a server refuses by their type: a file takes what it is given."""
    for column in table.columns:
        value = _spelled(column, dialect)
        kind = "text"
        if isinstance(column.type, sa.LargeBinary):
            kind = "blob"
        elif not isinstance(column.type, sa.Text | sa.TypeDecorator) or isinstance(column.type, Flag):
            kind = "real" if isinstance(column.type, sa.Float) else "integer"
        yield f"{column.name} is no {kind}", f"typeof({value}) NOT IN ('{kind}', 'null')"
        if kind == "text":
            is_other = f"hub_is_utf8(CAST({value} AS BLOB)) <> 1"
            yield f"{column.name} is no UTF-8", f"CASE WHEN typeof({value}) = 'text' THEN {is_other} END"
        if isinstance(column.type, Doc):
            is_json = f"CASE WHEN {value} IS NOT NULL THEN json_valid({value}) END"
            yield f"{column.name} is no JSON", f"({is_json}) = 0"


def _faults(table: sa.Table, dialect: sa.Dialect) -> _Faults:
    """Return conditions of rows that the schema forbids, wherever they are.

    A database enforces most of it, but constraints can be switched off or dropped.
    """
    for column in table.columns:
        value = _spelled(column, dialect)
        if not column.nullable:
            # no "IS NULL": SQLite takes from NOT NULL that it is false
            yield f"{column.name} is missing", f"coalesce({value}, NULL) IS NULL"
        if isinstance(column.type, Doc):
            yield from _faults_of_document(column, value, dialect.name)
        elif is_instant(column):
            yield f"{column.name} is no time", f"{value} NOT BETWEEN {FIRST_INSTANT} AND {LAST_INSTANT}"
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            is_json = str(constraint.name).endswith("_json")  # named above
            if constraint.info.get("dialect") in (None, dialect.name) and not is_json:
                yield f"violates {constraint.name}", f"NOT ({constraint.sqltext})"
        elif isinstance(constraint, sa.ForeignKeyConstraint):
            quote = dialect.identifier_preparer.quote
            parent = constraint.referred_table.name
            values = [_spelled(key.parent, dialect) for key in constraint.elements]
            keys = [f"referred.{quote(key.column.name)}" for key in constraint.elements]
            same = " AND ".join(f"{key} = {value}" for key, value in zip(keys, values, strict=True))
            refers = " AND ".join(f"{value} IS NOT NULL" for value in values)
            is_found = f"EXISTS (SELECT 1 FROM {quote(parent)} AS referred WHERE {same})"
            names = ", ".join(key.parent.name for key in constraint.elements)
            yield f"{names} refers to no row of {parent}", f"{refers} AND NOT {is_found}"


def _spelled(column: sa.Column[Any], dialect: sa.Dialect) -> str:
    return dialect.identifier_preparer.format_column(column, use_table=True)


def _faults_of_document(column: sa.Column[Any], value: str, dialect: str) -> _Faults:
    shape: Any = column.type.shape if isinstance(column.type, Doc) else Any
    if shape is Any:
        return
    kind = "array" if shape.__origin__ is list else "object"
    is_kind = f"CASE WHEN json_valid({value}) THEN json_type({value}) END"
    if dialect == "postgresql":
        is_kind = f"jsonb_typeof({value})"
    yield f"{column.name} is no JSON {kind}", f"({is_kind}) <> '{kind}'"
    if (value_shape := shape.__args__[-1]) is Any:
        return
    # names of a type in JSON and on PostgreSQL, and in SQLite's json_each
    names = {str: ("string", "text"), int: ("number", "integer")}
    member, type_ = names.get(value_shape, ("object", "object"))
    has_other = (
        f"CASE WHEN json_valid({value}) AND json_type({value}) = '{kind}' THEN"
        f" EXISTS (SELECT 1 FROM json_each({value}) WHERE type <> '{type_}') END"
    )
    if dialect == "postgresql":
        each = "$[*]" if kind == "array" else "$.*"
        path = f"""{each} ? (@.type() <> "{member}")"""
        has_other = f"jsonb_typeof({value}) = '{kind}' AND jsonb_path_exists({value}, '{path}')"
    yield f"{column.name} has a value that is no JSON {member}", has_other
