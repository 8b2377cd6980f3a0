"""Lists in pages, and edits that nobody overtook."""

from pathlib import Path

import httpx2
import pytest
from msgspec import structs

from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, answering, make_decision, make_run, over_unix, steps


async def _walk(client: httpx2.AsyncClient, path: str, noun: str, limit: int) -> list[list[str]]:
    """The ids of every page, following the cursor and, beside it, the link."""
    pages: list[list[str]] = []
    answer = await client.get(path, params={"limit": limit})
    while True:
        told = answer.json()
        pages.append([str(item["id"]) for item in told[noun]])
        assert len(pages) < 20
        if told["next_cursor"] is None:
            assert "link" not in answer.headers
            return pages
        target = answer.links["next"]["url"]
        by_cursor = await client.get(path, params={"limit": limit, "cursor": told["next_cursor"]})
        answer = await client.get(target)
        assert answer.json() == by_cursor.json()


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
async def test_the_pages_of_a_list_are_the_list(tmp_path: Path, limit: int, sizes: list[int]) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        for name in ("b", "a", "d", "c"):
            await hub.bench.device(name)
        pages = await _walk(client, "/v1/devices", "devices", limit)
        whole = (await client.get("/v1/devices")).json()["devices"]
    assert [len(page) for page in pages] == sizes
    assert [id for page in pages for id in page] == [device["id"] for device in whole]


async def test_what_comes_meanwhile_neither_doubles_nor_hides_another(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.newest = [make_run(f"r-{number}") for number in (5, 4, 3, 2)]
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        first = (await client.get("/v1/runs", params={"limit": 2})).json()
        hub.newest.insert(0, make_run("r-6"))
        cursor = first["next_cursor"]
        second = (await client.get("/v1/runs", params={"limit": 2, "cursor": cursor})).json()
    told = [run["id"] for run in (*first["runs"], *second["runs"])]
    assert (told, second["next_cursor"]) == (["r-5", "r-4", "r-3", "r-2"], None)


async def test_the_fires_of_an_agent_come_in_pages(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.decided = [make_decision()]
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        told = (await client.get("/v1/agents/notes/fires", params={"limit": 1})).json()
    assert (len(told["fires"]), told["next_cursor"]) == (1, None)


@pytest.mark.parametrize(
    "cursor", ["nonsense", "!!", "W10", "WzFd", "WyJhXHUwMDAwIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd", "bnVsbA"]
)
async def test_a_cursor_of_another_list_is_refused(tmp_path: Path, cursor: str) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        for path in ("/v1/users", "/v1/devices", "/v1/items"):
            refused = await client.get(path, params={"cursor": cursor})
            assert (refused.status_code, refused.json()["code"]) == (422, "bad_params"), path


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
async def test_a_page_has_a_size_within_reason(tmp_path: Path, limit: str) -> None:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        assert (await client.get("/v1/agents", params={"limit": limit})).status_code == 422


async def test_a_change_of_what_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        read = (await client.get("/v1/agents/notes")).headers["etag"]
        paused = await client.post("/v1/agents/notes/pause", headers={"if-match": read})
        stale = await client.post("/v1/agents/notes/resume", headers={"if-match": read})
        fresh = await client.post("/v1/agents/notes/resume", headers={"if-match": paused.headers["etag"]})
        any_tag = await client.post("/v1/agents/notes/pause", headers={"if-match": "*"})
    assert (paused.status_code, stale.status_code, fresh.status_code, any_tag.status_code) == (
        *(200, 412),
        *(200, 200),
    )
    assert stale.json()["code"] == "changed_meanwhile"
    assert [done[0] for done in hub.done] == ["pause agent", "resume agent", "pause agent"]


async def test_a_run_that_moved_is_not_changed_by_whoever_saw_it_before(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress = steps(make_run("r-1", RunState.RUNNING))
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        read = (await client.get("/v1/runs/r-1")).headers["etag"]
        hub.progress = steps(make_run("r-1", RunState.COMPLETED))
        for change in ("cancel", "pause", "resume"):
            stale = await client.post(f"/v1/runs/r-1/{change}", headers={"if-match": read})
            assert stale.status_code == 412
    assert hub.done == []


async def test_a_tag_stays_while_only_time_goes_by(tmp_path: Path) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        first = (await client.get("/v1/agents/notes")).headers["etag"]
        hub.schedule = hub.schedule and structs.replace(hub.schedule, next_fires=())
        assert (await client.get("/v1/agents/notes")).headers["etag"] == first
        hub.schedule = hub.schedule and structs.replace(hub.schedule, enabled=False)
        assert (await client.get("/v1/agents/notes")).headers["etag"] != first
