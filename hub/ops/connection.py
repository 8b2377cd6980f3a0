"""One connection of an operator: who is at its other end, how long it may take to ask, how it is refused."""

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub.links.gate import Place, TurnedAway
from hub.ops.access import LET_IN, PEER_UID, SOCKET_PATH
from hub.ops.api.errors import Problem
from hub.ops.peer import peer_uid
from protocol.errors import ErrorCode

CONNECTIONS: Final = 256
HEAD_S: Final = 5.0
_LAST: Final = {"connection": "close"}


def connection_factory(
    *, most_local: int, head_s: float, on_refusal: Callable[[str], None]
) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection.

    Args:
        most_local: connections over Unix sockets at once; one more is told so, and closed. Those
            over TCP are counted at the gate, before this.
        head_s: within which a request's head must be here, once its connection is open or it began.
        on_refusal: told the code of each.
    """
    made = partial(
        OperatorConnection, local=set(), most_local=most_local, head_s=head_s, on_refusal=on_refusal
    )
    return cast(type[asyncio.Protocol], made)


class OperatorConnection(H11Protocol):
    """uvicorn's connection, with these bounds.

    Args:
        local: those that are open over Unix sockets, this one too once it is.
        place: what it takes up of its port; none over a Unix socket.
    """

    def __init__(
        self,
        *args: Any,
        local: set[H11Protocol],
        most_local: int,
        head_s: float,
        on_refusal: Callable[[str], None],
        place: Place | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._on_refusal = on_refusal
        self._local, self._most_local = local, most_local
        self._place = place
        self._head_s = head_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        path = transport.get_extra_info("sockname") if uid is not None else None
        self.app_state = self.app_state | {PEER_UID: uid, SOCKET_PATH: path, LET_IN: self._is_let_in}
        if uid is not None:
            self._local.add(self)
        if len(self._local) > self._most_local and uid is not None:
            self._refuse(ErrorCode.OVERLOADED, f"{self._most_local} connections are open already")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        self._local.discard(self)
        super().connection_lost(exc)
        if self._place is not None:
            self._place.leave()

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn: a WebSocket was asked for. The answer says enough; nothing needs to be installed."""

    def _is_let_in(self) -> None:
        """A good token came over it: it is no stranger's any more."""
        if self._place is not None:
            self._place.vouch()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # refused already
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head_is_here()
        elif self._head_timer is None:
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, or has a head that is too long, is told so."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        code = ErrorCode.TOO_LARGE if status == 431 else ErrorCode.BAD_PARAMS
        self._refuse(code, msg, status=status)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_s, self._too_slow)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(ErrorCode.HELLO_TIMEOUT, f"no request came within {self._head_s:g} s")

    def _refuse(self, code: ErrorCode, detail: str, *, status: int | None = None) -> None:
        self._on_refusal(code)
        if self.cycle is None or self.cycle.response_complete:  # nothing else is half said
            self.transport.write(_spelled(Problem(code, detail, status=status, headers=_LAST)))
        self.transport.close()


def told_to_an_operator(turned: TurnedAway) -> bytes:
    """Why a connection goes no further, as it goes over a socket on which nothing was read."""
    retry = {"retry-after": str(max(1, round(turned.retry_s)))}
    return _spelled(Problem(turned.reason, str(turned), headers=_LAST | retry))


def _spelled(problem: Problem) -> bytes:
    head = f"HTTP/1.1 {problem.status_code} {HTTPStatus(problem.status_code).phrase}\r\n".encode()
    told = b"".join(name + b": " + value + b"\r\n" for name, value in problem.raw_headers)
    return head + told + b"\r\n" + bytes(problem.body)
