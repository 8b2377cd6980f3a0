"""Calendars at a server, as runs look at them, with a clock that runs ahead whenever somebody waits."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.caldav import CalDavConnector, CalDavFilter, CalDavSettings
from hub.connectors.calling import ProviderCaller, Throttle, Unread
from hub.connectors.connector import Context, Cursor, Message
from hub.document import Document
from tests.hub.connectors.gmail_rig import HastyClock
from tests.support.clock import SeededChance
from tests.support.radicale import PASSWORD

TLS = ssl.create_default_context()


class Rig:
    """One person's calendars, as runs look at them."""

    def __init__(self, client: OutboundClient, url: str, user: str, password: str = PASSWORD) -> None:
        self.clock = HastyClock()
        self.settings = CalDavSettings(url=url, username=user)
        self.password = password
        self._client = client

    def open(self, **filter: Any) -> CalDavConnector:
        throttle = Throttle(CalDavConnector.quota(self.settings), self.clock)
        caller = ProviderCaller(
            self._client,
            tokens=None,
            throttle=throttle,
            origins=CalDavConnector.origins(self.settings),
            clock=self.clock,
            chance=SeededChance(1),
            judge=CalDavConnector.judge,
        )
        context = Context(
            account="home",
            clock=self.clock,
            chance=SeededChance(1),
            caller=caller,
            secret=lambda: self.password,
        )
        return CalDavConnector(context, self.settings, CalDavFilter(**filter))

    async def run(
        self, cursor: Cursor | None = None, **filter: Any
    ) -> tuple[Cursor | None, dict[str, tuple[Message, Document | Unread]]]:
        """The last cursor, and by title what was listed and read."""
        dav, found = self.open(**filter), {}
        since = self.clock.now() - timedelta(days=7)
        async for page in dav.pages(cursor, since):
            assert len(page.messages) <= 100
            cursor = cursor if page.cursor is None else page.cursor
            async for message, said in dav.read(page.messages):
                found[message.subject] = message, said
        return cursor, found

    def day(self, days: float) -> str:
        """A time so many days from now, as calendars write it."""
        return f"{self.clock.now() + timedelta(days=days):%Y%m%dT%H%M%SZ}"


@asynccontextmanager
async def rig(url: str, user: str, password: str = PASSWORD) -> AsyncIterator[Rig]:
    async with OutboundClient(OutboundRules(), tls=TLS) as client:
        yield Rig(client, url, user, password)
