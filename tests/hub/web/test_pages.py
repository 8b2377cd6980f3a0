"""Pages of the dashboard in a real browser: they ask no other origin, and texts of others stay texts."""

import json
import os
import pwd
import re
import shlex
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import date, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import anyio
import click
import msgspec
import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, Page, Route, expect

from hub.base.dates import begin_of
from hub.base.roles import Role
from hub.base.toml.limits import Limits
from hub.cli.access import open_browser
from hub.cli.app import hub as cli
from hub.health.issues import error, notice, warning
from hub.links.device_link import RoundTrip
from protocol.calls import RowPlace
from protocol.ids import CallId
from storage import issue_mutes
from storage.agents import agents
from storage.runs import item_verdicts, items
from storage.runs.item_verdicts import VerdictAnswer
from storage.runs.items import Decision
from storage.schema import items as item_rows
from storage.schema import model_calls, runs
from tests.hub.base.test_dates import ZONES
from tests.support.browser import chromium
from tests.support.clock import START
from tests.support.dashboard import (
    AXE,
    HOSTILE,
    PAGES,
    PLAIN,
    SIZES,
    Visit,
    check_fit,
    needs_axe,
    saved,
    shown_hub,
    takes_verdicts,
    visiting,
    whom,
)
from tests.support.hub import ServedHub, over_unix, serving
from tests.support.identity import EndedLink

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]
VIOLATIONS = """async (rules) => (await axe.run(rules.length ? {runOnly: rules} : {})).violations.map(
  ({id, nodes}) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`)"""
_SIZE_OF_ICON = """async (src) => {
  const icon = new Image();
  icon.src = src;
  await icon.decode();
  return icon.naturalWidth;
}"""
# Rules whose end differs between widths.
_OF_LAYOUT = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]
_TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_IS_DARK = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).every((part) => part < 64)"

# Strokes and shapes of plots without enough contrast.
_FAINT = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
# What a click does something to, and the keyboard alone does not reach.
_ONLY_CLICKED = """() => [...document.querySelectorAll("body *")].filter((one) =>
  one.checkVisibility() && getComputedStyle(one).cursor === "pointer"
  && !one.closest("a[href], button, input, select, textarea, summary, label")).map((one) => one.outerHTML)"""
TABLET = 768
# Tables with columns out of sight, besides those of 24 hours and of the numbers of plots.
_CUT_COLUMNS = """() => [...document.querySelectorAll(".page .table-room:not(:has(.heat), .plots *)")]
  .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.ariaLabel)"""
# Texts in Latin letters that are written from right to left: a text of others beside them turned them.
_TURNED = r"""() => {
  const turned = [], range = document.createRange();
  const letter = (node, at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect();
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode()); ) {
    const at = node.data.search(/[a-z]{2}/i);
    if (at < 0 || /[\u202a-\u202e\u2066-\u2069]/.test(node.data)) continue;
    const [first, second] = [letter(node, at), letter(node, at + 1)];
    if (first.top === second.top && second.left < first.left) turned.push(node.data);
  }
  return turned;
}"""
# All actions of a page, each marked with its number and its name.
_ACTIONS = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.type !== "radio")
  .map((one, number) => (one.dataset.action = `${number} ${one.outerHTML.slice(0, 90)}`))"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    async with shown_hub(tmp_path) as opened:
        yield opened


@pytest.fixture
async def visit(hub: ServedHub, browser: Browser) -> AsyncIterator[Visit]:
    async with visiting(browser, hub) as opened:
        yield opened


