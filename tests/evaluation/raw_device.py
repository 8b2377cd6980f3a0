"""A device that reads nothing: every file leaves it as bytes, and the hub has to make text of them.

``python -m tests.evaluation.raw_device URL TOKEN ROOT DB``
"""

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.support.seed_device import SeedDevice

_PIECE = 256 * 1024  # characters: the protocol's own size of a piece


class RawDevice(SeedDevice):
    """The oldest device there is, with files of any kind."""

    async def send_files(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        """All files of the folder in pieces; then the end."""
        run_id = frame["run_id"]
        for file in self._pieces():
            await socket.send(json.dumps({"type": "agent_data", "run_id": run_id, "files": [file]}))
        await socket.send(json.dumps({"type": "agent_complete", "run_id": run_id}))

    def _pieces(self) -> Iterator[dict[str, Any]]:
        for path in sorted(Path(self.root).iterdir()):
            content = base64.b64encode(path.read_bytes()).decode()
            pieces = [content[at : at + _PIECE] for at in range(0, len(content), _PIECE)] or [""]
            for number, piece in enumerate(pieces):
                place: dict[str, Any] = {"path": path.name, "piece": number, "pieces": len(pieces)}
                yield place | {"content": piece, "encoding": "base64"}


if __name__ == "__main__":
    asyncio.run(RawDevice(*sys.argv[1:5]).serve())
