"""Bodies and attachments of a mailbox at Microsoft, as they become the text that is extracted from."""

import anyio
import pytest

from hub.connectors.connector import Unread
from hub.document import Document
from tests.support.graph.account import account, documents, heads, listing

pytestmark = pytest.mark.anyio


async def test_a_mail_that_moved_after_it_was_listed_is_read_all_the_same() -> None:
    async with account() as here:
        id = here.fake.mail.deliver("Rent")
        outlook = here.outlook()
        pages = await listing(outlook)
        here.fake.mail.move(id, "archive")
        (document,) = (await documents(outlook, heads(pages))).values()
        assert isinstance(document, Document)


async def test_a_mail_that_is_gone_when_it_is_read_is_no_failure() -> None:
    async with account() as here:
        gone, there = here.fake.mail.deliver("gone"), here.fake.mail.deliver("there")
        outlook = here.outlook()
        pages = await listing(outlook)
        here.fake.mail.delete(gone)
        found = await documents(outlook, heads(pages))
        lost = found["mid:1@example.org"]
        assert isinstance(lost, Unread) and lost.is_gone
        assert isinstance(found["mid:2@example.org"], Document) and there


async def test_a_list_that_is_told_only_with_the_body_is_left_out_then() -> None:
    async with account() as here:
        id = here.fake.mail.deliver("news")
        outlook = here.outlook()
        pages = await listing(outlook)
        here.fake.mail.change(id, internetMessageHeaders=[{"name": "List-Id", "value": "<news>"}])
        (found,) = (await documents(outlook, heads(pages))).values()
        assert isinstance(found, Unread) and found.is_gone


async def test_what_is_quoted_is_marked_and_the_new_part_leads() -> None:
    new = "I shall come on Monday at ten, with the two plans that you asked for.\r\n"
    old = "From: Ana <ana@example.org>\r\nSent: Monday\r\nWhen do you come?\r\n"
    async with account() as here:
        here.fake.mail.deliver("Re: plans", text=f"{new}\r\n{old}", unique=new)
        for quoted, has_old in (("context", True), ("drop", False), ("keep", True)):
            outlook = here.outlook(quoted=quoted)
            (document,) = (await documents(outlook, heads(await listing(outlook)))).values()
            assert isinstance(document, Document)
            assert "\n\nI shall come on Monday" in document.text
            assert ("\n> When do you come?" in document.text) is has_old


async def test_attachments_are_named_and_read_where_they_are_asked_for() -> None:
    files = (
        ("plan.csv", "text/csv", b"task,until\npaint,Friday\n"),
        ("big.csv", "text/csv", b"x" * 2_000_000),
    )
    async with account() as here:
        here.fake.mail.deliver("plans", attachments=files)
        for wanted, told in (({}, False), ({"fetch": True, "max_mb": 1}, True)):
            outlook = here.outlook(attachments=wanted)
            (document,) = (await documents(outlook, heads(await listing(outlook)))).values()
            assert isinstance(document, Document)
            assert "[attachment: plan.csv" in document.text and "big.csv" in document.text
            assert ("paint,Friday" in document.text) is told
        assert len(here.fake.asked("$value")) == 1


async def test_a_mailbox_is_asked_four_things_at_once_at_most() -> None:
    async with account() as here:
        for _ in range(12):
            here.fake.mail.deliver()
        outlook = here.outlook()
        assert outlook.quota(outlook.settings).at_once == 4
        pages = await listing(outlook)
        with anyio.fail_after(20):
            assert len(await documents(outlook, heads(pages))) == 12
