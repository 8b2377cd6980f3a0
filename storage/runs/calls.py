"""Calls to devices in the database: open, sent, answered; and verdicts that owners reported."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.calls import RowState
from protocol.errors import HubError, IllegalTransition, LinkLost
from protocol.ids import CallId, DeviceId, RunId
from protocol.lifecycles import CALL, CallEvent, CallState, UnitState
from storage.executing_runs import FencedRun, check_held
from storage.kernel.columns import (
    Int,
    columns_of,
    execute_among,
    execute_for_each,
    in_parts,
    spelled,
    structs_from,
)
from storage.kernel.database import lone
from storage.runs.item_words import BY_CALL, follow
from storage.runs.items import ITEMS, ItemRow, end_review, note_answers, note_rows_deleted
from storage.runs.runs import units_counted
from storage.schema import device_stores, devices, items, run_calls, run_units, runs

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
    # SQLite prefers an index on an equal column to one on a list, and would read all calls of the run: the
    # empty text hides the column.
    .where(AMONG, run_calls.c.run_id + "" == sa.bindparam("run"), IS_OPEN)
    .values(
        state=CallState.SENT,
        sends=run_calls.c.sends + 1,
        sent_at=sa.func.coalesce(run_calls.c.sent_at, sa.bindparam("now")),
        updated_at=sa.bindparam("now"),
    )
    .returning(run_calls.c.call_id)
)


@lone
def open_calls(c: sa.Connection, run_id: RunId) -> list[OpenCall]:
    """Return the calls of a run that are not settled, by unit and ordinal."""
    return structs_from(OpenCall, c.execute(OPEN_CALLS, {"run": run_id}))


def mark_sent(c: sa.Connection, held: FencedRun, call_ids: Sequence[CallId], at: int) -> list[CallId]:
    """Mark calls as SENT before they are sent. Return those that may be sent; settled ones may not.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    marked = {*execute_among(c, MARK_SENT, "calls", call_ids, {"run": held.id, "now": at}).scalars()}
    return [call_id for call_id in call_ids if call_id in marked]


class CallAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer that settles a call by *event*: ACKED, REJECTED or GIVEN_UP.

    Attributes:
        result: part of the answer to store; any JSON value.
        row_id: id of the row that an insert created.
        is_deleted: the row of an update no longer exists: its owner rejected the item, and the call, ACKED,
            changed nothing.
        is_proposed: the row of an update is its owner's, who has not decided about the update.
        counter: the device's store counter for the call, if reported. This hub planned every row up to it, so
            the ledger has them. Ignored while a comparison of the store is due.
        epoch: number of the connection that the answer came over, if any.
        stored: payload that is stored from now on, without the quote of a message; None: the payload that is.
    """

    call_id: CallId
    event: CallEvent
    result: Any = None
    row_id: str | None = None
    is_deleted: bool = False
    is_proposed: bool = False
    counter: int | None = None
    epoch: int | None = None
    stored: dict[str, Any] | None = None


class SettledCall(NamedTuple):
    """Row of a call with its new state. *is_taken*: the device has the item."""

    call: Any
    after: CallState
    answer: CallAnswer
    is_taken: bool


EPOCHS = sa.select(devices.c.id, devices.c.session_epoch).where(
    devices.c.id.in_(sa.bindparam("devices", expanding=True))
)
EPOCH = (
    sa.select(devices.c.session_epoch)
    .where(devices.c.id == sa.bindparam("device"))
    .with_for_update(read=True, key_share=True)  # only a hello waits for it
)
CALLS = (
    sa.select(
        run_calls.c.call_id,
        run_calls.c.run_id,
        run_calls.c.unit_key,
        run_calls.c.state,
        run_calls.c.action,
        runs.c.device_id,
        runs.c.agent_id,
        runs.c.config_fingerprint,
        runs.c.fence,
        runs.c.state.label("run_state"),
    )
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .order_by(runs.c.id, run_calls.c.call_id)
    # Locks the runs first, like all writers, against deadlocks. Without locks on the calls, a statement that
    # waited for another hub would see their states from before its wait.
    .with_for_update(of=(runs, run_calls))
)
CALLS_BY_ID = CALLS.where(AMONG)
SETTLE_CALL = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"), IS_OPEN)
    .values(state=sa.bindparam("after"), result=sa.bindparam("answer"), updated_at=sa.bindparam("now"))
)
KEEP_PAYLOAD = (
    sa.update(run_calls)
    .where(run_calls.c.call_id == sa.bindparam("call"))
    .values(payload=sa.bindparam("stored"))
)
COUNT_SETTLED = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        calls_settled=run_units.c.calls_settled + sa.bindparam("settled", type_=Int),
        state=sa.func.coalesce(sa.bindparam("after", type_=sa.Text), run_units.c.state),
        updated_at=sa.bindparam("now"),
    )
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
COUNT_ITEMS = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        items_created=runs.c.items_created + sa.bindparam("created", type_=Int),
        items_updated=runs.c.items_updated + sa.bindparam("updated", type_=Int),
        **units_counted(done=sa.bindparam("done", type_=Int)),
        crash_count=0,
        updated_at=sa.bindparam("now"),
    )
)


def check_newest(c: sa.Connection, device_id: DeviceId, epoch: int) -> None:
    """Check that the device has no newer connection than *epoch*, nor gets one until the transaction ends.

    Of a hub that was frozen while it read from a device, another hub may have taken the device over.

    Raises:
        LinkLost: it has a newer one.
    """
    if (c.execute(EPOCH, {"device": device_id}).scalar_one_or_none() or 0) > epoch:
        raise LinkLost(f"device {device_id} has connected again", dispatched=True)


def judge_answers(
    c: sa.Connection, answers: Sequence[CallAnswer]
) -> tuple[list[bool | HubError], list[SettledCall]]:
    """Lock the runs of answered calls, with as many statements as for one of them.

    An answer counts whatever the state of its run, and resets the run's crash count. ACKED also records in
    the ledger that the device has the item. The units of the calls are settled by ``units``.

    Returns:
        The calls to write, behind an outcome for each answer: True; False if the call was settled before or
        is unknown; or why nothing of this answer is to be written: LinkLost if the device has reconnected
        since, and may have lost the call, which is sent again; IllegalTransition if the call was never marked
        as sent.
    """
    call_ids = sorted({answer.call_id for answer in answers})
    rows = (row for part in in_parts(call_ids) for row in c.execute(CALLS_BY_ID, {"calls": part}))
    open_ = {row.call_id: row for row in rows if row.state in OPEN}
    epochs = _epochs(
        c, {open_[answer.call_id].device_id for answer in answers if answer.call_id in open_ and answer.epoch}
    )
    outcomes: list[bool | HubError] = []
    settled: list[SettledCall] = []
    for answer in answers:
        call = open_.get(answer.call_id)
        if call is None:
            outcomes.append(False)
        elif answer.epoch is not None and epochs.get(call.device_id, 0) > answer.epoch:
            message = f"call {answer.call_id}: the device has connected again since it answered"
            outcomes.append(LinkLost(message, dispatched=True))
        else:
            try:
                after = CALL.after(call.state, answer.event)
            except IllegalTransition as error:
                outcomes.append(error)
                continue
            if after in OPEN:
                raise ValueError(f"{answer.event.name} does not settle a call")
            is_taken = after is CallState.ACKED and not answer.is_deleted
            settled.append(SettledCall(open_.pop(answer.call_id), after, answer, is_taken))
            outcomes.append(True)
    return outcomes, settled


def write_settled(
    c: sa.Connection, settled: Sequence[SettledCall], at: int, *, done: Collection[tuple[RunId, str]] = ()
) -> None:
    """Write answered calls, and what follows for their items, units and runs.

    Args:
        done: units, by run and key, that become DONE with these answers.
    """
    _settle(c, settled, at, done)
    note_answers(
        c,
        {settlement.call.call_id: settlement.answer.row_id for settlement in settled if settlement.is_taken},
        at,
        proposed={settlement.call.call_id for settlement in settled if settlement.answer.is_proposed},
    )
    note_rows_deleted(
        c, [settlement.call.call_id for settlement in settled if settlement.answer.is_deleted], at
    )
    counters: dict[str, int] = {}
    for settlement in settled:
        if (counter := settlement.answer.counter) is not None:
            counters[settlement.call.device_id] = max(counter, counters.get(settlement.call.device_id, 0))
    if counters:
        c.execute(
            NOTE_COUNTER, [{"device": device, "reported": counters[device]} for device in sorted(counters)]
        )


def _epochs(c: sa.Connection, device_ids: Collection[str | None]) -> dict[str, int]:
    known = sorted(device_id for device_id in device_ids if device_id is not None)
    return {
        row.id: row.session_epoch or 0
        for part in in_parts(known)
        for row in c.execute(EPOCHS, {"devices": part})
    }


def _settle(
    c: sa.Connection, settled: Sequence[SettledCall], at: int, done: Collection[tuple[RunId, str]] = ()
) -> None:
    if not settled:
        return
    calls = [
        {
            "call": settlement.call.call_id,
            "after": settlement.after,
            "answer": settlement.answer.result,
            "now": at,
        }
        for settlement in settled
    ]
    execute_for_each(c, SETTLE_CALL, calls)
    stored = [
        {"call": settlement.call.call_id, "stored": settlement.answer.stored}
        for settlement in settled
        if settlement.answer.stored is not None and settlement.after is CallState.ACKED
    ]
    execute_for_each(c, KEEP_PAYLOAD, stored)
    units = Counter((settlement.call.run_id, settlement.call.unit_key) for settlement in settled)
    counts = [
        {"run": run, "unit": unit, "settled": n, "now": at}
        | {"after": UnitState.DONE if (run, unit) in done else None}
        for (run, unit), n in sorted(units.items())
    ]
    execute_for_each(c, COUNT_SETTLED, counts)
    taken = Counter(
        (settlement.call.run_id, settlement.call.action) for settlement in settled if settlement.is_taken
    )
    ended = Counter(run for run, _ in done)
    in_runs = [
        {"run": run, "created": taken[run, "insert"], "updated": taken[run, "update"], "now": at}
        | {"done": ended[run]}
        for run in sorted({run for run, _ in units})
    ]
    execute_for_each(c, COUNT_ITEMS, in_runs)


class ReportedVerdict(msgspec.Struct, frozen=True):
    """Verdict of a device's owner about the item of call *call_id*; ``open``: it was taken back."""

    call_id: CallId
    verdict: RowState


