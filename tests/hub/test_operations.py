"""What operators are told, read off the rows."""

from contextlib import aclosing

import anyio
import pytest

from hub.links.roster import Roster
from hub.operations import Operations
from hub.ops.facade import UnknownToken
from protocol.ids import UserId
from protocol.lifecycles import RunState
from storage.store import UnknownAgent, UnknownRun, devices
from tests.support.clock import SeededChance
from tests.support.runs import Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]


@pytest.fixture
async def operations(bench: Bench) -> Operations:
    user_id = await bench.store.write(devices.ensure_user, UserId("u"), "owner", 1)
    return Operations(
        store=bench.store,
        roster=Roster(lambda event: None, metrics=bench.metrics),
        dispatcher=bench.dispatcher,
        watch=bench.watch,
        clock=bench.clock,
        ids=bench.ids,
        chance=SeededChance(7),
        user_id=user_id,
        hub_id="hub-1",
        name="home",
        model=None,
        database="sqlite://",
    )


async def test_a_run_tells_its_counts_its_files_its_errors_and_its_moves(
    bench: Bench, operations: Operations
) -> None:
    bench.connect(runs=folder(a="- [ ] one\n- [ ] two", b="nothing"))
    done = await bench.run()

    told = await operations.run(done.id)

    assert (told.agent, told.device, told.state, told.items_created) == ("notes", "desk", "COMPLETED", 2)
    assert told.model_requests == bench.model.asked == 1
    assert [(unit.path, unit.items) for unit in told.units] == [("a.md", 2), ("b.md", 0)]
    assert [move.after for move in told.history] == ["QUEUED", "PREPARING", "RUNNING", "COMPLETED"]
    assert (await operations.runs(agent="notes", limit=5))[0].id == done.id
    assert (await operations.agent("notes")).last_run is not None


async def test_a_waiting_run_says_what_it_waits_for(bench: Bench, operations: Operations) -> None:
    run = await operations.start_run("notes", None)
    assert run.waiting_for == "device desk is offline"


async def test_a_follower_sees_the_last_step_whatever_it_missed(bench: Bench, operations: Operations) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    queued = await operations.start_run("notes", "key")
    seen: list[RunState] = []

    async def follow() -> None:
        async with aclosing(operations.follow_run(queued.id)) as steps:
            async for step in steps:
                seen.append(step.run.state)  # noqa: PERF401 - a step at a time is the point

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await bench.run()
    assert seen[-1] is RunState.COMPLETED


async def test_a_token_is_shown_once_and_kept_as_a_hash(bench: Bench, operations: Operations) -> None:
    made = await operations.create_token("desk")
    assert made.token.startswith("hub_dev_") and len(made.token) > 40
    listed = await operations.tokens()
    assert [token.id for token in listed] == [made.id]
    assert made.token not in repr(listed)

    revoked = await operations.revoke_token(made.id)
    assert revoked.revoked_at is not None


async def test_what_is_not_there_is_refused_by_name(operations: Operations) -> None:
    with pytest.raises(UnknownAgent, match="'nobody'"):
        await operations.start_run("nobody", None)
    with pytest.raises(UnknownRun):
        await operations.run("nothing")
    with pytest.raises(UnknownToken):
        await operations.revoke_token("nothing")


async def test_a_hub_is_ready_only_when_everything_listens(operations: Operations) -> None:
    readiness = await operations.readiness()
    assert not readiness.ready
    assert {check.name: check.ok for check in readiness.checks}["database"]
