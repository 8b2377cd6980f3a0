"""Suppression of repeated events: ten a minute are logged, the others are counted.

Events are counted by name and subject (run, schedule, agent or device). So events of many devices are all
logged, while one flapping device is suppressed. Events of strangers have no subject and share one count.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from hub.log.channel import fields_of

A_MINUTE: Final = 10
WINDOW_S: Final = 60.0
SUBJECTS: Final = ("run_id", "schedule_id", "agent_id", "device_id")
KEYS: Final = 8_192  # above this number of counters, the subject is ignored
ALWAYS_TOLD: Final = ("debug.", "log.")  # requested by a person, and the counts of this module


class Suppressed(NamedTuple):
    """Number of suppressed events within one window. *about* is the subject's id, or empty."""

    event: str
    channel: str
    about: str
    level: int
    times: int


class _Window:
    __slots__ = ("began", "level", "seen")

    def __init__(self, began: float) -> None:
        self.began = began
        self.seen = 0
        self.level = 0


_Key = tuple[str, str, str]


class Duplicates:
    """Counters that decide whether a record is logged; not thread-safe.

    Times are those of the records, in epoch seconds.
    """

    def __init__(self, most: int = A_MINUTE) -> None:
        self._most = most
        self._windows: dict[_Key, _Window] = {}  # ordered by start time

    def is_told(self, record: logging.LogRecord) -> bool:
        """Count *record* and return True if it is among the first equal ones of its window."""
        key = self._key(record)
        if key[1].startswith(ALWAYS_TOLD):
            return True
        window = self._windows.get(key)
        if window is None or not 0.0 <= record.created - window.began < WINDOW_S:
            self._windows.pop(key, None)
            window = self._windows[key] = _Window(record.created)
        window.seen += 1
        window.level = max(window.level, record.levelno)
        return window.seen <= self._most

    def ended(self, now: float) -> Iterator[Suppressed]:
        """Yield and forget the counts of windows that ended by *now* with suppressed events."""
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if 0.0 <= now - window.began < WINDOW_S:
                return
            del self._windows[key]
            if window.seen > self._most:
                channel, event, about = key
                yield Suppressed(event, channel, about, window.level, window.seen - self._most)

    def _key(self, record: logging.LogRecord) -> _Key:
        fields = fields_of(record)
        event = str(record.msg).partition("\n")[0]
        about = "" if fields is None else _about(fields)
        key = (record.name, event, about)
        if len(self._windows) < KEYS or key in self._windows:
            return key
        return (record.name, "" if fields is None else event, "")


def _about(fields: Mapping[str, object]) -> str:
    for name in SUBJECTS:
        if (subject := fields.get(name)) is not None:
            return str(subject)
    return ""
