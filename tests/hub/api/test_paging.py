"""Lists in pages, and edits under the tag of the version that was read."""

import httpx2
import pytest

from protocol.lifecycles import RunState
from tests.support.hub import ServedHub


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
async def test_the_pages_of_a_list_are_the_list(
    hub: ServedHub, client: httpx2.AsyncClient, limit: int, sizes: list[int]
) -> None:
    for name in ("b", "a", "d", "c"):
        await hub.device(name)
    pages = await _walk(client, "/v1/devices", "devices", limit)
    whole = (await client.get("/v1/devices")).json()["devices"]
    assert [len(page) for page in pages] == sizes
    assert [id for page in pages for id in page] == [device["id"] for device in whole]


async def test_the_fires_of_an_agent_come_in_pages(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    await hub.pass_days(2)
    path = "/v1/agents/notes/fires"
    first = (await client.get(path, params={"limit": 1})).json()
    last = (await client.get(path, params={"limit": 1, "cursor": first["next_cursor"]})).json()
    fires = [fire["fire_at"] for page in (first, last) for fire in page["fires"]]
    assert fires == ["2026-01-07T06:00:00Z", "2026-01-06T06:00:00Z"]
    assert last["next_cursor"] is None


@pytest.mark.parametrize(
    "cursor", ["nonsense", "!!", "W10", "WzFd", "WyJhXHUwMDAwIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd", "bnVsbA"]
)
async def test_a_cursor_of_another_list_is_refused(client: httpx2.AsyncClient, cursor: str) -> None:
    for path in ("/v1/users", "/v1/devices", "/v1/items"):
        refused = await client.get(path, params={"cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_params"), path


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
async def test_the_size_of_a_page_has_bounds(client: httpx2.AsyncClient, limit: str) -> None:
    assert (await client.get("/v1/agents", params={"limit": limit})).status_code == 422


async def test_an_edit_of_an_older_version_of_an_agent_is_refused(client: httpx2.AsyncClient) -> None:
    read = (await client.get("/v1/agents/notes")).headers["etag"]
    paused = await client.post("/v1/agents/notes/pause", headers={"if-match": read})
    stale = await client.post("/v1/agents/notes/resume", headers={"if-match": read})
    assert (await client.get("/v1/agents/notes")).json()["lifecycle"] == "paused"
    fresh = await client.post("/v1/agents/notes/resume", headers={"if-match": paused.headers["etag"]})
    any_tag = await client.post("/v1/agents/notes/pause", headers={"if-match": "*"})
    answers = [paused, stale, fresh, any_tag]
    assert [answer.status_code for answer in answers] == [200, 412, 200, 200]
    assert stale.json()["code"] == "changed_meanwhile"


async def test_a_change_under_the_tag_of_an_earlier_state_of_a_run_is_refused(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1", RunState.RUNNING)
    read = (await client.get("/v1/runs/r-1")).headers["etag"]
    await hub.move("r-1", RunState.COMPLETED)
    for change in ("cancel", "pause", "resume"):
        stale = await client.post(f"/v1/runs/r-1/{change}", headers={"if-match": read})
        assert stale.status_code == 412
    assert (await client.get("/v1/runs/r-1")).json()["history"][-1]["after"] == "COMPLETED"


async def test_the_tag_of_an_agent_changes_with_its_schedule_and_not_with_time(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    first = await client.get("/v1/agents/notes")
    hub.clock.advance(86_400)
    later = await client.get("/v1/agents/notes")
    assert later.json()["next_fires"] != first.json()["next_fires"]
    assert later.headers["etag"] == first.headers["etag"]
    await client.patch("/v1/agents/notes", json={"schedule": "0 8 * * *"})
    assert (await client.get("/v1/agents/notes")).headers["etag"] != first.headers["etag"]
