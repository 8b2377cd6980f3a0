"""Request and response bodies of the device's own review page, equal to those of a hub.

The page is that of a hub, which it does not know from a device: each response has all fields of the hub's
view, in its order. Fields that a device cannot fill are null, or empty.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec

from hub.base.clock import from_epoch_ms
from hub.base.dates import changes_as_texts, dates_as_texts, day_text
from hub.device.held_items import HeldItem, HeldItems
from hub.device.items import DeviceItem, OthersProposal, waits
from hub.device.owner import lacking
from hub.device.sinks.reports import Destination
from hub.text.excerpt import Excerpt
from hub.text.rows.marks import repetition_in
from hub.text.rows.same_things import MAX_SAME
from protocol.agenda import AgendaPage, AgendaRow
from protocol.calls import place_sentence
from protocol.frame import Record
from protocol.items import with_missing
from protocol.tables import SUGGESTED, TABLES, Column, DeviceTable, Filler, person_in

MAX_VERDICTS: Final = 500  # in one request
Fields = dict[str, Any]  # a body, or a part of one
_Name = Annotated[str, msgspec.Meta(max_length=200)]


class PageVerdict(msgspec.Struct, forbid_unknown_fields=True):
    """Verdict on the item *id*.

    *data*: values of an approval or edit. *version*: of the item as it was shown; *seen_row*: of the approved
    row. *proposal* and *undoes* are ignored: a device has one open change of an item at most, and one window.
    *confirmed*: its words were shown, if it has a mark. *also*: ids that were shown as the same thing.
    """

    id: _Name
    verdict: Literal["approve", "edit", "reject", "undo"]
    data: Fields = {}
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    proposal: _Name | None = None
    seen_row: _Name | None = None
    undoes: _Name | None = None
    confirmed: bool = False
    also: Annotated[list[_Name], msgspec.Meta(max_length=MAX_SAME)] = []

    def needs_confirmation(self, marks: Collection[str]) -> bool:
        """Return whether it is an approval or edit of an item with *marks*, and not a confirmed one."""
        is_confirmed = self.confirmed and self.version is not None
        return bool(marks) and self.verdict in ("approve", "edit") and not is_confirmed


class PageVerdicts(msgspec.Struct, forbid_unknown_fields=True):
    """Verdicts to give."""

    verdicts: Annotated[list[PageVerdict], msgspec.Meta(max_length=MAX_VERDICTS)]


def owner_view(name: str) -> Fields:
    """Return the signed-in owner of the device's file *name*."""
    whom = {"actor": "owner", "name": name, "role": None, "scopes": ("read", "review")}
    return whom | {"user": None, "limits": None, "is_owner": True, "missing": ()}


def verdict_of(item: DeviceItem) -> str:
    """Return the verdict of the owner; ``open`` while the item waits."""
    if waits(item):
        return "open"
    return item.verdict if item.verdict != "open" else "approved"


def version_of(item: DeviceItem) -> int:
    """Return the revision of an item, which its label ends in."""
    return int(item.label.partition(".")[2] or 1)


# Fields of a view, with what a device does not know.
_VIEW: Final[Fields] = {
    "id": "",
    "agent": "",
    "device": None,
    "run_id": "",
    "path": "",
    "table": "",
    "title": "",
    "day": None,
    "person": None,
    "line": None,
    "provenance": None,
    "found_by": None,
    "evidence": None,
    "warnings": (),
    "verdict": "open",
    "version": 1,
    "row_id": None,
    "created_at": None,
    "answered_at": None,
    "verdict_at": None,
    "given": None,
    "device_refuses": None,
    "device_is_elsewhere": False,
    "needs_owner": False,
    "lacks": (),
    "changes": (),
    "places": (),
    "proposals": (),
    "also": (),
    "user": None,
    "quote": None,
    "excerpt": None,
    "data": None,
}


