"""Two nodes on one database with a hub.toml each: neither archives the other's agents, and both say so."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hub.app import boot
from hub.app.boot import Context
from hub.health.doors import check_declarations
from storage.agents import agents
from storage.devices import nodes
from storage.store import open_store
from tests.support.clock import START, FakeClock
from tests.support.hub import open_context
from tests.support.postgres import Postgres

LISTEN = '[listen.devices]\naddress = "127.0.0.1:0"\n[listen.operator]\naddress = "127.0.0.1:0"\n'


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as fresh:
        yield fresh


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def agent(name: str, prompt: str = "Find.") -> str:
    return f'[[agents]]\nname = "{name}"\nprompt = "{prompt}"\n'


async def _starts(resources: AsyncExitStack, folder: Path, url: str, node: str, text: str) -> Context:
    """A node that has applied its hub.toml."""
    (folder / node).mkdir(exist_ok=True)
    opened = open_context(folder / node, LISTEN + text, clock=FakeClock(), database=url, node=node)
    context = await resources.enter_async_context(opened)
    await boot.begin(context)
    return context


async def _issues(context: Context) -> list[tuple[str, str]]:
    found = await check_declarations(context.store, context.node.id, START)
    return [(one.id, one.explanation) for one in found]


async def test_two_nodes_with_different_files_keep_each_others_agents_and_name_what_differs(
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


async def test_a_hub_that_has_its_database_alone_archives_what_it_no_longer_declares(
    resources: AsyncExitStack, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    async with AsyncExitStack() as first:
        await _starts(first, tmp_path, url, "east", agent("inbox"))
    context = await _starts(resources, tmp_path, url, "west", agent("notes"))
    rows = await context.store.read(agents.list_agents)
    assert [row.name for row in rows if row.archived_at is None] == ["notes"]
    assert await _issues(context) == []
