"""Mail and calendars in a real browser: accounts are added, signed in to, tested and removed."""

from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow, get_connector
from tests.support.asgi import serving as serving_app
from tests.support.browser import chromium
from tests.support.dashboard import visiting
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.hub import TEXT, ServedHub, over_unix, serving
from tests.support.oauth import CLIENT, OAuthServer

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,  # in a browser
]
BY_BROWSER = """
[[connectors]]
name = "work"
provider = "imap"
client_id = "{client}"
[connectors.settings]
host = "127.0.0.1"
username = "ana"
auth = "xoauth2"
oauth = {{ authorize_url = "{base}/authorize", token_url = "{base}/token", device_url = "{base}/device" }}
"""


async def connector(hub: ServedHub, name: str) -> ConnectorRow:
    return await hub.store.read(get_connector, name)


async def test_a_mailbox_is_added_gets_its_password_is_tested_and_removed(
    tmp_path: Path, dovecot: Dovecot, browser: Browser
) -> None:
    user = dovecot.fresh_user()
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("connectors")
        typed = {"Name": "post", "Server": dovecot.host, "Port": str(dovecot.port), "User name": user}
        await page.get_by_label("TLS").select_option("none")
        for label, value in typed.items():
            await page.get_by_label(label, exact=True).fill(value)
        await page.get_by_role("button", name="Add").click()
        await page.get_by_role("heading", name="post").wait_for()
        state = page.locator("dd .state").first
        await expect(state).to_have_text("sign in")
        for password, found in (("wrong", "sign in"), (PASSWORD, "ok")):
            await page.get_by_label("Password, or app password").fill(password)
            await page.locator("main form button").click()
            await expect(page.get_by_label("Password, or app password")).to_have_value("")
            await expect(state).to_have_text("untested")
            await page.get_by_role("button", name="Test").click()
            await page.get_by_text("It was tested.").wait_for()
            await expect(state).to_have_text(found)
        await (
            page.get_by_role("cell", name="signed in")
            .or_(page.get_by_text("INBOX: 0 messages"))
            .first.wait_for()
        )
        held = await hub.store.read(connectors.find_credential, (await connector(hub, "post")).id)
        assert held is not None
        assert PASSWORD.encode() not in held.sealed
        assert PASSWORD not in hub.settings.read_text()
        assert PASSWORD not in await page.content()

        await visit.open("settings?key=connectors.post.settings.port")
        await page.get_by_label("New value").fill("1")
        await page.get_by_role("button", name="Check").click()
        deleted = "stored password or sign-in of post is deleted with this change"
        await page.locator("form [role=status]").filter(has_text=deleted).wait_for()
        await page.get_by_role("button", name="Save").click()
        await page.locator(".outcome").filter(has_text=deleted).wait_for()
        assert await hub.store.read(connectors.find_credential, (await connector(hub, "post")).id) is None
        async with over_unix(hub) as operator:
            moved = await operator.put("/v1/connectors/post/password", json={"password": PASSWORD})
            assert (moved.json()["state"], moved.json()["last_ok_at"]) == ("untested", None)
            await visit.open("connectors/post")
            for _ in range(2):
                async with page.expect_response("**/post/test"):
                    await page.get_by_role("button", name="Test").click()
            await expect(state).to_have_text("failing")
            (shown,) = (await operator.get("/v1/connectors")).json()["connectors"]
            assert (shown["state"], shown["failures"], shown["last_ok_at"]) == ("failing", 2, None)
            await page.get_by_text(shown["detail"]).first.wait_for()
            assert (await operator.post("/v1/connectors/post/test")).status_code == 200
            assert (await operator.get("/v1/issues?anew=true")).status_code == 200
            await visit.open("")
            issue = page.get_by_role("listitem").filter(has_text="times in a row")
            await issue.get_by_role("button", name="Test the account").click()
            await page.locator(".outcome").filter(has_text="provider_unavailable").wait_for()
            await issue.filter(has_text="failed 4 times").wait_for()
            await visit.open("connectors/post")
            again = (await operator.post("/v1/connectors/post/retry")).json()
            assert (again["state"], again["failures"]) == ("failing", 1)

        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await page.get_by_text("No mailbox and no calendar").wait_for()
        assert "post" not in hub.settings.read_text()
        assert visit.complaints == []


async def test_somebody_signs_in_at_the_provider_by_address_and_by_code(
    tmp_path: Path, browser: Browser
) -> None:
    provider = OAuthServer(lambda: 0.0)
    async with serving_app(provider.app) as base:
        text = TEXT + BY_BROWSER.format(client=CLIENT, base=base)
        async with serving(tmp_path, text) as hub, visiting(browser, hub) as visit:
            page = visit.page
            await visit.open("connectors/work")
            await page.get_by_role("button", name="Sign in here").click()
            address = await page.get_by_role("link", name="Open the provider").get_attribute("href")
            assert address is not None
            async with httpx2.AsyncClient() as somewhere:
                ended = (await somewhere.get(address)).headers["location"]
            await page.get_by_label("Address at which that page ended").fill(ended)
            await page.get_by_role("button", name="Finish").click()
            await page.locator("main p[role=status]").filter(has_text="Signed in.").wait_for()
            await expect(page.locator("dd .state").first).to_have_text("untested")

            await page.get_by_role("button", name="With a code").click()
            await page.get_by_text("and type").wait_for()
            assert list(provider.device_codes.values()) == ["pending"]

            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
            await expect(page.locator("dd .state").first).to_have_text("sign in")
