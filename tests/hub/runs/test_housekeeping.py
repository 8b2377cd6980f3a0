import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa
from anyio.abc import TaskGroup

from hub.base.clock import epoch_ms
from hub.base.log.channel import fields_of
from hub.base.toml.limits import RetentionSettings
from hub.runs import housekeeping
from hub.runs.housekeeping import EVERY_S, FIRST_AFTER_S, HEAD_EVERY_S, LEASE, Housekeeping
from protocol.ids import BootId, NodeId
from storage import audit
from storage import leases as stored_leases
from storage.devices import nodes
from storage.effects import orphans
from storage.kernel.database import measure_used
from storage.schema import (
    agents,
    idempotency_keys,
    leases,
    model_answers,
    schedule_fires,
    schedules,
    seen_messages,
    unit_ledger,
)
from storage.schema import nodes as nodes_table
from storage.store import Store, open_store
from tests.storage.rows import make_agent
from tests.support.clock import FakeClock

BOOT, OTHER = BootId("boot-1"), BootId("boot-2")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[Store]:
    async with open_store("sqlite://", now_ms=lambda: epoch_ms(clock.now())) as opened:
        yield opened


def keeper(
    store: Store, clock: FakeClock, *, pause_s: float = 0.0, every_s: float = EVERY_S, **kept: int
) -> Housekeeping:
    """One that keeps the activity log for ten days."""
    keep = RetentionSettings(activity_days=10, **kept)
    return Housekeeping(store, clock=clock, boot_id=BOOT, keep=keep, pause_s=pause_s, every_s=every_s)


async def tell(store: Store, clock: FakeClock, *, days_ago: int, entries: int = 1) -> None:
    """Entries of the activity log, so many days old."""
    at = epoch_ms(clock.now() - timedelta(days=days_ago))

    def record(c: sa.Connection) -> None:
        for n in range(entries):
            audit.record(c, id=f"{at}-{n}", at=at, event_type="run.failed", message="Failed", actor="hub")

    await store.write(record)


async def told(store: Store) -> int:
    return len(await store.read(audit.list_activity, limit=9_999))


