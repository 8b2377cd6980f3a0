"""Size of the database."""

from pathlib import Path

import msgspec
import sqlalchemy as sa

ON_A_SERVER = sa.select(sa.func.pg_database_size(sa.func.current_database()))
WAL = "-wal"  # suffix of SQLite's write-ahead log, next to the file


class DatabaseSize(msgspec.Struct, frozen=True):
    """Size of the database in bytes. *log*: SQLite's write-ahead log, 0 without one."""

    data: int
    log: int


def measure(c: sa.Connection) -> DatabaseSize:
    """Return the current size of the database."""
    if c.dialect.name == "postgresql":
        return DatabaseSize(c.execute(ON_A_SERVER).scalar_one(), 0)
    pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
    data = pages * c.exec_driver_sql("PRAGMA page_size").scalar_one()
    file = next(row[2] for row in c.exec_driver_sql("PRAGMA database_list") if row[1] == "main")
    try:
        return DatabaseSize(data, Path(file + WAL).stat().st_size if file else 0)
    except FileNotFoundError:  # nothing was written since the database was opened
        return DatabaseSize(data, 0)
