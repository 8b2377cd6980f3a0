"""Status of agents at a gateway, from what a fake gateway shows and from its events, over the wire."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.app.coordination import STATUS_LEASE
from hub.base.clock import epoch_ms
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.coordination.gateway_watch import GRACE_S, MISSING_S, Fact, GatewayMonitor, Turn, read_fact
from hub.openclaw import Fleet, GatewayConfig, GatewayEvent
from hub.openclaw.methods import chat_send
from hub.runs.leadership import Leadership
from protocol.agent_status import AgentMoved, ExhaustReason
from protocol.ids import AgentId, BootId, GatewayId, UserId
from storage.agents import agent_states
from storage.agents.agent_states import AgentState
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from storage.store import ObservedDatabase, Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.gateway import Fails, FakeGateway, fake_gateway
from tests.support.gateway_rows import set_state

WITHIN_S = 10.0
OWNER = UserId("owner-id")
NOTES, MAIN = AgentId("agent-notes"), AgentId("main-office")
SESSION = "agent:notes:main"


class Office:
    """A hub's part that keeps the agents of one gateway, and the gateway."""

    def __init__(self, store: Store, gateway: FakeGateway, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.gateway = gateway
        self.moves: list[AgentMoved] = []
        self._news = anyio.Event()
        self.store = ObservedDatabase(store, self._heard)
        self.fleet = Fleet(
            folder=folder,
            rules=OutboundRules,
            clock=self.clock,
            chance=SeededChance(7),
            metrics=Metrics(),
            version="0.1.0",
        )
        lease = Leadership(self.store, STATUS_LEASE, BootId("boot-1"), clock=self.clock)
        self.missing: list[GatewayAgentRow] = []
        self.is_missing = anyio.Event()
        self.monitor = GatewayMonitor(
            self.store, self.fleet, lease=lease, clock=self.clock, on_missing=self._note_missing
        )

    def _note_missing(self, row: GatewayAgentRow) -> None:
        self.missing.append(row)
        self.is_missing.set()

    def _heard(self, moves: Sequence[AgentMoved]) -> None:
        self.moves.extend(moves)
        self._news.set()

    def connect(self) -> None:
        config = GatewayConfig(name="office", url=self.gateway.url, token=self.gateway.token)
        self.fleet.apply([config])
        self.monitor.recheck()

    async def state(self, agent_id: AgentId = NOTES) -> AgentState:
        return await self.store.read(agent_states.find_state, agent_id)

    async def until(self, agent_id: AgentId = NOTES, **axes: str | None) -> AgentState:
        """Wait until the agent stands so."""
        with anyio.fail_after(WITHIN_S):
            while True:
                self._news = anyio.Event()
                state = await self.state(agent_id)
                if all(getattr(state, axis) == value for axis, value in axes.items()):
                    return state
                await self._news.wait()

    async def say(self, text: str = "hello", *, key: str = "k-1") -> None:
        await chat_send(self.fleet.get("office"), SESSION, text, key=key)

    def told(self, axis: str, agent_id: AgentId = NOTES) -> list[str]:
        return [move.after for move in self.moves if (move.axis, move.agent_id) == (axis, agent_id)]

    async def until_told(self, axis: str, *values: str) -> None:
        """Wait until the agent has moved so often on *axis*; it went to *values*."""
        with anyio.fail_after(WITHIN_S):
            while len(self.told(axis)) < len(values):
                self._news = anyio.Event()
                await self._news.wait()
        assert self.told(axis) == list(values)

    def shows(self, event: str, **payload: Any) -> None:
        """The gateway tells its listeners, as a real one was seen to."""
        about = {"runId": "k-9", "sessionKey": SESSION, "agentId": "notes", "seq": 1}
        self.gateway.emit(event, about | payload)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A gateway that has the agent, and a hub that is connected to it."""
    async with opened(tmp_path) as bench:
        bench.connect()
        await bench.until(connectivity="online")
        yield bench


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Office]:
    clock, at = FakeClock(), 1
    async with (
        open_store("sqlite://") as store,
        fake_gateway("office", agents=("notes",), clock=clock) as gateway,
    ):
        await store.write(users.ensure_user, OWNER, "owner", at)
        await store.write(
            gateways.reconcile_gateways,
            owner_id=OWNER,
            declared=[DeclaredGateway(name="office", user_name="owner")],
            at=at,
            fresh_ids=["gw-office", MAIN, "nobody"],
        )
        await store.write(
            gateway_agents.make_gateway_agent,
            gateway_id=GatewayId("gw-office"),
            user_id=OWNER,
            name="notes",
            remote_id="notes",
            fresh_id=NOTES,
            at=at,
            actor="anna",
        )
        bench = Office(store, gateway, folder, clock)
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.fleet.serve)
            await tasks.start(bench.monitor.serve)
            yield bench
            tasks.cancel_scope.cancel()


async def test_agents_of_a_connected_gateway_are_online_except_agents_not_yet_made(
    office: Office,
) -> None:
    state = await office.state()
    assert (state.connectivity, state.activity) == ("online", "idle")
    assert ((await office.state(MAIN)).connectivity, office.moves[-1].actor) == ("offline", "gateway:office")


async def test_message_queued_behind_a_turn_does_not_make_the_agent_idle(office: Office) -> None:
    office.gateway.hold(SESSION)
    await office.say()
    await office.until(activity="saturated")
    await office.say("and this", key="k-2")  # a final without a message comes at once
    office.gateway.release(SESSION)
    await office.until_told("activity", "saturated", "idle")


async def test_turn_running_at_hub_connect_makes_the_agent_saturated(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        bench.gateway.hold(SESSION)
        bench.gateway.chat.send(
            {"sessionKey": SESSION, "message": "hi", "idempotencyKey": "theirs", "deliver": False}
        )
        bench.connect()
        await bench.until(connectivity="online", activity="saturated")
        bench.gateway.release(SESSION)
        await bench.until(activity="idle")


async def test_agents_of_a_lost_gateway_are_offline_until_the_gateway_is_back(office: Office) -> None:
    office.gateway.hold(SESSION)
    await office.say()
    await office.until(activity="saturated")
    await office.gateway.stop(killed=True)
    assert (await office.state()).connectivity == "online"  # it may be back in a moment
    await office.clock.pass_time(GRACE_S)
    assert (await office.until(connectivity="offline")).activity == "idle"
    assert office.monitor.lost_since("office") is not None
    assert office.moves[-1].reason is not None
    assert office.moves[-1].reason.startswith("gateway office is away: ")
    await office.gateway.start()  # it takes the turn up again by itself
    await office.clock.pass_time(60.0)
    await office.until(connectivity="online", activity="saturated")
    assert office.monitor.lost_since("office") is None
    office.gateway.release(SESSION)
    await office.until(activity="idle")


async def test_brief_gateway_disconnect_does_not_take_agents_offline(office: Office) -> None:
    office.gateway.cut()
    with anyio.fail_after(WITHIN_S):
        while len(office.gateway.connects) < 2:
            await office.clock.pass_time(0.2)
            await anyio.wait_all_tasks_blocked()
    await office.fleet.get("office").ready(WITHIN_S)
    await office.say()
    await office.until_told("activity", "saturated", "idle")
    assert office.told("connectivity") == ["online"]


async def test_rate_limited_agent_is_exhausted_until_the_retry_of_the_gateway(office: Office) -> None:
    delay = {"phase": "retrying", "delayMs": 2748, "reason": "rate_limit", "attempt": 2}
    office.shows("agent", stream="run_status", data=delay)
    state = await office.until(availability="exhausted")
    assert (state.exhaust_reason, state.recovery_at) == ("rate_limit", epoch_ms(office.clock.now()) + 2748)
    await office.say()
    await office.until(availability="available", activity="idle")
    assert office.told("availability") == ["exhausted", "available"]


@pytest.mark.parametrize("is_failing", [False, True], ids=["server error", "failed turn"])
async def test_gateway_retry_or_failure_without_quota_reason_exhausts_no_agent(
    office: Office, is_failing: bool
) -> None:
    if is_failing:
        office.gateway.answer_with(lambda session, message: Fails())
    else:
        delay = {"phase": "retrying", "delayMs": 572, "reason": "server_error", "attempt": 2}
        office.shows("agent", stream="run_status", data=delay)
    await office.say()
    await office.until_told("activity", "saturated", "idle")
    assert office.told("availability") == []


async def test_billing_failure_exhausts_agents_of_the_gateway_for_ten_minutes(office: Office) -> None:
    office.gateway.add_agent("other")
    await office.store.write(
        gateway_agents.make_gateway_agent,
        gateway_id=GatewayId("gw-office"),
        user_id=OWNER,
        name="other",
        remote_id="other",
        fresh_id=AgentId("agent-other"),
        at=2,
        actor="anna",
    )
    office.monitor.recheck("office")
    await office.until(AgentId("agent-other"), connectivity="online")
    office.gateway.answer_with(lambda session, message: Fails(reason="billing"))
    await office.say()
    state = await office.until(availability="exhausted")
    probe_at = epoch_ms(office.clock.now()) + 600_000
    assert (state.exhaust_reason, state.recovery_at, state.probe_at) == ("billing", None, probe_at)
    # What a real gateway says next: no turn begins, and only words tell why.
    about = {"sessionKey": "agent:other:main", "agentId": "other", "runId": "k-after"}
    failed = {"phase": "error", "error": "Inline API key is temporarily disabled", "executionSettled": True}
    office.shows("agent", **about, stream="lifecycle", data=failed)
    other = await office.until(AgentId("agent-other"), availability="exhausted")
    assert other.exhaust_reason == "billing"


async def test_agent_removed_at_the_gateway_is_in_error_until_restored(office: Office) -> None:
    notes = office.gateway.agents.pop("notes")
    await looked(office, connectivity="offline", health="error")
    assert (await office.state()).health_reason == "gateway office has no agent notes"
    office.gateway.agents["notes"] = notes
    office.monitor.recheck("office")
    await office.until(connectivity="online", health="ok")


async def test_main_agent_missing_at_the_gateway_is_requested_again(office: Office) -> None:
    await office.store.write(set_state, MAIN, gateway_agents.READY)
    await looked(office, MAIN, connectivity="offline", health="error")
    with anyio.fail_after(WITHIN_S):
        await office.is_missing.wait()
    lost = await office.store.read(gateway_agents.find_gateway_agent, MAIN)
    assert lost is not None
    assert (lost.state, lost.problem) == (gateway_agents.REQUESTED, "gateway office has lost it")
    assert {row.agent_id for row in office.missing} == {MAIN}


async def looked(office: Office, agent_id: AgentId = NOTES, **axes: str) -> None:
    """It is looked for again and again, as answers come over a real wire."""
    with anyio.fail_after(WITHIN_S):
        while True:
            state = await office.state(agent_id)
            if all(getattr(state, axis) == value for axis, value in axes.items()):
                return
            office.clock.advance(MISSING_S)
            office.monitor.recheck("office")
            await anyio.sleep(0.02)


ABOUT = {"runId": "k-1", "sessionKey": "agent:main:main", "agentId": "main", "seq": 7}
SEEN = {"provider": "scripted", "model": "scripted", "providerRuntimeFailureKind": "rate_limit"}


def read(event: str, **payload: Any) -> Fact | None:
    return read_fact(GatewayEvent("office", event, ABOUT | payload))


def fact(turn: Turn, **more: Any) -> Fact:
    return Fact(remote_id="main", run_id="k-1", turn=turn, **more)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"phase": "start", "startedAt": 1_795_214_543_688}, fact("begun")),
        ({"phase": "model", "provider": "scripted", "model": "scripted"}, None),
        ({"phase": "finishing", "stopReason": "stop", "aborted": False, "livenessState": "working"}, None),
        ({"phase": "end", "aborted": False, "terminalReply": {"text": "fine"}}, fact("ended")),
        ({"phase": "error", "error": "aborted by user", "aborted": True}, fact("aborted")),
        ({"phase": "error", "error": "Inline API key is temporarily disabled"}, fact("failed")),
        (
            {"phase": "error", "aborted": False, "errorObservation": SEEN | {"failoverReason": "billing"}},
            fact("failed", cause=ExhaustReason.BILLING),
        ),
        (
            {"phase": "error", "errorObservation": SEEN | {"failoverReason": "server_error"}},
            fact("failed"),
        ),
        ("nothing", None),
    ],
)
def test_lifecycle_event_of_a_gateway_is_read_as_a_turn_fact(data: Any, wanted: Fact | None) -> None:
    assert read("agent", stream="lifecycle", data=data) == wanted


@pytest.mark.parametrize(
    ("reason", "delay", "cause", "delay_ms"),
    [
        ("rate_limit", 2748, ExhaustReason.RATE_LIMIT, 2748),
        ("billing", 600_000, ExhaustReason.BILLING, 600_000),
        ("server_error", 572, None, 572),
        ("rate_limit", "soon", ExhaustReason.RATE_LIMIT, None),
        ("rate_limit", -1, ExhaustReason.RATE_LIMIT, None),
        ("rate_limit", 10**12, ExhaustReason.RATE_LIMIT, None),
    ],
)
def test_retry_status_event_is_read_with_cause_and_delay(
    reason: str, delay: Any, cause: ExhaustReason | None, delay_ms: int | None
) -> None:
    data = {"phase": "retrying", "reason": reason, "delayMs": delay, "message": "rate limit"}
    wanted = fact("waits", cause=cause, delay_ms=delay_ms)
    assert read("agent", stream="run_status", data=data) == wanted


def test_final_chat_event_without_a_message_is_no_turn_fact() -> None:
    assert read("chat", state="final") is None
    assert read("chat", state="final", message={"role": "assistant"}) == fact("ended")


def test_chat_error_without_agent_id_is_assigned_by_the_session() -> None:
    poor = {name: value for name, value in ABOUT.items() if name != "agentId"}
    told = GatewayEvent("office", "chat", poor | {"state": "error", "errorMessage": "rate limit"})
    assert read_fact(told) == fact("failed")


@pytest.mark.parametrize(
    "event",
    [
        GatewayEvent("office", "tick", {"ts": 1}),
        GatewayEvent("office", "chat", None),
        GatewayEvent("office", "chat", ABOUT | {"state": "delta", "deltaText": "f"}),
        GatewayEvent("office", "chat", {"runId": "k", "sessionKey": "main", "state": "error"}),
        GatewayEvent("office", "chat", {"sessionKey": "agent:main:main", "state": "error"}),
        GatewayEvent("office", "agent", ABOUT | {"stream": "assistant", "data": {"text": "f"}}),
        GatewayEvent("office", "agent", ABOUT | {"stream": "run_status", "data": {"phase": "start"}}),
    ],
)
def test_gateway_event_unrelated_to_a_turn_is_ignored(event: GatewayEvent) -> None:
    assert read_fact(event) is None
