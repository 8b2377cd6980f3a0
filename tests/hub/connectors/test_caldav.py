"""Calendars at a real CalDAV server, and what such a server should never answer."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.connectors import caldav
from hub.connectors.caldav import PAGE, CalDavSettings
from hub.connectors.calendar_objects import read_metadata
from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    Misconfigured,
    SignInNeeded,
    Unavailable,
    Unread,
)
from hub.connectors.connector import Cursor
from hub.document import Document
from hub.text import webdav
from tests.hub.connectors.caldav_rig import Rig, rig
from tests.support.asgi import serving
from tests.support.families import each
from tests.support.radicale import Radicale

pytestmark = pytest.mark.anyio


@pytest.fixture
def user(radicale: Radicale) -> str:
    return radicale.fresh_user()


@pytest.fixture
async def home(radicale: Radicale, user: str) -> AsyncIterator[Rig]:
    """A person with one calendar, ``work``."""
    radicale.make_calendar(user, "work", "Work")
    async with rig(radicale.url, user) as made:
        yield made


async def test_calendars_are_discovered_from_server_home_or_calendar_address(
    user: str, radicale: Radicale, home: Rig
) -> None:
    radicale.put(user, "work", "a", "SUMMARY:Pay")
    own = radicale.make_calendar(user, "garden")
    radicale.put(user, "garden", "b", "SUMMARY:Dig")
    for url, titles in (
        (radicale.url, {"Pay", "Dig"}),
        (f"{radicale.url}/{user}/", {"Pay", "Dig"}),
        (own, {"Dig"}),
    ):
        home.settings = CalDavSettings(url=url, username=user)
        _, found = await home.run()
        assert set(found) == titles, url
    assert (await home.open().check()).detail == f"calendars: {user}/garden"


async def test_caldav_run_lists_only_changed_objects(user: str, radicale: Radicale, home: Rig) -> None:
    for name in "abc":
        radicale.put(user, "work", name, f"SUMMARY:{name}")
    cursor, before = await home.run()
    assert set(before) == {"a", "b", "c"}
    assert (await home.run(cursor))[1] == {}

    radicale.put(user, "work", "b", "SUMMARY:b", "DESCRIPTION:more")
    radicale.put(user, "work", "d", "SUMMARY:d")
    radicale.delete(user, "work", "c")
    cursor, after = await home.run(cursor)
    assert (set(after), after["b"][0].key) == ({"b", "d"}, before["b"][0].key)
    assert after["b"][0].version != before["b"][0].version
    assert (await home.run(cursor))[1] == {}


async def test_unknown_sync_token_lists_the_calendar_again_without_loss(
    user: str, radicale: Radicale, home: Rig
) -> None:
    radicale.make_calendar(user, "garden")
    for calendar in ("work", "garden"):
        radicale.put(user, calendar, f"in-{calendar}", f"SUMMARY:in {calendar}")
    cursor, _ = await home.run()
    assert cursor is not None
    places = cursor["calendars"]
    (work,) = (url for url in places if url.endswith("/work/"))
    places[work]["token"] = f"http://radicale.org/ns/sync/{'0' * 64}"
    radicale.put(user, "work", "late", "SUMMARY:late")
    cursor, found = await home.run(cursor)
    assert set(found) == {"in work", "late"}  # of the other calendar nothing
    assert (await home.run(cursor))[1] == {}


@pytest.mark.parametrize(
    "cursor", [{}, {"calendars": 7}, {"calendars": {"x": {"token": 1}}}, {"history": "9"}]
)
async def test_caldav_cursor_of_another_release_is_lost(home: Rig, cursor: dict[str, Any]) -> None:
    with pytest.raises(CursorLost):
        await home.run(cursor)


async def test_objects_done_before_the_first_reading_are_left_out_and_later_ones_listed(
    user: str, radicale: Radicale, home: Rig
) -> None:
    radicale.put(user, "work", "old", "SUMMARY:old", "STATUS:COMPLETED")
    radicale.put(user, "work", "new", "SUMMARY:new")
    cursor, found = await home.run()
    assert set(found) == {"new"}
    radicale.put(user, "work", "new", "SUMMARY:new", "STATUS:COMPLETED")
    assert set((await home.run(cursor))[1]) == {"new"}


async def test_calendar_events_are_listed_on_entering_the_window(
    user: str, radicale: Radicale, home: Rig
) -> None:
    for name, days in (("past", -30.0), ("soon", 5.0), ("later", 40.0)):
        radicale.put(user, "work", name, f"SUMMARY:{name}", f"DTSTART:{home.day(days)}", kind="VEVENT")
    cursor, found = await home.run(window_days=20)
    assert set(found) == {"soon"}
    radicale.put(user, "work", "far", "SUMMARY:far", f"DTSTART:{home.day(60)}", kind="VEVENT")
    cursor, found = await home.run(cursor, window_days=20)
    assert found == {}
    home.clock.advance(25 * 86_400.0)
    cursor, found = await home.run(cursor, window_days=20)
    assert set(found) == {"later"}
    home.clock.advance(25 * 86_400.0)
    cursor, found = await home.run(cursor, window_days=20)
    assert set(found) == {"far"}


async def test_caldav_filter_selects_calendars_and_kinds_by_name(
    user: str, radicale: Radicale, home: Rig
) -> None:
    radicale.make_calendar(user, "garden")
    radicale.put(user, "garden", "g", "SUMMARY:g")
    radicale.put(user, "work", "t", "SUMMARY:t")
    radicale.put(user, "work", "e", "SUMMARY:e", f"DTSTART:{home.day(1)}", kind="VEVENT")
    assert set((await home.run(calendars=["WORK"]))[1]) == {"t", "e"}
    cursor, found = await home.run(kinds=["VTODO"])
    assert set(found) == {"t", "g"}
    assert set((await home.run(cursor))[1]) == {
        "e"
    }  # who reads events from now on has those of the days ahead
    with pytest.raises(Misconfigured, match=f"no calendar 'wrok'; there are '{user}/garden', 'Work'"):
        await home.run(calendars=["wrok"])


async def test_caldav_objects_beyond_a_single_page_are_all_listed(radicale: Radicale, home: Rig) -> None:
    for number in range(PAGE + 1):
        radicale.put(home.settings.username, "work", f"t{number}", f"SUMMARY:t{number}")
    assert len((await home.run())[1]) == PAGE + 1


async def test_wrong_caldav_password_requires_a_sign_in(radicale: Radicale, home: Rig) -> None:
    home.password = "another"
    with pytest.raises(SignInNeeded):
        await home.run()


async def test_address_without_a_calendar_is_misconfigured(radicale: Radicale) -> None:
    user = radicale.fresh_user()
    async with rig(radicale.url, user) as nobody:
        with pytest.raises(Misconfigured, match="there is no calendar there"):
            await nobody.run()
    async with rig(f"{radicale.url}/{user}/nothing/here/", user) as nobody:
        with pytest.raises(Misconfigured, match="there are no calendars at that address"):
            await nobody.run()


@each(
    "wrong",
    [
        {"url": "http://dav.example.org"},
        {"url": "dav.example.org"},
        {"url": "https://u:p@dav.example.org"},
        {"url": "https://dav.example.org/?a=b"},
        {"username": "a:b"},
        {"usrename": "a"},
    ],
)
def test_invalid_caldav_settings_are_refused(wrong: Mapping[str, str]) -> None:
    with pytest.raises(ValidationError):
        CalDavSettings.model_validate({"url": "https://dav.example.org", "username": "ana"} | dict(wrong))


def multistatus(inner: str) -> Response:
    names = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
    return Response(f"<multistatus {names}>{inner}</multistatus>", 207, media_type="application/xml")


def response(href: str, prop: str) -> str:
    propstat = f"<propstat><prop>{prop}</prop><status>HTTP/1.1 200 OK</status></propstat>"
    return f"<response><href>{href}</href>{propstat}</response>"


CALENDAR = response("/cal/", "<resourcetype><C:calendar/></resourcetype><sync-token>t1</sync-token>")


class Script:
    """A server that answers as it is told, by the kind of request; else that here is a calendar."""

    def __init__(self, **answers: Response) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = (await request.body()).decode()
        kinds = ("sync-collection", "calendar-multiget", "calendar-query", "propfind")
        kind = next(kind for kind in kinds if kind in body).replace("-", "_")
        self.asked.append((kind, body))
        answer = self.answers.get(kind) or multistatus(CALENDAR if kind == "propfind" else "")
        await answer(scope, receive, send)


async def failure_of(script: Script, cursor: Cursor | None = None) -> ConnectorFailure:
    async with serving(script) as url, rig(url, "ana") as made:
        with pytest.raises(ConnectorFailure) as raised:
            await made.run(cursor)
    return raised.value


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>'


@pytest.mark.parametrize(
    "body",
    [BOMB, "<html>", '<multistatus xmlns="DAV:"><resp', "", "<a>" * 100 + "</a>" * 100, "<html></html>"],
    ids=["entities", "a page", "cut off", "nothing", "deep", "another document"],
)
async def test_invalid_caldav_answer_is_a_transient_failure(body: str) -> None:
    assert isinstance(await failure_of(Script(propfind=Response(body, 207))), Unavailable)


def test_an_object_in_a_time_zone_of_many_dots_has_no_metadata() -> None:
    event = f"BEGIN:VEVENT\r\nDTSTART;TZID=a{'.' * 2_000}/b:20260506T090000\r\nEND:VEVENT\r\n"
    assert read_metadata(f"BEGIN:VCALENDAR\r\n{event}END:VCALENDAR\r\n").kind is None


def test_caldav_object_with_the_path_of_a_file_is_not_read_from_disk(tmp_path: Path) -> None:
    file = tmp_path / "own.ics"
    file.write_text("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:secret\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    assert read_metadata(str(file)).title == ""


async def test_caldav_password_is_not_sent_to_a_redirected_or_foreign_address() -> None:
    away = Response("", 301, headers={"location": "https://evil.example/cal/"})
    failure = await failure_of(Script(propfind=away))
    assert isinstance(failure, Misconfigured) and "evil.example" in str(failure)
    home = response("/", "<C:calendar-home-set><href>https://evil.example/</href></C:calendar-home-set>")
    assert isinstance(await failure_of(Script(propfind=multistatus(home))), Misconfigured)


async def test_a_server_without_sync_tokens_is_reported() -> None:
    bare = response("/cal/", "<resourcetype><C:calendar/></resourcetype>")
    assert "does not list changes" in str(await failure_of(Script(propfind=multistatus(bare))))


async def test_calendar_without_sync_tokens_beside_the_selected_ones_is_not_reported() -> None:
    kind, name = "<resourcetype><C:calendar/></resourcetype>", "<displayname>{}</displayname>"
    bare = response("/holidays/", kind + name.format("Holidays"))
    whole = response("/work/", kind + name.format("Work") + "<sync-token>t1</sync-token>")
    home = response("/", "<C:calendar-home-set><href>/</href></C:calendar-home-set>")
    answers = [multistatus(home), multistatus(bare + whole)] * 2

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await Request(scope, receive).body()).decode()
        await (answers.pop(0) if "propfind" in body else multistatus(""))(scope, receive, send)

    async with serving(site) as url, rig(url, "ana") as made:
        with pytest.raises(Misconfigured, match=r"Holidays: .*by filter\.calendars: 'Work'"):
            await made.run()
        cursor, _ = await made.run(calendars=["Work"])
    assert cursor is not None


async def test_truncated_caldav_change_list_is_continued_with_the_new_token() -> None:
    part = "<response><href>/cal/</href><status>HTTP/1.1 507 Insufficient Storage</status></response>"
    script = Script(sync_collection=multistatus(f"{part}<sync-token>t2</sync-token>"))
    async with serving(script) as url, rig(url, "ana") as made:
        place = {"token": "t1", "until": made.clock.now().isoformat()}
        cursor, _ = await made.run({"calendars": {f"{url}/cal/": place}})
    tokens = [
        body.partition("sync-token>")[2][:2] for kind, body in script.asked if kind == "sync_collection"
    ]
    assert tokens == ["t1", "t2"]  # and no third time: the server tells nothing new
    assert cursor is not None


async def test_invalid_caldav_object_leaves_the_other_objects_readable() -> None:
    objects = "".join(
        response(f"/cal/{number}", f"<getetag>{number}</getetag><C:calendar-data>{data}</C:calendar-data>")
        for number, data in enumerate(
            [
                "no calendar",
                "BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:good\nEND:VTODO\nEND:VCALENDAR",
                "x" * 300_000,
            ]
        )
    )
    script = Script(calendar_query=multistatus(objects), calendar_multiget=multistatus(objects))
    async with serving(script) as url, rig(url, "ana") as made:
        dav, said = made.open(), []
        async for page in dav.pages(None, made.clock.now()):
            said += [one async for one in dav.read(page.messages)]
    assert ([type(one) for _, one in said], len({message.key for message, _ in said})) == (
        [Document, Document, Unread],
        3,
    )


@pytest.mark.parametrize("status", ["507 Insufficient Storage", "503 Service Unavailable"])
@pytest.mark.parametrize("kind", ["calendar_query", "calendar_multiget"])
async def test_caldav_object_omitted_by_the_server_makes_the_run_unavailable(status: str, kind: str) -> None:
    left_out = f"<response><href>/cal/b</href><status>HTTP/1.1 {status}</status></response>"
    whole = multistatus(response("/cal/a", "<getetag>1</getetag>"))
    script = Script(**({"calendar_query": whole} | {kind: multistatus(left_out)}))
    assert isinstance(await failure_of(script), Unavailable)


@each("body", [b'<?xml version="1.0" encoding="bogus"?><a/>', b"<a>\xff</a>"])
def test_an_answer_in_an_unknown_encoding_is_a_passing_error(body: bytes) -> None:
    with pytest.raises(Unavailable):
        caldav.multistatus(body)


async def test_event_ending_in_the_year_9999_is_listed(user: str, radicale: Radicale, home: Rig) -> None:
    cursor, _ = await home.run()
    lines = (f"DTSTART:{home.day(2)}", "DTEND:99991231T235959Z")
    radicale.put(user, "work", "e", "SUMMARY:for ever", *lines, kind="VEVENT")
    assert set((await home.run(cursor))[1]) == {"for ever"}


def test_a_sync_token_is_escaped_only_for_xml() -> None:
    assert webdav.read(webdav.sync_collection('a<b&"c')).findtext("{DAV:}sync-token") == 'a<b&"c'
