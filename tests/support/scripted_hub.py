"""A hub that does what a test scripts: at a real socket with a real session, or at a device's file."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, TypeVar

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from hub.device.device_file import DeviceStore
from hub.links.hub_key import HubKey
from hub.links.transport import nonces_offered
from protocol.codec import SUBPROTOCOLS, for_subprotocol
from protocol.coordination import Heartbeat, Request
from protocol.errors import CloseCode
from protocol.frame import Frame
from protocol.handshake import NONCE_HEADER, DeviceHello, Error, Goodbye, Limits
from protocol.ids import CallId, ConnectionId, DeviceId, UserId
from protocol.session import (
    Answered,
    AnsweredTogether,
    Ended,
    HelloReceived,
    HubSession,
    Received,
    SessionEvent,
)
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, Answer, ToolCall

PATIENCE_S = 10.0

F = TypeVar("F", bound=Frame)
E = TypeVar("E", bound=SessionEvent)


class Guest:
    """One connection of a device, seen from the hub."""

    def __init__(self, socket: ServerConnection, epoch: int, key: HubKey) -> None:
        self._socket = socket
        self._epoch = epoch
        self._events: deque[SessionEvent] = deque()
        assert socket.request is not None
        headers = socket.request.headers
        nonce = next(iter([*headers.get_all(NONCE_HEADER), *nonces_offered(headers)]), "")
        self.session = HubSession(
            codec=for_subprotocol(socket.subprotocol),
            hub_id="hub-1",
            nonce=bytes(32),
            now=0.0,
            ts_ms=0,
            prove=partial(key.prove, address=headers["Host"], device_nonce=nonce),
        )

    async def welcome(
        self,
        *,
        limits: Limits | None = None,
        heartbeat_interval_ms: int = 15_000,
        hubs: Sequence[str] = (),
    ) -> DeviceHello:
        """Wait for the hello and take the device in."""
        hello = await self.hello()
        self.session.accept(
            user_id=UserId("anna"),
            device_id=DeviceId("desk"),
            connection_id=ConnectionId(f"c-{self._epoch}"),
            epoch=self._epoch,
            ts_ms=0,
            now=0.0,
            limits=limits or Limits(),
            heartbeat_interval_ms=heartbeat_interval_ms,
            hubs=hubs,
        )
        await self.flush()
        return hello

    async def hello(self) -> DeviceHello:
        """Wait for the hello and keep the device waiting."""
        await self.flush()  # the challenge
        return (await self._event(HelloReceived)).hello

    async def challenged(self) -> int | None:
        """Challenge the device, which leaves; return its close code."""
        await self.flush()
        return await self.left()

    async def say(self, frame: Frame) -> None:
        self.session.send(frame)
        await self.flush()

    async def hear(self, kind: type[F]) -> F:
        """The next frame, heartbeats apart unless one is asked for; it is of that kind."""
        while True:
            frame = (await self._event(Received)).frame
            if isinstance(frame, kind):
                return frame
            assert isinstance(frame, Heartbeat), frame

    async def call(self, call: ToolCall) -> Answer:
        """Make one call and give its answer."""
        await self.say(call)
        return await self.answer(call.id)

    async def answer(self, call_id: str) -> Answer:
        """Return the answer of a call; only heartbeats and requests of the device may come before it."""
        while True:
            event = await self._next()
            if isinstance(event, Answered):
                assert event.call_id == call_id
                return event.answer
            assert isinstance(event, Received), event
            assert isinstance(event.frame, (Heartbeat, Request)), event

    async def answers(self) -> list[tuple[CallId, Answer]]:
        """Return the answers of a frame that has several."""
        return (await self._event(AnsweredTogether)).answers

    async def dismiss(self, goodbye: Goodbye, close: CloseCode) -> None:
        await self._close(self.session.end(goodbye, close))

    async def refuse(self, error: Error, close: CloseCode) -> None:
        await self._close(self.session.refuse(error, close))

    async def refuse_hello(self) -> None:
        """Wait for a hello that the session refuses by itself."""
        await self.flush()  # the challenge
        await self._close(await self._event(Ended))

    async def cut(self) -> None:
        """The cable is pulled."""
        self._socket.transport.abort()

    async def left(self) -> int | None:
        """Read to the end; the code that the device closed with."""
        with anyio.fail_after(PATIENCE_S):
            try:
                while True:
                    await self._socket.recv()
            except ConnectionClosed:
                return self._socket.close_code

    async def _close(self, ended: Ended | None) -> None:
        assert ended is not None
        await self.flush()
        await self._socket.close(ended.code, ended.reason_text)

    async def _event(self, kind: type[E]) -> E:
        event = await self._next()
        assert isinstance(event, kind), event
        return event

    async def _next(self) -> SessionEvent:
        while not self._events:
            with anyio.fail_after(PATIENCE_S):
                self._events.extend(self.session.receive_data(await self._socket.recv(), 0.0))
        return self._events.popleft()

    async def flush(self) -> None:
        for data in self.session.data_to_send():
            await self._socket.send(data, text=self.session.codec.is_text)


class ScriptedHub:
    """Where devices knock. *url* has no path: a device knows it."""

    def __init__(self, seed: int = 1) -> None:
        self.url = ""
        self.key = HubKey(bytes([seed]) * 32)
        self._knocks, self._guests = anyio.create_memory_object_stream[Guest](100)
        self._epoch = 0

    async def guest(self) -> Guest:
        """The next device that connects."""
        with anyio.fail_after(PATIENCE_S):
            return await self._guests.receive()

    async def welcomed(self, **options: Any) -> Guest:
        """Take in the next device that connects; *options* of ``Guest.welcome``."""
        guest = await self.guest()
        await guest.welcome(**options)
        return guest

    async def _host(self, socket: ServerConnection) -> None:
        self._epoch += 1
        guest = Guest(socket, self._epoch, self.key)
        await self._knocks.send(guest)
        await socket.wait_closed()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["ScriptedHub"]:
        """Listen on a free port of loopback."""
        async with serve(
            self._host,
            "127.0.0.1",
            0,
            select_subprotocol=_first_of_ours,
            compression=None,
            close_timeout=1.0,
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}"
            try:
                yield self
            finally:
                self._knocks.close()
                self._guests.close()


class HubCalls:
    """Calls of a hub to a device's file, without a connection; numbered c-1, c-2, ..."""

    def __init__(self, store: DeviceStore, *, table: str = "tasks") -> None:
        self.store, self.table = store, table
        self._numbers = count(1)

    def ask(self, action: Action, call_id: str = "", **more: Any) -> Answer:
        """Make a call; under *call_id*, or under the next number."""
        id = call_id or f"c-{next(self._numbers)}"
        return self.store.apply([ToolCall(id=id, action=action, **({"table": self.table} | more))])[0]

    def refusal(self, action: Action, **more: Any) -> str | None:
        """Make a call; return the code with which it is refused."""
        answer = self.ask(action, **more)
        return answer.error.code if answer.error is not None else None

    def insert(self, title: str = "call Ana", **data: Any) -> dict[str, Any]:
        """Insert a suggested row; return its id."""
        made = self.ask(Action.INSERT, data={"title": title, **SUGGESTED, **data}).result
        assert isinstance(made, dict)
        return made

    def query(self, **more: Any) -> list[dict[str, Any]]:
        """Return the rows that match."""
        result = self.ask(Action.QUERY, **more).result
        assert isinstance(result, dict)
        return list(result["rows"])


def _first_of_ours(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """As the protocol has it: who offers none speaks JSON."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)
