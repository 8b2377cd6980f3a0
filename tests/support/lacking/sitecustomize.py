"""Takes names of Linux from an interpreter before anything else is imported, as on a system without them.

``PYTHONPATH=tests/support/lacking HUB_WITHOUT=fcntl,os.fork``: modules, and attributes of modules. Processes
that such an interpreter starts lack them too.
"""

import importlib
import os
import socket
import sys
from functools import partial

WITHOUT = [name for name in os.environ.get("HUB_WITHOUT", "").split(",") if name]


def _remove(name: str) -> None:
    module, _, attribute = name.partition(".")
    if not attribute:
        sys.modules[name] = None  # type: ignore[assignment]  # as the import system documents it
        return
    owner = importlib.import_module(module)
    if name == "socket.AF_UNIX":  # Windows makes the pair of an event loop of two connections
        setattr(socket, "socketpair", partial(socket.socketpair, socket.AF_UNIX))  # noqa: B010  # mypy
    if hasattr(owner, attribute):
        delattr(owner, attribute)


for _name in WITHOUT:
    _remove(_name)
