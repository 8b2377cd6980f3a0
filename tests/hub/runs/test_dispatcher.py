"""Which run starts when, and how a run is ended from outside."""

from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
import sqlalchemy as sa

from hub.api.wait_reasons import WaitReasons, read_waits
from hub.base.clock import HubClock, epoch_ms
from hub.extraction.model import ModelExhausted
from hub.health import work
from hub.health.issues import Severity
from hub.links.device_link import DeviceLink
from hub.runs import dispatcher
from hub.runs.clock_watch import ClockWatch
from hub.runs.dispatcher import CROWD_WINDOW_S, FLAP_SETTLE_S, Arrivals
from hub.runs.interrupt import Interrupt
from hub.runs.run_order import RunOptions, RunOrder
from protocol.errors import IllegalTransition, LinkLost
from protocol.handshake import HeldRun
from protocol.ids import BootId, DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from protocol.work import AgentCancel, AgentComplete, AgentManifest
from storage.agents import agents, exhaustion, locks
from storage.agents.agents import AgentRow
from storage.executing_runs import FencedRun
from storage.kernel.database import Busy, DatabaseUnavailable
from storage.runs import run_claims, run_moves, waiting_runs
from storage.runs.runs import RunRow
from storage.schema import runs as run_table
from storage.store import ObservedDatabase, Store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.link import FakeLink
from tests.support.presence import BOOT, live, open_session
from tests.support.runs import MODERN, Bench, folder, titles
from tests.support.schedules import Interrupted


