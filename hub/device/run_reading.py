"""Runs at the device: reading of shared files as text in pieces, at most four runs at once.

``fstat`` before and after reading detects a concurrent change. Such a file is skipped; the next run reads it
again. All functions that read a file block.

A reassigned run has a greater fence and cancels the work of the older one. Frames with an older fence are
dropped, also after a reconnect. A run beyond ``MAX_RUNS`` is refused as busy.

A run lists the files, then sends their text piece by piece. Two rules: a file is named or sent to the hub
only if its owner shared it, and a piece is sent only on credit. Files are read, converted and cut in a
thread, one at a time; several small files share a frame.
"""

import base64
import hashlib
import os
import sqlite3
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, TypeVar, TypeVarTuple

import anyio
import msgspec
from anyio import from_thread, to_thread
from anyio.abc import TaskGroup

from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel, bind
from hub.base.name_lists import counted
from hub.base.version import VERSION
from hub.device.change_hints import ChangeHints
from hub.device.digests import Digests, stamp_of
from hub.device.secret_scan import find_secrets, xml_text
from hub.device.sending_log import SendingLog, SendingOrder
from hub.device.shared import Check, FileLocation, SharedFile, SharedFolders, UnreadableFile, is_hard_link
from hub.text import office, pictures
from hub.text.convert import convert
from hub.text.files import AUDIO, OFFICE, PICTURES, Converted, NotConvertible, media_type_of
from hub.text.rows.own_rows import without_own_rows
from protocol.errors import ErrorCode, first_error
from protocol.frame import ErrorBody, Frame
from protocol.handshake import Limits
from protocol.receipts import Sent, root_of, sent_text
from protocol.skipped_files import SkippedFile, SkipReason
from protocol.work import (
    MANY,
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    FilePiece,
    ManifestFile,
    ManifestTree,
    PartCount,
    RunMode,
)

_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class FileText:
    """Text of a file, in pieces.

    Attributes:
        sha256: digest of the file's bytes.
        modified_ms: modification time in epoch milliseconds; for a mail, its sending time.
        hidden: number of invisible parts left out of the text.
        encoding: "base64" if the hub is to convert the content.
        guessed: encoding of the file, if nothing in the file tells it.
        parts: number of its parts by type and outcome; empty if all were read.
    """

    sha256: str
    modified_ms: int
    media_type: str
    pieces: list[str]
    hidden: int = 0
    encoding: str | None = None
    guessed: str | None = None
    parts: list[PartCount] = field(default_factory=list)


