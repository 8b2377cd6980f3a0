"""When hub.toml is taken up without being asked over REST: after an edit, and on SIGHUP."""

from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskStatus
from watchfiles import Change, awatch

from hub.clock import Clock
from hub.log import Channel
from hub.settings.problems import SettingsInvalid
from hub.settings.reload import Reloader
from hub.turns import Turns

log = Channel(__name__)

DEBOUNCE_MS: Final = 200  # an editor saves in several steps
LOOK_MS: Final = 2_000  # some file systems tell nobody, and nobody watched while the hub started
ACTOR: Final = "hub"


class SettingsWatch:
    """Reloads when the file has changed, unless ``[reload] watch`` is off, and whenever told to."""

    def __init__(self, reloader: Reloader, clock: Clock) -> None:
        self.turns = Turns(clock)  # of the loop that looks at the file
        self.reloader = reloader
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Reload soon, whether the file has changed or not. Returns at once."""
        self._asked.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; the other services have started by then."""
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
        path = self.reloader.path.absolute()
        names = {path.name, path.resolve().name}
        folders = {path.parent, path.resolve().parent}  # of a link, and of what it leads to

        def is_ours(_: Change, changed: str) -> bool:
            return changed.rpartition("/")[2] in names

        self.turns.wait(LOOK_MS / 1000)
        async for _ in awatch(
            *folders,
            watch_filter=is_ours,
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
        ):
            self.turns.wait(LOOK_MS / 1000)
            if self.reloader.current.reload.watch and self.reloader.is_news():
                await self._reload()

    async def _reload(self) -> None:
        with suppress(SettingsInvalid):  # logged, counted, an issue: nobody waits for an answer
            await self.reloader.reload(actor=ACTOR)
