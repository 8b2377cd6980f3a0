"""The device in TypeScript in a real browser, which sends its origin, and its nonce as a subprotocol."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.support.asgi import serving
from tests.support.browser import chromium
from tests.support.dashboard import browsing
from tests.support.node_device import PACKAGE
from tests.support.processes import SETTINGS, HubProcess, closing

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.soak,
]
PAGE = Starlette(
    routes=[
        Route("/", lambda request: HTMLResponse("<!doctype html><title>a device</title>")),
        Mount("/dist", StaticFiles(directory=PACKAGE / "dist")),
    ]
)
BEGIN = """async (url) => {
  const { Device } = await import("/dist/index.js");
  const { BrowserStore } = await import("/dist/browser.js");
  const text = new TextEncoder().encode("- [ ] Water the plants");
  const files = {
    roots: async () => [{ name: "notes", spellings: ["~/notes"] }],
    list: async () => [{ path: "notes/today.md", size: text.length, modifiedMs: 0 }],
    read: async () => text,
  };
  const device = new Device({ url, name: "desk", store: new BrowserStore("desk"), files });
  globalThis.device = device;
  globalThis.welcomed = device.connect();
  return new Promise((resolve) => {
    device.on("pairing", ({ code }) => resolve(code));
    device.on("connected", () => resolve(device.items().map((item) => item.state)));
  });
}"""
DECIDE = """async () => {
  const [item] = device.suggestions();
  await device.approve(item.id);
  return [item.row.title, item.source.path, device.items()[0].state];
}"""


async def test_device_in_a_browser_is_paired_shares_texts_and_decides(tmp_path: Path) -> None:
    async with serving(PAGE) as origin:
        listed = f'origins = ["{origin}"]\nhosts ='
        hub = HubProcess(tmp_path, settings=SETTINGS.format(model="").replace("hosts =", listed))
        async with closing(hub), browsing() as browser:
            await hub.start()
            page = await browser.new_page()
            await page.goto(origin)
            code = await page.evaluate(BEGIN, await hub.device_url())
            await hub.post("/v1/pairings/approve", {"code": code})
            await page.evaluate("() => welcomed")
            run = await hub.ended(await hub.start_run())
            assert (run["outcome"], run["items_created"]) == ("success", 1)
            assert await page.evaluate(DECIDE) == ["Water the plants", "notes/today.md", "approved"]
            await page.reload()
            assert await page.evaluate(BEGIN, await hub.device_url()) == ["approved"]
            await page.evaluate("() => device.close()")
