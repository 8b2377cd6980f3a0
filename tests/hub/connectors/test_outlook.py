"""A mailbox at Microsoft, read with its attachments from a fake that forgets, pages, moves and repeats."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from hub.connectors import outlook
from hub.connectors.calling import Misconfigured, Unavailable, Unread
from hub.document import Document
from hub.extraction.letters import invitation_in
from tests.hub.text.test_strange_mails import multipart, part
from tests.support.clock import START
from tests.support.families import each
from tests.support.graph.account import WEEK, Account, account, cursor_of, documents, heads, listing, subjects
from tests.support.graph.http import Request, Response, serving

pytestmark = pytest.mark.anyio

PREFERRED = {"odata.maxpagesize=50", 'outlook.body-content-type="text"', 'IdType="ImmutableId"'}


async def test_every_outlook_request_including_links_has_the_prefer_header(here: Account) -> None:
    here.fake.mail.page_most = 2
    here.fake.mail.empty_first = True
    for _ in range(5):
        here.fake.mail.deliver()
    outlook = here.outlook()
    pages = await listing(outlook)
    assert len(heads(pages)) == 5
    await listing(outlook, cursor_of(pages))
    await documents(outlook, heads(pages))
    assert len(here.fake.requests) >= 10
    assert all(request.prefer == PREFERRED for request in here.fake.requests)
    on_links = [request for request in here.fake.requests if "token=" in request.target]
    assert on_links and all(len(request.query) == 1 for request in on_links)


@each("kind", ["next", "delta"])
async def test_expired_outlook_link_loses_no_mail(kind: str) -> None:
    async with account() as here:
        here.fake.mail.page_most = 2
        for number in range(4):
            here.fake.mail.deliver(f"old {number}")
        first = await listing(here.outlook())
        for number in range(5):
            here.fake.mail.deliver(f"new {number}")
        stopped = await listing(here.outlook(), cursor_of(first), most=1 if kind == "next" else None)
        if kind == "delta":
            here.fake.mail.deliver("new 5")
        here.fake.mail.forget(next=kind == "next", delta=kind == "delta")
        rest = await listing(here.outlook(), cursor_of(stopped))
        met = set(subjects(stopped)) | set(subjects(rest))
        assert {f"new {number}" for number in range(5)} <= met
        assert ("new 5" in met) is (kind == "delta")
        assert len(here.fake.asked("$filter")) == (1 if kind == "next" else 2)


async def test_outlook_mail_received_during_downtime_is_listed_after_an_expired_link(here: Account) -> None:
    first = await listing(here.outlook())
    here.fake.mail.deliver("late", received_at=START + timedelta(minutes=1))
    here.clock.advance(timedelta(days=30).total_seconds())
    here.fake.mail.forget(delta=True)
    now = here.clock.now()
    pages = await listing(here.outlook(), cursor_of(first), now - WEEK)
    assert subjects(pages) == ["late"]
    assert all(page.is_backfill for page in pages)


async def test_expired_outlook_link_in_the_first_round_restarts_the_round(here: Account) -> None:
    here.fake.mail.page_most = 2
    for number in range(5):
        here.fake.mail.deliver(f"mail {number}", received_at=START - timedelta(days=1))
    stopped = await listing(here.outlook(), most=1)
    here.fake.mail.forget(next=True)
    rest = await listing(here.outlook(), cursor_of(stopped), START)  # asked later, it may look less far
    assert sorted(subjects(rest)) == [f"mail {number}" for number in range(5)]


@each("is_first", [True, False])
async def test_circular_page_links_end_the_run_as_unavailable(is_first: bool) -> None:
    async with account() as here:
        here.fake.mail.page_most = 2
        cursor = None if is_first else cursor_of(await listing(here.outlook()))
        for number in range(9):
            here.fake.mail.deliver(f"mail {number}")
        here.fake.mail.circles = 1_000
        with pytest.raises(Unavailable, match="circle"):
            await listing(here.outlook(), cursor)


async def test_outlook_run_with_repeatedly_expired_links_is_unavailable(here: Account) -> None:
    first = await listing(here.outlook())
    here.fake.fail(410, "SyncStateNotFound", match="delta", times=20)
    with pytest.raises(Unavailable):
        await listing(here.outlook(), cursor_of(first))
    assert len(here.fake.asked("delta")) < 10


@each("is_told", [True, False])
async def test_moved_outlook_mail_has_the_same_key(is_told: bool) -> None:
    async with account() as here:
        id = here.fake.mail.deliver("Rent")
        wanted = {"folders": ["inbox", "archive"]}
        first = await listing(here.outlook(**wanted))
        here.fake.mail.move(id, "archive", is_told=is_told)
        second = await listing(here.outlook(**wanted), cursor_of(first))
        assert {message.key for message in heads(first) + heads(second)} == {"mid:1@example.org"}
        assert len(heads(second)) == (1 if is_told else 0)


async def test_outlook_mail_marked_read_is_listed_under_the_same_key(here: Account) -> None:
    read, gone = here.fake.mail.deliver("Rent"), here.fake.mail.deliver("gone")
    first = await listing(here.outlook())
    here.fake.mail.change(read, isRead=True)  # a round tells of it that it was read, and not even its key
    here.fake.mail.change(gone, isRead=False)
    found = await listing(here.outlook(unread_only=True), cursor_of(first))
    assert [message.key for message in heads(found)] == ["mid:2@example.org"]
    found = await listing(here.outlook(), cursor_of(first))
    assert {message.key: message.is_unread for message in heads(found)} == {
        "mid:1@example.org": False,
        "mid:2@example.org": True,
    }
    here.fake.fail(404, "ErrorItemNotFound", match=gone.partition("=")[0])
    found = await listing(here.outlook(), cursor_of(first))
    assert [message.key for message in heads(found)] == ["mid:1@example.org"]


async def test_removed_outlook_mails_and_drafts_are_not_listed(here: Account) -> None:
    gone = here.fake.mail.deliver("gone")
    here.fake.mail.delete(gone)
    here.fake.mail.deliver("a draft", isDraft=True)
    here.fake.mail.doubles = True
    here.fake.mail.deliver("there")
    assert set(subjects(await listing(here.outlook()))) == {"there"}


async def test_mails_beyond_a_filtered_round_are_listed_by_date(
    here: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "MAX_FILTERED", 20)
    here.fake.mail.most_filtered = 20
    here.fake.mail.page_most = 6
    expected = {f"mail {number:03}" for number in range(70)}
    for number, subject in enumerate(sorted(expected)):
        here.fake.mail.deliver(subject, received_at=START - WEEK + timedelta(seconds=number // 3))
    whole = await listing(here.outlook())
    assert set(subjects(whole)) == expected
    assert set(subjects(whole[:4])) != expected  # the round alone
    for stop in range(1, len(whole), 3):
        head = await listing(here.outlook(), most=stop)
        assert set(subjects(head) + subjects(await listing(here.outlook(), cursor_of(head)))) == expected
    assert subjects(await listing(here.outlook(), cursor_of(whole))) == []


@each("zone", ["UTC", "Asia/Kolkata", "America/Los_Angeles"])
async def test_the_first_run_looks_back_seven_days_to_the_second(zone: str) -> None:
    async with account() as here:
        since = (START - WEEK).astimezone(ZoneInfo(zone)) + timedelta(milliseconds=300)
        edge = START - WEEK
        here.fake.mail.deliver("at the edge", received_at=edge)
        here.fake.mail.deliver("a second before", received_at=edge - timedelta(seconds=1))
        assert subjects(await listing(here.outlook(), since=since)) == ["at the edge"]
        (first,) = here.fake.asked("$filter")
        assert first.query["$filter"] == "receivedDateTime ge 2025-12-29T09:00:00Z"


async def test_outlook_link_to_another_host_is_refused_without_sending_the_token() -> None:
    thieves: list[Request] = []

    def thief(request: Request) -> Response:
        thieves.append(request)
        return Response(200, {"value": []})

    async with serving(thief) as elsewhere, account() as here:
        for link in ("@odata.nextLink", "@odata.deltaLink"):
            body = {"value": [], link: f"{elsewhere}/v1.0/me/mailFolders/inbox/messages/delta?$skiptoken=1"}
            here.fake.answer(Response(200, body), match="delta")
            with pytest.raises(Misconfigured):
                await listing(here.outlook())
        kept = cursor_of(await listing(here.outlook()))
        kept["folders"]["inbox"]["delta"] = f"{elsewhere}/v1.0/me/mailFolders/inbox/messages/delta"
        with pytest.raises(Misconfigured):  # however it came there
            await listing(here.outlook(), kept)
    assert thieves == []


async def test_sync_state_error_outside_a_delta_query_is_no_lost_cursor(here: Account) -> None:
    here.fake.fail(410, "SyncStateNotFound", match="mailFolders?")
    with pytest.raises(Unavailable):
        await listing(here.outlook(folders=["Projects"]))


async def test_outlook_folders_are_found_by_their_visible_names(here: Account) -> None:
    here.fake.mail.folders["AAMk-projects"] = "Projects"
    here.fake.mail.children["AAMk-projects"] = {"AAMk-alpha": "Alpha"}
    here.fake.mail.deliver("plan", folder="AAMk-alpha")
    assert subjects(await listing(here.outlook(folders=["projects/alpha"]))) == ["plan"]
    with pytest.raises(Misconfigured, match="did you mean 'Projects'"):
        await listing(here.outlook(folders=["Projekts"]))


async def test_outlook_filter_selects_by_importance_and_categories(here: Account) -> None:
    here.fake.mail.deliver("a", importance="high", categories=["Work"])
    here.fake.mail.deliver("b", importance="high")
    here.fake.mail.deliver("c", categories=["Work"])
    assert (
        subjects(await listing(here.outlook(importance="high"))),
        subjects(await listing(here.outlook(categories_any=["work"]))),
    ) == (["a", "b"], ["a", "c"])


async def test_outlook_list_mail_is_marked_bulk_and_own_mail_as_sent(here: Account) -> None:
    here.fake.mail.deliver("news", internetMessageHeaders=[{"name": "List-Id", "value": "<news>"}])
    me = {"emailAddress": {"name": "Ana", "address": "Ana@Example.org"}}
    here.fake.mail.change(here.fake.mail.deliver("mine"), **{"from": me})
    found = {message.subject: message for message in heads(await listing(here.outlook()))}
    assert (found["news"].is_bulk, found["news"].is_sent, found["mine"].is_bulk, found["mine"].is_sent) == (
        True,
        False,
        False,
        True,
    )


async def test_the_cursor_contains_nothing_of_the_mail(here: Account) -> None:
    here.fake.mail.deliver("secret plans")
    cursor = cursor_of(await listing(here.outlook()))
    assert not any(word in str(cursor) for word in ("secret", "plans", "bob", "Bearer"))


async def test_outlook_mail_moved_after_listing_is_still_read(here: Account) -> None:
    id = here.fake.mail.deliver("Rent")
    outlook = here.outlook()
    pages = await listing(outlook)
    here.fake.mail.move(id, "archive")
    (document,) = (await documents(outlook, heads(pages))).values()
    assert isinstance(document, Document)


async def test_outlook_mail_deleted_before_reading_is_reported_removed(here: Account) -> None:
    gone, there = here.fake.mail.deliver("gone"), here.fake.mail.deliver("there")
    outlook = here.outlook()
    pages = await listing(outlook)
    here.fake.mail.delete(gone)
    found = await documents(outlook, heads(pages))
    lost = found["mid:1@example.org"]
    assert isinstance(lost, Unread) and lost.is_removed
    assert isinstance(found["mid:2@example.org"], Document) and there


async def test_mail_recognized_as_bulk_only_on_reading_is_left_out(here: Account) -> None:
    id = here.fake.mail.deliver("news")
    outlook = here.outlook()
    pages = await listing(outlook)
    here.fake.mail.change(id, internetMessageHeaders=[{"name": "List-Id", "value": "<news>"}])
    (found,) = (await documents(outlook, heads(pages))).values()
    assert isinstance(found, Unread) and found.is_removed


async def test_outlook_quoted_text_is_marked_or_dropped_after_the_new_text(here: Account) -> None:
    new = "I shall come on Monday at ten, with the two plans that you asked for.\r\n"
    old = "From: Ana <ana@example.org>\r\nSent: Monday\r\nWhen do you come?\r\n"
    here.fake.mail.deliver("Re: plans", text=f"{new}\r\n{old}", unique=new)
    for quoted, has_old in (("context", True), ("drop", False), ("keep", True)):
        outlook = here.outlook(quoted=quoted)
        (document,) = (await documents(outlook, heads(await listing(outlook)))).values()
        assert isinstance(document, Document) and "\n\nI shall come on Monday" in document.text
        assert ("\n> When do you come?" in document.text) is has_old


async def test_outlook_attachments_are_named_and_read_only_if_requested(here: Account) -> None:
    files = (
        ("plan.csv", "text/csv", b"task,until\npaint,Friday\n"),
        ("big.csv", "text/csv", b"x" * 2_000_000),
    )
    here.fake.mail.deliver("plans", attachments=files)
    for wanted, told in (({}, False), ({"fetch": True, "max_mb": 1}, True)):
        outlook = here.outlook(attachments=wanted)
        (document,) = (await documents(outlook, heads(await listing(outlook)))).values()
        assert isinstance(document, Document)
        assert "[attachment: plan.csv" in document.text and "big.csv" in document.text
        assert ("paint,Friday" in document.text) is told
    assert len(here.fake.asked("$value")) == 1


@each(
    ("method", "kind"),
    [
        ("REQUEST", "eventMessageRequest"),
        ("CANCEL", "eventMessage"),
        ("REPLY", "eventMessageResponse"),
    ],
)
async def test_outlook_meeting_mail_includes_the_calendar(method: str, kind: str) -> None:
    calendar = (
        f"BEGIN:VCALENDAR\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:tasting@x\r\nEND:VEVENT\r\nEND:VCALENDAR"
    )
    sent = multipart("alternative", part("See you."), part(calendar, f"text/calendar; method={method}"))
    async with account() as here:
        here.fake.mail.receive(sent, **{"@odata.type": f"#microsoft.graph.{kind}"})
        outlook = here.outlook()
        (document,) = (await documents(outlook, heads(await listing(outlook)))).values()
        assert isinstance(document, Document)
        found = invitation_in(document.text)
        assert (found and found.is_cancel) == {"REQUEST": False, "CANCEL": True}.get(method)
        assert "See you." in document.text and f"METHOD:{method}" in document.text


async def test_a_mail_whose_answer_is_too_long_is_skipped_and_the_others_are_read(
    here: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here._client, "_max_answer_bytes", 100_000)
    for subject, text in (("long", "x" * 200_000), ("short", "Pay.")):
        here.fake.mail.deliver(subject, text=text)
    outlook = here.outlook()
    read = await documents(outlook, heads(await listing(outlook)))
    found = [one if isinstance(one, Unread) else one.title for one in read.values()]
    assert found == [Unread(reason="the provider's answer is larger than what is read of one"), "short"]
