"""Migration of a database to this release: supported releases, waits, and when old columns are dropped.

A database of a newer release, or older than the first revision that this release has, is refused. Another
process waits for a migration: on a file for ``BUSY_TIMEOUT_MS``.

A new database gets the tables of ``storage.schema`` in one step. Alembic is imported only here, and only when
older tables are migrated: the import takes a quarter of a second.

The words of items have indexes that only one kind of database has: a file an FTS5 table of the rows of
``item_words``, which triggers follow; a server a generated column of weighted words with a GIN index.

Search for broken rows: values that the schema forbids, which another program wrote or a disk damaged.

The hub writes no such row. It reads them as far as it can: an unknown word of an enum and text that is no
JSON as they are, text that is no UTF-8 with U+FFFD. ``rows.fill`` then refuses the row.
"""

import ast
import os
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from storage.change_triggers import drop_triggers, make_triggers
from storage.kernel.columns import FIRST_INSTANT, LAST_INSTANT, Doc, Flag, is_instant, now_ms
from storage.kernel.database import DatabaseUnavailable, FromTheFuture, address_of, sqlstate, translation
from storage.schema import metadata

_COLUMNS: Final = "title, project, person, body"
_NEW, _OLD = (", ".join(f"{row}.{name}" for name in _COLUMNS.split(", ")) for row in ("NEW", "OLD"))
_ADD: Final = f"INSERT INTO item_search (rowid, {_COLUMNS}) VALUES (NEW.number, {_NEW});"
_DROP: Final = (
    f"INSERT INTO item_search (item_search, rowid, {_COLUMNS}) VALUES ('delete', OLD.number, {_OLD});"
)
WORDS_INDEX: Final[Mapping[str, tuple[str, ...]]] = {
    "sqlite": (
        # the tokenizer splits at blanks only: other signs are not among the words
        f"CREATE VIRTUAL TABLE item_search USING fts5({_COLUMNS}, content='item_words',"
        " content_rowid='number', columnsize=0, tokenize='ascii')",
        f"CREATE TRIGGER item_words_added AFTER INSERT ON item_words BEGIN {_ADD} END",
        f"CREATE TRIGGER item_words_changed AFTER UPDATE OF {_COLUMNS} ON item_words"
        f" BEGIN {_DROP} {_ADD} END",
        f"CREATE TRIGGER item_words_deleted AFTER DELETE ON item_words BEGIN {_DROP} END",
    ),
    "postgresql": (
        "ALTER TABLE item_words ADD COLUMN search tsvector GENERATED ALWAYS AS ("
        + " || ".join(
            f"setweight(to_tsvector('simple', {name}), '{weight}')"
            for name, weight in zip(_COLUMNS.split(", "), "ABCD", strict=True)
        )
        + ") STORED",
        "CREATE INDEX item_words_search ON item_words USING gin (search)",
        # Words of a column: of a weight, the index above would read each row with the word elsewhere.
        "CREATE INDEX item_words_columns ON item_words USING gin (to_tsvector('simple', title),"
        " to_tsvector('simple', project), to_tsvector('simple', person))",
    ),
}


SHOWN: Final = 20  # broken rows of one table and cause


class BrokenRow(NamedTuple):
    """Row with a value that the schema forbids. *key*: values of its primary key; *what*: what is wrong."""

    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"row {self.table} {self.key}: {self.what}"


class SearchPosition(NamedTuple):
    """Place in the tables where a search continues. *after*: primary key of the last row examined."""

    table: str
    after: tuple[Any, ...] | None = None


_TABLES: Final = metadata.sorted_tables
_NEXT: Final = {one.name: SearchPosition(following.name) for one, following in pairwise(_TABLES)}
FIRST_PLACE: Final = SearchPosition(_TABLES[0].name)


def broken_rows(c: sa.Connection) -> list[BrokenRow]:
    """Return the broken rows of all tables, up to SHOWN of each cause.

    What names a table or a column that the database lacks is left out.
    """
    found = _columns_of(c)
    tables = metadata.tables.keys() - found.keys()
    rows: list[BrokenRow] = []
    for table in _TABLES:
        columns = set(table.columns.keys()) - found.get(table.name, set())
        if columns.isdisjoint(table.primary_key.columns.keys()):
            rows += _broken_in(c, table, lacking=columns | tables)
    return rows


