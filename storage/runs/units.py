"""Files and messages of runs: state, retries, failure after a refused call; ledger of finished ones.

``plans`` has the calls of a unit, and ``calls`` sends and settles them. The plan of a unit is written before
its first call is sent. A call is sent again with the same id until it is answered. So after any crash an item
is neither lost nor delivered twice. Later runs try a failed unit after others.

Digests of listings that are settled as a whole.

A tree is the digest of a complete listing. A run that may change the agent's ledger first adds a row without
a digest, and deletes the row with one. At its end it adds the digest to its row. It does not if the ledger
lacks a listed file, or another run of the agent could write meanwhile. So a digest in the database is true of
the ledger beside it, also after a restore.

Any other change of the ledger spoils the trees in the same transaction: a settled digest is forgotten, and a
run that is reading settles none.

A tree is believed for ``RENEWED_AFTER_MS``. The next run then lists every file, which renews their entries.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError, IllegalTransition
from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.lifecycles import EXECUTING_RUN_STATES, UNIT, CallState, UnitEvent, UnitState
from storage.agents.agents import roams
from storage.executing_runs import FencedRun, StaleRun, check_held
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    execute_among,
    execute_for_each,
    fetch_page,
    in_parts,
    paged,
    upsert,
)
from storage.kernel.database import lone
from storage.runs.calls import OF_UNIT, CallAnswer, count_calls, judge_answers, mark_sent, write_settled
from storage.runs.items import are_answered
from storage.runs.runs import advance, record_error
from storage.schema import agents, devices, folder_trees, items, run_calls, run_units, runs, unit_ledger

LEANING_AT_ONCE = 500  # units in one transaction


class StillOpen(IllegalTransition):
    """Error: a unit has unanswered calls (*calls*: their number). Nothing was written."""

    def __init__(self, unit_key: str, calls: int) -> None:
        super().__init__(f"the unit {unit_key!r} has {calls} calls that are not answered")
        self.calls = calls


class UnitRow(msgspec.Struct, frozen=True):
    """File or message of a run. *read_at*: arrival of its text; *planned_at*: time of its plan.

    *began_at*: arrival of its first piece. *items_known*: number of items found in it without a call, because
    they are known.
    """

    unit_key: str
    content_hash: str
    size_bytes: int | None
    state: UnitState
    attempts: int
    calls_planned: int
    calls_settled: int
    items_known: int
    error: str | None
    read_at: int | None
    planned_at: int | None
    updated_at: int
    began_at: int | None = None
    notes: dict[str, Any] | None = None  # statistics about its reading; numbers, never text of the unit


def unread_languages(units: Iterable[UnitRow]) -> Counter[str]:
    """Return the number of units by the language in which nothing reads their sentences."""
    return Counter(name for unit in units for name in (unit.notes or {}).get("unread_languages", ()))


class LedgerEntry(msgspec.Struct, frozen=True):
    """Entry of the ledger. *content_hash*: the settled content, empty if the unit must be read again."""

    content_hash: str
    tried_at: int  # when the unit was last settled, tried or renewed, in epoch milliseconds


NO_ENTRY: Final = LedgerEntry("", 0)


class PastUnit(msgspec.Struct, frozen=True):
    """Past of a unit of an agent: its newest row with the run, and its entry of the ledger, if there are any.

    *done_in*: the run that settled it, else the first that tried it; *done_at*: when that run ended, 0 if it
    has not, or is no longer kept; *content_hash* and *fingerprint*: the settled content and the settings.
    """

    unit_key: str
    unit: UnitRow | None = None
    run_id: RunId | None = None
    done_in: RunId | None = None
    done_at: int = 0
    content_hash: str = ""
    fingerprint: str = ""


ENTRIES = sa.select(
    unit_ledger.c.unit_key,
    sa.case(
        (unit_ledger.c.config_fingerprint == sa.bindparam("fingerprint"), unit_ledger.c.content_hash),
        else_="",
    ).label("content_hash"),
    unit_ledger.c.done_at,
).where(
    unit_ledger.c.agent_id == sa.bindparam("agent"),
    unit_ledger.c.unit_key.in_(sa.bindparam("keys", expanding=True)),
)
RENEWED_AFTER_MS = 30 * 86_400_000  # so that an unchanged file costs no write in most runs
RENEW = (
    sa.update(unit_ledger)
    .where(
        unit_ledger.c.agent_id
        == sa.select(runs.c.agent_id).where(runs.c.id == sa.bindparam("run")).scalar_subquery(),
        unit_ledger.c.unit_key.in_(sa.bindparam("keys", expanding=True)),
        unit_ledger.c.done_at < sa.bindparam("old"),
    )
    .values(done_at=sa.bindparam("now"))
)
UNITS = (
    sa.select(*columns_of(UnitRow, run_units))
    .where(run_units.c.run_id == sa.bindparam("run"))
    .order_by(run_units.c.unit_key)
)
_is_known = sa.and_(run_units.c.state == UnitState.SKIPPED, run_units.c.error.is_(None))
FIRST_UNITS = (
    sa.select(*columns_of(UnitRow, run_units))
    .where(run_units.c.run_id == sa.bindparam("run"))
    .order_by(_is_known, run_units.c.unit_key)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
ONE_UNIT = sa.select(*columns_of(UnitRow, run_units)).where(
    run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit")
)
UNITS_AMONG = sa.select(*columns_of(UnitRow, run_units)).where(
    run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key.in_(sa.bindparam("keys", expanding=True))
)
POSTPONED_UNITS = UNITS.where(run_units.c.state == UnitState.PENDING)
UNIT_STATES = sa.select(run_units.c.unit_key, run_units.c.state).where(
    run_units.c.run_id == sa.bindparam("run")
)


LATE_RUNS: Final = 50  # of an agent, in which a unit is looked up
MAX_KEYS: Final = 5_000  # of an agent's ledger, among which similar ones are looked up
_late = (
    sa.select(runs.c.id, runs.c.created_at)
    .where(runs.c.agent_id == sa.bindparam("agent"))
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(LATE_RUNS)
    .subquery()
)
LATE_UNITS = (
    sa.select(*columns_of(UnitRow, run_units), run_units.c.run_id)
    .join_from(_late, run_units, run_units.c.run_id == _late.c.id)
    .where(run_units.c.unit_key.in_(sa.bindparam("keys", expanding=True)))
    .order_by(_late.c.created_at, _late.c.id)
)
SETTLED = (
    sa.select(
        unit_ledger.c.unit_key,
        unit_ledger.c.run_id,
        sa.func.coalesce(runs.c.completed_at, 0),  # done_at of the entry may be that of a later attempt
        unit_ledger.c.content_hash,
        unit_ledger.c.config_fingerprint,
    )
    .join_from(unit_ledger, runs, runs.c.id == unit_ledger.c.run_id, isouter=True)
    .where(
        unit_ledger.c.agent_id == sa.bindparam("agent"),
        unit_ledger.c.unit_key.in_(sa.bindparam("keys", expanding=True)),
    )
)
KEYS = (
    sa.select(unit_ledger.c.unit_key)
    .where(unit_ledger.c.agent_id == sa.bindparam("agent"))
    .order_by(unit_ledger.c.unit_key)
    .limit(MAX_KEYS)
)


def past_units(c: sa.Connection, agent_id: AgentId, unit_keys: Sequence[str]) -> dict[str, PastUnit]:
    """Return the past of those of these units that an agent knows, by key."""
    here = {"agent": agent_id, "keys": unit_keys}
    found = {row.unit_key: PastUnit(row.unit_key, None, None, *row[1:]) for row in c.execute(SETTLED, here)}
    for *unit, run_id in c.execute(LATE_UNITS, here):
        row = UnitRow(*unit)
        past = found.get(row.unit_key) or PastUnit(row.unit_key)
        found[row.unit_key] = msgspec.structs.replace(past, unit=row, run_id=run_id)
    return found


def unit_keys(c: sa.Connection, agent_id: AgentId) -> list[str]:
    """Return the first MAX_KEYS keys of an agent's ledger."""
    return list(c.execute(KEYS, {"agent": agent_id}).scalars())


