"""What happens in the hub, followed over server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx2
import pytest

from hub.api.events import Streams
from hub.api.resources.hub_events import EventsResource
from hub.base.clock import epoch_ms
from hub.base.log import Ring
from hub.base.roles import Role
from protocol.ids import UserId
from storage.agents import agents
from tests.hub.api.test_agent_configs import an_agent
from tests.support.clock import START
from tests.support.hub import ServedHub, over_tcp, over_unix, serving
from tests.support.presence import BOOT


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves on sockets."""
    async with serving(tmp_path) as opened:
        yield opened


class Told(NamedTuple):
    """One event as it came over the wire; a beat has no name."""

    id: str
    name: str
    data: str


@asynccontextmanager
async def _following(
    client: httpx2.AsyncClient, after: str | None = None, **params: str
) -> AsyncIterator[AsyncGenerator[Told]]:
    headers = {} if after is None else {"last-event-id": after}
    async with client.stream("GET", "/v1/events", params=params, headers=headers, timeout=10) as answer:
        assert answer.status_code == 200
        async with aclosing(_events(answer)) as events:
            yield events


async def _events(answer: httpx2.Response) -> AsyncGenerator[Told]:
    fields: dict[str, str] = {}
    async with aclosing(answer.aiter_lines()) as lines:  # type: ignore[type-var]
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                yield Told(fields.get("id", ""), fields.get("event", ""), fields.get("data", ""))
                fields = {}


def _happens(hub: ServedHub, event: str, level: str = "info", **fields: object) -> None:
    hub.ring.append(at=epoch_ms(START), level=level, event=event, channel="test", fields=dict(fields))


