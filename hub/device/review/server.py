"""Review in a browser at the device: the dashboard's page over the device's own file, on loopback.

It answers the requests of that page as a hub does, with the same bodies. A link signs one browser in, once,
within a minute; other users of this machine are refused.
"""

import hmac
import math
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import anyio
import msgspec
import uvicorn
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from hub.api.cookies import MARK, cookie_of, spelled_cookie
from hub.api.pages import Pages
from hub.api.problem import Problem
from hub.api.resources.items import (
    FieldChoices,
    ItemChoices,
    ItemCountsView,
    ItemDetail,
    ItemPlace,
    ItemsPage,
    ItemView,
    NewVerdictsView,
    NewVerdictView,
    PlaceView,
    ProposalView,
    VerdictError,
    VerdictResult,
    VerdictResults,
    fields_of,
)
from hub.api.resources.system import MeView
from hub.base import tokens
from hub.base.clock import Chance, Clock, epoch_ms, from_epoch_ms
from hub.base.dates import dates_as_texts
from hub.base.roles import Scope
from hub.base.tokens import TokenKind
from hub.device.inbox import DeviceItem, Inbox, is_unsure, place_of, proposed_by_others, read_excerpt, waits
from hub.device.inserts import DeviceFileError
from hub.device.owner import lacking
from hub.runs.agreement import RowTitle
from hub.text.excerpt import Excerpt
from protocol.calls import place_sentence
from protocol.errors import CATALOGUE, ErrorCode
from protocol.tables import SUGGESTED, TABLES, Column, Kind

LINK_S: Final = 60.0
MAX_BODY: Final = 1 << 20
POLL_S: Final = 1.0
LIMIT, MOST = 50, 1_000  # items in a page
_FOLDERS: Final = 50
_UNSURE: Final = "u"  # behind the number of an unsure item in a cursor: they follow all others


