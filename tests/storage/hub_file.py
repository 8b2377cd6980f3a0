"""The database in a real file as a process has it open, on a clock that is moved by hand."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from protocol.ids import BootId
from storage.kernel import sqlite

START = 1_767_600_000_000


class HubFile:
    """The database's file, and the one process that has it open: with a boot of its own, and a clock."""

    _opened: "HubFile"  # the one that a new connection is for

    def __init__(self, pattern: Path, folder: Path) -> None:
        self.path = folder / "hub.db"
        shutil.copy(pattern, self.path)
        self.at = START
        self.boot_id = BootId("boot-1")
        HubFile._opened = self
        self._core = _engine().connect()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._core.begin():
            yield self._core

    def close(self) -> None:
        self._driver.close()
        self._core.invalidate()
        self._core.close()

    def connect(self) -> sqlite3.Connection:
        """A connection as the hub's own."""
        self._driver = sqlite3.connect(self.path, isolation_level=None)
        for pragma in (*sqlite._PRAGMAS, "PRAGMA synchronous=off"):  # nobody cuts the power here
            self._driver.execute(pragma).close()
        sqlite.set_clock(self._driver, lambda: self.at)
        return self._driver


@cache
def _engine() -> sa.Engine:
    """One for all files: statements are compiled once an engine."""
    engine = sa.create_engine(
        "sqlite://", creator=lambda: HubFile._opened.connect(), poolclass=sa.NullPool, query_cache_size=5_000
    )
    sa.event.listen(engine, "begin", lambda core: core.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine
