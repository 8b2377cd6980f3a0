"""A gateway's door: the challenge, ``connect``, and who is let in."""

import json
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection

from tests.support.gateway import handshake, requests
from tests.support.gateway.office import Office, fresh

TICK_MS = 30_000
VERSION = "2026.9.6"
MAX_PAYLOAD = 26_214_400
_STARTING = {
    "code": "UNAVAILABLE",
    "message": "gateway starting; retry shortly",
    "retryable": True,
    "retryAfterMs": 500,
    "details": {"reason": "startup-sidecars"},
}


@dataclass(eq=False)
class Guest:
    """A connection."""

    socket: ServerConnection
    scopes: list[str]
    device_id: str | None
    seq: int = 0


class Door:
    """What is decided before anything may be asked.

    Attributes:
        connects: the parameters of every ``connect``.
        is_starting: ``connect`` is answered "starting" and closed with 1013.
        refuses: every ``connect`` is answered with this error, and closed with this code.
        greets: false: the challenge never comes.
        is_remote: as if reached from another machine: a device is needed and has to be approved.
        auto_approve: devices are approved silently.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.office = Office()
        self.boot_id = ""
        self.connects: list[dict[str, Any]] = []
        self.is_starting = self.is_remote = self.auto_approve = False
        self.refuses: tuple[dict[str, Any], int] | None = None
        self.greets = True
        self.max_payload = MAX_PAYLOAD

    async def greet(self, connected: ServerConnection) -> Guest | None:
        """Let a client in, or send it away."""
        if not self.greets:
            await connected.wait_closed()
            return None
        nonce = fresh("nonce")
        challenge = {"nonce": nonce, "ts": 1_795_149_178_664, "capabilities": []}
        await _send(connected, type="event", event="connect.challenge", payload=challenge)
        frame = json.loads(await connected.recv())
        assert frame["method"] == "connect", frame
        params = frame["params"]
        self.connects.append(params)
        try:
            auth = self._judged(params, nonce)
        except handshake.TurnedAway as away:
            await _send(connected, type="res", id=frame["id"], ok=False, error=away.error)
            await connected.close(away.close)
            return None
        hello = self._hello(auth)
        await _send(connected, type="res", id=frame["id"], ok=True, payload=hello)
        return Guest(connected, list(auth["scopes"]), (params.get("device") or {}).get("id"))

    def _judged(self, params: dict[str, Any], nonce: str) -> dict[str, Any]:
        if self.is_starting:
            raise handshake.TurnedAway.by(_STARTING, 1013)
        if self.refuses is not None:
            raise handshake.TurnedAway.by(*self.refuses)
        return handshake.judge(
            params,
            nonce=nonce,
            token=self.token,
            office=self.office,
            is_remote=self.is_remote,
            auto_approve=self.auto_approve,
        )

    def _hello(self, auth: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": VERSION, "bootId": self.boot_id, "connId": fresh("conn")},
            "features": {
                "methods": sorted(requests.METHODS),
                "events": ["agent", "chat", "tick"],
                "capabilities": [],
            },
            "snapshot": {"sessionDefaults": {"defaultAgentId": "main", "mainKey": "main"}},
            "auth": auth,
            "policy": {
                "maxPayload": self.max_payload,
                "maxBufferedBytes": 52_428_800,
                "tickIntervalMs": TICK_MS,
            },
        }


async def _send(connected: ServerConnection, **frame: Any) -> None:
    await connected.send(json.dumps(frame))
