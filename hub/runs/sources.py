"""Reading of a run's files from a device: manifest (at most a million), fetch, and time limits.

Yields each file when its last piece has arrived. So memory holds at most the pieces in flight, bounded by
credit, and one file. Files that the ledger knows are not fetched.

If more files are left than a run may read, files that no run has tried come first, oldest first. They are
followed by the files that were tried longest ago. So each file is read in some run, even if other files
always fail or change.

Files that cannot be read are yielded as ``UnreadUnit``, so that no file is skipped silently.
"""

from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from itertools import islice
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from anyio import from_thread

from hub.base.clock import Clock, now_ms
from hub.base.metrics import Metrics
from hub.base.name_lists import counted
from hub.base.version import VERSION
from hub.document import Document
from hub.links.device_link import DeviceLink, RunFrame, RunStream, RunTooLarge
from hub.runs.incoming_file import BrokenFile, IncomingFile
from hub.runs.receipts import ReceiptSender, ReceivedFiles
from hub.runs.run_order import RunOrder
from hub.text import office, pictures
from hub.text.files import (
    AUDIO,
    HTML,
    MAIL,
    MBOX,
    OFFICE,
    PICTURES,
    ConvertLimits,
    NotConvertible,
    media_type_of,
)
from protocol.capabilities import CapabilityName
from protocol.causes import FOLDER_MISSING, cause_of, without_folders
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.frame import ErrorBody
from protocol.ids import traceparent
from protocol.lifecycles import RunState
from protocol.skipped_files import LEFT_OUT, SkippedFile, SkipReason
from protocol.work import (
    MANY,
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    AgentRun,
    FilePiece,
    ManifestFile,
    ManifestTree,
    RunCheckpoint,
    RunLimits,
    RunMode,
)
from storage.runs.units import NO_ENTRY, LedgerEntry, has_settled_tree, ledger_entries
from storage.store import Store

ACK_TIMEOUT_S = 15.0  # for a device that lists agent_ack
PIECE_TIMEOUT_S = 120.0  # between two frames of a run
MAX_LOOKED_UP: Final = 1_000  # pieces behind one whose file is looked up in the ledger
UNCHANGED_BYTES: Final = 256 * 1024  # of unchanged files that come without a manifest, written together
ENTRY_BYTES: Final = 256  # for which each of them counts, beside its text
MAX_LISTED = 1_000_000  # files that a device may list in one run
_NO_NAME: Final = "its path has U+0000, which no file has: the device is faulty"
_NOT_TAKEN_ON: Final = "the device did not take the run on"


class NotTakenOn(HubError):
    """The device refused the run; *busy* is True if it may accept the run later."""

    code = ErrorCode.BUSY

    def __init__(self, message: str, *, busy: bool, reason: str = "run_failed") -> None:
        """Create the error. *reason*: stable word of the device."""
        super().__init__(message)
        self.busy = busy
        self.reason = reason


class DeviceStalled(HubError):
    """The device is connected, but sent no frame of the run for too long."""

    code = ErrorCode.CALL_TIMED_OUT


class TaskNotDone(DeviceStalled):
    """The device could not do a task, and another attempt may succeed."""

    code = ErrorCode.DEVICE_ERROR


class TakenOn(msgspec.Struct, frozen=True):
    """The device has accepted the run, by its acknowledgement or its first frame."""


class SeenUnits(msgspec.Struct, frozen=True):
    """Files that exist and are already settled with this content, so they need no reading.

    Attributes:
        listed: number of files of the manifest; None while it is not complete, and without one.
        oldest_at: when the oldest of their ledger entries was settled or renewed, in epoch milliseconds.
    """

    files: list[ManifestFile]
    listed: int | None
    oldest_at: int | None = None


class SettledTree(msgspec.Struct, frozen=True):
    """The whole manifest is settled, as its digest says."""

    files: int


class ReadTree(msgspec.Struct, frozen=True):
    """The run read everything of a manifest that was not settled.

    Attributes:
        units: content hash, by path, of the files that were read; the other files are settled.
    """

    tree: ManifestTree
    units: Mapping[str, str]


