"""Plan of a file or message: all its calls are stored before the first is sent; limits of items.

Messages of a mailbox are planned, failed or left out together with the record of seen messages.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import HubError, IllegalTransition
from protocol.ids import AgentId, CallId, RunId
from protocol.items import SOURCE_MISSING, Rank, with_missing
from protocol.lifecycles import FINAL_RUN_STATES, UNIT, CallState, UnitEvent, UnitState
from storage.connectors import seen_messages
from storage.connectors.seen_messages import State
from storage.executing_runs import FencedRun, check_held, is_held, stale
from storage.kernel.columns import (
    Int,
    as_stored,
    execute_among,
    execute_for_each,
    in_parts,
    listed_keys,
    texts,
    values_of,
)
from storage.kernel.database import Conflict
from storage.runs.calls import AMONG, IS_OPEN, OF_UNIT, OPEN_CALLS_OF_UNIT, OpenCall, count_calls
from storage.runs.excerpts import SealedExcerpt, put_excerpts
from storage.runs.items import (
    Decide,
    Decision,
    Finder,
    FoundItem,
    ItemLookup,
    ItemRow,
    KnownItems,
    PlannedCall,
    are_answered,
    count_held,
    drop_held,
    last_held,
    write_items,
)
from storage.runs.runs import advance
from storage.runs.units import (
    ADD_UNIT,
    UNITS_AMONG,
    UnitRow,
    enter_units,
    fail_unit,
    ledger_entry,
    settle_unit,
)
from storage.schema import agents, items, run_calls, run_units, runs, unit_ledger, users

MAX_HELD_OF_UNIT: Final = 100  # the first of a unit are held; the others count as dropped
MAX_HELD_OF_AGENT: Final = 2_000  # about 2 MB of the database
UNLIKELY: Final = "unlikely"  # in ``dropped`` of a unit's notes: of items that are not even held


class ItemCaps(msgspec.Struct, frozen=True):
    """Limits on new items of a unit and of a run; items beyond them are left out, and counted."""

    items_per_file: int
    items_per_run: int


class UnitPlan(msgspec.Struct, frozen=True):
    """Stored plan of a unit: the calls to deliver, in the order of ordinals."""

    open_calls: list[OpenCall]
    adopted: int  # calls that an earlier run planned, answered or not
    known: int = 0  # extracted items without a call, because they are known
    left_out: dict[str, int] = {}  # new items beyond a limit, by the limit's name
    settled: UnitState | None = None  # if the plan settled the unit too
    is_whole: bool = False  # the unit is done as soon as its device has taken all calls
    marked: int = 0  # so many calls, the first ones, are marked as sent
    calls: int = 0  # of the plan, also those that were planned before
    planned_before: int | None = None  # number of calls that the run had, if they were counted
    held: int = 0  # items that the hub keeps until their owner approves them


Seal = Callable[[ItemRow], SealedExcerpt | None]

STORED = (
    sa.select(run_calls.c.call_id, run_calls.c.run_id, run_calls.c.state, runs.c.state.label("run_state"))
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .where(AMONG)
    .order_by(run_calls.c.call_id)
    .with_for_update(of=run_calls)  # if two runs plan the same call at once, one of them adopts it
)
ADOPT = (
    sa.update(run_calls)
    .where(AMONG)
    .values(
        run_id=sa.bindparam("run"),
        unit_key=sa.bindparam("unit"),
        sent_at=None,
        updated_at=sa.bindparam("now"),
    )
)
ASK_AGAIN = (
    sa.update(run_calls)
    .where(AMONG, run_calls.c.state.in_((CallState.UNKNOWN, CallState.REJECTED)))
    .values(state=CallState.PLANNED, sends=0, sent_at=None, result=None, updated_at=sa.bindparam("now"))
)
REMIND = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"), run_calls.c.payload.is_(None), IS_OPEN)
    .values(payload=sa.bindparam("carried"))
)
ADD_CALLS = sa.insert(run_calls)
IDS_OF_UNIT = sa.select(run_calls.c.call_id).where(*OF_UNIT)
UNSENT_OF_UNIT = IDS_OF_UNIT.where(run_calls.c.state == CallState.PLANNED)
DROP = sa.delete(run_calls).where(AMONG)
_EXTRACTED = (
    *("content_hash", "size_bytes", "state", "calls_planned", "calls_settled", "items_known", "notes"),
    *("awaits", "is_behind", "error", "began_at", "read_at", "planned_at", "updated_at"),
)
EXTRACT = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        {name: sa.bindparam(f"new_{name}", type_=run_units.c[name].type) for name in _EXTRACTED}
        | {"attempts": run_units.c.attempts + 1}
    )
)

HOLD = (
    sa.update(runs)
    .where(*is_held)
    .values(updated_at=sa.bindparam("now"))
    .returning(
        runs.c.id,
        runs.c.agent_id,
        runs.c.device_id,
        runs.c.config_fingerprint,
        runs.c.crash_count,
        sa.select(agents.c.user_id).where(agents.c.id == runs.c.agent_id).scalar_subquery().label("user_id"),
    )
)
# Serializes plans of a user's units, so that the later plan sees the items of the earlier. Rows that refer to
# the user do not wait. The units do not change during a wait, because their runs are locked.
LOCK_USERS = (
    sa.select(users.c.id)
    .where(users.c.id.in_(sa.bindparam("users", expanding=True)))
    .order_by(users.c.id)
    .with_for_update(key_share=True)
)
PLANNED_IN_RUN = sa.select(sa.func.coalesce(sa.func.sum(run_units.c.calls_planned), 0)).where(
    run_units.c.run_id == sa.bindparam("run")
)
COUNT_KNOWN = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(items_known=runs.c.items_known + sa.bindparam("more", type_=Int))
)


# The device now gets other content, so the entry no longer holds for the older content. It stays, because
# without an entry the unit would count as gone (``orphans``).
OUTDATED = (
    sa.update(unit_ledger)
    .where(
        unit_ledger.c.agent_id == sa.bindparam("agent"),
        unit_ledger.c.unit_key == sa.bindparam("unit"),
        unit_ledger.c.content_hash != "",
        unit_ledger.c.content_hash != sa.bindparam("digest"),
    )
    .values(content_hash="")
)


_WAITING = (
    sa.select(items.c.unit_key)
    .distinct()
    .where(
        items.c.agent_id == sa.bindparam("agent"),
        listed_keys(items),
        items.c.verdict.in_(("open", "held")),
        ~sa.cast(items.c.warnings, sa.Text).contains(f'"{SOURCE_MISSING}"'),
    )
)
_WAITING_IN = sa.select(items.c.id, items.c.warnings).where(
    items.c.agent_id == sa.bindparam("agent"),
    items.c.verdict.in_(("open", "held")),
    items.c.unit_key.in_(sa.bindparam("units", expanding=True)),
)
_MARK = sa.update(items).where(items.c.id == sa.bindparam("item")).values(warnings=sa.bindparam("marks"))


def waiting_units(c: sa.Connection, agent_id: AgentId) -> list[str]:
    """Return the units of an agent's waiting items, without those that are marked as missing."""
    return [*c.execute(_WAITING, {"agent": agent_id}).scalars()]


