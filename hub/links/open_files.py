"""The process's limit of open files: each connection is one, and the rest of the hub needs some too."""

import resource
from typing import Final

_FEW: Final = 4  # of few files a quarter is spared, not more


def limit() -> int:
    """How many files this process may open, by now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most() -> int | None:
    """How many it may open once it has raised its limit; ``None``: as many as it likes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def raise_limit(wanted: int) -> int:
    """Let this process open *wanted* files, or as many as it may; gives what it may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return soft


def spared(spare: int, of: int) -> int:
    """How many of *of* files are kept from connections, when *spare* are to be."""
    return min(spare, of // _FEW)
