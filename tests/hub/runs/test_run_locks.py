"""A run that needs a lock: it waits, is told why, and brings the fence to its device."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from hub.runs.run_order import RunOptions
from protocol.lifecycles import RunState
from storage.agents import locks
from storage.runs import run_claims
from tests.support.runs import Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]

OTHER = locks.Holder(locks.HolderKind.DEVICE, "another")


@asynccontextmanager
async def served(bench: Bench) -> AsyncIterator[None]:
    """The dispatcher at work."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(bench.dispatcher.serve)
        yield
        tasks.cancel_scope.cancel()


async def test_a_run_waits_for_its_lock_says_so_and_brings_the_fence_to_its_device(bench: Bench) -> None:
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