def note_missing(c: sa.Connection, held: FencedRun, agent_id: AgentId, unit_keys: Sequence[str]) -> None:
    """Mark the waiting items of units that are not listed any more; delete those that the hub holds.

    A unit that comes back is read again: only its text tells whether the items are there.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    rows = execute_among(c, _WAITING_IN, "units", unit_keys, {"agent": agent_id})
    drop_held(c, [row.id for row in rows])
    marks = [{"item": row.id, "marks": [*with_missing(texts(row.warnings), is_missing=True)]} for row in rows]
    execute_for_each(c, _MARK, marks)
    execute_for_each(c, OUTDATED, [{"agent": agent_id, "unit": key, "digest": ""} for key in unit_keys])


class PlannedMessage(msgspec.Struct, frozen=True):
    """Message of a mailbox, recorded as seen with the plan of its unit.

    A message that is not whole is read again by the next run, which adds the missing items.

    Attributes:
        seen_keys: keys that identify the message from now on, its own key first.
        version: version of its content, which may change under the same key.
        event: version of the event that the unit is, recorded under the unit's key; empty for others.
    """

    seen_keys: Sequence[str]
    version: str
    event: str = ""


class UnitToPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Unit that was read, with what is to be decided about it.

    Attributes:
        decide: pure function of the known items; called again when the transaction is repeated.
        began_at, read_at: times at which the unit's text began to arrive, and was there.
        notes: statistics about the reading; ``left_out`` is added if a limit was reached.
        caps: limits on new items.
        planned_at_most: the run has planned so many calls or fewer; None: it is not known. They are counted
            only if there might be no room: to count them for each unit of a large run is slow.
        is_whole: all of the unit was read, and nothing waits for the model.
        seal: returns the excerpt around an item's quote; None: no excerpts are stored.
        most_sent: so many calls of the run's units in a window are marked as sent, because they are sent
            next; those of units that the run or another one had planned are not.
        message: the message that the unit is; None: a file.
    """

    held: FencedRun
    unit_key: str
    content_hash: str
    size_bytes: int | None
    found: Sequence[FoundItem]
    decide: Decide
    at: int
    began_at: int | None = None
    read_at: int | None = None
    notes: Mapping[str, Any] = {}
    caps: ItemCaps | None = None
    planned_at_most: int | None = None
    is_whole: bool = False
    seal: Seal | None = None
    most_sent: int = 0
    message: PlannedMessage | None = None


