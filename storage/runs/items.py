"""Ledger of items in the database: rows, known items for comparison, answers and verdicts.

An item has one row as long as its device may have it (``orphans``): if a later run, another prompt or another
source finds it again, nothing is sent. ``storage.runs.plans`` writes the row in the transaction that plans a
unit. A pure function that is passed in makes the decisions (``hub.runs.matching``). ``known_items`` selects
the rows that it compares: of the unit, of the same name or quote, and of the same days. Days are left out if
the unit has more than ``MAX_DAYS``.

An item whose row the device no longer has when an update arrives there counts as rejected.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, zip_longest
from typing import Any, Final, Literal, get_args

import msgspec
import sqlalchemy as sa

from protocol.calls import RowPlace, RowState
from protocol.errors import CodedError, ErrorCode
from protocol.grants import NO_LIMITS, TokenLimits
from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId, derive_item_ids
from protocol.items import Rank
from protocol.lifecycles import FINAL_RUN_STATES, CallState, RunState
from protocol.tables import DeviceTable
from storage.agents import configs
from storage.kernel.columns import (
    Int,
    as_stored,
    columns_of,
    execute_among,
    execute_for_each,
    in_parts,
    listed_keys,
    struct_from,
    unindexed,
    values_of,
    whole_id,
)
from storage.runs.item_proposals import withdraw
from storage.runs.item_words import BY_CALL, add_words, follow
from storage.schema import (
    agents,
    devices,
    item_excerpts,
    items,
    run_calls,
    runs,
)

MAX_JUDGED: Final = 500
_MAX_EXAMINED: Final = 5_000  # verdicts of an owner, among which those of one agent are searched


DROP_OF_CALLS = sa.delete(item_excerpts).where(
    item_excerpts.c.item_id.in_(
        sa.select(items.c.id).where(items.c.call_id.in_(sa.bindparam("calls", expanding=True)))
    )
)


def end_review(c: sa.Connection, call_ids: Sequence[str], at: int) -> None:
    """Delete the excerpts of the items with these calls, and withdraw the proposals about them."""
    execute_among(c, DROP_OF_CALLS, "calls", call_ids)
    withdraw(c, call_ids, at)


# Fingerprint of an item that its device reported: which config found it is unknown.
TAKEN: Final = ""

Verdict = Literal[RowState, "held"]
VERDICTS: Final[tuple[RowState, ...]] = get_args(RowState)  # of an item that is, or was, for its device
OWNED: Final = ("approved", "edited")  # verdicts that make an item of any author its owner's
CallAction = Literal["insert", "update"]

DAY_MS = 86_400_000
MAX_OF_A_DAY = 200  # items of one table and day that are compared with a new item
MAX_DAYS = 100  # of one unit: a unit with more days is a calendar and no forwarded mail


class FoundItem(msgspec.Struct, frozen=True, kw_only=True):
    """Item as extracted from a unit.

    Attributes:
        declaration: of its table.
        ordinal: its position among the unit's items.
        main: normalized name; *likeness* is a digest of it and its table.
        quote_hash: hash of the normalized quote, independent of blanks and case.
        words_hash: hash of the normalized quote alone, as a device knows it, without the other parts of
            *quote_hash*.
        place_hash: hash of the sentences that contain the quote, because another prompt may quote less of
            them.
        date_ms: its day, if any; UTC epoch milliseconds.
        source: description of its place, as sent to the device.
        is_by_rule: a rule extracted it, so it matches its source even where the quote is shorter.
        is_of_event: *place_hash* says which date of the unit's event it is, not where it is.
        is_unsure: it is held at the hub until its owner approves it, unless a device has it already.
        evidence: kind of evidence by which a rule found it; None: a model did.
        rank: of the author of its words.
    """

    ordinal: int
    declaration: DeviceTable
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
    is_of_event: bool = False
    is_unsure: bool = False
    evidence: str | None = None
    rank: Rank = Rank.OWN

    @property
    def table(self) -> str:
        """Name of its table."""
        return self.declaration.name


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """Item of the ledger. Instants are epoch milliseconds.

    Attributes:
        agent_id: ``None``: its device reported it, and no agent has found it again yet.
        config_fingerprint: ``TAKEN``: its device reported it, so *data* may be partial or empty.
        data: data of the newest call.
        source: its place, as sent to the device; ``None``: planned by an older release, or rejected by its
            owner.
        places: where it is outside of its device's file, as the device reported; *row_id* says of which row.
        before: data that its device has while the newest call, an update, is not answered, or not
            decided about by its owner.
        call_id: its newest call, planned in *run_id*.
        row_id: its row at the device, if reported.
        answered_at: time of the answer to the newest call; ``None``: its device may not have it.
        verdict: ``held``: rules are unsure of it. No device has it, no run plans its call, and no list has it
            that does not ask for it.
        version: number of its calls.
        evidence: kind of evidence by which a rule found it; None: a model did, or an older release.
        same_as: of an item that was rejected because another one says the same, that one.
        rank: of the author of its words (``Rank``); None: its device or an older release recorded it.
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
    places: tuple[RowPlace, ...] = ()
    call_id: CallId
    run_id: RunId
    row_id: str | None = None
    answered_at: int | None = None
    verdict: Verdict = "open"
    verdict_at: int | None = None
    version: int = 1
    created_at: int
    updated_at: int
    evidence: str | None = None
    same_as: str | None = None
    rank: int | None = None

    @property
    def least_rank(self) -> int:
        """Its rank; the highest if it is approved or not known, so that no item is compared in its place."""
        return Rank.OWN if self.rank is None or self.verdict in OWNED else self.rank