@asynccontextmanager
async def served(bench: Bench) -> AsyncIterator[None]:
    """The dispatcher at work."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(bench.dispatcher.serve)
        yield
        tasks.cancel_scope.cancel()


async def until(bench: Bench, run_id: RunId, is_so: Callable[[RunRow], bool]) -> RunRow:
    """The run, once it is so."""
    with anyio.fail_after(10):
        async for _ in bench.watch.changes(run_id, at_most_every_s=0):
            row = await bench.row(run_id)
            if is_so(row):
                return row
    raise AssertionError


async def test_queued_run_starts_when_the_device_connects(bench: Bench) -> None:
    async with served(bench):
        waiting = await bench.control.submit(bench.agent)
        assert (await bench.row(waiting.id)).state is RunState.QUEUED

        bench.connect(runs=folder(a="- [ ] one"))
        bench.dispatcher.recheck()

        done = await until(bench, waiting.id, lambda row: row.state is RunState.COMPLETED)
    assert done.items_created == 1


async def test_device_works_on_a_single_run_at_a_time(bench: Bench) -> None:
    bench.connect(runs=[[AgentManifest(run_id="r", last=False)], *folder(a="- [ ] one")])
    async with served(bench):
        first = await bench.control.submit(bench.agent)
        bench.clock.advance(0.001)
        second = await bench.control.submit(bench.agent, key="second")
        await until(bench, first.id, lambda row: row.state is RunState.RUNNING)

        assert bench.dispatcher.executing == 1
        assert (await bench.row(second.id)).state is RunState.QUEUED

        await bench.control.cancel(first.id, actor="test", reason="enough")
        await until(bench, second.id, lambda row: row.state is RunState.COMPLETED)
        assert (await bench.row(first.id)).state is RunState.CANCELLED


async def test_cancel_ends_a_queued_run_at_once_and_leaves_a_completed_run(bench: Bench) -> None:
    waiting = await bench.control.submit(bench.agent)
    cancelled = await bench.control.cancel(waiting.id, actor="test", reason="enough")
    assert cancelled.state is RunState.CANCELLED

    bench.connect(runs=[[AgentManifest(run_id="r"), AgentComplete(run_id="r")]])
    done = await bench.run()
    assert (await bench.control.cancel(done.id, actor="test", reason="late")).state is RunState.COMPLETED


async def test_dispatcher_stop_pauses_the_run_and_the_next_boot_resumes(bench: Bench) -> None:
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    before = bench.connect(runs=[[manifest, first]])
    async with served(bench):
        run = await bench.control.submit(bench.agent)
        await bench.settled("a.md")
    paused = await bench.row(run.id)
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.DRAIN)

    after = bench.connect(runs=[[manifest, second, end]])
    async with served(bench):
        done = await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert (titles(before), titles(after), done.items_created) == (["one"], ["two"], 2)


async def test_run_whose_end_cannot_be_written_delays_no_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    move, was_refused = bench.lifecycle.move, anyio.Event()

    async def refuse(held: FencedRun, event: RunEvent, **given: Any) -> Any:
        if event is RunEvent.ACKNOWLEDGED:
            return await move(held, event, **given)
        was_refused.set()
        raise DatabaseUnavailable("removed while the hub had it open", "replaced")

    monkeypatch.setattr(bench.lifecycle, "move", refuse)
    with anyio.fail_after(bench.dispatcher.limits.drain_timeout_s / 4):
        async with served(bench):
            run = await bench.control.submit(bench.agent)
            await was_refused.wait()
    assert (await bench.row(run.id)).state is RunState.RUNNING  # the next boot recovers it


async def test_idle_dispatcher_rests_until_the_next_store_write(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObservedDatabase(bench.store)
    bench.dispatcher.rest_between_writes(store)
    bench.connect(runs=folder(a="- [ ] one"))
    assert await bench.dispatcher.open_gates() == dispatcher.POLL_S, "a write of the start may matter"
    assert await bench.dispatcher.open_gates() == dispatcher.REST_S
    monkeypatch.setattr(bench.dispatcher, "recheck", lambda: None)
    async with served(bench):
        await anyio.wait_all_tasks_blocked()
        run = await bench.control.submit(bench.agent)
        await store.write(lambda c: None)
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)


async def test_dispatcher_polls_while_a_run_is_queued(bench: Bench) -> None:
    bench.dispatcher.rest_between_writes(ObservedDatabase(bench.store))
    await bench.control.submit(bench.agent)
    await bench.dispatcher.open_gates()
    assert await bench.dispatcher.open_gates() == dispatcher.POLL_S


async def test_run_with_an_unreadable_row_fails_and_other_runs_are_executed(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    written = bench.clock.now().timestamp() * 1000
    odd = await bench.store.write(
        run_moves.create_run,
        id=RunId("odd"),
        agent=bench.agent,
        fire_key="odd",
        at=int(written),
        config_fingerprint="f",
        settings={"paths": 7},
    )
    async with served(bench):
        fine = await bench.control.submit(bench.agent)
        await until(bench, fine.id, lambda row: row.state is RunState.COMPLETED)
        failed = await until(bench, odd.id, lambda row: row.state is RunState.FAILED)
    assert "cannot be read" in (failed.reason or "")


async def test_busy_database_during_a_claim_does_not_stop_the_dispatcher(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.01)
    claim = run_claims.claim_runs
    refused: list[bool] = []

    def refuse_once(*args: Any, **given: Any) -> list[RunRow]:
        if not refused:
            refused.append(True)
            raise Busy("somebody holds the file")
        return claim(*args, **given)

    monkeypatch.setattr(run_claims, "claim_runs", refuse_once)
    bench.connect(runs=folder(a="- [ ] one"))
    async with served(bench):
        run = await bench.control.submit(bench.agent)
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert refused


async def test_dispatcher_writes_no_claim_without_a_queued_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claims = run_claims.claim_runs, 0

    def count(*args: Any, **given: Any) -> list[RunRow]:
        nonlocal claims
        claims += 1
        return claim(*args, **given)

    monkeypatch.setattr(run_claims, "claim_runs", count)
    bench.connect(runs=folder(a="- [ ] one"))
    async with served(bench):
        await bench.looks()
        assert claims == 0
        run = await bench.control.submit(bench.agent)
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert claims


async def test_scheduled_run_does_not_start_while_the_device_is_settling(bench: Bench) -> None:
    fired = await bench.control.submit(bench.agent)
    await bench.store.write(set_columns, fired.id, trigger_kind="schedule")
    bench.connect(runs=folder(a="- [ ] one"))
    async with served(bench):
        await bench.looks()
        assert (await bench.row(fired.id)).state is RunState.QUEUED
        bench.clock.advance(5)
        bench.dispatcher.recheck()
        await until(bench, fired.id, lambda row: row.state is RunState.COMPLETED)


async def test_no_run_starts_during_a_stopping_condition_of_the_hub(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, stopped="the disk is full")
    bench.connect(runs=folder(a="- [ ] one"))
    async with served(bench):
        run = await bench.control.submit(bench.agent)
        await bench.looks()
        assert (await bench.row(run.id)).state is RunState.QUEUED

        bench.stopped = None
        bench.dispatcher.recheck()
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)


async def test_a_person_can_pause_and_resume_a_run_in_every_state(bench: Bench) -> None:
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    waiting = await bench.control.submit(bench.agent)
    paused = await bench.control.pause(waiting.id, actor="anna")
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.USER)

    link = bench.connect(runs=[[manifest, first], [manifest, second, end]])
    async with served(bench):
        await bench.control.resume(waiting.id, actor="anna")
        await bench.settled("a.md")
        await bench.control.pause(waiting.id, actor="anna")
        await until(bench, waiting.id, lambda row: row.pause_reason is PauseReason.USER)

        await bench.control.resume(waiting.id, actor="anna")
        done = await until(bench, waiting.id, lambda row: row.state is RunState.COMPLETED)
    assert (titles(link), done.items_created) == (["one", "two"], 2)


async def test_resume_of_a_run_not_paused_by_a_person_is_refused(bench: Bench) -> None:
    waiting = await bench.control.submit(bench.agent)
    with pytest.raises(IllegalTransition, match="was not paused by anybody: it is QUEUED"):
        await bench.control.resume(waiting.id, actor="anna")


async def test_rerun_creates_a_new_run_naming_the_first_run(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one") * 2)
    old = await bench.run()
    again = await bench.control.rerun(old.id, actor="anna")
    assert (again.trigger_kind, again.rerun_of, again.state) == ("rerun", old.id, RunState.QUEUED)
    done = await bench.run()
    assert (done.id, done.units_skipped, done.items_created) == (again.id, 1, 0)


async def test_paused_agent_starts_no_run_until_resumed(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    assert await bench.control.pause_agent(bench.agent.id, actor="anna")
    async with served(bench):
        run = await bench.control.submit(bench.agent)
        await bench.looks()
        assert (await bench.row(run.id)).state is RunState.QUEUED

        assert await bench.control.resume_agent(bench.agent.id, actor="anna")
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert not await bench.control.resume_agent(bench.agent.id, actor="anna")


async def test_runs_resumed_after_an_exhaustion_have_staggered_start_times(
    bench: Bench,
) -> None:
    waiting = [await bench.control.submit(bench.agent, key=key) for key in "abc"]
    for run in waiting:
        await bench.store.write(
            set_columns, run.id, state=RunState.PAUSED, pause_reason=PauseReason.EXHAUSTED
        )
    await bench.store.write(
        exhaustion.exhaust,
        bench.agent.id,
        cause="rate_limit",
        retry_after_ms=None,
        at=bench.now_ms,
        actor="hub",
    )
    bench.clock.advance(60)

    await bench.dispatcher.open_gates()

    resumed = [await bench.row(run.id) for run in waiting]
    assert [run.state for run in resumed] == [RunState.QUEUED] * 3
    starts = sorted(run.eligible_at - bench.now_ms for run in resumed)
    assert starts == [number * dispatcher.RESUME_SPREAD_MS for number in range(3)]


async def test_clock_set_back_while_gates_are_read_resumes_no_run_ahead(bench: Bench) -> None:
    run = await bench.control.submit(bench.agent)
    await bench.store.write(set_columns, run.id, state=RunState.PAUSED, pause_reason=PauseReason.EXHAUSTED)
    back = bench.now_ms + 60_000
    await bench.store.write(
        exhaustion.exhaust, bench.agent.id, cause="rate_limit", recovery_at=back, at=bench.now_ms, actor="hub"
    )
    store, ahead = Interrupted(bench.store, waiting_runs.read_gates), timedelta(hours=2)
    bench.dispatcher._store = store

    async def set_back() -> None:
        bench.clock.set_wall(bench.clock.now() - ahead)

    bench.clock.set_wall(bench.clock.now() + ahead)
    store.before = set_back
    await bench.dispatcher.open_gates()
    assert bench.clock.now() == START
    assert (await bench.row(run.id)).state is RunState.PAUSED
    assert (await bench.store.read(agents.get_agent, bench.agent.id)).availability == "exhausted"

    bench.clock.advance(60)
    await bench.dispatcher.open_gates()
    assert (await bench.row(run.id)).state is RunState.QUEUED


class LeftClock(ClockWatch):
    """A watch whose time another hub has left, or whose clock is set back while it is asked."""

    is_left = True
    set_back_s = 0.0

    def __init__(self, bench: Bench) -> None:
        clock = HubClock(bench.clock, bench.clock.monotonic)
        super().__init__(bench.store, clock, ids=bench.ids, metrics=bench.metrics, machine="")
        self.of_hub = bench.clock

    async def is_behind(self) -> bool:
        self.of_hub.set_wall(self.of_hub.now() - timedelta(seconds=self.set_back_s))
        self.set_back_s = 0.0
        return self.is_left


async def test_run_past_the_start_deadline_or_paused_too_long_is_ended(bench: Bench) -> None:
    late = await bench.control.submit(bench.agent)
    at = int(bench.clock.now().timestamp() * 1000)
    await bench.store.write(set_columns, late.id, start_deadline_at=at + 1_000)
    gone = LinkLost("the connection was cut", dispatched=True)
    bench.clock.advance(0.5)
    bench.connect(runs=[[folder(a="- [ ] one")[0][0], gone]])
    left = await bench.control.submit(bench.agent, key="left")
    await bench.store.write(set_columns, left.id, priority=1)
    await bench.run()
    bench.links.clear()

    bench.clock.advance(7 * 86_400)
    bench.dispatcher.clock_watch = watch = LeftClock(bench)
    await bench.dispatcher.open_gates()
    assert {(await bench.row(run.id)).state for run in (late, left)} == {RunState.QUEUED, RunState.PAUSED}
    watch.is_left, watch.set_back_s = False, 8 * 86_400
    await bench.dispatcher.open_gates()
    assert {(await bench.row(run.id)).state for run in (late, left)} == {RunState.QUEUED, RunState.PAUSED}
    bench.clock.advance(8 * 86_400)
    await bench.dispatcher.open_gates()  # which sees that the clock was set, and waits until it is steady
    assert {(await bench.row(run.id)).state for run in (late, left)} == {RunState.QUEUED, RunState.PAUSED}
    bench.clock.advance(8 * 86_400)
    await bench.dispatcher.open_gates()
    first, second = await bench.row(late.id), await bench.row(left.id)
    assert (first.state, first.reason) == (RunState.CANCELLED, "start_deadline")
    assert (second.state, second.reason) == (RunState.FAILED, "paused_too_long")


async def test_device_is_asked_to_cancel_completed_or_unknown_held_runs(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] one"))
    done = await bench.run()
    held = [HeldRun(run_id=done.id, fence=done.fence), HeldRun(run_id="nobody-knows", fence=1)]
    await bench.dispatcher.answer_held(link, held)
    told = [(frame.run_id, frame.reason) for frame in link.sent if isinstance(frame, AgentCancel)]
    assert told == [(done.id, "completed"), ("nobody-knows", "unknown")]


def set_columns(c: sa.Connection, /, run_id: RunId, **values: object) -> None:
    c.execute(sa.update(run_table).where(run_table.c.id == run_id).values(values))


async def test_claimed_run_unknown_to_the_dispatcher_is_queued_again(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    await bench.control.submit(bench.agent)
    order = await bench.claim()  # as if the hub had never heard that it holds it
    await bench.dispatcher.open_gates()
    assert (await bench.row(order.run_id)).state is RunState.PREPARING

    await bench.dispatcher.open_gates()

    row = await bench.row(order.run_id)
    assert (row.state, row.crash_count) == (RunState.QUEUED, 1)


async def test_runs_of_other_nodes_are_recovered_with_delay_after_a_database_outage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bench.store), "is_shared", True)
    bench.connect(runs=folder(a="- [ ] one"))
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    await bench.store.write(set_columns, order.run_id, lease_boot_id="another", lease_expires_at=1)
    bench.clock.advance(60)
    for seconds in (0.0, 5.0):
        bench.clock.advance(seconds)
        await bench.dispatcher.open_gates()
        assert (await bench.row(order.run_id)).state is RunState.PREPARING

    bench.clock.advance(5)
    await bench.dispatcher.open_gates()
    assert (await bench.row(order.run_id)).state is RunState.QUEUED


async def test_run_recovered_by_another_hub_ends_locally_before_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect(runs=[[AgentManifest(run_id="r", last=False)], *folder(a="- [ ] one")])
    told: list[tuple[str, int]] = []
    run = bench.runner.run

    async def telling(order: RunOrder, interrupt: Interrupt) -> None:
        told.append(("begins", order.fence))
        await run(order, interrupt)
        told.append(("is over", order.fence))

    monkeypatch.setattr(bench.runner, "run", telling)
    async with served(bench):
        submitted = await bench.control.submit(bench.agent)
        row = await until(bench, submitted.id, lambda row: row.state is RunState.RUNNING)

        other = BootId("another hub's")
        await bench.store.write(run_moves.recover, boot_id=other, at=row.created_at, is_alone=True)
        bench.dispatcher.recheck()

        await until(bench, submitted.id, lambda row: row.state is RunState.COMPLETED)
    assert told == [("begins", 1), ("is over", 1), ("begins", 2), ("is over", 2)]


async def test_exception_in_the_runner_does_not_stop_the_dispatcher(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    run = bench.runner.run
    broken: list[RunId] = []

    async def break_once(order: RunOrder, interrupt: Interrupt) -> None:
        if not broken:
            broken.append(order.run_id)
            raise ZeroDivisionError("a bug")
        await run(order, interrupt)

    monkeypatch.setattr(bench.runner, "run", break_once)
    async with served(bench):
        first = await bench.control.submit(bench.agent)
        await until(bench, first.id, lambda row: row.state is RunState.PREPARING)
        for _ in range(2):  # looks
            bench.dispatcher.recheck()
            await anyio.wait_all_tasks_blocked()
        await until(bench, first.id, lambda row: row.state is RunState.COMPLETED)
    assert broken == [first.id]


async def test_run_paused_as_exhausted_resumes_if_the_agent_is_recovered(bench: Bench) -> None:
    bench.model.errors["riddle"] = ModelExhausted("429", reason="rate_limit", retry_after_s=90)
    bench.connect(runs=folder(a="A riddle to read."))
    run = await bench.run()
    at = int(bench.clock.now().timestamp() * 1000)
    await bench.store.write(exhaustion.recover_agent, bench.agent.id, at=at, actor="anna")

    await bench.dispatcher.open_gates()

    assert (await bench.row(run.id)).state is RunState.QUEUED


OTHER = locks.Holder("device", "another")


async def test_run_waits_for_a_held_lock_and_sends_the_new_fence(bench: Bench) -> None:
    wanted = locks.LockRequest(
        request_id="r",
        user_id=bench.agent.user_id,
        names=("mailbox",),
        holder=OTHER,
        ttl_ms=500_000,
    )
    grant = (await bench.store.write(locks.acquire, wanted)).grant
    assert grant is not None
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    run = await bench.control.submit(bench.agent, options=RunOptions(locks=("mailbox", "printer")))
    async with served(bench):
        await bench.looks()
        assert (await bench.row(run.id)).state is RunState.QUEUED
        lock = (await bench.store.read(run_claims.waits_of, [run.id]))[run.id].lock
        assert lock is not None
        assert (lock.lock.resource, lock.lock.holder_text, link.streams) == ("mailbox", "device another", [])
        await bench.store.write(locks.release, grant.user_id, grant.fences, OTHER)
        bench.dispatcher.recheck()
        await bench.comes_to(RunState.COMPLETED)
    (stream,) = link.streams
    assert stream.run.locks.keys() == {"mailbox", "printer"}
    assert stream.run.locks["mailbox"] > grant.fences["mailbox"]
    assert await bench.store.read(locks.list_locks) == []


# --- when a connected device has been there long enough for work that nobody waits for ---


SETTLE_S = 5.0

DESK = DeviceId("desk")


def a_link(epoch: int = 1, device_id: DeviceId = DESK, **offers: str) -> DeviceLink:
    """Return what an arrival reads of a link."""
    return cast(DeviceLink, SimpleNamespace(device_id=device_id, epoch=epoch, offers=offers))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def arrivals(clock: FakeClock) -> Arrivals:
    return Arrivals(clock=clock, chance=SeededChance(), settle_s=SETTLE_S)


def settled(arrivals: Arrivals) -> Set[DeviceId]:
    """The devices that are connected for long enough."""
    return arrivals.online - arrivals.settling


def test_connected_device_is_settled_after_the_settle_time(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link())
    assert (set(arrivals.online), settled(arrivals), arrivals.since(DESK)) == ({DESK}, set(), START)
    assert arrivals.settles_at(DESK) is not None
    clock.advance(SETTLE_S)
    assert (settled(arrivals), arrivals.settles_at(DESK)) == ({DESK}, None)


def test_new_connection_of_a_device_must_settle_again(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link(epoch=1))
    clock.advance(SETTLE_S)
    arrivals.add(a_link(epoch=2))
    assert settled(arrivals) == frozenset()


def test_removed_device_is_neither_online_nor_settled(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link())
    clock.advance(SETTLE_S)
    arrivals.remove(DESK, epoch=1)
    assert (set(arrivals.online), settled(arrivals), arrivals.since(DESK)) == (set(), set(), None)


def test_removal_of_an_older_connection_leaves_the_device_online(arrivals: Arrivals) -> None:
    arrivals.add(a_link(epoch=1))
    arrivals.add(a_link(epoch=2))
    arrivals.remove(DESK, epoch=1)
    assert arrivals.online == {DESK}


def test_flapping_device_settles_for_a_minute(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 5):
        arrivals.add(a_link(epoch=epoch))
        assert arrivals.online == {DESK}
        clock.advance(20)
    assert settled(arrivals) == frozenset()
    clock.advance(FLAP_SETTLE_S - 20)
    assert settled(arrivals) == {DESK}


def test_reconnects_at_long_intervals_are_not_flapping(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 9):
        arrivals.add(a_link(epoch=epoch))
        assert arrivals.online == {DESK}
        clock.advance(50)
    assert settled(arrivals) == {DESK}


def test_device_connected_after_the_crowd_window_settles_in_the_normal_time(
    arrivals: Arrivals, clock: FakeClock
) -> None:
    for n in range(200):
        arrivals.add(a_link(device_id=DeviceId(f"desk-{n}")))
        assert len(arrivals.online) == n + 1
    clock.advance(CROWD_WINDOW_S + 1)
    arrivals.add(a_link())
    assert DESK in arrivals.settling
    clock.advance(SETTLE_S)
    assert DESK in settled(arrivals)


def test_many_devices_connected_at_once_settle_gradually(arrivals: Arrivals, clock: FakeClock) -> None:
    for n in range(200):
        arrivals.add(a_link(device_id=DeviceId(f"desk-{n}")))
    assert len(arrivals.online) == 200
    counts = []
    for _ in range(14):
        clock.advance(SETTLE_S)
        counts.append(len(settled(arrivals)))
    assert counts[0] < 20
    assert counts == sorted(counts)
    assert 60 < counts[6] < 140
    assert counts[-1] == 200


# --- runs wait for what they need, say so, and start once it is there ---


NEEDS = RunOptions(needs=("file.read >= 1.2",))


def able(**offers: str) -> dict[str, str]:
    """What a modern device lists, and *offers*, whose names have a dot for an underscore."""
    return dict.fromkeys(MODERN, "1.0.0") | {name.replace("_", "."): told for name, told in offers.items()}


async def connect(bench: Bench, offers: dict[str, str], *, runs: Any = ()) -> FakeLink:
    """The device comes, and can do this."""
    assert bench.agent.device_id is not None
    at = epoch_ms(bench.clock.now())
    await bench.store.write(live, BOOT)
    epoch = await bench.store.write(open_session, bench.agent.device_id, boot_id=BOOT, platform=None, at=at)
    return bench.connect(capabilities=offers, runs=runs, epoch=epoch)


async def told(bench: Bench, run: RunRow) -> str | None:
    """What the run waits for."""
    waiting = WaitReasons(dispatcher=bench.dispatcher, clock=bench.clock, hold=None)
    rows = [await bench.row(run.id)]
    waits = await bench.store.read(read_waits, rows, bench.dispatcher.offered)
    return waiting.sentences(rows, waits).get(run.id)


async def test_run_with_an_unmet_version_need_starts_when_a_newer_device_connects(bench: Bench) -> None:
    await connect(bench, able(file_read="1.1.0"))
    run = await bench.control.submit(bench.agent, options=NEEDS)
    async with anyio.create_task_group() as tasks:
        await tasks.start(bench.dispatcher.serve)
        await bench.looks()
        assert (await bench.row(run.id)).state is RunState.QUEUED
        assert await told(bench, run) == "needs file.read >= 1.2: device desk has 1.1.0"
        newer = await connect(bench, able(file_read="1.2.0"), runs=folder(a="- [ ] call Anna"))
        await bench.looks()
        await bench.comes_to(RunState.COMPLETED)
        assert newer.streams
        tasks.cancel_scope.cancel()


async def test_rerun_has_the_needs_locks_and_context_of_the_first_run(bench: Bench) -> None:
    options = RunOptions(needs=("web",), locks=("mailbox",), context={"task_id": "t-1"})
    first = await bench.control.submit(bench.agent, options=options)
    again = await bench.control.rerun(first.id, actor="me")
    assert (again.needs, again.locks, again.context) == (("web",), ("mailbox",), {"task_id": "t-1"})


async def test_need_unmet_for_five_minutes_is_reported_once_per_agent(bench: Bench) -> None:
    look = partial(work.check_needs, bench.store, lambda: bench.dispatcher.offered)
    for _ in range(2):
        await bench.control.submit(bench.agent, options=NEEDS)
    assert list(await look(bench.clock.now() + timedelta(hours=1))) == []  # nobody knows: it is away
    bench.connect(capabilities=able(file_read="1.1.0"))
    assert list(await look(bench.clock.now() + timedelta(minutes=4))) == []
    found = list(await look(bench.clock.now() + timedelta(minutes=6)))
    assert {(one.id, one.severity, one.subject, one.user_id) for one in found} == {
        ("run.needs_unmet", Severity.WARNING, bench.agent.id, "u")
    }
    assert "needs file.read >= 1.2: device desk has 1.1.0" in found[0].explanation
    assert "hub agents capabilities notes" in found[0].fix
