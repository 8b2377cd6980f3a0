"""Comparison of a database's tables with this release, and its schema version.

The expected tables are created from the schema for a moment and never committed. The database then spells
both sets in its own words. So a database that went through every migration is compared with a database that
was created from scratch.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import anyio.to_thread
import sqlalchemy as sa

from storage.change_triggers import make_triggers, trigger_names
from storage.kernel.address import SERVER
from storage.kernel.database import WAL, DatabaseUnavailable, StorageError, file_of, translation
from storage.kernel.identity import find_hub_id
from storage.kernel.migrate import (
    VERSION_TABLE,
    BrokenRow,
    broken_rows,
    make_tables,
    refusal_in,
    revision_in,
    revisions,
)
from storage.schema import hub

T = TypeVar("T")
_JOURNAL: Final = "-journal"  # suffix of what SQLite notes beside a file to undo a change


class SchemaVersion(NamedTuple):
    """Schema revision of a database compared with this release. Revisions have four digits.

    Attributes:
        current: revision of the existing tables; ``None`` without tables.
        missing: revisions of this release that the database lacks, oldest first.
        refusal: reason why this hub cannot open the database, or ``None`` if it can.
    """

    current: str | None
    missing: tuple[str, ...]
    refusal: str | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """Revisions of this release, oldest first."""
        return tuple(revisions())

    @property
    def is_newer(self) -> bool:
        """True if a newer hub wrote the database; this hub cannot open it then."""
        return self.current is not None and self.current > revisions()[-1]


async def schema_version_of(url: str, *, base: Path | None = None) -> SchemaVersion:
    """Return the schema revision of the database at *url*; see ``open_store`` for the arguments.

    Raises:
        Busy, Unavailable: the database cannot be read.
    """
    found = await read_once(url, _schema_version_in, base)
    return SchemaVersion(None, tuple(revisions())) if found is None else found


def _schema_version_in(c: sa.Connection) -> SchemaVersion:
    current = revision_in(c)
    if (why := refusal_in(c, current)) is not None:
        return SchemaVersion(current, (), why)
    return SchemaVersion(current, tuple(known for known in revisions() if current is None or known > current))


class SchemaPart(NamedTuple):
    """Part of the schema. *kind*: table, column, constraint or index; *table*: its table."""

    table: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"table {self.table}" if self.kind == "table" else f"{self.kind} {self.table}.{self.name}"


async def hub_id_of(url: str, *, base: Path | None = None) -> str | None:
    """Return the id of the hub whose database is at *url*; see ``open_store`` for the arguments.

    Returns:
        None if there is no database, or no hub has started on it.

    Raises:
        Busy, Unavailable: the database cannot be read.
    """
    return await read_once(url, _hub_id_in, base)


def _hub_id_in(c: sa.Connection) -> str | None:
    return find_hub_id(c) if sa.inspect(c).has_table(hub.name) else None


async def read_once(url: str, read: Callable[[sa.Connection], T | None], base: Path | None) -> T | None:
    """Run *read* on a database that a hub may have open. Return None if there is no such file.

    No byte of a file changes, also of another program's. A file is not read where a journal is left to undo.

    Raises:
        Busy, Unavailable: the database cannot be read.
    """
    if url.startswith(SERVER):
        from storage.kernel import postgres

        return await postgres.run_once(url, read)
    path = file_of(url, base)
    if path is None or not path.exists():
        return None
    return await anyio.to_thread.run_sync(_read_file, path, read)


def _read_file(path: Path, read: Callable[[sa.Connection], T]) -> T:
    logs = [Path(f"{path}{end}") for end in (_JOURNAL, WAL)]
    for file in (path, *logs):
        if file.exists() and not file.is_file():  # a named pipe would be waited for without end
            raise DatabaseUnavailable(f"unable to open the database {path}: {file.name} is no file")
    # Without this option, SQLite makes a log and its index, and leaves them.
    alone = "" if any(file.exists() for file in logs) else "&immutable=1"
    open_file = partial(sqlite3.connect, f"{path.absolute().as_uri()}?mode=ro{alone}", uri=True)
    engine = sa.create_engine("sqlite://", creator=open_file, poolclass=sa.NullPool)
    try:
        with translation(), engine.connect() as connection:
            return read(connection)
    except StorageError as error:
        cause = getattr(error.__cause__, "orig", None)
        if getattr(cause, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        raise DatabaseUnavailable(
            f"the database {path} is not read: another program was stopped in the middle of a change of it"
            f" (journal {path.name}{_JOURNAL}); let that program open it once, or name another file",
            None,
        ) from error


Parts: TypeAlias = dict[SchemaPart, str]  # SQL of each part as the database spells it, without schema names


class Difference(NamedTuple):
    """Difference between this release and the database in one part.

    Both spellings are SQL; ``None`` means that this release, or the database, lacks the part.
    """

    part: SchemaPart
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.part} is missing"
        if self.expected is None:
            return f"{self.part} is not of this release: {self.found}"
        return f"{self.part} is {self.found}; this release has {self.expected}"


class Verified(NamedTuple):
    """Result of ``verify``. *current*: revision of the database; ``None`` if it has no tables of a hub."""

    current: str | None
    differences: tuple[Difference, ...]
    broken: tuple[BrokenRow, ...] = ()


async def verify(url: str, *, base: Path | None = None) -> Verified:
    """Compare the tables of the database at *url* with this release; see ``open_store`` for the arguments.

    Nothing is changed, and a hub may have the database open. On a server the user needs the right to create
    temporary tables, which every user has by default.

    Raises:
        Busy, Unavailable: the database cannot be read, or does not exist.
    """
    found = await read_once(url, verified, base)
    if found is None:
        raise DatabaseUnavailable(f"there is no database {file_of(url, base) or url}")
    return found


def verified(c: sa.Connection) -> Verified:
    """Return the schema revision of *c*'s database, its differences from this release, and broken rows."""
    current = revision_in(c)
    return Verified(current, differences_in(c), () if current is None else tuple(broken_rows(c)))


