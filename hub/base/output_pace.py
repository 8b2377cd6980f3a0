"""Rate limit for reading another program's output, so that a flood does not block the event loop."""

from typing import Final

import anyio
import anyio.lowlevel

LOG_BYTES_PER_S: Final = 1 << 20  # of standard error
LINES_BYTES_PER_S: Final = 16 << 20  # of standard output
MIN_BYTES: Final = 1 << 10  # that a part counts, which bounds the parts in a second, too
_MIN_PAUSE_S: Final = 0.01


class OutputPace:
    """Pauses of a reader after each part of the output, in proportion to its size."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._owed_s = 0.0

    async def pause(self, size: int) -> None:
        """Pause after a part of *size* bytes; many small parts share a pause, but others run after each."""
        self._owed_s += max(size, MIN_BYTES) / self._bytes_per_s
        if self._owed_s < _MIN_PAUSE_S:
            await anyio.lowlevel.checkpoint()
        else:
            owed_s, self._owed_s = self._owed_s, 0.0
            await anyio.sleep(owed_s)
