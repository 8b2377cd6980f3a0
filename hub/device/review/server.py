"""Server of the review page: it answers on loopback as a hub does, with the same paths and bodies.

A link signs one browser in, once, within a minute; other users of this machine are refused.
"""

import hmac
import socket
from collections.abc import AsyncIterator, Callable, Set
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import anyio
import msgspec
import uvicorn
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hub.base import tokens
from hub.base.clock import Chance, Clock, epoch_ms, from_epoch_ms
from hub.base.tokens import TokenKind
from hub.base.web.cookies import MARK, cookie_of, spelled_cookie
from hub.base.web.keep_alive import IDLE_S, KEEP_ALIVE
from hub.base.web.pages import Pages
from hub.base.web.problem import ProblemResponse
from hub.device.agenda import page_of as page_of_agenda
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.held_items import HeldItem, judge_held, list_held
from hub.device.inbox import Inbox
from hub.device.items import DeviceItem, lost_lines, proposed_by_others, read_excerpt, sources_of, waits
from hub.device.review.filters import Query, counts_of, is_held_match, page_of
from hub.device.review.views import (
    Fields,
    PageVerdict,
    PageVerdicts,
    choices_view,
    detail_view,
    held_counts,
    held_detail,
    held_view,
    owner_view,
    result_view,
    tasks_view,
    version_of,
)
from protocol.agenda import NO_DAY, AgendaQuery, is_as_seen
from protocol.errors import CATALOGUE, ErrorCode
from protocol.items import ONE_CONFIRMED
from protocol.tables import TABLES, Column, Kind

LINK_S: Final = 60.0
MAX_BODY: Final = 1 << 20
MAX_AT_ONCE: Final = 64  # requests, streams among them
_POSTED: Final = ("/v1/sessions", "/v1/items/verdicts")
POLL_S: Final = 1.0
MAX_TASKS: Final = 100  # in a page
_UNCONFIRMED: Final = "the item has the mark {}: its words are shown first, and it is confirmed alone"
SESSION_S: Final = 86_400  # that the cookie of a browser lasts


