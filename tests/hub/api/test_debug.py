"""The hub's insides at one moment."""

import threading
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from hub.api.nouns.logs import MOST_CONNECTIONS, Dumper
from hub.links.roster import LocalLink
from protocol.ids import DeviceId
from tests.support.clock import FakeClock
from tests.support.log import opened_log


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


async def test_tasks_that_wait_at_the_same_place_are_reported_together_with_the_whole_way_there(
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
    mine = "tests/hub/api/test_debug.py"
    assert f"{mine} deep" in places
    assert places.index(f"{mine} deep") < places.index(f"{mine} deeper")


async def test_threads_are_reported_where_they_stand(debug: Dumper) -> None:
    leave, thread = threading.Event(), None
    thread = threading.Thread(target=leave.wait, name="stands still")
    thread.start()
    try:
        (told,) = [one for one in debug.dump().threads if one.name == "stands still"]
        assert "threading.py" in told.stack[-1]
    finally:
        leave.set()
        thread.join()


async def test_of_many_connections_those_that_hold_up_the_most_are_reported(debug: Dumper) -> None:
    links = [a_link(number) for number in range(1_000)]
    links += [a_link(5_000, pending=3), a_link(5_001, unsent=70_000)]
    debug.links = lambda: links
    dump = debug.dump()
    assert [one.device_id for one in dump.connections[:2]] == ["d-5000", "d-5001"]
    assert len(dump.connections) == MOST_CONNECTIONS
    assert (dump.connected, dump.pending_calls, dump.unsent_bytes) == (1_002, 3, 70_000)


async def test_a_dump_in_the_log_is_one_line_for_each_part_and_none_is_held_back(
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
