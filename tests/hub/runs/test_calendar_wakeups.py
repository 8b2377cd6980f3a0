"""An agent is woken for a slot of its calendar: its gates are open, and it answers before the slot ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from hub.base.metrics import Metrics
from hub.runs.wake_delivery import ANSWER_S, WAKEUPS_POLL_S, DroppedWake, WakeDelivery, fate_of
from protocol.errors import CallTimedOut, CodedError, ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.ids import AgentId, DeviceId, UserId
from protocol.tool_calls import Answer
from storage import audit
from storage.agents import agent_states, agents, declared_agents, exhaustion, state_moves
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from storage.schedules import fires, schedule_rows
from storage.schedules import wakes as stored_wakes
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schedules.wakes import WakeProjection, WakeRow
from storage.store import Store, open_store
from tests.support.clock import START, FakeClock
from tests.support.coded import coded
from tests.support.link import FakeLink, Replies
from tests.support.schedules import HOUR_S, Desk, Interrupted, hours

SLOT = DeclaredSchedule(
    kind="every",
    every_ms=HOUR_S * 1_000,
    action="wake",
    label="standup",
    duration_ms=600_000,
    catchup_window_ms=600_000,
)
YES = Answer(result={"woken": True})
NO = Answer(error=ErrorBody(code=ErrorCode.INTERNAL, message="not now", retryable=True))
NOBODY, NOWHERE = AgentId(""), DeviceId("")
SLEEPERS = 2  # the scheduler and the wakes, while nobody has anything to do


@dataclass
class Calendar:
    """A hub's scheduler and its wakes, one agent with a slot every hour, and its device."""

    desk: Desk
    links: dict[DeviceId, FakeLink] = field(default_factory=dict)
    agent_id: AgentId = NOBODY
    device_id: DeviceId = NOWHERE

    @property
    def clock(self) -> FakeClock:
        return self.desk.clock

    async def declare(self, prompt: str = "") -> None:
        store, at = self.desk.store, self.desk.at
        user = await store.write(users.ensure_user, UserId("u"), "owner", at)
        wanted = [
            DeclaredAgent(
                name="anna", device_name="desk", data_types=("tasks",), slots=(SLOT,), prompt=prompt
            )
        ]
        fresh = [self.desk.ids.fresh() for _ in range(declared_agents.IDS_PER_AGENT)]
        await store.write(
            declared_agents.reconcile_declared, user_id=user, declared=wanted, at=at, fresh_ids=fresh
        )
        (agent,) = await store.read(agents.list_agents)
        assert agent.device_id is not None
        self.agent_id, self.device_id = agent.id, agent.device_id

    async def connect(self, answers: Replies = (), *, can_wake: bool = True) -> FakeLink:
        link = FakeLink(str(self.device_id), capabilities=["agent.wake"] if can_wake else [], answers=answers)
        self.links[self.device_id] = link
        await self.move_connectivity(online=True)
        return link

    async def move_connectivity(self, *, online: bool) -> None:
        await self.desk.store.write(
            agent_states.connect_agents, [self.device_id], online=online, at=self.desk.at, actor="hub"
        )

    async def move(self, axis: str, to: str) -> None:
        await self.desk.store.write(
            state_moves.move, self.agent_id, axis, to, at=self.desk.at, actor="operator"
        )

    async def exhaust(self, *, back_in_s: float | None) -> None:
        at = self.desk.at
        back = None if back_in_s is None else at + round(back_in_s * 1_000)
        cause = "billing" if back is None else "rate_limit"
        await self.desk.store.write(
            exhaustion.exhaust, self.agent_id, cause=cause, recovery_at=back, at=at, actor="model"
        )

    @asynccontextmanager
    async def serving(self, store: Store | None = None) -> AsyncIterator[None]:
        """The services of one hub; leaving kills it. *store*: of its wakes, by default that of the desk."""
        service = WakeDelivery(
            store=store or self.desk.store,
            find_link=self.links.get,
            clock=self.clock,
            ids=self.desk.ids,
            metrics=self.desk.metrics,
        )
        scheduler = self.desk.scheduler()
        scheduler._on_wakes = service.recheck
        async with anyio.create_task_group() as tasks:
            await tasks.start(service.serve)
            await tasks.start(scheduler.serve)
            await self.settles()
            yield
            tasks.cancel_scope.cancel()

    async def pass_time(self, seconds: float) -> None:
        """So much time goes by at once, and what follows is done."""
        self.clock.advance(seconds)
        await self.settles()

    async def settles(self) -> None:
        """Everybody has done what was to be done, and sleeps."""
        await self.desk.comes_to(lambda: self.clock.sleeping >= SLEEPERS)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
            # Behind whatever was asked of the database before.
            await self.desk.store.read(stored_wakes.is_any_open)
        await self.desk.comes_to(lambda: self.clock.sleeping >= SLEEPERS)

    async def wakes(self) -> list[WakeRow]:
        return await self.desk.store.read(stored_wakes.wakes_of, self.agent_id, 100)

    async def outcome(self) -> tuple[str, str, str | None]:
        """The state of the newest wake, and what the row of its fire says."""
        (newest, *_) = await self.wakes()
        (row, *_) = await self.desk.store.read(fires.list_fires, self.agent_id, 1)
        assert row.fire_at == newest.fire_at
        return newest.state, row.decision, row.reason