class OwnReview:
    """Application that serves the review page of an inbox.

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
        self._shown: dict[str, HeldItem] = {}  # items that the hub held, also those that were decided since
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._taken = 0
        self.path = f"/login#{self._code}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        self._taken += 1
        try:
            response = await self._answer(Request(scope, receive))
            response.headers.setdefault("cache-control", "no-store")
            response.headers.setdefault("x-content-type-options", "nosniff")
            await response(scope, receive, send)
        finally:
            self._taken -= 1

    async def _answer(self, request: Request) -> Response:
        if self._taken > MAX_AT_ONCE:
            return ProblemResponse(ErrorCode.OVERLOADED, f"{MAX_AT_ONCE} requests are being answered")
        try:
            return await self._asked(request)
        except DeviceFileError as error:
            return ProblemResponse.of(error)

    async def _asked(self, request: Request) -> Response:
        method, path, headers = request.method, request.url.path, request.headers
        if headers.get("host") not in self._hosts:  # a page of a site whose name leads here
            return ProblemResponse(ErrorCode.WRONG_HOST, "this is no name of this server")
        if method not in ("GET", "HEAD") and not _is_own(request):
            return ProblemResponse(ErrorCode.FOREIGN_ORIGIN, "a change comes from the page of this server")
        if (page := await self._pages.find(method, path, headers)) is not None:
            return page
        allowed = "POST" if path in _POSTED else "GET"
        if method != allowed:
            what = f"{path} does not take {method}, but {allowed}"
            return ProblemResponse(ErrorCode.UNKNOWN_METHOD, what, status=405, headers={"allow": allowed})
        if path == "/v1/sessions":
            return self._sign_in(request)
        if not self._session or not hmac.compare_digest(cookie_of(request.scope) or "", self._session):
            return ProblemResponse(ErrorCode.AUTH_FAILED, "sign in with the link", hint="hub review --web")
        if path == "/v1/changes":
            return StreamingResponse(self._changes(), media_type="text/event-stream")
        if path == "/v1/items/verdicts":
            return await self._judge_all(request)
        found = await self._find(path, request.query_params)
        if found is None:
            return ProblemResponse(ErrorCode.UNKNOWN_ITEM, f"there is nothing at {path}")
        return _json(found)

    def _sign_in(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        is_right = self._code is not None and hmac.compare_digest(given, self._code)
        if not is_right or self._clock.monotonic() > self._ends:
            hint = "start it again: hub review --web"
            return ProblemResponse(
                ErrorCode.AUTH_FAILED, "the link was used already, or is too old", hint=hint
            )
        self._code, self._session = None, tokens.make(TokenKind.SESSION, self._chance)
        cookie = spelled_cookie(request.scope, self._session, SESSION_S)
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

    async def _find(self, path: str, query: Any) -> Fields | None:
        """Return what a page reads at a path; None if there is nothing."""
        if path == "/v1/me":
            return owner_view(self._inbox.path.stem)
        if path == "/v1/tasks":
            tasks: Fields = await self._in_thread(self._tasks, query)
            return tasks
        if query.get("unsure") == "true" or _is_held(path.removeprefix("/v1/items/")):
            held: Fields | None = await self._in_thread(self._held, path, query)
            return held
        items = await self._in_thread(self._inbox.items)
        if path == "/v1/items":
            return page_of(items, query)
        if path == "/v1/items/counts":
            return counts_of(items, query)
        number, _, part = path.removeprefix("/v1/items/").partition("/")
        item = next((item for item in items if str(item.number) == number), None)
        if item is None or part not in ("", "choices"):
            return None
        found: Fields = await self._in_thread(self._choices if part else self._detail, item)
        return found

    def _tasks(self, query: Query) -> Fields:
        """Return the approved tasks that the page asks for."""
        place, _, row_id = (query.get("cursor") or f"{-NO_DAY}.").partition(".")
        try:
            asked = AgendaQuery(
                begin=epoch_ms(datetime.fromisoformat(query["begin"])),
                is_done=query.get("done") == "true",
                text=query.get("text") or "",
                place=max(-NO_DAY, min(int(place), NO_DAY)),
                row_id=row_id,
            )
        except (KeyError, TypeError, ValueError) as error:  # a date without a zone, or a number too long
            raise DeviceFileError(f"begin or cursor: {error}", ErrorCode.BAD_PARAMS) from None
        with connect_shared(self._inbox.path) as db:
            page = page_of_agenda(db, asked, MAX_TASKS)
            items = {item.row_id: item for item in self._inbox.items()}
            shown = (items[row.row_id] for row in page.rows if row.row_id in items)
            lost = lost_lines(sources_of(db), shown)
        return tasks_view(self._inbox.path.stem, page, items, lost)

    def _held(self, path: str, query: Query) -> Fields | None:
        """Return what a page reads of the items that the hub holds; None if there is nothing."""
        found = list_held(self._inbox.path)
        if path == "/v1/items":
            return {
                "items": [held_view(item) for item in found.items if is_held_match(item, query)],
                "next_cursor": None,
            }
        if path == "/v1/items/counts":
            return held_counts(found)
        id = path.removeprefix("/v1/items/")
        return next((held_detail(item) for item in found.items if item.id == id), None)

    def _detail(self, item: DeviceItem) -> Fields:
        others = proposed_by_others(self._inbox.path).get(item.row_id, ())
        return detail_view(item, read_excerpt(self._inbox.path, item), others)

    def _choices(self, item: DeviceItem) -> Fields:
        fields = [
            choices_view(column, self._inbox.titles(TABLES[column.refers_to]))
            for column in item.declaration.columns
            if column.refers_to is not None
        ]
        return {"is_asked": True, "fields": fields}

    async def _judge_all(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return ProblemResponse(ErrorCode.TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
        try:
            given = msgspec.json.decode(body, type=PageVerdicts)
        except msgspec.DecodeError as error:
            return ProblemResponse(ErrorCode.BAD_PARAMS, str(error))
        if sum(verdict.confirmed for verdict in given.verdicts) > 1:
            return ProblemResponse(ErrorCode.BAD_PARAMS, ONE_CONFIRMED)
        named = {verdict.id for verdict in given.verdicts}
        return _json(
            {"results": [await self._in_thread(self._judge, named, verdict) for verdict in given.verdicts]}
        )

    def _judge(self, named: Set[str], given: PageVerdict) -> Fields:
        """Give a verdict, or take the last one back; return its result.

        Args:
            named: items with a verdict of their own.
        """
        if _is_held(given.id):
            return self._judge_held(given)
        item = next((item for item in self._inbox.items() if str(item.number) == given.id), None)
        code, version = ErrorCode.CHANGED_MEANWHILE, None if item is None else version_of(item)
        try:
            if None not in (given.version, version) and given.version != version:
                raise DeviceFileError("the item has changed since it was shown")
            if given.verdict == "undo":
                self._inbox.undo(int(given.id) if given.id.isdecimal() else 0)
                return result_view(given.id, "open")
            if item is None:
                code = ErrorCode.UNKNOWN_ITEM
                raise DeviceFileError("there is no such item")
            if waits(item) and given.needs_confirmation(marks := item.marks):
                code = ErrorCode.NEEDS_CONFIRMATION
                raise DeviceFileError(_UNCONFIRMED.format(", ".join(marks)))
            columns = item.declaration
            row = {**item.data, **item.belongs_to}
            if given.seen_row is not None and not is_as_seen(columns, row, given.seen_row):
                raise DeviceFileError("the row has changed since it was shown")
            fields = {name: _typed(value, columns.column(name)) for name, value in given.data.items()}
            also = [other.label for other in item.also if str(other.number) in {*given.also} - named]
            self._inbox.judge(item, given.verdict, fields, at_ms=epoch_ms(self._clock.now()), also=also)
        except DeviceFileError as error:
            status = CATALOGUE[code].http_status if version is None else HTTPStatus.CONFLICT
            problem = {"code": code, "message": str(error), "status": status, "version": version}
            return result_view(given.id, None, problem)
        return result_view(given.id, "done")

    def _judge_held(self, given: PageVerdict) -> Fields:
        """Give a verdict on an item that the hub holds, as it was listed last."""
        path = self._inbox.path
        self._shown |= {item.id: item for item in list_held(path).items}
        item, code, problem = self._shown.get(given.id), ErrorCode.UNKNOWN_ITEM, "there is no such item"
        if item is not None and given.verdict == "edit":
            code, problem = ErrorCode.BAD_PARAMS, "approve it first, then change it"
        elif item is not None and given.needs_confirmation(item.warnings):
            code, problem = ErrorCode.NEEDS_CONFIRMATION, _UNCONFIRMED.format(", ".join(item.warnings))
        elif item is not None and given.verdict == "approve" and given.version not in (None, item.version):
            code, problem = ErrorCode.CHANGED_MEANWHILE, "the item has changed since it was shown"
        elif item is not None and given.verdict != "edit":
            (why,) = judge_held(path, [item], given.verdict)
            if why is None:
                return result_view(given.id, "open" if given.verdict == "undo" else "done")
            code, problem = ErrorCode.CHANGED_MEANWHILE, why
        status = CATALOGUE[code].http_status
        return result_view(
            given.id, None, {"code": code, "message": problem, "status": status, "version": None}
        )

    async def _in_thread(self, call: Callable[..., Any], *args: object) -> Any:
        return await to_thread.run_sync(call, *args, limiter=self._one_at_a_time)


async def serve(app: OwnReview, sock: socket.socket) -> None:
    """Serve until a signal ends the process."""
    config = uvicorn.Config(
        app,
        access_log=False,
        date_header=False,
        lifespan="off",
        headers=[KEEP_ALIVE],
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=IDLE_S,
    )
    await uvicorn.Server(config).serve([sock])


def _is_held(id: str) -> bool:
    """Return True if an id is one of the hub, and no number of the device."""
    return id.startswith("i-")


def _is_own(request: Request) -> bool:
    origin = request.headers.get("origin")
    return MARK in request.headers and origin in (None, f"http://{request.headers['host']}")


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _event(name: str, number: int, changes: list[dict[str, str]]) -> str:
    data = msgspec.json.encode({"id": str(number), "event": name, "changes": changes}).decode()
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n"


def _typed(value: object, column: Column | None) -> str:
    """Return a value of the page as an owner types it."""
    if isinstance(value, dict):  # a row by its title
        return str(value.get("title", ""))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and column is not None and column.kind is Kind.EPOCH_MS:
        return from_epoch_ms(value).isoformat()
    return "" if value is None else str(value)
