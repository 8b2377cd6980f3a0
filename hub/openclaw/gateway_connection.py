"""Connection to a gateway: opening, requests in flight, liveness, and waits before a reconnect.

Sockets lead to checked addresses only, without proxies or redirects. A connection owns its open requests.
When it ends, all of them end at once, and report whether their frame may have been sent. No request is sent
twice. The reader never waits, and a request that cannot be sent soon is refused.

A supervised connection to a gateway: established, used and re-established as long as needed.

The permanent connection is always needed. A connection on demand is needed while a caller waits for it, and
closes after a minute without use. Neither gives up: after each end, the time of the next attempt is known.
``gateway_errors`` decides the state and the least wait; the growing wait is decided here.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.outbound.addresses import Resolve
from hub.base.outbound.rules import OutboundRules
from hub.base.tls_faults import ca_file_fault, trusting
from hub.openclaw import gateway_errors
from hub.openclaw.frames import (
    CHALLENGE,
    FIRST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    PROTOCOL,
    ROLE,
    TICK_S,
    BadFrame,
    ClientInfo,
    ConnectParams,
    EventFrame,
    GatewayChallenge,
    HelloOk,
    RequestFrame,
    ResponseFrame,
    decode,
    encode,
)
from hub.openclaw.gateway_errors import (
    ConnectionEnd,
    GatewayError,
    GatewayInvalid,
    GatewayRefused,
    GatewayUnreachable,
)
from hub.openclaw.gateway_interface import GatewayProblem, GatewayState, Need
from hub.openclaw.identity import GatewayAddress, GatewayCredentials
from protocol.backoff import Backoff
from protocol.errors import CodedError, ErrorCode, HubError

MAX_IN_FLIGHT: Final = 64  # a gateway refuses every third of 400 concurrent requests
MAX_UNSENT_BYTES: Final = 8 * 1024 * 1024  # eight files of a size beyond manual editing
TICKS: Final = 2  # of silence or unread data, after which a gateway counts as dead
CLOSE_S: Final = 1.0  # for the closing handshake
_MIN_TICK_S, _MAX_TICK_S = 1.0, 120.0  # limits for the tick interval announced by the gateway

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


class ConnectionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters shared by both connections to a gateway.

    Attributes:
        ca_file: trusted certificates; None for this machine's.
    """

    gateway: str
    address: GatewayAddress
    identity: GatewayCredentials
    rules: Callable[[], OutboundRules]
    resolve: Resolve
    ca_file: Path | None
    clock: Clock
    chance: Chance
    metrics: Metrics
    version: str


async def dial(around: ConnectionParameters, alarms: Alarms) -> ClientConnection:
    """Return a socket to the first of the gateway's addresses that answers.

    Raises:
        AddressRefused: no address is allowed; no data was sent.
        CodedError: the file of trusted certificates cannot be used; no data was sent.
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


async def _connect(around: ConnectionParameters, address: str) -> ClientConnection:
    tls: ssl.SSLContext | None = None
    # loaded for each connection, so that a newly trusted certificate needs no restart
    if around.address.is_secure:
        try:
            tls = await anyio.to_thread.run_sync(trusting, around.ca_file)
        except OSError as error:
            raise CodedError(ErrorCode.BAD_SETTINGS, ca_file_fault(around.ca_file, error)) from error
    return await _DirectConnect(
        around.address.url,
        host=address,
        port=around.address.port,
        ssl=tls,
        compression=None,
        proxy=None,
        open_timeout=None,  # covered by CONNECT_S and OPEN_S
        ping_interval=None,  # gateways send ticks, which ``GatewayConnection`` supervises
        close_timeout=CLOSE_S,
        max_size=MAX_FRAME_BYTES,
        max_queue=4,
        write_limit=2
        * MAX_UNSENT_BYTES,  # never reached, because ``GatewayConnection`` refuses requests before
        user_agent_header=None,
    )


class _DirectConnect(connect):
    """WebSocket client without redirects, because the token is only for the configured address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class NotSent(Exception):
    """The connection ended before the request was sent; the request may use the next connection."""


class ConnectionRefused(Exception):
    """The gateway refused the connection."""

    def __init__(self, ending: ConnectionEnd) -> None:
        super().__init__(ending.problem.code)
        self.ending = ending


class Sending(msgspec.Struct):
    """Progress of a request, for callers that time out."""

    has_left: bool = False


