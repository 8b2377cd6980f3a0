"""Remarks to the owner about approved rows without a sink, and columns without a field."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hub.device import declared_tables
from hub.device.sinks.approved_rows import count_approved
from hub.device.sinks.sink import Sink
from hub.device.sinks.text_file import content_of
from hub.text.rows.records import column_remark
from hub.text.rows.row import TargetFailed
from protocol.tables import Tables


def remarks_on(db: sqlite3.Connection, sinks: Sequence[Sink], now: datetime) -> dict[str, str]:
    """Return a sentence for each table without a sink, and for each CSV file whose columns are no fields.

    Without any sink there is none: approved rows are to stay in the device's file.
    """
    declared = declared_tables.tables_of(db)
    remarks: dict[str, str] = {}
    for name in sorted(declared.keys() - _tables_at(sinks, declared)) if sinks else ():
        if count := count_approved(db, name):
            remedy = f'add a place for them (hub places add), or "{name}" to tables of one in device.toml'
            remarks[f"tables.{name}"] = f"{count} approved {name} go to no place: {remedy}"
    for sink in sinks:
        if sink.kind == "csv" and sink.tables[0] in declared:
            place = sink.target.fresh_place(now)
            with suppress(TargetFailed, UnicodeDecodeError):  # the sink's own problem
                text = (content_of(Path(place))[0] or b"").decode("utf-8-sig").replace("\r\n", "\n")
                if remark := column_remark(text, declared[sink.tables[0]]):
                    remarks[f"sinks.{sink.name}"] = f"{place}: {remark}"
    return remarks


def _tables_at(sinks: Sequence[Sink], declared: Tables) -> set[str]:
    """Return the tables that go to sinks, and those whose titles go there with rows that refer to them."""
    named = {name for sink in sinks for name in sink.tables}
    fields = (column for name in named & declared.keys() for column in declared[name].fields)
    return named | {column.refers_to for column in fields if column.refers_to is not None}
