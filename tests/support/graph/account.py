"""A connector over the fake, as a run would have it: real HTTP, real caller, time by hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from starlette.types import ASGIApp

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import ProviderCaller, Throttle, Unread
from hub.connectors.connector import Connector, Context, Cursor, Message, Page
from hub.connectors.outlook import Outlook
from hub.connectors.teams import Teams
from hub.document import Document
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.graph.server import FakeGraph

WEEK = timedelta(days=7)


class Keys:
    """Tokens, by name; *fresh* is what a refresh gives."""

    def __init__(self, *, now: str = "good", fresh: str = "fresh") -> None:
        self.now = now
        self.fresh = fresh
        self.refused: list[str] = []

    async def token(self, rejected: str | None = None) -> str:
        if rejected is not None:
            self.refused.append(rejected)
            if rejected == self.now:
                self.now = self.fresh
        return self.now


class Account:
    """One account at the fake, and what a run needs to read it."""

    def __init__(self, fake: FakeGraph, client: OutboundClient, clock: FakeClock) -> None:
        self.fake = fake
        self.clock = clock
        self.keys = Keys()
        self._client = client

    def outlook(self, **wanted: Any) -> Outlook:
        made = self._made(Outlook, wanted)
        assert isinstance(made, Outlook)
        return made

    def teams(self, *, settings: dict[str, Any] | None = None, **wanted: Any) -> Teams:
        made = self._made(Teams, wanted, settings or {})
        assert isinstance(made, Teams)
        return made

    def _made(
        self, kind: type[Connector], wanted: dict[str, Any], given: dict[str, Any] | None = None
    ) -> Connector:
        settings = kind.settings_model.model_validate({"base_url": self.fake.base_url, **(given or {})})
        caller = ProviderCaller(
            self._client,
            tokens=self.keys,
            throttle=Throttle(kind.quota(settings), self.clock),
            origins=kind.origins(settings),
            clock=self.clock,
            chance=SeededChance(),
            judge=kind.judge,
        )
        context = Context(
            account="work", clock=self.clock, chance=SeededChance(), caller=caller, tokens=self.keys
        )
        return kind(context, settings, kind.filter_model.model_validate(wanted))


class QuickClock(FakeClock):
    """Waits pass at once, and are remembered."""

    def __init__(self, start: datetime = START) -> None:
        super().__init__(start)
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.waits.append(seconds)
            self.advance(seconds)
        await super().sleep(0)


@asynccontextmanager
async def account(
    start: datetime = START, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> AsyncIterator[Account]:
    """An account at a fake of its own. *around*: puts something before its application."""
    clock = QuickClock(start)
    fake = FakeGraph(clock.now)
    async with fake.serving(around), OutboundClient(OutboundRules()) as client:
        yield Account(fake, client, clock)


async def listing(
    connector: Connector,
    cursor: Cursor | None = None,
    since: datetime = START - WEEK,
    *,
    most: int | None = None,
) -> list[Page]:
    """The pages of one run, the first *most* of them."""
    found: list[Page] = []
    async with aclosing(connector.pages(cursor, since)) as pages:
        async for page in pages:
            found.append(page)
            if len(found) == most:
                break
    return found


def heads(pages: list[Page]) -> list[Message]:
    return [message for page in pages for message in page.messages]


def subjects(pages: list[Page]) -> list[str]:
    return [message.subject for message in heads(pages)]


def cursor_of(pages: list[Page]) -> Cursor:
    """The last one."""
    return [page.cursor for page in pages if page.cursor is not None][-1]


async def documents(connector: Connector, messages: list[Message]) -> dict[str, Document | Unread]:
    """By key."""
    async with aclosing(connector.read(messages)) as found:
        return {message.key: document async for message, document in found}
