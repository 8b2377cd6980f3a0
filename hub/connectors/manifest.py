"""Manifest connectors: services described by a TOML file (REST, RSS, Atom, iCalendar).

A manifest is a TOML file: where the entries are, how to sign in, how pages follow each other, and which parts
of an entry are the fields of a message. The files of ``manifests`` are providers of their own; an operator's
own file is ``settings.manifest`` of the provider ``manifest``.

A listing begins at the newest change that is settled, with an overlap, where the provider can be asked for
changes; otherwise it is whole. The cursor has the digests of the entries that the next listing will repeat.
An entry that changes while pages are read moves to their end, and shifts others over the border of a page. So
where the oldest come first, each request begins anew at the last change.
"""

import hashlib
import os
import re
import tomllib
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

import msgspec
from anyio import to_thread
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from hub.base.outbound.rules import finite_number
from hub.base.printable import shell_word
from hub.connectors.calendar_feeds import CalendarEntry, calendar_entries
from hub.connectors.calendar_objects import MAX_CHARS, Line, joined, read_metadata
from hub.connectors.calling import (
    ConnectorFailure,
    HttpReply,
    MessageUnreadable,
    Misconfigured,
    ProviderBusy,
    ProviderQuota,
    SignInNeeded,
    Unavailable,
    Unread,
    origin_of,
    server_address,
)
from hub.connectors.catalogue import MANIFESTS, UnknownProvider, shipped
from hub.connectors.connector import (
    PAGE_MESSAGES,
    Account,
    Address,
    Auth,
    Connector,
    ConnectorClass,
    Cursor,
    Filter,
    JsonPath,
    Message,
    OAuth,
    Page,
    ProviderSettings,
    Words,
    read_cursor,
)
from hub.connectors.entry_fields import EntryFields, Paths
from hub.connectors.feeds import feed_entries, plain
from hub.connectors.sdk.json_paths import (
    link_of,
    row_key_in,
    steps_of,
    text_at,
    texts_at,
    values_at,
    with_row_key,
)
from hub.document import Document
from hub.text.header_values import date_in
from hub.text.html import TooTangled
from hub.text.parts import cut_parts
from protocol.items import ProvenanceOrigin

OVERLAP: Final = timedelta(minutes=10)  # providers list some changes late
MAX_KNOWN: Final = 3_500  # digests in a cursor
MAX_ENTRIES: Final = 50_000  # of one answer
MAX_ANSWERS: Final = 1_000  # of one listing
MAX_REPEATS: Final = 2  # answers without an entry that is not listed yet
MAX_REDIRECTS: Final = 3
TITLE_CHARS: Final = 500
HEADER_CHARS: Final = 2_000
_MOVED: Final = (301, 302, 307, 308)
_CONDITIONS: Final = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
_RESETS: Final = ("x-ratelimit-reset", "ratelimit-reset")
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_WEB: Final = ("http://", "https://")
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")
_OF_TIME: Final = frozenset(("since", "since_s", "minutes"))  # variables of a request for changes
_OWN: Final = ("key", "manifest")
_ESCAPES: Final = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n", "\r": None})
_DONE: Final = frozenset(("true", "1", "done", "completed", "closed"))


# --- the file ---


class _ManifestTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestSetting(_ManifestTable):
    """Table of ``settings``: what an operator writes in hub.toml. Without a default it is required."""

    about: str = ""
    default: str | None = None


class Authentication(_ManifestTable):
    """Table ``auth``. *header*: the name of the header for a key, with *prefix* before the key."""

    kind: Literal["none", "bearer", "header", "basic", "oauth2"] = "none"
    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,60}$")] = "Authorization"
    prefix: str = ""
    authorize_url: str = ""
    token_url: str = ""
    scopes: tuple[str, ...] = ()


