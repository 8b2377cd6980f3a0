"""The configuration of an agent comes to its device: all when it connects, one whenever it changes."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest

from hub.agents.config_delivery import POLL_S, RETRY_S, ConfigDelivery
from hub.agents.config_writing import ConfigWriter
from hub.agents.reconciliation import reconcile
from hub.agents.writing import AgentWriter
from hub.base.clock import IdFactory, epoch_ms
from hub.links.device_events import UNSENT_BYTES
from protocol.agent_types import AgentType
from protocol.coordination import EventName
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import DeviceId, UserId
from storage import audit
from storage.agents import agents, config_changes, configs
from storage.agents.agents import AgentRow
from storage.agents.config_changes import ConfigLimits, NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.templates import WrittenTemplate
from storage.devices import devices, users
from storage.store import Store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.coded import coded
from tests.support.hearing import Hearers, HearingLink
from tests.support.services import running

CAPABLE = ["agent.config"]
SETTLED_AFTER = 20  # questions to the database, each behind one of the delivery's


class House:
    """Two agents of a laptop and one of a phone, and what brings their configs there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.hearers = Hearers(self.clock)
        events = self.hearers.events
        self.delivery = ConfigDelivery(store, roster=self.hearers.roster, events=events, clock=self.clock)
        self.configs = ConfigWriter(
            store, clock=self.clock, metrics=self.hearers.metrics, on_change=self.delivery.changed
        )
        self.ids = IdFactory(self.clock, SeededChance())
        self.writer = AgentWriter(
            store,
            clock=self.clock,
            ids=self.ids,
            metrics=self.hearers.metrics,
            on_change=self.delivery.recheck,
        )

    async def declare(self, **more: Any) -> None:
        """The agents, with *more* said of ``notes``."""
        owner = await self.store.write(users.ensure_user, UserId("me"), "owner", epoch_ms(START))
        declared = [
            DeclaredAgent(name="inbox", device_name="laptop", paths=("mail",)),
            DeclaredAgent(name="notes", device_name="laptop", paths=("notes",), **more),
            DeclaredAgent(name="away", device_name="phone", paths=("notes",)),
        ]
        await reconcile(self.store, declared, user_id=owner, clock=self.clock, ids=self.ids)

    async def agent(self, name: str = "notes") -> AgentRow:
        row = await self.store.read(agents.find_agent_by_name, name)
        assert row is not None
        return row

    async def connect(self, *, epoch: int = 1, capabilities: list[str] = CAPABLE) -> HearingLink:
        """The laptop connects."""
        rows = await self.store.read(devices.list_devices)
        device_id = next(row.id for row in rows if row.name == "laptop")
        link = self.hearers.enter(device_id, epoch=epoch, capabilities=capabilities)
        self.delivery.check(device_id)
        return link

    async def put(self, name: str = "notes", **values: Any) -> int:
        puts = [NewConfig(key=key, value=value) for key, value in values.items()]
        return (await self.configs.change(await self.agent(name), puts, actor="operator:7")).rev

    async def settle(self) -> None:
        """Let all go on until nobody asks the database any more, which answers in turn."""
        for _ in range(SETTLED_AFTER):
            await self.store.read(lambda c: None)
            await anyio.wait_all_tasks_blocked()

    async def told(self, link: HearingLink) -> list[tuple[str, int, dict[str, Any]]]:
        """What the device was told since this was asked last: agent, revision, configuration."""
        await self.settle()
        heard = [event.data for event in link.heard]
        link.sent.clear()
        names = {row.id: row.name for row in await self.store.read(agents.list_agents)}
        return [(names[data["agent_id"]], data["rev"], data["configuration"]) for data in heard]  # type: ignore[index,misc]


@pytest.fixture
async def house(store: Store) -> House:
    house = House(store)
    await house.declare()
    return house


