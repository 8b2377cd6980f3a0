"""Listener for the redirect of a provider's sign-in, which passes the code to the hub.

The listener binds to 127.0.0.1 only, takes one redirect, and outlives the connection: a hub that restarts
receives the code after the reconnect. The code is useless without the secrets that the hub keeps.

A hub opens nothing by itself: the owner sees the requested host, and the browser is opened only with their
consent. The number of addresses per minute is limited; addresses of this machine or a private network are
refused.
"""

import os
import re
import sys
import webbrowser
from collections import deque
from collections.abc import Awaitable, Callable
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event as Flag
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import msgspec

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.device.connection import RESPONSE_WITHIN_S, HubConnection, refusal
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.tool_calls import Answer, ToolCall

log = Channel(__name__)

MAX_LISTENERS: Final = 8  # concurrent listeners


MAX_LIFE_MS: Final = 600_000


POLL_S: Final = 0.25  # poll interval of the listener thread, and for its result


REQUEST_S: Final = 10.0  # timeout of a browser's request


AGAIN_S: Final = 3.0


SHOWN_A_MINUTE: Final = 4  # addresses; a person signs in to one account at a time


MAX_CHARACTERS: Final = 2_048  # of an address


_ACCOUNT_CHARACTERS: Final = 80


# The host needs a dot and a last label that starts with a letter, which excludes IP addresses in any
# notation. After the host, blanks, quotes and backslashes are excluded; browsers read a backslash as a slash.
_ADDRESS: Final = re.compile(
    r"https://(?P<host>(?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*)(?::[0-9]{1,5})?"
    r"(?:[/?#][!#-\[\]-~]*)?"
)


_NEAR: Final = (".localhost", ".local", ".internal", ".lan", ".home", ".arpa", ".box", ".intranet", ".corp")


class _OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Data of a ``browser.open`` call."""

    sign_in_id: str
    account: str = ""
    expires_ms: int = MAX_LIFE_MS
    listen: bool = False
    state: str = ""
    url: str = ""


class Door:
    """Listener for one OAuth redirect.

    Attributes:
        found: parameters of the redirect, once it has arrived.
        is_shown: True once the owner was shown the provider's address.
        url: the provider's address, until the owner was asked whether to open it.
    """

    def __init__(self, state: str, *, life_ms: int, clock: Clock) -> None:
        self.found: dict[str, str] | None = None
        self.is_over = self.is_shown = False
        self.url: str | None = None
        self._state = state
        self._clock = clock
        self._until = clock.monotonic() + min(life_ms, MAX_LIFE_MS) / 1_000
        self._is_answered = Flag()
        self._words = "The hub was not reached yet; it will be informed. You may close this window."
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._server.timeout = POLL_S
        Thread(target=self._listen, name="browser.open", daemon=True).start()

    @property
    def port(self) -> int:
        """Port of the listener."""
        return int(self._server.server_address[1])

    def send_page(self, words: str) -> None:
        """Set the text of the page that the browser shows, and send the page."""
        self._words = words
        self._is_answered.set()

    def close(self) -> None:
        """Stop listening."""
        self.is_over = True
        self._is_answered.set()

    def _listen(self) -> None:
        with self._server:
            while not self.is_over and self.found is None and self._clock.monotonic() < self._until:
                self._server.handle_request()
        self.is_over = self.is_over or self.found is None

    def _handler(door: "Door") -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S

            def do_GET(self) -> None:
                parameters = parse_qs(urlsplit(self.path).query)
                one = {name: parameters[name][0] for name in ("code", "error") if parameters.get(name)}
                if parameters.get("state") != [door._state] or not one:
                    self.send_error(404)
                    return
                door.found = one
                door._is_answered.wait(RESPONSE_WITHIN_S)
                page = f"<!doctype html><meta charset=utf-8><title>Hub</title><p>{escape(door._words)}"
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: the requested address contains the code."""

        return Handler