VERDICTS = sa.select(items.c.call_id, items.c.verdict, items.c.answered_at).where(
    items.c.device_id == sa.bindparam("device"), items.c.call_id.in_(sa.bindparam("calls", expanding=True))
)
JUDGE = (
    sa.update(items)
    .where(items.c.device_id == sa.bindparam("device"), items.c.call_id == sa.bindparam("call"))
    .values(
        verdict=sa.bindparam("reported"),
        # A rejected item is never sent again.
        source=sa.case((sa.bindparam("reported") == "rejected", sa.null()), else_=items.c.source),
        # The deletion of an item that was approved before does not say that it was no task.
        evidence=sa.case(
            (
                sa.and_(
                    sa.bindparam("reported") == "rejected",
                    # no list: the statement is executed for many verdicts at once
                    sa.or_(items.c.verdict == "approved", items.c.verdict == "edited"),
                ),
                sa.null(),
            ),
            else_=items.c.evidence,
        ),
        same_as=sa.bindparam("repeated", type_=sa.Text),
        before=sa.case((items.c.answered_at.is_(None), items.c.before), else_=sa.null()),
        verdict_at=sa.case(
            (sa.bindparam("reported") == "open", sa.null()), else_=sa.bindparam("now", type_=Int)
        ),
        answered_at=sa.func.coalesce(items.c.answered_at, sa.bindparam("now", type_=Int)),
        updated_at=sa.bindparam("now", type_=Int),
    )
)
PAYLOADS = sa.select(run_calls.c.call_id, run_calls.c.payload).where(AMONG, run_calls.c.payload.is_not(None))
SOURCE_AGAIN = (
    sa.update(items)
    .where(
        items.c.device_id == sa.bindparam("device"),
        items.c.call_id == sa.bindparam("call"),
        items.c.source.is_(None),
    )
    .values(source=sa.bindparam("kept", type_=items.c.source.type))
)
WAITING_OF_CALLS = ITEMS.where(
    items.c.device_id == sa.bindparam("device"),
    items.c.call_id.in_(sa.bindparam("calls", expanding=True)),
    items.c.verdict + "" == "open",
)
UNANSWERED = CALLS.where(AMONG, IS_OPEN, runs.c.device_id == sa.bindparam("device"))


