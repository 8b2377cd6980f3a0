"""The oldest device there is: what a stranger writes from the first description alone.

It shows a token in ``device_hello``, answers ``agent_run`` with ``agent_data`` and
``agent_complete``, and ``tool_call`` with ``tool_result``. It knows nothing of
challenges, fences, credit, capabilities, manifests or idempotency keys, and
ignores what it does not know. Nothing of ours is imported here: that is the point.

    python tests/support/seed_device.py URL TOKEN ROOT DB
"""

import asyncio
import json
import os
import sqlite3
import sys
import uuid
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

TABLES = ("tasks", "notes", "timelines", "projects", "taskComments")


class SeedDevice:
    """Files of one folder out, rows into one SQLite file."""

    def __init__(self, url: str, token: str, root: str, db: str) -> None:
        self.url = url
        self.token = token
        self.root = root
        self.db = sqlite3.connect(db)
        for table in TABLES:
            self.db.execute(f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, data TEXT)")

    async def serve(self) -> None:
        """Talk to the hub until it hangs up."""
        async with connect(self.url) as socket:
            await socket.send(json.dumps({"type": "device_hello", "device_id": "seed", "token": self.token}))
            async for message in socket:
                frame = json.loads(message)
                if frame.get("type") == "agent_run":
                    await self.send_files(socket, frame)
                elif frame.get("type") == "tool_call":
                    await self.answer(socket, frame)

    async def send_files(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        """All files of the folder, one frame each; then the end."""
        run_id = frame["run_id"]
        endings = tuple(frame["config"].get("file_extensions", []))
        for path, content in self.files(endings):
            file = {"path": path, "content": content}
            await socket.send(json.dumps({"type": "agent_data", "run_id": run_id, "files": [file]}))
        await socket.send(json.dumps({"type": "agent_complete", "run_id": run_id}))

    def files(self, endings: tuple[str, ...]) -> list[tuple[str, str]]:
        """Path and text of every file with one of these endings; none given: of all."""
        found = []
        for folder, _, names in os.walk(self.root):
            for name in sorted(names):
                if not endings or name.endswith(endings):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        found.append((path, file.read()))
        return found

    async def answer(self, socket: ClientConnection, call: dict[str, Any]) -> None:
        """Insert a row, or say what is wrong as a plain string."""
        if call.get("action") == "insert" and call.get("table") in TABLES:
            row_id = str(uuid.uuid4())  # noqa: TID251 - no id factory here: nothing of ours
            with self.db:
                self.db.execute(
                    f"INSERT INTO {call['table']} VALUES (?, ?)", (row_id, json.dumps(call["data"]))
                )
            answer: dict[str, Any] = {"result": {"id": row_id}}
        else:
            answer = {"result": {"error": f"cannot {call.get('action')} {call.get('table')}"}}
        await socket.send(json.dumps({"type": "tool_result", "id": call["id"], **answer}))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What is in a table."""
        return [json.loads(data) for (data,) in self.db.execute(f"SELECT data FROM {table}")]


if __name__ == "__main__":
    asyncio.run(SeedDevice(*sys.argv[1:5]).serve())
