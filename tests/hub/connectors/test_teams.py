"""Chats and channels at Microsoft, read over HTTP from a fake that ignores filters as the real one does."""

import json
from datetime import timedelta

import pytest

from hub.connectors.calling import Misconfigured, Unread
from hub.connectors.connector import Message
from hub.connectors.teams import Teams, TeamsSettings
from hub.connectors.teams_text import NotReadable, text_of_chat
from hub.document import Document
from tests.support.clock import START
from tests.support.families import each
from tests.support.graph.account import Account, account, cursor_of, documents, heads, listing
from tests.support.graph.http import Request

pytestmark = pytest.mark.anyio

ANA = "87d349ed-44d7-43e1-9a83-5f2406dee5bd"
CHANNELS = {"channels": True}

DAY_S = 86_400.0


@pytest.fixture
def chat(here: Account) -> str:
    return here.fake.chats.open_chat()


async def said(here: Account, teams: Teams, messages: list[Message]) -> list[str]:
    """The last lines of what was written."""
    found = await documents(teams, messages)
    return [one.text.strip().split("\n")[-1] for one in found.values() if isinstance(one, Document)]


async def test_teams_chat_messages_are_read_once_across_daily_runs(here: Account) -> None:
    chats = [
        here.fake.chats.open_chat(),
        here.fake.chats.open_chat("group", "Plans"),
        here.fake.chats.open_chat(),
    ]
    here.fake.chats.say(chats[0], "<p>One</p>")
    here.clock.advance(600)
    here.fake.chats.say(chats[1], "<p>Two</p>")
    teams = here.teams()
    pages = await listing(teams)
    assert await said(here, teams, heads(pages)) == ["One", "Two"]
    assert len(here.fake.asked("/messages")) == 2  # lists; nothing was asked for twice

    here.clock.advance(DAY_S)
    here.fake.chats.say(chats[1], "<p>Three</p>")
    teams = here.teams()
    second = await listing(teams, cursor_of(pages))
    known = {one.key for one in heads(pages)}
    assert await said(here, teams, [one for one in heads(second) if one.key not in known]) == ["Three"]
    assert len(here.fake.asked("/messages")) == 3  # of the chat that spoke


async def test_teams_list_filters_and_orders_by_the_last_modification(chat: str, here: Account) -> None:
    here.fake.chats.page_most = 2
    for number in range(7):
        here.fake.chats.say(chat, f"<p>{number}</p>")
    teams = here.teams()
    assert await said(here, teams, heads(await listing(teams))) == [str(number) for number in range(7)]
    lists = here.fake.asked("/messages")
    assert len(lists) == 4
    assert all(one.query["$orderby"] == "lastModifiedDateTime desc" for one in lists)
    assert all(one.query["$filter"].startswith("lastModifiedDateTime gt ") for one in lists)


async def test_ignored_teams_filter_does_not_reread_the_whole_chat(chat: str, here: Account) -> None:
    here.fake.chats.page_most = 5
    for number in range(50):
        here.fake.chats.say(chat, f"<p>{number}</p>")
        here.clock.advance(60)
    first = await listing(here.teams())
    here.clock.advance(DAY_S)
    here.fake.chats.say(chat, "<p>new</p>")
    asked = len(here.fake.requests)

    def spoil(request: Request) -> None:
        request.query.pop("$filter", None)

    here.fake.before = spoil
    assert len(heads(await listing(here.teams(), cursor_of(first)))) < 10  # and a few minutes' overlap
    assert len(here.fake.requests) - asked <= 4  # who am I, the chats, a page or two


async def test_teams_edit_is_a_new_message_version_and_a_reaction_is_not(chat: str, here: Account) -> None:
    edited, liked = here.fake.chats.say(chat, "<p>at ten</p>"), here.fake.chats.say(chat, "<p>fine</p>")
    first = await listing(here.teams())
    here.clock.advance(DAY_S)
    here.fake.chats.edit(chat, edited, "<p>at eleven</p>")
    here.fake.chats.react(chat, liked)
    here.fake.chats.say(chat, "<p>new</p>")
    teams = here.teams()
    second = await listing(teams, cursor_of(first))
    before = {(one.key, one.version) for one in heads(first)}
    news = [one for one in heads(second) if (one.key, one.version) not in before]
    assert await said(here, teams, news) == ["at eleven", "new"]
    assert {one.key for one in heads(first)} < {one.key for one in heads(second)}


