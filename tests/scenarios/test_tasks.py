"""Approved tasks at the hub: as they are at their device, changed from there, and what is known of one away."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio import to_thread

from hub.device import grants, owner_requests
from hub.device.items import read_items
from hub.device.owner import approve
from tests.scenarios.scene import Scene, check_boxes, rows, scene
from tests.support.processes import POLL_S, KeptDevice

GRANTS = ("+review.remote=approved", "+rows.read=tasks,timelines,projects")
BEGIN = "2026-11-28T00:00:00Z"
SINK = """
[[sinks]]
name = "todo"
kind = "todo.txt"
path = "{path}"
"""


class OwnersPage:
    """Session of the page that the owner of a device opens from there."""

    def __init__(self, play: Scene, client: httpx2.AsyncClient) -> None:
        self.play, self.client = play, client

    async def tasks(self, **asked: Any) -> dict[str, Any]:
        """Return a page of approved tasks."""
        answer = await self.client.get("/v1/tasks", params={"begin": BEGIN, **asked})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def until(self, is_so: Callable[[dict[str, Any]], bool], **asked: Any) -> dict[str, Any]:
        """Return the first page of tasks for which a condition holds."""
        with anyio.fail_after(60):
            while not is_so(page := await self.tasks(**asked)):
                await anyio.sleep(POLL_S)
        return page

    async def edit(self, task: dict[str, Any], **data: Any) -> dict[str, Any]:
        """Change a task as it was shown. Return the result."""
        return await self.give(task, "edit", data=data, seen_row=task["seen_row"])

    async def give(self, task: dict[str, Any], verdict: str, **how: Any) -> dict[str, Any]:
        """Give a verdict on a task. Return the result."""
        body = {"verdicts": [{"id": task["id"], "verdict": verdict, **how}]}
        answer = await self.client.post("/v1/items/verdicts", json=body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["results"][0]
        return result


async def link_of(database: Path) -> str:
    """Return a link for the owner of a connected device."""
    with anyio.fail_after(60):
        while True:
            try:
                reply = await to_thread.run_sync(
                    owner_requests.ask_link, database.with_suffix(owner_requests.SUFFIX)
                )
            except OSError:
                reply = None
            if reply is not None and reply.link:
                return reply.link
            print("link", reply)
            await anyio.sleep(POLL_S)


@asynccontextmanager
async def owners_page(folder: Path, *granted: str, files: int = 1) -> AsyncIterator[OwnersPage]:
    """Open the page of the owner of a device with approved tasks, which a todo.txt has, too."""
    async with scene(folder, check_boxes(files)[0]) as play:
        device = KeptDevice(folder, play.wire.url)
        play.also(device)
        device.settings.write_text(device.settings.read_text() + SINK.format(path=folder / "todo.txt"))
        await device.let_in(play.hub)
        await play.has_connected()
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 2 * files
        play.device = device  # type: ignore[assignment]
        approve(device.database, [item.label for item in read_items(device.database)], at_ms=1)
        with closing(sqlite3.connect(device.database)) as db, db:
            (hub,) = {hub for (hub,) in db.execute("SELECT hub FROM reviews")}
            wanted = grants.change(db, hub, granted)
        with anyio.fail_after(60):
            while {
                one["name"]: one["tables"] for one in (await play.hub.get("/v1/devices/desk"))["owner_grants"]
            } != wanted:
                await anyio.sleep(POLL_S)
        link = await link_of(device.database)
        origin, _, code = link.partition("/login#")
        async with httpx2.AsyncClient(base_url=origin, headers={"x-hub-request": "1"}, timeout=30) as client:
            opened = await client.post("/v1/sessions", headers={"authorization": f"Bearer {code}"})
            assert opened.status_code == 201, opened.text
            yield OwnersPage(play, client)


def at_device(play: Scene, query: str) -> list[tuple[Any, ...]]:
    return rows(play.device.database, query)


async def test_task_ticked_at_the_hub_is_done_at_the_device_and_in_the_place(tmp_path: Path) -> None:
    todo = tmp_path / "todo.txt"
    async with owners_page(tmp_path, *GRANTS) as page:
        first, _ = (await page.until(lambda found: all(task["id"] for task in found["tasks"])))["tasks"]
        assert first["is_present"] and first["data"]["status"] == "todo"
        assert (await page.edit(first, status="done"))["state"] == "pending"
        found = await page.until(lambda found: len(found["tasks"]) == 1, done=True)
        assert [task["title"] for task in found["tasks"]] == [first["title"]]
        assert (len((await page.tasks())["tasks"])) == 1
        with anyio.fail_after(60):
            while f"{first['title']}" not in "".join(
                line for line in todo.read_text().splitlines() if line.startswith("x ")
            ):
                await anyio.sleep(POLL_S)
