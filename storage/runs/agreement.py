"""Known state of each device's store: counters, rows to compare, losses on either side.

A store has an id, and a counter that grows with every row that a hub wrote. The ledger of items has all rows
up to the counter stored here; later rows are fetched page by page. A store that is new, or lost rows, is
compared completely afterwards: items that the ledger has and the device lacks are sent again.

A hub writes what it learned over a connection only as long as the device has no newer one.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.calls import RowPlace
from protocol.errors import CodedError, ErrorCode
from protocol.handshake import StoreMark
from protocol.ids import CallId, DeviceId, content_of, derive_call_id
from storage import audit
from storage.kernel.columns import (
    columns_of,
    execute_among,
    listed,
    struct_from,
    struct_or_none,
    structs_from,
    values_of,
)
from storage.runs import item_verdicts
from storage.runs.calls import IS_OPEN, ReportedVerdict, check_newest, record_verdicts
from storage.runs.item_words import follow
from storage.runs.items import (
    ITEMS,
    TAKEN,
    ItemRow,
    change_item,
    end_review,
    note_answers,
    note_places,
)
from storage.runs.units import spoil_trees_of_device
from storage.schema import agents, device_stores, items, run_calls, unit_ledger

Cause = Literal["first", "store_older", "store_replaced", "hub_older", "asked"]

MAX_VERSIONS: Final = 50  # of an item, in a row, which its device may have refused
FROM_THE_START: Final = ""  # value of *resend_after*: less than every call id


class StoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of the agreement with a device's store. Instants are epoch milliseconds.

    Attributes:
        counter: all rows up to it are in the ledger.
        resend_after: last call id compared with the store so far; ``None``: no comparison is due.
        cause: cause of the last comparison, or of the running one until *agreed_at*.
        sent, taken, refused: numbers of rows that were sent again, added to the ledger, refused by the
            device.
        problem: reason why the last attempt failed.
    """

    device_id: DeviceId
    store_id: str
    counter: int
    resend_after: str | None
    cause: Cause
    began_at: int
    agreed_at: int | None
    sent: int
    taken: int
    refused: int
    problem: str | None


class ReportedRow(msgspec.Struct, frozen=True):
    """Row of a device as a new item, with the device's counter for it as *version*.

    *inserted_by*: the call that inserted the row, if its newest call is another one. *places*: where the row
    is outside of the device's file; None: the device does not report it.
    """

    item: ItemRow
    inserted_by: str | None = None
    places: Sequence[RowPlace] | None = None


class Resent(msgspec.Struct, frozen=True):
    """Item that its device stores again; *row_id*: its row, if the device named it."""

    item_id: str
    row_id: str | None


STORES = sa.select(*columns_of(StoreRow, device_stores))
STORE = STORES.where(device_stores.c.device_id == sa.bindparam("device"))
COMPARED = sa.update(device_stores).where(device_stores.c.device_id == sa.bindparam("device"))
BEGIN = {
    "counter": 0,
    "resend_after": FROM_THE_START,
    "agreed_at": None,
    "sent": 0,
    "taken": 0,
    "refused": 0,
    "problem": None,
}


def find_store(c: sa.Connection, device_id: DeviceId) -> StoreRow | None:
    """Return the state of the device's store; ``None``: the device never reported a store."""
    return struct_or_none(StoreRow, c.execute(STORE, {"device": device_id}).one_or_none())


def find_stores(c: sa.Connection, device_ids: Collection[DeviceId]) -> dict[DeviceId, StoreRow]:
    """Return the states of those of the devices' stores that are known, by device."""
    query = STORES.where(device_stores.c.device_id.in_(listed(sa.bindparam("ids"))))
    return {
        row.device_id: row for row in structs_from(StoreRow, c.execute(query, {"ids": sorted(device_ids)}))
    }


