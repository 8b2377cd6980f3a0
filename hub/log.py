"""Logs as events: a stable, dotted name in the past tense, then fields.

Standard logging underneath, so that libraries and handlers need nothing new.
``bind`` gives every event inside it the same fields. No document text, no token
and no person's address ever goes into a field: ids only.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TextIO

import msgspec

_bound: ContextVar[dict[str, object]] = ContextVar("bound")
_FIELDS: Final = "_hub_fields"


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Add *fields* to every event logged inside the block, tasks started in it included."""
    token = _bound.set(_bound.get({}) | fields)
    try:
        yield
    finally:
        _bound.reset(token)


class Channel:
    """Where a module logs. *name* is the module's own dotted name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """What only a developer asks for."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator would count."""
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """It went wrong and we coped."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """A person should look. *exc* brings its traceback along."""
        self._emit(logging.ERROR, event, fields, exc)

    def _emit(
        self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {_FIELDS: _bound.get({}) | fields}
            self._logger.log(level, event, exc_info=exc, extra=extra)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (s), level, event, channel, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "channel": record.name,
        }
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class LineFormatter(logging.Formatter):
    """A short line for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, {})
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        at = self.formatTime(record, "%H:%M:%S")
        line = f"{at} {record.levelname.lower():7} {record.getMessage()} {told}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def open_log(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every event of this process to *stream* (standard error), as JSON unless it is a terminal."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter() if stream.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("websockets", "httpx2", "httpcore2", "openai", "uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
