"""Providers that a manifest describes: paging, edits, limits, faults, and manifests that are wrong."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hub.connectors import manifest
from hub.connectors.calendar_feeds import calendar_entries
from hub.connectors.calling import (
    ConnectorFailure,
    MessageUnreadable,
    Misconfigured,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
    Unread,
)
from hub.connectors.catalogue import UnknownProvider, find
from hub.connectors.connector import Auth
from hub.connectors.manifest import load
from hub.connectors.sdk.json_paths import steps_of, values_at
from hub.document import Document
from hub.extraction.calendars import read_calendar
from hub.extraction.items import ExtractionOptions
from tests.hub.connectors.manifest_rig import (
    PROVIDERS,
    SECRET,
    TEXT,
    GitHub,
    Provider,
    Rss,
    rig,
)
from tests.support.families import each

pytestmark = pytest.mark.anyio

PAGED = ("github-issues", "gitlab-issues", "jira", "notion", "todoist")


def document(outcome: tuple[Any, Document | Unread]) -> Document:
    assert isinstance(outcome[1], Document)
    return outcome[1]


@each(
    ("name", "text", "author", "labels", "link"),
    [
        ("rss", f"Water plants\n\n{TEXT}", "Ana", ("work",), "https://news.example/1"),
        ("atom", f"Water plants\n\n{TEXT}", "Ana", ("work",), "https://x.example/1"),
        (
            "github-issues",
            f"Water plants\n\n{TEXT}",
            "ana",
            ("bug",),
            "https://github.com/ana/plants/issues/1",
        ),
        (
            "gitlab-issues",
            f"Water plants\n\n{TEXT}",
            "Ana",
            ("bug",),
            "https://gitlab.com/ana/plants/-/issues/1",
        ),
        ("jira", f"Water plants\n\n{TEXT}", "Ana", ("bug",), None),
        ("notion", f"Water plants\n{TEXT}", None, ("bug",), "https://www.notion.so/1"),
    ],
)
async def test_an_entry_is_a_message_with_text_author_labels_and_link(
    name: str, text: str, author: str | None, labels: tuple[str, ...], link: str | None
) -> None:
    async with rig(name) as here:
        here.arrive("Water plants")
        _, found = await here.run()
        message, read = found["Water plants"][0], document(found["Water plants"])
        sender = message.sender.name if message.sender else None
        assert (read.text, sender, message.labels, message.link) == (text, author, labels, link)
        assert message.received_at == here.clock.now().replace(microsecond=0)
        assert read.media_type == "text/markdown" and message.key.startswith(f"{name}:")
        assert read.hidden_parts == (1 if name in ("rss", "atom") else 0)
        assert vars(find(name))["is_prose"]


async def test_a_task_of_todoist_is_read_by_rules() -> None:
    async with rig("todoist") as here:
        here.arrive("Buy; soil, pots\\")
        here.arrive("Call").more = {"due": {"date": "2026-12-05", "datetime": "2026-12-05T15:00:00"}}
        here.arrive("Rest").more = {"due": {"date": "some day"}}
        here.arrive("Write").more = {"due": None}
        _, found = await here.run()
        tasks: dict[str, list[Any]] = {}
        for subject, outcome in found.items():
            form = read_calendar(document(outcome), ExtractionOptions(data_types=("tasks",), timezone="UTC"))
            assert form is not None
            tasks |= {subject: [(one.data["title"], one.data.get("dueDate")) for one in form.items]}
        day = {n: int(datetime(2026, 12, n, tzinfo=UTC).timestamp() * 1_000) for n in (4, 5)}
        assert tasks["Buy; soil, pots\\"] == [("Buy; soil, pots\\", day[4])]
        assert tasks["Call"][0][1] in (day[5], day[5] + 15 * 3_600_000)
        assert (tasks["Write"], len(tasks["Rest"])) == ([("Write", None)], 1)
        assert not vars(find("todoist"))["is_prose"]


@each("name", PAGED)
async def test_manifest_connector_reads_all_pages_with_any_entry_times(name: str) -> None:
    for step_s in (0, 40, 1_000):
        async with rig(name) as here:
            here.provider.page = 3
            for number in range(7):
                here.arrive(f"n{number}")
                here.clock.advance(step_s)
            cursor, found = await here.run()
            assert set(found) == {f"n{number}" for number in range(7)}, step_s
            here.arrive("late")
            cursor, found = await here.run(cursor)
            assert set(found) == {"late"}
            assert (await here.run(cursor))[1] == {}


@each("name", PROVIDERS)
async def test_edited_entry_is_listed_again_with_the_same_key_unlike_a_deleted_entry(name: str) -> None:
    async with rig(name) as here:
        for subject in ("first", "second", "third"):
            here.arrive(subject)
        cursor, before = await here.run()
        here.clock.advance(3_600)
        edited = here.provider.entries[1]
        edited.text, edited.changed = "Ben must answer.", here.clock.now()
        del here.provider.entries[2]
        cursor, after = await here.run(cursor)
        assert set(after) == {"second"}
        assert after["second"][0].key == before["second"][0].key
        assert after["second"][0].version != before["second"][0].version
        assert name == "notion" or "Ben must answer." in document(after["second"]).text
        assert (await here.run(cursor))[1] == {}


class Moving(GitHub):
    """GitHub, whose first issue changes when the first page was read."""

    def answer(self, request: Request, body: Any) -> Response:
        answer = super().answer(request, body)
        if len(self.asked) == 1:
            self.entries[0].changed += timedelta(hours=1)
        return answer


async def test_entry_moving_during_paging_hides_no_other_entry() -> None:
    provider = Moving()
    provider.page = 2
    async with rig("github-issues", provider) as here:
        for number in range(4):
            here.arrive(f"n{number}")
            here.clock.advance(60)
        here.clock.advance(7_200)
        listed = set()
        async for page in here.open().pages(None, here.clock.now() - timedelta(days=1)):
            listed |= {one.subject for one in page.messages}
        assert listed == {"n0", "n1", "n2", "n3"}


async def test_run_of_ascending_pages_can_resume_after_any_page() -> None:
    async with rig("github-issues") as here:
        here.provider.page = 2
        for number in range(6):
            here.arrive(f"n{number}")
            here.clock.advance(1_200)
        pages = [page async for page in here.open().pages(None, here.clock.now() - timedelta(days=1))]
        cursor = next(page.cursor for page in pages if page.cursor is not None)
        _, found = await here.run(cursor)
        assert set(found) == {"n2", "n3", "n4", "n5"}


@each(
    ("status", "headers", "wait_s"),
    [
        (429, {"Retry-After": "3600"}, 3_600),
        (403, {"Retry-After": "3600"}, 3_600),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{}"}, 1_800),
        (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "{}"}, 1_800),
    ],
)
async def test_long_wait_demanded_by_the_provider_ends_the_run(
    status: int, headers: dict[str, str], wait_s: float
) -> None:
    async with rig("github-issues") as here:
        at = here.clock.now() + timedelta(seconds=1_800)
        shown = {name: value.format(int(at.timestamp())) for name, value in headers.items()}
        here.provider.failures = [JSONResponse({}, status, headers=shown)]
        with pytest.raises(ProviderBusy) as caught:
            await here.run()
        assert caught.value.retry_at is not None
        assert abs((caught.value.retry_at - here.clock.now()).total_seconds() - wait_s) < 2


async def test_manifest_connector_waits_for_short_retry_after_and_asks_sign_in_on_refusal() -> None:
    async with rig("todoist") as here:
        here.arrive("Water")
        here.provider.failures = [JSONResponse({}, 429, headers={"Retry-After": "7"})]
        began = here.clock.now()
        assert set((await here.run())[1]) == {"Water"}
        assert here.clock.now() - began >= timedelta(seconds=7)
        for secret in ("another", "", "tok\r\nHost: x", "tök"):
            here.secret = secret
            with pytest.raises(SignInNeeded):
                await here.run()
        here.provider.failures = [JSONResponse({}, 403)]
        here.secret = SECRET
        with pytest.raises(ConnectorFailure, match="does not allow it"):
            await here.run()


class Tagged(Rss):
    """A feed with an ETag."""

    more = ""

    def answer(self, request: Request, body: Any) -> Response:
        answer = super().answer(request, body)
        tag = f'"{hashlib.sha256(answer.body).hexdigest()[:8]}{self.more}"'
        answer.headers["ETag"] = tag
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        return answer


async def test_unchanged_feed_is_skipped_and_an_invalid_etag_is_not_sent() -> None:
    provider = Tagged()
    async with rig("rss", provider) as here:
        here.arrive("first")
        cursor, _ = await here.run()
        assert cursor is not None and cursor["headers"]
        assert await here.run(cursor) == (cursor, {})
        here.arrive("second")
        assert set((await here.run(cursor))[1]) == {"second"}
        provider.more = "\xe9"
        cursor, _ = await here.run()
        assert (await here.run(cursor))[1] == {}


def moved(address: str) -> Response:
    return Response(status_code=302, headers={"Location": address})


async def test_changed_link_addresses_in_a_feed_entry_are_no_edit() -> None:
    async with rig("rss") as here:
        one = here.arrive("first")
        one.text = 'Anna must <a href="https://x.example/?click=1">answer</a>.'
        cursor, _ = await here.run()
        one.text = one.text.replace("click=1", "click=2")
        assert (await here.run(cursor))[1] == {}
        one.text = one.text.replace("Anna", "Ben")
        assert set((await here.run(cursor))[1]) == {"first"}


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(50):
        yield b" " * 1024 * 1024


@each(
    ("name", "answer", "failure", "message"),
    [
        ("todoist", Response(b'{"results": [{"id": '), Unavailable, "cut off, or no JSON"),
        ("todoist", Response(b"<html>Sign in to the hotel</html>"), Unavailable, "no JSON"),
        ("todoist", Response(b"[" * 100_000), Unavailable, "no JSON"),
        ("todoist", Response(b'{"results": ["\x84"]}'), Unavailable, "no JSON"),
        (
            "todoist",
            JSONResponse({"tasks": []}),
            Misconfigured,
            "no list at 'results' .* with tasks",
        ),
        ("github-issues", JSONResponse({"message": "x"}), Misconfigured, "it is a table with message"),
        ("todoist", StreamingResponse(_endless()), MessageUnreadable, "larger than what is read"),
        ("rss", Response(b"<rss><channel><item>"), Unavailable, "cut off"),
        ("rss", Response(b"<html><body/></html>"), Unavailable, "first element is <html>"),
        ("rss", Response(b'<!DOCTYPE x [<!ENTITY a "aaa">]><rss>&a;</rss>'), Unavailable, "or no XML"),
        ("ics", Response(b"<html/>"), Unavailable, "does not begin with BEGIN:VCALENDAR"),
        ("rss", Response(status_code=404), Misconfigured, "404"),
        (
            "rss",
            Response(status_code=302, headers={"Location": "https://evil.example/f"}),
            Misconfigured,
            "moved to https://evil.example/f",
        ),
        (
            "rss",
            Response(status_code=302, headers={"Location": "file:///etc/passwd"}),
            Misconfigured,
            "moved to file",
        ),
    ],
)
async def test_unusable_provider_answer_is_reported_with_the_reason(
    name: str, answer: Response, failure: type[ConnectorFailure], message: str
) -> None:
    async with rig(name) as here:
        here.provider.failures = [answer]
        with pytest.raises(failure, match=message):
            await here.run()


async def test_feed_redirect_is_followed_once_on_the_same_server() -> None:
    async with rig("rss") as here:
        here.arrive("first")
        here.provider.failures = [Response(status_code=301, headers={"Location": "/elsewhere"})]
        assert set((await here.run())[1]) == {"first"}
        here.provider.failures = [Response(status_code=301, headers={"Location": "/again"})] * 3
        with pytest.raises(Misconfigured, match="from one address to the next"):
            await here.run()


@each(
    ("link", "message"),
    [
        ("https://evil.example/2", "not its own"),
        ("//evil.example/2", "not its own"),
        ("http://[", "no address"),
    ],
)
async def test_next_page_link_to_another_server_is_refused(link: str, message: str) -> None:
    async with rig("github-issues") as here:
        here.provider.failures = [
            JSONResponse([{"node_id": "1", "title": "x"}], headers={"Link": f'<{link}>; rel="next"'})
        ]
        with pytest.raises(ConnectorFailure, match=message):
            await here.run()
        assert len(here.provider.asked) == 1


class Repeating(Provider):
    """A provider that ignores the token of a page."""

    settings = {"base_url": "{}"}  # noqa: RUF012

    def answer(self, request: Request, body: Any) -> Response:
        return JSONResponse({"results": [{"id": "1", "content": "x"}], "next_cursor": "again"})


async def test_repeating_pages_end_the_run_as_unavailable() -> None:
    async with rig("todoist", Repeating()) as here:
        with pytest.raises(Unavailable, match="the same entries again and again"):
            await here.run()
        assert len(here.provider.asked) < 10


async def test_broken_manifest_entry_is_reported_and_other_entries_are_listed() -> None:
    async with rig("github-issues") as here:
        for subject in ("first", "second", "third"):
            here.arrive(subject)
        here.provider.entries[1].more = {"node_id": None}
        cursor, found = await here.run()
        assert set(found) == {"first", "", "third"}
        result = found[""][1]
        assert isinstance(result, Unread) and result.is_final
        assert result.reason.startswith("fields.key: no value at node_id in a table with assignees, body,")
        assert (await here.run(cursor))[1] == {}
        for one in here.provider.entries:
            one.more = {"node_id": {}}
            one.changed = here.clock.now()
        with pytest.raises(Misconfigured, match=r"github-issues.toml: fields.key: .* so have all 3 entries"):
            await here.run(cursor)


async def test_feed_entry_with_hostile_html_is_set_aside() -> None:
    async with rig("rss") as here:
        here.arrive("first")
        here.arrive("second").text = "<div>" * 20_000
        _, found = await here.run()
        assert {subject: isinstance(result, Document) for subject, (_, result) in found.items()} == {
            "first": True,
            "": False,
        }


@each(
    ("name", "more"),
    [
        ("github-issues", {"pull_request": {"url": "https://api.github.com/x"}}),
        ("notion", {"in_trash": True}),
        ("todoist", {"is_deleted": True}),
        ("todoist", {"checked": True}),
    ],
)
async def test_entries_of_another_kind_deleted_or_done_are_omitted(name: str, more: dict[str, Any]) -> None:
    async with rig(name) as here:
        here.arrive("first")
        here.arrive("second").more = more
        assert set((await here.run())[1]) == {"first"}


async def test_entry_key_is_escaped_in_the_address_of_the_text() -> None:
    async with rig("notion") as here:
        here.arrive("first").more = {"id": "../../x?y=https://evil.example/#"}
        await here.run()
        key = "..%2F..%2Fx%3Fy%3Dhttps%3A%2F%2Fevil.example%2F%23"
        assert here.provider.asked[-1] == f"GET /v1/blocks/{key}/children?page_size=100"


async def test_notion_page_deleted_before_reading_is_reported_removed() -> None:
    async with rig("notion") as here:
        here.arrive("first")
        connector = here.open()
        async for page in connector.pages(None, here.clock.now() - timedelta(days=1)):
            here.provider.entries.clear()
            for message in page.messages:
                ((_, result),) = [one async for one in connector.read([message])]
                assert isinstance(result, Unread) and result.is_removed


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"issue_labels": ["BUG"]}, {"first"}),
    ({"state": ["closed"]}, {"second"}),
    ({"assignees": ["ben"], "issue_labels": ["bug"]}, {"first"}),
    ({}, {"first", "second"}),
]


async def test_manifest_filter_selects_entries_by_field_values() -> None:
    async with rig("github-issues") as here:
        here.arrive("first")
        here.arrive("second").more = {"labels": [], "state": "closed", "assignees": None}
        for filter, subjects in FILTERS:
            assert set((await here.run(**filter))[1]) == subjects


async def test_first_run_is_limited_to_recent_entries_and_a_later_edit_is_listed() -> None:
    async with rig("atom") as here:
        old = here.arrive("old")
        here.clock.advance(30 * 86_400)
        here.arrive("new")
        cursor, found = await here.run()
        assert set(found) == {"new"}
        assert (await here.run(cursor))[1] == {}
        old.text, old.changed = "Ben must answer.", here.clock.now()
        assert set((await here.run(cursor))[1]) == {"old"}


async def test_ics_events_are_listed_on_entering_the_window_despite_a_broken_event() -> None:
    async with rig("ics") as here:
        here.arrive("soon")
        for subject, days in (("far", 40), ("past", -30)):
            here.arrive(subject).created = here.clock.now() + timedelta(days=days)
        here.arrive("broken\r\nBEGIN:VALARM\r\nX")
        cursor, found = await here.run(window_days=20)
        assert set(found) == {"soon", ""}
        assert document(found[""]).text.count("BEGIN:VALARM") == 1, "its reading says what is missing"
        assert document(found["soon"]).media_type == "text/calendar"
        assert found["soon"][0].key.endswith(".ics") and not vars(find("ics"))["is_prose"]
        assert (await here.run(cursor, window_days=20))[1] == {}
        here.arrive("large").text = "x" * 300_000
        cursor, found = await here.run(cursor, window_days=20)
        assert [found[one][0].fault[-32:] for one in found] == ["it has more than 262144 characters"[-32:]]
        here.clock.advance(25 * 86_400)
        cursor, found = await here.run(cursor, window_days=20)
        assert set(found) == {"far"}


def test_calendar_entry_includes_only_the_referenced_time_zones() -> None:
    zone = "BEGIN:VTIMEZONE\r\nTZID:{0}\r\n{1}END:VTIMEZONE\r\n"
    event = 'BEGIN:VEVENT\r\nUID:{0}\r\nDTSTART;TZID="{1}":20261201T090000\r\nEND:VEVENT\r\n'
    parts = [
        zone.format("Here", ""),
        zone.format("Huge", "X:y\r\n" * 10_000),
        event.format("a", "Here"),
        event.format("b", "Huge"),
        event.format("c", "None"),
        event.format("a", "Here").replace("UID:a", "UID:\r\n a\r\nRECURRENCE-ID:20261208T090000"),
    ]
    found = calendar_entries(f"BEGIN:VCALENDAR\r\n{''.join(parts)}END:VCALENDAR".encode())
    texts = {one.uid: one.text for one in found}
    zones = {uid: text.count("BEGIN:VTIMEZONE") for uid, text in texts.items()}
    assert (zones, texts["a"].count("BEGIN:VEVENT")) == ({"a": 1, "b": 0, "c": 0}, 2)


RECORD = {"a": {"b": [{"c": "x"}, {"c": None}, {"d": "y"}, {"c": 3}]}, "t": {"p": 1, "q": "z"}, "n": None}


@each(
    ("path", "values"),
    [
        ("a.b[*].c", ["x", 3]),
        ("a.b[+].c", ["x3"]),
        ("t[*]", [1, "z"]),
        ("t.p", [1]),
        ("a.b.c", []),
        ("n", []),
        ("n[*].x", []),
        ("t.p.q", []),
        ("t[*][*]", []),
        ("a.b.2.d", ["y"]),
        ("a.b.9.d", []),
    ],
)
def test_manifest_path_selects_the_expected_values(path: str, values: list[Any]) -> None:
    assert values_at(RECORD, steps_of(path)) == values


MINE = """
name = "mine"
url = "{base_url}/notes"
[settings.base_url]
[fields]
key = "id"
"""


@each(
    ("was", "wrong", "message"),
    [
        ('key = "id"', "key = ", "mine.toml: Invalid value (at line 6"),
        ('key = "id"', 'key = "a[0]"', "mine.toml: fields.key.0: no path: keys with dots between"),
        ('key = "id"', 'keys = "id"', "mine.toml: fields.keys: Extra inputs are not permitted; found 'id'"),
        ("/notes", "/{note}", "mine.toml: url has {note}; known here are: base_url, minutes, since, since_s"),
        ("[fields]", '[auth]\nkind = "basic"\n[fields]', "auth.kind = basic needs [settings.username]"),
        ("[fields]", '[auth]\nkind = "magic"\n[fields]', "mine.toml: auth.kind: Input should be 'none'"),
        ("[fields]", '[auth]\nkind = "oauth2"\n[fields]', "needs authorize_url and token_url"),
        ("[fields]", '[pages]\nby = "path"\n[fields]', "pages.by = path needs pages.path"),
        ("[fields]", '[pages]\nby = "offset"\n[fields]', "pages.by = offset needs pages.parameter"),
        ("[fields]", "[settings.since]\n[fields]", "since is a name of the hub's own"),
        ("[fields]", '[filter]\nmax_chars = "x"\n[fields]', "max_chars is a name of the hub's own"),
        ('name = "mine"', 'name = "My notes"', "mine.toml: name: String should match pattern"),
    ],
)
def test_manifest_error_names_the_file_the_key_and_the_found_value(
    was: str, wrong: str, message: str
) -> None:
    load(MINE, "mine.toml")
    with pytest.raises(Misconfigured) as caught:
        load(MINE.replace(was, wrong), "mine.toml")
    assert message in str(caught.value)


def test_custom_manifest_is_loaded_from_the_folder_of_hub_toml(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        MINE
        + '[auth]\nkind = "oauth2"\nauthorize_url = "https://a.example"\ntoken_url = "https://t.example"\n'
    )
    given = {"manifest": "mine.toml", "base_url": "https://notes.example"}
    kind = find("manifest", (), given, tmp_path)
    settings = kind.settings_model.model_validate(given)
    oauth = kind.oauth(settings)
    assert (kind.provider, kind.auth, kind.origins(settings)) == (
        "mine",
        Auth.OAUTH2,
        frozenset({"https://notes.example:443"}),
    )
    assert oauth is not None and oauth.token_url == "https://t.example"
    before = kind.revision
    (tmp_path / "mine.toml").write_text(MINE)
    assert find("manifest", (), given, tmp_path).revision != before
    for wrong in ("http://notes.example", "ftp://notes.example", "notes.example", "https://a@b"):
        with pytest.raises(ValidationError):
            kind.settings_model.model_validate(given | {"base_url": wrong})


class Notes(Provider):
    """A service with pages of each kind, and texts in HTML."""

    settings = {"base_url": "{}", "username": "ana", "manifest": "mine.toml"}  # noqa: RUF012
    is_open = False
    header, shown = "x-api-key", f"Key {SECRET}"

    def signed_in(self, request: Request) -> bool:
        return request.headers.get(self.header) == self.shown

    def answer(self, request: Request, body: Any) -> Response:
        asked = request.query_params
        at = (int(asked.get("page", 1)) - 1) * self.page or int(asked.get("from", 0))
        some, more = self.part(self.entries, str(at))
        notes = [
            {
                "id": one.number,
                "title": f"<b>{one.subject}</b>",
                "text": f"<p>{one.text}</p>",
                "created": 1780444800 + one.number,
            }
            for one in some
        ]
        following = f"/api/notes?from={more}" if more else None
        return JSONResponse({"data": {"notes": notes}, "links": {"next": following}, "asked": dict(asked)})


NOTES = """
name = "notes"
url = "{base_url}/notes"
list = "data.notes"
html = true
query = { owner = "{username}", of = "" }
headers = { X-Client = "hub of {username}" }
[settings.base_url]
[settings.username]
"""


@pytest.mark.parametrize(
    ("paging", "requests"),
    [
        ('by = "number"\nparameter = "page"', 4),
        ('by = "number"\nparameter = "page"\nsize = 2', 3),
        ('by = "offset"\nparameter = "from"', 4),
        ('by = "offset"\nparameter = "from"\nsize = 2', 3),
        ('by = "path"\npath = "links.next"', 3),
    ],
)
async def test_manifest_of_a_user_follows_pages_of_each_kind(
    tmp_path: Path, paging: str, requests: int
) -> None:
    signs_in = '[auth]\nkind = "header"\nheader = "X-Api-Key"\nprefix = "Key "\n'
    (tmp_path / "mine.toml").write_text(f"{NOTES}{signs_in}[pages]\n{paging}\n")
    provider = Notes()
    provider.page = 2
    async with rig("", provider, manifest.kind_of_file(tmp_path / "mine.toml")) as here:
        for number in range(5):
            here.arrive(f"n{number}")
        here.clock.advance(-here.clock.now().timestamp() + 1780444900)
        cursor, found = await here.run()
        assert list(found) == [f"n{number}" for number in range(5)]
        assert (len(provider.asked), "owner=ana" in provider.asked[0]) == (requests, True)
        assert document(found["n0"]).text == f"n0\n\n{TEXT}"
        assert found["n0"][0].sent_at == datetime(2026, 6, 3, 0, 0, 1, tzinfo=UTC)
        assert (await here.run(cursor))[1] == {}


@pytest.mark.parametrize(
    ("settings", "content", "message", "is_broken"),
    [
        ({}, None, "needs the file of one", False),
        ({"manifest": "mine.toml"}, None, "mine.toml: it cannot be read: No such file", True),
        ({"manifest": "mine.toml"}, b"\xff", "it is not UTF-8", True),
        ({"manifest": "mine.toml"}, b'name = "x"', "url: Field required", True),
    ],
)
def test_unusable_manifest_is_refused_by_name(
    tmp_path: Path, settings: dict[str, str], content: bytes | None, message: str, is_broken: bool
) -> None:
    if content is not None:
        (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UnknownProvider, match=message) as caught:
        find("manifest", (), settings, tmp_path)
    assert caught.value.is_broken is is_broken


@each(
    ("text", "at"),
    [
        ("2026-06-03T00:00:00Z", datetime(2026, 6, 3, tzinfo=UTC)),
        ("2026-06-03T02:00:00.000+0200", datetime(2026, 6, 3, tzinfo=UTC)),
        ("Wed, 03 Jun 2026 00:00:00 GMT", datetime(2026, 6, 3, tzinfo=UTC)),
        ("1780444800", datetime(2026, 6, 3, tzinfo=UTC)),
        ("1780444800000", datetime(2026, 6, 3, tzinfo=UTC)),
        ("1e308", None),
        ("soon", None),
        ("", None),
    ],
)
def test_an_instant_is_read_in_the_usual_spellings(text: str, at: datetime | None) -> None:
    assert manifest._instant(text) == at
