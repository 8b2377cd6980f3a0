"""Verdicts given at the hub, in the database: storage, delivery state, refusals and conflicts.

The device owns the row and decides whether it takes a verdict: it refuses one on a version that its owner
has not seen. The verdict of an item changes with the device's answer, in the transaction that settles the
verdict here. So a verdict is applied once, whatever is killed or restored in between.

An item that the hub holds is for its device once it is approved here or edited: its verdict first brings the
item, then itself. A rejection of it is final at once.

States: *pending* until it is sent, *sent* until it is answered. Final states: *done*, *refused* with a
reason. Each item has at most one open verdict.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.calls import RowState
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.grants import NO_LIMITS, TokenLimits
from protocol.ids import CallId, DeviceId, UserId
from storage import audit
from storage.kernel.columns import (
    Int,
    columns_of,
    execute_among,
    execute_for_each,
    in_parts,
    struct_from,
    structs_from,
    values_of,
)
from storage.kernel.database import lone
from storage.runs import item_proposals
from storage.runs.calls import EPOCH, NOTE_COUNTER, ReportedVerdict, check_newest, record_verdicts
from storage.runs.item_proposals import SHOWN, ProposalRow, record
from storage.runs.item_words import follow
from storage.runs.items import ITEMS, ItemRow, end_review, note_answers, within
from storage.schema import devices, item_verdicts, items, run_calls
from storage.schema import item_proposals as proposed

GivenVerdict = Literal["approve", "edit", "reject", "undo"]
VerdictState = Literal["pending", "sent", "done", "refused"]

IS_OPEN: Final = "item_verdicts.state IN ('pending', 'sent')"  # as text, so that the partial index is used
_DONE: Final[Mapping[GivenVerdict, str]] = {
    "approve": "approved",
    "edit": "changed",
    "reject": "rejected",
    "undo": "took back the verdict on",
}
_LEFT: Final[Mapping[GivenVerdict, Collection[str]]] = {
    "approve": ("approved", "edited"),
    "edit": ("approved", "edited"),
    "reject": ("rejected",),
}
_WITH_ANOTHER: Final = "settled as the same"
CHANGED: Final = ErrorCode.CHANGED_MEANWHILE.value


class VerdictRow(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict on an item. Instants are epoch milliseconds.

    Attributes:
        id: also the id of the call.
        data: values of an approval or edit.
        seen_call: newest call of the item when its owner saw it.
        seen_row: of an edit or undo of an approved row, the state of it that its owner saw.
        undoes: the verdict that an ``undo`` takes back.
        led_by: verdict on another item of the same thing, with which this one was given; sent once that is
            done.
        source: source of an item that the verdict rejected, or that its undoing gives back; of an item that
            the hub held until the verdict approved it.
        reason: error code of a refusal.
        sends: number of times that it may have been sent, the last time over the connection *epoch*.
        counter: the device's counter of the row, if it listed the row while the verdict was open.
        proposed_by: whose proposal *actor* has accepted.
    """

    id: CallId
    item_id: str
    user_id: UserId
    device_id: DeviceId
    verdict: GivenVerdict
    data: dict[str, Any] = {}
    seen_call: CallId
    seen_row: str | None = None
    undoes: CallId | None = None
    led_by: CallId | None = None
    source: dict[str, Any] | None = None
    state: VerdictState = "pending"
    reason: str | None = None
    sends: int = 0
    epoch: int = 0
    next_at: int
    counter: int | None = None
    actor: str
    proposed_by: str | None = None
    created_at: int
    settled_at: int | None = None

    @property
    def is_open(self) -> bool:
        """True until it is settled."""
        return self.settled_at is None

    @property
    def was_held(self) -> bool:
        """True if it approved an item that the hub held."""
        return self.verdict in ("approve", "edit") and self.source is not None


class NewVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict to store. *version*: of the item, as its owner saw it; *id*: unused so far.

    *proposal*: the one that is accepted, whose values *data* repeats; *proposed_by*: its proposer.
    *seen_row*: of an edit or undo of an approved row, the state of it that its owner saw; without it, what is
    decided is not edited.
    *undoes*: when the verdict was given that an undo takes back; without it, the newest one.
    *also*: items that its owner saw as the same thing; an approval settles them.
    *led_by*: the verdict on another item with which this one is given.
    """

    id: CallId
    item_id: str
    verdict: GivenVerdict
    data: dict[str, Any] = {}
    version: int | None = None
    proposal: str | None = None
    proposed_by: str | None = None
    seen_row: str | None = None
    undoes: int | None = None
    also: Sequence[str] = ()
    led_by: CallId | None = None


class VerdictRefused(HubError):
    """Error: the item cannot have the verdict; nothing was stored. *version*: of the item now."""

    def __init__(self, code: ErrorCode, message: str, version: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.version = version


VERDICTS = sa.select(*columns_of(VerdictRow, item_verdicts))
OF_ITEMS = VERDICTS.where(item_verdicts.c.item_id.in_(sa.bindparam("ids", expanding=True)))
ITEMS_BY_ID = ITEMS.where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
PROPOSED_AT = (
    ITEMS.where(
        items.c.device_id == sa.bindparam("device"),
        items.c.id.in_(sa.select(proposed.c.item_id).where(sa.text("item_proposals.state = 'open'"))),
    )
    .order_by(items.c.created_at.desc(), items.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
WITHDRAW = sa.delete(item_verdicts).where(
    item_verdicts.c.id == sa.bindparam("given"), sa.text("item_verdicts.state = 'pending'")
)

# Returns why an item cannot have a verdict with these values, or None.
Check = Callable[[ItemRow, NewVerdict], str | None]
Read = Callable[[ItemRow, NewVerdict], NewVerdict]
# Returns the ids of the other waiting items of a user that are the same thing, by the id of each.
Repeats = Callable[[sa.Connection, UserId], Mapping[str, Sequence[str]]]
LED = sa.select(item_verdicts.c.item_id).where(
    item_verdicts.c.led_by.in_(sa.bindparam("ids", expanding=True))
)
WITHDRAW_LED = sa.delete(item_verdicts).where(
    item_verdicts.c.led_by == sa.bindparam("leader"), sa.text("item_verdicts.state = 'pending'")
)
_LEADING: Final = item_verdicts.alias("leading")
_IS_FREE_OF_OTHERS: Final = sa.or_(
    item_verdicts.c.led_by.is_(None),
    sa.exists().where(_LEADING.c.id == item_verdicts.c.led_by, _LEADING.c.state == "done"),
)
# What the item that is shown has to be after a verdict, for the verdicts on its repeats to be sent.
_FREEING: Final[Mapping[str, Collection[str]]] = {"approve": ("approved", "edited"), "undo": ("open",)}


def newest_verdicts(c: sa.Connection, item_ids: Sequence[str]) -> dict[str, VerdictRow]:
    """Return the newest verdict that was given on each of these items, if any, by item."""
    return {row.item_id: row for row in _given_on(c, item_ids)}


def _newest_taken(c: sa.Connection, item_ids: Sequence[str]) -> dict[str, VerdictRow]:
    """Return the newest verdict on each of these items that its device has not refused."""
    return {row.item_id: row for row in _given_on(c, item_ids) if row.state != "refused"}


def _given_on(c: sa.Connection, item_ids: Sequence[str]) -> list[VerdictRow]:
    """Return the verdicts on these items, the newest last."""
    found = [
        row
        for part in in_parts(item_ids)
        for row in structs_from(VerdictRow, c.execute(OF_ITEMS, {"ids": part}))
    ]
    return sorted(found, key=lambda row: (row.created_at, row.id))


UNDER_WAY = sa.select(item_verdicts.c.item_id).where(sa.text(IS_OPEN))


def items_under_way(c: sa.Connection) -> set[str]:
    """Return the ids of items with an open verdict."""
    return set(c.execute(UNDER_WAY).scalars())


def give(
    c: sa.Connection,
    new: Sequence[NewVerdict],
    *,
    user_id: UserId | None,
    limits: TokenLimits = NO_LIMITS,
    actor: str,
    at: int,
    check: Check,
    read: Read = lambda _, new: new,
    repeats: Repeats = lambda c, user_id: {},
    is_dry: bool = False,
) -> list[VerdictRow | HubError | None]:
    """Store verdicts. One that cannot be stored leaves the others as they are.

    Items that were shown as the same thing as an approved one are rejected with it, and come back with it.

    Args:
        read: returns a verdict with its values as tables have them; raises VerdictRefused.
        user_id, limits: only items of this user within *limits* exist for the caller.
        repeats: finds the items that are the same thing.
        is_dry: only check the verdicts, and store nothing.

    Returns:
        For each: its row, which is an older one if the same verdict was given before; None if it undid a
        verdict that was never sent; or why it was not stored.
    """
    known = _known(c, [verdict.item_id for verdict in new], user_id, limits)
    newest = _newest_taken(c, list(known))
    asked, more = new, list(_on_repeats(c, new, known, newest, repeats))
    if more:
        new = [*asked, *more]
        others = _known(c, [verdict.item_id for verdict in more], user_id, limits)
        known, newest = others | known, _newest_taken(c, list(others)) | newest
    # An undo that one of its repeats cannot follow yet is refused.
    sent = {id for id, before in newest.items() if before.state == "sent"}
    blocked = {other.led_by for other in more if other.verdict == "undo" and other.item_id in sent}
    applied: set[str] = set()
    proposals = item_proposals.find(c, [verdict.proposal for verdict in new if verdict.proposal is not None])
    fresh: dict[str, VerdictRow] = {}  # by item
    done: list[tuple[ItemRow, NewVerdict]] = []
    given: list[VerdictRow | HubError | None] = []
    for verdict in new:
        item, before = known.get(verdict.item_id), newest.get(verdict.item_id)
        if verdict.led_by is not None and verdict.led_by not in applied:
            continue
        try:
            if item is None:
                raise _unknown(verdict.item_id)
            if verdict.id in blocked:
                raise _on_its_way(item)
            if verdict.proposal is not None:
                verdict = _accepted(item, read(item, verdict), proposals.get(verdict.proposal))
            verdict = _as_seen(item, read(item, verdict))
            is_undo = verdict.verdict == "undo"
            if is_undo and before is not None and verdict.undoes is not None:
                named = before if before.undoes is None else undone_by(c, before.undoes)
                if named is None or named.created_at != verdict.undoes:
                    raise _conflict(item, "was decided about again since; it stays as it is now")
            if is_undo and before is not None and before.state == "pending" and before.verdict != "undo":
                is_stored = fresh.pop(item.id, None) is None
                if is_stored and not is_dry and c.execute(WITHDRAW, {"given": before.id}).rowcount == 0:
                    raise _on_its_way(item)
                newest.pop(item.id)
                if is_stored and not is_dry:
                    c.execute(HOLD_AGAIN, {"item": item.id, "now": at})
                done.append((item, verdict))
                applied.add(verdict.id)
                given.append(None)
                continue
            row = _repeated(item, before, verdict) or _new(item, before, verdict, check, actor=actor, at=at)
        except HubError as error:
            given.append(error)
            continue
        if row is not before:
            applied.add(verdict.id)
            newest[item.id] = fresh[item.id] = row
            done.append((item, verdict))
        given.append(row)
    if is_dry:
        return given[: len(asked)]
    if fresh:
        c.execute(sa.insert(item_verdicts), [values_of(row, item_verdicts) for row in fresh.values()])
        _decide_held(c, fresh, known, at)
        accepted = [one.proposal for item, one in done if one.proposal is not None and item.id in fresh]
        item_proposals.settle(c, accepted, "accepted", at)
        item_proposals.withdraw(c, [row.seen_call for row in fresh.values()], at)
    if done:
        _record(c, done, actor, at)
    return given[: len(asked)]


def _on_repeats(
    c: sa.Connection,
    new: Sequence[NewVerdict],
    known: Mapping[str, ItemRow],
    newest: Mapping[str, VerdictRow],
    repeats: Repeats,
) -> Iterator[NewVerdict]:
    """Yield the verdicts on repeats of items that are approved, or whose approval is undone."""
    named = {verdict.item_id for verdict in new}
    approved = {item.item_id for item in new if item.verdict == "approve" and item.also}
    users = {known[id].user_id for id in approved & known.keys()}
    others = {id: ids for user in sorted(users) for id, ids in repeats(c, user).items() if id in approved}
    undone = {newest[id].id: id for id in named & newest.keys()}
    led: defaultdict[str, list[str]] = defaultdict(list)
    repeated = [id for (id,) in execute_among(c, LED, "ids", [*undone])]
    for row in newest_verdicts(c, repeated).values():  # a later verdict on a repeat is independent
        if row.led_by in undone:
            led[undone[row.led_by]].append(row.item_id)
    for verdict in new:
        is_undo = verdict.verdict == "undo"
        ids = led[verdict.item_id] if is_undo else others.get(verdict.item_id, ())
        joined = [id for id in ids if id not in named and (is_undo or id in verdict.also)]
        for n, id in enumerate(joined, 1):
            yield NewVerdict(
                id=CallId(f"{verdict.id}-{n}"),
                item_id=id,
                verdict="undo" if is_undo else "reject",
                led_by=verdict.id,
            )


def _known(
    c: sa.Connection, item_ids: Iterable[str], user_id: UserId | None, limits: TokenLimits
) -> dict[str, ItemRow]:
    """Return those of these items that exist for a caller, by id."""
    query = ITEMS_BY_ID.where(*within(limits))
    return {
        row.id: struct_from(ItemRow, row)
        for part in in_parts(sorted(set(item_ids)))
        for row in c.execute(query, {"ids": part})
        if user_id in (None, row.user_id)
    }


def proposed_at(c: sa.Connection, device_id: DeviceId, limit: int) -> list[ItemRow]:
    """Return the newest items of a device that have an open proposal."""
    return structs_from(ItemRow, c.execute(PROPOSED_AT, {"device": device_id, "most": limit}))


def _as_seen(item: ItemRow, new: NewVerdict) -> NewVerdict:
    """Return a verdict on the version that the item has. Raises VerdictRefused for another version."""
    if new.version not in (None, item.version):
        raise _conflict(item, f"is at version {item.version} now, {item.verdict}; read it again")
    return new


def _unknown(item_id: str) -> CodedError:
    return CodedError(ErrorCode.UNKNOWN_ITEM, f"there is no item {item_id!r}")


def _accepted(item: ItemRow, new: NewVerdict, proposal: ProposalRow | None) -> NewVerdict:
    """Return the verdict of a proposal. Raises VerdictRefused if the item does not have the proposal."""
    states = ("open", "accepted")  # accepted: the request is repeated, or its verdict was taken back
    if proposal is None or (proposal.item_id, proposal.seen_call) != (item.id, item.call_id):
        raise _conflict(item, "does not have this proposal in its present version; read it again")
    if proposal.state not in states:
        raise _conflict(item, f"has no such proposal any more: it is {proposal.state}; read it again")
    if (new.verdict, new.data) != (proposal.verdict, proposal.data):
        values = ", with values to repeat in data as they were shown" if proposal.data else ""
        why = f"item {item.id!r}: its proposal is {proposal.verdict!r}{values}"
        raise VerdictRefused(ErrorCode.BAD_PARAMS, why)
    return msgspec.structs.replace(new, proposed_by=proposal.actor)


def propose(
    c: sa.Connection,
    new: Sequence[NewVerdict],
    why: Mapping[CallId, str],
    *,
    user_id: UserId | None,
    limits: TokenLimits = NO_LIMITS,
    actor: str,
    at: int,
    check: Check,
    read: Read,
) -> list[ProposalRow | HubError]:
    """Store proposals, each with its reason *why*. See ``give``."""
    known = _known(c, [verdict.item_id for verdict in new], user_id, limits)
    newest = newest_verdicts(c, list(known))
    open_ones = item_proposals.Open(c, actor, list(known))
    results: list[ProposalRow | HubError] = []
    for verdict in new:
        try:
            if (item := known.get(verdict.item_id)) is None:
                raise _unknown(verdict.item_id)
            verdict = _as_seen(item, read(item, verdict))
            # Proposed is what could be given, so that the same is checked.
            row = _new(item, newest.get(item.id), verdict, check, actor=actor, at=at)
            added = open_ones.add(
                ProposalRow(
                    id=row.id,
                    item_id=item.id,
                    user_id=item.user_id,
                    verdict=verdict.verdict,  # type: ignore[arg-type]  # not undo: the body of the request has none
                    data=verdict.data,
                    why=why[verdict.id],
                    seen_call=item.call_id,
                    actor=actor,
                    created_at=at,
                )
            )
            if isinstance(added, str):
                raise CodedError(ErrorCode.LIMIT_REACHED, added)
            results.append(added)
        except HubError as error:
            results.append(error)
    if stored := open_ones.write(c, at):
        record(c, "item.proposed", [(row.item_id, row.verdict) for row in stored], actor, at)
    return results


def _record(c: sa.Connection, done: Sequence[tuple[ItemRow, NewVerdict]], actor: str, at: int) -> None:
    """Record who gave verdicts: in one audit entry, and in the activity of each device."""
    accepted: defaultdict[str, list[str]] = defaultdict(list)
    for item, one in done:
        if one.proposed_by is not None:
            accepted[one.proposed_by].append(item.id[-SHOWN:])
    named = "; ".join(f"{by} {' '.join(ends)}" for by, ends in accepted.items())
    more = {"proposed_by": named} if named else {}
    record(c, "item.judged", [(item.id, one.verdict) for item, one in done], actor, at, **more)
    by = audit.actor_name(c, actor)
    for device_id in sorted({item.device_id for item, _ in done if item.device_id is not None}):
        of_device = [one for item, one in done if item.device_id == device_id]
        counted = Counter(
            _DONE[verdict.verdict] if verdict.led_by is None else _WITH_ANOTHER for verdict in of_device
        )
        words = ", ".join(f"{word} {count}" for word, count in counted.items())
        audit.record(
            c,
            id=of_device[0].id,
            at=at,
            event_type="item.judged",
            message=f"{by} {words} {'item' if len(of_device) == 1 else 'items'}",
            actor=actor,
            device_id=device_id,
        )


def _repeated(item: ItemRow, before: VerdictRow | None, new: NewVerdict) -> VerdictRow | None:
    """Return the newest verdict of the item if *new* repeats it, and nothing was decided otherwise since."""
    if before is None or before.verdict != new.verdict:
        return None
    if before.verdict == "undo":
        is_decided = before.settled_at is not None and (item.verdict_at or 0) > before.settled_at
        return None if is_decided else before
    is_same = (before.data, before.seen_call, before.led_by) == (new.data, item.call_id, new.led_by)
    # an approved row may change again and again
    is_left = item.verdict in _LEFT[before.verdict] and new.seen_row is None
    return before if is_same and (before.is_open or is_left) else None


def _new(
    item: ItemRow, before: VerdictRow | None, new: NewVerdict, check: Check, *, actor: str, at: int
) -> VerdictRow:
    """Return the row of a verdict. Raises VerdictRefused if the item cannot have it now."""
    if before is not None and before.is_open:
        raise _on_its_way(item)
    undone = before if new.verdict == "undo" else None
    if new.verdict == "undo" and (undone is None or undone.state != "done" or undone.verdict == "undo"):
        raise _conflict(item, f"has no verdict to undo here; it is {item.verdict}")
    if undone is not None and undone.seen_call != item.call_id:
        raise _conflict(item, f"is at version {item.version} now, after the verdict; read it again")
    # An open item may be a change of an approved row: the device, which has the row, tells.
    is_owned = new.verdict == "edit" and new.seen_row is not None and item.verdict not in ("rejected", "held")
    if undone is None and item.verdict not in ("open", "held") and not is_owned:
        raise _conflict(item, f"is {item.verdict} already")
    is_here = item.verdict == "held" or (undone is not None and item.row_id is None)  # no device ever had it
    if item.device_id is None or (not is_here and (item.row_id is None or item.answered_at is None)):
        raise _conflict(item, "is not at its device in this version yet; try again later")
    if (problem := check(item, new)) is not None:
        raise VerdictRefused(ErrorCode.BAD_RECORD, problem)
    is_final = is_here and new.verdict in ("reject", "undo")
    source = item.source if is_here and undone is None else None if undone is None else undone.source
    return VerdictRow(
        id=new.id,
        item_id=item.id,
        user_id=item.user_id,
        device_id=item.device_id,
        verdict=new.verdict,
        data=new.data,
        seen_call=item.call_id,
        seen_row=new.seen_row if is_owned or undone is not None else None,
        undoes=None if undone is None else undone.id,
        led_by=new.led_by,
        source=source,
        state="done" if is_final else "pending",
        next_at=at,
        actor=actor,
        proposed_by=new.proposed_by,
        created_at=at,
        settled_at=at if is_final else None,
    )


_is_item: Final = items.c.id == sa.bindparam("item")
_now_held: Final = {"verdict": "held", "verdict_at": None, "answered_at": None}
# Approved: from now on its call is to be delivered, by its verdict or by a run that finds the item again.
RELEASE = sa.update(items).where(_is_item).values(verdict="open", updated_at=sa.bindparam("now", type_=Int))
REJECT_HELD = (
    sa.update(items)
    .where(_is_item)
    .values(
        verdict="rejected",
        verdict_at=sa.bindparam("now", type_=Int),
        answered_at=sa.bindparam("now", type_=Int),
        source=None,
        updated_at=sa.bindparam("now", type_=Int),
    )
)
UNDO_OF_HELD = (
    sa.update(items)
    .where(_is_item)
    .values(_now_held | {"source": sa.bindparam("kept", type_=items.c.source.type)})
)
HOLD_AGAIN = (
    sa.update(items)
    .where(
        _is_item,
        items.c.verdict == "open",
        items.c.row_id.is_(None),
        items.c.answered_at.is_(None),
        ~sa.exists().where(run_calls.c.call_id == items.c.call_id),
    )
    .values(_now_held | {"updated_at": sa.bindparam("now", type_=Int)})
)


def _decide_held(
    c: sa.Connection, given: Mapping[str, VerdictRow], known: Mapping[str, ItemRow], at: int
) -> None:
    """Apply new verdicts to those of their items that the hub holds, or held until they were rejected."""
    for id, verdict in given.items():
        if verdict.state == "done" and verdict.undoes is not None:
            c.execute(UNDO_OF_HELD, {"item": id, "kept": verdict.source})
        elif verdict.state == "done":
            c.execute(REJECT_HELD, {"item": id, "now": at})
            end_review(c, [verdict.seen_call], at)
        elif known[id].verdict == "held":
            c.execute(RELEASE, {"item": id, "now": at})
        else:
            continue
        follow(c, [id])


def note_delivered(
    c: sa.Connection,
    device_id: DeviceId,
    call_id: CallId,
    row_id: str | None,
    *,
    counter: int | None,
    epoch: int,
    at: int,
) -> None:
    """Record that a device has an item that the hub held.

    Raises:
        LinkLost: the device has a newer connection than *epoch*, over which the item is sent again.
    """
    check_newest(c, device_id, epoch)
    note_answers(c, {call_id: row_id}, at)
    if counter is not None:
        c.execute(NOTE_COUNTER, {"device": device_id, "reported": counter})


def _on_its_way(item: ItemRow) -> VerdictRefused:
    why = "has a verdict on its way to its device, which has not answered yet; try again later"
    return _conflict(item, why, ErrorCode.VERDICT_UNDER_WAY)


def _conflict(item: ItemRow, why: str, code: ErrorCode = ErrorCode.CHANGED_MEANWHILE) -> VerdictRefused:
    return VerdictRefused(code, f"item {item.id!r} {why}", item.version)


# --- on their way to the device ---


class DueVerdict(VerdictRow, frozen=True, kw_only=True):
    """Verdict to send, with the table, row and marks of its item."""

    target_table: str
    row_id: str | None
    warnings: tuple[str, ...] = ()


_epoch: sa.BindParameter[int] = sa.bindparam("session", type_=Int)
_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)
# What was sent over an older connection is answered no more.
_is_free = sa.or_(item_verdicts.c.epoch < _epoch, item_verdicts.c.next_at <= _now)
DUE = (
    sa.select(*columns_of(DueVerdict, item_verdicts, items))
    .join_from(item_verdicts, items, items.c.id == item_verdicts.c.item_id)
    .where(
        item_verdicts.c.device_id == sa.bindparam("device"), sa.text(IS_OPEN), _is_free, _IS_FREE_OF_OTHERS
    )
    .order_by(item_verdicts.c.created_at, item_verdicts.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
TAKE = (
    sa.update(item_verdicts)
    .where(
        item_verdicts.c.id.in_(sa.bindparam("ids", expanding=True)),
        sa.text(IS_OPEN),
        _is_free,
        sa.exists().where(
            devices.c.id == item_verdicts.c.device_id,
            devices.c.session_epoch == _epoch,
            devices.c.revoked_at.is_(None),
        ),
    )
    .values(
        state="sent", sends=item_verdicts.c.sends + 1, epoch=_epoch, next_at=sa.bindparam("again", type_=Int)
    )
    .returning(item_verdicts.c.id)
)
DEVICES = sa.select(item_verdicts.c.device_id).where(sa.text(IS_OPEN)).distinct()


@lone
def devices_with_open(c: sa.Connection) -> list[DeviceId]:
    """Return the devices for which verdicts are open."""
    return [DeviceId(id) for id in c.execute(DEVICES).scalars()]


def due(c: sa.Connection, device_id: DeviceId, *, epoch: int, at: int, limit: int) -> list[DueVerdict]:
    """Return the oldest verdicts to send over the device's connection *epoch* at *at*."""
    given = {"device": device_id, "session": epoch, "now": at, "most": limit}
    return structs_from(DueVerdict, c.execute(DUE, given))


