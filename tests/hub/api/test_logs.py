"""The log of a hub and a dump of its insides, as operators read them."""

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio
import httpx2
import pytest

from hub.api.resources.debug import MAX_CONNECTIONS, Dumper
from hub.api.resources.logs import LogLevel, LogsResource
from hub.base.log import Ring
from hub.links.roster import LocalLink
from protocol.ids import DeviceId, UserId
from storage.devices import devices, users
from storage.devices.devices import UnknownDevice
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.hub import ServedHub, serving
from tests.support.log import opened_log

RUN, OTHER = "019b8d2e-1f00-7abc-8def-0123456789ab", "019b8d2e-1f00-7abc-8def-0123456789ff"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as opened:
        await opened.write(users.ensure_user, UserId("u"), "owner", 1)
        await opened.write(devices.ensure_device, id=DeviceId("d-1"), user_id=UserId("u"), name="desk", at=1)
        yield opened


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def logs(ring: Ring, store: Store) -> LogsResource:
    return LogsResource(ring, store)


def say(ring: Ring, event: str, level: LogLevel = "info", **fields: object) -> None:
    ring.append(at=1_767_604_442_123, level=level, event=event, channel="hub.x", fields=fields)


async def newest(logs: LogsResource, **wanted: object) -> list[str]:
    given = {"level": "debug"} | wanted
    return [entry.event for entry in await logs.newest(**given)]  # type: ignore[arg-type]


async def test_log_entry_is_reported_with_time_and_fields(ring: Ring, logs: LogsResource) -> None:
    say(ring, "run.moved", run_id=RUN, fence=3, outcome=None)
    (entry,) = await logs.newest(level="info")
    assert entry.at.isoformat() == "2026-01-05T09:14:02.123000+00:00"
    assert entry.fields == {"run_id": RUN, "fence": 3, "outcome": None}


async def test_log_entries_are_filtered_by_run_id_or_id_end(ring: Ring, logs: LogsResource) -> None:
    say(ring, "event.mine", run_id=RUN)
    say(ring, "event.other", run_id=OTHER)
    say(ring, "event.nobodys")
    assert await newest(logs, run=RUN) == ["event.mine"]
    assert await newest(logs, run="6789ab") == ["event.mine"]
    assert await newest(logs, run="89ab") == [], "so short an end may be anybody's"


async def test_log_entries_are_filtered_by_device_name_or_id(ring: Ring, logs: LogsResource) -> None:
    say(ring, "event.mine", device_id="d-1")
    say(ring, "event.other", device_id="d-2")
    assert await newest(logs, device="desk") == ["event.mine"]
    assert await newest(logs, device="d-1") == ["event.mine"]
    with pytest.raises(UnknownDevice, match="there is no device 'tower'"):
        await newest(logs, device="tower")
    with pytest.raises(UnknownDevice):
        await logs.follow(device="tower", level="info", limit=1)


async def test_log_entries_below_the_level_are_omitted(ring: Ring, logs: LogsResource) -> None:
    for level in ("debug", "info", "warning", "error"):
        say(ring, f"event.{level}", level)
    assert await newest(logs, level="warning") == ["event.error", "event.warning"]


def a_link(number: int, *, pending: int = 0, unsent: int = 0) -> LocalLink:
    """Return what a dump reads of a connection."""
    link = SimpleNamespace(
        device_id=DeviceId(f"d-{number}"), epoch=number, pending_calls=pending, buffered_bytes=unsent
    )
    return cast(LocalLink, link)


@pytest.fixture
def debug() -> Dumper:
    return Dumper(clock=FakeClock())


async def deep(here: anyio.Event) -> None:
    await deeper(here)


async def deeper(here: anyio.Event) -> None:
    here.set()
    await anyio.sleep_forever()


async def test_debug_dump_groups_tasks_by_stack_with_the_full_stack(
    debug: Dumper,
) -> None:
    async with anyio.create_task_group() as group:
        for number in range(7):
            here = anyio.Event()
            group.start_soon(deep, here, name=f"worker {number}")
            await here.wait()
        await anyio.wait_all_tasks_blocked()
        dump = debug.dump()
        group.cancel_scope.cancel()
    (workers,) = [task for task in dump.tasks if any("worker" in name for name in task.names)]
    assert (workers.count, len(workers.names)) == (7, 5)
    places = [place.split(":")[0] + " " + place.split()[-1] for place in workers.stack]
    mine = "tests/hub/api/test_logs.py"
    assert f"{mine} deep" in places
    assert places.index(f"{mine} deep") < places.index(f"{mine} deeper")


