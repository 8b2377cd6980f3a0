"""Items that were found in a sink's own file, or ticked where they were found: not written there."""

import os
import re
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

from hub.device.items import sources_of
from hub.device.sinks.sink import Sink
from hub.text.rows.row_keys import key_of

_LISTED: Final = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_SOURCES: Final = """
SELECT reviews.tbl, reviews.row_id, source_path, quote, quote_start,
json_extract(written, '$.status') = 'done' AND reviews.row_id IN (SELECT id FROM tasks WHERE status = 'done')
FROM reviews JOIN calls USING (call_id)
WHERE source_path IS NOT NULL
"""


def listed_already(db: sqlite3.Connection, sink: Sink, keys: Collection[str], place: str) -> set[str]:
    """Return those of *keys* whose rows were found in the target's own files, or ticked where found.

    What is changed or deleted there later stays so. In Markdown this holds for lists: out of prose, a row
    becomes a line. Of a file that no longer exists, what the file at *place* has was found there: it was
    renamed.
    """
    found: set[str] = set()
    sources, own, missing = sources_of(db), dict[str, bool](), dict[str, bool]()
    for table, row_id, path, quote, start, is_ticked in db.execute(_SOURCES) if keys else ():
        if is_ticked:
            found.add(key_of(table, row_id))
        if path not in own:
            file = sources.file(path)
            own[path] = file is not None and any(map(sink.target.owns, {str(file), os.path.realpath(file)}))
            missing[path] = file is not None and not file.exists()
        if (own[path] or missing[path]) and (key := key_of(table, row_id)) in keys:
            line = sources.line(path, quote, start) if sink.kind == "markdown" else None
            line = sources.line_without_key(Path(place), quote) if missing[path] else line
            is_listed = sink.kind != "markdown" or line is None or _LISTED.match(line)
            if is_listed and (own[path] or line is not None):
                found.add(key)
    return found & {*keys}