class Paging(_ManifestTable):
    """Table ``pages``: how the next page is requested.

    *parameter* gets the value at *path*, the number of the page, or the number of entries before it. Without
    it, the value at *path* is an address. *size*: a page with fewer entries is the last.
    """

    by: Literal["none", "link", "path", "number", "offset"] = "none"
    path: JsonPath | None = None
    parameter: str = ""
    size: int = Field(default=1, ge=1)
    oldest_first: bool = False


class TaskEntryFields(EntryFields):
    """Table ``fields`` of a manifest, whose entries may be tasks."""

    due: Paths = ()
    done: Paths = ()


class Detail(_ManifestTable):
    """Table ``detail``: a request for each entry, and the paths of more text in its answer."""

    url: str
    text: Paths


class ConnectorManifest(_ManifestTable):
    """Manifest of a connector.

    *list*: path of the list of entries; empty: the answer is the list. *skip*: paths that have a value in
    entries that are deleted, or not to be read. *filter*: paths by keys of an agent's filter. *is_task*: each
    entry is a task, which rules read without a model. *body*: of a POST; without it, the request is a GET.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    about: str = ""
    documentation: str = ""
    format: Literal["json", "feed", "ics"] = "json"
    url: str
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None
    rate_per_min: float = Field(default=60.0, gt=0, le=6_000)
    list: JsonPath | None = None
    skip: Paths = ()
    html: bool = False
    is_task: bool = False
    settings: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,63}$")], ManifestSetting] = {}
    auth: Authentication = Authentication()
    pages: Paging = Paging()
    fields: TaskEntryFields = TaskEntryFields()
    filter: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,63}$")], Paths] = {}
    detail: Detail | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        own = {*self.settings}
        for name in (*own, *self.filter):
            if name in (*_OF_TIME, *_OWN, *CalendarFilter.model_fields) or hasattr(_Settings, name):
                raise ValueError(f"{name} is a name of the hub's own: write another")
        for where, text, also in self._texts():
            if unknown := {*_PLACE.findall(text)} - own - also:
                known = ", ".join(sorted(own | also)) or "none"
                raise ValueError(f"{where} has {{{min(unknown)}}}; known here are: {known}")
        if self.auth.kind == "basic" and "username" not in own:
            raise ValueError("auth.kind = basic needs [settings.username]")
        if self.auth.kind == "oauth2" and not (self.auth.authorize_url and self.auth.token_url):
            raise ValueError("auth.kind = oauth2 needs authorize_url and token_url")
        if self.pages.by == "path" and self.pages.path is None:
            raise ValueError("pages.by = path needs pages.path")
        if self.pages.by in ("number", "offset") and not self.pages.parameter:
            raise ValueError(f"pages.by = {self.pages.by} needs pages.parameter")
        return self

    def _texts(self) -> Iterator[tuple[str, str, frozenset[str]]]:
        """Yield each text with variables: its key, the text, and the variables beside those of settings."""
        yield "url", self.url, _OF_TIME
        yield "headers", " ".join(self.headers.values()), frozenset()
        yield "query", " ".join(self.query.values()), _OF_TIME
        yield "body", msgspec.json.encode(self.body).decode(), _OF_TIME
        yield "detail.url", self.detail.url if self.detail else "", frozenset(("key",))

    @property
    def asks_for_changes(self) -> bool:
        """True if a request names the time since which changes are listed."""
        return any(_OF_TIME & {*_PLACE.findall(text)} for _, text, _ in self._texts())


def load(text: str, file: str) -> ConnectorManifest:
    """Return the manifest in *text*.

    Raises:
        Misconfigured: it is no manifest; the message names the file, the key and what was found.
    """
    try:
        return ConnectorManifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{file}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        shown = "" if not key or isinstance(first["input"], dict) else f"; found {first['input']!r:.100}"
        raise Misconfigured(f"{file}: {f'{key}: ' if key else ''}{what}{shown}") from error


@cache
def shipped_kind(name: str) -> ConnectorClass:
    """Return the connector class of a manifest that comes with the hub."""
    return kind_of_file(MANIFESTS / f"{name}.toml", own=False)


def kind_of_file(file: Path, *, own: bool = True) -> "type[ManifestConnector]":
    """Return the connector class of a manifest file. *own*: it is an operator's, named in the settings.

    Raises:
        Misconfigured: it cannot be read, or is no manifest.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(f"{file}: it cannot be read: {why}") from error
    manifest = load(text, str(file))
    settings: dict[str, Any] = {
        name: (
            Line,
            Field(default=... if setting.default is None else setting.default, description=setting.about),
        )
        for name, setting in manifest.settings.items()
    }
    if own:
        settings["manifest"] = (str, Field(description="The file, from the folder of hub.toml."))
    base = CalendarFilter if manifest.format == "ics" else Filter
    words: dict[str, Any] = {
        name: (Words, Field(default=(), description=f"One of the values of {', '.join(paths)}."))
        for name, paths in manifest.filter.items()
    }
    model = create_model("ManifestSettings", __base__=_Settings, **settings)
    model.address = manifest.url
    kinds = {"none": Auth.NONE, "oauth2": Auth.OAUTH2}
    members = {
        "provider": manifest.name,
        "manifest": manifest,
        "file": file,
        "revision": _digest(text),
        "auth": kinds.get(manifest.auth.kind, Auth.PASSWORD),
        "settings_model": model,
        "filter_model": create_model("ManifestFilter", __base__=base, **words),
        "has_html": manifest.html or manifest.format == "feed",
        "is_prose": manifest.format != "ics" and not manifest.is_task,
    }
    return type("ManifestConnector", (ManifestConnector,), members)