def differing_stores(c: sa.Connection, *, agreed_since: int, limit: int = 200) -> list[StoreRow]:
    """Return stores that do not agree with the ledger, or agreed lately after a difference."""
    is_open = sa.and_(
        device_stores.c.agreed_at.is_(None),
        sa.or_(device_stores.c.cause != "first", device_stores.c.problem.is_not(None)),
    )
    has_differed = device_stores.c.sent + device_stores.c.taken + device_stores.c.refused > 0
    is_late = sa.and_(device_stores.c.agreed_at >= agreed_since, has_differed)
    query = STORES.where(sa.or_(is_open, is_late)).order_by(device_stores.c.device_id).limit(limit)
    return structs_from(StoreRow, c.execute(query))


def mark_of(known: StoreRow) -> StoreMark:
    """Return the store's known id and counter, as sent to its device."""
    return StoreMark(id=known.store_id, counter=known.counter)


def is_to_compare(known: StoreRow | None, mark: StoreMark) -> bool:
    """Return True if the store is new, or has a lower counter than is known."""
    return known is None or known.store_id != mark.id or known.counter > mark.counter


def greet(c: sa.Connection, device_id: DeviceId, mark: StoreMark, at: int) -> None:
    """Process a device's report of its store: start a comparison if the store is new or lost rows."""
    known = find_store(c, device_id)
    if not is_to_compare(known, mark):
        return
    if known is None:
        c.execute(
            sa.insert(device_stores),
            {"device_id": device_id, "store_id": mark.id, "cause": "first", "began_at": at} | BEGIN,
        )
        return
    cause: Cause = "store_older" if known.store_id == mark.id else "store_replaced"
    _begin(c, device_id, cause, at, store_id=mark.id)


def compare_again(c: sa.Connection, device_id: DeviceId, at: int, *, actor: str) -> None:
    """Request a comparison of the ledger with the device's store at its next connection.

    Raises:
        CodedError (CALL_UNSUPPORTED): the device never reported a store.
    """
    if not _begin(c, device_id, "asked", at):
        raise CodedError(
            ErrorCode.CALL_UNSUPPORTED,
            "this device cannot tell which rows it has; let it run a newer program",
        )
    audit.append(c, at=at, actor=actor, event="device.resynced", subject=device_id)


def _begin(c: sa.Connection, device_id: DeviceId, cause: Cause, at: int, **more: Any) -> bool:
    begun = COMPARED.values(cause=cause, began_at=at, **BEGIN, **more)
    return c.execute(begun, {"device": device_id}).rowcount > 0


def note_problem(c: sa.Connection, device_id: DeviceId, problem: str | None, *, epoch: int) -> None:
    """Record why the comparison over the connection *epoch* failed, or ``None``.

    Raises:
        LinkLost: the device has a newer connection; nothing was written.
    """
    check_newest(c, device_id, epoch)
    c.execute(COMPARED.values(problem=problem), {"device": device_id})


# --- items that the device lost ---

AT_DEVICE = (
    ITEMS.add_columns(run_calls.c.payload)
    .outerjoin_from(items, run_calls, run_calls.c.call_id == items.c.call_id)
    .where(
        items.c.device_id == sa.bindparam("device"),
        items.c.call_id > sa.bindparam("after"),
        items.c.answered_at.is_not(None) | items.c.row_id.is_not(None),
        items.c.verdict != "rejected",
    )
    .order_by(items.c.call_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
HAS_AGAIN = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"))
    .values(
        row_id=sa.func.coalesce(sa.bindparam("row", type_=sa.Text), items.c.row_id),
        verdict="open",
        verdict_at=None,
        places=[],
        updated_at=sa.bindparam("now"),
    )
)
CHANGING = ITEMS.where(items.c.id.in_(sa.bindparam("ids", expanding=True)), items.c.answered_at.is_(None))
FORGET_ITEM = sa.delete(items).where(items.c.id == sa.bindparam("item"))
DETACH = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"), items.c.row_id == sa.bindparam("row"))
    .values(row_id=None)
)
READ_ALL_AGAIN = (
    sa.update(unit_ledger)
    .where(
        unit_ledger.c.agent_id.in_(sa.select(agents.c.id).where(agents.c.device_id == sa.bindparam("device")))
    )
    .values(content_hash="")  # the entry stays: without one the unit would count as gone
)
READ_AGAIN = READ_ALL_AGAIN.where(unit_ledger.c.unit_key == sa.bindparam("unit"))


