"""A real browser, and pages on other origins for it to open: what a web page could do to a hub.

Debian's Chromium, driven by Playwright with its path. Where there is none, its
tests are skipped, by name.
"""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import anyio
from playwright.async_api import Page, async_playwright

# What a name resolves to, whatever any server says: this is how a page is rebound to this machine.
REBOUND: Final = "rebound.example"
_FLAGS: Final = (
    "--no-sandbox",  # the tests may run as root, in a container
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
    # Chromium's own wall before private addresses would hide whether the hub has one.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessChecks",
)

# What the page got. A fetch that is refused, and one whose answer is kept from the page, both reject.
_TRY_FETCH: Final = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return {status: answer.status, type: answer.type, text: await answer.text()};
  } catch (error) { return {status: 0, type: 'rejected', text: ''}; }
}"""
_TRY_SOCKET: Final = """(url) => new Promise((resolve) => {
  const told = [];
  let socket;
  try { socket = new WebSocket(url); } catch (error) { resolve({opened: false, told}); return; }
  let opened = false;
  socket.onopen = () => { opened = true; };
  socket.onmessage = (message) => { told.push(String(message.data)); };
  socket.onclose = () => resolve({opened, told});
  setTimeout(() => { socket.close(); resolve({opened, told}); }, 3000);
})"""


@cache
def chromium() -> str | None:
    """The path of the distribution's browser."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Fetched(NamedTuple):
    """What a script of a page could read of an answer; status 0: nothing at all."""

    status: int
    text: str


class Intruder:
    """A page that tries."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def go(self, url: str) -> tuple[int, str]:
        """Open *url* as the page itself: its status and its text."""
        answer = await self._page.goto(url)
        assert answer is not None
        return answer.status, await answer.text()

    async def fetch(self, url: str, **options: Any) -> Fetched:
        """``fetch`` in the page."""
        got = await self._page.evaluate(_TRY_FETCH, [url, options])
        return Fetched(got["status"], got["text"])

    async def connect(self, url: str) -> tuple[bool, list[str]]:
        """``new WebSocket`` in the page: whether it opened, and what came over it."""
        got = await self._page.evaluate(_TRY_SOCKET, url)
        return got["opened"], got["told"]


@asynccontextmanager
async def intruder() -> AsyncIterator[Intruder]:
    """A page in a browser of its own."""
    path = chromium()
    assert path is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield Intruder(await browser.new_page())
        finally:
            await browser.close()


@asynccontextmanager
async def other_origin() -> AsyncIterator[str]:
    """A web server of somebody else's on this machine; yields the address of its page."""
    page = b"<!doctype html><title>elsewhere</title><p>A page like any other."
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(head.encode() + page)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}/"
        tasks.cancel_scope.cancel()


def body(value: object) -> str:
    """A JSON body, as a page would send it."""
    return json.dumps(value)
