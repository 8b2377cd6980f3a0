"""The reference device in this process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio

from hub.base.clock import Chance, Clock, SystemChance, SystemClock
from hub.device.app import DeviceOptions, ReferenceDevice
from hub.device.credentials import Credential, TokenCredential
from hub.device.items import DeviceItem, read_items
from hub.device.known_hubs import KnownHubs
from protocol.ids import KeyId
from tests.support.processes import POLL_S, START_TIMEOUT_S

PATIENCE_S = 10.0


class RunningDevice:
    """A device that serves ``folder``; what it told, and what it keeps."""

    def __init__(self, folder: Path, db: Path) -> None:
        self.folder = folder
        self.db = db
        self.told: list[str] = []
        self.failure: Exception | None = None
        self.is_over = anyio.Event()

    def write(self, name: str, text: str) -> Path:
        """A file in the shared folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def items(self) -> list[DeviceItem]:
        """What was inserted and is still there."""
        return read_items(self.db)

    async def reports(self, start: str) -> None:
        """Wait until it has reported a line that begins with *start*."""
        with anyio.fail_after(START_TIMEOUT_S):
            while not any(line.startswith(start) for line in self.told):
                await anyio.sleep(POLL_S)

    async def over(self) -> Exception | None:
        """Wait until it has stopped by itself; why."""
        with anyio.fail_after(PATIENCE_S):
            await self.is_over.wait()
        return self.failure


@asynccontextmanager
async def open_device(
    url: str,
    state: Path,
    token: str | Path | Credential = "hub_dev_desk",
    *,
    codec: Literal["json", "msgpack"] = "json",
    clock: Clock | None = None,
    chance: Chance | None = None,
    rotates: bool = False,
    grants: Sequence[str] = (),
    accepted: KeyId | None = None,
    more: Sequence[str] = (),
) -> AsyncIterator[RunningDevice]:
    """Serve ``state/notes`` with ``state/desk.db`` beside it; gone when the block is left.

    Shows *token*, or whatever credential that is. *more*: further addresses of the hub.
    Does not wait for the hub: a test may want it to be away.
    """
    folder = state / "notes"
    folder.mkdir(exist_ok=True)
    running = RunningDevice(folder, state / "desk.db")
    device = ReferenceDevice(
        DeviceOptions(
            urls=[url, *more],
            roots=[folder],
            db=running.db,
            name="desk",
            codec=codec,
            rotates=rotates,
            grants=grants,
        ),
        TokenCredential(token) if isinstance(token, str | Path) else token,
        clock=clock or SystemClock(),
        chance=chance or SystemChance(),
        on_status=running.told.append,
        hubs=KnownHubs(running.db.with_suffix(".hubs"), running.db.with_suffix(".key"), accepted=accepted),
    )

    async def serve() -> None:
        try:
            await device.serve()
        except Exception as error:
            running.failure = error
        finally:
            running.is_over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield running
        tasks.cancel_scope.cancel()
