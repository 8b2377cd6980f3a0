"""Approved tasks at the hub: as they are at their device, changed from the hub, known while that is away."""

import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio import to_thread
from playwright.async_api import expect

from hub.device import grants, owner_requests
from hub.device.items import read_items
from hub.device.owner import approve
from tests.scenarios.scene import Scene, check_boxes, rows, scene
from tests.support.browser import chromium
from tests.support.dashboard import AXE, browsing, needs_axe
from tests.support.processes import POLL_S, KeptDevice

pytestmark = pytest.mark.slow  # each starts a hub and a device

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
            await anyio.sleep(POLL_S)


@asynccontextmanager
async def owners_page(folder: Path, *granted: str, files: int = 1) -> AsyncIterator[OwnersPage]:
    """Open the page of the owner of a device with approved tasks, which a todo.txt has, too."""
    async with scene(folder, check_boxes(files)[0]) as play:
        address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
        settings = folder / "hub.toml"  # the hub keeps its address when it starts again
        settings.write_text(f'"{address}"'.join(settings.read_text().rsplit('"127.0.0.1:0"', 1)))
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


def states(page: OwnersPage) -> dict[str, str]:
    """Return the state of each task at the device, by its title."""
    return dict(rows(page.play.device.database, "SELECT title, status FROM tasks"))


def applied(page: OwnersPage) -> int:
    """Return the number of verdicts that the device has applied."""
    done = "action = 'review.apply' AND json_extract(answer, '$.error') IS NULL"
    ((count,),) = rows(page.play.device.database, f"SELECT count(*) FROM calls WHERE {done}")
    return int(count)


def known_to_hub(found: dict[str, Any]) -> bool:
    """Return True once the hub knows that the tasks are approved."""
    return len(found["tasks"]) == 2 and all(task["id"] for task in found["tasks"])


def ticked(todo: Path) -> list[str]:
    """Return the lines of a todo.txt that are done: none before the device has written the file."""
    if not todo.exists():
        return []
    return [line for line in todo.read_text().splitlines() if line.startswith("x ")]


