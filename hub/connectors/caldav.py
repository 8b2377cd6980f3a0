"""CalDAV (RFC 4791): calendars and task lists, followed by their sync tokens (RFC 6578).

To-dos and events are structured, so rules convert them to items without a model. A changed object has the
same key and another version (its ETag); a deleted object is no longer listed.

For a calendar without a cursor, first its token is requested, then all open to-dos and the events of a time
window. Later, the token yields all changes, whatever their date; and as time passes, the events that enter
the window are requested.
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from anyio import to_thread
from pydantic import AfterValidator, Field, field_validator

from hub.base.outbound.refusal_reach import RefusalScope
from hub.connectors.calendar_objects import (
    MAX_CHARS,
    Line,
    ObjectMetadata,
    as_unavailable,
    joined,
    read_metadata,
)
from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    HttpReply,
    Misconfigured,
    Unavailable,
    Unread,
    general,
    origin_of,
    server_address,
)
from hub.connectors.connector import (
    Account,
    Address,
    Auth,
    Connector,
    Cursor,
    Filter,
    Message,
    Page,
    ProviderSettings,
    Words,
    read_cursor,
)
from hub.connectors.mime import message_key
from hub.document import Document
from hub.text import webdav
from hub.text.webdav import (
    CAL,
    DAV,
    Multistatus,
    WebDavResource,
    is_token_refused,
    multiget,
    propfind,
    query,
    sync_collection,
)
from protocol.items import ProvenanceOrigin


def multistatus(body: bytes) -> Multistatus:
    """Return the resources of an answer with status 207.

    Raises:
        Unavailable: it is not a multistatus.
    """
    with as_unavailable():
        return webdav.multistatus(body)


PAGE: Final = 50  # objects that are requested and held at once
MAX_CALENDARS: Final = 100
MAX_REDIRECTS: Final = 3
_REFUSED: Final = (400, 403, 409, 410, 412)  # statuses by which servers refuse an expired token
_MOVED: Final = (301, 302, 307, 308)
_TRUNCATED: Final = 507
_DAY: Final = timedelta(days=1)

MAX_DAYS: Final = 3_650


class CalDavSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider caldav."""

    url: Annotated[Line, AfterValidator(server_address)] = Field(
        description="Of the server, of all calendars, or of one: https://HOST/..."
    )
    username: Line = Field(description="As the server knows the owner; often the address.")

    @field_validator("username")
    @classmethod
    def _is_no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("a user name has no colon where a password is behind it (RFC 7617)")
        return value


class CalDavFilter(Filter):
    """Table ``filter`` of an agent that reads calendars."""

    calendars: Words = Field(default=(), description="By their names; none: all of them.")
    kinds: tuple[Literal["VTODO", "VEVENT"], ...] = Field(
        default=("VTODO", "VEVENT"), min_length=1, description="To-dos, events, or both."
    )
    window_days: int = Field(
        default=90,
        ge=1,
        le=MAX_DAYS,
        description="How far ahead events are read; later ones, when it is time.",
    )


class ServerCalendar(msgspec.Struct, frozen=True):
    """Calendar at the server. *kinds*: its component types; empty: the server does not say."""

    url: str
    name: str
    kinds: frozenset[str]
    token: str


class CalendarCursor(msgspec.Struct, frozen=True):
    """Place in a calendar: events up to *until* were read, and changes up to the sync token."""

    token: str
    until: Annotated[datetime, msgspec.Meta(tz=True)]


class _CalendarObject(msgspec.Struct, frozen=True):
    url: str
    etag: str
    text: str
    known: ObjectMetadata
    refusal: Unread | None = None


