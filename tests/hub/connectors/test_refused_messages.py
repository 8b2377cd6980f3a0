"""Messages, objects and resources that a provider refuses in every way: all others arrive, each is named."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import (
    ConnectorFailure,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    ProviderCaller,
    Refusals,
    SignInNeeded,
    Throttle,
    Unavailable,
    Unread,
)
from hub.connectors.catalogue import find
from hub.connectors.connector import Connector, Context, Filter, documents_of
from hub.connectors.mcp import McpConnector, McpSettings
from hub.document import Document
from tests.hub.connectors import caldav_rig, gmail_rig, manifest_rig
from tests.hub.connectors.gmail_rig import WEEK_AGO, HastyClock
from tests.hub.connectors.imap_rig import imap
from tests.hub.connectors.imap_rig import pages as imap_pages
from tests.hub.connectors.test_caldav import CALENDAR, multistatus, response
from tests.hub.connectors.test_imap import scripted
from tests.support.asgi import serving
from tests.support.clock import START, SeededChance
from tests.support.families import each
from tests.support.gmail import FakeGmail, plain
from tests.support.graph.account import account

pytestmark = pytest.mark.anyio

# Those of each scope before each commit; all with the slow tests.
STATUSES = [
    status if status in (401, 403, 404, 413, 429) else pytest.param(status, marks=pytest.mark.slow)
    for status in (400, 401, 403, 404, 409, 410, 412, 413, 415, 429, 500, 503, 507)
]
REMOVED = {"gmail": (404,), "outlook": (404,), "manifest": (404,), "caldav": (404,)}  # not there, for these
NUMBERS = range(5)
REFUSED = 2


def refusing(app: ASGIApp, is_refused: Callable[[str], bool], status: int) -> ASGIApp:
    """Return an application that answers requests with certain paths by *status*."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        target = Response("no", status) if is_refused(scope.get("path", "")) else app
        await target(scope, receive, send)

    return answer


async def outcomes(connector: Connector, since: Any = WEEK_AGO) -> list[Document | Unread]:
    """Return what one run reads."""
    found = []
    async for page in connector.pages(None, since):
        found += [outcome async for _, outcome in documents_of(connector, page.messages)]
    await connector.aclose()
    return found


@asynccontextmanager
async def gmail(status: int, tmp_path: Path) -> AsyncIterator[Connector]:
    fake = FakeGmail(good_tokens={"t1", "t2"})
    ids = [fake.deliver(plain(f"Task {number}"), START) for number in NUMBERS]
    refused = f"/messages/{getattr(ids[REFUSED], 'id', ids[REFUSED])}"
    async with gmail_rig.rig(fake, lambda app: refusing(app, lambda path: refused in path, status)) as here:
        yield here.open()


@asynccontextmanager
async def outlook(status: int, tmp_path: Path) -> AsyncIterator[Connector]:
    ids: list[str] = []

    def is_refused(path: str) -> bool:
        return bool(ids) and path.endswith(f"/messages/{ids[REFUSED]}")

    async with account(around=lambda app: refusing(app, is_refused, status)) as here:
        here.fake.tokens.add("fresh")
        ids += [here.fake.mail.deliver(f"Task {number}") for number in NUMBERS]
        yield here.outlook()


MANIFEST = """
name = "notes"
url = "{base_url}/notes"
list = "notes"
[settings.base_url]
[fields]
key = "id"
title = "title"
text = "title"
[detail]
url = "{base_url}/notes/{key}"
text = "text"
"""


class Notes(manifest_rig.Provider):
    """Service with the text of each entry at an address of its own."""

    settings = {"base_url": "{}", "manifest": "notes.toml"}  # noqa: RUF012
    status = 200

    def signed_in(self, request: Request) -> bool:
        return True

    def answer(self, request: Request, body: Any) -> Response:
        number = request.url.path.rpartition("/")[2]
        if number == f"n{REFUSED}":
            return Response("no", self.status)
        if number != "notes":
            return JSONResponse({"text": f"text {number}"})
        return JSONResponse({"notes": [{"id": f"n{one}", "title": f"Task {one}"} for one in NUMBERS]})


@asynccontextmanager
async def manifest(status: int, tmp_path: Path) -> AsyncIterator[Connector]:
    (tmp_path / "notes.toml").write_text(MANIFEST)
    kind = find("manifest", (), {"manifest": "notes.toml"}, tmp_path)
    provider = Notes()
    provider.status = status
    async with manifest_rig.rig("notes", provider, kind) as here:
        yield here.open()


def todo(number: int) -> str:
    return f"BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:{number}\nSUMMARY:Task {number}\nEND:VTODO\nEND:VCALENDAR"


