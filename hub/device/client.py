"""Connection of a device to its hub: authentication, reconnects, and explanations of failures.

The reader never blocks on work: frames go to a handler that only queues them. When a connection ends, all its
work ends; the hub assigns the runs again with a newer fence, so a reconnecting device claims no runs. A
failed connection is explained to the owner in one sentence with a remedy.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    WebSocketException,
)
from websockets.proxy import get_proxy
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.outbound.addresses import unreached
from hub.base.tls_faults import certificate_fault, certificate_fix, trusting
from hub.device.addresses import HubRoute, address_of, connect_elsewhere, is_local
from hub.device.connection import HubConnection
from hub.device.credentials import BadCredential, Credential
from hub.device.known_hubs import BadKnownHubs, HubNotTrusted, check_proof, dialled
from protocol import keys
from protocol.backoff import Backoff, requested_wait_s
from protocol.codec import Codec, for_subprotocol
from protocol.errors import CATALOGUE, CLOSE_MEANINGS, CloseCode, ErrorCode, HubError
from protocol.frame import MAX_MESSAGE_BYTES, Frame
from protocol.handshake import NONCE_HEADER, Challenge, DeviceHello, Goodbye, Welcome, skew_of
from protocol.session import (
    Challenged,
    DeviceSession,
    Ended,
    Leaving,
    Received,
    Refused,
    SessionEvent,
    Welcomed,
)

_OPEN_TIMEOUT_S: Final = 10.0
_PING_S: Final = 15.0  # a ping, and the same time for its pong: a dead connection is detected within 30 s
_PING_OF_SEVERAL_S: Final = 5.0  # the same where another address of the hub can take over
AUTHORITY: Final = ".crt"  # suffix, next to the device's file: certificates to trust for its hub
_TURN_S: Final = 0.5  # most seconds before the next address is tried; spreads the devices of a hub that died
_CLOSE_TIMEOUT_S: Final = 2.0
_STEADY_S: Final = 30.0  # the hub was away since the last connection that lasted this long
_NONCE_BYTES: Final = 32
_LATE_S: Final = 600.0  # a hub that did not answer a hello, as it was frozen, may do so within this time
_HANG_UP_S: Final = 5.0  # wait for the hub's close code after its goodbye
_FINAL: Final = frozenset(code for code in CloseCode if not code.may_return)
_NO_FAILED_TRY: Final = (CloseCode.RESTARTING, CloseCode.PAIRING_REQUIRED)
_MAY_BE_THE_KEY: Final = (CloseCode.REVOKED, CloseCode.PAIRING_REQUIRED)  # the hub may know the next key
_DONE: Final = Ended(CloseCode.NORMAL, "done")

log = Channel(__name__)

Handler = Callable[[Frame], None]
Attend = Callable[[HubConnection, TaskGroup], Handler]


class HubRejection(HubError):
    """Rejection after which the device must not reconnect; ``str()`` gives the reason and a remedy."""

    code = ErrorCode.FORBIDDEN

    def __init__(self, message: str, close: int) -> None:
        super().__init__(message)
        self.close = close


@dataclass
class _ConnectionAttempt:
    """State of one connection attempt: the last messages of the hub, and its end."""

    was_welcome: bool = False
    is_unanswered: bool = False  # the device said hello, and the hub nothing
    was_left: bool = False  # by the device, to say hello anew
    close: int | None = None  # None: the connection broke, or was never established
    reason: str = ""
    distrust: str = ""  # reason why the device did not authenticate
    goodbye: Goodbye | None = None
    pairing_code: str | None = None  # for a person to enter at the hub
    retry_after_ms: int | None = None


class _WithoutRedirects(connect):
    """WebSocket connect without redirects: the token is meant only for the configured address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class DeviceClient:
    """Client that keeps a device connected to its hub and reports events to the person at the desktop.

    Args:
        urls: addresses of one hub, ``ws://`` or ``wss://``; without a path, the hub's default path is used.
        credential: the device's credential, read again for each connection.
        meets: called with the dialled address and the public key that the hub has proved, before the device
            authenticates. Returns the hello without the credential, or raises HubNotTrusted, BadKnownHubs or
            BadCredential.
        attend: called once a session is open; starts its tasks in the group and returns the frame handler.
        authority: file of certificates that the hub's may be signed by, too; it may not exist.

    Raises:
        BadAddress: a URL is invalid.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        codec: Codec,
        credential: Credential,
        meets: Callable[[str, str], DeviceHello],
        attend: Attend,
        clock: Clock,
        chance: Chance,
        on_status: Callable[[str], None],
        why_leaving: Callable[[], str] = lambda: "stopped",
        authority: Path | None = None,
    ) -> None:
        given = [address_of(url) for url in urls]
        self._route = HubRoute(given, chance)
        self._is_in_clear = any(not (is_local(url) or url.startswith("wss:")) for url in given)
        self._codec = codec
        self._credential = credential
        self._pairing_code: str | None = None  # last code shown to the person
        self._skew = ""  # last difference of versions shown to the person
        self._meets = meets
        self._attend = attend
        self._authority = authority
        self._clock = clock
        self._chance = chance
        self._on_status = on_status
        self._backoff = Backoff()
        self._why_leaving = why_leaving

    @property
    def address(self) -> str:
        """URL of the current connection, or of the next one."""
        return self._route.current

    @property
    def named(self) -> Sequence[str]:
        """Addresses that the hub named last."""
        return self._route.named

    def learn(self, named: Sequence[str]) -> None:
        """Use the addresses that the hub names now."""
        self._route.learn(named)

    def remember(self, named: Sequence[str], *, last: str) -> None:
        """Use the addresses that a hub named to this device before, and begin at the *last* one."""
        self._route.learn(named)
        self._route.begin_at(last)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the device connected until cancelled; *started* after the first welcome.

        Raises:
            TurnedAway: the hub's close code forbids a reconnect, or the hub is not trusted.
        """
        if self._is_in_clear:
            self._on_status("warning: the line to this hub is not encrypted; wss:// is")
        away_since = self._clock.monotonic()
        unanswered_until = 0.0  # a hello that is answered late replaces the connection made after it
        while True:
            began = self._clock.monotonic()
            visit = _ConnectionAttempt()
            await self._visit(visit, task_status)
            if visit.distrust:
                if not self._route.leave_out():
                    raise HubRejection(visit.distrust, 0)
                self._on_status(f"warning: {visit.distrust}; this address is not tried again")
            if visit.was_welcome:
                task_status = anyio.TASK_STATUS_IGNORED
            now = self._clock.monotonic()
            if visit.is_unanswered:
                unanswered_until = now + _LATE_S
            elif visit.close == CloseCode.REPLACED and now < unanswered_until:
                visit.close = CloseCode.RESTARTING
            is_steady = visit.was_welcome and now - began >= _STEADY_S
            if visit.was_left or is_steady or visit.close in _NO_FAILED_TRY:
                away_since = now
            draw = self._chance.uniform(0.0, 1.0)
            wait_s = self._backoff.after_close(visit.close, now - away_since, draw, visit.retry_after_ms)
            if wait_s is None:
                is_revoked = visit.close == CloseCode.REVOKED
                if visit.close in _MAY_BE_THE_KEY and (
                    report := self._credential.take_another(is_revoked=is_revoked)
                ):
                    self._on_status(report)
                    continue
                raise HubRejection(_farewell(visit), visit.close or 0)
            where = ""
            to = None if visit.goodbye is None else visit.goodbye.to
            if to is not None and self._route.turn_to(to):
                wait_s = max(requested_wait_s(visit.retry_after_ms), _TURN_S * draw)
                where = f" at {dialled(self._route.current)}"
            elif not visit.was_left and visit.close != CloseCode.PAIRING_REQUIRED and self._route.turn():
                wait_s = _TURN_S * draw
                where = f" at {dialled(self._route.current)}"
            log.info("device.connection.lost", close=visit.close, wait_s=round(wait_s, 1))
            if visit.close == CloseCode.PAIRING_REQUIRED:
                self._show_code(visit.pairing_code)
            else:
                self._on_status(f"not connected ({_farewell(visit)}); next try in {wait_s:.1f} s{where}")
            await self._clock.sleep(wait_s)

    def _show_code(self, code: str | None) -> None:
        """Show a pairing code once; a restarted hub, or a timeout, results in a new code."""
        if code is not None and code != self._pairing_code:
            begins = "this hub does not know the device yet; its"
            if self._pairing_code is not None:
                begins = f"the code {self._pairing_code} has expired and lets nothing in any more; the new"
            self._pairing_code = code
            self._on_status(f"{begins} pairing code is {code}")
            self._on_status(f"to let it in, type at the hub: hub pair approve {code}")

    async def _visit(self, visit: _ConnectionAttempt, task_status: TaskStatus[None]) -> None:
        nonce = keys.encode(self._chance.token_bytes(_NONCE_BYTES))
        url = self._route.current
        ping_s = _PING_S if len(self._route) == 1 else _PING_OF_SEVERAL_S
        try:
            self._credential.read()
            options: dict[str, Any] = {"proxy": None if is_local(url) else True}
            if self._route.is_foreign and get_proxy(parse_uri(url)) is None:
                options = {"proxy": None, "sock": await connect_elsewhere(url)}
            if url.startswith("wss:") and self._authority is not None and self._authority.is_file():
                options["ssl"] = trusting(None)
                options["ssl"].load_verify_locations(self._authority)
            socket = await _WithoutRedirects(
                url,
                additional_headers={NONCE_HEADER: nonce},
                subprotocols=[Subprotocol(self._codec.name)],
                compression=None,
                open_timeout=_OPEN_TIMEOUT_S,
                ping_interval=ping_s,
                ping_timeout=ping_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
                **options,
            )
        except (OSError, WebSocketException, BadCredential, ValueError, ImportError) as error:
            # ValueError: the host or port, also of a proxy, is invalid. ImportError: a SOCKS proxy is
            # configured, but its client library is not installed.
            visit.reason = why_unreachable(url, error)
        else:
            await self._talk(socket, nonce, visit, task_status)

    async def _talk(
        self, socket: ClientConnection, nonce: str, visit: _ConnectionAttempt, task_status: TaskStatus[None]
    ) -> None:
        session = DeviceSession(codec=for_subprotocol(socket.subprotocol), now=self._clock.monotonic())
        line = HubConnection(session, socket)
        address = dialled(self._route.current)
        ended: Ended | None = None
        is_cancelled = visit.was_left = True
        try:
            async with anyio.create_task_group() as tasks:

                def greet(challenge: Challenge) -> None:
                    hello = self._meets(address, check_proof(challenge, address=address, nonce=nonce))
                    skew = skew_of(challenge.protocol, hello.protocol)
                    if skew and skew != self._skew:
                        self._on_status(f"warning: {skew}")
                    self._skew = skew
                    session.greet(self._credential.put_into(hello, challenge))
                    visit.is_unanswered = True

                talk = _Talk(line, visit, tasks, greet, self._attend, self._clock, task_status)
                talk.on_welcome, talk.on_error = self._welcomed, self._on_status
                tasks.start_soon(line.write)
                tasks.start_soon(self._mind_the_time, session, talk)
                await self._read(socket, session, talk)
                ended, visit.was_left = talk.ended, False
                tasks.cancel_scope.cancel()
            is_cancelled = False
        finally:
            # Also after a cancellation, so that the hub need not detect the end by a ping timeout.
            with anyio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                leaving = self._why_leaving() if is_cancelled else "reconnecting"
                await _close(socket, line, ended or session.leave(leaving) or _DONE)
            session.receive_eof(self._clock.monotonic())
            visit.close = socket.close_code if socket.close_code != 1006 else None

    def _welcomed(self, welcome: Welcome) -> None:
        self._credential.welcomed()
        self.learn(welcome.hubs)

    async def _read(self, socket: ClientConnection, session: DeviceSession, talk: "_Talk") -> None:
        with talk.reading:
            try:
                while talk.ended is None:
                    message = await socket.recv()
                    talk.handle_events(session.receive_data(message, self._clock.monotonic()))
            except ConnectionClosed:
                return

    async def _mind_the_time(self, session: DeviceSession, talk: "_Talk") -> None:
        while (deadline := session.next_deadline()) is not None:
            await self._clock.sleep(deadline - self._clock.monotonic())
            talk.handle_events(session.tick(self._clock.monotonic()))