def ledger_entries(
    c: sa.Connection, agent_id: AgentId, config_fingerprint: str, unit_keys: Sequence[str]
) -> dict[str, LedgerEntry]:
    """Return the ledger's entries of these units, by key; a unit read with other settings has no content."""
    return {
        row.unit_key: LedgerEntry(row.content_hash, row.done_at)
        for part in in_parts(unit_keys)
        for row in c.execute(ENTRIES, {"agent": agent_id, "fingerprint": config_fingerprint, "keys": part})
    }


def renew_entries(c: sa.Connection, held: FencedRun, unit_keys: Sequence[str], at: int) -> None:
    """Keep the old ones among these entries for longer, because their units are there unchanged.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    execute_among(c, RENEW, "keys", unit_keys, {"run": held.id, "old": at - RENEWED_AFTER_MS, "now": at})


@lone
def units_of(c: sa.Connection, run_id: RunId) -> list[UnitRow]:
    """Return the units (files or mails) of a run in the order of their keys."""
    return [UnitRow(*row) for row in c.execute(UNITS, {"run": run_id})]


@lone
def postponed_units(c: sa.Connection, run_id: RunId) -> list[UnitRow]:
    """Return the units of a run whose text waits for the model, by key."""
    return [UnitRow(*row) for row in c.execute(POSTPONED_UNITS, {"run": run_id})]


def first_units(c: sa.Connection, run_id: RunId, most: int) -> list[UnitRow]:
    """Return at most *most* units of a run by key; units known from earlier runs come last."""
    return [UnitRow(*row) for row in c.execute(FIRST_UNITS, {"run": run_id, "most": most})]


def list_units(
    c: sa.Connection,
    run_id: RunId,
    *,
    state: UnitState | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[UnitRow]:
    """Return units of a run by key, in one state or all."""
    of = run_units.c
    only = [of.run_id == run_id] + ([] if state is None else [of.state == state])
    query = paged(
        sa.select(*columns_of(UnitRow, run_units)), of.unit_key, limit=limit, after=after, only=only
    )
    return fetch_page(c, UnitRow, query, limit)


_COUNTED: Final = sa.select(
    runs.c.units_done
    + runs.c.units_failed
    - sa.select(sa.func.count())
    .where(run_units.c.run_id == runs.c.id, run_units.c.state.in_((UnitState.DONE, UnitState.FAILED)))
    .scalar_subquery()
).where(runs.c.id == sa.bindparam("run"))


def missing_units(c: sa.Connection, run_id: RunId) -> int:
    """Return how many units the run has counted as read or failed that have no row any more."""
    return max(0, int(c.execute(_COUNTED, {"run": run_id}).scalar_one()))


@lone
def empty_units(c: sa.Connection, run_ids: Collection[RunId]) -> dict[RunId, int]:
    """Return the number of units without text that were read in these runs; runs without any are left out."""
    query = sa.select(run_units.c.run_id, sa.func.count()).where(
        run_units.c.run_id.in_(run_ids),
        run_units.c.size_bytes == 0,
        run_units.c.state.in_((UnitState.DONE, UnitState.FAILED)),
    )
    return {RunId(row[0]): row[1] for row in c.execute(query.group_by(run_units.c.run_id))}


def find_unit(c: sa.Connection, run_id: RunId, unit_key: str) -> UnitRow | None:
    """Return the unit of the run, if any."""
    row = c.execute(ONE_UNIT, {"run": run_id, "unit": unit_key}).one_or_none()
    return None if row is None else UnitRow(*row)


AT_ANOTHER_DEVICE: Final = "at_another_device"  # begins the reason why a message waits for another run
ELSEWHERE = (
    sa.select(sa.func.min(devices.c.name))
    .join_from(items, devices, devices.c.id == items.c.device_id)
    .join(agents, agents.c.id == items.c.agent_id)
    .where(
        items.c.user_id == sa.bindparam("user"),
        items.c.unit_key == sa.bindparam("unit"),
        items.c.agent_id == sa.bindparam("agent"),
        items.c.device_id != sa.bindparam("device"),
        devices.c.revoked_at.is_(None),
        roams(),
    )
)


def device_of_unit(
    c: sa.Connection, agent_id: AgentId, user_id: UserId, unit_key: str, device_id: DeviceId
) -> str | None:
    """Return the name of another device that has items of the message, if the agent has no device."""
    sought = {"user": user_id, "agent": agent_id, "unit": unit_key, "device": device_id}
    name: str | None = c.execute(ELSEWHERE, sought).scalar_one()
    return name


def skip_units(
    c: sa.Connection,
    held: FencedRun,
    units: Collection[tuple[str, str, int | None]],
    at: int,
    *,
    reason: str | None = None,
    is_tried: bool = False,
) -> int:
    """Mark these (key, content hash, size in bytes) as SKIPPED. Return the number of new units.

    Without a *reason* the ledger knows them; a reason is stored with the unit. *is_tried*: they were read, so
    a later run tries other units first. A unit that the run already has stays unchanged, unless it was
    postponed.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    known = {row.unit_key: row.state for row in c.execute(UNIT_STATES, {"run": held.id})}
    fresh = {
        key: {
            "run_id": held.id,
            "unit_key": key,
            "content_hash": digest,
            "size_bytes": size,
            "state": UnitState.SKIPPED,
            "error": reason,
            "updated_at": at,
        }
        for key, digest, size in units
        if key not in known
    }
    postponed = [
        {"run": held.id, "unit": key, "now": at, "after": UnitState.SKIPPED, "wrong": reason, "dropped": 0}
        for key, _, _ in units
        if known.get(key) is UnitState.PENDING
    ]
    if fresh:
        c.execute(sa.insert(run_units), list(fresh.values()))
    if postponed:
        c.execute(MOVE_UNIT, postponed)
    if fresh or postponed:
        advance(c, held, at=at, skipped=len(fresh) + len(postponed))
        for key in (*fresh, *(str(move["unit"]) for move in postponed)) if is_tried else ():
            note_tried(c, held.id, key, at)
    return len(fresh)


