"""The process's limit of open files, shared by connections and the rest of the hub."""

import resource
from typing import Final

_FEW: Final = 4  # at most a quarter of the files is reserved


def limit() -> int:
    """Return the current limit of open files of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most() -> int | None:
    """Return the highest limit that the process may set, or None if unlimited."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def raise_limit(wanted: int) -> int:
    """Raise the limit of open files as far as allowed, up to the requested number. Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return soft


def spared(spare: int, of: int) -> int:
    """Return the number of *of* files that are reserved for other use than connections."""
    return min(spare, of // _FEW)