async def test_system_messages_and_deleted_ones_are_no_messages(here: Account) -> None:
    chat = here.fake.chats.open_chat("group")
    here.fake.chats.say(chat, "<systemEventMessage/>", messageType="systemEventMessage")
    gone = here.fake.chats.say(chat, "<p>gone</p>")
    here.fake.chats.say(chat, "<p>there</p>")
    here.fake.chats.remove(chat, gone)
    assert len(heads(await listing(here.teams()))) == 1


async def test_teams_message_deleted_before_reading_is_reported_removed(chat: str, here: Account) -> None:
    id = here.fake.chats.say(chat)
    pages = await listing(here.teams())
    here.fake.chats.remove(chat, id)
    (found,) = (await documents(here.teams(), heads(pages))).values()  # another run: it asks again
    assert isinstance(found, Unread) and found.is_removed


async def test_teams_run_stopped_at_any_page_continues_from_the_last_cursor(here: Account) -> None:
    expected = []
    for chat in [here.fake.chats.open_chat() for _ in range(3)]:
        for number in range(60):
            expected.append(f"{chat[-14:-10]}-{number}")
            here.fake.chats.say(chat, f"<p>{expected[-1]}</p>")
    whole = await listing(here.teams())
    for stop in range(1, len(whole)):
        head = await listing(here.teams(), most=stop)
        rest = await listing(here.teams(), cursor_of(head))
        assert {one.key for one in heads(head) + heads(rest)} == {one.key for one in heads(whole)}
    assert len(heads(whole)) == len(expected)


@each(
    ("wanted", "expected"),
    [("all", 3), ("direct", 1), ("group", 2), ("none", 0)],
)
async def test_teams_filter_selects_kinds_of_chats(wanted: str, expected: int) -> None:
    async with account() as here:
        for kind in ("oneOnOne", "group", "meeting"):
            here.fake.chats.say(here.fake.chats.open_chat(kind))
        assert len(heads(await listing(here.teams(chats=wanted)))) == expected


async def test_teams_filter_selects_a_single_chat(here: Account) -> None:
    chats = [here.fake.chats.open_chat() for _ in range(2)]
    for chat in chats:
        here.fake.chats.say(chat)
    first = await listing(here.teams(chats=[chats[1]]))
    assert len(heads(first)) == 1
    here.clock.advance(DAY_S)
    new = here.fake.chats.say(chats[1])
    second = await listing(here.teams(chats=[chats[1]]), cursor_of(first))
    here.clock.advance(DAY_S)
    last = here.fake.chats.say(chats[1])
    third = await listing(here.teams(chats=[chats[1]]), cursor_of(second))
    assert {one.key for one in heads(third)} - {one.key for one in heads(second)} == {heads(third)[-1].key}
    assert heads(first)[0].key not in {one.key for one in heads(third)}  # it goes on, for this chat alone
    assert [heads(pages)[-1].key.rpartition("/")[2] for pages in (second, third)] == [new, last]


async def test_teams_own_messages_are_marked_and_mentions_can_be_filtered(here: Account) -> None:
    chat = here.fake.chats.open_chat("group")
    user = {"id": ANA, "displayName": "Ana"}
    here.fake.chats.say(
        chat, '<p><at id="0">Ana</at>?</p>', mentions=[{"id": 0, "mentioned": {"user": user}}]
    )
    here.fake.chats.say(chat, "<p>mine</p>", by="Ana")
    assert (
        [one.is_sent for one in heads(await listing(here.teams()))],
        len(heads(await listing(here.teams(mentions_me_only=True)))),
    ) == ([False, True], 1)