class UnreadUnit(msgspec.Struct, frozen=True):
    """A file that was not read; without *unit_key*, an error of the run as a whole.

    Attributes:
        files: number of files that were left out without their names.
        is_failure: False if the file was left out on purpose, for example because it is not shared or not
            text.
        was_fetched: True if the device was asked for the file by its path.
        limit: name of the limit for which files are left to the next runs.
        fresh: number of these files that no run tried since the time of this run's fire.
    """

    unit_key: str
    code: str
    message: str
    is_failure: bool = True
    was_fetched: bool = False
    files: int = 1
    limit: str | None = None
    fresh: int = 0


SourceEvent = TakenOn | SeenUnits | SettledTree | ReadTree | Document | UnreadUnit


class Ledger:
    """The ledger of a run's agent: units that earlier runs have settled or tried.

    Args:
        is_only_read: True for a preview, whose device lists its files whatever is settled.
    """

    def __init__(self, store: Store, order: RunOrder, clock: Clock, *, is_only_read: bool = False) -> None:
        self._store = store
        self._order = order
        self._clock = clock
        self._is_only_read = is_only_read

    async def entries(self, unit_keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        """Return the ledger's entries of these units; units without an entry are left out."""
        order = self._order
        fingerprint = order.settings.config_fingerprint
        return await self._store.read(ledger_entries, order.agent_id, fingerprint, unit_keys)

    async def has_settled(self, tree: ManifestTree | None) -> bool:
        """Return True if all files of the tree are settled; otherwise the run may change the ledger."""
        return not self._is_only_read and await self._store.write(
            has_settled_tree,
            self._order.held(RunState.RUNNING),
            None if tree is None else digest_of(tree),
            now_ms(self._clock),
        )


def digest_of(tree: ManifestTree) -> str:
    """Return the digest under which a tree is settled: a newer hub may read files that this one cannot."""
    return f"{VERSION} {tree.digest}"


@cache
def _converting() -> anyio.CapacityLimiter:
    """Return the limiter of concurrent conversions in all runs; each holds copies of its file."""
    return anyio.CapacityLimiter(2)


class DeviceSource:
    """Reader of the shared files of a device."""

    def __init__(
        self,
        *,
        limits: RunLimits,
        credit: int,
        metrics: Metrics,
        clock: Clock,
        piece_timeout_s: float = PIECE_TIMEOUT_S,
        converting: ConvertLimits | None = None,
        receipts: ReceiptSender | None = None,
    ) -> None:
        """Create the reader. *receipts*: None: devices get none."""
        self._receipts = receipts
        self.limits = limits
        self.converting = converting or ConvertLimits()
        self._credit = credit
        self._metrics = metrics
        self._clock = clock
        self._piece_timeout_s = piece_timeout_s

    async def read(
        self,
        link: DeviceLink,
        order: RunOrder,
        ledger: Ledger,
        *,
        settled_paths: Collection[str] = (),
        taken: int = 0,
        fresh: set[str] | None = None,
        listing: "PathListing | None" = None,
        checkpoint: RunCheckpoint | None = None,
        newest: int | None = None,
        only: str | None = None,
        can_transcribe: bool = False,
        reader: str = "",
    ) -> AsyncGenerator[SourceEvent]:
        """Yield the run's files from the device, in the device's order.

        Args:
            settled_paths: units that earlier attempts of this run settled; their content may be newer now.
            taken: number of files that earlier attempts of the run read; they count towards the limit.
            checkpoint: checkpoint from which the agent may continue, sent to the device.
            fresh: gets the paths of the chosen files that no run tried since the time of this run's fire.
            listing: gets all paths that the device lists, if it lists all files of the agent.
            newest: read at most this number of files, those that were changed last, in place of the order of
                runs. Files beyond it are not reported.
            only: path of the only file to read. A device that cannot look it up is asked as by a run, and
                only files whose paths end in this one are read.
            can_transcribe: True if recordings are read, which the agent must name by their extensions.
            reader: who reads the texts, for the device's log of what it has sent.

        Raises:
            NotTakenOn: the device refused the run as a whole.
            LinkLost: the connection ended; all yielded files are complete.
            DeviceStalled: no frame arrived for too long.
        """
        is_task = order.settings.is_task
        if is_task and not link.can(CapabilityName.AGENT_WORK):
            raise NotTakenOn(
                f"the agent reads nothing, and its device does no tasks ({CapabilityName.AGENT_WORK})",
                busy=False,
                reason=ErrorCode.CALL_UNSUPPORTED,
            )
        has_manifest = link.can("agent_manifest") and not is_task
        has_lookup = link.can("agent_run.only")
        named = {media_type_of(f"x{_dotted(ending)}") for ending in order.config.file_extensions}
        frame = AgentRun(
            run_id=order.run_id,
            fence=order.fence,
            agent_id=order.agent_id,
            config=order.config,
            mode=RunMode.WORK if is_task else RunMode.MANIFEST if has_manifest else RunMode.STREAM,
            paged=has_manifest and link.can("agent_manifest.pages"),
            tree=has_manifest and link.can("agent_manifest.pages"),
            credit=self._credit,
            limits=self.limits,
            # media types that a device may send as bytes; office files and pdf need the extra ``[files]``
            reads=sorted(
                {
                    *(HTML, MAIL, MBOX),
                    *(OFFICE if office.is_installed() else ()),
                    *(PICTURES & named if pictures.is_installed() else ()),
                    *(AUDIO & named if can_transcribe else ()),
                }
            ),
            config_rev=order.config_rev,
            parameters=order.parameters,
            context=order.context,
            checkpoint=checkpoint,
            locks=dict(order.locks),
            only=only if has_lookup else None,
            reader=reader,
            receipt=None if self._receipts is None else self._receipts.promise(link),
            trace=traceparent(order.run_id, "agent_run", str(order.fence)),
        )
        async with self._receipted(link, frame) as arrived, link.open_run(frame) as stream:
            reading = _DeviceReading(
                stream,
                arrived,
                order,
                ledger,
                missing=link.missing,
                settled_paths=settled_paths,
                is_paged=frame.paged,
                limits=self.limits,
                taken=taken,
                fresh=set() if fresh is None else fresh,
                listing=listing or PathListing(),
                newest=newest,
                only=None if has_lookup else only,
                converting=self.converting,
                metrics=self._metrics,
                clock=self._clock,
            )
            with closing(reading):
                is_reported = False
                timeout_s = ACK_TIMEOUT_S if is_task or link.can("agent_ack") else self._piece_timeout_s
                while True:
                    try:
                        received = await _next(stream, timeout_s)
                    except RunTooLarge as exc:
                        # Complete files are kept; the others are reported as missing.
                        self._metrics.limits_reached.labels("run_bytes").inc()
                        yield UnreadUnit("", exc.code, str(exc))
                        return
                    if received is None:
                        return
                    timeout_s = order.timeout_s if is_task else self._piece_timeout_s
                    async for event in reading.handle(received):
                        yield event
                    if reading.left is not None and not is_reported:
                        is_reported = True
                        yield UnreadUnit(
                            "",
                            ErrorCode.LIMIT_REACHED,
                            reading.left,
                            limit=reading.limit,
                            fresh=reading.fresh,
                        )
                    if reading.is_over:
                        return

    @asynccontextmanager
    async def _receipted(self, link: DeviceLink, frame: AgentRun) -> AsyncIterator[ReceivedFiles]:
        """Yield the collection of arriving files, and give a receipt of them at the end."""
        arrived = ReceivedFiles()
        try:
            yield arrived
        finally:
            if self._receipts is not None and frame.receipt is not None:
                await self._receipts.give(link, frame.receipt, frame.run_id, arrived)


async def _next(stream: RunStream, timeout_s: float) -> RunFrame | None:
    """Return the next frame of a run, or None after the last one.

    Raises:
        DeviceStalled: no frame arrived in time.
    """
    if stream.is_ready:  # a time limit would cost more than the frame
        return await anext(stream, None)
    with anyio.move_on_after(timeout_s):
        return await anext(stream, None)
    raise DeviceStalled(f"nothing came of the run for {timeout_s:g} s")


class PathListing:
    """Paths of a complete listing, as numbers of eight bytes: a device may list a million files."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._is_sorted = True
        self.is_complete = False

    def add(self, path: str) -> None:
        """Add a listed path."""
        self._numbers.append(hash(path))
        self._is_sorted = False

    def lacks(self, path: str) -> bool:
        """Return True if the listing is complete and has no such path."""
        if not self.is_complete:
            return False
        if not self._is_sorted:
            self._numbers, self._is_sorted = array("q", sorted(self._numbers)), True
        number = hash(path)
        at = bisect_left(self._numbers, number)
        return at == len(self._numbers) or self._numbers[at] != number


class _DeviceReading:
    """State of one stream of files.

    A file uses up *room* when it is requested, or at its first piece if it was not requested. A file that was
    settled before uses up room once its content is known to differ.

    Attributes:
        left: message about files that this run does not read; None if there are none so far.
        limit: name of the limit that was reached.
        fresh: number of files to read that no run tried since the time of this run's fire; at the end those
            that this run does not read.
        is_over: True if the device sends more than allowed, so that reading stops.
    """

    def __init__(
        self,
        stream: RunStream,
        arrived: ReceivedFiles,
        order: RunOrder,
        ledger: Ledger,
        *,
        missing: Sequence[str],
        settled_paths: Collection[str],
        is_paged: bool,
        limits: RunLimits,
        taken: int,
        fresh: set[str],
        listing: "PathListing",
        newest: int | None,
        only: str | None,
        converting: ConvertLimits,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._lost = cause_of(without_folders(missing)) if missing else None
        self._only = only and plain_path(only)
        self._arrived = arrived
        self._order = order
        self._ledger = ledger
        self._settled_paths = settled_paths
        self._is_opened = False
        self._tree: ManifestTree | None = None
        self._is_listed = False  # the manifest is complete
        self._hashes: dict[str, str] = {}  # of files whose content the ledger may not know yet
        self._entries: dict[str, LedgerEntry] = {}  # of files that come without a manifest
        # time tried, and file, of unchanged files that came without a manifest and are not yielded yet
        self._unchanged: list[tuple[int, ManifestFile]] = []
        self._unchanged_bytes = 0
        self._is_paged = is_paged
        self._limits = limits
        self._room = max(0, limits.files - taken)
        self._newest = newest
        if newest is not None:
            self._room = min(self._room, newest)
        self._taken: set[str] = set()  # paths that use up room
        self._fresh = fresh
        self._listing = listing
        self.left: str | None = None
        self.limit = "run_files"
        self.is_over = False
        self._taken_on = False
        self._listed = self._to_read = self._too_large = self.fresh = 0
        # time tried, time modified, position, path, bytes, digest
        self._offered: list[tuple[int, int, int, str, int, str]] = []
        self._awaited: dict[str, None] = {}
        self._converting = converting
        self._metrics = metrics
        self._clock = clock
        self._open: dict[str, IncomingFile] = {}
        self._closed: set[str] = set()  # further pieces of these are ignored

    async def handle(
        self, frame: AgentAck | AgentManifest | AgentData | AgentComplete
    ) -> AsyncGenerator[SourceEvent]:
        """Yield the events of one frame."""
        if isinstance(frame, AgentAck) and not frame.accepted:
            reason = frame.reason or "no reason given"
            if reason == ErrorCode.NOTHING_SHARED and self._lost is not None:
                raise NotTakenOn(self._lost.sentence, busy=False, reason=FOLDER_MISSING)
            raise NotTakenOn(
                f"{_NOT_TAKEN_ON}: {_advised(reason)}", busy=reason == ErrorCode.BUSY, reason=reason
            )
        if self._order.settings.is_task and isinstance(frame, AgentManifest | AgentData):
            raise NotTakenOn(
                "the device sends files for a task, which reads none", busy=False, reason=ErrorCode.BAD_FRAME
            )
        if isinstance(frame, AgentComplete):
            self._arrived.end = frame
            async for event in self._complete(frame):
                yield event
            return
        if not self._taken_on:
            self._taken_on = True
            yield TakenOn()
        if isinstance(frame, AgentManifest):
            self._tree = frame.tree or self._tree
            if await self._has_settled_tree(frame):
                assert self._tree is not None
                self._listed = self._tree.files
                yield SettledTree(self._tree.files)
                await self._stream.fetch([], last=True)
                return
            for unread in self._refuse_names(frame.files):
                yield unread
            files = [file for file in frame.files if self._is_asked_for(file.path) and "\0" not in file.path]
            yield await self._sort_out(files, is_last=frame.last)
            if frame.last:
                self._is_listed = True
                self._listing.is_complete = self._only is None
                self._choose()
                await self._stream.fetch(list(self._awaited), last=True)
            elif self._listed > MAX_LISTED:
                self.is_over = True
                self.left = f"the device lists more than {MAX_LISTED} files: nothing was read; share fewer"
            elif self._is_paged:
                await self._stream.fetch([], last=False)
        elif isinstance(frame, AgentData):
            for piece in frame.files:
                self._arrived.add(piece)
            for unread in self._refuse_names(frame.files):
                yield unread
            pieces = [
                piece for piece in frame.files if self._is_asked_for(piece.path) and "\0" not in piece.path
            ]
            await self._read_entries(pieces)
            for piece in pieces:
                found = await self._piece(piece)
                if found is not None:
                    yield found
                if self.is_over:
                    break
            if self._unchanged and (
                self.is_over or not self._stream.is_ready or self._unchanged_bytes > UNCHANGED_BYTES
            ):
                yield self._take_unchanged()
            if frame.files and not self.is_over:
                # Granted after the pieces were processed: the next pieces are in flight during extraction.
                await self._stream.grant(len(frame.files))

    def _refuse_names(self, files: Sequence[ManifestFile] | Sequence[FilePiece]) -> Iterator[UnreadUnit]:
        """Yield once each file whose path has U+0000: no file has it, and PostgreSQL does not store it."""
        for path in {file.path for file in files if "\0" in file.path} - self._closed:
            self._closed.add(path)
            shown = path.replace("\0", "\N{REPLACEMENT CHARACTER}")
            yield UnreadUnit(shown, SkipReason.NAME_NOT_UTF8, _NO_NAME, is_failure=False)

    def _is_asked_for(self, path: str) -> bool:
        """Return True if the file at *path* is the only one to read, or if all are read."""
        return self._only is None or f"/{plain_path(path)}".endswith(f"/{self._only}")

    async def _has_settled_tree(self, frame: AgentManifest) -> bool:
        """Return True if the first frame is a tree without files, and all of them are settled."""
        if self._is_opened:
            return False
        self._is_opened = True
        is_alone = self._is_paged and not frame.files and not frame.last
        return await self._ledger.has_settled(frame.tree if is_alone else None)

    async def _read_entries(self, pieces: Sequence[FilePiece]) -> None:
        """Read the ledger's entries of files that come without a manifest, and of those behind them."""
        if not self._is_opened:
            self._is_opened = True
            await self._ledger.has_settled(None)
        paths = [piece.path for piece in pieces]
        if any(map(self._is_unknown, paths)):  # one look-up for all that have arrived, not one a file
            arrived = islice(self._stream.arrived_paths(), MAX_LOOKED_UP)
            new = set(filter(self._is_unknown, (*paths, *arrived)))
            entries = await self._ledger.entries(list(new))
            self._entries |= {path: entries.get(path, NO_ENTRY) for path in new}

    def _is_unknown(self, path: str) -> bool:
        """Return True if neither a manifest nor the ledger was asked about the file at *path*."""
        return path not in self._hashes and path not in self._entries

    async def _sort_out(self, files: list[ManifestFile], *, is_last: bool) -> SeenUnits:
        """Keep only files that may be fetched, because a manifest may have a million entries."""
        seen: list[ManifestFile] = []
        unread: list[ManifestFile] = []
        entries = await self._ledger.entries([file.path for file in files]) if files else {}
        for file in files:
            self._listing.add(file.path)
            if file.path in self._settled_paths:
                self._hashes[file.path] = file.sha256
            elif entries.get(file.path, NO_ENTRY).content_hash == file.sha256:
                seen.append(file)
            else:
                unread.append(file)
        for place, file in enumerate(unread, self._to_read):
            if file.size_bytes > self._limits.bytes:
                self._too_large += 1
            else:
                order = entries.get(file.path, NO_ENTRY).tried_at, file.modified_ms or 0, place
                self.fresh += order[0] < self._order.fire_at
                if self._newest is not None:
                    order = 0, -(file.modified_ms or 0), place
                self._offered.append((*order, file.path, file.size_bytes, file.sha256))
        # sorted only at twice the size, to keep the cost per file low
        if len(self._offered) > 2 * self._room:
            self._offered.sort()
            del self._offered[self._room :]
        self._listed += len(files)
        self._to_read += len(unread)
        oldest_at = min((entries[file.path].tried_at for file in seen), default=None)
        return SeenUnits(seen, self._listed if is_last else None, oldest_at)

    def _choose(self) -> None:
        """Select the offered files that fit the limits of a run."""
        left_bytes = self._limits.bytes
        for tried_at, *_, path, size_bytes, sha256 in sorted(self._offered):
            if size_bytes <= left_bytes and self._admits(path):
                if tried_at < self._order.fire_at:
                    self.fresh -= 1
                    self._fresh.add(path)
                self._awaited[path] = None
                self._hashes[path] = sha256
                left_bytes -= size_bytes
        self._offered.clear()
        if self._newest is not None and len(self._taken) >= self._newest:
            return
        if left := self._to_read - len(self._awaited):
            if len(self._taken) < self._room:
                self.limit = "run_bytes"
            self.left = f"{self._reached}: {left} of {self._listed} files are left for the next runs"
            if self._too_large:
                message = f"{self._too_large} of them are larger than {self._limits.bytes} bytes"
                self.left += f"; {message} and wait until run_bytes is raised"

    @property
    def _reached(self) -> str:
        """The limit that was reached, with its value and its place."""
        value = self._limits.files if self.limit == "run_files" else self._limits.bytes
        return f"{self.limit} = {value} in [limits] of hub.toml"

    async def _piece(self, piece: FilePiece) -> SourceEvent | None:
        path = piece.path
        if path in self._closed or path in self._settled_paths:
            return None  # already complete, given up, or settled by an earlier attempt
        entry = self._entries.get(path, NO_ENTRY)
        known_hash = entry.content_hash
        if not known_hash and not self._admits(path):
            self.is_over = True
            return None
        try:
            incoming = self._open.get(path)
            if incoming is None:
                incoming = self._open[path] = IncomingFile(piece, now_ms(self._clock))
            incoming.add(piece)
            if not incoming.is_whole:
                return None
            if incoming.is_to_be_read:
                document = await anyio.to_thread.run_sync(
                    incoming.document, self._converting, from_thread.check_cancelled, limiter=_converting()
                )
            else:
                document = incoming.document(self._converting, lambda: None)  # short without a conversion
        except NotConvertible as exc:  # expected by the file's owner, unless a limit of the hub was reached
            if exc.limit is not None:
                self._metrics.limits_reached.labels(exc.limit).inc()
            return self._give_up(path, ErrorCode.NOT_CONVERTIBLE, str(exc), is_failure=exc.limit is not None)
        except BrokenFile as exc:
            return self._give_up(path, exc.reason, str(exc))
        self._release(path)
        self._awaited.pop(path, None)
        self._closed.add(path)
        is_known = known_hash == document.content_hash
        if document.recording is not None and (is_known or not self._admits(path)):
            document.recording.close()
        if is_known:
            if self._is_listed:
                return None  # its entry in the manifest was counted
            size_bytes = len(document.text)
            file = ManifestFile(path=path, size_bytes=size_bytes, sha256=document.content_hash)
            self._unchanged.append((entry.tried_at, file))
            self._unchanged_bytes += ENTRY_BYTES + size_bytes
            return None
        if not self._admits(path):
            self.is_over = True
            return None
        if path not in self._hashes:
            self._tree = None  # it came unasked, so the digest may cover another content of it
        return document

    def _take_unchanged(self) -> SeenUnits:
        """Return the unchanged files that came without a manifest, which are written together."""
        unchanged, self._unchanged, self._unchanged_bytes = self._unchanged, [], 0
        return SeenUnits([file for _, file in unchanged], None, min(tried_at for tried_at, _ in unchanged))

    def _admits(self, path: str) -> bool:
        """Return True if the run may read the file at *path*, and count it."""
        if path not in self._taken:
            entry = None if self._is_listed else self._entries.get(path, NO_ENTRY)
            is_fresh = entry is not None and entry.tried_at < self._order.fire_at
            if len(self._taken) >= self._room:
                if self._newest is None or self._newest > self._room:
                    if entry is not None:
                        self.fresh = int(is_fresh)
                    self.left = self.left or f"{self._reached}: the device has more files"
                return False
            self._taken.add(path)
            if is_fresh:
                self._fresh.add(path)
        return True

    def close(self) -> None:
        """Discard partially received files."""
        for path in list(self._open):
            self._release(path)

    def _release(self, path: str) -> None:
        incoming = self._open.pop(path, None)
        if incoming is not None:
            incoming.close()

    def _give_up(self, path: str, code: ErrorCode, message: str, *, is_failure: bool = True) -> UnreadUnit:
        self._closed.add(path)
        self._release(path)
        self._awaited.pop(path, None)
        if not is_failure:
            self._hashes.pop(path, None)
        return UnreadUnit(path, code, message, is_failure, was_fetched=True)

    async def _complete(self, frame: AgentComplete) -> AsyncGenerator[SourceEvent]:
        error = frame.error
        if isinstance(error, str):
            error = ErrorBody(code=ErrorCode.DEVICE_ERROR, message=error)
        if error is not None and not self._taken_on:
            raise NotTakenOn(
                f"{_NOT_TAKEN_ON}: {error.message or error.code}",
                busy=error.code in (ErrorCode.BUSY, ErrorCode.CANCELLED),
                reason=error.code,
            )
        if not self._taken_on:
            yield TakenOn()
        if self._unchanged:
            yield self._take_unchanged()
        if error is not None and error.retryable and self._order.settings.is_task:
            raise TaskNotDone(error.message or error.code)
        unlisted = 0
        for skipped in frame.skipped:
            if not self._is_asked_for(skipped.path):
                continue
            if was_fetched := skipped.path in self._awaited:
                del self._awaited[skipped.path]
            elif skipped.path not in self._closed and skipped.path != MANY:
                unlisted += 1
            self._release(skipped.path)
            if skipped.path not in self._closed and skipped.path not in self._settled_paths:
                unread = _unread(skipped, was_fetched=was_fetched)
                if not unread.is_failure:
                    self._hashes.pop(skipped.path, None)
                yield unread
        is_outside = any(skipped.reason == SkipReason.OUTSIDE_SHARED for skipped in frame.skipped)
        reads_all = not self._order.settings.paths and not self._order.settings.is_task
        if self._lost is not None and (is_outside or reads_all):  # the other folders are read
            yield UnreadUnit("", FOLDER_MISSING, self._lost.sentence)
        if unlisted and self._listed:
            yield SeenUnits([], self._listed + unlisted)
        missing = [*self._open, *(path for path in self._awaited if path not in self._open)]
        for path in missing:
            yield UnreadUnit(
                path, ErrorCode.FILE_INCOMPLETE, "the device ended the run before the file was whole"
            )
        if error is not None:
            yield UnreadUnit("", error.code, f"the device ended the run early: {error.message or error.code}")
        elif self._tree is not None and self._is_listed and self.left is None and not missing:
            yield ReadTree(self._tree, self._hashes)


def plain_path(path: str) -> str:
    """Return a path as it is compared with another one: with slashes, without those around it."""
    return path.replace("\\", "/").removeprefix("~/").removeprefix("./").strip("/")


def _unread(skipped: SkippedFile, *, was_fetched: bool) -> UnreadUnit:
    code = skipped.reason.partition(":")[0].strip()
    if skipped.path == MANY:
        summary = f"{counted(skipped.files, 'file')}: {skipped.reason}"
        return UnreadUnit("", code, summary, code not in LEFT_OUT, files=skipped.files)
    return UnreadUnit(skipped.path, code, skipped.reason, code not in LEFT_OUT, was_fetched)


def _advised(reason: str) -> str:
    """Return a device's reason for a refusal, with advice unless a retry may succeed."""
    try:
        info = CATALOGUE[ErrorCode(reason)]
    except ValueError:
        return reason  # an error code that only the device knows
    return reason if info.retryable else f"{reason}: {info.hint}"


def _dotted(ending: str) -> str:
    return ending if ending.startswith(".") else f".{ending}"
