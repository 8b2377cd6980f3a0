"""Our own connectors hold what plug-ins have to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import pytest

from hub.base.clock import SystemClock
from hub.connectors.conformance import ConnectorConformance, Place
from tests.hub.connectors import caldav_rig, gmail_rig, imap_rig, manifest_rig, test_webhook
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.gmail import FakeGmail, plain
from tests.support.graph.account import account
from tests.support.radicale import PASSWORD as CALENDAR_PASSWORD
from tests.support.radicale import Radicale

pytestmark = pytest.mark.anyio


class TestImap(ConnectorConformance):
    secrets = (PASSWORD,)

    @pytest.fixture(autouse=True)
    def server(self, dovecot: Dovecot) -> None:
        self.dovecot = dovecot

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        user, numbers = self.dovecot.fresh_user(), count()
        settings = imap_rig.settings_of(self.dovecot, user)

        async def arrive(subject: str) -> None:
            self.dovecot.deliver(user, [imap_rig.mail(next(numbers), Subject=subject)])

        since = SystemClock().now() - imap_rig.LONG_AGO
        yield Place(lambda: imap_rig.imap(settings), arrive, since)


class TestGmail(ConnectorConformance):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        fake = FakeGmail()
        async with gmail_rig.rig(fake) as rig:

            async def arrive(subject: str) -> None:
                rig.clock.advance(1)
                fake.deliver(plain(subject), rig.clock.now())

            yield Place(rig.open, arrive, gmail_rig.WEEK_AGO)


class TestOutlook(ConnectorConformance):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        async with account() as here:

            async def arrive(subject: str) -> None:
                here.fake.mail.deliver(subject)

            yield Place(here.outlook, arrive, here.clock.now() - timedelta(days=7))


class TestCalDav(ConnectorConformance):
    secrets = (CALENDAR_PASSWORD,)

    @pytest.fixture(autouse=True)
    def server(self, radicale: Radicale) -> None:
        self.radicale = radicale

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        user, numbers = self.radicale.fresh_user(), count()
        self.radicale.make_calendar(user, "work")
        async with caldav_rig.rig(self.radicale.url, user) as rig:

            async def arrive(subject: str) -> None:
                self.radicale.put(user, "work", f"n{next(numbers)}", f"SUMMARY:{subject}")

            yield Place(rig.open, arrive, rig.clock.now() - timedelta(days=7))


class TestWebhook(ConnectorConformance):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        box, numbers = test_webhook.Box(), count(1)

        async def arrive(subject: str) -> None:
            box.posts.append(test_webhook.post(next(numbers), {"title": subject, "text": "words"}))

        yield Place(lambda: test_webhook.webhook(box), arrive, test_webhook.AT, has_cursors=False)


class _Manifest(ConnectorConformance):
    provider: str
    secrets = (manifest_rig.SECRET,)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        async with manifest_rig.rig(self.provider) as rig:

            async def arrive(subject: str) -> None:
                rig.arrive(subject)

            yield Place(rig.open, arrive, rig.clock.now() - timedelta(days=1))


class TestRss(_Manifest):
    provider = "rss"


class TestIcs(_Manifest):
    provider = "ics"


class TestGitHubIssues(_Manifest):
    provider = "github-issues"


class TestNotion(_Manifest):
    provider = "notion"
