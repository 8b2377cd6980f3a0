"""Two hubs on one PostgreSQL: settings that are published at one of them are in use at both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from hub.base.toml.problems import SettingsInvalid
from hub.health.access_checks import check_revisions
from storage import audit
from storage.agents import agents
from tests.support.clock import START
from tests.support.hub import TEXT, ServedHub, nodes_of, over_unix
from tests.support.postgres import Postgres

PUSHED = """\
[listen.devices]
address = "0.0.0.0:8770"
[limits]
runs = 9
[[agents]]
name = "inbox"
prompt = "Find."
"""
OWN = '[listen]\ndevices = { address = "127.0.0.1:0" }\noperator = { address = "127.0.0.1:0" }\n'
NEEDS_SECRET = '[[gateways]]\nname = "claw"\nurl = "wss://claw.example"\ntoken = { file = "claw.token" }\n'


class Pair(NamedTuple):
    """Two hubs, and a client of the first."""

    east: ServedHub
    west: ServedHub
    client: httpx2.AsyncClient

    async def push(self, text: str | None = None, **body: Any) -> httpx2.Response:
        """Publish settings at the first hub."""
        body |= {} if text is None else {"text": text, "name": "pushed.toml"}
        return await self.client.post("/v1/config/revisions", json=body)

    async def nodes(self) -> list[tuple[int | None, str | None]]:
        """Which revision each node says it uses, and why not the newest one."""
        listed = (await self.client.get("/v1/nodes")).json()["nodes"]
        return [(node["settings_revision"], node["settings_refused"]) for node in listed]

    async def issues(self) -> list[str]:
        """What doctor says of the nodes."""
        return [one.explanation for one in await check_revisions(self.east.store, START)]


@pytest.fixture
async def pair(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as opened:
        url = opened.enter_context(postgres.database())
        hubs = nodes_of(tmp_path, url, "node-east", "node-west", text=OWN)
        east, west = await opened.enter_async_context(hubs)
        yield Pair(east, west, await opened.enter_async_context(over_unix(east)))


async def follow(hub: ServedHub) -> None:
    """The hub looks for a new revision, as it does each second."""
    await hub.context.watch_settings.reloader.follow(actor="hub")


def runs_of(hub: ServedHub) -> int:
    """The limit of runs that the hub uses."""
    return hub.context.watch_settings.reloader.current.limits.runs


async def test_pushed_settings_apply_to_every_node_until_withdrawn(pair: Pair) -> None:
    default = runs_of(pair.east)
    answer = await pair.push(PUSHED)
    assert (answer.status_code, answer.json()["live"]) == (200, ["agents.inbox", "limits.runs"])
    assert (runs_of(pair.east), runs_of(pair.west)) == (9, default)
    assert await pair.nodes() == [(1, None), (None, None)]
    await follow(pair.west)
    assert (runs_of(pair.west), await pair.nodes(), await pair.issues()) == (9, [(1, None), (1, None)], [])
    assert [row.archived_at for row in await pair.west.store.read(agents.list_agents)] == [None]
    (change,) = await pair.east.store.read(
        audit.list_entries, event="settings.changed", subject="limits.runs"
    )
    assert change.actor.startswith("operator:"), "one node writes what changed, not each"

    refused = await pair.push(withdraw=True)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_params")
    assert "does not declare agents.inbox, which would be archived" in refused.json()["detail"]
    assert await pair.nodes() == [(1, None), (1, None)]
    assert (await pair.push(withdraw=True, archive=True)).json()["archived"] == ["agents.inbox"]
    await follow(pair.west)
    assert (runs_of(pair.east), runs_of(pair.west)) == (default, default)
    assert (await pair.push(revision=1)).status_code == 200
    await follow(pair.west)
    assert (runs_of(pair.west), await pair.nodes()) == (9, [(3, None), (3, None)])
    listed = (await pair.client.get("/v1/config/revisions")).json()["revisions"]
    tables = ["limits", "agents"]
    assert [(one["number"], one["tables"]) for one in listed] == [(3, tables), (2, []), (1, tables)]
    text = (await pair.client.get("/v1/config/revisions/1")).json()["text"]
    assert text == PUSHED.replace('[listen.devices]\naddress = "0.0.0.0:8770"', "# settings revision 1")


async def test_table_pushed_with_an_agent_is_declared_at_every_node(pair: Pair) -> None:
    table = """\
