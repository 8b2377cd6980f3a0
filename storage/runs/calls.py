"""Calls to devices: open calls, sending, settling, and the verdicts of owners on their items."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import LinkLost
from protocol.ids import CallId, DeviceId, RunId
from protocol.lifecycles import CALL, CallEvent, CallState
from storage.devices.schema import device_stores, devices
from storage.kernel.columns import Int, in_parts, spelled
from storage.kernel.rows import columns_of, fill_each
from storage.runs.items import note_answer, note_row_deleted
from storage.runs.runs import HeldRun, check_held
from storage.runs.schema import items, run_calls, run_units, runs

OPEN = (CallState.PLANNED, CallState.SENT)


class OpenCall(msgspec.Struct, frozen=True):
    """Call that is not settled: PLANNED, or SENT *sends* times."""

    call_id: CallId
    unit_key: str
    ordinal: int
    table: str
    payload: dict[str, Any]
    state: CallState
    sends: int


OF_UNIT = (run_calls.c.run_id == sa.bindparam("run"), run_calls.c.unit_key == sa.bindparam("unit"))
AMONG = run_calls.c.call_id.in_(sa.bindparam("calls", expanding=True))
# Literal text, because a bound parameter could not use the index of open calls.
IS_OPEN = sa.text(f"run_calls.state IN ({spelled(OPEN)})")
OPEN_CALLS = (
    sa.select(*columns_of(OpenCall, run_calls, table=run_calls.c.target_table))
    .where(run_calls.c.run_id == sa.bindparam("run"), IS_OPEN)
    .order_by(run_calls.c.unit_key, run_calls.c.ordinal, run_calls.c.call_id)
)
OPEN_CALLS_OF_UNIT = OPEN_CALLS.where(run_calls.c.unit_key == sa.bindparam("unit"))
MARK_SENT = (
    sa.update(run_calls)
    .where(AMONG, run_calls.c.run_id == sa.bindparam("run"), IS_OPEN)
    .values(state=CallState.SENT, sends=run_calls.c.sends + 1, updated_at=sa.bindparam("now"))
    .returning(run_calls.c.call_id)
)


def open_calls(c: sa.Connection, run_id: RunId) -> list[OpenCall]:
    """Return the calls of a run that are not settled, by unit and ordinal."""
    return fill_each(OpenCall, c.execute(OPEN_CALLS, {"run": run_id}))


def mark_sent(c: sa.Connection, held: HeldRun, call_ids: Sequence[CallId], at: int) -> list[CallId]:
    """Mark calls as SENT before they are sent. Return those that may be sent; settled ones may not.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    marked: set[str] = set()
    for part in in_parts(call_ids):
        marked.update(c.execute(MARK_SENT, {"calls": part, "run": held.id, "now": at}).scalars())
    return [call_id for call_id in call_ids if call_id in marked]


EPOCH = sa.select(devices.c.session_epoch).where(devices.c.id == sa.bindparam("device"))
CALLS = (
    sa.select(
        run_calls.c.call_id,
        run_calls.c.run_id,
        run_calls.c.unit_key,
        run_calls.c.state,
        run_calls.c.action,
        runs.c.device_id,
    )
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .with_for_update(of=runs)  # locks the run first, like all writers, against deadlocks
)
CALL_BY_ID = CALLS.where(run_calls.c.call_id == sa.bindparam("call"))
SETTLE_CALL = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"), IS_OPEN)
    .values(state=sa.bindparam("after"), result=sa.bindparam("answer"), updated_at=sa.bindparam("now"))
)
COUNT_SETTLED = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(calls_settled=run_units.c.calls_settled + 1, updated_at=sa.bindparam("now"))
)
NOTE_COUNTER = (
    sa.update(device_stores)
    .where(
        device_stores.c.device_id == sa.bindparam("device"),
        device_stores.c.counter < sa.bindparam("reported"),
        device_stores.c.resend_after.is_(None),
        device_stores.c.agreed_at.is_not(None),
    )
    .values(counter=sa.bindparam("reported"))
)
COUNT_ITEM = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        items_created=runs.c.items_created + sa.bindparam("created", type_=Int),
        items_updated=runs.c.items_updated + sa.bindparam("updated", type_=Int),
        crash_count=0,
        updated_at=sa.bindparam("now"),
    )
)


