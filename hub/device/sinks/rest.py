"""Task list at a server with an interface of JSON, described by a manifest, as a target.

The key of a row is in its item. A server lists open items only, so that an item that is known, but not
listed, is read by its id: it is done, or it was deleted.
"""

import hashlib
import json
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from hub.base.clock import epoch_ms
from hub.base.outbound.refusal_reach import DELETED_STATUSES, RefusalScope
from hub.device.sinks.target import Found, Snapshot, WrongPlace
from hub.device.sinks.task_list_manifest import FieldPlace, ManifestRequest, SinkManifest
from hub.device.sinks.web import POLL_S, Polled, SinkReply, Web
from hub.text.rows.row import Fields, LateFields, Put, TargetFailed, shape_of
from hub.text.rows.row_keys import ROW_KEY
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

_MAX_PAGES: Final = 1_000
Item = dict[str, Any]


class Rest(Polled):
    """Items at the server of a manifest."""

    def __init__(self, web: Web, manifest: SinkManifest, poll_s: float = POLL_S) -> None:
        super().__init__(web, poll_s)
        self._manifest = manifest
        self._source = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()
        self._items: dict[str, Item] = {}  # by key
        self._done: dict[str, Item] = {}  # items that are not listed, by id; empty: deleted
        self._listed: Collection[Item] = ()  # also items of others
        self._is_empty = True
        self._has_strange = False  # something without an id is listed, too

    def fresh_place(self, now: datetime) -> str:
        return self._manifest.url

    def owns(self, place: str) -> bool:
        return place.partition("#")[0] == self._manifest.url

    def link(self, place: str, key: str) -> str:
        item_id = place.partition("#")[2]
        return (self._manifest.link or "").replace("{id}", quote(item_id, safe="")) if item_id else ""

    def expressed(self, table: DeviceTable, fields: Fields) -> Fields:
        item: Item = {}
        for column, place in self._columns(table):
            _set(item, place.path, _written(place, fields.get(column, "")))
        return self._fields(item, table)

    def examine(self, place: str, tables: Collection[DeviceTable], agreed: Collection[str]) -> None:
        with self._web.connected():
            self._list_changes()
        if self._has_strange:
            raise WrongPlace(f"{place} lists something else: an item has no {self._manifest.id}")
        title = self._manifest.fields.get("title")
        if title and any(_at(item, title.path) is None for item in self._listed):
            raise WrongPlace(f"{place} lists something else: an item has no {title.path}")

    def _snapshot(self) -> Snapshot:
        tables, items = self._tables, self._items
        found = {key: self._found(items[key], tables[key]) for key in items.keys() & tables.keys()}
        missing = self._places if self._is_empty else ()
        return Snapshot(found, missing, {}, tables, self._left_out)

    def _found(self, item: Item, table: DeviceTable) -> Found:
        fields = LateFields(partial(self._fields, item, table))
        source = f"{self._source}{item!r}"
        return Found(fields, self._place(item), self._changed_ms(item), source=source)

    # --- items ---

    def _list_changes(self) -> None:
        items: dict[str, Item] = {}  # by id; those of *before* stay, and what is equal to them is freed
        before = {self._id(item): item for item in self._items.values()}
        asked = self._manifest.list
        more: dict[str, str] = {}
        self._has_strange = False
        for _ in range(_MAX_PAGES):
            page = _json(self._ask(asked, query=more))
            listed = _at(page, asked.items)
            if not isinstance(listed, list):
                raise WrongPlace(f"{self._web.host}: its answer has no list at {asked.items}")
            for item in listed:
                if _at(item, self._manifest.id) is None:
                    self._has_strange = True
                    continue
                item_id = self._id(item)
                items[item_id] = before[item_id] if before.get(item_id) == item else item
            if not (cursor := _at(page, asked.cursor or "")):
                break
            last, more = more, {asked.cursor_query: str(cursor)}
            if more == last:
                raise TargetFailed(f"{self._web.host}: names one page as the next one again and again")
        if self._has_strange and not items:
            raise WrongPlace(f"{self._web.host}: an item has no id at {self._manifest.id}")
        is_empty, self._listed = not items, [*items.values()]
        self._left_out = {}
        for item_id in filter(None, (place.partition("#")[2] for place in self._places)):
            if item_id in items:
                self._done.pop(item_id, None)
                continue
            one = self._done.get(item_id)
            if one is None:
                try:
                    one = self._get(item_id) or {}
                except TargetFailed as error:
                    place = f"{self._manifest.url}#{item_id}"
                    self._leave_out(place, place, error)
                    continue
                if not one or self._is_done(one):
                    self._done[item_id] = one
            if one:
                items[item_id] = one
        self._items = {}
        for item in items.values():
            if (key := self._key(item)) and not _at(item, self._manifest.deleted or ""):
                self._items.setdefault(key, item)
        self._is_empty = is_empty and not self._items and not self._left_out

    def _is_done(self, item: Item) -> bool:
        place = self._manifest.fields.get("status")
        return place is not None and _is_same(_at(item, place.path), place.values.get("done"))

    def _get(self, item_id: str) -> Item | None:
        answer = self._ask(self._manifest.get, item_id, accept=DELETED_STATUSES)
        if answer.status in DELETED_STATUSES:
            return None
        self._id(item := _json(answer))  # a server may say with status 200 that it failed
        return item

    def _state(self) -> Hashable:
        own = [one for key, one in sorted(self._items.items()) if key in self._tables]
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).digest()

    def _write_row(self, put: Put) -> Found | None:
        manifest, before = self._manifest, self._items.get(put.key)
        own = {} if before is None else self._fields(before, put.table)
        asked = self.expressed(put.table, put.fields)
        body: Item = {}
        is_done = was_done = False
        for column, place in self._columns(put.table):
            text = put.fields.get(column, "")
            if manifest.closes and place is manifest.fields["status"]:
                is_done, was_done = text == "done", own.get(column) == "done"
            elif column in own and own[column] == asked.get(column, ""):
                continue
            elif not text and place.clear:
                body |= place.clear if before is not None else {}
            elif (value := _written(place, text)) is not None or before is not None:
                _set(body, place.write or place.path, value)
        if before is None:
            answer = self._ask(manifest.create, "", self._with_key(body, put.key), put)
            item_id, found = self._id(_json(answer)), self._echoed(answer, put)
        else:
            item_id, found = self._id(now := self._unchanged(before)), now
            if manifest.key.form == "line" and manifest.key.path.partition(".")[0] in body:
                body = self._with_key(body, put.key)
            requests = [(manifest.update, body)] if body else []
            if is_done != was_done and manifest.close and manifest.reopen:
                requests.append((manifest.close if is_done else manifest.reopen, {}))
            for request, sent in requests:
                answer = self._ask(request, item_id, sent, put)
                self._check_changed(answer, now)
                found = self._echoed(answer, put)
        self._done.pop(item_id, None)
        self._forget()  # the server has another time of the change
        if (found := found or self._get(item_id)) is None:
            return None
        # What was not sent, but differs, is an edit of a person.
        made = self._fields(found, put.table)
        fields = {
            name: made.get(name, text) if own.get(name) != text else text for name, text in asked.items()
        }
        result = self._found(found, put.table)
        if before is None and is_done:  # the next synchronization closes it: if that failed here, it would
            return result._replace(fields=fields | {"status": "todo"}, source="")  # count as reopened
        return result._replace(fields=fields)

    def _remove(self, key: str) -> None:
        item = self._items.get(key)
        if item is not None:
            now = self._unchanged(item)
            answer = self._ask(self._manifest.delete, self._id(now), accept=DELETED_STATUSES)
            if answer.status not in DELETED_STATUSES:
                self._check_changed(answer, now)
            del self._items[key]
            self._done.pop(self._id(item), None)

    def _echoed(self, answer: SinkReply, put: Put) -> Item | None:
        """Return the item if a server answers a write with all of it, as it has it then."""
        with suppress(WrongPlace):
            self._id(item := _json(answer))
            return item if self._key(item) == put.key else None
        return None

    def _check_changed(self, answer: SinkReply, before: Item) -> None:
        """Check that an item was changed, where the answer is none: it may be an error with status 200.

        Raises:
            TargetFailed: the item is as before.
        """
        with suppress(WrongPlace):
            self._id(_json(answer))
            return
        if answer.body.strip() and self._get(self._id(before)) == before:
            reason = f"{self._web.host}: answers with success, and changes nothing"
            raise TargetFailed(reason, PlaceProblem.REFUSED, RefusalScope.ROW)

    def _unchanged(self, item: Item) -> Item:
        """Return an item if no other program has changed it since it was read."""
        now = self._get(self._id(item))
        places = [field.path for field in self._manifest.fields.values()]
        if now is None or any(_at(now, path) != _at(item, path) for path in places):
            self._done.pop(self._id(item), None)
            raise self._changed(self._place(item))
        return now

    def _ask(
        self,
        asked: ManifestRequest,
        item_id: str = "",
        body: Item | None = None,
        put: Put | None = None,
        accept: Collection[int] = (),
        query: Mapping[str, str] | None = None,
    ) -> SinkReply:
        path = asked.path.replace("{id}", quote(item_id, safe=""))
        parameters = urlencode({**asked.query, **(query or {})})
        url = f"{self._manifest.url.rstrip('/')}{path}{'?' if parameters else ''}{parameters}"
        sent = b"" if not body else json.dumps(body, ensure_ascii=False, sort_keys=True).encode()
        headers = {"Content-Type": "application/json"} if sent else {}
        if put is not None and self._manifest.idempotency_header:
            # The place, the time and the item's state differ where the same content is written once more.
            before = json.dumps(self._items.get(put.key), sort_keys=True)
            same = f"{put.key}\n{put.place}\n{asked.method} {path}\n{put.at_ms}\n{before}\n".encode() + sent
            headers[self._manifest.idempotency_header] = hashlib.sha256(same).hexdigest()[:32]
        return self._web.ask(asked.method, url, sent, headers, accept, row=put.key if put else "")

    # --- fields ---

    def _columns(self, table: DeviceTable) -> list[tuple[str, FieldPlace]]:
        """Return the columns of a table that the manifest has a place for."""
        shape = shape_of(table)
        named = {"title": shape.title, "text": shape.text, "date": shape.date}
        columns = {named.get(name, name): place for name, place in self._manifest.fields.items()}
        return [(column, columns[column]) for column in shape.names if column in columns]

    def _fields(self, item: Item, table: DeviceTable) -> dict[str, str]:
        fields = {}
        for column, place in self._columns(table):
            value = _at(item, place.path)
            if place.values:
                text = next((name for name, one in place.values.items() if _is_same(one, value)), None)
            else:
                text = "" if value is None else str(value)
                if place.path == self._manifest.key.path and self._manifest.key.form == "line":
                    lines = [line for line in text.splitlines() if not ROW_KEY.fullmatch(line.strip())]
                    text = "\n".join(lines).strip("\n")
                text = text[:10] if place.is_day else text
            if text or (text == "" and column != table.title):
                fields[column] = text
        return fields

    def _key(self, item: Item) -> str:
        value = _at(item, self._manifest.key.path)
        words = value if isinstance(value, list) else str(value or "").splitlines()
        return next((found[0] for word in words if (found := ROW_KEY.fullmatch(str(word).strip()))), "")

    def _with_key(self, body: Item, key: str) -> Item:
        place = self._manifest.key
        value: object = [key] if place.form == "label" else key
        if place.form == "line" and (text := _at(body, place.path)):
            value = f"{text}\n\n{key}"
        _set(body, place.path, value)
        return body

    def _id(self, item: object) -> str:
        found = _at(item, self._manifest.id)
        if found is None:
            raise WrongPlace(f"{self._web.host}: an item has no id at {self._manifest.id}")
        return str(found)

    def _place(self, item: Item) -> str:
        return f"{self._manifest.url}#{self._id(item)}"

    def _changed_ms(self, item: Item) -> int:
        with suppress(ValueError, TypeError):
            return epoch_ms(datetime.fromisoformat(_at(item, self._manifest.changed or "")))
        return 0


def _at(value: object, path: str) -> Any:
    """Return what is at a path of JSON, or None."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _set(item: Item, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        item = item.setdefault(name, {})
    item[last] = value


def _written(place: FieldPlace, text: str) -> object:
    """Return what a server has for the text of a field; None for an empty one, or an unknown value."""
    if place.values:
        return place.values.get(text)
    return (text[:10] if place.is_day else text[: place.max_length]) or None


def _is_same(one: object, other: object) -> bool:
    return json.dumps(one) == json.dumps(other)  # true is not 1


def _json(answer: SinkReply) -> Item:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WrongPlace("the server's answer is no object of JSON; is the address right?")
    return found
