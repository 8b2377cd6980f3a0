"""The load client in Python: it uploads and compresses, and answers calls where there is no C compiler.

No event loop and no library: one epoll, one buffer, answers put together from
constants, and everything that came in one read is answered in one write. What it
uses of its core is reported; ``client.c`` is the same, and cheaper than any server.

Run as ``python -m tests.bench.client CONFIG``. Says ``{"connected": n}`` once
every device is welcomed, then goes on until its sockets or its input are gone.
"""

import json
import select
import socket
import sys
from collections import deque
from itertools import cycle
from typing import Any, Final

import msgspec

from protocol.codec import JSON
from protocol.frame import PATH
from protocol.handshake import Capability, DeviceHello
from protocol.work import AgentComplete
from tests.bench.machine import allow_open_files, pin_to_core
from tests.bench.payloads import FILE_SETS, RESULT, RUN_ID, agent_data, token_of
from tests.bench.wire import CLOSE, PING, PONG, TEXT, PrefixWire, WebSocketWire, Wire, inflate

CORE: Final = 1
_BUFFER_BYTES: Final = 512 * 1024
_AT_ONCE: Final = 64  # connections being opened: fewer than a listening socket's backlog of 100
PAUSE_MS: Final = 60  # 12 devices, and then the next: hub serve refuses a network that takes its whole time
_OPEN_S: Final = 20.0
_ANSWER: Final = b'{"type":"tool_result","id":"%s","result":%s}'
_TYPE_WITHIN: Final = 24  # bytes from the start of a frame in which its type is spelled
_ANSWERS_AT_ONCE: Final = 16  # a device answers as it gets done; all at the end would keep the server waiting


class ClientConfig(msgspec.Struct, kw_only=True):
    """Options of the client; *pause_ms* is the time between the arrivals of some devices and of the next."""

    port: int
    devices: int
    pause_ms: int = 0
    is_prefixed: bool = False
    is_compressed: bool = False
    has_uploads: bool = False


