"""WebSocket of a device: upgrade rules, sending, closing.

``Transport`` is a connection's view of its socket. ``DeviceSocket`` implements it with ``websockets``:

- Messages sent within one turn of the event loop leave in one write. Sending never waits; the unsent bytes
  are checked before each frame instead.
- Data frames that are whole messages are parsed here, and pings and pongs: the parser of the library takes a
  third of the time of a call. Other frames, messages in fragments, compressed ones and faults are left to it.
- Messages are passed on in the socket's own callback, without a queue and a task switch for each. The
  receiver must not wait, so a device that sends much is slowed down only by TCP.
- All received frames are counted, including control frames. A read with many frames is processed in parts, so
  that one buffer cannot block the event loop.
- Pings are deadlines of the wheel: a task of each connection would cost an idle device more than its pongs.

Check of the WebSocket upgrade request, with error messages for refusals.

Refuses wrong host names (DNS rebinding), foreign origins, tokens in the URL and untrusted forwarding headers,
before any message is exchanged.
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from struct import Struct
from time import thread_time
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.frames import BINARY, DATA_OPCODES, PING, PONG, TEXT, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, OPEN, Event
from websockets.speedups import apply_mask

from hub.links.connection_limits import HEAD_BYTES, RETRY_S, AdmissionRefused, ConnectionSlot
from hub.links.deadline_wheel import DeadlineWheel, Slot
from hub.links.device_link import RoundTrip
from hub.links.hosts import FORWARDING, BadForwarding, Hosts, TrustedProxies
from hub.links.intake import Intake
from hub.links.link_limits import LinkLimits
from protocol.causes import word_of
from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.frame import PATH
from protocol.handshake import NONCE_CHARACTERS, NONCE_HEADER, NONCE_SUBPROTOCOL

_NONCE: Final = re.compile(rf"[A-Za-z0-9_-]{{{NONCE_CHARACTERS}}}")


class RequestRefused(HubError):
    """The upgrade request is refused. *reason* is the error code sent with *status*."""

    code = ErrorCode.FORBIDDEN

    def __init__(
        self,
        reason: ErrorCode,
        message: str,
        *,
        status: HTTPStatus | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status or HTTPStatus(CATALOGUE[reason].http_status)
        self.retry_s = retry_s

    def response(self) -> Response:
        """Return the response for the WebSocket library."""
        headers, body = self._content()
        return Response(self.status.value, self.status.phrase, Headers(headers), body)

    def spelled(self) -> bytes:
        """Return the response as bytes, for a socket from which nothing was read."""
        headers, body = self._content()
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _content(self) -> tuple[dict[str, str], bytes]:
        error = {"code": self.reason, "message": self.message, "hint": CATALOGUE[self.reason].hint}
        body = msgspec.json.encode({"error": error})
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        if self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers["Retry-After"] = str(max(1, round(self.retry_s)))
        return headers, body


class UpgradeRules:
    """Rules for upgrade requests.

    Args:
        hosts: names of this listener, in addition to loopback names and addresses.
        origins: origins of web pages that may connect; devices send none.
        proxies: proxies whose forwarding headers are trusted.
    """

    def __init__(
        self,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        proxies: TrustedProxies | None = None,
    ) -> None:
        self._hosts = Hosts(hosts)
        self._origins = frozenset(origin.lower() for origin in origins)
        self.proxies = proxies or TrustedProxies()

    def dialled(self, request: Request, local: tuple[str, int]) -> tuple[str, str] | None:
        """Return the dialled address and the device's nonce, or None if no proof of the hub is requested.

        Args:
            local: address and port of this end of the connection.

        Raises:
            RequestRefused: the address is not this hub's, or the nonce is malformed.
        """
        nonces = [*request.headers.get_all(NONCE_HEADER), *nonces_offered(request.headers)]
        if not nonces:
            return None
        host = request.headers["Host"].strip().lower()
        if len(nonces) != 1 or not _NONCE.fullmatch(nonces[0]):
            raise RequestRefused(ErrorCode.BAD_PARAMS, f"{NONCE_HEADER} is base64url of 32 bytes, once")
        if not self._hosts.are_of(host, local):
            raise self._wrong_host(host)
        return host, nonces[0]

    def client(self, request: Request, peer: str) -> str:
        """Return the client address of *request* after checking that it may become a WebSocket.

        Args:
            peer: the other end of the socket.

        Raises:
            RequestRefused: the request breaks a rule.
        """
        path, _, query = request.path.partition("?")
        if path != PATH:
            message = f"devices connect to {PATH}"
            raise RequestRefused(ErrorCode.BAD_PARAMS, message, status=HTTPStatus.NOT_FOUND)
        if _has_token(query):
            raise RequestRefused(ErrorCode.TOKEN_IN_URL, "a token in the URL ends up in logs")
        headers = request.headers
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise self._wrong_host(" ".join(hosts))
        if any(origin.lower() not in self._origins for origin in headers.get_all("Origin")):
            raise RequestRefused(ErrorCode.FOREIGN_ORIGIN, "a page of this origin may not connect")
        forwarding = {name: values for name in FORWARDING if (values := headers.get_all(name))}
        try:
            return self.proxies.client(peer, forwarding)
        except BadForwarding as error:
            raise RequestRefused(ErrorCode.UNTRUSTED_PROXY, str(error)) from error

    def _wrong_host(self, host: str) -> RequestRefused:
        return RequestRefused(ErrorCode.WRONG_HOST, self._hosts.refusal(host, "devices"))


def nonces_offered(headers: Headers) -> list[str]:
    """Return the nonces among the subprotocols that a request offers."""
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
    names = [name.strip() for name in offered]
    return [name.removeprefix(NONCE_SUBPROTOCOL) for name in names if name.startswith(NONCE_SUBPROTOCOL)]


def bearer(headers: Headers) -> str | None:
    """Return the token of the ``Authorization`` header, or None."""
    for value in headers.get_all("Authorization"):
        kind, _, token = value.partition(" ")
        if kind.lower() == "bearer":
            return token.strip() or None
    return None


def _has_token(query: str) -> bool:
    """Return True if a name or value in a URL's query looks like a token."""
    return any(
        "token" in name.lower() or value.startswith(("hub_", "Bearer"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )


_FIN: Final = 0x80
WHOLE_TEXT: Final = _FIN | TEXT
WHOLE_BINARY: Final = _FIN | BINARY
_PING, _PONG = _PINGS = (_FIN | PING, _FIN | PONG)
_COMPRESSED: Final = (WHOLE_TEXT, WHOLE_BINARY)  # if compression was negotiated
_CONTROL_BYTES: Final = 125  # of a control frame
_MASKED: Final = 0x80
_HEAD_END: Final = b"\r\n\r\n"
_HEADER_16: Final = Struct("!BBH").pack
_HEADER_64: Final = Struct("!BBQ").pack

PART_BYTES: Final = 512  # 85 pings at most: about a millisecond
CHECKED_BYTES: Final = 2_048  # after which the time of a read is checked, which costs as much as a frame
MAX_PART_BYTES: Final = 32 * 1024  # of a read with few frames
_FEW_FRAMES: Final = 64  # average bytes per frame above which parts may be larger
_JUDGED, _SLOWED, _YIELDED = 1, 2, 4  # reasons for a pause of reading; can be combined
MAX_TURN_S: Final = 0.01  # CPU time for long reads of all devices in a turn of the loop; the rest waits

_JOINED_BYTES: Final = 65_536  # always joined into one write
_PIECE_BYTES: Final = 4_096  # average size of headers and data above which separate writes are cheaper
_NO_PONG: Final = "keepalive ping timeout"
_TOO_MANY_PARTS: Final = "too many fragments"
# By the close code: words of protocol.causes.
_BREACHES: Final = {1002: "bad_frame", 1007: "bad_frame", int(CloseCode.TOO_LARGE): "too_large"}
_HEAD_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class _Turn:
    """Share of long reads in the current turn of an event loop, which all devices have together.

    Attributes:
        until: CPU time of the thread at which the share is used up.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # None: no long read in this turn yet
        self.until = 0.0

    def is_spent(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin a long read; return True if others used up the share of this turn."""
        if self._loop is loop:
            return thread_time() > self.until
        self._loop, self.until = loop, thread_time() + MAX_TURN_S
        loop.call_soon(self._end)
        return False

    def _end(self) -> None:
        self._loop = None


_TURN: Final = _Turn()


class DeviceSocket(ServerConnection):
    """A WebSocket on top of the websockets library (17.x). Only ``wait_closed`` waits.

    Attributes:
        place: counted place of the connection; released when the socket is closed.
        address: of the device, as given by the socket or a trusted proxy.
        limits: limits with which the socket was created.
        intake: remaining allowance for received data.
        dialled: address that the device dialled, and its nonce, if it requested the hub's proof.
        room: lower bound of the bytes that may be sent before the device counts as full. Below 0, ask
            ``is_full``.
        is_head_too_long: True if the upgrade request was too long and was answered with 431.
    """

    # Without slots for these, instances would lose their shared-key dictionary.
    __slots__ = (
        "_alarm",
        "_begun",
        "_begun_size",
        "_cut",
        "_early",
        "_flush_due",
        "_foreign_bytes",
        "_fragments",
        "_frame_room",
        "_is_split",
        "_later",
        "_lost",
        "_ping",
        "_ping_every_s",
        "_pinged_at",
        "_pings",
        "_pong_within_s",
        "_ponged_at",
        "_receive",
        "_spent",
        "_stopped",
        "_unflushed_bytes",
        "_unread",
        "_wheel",
        "address",
        "dialled",
        "intake",
        "is_head_too_long",
        "limits",
        "place",
        "room",
    )

    def __init__(
        self,
        *args: Any,
        limits: LinkLimits,
        place: ConnectionSlot,
        address: str,
        wheel: DeadlineWheel,
        ping_every_s: float | None,
        pong_within_s: float | None,
        **options: Any,
    ) -> None:
        super().__init__(*args, ping_interval=None, **options)
        self.place = place
        self.address = address
        self.dialled: tuple[str, str] | None = None
        self.is_head_too_long = False
        self.intake = Intake(HEAD_BYTES)
        self.limits = limits
        self._early: list[bytes] = []  # messages before ``attach``: a few loop turns at most
        self._receive: Callable[[bytes], None] = self._early.append
        self._lost: Callable[[], None] | None = None
        self._spent: Callable[[], None] | None = None
        self._fragments: list[bytes] | None = None
        self._is_split = False  # reads are split into frames here, since the answer to the request
        self._begun: bytearray | None = None  # a frame of which the header or the end is missing
        self._begun_size = 0  # bytes until then
        self._foreign_bytes = 0  # that the library still needs for the frame that it has begun
        self._stopped = 0
        self._wheel = wheel
        self._ping_every_s, self._pong_within_s = ping_every_s, pong_within_s
        self._alarm: Slot | None = None
        self._pings = 0  # sent so far
        self._ping: bytes | None = None  # the one that is not answered
        self._pinged_at = 0.0  # monotonic time of the wheel
        self._ponged_at: float | None = None
        self._unread: bytes | bytearray | None = None  # data read but not processed during a pause
        self._unflushed_bytes = 0
        self._flush_due = False
        # that a frame takes besides its size, so that neither limit is passed before it is asked for
        self._frame_room = limits.outgoing_bytes // limits.outgoing_frames
        self.room = 0
        self._cut: asyncio.TimerHandle | None = None
        self._later: asyncio.TimerHandle | None = None
        self.drain_waiters = []  # type: ignore[assignment]  # an empty deque takes 600 bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages = _NO_QUEUE  # type: ignore[assignment]  # unused, and takes 1 KiB
        self.place.give_way = self._give_way

    def attach(
        self, receive: Callable[[bytes], None], lost: Callable[[], None], spent: Callable[[], None]
    ) -> None:
        """Pass every message to *receive* from now on, and call *lost* once the socket is closed.

        *spent* is called when a device exceeds its allowance. None of the callbacks may wait or raise.
        Earlier messages are passed on at once.
        """
        self._receive, self._lost, self._spent = receive, lost, spent
        early, self._early = self._early, []
        for data in early:
            receive(data)
        if self.connection_lost_waiter.done():  # closed before ``attach``
            self._lost = None
            lost()

    def send_frame(self, data: bytes, first: int) -> None:
        """Send a frame with the others of this loop turn. Dropped if the socket is closing.

        Args:
            first: first byte of its header, such as WHOLE_TEXT.
        """
        protocol, size = self.protocol, len(data)
        if protocol._state is not OPEN:  # the public property takes a call for each frame
            return
        if protocol.extensions and first in _COMPRESSED:  # which changes data and header
            frame = Frame(Opcode(first - _FIN), data)
            protocol.writes.append(frame.serialize(mask=False, extensions=protocol.extensions))
        else:  # without a copy and an object per frame
            if 126 <= size < 65_536:
                protocol.writes.append(_HEADER_16(first, 126, size))
            else:
                protocol.writes.append(_header(first, size))
            if data:  # an empty entry would close the socket
                protocol.writes.append(data)
        self._unflushed_bytes += size
        self.room -= size + self._frame_room
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.send_data)

    def send_data(self) -> None:
        """Send all queued data in one write; called by the library too, for pongs and closes.

        A few large frames are not joined, because the copy would double their memory for a moment. The
        answer to the request waits for the challenge, which follows in this loop turn.
        """
        if self.response is not None and self.protocol._state is OPEN and not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.send_data)
            return
        self._flush_due = False
        writes, size = self.protocol.writes, self._unflushed_bytes
        if not writes:
            return
        self._unflushed_bytes = 0
        # an empty entry at the end requests a half-close
        if writes[-1] and (size <= _JOINED_BYTES or size <= len(writes) * _PIECE_BYTES):
            self.protocol.writes = []
            self.transport.write(b"".join(writes))
        else:
            super().send_data()

    def is_full(self) -> bool:
        """Return True if so many bytes are unsent that nothing should be added."""
        limits = self.limits
        frames = limits.outgoing_frames - len(self.protocol.writes) // 2  # of a header and its data
        octets = limits.outgoing_bytes - self.buffered()
        self.room = min(octets, frames * self._frame_room - 1)
        return octets < 0 or frames <= 0

    def buffered(self) -> int:
        """Return the sent bytes that have not left the process."""
        return self._unflushed_bytes + self.transport.get_write_buffer_size()

    def forget_handler(self) -> None:
        """Remove the current task from those that the library's server waits for."""
        if (task := asyncio.current_task()) is not None:
            self.server.handler_tasks.discard(task)

    def forget_request(self) -> None:
        """Drop the headers, which take 1 KiB per connection and may have a token."""
        self.request, self.response = Request(PATH, Headers()), None

    def welcome(self, now: float) -> None:
        """Allow messages up to the size announced in the welcome, and set the rates of a device."""
        limits, protocol = self.limits, self.protocol
        protocol.max_message_size = limits.message_bytes
        self.intake.welcome(
            limits.frames_per_s, limits.bytes_per_s, now, is_compressed=bool(protocol.extensions)
        )

    def pause(self) -> None:
        """Pause reading while a hello is authenticated. Data already read is still passed on."""
        self._stop(_JUDGED)

    def resume(self) -> None:
        """Resume reading."""
        self._start(_JUDGED)

    def slow_down(self, seconds: float) -> None:
        """Pause reading for *seconds*, without counting the device as silent. Data already read is kept."""
        self._stop(_SLOWED)
        if self._later is not None:
            self._later.cancel()
        # An exact timer: with the wheel, all slowed connections would resume in the same tick.
        self._later = self.loop.call_later(seconds, self.go_on)
        # The device is alive, and its pong may be behind unread data.
        if self._ping is not None:
            self.acknowledge_pings(self._ping)

    def go_on(self) -> None:
        """End the pause of ``slow_down`` early."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._start(_SLOWED)

    def hang_up(self, code: CloseCode, reason: str, within_s: float) -> None:
        """Send the close frame after all queued data; cut the socket after *within_s*."""
        if self.protocol.state is OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()
        if self._cut is None:
            self._cut = self.loop.call_later(within_s, self.abort)

    def received_close_code(self) -> int | None:
        """Return the code of the close frame that the device sent, or None."""
        frame = self.protocol.close_rcvd
        return None if frame is None else frame.code

    def word(self) -> str | None:
        """Return why one side closed, as a word: the device on purpose, or this one for a breach; or None."""
        if not self.protocol.close_rcvd_then_sent and (own := self.protocol.close_sent) is not None:
            return _BREACHES.get(own.code)
        frame = self.protocol.close_rcvd
        return None if frame is None else word_of(frame.reason)

    def breach(self) -> str:
        """Return the device's breach of WebSocket for which this side closed; empty if there is none."""
        return "" if self.protocol.parser_exc is None else str(self.protocol.parser_exc)

    def close_is_answered(self) -> bool:
        """Return True if the device answered this side's close frame, so that its program lives."""
        return self.protocol.close_rcvd is not None and not self.protocol.close_rcvd_then_sent

    def exceeded(self) -> str | None:
        """Return the name of the limit over which this side closed, or None."""
        frame = self.protocol.close_sent
        if frame is None:
            return None
        if frame.code == CloseCode.FAULT and frame.reason == _NO_PONG:
            return "ping_timeout_s"
        if frame.code != CloseCode.TOO_LARGE:
            return None
        if frame.reason == _TOO_MANY_PARTS:
            return "message_fragments"
        return "hello_bytes" if self.intake.is_stranger else "message_bytes"

    def abort(self) -> None:
        """Cut the socket. Unsent data is lost."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        intake = self.intake
        intake.bytes_left -= len(data)
        if self._unread is not None:  # paused already
            self._unread += data
        elif self._is_split and self._begun is None:
            self._take_frames(data)
        elif intake.bytes_left < 0 and self.request is None:
            self._refuse_head()
            return
        else:
            self._feed(data)
        if intake.frames_left < 0 or intake.bytes_left < 0:
            self._check_intake()

    def process_event(self, event: Event) -> None:
        """Process a parsed event; called by the library. Data is passed to the attached receiver."""
        self.intake.frames_left -= 1
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            if isinstance(event, Request):
                self.intake.greet(self.limits.hello_bytes)
            elif isinstance(event, Frame) and event.opcode is PING:
                self._limit_pongs()
        elif event.fin and self._fragments is None:
            self._receive(bytes(event.data))
        else:
            self._assemble(event)

    # --- pings ---

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection, or None before the first."""
        if self._ponged_at is None:
            return None
        return RoundTrip(self.latency, self._wheel.monotonic() - self._ponged_at)

    def start_keepalive(self) -> None:
        """Send pings to the device from now on, and close the connection when a ping stays unanswered."""
        self._pinged_at = self._wheel.monotonic()
        if self._ping_every_s is not None:
            self._alarm = self._wheel.add_after(self, self._ping_every_s)

    def on_deadline(self) -> None:
        """Send the next ping, or close because the last one was not answered; called by the wheel."""
        if self.protocol.state is not OPEN or self._ping_every_s is None:
            return
        within_s = self._pong_within_s
        age_s = self._wheel.monotonic() - self._pinged_at
        is_awaited = self._ping is not None and within_s is not None
        wait_s = (within_s if is_awaited and within_s else self._ping_every_s) - age_s
        if wait_s <= 0:
            if is_awaited:
                self.protocol.fail(CloseCode.FAULT, _NO_PONG)
                self.send_data()
                self._cut = self._cut or self.loop.call_later(self.limits.close_s, self.abort)
                return
            self._pings = (self._pings + 1) & 0xFFFFFFFF
            self._ping, self._pinged_at = self._pings.to_bytes(4), self._wheel.monotonic()
            self.send_frame(self._ping, _PING)
            wait_s = within_s or math.inf
        self._alarm = self._wheel.add_after(self, min(wait_s, self._ping_every_s))

    def acknowledge_pings(self, data: bytes) -> None:
        """Note when the device answered a ping; called by the library, also for pongs without a ping."""
        if data == self._ping:
            self._ping = None
            self._ponged_at = self._wheel.monotonic()
            self.latency = self._ponged_at - self._pinged_at

    def _take_control(self, first: int, data: bytes) -> None:
        """Process a ping or a pong, as the library would."""
        self.intake.frames_left -= 1
        if first == _PONG:
            self.acknowledge_pings(data)
            return
        self.send_frame(data, _PONG)
        self._limit_pongs()

    def _limit_pongs(self) -> None:
        """Spend the allowance of a device that sends pings, and reads none of the pongs."""
        if self._unflushed_bytes > _JOINED_BYTES:  # the socket may take them
            self.send_data()
        if self.is_full():
            self.intake.frames_left = min(self.intake.frames_left, -1)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.place.leave()
        for timer in (self._cut, self._later):
            if timer is not None:
                timer.cancel()
        if self._alarm is not None:
            self._alarm.discard(self)
        self._unread = self._begun = None
        self._receive, lost, self._lost = _drop, self._lost, None
        if lost is not None:
            lost()

    def _assemble(self, part: Frame) -> None:
        """Collect a fragmented message; the library has checked the order and total size."""
        if self._fragments is None:
            self._fragments = []
        self._fragments.append(bytes(part.data))
        if part.fin:
            data, self._fragments = b"".join(self._fragments), None
            self._receive(data)
        elif len(self._fragments) >= self.limits.message_fragments and self.protocol.state is OPEN:
            self.protocol.fail(CloseCode.TOO_LARGE, _TOO_MANY_PARTS)
            self.send_data()

    # --- reading ---

    def _feed(self, data: bytes | bytearray) -> None:
        """Process what was read. If reading pauses, the rest is kept."""
        at = 0
        while self._begun is not None:  # only its own bytes are copied; twice if its header was cut
            end = at + self._begun_size - len(self._begun)
            self._begun += memoryview(data)[at:end]
            if end > len(data):
                return
            at, whole, self._begun = end, self._begun, None
            self._take_frames(whole)
            if self._unread is not None:
                self._unread += data[at:]
            if at == len(data) or self._unread is not None:
                return
            if self._begun is None and self.intake.frames_left < 0:
                self._unread = data[at:]
                return
        if self.protocol.state is CONNECTING:
            _take_in(self, data)
            # Of a client that does not wait for the answer, the library has perhaps begun a frame.
            self._is_split = self.request is not None and data.endswith(_HEAD_END)
        elif self._is_split:
            self._take_frames(data, at)
        else:
            self._take_in_parts(data)

    def _take_frames(self, data: bytes | bytearray, at: int = 0) -> None:
        """Process frames: those that are a whole message here, others by the library.

        A frame of which the header or the end is missing is kept until it is complete; so only whole frames
        are passed to the library, or all parts of a long one.
        """
        intake, protocol, size = self.intake, self.protocol, len(data)
        if size > CHECKED_BYTES and _TURN.is_spent(self.loop):
            self._unread = data[at:]
            self._yield()
            return
        until = _TURN.until if size > CHECKED_BYTES else math.inf
        check_at = at + CHECKED_BYTES
        while at < size:
            if protocol._state is not OPEN:
                self._take_in_parts(data[at:])
                return
            if self._foreign_bytes:
                end = min(at + self._foreign_bytes, size)
                self._foreign_bytes -= end - at
                _take_in(self, data[at:end])
            else:
                start = at + 6  # of the payload: after two bytes, the rest of the length, and the mask
                second = data[at + 1] if at + 1 < size else 0
                length = second & 0x7F
                if length > 125:
                    start += 2 if length == 126 else 8
                if start > size:
                    self._begun, self._begun_size = bytearray(memoryview(data)[at:]), start - at
                    return
                if length == 126:
                    length = data[at + 2] << 8 | data[at + 3]
                elif length == 127:
                    length = int.from_bytes(data[at + 2 : at + 10])
                end = start + length
                first = data[at]
                if (
                    (first != WHOLE_TEXT and first != WHOLE_BINARY)
                    or second < _MASKED
                    or length > (protocol.max_message_size or 0)
                    or protocol.current_size is not None  # within a message in fragments
                ):
                    if first not in _PINGS or second < _MASKED or length > _CONTROL_BYTES or end > size:
                        self._foreign_bytes = end - at
                        continue
                    self._take_control(first, apply_mask(data[start:end], data[start - 4 : start]))
                elif end > size:
                    self._begun, self._begun_size = bytearray(memoryview(data)[at:]), end - at
                    return
                else:
                    intake.frames_left -= 1
                    masked = data[start:end] if length < _PIECE_BYTES else memoryview(data)[start:end]
                    self._receive(apply_mask(masked, data[start - 4 : start]))
            at = end
            if intake.frames_left < 0 and at < size:
                self._unread = data[at:]
                return
            if at > check_at and at < size:
                check_at = at + CHECKED_BYTES
                if thread_time() > until:
                    self._unread = data[at:]
                    self._yield()
                    return

    def _take_in_parts(self, data: bytes | bytearray) -> None:
        """Pass a long read to the library in parts; stop and keep the rest if the allowance is exceeded."""
        intake, view, at, size = self.intake, memoryview(data), 0, PART_BYTES
        began = thread_time()
        while at < len(view):
            before = intake.frames_left
            _take_in(self, view[at : at + size])
            at += size
            if intake.frames_left < 0 and at < len(view):
                self._unread = bytes(view[at:])
                return
            if at < len(view) and thread_time() - began > MAX_TURN_S:
                self._unread = bytes(view[at:])
                self._yield()
                return
            is_sparse = (before - intake.frames_left) * _FEW_FRAMES <= size
            size = min(2 * size, MAX_PART_BYTES) if is_sparse else PART_BYTES

    def _give_way(self, turned: AdmissionRefused) -> bool:
        """Refuse a request that has not arrived, and close. Return False if it has."""
        if self.request is not None:
            return False
        refusal = RequestRefused(turned.reason, str(turned), retry_s=turned.retry_s)
        self.transport.write(refusal.spelled())
        self.transport.close()
        return True

    def _refuse_head(self) -> None:
        """Answer an upgrade request that is too long with 431, and close."""
        self.is_head_too_long = True
        self.transport.write(_HEAD_TOO_LONG)
        self.transport.close()

    def _check_intake(self) -> None:
        """Throttle a device that exceeded its allowance; stop reading from a stranger."""
        while self.intake.is_spent and not self._stopped & _SLOWED:
            if self.intake.is_stranger or self._spent is None:
                self._stop(_SLOWED)
            else:
                self._spent()
            if not self._stopped:  # the accrued allowance was enough
                self._take_unread()

    def _take_unread(self) -> None:
        if self._unread is not None:
            data, self._unread = self._unread, None
            self._feed(data)

    def _yield(self) -> None:
        """Pause reading until other tasks have run."""
        self._stop(_YIELDED)
        self.loop.call_soon(self._start, _YIELDED)

    def _stop(self, why: int) -> None:
        if not self._stopped and not self.transport.is_closing():  # uvloop would raise
            self.transport.pause_reading()
        self._stopped |= why

    def _start(self, why: int) -> None:
        """Clear a reason for the pause; if it was the last one, process kept data and resume reading."""
        if not self._stopped & why:
            return
        self._stopped &= ~why
        if not self._stopped:
            self._take_unread()
            self._check_intake()
        if not self._stopped and not self.transport.is_closing():
            self.transport.resume_reading()


def _header(first: int, length: int) -> bytes:
    """Return the header of an unmasked frame (RFC 6455, 5.2) of an unusual length."""
    return bytes((first, length)) if length < 126 else _HEADER_64(first, 127, length)


class _NoQueue:
    """Replacement for the library's message queue, because messages are passed on directly."""

    def close(self) -> None:
        """Ignore the call, which the library requires: the queue is always empty."""


_NO_QUEUE: Final = _NoQueue()
_Take = Callable[[ServerConnection, bytes | bytearray | memoryview], None]
# accepts any buffer, although its annotation says bytes
_take_in: Final = cast(_Take, ServerConnection.data_received)


def _drop(data: bytes) -> None:
    """Ignore data that is still parsed after the socket was closed."""