async def check_for_everybody(page: Page, path: str) -> None:
    """Check that a page can be used without seeing or hearing well, in both themes."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    for is_dark, rules in ((False, []), (True, ["color-contrast"])):  # between themes, colours differ
        await page.emulate_media(color_scheme="dark" if is_dark else "light")
        await page.evaluate(_TWO_FRAMES)
        assert await page.evaluate(_IS_DARK) == is_dark, path
        assert await page.evaluate(VIOLATIONS, rules) == [], (is_dark, path)
        if await page.locator("main :is(svg, canvas)").count():
            picture = b64encode(await page.screenshot(full_page=True)).decode()
            assert await page.evaluate(_FAINT, picture) == [], (is_dark, path)
    await page.emulate_media(color_scheme="light")


async def test_pages_are_installable_accessible_same_origin_and_fit_the_window(
    visit: Visit,
) -> None:
    width, height = SIZES["narrow"]
    await visit.page.set_viewport_size({"width": width, "height": height})
    for path in (*(f"docs/{name}.md" for name in ("metrics", "rest", "vocabularies")), *PAGES):
        before = len(visit.requests)
        await visit.open(path)
        read = [url for url in visit.requests[before:] if "/v1/" in url]
        assert len(read) == len(set(read)), f"{path} reads an address twice: {sorted(read)}"
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert await visit.page.evaluate(_TURNED) == [], path
        if AXE.exists():
            await visit.page.evaluate(AXE.read_text(encoding="utf-8"))
            assert await visit.page.evaluate(VIOLATIONS, _OF_LAYOUT) == [], path
        await visit.page.set_viewport_size({"width": SIZES["wide"][0], "height": height})
        await check_fit(visit, path, SIZES["wide"][0])
        if AXE.exists() and path in PAGES:  # make web brings it
            await check_for_everybody(visit.page, path)
            await visit.page.set_viewport_size({"width": TABLET, "height": height})
            assert await visit.page.evaluate(_CUT_COLUMNS) == [], path
            assert await visit.page.evaluate(VIOLATIONS, ["scrollable-region-focusable"]) == [], path
        await visit.page.set_viewport_size({"width": width, "height": height})
    devtools = await visit.context.new_cdp_session(visit.page)
    found = await devtools.send("Page.getInstallabilityErrors")
    # Windows of tests are private ones, which install nothing.
    assert {error["errorId"] for error in found["installabilityErrors"]} <= {"in-incognito"}, found
    manifest = await devtools.send("Page.getAppManifest")
    assert manifest["errors"] == []
    of = json.loads(manifest["data"])
    assert (of["name"], of["start_url"], of["display"]) == ("hub", "/", "standalone")
    assert {icon["purpose"] for icon in of["icons"]} == {"any", "maskable"}
    for icon in of["icons"]:
        drawn = await visit.page.evaluate(_SIZE_OF_ICON, icon["src"])
        assert icon["sizes"] in ("any", f"{drawn}x{drawn}"), icon
    for shortcut in of["shortcuts"]:
        await visit.open(shortcut["url"].removeprefix("/"))
        await expect(visit.page.get_by_role("link", name=shortcut["name"])).to_have_attribute(
            "aria-current", "page"
        )
    for scheme, ground in (("light", "#f7f8f9"), ("dark", "#14181c")):
        shown = visit.page.locator(f"meta[name=theme-color][media*={scheme}]")
        await expect(shown).to_have_attribute("content", ground)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(f"{visit.origin}/")] == []


@pytest.mark.soak
async def test_pages_of_an_empty_hub_fit_a_phone(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, is_empty=True) as empty, visiting(browser, empty, size=(390, 844)) as visit:
        for path in [path for path in PAGES if path.isalpha() or not path]:
            await visit.open(path)
            await check_fit(visit, path, 390)


async def test_pages_show_hostile_texts_as_plain_text(visit: Visit) -> None:
    await visit.open("")
    await visit.page.get_by_text(HOSTILE).nth(1).wait_for()
    assert await visit.page.locator("main img, main b").count() == 0
    width = await visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1280, "a long text makes the page wider"
    await visit.open("review?item=i-0")
    lines = visit.page.get_by_role("list", name="Lines of the source").locator("li")
    closed = f"{HOSTILE}\u2069"
    await expect(lines).to_have_text([closed, f"- [ ] {closed} @due(2026-12-01)", "", closed])
    assert await visit.page.evaluate(_TURNED) == []
    await visit.page.get_by_text("instruction: the quoted text contains instructions").wait_for()
    assert (await visit.page.locator("main img, main b").count(), visit.complaints) == (0, [])


async def test_agent_is_shown_in_the_calendar_and_paused_by_keys(hub: ServedHub, visit: Visit) -> None:
    await visit.open("agents")
    await visit.page.get_by_role("link", name="Week").click()
    calendar = visit.page.get_by_role("table", name="What agents do")
    await expect(calendar.get_by_role("columnheader")).to_have_count(8)
    await expect(calendar.locator("th[aria-current=date]")).to_have_text("Mon 5 Jan")
    await expect(calendar.get_by_role("link", name="notes")).to_have_count(
        6
    )  # two fires of today, four next ones
    await expect(calendar.locator(".state")).to_have_text("skipped paused")
    await calendar.locator(".fire a").click()
    await visit.page.get_by_role("heading", name="Run of notes").wait_for()
    await visit.page.go_back()
    await visit.page.get_by_role("link", name="After").click()
    await expect(calendar.get_by_role("link", name="notes")).to_have_count(5)
    await visit.page.get_by_role("link", name="List").click()
    state = visit.page.locator("tr", has_text="notes").locator("[data-head=Lifecycle]")
    await expect(state).to_have_text("active")
    await visit.page.keyboard.press("g")
    await visit.page.keyboard.press("u")
    await visit.page.get_by_role("heading", name="Runs").wait_for()
    await visit.page.go_back()
    await visit.page.get_by_role("link", name="notes", exact=True).click()
    await visit.page.get_by_role("button", name="Pause").click()
    await visit.page.get_by_role("button", name="Resume").wait_for()
    row = await hub.store.read(agents.agent_called, "notes", None)
    assert row.lifecycle == "paused"
    link = hub.roster.find((await hub.device("desk")).id)
    assert isinstance(link, EndedLink)
    link.round_trip = RoundTrip(0.012, age_s=8)
    await visit.page.get_by_role("link", name="desk").click()
    await expect(visit.page.locator(".facts")).to_contain_text(re.compile(r"12 ms, measured .+ ago"))
    connected = visit.page.locator("section", has=visit.page.get_by_role("heading", name="Connected"))
    await connected.get_by_text("of the last 14 days, once").click()
    times = connected.get_by_role("table", name="Times of its connections")
    await expect(times.locator("td[data-head=Until]")).to_have_text("now")


async def test_command_palette_finds_commands_and_runs_opens_or_copies_a_command(
    hub: ServedHub, visit: Visit
) -> None:
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visit.open("")
    page, keys = visit.page, visit.page.keyboard
    best = page.locator("#choices li").first

    async def choose(text: str, match: str) -> None:
        await keys.press("Control+k")
        await page.get_by_label("View, agent, device or command").fill(text)
        await expect(best.locator("span").first).to_have_text(match)
        await keys.press("Enter")

    await choose("mailboxes", "Mail and calendars")
    await page.get_by_role("heading", name="Mail and calendars").wait_for()
    await choose("notes pause", "Pause notes")
    await page.get_by_text("notes is paused.").wait_for()
    assert (await hub.store.read(agents.agent_called, "notes", None)).lifecycle == "paused"
    await choose("rsm notes", "Resume notes")
    await page.get_by_text("notes works again.").wait_for()
    await choose("ls runs", "hub runs ls")
    await page.get_by_role("heading", name="Runs").wait_for()
    await choose("agnts crt", "hub agents create NAME")
    await page.get_by_role("heading", name="New agent").wait_for()
    await choose("backup", "hub backup FILE")
    await page.get_by_text("Copied, for a shell: hub backup FILE").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "hub backup FILE"
    await keys.press("Control+k")
    await page.get_by_label("View, agent, device or command").fill("obsidian")
    section = page.locator("#choices li", has_text="handbook").first
    await section.click()
    await page.wait_for_url("**/docs/*.md#*")
    await page.go_back()
    await page.locator("main h1").wait_for()
    await keys.press("Control+k")
    await page.get_by_label("View, agent, device or command").fill("qqq")
    await page.get_by_text("Nothing is called that.").wait_for()
    assert visit.complaints == []


async def test_home_page_counts_and_links_events_since_the_last_visit(hub: ServedHub, visit: Visit) -> None:
    await visit.page.clock.set_fixed_time(START + timedelta(minutes=1))
    await visit.open("")
    happened = visit.page.locator("section", has=visit.page.get_by_role("heading", name="What happened"))
    shown = happened.get_by_label("Shown")
    await expect(shown.locator("option")).to_have_text(
        [f"the last {time}" for time in ("24 hours", "7 days", "30 days")]
    )
    failed = happened.get_by_role("link", name="1 run failed")
    await failed.click()
    await visit.page.get_by_role("heading", name="Runs").wait_for()
    await expect(visit.page.locator("td[data-head=State]")).to_have_text(["failed"])
    await visit.page.clock.set_fixed_time(START + timedelta(hours=2))
    hub.clock.advance(7_200)
    await visit.open("")
    await expect(happened.get_by_label("Shown").locator("option").first).to_have_text("since my last visit")
    await happened.get_by_text("1 item found").or_(happened.get_by_text("items wait")).first.wait_for()
    assert await happened.get_by_role("link", name="failed").count() == 0, "no tile of a zero"
    await shown.select_option("the last 24 hours")
    await failed.wait_for()


async def verdicts(hub: ServedHub) -> dict[str, tuple[str, dict[str, object]]]:
    """The newest verdict on each item, and its values."""
    newest = await hub.store.read(item_verdicts.newest_verdicts, ["i-0", "i-1", "i-2"])
    return {id: (row.verdict, row.data) for id, row in newest.items()}


async def test_review_page_links_only_https_addresses_of_item_places(hub: ServedHub, visit: Visit) -> None:
    row = (await hub.store.read(items.get_item, "i-2"))[0]
    links = {"todo": "notes/todo.md", "phone": "https://dav.example.org/x.ics", "bad": "javascript:alert(1)"}
    places = [RowPlace(name=name, state="arrived", at_ms=1, link=link) for name, link in links.items()]
    places.append(RowPlace(name="lab", state="waiting", at_ms=1, problem="full"))
    assert row.device_id is not None and row.row_id is not None
    await hub.store.write(items.note_places, row.device_id, {row.row_id: places})
    await visit.open("review?item=i-2")
    for name, link in links.items():
        await visit.page.get_by_text(f"in {name}, {link}").wait_for()
    await visit.page.get_by_text("not in lab yet: its disk is full").wait_for()
    shown = visit.page.locator("article a[rel=noreferrer]")
    assert [await one.get_attribute("href") for one in await shown.all()] == [links["phone"]]


async def test_review_keys_approve_edit_and_undo_items(hub: ServedHub, visit: Visit) -> None:
    await visit.open("review?item=i-2")
    keys, title = visit.page.keyboard, visit.page.locator("#item-title")
    await expect(title).to_have_text(PLAIN)
    lines = visit.page.get_by_role("list", name="Lines of the source")
    await expect(lines.locator("li")).to_have_text(
        ["Hello,", f"- [ ] {PLAIN} @due(2026-12-01)", "", "Hello,"]
    )
    assert await lines.get_attribute("start") == "98"
    await expect(lines.locator("mark")).to_have_text([PLAIN])
    await expect(visit.page.locator(".facts > div", has_text="due")).to_have_text("dueTue 1 Dec 2026")
    await keys.press("a")
    await visit.page.get_by_text("Approved “Send Anna").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-2": ("approve", {})}
    await keys.press("u")
    await visit.page.get_by_text("Undone: “Send Anna").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {}
    await visit.open("review?item=i-2")
    await keys.press("e")
    await keys.type("rax ")  # into the form: no key of the page
    await expect(visit.page.get_by_label("title")).to_have_value(f"{PLAIN}rax ")
    await visit.page.get_by_label("title").fill("")
    await visit.page.get_by_label("status").select_option("done")
    await visit.page.get_by_role("button", name="Approve with the changes").click()
    await visit.page.get_by_text("was not approved: tasks.title: is required").wait_for()
    assert await verdicts(hub) == {}
    await visit.page.locator(".picks li", has_text="not taken").get_by_role("link").click()
    await visit.page.get_by_text("Your decision was not taken").wait_for()
    await keys.press("e")
    await expect(visit.page.locator("form.editor em.bad")).to_have_text("is required")
    await expect(visit.page.get_by_label("status")).to_have_value("done")
    await visit.page.get_by_label("title").fill("Pay Anna")
    await expect(visit.page.get_by_label("due")).to_have_value("2026-12-01")
    await visit.page.get_by_role("button", name="Approve with the changes").click()
    await visit.page.get_by_text("Approved “Pay Anna").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-2": ("approve", {"title": "Pay Anna", "status": "done"})}
    given = (await hub.store.read(item_verdicts.newest_verdicts, ["i-2"]))["i-2"]
    done, desk = [VerdictAnswer(id=given.id, state="edited")], await hub.device("desk")
    await hub.store.write(item_verdicts.settle, desk.id, done, epoch=1, at=hub.now_ms)
    await visit.open("review?item=i-2&verdict=edited")
    await expect(title).to_have_text("Pay Anna")
    await expect(visit.page.locator("section", has_text="As it was found").last).to_contain_text(PLAIN)


@pytest.mark.parametrize("zones", [1, pytest.param(3, marks=pytest.mark.soak)])
async def test_review_page_shows_and_edits_the_same_day_in_all_time_zones(
    hub: ServedHub, visit: Visit, zones: int
) -> None:
    days = {"2026-12-31": "Thu 31 Dec 2026", "2028-02-29": "Tue 29 Feb 2028"}
    known, *_ = await hub.store.read(items.get_item, "i-2")
    # of each agent one of the days
    rows = [
        msgspec.structs.replace(
            known,
            id=f"{ZONES.index(agent)}-{day}",
            call_id=CallId(f"{ZONES.index(agent)}-{day}"),
            data=known.data | {"dueDate": begin_of(date.fromisoformat(day), agent)},
            source=(known.source or {}) | {"timezone": agent},
        )
        for agent, day in zip(ZONES, cycle(days), strict=False)
    ]
    await hub.store.write(items.write_items, [Decision(after=row) for row in rows])
    devtools = await visit.context.new_cdp_session(visit.page)
    # of browsers and agents: the first and the last zone of the earth, and one whose clocks change
    for browser_zone, edited in [*zip(ZONES[::5] + ZONES[3:4], ZONES[1::2], strict=True)][-zones:]:
        await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": browser_zone})
        for row in rows[::5] + rows[3:4]:
            day = row.id.partition("-")[2]
            await visit.open(f"review?item={row.id}")
            due = visit.page.locator(".facts > div", has_text="due")
            await expect(due).to_have_text(f"due{days[day]}")
        item = next(row.id for row in rows if row.source and row.source["timezone"] == edited)
        await visit.open(f"review?item={item}")
        await visit.page.keyboard.press("e")
        await expect(visit.page.get_by_label("due")).to_have_value(item.partition("-")[2])
        await visit.page.get_by_label("due").fill("2027-01-01")
        await visit.page.get_by_role("button", name="Approve with the changes").click()
        await visit.page.get_by_text("Approved “Send Anna").wait_for()
        await saved(visit.page)
        given = (await hub.store.read(item_verdicts.newest_verdicts, [item]))[item]
        assert given.data == {"dueDate": begin_of(date(2027, 1, 1), edited)}, (browser_zone, edited)


async def test_marked_item_can_only_be_rejected_without_the_marked_grant(
    hub: ServedHub, visit: Visit
) -> None:
    takes_verdicts(await hub.device("desk"), hub)["review.remote"] = []
    await visit.open("review?item=i-0")
    await visit.page.get_by_role("button", name="hub grants +review.remote=marked").wait_for()
    main, keys = visit.page.locator("main"), visit.page.keyboard
    for name, count in (("Approve", 0), ("Edit", 0), ("Reject r", 1)):
        assert await main.get_by_role("button", name=name).count() == count, name
    for key in ("a", "e", "r"):
        await keys.press(key)
    await visit.page.get_by_text("Rejected “<img").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-0": ("reject", {})}


async def agree(page: Page) -> None:
    """Agree to an item with a mark, below its words."""
    await page.get_by_role("button", name="Approve this one").click()


async def sign_in(hub: ServedHub, visit: Visit) -> None:
    """Open a session of all rights in place of the token of a test."""
    async with over_unix(hub) as operator:
        made = await operator.post("/v1/sessions/links", json={})
    await visit.context.set_extra_http_headers({})
    await visit.page.goto(f"{visit.origin}{made.json()['path']}")
    await visit.page.get_by_role("heading", name="Status").wait_for()


@needs_axe
async def test_marked_item_is_approved_alone_below_its_mark_and_words(hub: ServedHub, visit: Visit) -> None:
    takes_verdicts(await hub.device("desk"), hub)
    await sign_in(hub, visit)
    await visit.page.goto(f"{visit.origin}/review?item=i-0")
    page, keys = visit.page, visit.page.keyboard
    asked = page.get_by_role("dialog", name="Approve this one")
    await page.locator("main .judging button", has_text="Approve").first.wait_for()
    await keys.press("a")
    await expect(asked).to_contain_text("the quoted text contains instructions")
    await check_for_everybody(page, "review")
    await keys.press("Escape")
    await asked.wait_for(state="detached")
    assert await verdicts(hub) == {}
    verdict = {"id": "i-0", "verdict": "approve"}
    for more in ({}, {"version": 1}, {"confirmed": True}):  # the hub does not trust the page
        (result,) = await page.evaluate(
            """async (verdict) => (await (await fetch('/v1/items/verdicts', {method: 'POST', body:
            JSON.stringify({verdicts: [verdict]}), headers: {'content-type': 'application/json',
            'x-hub-request': '1'}})).json()).results""",
            verdict | more,
        )
        assert (result["error"]["code"], result["error"]["status"]) == ("needs_confirmation", 409), more
        assert "instruction" in result["error"]["message"]
    await keys.press("a")
    await expect(asked.get_by_role("button", name="Leave it")).to_be_focused()
    await keys.press("Tab")
    await keys.press("Enter")
    await page.get_by_text("Approved “<img").wait_for()
    await saved(page)
    assert await verdicts(hub) == {"i-0": ("approve", {})}


async def test_review_page_shows_proposals_as_text_to_accept_or_decline(hub: ServedHub, visit: Visit) -> None:
    proposed = [
        {"item": "i-2", "verdict": "edit", "data": {"title": "Pay Anna"}, "why": HOSTILE},
        {"item": "i-1", "verdict": "reject", "why": "done"},
        {"item": "i-0", "verdict": "reject", "why": "an advert"},
    ]
    async with over_unix(hub) as reader:
        answer = await reader.post("/v1/items/proposals", json={"proposals": proposed})
        assert [one["state"] for one in answer.json()["results"]] == ["open"] * 3
    await visit.open("review?proposed=true&item=i-2")
    page, keys = visit.page, visit.page.keyboard
    shown, listed = page.get_by_label("Proposed"), page.locator(".picks li")
    await expect(listed).to_have_count(3)
    await expect(listed.first).to_contain_text("proposed: edit")
    await expect(shown).to_contain_text("proposes to edit: <img")
    await expect(shown).to_contain_text("title Send Anna the invoice → Pay Anna")
    await expect(shown).to_contain_text("The quote does not say this.Send Anna the invoice")
    boxes = listed.get_by_role("checkbox")
    await boxes.first.check()  # selected ones are no consent to a change of values
    await keys.press("p")
    await expect(page.locator(".outcome")).to_contain_text(
        "Nothing was accepted; 1 that change values are left"
    )
    assert await verdicts(hub) == {}
    await keys.press("Escape")
    assert (await shown.locator("img, script").count(), await page.evaluate(_TURNED)) == (0, [])
    await keys.press("p")
    await page.get_by_text("Changed “Send Anna").wait_for()
    await saved(page)
    assert await verdicts(hub) == {"i-2": ("edit", {"title": "Pay Anna"})}
    await keys.press("u")
    await saved(page)
    assert await verdicts(hub) == {}
    await visit.open("review?item=i-0")
    await shown.get_by_role("button", name="Decline").click()
    await page.get_by_text("Declined.").wait_for()
    await hub.clock.pass_time(1)
    await expect(shown).to_have_count(0)
    await keys.press("p")
    await expect(page.locator(".outcome")).to_contain_text("Nothing is proposed here.")
    await visit.open("review?proposed=true")
    await expect(listed).to_have_count(1)
    await listed.get_by_role("checkbox").check()
    await keys.press("p")
    await page.get_by_text("as was proposed").wait_for()
    await saved(page)
    assert (await verdicts(hub), visit.complaints) == ({"i-1": ("reject", {})}, [])


async def test_review_page_reports_a_device_refusal_and_hides_buttons_without_a_grant(
    hub: ServedHub, visit: Visit
) -> None:
    desk = await hub.device("desk")
    granted = takes_verdicts(desk, hub)
    await visit.open("review?item=i-2")
    keys, outcome = visit.page.keyboard, visit.page.locator(".outcome")
    await keys.press("u")
    await expect(outcome).to_contain_text("There is nothing to undo.")
    await keys.press("a")
    await expect(outcome).to_contain_text("Approved “Send Anna")
    await saved(visit.page)
    given = (await hub.store.read(item_verdicts.newest_verdicts, ["i-2"]))["i-2"]
    refused = [VerdictAnswer(id=given.id, reason="not_granted")]
    await hub.store.write(item_verdicts.settle, desk.id, refused, epoch=1, at=hub.now_ms)
    await hub.clock.pass_time(1)
    await expect(outcome).to_contain_text("waits again: its computer refused the decision (its owner has not")
    granted.clear()
    await visit.open("review?item=i-2")
    await visit.page.get_by_text("Its computer takes no decision from here").wait_for()
    grant = visit.page.get_by_role("button", name="hub grants +review.remote")
    await expect(grant).to_have_count(1)
    assert await visit.page.locator("main").get_by_role("button", name="Approve").count() == 0
    for key in ("r", "e"):
        await keys.press(key)
        await expect(outcome).to_contain_text("Its computer takes no decision from here")
        await outcome.get_by_role("button", name="Close").click()
    assert await visit.page.locator("form.editor").count() == 0
    assert {row.state for row in (await hub.store.read(item_verdicts.newest_verdicts, ["i-2"])).values()} == {
        "refused"
    }


async def test_select_all_on_the_review_page_skips_items_with_warnings(hub: ServedHub, visit: Visit) -> None:
    await visit.open("review?item=i-0")
    keys = visit.page.keyboard
    await keys.press("A")
    await visit.page.locator(".picks input:checked").wait_for()
    await keys.press("r")
    await visit.page.get_by_text("Rejected “Send Anna").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-2": ("reject", {})}
    await visit.open("review?item=i-0")
    await keys.press("x")
    await visit.page.locator(".picks input:checked").wait_for()
    await keys.press("Escape")
    await expect(visit.page.locator(".picks input:checked")).to_have_count(0)
    await keys.press("x")
    await keys.press("a")
    await agree(visit.page)
    await visit.page.get_by_text("Approved “<img").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-2": ("reject", {}), "i-0": ("approve", {})}


async def test_items_of_a_file_are_approved_together_and_marked_ones_are_listed_apart(
    hub: ServedHub, visit: Visit
) -> None:
    def in_one_file(c: sa.Connection) -> None:
        c.execute(sa.update(item_rows).values(unit_key="notes/a.md"))
        c.execute(sa.update(item_rows).values(warnings=[]).where(item_rows.c.id == "i-1"))

    await hub.store.write(in_one_file)
    await visit.open("review?by=file")
    file = visit.page.get_by_role("region", name="notes/a.md")
    head = file.get_by_role("button", expanded=True)
    await expect(head).to_have_text("notes/a.md · desk · 2")
    await file.get_by_role("button", name="Reject 2").wait_for()
    twice = visit.page.get_by_role("region", name="look twice")
    await expect(twice.get_by_role("listitem")).to_have_count(1)
    await expect(twice.get_by_role("button")).to_have_text(["From others, or marked: look twice · 1"])
    await expect(visit.page.locator(".picks section").last).to_have_attribute(
        "aria-label", re.compile("twice")
    )
    await head.press("Enter")
    await expect(file.get_by_role("listitem")).to_have_count(0)
    await file.get_by_role("button", name="Approve 2").press("Enter")
    await visit.page.get_by_text("Approved 2 tasks").wait_for()
    await expect(file.get_by_role("button", name="Approve")).to_have_count(0)
    await expect(visit.page.locator(".unsent")).to_have_count(0)
    assert {id: verdict for id, (verdict, _) in (await verdicts(hub)).items()} == dict.fromkeys(
        ("i-1", "i-2"), "approve"
    )


async def test_rows_of_the_inbox_show_day_person_and_line_below_headings_of_days(
    hub: ServedHub, visit: Visit
) -> None:
    known, *_ = await hub.store.read(items.get_item, "i-2")
    source, day_ms = known.source or {}, 86_400_000
    mail = source | {"provenance": {"origin": "mail", "author": "Bob", "trusted": True}}
    week = source | {"line": 26}
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # at 9:00 of a Monday
        ("notes", {"title": "Colours", "content": "green"}, week),
        ("tasks", {"title": "Tax", "dueDate": hub.now_ms + 40 * day_ms}, week),
        ("timelines", {"title": "Train", "date": hub.now_ms + day_ms}, mail),
        ("tasks", {"title": "Quote", "dueDate": hub.now_ms, "assignee": ["Anna", "Bo"]}, week),
        ("tasks", {"title": "Rent", "dueDate": hub.now_ms - 3 * day_ms}, week),
    ]
    rows_found = [
        msgspec.structs.replace(
            known,
            **{"id": f"d-{nth}", "call_id": CallId(f"d-{nth}"), "unit_key": "notes/week.md"},
            **{"target_table": table, "data": data, "source": place},
            date_ms=next((value for value in data.values() if isinstance(value, int)), None),
        )
        for nth, (table, data, place) in enumerate(found)
    ]
    rows_found.append(
        msgspec.structs.replace(rows_found[-1], id="d-9", call_id=CallId("d-9"), row_id=None, verdict="held")
    )

    def keep(c: sa.Connection) -> None:
        c.execute(sa.delete(item_rows))
        items.write_items(c, [Decision(after=row) for row in rows_found])

    await hub.store.write(keep)
    await visit.open("inbox")
    page, rows = visit.page, visit.page.locator(".picks li a > .quiet")
    await expect(page.locator(".picks section .turn")).to_have_text(
        ["Overdue or past · 1", "Today · 1", "Next 7 days · 1", "Later · 1", "Without a day · 1"]
    )
    await page.get_by_text("5 wait for you, 1 less sure").wait_for()
    overdue = page.get_by_role("region", name="Overdue or past")
    await expect(overdue.get_by_role("link", name="1 more, less sure")).to_have_count(1)
    await expect(rows.nth(0)).to_contain_text("overdue, ")
    await expect(rows.nth(1)).to_have_text("due today 09:00 · Anna, Bo · week.md, line 26")
    await expect(rows.nth(2)).to_have_text("event · tomorrow 09:00 · mail from Bob")
    await expect(rows.nth(4)).to_have_text("note · week.md, line 26")
    await visit.open("inbox?due_since=2020-01-01")  # what a search finds, too
    await expect(page.locator(".picks section .turn")).to_have_text(
        ["Overdue or past · 1", "Today · 1", "Next 7 days · 1", "Later · 1"]
    )
    await page.get_by_role("button", name="By file").click()
    await expect(page.locator(".picks section .turn")).to_have_count(1)
    await visit.open("inbox?text=overdue")
    await page.get_by_role("link", name="What is overdue or past").click()
    await expect(page.locator(".picks section .turn")).to_have_text(["Overdue or past · 1"])
    await page.get_by_role("checkbox", name="Select Rent").check()
    await page.get_by_role("button", name="Approve 1").wait_for()
    await visit.open("inbox")
    await expect(rows).to_have_count(5)
    for key in "aaaaa":
        await page.keyboard.press(key)
    await saved(page)
    await page.get_by_text("All decided.").wait_for()
    await page.get_by_role("link", name="choose a place").wait_for()
    await page.reload()
    await page.get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("link", name="choose a place")).to_have_count(0)
    assert all("409" in text for text in visit.complaints), "no device here has places"


async def test_decision_of_an_earlier_visit_is_taken_back_by_the_button_of_the_item(
    hub: ServedHub, visit: Visit
) -> None:
    await visit.open("review?item=i-2")
    await visit.page.get_by_role("button", name="Reject r").click()
    await saved(visit.page)
    assert (await verdicts(hub))["i-2"][0] == "reject"

    await visit.open("review?verdict=any&item=i-2")
    await visit.page.get_by_role("button", name="Undo", exact=True).click()
    await saved(visit.page)

    assert "i-2" not in await verdicts(hub)


async def test_review_key_for_many_items_reports_remaining_items(hub: ServedHub, visit: Visit) -> None:
    plain = sa.update(item_rows).values(unit_key="notes/a.md", warnings=[])
    await hub.store.write(lambda c: c.execute(plain))
    few = "limit=500", "limit=2"
    await visit.page.route(
        "**/v1/items?*", lambda route: route.continue_(url=route.request.url.replace(*few))
    )
    await visit.open("review")
    await visit.page.keyboard.press("A")
    await visit.page.get_by_text("2 tasks selected; there are more").wait_for()
    await visit.page.keyboard.press("R")
    await visit.page.get_by_text("Rejected 2 tasks; the file has more: R rejects the next ones").wait_for()
    await saved(visit.page)
    await visit.page.keyboard.press("R")
    await expect(visit.page.locator(".outcome")).not_to_contain_text("more")
    await saved(visit.page)
    assert {verdict for verdict, _ in (await verdicts(hub)).values()} == {"reject"}


async def test_review_page_filters_items_with_counts_and_rejects_a_file_by_key(
    hub: ServedHub, visit: Visit
) -> None:
    await visit.open("review?item=i-0")
    keys, rows = visit.page.keyboard, visit.page.locator(".picks li")
    await expect(rows).to_have_count(3)
    await keys.press("x")
    await visit.page.locator(".picks input:checked").wait_for()
    await keys.press("/")
    await keys.type("INVOICE")
    await expect(rows).to_have_count(1)
    # The item before, which is listed no more, is neither shown nor selected: no key decides about it.
    await expect(visit.page.locator("#item-title")).to_have_text(await rows.locator(".title").inner_text())
    await expect(visit.page.locator(".picks input:checked")).to_have_count(0)
    await expect(visit.page.get_by_role("button", name="Approve 1")).to_have_count(0)
    await keys.press("Enter")
    chips, filter = visit.page.locator(".chip"), visit.page.get_by_role("combobox", name="Filter")
    await expect(chips).to_contain_text(["Remove the filter text: INVOICE"])
    marks = visit.page.locator("datalist option[value^='mark:']")
    assert await marks.evaluate_all("all => all.map((one) => one.label)") == ["none (1)"]
    await chips.press("Enter")
    await expect(rows).to_have_count(3)
    for typed, problem in (
        ("state:lost", "state is one of: approved"),
        ("state:", "state: approved"),
        ("", ""),
    ):
        await filter.fill(typed)
        await filter.press("Enter")
        await expect(visit.page.locator("#search-problem")).to_contain_text(problem)
    await visit.page.get_by_role("button", name="mark", exact=True).click()
    await keys.type("instruction")
    await keys.press("Enter")
    await expect(rows).to_have_count(2)
    await expect(visit.page).to_have_url(re.compile("warning=instruction"))  # it follows within 200 ms
    await visit.page.reload()
    await expect(chips).to_contain_text(["Remove the filter mark: instruction"])
    await expect(rows).to_have_count(2)
    command = visit.page.locator("button.command code")
    await expect(command).to_have_text("hub items ls --warning instruction --order day")
    await visit.open("review?item=i-0")
    await keys.press("?")
    shown = await visit.page.locator("dialog.help dt").all_inner_texts()
    assert len(shown) == len(set(shown)) and {"j", "/", "R"} <= set(shown)
    await keys.press("Escape")
    await keys.press("R")
    await visit.page.get_by_text("Rejected “<img").wait_for()
    await saved(visit.page)
    assert await verdicts(hub) == {"i-0": ("reject", {})}
    await expect(rows.filter(has_text="reject")).to_have_count(1)


_COMMANDS: Final = {
    "": "ls --order day",
    "by=file&table=tasks": "ls --table tasks --order file",
    "verdict=any": "ls --all --order day",
    "verdict=approved": "ls --in-state approved --order day",
    "verdict=edited": "ls --in-state edited --order day",
    "verdict=rejected": "ls --in-state rejected --order day",
    "verdict=rejected&unsure=true": "ls --in-state rejected --order day",
    "unsure=true": "ls --unsure --order day",
    "apart=true": "ls --apart --order day",
    "warning=instruction&agent=notes": "ls --agent notes --warning instruction --order day",
    "proposed=true&device=desk": "ls --proposed --device desk --order day",
    "proposed=false&run=r-1": "ls --not-proposed --run r-1 --order day",
    "verdict=any&path=a';rm%20-rf%20~/": r"ls --all --path 'a'\'';rm -rf ~/' --order day",
    "person=anna&text=x&verdict=any": "find --person anna --text x",
    "q=-x&verdict=rejected": "find --in-state rejected -- '-x'",
    "q=x&unsure=true&warning=none": "find --warning none --in-state held x",
}


async def test_review_page_shows_the_command_of_each_filter_and_less_sure_items_beside_open_ones(
    hub: ServedHub, visit: Visit
) -> None:
    held = sa.update(item_rows).values(verdict="held", row_id=None).where(item_rows.c.id == "i-1")
    await hub.store.write(lambda c: c.execute(held))
    less_sure = visit.page.get_by_text("less sure")
    for query, command in _COMMANDS.items():
        await visit.open(f"inbox?{query}")
        await expect(visit.page.locator("button.command code")).to_have_text(f"hub items {command}")
        words = shlex.split(f"items {command}")
        checked = click.Context(cli)
        group = cli.get_command(checked, words[0])
        assert isinstance(group, click.Group)
        found = group.get_command(checked, words[1])
        assert found is not None and found.make_context(words[1], words[2:], parent=checked), command
        await visit.page.locator(".picks li, .empty").first.wait_for()
        await expect(visit.page.get_by_role("navigation", name="Pages of the list")).to_have_count(0)
        if "verdict" in query:
            await expect(less_sure).to_have_count(0)
    await visit.open("inbox?q=x&proposed=true")
    await visit.page.get_by_text("Nothing here is like this.").wait_for()
    await expect(visit.page.locator("button.command code")).to_have_count(0)
    await visit.open("inbox")
    await expect(less_sure.first).to_be_visible()


async def test_marked_items_of_a_filter_are_selected_and_rejected_together(
    hub: ServedHub, visit: Visit
) -> None:
    await visit.open("review?warning=instruction")
    await visit.page.get_by_role("button", name="Select all").click()
    await visit.page.get_by_text("2 tasks selected, to be rejected together").wait_for()
    await expect(visit.page.get_by_role("button", name="Approve 0")).to_be_disabled()
    await visit.page.get_by_role("button", name="Reject 2").click()
    await saved(visit.page)
    given = {id: verdict for id, (verdict, _) in (await verdicts(hub)).items()}
    assert given == dict.fromkeys(("i-0", "i-1"), "reject")


async def test_selection_drops_an_item_that_another_window_rejected(hub: ServedHub, visit: Visit) -> None:
    plain = sa.update(item_rows).values(warnings=[])
    await hub.store.write(lambda c: c.execute(plain))
    await visit.open("review")
    await visit.page.keyboard.press("A")
    await visit.page.get_by_role("button", name="Approve 3").wait_for()
    async with over_unix(hub) as operator:
        await operator.post("/v1/items/verdicts", json={"verdicts": [{"id": "i-0", "verdict": "reject"}]})
    await hub.clock.pass_time(1)
    await visit.page.get_by_role("button", name="Approve 2").click()
    await saved(visit.page)
    given_now = {id: verdict for id, (verdict, _) in (await verdicts(hub)).items()}
    assert given_now == {"i-0": "reject", "i-1": "approve", "i-2": "approve"}
    await expect(visit.page.locator(".outcome .bad")).to_have_count(0)


async def test_review_page_searches_by_words_and_days_and_shows_the_command(visit: Visit) -> None:
    await visit.open("review")
    filter, rows = visit.page.get_by_role("combobox", name="Filter"), visit.page.locator(".picks li")
    command = visit.page.locator("button.command code")
    before, after = "2026-11-29", "2026-12-01"  # the day on which the items are due
    for typed, count, shown in (
        ("words:INVOICE anna", 1, ""),
        (f"since:{before}", 1, f"--since {before} "),
        (f"until:{before}", 0, f"--since {before} --until {before} "),
        (f"until:{after}", 1, f"--since {before} --until {after} "),
    ):
        await filter.fill(typed)
        await filter.press("Enter")
        await expect(command).to_have_text(f"hub items find {shown}--in-state open 'INVOICE anna'")
        await expect(rows).to_have_count(count)
        await expect(visit.page.get_by_text(re.compile("waits? for you"))).to_have_count(0)
    await visit.open("review?q=--token%20x")
    await expect(command).to_have_text("hub items find --in-state open -- '--token x'")
    await visit.page.get_by_text("Nothing here is like this.").wait_for()
    assert visit.complaints == []


async def test_narrow_review_page_shows_either_the_list_or_a_single_item(
    hub: ServedHub, browser: Browser
) -> None:
    async with visiting(browser, hub, size=SIZES["narrow"]) as visit:
        await visit.open("review")
        assert not await visit.page.locator("article").is_visible()
        await visit.page.keyboard.press("j")
        await visit.page.locator("article").wait_for()
        first = await visit.page.locator("#item-title").inner_text()
        assert not await visit.page.locator(".picks").is_visible()
        await visit.page.keyboard.press("j")
        await visit.page.wait_for_function(
            "before => document.querySelector('#item-title')?.innerText !== before", arg=first
        )
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= SIZES["narrow"][0]
        for button in await visit.page.locator(".judging button:visible").all():
            box = await button.bounding_box()
            assert box is not None
            assert box["height"] >= 44 and box["y"] + box["height"] <= SIZES["narrow"][1], (
                "at hand, and large"
            )
        await visit.page.get_by_role("link", name="← Inbox").click()
        await visit.page.locator(".picks").wait_for()


async def test_narrow_inbox_is_at_the_same_place_again_behind_an_item(
    hub: ServedHub, browser: Browser
) -> None:
    known, *_ = await hub.store.read(items.get_item, "i-2")
    ids = [f"p-{nth:02}" for nth in range(40)]
    rows = [msgspec.structs.replace(known, id=id, call_id=CallId(id)) for id in ids]
    await hub.store.write(items.write_items, [Decision(after=row) for row in rows])
    async with visiting(browser, hub, size=SIZES["narrow"]) as visit:
        await visit.open("inbox")
        page, row = visit.page, visit.page.locator(".picks li").nth(30)
        await row.scroll_into_view_if_needed()
        assert await page.evaluate("scrollY") > 1_000
        await row.get_by_role("link").click()
        await expect(page.locator("#item-title")).to_be_in_viewport()
        await expect(page.locator("#item-title")).to_be_focused()
        await page.go_back()
        await expect(row).to_be_in_viewport()
        await row.get_by_role("link").click()
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("button", name="Undo")).to_be_in_viewport()
        await expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()  # of the next item
        await page.get_by_role("link", name="← Inbox").click()
        await expect(page.locator(".picks li").nth(30)).to_be_in_viewport()


async def test_list_of_items_that_cannot_be_decided_here_is_read_once(
    hub: ServedHub, browser: Browser
) -> None:
    known, *_ = await hub.store.read(items.get_item, "i-2")
    ids = [f"p-{nth:03}" for nth in range(250)]
    rows = [msgspec.structs.replace(known, id=id, call_id=CallId(id)) for id in ids]
    await hub.store.write(items.write_items, [Decision(after=row) for row in rows])
    async with visiting(browser, hub, role=Role.VIEWER) as visit:
        await visit.open("inbox?apart=false")
        await expect(visit.page.locator(".picks li")).to_have_count(100)
        await visit.page.locator("#item-title").wait_for()
        assert len([url for url in visit.requests if "/v1/items?" in url]) == 1, visit.requests


async def given(hub: ServedHub, expected: dict[str, str]) -> None:
    """Wait until these are the newest verdicts on the items."""
    newest: dict[str, str] = {}
    with anyio.move_on_after(30):
        while newest != expected:
            await anyio.sleep(0.02)
            newest = {id: verdict for id, (verdict, _) in (await verdicts(hub)).items()}
    assert newest == expected


async def test_review_keys_are_saved_while_loading_offline_or_leaving_the_page(
    hub: ServedHub, visit: Visit
) -> None:
    await sign_in(hub, visit)  # its cookie comes with the last request, too
    page, keys, is_asked = visit.page, visit.page.keyboard, anyio.Event()
    may_read = anyio.Event()

    async def hold(route: Route) -> None:
        is_asked.set()
        await may_read.wait()
        await route.continue_()

    await page.route("**/v1/items?*", hold)
    await page.goto(f"{visit.origin}/review")
    await is_asked.wait()
    await page.locator("main h1").wait_for()
    await keys.press("a")
    await keys.press("r")
    may_read.set()
    await given(hub, {"i-2": "approve", "i-0": "reject"})
    await page.unroute_all()

    await page.route("**/v1/items/verdicts", lambda route: route.abort())
    for key in ("u", "u", "r"):
        await keys.press(key)
    await expect(page.locator(".unsent")).to_have_text(" · 3 being saved")
    await page.get_by_text("3 decisions are kept in this window until the hub takes them").wait_for()
    assert len(await verdicts(hub)) == 2
    await page.unroute_all()
    await given(hub, {"i-2": "reject"})
    await expect(page.locator(".review-list .banner, .unsent")).to_have_count(0)

    devtools = await visit.context.new_cdp_session(page)
    for is_held in (False, True, True, True):  # one press, which is held down
        held = {"type": "keyDown", "key": "a", "text": "a", "autoRepeat": is_held}
        await devtools.send("Input.dispatchKeyEvent", held)
    await agree(page)
    await given(hub, {"i-2": "reject", "i-0": "approve"})
    await keys.press("a")
    await agree(page)
    await keys.press("u")
    await saved(page)
    await keys.press("a")
    await agree(page)
    await page.goto("about:blank")
    await given(hub, {"i-2": "reject", "i-0": "approve", "i-1": "approve"})


async def test_item_decided_in_another_window_remains_listed_with_the_conflict(
    hub: ServedHub, visit: Visit
) -> None:
    plain = sa.update(item_rows).values(warnings=[]).where(item_rows.c.id == "i-1")
    await hub.store.write(lambda c: c.execute(plain))
    await visit.open("review")
    await visit.page.locator(".picks li").nth(2).wait_for()
    await visit.page.route("**/v1/items?*", lambda route: route.abort())  # it hears of nothing
    for title in (PLAIN, "long"):
        await visit.page.get_by_role("checkbox", name=f"Select {title}").check()
    async with over_unix(hub) as operator:
        verdict = {"id": "i-2", "verdict": "reject"}
        answer = await operator.post("/v1/items/verdicts", json={"verdicts": [verdict]})
        assert answer.json()["results"][0]["state"] == "pending"
    given = (await hub.store.read(item_verdicts.newest_verdicts, ["i-2"]))["i-2"]
    done, desk = [VerdictAnswer(id=given.id, state="rejected")], await hub.device("desk")
    await hub.store.write(item_verdicts.settle, desk.id, done, epoch=1, at=hub.now_ms)
    await visit.page.keyboard.press("a")
    await visit.page.get_by_text(
        "1 of 2 taken. “Send Anna the invoice” was not approved: the item is rejected already."
    ).wait_for()
    assert (await verdicts(hub))["i-1"][0] == "approve"
    await expect(visit.page.locator(".picks li").first).to_contain_text(re.compile("not taken|rejected"))


async def test_page_of_a_viewer_has_no_button_and_no_link_to_the_settings(
    hub: ServedHub, browser: Browser
) -> None:
    async with visiting(browser, hub, role=Role.VIEWER) as visit:
        page = visit.page
        await visit.open("review?item=i-2")
        await page.locator("article").wait_for()
        await page.keyboard.press("a")
        assert await page.locator("main").get_by_role("button", name="Approve").count() == 0
        assert await page.locator("main").get_by_role("checkbox").count() == 0
        assert await verdicts(hub) == {}
        for path in ("devices", "agents/notes", "connectors", "connectors/post", "notify/phone"):
            await visit.open(path)
            assert await page.locator("main button:not(.command, [role=search] *)").count() == 0, path
        await expect(page.locator("tbody tr")).to_have_count(3)  # deliveries
        await visit.open("settings")
        await page.get_by_role("alert").wait_for()
        assert await page.get_by_role("link", name="Settings").count() == 0
        asked = await visit.context.request.patch(
            f"{visit.origin}/v1/config", data={"without": ["limits.runs"]}
        )
        assert asked.status == 403


async def test_answered_question_leaves_the_open_list_and_the_navigation_count(
    hub: ServedHub, visit: Visit
) -> None:
    await visit.open("questions")
    views = visit.page.get_by_role("navigation", name="Views")
    mine = views.get_by_role("list", name="Mine").get_by_role("link")
    await expect(mine.filter(has_text=" to ")).to_have_text(
        [re.compile(r"^Inbox.*3 to review$"), re.compile(r"^Questions.*2 to answer$")]
    )
    await expect(views.locator("a .count")).to_have_count(3)  # issues of the page Status, too, and no zero
    asked = visit.page.get_by_role("article").filter(has_text=HOSTILE)
    await asked.get_by_role("textbox").fill("Red, please.")
    await asked.get_by_role("button", name="Answer").click()
    await asked.wait_for(state="detached")
    await hub.clock.pass_time(1)
    await expect(views.locator("[href='/questions'] .count")).to_have_text("1 to answer")
    await visit.open("questions?state=answered")
    await visit.page.get_by_text("Red, please.").wait_for()
    await expect(visit.page.get_by_role("article")).to_have_count(1)


async def test_runs_page_folds_runs_without_news_into_a_single_expandable_row(
    hub: ServedHub, visit: Visit
) -> None:
    def repeat(c: sa.Connection) -> None:
        row = dict(c.execute(sa.select(runs).where(runs.c.id == "r-1")).one()._mapping)
        for number in range(4, 8):
            c.execute(
                sa.insert(runs),
                row | {"id": f"r-{number}", "fire_key": f"{number}", "folded": 9 * (number == 7)},
            )

    await hub.store.write(repeat)
    await visit.open("runs")
    rows = visit.page.get_by_role("table", name="Runs").locator("tbody tr")
    folded = rows.get_by_role("button", name="14 runs without news since")
    shown = await rows.count()
    await folded.press("Enter")
    await expect(rows).to_have_count(shown + 5)


async def test_run_page_shows_the_time_per_file_and_question_live(hub: ServedHub, visit: Visit) -> None:
    await visit.open("runs/r-1")
    keys, table = visit.page.keyboard, visit.page.get_by_role("table", name="Where the time went")
    file = table.get_by_role("row", name=HOSTILE[:8])
    cells = file.locator("td:not(.main, .bar)")
    await expect(cells).to_have_text(["2.0 s", "25 s", "done"])
    await expect(file.locator("rect")).to_have_count(5)  # the file, its text, its question, two calls
    await expect(table.get_by_role("row", name="question to small-model")).to_have_count(2)
    await keys.press("j")
    await keys.press("Enter")
    await expect(file.get_by_role("button")).to_have_attribute("aria-expanded", "false")
    await expect(table.get_by_role("row", name="question to small-model")).to_have_count(1)

    def ask(c: sa.Connection) -> None:
        call = sa.select(model_calls).where(model_calls.c.id == "q-1")
        c.execute(
            sa.insert(model_calls),
            dict(c.execute(call).one()._mapping) | {"id": "q-2", "model": "other", "outcome": "timeout"},
        )
        c.execute(sa.update(runs).where(runs.c.id == "r-1").values(updated_at=hub.now_ms))

    await hub.store.write(ask)
    await hub.clock.pass_time(1)
    other = table.get_by_role("row", name="question to other")
    await expect(other.locator("rect.fail")).to_have_count(1)
    await expect(table.locator("rect.fail")).to_have_count(2)  # and on the line of its file
    await visit.page.get_by_role("link", name=re.compile("new, .* known")).click()
    await expect(visit.page.locator(".picks li")).to_have_count(3)
    assert "run=r-1&verdict=any" in visit.page.url
    assert visit.complaints == []


async def test_runs_filter_suggests_names_and_uses_local_days(
    visit: Visit,
) -> None:
    await visit.open("runs")
    filter = visit.page.get_by_role("combobox", name="Filter")
    names = visit.page.locator("datalist option[value^='agent:']")
    await filter.focus()
    name = await names.first.get_attribute("value")
    assert name is not None
    command = visit.page.locator("button.command code")
    await filter.press_sequentially(name)
    await expect(command).to_have_text("hub runs")  # perhaps the beginning of another name
    await filter.press("Enter")
    await expect(command).to_have_text(f"hub runs --agent {name.removeprefix('agent:')}")
    await filter.fill("state:completed")
    await filter.press("Enter")
    await expect(command).to_contain_text("--in-state COMPLETED")
    devtools = await visit.context.new_cdp_session(visit.page)
    await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
    await visit.open("runs")
    await expect(visit.page.locator(".zone")).to_have_text("Times are those of Asia/Tokyo (GMT+9).")
    times = await visit.page.locator("td time").evaluate_all("all => all.map((one) => one.title)")
    assert times and all(time.endswith("GMT+9") for time in times), times
    async with visit.page.expect_request("**/v1/runs?*since=2026-01-04T15%3A00%3A00.000Z*"):
        await filter.fill("since:2026-01-05")
        await filter.press("Enter")
    await filter.focus()
    await visit.page.keyboard.press("Escape")  # the keys of the page act again
    await visit.page.keyboard.press("?")
    await visit.page.get_by_role("dialog", name="Keys").wait_for()
    await visit.page.keyboard.press("Escape")
    assert visit.complaints == []


async def test_audit_page_shows_actors_to_admins_and_is_refused_to_viewers(
    hub: ServedHub, browser: Browser
) -> None:
    async with visiting(browser, hub) as visit:
        await visit.open("audit?event=board.")
        who = await visit.page.locator("td[data-head=Who]").first.inner_text()
        assert who == pwd.getpwuid(os.getuid()).pw_name
        await visit.page.get_by_role("navigation").get_by_role("link", name="Audit").wait_for()
        await visit.page.get_by_role("button", name="Verify").click()
        await visit.page.get_by_text("entries are as they were written").wait_for()
        await visit.open("audit?event=settings.changed")
        await expect(visit.page.locator(".was")).to_have_text("4 → 5")
    async with visiting(browser, hub, role=Role.VIEWER) as visit:
        await visit.open("audit")
        await visit.page.get_by_role("alert").wait_for()
        assert await visit.page.get_by_role("link", name="Audit").count() == 0


async def test_settings_page_finds_checks_changes_and_reverts_a_setting(hub: ServedHub, visit: Visit) -> None:
    same = {"limits.drain_timeout_s": Limits().drain_timeout_s}
    async with over_unix(hub) as operator:
        assert (await operator.patch("/v1/config", json={"values": same})).status_code == 200
    await visit.open("settings?text=limits.drain_timeout_s")
    page = visit.page
    await page.get_by_text("All of these have their defaults.").wait_for()
    await page.get_by_role("link", name="show all").click()
    await expect(page.locator("td[data-head=From]")).to_contain_text("hub.toml:")
    width, height = SIZES["narrow"]
    await page.set_viewport_size({"width": width, "height": height})
    generation = await page.locator("td[data-head=Generation]").first.bounding_box()
    assert generation is not None and generation["height"] < 30, "its name is in one line"
    width, height = SIZES["wide"]
    await page.set_viewport_size({"width": width, "height": height})
    await visit.open("settings")
    await page.get_by_role("combobox", name="Filter").fill("concurrent runs.")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("table", name="Settings", exact=True).get_by_role("row")).to_have_count(2)
    await page.get_by_role("link", name="limits.runs", exact=True).click()
    value, check = page.get_by_label("New value"), page.get_by_role("button", name="Check")
    await page.locator("section dd", has_text="hub.toml:6").wait_for()
    await value.fill("0")
    await check.click()
    await page.get_by_text("must be at least 1").wait_for()
    assert await page.get_by_role("button", name="Save").count() == 0
    await value.fill("8")
    await check.click()
    await page.get_by_text("limits.runs applies at once.").wait_for()
    assert "runs = 5 " in hub.settings.read_text()
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("limits.runs is changed.").wait_for()
    assert "runs = 8         # at once" in hub.settings.read_text()
    revert = page.locator("tr", has_text="5 → 8").get_by_role("button", name="Revert")
    await revert.click()
    await page.get_by_role("dialog", name="Revert").get_by_role("button", name="Revert").click()
    await page.get_by_text("limits.runs is as before.").wait_for()
    assert "runs = 5         # at once" in hub.settings.read_text()
    await visit.open("settings?since=1")
    await page.get_by_role("button", name="Go back to generation 1").click()
    await page.get_by_role("dialog").get_by_role("button", name="Go back to generation 1").click()
    await page.get_by_text("The settings are those of generation 1.").wait_for()
    assert "runs = 4         # at once" in hub.settings.read_text()


async def test_home_page_headline_shows_the_worst_issue_with_remedy_and_count(
    hub: ServedHub, visit: Visit
) -> None:
    found = [
        notice("a.waits", "somebody waits", fix="hub help"),
        error("a.fails", "agent notes failed in its last run", fix="hub run notes", since=hub.clock.now()),
        warning("a.warns", "it will end", fix="hub mend it"),
    ]
    hub.app.issues.watch(lambda now: found)
    async with over_unix(hub) as operator:
        await operator.get("/v1/issues?anew=true")
        counts = (await operator.get("/v1/status")).json()["issues"]
    await visit.open("")
    headline = visit.page.locator(".headline")
    await expect(headline).to_contain_text("agent notes failed in its last run")
    others = counts["errors"] + counts["warnings"] - 1
    lines = headline.locator("p")
    await expect(lines).to_have_text(["hub run notes", re.compile(f"^and {others} more: hub doctor")])
    # It is seen first: under the heading, on a ground of its own, in larger letters than its remedy.
    ground = "(one) => getComputedStyle(one).backgroundColor"
    tiles = visit.page.locator(".numbers").first
    assert await headline.evaluate(ground) not in ("rgba(0, 0, 0, 0)", await tiles.evaluate(ground))
    larger = "(one) => parseFloat(getComputedStyle(one).fontSize)"
    assert await headline.locator("strong").evaluate(larger) > await lines.first.evaluate(larger)
    assert await headline.evaluate("(one) => one.previousElementSibling.matches('.page-head')")


async def test_home_page_fixes_mutes_and_unmutes_an_issue(
    hub: ServedHub, visit: Visit, browser: Browser
) -> None:
    async with over_unix(hub) as operator:
        assert (await operator.post("/v1/agents/notes/pause")).status_code == 200
    await visit.open("")
    card = visit.page.locator(".cards > li", has_text="agent notes rests")
    await card.get_by_role("button", name="Resume the agent").click()
    await visit.page.get_by_text("It is done; the hub checks it anew.").wait_for()
    assert (await hub.store.read(agents.agent_called, "notes", None)).lifecycle == "active"
    await card.get_by_text("Mute", exact=True).click()
    await card.get_by_label("Why").fill("it may rest")
    await card.get_by_role("button", name="Mute this issue").click()
    await visit.page.get_by_text("It is muted.").wait_for()
    (mute,) = (await hub.store.read(issue_mutes.list_mutes, hub.now_ms)).values()
    assert (mute.reason, mute.ends_at) == ("it may rest", hub.now_ms + 7 * 86_400_000)
    await visit.page.get_by_text("1 muted").click()
    me, _, _ = (await whom(visit.page)).partition(" · ")
    assert (await card.get_by_text("Muted by").inner_text()) == f"Muted by {me}: it may rest"
    await card.get_by_role("button", name="Unmute").click()
    await card.get_by_role("button", name="Resume the agent").wait_for()
    assert await hub.store.read(issue_mutes.list_mutes, hub.now_ms) == {}
    async with visiting(browser, hub, role=Role.VIEWER) as other:
        await other.open("")
        await expect(other.page.get_by_text("agent notes rests")).to_have_count(1)
        assert await other.page.locator(".cards").get_by_role("button", name="Resume the agent").count() == 0
        assert await other.page.get_by_text("Mute", exact=True).count() == 0


async def test_metrics_page_plots_a_range_with_numbers_and_the_command(
    hub: ServedHub, browser: Browser, visit: Visit
) -> None:
    await visit.open("")
    for key in "gc":
        await visit.page.keyboard.press(key)
    heading = visit.page.get_by_role("heading", name="Metrics", exact=True)
    await heading.wait_for()
    section = visit.page.locator("section", has=visit.page.get_by_role("heading", name="Runs by outcome"))
    await expect(section.locator(".legend li")).to_have_text(["success 122", "partial 61", "error 0"])
    await section.get_by_text("Numbers, step by step").click()
    table = section.get_by_role("table", name="Runs by outcome")
    await expect(table.get_by_role("columnheader")).to_have_text(["From", "success", "partial", "error"])
    await expect(table.locator("tbody tr")).to_have_count(95)  # those with a measurement
    step = await table.get_by_role("link").first.get_attribute("href")
    assert re.fullmatch(r"/runs\?since=.*&until=.*", step or "")
    await expect(table.locator("td[data-head=success]").nth(2)).to_have_text("2")
    devices = visit.page.locator("section", has=visit.page.get_by_role("heading", name="Devices connected"))
    await devices.get_by_text("Numbers, step by step").click()
    newest = devices.locator("tbody tr").nth(0).locator("td.number")
    await expect(newest).to_have_text(["7.2", "3.6", "3.6"])
    away = devices.locator("tbody tr").nth(20).locator("td.number")
    await expect(away).to_have_text(["3.6", "3.6", "\u2013"])
    heat = visit.page.get_by_role("table", name="Runs that ended")
    await expect(heat.get_by_role("rowheader")).to_have_text(
        ["Mon 5 Jan", "Sun 4 Jan", "Sat 3 Jan", "Fri 2 Jan", "Thu 1 Jan", "Wed 31 Dec", "Tue 30 Dec"]
    )
    cells = await heat.get_by_role("link").all_inner_texts()
    assert sum(int(cell.removesuffix("!")) for cell in cells) == 122 + 61
    assert any(cell.endswith("!") for cell in cells)
    await expect(heat.get_by_role("row", name="Mon 5 Jan").get_by_role("link")).not_to_have_count(0)
    await visit.page.get_by_label("Last").select_option("30 days")
    await expect(heat.get_by_role("rowheader")).to_have_count(30)
    hour = heat.get_by_role("row", name="Mon 5 Jan").get_by_role("link").last
    assert await hour.get_attribute("href") == (
        "/runs?since=2026-01-05T08%3A00%3A00.000Z&until=2026-01-05T09%3A00%3A00.000Z"
    )
    await visit.page.get_by_label("Last").select_option("6 hours")
    await visit.page.get_by_role("button", name="hub metrics --since 6h --step 5m", exact=True).wait_for()
    await expect(visit.page).to_have_url(f"{visit.origin}/trends?range=6+hours")  # it follows within 200 ms
    await expect(table.locator("tbody tr")).to_have_count(24)  # those with a measurement
    await visit.page.reload()
    await visit.page.get_by_role("button", name="hub metrics --since 6h --step 5m", exact=True).wait_for()
    async with visiting(browser, hub, user_id=hub.owner_id) as other:
        await other.open("")
        await other.page.keyboard.press("g")
        await other.page.keyboard.press("d")
        await other.page.get_by_role("heading", name="Devices", exact=True).wait_for()
        assert await other.page.get_by_role("link", name="Metrics").count() == 0
        await other.open("trends")
        await expect(other.page.get_by_role("alert")).to_have_count(1)


async def test_log_page_filters_by_level_and_shows_the_meaning_of_events(visit: Visit) -> None:
    await visit.open("log?level=debug")
    await expect(visit.page.locator("td[data-head=Level]")).to_have_text(["warning", "debug"])
    meaning = "unit.unread a file or message could not be read, and is left out"
    await expect(visit.page.locator("td[data-head=Event]").first).to_have_text(
        re.compile(r"\s*".join(meaning.split()))
    )
    await visit.page.get_by_role("button", name="Remove the filter level: debug").press("Enter")
    await visit.page.get_by_role("combobox", name="Filter").fill("level:warning")
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.locator("td[data-head=Level]")).to_have_text(["warning"])
    await visit.page.get_by_role("link", name="not_granted").click()
    await expect(visit.page.locator(":target")).to_contain_text("its owner grants it")


async def test_button_works_again_after_an_unparsable_answer(visit: Visit) -> None:
    await visit.open("agents/notes")
    await visit.page.route("**/pause", lambda route: route.fulfill(content_type="application/json", body="{"))
    button = visit.page.get_by_role("button", name="Pause")
    await button.click()
    await visit.page.get_by_text("This page failed").wait_for()
    await visit.page.unroute("**/pause")
    await button.click()
    await visit.page.get_by_role("button", name="Resume").wait_for()


async def test_double_submit_of_a_form_sends_a_single_request(hub: ServedHub, visit: Visit) -> None:
    sent: list[str] = []
    visit.page.on("request", lambda one: sent.append(one.url) if one.method != "GET" else None)
    page = visit.page
    twice = "(one) => {for (const _ of [1, 2]) one.requestSubmit ? one.requestSubmit() : one.click();}"
    for path, field, text, done in (
        ("boards", "Name", "shed", "shed is made."),
        ("devices", "Name of the device", "laptop", "The device is invited."),
        ("devices/lab", "Name", "shop", "It is called shop now."),
        ("boards/garden", "Write into the memory", "rain", "It is written."),
        ("agents/notes", "", "Pause", "notes is paused."),
    ):
        await visit.open(path)
        sent.clear()
        one = page.get_by_role("button", name=text)
        if field:
            typed = page.get_by_label(field, exact=True)
            await typed.fill(text)
            one = page.locator("main form", has=typed)
        await one.evaluate(twice)
        await page.locator(".outcome .good", has_text=done).wait_for()
        assert len(sent) == 1, (path, sent)


async def test_page_ignores_an_answer_arriving_after_a_newer_answer(hub: ServedHub, visit: Visit) -> None:
    await visit.open("agents")
    state = visit.page.locator("tr", has_text="notes").locator("[data-head=Lifecycle]")
    await expect(state).to_have_text("active")
    is_held, may_arrive = anyio.Event(), anyio.Event()

    async def hold_paused(route: Route) -> None:
        answer = await route.fetch()
        if "paused" in await answer.text() and not is_held.is_set():
            is_held.set()
            await may_arrive.wait()
        await route.fulfill(response=answer)

    await visit.page.route("**/v1/agents?*", hold_paused)
    async with over_unix(hub) as client:
        await client.post("/v1/agents/notes/pause")
        await hub.clock.pass_time(1)
        await is_held.wait()
        async with visit.page.expect_response("**/v1/agents?*") as newer:
            await client.post("/v1/agents/notes/resume")
            await hub.clock.pass_time(1)
    await (await newer.value).finished()
    async with visit.page.expect_response("**/v1/agents?*") as older:
        may_arrive.set()
    await (await older.value).finished()
    await visit.page.evaluate(_TWO_FRAMES)
    await expect(state).to_have_text("active")


async def test_sign_in_link_opens_pages_once_and_sign_out_ends_the_session(
    hub: ServedHub, browser: Browser
) -> None:
    async with over_unix(hub) as operator:
        made = await operator.post("/v1/sessions/links", json={})
        address = f"http://{hub.listening.tcp}{made.json()['path']}"
        async with visiting(browser, hub, is_signed_in=False) as visit:
            await visit.page.goto(address)
            await visit.page.get_by_role("heading", name="Status").wait_for()
            assert await visit.page.evaluate("location.href") == f"{visit.origin}/"
            await visit.open("agents/notes")
            await visit.page.get_by_role("button", name="Pause").click()
            await visit.page.get_by_role("button", name="Resume").wait_for()
            me, _, role = (await whom(visit.page)).partition(" · ")
            await visit.open("agents/notes")
            by = visit.page.get_by_role("table", name="History").locator("td[data-head=By]")
            assert me and role == "admin"
            await by.get_by_text(me, exact=True).first.wait_for()
            await visit.page.get_by_role("button", name="Sign out").click()
            await visit.page.get_by_role("heading", name="Sign in").wait_for()
            assert not any(cookie["httpOnly"] for cookie in await visit.context.cookies())
            await visit.page.goto(address)  # of a link that was used
            await visit.page.get_by_role("alert").wait_for()


async def test_browser_gets_a_sign_in_link_from_a_private_file_and_no_process_shows_the_link(
    hub: ServedHub, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))  # type: ignore[func-returns-value]
    async with over_unix(hub) as operator, visiting(browser, hub, is_signed_in=False) as visit:
        for folder in (tmp_path, tmp_path / "new"):  # of a device, and of a machine without a hub
            made = (await operator.post("/v1/sessions/links", json={})).json()
            assert open_browser(f"{visit.origin}{made['path']}", folder)
            (file,) = folder.glob("open.html")
            assert (opened[-1], file.stat().st_mode & 0o777) == (file.as_uri(), 0o600)
            await visit.page.goto(opened[-1])
            await visit.page.get_by_role("heading", name="Status").wait_for()
            await visit.context.clear_cookies()
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
        assert not open_browser(visit.origin, folder), (
            "the file of another user is not written through a link"
        )


async def test_foot_names_the_owner_of_the_device_and_commands_for_missing_rights(
    hub: ServedHub, browser: Browser
) -> None:
    takes_verdicts(await hub.device("desk"), hub)
    async with over_unix(hub) as operator, visiting(browser, hub, is_signed_in=False) as visit:
        made = await operator.post("/v1/sessions/links", json={"owner_of": "desk"})
        await visit.page.goto(f"{visit.origin}{made.json()['path']}")
        foot = visit.page.locator(".navigation .foot")
        await expect(foot).to_contain_text("You are the owner of desk · admin")
        await expect(foot.get_by_role("button", name="hub grants +places")).to_be_visible()
    async with visiting(browser, hub, role=Role.VIEWER) as visit:
        await visit.open("agents")
        foot = visit.page.locator(".navigation .foot")
        await expect(foot).to_contain_text("add accounts, change settings: hub dashboard")


async def test_file_link_of_the_run_page_opens_the_reasons_of_the_file(hub: ServedHub, visit: Visit) -> None:
    async with over_unix(hub) as operator:
        await operator.post("/v1/devices/desk/grant", json={"remove": ["files"]})
        await visit.open("runs/r-1")
        await visit.page.get_by_role("table", name="Files").get_by_role("link").first.click()
        await visit.page.get_by_role("heading", name="Why").wait_for()
        reasons = visit.page.get_by_role("table", name="Reasons")
        await reasons.get_by_text("hub devices grant desk +files").wait_for()
        assert "the hub may not read files of desk" in await reasons.inner_text()
        await operator.post("/v1/devices/desk/grant", json={"add": ["files"]})


async def test_why_page_leads_from_an_agent_or_a_text_to_the_reasons_of_a_file(visit: Visit) -> None:
    page = visit.page
    for address in ("why?agent=notes", "why?text=invoice"):
        await visit.open(address)
        files = page.get_by_role("table", name="Files")
        await files.get_by_role("link").first.click()
        await page.get_by_role("table", name="Reasons").wait_for()
        assert "path=" in page.url
    await visit.open("why")
    await files.get_by_role("link").first.wait_for()
    paths = await files.get_by_role("link").all_inner_texts()
    assert len(paths) == len(set(paths)) > 0  # several runs read them
    await page.get_by_role("combobox", name="Filter").fill("nothing of this kind")
    await page.get_by_text("Nothing was found with this text.").wait_for()
    assert visit.complaints == []


@pytest.mark.soak
async def test_every_action_of_every_page_is_reached_by_keys(visit: Visit) -> None:
    for path in PAGES:
        await visit.open(path)
        assert await visit.page.evaluate(_ONLY_CLICKED) == [], path
        unseen = set(await visit.page.evaluate(_ACTIONS))
        for _ in range(10 * len(unseen)):  # an input of a date takes several
            await visit.page.keyboard.press("Tab")
            unseen.discard(await visit.page.evaluate("document.activeElement.dataset.action"))
            if not unseen:
                break
        assert not unseen, (path, unseen)
