"""How much one connection may send: frames and bytes a second, counted in plain numbers.

Each frame and each read takes from what is left. Only when nothing is left is the
clock looked at: what has come back since then is added, and where that is not
enough, the socket is not read for a while. Nothing is dropped and nobody is sent away.
What the hub asked for is given back: a device that answers as fast as it is asked is never slowed down.
"""

from typing import Final

STRANGER_FRAMES: Final = 32  # a hello, in a few parts maybe; pings count too
HELLO_ROOM: Final = 4  # times the longest hello: that it is too long is then said in words
LEAST_WAIT_S: Final = 0.05  # a socket that is stopped and started for each frame costs more than the frames
MOST_WAIT_S: Final = 5.0  # shorter than a pong may take: a device that is slowed down is not gone


class Intake:
    """What may still be read of one connection before somebody looks at the clock.

    A stranger gets what its request takes, then what a hello takes, and no more; ``welcome`` gives
    it the rates of a device.
    """

    __slots__ = ("_bytes_per_s", "_filled_at", "_frames_per_s", "bytes_left", "frames_left")

    def __init__(self, head_bytes: int) -> None:
        self.frames_left: float = STRANGER_FRAMES
        self.bytes_left: float = head_bytes
        self._frames_per_s = self._bytes_per_s = 0.0
        self._filled_at = 0.0

    @property
    def is_stranger(self) -> bool:
        """Whether it was not welcomed."""
        return not self._frames_per_s

    @property
    def is_spent(self) -> bool:
        """Whether more came than was left."""
        return self.frames_left < 0 or self.bytes_left < 0

    def greet(self, hello_bytes: int) -> None:
        """Its request is here; a hello may follow."""
        self.frames_left = STRANGER_FRAMES
        self.bytes_left = HELLO_ROOM * hello_bytes

    def welcome(self, frames_per_s: float, bytes_per_s: float, now: float) -> None:
        """From *now* on it is a device: what comes in one second may come in one go."""
        self._frames_per_s, self._bytes_per_s = frames_per_s, bytes_per_s
        self.frames_left, self.bytes_left = frames_per_s, bytes_per_s
        self._filled_at = now

    def give_back(self, octets: int) -> None:
        """Do not count a message of so many *octets*, which the hub asked for."""
        self.frames_left = min(self._frames_per_s, self.frames_left + 1)
        self.bytes_left = min(self._bytes_per_s, self.bytes_left + octets)

    def refill(self, now: float) -> float:
        """Add what has come back by *now*; for how many seconds nothing should be read, 0.0 to go on."""
        passed_s, self._filled_at = now - self._filled_at, now
        frames, octets = self._frames_per_s, self._bytes_per_s
        self.frames_left = min(frames, self.frames_left + passed_s * frames)
        self.bytes_left = min(octets, self.bytes_left + passed_s * octets)
        wait_s = max(-self.frames_left / frames, -self.bytes_left / octets)
        return min(wait_s, MOST_WAIT_S) if wait_s > 0 else 0.0

    @property
    def limit(self) -> str:
        """The name in ``[limits]`` of what is spent now; to be asked before ``refill``."""
        return "frames_per_s" if self.frames_left < 0 else "bytes_per_s"
