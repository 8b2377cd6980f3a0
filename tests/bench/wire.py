"""Both wires by hand, as the load client speaks them: WebSocket (RFC 6455) and a length prefix.

The client's mask is zero: the bytes leave as they are, which costs the client
nothing and the server what any other mask costs it.
"""

import zlib
from base64 import b64encode
from struct import Struct
from typing import Final, NamedTuple, Protocol

from protocol.codec import JSON

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _COMPRESSED, _MASKED = 0x80, 0x40, 0x80
_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.1
_PREFIX: Final = Struct(">I")


class Part(NamedTuple):
    """Where a message lies in a buffer."""

    opcode: int
    start: int
    end: int
    is_compressed: bool


class Wire(Protocol):
    """How messages are laid out in bytes."""

    def opening(self) -> bytes:
        """What a client says first; empty when there is nothing."""
        ...

    def next_part(self, buffer: bytearray, start: int, end: int) -> Part | None:
        """The message that begins at *start*; ``None`` while it is not whole."""
        ...

    def frame(self, data: bytes, opcode: int = TEXT) -> bytes:
        """A message from the client."""
        ...


class WebSocketWire:
    """RFC 6455, unfragmented messages; with *is_compressed* also RFC 7692 without context takeover."""

    def __init__(self, path: str, *, is_compressed: bool = False) -> None:
        self._path = path
        self.is_compressed = is_compressed

    def opening(self) -> bytes:
        lines = [
            f"GET {self._path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {JSON.name}",
        ]
        if self.is_compressed:
            lines.append(
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                "client_no_context_takeover; client_max_window_bits"
            )
        return "\r\n".join([*lines, "", ""]).encode()

    def next_part(self, buffer: bytearray, start: int, end: int) -> Part | None:
        if end - start < 2:
            return None
        first, length, body = buffer[start], buffer[start + 1], start + 2
        if length == 126:
            length, body = buffer[start + 2] << 8 | buffer[start + 3] if end - start >= 4 else end, start + 4
        elif length == 127:
            length, body = int.from_bytes(buffer[start + 2 : start + 10], "big"), start + 10
        if body + length > end:
            return None
        return Part(first & 0x0F, body, body + length, bool(first & _COMPRESSED))

    def frame(self, data: bytes, opcode: int = TEXT) -> bytes:
        first = _FINAL | opcode
        if self.is_compressed and opcode == TEXT:
            # A window of 1 KiB, the most the hub takes; a new one each time.
            deflate = zlib.compressobj(wbits=-10, memLevel=5)
            data = (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)
            first |= _COMPRESSED
        size = len(data)
        if size < 126:
            head = bytes((first, _MASKED | size))
        elif size < 65_536:
            head = bytes((first, _MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, _MASKED | 127)) + size.to_bytes(8, "big")
        return head + bytes(4) + data


class PrefixWire:
    """Four bytes of length, big endian, then the message."""

    def opening(self) -> bytes:
        return b""

    def next_part(self, buffer: bytearray, start: int, end: int) -> Part | None:
        if end - start < _PREFIX.size:
            return None
        body = start + _PREFIX.size
        (length,) = _PREFIX.unpack_from(buffer, start)
        return Part(TEXT, body, body + length, False) if body + length <= end else None

    def frame(self, data: bytes, opcode: int = TEXT) -> bytes:
        return _PREFIX.pack(len(data)) + data


def inflate(data: bytes) -> bytes:
    """A compressed message of a server that keeps no context."""
    return zlib.decompressobj(-15).decompress(data + _TAIL)
