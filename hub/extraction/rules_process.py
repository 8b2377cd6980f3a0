"""Separate processes for reading by rules: queues, time limits, memory, restart after a crash.

The first is started with the first document, and another one with the first large text, or where documents
wait on a second core. A process loads only what documents have needed so far, as calendars and all time zones
are a quarter of its start, and 10 MB. If the next document needs more, another process replaces it; without
one for a while, it is ended. Each gets some documents ahead, and sends each answer when it is ready. A text
that breaks its process, or takes too long, is given up alone: those behind it are read by another process.
"""

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Clock, SystemClock
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.extraction.items import Extraction
from hub.extraction.model import ExtractionError
from hub.extraction.ruled import (
    MEMORY_BYTES,
    RulesAnswer,
    RulesRequest,
    RulesResult,
    ToExtract,
    ToRead,
    ToSort,
    frame_of,
)
from hub.text.files import CALENDAR
from protocol.errors import ErrorCode
from protocol.frame import NO_JSON

log = Channel(__name__)

IDLE_S: Final = 60.0
LARGE_STEPS: Final = 250_000  # a quarter of a second; one process at a time reads such a text, alone
MAX_PROCESSES: Final = 2
MAX_ZONES: Final = 3  # of requests, each for another process; with one more, the next process loads all
_MAX_AHEAD: Final = 8  # documents sent to a process, and
_MAX_STEPS_AHEAD: Final = LARGE_STEPS  # so that a text of another run waits no longer for any of them
_BACKLOG_CHARS: Final = 300_000  # two seconds of processor time; a start takes a sixth of a second
_SLOW_S: Final = 10.0  # at one text, which is handled like a large one from then on
_LIMIT_EVERY_S: Final = 1.0
_START_S: Final = 5.0  # of processor time
_FREE_S: Final = 30.0
_CHARS_PER_S: Final = 5_000  # of the texts that take longest, on a slow machine
_MAX_ANSWER_BYTES: Final = 256 << 20
_PIPE_BYTES: Final = 1 << 18
_MAIN: Final = Path(__file__).with_name("rules_main.py")
_ANSWERS: Final[dict[type, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(answer)
    for kind, answer in ((ToRead, RulesResult), (ToExtract, Extraction), (ToSort, Extraction))
}


class RulesClient(Protocol):
    """Answering of requests to the rules."""

    async def ask(self, request: RulesRequest[RulesAnswer]) -> RulesAnswer:
        """Return the answer to a request."""


class RulesHere:
    """Rules within this process, for commands that do nothing else meanwhile."""

    async def ask(self, request: RulesRequest[RulesAnswer]) -> RulesAnswer:
        return request.answer()


class _QueuedRequest:
    """Request with the future of its answer."""

    __slots__ = ("answer", "is_large", "is_repeated", "needs", "request", "run", "seconds", "steps")

    def __init__(self, request: RulesRequest[Any]) -> None:
        options = request.options
        self.run = id(options)  # a run has the same options for all its documents
        needed = msgspec.structs.replace(options, prompt="", redact=(), references=(), judged=())
        self.request = msgspec.structs.replace(request, options=needed)
        self.seconds = _FREE_S + self.chars / _CHARS_PER_S  # of processor time
        self.needs = request.needs
        self.steps = request.steps_to(LARGE_STEPS)
        self.is_large = self.steps > LARGE_STEPS
        self.is_repeated = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def chars(self) -> int:
        """Size of the text."""
        return len(self.request.document.text)

    def fail(self) -> None:
        """Report that the rules did not read the text."""
        if not self.answer.done():
            message = (
                f"the rules did not read its {self.chars:,} characters within {self.seconds:.0f} s of "
                f"processor time and {MEMORY_BYTES >> 30} GiB of memory"
            )
            self.answer.set_exception(ExtractionError(message, code=ErrorCode.LIMIT_REACHED))


class _Queue:
    """Waiting requests, of which each run has one in turn."""

    def __init__(self) -> None:
        self._runs: dict[int, deque[_QueuedRequest]] = {}

    def __bool__(self) -> bool:
        return bool(self._runs)

    def append(self, job: _QueuedRequest) -> None:
        """Add a request behind those of its run."""
        self._runs.setdefault(job.run, deque()).append(job)

    def first(self) -> _QueuedRequest | None:
        """Return the next request whose asker still waits."""
        while self._runs:
            run, jobs = next(iter(self._runs.items()))
            while jobs:
                if not jobs[0].answer.done():
                    return jobs[0]
                jobs.popleft()
            del self._runs[run]
        return None

    def remove_first(self) -> None:
        """Remove the next request; the turn is another run's."""
        run, jobs = next(iter(self._runs.items()))
        jobs.popleft()
        del self._runs[run]
        if jobs:
            self._runs[run] = jobs

    def put_back(self, jobs: list[_QueuedRequest]) -> None:
        """Return requests that a process left unanswered to the heads of their runs' queues."""
        for job in reversed(jobs):
            self._runs.setdefault(job.run, deque()).appendleft(job)


class RulesProcesses:
    """Rules in up to two other processes, as each text needs ten times its size.

    Attributes:
        processes: those that run.
        needs: what requests have needed so far, which a process loads before its first one.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.loop = LoopReports(clock or SystemClock())
        self.processes: list[RulesProcess] = []
        self.needs = frozenset[str]()
        self._small, self._large = _Queue(), _Queue()
        self._backlog_chars = 0  # of all requests since each process had several documents

    async def ask(self, request: RulesRequest[RulesAnswer]) -> RulesAnswer:
        """Return the answer to a request.

        Raises:
            ExtractionError (LIMIT_REACHED): its text broke two processes, or took one too long.
        """
        job = _QueuedRequest(request)
        self.needs |= job.needs
        if CALENDAR in self.needs or len(self.needs) > MAX_ZONES:
            self.needs = frozenset({CALENDAR})  # all time zones
        (self._large if job.is_large else self._small).append(job)
        self._backlog_chars += job.chars
        self.distribute()
        try:
            answer: RulesAnswer = await job.answer
            return answer
        finally:
            if job.answer.cancelled() and job.is_large:
                for process in [process for process in self.processes if job in process.jobs]:
                    self._end(process)  # no caller waits for the rest
                self.distribute()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """End each process that was idle for IDLE_S."""
        task_status.started()
        while True:
            for process in self.processes:
                process.is_used = bool(process.jobs)
            self.loop.wait(IDLE_S)
            await anyio.sleep(IDLE_S)
            for process in [process for process in self.processes if not process.is_used]:
                self._end(process)

    def close(self) -> None:
        """End the processes."""
        while self.processes:
            self._end(self.processes[0])

    def distribute(self) -> None:
        """Send waiting requests to processes that have room, and start processes where that is worth it."""
        for idle in [process for process in self.processes if not (process.jobs or process.is_up_to_date)]:
            self._end(idle)
        for queue in (self._large, self._small):
            while job := queue.first():
                try:
                    process = self._process_for(job)
                except OSError as error:  # no process can be started
                    job.answer.set_exception(error)
                    continue
                if process is None:
                    break
                queue.remove_first()
                process.send(job)
        self._start_where_documents_wait()

    def _process_for(self, job: _QueuedRequest) -> "RulesProcess | None":
        """Return a process with room for a request, started if need be; None if there is none."""
        free = [process for process in self.processes if process.is_up_to_date and process.has_room_for(job)]
        is_large_read = any(process.is_reading_large for process in self.processes)
        if job.is_large and is_large_read:
            return None
        if not job.is_large and self._large and not is_large_read:
            free = [process for process in free if process is self.processes[0]]  # the other is to get empty
        if job.is_large and len(self.processes) == 1 and self._may_start:
            with suppress(OSError):  # the one that has read texts reads small ones soonest
                return self._started()
        if free:
            return min(free, key=lambda process: len(process.jobs))
        is_behind_large = job.is_large or all(process.is_reading_large for process in self.processes)
        return self._started() if is_behind_large and len(self.processes) < MAX_PROCESSES else None

    def _start_where_documents_wait(self) -> None:
        """Start another process on another core behind a large text, or after much work with several each.

        The work is counted in characters, as time passes on a busy machine too, where a start pays least.
        """
        if not (self.processes and all(len(process.jobs) > 1 for process in self.processes)):
            self._backlog_chars = 0
        is_worth_it = self._backlog_chars > _BACKLOG_CHARS or any(
            process.is_reading_large for process in self.processes
        )
        if is_worth_it and self._may_start:
            with suppress(OSError):  # the others read them
                self._started()
                self.distribute()

    @property
    def _may_start(self) -> bool:
        return len(self.processes) < min(MAX_PROCESSES, os.cpu_count() or 1)

    def _end(self, process: "RulesProcess") -> int:
        self.processes.remove(process)
        return process.close()

    def _started(self) -> "RulesProcess":
        process = RulesProcess(self)
        self.processes.append(process)
        return process

    def on_slow(self, process: "RulesProcess") -> None:
        """Return what waits behind a text that takes long to the queue; the first answer counts."""
        slow, *behind = process.jobs
        slow.is_large = True
        self._small.put_back(behind)
        self.distribute()

    def on_broken(self, process: "RulesProcess", error: Exception) -> None:
        """Replace a process that ended, or was not to be trusted; give up the text that it read twice."""
        code = self._end(process)
        log.warning("rules.broke", error=type(error).__name__, code=code)
        jobs = list(process.jobs)
        if jobs and (jobs[0].is_repeated or code == -signal.SIGXCPU or isinstance(error, TimeoutError)):
            jobs.pop(0).fail()
        for job in jobs[:1]:
            job.is_repeated = True  # another program may have ended the process
        self._large.put_back([job for job in jobs if job.is_large])
        self._small.put_back([job for job in jobs if not job.is_large])
        self.distribute()


class RulesProcess:
    """Confined process, and the requests that were sent to it.

    Attributes:
        jobs: requests without an answer; the process works at the first one.
        is_used: it had a request lately.
        loads: what it loads at its start for requests that need it.
    """

    def __init__(self, owner: RulesProcesses) -> None:
        self.owner = owner
        self.jobs: deque[_QueuedRequest] = deque()
        self.is_used = True
        self.loads = owner.needs
        # By the thread of the loop: the process ends with the thread that started it.
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(_MAIN), str(os.getpid()), *sorted(self.loads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"MALLOC_ARENA_MAX": "1"},
            bufsize=0,
            pipesize=_PIPE_BYTES,
        )
        assert self.process.stdin is not None and self.process.stdout is not None  # both are pipes
        self._input, self._output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._unsent: deque[memoryview] = deque()
        self._received = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None  # while there are requests
        self._deadline: asyncio.TimerHandle | None = None
        self._limited_at, self._limited_s = 0.0, 0.0

    @property
    def is_reading_large(self) -> bool:
        """True if it works at a large text."""
        return bool(self.jobs) and self.jobs[0].is_large

    @property
    def is_up_to_date(self) -> bool:
        """True if it loads all that requests have needed so far; otherwise it gets no more of them."""
        return self.loads >= self.owner.needs

    def has_room_for(self, job: _QueuedRequest) -> bool:
        """Return True if a request can be sent to it: a large one alone, others some ahead."""
        if not self.jobs:
            return True
        steps = job.steps + sum(ahead.steps for ahead in self.jobs)
        return not self.is_reading_large and len(self.jobs) < _MAX_AHEAD and steps <= _MAX_STEPS_AHEAD

    def send(self, job: _QueuedRequest) -> None:
        """Send a request."""
        self.is_used = True
        self.jobs.append(job)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._output, self._receive)
            self._begin(self._loop)
        self._unsent.append(memoryview(frame_of(job.request)))
        if len(self._unsent) == 1:
            self._write(self._loop)

    def close(self) -> int:
        """End the process, and return its exit code."""
        self._rest()
        self.process.kill()
        for pipe in filter(None, (self.process.stdin, self.process.stdout)):
            pipe.close()
        return self.process.wait()

    def _rest(self) -> None:
        """Stop watching the pipes and the time."""
        if self._loop is not None and self._deadline is not None:
            self._loop.remove_reader(self._output)
            self._loop.remove_writer(self._input)
            self._deadline.cancel()
        self._loop = None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Limit the time for the first request, which the process begins with."""
        if self._deadline is not None:
            self._deadline.cancel()
        seconds, now = self.jobs[0].seconds, loop.time()
        self._deadline = loop.call_later(_SLOW_S, self._on_slow, loop)
        if seconds > self._limited_s or now - self._limited_at > _LIMIT_EVERY_S:
            with suppress(OSError):  # it has ended
                _limit(self.process.pid, seconds)
            self._limited_at, self._limited_s = now, seconds

    def _on_slow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a slow answer up to its limit, and not for those behind it."""
        # Other processes may be in the way.
        late = 20 * self.jobs[0].seconds
        self._deadline = loop.call_later(late, self.owner.on_broken, self, TimeoutError())
        self.owner.on_slow(self)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write the requests as far as the pipe takes them, and the rest when it takes more."""
        try:
            while self._unsent:
                written = os.write(self._input, self._unsent[0])
                self._unsent[0] = self._unsent[0][written:]
                if not self._unsent[0]:
                    self._unsent.popleft()
        except BlockingIOError:
            loop.add_writer(self._input, self._write, loop)
            return
        except BrokenPipeError:  # the process has ended, as its answers end too
            self._unsent.clear()
        loop.remove_writer(self._input)

    def _receive(self) -> None:
        """Read the answers that arrived, and deliver them."""
        try:
            self._received += _read(self._output)
            self._hand_over()
        except BlockingIOError:
            return
        except (OSError, EOFError, *NO_JSON) as error:
            self.owner.on_broken(self, error)
            return
        if self._loop is not None and self.jobs:
            self._begin(self._loop)
        else:
            self._rest()
        self.owner.distribute()

    def _hand_over(self) -> None:
        """Decode whole answers.

        Raises:
            EOFError, NO_JSON: an answer is too long, was not requested, or is none.
        """
        begin, received = 0, len(self._received)
        while received - begin >= 8:
            (length,) = struct.unpack_from("=Q", self._received, begin)
            if length > _MAX_ANSWER_BYTES or not self.jobs:
                raise EOFError("an answer that is too long, or to no question")
            end = begin + 8 + length
            if end > received:
                break
            with memoryview(self._received) as view, view[begin + 8 : end] as body:
                answer = _ANSWERS[type(self.jobs[0].request)].decode(body)
            job, begin = self.jobs.popleft(), end
            if not job.answer.done():
                job.answer.set_result(answer)
        del self._received[:begin]


def _read(pipe: int) -> bytes:
    if data := os.read(pipe, _PIPE_BYTES):
        return data
    raise EOFError("the process ended")


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