@pytest.fixture
async def calendar() -> AsyncIterator[Calendar]:
    async with open_store("sqlite://") as store:
        made = Calendar(Desk(store))
        await made.declare()
        yield made


async def test_device_is_woken_at_slot_start_and_the_answer_acknowledges_the_wake(
    calendar: Calendar,
) -> None:
    link = await calendar.connect([YES])
    async with calendar.serving():
        await calendar.pass_time(HOUR_S - 1)
        assert link.calls == []
        await calendar.pass_time(1)
        (call,) = link.calls
        (wake,) = await calendar.wakes()
    assert (call.action, call.id, call.deadline_ms) == ("agent.wake", wake.id, ANSWER_S * 1_000)
    assert call.data == {
        "wake_id": wake.id,
        "agent_id": calendar.agent_id,
        "external_id": None,
        "label": "standup",
        "starts_at": hours(1),
        "ends_at": hours(1) + 600_000,
    }
    assert await calendar.outcome() == ("acknowledged", "woken", None)
    assert _count(calendar.desk.metrics, "woken") == 1


async def test_a_call_is_repeated_with_the_same_id_until_the_device_answers(
    calendar: Calendar,
) -> None:
    link = await calendar.connect([CallTimedOut("silent"), NO, YES])
    async with calendar.serving():
        await calendar.pass_time(HOUR_S)
        assert (len(link.calls), (await calendar.outcome())[0]) == (1, "sent")
        for _ in range(10):
            await calendar.pass_time(WAKEUPS_POLL_S)
        assert [call.id for call in link.calls] == [link.calls[0].id] * 3
    assert await calendar.outcome() == ("acknowledged", "woken", None)


async def test_wake_calls_to_a_silent_device_end_with_the_slot(calendar: Calendar) -> None:
    link = await calendar.connect(lambda _: _timed_out())
    async with calendar.serving():
        await calendar.pass_time(HOUR_S)
        for _ in range(20):
            await calendar.pass_time(30)
        told = len(link.calls)
        await calendar.pass_time(60)
        assert len(link.calls) == told
    assert 3 <= told <= 12, "with back-off"
    assert await calendar.outcome() == ("failed", "wake_failed", "no_answer")
    recorded = await calendar.desk.store.read(audit.list_activity)
    assert [entry.message for entry in recorded if entry.event_type == "agent.wake_failed"] == [
        "Not woken for standup"
    ]


def _timed_out() -> Answer:
    raise CallTimedOut("silent")