# --- the engine ---


Made = tuple[Message, Document]


class CalendarFilter(Filter):
    """Table ``filter`` of an agent that reads a calendar by its address."""

    window_days: int = Field(
        default=90, ge=1, le=3_650, description="How far ahead events are read; later ones, when it is time."
    )


class _Settings(ProviderSettings):
    address: ClassVar[str]  # of the manifest

    @model_validator(mode="after")
    def _has_a_safe_address(self) -> Self:
        values = self.variables() | dict.fromkeys(_OF_TIME, "")
        server_address(_url(self.address, values).partition("?")[0])
        return self

    def variables(self) -> dict[str, str]:
        """Return the settings that the manifest declares."""
        return {name: str(value) for name, value in self if name != "manifest"}


class ListingCursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Cursor: the newest settled change, and digests of the entries that a listing from there repeats.

    *headers* make the request *asked* conditional; its answer was the whole listing.
    """

    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    known: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    asked: str = ""


class ListingRequest(msgspec.Struct, frozen=True):
    """Request for a page. *position*: of the page, or of its first entry."""

    url: str
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None
    position: int = 0

    @property
    def address(self) -> str:
        """Return the URL with its query; parameters without a value are left out."""
        query = urlencode({name: value for name, value in self.query.items() if value})
        return f"{self.url}{'&' if '?' in self.url else '?'}{query}" if query else self.url

    @property
    def digest(self) -> str:
        """Return a digest that differs for other requests."""
        return hashlib.sha256(msgspec.json.encode((self.address, self.body))).hexdigest()[:16]


class ListedEntry(msgspec.Struct, frozen=True):
    """Entry of a listing. *content*: of the answer. *fault*: why it is no message."""

    id: str
    version: str
    content: Any
    changed_at: datetime | None = None
    fault: str = ""

    @property
    def mark(self) -> str:
        """Return a digest of the entry in this version."""
        return _digest(self.id, self.version)[:12]


class ManifestConnector(Connector):
    """Connector that a manifest describes; each manifest has a class of its own."""

    provider = "manifest"
    auth = Auth.NONE
    manifest: ClassVar[ConnectorManifest]
    has_html: ClassVar[bool]
    is_prose: ClassVar[bool]  # False for calendars and lists of tasks
    file: ClassVar[Path]

    settings: _Settings
    _here: dict[str, Document] = {}  # noqa: RUF012 - replaced with each page, as is the next
    _late: frozenset[str] = frozenset()  # marks of events after the time window, listed when it is time

    @classmethod
    def variant(cls, provider: str, settings: Mapping[str, Any], folder: Path) -> ConnectorClass:
        """Return the class of a manifest: one that comes with the hub, or the one that the settings name."""
        if provider in shipped():
            return shipped_kind(provider)
        if not isinstance(name := settings.get("manifest"), str) or not name:
            hint = 'write settings = { manifest = "FILE.toml" }; hub connectors new NAME writes one'
            raise UnknownProvider("the provider manifest needs the file of one", hint)
        file = folder / os.path.expanduser(name)
        try:
            return kind_of_file(file)
        except Misconfigured as error:
            hint = f"hub connectors check {shell_word(file)} shows what it would list"
            raise UnknownProvider(str(error), hint, is_broken=True) from error

    @classmethod
    def oauth(cls, settings: Any) -> OAuth | None:
        auth = cls.manifest.auth
        if auth.kind != "oauth2":
            return None
        return OAuth(authorize_url=auth.authorize_url, token_url=auth.token_url, scopes=auth.scopes)

    @classmethod
    def origin(cls, settings: _Settings) -> str:
        values = (f"{name}={value}" for name, value in sorted(settings.variables().items()))
        return f"{cls.provider} {_digest(cls.manifest.url, *values)[:32]}"

    @classmethod
    def origins(cls, settings: _Settings) -> frozenset[str]:
        values = settings.variables()
        detail = [] if cls.manifest.detail is None else [cls.manifest.detail.url]
        values |= dict.fromkeys((*_OF_TIME, "key"), "")
        return frozenset(_origin(_url(url, values)) for url in (cls.manifest.url, *detail)) - {""}

    @classmethod
    def quota(cls, settings: Any) -> ProviderQuota:
        return ProviderQuota(units_per_min=cls.manifest.rate_per_min, at_once=2)

    @staticmethod
    def judge(answer: HttpReply) -> ConnectorFailure | None:
        """Recognize a limit, which some providers report as forbidden, with the time of its end."""
        is_spent = any(answer.headers.get(f"{name[:-5]}remaining") == "0" for name in _RESETS)
        if answer.status not in (403, 429) or not (is_spent or "retry-after" in answer.headers):
            return None
        resets = (finite_number(answer.headers.get(name)) for name in _RESETS)
        at = next((number for number in resets if number is not None and 1e9 < number < 1e11), None)
        retry_at = datetime.fromtimestamp(at, UTC) if at is not None else None
        return ProviderBusy("the provider wants us to ask less often", retry_at=retry_at)

    async def check(self) -> Account:
        request = self._request(self.context.clock.now() - timedelta(days=1))
        entries, _ = await to_thread.run_sync(self._decoded, await self._ask(request, {}), request)
        name = self.context.identity or self.context.account or self.manifest.name
        return Account(name=name, detail=f"entries on the first page: {len(entries)}")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        place = ListingCursor() if cursor is None else read_cursor(cursor, ListingCursor)
        known, now = frozenset(place.known), self.context.clock.now()
        observed: dict[str, datetime | None] = {}
        newest = place.since or since
        request = first = base = self._request(since if place.since is None else place.since - OVERLAP)
        headers = place.headers if place.asked == first.digest else {}
        has_late, repeats = False, 0
        for _ in range(MAX_ANSWERS):
            answer = await self._ask(request, headers if request is first else {})
            if answer.status == 304:
                yield Page(cursor=cursor)
                return
            listed, following = await to_thread.run_sync(self._decoded, answer, request)
            new = list({entry.mark: entry for entry in listed if entry.mark not in observed}.values())
            repeats = 0 if new or not listed else repeats + 1
            if repeats > MAX_REPEATS:
                raise Unavailable(f"{self.provider}: the provider lists the same entries again and again")
            newest = max([newest, *(min(entry.changed_at, now) for entry in new if entry.changed_at)])
            observed |= {entry.mark: entry.changed_at for entry in new}
            fresh = [entry for entry in new if entry.mark not in known]
            for begin in range(0, len(fresh), PAGE_MESSAGES):
                some = fresh[begin : begin + PAGE_MESSAGES]
                messages = await to_thread.run_sync(self._messages, some, since, cursor is None)
                has_late = has_late or bool(self._late)
                for mark in self._late:
                    del observed[mark]
                yield Page(messages=messages, is_backfill=cursor is None)
            is_steady = self.manifest.asks_for_changes and self.manifest.pages.oldest_first
            if following is None or is_steady:
                is_only = request is first and following is None and not has_late
                yield Page(cursor=self._cursor(observed, newest, answer if is_only else None, first))
            if following is None:
                return
            request, times = following, [entry.changed_at for entry in listed if entry.changed_at]
            if is_steady and new and times:
                again = self._request(min(max(times), now) - timedelta(seconds=1))
                if again.digest != base.digest:
                    request = base = again
        raise Unavailable(f"{self.provider}: the provider lists more than {MAX_ANSWERS} pages")

    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        return self.refusals.each(messages, self._document)

    async def _document(self, message: Message) -> Document | Unread:
        if (found := self._here.get(message.key)) is None:
            return Unread(reason="it is not listed any more", is_removed=True)
        text = found.text
        if (detail := self.manifest.detail) is not None:
            url = _url(detail.url, self.settings.variables() | {"key": quote(str(message.place), "")})
            try:
                answer = await self._ask(ListingRequest(url), {}, accept=(200, 404))
            except MessageUnreadable as error:
                return Unread(reason=str(error))
            if answer.status == 404:
                return Unread(reason="it was deleted", is_removed=True)
            text = "\n".join(part for part in (text, *texts_at(answer.json(), detail.text)) if part)
        parts = found.parts
        if self.is_prose:
            parts = parts | cut_parts(found.media_type or "", text, self.filter.max_chars)
            text = text[: self.filter.max_chars] or "(empty)"
        return msgspec.structs.replace(found, text=text, content_hash=_digest(text), parts=parts)

    # --- requests ---

    def _request(self, since: datetime) -> ListingRequest:
        """Return the request for the first page of the changes since an instant."""
        minutes = (self.context.clock.now() - since) // timedelta(minutes=1) + 1
        values = self.settings.variables() | {
            "since": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "since_s": str(int(since.timestamp())),
            "minutes": str(max(1, minutes)),
        }
        manifest = self.manifest
        query = {name: _filled(text, values) for name, text in manifest.query.items()}
        position = 1 if manifest.pages.by == "number" else 0
        return ListingRequest(_url(manifest.url, values), query, _filled(manifest.body, values), position)

    async def _ask(
        self, request: ListingRequest, headers: Mapping[str, str], accept: Sequence[int] = (200,)
    ) -> HttpReply:
        address = request.address
        body = None if request.body is None else msgspec.json.encode(request.body)
        asked = {**self._headers(), **headers}
        for _ in range(MAX_REDIRECTS):
            method = "GET" if body is None else "POST"
            answer = await self.context.caller.ask(
                method, address, headers=asked, body=body, accept=(*accept, 304, *_MOVED)
            )
            if answer.status not in _MOVED:
                return answer
            moved = joined(address, answer.headers.get("location", ""))
            if _origin(moved) not in self.origins(self.settings):
                raise Misconfigured(f"it has moved to {moved[:200]}: write that address, if you trust it")
            address = moved
        raise Misconfigured("the server sends us from one address to the next")

    def _headers(self) -> dict[str, str]:
        manifest, values = self.manifest, self.settings.variables()
        headers = {name: _header(_filled(text, values)) for name, text in manifest.headers.items()}
        if manifest.body is not None:
            headers["Content-Type"] = "application/json"
        if self.auth is not Auth.PASSWORD:
            return headers
        secret = _header("" if self.context.secret is None else self.context.secret())
        if not secret:
            raise SignInNeeded("the token or password is empty, or has characters that no header can have")
        auth = manifest.auth
        if auth.kind == "basic":
            pair = f"{values['username']}:{secret}".encode()
            return headers | {auth.header: f"Basic {b64encode(pair).decode()}"}
        return headers | {auth.header: f"{'Bearer ' if auth.kind == 'bearer' else auth.prefix}{secret}"}

    # --- answers; in worker threads ---

    def _decoded(
        self, answer: HttpReply, request: ListingRequest
    ) -> tuple[list[ListedEntry], ListingRequest | None]:
        """Return the entries of a page, and the request for the next one, if any."""
        manifest = self.manifest
        if manifest.format == "ics":
            events = calendar_entries(answer.body)
            return [
                ListedEntry(entry.uid or entry.version, entry.version, entry)
                for entry in self._bounded(events)
            ], None
        found: Any = feed_entries(answer.body) if manifest.format == "feed" else answer.json()
        path = () if manifest.list is None else steps_of(manifest.list)
        listed = next(iter(values_at(found, path)), None)
        if not isinstance(listed, list):
            where = f"at {manifest.list!r}" if manifest.list else "(no key list is written)"
            raise Misconfigured(f"{self.file}: list: no list {where} in the answer; it is {_shape(found)}")
        entries = [self._entry(entry) for entry in self._bounded(listed)]
        if len(entries) > 1 and all(entry.fault for entry in entries):
            raise Misconfigured(f"{self.file}: {entries[0].fault}; so have all {len(entries)} entries")
        is_skipped = [
            any(any(values_at(entry, steps_of(path))) for path in manifest.skip) for entry in listed
        ]
        read = [entry for entry, skipped in zip(entries, is_skipped, strict=True) if not skipped]
        return read, self._following(answer, found, len(listed), request)

    def _bounded(self, entries: list[Any]) -> list[Any]:
        if len(entries) > MAX_ENTRIES:
            raise Misconfigured(f"{self.file}: an answer has more than {MAX_ENTRIES} entries")
        return entries

    def _entry(self, content: Any) -> ListedEntry:
        """Return the entry, with a fault if it has no key."""
        fields = self.manifest.fields
        id = text_at(content, fields.key)
        if not id:
            shown = f"fields.key: no value at {' or '.join(fields.key)} in {_shape(content)}"
            return ListedEntry("", _digest(repr(content)), content, fault=shown)
        modified = text_at(content, fields.modified) or text_at(content, fields.created)
        version = text_at(content, fields.version)
        if not version:
            compared = (fields.title, fields.text, fields.due, fields.done)
            texts = [text for paths in compared for text in texts_at(content, paths)]
            if self.has_html:  # addresses in it may be other ones each time
                with suppress(TooTangled):
                    texts = [plain(text)[0] for text in texts]
            version = _digest(*texts)
        return ListedEntry(id, version, content, _instant(modified))

    def _following(
        self, answer: HttpReply, found: Any, number: int, request: ListingRequest
    ) -> ListingRequest | None:
        pages = self.manifest.pages
        match pages.by:
            case "link":
                links = (part.partition(">") for part in answer.headers.get("link", "").split("<")[1:])
                url = next((url for url, _, more in links if "next" in more.partition("rel=")[2][:6]), None)
                return None if url is None else ListingRequest(joined(request.address, url))
            case "path":
                value = text_at(found, (pages.path or "",))
                if value and pages.parameter:
                    return _with(request, pages.parameter, value, 0)
                return ListingRequest(joined(request.address, value)) if value else None
            case "number" | "offset" if number >= pages.size:
                position = request.position + (1 if pages.by == "number" else number)
                return _with(request, pages.parameter, str(position), position)
        return None

    def _messages(
        self, entries: Sequence[ListedEntry], since: datetime, is_first: bool
    ) -> tuple[Message, ...]:
        """Convert the entries that the filter selects; their documents are held until the next page."""
        self._here, self._late, messages = {}, frozenset(), list[Message]()
        for entry in entries:
            message = self._message(entry, fault=entry.fault)
            if not entry.fault:
                make = self._event if isinstance(entry.content, CalendarEntry) else self._record
                try:
                    document = make(entry, since, is_first)
                except (TooTangled, RecursionError, ValueError) as error:
                    message = self._message(entry, fault=f"entry {entry.id[:100]}: {error}")
                else:
                    if document is None:
                        continue
                    message, self._here[message.key] = document
            messages.append(message)
        return tuple(messages)

    def _event(self, entry: ListedEntry, since: datetime, is_first: bool) -> Made | None:
        """Return the message of a calendar's entry, or None if it is not listed now. Raises ValueError."""
        text = entry.content.text
        if len(text) > MAX_CHARS:
            raise ValueError(f"it has more than {MAX_CHARS} characters")
        known = read_metadata(text)
        until = self.context.clock.now() + timedelta(days=getattr(self.filter, "window_days", 0))
        if (is_first and known.is_done) or not known.touches(since, _NEVER):
            return None
        if not known.touches(since, until):
            self._late |= {entry.mark}
            return None
        message = self._message(
            entry,
            subject=known.title,
            labels=known.labels,
            received_at=known.changed_at,
            link=known.link,
            sender=Address(known.organizer.lower()) if known.organizer else None,
        )
        return message, self._made(message, text)

    def _record(self, entry: ListedEntry, since: datetime, is_first: bool) -> Made | None:
        """Return the message of an entry, or None if it is too old or the filter leaves it out."""
        manifest, fields, content = self.manifest, self.manifest.fields, entry.content
        is_done = any(values_at(content, steps_of(path))[:1] == [True] for path in fields.done)
        is_done = is_done or text_at(content, fields.done).casefold() in _DONE
        if is_first and (is_done if manifest.is_task else entry.changed_at and entry.changed_at < since):
            return None
        for name, paths in manifest.filter.items():
            words = {word.casefold() for word in getattr(self.filter, name)}
            if words and words.isdisjoint(text.casefold() for text in texts_at(content, paths)):
                return None
        title, text = text_at(content, fields.title), "\n\n".join(texts_at(content, fields.text))
        hidden = 0
        if self.has_html:
            (title, _), (text, hidden) = plain(title), plain(text)
        title = " ".join(title.split())[:TITLE_CHARS]
        author = text_at(content, fields.author)
        labels = texts_at(content, fields.labels)
        row_key = row_key_in(content, [text, *labels])
        message = self._message(
            entry,
            subject=title,
            labels=tuple(label[:TITLE_CHARS] for label in labels[:20]),
            received_at=entry.changed_at,
            sent_at=_instant(text_at(content, fields.created)),
            link=link_of(text_at(content, fields.link)),
            sender=Address("", " ".join(author.split())[:TITLE_CHARS]) if author else None,
        )
        cut = cut_parts("text/calendar", text, self.filter.max_chars) if manifest.is_task else {}
        if manifest.is_task:
            text = text[: self.filter.max_chars]
            uid = row_key or _digest(entry.id)[:32]
            text = _todo(uid, title, text, text_at(content, fields.due), is_done)
        else:
            text = with_row_key(text if title in text else f"{title}\n\n{text}".strip(), row_key)
        return message, self._made(message, text, hidden, cut)

    def _made(
        self, message: Message, text: str, hidden: int = 0, parts: Mapping[str, int] | None = None
    ) -> Document:
        media_type, origin = "text/markdown", ProvenanceOrigin.WEB
        if not self.is_prose:
            media_type, origin = "text/calendar", ProvenanceOrigin.CALENDAR
        return message.document(
            text, "", media_type=media_type, hidden_parts=hidden, origin=origin, parts=parts
        )

    def _message(self, entry: ListedEntry, **fields: Any) -> Message:
        # The hash prevents names chosen by others: rules consider the names of files.
        key = f"{self.provider}:{_digest(entry.id or entry.version)[:32]}"
        key += "" if self.is_prose else ".ics"
        return Message(key=key, version=_digest(entry.version)[:32], place=entry.id, **fields)

    def _cursor(
        self,
        observed: Mapping[str, datetime | None],
        newest: datetime,
        answer: HttpReply | None,
        first: ListingRequest,
    ) -> Cursor:
        """Return the cursor after a listing, with the digests that the next one repeats."""
        is_whole = not self.manifest.asks_for_changes
        border = newest - OVERLAP - timedelta(minutes=1)
        again = [mark for mark, at in observed.items() if is_whole or at is None or at >= border]
        shown = {} if answer is None else answer.headers
        tags = {name: _header(shown.get(tag, "")) for name, tag in _CONDITIONS.items()}
        place = ListingCursor(
            since=None if is_whole else newest,
            known=tuple(again[:MAX_KNOWN] if is_whole else again[-MAX_KNOWN:]),
            headers={name: value for name, value in tags.items() if value},
            asked=first.digest,
        )
        found: Cursor = msgspec.to_builtins(place)
        return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _header(value: str) -> str:
    """Return the value of a header, or an empty text if no header can have it."""
    return value if value.isascii() and value.isprintable() and len(value) <= HEADER_CHARS else ""