ADD_UNIT = sa.insert(run_units)
DROP_UNSENT = sa.delete(run_calls).where(*OF_UNIT, run_calls.c.state == CallState.PLANNED)
MOVE_UNIT = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        state=sa.bindparam("after"),
        error=sa.bindparam("wrong"),
        calls_planned=run_units.c.calls_planned - sa.bindparam("dropped"),
        updated_at=sa.bindparam("now"),
    )
)
REFUSED = (CallState.REJECTED, CallState.UNKNOWN)
REFUSALS = (
    sa.select(run_calls.c.action, run_calls.c.target_table, run_calls.c.state, run_calls.c.result)
    .where(*OF_UNIT, run_calls.c.state.in_(REFUSED))
    .order_by(run_calls.c.ordinal)
)
ENTER = upsert(unit_ledger)
TRIED = (
    sa.update(unit_ledger)
    .where(unit_ledger.c.agent_id == sa.bindparam("agent"), unit_ledger.c.unit_key == sa.bindparam("unit"))
    .values(done_at=sa.bindparam("now"))
)
AGENT_OF_RUN = sa.select(runs.c.agent_id, runs.c.config_fingerprint).where(runs.c.id == sa.bindparam("run"))
AWAITS = sa.select(run_units.c.awaits, run_units.c.is_behind).where(
    run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit")
)