@pytest.fixture
async def link(house: House) -> AsyncIterator[HearingLink]:
    """Return the connection of the laptop, which has its configurations."""
    async with running(house.hearers.events, house.delivery):
        link = await house.connect()
        await house.told(link)
        yield link


async def test_device_receives_the_configuration_of_each_own_agent_on_connect(house: House) -> None:
    rev = await house.put(limit=5, where={"a": [1]})
    async with running(house.hearers.events, house.delivery):
        link = await house.connect()
        told = await house.told(link)
    assert sorted(told) == [("inbox", 1, {}), ("notes", rev, {"limit": 5, "where": {"a": [1]}})]


async def test_configuration_change_is_sent_once_and_only_to_the_device_of_the_agent(
    house: House, link: HearingLink
) -> None:
    rev = await house.put(limit=5)
    assert (await house.told(link), await house.put(limit=5)) == ([("notes", rev, {"limit": 5})], rev)
    assert await house.told(link) == []
    await house.put("away", limit=9)
    assert await house.told(link) == [], "another device's agent"


async def test_device_without_the_capability_gets_config_events_only_after_subscribing(house: House) -> None:
    async with running(house.hearers.events, house.delivery):
        link = await house.connect(capabilities=[])
        assert await house.told(link) == []
        house.hearers.events.subscribe(link, ["agent.config"])
        await house.put(limit=5)
        assert {name for name, _, _ in await house.told(link)} == {"inbox", "notes"}


async def test_slowly_reading_device_gets_only_the_newest_configuration(
    house: House, link: HearingLink
) -> None:
    link.buffered_bytes = UNSENT_BYTES + 1
    for limit in range(5):
        rev = await house.put(limit=limit)
    await house.clock.pass_time(3 * RETRY_S)
    assert await house.told(link) == []
    link.buffered_bytes = 0
    await house.clock.pass_time(RETRY_S)
    assert await house.told(link) == [("notes", rev, {"limit": 4})]
    assert house.hearers.lost == 0


async def test_configurations_beyond_the_event_queue_are_delivered_once_each(
    house: House, store: Store
) -> None:
    owner = await store.write(users.ensure_user, UserId("me"), "owner", epoch_ms(START))
    many = [DeclaredAgent(name=f"agent-{n}", device_name="laptop", paths=("notes",)) for n in range(22)]
    await reconcile(store, many, user_id=owner, clock=house.clock, ids=house.ids)
    house.hearers.events.most = 4
    async with running(house.hearers.events, house.delivery):
        link = await house.connect()
        told = []
        for _ in range(40):
            told += await house.told(link)
            await house.clock.pass_time(RETRY_S)
            if len(told) == len(many):
                break
    assert {name for name, _, _ in told} == {agent.name for agent in many}
    assert (len(told), house.hearers.lost) == (len(many), 0), "each once"


class SharedStore:
    """A database that other hubs write, who tell nobody."""

    is_shared = True

    def __init__(self, store: Store) -> None:
        self.read, self.write = store.read, store.write


async def test_configuration_changed_by_another_hub_is_delivered_within_seconds(
    house: House, store: Store
) -> None:
    shared: Any = SharedStore(store)
    delivery = ConfigDelivery(
        shared, roster=house.hearers.roster, events=house.hearers.events, clock=house.clock
    )
    house.delivery = delivery
    async with running(house.hearers.events, delivery):
        link = await house.connect()
        await house.told(link)
        await store.write(
            config_changes.change,
            (await house.agent()).id,
            [NewConfig(key="limit", value=5)],
            at=epoch_ms(START),
            actor="operator:7",
        )
        assert await house.told(link) == []
        await house.clock.pass_time(POLL_S)
        assert [told[2] for told in await house.told(link)] == [{"limit": 5}]