class OwnReview:
    """The application. Paths and bodies are those of a hub.

    Attributes:
        path: what a browser opens, once.
    """

    def __init__(self, inbox: Inbox, *, port: int, clock: Clock, chance: Chance) -> None:
        self._inbox = inbox
        self._clock = clock
        self._chance = chance
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._pages = Pages()
        self._code: str | None = tokens.make(TokenKind.LINK, chance)
        self._ends = clock.monotonic() + LINK_S
        self._session = ""
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.path = f"/login#{self._code}"

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except DeviceFileError as error:
            response = Problem(ErrorCode.DATABASE_UNAVAILABLE, str(error))
        response.headers.setdefault("cache-control", "no-store")
        response.headers.setdefault("x-content-type-options", "nosniff")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method, path, headers = request.method, request.url.path, request.headers
        if headers.get("host") not in self._hosts:  # a page of a site whose name leads here
            return Problem(ErrorCode.WRONG_HOST, "this is no name of this server")
        if method not in ("GET", "HEAD") and not _is_own(request):
            return Problem(ErrorCode.FOREIGN_ORIGIN, "a change comes from the page of this server")
        if (page := await self._pages.find(method, path, headers)) is not None:
            return page
        if (method, path) == ("POST", "/v1/sessions"):
            return self._sign_in(request)
        if not self._session or not hmac.compare_digest(cookie_of(request.scope) or "", self._session):
            return Problem(ErrorCode.AUTH_FAILED, "sign in with the link", hint="hub review --web")
        if (method, path) == ("GET", "/v1/changes"):
            return StreamingResponse(self._changes(), media_type="text/event-stream")
        if (method, path) == ("POST", "/v1/items/verdicts"):
            return await self._give(request)
        if method != "GET" or not (found := await self._found(path, request.query_params)):
            return Problem(ErrorCode.UNKNOWN_ITEM, f"there is nothing at {path}")
        return _json(found)

    def _sign_in(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        is_right = self._code is not None and hmac.compare_digest(given, self._code)
        if not is_right or self._clock.monotonic() > self._ends:
            hint = "start it again: hub review --web"
            return Problem(ErrorCode.AUTH_FAILED, "the link was used already, or is too old", hint=hint)
        self._code, self._session = None, tokens.make(TokenKind.SESSION, self._chance)
        cookie = spelled_cookie(request.scope, self._session, 86_400)
        return JSONResponse({}, 201, headers={"set-cookie": cookie})

    async def _changes(self) -> AsyncIterator[str]:
        """Yield an event whenever the file has changed."""
        number, version = 0, self._inbox.version
        yield _event("open", number, [])
        while True:
            await anyio.sleep(POLL_S)
            number += 1
            if self._inbox.version != version:
                version = self._inbox.version
                yield _event("changed", number, [{"kind": "item", "id": "", "version": str(number)}])
            elif number % 15 == 0:
                yield ": beat\n\n"

    async def _found(self, path: str, query: Any) -> object:
        if path == "/v1/me":
            own = (Scope.READ, Scope.REVIEW)
            return MeView(actor="owner", name=self._inbox.path.stem, role=None, scopes=own, user=None)
        items = await self._in_thread(self._inbox.items)
        if path == "/v1/items":
            return _page([item for item in items if _is_asked(item, query)], query)
        if path == "/v1/items/counts":
            return _counts(items, query)
        number, _, part = path.removeprefix("/v1/items/").partition("/")
        found = next((item for item in items if str(item.number) == number), None)
        if found is None or part not in ("", "choices"):
            return None
        return await self._in_thread(self._choices if part else self._detail, found)

    def _detail(self, item: DeviceItem) -> ItemDetail:
        found = _detail(item, read_excerpt(self._inbox.path, item))
        others = (
            ProposalView.from_row(one, id="", item=found.id, actor=one.by)
            for one in proposed_by_others(self._inbox.path).get(item.row_id, ())
        )
        found.proposals = (*found.proposals, *others)
        return found

    def _choices(self, item: DeviceItem) -> ItemChoices:
        fields = [
            FieldChoices(
                field=column.name,
                table=column.refers_to,
                is_required=column.required_to_approve,
                rows=tuple(
                    RowTitle(id=id, title=title) for id, title in self._inbox.titles(TABLES[column.refers_to])
                ),
            )
            for column in item.declaration.columns
            if column.refers_to is not None
        ]
        return ItemChoices(is_asked=True, fields=tuple(fields))

    async def _give(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return Problem(ErrorCode.TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
        try:
            given = msgspec.json.decode(body, type=NewVerdictsView)
        except msgspec.DecodeError as error:
            return Problem(ErrorCode.BAD_PARAMS, str(error))
        return _json(
            VerdictResults(tuple([await self._in_thread(self._judge, verdict) for verdict in given.verdicts]))
        )

    def _judge(self, given: NewVerdictView) -> VerdictResult:
        item = next((one for one in self._inbox.items() if str(one.number) == given.id), None)
        code, version = ErrorCode.CHANGED_MEANWHILE, None if item is None else _version(item)
        try:
            if None not in (given.version, version) and given.version != version:
                raise DeviceFileError("the item has changed since it was shown")
            if given.verdict == "undo":
                self._inbox.undo(int(given.id) if given.id.isdecimal() else 0)
                return VerdictResult(id=given.id, state="open")
            if item is None:
                code = ErrorCode.UNKNOWN_ITEM
                raise DeviceFileError("there is no such item")
            fields = {
                name: _typed(value, item.declaration.column(name)) for name, value in given.data.items()
            }
            self._inbox.judge(item, given.verdict, fields, at_ms=epoch_ms(self._clock.now()))
        except DeviceFileError as error:
            status = CATALOGUE[code].http_status if version is None else HTTPStatus.CONFLICT
            found = VerdictError(code=code, message=str(error), status=status, version=version)
            return VerdictResult(id=given.id, error=found)
        return VerdictResult(id=given.id, state="done")

    async def _in_thread(self, call: Callable[..., Any], *args: object) -> Any:
        return await to_thread.run_sync(call, *args, limiter=self._one_at_a_time)


async def serve(app: OwnReview, sock: socket.socket) -> None:
    """Serve until a signal ends the process."""
    config = uvicorn.Config(
        app,
        access_log=False,
        date_header=False,
        lifespan="off",
        limit_concurrency=64,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    await uvicorn.Server(config).serve([sock])


def _is_own(request: Request) -> bool:
    origin = request.headers.get("origin")
    return MARK in request.headers and origin in (None, f"http://{request.headers['host']}")


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _event(name: str, number: int, changes: list[dict[str, str]]) -> str:
    data = msgspec.json.encode({"id": str(number), "event": name, "changes": changes}).decode()
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n"


def _is_asked(item: DeviceItem, query: Any, *, without: str = "") -> bool:
    """Return whether the filters of a request let an item through, *without* one of them."""
    verdict, path = query.get("verdict"), item.source_path or ""
    given = {
        name: None if name == without else query.get(name) for name in ("table", "warning", "path", "text")
    }
    if verdict is not None and verdict != _verdict(item):
        return False
    if given["table"] not in (None, item.table) or given["warning"] not in (None, *_marks(item)):
        return False
    if (
        given["path"]
        and path != given["path"]
        and not (given["path"].endswith("/") and path.startswith(given["path"]))
    ):
        return False
    apart = query.get("apart")
    if apart is not None and without != "warning" and (apart == "true") != ("apart" in item.remarks.warnings):
        return False
    text = (given["text"] or "").casefold()
    return not text or any(text in str(value).casefold() for value in (path, *item.data.values()))


def _marks(item: DeviceItem) -> tuple[str, ...]:
    is_plain = not item.remarks.warnings and item.proposal is None
    return ("none",) if is_plain else ("any", *item.remarks.warnings)


def _proposals(item: DeviceItem) -> tuple[ProposalView, ...]:
    """Return the change of an item, or its deletion, that a hub proposes; its marks are those of the item."""
    if item.proposal is None:
        return ()
    new = {name: value for name, value in (item.proposal.data or {}).items() if name not in SUGGESTED}
    proposal = ProposalView(
        id=item.proposal.call_id,
        item=str(item.number),
        verdict="reject" if item.proposal.data is None else "edit",
        why="the source of the item has changed",
        by="the hub",
        actor="hub",
        created_at=item.at,
        data=dates_as_texts(item.declaration, new, item.remarks.timezone),
    )
    return (proposal,)


def _page(items: list[DeviceItem], query: Any) -> ItemsPage:
    limit, cursor = (query.get(name) or "" for name in ("limit", "cursor"))
    most = min(MOST, int(limit)) if limit.isdecimal() else LIMIT
    number = cursor.removesuffix(_UNSURE)
    after = (cursor != number, -int(number)) if number.isdecimal() else (False, -math.inf)
    rest = [item for item in items if place_of(item) > after]
    page = rest[:most]
    next_cursor = f"{page[-1].number}{_UNSURE * is_unsure(page[-1])}" if page and len(rest) > most else None
    return ItemsPage(items=tuple(ItemView(**_shown(item)) for item in page), next_cursor=next_cursor)


def _counts(items: list[DeviceItem], query: Any) -> ItemCountsView:
    def count(without: str, values: Callable[[DeviceItem], Iterable[str]]) -> Counter[str]:
        return Counter(
            value for item in items if _is_asked(item, query, without=without) for value in values(item)
        )

    folders = count("path", lambda item: [f"{folder}/"] if (folder := _folder(item)) else [])
    return ItemCountsView(
        total=sum(_is_asked(item, query) for item in items),
        is_complete=True,
        tables=dict(count("table", lambda item: [item.table])),
        devices={},
        agents={},
        warnings=dict(count("warning", _marks)),
        folders=dict(folders.most_common(_FOLDERS)),
    )


def _folder(item: DeviceItem) -> str:
    return (item.source_path or "").rpartition("/")[0]


def _verdict(item: DeviceItem) -> str:
    return "open" if waits(item) else item.verdict if item.verdict != "open" else "approved"


def _version(item: DeviceItem) -> int:
    """Return the revision of an item, which its label ends in."""
    return int(item.label.partition(".")[2] or 1)


def _shown(item: DeviceItem) -> dict[str, Any]:
    """Return the fields of a view of an item."""
    own = {"id": str(item.number), "agent": "", "run_id": "", "verdict": _verdict(item)}
    found = {"path": item.source_path or "", "table": item.table, "title": item.title}
    at = {"created_at": item.at, "answered_at": item.at, "version": _version(item)}
    remarks = {"warnings": tuple(item.remarks.warnings), "provenance": item.remarks.provenance}
    by = {"found_by": item.remarks.found_by, "unsure": item.remarks.unsure}
    column = lacking(item.declaration, item.data)
    lacks = () if column is None else (column.name,)
    more = {"row_id": item.row_id, "lacks": lacks, "proposals": _proposals(item)}
    return own | found | at | by | remarks | more


def _detail(item: DeviceItem, excerpt: Excerpt | None) -> ItemDetail:
    proposed = None if item.proposal is None else item.proposal.data
    data = {**item.data, **item.belongs_to, **(proposed or {})}
    data = {name: value for name, value in data.items() if name not in SUGGESTED}
    place = None
    if item.quote:
        place = ItemPlace(quote=item.quote, start=item.start or 0, end=item.end or 0, excerpt=excerpt)
    before = None if proposed is None else {name: item.data.get(name) for name in proposed}
    texts = partial(dates_as_texts, item.declaration, timezone=item.remarks.timezone)
    return ItemDetail(
        **_shown(item),
        data=texts(data),
        before=None if before is None else texts(before),
        place=place,
        reasons=tuple(day.sentence for day in item.remarks.counted),
        places=tuple(
            PlaceView(
                name=destination.name,
                kind=destination.kind,
                state=destination.state,
                since=from_epoch_ms(destination.at_ms),
                sentence=place_sentence(destination.name, destination.state, destination.problem),
                problem=destination.why or None,
                link=destination.link,
            )
            for destination in item.goes_to
        ),
        fields=fields_of(item.declaration),
    )


def _typed(value: object, column: Column | None) -> str:
    """Return a value of the page as an owner types it."""
    if isinstance(value, dict):  # a row by its title
        return str(value.get("title", ""))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and column is not None and column.kind is Kind.EPOCH_MS:
        return from_epoch_ms(value).isoformat()
    return "" if value is None else str(value)