def list_at_device(c: sa.Connection, device_id: DeviceId, *, after: str, limit: int) -> list[ItemRow]:
    """Return items with a row at the device, by call id, without those that its owner rejected.

    Those whose newest call is not answered yet are among them, if an older one has made their row.

    Their *source* and *data* are completed from the planned payloads, as long as these are stored; *data* is
    empty if one of both is not completely known. An item has no source after its owner rejected it, which the
    owner of a restored device may not have done yet.
    """
    found = c.execute(AT_DEVICE, {"device": device_id, "after": after, "most": limit}).all()
    return [_whole(struct_from(ItemRow, row), row.payload or {}) for row in found]


def _whole(item: ItemRow, payload: dict[str, Any]) -> ItemRow:
    data = item.data
    if item.config_fingerprint == TAKEN and item.verdict != "open":  # the device reported at most its name
        data = payload.get("data", {}) if payload.get("action", "insert") == "insert" else {}
    source = item.source or payload.get("source")
    return msgspec.structs.replace(item, data=data if source else {}, source=source)


def note_resent(
    c: sa.Connection,
    device_id: DeviceId,
    resent: Sequence[Resent],
    *,
    unknown: Sequence[ItemRow] = (),
    rowless: Sequence[ItemRow] = (),
    deleted: Sequence[ItemRow] = (),
    refused: int = 0,
    after: str | None,
    epoch: int,
    at: int,
) -> None:
    """Record the comparison up to the call *after*; ``None``: to the end.

    A run may have planned a newer version of an item meanwhile: that version then goes to the item's new row.

    Args:
        unknown: items that the device lost and whose data the hub does not know: all sources of the device
            are read again, as each of them may have the same sentence, for which the row stood.
        rowless: items whose call on its way changes a row that the device lost: it inserts them instead.
        deleted: items whose row their owner deleted meanwhile; they are rejected then.
        refused: number of items that the device did not accept.
        epoch: number of the connection over which the items were sent.

    Raises:
        LinkLost: the device has a newer connection; nothing was written.
    """
    check_newest(c, device_id, epoch)
    lacking = {item.id: item for item in (*unknown, *rowless)}
    compared = sorted({*lacking} | {call.item_id for call in resent})
    found = execute_among(c, CHANGING, "ids", compared)
    changing = {row.id: struct_from(ItemRow, row) for row in found}  # whose newest call has no answer yet
    for call in resent:
        if call.item_id in changing and call.row_id is not None:
            _change_row(c, changing[call.item_id], call.row_id)
        c.execute(HAS_AGAIN, {"item": call.item_id, "row": call.row_id, "now": at})
    follow(c, [call.item_id for call in resent])
    for id in sorted(lacking.keys() & changing.keys()):
        _insert_instead(c, changing[id])
    forgotten = [id for id, item in lacking.items() if id not in changing and item.answered_at is not None]
    for id in forgotten:
        item_verdicts.withdraw_with(c, id)
        c.execute(FORGET_ITEM, {"item": id})
    if forgotten:
        c.execute(READ_ALL_AGAIN, {"device": device_id})
        spoil_trees_of_device(c, device_id)
    record_verdicts(c, device_id, [ReportedVerdict(item.call_id, "rejected") for item in deleted], at)
    counted = {
        "sent": device_stores.c.sent + len(resent),
        "refused": device_stores.c.refused + refused,
        "problem": None,
    }
    c.execute(COMPARED.values(resend_after=after, **counted), {"device": device_id})


