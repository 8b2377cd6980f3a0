"""One run at a simulated device: its manifest, then the requested files in pieces."""

import asyncio
import contextvars
from collections.abc import Callable

import msgspec

from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.work import (
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
    SkippedFile,
)
from tests.simulation.dice import Dice
from tests.simulation.files import Edition, Folder, tree_of
from tests.simulation.wire import Wire


class DeviceRun:
    """Run that the device accepts or refuses.

    Args:
        capabilities: capabilities of the device.
        context: tracing context in which the run resumes after a wait.
        on_end: called after the last frame was sent.
    """

    def __init__(
        self,
        frame: AgentRun,
        wire: Wire,
        *,
        capabilities: frozenset[str],
        folder: Folder,
        dice: Dice,
        context: contextvars.Context,
        on_end: "Callable[[DeviceRun], None]",
    ) -> None:
        self.frame = frame
        self.is_over = False
        self._wire = wire
        self._capabilities = capabilities
        self._folder = folder
        self._dice = dice
        self._context = context
        self._on_end = on_end
        self._lane = f"run {frame.run_id}"
        self._loop = asyncio.get_running_loop()
        self._has_credit = "agent_data.credit" in capabilities
        self._credit = frame.credit
        self._pieces: list[FilePiece] = []  # to be sent, in order
        self._skipped: list[SkippedFile] = []
        self._pages: list[AgentManifest] = []  # to be sent, in order
        self._is_last = False  # nothing more will be asked for
        self._sent = 0
        self._sending = False

    @property
    def _fence(self) -> int | None:
        """Return the fence for the frames; devices of the first version have none."""
        return self.frame.fence if self._has_credit else None

    def refuse(self) -> None:
        """Refuse the run as busy."""
        run_id, fence = self.frame.run_id, self._fence
        if "agent_ack" in self._capabilities:
            self._wire.up(
                AgentAck(run_id=run_id, fence=fence, accepted=False, reason=ErrorCode.BUSY), self._lane
            )
        busy = ErrorBody(code=ErrorCode.BUSY, message="another time")
        self._wire.up(AgentComplete(run_id=run_id, fence=fence, error=busy), self._lane)

    def begin(self, *, stalls: bool) -> None:
        """Accept the run; with *stalls*, send nothing more."""
        if "agent_ack" in self._capabilities:
            self._wire.up(AgentAck(run_id=self.frame.run_id, fence=self._fence), self._lane)
        if not stalls:
            self._later(self._list, self._dice.uniform(0.01, 1.5))

    def hears(self, frame: AgentFetch | AgentCredit | AgentCancel) -> None:
        """Process a frame of the hub for this run."""
        match frame:
            case AgentFetch():
                for path in frame.paths:
                    found = self._folder.find(path)
                    if found is None:
                        self._skipped.append(SkippedFile(path=path, reason="vanished"))
                    else:
                        self._add(found)
                self._is_last = self._is_last or frame.last
                if frame.last:
                    self._pages.clear()
                elif self._pages:
                    self._later(self._send_page, self._dice.uniform(0.0, 0.4))
            case AgentCredit():
                self._credit += frame.pieces
            case AgentCancel():
                self._complete(ErrorBody(code=ErrorCode.CANCELLED, message="as you wish"))
                return
        self._send_on()

    def rest(self) -> list[AgentData | AgentComplete]:
        """Return the frames that an app would still send after a missed end of its run."""
        if not self._has_credit:
            return []  # without a fence they look like frames of the next attempt
        run_id, fence = self.frame.run_id, self._fence
        data = [AgentData(run_id=run_id, fence=fence, files=[piece]) for piece in self._pieces[:2]]
        return [*data, AgentComplete(run_id=run_id, fence=fence)]

    def _list(self) -> None:
        files = self._folder.files()
        if "agent_manifest" in self._capabilities:
            self._pages = self._manifest(files)
            self._send_page()
            while self._pages and not self.frame.paged:
                self._send_page()
        else:
            for file in files:
                self._add(file)
            self._is_last = True
            self._send_on()

    def _manifest(self, files: list[Edition]) -> list[AgentManifest]:
        """Return the frames of the manifest: a tree, in most paged runs, and one frame or two of files."""
        run_id, fence = self.frame.run_id, self._fence
        listed = [
            ManifestFile(path=file.path, size_bytes=len(file.text), sha256=file.sha256) for file in files
        ]
        half = len(listed) // 2 if self._dice.says(0.3) else 0
        parts = [listed[:half], listed[half:]] if half else [listed]
        frames = [AgentManifest(run_id=run_id, fence=fence, files=part, last=False) for part in parts]
        tree = None
        if self.frame.tree and self._dice.says(0.9):
            tree = ManifestTree(digest=tree_of(files), files=len(files))
        if tree is not None and self._dice.says(0.8):
            frames.insert(0, AgentManifest(run_id=run_id, fence=fence, tree=tree, last=False))
            tree = None
        frames[-1] = msgspec.structs.replace(frames[-1], last=True, tree=tree)
        return frames

    def _send_page(self) -> None:
        if self._pages:
            self._up(self._pages.pop(0))

    def _add(self, file: Edition) -> None:
        cut = len(file.text) // 2 if self._dice.says(0.2) else 0
        parts = [file.text[:cut], file.text[cut:]] if cut else [file.text]
        sha256 = file.sha256 if self._has_credit else None
        self._pieces += [
            FilePiece(path=file.path, content=part, sha256=sha256, piece=number, pieces=len(parts))
            for number, part in enumerate(parts)
        ]

    def _send_on(self) -> None:
        if self._sending or self.is_over:
            return
        if self._pieces and (self._credit > 0 or not self._has_credit):
            self._sending = True
            self._later(self._send_piece, self._dice.uniform(0.0, 0.4))
        elif not self._pieces and self._is_last:
            self._complete(None)

    def _send_piece(self) -> None:
        self._sending = False
        if not self._pieces:
            return
        piece = self._pieces.pop(0)
        self._credit -= 1
        self._sent += 1
        self._up(AgentData(run_id=self.frame.run_id, fence=self._fence, files=[piece]))
        self._send_on()

    def _complete(self, error: ErrorBody | None) -> None:
        self._up(
            AgentComplete(
                run_id=self.frame.run_id,
                fence=self._fence,
                files=self._sent,
                skipped=self._skipped,
                error=error,
            )
        )
        self.is_over = True
        self._on_end(self)

    def _up(self, frame: AgentManifest | AgentData | AgentComplete) -> None:
        if not self.is_over:
            self._wire.up(frame, self._lane)

    def _later(self, step: Callable[[], None], seconds: float) -> None:
        self._loop.call_later(seconds, self._unless_over, step, context=self._context)

    def _unless_over(self, step: Callable[[], None]) -> None:
        if not self.is_over:
            step()
