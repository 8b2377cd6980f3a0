"""Rate limit of a connection's input, in frames and bytes per second.

Each frame and each read reduces the remaining allowance. The clock is only read when the allowance is used
up: the accrued allowance is added, and if that is not enough, reading pauses. No data is dropped, and no
connection is closed. Messages that the hub requested are credited back, so a device is never slowed down by
fast answers.
"""

from typing import Final

STRANGER_FRAMES: Final = 32  # a hello, possibly in fragments; pings count too
HELLO_ROOM: Final = 4  # times the longest hello, so that a hello that is too long gets an error message
MAX_WAIT_S: Final = 5.0  # less than the time limit of a pong, so that a slowed device is not considered dead


class Intake:
    """Remaining allowance of one connection.

    A stranger gets the size of its request and then of a hello; ``welcome`` sets the rates of a device.
    """

    __slots__ = (
        "_bytes_per_s",
        "_filled_at",
        "_frames_per_s",
        "_is_compressed",
        "bytes_left",
        "frames_left",
    )

    def __init__(self, head_bytes: int) -> None:
        self.frames_left: float = STRANGER_FRAMES
        self.bytes_left: float = head_bytes
        self._frames_per_s = self._bytes_per_s = 0.0
        self._filled_at = 0.0
        self._is_compressed = False

    @property
    def is_stranger(self) -> bool:
        """True if the connection is not welcomed yet."""
        return not self._frames_per_s

    @property
    def is_spent(self) -> bool:
        """True if more was received than allowed."""
        return self.frames_left < 0 or self.bytes_left < 0

    def greet(self, hello_bytes: int) -> None:
        """Set the allowance for a hello, after the request."""
        self.frames_left = STRANGER_FRAMES
        self.bytes_left = HELLO_ROOM * hello_bytes

    def welcome(
        self, frames_per_s: float, bytes_per_s: float, now: float, *, is_compressed: bool = False
    ) -> None:
        """Set the rates of a device from *now* on, with bursts of one second.

        Args:
            is_compressed: its messages may be compressed, so that their received size is unknown.
        """
        self._is_compressed = is_compressed
        self._frames_per_s, self._bytes_per_s = frames_per_s, bytes_per_s
        self.frames_left, self.bytes_left = frames_per_s, bytes_per_s
        self._filled_at = now

    def give_back(self, octets: int) -> None:
        """Return the allowance for a message of *octets* bytes that the hub requested."""
        if self._is_compressed:
            octets = 0
        frames_left, bytes_left = self.frames_left + 1, self.bytes_left + octets
        self.frames_left = frames_left if frames_left < self._frames_per_s else self._frames_per_s
        self.bytes_left = bytes_left if bytes_left < self._bytes_per_s else self._bytes_per_s

    def refill(self, now: float) -> float:
        """Add the accrued allowance. Return the seconds for which reading must pause, or 0.0."""
        passed_s, self._filled_at = now - self._filled_at, now
        frames, octets = self._frames_per_s, self._bytes_per_s
        self.frames_left = min(frames, self.frames_left + passed_s * frames)
        self.bytes_left = min(octets, self.bytes_left + passed_s * octets)
        wait_s = max(-self.frames_left / frames, -self.bytes_left / octets)
        return min(wait_s, MAX_WAIT_S) if wait_s > 0 else 0.0

    @property
    def limit(self) -> str:
        """Name of the exceeded limit; read it before ``refill``."""
        return "frames_per_s" if self.frames_left < 0 else "bytes_per_s"
