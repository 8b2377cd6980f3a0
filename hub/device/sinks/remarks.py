"""Remarks to the owner: approved rows without a sink, columns without a field, boxes that do not follow."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

from hub.base.name_lists import listed
from hub.base.printable import one_line
from hub.device import declared_tables
from hub.device.sinks.approved_rows import count_approved
from hub.device.sinks.file_ticks import BY_OTHERS
from hub.device.sinks.sink import Sink
from hub.device.sinks.text_file import content_of
from hub.text.quotations import OF_OTHERS, kind_of_others
from hub.text.rows.records import column_remark
from hub.text.rows.row import TargetFailed
from protocol.tables import Tables

_BOXES: Final = f"""
SELECT place, title FROM sink_rows JOIN tasks ON id = row_id
WHERE sink = '' AND digest = '{BY_OTHERS}' AND "isApproved"
    AND (json_extract(base, '$.status') = 'done') != (tasks.status = 'done')
ORDER BY place
"""


def remarks_on(db: sqlite3.Connection, sinks: Sequence[Sink], now: datetime) -> dict[str, str]:
    """Return a sentence for each table without a sink, CSV file with other columns, and file with such boxes.

    Without any sink, approved rows are to stay in the device's file.
    """
    declared = declared_tables.tables_of(db)
    remarks = boxes_of_others(db)
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
    return {name: one_line(remark) for name, remark in remarks.items()}


def boxes_of_others(db: sqlite3.Connection) -> dict[str, str]:
    """Return a sentence for each file with boxes that do not follow their tasks, nor the tasks them."""
    remarks: dict[str, str] = {}
    for place, boxes in groupby(db.execute(_BOXES).fetchall(), itemgetter(0)):
        titles = listed([f"'{title}'" for _, title in boxes], 3)
        with suppress(TargetFailed):
            if content := content_of(Path(place))[0]:
                why, remedy = OF_OTHERS[kind_of_others(content.decode(errors="replace"))]
                remarks[f"boxes.{place}"] = one_line(
                    f"{place}: ticks of {titles} are neither written nor read there, since {why}:"
                    f" if the words are yours, {remedy}; else tick there and here yourself"
                )
    return remarks


def _tables_at(sinks: Sequence[Sink], declared: Tables) -> set[str]:
    """Return the tables that go to sinks, and those whose titles go there with rows that refer to them."""
    named = {name for sink in sinks for name in sink.tables}
    fields = (column for name in named & declared.keys() for column in declared[name].fields)
    return named | {column.refers_to for column in fields if column.refers_to is not None}
