"""A gateway elsewhere lets a hub in once somebody has approved it; more rights are asked for apart."""

from pathlib import Path

from hub.openclaw import GatewayForbidden
from hub.openclaw.methods import create_agent, file_get, file_set
from tests.support.gateway import FakeGateway
from tests.support.gateway.visit import Visit, failed, visiting
from tests.support.wire import until


async def test_unapproved_hub_waits_with_the_approve_command_and_continues_on_approval(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = True
    async with visiting(gateway, tmp_path, is_ready=False, has_device=True) as visit:
        await visit.is_in("parked")
        problem = visit.client.health().problem
        assert problem is not None and problem.code == "PAIRING_REQUIRED"
        (request_id,) = gateway.office.requests
        assert problem.hint == f"on the gateway's machine: openclaw devices approve {request_id}"
        error = await failed(visit.client.call("health"))
        assert (error.reason, error.dispatched) == ("PAIRING_REQUIRED", False)

        await visit.time_goes_by(200, step_s=10)
        assert 3 <= len(gateway.connects) <= 4  # asked again, or the request would expire there
        assert list(gateway.office.requests) == [request_id]
        gateway.approve()
        await visit.back_within(75)
        assert await visit.client.call("health") == {"ok": True}


async def test_admin_calls_use_a_separate_connection_closed_when_idle(
    gateway: FakeGateway, visit: Visit
) -> None:
    await file_get(visit.client, "main", "SOUL.md")
    assert [connect["scopes"] for connect in gateway.connects] == [["operator.read", "operator.write"]]
    await file_set(visit.client, "main", "SOUL.md", "I am")
    await create_agent(visit.client, "lead-1")
    assert gateway.connections == 2
    assert gateway.connects[1]["scopes"] == ["operator.read", "operator.write", "operator.admin"]

    await visit.time_goes_by(50, step_s=10)
    gateway.tick()
    assert gateway.connections == 2
    await visit.time_goes_by(15, step_s=1)
    await until(lambda: gateway.connections == 1)
    assert (visit.state, visit.client.health().admin_problem) == ("ready", None)

    await file_set(visit.client, "main", "SOUL.md", "I am again")
    assert len(gateway.connects) == 3


async def test_gateway_event_is_delivered_once_over_two_connections(
    gateway: FakeGateway, visit: Visit
) -> None:
    await create_agent(visit.client, "lead-1")
    gateway.emit("agent", {"x": 1})
    await until(lambda: "agent" in visit.events)
    await visit.client.call("health")
    assert visit.events == ["agent"]


async def test_unapproved_admin_rights_are_requested_while_other_calls_continue(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        gateway.auto_approve = False
        error = await visit.failed(create_agent(visit.client, "lead-1"))
        assert isinstance(error, GatewayForbidden)
        assert error.reason == "PAIRING_REQUIRED"
        assert "asks for more scopes than were approved" in str(error)
        assert "openclaw devices approve" in str(error)
        assert not error.dispatched
        health = visit.client.health()
        assert health.state == "ready"
        assert health.admin_problem is not None and health.admin_problem.code == "PAIRING_REQUIRED"
        assert await visit.client.call("health") == {"ok": True}

        gateway.approve()
        await visit.time_goes_by(6)
        assert (await visit.in_time(create_agent(visit.client, "lead-1"))).agent_id == "lead-1"
        assert visit.client.health().admin_problem is None


async def test_admin_call_uses_the_gateway_token_if_the_device_token_is_too_narrow(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        await visit.in_time(create_agent(visit.client, "lead-1"))
        assert [sorted(connect["auth"]) for connect in gateway.connects] == [
            ["token"],
            ["deviceToken"],
            ["token"],
        ]
        # The token that came with it replaced the narrower one; the steady connection comes back by it.
        gateway.cut()
        await visit.is_in("waiting")
        await visit.back_within(1)
        assert "deviceToken" in gateway.connects[-1]["auth"]


async def test_admin_rights_are_not_requested_again_after_a_failed_call(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        gateway.auto_approve = False
        await visit.failed(create_agent(visit.client, "lead-1"))
        before = len(gateway.connects)
        await visit.time_goes_by(50, step_s=10)
        assert len(gateway.connects) == before


async def test_device_approval_event_ends_the_wait_for_admin_rights(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        gateway.auto_approve = False
        await visit.failed(create_agent(visit.client, "lead-1"))
        gateway.approve()
        gateway.emit("device.pair.resolved", {"decision": "approved"})
        await until(lambda: "device.pair.resolved" in visit.events)
        assert (await create_agent(visit.client, "lead-1")).agent_id == "lead-1"
