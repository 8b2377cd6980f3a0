"""Addresses of databases, files on this machine or servers, and who has them open.

One hub at a time opens a file, which a lock ensures. The hubs that share a server name their sessions there:
a hub may freeze in the middle of a statement because it was suspended or its machine vanished. It then keeps
the locks of its transaction, and no time-out of the server applies to a partly received statement. A hub that
takes over therefore ends the sessions of the frozen hub first.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from storage.kernel.database import Busy, Unavailable

SQLITE = "sqlite://"
SERVER = "postgresql://"


def shown(url: str) -> str:
    """Return *url* without its password and options, for messages."""
    scheme, _, rest = url.partition("://")
    login, at, where = rest.rpartition("@")  # from the right, because a password may contain "@"
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}{at}{where.partition('?')[0]}"


def has_password(url: str) -> bool:
    """Return True if *url* contains a password."""
    login, _, where = url.partition("://")[2].rpartition("@")
    return ":" in login or "password=" in where


def file_of(url: str, base: Path | None = None) -> Path | None:
    """Return the file that *url* names, or ``None`` for a database in memory.

    Args:
        base: folder of a relative path; by default the working directory.

    Raises:
        Unavailable: the URL names no file.
    """
    if not url.startswith(SQLITE):
        # The URL is not repeated: it may contain the password of a server.
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
    """Lock the file against every other hub, until the block ends or the process dies.

    The lock is on a file next to the database: SQLite's own locks end with each transaction.

    Raises:
        Busy: another hub has the file open.
        Unavailable: the lock file cannot be opened.
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
        # on a full disk: the lock still holds, only the process id is missing from it
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # releases the lock; the file stays, because another process may wait for a lock on it
        os.close(handle)


END_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND usename = current_user AND pid <> pg_backend_pid()"
)


def session_name(boot_id: str) -> str:
    """Return the application name of the sessions of this hub process."""
    return f"hub {boot_id}"


def end_sessions(c: sa.Connection, boot_ids: Iterable[str]) -> None:
    """End every session of these hub processes, whose leases expired. No effect on SQLite."""
    if c.dialect.name != "postgresql":
        return
    for boot_id in boot_ids:
        c.execute(END_SESSIONS, {"session": session_name(boot_id)})
