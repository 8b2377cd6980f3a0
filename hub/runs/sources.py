"""Documents of a run, read from a device: manifest, fetch, pieces, text.

Yields each file as soon as its last piece is here, so that at most the pieces
in flight (bounded by credit) and one file are held. What the ledger knows is
not fetched, nor is what is more than a run may read. What cannot be read is yielded
too, as an ``UnreadUnit``: a file is never passed over in silence.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import closing
from functools import cache

import anyio
import anyio.to_thread
import msgspec
from anyio import from_thread

from hub.document import Document
from hub.links.link import DeviceLink, RunStream, RunTooLarge
from hub.metrics import Metrics
from hub.runs.incoming import BrokenFile, IncomingFile, kinds_read_here
from hub.runs.order import RunOrder
from hub.text.converted import ConvertLimits, NotConvertible
from protocol.errors import ErrorCode, HubError
from protocol.frame import ErrorBody
from protocol.trace import traceparent
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    AgentRun,
    FilePiece,
    ManifestFile,
    RunCheckpoint,
    RunLimits,
    RunMode,
    SkippedFile,
)

ACK_TIMEOUT_S = 15.0  # from a device that lists agent_ack; scheduling, T4
PIECE_TIMEOUT_S = 120.0  # between two frames of a run: the seed's own deadline, per piece and not per run
MANY = "*"  # the path of the entry that stands for the rest of a very long list
# Reasons to leave a file out that its owner knows of; any other one means that something is missing.
LEFT_OUT = frozenset(
    {
        "outside_shared",
        "hidden",
        "key_file",
        "hard_link",
        "version_control",
        "symlink",
        "not_a_file",
        "name_not_utf8",
        "not_convertible",
        "not_offered",
    }
)


class NotTakenOn(HubError):
    """The device did not take the run on. *busy* says that it may do so later."""

    code = ErrorCode.BUSY

    def __init__(self, message: str, *, busy: bool) -> None:
        super().__init__(message)
        self.busy = busy


class DeviceStalled(HubError):
    """The device is connected, but nothing came of the run for too long."""

    code = ErrorCode.CALL_TIMED_OUT


class TakenOn(msgspec.Struct, frozen=True):
    """The device works on the run: its acknowledgement, or its first frame."""


class SeenUnits(msgspec.Struct, frozen=True):
    """Files that are there and were settled before, at this content: nothing is to be done for them."""

    files: list[ManifestFile]
    listed: int | None  # files of the manifest so far, these included; None where there is none


class UnreadUnit(msgspec.Struct, frozen=True):
    """A file that was not read, and why; without a *unit_key*, what went wrong with the run as a whole.

    *is_failure* tells a file that should have been read from one that was left out
    on purpose: not shared, not text.
    """

    unit_key: str
    code: str
    message: str
    is_failure: bool = True


SourceEvent = TakenOn | SeenUnits | Document | UnreadUnit


@cache
def _converting() -> anyio.CapacityLimiter:
    """Files that are converted at the same time, in all runs: each holds a copy or two of itself."""
    return anyio.CapacityLimiter(2)


class DeviceSource:
    """Reads the shared files of a device for a run."""

    def __init__(
        self,
        *,
        limits: RunLimits,
        credit: int,
        metrics: Metrics,
        piece_timeout_s: float = PIECE_TIMEOUT_S,
        converting: ConvertLimits | None = None,
    ) -> None:
        self.limits = limits
        self.converting = converting or ConvertLimits()
        self._credit = credit
        self._metrics = metrics
        self._piece_timeout_s = piece_timeout_s

    async def read(
        self,
        link: DeviceLink,
        order: RunOrder,
        known: Mapping[str, str | None],
        *,
        taken: int = 0,
        checkpoint: RunCheckpoint | None = None,
    ) -> AsyncGenerator[SourceEvent]:
        """What the device has for the run, in its order.

        Args:
            known: units that need no reading, with the content hash they were settled
                at; ``None`` for a unit that this run dealt with, whatever it holds now.
            taken: files that the run read before this attempt; they count among those it may read.
            checkpoint: what the device is told that the agent may go on from.

        Raises:
            NotTakenOn: the device refused the run as a whole.
            DeviceGone: the connection ended; what was yielded is whole.
            DeviceStalled: nothing came for too long.
        """
        has_manifest = link.can("agent_manifest")
        frame = AgentRun(
            run_id=order.run_id,
            fence=order.fence,
            agent_id=order.agent_id,
            config=order.config,
            mode=RunMode.MANIFEST if has_manifest else RunMode.STREAM,
            credit=self._credit,
            limits=self.limits,
            reads=kinds_read_here(),
            config_rev=order.config_rev,
            context=order.context,
            checkpoint=checkpoint,
            locks=dict(order.locks),
            trace=traceparent(order.run_id, "agent_run", str(order.fence)),
        )
        async with link.open_run(frame) as stream:
            reading = _Reading(
                stream,
                order,
                known,
                room=self.limits.files - taken,
                converting=self.converting,
                metrics=self._metrics,
            )
            with closing(reading):
                is_told = False
                timeout_s = ACK_TIMEOUT_S if link.can("agent_ack") else self._piece_timeout_s
                while True:
                    try:
                        with anyio.move_on_after(timeout_s) as waiting:
                            received = await anext(stream, None)
                    except RunTooLarge as exc:
                        # What is whole by now is kept; the rest is said to be missing.
                        self._metrics.limits_reached.labels("run_bytes").inc()
                        yield UnreadUnit("", exc.code, str(exc))
                        return
                    if waiting.cancelled_caught:
                        raise DeviceStalled(f"nothing came of the run for {timeout_s:g} s")
                    if received is None:
                        return
                    timeout_s = self._piece_timeout_s
                    async for event in reading.take(received):
                        yield event
                    if reading.has_too_many and not is_told:
                        is_told = True
                        self._metrics.limits_reached.labels("run_files").inc()
                        told = f"a run reads {self.limits.files} files (run_files), and the device has more"
                        yield UnreadUnit("", ErrorCode.TOO_LARGE, told)
                    if reading.is_over:
                        return


class _Reading:
    """What one stream has brought so far.

    A file uses up *room* from when it is asked for, or from its first piece where nobody asked. One
    that was settled before does so once it is known to be another by now.

    Attributes:
        has_too_many: there are more files than there was room for; none of those is taken.
        is_over: the device sends them all the same: nothing more is read.
    """

    def __init__(
        self,
        stream: RunStream,
        order: RunOrder,
        known: Mapping[str, str | None],
        *,
        room: int,
        converting: ConvertLimits,
        metrics: Metrics,
    ) -> None:
        self._stream = stream
        self._order = order
        self._known = known
        self._room = room
        self._taken: set[str] = set()  # what uses it up
        self.has_too_many = self.is_over = False
        self._taken_on = False
        self._listed = 0
        self._awaited: dict[str, ManifestFile] = {}
        self._converting = converting
        self._metrics = metrics
        self._open: dict[str, IncomingFile] = {}
        self._closed: set[str] = set()  # of these nothing more is taken

    async def take(
        self, frame: AgentAck | AgentManifest | AgentData | AgentComplete
    ) -> AsyncGenerator[SourceEvent]:
        """The events that one frame brings."""
        if isinstance(frame, AgentAck) and not frame.accepted:
            reason = frame.reason or "no reason given"
            raise NotTakenOn(f"the device did not take the run on: {reason}", busy=reason == ErrorCode.BUSY)
        if isinstance(frame, AgentComplete):
            async for event in self._complete(frame):
                yield event
            return
        if not self._taken_on:
            self._taken_on = True
            yield TakenOn()
        if isinstance(frame, AgentManifest):
            yield self._sort_out(frame.files)
            if frame.last:
                await self._stream.fetch(list(self._awaited), last=True)
        elif isinstance(frame, AgentData):
            for piece in frame.files:
                found = await self._piece(piece)
                if found is not None:
                    yield found
                if self.is_over:
                    return
            if frame.files:
                # After they were taken: what is granted here may be in flight while we extract.
                await self._stream.grant(len(frame.files))

    def _sort_out(self, files: list[ManifestFile]) -> SeenUnits:
        """Keep the files that are to be fetched, and no other: a manifest may have a million entries."""
        seen: list[ManifestFile] = []
        for file in files:
            if self._is_known(file.path, file.sha256):
                seen.append(file)
            elif self._takes(file.path):
                self._awaited[file.path] = file
        self._listed += len(files)
        return SeenUnits(seen, self._listed)

    def _is_known(self, path: str, sha256: str | None) -> bool:
        return path in self._known and self._known[path] in (None, sha256)

    def _was_dealt_with(self, path: str) -> bool:
        """Whether this run had it before it was interrupted; what became of it since is the next run's."""
        return path in self._known and self._known[path] is None

    async def _piece(self, piece: FilePiece) -> SourceEvent | None:
        path = piece.path
        if path in self._closed or self._was_dealt_with(path):
            return None  # already whole, already given up, or done by an earlier attempt
        if path not in self._known and not self._takes(path):
            self.is_over = True
            return None
        try:
            incoming = self._open.get(path)
            if incoming is None:
                incoming = self._open[path] = IncomingFile(piece)
            incoming.add(piece)
            if not incoming.is_whole:
                return None
            if incoming.is_to_be_read:
                document = await anyio.to_thread.run_sync(
                    incoming.document, self._converting, from_thread.check_cancelled, limiter=_converting()
                )
            else:
                document = incoming.document(self._converting, _never_mind)
        except NotConvertible as exc:  # its owner knows of it, unless it is a limit of ours
            if exc.limit is not None:
                self._metrics.limits_reached.labels(exc.limit).inc()
            return self._give_up(path, ErrorCode.NOT_CONVERTIBLE, str(exc), is_failure=exc.limit is not None)
        except BrokenFile as exc:
            return self._give_up(path, exc.reason, str(exc))
        self._let_go(path)
        self._awaited.pop(path, None)
        self._closed.add(path)
        if self._is_known(path, document.content_hash):
            file = ManifestFile(path=path, size_bytes=len(document.text), sha256=document.content_hash)
            return SeenUnits([file], None)
        if not self._takes(path):
            self.is_over = True
            return None
        return document

    def _takes(self, path: str) -> bool:
        """Whether there is room for the file at *path*, which uses some of it up."""
        if path not in self._taken:
            if len(self._taken) >= self._room:
                self.has_too_many = True
                return False
            self._taken.add(path)
        return True

    def close(self) -> None:
        """Let go of what is half here."""
        for path in list(self._open):
            self._let_go(path)

    def _let_go(self, path: str) -> None:
        incoming = self._open.pop(path, None)
        if incoming is not None:
            incoming.close()

    def _give_up(self, path: str, code: ErrorCode, message: str, *, is_failure: bool = True) -> UnreadUnit:
        self._closed.add(path)
        self._let_go(path)
        self._awaited.pop(path, None)
        return UnreadUnit(path, code, message, is_failure)

    async def _complete(self, frame: AgentComplete) -> AsyncGenerator[SourceEvent]:
        error = frame.error
        if isinstance(error, str):
            error = ErrorBody(code=ErrorCode.DEVICE_ERROR, message=error)
        if error is not None and not self._taken_on:
            raise NotTakenOn(
                f"the device did not take the run on: {error.message or error.code}",
                busy=error.code in (ErrorCode.BUSY, ErrorCode.CANCELLED),
            )
        if not self._taken_on:
            yield TakenOn()
        for skipped in frame.skipped:
            self._awaited.pop(skipped.path, None)
            self._let_go(skipped.path)
            if skipped.path not in self._closed and not self._was_dealt_with(skipped.path):
                yield _unread(skipped)
        for path in [*self._open, *(p for p in self._awaited if p not in self._open)]:
            yield UnreadUnit(
                path, ErrorCode.FILE_INCOMPLETE, "the device ended the run before the file was whole"
            )
        if error is not None:
            yield UnreadUnit("", error.code, f"the device ended the run early: {error.message or error.code}")


def _never_mind() -> None:
    """Nothing is long enough to be broken off."""


def _unread(skipped: SkippedFile) -> UnreadUnit:
    code = skipped.reason.partition(":")[0].strip()
    if skipped.path == MANY:
        return UnreadUnit("", "skipped", skipped.reason)
    return UnreadUnit(skipped.path, code, skipped.reason, is_failure=code not in LEFT_OUT)