def settle_unit(
    c: sa.Connection,
    held: FencedRun,
    unit_key: str,
    at: int,
    *,
    waits_for: str | None = None,
    unanswered: str | None = None,
) -> UnitState:
    """Settle a unit whose calls are all answered: DONE and in the ledger, or FAILED if one was refused.

    Each call that was refused is recorded as an error of the run. A settled unit stays unchanged, so the call
    may be repeated. A unit that depends on an item that its device does not have yet is DONE without a ledger
    entry. ``settle_leaning`` adds the entry later, or the next run reads the unit again.

    Args:
        waits_for: description of what the rest of the unit waits for: it becomes PENDING instead of DONE, and
            the run's next attempt reads it again.
        unanswered: why that was asked for in vain; attempts then read other units first.

    Raises:
        StaleRun: the run has another fence, or has ended.
        StillOpen: a call is not answered.
        IllegalTransition: the unit has no plan.
        In each case nothing was written.
    """
    check_held(c, held)
    unit = find_unit(c, held.id, unit_key)
    if unit is None:
        raise IllegalTransition(f"the unit {unit_key!r} is not known in run {held.id}")
    if UNIT.is_final(unit.state) or unit.state is UnitState.FAILED:
        return unit.state
    _, still_open, counts = count_calls(c, held.id, unit_key)
    if still_open:
        raise StillOpen(unit_key, still_open)
    if counts.get(CallState.REJECTED) or counts.get(CallState.UNKNOWN):
        errors = _refusals(c, held.id, unit_key)
        failures = Counter(_FAILURES[code] for code, _ in errors)
        summary = " and ".join(f"{verb} {count}" for verb, count in failures.items())
        return _fail(c, held, unit, f"the device {summary} of its calls", errors, at)
    after = UNIT.after(unit.state, UnitEvent.SETTLED if waits_for is None else UnitEvent.POSTPONED)
    here = {"run": held.id, "unit": unit_key, "now": at}
    wrong = waits_for if unanswered is None else f"{waits_for}: {unanswered}"
    c.execute(MOVE_UNIT, here | {"after": after, "wrong": wrong, "dropped": 0})
    if waits_for is not None:
        if unanswered is not None:
            note_tried(c, held.id, unit_key, at)
        return after
    awaits, is_behind = c.execute(AWAITS, here).one()
    if not is_behind and are_answered(c, awaits):
        _write_ledger(c, held.id, unit, at)
    advance(c, held, at=at, done=1)
    return after


