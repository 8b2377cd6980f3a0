"""The ledger of items: what was found for whom, what its device has of it, and what its owner said.

One row an item, for as long as its agent: a later run, another prompt or another
source that finds it again sends nothing. ``storage.runs.plans`` writes it in the
transaction that plans a unit; who decides is a pure function that is handed in
(``hub.runs.matching``).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, CallState, RunState
from storage.kernel.columns import Int, in_parts
from storage.schema import agents, items, run_calls, runs

# The fingerprint of an item that its device told of: nobody knows what it was found by, and as what.
TAKEN: Final = ""

Verdict = Literal["open", "approved", "edited", "rejected"]
CallAction = Literal["insert", "update"]

DAY_MS = 86_400_000
MOST_OF_A_DAY = 200  # items of one table and day that are looked at for one that was found
MOST_DAYS = 100  # of one unit: what has more is a calendar, and no mail that somebody has forwarded


class FoundItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it was read in a unit.

    Attributes:
        ordinal: its place among those of its unit.
        main: what names it, folded; *likeness* is a digest of it and its table.
        quote_hash: of the folded quote, so that blanks and case make no other one.
        words_hash: of the folded quote too, whatever else *quote_hash* tells apart: as a device knows it.
        place_hash: likewise, of the whole sentences that it stands in: another prompt may quote less of them.
        date_ms: the day it is about, where it has one; UTC epoch milliseconds.
        source: what is told of its place, as it goes on the wire.
        is_by_rule: a rule read it, so it says what its source says, whatever the quote leaves out of that.
    """

    ordinal: int
    table: str
    data: dict[str, Any]
    main: str
    likeness: str
    quote_hash: str
    words_hash: str
    place_hash: str
    date_ms: int | None = None
    warnings: tuple[str, ...] = ()
    source: dict[str, Any] = {}
    is_by_rule: bool = False


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the ledger. Instants are epoch milliseconds.

    Attributes:
        agent_id: ``None``: its device told of it, and no agent has found it again yet.
        config_fingerprint: ``TAKEN``: its device told of it, so *data* may be a part, or nothing.
        data: as the newest call has it.
        source: where it was found, as told to the device; ``None``: planned by an older release, or not
            wanted by its owner.
        before: as its device has it, while the newest call changes a row and is not answered.
        call_id: of its newest call, planned in *run_id*.
        row_id: the row at its device, where it has told one.
        told_at: when the newest call was answered; ``None``: its device may not have it.
        version: how many calls it has led to.
    """

    id: str
    user_id: UserId
    agent_id: AgentId | None
    device_id: DeviceId | None
    unit_key: str
    target_table: str
    likeness: str
    quote_hash: str
    place_hash: str
    config_fingerprint: str
    data: dict[str, Any]
    before: dict[str, Any] | None = None
    date_ms: int | None = None
    warnings: tuple[str, ...] = ()
    source: dict[str, Any] | None = None
    call_id: CallId
    run_id: RunId
    row_id: str | None = None
    told_at: int | None = None
    verdict: Verdict = "open"
    verdict_at: int | None = None
    version: int = 1
    created_at: int
    updated_at: int


class KnownItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the ledger, and how its newest call stands.

    Attributes:
        call_state: ``None``: the call is not kept any more, or was dropped before it left.
        call_unit: the unit that the call was planned for last.
        held_by: the run that has the call, if it has not ended.
    """

    row: ItemRow
    call_state: CallState | None = None
    call_unit: str | None = None
    held_by: RunId | None = None