class _Talk:
    """Handler of a session's events on its connection."""

    def __init__(
        self,
        line: HubConnection,
        visit: _ConnectionAttempt,
        tasks: TaskGroup,
        greet: Callable[[Challenge], None],
        attend: Attend,
        clock: Clock,
        task_status: TaskStatus[None],
    ) -> None:
        self.ended: Ended | None = None
        self.reading = anyio.CancelScope()
        self.on_welcome: Callable[[Welcome], None] = lambda welcome: None
        self.on_error: Callable[[str], None] = lambda text: None  # of a welcomed device, which may stay
        self._line = line
        self._visit = visit
        self._tasks = tasks
        self._greet = greet
        self._attend = attend
        self._clock = clock
        self._task_status = task_status
        self._handle: Handler = lambda frame: None

    def handle_events(self, events: list[SessionEvent]) -> None:
        """Handle *events*; never blocks."""
        for event in events:
            if isinstance(event, Welcomed | Refused | Leaving):
                self._visit.is_unanswered = False
            match event:
                case Received(frame):
                    self._handle(frame)
                case Challenged(challenge):
                    try:
                        self._greet(challenge)
                    except (HubNotTrusted, BadKnownHubs, BadCredential) as error:
                        self._visit.distrust = str(error)
                        self.ended = _DONE
                        self.reading.cancel()
                case Welcomed():
                    self._visit.was_welcome = True
                    self.on_welcome(self._line.welcome)
                    self._handle = self._attend(self._line, self._tasks)
                    self._task_status.started()
                case Refused(error):
                    parts = (error.message or error.code, error.hint or _hint(error.code))
                    text = "; ".join(part for part in parts if part)
                    if self._visit.was_welcome:
                        self.on_error(text)
                    else:
                        self._visit.reason = text
                    self._visit.pairing_code = error.pairing_code
                    self._visit.retry_after_ms = error.retry_after_ms
                case Leaving(goodbye):
                    self._visit.goodbye = goodbye
                    self._visit.retry_after_ms = goodbye.retry_after_ms or self._visit.retry_after_ms
                    self._tasks.start_soon(self._hang_up)
                case Ended():
                    self.ended = event
                    self._visit.reason = event.reason
                    self.reading.cancel()
        self._line.wake()

    async def _hang_up(self) -> None:
        await self._clock.sleep(_HANG_UP_S)
        self.reading.cancel()


