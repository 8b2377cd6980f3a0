"""Hints to the hub that files of its agents have changed, so that they are read at once.

What has changed is judged here by the rules of a listing, so that a file that is not offered costs no hint. A
hint names the agents whose files changed, and no file. It is sent once the files are calm: a program saves by
several steps. On battery hints are rarer. A hub keeps hints in memory alone: each connection begins with one
for agents that listed no files since their last hint, and after a start for those with changed files. The
schedules read what no hint tells of.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import anyio
from anyio import from_thread, to_thread

from hub.base.clock import Clock, wait_for_event
from hub.base.log import Channel
from hub.device.conditions import is_on_power
from hub.device.connection import HubConnection
from hub.device.folder_watch import FolderWatch
from hub.device.shared import SharedFolders
from protocol.coordination import MAX_CHANGED_AGENTS, Method
from protocol.work import RunConfig

log = Channel(__name__)

CALM_S: Final = 1.0  # without another change, before a hint
LATEST_S: Final = 5.0  # after the first change
ON_BATTERY_S: Final = 60.0  # the same, on battery
AGAIN_S: Final = 30.0  # after a hint that the hub could not take
MAX_NAMES: Final = 10_000  # of changed files; beyond it, anything may have changed


class ChangeHints:
    """Sender of hints. *on_status* gets a sentence if not all folders are watched."""

    def __init__(
        self,
        shared: SharedFolders,
        watch: FolderWatch,
        clock: Clock,
        on_status: Callable[[str], None],
        *,
        has_power: Callable[[], bool | None] = is_on_power,
    ) -> None:
        self._shared = shared
        self._watch = watch
        self._clock = clock
        self._on_status = on_status
        self._has_power = has_power
        self._agents: dict[str, tuple[RunConfig, Collection[str]]] = {}  # with media types that it reads
        self._changes: dict[str, set[str]] = defaultdict(set)  # names by folder
        self._names = 0
        self._unlisted: dict[str, RunConfig] = {}  # agents of which no file was listed so far
        self._pending: set[str] = set()  # agents of hints that the hub has not taken
        self._unread: set[str] = set()  # agents of hints that the hub has taken, which listed no files since
        self._arrived = anyio.Event()
        self._why_partial = ""

    def note_agent(self, agent_id: str, config: RunConfig, readable: Collection[str]) -> None:
        """Send hints for an agent whose files were listed, so that their folders are watched."""
        self._unread.discard(agent_id)
        self._agents.pop(agent_id, None)
        self._agents[agent_id] = config, readable
        if len(self._agents) > MAX_CHANGED_AGENTS:
            self._agents.pop(next(iter(self._agents)))
        if self._watch.why_partial != self._why_partial:
            self._why_partial = self._watch.why_partial
            self._on_status(f"not all folders are watched: {self._why_partial}; schedules read the others")

    def learn_paths(self, agent_id: str, paths: list[str]) -> None:
        """Watch the folders of an agent that the hub names, unless they are known; never blocks."""
        config, _ = self._agents.get(agent_id, (None, ()))
        is_new = config is None or config.paths != paths
        if paths and is_new and len(self._unlisted) < MAX_CHANGED_AGENTS:
            self._unlisted[agent_id] = RunConfig(paths=paths)
            self._arrived.set()

    async def serve(self, line: HubConnection) -> None:
        """Send hints until cancelled, or until the hub refuses them."""
        self._pending |= self._unread
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._collect)
            while await self._hint(line):
                await self._arrived.wait()
                await self._until_calm()
            tasks.cancel_scope.cancel()

    async def _watch_new(self) -> None:
        """Watch the folders of agents that the hub has named since."""
        while self._unlisted:
            agent_id, config = self._unlisted.popitem()
            has_unread = await to_thread.run_sync(self._watch_files, config)
            self.note_agent(agent_id, config, ())
            self._pending |= {agent_id} if has_unread else set()

    def _watch_files(self, config: RunConfig) -> bool:
        """List files, so that their folders are watched. Return True if some changed since a run."""
        places, _ = self._shared.places(config.paths)
        files, _ = self._shared.list_files(places, config, None, from_thread.check_cancelled)
        return any(file.sha256 is None for file in files) and self._shared.has_read(files)

    async def _collect(self) -> None:
        """Collect changes as they happen; while no hub is connected, the system does."""
        while True:
            await anyio.wait_readable(self._watch.descriptor)
            for change in self._watch.read():
                if change is None or self._names >= MAX_NAMES:
                    self._pending.update(self._agents)
                else:
                    self._changes[change[0]].add(change[1])
                    self._names += 1
                self._arrived.set()

    async def _until_calm(self) -> None:
        began = self._clock.monotonic()
        if await to_thread.run_sync(self._has_power) is False:
            await self._clock.sleep(ON_BATTERY_S)
        while self._arrived.is_set() and (left := began + LATEST_S - self._clock.monotonic()) > 0:
            self._arrived = anyio.Event()
            await wait_for_event(self._arrived, self._clock, min(CALM_S, left))

    async def _hint(self, line: HubConnection) -> bool:
        """Send the agents whose files have changed. Return False if the hub takes no hints."""
        self._arrived = anyio.Event()
        await self._watch_new()
        changes, self._changes, self._names = self._changes, defaultdict(set), 0
        self._pending |= await to_thread.run_sync(self._hinted, changes)
        while agents := sorted(self._pending & self._agents.keys()):
            self._unread = {*agents, *(self._unread & self._agents.keys())}
            response = await line.request(Method.FILES_CHANGED, {"agents": agents})
            error = None if response is None else response.error
            if response is not None and error is None:
                self._pending.difference_update(agents)
            elif error is not None and not error.retryable:
                log.info("device.hints.not_taken", code=error.code)
                return False
            else:
                await self._clock.sleep(AGAIN_S)
        return True

    def _hinted(self, changes: Mapping[str, Collection[str]]) -> set[str]:
        """Return the agents that read one of the changes."""
        has_changed = partial(self._shared.has_changed, changes)
        return {agent_id for agent_id, read in list(self._agents.items()) if has_changed(*read)}