async def test_event_stream_sends_name_id_and_fields_of_each_event(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with _following(client) as events:
        assert (await anext(events)).name == "open"
        _happens(hub, "run.moved", run_id="r-1", after="RUNNING")
        moved = await anext(events)
    assert moved.name == "run.moved"
    assert '"run_id":"r-1"' in moved.data and f'"id":"{moved.id}"' in moved.data


async def test_event_stream_omits_internal_events_and_tracebacks(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with _following(client) as events:
        await anext(events)
        _happens(hub, "housekeeping.pruned")
        _happens(hub, "library.message", message="something")
        _happens(hub, "run.moved", "debug")
        _happens(hub, "run.broke", "error", run_id="r-1", traceback="Traceback ...")
        told = await anext(events)
    assert told.name == "run.broke" and "Traceback" not in told.data


async def test_reconnecting_event_stream_reader_receives_missed_events(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with _following(client) as events:
        await anext(events)
        _happens(hub, "run.moved", step=1)
        seen = await anext(events)
    _happens(hub, "run.moved", step=2)
    async with _following(client, after=seen.id) as events:
        names = [(await anext(events)).name, (await anext(events)).data]
    assert names[0] == "open" and '"step":2' in names[1]


async def test_event_stream_with_an_unknown_last_id_sends_a_reset(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    unknown = ("another-boot-3", "another-1", "-1", f"{BOOT}-999", f"{BOOT}-", "nonsense", f"{BOOT}-0x1")
    for number, after in enumerate(unknown, 1):
        _happens(hub, "run.moved")
        async with _following(client, after=after) as events:
            reset = await anext(events)
            assert (reset.name, reset.id) == ("reset", f"{BOOT}-{2 * number - 1}"), after
            _happens(hub, "run.moved", step=2)
            assert (await anext(events)).name == "run.moved"


async def test_event_stream_with_an_id_dropped_from_the_ring_sends_a_reset(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with _following(client) as events:
        seen = await anext(events)
    for _ in range(2_001):
        _happens(hub, "run.moved")
    async with _following(client, after=seen.id) as events:
        assert (await anext(events)).name == "reset"


async def test_slow_event_reader_receives_a_reset(hub: ServedHub) -> None:
    hub.ring = Ring(most=3)
    resource = EventsResource(store=hub.store, ring=hub.ring, clock=hub.clock, boot_id=BOOT)
    async with aclosing(resource.follow(None)) as events:
        await anext(events)
        _happens(hub, "run.moved", step=1)
        assert (await anext(events)).fields == {"step": 1}
        for step in range(2, 7):  # the ring keeps the last three of these five
            _happens(hub, "run.moved", step=step)
        reset = await anext(events)
        assert (reset.event, reset.id) == ("reset", f"{BOOT}-6")
        _happens(hub, "run.moved", step=7)
        assert (await anext(events)).fields == {"step": 7}


async def test_suppressed_public_events_cause_a_reset(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    async with _following(client) as events:
        await anext(events)
        _happens(hub, "log.suppressed", of="library.message", count=3)
        _happens(hub, "log.suppressed", of="device.connected", count=7)
        assert (await anext(events)).name == "reset"


async def test_event_stream_without_events_sends_heartbeats(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, beat_s=0.01) as hub,
        over_unix(hub) as client,
        _following(client) as events,
    ):
        assert ((await anext(events)).name, await anext(events)) == ("open", Told("", "", ""))


async def test_event_stream_omits_events_of_other_users(hub: ServedHub) -> None:
    eve = await hub.user("eve")
    mine, theirs = await hub.device("mine"), await hub.device("theirs", user_id=eve)
    token = await hub.token(Role.VIEWER, user_id=hub.owner_id)
    async with over_tcp(hub, token) as client, _following(client) as events:
        await anext(events)
        _happens(hub, "device.left", device_id=theirs.id)
        _happens(hub, "run.queued", device_id=mine.id, run_id="r-unknown")
        _happens(hub, "hub.stopping")
        _happens(hub, "device.connected", device_id=mine.id)
        told = await anext(events)
    assert told.name == "device.connected" and mine.id in told.data


async def test_event_stream_can_be_filtered_by_user(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    eve = await hub.user("eve")
    theirs = await hub.device("theirs", user_id=eve)
    mine = await hub.device("mine")
    async with _following(client, user="eve") as events:
        await anext(events)
        _happens(hub, "device.left", device_id=mine.id)
        _happens(hub, "device.left", device_id=theirs.id)
        assert theirs.id in (await anext(events)).data
    assert (await client.get("/v1/events", params={"user": "nobody"})).status_code == 404


async def test_event_stream_ends_when_the_token_is_revoked(hub: ServedHub) -> None:
    token = await hub.token(Role.VIEWER)
    async with over_tcp(hub, token) as client, _following(client) as events:
        await anext(events)
        (row,) = await hub.identity.operator_tokens.all()
        await hub.identity.operator_tokens.revoke(row.id, actor="operator:7")
        with anyio.fail_after(5):
            assert [told async for told in events] == []


async def test_event_stream_ends_at_shutdown_of_the_hub(tmp_path: Path) -> None:
    opened = anyio.Event()
    names: list[str] = []

    async def follow(hub: ServedHub) -> None:
        async with over_unix(hub) as client, _following(client) as events:
            async for event in events:
                names.append(event.name)
                opened.set()

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(5):
            async with serving(tmp_path) as hub:
                tasks.start_soon(follow, hub)
                await opened.wait()
    assert names == ["open"]


async def test_event_streams_are_limited_per_user_and_reserved_for_the_unix_socket(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, event_streams=4) as hub, AsyncExitStack() as opened:

        async def client(user_id: UserId | None = None) -> httpx2.AsyncClient:
            token = await hub.token(Role.VIEWER, user_id=user_id)
            return await opened.enter_async_context(over_tcp(hub, token))

        async def follow(client: httpx2.AsyncClient) -> int:
            answer = await opened.enter_async_context(client.stream("GET", "/v1/events"))
            return answer.status_code

        one, same_user = await client(hub.owner_id), await client(hub.owner_id)
        assert [await follow(one), await follow(same_user), await follow(same_user)] == [200, 200, 503]
        other = await client()
        assert [await follow(other), await follow(other)] == [200, 503]
        unix = await opened.enter_async_context(over_unix(hub))
        assert [await follow(unix), await follow(unix)] == [200, 503]


async def test_event_stream_opened_during_shutdown_ends_immediately() -> None:
    streams = Streams(4)
    streams.end()
    with anyio.fail_after(5), streams.scope():
        await anyio.sleep_forever()


async def test_event_stream_is_filtered_by_agent_and_event_name(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.store.write(an_agent)
    agent = await hub.store.read(agents.agent_called, "inbox", None)
    async with _following(client, events="agent.*, run.finished", agent=agent.name) as events:
        assert (await anext(events)).name == "open"
        _happens(hub, "run.moved", agent_id=agent.id)
        _happens(hub, "agent.moved", agent_id="another")
        _happens(hub, "agents.recovered", agents=1)
        _happens(hub, "agent.moved", agent_id=agent.id, axis="health")
        _happens(hub, "run.finished", agent_id=agent.id)
        assert [(await anext(events)).name for _ in range(2)] == ["agent.moved", "run.finished"]
    refused = await client.get("/v1/events", params={"agent": "nobody"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_agent")
