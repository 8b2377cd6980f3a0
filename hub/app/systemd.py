"""Service manager: passed sockets, notifications, watchdog, units; and which signal stops the hub how.

Without a service manager, only the signals have an effect: the first SIGTERM or SIGINT drains, the second
hurries, the third kills. See sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3).
"""

import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.supervisor import Drain
from protocol.errors import HubError

log = Channel(__name__)

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


class Watchdog:
    """Service that sends watchdog and status notifications to the service manager.

    Args:
        notify: sends states, like ``ServiceManager.notify``.
        watchdog_s: interval required by the service manager; ``None``: only the status line is sent.
        late: returns the names of loops that are late.
        touch: accesses the database, where a refusal counts as an answer; ``None`` for a database on another
            machine, which a restart of this process does not repair.
        status: returns the status of the hub in one line.
    """

    def __init__(
        self,
        *,
        notify: Callable[..., None],
        watchdog_s: float | None,
        late: Callable[[], Sequence[str]],
        touch: Callable[[], Awaitable[object]] | None,
        status: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._notify = notify
        self._every_s = 5.0 if watchdog_s is None else watchdog_s / 3
        self._is_watched = watchdog_s is not None
        self._late = late
        self._touch = touch
        self._status = status
        self._clock = clock
        self._last_status = ""
        self._silent_over: list[str] = []

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Notify periodically until cancelled, also while the hub drains."""
        task_status.started()
        while True:
            await self.beat()
            await self._clock.sleep(self._every_s)

    async def beat(self) -> None:
        """Check all loops once, and notify unless one of them hangs."""
        if self._is_watched:
            if self._touch is not None:
                await self._answered(self._touch)
            late = list(self._late())
            if late:
                if late != self._silent_over:
                    log.error("watchdog.silent", loops=", ".join(late))
            else:
                self._notify(WATCHDOG=1)
            self._silent_over = late
        if (status := self._status()) != self._last_status:
            self._last_status = status
            self._notify(STATUS=status)

    async def _answered(self, touch: Callable[[], Awaitable[object]]) -> None:
        try:
            await touch()
        except HubError as exc:
            log.warning("watchdog.database", why=str(exc))


STOP: Final = (signal.SIGTERM, signal.SIGINT)


async def serve_signals(
    drain: Drain,
    others: Mapping[signal.Signals, Callable[[], None]],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled: the first SIGTERM or SIGINT drains, the second hurries, the third kills.

    Args:
        others: handlers of the other signals; they must not block.
    """
    with anyio.open_signal_receiver(*STOP, *others) as signals:
        task_status.started()
        is_hurried = False
        async for received in signals:
            if received not in STOP:
                others[received]()
            elif drain.begin():
                log.info("hub.stopping", signal=received.name)
            elif not is_hurried:
                is_hurried = True
                log.info("hub.hurried", signal=received.name)
                drain.hurry()
            else:
                signal.signal(received, signal.SIG_DFL)
                os.kill(os.getpid(), received)
                os._exit(128 + received)  # the first process of a container, which no signal ends by default


_SHIPPED_PREFIX: Final = "/opt/hub"
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_PLACES: Final = {
    "hub.service": Path("etc/systemd/system/hub.service"),
    "hub.socket": Path("etc/systemd/system/hub.socket"),
    "hub-admin.socket": Path("etc/systemd/system/hub-admin.socket"),
    "hub.sysusers": Path("etc/sysusers.d/hub.conf"),
}


def unit_files(prefix: Path, python: Path) -> Mapping[Path, str]:
    """Return the contents of the unit files by their paths, relative to the root of the file system.

    Args:
        prefix: parent folder of ``bin/hub``.
        python: path of the interpreter without symbolic links; the sandbox must permit its execution.
    """
    shipped = files("hub.app.units")
    executable = [prefix] if python.is_relative_to("/usr") else [prefix, python.parent.parent]
    allowed = " ".join(str(path) for path in dict.fromkeys(executable) if not path.is_relative_to("/usr"))
    contents = {}
    for name, place in _PLACES.items():
        text = shipped.joinpath(name).read_text("utf-8")
        text = text.replace(f"ExecPaths=/usr {_SHIPPED_PREFIX}", f"ExecPaths=/usr {allowed}".rstrip())
        contents[place] = text.replace(_SHIPPED_PREFIX, str(prefix))
    return contents


def is_out_of_reach(prefix: Path, python: Path) -> bool:
    """Return True if the programs are in a home folder, which ``ProtectHome=`` hides from the service."""
    return any(path.is_relative_to(home) for path in (prefix, python) for home in _HOMES)


def this_installation() -> tuple[Path, Path]:
    """Return the prefix and the interpreter of this process."""
    return Path(sysconfig.get_path("scripts")).parent, Path(sys.executable).resolve()
