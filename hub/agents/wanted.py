"""Translation of a write in the words of another vocabulary into a write to the axes. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from hub.agents.documents import NUL
from hub.agents.mapped import columns_of
from hub.clock import epoch_ms
from protocol.vocabularies import CalendarExhaustReason, Vocabulary, reading
from storage.agents.agent_writes import BadWrite, StandingWrite, Word

REASON: Final = "reason"  # not a column; text for the history
METADATA_BYTES: Final = 65_536
TEXT_CHARACTERS: Final = 1_000  # limit of each text, because the history stores it


def wanted_of(vocabulary: Vocabulary, change: Mapping[str, Any]) -> StandingWrite:
    """Return the write requested by *change*, a mapping from columns of *vocabulary* to values.

    Raises:
        BadWrite: *change* is empty, or a column is unknown, read-only or has an invalid value. The message
            names the column and the correction.
    """
    if not change:
        raise BadWrite(f"say what to write: {', '.join(writable(vocabulary))}")
    words: list[Word] = []
    beside: dict[str, Any] = {}
    for column, value in change.items():
        if reading(vocabulary, column) is not None:
            words.append(Word(vocabulary, column, text_of(column, value)))
        elif column == REASON:
            beside[column] = text_of(column, value)
        elif vocabulary is Vocabulary.CALENDAR and column == "exhaust_reason":
            beside[column] = _exhaust_reason(value)
        elif vocabulary is Vocabulary.CALENDAR and column == "recovery_at":
            beside[column] = instant_of(column, value)
        elif vocabulary is Vocabulary.FOUNDATION and column == "metadata":
            beside[column] = _metadata(value)
        else:
            raise BadWrite(_not_written(vocabulary, column))
    return StandingWrite(words=tuple(words), **beside)


def writable(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the columns that can be written by this operation."""
    return tuple(column for column, written in columns_of(vocabulary).items() if written.startswith("PATCH"))


def _not_written(vocabulary: Vocabulary, column: str) -> str:
    columns = columns_of(vocabulary)
    if column not in columns:
        return f"{vocabulary} has no column {column!r}; written here are: {', '.join(writable(vocabulary))}"
    return f"{vocabulary}.{column} is not written here: {columns[column]}"


def text_of(column: str, value: Any) -> str:
    """Return a text that is not empty and within the limit. Raises BadWrite."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadWrite(f"{column}: expected text")
    if len(value) > TEXT_CHARACTERS:
        raise BadWrite(f"{column}: expected at most {TEXT_CHARACTERS} characters, not {len(value)}")
    return value


def _exhaust_reason(value: Any) -> str | None:
    if value is not None and value not in list(CalendarExhaustReason):
        raise BadWrite(f"exhaust_reason: expected one of {', '.join(CalendarExhaustReason)}, or null")
    return None if value is None else str(value)


def instant_of(column: str, value: Any) -> int | None:
    """Return the epoch milliseconds of an instant with a time zone, or None. Raises BadWrite."""
    if value is None:
        return None
    try:
        told = datetime.fromisoformat(text_of(column, value))
    except ValueError:
        told = None
    if told is None or told.tzinfo is None:
        raise BadWrite(f"{column}: expected an instant with its zone, as 2026-03-01T08:00:00Z, or null")
    return epoch_ms(told)


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadWrite("metadata: expected an object")
    return bounded_metadata(value)


def bounded_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return *metadata* after checking that it can be stored.

    Raises:
        BadWrite: it is too large, or has a null character.
    """
    told = msgspec.json.encode(metadata)
    if NUL in told:
        raise BadWrite("metadata: a null character, which cannot be kept; leave it out")
    size = len(told)
    if size > METADATA_BYTES:
        raise BadWrite(f"metadata: {size} bytes of JSON, at most {METADATA_BYTES} are kept")
    return metadata
