"""Buffers of frames that devices send for runs, in memory and in a file, with their limits.

The reader never waits for a runner. Otherwise a ``tool_result`` behind a full queue would not be read, the
runner would wait for that result, and the queue would never empty. So a stream is bounded by the device: by
credit if it supports credit, and always by the run's byte limit. Unread frames beyond the memory limit go to
a file.

Queue of unread frames, in memory while small, then in a file. Used by a socket's reader, which never waits.
So it writes directly into the page cache. A thread would need a queue of its own, and the file exists to
avoid long queues in memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, Final

import anyio
import msgspec

from hub.links.device_link import RunFrame, RunTooLarge, SpoolFailed
from protocol.errors import (
    DeliveryError,
    DeviceSlow,
    ErrorCode,
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
)
from protocol.frame import CREDIT_PIECES, MAX_MESSAGE_BYTES, MAX_PIECE_BYTES, Frame
from protocol.work import (
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
)

# Data in flight of a device with credit, in base64 and with names, stays in memory.
MEMORY_BYTES: Final = CREDIT_PIECES * MAX_PIECE_BYTES * 3 // 2
ENTRY_BYTES: Final = 128  # overhead of a frame or of an entry
MIN_ROOM_BYTES: Final = 64 * 1024  # for names and framing, if the limit is small
FETCH_BYTES: Final = MAX_MESSAGE_BYTES // 4  # of paths per agent_fetch; escaping may double a path's length
FETCH_PATHS: Final = 1_000
_LENGTH: Final = Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[RunFrame] = msgspec.msgpack.Decoder(RunFrame)


class Spool:
    """First-in, first-out queue of frames.

    Args:
        directory: folder of the file; None for the system's folder of temporary files.
        memory_bytes: capacity in memory. The file has no name, so it disappears with the process.
    """

    __slots__ = (
        "_directory",
        "_file",
        "_in_file",
        "_memory",
        "_memory_bytes",
        "_most",
        "_read_at",
        "_write_at",
    )

    def __init__(self, directory: Path | None, memory_bytes: int) -> None:
        self._directory = directory
        self._most = memory_bytes
        self._memory: deque[tuple[RunFrame, int]] = deque()
        self._memory_bytes = 0
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self._read_at = self._write_at = 0

    def __len__(self) -> int:
        return len(self._memory) + self._in_file

    def append(self, frame: RunFrame, size_bytes: int) -> None:
        """Append *frame*, which takes about *size_bytes*.

        Raises:
            OSError: the file cannot be written; the frame is not stored.
        """
        # Once frames are in the file, later frames follow there, to keep their order.
        if self._in_file == 0 and self._memory_bytes + size_bytes <= self._most:
            self._memory.append((frame, size_bytes))
            self._memory_bytes += size_bytes
            return
        if self._file is None:
            self._file = TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 (until ``close``)
        data = _encode(frame)
        left = memoryview(_LENGTH.pack(len(data)) + data)
        self._file.seek(self._write_at)
        while left:  # an unbuffered file may write less than requested
            left = left[self._file.write(left) :]
        self._write_at += _LENGTH.size + len(data)
        self._in_file += 1

    def in_memory(self) -> Iterator[RunFrame]:
        """Yield the frames that are in memory, oldest first."""
        for frame, _ in self._memory:
            yield frame

    def popleft(self) -> RunFrame:
        """Remove and return the oldest frame.

        Raises:
            IndexError: the queue is empty.
            OSError: the file cannot be read.
        """
        if self._memory or not self._in_file:
            frame, size_bytes = self._memory.popleft()
            self._memory_bytes -= size_bytes
            return frame
        assert self._file is not None
        self._file.seek(self._read_at)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        frame = _decoder.decode(self._file.read(length))
        self._read_at += _LENGTH.size + length
        self._in_file -= 1
        if not self._in_file:  # empty: truncate the file, so that it does not grow for ever
            self._file.truncate(0)
            self._read_at = self._write_at = 0
        return frame

    def close(self) -> None:
        """Discard all frames and close the file."""
        self._memory.clear()
        self._memory_bytes = self._in_file = 0
        if self._file is not None:
            self._file.close()
            self._file = None


class FrameStream:
    """Frames of one run on one connection. A ``RunStream``."""

    __slots__ = (
        "_arrived",
        "_credit",
        "_failed",
        "_fetched",
        "_pages",
        "_room_bytes",
        "_send",
        "_spool",
        "cancelled",
        "completed",
        "run",
    )

    def __init__(
        self, run: AgentRun, *, credit: int | None, spool: Spool, send: Callable[[Frame], None]
    ) -> None:
        self.run = run
        self.completed = False  # agent_complete was received
        self.cancelled = False  # agent_cancel was sent
        self._send = send
        self._spool = spool
        self._credit = credit
        self._fetched = 0  # files that were asked for by their paths and have not begun to come
        self._pages = 1  # allowed frames of a paged manifest: one is in memory at a time
        # Enough for a conforming device: a quarter more than the text, for names and framing.
        self._room_bytes = run.limits.bytes + max(run.limits.bytes // 4, MIN_ROOM_BYTES)
        self._failed: DeliveryError | None = None
        self._arrived: anyio.Event | None = None

    def __aiter__(self) -> "FrameStream":
        return self

    async def __anext__(self) -> RunFrame:
        while not self._spool:
            if self.completed:
                raise StopAsyncIteration
            if self._failed is not None:
                raise self._failed
            self._arrived = anyio.Event()
            await self._arrived.wait()
        try:
            return self._spool.popleft()
        except OSError as error:
            raise SpoolFailed(f"run {self.run.run_id}: its spool cannot be read: {error}") from error

    @property
    def is_ready(self) -> bool:
        """True if the next frame has arrived."""
        return bool(self._spool)

    def arrived_paths(self) -> Iterator[str]:
        """Yield the paths of pieces that are not read and are in memory."""
        for frame in self._spool.in_memory():
            if type(frame) is AgentData:
                for piece in frame.files:
                    yield piece.path

    async def fetch(self, paths: Sequence[str], *, last: bool) -> None:
        """Request files of the manifest, in several frames if the list is long."""
        self._pages += not last
        self._fetched += len(paths)
        parts = list(_cut(paths)) or [[]]
        for number, part in enumerate(parts, 1):
            is_last = last and number == len(parts)
            self._send(AgentFetch(run_id=self.run.run_id, fence=self.run.fence, paths=part, last=is_last))

    async def grant(self, pieces: int) -> None:
        """Allow the device to send *pieces* more, if it supports credit."""
        if self._credit is None or self.completed:
            return
        self._send(AgentCredit(run_id=self.run.run_id, fence=self.run.fence, pieces=pieces))
        self._credit += pieces

    def has_asked_for(self, frame: RunFrame) -> bool:
        """Return True for pieces within the credit, a requested page, or the final frame.

        Without credit, the first piece of each requested file is asked for.
        """
        if self.completed or self._failed is not None:
            return False
        match frame:
            case AgentData(files=pieces):
                if self._credit is None:
                    return 0 < len(pieces) == _begun(frame) <= self._fetched
                return 0 < len(pieces) <= self._credit
            case AgentManifest():
                return self.run.paged and self._pages > 0
            case _:
                return type(frame) is AgentComplete

    def enqueue(self, frame: RunFrame) -> None:
        """Queue a frame of this run; dropped if the stream has failed or is complete.

        Raises:
            RemoteProtocolError: the device exceeded its credit.
            RunTooLarge, SpoolFailed: the stream ends here, after the queued frames.
        """
        if self.completed or self._failed is not None:
            return
        if type(frame) is AgentData and self._credit is not None:
            if len(frame.files) > self._credit:
                message = f"run {frame.run_id}: {len(frame.files)} pieces came, {self._credit} were allowed"
                raise RemoteProtocolError(ErrorCode.CREDIT_EXCEEDED, message)
            self._credit -= len(frame.files)
        elif type(frame) is AgentData:
            self._fetched = max(0, self._fetched - _begun(frame))
        size_bytes = _size_of(frame)
        if type(frame) is AgentManifest and self.run.paged:
            if self._pages < 1:
                message = f"run {frame.run_id}: a frame of its manifest came before it was asked for"
                raise RemoteProtocolError(ErrorCode.CREDIT_EXCEEDED, message)
            self._pages -= 1
        else:
            self._room_bytes -= size_bytes
        if self._room_bytes < 0:
            limit = self.run.limits.bytes
            raise self.fail(RunTooLarge(f"run {frame.run_id}: the device sent more than {limit} bytes"))
        try:
            self._spool.append(frame, size_bytes)
        except OSError as error:
            raise self.fail(SpoolFailed(f"run {frame.run_id}: no room in the spool: {error}")) from error
        self.completed = type(frame) is AgentComplete
        self._wake()

    def cancel(self, reason: str) -> None:
        """Send ``agent_cancel``, unless the run is complete or was cancelled before.

        Raises:
            LinkLost, DeviceSlow: the frame was not sent.
        """
        if not self.completed and not self.cancelled:
            self._send(AgentCancel(run_id=self.run.run_id, fence=self.run.fence, reason=reason))
            self.cancelled = True

    def fail(self, error: DeliveryError) -> DeliveryError:
        """End the stream with *error* after the queued frames, unless it is complete."""
        if not self.completed and self._failed is None:
            self._failed = error
            self._wake()
        return error

    def cut(self, error: DeliveryError) -> None:
        """End the stream with *error* at once and drop queued frames; a complete stream stays readable."""
        if not self.completed:
            self._spool.close()
            self.fail(error)

    def close(self) -> None:
        """Discard the queued frames at the end of reading."""
        self._spool.close()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()


class RunStreams:
    """Streams of one connection, by run.

    Args:
        send: sends a frame on the connection; raises ``LinkLost`` or ``DeviceSlow``.
        has_credit: True if the device listed ``agent_data.credit``.
        spool_dir: folder for unread frames beyond *memory_bytes* of a run.
    """

    __slots__ = ("_by_run", "_ended", "_has_credit", "_memory_bytes", "_send", "_spool_dir")

    def __init__(
        self,
        *,
        send: Callable[[Frame], None],
        has_credit: bool,
        spool_dir: Path | None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._send = send
        self._has_credit = has_credit
        self._spool_dir = spool_dir
        self._memory_bytes = memory_bytes
        self._by_run: dict[str, FrameStream] = {}
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._by_run)

    @contextmanager
    def open(self, run: AgentRun) -> Iterator[FrameStream]:
        """Open a block in which frames of *run* are expected; later frames are dropped.

        Raises, on entering:
            LinkLost: the connection has ended.
            LocalProtocolError: the run is open on this connection already.
        """
        if self._ended is not None:
            raise LinkLost(f"the connection ended ({self._ended})", dispatched=False)
        if run.run_id in self._by_run:
            raise LocalProtocolError(f"run {run.run_id} is open on this connection already")
        stream = FrameStream(
            run,
            credit=run.credit if self._has_credit else None,
            spool=Spool(self._spool_dir, self._memory_bytes),
            send=self._send,
        )
        self._by_run[run.run_id] = stream
        try:
            yield stream
        finally:
            del self._by_run[run.run_id]
            stream.close()

    def has_asked_for(self, frame: RunFrame) -> bool:
        """Return True if the run of *frame* is open and asked for it; call this before ``put``."""
        stream = self._by_run.get(frame.run_id)
        if stream is None or frame.fence not in (None, stream.run.fence):
            return False
        return stream.has_asked_for(frame)

    def enqueue(self, frame: RunFrame) -> str | None:
        """Queue a frame for its run. Return the reason as one word if it was dropped, else None.

        A run that exceeds its size limit is cancelled; the connection stays open.

        Raises:
            RemoteProtocolError: the device exceeded its credit.
        """
        stream = self._by_run.get(frame.run_id)
        if stream is None:
            return "unknown_run"
        if frame.fence is not None and frame.fence != stream.run.fence:
            return "stale_fence"
        try:
            stream.enqueue(frame)
        except (RunTooLarge, SpoolFailed) as error:
            with suppress(LinkLost, DeviceSlow):  # the end of the connection also ends the run
                stream.cancel(error.code)
            return error.code
        return None

    def end(self, reason: str) -> None:
        """End every incomplete stream because the connection has ended."""
        if self._ended is not None:
            return
        self._ended = reason
        for stream in self._by_run.values():
            message = f"run {stream.run.run_id}: the connection ended ({reason})"
            stream.cut(LinkLost(message, dispatched=True))


def _begun(frame: AgentData) -> int:
    """Return the number of files whose first piece is in *frame*."""
    return sum(piece.piece == 0 for piece in frame.files)


def _size_of(frame: RunFrame) -> int:
    """Return the approximate size of *frame* in bytes, with base64 counted decoded."""
    match frame:
        case AgentData(files=pieces):
            return ENTRY_BYTES + sum(
                ENTRY_BYTES
                + len(piece.path)
                + (len(piece.content) * 3 // 4 if piece.encoding == "base64" else len(piece.content))
                for piece in pieces
            )
        case AgentManifest(files=files):
            return ENTRY_BYTES + sum(ENTRY_BYTES + len(file.path) for file in files)
        case AgentComplete(skipped=skipped):
            return ENTRY_BYTES + sum(ENTRY_BYTES + len(file.path) + len(file.reason) for file in skipped)
        case _:
            return ENTRY_BYTES


def _cut(paths: Sequence[str]) -> Iterator[list[str]]:
    """Split *paths* in order into lists that each fit one frame."""
    part: list[str] = []
    size = 0
    for path in paths:
        size += len(path.encode())
        if part and (size > FETCH_BYTES or len(part) == FETCH_PATHS):
            yield part
            part, size = [], len(path.encode())
        part.append(path)
    if part:
        yield part
