"""Runs wait for what they need, say so, and start once it is there."""

from datetime import timedelta
from functools import partial
from typing import Any

import anyio

from hub.agents.capabilities import Capabilities
from hub.api.waiting import Waiting, read_waits
from hub.clock import epoch_ms
from hub.health import work
from hub.health.issues import Severity
from hub.runs.run_order import RunOptions
from protocol.lifecycles import RunState
from storage.runs.runs import RunRow
from tests.support.link import FakeLink
from tests.support.presence import BOOT, live, open_session
from tests.support.runs import MODERN, Bench, folder

NEEDS = RunOptions(needs=("file.read >= 1.2",))


def able(**offers: str) -> dict[str, str]:
    """What a modern device lists, and *offers*, whose names have a dot for an underscore."""
    return dict.fromkeys(MODERN, "1.0.0") | {name.replace("_", "."): told for name, told in offers.items()}


def registry(bench: Bench) -> Capabilities:
    return Capabilities(
        bench.store, clock=bench.clock, metrics=bench.metrics, on_changed=bench.dispatcher.recheck
    )


async def connect(bench: Bench, offers: dict[str, str], *, runs: Any = ()) -> FakeLink:
    """The device comes, and can do this."""
    assert bench.agent.device_id is not None
    at = epoch_ms(bench.clock.now())
    await bench.store.write(live, BOOT)
    epoch = await bench.store.write(open_session, bench.agent.device_id, boot_id=BOOT, platform=None, at=at)
    return bench.connect(capabilities=offers, runs=runs, epoch=epoch)


async def told(bench: Bench, run: RunRow) -> str | None:
    """What the run waits for."""
    waiting = Waiting(dispatcher=bench.dispatcher, clock=bench.clock, hold=None)
    rows = [await bench.row(run.id)]
    waits = await bench.store.read(read_waits, rows, bench.dispatcher.offered)
    return waiting.sentences(rows, waits).get(run.id)


async def test_a_run_waits_for_a_newer_device_and_starts_when_it_comes(bench: Bench) -> None:
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


async def test_a_run_starts_as_soon_as_its_agent_declares_the_capability(bench: Bench) -> None:
    await connect(bench, able(), runs=folder(a="- [ ] call Anna"))
    run = await bench.control.submit(bench.agent, options=NEEDS)
    async with anyio.create_task_group() as tasks:
        await tasks.start(bench.dispatcher.serve)
        await bench.looks()
        assert await told(bench, run) == "needs file.read >= 1.2: neither device desk nor its agent has it"
        said = {"name": "file.read", "version": "1.2.0"}
        await registry(bench).register(bench.agent.id, **said, actor="me")  # type: ignore[arg-type]
        await bench.comes_to(RunState.COMPLETED)
        tasks.cancel_scope.cancel()


async def test_a_run_that_is_started_again_needs_what_it_needed_and_is_for_the_same(bench: Bench) -> None:
    options = RunOptions(needs=("web",), locks=("mailbox",), context={"task_id": "t-1"})
    first = await bench.control.submit(bench.agent, options=options)
    again = await bench.control.rerun(first.id, actor="me")
    assert (again.needs, again.locks, again.context) == (("web",), ("mailbox",), {"task_id": "t-1"})


async def test_a_need_that_is_unmet_for_long_is_reported_once_per_agent(bench: Bench) -> None:
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