class _WindowCounts:
    """Counters that the units of a window share."""

    def __init__(self) -> None:
        self.planned: Counter[RunId] = Counter()  # calls that are not written yet
        self.marked: Counter[RunId] = Counter()
        self.held: Counter[AgentId] = Counter()  # items that are not written yet
        self.changed: set[str] = set()  # items that decisions change or delete


class _UnitPlanning:
    """Plan of a unit in the making. *before*: its row, if the run has one."""

    def __init__(self, unit: UnitToPlan, run: Any, before: UnitRow | None) -> None:
        self.unit, self.run, self.before = unit, run, before
        self.finder = Finder(
            user_id=run.user_id,
            agent_id=run.agent_id,
            device_id=run.device_id,
            run_id=unit.held.id,
            unit_key=unit.unit_key,
            config_fingerprint=run.config_fingerprint,
            at=unit.at,
        )
        self.here = {"run": unit.held.id, "unit": unit.unit_key, "now": unit.at}
        self.notes = dict(unit.notes)
        self.left_out: dict[str, int] = {}
        self.adopted: list[CallId] = []
        self.planned_before: int | None = None
        self.marked = 0
        self.settled: UnitState | None = None
        self.fresh: list[PlannedCall] = []
        self.known = 0
        self.still: list[OpenCall] = []

    def decide(self, c: sa.Connection, known: KnownItems, counts: _WindowCounts) -> set[str]:
        """Decide about the items, within all limits. Return the ids of known items that this changes."""
        unit = self.unit
        self.decisions, self.held_count, unlikely, dropped = _held(c, known, unit.decide(known), counts)
        if unlikely:
            before = self.notes.get("dropped", {})
            self.notes["dropped"] = before | {UNLIKELY: before.get(UNLIKELY, 0) + unlikely}
        if unit.caps is not None and any(decision.is_new for decision in self.decisions):
            planned = unit.planned_at_most
            if planned is None or planned + len(self.decisions) > unit.caps.items_per_run:
                stored = c.execute(PLANNED_IN_RUN, {"run": unit.held.id}).scalar_one()
                planned = self.planned_before = stored + counts.planned[unit.held.id]
            self.decisions, self.left_out = capped(self.decisions, unit.caps, planned=planned)
        if self.left_out:
            self.notes["left_out"] = self.left_out
        if self.held_count:
            self.notes["held"] = self.held_count
        calls = [decision.call for decision in self.decisions if decision.call is not None]
        self.calls = sorted(calls, key=_position)
        counts.planned[unit.held.id] += len(self.calls)
        return dropped | {
            decision.before.id
            for decision in self.decisions
            if decision.before is not None and (decision.after is not None or decision.call is not None)
        }

    @property
    def is_new(self) -> bool:
        """True if the run has no row of the unit, and no run has planned one of its calls."""
        return self.before is None and not self.adopted

    @property
    def is_whole(self) -> bool:
        """True if the unit is done as soon as its device has taken all calls."""
        return self.unit.is_whole and not self.left_out

    @property
    def is_retried(self) -> bool:
        """True if the unit has failed in this run."""
        return self.before is not None and self.before.state is UnitState.FAILED

    def known_count(self, of_this_run: Collection[str]) -> int:
        """Return the number of items that are known from outside this run's earlier plans of the unit."""
        return sum(
            decision.call is None
            and decision.skipped != "missing"
            and not decision.is_held
            and (decision.before is None or decision.before.call_id not in of_this_run)
            for decision in self.decisions
        )

    def row(self) -> dict[str, Any]:
        """Return the columns of the unit's row that its plan sets."""
        unit = self.unit
        return {
            "content_hash": unit.content_hash,
            "size_bytes": unit.size_bytes,
            "state": UnitState.EXTRACTED if self.settled is None else self.settled,
            "notes": self.notes or None,
            "awaits": self.awaits(),
            "is_behind": int(self.is_behind()),
            "error": None,
            "began_at": unit.began_at,
            "read_at": unit.read_at,
            "planned_at": unit.at,
            "updated_at": unit.at,
        }

    def awaits(self) -> list[str]:
        """Return the ids of the items that the device must have before the unit is in the ledger."""
        return sorted({decision.awaits for decision in self.decisions if decision.awaits is not None})

    def is_behind(self) -> bool:
        """Return True if the device may have an older version of an item."""
        return any(decision.is_behind for decision in self.decisions)


