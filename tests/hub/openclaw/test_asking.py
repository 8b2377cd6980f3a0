"""How requests end: each answer of a gateway, and each way of getting none."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
import pytest

from hub.openclaw import (
    GatewayError,
    GatewayForbidden,
    GatewayRefused,
    GatewayTimedOut,
    GatewayUnreachable,
)
from hub.openclaw.gateway_client import MAX_WAITING
from hub.openclaw.gateway_connection import MAX_IN_FLIGHT
from hub.openclaw.methods import agent_wait, agents_list, chat_send
from protocol.errors import ErrorCode
from tests.support.families import each
from tests.support.gateway import Fails, FakeGateway, fake_gateway
from tests.support.gateway.visit import Calls, Visit, failed, visiting
from tests.support.wire import until

MAIN = "agent:main:main"


async def test_gateway_calls_share_a_single_connection_and_are_answered_out_of_order(tmp_path: Path) -> None:
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.hold(MAIN)
        await chat_send(visit.client, MAIN, "first", key="k1")
        waiting = Calls()
        tasks.start_soon(waiting.make, lambda: agent_wait(visit.client, "k1", timeout_ms=60_000))
        await until(lambda: gateway.count("agent.wait") == 1)
        assert (await agents_list(visit.client)).find("main") is not None
        assert waiting.ended == []
        gateway.release(MAIN)
        await until(lambda: [end.reply for end in waiting.ended] == ["ok: first"])
        assert len(gateway.knocks) == 1


async def test_gateway_call_with_an_empty_answer_returns_none(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answer_once("last-heartbeat", None)
    assert await visit.client.call("last-heartbeat") is None


class Case(NamedTuple):
    """A refusal that a gateway was seen to give, what it is to us, and whether it may have been done."""

    error: dict[str, Any]
    kind: type[GatewayError] = GatewayRefused
    reason: str = "UNAVAILABLE"
    dispatched: bool = False
    retryable: bool = False
    retry_after_ms: int | None = None


INVALID, BUSY = {"code": "INVALID_REQUEST"}, {"code": "UNAVAILABLE"}
CASES = [
    Case(INVALID | {"message": "unknown method: x"}, reason="INVALID_REQUEST"),
    Case(INVALID | {"message": "invalid x params: must have property 'name'"}, reason="INVALID_REQUEST"),
    Case(INVALID | {"message": "unauthorized role: node"}, reason="INVALID_REQUEST"),
    Case(INVALID | {"message": "text details", "details": "no object"}, reason="INVALID_REQUEST"),
    Case(
        INVALID | {"message": "same id, other input", "details": {"reason": "chat-request-conflict"}},
        reason="chat-request-conflict",
    ),
    Case({"code": "APPROVAL_NOT_FOUND", "message": "gone"}, reason="APPROVAL_NOT_FOUND"),
    Case({"code": "FORBIDDEN", "message": "no"}, GatewayForbidden, reason="FORBIDDEN"),
    Case(BUSY | {"message": "The server is busy...", "retryable": True}, GatewayUnreachable, retryable=True),
    Case(
        BUSY | {"message": "rate limit; retry after 59s", "retryAfterMs": 59_443, "details": {"limit": "x"}},
        GatewayUnreachable,
        retryable=True,
        retry_after_ms=59_443,
    ),
    Case(
        BUSY
        | {"message": "restarting", "retryable": True, "retryAfterMs": 1000}
        | {"details": {"method": "chat.send", "reason": "gateway-restarting"}},
        GatewayUnreachable,
        reason="gateway-restarting",
        retryable=True,
        retry_after_ms=1000,
    ),
    # Words that look as if trying again helped, or as if nothing had been done.
    Case(BUSY | {"message": "Pending input ownership ended; submit a new turn"}, dispatched=True),
    Case(BUSY | {"message": "API key temporarily disabled"}, dispatched=True),
    Case(
        BUSY | {"message": "node invoke timed out", "details": {"nodeCommandDispatched": True}},
        dispatched=True,
    ),
    Case(BUSY | {"message": "node not connected", "details": {"nodeCommandDispatched": False}}),
    Case(
        INVALID | {"message": "profile", "details": {"reason": "PROFILE", "execution": "may_have_executed"}},
        reason="PROFILE",
        dispatched=True,
    ),
]


@each("case", CASES)
async def test_gateway_refusal_is_classified_by_the_error_structure(
    case: Case, gateway: FakeGateway, visit: Visit
) -> None:
    gateway.fault("health", "refused", case.error)
    raised = await failed(visit.client.call("health"))
    assert type(raised) is case.kind
    assert raised.reason == case.reason
    assert (raised.dispatched, raised.retryable) == (case.dispatched, case.retryable)
    assert (raised.retry_after_ms, raised.gateway) == (case.retry_after_ms, "fake")


async def test_a_missing_scope_is_reported_with_a_fix(visit: Visit) -> None:
    error = await failed(visit.client.call("agents.create", {"name": "x"}, needs="operator.write"))
    assert isinstance(error, GatewayForbidden)
    assert error.code is ErrorCode.GATEWAY_FORBIDDEN
    assert error.details["missingScope"] == "operator.admin"
    assert "does not let this hub call agents.create" in str(error)
    assert "openclaw devices list" in str(error)


@pytest.mark.parametrize(("when", "done"), [("before", []), ("after", ["hello"])])
async def test_connection_lost_before_the_answer_is_reported_as_dispatched(
    when: Literal["before", "after"], done: list[str], gateway: FakeGateway, visit: Visit
) -> None:
    gateway.fault("chat.send", when)
    error = await failed(chat_send(visit.client, MAIN, "hello", key="k1"))
    assert isinstance(error, GatewayUnreachable)
    assert error.dispatched
    assert error.reason == "connection_lost"
    await visit.is_in("waiting")
    await visit.back_within(1)
    await until(lambda: gateway.said(MAIN) == done)
    assert gateway.count("chat.send") == 1


async def test_gateway_call_timeout_is_reported_as_dispatched_and_retryable(tmp_path: Path) -> None:
    calls = Calls()
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.fault("health", "never")
        tasks.start_soon(calls.make, lambda: visit.client.call("health", timeout_s=7))
        await until(lambda: gateway.count("health") == 1)
        await visit.time_goes_by(6.5, step_s=0.5)
        assert calls.ended == []
        await visit.time_goes_by(0.5)
        await until(lambda: len(calls.ended) == 1)
        error = calls.errors[0]
        assert isinstance(error, GatewayTimedOut)
        assert (error.dispatched, error.retryable, error.code.value) == (True, True, "gateway_timed_out")
        assert visit.state == "ready"
        assert await visit.client.call("health") == {"ok": True}


async def test_calls_to_a_silent_gateway_are_bounded_and_end_with_retryable_errors(tmp_path: Path) -> None:
    calls = Calls()
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.answers = False
        for _ in range(MAX_WAITING + 50):
            tasks.start_soon(calls.make, lambda: visit.client.call("health"))
        await until(lambda: gateway.count("health") == MAX_IN_FLIGHT and len(calls.ended) == 50)
        assert {error.reason for error in calls.errors} == {"too_many_requests"}
        assert not any(error.dispatched for error in calls.errors)
        assert visit.counted("hub_limits_reached_total", limit="gateway_requests") == 50
        await visit.time_goes_by(30, step_s=10)
        await until(lambda: len(calls.ended) == MAX_WAITING + 50)
        late = calls.errors[50:]
        assert sum(error.dispatched for error in late) == MAX_IN_FLIGHT  # the others never left
        assert all(error.retryable for error in late)
        gateway.answers = True
        assert await visit.client.call("health") == {"ok": True}


async def test_burst_of_gateway_calls_is_answered_without_exceeding_in_flight_limit(tmp_path: Path) -> None:
    calls = Calls()
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.busy_above = MAX_IN_FLIGHT
        for _ in range(400):
            tasks.start_soon(calls.make, lambda: visit.client.call("health"))
        await until(lambda: len(calls.ended) == 400)
        assert calls.errors == []


async def test_call_larger_than_the_gateway_payload_limit_is_not_sent(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.max_payload = 1_000
    async with visiting(gateway, tmp_path) as visit:
        error = await failed(chat_send(visit.client, MAIN, "x" * 1_000, key="k1"))
        assert isinstance(error, GatewayRefused)
        assert (error.reason, error.dispatched, gateway.asked) == ("too_large", False, [])


async def test_gateway_call_with_invalid_text_is_refused_without_sending(
    gateway: FakeGateway, visit: Visit
) -> None:
    error = await failed(chat_send(visit.client, MAIN, "half a pair: \ud800", key="k1"))
    assert isinstance(error, GatewayRefused)
    assert (error.reason, error.dispatched, error.retryable) == ("no_text", False, False)
    assert gateway.asked == []
    assert await visit.client.call("health") == {"ok": True}


async def test_invalid_json_frame_ends_the_connection_and_the_waiting_calls(tmp_path: Path) -> None:
    calls = Calls()
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.answers = False
        tasks.start_soon(calls.make, lambda: visit.client.call("health"))
        await until(lambda: gateway.count("health") == 1)
        gateway.say_raw("{no json")
        await until(lambda: len(calls.ended) == 1)
        assert calls.errors[0].dispatched
        await visit.is_in("waiting")
        assert visit.problem == "unreadable"
        await visit.back_within(1)


async def test_unknown_gateway_frames_are_ignored(gateway: FakeGateway, visit: Visit) -> None:
    gateway.say_raw('{"type":"stream","id":"s1","chunk":"x"}')
    gateway.say_raw('{"type":"res","id":"never-asked","ok":true,"payload":1,"more":2}')
    assert (await visit.client.call("health"), len(gateway.knocks)) == ({"ok": True}, 1)


async def test_gateway_requests_are_counted_by_outcome(tmp_path: Path) -> None:
    async with fake_gateway(answer=lambda *_: Fails()) as gateway, visiting(gateway, tmp_path) as visit:
        await visit.client.call("health")
        await failed(visit.client.call("nonsense"))
        gateway.fault("health", "refused", {"code": "INVALID_REQUEST", "message": "no"})
        await failed(visit.client.call("health"))
        counted = {
            outcome: visit.counted("hub_gateway_requests_total", outcome=outcome)
            for outcome in ("answered", "refused", "forbidden")
        }
        assert counted == {"answered": 1, "refused": 1, "forbidden": 1}
        assert visit.counted("hub_gateways", gateway=visit.client.name, state="ready") == 1
