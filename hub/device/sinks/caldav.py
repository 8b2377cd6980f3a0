"""Calendar collection of a CalDAV server (RFC 4791) as a target: an object for each row.

An object is named after the key of its row. Changes are listed by the sync token (RFC 6578), else by ETags,
and only changed objects of this device are fetched. Each write names the version that it replaces. What was
written is fetched at once: a server may cut a text or keep no date, and that is no edit of a person.
"""

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from hub.base.outbound.refusal_reach import DELETED_STATUSES, SCOPES, RefusalScope, scope_of_status
from hub.device.sinks.calendar_collections import XML, examine_collection
from hub.device.sinks.target import Found, Snapshot, Written
from hub.device.sinks.text_file import read_back, spliced
from hub.device.sinks.web import POLL_S, Polled, SinkReply, Web
from hub.text.rows.calendar import CalendarFormat, changed_ms, component_kind
from hub.text.rows.row import Fields, Put, TargetFailed
from hub.text.webdav import (
    CAL,
    DAV,
    Multistatus,
    WebDavResource,
    multiget,
    multistatus,
    propfind,
    sync_collection,
)
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

_NAME: Final = re.compile(r"/(hub-[a-z2-7]{16})(?:\.ics)?$")
_BATCH: Final = 100  # objects that are fetched at once
# The token is old, or there are no tokens: statuses of the request, neither of the account nor of a moment.
_NOT_LISTED: Final = {
    one for one, scope in SCOPES.items() if scope in (RefusalScope.ROW, RefusalScope.PLACE)
} - {404}
_TRUNCATED: Final = 507
_MAX_PAGES: Final = 1_000  # of changes


class _RowObject(NamedTuple):
    """Object of a row; *text* and *found* only after it was fetched."""

    url: str
    etag: str
    text: str | None = None
    found: Found | None = None

    @property
    def versions(self) -> Sequence[Mapping[str, str]]:
        """Headers of a write that replaces this version, each for servers that refuse the one before it.

        A proxy that compresses weakens the ETag; a server with weak ETags compares them as they are.
        """
        return [{"If-Match": etag} for etag in dict.fromkeys((self.etag.removeprefix("W/"), self.etag))]


