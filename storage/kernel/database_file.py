"""The file that a SQLite database is: which one an address names, and that one hub alone has it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.kernel.address import SQLITE
from storage.kernel.database import Busy, Unavailable


def file_of(url: str, base: Path | None = None) -> Path | None:
    """The file that *url* names, or ``None`` for a database in memory.

    Args:
        base: the folder that a relative file lies in; the working directory by default.

    Raises:
        Unavailable: it names none.
    """
    if not url.startswith(SQLITE):
        # Not repeated: what was meant as the address of a server may have a password in it.
        raise Unavailable(
            "the database is of a kind this hub does not know; write sqlite:///hub.db"
            " or postgresql://user@host/name"
        )
    name = url.removeprefix(SQLITE)
    if name in ("", "/:memory:"):
        return None
    if not name.startswith("/") or name == "/":
        raise Unavailable(f"the database {url!r} names no file; write sqlite:///hub.db")
    return ((base or Path.cwd()) / name[1:]).resolve()


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Keep every other hub off the file, until the block is left or the process dies.

    A lock on a file beside it: SQLite's own locks come and go with transactions.

    Raises:
        Busy: a hub has it open.
        Unavailable: the lock cannot be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open the database {path}: {error.strerror} ({lock})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise Busy(
            f"another hub (process {holder}) has the database {path} open; stop it first,"
            " or give this one a folder of its own with --state DIR"
        ) from None
    try:
        with suppress(OSError):  # on a full disk; the lock holds, only its holder's number is not told
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)  # the lock goes with it; the file stays, so that nobody locks one that was removed
