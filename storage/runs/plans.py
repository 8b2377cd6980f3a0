"""Plan of a file or message: all its calls are stored before the first is sent; limits of items.

Messages of a mailbox are planned, failed or left out together with the record of seen messages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, CallId
from protocol.lifecycles import FINAL_RUN_STATES, UNIT, CallState, UnitEvent, UnitState
from storage.connectors import seen_messages
from storage.connectors.seen_messages import State
from storage.executing_runs import FencedRun, check_held, is_held, stale
from storage.kernel.columns import Int, as_stored, columns_of, execute_for_each, in_parts, values_of
from storage.kernel.database import Conflict
from storage.runs.calls import AMONG, IS_OPEN, OF_UNIT, OPEN_CALLS_OF_UNIT, OpenCall, count_calls
from storage.runs.excerpts import SealedExcerpt, put_excerpts
from storage.runs.items import (
    Decide,
    Decision,
    Finder,
    FoundItem,
    ItemRow,
    KnownItems,
    PlannedCall,
    count_held,
    drop_held,
    known_items,
    write_items,
)
from storage.runs.runs import advance
from storage.runs.units import ADD_UNIT, UnitRow, fail_unit, settle_unit
from storage.schema import agents, run_calls, run_units, runs, unit_ledger, users

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
    is_marked: bool = False  # the calls are marked as sent
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
        runs.c.agent_id,
        runs.c.device_id,
        runs.c.config_fingerprint,
        runs.c.crash_count,
        sa.select(agents.c.user_id).where(agents.c.id == runs.c.agent_id).scalar_subquery().label("user_id"),
    )
)
# Serializes plans of a user's units, so that the later plan sees the items of the earlier. Rows that refer to
# the user do not wait. The unit does not change during a wait, because its run is locked.
LOCK_USER = (
    sa.select(*columns_of(UnitRow, run_units))
    .select_from(users)
    .outerjoin(
        run_units,
        sa.and_(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit")),
    )
    .where(users.c.id == sa.bindparam("user"))
    .with_for_update(of=users, key_share=True)
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
        unit_ledger.c.agent_id
        == sa.select(runs.c.agent_id).where(runs.c.id == sa.bindparam("run")).scalar_subquery(),
        unit_ledger.c.unit_key == sa.bindparam("unit"),
        unit_ledger.c.content_hash.not_in(["", sa.bindparam("digest")]),
    )
    .values(content_hash="")
)


def plan_unit(
    c: sa.Connection,
    held: FencedRun,
    *,
    unit_key: str,
    content_hash: str,
    size_bytes: int | None,
    found: Sequence[FoundItem],
    decide: Decide,
    at: int,
    began_at: int | None = None,
    read_at: int | None = None,
    notes: Mapping[str, Any] | None = None,
    caps: ItemCaps | None = None,
    planned_at_most: int | None = None,
    is_whole: bool = False,
    seal: Seal | None = None,
    most_sent: int = 0,
) -> UnitPlan:
    """Plan a unit that was read: EXTRACTED, with all its calls. Must be committed before the first send.

    Decides about each extracted item in one transaction with the ledger of items: see
    ``storage.runs.items.Decision``. A call id that an ended run planned is adopted, with its answer if any. A
    call without an answer is sent again, with this plan's payload if the earlier one was deleted. So is the
    answered call of an item that the ledger has forgotten, since its device lost it. Planning a unit of this
    run again, because its file changed or it failed, drops unsent calls and keeps the rest. A unit without
    open calls is EXTRACTED too, and settled by ``settle_unit``: here, if nothing is missing. A plan that adds
    calls resets the run's crash count.

    Args:
        decide: pure function of the known items; called again when the transaction is repeated.
        began_at, read_at: times at which the unit's text began to arrive, and was there.
        notes: statistics about the reading; ``left_out`` is added if a limit was reached.
        caps: limits on new items.
        planned_at_most: the run has planned so many calls or fewer; None: it is not known. They are counted
            only if there might be no room: to count them for each unit of a large run is slow.
        is_whole: all of the unit was read, and nothing waits for the model.
        seal: returns the excerpt around an item's quote; None: no excerpts are stored.
        most_sent: up to so many calls of a unit that is new to the run are marked as sent, because they are
            sent next.

    Raises:
        StaleRun: the run has another fence, or has ended.
        IllegalTransition: the unit is DONE or SKIPPED in this run.
        Conflict: another run that has not ended holds one of the calls.
        In each case nothing was written.
    """
    run = c.execute(HOLD, {"run": held.id, "held": held.fence, "now": at}).one_or_none()
    if run is None:
        raise stale(held)
    here = {"run": held.id, "unit": unit_key, "now": at}
    row = c.execute(LOCK_USER, here | {"user": run.user_id}).one()
    before = None if row.unit_key is None else UnitRow(*row)
    is_retried = before is not None and before.state is UnitState.FAILED
    if before is not None and before.state is not UnitState.EXTRACTED:
        pending = UNIT.after(before.state, UnitEvent.RETRIED) if is_retried else before.state
        UNIT.after(pending, UnitEvent.PLANNED)
    finder = Finder(
        user_id=run.user_id,
        agent_id=run.agent_id,
        device_id=run.device_id,
        run_id=held.id,
        unit_key=unit_key,
        config_fingerprint=run.config_fingerprint,
        at=at,
    )
    known_rows = known_items(c, finder, found)
    decisions, held_count, unlikely = _held(c, known_rows, decide(known_rows))
    if unlikely:
        dropped = (notes or {}).get("dropped", {})
        more = {UNLIKELY: dropped.get(UNLIKELY, 0) + unlikely}
        notes = dict(notes or {}) | {"dropped": dropped | more}
    left_out: dict[str, int] = {}
    planned_before: int | None = None
    if caps is not None and any(decision.is_new for decision in decisions):
        planned = planned_at_most
        if planned is None or planned + len(decisions) > caps.items_per_run:
            planned = planned_before = c.execute(PLANNED_IN_RUN, {"run": held.id}).scalar_one()
        decisions, left_out = capped(decisions, caps, planned=planned)
    calls = [decision.call for decision in decisions if decision.call is not None]
    adopted = _of_earlier_runs(c, held, decisions)
    is_new = before is None and not adopted
    unit = {
        "content_hash": content_hash,
        "size_bytes": size_bytes,
        "state": UnitState.EXTRACTED,
        "notes": dict(notes or {})
        | ({"left_out": left_out} if left_out else {})
        | ({"held": held_count} if held_count else {})
        or None,
        "awaits": sorted({decision.awaits for decision in decisions if decision.awaits is not None}),
        "is_behind": int(any(decision.is_behind for decision in decisions)),
        "error": None,
        "began_at": began_at,
        "read_at": read_at,
        "planned_at": at,
        "updated_at": at,
    }
    without_call = [decision for decision in decisions if decision.call is None and not decision.is_held]
    present: set[str] = set()
    if is_new:
        known = _count_known(c, held, without_call, present, 0)
        counts = {"calls_planned": len(calls), "calls_settled": 0, "items_known": known, "attempts": 1}
        c.execute(ADD_UNIT, {"run_id": held.id, "unit_key": unit_key} | unit | counts)
    else:
        present = _calls_of_before(c, here, before, calls, adopted)
    fresh = [call for call in calls if call.call_id not in present]
    is_marked = is_new and 0 < len(calls) <= most_sent
    if fresh:
        common: dict[str, Any] = {"run_id": held.id, "unit_key": unit_key, "updated_at": at}
        if is_marked:
            common |= {"state": CallState.SENT, "sends": 1, "sent_at": at}
        rows = [values_of(call, run_calls, target_table=call.table, **common) for call in fresh]
        execute_for_each(c, ADD_CALLS, rows)
    write_items(c, decisions)
    if seal is not None:
        _write_excerpts(c, decisions, seal, at)
    if calls:
        c.execute(OUTDATED, here | {"digest": content_hash})
    if is_new:
        still = sorted((_open_call(c, unit_key, call, is_marked) for call in calls), key=_position)
    else:
        total, still_open, _ = count_calls(c, held.id, unit_key)
        known = _count_known(c, held, without_call, present, 0 if before is None else before.items_known)
        unit |= {"calls_planned": total, "calls_settled": total - still_open, "items_known": known}
        c.execute(EXTRACT, here | {f"new_{name}": value for name, value in unit.items()})
        still = [OpenCall(*row) for row in c.execute(OPEN_CALLS_OF_UNIT, here)] if still_open else []
    got_further = before is None or is_retried or bool(adopted or fresh)
    if is_retried or (got_further and run.crash_count):
        advance(c, held, at=at, failed=-1 if is_retried else 0)
    is_whole = is_whole and not left_out
    settled = settle_unit(c, held, unit_key, at) if is_whole and not still else None
    return UnitPlan(
        still,
        len(adopted),
        known,
        left_out,
        settled,
        is_whole,
        is_marked,
        calls=len(calls),
        planned_before=planned_before,
        held=held_count,
    )


def _held(
    c: sa.Connection, known: KnownItems, decisions: Sequence[Decision]
) -> tuple[Sequence[Decision], int, int]:
    """Delete items that the hub holds and that the unit does not have any more.

    Returns:
        The decisions, without those that would hold too many items; the number of items that are held, and of
        those that are not.
    """
    agent_id = known.finder.agent_id
    rows = (known_item.row for known_item in known.here)
    before = {row.id for row in rows if row.verdict == "held" and row.agent_id == agent_id}
    stay = {decision.before.id for decision in decisions if decision.before is not None}
    drop_held(c, sorted(before - stay))
    held = [decision for decision in decisions if decision.is_held]
    fresh = [decision for decision in held if decision.before is None]
    if not fresh:
        return decisions, len(held), 0
    room = min(MAX_HELD_OF_UNIT - len(held) + len(fresh), MAX_HELD_OF_AGENT - count_held(c, agent_id))
    beyond = {id(decision) for decision in fresh[max(0, room) :]}
    left = [decision for decision in decisions if id(decision) not in beyond]
    return left, len(held) - len(beyond), len(beyond)


def _calls_of_before(
    c: sa.Connection,
    here: dict[str, Any],
    before: UnitRow | None,
    calls: Sequence[PlannedCall],
    adopted: Sequence[CallId],
) -> set[str]:
    """Apply the new plan to the calls of the unit and of earlier runs. Return the ids of the unit's calls."""
    carried = {call.call_id: call.payload for call in calls}
    if before is None:
        about = {"content_hash": "", "state": UNIT.initial, "updated_at": here["now"]}
        c.execute(ADD_UNIT, {"run_id": here["run"], "unit_key": here["unit"]} | about)
    else:
        unsent = c.execute(UNSENT_OF_UNIT, here).scalars()
        for part in in_parts([call_id for call_id in unsent if call_id not in carried]):
            c.execute(DROP, {"calls": part})
    for part in in_parts(adopted):
        c.execute(ADOPT, here | {"calls": part})
    for part in in_parts([*carried]):
        c.execute(ASK_AGAIN, {"calls": part, "now": here["now"]})
    if adopted:
        c.execute(REMIND, [{"call": call_id, "carried": carried[call_id]} for call_id in adopted])
    return set(c.execute(IDS_OF_UNIT, here).scalars())


