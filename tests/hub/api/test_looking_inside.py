"""The log and the dump over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.support.hub import ServedHub, serving


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves on sockets, as an answer of the application in this process comes only as a whole."""
    async with serving(tmp_path) as opened:
        yield opened


def say(hub: ServedHub, event: str, **fields: object) -> None:
    hub.ring.append(at=1_767_604_442_000, level="info", event=event, channel="hub.x", fields=fields)


async def test_the_log_comes_in_pages_the_newest_first(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    for number in range(5):
        say(hub, f"event.n{number}")
    first = await client.get("/v1/logs", params={"limit": 3})
    assert [entry["event"] for entry in first.json()["entries"]] == ["event.n4", "event.n3", "event.n2"]
    say(hub, "event.n5")
    rest = await client.get("/v1/logs", params={"limit": 3, "cursor": first.json()["next_cursor"]})
    assert [entry["event"] for entry in rest.json()["entries"]] == ["event.n1", "event.n0"]
    assert rest.json()["next_cursor"] is None
    assert first.links["next"]["url"].startswith("/v1/logs?")


async def test_an_entry_of_the_log_has_the_meaning_of_its_event_and_null_for_an_unknown_event(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    say(hub, "device.came_from_the_future")
    say(hub, "agent.moved")
    moved, unknown = (await client.get("/v1/logs", params={"limit": 2})).json()["entries"]
    assert (moved["meaning"], unknown["meaning"]) == ("the agent's status changed", None)


async def test_who_follows_gets_the_last_entries_and_then_each_that_comes(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    say(hub, "event.before", run_id="019b8d2e-1f00-7abc-8def-0123456789ab")
    with anyio.fail_after(10):
        async with client.stream("GET", "/v1/logs", params={"follow": "true", "limit": 1}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            heard: list[str] = []
            async for line in lines:
                if line.startswith("data: "):
                    heard.append(json.loads(line.removeprefix("data: "))["event"])
                    if len(heard) == 2:
                        break
                    say(hub, "event.after")
    assert heard == ["event.before", "event.after"]


async def test_a_dump_is_answered_at_once(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    hub.context.debug.queues["router"] = lambda: 3
    told = (await client.get("/v1/debug/dump")).json()
    assert told["queues"]["router"] == 3
    assert told["tasks"]
    assert any(thread["name"] == "MainThread" for thread in told["threads"])