def plan_units(c: sa.Connection, units: Sequence[UnitToPlan]) -> list[UnitPlan | HubError]:
    """Plan units that were read: EXTRACTED, with all calls. Must be committed before the first send.

    They may be of several runs. Decides about each extracted item in one transaction with the ledger of
    items: see ``storage.runs.items.Decision``. Each unit is decided as if those before it were written. The
    rows of all are written by one statement a table. A unit that is compared with an item which another one
    changes is planned behind that one.

    A call id that an ended run planned is adopted, with its answer if any. A call without an answer is sent
    again, with this plan's payload if the earlier one was deleted. So is the answered call of an item that
    the ledger has forgotten, since its device lost it. Planning a unit of this run again, because its file
    changed or it failed, drops unsent calls and keeps the rest. A unit without open calls is EXTRACTED too,
    and settled by ``settle_unit``: here, if nothing is missing. A plan that adds calls resets the run's crash
    count.

    Returns:
        For each unit its plan, or why nothing was written of it alone: StaleRun if the run has another fence
        or has ended, IllegalTransition if the unit is DONE or SKIPPED in this run.

    Raises:
        Conflict: another run that has not ended holds one of the calls. Nothing was written.
    """
    held = _hold(c, units)
    outcomes: dict[int, UnitPlan | HubError] = {}
    counts = _WindowCounts()
    left = list(enumerate(units))
    while left:
        before = _rows_of(c, [unit for _, unit in left])
        works: dict[int, _UnitPlanning] = {}
        later: list[tuple[int, UnitToPlan]] = []
        keys: set[str] = set()
        for nth, unit in left:
            run, row = held.get(unit.held), before.get((unit.held.id, unit.unit_key))
            if run is None:
                outcomes[nth] = stale(unit.held)
            elif unit.unit_key in keys:
                later.append((nth, unit))
            elif (error := _refusal(row)) is not None:
                outcomes[nth] = error
            else:
                keys.add(unit.unit_key)
                works[nth] = _UnitPlanning(unit, run, row)
        lookup = ItemLookup(c, [(work.finder, work.unit.found) for work in works.values()])
        counts.changed.clear()
        for nth, work in list(works.items()):
            known = lookup.known(work.finder, work.unit.found)
            if not counts.changed.isdisjoint(item.row.id for item in (*known.here, *known.elsewhere)):
                later.append((nth, work.unit))
                del works[nth]
                continue
            counts.changed |= work.decide(c, known, counts)
            lookup.add(work.decisions, work.finder)
        outcomes |= zip(works, _write_plans(c, list(works.values()), counts), strict=True)
        counts.planned.clear()
        counts.held.clear()
        left = sorted(later, key=itemgetter(0))
    return [outcomes[nth] for nth in range(len(units))]


