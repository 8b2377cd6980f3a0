"""Limit of open files and sockets: raising it, the reserve, and descriptors hidden from children."""

import os
from contextlib import suppress
from typing import Final

SPARE_FILES: Final = 256  # for the database, its backups, the log and the clients of services
_FEW: Final = 4  # at most a quarter of the files is reserved


def limit() -> int:
    """Return the current limit of open files of this process."""
    import resource  # imported here, and below: Windows has none

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most() -> int | None:
    """Return the highest limit that the process may set, or None if unlimited."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def raise_limit(requested: int) -> int:
    """Raise the limit of open files as far as allowed, up to the requested number. Return the limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = requested if hard == resource.RLIM_INFINITY else min(requested, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return soft


def spared(spare: int, of: int) -> int:
    """Return the number of *of* files that are reserved for other use than connections."""
    return min(spare, of // _FEW)


def keep_from_children() -> None:
    """Make all open descriptors but standard input, output and error not inheritable.

    The parent of this process may have left a pipe or a lock open; a service manager leaves its sockets.
    """
    for number in map(int, os.listdir("/dev/fd")):
        if number > 2:
            with suppress(OSError):  # the list's own descriptor is closed already
                os.set_inheritable(number, False)
