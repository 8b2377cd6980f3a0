"""What differs between Linux, macOS and Windows, for the programs of a desktop.

``folders`` opens files below a folder without following links. ``files`` keeps files private and replaces
them. ``processes`` has signals and the person at the terminal. Where a system lacks a way, another one takes
its place. Both ways are tested on each system that has them.
"""

import os
import signal
import socket
from importlib.util import find_spec
from typing import Final

_MODULES: Final = ("fcntl", "resource")
_NAMES: Final = (
    (os, ("O_DIRECTORY", "O_NOFOLLOW", "getuid", "sysconf")),
    (signal, ("SIGHUP", "SIGUSR1")),
    (socket, ("AF_UNIX", "SO_PEERCRED", "TCP_USER_TIMEOUT")),
)


def missing_for_hub() -> list[str]:
    """Return what a hub needs and this system does not have; a device needs none of it."""
    names = [(module, name) for module, names in _NAMES for name in names]
    return [name for name in _MODULES if find_spec(name) is None] + [
        f"{module.__name__}.{name}" for module, name in names if not hasattr(module, name)
    ]
