"""Which run starts when, and how a run is ended from outside."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from hub.agents.declared import reconcile
from hub.runs import dispatcher
from protocol.ids import RunId
from protocol.lifecycles import PauseReason, RunState
from protocol.work import AgentComplete, AgentManifest
from storage.store import Busy, RunRow, runs
from tests.support.runs import Bench, folder, titles


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


async def test_a_run_waits_for_its_device_and_starts_when_it_is_there(bench: Bench) -> None:
    async with served(bench):
        waiting = await bench.dispatcher.submit(bench.agent)
        assert (await bench.row(waiting.id)).state is RunState.QUEUED

        bench.connect(runs=folder(a="- [ ] one"))
        bench.dispatcher.look_again()

        done = await until(bench, waiting.id, lambda row: row.state is RunState.COMPLETED)
    assert done.items_created == 1


async def test_a_device_works_on_one_run_at_a_time(bench: Bench) -> None:
    bench.connect(runs=[[AgentManifest(run_id="r", last=False)], *folder(a="- [ ] one")])
    async with served(bench):
        first = await bench.dispatcher.submit(bench.agent)
        second = await bench.dispatcher.submit(bench.agent)
        await until(bench, first.id, lambda row: row.state is RunState.RUNNING)

        assert bench.dispatcher.executing == 1
        assert (await bench.row(second.id)).state is RunState.QUEUED

        await bench.dispatcher.cancel(first.id, actor="test", reason="enough")
        await until(bench, second.id, lambda row: row.state is RunState.COMPLETED)
        assert (await bench.row(first.id)).state is RunState.CANCELLED


async def test_a_run_is_queued_once_for_one_key(bench: Bench) -> None:
    first = await bench.dispatcher.submit(bench.agent, fire_key="monday")
    again = await bench.dispatcher.submit(bench.agent, fire_key="monday")
    other = await bench.dispatcher.submit(bench.agent, fire_key="tuesday")
    assert first.id == again.id != other.id


async def test_a_waiting_run_is_cancelled_at_once_and_a_final_one_stays_what_it_is(bench: Bench) -> None:
    waiting = await bench.dispatcher.submit(bench.agent)
    cancelled = await bench.dispatcher.cancel(waiting.id, actor="test", reason="enough")
    assert cancelled.state is RunState.CANCELLED

    bench.connect(runs=[[AgentManifest(run_id="r"), AgentComplete(run_id="r")]])
    done = await bench.run()
    assert (await bench.dispatcher.cancel(done.id, actor="test", reason="late")).state is RunState.COMPLETED


async def test_stopping_pauses_what_executes_and_the_next_boot_goes_on_with_it(bench: Bench) -> None:
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    before = bench.connect(runs=[[manifest, first]])
    async with served(bench):
        run = await bench.dispatcher.submit(bench.agent)
        await bench.settled("a.md")
    paused = await bench.row(run.id)
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.DRAIN)

    after = bench.connect(runs=[[manifest, second, end]])
    async with served(bench):
        done = await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert (titles(before), titles(after), done.items_created) == (["one"], ["two"], 2)


async def test_a_run_whose_row_cannot_be_read_fails_and_the_others_go_on(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    written = bench.clock.now().timestamp() * 1000
    odd = await bench.store.write(
        runs.create_run,
        id=RunId("odd"),
        agent=bench.agent,
        fire_key="odd",
        at=int(written),
        config_fingerprint="f",
        parameters={"paths": 7},
    )
    async with served(bench):
        fine = await bench.dispatcher.submit(bench.agent)
        await until(bench, fine.id, lambda row: row.state is RunState.COMPLETED)
        failed = await until(bench, odd.id, lambda row: row.state is RunState.FAILED)
    assert "cannot be read" in (failed.reason or "")


async def test_a_database_that_is_busy_for_a_while_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.01)
    claim = runs.claim_run
    refused: list[bool] = []

    def refuse_once(*args: Any, **given: Any) -> RunRow | None:
        if not refused:
            refused.append(True)
            raise Busy("somebody holds the file")
        return claim(*args, **given)

    monkeypatch.setattr(runs, "claim_run", refuse_once)
    bench.connect(runs=folder(a="- [ ] one"))
    async with served(bench):
        run = await bench.dispatcher.submit(bench.agent)
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert refused


async def test_runs_of_an_agent_that_is_no_longer_declared_are_cancelled(bench: Bench) -> None:
    waiting = await bench.dispatcher.submit(bench.agent)
    user_id = bench.agent.user_id
    await reconcile(bench.store, [], user_id=user_id, clock=bench.clock, ids=bench.ids)
    row = await bench.row(waiting.id)
    assert (row.state, row.reason) == (RunState.CANCELLED, "the agent is no longer declared")


async def test_nobody_watching_costs_nothing(bench: Bench) -> None:
    async with aclosing(bench.watch.changes(RunId("r"))) as changes:
        await anext(changes)
        assert len(bench.watch) == 1
    assert len(bench.watch) == 0


async def test_a_paused_run_goes_on_when_its_device_is_back(bench: Bench) -> None:
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    link = bench.connect(runs=[[manifest, first]])
    async with served(bench):
        run = await bench.dispatcher.submit(bench.agent)
        await bench.settled("a.md")
        del bench.links[link.device_id]
        link.cut()
        paused = await until(bench, run.id, lambda row: row.state is RunState.PAUSED)
        assert paused.pause_reason is PauseReason.DEVICE_OFFLINE

        back = bench.connect(runs=[[manifest, second, end]])
        bench.dispatcher.look_again()
        await until(bench, run.id, lambda row: row.state is RunState.COMPLETED)
    assert titles(back) == ["two"]