def record_verdicts(
    c: sa.Connection,
    device_id: DeviceId,
    verdicts: Sequence[ReportedVerdict],
    at: int,
    *,
    repeats: Mapping[CallId, str | None] = {},
) -> dict[CallId, bool]:
    """Record verdicts of a device's owner. Return the calls of known items, True with a new verdict.

    A rejected item was delivered, so its call is settled: sent again, it would reach a device whose store was
    restored meanwhile and that knows neither the call nor the verdict.

    Verdicts about items of other devices, and about replaced versions, are ignored. A repeated report does no
    harm. A rejected item that its device has again gets the source of its call, while that is stored.

    Args:
        repeats: ids of the items because of whose approval others were rejected, by the calls of those.
    """
    reported = {verdict.call_id: verdict.verdict for verdict in verdicts}
    query = {"device": device_id}
    known = [
        row for part in in_parts(sorted(reported)) for row in c.execute(VERDICTS, query | {"calls": part})
    ]
    known = [row for row in known if row.verdict != "held" or reported[row.call_id] != "open"]
    # Before the answer about a version, the ledger has the verdict on the version before it.
    changed = sorted(
        row.call_id for row in known if reported[row.call_id] != row.verdict or row.answered_at is None
    )
    for part in in_parts([call_id for call_id in changed if reported[call_id] == "rejected"]):
        unanswered = c.execute(UNANSWERED, {"device": device_id, "calls": part}).all()
        _settle(c, [_taken_unanswered(call) for call in unanswered], at)
    if changed:
        judged = [{"call": id, "reported": reported[id], "repeated": repeats.get(id)} for id in changed]
        c.execute(JUDGE, [{"device": device_id, "now": at, **verdict} for verdict in judged])
        restored = [row.call_id for row in known if row.verdict == "rejected" != reported[row.call_id]]
        for call in execute_among(c, PAYLOADS, "calls", restored):
            if source := call.payload.get("source"):
                c.execute(SOURCE_AGAIN, {"device": device_id, "call": call.call_id, "kept": source})
        end_review(c, [call_id for call_id in changed if reported[call_id] != "open"], at)
        follow(c, changed, BY_CALL)
    return {row.call_id: reported[row.call_id] != row.verdict for row in known}


def _taken_unanswered(call: Any) -> SettledCall:
    """Return a call as settled whose answer never came, although its device has the item."""
    nothing = {"result": None, "error": None}
    answer = CallAnswer(call_id=call.call_id, event=CallEvent.ACKED, result=nothing)
    return SettledCall(call, CallState.ACKED, answer, is_taken=True)


def waiting_of_calls(c: sa.Connection, device_id: DeviceId, call_ids: Sequence[CallId]) -> list[ItemRow]:
    """Return the items of a device without a verdict whose newest calls these are."""
    found = execute_among(c, WAITING_OF_CALLS, "calls", call_ids, {"device": device_id})
    return structs_from(ItemRow, found)


STATES_OF_UNIT = (
    sa.select(run_calls.c.state, sa.func.count().label("calls")).where(*OF_UNIT).group_by(run_calls.c.state)
)


def count_calls(c: sa.Connection, run_id: RunId, unit_key: str) -> tuple[int, int, dict[CallState, int]]:
    """Return the number of the unit's calls, of its open calls, and of its calls in each state."""
    rows = c.execute(STATES_OF_UNIT, {"run": run_id, "unit": unit_key}).all()
    counts = {row.state: row.calls for row in rows}
    return sum(counts.values()), sum(counts.get(state, 0) for state in OPEN), counts
