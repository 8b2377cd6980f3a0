"""Strange mails through the path of each provider: the text that a person sees, or why a mail is not read."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Final

import pytest

from hub.connectors.connector import Connector, Message
from hub.connectors.imap_settings import ImapFilter
from hub.document import Document
from tests.hub.connectors.gmail_rig import WEEK_AGO, rig
from tests.hub.connectors.imap_rig import imap, settings_of
from tests.hub.text.test_strange_mails import ALL, multipart, part
from tests.support.clock import START
from tests.support.dovecot import Dovecot
from tests.support.gmail import FakeGmail
from tests.support.graph.account import account

pytestmark = pytest.mark.anyio

CALENDAR: Final = part("BEGIN:VCALENDAR\r\nEND:VCALENDAR", "text/calendar; method=REQUEST")
INVITATION: Final = multipart("alternative", part("Call."), part("<p>Call", "text/html"), CALENDAR)
CASES: Final = [*ALL, ("invitation", INVITATION, "\nBEGIN:VCALENDAR")]
MAILS: Final = [f"Message-ID: <{at}@zoo>\r\n".encode() + data for at, (_, data, _) in enumerate(CASES)]
# A filter puts an empty line between an answer and what is answered, and leaves out signatures.
OF_ALL: Final = {
    "stuffed": "From here.\n\n> no quote",
    "quote ends": "> Pay the \n\nrent.",
    "signature": "Pay the \n",
    "encrypted": "[attachment: application/pgp-encrypted, 10 bytes, not read: encrypted]",
    "list": "Pay the rent by Friday.",
}
# Google's text is UTF-8, whatever the mail was in.
OF_GMAIL: Final = OF_ALL | {"body utf-7": "F+APw-nf", "page utf-7": "F+APw-nf"}
OF_OUTLOOK: Final = OF_ALL | {
    "alternative": "Pay",  # Microsoft's text is made of the page
    "list": "a list, a newsletter or an automatic answer",
}


@asynccontextmanager
async def at_a_server(dovecot: Dovecot) -> AsyncIterator[Connector]:
    user = dovecot.fresh_user()
    dovecot.deliver(user, MAILS)
    yield imap(settings_of(dovecot, user), ImapFilter(quoted="keep"))


@asynccontextmanager
async def at_google(_: Dovecot) -> AsyncIterator[Connector]:
    fake = FakeGmail()
    for raw in MAILS:
        fake.deliver(raw, START)
    async with rig(fake) as here:
        yield here.open(quoted="keep")


@asynccontextmanager
async def at_microsoft(_: Dovecot) -> AsyncIterator[Connector]:
    async with account() as here:
        for raw in MAILS:
            here.fake.mail.receive(raw)
        yield here.outlook(quoted="keep")


@pytest.mark.parametrize(
    ("mailbox", "other"),
    [(at_a_server, OF_ALL), (at_google, OF_GMAIL), (at_microsoft, OF_OUTLOOK)],
    ids=["imap", "gmail", "outlook"],
)
async def test_strange_mails_have_their_visible_text_at_each_provider(
    dovecot: Dovecot,
    mailbox: Callable[[Dovecot], AbstractAsyncContextManager[Connector]],
    other: Mapping[str, str],
) -> None:
    async with mailbox(dovecot) as connector:
        found = await texts_of(connector)
    expected = {name: other.get(name, seen) for name, _, seen in CASES}
    missed = {name: (seen, found.get(name)) for name, seen in expected.items() if seen not in found[name]}
    assert missed == {}


async def texts_of(connector: Connector) -> dict[str, str]:
    """Return what was read of each mail by its name, without the fields that a provider adds, or why not."""
    messages: list[Message] = []
    found: dict[str, str] = {}
    async with aclosing(connector.pages(None, WEEK_AGO)) as pages:
        async for page in pages:
            messages += page.messages
    async with aclosing(connector.read(messages)) as read:
        async for message, one in read:
            text = one.text if isinstance(one, Document) else one.reason
            name, *_ = CASES[int(message.key.removeprefix("mid:").removesuffix("@zoo"))]
            found[name] = re.sub("(?m)^(From|To|Date): .*\n", "", text)
    await connector.aclose()
    return found
