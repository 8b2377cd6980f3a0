"""Log lines on standard error: text or JSON, severity prefixes for the system's journal, names for ids.

Lines for people show the names of agents and devices, and the end of other ids; JSON lines keep the ids.
"""

import os
import re
from collections.abc import Mapping
from typing import Final, TextIO

import msgspec

from hub.base.clock import from_epoch_ms, moment_text
from hub.base.log.meanings import MEANINGS
from hub.base.log.ring import LogEntry
from hub.base.printable import spelled

# RFC 5424, 6.2.1; journald reads "<n>" at the start of a line on standard error (sd-daemon(3)).
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31"}
_TRACEBACK: Final = "traceback"

NAMES_RETAINED: Final = 10_000  # names; the oldest are dropped first
_SHORT: Final = 8  # characters of an id that commands accept
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_names: dict[str, str] = {}


def json_line(entry: LogEntry) -> str:
    """Format an entry as one JSON object: ts (epoch seconds), level, event, channel, meaning, fields."""
    line: dict[str, object] = {
        "ts": entry.at / 1000,
        "level": entry.level,
        "event": entry.event,
        "channel": entry.channel,
    }
    if meaning := MEANINGS.get(entry.event):
        line["meaning"] = meaning
    line.update(entry.fields)
    return msgspec.json.encode(line, enc_hook=str).decode()


def short_line(entry: LogEntry, *, colour: bool = False) -> str:
    """Return ``2026-01-05 09:14:02 UTC warning unit.unread: MEANING; code=too_large``, a traceback below it.

    The time is local. Agents and devices have their names, other ids their last characters. Control
    characters are spelled out.
    """
    level = entry.level.ljust(7)
    if colour and entry.level in _COLOURS:
        level = f"\x1b[{_COLOURS[entry.level]}m{level}\x1b[0m"
    fields = [readable(name, str(value)) for name, value in entry.fields.items() if name != _TRACEBACK]
    shown = [f"{name}={spelled(value)}" for name, value in fields]
    when = moment_text(from_epoch_ms(entry.at), has_seconds=True)
    meaning = MEANINGS.get(entry.event)
    event = spelled(entry.event) if meaning is None else f"{entry.event}: {meaning};"
    line = " ".join([when, level, event, *shown]).removesuffix(";")
    traceback = entry.fields.get(_TRACEBACK)
    if traceback is None:
        return line
    return "\n".join([line, *(spelled(part) for part in str(traceback).split("\n"))])


def with_priority(line: str, level: str) -> str:
    """Add the priority that journald reads to the start of a line."""
    return f"<{PRIORITIES[level]}>{line}"


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return True if *stream* is journald's: JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # the stream has no file descriptor
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def learn_names(names: Mapping[str, str]) -> None:
    """Keep the names of ids for the lines that follow."""
    for id, name in names.items():
        _names.pop(id, None)
        _names[id] = name
    while len(_names) > NAMES_RETAINED:
        del _names[next(iter(_names))]


def readable(field: str, value: str) -> tuple[str, str]:
    """Return a field as a person reads it: ``agent`` and its name, or the end of a long id."""
    if name := _names.get(value):
        return field.removesuffix("_id"), name
    return field, value[-_SHORT:] if _UUID.fullmatch(value) else value
