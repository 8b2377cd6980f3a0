"""A device port that echoes messages, for the Autobahn test suite; the product has nothing like it.

Acceptor, handshake, sockets and parsers are those of the device port. In place of the session, each message
goes back as it came. As a session's codec does, the echo refuses text that is not UTF-8.
"""

import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from websockets.frames import BINARY, TEXT, CloseCode
from websockets.protocol import OPEN

from hub.clock import SystemChance, SystemClock
from hub.links import listener
from hub.links.auth import Authenticator, HubKey
from hub.links.gate import LinkLimits, PortLimits
from hub.links.listener import DeviceListener
from hub.links.roster import Roster
from hub.links.transport import DeviceSocket
from hub.metrics import Metrics
from protocol.ids import BootId
from storage.store import open_store

_HEAD_END: Final = b"\r\n\r\n"
_UNHURRIED: Final = 1e12  # a second
_MESSAGE_BYTES: Final = 32 * 1024 * 1024  # the suite sends 16 MiB
_FRAGMENTS: Final = 70_000  # the suite sends 4 MiB in fragments of 64 bytes
_SOCKETS: Final = 64


class Kinds:
    """Opcodes of the messages in a stream, read from the headers of frames alone."""

    def __init__(self) -> None:
        self.opcodes: deque[int] = deque()
        self._unread = bytearray()
        self._is_open = False
        self._skipped = 0  # bytes that are left of a payload

    def feed(self, data: bytes) -> None:
        """Read what the client sent: its request, then frames."""
        self._unread += data
        if not self._is_open:
            _, end, rest = self._unread.partition(_HEAD_END)
            if not end:
                return
            self._is_open, self._unread = True, rest
        while self._unread:
            taken = min(self._skipped, len(self._unread))
            del self._unread[:taken]
            self._skipped -= taken
            if self._skipped or len(self._unread) < 2:
                return
            size = self._unread[1] & 0x7F
            extra = {126: 2, 127: 8}.get(size, 0)
            if len(self._unread) < 2 + extra:
                return
            if extra:
                size = int.from_bytes(self._unread[2 : 2 + extra])
            if self._unread[0] & 0x0F in (TEXT, BINARY):
                self.opcodes.append(self._unread[0] & 0x0F)
            self._skipped = 2 + extra + 4 + size


class EchoSocket(DeviceSocket):
    """A device's socket that sends its messages back."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kinds = Kinds()

    def data_received(self, data: bytes) -> None:
        self._kinds.feed(data)
        super().data_received(data)

    def echo(self) -> None:
        """Send every message back from now on."""
        self.allow_large_messages()
        self.intake.welcome(_UNHURRIED, _UNHURRIED, 0.0)
        self.attach(self._echo, lambda: None, lambda: None)

    def _echo(self, data: bytes) -> None:
        is_text = self._kinds.opcodes.popleft() == TEXT
        try:
            data.decode() if is_text else None
        except UnicodeDecodeError as wrong:
            if self.protocol.state is OPEN:
                self.protocol.fail(CloseCode.INVALID_DATA, f"{wrong.reason} at {wrong.start}")
                self.send_data()
        else:
            self.send_frame(data, is_text)


class EchoListener(DeviceListener):
    """A device port without sessions."""

    async def _serve_socket(self, transport: DeviceSocket) -> None:
        assert isinstance(transport, EchoSocket)
        transport.forget_request()
        transport.echo()
        await transport.wait_closed()


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """Serve on a free port, and give its number."""
    clock, chance, metrics = SystemClock(), SystemChance(), Metrics()
    setattr(listener, "DeviceSocket", EchoSocket)  # noqa: B010 - another class than the annotation has
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with open_store("sqlite://", base=None) as store, anyio.create_task_group() as tasks:
            serving = EchoListener(
                sock=listening,
                hub_id="autobahn",
                key=HubKey(bytes(32)),
                authenticator=Authenticator(
                    store, clock=clock, chance=chance, metrics=metrics, boot_id=BootId("autobahn")
                ),
                roster=Roster(lambda _: None, metrics=metrics),
                clock=clock,
                chance=chance,
                metrics=metrics,
                limits=LinkLimits(message_bytes=_MESSAGE_BYTES, message_fragments=_FRAGMENTS),
                port_limits=PortLimits(
                    connections_per_network=_SOCKETS,
                    strangers=_SOCKETS,
                    strangers_per_network=_SOCKETS,
                    new_at_once=1_000_000,
                    new_per_s=_UNHURRIED,
                ),
                compression=True,
                ping_every_s=None,
            )
            _, port = await tasks.start(serving.serve)
            yield port
            tasks.cancel_scope.cancel()
