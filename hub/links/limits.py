"""Limits of one connection and of a port."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.links.streams import MEMORY_BYTES
from hub.open_files import SPARE_FILES
from hub.settings.limit_settings import DEFAULTS
from protocol.frame import HELLO_TIMEOUT_S, MAX_HELLO_BYTES, MAX_MESSAGE_BYTES, MAX_PENDING_CALLS

HEAD_BYTES: Final = 16 * 1024  # of the WebSocket upgrade request
OUTGOING_BYTES: Final = 1024 * 1024  # unsent bytes per device; above this the device counts as not reading
# queued until the end of one turn of the event loop; afterwards only bytes count
OUTGOING_FRAMES: Final = 1024
MAX_FRAGMENTS: Final = 4096  # per message; more is an attack on memory
WRITE_DEADLINE_S: Final = 10.0  # time for which the outgoing queue may stay full
STRANGERS: Final = 256  # each holds memory and a deadline before it is known who it is
STRANGERS_PER_NETWORK: Final = 16  # so that one address cannot take the places of all strangers
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """Limits on the connections of a port, of devices or of operators.

    Attributes:
        connections: in total; fewer if the process may not open as many files.
        strangers: connections that are not welcomed yet.
        new_at_once, new_per_s: capacity and rate of the token bucket of each network.
        spare_files: files that the process may open in addition to connections.
    """

    connections: int = DEFAULTS.connections
    connections_per_network: int = DEFAULTS.connections_per_network
    strangers: int = STRANGERS
    strangers_per_network: int = STRANGERS_PER_NETWORK
    new_at_once: int = 2 * int(DEFAULTS.new_connections_per_s)
    new_per_s: float = DEFAULTS.new_connections_per_s
    spare_files: int = SPARE_FILES