class Browser:
    """Executor of ``browser.open`` calls.

    The first callback gets messages for the owner.

    Args:
        asks: asks the owner a question and returns whether they agree; None: the owner opens the address.
        opens: opens an address in the system's browser; returns False if no browser is available.
    """

    def __init__(
        self,
        clock: Clock,
        on_status: Callable[[str], None],
        asks: Callable[[str], Awaitable[bool]] | None = None,
        opens: Callable[[str], bool] | None = None,
    ) -> None:
        self._clock = clock
        self._on_status = on_status
        self._asks = asks
        self._opens = opens or open_address
        self._shown_at: deque[float] = deque(maxlen=SHOWN_A_MINUTE)
        self._is_shown = anyio.Event()
        self._doors: dict[str, Door] = {}
        self._has_doors = anyio.Event()

    async def handle_call(self, line: HubConnection, call: ToolCall) -> None:
        """Execute a call and send its answer."""
        await line.answer([(call, await self.done(call))])

    async def done(self, call: ToolCall) -> Answer:
        """Execute a call and return its answer."""
        try:
            request = msgspec.convert(call.data, _OpenRequest)
        except msgspec.ValidationError as error:
            return refusal(ErrorCode.BAD_RECORD, f"data of browser.open: {error}")
        return self._listen(request) if request.listen else self._show(request)

    async def serve(self, line: HubConnection) -> None:
        """Ask the owner for consent, and forward redirects to the hub of this connection, until cancelled."""
        async with anyio.create_task_group() as tasks:
            if self._asks is not None:
                tasks.start_soon(self._ask, self._asks)
            await self._forward_redirects(line)

    async def _ask(self, asks: Callable[[str], Awaitable[bool]]) -> None:
        """Ask the owner about each shown address while its listener waits."""
        while True:
            self._is_shown = anyio.Event()
            while door := next(
                (waiting for waiting in self._doors.values() if waiting.url and not waiting.is_over),
                None,
            ):
                assert door.url is not None
                if await asks(f"open {urlsplit(door.url).hostname} in the browser?"):
                    await anyio.to_thread.run_sync(self._opens, door.url)
                door.url = None
            await self._is_shown.wait()

    async def _forward_redirects(self, line: HubConnection) -> None:
        while True:
            self._doors = {id: door for id, door in self._doors.items() if not door.is_over}
            if not self._doors:
                self._has_doors = anyio.Event()
                await self._has_doors.wait()
            for id, door in list(self._doors.items()):
                if door.found is not None and not door.is_over:
                    await self._forward(line, id, door)
            await self._clock.sleep(POLL_S)

    def _listen(self, request: _OpenRequest) -> Answer:
        door = self._doors.get(request.sign_in_id)
        if door is None or door.is_over:
            if not request.state:
                return refusal(ErrorCode.BAD_RECORD, "data of browser.open: there is no state to expect")
            if sum(not other.is_over for other in self._doors.values()) >= MAX_LISTENERS:
                return refusal(ErrorCode.TOO_MANY_CALLS, f"{MAX_LISTENERS} sign-ins are open")
            try:
                door = Door(request.state, life_ms=request.expires_ms, clock=self._clock)
            except OSError as error:
                return refusal(ErrorCode.INTERNAL, f"nothing can listen here: {error.strerror}")
            self._doors[request.sign_in_id] = door
            self._has_doors.set()
        return Answer(result={"port": door.port})

    def _show(self, request: _OpenRequest) -> Answer:
        if why := why_not_shown(request.url):
            return refusal(ErrorCode.BAD_RECORD, f"data of browser.open: {why}")
        door = self._doors.get(request.sign_in_id)
        if door is None:
            return refusal(ErrorCode.BAD_RECORD, "data of browser.open: no listener waits for that sign-in")
        if not door.is_shown:
            now = self._clock.monotonic()
            if len(self._shown_at) == SHOWN_A_MINUTE and now - self._shown_at[0] < 60:
                return refusal(ErrorCode.RATE_LIMITED, f"{SHOWN_A_MINUTE} addresses a minute are shown")
            self._shown_at.append(now)
            door.is_shown = True
            self._on_status(
                f"the hub asks you to sign in to {request.account[:_ACCOUNT_CHARACTERS]}: {request.url}"
            )
            door.url = request.url
            self._is_shown.set()
        return Answer(result={"opened": False})

    async def _forward(self, line: HubConnection, id: str, door: Door) -> None:
        assert door.found is not None
        params: dict[str, Any] = {"sign_in_id": id, "state": door._state, **door.found}
        response = await line.request(Method.SIGN_INS_ANSWER, params)
        if response is None or (response.error is not None and response.error.retryable):
            await self._clock.sleep(AGAIN_S)
            return
        if response.error is None:
            words = "Signed in. You may close this window."
        else:
            words = f"Not signed in: {response.error.message}"
        self._on_status(words.split(". ")[0])
        door.send_page(words)
        door.close()


def why_not_shown(url: str) -> str | None:
    """Return why *url* cannot be the address of a provider, or None if it is an https page elsewhere.

    The owner is shown exactly the address that the browser opens: an ambiguous address is refused.
    """
    found = _ADDRESS.fullmatch(url) if len(url) <= MAX_CHARACTERS else None
    if found is None:
        return f"the address is not https to a name, in ASCII, of at most {MAX_CHARACTERS} characters"
    if found["host"].lower().endswith(_NEAR):
        return "the address is one of this machine or of a private network"
    return None


def open_address(url: str) -> bool:
    """Open an address in the system's browser. Return False if no graphical browser is available."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError, ValueError) as error:
        log.warning("device.browser.failed", exc=error)
        return False
