"""One live connection to a gateway: opening, multiplexed requests and supervision.

Sockets lead to checked addresses only, without proxies or redirects. A connection owns its open requests.
When it ends, all of them end at once, and report whether their frame may have been sent. No request is sent
twice. The reader never waits, and a request that cannot be sent soon is refused.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.clock import Chance, Clock
from hub.log import Channel
from hub.metrics import Metrics
from hub.openclaw import failures
from hub.openclaw.address import GatewayAddress, Resolve
from hub.openclaw.errors import GatewayError, GatewayInvalid, GatewayRefused, GatewayUnreachable
from hub.openclaw.failures import Ending
from hub.openclaw.frames import (
    CHALLENGE,
    FIRST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    PROTOCOL,
    ROLE,
    TICK_S,
    Challenge,
    ClientInfo,
    ConnectParams,
    Event,
    HelloOk,
    RequestFrame,
    Response,
    Unreadable,
    decode,
    encode,
)
from hub.openclaw.gateway import GatewayState, Problem
from hub.openclaw.identity import Identity
from hub.outbound.rules import OutboundRules

MAX_IN_FLIGHT: Final = 64  # a gateway refuses every third of 400 concurrent requests
MAX_UNSENT_BYTES: Final = 8 * 1024 * 1024  # eight files of a size beyond manual editing
TICKS: Final = 2  # of silence or unread data, after which a gateway counts as dead
CLOSE_S: Final = 1.0  # for the closing handshake
_LEAST_TICK_S, _MOST_TICK_S = 1.0, 120.0  # limits for the tick interval announced by the gateway

log = Channel(__name__)

_Kind = TypeVar("_Kind")

CONNECT_S: Final = 6.0  # per address, so that the next address is tried in time


class Alarms:
    """Time limits by the injected clock, for the tasks of one task group.

    anyio's time limits use the machine's clock, and a limit in its own task group would wrap errors in a
    group. Here the waiting tasks run in the task group of the connection's owner.
    """

    def __init__(self, clock: Clock, tasks: TaskGroup) -> None:
        self._clock = clock
        self._tasks = tasks

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """Cancel the block after *seconds*; its scope's ``cancelled_caught`` is True then."""
        limited, waiting = anyio.CancelScope(), anyio.CancelScope()
        self._tasks.start_soon(self._ring, self._clock.monotonic() + seconds, limited, waiting)
        try:
            with limited:
                yield limited
        finally:
            waiting.cancel()

    async def _ring(self, deadline: float, limited: anyio.CancelScope, waiting: anyio.CancelScope) -> None:
        with waiting:
            await self._clock.sleep(deadline - self._clock.monotonic())
            limited.cancel()


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters shared by both connections to a gateway.

    Attributes:
        tls: TLS configuration; None for this machine's trusted certificates.
    """

    gateway: str
    address: GatewayAddress
    identity: Identity
    rules: Callable[[], OutboundRules]
    resolve: Resolve
    tls: ssl.SSLContext | None
    clock: Clock
    chance: Chance
    metrics: Metrics
    version: str


async def dial(around: Around, alarms: Alarms) -> ClientConnection:
    """Return a socket to the first of the gateway's addresses that answers.

    Raises:
        AddressRefused: no address is allowed; no data was sent.
        OSError, WebSocketException: no address answered as a gateway.
    """
    failure: OSError = ConnectionRefusedError()
    for address in await around.address.judged(around.rules(), around.resolve):
        made: ClientConnection | None = None
        failure = TimeoutError()
        try:
            with alarms.move_on_after(CONNECT_S):
                made = await _connect(around, address)
        except OSError as error:
            failure = error
        if made is not None:
            return made
    raise failure


async def _connect(around: Around, address: str) -> ClientConnection:
    tls: ssl.SSLContext | None = None
    # loaded for each connection, so that a newly trusted certificate needs no restart
    if around.address.is_secure:
        tls = around.tls or await anyio.to_thread.run_sync(ssl.create_default_context)
    return await _Straight(
        around.address.url,
        host=address,
        port=around.address.port,
        ssl=tls,
        compression=None,
        proxy=None,
        open_timeout=None,  # covered by CONNECT_S and OPEN_S
        ping_interval=None,  # gateways send ticks, which ``Connection`` supervises
        close_timeout=CLOSE_S,
        max_size=MAX_FRAME_BYTES,
        max_queue=4,
        write_limit=2 * MAX_UNSENT_BYTES,  # never reached, because ``Connection`` refuses requests before
        user_agent_header=None,
    )


class _Straight(connect):
    """WebSocket client without redirects, because the token is only for the configured address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class NotSent(Exception):
    """The connection ended before the request was sent; the request may use the next connection."""