async def test_configuration_change_is_audited_with_keys_and_without_values(
    house: House, store: Store
) -> None:
    rev = await house.put(secret="do not tell", limit=5)
    (entry,) = await store.read(audit.list_entries, limit=9, event="agent.configured")
    assert (entry.actor, entry.subject) == ("operator:7", (await house.agent()).id)
    assert '"keys":"limit, secret"' in entry.detail and f'"rev":{rev}' in entry.detail
    assert "do not tell" not in entry.detail
    await house.put(limit=5)
    assert len(await store.read(audit.list_entries, limit=9, event="agent.configured")) == 1
    several: dict[str, Any] = {f"key-{n:02}": n for n in range(25)}
    await house.put(**several)
    many, _ = await store.read(audit.list_entries, limit=9, event="agent.configured")
    assert '"more":5' in many.detail and "key-19" in many.detail and "key-20" not in many.detail


LIMITED = WrittenTemplate(
    name="limited",
    agent_type=AgentType.CUSTOM,
    configuration_schema={"properties": {"limit": {"type": "integer", "maximum": 10}}},
    default_configuration={"limit": 3, "folder": "in"},
)


async def test_template_defaults_are_delivered_and_delivered_again_after_a_change(house: House) -> None:
    await house.writer.put_template(LIMITED, actor="operator:7")
    await house.declare(template="limited")
    async with running(house.hearers.events, house.delivery):
        link = await house.connect()
        told = {name: configuration for name, _, configuration in await house.told(link)}
        assert told["notes"] == {"limit": 3, "folder": "in"}
        await house.put(limit=7)
        assert [one[2] for one in await house.told(link)] == [{"limit": 7, "folder": "in"}]
        other = msgspec.structs.replace(LIMITED, default_configuration={"folder": "out"})
        await house.writer.put_template(other, actor="operator:7")
        assert [one[2] for one in await house.told(link)] == [{"limit": 7, "folder": "out"}]


async def test_configuration_refused_by_the_template_is_not_written(house: House, store: Store) -> None:
    await house.writer.put_template(LIMITED, actor="operator:7")
    await house.declare(template="limited")
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_CONFIG), match=r"limit.*template limited"):
        await house.put(limit=11, fine=1)
    assert await store.read(configs.list_configs, (await house.agent()).id) == []
    assert await store.read(audit.list_entries, limit=9, event="agent.configured") == []


async def test_agent_broken_by_a_template_change_recovers_with_valid_configuration(
    house: House, store: Store
) -> None:
    await house.writer.put_template(LIMITED, actor="operator:7")
    await house.declare(template="limited")
    await house.put(limit=7)
    tight = {"properties": {"limit": {"type": "integer", "maximum": 5}}}
    broken = msgspec.structs.replace(LIMITED, configuration_schema=tight)
    await house.writer.put_template(broken, force=True, actor="operator:7")
    assert (await house.agent()).health == "error"
    await house.put(limit=5)
    assert (await house.agent()).health == "ok"


async def test_request_beyond_a_limit_is_refused_and_counted(house: House, store: Store) -> None:
    house.configs.limits = ConfigLimits(keys=1)
    with pytest.raises(LimitReached, match=r"at most 1 configs, this would be 2 \(config_keys\)") as no:
        await house.put(a=1, b=2)
    assert no.value.code is ErrorCode.LIMIT_REACHED
    assert house.hearers.metrics.reached() == {"config_keys": 1}
    assert await store.read(configs.list_configs, (await house.agent()).id) == []


async def test_configuration_of_a_moved_agent_is_not_sent_to_the_former_device(
    house: House, link: HearingLink
) -> None:
    agent = await house.agent()
    owner = agent.user_id
    moved = DeclaredAgent(name="notes", device_name="phone", paths=("notes",))
    await reconcile(house.store, [moved], user_id=owner, clock=house.clock, ids=house.ids)
    await house.put(limit=5)
    house.delivery.recheck()
    assert await house.told(link) == []
    assert house.hearers.events.subscribers(EventName.AGENT_CONFIG) == [DeviceId(link.device_id)]