def _origin(url: str) -> str:
    try:
        return origin_of(url)
    except ValueError:
        return ""


def _instant(text: str) -> datetime | None:
    """Return an instant: ISO 8601, as mails write it, or seconds or milliseconds since 1970."""
    number = finite_number(text)
    if number is None:
        return date_in(text)
    seconds = number / 1_000 if number > 1e11 else number
    return datetime.fromtimestamp(seconds, UTC) if 1e8 < seconds < 1e11 else None


def _shape(found: Any) -> str:
    """Describe a value by its keys, without its content."""
    if isinstance(found, dict):
        return f"a table with {', '.join(sorted(map(str, found))[:12])}"[:300]
    return f"a list of {len(found)}" if isinstance(found, list) else type(found).__name__


def _filled(given: Any, values: Mapping[str, str]) -> Any:
    """Replace the variables in all texts of a value."""
    if isinstance(given, dict):
        return {name: _filled(value, values) for name, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, values) for value in given]
    return _PLACE.sub(lambda found: values[found[1]], given) if isinstance(given, str) else given


def _url(text: str, values: Mapping[str, str]) -> str:
    """Replace the variables in an address; a value that is no address itself is escaped."""
    safe = {
        name: value if value.startswith(_WEB) else quote(value, "/%:@,") for name, value in values.items()
    }
    return _PLACE.sub(lambda found: safe[found[1]], text)