class Contents:
    """Reader of shared files.

    Args:
        digests: digests of unchanged files, which need no reading.
    """

    def __init__(self, shared: SharedFolders, clock: Clock, digests: Digests | None = None) -> None:
        self._shared = shared
        self.clock = clock
        self._digests = digests

    def digest(self, file: SharedFile, check: Check) -> str:
        """Return the SHA-256 (hex) of the file's content; a kept digest needs no reading.

        Raises:
            Unreadable: the file cannot be opened, or changed while it was read.
        """
        if file.sha256 is not None:
            return file.sha256.hex()
        with self._shared.open(file) as descriptor:
            info = os.fstat(descriptor)
            sha = hashlib.sha256()
            for block in _blocks(descriptor, info, check):
                sha.update(block)
        stamp, now_ns = stamp_of(info), int(self.clock.now().timestamp() * 1e9)
        if self._digests is not None and stamp.is_settled(now_ns):
            self._digests.keep(file.folder, file.parts[-1], stamp, sha.digest())
        return sha.hexdigest()

    def write_digests(self) -> None:
        """Write new digests to the device's file."""
        if self._digests is not None:
            self._digests.flush()

    def text(
        self,
        file: SharedFile,
        check: Check,
        *,
        piece_bytes: int,
        escaped_bytes: int,
        hub_reads: Collection[str] = (),
    ) -> FileText:
        """Return the file's text in pieces; see ``cut``.

        Args:
            hub_reads: media types that the hub accepts unconverted, if this device cannot convert them.

        Raises:
            Unreadable: as ``digest``, the file cannot be converted to text, or its text has a secret.
        """
        with self._shared.open(file) as descriptor:
            info = os.fstat(descriptor)
            data = b"".join(_blocks(descriptor, info, check))
        kind = media_type_of(file.path)
        is_raw = kind in hub_reads and (
            kind in AUDIO
            or (kind in OFFICE and not office.is_installed())
            or (kind in PICTURES and not pictures.is_installed())
        )
        try:
            if is_raw:
                converted = Converted(base64.b64encode(data).decode("ascii"), kind)
                searched = xml_text(data, check)
            else:
                converted = convert(data, path=file.path, check=check)
                searched = without_own_rows(converted.text, file.path)
                converted = replace(converted, text=searched)
        except NotConvertible as error:
            # Owners know their damaged or non-text files; a reached limit is reported by its name.
            reason = SkipReason.NOT_CONVERTIBLE if error.limit is None else SkipReason(error.limit)
            raise UnreadableFile(reason, str(error)) from error
        # Rules of a format apply to the file's own text.
        path = "" if is_raw or kind in OFFICE | PICTURES else file.path
        if (secret := next(find_secrets(searched, path), None)) is not None:
            raise UnreadableFile(SkipReason.SECRET, f"{secret.rule} in line {secret.line}")
        parts = [PartCount(name=name, count=count) for name, count in converted.parts.items()]
        modified_ms = info.st_mtime_ns // 1_000_000
        if converted.date is not None:
            modified_ms = epoch_ms(converted.date)
        return FileText(
            sha256=hashlib.sha256(data).hexdigest(),
            modified_ms=max(0, modified_ms),
            media_type=converted.media_type,
            pieces=cut(
                converted.text,
                piece_bytes=piece_bytes,
                escaped_bytes=escaped_bytes - len(msgspec.json.encode(parts)),
            ),
            hidden=converted.dropped,
            encoding="base64" if is_raw else None,
            guessed=converted.guessed,
            parts=parts,
        )