def broken_from(
    c: sa.Connection, place: SearchPosition, *, most: int
) -> tuple[list[BrokenRow], SearchPosition | None]:
    """Return the broken rows among *most* rows at *place*, and the next place; ``None`` after the last."""
    table, following = metadata.tables[place.table], _NEXT.get(place.table)
    name = c.dialect.identifier_preparer.format_table(table)
    if c.exec_driver_sql(f"SELECT 1 FROM {name} LIMIT 1").first() is None:  # most, at the start of a new hub
        return [], following
    key = sa.tuple_(*table.primary_key)
    part = sa.true() if place.after is None else key > _literal(table, place.after)
    end = c.execute(
        sa.select(*table.primary_key).where(part).order_by(*table.primary_key).offset(most - 1).limit(1)
    ).one_or_none()
    if end is not None:
        return list(_broken_in(c, table, part & (key <= _literal(table, end)))), SearchPosition(
            table.name, tuple(end)
        )
    return list(_broken_in(c, table, part)), following


def _columns_of(c: sa.Connection) -> dict[str, set[str]]:
    found = sa.inspect(c).get_multi_columns()
    return {name: {column["name"] for column in columns} for (_, name), columns in found.items()}


def _literal(table: sa.Table, key: Sequence[Any]) -> sa.Tuple:
    return sa.tuple_(
        *(sa.literal(value, one.type) for value, one in zip(key, table.primary_key, strict=True))
    )


def _broken_in(
    c: sa.Connection,
    table: sa.Table,
    part: sa.ColumnElement[bool] | None = None,
    lacking: Collection[str] = (),
) -> Iterator[BrokenRow]:
    faults = dict(_faults(table, c.dialect))
    if c.dialect.name == "sqlite":
        driver = c.connection.driver_connection
        driver = getattr(driver, "_conn", driver)
        assert isinstance(driver, sqlite3.Connection)
        driver.create_function("hub_is_utf8", 1, _is_utf8, deterministic=True)
        faults = dict(_faults_in_file(table, c.dialect)) | faults
    if lacking:
        words = {what: re.findall(r"\w+", is_wrong) for what, is_wrong in faults.items()}
        faults = {what: faults[what] for what in words if set(words[what]).isdisjoint(lacking)}
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
    names = {str: ("string", "text"), int: ("number", "integer"), list: ("array", "array")}
    member, type_ = names.get(getattr(value_shape, "__origin__", value_shape), ("object", "object"))
    has_other = (
        f"CASE WHEN json_valid({value}) AND json_type({value}) = '{kind}' THEN"
        f" EXISTS (SELECT 1 FROM json_each({value}) WHERE type <> '{type_}') END"
    )
    if dialect == "postgresql":
        each = "$[*]" if kind == "array" else "$.*"
        path = f"""strict {each} ? (@.type() <> "{member}")"""  # lax, a filter would look into the lists
        exists = f"jsonb_path_exists({value}, '{path}', silent => true)"
        has_other = f"jsonb_typeof({value}) = '{kind}' AND {exists}"
    yield f"{column.name} has a value that is no JSON {member}", has_other


MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000  # another process may take this long to migrate the same file
LOCK_TABLE_MS, LOCK_TRIES = 600, 10  # less than a server's deadlock_timeout; meanwhile the jobs of hubs wait
_INDEXES = (
    "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY rowid"
)
_DEVICES_CHANGED: Final = "0006"  # the revision that drops devices.connectivity
LOCK = 0x687562  # "hub" in ASCII: id of the advisory lock around a migration on a server
VERSION_TABLE = sa.Table(  # Alembic's own table, as Alembic declares it; not part of the schema
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)
VERSION_TABLE.primary_key.name = "alembic_version_pkc"


_NODES, _LEASES = metadata.tables["nodes"], metadata.tables["leases"]
EARLIER_HUBS = sa.select(_NODES.c.name).where(
    _NODES.c.stopped_at.is_(None),
    _NODES.c.revision.is_(None) | (_NODES.c.revision < sa.bindparam("contract")),
    sa.exists().where(_LEASES.c.holder_boot_id == _NODES.c.boot_id, _LEASES.c.expires_at > now_ms()),
)


