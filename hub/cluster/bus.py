"""Connection between the nodes of a database over NATS: sealed messages, limits, reconnects.

The database alone has the truth: a lost hint costs a second, and a request that no node answers is refused.
Nothing waits for NATS longer than a time limit, and everything else goes on without it.

Each process has a subject of its own, and all have one together. A message is sealed by a key of the
database and bound to its subject: a client of NATS alone can neither read a message nor forge one, nor
have a request answered that it saw before.
"""

import hmac
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

import anyio
import msgspec
import nats.errors
from anyio.abc import TaskGroup, TaskStatus
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nats.aio.client import Client
from nats.aio.msg import Msg

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.cluster.messages import RENEWALS, BusReply, BusRequest, Hint, Message, NodeUnreachable
from protocol.errors import first_error
from protocol.ids import BootId

log = Channel(__name__)

CONNECT_S: Final = 5.0
CLOSE_S: Final = 1.0
RETRY_S: Final = 1.0  # and up to twice as long
PING_S: Final = 5  # a connection whose two last pings have no answer is closed
LAG_S: Final = 0.5  # beyond a time limit, from which on this process was late itself
REACH_S: Final = 2  # for the answer to a ping, before a request and at each check
MAX_BYTES: Final = 1_000_000  # of a message; a server of NATS takes 1 MiB by default
MAX_HINTS: Final = 1_000  # that wait to be sent; the oldest ones are dropped
MAX_WAITING: Final = 1_000  # messages that wait to be read; further ones are dropped
MAX_REQUESTS: Final = 64  # of other nodes that are answered at once
MAX_KNOWN: Final = 100_000  # requests by their nonces: none of them is answered again
NONCE_BYTES: Final = 12


class Forged(Exception):
    """A message that no process with access to the database sealed for this subject."""


class Member(NamedTuple):
    """A hub process as a member of the bus. *secret*: of the database, equal at all members."""

    hub_id: str
    boot_id: BootId
    secret: bytes

    @property
    def everybody(self) -> str:
        """Subject of the messages to all processes of the hub."""
        return f"hub.{self.hub_id}.all"

    def subject_of(self, boot_id: BootId) -> str:
        """Return the subject of the messages to one process."""
        return f"hub.{self.hub_id}.{boot_id}"


