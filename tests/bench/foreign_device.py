"""Foreign device: a JSON client of the device port, which shares nothing with this project."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio.abc
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

_PAGE: Final = 2_000  # files
_JSON: Final = Subprotocol("hub.v1.json")
ROWS: Final = ("tool.insert", "tool.update")
MANIFEST: Final = ("agent_manifest", "agent_manifest.pages", "tool.insert", "tool_calls")


class ForeignDevice:
    """Connection of a device. *capabilities*: those of its hello. A row has the id of its call."""

    def __init__(self, token: str, files: Mapping[str, str], capabilities: Sequence[str]) -> None:
        self._hello = {"token": token, "capabilities": [{"name": name} for name in capabilities]}
        self._files = files
        self._pages: list[list[dict[str, Any]]] = []

    async def serve(self, url: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Connect, and answer until cancelled; started once welcome.

        Raises:
            ConnectionError: the hub closed the connection.
        """
        async with connect(
            f"{url}/v1/device", subprotocols=[_JSON], max_size=None, compression=None
        ) as socket:
            await _send(socket, "device_hello", **self._hello)
            async for message in socket:
                frame = json.loads(message)
                if frame["type"] == "welcome":
                    task_status.started()
                else:
                    await self._answer(socket, frame)
            raise ConnectionError(f"the hub went: {socket.close_code} {socket.close_reason}")

    async def _answer(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        match frame:
            case {"type": "agent_run", "mode": "manifest"}:
                self._pages = self._manifest()
                await self._send_page(socket, frame)
            case {"type": "agent_run"}:
                await self._send_files(socket, frame, self._files)
                await _send(socket, "agent_complete", **_run_of(frame))
            case {"type": "agent_fetch"}:
                await self._send_files(socket, frame, frame.get("paths", ()))
                if frame.get("last", True):
                    await _send(socket, "agent_complete", **_run_of(frame))
                elif self._pages:
                    await self._send_page(socket, frame)
            case {"type": "tool_call"}:
                await _send(socket, "tool_result", **_result(frame))
            case {"type": "tool_calls"}:
                await _send(socket, "tool_results", results=[_result(call) for call in frame["calls"]])

    async def _send_files(self, socket: ClientConnection, frame: dict[str, Any], paths: Any) -> None:
        for path in paths:
            file = {"path": path, "content": self._files[path]}
            await _send(socket, "agent_data", files=[file], **_run_of(frame))

    async def _send_page(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        page = self._pages.pop(0)
        await _send(socket, "agent_manifest", files=page, last=not self._pages, **_run_of(frame))

    def _manifest(self) -> list[list[dict[str, Any]]]:
        listed = [
            {
                "path": path,
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content.encode()).hexdigest(),
                "modified_ms": 1_767_603_600_000,
            }
            for path, content in sorted(self._files.items())
        ]
        return [listed[at : at + _PAGE] for at in range(0, len(listed), _PAGE)]


def _run_of(frame: dict[str, Any]) -> dict[str, Any]:
    return {"run_id": frame["run_id"], "fence": frame["fence"]}


def _result(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": call["id"], "result": {"id": f"row-{call['id']}"}}


async def _send(socket: ClientConnection, type: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": type, **fields}))
