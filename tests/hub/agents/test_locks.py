"""Locks as devices ask for them: taken, waited for, renewed, released, and handed over."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import sqlalchemy as sa

from hub.agents.locks import LockService
from hub.api.resources.locks import LocksResource as LocksNoun
from hub.links.device_link import DeviceLink
from hub.links.roster import RequestReceived
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import Parameter
from protocol.ids import RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import locks
from storage.agents.agents import AgentRow
from storage.runs import run_moves
from storage.schema import agent_locks
from storage.store import ObservedDatabase
from tests.support.link import FakeLink
from tests.support.requests import requests_over
from tests.support.runs import Bench
from tests.support.wire import until

FAR_MS = 500_000


class Desk:
    """A device that asks for locks of its agent, each request with an id of its own."""

    def __init__(self, served: "Served", link: FakeLink, agent: AgentRow) -> None:
        self.link = link
        self._served = served
        self._agent = agent
        self._asked = 0

    async def ask(self, method: str, **params: Parameter) -> Response:
        """What the hub answers."""
        return await self.answer(self.say(method, **params))

    def say(self, method: str, **params: Parameter) -> str:
        """Ask, and do not wait for the answer."""
        self._asked += 1
        id = f"q-{self._asked}"
        frame = Request(id=id, method=method, params={"agent_id": self._agent.name} | params)
        self._served.requests.enqueue(RequestReceived(self.link, frame))
        return id

    async def answer(self, id: str) -> Response:
        await until(lambda: self._answered(id) is not None)
        answered = self._answered(id)
        assert answered is not None
        return answered

    def _answered(self, id: str) -> Response | None:
        return next((one for one in self.link.sent if isinstance(one, Response) and one.id == id), None)


class Served:
    """A hub that answers about locks."""

    def __init__(self, bench: Bench, *, is_connected: Callable[[DeviceLink], bool] = lambda _: True) -> None:
        self.bench = bench
        self.locks = LockService(
            bench.store,
            clock=bench.clock,
            ids=bench.ids,
            metrics=bench.metrics,
            on_run_granted=bench.dispatcher.recheck,
            is_connected=is_connected,
        )
        self.requests = requests_over(bench, LocksNoun(bench.store, self.locks, clock=bench.clock))

    def desk(self, epoch: int = 1) -> Desk:
        """The device that the agent works on, connected."""
        return Desk(self, self.bench.connect(epoch=epoch, user_id=self.bench.agent.user_id), self.bench.agent)

    async def hold(self, *names: str, ttl_ms: int = FAR_MS) -> locks.LockGrant:
        """Somebody else takes the locks."""
        wanted = locks.LockRequest(
            request_id=" ".join(names),
            user_id=self.bench.agent.user_id,
            names=names,
            holder=OTHER,
            ttl_ms=ttl_ms,
        )
        grant = (await self.bench.store.write(locks.acquire, wanted)).grant
        assert grant is not None
        return grant

    async def let_go(self, grant: locks.LockGrant) -> None:
        await self.locks.release(grant.user_id, grant.fences, OTHER)


OTHER = locks.Holder("device", "another")


@pytest.fixture
async def served(bench: Bench) -> AsyncIterator[Served]:
    served = Served(bench)
    async with running(served):
        yield served


@asynccontextmanager
async def running(served: Served) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(served.locks.serve)
        await tasks.start(served.requests.serve)
        yield
        tasks.cancel_scope.cancel()


def refused(response: Response) -> tuple[str, str]:
    assert response.error is not None, response.result
    return response.error.code, response.error.message


async def test_device_takes_renews_lists_and_releases_locks_for_an_agent(served: Served) -> None:
    desk = served.desk()
    taken = (await desk.ask(Method.LOCKS_ACQUIRE, resources=["b", "a"], ttl_ms=5_000)).result
    assert taken is not None
    assert taken["fences"] == {"a": 1, "b": 1}
    renewed = (await desk.ask(Method.LOCKS_RENEW, fences=taken["fences"], ttl_ms=60_000)).result
    assert renewed is not None
    assert int(str(renewed["expires_at_ms"])) > int(str(taken["expires_at_ms"]))
    listed = (await desk.ask(Method.LOCKS_LIST)).result
    assert listed is not None
    assert [lock["held_by"] for lock in listed["locks"]] == ["device desk for agent notes"] * 2  # type: ignore[union-attr,index,call-overload]
    assert (await desk.ask(Method.LOCKS_RELEASE, fences=taken["fences"])).result == {}
    assert await served.bench.store.read(locks.list_locks) == []


async def test_lock_service_without_requests_rests_until_a_database_write(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.agents.locks.POLL_S", 0.2)
    served, store = Served(bench), ObservedDatabase(bench.store)
    served.locks.rest_between_writes(store)
    async with running(served):
        await until(lambda: served.locks.is_resting)
        await store.write(lambda c: None)
        await until(lambda: not served.locks.is_resting)


async def test_held_lock_is_refused_with_the_holder_and_a_retry_time(served: Served) -> None:
    await served.hold("mailbox")
    answer = await served.desk().ask(Method.LOCKS_ACQUIRE, resource="mailbox")
    code, told = refused(answer)
    assert code == ErrorCode.LOCK_HELD
    assert told.startswith("lock 'mailbox' is held by device another since 20")
    assert answer.error is not None
    assert answer.error.retry_after_ms is not None and answer.error.retry_after_ms <= FAR_MS


async def test_waiting_lock_request_is_granted_on_release_without_blocking_others(served: Served) -> None:
    grant = await served.hold("mailbox")
    desk = served.desk()
    waits = desk.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    assert (await desk.ask(Method.LOCKS_ACQUIRE, resource="letterbox")).error is None
    await served.let_go(grant)
    answer = await desk.answer(waits)
    assert answer.result is not None
    assert (answer.result["fences"], len(served.locks)) == ({"mailbox": 2}, 0)


async def test_lock_request_waiting_too_long_gets_the_holder_of_the_lock(served: Served) -> None:
    await served.hold("mailbox")
    code, told = refused(await served.desk().ask(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=1))
    assert code == ErrorCode.LOCK_TIMED_OUT
    assert told.startswith(
        "it was not granted within 0.001 s: lock 'mailbox' is held by device another since 20"
    )
    assert await served.bench.store.read(locks.list_lock_waits) == []


async def test_expired_lock_is_granted_to_the_waiting_device(served: Served) -> None:
    await served.hold("mailbox")
    desk = served.desk()
    waits = desk.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    await until(lambda: len(served.locks) == 1)
    await served.bench.store.write(end_all)
    assert (await desk.answer(waits)).error is None


def end_all(c: sa.Connection) -> None:
    """The time of every lock is over."""
    c.execute(sa.update(agent_locks).values(expires_at=1))


async def test_lost_device_connection_ends_lock_waits_but_not_held_locks(
    served: Served,
) -> None:
    grant = await served.hold("mailbox")
    desk = served.desk(epoch=7)
    await desk.ask(Method.LOCKS_ACQUIRE, resource="kept")
    desk.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    await until(lambda: len(served.locks) == 1)
    served.locks.device_lost(desk.link.device_id, 6)
    assert len(served.locks) == 1
    served.locks.device_lost(desk.link.device_id, 7)
    await until(lambda: len(served.locks) == 0)
    await served.let_go(grant)
    assert [lock.resource for lock in await served.bench.store.read(locks.list_locks)] == ["kept"]


async def test_lock_released_to_a_lost_device_is_granted_to_the_next_device(served: Served) -> None:
    grant = await served.hold("mailbox")
    gone, there = served.desk(epoch=1), served.desk(epoch=2)
    gone.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    await until(lambda: len(served.locks) == 1)
    served.locks.device_lost(gone.link.device_id, 1)
    await served.bench.store.write(locks.release, grant.user_id, grant.fences, OTHER)
    await until(lambda: len(served.locks) == 0)
    assert (await there.ask(Method.LOCKS_ACQUIRE, resource="mailbox")).error is None


async def test_lock_request_of_a_disconnected_device_is_not_queued(bench: Bench) -> None:
    served = Served(bench, is_connected=lambda link: link.epoch != 1)
    async with running(served):
        grant = await served.hold("mailbox")
        gone, there = served.desk(epoch=1), served.desk(epoch=2)
        gone.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
        await gone.answer("q-1")
        assert len(served.locks) == 0
        await served.let_go(grant)
        assert (await there.ask(Method.LOCKS_ACQUIRE, resource="mailbox")).error is None


async def test_lock_request_beyond_a_limit_is_refused_and_counted(served: Served) -> None:
    await served.hold("mailbox")
    served.locks.waits_per_device = 1
    desk = served.desk()
    desk.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    code, told = refused(await desk.ask(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000))
    assert (code, "lock_waits_per_device" in told) == (ErrorCode.LIMIT_REACHED, True)
    served.locks.limits, served.locks.waits_per_device = (
        locks.LockLimits(locks_per_user=1, lock_waits=1),
        9,
    )
    for asked, limit in (
        ({"resource": "another"}, "locks_per_user"),
        ({"resource": "mailbox", "wait_ms": 9}, "lock_waits"),
    ):
        code, told = refused(await desk.ask(Method.LOCKS_ACQUIRE, **asked))
        assert (code, limit in told) == (ErrorCode.LIMIT_REACHED, True)
        counted = served.bench.metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": limit})
        assert counted == 1


async def test_lost_lock_is_neither_renewed_nor_released(served: Served) -> None:
    desk = served.desk()
    await desk.ask(Method.LOCKS_ACQUIRE, resource="mailbox")
    await served.bench.store.write(end_all)
    await served.hold("mailbox")
    for method in (Method.LOCKS_RENEW, Method.LOCKS_RELEASE):
        code, told = refused(await desk.ask(method, fences={"mailbox": 1}))
        assert code == ErrorCode.LOCK_LOST
        assert "device another has it under 2" in told


async def test_lock_of_a_finished_run_is_granted_to_a_waiting_device(served: Served) -> None:
    bench = served.bench
    desk = served.desk()
    run = await bench.store.write(
        run_moves.create_run,
        id=RunId("run-1"),
        agent=bench.agent,
        fire_key="k",
        at=bench.now_ms,
        config_fingerprint="f",
        settings=(await bench.control.submit(bench.agent)).settings,
        locks=["mailbox"],
    )
    order = await bench.claim()
    await bench.store.write(
        run_moves.move, order.held(RunState.PREPARING), RunEvent.FAILED, at=1, actor="hub", reason="x"
    )
    order = await bench.claim()
    assert order.run_id == run.id
    waits = desk.say(Method.LOCKS_ACQUIRE, resource="mailbox", wait_ms=60_000)
    await until(lambda: len(served.locks) == 1)
    held = await bench.store.write(
        run_moves.move, order.held(RunState.PREPARING), RunEvent.ACKNOWLEDGED, at=1, actor="device"
    )
    await bench.store.write(
        run_moves.move, held, RunEvent.FINISHED, at=1, actor="hub", outcome=RunOutcome.SUCCESS
    )
    assert (await desk.answer(waits)).error is None


async def test_lock_waits_of_an_earlier_hub_start_are_deleted_on_start(bench: Bench) -> None:
    served = Served(bench)
    await served.hold("mailbox")
    wanted = locks.LockRequest(
        request_id="r",
        user_id=bench.agent.user_id,
        names=("mailbox",),
        holder=locks.Holder("device", "desk"),
        ttl_ms=1,
        wait_ms=9_999,
    )
    await bench.store.write(locks.acquire, wanted)
    async with running(served):
        assert await bench.store.read(locks.list_lock_waits) == []