def _hold(c: sa.Connection, units: Sequence[UnitToPlan]) -> dict[FencedRun, Any]:
    """Lock the runs of units under their fences, then their users. Return the runs that are held."""
    found: dict[FencedRun, Any] = {}
    at = {unit.held: unit.at for unit in units}
    for held in sorted(at, key=lambda held: (held.id, held.fence)):
        row = c.execute(HOLD, {"run": held.id, "held": held.fence, "now": at[held]}).one_or_none()
        if row is not None:
            found[held] = row
    if owners := sorted({run.user_id for run in found.values()}):
        c.execute(LOCK_USERS, {"users": owners}).all()
    return found


def _rows_of(c: sa.Connection, units: Sequence[UnitToPlan]) -> dict[tuple[RunId, str], UnitRow]:
    """Return the rows that the runs have of units, by run and key."""
    keys: defaultdict[RunId, list[str]] = defaultdict(list)
    for unit in units:
        keys[unit.held.id].append(unit.unit_key)
    return {
        (run, row.unit_key): UnitRow(*row)
        for run, of_run in keys.items()
        for part in in_parts(of_run)
        for row in c.execute(UNITS_AMONG, {"run": run, "keys": part})
    }


def _refusal(before: UnitRow | None) -> IllegalTransition | None:
    """Return why a unit of this row is not planned again, or None."""
    if before is None or before.state is UnitState.EXTRACTED:
        return None
    try:
        is_retried = before.state is UnitState.FAILED
        pending = UNIT.after(before.state, UnitEvent.RETRIED) if is_retried else before.state
        UNIT.after(pending, UnitEvent.PLANNED)
    except IllegalTransition as error:
        return error
    return None


def _write_plans(c: sa.Connection, works: Sequence[_UnitPlanning], counts: _WindowCounts) -> list[UnitPlan]:
    """Write the plans of units, each of which was decided."""
    if not works:
        return []
    _adopt_calls(c, works)
    units, calls = list[dict[str, Any]](), list[dict[str, Any]]()
    for work in works:
        unit, run = work.unit, work.unit.held.id
        present: set[str] = set() if work.is_new else _calls_of_before(c, work)
        work.known = work.known_count(present)
        work.fresh = [call for call in work.calls if call.call_id not in present]
        if work.is_new:
            work.marked = max(0, min(len(work.calls), unit.most_sent - counts.marked[run]))
            counts.marked[run] += work.marked
            if work.is_whole and not work.calls:
                work.settled = UNIT.after(UnitState.EXTRACTED, UnitEvent.SETTLED)
            counted = {"calls_planned": len(work.calls), "calls_settled": 0, "items_known": work.known}
            units.append(work.row() | counted | {"run_id": run, "unit_key": unit.unit_key, "attempts": 1})
        about: dict[str, Any] = {"run_id": run, "unit_key": unit.unit_key, "updated_at": unit.at}
        sent = about | {"state": CallState.SENT, "sends": 1, "sent_at": unit.at}
        planned = about | {"state": CallState.PLANNED, "sends": 0, "sent_at": None}
        for number, call in enumerate(work.fresh):
            own = sent if number < work.marked else planned
            calls.append(values_of(call, run_calls, target_table=call.table, **own))
    execute_for_each(c, ADD_UNIT, units)
    execute_for_each(c, ADD_CALLS, calls)
    write_items(c, [decision for work in works for decision in work.decisions])
    _write_excerpts(c, works)
    outdated = [
        work.here | {"agent": work.run.agent_id, "digest": work.unit.content_hash}
        for work in works
        if work.calls
    ]
    execute_for_each(c, OUTDATED, sorted(outdated, key=itemgetter("agent", "unit")))
    enter_units(
        c,
        [
            ledger_entry(work.run, work.unit.held.id, work.unit, work.unit.at)
            for work in works
            if work.settled is not None and not work.is_behind() and are_answered(c, work.awaits())
        ],
    )
    _count(c, works)
    for work in works:
        _read_open_calls(c, work)
        _note_seen(c, work)
    return [
        UnitPlan(
            work.still,
            len(work.adopted),
            work.known,
            work.left_out,
            work.settled,
            work.is_whole,
            work.marked,
            calls=len(work.calls),
            planned_before=work.planned_before,
            held=work.held_count,
        )
        for work in works
    ]


