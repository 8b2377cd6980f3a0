"""Questions about the place of a sink before its first write: fit of the place, and the owner's consent.

A place is asked before its first row is written, and again when the kind or the tables of its sink have
changed. The boxes of ``tick_in`` have the sink ``""``.
"""

import sqlite3
from collections.abc import Collection
from datetime import datetime
from typing import Final

from hub.device.sinks.recorded_rows import RecordedRow
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Unconfirmed
from hub.text.rows.row import TargetFailed
from protocol.tables import DeviceTable

_STORE: Final = """
INSERT INTO sink_answers VALUES (?, ?, ?, ?)
ON CONFLICT (sink, place, question) DO UPDATE SET is_yes = max(is_yes, excluded.is_yes)
"""


def confirm(db: sqlite3.Connection, sink: str, *answers: tuple[str, str]) -> None:
    """Store places with questions about them that were answered with yes."""
    db.executemany(_STORE, [(sink, place, question, 1) for place, question in answers])


def request_consent(db: sqlite3.Connection, sink: str, error: TargetFailed) -> str:
    """Store what the owner has to agree to, if an error says so; return how the owner agrees."""
    if not isinstance(error, Unconfirmed):
        return ""
    db.execute(_STORE, (sink, error.place, error.matter, 0))
    return f"; if that is meant: hub device sync --agree {sink or 'tick_in'}"


def agree(db: sqlite3.Connection, sink: str) -> int:
    """Agree to all that was asked about the places of a sink; return the number of questions."""
    changes = "UPDATE sink_answers SET is_yes = 1 WHERE sink = ? AND is_yes = 0"
    return db.execute(changes, (sink,)).rowcount


def confirmed(db: sqlite3.Connection, sink: str) -> frozenset[tuple[str, str]]:
    """Return place and question of all that was answered with yes about the places of a sink."""
    query = "SELECT place, question FROM sink_answers WHERE sink = ? AND is_yes"
    return frozenset((place, question) for place, question in db.execute(query, (sink,)))


def refusals_of_places(
    db: sqlite3.Connection,
    sink: Sink,
    recorded: Collection[RecordedRow],
    tables: Collection[DeviceTable],
    now: datetime,
) -> dict[str, TargetFailed]:
    """Ask each place to which a row is written for the first time what it is; return the errors by place."""
    examine = getattr(sink.target, "examine", None)  # targets of packages may have none
    question = f"{sink.kind} with {', '.join(sorted(sink.tables))}"
    agreed = confirmed(db, sink.name)
    is_used = any(sink.target.owns(row.place) for row in recorded if row.is_written)
    if is_used and not agreed:  # a place of a release that did not ask
        agreed = frozenset({(sink.target.fresh_place(now), question)})
        confirm(db, sink.name, *agreed)
    refusals: dict[str, TargetFailed] = {}
    for place in {row.place for row in recorded if row.base_text is None}:
        if examine is not None and (place, question) not in agreed:
            try:
                examine(place, tables, [matter for at, matter in agreed if at == place])
                confirm(db, sink.name, (place, question))
            except TargetFailed as error:
                refusals[place] = error
    return refusals
