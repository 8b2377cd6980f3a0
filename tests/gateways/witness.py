"""What a gateway itself shows: a plain client of the wire, written apart from the hub's own.

A state that the hub reports counts as proven only when the witness finds it in the gateway's history.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

SCOPES: Final = ["operator.read", "operator.write", "operator.admin"]
_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_PATIENCE_S: Final = 60.0
_DROPPED: Final = "run-failed-before-reply"  # behind a message: its turn never came to the model


class NotYet(Exception):
    """The gateway lets nobody in just now."""


class Refused(Exception):
    """The gateway said no."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.code: str = error.get("code", "")
        self.details: dict[str, Any] = error.get("details") or {}
        self.error = error


class Witness:
    """One connection.

    Attributes:
        boot_id: of this start of the gateway.
        events: what it told, in order.
    """

    def __init__(self, socket: ClientConnection, hello: dict[str, Any]) -> None:
        self.boot_id: str = hello["server"]["bootId"]
        self.version: str = hello["server"]["version"]
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._asked = 0

    async def ask(self, method: str, **params: Any) -> Any:
        """The payload of the answer.

        Raises:
            Refused: it was refused.
        """
        self._asked += 1
        id = f"w{self._asked}"
        await self._socket.send(json.dumps({"type": "req", "id": id, "method": method, "params": params}))
        with anyio.fail_after(_PATIENCE_S):
            while True:
                frame = json.loads(await self._socket.recv())
                if frame["type"] == "event":
                    self.events.append(frame)
                elif frame["id"] == id:
                    break
        if not frame["ok"]:
            raise Refused(frame["error"])
        return frame.get("payload")

    async def history(self, session: str) -> "History":
        """All that was said in *session*, as far as the gateway keeps it."""
        return History(await self.ask("chat.history", sessionKey=session, limit=1000))

    async def soul(self, agent: str) -> dict[str, Any]:
        """The agent's SOUL.md: content and hash."""
        file: dict[str, Any] = (await self.ask("agents.files.get", agentId=agent, name="SOUL.md"))["file"]
        return file

    async def agents(self) -> list[str]:
        """Ids of the agents that the gateway has."""
        return [agent["id"] for agent in (await self.ask("agents.list"))["agents"]]


class History:
    """A session as the gateway tells it."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload
        self.rows: list[dict[str, Any]] = payload["messages"]
        self.is_busy: bool = bool((payload.get("sessionInfo") or {}).get("hasActiveRun"))

    def said(self, words: str) -> list[dict[str, Any]]:
        """Rows of what was said to the agent with *words* in it, without those that its model never had."""
        followed = zip(self.rows, [*self.rows[1:], {}], strict=False)
        return [row for row, after in followed if _says(row, words) and after.get("customType") != _DROPPED]

    def dropped(self, words: str) -> int:
        """How often *words* were said while the gateway could not begin a turn with them."""
        return len([row for row in self.rows if _says(row, words)]) - len(self.said(words))

    def keys(self, words: str) -> list[str]:
        """Idempotency keys of those rows, without the gateway's own ending."""
        return [str(row.get("idempotencyKey", "")).removesuffix(":user") for row in self.said(words)]

    def pending(self, words: str) -> list[str]:
        """States of inputs with *words* that the agent has not got."""
        return [
            item["state"]
            for item in self.payload["pendingInputs"]["items"]
            if words in text_of(item["message"])
        ]

    def answers_after(self, words: str) -> list[str]:
        """What the agent said after the last time it was told *words*, before it was told something else."""
        return [text_of(row) for row in self._after(words) if row.get("stopReason") == "stop"]

    def _after(self, words: str) -> Iterator[dict[str, Any]]:
        begins = [n for n, row in enumerate(self.rows) if _says(row, words)]
        for row in self.rows[begins[-1] + 1 :] if begins else ():
            if row["role"] == "user" and not text_of(row).startswith("[System]"):
                return
            if row["role"] == "assistant":
                yield row


def _says(row: dict[str, Any], words: str) -> bool:
    return row["role"] == "user" and words in text_of(row)


def text_of(row: dict[str, Any]) -> str:
    """The words of a row."""
    content = row.get("content")
    if isinstance(content, str):
        return content
    return "".join(piece.get("text", "") for piece in content or [])


@asynccontextmanager
async def witness(url: str, token: str) -> AsyncIterator[Witness]:
    """A connection with all rights, for as long as the block lasts.

    Raises:
        NotYet: the gateway is away, or still starting.
    """
    try:
        socket = await connect(url, compression=None, max_size=_MAX_FRAME_BYTES, open_timeout=10)
    except (OSError, WebSocketException) as error:
        raise NotYet(str(error)) from None
    try:
        hello = await _greeted(socket, token)
        yield Witness(socket, hello)
    finally:
        with anyio.move_on_after(2, shield=True), suppress(OSError, WebSocketException):
            await socket.close()


async def _greeted(socket: ClientConnection, token: str) -> dict[str, Any]:
    client = {"id": "gateway-client", "version": "witness", "platform": "linux", "mode": "backend"}
    params = {
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": client,
        "role": "operator",
        "scopes": SCOPES,
        "caps": [],
        "auth": {"token": token},
    }
    try:
        with anyio.fail_after(15):
            await socket.recv()  # the challenge: on loopback, with a token, it needs no signature
            await socket.send(json.dumps({"type": "req", "id": "c", "method": "connect", "params": params}))
            answer = json.loads(await socket.recv())
    except (OSError, WebSocketException, TimeoutError) as error:
        raise NotYet(str(error)) from None
    if not answer["ok"]:
        if answer["error"].get("retryable"):
            raise NotYet(answer["error"]["message"])
        raise Refused(answer["error"])
    hello: dict[str, Any] = answer["payload"]
    return hello