class Refused(Exception):
    """The gateway refused the connection."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.problem.code)
        self.ending = ending


class Sending:
    """Progress of a request, for callers that time out."""

    __slots__ = ("has_left",)

    def __init__(self) -> None:
        self.has_left = False


class Connection:
    """A connection from the upgrade to its end. Call ``greet``, then ``serve``.

    Args:
        on_event: called with each event in order; must not wait or raise.
    """

    def __init__(
        self,
        socket: ClientConnection,
        *,
        gateway: str,
        clock: Clock,
        metrics: Metrics,
        on_event: Callable[[Event], None],
    ) -> None:
        self._socket = socket
        self._gateway = gateway
        self._clock = clock
        self._metrics = metrics
        self._on_event = on_event
        self._open: dict[str, asyncio.Future[Response]] = {}
        self._places = anyio.Semaphore(MAX_IN_FLIGHT)
        self._numbered = 0
        self._seq: int | None = None  # of the last event
        self._received_at = self._unsent_at = self.used_at = clock.monotonic()
        self._tick_s = TICK_S
        self._max_payload = FIRST_FRAME_BYTES
        self._serving = anyio.CancelScope()
        self.ending: Ending | None = None  # reason, after the end

    @property
    def in_flight(self) -> int:
        """Number of requests without an answer."""
        return len(self._open)

    @property
    def unsent_bytes(self) -> int:
        """Sent bytes that the gateway has not read yet."""
        return self._socket.transport.get_write_buffer_size()

    # --- opening ---

    async def greet(self, identity: Identity, turn: int, scopes: list[str], version: str) -> HelloOk:
        """Authenticate to the gateway.

        Raises:
            Refused: the gateway refused the connection.
        """
        try:
            challenge = await self._challenge()
            shown = identity.show(turn, challenge, scopes)
            params = ConnectParams(
                min_protocol=PROTOCOL,
                max_protocol=PROTOCOL,
                client=ClientInfo(version=version),
                role=ROLE,
                scopes=scopes,
                caps=[],
                auth=shown.auth,
                device=shown.device,
            )
            await self._socket.send(
                encode(RequestFrame(id="connect", method="connect", params=params)), text=True
            )
            hello = await self._hello()
        except ConnectionClosed as closed:
            raise Refused(_of_closed(closed)) from None
        except Unreadable as error:
            raise Refused(failures.of_opening("the gateway", error)) from None
        self._max_payload = hello.policy.max_payload
        self._tick_s = min(max(hello.policy.tick_interval_ms / 1000, _LEAST_TICK_S), _MOST_TICK_S)
        return hello

    async def _challenge(self) -> Challenge:
        while True:
            frame = decode(await self._socket.recv())
            if isinstance(frame, Event) and frame.event == CHALLENGE:
                return _converted(frame.payload, Challenge)

    async def _hello(self) -> HelloOk:
        while True:
            match decode(await self._socket.recv()):
                case Response(id="connect", ok=True, payload=payload):
                    return _converted(payload, HelloOk)
                case Response(id="connect", error=refusal):
                    if refusal is None:
                        raise Unreadable("a refusal without a reason")
                    raise Refused(failures.of_refusal(refusal))

    # --- requests ---

    async def serve(self) -> Ending:
        """Read until the connection ends. Return the reason, after ending all open requests."""
        try:
            with self._serving:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch)
                    await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            self.end(failures.STOPPED)
        assert self.ending is not None
        return self.ending

    async def request(
        self, method: str, params: Mapping[str, Any], traceparent: str, sending: Sending
    ) -> Any:
        """Send one request and return the payload of its answer.

        Raises:
            NotSent: the connection had ended before.
            GatewayError: see ``Gateway.call``.
        """
        async with self._places:
            if self.ending is not None:
                raise NotSent
            self._numbered += 1
            id = f"r{self._numbered}"
            data = self._encoded(RequestFrame(id=id, method=method, params=params, traceparent=traceparent))
            self.used_at = self._clock.monotonic()
            answered = self._open[id] = asyncio.get_running_loop().create_future()
            try:
                # set before the send, because the answer may arrive while the send still waits
                sending.has_left = True
                await self._send(data)
                del data  # release the memory while waiting for the answer
                response = await answered
            finally:
                self._open.pop(id, None)
                if answered.done() and not answered.cancelled():
                    # mark the exception as retrieved, because the caller may have timed out
                    answered.exception()
        if response.ok:
            return response.payload
        if response.error is None:
            message = f"gateway {self._gateway}: {method}: refused without a reason"
            raise GatewayInvalid(message, gateway=self._gateway, dispatched=True)
        raise failures.of_answer(self._gateway, method, response.error)

    def _encoded(self, frame: RequestFrame) -> bytes:
        """Return the encoded frame. Raises GatewayRefused, GatewayUnreachable if it cannot be sent."""
        method = frame.method
        try:
            data = encode(frame)
        except UnicodeEncodeError:  # a lone surrogate
            message = f"the text for gateway {self._gateway} in {method} cannot be encoded"
            raise GatewayRefused(message, gateway=self._gateway, dispatched=False, reason="no_text") from None
        size = len(data)
        if size > self._max_payload:
            message = f"gateway {self._gateway} takes {self._max_payload} bytes; this {method} has {size}"
            raise GatewayRefused(message, gateway=self._gateway, dispatched=False, reason="too_large")
        unsent = self.unsent_bytes
        if unsent and unsent + size > MAX_UNSENT_BYTES:
            self._metrics.limits_reached.labels("gateway_unsent_bytes").inc()
            message = f"gateway {self._gateway} does not read: {unsent} bytes are unsent"
            raise GatewayUnreachable(message, gateway=self._gateway, dispatched=False, reason="slow")
        return data

    async def _send(self, data: bytes) -> None:
        try:
            await self._socket.send(data, text=True)
        except ConnectionClosed as closed:
            self.end(_of_closed(closed))  # also ends this request

    def end(self, ending: Ending) -> None:
        """End the connection for the given reason. Later calls have no effect."""
        if self.ending is not None:
            return
        self.ending = ending
        for answered in self._open.values():
            if not answered.done():
                answered.set_exception(self._lost(ending.problem))
        self._serving.cancel()

    async def hang_up(self) -> None:
        """Close the socket, without a handshake if the gateway is silent."""
        if self.ending is not None and self.ending.problem.code == "silent":
            self._socket.transport.abort()
        await self._socket.close()

    def _lost(self, problem: Problem) -> GatewayError:
        message = f"gateway {self._gateway}: the connection ended before the answer: {problem.message}"
        return GatewayUnreachable(message, gateway=self._gateway, dispatched=True, reason=problem.code)

    # --- reading ---

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._socket.recv())
        except ConnectionClosed as closed:
            self.end(_of_closed(closed))

    def _take(self, message: str | bytes) -> None:
        self._received_at = self._clock.monotonic()
        try:
            frame = decode(message)
        except Unreadable:
            log.warning("gateway.frame_unreadable", gateway=self._gateway, size_bytes=len(message))
            self.end(failures.of_opening("the gateway", Unreadable()))
            return
        match frame:
            case Response(id=id):
                answered = self._open.get(id)
                if answered is not None and not answered.done():  # otherwise the caller has timed out
                    answered.set_result(frame)
            case Event(seq=seq) if seq is not None and self._seq is not None and seq != self._seq + 1:
                log.warning("gateway.events_lost", gateway=self._gateway, after=self._seq, next=seq)
                self._metrics.gateway_event_gaps.inc()
                problem = Problem("events_lost", "events of the gateway were lost")
                self.end(Ending(state=GatewayState.WAITING, problem=problem))
            case Event(seq=seq):
                self._seq = seq if seq is not None else self._seq
                if self.ending is None:
                    self._on_event(frame)

    # --- supervision ---

    async def _watch(self) -> None:
        """End the connection after two ticks without received data, or with sent data left unread."""
        limit_s = TICKS * self._tick_s
        while True:
            now = self._clock.monotonic()
            if not self.unsent_bytes:
                self._unsent_at = now
            left_s = min(self._received_at, self._unsent_at) + limit_s - now
            if left_s <= 0:
                self.end(failures.of_close(failures.SILENT))
                return
            await self._clock.sleep(min(left_s, self._tick_s / 2))


def _converted(payload: Any, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from error


def _of_closed(closed: ConnectionClosed) -> Ending:
    if closed.sent is not None and not closed.rcvd_then_sent:  # closed by this side: a message was too large
        return failures.of_close(closed.sent.code)
    return failures.of_close(None if closed.rcvd is None else closed.rcvd.code)