async def test_clock_set_back_while_due_wakes_are_read_drops_no_wake_ahead(calendar: Calendar) -> None:
    store, ahead = Interrupted(calendar.desk.store, stored_wakes.due_wakes), timedelta(seconds=900)

    async def set_back() -> None:
        calendar.clock.set_wall(calendar.clock.now() - ahead)

    async with calendar.serving(store):
        await calendar.pass_time(HOUR_S)
        calendar.clock.set_wall(calendar.clock.now() + ahead)  # beyond the slot's end
        store.before = set_back
        await calendar.pass_time(WAKEUPS_POLL_S)
        assert calendar.clock.now() == START + timedelta(seconds=HOUR_S + WAKEUPS_POLL_S)
        assert (await calendar.outcome())[0] == "waiting"
        await calendar.connect([YES])
        await calendar.pass_time(WAKEUPS_POLL_S)
    assert await calendar.outcome() == ("acknowledged", "woken", None)


async def test_an_agent_whose_quota_is_back_within_the_slot_is_woken_then(calendar: Calendar) -> None:
    link = await calendar.connect([YES])
    async with calendar.serving():
        await calendar.pass_time(HOUR_S - 1)
        await calendar.exhaust(back_in_s=301)
        await calendar.pass_time(1)
        assert await calendar.outcome() == ("deferred", "deferred", "exhausted")
        await calendar.pass_time(298)
        assert link.calls == []
        await calendar.move("availability", "available")
        await calendar.pass_time(WAKEUPS_POLL_S)
        assert len(link.calls) == 1
    assert (await calendar.outcome())[1] == "woken"


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        ("away", ("failed", "wake_failed", "device_offline")),
        ("unsupported", ("failed", "wake_failed", "unsupported")),
        ("paused", ("skipped", "skipped_paused", "agent_paused")),
        (None, ("skipped", "skipped_exhausted", "exhausted")),
        (601.0, ("skipped", "skipped_exhausted", "exhausted")),
    ],
    ids=[
        "away until the end",
        "cannot wake",
        "paused",
        "quota is back some day",
        "quota is back after the slot",
    ],
)
async def test_impossible_wake_within_the_slot_is_recorded_with_the_reason(
    calendar: Calendar, condition: str | float | None, outcome: tuple[str, str, str]
) -> None:
    link = None
    if condition != "away":
        link = await calendar.connect([YES], can_wake=condition != "unsupported")
    if condition == "paused":
        await calendar.move("lifecycle", "paused")
    async with calendar.serving():
        await calendar.pass_time(HOUR_S - 1)
        if not isinstance(condition, str):
            await calendar.exhaust(back_in_s=None if condition is None else condition + 1)
        await calendar.pass_time(1)
        await calendar.pass_time(601 if outcome[0] == "failed" else 0)
    assert (await calendar.outcome(), [] if link is None else link.calls) == (outcome, [])


@pytest.mark.parametrize(
    ("prompt", "late_s", "answers"),
    [
        ("", 300, [YES]),
        ("Find {{ nothing_that_there_is }}.", 0, [YES]),
        ("", 0, [LinkLost("cut", dispatched=True), YES]),
    ],
    ids=["the hub is back before the end", "unreadable prompt", "the connection breaks"],
)
async def test_agent_is_woken_within_the_slot_in_spite_of_a_fault(
    calendar: Calendar, prompt: str, late_s: int, answers: list[Any]
) -> None:
    await calendar.declare(prompt=prompt)
    link = await calendar.connect(list(answers))
    calendar.clock.advance(HOUR_S + late_s)
    async with calendar.serving():
        await calendar.pass_time(6)
    assert (len(link.calls), (await calendar.outcome())[1]) == (len(answers), "woken")


