"""What connections may cost: of one device, and of all that knock. The numbers are those of ``[limits]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.links.streams import MEMORY_BYTES
from protocol.frame import HELLO_TIMEOUT_S, MAX_HELLO_BYTES, MAX_MESSAGE_BYTES, MAX_PENDING_CALLS

HEAD_BYTES: Final = 16 * 1024  # of the request that asks for a WebSocket
OUTGOING_BYTES: Final = 1024 * 1024  # unsent, of one device; one that stands above it does not read
OUTGOING_FRAMES: Final = 1024  # waiting for the end of one loop turn; later they are only bytes
MAX_FRAGMENTS: Final = 4096  # of one message; more is someone who wants to cost us memory
FRAMES_PER_S: Final = 200.0
BYTES_PER_S: Final = 4.0 * 1024 * 1024
WRITE_DEADLINE_S: Final = 10.0  # how long the outgoing queue may stand full
CLOSE_S: Final = 5.0  # what a peer gets for its half of the closing handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """What one connection may cost. A change holds for connections made after it.

    Attributes:
        frames_per_s, bytes_per_s: that are read; what comes faster waits on the device's side.
        spool_dir: by default the system's own for temporary files.
    """

    hello_timeout_s: float = HELLO_TIMEOUT_S
    hello_bytes: int = MAX_HELLO_BYTES
    message_bytes: int = MAX_MESSAGE_BYTES
    message_fragments: int = MAX_FRAGMENTS
    frames_per_s: float = FRAMES_PER_S
    bytes_per_s: float = BYTES_PER_S
    outgoing_bytes: int = OUTGOING_BYTES
    outgoing_frames: int = OUTGOING_FRAMES
    pending_calls: int = MAX_PENDING_CALLS
    write_deadline_s: float = WRITE_DEADLINE_S
    close_s: float = CLOSE_S
    spool_dir: Path | None = None
    spool_memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """How many connections a port takes, of devices or of operators.

    Attributes:
        connections: of all together; fewer where the process may not open so many files.
        strangers: of them, those that were not welcomed yet.
        new_at_once, new_per_s: of one network, as a bucket that holds the one and fills by the other.
        spare_files: how many more than the connections the process may open.
    """

    connections: int = 10_000
    connections_per_network: int = 32
    connections_per_user: int = 16
    strangers: int = 256
    strangers_per_network: int = 16
    new_at_once: int = 20
    new_per_s: float = 10.0
    spare_files: int = 256
