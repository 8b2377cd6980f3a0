"""The small interface to the WebSocket library, and the library behind it.

``Transport`` is all that a connection knows of a socket. ``DeviceSocket`` does it
with ``websockets``:

- What is sent within one turn of the event loop leaves in one write. Sending
  never waits; how much is unsent is looked at before each frame instead.
- Messages are handed over in the socket's own callback, without a queue and a
  task switch for each. Their taker must not wait, and so a device that sends
  much is slowed down by TCP and by nothing else.
- What comes is counted, control frames too. A read with many frames in it is taken
  in parts, so that nobody holds up the loop with what fits into one buffer.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from time import thread_time
from typing import Any, Final, Protocol, cast

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.frames import BINARY, DATA_OPCODES, PING, TEXT, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN, Event

from hub.links.gate import Place
from hub.links.intake import Intake
from hub.links.limits import HEAD_BYTES, LinkLimits
from protocol.errors import CloseCode
from protocol.frame import PATH

_FIN: Final = 0x80
_HEADER_16: Final = Struct("!BBH")
_HEADER_64: Final = Struct("!BBQ")

PART_BYTES: Final = 512  # 85 pings at most: about a millisecond
MOST_PART_BYTES: Final = 32 * 1024  # of a read with few frames in it
_FEW_FRAMES: Final = 64  # bytes a frame, on average: from there on a part may be larger
_JUDGED, _SLOWED, _YIELDED = 1, 2, 4  # why a socket is not read; several at once may be so
MOST_TURN_S: Final = (
    0.01  # of the loop's CPU time for one read: the rest of it waits for a turn of the others
)

_JOINED_BYTES: Final = 65_536  # into one write, whatever its frames are like
_PIECE_BYTES: Final = 4_096  # headers and data, on average: from there on a write for each is cheaper
_NO_PONG: Final = "keepalive ping timeout"  # as the library closes over it
_TOO_MANY_PARTS: Final = "too many fragments"
_HEAD_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class Transport(Protocol):
    """A WebSocket, once its opening handshake is done. Nothing here waits but ``wait_closed``."""

    @property
    def intake(self) -> Intake:
        """How much may still be read of it."""
        ...

    def attach(
        self, receive: Callable[[bytes], None], lost: Callable[[], None], spent: Callable[[], None]
    ) -> None:
        """Hand every message to *receive* from now on, and call *lost* once when the socket is gone.

        *spent* is called when a device sends more than its intake has left. None of
        them may wait or raise. What came before is handed over at once.
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
        """The device is known now: take messages of the size that was told in welcome."""
        ...

    def pause(self) -> None:
        """Read nothing while a hello is judged. What was read already is still handed over."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def asked_for(self, octets: int) -> None:
        """Do not count the message of so many *octets* that is handed over now: the hub asked for it."""
        ...

    def slow_down(self, seconds: float) -> None:
        """Read nothing for so long, and keep what was read already. Its silence is then not the device's."""
        ...

    def go_on(self) -> None:
        """The end of that, if it had not come yet."""
        ...

    def hang_up(self, code: CloseCode, reason: str, within_s: float) -> None:
        """Send the close frame after what was sent before; cut the socket if it stays open."""
        ...

    def said_close(self) -> int | None:
        """The code of the close frame that the device sent, if it sent one."""
        ...

    def exceeded(self) -> str | None:
        """The name in ``[limits]`` of what the device went beyond, if this side closed over that."""
        ...

    def abort(self) -> None:
        """Cut the socket. What is unsent is lost."""
        ...

    async def wait_closed(self) -> None:
        """Until the socket is gone."""
        ...