async def test_wake_call_of_a_killed_hub_is_repeated_with_the_same_id(
    calendar: Calendar,
) -> None:
    link = await calendar.connect()  # its answer is lost with the hub
    async with calendar.serving():
        await calendar.pass_time(HOUR_S)
        assert (await calendar.outcome())[0] == "sent"
    link.cut()
    again = await calendar.connect([YES])
    async with calendar.serving():
        await calendar.settles()
    assert [call.id for call in again.calls] == [call.id for call in link.calls]
    assert (await calendar.wakes())[0].sends == 2
    assert await calendar.outcome() == ("acknowledged", "woken", None)


async def test_slot_ended_during_a_hub_downtime_is_reported_as_missed(
    calendar: Calendar,
) -> None:
    link = await calendar.connect([YES])
    calendar.clock.advance(HOUR_S + 700)
    async with calendar.serving():
        pass
    (row,) = await calendar.desk.store.read(fires.list_fires, calendar.agent_id, 10)
    assert (row.decision, row.reason, await calendar.wakes()) == ("skipped_window", "window", [])
    assert link.calls == []


async def test_backfill_of_a_calendar_slot_is_refused(calendar: Calendar) -> None:
    async with calendar.serving():
        await calendar.pass_time(HOUR_S)
    (slot,) = await calendar.desk.store.read(schedule_rows.slots_of, calendar.agent_id)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_PARAMS), match="it makes no runs to make up for"
    ):
        await calendar.desk.current.backfill(slot.id, hours(0), hours(1), actor="somebody")


SIGHT = WakeProjection(
    id="w",
    schedule_id="s",
    agent_id=AgentId("a"),
    external_id=None,
    label="standup",
    fire_at=1_000,
    ends_at=61_000,
    state="waiting",
    reason=None,
    sends=0,
    next_at=1_000,
    sent_at=None,
    settled_at=None,
    user_id=UserId("u"),
    device_id=DeviceId("d"),
    lifecycle="active",
    availability="available",
    connectivity="online",
    runs_waiting=0,
    runs_executing=0,
    recovery_at=None,
    is_removed=False,
)


@pytest.mark.parametrize(
    ("change", "at", "fate"),
    [
        ({}, 1_000, 1_000),
        ({"availability": "on_call"}, 1_000, 1_000),
        ({"is_removed": True}, 1_000, DroppedWake("skipped", "skipped_paused", "slot_removed")),
        ({"lifecycle": "maintenance"}, 1_000, DroppedWake("skipped", "skipped_paused", "agent_paused")),
        ({"lifecycle": "terminated"}, 1_000, DroppedWake("skipped", "skipped_paused", "agent_paused")),
        ({"availability": "exhausted", "recovery_at": 30_000}, 1_000, 30_000),
        ({"availability": "exhausted", "recovery_at": 30_000}, 40_000, 42_000),
        (
            {"availability": "exhausted", "recovery_at": 61_000},
            1_000,
            DroppedWake("skipped", "skipped_exhausted", "exhausted"),
        ),
        ({"availability": "exhausted"}, 1_000, DroppedWake("skipped", "skipped_exhausted", "exhausted")),
        ({"connectivity": "offline"}, 61_000, DroppedWake("failed", "wake_failed", "device_offline")),
        ({"runs_executing": 1}, 61_000, DroppedWake("failed", "wake_failed", "busy")),
        ({"sends": 2, "reason": "refused"}, 61_000, DroppedWake("failed", "wake_failed", "refused")),
        ({"sends": 1}, 61_000, DroppedWake("failed", "wake_failed", "no_answer")),
        ({}, 61_000, DroppedWake("failed", "wake_failed", "hub_down")),
    ],
    ids=str,
)
def test_fate_of_a_wake_follows_from_the_gates_and_the_time(
    change: dict[str, object], at: int, fate: DroppedWake | int
) -> None:
    assert fate_of(msgspec.structs.replace(SIGHT, **change), at) == fate


def _count(metrics: Metrics, decision: str) -> float:
    return float(metrics.wakes.labels(decision)._value.get())
