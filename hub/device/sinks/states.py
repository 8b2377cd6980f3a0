"""State of each sink after its last synchronization, as the owner sees it."""

import sqlite3
from collections.abc import Collection, Iterable

import msgspec

from hub.device import declared_tables, rows
from hub.device.sinks.reports import PLACED
from hub.device.sinks.waits import RowWait, WaitReason, end_waits, waits_of
from protocol.causes import PLACE_CAUSES
from protocol.tables import Tables


class Deleted(msgspec.Struct, frozen=True):
    """Row that was deleted at a target, and is still here."""

    table: str
    id: str
    title: str


class RefusedRow(msgspec.Struct, frozen=True):
    """Row that its sink refuses, unlike others, with the reason; it is tried again at *until_ms*."""

    table: str
    id: str
    title: str
    reason: str
    tries: int
    until_ms: int


class State(msgspec.Struct):
    """State of a sink: its problem, numbers of rows there and of those that wait, and the last write.

    *why*: the problem in a word, since *since_ms* (epoch milliseconds).
    """

    problem: str
    rows: int
    waiting: int
    written_ms: int | None = None
    why: str = ""
    since_ms: int = 0
    deleted: list[Deleted] = msgspec.field(default_factory=list)
    refused: list[RefusedRow] = msgspec.field(default_factory=list)

    def remedy(self, name: str) -> str:
        """Return what mends the problem of the sink *name*; empty without one."""
        cause = PLACE_CAUSES.get(self.why) if self.problem else None
        return "" if cause is None else cause.remedy.replace("NAME", name)

    def is_lasting(self, at_ms: int) -> bool:
        """Return True if the problem does not pass by itself, or has not."""
        cause = PLACE_CAUSES.get(self.why) if self.problem else None
        return cause is not None and at_ms - self.since_ms >= cause.lasts_after_s * 1_000


def states(db: sqlite3.Connection) -> dict[str, State]:
    """Return the state of each sink that was synchronized, by name."""
    query = (
        "SELECT sink_states.sink, problem, count(base) - sum(is_deleted), count(key) - count(base),"
        " max(iif(base IS NULL, NULL, sink_rows.at_ms)), why, sink_states.at_ms"
        f" FROM sink_states LEFT JOIN {PLACED} AS sink_rows USING (sink) GROUP BY sink_states.sink"
    )
    deleted = "SELECT sink, tbl, row_id FROM sink_rows WHERE is_deleted ORDER BY sink, key"
    found = {
        sink: State(problem, rows or 0, new or 0, written_ms, why, since_ms)
        for sink, problem, rows, new, written_ms, why, since_ms in db.execute(query)
    }
    tables = declared_tables.tables_of(db)
    for sink, name, row_id in db.execute(deleted).fetchall():
        table = tables.of(name)
        if sink in found and (row := rows.find(db, table, row_id)) is not None:
            found[sink].deleted.append(Deleted(name, row_id, str(row[table.title])))
    for sink, state in found.items():
        for wait in waits_of(db, sink, WaitReason.REFUSED).values():
            state.refused += _refused_row(db, tables, sink, wait)
    return found


def _refused_row(db: sqlite3.Connection, tables: Tables, sink: str, wait: RowWait) -> Iterable[RefusedRow]:
    """Return the refused row of a wait, if the sink has it; the title of a deleted row is its id."""
    query = "SELECT tbl, row_id FROM sink_rows WHERE sink = ? AND key = ?"
    for name, row_id in db.execute(query, (sink, wait.key)).fetchall() if wait.tries else ():
        table = tables.of(name)
        row = rows.find(db, table, row_id)
        title = row_id if row is None else str(row[table.title])
        yield RefusedRow(name, row_id, title, wait.reason, wait.tries, wait.until_ms)


def forget_problem(db: sqlite3.Connection, sink: str) -> None:
    """Forget the problem of a sink that was changed and tested, until its next synchronization."""
    db.execute("UPDATE sink_states SET problem = '', why = '' WHERE sink = ?", (sink,))


def forget_others(db: sqlite3.Connection, names: Collection[str]) -> None:
    """Forget that rows are at other sinks than these; what was written there stays."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sink_states'").fetchone() is not None:
        known = {sink for (sink,) in db.execute("SELECT sink FROM sink_states")}
        for sink in known - {*names}:
            db.execute("DELETE FROM sink_states WHERE sink = ?", (sink,))
            end_waits(db, sink, waits_of(db, sink))