class CalDavTarget(Polled):
    """Collection at *url*."""

    def __init__(self, web: Web, url: str, poll_s: float = POLL_S) -> None:
        super().__init__(web, poll_s)
        self._url = url if url.endswith("/") else f"{url}/"
        self._form = CalendarFormat()
        self._token = ""
        self._own: dict[str, _RowObject] = {}
        self._sent: dict[str, tuple[str, int]] = {}  # the ETag after a write, and its time, by key
        self._others: set[str] = set()

    def fresh_place(self, now: datetime) -> str:
        return self._url

    def owns(self, place: str) -> bool:
        return place == self._url

    def link(self, place: str, key: str) -> str:
        known = self._own.get(key)
        return known.url if known else f"{place}{key}.ics"

    def expressed(self, table: DeviceTable, fields: Fields) -> Fields:
        return read_back(self._form, table, fields)

    def examine(self, place: str, tables: Collection[DeviceTable], agreed: Collection[str]) -> None:
        with self._web.connected():
            kinds = {table.name: component_kind(table) for table in tables}
            examine_collection(self._web, self._url, kinds)

    def _snapshot(self) -> Snapshot:
        self._fetch()
        own = ((key, one.found) for key, one in self._own.items() if key in self._tables)
        found = {key: one for key, one in own if one is not None}
        missing = () if self._own or self._others else self._places
        return Snapshot(found, missing, {}, self._tables, self._left_out)

    def _list_changes(self) -> None:
        try:
            if not any(self._list() for _ in range(_MAX_PAGES)):
                raise TargetFailed(f"{self._web.host}: lists changes without end")
        except TargetFailed:
            self._token = ""
            raise

    def _list(self) -> bool:
        """List what has changed since the token; return False if the server has more."""
        answer = self._report(sync_collection(self._token), "0", accept=_NOT_LISTED)
        if answer.status in _NOT_LISTED and self._token:
            self._token = ""
            answer = self._report(sync_collection(""), "0", accept=_NOT_LISTED)
        if answer.status in _NOT_LISTED:  # a server without tokens
            answer = self._report(propfind("d:getetag"), "1", "PROPFIND")
        listed, before = _read(answer), self._own
        if not self._token:
            self._own, self._others = {}, set()
        for resource in listed.resources:
            self._note(resource, before)
        is_whole = all(resource.status != _TRUNCATED for resource in listed.resources)
        is_whole |= listed.sync_token in ("", self._token)
        self._token = listed.sync_token
        return is_whole

    def _note(self, one: WebDavResource, before: Mapping[str, _RowObject]) -> None:
        """Remember an object that is listed as present, changed or deleted."""
        url, etag = urljoin(self._url, one.href), one.text(f"{DAV}getetag")
        name = _NAME.search(url)
        match one.status:
            case None | 200 if name is not None and etag:
                known = before.get(name[1])
                self._own[name[1]] = known if known and known.etag == etag else _RowObject(url, etag)
            case None | 200 if etag and url != self._url:
                self._others.add(url)
            case 404 if name is not None:
                self._own.pop(name[1], None)
            case 404:
                self._others.discard(url)
            case status if name is not None and status not in (None, 200, _TRUNCATED):
                self._own[name[1]] = before.get(name[1]) or _RowObject(url, "")  # fetched, or left out

    def _fetch(self) -> None:
        """Fetch the objects of this device that have changed, and note those that the server leaves out."""
        self._left_out = {}
        keys = [key for key, one in self._own.items() if one.text is None and key in self._tables]
        for begin in range(0, len(keys), _BATCH):
            self._fetch_some(keys[begin : begin + _BATCH])

    def _fetch_some(self, keys: Sequence[str]) -> None:
        """Fetch objects; if the server refuses them together, fetch halves, to isolate the refused ones.

        Raises:
            TargetFailed: the server refuses all, or is away.
        """
        try:
            listed = _read(self._report(multiget([_path(self._own[key].url) for key in keys]), "1"))
        except TargetFailed as error:
            if error.why is PlaceProblem.MISSING or (error.is_of_all and len(keys) > 1):
                raise
            if len(keys) == 1:
                self._leave_out(keys[0], self._own[keys[0]].url, error)
            else:
                self._fetch_some(keys[: len(keys) // 2])
                self._fetch_some(keys[len(keys) // 2 :])
            return
        statuses: dict[str, int | None] = {}
        for resource in listed.resources:
            name, data = _NAME.search(resource.href), resource.found.get(f"{CAL}calendar-data")
            if name is None or name[1] not in self._own:
                continue
            statuses[name[1]] = resource.status
            if data is None and resource.status == 404:
                self._own.pop(name[1])
            elif data is not None:
                self._keep(name[1], self._own[name[1]].url, resource.text(f"{DAV}getetag"), data.text or "")
        for key in keys:
            if key in self._own and self._own[key].text is None:
                why = f"{self._web.host}: leaves it out ({statuses.get(key) or 'no answer'})"
                self._left_out[key] = f"{self._own[key].url}: {why}"

    def _keep(self, key: str, url: str, etag: str, text: str) -> None:
        text = text.replace("\r\n", "\n")
        for piece in self._form.pieces(text, {key: self._tables[key]}):
            found = Found(piece.fields, self._url, changed_ms(text), source=text)
            self._own[key] = _RowObject(url, etag, text, found)
            return
        self._own[key] = _RowObject(url, etag, "")  # the object of another program by this name

    def _state(self) -> Hashable:
        return tuple((key, one.etag) for key, one in sorted(self._own.items()) if key in self._tables)

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        self._sent = {}
        results = super().write(snapshot, puts, removed)
        try:
            with self._web.connected():
                self._fetch()
        except TargetFailed:  # the next look decides about these rows
            self._forget()
            return {**results, **dict.fromkeys(self._sent)}
        return {**results, **{key: self._own[key].found for key in self._sent if self._is_as_sent(key)}}

    def _is_as_sent(self, key: str) -> bool:
        """Return True if an object is what the server made of a write, and no later edit."""
        (etag, at_ms), own = self._sent[key], self._own.get(key)
        if own is None or own.found is None:
            return False
        return etag in ("", own.etag.removeprefix("W/")) or own.found.at_ms <= at_ms

    def _write_row(self, put: Put) -> None:
        known = self._own.get(put.key)
        text = spliced(self._form, (known and known.text) or "", [put], (), {put.key: put.table})
        url = known.url if known else f"{self._url}{put.key}.ics"
        versions = known.versions if known else [{"If-None-Match": "*"}]
        kind = {"Content-Type": "text/calendar; charset=utf-8"}
        answer = self._replace("PUT", url, text.replace("\n", "\r\n").encode(), kind, versions, (412, 404))
        if answer.status == 412:
            self._own[put.key] = _RowObject(url, "")  # fetched again, also where its listing lacks it
            raise self._changed(url)
        if answer.status == 404:
            error = self._vanished()
            error.of_row = f"{self._web.host}: refuses it (404)"
            raise error
        self._tables = {**self._tables, put.key: put.table}
        self._own[put.key] = _RowObject(url, etag := answer.headers.get("etag", ""))
        self._sent[put.key] = etag.removeprefix("W/"), changed_ms(text)

    def _remove(self, key: str) -> None:
        known = self._own.get(key)
        if known is not None:
            answer = self._replace("DELETE", known.url, b"", {}, known.versions, (*DELETED_STATUSES, 412))
            if answer.status == 412:
                self._own[key] = _RowObject(known.url, "")
                raise self._changed(known.url)
            del self._own[key]

    def _replace(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        versions: Sequence[Mapping[str, str]],
        accept: Collection[int],
    ) -> SinkReply:
        """Write or remove an object of one of these versions, and return the last answer.

        Raises:
            TargetFailed: the server refuses it, also in an answer of several statuses.
        """
        for version in versions:
            answer = self._web.ask(method, url, body, {**headers, **version}, accept)
            if answer.status != 412:
                break
        for resource in _read(answer).resources if answer.status == 207 else ():
            if resource.status is not None and resource.status >= 400 and resource.status not in accept:
                reason = f"{self._web.host}: refuses it ({resource.status})"
                raise TargetFailed(reason, PlaceProblem.REFUSED, scope_of_status(resource.status))
        return answer

    def _report(
        self, body: bytes, depth: str, method: str = "REPORT", accept: Collection[int] = ()
    ) -> SinkReply:
        answer = self._web.ask(method, self._url, body, {**XML, "Depth": depth}, accept=(*accept, 404))
        if answer.status == 404:
            raise self._vanished()
        return answer

    def _vanished(self) -> TargetFailed:
        return TargetFailed(
            f"{self._url} is missing: create the calendar again, then: hub device sync --again",
            PlaceProblem.MISSING,
        )


def _read(answer: SinkReply) -> Multistatus:
    try:
        listed = multistatus(answer.body)
        for resource in listed.resources:
            urlsplit(resource.href)
    except ValueError as error:  # also for what is no address
        raise TargetFailed(f"the server answers wrongly: {error}") from error
    return listed


def _path(url: str) -> str:
    return "/" + "".join(url.split("/", 3)[3:])
