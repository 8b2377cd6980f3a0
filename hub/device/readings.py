"""Runs that a device executes: started, replaced by a newer fence, cancelled, ended with the connection.

A reassigned run has a greater fence and cancels the work of the older one. Frames with an older fence are
dropped, also after a reconnect.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hub.device.contents import Contents
from hub.device.folder import FolderRun, Send
from hub.device.shared import SharedFolders
from hub.log import Channel, bind
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.handshake import Limits
from protocol.work import AgentCancel, AgentCredit, AgentFetch, AgentRun

MAX_RUNS: Final = 4  # concurrent runs; a hub assigns one by default
_FENCES_KEPT: Final = 4_096

log = Channel(__name__)


class Library:
    """State shared by all connections of a device: folders, file contents and known fences.

    The status callback gets the progress of runs, for the person at the desktop.
    """

    def __init__(self, shared: SharedFolders, contents: Contents, *, told: Callable[[str], None]) -> None:
        self.shared = shared
        self.contents = contents
        self.told = told
        # Concurrent file reads; the disk is shared with other programs.
        self.threads = anyio.CapacityLimiter(2)
        self._fences: OrderedDict[str, int] = OrderedDict()

    def is_stale(self, run_id: str, fence: int) -> bool:
        """Return True if a newer fence of the run is known; otherwise record *fence*."""
        if fence < self._fences.get(run_id, -1):
            return True
        self._fences[run_id] = fence
        self._fences.move_to_end(run_id)
        if len(self._fences) > _FENCES_KEPT:
            self._fences.popitem(last=False)
        return False


class _Reading:
    """Run with its cancel scope."""

    def __init__(self, run: FolderRun) -> None:
        self.run = run
        self.scope = anyio.CancelScope()
        self.is_cancelled_by_hub = False


class Readings:
    """Runs of one connection. ``take`` never blocks; the work is done in *tasks*."""

    def __init__(self, library: Library, *, limits: Limits, send: Send, tasks: TaskGroup) -> None:
        self._library = library
        self._limits = limits
        self._send = send
        self._tasks = tasks
        self._open: dict[str, _Reading] = {}

    @property
    def agents(self) -> list[str]:
        """Ids of the agents whose runs are open."""
        return sorted({reading.run.frame.agent_id for reading in self._open.values()})

    def take(self, frame: AgentRun | AgentFetch | AgentCredit | AgentCancel) -> None:
        """Start a run, or pass a frame to its run. Frames of unknown runs are dropped."""
        if isinstance(frame, AgentRun):
            self._begin(frame)
            return
        reading = self._open.get(frame.run_id)
        if reading is None or frame.fence not in (None, reading.run.frame.fence):
            return
        if isinstance(frame, AgentCancel):
            reading.is_cancelled_by_hub = True
            reading.scope.cancel()
        else:
            reading.run.take(frame)

    def _begin(self, frame: AgentRun) -> None:
        before = self._open.get(frame.run_id)
        if self._library.is_stale(frame.run_id, frame.fence):
            log.info("device.run.stale", run_id=frame.run_id, fence=frame.fence)
            return
        if before is not None:
            if before.run.frame.fence == frame.fence:
                return  # repeated assignment
            before.scope.cancel()
        run = FolderRun(
            frame,
            shared=self._library.shared,
            contents=self._library.contents,
            limits=self._limits,
            send=self._send,
            threads=self._library.threads,
            told=self._library.told,
        )
        if before is None and len(self._open) >= MAX_RUNS:
            self._tasks.start_soon(run.refuse, ErrorCode.BUSY, f"{MAX_RUNS} runs are open")
            return
        reading = self._open[frame.run_id] = _Reading(run)
        self._tasks.start_soon(self._work_off, reading)

    async def _work_off(self, reading: _Reading) -> None:
        run = reading.run
        try:
            with bind(run_id=run.frame.run_id), reading.scope:
                self._library.told(f"run {run.frame.run_id}: started")
                await self._serve(run)
            if reading.is_cancelled_by_hub and reading.scope.cancelled_caught:
                await run.complete(ErrorBody(code=ErrorCode.CANCELLED, message="cancelled by the hub"))
        finally:
            if self._open.get(run.frame.run_id) is reading:
                del self._open[run.frame.run_id]

    async def _serve(self, run: FolderRun) -> None:
        try:
            await run.serve()
        except Exception as error:  # a failing run must not stop the device
            log.error("device.run.failed", exc=error)
            await run.complete(ErrorBody(code=ErrorCode.INTERNAL, message="a fault in the device"))
