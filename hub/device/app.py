"""Reference device as one object: folders, file, connection, reports, and sign-in by its browser.

People run it until their desktop application speaks the protocol; it also specifies the protocol in code.

Exchange with the hub besides calls: events of the hub, and reports of the owner's decisions.

The newest configuration of each agent of this device is stored in the device's file. A revision never
decreases. A gap in the event numbers triggers a new request of all configurations.

Verdicts on rows, their places, answers to questions and replies to messages are reported. A report is one
request. What the hub has confirmed is marked in the device's file and not repeated; a request without a
response is sent again, and the hub counts it once.

Lets the owner sign in at a provider: listens for the OAuth redirect and forwards its code to the hub.

The listener binds to 127.0.0.1 only, takes one redirect, and outlives the connection: a hub that restarts
receives the code after the reconnect. The code is useless without the secrets that the hub keeps.

A hub opens nothing by itself: the owner sees the requested host, and the browser is opened only with their
consent. The number of addresses per minute is limited; addresses of this machine or a private network are
refused.
"""

import os
import platform
import re
import sys
import webbrowser
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock, IdFactory, SystemChance, SystemClock, wait_for_event
from hub.base.log import Channel
from hub.base.system.files import is_open_to_others, restricting
from hub.base.system.processes import wait_for_stop
from hub.base.version import VERSION
from hub.device import pages
from hub.device.addresses import BadAddress, address_of
from hub.device.client import Client, Handler, TurnedAway
from hub.device.connection import ACTIONS, RESPONSE_WITHIN_S, Bench, Line, Tools, refusal
from hub.device.credentials import (
    SUFFIX,
    BadCredential,
    BadKnownHubs,
    Credential,
    HubNotTrusted,
    KeyCredential,
    KnownHubs,
    Rotation,
    TokenCredential,
    dialled,
)
from hub.device.file_calls import FileCalls
from hub.device.inserts import Configuration, DeviceFileError, DeviceStore, open_device_store
from hub.device.messages import Reply, describe_message, describe_question
from hub.device.receipts import ReceiptBook
from hub.device.rows import Verdict
from hub.device.run_reading import Contents, Library, Readings
from hub.device.sending_log import open_sending_log
from hub.device.shared import (
    MAX_FILE_BYTES,
    Root,
    SharedFolders,
    declare,
    open_digests,
    root_spellings,
    settle,
)
from hub.device.sinks.reports import Placed
from protocol import keys
from protocol.backoff import Backoff
from protocol.calls import MAX_PLACED
from protocol.capabilities import CapabilityName
from protocol.codec import JSON, MSGPACK
from protocol.coordination import AgentBeat, Event, EventName, Heartbeat, Method, Response
from protocol.errors import CloseCode, ErrorCode, connect_command
from protocol.frame import Frame, Parameters, Values
from protocol.handshake import SPOKEN, Capability, DeviceHello, GrantOfOwner, Hubs, Welcome
from protocol.handshake import Client as ClientProgram
from protocol.ids import KeyId
from protocol.tool_calls import Action, Answer, ToolCall, ToolCalls
from protocol.work import AgentCancel, AgentCredit, AgentFetch, AgentReceipt, AgentRun

MOST: Final = 8  # concurrent listeners
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

log = Channel(__name__)


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

    async def take(self, line: Line, call: ToolCall) -> None:
        """Execute a call and send its answer."""
        await line.answer([(call, await self.done(call))])

    async def done(self, call: ToolCall) -> Answer:
        """Execute a call and return its answer."""
        try:
            request = msgspec.convert(call.data, _OpenRequest)
        except msgspec.ValidationError as error:
            return refusal(ErrorCode.BAD_RECORD, f"data of browser.open: {error}")
        return self._listen(request) if request.listen else self._show(request)

    async def serve(self, line: Line) -> None:
        """Ask the owner for consent, and forward redirects to the hub of this connection, until cancelled."""
        async with anyio.create_task_group() as tasks:
            if self._asks is not None:
                tasks.start_soon(self._ask, self._asks)
            await self._forward_redirects(line)

    async def _ask(self, asks: Callable[[str], Awaitable[bool]]) -> None:
        """Ask the owner about each shown address while its listener waits."""
        while True:
            self._is_shown = anyio.Event()
            while door := next((one for one in self._doors.values() if one.url and not one.is_over), None):
                assert door.url is not None
                if await asks(f"open {urlsplit(door.url).hostname} in the browser?"):
                    await anyio.to_thread.run_sync(self._opens, door.url)
                door.url = None
            await self._is_shown.wait()

    async def _forward_redirects(self, line: Line) -> None:
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
            if len([one for one in self._doors.values() if not one.is_over]) >= MOST:
                return refusal(ErrorCode.TOO_MANY_CALLS, f"{MOST} sign-ins are open")
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

    async def _forward(self, line: Line, id: str, door: Door) -> None:
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


