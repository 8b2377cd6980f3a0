"""The database in a real file as one process after another has it open, on a clock that is moved by hand."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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
        self._boots = 0
        self._open()

    @property
    def boot_id(self) -> BootId:
        return BootId(f"boot-{self._boots}")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._core.begin():
            yield self._core

    def leave_half_done(self) -> None:
        """Write something, and never commit it."""
        self._core.begin()
        self._core.exec_driver_sql("UPDATE runs SET fence = fence + 1, attempt = max_attempts")
        self._core.exec_driver_sql("DELETE FROM run_calls")

    def die(self) -> None:
        """Whatever is not committed is lost, and another process opens the file."""
        self.close()
        self._open()

    def close(self) -> None:
        self._driver.close()
        self._core.invalidate()
        self._core.close()

    def _open(self) -> None:
        self._boots += 1
        HubFile._opened = self
        self._core = _engine().connect()

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


_TOLD = {
    "run": """SELECT id, device_id, state, pause_reason, fence, attempt, crash_count, eligible_at, updated_at
        FROM runs""",
    "unit": "SELECT run_id || ' ' || unit_key, state FROM run_units",
    "call": "SELECT call_id, run_id, unit_key, state, sends, payload IS NOT NULL FROM run_calls",
    "ledger": "SELECT agent_id || ' ' || unit_key, content_hash FROM unit_ledger",
    "agent": """SELECT agent_id, lifecycle, coalesce(recovery_at, probe_at) FROM agent_states""",
    "schedule": """SELECT id, CASE WHEN NOT enabled THEN paused_reason END, cursor_at, next_fire_at,
        consecutive_failures FROM schedules""",
}


def told(c: sa.Connection) -> dict[str, Any]:
    """The rows, as ``tests.storage.expected.World.told`` tells them."""
    return {
        f"{kind} {key}": tuple(values)
        for kind, query in _TOLD.items()
        for key, *values in c.exec_driver_sql(query)
    }
