"""What devices are told unasked: in numbers without gaps, unless something was lost."""

import anyio
import pytest

from hub.links.device_events import UNSENT_BYTES
from protocol.coordination import Event, EventName
from protocol.errors import CodedError, ErrorCode
from protocol.ids import DeviceId
from tests.support.coded import coded
from tests.support.hearing import Hearers, HearingLink
from tests.support.services import running

LAPTOP = DeviceId("laptop")
MOVED, CONFIG = EventName.AGENT_MOVED, EventName.AGENT_CONFIG


@pytest.fixture
def hearers() -> Hearers:
    return Hearers()


@pytest.fixture
def link(hearers: Hearers) -> HearingLink:
    """A laptop that subscribed to moves of its agents."""
    link = hearers.enter("laptop")
    hearers.events.subscribe(link, ["agent.moved"])
    return link


def seqs(link: HearingLink) -> list[int]:
    return [event.seq for event in link.heard]


async def moves(hearers: Hearers, times: int = 1) -> list[bool]:
    """Report moves of agents to the laptop; return which were queued."""
    queued = [hearers.events.queue(LAPTOP, MOVED, {}) for _ in range(times)]
    await anyio.wait_all_tasks_blocked()
    return queued


async def test_device_receives_subscribed_events_in_order(hearers: Hearers, link: HearingLink) -> None:
    async with running(hearers.events):
        for n in range(3):
            assert hearers.events.queue(LAPTOP, MOVED, {"n": n})
        assert not hearers.events.queue(LAPTOP, CONFIG, {"agent_id": "a"})
        await anyio.wait_all_tasks_blocked()
    assert link.heard == [Event(event=MOVED, seq=n + 1, data={"n": n}) for n in range(3)]


async def test_devices_without_the_subscription_get_no_event(hearers: Hearers, link: HearingLink) -> None:
    other = hearers.enter("phone")
    hearers.events.subscribe(other, ["*"])
    async with running(hearers.events):
        assert not hearers.events.queue(DeviceId("away"), MOVED, {})
        await moves(hearers)
    assert (seqs(link), seqs(other)) == ([1], [])


async def test_device_listing_a_capability_gets_the_event_of_the_same_name(hearers: Hearers) -> None:
    link = hearers.enter("laptop", capabilities=["agent.config"])
    assert hearers.events.is_subscribed(LAPTOP, CONFIG) and not hearers.events.is_subscribed(LAPTOP, MOVED)
    assert (hearers.events.subscribers(CONFIG), hearers.events.unsubscribe(link, ["*"])) == ([LAPTOP], ())


@pytest.mark.parametrize(
    ("names", "heard"),
    [
        (["agent.moved"], ["agent.moved"]),
        (["run.*"], ["run.moved", "run.queued"]),
        (["*"], sorted(EventName)),
        (["run.moved", "run.*"], ["run.moved", "run.queued"]),
    ],
)
async def test_events_are_subscribed_by_name_by_kind_or_by_wildcard(
    hearers: Hearers, names: list[str], heard: list[str]
) -> None:
    link = hearers.enter("laptop")
    assert (list(hearers.events.subscribe(link, names)), hearers.events.unsubscribe(link, names)) == (
        heard,
        (),
    )


@pytest.mark.parametrize("name", ["agent.mooved", "nobody.*", "", "*.*", "agent.", ".*"])
async def test_subscription_with_an_unknown_event_name_is_refused_entirely(
    hearers: Hearers, name: str
) -> None:
    link = hearers.enter("laptop")
    for asked in (hearers.events.subscribe, hearers.events.unsubscribe):
        with pytest.raises(
            CodedError, check=coded(ErrorCode.BAD_PARAMS), match=r"there is no event .*; there are agent"
        ):
            asked(link, ["agent.moved", name])
    assert not hearers.events.is_subscribed(LAPTOP, MOVED)


async def test_new_connection_has_no_subscriptions_and_restarts_the_seq(
    hearers: Hearers, link: HearingLink
) -> None:
    async with running(hearers.events):
        await moves(hearers)
        newer = hearers.enter("laptop", epoch=2)
        assert await moves(hearers) == [False]
        assert hearers.events.subscribe(link, ["*"]) == (), "the older connection has ended"
        hearers.events.subscribe(newer, ["agent.*"])
        await moves(hearers)
    assert (seqs(link), seqs(newer)) == ([1], [1])


async def test_events_beyond_the_queue_limit_leave_a_gap_in_seq(hearers: Hearers, link: HearingLink) -> None:
    hearers.events.most = 2
    async with running(hearers.events):
        assert await moves(hearers, 4) == [True, True, False, False]
        await moves(hearers)
    assert (seqs(link), hearers.lost) == ([1, 2, 5], 2)


async def test_non_reading_device_loses_events_without_disconnection(
    hearers: Hearers, link: HearingLink
) -> None:
    async with running(hearers.events):
        link.buffered_bytes = UNSENT_BYTES + 1
        assert not hearers.events.has_room(LAPTOP)
        await moves(hearers)
        link.buffered_bytes, link.is_full = 0, True
        await moves(hearers)
        link.is_full = False
        await moves(hearers)
    assert (seqs(link), hearers.lost, link.gone.is_set()) == ([3], 2, False)


async def test_an_event_without_data_leaves_a_gap(hearers: Hearers, link: HearingLink) -> None:
    async with running(hearers.events):
        hearers.events.skip(LAPTOP, MOVED)
        hearers.events.skip(LAPTOP, CONFIG)  # it does not want to hear that anyway
        await moves(hearers)
    assert seqs(link) == [2]


async def test_queued_events_of_a_disconnected_device_are_dropped(
    hearers: Hearers, link: HearingLink
) -> None:
    phone = hearers.enter("phone")
    hearers.events.subscribe(phone, ["*"])
    hearers.events.queue(LAPTOP, MOVED, {})
    hearers.events.queue(DeviceId("phone"), MOVED, {})
    hearers.leave(link)
    async with running(hearers.events):
        await anyio.wait_all_tasks_blocked()
    assert (seqs(link), seqs(phone), hearers.lost) == ([], [1], 0)


async def test_disconnected_devices_are_forgotten(hearers: Hearers) -> None:
    for n in range(200):
        link = hearers.enter(f"device-{n}")
        hearers.events.subscribe(link, ["*"])
        hearers.leave(link)
    assert len(hearers.events._subscribers) <= 64
