"""Processes that read documents by rules: each costs most of a second to start, so hubs hand them on."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Final

from hub.extraction.rules_process import RulesProcess

_IDLE: Final[list[Popen[bytes]]] = []


@contextmanager
def lent_process(rules: RulesProcess) -> Iterator[None]:
    """Give the hub of the block a process that an earlier hub started; keep the one it has at the end."""
    rules.process = _IDLE.pop() if _IDLE else None
    yield
    if rules.process is not None:
        _IDLE.append(rules.process)
        rules.process = None


@atexit.register
def _end() -> None:
    for process in _IDLE:
        rules = RulesProcess()
        rules.process = process
        rules.close()
