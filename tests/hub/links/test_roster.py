from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest
import sqlalchemy as sa

from hub.base.metrics import Metrics
from hub.links.revocation_watch import COMPARE_EVERY_S, FROZEN, RevocationWatch
from hub.links.roster import REMEMBERED, DeviceLost, DeviceReady, LinkEvent, Roster, SharedRoots, Takeovers
from protocol.errors import CloseCode
from protocol.handshake import DeviceHello, Goodbye, Hubs
from protocol.ids import BootId, DeviceId, NodeId, UserId
from storage.devices import devices, nodes, users
from storage.effects import sessions
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.hearing import Hearers
from tests.support.link import FakeLink
from tests.support.postgres import Postgres
from tests.support.presence import live, open_session

HELLO = DeviceHello()


@dataclass
class Ended:
    goodbye: Goodbye
    close: CloseCode


class LocalFake(FakeLink):
    """A link that leaves the roster when it is ended, as a connection does."""

    def __init__(self, roster: Roster, device_id: str, *, epoch: int) -> None:
        super().__init__(device_id, epoch=epoch)
        self.roster = roster
        self.expires_at: int | None = None
        self.ended: list[Ended] = []
        self.pending_calls = 2
        self.buffered_bytes = 100 * epoch
        self.socket_gone = anyio.Event()

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        if not self.ended:
            self.ended.append(Ended(goodbye, close))
            self.cut()
            self.roster.leave(self, goodbye.reason)

    async def wait_closed(self) -> None:
        await self.socket_gone.wait()


@dataclass
class House:
    events: list[LinkEvent] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.roster = Roster(self.events.append, metrics=self.metrics)

    def enter(self, name: str, epoch: int) -> LocalFake:
        link = LocalFake(self.roster, name, epoch=epoch)
        assert self.roster.supersede(DeviceId(name), epoch)
        self.roster.enter(link, HELLO)
        return link


def test_roster_finds_a_device_only_while_connected() -> None:
    house = House()
    assert house.roster.find(DeviceId("laptop")) is None
    link = house.enter("laptop", 1)
    assert house.roster.find(DeviceId("laptop")) is link
    assert house.roster.connected() == [link]
    house.roster.leave(link, "connection_lost")
    assert house.roster.find(DeviceId("laptop")) is None
    assert house.events == [DeviceReady(link, HELLO), DeviceLost(DeviceId("laptop"), 1, "connection_lost")]


def test_newer_connection_of_a_device_ends_the_older_connection() -> None:
    house = House()
    old = house.enter("laptop", 1)
    new = house.enter("laptop", 2)
    assert old.ended == [Ended(Goodbye(reason="replaced"), CloseCode.REPLACED)]
    assert house.roster.find(DeviceId("laptop")) is new
    assert [type(event) for event in house.events] == [DeviceReady, DeviceLost, DeviceReady]


def test_late_connection_with_an_older_epoch_does_not_replace_the_newer() -> None:
    house = House()
    new = house.enter("laptop", 2)
    assert not house.roster.supersede(DeviceId("laptop"), 1)
    assert (new.ended, house.roster.find(DeviceId("laptop"))) == ([], new)


def test_late_end_of_an_old_connection_leaves_the_new_connection() -> None:
    house = House()
    old = house.enter("laptop", 1)
    new = house.enter("laptop", 2)
    house.roster.leave(old, "connection_lost")
    assert house.roster.find(DeviceId("laptop")) is new


async def test_drain_ends_every_connection_and_waits_for_the_sockets() -> None:
    house = House()
    links = [house.enter(name, 1) for name in ("laptop", "desktop")]
    goodbye = Goodbye(reason="stopping")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.roster.drain, lambda: goodbye, CloseCode.STOPPING)
        await anyio.wait_all_tasks_blocked()
        assert [link.ended for link in links] == [[Ended(goodbye, CloseCode.STOPPING)]] * 2
        for link in links:
            link.socket_gone.set()
    assert house.roster.is_draining


async def test_roster_drain_ends_after_the_time_limit() -> None:
    house = House()
    house.enter("laptop", 1)
    with anyio.fail_after(2):
        await house.roster.drain(lambda: Goodbye(reason="stopping"), CloseCode.STOPPING, within_s=0.01)


