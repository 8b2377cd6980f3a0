"""The log of a running hub, as operators read it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from hub.api.nouns.logs import LogLevel, Logs, LogView
from hub.log import Ring
from protocol.ids import DeviceId, UserId
from storage.devices import devices
from storage.devices.devices import UnknownDevice
from storage.store import Store, open_store

RUN, OTHER = "019b8d2e-1f00-7abc-8def-0123456789ab", "019b8d2e-1f00-7abc-8def-0123456789ff"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as opened:
        await opened.write(devices.ensure_user, UserId("u"), "owner", 1)
        await opened.write(devices.ensure_device, id=DeviceId("d-1"), user_id=UserId("u"), name="desk", at=1)
        yield opened


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def logs(ring: Ring, store: Store) -> Logs:
    return Logs(ring, store)


def say(ring: Ring, event: str, level: LogLevel = "info", **fields: object) -> None:
    ring.append(at=1_767_604_442_123, level=level, event=event, channel="hub.x", fields=fields)


async def newest(logs: Logs, **wanted: object) -> list[str]:
    given = {"level": "debug"} | wanted
    return [entry.event for entry in await logs.newest(**given)]  # type: ignore[arg-type]


async def test_an_entry_is_reported_with_its_time_and_its_fields(ring: Ring, logs: Logs) -> None:
    say(ring, "run.moved", run_id=RUN, fence=3, outcome=None)
    (entry,) = await logs.newest(level="info")
    assert entry.at.isoformat() == "2026-01-05T09:14:02.123000+00:00"
    assert entry.fields == {"run_id": RUN, "fence": 3, "outcome": None}


async def test_entries_of_one_run_are_found_by_its_id_or_the_end_of_it(ring: Ring, logs: Logs) -> None:
    say(ring, "event.mine", run_id=RUN)
    say(ring, "event.other", run_id=OTHER)
    say(ring, "event.nobodys")
    assert await newest(logs, run=RUN) == ["event.mine"]
    assert await newest(logs, run="6789ab") == ["event.mine"]
    assert await newest(logs, run="89ab") == [], "so short an end may be anybody's"


async def test_entries_of_one_device_are_found_by_its_name_or_id(ring: Ring, logs: Logs) -> None:
    say(ring, "event.mine", device_id="d-1")
    say(ring, "event.other", device_id="d-2")
    assert await newest(logs, device="desk") == ["event.mine"]
    assert await newest(logs, device="d-1") == ["event.mine"]
    with pytest.raises(UnknownDevice, match="there is no device 'tower'"):
        await newest(logs, device="tower")
    with pytest.raises(UnknownDevice):
        await logs.follow(device="tower", level="info", limit=1)


async def test_less_than_the_level_is_left_out(ring: Ring, logs: Logs) -> None:
    for level in ("debug", "info", "warning", "error"):
        say(ring, f"event.{level}", level)
    assert await newest(logs, level="warning") == ["event.error", "event.warning"]


async def test_a_follower_gets_the_last_ones_and_then_each_that_comes(ring: Ring, logs: Logs) -> None:
    for number in range(5):
        say(ring, f"event.n{number}", run_id=RUN)
    got: list[str] = []

    async def read(entries: AsyncGenerator[LogView]) -> None:
        async with aclosing(entries):
            async for entry in entries:
                got.append(entry.event)
                if entry.event == "event.last":
                    return

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            entries = await logs.follow(run=RUN, level="info", limit=2)
            group.start_soon(read, entries)
            await anyio.wait_all_tasks_blocked()
            assert got == ["event.n3", "event.n4"]
            say(ring, "event.other", run_id=OTHER)
            say(ring, "event.last", run_id=RUN)
    assert got == ["event.n3", "event.n4", "event.last"]