class Release(msgspec.Struct, frozen=True):
    """Release, as ``releases.json`` records it.

    Attributes:
        commit: of its source; ``None`` until it is recorded.
        revision: of its tables; ``None`` if later releases do not upgrade them.
        digest: SHA-256 of the revisions up to that one, as they were released.
    """

    version: str
    commit: str | None
    revision: str | None
    digest: str | None


@cache
def releases() -> tuple[Release, ...]:
    """Return the releases, oldest first; the last is this one, or the one that this source follows."""
    file = Path(__file__).with_name("releases.json")
    return msgspec.json.decode(file.read_bytes(), type=tuple[Release, ...])


def oldest_supported() -> Release | None:
    """Return the first release whose tables this one upgrades; ``None`` before there is one."""
    return next((release for release in releases() if release.revision is not None), None)


def refusal(revision: str) -> str | None:
    """Return why this release cannot open tables of *revision*, or ``None`` if it can."""
    oldest, newest = revisions()[0], revisions()[-1]
    if revision < oldest:
        release = oldest_supported()
        which = "an earlier hub" if release is None else f"hub {release.version}"
        return (
            f"its tables are of revision {revision}; the oldest that this hub upgrades is {oldest}:"
            f" let {which} upgrade it first"
        )
    if revision > newest:
        return (
            f"it was written by a newer hub: its tables are of revision {revision}, this hub knows {newest}"
        )
    return None


def refusal_in(c: sa.Connection, current: str | None) -> str | None:
    """Return why this release cannot open a database whose tables are of *current*, or ``None`` if it can."""
    if current is None:
        others = set(sa.inspect(c).get_table_names())
        if c.dialect.name == "postgresql":  # where programs may share a database, if their tables differ
            others &= metadata.tables.keys()
        return f"it is the database of another program, with the table {min(others)}" if others else None
    why = refusal(current)
    if why is None and current < _DEVICES_CHANGED and "connectivity" not in _columns_of(c).get("devices", ()):
        why = (
            "a hub between two releases made its tables, which no hub upgrades;"
            " start with a new database, or with a backup of a release"
        )
    return why


