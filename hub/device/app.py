"""The reference device assembled: folders, file, connection, reports, exit codes.

People run it until their desktop application speaks the protocol; it also specifies the protocol in code.
"""

import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock, IdFactory, SystemChance, SystemClock
from hub.base.log import Channel
from hub.base.system.files import is_open_to_others, restricting
from hub.base.system.folders import slashed
from hub.base.system.processes import wait_for_stop
from hub.base.version import VERSION
from hub.device import owner_requests
from hub.device.addresses import UnusableHubAddress, address_of
from hub.device.change_hints import ChangeHints
from hub.device.client import AUTHORITY, DeviceClient, Handler, HubRejection
from hub.device.connection import ACTIONS, Bench, HubConnection, Tools
from hub.device.credentials import BadCredential, Credential, KeyCredential, Rotation, TokenCredential
from hub.device.device_file import DeviceFileError, DeviceStore, open_device_store
from hub.device.digests import open_digests
from hub.device.file_calls import FileCalls
from hub.device.folder_watch import FolderWatch
from hub.device.hub_events import Hearing
from hub.device.hub_receipts import ReceiptBook
from hub.device.known_hubs import SUFFIX, BadKnownHubs, HubNotTrusted, KnownHubs, dialled
from hub.device.messages import describe_message, describe_question
from hub.device.place_calls import PlaceCalls
from hub.device.reporting import ANSWERS, PLACES, POLL_EVERY_S, REPLIES, VERDICTS, Reporting
from hub.device.run_reading import Contents, Library, Readings
from hub.device.sending_log import open_sending_log
from hub.device.shared import MAX_FILE_BYTES, Root, SharedFolders, declare, root_spellings, settle
from hub.device.sign_in import Browser
from protocol import keys
from protocol.capabilities import CapabilityName
from protocol.codec import JSON, MSGPACK
from protocol.coordination import AgentBeat, Event, Heartbeat, Response
from protocol.errors import CloseCode, connect_command
from protocol.frame import Frame
from protocol.handshake import SPOKEN, Capability, DeviceHello, GrantOfOwner, Hubs, Welcome
from protocol.handshake import Client as ClientProgram
from protocol.ids import KeyId
from protocol.tool_calls import Action, ToolCall, ToolCalls
from protocol.work import AgentCancel, AgentCredit, AgentFetch, AgentReceipt, AgentRun

log = Channel(__name__)


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
    CapabilityName.PLACES_MANAGE,
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
        roots: folders to share.
        missing: folders that would be shared, and are not there.
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
        settings: the settings file with the places of approved rows; None: the device has none.
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
    settings: Path | None = None
    missing: Sequence[Path] = ()


class ReferenceDevice:
    """Device that serves its folders, stores inserted rows, and stays connected.

    Args:
        on_status: called with short status sentences.
        hubs: the hubs that the device knows.
        asks: asks the owner a question and returns whether they agree; None: no questions.
        why_leaving: returns the word of ``LEAVING`` with which the device leaves once it is cancelled.

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
        why_leaving: Callable[[], str] = lambda: "stopped",
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
        missing = [slashed(os.path.abspath(root)) for root in options.missing]
        self._missing = root_spellings([(path, path) for path in missing], self._home)
        self._clock = clock
        self._chance = chance
        self._on_status = on_status
        self._client = DeviceClient(
            options.urls,
            codec=JSON if options.codec == "json" else MSGPACK,
            credential=credential,
            meets=self._meet,
            attend=self._attend,
            clock=clock,
            chance=chance,
            on_status=self._on_status,
            why_leaving=why_leaving,
            authority=options.db.with_suffix(AUTHORITY),
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
            watch = self._open_watch(opened)
            shared = SharedFolders(
                roots,
                home=self._home,
                max_file_bytes=self._options.max_file_bytes,
                hidden=self._options.hidden,
                ignore=self._options.ignore,
                digests=digests,
                database=self._options.db,
                watch=watch,
            )
            contents = Contents(shared, self._clock, digests)
            log_of_sent = opened.enter_context(open_sending_log(self._options.db, self._clock))
            hints = None if watch is None else ChangeHints(shared, watch, self._clock, self._on_status)
            self._library = Library(
                shared,
                contents,
                log=log_of_sent,
                on_status=self._on_status,
                sign=self._sign,
                missing=self._missing,
                hints=hints,
            )
            self._tools = Tools(store, on_done=self._report_done, on_fault=self._on_status)
            for root in roots:
                self._on_status(f"sharing {root.spelling} as {root.name}")
            await self._client.serve(task_status=task_status)

    def _open_watch(self, opened: ExitStack) -> FolderWatch | None:
        """Return the watch of shared folders; None where the system has none."""
        try:
            watch = FolderWatch()
        except OSError as error:
            log.info("device.folders.not_watched", why=str(error))
            return None
        opened.callback(watch.close)
        return watch

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
            missing=self._missing,
            grants=[GrantOfOwner(name=name, tables=tables) for name, tables in granted.items()],
        )

    def _sign(self, text: bytes) -> tuple[str, str] | None:
        """Return this device's public key and its signature over *text*; None for a device with a token."""
        if not isinstance(self._credential, KeyCredential):
            return None
        identity = self._credential.identity
        return keys.encode(identity.public_key), identity.sign(text)

    def _attend(self, line: HubConnection, tasks: TaskGroup) -> Handler:
        assert self._library is not None  # sessions are opened only inside serve
        assert self._tools is not None
        tools = self._tools
        welcome = line.welcome
        readings = Readings(
            self._library, hub=self._key_of_hub, limits=welcome.limits, send=line.send, tasks=tasks
        )
        bench = Bench(line.answer)
        file_calls = FileCalls(self._library, tools, self._key_of_hub)
        place_calls = PlaceCalls(
            self._options.settings, self._options.db, tools, self._clock, self._on_status, self._key_of_hub
        )
        hints = self._library.hints
        hearing = Hearing(line, tools, self._on_status, None if hints is None else hints.learn_paths)
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
        if hints is not None:
            tasks.start_soon(hints.serve, line)
        tasks.start_soon(self._browser.serve, line)
        socket = self._options.db.with_suffix(owner_requests.SUFFIX)
        key = self._key_of_hub
        tasks.start_soon(owner_requests.serve_links, socket, line, self._client.address, key, self._chance)
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
                    readings.handle_frame(frame)
                case ToolCall(action=Action.BROWSER_OPEN):
                    tasks.start_soon(self._browser.handle_call, line, frame)
                case ToolCall(action=Action.FILES_LIST | Action.FILES_READ):
                    tasks.start_soon(file_calls.handle_call, line, frame)
                case ToolCall(action=Action.PLACES_MANAGE):
                    tasks.start_soon(place_calls.handle_call, line, frame)
                case ToolCall():
                    lay([frame])
                case ToolCalls(calls=calls):
                    lay(calls)
                case Event():
                    hearing.handle_event(frame)
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

    async def _send_heartbeats(self, line: HubConnection, readings: Readings) -> None:
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
            case Action.FILE_GET | Action.ROWS_LIST | Action.ROWS_KNOWN | Action.ROWS_AGENDA:
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
    why_leaving: Callable[[], str] = lambda: "stopped",
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
            why_leaving=why_leaving,
        )
    except (UnusableHubAddress, BadCredential, BadKnownHubs, ValueError) as error:
        on_status(str(error))
        return EXIT_USAGE
    try:
        await device.serve()
    except HubRejection as refused:
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
