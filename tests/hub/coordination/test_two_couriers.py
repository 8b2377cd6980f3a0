"""Two hubs of one database and one gateway: each message is brought by one, and by the other if it dies."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.base.metrics import Metrics
from hub.coordination.message_delivery import MessageDeliveryService
from protocol.agent_messages import MessageState
from protocol.ids import BootId, NodeId
from storage import leases
from storage.coordination import messages
from storage.store import open_store
from tests.hub.coordination.post import LEADS, WORKERS, Links, PostBench
from tests.hub.coordination.souls import GATEWAY, LEAD, WORKER, FastClock, Life, declare, open_fleet
from tests.support.clock import SeededChance
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.postgres import Postgres
from tests.support.wire import until

LEASE_MS = 60_000


@dataclass
class Two:
    """The first hub is the bench's; the other one has a fleet of its own."""

    bench: PostBench
    other: MessageDeliveryService
    others_life: Life


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway("west", agents=("main", "lead", "worker")) as opened:
        yield opened


@pytest.fixture
async def two(gateway: FakeGateway, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Two]:
    clock = FastClock()
    with postgres.database() as url:
        async with (
            open_store(url) as store,
            open_fleet(tmp_path / "one", clock, [gateway]) as first,
            open_fleet(tmp_path / "two", clock, [gateway]) as second,
            anyio.create_task_group() as tasks,
        ):
            await declare(store, clock)
            bench = PostBench(store=store, fleet=first, tasks=tasks, clock=clock)
            given: dict[str, Any] = {"clock": clock, "ids": bench.ids, "metrics": Metrics()}
            boot = BootId("another")
            other = MessageDeliveryService(
                store, fleet=second, links=Links(), chance=SeededChance(9), boot_id=boot, **given
            )
            for node, alive in (("one", BootId("boot-1")), ("two", boot)):
                await store.write(leases.beat, NodeId(node), alive, ttl_ms=LEASE_MS)
            life = Life(tasks, other.serve)
            bench.start()
            yield Two(bench, other, life)
            tasks.cancel_scope.cancel()


async def test_two_hubs_send_each_message_once_and_in_order(two: Two, gateway: FakeGateway) -> None:
    bench = two.bench
    rows = [await bench.say(f"number {n}.", to=(WORKER, LEAD)[n % 2]) for n in range(6)]
    for row in rows:
        two.other.kick()
        assert (await bench.end(row)).state is MessageState.ANSWERED
    for n, session in enumerate((WORKERS, LEADS)):
        said = gateway.said(session)
        assert [f"number {m}." in text for m, text in zip(range(n, 6, 2), said, strict=True)] == [True] * 3


async def test_sent_message_of_a_dead_hub_is_completed_by_another_hub(two: Two, gateway: FakeGateway) -> None:
    bench, store = two.bench, two.bench.store
    await two.others_life.kill()
    gateway.fault("chat.send", "never")
    row = await bench.say()
    await until(lambda: gateway.count("chat.send") == 1)
    await bench.kill()
    seen = await bench.get(row)
    assert (seen.state, seen.lease_boot_id) == (MessageState.SENT, "boot-1")
    hand = messages.Hand(BootId("another"), is_alone=False)
    at = seen.not_before + 60_000
    assert await store.read(messages.due_at_gateway, GATEWAY, hand, at=at, most=9) == []
    (left,) = await store.read(messages.due_at_gateway, GATEWAY, hand, at=at + 180_000, most=9)
    assert left.id == row.id  # it lives, and has no way to the gateway

    await store.write(leases.beat, NodeId("one"), BootId("its next start"), ttl_ms=LEASE_MS)
    bench.tasks.start_soon(two.other.serve)
    assert (await bench.end(row)).state is MessageState.ANSWERED
    assert len(gateway.said(WORKERS)) == 1