class GatewayConnection:
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
        on_event: Callable[[EventFrame], None],
    ) -> None:
        self._socket = socket
        self._gateway = gateway
        self._clock = clock
        self._metrics = metrics
        self._on_event = on_event
        self._open: dict[str, asyncio.Future[ResponseFrame]] = {}
        self._places = anyio.Semaphore(MAX_IN_FLIGHT)
        self._numbered = 0
        self._seq: int | None = None  # of the last event
        self._received_at = self._unsent_at = self.used_at = clock.monotonic()
        self._tick_s = TICK_S
        self._max_payload = FIRST_FRAME_BYTES
        self._serving = anyio.CancelScope()
        self.ending: ConnectionEnd | None = None  # reason, after the end

    @property
    def in_flight(self) -> int:
        """Number of requests without an answer."""
        return len(self._open)

    @property
    def unsent_bytes(self) -> int:
        """Sent bytes that the gateway has not read yet."""
        return self._socket.transport.get_write_buffer_size()

    # --- opening ---

    async def greet(
        self, identity: GatewayCredentials, turn: int, scopes: list[str], version: str
    ) -> HelloOk:
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
            raise ConnectionRefused(_of_closed(closed)) from None
        except BadFrame as error:
            raise ConnectionRefused(gateway_errors.of_opening("the gateway", error)) from None
        self._max_payload = hello.policy.max_payload
        self._tick_s = min(max(hello.policy.tick_interval_ms / 1000, _MIN_TICK_S), _MAX_TICK_S)
        return hello

    async def _challenge(self) -> GatewayChallenge:
        while True:
            frame = decode(await self._socket.recv())
            if isinstance(frame, EventFrame) and frame.event == CHALLENGE:
                return _converted(frame.payload, GatewayChallenge)

    async def _hello(self) -> HelloOk:
        while True:
            match decode(await self._socket.recv()):
                case ResponseFrame(id="connect", ok=True, payload=payload):
                    return _converted(payload, HelloOk)
                case ResponseFrame(id="connect", error=refusal):
                    if refusal is None:
                        raise BadFrame("a refusal without a reason")
                    raise ConnectionRefused(gateway_errors.of_refusal(refusal))

    # --- requests ---

    async def serve(self) -> ConnectionEnd:
        """Read until the connection ends. Return the reason, after ending all open requests."""
        try:
            with self._serving:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch)
                    await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            self.end(gateway_errors.STOPPED)
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
        raise gateway_errors.of_answer(self._gateway, method, response.error)

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

    def end(self, ending: ConnectionEnd) -> None:
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

    def _lost(self, problem: GatewayProblem) -> GatewayError:
        message = f"gateway {self._gateway}: the connection ended before the answer: {problem.message}"
        return GatewayUnreachable(message, gateway=self._gateway, dispatched=True, reason=problem.code)

    # --- reading ---

    async def _read(self) -> None:
        try:
            while True:
                self._handle_frame(await self._socket.recv())
        except ConnectionClosed as closed:
            self.end(_of_closed(closed))

    def _handle_frame(self, message: str | bytes) -> None:
        self._received_at = self._clock.monotonic()
        try:
            frame = decode(message)
        except BadFrame:
            log.warning("gateway.frame_unreadable", gateway=self._gateway, size_bytes=len(message))
            self.end(gateway_errors.of_opening("the gateway", BadFrame()))
            return
        match frame:
            case ResponseFrame(id=id):
                answered = self._open.get(id)
                if answered is not None and not answered.done():  # otherwise the caller has timed out
                    answered.set_result(frame)
            case EventFrame(seq=seq) if seq is not None and self._seq is not None and seq != self._seq + 1:
                log.warning("gateway.events_lost", gateway=self._gateway, after=self._seq, next=seq)
                self._metrics.gateway_event_gaps.inc()
                problem = GatewayProblem("events_lost", "events of the gateway were lost")
                self.end(ConnectionEnd(state="waiting", problem=problem))
            case EventFrame(seq=seq):
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
                self.end(gateway_errors.of_close(gateway_errors.SILENT))
                return
            await self._clock.sleep(min(left_s, self._tick_s / 2))


