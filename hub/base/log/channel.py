"""Writing of log events by modules, and context fields (run, device) added to each event."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

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


def bound() -> Mapping[str, object]:
    """Return the fields that the enclosing ``bind`` blocks add."""
    return _bound.get({})


def fields_of(record: logging.LogRecord) -> Mapping[str, object] | None:
    """Return the fields of a record logged by a ``Channel``, or None for a library's record."""
    fields: Mapping[str, object] | None = getattr(record, _FIELDS, None)
    return fields


class Channel:
    """Logger of events for one module; *name* is the module's dotted name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Log an event that matters only to developers."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log an event that an operator may count."""
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log a failure that the hub handled."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Log a failure that a person should examine, with the traceback of *exc*."""
        self._emit(logging.ERROR, event, fields, exc)

    def _emit(
        self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {_FIELDS: {**bound(), **fields}}
            self._logger.log(level, event, exc_info=exc, extra=extra)