def test_failing_event_listener_does_not_prevent_a_device_from_entering() -> None:
    def break_down(event: LinkEvent) -> None:
        raise ZeroDivisionError

    roster = Roster(break_down, metrics=Metrics())
    link = LocalFake(roster, "laptop", epoch=1)
    roster.enter(link, HELLO)
    assert roster.find(DeviceId("laptop")) is link


def test_open_calls_and_unsent_bytes_of_all_devices_are_metrics() -> None:
    house = House()
    house.enter("laptop", 1)
    house.enter("desktop", 3)
    values = house.metrics.registry.get_sample_value
    assert values("hub_pending_calls") == 4
    assert values("hub_outbound_queue_bytes", {"of": "sum"}) == 400
    assert values("hub_outbound_queue_bytes", {"of": "max"}) == 300


EAST, WEST = BootId("east"), BootId("west")


def _add_desk(c: sa.Connection) -> DeviceId:
    user = users.ensure_user(c, UserId("u-1"), "anna", 0)
    return devices.ensure_device(c, id=DeviceId("desk"), user_id=user, name="desk", at=0).id


@dataclass
class SharedDesk:
    """The device desk in a database of several hubs, as the hub east watches it."""

    store: Store
    desk: DeviceId
    house: House = field(default_factory=House)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self._watch = RevocationWatch(self.store, roster=self.house.roster, boot_id=EAST, clock=self.clock)

    async def connects_to(self, boot: BootId, at: int) -> int:
        """Connect the desk to another hub; return its epoch."""
        return await self.store.write(open_session, self.desk, boot_id=boot, at=at)

    async def enter(self, at: int = 1) -> LocalFake:
        """Connect the desk to the hub east."""
        return self.house.enter(self.desk, await self.connects_to(EAST, at))

    async def poll(self) -> list[DeviceId]:
        """Let the hub east look for connections elsewhere; return those that it has still to end."""
        await self._watch.poll()
        return [row.device_id for row in await self.store.read(sessions.taken_from, EAST)]


@pytest.fixture
async def shared(postgres: Postgres) -> AsyncIterator[SharedDesk]:
    with postgres.database() as url:
        async with open_store(url) as store:
            yield SharedDesk(store, await store.write(_add_desk))


async def test_device_connected_to_another_hub_is_disconnected_from_the_first(shared: SharedDesk) -> None:
    first = await shared.enter()
    await shared.poll()
    assert first.ended == []
    await shared.connects_to(WEST, 2)
    assert await shared.poll() == []
    assert first.ended == [Ended(Goodbye(reason="replaced"), CloseCode.REPLACED)]


async def test_device_taken_over_by_a_third_hub_is_disconnected_from_the_first(shared: SharedDesk) -> None:
    first = await shared.enter()
    for boot in (WEST, BootId("north")):
        await shared.connects_to(boot, 2)
    shared.clock.advance(COMPARE_EVERY_S)
    await shared.poll()
    assert first.ended == [Ended(Goodbye(reason="replaced"), CloseCode.REPLACED)]


async def test_device_with_an_unrecorded_disconnect_is_offline_after_two_polls(shared: SharedDesk) -> None:
    await shared.store.write(live, EAST)
    await shared.connects_to(EAST, 1)
    seen = []
    for _ in range(2):
        shared.clock.advance(COMPARE_EVERY_S)
        await shared.poll()
        seen.append((await shared.store.read(devices.get_device, shared.desk)).connectivity)
    assert seen == ["online", "offline"]


async def test_device_reconnected_before_the_poll_is_not_disconnected(shared: SharedDesk) -> None:
    for boot in (EAST, WEST):
        await shared.connects_to(boot, 1)
    assert (await shared.poll(), (await shared.enter(2)).ended) == ([], [])


async def test_frozen_hub_ends_a_session_closed_by_another_hub(shared: SharedDesk) -> None:
    frozen = await shared.enter()
    assert (
        await shared.store.write(sessions.close_left_sessions, 2, boot_id=WEST, is_alone=False),
        await shared.poll(),
    ) == (1, [])
    assert frozen.ended == [Ended(FROZEN, CloseCode.RESTARTING)]