async def test_debug_dump_reports_the_stack_of_each_thread(debug: Dumper) -> None:
    leave, thread = threading.Event(), None
    thread = threading.Thread(target=leave.wait, name="stands still")
    thread.start()
    try:
        (told,) = [one for one in debug.dump().threads if one.name == "stands still"]
        assert "threading.py" in told.stack[-1]
    finally:
        leave.set()
        thread.join()


async def test_debug_dump_lists_the_connections_with_the_largest_backlog(debug: Dumper) -> None:
    links = [a_link(number) for number in range(1_000)]
    links += [a_link(5_000, pending=3), a_link(5_001, unsent=70_000)]
    debug.links = lambda: links
    dump = debug.dump()
    assert [one.device_id for one in dump.connections[:2]] == ["d-5000", "d-5001"]
    assert len(dump.connections) == MAX_CONNECTIONS
    assert (dump.connected, dump.pending_calls, dump.unsent_bytes) == (1_002, 3, 70_000)


async def test_debug_dump_is_logged_as_a_single_line_per_part_without_suppression(
    debug: Dumper,
) -> None:
    debug.links = lambda: [a_link(number) for number in range(30)]
    debug.queues["router"] = lambda: 17
    with opened_log() as opened:
        debug.log()
        told = opened.log.ring.since(0)
    assert [entry.event for entry in told[:1]] == ["debug.dumped"]
    assert told[0].fields["queues"] == {"router": 17}
    assert sum(entry.event == "debug.connection" for entry in told) == 30
    assert {entry.event for entry in told} >= {"debug.task", "debug.thread"}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves on sockets, as an answer of the application in this process comes only as a whole."""
    async with serving(tmp_path) as opened:
        yield opened


def log_at(hub: ServedHub, event: str, **fields: object) -> None:
    hub.ring.append(at=1_767_604_442_000, level="info", event=event, channel="hub.x", fields=fields)


async def test_log_route_lists_entries_newest_first_in_pages(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    for number in range(5):
        log_at(hub, f"event.n{number}")
    first = await client.get("/v1/logs", params={"limit": 3})
    assert [entry["event"] for entry in first.json()["entries"]] == ["event.n4", "event.n3", "event.n2"]
    log_at(hub, "event.n5")
    rest = await client.get("/v1/logs", params={"limit": 3, "cursor": first.json()["next_cursor"]})
    assert [entry["event"] for entry in rest.json()["entries"]] == ["event.n1", "event.n0"]
    assert rest.json()["next_cursor"] is None
    assert first.links["next"]["url"].startswith("/v1/logs?")


async def test_log_entry_has_the_meaning_of_a_known_event_and_null_otherwise(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    log_at(hub, "device.came_from_the_future")
    log_at(hub, "agent.moved")
    moved, unknown = (await client.get("/v1/logs", params={"limit": 2})).json()["entries"]
    assert (moved["meaning"], unknown["meaning"]) == ("the agent's status changed", None)


async def test_log_follower_receives_the_last_entries_and_then_new_ones(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    for event in ("early", "before"):
        log_at(hub, f"event.{event}", run_id=RUN)
    params = {"follow": "true", "limit": "1", "run": RUN}
    with anyio.fail_after(10):
        async with client.stream("GET", "/v1/logs", params=params) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            heard: list[str] = []
            async for line in lines:
                if line.startswith("data: "):
                    heard.append(json.loads(line.removeprefix("data: "))["event"])
                    if len(heard) == 2:
                        break
                    log_at(hub, "event.other", run_id=OTHER)
                    log_at(hub, "event.after", run_id=RUN)
    assert heard == ["event.before", "event.after"]


async def test_debug_dump_route_returns_queues_tasks_and_threads(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    hub.context.debug.queues["router"] = lambda: 3
    told = (await client.get("/v1/debug/dump")).json()
    assert told["queues"]["router"] == 3
    assert told["tasks"]
    assert any(thread["name"] == "MainThread" for thread in told["threads"])
