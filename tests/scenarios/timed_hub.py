"""``tests.support.faulty_hub`` whose event loop writes down each long callback.

The file that LONG_CALLBACKS names gets a line for each: milliseconds of the loop's CPU time, and what ran.
On asyncio's own loop, since uvloop has nothing to hook into.
"""

import asyncio
import os
import sys
from pathlib import Path
from time import thread_time
from typing import Any, Final

from hub.app import daemon
from tests.support.faulty_hub import main

LONG_CALLBACKS: Final = "LONG_CALLBACKS"
LEAST_MS: Final = 5.0


def what_ran(callback: Any) -> str:
    """Return the coroutine of a task's step, else the name of the callback."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {owner.get_name()} {getattr(owner.get_coro(), '__qualname__', '')}"
    return str(getattr(callback, "__qualname__", callback))


def time_callbacks(path: Path) -> None:
    """Write each callback of at least LEAST_MS to *path* from now on."""
    run_callback = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        callback = handle._callback  # type: ignore[attr-defined]
        began = thread_time()
        run_callback(handle)
        took_ms = (thread_time() - began) * 1e3
        if took_ms >= LEAST_MS:
            with path.open("a") as told:
                told.write(f"{took_ms:.1f} {what_ran(callback)}\n")

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    daemon.has_uvloop = lambda: False
    time_callbacks(Path(os.environ[LONG_CALLBACKS]))
    main(sys.argv[1:])
