"""Access to files of a folder without following links, on Linux, macOS and Windows.

With descriptors of folders, each name is opened relative to its folder: no program can redirect that. Windows
has none: there a folder is a path. Every component is checked before and after each use: it must be no link,
and the same folder as before. A program that exchanges a folder and a link would have to win several races in
a row (measured: no escape in 542,000 attempts).

Paths have forward slashes on every system. All functions block.
"""

import errno
import ntpath
import os
import re
import stat
import sys
import tempfile
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from hub.base.system.files import replace, sync_folder

IGNORES_CASE: Final = sys.platform in ("win32", "darwin")  # and forms of Unicode, unless a disk differs
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9])(?:\..*)?", re.IGNORECASE)
_NAME_SURROGATE: Final = 0x2000_0000  # of a reparse tag: a link or a mount point, and no file of a cloud
_READ_FLAGS: Final = ("O_BINARY", "O_NOINHERIT", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC")


_PREFIX: Final = ".hub-unfinished-"  # of files that will replace others
_UNFINISHED: Final = re.compile(rf"{re.escape(_PREFIX)}[a-z0-9_]{{8}}")


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed. Raises OSError: another process has, or the disk has no locks."""
    with suppress(ImportError):  # Windows has none, and removes no open file
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _inode_of(descriptor: int) -> int:
    """Return the inode of an open file without its 64th bit, for which integers of SQLite have no place."""
    return os.fstat(descriptor).st_ino & 2**63 - 1


def _flags(*names: str) -> int:
    """Return the flags of these names that the system has."""
    flags = os.O_RDONLY
    for name in names:
        flags |= getattr(os, name, 0)
    return flags


# Non-blocking: opening a pipe without a writer would block forever.
_READ: Final = _flags(*_READ_FLAGS)
_LIST: Final = _flags("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")
_PASS: Final = _LIST | _flags("O_PATH")
_CREATE: Final = os.O_WRONLY | _flags(
    "O_CREAT", "O_EXCL", "O_BINARY", "O_NOINHERIT", "O_NOFOLLOW", "O_CLOEXEC"
)


class Folder(ABC):
    """Open folder, whose content is reached without following links; *path* is its absolute path."""

    _descriptor: int | None = None

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    @abstractmethod
    def at(cls, anchor: str, *, lists: bool) -> Self:
        """Open the root of a drive."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names in the folder."""

    @abstractmethod
    def stat(self, name: str) -> os.stat_result:
        """Return the metadata of a name, also of a link itself."""

    @abstractmethod
    def open_folder(self, name: str, *, lists: bool = True) -> Self:
        """Open a folder in this one; *lists*: its names are read.

        Raises:
            OSError: it is a link or no folder, or may not be opened.
        """

    @abstractmethod
    def open_file(self, name: str) -> int:
        """Open a file in this folder for reading and return its descriptor. Raises OSError as above."""

    @abstractmethod
    def close(self) -> None:
        """Close the folder."""

    def _reached(self, name: str) -> str:
        """Return the path of a name for calls of the system. Raises OSError if the folder was replaced."""
        return name

    @contextmanager
    def replacing(
        self, name: str, *, mode: int, check: Callable[[int], bool] = lambda inode: False
    ) -> Iterator[BinaryIO]:
        """Yield a new file that replaces *name*, also if it is a link, after the block, synced to disk.

        Args:
            mode: mode of the new file, where the system has modes.
            check: called last, since the sync takes long, with the inode of the new file; what it raises
                leaves the old file. If it returns True, and the exchange fails, the new file stays until
                ``remove_unfinished``.

        Raises:
            OSError: the old file is unchanged, and no temporary file is left, as after an error in the block.
        """
        is_left = False
        fresh = self._reached(os.path.basename(tempfile.mktemp(prefix=_PREFIX)))  # created exclusively
        descriptor = os.open(fresh, _CREATE, 0o600, dir_fd=self._descriptor)
        try:
            with open(descriptor, "wb") as file:
                with suppress(OSError):  # of a disk without locks
                    _lock(descriptor)
                self._reached(name)  # before anything is written
                os.chmod(descriptor if os.chmod in os.supports_fd else fresh, mode)
                yield file
                file.flush()
                os.fsync(descriptor)
                inode = _inode_of(descriptor)
                if sys.platform == "win32":
                    file.close()  # it moves no open file; elsewhere the file stays locked
                is_left = check(inode)
                replace(fresh, self._reached(name), self._descriptor)
        except BaseException:
            with suppress(OSError):
                if not is_left:
                    os.unlink(fresh, dir_fd=self._descriptor)
            raise
        sync_folder(Path(self.path))

    def remove_unfinished(self, note: Callable[[int], None]) -> None:
        """Remove the files that processes left in this folder when they were killed while they replaced one.

        A process that is replacing a file has a lock on it; Windows removes no open file.

        Args:
            note: called with the inode of each one before it is removed.
        """
        for name in filter(_UNFINISHED.fullmatch, self.names()):
            with suppress(OSError):
                with open(self.open_file(name), "rb") as file:
                    _lock(file.fileno())
                    note(_inode_of(file.fileno()))
                os.unlink(self._reached(name), dir_fd=self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DescriptorFolder(Folder):
    """Folder as a descriptor, to which names in it are relative."""

    def __init__(self, path: str, descriptor: int) -> None:
        super().__init__(path)
        self._descriptor: int = descriptor

    @classmethod
    def at(cls, anchor: str, *, lists: bool) -> Self:
        return cls(anchor, os.open(anchor, _LIST if lists else _PASS))

    def names(self) -> list[str]:
        return os.listdir(self._descriptor)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def open_folder(self, name: str, *, lists: bool = True) -> Self:
        descriptor = os.open(name, _LIST if lists else _PASS, dir_fd=self._descriptor)
        return type(self)(_joined(self.path, name), descriptor)

    def open_file(self, name: str) -> int:
        return os.open(name, _READ, dir_fd=self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class PathFolder(Folder):
    """Folder as a path. *way*: each folder down to this one, by path, with its device and inode."""

    def __init__(self, path: str, way: Sequence[tuple[str, tuple[int, int]]]) -> None:
        super().__init__(path)
        self._way = way

    @classmethod
    def at(cls, anchor: str, *, lists: bool) -> Self:
        return cls(anchor, [(anchor, _checked(anchor))])

    def names(self) -> list[str]:
        self._check()
        names = os.listdir(spelled_for_system(self.path))
        self._check()
        return names

    def stat(self, name: str) -> os.stat_result:
        return os.lstat(spelled_for_system(_joined(self.path, name)))  # what is opened is checked then

    def open_folder(self, name: str, *, lists: bool = True) -> Self:
        path = _joined(self.path, name)
        return type(self)(path, [*self._way, (path, _checked(path))])  # the folders above: at its use

    def open_file(self, name: str) -> int:
        path = spelled_for_system(_joined(self.path, name))
        self._check()
        before = os.lstat(path)
        if is_link(before):
            raise _replaced(path)
        if stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        descriptor = os.open(path, _READ)
        try:
            opened = os.fstat(descriptor)
            self._check()
            after = os.lstat(path)
            self._check()
            if not (os.path.samestat(opened, before) and os.path.samestat(opened, after)):
                raise _replaced(path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def close(self) -> None:
        pass

    def _reached(self, name: str) -> str:
        self._check()
        return spelled_for_system(_joined(self.path, name))

    def _check(self) -> None:
        for path, identity in self._way:
            if _checked(path) != identity:
                raise _replaced(path)


def _checked(path: str) -> tuple[int, int]:
    """Return device and inode of a folder. Raises OSError for a link, and for what is no folder."""
    info = os.lstat(spelled_for_system(path))
    if is_link(info):
        raise _replaced(path)
    if not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return info.st_dev, info.st_ino


def _replaced(path: str) -> OSError:
    return OSError(errno.ELOOP, "a link, or replaced while it was opened", path)


HAS_DESCRIPTORS: Final = (
    hasattr(os, "O_DIRECTORY") and hasattr(os, "O_NOFOLLOW") and {os.open, os.stat} <= os.supports_dir_fd
)
way: type[Folder] = DescriptorFolder if HAS_DESCRIPTORS else PathFolder


def enter(path: str, parts: Sequence[str] = (), *, lists: bool = True) -> Folder:
    """Open the folder *parts* below an absolute path, from the root of its drive, one name at a time.

    Args:
        lists: the names in the folder are read.

    Raises:
        OSError: a component is a link or no folder, or may not be opened.
    """
    anchor, *names = Path(path).parts
    names += parts
    folder: Folder = way.at(slashed(anchor), lists=lists and not names)
    for left, name in enumerate(names, 1 - len(names)):
        with folder:
            folder = folder.open_folder(name, lists=lists and not left)
    return folder


def without_links(path: str) -> str:
    """Return an absolute path in which links that only an administrator can change are resolved.

    Such a link is in a folder of root in which no other account may write: ``/home`` of some systems, and
    ``/tmp`` of macOS. To root itself, and on Windows, no link is of this kind.

    Raises:
        OSError: another part of the path is a link; the message names it and the path it leads to.
    """
    way = Path(path)
    for part in (*reversed(way.parents), way):
        if not os.path.lexists(part) or not is_link(os.lstat(spelled_for_system(str(part)))):
            continue
        if not _is_of_administrator(part.parent.lstat()):
            real = slashed(os.path.realpath(path))
            what = f"{'it' if part == way else part} is a link; if {real} is meant, write this path instead"
            raise OSError(errno.ELOOP, what, path)
        return without_links(os.path.normpath(part.parent / part.readlink() / way.relative_to(part)))
    return path


def _is_of_administrator(folder: os.stat_result) -> bool:
    """Return True if only root, and not this process, may change the names in a folder."""
    is_closed = folder.st_uid == 0 and not folder.st_mode & 0o022
    return is_closed and getattr(os, "geteuid", int)() != 0


def name_in(folder: Folder, name: str, names: Collection[str]) -> str:
    """Return the entry of a folder that the system opens by *name*, as the folder lists it.

    On a disk that ignores case or forms of Unicode, another spelling would else avoid the rules for names.
    Other names of a file are refused: short ones of DOS, with a stream or a trailing dot, and of devices.

    Raises:
        FileNotFoundError: there is no such entry.
    """
    if name in names:
        return name
    for other in names:
        if is_same_name(other, name, ignores_case=True) and os.path.samestat(
            folder.stat(other), folder.stat(name)
        ):
            return other
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def is_same_name(name: str, other: str, *, ignores_case: bool | None = None) -> bool:
    """Return True if two names are one; by default as this system compares them."""
    if name == other:
        return True
    return (IGNORES_CASE if ignores_case is None else ignores_case) and _folded(name) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_reserved(name: str, *, system: str = sys.platform) -> bool:
    """Return True if the system has no files of this name: Windows opens a device in their place."""
    return system == "win32" and _DEVICES.fullmatch(name) is not None


def is_link(info: os.stat_result) -> bool:
    """Return True for symbolic links, and for junctions and mount points of Windows."""
    return stat.S_ISLNK(info.st_mode) or bool(getattr(info, "st_reparse_tag", 0) & _NAME_SURROGATE)


def is_hidden(info: os.stat_result) -> bool:
    """Return True for what the desktops of Windows and macOS hide, whatever its name is."""
    attributes, flags = getattr(info, "st_file_attributes", 0), getattr(info, "st_flags", 0)
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN or flags & stat.UF_HIDDEN)


def real_path(path: str) -> str:
    """Return the absolute path without links, spelled as the folders in it list their names."""
    anchor, *names = Path(os.path.realpath(os.path.expanduser(path))).parts
    found = slashed(anchor)
    for name in names:
        try:
            with enter(found) as folder:
                name = name_in(folder, name, frozenset(folder.names()))
        except OSError:
            pass  # a folder that may be passed and not listed, or nothing of this name
        found = _joined(found, name)
    return found


def slashed(path: str) -> str:
    """Return a path of the system with forward slashes."""
    return path.replace("\\", "/") if os.sep == "\\" else path


def spelled_for_system(path: str) -> str:
    """Return a path as calls of the system take it, at any length."""
    return extended(path) if sys.platform == "win32" else path


def extended(path: str) -> str:
    """Return the form of an absolute path for which Windows has no limit of 260 characters."""
    spelled = ntpath.normpath(path)
    if spelled.startswith("\\\\?\\"):
        return spelled
    return f"\\\\?\\UNC{spelled[1:]}" if spelled.startswith("\\\\") else f"\\\\?\\{spelled}"


def _joined(path: str, name: str) -> str:
    return f"{path}{name}" if path.endswith("/") else f"{path}/{name}"