def _count(c: sa.Connection, works: Sequence[_UnitPlanning]) -> None:
    """Count in each run what the plans of its units say."""
    of_runs: defaultdict[FencedRun, list[_UnitPlanning]] = defaultdict(list)
    for work in works:
        of_runs[work.unit.held].append(work)
    for held, mine in of_runs.items():
        more = sum(work.known - (0 if work.before is None else work.before.items_known) for work in mine)
        if more:
            c.execute(COUNT_KNOWN, {"run": held.id, "more": more})
        done = sum(work.settled is not None for work in mine)
        retried = sum(work.is_retried for work in mine)
        got_further = any(
            work.before is None or work.is_retried or work.adopted or work.fresh for work in mine
        )
        if done or retried or (got_further and mine[0].run.crash_count):
            advance(c, held, at=mine[-1].unit.at, done=done, failed=-retried)


def _read_open_calls(c: sa.Connection, work: _UnitPlanning) -> None:
    """Find the open calls of a planned unit; write and settle a unit that the run, or another one, had."""
    unit, held = work.unit, work.unit.held
    if work.is_new:
        work.still = [
            _open_call(c, unit.unit_key, call, is_marked=number < work.marked)
            for number, call in enumerate(work.calls)
        ]
        return
    total, still_open, _ = count_calls(c, held.id, unit.unit_key)
    row = work.row() | {
        "calls_planned": total,
        "calls_settled": total - still_open,
        "items_known": work.known,
    }
    c.execute(EXTRACT, work.here | {f"new_{name}": value for name, value in row.items()})
    if still_open:
        work.still = [OpenCall(*row) for row in c.execute(OPEN_CALLS_OF_UNIT, work.here)]
    elif work.is_whole:
        work.settled = settle_unit(c, held, unit.unit_key, unit.at)


def _note_seen(c: sa.Connection, work: _UnitPlanning) -> None:
    """Record the message that a planned unit is."""
    unit, message, agent_id = work.unit, work.unit.message, work.run.agent_id
    if message is None:
        return
    about: dict[str, Any] = {"version": message.version, "run_id": unit.held.id, "at": unit.at}
    if not unit.is_whole:
        seen_messages.note_failed(c, agent_id, message.seen_keys[0], reason="incomplete", **about)
        return
    for key in message.seen_keys:
        seen_messages.note_seen(c, agent_id, key, "planned", **about)
    if message.event:
        seen_messages.note_seen(c, agent_id, unit.unit_key, "planned", **about | {"version": message.event})