@asynccontextmanager
async def caldav(status: int, tmp_path: Path, *, is_alone: bool = True) -> AsyncIterator[Connector]:
    """Serve a calendar that refuses one object in its entry, or each report that names it."""

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await Request(scope, receive).body()).decode()
        answer = multistatus(CALENDAR)
        if "calendar-query" in body:
            found = (response(f"/cal/{number}", f"<getetag>{number}</getetag>") for number in NUMBERS)
            answer = multistatus("".join(found))
        elif "multiget" in body:
            numbers = [int(number) for number in re.findall(r"/cal/(\d)<", body)]
            data = {
                number: f"<getetag>{number}</getetag><C:calendar-data>{todo(number)}</C:calendar-data>"
                for number in numbers
            }
            parts = {number: response(f"/cal/{number}", prop) for number, prop in data.items()}
            if REFUSED in parts:
                href = f"<href>/cal/{REFUSED}</href>"
                parts[REFUSED] = f"<response>{href}<status>HTTP/1.1 {status} No</status></response>"
            is_refused = not is_alone and REFUSED in parts
            answer = Response("no", status) if is_refused else multistatus("".join(parts.values()))
        await answer(scope, receive, send)

    async with serving(site) as url, caldav_rig.rig(url, "ana") as here:
        here.clock = HastyClock()
        yield here.open()


@asynccontextmanager
async def calendar_report(status: int, tmp_path: Path) -> AsyncIterator[Connector]:
    async with caldav(status, tmp_path, is_alone=False) as connector:
        yield connector


@asynccontextmanager
async def mcp(status: int, tmp_path: Path, *, has_times: bool = True) -> AsyncIterator[Connector]:
    """Serve resources over streamable HTTP; without *has_times*, versions are found by reading them."""

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        asked = json.loads(await Request(scope, receive).body())
        params, result = asked.get("params", {}), dict[str, Any]()
        answer: Response
        if asked["method"] == "initialize":
            about = {"name": "notes", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"resources": {}}, "serverInfo": about}
        elif asked["method"] == "resources/list":
            times = {"annotations": {"lastModified": "2026-05-01T07:00:00Z"}} if has_times else {}
            result = {"resources": [{"uri": f"n://{one}", "name": f"Task {one}", **times} for one in NUMBERS]}
        elif asked["method"] == "resources/read":
            result = {"contents": [{"uri": params["uri"], "text": "text"}]}
        if params.get("uri") == f"n://{REFUSED}" and status:
            answer = Response("no", status)
        elif params.get("uri") == f"n://{REFUSED}":
            answer = JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": {"contents": 7}})
        else:
            answer = JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "result": result})
        await answer(scope, receive, send)

    async with serving(site) as url, OutboundClient(OutboundRules()) as client:
        settings, clock = McpSettings(url=f"{url}/mcp"), HastyClock()
        caller = ProviderCaller(
            client,
            tokens=None,
            throttle=Throttle(McpConnector.quota(settings), clock),
            origins=McpConnector.origins(settings),
            clock=clock,
            chance=SeededChance(1),
        )
        context = Context(account="notes", clock=clock, chance=SeededChance(2), caller=caller)
        yield McpConnector(context, settings, Filter())


@asynccontextmanager
async def mcp_by_content(status: int, tmp_path: Path) -> AsyncIterator[Connector]:
    async with mcp(status, tmp_path, has_times=False) as connector:
        yield connector


PROVIDERS = {
    one.__name__: one for one in (gmail, outlook, manifest, caldav, calendar_report, mcp, mcp_by_content)
}
OF_THE_ACCOUNT = {"calendar_report": (401, 429)}  # a report of all objects


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_refused_message_is_named_and_all_others_are_read(
    provider: str, status: int, tmp_path: Path
) -> None:
    async with PROVIDERS[provider](status, tmp_path) as connector:
        if status in OF_THE_ACCOUNT.get(provider, ()):
            with pytest.raises(SignInNeeded if status == 401 else ProviderBusy):
                await outcomes(connector)
            return
        found = await outcomes(connector)
    documents = [one.title for one in found if isinstance(one, Document)]
    assert sorted(map(str, documents)) == [f"Task {number}" for number in NUMBERS if number != REFUSED]
    unread = [one for one in found if isinstance(one, Unread)]
    if status in REMOVED.get(provider, ()):
        assert all(one.is_removed for one in unread)
    else:
        assert [(one.is_final, one.is_removed, bool(one.reason)) for one in unread] == [(False, False, True)]


async def test_resource_of_another_form_than_the_protocol_is_named_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    async with mcp(0, tmp_path) as connector:
        found = await outcomes(connector)
    assert [type(one) for one in found].count(Document) == len(NUMBERS) - 1