class CalDavConnector(Connector):
    """Calendars of one person at one server."""

    provider: ClassVar[str] = "caldav"
    auth: ClassVar[Auth] = Auth.PASSWORD
    settings_model: ClassVar[type[CalDavSettings]] = CalDavSettings
    filter_model: ClassVar[type[Filter]] = CalDavFilter

    settings: CalDavSettings
    filter: CalDavFilter
    _here: dict[str, _CalendarObject] = {}  # noqa: RUF012 - replaced with each page

    @classmethod
    def origin(cls, settings: CalDavSettings) -> str:
        return f"{cls.provider} {settings.username} {settings.url}"

    @classmethod
    def origins(cls, settings: CalDavSettings) -> frozenset[str]:
        return frozenset((origin_of(settings.url),))

    async def check(self) -> Account:
        names = [calendar.name for calendar in await self._calendars()]
        return Account(name=self.settings.username, detail=f"calendars: {', '.join(names)}")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        places = {} if cursor is None else read_cursor(cursor.get("calendars"), dict[str, CalendarCursor])
        calendars = await self._calendars()
        # Places of unselected calendars are forgotten; a calendar selected again starts anew.
        places = {calendar.url: places[calendar.url] for calendar in calendars if calendar.url in places}
        for calendar in calendars:
            async for page in self._followed(calendar, places, since):
                yield page

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for message in messages:
            found = self._here.get(message.key)
            if found is None:
                yield message, Unread(reason="it was removed from the calendar", is_removed=True)
            elif len(found.text) > MAX_CHARS:
                yield message, Unread(reason=f"it has more than {MAX_CHARS} characters")
            else:
                digest = hashlib.sha256(found.text.encode("utf-8", "replace")).hexdigest()
                yield (
                    message,
                    message.document(
                        found.text, digest, media_type="text/calendar", origin=ProvenanceOrigin.CALENDAR
                    ),
                )

    # --- one calendar ---

    async def _followed(
        self, calendar: ServerCalendar, places: dict[str, CalendarCursor], since: datetime
    ) -> AsyncGenerator[Page]:
        """Yield the changes of a calendar since its place in *places*, and advance the place."""
        until = self.context.clock.now() + self.filter.window_days * _DAY
        place = places.get(calendar.url)
        if place is not None:
            try:
                async for page in self._changes(calendar, places, since, until):
                    yield page
                return
            except CursorLost:
                del places[calendar.url]
        # The token was requested before the objects: changes in between are listed twice, but never missed.
        async for page in self._all(calendar, since, until):
            yield page
        # If events are excluded now, a later filter may include them, so that their window starts here.
        window_end = until if "VEVENT" in self._kinds(calendar) else since
        places[calendar.url] = CalendarCursor(calendar.token, window_end)
        yield Page(cursor=_cursor(places), is_backfill=True)

    async def _all(self, calendar: ServerCalendar, since: datetime, until: datetime) -> AsyncGenerator[Page]:
        hrefs: dict[str, None] = {}
        if "VTODO" in self._kinds(calendar):
            hrefs |= dict.fromkeys(await self._queried(calendar, query("VTODO")))
        if "VEVENT" in self._kinds(calendar):
            hrefs |= dict.fromkeys(await self._between(calendar, since, until))
        async for objects in self._objects(calendar, list(hrefs)):
            unfinished = [entry for entry in objects if not entry.known.is_done]
            yield Page(messages=self._messages(unfinished), is_backfill=True)

    async def _changes(
        self, calendar: ServerCalendar, places: dict[str, CalendarCursor], since: datetime, until: datetime
    ) -> AsyncGenerator[Page]:
        """Yield changed objects. Raises CursorLost if the server has forgotten the token."""
        is_whole = False
        while not is_whole:
            place = places[calendar.url]
            changes = await self._since(calendar, place.token)
            # A truncated answer has this status in the entry of the calendar itself (RFC 6578, 3.6).
            is_whole = not any(_is_cut(resource, calendar) for resource in changes.resources)
            changed = [
                resource.href
                for resource in changes.resources
                if _is_listed(resource) and not _is_cut(resource, calendar)
            ]
            async for objects in self._objects(calendar, changed):
                nearby = [entry for entry in objects if entry.known.touches(since, until)]
                yield Page(messages=self._messages(nearby))
            if changes.sync_token == place.token:
                is_whole = True
            places[calendar.url] = msgspec.structs.replace(place, token=changes.sync_token)
            yield Page(cursor=_cursor(places))
        async for page in self._come_near(calendar, places, until):
            yield page

    async def _come_near(
        self, calendar: ServerCalendar, places: dict[str, CalendarCursor], until: datetime
    ) -> AsyncGenerator[Page]:
        """Yield events that were beyond the time window when they were reported as changed."""
        place = places[calendar.url]
        if "VEVENT" not in self._kinds(calendar) or until - place.until < _DAY:
            return
        hrefs = await self._between(calendar, place.until - _DAY, until)
        async for objects in self._objects(calendar, hrefs):
            yield Page(messages=self._messages(objects))
        places[calendar.url] = msgspec.structs.replace(place, until=until)
        yield Page(cursor=_cursor(places))

    def _kinds(self, calendar: ServerCalendar) -> frozenset[str]:
        selected = frozenset[str](self.filter.kinds)
        return selected & calendar.kinds if calendar.kinds else selected

    def _messages(self, objects: Sequence[_CalendarObject]) -> tuple[Message, ...]:
        """Convert objects of selected kinds to messages; the objects are held until the next page."""
        self._here = {}
        messages = []
        for entry in objects:
            if entry.refusal is not None:
                name = f"caldav:{_digest(entry.url)}.ics"
                messages.append(Message.refused(name, entry.refusal, place=entry.url))
                continue
            if entry.known.kind is not None and entry.known.kind not in self.filter.kinds:
                continue
            message = _message(entry)
            self._here[message.key] = entry
            messages.append(message)
        return tuple(messages)

    async def _objects(
        self, calendar: ServerCalendar, hrefs: Sequence[str]
    ) -> AsyncGenerator[list[_CalendarObject]]:
        """Fetch the objects that still exist, in batches, with the refusals of others."""
        for begin in range(0, len(hrefs), PAGE):
            resources, refused = await self._fetched(calendar, hrefs[begin : begin + PAGE])
            yield await to_thread.run_sync(_read_objects, calendar.url, resources) + refused

    async def _fetched(
        self, calendar: ServerCalendar, hrefs: Sequence[str]
    ) -> tuple[list[WebDavResource], list[_CalendarObject]]:
        """Fetch objects; where one of them fails the report of all, fetch them one by one."""
        listed: dict[str, WebDavResource] | None = None
        try:
            report = await self._report(calendar.url, multiget(hrefs))
            listed = {_path(calendar.url, resource.href): resource for resource in report.resources}
        except ConnectorFailure as failure:
            if failure.scope in (RefusalScope.ACCOUNT, RefusalScope.MOMENT) or len(hrefs) == 1:
                raise

        async def resource_of(href: str) -> WebDavResource:
            """Return an object. Raises Unavailable if the server leaves it out: it would be lost for good."""
            found = listed
            if found is None:
                report = await self._report(calendar.url, multiget([href]))
                found = {_path(calendar.url, resource.href): resource for resource in report.resources}
            one = found.get(_path(calendar.url, href), WebDavResource(href, 0, {}))
            if one.status not in (None, 200, 404):  # only 404 means deleted
                raise Unavailable(f"the server leaves it out of its answer ({one.status or 'no status'})")
            return one

        resources: list[WebDavResource] = []
        refused: list[_CalendarObject] = []
        async for href, found in self.refusals.each(hrefs, resource_of):
            if isinstance(found, Unread):
                refused.append(_CalendarObject(joined(calendar.url, href), "", "", ObjectMetadata(), found))
            else:
                resources.append(found)
        return resources, refused

    # --- requests ---

    async def _since(self, calendar: ServerCalendar, token: str) -> Multistatus:
        body = sync_collection(token)
        answer = await self._ask("REPORT", calendar.url, body, depth="0", accept=(207, *_REFUSED))
        if answer.status != 207:
            if is_token_refused(answer.body) or answer.status == 410:
                raise CursorLost(f"{calendar.name}: the server does not know any more how far it was read")
            raise general(answer)
        return multistatus(answer.body)

    async def _queried(self, calendar: ServerCalendar, body: bytes) -> list[str]:
        answer = await self._report(calendar.url, body)
        if any(_is_cut(resource, calendar) for resource in answer.resources):
            raise Unavailable("the server answers a part of what it was asked for")
        return [resource.href for resource in answer.resources if _is_listed(resource)]

    async def _between(self, calendar: ServerCalendar, start: datetime, end: datetime) -> list[str]:
        return await self._queried(calendar, query("VEVENT", _stamp(start), _stamp(end)))

    async def _report(self, url: str, body: bytes) -> Multistatus:
        answer = await self._ask("REPORT", url, body, depth="1", accept=(207, 404))
        if answer.status == 404:
            raise Unavailable("a calendar was removed while it was read")
        return multistatus(answer.body)

    async def _properties(self, url: str, *names: str, depth: str = "0") -> tuple[str, list[WebDavResource]]:
        """Return properties, and the final address after redirects."""
        for _ in range(MAX_REDIRECTS):
            answer = await self._ask("PROPFIND", url, propfind(*names), depth=depth, accept=(207, *_MOVED))
            if answer.status == 207:
                return url, multistatus(answer.body).resources
            url = joined(url, answer.headers.get("location", ""))
            self._check_ours(url)
        raise Misconfigured(
            "the server sends us from one address to the next; write the one of the calendars"
        )

    async def _ask(
        self, method: str, url: str, body: bytes, *, depth: str, accept: Sequence[int]
    ) -> HttpReply:
        assert self.context.secret is not None
        shown = b64encode(f"{self.settings.username}:{self.context.secret()}".encode()).decode()
        headers = {"Authorization": f"Basic {shown}", "Content-Type": "application/xml; charset=utf-8"}
        return await self.context.caller.ask(
            method, url, headers=headers | {"Depth": depth}, body=body, accept=accept
        )

    def _check_ours(self, url: str) -> None:
        try:
            if origin_of(url) in self.origins(self.settings):
                return
        except ValueError:
            pass
        host = urlsplit(url).hostname or "nowhere"
        raise Misconfigured(f"the calendars are at {host}: write their address as url, if you trust it")

    # --- discovery of calendars ---

    async def _calendars(self) -> list[ServerCalendar]:
        """Return the selected calendars, ordered by name.

        Raises:
            Misconfigured: no calendar was found, or a selected one does not exist.
        """
        found = [
            calendar
            for calendar in await self._discovered()
            if not calendar.kinds or calendar.kinds & set(self.filter.kinds)
        ]
        if not found:
            raise Misconfigured("there is no calendar there: write the address of the calendars as url")
        selected = self.filter.calendars
        for name in selected:
            if not any(_is_called(calendar, name) for calendar in found):
                names = ", ".join(repr(calendar.name) for calendar in found)
                raise Misconfigured(f"there is no calendar {name!r}; there are {names}")
        chosen = [
            calendar
            for calendar in found
            if not selected or any(_is_called(calendar, name) for name in selected)
        ]
        if without := [calendar.name for calendar in chosen if not calendar.token]:
            others = [calendar.name for calendar in found if calendar.token]
            hint = f"; select others by filter.calendars: {', '.join(map(repr, others))}" if others else ""
            raise Misconfigured(f"{without[0]}: the server does not list changes (RFC 6578){hint}")
        return sorted(chosen, key=lambda one: (one.name, one.url))[:MAX_CALENDARS]

    async def _discovered(self) -> list[ServerCalendar]:
        asked = ("d:resourcetype", "d:current-user-principal", "c:calendar-home-set", *_OF_CALENDARS)
        try:
            url, resources = await self._properties(self.settings.url, *asked)
        except Misconfigured:
            if urlsplit(self.settings.url).path.strip("/"):
                raise
            well_known = joined(self.settings.url, "/.well-known/caldav")  # RFC 6764
            url, resources = await self._properties(well_known, *asked)
        here = resources[0] if resources else WebDavResource("", None, {})
        if here.has(f"{DAV}resourcetype", f"{CAL}calendar"):
            return [_calendar(url, here)]
        homes = here.hrefs(f"{CAL}calendar-home-set")
        for principal in () if homes else here.hrefs(f"{DAV}current-user-principal"):
            at, resources = await self._at(url, principal, "c:calendar-home-set")
            homes += [
                joined(at, home)
                for resource in resources
                for home in resource.hrefs(f"{CAL}calendar-home-set")
            ]
        found: list[ServerCalendar] = []
        for home in homes or [url]:
            at, resources = await self._at(url, home, "d:resourcetype", *_OF_CALENDARS, depth="1")
            found += [
                _calendar(at, resource)
                for resource in resources
                if resource.has(f"{DAV}resourcetype", f"{CAL}calendar")
            ]
        return found

    async def _at(
        self, base: str, href: str, *names: str, depth: str = "0"
    ) -> tuple[str, list[WebDavResource]]:
        url = joined(base, href)
        self._check_ours(url)
        return await self._properties(url, *names, depth=depth)

    @staticmethod
    def judge(answer: HttpReply) -> ConnectorFailure | None:
        if answer.status in (404, 405):
            return Misconfigured(f"there are no calendars at that address: {answer.status}")
        return None