POLL_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA
VERDICTS_PER_REPORT: Final = 500  # as limited by the hub
_REPORTED_AGAIN: Final = Backoff(base_s=1.0, cap_s=300.0)  # what the hub has, but the file cannot confirm

Decision = TypeVar("Decision")


class Hearing:
    """Receiver of one connection's events; the status callback gets a short sentence for each change."""

    def __init__(self, line: Line, tools: Tools, on_status: Callable[[str], None]) -> None:
        self._line = line
        self._tools = tools
        self._on_status = on_status
        self._seq = 0  # number of the previous event
        self._known: dict[str, int] = {}  # by agent: last revision received on this connection
        self._waiting: dict[str, Configuration] = {}  # to be stored
        self._has_gap = False
        self._arrived = anyio.Event()

    async def serve(self) -> None:
        """Store received configurations and fetch missed ones, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await self._keep()
            if self._has_gap:
                self._has_gap = False
                await self._ask_again()

    def take(self, event: Event) -> None:
        """Handle an event of the hub; never blocks."""
        if event.seq != self._seq + 1:
            self._has_gap = True
            self._arrived.set()
        self._seq = event.seq
        if event.event == EventName.AGENT_CONFIG:
            self._note(event.data)

    def _note(self, data: Any) -> None:
        try:
            one = msgspec.convert(data, Configuration)
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        if one.rev > self._known.get(one.agent_id, -1):
            self._known[one.agent_id] = one.rev
            self._waiting[one.agent_id] = one
            self._arrived.set()

    async def _keep(self) -> None:
        """Store the received configurations; after a disk failure, the next connection gets them again."""
        waiting, self._waiting = list(self._waiting.values()), {}
        if waiting:
            await self._tools.on_file(DeviceStore.keep_configurations, waiting, otherwise=None)
        for one in waiting:
            keys = len(one.configuration)
            counted = "1 key" if keys == 1 else f"{keys} keys"
            self._on_status(f"configuration of {one.agent_id}: revision {one.rev}, {counted}")

    async def _ask_again(self) -> None:
        """Fetch the configuration of each agent sequentially: a hub limits the number of pending requests."""
        listed = await self._ask(Method.AGENTS_LIST, {})
        try:
            mine = msgspec.convert(listed, _Agents).agents
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        for agent in mine:
            answer = await self._ask(Method.CONFIG_GET, {"agent_id": agent.agent_id})
            if answer is not None:
                self._note(answer)

    async def _ask(self, method: Method, params: Parameters) -> Values | None:
        """Send a request and return its result, or None after a refusal or timeout."""
        response = await self._line.request(method, params)
        return None if response is None else response.result


class _Agent(msgspec.Struct):
    agent_id: str


class _Agents(msgspec.Struct):
    """Needed fields of the answer to ``agents.list``."""

    agents: list[_Agent]


class Outbox(NamedTuple, Generic[Decision]):
    """Decisions of one kind in the device's file.

    Attributes:
        most: decisions in one request.
        unconfirmed: returns at most so many decisions that the hub has not confirmed.
        confirm: marks a decision as confirmed.
        discard: marks a decision that the hub refused for good; None: it is sent again.
    """

    name: str
    method: Method
    most: int
    unconfirmed: Callable[[DeviceStore, int], Sequence[Decision]]
    params: Callable[[Sequence[Decision]], Parameters]
    confirm: Callable[[DeviceStore, Sequence[Decision]], None]
    discard: Callable[[DeviceStore, Sequence[Decision]], None] | None = None


# the owner's verdicts on rows that a hub wrote
VERDICTS: Final = Outbox[Verdict](
    "verdicts",
    Method.REVIEW_REPORT,
    VERDICTS_PER_REPORT,
    DeviceStore.unreported,
    lambda report: {"verdicts": [msgspec.structs.asdict(one) for one in report]},
    DeviceStore.note_reported,
)
# where approved rows are, outside of this device's file
PLACES: Final = Outbox[Placed](
    "places",
    Method.PLACES_REPORT,
    MAX_PLACED,
    DeviceStore.unreported_places,
    lambda report: {"rows": [msgspec.to_builtins(one.row) for one in report]},
    DeviceStore.note_places,
)
# the owner's answers to questions; of several answers to a question the hub counts the first
ANSWERS: Final = Outbox[Reply](
    "answers",
    Method.QUESTIONS_ANSWER,
    1,
    DeviceStore.unreported_answers,
    lambda report: {"question_id": report[0].id, "answer": report[0].answer},
    lambda store, report: store.note_answer(report[0], counts=True),
    lambda store, report: store.note_answer(report[0], counts=False),
)
# the replies of this device's agents to messages
REPLIES: Final = Outbox[Reply](
    "replies",
    Method.MESSAGES_ANSWER,
    1,
    DeviceStore.unreported_replies,
    lambda report: {"message_id": report[0].id, "answer": report[0].answer},
    lambda store, report: store.note_reply(report[0]),
    lambda store, report: store.note_reply(report[0]),
)


class Reporting:
    """Reporter of one outbox over one connection, one request at a time.

    *on_status* gets a sentence for each decision that the hub refused for good.
    """

    def __init__(
        self, line: Line, tools: Tools, outbox: Outbox[Any], clock: Clock, on_status: Callable[[str], None]
    ) -> None:
        self._line = line
        self._tools = tools
        self._outbox = outbox
        self._clock = clock
        self._on_status = on_status
        self._requested = anyio.Event()

    async def serve(self) -> None:
        """Poll and report until cancelled, or until the hub does not know the method."""
        is_due = True  # the file may have changed while the device was disconnected
        failures = 0  # in a row, of a file that keeps no confirmation
        while True:
            name = self._outbox.name
            if await self._tools.on_file(DeviceStore.is_changed, name, otherwise=False) or is_due:
                failure = await self._report()
                if failure == ErrorCode.UNKNOWN_METHOD:
                    log.info("device.reports.not_taken", outbox=name)
                    return
                is_due = failure is not None
                failures = failures + 1 if failure == ErrorCode.DATABASE_UNAVAILABLE else 0
            pause_s = _REPORTED_AGAIN.delay(failures - 1, 1.0) if failures else POLL_EVERY_S
            await wait_for_event(self._requested, self._clock, pause_s)
            self._requested = anyio.Event()

    def poll(self) -> None:
        """Poll at once: a run starts, and should take the latest verdicts into account."""
        self._requested.set()

    async def _report(self) -> str | None:
        """Send all unconfirmed decisions. Return the error code of a failure that may pass, else None.

        A confirmation that the file cannot store is such a failure: the same decisions are sent again.
        """
        outbox, on_file = self._outbox, self._tools.on_file
        nothing: Sequence[Any] = ()
        while report := await on_file(outbox.unconfirmed, outbox.most, otherwise=nothing):
            response = await self._line.request(outbox.method, outbox.params(report))
            if response is None:
                return ErrorCode.CALL_TIMED_OUT
            error, mark = response.error, outbox.confirm
            if error is not None:
                if error.retryable or error.code == ErrorCode.UNKNOWN_METHOD or outbox.discard is None:
                    return error.code
                # another answer counts, or the hub does not know the id: a retry cannot succeed
                self._on_status(f"the answer does not count: {error.message}")
                mark = outbox.discard
            failed: bool | None = await on_file(mark, report, otherwise=True)
            if failed:
                return ErrorCode.DATABASE_UNAVAILABLE
        return None


CAPABILITIES: Final = (
    CapabilityName.AGENT_DATA_CREDIT,
    CapabilityName.AGENT_MANIFEST,
    CapabilityName.AGENT_MANIFEST_PAGES,
    CapabilityName.AGENT_RUN_ONLY,
    CapabilityName.AGENT_ACK,
    CapabilityName.AGENT_RECEIPT,
    CapabilityName.AGENT_CONFIG,
    CapabilityName.BROWSER_OPEN,
    CapabilityName.TOOL_CALLS,
    CapabilityName.HUBS,
    CapabilityName.ITEM_PLACES,
    CapabilityName.FILES_LIST,
    CapabilityName.FILES_READ,
    *ACTIONS.values(),
)
_MIN_HEARTBEAT_S: Final = 1.0  # lower bound of the interval that a hub may request

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CANNOT_CREATE: Final = 73
EXIT_NOT_PERMITTED: Final = 77


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Options of ``hub connect``.

    Attributes:
        urls: addresses of one hub, ``ws://`` or ``wss://``; at least one.
        roots: folders to share; at least one.
        db: the device's SQLite file; created if it does not exist.
        token: a token, or the file that contains it; ``None``: the device authenticates with its key.
        key: file of the device's key; next to its database by default.
        invitation: file with an invitation, for a device that the hub does not know yet.
        rotates: replace the key by a new one; if the key was revoked, pair the device again.
        name: display name of the device.
        max_file_bytes: larger files are skipped.
        hidden: also offer hidden files.
        ignore: patterns of files that are not offered, as in an ignore file.
        grants: the owner's grants to a hub on its first connection, for example ``+review.remote``.
        accepted: id of the only hub key to accept, known or not; None: accept the known key.
    """

    urls: Sequence[str]
    roots: Sequence[Path]
    db: Path
    token: str | Path | None = None
    key: Path | None = None
    invitation: Path | None = None
    rotates: bool = False
    name: str = ""
    codec: Literal["json", "msgpack"] = "json"
    max_file_bytes: int = MAX_FILE_BYTES
    hidden: bool = False
    ignore: Sequence[str] = ()
    accepted: KeyId | None = None
    grants: Sequence[str] = ()


