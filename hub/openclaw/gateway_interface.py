"""Interface of a gateway for other packages: errors, health, events.

The reader of a socket puts news into an inbox without waiting. A consumer that is too slow loses the unread
events, and gets one notification of the loss. It then has to read the gateway's state again, as after a
reconnection.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

import anyio
import msgspec

MAX_NEWS: Final = 2_000  # a turn has about twenty; enough for a turn of each of a hundred agents at once


# Rights that a method needs at the gateway; the value is the scope.
Need = Literal[
    "operator.read",
    "operator.write",
    "operator.admin",  # uses a separate connection, opened on demand
]


# State of the connection to a gateway.
GatewayState = Literal[
    "connecting",
    "ready",
    "waiting",  # ended or failed; retried soon
    "parked",  # a person has to approve this hub at the gateway; retried once a minute
    "refused",  # a person has to change the configuration; retried every five minutes
    "stopped",  # not to be connected
]


class GatewayProblem(msgspec.Struct, frozen=True):
    """A problem of a connection to a gateway. *code*: a word for programs; *hint*: advice, may be empty."""

    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class GatewayHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Current state of a gateway.

    Attributes:
        since: when this state began, UTC.
        next_try_at: time of the next attempt, UTC; None if ready, connecting or stopped.
        problem: why it is not ready; None if ready.
        admin_problem: why the last attempt to connect with admin rights failed.
        boot_id: boot of the gateway at the last connection.
        restarts: number of restarts of the gateway seen since the first connection.
    """

    name: str
    state: GatewayState
    since: datetime
    next_try_at: datetime | None = None
    problem: GatewayProblem | None = None
    admin_problem: GatewayProblem | None = None
    boot_id: str | None = None
    version: str | None = None
    scopes: tuple[str, ...] = ()
    restarts: int = 0


# --- news for listeners ---


class GatewayEvent(msgspec.Struct, frozen=True):
    """An event of the gateway. Each arrives at most once; a lost event ends the connection."""

    gateway: str
    name: str
    payload: Any


class Reconnected(msgspec.Struct, frozen=True):
    """The gateway is connected, for the first time or again. Events may have been missed.

    Attributes:
        is_restart: True if the gateway has restarted since the last connection, and lost its memory.
    """

    gateway: str
    boot_id: str
    is_restart: bool


class StateChanged(msgspec.Struct, frozen=True):
    """The state of the connection to the gateway has changed."""

    gateway: str
    health: GatewayHealth


GatewayNews = GatewayEvent | Reconnected | StateChanged
Listener = Callable[[GatewayNews], None]


class NewsLost(msgspec.Struct, frozen=True):
    """Events were dropped: the state of every gateway has to be read again."""


class NewsQueue:
    """A bounded queue of news: ``gateway.listen(inbox.enqueue)``, then ``await inbox.get()``."""

    def __init__(self, most: int = MAX_NEWS) -> None:
        self._most = most
        self._news: deque[GatewayNews | NewsLost] = deque()
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        return len(self._news)

    def enqueue(self, news: GatewayNews) -> None:
        """Append *news*. If the queue is full, waiting events are dropped, and other news kept."""
        if len(self._news) >= self._most:
            stored = [item for item in self._news if not isinstance(item, GatewayEvent | NewsLost)]
            self._news = deque([NewsLost(), *stored[-self._most // 2 :]])
        self._news.append(news)
        self._arrived.set()

    async def get(self) -> GatewayNews | NewsLost:
        """Wait for the oldest news and remove it."""
        while not self._news:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._news.popleft()
