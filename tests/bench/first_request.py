"""Row 23: how long the first request of an operator holds up the event loop that serves devices.

Run as a program it is one measurement: a server in a fresh process, its first requests by a client in another
thread, and the longest callback of the loop meanwhile, in milliseconds of the loop's CPU time.
"""

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any, Final

import anyio.to_thread

from tests.bench.rounds import alone, play, ratio, spread_of
from tests.bench.rows import Row, at_least, at_most

_ASKED: Final = ("/healthz", "/readyz", "/v1/status", "/v1/agents")
READY, AT_FIRST = "built before it is ready", "built at the first request"


def run(report: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 23, each figure in a process of its own."""
    report(f"the first requests of a process, one after the other: {' '.join(_ASKED)}")
    rounds = play({when: partial(_measured, when) for when in (READY, AT_FIRST)}, told=report)
    for when in (READY, AT_FIRST):
        spread = spread_of([played[when].value for played in rounds])
        report(f"{when:>26}: {spread.least:.1f} / {spread.middle:.1f} / {spread.most:.1f} ms")
    return [
        Row("23", "longest callback: built at first / before", at_least(5), ratio(rounds, AT_FIRST, READY)),
        Row("23", "the same, built before", at_most(10, "ms"), alone(rounds, READY), unit="ms"),
    ]


def _measured(when: str) -> float:
    words = [sys.executable, "-m", "tests.bench.first_request", when]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


async def _longest_ms(when: str) -> float:
    from hub.api.door import server
    from tests.support.facade import FakeHub, serving

    longest = 0.0
    run_callback = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        began = thread_time()
        run_callback(handle)
        longest = max(longest, thread_time() - began)

    with TemporaryDirectory() as folder:
        async with serving(FakeHub(), Path(folder)) as listening:
            if when == AT_FIRST:
                vars(server)["application"] = _built_anew
            asyncio.Handle._run = timed  # type: ignore[assignment, method-assign]
            await anyio.to_thread.run_sync(_ask, str(listening.unix))
            asyncio.Handle._run = run_callback  # type: ignore[method-assign]
    return 1_000 * longest


@cache
def _built_anew() -> Any:
    """Return the application of a hub that imports its routes at the first request."""
    for name in [name for name in sys.modules if name.startswith("hub.api.nouns")]:
        del sys.modules[name]
    return importlib.import_module("hub.api.application").application()


def _ask(path: str) -> None:
    connection = HTTPConnection("hub")
    connection.sock = socket(AF_UNIX)
    connection.sock.connect(path)
    for asked in _ASKED:
        connection.request("GET", asked)
        answer: Any = connection.getresponse()
        assert answer.status == 200, asked
        answer.read()
    connection.close()


if __name__ == "__main__":
    sys.stdout.write(f"{anyio.run(_longest_ms, sys.argv[1])}\n")