def cut(text: str, *, piece_bytes: int, escaped_bytes: int) -> list[str]:
    """Split *text* into pieces whose concatenation is *text*; at least one.

    Args:
        piece_bytes: maximum UTF-8 bytes of a piece; at least those of one code point.
        escaped_bytes: maximum bytes of a piece as JSON, in which a control character takes six.
    """
    pieces: list[str] = []
    start = 0
    while start < len(text):
        width = max(1, piece_bytes)
        while True:
            piece = text[start : start + width]
            if len(piece.encode()) <= piece_bytes and len(msgspec.json.encode(piece)) <= escaped_bytes:
                break
            if len(piece) == 1:
                raise ValueError(f"pieces of {piece_bytes} bytes cannot hold {piece!r}")
            width = max(1, min(width, len(piece)) * 3 // 4)
        pieces.append(piece)
        start += len(piece)
    return pieces or [""]


def _blocks(descriptor: int, before: os.stat_result, check: Check) -> Iterator[bytes]:
    left = before.st_size
    while left >= 0:
        check()
        try:
            block = os.read(descriptor, min(_BLOCK_BYTES, left + 1))  # one byte more, to detect growth
        except OSError as error:
            raise UnreadableFile(SkipReason.UNREADABLE) from error
        if not block:
            break
        left -= len(block)
        yield block
    if left != 0 or stamp_of(os.fstat(descriptor)) != stamp_of(before):
        raise UnreadableFile(SkipReason.CHANGED)


REMIND_S: Final = 30.0  # between two frames while a file is converted; a hub waits 120 s for one
MAX_RUNS: Final = 4  # concurrent runs; a hub assigns one by default
_MAX_FENCES: Final = 4_096

log = Channel(__name__)


_FRAME_ROOM: Final = 1024  # for the parts of a frame around its entries
_BATCH_BYTES: Final = 256 * 1024  # of small files in one frame: as much as one large piece
_MAX_ENTRIES: Final = 10_000  # of a manifest frame, by the protocol
_OPENED_AT_ONCE: Final = 200  # files hashed between two checks of the manifest's size
_PAGE_BYTES: Final = 256 * 1024 * 1024  # hashed for one frame of a manifest, because the hub waits for it
_MAX_EARLY: Final = 1_000  # files hashed before the first frame of a manifest
_MAX_SKIPPED: Final = 9_000  # listed individually, of 10,000 by the protocol; the rest is counted
_MIN_PIECE_BYTES: Final = 64  # a hub that requests less gets an error

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Send = Callable[[Frame], Awaitable[None]]
Sign = Callable[[bytes], tuple[str, str] | None]  # public key and signature; None: the device has no key


class Skipped:
    """Files that a run left out: each path once, limited to the size of a frame, or counts by reason."""

    def __init__(self, room_bytes: int) -> None:
        self._listed: dict[str, SkippedFile] = {}
        self._room_bytes = room_bytes
        self._counts: Counter[str] = Counter()  # of files without their names

    def add(self, skipped: SkippedFile) -> None:
        if skipped.path in self._listed:
            return
        reason = skipped.reason.partition(":")[0]
        if skipped.path == MANY:
            self._counts[skipped.reason] += skipped.files
            return
        size = len(msgspec.json.encode(skipped)) + 1
        if len(self._listed) >= _MAX_SKIPPED or size > self._room_bytes:
            self._counts[reason] += 1
        else:
            self._listed[skipped.path] = skipped
            self._room_bytes -= size

    def listed(self) -> list[SkippedFile]:
        counts = [SkippedFile(path=MANY, reason=why, files=count) for why, count in self._counts.items()]
        return [*self._listed.values(), *counts]

    def __len__(self) -> int:
        return len(self._listed) + self._counts.total()


class Credit:
    """Number of pieces that may still be sent."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self._is_granted = anyio.Event()

    def grant(self, pieces: int) -> None:
        self._pieces += pieces
        self._is_granted.set()

    @property
    def is_spent(self) -> bool:
        return self._pieces <= 0

    async def consume(self) -> None:
        """Wait for credit and take one piece of it."""
        while self.is_spent:
            self._is_granted = anyio.Event()
            await self._is_granted.wait()
        self._pieces -= 1


class FolderRun:
    """Execution of one ``agent_run``; ``take`` receives the hub's later frames.

    Attributes:
        stopped_for: the hub's reason to stop the run, which may go on at another node.

    Args:
        limits: limits from the hub's welcome.
        send: sends a frame to the hub; waits while the socket is full.
        hub: public key of the hub.
    """

    def __init__(
        self,
        frame: AgentRun,
        *,
        library: "Library",
        limits: Limits,
        send: Send,
        hub: str,
    ) -> None:
        self.frame = frame
        self.scope = anyio.CancelScope()
        self.stopped_for: str | None = None
        self._library = library
        self._order = SendingOrder(hub, frame.run_id, frame.agent_id, frame.reader, frame.receipt or "")
        self._unlogged: list[tuple[str, int, str]] = []  # files of the next frame that begin in it
        self._send = send if frame.trace is None else _traced(send, frame.trace)
        self._frame_bytes = limits.max_message_bytes - _FRAME_ROOM
        self._piece_bytes = limits.max_piece_bytes
        self._credit = Credit(frame.credit)
        self._pages = Credit(1)
        self._skipped = Skipped(self._frame_bytes)
        self._requested: dict[str, None] = {}  # requested paths that are not sent yet, in order
        self._has_last_fetch = False
        self._is_fetched = anyio.Event()
        self._seq = 0
        self._framed_at = library.contents.clock.monotonic()  # the last frame with files
        self._sent = 0
        self._is_complete = False
        self._batch: list[FilePiece] = []
        self._batch_bytes = 0

    def handle_frame(self, frame: AgentFetch | AgentCredit) -> None:
        """Record requested paths or granted credit. Never blocks."""
        match frame:
            case AgentCredit():
                self._credit.grant(frame.pieces)
            case AgentFetch():
                self._requested |= dict.fromkeys(frame.paths)
                self._pages.grant(1)
                self._has_last_fetch = self._has_last_fetch or frame.last
                self._is_fetched.set()

    async def serve(self) -> None:
        """Execute the run; the last frame is ``agent_complete``."""
        places, refused = self._library.shared.places(self.frame.config.paths)
        covered = places
        if self.frame.only is not None:
            places, refused = await self._in_thread(self._library.shared.only, self.frame.only, places)
        for skipped in refused:
            self._skipped.add(skipped)
        if not places and self.frame.only is None:
            lost = f"; not there: {', '.join(self._library.missing)}" if self._library.missing else ""
            await self.refuse(ErrorCode.NOTHING_SHARED, f"none of these folders is shared{lost}")
            return
        if self._piece_bytes < _MIN_PIECE_BYTES:
            await self.refuse(ErrorCode.BAD_PARAMS, f"pieces of {self._piece_bytes} bytes are too small")
            return
        await self._send(AgentAck(run_id=self.frame.run_id, fence=self.frame.fence))
        is_paged = self.frame.mode is RunMode.MANIFEST and self.frame.paged
        limits = None if is_paged else self.frame.limits
        readable = {*self.frame.reads, *(PICTURES if pictures.is_installed() else ())}
        config, check = self.frame.config, from_thread.check_cancelled

        def list_files(where: list[FileLocation]) -> tuple[list[SharedFile], list[SkippedFile]]:
            return self._library.shared.list_files(where, config, limits, check, readable=readable)

        files, left_out = await self._in_thread(list_files, places)
        if self._library.hints is not None:
            self._library.hints.note_agent(self.frame.agent_id, config, readable)
        if self.frame.only is not None and any(is_hard_link(file) for file in left_out):
            paths = {file.path for file in left_out}  # its other names may be in what the agent reads
            listed, others = await self._in_thread(list_files, covered)
            files = [file for file in listed if file.path in paths]
            left_out = [other for other in others if other.path in paths]
        for skipped in left_out:
            self._skipped.add(skipped)
        if self.frame.mode is RunMode.MANIFEST:
            await self._offer(files)
            await self._send_requested(files)
        else:
            for file in files:
                await self._send_file(file)
        await self._send_batch()
        await self.complete()

    async def refuse(self, code: ErrorCode, message: str) -> None:
        """Reject the run and complete it with an error."""
        run = self.frame
        await self._send(AgentAck(run_id=run.run_id, fence=run.fence, accepted=False, reason=code))
        await self.complete(ErrorBody(code=code, message=message))

    async def complete(self, error: ErrorBody | None = None) -> None:
        """Send the last frame, unless it was sent already."""
        if self._is_complete:
            return
        self._is_complete = True  # before sending: a cancel may arrive while send waits
        run, skipped = self.frame, self._skipped
        if skipped:
            try:
                await self._in_thread(self._library.log.held_back, self._order, skipped.listed())
            except sqlite3.Error as unlogged:  # nothing of them was sent: the run goes on
                log.error("device.held_back.not_logged", exc=unlogged)
                self._library.on_status(f"run {run.run_id}: what is held back cannot be logged: {unlogged}")
        sent: Sent | None = None
        if run.receipt is not None:
            with suppress(sqlite3.Error):  # the run has the error already, or the hub's receipt shows it
                sent = await self._in_thread(self._statement, run.receipt)
        await self._send(
            AgentComplete(
                run_id=run.run_id,
                fence=run.fence,
                files=self._sent,
                skipped=skipped.listed(),
                error=error,
                sent=sent,
            )
        )
        ending = f": {error.message or error.code}" if error else ""
        self._library.on_status(
            f"run {run.run_id}: {counted(self._sent, 'file')} sent, {len(skipped)} skipped{ending}"
        )

    def _statement(self, receipt_id: str) -> Sent | None:
        """Return what the log has of this reading, signed if the device has a key; None without a file."""
        files = self._library.log.files(receipt_id)
        if not files:
            return None
        sent = Sent(files=len(files), bytes=sum(size for _, size, _ in files), root=root_of(files))
        public_key, signature = self._library.sign(sent_text(self._order.hub, receipt_id, sent)) or (
            None,
            None,
        )
        return msgspec.structs.replace(sent, public_key=public_key, signature=signature)

    async def _offer(self, files: list[SharedFile]) -> None:
        """Send the manifest, unless the hub has settled the whole tree."""
        has_tree = self.frame.paged and self.frame.tree
        unread = [file.size_bytes for file in files if file.sha256 is None]
        is_early = has_tree and len(unread) <= _MAX_EARLY and sum(unread) <= _PAGE_BYTES
        if is_early:
            await self._in_thread(self._digest, files, 0, len(files))
            await self._send_manifest([], last=False, tree=await self._in_thread(self._tree_of, files))
        entries: list[ManifestFile] = []
        size = read_bytes = 0
        for number, file in enumerate(files):
            if number % _OPENED_AT_ONCE == 0 and not is_early:
                read_bytes += await self._in_thread(self._digest, files, number, number + _OPENED_AT_ONCE)
                file = files[number]
            if file.sha256 is None:
                continue  # it cannot be read
            entry = ManifestFile(
                path=file.path,
                size_bytes=file.size_bytes,
                sha256=file.sha256.hex(),
                modified_ms=file.modified_ms,
            )
            length = len(msgspec.json.encode(entry)) + 1  # MessagePack is shorter
            is_full = size + length > self._frame_bytes or len(entries) == _MAX_ENTRIES
            if entries and (is_full or read_bytes > _PAGE_BYTES):
                if not await self._send_manifest(entries, last=False):
                    return
                entries, size, read_bytes = [], 0, 0
            entries.append(entry)
            size += length
        tree = await self._in_thread(self._tree_of, files) if has_tree and not is_early else None
        await self._send_manifest(entries, last=True, tree=tree)

    def _digest(self, files: list[SharedFile], start: int, stop: int) -> int:
        """Add missing digests to files, and return the number of bytes that were read."""
        read_bytes = 0
        for number, file in enumerate(files[start:stop], start):
            if file.sha256 is not None:
                continue
            try:
                digest = self._library.contents.digest(file, from_thread.check_cancelled)
            except UnreadableFile as error:
                self._skipped.add(SkippedFile(path=file.path, reason=str(error)))
                continue
            files[number] = msgspec.structs.replace(file, sha256=bytes.fromhex(digest))
            read_bytes += file.size_bytes
        self._library.contents.write_digests()
        return read_bytes

    def _tree_of(self, files: list[SharedFile]) -> ManifestTree:
        """Return the digest of the listed files and of this device's ability to convert them."""
        listed = 0
        converter = [VERSION, str(office.is_installed()), str(pictures.is_installed()), *self.frame.reads]
        tree = hashlib.sha256(msgspec.json.encode(converter))
        for file in files:
            if file.sha256 is not None:
                tree.update(file.path.encode())
                tree.update(b"\0")
                tree.update(file.sha256)
                listed += 1
        return ManifestTree(digest=tree.hexdigest(), files=listed)

    async def _send_manifest(
        self, entries: list[ManifestFile], *, last: bool, tree: ManifestTree | None = None
    ) -> bool:
        """Send a frame of the manifest. Return False if the hub needs no more of it."""
        run = self.frame
        if run.paged:
            await self._pages.consume()
        if self._has_last_fetch and run.paged:
            return False
        frame = AgentManifest(
            run_id=run.run_id, fence=run.fence, seq=self._next_seq(), files=entries, last=last, tree=tree
        )
        await self._send(frame)
        return True

    async def _send_requested(self, offered: list[SharedFile]) -> None:
        while True:
            while self._requested:
                path = next(iter(self._requested))
                del self._requested[path]
                place = bisect_left(offered, path, key=attrgetter("path"))
                if place < len(offered) and offered[place].path == path:
                    await self._send_file(offered[place])
                else:
                    self._skipped.add(SkippedFile(path=path, reason=SkipReason.NOT_OFFERED))
            await self._send_batch()
            if self._has_last_fetch and not self._requested:
                return
            self._is_fetched = anyio.Event()
            await self._is_fetched.wait()

    async def _send_file(self, file: SharedFile) -> None:
        try:
            text = await self._read_with_reminders(file)
        except UnreadableFile as error:
            self._skipped.add(SkippedFile(path=file.path, reason=str(error)))
            return
        size = sum(len(piece.encode()) for piece in text.pieces)
        self._unlogged.append((file.path, size, text.sha256))
        for number, content in enumerate(text.pieces):
            await self._send_piece(
                FilePiece(
                    path=file.path,
                    content=content,
                    sha256=text.sha256,
                    piece=number,
                    pieces=len(text.pieces),
                    media_type=text.media_type,
                    modified_ms=text.modified_ms,
                    encoding=text.encoding,
                    hidden=text.hidden,
                    guessed=text.guessed,
                    parts=[] if number else text.parts,
                )
            )
        self._sent += 1

    async def _read_with_reminders(self, file: SharedFile) -> FileText:
        """Read a file in a thread; frames keep the hub from giving up a run over long scans or bad files.

        Raises Unreadable as ``_read`` does.
        """
        unreadable: UnreadableFile | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._remind)
            try:
                return await self._in_thread(self._read, file)
            except UnreadableFile as error:
                unreadable = error
            finally:
                tasks.cancel_scope.cancel()
        assert unreadable is not None
        raise unreadable

    async def _remind(self) -> None:
        clock = self._library.contents.clock
        while True:
            await clock.sleep(max(0.0, self._framed_at + REMIND_S - clock.monotonic()))
            await self._send_batch(even_if_empty=True)

    def _read(self, file: SharedFile) -> FileText:
        around = len(msgspec.json.encode(file.path)) + _FRAME_ROOM
        if self._frame_bytes - around < _MIN_PIECE_BYTES:
            raise UnreadableFile(SkipReason.TOO_DEEP, "its path fills a frame")
        return self._library.contents.text(
            file,
            from_thread.check_cancelled,
            piece_bytes=self._piece_bytes,
            escaped_bytes=self._frame_bytes - around,
            hub_reads=self.frame.reads,
        )

    async def _send_piece(self, piece: FilePiece) -> None:
        size = len(msgspec.json.encode(piece)) + 1
        if self._batch and self._batch_bytes + size > min(_BATCH_BYTES, self._frame_bytes):
            await self._send_batch()
        if self._credit.is_spent:
            await self._send_batch()  # the hub grants credit for pieces it has received
        await self._credit.consume()
        self._batch.append(piece)
        self._batch_bytes += size

    async def _send_batch(self, *, even_if_empty: bool = False) -> None:
        if self._unlogged and self._batch:
            files, self._unlogged = self._unlogged, []
            await self._in_thread(self._library.log.sent, self._order, files)
        if self._batch or even_if_empty:
            pieces, self._batch, self._batch_bytes = self._batch, [], 0
            run = self.frame
            await self._send(
                AgentData(run_id=run.run_id, fence=run.fence, seq=self._next_seq(), files=pieces)
            )

    def _next_seq(self) -> int:
        self._seq += 1
        self._framed_at = self._library.contents.clock.monotonic()
        return self._seq - 1

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await to_thread.run_sync(work, *args, limiter=self._library.threads)