def _converted(payload: Any, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise BadFrame(str(error)) from error


def _of_closed(closed: ConnectionClosed) -> ConnectionEnd:
    if closed.sent is not None and not closed.rcvd_then_sent:  # closed by this side: a message was too large
        return gateway_errors.of_close(closed.sent.code)
    return gateway_errors.of_close(None if closed.rcvd is None else closed.rcvd.code)


OPEN_S: Final = (
    15.0  # for a connection to become ready, including name resolution; gateways wait as long for ``connect``
)
STEADY_S: Final = 30.0  # a connection that lasted this long resets the backoff
IDLE_S: Final = 60.0  # idle time after which a connection on demand closes
ASK_AGAIN_S: Final = 5.0  # a person who has just approved the hub need not wait for the next attempt
BACKOFF: Final = Backoff(base_s=1.0, cap_s=30.0)  # values of the reference client
_MIN_DRAW: Final = 0.8  # 24 to 30 s at the cap


class NoConnection(Exception):
    """A connection is not available or expected in time; *problem* gives the reason."""

    def __init__(self, state: GatewayState, problem: GatewayProblem, wait_s: float) -> None:
        super().__init__(problem.code)
        self.state = state
        self.problem = problem
        self.wait_s = wait_s


class ConnectionSupervisor:
    """Supervisor of one connection with the given *scopes*.

    Attributes:
        state: state of the connection; None if not needed.
        ending: end of the last connection or attempt; None while ready.
        next_try: monotonic time of the next attempt, while waiting.

    Args:
        on_event: called with each event of the gateway; must not wait.
        on_change: called after a change of the state.
    """

    def __init__(
        self,
        around: ConnectionParameters,
        scopes: tuple[Need, ...],
        *,
        on_demand: bool,
        on_event: Callable[[EventFrame], None],
        on_change: Callable[[], None],
    ) -> None:
        self._around = around
        self._scopes = [str(scope) for scope in scopes]
        self._on_demand = on_demand
        self._on_event = on_event
        self._on_change = on_change
        self._connection: GatewayConnection | None = None
        self._waiters = 0
        self._asked = anyio.Event()
        self._woken = anyio.Event()
        self._changed = anyio.Event()
        self._tried_at = 0.0
        self._logged_reason: str | None = None  # last logged reason for a missing connection
        self._used_token: str | None = None  # device token of the last connection or attempt
        self._turn = 0  # index of the next credential
        self.state: GatewayState | None = None if on_demand else "connecting"
        self.hello: HelloOk | None = None
        self.ending: ConnectionEnd | None = None
        self.next_try: float | None = None

    # --- callers ---

    async def connection(self, deadline: float) -> GatewayConnection:
        """Wait until the connection is ready, and return it.

        Raises:
            NoConnection: no connection is expected before *deadline* (monotonic).
        """
        self._waiters += 1
        try:
            while True:
                if self._connection is not None and self._connection.ending is None:
                    return self._connection
                self._asked.set()
                self._give_up_or_wait(deadline)
                await self._changed.wait()
        finally:
            self._waiters -= 1

    def wake(self) -> None:
        """Retry now, whatever the connection waits for."""
        if self.state not in ("ready", "stopped"):
            self._woken.set()
            self.next_try = None  # callers now wait for the result of this attempt

    def _give_up_or_wait(self, deadline: float) -> None:
        now = self._around.clock.monotonic()
        if self.next_try is None or self.ending is None or self.state is None:
            return
        if self.state == "waiting" and self.next_try <= deadline:
            return
        if self.state == "parked" and self._on_demand and now - self._tried_at >= ASK_AGAIN_S:
            self.wake()
            return
        raise NoConnection(self.state, self.ending.problem, max(self.next_try - now, 0.0))

    # --- supervision ---

    async def keep(self) -> None:
        """Run until cancelled. The connection and all waits for it end before the return."""
        try:
            async with anyio.create_task_group() as tasks:
                await self._keep(Alarms(self._around.clock, tasks))
        finally:
            self.ending, self.next_try = gateway_errors.STOPPED, self._around.clock.monotonic()
            self._move("stopped")

    async def _keep(self, alarms: Alarms) -> None:
        attempt = refused = 0
        self.ending = self.next_try = None
        while True:
            await self._until_requested()
            self._move("connecting")
            self._tried_at = self._around.clock.monotonic()
            ending, ready_s = await self._visit(alarms)
            if ending is None:
                continue  # closed because it was idle
            if ready_s is not None:
                refused = 0
                attempt = 0 if ready_s >= STEADY_S else attempt
            if ending.is_device_lost:
                await self._around.identity.forget(self._used_token)
                self._turn = 0
            if ending.was_shown:
                self._turn += 1
            if ending.was_shown or ending.is_device_lost:
                refused += 1
                if self._may_show_another(ending, refused):
                    ending = msgspec.structs.replace(ending, state="waiting", wait_s=0.0)
            wait_s = self._wait_s(ending, attempt)
            attempt += 1
            self._around.metrics.gateway_connections.labels(ending.state).inc()
            self._log_end(ending, wait_s)
            self.ending = ending
            self.next_try = self._around.clock.monotonic() + wait_s
            self._move(ending.state)
            await self._pause(alarms, wait_s)
            self.next_try = None

    def _may_show_another(self, ending: ConnectionEnd, refused: int) -> bool:
        """Return True if the next attempt can use a credential that was not rejected yet."""
        if ending.is_device_lost:
            return refused == 1 and self._around.identity.has_token
        return refused % self._around.identity.count > 0

    async def _until_requested(self) -> None:
        if not self._on_demand or self._waiters:
            return
        self._asked = anyio.Event()
        if self.ending is not None and self.ending.state == "waiting":
            self.ending = None  # the next caller triggers a new attempt
        self._move(None)
        await self._asked.wait()

    async def _pause(self, alarms: Alarms, wait_s: float) -> None:
        with alarms.move_on_after(wait_s):
            await self._woken.wait()
        self._woken = anyio.Event()  # reset only now: a wake-up during the last attempt ends this pause

    def _wait_s(self, ending: ConnectionEnd, attempt: int) -> float:
        least_s = ending.wait_s * self._around.chance.uniform(1.0, 1.2)
        if ending.state != "waiting":
            return least_s
        return max(least_s, BACKOFF.delay(attempt, self._around.chance.uniform(_MIN_DRAW, 1.0)))

    # --- one connection ---

    async def _visit(self, alarms: Alarms) -> tuple[ConnectionEnd | None, float | None]:
        """Establish one connection and run it to its end.

        Returns:
            The reason of the end, None for an idle connection on demand; and the seconds it was ready, or
            None.
        """
        around = self._around
        connection: GatewayConnection | None = None
        began: float | None = None
        try:
            try:
                with alarms.move_on_after(OPEN_S) as opening:
                    await around.identity.open()
                    self._used_token = around.identity.device_token
                    socket = await dial(around, alarms)
                    connection = GatewayConnection(
                        socket,
                        gateway=around.gateway,
                        clock=around.clock,
                        metrics=around.metrics,
                        on_event=self._on_event,
                    )
                    hello = await connection.greet(around.identity, self._turn, self._scopes, around.version)
                if opening.cancelled_caught:
                    raise TimeoutError
            except ConnectionRefused as refused:
                return self._scrubbed(refused.ending), None
            except (OSError, WebSocketException, HubError, ValueError) as error:
                return gateway_errors.of_opening(around.address.where, error), None
            await around.identity.welcomed(hello.auth.device_token)
            self._used_token = around.identity.device_token
            began = around.clock.monotonic()
            self._became_ready(connection, hello)
            if self._on_demand:
                ending = await self._serve_until_idle(connection)
            else:
                ending = await connection.serve()
            return ending, around.clock.monotonic() - began
        finally:
            self._connection = None
            if connection is not None:
                connection.end(gateway_errors.STOPPED)
                with anyio.move_on_after(2 * CLOSE_S, shield=True):
                    await connection.hang_up()

    async def _serve_until_idle(self, connection: GatewayConnection) -> ConnectionEnd | None:
        is_idle = False

        async def watch() -> None:
            nonlocal is_idle
            while (left_s := connection.used_at + IDLE_S - self._around.clock.monotonic()) > 0 or (
                connection.in_flight
            ):
                await self._around.clock.sleep(max(left_s, ASK_AGAIN_S))
            is_idle = True
            connection.end(gateway_errors.STOPPED)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            ending = await connection.serve()
            tasks.cancel_scope.cancel()
        return None if is_idle else ending

    def _became_ready(self, connection: GatewayConnection, hello: HelloOk) -> None:
        self._connection = connection
        self.hello = hello
        self.ending = self._logged_reason = None
        self._around.metrics.gateway_connections.labels("ready").inc()
        log.info(
            "gateway.connected",
            gateway=self._around.gateway,
            version=hello.server.version,
            boot_id=hello.server.boot_id,
            scopes=hello.auth.scopes,
        )
        self._move("ready")

    def _log_end(self, ending: ConnectionEnd, wait_s: float) -> None:
        if self._logged_reason == ending.problem.code:
            write = log.debug  # already logged for an earlier attempt
        else:
            write = log.info if ending.state == "waiting" else log.warning
        self._logged_reason = ending.problem.code
        write(
            "gateway.disconnected",
            gateway=self._around.gateway,
            state=ending.state,
            reason=ending.problem.code,
            wait_s=round(wait_s, 1),
        )

    def _scrubbed(self, ending: ConnectionEnd) -> ConnectionEnd:
        message = self._around.identity.scrubbed(ending.problem.message)
        return msgspec.structs.replace(
            ending, problem=GatewayProblem(ending.problem.code, message, ending.problem.hint)
        )

    def _move(self, state: GatewayState | None) -> None:
        self.state = state
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        self._on_change()
