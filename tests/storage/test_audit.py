import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, BootId, NodeId, RunId, UserId, trace_id_of
from storage import audit
from storage.audit import AuditBreak, AuditEntry, Link
from storage.devices import nodes, users
from storage.schema import activity_log, audit_log, hub
from tests.storage.rows import AT, some

DAY = 24 * 3_600_000
ME = "operator:1000"


def tell(
    c: sa.Connection,
    event: str = "run.started",
    *,
    at: int = AT,
    subject: str | None = "run-1",
    detail: audit.Detail | None = None,
) -> int:
    detail = detail or {"agent": "notes"}
    return audit.append(c, at=at, actor=ME, event=event, subject=subject, detail=detail)


def told(c: sa.Connection, entries: int) -> None:
    """A chain of so many entries."""
    for n in range(entries):
        tell(c, subject=f"run-{n + 1}", at=AT + n)


def wrong(c: sa.Connection, *, rows: int = 500) -> list[AuditBreak]:
    """Everything that a whole check finds, part by part."""
    found: list[AuditBreak] = []
    part = audit.check_part(c, rows=rows)
    found += part.breaks
    while not part.is_last:
        part = audit.check_part(c, part.end, rows=rows)
        found += part.breaks
    return found


@pytest.fixture
def three(c: sa.Connection) -> None:
    """A chain of three entries."""
    told(c, 3)


@pytest.fixture
def five(c: sa.Connection) -> None:
    """A chain of five entries."""
    told(c, 5)


@pytest.fixture
def twelve_days(c: sa.Connection) -> None:
    """An entry on each of twelve days."""
    for day in range(12):
        tell(c, at=AT + day * DAY)


def test_audit_hash_covers_the_previous_hash_and_the_entry_as_json(c: sa.Connection) -> None:
    audit.append(c, at=1, actor="hub", event="hub.drained", detail={"b": True, "a": "ü"})
    tell(c)
    row, following = audit.list_entries(c, limit=2, oldest_first=True)
    assert (row.detail, row.prev_hash, following.prev_hash) == ('{"a":"ü","b":true}', audit.FIRST, row.hash)
    told = r'[1,1,"hub","hub.drained",null,"done","{\"a\":\"ü\",\"b\":true}"]'
    assert row.hash == hashlib.sha256(bytes(32) + told.encode()).digest()


