"""Gmail, as a run meets it: heads, words, what hangs on, and Google's many ways to say no."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from hub.connectors import gmail
from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    HttpReply,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
    Unread,
)
from hub.connectors.connector import Attachment, Cursor
from hub.connectors.gmail import INDEXED_S, Gmail, GmailSettings, judge, next_midnight, read_message
from hub.document import Document
from tests.hub.connectors.gmail_rig import WEEK_AGO, Rig, Run, listed, read_all, rig
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


async def test_gmail_message_head_has_all_fields_used_by_filters(fake: FakeGmail, here: Rig) -> None:
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


async def test_gmail_message_is_fetched_once_for_head_and_text(fake: FakeGmail, here: Rig) -> None:
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


async def test_gmail_attachments_are_fetched_only_if_the_filter_asks(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, PARTED)
    gmail = here.open(attachments={"fetch": True, "types": ["text/csv"]})
    messages = await listed(gmail)
    assert fake.requests("/attachments/") == 0
    document = (await read_all(gmail, messages))["Rechnung № 7"]
    named = messages[0].attachments[0]
    assert isinstance(named, Attachment) and (named.name, named.media_type) == ("plan.csv", "text/csv")
    assert isinstance(document, Document) and "rent" in document.text
    assert fake.requests("/attachments/") == 1


async def test_long_gmail_body_is_fetched_separately(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake, plain("long", "word and another word\r\n" * 1_000))
    gmail = here.open()
    messages = await listed(gmail)
    document = (await read_all(gmail, messages))["long"]
    assert isinstance(document, Document) and "another word" in document.text


async def test_gmail_message_deleted_before_reading_is_reported_removed(fake: FakeGmail, here: Rig) -> None:
    one_mail(fake)
    messages = (await here.run()).messages
    fake.mails.clear()
    told = await read_all(here.open(), messages)
    outcome = told["Invoice 1"]
    assert isinstance(outcome, Unread) and outcome.is_removed


async def test_token_refused_in_the_middle_of_a_page_is_renewed_once(fake: FakeGmail, here: Rig) -> None:
    for at in range(20):
        fake.deliver(plain(str(at)), START - HOUR)

    def expire(path: str) -> None:
        if fake.requests("/messages/m") == 8:
            fake.good_tokens = {"t2"}

    fake.before = expire
    run = await here.run()
    assert here.tokens.refused == ["t1"]
    assert len(run.messages) == 20


async def test_malformed_gmail_message_does_not_stop_other_messages(fake: FakeGmail, here: Rig) -> None:
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
    assert (account.name, account.detail) == ("me@example.com", "1 message")
    fake.has_profile = False
    assert (await here.open().check()).name == "work"


def said(status: int, reason: str, message: str = "no") -> ConnectorFailure | None:
    answer = refusal(status, reason, message)
    return judge(HttpReply(status, {}, bytes(answer.body), START))


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
def test_google_error_reason_is_mapped_to_a_failure_with_advice(
    status: int, reason: str, kind: type[ConnectorFailure], word: str
) -> None:
    failure = said(status, reason)
    assert isinstance(failure, kind) and word in str(failure)


def test_time_in_a_google_error_text_sets_the_retry_time() -> None:
    failure = said(
        429, "userRateLimitExceeded", "User-rate limit exceeded.  Retry after 2026-01-05T10:30:00.000Z"
    )
    assert isinstance(failure, ProviderBusy) and failure.retry_at == START + timedelta(minutes=90)


@each("body", [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {"errors": [7]}}', b'{"a": "\xff"}'])
def test_google_error_of_unknown_shape_is_judged_by_the_status(body: bytes) -> None:
    assert judge(HttpReply(503, {}, body, START)) is None
    assert isinstance(judge(HttpReply(403, {}, body, START)), PermissionMissing)


@each("body", [b"<html>", b'{"id": "\xff"}', b'{"a": ' + b"[" * 100_000])
def test_gmail_answer_without_a_message_is_unreadable(body: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        read_message(HttpReply(200, {}, body, START), dict)


def test_gmail_daily_quota_resets_at_midnight_in_california() -> None:
    assert next_midnight(START).isoformat() == "2026-01-06T08:00:00+00:00"
    evening = START.replace(day=6, hour=3)  # of the fifth, there
    assert next_midnight(evening) == next_midnight(START)
    assert next_midnight(START.replace(month=7)).isoformat() == "2026-07-06T07:00:00+00:00"


def test_gmail_sign_in_requests_only_offline_read_access() -> None:
    oauth = Gmail.oauth(GmailSettings())
    assert oauth is not None
    assert (oauth.scopes, dict(oauth.authorize)) == (
        ("https://www.googleapis.com/auth/gmail.readonly",),
        {"access_type": "offline", "prompt": "consent"},
    )
    assert oauth.device_url is None
    assert Gmail.origins(GmailSettings()) == {"https://gmail.googleapis.com:443"}


CHUNK = 5


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmail, "CHUNK", CHUNK)


def fill(fake: FakeGmail, count: int, *, page: int = 500) -> None:
    """Deliver mails of the last days, an hour apart, the oldest first: "0", "1", ..."""
    fake.page = page
    for at in range(count):
        fake.deliver(plain(str(at)), START - (count - at) * timedelta(minutes=30))


def numbers(count: int) -> list[str]:
    return [str(at) for at in range(count)]


async def test_first_run_lists_recent_mail_oldest_first_and_the_next_run_new_mail(
    fake: FakeGmail, here: Rig
) -> None:
    fill(fake, 12, page=5)
    fake.deliver(plain("old"), WEEK_AGO - HOUR)
    run = await here.run()
    assert run.subjects == numbers(12)
    assert all(len(page.messages) <= CHUNK for page in run.pages)
    assert [page.is_backfill for page in run.pages][:3] == [True, True, True]
    fake.deliver(plain("new"), START)
    second = await here.run(run.cursor)
    assert (second.subjects, any(page.is_backfill for page in second.pages)) == (["new"], False)


@pytest.mark.parametrize("has_profile", [True, False])
async def test_gmail_message_arriving_between_profile_and_list_is_listed_once(
    fake: FakeGmail, here: Rig, has_profile: bool
) -> None:
    """The message is in the list, in the history, or in both."""
    fill(fake, 2)
    fake.has_profile = has_profile
    late: list[str] = []

    def arrive(path: str) -> None:
        if path == "/messages" and fake.requests("/messages?") >= (1 if has_profile else 2) and not late:
            late.append(fake.deliver(plain("late"), START))

    fake.before = arrive
    run = await here.run()
    again = await here.run(run.cursor)
    assert "late" in run.subjects
    assert set(run.subjects) == {"0", "1", "late"}
    assert again.subjects == []


async def test_back_fill_continues_after_removal_of_the_last_read_mail(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 8)
    pages = here.open().pages(None, WEEK_AGO)
    first = await anext(pages)
    await pages.aclose()
    del fake.mails[first.messages[-1].place]
    assert (await here.run(first.cursor)).subjects == numbers(8)[CHUNK:]


async def test_gmail_history_continues_from_the_cursor_of_any_page(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 1)
    cursor = (await here.run()).cursor
    for at in range(13):
        fake.deliver(plain(f"n{at}"), START)
    fake.page = 6
    whole = await here.run(cursor)
    assert whole.subjects == [f"n{at}" for at in range(13)]
    told = 0
    for page in whole.pages:
        told += len(page.messages)
        assert (await here.run(page.cursor)).subjects == [f"n{at}" for at in range(told, 13)]


async def test_expired_gmail_history_raises_cursor_lost_and_a_new_run_lists_all(
    fake: FakeGmail, here: Rig
) -> None:
    fill(fake, 2)
    cursor = (await here.run()).cursor
    fake.deliver(plain("unseen"), START)
    fake.forget_history()
    with pytest.raises(CursorLost):
        await here.run(cursor)
    again = await here.run(None, START - timedelta(days=8))
    later = await here.run(again.cursor)
    assert again.subjects == ["0", "1", "unseen"]
    assert later.subjects == []


async def test_gmail_cursor_advances_without_new_mail(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 1)
    cursor = (await here.run()).cursor
    fake.change_otherwise()
    cursor = (await here.run(cursor)).cursor
    fake.forget_what_was()
    fake.deliver(plain("new"), START)
    assert (await here.run(cursor)).subjects == ["new"]


async def test_lost_history_page_within_a_run_is_unavailable_and_not_a_lost_cursor(
    fake: FakeGmail, here: Rig
) -> None:
    fill(fake, 1)
    cursor = (await here.run()).cursor
    for at in range(10):
        fake.deliver(plain(f"n{at}"), START)
    fake.page = 5
    told, reached = [], cursor
    with pytest.raises(Unavailable):
        async for page in here.open().pages(cursor, WEEK_AGO):
            told += [message.subject for message in page.messages]
            reached = page.cursor or reached
            fake.faults.append(Fault("/history", lambda: refusal(404, "notFound")))
    fake.faults.clear()
    assert told + (await here.run(reached)).subjects == [f"n{at}" for at in range(10)]


@pytest.mark.parametrize("bad", [{"history_id": 7}, {"other": "thing"}, {}, {"backfill": []}])
async def test_invalid_gmail_cursor_is_lost(fake: FakeGmail, here: Rig, bad: Cursor) -> None:
    fill(fake, 1)
    with pytest.raises(CursorLost):
        await here.run(bad)


async def test_empty_gmail_mailbox_lists_a_later_first_message(fake: FakeGmail, here: Rig) -> None:
    fake.has_profile = False
    first = await here.run()
    fake.deliver(plain("first"), START)
    assert (first.subjects, (await here.run(first.cursor)).subjects) == ([], ["first"])


async def test_gmail_message_not_found_on_listing_is_omitted(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 3)
    fake.faults.append(Fault("/messages/m0002", lambda: refusal(404, "notFound")))
    assert (await here.run()).subjects == ["0", "2"]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "America/Los_Angeles"])
async def test_a_first_run_looks_back_exactly_seven_days_in_every_time_zone(
    fake: FakeGmail, here: Rig, zone: str
) -> None:
    since: datetime = WEEK_AGO.astimezone(ZoneInfo(zone)).replace(microsecond=500_000)
    tick = timedelta(milliseconds=1)
    for name, at in (("before", since - tick), ("on the edge", since), ("after", since + tick)):
        fake.deliver(plain(name), at)
    assert (await here.run(since=since)).subjects == ["on the edge", "after"]


async def test_gmail_messages_with_excluded_labels_are_not_fetched(fake: FakeGmail, here: Rig) -> None:
    left_out = ("SPAM", "TRASH", "DRAFT", "CHAT", "SENT", "CATEGORY_PROMOTIONS", "CATEGORY_SOCIAL")
    for label in left_out:
        fake.deliver(plain(f"first {label}"), START - HOUR, (label,))
    fake.deliver(plain("note to oneself"), START - HOUR, ("SENT", "INBOX"))
    first = await here.run()
    for label in left_out:
        fake.deliver(plain(f"then {label}"), START, (label,))
    second = await here.run(first.cursor)
    sent = await here.run(first.cursor, include_sent=True)
    assert (first.subjects, second.subjects, sent.subjects) == (["note to oneself"], [], ["then SENT"])
    assert fake.requests("/messages/m") == 2


async def test_labels_are_selected_by_name_or_id(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 2)
    fake.deliver(plain("bill"), START - HOUR, ("INBOX", "Label_7"))
    by_name, by_id = await here.run(labels_any=["bills"]), await here.run(labels_any=["Label_7"])
    none = await here.run(labels_none=["Bills"])
    assert (by_name.subjects, by_id.subjects, none.subjects) == (["bill"], ["bill"], ["0", "1"])
    assert by_name.messages[0].labels == ("INBOX", "Bills")
    with pytest.raises(Misconfigured, match="no label 'Bils' in this mailbox; did you mean 'bills'"):
        await here.run(labels_any=["Bils"])


async def test_gmail_search_filter_applies_to_history_runs(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 2)
    fake.deliver(plain("invoice-old"), START - HOUR)
    first = await here.run(q="invoice")
    fake.deliver(plain("lunch"), START)
    fake.deliver(plain("invoice-new"), START)
    here.clock.advance(60)
    before = fake.requests("/messages/m")
    second = await here.run(first.cursor, q="invoice")
    assert first.subjects == ["invoice-old"]
    assert second.subjects == ["invoice-new"]
    assert fake.requests("/messages/m") == before + 1


async def test_gmail_message_indexed_late_by_the_search_is_listed(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 1)
    cursor = (await here.run(q="invoice")).cursor
    here.clock.advance(60)
    late = fake.deliver(plain("invoice"), here.clock.now())
    fake.unindexed.add(late)
    runs: list[Run] = []
    for _ in range(16):
        here.clock.advance(60)
        runs.append(await here.run(cursor, q="invoice"))
        cursor = runs[-1].cursor
        if len(runs) == 5:
            fake.unindexed.clear()
    found = [run.subjects for run in runs]
    assert (found[:5], found[5]) == ([[]] * 5, ["invoice"])
    assert found[-1] == []  # and after a while it is not looked at any more


async def test_interrupted_gmail_run_still_lists_a_message_indexed_late(fake: FakeGmail, here: Rig) -> None:
    fill(fake, 1)
    cursor = (await here.run(q="invoice")).cursor
    here.clock.advance(60)
    fake.unindexed.add(fake.deliver(plain("invoice late"), here.clock.now()))
    for at in range(2 * CHUNK):
        fake.deliver(plain(f"invoice {at}"), here.clock.now())
    pages = here.open(q="invoice").pages(cursor, WEEK_AGO)
    first = await anext(pages)
    await pages.aclose()
    fake.unindexed.clear()
    here.clock.advance(2 * INDEXED_S)
    rest = await here.run(first.cursor or cursor, q="invoice")
    assert len(first.messages) == CHUNK
    assert "invoice late" in rest.subjects


@pytest.mark.parametrize("is_first", [True, False])
async def test_circular_page_links_end_the_run_as_unavailable(
    fake: FakeGmail, here: Rig, is_first: bool
) -> None:
    cursor = None if is_first else (await here.run()).cursor
    fill(fake, 12, page=5)
    fake.circles = 1_000
    with pytest.raises(Unavailable, match="circle"):
        await here.run(cursor)