def _traced(send: Send, trace: str) -> Send:
    """Return *send*, changed to add the trace of the run's frame."""

    async def sent(frame: Frame) -> None:
        await send(msgspec.structs.replace(frame, trace=trace))

    return sent


class Library:
    """State shared by all connections of a device: folders, file contents and known fences.

    Args:
        log: gets each file before it is sent.
        on_status: called with the progress of runs, for the person at the desktop.
        sign: signs the statement about what was sent, for the hub's receipt.
        missing: folders that would be shared, and are not there.
        hints: sends hints of changes to the hub; None: nothing is watched.
    """

    def __init__(
        self,
        shared: SharedFolders,
        contents: Contents,
        *,
        log: SendingLog,
        on_status: Callable[[str], None],
        sign: Sign = lambda text: None,
        missing: Sequence[str] = (),
        hints: ChangeHints | None = None,
    ) -> None:
        self.shared = shared
        self.hints = hints
        self.sign = sign
        self.missing = missing
        self.contents = contents
        self.log = log
        self.on_status = on_status
        # Concurrent file reads; the disk is shared with other programs.
        self.threads = anyio.CapacityLimiter(2)
        self._fences: OrderedDict[str, int] = OrderedDict()

    def is_stale(self, run_id: str, fence: int) -> bool:
        """Return True if a newer fence of the run is known; otherwise record *fence*."""
        if fence < self._fences.get(run_id, -1):
            return True
        self._fences[run_id] = fence
        self._fences.move_to_end(run_id)
        if len(self._fences) > _MAX_FENCES:
            self._fences.popitem(last=False)
        return False