async def comes_to_rest(clock: FakeClock) -> None:
    """Until somebody waits for the clock: what the database does takes real time."""
    with anyio.fail_after(10):
        while not clock.sleeping:
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def in_time() -> AsyncIterator[TaskGroup]:
    """Tasks that end within ten real seconds."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            yield tasks


async def test_housekeeping_prunes_shortly_after_the_start_and_then_every_hour(
    store: Store, clock: FakeClock
) -> None:
    await tell(store, clock, days_ago=11)
    await tell(store, clock, days_ago=9)
    async with anyio.create_task_group() as services:
        await services.start(keeper(store, clock).serve)
        await clock.pass_time(FIRST_AFTER_S - 1)
        assert await told(store) == 2
        clock.advance(1)
        await comes_to_rest(clock)
        assert await told(store) == 1
        await tell(store, clock, days_ago=12)
        await clock.pass_time(EVERY_S - 1)
        assert await told(store) == 2
        clock.advance(1)
        await comes_to_rest(clock)
        assert await told(store) == 1
        services.cancel_scope.cancel()


async def test_housekeeping_deletes_a_backlog_in_steps_with_pauses_for_other_writes(
    store: Store, clock: FakeClock
) -> None:
    await tell(store, clock, days_ago=11, entries=1_200)
    left = []
    async with in_time() as rounds:
        rounds.start_soon(keeper(store, clock, pause_s=1).prune)
        for _ in range(3):
            await comes_to_rest(clock)
            left.append(await told(store))
            await tell(store, clock, days_ago=0)
            clock.advance(1)
    assert left == [700, 200 + 1, 0 + 2]


async def test_database_above_the_size_limit_shortens_retention_and_logs_the_days(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for days_ago in (1, 4):
        await tell(store, clock, days_ago=days_ago)
    small = await store.read(measure_used)
    await tell(store, clock, days_ago=9, entries=3_000)
    at = epoch_ms(clock.now() - timedelta(days=9))
    answered = {"scope": "s", "key": "k", "request_hash": "h", "created_at": at}
    await store.write(lambda c: c.execute(sa.insert(idempotency_keys), answered) and None)
    full = 0

    def count() -> None:
        nonlocal full
        full += 1

    large = await store.read(measure_used)
    cases = {large: (3_002, []), small + 200_000: (2, [5]), 1: (1, [5, 2, 2, 2, 2, 2])}
    for most_bytes, (left, days) in cases.items():
        caplog.clear()
        full = 0
        kept = keeper(store, clock)
        kept.most_bytes, kept._on_full = most_bytes, count
        await kept.prune()
        events = [record for record in caplog.records if record.getMessage() == "housekeeping.shortened"]
        assert await told(store) == left
        assert ([(fields_of(event) or {})["activity_days"] for event in events], full) == (days, len(days))
    assert await store.read(lambda c: len(c.execute(sa.select(idempotency_keys)).all())) == 1


async def test_left_out_seen_messages_are_deleted_before_planned_messages_above_the_size_limit(
    store: Store, clock: FakeClock
) -> None:
    at = epoch_ms(clock.now() - timedelta(days=250))

    def record(c: sa.Connection) -> None:
        agent_id = make_agent(c).id
        for state in ("left_out", "planned"):
            row = {"agent_id": agent_id, "key_hash": state, "state": state, "seen_at": at}
            c.execute(sa.insert(seen_messages), row)

    await store.write(record)
    kept = keeper(store, clock)
    for most_bytes, left in ((1 << 40, {"left_out", "planned"}), (1, {"planned"})):
        kept.most_bytes = most_bytes
        await kept.prune()
        states = await store.read(lambda c: set(c.execute(sa.select(seen_messages.c.state)).scalars()))
        assert states == left


async def test_a_round_returns_the_number_of_deleted_rows(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await tell(store, clock, days_ago=11, entries=3)
    assert (await keeper(store, clock).prune(), await keeper(store, clock).prune()) == ({"activity": 3}, {})
    assert [record.getMessage() for record in caplog.records] == ["housekeeping.pruned"]


async def test_audit_entries_are_pruned_after_the_audit_period_with_an_intact_chain(
    store: Store, clock: FakeClock
) -> None:
    for days_ago in (420, 401, 399):
        at = epoch_ms(clock.now() - timedelta(days=days_ago))
        await store.write(audit.append, at=at, actor="operator:0", event="run.started")
    assert await keeper(store, clock).prune() == {"audit": 2}
    kept = await store.read(audit.list_entries, limit=9)
    assert [entry.event for entry in kept] == ["audit.pruned", "run.started"]
    assert (await store.read(audit.check_part)).breaks == ()


async def test_pruning_of_ledger_units_continues_in_the_next_round(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SEARCHED", 2)
    monkeypatch.setattr(orphans, "prune_units", partial(orphans.prune_units, rows=2))

    def archive(c: sa.Connection) -> None:
        """An agent that has read five files was archived long ago."""
        agent = make_agent(c)
        c.execute(sa.update(agents).values(deleted_at=1))
        entry = {"agent_id": agent.id, "content_hash": "x", "config_fingerprint": "f", "run_id": "r"}
        keys = ({"unit_key": f"{number}.txt"} for number in range(5))
        c.execute(sa.insert(unit_ledger), [entry | key | {"done_at": 1} for key in keys])

    await store.write(archive)
    assert (await keeper(store, clock).prune())["units"] == 4
    assert (await keeper(store, clock).prune())["units"] == 1  # also after a restart
    assert await keeper(store, clock).prune() == {}


async def test_pruning_of_fires_continues_in_the_next_round(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SEARCHED", 1)
    monkeypatch.setattr(housekeeping, "AT_ONCE", 2)
    now = epoch_ms(clock.now())

    def fill(c: sa.Connection) -> None:
        """Three schedules have two fires each."""
        of_agent = {"agent_id": make_agent(c).id, "kind": "every", "every_ms": 60_000, "cursor_at": now}
        for id in ("a", "b", "c"):
            c.execute(sa.insert(schedules), of_agent | {"id": id, "created_at": now, "updated_at": now})
            fires = ({"fire_at": at, "first_at": at, "decided_at": now} for at in (now, now + 1))
            of_schedule = {"schedule_id": id, "decision": "run"}
            c.execute(sa.insert(schedule_fires), [of_schedule | fire for fire in fires])

    await store.write(fill)
    rounds = [keeper(store, clock, fires_kept=1) for _ in range(3)]  # also after a restart
    assert [(await one.prune())["fires"] for one in rounds] == [2, 1, 0]


async def test_answers_of_models_are_counted_in_parts_and_a_later_round_deletes_the_surplus(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "COUNTED", 2)
    now = epoch_ms(clock.now())

    def fill(c: sa.Connection) -> None:
        answer = {"agent_id": make_agent(c).id, "model": "m", "finish": "whole", "answer": "[]"}
        answers = ({"question": f"q-{n}", "created_at": now, "used_at": now + n} for n in range(6))
        c.execute(sa.insert(model_answers), [answer | one for one in answers])

    await store.write(fill)
    rounds = [keeper(store, clock, model_answers_kept=2) for _ in range(3)]  # also after a restart
    assert [(await one.prune())["model_answers"] for one in rounds] == [0, 3, 0]


async def test_node_ended_long_ago_is_pruned_together_with_the_lease(store: Store, clock: FakeClock) -> None:
    for node, boot, days_ago in (("own", BOOT, 500), ("gone", OTHER, 500), ("young", BootId("boot-3"), 5)):
        at = epoch_ms(clock.now() - timedelta(days=days_ago))
        await store.write(nodes.begin_boot, NodeId(node), boot, at)
        await store.write(stored_leases.beat, NodeId(node), boot, ttl_ms=1)
    clock.advance(1)
    assert (await keeper(store, clock).prune())["nodes"] == 1

    def names(c: sa.Connection) -> tuple[list[str], list[str]]:
        held = c.execute(sa.select(leases.c.name).order_by(leases.c.name)).scalars()
        return list(c.execute(sa.select(nodes_table.c.id).order_by(nodes_table.c.id)).scalars()), list(held)

    assert await store.read(names) == (["own", "young"], [LEASE, "node own", "node young"])


async def test_housekeeping_runs_only_in_the_hub_with_the_lease(store: Store, clock: FakeClock) -> None:
    await tell(store, clock, days_ago=11)
    theirs = await store.write(stored_leases.acquire_lease, LEASE, OTHER, ttl_ms=60_000)
    assert theirs is not None
    assert await keeper(store, clock).prune() == {}
    await store.write(stored_leases.resign_lease, theirs)
    assert await keeper(store, clock).prune() == {"activity": 1}
    assert await store.write(stored_leases.acquire_lease, LEASE, OTHER, ttl_ms=60_000) is not None


async def test_housekeeping_stops_after_the_loss_of_an_expired_lease(store: Store, clock: FakeClock) -> None:
    await tell(store, clock, days_ago=11, entries=600)
    async with in_time() as rounds:
        rounds.start_soon(keeper(store, clock, pause_s=61).prune)
        await comes_to_rest(clock)
        clock.set_wall(clock.now() + timedelta(seconds=61))
        assert await store.write(stored_leases.acquire_lease, LEASE, OTHER, ttl_ms=60_000) is not None
        clock.advance(61)
    assert await told(store) == 100


async def test_long_housekeeping_round_renews_the_lease(store: Store, clock: FakeClock) -> None:
    await tell(store, clock, days_ago=11, entries=1_200)
    async with in_time() as rounds:
        rounds.start_soon(keeper(store, clock, pause_s=45).prune)
        for _ in range(3):
            await comes_to_rest(clock)
            assert await store.write(stored_leases.acquire_lease, LEASE, OTHER, ttl_ms=60_000) is None
            clock.advance(45)
    assert await told(store) == 0


async def test_the_head_of_the_audit_log_is_logged_once_a_day(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await store.write(audit.append, at=epoch_ms(clock.now()), actor="hub", event="hub.created")
    (entry,) = await store.read(audit.list_entries, limit=1)
    async with anyio.create_task_group() as services:
        await services.start(keeper(store, clock, every_s=HEAD_EVERY_S / 4).serve)
        await clock.pass_time(2.5 * HEAD_EVERY_S)
        services.cancel_scope.cancel()
    told = [fields_of(record) for record in caplog.records if record.getMessage() == "audit.head"]
    assert told == [{"seq": 1, "hash": entry.hash.hex()}] * 2