REFUSED_AMONG = sa.select(run_calls.c.unit_key).where(
    run_calls.c.run_id == sa.bindparam("run"),
    run_calls.c.unit_key.in_(sa.bindparam("keys", expanding=True)),
    run_calls.c.state.in_(REFUSED),
)
ANSWERED_UNITS = UNITS_AMONG.add_columns(run_units.c.awaits, run_units.c.is_behind)


class AnsweredCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Batch of answers to calls of a run, with the calls that are sent next.

    Attributes:
        held: if another process has taken over the run, the answers count, but no unit is settled.
        whole: keys of units of which no part is missing, and nothing waits for a model.
        following: calls to mark as sent.
    """

    held: FencedRun
    answers: Sequence[CallAnswer]
    at: int
    whole: Collection[str] = ()
    following: Sequence[CallId] = ()


class SettledCalls(msgspec.Struct, frozen=True):
    """Outcomes of ``judge_answers``, keys of units that are DONE now, and following calls that may be sent.

    *marked*: None if the run has another fence, or has ended, so that nothing may be sent.
    """

    outcomes: list[bool | HubError]
    done: set[str]
    marked: list[CallId] | None


def settle_answers(c: sa.Connection, batches: Sequence[AnsweredCalls]) -> list[SettledCalls]:
    """Settle calls by their answers, and with them the units that this completes; mark those sent next.

    A unit is settled if these answers are the last of its calls, and the device took them and refused none
    before; ``settle_unit`` settles the others. The batches may be of several runs.
    """
    at = max(batch.at for batch in batches)
    outcomes, settled = judge_answers(c, [answer for batch in batches for answer in batch.answers])
    judged = iter(outcomes)
    whole = {(batch.held.id, batch.held.fence, key) for batch in batches for key in batch.whole}
    answered: Counter[tuple[RunId, str]] = Counter()
    calls: dict[RunId, Any] = {}
    for call, _, _, is_taken in settled:
        is_held = call.run_state in EXECUTING_RUN_STATES
        if is_taken and is_held and (call.run_id, call.fence, call.unit_key) in whole:
            answered[call.run_id, call.unit_key] += 1
            calls[call.run_id] = call
    done: set[tuple[RunId, str]] = set()
    entries = []
    for run_id, call in sorted(calls.items()):
        for part in in_parts(sorted(key for run, key in answered if run == run_id)):
            complete = [
                unit
                for unit in c.execute(ANSWERED_UNITS, {"run": run_id, "keys": part})
                if unit.state is UnitState.EXTRACTED
                and unit.calls_planned == unit.calls_settled + answered[run_id, unit.unit_key]
            ]
            earlier = [unit.unit_key for unit in complete if unit.calls_settled]
            sought = {"run": run_id, "keys": earlier}
            refused = set(c.execute(REFUSED_AMONG, sought).scalars()) if earlier else set()
            for unit in complete:
                if unit.unit_key not in refused:
                    done.add((run_id, unit.unit_key))
                    if not unit.is_behind:
                        entries.append((unit.awaits, ledger_entry(call, run_id, unit, at)))
    write_settled(c, settled, at, done=done)
    enter_units(c, [entry for awaits, entry in entries if are_answered(c, awaits)])
    found = []
    unit_of = {call.call_id: (call.run_id, call.unit_key) for call, *_ in settled}
    for batch in batches:
        mine = {unit_of[answer.call_id] for answer in batch.answers if answer.call_id in unit_of} & done
        done -= mine  # each is named once
        results = list(islice(judged, len(batch.answers)))
        found.append(SettledCalls(results, {key for _, key in mine}, _marked(c, batch)))
    return found


def _marked(c: sa.Connection, batch: AnsweredCalls) -> list[CallId] | None:
    try:
        return mark_sent(c, batch.held, batch.following, batch.at) if batch.following else []
    except StaleRun:
        return None


LEANING = (
    UNITS.add_columns(run_units.c.awaits)
    .where(
        sa.text("run_units.state = 'DONE' AND run_units.is_behind = 0 AND run_units.awaits <> '[]'"),
        run_units.c.unit_key > sa.bindparam("after"),
    )
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def settle_leaning(
    c: sa.Connection, held: FencedRun, *, after: str, at: int, most: int = LEANING_AT_ONCE
) -> str | None:
    """Add DONE units to the ledger whose device has received the items that they depended on.

    Args:
        after: last unit of the previous call.
        most: maximum number of units examined in this transaction.

    Returns:
        The unit to continue after; ``None``: no units are left.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    found = c.execute(LEANING, {"run": held.id, "after": after, "most": most}).all()
    for *unit, awaits in found:
        if are_answered(c, awaits):
            _write_ledger(c, held.id, UnitRow(*unit), at)
    return found[-1].unit_key if len(found) == most else None