def test_an_unchanged_chain_is_valid(c: sa.Connection) -> None:
    assert wrong(c) == []
    told(c, 7)
    for rows in (1, 3, 7, 500):
        assert wrong(c, rows=rows) == []
    assert audit.check_part(c).entries == 7


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    "change",
    [
        {"detail": '{"agent":"other"}'},
        {"actor": "hub"},
        {"at": AT + 99},
        {"outcome": "refused"},
        {"subject": None},
        {"event": "run.cancelled"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_edited_audit_entry_is_detected(c: sa.Connection, change: dict[str, object]) -> None:
    c.execute(sa.update(audit_log).where(audit_log.c.seq == 3).values(change))
    assert wrong(c) == [AuditBreak(3, "entry 3 was edited: its hash does not fit what it says")]


@pytest.mark.usefixtures("five")
def test_edited_audit_entry_with_forged_hash_is_detected_at_the_next_entry(c: sa.Connection) -> None:
    edited = audit.list_entries(c, limit=1, after=(2,), oldest_first=True)[0]
    c.execute(sa.update(audit_log).where(audit_log.c.seq == 3).values(actor="hub"))
    forged = audit.hash_of(audit.list_entries(c, limit=1, after=(2,), oldest_first=True)[0])
    assert forged != edited.hash
    c.execute(sa.update(audit_log).where(audit_log.c.seq == 3).values(hash=forged))
    assert [found.seq for found in wrong(c)] == [4]


@pytest.mark.parametrize("rows", [1, 2, 500])
@pytest.mark.parametrize(
    ("first", "last", "missing"),
    [
        (3, 4, AuditBreak(3, "entries 3 to 4 are missing")),
        (1, 1, AuditBreak(1, "entry 1 is missing")),
        (1, 5, AuditBreak(1, "entries 1 to 5 are missing")),
    ],
)
@pytest.mark.usefixtures("five")
def test_removed_audit_entries_are_detected(
    c: sa.Connection, first: int, last: int, missing: AuditBreak, rows: int
) -> None:
    c.execute(sa.delete(audit_log).where(audit_log.c.seq.between(first, last)))
    assert wrong(c, rows=rows) == [missing]


def test_removed_last_audit_entries_are_detected_also_after_later_entries(c: sa.Connection) -> None:
    told(c, 4)
    c.execute(sa.delete(audit_log).where(audit_log.c.seq > 2))
    assert (wrong(c), tell(c)) == ([AuditBreak(3, "entries 3 to 4 are missing")], 5)
    assert wrong(c) == [AuditBreak(3, "entries 3 to 4 are missing")]


@pytest.mark.usefixtures("five")
def test_reordered_audit_entries_are_detected(c: sa.Connection) -> None:
    for before, after in ((2, 99), (3, 2), (99, 3)):
        c.execute(sa.update(audit_log).where(audit_log.c.seq == before).values(seq=after))
    assert {found.seq for found in wrong(c)} >= {2, 3}


def test_entry_appended_past_the_recorded_end_of_the_chain_is_detected(c: sa.Connection) -> None:
    told(c, 2)
    c.execute(sa.update(hub).where(hub.c.key == "audit.head").values(value='{"seq":1,"hash":"00"}'))
    assert wrong(c) == [AuditBreak(2, "the chain ends in entry 2, and entry 1 was written last")]
    c.execute(sa.delete(hub).where(hub.c.key == "audit.head"))
    assert (wrong(c), tell(c)) == ([AuditBreak(2, "the end of the chain is not on record any more")], 3)


@pytest.mark.usefixtures("three")
def test_rewritten_audit_chain_is_detected_by_an_end_stored_elsewhere(c: sa.Connection) -> None:
    kept = some(audit.end_of_chain(c))
    tell(c)
    assert audit.check_known(c, kept) is None

    c.execute(sa.delete(audit_log))
    c.execute(sa.delete(hub).where(hub.c.key == "audit.head"))
    for n in range(4):
        tell(c, "run.paused", at=AT + n)
    assert wrong(c) == []
    assert "written anew" in some(audit.check_known(c, kept)).what
    assert "is not there" in some(audit.check_known(c, Link(9, kept.hash))).what


def created(c: sa.Connection) -> None:
    """A hub that was created and has started."""
    assert audit.begin_chain(c, at=AT, subject="hub-1")
    nodes.begin_boot(c, NodeId("n"), BootId("b"), AT)


def wipe(c: sa.Connection) -> None:
    c.execute(sa.delete(audit_log))
    c.execute(sa.delete(hub).where(hub.c.key == "audit.head"))


def test_audit_chain_begins_with_a_single_hub_created_entry(c: sa.Connection) -> None:
    created(c)
    assert wrong(c) == []
    assert not audit.begin_chain(c, at=AT + 1, subject="hub-1")
    (row,) = audit.list_entries(c, limit=9)
    assert (row.seq, row.actor, row.event, row.subject) == (1, "hub", "hub.created", "hub-1")


def test_wiped_audit_chain_without_the_end_is_detected(c: sa.Connection) -> None:
    created(c)
    told(c, 3)
    wipe(c)
    assert wrong(c) == [AuditBreak(1, "entry 1 is missing: the whole chain is gone")]


def test_wiped_audit_chain_is_not_repaired_by_a_restart_or_later_entries(c: sa.Connection) -> None:
    created(c)
    wipe(c)
    assert not audit.begin_chain(c, at=AT, subject="hub-1")
    assert [found.seq for found in wrong(c)] == [1]
    tell(c)
    assert wrong(c) == [
        AuditBreak(1, "entry 1 does not tell of the hub's creation: the chain was begun anew")
    ]
    assert not audit.begin_chain(c, at=AT, subject="hub-1")


def prune(c: sa.Connection, *, before: int, rows: int = 500) -> int:
    went = 0
    while step := audit.prune_audit(c, before=before, at=before + 400 * DAY, rows=rows):
        went += step
    return went


@pytest.mark.usefixtures("twelve_days")
@pytest.mark.parametrize("rows", [2, 500])
def test_pruning_deletes_old_audit_entries_and_the_chain_remains_valid(c: sa.Connection, rows: int) -> None:
    prune(c, before=AT + 9 * DAY, rows=rows)
    kept = audit.list_entries(c, limit=99, oldest_first=True)
    assert kept[0].seq > 1
    assert all(row.at >= AT + 2 * DAY for row in kept)
    assert ([row.seq for row in kept if row.event == "run.started"][-3:], wrong(c)) == ([10, 11, 12], [])
    assert tell(c) == kept[-1].seq + 1


def test_audit_pruning_waits_until_entries_of_a_week_are_old(c: sa.Connection) -> None:
    tell(c, at=AT)
    tell(c, at=AT + 8 * DAY)
    assert (prune(c, before=AT + 7 * DAY), prune(c, before=AT + 7 * DAY + 1)) == (0, 1)
    assert [row.event for row in audit.list_entries(c, limit=9)] == ["audit.pruned", "run.started"]


@pytest.mark.parametrize(
    ("days", "went"),
    [
        ((0, 100, 0), 1),  # a clock that was ahead for an hour must not leave a gap
        ((20_000, 0, 20_000, 60), 3),  # entries of a clock that was far ahead go with their neighbours
    ],
)
def test_an_entry_of_a_clock_ahead_leaves_no_gap(c: sa.Connection, days: tuple[int, ...], went: int) -> None:
    for day in days:
        tell(c, at=AT + day * DAY)
    assert (prune(c, before=AT + 50 * DAY), wrong(c)) == (went, [])


@pytest.mark.usefixtures("three")
def test_pruning_a_whole_audit_chain_leaves_a_single_valid_pruned_entry(c: sa.Connection) -> None:
    assert prune(c, before=AT + 50 * DAY) == 3
    assert [(row.seq, row.event) for row in audit.list_entries(c, limit=9)] == [(4, "audit.pruned")]
    assert wrong(c) == []


@pytest.mark.usefixtures("three")
def test_forged_previous_hash_after_pruning_is_detected(c: sa.Connection) -> None:
    prune(c, before=AT + 50 * DAY)
    c.execute(sa.update(audit_log).values(prev_hash=bytes(31) + b"1"))
    forged = audit.hash_of(audit.list_entries(c, limit=1)[0])
    c.execute(sa.update(audit_log).values(hash=forged))
    head = f'{{"seq":4,"hash":"{forged.hex()}"}}'
    c.execute(sa.update(hub).where(hub.c.key == "audit.head").values(value=head))
    assert wrong(c) == [AuditBreak(1, "entries 1 to 3 are missing")]


@pytest.mark.usefixtures("twelve_days")
def test_removal_of_the_first_entry_after_pruning_is_detected(c: sa.Connection) -> None:
    prune(c, before=AT + 9 * DAY)
    first = audit.list_entries(c, limit=1, oldest_first=True)[0].seq
    c.execute(sa.delete(audit_log).where(audit_log.c.seq == first))
    assert wrong(c) == [AuditBreak(1, f"entries 1 to {first} are missing")]


@pytest.mark.usefixtures("twelve_days")
def test_chain_check_in_parts_continues_after_pruning_of_checked_entries(c: sa.Connection) -> None:
    part = audit.check_part(c, rows=3)
    prune(c, before=AT + 9 * DAY)
    rest = audit.check_part(c, part.end)
    assert (rest.breaks, rest.is_last) == ((), True)


@pytest.mark.usefixtures("five")
def test_entries_are_listed_newest_first_and_page_by_page(c: sa.Connection) -> None:
    page = audit.list_entries(c, limit=2)
    assert [row.seq for row in page] == [5, 4]
    assert [row.seq for row in audit.list_entries(c, limit=9, after=(page[-1].seq,))] == [3, 2, 1]


def test_entries_can_be_filtered_by_their_fields(c: sa.Connection) -> None:
    tell(c, "token.created", subject="t-1")
    tell(c, "token.revoked", subject="t-1", at=AT + 5)
    tell(c, "operator_token.created", subject="t-2", at=AT + 9)
    audit.append(c, at=AT + 9, actor="device:d-1", event="key.rotated", outcome="refused")
    asked = partial(audit.list_entries, c, limit=9)
    assert [row.seq for row in asked(event="token.")] == [2, 1]
    assert [row.seq for row in asked(event="token.created")] == [1]
    assert [row.seq for row in asked(actor="device:d-1")] == [4]
    assert [row.seq for row in asked(subject="t-1")] == [2, 1]
    assert [row.seq for row in asked(since=AT + 5, until=AT + 9)] == [2]


def test_entries_are_found_by_the_alias_of_their_event_as_well(c: sa.Connection) -> None:
    for kind in ("nudge", "question", "handoff", "nudges"):
        tell(c, "message.sent", detail={"kind": kind, "to": "a-1"})
    tell(c, "broadcast.sent", detail={"kind": "question"})
    tell(c, "soul.updated")
    audit.append(c, at=AT, actor="hub", event="soul.updated", outcome="refused")
    asked = partial(audit.list_entries, c, limit=9)
    assert [row.seq for row in asked(event="agent.nudge.sent")] == [1]
    assert [row.seq for row in asked(event="gateway.main.lead_message.sent")] == [3, 2]
    assert [row.seq for row in asked(event="gateway.main.")] == [5, 3, 2]
    assert [row.seq for row in asked(event="agent.soul.updated")] == [6]
    assert [row.seq for row in asked(event="message.")] == [4, 3, 2, 1]


def test_change_and_the_audit_entry_are_a_single_transaction(c: sa.Connection) -> None:
    user = UserId("u-1")

    def entry(made: UserId) -> AuditEntry:
        return AuditEntry(at=AT, actor=ME, event="user.created", subject=made)

    assert audit.audited(users.ensure_user, entry)(c, user, "anna", AT) == user
    assert audit.audited(users.ensure_user, lambda _: None)(c, user, "anna", AT) == user
    assert [(row.event, row.subject) for row in audit.list_entries(c, limit=9)] == [("user.created", "u-1")]


@pytest.mark.parametrize(
    ("job", "events"),
    [
        (lambda c: users.ensure_user(c, UserId("u"), "anna", AT), ["item.judged"]),
        (lambda c: tell(c, "lock.released"), ["lock.released"]),
        (lambda c: users.find_user_by_name(c, "anna"), []),
        (audit.audited(lambda c: users.ensure_user(c, UserId("u"), "anna", AT), lambda _: None), []),
    ],
    ids=["a-change", "a-change-with-an-entry", "no-change", "a-change-that-needs-none"],
)
def test_request_writes_a_single_owed_audit_entry_with_the_first_change(
    c: sa.Connection, job: Callable[[sa.Connection], object], events: list[str]
) -> None:
    owed = audit.PendingAuditEntry("token:t-1", "item.judged", {"name": "notes"})
    for _ in range(2):  # a job that is run again has one entry after all: its first attempt was rolled back
        owed.run(c, partial(job, c))
        c.rollback()
    owed.run(c, partial(job, c))
    assert not owed.is_paid
    owed.settle()
    assert [row.event for row in audit.list_entries(c, limit=9)] == events
    assert owed.is_paid == (bool(events) or job.__name__ == "job")
    assert not wrong(c)


# --- activity ---


def record(c: sa.Connection, id: str, at: int, agent: str = "agent-1", run: str | None = None) -> None:
    audit.record(
        c,
        id=id,
        at=at,
        event_type="run.finished",
        message="Read 3 files, found 2 items",
        actor="hub",
        agent_id=AgentId(agent),
        run_id=None if run is None else RunId(run),
        data={"items": 2},
    )


def test_activity_is_listed_newest_first_and_page_by_page(c: sa.Connection) -> None:
    for n in range(5):
        record(c, f"act-{n}", AT + n)
    page = audit.list_activity(c, limit=2)
    last = page[-1]
    assert [entry.id for entry in page] == ["act-4", "act-3"]
    assert [entry.id for entry in audit.list_activity(c, after=(last.at, last.id))] == [
        "act-2",
        "act-1",
        "act-0",
    ]
    assert (page[0].message, page[0].level, page[0].data) == (
        "Read 3 files, found 2 items",
        "info",
        {"items": 2},
    )


def test_activity_is_listed_by_agent_run_or_user_and_bears_the_trace_of_the_run(
    c: sa.Connection,
) -> None:
    anna = users.ensure_user(c, UserId("anna"), "anna", AT)
    record(c, "act-1", AT, run="run-1")
    record(c, "act-2", AT, agent="agent-2")
    asked = ({"agent_id": AgentId("agent-2")}, {"run_id": RunId("run-1")}, {"user_id": anna})
    found = [[entry.id for entry in audit.list_activity(c, **one)] for one in asked]
    assert found == [["act-2"], ["act-1"], []]
    traces = c.execute(sa.select(activity_log.c.id, activity_log.c.trace_id)).all()
    assert sorted(map(tuple, traces)) == [("act-1", trace_id_of(RunId("run-1"))), ("act-2", None)]


def test_activity_is_filtered_by_event_name_prefix_and_time(c: sa.Connection) -> None:
    record(c, "act-1", AT)
    record(c, "act-2", AT + 5)

    def ids(**criteria: Any) -> list[str]:
        return [entry.id for entry in audit.list_activity(c, **criteria)]

    assert ids(event="run.finished") == ids(event="run.") == ["act-2", "act-1"]
    assert ids(event="run.fin") == ids(event="agent.") == []
    assert (ids(since=AT + 5), ids(until=AT + 5)) == (["act-2"], ["act-1"])
