"""The page of review in a real browser, with a real hub and a real device."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, expect

from tests.scenarios.scene import Scene, rows
from tests.scenarios.test_verdicts import GRANT, POLL_S, at_device, come, found, give
from tests.support.browser import chromium
from tests.support.dashboard import SIZES, Visit, browsing, saved

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # each starts a browser and two programs
]
WITHIN_MS = 30_000  # a busy machine
TYPED_S = 0.03  # from key to key
OPEN = "/v1/items?verdict=open&limit=1000"


@asynccontextmanager
async def looking(browser: Browser, play: Scene) -> AsyncIterator[Visit]:
    """Open a window for an operator; its hub keeps its address when it starts again."""
    address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
    settings = play.folder / "hub.toml"
    fixed = f'[listen.operator]\naddress = "{address}"'
    settings.write_text(settings.read_text().replace('[listen.operator]\naddress = "127.0.0.1:0"', fixed))
    wanted = {"name": "page", "role": "operator", "scopes": ["read", "run", "review", "devices"]}
    token = (await play.hub.post("/v1/operator-tokens", wanted))["token"]
    headers = {"authorization": f"Bearer {token}"}
    context = await browser.new_context(
        viewport={"width": SIZES["wide"][0], "height": SIZES["wide"][1]}, extra_http_headers=headers
    )
    context.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    try:
        yield Visit(context, await context.new_page(), f"http://{address}")
    finally:
        await context.close()


def owner_says(play: Scene, statement: str, row_id: str) -> None:
    with closing(sqlite3.connect(play.device.database)) as db, db:
        db.execute(statement, (row_id,))


async def in_order(play: Scene) -> list[str]:
    """Return the ids of all items as the page lists them."""
    return [item["id"] for item in (await play.hub.get(f"{OPEN}&order=day"))["items"]]


async def row_of(play: Scene, item_id: str) -> str:
    row_id: str = (await play.hub.get(f"/v1/items/{item_id}"))["row_id"]
    return row_id


async def test_page_shows_verdicts_by_keys_and_changes_at_the_device(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play, browsing() as browser, looking(browser, play) as visit:
        first, second, third, fourth, *_ = await in_order(play)
        page, keys = visit.page, visit.page.keyboard
        listed = page.locator(".picks li")
        await visit.open(f"review?item={first}")
        await expect(listed).to_have_count(6)
        await keys.press("a")
        await come(play, [first], "done")
        assert at_device(play) == {"rows": 6, "approved": 1, "applied": 1}
        await expect(listed).to_have_count(5)
        await keys.press("u")
        await expect(listed).to_have_count(6)
        await saved(page)
        await come(play, [first], "done")
        assert at_device(play)["approved"] == 0

        await visit.open(f"review?item={second}")
        await keys.press("e")
        await page.get_by_label("project").fill("House")
        await keys.press("Enter")
        await come(play, [second], "done")
        under = "SELECT name FROM tasks JOIN projects ON projects.id = projectId WHERE tasks.isApproved"
        assert rows(play.device.database, under) == [("House",)]

        await visit.open(f"review?item={third}")
        await play.hold_device_off()
        await play.device.kill()
        owner_says(play, "UPDATE tasks SET title = 'By myself' WHERE id = ?", await row_of(play, third))
        await keys.press("r")
        await page.get_by_text("Rejected “").wait_for()
        await play.let_device_in()
        await play.device.start()
        await come(play, [third], "refused")
        await visit.open(f"review?item={third}")
        await page.get_by_text("its owner decided otherwise").wait_for()
        assert at_device(play)["rows"] == 6

        await visit.open(f"review?item={fourth}")
        await expect(listed).to_have_count(4)
        owner_says(play, "UPDATE tasks SET isApproved = 1 WHERE id = ?", await row_of(play, fourth))
        await expect(listed.filter(has_text="approved")).to_have_count(1)
        await page.get_by_text("approved,").wait_for()


async def test_decided_items_are_taken_back_together_and_changes_of_approved_ones_stay_apart(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play, browsing() as browser, looking(browser, play) as visit:
        items = await in_order(play)
        page, keys = visit.page, visit.page.keyboard
        await visit.open("inbox")
        for approved in (6, 0, 6):  # taken back by another window than that of the approval
            await keys.press("A")
            await page.get_by_role("button", name="Undo 6" if approved == 0 else "Approve 6").click()
            await saved(page)
            await come(play, items, "done")
            assert at_device(play)["approved"] == approved
            await visit.open("inbox?verdict=approved" if approved else "inbox")
        for note in tmp_path.rglob("page000.md"):  # noqa: ASYNC240 - of three files
            text = re.sub(r"- \[ \] (.*)", r"- [x] \1 📅 2027-01-05", note.read_text())  # more than a tick
            note.write_text(f"{text}\n- [ ] New\n")
        await play.hub.ended(await play.hub.start_run())
        await visit.open("inbox")
        listed = page.locator(".picks li")
        await expect(listed.filter(has_text="todo → done")).to_have_count(2)
        await keys.press("A")
        await expect(page.get_by_role("checkbox", checked=True)).to_have_count(1)
        await keys.press("a")
        await saved(page)
        await expect(listed.filter(has_text="todo → done")).to_have_count(2)
        assert rows(play.device.database, "SELECT count(*) FROM tasks WHERE status = 'done'") == [(0,)]


@pytest.mark.soak
async def test_verdict_for_a_disconnected_device_survives_a_killed_hub(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play, browsing() as browser, looking(browser, play) as visit:
        first, second, *_ = await in_order(play)
        page = visit.page
        await visit.open(f"review?item={first}")
        await play.hold_device_off()
        await play.device.kill()
        await page.keyboard.press("a")
        await page.get_by_text("Approved “").wait_for()
        await saved(page)
        await play.kill_hub()
        await page.get_by_text("out of reach").wait_for()
        await page.keyboard.press("g")
        await page.keyboard.press("m")
        await page.get_by_text("shown once the hub is back").wait_for()
        await page.go_back()
        await page.get_by_role("heading", name="Review").wait_for()
        address, listed = page.url, await page.locator(".picks li").count()
        assert (address.endswith(first), listed) == (False, 6), (
            "the next item is asked for, and the list stays"
        )
        await play.start_hub()
        await give(play, "reject", [second])  # before the page is there again: it reads what it missed
        await expect(page.get_by_text("out of reach")).to_have_count(0)
        await expect(page.locator(".picks li").filter(has_text="reject: on its way")).to_have_count(1)
        await page.locator("#item-title").wait_for()
        assert page.url == address
        await play.device.start()
        items = await come(play, [first, second], "done")
        assert [item["verdict"] for item in items] == ["approved", "rejected"]
        assert at_device(play) == {"rows": 5, "approved": 1, "applied": 2}
        await expect(page.locator(".picks li").filter(has_not_text="rejected")).to_have_count(4)


async def typed(visit: Visit, key: str, times: int) -> None:
    """Press a key again and again, as fast as a person types, however long the page takes."""
    session = await visit.context.new_cdp_session(visit.page)
    press = {"key": key, "text": key, "type": "keyDown"}
    async with anyio.create_task_group() as keys:
        for _ in range(times):
            keys.start_soon(session.send, "Input.dispatchKeyEvent", press)
            keys.start_soon(session.send, "Input.dispatchKeyEvent", {"key": key, "type": "keyUp"})
            await anyio.sleep(TYPED_S)


async def test_sixty_quick_keys_give_sixty_verdicts_in_order_and_undo_reverts_each(
    tmp_path: Path,
) -> None:
    async with (
        found(tmp_path, GRANT, files=30) as play,
        browsing() as browser,
        looking(browser, play) as visit,
    ):
        listed = await in_order(play)
        assert len(listed) == 60
        await visit.open("review")
        await typed(visit, "a", 60)
        await come(play, listed, "done")
        given = rows(tmp_path / "hub.db", "SELECT item_id FROM item_verdicts ORDER BY created_at, id")
        assert [id for (id,) in given] == listed
        assert at_device(play) == {"rows": 60, "approved": 60, "applied": 60}
        posted = [url for url in visit.requests if url.endswith("/verdicts")]
        assert len(posted) < 20, "verdicts that wait share a request"
        await typed(visit, "u", 60)
        with anyio.fail_after(60):
            while at_device(play)["approved"] or len((await play.hub.get(OPEN))["items"]) < 60:
                await anyio.sleep(POLL_S)
        await expect(visit.page.locator(".unsent, .review .banner")).to_have_count(0)
        await typed(visit, "u", 1)
        await visit.page.get_by_text("There is nothing to undo.").wait_for()