def _held(
    c: sa.Connection, known: KnownItems, decisions: Sequence[Decision], counts: _WindowCounts
) -> tuple[Sequence[Decision], int, int, set[str]]:
    """Delete items that the hub holds: those that the unit does not have any more, and those of fuller units.

    An agent that holds all it may takes an item from the unit with most, so no unit keeps out all others. New
    items of several ranks make room as those of the lowest, so that others take no item of the owner away.

    Returns:
        The decisions, without those that would hold too many items; the number of items that are held, and of
        those that are not; the ids of the deleted items.
    """
    agent_id = known.finder.agent_id
    rows = (known_item.row for known_item in known.here)
    before = {row.id for row in rows if row.verdict == "held" and row.agent_id == agent_id}
    outdated = before - {decision.before.id for decision in decisions if decision.before is not None}
    drop_held(c, sorted(outdated))
    held = [decision for decision in decisions if decision.is_held]
    fresh = [decision for decision in held if decision.before is None]
    if not fresh:
        return decisions, len(held), 0, outdated
    rest = max(0, MAX_HELD_OF_UNIT - len(held) + len(fresh))
    free = max(0, MAX_HELD_OF_AGENT - count_held(c, agent_id) - counts.held[agent_id])
    in_need = fresh[free:rest]
    spared = counts.changed.union(decision.before.id for decision in decisions if decision.before is not None)
    taken = last_held(c, agent_id, len(in_need) + len(spared)) if in_need else []
    taken = [found for found in taken if found[0] not in spared]
    first = len(held) - len(fresh) + free + 1
    lowest = min((decision.after.least_rank for decision in in_need if decision.after), default=Rank.OTHERS)
    displaced = [
        item_id
        for place, (item_id, nth, rank) in enumerate(taken[: len(in_need)], first)
        if rank < lowest or (rank == lowest and place <= nth)
    ]
    drop_held(c, displaced)
    beyond = {id(decision) for decision in fresh[min(free, rest) + len(displaced) :]}
    counts.held[agent_id] += len(fresh) - len(beyond)
    left = [decision for decision in decisions if id(decision) not in beyond]
    return left, len(held) - len(beyond), len(beyond), outdated.union(displaced)


def _calls_of_before(c: sa.Connection, work: _UnitPlanning) -> set[str]:
    """Apply the new plan to the calls of the unit and of earlier runs. Return the ids of the unit's calls."""
    here, adopted = work.here, work.adopted
    carried = {call.call_id: call.payload for call in work.calls}
    if work.before is None:
        about = {"content_hash": "", "state": UNIT.initial, "updated_at": here["now"]}
        c.execute(ADD_UNIT, {"run_id": here["run"], "unit_key": here["unit"]} | about)
    else:
        unsent = c.execute(UNSENT_OF_UNIT, here).scalars()
        execute_among(c, DROP, "calls", [call_id for call_id in unsent if call_id not in carried])
    execute_among(c, ADOPT, "calls", adopted, here)
    execute_among(c, ASK_AGAIN, "calls", [*carried], {"now": here["now"]})
    if adopted:
        c.execute(REMIND, [{"call": call_id, "carried": carried[call_id]} for call_id in adopted])
    return set(c.execute(IDS_OF_UNIT, here).scalars())


def _open_call(c: sa.Connection, unit_key: str, call: PlannedCall, *, is_marked: bool) -> OpenCall:
    """Return a call as its row, which was just written, would be read."""
    state = CallState.SENT if is_marked else CallState.PLANNED
    payload = as_stored(c, call.payload)
    return OpenCall(call.call_id, unit_key, call.ordinal, call.table, payload, state, int(is_marked))


def _position(call: PlannedCall) -> tuple[int, str]:
    return call.ordinal, call.call_id


def capped(
    decisions: Sequence[Decision], caps: ItemCaps, *, planned: int
) -> tuple[Sequence[Decision], dict[str, int]]:
    """Return *decisions* without new items beyond the limits, and the number of those by limit.

    Known items are never left out: they are already promised or delivered.

    Args:
        planned: number of calls that the run has planned for other units; a higher one does, if there is room
            for all *decisions*.
    """
    fresh = [decision for decision in decisions if decision.is_new]
    others = sum(not decision.is_new and not decision.is_held for decision in decisions)
    in_unit = caps.items_per_file - others
    in_run = caps.items_per_run - planned
    room = max(0, min(in_unit, in_run))
    beyond = fresh[room:]
    if not beyond:
        return decisions, {}
    cap = "items_per_file" if in_unit <= in_run else "items_per_run"
    without = {id(unit) for unit in beyond}
    return [decision for decision in decisions if id(decision) not in without], {cap: len(beyond)}