# What a device did with a call that it did not take, by the code of the run's error.
_FAILURES: Final = {
    ErrorCode.DEVICE_ERROR: "refused",
    ErrorCode.BUSY: "could not take",
    ErrorCode.RESULT_TOO_LARGE: "answered too much to",
    ErrorCode.UNKNOWN_EFFECT: "did not answer",
    ErrorCode.CALL_TIMED_OUT: "did not get",
}
# Errors in the stored answers that the hub made itself.
_OF_HUB: Final = {
    CallState.REJECTED: (ErrorCode.RESULT_TOO_LARGE,),
    CallState.UNKNOWN: (ErrorCode.UNKNOWN_EFFECT, ErrorCode.CALL_TIMED_OUT),
}


def _refusals(c: sa.Connection, run_id: RunId, unit_key: str) -> list[tuple[ErrorCode, str]]:
    """Return code and message for each call of a unit that the device did not take."""
    found = []
    for call in c.execute(REFUSALS, {"run": run_id, "unit": unit_key}):
        error = (call.result or {}).get("error") or {}
        why = f": {error['message']} ({error['code']})" if "message" in error else ""
        code = ErrorCode.DEVICE_ERROR if call.state is CallState.REJECTED else ErrorCode.BUSY
        if (by_hub := error.get("code", ErrorCode.UNKNOWN_EFFECT)) in _OF_HUB[call.state]:
            code = ErrorCode(by_hub)
        found.append((code, f"the device {_FAILURES[code]} an {call.action} of {call.target_table}{why}"))
    return found


