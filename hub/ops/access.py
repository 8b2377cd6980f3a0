"""Who may ask what of the operator's interface, decided before any route is looked at.

The Unix socket is for the hub's own user and root, who may do everything. TCP reads
only, and only for those who mean this hub: a web page on another origin and a
rebound host name are turned away. No address is trusted for being near.
"""

import ipaddress
import os
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.ops.address import Address
from hub.ops.api.errors import Problem
from protocol.errors import ErrorCode

READING_METHODS = frozenset({"GET", "HEAD"})
PEER_UID = "peer_uid"  # in the scope's state: who is at the other end of a Unix socket; None over TCP


class Access:
    """ASGI middleware: the rules above, and the bound on a request's body.

    Args:
        hosts: what the Host header of a TCP request may say, beside an IP address.
        body_bytes: the longest body that is read.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], body_bytes: int) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._body_bytes = body_bytes
        self._uids = frozenset({0, os.getuid()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _bounded(receive, self._body_bytes), send)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._body_bytes:
            return Problem(ErrorCode.TOO_LARGE, f"a body has at most {self._body_bytes} bytes")
        uid = scope["state"].get(PEER_UID)
        if uid is not None:
            if uid in self._uids:
                return None
            return Problem(ErrorCode.FORBIDDEN, f"user {uid} is not the hub's user")
        host = headers.get("host", "").lower()
        if host not in self._hosts and not _is_ip_address(host):
            return Problem(ErrorCode.FORBIDDEN, "this hub has another name", status=421)
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return Problem(ErrorCode.FORBIDDEN, "a page of another origin may not ask")
        if scope["method"] not in READING_METHODS:
            return Problem(ErrorCode.FORBIDDEN, "over TCP this hub is read-only; use its Unix socket")
        return None


def _is_ip_address(host: str) -> bool:
    """Whether *host* names no name: only a name can be rebound to this machine."""
    try:
        ipaddress.ip_address(Address.parse(host).host)
    except ValueError:
        return False
    return True


def _bounded(receive: Receive, limit: int) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"a body has at most {limit} bytes")
        return message

    return bounded
