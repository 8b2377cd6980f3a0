"""Brings a database to the tables of this release, and refuses one of a newer release.

Alembic is imported here alone, and only when there is something to do: it costs a
quarter of a second.
"""

import ast
import os
from pathlib import Path

import sqlalchemy as sa

from storage.kernel.database import FromTheFuture, Unavailable, translated

MIGRATIONS = Path(__file__).parents[1] / "migrations"
BUSY_TIMEOUT_MS = 30_000  # as long as another process may take to migrate the same file
LOCK = 0x687562  # "hub": the advisory lock of who migrates a database on a server


def revisions() -> list[str]:
    """The revisions of this release, oldest first: the four digits their files begin with."""
    return sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def words_of(revision: str) -> str:
    """What *revision* brings, in the words of its own first line. It is read, not run."""
    (file,) = (MIGRATIONS / "versions").glob(f"{revision}_*.py")
    told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return told.partition("\n")[0]


def upgrade(path: Path) -> None:
    """Make the SQLite database at *path*, or bring the one that is there to this release's tables.

    All of it in one transaction: whatever interrupts it, the database is as it was.
    Several processes may do so at once; one works, the others wait and find it done.

    Raises:
        FromTheFuture: a newer release wrote it; nothing was written.
        Busy, Unavailable: it cannot be opened or written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # its WAL gets the same permissions
    except OSError as error:
        raise Unavailable(f"cannot open the database {path}: {error.strerror}") from error
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            upgrade_tables(connection, where=str(path))
    except sa.exc.DBAPIError as error:
        if (ours := translated(error)) is error:
            raise
        raise ours from error


def _prepare(driver: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    driver.isolation_level = None  # BEGIN is said by us alone
    cursor = driver.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    if cursor.execute("PRAGMA page_count").fetchone() == (0,):
        cursor.execute("PRAGMA auto_vacuum=incremental")  # can only be said before the first table
    cursor.execute("PRAGMA foreign_keys=off")  # a rebuilt table would take its children along
    cursor.close()


def upgrade_tables(c: sa.Connection, *, where: str) -> None:
    """Within the transaction of *c*: bring what is there to this release's tables, one process at a time.

    Args:
        where: the database, for the error.

    Raises:
        FromTheFuture: a newer release wrote it.
        Unavailable: what it holds does not fit; roll back.
    """
    if c.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE keeps the others out
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    known = revisions()
    current = revision_in(c)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise FromTheFuture(
            f"the database {where} was written by a newer hub (its tables are of revision {current},"
            f" this hub knows {known[-1]}); start that newer hub, or restore a backup made before it"
        )
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": c})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
    broken = c.exec_driver_sql("PRAGMA foreign_key_check").all() if c.dialect.name == "sqlite" else ()
    if broken:
        raise Unavailable(f"the database {where} cannot be migrated: {len(broken)} rows refer to nothing")


def revision_in(c: sa.Connection) -> str | None:
    """The revision of the tables that are there; ``None``: there are none."""
    if not sa.inspect(c).has_table("alembic_version"):
        return None
    return c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


def current_revision(path: Path) -> str | None:
    """The revision of the tables in the file *path*; ``None`` where there are none, or no file.

    Nothing is changed, and a hub may have it open.

    Raises:
        Busy, Unavailable: it cannot be read.
    """
    if not path.exists():
        return None
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return revision_in(connection)
    except sa.exc.DBAPIError as error:
        if (ours := translated(error)) is error:
            raise
        raise ours from error
