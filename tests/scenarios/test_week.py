"""A week without a command line: everything that a person does is done in a real browser, at a real hub.

A device is paired, a mailbox signed in, agents made and run, a hundred items judged by keys, a
setting changed and reverted, an issue muted.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import anyio
import pytest
from playwright.async_api import Page, TimeoutError, expect

from tests.hub.connectors.imap_rig import mail
from tests.scenarios.test_pairing import Desk
from tests.support.browser import chromium
from tests.support.dashboard import Visit, browsing
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.oracle import Oracle
from tests.support.processes import POLL_S, HubProcess, model_at
from tests.support.processes import closing as ending

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
SETTINGS: Final = """\
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
{model}"""
ITEMS: Final = 100
COME_S: Final = 60_000.0  # milliseconds: what a hub and a device do takes a while on a busy machine


@asynccontextmanager
async def week(folder: Path) -> AsyncIterator[tuple[HubProcess, Visit]]:
    """A hub without a device or an agent, and a browser that a link has signed in."""
    async with anyio.create_task_group() as tasks:
        hub = HubProcess(folder, settings=SETTINGS.format(model=model_at(await tasks.start(Oracle().serve))))
        async with ending(hub), browsing() as browser:
            await hub.start()
            context = await browser.new_context(viewport={"width": 1280, "height": 860})
            context.set_default_timeout(COME_S)
            page = await context.new_page()
            origin = f"http://{(await hub.get('/v1/status'))['listeners']['operator']}"
            link = await hub.post("/v1/sessions/links")
            await page.goto(f"{origin}{link['path']}")
            await page.get_by_role("heading", name="Status").wait_for()
            yield hub, Visit(context, page, origin)
        tasks.cancel_scope.cancel()


async def go(page: Page, key: str, heading: str) -> None:
    """Go to a page by its keys."""
    await page.keyboard.press("g")
    await page.keyboard.press(key)
    await page.get_by_role("heading", name=heading, exact=True).wait_for()


async def pair(page: Page, desk: Desk) -> None:
    """Let the device in by the code that it shows."""
    await go(page, "d", "Devices")
    await desk.start()
    code = await desk.shows_code()
    await page.get_by_label("Code that the device shows").fill(code)
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator("tr", has_text="desk").locator(".state")).to_have_text(
        "connected", timeout=COME_S
    )


async def add_mailbox(page: Page, dovecot: Dovecot, user: str) -> None:
    await go(page, "o", "Sources")
    await page.get_by_role("link", name="Add an account").click()
    await page.get_by_label("Name", exact=True).fill("post")
    await page.get_by_label("Server").fill(dovecot.host)
    await page.get_by_label("Port").fill(str(dovecot.port))
    await page.get_by_label("TLS").select_option("none")
    await page.get_by_label("User name").fill(user)
    for table in ("tasks", "timelines"):  # the agent is made by itself, later
        await page.get_by_label(table).uncheck()
    await page.get_by_role("button", name="Add").click()
    await page.get_by_label("Password, or app password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Test").click()
    await page.get_by_text("INBOX: 3 messages").wait_for()


async def make_agent(page: Page, name: str, reads: str) -> None:
    await go(page, "a", "Agents")
    await page.get_by_role("link", name="New agent").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("combobox", name="Device").select_option("desk")
    if reads == "files":
        await page.get_by_label("Paths").fill("notes")
    else:
        await page.get_by_role("combobox", name="Reads").select_option(reads)
    await page.get_by_label("Prompt").fill("Find the tasks that a person has to do.")
    await page.get_by_role("button", name="Make it").click()
    await page.get_by_role("button", name="Start a run").click()
    state = page.get_by_role("table", name="Runs").locator("tbody .state").first
    await expect(state).to_have_text("completed", timeout=COME_S)


async def judge(visit: Visit) -> None:
    """Approve all items by keys, one after the other."""
    page, title = visit.page, visit.page.locator("#item-title")
    approve = page.locator(".review-item").get_by_role("button", name="Approve")
    await go(page, "r", "Review")
    judged = ""
    for _ in range(ITEMS):
        try:
            await expect(title).not_to_have_text(judged, timeout=5_000)
            await approve.wait_for(timeout=5_000)
        except (AssertionError, TimeoutError):  # the last one of a page was judged
            await visit.open("review")
            await approve.wait_for()
        judged = await title.inner_text()
        await page.keyboard.press("a")
        await page.locator(".outcome", has_text=f"Approved “{judged}").wait_for()


async def change(visit: Visit, key: str, value: str) -> None:
    page = visit.page
    await go(page, "s", "Settings")
    await visit.open(f"settings?key={key}")
    await page.get_by_label("New value").fill(value)
    await page.get_by_role("button", name="Check").click()
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text(f"{key} is changed.").wait_for()


async def change_and_revert(visit: Visit) -> None:
    """Change a setting, and take the change back."""
    page = visit.page
    await change(visit, "limits.runs", "9")
    changed = page.locator("tr", has_text="limits.runs")  # the history knows other changes, too
    await changed.get_by_role("button", name="Revert").first.click()
    await page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    await page.get_by_text("limits.runs is as before.").wait_for()


async def mute_and_unmute(visit: Visit) -> None:
    """Change what needs a restart, do not hear of it for a week, and hear of it again."""
    page = visit.page
    await change(visit, "limits.operator_event_streams", "9")
    await go(page, "h", "Status")
    issue = page.locator(".cards > li", has_text="limits.operator_event_streams")
    mute = issue.get_by_text("Mute", exact=True)
    await mute.click()
    await issue.get_by_label("Why").fill("it is restarted on Sunday")
    await issue.get_by_role("button", name="Mute this issue").click()
    await page.get_by_text("Nothing is wrong.").wait_for()
    await page.get_by_text("1 muted").click()
    await issue.get_by_text("it is restarted on Sunday").wait_for()
    await expect(mute).to_have_count(0)
    await issue.get_by_role("button", name="Unmute").click()
    await mute.wait_for()


def approved(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "desk.db")) as db:
        ((count,),) = db.execute("SELECT count(*) FROM tasks WHERE isApproved")
        return int(count)


async def test_dashboard_suffices_for_a_week_of_work(tmp_path: Path, dovecot: Dovecot) -> None:
    user = dovecot.fresh_user()
    dovecot.deliver(user, [mail(number) for number in range(3)])
    (tmp_path / "notes").mkdir()
    text = "".join(f"- [ ] do what is number {number:03}\n" for number in range(ITEMS))
    (tmp_path / "notes" / "week.md").write_text(text)
    async with week(tmp_path) as (hub, visit):
        page = visit.page
        desk = Desk(tmp_path, await hub.device_url(), "--grant=+review.remote")
        async with ending(desk):
            await pair(page, desk)
            await add_mailbox(page, dovecot, user)
            await make_agent(page, "notes", "files")
            await judge(visit)
            with anyio.fail_after(60):
                while approved(tmp_path) < ITEMS:
                    await anyio.sleep(POLL_S)
            await make_agent(page, "letters", "post")
            await change_and_revert(visit)
            await mute_and_unmute(visit)
            assert "runs = 9" not in (tmp_path / "hub.toml").read_text()
            assert visit.complaints == []
