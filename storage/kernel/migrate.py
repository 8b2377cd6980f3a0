"""Migration of a database to the tables of this release.

A database of a newer release, or older than all of ``releases.json``, is refused.

A new database gets the tables of ``storage.schema`` in one step. Alembic is imported only here, and only when
older tables are migrated: the import takes a quarter of a second.
"""

import ast
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import msgspec
import sqlalchemy as sa

from storage.changes import drop_triggers, make_triggers
from storage.kernel.broken_rows import broken_rows
from storage.kernel.columns import now_ms
from storage.kernel.database import FromTheFuture, Unavailable, translation
from storage.schema import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000  # another process may take this long to migrate the same file
LOCK_TABLES_MS = 2_000  # meanwhile the jobs of other hubs wait
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
    """Release that this one can upgrade. *revision*: the schema revision of its tables."""

    version: str
    revision: str
    commit: str | None


@cache
def releases() -> tuple[Release, ...]:
    """Return the supported releases, oldest first; the last is this release."""
    file = Path(__file__).with_name("releases.json")
    return msgspec.json.decode(file.read_bytes(), type=tuple[Release, ...])


def refusal(revision: str) -> str | None:
    """Return why this release cannot open tables of *revision*, or ``None`` if it can."""
    oldest, newest = releases()[0], revisions()[-1]
    if revision < oldest.revision:
        return (
            f"its tables are of revision {revision}; the oldest that this hub upgrades is {oldest.revision}"
            f" of hub {oldest.version}: let that hub upgrade it first"
        )
    if revision > newest:
        return (
            f"it was written by a newer hub: its tables are of revision {revision}, this hub knows {newest};"
            " start that newer hub, or restore a backup made before it"
        )
    return None


def revisions() -> list[str]:
    """Return the revisions of this release, oldest first: the four digits that start their file names."""
    return sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def contracts() -> list[str]:
    """Return the revisions that remove what hubs of earlier releases need: ``0005_contract_devices.py``."""
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
        raise Unavailable(f"cannot open the database {path}: {error.strerror}") from error
    change_file(path, partial(upgrade_tables, where=str(path)))


def change_file(path: Path, change: Callable[[sa.Connection], None]) -> None:
    """Run *change* on the SQLite database at *path* in one transaction, without checks of references.

    Raises:
        Busy, Unavailable: the database cannot be opened or written.
    """
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
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
    if current is None:
        make_tables(c)
        make_triggers(c)
        VERSION_TABLE.create(c, checkfirst=True)
        c.execute(VERSION_TABLE.insert().values(version_num=newest))
        return
    if (why := refusal(current)) is not None:
        raise (FromTheFuture if current > newest else Unavailable)(f"cannot open the database {where}: {why}")
    drop_triggers(c)
    try:
        with c.begin_nested():
            _run_revisions(c, current)
    except sa.exc.IntegrityError as error:
        raise Unavailable(f"the database {where} cannot be migrated: {_in_the_way(c, error)}") from error
    make_triggers(c)
    broken = c.exec_driver_sql("PRAGMA foreign_key_check").all() if c.dialect.name == "sqlite" else ()
    if broken:
        raise Unavailable(f"the database {where} cannot be migrated: {len(broken)} rows refer to nothing")


def _run_revisions(c: sa.Connection, current: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": c})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    for revision in revisions():
        if revision <= current:
            continue
        if c.dialect.name == "postgresql":
            if revision in contracts() and c.execute(EARLIER_HUBS, {"contract": revision}).first():
                break
            _lock_tables(c)
        command.upgrade(config, revision)


def _in_the_way(c: sa.Connection, error: sa.exc.IntegrityError) -> str:
    """Return the broken rows of the earlier tables, as far as they have all columns of this release."""
    found = sa.inspect(c)
    lacking = frozenset(
        name
        for name, table in metadata.tables.items()
        if not found.has_table(name)
        or not set(table.columns.keys()) <= {column["name"] for column in found.get_columns(name)}
    )
    rows = "; ".join(map(str, broken_rows(c, without=lacking))) or str(error.orig)
    return f"{rows}; correct or delete these rows with SQL, or start the older hub: nothing was changed"


def _lock_tables(c: sa.Connection) -> None:
    """Lock all tables on the server before the first change: hubs may use them in another order."""
    names = sorted(sa.inspect(c).get_table_names())
    c.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TABLES_MS}")
    c.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")


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
        *map(sa.schema.CreateTable, metadata.sorted_tables),
        *map(sa.schema.CreateIndex, indexes),
    ]
    return tuple(str(element.compile(dialect=spelled)) for element in made)


def revision_in(c: sa.Connection) -> str | None:
    """Return the revision of the database's tables, or ``None`` if it has no tables."""
    if not sa.inspect(c).has_table(VERSION_TABLE.name):
        return None
    return c.execute(sa.select(VERSION_TABLE.c.version_num)).scalar_one_or_none()


def current_revision(path: Path) -> str | None:
    """Return the revision of the tables in the file *path*, or ``None`` without tables or file.

    Nothing is changed, and a hub may have the file open.

    Raises:
        Busy, Unavailable: the file cannot be read.
    """
    if not path.exists():
        return None
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with translation(), engine.connect() as connection:
        return revision_in(connection)
