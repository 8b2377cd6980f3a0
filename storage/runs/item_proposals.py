"""Proposed verdicts in the database: limits (1,000 open per proposer, five per item) and settlement.

A proposal concerns one version of its item. It is settled, and its row stays, once the item changes or gets a
verdict. States: *open*, then *accepted*, *declined* or *withdrawn*. Each proposer has at most one open
proposal on an item: a newer one replaces it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import CallId, UserId
from storage import audit
from storage.kernel.columns import Int, columns_of, execute_among, in_parts, structs_from, values_of
from storage.schema import item_proposals, items

ProposedVerdict = Literal["approve", "edit", "reject"]
ProposalState = Literal["open", "accepted", "declined", "withdrawn"]
MAX_OPEN: Final = 1_000  # of a proposer
MAX_OF_ITEM: Final = 5  # open
SHOWN: Final = 6  # last characters of an item's id, by which commands name it
_IS_OPEN: Final = sa.text("item_proposals.state = 'open'")  # as text, so that the partial indexes are used


class ProposalRow(msgspec.Struct, frozen=True, kw_only=True):
    """Proposal of *actor* about an item. Instants are epoch milliseconds.

    Attributes:
        data: values of an approval or edit.
        seen_call: newest call of the item when the proposal was made.
    """

    id: str
    item_id: str
    user_id: UserId
    verdict: ProposedVerdict
    data: dict[str, Any] = {}
    why: str
    seen_call: CallId
    state: ProposalState = "open"
    actor: str
    created_at: int
    settled_at: int | None = None


PROPOSALS = sa.select(*columns_of(ProposalRow, item_proposals))
BY_ID = PROPOSALS.where(item_proposals.c.id.in_(sa.bindparam("ids", expanding=True)))
OPEN_ON = PROPOSALS.where(item_proposals.c.item_id.in_(sa.bindparam("ids", expanding=True)), _IS_OPEN)
COUNT = (
    sa.select(sa.func.count())
    .select_from(item_proposals)
    .where(item_proposals.c.actor == sa.bindparam("by"), _IS_OPEN)
)
_settled = {"state": sa.bindparam("after"), "settled_at": sa.bindparam("now", type_=Int)}
SETTLE = (
    sa.update(item_proposals)
    .where(item_proposals.c.id.in_(sa.bindparam("ids", expanding=True)), _IS_OPEN)
    .values(_settled)
)
SETTLE_ON_CALLS = (
    sa.update(item_proposals)
    .where(
        item_proposals.c.item_id.in_(
            sa.select(items.c.id).where(items.c.call_id.in_(sa.bindparam("calls", expanding=True)))
        ),
        _IS_OPEN,
    )
    .values(_settled)
)


def find(c: sa.Connection, ids: Sequence[str]) -> dict[str, ProposalRow]:
    """Return proposals, whatever their states, by id."""
    found = (c.execute(BY_ID, {"ids": part}) for part in in_parts(sorted(ids)))
    return {row.id: row for rows in found for row in structs_from(ProposalRow, rows)}


def open_on(c: sa.Connection, item_ids: Sequence[str]) -> dict[str, list[ProposalRow]]:
    """Return the open proposals on items, by item, the newest first."""
    found: defaultdict[str, list[ProposalRow]] = defaultdict(list)
    rows = [
        row
        for part in in_parts(sorted(item_ids))
        for row in structs_from(ProposalRow, c.execute(OPEN_ON, {"ids": part}))
    ]
    for row in sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True):
        found[row.item_id].append(row)
    return found


class Open:
    """Open proposals of *actor* and of others on some items, as a transaction adds to them."""

    def __init__(self, c: sa.Connection, actor: str, item_ids: Sequence[str]) -> None:
        rows = [row for on in open_on(c, item_ids).values() for row in on]
        self._of_actor = {row.item_id: row for row in rows if row.actor == actor}
        self._on_items = Counter(row.item_id for row in rows)
        self._count = c.execute(COUNT, {"by": actor}).scalar_one()
        self._replaced: list[str] = []
        self._added: dict[str, ProposalRow] = {}  # by item

    def add(self, new: ProposalRow) -> ProposalRow | str:
        """Add a proposal. Return its row, or an older one that says the same, or why there are too many."""
        before = self._of_actor.get(new.item_id)
        if before is None:
            if self._count >= MAX_OPEN:
                return f"you have {MAX_OPEN} open proposals: withdraw some, or wait until they are decided"
            if self._on_items[new.item_id] >= MAX_OF_ITEM:
                return f"item {new.item_id!r} has {MAX_OF_ITEM} open proposals: wait until its owner decides"
            self._count += 1
            self._on_items[new.item_id] += 1
        elif (before.verdict, before.data, before.why) == (new.verdict, new.data, new.why):
            return before
        elif new.item_id not in self._added:
            self._replaced.append(before.id)
        self._of_actor[new.item_id] = self._added[new.item_id] = new
        return new

    def write(self, c: sa.Connection, at: int) -> list[ProposalRow]:
        """Store what was added. Return it."""
        settle(c, self._replaced, "withdrawn", at)
        if self._added:
            c.execute(
                sa.insert(item_proposals), [values_of(row, item_proposals) for row in self._added.values()]
            )
        return list(self._added.values())


def close(
    c: sa.Connection,
    ids: Sequence[str],
    state: Literal["declined", "withdrawn"],
    *,
    user_id: UserId | None,
    actor: str,
    at: int,
) -> list[ProposalRow | HubError]:
    """Refuse open proposals, or withdraw those of *actor*: their items go on waiting.

    Returns:
        For each: its row, or why it is not open.
    """
    known = {
        id: row
        for id, row in find(c, ids).items()
        if user_id in (None, row.user_id) and (state == "declined" or row.actor == actor)
    }
    results: list[ProposalRow | HubError] = []
    for id in ids:
        row = known.get(id)
        if row is None:
            results.append(CodedError(ErrorCode.UNKNOWN_ITEM, f"there is no proposal {id!r}"))
        elif row.state not in ("open", state):
            results.append(CodedError(ErrorCode.CHANGED_MEANWHILE, f"proposal {id!r} is {row.state} already"))
        else:
            results.append(row)
    closed = [row for row in known.values() if row.state == "open"]
    settle(c, [row.id for row in closed], state, at)
    if closed:
        event = "item.proposal_declined" if state == "declined" else "item.proposal_withdrawn"
        record(c, event, [(row.item_id, row.verdict) for row in closed], actor, at)
    return results


def record(
    c: sa.Connection, event: str, done: Sequence[tuple[str, str]], actor: str, at: int, **more: str
) -> None:
    """Append one audit entry about items, each with its verdict."""
    ids = list(dict.fromkeys(id for id, _ in done))
    counts = Counter(verdict for _, verdict in done)
    detail: audit.Detail = {**counts, "items": " ".join(id[-SHOWN:] for id in ids), **more}
    subject = ids[0] if len(ids) == 1 else None
    audit.append(c, at=at, actor=actor, event=event, subject=subject, detail=detail)


def settle(c: sa.Connection, ids: Sequence[str], state: ProposalState, at: int) -> None:
    """Settle those of these proposals that are open."""
    execute_among(c, SETTLE, "ids", sorted(ids), {"after": state, "now": at})


def withdraw(c: sa.Connection, call_ids: Sequence[str], at: int) -> None:
    """Withdraw the open proposals on the items with these calls: they changed, or have a verdict."""
    execute_among(c, SETTLE_ON_CALLS, "calls", sorted(call_ids), {"after": "withdrawn", "now": at})