async def _close(socket: ClientConnection, line: HubConnection, ended: Ended) -> None:
    """Flush the remaining frames and close. Has no effect if the hub closed already."""
    with contextlib.suppress(ConnectionClosed):
        await line.flush()
    await socket.close(ended.code, ended.reason_text)


def _hint(code: str) -> str:
    return next((info.hint for known, info in CATALOGUE.items() if known == code), "")


def _farewell(visit: _ConnectionAttempt) -> str:
    """Describe a connection's end for a person: the goodbye's message, not its machine-readable reason."""
    meaning = next((text for code, text in CLOSE_MEANINGS.items() if code == visit.close), "")
    if (goodbye := visit.goodbye) is None:
        return ": ".join(part for part in (meaning, visit.reason) if part) or "the connection broke"
    text = goodbye.message or meaning or goodbye.reason
    return "; ".join(part for part in (text, _hint(goodbye.reason) if visit.close in _FINAL else "") if part)


PROBLEM: Final = "application/problem+json"  # used only by the operators' interface
_MAX_REASON_CHARACTERS: Final = 300  # characters of a hub's reason
SETTING: Final = "[listen.devices] in the hub's hub.toml says where it listens for devices"
_SEVERAL: Final = "Multiple exceptions: "  # of asyncio, where the addresses of one name fail each for itself


