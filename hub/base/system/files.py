"""Private files (mode or access list), and replacement of files that another program has open.

Windows keeps an access list for each file in place of a mode. Its accounts are named by their identifiers,
since the names are translated. All functions block.
"""

import csv
import os
import re
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from hub.base.printable import shell_word

_PATIENCE_S: Final = 10.0
# Waits between attempts to replace a file that a scanner for viruses or an index has open for a moment.
_WAITS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# The system, its administrators, and the owner: they may read each file of a user in any case.
_TRUSTED: Final = frozenset(("SY", "BA", "OW", "CO", "S-1-5-18", "S-1-5-32-544", "S-1-3-0", "S-1-3-4"))
_ACCESS_LIST: Final = "system.posix_acl_access"
_ALLOWED: Final = re.compile(r"\(X?A;[^;]*;[^;]*;[^;]*;[^;]*;([^;)]+)")


def replace(source: Path | str, target: Path | str, folder: int | None = None) -> None:
    """Move a file over another one, also if a program has that one open for a moment. Raises OSError.

    Args:
        folder: descriptor of the folder of both, to which their names are relative.
    """
    move = partial(os.replace, source, target, src_dir_fd=folder, dst_dir_fd=folder)
    for wait_s in _WAITS_S:
        with suppress(PermissionError):
            return move()
        Event().wait(wait_s)
    return move()


def copy_access(source: int, target: int) -> list[str]:
    """Give an open file the owner, group, mode, access list and attributes of another open file.

    Attributes other than the access list are copied as far as the system allows. Windows and macOS have other
    access lists, which a new file inherits from its folder.

    Returns:
        What the file does not get of "owner", "group" and "access list": without its list, a mode may allow
        the group more than before.

    Raises:
        OSError: the mode cannot be set.
    """
    if not hasattr(os, "fchown"):
        return []
    old = os.fstat(source)
    for owner in (old.st_uid, -1):  # a member of the group may give a file of its own to it
        with suppress(OSError):
            os.fchown(target, owner, old.st_gid)
            break
    lost: list[str] = []
    with suppress(OSError, AttributeError):  # a disk, or a system, without attributes
        names = os.listxattr(source)
        if _ACCESS_LIST not in names and _ACCESS_LIST in os.listxattr(target):  # which its folder gave it
            os.removexattr(target, _ACCESS_LIST)
        for name in names:
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError:  # of this one: others follow
                lost += ["access list"] if name == _ACCESS_LIST else []
    os.fchmod(target, stat.S_IMODE(old.st_mode))  # last: a change of the owner takes bits away
    new = os.fstat(target)
    is_same = {"owner": new.st_uid == old.st_uid, "group": new.st_gid == old.st_gid}
    return [name for name in is_same if not is_same[name]] + lost


def stamp_of_file(file: Path) -> tuple[int, ...]:
    """Return what changes with each write of a file: its time, size and inode; nothing if it is missing."""
    try:
        info = file.stat()
    except OSError:
        return ()
    return info.st_mtime_ns, info.st_size, info.st_ino


def publish(source: Path, target: Path) -> None:
    """Give a complete file its name. Raises FileExistsError if another program created the file meanwhile."""
    if sys.platform == "win32":
        source.rename(target)  # it replaces no file there
    else:
        os.link(source, target)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk; Windows does so with each file."""
    if (flag := getattr(os, "O_DIRECTORY", None)) is None:
        return
    descriptor = os.open(folder, os.O_RDONLY | flag)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(file: Path) -> BinaryIO:
    """Create a file that only its owner can read, and open it for writing.

    Raises:
        FileExistsError: the file exists.
        OSError: it cannot be made, or not be restricted; it is empty then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    created = os.fdopen(os.open(file, flags, 0o600), "wb")
    try:
        restrict(file)
    except BaseException:
        created.close()
        raise
    return created


def restrict(file: Path, *, system: str = sys.platform) -> None:
    """Deny a file to all but its owner. Raises OSError."""
    if system == "win32":
        _run("icacls", str(file), "/inheritance:r", "/grant:r", f"*{_own_account()}:F")
    else:
        file.chmod(0o600)


def is_open_to_others(file: Path, *, system: str = sys.platform) -> bool:
    """Return True if other users of this machine may read or write a file, as far as the system tells."""
    try:
        if system != "win32":
            return bool(file.stat().st_mode & 0o077)
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder, "access")
            _run("icacls", str(file), "/save", str(saved))
            allowed = _ALLOWED.findall(saved.read_bytes().decode("utf-16-le"))
        return bool(set(allowed) - _TRUSTED - {_own_account()})
    except (OSError, UnicodeDecodeError):
        return False


def restricting(file: Path, *, system: str = sys.platform) -> str:
    """Return the command by which the owner of a file restricts it."""
    if system == "win32":
        return f'icacls "{file}" /inheritance:r /grant:r "%USERNAME%:F"'
    return f"chmod 600 {shell_word(file)}"


def _own_account() -> str:
    (fields,) = csv.reader(_run("whoami", "/user", "/fo", "csv", "/nh").splitlines())
    return fields[-1]


def _run(*words: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{words[0]} does not end") from error
    if done.returncode:
        raise OSError(f"{words[0]}: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout.strip()