def _open_call(c: sa.Connection, unit_key: str, call: PlannedCall, is_marked: bool) -> OpenCall:
    """Return a call as its row, which was just written, would be read."""
    state = CallState.SENT if is_marked else CallState.PLANNED
    payload = as_stored(c, call.payload)
    return OpenCall(call.call_id, unit_key, call.ordinal, call.table, payload, state, int(is_marked))


def _position(call: OpenCall) -> tuple[int, str]:
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


def _write_excerpts(c: sa.Connection, decisions: Sequence[Decision], seal: Seal, at: int) -> None:
    """Store the excerpts of items whose place is new and that wait for a verdict, or will."""
    rows = [
        decision.after
        for decision in decisions
        if decision.after is not None
        and (decision.before is None or decision.before.source != decision.after.source)
        and (decision.after.verdict in ("open", "held") or decision.after.answered_at is None)
    ]
    fresh = [
        decision.after.id for decision in decisions if decision.after is not None and decision.before is None
    ]
    put_excerpts(c, {row.id: seal(row) for row in rows}, at=at, fresh=fresh)


def _count_known(
    c: sa.Connection, held: FencedRun, known: Sequence[Decision], of_this_run: set[str], counted: int
) -> int:
    """Return the number of items that are known from outside this run's earlier plans of the unit.

    Args:
        counted: their number when the unit was planned last in this run.
    """
    count = sum(
        1 for decision in known if decision.before is None or decision.before.call_id not in of_this_run
    )
    if count != counted:
        c.execute(COUNT_KNOWN, {"run": held.id, "more": count - counted})
    return count