def item_view(item: DeviceItem) -> Fields:
    """Return an item of a list."""
    lacks, day = lacking(item.declaration, item.data), item.declaration.day_in(item.data)
    return _VIEW | {
        "id": str(item.number),
        "path": item.source_path or "",
        "table": item.table,
        "title": item.title,
        "day": None if day is None else day_text(day, item.remarks.timezone),
        "person": person_in(item.data),
        "line": item.remarks.line,
        "provenance": item.remarks.provenance,
        "found_by": item.remarks.found_by,
        "warnings": item.marks,
        "verdict": verdict_of(item),
        "version": version_of(item),
        "row_id": item.row_id,
        "created_at": item.at,
        "answered_at": item.at,
        "lacks": () if lacks is None else (lacks.name,),
        "changes": changes_as_texts(
            item.declaration, item.data, {**item.data, **_proposed(item)}, item.remarks.timezone
        ),
        "proposals": _own_proposals(item),
        "also": [{"id": str(other.number), "path": other.path, "line": other.line} for other in item.also],
    }


def tasks_view(name: str, page: AgendaPage, items: Mapping[str, DeviceItem], lost: Collection[str]) -> Fields:
    """Return a page of approved tasks of the device's file *name*.

    Args:
        items: by their rows; *lost*: rows whose line is not in its file any more.
    """
    tasks = [_task_view(row, items.get(row.row_id), is_missing=row.row_id in lost) for row in page.rows]
    cursor = f"{page.rows[-1].place}.{page.rows[-1].row_id}" if page.more else None
    devices = [{"name": name, "state": "present", "last_seen_at": None}]
    return {"tasks": tasks, "devices": devices, "next_cursor": cursor}


def _task_view(row: AgendaRow, item: DeviceItem | None, *, is_missing: bool) -> Fields:
    table = TABLES[row.table]
    own = {"table": row.table, "verdict": "approved", "version": 0, "row_id": row.row_id}
    if item is not None:
        own = item_view(item) | {"places": [_destination_view(destination) for destination in item.goes_to]}
        own["warnings"] = with_missing(item.marks, is_missing=is_missing)
    return (
        _VIEW
        | own
        | {
            "title": row.data[table.title],
            "created_at": from_epoch_ms(int(str(row.data["updatedAt"]))),
            "data": dates_as_texts(table, row.data, item.remarks.timezone if item else None),
            "seen_row": row.seen_row,
            "is_present": True,
            "repeats": repetition_in(item.remarks.marks) if item else "",
        }
    )


def held_view(item: HeldItem) -> Fields:
    """Return an item of the list of those that the hub holds."""
    names = ("id", "path", "table", "title", "evidence", "warnings", "created_at")
    return (
        _VIEW
        | {name: getattr(item, name) for name in names}
        | {
            "found_by": "rule",
            "verdict": "held",
            "version": item.version,
        }
    )


def held_detail(item: HeldItem) -> Fields:
    """Return an item that the hub holds with its content."""
    place = {"quote": item.quote, "start": 0, "end": 0, "sha256": None, "link": None, "excerpt": None}
    reasons = (f"marks of its task list: {' '.join(item.marks)}",) if item.marks else ()
    more = {"found": None, "before": None, "reasons": reasons, "fields": ()}
    return held_view(item) | {"data": item.data, "place": place if item.quote else None} | more


def held_counts(found: HeldItems) -> Fields:
    """Return the number of items that the hub holds."""
    names = ("tables", "devices", "agents", "warnings", "folders")
    return {"total": found.total, "is_complete": True, **{name: {} for name in names}}


def detail_view(item: DeviceItem, excerpt: Excerpt | None, others: Iterable[OthersProposal] = ()) -> Fields:
    """Return an item with its content; *others*: the proposals for it at the hub."""
    view = item_view(item)
    proposed = None if item.proposal is None else item.proposal.data
    data = {**item.data, **item.belongs_to, **(proposed or {})}
    data = {name: value for name, value in data.items() if name not in SUGGESTED}
    before = None if proposed is None else {name: item.data.get(name) for name in proposed}
    with_texts = partial(dates_as_texts, item.declaration, timezone=item.remarks.timezone)
    return view | {
        "places": [_destination_view(destination) for destination in item.goes_to],
        "proposals": (*view["proposals"], *(_others_proposal(other, view["id"]) for other in others)),
        "data": with_texts(data),
        "found": None,
        "before": None if before is None else with_texts(before),
        "place": _quote_view(item, excerpt) if item.quote else None,
        "reasons": _reasons(item),
        "fields": _fields_of(item.declaration),
    }