# --- rows that the hub does not know ---

_MINE = ITEMS.where(items.c.device_id == sa.bindparam("device"))
PLANNED = sa.select(run_calls.c.call_id, run_calls.c.item_id).where(
    run_calls.c.call_id.in_(sa.bindparam("calls", expanding=True))
)
BY_IDS = _MINE.where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
BY_CALLS = _MINE.where(items.c.call_id.in_(sa.bindparam("calls", expanding=True)))
BY_ROWS = _MINE.where(items.c.row_id.in_(sa.bindparam("rows", expanding=True)))
OF_QUOTES = _MINE.where(
    items.c.quote_hash.in_(sa.bindparam("quotes", expanding=True)),
    items.c.verdict.not_in(("rejected", "held")),
).order_by(items.c.call_id)
ON_ITS_WAY = sa.select(run_calls.c.call_id).where(run_calls.c.call_id == sa.bindparam("call"), IS_OPEN)
PAYLOAD = sa.select(run_calls.c.payload).where(run_calls.c.call_id == sa.bindparam("call"))
CHANGE_CALL = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"))
    .values(action=sa.bindparam("does"), payload=sa.bindparam("changes"))
)

_Place = tuple[str, str, str]


class _Ledger:
    """Ledger entries for some rows of a device.

    Attributes:
        planned: those of their calls that this hub planned.
        by_id: items of these calls and rows.
    """

    def __init__(self, c: sa.Connection, device_id: DeviceId, reported: Sequence[ReportedRow]) -> None:
        calls = {str(row.item.call_id) for row in reported} | {row.inserted_by or "" for row in reported}
        self._by_place: dict[_Place, list[ItemRow]] = {}
        here = {"device": device_id}
        planned = execute_among(c, PLANNED, "calls", sorted(calls))
        item_of_call: dict[str, str | None] = {row.call_id: row.item_id for row in planned}
        found = execute_among(c, BY_CALLS, "calls", sorted(calls), here)
        self._by_call = {row.call_id: struct_from(ItemRow, row) for row in found}
        self.planned = item_of_call.keys()
        ids = {str(item_id) for item_id in item_of_call.values()} | {row.item.id for row in reported}
        found = execute_among(c, BY_IDS, "ids", sorted(ids), here)
        self.by_id = {row.id: struct_from(ItemRow, row) for row in found}
        self._by_older_call = {call: self.by_id[id] for call, id in item_of_call.items() if id in self.by_id}
        found = execute_among(c, BY_ROWS, "rows", sorted({row.item.row_id or "" for row in reported}), here)
        self._by_row: dict[str | None, ItemRow] = {row.row_id: struct_from(ItemRow, row) for row in found}
        quotes = sorted({row.item.quote_hash for row in reported})
        for row in execute_among(c, OF_QUOTES, "quotes", quotes, here):
            if row.call_id not in calls:
                item = struct_from(ItemRow, row)
                self._by_place.setdefault(_place_of(item), []).append(item)

    def find(self, row: ReportedRow) -> ItemRow | None:
        """Return the item of the row: by its calls, or by the row id in the ledger."""
        call_id, inserted_by = row.item.call_id, row.inserted_by or ""
        return (
            self._by_call.get(call_id)
            or self._by_row.get(row.item.row_id)
            or self._by_call.get(inserted_by)
            or self._by_older_call.get(call_id)
            or self._by_older_call.get(inserted_by)
            or self.by_id.get(row.item.id)
        )

    def other_of_row(self, known: ItemRow, row_id: str | None) -> ItemRow | None:
        """Return the item, if not *known*, whose row this is too according to the ledger."""
        other = self._by_row.get(row_id)
        return None if other is None or other.id == known.id else other

    def of_place(self, item: ItemRow) -> list[ItemRow]:
        """Return items of the same words of the same source that are not rejected, and not of these rows."""
        has_quote = bool((item.source or {}).get("quote")) and item.verdict != "rejected"
        return self._by_place.get(_place_of(item), []) if has_quote else []

    def coming(self, item: ItemRow, rowless: Collection[str]) -> ItemRow | None:
        """Take out one *of_place* that a call on its way is to insert, or to bring to a row that is lost."""
        coming = (known for known in self.of_place(item) if known.answered_at is None)
        found = (item for item in coming if item.row_id is None or item.call_id in rowless)
        if (one := next(found, None)) is not None:
            self.of_place(item).remove(one)
        return one

    def is_older(self, row: ItemRow, known: ItemRow) -> bool:
        """Return whether the ledger has the item as *row* tells it, or in a later version."""
        return row.call_id in self.planned or row.id == known.id


