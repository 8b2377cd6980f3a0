"""Formats of log entries (names, ends of ids), and places of entries: files, a ring; with redaction.

Lines for people show the names of agents and devices, and the end of other ids; JSON lines keep the ids.

Ring buffer of the last log entries, numbered, for the log views of a running hub.

Entries are added from any thread, and read and awaited on the event loop. The oldest entries are discarded; a
reader notices missing entries by their numbers.

Log entries in files of the state folder, for the log views after a restart; bounded in bytes.

Two files: the current one, and the one before it, which is replaced when the current one is half as long as
the bound. A line is an entry as JSON. Lines that a killed process left incomplete are skipped.

Redaction of secrets and document content in log texts and fields.

Tokens and keys are recognized by their form, passwords by their context, and document content by the name of
its field. This is the last line of defence: callers should not log any of it.
"""

import asyncio
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, TextIO

import msgspec

from hub.base.clock import from_epoch_ms, moment_text
from hub.base.log.meanings import MEANINGS
from hub.base.printable import one_line, spelled
from protocol.secret_rules import REDACTED, SECRET_FIELD, redact_secrets

ENTRIES: Final = 2_000  # some minutes of a busy hub; about 1 MiB


class LogEntry(msgspec.Struct, frozen=True):
    """Logged event, redacted.

    Attributes:
        seq: sequence number without gaps; the first entry of a process follows the last one of its file.
        at: epoch milliseconds.
        level: debug, info, warning or error.
        event: the event's stable name.
        channel: the module that logged it.
        fields: plain values: texts, numbers, lists and mappings of them.
    """

    seq: int
    at: int
    level: str
    event: str
    channel: str
    fields: dict[str, object]


class Ring:
    """Ring buffer of the newest *most* entries, numbered after *last*."""

    def __init__(self, most: int = ENTRIES, last: int = 0) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=most)
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._last = last

    @property
    def last(self) -> int:
        """Sequence number of the newest entry; 0 if the ring is empty."""
        return self._last

    @property
    def first(self) -> int:
        """Sequence number of the oldest kept entry; ``last + 1`` if the ring is empty."""
        return self._last - len(self._entries) + 1

    def append(self, *, at: int, level: str, event: str, channel: str, fields: dict[str, object]) -> LogEntry:
        """Append an entry with the next sequence number. Never blocks on readers."""
        with self._lock:
            self._last += 1
            entry = LogEntry(self._last, at, level, event, channel, fields)
            self._entries.append(entry)
            waiting, self._waiting = self._waiting, set()
        for loop, waiter in waiting:
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_wake, waiter)
        return entry

    def since(self, seq: int) -> list[LogEntry]:
        """Return the kept entries after number *seq*, the oldest first; discarded entries are missing."""
        with self._lock:
            if self._last - seq >= len(self._entries):
                return list(self._entries)
            return [self._entries[index] for index in range(seq - self._last, 0)]

    async def wait(self, seq: int) -> None:
        """Wait until an entry after number *seq* exists."""
        while True:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            with self._lock:
                if self._last > seq:
                    return
                self._waiting.add((loop, waiter))
            try:
                await waiter
            finally:
                with self._lock:
                    self._waiting.discard((loop, waiter))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


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


NAME: Final = "hub.jsonl"
TAIL_BYTES: Final = 256 * 1024  # longer than any entry: fields and tracebacks are shortened

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_decode: Final = msgspec.json.Decoder(LogEntry).decode