def why_unreachable(url: str, error: Exception) -> str:
    """Explain *error* of a connection attempt to *url*."""
    parts = urlsplit(url)
    where = parts.netloc
    match error:
        case InvalidStatus():
            return _why_not_let_in(where, error)
        case InvalidProxy():
            # The full message repeats the proxy's URL, which may contain a password.
            return f"the proxy that the environment names cannot be used: {error.msg}"
        case InvalidMessage() if parts.scheme == "ws":
            return f"no hub answers at {where} without TLS; if its port speaks TLS, use wss://{where}"
        case ssl.SSLCertVerificationError():
            return f"{certificate_fault(where, error)}; {certificate_fix(error)}"
        case ssl.SSLError() | ConnectionResetError() if parts.scheme == "wss":
            return f"no TLS is spoken at {where}; if it is the hub's port all the same, use ws://{where}"
        case ConnectionRefusedError():
            return f"nothing listens at {where}; is the hub running? {SETTING}"
        case socket.gaierror():
            return f"the host of {where} is not known; is its name spelled right, and is this machine online?"
        case TimeoutError():
            return f"{where} does not answer; is the address right, and does a firewall let it through?"
        case OSError() if error.errno is None and str(error).startswith(_SEVERAL):
            return f"none of the addresses of {where} lets a connection in; is the hub running? {SETTING}"
        case _:
            return unreached(error) or str(error) or type(error).__name__


def _why_not_let_in(where: str, error: InvalidStatus) -> str:
    status = error.response.status_code
    problem = f"the hub's door answered {status}"
    if error.response.headers.get("Content-Type", "").startswith(PROBLEM):
        return f"{problem}: {where} is its port for operators; {SETTING}"
    if status == HTTPStatus.NOT_FOUND:
        return f"{problem}; is this the hub's device address? {SETTING}"
    return f"{problem}: {reason}" if (reason := _reason(error.response.body)) else problem


def _reason(body: bytes | bytearray | None) -> str:
    """Return the reason in a hub's error body, or an empty string if *body* is not a hub's."""
    try:
        return msgspec.json.decode(body or b"", type=_Refusal).error.message[:_MAX_REASON_CHARACTERS]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


class _Reason(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Reason
