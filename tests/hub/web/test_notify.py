"""Targets of events and their deliveries in a real browser: followed, sent again and dropped."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import chromium
from tests.support.dashboard import HOSTILE, TARGET, keep_deliveries, visiting
from tests.support.hub import TEXT, over_unix, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]


async def test_deliveries_are_listed_by_state_sent_again_dropped_and_followed(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path, TEXT + TARGET) as hub, visiting(browser, hub) as visit:
        await hub.store.write(keep_deliveries, hub)
        page, closed = visit.page, f"{HOSTILE}\u2069"
        await visit.open("notify")
        await expect(page.get_by_role("row").nth(1)).to_contain_text("failing")
        await expect(page.get_by_role("row").nth(1)).to_contain_text(closed)
        await page.get_by_role("link", name="phone").click()
        facts = page.locator("dl.facts")
        await expect(facts).to_contain_text("10 min. ago")
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(3)
        assert await page.locator("main img").count() == 0

        await page.get_by_role("button", name="Send a test").click()
        await expect(page.locator(".outcome .bad")).to_contain_text("It was not delivered: ")

        await page.get_by_label("State").select_option("failed")
        await expect(rows).to_have_count(1)
        await page.get_by_role("button", name="Send again").click()
        await expect(rows).to_have_count(0)
        await page.get_by_label("State").select_option("waiting")
        await expect(rows).to_have_count(2)
        await hub.clock.pass_time(1)
        await expect(facts.locator(".state")).to_have_text("ok")  # it is tried at once
        async with over_unix(hub) as operator:
            dropped = await operator.post("/v1/notify/deliveries/msg_3/drop")
            assert (dropped.json()["state"], dropped.json()["answer"]) == ("failed", "dropped by a person")
            await hub.clock.pass_time(1)
            await expect(rows).to_have_count(1)
            again = await operator.post("/v1/notify/deliveries/msg_3/drop")
            assert (again.status_code, again.json()["detail"]) == (404, "no delivery msg_3 waits")
        await page.get_by_role("button", name="Drop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Drop").click()
        await page.get_by_text("No delivery is like this.").wait_for()
        assert visit.complaints == []


async def test_pages_without_a_target_lead_to_the_handbook(tmp_path: Path, browser: Browser) -> None:
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        await visit.open("notify/phone")
        await visit.page.get_by_text("hub.toml names no target like this.").wait_for()
        await visit.page.get_by_role("link", name="All targets").click()
        await visit.page.get_by_text("No address is notified of what happens.").wait_for()
        await visit.page.get_by_role("link", name="How to").click()
        await visit.page.get_by_role("heading", name="Notifications", level=1).wait_for()