class KnownItem(msgspec.Struct, frozen=True, kw_only=True):
    """Item of the ledger with the state of its newest call.

    Attributes:
        call_state: ``None``: the call's row was deleted, or the call was dropped before sending.
        call_unit: the unit that the call was last planned for.
        held_by: the run of the call, if it has not ended.
    """

    row: ItemRow
    call_state: CallState | None = None
    call_unit: str | None = None
    held_by: RunId | None = None


class _ItemIds(dict[tuple[str, int], str]):
    def __init__(self, derive: Callable[[str, int], str]) -> None:
        self._derive = derive

    def __missing__(self, key: tuple[str, int]) -> str:
        self[key] = derived = self._derive(*key)
        return derived


class Finder(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Planner of a unit; *at* in epoch milliseconds."""

    user_id: UserId
    agent_id: AgentId
    device_id: DeviceId | None
    run_id: RunId
    unit_key: str
    config_fingerprint: str
    at: int

    @cached_property
    def item_ids(self) -> Mapping[tuple[str, int], str]:
        """Ids of items of the unit, by likeness and number; each is derived once."""
        return _ItemIds(derive_item_ids(user_id=self.user_id, agent_id=self.agent_id, unit_key=self.unit_key))


class KnownItems(msgspec.Struct, frozen=True, kw_only=True):
    """Known items: all of the unit, and similar ones of the device's other units.

    *here* includes items that other agents of the user found in the same unit of the same device. *is_used*
    tells whether an item of another unit has an id: one that began here, and that a line there took over.
    """

    finder: Finder
    here: tuple[KnownItem, ...]
    elsewhere: tuple[KnownItem, ...]
    is_used: Callable[[str], bool] = frozenset[str]().__contains__


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True):
    """Call to send. *payload*: all that delivery needs to build it."""

    call_id: CallId
    ordinal: int
    table: str
    payload: dict[str, Any]
    action: CallAction = "insert"
    item_id: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Decision about an extracted item.

    Attributes:
        before: its row in the ledger; ``None``: it has none yet.
        after: its new row; ``None``: unchanged, or known in another unit.
        call: call to send; ``None``: none, because the item is known.
        awaits: item that its device must have before the unit is done.
        is_behind: its device may have an older version, which must be settled first; the unit is read again.
        elsewhere: item of another source that says the same; nothing is sent for this one.
        skipped: why nothing is sent for an item that is not known, if so; ``missing``: for a known one
            that was not extracted.
    """

    before: ItemRow | None = None
    after: ItemRow | None = None
    call: PlannedCall | None = None
    awaits: str | None = None
    is_behind: bool = False
    elsewhere: ItemRow | None = None
    skipped: Literal["done", "unwanted", "missing"] | None = None

    @property
    def is_new(self) -> bool:
        """True if the device gets a new item: of a row that the ledger gets, or holds so far."""
        return self.call is not None and (self.before is None or self.before.verdict == "held")

    @property
    def is_held(self) -> bool:
        """True if the hub goes on to hold the item, or begins to."""
        row = self.after or self.before
        return self.call is None and row is not None and row.verdict == "held"


Decide = Callable[[KnownItems], Sequence[Decision]]

_COLUMNS = columns_of(ItemRow, items)
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
# Unordered: to sort, SQLite would scan all items of the user by an ordered index.
OF_UNITS = _KNOWN.where(
    items.c.user_id == sa.bindparam("user"),
    items.c.unit_key.in_(sa.bindparam("units", expanding=True)),
    # Agents that read the same file of one device read the same source.
    sa.or_(
        items.c.agent_id.in_(sa.bindparam("agents", expanding=True)),
        items.c.device_id == sa.bindparam("device"),
    ),
)
# SQLite prefers an index on an equal column to one on a list: the empty text hides these two columns.
ALIKE = _KNOWN.where(
    items.c.likeness.in_(sa.bindparam("likenesses", expanding=True)),
    items.c.device_id + "" == sa.bindparam("device"),
    items.c.user_id + "" == sa.bindparam("user"),
)
# By quote: a model may name the same item differently each time, and a device may report an item without its
# name.
QUOTED = _KNOWN.where(
    items.c.quote_hash.in_(sa.bindparam("quotes", expanding=True)),
    items.c.device_id == sa.bindparam("device"),
    items.c.user_id + "" == sa.bindparam("user"),
)
# One statement, because each costs the hub and a server more than its rows.
NAMED = _KNOWN.where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
NEAR = sa.union_all(OF_UNITS, ALIKE, QUOTED, NAMED)
# Items of others leave out no item of the owner; one of an unknown rank may be the owner's.
RANK: Final = sa.case(
    (items.c.verdict.in_(OWNED), int(Rank.OWN)), else_=sa.func.coalesce(items.c.rank, int(Rank.OWN))
)
OF_DAY = (
    _KNOWN.where(
        items.c.user_id == sa.bindparam("user"),
        items.c.device_id == sa.bindparam("device"),
        items.c.target_table == sa.bindparam("table"),
        items.c.date_ms >= sa.bindparam("since"),
        items.c.date_ms < sa.bindparam("until"),
    )
    .order_by(RANK.desc(), items.c.created_at, items.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def unknown_likeness(quote_hash: str) -> str:
    """Return the likeness of an item with a quote but without a known name."""
    return f"quote {quote_hash}"


class ItemLookup:
    """Items of the ledger that units of a window are compared with, read together, and those planned since.

    Args:
        lookups: planners of the units, each with the items found in its unit.
    """

    def __init__(self, c: sa.Connection, lookups: Sequence[tuple[Finder, Sequence[FoundItem]]]) -> None:
        self._c = c
        self._rows: dict[str, KnownItem] = {}
        self._sought = set[str]()  # ids that have no item but those in *_rows*
        self._by: defaultdict[tuple[str, str], dict[str, KnownItem]] = defaultdict(dict)
        self._days: dict[tuple[UserId, DeviceId | None, str, int], list[KnownItem]] = {}
        self._planned: dict[tuple[UserId, DeviceId | None, str, int], list[KnownItem]] = {}
        self._added: list[tuple[Iterable[Decision], Finder]] = []  # for the next unit, if there is one
        groups: defaultdict[tuple[UserId, DeviceId | None], list[int]] = defaultdict(list)
        for nth, (finder, _) in enumerate(lookups):
            groups[finder.user_id, finder.device_id].append(nth)
        for (user, device), members in groups.items():
            finders = [lookups[nth][0] for nth in members]
            found = [item for nth in members for item in lookups[nth][1]]
            ids = [id for nth in members for id in _new_ids(*lookups[nth])]
            self._sought.update(ids)
            parts = zip_longest(
                in_parts(sorted({finder.unit_key for finder in finders})),
                in_parts(sorted({item.likeness for item in found})),
                in_parts(sorted({item.words_hash for item in found})),
                in_parts(ids),
                fillvalue=(),
            )
            agents_ = sorted({finder.agent_id for finder in finders})
            for units, alike, quoted, some in parts:
                sought: dict[str, Any] = {"user": user, "device": device, "agents": agents_}
                sought |= {"units": units, "likenesses": alike, "quotes": quoted, "ids": some}
                for row in c.execute(NEAR, sought):
                    if row.id not in self._rows:
                        self._index(_known(row))

    def _index(self, known: KnownItem) -> None:
        row = known.row
        self._rows[row.id] = known
        for kind, value in (("unit", row.unit_key), ("name", row.likeness), ("quote", row.quote_hash)):
            self._by[kind, value][row.id] = known

    def add(self, planned: Iterable[Decision], finder: Finder) -> None:
        """Add the new items of a unit's plan, which are not written yet, as they will be read."""
        self._added.append((planned, finder))

    def _index_added(self) -> None:
        added = [(decision, finder) for planned, finder in self._added for decision in planned]
        for decision, finder in added:
            if decision.after is not None and decision.before is None:
                row, call = decision.after, decision.call
                stored = {"data": as_stored(self._c, row.data), "source": as_stored(self._c, row.source)}
                known = KnownItem(
                    row=msgspec.structs.replace(row, **stored),
                    call_state=None if call is None else CallState.PLANNED,
                    call_unit=None if call is None else finder.unit_key,
                    held_by=None if call is None else finder.run_id,
                )
                self._index(known)
                if row.date_ms is not None:
                    day = row.date_ms // DAY_MS
                    key = row.user_id, row.device_id, row.target_table, day
                    self._planned.setdefault(key, []).append(known)
        self._added.clear()

    def known(self, finder: Finder, found: Sequence[FoundItem]) -> KnownItems:
        """Return the known items of a unit, and those similar to the items found in it."""
        self._index_added()

        def is_here(row: ItemRow) -> bool:
            is_same = finder.device_id is not None and row.device_id == finder.device_id
            return row.user_id == finder.user_id and (row.agent_id == finder.agent_id or is_same)

        def is_elsewhere(row: ItemRow) -> bool:
            is_same = finder.device_id is not None and row.device_id == finder.device_id
            return is_same and row.user_id == finder.user_id and row.unit_key != finder.unit_key

        here = [known for known in self._of("unit", {finder.unit_key}) if is_here(known.row)]
        elsewhere: dict[str, KnownItem] = {}
        names, quotes = {item.likeness for item in found}, {item.words_hash for item in found}
        for known in (*self._of("name", names), *self._of("quote", quotes)):
            if is_elsewhere(known.row):
                elsewhere[known.row.id] = known
        for table, day in _days(found):
            near = (known for known in self._of_day(finder, table, day) if is_elsewhere(known.row))
            elsewhere |= {known.row.id: known for known in islice(near, MAX_OF_A_DAY)}
        return KnownItems(
            finder=finder, here=tuple(here), elsewhere=tuple(elsewhere.values()), is_used=self._is_used
        )

    def _is_used(self, id: str) -> bool:
        if id in self._rows or id in self._sought:
            return id in self._rows
        return self._c.execute(sa.select(items.c.id).where(items.c.id == id)).first() is not None

    def _of(self, kind: str, values: Iterable[str]) -> list[KnownItem]:
        """Return the items with one of these units, names or quotes, oldest first."""
        found = {id: known for value in values for id, known in self._by.get((kind, value), {}).items()}
        return sorted(found.values(), key=_age)

    def _of_day(self, finder: Finder, table: str, day: int) -> list[KnownItem]:
        """Return the items of a table and day, and of the days beside it, of the highest rank first."""
        # A day in the user's time zone may overlap the UTC days before and after.
        since, until = (day - 1) * DAY_MS, (day + 2) * DAY_MS
        key = finder.user_id, finder.device_id, table, day
        if key not in self._days:
            about = {"user": finder.user_id, "device": finder.device_id, "table": table}
            # Those of the unit itself are left out of the most that are compared.
            most = MAX_OF_A_DAY + len(self._rows)
            sought = about | {"since": since, "until": until, "most": most}
            self._days[key] = [_known(row) for row in self._c.execute(OF_DAY, sought)]
        days = (day - 1, day, day + 1)
        planned = [known for near in days for known in self._planned.get((*key[:3], near), ())]
        return sorted([*self._days[key], *planned], key=_by_rank) if planned else self._days[key]


def _new_ids(finder: Finder, found: Sequence[FoundItem]) -> Iterator[str]:
    """Yield the ids that items have if all are new in their unit."""
    before: defaultdict[str, int] = defaultdict(int)
    for item in found:
        yield finder.item_ids[item.likeness, before[item.likeness]]
        before[item.likeness] += 1


def _days(found: Sequence[FoundItem]) -> list[tuple[str, int]]:
    """Return the days of items by table: of all, else of those of the highest ranks that are no calendar."""
    dated = [(item, item.date_ms // DAY_MS) for item in found if item.date_ms is not None]
    for least in Rank if dated else ():
        days = {(item.table, day) for item, day in dated if item.rank >= least}
        if len(days) <= MAX_DAYS:
            return sorted(days)
    return []


def known_items(c: sa.Connection, finder: Finder, found: Sequence[FoundItem]) -> KnownItems:
    """Return the known items of a unit, and those similar to the items found in it."""
    return ItemLookup(c, [(finder, found)]).known(finder, found)


def _age(known: KnownItem) -> tuple[int, str]:
    return known.row.created_at, known.row.id


def _by_rank(known: KnownItem) -> tuple[int, int, str]:
    return -known.row.least_rank, *_age(known)


def _known(row: Any) -> KnownItem:
    state: RunState | None = row.run_state
    return KnownItem(
        row=struct_from(ItemRow, row),
        call_state=row.call_state,
        call_unit=row.call_unit,
        held_by=None if state is None or state in FINAL_RUN_STATES else row.holder,
    )


# What a device reports of places is written alone: by ``note_places``.
_CHANGED = tuple(name for name in ItemRow.__struct_fields__ if name not in ("id", "created_at", "places"))
ADD_ITEMS = sa.insert(items)
CHANGE_ITEM = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"))
    .values({name: sa.bindparam(f"new_{name}", type_=items.c[name].type) for name in _CHANGED})
)


def write_items(c: sa.Connection, decisions: Sequence[Decision]) -> None:
    """Write the decided rows to the ledger."""
    fresh = [
        decision.after for decision in decisions if decision.after is not None and decision.before is None
    ]
    changed = [
        decision.after for decision in decisions if decision.after is not None and decision.before is not None
    ]
    execute_for_each(c, ADD_ITEMS, [values_of(item, items) for item in fresh])
    add_words(c, fresh)
    execute_for_each(c, CHANGE_ITEM, [change_of(item) for item in changed])
    follow(c, [item.id for item in changed])
    if changed:  # in a newer version, for which nothing is proposed yet
        newer = {
            decision.after.call_id
            for decision in decisions
            if decision.after is not None and decision.before is not None
        }
        same = {decision.before.call_id for decision in decisions if decision.before is not None}
        withdraw(c, sorted(newer - same), changed[0].updated_at)


class DecidedKinds(msgspec.Struct, frozen=True):
    """Verdicts of an owner on items of an agent's rules.

    Attributes:
        kinds: numbers of approved and rejected items, by source (``source_of``) and kind of evidence.
        units: keys of the units of all of them.
    """

    kinds: dict[tuple[str, str], tuple[int, int]] = {}
    units: frozenset[str] = frozenset()


MAX_DECIDED: Final = 1_000  # of an agent, with each verdict
DECIDED_ITEMS: Final = sa.union_all(
    *(
        sa.select(items.c.evidence, items.c.verdict, items.c.unit_key, items.c.rank)
        .where(
            items.c.agent_id == sa.bindparam("agent"),
            listed_keys(items),
            items.c.verdict == verdict,
            items.c.same_as.is_(None),
        )
        .order_by(items.c.created_at.desc(), items.c.id.desc())
        .limit(MAX_DECIDED)
        .subquery()
        .select()
        for verdict in ("approved", "edited", "rejected")
    )
)


def source_of(unit_key: str, rank: int | None = None) -> str:
    """Return the shared folder of a file; empty: words of others, as in a mailbox, or in no folder."""
    folder, _, inside = unit_key.partition("/")
    is_own = rank == Rank.OWN or (rank is None and "@" not in unit_key)
    return folder if inside and is_own else ""


def decided_kinds(c: sa.Connection, agent_id: AgentId) -> DecidedKinds:
    """Return the verdicts on the newest items of an agent, by source and kind of evidence."""
    kinds: dict[tuple[str, str], tuple[int, int]] = {}
    units = set()
    for row in c.execute(DECIDED_ITEMS, {"agent": agent_id}):
        units.add(row.unit_key)
        if row.evidence is not None:
            kind = source_of(row.unit_key, row.rank), row.evidence
            accepted, rejected = kinds.get(kind, (0, 0))
            is_rejected = row.verdict == "rejected"
            kinds[kind] = accepted + (not is_rejected), rejected + is_rejected
    return DecidedKinds(kinds, frozenset(units))


_HELD_OF_AGENT: Final = (
    sa.select(sa.func.count())
    .select_from(items)
    .where(items.c.agent_id == sa.bindparam("agent"), items.c.verdict == "held", listed_keys(items))
)
_NTH_OF_UNIT: Final = sa.func.row_number().over(
    partition_by=items.c.unit_key, order_by=(items.c.created_at, items.c.id)
)
_PLACES_HELD: Final = (
    sa.select(items.c.id, _NTH_OF_UNIT.label("nth"), items.c.created_at, RANK.label("rank"))
    .where(items.c.agent_id == sa.bindparam("agent"), items.c.verdict == "held", listed_keys(items))
    .subquery()
)
_LAST_OF_UNITS: Final = (
    sa.select(_PLACES_HELD.c.id, _PLACES_HELD.c.nth, _PLACES_HELD.c.rank)
    .order_by(_PLACES_HELD.c.rank, _PLACES_HELD.c.nth.desc(), _PLACES_HELD.c.created_at, _PLACES_HELD.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_LET_GO: Final = sa.delete(items).where(
    items.c.id.in_(sa.bindparam("ids", expanding=True)), items.c.verdict == "held"
)


def count_held(c: sa.Connection, agent_id: AgentId) -> int:
    """Return the number of items of an agent that the hub holds."""
    return int(c.execute(_HELD_OF_AGENT, {"agent": agent_id}).scalar_one())


def last_held(c: sa.Connection, agent_id: AgentId, most: int) -> list[tuple[str, int, int]]:
    """Return held items of an agent with their places in their units, and their ranks.

    Those of the lowest rank come first, and of the units with most, the oldest.
    """
    found = c.execute(_LAST_OF_UNITS, {"agent": agent_id, "most": most})
    return [(row.id, row.nth, row.rank) for row in found]


def drop_held(c: sa.Connection, ids: Sequence[str]) -> None:
    """Delete those of these items that the hub holds."""
    execute_among(c, _LET_GO, "ids", ids)


def change_item(c: sa.Connection, item: ItemRow) -> None:
    """Write an item that is in the ledger, and its words."""
    c.execute(CHANGE_ITEM, change_of(item))
    follow(c, [item.id])


def change_of(item: ItemRow) -> dict[str, Any]:
    """Return the parameters of ``CHANGE_ITEM``."""
    values = values_of(item, items)
    return {"item": item.id} | {f"new_{name}": values[name] for name in _CHANGED}


# A verdict that came before the answer concerns this version. A statement of its own, because it changes
# indexed columns, of few rows.
REOPEN = (
    sa.update(items)
    .where(
        items.c.call_id.in_(sa.bindparam("calls", expanding=True)),
        items.c.answered_at.is_(None),
        items.c.verdict != "open",
    )
    .values(verdict="open", verdict_at=None, same_as=None)
)
MARK_ANSWERED = (
    sa.update(items)
    .where(items.c.call_id == sa.bindparam("call"))
    .values(
        row_id=sa.func.coalesce(sa.bindparam("row", type_=sa.Text), items.c.row_id),
        before=sa.case((sa.bindparam("waits", type_=sa.Boolean), items.c.before), else_=sa.null()),
        answered_at=sa.func.coalesce(items.c.answered_at, sa.bindparam("now", type_=Int)),
        updated_at=sa.bindparam("now", type_=Int),
    )
)
ROW_DELETED = (
    sa.update(items)
    .where(items.c.call_id == sa.bindparam("call"))
    .values(
        before=None,
        source=None,
        evidence=None,  # its owner had approved it, so that its deletion teaches nothing
        verdict="rejected",
        verdict_at=sa.bindparam("now", type_=Int),
        answered_at=sa.bindparam("now", type_=Int),
        updated_at=sa.bindparam("now", type_=Int),
    )
)


def note_answers(
    c: sa.Connection, row_ids: Mapping[CallId, str | None], at: int, *, proposed: Collection[CallId] = ()
) -> None:
    """Record that the device has these versions of items.

    Args:
        row_ids: their rows, by call, if reported.
        proposed: calls that change a row once its owner agrees.
    """
    execute_among(c, REOPEN, "calls", [*row_ids])
    rows = [{"call": call, "row": row, "now": at, "waits": call in proposed} for call, row in row_ids.items()]
    execute_for_each(c, MARK_ANSWERED, rows)


def note_rows_deleted(c: sa.Connection, call_ids: Sequence[CallId], at: int) -> None:
    """Record that the rows of updates no longer exist: their owner rejected the items."""
    if call_ids:
        c.execute(ROW_DELETED, [{"call": call_id, "now": at} for call_id in call_ids])
        end_review(c, call_ids, at)
        follow(c, call_ids, BY_CALL)


_OF_ROWS = (
    items.c.device_id == sa.bindparam("device"),
    items.c.row_id.in_(sa.bindparam("rows", expanding=True)),
)
BY_ROW = ITEMS.where(*_OF_ROWS)


def items_of_rows(c: sa.Connection, device_id: DeviceId, row_ids: Sequence[str]) -> dict[str, ItemRow]:
    """Return the items whose rows a device has under these ids, by id of the row."""
    found = c.execute(BY_ROW, {"device": device_id, "rows": row_ids}) if row_ids else ()
    return {row.row_id: struct_from(ItemRow, row) for row in found}


ROWS_OF_USER = sa.select(items.c.target_table, items.c.row_id).where(
    items.c.user_id == sa.bindparam("user"),
    items.c.row_id.is_not(None),
    items.c.updated_at >= sa.bindparam("since", type_=Int),
)


def rows_of_user(c: sa.Connection, user_id: UserId, since_ms: int = 0) -> Iterator[tuple[str, str]]:
    """Yield table and row id of each item, changed since then, that a device of the user has, or had."""
    yield from map(tuple, c.execute(ROWS_OF_USER, {"user": user_id, "since": since_ms}))


PLACED = sa.select(items.c.id, items.c.row_id, items.c.places).where(*_OF_ROWS)
PLACE = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"), items.c.row_id == sa.bindparam("row"))
    .values(places=sa.bindparam("found", type_=items.c.places.type))
)


def note_places(c: sa.Connection, device_id: DeviceId, found: Mapping[str, Sequence[RowPlace]]) -> int:
    """Record where rows of a device are outside of its file, by row; return the number of known rows.

    A repeated report changes nothing.
    """
    places = {row_id: msgspec.to_builtins(placed) for row_id, placed in found.items()}
    known = [
        row
        for part in in_parts(sorted(places))
        for row in c.execute(PLACED, {"device": device_id, "rows": part})
    ]
    changed = [row for row in known if row.places != places[row.row_id]]
    rows = [{"item": row.id, "row": row.row_id, "found": places[row.row_id]} for row in changed]
    execute_for_each(c, PLACE, sorted(rows, key=lambda row: row["item"]))
    return len(known)


UNANSWERED = (
    sa.select(sa.func.count())
    .select_from(items)
    .where(items.c.id.in_(sa.bindparam("ids", expanding=True)), items.c.answered_at.is_(None))
)


MAX_APPROVED: Final = 1_000  # of a user are examined for their senders


def approved_authors(c: sa.Connection, user_id: UserId) -> set[str]:
    """Return the authors of the texts of the items that a user approved last."""
    authors: set[str] = set()
    for verdict in ("approved", "edited"):
        query = (
            sa.select(items.c.source)
            .where(items.c.user_id == user_id, items.c.verdict == verdict)
            .where(items.c.verdict_at.is_not(None), listed_keys(items))
            .order_by(items.c.verdict_at.desc())
            .limit(MAX_APPROVED)
        )
        for (source,) in c.execute(query):
            author = ((source or {}).get("provenance") or {}).get("author")
            if isinstance(author, str):
                authors.add(author)
    return authors


def are_answered(c: sa.Connection, ids: Sequence[str]) -> bool:
    """Return True if the devices of all these items have them."""
    return all(c.execute(UNANSWERED, {"ids": part}).scalar_one() == 0 for part in in_parts(ids))


_NAMED: Final = (
    ITEMS.add_columns(
        agents.c.name.label("agent_name"), devices.c.name.label("device_name"), configs.COLUMNS["timezone"]
    )
    .join_from(items, agents)
    .outerjoin(devices, devices.c.id == items.c.device_id)
    .outerjoin(*configs.joined("timezone"))
)
MAX_COUNTED_OPEN: Final = 1_000  # of the review queue, which is counted four times a minute
_waiting = (
    sa.select(sa.literal_column("1", sa.Integer))
    .select_from(items)
    .where(sa.text("items.verdict = 'open' AND items.row_id IS NOT NULL"))
    .limit(MAX_COUNTED_OPEN)
)
REVIEW_QUEUE = sa.select(sa.func.count()).select_from(_waiting.subquery())


ITEM = _NAMED.where(items.c.id == sa.bindparam("item"))


def get_item(
    c: sa.Connection, id: str, user_id: UserId | None = None, limits: TokenLimits = NO_LIMITS
) -> tuple[ItemRow, str, str | None, str | None]:
    """Return an item with the names of its agent and device, and the zone in which its days begin.

    Its id is *id* or ends so; see ``whole_id``.

    Raises:
        CodedError: there is no such item of this user within *limits*.
    """
    only = within(limits)
    whole = whole_id(c, items, id, user_id=user_id, only=only)
    row = c.execute(ITEM.where(*only), {"item": whole}).one_or_none()
    if row is None or user_id not in (None, row.user_id):
        raise CodedError(ErrorCode.UNKNOWN_ITEM, f"there is no item {id!r}")
    return struct_from(ItemRow, row), row.agent_name, row.device_name, _timezone(row)


_finder: Final = agents.alias("finder")


def within(limits: TokenLimits) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of items within *limits*; of a folder are those of files alone."""
    path = items.c.unit_key
    found: list[sa.ColumnElement[bool]] = []
    if limits.devices:
        found.append(unindexed(items.c.device_id).in_(limits.devices))
    if limits.tables:
        found.append(unindexed(items.c.target_table).in_(limits.tables))
    if limits.roots:
        of_device = sa.exists().where(_finder.c.id == items.c.agent_id, _finder.c.executor == "device")
        begins = [sa.func.substr(path, 1, len(root) + 1) == f"{root}/" for root in limits.roots]
        found += [sa.or_(*begins), of_device]
    return found


def _timezone(row: Any) -> str | None:
    """Return the zone in which the days of an item begin."""
    # the source of a rejected item is not kept: its zone is that of its agent
    of_agent: str | None = configs.read_config("timezone", row.timezone)
    return of_agent if row.source is None else row.source.get("timezone")


def count_with_verdicts(
    c: sa.Connection,
    verdicts: Iterable[Verdict],
    most: int,
    *,
    user_id: UserId | None = None,
    found_since: int | None = None,
    decided_since: int | None = None,
) -> int:
    """Return the number of items with one of *verdicts*; *most* if there are more."""
    count = 0
    for verdict in verdicts:
        query = sa.select(items.c.id).where(
            items.c.agent_id.is_not(None), listed_keys(items), items.c.verdict == verdict
        )
        if user_id is not None:
            query = query.where(items.c.user_id == user_id)
        if found_since is not None:
            query = query.where(items.c.created_at >= found_since)
        if decided_since is not None:
            query = query.where(items.c.verdict_at.is_not(None), items.c.verdict_at >= decided_since)
        found = query.limit(most - count).subquery()
        count += c.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()
    return count


def count_open(c: sa.Connection) -> int:
    """Return the number of items at their devices without a verdict; MAX_COUNTED_OPEN if there are more."""
    return c.execute(REVIEW_QUEUE).scalar_one()


_NEWEST: Final = (
    sa.select(items)
    .where(
        items.c.user_id == sa.bindparam("user"),
        items.c.verdict == sa.bindparam("verdict"),
        items.c.verdict_at < sa.bindparam("before", type_=Int),
        sa.text("items.verdict_at IS NOT NULL AND length(items.id) > 0"),
    )
    .order_by(items.c.verdict_at.desc(), items.c.id.desc())
    .limit(_MAX_EXAMINED)
    .subquery()
)
# A flood of one stranger, or of another agent, pushes none of them out.
_DECIDED: Final = (
    sa.select(*columns_of(ItemRow, _NEWEST))
    .where(
        _NEWEST.c.agent_id == sa.bindparam("agent"),
        _NEWEST.c.same_as.is_(None),
        sa.func.coalesce(_NEWEST.c.rank, int(Rank.OWN)) > int(Rank.OTHERS),
    )
    .order_by(_NEWEST.c.verdict_at.desc(), _NEWEST.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def newest_judged(
    c: sa.Connection, user_id: UserId, agent_id: AgentId, verdicts: Iterable[Verdict], before: int
) -> list[ItemRow]:
    """Return the newest items of an agent with one of these verdicts that are not known to be by others.

    They are at most ``MAX_JUDGED`` of each verdict, the newest first.

    Args:
        before: only verdicts before this instant, in epoch milliseconds.
    """
    sought = {"user": user_id, "agent": agent_id, "before": before, "most": MAX_JUDGED}
    found = [
        struct_from(ItemRow, row)
        for verdict in verdicts
        for row in c.execute(_DECIDED, sought | {"verdict": verdict})
    ]
    return sorted(found, key=lambda row: (row.verdict_at or 0, row.id), reverse=True)
