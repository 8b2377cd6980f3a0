"""Work in the dashboard in a real browser: devices, agents, accounts, boards, targets and assistants."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, Page, expect

from hub.api.resource import ALL
from hub.api.resources.tokens import OperatorTokensResource
from hub.base.roles import Role, Scope
from storage.agents import agents
from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow, get_connector
from storage.devices.tokens import INVITATIONS
from tests.hub.api.test_authorizations import REDIRECT, SETTINGS, exchanged, query
from tests.support.asgi import serving as serving_app
from tests.support.browser import chromium
from tests.support.dashboard import AXE, HOSTILE, TARGET, Visit, keep_deliveries, needs_axe, visiting, whom
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.hub import TEXT, ServedHub, over_unix, serving
from tests.support.identity import EndedLink
from tests.support.oauth import CLIENT, OAuthServer
from tests.support.stored import configuration_of

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


async def test_devices_page_invites_and_renames_a_device(tmp_path: Path, browser: Browser) -> None:
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


async def test_agent_form_creates_changes_and_removes_and_shows_errors_at_the_field(
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
        lines = page.get_by_label("Lines of key = value")
        await lines.fill('threshold = 0.5\nowner = Ana\nlabels = ["a", "b"]')
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
        lines = page.get_by_label("Further lines of key = value")
        texts = {"zip": "04109", "letter": "Dear Ana,\nlevel = 2", "padded": " x "}
        await lines.fill("\n".join(f"{key} = {json.dumps(text)}" for key, text in texts.items()))
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("heading", name="plans", exact=True).wait_for()
        assert await hub.store.read(configuration_of, row.id) == texts | {"project": "house", "limit": 3}
        await visit.open("agents/plans?edit=1")
        await page.get_by_role("textbox", name="project").fill("garden")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("heading", name="plans", exact=True).wait_for()
        assert await hub.store.read(configuration_of, row.id) == texts | {"project": "garden", "limit": 3}
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await page.get_by_role("heading", name="Agents").wait_for()
        await expect(page.get_by_role("link", name="plans")).to_have_count(0)


async def test_status_without_a_device_names_the_command_for_the_first_one(
    tmp_path: Path, browser: Browser
) -> None:
    async with serving(tmp_path, is_empty=True) as hub, visiting(browser, hub) as visit:
        page = visit.page
        step = page.locator(".empty", has_text="No device is connected yet.")
        await visit.open("status")
        await step.get_by_text("hub connect ws://127.0.0.1:8770 --root FOLDER").wait_for()
        await visit.open("agents")
        await page.locator(".empty").get_by_text("hub agents create NAME").wait_for()
        await hub.connect(await hub.device("desk"))
        await visit.open("status")
        await page.get_by_text("devices connected").wait_for()
        await expect(step).to_have_count(0)


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


async def test_connectors_page_adds_signs_in_tests_and_removes_a_mailbox(
    tmp_path: Path, dovecot: Dovecot, browser: Browser
) -> None:
    user = dovecot.fresh_user()
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("connectors")
        await page.get_by_role("link", name="Add an account").click()
        typed = {"Name": "post", "Server": dovecot.host, "Port": str(dovecot.port), "User name": user}
        await page.get_by_label("TLS").select_option("none")
        for label, value in typed.items():
            await page.get_by_label(re.compile(f"^{label}(As in.*)?$")).fill(value)
        await page.get_by_role("button", name="Add").click()
        await page.get_by_role("heading", name="post").wait_for()
        state = page.locator("dd .state").first
        await expect(state).to_have_text("sign in")
        await page.get_by_text("Sign in below.").wait_for()
        for password, found, report in (("wrong", "sign in", "AUTHENTICATION"), (PASSWORD, "ok", "it works")):
            await page.get_by_label("Password, or app password").fill(password)
            await page.get_by_role("button", name=re.compile("^(Sign in|Replace)$")).click()
            await expect(page.get_by_label("Password, or app password")).to_have_value("")
            await expect(page.locator(".outcome")).to_contain_text(report)
            await expect(state).to_have_text(found)
        await (
            page.get_by_role("cell", name="signed in")
            .or_(page.get_by_text("INBOX: 0 messages"))
            .first.wait_for()
        )
        reader = await hub.store.read(agents.agent_called, "post", None)
        assert reader.data_types == ("tasks", "timelines"), "the account is read without another form"
        held = await hub.store.read(connectors.find_credential, (await connector(hub, "post")).id)
        assert held is not None
        assert PASSWORD.encode() not in held.sealed
        assert PASSWORD not in hub.settings.read_text()
        assert PASSWORD not in await page.content()

        await page.get_by_label(re.compile("^Port")).fill("1")
        await page.get_by_role("button", name="Change").click()
        await expect(state).to_have_text("sign in")
        assert re.search(r"port = 1\b", hub.settings.read_text())
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
            issue = page.get_by_role("listitem").filter(has_text="hub config set connectors.post.settings")
            await issue.get_by_role("button", name="Test the account").click()
            await page.locator(".outcome").filter(has_text=shown["detail"]).wait_for()
            await visit.open("connectors/post")
            await page.get_by_text("Correct “How it is reached” below.").wait_for()
            again = (await operator.post("/v1/connectors/post/retry")).json()
            assert (again["state"], again["failures"]) == ("failing", 1)

        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await page.get_by_text("No mailbox and no calendar").wait_for()
        assert "post" not in hub.settings.read_text()
        assert visit.complaints == []


async def test_open_account_is_tested_as_added_and_as_corrected_on_its_page(
    tmp_path: Path, browser: Browser
) -> None:
    for part in ("cur", "new"):
        (tmp_path / "Maildir" / part).mkdir(parents=True)
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        page = visit.page
        await visit.open("sources?add=account")
        await page.get_by_label("Provider").select_option("maildir")
        await page.get_by_label(re.compile("^Name")).fill("kitchen")
        await page.get_by_label(re.compile("^Folder")).fill(f"{tmp_path}/Mail")
        await page.get_by_role("button", name="Add").click()
        await expect(page.locator(".outcome")).to_contain_text(f"{tmp_path}/Mail cannot be read here")
        await expect(page.locator("dd .state").first).to_have_text("blocked")
        await page.get_by_text("Correct Folder below.").wait_for()
        await expect(page.locator("main")).not_to_contain_text("bad_connector")

        await page.get_by_label(re.compile("^Folder")).fill(f"{tmp_path}/Maildir")
        await page.get_by_role("button", name="Change").click()
        await expect(page.locator(".outcome")).to_contain_text("kitchen is changed, and read now.")
        await expect(page.locator("dd .state").first).to_have_text("ok")
        (run,) = await hub.store.read(lambda c: list(c.execute(sa.text("SELECT state FROM runs"))))
        assert run.state in ("QUEUED", "RUNNING", "COMPLETED")
        assert visit.complaints == []


async def test_connectors_page_signs_in_at_the_provider_by_address_and_by_code(
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


async def test_boards_page_creates_a_board_with_a_lead_and_writes_memory(
    tmp_path: Path, browser: Browser
) -> None:
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
            me, _, _ = (await whom(page)).partition(" · ")
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


async def test_notify_page_filters_resends_drops_and_follows_deliveries(
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

        await page.get_by_role("combobox", name="Filter").fill("state:failed")
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(1)
        await page.get_by_role("button", name="Send again").click()
        await expect(rows).to_have_count(0)
        await page.get_by_role("combobox", name="Filter").fill("state:waiting")
        await page.keyboard.press("Enter")
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


async def test_notify_page_without_targets_links_to_the_handbook(tmp_path: Path, browser: Browser) -> None:
    async with serving(tmp_path) as hub, visiting(browser, hub) as visit:
        await visit.open("notify/phone")
        await visit.page.get_by_text("hub.toml names no target like this.").wait_for()
        await visit.page.get_by_role("link", name="All targets").click()
        await visit.page.get_by_text("No address is notified of what happens.").wait_for()
        await visit.page.get_by_role("link", name="How to").click()
        await visit.page.get_by_role("heading", name="Notifications", level=1).wait_for()


async def _asked(visit: Visit, hub: ServedHub, token: str | None = None) -> Page:
    """Open the page as a client does, and sign in."""
    page = visit.page
    await page.route("http://127.0.0.1:1234/**", lambda route: route.fulfill(body="The assistant goes on."))
    await page.goto(f"{visit.origin}/authorize?{query(hub)}")
    if token is not None:
        await page.get_by_label("Token of an operator").fill(token)
        await page.get_by_role("button", name="Sign in").click()
    return page


@needs_axe
async def test_authorize_page_allows_an_assistant_with_reduced_scopes(
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
        (row,) = [one for one in await hub.resource(OperatorTokensResource).all(ALL) if one.name == "editor"]
        assert row.limits is not None and row.limits.devices == ("desk",)


async def test_authorize_page_denies_the_request_and_cannot_be_framed(
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
        assert [one.name for one in await hub.resource(OperatorTokensResource).all(ALL)].count("editor") == 0
