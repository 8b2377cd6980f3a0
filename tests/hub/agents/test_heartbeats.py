"""Heartbeats over a real store: what is news is written, at once and for all; the rest costs nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import pytest
import sqlalchemy as sa

from hub.agents.heartbeats import (
    BEATS_AT_ONCE,
    MAX_RECOVERY_MS,
    NO_REASON,
    SAVE_MS,
    SILENT_S,
    USAGE_MS,
    Heartbeats,
    read_beat,
)
from hub.agents.status_moves import AgentMoveListeners
from hub.base.clock import epoch_ms
from hub.base.metrics import Metrics
from hub.links.roster import AgentsSilent, DeviceLost, DeviceReady, HeartbeatReceived
from protocol.agent_status import Availability, Axis, ExhaustReason
from protocol.coordination import AgentBeat, Heartbeat
from protocol.errors import CodedError, ErrorCode
from protocol.handshake import DeviceHello
from protocol.ids import AgentId, DeviceId
from storage.agents import agent_states, agents, declared_agents, exhaustion, state_history, state_moves
from storage.agents.agent_states import AgentState
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.heartbeat_states import AgentReport, Reports
from storage.kernel.database import Conflict, DatabaseUnavailable
from storage.store import ObservedDatabase, Store
from tests.support import stored
from tests.support.clock import FakeClock
from tests.support.coded import coded
from tests.support.families import each
from tests.support.link import FakeLink
from tests.support.presence import BOOT, open_session

P = ParamSpec("P")
T = TypeVar("T")
METRIC = "hub_agent_heartbeats_total"


class Counted:
    """A store that counts what is asked of it, and may be away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = self.writes = 0
        self.is_away = False
        self.refused: AgentId | None = None  # whatever is written with this agent in it

    is_shared = False

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self.reads += 1
        return await self._store.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self.is_away:
            raise DatabaseUnavailable("the database is away")
        self.writes += 1
        heard: Sequence[Reports] = kwargs.get("received", ())  # type: ignore[assignment]
        if any(report.agent_id == self.refused for one in heard for report in one.reports):
            raise Conflict("the database refused")
        return await self._store.write(fn, *args, **kwargs)


