"""News of gateways put aside for one who takes its time.

The reader of a socket calls ``put`` and goes on. Who reads too slowly loses what it has not read and
is told so once: it then looks at the gateway anew, as after a reconnection.
"""

from collections import deque
from typing import Final

import anyio
import msgspec

from hub.openclaw.gateway import GatewayEvent, GatewayNews

MAX_NEWS: Final = 2_000  # a turn has about twenty; of a hundred agents at once, one turn each


class NewsLost(msgspec.Struct, frozen=True):
    """So much came that some of it was let go: look at every gateway anew."""


class Inbox:
    """A queue of news with a bound: ``gateway.listen(inbox.put)``, then ``await inbox.get()``."""

    def __init__(self, most: int = MAX_NEWS) -> None:
        self._most = most
        self._news: deque[GatewayNews | NewsLost] = deque()
        self._came = anyio.Event()

    def __len__(self) -> int:
        return len(self._news)

    def put(self, news: GatewayNews) -> None:
        """Put *news* aside. Events beyond the bound are let go with all others that wait; states are kept."""
        if len(self._news) >= self._most:
            kept = [one for one in self._news if not isinstance(one, GatewayEvent | NewsLost)]
            self._news = deque([NewsLost(), *kept[-self._most // 2 :]])
        self._news.append(news)
        self._came.set()

    async def get(self) -> GatewayNews | NewsLost:
        """The next one, waited for."""
        while not self._news:
            self._came = anyio.Event()
            await self._came.wait()
        return self._news.popleft()