async def test_teams_channel_is_read_with_replies(here: Account) -> None:
    team, channel = here.fake.chats.open_channel()
    where = f"{team}/{channel}"
    root = here.fake.chats.say(where, "<p>Who comes?</p>")
    here.fake.chats.say(where, "<p>I do</p>", root=root)
    wanted = {"chats": "none", "channels": [{"team": team, "channel": channel}]}
    teams = here.teams(settings=CHANNELS, **wanted)
    pages = await listing(teams)
    assert await said(here, teams, heads(pages)) == ["Who comes?", "I do"]

    here.fake.chats.say(where, "<p>I do, too</p>", root=root)
    teams = here.teams(settings=CHANNELS, **wanted)
    second = await listing(teams, cursor_of(pages))
    known = {one.key for one in heads(pages)}
    news = [one for one in heads(second) if one.key not in known]
    assert await said(here, teams, news) == ["I do, too"]
    assert await said(here, here.teams(settings=CHANNELS), news) == ["I do, too"]  # asked for alone


async def test_expired_teams_channel_link_loses_no_message(here: Account) -> None:
    team, channel = here.fake.chats.open_channel()
    where = f"{team}/{channel}"
    here.fake.chats.page_most = 2
    for number in range(5):
        here.fake.chats.say(where, f"<p>{number}</p>")
    wanted = {"chats": "none", "channels": [{"team": team, "channel": channel}]}
    first = await listing(here.teams(settings=CHANNELS, **wanted))
    here.clock.advance(30 * DAY_S)
    here.fake.chats.say(where, "<p>new</p>")
    here.fake.chats.forget()
    teams = here.teams(settings=CHANNELS, **wanted)
    assert "new" in await said(here, teams, heads(await listing(teams, cursor_of(first), here.clock.now())))
    for stop in range(1, 3):
        head = await listing(here.teams(settings=CHANNELS, **wanted), most=stop)
        rest = await listing(here.teams(settings=CHANNELS, **wanted), cursor_of(head))
        assert len({one.key for one in heads(head) + heads(rest)}) == 6


async def test_teams_channels_require_the_channels_setting_and_scope(here: Account) -> None:
    with pytest.raises(Misconfigured, match="channels = true"):
        await listing(here.teams(channels=[{"team": "a", "channel": "b"}]))
    assert here.fake.requests == []
    assert "ChannelMessage.Read.All" not in Teams.oauth(TeamsSettings()).scopes
    assert "ChannelMessage.Read.All" in Teams.oauth(TeamsSettings(channels=True)).scopes


async def test_first_teams_run_is_limited_to_the_exact_start_instant(chat: str, here: Account) -> None:
    edge = START - timedelta(days=7)
    for subject, at in (("before", edge - timedelta(milliseconds=1)), ("edge", edge)):
        spelled = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        times = {"createdDateTime": spelled, "lastModifiedDateTime": spelled}
        here.fake.chats.say(chat, subject=subject, **times)
    assert [one.subject for one in heads(await listing(here.teams(), since=edge))] == ["edge"]


async def test_teams_check_reports_the_account_and_the_selected_chats(here: Account) -> None:
    found = await here.teams().check()
    assert (found.name, found.detail) == ("ana@example.org", "chats: all; channels: 0")


def test_people_attachments_and_quotes_are_shown_as_text() -> None:
    reference = {"messagePreview": "When do you come?"}
    item = {
        "body": {
            "contentType": "html",
            "content": '<attachment id="q"></attachment><p><at id="0">Bob B</at> at ten'
            ' <emoji alt="&#128077;"></emoji></p><attachment id="f"></attachment>',
        },
        "attachments": [
            {"id": "q", "contentType": "messageReference", "content": json.dumps(reference)},
            {"id": "f", "contentType": "reference", "name": "plan.docx"},
            {"id": "x", "contentType": "reference", "name": "more[1].docx"},
        ],
    }
    assert text_of_chat(item).split("\n") == [
        "> When do you come?",
        "@Bob B at ten \N{THUMBS UP SIGN}",
        "[attachment: plan.docx]",
        "[attachment: more(1).docx]",
    ]


@each("content", ["<div>" * 60_000, "x" * 1_000_001])
def test_hostile_teams_html_is_refused(content: str) -> None:
    with pytest.raises(NotReadable):
        text_of_chat({"body": {"contentType": "html", "content": content}})


@each("item", [{}, {"body": None}, {"body": {"content": 7}, "attachments": [1, None]}])
def test_teams_item_without_a_message_has_no_text(item: dict[str, object]) -> None:
    assert text_of_chat(item) == ""
