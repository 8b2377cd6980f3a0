"""Notice of changes in folders by Linux, without cost while nothing changes.

Folders are watched one by one, so that those that are left out cost no watch and no event. A watch belongs
to the folder itself, whatever becomes of its path: each walk of the folders adds it anew, and ends those of
folders that it does not find any more. Events of a network disk are those of this machine alone.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Collection, Iterator
from threading import Lock
from typing import Final

MAX_FOLDERS: Final = 20_000  # about 1 KiB of the kernel's memory each

_EVENT: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_BYTES: Final = 64 * 1024
_OVERFLOW: Final = 0x4000
# IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE; IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK
_MASK: Final = 0x8 | 0x80 | 0x100 | 0x1000000 | 0x2000000 | 0x4000000
_FULL: Final = {
    errno.ENOSPC: "the system allows no more (sysctl fs.inotify.max_user_watches)",
    errno.ENOMEM: "the system has no memory for more",
}


class FolderWatch:
    """Watched folders, by their absolute paths. ``add`` may be called by several threads.

    Attributes:
        descriptor: readable when something has changed.
        why_partial: why not all folders are watched; empty: all are.

    Raises:
        OSError: this system has no such notice, or no more of them.
    """

    def __init__(self, *, most: int = MAX_FOLDERS) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._most = most
        self._system = ctypes.CDLL(None, use_errno=True)
        self._lock = Lock()
        self._paths: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self.why_partial = ""
        self.descriptor: int = self._system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: str) -> bool:
        """Watch a folder. Return True if it was not watched before."""
        with self._lock:
            if path not in self._watches and len(self._paths) >= self._most:
                self.why_partial = f"{self._most} are watched at most"
                return False
            watch = self._system.inotify_add_watch(self.descriptor, os.fsencode(path), _MASK)
            if watch < 0:
                self.why_partial = _FULL.get(ctypes.get_errno(), self.why_partial)
                return False
            if self._paths.get(watch) == path:
                return False
            self._paths[watch] = path
            self._watches[path] = watch
            return True

    def end_others(self, top: str, found: Collection[str]) -> None:
        """End the watches of folders at or below *top* that were not *found*."""
        with self._lock:
            for watch, path in list(self._paths.items()):
                is_below = path == top or path.startswith(f"{top}/")
                if is_below and (path not in found or self._watches.get(path) != watch):
                    self._system.inotify_rm_watch(self.descriptor, watch)
                    self._paths.pop(watch, None)
            self._watches = {path: watch for watch, path in self._paths.items()}

    def read(self) -> Iterator[tuple[str, str] | None]:
        """Yield folder and name of what has changed; None: events were lost, so anything may have."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                yield None
            elif mask & _MASK and (folder := self._paths.get(watch)) is not None:
                yield folder, os.fsdecode(data[at - length : at].rstrip(b"\0"))

    def close(self) -> None:
        """End all watches."""
        os.close(self.descriptor)
