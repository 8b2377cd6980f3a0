"""Separate process for reading by rules: start, time limit, memory, restart after a crash.

It is started with the first document, and ended when there was none for a while, with its memory of 40 MB. A
text that breaks it, or takes too long, is given up alone: the next one gets another process.
"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Clock, SystemClock
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.extraction.items import Extraction
from hub.extraction.model import ExtractionError
from hub.extraction.ruled import MEMORY_BYTES, Request, RulesResult, ToRead, ToSort, encode
from protocol.errors import ErrorCode
from protocol.frame import NO_JSON

log = Channel(__name__)

IDLE_S: Final = 60.0
_START_S: Final = 5.0  # of processor time
_FREE_S: Final = 30.0
_CHARS_PER_S: Final = 5_000  # of the texts that take longest, on a slow machine
_MAX_ANSWER_BYTES: Final = 256 << 20
_MAIN: Final = Path(__file__).with_name("rules_main.py")

_Answer = TypeVar("_Answer", RulesResult, Extraction)


class RulesClient(Protocol):
    """Answering of requests to the rules."""

    async def read(self, request: ToRead) -> RulesResult:
        """Read a document."""

    async def sort(self, request: ToSort) -> Extraction:
        """Sort out the items of a document."""


class RulesHere:
    """Rules within this process, for commands that do nothing else meanwhile."""

    async def read(self, request: ToRead) -> RulesResult:
        return request.answer()

    async def sort(self, request: ToSort) -> Extraction:
        return request.answer()


class RulesProcess:
    """Rules in another process, one request at a time, as each needs ten times the size of its text.

    Attributes:
        process: the process, while there is one.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.loop = LoopReports(clock or SystemClock())
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.process: subprocess.Popen[bytes] | None = None
        self._is_used = False

    async def read(self, request: ToRead) -> RulesResult:
        return await self._ask(request, RulesResult)

    async def sort(self, request: ToSort) -> Extraction:
        return await self._ask(request, Extraction)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """End the process whenever it was idle for IDLE_S."""
        task_status.started()
        while True:
            self._is_used = False
            self.loop.wait(IDLE_S)
            await anyio.sleep(IDLE_S)
            if not (self._is_used or self._one_at_a_time.borrowed_tokens):
                self.close()

    async def _ask(self, request: Request, kind: type[_Answer]) -> _Answer:
        """Return the answer to a request.

        Raises:
            ExtractionError (LIMIT_REACHED): its text broke two processes, or took one too long.
        """
        seconds = _FREE_S + len(request.document.text) / _CHARS_PER_S
        async with self._one_at_a_time:
            for is_last in (False, True):  # another program may have ended the process
                self._is_used = True
                if self.process is None or self.process.poll() is not None:
                    self.close()
                    self.process = _started()
                process, is_answered = self.process, False
                try:
                    # Other processes may be in the way.
                    with anyio.fail_after(20 * seconds):
                        answer = await anyio.to_thread.run_sync(
                            _exchange, process, request, kind, seconds, abandon_on_cancel=True
                        )
                    is_answered = True
                    return answer
                except (OSError, EOFError, *NO_JSON) as error:  # a TimeoutError is an OSError
                    code = process.poll()
                    log.warning("rules.broke", error=type(error).__name__, code=code)
                    if is_last or code == -signal.SIGXCPU or isinstance(error, TimeoutError):
                        break
                finally:
                    if not is_answered:
                        self.close()
        raise ExtractionError(
            f"the rules did not read its {len(request.document.text):,} characters within {seconds:.0f} s of "
            f"processor time and {MEMORY_BYTES >> 30} GiB of memory",
            code=ErrorCode.LIMIT_REACHED,
        )

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close() if pipe is not None else None
        self.process = None


def _started() -> subprocess.Popen[bytes]:
    # By the thread of the loop: the process ends with the thread that started it.
    return subprocess.Popen(
        [sys.executable, "-I", str(_MAIN), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"MALLOC_ARENA_MAX": "1"},
    )


def _exchange(
    process: subprocess.Popen[bytes], request: Request, kind: type[_Answer], seconds: float
) -> _Answer:
    """Send a request and return its answer. Blocks.

    Raises:
        OSError, EOFError, NO_JSON: the process ended, or its answer is none.
    """
    assert process.stdin is not None and process.stdout is not None  # both are pipes
    _limit(process.pid, seconds)
    data = encode(request)
    process.stdin.write(struct.pack("=Q", len(data)) + data)
    process.stdin.flush()
    (length,) = struct.unpack("=Q", _read(process.stdout, 8))
    if length > _MAX_ANSWER_BYTES:
        raise EOFError("an answer that is too long")
    return msgspec.msgpack.decode(_read(process.stdout, length), type=kind)


def _read(pipe: Any, count: int) -> bytes:
    data: bytes = pipe.read(count)
    if len(data) < count:
        raise EOFError("the process ended")
    return data


def _limit(pid: int, seconds: float) -> None:
    """Limit the processor time of a process from now on; only Linux can."""
    if sys.platform == "linux":
        import resource  # imported here: Windows has none

        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime
        _, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
        soft = round(spent + _START_S + seconds)
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)  # a process that spent its day is killed there, and another one started
        resource.prlimit(pid, resource.RLIMIT_CPU, (soft, hard))
