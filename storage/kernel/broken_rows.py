"""Search for broken rows: values that the schema forbids, which another program wrote or a disk damaged.

The hub writes no such row. It reads them as far as it can: an unknown word of an enum and text that is no
JSON as they are, text that is no UTF-8 with U+FFFD. ``rows.fill`` then refuses the row.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

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
    faults = dict(_faults(table, c.dialect.name))
    if c.dialect.name == "sqlite":
        driver = c.connection.driver_connection
        driver = getattr(driver, "_conn", driver)
        assert isinstance(driver, sqlite3.Connection)
        driver.create_function("hub_is_utf8", 1, _is_utf8, deterministic=True)
        faults = dict(_faults_in_file(table)) | faults
    found = [sa.case((is_wrong, 1), else_=0) for is_wrong in faults.values()]
    query = sa.select(*table.primary_key, *found).where(sa.or_(*faults.values()))
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


_Faults = Iterator[tuple[str, sa.ColumnElement[bool]]]


def _faults_in_file(table: sa.Table) -> _Faults:
    """Return conditions of values that a server refuses by their type: a file takes what it is given."""
    for column in table.columns:
        stored = sa.type_coerce(column, sa.Text)
        kind = "text"
        if isinstance(column.type, sa.LargeBinary):
            kind = "blob"
        elif not isinstance(column.type, sa.Text | sa.TypeDecorator) or isinstance(column.type, Flag):
            kind = "real" if isinstance(column.type, sa.Float) else "integer"
        yield f"{column.name} is no {kind}", sa.func.typeof(stored).not_in([kind, "null"])
        if kind == "text":
            is_text = sa.func.hub_is_utf8(sa.cast(stored, sa.LargeBinary)) == 1
            yield f"{column.name} is no UTF-8", sa.case((sa.func.typeof(stored) == "text", sa.not_(is_text)))
        if isinstance(column.type, Doc):
            yield f"{column.name} is no JSON", sa.case((stored.is_not(None), sa.func.json_valid(stored))) == 0


def _faults(table: sa.Table, dialect: str) -> _Faults:
    """Return conditions of rows that the schema forbids, wherever they are.

    A database enforces most of it, but constraints can be switched off or dropped.
    """
    for column in table.columns:
        if not column.nullable:
            # no "IS NULL": SQLite takes from NOT NULL that it is false
            yield f"{column.name} is missing", sa.func.coalesce(column, sa.null()).is_(None)
        if isinstance(column.type, Doc):
            yield from _faults_of_document(column)
        elif is_instant(column):
            yield f"{column.name} is no time", sa.not_(column.between(FIRST_INSTANT, LAST_INSTANT))
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            is_json = str(constraint.name).endswith("_json")  # named above
            if constraint.info.get("dialect") in (None, dialect) and not is_json:
                holds: sa.ColumnElement[bool] = sa.literal_column(f"({constraint.sqltext})")
                yield f"violates {constraint.name}", sa.not_(holds)
        elif isinstance(constraint, sa.ForeignKeyConstraint):
            parent = constraint.referred_table.alias("referred")
            pairs = [(key.parent, parent.c[key.column.name]) for key in constraint.elements]
            found = sa.exists().where(*(other == here for here, other in pairs)).select_from(parent)
            refers = sa.and_(*(here.is_not(None) for here, _ in pairs))
            names = ", ".join(here.name for here, _ in pairs)
            yield f"{names} refers to no row of {constraint.referred_table.name}", refers & ~found


def _faults_of_document(column: sa.Column[Any]) -> _Faults:
    shape: Any = column.type.shape if isinstance(column.type, Doc) else Any
    if shape is Any:
        return
    kind = "array" if shape.__origin__ is list else "object"
    yield f"{column.name} is no JSON {kind}", _JsonKind(column) != kind
    value = {str: "string", Any: None}.get(shape.__args__[-1], "object")
    if value is not None:
        yield f"{column.name} has a value that is no JSON {value}", _JsonHasOther(column, kind, value)


class _JsonKind(sa.sql.functions.FunctionElement[str]):
    """Type of a JSON value: array, object, string, ...; NULL for what is no JSON."""

    type = sa.Text()
    inherit_cache = True


@compiles(_JsonKind)
def _kind_in_file(element: _JsonKind, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    value = compiler.process(element.clauses, **asked)
    return f"CASE WHEN json_valid({value}) THEN json_type({value}) END"


@compiles(_JsonKind, "postgresql")
def _kind_on_server(element: _JsonKind, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    return f"jsonb_typeof({compiler.process(element.clauses, **asked)})"


class _JsonHasOther(sa.sql.functions.FunctionElement[bool]):
    """Truth that a JSON array or object has a value of another type than *value*."""

    type = sa.Boolean()
    inherit_cache = False

    def __init__(self, column: sa.Column[Any], kind: str, value: str) -> None:
        super().__init__(column)
        self.kind, self.value = kind, value


@compiles(_JsonHasOther)
def _other_in_file(element: _JsonHasOther, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    document = compiler.process(element.clauses, **asked)
    value = "text" if element.value == "string" else element.value
    return (
        f"CASE WHEN json_valid({document}) AND json_type({document}) = '{element.kind}' THEN"
        f" EXISTS (SELECT 1 FROM json_each({document}) WHERE type <> '{value}') END"
    )


@compiles(_JsonHasOther, "postgresql")
def _other_on_server(element: _JsonHasOther, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    document = compiler.process(element.clauses, **asked)
    each = "$[*]" if element.kind == "array" else "$.*"
    return (
        f"(jsonb_typeof({document}) = '{element.kind}'"
        f""" AND jsonb_path_exists({document}, '{each} ? (@.type() <> "{element.value}")'))"""
    )