def settle_call(
    c: sa.Connection,
    call_id: CallId,
    event: CallEvent,
    result: Any,
    at: int,
    *,
    row_id: str | None = None,
    is_deleted: bool = False,
    counter: int | None = None,
    epoch: int | None = None,
) -> bool:
    """Settle a call by *event* (ACKED, REJECTED, GIVEN_UP). Return False if it was settled before.

    An answer counts whatever the state of its run, and resets the run's crash count. ACKED also records in
    the ledger that the device has the item. An unknown id changes nothing and returns False.

    Args:
        result: part of the answer to store; any JSON value.
        row_id: id of the row that an insert created.
        is_deleted: the row of an update no longer exists: its owner rejected the item, and the call, ACKED,
            changed nothing.
        counter: the device's store counter for the call, if reported. This hub planned every row up to it, so
            the ledger has them. Ignored while a comparison of the store is due.
        epoch: number of the connection that the answer came over, if any.

    Raises:
        LinkLost: the device has reconnected since, and may have lost the call; nothing was written, and the
            call is sent again.
        IllegalTransition: the call was never marked as sent; nothing was written.
    """
    call = c.execute(CALL_BY_ID, {"call": call_id}).one_or_none()
    if call is None or call.state not in OPEN:
        return False
    after = CALL.after(call.state, event)
    if after in OPEN:
        raise ValueError(f"{event.name} does not settle a call")
    if epoch is not None and (c.execute(EPOCH, {"device": call.device_id}).scalar() or 0) > epoch:
        raise LinkLost(f"call {call_id}: the device has connected again since it answered", dispatched=True)
    _settle(c, call, after, result, at, is_taken=after is CallState.ACKED and not is_deleted)
    if is_deleted:
        note_row_deleted(c, call_id, at)
    elif after is CallState.ACKED:
        note_answer(c, call_id, row_id=row_id, at=at)
    if counter is not None:
        c.execute(NOTE_COUNTER, {"device": call.device_id, "reported": counter})
    return True


def _settle(c: sa.Connection, call: Any, after: CallState, result: Any, at: int, *, is_taken: bool) -> None:
    c.execute(SETTLE_CALL, {"call": call.call_id, "after": after, "answer": result, "now": at})
    c.execute(COUNT_SETTLED, {"run": call.run_id, "unit": call.unit_key, "now": at})
    counts = {"created": int(is_taken and call.action == "insert")}
    counts |= {"updated": int(is_taken and call.action == "update")}
    c.execute(COUNT_ITEM, {"run": call.run_id, "now": at} | counts)


class ReportedVerdict(msgspec.Struct, frozen=True):
    """Verdict of a device's owner about the item of call *call_id*."""

    call_id: CallId
    verdict: Literal["approved", "edited", "rejected"]


VERDICTS = sa.select(items.c.call_id, items.c.verdict).where(
    items.c.device_id == sa.bindparam("device"), items.c.call_id.in_(sa.bindparam("calls", expanding=True))
)
JUDGE = (
    sa.update(items)
    .where(items.c.device_id == sa.bindparam("device"), items.c.call_id == sa.bindparam("call"))
    .values(
        verdict=sa.bindparam("reported"),
        # A rejected item is never sent again.
        source=sa.case((sa.bindparam("reported") == "rejected", sa.null()), else_=items.c.source),
        verdict_at=sa.bindparam("now", type_=Int),
        answered_at=sa.func.coalesce(items.c.answered_at, sa.bindparam("now", type_=Int)),
        updated_at=sa.bindparam("now", type_=Int),
    )
)
UNANSWERED = CALLS.where(AMONG, IS_OPEN, runs.c.device_id == sa.bindparam("device"))


def record_verdicts(
    c: sa.Connection, device_id: DeviceId, verdicts: Sequence[ReportedVerdict], at: int
) -> int:
    """Record verdicts of a device's owner. Return the number of known items.

    A rejected item was delivered, so its call is settled: sent again, it would reach a device whose store was
    restored meanwhile and that knows neither the call nor the verdict.

    Verdicts about items of other devices, and about replaced versions, are ignored. A repeated report does no
    harm.
    """
    reported = {one.call_id: one.verdict for one in verdicts}
    before: dict[CallId, str] = {}
    for part in in_parts(sorted(reported)):
        rows = c.execute(VERDICTS, {"device": device_id, "calls": part})
        before |= {row.call_id: row.verdict for row in rows}
    changed = [call_id for call_id, verdict in sorted(before.items()) if reported[call_id] != verdict]
    for part in in_parts([call_id for call_id in changed if reported[call_id] == "rejected"]):
        for call in c.execute(UNANSWERED, {"device": device_id, "calls": part}).all():
            _settle(c, call, CallState.ACKED, {"result": None, "error": None}, at, is_taken=True)
    if changed:
        common = {"device": device_id, "now": at}
        c.execute(JUDGE, [common | {"call": call_id, "reported": reported[call_id]} for call_id in changed])
    return len(before)


STATES_OF_UNIT = (
    sa.select(run_calls.c.state, sa.func.count().label("calls")).where(*OF_UNIT).group_by(run_calls.c.state)
)


def count_calls(c: sa.Connection, run_id: RunId, unit_key: str) -> tuple[int, int, dict[CallState, int]]:
    """Return the number of the unit's calls, of its open calls, and of its calls in each state."""
    rows = c.execute(STATES_OF_UNIT, {"run": run_id, "unit": unit_key}).all()
    counts = {row.state: row.calls for row in rows}
    return sum(counts.values()), sum(counts.get(state, 0) for state in OPEN), counts
