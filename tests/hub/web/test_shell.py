"""The frame of the page in a real browser: its two sides, the bar of a phone, and the page of sources."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, Page, expect

from protocol.lifecycles import RunOutcome, RunState
from storage.schema import items as item_rows
from storage.schema import runs
from tests.hub.web.test_pages import check_for_everybody
from tests.support.browser import chromium
from tests.support.dashboard import SIZES, Visit, browsing, keep_items, needs_axe, visiting
from tests.support.hub import ServedHub, over_unix, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]
PHONE = (390, 844)
LOADS, WINDOWS = 8, 10  # of a browser, which has six connections to a hub
_SHOW = """(is) => { Object.defineProperty(document, "hidden", { value: !is, configurable: true });
  document.dispatchEvent(new Event("visibilitychange")); }"""
# A window ticks when a test says so, and its first second passes at once. Playwright has one clock for all.
_TICKS = """ticks = []; setInterval = (tick) => ticks.push(tick);
  const later = setTimeout; setTimeout = (call, ms) => later(call, ms === 1000 ? 0 : ms);"""
THUMB = 44  # pixels
_SMALL = f"""() => [...document.querySelectorAll("nav a, nav button, main button, main select, main summary")]
  .filter((shown) => shown.checkVisibility() && !shown.closest(".page-head")
    && shown.getBoundingClientRect().height < {THUMB}).map((small) => small.outerHTML)"""


@pytest.fixture
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServedHub]:
    async with serving(tmp_path_factory.mktemp("hub")) as opened:
        yield opened


@asynccontextmanager
async def owning(
    browser: Browser, hub: ServedHub, size: tuple[int, int] = SIZES["wide"]
) -> AsyncIterator[Visit]:
    """Open a window whose session is that of the owner of the device."""
    async with over_unix(hub) as operator, visiting(browser, hub, size=size, is_signed_in=False) as visit:
        made = await operator.post("/v1/sessions/links", json={"owner_of": "desk"})
        await visit.page.goto(f"{visit.origin}{made.json()['path']}")
        await visit.page.get_by_role("heading", name="Inbox").wait_for()
        yield visit


async def test_owner_begins_with_the_inbox_and_unfolds_the_hub_side_for_good(
    hub: ServedHub, browser: Browser
) -> None:
    async with owning(browser, hub) as visit:
        page = visit.page
        await visit.open("")
        views = page.get_by_role("navigation", name="Views")
        mine = views.get_by_role("list", name="Mine").get_by_role("link")
        await expect(mine).to_have_text(
            [re.compile(name) for name in ("Inbox", "Tasks", "Sources", "Places")]
        )
        await expect(mine.first).to_have_attribute("aria-current", "page")
        fold = views.get_by_role("button", name=re.compile("^Hub"))
        await expect(fold).to_have_attribute("aria-expanded", "false")
        await expect(views.get_by_role("link", name="Runs")).to_be_hidden()
        await fold.press("Enter")
        await expect(views.get_by_role("link", name="Runs")).to_be_visible()
        await visit.open("")
        await expect(views.get_by_role("link", name="Runs")).to_be_visible()
        assert visit.complaints == []


@needs_axe
async def test_owner_in_another_time_zone_changes_that_of_agents_by_a_press(
    hub: ServedHub, browser: Browser
) -> None:
    async with over_unix(hub) as operator, owning(browser, hub) as visit:
        body = {
            "name": "folder",
            "device": "desk",
            "data_types": ["tasks"],
            "prompt": "Find.",
            "paths": ["/n"],
        }
        assert (await operator.post("/v1/agents", json=body)).status_code == 201
        at = dict.fromkeys(("date_ms", "verdict_at"), hub.now_ms)
        data = {"title": "Call", "dueDate": hub.now_ms}
        approved = sa.update(item_rows).where(item_rows.c.id == "i-2")
        approved = approved.values(verdict="approved", data=data, **at)
        await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
        await hub.store.write(keep_items, hub)
        await hub.store.write(lambda c: c.execute(approved))
        devtools = await visit.context.new_cdp_session(visit.page)
        banner = visit.page.get_by_role("status").filter(has_text="this browser is in")
        for zone, is_shown in (("Africa/Abidjan", False), ("Europe/Madrid", True), ("Asia/Kolkata", True)):
            await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": zone})
            await visit.open("inbox")
            await expect(banner).to_have_count(int(is_shown))
        await check_for_everybody(visit.page, "other zone")
        await banner.get_by_role("button", name="Leave it").click()
        await expect(banner).to_have_count(0)
        await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": "America/Lima"})
        await visit.open("sources")
        await expect(banner).to_contain_text("read as those of UTC; this browser is in America/Lima.")
        await expect(banner).to_contain_text("What you approved stays as it is, 1 with a time")
        await banner.get_by_role("button", name="Read them in America/Lima").click()
        await expect(banner).to_have_count(0)
        agents = (await operator.get("/v1/agents")).json()["agents"]
        assert {agent["timezone"] for agent in agents} == {"America/Lima"}
        assert visit.complaints == []


async def test_owner_finds_no_filters_and_words_of_operators_unless_they_are_set(
    hub: ServedHub, browser: Browser
) -> None:
    async with owning(browser, hub) as visit:
        page = visit.page
        names = page.locator(".search-names").get_by_role("button")
        await expect(names).to_have_text(
            ["state", "kind", "file", "mark", "proposed", "words", "person", "project", "since", "until"]
        )
        await visit.open("inbox?agent=notes&table=timelines")
        await expect(page.locator(".chip")).to_have_text(
            [re.compile("kind: events"), re.compile("agent: notes")]
        )
        await visit.open("sources?add=account")
        finds = page.get_by_role("group", name="Look for")
        await expect(finds.locator("label")).to_have_text(
            ["notes", "projects", "comments", "tasks", "events"]
        )
        await expect(finds.get_by_text("timelines")).to_have_count(0)
    async with visiting(browser, hub) as visit:
        await visit.open("inbox")
        names = visit.page.locator(".search-names").get_by_role("button")
        await expect(names.filter(has_text=re.compile("^(device|agent|run)$"))).to_have_count(3)


async def test_operator_begins_with_the_status_and_an_open_hub_side(hub: ServedHub, browser: Browser) -> None:
    async with visiting(browser, hub) as visit:
        await visit.open("")
        await visit.page.get_by_role("heading", name="Status").wait_for()
        lists = visit.page.get_by_role("navigation", name="Views").get_by_role("list")
        names = [await named.get_attribute("aria-label") for named in await lists.all()]
        assert names == ["Hub", "Work", "Connected", "System", "Mine"]


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("i", "inbox"),
        ("r", "inbox"),
        ("t", "tasks"),
        ("o", "sources"),
        ("p", "places"),
        ("h", "status"),
        ("c", "trends"),
    ],
)
async def test_key_leads_to_its_page(hub: ServedHub, browser: Browser, key: str, address: str) -> None:
    async with visiting(browser, hub) as visit:
        await visit.open("parts")
        await visit.page.keyboard.press("g")
        await visit.page.keyboard.press(key)
        await visit.page.wait_for_url(f"**/{address}")
        await expect(visit.page.locator("main h1")).to_be_focused()


@needs_axe
async def test_phone_has_a_bar_for_thumbs_and_the_rest_behind_more(hub: ServedHub, browser: Browser) -> None:
    async with owning(browser, hub, PHONE) as visit:
        page = visit.page
        for path in ("sources", "places", "places?add=markdown", "tasks", "why", "parts"):
            await visit.open(path)
            assert await page.evaluate(_SMALL) == [], path
            await check_for_everybody(page, path)
        bar = page.get_by_role("list", name="Mine")
        box = await bar.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] == PHONE[1]
        more = bar.get_by_role("button", name="More")
        await more.press("Enter")
        fold = page.get_by_role("button", name=re.compile("^Hub"))
        await expect(fold).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(more).to_be_focused()
        await expect(fold).to_be_hidden()
        await more.click()
        await fold.click()
        assert await page.evaluate(_SMALL) == []
        await check_for_everybody(page, "more")
        await page.get_by_role("link", name="Devices").click()
        await page.get_by_role("heading", name="Devices").wait_for()
        await expect(fold).to_be_hidden()


async def test_sources_page_says_what_was_read_and_why_the_rest_was_kept_back(
    hub: ServedHub, browser: Browser
) -> None:
    device = await hub.device("desk")
    await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)

    def read(c: sa.Connection) -> None:
        values = {
            "units_done": 214,
            "units_skipped": 12,
            "result": {"left_out": {"hidden": 9, "key_in_text": 3}},
            "folded": 3,
            "folded_since": hub.now_ms,
        }
        c.execute(sa.update(runs).where(runs.c.id == "r-1").values(values))

    await hub.store.write(read)
    link = hub.roster.find(device.id)
    assert link is not None
    async with visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("sources")
        row = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="notes"))
        await expect(row).to_contain_text("214 files")
        await row.get_by_text("12 files kept back").click()
        await expect(row.get_by_text("9 hidden: a name begins with a dot.")).to_be_visible()
        await expect(row.get_by_text("3 with a key or a password in them")).to_be_visible()
        await page.get_by_role("link", name="Add a folder").click()
        await page.get_by_text("hub up ~/folder").wait_for()
        await expect(page.locator("#add-folder")).to_be_focused()
        assert len([url for url in visit.requests if "/v1/" in url]) <= 9, visit.requests
        devtools = await visit.context.new_cdp_session(page)
        await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Madrid"})
        await visit.open("runs/r-1")
        await expect(page.get_by_text("as in the 3 runs since 5 Jan 2026, 10:00").first).to_be_visible()
        for values, shown in (
            (
                {"outcome": "partial", "reason": "no word", "units_done": 0},
                ("tried ", "not read: no word. What"),
            ),
            ({"state": "QUEUED", "outcome": None, "completed_at": None}, ("waits to be read",)),
        ):
            changed = (
                sa.update(runs).where(runs.c.id == "r-1").values(units_skipped=0, folded_since=None, **values)
            )
            await hub.store.write(sa.Connection.execute, changed)
            await visit.open("sources")
            for text in shown:
                await expect(row).to_contain_text(text)
            await expect(row).not_to_contain_text("nothing new")
        await visit.open("runs/r-1")
        await expect(page.get_by_text("0 of ?", exact=True)).to_be_visible()  # their number is not known yet
        assert visit.complaints == []


async def test_many_loads_and_windows_share_a_single_stream_of_changes(tmp_path: Path) -> None:
    async with (
        browsing(keeps_pages=True) as browser,
        serving(tmp_path, event_streams=4) as hub,  # at most two for one user
        over_unix(hub) as operator,
        visiting(browser, hub) as visit,
    ):

        async def lead_to(lifecycle: str, pages: Sequence[Page]) -> None:
            action = "pause" if lifecycle == "paused" else "resume"
            changed = await operator.post(f"/v1/agents/notes/{action}")
            assert changed.status_code == 200, changed.text
            await hub.clock.pass_time(1)
            for page in pages:
                await expect(page.locator("[data-head=Lifecycle]")).to_have_text(lifecycle)

        for load in range(LOADS):
            await visit.open("agents" if load % 2 else "devices")
            await expect(visit.page.locator("tbody tr")).to_have_count(1)
        others = [await visit.context.new_page() for _ in range(WINDOWS - 1)]
        try:
            for page in others:
                await page.goto(f"{visit.origin}/agents")
                await page.locator("tbody tr").wait_for()
            await lead_to("paused", [visit.page, *others])
            await visit.page.evaluate(_SHOW, False)
            await lead_to("active", others)
            await others[0].close()
            await lead_to("paused", others[1:])
            await visit.page.evaluate(_SHOW, True)
            await lead_to("active", [visit.page, *others[1:]])
        finally:
            for page in others:
                await page.close()
        assert visit.complaints == []


@pytest.mark.soak
async def test_stream_of_a_window_that_hangs_is_taken_over_by_another_window(tmp_path: Path) -> None:
    async with (
        browsing() as browser,
        serving(tmp_path) as hub,
        over_unix(hub) as operator,
        visiting(browser, hub) as visit,
    ):

        async def change(action: str, page: Page, shown: str) -> None:
            changed = await operator.post(f"/v1/agents/notes/{action}")
            assert changed.status_code == 200, changed.text
            await hub.clock.pass_time(1)
            await expect(page.locator("[data-head=Lifecycle]")).to_have_text(shown)

        await visit.open("agents")
        await expect(visit.page.locator("[data-head=Lifecycle]")).to_have_text("active")
        other = await visit.context.new_page()
        try:
            await other.add_init_script(_TICKS)
            await other.goto(f"{visit.origin}/agents")
            await expect(other.locator("[data-head=Lifecycle]")).to_have_text("active")
            await visit.page.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
            await change("pause", visit.page, "paused")
            await other.evaluate("for (let n = 0; n < 4; n++) ticks.forEach((tick) => tick())")
            await expect(other.locator("[data-head=Lifecycle]")).to_have_text("paused")
            await change("resume", other, "active")
            locks = await other.evaluate("navigator.locks.query()")
            assert [len(locks["held"]), len(locks["pending"])] == [1, 1]
        finally:
            await other.close()
        assert visit.complaints == []


async def test_page_without_an_answer_says_so(hub: ServedHub, browser: Browser) -> None:
    async with visiting(browser, hub) as visit:
        await visit.page.route("**/v1/devices?*", lambda _: None)
        await visit.page.goto(f"{visit.origin}/devices")
        shown = "(of) => getComputedStyle(of, '::after').visibility"
        waiting = visit.page.locator(".page > .waiting").last
        await waiting.wait_for()
        assert "answered" in await waiting.evaluate("(of) => getComputedStyle(of, '::after').content")
        await waiting.evaluate("(of) => of.getAnimations({ subtree: true }).forEach((a) => a.finish())")
        assert await waiting.evaluate(shown) == "visible"
