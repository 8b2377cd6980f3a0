"""Events that come again and again: ten a minute, then a count.

Counted by name and by whom the event is about (a run, a schedule, an agent, a device), so
that a herd of devices is told whole and one that flaps is not. What a stranger does
is about nobody: all of it is counted together.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from hub.log.channel import fields_of

A_MINUTE: Final = 10
WINDOW_S: Final = 60.0
SUBJECTS: Final = ("run_id", "schedule_id", "agent_id", "device_id")
KEYS: Final = 8_192  # beyond, whom an event is about does not count any more
ALWAYS_TOLD: Final = ("debug.", "log.")  # what a person asked for, and this module's own counts


class Suppressed(NamedTuple):
    """How many of an event were not told within one window. *about* is an id, or empty."""

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
    """Which records are told. Times are those of the records, epoch seconds; not for several threads."""

    def __init__(self, most: int = A_MINUTE) -> None:
        self._most = most
        self._windows: dict[_Key, _Window] = {}  # the one that began first comes first

    def is_told(self, record: logging.LogRecord) -> bool:
        """Whether *record* is among the first of its kind in this minute."""
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
        """What was suppressed in windows that have ended by *now*; they are forgotten."""
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
