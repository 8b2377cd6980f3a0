"""Broken rows of every kind, made from the schema and written past its constraints.

A fault is a value in one column of one row that another program or a damaged disk could leave there. Around
each there is a world: a row in its table and in every table that this row refers to, whose ids and names are
the name of the world. A whole world has a row in every table.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from protocol.keys import key_id
from storage.kernel.columns import Choice, Doc, Flag, Reported
from storage.schema import metadata

AT: Final = 1_767_000_000_000
_ONE_OF: Final = re.compile(r"(\w+) IN \('([^']*)'")
# values beside the first word of each choice, the name of the world, 1 as a number and AT as an instant
_OWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "failed_attempts": {"recent": "[1, 2]"},
    "posted": {"body": b"{}"},
    "schedules": {"kind": "every", "every_ms": 60_000, "tz": "UTC"},
    "wakes": {"ends_at": AT + 1},
}
_KEY_IDS: Final[Mapping[str, Sequence[str]]] = {"device_keys": ["id"], "pairings": ["key_id"]}
# what each world has of its own
_WORLD: Final = "<world>"
_KEY_ID: Final = "<key id>"
_SEQ: Final = "<seq>"
# tried in turn until a constraint is violated
_TEXTS: Final = ("'nonsense'", "''", f"'{'x' * 256}'", "NULL")
_NUMBERS: Final = ("-1", "0", "1", "99", "9999", f"{AT + 2}", "NULL")


class Fault(NamedTuple):
    """Change that breaks a row.

    Attributes:
        part: column or constraint that it breaks.
        kind: json, shape, element, check, reference, null, type, text (no UTF-8) or instant.
        change: SQL of the new values.
    """

    table: str
    part: str
    kind: str
    change: str

    @property
    def world(self) -> str:
        """Name of the world that has this fault."""
        return f"{self.table}.{self.part}.{self.kind}".replace("_", "-")

    @property
    def statement(self) -> str:
        """SQL that breaks the row of the world: the one that has its name in a column."""
        row = dict(_pattern())[self.table]
        column = next(name for name, value in row.items() if value in (_WORLD, _WORLD.encode()))
        return f"UPDATE {self.table} SET {self.change} WHERE {column} = '{self.world}'"


@cache
def faults() -> tuple[Fault, ...]:
    """Return a fault of each kind for each column that it can be of."""
    with sa.create_engine("sqlite://").connect() as c:
        metadata.create_all(c)
        c.exec_driver_sql("PRAGMA ignore_check_constraints=on")
        for table, row in _rows("w", 0):
            c.execute(sa.insert(metadata.tables[table]), row)
        return tuple(fault for table in metadata.sorted_tables for fault in _faults_of(c, table))


def _faults_of(c: sa.Connection, table: sa.Table) -> Iterator[Fault]:
    for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
        if isinstance(constraint, sa.CheckConstraint) and "json_valid(" not in str(constraint.sqltext):
            yield _violation(c, table, constraint)
    for column in table.columns:
        for kind, value in _values_of(column):
            yield Fault(table.name, column.name, kind, f"{column.name} = {value}")


def _values_of(column: sa.Column[Any]) -> Iterator[tuple[str, str]]:
    """Yield each kind of fault that a column can have by itself, and its value."""
    if isinstance(column.type, Doc):
        yield "json", "'no'"
        is_list = getattr(column.type.shape, "__origin__", None) is list
        if column.type.shape is not Any:
            yield "shape", """'{"a": "b"}'""" if is_list else """'["a"]'"""
            if column.type.shape.__args__[-1] is not Any:
                yield "element", "'[null]'" if is_list else """'{"a": null}'"""
    if column.foreign_keys:
        yield "reference", f"{column.name} || '-gone'"
    elif not column.primary_key:
        if not column.nullable:
            yield "null", "NULL"
        if isinstance(column.type, sa.Text | Choice | Reported):
            yield "type", "x'ff'"
            yield "text", "CAST(x'ff' AS TEXT)"
        elif not isinstance(column.type, Doc):
            yield "type", "'abc'"
        if column.name.endswith("_at") or column.name == "at":
            yield "instant", "9000000000000000000"


def _violation(c: sa.Connection, table: sa.Table, constraint: sa.CheckConstraint) -> Fault:
    """Return the first values of one or two columns in the constraint that violate it."""
    check = str(constraint.sqltext)
    words, texts = set(re.findall(r"\w+", check)), (*_TEXTS, *re.findall(r"'\w+'", check))
    sets = [
        [
            f"{column.name} = {value}"
            for value in (texts if isinstance(column.type, sa.Text | Choice | Reported) else _NUMBERS)
        ]
        for column in table.columns
        if column.name in words
    ]
    pairs = (pair for first, second in combinations(sets, 2) for pair in product(first, second))
    for changes in (*((one,) for each in sets for one in each), *pairs):
        if _violates(c, table.name, ", ".join(changes), check):
            return Fault(table.name, str(constraint.name), "check", ", ".join(changes))
    raise AssertionError(f"no value violates {table.name} {check}")


def _violates(c: sa.Connection, table: str, changes: str, check: str) -> bool:
    tried = c.begin_nested()
    try:
        c.exec_driver_sql(f"UPDATE {table} SET {changes}")
        return bool(c.exec_driver_sql(f"SELECT 1 FROM {table} WHERE NOT ({check})").all())
    except sa.exc.IntegrityError:
        return False
    finally:
        tried.rollback()


def _rows(world: str, number: int, fault: Fault | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a world, each of which refers only to rows before it. *number*: of the world."""
    own = {
        _WORLD: world,
        _WORLD.encode(): world.encode(),
        _KEY_ID: key_id(world.encode()),
        _SEQ: 1_000 + number,
    }
    for table, row in _pattern():
        if fault is None or table in _needed(fault.table):
            yield table, {name: own.get(value, value) for name, value in row.items()}


