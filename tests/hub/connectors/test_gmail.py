"""Gmail, as a run meets it: heads, words, what hangs on, and Google's many ways to say no."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from starlette.responses import Response

from hub.connectors.calling import (
    Answer,
    ConnectorFailure,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
)
from hub.connectors.connector import Attachment, Unread
from hub.connectors.gmail import Gmail, GmailSettings, judge, next_midnight
from hub.document import Document
from tests.hub.connectors.gmail_rig import Rig, listed, read_all, rig
from tests.support.clock import START
from tests.support.families import each
from tests.support.gmail import JSON, FakeGmail, Fault, plain, refusal

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
PARTED = (
    b"Subject: =?utf-8?B?UmVjaG51bmcg4oSWIDc=?=\r\nFrom: Ann <ann@acme.test>\r\nTo: me@example.com\r\n"
    b"Message-ID: <parted@acme.test>\r\nDate: Mon, 5 Jan 2026 08:00:00 +0000\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
    b"--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "Bitte zahlen Sie bis Freitag, und grüßen Sie die Kollegen von mir.\r\n".encode()
    + b"--c\r\nContent-Type: text/html\r\n\r\n<p>Bitte <b>zahlen</b> Sie</p>\r\n--c--\r\n"
    b"--b\r\nContent-Type: text/csv; name=plan.csv\r\n"
    b"Content-Disposition: attachment; filename=plan.csv\r\n\r\n"
    b"when,what\r\nFriday,rent\r\n\r\n--b--\r\n"
)


@pytest.fixture
async def here(fake: FakeGmail) -> AsyncIterator[Rig]:
    async with rig(fake) as opened:
        yield opened


def one_mail(fake: FakeGmail, raw: bytes | None = None) -> None:
    fake.deliver(raw or plain("Invoice 1"), START - HOUR)


async def test_a_head_has_what_a_filter_looks_at(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, plain("Invoice 1", extra="List-Id: <news.acme.test>\r\n"))
    message = (await here.run()).messages[0]
    assert message.key == "mid:Invoice-1@acme.test"
    assert message.sender is not None and message.sender.email == "ann@acme.test"
    assert (message.received_at, message.is_unread, message.is_sent) == (START - HOUR, True, False)
    assert message.is_bulk and message.labels == ("INBOX", "UNREAD")
    assert message.link == "https://mail.google.com/mail/?authuser=me%40example.com#all/m0001"


async def test_a_mail_without_a_message_id_is_identified_by_gmails(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, plain("x", id=None))
    assert (await here.run()).messages[0].key == "gmail:m0001"


async def test_a_mail_is_asked_for_once_for_its_head_and_its_words(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake)
    gmail = here.open()
    messages = await listed(gmail)
    told = await read_all(gmail, messages)
    again = await read_all(here.open(), messages)  # another run, which has not listed it
    document = told["Invoice 1"]
    assert isinstance(document, Document) and "Please pay by Friday." in document.text
    assert (document.unit_key, document.title) == ("mid:Invoice-1@acme.test", "Invoice 1")
    assert again == told
    assert fake.requests("/messages/m0001") == 2


async def test_words_in_utf_8_under_the_name_of_another_charset_are_read(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, PARTED)
    gmail = here.open()
    messages = await listed(gmail)
    document = (await read_all(gmail, messages))["Rechnung № 7"]
    assert isinstance(document, Document) and "grüßen Sie die Kollegen" in document.text
    assert document.text.count("Bitte") == 1  # of two ways to say it one was taken
    assert "plan.csv" in document.text and "rent" not in document.text


async def test_what_hangs_on_to_a_mail_is_fetched_where_the_filter_asks_for_it(
    fake: FakeGmail, here: Rig
) -> None:
    one_mail(fake, PARTED)
    gmail = here.open(attachments={"fetch": True, "types": ["text/csv"]})
    messages = await listed(gmail)
    assert fake.requests("/attachments/") == 0
    document = (await read_all(gmail, messages))["Rechnung № 7"]
    named = messages[0].attachments[0]
    assert isinstance(named, Attachment) and (named.name, named.media_type) == ("plan.csv", "text/csv")
    assert isinstance(document, Document) and "rent" in document.text
    assert fake.requests("/attachments/") == 1


async def test_words_too_long_for_the_message_itself_are_fetched(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, plain("long", "word and another word\r\n" * 1_000))
    gmail = here.open()
    messages = await listed(gmail)
    document = (await read_all(gmail, messages))["long"]
    assert isinstance(document, Document) and "another word" in document.text


async def test_a_mail_that_is_gone_when_it_is_read_is_gone(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake)
    messages = (await here.run()).messages
    fake.mails.clear()
    told = await read_all(here.open(), messages)
    outcome = told["Invoice 1"]
    assert isinstance(outcome, Unread) and outcome.is_removed


async def test_a_token_that_is_refused_in_the_middle_of_a_page_is_renewed_once(
    fake: FakeGmail, here: Rig
) -> None:
    for at in range(20):
        fake.deliver(plain(str(at)), START - HOUR)

    def expire(path: str) -> None:
        if fake.requests("/messages/m") == 8:
            fake.good_tokens = {"t2"}

    fake.before = expire
    run = await here.run()
    assert here.tokens.refused == ["t1"]
    assert len(run.messages) == 20


async def test_one_mail_of_an_odd_shape_does_not_stop_the_others(fake: FakeGmail, here: Rig) -> None:
    for name in ("a", "b"):
        fake.deliver(plain(name), START - HOUR)
    odd = json.dumps({"id": "m0001", "labelIds": ["INBOX"], "payload": {"parts": 7}})
    head = json.dumps({"id": "m0001", "labelIds": ["INBOX"], "internalDate": "1767600000000"})
    answers = iter([odd, head, odd])
    fake.faults.append(Fault("/messages/m0001", lambda: Response(next(answers), headers=JSON), times=3))
    gmail = here.open()
    messages = await listed(gmail)
    told = {message.key: outcome async for message, outcome in gmail.read(messages)}
    odd_one = told["gmail:m0001"]
    assert isinstance(odd_one, Unread) and not odd_one.is_removed
    assert isinstance(told["mid:b@acme.test"], Document)


async def test_a_check_names_the_owner_of_the_mailbox(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake)
    account = await here.open().check()
    assert (account.name, account.detail) == ("me@example.com", "1 messages")
    fake.has_profile = False
    assert (await here.open().check()).name == "work"


def said(status: int, reason: str, message: str = "no") -> ConnectorFailure | None:
    answer = refusal(status, reason, message)
    return judge(Answer(status, {}, bytes(answer.body), START))


@each(
    ("status", "reason", "kind", "word"),
    [
        (403, "insufficientPermissions", PermissionMissing, "tick the box"),
        (403, "domainPolicy", PermissionMissing, "administrators"),
        (403, "accessNotConfigured", PermissionMissing, "not enabled"),
        (403, "somethingNew", PermissionMissing, "does not allow"),
        (400, "failedPrecondition", PermissionMissing, "no Gmail mailbox"),
        (403, "rateLimitExceeded", ProviderBusy, "less often"),
        (403, "userRateLimitExceeded", ProviderBusy, "less often"),
        (429, "rateLimitExceeded", ProviderBusy, "less often"),
        (403, "dailyLimitExceeded", ProviderBusy, "this day"),
        (401, "authError", SignInNeeded, "Sign in again"),
    ],
)
def test_googles_reasons_say_what_is_to_be_done(
    status: int, reason: str, kind: type[ConnectorFailure], word: str
) -> None:
    failure = said(status, reason)
    assert isinstance(failure, kind) and word in str(failure)


def test_a_time_in_the_text_of_an_error_is_when_it_may_be_tried_again() -> None:
    failure = said(
        429, "userRateLimitExceeded", "User-rate limit exceeded.  Retry after 2026-01-05T10:30:00.000Z"
    )
    assert isinstance(failure, ProviderBusy) and failure.retry_at == START + timedelta(minutes=90)


@each("body", [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {"errors": [7]}}'])
def test_an_error_of_an_odd_shape_is_judged_by_its_status(body: bytes) -> None:
    assert judge(Answer(503, {}, body, START)) is None
    assert isinstance(judge(Answer(403, {}, body, START)), PermissionMissing)


def test_a_days_quota_comes_back_at_midnight_in_california() -> None:
    assert next_midnight(START).isoformat() == "2026-01-06T08:00:00+00:00"
    evening = START.replace(day=6, hour=3)  # of the fifth, there
    assert next_midnight(evening) == next_midnight(START)
    assert next_midnight(START.replace(month=7)).isoformat() == "2026-07-06T07:00:00+00:00"


def test_a_sign_in_asks_for_a_lasting_right_to_read_and_for_no_more() -> None:
    oauth = Gmail.oauth(GmailSettings())
    assert oauth is not None
    assert (oauth.scopes, dict(oauth.authorize)) == (
        ("https://www.googleapis.com/auth/gmail.readonly",),
        {"access_type": "offline", "prompt": "consent"},
    )
    assert oauth.device_url is None
    assert Gmail.origins(GmailSettings()) == {"https://gmail.googleapis.com:443"}
