"""User id of the peer of a Unix socket, from the kernel."""

import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # struct ucred of Linux: pid, uid, gid


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id of the peer; None on any other kind of socket."""
    if connection.family is not socket.AF_UNIX:
        return None
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])
