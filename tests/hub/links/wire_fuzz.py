"""Streams of WebSocket frames, read by the hub's parser of whole data frames and by the library alone.

``python -m tests.hub.links.wire_fuzz --cases N`` compares both on N random streams, cut at random places.
"""

import argparse
import asyncio
import random
from typing import Final

import anyio
from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from hub.base.clock import SystemClock
from hub.base.metrics import Metrics
from hub.links.connection_limits import Gate, PortLimits
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.link_limits import LinkLimits
from hub.links.transport import DeviceSocket

MOST: Final = 70_000  # bytes of a message
LIMITS: Final = LinkLimits(message_bytes=MOST, frames_per_s=50)
_LENGTHS: Final = (0, 1, 5, 125, 126, 127, 300, 4_095, 4_096, 65_535, 65_536, MOST, MOST + 1)


class _Outlet(asyncio.Transport):
    """Transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def close(self) -> None:
        self.is_over = True

    abort = close


class _ByLibrary(DeviceSocket):
    """Socket of which the library parses every frame."""

    __slots__ = ()

    def _take_frames(self, data: bytes | bytearray, at: int = 0) -> None:
        self._take_in_parts(data[at:])


async def _no_listener() -> asyncio.Server:
    raise AssertionError("nothing listens here")


async def _handle(socket: ServerConnection) -> None:
    """Do nothing: the socket is open already."""


def open_socket(kind: type[DeviceSocket]) -> tuple[DeviceSocket, _Outlet, list[bytes]]:
    clock = SystemClock()
    place = Gate(PortLimits(), clock=clock, metrics=Metrics()).enter("127.0.0.1")
    protocol = ServerProtocol(max_size=MOST)
    server = Server(_no_listener, _handle)
    socket = kind(
        protocol,
        server,
        close_timeout=5,
        limits=LIMITS,
        place=place,
        address="127.0.0.1",
        wheel=DeadlineWheel(clock),
        ping_every_s=None,
        pong_within_s=None,
    )
    outlet, messages = _Outlet(), list[bytes]()
    socket.connection_made(outlet)
    protocol.state = OPEN
    protocol.parser = protocol.parse()
    next(protocol.parser)
    socket.forget_request()
    socket._is_split = True
    socket.intake.welcome(LIMITS.frames_per_s, 1e12, 0.0)
    socket.attach(
        messages.append, lambda: None, lambda: socket.intake.welcome(LIMITS.frames_per_s, 1e12, 0.0)
    )
    return socket, outlet, messages


def _wrong(chance: random.Random, right: bytes) -> bytes:
    """Return a frame with a fault in its header."""
    first, second = right[:2]
    match chance.randint(0, 3):
        case 0:  # a reserved bit
            return bytes((first | chance.choice((0x40, 0x20, 0x10)), second)) + right[2:]
        case 1:  # an opcode that does not exist
            return bytes((first & 0xF0 | chance.choice((3, 7, 11, 15)), second)) + right[2:]
        case 2:  # no mask
            return bytes((first, second & 0x7F)) + right[2:]
        case _:  # a length of eight random bytes
            return bytes((first, 0xFF)) + chance.randbytes(8) + right[2:]


def _masked(chance: random.Random, opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    length, mask = len(data), chance.randbytes(4)
    size = (
        bytes((0x80 | length,))
        if length < 126
        else b"\xfe" + length.to_bytes(2)
        if length < 65_536
        else b"\xff" + length.to_bytes(8)
    )
    return bytes((fin << 7 | opcode,)) + size + mask + apply_mask(data, mask)


def stream_of(chance: random.Random) -> bytes:
    """Return a stream of frames as a device may send them, most of them without a fault."""
    parts: list[bytes] = []
    for _ in range(chance.randint(1, 30)):
        size = chance.choice(_LENGTHS) if chance.random() < 0.1 else chance.randint(0, 400)
        data, opcode = chance.randbytes(size), chance.choice((Opcode.TEXT, Opcode.BINARY))
        match chance.randint(0, 19):
            case 0:
                parts.append(_masked(chance, chance.choice((Opcode.PING, Opcode.PONG)), data[:125]))
            case 1:
                ends = [chance.random() < 0.5 for _ in range(chance.randint(1, 4))]
                parts.append(_masked(chance, opcode, data, fin=False))
                parts += [_masked(chance, Opcode.CONT, data[:50], fin=end) for end in ends]
            case 2 if chance.random() < 0.3:
                parts.append(_masked(chance, Opcode.CLOSE, b"\x03\xe8bye"))
            case 3 if chance.random() < 0.5:
                parts.append(_wrong(chance, _masked(chance, opcode, data)))
            case _:
                parts.append(_masked(chance, opcode, data))
    parts.append(_masked(chance, Opcode.PONG, b"the header before this is complete"))
    return b"".join(parts)


def cut(chance: random.Random, stream: bytes) -> list[bytes]:
    """Cut *stream* at random places, into reads of some bytes up to all."""
    longest = chance.choice((1, 7, 300, 5_000, 300_000))
    if longest == 1 and len(stream) > 3_000:
        longest = 40
    reads: list[bytes] = []
    at = 0
    while at < len(stream):
        size = chance.randint(1, longest)
        reads.append(stream[at : at + size])
        at += size
    return reads


async def outcome(kind: type[DeviceSocket], reads: list[bytes]) -> dict[str, object]:
    """Return what came of *reads*: the messages, the replies, the state and the close frames."""
    socket, outlet, messages = open_socket(kind)
    for data in reads:
        socket.data_received(data)
    for _ in range(100):  # the rest of a long read waits for other tasks
        await asyncio.sleep(0)
    socket.connection_lost(None)
    return {
        "messages": messages,
        "replies": bytes(outlet.written),
        "state": socket.protocol.state,
        "received": socket.protocol.close_rcvd,
        "sent": socket.protocol.close_sent,
        "fault": repr(socket.protocol.parser_exc),
    }


async def differences(seed: int) -> list[str]:
    """Return what differs between the two readers of the random stream of *seed*; empty if nothing does."""
    chance = random.Random(seed)
    reads = cut(chance, stream_of(chance))
    ours, library = await outcome(DeviceSocket, reads), await outcome(_ByLibrary, reads)
    return [what for what in ours if ours[what] != library[what]]


async def _main(first: int, cases: int) -> int:
    for seed in range(first, first + cases):
        if found := await differences(seed):
            print(f"seed {seed}: {', '.join(found)} differ")
            return 1
    print(f"{cases} streams from seed {first}: no difference")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    raise SystemExit(anyio.run(_main, given.first, given.cases))
