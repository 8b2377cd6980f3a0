"""A Gmail connector before the fake of it, with a clock that runs ahead whenever somebody waits."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio.lowlevel
from starlette.types import ASGIApp

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import ProviderCaller, Throttle, Unread
from hub.connectors.connector import Context, Cursor, Message, Page
from hub.connectors.gmail import Gmail, GmailFilter, GmailSettings
from hub.document import Document
from tests.support.asgi import serving
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.gmail import FakeGmail

TLS = ssl.create_default_context()  # made once: it takes longer than a run does
WEEK_AGO = START - timedelta(days=7)


class HastyClock(FakeClock):
    """Nobody waits: time goes on at once. *waited*: how long each wait was."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.advance(max(0.0, seconds))
        await anyio.lowlevel.checkpoint()


class Renewed:
    """Tokens t1, t2, ...: another one for each that was refused."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    async def token(self, rejected: str | None = None) -> str:
        if rejected is not None and rejected not in self.refused:
            self.refused.append(rejected)
        return f"t{len(self.refused) + 1}"


class Rig:
    """One mailbox, and the connectors that are opened to it, one for each run."""

    def __init__(self, fake: FakeGmail, base: str, client: OutboundClient) -> None:
        self.fake = fake
        self.clock = HastyClock()
        self.tokens = Renewed()
        self.settings = GmailSettings(base_url=base)
        self._client = client

    def open(self, **wanted: object) -> Gmail:
        caller = ProviderCaller(
            self._client,
            tokens=self.tokens,
            throttle=Throttle(Gmail.quota(self.settings), self.clock),
            origins=Gmail.origins(self.settings),
            clock=self.clock,
            chance=SeededChance(1),
            judge=Gmail.judge,
        )
        context = Context(account="work", clock=self.clock, chance=SeededChance(2), caller=caller)
        return Gmail(context, self.settings, GmailFilter(**wanted))  # type: ignore[arg-type]

    async def run(self, cursor: Cursor | None = None, since: datetime = WEEK_AGO, **wanted: object) -> "Run":
        """One run to its end."""
        return Run([page async for page in self.open(**wanted).pages(cursor, since)])


class Run:
    def __init__(self, pages: list[Page]) -> None:
        self.pages = pages

    @property
    def messages(self) -> list[Message]:
        return [message for page in self.pages for message in page.messages]

    @property
    def subjects(self) -> list[str]:
        return [message.subject for message in self.messages]

    @property
    def cursor(self) -> Cursor | None:
        return next((page.cursor for page in reversed(self.pages) if page.cursor is not None), None)


async def listed(gmail: Gmail) -> list[Message]:
    """Return the messages of the last week."""
    return [message async for page in gmail.pages(None, WEEK_AGO) for message in page.messages]


async def read_all(gmail: Gmail, messages: list[Message]) -> dict[str, Document | Unread]:
    """What they say, by their subjects."""
    return {message.subject: outcome async for message, outcome in gmail.read(messages)}


@asynccontextmanager
async def rig(fake: FakeGmail, around: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> AsyncIterator[Rig]:
    async with serving(around(fake)) as base, OutboundClient(OutboundRules(), tls=TLS) as client:
        yield Rig(fake, base, client)