def revisions() -> list[str]:
    """Return the revisions of this release, oldest first: the four digits that start their file names."""
    return sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def contracts() -> list[str]:
    """Return the revisions that remove what hubs of earlier releases need: ``0006_contract_devices.py``."""
    return [
        file.name[:4] for file in sorted((MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_contract_*.py"))
    ]


def words_of(revision: str) -> str:
    """Return the first docstring line of the migration *revision*, without running it."""
    (file,) = (MIGRATIONS / "versions").glob(f"{revision}_*.py")
    description = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return description.partition("\n")[0]


def upgrade(path: Path) -> None:
    """Create the SQLite database at *path*, or migrate it to this release's tables.

    One transaction: an interruption leaves the database unchanged. Several processes may call this at once:
    one migrates, the others wait.

    Raises:
        FromTheFuture: a newer release wrote the database; nothing was written.
        Busy, Unavailable: the database cannot be opened or written.
    """
    try:
        # SQLite gives the WAL file the same permissions
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(f"cannot open the database {path}: {error.strerror}") from error
    change_file(path, partial(upgrade_tables, where=str(path)))


def change_file(path: Path, change: Callable[[sa.Connection], None]) -> None:
    """Run *change* on the SQLite database at *path* in one transaction, without checks of references.

    Raises:
        Busy, Unavailable: the database cannot be opened or written.
    """
    engine = sa.create_engine(address_of(path), poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with translation(), engine.begin() as connection:
        change(connection)


def _prepare(driver: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    driver.isolation_level = None  # the driver must not begin transactions itself
    cursor = driver.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    if cursor.execute("PRAGMA page_count").fetchone() == (0,):
        cursor.execute("PRAGMA auto_vacuum=incremental")  # has no effect after the first table
    # dropping a table to rebuild it would cascade to its child rows
    cursor.execute("PRAGMA foreign_keys=off")
    cursor.close()


def upgrade_tables(c: sa.Connection, *, where: str) -> None:
    """Migrate the tables to this release in the transaction of *c*, one process at a time.

    A contract is left out while a hub runs on the database that needs what it removes; so are the revisions
    behind it.

    Args:
        where: name of the database in error messages.

    Raises:
        FromTheFuture: a newer release wrote the database.
        Unavailable: the database is older than all supported releases, or rows violate the new
            constraints; the caller must roll back.
    """
    if c.dialect.name == "postgresql":  # on SQLite, BEGIN IMMEDIATE locks out other processes
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    newest = revisions()[-1]
    current = revision_in(c)
    if current == newest:
        return
    if (why := refusal_in(c, current)) is not None:
        is_newer = current is not None and current > newest
        raise (FromTheFuture if is_newer else DatabaseUnavailable)(f"cannot open the database {where}: {why}")
    if current is None:
        make_tables(c)
        make_triggers(c)
        VERSION_TABLE.create(c, checkfirst=True)
        c.execute(VERSION_TABLE.insert().values(version_num=newest))
        return
    drop_triggers(c)
    try:
        with c.begin_nested():
            _run_revisions(c, current)
    except sa.exc.IntegrityError as error:
        rows = "; ".join(map(str, broken_rows(c))) or str(error.orig)
        raise DatabaseUnavailable(
            f"the database {where} cannot be migrated: {rows}; correct or delete these rows with SQL, or"
            " start the older hub: nothing was changed"
        ) from error
    if c.dialect.name == "sqlite":
        _sort_indexes(c)
        if broken := c.exec_driver_sql("PRAGMA foreign_key_check").all():
            raise DatabaseUnavailable(
                f"the database {where} cannot be migrated: {len(broken)} rows refer to nothing"
            )
    make_triggers(c)


def _run_revisions(c: sa.Connection, current: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": c})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    is_locked = False
    for revision in revisions():
        if revision <= current:
            continue
        if c.dialect.name == "postgresql":
            if revision in contracts() and c.execute(EARLIER_HUBS, {"contract": revision}).first():
                break
            if not is_locked:
                _lock_tables(c)
                is_locked = True
        command.upgrade(config, revision)


def _sort_indexes(c: sa.Connection) -> None:
    """Create indexes again that are in another order than in a new file: statements are planned alike."""
    of_tables: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for table, name, statement in c.exec_driver_sql(_INDEXES):
        of_tables[table].append((name, statement))
    for indexes in of_tables.values():
        if indexes != sorted(indexes):
            for name, _ in indexes:
                c.exec_driver_sql(f'DROP INDEX "{name}"')
            for _, statement in sorted(indexes):
                c.exec_driver_sql(statement)


def _lock_tables(c: sa.Connection) -> None:
    """Lock all tables on the server before the first change: hubs may use them in another order.

    A table that is waited for too long is asked for again, while those before stay locked. So the server ends
    the jobs in the way as deadlocks, which their hubs run again, and never the migration.
    """
    c.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TABLE_MS}")
    for name in sorted(sa.inspect(c).get_table_names()):
        for tries in reversed(range(LOCK_TRIES)):
            try:
                with c.begin_nested():
                    c.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
                break
            except sa.exc.DBAPIError as error:
                if sqlstate(error) != "55P03" or not tries:
                    raise


def make_tables(c: sa.Connection) -> None:
    """Create the tables of ``storage.schema``, then their indexes by name; none of them may exist.

    Of two indexes that are equally good, SQLite takes the one that was created later.
    """
    for statement in _statements(c.dialect.name):
        c.exec_driver_sql(statement)


@cache
def _statements(dialect: str) -> tuple[str, ...]:
    """Return what creates the tables and indexes on *dialect*: SQLAlchemy takes 0.1 s to compile it."""
    spelled = sa.dialects.registry.load(dialect)()
    indexes = sorted(
        (each for table in metadata.tables.values() for each in table.indexes),
        key=lambda index: str(index.name),
    )
    made: list[sa.schema.ExecutableDDLElement] = [
        *map(sa.schema.CreateTable, _TABLES),
        *map(sa.schema.CreateIndex, indexes),
    ]
    return (*(str(element.compile(dialect=spelled)) for element in made), *WORDS_INDEX[dialect])


def revision_in(c: sa.Connection) -> str | None:
    """Return the revision of the database's tables, or ``None`` if it has no tables."""
    if not sa.inspect(c).has_table(VERSION_TABLE.name):
        return None
    return c.execute(sa.select(VERSION_TABLE.c.version_num)).scalar_one_or_none()