class DeviceSocket(ServerConnection):
    """A ``Transport`` on top of the websockets library (17.x).

    Attributes:
        place: what it takes up; left when the socket is gone.
        address: of the device, as the socket or a trusted proxy tells it.
        limits: that it was made with.
        dialled: the hub's address as the device dialled it, and its nonce, where it wants the hub's proof.
        is_head_too_long: its request for a WebSocket was, and no answer but 431 was given.
    """

    # Slots: with these too, an instance's dictionary would not be shared any more.
    __slots__ = (
        "_cut",
        "_early",
        "_flush_due",
        "_fragments",
        "_later",
        "_lost",
        "_receive",
        "_spent",
        "_stopped",
        "_unflushed_bytes",
        "_unread",
        "address",
        "dialled",
        "intake",
        "is_head_too_long",
        "limits",
        "place",
    )

    def __init__(self, *args: Any, limits: LinkLimits, place: Place, address: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.place = place
        self.address = address
        self.dialled: tuple[str, str] | None = None
        self.is_head_too_long = False
        self.intake = Intake(HEAD_BYTES)
        self.limits = limits
        self._early: list[bytes] = []  # what came before anybody was attached: a few loop turns at most
        self._receive: Callable[[bytes], None] = self._early.append
        self._lost: Callable[[], None] | None = None
        self._spent: Callable[[], None] | None = None
        self._fragments: list[bytes] | None = None
        self._stopped = 0
        self._unread: bytes | None = None  # while slowed down: what was read and not looked at
        self._unflushed_bytes = 0
        self._flush_due = False
        self._cut: asyncio.TimerHandle | None = None
        self._later: asyncio.TimerHandle | None = None
        self.drain_waiters = []  # type: ignore[assignment]  # an empty deque takes 600 bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages = _NO_QUEUE  # type: ignore[assignment]  # nothing is put there, and it takes 1 KiB

    def attach(
        self, receive: Callable[[bytes], None], lost: Callable[[], None], spent: Callable[[], None]
    ) -> None:
        self._receive, self._lost, self._spent = receive, lost, spent
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
        """The library's own way out, pongs and closes included: all that is queued, in one write.

        Few large frames are not joined: for a moment they would take their memory twice.
        """
        writes = self.protocol.writes
        are_large = self._unflushed_bytes > max(_JOINED_BYTES, len(writes) * _PIECE_BYTES)
        self._flush_due = False
        self._unflushed_bytes = 0
        if len(writes) > 1 and writes[-1] and not are_large:  # an empty one at the end asks for a half-close
            self.protocol.writes = [b"".join(writes)]
        super().send_data()

    def is_full(self) -> bool:
        return (
            self._unflushed_bytes + self.transport.get_write_buffer_size() > self.limits.outgoing_bytes
            or len(self.protocol.writes) >= 2 * self.limits.outgoing_frames  # a header and its data
        )

    def buffered(self) -> int:
        return self._unflushed_bytes + self.transport.get_write_buffer_size()

    def forget_handler(self) -> None:
        """The library's server need not wait any more for the task that this is called in."""
        if (task := asyncio.current_task()) is not None:
            self.server.handler_tasks.discard(task)

    def forget_request(self) -> None:
        """Drop the headers: they are 1 KiB a connection, and a token may be among them."""
        self.request, self.response = Request(PATH, Headers()), None

    def allow_large_messages(self) -> None:
        self.protocol.max_message_size = self.limits.message_bytes

    def pause(self) -> None:
        self._stop(_JUDGED)

    def resume(self) -> None:
        self._start(_JUDGED)

    def asked_for(self, octets: int) -> None:
        # A compressed message came in fewer octets than it has, and nobody knows in how many.
        self.intake.give_back(0 if self.protocol.extensions else octets)

    def slow_down(self, seconds: float) -> None:
        self._stop(_SLOWED)
        if self._later is not None:
            self._later.cancel()
        # To the moment: were it a tick of the wheel, all who are slowed down would come back in one.
        self._later = self.loop.call_later(seconds, self.go_on)
        # It has just sent something, and its pong may stand behind much else that we do not read.
        if self.pending_pings:
            self.acknowledge_pings(next(reversed(self.pending_pings)))

    def go_on(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._start(_SLOWED)

    def hang_up(self, code: CloseCode, reason: str, within_s: float) -> None:
        if self.protocol.state is OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()
        if self._cut is None:
            self._cut = self.loop.call_later(within_s, self.abort)

    def said_close(self) -> int | None:
        said = self.protocol.close_rcvd
        return None if said is None else said.code

    def exceeded(self) -> str | None:
        said = self.protocol.close_sent
        if said is None:
            return None
        if said.code == CloseCode.FAULT and said.reason == _NO_PONG:
            return "ping_timeout_s"
        if said.code != CloseCode.TOO_LARGE:
            return None
        if said.reason == _TOO_MANY_PARTS:
            return "message_fragments"
        return "hello_bytes" if self.intake.is_stranger else "message_bytes"

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        intake, size = self.intake, len(data)
        intake.bytes_left -= size
        if intake.bytes_left < 0 and self.request is None:
            self._refuse_head()
            return
        if size <= PART_BYTES and self._unread is None:
            _take_in(self, data)
        else:
            self._take_in_parts(data)
        if intake.frames_left < 0 or intake.bytes_left < 0:
            self._look_at_intake()

    def process_event(self, event: Event) -> None:
        """The library's hook for everything that comes: data goes to whoever is attached."""
        self.intake.frames_left -= 1
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            if isinstance(event, Request):
                self.intake.greet(self.limits.hello_bytes)
            elif isinstance(event, Frame) and event.opcode is PING and self.is_full():
                # Each gives a pong, which nobody reads.
                self.intake.frames_left = min(self.intake.frames_left, -1)
        elif event.fin and self._fragments is None:
            self._receive(bytes(event.data))
        else:
            self._assemble(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.place.leave()
        for timer in (self._cut, self._later):
            if timer is not None:
                timer.cancel()
        self._unread = None
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
        elif len(self._fragments) >= self.limits.message_fragments and self.protocol.state is OPEN:
            self.protocol.fail(CloseCode.TOO_LARGE, _TOO_MANY_PARTS)
            self.send_data()

    # --- how much is read ---

    def _take_in_parts(self, data: bytes) -> None:
        """Take a long read in, and stop where more frames came than may: the rest waits."""
        if self._unread is not None:  # stopped already: what the loop had read by then comes behind
            self._unread += data
            return
        intake, view, at, size = self.intake, memoryview(data), 0, PART_BYTES
        began = thread_time()
        while at < len(view):
            before = intake.frames_left
            _take_in(self, view[at : at + size])
            at += size
            if intake.frames_left < 0 and at < len(view):
                self._unread = bytes(view[at:])
                return
            if at < len(view) and thread_time() - began > MOST_TURN_S:
                self._unread = bytes(view[at:])
                self._stop(_YIELDED)
                self.loop.call_soon(self._start, _YIELDED)
                return
            is_sparse = (before - intake.frames_left) * _FEW_FRAMES <= size
            size = min(2 * size, MOST_PART_BYTES) if is_sparse else PART_BYTES

    def _refuse_head(self) -> None:
        """Somebody asks for a WebSocket at too great a length."""
        self.is_head_too_long = True
        self.transport.write(_HEAD_TOO_LONG)
        self.transport.close()

    def _look_at_intake(self) -> None:
        """More came than may: a device is slowed down, a stranger is not read any more."""
        while self.intake.is_spent and not self._stopped & _SLOWED:
            if self.intake.is_stranger or self._spent is None:
                self._stop(_SLOWED)
            else:
                self._spent()
            if not self._stopped:  # enough has come back meanwhile
                self._take_unread()

    def _take_unread(self) -> None:
        if self._unread is not None:
            data, self._unread = self._unread, None
            self._take_in_parts(data)

    def _stop(self, why: int) -> None:
        if not self._stopped and not self.transport.is_closing():  # uvloop would raise
            self.transport.pause_reading()
        self._stopped |= why

    def _start(self, why: int) -> None:
        """Go on once nothing is in the way: first with what was read already."""
        if not self._stopped & why:
            return
        self._stopped &= ~why
        if not self._stopped:
            self._take_unread()
            self._look_at_intake()
        if not self._stopped and not self.transport.is_closing():
            self.transport.resume_reading()


def _header(opcode: int, length: int) -> bytes:
    """The start of an unmasked message in one fragment (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((_FIN | opcode, length))
    if length < 65_536:
        return _HEADER_16.pack(_FIN | opcode, 126, length)
    return _HEADER_64.pack(_FIN | opcode, 127, length)


class _NoQueue:
    """In place of the library's queue of messages, which are handed over as they come."""

    def close(self) -> None:
        """Nobody waits for a message."""


_NO_QUEUE: Final = _NoQueue()
_Take = Callable[[ServerConnection, bytes | memoryview], None]
_take_in: Final = cast(_Take, ServerConnection.data_received)  # it takes any buffer, though it says bytes


def _drop(data: bytes) -> None:
    """What is still parsed after the socket is gone."""
