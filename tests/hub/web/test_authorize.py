"""The page where a person allows an assistant, in a real browser."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from hub.api.noun import ALL
from hub.api.nouns.tokens import OperatorTokens
from hub.roles import Role, Scope
from tests.hub.api.test_authorizations import REDIRECT, SETTINGS, exchanged, query
from tests.support.browser import chromium
from tests.support.dashboard import AXE, Visit, visiting
from tests.support.hub import ServedHub, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]


async def _asked(visit: Visit, hub: ServedHub, token: str | None = None) -> Page:
    """Open the page as a client does, and sign in."""
    page = visit.page
    await page.route("http://127.0.0.1:1234/**", lambda route: route.fulfill(body="The assistant goes on."))
    await page.goto(f"{visit.origin}/authorize?{query(hub)}")
    if token is not None:
        await page.get_by_label("Token of an operator").fill(token)
        await page.get_by_role("button", name="Sign in").click()
    return page


async def test_a_person_signs_in_and_allows_an_assistant_less_than_it_asks_for(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path, SETTINGS, assistants=True) as hub:
        async with visiting(browser, hub, is_signed_in=False, size=(320, 700)) as visit:
            page = await _asked(visit, hub, await hub.token(Role.ADMIN))
            await expect(page.locator("dd").first).to_have_text("editor")
            await expect(page.locator(".facts")).to_contain_text("127.0.0.1")
            run = page.get_by_role("checkbox", name="run")
            await expect(run).to_be_checked()
            await run.uncheck()
            await expect(page.get_by_text("See agents, runs, items")).to_be_visible()
            await page.get_by_role("checkbox", name="desk").check()
            await page.get_by_role("combobox", name="For so many days").select_option("7")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 320
            await page.evaluate(AXE.read_text(encoding="utf-8"))
            assert await page.evaluate("axe.run().then(({violations}) => violations.map(({id}) => id))") == []
            assert not [one for one in visit.complaints if "401" not in one]  # before it was signed in
            await page.get_by_role("button", name="Allow", exact=True).click()
            await page.wait_for_url(f"{REDIRECT}?*")
            given = parse_qs(urlsplit(page.url).query)
            assert given["state"] == ["of the client"]
            assert (await exchanged(hub, given["code"][0])).json()["scope"] == Scope.READ
        (row,) = [one for one in await hub.noun(OperatorTokens).all(ALL) if one.name == "editor"]
        assert row.limits is not None and row.limits.devices == ("desk",)


async def test_a_person_allows_nothing_and_no_other_page_shows_the_question(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path, SETTINGS, assistants=True) as hub:
        async with visiting(browser, hub, is_signed_in=False) as visit:
            page = await _asked(visit, hub, await hub.token(Role.ADMIN))
            await page.get_by_role("link", name="Do not allow").click()
            await page.wait_for_url(f"{REDIRECT}?*")
            assert parse_qs(urlsplit(page.url).query)["error"] == ["access_denied"]
            await page.set_content(f'<iframe src="{visit.origin}/authorize?{query(hub)}"></iframe>')
            framed = page.frames[-1]
            await framed.wait_for_url("chrome-error://**")  # the browser shows none of it in a frame
            assert await framed.get_by_role("button", name="Allow").count() == 0
        assert [one.name for one in await hub.noun(OperatorTokens).all(ALL)].count("editor") == 0