class Device:
    """One connection."""

    __slots__ = ("credit", "files", "pending", "rest", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.rest = b""  # the beginning of a message
        self.pending: deque[memoryview] = deque()  # what the socket did not take yet
        self.files: cycle[bytes] | None = None  # while an upload goes on
        self.credit: float = 0  # pieces that may be sent


class Client:
    """Every device, on one epoll."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._wire: Wire = (
            PrefixWire() if config.is_prefixed else WebSocketWire(PATH, is_compressed=config.is_compressed)
        )
        self._devices: dict[int, Device] = {}
        self._epoll = select.epoll()
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        # Ids have one length, so the answers have one header too.
        place = b"c-" + bytes(32)
        self._around = (
            [] if config.is_compressed else self._wire.frame(_ANSWER % (place, RESULT)).split(place)
        )
        self._files = {
            name: [self._wire.frame(data) for data in agent_data(files)]
            for name, files in FILE_SETS.items()
            if config.has_uploads
        }

    def connect(self) -> None:
        """Open every connection and greet; returns once all are welcomed.

        Raises:
            OSError, TimeoutError: the server refused, or took too long.
        """
        left = self._config.devices
        while left:
            batch = [Device(self._dial()) for _ in range(min(left, _AT_ONCE))]
            opening = self._wire.opening()
            for device in batch if opening else ():
                device.socket.sendall(opening)
            for device in batch if opening else ():
                self._read_until(device, b"\r\n\r\n")
            for device in batch:
                left -= 1
                device.socket.sendall(self._wire.frame(JSON.encode(_hello(left))))
            for device in batch:
                self._read_welcome(device)
                device.socket.setblocking(False)
                self._devices[device.socket.fileno()] = device
                self._epoll.register(device.socket.fileno(), select.EPOLLIN)
            select.select([], [], [], self._config.pause_ms / 1_000)

    def serve(self, stop_fd: int) -> None:
        """Answer until *stop_fd* can be read (it is closed then) or nobody is left."""
        self._epoll.register(stop_fd, select.EPOLLIN)
        poll, devices = self._epoll.poll, self._devices
        while devices:
            for fd, events in poll():
                if fd == stop_fd:
                    return
                device = devices.get(fd)
                if device is None:
                    continue
                if events & ~select.EPOLLOUT:
                    self._read(device)
                if events & select.EPOLLOUT:
                    self._write(device)

    # --- opening ---

    def _dial(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._config.port), timeout=_OPEN_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read_until(self, device: Device, mark: bytes) -> None:
        data = device.rest
        while mark not in data:
            more = device.socket.recv(65_536)
            if not more:
                raise ConnectionError(f"the server hung up: {data[-200:]!r}")
            data += more
        head, _, device.rest = data.partition(mark)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"the server refused: {head[:200]!r}")
        if self._config.is_compressed and b"permessage-deflate" not in head:
            raise ConnectionError("the server does not compress")

    def _read_welcome(self, device: Device) -> None:
        while True:
            size = len(device.rest)
            self._buffer[:size] = device.rest
            start = 0
            while (part := self._wire.next_part(self._buffer, start, size)) is not None:
                start = part.end
                data = bytes(self._view[part.start : part.end])
                data = inflate(data) if part.is_compressed else data
                if b'"welcome"' in data[:_TYPE_WITHIN]:
                    device.rest = bytes(self._view[start:size])
                    return
                if b'"challenge"' not in data[:_TYPE_WITHIN]:
                    raise ConnectionError(f"no welcome: {data[:200]!r}")
            device.rest = bytes(self._view[start:size])
            more = device.socket.recv(65_536)
            if not more:
                raise ConnectionError("the server hung up before its welcome")
            device.rest += more

    # --- the loop ---

    def _read(self, device: Device) -> None:
        rest = len(device.rest)
        if rest:
            self._buffer[:rest] = device.rest
            device.rest = b""
        try:
            size = rest + device.socket.recv_into(self._view[rest:])
        except BlockingIOError:
            return
        except OSError:
            size = rest
        if size == rest:
            self._forget(device)
            return
        buffer, next_part, start = self._buffer, self._wire.next_part, 0
        answers: list[bytes] = []
        while (part := next_part(buffer, start, size)) is not None:
            _, start, end, is_compressed = part
            if is_compressed or buffer.find(b'"tool_call"', start, min(end, start + _TYPE_WITHIN)) < 0:
                answers += self._take(device, part.opcode, bytes(self._view[start:end]), is_compressed)
            else:
                # ..."id":"c-..." with or without a space behind the colon
                begin = buffer.index(b'"', buffer.index(b'"id":', start, end) + 5) + 1
                head, tail = self._around
                answers += (head, bytes(buffer[begin : buffer.index(b'"', begin)]), tail)
                if len(answers) >= _ANSWERS_AT_ONCE * 3:
                    self._send(device, b"".join(answers))
                    answers.clear()
            start = end
        if start < size:
            device.rest = bytes(self._view[start:size])
        if answers:
            self._send(device, b"".join(answers))

    def _take(self, device: Device, opcode: int, data: bytes, is_compressed: bool) -> list[bytes]:
        """What does not come often: the frames to answer with."""
        if opcode == PING:
            return [self._wire.frame(data, PONG)]
        if opcode == CLOSE:
            return [self._wire.frame(data, CLOSE)]
        if opcode != TEXT:
            return []
        frame: dict[str, Any] = json.loads(inflate(data) if is_compressed else data)
        match frame["type"]:
            case "tool_call":
                return [self._wire.frame(_ANSWER % (frame["id"].encode(), RESULT))]
            case "agent_run":
                device.files = cycle(self._files[frame["agent_id"]])
                device.credit = frame.get("credit", 16)  # the default is left out
                self._epoll.modify(device.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            case "agent_credit":
                device.credit += frame["pieces"]
                if device.files is not None:
                    self._epoll.modify(device.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            case "agent_cancel":
                device.files = None
                return [self._wire.frame(JSON.encode(AgentComplete(run_id=RUN_ID)))]
        return []

    def _send(self, device: Device, data: bytes) -> None:
        if device.pending:
            device.pending.append(memoryview(data))
            return
        try:
            sent = device.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the next read tells it
        if sent < len(data):
            device.pending.append(memoryview(data)[sent:])
            self._epoll.modify(device.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _write(self, device: Device) -> None:
        """The socket takes more: what is pending, else the next piece of an upload."""
        if not device.pending and device.files is not None and device.credit > 0:
            device.credit -= 1
            device.pending.append(memoryview(next(device.files)))
        if not device.pending:
            self._epoll.modify(device.socket.fileno(), select.EPOLLIN)
            return
        data = device.pending.popleft()
        try:
            sent = device.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            device.pending.appendleft(data[sent:])

    def _forget(self, device: Device) -> None:
        self._epoll.unregister(device.socket.fileno())
        del self._devices[device.socket.fileno()]
        device.socket.close()


def _hello(number: int) -> DeviceHello:
    return DeviceHello(token=token_of(number), capabilities=[Capability(name="agent_data.credit")])


def main() -> None:
    """Connect, say so, serve."""
    config = msgspec.json.decode(sys.argv[1], type=ClientConfig)
    pin_to_core(CORE)
    allow_open_files(config.devices + 100)
    client = Client(config)
    client.connect()
    print(json.dumps({"connected": config.devices}), flush=True)
    client.serve(sys.stdin.fileno())


if __name__ == "__main__":
    main()
