"""Simulated NATS server and its clients, which replace those of ``nats.aio`` under the hub's real ``Bus``.

Messages are dropped, delayed and doubled by dice. A machine can be cut off from the server: what it sends or
should receive is lost, and its client notices late, as by its pings.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import anyio
import nats.errors

from hub.cluster.messages import BusReply, BusRequest
from protocol.ids import BootId
from tests.simulation.dice import Dice
from tests.simulation.wire import Tally

PINGS_S = 5.0, 15.0  # until a client ends a connection whose pings have no answer
LATE_S = 0.3, 1.0, 4.0, 17.0, 50.0


class Message(NamedTuple):
    """Message as a client receives it."""

    subject: str
    data: bytes
    reply: str


class SimNats:
    """Server that connects the hubs of a world.

    Attributes:
        is_there: False: the hubs have no bus.
        is_down: no client can connect.
        answered: number of times that each request was answered, by its path.
    """

    def __init__(self, dice: Dice, tally: Tally) -> None:
        self.dice = dice
        self.tally = tally
        self.is_there = dice.says(0.8)
        is_bad = dice.says(0.6)
        self._lost, self._late, self._twice = (0.3, 0.3, 0.2) if is_bad else (0.01, 0.02, 0.02)
        self.is_down = False
        self.answered: dict[str, int] = {}
        self._clients: dict[SimClient, None] = {}
        self._cut_off: set[str] = set()  # names of machines
        self._inboxes = 0

    def calm(self) -> None:
        """Stop all faults."""
        self._lost = self._late = self._twice = 0.0
        self.is_down = False
        self._cut_off.clear()

    def cut(self, name: str) -> None:
        """Cut a machine off; its client notices when its pings have no answer."""
        self._cut_off.add(name)
        self.tally.bus_cuts += 1
        for client in self._clients:
            if client.machine == name:
                client.end_in(self.dice.uniform(*PINGS_S), if_still_cut=True)

    def rejoin(self, name: str) -> None:
        """Let a machine reach the server again."""
        self._cut_off.discard(name)

    def stop(self) -> None:
        """Stop the server, until ``start``."""
        self.is_down = True
        self.tally.bus_cuts += 1
        for client in self._clients:
            client.end_in(0.0)

    def start(self) -> None:
        """Start the server."""
        self.is_down = False

    def reaches(self, name: str) -> bool:
        """Return True if a machine reaches the server."""
        return not self.is_down and name not in self._cut_off

    async def answer(self, boot_id: BootId, request: BusRequest) -> BusReply:
        """Return the reply of a hub, and count it: none may come twice."""
        self.answered[request.path] = self.answered.get(request.path, 0) + 1
        self.tally.bus_requests += 1
        if self.answered[request.path] > 1:
            raise AssertionError(f"request {request.path} is answered twice")
        await anyio.sleep(self.dice.uniform(0.0, 0.5))
        return BusReply(status=200, headers={}, body=boot_id.encode())

    def fresh_inbox(self) -> str:
        """Return a subject for the answer to one request."""
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    def enter(self, client: "SimClient") -> None:
        """Connect a client."""
        self._clients[client] = None

    def leave(self, client: "SimClient") -> None:
        """Disconnect a client."""
        self._clients.pop(client, None)

    def send(self, sender: "SimClient", message: Message) -> bool:
        """Send a message on its way; False: no client has subscribed to it."""
        takers = [one for one in self._clients if one is not sender and one.takes(message.subject)]
        for client in takers:
            for copy in range(1 + self.dice.says(self._twice)):
                self.tally.bus_messages += 1
                self.tally.bus_doubled += copy
                is_cut = not (self.reaches(sender.machine) and self.reaches(client.machine))
                if is_cut or self.dice.says(self._lost):
                    self.tally.bus_dropped += 1
                else:
                    client.arrive_in(self._latency_s(), message)
        return bool(takers)

    def _latency_s(self) -> float:
        if self.dice.says(self._late):
            self.tally.bus_delayed += 1
            return self.dice.choice(LATE_S)
        return self.dice.uniform(0.0005, 0.01)


class SimClient:
    """Client of one connection, as far as ``Bus`` uses that of ``nats.aio``."""

    def __init__(self, server: SimNats, machine: str) -> None:
        self.machine = machine
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, asyncio.Queue[Message]] = {}
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False

    async def connect(
        self, servers: Sequence[str], *, closed_cb: Callable[[], Awaitable[None]], **_: Any
    ) -> None:
        """Connect; a machine that is cut off waits for an answer until the caller gives up."""
        self._context = contextvars.copy_context()
        self._closed = closed_cb
        await anyio.sleep(self._server.dice.uniform(0.001, 0.1))
        if self._server.is_down:
            raise nats.errors.NoServersError
        if not self._server.reaches(self.machine):
            await anyio.sleep_forever()
        self._is_open = True
        self._server.enter(self)

    async def subscribe(self, subject: str, *, cb: Callable[[Message], Awaitable[None]], **_: Any) -> None:
        """Call *cb* with each message to *subject*."""
        queue = self._queues[subject] = asyncio.Queue[Message]()

        async def read() -> None:
            while True:
                await cb(await queue.get())

        self._tasks.append(self._loop.create_task(read()))

    async def flush(self, _: int) -> None:
        """Wait until the server has received all."""
        await anyio.sleep(self._server.dice.uniform(0.001, 0.01))

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message."""
        if not self._is_open:
            raise nats.errors.ConnectionClosedError
        self._server.send(self, Message(subject, payload, reply))

    async def request(self, subject: str, payload: bytes, **_: Any) -> Message:
        """Send a message and return the answer to it."""
        if not self._is_open:
            raise nats.errors.ConnectionClosedError
        inbox = self._server.fresh_inbox()
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[inbox] = answer
        try:
            if not self._server.send(self, Message(subject, payload, inbox)):
                raise nats.errors.NoRespondersError
            return await answer
        finally:
            del self._waiting[inbox]

    async def close(self) -> None:
        """End the connection and its subscriptions."""
        self._is_open = False
        self._server.leave(self)
        for task in self._tasks:
            task.cancel()

    def takes(self, subject: str) -> bool:
        """Return True if the client has subscribed to *subject*, or waits for an answer there."""
        return subject in self._queues or subject in self._waiting

    def arrive_in(self, seconds: float, message: Message) -> None:
        """Receive a message after a delay, unless the connection has ended by then."""
        self._loop.call_later(seconds, self._arrive, message, context=self._context)

    def end_in(self, seconds: float, *, if_still_cut: bool = False) -> None:
        """Lose the connection after a delay; the client is told."""
        self._loop.call_later(seconds, self._end, if_still_cut, context=self._context)

    def _arrive(self, message: Message) -> None:
        if not self._is_open or not self._server.reaches(self.machine):
            self._server.tally.bus_dropped += 1
        elif message.subject in self._queues:
            self._queues[message.subject].put_nowait(message)
        elif (answer := self._waiting.get(message.subject)) is not None and not answer.done():
            answer.set_result(message)

    def _end(self, if_still_cut: bool) -> None:
        if self._is_open and not (if_still_cut and self._server.reaches(self.machine)):
            self._is_open = False
            self._server.leave(self)
            self._tasks.append(self._loop.create_task(self._tell_closed()))

    async def _tell_closed(self) -> None:
        await self._closed()
