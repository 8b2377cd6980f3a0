"""``tests.support.faulty_hub`` whose event loop writes down each long callback, and how long others wait.

The file that LONG_CALLBACKS names gets a line for each: milliseconds of the loop's CPU time, and what ran.
On asyncio's own loop, since uvloop has nothing to hook into.

The file beside it, ``.waits``, gets a line each PROBED_S: the CPU time that the loop's thread used from a
moment until it came to what was asked of it then. A request waits as long, whatever else the machine does.
"""

import asyncio
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from time import thread_time
from typing import Any, Final, TextIO

from hub.app import daemon
from tests.support.faulty_hub import main

LONG_CALLBACKS: Final = "LONG_CALLBACKS"
WAITS: Final = ".waits"
MIN_MS: Final = 5.0
PROBED_S: Final = 0.01


def what_ran(callback: Any) -> str:
    """Return the coroutine of a task's step, else the name of the callback."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {owner.get_name()} {getattr(owner.get_coro(), '__qualname__', '')}"
    return str(getattr(callback, "__qualname__", callback))


def time_callbacks(path: Path) -> None:
    """Write each callback of at least MIN_MS to *path* from now on."""
    run_callback = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        callback = handle._callback  # type: ignore[attr-defined]
        began = thread_time()
        run_callback(handle)
        took_ms = (thread_time() - began) * 1e3
        if took_ms >= MIN_MS:
            with path.open("a") as told:
                told.write(f"{took_ms:.1f} {what_ran(callback)}\n")

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]


def probe_waits(path: Path) -> None:
    """Write the waits for the loop of the next ``run_forever`` to *path*, from a thread of its own."""
    run_forever = asyncio.BaseEventLoop.run_forever

    def probed(loop: asyncio.BaseEventLoop) -> None:
        clock = time.pthread_getcpuclockid(threading.get_ident())

        def probe() -> None:
            with path.open("a", buffering=1) as waits, suppress(RuntimeError):  # the loop is closed
                while not threading.Event().wait(PROBED_S):
                    loop.call_soon_threadsafe(note, time.clock_gettime(clock), waits)

        def note(began: float, waits: TextIO) -> None:
            waits.write(f"{(thread_time() - began) * 1e3:.2f}\n")

        threading.Thread(target=probe, daemon=True).start()
        run_forever(loop)

    asyncio.BaseEventLoop.run_forever = probed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    daemon.has_uvloop = lambda: False
    time_callbacks(Path(os.environ[LONG_CALLBACKS]))
    probe_waits(Path(os.environ[LONG_CALLBACKS]).with_suffix(WAITS))
    main(sys.argv[1:])
