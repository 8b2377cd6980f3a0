"""Two windows, two people, touch, a slow line, a hub away and an ended session, in a real browser."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.scenarios.scene import Scene, rows, write
from tests.scenarios.test_dashboard import in_order, looking
from tests.scenarios.test_verdicts import GRANT, at_device, come, found
from tests.support.browser import chromium
from tests.support.dashboard import browsing, saved

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # each starts a browser and two programs
]
GRANTS: Final = (f"{GRANT}=marked,approved", "rows.read=tasks,timelines,projects")
PHONE: Final = (390, 844)
SLOW: Final = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
_SHOW: Final = """(is) => { Object.defineProperty(document, "hidden", { value: !is, configurable: true });
  document.dispatchEvent(new Event("visibilitychange")); }"""
PAGES: Final = ("inbox", "tasks", "sources", "places")
OWNER: Final = {"owner_of": "desk"}
# Rules by which something is seen or pressed only below a pointer that hovers.
_ONLY_HOVERED: Final = """() => [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
  .filter(({selectorText, style}) => /:hover/.test(selectorText ?? "") && !/\\bkbd\\b/.test(selectorText)
    && ["display", "visibility", "opacity", "pointer-events"].some((name) => style.getPropertyValue(name)))
  .map(({cssText}) => cssText)"""


class Windows:
    """Browser, hub and device of a test."""

    def __init__(self, play: Scene, browser: Browser, origin: str) -> None:
        self.play, self.browser, self.origin = play, browser, origin

    async def link(self, whose: Mapping[str, Any] = OWNER) -> str:
        """Return a link that signs in."""
        made = await self.play.hub.post("/v1/sessions/links", dict(whose))
        return f"{self.origin}{made['path']}"

    async def sign_in(self, whose: Mapping[str, Any] = OWNER, **how: Any) -> BrowserContext:
        """Return a profile of the browser with a session."""
        context = await self.browser.new_context(**how)
        page = await context.new_page()
        await page.goto(await self.link(whose))
        await page.locator(".navigation").wait_for()
        await page.close()
        return context

    async def open(self, context: BrowserContext, path: str) -> Page:
        """Return a window that shows all that a page reads at first."""
        page = await context.new_page()
        await page.goto(f"{self.origin}/{path}")
        await page.locator("main h1").wait_for()
        await page.locator("[aria-busy=true]").first.wait_for(state="detached")
        return page

    def verdicts(self) -> list[tuple[str, str, str]]:
        """Return item, verdict and state of each verdict at the hub, in the order of their days."""
        of = "SELECT item_id, verdict, state FROM item_verdicts ORDER BY created_at, id"
        return [(item, verdict, state) for item, verdict, state in rows(self.play.folder / "hub.db", of)]


@pytest.fixture
async def windows(tmp_path: Path) -> AsyncIterator[Windows]:
    async with found(tmp_path, *GRANTS) as play, browsing() as browser, looking(browser, play) as visit:
        yield Windows(play, browser, visit.origin)


def picked(page: Page) -> Locator:
    """Return the rows of the Inbox."""
    return page.locator(".picks li")


@asynccontextmanager
async def held(*pages: Page) -> AsyncIterator[None]:
    """Hold back the verdicts of windows until the end of the block."""
    may_go = anyio.Event()

    async def hold(route: Route) -> None:
        await may_go.wait()
        await route.continue_()

    for page in pages:
        await page.route("**/v1/items/verdicts", hold)
    yield
    may_go.set()


@pytest.mark.parametrize("other", [None, {}], ids=["one session", "owner and operator"])
async def test_decisions_of_two_windows_meet_and_each_row_is_decided_once(
    windows: Windows, other: dict[str, Any] | None
) -> None:
    first, second, third, *_ = await in_order(windows.play)
    owner = await windows.sign_in()
    beside = owner if other is None else await windows.sign_in(other)
    one, two = await windows.open(owner, "inbox"), await windows.open(beside, "inbox")
    await expect(picked(two)).to_have_count(6)

    await one.keyboard.press("a")
    await expect(picked(two)).to_have_count(5)  # by itself
    await come(windows.play, [first], "done")
    await two.goto(f"{windows.origin}/inbox?verdict=any&item={first}")
    await two.get_by_role("button", name="Undo", exact=True).click()
    await expect(picked(one).filter(has_not_text="approved")).to_have_count(6)
    await come(windows.play, [first], "done")
    assert at_device(windows.play)["approved"] == 0

    for page in (one, two):
        await page.goto(f"{windows.origin}/inbox?item={second}")
        await expect(picked(page)).to_have_count(6)
    async with held(one, two):
        for page in (one, two):
            await page.keyboard.press("a")
            await page.get_by_text("Approved “").wait_for()
    for page in (one, two):
        await saved(page)
        await expect(picked(page)).to_have_count(5)
    await come(windows.play, [second], "done")
    given = [verdict for item, verdict, _ in windows.verdicts() if item == second]
    assert (given, at_device(windows.play)["approved"]) == (["approve"], 1)
    for page in (one, two):
        await expect(page.locator(".outcome .bad")).to_have_count(0)  # what was wanted is so

    for page in (one, two):
        await page.goto(f"{windows.origin}/inbox?item={third}")
        await expect(picked(page)).to_have_count(5)
    async with held(two):
        await two.keyboard.press("r")
        await two.get_by_text("Rejected “").wait_for()
        await one.keyboard.press("a")
        await come(windows.play, [third], "done")
    await expect(two.locator(".outcome .bad")).to_contain_text("was not rejected")
    assert at_device(windows.play) == {"rows": 6, "approved": 2, "applied": 4}


async def test_phone_decides_opens_ticks_and_scrolls_by_touch(windows: Windows) -> None:
    context = await windows.sign_in(
        has_touch=True, is_mobile=True, viewport={"width": PHONE[0], "height": PHONE[1]}
    )
    page = await windows.open(context, "inbox")
    first = picked(page).first
    title = await first.locator(".title").inner_text()
    await first.get_by_role("link").tap()
    await expect(page.locator("#item-title")).to_have_text(title)
    await page.get_by_role("button", name="Approve").tap()
    await page.get_by_text(f"Approved “{title}").wait_for()
    await page.get_by_role("link", name="← Inbox").tap()
    await expect(picked(page)).to_have_count(5)
    await picked(page).nth(1).get_by_role("checkbox").tap()
    await page.get_by_role("button", name="Reject 1", exact=True).tap()
    await expect(picked(page)).to_have_count(4)
    await saved(page)

    touch = await context.new_cdp_session(page)
    box = await picked(page).nth(1).bounding_box()
    assert box is not None
    points = [(box["x"] + 60, box["y"] + 10 - step) for step in range(0, 120, 10)]
    await touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [_point(points[0])]})
    for point in points[1:]:
        await touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [_point(point)]})
    await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.url == f"{windows.origin}/inbox"  # a swipe opens nothing
    await expect(picked(page)).to_have_count(4)

    await page.get_by_role("list", name="Mine").get_by_role("link", name="Tasks").tap()
    await page.get_by_role("checkbox", name=f"Done: {title}").tap()
    with anyio.fail_after(60):
        while not rows(windows.play.device.database, "SELECT 1 FROM tasks WHERE status = 'done'"):
            await anyio.sleep(0.05)
    await page.locator(".outcome").get_by_role("button", name="Undo").tap()
    await expect(page.get_by_role("checkbox", name=f"Done: {title}")).not_to_be_checked()
    for path in PAGES:
        await page.goto(f"{windows.origin}/{path}")
        await page.locator("main h1").wait_for()
        assert await page.evaluate(_ONLY_HOVERED) == [], path


def _point(at: tuple[float, float]) -> dict[str, float]:
    return {"x": at[0], "y": at[1]}


async def test_slow_line_shows_words_at_once_and_each_key_counts_once(windows: Windows) -> None:
    listed = await in_order(windows.play)
    context = await windows.sign_in()
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", SLOW)
    may_run = anyio.Event()

    async def hold(route: Route) -> None:
        await may_run.wait()
        await route.continue_()

    await page.route("**/assets/*.js", hold)
    await page.goto(f"{windows.origin}/inbox", wait_until="commit")
    await page.get_by_text("The page is on its way").wait_for()
    may_run.set()
    await page.locator("main h1").wait_for()
    await expect(page.get_by_text("The page is on its way")).to_have_count(0)
    for key in ("a", "r", "a", "u"):
        await page.keyboard.press(key)
    await come(windows.play, listed[:2], "done")
    await saved(page)
    await expect(picked(page)).to_have_count(4)
    state = at_device(windows.play)
    assert (state["rows"], state["approved"]) == (5, 1)
    assert [one for one in windows.verdicts() if one[0] in listed[:2]] == [
        (listed[0], "approve", "done"),
        (listed[1], "reject", "done"),
    ]


async def test_keys_pressed_while_the_hub_was_killed_count_once_and_news_come_back(windows: Windows) -> None:
    play = windows.play
    listed = await in_order(play)
    page = await windows.open(await windows.sign_in(), "inbox")
    await play.kill_hub()
    await page.get_by_text("The hub is out of reach").wait_for()
    for key in ("a", "r", "a", "u"):
        await page.keyboard.press(key)
    await expect(page.locator(".unsent")).to_have_text(" · 2 being saved")
    await page.get_by_text("2 decisions are kept in this window until the hub takes them").wait_for()
    await play.start_hub()
    await expect(page.get_by_text("out of reach")).to_have_count(0)
    await saved(page)
    await come(play, listed[:2], "done")
    assert [one[:2] for one in windows.verdicts()] == [(listed[0], "approve"), (listed[1], "reject")]
    assert at_device(play) == {"rows": 5, "approved": 1, "applied": 2}
    await expect(picked(page)).to_have_count(4)
    write(play.folder, {"late.md": "- [ ] pay the rent\n"})
    await play.hub.ended(await play.hub.start_run())
    await expect(picked(page).filter(has_text="pay the rent")).to_have_count(1)


@pytest.mark.parametrize("who", ["another person", "the same person"])
async def test_decisions_of_an_ended_session_are_sent_once_for_their_person_alone(
    windows: Windows, who: str
) -> None:
    listed = await in_order(windows.play)
    context = await windows.sign_in()
    page, other = await windows.open(context, "inbox"), await windows.open(context, "inbox")
    async with held(page):
        for key in ("a", "r"):
            await page.keyboard.press(key)
        await other.get_by_role("button", name="Sign out").click()
        await other.get_by_role("heading", name="Sign in").wait_for()
    await page.get_by_role("heading", name="Sign in").wait_for()
    assert windows.verdicts() == []
    if who == "another person":
        wanted = {"name": "ann", "role": "operator", "scopes": ["read", "review", "devices"]}
        token = (await windows.play.hub.post("/v1/operator-tokens", wanted))["token"]
        await page.get_by_label("Token of an operator").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Inbox").wait_for()
        await expect(picked(page)).to_have_count(6)
        assert windows.verdicts() == []
        return
    await other.goto(await windows.link())
    await other.locator(".navigation").wait_for()
    await page.evaluate("dispatchEvent(new Event('focus'))")  # as its owner comes back to the window
    await page.get_by_role("heading", name="Inbox").wait_for()
    await come(windows.play, listed[:2], "done")
    assert [one[:2] for one in windows.verdicts()] == [(listed[0], "approve"), (listed[1], "reject")]
    await expect(picked(page)).to_have_count(4)
    await page.keyboard.press("a")
    await come(windows.play, listed[2:3], "done")
    streams = "performance.getEntriesByName(`${location.origin}/v1/changes`).length"
    assert await page.evaluate(streams) <= 1  # of those that ended


async def test_windows_of_a_browser_show_the_person_of_its_newest_session_and_decide_for_no_other(
    windows: Windows,
) -> None:
    context = await windows.sign_in()
    page, hidden = await windows.open(context, "inbox"), await windows.open(context, "tasks")
    await hidden.evaluate(_SHOW, False)
    for window in (page, hidden):
        await expect(window.locator(".navigation")).to_contain_text("owner of desk")
    other = await context.new_page()
    await other.goto(await windows.link({}))
    await expect(other.locator(".navigation")).to_contain_text("uid 0")
    await expect(page.locator(".navigation")).to_contain_text("uid 0")
    await hidden.evaluate(_SHOW, True)
    await expect(hidden.locator(".navigation")).to_contain_text("uid 0")
    locks = await other.evaluate("navigator.locks.query()")
    assert [len(locks["held"]), len(locks["pending"])] == [1, 2], "each follows the changes of its session"
    assert windows.verdicts() == []


async def test_back_and_forward_show_each_place_again_and_decide_nothing(windows: Windows) -> None:
    listed = await in_order(windows.play)
    page = await windows.open(await windows.sign_in(), "inbox")
    title = page.locator("#item-title")
    links = picked(page).get_by_role("link")
    names = await picked(page).locator(".title").all_inner_texts()
    await links.nth(2).click()
    await expect(title).to_have_text(names[2])
    await page.keyboard.press("a")
    await expect(title).to_have_text(names[3])
    await page.get_by_role("navigation", name="Views").get_by_role("link", name="Tasks").click()
    await page.get_by_role("checkbox", name=f"Done: {names[2]}").wait_for()
    await page.go_back()
    await expect(title).to_have_text(names[3])
    await expect(picked(page).filter(has_not_text="approved")).to_have_count(5)
    await page.go_back()
    await expect(title).to_have_text(names[0])
    await page.go_forward()
    await page.go_forward()
    await page.get_by_role("heading", name="Tasks").wait_for()
    await page.reload()
    await page.get_by_role("checkbox", name=f"Done: {names[2]}").wait_for()
    await page.go_back()
    await expect(title).to_have_text(names[3])
    assert windows.verdicts() == [(listed[2], "approve", "done")]


async def test_typed_values_are_asked_about_before_a_reload_and_there_behind_another_page(
    windows: Windows,
) -> None:
    page = await windows.open(await windows.sign_in(), "inbox")
    asked: list[str] = []

    async def keep(dialog: Any) -> None:
        asked.append(dialog.type)
        await (dialog.dismiss() if len(asked) == 1 else dialog.accept())

    page.on("dialog", keep)
    await page.keyboard.press("e")
    field = page.get_by_label("title")
    await field.press_sequentially(" of June")
    text = await field.input_value()
    async with page.expect_event("dialog"):
        await page.evaluate("setTimeout(() => location.reload())")
    await expect(field).to_have_value(text)
    await page.get_by_role("navigation", name="Views").get_by_role("link", name="Tasks").click()
    await page.get_by_role("heading", name="Tasks").wait_for()
    await page.go_back()
    await page.locator("#item-title").wait_for()
    await page.keyboard.press("e")
    await expect(field).to_have_value(text)
    await page.get_by_role("button", name="Approve with the changes").click()
    await saved(page)
    await page.reload()
    await page.locator("main h1").wait_for()
    assert asked == ["beforeunload"]