class Bus:
    """Hints and requests to the other hub processes of a database.

    Args:
        client: creates a client of NATS for each connection.
        on_hint: called with each hint of another process; must not wait.
        on_request: answers a request of another process.

    Attributes:
        refused: number of messages that no process of this hub sealed, or of another release.
        lost_since: since when there is no connection; None while there is one.
        problem: why the last connection was not made; empty: it was.
    """

    def __init__(
        self,
        url: str,
        member: Member,
        *,
        clock: Clock,
        chance: Chance,
        client: Callable[[], Client] = Client,
        on_hint: Callable[[Hint], None] = lambda _: None,
        on_request: Callable[[BusRequest], Awaitable[BusReply]] | None = None,
    ) -> None:
        self.loop = LoopReports(clock)
        self.on_hint = on_hint
        self.on_request = on_request
        self.lost_since: datetime | None = clock.now()
        self.problem = ""
        self._last_error: Exception | None = None
        self._url = url
        self._member = member
        self._own = member.subject_of(member.boot_id)
        self._cipher = ChaCha20Poly1305(hmac.digest(member.secret, b"bus", "sha256"))
        self._clock = clock
        self._chance = chance
        self._make_client = client
        self._client: Client | None = None
        self._hints: deque[tuple[str, Hint]] = deque(maxlen=MAX_HINTS)
        self._has_hints = anyio.Event()
        self._answering = 0
        self._known: dict[bytes, None] = {}  # nonces of requests, the oldest first
        self.refused = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the connection until cancelled; a hub starts without it."""
        self.loop.wait()
        task_status.started()
        while True:
            try:
                await self._serve_once()
            except* (nats.errors.Error, OSError, TimeoutError) as errors:
                error = first_error(self._last_error or errors)
                self.problem = str(error) or type(error).__name__
                log.debug("bus.unreachable", why=self.problem)
            await self._clock.sleep(self._chance.uniform(RETRY_S, 2 * RETRY_S))

    def hint(self, hint: Hint, to: BootId | None = None) -> None:
        """Send a hint to one process, or to all others. It is dropped without a connection."""
        if self._client is None:
            return
        subject = self._member.everybody if to is None else self._member.subject_of(to)
        self._hints.append((subject, hint))
        self._has_hints.set()

    async def ask(self, to: BootId, request: BusRequest, within_s: float) -> BusReply:
        """Return the response of another process to a request.

        Raises:
            NodeUnreachable: there is no connection, or no answer in time.
        """
        await self.check()
        client, subject = self._client, self._member.subject_of(to)
        if client is None:
            raise NodeUnreachable(
                "the bus between the nodes is away, so the other node cannot be asked:"
                f" {self.problem or 'it is not connected yet'}"
            )
        sealed = self._seal(request, subject)
        if len(sealed) > MAX_BYTES:
            raise NodeUnreachable(f"the request has more than the {MAX_BYTES} bytes that the bus takes")
        try:
            with anyio.fail_after(within_s):
                answer = await client.request(subject, sealed, timeout=2 * within_s)
            reply = self._open(answer.data, _reply_to(subject, sealed))
        except nats.errors.NoRespondersError:
            raise NodeUnreachable("the other node is not connected to the bus") from None
        except TimeoutError:
            raise NodeUnreachable(f"the other node did not answer within {within_s:g} s") from None
        except (nats.errors.Error, OSError, Forged) as error:
            raise NodeUnreachable(f"the other node cannot be asked: {type(error).__name__}") from error
        if not isinstance(reply, BusReply):
            raise NodeUnreachable("the other node did not answer with a reply")
        return reply

    async def check(self) -> None:
        """Check that the server answers a ping, and end a connection over which no answer comes."""
        client = self._client
        if client is None:
            return
        answered, began = anyio.Event(), self._clock.monotonic()

        async def ping() -> None:
            with suppress(nats.errors.Error, OSError):
                await client.flush(2 * (REACH_S + int(CONNECT_S)))
                answered.set()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            await anyio.sleep(REACH_S)
            if self._clock.monotonic() - began > REACH_S + LAG_S:
                await anyio.sleep(REACH_S)  # this process was late, so the answer may be there already
            tasks.cancel_scope.cancel()
        if not answered.is_set():
            self._lose(f"its server gives no answer within {REACH_S} s")

    def _lose(self, why: str) -> None:
        if self._client is not None:
            self._client, self.lost_since, self.problem = None, self._clock.now(), why
            self._hints.clear()
            log.warning("bus.lost", why=why)
        self._ended.set()

    async def _serve_once(self) -> None:
        """Connect and work until the connection ends."""
        ended = self._ended = anyio.Event()

        async def report_end() -> None:
            ended.set()

        async def note(error: Exception) -> None:
            self._last_error = error

        client, self._last_error = self._make_client(), None
        try:
            with anyio.fail_after(CONNECT_S):
                await client.connect(
                    [self._url],
                    name=self._member.boot_id,
                    allow_reconnect=False,  # ``serve`` connects again
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(CONNECT_S),
                    ping_interval=PING_S,
                    no_echo=True,
                    error_cb=note,
                    closed_cb=report_end,
                )
            async with anyio.create_task_group() as tasks:
                await self._subscribe(client, tasks)
                tasks.start_soon(self._send_hints, client)
                self._client, self.lost_since, self.problem = client, None, ""
                log.info("bus.connected")
                await self._ended.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._lose("the connection to its server was lost")
            with anyio.move_on_after(CLOSE_S, shield=True):
                await client.close()

    async def _subscribe(self, client: Client, tasks: TaskGroup) -> None:
        async def receive(message: Msg) -> None:
            try:
                opened = self._open(message.data, message.subject)
                if isinstance(opened, BusRequest):
                    self._take_once(message.data[:NONCE_BYTES])
            except Forged as error:
                self.refused += 1
                log.warning("bus.refused", why=str(error))
                return
            match opened:
                case BusRequest() if self._answering < MAX_REQUESTS:
                    tasks.start_soon(self._answer, client, message, opened)
                case BusRequest() | BusReply():
                    pass  # the other process gets no answer
                case hint:
                    try:
                        self.on_hint(hint)
                    except Exception as error:  # a hint never ends the connection
                        log.error("bus.hint_failed", exc=error)

        for subject in (self._own, self._member.everybody, self._member.subject_of(RENEWALS)):
            await client.subscribe(subject, cb=receive, pending_msgs_limit=MAX_WAITING)
        await reach_server(client)

    def _take_once(self, nonce: bytes) -> None:
        if nonce in self._known:
            raise Forged("a request was sent again by somebody who saw it")
        self._known[nonce] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _answer(self, client: Client, message: Msg, request: BusRequest) -> None:
        if self.on_request is None:
            return
        self._answering += 1
        try:
            reply = await self.on_request(request)
            about = _reply_to(message.subject, message.data)
            sealed = self._seal(reply, about)
            if len(sealed) > MAX_BYTES:
                sealed = self._seal(msgspec.structs.replace(reply, status=507, body=b""), about)
            await client.publish(message.reply, sealed)
        except nats.errors.Error as error:
            log.debug("bus.unanswered", why=type(error).__name__)
        except Exception as error:  # a fault of one request ends no other
            log.error("bus.request_failed", exc=error)
        finally:
            self._answering -= 1

    async def _send_hints(self, client: Client) -> None:
        while True:
            self._has_hints = anyio.Event()
            while self._hints:
                subject, hint = self._hints.popleft()
                await client.publish(subject, self._seal(hint, subject))
            await self._has_hints.wait()

    def _seal(self, message: Message, about: str) -> bytes:
        nonce = self._chance.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.msgpack.encode(message), about.encode())

    def _open(self, sealed: bytes, about: str) -> Message:
        try:
            plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise Forged("a message was not sealed by a node of this hub") from None
        try:
            message: Message = _DECODER.decode(plain)
        except msgspec.DecodeError as error:
            raise Forged(f"a message of another release cannot be read: {error}") from None
        return message


async def reach_server(client: Client) -> None:
    """Wait until the server has processed what the client has sent so far, as a subscription.

    The first flush writes its PING ahead of commands that still wait to be written; the second does not.
    """
    for _ in range(2):
        await client.flush(int(CONNECT_S))


_DECODER: Final = msgspec.msgpack.Decoder(Message)


def _reply_to(subject: str, sealed: bytes) -> str:
    """Return what a reply is bound to: the request by its nonce."""
    return f"{subject} {sealed[:NONCE_BYTES].hex()}"
