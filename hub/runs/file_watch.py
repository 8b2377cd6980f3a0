"""Start of runs when files of a device have changed, as the device says by ``files.changed``.

An agent that reads by a schedule reads changed files at once, or, if a model reads its documents, once they
are calm. Hints that come meanwhile are one run, and no such run executes beside another run of the agent.
While saves go on, the pause before the next run doubles: to a minute, or, for a model, from one minute to 15.
An hour without a run ends that, and by rules each minute takes one run of the row back. A model costs:
between two times of the schedule, hints start at most 24 runs that ask it. Pauses outlast a restart, since
they are read from the runs.

A hint names no file: the run compares all files of the agent, as any other. Hints are kept in memory alone,
since the schedule reads whatever a hint did not.
"""

import math
from collections.abc import Collection
from contextlib import suppress
from itertools import pairwise
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock, now_ms
from hub.base.periodic_loop import PeriodicLoop
from hub.extraction.extractor import Extractor
from hub.runs.news_runs import NewsRuns
from hub.runs.run_order import UndeclaredTable, extraction_config_of
from hub.runs.scheduler import trigger_for
from protocol.agent_status import Lifecycle
from protocol.errors import HubError
from protocol.ids import AgentId, DeviceId
from protocol.lifecycles import RunState
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs import runs
from storage.runs.runs import CHANGE
from storage.schedules import schedule_rows
from storage.store import Store

PAUSE_S: Final = 10.0  # after the start of a run of the agent that a hint started, and after any was seen
CALM_S: Final = 20.0  # after the last hint, before a model is asked
LATEST_S: Final = 300.0  # after the first one
EASY_RUNS: Final = 12  # runs by rules with the shortest pause, before it doubles; a minute forgets one
LONGEST_S: Final = 60.0  # pause between runs by rules while saves go on
MODEL_PAUSES_S: Final = (60.0, 900.0)  # the first and the longest pause between runs with a model
FORGOTTEN_S: Final = 3600.0  # after the last run, before pauses begin anew
PART_OF_PERIOD: Final = 24  # runs with a model between two times of the agent's schedule, at most
_REMEMBERED: Final = 20  # runs by hints that are looked through after a start of the hub
_WAITING: Final = frozenset({RunState.QUEUED})


class FileWatch:
    """Service that starts runs of the agents that hints name."""

    def __init__(self, store: Store, extractor: Extractor, news: NewsRuns, *, clock: Clock) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._extractor = extractor
        self._news = news
        self._clock = clock
        self._due: dict[AgentId, tuple[float, float]] = {}  # the first hint, and when the run may start
        self._ran: dict[AgentId, float] = {}  # when a run was started, or last seen to execute
        self._started: dict[AgentId, tuple[float, float]] = {}  # the last start, and the starts in a row

    async def hint(self, device_id: DeviceId, ids: Collection[AgentId]) -> int:
        """Start runs of the agents of a device that read by themselves; return their number."""
        now = self._clock.monotonic()
        own = await self._store.read(agents.list_agents, device_id=device_id)
        hinted = [agent for agent in own if agent.id in ids and _reads_by_itself(agent)]
        for agent in hinted:
            first, due = self._due.get(agent.id, (now, now))
            if self._asks_model(agent):
                due = min(now + CALM_S, first + LATEST_S)
            self._due[agent.id] = first, due
        self.loop.wake()
        return len(hinted)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start runs that are due, until cancelled."""
        task_status.started()
        await self.loop.serve(self._start_due, of="changed files", every_s=math.inf)

    async def _start_due(self) -> float:
        """Start the runs that are due, and return the seconds until the next one is."""
        for agent_id, (first, due) in list(self._due.items()):
            if due <= (now := self._clock.monotonic()):
                del self._due[agent_id]
                with suppress(HubError):  # the agent was deleted, or its schedule cannot be read
                    if wait_s := await self._start(agent_id, now):
                        self._due.setdefault(agent_id, (first, now + wait_s))
        return max(
            0.0, min((due for _, due in self._due.values()), default=math.inf) - self._clock.monotonic()
        )

    async def _start(self, agent_id: AgentId, now: float) -> float:
        """Queue a run, unless a waiting run reads the change; or return the seconds until the next try."""
        agent = await self._store.read(agents.get_agent, agent_id)
        waiting = await self._store.read(runs.list_runs, agent_id=agent_id, states=_WAITING, limit=1)
        if not _reads_by_itself(agent) or any(run.fence == 0 for run in waiting):
            return 0.0
        if agent.runs_executing:
            self._ran[agent_id] = now
        at, starts = self._started.get(agent_id) or await self._remembered(agent_id, now)
        if now - at >= FORGOTTEN_S:
            starts = 0.0
        elif not self._asks_model(agent):
            starts = max(0.0, starts - (now - at) / LONGEST_S)
        pause_s = await self._pause_s(agent, starts)
        wait_s = max(self._ran.get(agent_id, -math.inf) + PAUSE_S, at + pause_s) - now
        if wait_s > 0:
            return wait_s
        self._ran[agent_id], self._started[agent_id] = now, (now, starts + 1)
        await self._news.start(agent, CHANGE)
        return 0.0

    async def _remembered(self, agent_id: AgentId, now: float) -> tuple[float, float]:
        """Return when hints last started a run of the agent, and the starts in a row, from its runs."""
        rows = await self._store.read(runs.list_runs, agent_id=agent_id, by_hint=True, limit=_REMEMBERED)
        ages_s = [(now_ms(self._clock) - row.created_at) / 1000 for row in rows]
        gaps = [later - earlier for earlier, later in pairwise(ages_s)]
        starts = next((n for n, gap_s in enumerate(gaps, 1) if gap_s >= FORGOTTEN_S), len(ages_s))
        self._started[agent_id] = (now - max(0.0, ages_s[0]) if ages_s else -math.inf, float(starts))
        return self._started[agent_id]

    async def _pause_s(self, agent: AgentRow, starts: float) -> float:
        """Return the seconds between the last start of a run and the next one, after so many in a row."""
        if not self._asks_model(agent):
            return min(PAUSE_S * math.exp2(min(max(0.0, starts - EASY_RUNS), 9.0)), LONGEST_S)
        first, longest = MODEL_PAUSES_S
        doubled = min(first * math.exp2(min(max(0.0, starts - 1), 9.0)), longest)
        rows = [row for row in await self._store.read(schedule_rows.schedules_of, agent.id) if row.enabled]
        triggers = [(trigger_for(row), row.cursor_at) for row in rows]
        since = max((at for _, at in triggers), default=0)
        following = [later for trigger, at in triggers if (later := trigger.next_after(at)) is not None]
        shortest = min((trigger.period_ms() for trigger, _ in triggers), default=0)
        # The time before the cursor of a new schedule is unknown.
        return max(doubled, max(shortest, min(following, default=0) - since) / 1000 / PART_OF_PERIOD)

    def _asks_model(self, agent: AgentRow) -> bool:
        try:
            options = extraction_config_of(agent, tables=self._extractor.tables)
        except UndeclaredTable:
            return False  # its run is not created
        return not self._extractor.reads_prose_by_rules(options)


def _reads_by_itself(agent: AgentRow) -> bool:
    """Return True if the agent reads files by a schedule, and does not collect its questions in batches."""
    is_reader = bool(agent.paths) and agent.mailbox is None and not agent.model_use.batch
    return is_reader and agent.schedule is not None and agent.lifecycle == Lifecycle.ACTIVE
