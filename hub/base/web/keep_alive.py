"""Idle HTTP connections: how long a server keeps one, and which time it announces.

A request that a client sends while its server closes the idle connection is lost, and a POST is not repeated.
So a server waits longer than it announces, and longer than clients keep connections, which is 5 to 60 s.
"""

from typing import Final

ANNOUNCED_S: Final = 75
IDLE_S: Final = 90
KEEP_ALIVE: Final = ("keep-alive", f"timeout={ANNOUNCED_S}")
