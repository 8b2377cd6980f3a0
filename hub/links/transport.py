"""The small interface to the WebSocket library, and the library behind it.

``Transport`` is all that a connection knows of a socket. ``DeviceSocket`` does it
with ``websockets``:

- What is sent within one turn of the event loop leaves in one write. Sending
  never waits; how much is unsent is looked at before each frame instead.
- Messages are handed over in the socket's own callback, without a queue and a
  task switch for each. Their taker must not wait, and so a device that sends
  much is slowed down by TCP and by nothing else.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.frames import BINARY, DATA_OPCODES, TEXT, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN, Event

from protocol.errors import CloseCode
from protocol.frame import MAX_MESSAGE_BYTES, PATH

OUTGOING_BYTES: Final = 1024 * 1024  # unsent, of one device; one that stands above it does not read
OUTGOING_FRAMES: Final = 1024  # waiting for the end of one loop turn; later they are only bytes
MAX_FRAGMENTS: Final = 4096  # of one message; more is someone who wants to cost us memory

_FIN: Final = 0x80
_HEADER_16: Final = Struct("!BBH")
_HEADER_64: Final = Struct("!BBQ")


class Transport(Protocol):
    """A WebSocket, once its opening handshake is done. Nothing here waits but ``wait_closed``."""

    def attach(self, receive: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Hand every message to *receive* from now on, and call *lost* once when the socket is gone.

        Neither may wait or raise. What came before is handed over at once.
        """
        ...

    def send_frame(self, data: bytes, is_text: bool) -> None:
        """Send a message with the others of this loop turn. Dropped when the socket is closing."""
        ...

    def is_full(self) -> bool:
        """Whether so much is unsent that nothing should be added."""
        ...

    def buffered(self) -> int:
        """Bytes that were sent here and have not left the process."""
        ...

    def allow_large_messages(self) -> None:
        """The device is known now: take messages of MAX_MESSAGE_BYTES."""
        ...

    def pause(self) -> None:
        """Read nothing for a while. What was read already is still handed over."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def hang_up(self, code: CloseCode, reason: str, within_s: float) -> None:
        """Send the close frame after what was sent before; cut the socket if it stays open."""
        ...

    def said_close(self) -> int | None:
        """The code of the close frame that the device sent, if it sent one."""
        ...

    def abort(self) -> None:
        """Cut the socket. What is unsent is lost."""
        ...

    async def wait_closed(self) -> None:
        """Until the socket is gone."""
        ...


class DeviceSocket(ServerConnection):
    """A ``Transport`` on top of the websockets library (17.x)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._early: list[bytes] = []  # what came before anybody was attached: a few loop turns at most
        self._receive: Callable[[bytes], None] = self._early.append
        self._lost: Callable[[], None] | None = None
        self._fragments: list[bytes] | None = None
        self._unflushed_bytes = 0
        self._flush_due = False
        self._cut: asyncio.TimerHandle | None = None

    def attach(self, receive: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._receive, self._lost = receive, lost
        early, self._early = self._early, []
        for data in early:
            receive(data)
        if self.connection_lost_waiter.done():  # it was gone before anybody was attached
            self._lost = None
            lost()

    def send_frame(self, data: bytes, is_text: bool) -> None:
        if self.protocol.state is not OPEN:
            return
        opcode = TEXT if is_text else BINARY
        if self.protocol.extensions:  # compression changes data and header
            self.protocol.writes.append(
                Frame(opcode, data).serialize(mask=False, extensions=self.protocol.extensions)
            )
        else:  # the same without a copy and an object for each frame
            self.protocol.writes += (_header(opcode, len(data)), data)
        self._unflushed_bytes += len(data)
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.send_data)

    def send_data(self) -> None:
        """The library's own way out, pongs and closes included: all that is queued, in one write."""
        self._flush_due = False
        self._unflushed_bytes = 0
        writes = self.protocol.writes
        if len(writes) > 1 and writes[-1]:  # an empty one at the end asks for a half-close
            self.protocol.writes = [b"".join(writes)]
        super().send_data()

    def is_full(self) -> bool:
        return (
            self._unflushed_bytes + self.transport.get_write_buffer_size() > OUTGOING_BYTES
            or len(self.protocol.writes) >= 2 * OUTGOING_FRAMES  # a header and its data
        )

    def buffered(self) -> int:
        return self._unflushed_bytes + self.transport.get_write_buffer_size()

    def forget_request(self) -> None:
        """Drop the headers: they are 1 KiB a connection, and a token may be among them."""
        self.request, self.response = Request(PATH, Headers()), None

    def allow_large_messages(self) -> None:
        self.protocol.max_message_size = MAX_MESSAGE_BYTES

    def pause(self) -> None:
        if not self.transport.is_closing():  # uvloop would raise
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def hang_up(self, code: CloseCode, reason: str, within_s: float) -> None:
        if self.protocol.state is OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()
        if self._cut is None:
            self._cut = self.loop.call_later(within_s, self.abort)

    def said_close(self) -> int | None:
        said = self.protocol.close_rcvd
        return None if said is None else said.code

    def abort(self) -> None:
        self.transport.abort()

    def process_event(self, event: Event) -> None:
        """The library's hook for everything that comes: data goes to whoever is attached."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and self._fragments is None:
            self._receive(bytes(event.data))
        else:
            self._assemble(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._cut is not None:
            self._cut.cancel()
        self._receive, lost, self._lost = _drop, self._lost, None
        if lost is not None:
            lost()

    def _assemble(self, part: Frame) -> None:
        """A message in fragments; the library has checked their order and their size in all."""
        if self._fragments is None:
            self._fragments = []
        self._fragments.append(bytes(part.data))
        if part.fin:
            data, self._fragments = b"".join(self._fragments), None
            self._receive(data)
        elif len(self._fragments) >= MAX_FRAGMENTS and self.protocol.state is OPEN:
            self.protocol.fail(CloseCode.TOO_LARGE, "too many fragments")
            self.send_data()


def _header(opcode: int, length: int) -> bytes:
    """The start of an unmasked message in one fragment (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((_FIN | opcode, length))
    if length < 65_536:
        return _HEADER_16.pack(_FIN | opcode, 126, length)
    return _HEADER_64.pack(_FIN | opcode, 127, length)


def _drop(data: bytes) -> None:
    """What is still parsed after the socket is gone."""
