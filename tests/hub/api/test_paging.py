"""Lists in pages, and edits under the tag of the version that was read."""

import httpx2

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


async def test_the_pages_of_a_list_are_the_list(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    for name in ("b", "a", "d", "c"):
        await hub.device(name)
    whole = [device["id"] for device in (await client.get("/v1/devices")).json()["devices"]]
    assert await _walk(client, "/v1/devices", "devices", 2) == [whole[:2], whole[2:4], whole[4:]]
    assert await _walk(client, "/v1/devices", "devices", 5) == [whole]


FOREIGN = ("nonsense", "!!", "W10", "WzFd", "WyJhXHUwMDAwIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd", "bnVsbA")


async def test_a_cursor_of_another_list_and_a_page_of_no_size_are_refused(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/users", "/v1/devices", "/v1/items"):
        asked = [{"cursor": cursor} for cursor in FOREIGN]
        asked += [{"limit": limit} for limit in ("0", "1001", "-1", "many")]
        answers = [await client.get(path, params=params) for params in asked]
        assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "bad_params")}, path


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
