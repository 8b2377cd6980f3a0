"""An agent with ``push`` reads when its connector tells of news: one run for all that is told before it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hub.connectors.calling import ConnectorFailure, FileUnusable, SignInNeeded, Unavailable
from hub.connectors.connector import Connector
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.runs.leases import is_share_of
from hub.runs.mailbox_watch import PAUSE_S, POLL_S, MailboxWatch
from hub.runs.news_runs import NewsRuns
from protocol.ids import BootId, NodeId
from protocol.lifecycles import RunState
from storage import leases
from storage.agents.agents import AgentRow
from storage.agents.configs import Mailbox as MailboxConfig
from storage.connectors import connectors
from storage.devices import nodes
from storage.runs import runs
from storage.store import Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.mailbox import ListDesk, ListedMailbox, Mailbox
from tests.support.postgres import Postgres
from tests.support.presence import BOOT
from tests.support.runs import Bench, declare_agent, declare_connector

AT = 1_767_600_000_000
pytestmark = pytest.mark.anyio


class Telling(ListedMailbox):
    """Tells of news when the test does."""

    can_push = True
    tells = True

    async def wait_for_news(self) -> None:
        if not self.tells:
            raise NotImplementedError("no IDLE")
        self.waiting.append(told := anyio.Event())
        await told.wait()
        if self.failures:
            raise self.failures.pop(0)

    waiting: list[anyio.Event]
    failures: list[ConnectorFailure]


class TellingDesk(ListDesk):
    """Opens ``Telling`` connectors."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self.waiting: list[anyio.Event] = []
        self.broken: list[ConnectorFailure] = []
        self.tells = True

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        plain = await super().open(connector_id, filter)
        made = Telling(self.mailbox, plain.filter, self.clock)
        made.waiting, made.failures, made.tells = self.waiting, self.broken, self.tells
        return made


class Place:
    def __init__(self, bench: Bench, desk: TellingDesk, watching: MailboxWatch) -> None:
        self.bench, self.desk, self.watching = bench, desk, watching

    async def queued(self) -> int:
        return len(await self.bench.store.read(runs.list_runs, states=[RunState.QUEUED]))

    async def begin(self) -> None:
        """The run that waits begins, and ends."""
        await self.bench.run()

    async def listens(self, times: int) -> None:
        """Until it has begun to wait for news so often."""
        with anyio.fail_after(10):
            while len(self.desk.waiting) < times:
                self.bench.clock.advance(PAUSE_S)
                await anyio.lowlevel.checkpoint()

    async def until(self, wanted: int) -> None:
        with anyio.fail_after(10):
            while await self.queued() != wanted:
                await anyio.lowlevel.checkpoint()


async def place_over(store: Store, *, push: bool = True) -> Place:
    await declare_connector(store)
    agent = await declare_agent(store, name="mail", mailbox=MailboxConfig(connector="work", push=push))
    return place_for(store, agent, BOOT)


def place_for(store: Store, agent: AgentRow, boot_id: BootId) -> Place:
    clock = FakeClock()
    desk = TellingDesk(clock)
    bench = Bench(store, agent, clock=clock, desk=desk)
    extractor = Extractor(Models(bench.model, bench.model), secret=bytes(32))
    news = NewsRuns(store, extractor, clock=clock, ids=bench.ids, on_queued=lambda: None)
    watching = MailboxWatch(store, desk, news, clock=clock, chance=SeededChance(), boot_id=boot_id)
    return Place(bench, desk, watching)


@asynccontextmanager
async def watched(place: Place) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(place.watching.serve)
        yield
        tasks.cancel_scope.cancel()


async def test_mailbox_watch_queues_a_run_at_the_start_and_at_each_notification(
    store: Store,
) -> None:
    place = await place_over(store)
    async with watched(place):
        await place.until(1)
        await place.begin()
        await place.listens(1)
        assert await place.queued() == 0
        place.desk.waiting[0].set()
        await place.until(1)


async def test_all_notifications_before_a_run_begins_cause_a_single_run(store: Store) -> None:
    place = await place_over(store)
    async with watched(place):
        for times in (1, 2, 3):
            await place.listens(times)
            place.desk.waiting[-1].set()
        await place.listens(4)
        assert await place.queued() == 1