async def reads(is_so: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    with anyio.fail_after(60):
        while not is_so():
            await anyio.sleep(POLL_S)


async def test_ticks_of_page_and_place_meet_at_the_device_and_are_taken_back(tmp_path: Path) -> None:
    todo = tmp_path / "todo.txt"
    async with owners_page(tmp_path, *GRANTS) as page:
        first, second = (await page.until(known_to_hub))["tasks"]
        assert (first["is_present"], first["data"]["status"]) == (True, "todo")
        assert (await page.edit(first, status="done"))["state"] == "pending"
        found = await page.until(lambda found: len(found["tasks"]) == 1, done=True)
        assert [task["title"] for task in found["tasks"]] == [first["title"]]
        assert states(page) == {first["title"]: "done", second["title"]: "todo"}
        await reads(lambda: len(ticked(todo)) == 1)
        await page.give(first, "undo")
        await page.until(known_to_hub)
        assert states(page)[first["title"]] == "todo"
        await reads(lambda: not ticked(todo))
        lines = [f"x {line}" if second["title"] in line else line for line in todo.read_text().splitlines()]
        todo.write_text("\n".join(lines) + "\n")
        found = await page.until(lambda found: len(found["tasks"]) == 1, done=True)
        assert [task["title"] for task in found["tasks"]] == [second["title"]]
        await page.until(lambda found: found["tasks"][0]["verdict"] == "edited", done=True)
        for _ in range(2):  # the same change of an approved row is no repetition of the one before
            (task,) = (await page.until(lambda found: len(found["tasks"]) == 1, done=True))["tasks"]
            await page.edit(task, status="todo")
            await page.until(known_to_hub)
            with closing(sqlite3.connect(page.play.device.database)) as db, db:
                db.execute("UPDATE tasks SET status = 'done' WHERE title = ?", (second["title"],))


async def test_change_of_a_task_reaches_a_device_away_once_after_the_hub_was_killed(tmp_path: Path) -> None:
    async with owners_page(tmp_path, *GRANTS) as page:
        first, second = (await page.until(known_to_hub))["tasks"]
        await page.play.device.kill()
        found = await page.until(lambda found: found["devices"][0]["state"] == "away")
        assert [task["is_present"] for task in found["tasks"]] == [False, False]
        away = {task["title"]: task for task in found["tasks"]}
        assert {title: task["seen_row"] for title, task in away.items()} == {
            task["title"]: task["seen_row"] for task in (first, second)
        }
        assert (await page.edit(away[first["title"]], status="done"))["state"] == "pending"
        waiting = {task["title"]: task for task in (await page.tasks())["tasks"]}[first["title"]]
        assert (waiting["data"]["status"], waiting["given"]["state"]) == ("done", "pending")
        await page.edit(away[second["title"]], title="By the hub")
        with closing(sqlite3.connect(page.play.device.database)) as db, db:
            db.execute("UPDATE tasks SET title = 'By the owner' WHERE title = ?", (second["title"],))
        await page.play.kill_hub()
        await page.play.start_hub()
        await page.play.device.start()
        await reads(lambda: states(page) == {first["title"]: "done", "By the owner": "todo"})
        found = await page.until(lambda found: (found["tasks"] or [first])[0]["title"] == "By the owner")
        await page.until(lambda found: found["tasks"][0]["given"]["state"] == "refused")
        (refused,) = (await page.tasks())["tasks"]
        assert refused["given"]["reason"] == "changed_meanwhile"
        assert (await page.edit(refused, title="By the hub"))["state"] == "pending"
        await reads(lambda: states(page) == {first["title"]: "done", "By the hub": "todo"})
        assert applied(page) == 2


async def test_task_with_a_proposed_change_is_ticked_and_the_change_waits_on(tmp_path: Path) -> None:
    async with owners_page(tmp_path, *GRANTS) as page:
        first, second = (await page.until(known_to_hub))["tasks"]
        for note in tmp_path.rglob("page000.md"):  # noqa: ASYNC240
            note.write_text(re.sub(r"- \[ \] (.*)", r"- [x] \1 📅 2027-01-05", note.read_text()))
        await page.play.hub.ended(await page.play.hub.start_run())
        await page.until(lambda found: {task["verdict"] for task in found["tasks"]} == {"open"})
        found = {task["title"]: task for task in (await page.tasks())["tasks"]}
        titled = await page.edit(found[first["title"]], title="By the hub")
        ticked = await page.edit(found[second["title"]], status="done")
        assert [titled["state"], ticked["state"]] == ["pending", "pending"]
        await reads(lambda: states(page) == {"By the hub": "todo", second["title"]: "done"})
        (left,) = (await page.until(lambda found: len(found["tasks"]) == 1))["tasks"]
        await page.until(lambda found: found["tasks"][0]["given"]["state"] == "done")
        listed = (await page.client.get("/v1/items", params={"verdict": "open"})).json()["items"]
        change = {"field": "status", "before": "todo", "after": "done"}
        assert change in next(item["changes"] for item in listed if item["id"] == left["id"])
        assert (await page.give(left, "approve"))["state"] == "pending"
        await reads(lambda: states(page)[second["title"]] == "done" and "todo" not in states(page).values())


async def test_tasks_without_grants_are_shown_as_known_and_not_changed(tmp_path: Path) -> None:
    async with owners_page(tmp_path, "+review.remote") as page:
        found = await page.until(known_to_hub)
        assert [device["state"] for device in found["devices"]] == ["not_granted"]
        task = found["tasks"][0]
        assert (task["is_present"], task["device_refuses"]) == (False, "not_granted")
        error = (await page.edit(task, status="done"))["error"]
        assert (
            error["code"] == "not_granted" and "hub grants +review.remote=marked,approved" in error["message"]
        )
        await page.play.hub.post("/v1/users", {"name": "eve"})
        wanted = {"name": "eve", "role": "operator", "scopes": ["read", "review"]}
        token = (await page.play.hub.post("/v1/operator-tokens?user=eve", wanted))["token"]
        foreign = httpx2.AsyncClient(
            base_url=page.client.base_url, headers={"authorization": f"Bearer {token}"}, timeout=30
        )
        async with foreign as client:
            eves = OwnersPage(page.play, client)
            assert await eves.tasks() == {"tasks": [], "devices": [], "next_cursor": None}
            assert (await eves.edit(task, status="done"))["error"]["code"] == "unknown_item"


@pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")
async def test_second_window_neither_undoes_nor_overwrites_an_unseen_change(tmp_path: Path) -> None:
    expect.set_options(timeout=30_000)
    async with owners_page(tmp_path, *GRANTS) as owners, browsing() as browser:
        titles = [task["title"] for task in (await owners.until(known_to_hub))["tasks"]]
        context = await browser.new_context()
        one = await context.new_page()
        await one.goto(await link_of(owners.play.device.database))
        await one.locator(".navigation").wait_for()
        two = await context.new_page()
        for window in (one, two):
            await window.goto(f"{owners.client.base_url}/tasks")
            await window.get_by_role("button", name=titles[0]).click()
            await window.get_by_label("title").fill("By one" if window is one else "By two")
        await one.get_by_role("button", name="Save").click()
        await reads(lambda: "By one" in states(owners))
        await two.get_by_role("button", name="Save").click()
        await expect(two.get_by_text("This is how it is now")).to_be_visible()
        await expect(two.get_by_role("button", name="By one")).to_be_visible()
        await two.get_by_role("button", name="By one").click()
        await expect(two.get_by_label("title")).to_have_value("By two")
        await two.get_by_role("button", name="Save").click()
        await reads(lambda: "By two" in states(owners))
        await one.keyboard.press("u")
        await expect(one.locator(".outcome")).to_contain_text("“By one” was not undone")
        assert set(states(owners)) == {"By two", titles[1]}
        await two.keyboard.press("u")
        await reads(lambda: set(states(owners)) == {"By one", titles[1]})


@pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")
@needs_axe
async def test_page_ticks_changes_undoes_and_explains_a_device_away(tmp_path: Path) -> None:
    expect.set_options(timeout=30_000)
    todo = tmp_path / "todo.txt"
    async with owners_page(tmp_path, *GRANTS) as owners, browsing() as browser:
        first, _ = (await owners.until(known_to_hub))["tasks"]
        page = await browser.new_page(viewport={"width": 390, "height": 800})
        await page.goto(await link_of(owners.play.device.database))
        await page.locator(".navigation").wait_for()
        await page.goto(f"{owners.client.base_url}/tasks")
        boxes, keys = page.get_by_role("checkbox"), page.keyboard
        box = page.get_by_role("checkbox", name=f"Done: {first['title']}")
        await expect(boxes).to_have_count(2)
        await expect(page.get_by_text("also in todo").first).to_be_visible()
        await page.evaluate(AXE.read_text())
        assert await page.evaluate("axe.run().then(({ violations }) => violations.map(({ id }) => id))") == []
        await box.focus()
        await keys.press("x")
        await reads(lambda: states(owners)[first["title"]] == "done" and len(ticked(todo)) == 1)
        await expect(boxes).to_have_count(1)
        await keys.press("u")
        await expect(boxes).to_have_count(2)
        await reads(lambda: states(owners)[first["title"]] == "todo" and not ticked(todo))
        todo.write_text(f"x {todo.read_text()}")
        await expect(boxes).to_have_count(1)  # a tick in the place shows on the page
        await page.get_by_text("Done", exact=True).click()
        await expect(boxes).to_have_count(2)
        await page.get_by_text("Done", exact=True).click()
        (left,) = (await owners.tasks())["tasks"]
        await page.get_by_role("button", name=left["title"]).click()
        await page.get_by_label("title").fill("Call Anna")
        await page.get_by_role("button", name="Save").click()
        await reads(lambda: "Call Anna" in states(owners))
        await expect(page.get_by_role("button", name="Call Anna")).to_be_visible()
        await expect(page.locator(".outcome")).to_contain_text("Changed: “Call Anna”")
        on_its_way = page.get_by_text("on its way to its computer")
        await expect(on_its_way).to_have_count(0)  # until then, a tick takes the change back

        await owners.play.device.kill()
        await expect(page.get_by_text("this computer is away")).to_be_visible()
        await page.get_by_role("checkbox", name="Done: Call Anna").check()
        await expect(on_its_way).to_be_visible()
        with closing(sqlite3.connect(owners.play.device.database)) as db, db:
            db.execute("UPDATE tasks SET title = 'Call Bo' WHERE title = 'Call Anna'")
        await owners.play.kill_hub()
        await owners.play.start_hub()
        await owners.play.device.start()
        await expect(page.get_by_role("button", name="Call Bo")).to_be_visible()
        await page.get_by_role("button", name="Change it all the same").click()
        await reads(lambda: states(owners)["Call Bo"] == "done")
        await expect(boxes).to_have_count(0)
        with closing(sqlite3.connect(owners.play.device.database)) as db, db:
            db.execute("UPDATE tasks SET title = 'Call Cy' WHERE title = 'Call Bo'")
        await keys.press("u")  # the refused row stays among the folded ones
        await expect(page.locator(".outcome")).to_contain_text(
            "Call Cy is not changed: its computer refused it"
        )
