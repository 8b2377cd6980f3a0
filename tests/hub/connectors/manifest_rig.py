"""Providers whose manifests come with the hub, played by their documentation, and connectors to them."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import ProviderCaller, Throttle, Unread
from hub.connectors.catalogue import find
from hub.connectors.connector import Connector, ConnectorClass, Context, Cursor, Message, documents_of
from hub.document import Document
from tests.hub.connectors.gmail_rig import HastyClock
from tests.support.asgi import serving
from tests.support.clock import SeededChance

SECRET = "tok-en-5c0e"
TEXT = "Anna must send the contract by Friday."
MAX_BYTES = 2 * 1024 * 1024


class Entry:
    """Entry of a service: a subject and a text, created and changed."""

    def __init__(self, number: int, subject: str, at: datetime) -> None:
        self.number, self.subject, self.text = number, subject, TEXT
        self.created = self.changed = at
        self.more: dict[str, Any] = {}  # further fields, or others

    def iso(self, at: datetime) -> str:
        return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Provider:
    """A provider, as its documentation has it: its settings, its entries, its pages.

    Attributes:
        asked: the requests, as method and address.
        failures: answers given in turn instead of the right ones.
        page: entries on one page at most.
    """

    settings: dict[str, str] = {"url": "{}/feed?of=1"}  # noqa: RUF012
    is_open = True  # without a secret

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.asked: list[str] = []
        self.failures: list[Response | None] = []
        self.page = 100

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append(f"{request.method} {scope['raw_path'].decode()}?{request.url.query}")
        failure = self.failures.pop(0) if self.failures else None
        body = await request.body()
        if failure is None and not self.is_open and not self.signed_in(request):
            failure = JSONResponse({"message": "Bad credentials"}, 401)
        answer = failure or self.answer(request, json.loads(body) if body else {})
        await answer(scope, receive, send)

    def signed_in(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {SECRET}"

    def answer(self, request: Request, body: Any) -> Response:
        raise NotImplementedError

    def since(self, at: datetime) -> list[Entry]:
        """Return the entries changed since then, the oldest change first."""
        return sorted((one for one in self.entries if one.changed >= at), key=lambda one: one.changed)

    def part(self, found: list[Entry], token: str | None) -> tuple[list[Entry], str | None]:
        """Return a page, and the token of the next one."""
        begin = int(token or 0)
        more = str(begin + self.page) if begin + self.page < len(found) else None
        return found[begin : begin + self.page], more


class Rss(Provider):
    def answer(self, request: Request, body: Any) -> Response:
        items = "".join(
            f"<item><title>{escape(one.subject)}</title><link>https://news.example/{one.number}</link>"
            f"<guid isPermaLink='false'>g{one.number}</guid><pubDate>{format_datetime(one.created)}</pubDate>"
            f"<dc:creator>Ana</dc:creator><category>work</category><media:title>no title</media:title>"
            f"<description>{escape(f'<p>{one.text}</p><script>x()</script>')}</description></item>"
            for one in reversed(self.entries)
        )
        return Response(
            '<?xml version="1.0" encoding="utf-8"?><rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"'
            f' xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>{items}</channel></rss>',
            media_type="application/rss+xml",
        )


class Atom(Provider):
    def answer(self, request: Request, body: Any) -> Response:
        entries = "".join(
            f"<entry><id>tag:x,2026:{one.number}</id><title type='html'>{escape(escape(one.subject))}</title>"
            f"<link rel='self' href='https://x.example/self'/><link href='https://x.example/{one.number}'/>"
            f"<author><name>Ana</name></author><updated>{one.iso(one.changed)}</updated>"
            f"<category term='work'/><content type='xhtml'><h:div><h:p>{escape(one.text)}</h:p>"
            "<h:script>x()</h:script></h:div></content>"
            "</entry>"
            for one in reversed(self.entries)
        )
        return Response(
            '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:h="http://www.w3.org/1999/xhtml"><title>Releases</title>'
            f"{entries}</feed>",
            media_type="application/atom+xml",
        )


class Ics(Provider):
    def answer(self, request: Request, body: Any) -> Response:
        # As Google writes it: the time of the download.
        stamp = f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.asked)):%Y%m%dT%H%M%SZ}"
        events = "".join(
            f"BEGIN:VEVENT\r\nUID:{one.number}@x\r\nDTSTAMP:{stamp}\r\nDTSTART:{one.created:%Y%m%dT%H%M%SZ}\r\n"
            f"LAST-MODIFIED:{one.changed:%Y%m%dT%H%M%SZ}\r\nSUMMARY:{one.subject}\r\nDESCRIPTION:{one.text}\r\n"
            f"ORGANIZER;CN=Ana:mailto:ana@example.org\r\nEND:VEVENT\r\n"
            for one in self.entries
        )
        return Response(
            f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n", media_type="text/calendar"
        )


class _Linked(Provider):
    is_open = False
    parameter = "since"

    def answer(self, request: Request, body: Any) -> Response:
        asked = request.query_params
        found = self.since(datetime.fromisoformat(asked[self.parameter]))
        page = int(asked.get("page", 1))
        some, more = self.part(found, str((page - 1) * self.page))
        links = {}
        if more:
            url = request.url.include_query_params(page=page + 1)
            last = request.url.include_query_params(page=99)
            links = {"Link": f'<{last}>; rel="last", <{url}>; rel="next"'}
        return JSONResponse([self.issue(one) for one in some], headers=links)

    def issue(self, one: Entry) -> dict[str, Any]:
        raise NotImplementedError


class GitHub(_Linked):
    settings = {"base_url": "{}", "repository": "ana/plants"}  # noqa: RUF012

    def issue(self, one: Entry) -> dict[str, Any]:
        return {
            "id": one.number,
            "node_id": f"I_kwDO{one.number}",
            "number": one.number,
            "title": one.subject,
            "body": one.text,
            "state": "open",
            "user": {"login": "ana", "id": 1, "type": "User"},
            "labels": [{"id": 208045946, "name": "bug", "color": "f29513"}],
            "assignees": [{"login": "ben", "id": 2}],
            "comments": 0,
            "html_url": f"https://github.com/ana/plants/issues/{one.number}",
            "created_at": one.iso(one.created),
            "updated_at": one.iso(one.changed),
            "closed_at": None,
            **one.more,
        }


class GitLab(_Linked):
    settings = {"base_url": "{}", "project": "ana%2Fplants"}  # noqa: RUF012
    parameter = "updated_after"

    def signed_in(self, request: Request) -> bool:
        return request.headers.get("private-token") == SECRET

    def issue(self, one: Entry) -> dict[str, Any]:
        return {
            "id": one.number,
            "iid": one.number,
            "project_id": 4,
            "title": one.subject,
            "description": one.text,
            "state": "opened",
            "created_at": one.iso(one.created),
            "updated_at": one.iso(one.changed),
            "labels": ["bug"],
            "author": {"id": 1, "username": "ana", "name": "Ana"},
            "assignees": [{"id": 2, "username": "ben"}],
            "web_url": f"https://gitlab.com/ana/plants/-/issues/{one.number}",
            **one.more,
        }


class Jira(Provider):
    settings = {"base_url": "{}", "username": "ana@example.org", "jql": "project = ABC"}  # noqa: RUF012
    is_open = False
    now: Callable[[], datetime]

    def signed_in(self, request: Request) -> bool:
        return request.headers["authorization"].startswith("Basic YW5hQGV4YW1wbGUub3JnOnRvay1lbi01YzBl")

    def answer(self, request: Request, body: Any) -> Response:
        asked = request.query_params
        matched = re.fullmatch(r"\(project = ABC\) AND updated >= -(\d+)m ORDER BY updated ASC", asked["jql"])
        assert matched is not None
        found = self.since(self.now() - timedelta(minutes=int(matched[1])))
        some, more = self.part(found, asked.get("nextPageToken"))
        issues = [
            {
                "id": str(10_000 + one.number),
                "key": f"ABC-{one.number}",
                "self": f"https://ana.atlassian.net/rest/api/2/issue/{one.number}",
                "fields": {
                    "summary": one.subject,
                    "description": one.text,
                    "status": {"name": "To Do"},
                    "creator": {"displayName": "Ana", "accountId": "5b"},
                    "assignee": None,
                    "labels": ["bug"],
                    "created": f"{one.created:%Y-%m-%dT%H:%M:%S.000+0000}",
                    "updated": f"{one.changed:%Y-%m-%dT%H:%M:%S.000+0000}",
                    **one.more,
                },
            }
            for one in some
        ]
        following = {"nextPageToken": more} if more else {}
        return JSONResponse({"issues": issues, "isLast": more is None, **following})


class Notion(Provider):
    settings = {"base_url": "{}", "data_source": "d9824bdc"}  # noqa: RUF012
    is_open = False

    def answer(self, request: Request, body: Any) -> Response:
        if request.method == "GET":
            if not any(f"/blocks/p-{one.number}/" in request.url.path for one in self.entries):
                return JSONResponse({"object": "error", "code": "object_not_found"}, 404)
            words = [{"type": "text", "plain_text": TEXT[:9]}, {"type": "text", "plain_text": TEXT[9:]}]
            block = {"object": "block", "id": "b", "type": "paragraph", "paragraph": {"rich_text": words}}
            return JSONResponse(
                {"object": "list", "results": [block], "has_more": False, "next_cursor": None}
            )
        found = self.since(datetime.fromisoformat(body["filter"]["last_edited_time"]["on_or_after"]))
        some, more = self.part(found, body.get("start_cursor"))
        pages = [
            {
                "object": "page",
                "id": f"p-{one.number}",
                "created_time": one.iso(one.created),
                "last_edited_time": one.iso(one.changed),
                "in_trash": False,
                "url": f"https://www.notion.so/{one.number}",
                "properties": {
                    "Name": {"id": "title", "type": "title", "title": [{"plain_text": one.subject}]},
                    "Tags": {"id": "a", "type": "multi_select", "multi_select": [{"name": "bug"}]},
                    "Status": {"id": "b", "type": "status", "status": {"name": "Open"}},
                },
                **one.more,
            }
            for one in some
        ]
        return JSONResponse(
            {"object": "list", "results": pages, "has_more": more is not None, "next_cursor": more}
        )


class Todoist(Provider):
    settings = {"base_url": "{}"}  # noqa: RUF012
    is_open = False

    def answer(self, request: Request, body: Any) -> Response:
        some, more = self.part(self.entries, request.query_params.get("cursor"))
        tasks = [
            {
                "id": f"6X7rM{one.number}",
                "project_id": "6Jf8",
                "content": one.subject,
                "description": one.text,
                "labels": ["bug"],
                "priority": 1,
                "checked": False,
                "is_deleted": False,
                "due": {"date": "2026-12-04", "is_recurring": False, "string": "4 Dec"},
                "added_at": f"{one.created:%Y-%m-%dT%H:%M:%S.000000Z}",
                "updated_at": f"{one.changed:%Y-%m-%dT%H:%M:%S.000000Z}",
                **one.more,
            }
            for one in some
        ]
        return JSONResponse({"results": tasks, "next_cursor": more})


PROVIDERS: dict[str, type[Provider]] = {
    "rss": Rss,
    "atom": Atom,
    "ics": Ics,
    "github-issues": GitHub,
    "gitlab-issues": GitLab,
    "jira": Jira,
    "notion": Notion,
    "todoist": Todoist,
}


class Rig:
    """Server that plays a provider, and connectors to it."""

    def __init__(self, kind: ConnectorClass, provider: Provider, url: str, client: OutboundClient) -> None:
        self.clock = HastyClock()
        self.kind = kind
        self.provider = provider
        self.secret = SECRET
        self.settings = {key: value.format(url) for key, value in provider.settings.items()}
        self._client = client
        if isinstance(provider, Jira):
            provider.now = self.clock.now

    def arrive(self, subject: str) -> Entry:
        """Add an entry, changed now."""
        one = Entry(len(self.provider.entries) + 1, subject, self.clock.now())
        self.provider.entries.append(one)
        return one

    def open(self, **filter: Any) -> Connector:
        settings = self.kind.settings_model.model_validate(self.settings)
        caller = ProviderCaller(
            self._client,
            tokens=None,
            throttle=Throttle(self.kind.quota(settings), self.clock),
            origins=self.kind.origins(settings),
            clock=self.clock,
            chance=SeededChance(1),
            judge=self.kind.judge,
        )
        context = Context(
            account="work",
            clock=self.clock,
            chance=SeededChance(1),
            caller=caller,
            secret=lambda: self.secret,
        )
        return self.kind(context, settings, self.kind.filter_model.model_validate(filter))

    async def run(
        self, cursor: Cursor | None = None, **filter: Any
    ) -> tuple[Cursor | None, dict[str, tuple[Message, Document | Unread]]]:
        """Return the last cursor, and by subject what was listed and read."""
        connector, found = self.open(**filter), {}
        async for page in connector.pages(cursor, self.clock.now() - timedelta(days=7)):
            assert len(page.messages) <= 100
            cursor = cursor if page.cursor is None else page.cursor
            async for message, result in documents_of(connector, page.messages):
                assert message.subject not in found, "listed twice"
                found[message.subject] = message, result
        return cursor, found


@asynccontextmanager
async def rig(
    name: str, provider: Provider | None = None, kind: ConnectorClass | None = None
) -> AsyncIterator[Rig]:
    provider = provider or PROVIDERS[name]()
    async with (
        serving(provider) as url,
        OutboundClient(OutboundRules(), max_answer_bytes=MAX_BYTES) as client,
    ):
        yield Rig(kind or find(name), provider, url, client)
