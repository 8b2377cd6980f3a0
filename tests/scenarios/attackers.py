"""Whoever wants to bring a hub down, as one process: many sockets, each doing the same harm.

``python -m tests.scenarios.attackers`` takes plans, each a line of JSON, and says for each in one line of
JSON what the hub answered to the sockets. It is as polite to the processor as can be: what is
measured is the hub.
"""

import json
import os
import re
import select
import selectors
import socket
import sys
import zlib
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import msgspec

from protocol.codec import MSGPACK
from protocol.frame import PATH
from tests.bench.machine import allow_open_files, pin_to_core
from tests.support.keys import KeyPair

CORE: Final = 1
_FIN, _MASKED = 0x80, 0x80
_PACKED: Final = 0x40
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_FLOOD_BYTES: Final = 64 * 1024  # in one send
_LOOK_S: Final = 0.05
_DRIP_S: Final = 0.02
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEYS: Final = 256  # that can be made from a byte


class Plan(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What each socket does.

    Attributes:
        port: of the hub, or *unix*, a path.
        sockets: how many; opened one after the other, *again* as soon as one is closed or refused.
        addresses: how many addresses of 127.0.0.0/8 they come from; *subnet* is the third number of them.
        tokens: shown by the sockets in turn, as a hello, once they are WebSockets; none: nothing is said.
            In *head* one stands for ``{token}``, and four digits of the socket's number for ``{number}``.
        first_key: instead of tokens each socket signs with a key of its own, from this number on.
        head: sent instead of a request for a WebSocket.
        headers: of that request, beside the usual ones.
        drip: only so many bytes a second of the request.
        hello: sent instead of a hello: bytes of the wire, as Latin-1.
        start: sent once at the welcome, in the same way.
        capabilities: that the hello lists.
        run: frames that are sent for a run once the hub asks for one, and for each page of its files that the
            hub asks for; its calls are not answered.
        flood: sent again and again from the welcome, or the end of *head*, on: bytes of the wire, as Latin-1.
        reads: whether anything is read after the welcome; *pongs*: whether pings are answered.
    """

    port: int = 0
    unix: str = ""
    seconds: float
    sockets: int
    addresses: int = 1
    subnet: int = 1
    again: bool = False
    tokens: list[str] = []
    first_key: int | None = None
    head: str | None = None
    headers: dict[str, str] = {}
    path: str = PATH
    drip: int = 0
    hello: str | None = None
    start: str = ""
    capabilities: list[str] = []
    run: list[dict[str, Any]] = []
    flood: str = ""
    reads: bool = True
    pongs: bool = True


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, declared: int | None = None) -> bytes:
    """A frame of a client, with a mask of noughts. *declared*: a length that is not its own."""
    length = len(payload) if declared is None else declared
    first = bytes([(_FIN if fin else 0) | opcode])
    if length < 126:
        head = first + bytes([_MASKED | length])
    elif length < 65_536:
        head = first + bytes([_MASKED | 126]) + length.to_bytes(2, "big")
    else:
        head = first + bytes([_MASKED | 127]) + length.to_bytes(8, "big")
    return head + bytes(4) + payload


def text(**said: Any) -> bytes:
    """A frame of ours."""
    return frame(_TEXT, json.dumps(said).encode())


def packed(**said: Any) -> bytes:
    """A frame of ours in MessagePack."""
    return frame(_BINARY, msgspec.msgpack.encode(said))


def ping(payload: bytes = b"") -> bytes:
    """A ping."""
    return frame(_PING, payload)


class _Socket:
    """One of them, from its opening until the hub has had enough."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan = plan
        self.number = number
        self.token = plan.tokens[number % len(plan.tokens)] if plan.tokens else None
        self.answer = ""
        self.pending = request_of(plan, self.token, number)
        self.received = b""
        self.calls = 0
        self.is_websocket = False
        self.is_flooding = bool(plan.flood) and plan.head is not None
        self.began = monotonic()
        self.dripped = 0
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        plan = self.plan
        made = socket.socket(socket.AF_UNIX if plan.unix else socket.AF_INET)
        if not plan.reads:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if not plan.unix:
            made.bind((f"127.0.{plan.subnet}.{2 + self.number % plan.addresses}", 0))
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect(plan.unix or ("127.0.0.1", plan.port))
        return made

    @property
    def wants_to_write(self) -> bool:
        return bool(self.pending) or self.is_flooding

    def write(self) -> None:
        """Send what is to be sent. Raises OSError."""
        if self.plan.drip and not self.is_websocket:
            due = int((monotonic() - self.began) * self.plan.drip) - self.dripped
            sent = self.socket.send(self.pending[:due]) if due > 0 else 0
            self.dripped += sent
            self.pending = self.pending[sent:]
            return
        if not self.pending and self.is_flooding:
            self.pending = self.plan.flood.encode("latin-1")
            self.pending *= max(1, _FLOOD_BYTES // len(self.pending))
        if self.pending:
            self.pending = self.pending[self.socket.send(self.pending) :]

    def read(self) -> bool:
        """Take in what the hub says; false when one of both has hung up. Raises OSError."""
        data = self.socket.recv(65_536)
        self.received += data
        if not self.is_websocket:
            self._read_head(is_over=not data)
        if self.is_websocket:
            self._read_frames()
        if not data and not self.answer:
            self.answer = "cut"
        is_refused = self.plan.again and self.answer[:3] >= "400" and self.answer[:3].isdecimal()
        return bool(data) and not is_refused and not self.answer.startswith("close")

    def _read_head(self, *, is_over: bool) -> None:
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end or self.answer:
            return
        if b" 101 " in head.split(b"\r\n")[0]:
            self.is_websocket, self.received = True, rest
            self._greet()
        elif is_over or _is_whole(head, rest):
            self.answer = _status(head, rest)

    def _greet(self) -> None:
        if self.plan.hello is not None:
            self.pending += self.plan.hello.encode("latin-1")
        elif self.token is not None:
            spelled = packed if MSGPACK.name in self.plan.headers.values() else text
            named = [{"name": name} for name in self.plan.capabilities]
            self.pending += spelled(type="device_hello", token=self.token, capabilities=named)

    def _read_frames(self) -> None:
        while len(self.received) >= 2:
            opcode, length, at = self.received[0] & 0xF, self.received[1], 2
            if length >= 126:
                at = 4 if length == 126 else 10
                length = int.from_bytes(self.received[2:at], "big")
            if len(self.received) < at + length:
                return
            is_packed = bool(self.received[0] & _PACKED)
            payload, self.received = self.received[at : at + length], self.received[at + length :]
            if is_packed:
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            if opcode == _CLOSE:
                self.answer = f"close {int.from_bytes(payload[:2], 'big')}"
            elif opcode == _PING and self.plan.pongs:
                self.pending += frame(_PONG, payload)
            elif opcode == _TEXT:
                self._hear(json.loads(payload))
            elif opcode == _BINARY:
                self._hear(msgspec.msgpack.decode(payload))

    def _hear(self, said: dict[str, Any]) -> None:
        """A frame of the hub's."""
        plan = self.plan
        match said["type"]:
            case "challenge" if plan.first_key is not None:
                key = KeyPair((plan.first_key + self.number) % _KEYS)
                self.pending += text(type="device_hello", identity=key.identity(said))
            case "welcome":
                self.answer = "welcome"
                self.pending += plan.start.encode("latin-1")
                self.is_flooding = bool(plan.flood)
            case "agent_run" | "agent_fetch" if not said.get("last"):
                ours = {"run_id": said["run_id"], "fence": said["fence"]}
                self.pending += b"".join(text(**frame, **ours) for frame in plan.run)
            case "agent_cancel":
                self.answer = f"agent_cancel {said['reason']}"
            case "tool_call":
                self.calls += 1
                self.answer = f"{self.calls} calls"
            case "error" if not self.answer:
                self.answer = str(said["code"])


def request_of(plan: Plan, token: str | None, number: int = 0) -> bytes:
    """What asks for a WebSocket, or is sent in its place."""
    if plan.head is not None:
        head = plan.head.replace("{token}", token or "").replace("{number}", f"{number % 10_000:04}")
        return head.encode("latin-1")
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    } | plan.headers
    lines = [f"GET {plan.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _is_whole(head: bytes, body: bytes) -> bool:
    """Return True if the response is complete; that of an event stream is complete with its head."""
    length = _LENGTH.search(head)
    return b"text/event-stream" in head if length is None else len(body) >= int(length[1])


def _status(head: bytes, body: bytes) -> str:
    """The status of an answer that is none for a WebSocket, with our code where it is a refusal."""
    status = head.split(b" ")[1].decode()
    try:
        told = json.loads(body)
        return f"{status} {told['code'] if 'code' in told else told['error']['code']}"
    except (ValueError, LookupError, TypeError):
        return status


def attack(plan: Plan) -> Counter[str]:
    """Do it, and count what each socket was answered; ``open``: it still is, without an answer."""
    answers: Counter[str] = Counter()
    sockets: dict[int, _Socket] = {}
    number = 0
    end = monotonic() + plan.seconds
    with selectors.EpollSelector() as selector:

        def open_one() -> None:
            nonlocal number
            one = _Socket(plan, number)
            number += 1
            sockets[one.socket.fileno()] = one
            selector.register(one.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, one)

        def close_one(one: _Socket, answer: str) -> None:
            answers[answer] += 1
            selector.unregister(one.socket)
            del sockets[one.socket.fileno()]
            one.socket.close()
            if plan.again:
                open_one()

        for _ in range(plan.sockets):
            open_one()
        while (left := end - monotonic()) > 0 and sockets:
            if plan.drip:
                select.select([], [], [], _DRIP_S)  # else every socket can be written to, at once
            for key, events in selector.select(min(left, _LOOK_S)):
                one: _Socket = key.data
                try:
                    is_there = not events & selectors.EVENT_READ or one.read()
                    if is_there and events & selectors.EVENT_WRITE:
                        one.write()
                except BlockingIOError:
                    is_there = True
                except OSError:
                    is_there = False
                if not is_there:
                    close_one(one, one.answer or "cut")
                    continue
                does_read = plan.reads or one.answer != "welcome"
                selector.modify(
                    one.socket,
                    (selectors.EVENT_READ if does_read else 0)
                    | (selectors.EVENT_WRITE if one.wants_to_write or not does_read else 0),
                    one,
                )
        for one in sockets.values():
            answers[one.answer or "open"] += 1
            one.socket.close()
    return answers


def main() -> None:
    """Attack as told, and say what came of it, until nothing more is told."""
    pin_to_core(CORE)
    os.nice(10)
    for line in sys.stdin.buffer:
        plan = msgspec.json.decode(line, type=Plan)
        allow_open_files(plan.sockets + 100)
        print(json.dumps(attack(plan)), flush=True)  # noqa: T201  # for the process that started this one


if __name__ == "__main__":
    main()
