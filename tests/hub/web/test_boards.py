"""Boards and messages in a real browser: agents join, memory is written, messages are sent and cancelled."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from hub.roles import Role
from tests.support.browser import chromium
from tests.support.dashboard import visiting
from tests.support.hub import over_unix, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]


async def test_a_board_is_made_an_agent_joins_and_is_written_to(tmp_path: Path, browser: Browser) -> None:
    async with serving(tmp_path) as hub:
        async with visiting(browser, hub) as visit:
            page = visit.page
            await visit.open("boards")
            await page.get_by_label("Name").fill("house")
            await page.get_by_role("button", name="Make a board").click()
            await page.get_by_role("combobox", name="Agent").select_option("notes")
            await page.get_by_role("button", name="Add it").click()
            await page.get_by_role("button", name="Make it lead").click()
            await expect(page.locator("td[data-head=Role]")).to_have_text("lead")
            await page.get_by_label("Write into the memory").fill("The key is under the stone.")
            await page.get_by_role("button", name="Write", exact=True).click()
            remembered = page.get_by_role("article").filter(has_text="The key is under the stone.")
            me, _, _ = (await page.locator(".navigation .foot p").inner_text()).partition(" · ")
            await expect(remembered.locator("bdi").first).to_have_text(me)
            await page.get_by_role("textbox", name="Message").fill("Is the changelog ready?")
            await page.get_by_role("button", name="Send").click()
            await page.get_by_text("is on its way").wait_for()
            await visit.open("messages?board=house")
            await page.get_by_role("link", name="Is the changelog ready?").click()
            await page.get_by_role("button", name="Cancel").click()
            await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
            await expect(page.locator("dd .state").first).to_have_text("failed")
            assert visit.complaints == []
        async with over_unix(hub) as operator:
            (board,) = (await operator.get("/v1/boards")).json()["boards"]
            (message,) = (await operator.get("/v1/messages")).json()["messages"]
            assert (board["lead"], message["agent"]) == ("notes", "notes")
        async with visiting(browser, hub, role=Role.VIEWER) as visit:
            await visit.open("boards/house")
            await visit.page.get_by_text("The key is under the stone.").wait_for()
            others = visit.page.locator("main button:not(.command)")
            assert await others.count() == 0
