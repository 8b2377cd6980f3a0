"""Where a module logs its events, and the fields that everything inside a block bears."""

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
    """The fields that the blocks around here add."""
    return _bound.get({})


def fields_of(record: logging.LogRecord) -> Mapping[str, object] | None:
    """The fields of an event of ours; ``None`` for what a library logged."""
    fields: Mapping[str, object] | None = getattr(record, _FIELDS, None)
    return fields


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
            extra = {_FIELDS: {**bound(), **fields}}
            self._logger.log(level, event, exc_info=exc, extra=extra)