class Finder(msgspec.Struct, frozen=True, kw_only=True):
    """Who plans a unit, and when (epoch milliseconds)."""

    user_id: UserId
    agent_id: AgentId
    device_id: DeviceId | None
    run_id: RunId
    unit_key: str
    config_fingerprint: str
    at: int


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger knows: all of the unit, and what is like the found ones in the device's other units.

    *here* holds what other agents of the user found in the same unit of the same device too.
    """

    finder: Finder
    here: tuple[KnownItem, ...]
    elsewhere: tuple[KnownItem, ...]


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be made. *payload* is all that delivery needs to build it."""

    call_id: CallId
    ordinal: int
    table: str
    payload: dict[str, Any]
    action: CallAction = "insert"
    item_id: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one found item.

    Attributes:
        before: its row in the ledger; ``None``: it has none yet.
        after: the row as it is to be; ``None``: it stays as it is, or is known in another unit.
        call: what is sent; ``None``: nothing, for it is known.
        awaits: the item that its device has to have been told of before the unit is known for good.
        is_behind: its device may have something older, which has to be known first; the unit is
            read again.
    """

    before: ItemRow | None = None
    after: ItemRow | None = None
    call: PlannedCall | None = None
    awaits: str | None = None
    is_behind: bool = False


Decide = Callable[[Known], Sequence[Decision]]

_COLUMNS = [items.c[name] for name in ItemRow.__struct_fields__]
ITEMS = sa.select(*_COLUMNS)
_KNOWN = (
    sa.select(
        *_COLUMNS,
        run_calls.c.state.label("call_state"),
        run_calls.c.unit_key.label("call_unit"),
        runs.c.id.label("holder"),
        runs.c.state.label("run_state"),
    )
    .select_from(items)
    .outerjoin(run_calls, run_calls.c.call_id == items.c.call_id)
    .outerjoin(runs, runs.c.id == run_calls.c.run_id)
)
# Two agents that read the same file of one device read the same source.
_IS_HERE = sa.and_(
    items.c.unit_key == sa.bindparam("unit"),
    sa.or_(items.c.agent_id == sa.bindparam("agent"), items.c.device_id == sa.bindparam("device")),
)
# In no order: SQLite would go through all items of the user by an index that has that order.
OF_UNIT = _KNOWN.where(items.c.user_id == sa.bindparam("user"), _IS_HERE)
_ELSEWHERE = _KNOWN.where(items.c.unit_key != sa.bindparam("unit"))
# SQLite takes an index of one equal column for better than one of a list: it is not to see these two as such.
ALIKE = _ELSEWHERE.where(
    items.c.likeness.in_(sa.bindparam("likenesses", expanding=True)),
    items.c.device_id + "" == sa.bindparam("device"),
    items.c.user_id + "" == sa.bindparam("user"),
)
# By the words that it was found in: a model may call it something else each time that it is asked, and of
# what only its device has told the name may not be known.
QUOTED = _ELSEWHERE.where(
    items.c.quote_hash.in_(sa.bindparam("quotes", expanding=True)),
    items.c.device_id == sa.bindparam("device"),
    items.c.user_id + "" == sa.bindparam("user"),
)
OF_DAY = (
    _ELSEWHERE.where(
        items.c.user_id == sa.bindparam("user"),
        items.c.device_id == sa.bindparam("device"),
        items.c.target_table == sa.bindparam("table"),
        items.c.date_ms >= sa.bindparam("since"),
        items.c.date_ms < sa.bindparam("until"),
    )
    .order_by(items.c.created_at, items.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def unknown_likeness(quote_hash: str) -> str:
    """The likeness of an item whose name is not known, but its quote."""
    return f"quote {quote_hash}"


def known_items(c: sa.Connection, finder: Finder, found: Iterable[FoundItem]) -> Known:
    """What the ledger knows of a unit and of what was found in it."""
    mine = {"user": finder.user_id, "device": finder.device_id, "unit": finder.unit_key}
    here = _in_order(c.execute(OF_UNIT, mine | {"agent": finder.agent_id}))
    elsewhere: dict[str, KnownItem] = {}
    for part in in_parts(sorted({item.likeness for item in found})):
        alike = _in_order(c.execute(ALIKE, mine | {"likenesses": part}))
        elsewhere |= {one.row.id: one for one in alike}
    for part in in_parts(sorted({item.words_hash for item in found})):
        quoted = _in_order(c.execute(QUOTED, mine | {"quotes": part}))
        elsewhere |= {one.row.id: one for one in quoted}
    days = sorted({(item.table, item.date_ms // DAY_MS) for item in found if item.date_ms is not None})
    for table, day in days if len(days) <= MOST_DAYS else ():
        # A day of somebody's zone may begin on the one before, and end on the one after.
        about = {"table": table, "since": (day - 1) * DAY_MS, "until": (day + 2) * DAY_MS}
        near = c.execute(OF_DAY, mine | about | {"most": MOST_OF_A_DAY})
        elsewhere |= {row.id: _known(row) for row in near}
    return Known(finder=finder, here=tuple(here), elsewhere=tuple(elsewhere.values()))


def _in_order(rows: Iterable[Any]) -> list[KnownItem]:
    """Items of the ledger, the oldest first."""
    return sorted(map(_known, rows), key=lambda one: (one.row.created_at, one.row.id))


def _known(row: Any) -> KnownItem:
    state: RunState | None = row.run_state
    return KnownItem(
        row=item_of(row),
        call_state=row.call_state,
        call_unit=row.call_unit,
        held_by=None if state is None or state in FINAL_RUN_STATES else row.holder,
    )


def item_of(row: Any) -> ItemRow:
    """A row of ``ITEMS``."""
    told = {name: getattr(row, name) for name in ItemRow.__struct_fields__}
    return ItemRow(**(told | {"warnings": tuple(row.warnings)}))


ADD_ITEM = sa.insert(items)
_CHANGED = tuple(name for name in ItemRow.__struct_fields__ if name not in ("id", "created_at"))
CHANGE_ITEM = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"))
    .values({name: sa.bindparam(f"new_{name}", type_=items.c[name].type) for name in _CHANGED})
)


def write_items(c: sa.Connection, decisions: Sequence[Decision]) -> None:
    """What was decided, as it is to stand in the ledger."""
    fresh = [one.after for one in decisions if one.after is not None and one.before is None]
    changed = [one.after for one in decisions if one.after is not None and one.before is not None]
    if fresh:
        c.execute(ADD_ITEM, [values_of(item) for item in fresh])
    if changed:
        c.execute(CHANGE_ITEM, [change_of(item) for item in changed])


def change_of(item: ItemRow) -> dict[str, Any]:
    """What ``CHANGE_ITEM`` is executed with."""
    values = values_of(item)
    return {"item": item.id} | {f"new_{name}": values[name] for name in _CHANGED}


def values_of(item: ItemRow) -> dict[str, Any]:
    """What ``ADD_ITEM`` is executed with."""
    return msgspec.structs.asdict(item) | {"warnings": list(item.warnings)}


TOLD = (
    sa.update(items)
    .where(items.c.call_id == sa.bindparam("call"))
    .values(
        row_id=sa.func.coalesce(sa.bindparam("row", type_=sa.Text), items.c.row_id),
        before=None,
        # A verdict that came before the answer did is of this very version.
        verdict=sa.case((items.c.told_at.is_(None), "open"), else_=items.c.verdict),
        verdict_at=sa.case((items.c.told_at.is_(None), sa.null()), else_=items.c.verdict_at),
        told_at=sa.func.coalesce(items.c.told_at, sa.bindparam("now", type_=Int)),
        updated_at=sa.bindparam("now", type_=Int),
    )
)
GONE = (
    sa.update(items)
    .where(items.c.call_id == sa.bindparam("call"))
    .values(
        before=None,
        source=None,
        verdict="rejected",
        verdict_at=sa.bindparam("now", type_=Int),
        told_at=sa.bindparam("now", type_=Int),
        updated_at=sa.bindparam("now", type_=Int),
    )
)


def note_answer(c: sa.Connection, call_id: CallId, *, row_id: str | None, at: int) -> None:
    """Its device has this version of the item, in the row *row_id* where it said so."""
    c.execute(TOLD, {"call": call_id, "row": row_id, "now": at})


def note_gone(c: sa.Connection, call_id: CallId, at: int) -> None:
    """The row that the call was to change is not there any more: its owner has rejected the item."""
    c.execute(GONE, {"call": call_id, "now": at})


class ReportedVerdict(msgspec.Struct, frozen=True):
    """What the owner of a device said to what the call *call_id* brought."""

    call_id: CallId
    verdict: Literal["approved", "edited", "rejected"]


VERDICTS = sa.select(items.c.call_id, items.c.verdict).where(
    items.c.device_id == sa.bindparam("device"), items.c.call_id.in_(sa.bindparam("calls", expanding=True))
)
JUDGE = (
    sa.update(items)
    .where(items.c.device_id == sa.bindparam("device"), items.c.call_id == sa.bindparam("call"))
    .values(
        verdict=sa.bindparam("said"),
        # It is never sent again.
        source=sa.case((sa.bindparam("said") == "rejected", sa.null()), else_=items.c.source),
        verdict_at=sa.bindparam("now", type_=Int),
        told_at=sa.func.coalesce(items.c.told_at, sa.bindparam("now", type_=Int)),
        updated_at=sa.bindparam("now", type_=Int),
    )
)


def record_verdicts(
    c: sa.Connection, device_id: DeviceId, verdicts: Sequence[ReportedVerdict], at: int
) -> int:
    """Keep what the owner of a device said; returns how many of these items are known.

    Verdicts of other devices' items, and of versions that a newer one has replaced, are not.
    The same report may come again.
    """
    said = {one.call_id: one.verdict for one in verdicts}
    before: dict[str, str] = {}
    for part in in_parts(sorted(said)):
        rows = c.execute(VERDICTS, {"device": device_id, "calls": part})
        before |= {row.call_id: row.verdict for row in rows}
    changed = [
        {"device": device_id, "call": call_id, "said": said[CallId(call_id)], "now": at}
        for call_id, verdict in sorted(before.items())
        if said[CallId(call_id)] != verdict
    ]
    if changed:
        c.execute(JUDGE, changed)
    return len(before)


UNTOLD = (
    sa.select(sa.func.count())
    .select_from(items)
    .where(items.c.id.in_(sa.bindparam("ids", expanding=True)), items.c.told_at.is_(None))
)


def are_told(c: sa.Connection, ids: Sequence[str]) -> bool:
    """Whether the device of each of these items has it."""
    return all(c.execute(UNTOLD, {"ids": part}).scalar_one() == 0 for part in in_parts(ids))


NEWEST = (
    ITEMS.add_columns(agents.c.name.label("agent_name"))
    .join_from(items, agents)
    .order_by(items.c.created_at.desc(), items.c.id.desc())
)
REVIEW_QUEUE = (
    sa.select(sa.func.count())
    .select_from(items)
    .where(sa.text("items.verdict = 'open' AND items.row_id IS NOT NULL"))
)


def list_items(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    agent_id: AgentId | None = None,
    verdict: Verdict | None = None,
    run_id: RunId | None = None,
    before: tuple[int, str] | None = None,
    limit: int,
) -> list[tuple[ItemRow, str]]:
    """The newest items first, each with the name of its agent.

    Args:
        run_id: those whose newest call it has planned.
        before: *created_at* and *id* of an item; those that follow it.
    """
    query = NEWEST.limit(limit)
    if user_id is not None:
        query = query.where(items.c.user_id == user_id)
    if agent_id is not None:
        query = query.where(items.c.agent_id == agent_id)
    if verdict is not None:
        query = query.where(items.c.verdict == verdict)
    if run_id is not None:
        query = query.where(items.c.run_id == run_id)
    if before is not None:
        query = query.where(sa.tuple_(items.c.created_at, items.c.id) < sa.tuple_(*before))
    return [(item_of(row), row.agent_name) for row in c.execute(query)]


def count_open(c: sa.Connection) -> int:
    """How many items are at their devices and wait for their owner's word."""
    return c.execute(REVIEW_QUEUE).scalar_one()
