"""Bounded queue of gateway news for a slow consumer.

The reader of a socket calls ``put`` without waiting. A consumer that is too slow loses the unread events, and
gets one notification of the loss. It then has to read the gateway's state again, as after a reconnection.
"""

from collections import deque
from typing import Final

import anyio
import msgspec

from hub.openclaw.gateway import GatewayEvent, GatewayNews

MAX_NEWS: Final = 2_000  # a turn has about twenty; enough for a turn of each of a hundred agents at once


class NewsLost(msgspec.Struct, frozen=True):
    """Events were dropped: the state of every gateway has to be read again."""


class Inbox:
    """A bounded queue of news: ``gateway.listen(inbox.put)``, then ``await inbox.get()``."""

    def __init__(self, most: int = MAX_NEWS) -> None:
        self._most = most
        self._news: deque[GatewayNews | NewsLost] = deque()
        self._came = anyio.Event()

    def __len__(self) -> int:
        return len(self._news)

    def put(self, news: GatewayNews) -> None:
        """Append *news*. If the queue is full, waiting events are dropped, and other news kept."""
        if len(self._news) >= self._most:
            kept = [one for one in self._news if not isinstance(one, GatewayEvent | NewsLost)]
            self._news = deque([NewsLost(), *kept[-self._most // 2 :]])
        self._news.append(news)
        self._came.set()

    async def get(self) -> GatewayNews | NewsLost:
        """Wait for the oldest news and remove it."""
        while not self._news:
            self._came = anyio.Event()
            await self._came.wait()
        return self._news.popleft()