async def test_mailbox_webhook_queues_a_single_run_of_the_agent_of_the_connector(store: Store) -> None:
    place = await place_over(store)
    await place.watching.news("another")
    assert await place.queued() == 0
    await place.watching.news("work-id")
    await place.watching.news("work-id")
    assert await place.queued() == 1
    await place.begin()
    await place.watching.news("work-id")
    assert await place.queued() == 1


async def test_an_agent_without_push_is_not_notified(store: Store) -> None:
    place = await place_over(store, push=False)
    await place.watching.news("work-id")
    async with watched(place):
        await anyio.wait_all_tasks_blocked()
        assert (await place.queued(), place.desk.mailbox.opened) == (0, 0)


async def test_refused_connector_is_reported_and_not_opened_until_allowed(store: Store) -> None:
    place = await place_over(store)
    refused = SignInNeeded("the grant has ended")

    async def move(connector_id: str, failure: ConnectorFailure) -> None:
        row = await store.read(connectors.get_connector, connector_id)
        await store.write(
            connectors.move_connector, row.id, version=row.version, state="sign_in", reason="x", at=2
        )

    place.desk.moved = move
    place.desk.failures.append(refused)
    async with watched(place):
        with anyio.fail_after(10):
            while (await store.read(connectors.get_connector, "work")).state == "ok":
                await anyio.lowlevel.checkpoint()
        for _ in range(5):
            place.bench.clock.advance(POLL_S)
            await anyio.wait_all_tasks_blocked()
        assert place.desk.mailbox.opened == 0
        await store.write(connectors.allow_connector, "work-id", at=3)
        await place.listens(1)
    assert place.desk.refusals == [refused]


async def test_node_lacking_a_file_of_the_settings_tries_again_and_blocks_no_mailbox(
    store: Store,
) -> None:
    place = await place_over(store)
    place.desk.has_others = True
    place.desk.failures.append(FileUnusable("there is no file"))
    async with watched(place):
        await place.listens(1)
    assert place.desk.refusals == []


async def test_broken_mailbox_watch_is_reopened_and_queues_a_run(
    store: Store,
) -> None:
    place = await place_over(store)
    async with watched(place):
        await place.listens(1)
        await place.begin()
        place.desk.broken.append(Unavailable("cut"))
        place.desk.waiting[0].set()
        await place.listens(2)
        assert await place.queued() == 1
    assert place.desk.mailbox.opened - 1 == 2  # one of them was the run's
    assert place.desk.mailbox.closed == place.desk.mailbox.opened


async def test_mailbox_server_without_push_is_not_asked_repeatedly(store: Store) -> None:
    place = await place_over(store)
    place.desk.tells = False
    async with watched(place):
        await place.until(1)
        for _ in range(20):
            place.bench.clock.advance(POLL_S)
            await anyio.wait_all_tasks_blocked()
    assert place.desk.mailbox.opened == 1


async def test_second_hub_watches_a_mailbox_only_after_the_first_ended(postgres: Postgres) -> None:
    with postgres.database() as url:
        async with open_store(url) as store:
            await declare_connector(store)
            mailbox = MailboxConfig(connector="work", push=True)
            agent = await declare_agent(store, name="mail", mailbox=mailbox)
            boots = [BootId("east"), BootId("west")]
            first = next(boot for boot in boots if is_share_of(boot, boots, agent.id))
            boots.sort(key=lambda boot: boot != first)
            for boot in boots:
                await store.write(nodes.begin_boot, NodeId(f"node of {boot}"), boot, AT)
                await store.write(leases.beat, NodeId(f"node of {boot}"), boot, ttl_ms=60_000)
            watching, idle = (place_for(store, agent, boot) for boot in boots)
            async with watched(watching), watched(idle):
                for place in (watching, idle):
                    await place.bench.clock.pass_time(POLL_S)
                assert (len(watching.desk.waiting), len(idle.desk.waiting)) == (1, 0)
                await store.write(nodes.end_boot, NodeId(f"node of {first}"), first, AT)
                await idle.bench.clock.pass_time(POLL_S + PAUSE_S)
                assert len(idle.desk.waiting) == 1