async def test_only_devices_with_the_hubs_capability_receive_node_changes(postgres: Postgres) -> None:
    clock = FakeClock()
    hearers = Hearers(clock)
    new, slow = (hearers.enter(name, capabilities=["hubs"]) for name in ("new", "slow"))
    old = hearers.enter("old")
    slow.is_full = True
    with postgres.database() as url:
        async with open_store(url) as store:
            watch = RevocationWatch(store, roster=hearers.roster, boot_id=EAST, clock=clock)

            async def compare() -> None:
                clock.advance(COMPARE_EVERY_S)
                await watch.poll()

            def add(c: sa.Connection, node: BootId) -> None:
                nodes.begin_boot(c, NodeId(node), node, 0, address=f"ws://{node}")

            await store.write(add, EAST)
            await compare()
            await store.write(add, WEST)
            await compare()
            assert new.sent == [Hubs(hubs=["ws://east"]), Hubs(hubs=["ws://east", "ws://west"])]
            slow.is_full = False
            await store.write(nodes.remove_node, WEST)
            await compare()
            await compare()
            assert new.sent[2:] == slow.sent == [Hubs(hubs=["ws://east"])]
            assert old.sent == []


# --- how often a device may take its own place before whoever is there stays ---


DESK, LAPTOP = DeviceId("desk"), DeviceId("laptop")


@each(("over_s", "wait_s"), [(59.9, 300.0), (60.0, 0.0), (75.0, 0.0)])
def test_six_takeovers_cause_a_wait_only_within_a_minute(over_s: float, wait_s: float) -> None:
    clock = FakeClock()
    takeovers = Takeovers(clock)
    for _ in range(5):
        takeovers.record(DESK)
        clock.advance(over_s / 5)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.waiting()) == (wait_s, ({DESK: wait_s} if wait_s else {}))


def test_takeovers_are_counted_per_device_and_reset_after_the_wait() -> None:
    clock = FakeClock()
    takeovers = Takeovers(clock)
    for _ in range(5):
        takeovers.record(DESK)
        takeovers.record(LAPTOP)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.wait_s(LAPTOP)) == (300.0, 0.0)
    clock.advance(300.0)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.waiting()) == (0.0, {})


# --- paths of agents outside of what a device shares: said only where that is certain ---


SHARING = DeviceId("d-1")


@each(
    ("roots", "path", "is_outside"),
    [
        (["~/notes"], "~/notes", False),
        (["~/notes"], "~/notes/work/", False),
        (["~/notes"], "~", False),  # what is shared lies in it
        (["~/notes"], "~/nots", True),
        (["~/notes"], "~/notes2", True),
        (["~/notes", "~/mail"], "~/mail/in", False),
        (["~/notes"], "notes", False),  # relative: it begins at a shared folder
        (["~/notes"], "~/notes/../mail", False),  # only the device knows
        (["~/notes"], "/home/ada/mail", False),  # it may be the home
        (["/srv/docs"], "/srv/dosc", True),
        (["/srv/docs"], "/srv", False),
        (["/srv/docs"], "/", False),
        (["/srv/docs"], "~/docs", True),
        (["/home", "~"], "~/docs", False),
        (["C:\\Users\\ada\\notes"], "~/notes", False),
        ([], "~/nots", False),  # an older device says nothing
    ],
)
def test_path_is_outside_if_apart_from_all_shared_roots(
    roots: list[str], path: str, is_outside: bool
) -> None:
    shared = SharedRoots()
    shared.record(SHARING, roots)
    assert (shared.outside(SHARING, [path]), shared.outside(DeviceId("d-2"), [path])) == (
        ([path] if is_outside else []),
        [],
    )


def test_no_more_devices_are_remembered_than_ten_thousand() -> None:
    shared = SharedRoots()
    for n in range(REMEMBERED + 5):
        shared.record(DeviceId(f"d-{n}"), ["~/notes"])
    assert len(shared._of) == REMEMBERED
