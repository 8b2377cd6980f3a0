"""Resources of assistants: lists in pages, reading by address, and news of what has changed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
import sqlalchemy as sa
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import ResourceUpdatedNotification
from msgspec import json

from hub.api.door import assistants, resources
from hub.api.door.assistants import DATA
from hub.roles import Role
from protocol.lifecycles import RunState
from tests.hub.api.test_assistants import ACCEPT, REVISIONS, assistant
from tests.hub.api.test_item_routes import keep
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp, serving


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves assistants, with five items and three runs."""
    async with serving(tmp_path, assistants=True, body_bytes=100_000) as opened:
        await opened.store.write(keep)
        for number in range(3):
            await opened.run(f"r-{number}", RunState.CANCELLED)
        yield opened


TEMPLATES = [
    "hub://devices/{device_id}/tables/{table}",
    "hub://items/{item_id}",
    "hub://runs/{run_id}",
]


async def listed(client: Client) -> list[str]:
    """Addresses in all pages."""
    found, cursor = list[str](), None
    while True:
        page = await client.list_resources(cursor=cursor)
        found += [str(one.uri) for one in page.resources]
        if (cursor := page.next_cursor) is None:
            return found


@each("mode", REVISIONS)
async def test_items_and_runs_are_listed_in_pages_and_read_by_their_addresses(
    hub: ServedHub, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MOST_ROWS", 2)
    token = await hub.token(Role.VIEWER)
    async with over_tcp(hub, token) as rest, assistant(hub, token, mode) as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == TEMPLATES
        found = await listed(client)
        assert sorted(found) == [
            *(f"hub://items/i-{n}" for n in range(5)),
            *(f"hub://runs/r-{n}" for n in range(3)),
        ]
        for uri in found:
            about, content = (await client.read_resource(uri)).contents
            assert about.text == DATA  # type: ignore[union-attr]
            shown, answer = json.decode(content.text), await rest.get(f"/v1/{uri.removeprefix('hub://')}")  # type: ignore[union-attr]
            assert shown | {"as_of": None} == answer.json() | {"as_of": None}


@each(
    ("uri", "message"),
    [
        ("hub://items/unknown", "unknown_item"),
        ("hub://runs/..%2Fagents", "unknown_run"),
        (
            "hub://agents/notes",
            "resources are hub://devices/{device_id}/tables/{table}, hub://items/{item_id}",
        ),
        ("hub://items", "there is no resource"),
        ("hub://items/", "there is no resource"),
        ("hub://items/i-0/", "there is no resource"),
        ("hub://items/counts", "a word of the path of another route"),
        ("http://items/i-0", "there is no resource"),
        ("hub://devices/desk/tables/tasks", "needs the scope 'rows'"),
        ("file:///etc/passwd", "there is no resource"),
    ],
)
async def test_an_address_of_nothing_is_refused(hub: ServedHub, uri: str, message: str) -> None:
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with pytest.raises(MCPError, match=message):
            await client.read_resource(uri)


async def test_a_resource_that_is_too_long_is_refused_with_the_limit(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "MOST_BYTES", 100)
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with pytest.raises(MCPError, match="a tool returns 100 at most"):
            await client.read_resource("hub://items/i-0")


async def test_resources_of_another_user_are_absent(hub: ServedHub) -> None:
    eve = await hub.user("eve")
    async with assistant(hub, await hub.token(Role.VIEWER, user_id=eve)) as client:
        assert await listed(client) == []
        with pytest.raises(MCPError, match="unknown_item"):
            await client.read_resource("hub://items/i-0")
        with pytest.raises(MCPError, match="nextCursor"):
            await client.list_resources(cursor="agents_all ")


async def _change(hub: ServedHub, item: str) -> None:
    await hub.store.write(
        lambda c: c.execute(sa.text("UPDATE items SET version = version + 1 WHERE id = :id"), {"id": item})
    )


async def test_a_subscriber_of_the_newer_revision_is_notified_of_its_resources_alone(hub: ServedHub) -> None:
    before = hub.clock.sleeping
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with anyio.fail_after(20):
            async with client.listen(resource_subscriptions=["hub://items/i-0"]) as events:
                await _change(hub, "i-4")
                await _change(hub, "i-0")
                await _follows(hub, before)
                hub.clock.advance(1)
                event: Any = await anext(aiter(events))
        assert event.uri == "hub://items/i-0"


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_subscriber_with_a_session_is_notified_until_it_unsubscribes(hub: ServedHub) -> None:
    before = hub.clock.sleeping
    send, receive = anyio.create_memory_object_stream[str](10)

    async def note(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await send.send(str(message.params.uri))

    async with send, receive, assistant(hub, await hub.token(), "legacy", message_handler=note) as client:
        for uri in ("hub://items/i-0", "hub://items/i-1"):
            await client.session.subscribe_resource(uri)
        await _follows(hub, before)
        await client.session.unsubscribe_resource("hub://items/i-1")
        for item in ("i-1", "i-0"):
            await _change(hub, item)
        assert await _notified(hub, receive) == "hub://items/i-0"


async def _notified(hub: ServedHub, receive: MemoryObjectReceiveStream[str]) -> str:
    with anyio.fail_after(20):
        while True:
            hub.clock.advance(1)
            with anyio.move_on_after(0.05):
                return await receive.receive()


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_requests_of_a_stranger_end_no_subscription(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MOST_SUBSCRIBERS", 2)
    send, receive = anyio.create_memory_object_stream[str](10)
    sessions = set[str]()

    async def note(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await send.send(str(message.params.uri))

    async def keep_session(response: httpx2.Response) -> None:
        sessions.add(response.headers.get("mcp-session-id", ""))

    async with send, receive, over_tcp(hub, await hub.token()) as http:
        http.event_hooks["response"] = [keep_session]
        transport = streamable_http_client(f"http://{hub.listening.tcp}/mcp", http_client=http)
        async with Client(transport, mode="legacy", message_handler=note) as client:
            await client.session.subscribe_resource("hub://items/i-0")
            async with over_tcp(hub, await hub.token(user_id=await hub.user("eve"))) as stranger:
                for method, session in [("GET", "a"), ("GET", "b"), *(("DELETE", one) for one in sessions)]:
                    headers = ACCEPT | {"mcp-session-id": session}
                    assert (await stranger.request(method, "/mcp", headers=headers)).status_code in (400, 404)
            await client.session.subscribe_resource("hub://items/i-1")
            await _change(hub, "i-1")
            assert await _notified(hub, receive) == "hub://items/i-1"


async def _follows(hub: ServedHub, before: int) -> None:
    """Wait until a stream has read the number of the newest change, and waits for the next one."""
    with anyio.fail_after(20):
        while hub.clock.sleeping <= before:
            await anyio.lowlevel.checkpoint()
