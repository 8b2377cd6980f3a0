"""The identity of a node, its start, and settings of several nodes."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from hub.api.resources.audit_log import AuditCheckView, AuditLogResource
from hub.app import boot
from hub.app.boot import FILE, HubContext, Node
from hub.base.clock import IdFactory
from hub.base.listen_errors import AnotherHub
from hub.health.access_checks import check_declarations
from hub.runs.leases import LEASE_MS, RENEW_EVERY_S, RETRY_S, LeaseKeeper
from protocol.ids import BootId
from storage import audit, leases
from storage.agents import agents
from storage.devices import nodes
from storage.store import Store, open_store
from tests.hub.app.test_settings_application import grounded
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.hub import open_context
from tests.support.settings import files_of_at_most
from tests.support.wire import until

FIRST, SECOND = BootId("first"), BootId("second")


@pytest.fixture
def ids(clock: FakeClock) -> IdFactory:
    return IdFactory(clock, SeededChance())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def _lives(store: Store, node: Node, boot: BootId = FIRST, *, ttl_ms: int = LEASE_MS) -> None:
    await store.write(nodes.begin_boot, node.id, boot, 0)
    await store.write(leases.beat, node.id, boot, ttl_ms=ttl_ms)


def _copied(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("copy"))


def test_state_folder_admits_a_single_process_and_retains_the_node_id(tmp_path: Path, ids: IdFactory) -> None:
    with closing(Node(tmp_path, ids)) as node, pytest.raises(AnotherHub, match="a hub is running on"):
        Node(tmp_path, ids)
    with closing(Node(tmp_path, ids)) as again:
        assert (again.id, again.is_moved) == (node.id, False)


async def test_node_id_survives_a_full_disk_and_a_truncated_file(
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


def test_truncated_node_id_is_replaced_by_a_new_id(tmp_path: Path, ids: IdFactory) -> None:
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
    await store.write(leases.beat, node.id, FIRST, ttl_ms=LEASE_MS)
    clock.advance(1)


async def test_copied_state_folder_starts_after_the_lease_of_the_original_expired(
    tmp_path: Path, url: str, ids: IdFactory, clock: FakeClock
) -> None:
    (original := tmp_path / "original").mkdir()
    async with open_store(url) as store:
        with closing(Node(original, ids)) as node:
            await _lives(store, node)
        with closing(Node(_copied(original), ids)) as copy:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(copy.claim, store, clock)
                for _ in range(round(RENEW_EVERY_S + RETRY_S)):
                    await until(lambda: clock.sleeping == 1)
                    clock.advance(1)
            assert not copy.is_moved
        with closing(Node(tmp_path / "copy", ids)) as again:
            assert (again.id, again.is_moved) == (node.id, False)


async def test_hub_ends_when_a_later_process_has_the_same_node_id(
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
            assert await store.read(leases.lives_until, node.id) is not None


LISTEN = '[listen.devices]\naddress = "127.0.0.1:0"\n[listen.operator]\naddress = "127.0.0.1:0"\n'


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def agent(name: str, prompt: str = "Find.") -> str:
    return f'[[agents]]\nname = "{name}"\nprompt = "{prompt}"\n'


async def _starts(resources: AsyncExitStack, folder: Path, url: str, node: str, text: str) -> HubContext:
    """A node that has applied its hub.toml."""
    (folder / node).mkdir(exist_ok=True)
    opened = open_context(folder / node, LISTEN + text, clock=FakeClock(), database=url, node=node)
    context = await resources.enter_async_context(opened)
    await boot.begin(context)
    return context


async def _issues(context: HubContext) -> list[tuple[str, str]]:
    found = await check_declarations(context.store, context.node.id, START)
    return [(one.id, one.explanation) for one in found]


async def test_nodes_with_different_files_retain_all_agents_and_report_differences(
    resources: AsyncExitStack, tmp_path: Path, url: str
) -> None:
    both = agent("inbox") + agent("notes")
    east = await _starts(resources, tmp_path, url, "east", both)
    assert await _issues(east) == []
    west = await _starts(resources, tmp_path, url, "west", agent("notes", "Find all."))
    rows = await west.store.read(agents.list_agents)
    assert {row.name: row.archived_at for row in rows} == {"inbox": None, "notes": None}
    for context in (east, west):
        ((id, text),) = await _issues(context)
        assert id == "settings.differ"
        assert text.endswith(" declares otherwise than this node: agent owner/notes")

    await boot.end(east)
    assert [id for id, _ in await _issues(west)] == ["settings.left"]
    async with open_store(url) as store:
        await store.write(nodes.remove_node, "east")
    assert await _issues(west) == []


async def test_hub_alone_on_the_database_archives_agents_no_longer_declared(
    resources: AsyncExitStack, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    async with AsyncExitStack() as first:
        await _starts(first, tmp_path, url, "east", agent("inbox"))
    context = await _starts(resources, tmp_path, url, "west", agent("notes"))
    rows = await context.store.read(agents.list_agents)
    assert [row.name for row in rows if row.archived_at is None] == ["notes"]
    assert await _issues(context) == []


async def test_audit_log_of_a_new_hub_begins_with_hub_created_and_verifies(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        assert (await verified(context)).ok, "nothing has started yet"
        begun = await boot.begin(context)
        first = (await context.store.read(audit.list_entries, limit=1, oldest_first=True))[0]
        assert (first.seq, first.event, first.subject) == (1, "hub.created", begun.hub_id)
        await boot.begin(context)
        assert (await verified(context)).ok
        assert len(await context.store.read(audit.list_entries, limit=9, event="hub.created")) == 1


async def test_an_emptied_audit_log_is_reported_also_after_a_start(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        await boot.begin(context)
        await context.store.write(wipe)
        assert not (await verified(context)).ok
        await boot.begin(context)
        told = await verified(context)
        assert [(found.seq, "gone" in found.what) for found in told.breaks] == [(1, True)]


async def test_each_start_logs_the_head_of_the_audit_log(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        for _ in range(2):
            await boot.begin(context)
        (entry,) = await context.store.read(audit.list_entries, limit=9)
        told = [line.fields for line in context.log.ring.since(0) if line.event == "audit.head"]
        assert told == [{"seq": 1, "hash": entry.hash.hex()}] * 2


async def verified(context: HubContext) -> AuditCheckView:
    return await AuditLogResource(context.store, context.clock).verify()


def wipe(c: sa.Connection) -> None:
    c.execute(sa.text("DELETE FROM audit_log"))
    c.execute(sa.text("DELETE FROM hub WHERE key = 'audit.head'"))