class ReferenceDevice:
    """Device that serves its folders, stores inserted rows, and stays connected.

    Args:
        on_status: called with short status sentences.
        hubs: the hubs that the device knows.
        asks: asks the owner a question and returns whether they agree; None: no questions.

    Raises:
        BadAddress: a URL is invalid.
        ValueError: a root is not a folder that can be shared.
    """

    def __init__(
        self,
        options: DeviceOptions,
        credential: Credential,
        *,
        clock: Clock,
        chance: Chance,
        on_status: Callable[[str], None],
        hubs: KnownHubs,
        asks: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self._options = options
        self._hubs = hubs
        self._instance = IdFactory(clock, chance).fresh()
        self._granted: dict[str, list[str]] = {}  # as the last hello said
        self._key_of_hub = ""  # of the last one that was met, or is known at a given address
        self._addresses = [dialled(address_of(url)) for url in options.urls]
        self._credential = credential
        self._folders = declare(options.roots)
        self._home = os.path.expanduser("~")
        self._clock = clock
        self._chance = chance
        self._on_status = on_status
        self._client = Client(
            options.urls,
            codec=JSON if options.codec == "json" else MSGPACK,
            credential=credential,
            meets=self._meet,
            attend=self._attend,
            clock=clock,
            chance=chance,
            on_status=self._on_status,
        )
        self._rotation: Rotation | None = None
        if options.rotates and isinstance(credential, KeyCredential):
            self._rotation = Rotation(credential)
        self._browser = Browser(clock, self._on_status, asks)
        self._store: DeviceStore | None = None
        self._tools: Tools | None = None
        self._library: Library | None = None

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until the hub forbids a reconnect; *started* after the first welcome.

        Raises:
            TurnedAway: the hub does not accept this device.
            DeviceFileError: the device's file cannot be used.
        """
        ids = IdFactory(self._clock, self._chance)
        with ExitStack() as opened:
            store = opened.enter_context(open_device_store(self._options.db, clock=self._clock, ids=ids))
            digests = opened.enter_context(open_digests(self._options.db))
            self._store = store
            self._remember_addresses(store)
            folders = settle(self._folders, store.known_roots(), hidden=self._options.hidden)
            names = store.name_roots([path for path, _ in folders])
            roots = [
                Root(name, path, spelling) for name, (path, spelling) in zip(names, folders, strict=True)
            ]
            shared = SharedFolders(
                roots,
                home=self._home,
                max_file_bytes=self._options.max_file_bytes,
                hidden=self._options.hidden,
                ignore=self._options.ignore,
                digests=digests,
                database=self._options.db,
            )
            contents = Contents(shared, self._clock, digests)
            log_of_sent = opened.enter_context(open_sending_log(self._options.db, self._clock))
            self._library = Library(
                shared, contents, log=log_of_sent, on_status=self._on_status, sign=self._sign
            )
            self._tools = Tools(store, on_done=self._report_done, on_fault=self._on_status)
            for root in roots:
                self._on_status(f"sharing {root.spelling} as {root.name}")
            await self._client.serve(task_status=task_status)

    def _remember_addresses(self, store: DeviceStore) -> None:
        """Use the addresses that the known hub at a given address named."""
        try:
            known = self._hubs.at_addresses()
        except BadKnownHubs:
            return  # reported at the first connection
        hub = next((known[address] for address in self._addresses if address in known), None)
        if hub is not None:
            self._key_of_hub = hub.public_key
            named, last = store.addresses(hub.public_key)
            self._client.remember(named, last=last)

    def _meet(self, address: str, public_key: str) -> DeviceHello:
        """Verify the hub by the key it proved, remember a new key, and return the hello.

        Raises:
            HubNotTrusted, BadKnownHubs: the device must not authenticate to this hub.
        """
        assert self._store is not None  # connections are opened only inside serve
        if address not in self._addresses and public_key != self._key_of_hub:
            raise HubNotTrusted(f"the hub at {address} is not the one that named this address")
        hub, before = self._hubs.judge(address, public_key, all_addresses=self._addresses)
        self._key_of_hub = public_key
        is_successor = before is not None and before.public_key != public_key
        self._store.meet(public_key, predecessor=before.public_key if before and is_successor else None)
        if hub != before:
            known = [at for at in self._hubs.addresses_of(public_key) if at != address]
            self._hubs.keep(hub)  # after the store, so that a crash in between repeats both steps
            also = f", which this device knows at {known[-1]}" if known else ""
            self._on_status(f"the key of this hub: {hub.fingerprint}{also}")
        if isinstance(self._credential, KeyCredential) and self._credential.use(self._hubs.path_of(hub)):
            self._on_status(f"the key of this device: {self._credential.identity.shown}")
        self._granted = granted = self._store.granted(self._options.grants if before is None else ())
        return DeviceHello(
            device_id=self._options.name or None,
            protocol=SPOKEN,
            client=ClientProgram(
                name="hub connect",
                version=VERSION,
                platform=platform.system().lower(),
                host=platform.node()[:128],
                instance=self._instance,
            ),
            capabilities=[Capability(name=name) for name in CAPABILITIES],
            store=self._store.mark,
            roots=root_spellings(self._folders, self._home),
            grants=[GrantOfOwner(name=name, tables=tables) for name, tables in granted.items()],
        )

    def _sign(self, text: bytes) -> tuple[str, str] | None:
        """Return this device's public key and its signature over *text*; None for a device with a token."""
        if not isinstance(self._credential, KeyCredential):
            return None
        identity = self._credential.identity
        return keys.encode(identity.public_key), identity.sign(text)

    def _attend(self, line: Line, tasks: TaskGroup) -> Handler:
        assert self._library is not None  # sessions are opened only inside serve
        assert self._tools is not None
        tools = self._tools
        welcome = line.welcome
        readings = Readings(
            self._library, hub=self._key_of_hub, limits=welcome.limits, send=line.send, tasks=tasks
        )
        bench = Bench(line.answer)
        file_calls = FileCalls(self._library, tools, self._key_of_hub)
        hearing = Hearing(line, tools, self._on_status)
        reports = [
            Reporting(line, tools, outbox, self._clock, self._on_status)
            for outbox in (VERDICTS, PLACES, ANSWERS, REPLIES)
        ]
        tasks.start_soon(self._serve_calls, tools, bench, welcome)
        tasks.start_soon(hearing.serve)
        tasks.start_soon(self._follow_grants, tools, tasks)
        tasks.start_soon(self._keep_addresses, tools)
        for reporting in reports:
            tasks.start_soon(reporting.serve)
        tasks.start_soon(self._browser.serve, line)
        socket = self._options.db.with_suffix(pages.SUFFIX)
        key = self._key_of_hub
        tasks.start_soon(pages.serve_links, socket, line, self._client.address, key, self._chance)
        book = ReceiptBook(self._library.log, key, self._on_status)
        tasks.start_soon(book.request_lost, line)
        tasks.start_soon(self._send_heartbeats, line, readings)
        log.info("device.connection.opened", device_id=welcome.device_id, epoch=welcome.epoch)
        self._on_status(f"connected as {welcome.device_id}")
        if self._rotation is not None and self._rotation.is_due:
            tasks.start_soon(self._rotation.ask, line, self._on_status)

        def lay(calls: list[ToolCall]) -> None:
            if refusal := bench.lay(calls):
                tasks.start_soon(line.answer, [(call, refusal) for call in calls])

        def handle(frame: Frame) -> None:
            match frame:
                case AgentRun() | AgentFetch() | AgentCredit() | AgentCancel():
                    if isinstance(frame, AgentRun):
                        for reporting in reports:
                            reporting.poll()
                    readings.take(frame)
                case ToolCall(action=Action.BROWSER_OPEN):
                    tasks.start_soon(self._browser.take, line, frame)
                case ToolCall(action=Action.FILES_LIST | Action.FILES_READ):
                    tasks.start_soon(file_calls.take, line, frame)
                case ToolCall():
                    lay([frame])
                case ToolCalls(calls=calls):
                    lay(calls)
                case Event():
                    hearing.take(frame)
                case AgentReceipt(receipt=receipt):
                    tasks.start_soon(book.keep, receipt)
                case Hubs(hubs=hubs):
                    self._client.learn(hubs)
                    tasks.start_soon(self._keep_addresses, tools)
                case Response():
                    line.accept(frame)
                case _:
                    pass  # unsolicited frames are ignored

        return handle

    async def _serve_calls(self, tools: Tools, bench: Bench, welcome: Welcome) -> None:
        # before any call is answered
        compared = await tools.on_file(DeviceStore.note_welcome, welcome, otherwise=None)
        if compared is not None:
            self._on_status(compared)
        await self._keep_addresses(tools)
        await tools.serve(bench)

    async def _follow_grants(self, tools: Tools, tasks: TaskGroup) -> None:
        """Connect again once the owner has changed the grants, which a hub learns from a hello."""
        while True:
            await self._clock.sleep(POLL_EVERY_S)
            if not await tools.on_file(DeviceStore.is_changed, "grants", otherwise=False):
                continue
            if await tools.on_file(DeviceStore.granted, otherwise=self._granted) != self._granted:
                self._on_status("the grants of the owner have changed; the hub is told in a new connection")
                tasks.cancel_scope.cancel()

    async def _keep_addresses(self, tools: Tools) -> None:
        named, address = self._client.named, self._client.address
        await tools.on_file(DeviceStore.keep_addresses, named, address, otherwise=None)

    async def _send_heartbeats(self, line: Line, readings: Readings) -> None:
        interval_s = max(_MIN_HEARTBEAT_S, line.welcome.heartbeat_interval_ms / 1000)
        while True:
            beats = [AgentBeat(agent_id=agent_id, status="busy") for agent_id in readings.agents]
            await line.send(Heartbeat(agents=beats))
            await self._clock.sleep(interval_s)

    def _report_done(self, call: ToolCall) -> None:
        match call.action:
            case Action.AGENT_WAKE:
                message = f"wake {call.agent_id}: {str(call.data.get('label', ''))[:80]}"
            case Action.MESSAGE_DELIVER:
                message = describe_message(call)
            case Action.USER_ASK:
                message = describe_question(call)
            case Action.FILE_GET | Action.ROWS_LIST | Action.ROWS_KNOWN:
                return  # read-only calls are not reported
            case Action.FILE_PUT:
                message = f"{call.data.get('name')} of {call.agent_id} was written"
            case _:
                title = next(
                    (str(call.data[name]) for name in ("title", "name", "content") if name in call.data),
                    "" if call.review is None else call.review.verdict,
                )
                message = f"{call.action} {call.table}: {title[:80]}".rstrip(": ")
        self._on_status(message)


def run_device(
    options: DeviceOptions,
    *,
    on_status: Callable[[str], None],
    asks: Callable[[str], Awaitable[bool]] | None = None,
) -> int:
    """Run a device until it is interrupted or rejected; return the process's exit code.

    Blocks, and runs its own event loop.

    Args:
        on_status: called with every message for the person at the desktop.
        asks: asks the person a question and returns whether they agree; None: no questions.
    """
    return anyio.run(until_signal, partial(serve_device, options, on_status=on_status, asks=asks), on_status)


async def until_signal(serve: Callable[[], Awaitable[int]], on_status: Callable[[str], None]) -> int:
    """Return the exit code of *serve*, or that of an interrupted device."""
    code = EXIT_DONE
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
        code = await serve()
        tasks.cancel_scope.cancel()
    if code == EXIT_DONE:
        on_status("stopped")
    return code


async def serve_device(
    options: DeviceOptions,
    *,
    on_status: Callable[[str], None],
    asks: Callable[[str], Awaitable[bool]] | None = None,
) -> int:
    """Run a device until it is cancelled or rejected; return the exit code. See ``run_device``."""
    try:
        hubs = KnownHubs(
            options.db.with_suffix(SUFFIX),
            options.key or options.db.with_suffix(".key"),
            is_chosen=options.key is not None,
            accepted=options.accepted,
        )
        key_file = hubs.key_file(dialled(address_of(options.urls[0])))
        device = ReferenceDevice(
            options,
            _credential(options, key_file, on_status),
            clock=SystemClock(),
            chance=SystemChance(),
            on_status=on_status,
            hubs=hubs,
            asks=asks,
        )
    except (BadAddress, BadCredential, BadKnownHubs, ValueError) as error:
        on_status(str(error))
        return EXIT_USAGE
    try:
        await device.serve()
    except TurnedAway as refused:
        again = connect_command(options.name or "NAME", anew=True)
        reason = str(refused).replace(connect_command(anew=True), again)
        on_status(f"not coming back by itself: {reason}")
        return EXIT_FAILED if refused.close == CloseCode.REPLACED else EXIT_NOT_PERMITTED
    except DeviceFileError as error:
        on_status(str(error))
        return EXIT_CANNOT_CREATE
    return EXIT_DONE


def _credential(options: DeviceOptions, file: Path | None, on_status: Callable[[str], None]) -> Credential:
    """Create the credential of the options and read it once, so that its problems are reported first.

    Args:
        file: key of the device; None: it depends on the hub that answers.

    Raises:
        BadCredential: the credential cannot be used.
    """
    if options.token is not None:
        token = TokenCredential(options.token)
        token.read()
        return token
    key = KeyCredential(
        file,
        clock=SystemClock(),
        chance=SystemChance(),
        invitation=options.invitation,
        renews=options.rotates,
    )
    key.read()
    if file is not None:
        on_status(f"the key of this device: {key.identity.shown}")
        if is_open_to_others(file):
            on_status(f"warning: others may read {file}; {restricting(file)}")
    return key


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    await wait_for_stop()
    scope.cancel()
