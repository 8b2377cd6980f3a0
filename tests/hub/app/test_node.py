"""One identity has one living process: a folder is locked, and a copy of it is recognised."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from hub.api.door.sockets import AnotherHub
from hub.app.boot import FILE, Node
from hub.clock import IdFactory
from hub.runs.leases import LEASE_MS, LeaseKeeper
from protocol.ids import BootId
from storage.devices import nodes
from storage.store import Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.postgres import Postgres
from tests.support.settings import files_of_at_most
from tests.support.wire import until

FIRST, SECOND = BootId("first"), BootId("second")


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as fresh:
        yield fresh


@pytest.fixture
def ids(clock: FakeClock) -> IdFactory:
    return IdFactory(clock, SeededChance())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def _lives(store: Store, node: Node, boot: BootId = FIRST, *, ttl_ms: int = LEASE_MS) -> None:
    await store.write(nodes.begin_boot, node.id, boot, 0)
    await store.write(nodes.beat, node.id, boot, ttl_ms=ttl_ms)


def _copied(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("copy"))


def test_a_folder_has_one_process_and_its_identity_stays(tmp_path: Path, ids: IdFactory) -> None:
    with closing(Node(tmp_path, ids)) as node, pytest.raises(AnotherHub, match="a hub is running on"):
        Node(tmp_path, ids)
    with closing(Node(tmp_path, ids)) as again:
        assert (again.id, again.is_moved) == (node.id, False)


async def test_a_full_disk_and_a_crash_leave_a_node_its_identity(
    tmp_path: Path, ids: IdFactory, clock: FakeClock
) -> None:
    with closing(Node(tmp_path, ids)) as node:
        pass
    file = tmp_path / FILE
    file.write_text(f"{node.id}\nanother:place:of-before\n")
    async with open_store("sqlite://") as store:
        full_disk = pytest.raises(OSError, match="File too large")
        with closing(Node(tmp_path, ids)) as moved, files_of_at_most(0), full_disk:
            await moved.claim(store, clock)
        for cut in range(len(node.id) + 1, file.stat().st_size):
            os.truncate(file, cut)
            with closing(Node(tmp_path, ids)) as again:
                assert (again.id, again.is_moved) == (node.id, True)
                await again.claim(store, clock)
            assert file.read_text().startswith(f"{node.id}\n")


def test_an_identity_that_was_never_written_whole_is_none(tmp_path: Path, ids: IdFactory) -> None:
    with closing(Node(tmp_path, ids)) as node:
        pass
    (tmp_path / FILE).write_text(node.id[:9])
    with closing(Node(tmp_path, ids)) as another:
        assert another.id not in (node.id, node.id[:9])


async def test_a_copy_of_a_state_folder_is_refused_while_the_hub_of_the_original_lives(
    tmp_path: Path, url: str, ids: IdFactory, clock: FakeClock
) -> None:
    (original := tmp_path / "original").mkdir()
    async with open_store(url) as store:
        with closing(Node(original, ids)) as node:
            await _lives(store, node)
            folder = _copied(original)
            for _ in range(2):  # the second start is refused like the first
                with closing(Node(folder, ids)) as copy:
                    assert (copy.id, copy.is_moved) == (node.id, True)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_renewed, store, node, clock)
                        with pytest.raises(AnotherHub, match=rf"is a copy: .*; remove {folder / FILE} to"):
                            await copy.claim(store, clock)


async def _renewed(store: Store, node: Node, clock: FakeClock) -> None:
    await until(lambda: clock.sleeping == 1)
    await store.write(nodes.beat, node.id, FIRST, ttl_ms=LEASE_MS)
    clock.advance(1)


async def test_a_copy_starts_once_the_hub_of_the_original_renews_its_lease_no_more(
    tmp_path: Path, url: str, ids: IdFactory, clock: FakeClock
) -> None:
    (original := tmp_path / "original").mkdir()
    async with open_store(url) as store:
        with closing(Node(original, ids)) as node:
            await _lives(store, node)
        with closing(Node(_copied(original), ids)) as copy:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(copy.claim, store, clock)
                for _ in range(6):
                    await until(lambda: clock.sleeping == 1)
                    clock.advance(1)
            assert not copy.is_moved
        with closing(Node(tmp_path / "copy", ids)) as again:
            assert (again.id, again.is_moved) == (node.id, False)


async def test_a_hub_ends_when_a_later_process_has_its_identity(
    tmp_path: Path, url: str, ids: IdFactory, clock: FakeClock
) -> None:
    ended = anyio.Event()
    async with open_store(url) as store:
        with closing(Node(tmp_path, ids)) as node:
            await _lives(store, node)
            await _lives(store, node, SECOND)
            keeper = LeaseKeeper(
                lambda: open_store(url), node_id=node.id, boot_id=FIRST, clock=clock, on_lost=ended.set
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keeper.serve)
                with anyio.fail_after(30):
                    await ended.wait()
                tasks.cancel_scope.cancel()
            assert await store.read(nodes.lives_until, node.id) is not None
