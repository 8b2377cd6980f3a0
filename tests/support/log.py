"""A log of a test's own, and what the process had before afterwards."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hub.base.log import Log, LogFile, open_log


class Opened:
    """A log that was opened on a stream of the test."""

    def __init__(self, log: Log, stream: io.StringIO) -> None:
        self.log = log
        self._stream = stream

    def lines(self) -> list[str]:
        """Everything that was written; the log is closed for it."""
        self.log.close()
        return self._stream.getvalue().splitlines()


@contextmanager
def opened_log(
    level: str = "info",
    stream: io.StringIO | None = None,
    *,
    content: bool = False,
    file: LogFile | None = None,
    **limits: int,
) -> Iterator[Opened]:
    """A log for the block; the loggers are as they were before when it is left."""
    root, ours = logging.getLogger(), logging.getLogger("hub")
    before = list(root.handlers), root.level, ours.level
    stream = stream or io.StringIO()
    log = open_log(level, stream, content=content, file=file, environ={}, **limits)
    try:
        yield Opened(log, stream)
    finally:
        log.close()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])
