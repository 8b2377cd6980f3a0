"""The fake gateway: sockets, requests and the faults that a test asks for.

``stop`` and ``start`` are one restart: what is on its disk (``office``) stays, what it
had in memory goes, its ``boot_id`` is another one, and in between nobody listens.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio
from anyio.abc import TaskGroup
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from hub.base.clock import Clock
from tests.support.gateway import handshake, requests
from tests.support.gateway.chat import Answer, Answering, Chat, Outcome, Refusal
from tests.support.gateway.faults import Asked, Fault, Faults, When
from tests.support.gateway.office import Agent, Office, Row, fresh

TICK_MS = 30_000
VERSION = "2026.9.6"
MAX_PAYLOAD = 26_214_400
_STARTING = {
    "code": "UNAVAILABLE",
    "message": "gateway starting; retry shortly",
    "retryable": True,
    "retryAfterMs": 500,
    "details": {"reason": "startup-sidecars"},
}


@dataclass(eq=False)
class Guest:
    """A connection."""

    socket: ServerConnection
    scopes: list[str]
    device_id: str | None
    seq: int = 0


class Door:
    """What is decided before anything may be asked.

    Attributes:
        connects: the parameters of every ``connect``.
        is_starting: ``connect`` is answered "starting" and closed with 1013.
        refuses: every ``connect`` is answered with this error, and closed with this code.
        greets: false: the challenge never comes.
        is_remote: as if reached from another machine: a device is needed and has to be approved.
        auto_approve: devices are approved silently.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.office = Office()
        self.boot_id = ""
        self.connects: list[dict[str, Any]] = []
        self.is_starting = self.is_remote = self.auto_approve = False
        self.refuses: tuple[dict[str, Any], int] | None = None
        self.greets = True
        self.max_payload = MAX_PAYLOAD

    async def greet(self, connected: ServerConnection) -> Guest | None:
        """Let a client in, or send it away."""
        if not self.greets:
            await connected.wait_closed()
            return None
        nonce = fresh("nonce")
        challenge = {"nonce": nonce, "ts": 1_795_149_178_664, "capabilities": []}
        await _send(connected, type="event", event="connect.challenge", payload=challenge)
        frame = json.loads(await connected.recv())
        assert frame["method"] == "connect", frame
        params = frame["params"]
        self.connects.append(params)
        try:
            auth = self._judged(params, nonce)
        except handshake.TurnedAway as away:
            await _send(connected, type="res", id=frame["id"], ok=False, error=away.error)
            await connected.close(away.close)
            return None
        hello = self._hello(auth)
        await _send(connected, type="res", id=frame["id"], ok=True, payload=hello)
        return Guest(connected, list(auth["scopes"]), (params.get("device") or {}).get("id"))

    def _judged(self, params: dict[str, Any], nonce: str) -> dict[str, Any]:
        if self.is_starting:
            raise handshake.TurnedAway.by(_STARTING, 1013)
        if self.refuses is not None:
            raise handshake.TurnedAway.by(*self.refuses)
        return handshake.judge(
            params,
            nonce=nonce,
            token=self.token,
            office=self.office,
            is_remote=self.is_remote,
            auto_approve=self.auto_approve,
        )

    def _hello(self, auth: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": VERSION, "bootId": self.boot_id, "connId": fresh("conn")},
            "features": {
                "methods": sorted(requests.METHODS),
                "events": ["agent", "chat", "tick"],
                "capabilities": [],
            },
            "snapshot": {"sessionDefaults": {"defaultAgentId": "main", "mainKey": "main"}},
            "auth": auth,
            "policy": {
                "maxPayload": self.max_payload,
                "maxBufferedBytes": 52_428_800,
                "tickIntervalMs": TICK_MS,
            },
        }


async def _send(connected: ServerConnection, **frame: Any) -> None:
    await connected.send(json.dumps(frame))


TOKEN = "gwtok-4f1c9b7e2d8a6053"

