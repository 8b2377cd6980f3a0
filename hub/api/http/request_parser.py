"""Parser of HTTP requests: size limits, bytes per second with and without a token, refusals (400, 431, 501).

A connection, also of the webhooks' listener, is limited before its peer is authenticated.

The parser is httptools', in C: parsing costs the loop about as much as reading the bytes. A connection
has an intake budget like that of a device, which bounds what a body costs until the application has refused
it. It sends one request at a time; too many or too long headers are refused (431). An offer of another
protocol is ignored, as RFC 9110 lets a server do: the request is answered, and the connection ends.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Final, cast

from httptools import HttpParserInvalidMethodError, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hub.api.http.access import LET_IN, LIVENESS, PEER_UID, SOCKET_PATH
from hub.base.loop_meter import LoopMeter
from hub.base.web.keep_alive import KEEP_ALIVE
from hub.base.web.problem import ProblemResponse
from hub.links.acceptor import LINGER_S, MAX_LINGERING
from hub.links.connection_limits import MIN_WAIT_S, AdmissionRefused, ConnectionSlot, LivenessSlot
from hub.links.intake import MAX_WAIT_S, Intake
from protocol.errors import ErrorCode

HEAD_S: Final = 30.0  # a client may stall after it connected; a silent connection gives way where places lack
HEADER_BYTES: Final = 16 * 1024  # including the request line
_FRAMING_BYTES: Final = 4 * HEADER_BYTES  # of a request but its body: sizes of chunks, and what follows
HEADERS: Final = 128  # of a request; browsers send about twenty
CHUNKS: Final = 2_048  # of a body: half a microsecond each
# Limits of a connection: reads per second (a read is 1 byte to 256 KiB), and bytes per second.
STRANGER_READS_PER_S, STRANGER_BYTES_PER_S = 50.0, 256.0 * 1024
KNOWN_READS_PER_S, KNOWN_BYTES_PER_S = 2_000.0, 64.0 * 1024 * 1024
_TOO_LONG: Final = f"the address and the headers have at most {HEADER_BYTES} bytes"
_MUCH_FRAMING: Final = f"all of a request but its body has at most {_FRAMING_BYTES} bytes"
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of Linux: pid, uid, gid
_LAST: Final = {"connection": "close"}
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_ANNOUNCED: Final = (KEEP_ALIVE[0].encode(), KEEP_ALIVE[1].encode())


class _RefusedRequest(Exception):
    """A refused request. Raised by callbacks of the parser, which then stops."""

    def __init__(
        self, code: ErrorCode, detail: str, status: int | None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.headers = headers or _LAST


class _PipelinedRequest(Exception):
    """A request that did not wait for the response before it. Raised as ``_RefusedRequest`` is."""


def connection_factory(
    *,
    most_local: int,
    head_s: float,
    on_refusal: Callable[[str, str], None],
    loop: LoopMeter,
) -> type[asyncio.Protocol]:
    """Return the protocol class that uvicorn instantiates for each connection.

    Args:
        most_local: limit on concurrent connections over Unix sockets. Connections over TCP are counted
            before, at the gate.
        head_s: time limit for receiving a request's head, in seconds since the connection opened or the
            request began.
        on_refusal: called with the code and the reason of each refusal.
        loop: meter that is charged with the loop time of reading.
    """
    made = partial(
        BoundedConnection,
        local={},
        most_local=most_local,
        head_s=head_s,
        on_refusal=on_refusal,
        meter=loop,
    )
    return cast(type[asyncio.Protocol], made)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, with these limits.

    Args:
        local: open connections over Unix sockets, those that answered a request last at the end.
        place: the connection's place at the gate of its port; none over a Unix socket.
    """

    def __init__(
        self,
        *args: Any,
        local: "dict[BoundedConnection, None]",
        most_local: int,
        head_s: float,
        on_refusal: Callable[[str, str], None],
        meter: LoopMeter,
        place: ConnectionSlot | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._on_refusal = on_refusal
        self._meter = meter
        self._local, self._most_local = local, most_local
        self._place = place
        self._is_known = place is None
        self._intake = Intake(0)
        self._head_s = head_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = self._headers = self._chunks = 0
        self._is_in_head = False
        self._would_keep_alive = True
        self._is_deaf = False  # further input is dropped
        self._head_end = 0  # in what was read last, of a request that offers HTTP/2 or a WebSocket

    # --- the transport ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        path = transport.get_extra_info("sockname") if uid is not None else None
        self.app_state = self.app_state | {PEER_UID: uid, SOCKET_PATH: path, LET_IN: self._is_let_in}
        self._allow_intake()
        if self._place is not None:
            self._place.give_way = self._give_way
            self._place.rest()
        full = AdmissionRefused("local", f"{self._most_local} connections are open already")
        is_full = uid is not None and len(self._local) >= self._most_local
        if is_full and not any(other._give_way(full) for other in [*self._local]):
            self._refuse(ErrorCode.OVERLOADED, str(full))
            return
        if uid is not None:
            self._local[self] = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        self._local.pop(self, None)
        super().connection_lost(exc)
        if self._place is not None:
            self._place.leave()

    def data_received(self, data: bytes) -> None:
        cause = "operator:socket" if self._place is None else f"network:{self._place.network}"
        wait_s = self._meter.run(cause, self._read, data)
        self._charge(len(data), 0.0 if self._place is None else min(wait_s, MAX_WAIT_S))

    def _read(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        if self._place is not None:
            self._place.wake()
        super().data_received(data)
        if self._head_end:
            self._read_body(data[self._head_end :])
        self._head_bytes += len(data)
        if self._is_in_head and self._head_bytes > HEADER_BYTES:
            self._refuse(ErrorCode.TOO_LARGE, _TOO_LONG, status=431)
        elif self._head_bytes > _FRAMING_BYTES:
            self._refuse(ErrorCode.TOO_LARGE, _MUCH_FRAMING, status=431)

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def _read_body(self, data: bytes) -> None:
        """Read what follows the head of a request that offers another protocol, at which its parser ended.

        Another parser reads it, which was shown no offer; what follows the body is no request to it.
        """
        framing = b"".join(name + b": " + value + b"\r\n" for name, value in self.headers if name in _FRAMING)
        self.parser = HttpRequestParser(
            SimpleNamespace(
                on_chunk_header=self.on_chunk_header,
                on_body=self.on_body,
                on_message_complete=self._end_body,
            )
        )
        self._head_end = 0
        super().data_received(b"POST / HTTP/1.1\r\n%b\r\n%b" % (framing, data))

    def _end_body(self) -> None:
        self.on_message_complete()
        raise _PipelinedRequest  # whatever follows

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser rejected: not HTTP, or an exception raised by a callback."""
        match sys.exc_info()[1]:
            case BaseException(__context__=_PipelinedRequest()):
                self._is_deaf, self.cycle.keep_alive = True, False
                self.cycle.default_headers = self.server_state.default_headers
            case BaseException(__context__=_RefusedRequest() as refused):
                self._refuse(refused.code, str(refused), status=refused.status, headers=refused.headers)
            case HttpParserInvalidMethodError():
                self._refuse(ErrorCode.UNKNOWN_METHOD, "HTTP has no such method", status=501)
            case _:
                self._refuse(ErrorCode.BAD_PARAMS, msg, status=400)

    def _unsupported_upgrade_warning(self) -> None:
        """Note where the head ends. Log nothing: uvicorn's advice to install a library is wrong here."""
        (self._head_end,) = cast(Exception, sys.exc_info()[1]).args

    # --- the parser ---

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            raise _PipelinedRequest
        super().on_message_begin()
        self._head_bytes = self._headers = self._chunks = 0
        self._is_in_head = True
        if self._head_timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > HEADERS:
            raise _RefusedRequest(ErrorCode.TOO_LARGE, f"a request has at most {HEADERS} headers", 431)
        if self._is_in_head:  # what follows a chunked body was in no check of the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            raise _RefusedRequest(ErrorCode.TOO_LARGE, _TOO_LONG, 431)
        self._is_in_head = False
        self._head_is_here()
        turned = self._place.turned if isinstance(self._place, LivenessSlot) else None
        if turned is not None and self.url.partition(b"?")[0] != LIVENESS.encode():
            raise _RefusedRequest(turned.reason, str(turned), None, _headers_of(turned))
        # Of this request: the library would set it once a second, which wakes an idle process.
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().on_headers_complete()
        # A response before the body's end closes the connection: the rest of the body is never read.
        self._would_keep_alive = self.cycle.keep_alive and turned is None and not self.parser.should_upgrade()
        self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Count the chunks of a body: each costs the loop more than its bytes do."""
        self._chunks += 1
        if self._chunks > CHUNKS:
            raise _RefusedRequest(ErrorCode.TOO_LARGE, f"a body has at most {CHUNKS} chunks", 413)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():  # a body may follow
            return
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._would_keep_alive
            if self._would_keep_alive:
                self.cycle.default_headers = [*self.cycle.default_headers, _ANNOUNCED]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._place is not None:
            self._place.rest()
        elif self in self._local:
            self._local[self] = self._local.pop(self)

    # --- the bounds ---

    def _is_let_in(self) -> None:
        """Raise the limits of the connection after a valid token was received."""
        if self._place is not None:
            self._place.vouch()
        if not self._is_known:
            self._is_known = True
            self._allow_intake()

    def _allow_intake(self) -> None:
        rates = (
            (KNOWN_READS_PER_S, KNOWN_BYTES_PER_S)
            if self._is_known
            else (STRANGER_READS_PER_S, STRANGER_BYTES_PER_S)
        )
        self._intake.welcome(*rates, self.loop.time())

    def _charge(self, size: int, wait_s: float) -> None:
        """Charge a read; pause reading while the budget of the connection or of the loop is spent."""
        intake = self._intake
        intake.frames_left -= 1
        intake.bytes_left -= size
        if intake.is_spent:
            wait_s = max(wait_s, intake.refill(self.loop.time()))
        if wait_s and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_later(max(wait_s, MIN_WAIT_S), self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing() and not self.flow.read_paused:
            self.transport.resume_reading()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_s, self._head_is_due)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_way(self, turned: AdmissionRefused) -> bool:
        """Refuse a request that is not here as a whole, and close. Return False while one is answered."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            return False
        self._refuse(turned.reason, str(turned), headers=_headers_of(turned))
        return True

    def _head_is_due(self) -> None:
        """Wait for one more turn of the loop: the head may have come in a pause of the whole process."""
        self._head_timer = self.loop.call_later(MIN_WAIT_S, self._too_slow)

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(ErrorCode.HELLO_TIMEOUT, f"no request came within {self._head_s:g} s")

    def _refuse(
        self,
        code: ErrorCode,
        detail: str,
        *,
        status: int | None = None,
        headers: dict[str, str] = _LAST,
    ) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        self._on_refusal(code, detail)
        self._is_deaf = True
        self._local.pop(self, None)
        is_free = True  # no other response is half written
        if self.cycle is not None:
            is_free = self.cycle.response_complete or not self.cycle.response_started
            self.cycle.disconnected = True  # the application reads no more, and its response is dropped
            self.cycle.message_event.set()
        if is_free:
            self.transport.write(_spelled(ProblemResponse(code, detail, status=status, headers=headers)))
        lingering = sum(getattr(other, "_is_deaf", False) for other in self.connections)
        if is_free and lingering <= MAX_LINGERING and self.transport.can_write_eof():
            self.transport.write_eof()  # closed at once, what the peer still sends would take the response
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


def operator_refusal(turned: AdmissionRefused) -> bytes:
    """Return the HTTP response that refuses a connection before anything was read from it."""
    return _spelled(ProblemResponse(turned.reason, str(turned), headers=_headers_of(turned)))


def _headers_of(turned: AdmissionRefused) -> dict[str, str]:
    return _LAST | {"retry-after": str(max(1, round(turned.retry_s)))}


def _spelled(problem: ProblemResponse) -> bytes:
    head = f"HTTP/1.1 {problem.status_code} {HTTPStatus(problem.status_code).phrase}\r\n".encode()
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in problem.raw_headers)
    return head + headers + b"\r\n" + bytes(problem.body)


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id of the peer; None on any other kind of socket."""
    if connection.family is not socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
