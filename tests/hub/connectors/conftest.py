"""Accounts at the fakes of providers, and mailboxes at a real server."""

from collections.abc import AsyncIterator

import pytest

from hub.connectors.imap_settings import ImapSettings
from tests.hub.connectors.imap_rig import settings_of
from tests.support.dovecot import Dovecot
from tests.support.gmail import FakeGmail
from tests.support.graph.account import Account, account


@pytest.fixture
def fake() -> FakeGmail:
    """An empty mailbox at Google."""
    return FakeGmail()


@pytest.fixture
async def here() -> AsyncIterator[Account]:
    """An account at Microsoft."""
    async with account() as opened:
        yield opened


@pytest.fixture
def user(dovecot: Dovecot) -> str:
    """A person with an empty mailbox."""
    return dovecot.fresh_user()


@pytest.fixture
def settings(dovecot: Dovecot, user: str) -> ImapSettings:
    """How that mailbox is reached."""
    return settings_of(dovecot, user)
