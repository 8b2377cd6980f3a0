"""Limits of a connection to a device: deadlines of waits, and memory of unsent and unread frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.base.toml.limits import DEFAULTS
from hub.links.streams import MEMORY_BYTES
from protocol.frame import HELLO_TIMEOUT_S, MAX_HELLO_BYTES, MAX_MESSAGE_BYTES, MAX_PENDING_CALLS

OUTGOING_BYTES: Final = 1024 * 1024  # unsent bytes per device; above this the device counts as not reading
# queued until the end of one turn of the event loop; afterwards only bytes count
OUTGOING_FRAMES: Final = 1024
MAX_FRAGMENTS: Final = 4096  # per message; more is an attack on memory
WRITE_DEADLINE_S: Final = 10.0  # time for which the outgoing queue may stay full
CLOSE_S: Final = 5.0  # for the peer's part of the closing handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """Limits of one connection. A change applies to later connections.

    Attributes:
        frames_per_s, bytes_per_s: rates of reading; excess data waits on the device's side.
        spool_dir: None for the system's folder of temporary files.
    """

    hello_timeout_s: float = HELLO_TIMEOUT_S
    hello_bytes: int = MAX_HELLO_BYTES
    message_bytes: int = MAX_MESSAGE_BYTES
    message_fragments: int = MAX_FRAGMENTS
    frames_per_s: float = DEFAULTS.frames_per_s
    bytes_per_s: float = DEFAULTS.bytes_per_s
    outgoing_bytes: int = OUTGOING_BYTES
    outgoing_frames: int = OUTGOING_FRAMES
    pending_calls: int = MAX_PENDING_CALLS
    write_deadline_s: float = WRITE_DEADLINE_S
    close_s: float = CLOSE_S
    spool_dir: Path | None = None
    spool_memory_bytes: int = MEMORY_BYTES