def _place_of(item: ItemRow) -> _Place:
    return item.target_table, item.unit_key, item.quote_hash


def list_doubtful(
    c: sa.Connection, reported: Sequence[ReportedRow], *, device_id: DeviceId
) -> dict[CallId, str | None]:
    """Return calls that the device must confirm before ``take_rows``, with the rows of their items.

    They are the newest calls of items whose rows the device may have reported under another call: also one
    on its way to such a row, since only the device knows whether it came before the reported call. A call
    that brings the words of a reported row to another row is among them too: that row may be lost.
    """
    ledger = _Ledger(c, device_id, reported)
    found: dict[CallId, str | None] = {}
    for row in reported:
        known = ledger.find(row)
        if known is None or known.call_id != row.item.call_id:
            found |= {
                known_item.call_id: known_item.row_id
                for known_item in (*ledger.of_place(row.item), *([known] if known else ()))
                if known_item.answered_at is not None
                and known_item.verdict != "rejected"
                and known_item.row_id != row.item.row_id
            }
            found |= {
                known_item.call_id: known_item.row_id
                for known_item in ledger.of_place(row.item)
                if known_item.answered_at is None and known_item.row_id not in (None, row.item.row_id)
            }
            if known is not None and known.answered_at is None and not ledger.is_older(row.item, known):
                found[known.call_id] = known.row_id
        elif (other := ledger.other_of_row(known, row.item.row_id)) is not None:
            found[other.call_id] = other.row_id
    return found


def take_rows(
    c: sa.Connection,
    reported: Sequence[ReportedRow],
    *,
    device_id: DeviceId,
    epoch: int,
    mark: StoreMark,
    is_last: bool,
    at: int,
    lost: Collection[str] = (),
    rowless: Collection[str] = (),
) -> int:
    """Add the rows that the device reported to the ledger, as far as they are new. Return their number.

    Of a row that is known, only its place, call and verdict count.

    Args:
        epoch: number of the connection over which the rows were reported.
        mark: the store's id, and the counter up to which the reported rows go.
        is_last: no rows follow.
        lost: those of ``list_doubtful`` that the device has not done.
        rowless: those of items whose row in the ledger the device does not have.

    Raises:
        LinkLost: the device has a newer connection; nothing was written.
    """
    check_newest(c, device_id, epoch)
    ledger = _Ledger(c, device_id, reported)
    taken = sum(_admit_row(c, row, ledger, {*lost}, rowless, at) for row in reported)
    reported_items = [row.item for row in reported]
    words = [
        ReportedVerdict(reported_item.call_id, reported_item.verdict)
        for reported_item in reported_items
        if reported_item.verdict != "open" and reported_item.verdict != "held"
    ]
    record_verdicts(c, device_id, words, at)
    placed = {row.item.row_id: row.places for row in reported if row.places is not None}
    note_places(c, device_id, {row_id: places for row_id, places in placed.items() if row_id is not None})
    item_verdicts.note_listed(
        c, device_id, {reported_item.call_id: reported_item.version for reported_item in reported_items}
    )
    _note_taken(c, device_id, mark, taken, is_last=is_last, at=at)
    return taken


