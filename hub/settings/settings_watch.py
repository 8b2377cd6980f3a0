"""Automatic reloads: of hub.toml and certificates after an edit, on SIGHUP, after a new shared revision."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from hub.rounds import Turns
from hub.settings.problems import SettingsInvalid
from hub.settings.reload import Reloader
from storage.kernel.database import StorageError

log = Channel(__name__)

POLL_S: Final = 1.0  # reading the file costs microseconds; some file systems do not notify
SETTLE_S: Final = 0.2  # an editor saves in several steps
ACTOR: Final = "hub"


class SettingsWatch:
    """Service that reloads the file after an edit, unless ``[reload] watch`` is off, and on request.

    Attributes:
        renew_certificates: called each second, unless ``[reload] watch`` is off.
    """

    def __init__(self, reloader: Reloader, clock: Clock) -> None:
        self.turns = Turns(clock)  # of the loop that watches the file
        self.reloader = reloader
        self.renew_certificates: Callable[[], None] = lambda: None
        self._clock = clock
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Request a reload, even if the file is unchanged. Returns at once."""
        self._asked.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; all other services must have started before."""
        await self.reloader.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reload_when_asked)
            task_status.started()
            await self._reload_when_edited()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            await self._reload()

    async def _reload_when_edited(self) -> None:
        while True:  # at once too: an edit during the hub's start is news
            if self.reloader.current.reload.watch:
                self.renew_certificates()
                if self.reloader.is_news():
                    await self._clock.sleep(SETTLE_S)
                    await self._reload()
            with suppress(SettingsInvalid, StorageError):  # already recorded; the database is away
                await self.reloader.follow(actor=ACTOR)
            self.turns.wait(POLL_S)
            await self._clock.sleep(POLL_S)

    async def _reload(self) -> None:
        with suppress(SettingsInvalid, StorageError):  # already logged, counted and reported as an issue
            await self.reloader.reload(actor=ACTOR)