class Desk:
    """The agent's device, connected for real as far as the rows know."""

    def __init__(self, store: Store, agent: AgentRow, epoch: int) -> None:
        assert agent.device_id is not None
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.rows = store
        self.agent = agent
        self.counted = Counted(store)
        self.link = FakeLink(agent.device_id, epoch=epoch)
        self.heartbeats = Heartbeats(self.counted, clock=self.clock, metrics=self.metrics)
        self.moves = AgentMoveListeners()
        self.moves.listen(self.heartbeats.agent_moved)

    def beat(self, status: str, *, link: FakeLink | None = None, agent: AgentRow | None = None) -> Any:
        """Return a heartbeat with one agent in it."""
        listed = AgentBeat(agent_id=(agent or self.agent).id, status=status)
        return HeartbeatReceived(link or self.link, Heartbeat(agents=[listed]))

    @property
    def device_id(self) -> DeviceId:
        return self.link.device_id

    @property
    def now_ms(self) -> int:
        return epoch_ms(self.clock.now())

    async def beats(self, status: str = "idle", *, agent_id: str | None = None, **told: Any) -> None:
        """A heartbeat with one agent in it, fifteen seconds after the last."""
        self.clock.advance(15)
        listed = AgentBeat(agent_id=agent_id or self.agent.id, status=status, **told)
        await self.happens(HeartbeatReceived(self.link, Heartbeat(agents=[listed])))

    async def happens(self, event: Any) -> None:
        self.heartbeats.receive(event)
        await self.settled()

    async def settled(self) -> None:
        with anyio.fail_after(10):
            while len(self.heartbeats):
                await anyio.lowlevel.checkpoint()

    async def brings_more_devices(self, count: int) -> list[AgentRow]:
        """So many devices more that are connected, each with an agent."""
        names = [f"desk-{n}" for n in range(count)]
        declared = [DeclaredAgent(name=name, device_name=name, paths=("notes",)) for name in names]
        ids = [f"id-{n}" for n in range(4 * (count + 1))]
        await self.rows.write(
            declared_agents.reconcile_declared,
            user_id=self.agent.user_id,
            declared=[DeclaredAgent(name="notes", device_name="desk", paths=("notes",)), *declared],
            at=1,
            fresh_ids=ids,
        )
        made = [row for row in await self.rows.read(agents.list_agents) if row.name in names]
        for row in made:
            assert row.device_id is not None
            await self.rows.write(open_session, row.device_id, boot_id=BOOT, platform=None, at=1)
        return made

    async def recovers(self, *, at: int) -> None:
        """Its quota is back at *at*, and everybody hears of it."""
        store = ObservedDatabase(self.rows, self.moves.publish)
        assert await store.write(exhaustion.recover_due, at, actor="hub") == [self.agent.id]

    async def stands(self) -> AgentState:
        return await self.rows.read(agent_states.find_state, self.agent.id)

    def counted_as(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value(METRIC, {"outcome": outcome}) or 0.0


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(desk.heartbeats.serve)
        yield
        tasks.cancel_scope.cancel()


@pytest.fixture
async def desk(store: Store, agent: AgentRow) -> AsyncIterator[Desk]:
    assert agent.device_id is not None
    epoch = await store.write(open_session, agent.device_id, boot_id=BOOT, platform=None, at=1)
    made = Desk(store, agent, epoch)
    made.heartbeats.receive(DeviceReady(made.link, DeviceHello()))
    async with serving(made):
        yield made


async def test_an_unchanged_heartbeat_reads_and_writes_nothing(desk: Desk) -> None:
    await desk.beats()
    await desk.beats()
    desk.counted.reads = desk.counted.writes = 0
    for _ in range(20):
        await desk.beats()
    assert (desk.counted.reads, desk.counted.writes) == (0, 0)
    assert (desk.heartbeats.last(desk.device_id), desk.counted_as("unchanged")) == (desk.now_ms, 22)


async def test_a_changed_status_is_written_once(desk: Desk) -> None:
    await desk.beats()
    before = desk.counted.writes
    for _ in range(3):
        await desk.beats("on_call")
    stands = await desk.stands()
    assert (stands.availability, desk.counted.writes - before) == ("on_call", 1)
    assert stands.last_heartbeat_at == desk.now_ms - 30_000


async def test_a_status_set_by_a_person_stays_until_the_device_reports_another(desk: Desk) -> None:
    await desk.beats("on_call")
    await desk.rows.write(
        state_moves.move, desk.agent.id, "availability", "available", at=desk.now_ms, actor="anna"
    )
    await desk.beats("on_call")
    assert (await desk.stands()).availability == "available"
    await desk.beats("idle")
    await desk.beats("on_call")
    assert (await desk.stands()).availability == "on_call"


async def test_device_still_reporting_exhaustion_after_recovery_exhausts_the_agent_again(desk: Desk) -> None:
    await desk.beats("exhausted")
    first = await desk.stands()
    assert first.recovery_at == desk.now_ms + 60_000
    assert first.recovery_at is not None
    await desk.recovers(at=first.recovery_at)
    desk.clock.advance(60)
    await desk.beats("exhausted")
    second = await desk.stands()
    assert second.availability == "exhausted"
    assert second.recovery_at == desk.now_ms + 120_000  # the second time in a row


async def test_on_call_agent_is_on_call_again_after_an_exhaustion(desk: Desk) -> None:
    await desk.beats("on_call")
    await desk.rows.write(
        exhaustion.exhaust,
        desk.agent.id,
        cause="rate_limit",
        retry_after_ms=None,
        at=desk.now_ms,
        actor="hub",
    )
    await desk.beats("on_call")
    assert (await desk.stands()).availability == "exhausted"
    await desk.recovers(at=desk.now_ms + 60_000)
    await desk.beats("on_call")
    assert (await desk.stands()).availability == "on_call"


async def test_agents_of_a_silent_device_are_offline_until_the_next_heartbeat(desk: Desk) -> None:
    await desk.beats()
    heard_at = desk.now_ms
    desk.clock.advance(45)
    await desk.happens(AgentsSilent(desk.link))
    silent = await desk.stands()
    assert (silent.connectivity, silent.last_heartbeat_at) == ("offline", heard_at)
    desk.clock.advance(15)
    await desk.happens(HeartbeatReceived(desk.link, Heartbeat()))
    assert (await desk.stands()).connectivity == "online"


async def test_heartbeat_together_with_silence_leaves_the_agent_online(desk: Desk) -> None:
    desk.heartbeats.receive(AgentsSilent(desk.link))
    await desk.beats()
    history = await desk.rows.read(stored.agent_history, desk.agent.id)
    assert [move.new_value for move in history if move.axis == "connectivity"] == ["online"]


async def test_status_reported_just_before_device_loss_is_written(desk: Desk) -> None:
    desk.clock.advance(15)
    desk.heartbeats.receive(desk.beat("exhausted"))
    await desk.happens(DeviceLost(desk.device_id, desk.link.epoch, "closed"))
    stands = await desk.stands()
    assert (stands.availability, stands.last_heartbeat_at) == ("exhausted", desk.now_ms)
    assert desk.heartbeats.last(desk.device_id) is None


async def test_last_heartbeat_time_is_written_every_ten_minutes(desk: Desk) -> None:
    for _ in range(SAVE_MS // 15_000):
        await desk.beats()
    assert ((await desk.stands()).last_heartbeat_at, desk.counted.writes) == (desk.now_ms, 1)


async def test_changed_resource_usage_is_not_written_with_every_heartbeat(desk: Desk) -> None:
    for n in range(1 + USAGE_MS // 15_000):
        await desk.beats(resource_usage={"cpu": n})
    assert desk.counted.writes == 2
    assert (await desk.stands()).resource_usage == {"cpu": USAGE_MS // 15_000}


async def test_heartbeats_of_foreign_agents_are_counted_with_a_single_database_read(desk: Desk) -> None:
    await desk.beats()
    desk.counted.reads = 0
    for _ in range(5):
        await desk.beats("exhausted", agent_id="somebody-elses")
    assert (desk.counted.reads, desk.counted.writes, desk.counted_as("unknown_agent")) == (1, 0, 5)


async def test_too_large_resource_usage_is_dropped_and_counted(desk: Desk) -> None:
    desk.heartbeats.usage_bytes = 50
    await desk.beats(resource_usage={"note": "x" * 50})
    assert desk.metrics.reached()["resource_usage_bytes"] == 1
    assert (await desk.stands()).resource_usage == {}


async def test_status_reported_during_a_database_outage_is_written_afterwards(desk: Desk) -> None:
    desk.counted.is_away = True
    desk.heartbeats.receive(desk.beat("exhausted"))
    with anyio.fail_after(10):
        while not desk.clock.sleeping:
            await anyio.lowlevel.checkpoint()
    desk.counted.is_away = False
    desk.clock.advance(1)
    await desk.settled()
    assert (await desk.stands()).availability == "exhausted"


async def test_last_reported_status_is_written_when_the_hub_stops(store: Store, agent: AgentRow) -> None:
    assert agent.device_id is not None
    epoch = await store.write(open_session, agent.device_id, boot_id=BOOT, platform=None, at=1)
    desk = Desk(store, agent, epoch)
    async with serving(desk):
        desk.heartbeats.receive(desk.beat("exhausted"))
    assert (await desk.stands()).availability == "exhausted"


async def test_newer_of_two_queued_heartbeats_is_written(desk: Desk) -> None:
    for status in ("exhausted", "on_call"):
        desk.heartbeats.receive(desk.beat(status))
    await desk.settled()
    assert ((await desk.stands()).availability, desk.counted_as("overtaken")) == ("on_call", 1)


async def test_refused_heartbeat_of_a_device_does_not_lose_heartbeats_of_other_devices(
    desk: Desk, store: Store
) -> None:
    agents_there = await desk.brings_more_devices(3)
    desk.counted.refused = agents_there[1].id
    desk.counted.writes = 0

    for there in agents_there:
        assert there.device_id is not None
        desk.heartbeats.receive(desk.beat("exhausted", link=FakeLink(there.device_id), agent=there))
    await desk.settled()

    stand = [await store.read(agent_states.find_state, there.id) for there in agents_there]
    assert [one.availability for one in stand] == ["exhausted", "available", "exhausted"]
    assert desk.counted.writes == 1 + len(agents_there)  # together, and then each alone


async def test_heartbeat_of_a_replaced_connection_is_ignored(desk: Desk) -> None:
    older = desk.link
    epoch = await desk.rows.write(open_session, desk.device_id, boot_id=BOOT, platform=None, at=2)
    desk.link = FakeLink(desk.device_id, epoch=epoch)
    await desk.beats()
    desk.heartbeats.receive(DeviceLost(desk.device_id, older.epoch, "replaced"))
    await desk.happens(desk.beat("offline", link=older))
    assert (await desk.stands()).connectivity == "online"
    assert desk.heartbeats.last(desk.device_id) is not None


async def test_too_frequent_heartbeats_of_a_device_are_dropped_and_counted(desk: Desk) -> None:
    for n in range(3 * BEATS_AT_ONCE):
        await desk.happens(desk.beat("on_call" if n % 2 else "idle"))
    assert desk.counted.writes <= BEATS_AT_ONCE
    assert desk.counted_as("too_often") == 2 * BEATS_AT_ONCE
    await desk.beats("idle")
    writes = desk.counted.writes
    await desk.beats("on_call")
    assert (desk.counted.writes, desk.heartbeats.last(desk.device_id)) == (writes + 1, desk.now_ms)


async def _planner(desk: Desk) -> AgentId:
    """Return an agent without a device."""
    ids = [f"planner-{n}" for n in range(8)]
    declared = [
        DeclaredAgent(name="notes", device_name="desk", paths=("notes",)),
        DeclaredAgent(name="planner"),
    ]
    user_id = desk.agent.user_id
    await desk.rows.write(
        declared_agents.reconcile_declared, user_id=user_id, declared=declared, at=1, fresh_ids=ids
    )
    found = await desk.rows.read(agents.find_agent_by_name, "planner")
    assert found is not None
    return found.id


async def _connectivity(desk: Desk, agent_id: AgentId) -> list[str]:
    """Return the values that the connectivity of the agent has had, the oldest first."""
    moves = await desk.rows.read(state_history.history_page, agent_id, limit=100, axis=Axis.CONNECTIVITY)
    return [move.new_value for move in reversed(moves)]


async def _sends(desk: Desk, agent_id: AgentId, status: str = "idle", **told: Any) -> None:
    desk.clock.advance(15)
    await desk.heartbeats.accept(agent_id, AgentBeat(agent_id=agent_id, status=status, **told))


async def test_agent_without_a_device_is_offline_after_missing_heartbeats(desk: Desk) -> None:
    planner = await _planner(desk)
    for _ in range(4):
        await _sends(desk, planner)
    assert (await desk.rows.read(agent_states.find_state, planner)).connectivity == "online"
    await desk.clock.pass_time(SILENT_S)
    await desk.settled()
    state = await desk.rows.read(agent_states.find_state, planner)
    assert (state.connectivity, state.last_heartbeat_at) == ("offline", desk.now_ms - 45_000)
    await desk.clock.pass_time(SILENT_S)
    await _sends(desk, planner)
    assert (await _connectivity(desk, planner))[-3:] == ["online", "offline", "online"]


async def test_the_heartbeats_of_a_healthy_agent_are_written_twice_a_minute(desk: Desk) -> None:
    planner = await _planner(desk)
    await _sends(desk, planner)
    history = await desk.rows.read(state_history.history_page, planner, limit=100)
    desk.counted.writes = 0
    for _ in range(40):
        await _sends(desk, planner, resource_usage={"cpu": 1})
    assert desk.counted.writes <= 21
    assert await desk.rows.read(state_history.history_page, planner, limit=100) == history
    assert desk.heartbeats.last(planner) == desk.now_ms


async def test_agent_with_an_outdated_heartbeat_is_offline_once_after_a_restart(
    desk: Desk, store: Store
) -> None:
    planner, spare = await _planner(desk), Desk(store, desk.agent, 1)
    async with serving(spare):
        await _sends(spare, planner)
    again = Desk(store, desk.agent, 1)
    again.clock = again.heartbeats._clock = spare.clock
    async with serving(again):
        await again.clock.pass_time(44)
        assert (await _connectivity(desk, planner))[-1:] == ["online"]
    spare.clock.advance(1)
    for _ in range(2):
        last = Desk(store, desk.agent, 1)
        last.clock = last.heartbeats._clock = spare.clock
        async with serving(last):
            await last.clock.pass_time(1)
            await last.settled()
            assert (await _connectivity(desk, planner))[-2:] == ["online", "offline"]


async def test_agent_with_heartbeats_at_another_hub_is_not_offline(desk: Desk, store: Store) -> None:
    planner, other = await _planner(desk), Desk(store, desk.agent, 1)
    other.clock = other.heartbeats._clock = desk.clock
    async with serving(other):
        await _sends(desk, planner)
        for _ in range(4):
            await _sends(other, planner)
        await desk.settled()
        assert (await _connectivity(desk, planner))[-1] == "online"


async def test_busy_status_of_an_agent_without_a_device_counts_as_an_executing_run(desk: Desk) -> None:
    planner = await _planner(desk)
    for status, turns in (("busy", 1), ("busy", 1), ("idle", 0), ("processing", 1)):
        await _sends(desk, planner, status)
        assert (await desk.rows.read(agent_states.find_state, planner)).runs_executing == turns
    await desk.clock.pass_time(SILENT_S)
    await desk.settled()
    assert (await desk.rows.read(agent_states.find_state, planner)).runs_executing == 0


async def test_agent_sending_heartbeats_too_often_is_refused_and_known_to_be_online(desk: Desk) -> None:
    planner = await _planner(desk)
    for _ in range(30):
        await desk.heartbeats.accept(planner, AgentBeat(agent_id=planner))
    with pytest.raises(
        CodedError, check=coded(ErrorCode.RATE_LIMITED), match="one every 15 s is enough"
    ) as refused:
        await desk.heartbeats.accept(planner, AgentBeat(agent_id=planner, status="offline"))
    assert refused.value.retry_after_s == 1.0
    assert (await desk.rows.read(agent_states.find_state, planner)).connectivity == "online"


AT = 1_800_000_000_000
MINUTE = 60_000


def read(status: str = "idle", *, usage_bytes: int = 100, **told: Any) -> tuple[AgentReport, list[str]]:
    beat = AgentBeat(agent_id="a", status=status, **told)
    report, doubts = read_beat(beat, AT, usage_bytes=usage_bytes)
    return report, [doubt.what for doubt in doubts]


@each(
    ("status", "availability"),
    [
        ("idle", Availability.AVAILABLE),
        ("on_call", Availability.ON_CALL),
        ("EXHAUSTED", Availability.EXHAUSTED),
        ("busy", None),
        ("processing", None),
        ("waiting", None),
    ],
)
def test_heartbeat_status_is_read_as_the_agent_availability(
    status: str, availability: Availability | None
) -> None:
    report, doubts = read(status)
    assert (report.availability, report.is_online, report.error, doubts) == (availability, True, None, [])


def test_agent_reported_offline_by_the_device_is_offline() -> None:
    report, _ = read("offline")
    assert (report.is_online, report.availability) == (False, None)


@each(
    ("status", "detail", "error"),
    [
        ("idle", None, None),
        ("idle", "READY", None),
        ("idle", "ERROR", NO_REASON),
        ("busy", "error: the disk is full ", "the disk is full"),
        ("error", None, NO_REASON),
        ("error", "the disk is full", "the disk is full"),
        ("idle", "ERROR: " + "x" * 600, "x" * 500),
        ("idle", "ERROR: broken\0pipe", "broken pipe"),
    ],
)
def test_error_status_of_a_heartbeat_is_read_with_the_reason(
    status: str, detail: str | None, error: str | None
) -> None:
    assert read(status, state_detail=detail)[0].error == error


@pytest.mark.parametrize(
    ("told", "recovery_at", "availability"),
    [
        (None, None, Availability.EXHAUSTED),
        (AT + MINUTE, AT + MINUTE, Availability.EXHAUSTED),
        (AT, None, None),
        (2**53 - 1, AT + MAX_RECOVERY_MS, Availability.EXHAUSTED),
    ],
    ids=["untold", "told", "over", "never"],
)
def test_exhaustion_ends_at_the_reported_time_within_a_month(
    told: int | None, recovery_at: int | None, availability: Availability | None
) -> None:
    report, _ = read("exhausted", exhaust_reason="billing", recovery_at_ms=told)
    assert (report.availability, report.recovery_at) == (availability, recovery_at)
    assert report.exhaust_reason is ExhaustReason.BILLING


@pytest.mark.parametrize(
    ("status", "told", "doubt"),
    [
        ("dreaming", {}, "unknown_status"),
        ("exhausted", {"exhaust_reason": "budget"}, "unknown_reason"),
        ("idle", {"resource_usage": {"note": "x" * 100}}, "usage_too_large"),
        ("idle", {"resource_usage": {"note": "\0"}}, "usage_unreadable"),
    ],
    ids=["status", "reason", "usage", "null"],
)
def test_invalid_heartbeat_field_is_ignored_and_reported(
    status: str, told: dict[str, Any], doubt: str
) -> None:
    report, doubts = read(status, **told)
    assert (doubts, report.usage, report.is_online) == ([doubt], None, True)
