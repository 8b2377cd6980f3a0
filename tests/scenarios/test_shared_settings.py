"""Two hub processes on one PostgreSQL: what is published at one is used by the other, also after a kill."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.support.postgres import Postgres
from tests.support.processes import POLL_S, HubProcess

OWN = """\
[storage]
url = "{url}"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
"""
AGENT = '[[agents]]\nname = "inbox"\ndevice = "desk"\npaths = ["notes"]\nprompt = "Find."\n'
RUNS = "[limits]\nruns = {runs}\n"


@asynccontextmanager
async def two_hubs(folder: Path, postgres: Postgres) -> AsyncIterator[tuple[HubProcess, HubProcess]]:
    async with AsyncExitStack() as opened:
        url = opened.enter_context(postgres.database())
        hubs = []
        for name in ("east", "west"):
            (folder / name).mkdir()
            hubs.append(HubProcess(folder / name, settings=OWN.format(url=url)))
            opened.push_async_callback(hubs[-1].close)
            await hubs[-1].start()
        yield hubs[0], hubs[1]


async def has_runs(hub: HubProcess, runs: int) -> None:
    """Until the hub uses this limit."""
    with anyio.fail_after(30.0):
        while (await hub.get("/v1/config"))["settings"]["limits"]["runs"] != runs:
            await anyio.sleep(POLL_S)


async def push(hub: HubProcess, runs: int) -> None:
    await hub.post("/v1/config/revisions", {"text": RUNS.format(runs=runs) + AGENT})


@pytest.mark.soak
async def test_published_settings_reach_a_running_node_and_one_that_was_dead_meanwhile(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with two_hubs(tmp_path, postgres) as (east, west):
        await push(east, 9)
        await has_runs(west, 9)
        await west.kill()
        await push(east, 7)
        await west.start()
        await has_runs(west, 7)
        listed = (await west.get("/v1/nodes"))["nodes"]
        assert [node["settings_revision"] for node in listed] == [2, 2]
        assert [agent["name"] for agent in (await west.get("/v1/agents"))["agents"]] == ["inbox"]
        await west.post("/v1/config/revisions", {"withdraw": True, "archive": True})
        await has_runs(east, 32)