class LogFile:
    """Files of log entries in *folder*.

    One thread writes, any other may read meanwhile.

    Attributes:
        most: total length in bytes at which the oldest entries go.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._path = folder / NAME
        self._older = folder / f"{NAME}.1"
        self.most = most

    def last_seq(self) -> int:
        """Return the sequence number of the last entry; 0 if there is none, or if it cannot be read."""
        for path in (self._path, self._older):
            with suppress(OSError), path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                if entries := list(_entries(file)):
                    return entries[-1].seq
        return 0

    def write(self, entries: Iterable[LogEntry]) -> None:
        """Append entries. On a full or broken disk they are lost; the log itself goes on."""
        lines = b"".join(b"\n" + _encode(entry) for entry in entries)
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, lines)
                is_full = os.fstat(file).st_size >= self.most // 2
            finally:
                os.close(file)
            if is_full:
                self._path.replace(self._older)

    def read(self, since: int, until: int | None = None) -> list[LogEntry]:
        """Return the entries at or after *since* and before *until*, epoch milliseconds, the oldest first."""
        found: dict[int, LogEntry] = {}
        for path in (self._path, self._older):  # it may become the older one meanwhile
            with suppress(OSError), path.open("rb") as file:
                for entry in _entries(file):
                    if since <= entry.at and (until is None or entry.at < until):
                        found[entry.seq] = entry
        return [found[seq] for seq in sorted(found)]


def _entries(lines: Iterable[bytes]) -> Iterator[LogEntry]:
    for line in lines:
        with suppress(msgspec.MsgspecError):
            yield _decode(line)


MAX_TEXT: Final = 2_000  # characters of one value
MAX_FOREIGN_CHARS: Final = 400  # of a message of another program
_MAX_READ: Final = 65_536  # characters of one value; the middle of a longer one is never shown

# Names of fields with document content, logged only with log.content = true.
CONTENT_FIELDS: Final = frozenset(
    {"completion", "content", "data", "document", "item", "items_found", "prompt", "quote", "text"}
)

LAST_WORDS: Final = "; its last words: "  # of a program that reads documents: before them in a message
_ID: Final = re.compile(r"[0-9a-f-]{1,40}\Z")  # most values are ids, and no secret has this form
# Pydantic's quotation of invalid input.
_QUOTED_INPUT: Final = re.compile(r"(input_value=).*?(?=, input_type=|\]$|\Z)", re.DOTALL)


def redact(text: str, *, content: bool = False) -> str:
    """Return *text* without secrets; also without content that an error quotes, unless *content*."""
    text = redact_secrets(text)
    before, mark, words = text.partition(LAST_WORDS)
    text = f"{before}{mark}{REDACTED}" if words and not content else text
    return text if content or "input_value=" not in text else _QUOTED_INPUT.sub(rf"\1{REDACTED}", text)


def foreign_words(text: str, *, secret: str = "") -> str:
    """Return a message of another program as one printable line of bounded length without secrets.

    Args:
        secret: of the connection to that program, which may have any form.
    """
    text = text[: 10 * MAX_FOREIGN_CHARS]  # half a secret would not be recognized
    text = text.replace(secret, REDACTED) if len(secret) > 5 else text
    text = one_line(redact_secrets(text)).strip()
    return text if len(text) <= MAX_FOREIGN_CHARS else f"{text[:MAX_FOREIGN_CHARS]}…"


def redact_fields(fields: Mapping[str, object], *, content: bool = False) -> dict[str, object]:
    """Return *fields* as plain values, redacted, each text at most MAX_TEXT characters.

    Args:
        content: True if document content may be logged.
    """
    return {
        name: REDACTED if _is_hidden(name, value, content) else _plain(value, content)
        for name, value in fields.items()
    }


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """Return *text*, or its two ends if it is longer than *most* characters."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end]} [{len(text) - most} characters cut] {text[-end:]}"


def _is_hidden(name: object, value: object, content: bool) -> bool:
    if value is None or isinstance(value, bool | int | float):
        return False  # a count of tokens is not a token
    return _is_secret(str(name)) or (not content and name in CONTENT_FIELDS)


@lru_cache(maxsize=1_024)
def _is_secret(field: str) -> bool:
    return SECRET_FIELD.search(field[-256:]) is not None


def _plain(value: object, content: bool) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value) if _ID.match(value) else _short(value, content)
        case Mapping():
            return redact_fields({str(name): inner for name, inner in value.items()}, content=content)
        case list() | tuple() | set() | frozenset():
            return [_plain(inner, content) for inner in value]
        case _:
            return _short(str(value), content)


def _short(text: str, content: bool) -> str:
    """Return *text* redacted, and then shortened, as half a secret would not be recognized."""
    return shortened(redact(shortened(text, _MAX_READ), content=content))
