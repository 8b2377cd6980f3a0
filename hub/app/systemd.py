"""The service manager's side of this process: a datagram and a few environment variables.

Without a service manager every part of it does nothing. See sd_notify(3), sd_listen_fds(3)
and sd_watchdog_enabled(3).
"""

import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Final

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START


class ServiceManager:
    """What it handed over, read once, and the way to tell it how we are.

    Its variables leave *environ*, so that no child process takes them for its own.

    Attributes:
        sockets: what it listens on for us, by the names in its socket units.
        is_there: it wants to hear from us.
        watchdog_s: it wants a beat at least so often; ``None``: it does not watch.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        is_ours = environ.pop("LISTEN_PID", None) == str(os.getpid())
        count, names = environ.pop("LISTEN_FDS", "0"), environ.pop("LISTEN_FDNAMES", "")
        fds = range(FIRST_FD, FIRST_FD + int(count)) if is_ours else range(0)
        self.sockets = {name: _taken(fd) for name, fd in zip(names.split(":"), fds, strict=False)}
        usec, pid = environ.pop("WATCHDOG_USEC", None), environ.pop("WATCHDOG_PID", None)
        is_watched = usec is not None and pid in (None, str(os.getpid()))
        self.watchdog_s = int(usec or 0) / 1e6 if is_watched else None
        address = environ.pop("NOTIFY_SOCKET", "")
        self.is_there = bool(address)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def tell(self, **states: str | int) -> None:
        """Send *states*, as in ``tell(READY=1, STATUS="...")``; who does not listen misses it."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto("\n".join(f"{k}={v}" for k, v in states.items()).encode(), self._address)

    @contextmanager
    def reloading(self, monotonic_s: float) -> Iterator[None]:
        """Around a reload of the settings that began at *monotonic_s*, whichever way it ends."""
        self.tell(RELOADING=1, MONOTONIC_USEC=int(monotonic_s * 1e6))
        try:
            yield
        finally:
            self.tell(READY=1)


def _taken(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)  # its family and type are read off the descriptor
