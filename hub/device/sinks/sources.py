"""Boxes of tasks in the notes that they were found in: ticked once the task is done, where its owner agrees.

Only the mark in the box changes, only once, and only while the line is the one that was quoted.
"""

import re
import sqlite3
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Final

from hub.clock import epoch_ms
from hub.device.inbox import sources_of
from hub.device.sinks.sync import key_of
from hub.device.sinks.target import TargetChanged, TargetFailed
from hub.device.sinks.text_file import content_of, replace_content

SINK: Final = ""  # no sink of the settings has this name
_BOX: Final = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[(?P<mark> )\][ \t]")
_DONE: Final = """
SELECT tasks.id, calls.source_path, calls.quote, calls.quote_start FROM tasks
JOIN reviews ON reviews.tbl = 'tasks' AND reviews.row_id = tasks.id
JOIN calls ON calls.call_id = reviews.call_id
WHERE tasks."isApproved" AND tasks.status = 'done' AND calls.quote IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM sink_rows WHERE sink = '' AND sink_rows.row_id = tasks.id)
"""
_RECORD: Final = """
INSERT OR IGNORE INTO sink_rows (sink, key, tbl, row_id, place, base, at_ms)
VALUES ('', ?, 'tasks', ?, ?, '{"status":"done"}', ?)
"""


def tick_sources(db: sqlite3.Connection, folders: Collection[Path], now: datetime) -> str:
    """Mark the boxes of done tasks in files below *folders*; return a problem, or an empty text."""
    problem = ""
    allowed = [folder.resolve() for folder in folders]
    sources = sources_of(db)
    for row_id, path, quote, start in db.execute(_DONE).fetchall():
        file = sources.file(path)
        if file is None or not any(file.resolve().is_relative_to(folder) for folder in allowed):
            continue
        try:
            _tick(file, quote, start)
        except TargetFailed as error:  # the next look tries again
            problem = str(error)
            continue
        db.execute(_RECORD, (key_of("tasks", row_id), row_id, str(file), epoch_ms(now)))
    return problem


def _tick(file: Path, quote: str, start: int | None) -> None:
    """Mark the box of the line that has the quote; leave a line without an open box alone.

    Raises:
        TargetFailed: the file cannot be read or written now.
    """
    content, _ = content_of(file)
    try:
        text = (content or b"").decode()
    except UnicodeDecodeError:
        return
    if start is None or not text.startswith(quote, start):
        start = text.find(quote)
        if start < 0 or text.find(quote, start + 1) >= 0:
            return  # the line was changed, or could be another one
    found = _BOX.match(text, text.rfind("\n", 0, start) + 1)
    if found is None:
        return
    if content_of(file)[0] != content:
        raise TargetChanged(f"{file}: another program changed it just now")
    replace_content(file, (text[: found.start("mark")] + "x" + text[found.end("mark") :]).encode())
