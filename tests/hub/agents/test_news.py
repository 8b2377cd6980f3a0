"""What happens to agents and runs comes to the devices that asked to hear of it."""

import anyio
import pytest
import sqlalchemy as sa

from hub.agents.reconciliation import reconcile
from hub.app.device_news import AgentEventDelivery
from hub.base.clock import IdFactory, epoch_ms
from hub.base.log import Ring
from protocol.coordination import Event, EventName
from protocol.frame import Values
from protocol.ids import BoardId, RunId, UserId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards
from storage.devices import devices, users
from storage.runs import run_moves
from storage.schema import metadata
from storage.store import Store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.hearing import Hearers, HearingLink
from tests.support.services import running

AT = epoch_ms(START)
SETTLED_AFTER = 5  # questions to the database, which answers in turn


class House:
    """An agent on a laptop, another on a phone, and a log that tells of them."""

    def __init__(self, store: Store, *, entries: int = 100) -> None:
        self.store = store
        self.clock = FakeClock()
        self.hearers = Hearers(self.clock)
        self.ring = Ring(entries)
        self.news = AgentEventDelivery(store, ring=self.ring, events=self.hearers.events, clock=self.clock)

    async def open(self) -> None:
        owner = await self.store.write(users.ensure_user, UserId("me"), "owner", AT)
        declared = [
            DeclaredAgent(name="notes", device_name="laptop", paths=("notes",)),
            DeclaredAgent(name="away", device_name="phone", paths=("notes",)),
        ]
        ids = IdFactory(self.clock, SeededChance())
        await reconcile(self.store, declared, user_id=owner, clock=self.clock, ids=ids)

    async def agent(self, name: str = "notes") -> AgentRow:
        row = await self.store.read(agents.find_agent_by_name, name)
        assert row is not None
        return row

    async def connect(self, name: str, *events: str) -> HearingLink:
        rows = await self.store.read(devices.list_devices)
        link = self.hearers.enter(next(row.id for row in rows if row.name == name))
        self.hearers.events.subscribe(link, events)
        return link

    def log(self, event: str, **fields: object) -> None:
        self.ring.append(at=AT, level="info", event=event, channel="hub.test", fields=dict(fields))

    async def heard(self, link: HearingLink) -> list[Event]:
        for _ in range(SETTLED_AFTER):
            await self.store.read(lambda c: None)
            await anyio.wait_all_tasks_blocked()
        return link.heard


@pytest.fixture
async def house(store: Store) -> House:
    house = House(store)
    await house.open()
    return house


async def test_agent_moved_event_is_sent_only_to_the_device_of_the_agent(house: House) -> None:
    laptop = await house.connect("laptop", "agent.moved")
    phone = await house.connect("phone", "agent.moved")
    agent = await house.agent()
    async with running(house.hearers.events, house.news):
        moved = {"agent_id": agent.id, "axis": "health", "before": "ok", "after": "error", "actor": "hub"}
        house.log("agent.moved", **moved, traceback="no", trace_id="no")
        house.log("device.replaced", device_id=laptop.device_id)
        assert await house.heard(laptop) == [
            Event(event=EventName.AGENT_MOVED, seq=1, data={**moved, "at_ms": AT})
        ]
        assert await house.heard(phone) == []


async def test_run_moved_event_includes_the_agent_id(house: House, store: Store) -> None:
    laptop = await house.connect("laptop", "run.*")
    agent = await house.agent()
    run = await store.write(
        run_moves.create_run, id=RunId("r-1"), agent=agent, fire_key="k", at=AT, config_fingerprint="f"
    )
    async with running(house.hearers.events, house.news):
        house.log("run.moved", run_id=run.id, state="RUNNING")
        house.log("run.moved", run_id="gone", state="RUNNING")
        (event,) = await house.heard(laptop)
    assert event.data == {"run_id": "r-1", "agent_id": agent.id, "state": "RUNNING", "at_ms": AT}


async def test_board_event_is_sent_to_every_subscribed_device_of_the_user(house: House, store: Store) -> None:
    board = await store.write(
        boards.create_board, id=BoardId("b-1"), user_id=UserId("me"), name="roses", at=AT, actor="hub"
    )
    laptop, phone = await house.connect("laptop", "memory.added"), await house.connect("phone", "*")
    deaf = house.hearers.enter("deaf")
    strange = house.hearers.enter("strange", user_id="eve")
    house.hearers.events.subscribe(strange, ["*"])
    async with running(house.hearers.events, house.news):
        house.log("memory.added", board_id=board.id, memory_id="m-1", agent_id=None)
        house.log("memory.added", board_id="gone", memory_id="m-2", agent_id=None)
        told: Values = {"board_id": "b-1", "memory_id": "m-1", "agent_id": None, "at_ms": AT}
        for link in (laptop, phone):
            assert await house.heard(link) == [Event(event=EventName.MEMORY_ADDED, seq=1, data=told)]
        assert await house.heard(deaf) == await house.heard(strange) == []


async def test_question_moved_event_is_sent_to_every_device_of_the_user(house: House, store: Store) -> None:
    at = {"created_at": AT, "expires_at": AT + 1}
    row = {"id": "q", "user_id": "me", "actor": "hub", "content": "?", "trace_id": "t", "state": "open"}
    await store.write(lambda c: c.execute(sa.insert(metadata.tables["questions"]), row | at))
    links = [await house.connect(name, "question.moved") for name in ("laptop", "phone")]
    async with running(house.hearers.events, house.news):
        house.log("question.moved", question_id="q", state="answered", agent_id=None)
        for link in links:
            (told,) = await house.heard(link)
            assert (told.event, told.data["question_id"], told.data["state"]) == (
                EventName.QUESTION_MOVED,
                "q",
                "answered",
            )


async def test_suppressed_log_entries_are_a_gap_in_event_numbers(house: House) -> None:
    laptop = await house.connect("laptop", "*")
    agent = await house.agent()
    async with running(house.hearers.events, house.news):
        house.log("agent.moved", agent_id=agent.id)
        house.log("log.suppressed", of="agent.moved", count=12)
        house.log("log.suppressed", of="device.replaced", count=12)
        house.log("agent.moved", agent_id=agent.id)
        assert [event.seq for event in await house.heard(laptop)] == [1, 3]


async def test_entries_dropped_from_the_log_are_a_gap_in_event_numbers(store: Store) -> None:
    house = House(store, entries=4)
    await house.open()
    laptop = await house.connect("laptop", "run.moved", "agent.moved")
    agent = await house.agent()
    async with running(house.hearers.events, house.news):
        for _ in range(9):
            house.log("agent.moved", agent_id=agent.id)
        assert [event.seq for event in await house.heard(laptop)] == [3, 4, 5, 6]


async def test_database_failure_is_a_gap_in_event_numbers_and_events_continue(house: House) -> None:
    class Broken:
        is_broken = True

        async def read(self, *args: object, **kwargs: object) -> object:
            if self.is_broken:
                raise OSError("the disk is away")
            return await house.store.read(*args, **kwargs)  # type: ignore[arg-type]

    broken = Broken()
    house.news._store = broken  # type: ignore[assignment]
    laptop = await house.connect("laptop", "agent.moved")
    agent = await house.agent()
    async with running(house.hearers.events, house.news):
        house.log("agent.moved", agent_id=agent.id)
        assert await house.heard(laptop) == []
        broken.is_broken = False
        await house.clock.pass_time(5)
        house.log("agent.moved", agent_id=agent.id)
        assert [event.seq for event in await house.heard(laptop)] == [2]
