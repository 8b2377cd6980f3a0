"""The plan of a unit: every call it leads to, written before the first of them leaves."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import CallId
from protocol.lifecycles import FINAL_RUN_STATES, UNIT, CallState, UnitEvent, UnitState
from storage import agent_states
from storage.calls import AMONG, IS_OPEN, OF_UNIT, OPEN_CALLS_OF_UNIT, OpenCall, count_calls
from storage.columns import in_parts
from storage.database import Conflict
from storage.run_progress import NO_USAGE, advance, check_held
from storage.run_rows import HeldRun, Usage
from storage.schema import run_calls, run_units, runs
from storage.units import ADD_UNIT, AGENT_OF_RUN, find_unit


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be made. *payload* is all that delivery needs: ``data``, and the item's ``source``."""

    call_id: CallId
    ordinal: int
    table: str
    payload: dict[str, Any]


class UnitPlan(msgspec.Struct, frozen=True):
    """A unit's plan as it stands in the database: what is to be delivered, in the order of ordinals."""

    open_calls: list[OpenCall]
    adopted: int  # calls that an earlier run had planned, answered or not


HELD_ELSEWHERE = (
    sa.select(run_calls.c.call_id, runs.c.id, runs.c.state)
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .where(AMONG, run_calls.c.run_id != sa.bindparam("run"))
    .order_by(run_calls.c.call_id)
    .with_for_update(of=run_calls)  # two runs that plan the same call at once: one of them adopts it
)
ADOPT = (
    sa.update(run_calls)
    .where(AMONG)
    .values(run_id=sa.bindparam("run"), unit_key=sa.bindparam("unit"), updated_at=sa.bindparam("now"))
)
ASK_AGAIN = (
    sa.update(run_calls)
    .where(AMONG, run_calls.c.state.in_((CallState.UNKNOWN, CallState.REJECTED)))
    .values(state=CallState.PLANNED, sends=0, result=None, updated_at=sa.bindparam("now"))
)
REMIND = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"), run_calls.c.payload.is_(None), IS_OPEN)
    .values(payload=sa.bindparam("carried"))
)
IDS_OF_UNIT = sa.select(run_calls.c.call_id).where(*OF_UNIT)
UNSENT_OF_UNIT = IDS_OF_UNIT.where(run_calls.c.state == CallState.PLANNED)
DROP = sa.delete(run_calls).where(AMONG)
PLAN_CALL = sa.insert(run_calls)
EXTRACT = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        state=UnitState.EXTRACTED,
        content_hash=sa.bindparam("digest"),
        size_bytes=sa.bindparam("size"),
        attempts=run_units.c.attempts + 1,
        calls_planned=sa.bindparam("planned"),
        calls_settled=sa.bindparam("answered"),
        error=None,
        read_at=sa.bindparam("read"),
        planned_at=sa.bindparam("now"),
        updated_at=sa.bindparam("now"),
    )
)


def plan_unit(
    c: sa.Connection,
    held: HeldRun,
    *,
    unit_key: str,
    content_hash: str,
    size_bytes: int | None,
    calls: Sequence[PlannedCall],
    at: int,
    read_at: int | None = None,
    usage: Usage = NO_USAGE,
) -> UnitPlan:
    """The unit was read: EXTRACTED, with every call it leads to. Nothing may be sent before this is written.

    A call id that an earlier run planned is adopted, with its answer if it has one;
    an answer that never came is asked for again, with this plan's payload where the
    earlier one is forgotten by now. Planning a unit of this run anew, because its file
    changed or it failed, drops what was never sent and keeps the rest. A unit without
    calls is EXTRACTED too, and settled by ``settle_unit``. A plan that adds something
    forgives the run's crashes.

    Args:
        read_at: when its text was here; for whoever asks what took how long.
        usage: what reading it cost; added to the run's. A model that was asked has
            answered, so its agent's exhaustion is forgiven.

    Raises:
        StaleRun: the run is held under another fence, or has ended.
        IllegalTransition: the unit is DONE or SKIPPED in this run.
        Conflict: another run that has not ended holds one of the calls.
        In each case nothing was written.
    """
    check_held(c, held)
    before = find_unit(c, held.id, unit_key)
    is_retried = before is not None and before.state is UnitState.FAILED
    if before is not None and before.state is not UnitState.EXTRACTED:
        pending = UNIT.after(before.state, UnitEvent.RETRIED) if is_retried else before.state
        UNIT.after(pending, UnitEvent.PLANNED)
    ids = [call.call_id for call in calls]
    adopted = _of_earlier_runs(c, held, ids)
    here = {"run": held.id, "unit": unit_key, "now": at}
    if before is None:
        unit = {"run_id": held.id, "unit_key": unit_key, "content_hash": content_hash}
        c.execute(ADD_UNIT, unit | {"state": UNIT.initial, "updated_at": at})
    else:
        _drop_unsent(c, held, unit_key, but=set(ids))
    for part in in_parts(adopted):
        c.execute(ADOPT, here | {"calls": part})
    for part in in_parts(ids):
        c.execute(ASK_AGAIN, {"calls": part, "now": at})
    if adopted:
        carried = {call.call_id: call.payload for call in calls}
        c.execute(REMIND, [{"call": call_id, "carried": carried[call_id]} for call_id in adopted])
    there = set(c.execute(IDS_OF_UNIT, here).scalars())
    fresh = [call for call in calls if call.call_id not in there]
    if fresh:
        c.execute(PLAN_CALL, [_call_row(held, unit_key, call, at) for call in fresh])
    total, still_open, _ = count_calls(c, held.id, unit_key)
    counts = {"planned": total, "answered": total - still_open}
    c.execute(EXTRACT, here | counts | {"digest": content_hash, "size": size_bytes, "read": read_at})
    if usage.requests:
        agent_id, _ = c.execute(AGENT_OF_RUN, {"run": held.id}).one()
        agent_states.forgive(c, agent_id, at)
    got_further = before is None or is_retried or bool(adopted or fresh)
    advance(c, held, at=at, failed=-1 if is_retried else 0, usage=usage, got_further=got_further)
    return UnitPlan([OpenCall(*row) for row in c.execute(OPEN_CALLS_OF_UNIT, here)], len(adopted))


def _drop_unsent(c: sa.Connection, held: HeldRun, unit_key: str, *, but: set[CallId]) -> None:
    unsent = c.execute(UNSENT_OF_UNIT, {"run": held.id, "unit": unit_key}).scalars()
    for part in in_parts([CallId(call_id) for call_id in unsent if call_id not in but]):
        c.execute(DROP, {"calls": part})


def _of_earlier_runs(c: sa.Connection, held: HeldRun, ids: Sequence[CallId]) -> list[CallId]:
    """Those of *ids* that runs which have ended planned.

    Raises:
        Conflict: one of the runs has not ended: it will deliver its plan itself.
    """
    elsewhere = [
        row for part in in_parts(ids) for row in c.execute(HELD_ELSEWHERE, {"calls": part, "run": held.id})
    ]
    for call_id, run_id, state in elsewhere:
        if state not in FINAL_RUN_STATES:
            raise Conflict(f"call {call_id} is held by run {run_id}, which is {state}")
    return [CallId(row.call_id) for row in elsewhere]


def _call_row(held: HeldRun, unit_key: str, call: PlannedCall, at: int) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "run_id": held.id,
        "unit_key": unit_key,
        "ordinal": call.ordinal,
        "target_table": call.table,
        "payload": call.payload,
        "updated_at": at,
    }
