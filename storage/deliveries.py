"""Notifications in the database: which events a target gets, order, retries, end after three days.

A delivery is written in the transaction that moves the cursor of its target, and given up after ``NEWS_MS``.
Its id is made from target, event and subject: a change that is read again, after a kill, at another hub or
after a restore, makes no second one. The holder of the lease of a target collects its events and sends them,
so each transaction about a delivery checks the term. Issues are found by each hub, and are written by all of
them.

A target that is away costs MAX_WAITING rows: further events are counted, and one event says how many.

An event names things by id and name, and has no text of a document: it may go to a machine that is not the
operator's. Titles are added for targets that ask for them.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, UserId
from protocol.lifecycles import FINAL_RUN_STATES
from protocol.tables import TABLES
from storage import leases
from storage.changes import SubjectChange, changes_after, newest
from storage.devices.users import find_user_by_name
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    in_parts,
    insert_if_absent,
    listed_keys,
    paged,
    struct_from,
    struct_or_none,
)
from storage.schema import (
    agents,
    boards,
    deliveries,
    devices,
    items,
    notify_targets,
    questions,
    runs,
    users,
)


class HubEvent(msgspec.Struct, frozen=True):
    """Event at the hub.

    Attributes:
        subject: the thing that it is about; a target gets the events of one in their order.
        key: distinguishes the event from others of its name and subject.
        at: when it happened, epoch milliseconds.
    """

    event: str
    subject: str
    key: str
    user_id: UserId | None
    at: int
    data: dict[str, Any]


_since = sa.bindparam("since", type_=Int)
_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
ENDED: Final = (
    sa.select(
        *runs.c["id", "agent_id", "state", "outcome", "items_created", "completed_at"],
        *(agents.c.name.label("agent"), agents.c.user_id),
    )
    .join_from(runs, agents, agents.c.id == runs.c.agent_id)
    .where(runs.c.id.in_(_ids), runs.c.completed_at >= _since, runs.c.state.in_(sorted(FINAL_RUN_STATES)))
)
OPEN: Final = (
    sa.select(items.c.run_id, sa.func.count().label("count"))
    .where(items.c.run_id.in_(_ids), items.c.verdict == "open", listed_keys(items))
    .group_by(items.c.run_id)
)
APPROVED: Final = (
    # By its call, an approval that a device reports again to a restored hub is the same event.
    sa.select(
        *items.c["id", "call_id", "target_table", "verdict", "verdict_at", "run_id", "agent_id"],
        *(items.c.user_id, items.c.data, agents.c.name.label("agent")),
    )
    .join_from(items, agents, agents.c.id == items.c.agent_id, isouter=True)
    .where(items.c.id.in_(_ids), items.c.verdict_at >= _since, items.c.verdict.in_(("approved", "edited")))
)
ASKED: Final = (
    sa.select(questions, boards.c.name.label("board"))
    .join_from(questions, boards, boards.c.id == questions.c.board_id, isouter=True)
    .where(questions.c.id.in_(_ids), questions.c.created_at >= _since)
)


def derive_events(
    c: sa.Connection, changed: Iterable[SubjectChange], *, since: int, has_titles: bool
) -> list[HubEvent]:
    """Return the events of runs, items and questions that changed, in the order of their times.

    Args:
        since: epoch milliseconds; earlier events are left out.
        has_titles: also with titles of items and the words of questions.
    """
    ids: dict[str, list[str]] = {"run": [], "item": [], "question": []}
    for change in changed:
        ids.get(change.kind, []).append(change.subject)
    found: list[HubEvent] = []
    for make, kind in ((_of_runs, "run"), (_of_items, "item"), (_of_questions, "question")):
        for part in in_parts(ids[kind]):
            found += make(c, part, since, has_titles)
    return sorted(found, key=lambda event: event.at)


def _of_runs(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    waiting = {row.run_id: row.count for row in c.execute(OPEN, {"ids": ids})}
    for row in c.execute(ENDED, {"ids": ids, "since": since}).all():
        about = {"run_id": row.id, "agent_id": row.agent_id, "agent": row.agent}
        ended = about | {"state": row.state, "outcome": row.outcome, "items": row.items_created}
        subject, key = f"run:{row.id}", f"{row.completed_at}"
        yield HubEvent(f"run.{row.state.lower()}", subject, key, row.user_id, row.completed_at, ended)
        if count := waiting.get(row.id):
            about |= {"count": count}
            yield HubEvent("items.waiting", subject, key, row.user_id, row.completed_at, about)


def _of_items(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    for row in c.execute(APPROVED, {"ids": ids, "since": since}).all():
        about = {"item_id": row.id, "table": row.target_table, "verdict": row.verdict, "run_id": row.run_id}
        about |= {"agent_id": row.agent_id, "agent": row.agent}
        if has_titles and (table := TABLES.get(row.target_table)) is not None:
            about["title"] = row.data.get(table.title)
        yield HubEvent(
            "item.approved",
            f"item:{row.id}",
            f"{row.call_id} {row.verdict}",
            row.user_id,
            row.verdict_at,
            about,
        )


def _of_questions(c: sa.Connection, ids: Sequence[str], since: int, has_titles: bool) -> Iterator[HubEvent]:
    for row in c.execute(ASKED, {"ids": ids, "since": since}).all():
        about = {"question_id": row.id, "board": row.board, "expires_at": row.expires_at}
        if has_titles:
            about["title"] = row.content
        yield HubEvent("question.asked", f"question:{row.id}", "", row.user_id, row.created_at, about)


def name_of_subject(c: sa.Connection, issue: str, subject: str) -> dict[str, str]:
    """Return the name of the agent or device that an issue is about, if it is about one."""
    for kind, table in (("agent", agents), ("device", devices)):
        if issue.startswith(f"{kind}."):
            name = c.execute(sa.select(table.c.name).where(table.c.id == subject)).scalar_one_or_none()
            return {} if name is None else {kind: name, f"{kind}_id": subject}
    return {}


DAY_MS: Final = 86_400_000
MAX_WAITING: Final = 1_000  # deliveries of a target
NEWS_MS: Final = 3 * DAY_MS  # an older event is not sent any more
MAX_REFUSALS: Final = 8  # of one delivery by its receiver
FEW: Final = 9
AT_ONCE: Final = 200  # waiting deliveries that are examined for the next one
GAP: Final = "notify.gap"
# Issues whose begin and end have events of their own.
OF_ISSUES: Final[Mapping[str, tuple[str, str]]] = {
    "agent.runs_fail": ("agent.failing", "agent.well"),
    "device.absent": ("device.away", "device.back"),
}
_OTHER_ISSUES: Final = ("issue.opened", "issue.closed")
State = Literal["waiting", "delivered", "failed"]


class TargetRow(msgspec.Struct, frozen=True):
    """Target of events.

    Attributes:
        user_id: whose events it gets; None: everybody's.
        cursor: number of the change up to which its events are deliveries.
        failures: consecutive ones.
        retry_at: until then nothing is sent.
        disabled_at: when its address asked for no more.
        left_out: number of events without a delivery, since the last one that said so.
        issues: that it knows as open, by their keys.
    """

    name: str
    user_id: UserId | None
    cursor: int
    digest: str
    failures: int
    failing_since: int | None
    retry_at: int
    delivered_at: int | None
    disabled_at: int | None
    problem: str | None
    left_out: int
    left_out_since: int | None
    issues: dict[str, Any]
    created_at: int
    waiting: int = 0


class DeliveryRow(msgspec.Struct, frozen=True):
    """Delivery of an event to a target. *number*: its place in the order; *answer*: what came of it last."""

    id: str
    target: str
    number: int
    user_id: UserId | None
    event: str
    subject: str
    data: dict[str, Any]
    state: State
    attempts: int
    answer: str | None
    due_at: int
    created_at: int
    answered_at: int | None


class OpenIssue(msgspec.Struct, frozen=True):
    """Issue that a hub finds now. *is_muted*: a person does not want to be shown it."""

    key: str
    id: str
    subject: str
    severity: str
    explanation: str
    user_id: UserId | None
    since: int
    is_muted: bool


_named = notify_targets.c.name == sa.bindparam("of_target")
_of = deliveries.c.target == sa.bindparam("of_target")
_waits = sa.text("deliveries.state = 'waiting'")
_mine = sa.select(sa.func.count()).where(deliveries.c.target == notify_targets.c.name, _waits)
TARGETS: Final = sa.select(
    *columns_of(TargetRow, notify_targets, waiting=_mine.correlate(notify_targets).scalar_subquery())
)
LOCKED: Final = TARGETS.where(_named).with_for_update(of=notify_targets)
LAST: Final = sa.select(sa.func.coalesce(sa.func.max(deliveries.c.number), 0)).where(_of)
WAITING: Final = (
    sa.select(*columns_of(DeliveryRow, deliveries))
    .where(_of, _waits)
    .order_by(deliveries.c.number)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_DELIVERY: Final = sa.select(*columns_of(DeliveryRow, deliveries))


def open_target(c: sa.Connection, name: str, *, digest: str, user: str | None, at: int) -> TargetRow:
    """Return the row of a target, created for what changes from now on. Other settings let it be tried again.

    Raises:
        CodedError (UNKNOWN_USER): no user has the name.
    """
    owner = None if user is None else find_user_by_name(c, user)
    if owner is None and user is not None:
        raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {user!r}")
    user_id = None if owner is None else owner.id
    row = find_target(c, name)
    values = {"user_id": user_id, "digest": digest}
    if row is None:
        c.execute(sa.insert(notify_targets), {"name": name, "cursor": newest(c), "created_at": at} | values)
    elif (row.user_id, row.digest) != (user_id, digest):
        _update(c, name, **values, **_TRIED_AGAIN)
    found = find_target(c, name)
    assert found is not None
    return found


_TRIED_AGAIN: Final = {
    "failures": 0,
    "failing_since": None,
    "retry_at": 0,
    "disabled_at": None,
    "problem": None,
}


def find_target(c: sa.Connection, name: str) -> TargetRow | None:
    """Return the row of a target, or None."""
    return struct_or_none(TargetRow, c.execute(TARGETS.where(_named), {"of_target": name}).one_or_none())


def list_targets(c: sa.Connection) -> dict[str, TargetRow]:
    """Return all targets by their names, also those that no settings name any more."""
    return {row.name: struct_from(TargetRow, row) for row in c.execute(TARGETS)}


def try_again(c: sa.Connection, name: str) -> None:
    """Enable a target, and end its wait."""
    _update(c, name, **_TRIED_AGAIN)


class EventBatch(msgspec.Struct, frozen=True):
    """Events of a target behind its cursor, and the cursor behind them. *has_gap*: others may be missing."""

    events: list[HubEvent]
    cursor: int
    has_gap: bool
    has_more: bool


def read_news(
    c: sa.Connection, row: TargetRow, cursor: int, *, events: Collection[str], has_titles: bool, at: int
) -> EventBatch:
    """Return the events of what changed behind *cursor*; from the first change if the numbers began anew."""
    after = cursor if cursor <= newest(c) else 0
    found = changes_after(c, after, user_id=row.user_id)
    since = max(at - NEWS_MS, row.created_at)
    new = derive_events(c, found.changes, since=since, has_titles=has_titles)
    has_gap = after > 0 and not found.is_gapless
    return EventBatch([event for event in new if event.event in events], found.upto, has_gap, found.has_more)


def add_news(c: sa.Connection, term: leases.Term, name: str, news: EventBatch, *, at: int) -> None:
    """Write the deliveries of events, and move the cursor.

    Raises:
        LostLease: another hub has the target now; nothing was written.
    """
    leases.check_term(c, term)
    row = _locked(c, name, cursor=news.cursor)
    _add(c, row, news.events, at=at)
    if news.has_gap:
        _add_gap(c, row.name, {"left_out": None}, key=f"{news.cursor}", at=at)


def sync_issues(
    c: sa.Connection,
    name: str,
    boot_id: BootId,
    found: Sequence[OpenIssue],
    *,
    may_close: bool,
    events: Collection[str],
    has_texts: bool,
    at: int,
) -> None:
    """Write the deliveries of issues that were opened or closed since a target knew them last.

    An issue is open while a living hub finds it.

    Args:
        found: all issues of this hub; muted ones are not opened.
        may_close: False: an issue that is not found may still be looked for.
    """
    row = _locked(c, name)
    known, living = dict(row.issues), {boot_id, *leases.living_boots(c)}
    seen = {issue.key: issue for issue in found if row.user_id in (None, issue.user_id)}
    new = []
    for key, one in seen.items():
        if key not in known and one.is_muted:
            continue
        before = known.get(key)
        if before is None:
            about = {"issue": one.id, "key": key, "severity": one.severity, "since": one.since}
            about |= {"subject": one.subject} | name_of_subject(c, one.id, one.subject)
            about |= {"explanation": one.explanation} if has_texts else {}
            known[key] = before = {"data": about, "user": one.user_id, "boots": []}
            new.append(_about_issue(key, before, is_open=True, at=at))
        known[key] = before | {"boots": sorted({*before["boots"], boot_id} & living)}
    for key in [key for key in known if key not in seen and may_close]:
        boots = sorted({*known[key]["boots"]} & living - {boot_id})
        if boots:
            known[key] = known[key] | {"boots": boots}
        elif (closed := known.pop(key))["user"] is None or _is_user(c, closed["user"]):
            new.append(_about_issue(key, closed, is_open=False, at=at))
    if known != row.issues:
        _update(c, name, issues=known)
    _add(c, row, [event for event in new if event.event in events], at=at)


def _is_user(c: sa.Connection, user_id: str) -> bool:
    """Return whether a user was not erased."""
    return c.execute(sa.select(users.c.id).where(users.c.id == user_id)).first() is not None


def _about_issue(key: str, known: Mapping[str, Any], *, is_open: bool, at: int) -> HubEvent:
    data = known["data"]
    opened, closed = OF_ISSUES.get(data["issue"], _OTHER_ISSUES)
    event = opened if is_open else closed
    return HubEvent(event, f"issue:{key}", f"{data['since']} {is_open}", known["user"], at, data)


def next_deliveries(
    c: sa.Connection, name: str, *, at: int, most: int
) -> tuple[TargetRow | None, list[DeliveryRow]]:
    """Return a target, and its next deliveries: none that waits behind an earlier one of its subject."""
    row = find_target(c, name)
    if row is None or row.disabled_at is not None or row.retry_at > at or not row.waiting:
        return row, []
    found: list[DeliveryRow] = []
    for window in (most + FEW, AT_ONCE):  # more than a few are rarely in the way
        subjects: set[str] = set()
        for delivery in fetch_page(c, DeliveryRow, WAITING, None, {"of_target": name, "most": window}):
            if delivery.subject not in subjects and delivery.due_at <= at and len(found) < most:
                found.append(delivery)
            else:
                subjects.add(delivery.subject)
        if found:
            break
    return row, found


def settle(
    c: sa.Connection,
    term: leases.Term,
    sent: Sequence[DeliveryRow],
    outcome: Literal["delivered", "later", "refused", "gone"],
    answer: str,
    *,
    wait_ms: int,
    due_ms: int,
    at: int,
) -> None:
    """Record what came of sending deliveries.

    Args:
        wait_ms: until anything is sent to the target again.
        due_ms: until these are, if they were not delivered.

    Raises:
        LostLease: another hub has the target now; nothing was written.
    """
    leases.check_term(c, term)
    name = sent[0].target
    row = _locked(c, name, retry_at=at + wait_ms)
    for delivery in sent:
        attempts = delivery.attempts + 1
        is_lost = outcome == "refused" and attempts >= MAX_REFUSALS
        state = "delivered" if outcome == "delivered" else "failed" if is_lost else "waiting"
        values = {"state": state, "attempts": attempts, "answer": answer, "due_at": at + due_ms}
        # One that was dropped meanwhile is not tried again.
        which = sa.and_(deliveries.c.id == delivery.id, sa.true() if outcome == "delivered" else _waits)
        c.execute(sa.update(deliveries).where(which).values(answered_at=at, **values))
    expired = c.execute(EXPIRE, {"of_target": name, "before": at - NEWS_MS}).rowcount
    left_out, since = row.left_out + expired, row.left_out_since or at
    if outcome == "delivered":
        _update(c, name, failures=0, failing_since=None, problem=None, delivered_at=at)
        if left_out and row.waiting - expired <= MAX_WAITING // 2:
            _add_gap(c, name, {"left_out": left_out, "since": since}, key=f"{since}", at=at)
            left_out = 0
    else:
        failing_since, disabled_at = row.failing_since or at, at if outcome == "gone" else None
        values = {"failing_since": failing_since, "disabled_at": disabled_at, "problem": answer}
        _update(c, name, failures=row.failures + 1, **values)
    if left_out != row.left_out:
        _update(c, name, left_out=left_out, left_out_since=since if left_out else None)


EXPIRE: Final = (
    sa.update(deliveries)
    .where(_of, _waits, deliveries.c.created_at < sa.bindparam("before", type_=Int))
    .values(state="failed", answer="given up after three days")
)


def list_deliveries(
    c: sa.Connection,
    name: str,
    *,
    state: State | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[DeliveryRow]:
    """Return deliveries of a target, or those in a state, the newest first."""
    found = _DELIVERY.where(_of) if state is None else _DELIVERY.where(_of, deliveries.c.state == state)
    query = paged(found, deliveries.c.number, limit=limit, after=after, descending=True)
    return fetch_page(c, DeliveryRow, query, limit, {"of_target": name})


def retry(c: sa.Connection, id: str, *, at: int) -> DeliveryRow | None:
    """Send a delivery once more, and try its target at once. Return None if it is not kept."""
    row = _changed(c, id, state="waiting", due_at=at, created_at=at, attempts=0)
    if row is not None:
        try_again(c, row.target)
    return row


def drop(c: sa.Connection, id: str) -> DeliveryRow | None:
    """Give up a delivery that waits, and send the others at once. Return None if there is none that waits."""
    row = _changed(c, id, is_waiting=True, state="failed", answer="dropped by a person")
    if row is not None:
        _update(c, row.target, retry_at=0)
    return row


def _changed(c: sa.Connection, id: str, *, is_waiting: bool = False, **values: Any) -> DeliveryRow | None:
    """Change a delivery. Return it, or None if there is none, or it does not wait as it has to."""
    which = sa.and_(deliveries.c.id == id, _waits if is_waiting else sa.true())
    query = sa.update(deliveries).where(which).values(**values)
    return struct_or_none(
        DeliveryRow, c.execute(query.returning(*columns_of(DeliveryRow, deliveries))).one_or_none()
    )


def _locked(c: sa.Connection, name: str, **values: Any) -> TargetRow:
    """Return a target as it was, with its row locked, and write *values*. Raises CodedError."""
    row = c.execute(LOCKED, {"of_target": name}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_TARGET, f"there is no target {name!r}")
    if values:
        _update(c, name, **values)
    return struct_from(TargetRow, row)


def _update(c: sa.Connection, name: str, **values: Any) -> None:
    c.execute(sa.update(notify_targets).where(_named).values(**values), {"of_target": name})


def _add(c: sa.Connection, row: TargetRow, new: Sequence[HubEvent], *, at: int) -> None:
    """Add deliveries as far as there is a place, and count the others."""
    is_behind = row.left_out and row.waiting > MAX_WAITING // 2
    place = 0 if is_behind or row.disabled_at is not None else max(0, MAX_WAITING - row.waiting)
    known = _known(c, [_id(row.name, event) for event in new])
    missing = [event for event in new if _id(row.name, event) not in known]
    _insert(c, row.name, missing[:place], at=at)
    if left_out := len(missing[place:]):
        since = row.left_out_since or at
        _update(c, row.name, left_out=row.left_out + left_out, left_out_since=since)


def _add_gap(c: sa.Connection, name: str, data: dict[str, Any], *, key: str, at: int) -> None:
    _insert(c, name, [HubEvent(GAP, GAP, key, None, at, data)], at=at)


def _insert(c: sa.Connection, name: str, new: Sequence[HubEvent], *, at: int) -> None:
    last = c.execute(LAST, {"of_target": name}).scalar_one()
    rows = [
        {"id": _id(name, one), "target": name, "number": number, "due_at": at, "created_at": one.at}
        | {"user_id": one.user_id, "event": one.event, "subject": one.subject, "data": one.data}
        for number, one in enumerate(new, last + 1)
    ]
    if rows:
        c.execute(insert_if_absent(deliveries), rows)


def _known(c: sa.Connection, ids: Sequence[str]) -> set[str]:
    return (
        {*c.execute(sa.select(deliveries.c.id).where(deliveries.c.id.in_(ids))).scalars()} if ids else set()
    )


def _id(name: str, one: HubEvent) -> str:
    spelled = "\0".join((name, one.event, one.subject, one.key))
    return f"msg_{hashlib.sha256(spelled.encode()).hexdigest()[:32]}"
