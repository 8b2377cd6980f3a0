"""Who is let in by the Unix socket: the kernel says who asks."""

import os
import socket
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from hub.ops.access import PEER_UID, Access
from hub.ops.peer import peer_uid


async def _status(uid: int | None, **scope: Any) -> int:
    """What a request by *uid* is answered with."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    access = Access(application, hosts={"localhost:8771"}, body_bytes=10)
    request = {"type": "http", "method": "POST", "headers": [], "state": {PEER_UID: uid}}
    await access(request | scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("uid", "status"), [(os.getuid(), 204), (0, 204), (os.getuid() + 1, 403), (65_534, 403)]
)
async def test_the_hubs_own_user_and_root_may_change_things(uid: int, status: int) -> None:
    assert await _status(uid) == status


async def test_a_request_whose_sender_is_not_known_is_taken_for_a_stranger() -> None:
    assert await _status(None) == 421
    assert await _status(None, headers=[(b"host", b"localhost:8771")]) == 403


def test_the_peer_of_a_unix_socket_is_known_and_no_other() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket(socket.AF_INET) as other:
        assert peer_uid(ours) == os.getuid()
        assert peer_uid(other) is None