_DRAIN_S = 20.0  # of a test; a real one has 315


class FakeGateway(Door):
    """One gateway on loopback.

    Attributes:
        asked: every request that came, in order; ``connect`` apart.
        knocks: path and headers of every upgrade.
        is_draining: new sockets get HTTP 503, ``chat.send`` is refused until it is back.
        http_status, location: every upgrade is answered with this status, and leads there.
        reads, answers: false: it never does.
        busy_above: so many requests at once, and more are told to come back.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        name: str,
        token: str,
        clock: Clock | None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(token)
        self.name = name
        self.url = ""
        self.asked: list[Asked] = []
        self.knocks: list[tuple[str, dict[str, str]]] = []
        self.is_draining = False
        self.http_status: int | None = None
        self.location: str | None = None
        self.reads = self.answers = True
        self.busy_above: int | None = None
        self._faults = Faults()
        self._tasks = tasks
        self._clock = clock
        self._tls = tls
        self._life: anyio.CancelScope | None = None  # of this start's turns
        self._guests: set[Guest] = set()
        self._sockets: set[ServerConnection] = set()
        self._open = 0
        self._answering: Answering = lambda session, message: f"ok: {message}"
        self._server: Server | None = None
        self._bound: socket.socket | None = _bound(0)
        self.port = self._bound.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}" if tls is None else f"wss://localhost:{self.port}"
        self.chat = Chat(self.office, self.emit, lambda: self._answering)

    # --- what the test arranges and looks at ---

    def add_agent(self, agent_id: str) -> Agent:
        agent = self.office.agents[agent_id] = Agent(agent_id, f"/work/{agent_id}")
        return agent

    @property
    def agents(self) -> dict[str, Agent]:
        return self.office.agents

    def rows(self, session_key: str) -> list[Row]:
        """The transcript of a session."""
        session = self.office.sessions.get(session_key)
        return session.rows if session else []

    def said(self, session_key: str) -> list[str]:
        """What people said in a session and its agent has read, in order."""
        rows = self.rows(session_key)
        return [row.text for row in rows if row.role == "user" and row.provenance is None]

    def count(self, method: str) -> int:
        """How many requests of that method came."""
        return sum(asked.method == method for asked in self.asked)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._guests)

    def answer_with(self, answering: Callable[[str, str], Any]) -> None:
        """From now on agents answer what ``answering(session_key, message)`` gives; it may be a coroutine."""
        self._answering = answering

    def hold(self, session_key: str) -> None:
        """Turns of this session do not end until ``release``."""
        self.chat.held[session_key] = anyio.Event()

    def release(self, session_key: str) -> None:
        if (gate := self.chat.held.pop(session_key, None)) is not None:
            gate.set()

    def hold_intake(self) -> None:
        """What is sent is taken, and read by nobody until ``release_intake``."""
        self.chat.intake = anyio.Event()

    def release_intake(self) -> None:
        self.chat.intake.set()

    def fault(self, method: str, when: When, error: dict[str, Any] | None = None, *, times: int = 1) -> None:
        """Let the next requests of *method* go wrong. ``*`` is any method."""
        self._faults.add(method, *[Fault(when, error)] * times)

    def answer_once(self, method: str, payload: Any) -> None:
        """The next request of *method* is answered with *payload*, whatever it asks."""
        self._faults.add(method, Fault("answered", payload))

    def say_raw(self, text: str) -> None:
        """Send everybody a text that need not be a frame."""
        broadcast([guest.socket for guest in self._guests], text)

    def emit(self, event: str, payload: Any, *, lost: int = 0) -> None:
        """Tell everybody who is connected. *lost*: so many numbers are passed over before it."""
        for guest in tuple(self._guests):
            guest.seq += 1 + lost
            frame = {"type": "event", "event": event, "payload": payload, "seq": guest.seq}
            broadcast([guest.socket], json.dumps(frame))

    def tick(self) -> None:
        self.emit("tick", {"ts": 1})

    async def close_all(self, code: int, reason: str = "") -> None:
        for guest in tuple(self._guests):
            await guest.socket.close(code, reason)

    def cut(self) -> None:
        """All sockets break, without a word."""
        for connected in tuple(self._sockets):
            connected.transport.abort()

    def approve(self) -> None:
        """Approve every device that asks. Those that may not pair others are not told."""
        for device_id, scopes in self.office.requests.values():
            handshake.approve(self.office, device_id, scopes)
        self.office.requests.clear()

    async def rotate(self, *, removed: bool = False) -> None:
        """Give every device another token, or remove it; its sockets are closed with 4001."""
        for device in tuple(self.office.devices.values()):
            if removed:
                del self.office.devices[device.id]
            else:
                device.token = f"devtok-{fresh('rotated')}"
        for guest in tuple(self._guests):
            if guest.device_id is not None:
                await guest.socket.close(4001, "device removed")

    # --- its life ---

    async def start(self) -> None:
        """Listen; with a new boot id, and nothing remembered but what is on the disk."""
        assert self._server is None
        self.boot_id = fresh("boot")
        self.is_draining = False
        held = self.chat.held
        self.chat = Chat(self.office, self.emit, lambda: self._answering)
        self.chat.held = held
        self._life = await self._tasks.start(self._serve_turns)
        bound, self._bound = self._bound or _bound(self.port), None
        self._server = await serve(
            self._host,
            sock=bound,
            ssl=self._tls,
            process_request=self._at_the_door,
            compression=None,
            max_size=MAX_PAYLOAD,
            ping_interval=None,
            close_timeout=0.5,
            open_timeout=None,
        )
        self.chat.resume()

    async def _serve_turns(self, *, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        async with anyio.create_task_group() as tasks:
            self.chat.tasks = tasks
            if self._clock is not None:
                tasks.start_soon(self._keep_ticking, self._clock)
            task_status.started(tasks.cancel_scope)
            await anyio.sleep_forever()

    async def _keep_ticking(self, clock: Clock) -> None:
        while True:
            await clock.sleep(TICK_MS / 1000)
            self.tick()

    def drain(self) -> None:
        """A SIGTERM with turns under way: nobody new, nothing new to say, what is asked is answered."""
        self.is_draining = self.chat.is_draining = True

    async def stop(self, *, killed: bool = False) -> None:
        """End the process: with 1012, or ``kill -9``. Nobody listens on the port until ``start``.

        One that is not killed waits for the turns that are under way: ``release`` those that are held.
        """
        server = self._server
        assert server is not None
        if not killed:
            self.drain()
            with anyio.fail_after(_DRAIN_S):
                while self.chat.turns:
                    await anyio.sleep(0.002)
        self.chat.die(killed=killed)
        if killed:
            self.cut()
        else:
            self.emit("shutdown", {"reason": "gateway stopping"})
            await self.close_all(1012, "service restart")
        assert self._life is not None
        self._life.cancel()
        await _stop_accepting(server)
        server.close(close_connections=True, code=1012, reason="service restart")
        self._server = None
        await server.wait_closed()
        self._bound = _bound(self.port)  # nobody else takes it meanwhile
        self.is_draining = False

    async def restart(self, *, killed: bool = False) -> None:
        """``stop`` and ``start``, with no time in between."""
        await self.stop(killed=killed)
        await self.start()

    # --- sockets ---

    def _at_the_door(self, connection: ServerConnection, request: Request) -> Response | None:
        self.knocks.append((request.path, dict(request.headers.raw_items())))
        if self.http_status is not None:
            response = connection.respond(HTTPStatus(self.http_status), "no")
            if self.location is not None:
                response.headers["Location"] = self.location
            return response
        if self.is_draining:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Gateway websocket admission closed")
        return None

    async def _host(self, connected: ServerConnection) -> None:
        self._sockets.add(connected)
        guest: Guest | None = None
        try:
            guest = await self.greet(connected)
            if guest is None:
                return
            self._guests.add(guest)
            async with anyio.create_task_group() as tasks:
                while True:
                    if not self.reads:
                        connected.transport.pause_reading()
                        await connected.wait_closed()
                        break
                    text = await connected.recv()
                    tasks.start_soon(self._request, guest, text)
        except* ConnectionClosed:
            pass
        finally:
            self._sockets.discard(connected)
            if guest is not None:
                self._guests.discard(guest)

    # --- requests ---

    async def _request(self, guest: Guest, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            return  # ignored, and the socket stays open
        method, params = frame["method"], frame.get("params") or {}
        self.asked.append(Asked(method, params, frame.get("traceparent"), self.boot_id))
        fault = self._faults.next(method)
        if fault is not None and fault.when == "before":
            guest.socket.transport.abort()
            return
        self._open += 1
        try:
            if fault is not None and fault.when == "refused":
                answer: dict[str, Any] = {"ok": False, "error": fault.error}
            elif fault is not None and fault.when == "answered":
                answer = {"ok": True, "payload": fault.error}
            else:
                answer = await self._answer(guest, method, params)
        finally:
            self._open -= 1
        if fault is not None and fault.when == "after":
            guest.socket.transport.abort()
        elif self.answers and not (fault is not None and fault.when == "never"):
            broadcast([guest.socket], json.dumps({"type": "res", "id": frame["id"], **answer}))

    async def _answer(self, guest: Guest, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            if self.busy_above is not None and self._open > self.busy_above:
                raise Refusal("UNAVAILABLE", "The server is busy.", retryable=True)
            requests.check(method, params, guest.scopes)
            if self.is_draining and method == "chat.send":
                raise _draining(method)
            return {"ok": True, "payload": await requests.run(method, params, self.office, self.chat)}
        except Refusal as refusal:
            answer: dict[str, Any] = {"ok": False, "error": refusal.error}
            return answer if refusal.payload is None else {**answer, "payload": refusal.payload}


def _draining(method: str) -> Refusal:
    details = {"method": method, "reason": "gateway-restarting"}
    said = "unavailable during gateway restart"
    return Refusal("UNAVAILABLE", said, retryable=True, retryAfterMs=1000, details=details)


def _bound(port: int) -> socket.socket:
    """A socket that has its port and does not listen: who connects is refused."""
    # The protocol is named, or asyncio leaves Nagle's algorithm on and small frames wait for 40 ms.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # who does not read is noticed soon
    made.bind(("127.0.0.1", port))
    return made


async def _stop_accepting(server: Server) -> None:
    """Accept no connection any more, and wait until those that were accepted are the server's.

    asyncio never closes a socket that it accepts in the same turn of the loop in which its server closes.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(3):  # a task takes the socket, then a callback hands it over, then a task greets it
        await asyncio.sleep(0)


@asynccontextmanager
async def fake_gateway(
    name: str = "fake",
    *,
    token: str = TOKEN,
    agents: tuple[str, ...] = ("main",),
    answer: Callable[[str, str], Outcome] | None = None,
    clock: Clock | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[FakeGateway]:
    """A gateway that runs.

    Args:
        answer: what agents say to ``(session_key, message)``; "ok: MESSAGE" by default.
        clock: it ticks by this one; by default it does not tick at all.
    """
    async with anyio.create_task_group() as tasks:
        gateway = FakeGateway(tasks, name=name, token=token, clock=clock, tls=tls)
        for agent_id in agents:
            gateway.add_agent(agent_id)
        if answer is not None:
            gateway.answer_with(answer)
        await gateway.start()
        try:
            yield gateway
        finally:
            with anyio.CancelScope(shield=True):
                if gateway._server is not None:
                    await gateway.stop(killed=True)
                if gateway._bound is not None:
                    gateway._bound.close()
            tasks.cancel_scope.cancel()


__all__ = ["Answer", "Asked", "FakeGateway", "Fault", "fake_gateway"]