@cache
def _needed(table: str) -> frozenset[str]:
    """Return the names of a table and of those that its rows refer to."""
    parents = {key.column.table.name for key in metadata.tables[table].foreign_keys} - {table}
    return frozenset([table]).union(*map(_needed, parents))


_NUMBERED: Final = {"audit_log": ("seq",), "item_words": ("number",), "settings_revisions": ("number",)}


@cache
def _pattern() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return a row of every table, with marks where each world has a value of its own."""
    rows = []
    for table in metadata.sorted_tables:
        choices: dict[str, str] = {}
        for constraint in table.constraints:
            if isinstance(constraint, sa.CheckConstraint):
                for column, first in _ONE_OF.findall(str(constraint.sqltext)):
                    choices.setdefault(column, first)
        row = {column.name: _value(column, choices) for column in table.columns}
        own = dict(_OWN.get(table.name, {})) | dict.fromkeys(_NUMBERED.get(table.name, ()), _SEQ)
        own |= dict.fromkeys(_KEY_IDS.get(table.name, ()), _KEY_ID)
        rows.append((table.name, {name: value for name, value in row.items() if value is not None} | own))
    return tuple(rows)


def _value(column: sa.Column[Any], choices: Mapping[str, str]) -> Any:
    """Return the value of a column, or None for its default."""
    if column.foreign_keys:
        return _WORLD
    if column.nullable or column.server_default is not None:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return _WORLD.encode()
    if isinstance(column.type, sa.Text | Choice | Reported):
        return choices.get(column.name, _WORLD)
    if isinstance(column.type, Flag):
        return False
    return AT if column.name.endswith("at") else 1


def _worlds(planted: Sequence[Fault], whole: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, name in enumerate(whole):
        yield from _rows(name, number)
    for number, fault in enumerate(planted, len(whole)):
        yield from _rows(fault.world, number, fault)


def plant(path: Path, planted: Sequence[Fault], whole: Sequence[str] = ()) -> None:
    """Write a world of each fault into the file *path*, and worlds without faults, named *whole*."""
    with closing(sqlite3.connect(path, isolation_level=None)) as c:
        c.execute("PRAGMA writable_schema = on")
        as_declared = c.execute("SELECT rowid, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        loose = [(_loose(sql), rowid) for rowid, sql in as_declared if sql is not None]
        c.executemany("UPDATE sqlite_master SET sql = ? WHERE rowid = ?", loose)
    with closing(sqlite3.connect(path, isolation_level=None)) as c:
        for pragma in ("writable_schema = on", "foreign_keys = off", "ignore_check_constraints = on"):
            c.execute(f"PRAGMA {pragma}")
        c.execute("BEGIN")
        for table, row in _worlds(planted, whole):
            marks = ", ".join("?" * len(row))
            c.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        for fault in planted:
            c.execute(fault.statement)
        c.executemany("UPDATE sqlite_master SET sql = ? WHERE rowid = ?", [(b, a) for a, b in as_declared])
        c.execute("COMMIT")


_DROP: Final = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT conrelid::regclass AS of_table, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.of_table, one.conname); END LOOP;
END $$"""


def script_for_server(planted: Sequence[Fault], whole: Sequence[str] = ()) -> str:
    """Return SQL for a server that drops its constraints and writes the worlds as ``plant`` does."""
    statements = [_DROP]
    for table, row in _worlds(planted, whole):
        values = ", ".join(map(_literal, row.values()))
        statements.append(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})")
    return ";\n".join([*statements, *(fault.statement for fault in planted)])


def _literal(value: Any) -> str:
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _loose(sql: str) -> str:
    """Return the statement of a table without NOT NULL and STRICT."""
    return re.sub(r",?\s*STRICT\s*$", "", re.sub(r"(?<!IS) NOT\s+NULL(?=,|\s*\n)", "", sql))
