"""Interface to the service manager: notification datagrams and environment variables.

Without a service manager, nothing has an effect. See sd_notify(3), sd_listen_fds(3) and
sd_watchdog_enabled(3).
"""

import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Final

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START


class ServiceManager:
    """Sockets and settings from the service manager, read once, and notifications to it.

    Its variables are removed from *environ*, so that no child process uses them.

    Attributes:
        sockets: inherited listening sockets, by the names in their socket units.
        is_managed: True if the service manager accepts notifications.
        watchdog_s: maximum interval of watchdog notifications; ``None``: no watchdog.
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
        self.is_managed = bool(address)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def notify(self, **states: str | int) -> None:
        """Send *states*, as in ``notify(READY=1, STATUS="...")``; without a service manager, do nothing."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto("\n".join(f"{k}={v}" for k, v in states.items()).encode(), self._address)

    @contextmanager
    def reloading(self, monotonic_s: float) -> Iterator[None]:
        """Wrap a reload of the settings that began at *monotonic_s* in the notifications about it."""
        self.notify(RELOADING=1, MONOTONIC_USEC=int(monotonic_s * 1e6))
        try:
            yield
        finally:
            self.notify(READY=1)


def _taken(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)  # family and type are detected from the descriptor
