"""Pages of the dashboard in a real browser: they ask no other origin, and texts of others stay texts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.agents import agents
from tests.support.browser import chromium
from tests.support.dashboard import AXE, HOSTILE, PAGES, THEMES, Visit, browsing, shown_hub, visiting
from tests.support.hub import ServedHub, over_unix

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # each starts a browser
]
_VIOLATIONS = """async () => (await axe.run()).violations.map(
  ({id, nodes}) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`)"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    async with shown_hub(tmp_path) as opened:
        yield opened


@pytest.fixture
async def visit(hub: ServedHub) -> AsyncIterator[Visit]:
    async with browsing() as browser, visiting(browser, hub) as opened:
        yield opened


async def test_no_page_asks_another_origin_breaks_the_policy_or_fails(visit: Visit) -> None:
    for path in PAGES:
        await visit.open(path)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(f"{visit.origin}/")] == []


async def test_hostile_texts_stay_texts(visit: Visit) -> None:
    await visit.open("")
    assert await visit.page.get_by_text(HOSTILE).count() >= 2
    assert await visit.page.locator("main img, main b").count() == 0
    width = await visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1280, "a long text makes the page wider"
    assert visit.complaints == []


async def test_an_agent_is_found_by_keys_and_paused(hub: ServedHub, visit: Visit) -> None:
    await visit.open("agents")
    state = visit.page.locator("tr", has_text="notes").locator("[data-head=Lifecycle]")
    assert await state.inner_text() == "active"
    await visit.page.keyboard.press("g")
    await visit.page.keyboard.press("u")
    await visit.page.get_by_role("heading", name="Runs").wait_for()
    await visit.page.go_back()
    await visit.page.get_by_role("link", name="notes", exact=True).click()
    await visit.page.get_by_role("button", name="Pause").click()
    await visit.page.get_by_role("button", name="Resume").wait_for()
    row = await hub.store.read(agents.agent_called, "notes", None)
    assert row.lifecycle == "paused"


async def test_a_link_signs_a_browser_in_once(hub: ServedHub) -> None:
    async with over_unix(hub) as operator, browsing() as browser:
        made = await operator.post("/v1/sessions/links", json={})
        address = f"http://{hub.listening.tcp}{made.json()['path']}"
        async with visiting(browser, hub, is_signed_in=False) as visit:
            await visit.page.goto(address)
            await visit.page.get_by_role("heading", name="Home").wait_for()
            assert await visit.page.evaluate("location.href") == f"{visit.origin}/"
            await visit.open("agents/notes")
            await visit.page.get_by_role("button", name="Pause").click()
            await visit.page.get_by_role("button", name="Resume").wait_for()
        async with visiting(browser, hub, is_signed_in=False) as visit:
            await visit.page.goto(address)
            await visit.page.get_by_role("alert").wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: make web")
async def test_every_page_can_be_used_by_everybody_in_both_themes(hub: ServedHub) -> None:
    async with browsing() as browser:
        for theme in THEMES:
            async with visiting(browser, hub, theme=theme) as visit:
                for path in PAGES:
                    await visit.open(path)
                    await visit.page.evaluate(AXE.read_text(encoding="utf-8"))
                    assert await visit.page.evaluate(_VIOLATIONS) == [], (theme, path)
