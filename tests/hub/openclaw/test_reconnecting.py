"""However a connection ends, the hub comes back, and says meanwhile why not and when."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.openclaw import GatewayUnreachable
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import Calls, Visit, failed, visiting
from tests.support.wire import until

MAIN = "agent:main:main"


async def test_gateway_client_reconnects_after_a_restart_and_counts_the_restart(
    gateway: FakeGateway, visit: Visit
) -> None:
    first = visit.client.health().boot_id
    await gateway.stop()
    await visit.is_in("waiting")
    assert visit.problem == "service_restart"
    await gateway.start()
    await visit.back_within(1.0)
    assert (visit.reconnected, visit.client.health().restarts) == ([False, True], 1)
    assert visit.client.health().boot_id not in (None, first)


@pytest.mark.parametrize(
    ("code", "problem"),
    [(1000, "closed"), (1001, "closed"), (1008, "policy_violation"), (None, "connection_lost")],
)
async def test_closed_or_broken_gateway_connection_is_reestablished(
    gateway: FakeGateway, visit: Visit, code: int | None, problem: str
) -> None:
    if code is None:
        gateway.cut()
    else:
        await gateway.close_all(code)
    await visit.is_in("waiting")
    assert visit.problem == problem
    await visit.back_within(1.0)
    assert visit.reconnected == [False, False]
    assert visit.states == ["connecting", "ready", "waiting", "connecting", "ready"]


BUSY = {"code": "UNAVAILABLE", "message": "x", "retryable": True, "retryAfterMs": 20_000}


@pytest.mark.parametrize(
    ("refusal", "problem", "least_s", "most_s"),
    [(None, "startup-sidecars", 0.45, 0.6), (BUSY, "UNAVAILABLE", 19.9, 4.5)],
    ids=["starting", "retry after"],
)
async def test_gateway_client_reconnects_no_sooner_than_the_requested_wait(
    tmp_path: Path,
    gateway: FakeGateway,
    refusal: dict[str, Any] | None,
    problem: str,
    least_s: float,
    most_s: float,
) -> None:
    gateway.is_starting = refusal is None
    gateway.refuses = None if refusal is None else (refusal, 1013)
    async with visiting(gateway, tmp_path, is_ready=False) as visit:
        await visit.is_in("waiting")
        assert visit.problem == problem
        gateway.is_starting, gateway.refuses = False, None
        await visit.time_goes_by(least_s)
        assert visit.state == "waiting"
        await visit.back_within(most_s)


async def test_while_the_gateway_is_down_connecting_is_retried_at_most_every_30_s(
    gateway: FakeGateway, visit: Visit
) -> None:
    await gateway.stop(killed=True)
    await visit.time_goes_by(600, step_s=5)
    assert visit.problem == "connection_refused"
    assert 20 <= visit.states.count("connecting") - 1 <= 30
    await gateway.start()
    await visit.back_within(31)


@pytest.mark.parametrize("status", [429, 503])
async def test_gateway_handshake_refused_with_a_temporary_http_status_is_retried(
    tmp_path: Path, status: int, gateway: FakeGateway
) -> None:
    gateway.http_status = status
    async with visiting(gateway, tmp_path, is_ready=False) as visit:
        await visit.is_in("waiting")
        assert visit.problem == f"http_{status}"
        gateway.http_status = None
        await visit.back_within(1.0)


@pytest.mark.parametrize("status", [301, 401])
async def test_an_address_without_a_gateway_is_reported_and_retried_slowly(
    tmp_path: Path, status: int, gateway: FakeGateway
) -> None:
    gateway.http_status = status
    async with visiting(gateway, tmp_path, is_ready=False) as visit:
        await visit.is_in("refused")
        assert visit.problem == f"http_{status}"
        gateway.http_status = None
        await visit.time_goes_by(290, step_s=10)
        assert visit.state == "refused"
        await visit.back_within(80)


async def test_draining_gateway_accepts_no_connection_until_restarted(
    gateway: FakeGateway, visit: Visit
) -> None:
    gateway.drain()
    gateway.cut()
    await visit.is_in("waiting")
    await visit.time_goes_by(1.0)
    await until(lambda: visit.problem == "http_503")
    await gateway.restart()
    await visit.back_within(10)


async def test_gateway_without_a_greeting_times_out_after_15_s(tmp_path: Path, gateway: FakeGateway) -> None:
    gateway.greets = False
    async with visiting(gateway, tmp_path, is_ready=False) as visit:
        await until(lambda: len(gateway.knocks) == 1)
        await visit.time_goes_by(14, step_s=7)
        assert visit.state == "connecting"
        await visit.time_goes_by(1)
        await visit.is_in("waiting")
        assert visit.problem == "no_answer"
        gateway.greets = True
        await visit.back_within(1.0)


async def test_gateway_health_reports_the_time_of_the_next_try(gateway: FakeGateway, visit: Visit) -> None:
    assert visit.client.health().next_try_at is None
    gateway.cut()
    await visit.is_in("waiting")
    next_try = visit.client.health().next_try_at
    assert next_try is not None
    assert timedelta() < next_try - visit.clock.now() <= timedelta(seconds=1)


async def test_gateway_call_waits_for_a_reconnection(tmp_path: Path) -> None:
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.cut()
        await visit.is_in("waiting")
        calls = Calls()
        tasks.start_soon(calls.make, lambda: visit.client.call("health"))
        await visit.back_within(1.0)
        await until(lambda: calls.ended == [{"ok": True}])


async def test_request_outwaiting_the_timeout_for_a_connection_fails_immediately(
    gateway: FakeGateway, visit: Visit
) -> None:
    gateway.cut()
    await visit.is_in("waiting")
    error = await failed(visit.client.call("health", timeout_s=0.5))
    assert isinstance(error, GatewayUnreachable)
    assert (error.dispatched, error.retryable) == (False, True)
    assert error.retry_after_ms is not None and 500 < error.retry_after_ms <= 1000


async def test_reconnect_wait_grows_for_a_repeatedly_cut_gateway(gateway: FakeGateway, visit: Visit) -> None:
    for _ in range(6):
        gateway.cut()
        await visit.is_in("waiting")
        await visit.back_within(31)
    gateway.cut()
    await visit.is_in("waiting")
    next_try = visit.client.health().next_try_at
    assert next_try is not None and next_try - visit.clock.now() >= timedelta(seconds=20)


async def test_stopping_a_gateway_client_ends_running_calls_as_dispatched(tmp_path: Path) -> None:
    calls = Calls()
    async with fake_gateway() as gateway, anyio.create_task_group() as tasks:
        gateway.answers = False
        async with visiting(gateway, tmp_path) as visit:
            tasks.start_soon(calls.make, lambda: visit.client.call("health"))
            await until(lambda: gateway.count("health") == 1)
        await until(lambda: len(calls.ended) == 1)
        assert ([error.dispatched for error in calls.errors], visit.state) == ([True], "stopped")
        error = await failed(visit.client.call("health"))
        assert error.reason == "stopped"


async def test_stopping_a_gateway_client_ends_calls_waiting_for_a_connection(tmp_path: Path) -> None:
    calls = Calls()
    async with fake_gateway() as gateway, anyio.create_task_group() as tasks:
        async with visiting(gateway, tmp_path) as visit:
            gateway.cut()
            await visit.is_in("waiting")
            tasks.start_soon(calls.make, lambda: visit.client.call("health"))
            tasks.start_soon(calls.make, lambda: visit.client.ready(30))
            await anyio.wait_all_tasks_blocked()
            assert calls.ended == []
        await until(lambda: len(calls.ended) == 2)
        assert {(error.reason, error.dispatched) for error in calls.errors} == {("stopped", False)}
