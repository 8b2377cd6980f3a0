"""The baseline "raw": frames behind four bytes of length, on uvloop, with the hub's own codec.

The least that Python has to do for a call, and so what the hub is measured
against as a share. Run as ``python -m tests.bench.raw_server CONFIG``.
"""

import asyncio
import sys
from collections.abc import Callable
from struct import Struct
from typing import cast

import anyio
import msgspec

from protocol.codec import JSON
from protocol.handshake import DeviceHello
from protocol.tool_calls import Action, ToolCall, ToolResult
from protocol.work import AgentCancel, AgentData, AgentRun, RunConfig
from tests.bench.driver import Arrivals, obey, run_server
from tests.bench.payloads import AGENT_ID, CALL_DATA, RUN_ID, call_ids

_LENGTH = Struct(">I")
_MANY = 1_000_000_000


class RawConfig(msgspec.Struct, kw_only=True):
    """How many devices will come."""

    devices: int


_ids = call_ids()
_pending: dict[str, asyncio.Future[object]] = {}


class RawPeer(asyncio.Protocol):
    """A device by its transport."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._taken: Callable[[], None] | None = None
        self._transport: asyncio.Transport

    async def call(self) -> object:
        call_id = next(_ids)
        answered = _pending[call_id] = asyncio.get_running_loop().create_future()
        self._send(
            ToolCall(
                id=call_id,
                action=Action.INSERT,
                table="tasks",
                data=CALL_DATA,
                run_id=RUN_ID,
                agent_id=AGENT_ID,
            )
        )
        return await answered

    async def take_files(self, file_set: str, taken: Callable[[], None]) -> None:
        self._taken = taken
        self._send(AgentRun(run_id=RUN_ID, fence=1, agent_id=file_set, config=RunConfig(), credit=_MANY))
        try:
            await anyio.sleep_forever()
        finally:
            self._taken = None
            self._send(AgentCancel(run_id=RUN_ID))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not say that they are

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        start, end = 0, len(data)
        while end - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, start)
            stop = start + _LENGTH.size + size
            if stop > end:
                break
            self._receive(data[start + _LENGTH.size : stop])
            start = stop
        self._rest = data[start:]

    def _receive(self, data: bytes) -> None:
        frame = JSON.decode_from_device(data)
        match frame:
            case ToolResult():
                assert frame.id is not None
                assert frame.result is not msgspec.UNSET
                _pending.pop(frame.id).set_result(frame.result)
            case AgentData() if self._taken is not None:
                self._taken()
            case DeviceHello():
                self._transport.write(_prefixed(b'{"type":"welcome"}'))
                self._arrivals.add(self)

    def _send(self, frame: ToolCall | AgentRun | AgentCancel) -> None:
        self._transport.write(_prefixed(JSON.encode(frame)))


def _prefixed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


async def _serve(config: RawConfig) -> None:
    arrivals = Arrivals(config.devices)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: RawPeer(arrivals), "127.0.0.1", 0)
    await obey(server.sockets[0].getsockname()[1], arrivals)


def main() -> None:
    """Serve until the input ends."""
    config = msgspec.json.decode(sys.argv[1], type=RawConfig)

    async def serve() -> None:
        await _serve(config)

    run_server(serve, config.devices)


if __name__ == "__main__":
    main()