def _admit_row(
    c: sa.Connection, row: ReportedRow, ledger: _Ledger, lost: set[str], rowless: Collection[str], at: int
) -> bool:
    """Add one row. Return True if it was news for the ledger."""
    one, known = row.item, ledger.find(row)
    if known is not None and known.call_id == one.call_id:
        other = ledger.other_of_row(known, one.row_id)
        if other is not None and other.call_id not in lost:  # else it is sent again
            _take_row(c, other)
        if one.verdict == "open" and (known.verdict != "open" or known.source is None):
            # a verdict was undone, or its device restored
            source = known.source or one.source
            again = {
                "verdict": "open",
                "verdict_at": None,
                "same_as": None,
                "source": source,
                "updated_at": at,
            }
            change_item(c, msgspec.structs.replace(known, **again))
        if known.answered_at is None or known.row_id != one.row_id:
            note_answers(c, {one.call_id: one.row_id}, at)
        return False
    if known is not None and known.verdict == one.verdict == "rejected":
        return False  # no call changed the row since
    if known is not None and known.verdict != "rejected" and not ledger.is_older(one, known):
        if known.call_id in lost and c.execute(ON_ITS_WAY, {"call": known.call_id}).first() is not None:
            _change_older_row(c, known, one)
            return False  # an older row, which that call is still to change
        _take_newer(c, known, one, at)
        return True
    lost_elsewhere = (
        other for other in ledger.of_place(one) if other.call_id in lost and other.answered_at is not None
    )
    if (other := next(lost_elsewhere, None)) is not None:
        lost.remove(other.call_id)
        _take_newer(c, other, one, at)
        _detach(c, known, one)
        return True
    if known is not None and known.verdict != "rejected":
        if known.row_id == one.row_id:
            payload = c.execute(PAYLOAD, {"call": known.call_id}).scalar()
            if _whole(known, payload or {}).data:
                _change_older_row(c, known, one)
                return False  # a call brings its newer version
            _take_newer(c, known, one, at)
            return True
        if known.answered_at is None or known.call_id in lost:
            _change_older_row(c, known, one)
            return False
        if known.call_id in rowless:  # its device lost the row, had it again as another one, and lost that
            change_item(c, msgspec.structs.replace(known, row_id=one.row_id))
            return False
    # Of no item; or a device of an older day shows its owner what was rejected in a later version.
    _detach(c, known, one)
    if (other := ledger.coming(one, rowless)) is not None:
        _change_older_row(c, other, one)
    else:
        # The id of its call may be that of an item which the call made on a lost day.
        id = f"{one.id}-{one.row_id}" if one.id in ledger.by_id else one.id
        c.execute(sa.insert(items), values_of(one, items, id=id))
        follow(c, [id])
    return True


def _detach(c: sa.Connection, known: ItemRow | None, one: ItemRow) -> None:
    """Clear the row of the item *known*, if it is the row of *one*.

    An earlier report may have given *known* another row and other words since the ledger was read.
    """
    if known is not None and one.verdict != "rejected":
        c.execute(DETACH, {"item": known.id, "row": one.row_id})


def _take_row(c: sa.Connection, item: ItemRow) -> None:
    """Take its row from an item: the device, restored to a later day, has another one's words in it."""
    if item.answered_at is not None and item.verdict != "rejected":
        c.execute(FORGET_ITEM, {"item": item.id})
        _read_again(c, item.unit_key, item.device_id)
        return
    _insert_instead(c, item)


def _insert_instead(c: sa.Connection, item: ItemRow) -> None:
    """Make the newest call of an item insert it, as it has no row any more."""
    change_item(c, msgspec.structs.replace(item, row_id=None, before=None))
    if item.data:
        _change_call(c, item, {"action": "insert", "where": {}, "data": item.data})