def claim_sends(c: sa.Connection, ids: Sequence[CallId], *, epoch: int, at: int, again: int) -> set[str]:
    """Mark verdicts as sent, before they are sent over the connection *epoch*.

    Args:
        again: when they are sent again if no answer comes.

    Returns:
        The ids of those that may be sent: settled ones, those that another hub has sent over the same
        connection, and all if the device has a newer connection, may not.
    """
    return set(c.execute(TAKE, {"ids": ids, "session": epoch, "now": at, "again": again}).scalars())


def put_off(c: sa.Connection, ids: Sequence[CallId], *, epoch: int, next_at: int) -> None:
    """Postpone verdicts that were sent over the connection *epoch* and not answered."""
    c.execute(
        sa.update(item_verdicts)
        .where(item_verdicts.c.id.in_(ids), item_verdicts.c.epoch == epoch, sa.text(IS_OPEN))
        .values(next_at=next_at)
    )


class VerdictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a device to a verdict.

    Attributes:
        state: verdict on the row now, if the device reported it.
        reason: error code of a refusal; absent: the verdict was done.
        counter: the device's counter for the call, if reported.
        is_removed: the device has no row of the item any more, so that the hub holds the item again.
    """

    id: CallId
    state: RowState | None = None
    is_removed: bool = False
    reason: str | None = None
    counter: int | None = None


SETTLE = (
    sa.update(item_verdicts)
    .where(item_verdicts.c.id == sa.bindparam("given"), sa.text(IS_OPEN))
    .values(state=sa.bindparam("after"), reason=sa.bindparam("why", type_=sa.Text), settled_at=_now)
    .returning(*columns_of(VerdictRow, item_verdicts))
)
ITEM_OF = sa.select(item_verdicts.c.item_id).where(item_verdicts.c.id == sa.bindparam("given"))
IS_NOW = sa.select(items.c.verdict).where(items.c.id == sa.bindparam("item"))
SOURCE = sa.select(items.c.source).where(items.c.id == sa.bindparam("item"))
KEEP_SOURCE = (
    sa.update(item_verdicts)
    .where(item_verdicts.c.id == sa.bindparam("given"))
    .values(source=sa.bindparam("kept", type_=item_verdicts.c.source.type))
)
REOPEN = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"), items.c.call_id == sa.bindparam("call"))
    .values(
        verdict="open",
        verdict_at=None,
        same_as=None,
        updated_at=_now,
    )
)
TAKE_BACK = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"), items.c.call_id == sa.bindparam("call"))
    .values(
        _now_held
        | {"call_id": sa.bindparam("fresh"), "row_id": None, "same_as": None, "before": None}
        | {"updated_at": _now}
    )
)
BY_ID = VERDICTS.where(item_verdicts.c.id == sa.bindparam("given"))
GIVE_BACK = (
    sa.update(items)
    .where(items.c.id == sa.bindparam("item"), items.c.source.is_(None))
    .values(source=sa.bindparam("kept", type_=items.c.source.type))
)


@lone
def undone_by(c: sa.Connection, id: CallId) -> VerdictRow | None:
    """Return the verdict that an ``undo`` names, or None if it was deleted as old."""
    row = c.execute(BY_ID, {"given": id}).one_or_none()
    return None if row is None else struct_from(VerdictRow, row)


def settle(
    c: sa.Connection, device_id: DeviceId, answers: Sequence[VerdictAnswer], *, epoch: int, at: int
) -> list[VerdictRow]:
    """Settle verdicts by the device's answers over its connection *epoch*, and judge their items.

    Returns:
        The settled rows; none if the device has a newer connection, over which they are sent again.
    """
    if c.execute(EPOCH, {"device": device_id}).scalar_one_or_none() != epoch:
        return []
    settled: list[VerdictRow] = []
    for answer in sorted(answers, key=lambda answer: answer.id):
        after = "done" if answer.reason is None else "refused"
        given = {"given": answer.id, "after": after, "why": answer.reason, "now": at}
        row = c.execute(SETTLE, given).one_or_none()
        if row is None:
            continue  # settled before
        verdict = struct_from(VerdictRow, row)
        settled.append(verdict)
        if answer.state is None and answer.reason != ErrorCode.UNKNOWN_EFFECT:
            c.execute(HOLD_AGAIN, {"item": verdict.item_id, "now": at})
        is_old = None not in (answer.counter, verdict.counter) and answer.counter < verdict.counter  # type: ignore[operator]
        if answer.state is not None and not is_old:
            _judge(c, verdict, answer.state, at, is_removed=answer.is_removed)
        is_listed = answer.state is not None and is_old  # then the list says what the row is
        state = c.execute(IS_NOW, {"item": verdict.item_id}).scalar() if is_listed else answer.state
        _end_with(c, verdict, state)
    counters = [answer.counter for answer in answers if answer.counter is not None]
    if counters:
        c.execute(NOTE_COUNTER, {"device": device_id, "reported": max(counters)})
    return settled


def _end_with(c: sa.Connection, verdict: VerdictRow, state: str | None) -> None:
    """Withdraw the verdicts on the repeats of an item, unless its own verdict made it what they wait for.

    Args:
        state: of the item by its settled verdict; ``None``: the verdict had no effect.
    """
    if state not in _FREEING.get(verdict.verdict, ()):
        c.execute(WITHDRAW_LED, {"leader": verdict.id})


def withdraw_with(c: sa.Connection, item_id: str) -> None:
    """Withdraw the verdicts that wait for the one on an item that is deleted next."""
    verdict = newest_verdicts(c, [item_id]).get(item_id)
    if verdict is not None and verdict.is_open:
        _end_with(c, verdict, None)


def _judge(c: sa.Connection, verdict: VerdictRow, state: RowState, at: int, *, is_removed: bool) -> None:
    """Write the verdict of an item, as its device answered; a newer version of the item has none yet."""
    item = {"item": verdict.item_id}
    if is_removed:  # its next call is another one, as the device has answered to this one
        given = item | {"call": verdict.seen_call, "fresh": CallId(f"{verdict.id}-held"), "now": at}
        if c.execute(TAKE_BACK, given).rowcount and verdict.source:
            c.execute(GIVE_BACK, item | {"kept": verdict.source})
        follow(c, [verdict.item_id])
        return
    if state == "open":
        if c.execute(REOPEN, item | {"call": verdict.seen_call, "now": at}).rowcount and verdict.source:
            c.execute(GIVE_BACK, item | {"kept": verdict.source})
        follow(c, [verdict.item_id])
        return
    if state == "rejected":  # the item loses its source
        source = c.execute(SOURCE, item).scalar_one_or_none()
        c.execute(KEEP_SOURCE, {"given": verdict.id, "kept": source})
    leader = verdict.led_by
    repeats = {verdict.seen_call: c.execute(ITEM_OF, {"given": leader}).scalar()} if leader else {}
    record_verdicts(c, verdict.device_id, [ReportedVerdict(verdict.seen_call, state)], at, repeats=repeats)


# --- what the owner did at the device meanwhile ---

OF_CALLS = VERDICTS.where(
    item_verdicts.c.device_id == sa.bindparam("device"),
    item_verdicts.c.seen_call.in_(sa.bindparam("calls", expanding=True)),
    item_verdicts.c.seen_row.is_(None),  # else the device compares the row itself
    sa.text(IS_OPEN),
)


def overtake(c: sa.Connection, device_id: DeviceId, reports: Sequence[ReportedVerdict], at: int) -> None:
    """Settle open verdicts on versions of items about which the owner has decided at the device.

    The answer of the device settles a verdict on an older version. The device reports no verdict that a hub
    brought. So a report is newer than a verdict that it has applied, and makes it refuse any other.
    """
    reported = {report.call_id: report.verdict for report in reports}
    found = structs_from(
        VerdictRow, execute_among(c, OF_CALLS, "calls", sorted(reported), {"device": device_id})
    )
    for row in sorted(found, key=lambda row: row.id):
        is_same = (row.verdict, reported[row.seen_call]) in (("approve", "approved"), ("reject", "rejected"))
        after = "done" if is_same and (row.verdict == "reject" or not row.data) else "refused"
        why = CHANGED if after == "refused" else None
        c.execute(SETTLE, {"given": row.id, "after": after, "why": why, "now": at})
        _end_with(c, row, reported[row.seen_call] if after == "done" else None)


OPEN_OF = sa.select(item_verdicts.c.id, item_verdicts.c.seen_call).where(
    item_verdicts.c.device_id == sa.bindparam("device"), sa.text(IS_OPEN)
)
LISTED = (
    sa.update(item_verdicts)
    .where(item_verdicts.c.id == sa.bindparam("given"), sa.text(IS_OPEN))
    .values(counter=sa.bindparam("listed", type_=Int))
)


def note_listed(c: sa.Connection, device_id: DeviceId, counters: Mapping[CallId, int]) -> None:
    """Store the counters with which the device listed rows, by call, at the open verdicts on them."""
    found = c.execute(OPEN_OF, {"device": device_id}).all() if counters else []
    listed = [
        {"given": row.id, "listed": counters[row.seen_call]} for row in found if row.seen_call in counters
    ]
    execute_for_each(c, LISTED, sorted(listed, key=lambda row: row["given"]))


REVOKED = (
    sa.update(item_verdicts)
    .where(item_verdicts.c.device_id == sa.bindparam("device"), sa.text(IS_OPEN))
    .values(state="refused", reason=ErrorCode.REVOKED.value, settled_at=_now)
)


def refuse_all(c: sa.Connection, device_id: DeviceId, at: int) -> None:
    """Refuse the open verdicts of a device that was revoked."""
    c.execute(REVOKED, {"device": device_id, "now": at})
