"""``hub review --web``: the page for review over a device's own file, in a real browser."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from hub.base.clock import IdFactory
from hub.device.device_file import open_device_store
from hub.device.items import read_items
from hub.device.owner import approve
from protocol.items import ItemSource, Unresolved
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.test_inbox import COUNTED, inbox_of
from tests.hub.device.test_own_tables import ADA, CONTACTS
from tests.support.browser import chromium
from tests.support.clock import FakeClock, SeededChance
from tests.support.dashboard import saved
from tests.support.programs import ending, read_until

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # starts a process
]

_SHOWN = COUNTED.sentence.replace("dueDate", "due").replace("from 2026-12-08", "from Tue 8 Dec 2026")
UNCLEAR = Unresolved(field="dueDate", words="some Tuesday")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = inbox_of(tmp_path, "pay the rent", "call Ana", sourced=["call Ana"]).path
    clock = FakeClock()
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# House\n\n- mend the roof\n")
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance(1))) as store:
        store.name_roots([str(folder)])
        store.apply(
            [
                ToolCall(id="t-1", action=Action.TABLE_DECLARE, table="contacts", declares=CONTACTS),
                ToolCall(id="c-4", action=Action.INSERT, table="contacts", data=ADA),
            ]
        )
        source = ItemSource(path="notes/a.md", quote="mend the roof", start=11, end=24, counted=[COUNTED])
        source.unresolved.append(UNCLEAR)
        row = {"title": "mend the roof", **SUGGESTED}
        store.apply([ToolCall(id="c-3", action=Action.INSERT, table="tasks", data=row, source=source)])
    return path


@pytest.fixture
def link(db: Path) -> Iterator[str]:
    """The link that the command prints; it serves as long as the test goes on."""
    command = [sys.executable, "-m", "hub", "review", "--db", str(db), "--web", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, ending(process):
        assert process.stdout is not None
        yield read_until(process.stdout, "\n").strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def decided(db: Path) -> dict[str, str]:
    return {item.title: item.verdict for item in read_items(db)}


async def test_an_owner_reviews_the_items_of_the_device_by_keys(
    db: Path, link: str, browser: Browser
) -> None:
    origin, clock = link.partition("/login")[0], FakeClock()
    async with await browser.new_page() as page:
        complaints: list[str] = []
        page.on(
            "console",
            lambda message: complaints.extend([message.text] if message.type in ("error", "warning") else []),
        )
        await page.goto(link)
        title, keys = page.locator("#item-title"), page.keyboard
        await page.get_by_role("link", name="mend the roof").click()
        await expect(title).to_have_text("mend the roof")
        source = page.get_by_role("list", name="Lines of the source").locator("li")
        await expect(source).to_have_text(["# House", "", "- mend the roof"])
        await expect(page.get_by_text(_SHOWN)).to_be_visible()
        await expect(page.get_by_text("due: the meaning of 'some Tuesday' is unclear")).to_be_visible()
        await expect(page.locator(".picks .title")).to_have_text(
            ["pay the rent", "Ada", "call Ana", "mend the roof"]
        )
        await expect(page.locator(".navigation li a")).to_have_text(["Inboxg i"])
        await keys.press("a")
        await page.get_by_text("Approved “mend").wait_for()
        await saved(page)
        assert decided(db)["mend the roof"] == "approved"
        await keys.press("u")
        await page.get_by_text("Undone: “mend").wait_for()
        await saved(page)
        assert decided(db)["mend the roof"] == "open"
        await page.get_by_role("link", name="pay the rent").click()
        await expect(title).to_have_text("pay the rent")
        await keys.press("e")
        await page.get_by_label("title").fill("pay Bo")
        await page.get_by_label("project").fill("House")
        await page.get_by_role("button", name="Approve with the changes").click()
        await page.get_by_text("Approved “pay Bo").wait_for()
        await page.get_by_role("link", name="call Ana").click()
        await expect(title).to_have_text("call Ana")
        await expect(page.get_by_text(_SHOWN)).to_be_visible()
        await keys.press("r")
        await page.get_by_text("Rejected “call Ana").wait_for()
        await page.get_by_role("link", name="Ada").click()
        await expect(title).to_have_text("Ada")
        await keys.press("e")
        await expect(page.get_by_label("kind").locator("option")).to_contain_text(["customer", "New lead"])
        await page.get_by_label("email").fill("ada@example.org")
        await page.get_by_role("button", name="Approve with the changes").click()
        await page.get_by_text("Approved “Ada").wait_for()
        await saved(page)
        assert decided(db) == {"mend the roof": "open", "pay Bo": "edited", "Ada": "edited"}
        assert [item.belongs_to for item in read_items(db) if item.title == "pay Bo"] == [
            {"projectId": "House"}
        ]
        roof = page.get_by_role("link", name="mend the roof")
        await expect(roof).to_have_count(1)
        (number,) = [item.number for item in read_items(db) if item.title == "mend the roof"]
        approve(db, [number], at_ms=1)  # in another program: the page follows
        await expect(page.locator(".picks li", has=roof)).to_contain_text("approved")
        (row_id,) = [item.row_id for item in read_items(db) if item.number == number]
        change = {"title": "sell the roof", **SUGGESTED}
        call = ToolCall(
            id="c-9", action=Action.UPDATE, table="tasks", where={"id": row_id}, data=change, source=None
        )
        with open_device_store(db, clock=clock, ids=IdFactory(clock, SeededChance(2))) as store:
            store.apply([call])
        await roof.click()
        await expect(page.get_by_label("Proposed")).to_contain_text("title mend the roof → sell the roof")
        await keys.press("A")  # a change of the hub is not one of all
        await expect(page.locator(".outcome")).to_contain_text("None of these items has no warning")
        await keys.press("a")
        await page.get_by_text("Approved “mend the roof").wait_for()
        await saved(page)
        assert decided(db)["sell the roof"] == "approved"
        # An item that is read while it is rejected has no row any more.
        assert [one for one in complaints if "404 (Not Found)" not in one] == []
    async with httpx2.AsyncClient(base_url=origin) as other:  # without the session of the browser
        secret = {"authorization": f"Bearer {link.partition('#')[2]}", "x-hub-request": "1"}
        assert (await other.post("/v1/sessions", headers=secret)).status_code == 401
        assert (await other.get("/v1/items")).status_code == 401
        assert (await other.get("/v1/items", headers={"host": "evil.example"})).status_code == 421
        foreign = {"origin": "https://evil.example", "x-hub-request": "1"}
        assert (await other.post("/v1/items/verdicts", headers=foreign, json={})).status_code == 403
        policy = (await other.get("/", headers={"accept": "text/html"})).headers["content-security-policy"]
        assert re.search(r"default-src 'none'.*frame-ancestors 'none'", policy)