def _write_ledger(c: sa.Connection, run_id: RunId, unit: UnitRow, at: int) -> None:
    enter_units(c, [ledger_entry(c.execute(AGENT_OF_RUN, {"run": run_id}).one(), run_id, unit, at)])


def ledger_entry(run: Any, run_id: RunId, unit: Any, at: int) -> dict[str, Any]:
    """Return the row of the ledger for a unit that a run has settled."""
    entry = {"agent_id": run.agent_id, "config_fingerprint": run.config_fingerprint, "run_id": run_id}
    return entry | {"unit_key": unit.unit_key, "content_hash": unit.content_hash, "done_at": at}


def enter_units(c: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add settled units to the ledger, in the order of their keys, against deadlocks."""
    execute_for_each(c, ENTER, sorted(rows, key=itemgetter("agent_id", "unit_key")))


def note_tried(c: sa.Connection, run_id: RunId, unit_key: str, at: int) -> None:
    """Record an attempt, so that later runs try other units first.

    A unit that was never settled gets a ledger entry with an empty content hash, which matches no content.
    """
    agent_id, fingerprint = c.execute(AGENT_OF_RUN, {"run": run_id}).one()
    if c.execute(TRIED, {"agent": agent_id, "unit": unit_key, "now": at}).rowcount == 0:
        row = {"agent_id": agent_id, "unit_key": unit_key, "content_hash": "", "done_at": at}
        c.execute(sa.insert(unit_ledger), row | {"config_fingerprint": fingerprint, "run_id": run_id})


def fail_unit(
    c: sa.Connection,
    held: FencedRun,
    *,
    unit_key: str,
    content_hash: str,
    size_bytes: int | None,
    error: str,
    code: str = "unit_failed",
    at: int,
    began_at: int | None = None,
    read_at: int | None = None,
    is_tried: bool = True,
) -> None:
    """Mark a unit as FAILED that could not be read or extracted, and record the error with *code*.

    Planned calls that were never sent are dropped. A unit that is FAILED already stays unchanged, so the call
    may be repeated. *is_tried*: it was read, so later runs try other units first.

    Raises:
        StaleRun: the run has another fence, or has ended.
        StillOpen: a call of it was sent and is not answered.
        IllegalTransition: the unit is DONE or SKIPPED in this run.
        In each case nothing was written.
    """
    check_held(c, held)
    unit = find_unit(c, held.id, unit_key)
    if unit is not None and unit.state is UnitState.FAILED:
        return
    if unit is None:
        row = {"run_id": held.id, "unit_key": unit_key, "content_hash": content_hash}
        times = {"began_at": began_at, "read_at": read_at, "updated_at": at}
        c.execute(ADD_UNIT, row | times | {"size_bytes": size_bytes, "state": UNIT.initial})
        unit = UnitRow(unit_key, content_hash, size_bytes, UNIT.initial, 0, 0, 0, 0, None, None, None, at)
    _, _, counts = count_calls(c, held.id, unit_key)
    if sent := counts.get(CallState.SENT):
        raise StillOpen(unit_key, sent)
    _fail(c, held, unit, error, [(code, error)], at, is_tried=is_tried)


def _fail(
    c: sa.Connection,
    held: FencedRun,
    unit: UnitRow,
    message: str,
    errors: Sequence[tuple[str, str]],
    at: int,
    *,
    is_tried: bool = True,
) -> UnitState:
    """Fail a unit, and record each of these errors, which are codes and messages."""
    after = UNIT.after(unit.state, UnitEvent.FAILED)
    here = {"run": held.id, "unit": unit.unit_key, "now": at}
    dropped = c.execute(DROP_UNSENT, here).rowcount
    c.execute(MOVE_UNIT, here | {"after": after, "wrong": message, "dropped": dropped})
    for code, text in errors:
        record_error(c, held.id, unit.unit_key, code, text, at)
    if is_tried:
        note_tried(c, held.id, unit.unit_key, at)
    advance(c, held, at=at, failed=1)
    return after


SPOILED: Final = ""  # as digest: the ledger was changed while the run was reading


IS_SETTLED = sa.select(folder_trees.c.digest).where(
    folder_trees.c.agent_id == sa.bindparam("agent"),
    folder_trees.c.digest == sa.bindparam("digest"),
    folder_trees.c.config_fingerprint == sa.bindparam("fingerprint"),
    folder_trees.c.listed_at >= sa.bindparam("since", type_=Int),
)
ANY_UNIT = sa.select(run_units.c.unit_key).where(run_units.c.run_id == sa.bindparam("run")).limit(1)
FORGET = sa.delete(folder_trees).where(
    folder_trees.c.agent_id == sa.bindparam("agent"),
    sa.or_(
        folder_trees.c.run_id == sa.bindparam("run"),
        folder_trees.c.digest != SPOILED,
        ~sa.exists().where(runs.c.id == folder_trees.c.run_id, runs.c.completed_at.is_(None)),
    ),
)
BEGIN = sa.insert(folder_trees)


def has_settled_tree(c: sa.Connection, held: FencedRun, digest: str | None, at: int) -> bool:
    """Return True if all files of the tree are settled; otherwise note that the run may change the ledger.

    Args:
        digest: of the tree; None if it is not known.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    agent_id, fingerprint = c.execute(AGENT_OF_RUN, {"run": held.id}).one()
    sought = {"agent": agent_id, "digest": digest, "fingerprint": fingerprint, "since": at - RENEWED_AFTER_MS}
    if digest is not None and c.execute(IS_SETTLED, sought).one_or_none() is not None:
        is_first_attempt = c.execute(ANY_UNIT, {"run": held.id}).one_or_none() is None
        if is_first_attempt:  # a later one counts the units that the run has
            return True
    c.execute(FORGET, {"agent": agent_id, "run": held.id})
    row = {"agent_id": agent_id, "run_id": held.id, "config_fingerprint": fingerprint, "listed_at": at}
    c.execute(BEGIN, row)
    return False


READERS = sa.select(folder_trees.c.run_id, folder_trees.c.digest).where(
    folder_trees.c.agent_id == sa.bindparam("agent")
)
SETTLE = (
    sa.update(folder_trees)
    .where(folder_trees.c.agent_id == sa.bindparam("agent"))
    .values(digest=sa.bindparam("tree"))
)


def settle_tree(c: sa.Connection, held: FencedRun, digest: str, units: Mapping[str, str]) -> bool:
    """Store the tree of a run that settled all of it. Return False if that is not certain.

    Args:
        units: content hash, by key, of the listed units that were not settled when the run listed them.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    agent_id, fingerprint = c.execute(AGENT_OF_RUN, {"run": held.id}).one()
    # Another run of the agent may have settled other content of a listed unit meanwhile.
    if [tuple(row) for row in c.execute(READERS, {"agent": agent_id})] != [(held.id, None)]:
        return False
    entries = ledger_entries(c, agent_id, fingerprint, list(units))
    if any(entries.get(key, NO_ENTRY).content_hash != sha256 for key, sha256 in units.items()):
        return False
    c.execute(SETTLE, {"agent": agent_id, "tree": digest})
    return True


SPOIL = sa.update(folder_trees).values(digest=SPOILED)
SPOIL_OF_AGENTS = SPOIL.where(folder_trees.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
SPOIL_OF_DEVICE = SPOIL.where(
    folder_trees.c.agent_id.in_(sa.select(agents.c.id).where(agents.c.device_id == sa.bindparam("device")))
)


def spoil_trees_of(c: sa.Connection, agent_ids: Iterable[str]) -> None:
    """Forget the trees of these agents, because entries of their ledgers are deleted."""
    if ids := sorted(set(agent_ids)):
        c.execute(SPOIL_OF_AGENTS, {"agents": ids})


def spoil_trees_of_device(c: sa.Connection, device_id: DeviceId | None) -> None:
    """Forget the trees of a device's agents, because some of its files are to be read again."""
    if device_id is not None:
        c.execute(SPOIL_OF_DEVICE, {"device": device_id})
