"""The oracle as a process of its own, so that its work is not counted as the hub's."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.oracle.stats import Stats
from tests.support.programs import ending

_START_S = 30.0
_MAX_LINE_BYTES = 1_000


class OracleProcess:
    """Where it listens, and what it saw."""

    def __init__(self, base_url: str, pid: int) -> None:
        self.base_url = base_url
        self.pid = pid

    async def stats(self) -> Stats:
        """What it saw so far."""
        async with httpx2.AsyncClient(timeout=30) as client:
            answer = await client.get(f"{self.base_url.removesuffix('/v1')}/stats")
        return msgspec.json.decode(answer.content, type=Stats)


@asynccontextmanager
async def oracle_process(**traits: Any) -> AsyncIterator[OracleProcess]:
    """An oracle with these ``Traits``; it is gone when the block ends."""
    words = [sys.executable, "-m", "tests.support.oracle", "--traits", json.dumps(traits)]
    process = await anyio.open_process(words, stdin=DEVNULL, stdout=PIPE, stderr=None)
    assert process.stdout is not None
    async with process:
        with ending(process):
            with anyio.fail_after(_START_S):
                told = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", _MAX_LINE_BYTES)
            yield OracleProcess(told.decode().split()[1], process.pid)