def _change_row(c: sa.Connection, item: ItemRow, row_id: str | None) -> None:
    """Make the newest call of an item update the row *row_id*, whatever its previous target."""
    change_item(c, msgspec.structs.replace(item, row_id=row_id))
    _change_call(c, item, {"action": "update", "where": {"id": row_id}})


def _change_older_row(c: sa.Connection, item: ItemRow, one: ItemRow) -> None:
    """Make the newest call of an item update the row *one*, which has an older version of it.

    The call writes only what differs from *before*. If the row has another version than that, it writes all.
    """
    if item.row_id != one.row_id:
        _change_row(c, item, one.row_id)
    if item.answered_at is None and item.before and not _has_before(item, one):
        change_item(c, msgspec.structs.replace(item, row_id=one.row_id, before={}))
        if item.data:
            _change_call(c, item, {"data": item.data})


def _has_before(item: ItemRow, one: ItemRow) -> bool:
    """Return True if a row was written by the call that brought *before*, which came before some others."""
    content = content_of(item.before or {})
    versions = range(max(item.version - MAX_VERSIONS, 1), item.version)
    calls = (derive_call_id(item_id=item.id, version=version, content=content) for version in versions)
    return one.call_id in calls


def _change_call(c: sa.Connection, item: ItemRow, changes: dict[str, Any]) -> None:
    """Change the newest call of an item, if it has no answer yet."""
    payload = c.execute(PAYLOAD, {"call": item.call_id}).scalar()
    if item.answered_at is None and payload is not None:
        changed = {"action": "insert"} | payload | changes
        c.execute(CHANGE_CALL, {"call": item.call_id, "does": changed["action"], "changes": changed})


def _read_again(c: sa.Connection, unit_key: str, device_id: DeviceId | None) -> None:
    c.execute(READ_AGAIN, {"unit": unit_key, "device": device_id})
    spoil_trees_of_device(c, device_id)


def _take_newer(c: sa.Connection, known: ItemRow, one: ItemRow, at: int) -> None:
    """Change an item to the device's version, which has no excerpt until its source is read again."""
    change_item(c, _newer(known, one))
    end_review(c, [one.call_id], at)
    _read_again(c, known.unit_key, known.device_id)


def _newer(known: ItemRow, reported: ItemRow) -> ItemRow:
    """Return the item in the device's version, which is later than the ledger's."""
    return msgspec.structs.replace(
        known,
        call_id=reported.call_id,
        row_id=reported.row_id,
        answered_at=known.answered_at or reported.answered_at,
        before=None,
        # Never a lower version: the id of its next call would be one that the device has answered.
        version=max(known.version, reported.version),
        config_fingerprint=TAKEN,
        quote_hash=reported.quote_hash,
        place_hash=reported.place_hash,
        source=reported.source,
        data=reported.data,
        likeness=reported.likeness,
        updated_at=reported.updated_at,
    )


def _note_taken(
    c: sa.Connection, device_id: DeviceId, mark: StoreMark, count: int, *, is_last: bool, at: int
) -> None:
    known = find_store(c, device_id)
    if known is None:
        return  # the device was deleted meanwhile
    changes: dict[str, Any] = {"store_id": mark.id, "counter": mark.counter, "problem": None}
    if count and known.agreed_at is not None:  # no comparison was due: the hub was restored from a backup
        changes |= {"cause": "hub_older", "began_at": at, "agreed_at": None, "sent": 0, "refused": 0}
        changes["taken"] = count
    elif count:
        cause = "hub_older" if known.cause == "first" else known.cause
        changes |= {"cause": cause, "taken": known.taken + count}
    if is_last and (known.agreed_at is None or count):
        changes["agreed_at"] = at
    if any(getattr(known, name) != value for name, value in changes.items()):
        c.execute(COMPARED.values(**changes), {"device": device_id})
