"""The baseline "FastAPI hub": a WebSocket route, ``json``, and a dictionary of futures; uvicorn on uvloop.

What one writes first: no deadlines, no bounds, no metrics. Its devices greet as
the hub's do, and every token is good. Run as ``python -m
tests.bench.fastapi_server CONFIG``.
"""

import asyncio
import json
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from protocol.frame import PATH
from tests.bench.driver import Arrivals, obey, run_server
from tests.bench.payloads import AGENT_ID, CALL_DATA, RUN_ID, call_ids

_MANY = 1_000_000_000


class FastApiConfig(msgspec.Struct, kw_only=True):
    """Options of the server."""

    devices: int


_ids = call_ids()
_pending: dict[str, asyncio.Future[Any]] = {}


class RoutePeer:
    """A device by its WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.taken: Callable[[], None] | None = None

    async def call(self) -> object:
        call_id = next(_ids)
        answered = _pending[call_id] = asyncio.get_running_loop().create_future()
        frame = {
            "type": "tool_call",
            "id": call_id,
            "action": "insert",
            "table": "tasks",
            "data": CALL_DATA,
            "run_id": RUN_ID,
            "agent_id": AGENT_ID,
        }
        await self._websocket.send_text(json.dumps(frame))
        return await answered

    async def take_files(self, file_set: str, taken: Callable[[], None]) -> None:
        self.taken = taken
        run = {"type": "agent_run", "run_id": RUN_ID, "agent_id": file_set, "credit": _MANY}
        await self._websocket.send_text(json.dumps(run))
        try:
            await anyio.sleep_forever()
        finally:
            self.taken = None
            with anyio.CancelScope(shield=True):
                await self._websocket.send_text(json.dumps({"type": "agent_cancel", "run_id": RUN_ID}))

    def receive(self, text: str) -> None:
        frame = json.loads(text)
        match frame["type"]:
            case "tool_result":
                answered = _pending.pop(frame["id"])
                if not answered.done():
                    answered.set_result(frame["result"])
            case "agent_data" if self.taken is not None:
                self.taken()


def _app(arrivals: Arrivals) -> FastAPI:
    app = FastAPI()

    @app.websocket(PATH)
    async def device(websocket: WebSocket) -> None:
        offered = websocket.scope["subprotocols"]
        await websocket.accept(subprotocol=offered[0] if offered else None)
        peer = RoutePeer(websocket)
        json.loads(await websocket.receive_text())  # device_hello
        await websocket.send_text(json.dumps({"type": "welcome"}))
        arrivals.add(peer)
        try:
            while True:
                peer.receive(await websocket.receive_text())
        except WebSocketDisconnect:
            pass

    return app


async def _serve(config: FastApiConfig) -> None:
    arrivals = Arrivals(config.devices)
    listening = socket.create_server(("127.0.0.1", 0))  # before uvicorn starts: who comes early waits
    running = uvicorn.Config(_app(arrivals), ws="websockets", log_level="error", lifespan="off")
    server = uvicorn.Server(running)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listening])
        await obey(listening.getsockname()[1], arrivals)


def main() -> None:
    """Serve until the input ends."""
    config = msgspec.json.decode(sys.argv[1], type=FastApiConfig)
    warnings.simplefilter("ignore")  # uvicorn finds the implementation that the goals name old

    async def serve() -> None:
        await _serve(config)

    run_server(serve, config.devices)


if __name__ == "__main__":
    main()