class Readings:
    """Runs of one connection. ``take`` never blocks; the work is done in *tasks*.

    Args:
        hub: public key of the hub, for the log of what is sent.
    """

    def __init__(self, library: Library, *, hub: str, limits: Limits, send: Send, tasks: TaskGroup) -> None:
        self._library = library
        self._hub = hub
        self._limits = limits
        self._send = send
        self._tasks = tasks
        self._open: dict[str, FolderRun] = {}

    @property
    def agents(self) -> list[str]:
        """Ids of the agents whose runs are open."""
        return sorted({run.frame.agent_id for run in self._open.values()})

    def handle_frame(self, frame: AgentRun | AgentFetch | AgentCredit | AgentCancel) -> None:
        """Start a run, or pass a frame to its run. Frames of unknown runs are dropped."""
        if isinstance(frame, AgentRun):
            self._begin(frame)
            return
        run = self._open.get(frame.run_id)
        if run is None or frame.fence not in (None, run.frame.fence):
            return
        if isinstance(frame, AgentCancel):
            run.stopped_for = frame.reason or "no reason given"
            run.scope.cancel()
        else:
            run.handle_frame(frame)

    def _begin(self, frame: AgentRun) -> None:
        before = self._open.get(frame.run_id)
        if self._library.is_stale(frame.run_id, frame.fence):
            log.info("device.run.stale", run_id=frame.run_id, fence=frame.fence)
            return
        if before is not None:
            if before.frame.fence == frame.fence:
                return  # repeated assignment
            before.scope.cancel()
        run = FolderRun(
            frame,
            library=self._library,
            limits=self._limits,
            send=self._send,
            hub=self._hub,
        )
        if before is None and len(self._open) >= MAX_RUNS:
            self._tasks.start_soon(run.refuse, ErrorCode.BUSY, f"{MAX_RUNS} runs are open")
            return
        self._open[frame.run_id] = run
        self._tasks.start_soon(self._work_off, run)

    async def _work_off(self, run: FolderRun) -> None:
        try:
            with bind(run_id=run.frame.run_id), run.scope:
                self._library.on_status(f"run {run.frame.run_id}: started")
                await self._serve(run)
            if run.stopped_for is not None and run.scope.cancelled_caught:
                message = f"stopped by the hub ({run.stopped_for})"
                await run.complete(ErrorBody(code=ErrorCode.CANCELLED, message=message))
        finally:
            if self._open.get(run.frame.run_id) is run:
                del self._open[run.frame.run_id]

    async def _serve(self, run: FolderRun) -> None:
        try:
            await run.serve()
        except Exception as exc:  # a failing run must not stop the device
            error = first_error(exc)
            if isinstance(error, sqlite3.Error):
                log.error("device.sending.not_logged", exc=error)
                message = f"the device cannot log what it sends: {error}; free space on its disk"
                await run.complete(ErrorBody(code=ErrorCode.DATABASE_UNAVAILABLE, message=message))
            else:
                log.error("device.run.failed", exc=error)
                await run.complete(ErrorBody(code=ErrorCode.INTERNAL, message="a fault in the device"))