_OK = "{tag} OK done"
HEAD = "* {n} FETCH (UID {n} BODY[HEADER.FIELDS (X)] {{21}}\r\nMessage-ID: <{n}@x>\r\n\r\n)"
IMAP_ANSWERS = {
    "NO": ["{tag} NO no"],
    "NO SERVERBUG": ["{tag} NO [SERVERBUG] no"],
    "NO LIMIT": ["{tag} NO [LIMIT] no"],
    "NO NOPERM": ["{tag} NO [NOPERM] no"],
    "NO INUSE": ["{tag} NO [INUSE] no"],
    "NO UNAVAILABLE": ["{tag} NO [UNAVAILABLE] no"],
    "NO CORRUPTION": ["{tag} NO [CORRUPTION] no"],
    "BAD": ["{tag} BAD no"],
    "BYE": ["* BYE no"],
    "no literal's end": ["* 3 FETCH (UID 3 BODY[HEADER.FIELDS (X)] {{500}}"],
    "no form": ["* 3 FETCH (UID 3 BODY[HEADER.FIELDS (X)] (((", "{tag} OK done"],
    "too long": ["* 3 FETCH (UID 3 BODY[HEADER.FIELDS (X)] {{999999999}}"],
}


def fetches(answer: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the answers to FETCH of each set of the messages 1 to 5, of which the third is refused."""
    for first in range(1, 6):
        for last in range(first, 6):
            heads = [HEAD.replace("{n}", str(one)) for one in range(first, last + 1) if one != 3]
            name = f"{first}:{last}" if last > first else f"{first}"
            yield f"UID FETCH {name} ", [*heads, *(answer if first <= 3 <= last else [_OK])]


@each("name", IMAP_ANSWERS)
async def test_imap_message_refused_in_each_way_is_named_and_the_others_are_listed(name: str) -> None:
    answers: Mapping[str, Sequence[str]] = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 6 MESSAGES 5)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", _OK],
        "UID SEARCH": ["* SEARCH 1 2 3 4 5", _OK],
        **dict(fetches(IMAP_ANSWERS[name])),
    }
    with scripted(answers) as settings:
        connector = imap(settings, silence_s=0.3)
        found = [message for page in await imap_pages(connector) for message in page.messages]
    assert [one.key for one in found if not one.fault] == [f"mid:{number}@x" for number in (1, 2, 4, 5)]
    assert ["UID 3 in INBOX: " in one.fault for one in found if one.fault] == [True]


@pytest.mark.parametrize(
    ("failures", "result"),
    [
        ("okoo", "okoo"),
        ("osoo", "opoo"),  # passing: a later run tries it again, however often
        ("obob", "obob"),  # busy: of the message after more runs than another fault
        ("bbb", "raises ProviderBusy"),
        ("m", "p"),
        ("u", "raises Unavailable"),
        ("k", "raises PermissionMissing"),
        ("mmmmm", "raises Misconfigured"),
        ("ooooouuuuu", "ooooonnnnn"),
        ("sss", "raises SignInNeeded"),
    ],
)
async def test_refusal_is_of_the_message_only_where_others_are_accepted(failures: str, result: str) -> None:
    kinds: Mapping[str, type[ConnectorFailure]] = {
        "s": SignInNeeded,
        "b": ProviderBusy,
        "m": Misconfigured,
        "u": Unavailable,
        "k": PermissionMissing,
    }

    async def ask(letter: str) -> str:
        if letter in kinds:
            raise kinds[letter](letter)
        return letter

    found = ""
    try:
        async for _, one in Refusals().each(failures, ask):
            shown = {(True, False): "p", (False, True): "b", (False, False): "n"}
            found += shown[one.is_passing, one.is_busy] if isinstance(one, Unread) else one
    except ConnectorFailure as failure:
        found = f"raises {type(failure).__name__}"
    assert found == result.replace("okoo", "onoo")


async def test_provider_refusing_five_messages_after_others_is_named_as_a_whole() -> None:
    refusals, asked = Refusals(), list[int]()

    async def ask(number: int) -> int:
        asked.append(number)
        if number:
            raise Unavailable("away")
        return number

    assert [one async for _, one in refusals.each([0], ask)] == [0]
    with pytest.raises(Unavailable):
        async for _ in refusals.each(range(1, 100), ask, at_once=1):
            pass
    assert asked == [0, 99, 1, 2, 3, 4]


async def test_seven_refused_messages_in_a_row_are_left_out_where_the_last_message_is_accepted() -> None:
    async def ask(number: int) -> int:
        if number < 7:
            raise Unavailable("away")
        return number

    found = [one async for _, one in Refusals().each(range(10), ask, at_once=1)]
    assert ([isinstance(one, Unread) for one in found], found[7:]) == ([True] * 7 + [False] * 3, [7, 8, 9])


async def test_imap_server_forbidding_six_messages_in_a_row_and_showing_the_last_is_read() -> None:
    answers: Mapping[str, Sequence[str]] = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 8 MESSAGES 7)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", _OK],
        "UID SEARCH": ["* SEARCH 1 2 3 4 5 6 7", _OK],
        "UID FETCH 7 ": [HEAD.replace("{n}", "7"), _OK],
        "UID FETCH": ["{tag} NO [NOPERM] no"],
    }
    with scripted(answers) as settings:
        found = [message for page in await imap_pages(imap(settings)) for message in page.messages]
    assert [bool(one.fault) for one in found] == [True] * 6 + [False]