_OF_CALENDARS: Final = ("d:displayname", "c:supported-calendar-component-set", "d:sync-token")


def _calendar(base: str, resource: WebDavResource) -> ServerCalendar:
    url = joined(base, resource.href)
    kinds = resource.found.get(f"{CAL}supported-calendar-component-set")
    names = (
        ()
        if kinds is None
        else (component.get("name", "").upper() for component in kinds.findall(f"{CAL}comp"))
    )
    name = resource.text(f"{DAV}displayname") or _last(url)
    return ServerCalendar(url, name, frozenset(names), resource.text(f"{DAV}sync-token"))


def _is_called(calendar: ServerCalendar, name: str) -> bool:
    return (
        name.casefold() in (calendar.name.casefold(), _last(calendar.url).casefold()) or name == calendar.url
    )


def _last(url: str) -> str:
    """Return the last part of a URL, used as the name of an unnamed calendar."""
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _cursor(places: dict[str, CalendarCursor]) -> Cursor:
    return {"calendars": msgspec.to_builtins(places)}


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _is_listed(one: WebDavResource) -> bool:
    """Return True if an object exists; one that the server leaves out of a list is fetched by its address."""
    if one.status in (None, 200):
        return f"{DAV}getetag" in one.found
    return one.status != 404


def _is_cut(one: WebDavResource, calendar: ServerCalendar) -> bool:
    """Return True for the entry of the calendar itself by which a server says that it has more."""
    return one.status == _TRUNCATED and _path(calendar.url, one.href) == _path(calendar.url, "")


def _path(base: str, href: str) -> str:
    """Return the path of a reference without its escapes, as servers spell it in several ways."""
    return unquote(urlsplit(joined(base, href)).path).rstrip("/")


def _read_objects(base: str, resources: Sequence[WebDavResource]) -> list[_CalendarObject]:
    objects = []
    for resource in resources:
        element = resource.found.get(f"{CAL}calendar-data")
        if element is not None and (text := element.text):
            known = read_metadata(text) if len(text) <= MAX_CHARS else ObjectMetadata()
            objects.append(
                _CalendarObject(joined(base, resource.href), resource.text(f"{DAV}getetag"), text, known)
            )
    return objects


def _message(entry: _CalendarObject) -> Message:
    known = entry.known
    # Named like an iCalendar file, because rules consider names; the hash prevents names chosen by senders.
    name = f"caldav:{_digest(known.uid or entry.url)}.ics"
    sender = Address(known.organizer.lower()) if known.organizer else None
    return Message(
        key=message_key(None, name),
        version=_digest(entry.etag or entry.text)[:32],
        place=entry.url,
        received_at=known.changed_at,
        sender=sender,
        subject=known.title,
        labels=known.labels,
        size_bytes=len(entry.text.encode("utf-8", "replace")),
        link=known.link,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
