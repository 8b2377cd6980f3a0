"""Devices and agents made in a real browser; what is wrong with a value is said beside its field."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from protocol.lifecycles import RunOutcome, RunState
from storage.agents import agents
from storage.agents.configs import configuration_of
from storage.devices.tokens import INVITATIONS
from tests.support.browser import chromium
from tests.support.dashboard import visiting
from tests.support.hub import NOTES, over_unix, serving
from tests.support.identity import EndedLink

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]


READER = {
    "type": "RESEARCHER",
    "default_configuration": {"limit": 5},
    "configuration_schema": {
        "required": ["project"],
        "properties": {
            "project": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1, "description": "At most so many tasks."},
        },
    },
}


async def test_a_device_is_invited_and_renamed(tmp_path: Path, browser: Browser) -> None:
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("devices")
        await page.get_by_label("Name of the device").fill("laptop")
        await page.get_by_role("button", name="Invite it").click()
        token = await page.get_by_role("button", name=re.compile("^hub_inv_")).inner_text()
        await page.get_by_text("hub connect ws://127.0.0.1:8770 --root FOLDER --invitation").wait_for()
        letter = await page.get_by_label("For the person who is invited").input_value()
        assert token.strip() in letter and 'the hub "home"' in letter
        assert "expires at 5 Jan 2026, 09:10:00" in letter
        await (
            page.locator("tr", has_text=f"…{token.strip()[-4:]}")
            .get_by_role("button", name="Withdraw")
            .click()
        )
        await expect(page.get_by_role("table", name="Open invitations")).to_have_count(0)
        (invitation,) = await hub.store.read(INVITATIONS.page)
        assert invitation.revoked_at is not None
        await visit.open("devices/desk")
        await page.get_by_label("Name", exact=True).fill("tower")
        await page.get_by_role("button", name="Rename").click()
        await page.get_by_role("heading", name="tower").wait_for()
        assert visit.complaints == []


async def test_an_agent_is_made_changed_and_removed_and_what_is_wrong_is_said_beside_its_field(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("agents")
        await page.get_by_role("link", name="New agent").click()
        await page.get_by_label("Name").fill("notes")
        await page.get_by_label("Paths").fill("notes\nplans")
        await page.get_by_label("Prompt").fill("Find what I promised.")
        await page.get_by_label("Schedule").fill("every day")
        await page.get_by_label("Configuration").fill('threshold = 0.5\nowner = Ana\nlabels = ["a", "b"]')
        make = page.get_by_role("button", name="Make it")
        await make.click()
        await expect(page.locator(".field", has_text="Schedule").locator("em")).to_contain_text("2 fields")
        await page.get_by_label("Schedule").fill("0 7 * * 1-5")
        await make.click()
        await expect(page.locator(".field", has_text="Name").locator("em")).to_contain_text("notes")
        await page.get_by_label("Name").fill("plans")
        await page.get_by_role("combobox", name=re.compile("^Device")).select_option("desk")
        await make.click()
        await page.get_by_role("heading", name="plans").wait_for()
        row = await hub.store.read(agents.agent_called, "plans", None)
        assert (row.device_name, row.paths, row.data_types) == ("desk", ("notes", "plans"), ("tasks",))
        configs = await hub.store.read(configuration_of, row.id)
        assert configs == {"threshold": 0.5, "owner": "Ana", "labels": ["a", "b"]}

        await page.get_by_role("link", name="Change").click()
        await page.get_by_label("Prompt").fill("Find all that is due.")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text("Find all that is due.").wait_for()
        changed = await hub.store.read(agents.agent_called, "plans", None)
        assert (changed.prompt, changed.paths) == ("Find all that is due.", row.paths)

        async with over_unix(hub) as operator:
            put = await operator.put("/v1/templates/reader", json=READER)
            assert put.status_code in (200, 201), put.text
            refused = (await operator.patch("/v1/agents/plans", json={"template": "reader"})).json()
            assert refused["fields"] == {"config.project": "missing: project (template reader)"}
        link = hub.roster.find((await hub.device("desk")).id)
        assert isinstance(link, EndedLink)
        link.roots = ("~/notes",)
        await visit.open("agents/plans?edit=1")
        await page.get_by_label("Paths").fill("~/letters")
        await page.get_by_text("~/letters: outside of what desk shares, which is ~/notes").wait_for()
        await page.get_by_label("Paths").fill("~/notes/now")
        await expect(page.get_by_text("outside of what desk shares")).to_have_count(0)
        await page.get_by_role("combobox", name=re.compile("^Template")).select_option("reader")
        limit = page.locator(".field", has=page.get_by_label("limit"))
        await expect(limit).to_contain_text("At most so many tasks. Without a value: 5")
        await limit.locator("input").fill("0")
        await page.get_by_role("textbox", name="project").fill("house")
        await page.get_by_role("button", name="Save").click()
        await expect(limit.locator("em")).to_contain_text("must be at least 1")
        await limit.locator("input").fill("3")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("heading", name="plans", exact=True).wait_for()
        assert await hub.store.read(configuration_of, row.id) == configs | {"project": "house", "limit": 3}
        await visit.open("agents/plans?edit=1")
        await page.get_by_label("as JSON").check()
        text = page.get_by_label("Configuration")
        assert json.loads(await text.input_value()) == configs | {"project": "house", "limit": 3}
        await text.fill('{"project": "garden"')
        await page.get_by_text("is no JSON object").wait_for()
        await text.fill('{"project": "garden"}')
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("heading", name="plans", exact=True).wait_for()
        assert await hub.store.read(configuration_of, row.id) == {"project": "garden"}
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await page.get_by_role("heading", name="Agents").wait_for()
        await expect(page.get_by_role("link", name="plans")).to_have_count(0)


async def test_a_new_hub_shows_its_first_steps_until_they_are_done_or_dismissed(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path, is_empty=True) as hub, visiting(browser, hub) as visit:
        page = visit.page
        steps = page.locator("section", has=page.get_by_role("heading", name="First steps"))
        states = steps.locator(".state")
        await visit.open("")
        await expect(states).to_have_text(["to do"] * 5)
        await steps.get_by_text("hub connect ws://127.0.0.1:8770 --root FOLDER").first.wait_for()
        link = await hub.connect(await hub.device("desk"))
        await visit.open("")
        await expect(states).to_have_text(["done", *["to do"] * 4])
        link.roots = ("~/notes",)
        await visit.open("agents")
        await page.locator(".empty").get_by_text("hub agents create NAME").wait_for()
        await visit.open("")
        await expect(states).to_have_text(["done", "done", *["to do"] * 3])
        await expect(steps.get_by_role("link", name="by a form")).to_have_attribute("href", "/agents?new=1")
        await hub.agent("notes", **NOTES)
        await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
        await visit.open("")
        await expect(states).to_have_text([*["done"] * 4, "to do"])
        await steps.get_by_role("button", name="Do not show this again").press("Enter")
        await expect(steps).to_have_count(0)
        await visit.open("")
        await page.get_by_role("heading", name="Newest runs").wait_for()
        await expect(steps).to_have_count(0)