def _write_excerpts(c: sa.Connection, works: Sequence[_UnitPlanning]) -> None:
    """Store the excerpts of items whose place is new and that wait for a verdict, or will."""
    excerpts: dict[str, SealedExcerpt | None] = {}
    fresh: list[str] = []
    for work in works:
        for decision in work.decisions:
            row, before, seal = decision.after, decision.before, work.unit.seal
            if seal is None or row is None or (before is not None and before.source == row.source):
                continue
            if row.verdict in ("open", "held") or row.answered_at is None:
                excerpts[row.id] = seal(row)
                if before is None:
                    fresh.append(row.id)
    put_excerpts(c, excerpts, at=works[0].unit.at, fresh=fresh)


def _adopt_calls(c: sa.Connection, works: Sequence[_UnitPlanning]) -> None:
    """Adopt the planned calls that ended runs planned too. Drop answered ones of items that are new here.

    Raises:
        Conflict: one of the runs has not ended, and will deliver its plan itself.
    """
    work_of = {call.call_id: work for work in works for call in work.calls}
    of_new = {
        decision.after.call_id
        for work in works
        for decision in work.decisions
        if decision.after is not None and decision.before is None
    }
    ids = sorted(work_of.keys() | of_new)
    rows = execute_among(c, STORED, "calls", ids).all()
    lost = {row.call_id for row in rows if row.state is CallState.ACKED and row.call_id in of_new}
    execute_among(c, DROP, "calls", sorted(lost))
    for row in rows:
        work = work_of.get(row.call_id)
        if work is None or row.call_id in lost or row.run_id == work.unit.held.id:
            continue
        if row.run_state not in FINAL_RUN_STATES:
            raise Conflict(f"call {row.call_id} is held by run {row.run_id}, which is {row.run_state}")
        work.adopted.append(CallId(row.call_id))


def fail_message(
    c: sa.Connection,
    held: FencedRun,
    agent_id: AgentId,
    *,
    unit_key: str,
    seen_key: str,
    version: str,
    subject: str,
    content_hash: str,
    size_bytes: int | None,
    error: str,
    code: str,
    is_its_fault: bool,
    most_tries: int = seen_messages.MAX_TRIES,
    is_final: bool = False,
    at: int,
    began_at: int | None = None,
    read_at: int | None = None,
) -> State:
    """Fail a mailbox message like ``fail_unit``. After *most_tries* runs it is dead: the cursor may pass it.

    Args:
        is_its_fault: false if a budget, a limit or another run prevented it: retries are unlimited.
        is_final: no run can ever read it: it is dead at once, with *error* as reason.

    Raises:
        StaleRun, StillOpen, IllegalTransition: as ``fail_unit``; nothing was written.
    """
    fail_unit(
        c,
        held,
        unit_key=unit_key,
        content_hash=content_hash,
        size_bytes=size_bytes,
        error=error,
        code=code,
        at=at,
        began_at=began_at,
        read_at=read_at,
    )
    return seen_messages.note_failed(
        c,
        agent_id,
        seen_key,
        version=version,
        subject=subject,
        run_id=held.id,
        reason=error if is_final else code,
        at=at,
        counts=is_its_fault,
        most_tries=most_tries,
        is_final=is_final,
    )


def leave_out(
    c: sa.Connection, held: FencedRun, agent_id: AgentId, messages: Sequence[tuple[str, str, str]], at: int
) -> None:
    """Record these messages (key, version, reason) as left out, and count them as skipped.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    seen_messages.note_left_out(c, agent_id, messages, run_id=held.id, at=at)
    advance(c, held, at=at, skipped=len(messages))