def _of_earlier_runs(c: sa.Connection, held: FencedRun, decisions: Sequence[Decision]) -> list[CallId]:
    """Return the planned calls that ended runs planned too. Drop answered ones of items that are new here.

    Raises:
        Conflict: one of the runs has not ended, and will deliver its plan itself.
    """
    ids = {decision.call.call_id for decision in decisions if decision.call is not None}
    of_new = {
        decision.after.call_id
        for decision in decisions
        if decision.after is not None and decision.before is None
    }
    rows = [row for part in in_parts(sorted(ids | of_new)) for row in c.execute(STORED, {"calls": part})]
    lost = {row.call_id for row in rows if row.state is CallState.ACKED and row.call_id in of_new}
    for part in in_parts(sorted(lost)):
        c.execute(DROP, {"calls": part})
    elsewhere = [row for row in rows if row.run_id != held.id and row.call_id in ids - lost]
    for row in elsewhere:
        if row.run_state not in FINAL_RUN_STATES:
            raise Conflict(f"call {row.call_id} is held by run {row.run_id}, which is {row.run_state}")
    return [CallId(row.call_id) for row in elsewhere]


def plan_message(
    c: sa.Connection,
    held: FencedRun,
    agent_id: AgentId,
    *,
    unit_key: str,
    seen_keys: Sequence[str],
    version: str,
    event: str = "",
    is_whole: bool,
    content_hash: str,
    size_bytes: int | None,
    found: Sequence[FoundItem],
    decide: Decide,
    at: int,
    began_at: int | None = None,
    read_at: int | None = None,
    notes: Mapping[str, Any] | None = None,
    caps: ItemCaps | None = None,
    planned_at_most: int | None = None,
    most_sent: int = 0,
) -> UnitPlan:
    """Plan a mailbox message like ``plan_unit``, and record it as seen.

    Args:
        seen_keys: keys that identify the message from now on, its own key first.
        version: version of its content, which may change under the same key.
        event: version of the event that the unit is, recorded under the unit's key; empty for others.
        is_whole: false if a part could not be read: the next run reads it again and adds the missing items.

    Raises:
        StaleRun, IllegalTransition, Conflict: as ``plan_unit``; nothing was written.
    """
    plan = plan_unit(
        c,
        held,
        unit_key=unit_key,
        content_hash=content_hash,
        size_bytes=size_bytes,
        found=found,
        decide=decide,
        at=at,
        began_at=began_at,
        read_at=read_at,
        notes=notes,
        caps=caps,
        planned_at_most=planned_at_most,
        is_whole=is_whole,
        most_sent=most_sent,
    )
    about: dict[str, Any] = {"version": version, "run_id": held.id, "at": at}
    if is_whole:
        for key in seen_keys:
            seen_messages.note_seen(c, agent_id, key, "planned", **about)
        if event:
            seen_messages.note_seen(c, agent_id, unit_key, "planned", **about | {"version": event})
    else:
        seen_messages.note_failed(c, agent_id, seen_keys[0], reason="incomplete", **about)
    return plan


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