def _reasons(item: DeviceItem) -> list[str]:
    """Return the sentences that a reviewer reads beside the values of an item."""
    sentences = [day.sentence for day in item.remarks.counted]
    sentences += [remark.sentence for remark in item.remarks.unresolved]
    return sentences if item.source_state is None else [*sentences, item.source_state.sentence]


def _quote_view(item: DeviceItem, excerpt: Excerpt | None) -> Fields:
    offsets = {"start": item.start or 0, "end": item.end or 0}
    return {"quote": item.quote, **offsets, "sha256": None, "link": None, "excerpt": excerpt}


def _destination_view(destination: Destination) -> Fields:
    return {
        "name": destination.name,
        "kind": destination.kind,
        "state": destination.state,
        "since": from_epoch_ms(destination.at_ms),
        "sentence": place_sentence(destination.name, destination.state, destination.problem),
        "problem": destination.why or None,
        "link": destination.link,
    }


def _own_proposals(item: DeviceItem) -> tuple[Fields, ...]:
    """Return the change of an item, or its deletion, that a hub proposes; its marks are those of the item."""
    if item.proposal is None:
        return ()
    proposal = _proposal_view(
        id=item.proposal.call_id,
        item=str(item.number),
        verdict="reject" if item.proposal.data is None else "edit",
        why="the source of the item has changed",
        by=("the hub", "hub"),
        created_at=item.at,
        data=dates_as_texts(item.declaration, _proposed(item), item.remarks.timezone),
    )
    return (proposal,)


def _proposed(item: DeviceItem) -> Record:
    """Return the values that a hub proposes for an item."""
    new = {} if item.proposal is None else item.proposal.data or {}
    return {name: value for name, value in new.items() if name not in SUGGESTED}


def _others_proposal(other: OthersProposal, item: str) -> Fields:
    return _proposal_view(
        id="",
        item=item,
        verdict=other.verdict,
        why=other.why,
        by=(other.by, other.by),
        created_at=other.created_at,
        data=other.data,
        unsupported=other.unsupported,
    )


def _proposal_view(
    *,
    id: str,
    item: str,
    verdict: str,
    why: str,
    by: tuple[str, str],
    created_at: datetime,
    data: Mapping[str, Any],
    unsupported: tuple[str, ...] = (),
) -> Fields:
    """Return an open proposal. *by*: who proposes it, for people and as an audit log has it."""
    words = {"id": id, "item": item, "verdict": verdict, "why": why, "by": by[0], "actor": by[1]}
    return words | {"created_at": created_at, "data": data, "unsupported": unsupported}


def _fields_of(table: DeviceTable) -> list[Fields]:
    """Return the fields of a table that a document or the owner fills."""
    return [
        {
            "name": column.name,
            "kind": column.kind,
            "about": column.about,
            "is_required": column.required,
            "is_needed": column.required_to_approve,
            "choices": column.choices,
            "refers_to": column.refers_to,
        }
        for column in table.fields
        if column.filler is Filler.MODEL or column.refers_to is not None
    ]


def choices_view(column: Column, titles: Iterable[tuple[str, str]]) -> Fields:
    """Return the rows that a field may refer to. *titles*: their ids and titles, the newest first."""
    rows = [{"id": id, "title": title} for id, title in titles]
    return {
        "field": column.name,
        "table": column.refers_to,
        "is_required": column.required_to_approve,
        "rows": rows,
    }


def result_view(id: str, state: str | None, error: Fields | None = None) -> Fields:
    """Return the result of a verdict on the item *id*: its state, or an error."""
    return {"id": id, "state": state, "created_at": None, "reason": None, "error": error}
