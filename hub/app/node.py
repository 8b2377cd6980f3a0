"""Identity of this node in a database that several hubs share, stored in its state folder.

Two processes with one identity would end each other's leases and take over each other's runs. A process that
has the folder's lock knows that its predecessor is dead. A copy of the folder has a lock of its own: then the
lease of the identity shows whether another process lives under it.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from hub.api.door.sockets import AnotherHub
from hub.clock import Clock, IdFactory
from hub.runs.leases import RENEW_EVERY_S, RETRY_S
from protocol.ids import NodeId
from storage.devices import nodes
from storage.kernel.database import Database

FILE: Final = "node_id"
_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")  # changes when the machine starts
_CHECK_S: Final = 1.0


class Node:
    """Node with a state folder, which is locked until ``close``.

    Attributes:
        is_moved: True if the identity was last used in another folder, or before the machine started.

    Raises:
        AnotherHub: another process has the folder.
    """

    def __init__(self, state: Path, ids: IdFactory) -> None:
        self._path = state / FILE
        self._path.touch(mode=0o600)
        self._file = self._path.open("r+", encoding="ascii")
        try:
            fcntl.flock(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # released with the process, however it ends
        except BlockingIOError:
            self._file.close()
            raise AnotherHub(f"a hub is running on {state} already; 'hub status' shows it") from None
        known, is_whole, place = self._file.read().partition("\n")
        self._here = _place(state)
        self.id = NodeId(known if is_whole else ids.fresh())
        self.is_moved = bool(is_whole) and place != f"{self._here}\n"
        if not is_whole:
            self._write_at(0, f"{self.id}\n{self._here}\n")

    async def claim(self, database: Database, clock: Clock) -> None:
        """Wait until it is certain that no other process lives under this identity, and keep the new place.

        Raises:
            AnotherHub: one does.
        """
        if not self.is_moved:
            return
        known = await database.read(nodes.lives_until, self.id) if database.is_shared else None
        until = clock.monotonic() + RENEW_EVERY_S + RETRY_S
        while known is not None and clock.monotonic() < until:
            await clock.sleep(_CHECK_S)
            seen = await database.read(nodes.lives_until, self.id)
            if seen is not None and seen > known:
                raise AnotherHub(
                    f"{self._path.parent} is a copy: a hub with the same identity is running on the same"
                    f" database; remove {self._path} to make this hub a node of its own"
                )
            known = seen
        self._write_at(len(self.id) + 1, f"{self._here}\n")
        self.is_moved = False

    def close(self) -> None:
        """Unlock the folder."""
        self._file.close()

    def _write_at(self, start: int, text: str) -> None:
        """Write the end of the file in place: it bears the lock, and whatever is cut off, the id stays."""
        file = self._file.fileno()
        written = os.pwrite(file, text.encode("ascii"), start)
        if written < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.ftruncate(file, start + written)
        os.fsync(file)


def _place(state: Path) -> str:
    kernel = ""
    with suppress(OSError):  # not on every system
        kernel = _KERNEL.read_text(encoding="ascii").strip()
    folder = os.stat(state)
    return f"{kernel}:{folder.st_dev}:{folder.st_ino}"
