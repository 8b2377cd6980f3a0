"""Start of runs when a mailbox or webhook has new messages (``push``).

If a connector can wait for news, one connection is kept open per agent. News posted to a webhook is reported
by the webhook's handler. Both start a run at once. All news before that run begins is read by the same run. A
schedule in addition reads messages without a notification.
"""

from functools import partial
from typing import Any, Final, Never

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.connectors.calling import (
    NEEDS_A_PERSON,
    ConnectorFailure,
)
from hub.connectors.connector import Connector
from hub.runs.leases import is_share_of
from hub.runs.mailbox_visit import ConnectorOpener, open_connector
from hub.runs.news_runs import NewsRuns
from protocol.backoff import Backoff
from protocol.ids import BootId
from storage import leases as storage_leases
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 30.0  # interval of checks for agents with ``push``, and of their connectors' state

PAUSE_S: Final = 5.0  # between two runs started by news, so that news in between is read together

STEADY_S: Final = 600.0  # a connection that lasted this long resets the backoff

AGAIN: Final = Backoff(base_s=30.0, cap_s=3_600.0)

_Key = tuple[str, str, str]


class MailboxWatch:
    """Service that starts runs on news. Hubs on one database share the mailboxes among them."""

    def __init__(
        self,
        store: Store,
        desk: ConnectorOpener,
        news: NewsRuns,
        *,
        clock: Clock,
        chance: Chance,
        boot_id: BootId,
    ) -> None:
        self._store = store
        self._desk = desk
        self._boot_id = boot_id
        self._clock = clock
        self._chance = chance
        self._runs = news
        self.loop = PeriodicLoop(clock)
        self._watched: dict[_Key, anyio.CancelScope] = {}

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        self._watched.clear()
        async with anyio.create_task_group() as tasks:
            task_status.started()
            await self.loop.serve(partial(self._poll, tasks), of="mailboxes", every_s=POLL_S)

    async def news(self, connector_id: str) -> None:
        """Start a run of each agent with ``push`` that reads the connector."""
        for agent, row in await self._pushed():
            if row.id == connector_id:
                await self._runs.start(agent, "news")

    async def _pushed(self) -> list[tuple[AgentRow, ConnectorRow]]:
        """Return the active agents with ``push``, and their connectors whose state is ``ok``."""
        working = {row.id: row for row in await self._store.read(connectors.list_connectors)}
        return [
            (agent, working[agent.connector_id])
            for agent in await self._store.read(agents.list_with_connector)
            if agent.mailbox is not None
            and agent.mailbox.push
            and agent.lifecycle == "active"
            and agent.connector_id in working
            and working[agent.connector_id].state == "ok"
        ]

    async def _poll(self, tasks: TaskGroup) -> None:
        # One connection for each mailbox: servers limit them, and two would start the same run.
        living = await self._store.read(storage_leases.living_boots) if self._store.is_shared else []
        current = {
            _key(agent, row): (agent, row)
            for agent, row in await self._pushed()
            if is_share_of(self._boot_id, living, agent.id)
        }
        for key in self._watched.keys() - current.keys():
            self._watched.pop(key).cancel()
        for key in current.keys() - self._watched.keys():
            self._watched[key] = anyio.CancelScope()
            tasks.start_soon(self._watch, key, *current[key])

    async def _watch(self, key: _Key, agent: AgentRow, row: ConnectorRow) -> None:
        """Watch a connector for an agent until cancelled, or until a person has to act."""
        scope = self._watched[key]
        failures = 0
        with scope:
            while True:
                began = self._clock.monotonic()
                try:
                    await self._follow(agent, row)
                except ConnectorFailure as caught:
                    failure = await self._desk.judged(caught)
                    if isinstance(failure, NEEDS_A_PERSON):
                        await self._desk.refused(row.id, failure)
                        break
                    log.info("connector.not_watched", connector=row.name, code=failure.code)
                    failures = 0 if self._clock.monotonic() - began >= STEADY_S else failures
                    await self._clock.sleep(AGAIN.delay(failures, self._chance.uniform(0.5, 1.0)))
                    failures += 1
        if self._watched.get(key) is scope:
            del self._watched[key]

    async def _follow(self, agent: AgentRow, row: ConnectorRow) -> Never:
        """Wait for news over one connection; first start a run, to read news from before the connection."""
        assert agent.mailbox is not None
        async with open_connector(self._desk, row, agent.mailbox) as connector:
            if not connector.can_push:
                await anyio.sleep_forever()
            while True:
                await self._runs.start(agent, "news")
                await self._clock.sleep(PAUSE_S)
                await _news_of(connector, row)


async def _news_of(connector: Connector, row: ConnectorRow) -> None:
    try:
        await connector.wait_for_news()
    except NotImplementedError as problem:
        log.warning("connector.does_not_push", connector=row.name, detail=str(problem))
        await anyio.sleep_forever()  # until its settings change; schedules read it meanwhile


def _key(agent: AgentRow, row: ConnectorRow) -> _Key:
    """Return the identity of a watch: agent, connector with settings, and filter."""
    criteria: dict[str, Any] = {} if agent.mailbox is None else dict(agent.mailbox.filter)
    return agent.id, f"{row.id} {row.settings_digest}", msgspec.json.encode(criteria, order="sorted").decode()
