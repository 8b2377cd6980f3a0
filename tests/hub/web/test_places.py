"""The page of places in a real browser: a file and a calendar are added after a test, changed and removed."""

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, Page, expect

from protocol.capabilities import CapabilityName
from protocol.frame import ErrorBody
from protocol.places import PlaceOrder
from protocol.tool_calls import Answer, ToolCall
from storage.schema import browser_sessions
from tests.hub.device.sinks.test_place_book import SETTINGS, Desk
from tests.hub.web.test_pages import sign_in
from tests.support.browser import chromium
from tests.support.dashboard import AXE, needs_axe, visiting
from tests.support.hub import serving
from tests.support.radicale import PASSWORD, Radicale

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]


async def check_access(page: Page) -> None:
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    assert await page.evaluate("axe.run().then(({violations}) => violations.map(({id}) => id))") == []


@needs_axe
async def test_places_are_tested_saved_changed_and_removed_on_the_page(
    tmp_path: Path, browser: Browser, radicale: Radicale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ana"))
    (tmp_path / "hub").mkdir()
    desk = Desk(tmp_path / "ana")
    desk.config.write_text(SETTINGS.replace('"~/notes"', '"~/notes", "~/vault"'))
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo", "Mine")

    is_connecting = False

    def answered(call: ToolCall) -> Answer:
        order = msgspec.convert(call.data, PlaceOrder)
        if order.do == "list" and is_connecting:  # anew, after a change of its settings
            return Answer(error=ErrorBody(code="busy"))
        is_hub = order.kind != "caldav"  # which is on loopback, without the TLS that a hub needs
        return Answer(result=msgspec.to_builtins(desk.ask(is_hub=is_hub, **msgspec.to_builtins(order))))

    async with serving(tmp_path / "hub") as hub, visiting(browser, hub) as visit:
        page = visit.page
        await hub.disconnect(await hub.device("desk"))
        link = await hub.connect(await hub.device("lab"), answers=answered)
        link.owner_grants["rows.read"] = []
        link.capabilities |= {CapabilityName.PLACES_MANAGE}
        await page.add_init_script("window.setInterval = () => 0")  # a change is read at once
        await sign_in(hub, visit)
        await visit.open("places")
        await page.get_by_text("does not let this hub manage places").wait_for()
        link.owner_grants["places"] = []
        await visit.open("places?add=todo.txt")
        await page.get_by_label("File").fill("~/todo.txt")
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await page.get_by_text("places of a device are changed by its owner").wait_for()
        of_owner = sa.update(browser_sessions).values(device_id=link.device_id)
        await hub.store.write(lambda c: c.execute(of_owner).rowcount)
        visit.complaints.clear()
        await visit.open("places")
        await page.get_by_text("Approved tasks go nowhere yet").wait_for()

        await page.get_by_role("link", name="Obsidian vault or Markdown file").click()
        await expect(page.get_by_label("Note")).to_have_value("~/vault/Todo.md")
        await page.get_by_role("link", name="todo.txt").click()
        await page.get_by_label("File").fill("~/.ssh/todo.txt")
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await expect(page.locator(".field", has_text="File").locator("em")).to_have_text("it is hidden")
        await page.get_by_label("File").fill("~/todo.txt")
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await page.get_by_text("It can be written. 1 approved item goes there").wait_for()
        await check_access(page)
        is_connecting = True
        async with page.expect_console_message(lambda message: "502" in message.text) as refused:
            await page.get_by_role("button", name="Save").click()
        visit.complaints.remove((await refused.value).text)  # of the list, which the page reads again
        await page.get_by_text("todo.txt · ~/todo.txt").wait_for()
        is_connecting = False
        assert desk.sync() == [""]
        hub.clock.advance(60)  # calls are few a minute
        assert (desk.home / "todo.txt").read_text().startswith("Call Ana")

        await page.get_by_role("link", name="Calendar or reminders").click()
        await page.get_by_label("Address").fill("~/all.ics")
        await expect(page.get_by_label("Password")).to_have_count(0)
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await page.get_by_text("2 approved items go there").wait_for()
        await page.get_by_label("Address").fill("https://typed.example/")
        await page.get_by_label("Password").fill("of typed.example")
        await page.get_by_label("Address").fill("https://typed.example/dav/")
        await expect(page.get_by_label("Password")).to_have_value("of typed.example")
        await page.get_by_label("Address").fill(f"{radicale.url}/")
        await expect(page.get_by_label("Password")).to_have_value("")
        await page.get_by_label("User").fill(user)
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await expect(page.locator(".field", has_text="Password").locator("em")).to_contain_text(
            "refuses the user"
        )
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await page.get_by_role("form").get_by_role("button", name="Mine").click()
        await expect(page.get_by_label("Address")).to_have_value(address)
        await page.get_by_role("form").get_by_role("button", name="Test").click()
        await page.get_by_text("2 approved items go there").wait_for()
        hub.clock.advance(60)
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text(address).wait_for()
        assert desk.sync() == ["", ""]
        assert "password_file" in desk.config.read_text()

        await page.set_viewport_size({"width": 390, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await check_access(page)
        for removed in ("todo", "todo-2"):
            entry = page.locator("li.entry", has=page.get_by_role("heading", name=removed, exact=True))
            await entry.get_by_role("button", name="Remove").click()
            await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
            await expect(entry).to_have_count(0)
        await page.get_by_text("Approved tasks go nowhere yet").wait_for()
        assert "[[sinks]]" not in desk.config.read_text()
        assert visit.complaints == []