[[tables]]
name = "contacts"
description = "people"
key = ["name"]
fields = [{ name = "name" }]
[[agents]]
name = "people"
data_types = ["contacts"]
prompt = "Find people."
"""
    answer = await pair.push(table)
    assert (answer.status_code, answer.json()["live"]) == (200, ["agents.people", "tables"])
    await follow(pair.west)
    async with over_unix(pair.west) as west:
        listed = (await west.get("/v1/tables")).json()["tables"]
        assert listed[0]["name"] == "contacts"
        assert [field["name"] for field in listed[0]["fields"]] == ["name"]
        assert (await west.get("/v1/agents/people")).json()["data_types"] == ["contacts"]
    without = table[table.index("[[agents]]") :]
    assert "there is no table 'contacts'" in (await pair.push(without)).text


async def test_settings_revision_replacing_a_revision_other_than_the_read_revision_is_refused(
    pair: Pair,
) -> None:
    async def push(tag: str) -> tuple[int, str | None]:
        body = {"text": PUSHED}
        answer = await pair.client.post("/v1/config/revisions", json=body, headers={"if-match": tag})
        return answer.status_code, answer.headers.get("etag")

    assert await push('"1"') == (412, None)
    assert await push('"0"') == (200, '"1"')
    assert await push('"0"') == (412, None)
    read = await pair.client.get("/v1/config/revisions/1")
    assert await push(read.headers["etag"]) == (200, '"2"')
    assert await push("*") == (200, '"3"')
    assert len((await pair.client.get("/v1/config/revisions")).json()["revisions"]) == 3


async def test_settings_unusable_by_the_asked_node_are_not_published(pair: Pair) -> None:
    for text in (NEEDS_SECRET, "[limits]\nruns = 0\n", "[limits"):
        refused = await pair.push(text)
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_settings")
        assert refused.json()["detail"].startswith("pushed.toml:")
    assert (await pair.push(revision=1)).json()["code"] == "unknown_name"
    assert (await pair.client.get("/v1/config/revisions")).json()["revisions"] == []
    await follow(pair.west)
    assert await pair.nodes() == [(None, None), (None, None)]


async def test_node_unable_to_use_a_settings_revision_retains_the_previous_revision(pair: Pair) -> None:
    await pair.push(PUSHED)
    await follow(pair.west)
    (pair.east.folder / "claw.token").write_text("secret")
    (pair.east.folder / "claw.token").chmod(0o600)
    assert (await pair.push(PUSHED.replace("9", "7") + NEEDS_SECRET)).status_code == 200
    with pytest.raises(SettingsInvalid):
        await follow(pair.west)
    assert (runs_of(pair.east), runs_of(pair.west)) == (7, 9)
    (east, (number, why)) = await pair.nodes()
    assert (east, number) == ((2, None), 1)
    assert why is not None and "settings revision 2:10:" in why and "claw.token" in why
    (issue,) = await pair.issues()
    assert issue.startswith("node ") and " does not use settings revision 2: settings revision 2:10:" in issue
    (pair.west.folder / "claw.token").write_text("secret")
    (pair.west.folder / "claw.token").chmod(0o600)
    await pair.west.context.watch_settings.reloader.reload(actor="operator:7")
    assert (runs_of(pair.west), await pair.nodes(), await pair.issues()) == (7, [(2, None)] * 2, [])


async def test_node_started_later_uses_the_newest_pushed_revision(tmp_path: Path, postgres: Postgres) -> None:
    with postgres.database() as url:
        async with nodes_of(tmp_path, url, "node-east", text=OWN) as (east,), over_unix(east) as client:
            assert (await Pair(east, east, client).push(PUSHED)).status_code == 200
            async with nodes_of(tmp_path, url, "node-west", text=OWN) as (west,):
                assert (west.context.settings.limits.runs, runs_of(west)) == (9, 9)
                assert [row.name for row in await west.store.read(agents.list_agents)] == ["inbox"]
        (tmp_path / "node-east").rename(tmp_path / "before")
        async with nodes_of(tmp_path, url, "node-east", text=TEXT) as (east,):
            assert (runs_of(east), await east.store.read(agents_archived)) == (9, [])


def agents_archived(c: Any) -> list[str]:
    """Names of the agents that are archived."""
    return [row.name for row in agents.list_agents(c) if row.archived_at is not None]


async def test_config_history_covers_all_nodes_and_a_diff_covers_a_single_node(pair: Pair) -> None:
    async def changed(client: httpx2.AsyncClient, since: int, until: int) -> list[tuple[str, str | None]]:
        answer = await client.get("/v1/config/diff", params={"since": since, "until": until})
        return [(one["key"], one["new"]) for one in answer.json()["changes"]]

    async with over_unix(pair.west) as west:
        for client, name in ((west, "west"), (west, "wildwest"), (pair.client, "east")):
            assert (await client.patch("/v1/config", json={"values": {"hub.name": name}})).status_code == 200
        assert (await pair.push(PUSHED)).status_code == 200
        assert await changed(west, 1, 3) == [("hub.name", '"wildwest"')]
        await follow(pair.west)
        assert await changed(west, 3, 4) == [
            ("agents.inbox", mine := '{ name = "inbox", prompt = "Find." }'),
            ("limits.runs", "9"),
        ]
        assert await changed(west, 1, 2) == [("hub.name", '"west"')]
        assert await changed(pair.client, 1, 3) == [
            ("agents.inbox", mine),
            ("hub.name", '"east"'),
            ("limits.runs", "9"),
        ]
        listed = (await west.get("/v1/config/history")).json()["changes"]
        assert [(one["node"], one["source"], one["generation"], one["revision"]) for one in listed[1:]] == [
            ("node-east", "revision", 3, 1),
            ("node-east", "edit", 2, None),
            ("node-west", "edit", 3, None),
            ("node-west", "edit", 2, None),
        ]
        taken_back = await west.post("/v1/config/revert", json={"key": "hub.name"})
        assert taken_back.json()["restart"] == ["hub.name"]
        assert 'name = "west"' in pair.west.settings.read_text()
        shared = await west.post("/v1/config/revert", json={"key": "limits.runs"})
        assert (shared.status_code, "hub config push" in shared.json()["detail"]) == (422, True)