def differences_in(c: sa.Connection) -> tuple[Difference, ...]:
    """Return the differences between *c*'s database and the schema; empty if they are equal.

    A missing or extra table is one difference: its parts are not listed.
    """
    found = parts_in(c)
    expected = _release_parts(c)
    strange = {part.table for part in found.keys() ^ expected.keys() if part.kind == "table"}
    return tuple(
        Difference(part, expected.get(part), found.get(part))
        for part in sorted(found.keys() | expected.keys())
        if expected.get(part) != found.get(part) and (part.kind == "table" or part.table not in strange)
    )


def parts_in(c: sa.Connection) -> Parts:
    """Return every table of *c*'s database with its parts, except Alembic's own table."""
    rows = _parts_on_server(c) if c.dialect.name == "postgresql" else _parts_in_file(c)
    return {part: spelled for part, spelled in rows if part.table != VERSION_TABLE.name}


def _release_parts(c: sa.Connection) -> Parts:
    """Return ``parts_in`` of a schema created from scratch, on the same kind of database."""
    if c.dialect.name != "postgresql":
        engine = sa.create_engine("sqlite://")
        with engine.connect() as scratch:
            make_tables(scratch)
            make_triggers(scratch)
            parts = parts_in(scratch)
        engine.dispose()
        return parts
    moment = c.begin_nested()
    try:
        c.exec_driver_sql("SET LOCAL search_path TO pg_temp")  # new tables are then temporary
        make_tables(c)
        made = {SchemaPart(table, "trigger", name): "" for table, name in trigger_names()}
        return parts_in(c) | made
    finally:
        moment.rollback()  # also restores the search path


# --- SQLite stores the statements that created a table, with its parts in their order

_STATEMENTS = """
    SELECT type, name, tbl_name, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'
    AND name NOT LIKE 'item!_search!_%' ESCAPE '!'"""  # tables that SQLite made for its index
_CONSTRAINT = re.compile(r'CONSTRAINT "?(\w+)"? ')
_NAMELESS = ("PRIMARY KEY", "UNIQUE", "CHECK", "FOREIGN KEY")


def _parts_in_file(c: sa.Connection) -> Iterator[tuple[SchemaPart, str]]:
    for kind, name, table, sql in c.exec_driver_sql(_STATEMENTS).all():
        text = _plain(sql)
        if kind != "table":
            yield SchemaPart(table, kind, name), text
            continue
        head, _, rest = text.partition("(")
        body, _, tail = rest.rpartition(")")
        yield (
            SchemaPart(table, "table", ""),
            " ".join((*head.replace('"', "").split()[:2], tail.strip())).strip(),
        )
        for clause in _clauses(body):
            if (named := _CONSTRAINT.match(clause)) is not None:
                yield SchemaPart(table, "constraint", named[1]), clause[named.end() :]
            elif clause.startswith(_NAMELESS):
                yield SchemaPart(table, "constraint", clause), clause
            else:
                column, _, spelled = clause.partition(" ")
                yield SchemaPart(table, "column", column.strip('"')), spelled


def _plain(sql: str) -> str:
    """Collapse *sql* to one line. Unwrap defaults, which SQLite brackets depending on how they were added."""
    spaced = re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")").strip()
    return re.sub(r"DEFAULT \(([^()]*)\)", r"DEFAULT \1", spaced)


def _clauses(body: str) -> Iterator[str]:
    """Split *body* at commas that are outside brackets."""
    start = depth = 0
    for place, character in enumerate(body):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield body[start:place].strip()
            start = place + 1
    yield body[start:].strip()


# --- PostgreSQL has catalogues, and prints each part in its own spelling

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
           COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = %s AND a.attnum > 0 AND NOT a.attisdropped"""
_CONSTRAINTS = """
    SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = %s"""
_INDEXES = """
    SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid),
           CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
    FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE c.relnamespace = %s"""
_MADE_TRIGGERS = """
    SELECT c.relname, t.tgname, '' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %s AND NOT t.tgisinternal"""
_SCHEMA = "current_schema()::text::regnamespace"
_QUALIFIED = re.compile(r"\b(ON|REFERENCES) (?:ONLY )?\w+\.")  # the schema that holds the table


def _parts_on_server(c: sa.Connection) -> Iterator[tuple[SchemaPart, str]]:
    catalogues = {
        "column": _COLUMNS,
        "constraint": _CONSTRAINTS,
        "index": _INDEXES,
        "trigger": _MADE_TRIGGERS,
    }
    for kind, statement in catalogues.items():
        for table, name, *definition in c.exec_driver_sql(statement.replace("%s", _SCHEMA)).all():
            yield SchemaPart(table, "table", ""), "CREATE TABLE"
            yield SchemaPart(table, kind, name), _QUALIFIED.sub(r"\1 ", "".join(definition))
