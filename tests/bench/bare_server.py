"""A bare WebSocket server that lets devices in: by a token in a dict, with a welcome of one line.

The baseline of a device that connects. Run as ``python -m tests.bench.bare_server CONFIG``.
"""

import asyncio
import sys
from typing import Final

import anyio
import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from hub.base.tokens import hash_token
from protocol.frame import PATH
from tests.bench.driver import run_server
from tests.bench.payloads import token_of

_CHALLENGE: Final = '{"type":"challenge","nonce":"bare"}'


class BareConfig(msgspec.Struct, kw_only=True):
    """Number of devices that the server knows."""

    devices: int


async def _serve(config: BareConfig) -> None:
    known = {hash_token(token_of(number)): number for number in range(config.devices)}

    async def welcome(socket: ServerConnection) -> None:
        assert socket.request is not None and socket.request.path == PATH
        await socket.send(_CHALLENGE)
        hello = msgspec.json.decode(await socket.recv())
        device = known[hash_token(hello["token"])]
        await socket.send(f'{{"type":"welcome","device_id":"d-{device}"}}')
        try:
            await socket.wait_closed()
        except ConnectionClosed:
            return

    async with serve(welcome, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        (socket,) = server.sockets
        sys.stdout.write(f'{{"port":{socket.getsockname()[1]}}}\n')
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until the input ends."""
    config = msgspec.json.decode(sys.argv[1], type=BareConfig)

    async def serving() -> None:
        with anyio.CancelScope():
            await _serve(config)

    run_server(serving, config.devices)


if __name__ == "__main__":
    main()
