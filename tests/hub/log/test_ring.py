"""The last entries, numbered, for whoever looks at a running hub."""

from collections.abc import Callable

import anyio
import anyio.to_thread

from hub.log import Channel, LogEntry, Ring
from tests.support.log import Opened


def add(ring: Ring, event: str = "a.b") -> LogEntry:
    return ring.append(at=0, level="info", event=event, channel="x", fields={})


def test_ring_numbers_entries_drops_the_oldest_and_returns_those_after_a_number() -> None:
    ring = Ring(most=3)
    assert (ring.first, ring.last, ring.since(0)) == (1, 0, [])
    for _ in range(5):
        add(ring)
    assert (ring.first, ring.last) == (3, 5)
    assert [[one.seq for one in ring.since(after)] for after in (0, 3, 5, 9)] == [[3, 4, 5], [4, 5], [], []]


async def test_a_reader_is_woken_by_the_next_entry_whichever_thread_logs_it() -> None:
    ring = Ring()
    add(ring)
    woken = list[int]()

    async def read() -> None:
        await ring.wait(1)
        woken.append(ring.last)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        await anyio.to_thread.run_sync(add, ring)
    assert woken == [2, 2]


async def test_a_reader_that_is_behind_does_not_wait_and_one_that_leaves_is_forgotten() -> None:
    ring = Ring()
    with anyio.move_on_after(0):
        await ring.wait(0)
    add(ring)
    assert ring.last == 1
    with anyio.fail_after(1):
        await ring.wait(0)


def test_ring_keeps_info_entries_when_the_log_starts_at_warnings(
    fresh: Callable[..., Opened],
) -> None:
    opened = fresh("warning")
    Channel("hub.test").info("run.queued", run_id="r")
    Channel("hub.test").debug("run.looked_at")

    assert [entry.event for entry in opened.log.ring.since(0)] == ["run.queued"]
    assert opened.lines() == []