def _with(request: ListingRequest, parameter: str, value: str, position: int) -> ListingRequest:
    """Return the request with another value of a parameter, in the body if it has one."""
    if request.body is not None:
        return ListingRequest(request.url, request.query, request.body | {parameter: value}, position)
    return ListingRequest(request.url, request.query | {parameter: value}, None, position)


def _todo(uid: str, title: str, text: str, due: str, is_done: bool) -> str:
    """Return a task as a to-do of iCalendar, which rules read."""
    when = f"DUE:{due.translate(_ESCAPES)}"  # words stay for a person
    with suppress(ValueError):
        at = datetime.fromisoformat(due)
        zone = "" if at.tzinfo is None else "Z"
        at = at if at.tzinfo is None else at.astimezone(UTC)
        when = f"DUE:{at:%Y%m%dT%H%M%S}{zone}" if due[10:] else f"DUE;VALUE=DATE:{at:%Y%m%d}"
    lines = [
        f"UID:{uid}",
        f"SUMMARY:{title.translate(_ESCAPES)}",
        *([f"DESCRIPTION:{text.translate(_ESCAPES)}"] if text else []),
        *([when] if due else []),
        f"STATUS:{'COMPLETED' if is_done else 'NEEDS-ACTION'}",
    ]
    whole = ("BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VTODO", *lines, "END:VTODO", "END:VCALENDAR", "")
    return "\r\n".join(whole)
