"""Device's file with approved rows, and a sink, for tests of sinks."""

import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from hub.base.clock import IdFactory, epoch_ms
from hub.device import rows
from hub.device.device_file import connect_shared, open_device_store
from hub.device.sinks.reports import destinations, places_of
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import Synced, synchronize
from hub.device.sinks.target import Target
from protocol.calls import RowPlace
from protocol.frame import Record
from protocol.tables import TABLES
from tests.support.clock import FakeClock, SeededChance


class SinkBench:
    """Device's file in a folder, whose rows are approved ones."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.clock = FakeClock()
        self.path = folder / "desk.db"
        self._ids = IdFactory(self.clock, SeededChance(seed))
        with open_device_store(self.path, clock=self.clock, ids=self._ids):
            pass

    def open(self) -> AbstractContextManager[sqlite3.Connection]:
        return connect_shared(self.path)

    def approve(self, data: Record, table: str = "tasks") -> str:
        """Insert an approved row and return its id."""
        row_id = self._ids.fresh()
        flags: Record = {"isAiSuggested": 1, "isApproved": 1}
        with self.open() as db:
            rows.insert(db, TABLES[table], row_id, data, self.at_ms, flags=flags)
        return row_id

    def change(self, row_id: str, data: Record, table: str = "tasks") -> None:
        with self.open() as db:
            rows.update(db, TABLES[table], row_id, data, self.at_ms)

    def delete(self, row_id: str, table: str = "tasks") -> None:
        with self.open() as db:
            rows.delete(db, TABLES[table], row_id)

    def row(self, row_id: str, table: str = "tasks") -> Mapping[str, object]:
        with self.open() as db:
            found = rows.find(db, TABLES[table], row_id)
        assert found is not None
        return found

    def synchronize(self, target: Target, *tables: str, back: bool = True, sink: str = "there") -> Synced:
        with self.open() as db:
            return synchronize(db, Sink(sink, target, tables or ("tasks",), back), self.clock.now())

    def places(self, row_id: str, table: str = "tasks") -> list[RowPlace]:
        """Return the places of a row as a hub may know them; the folder of the file is shared."""
        with self.open() as db:
            return places_of(destinations(db).get((table, row_id), ()), {str(self.path.parent): "own"})

    def state(self, row_id: str) -> str:
        """Return the state of a row at its only place, and the word for its problem."""
        (place,) = self.places(row_id)
        return f"{place.state} {place.problem or ''}".strip()

    def history(self) -> list[str]:
        with self.open() as db:
            return [what for (what,) in db.execute("SELECT what FROM sink_history ORDER BY number")]

    @property
    def at_ms(self) -> int:
        return epoch_ms(self.clock.now())
