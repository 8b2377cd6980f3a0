"""Deliveries of events to targets: each once, in the order of a subject, bounded, and with its gaps named."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, NodeId, UserId
from protocol.lifecycles import RunEvent, RunOutcome
from storage import deliveries, leases
from storage.deliveries import MAX_REFUSALS, NEWS_MS, DeliveryRow, OpenIssue, TargetRow
from storage.devices import nodes
from storage.effects import retention
from storage.leases import LostLease, Term
from storage.runs import run_moves
from storage.schema import items, notify_targets, questions, users
from tests.storage.rows import AT, ME, make_agent, running, some
from tests.support.coded import coded

# On a server, a transaction does not see its own changes in the feed: tests/hub/notify has two hubs there.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

BOOT, OTHER = BootId("boot-1"), BootId("boot-2")
OPS: Final = "ops"
ALL: Final = (
    *("run.completed", "run.failed", "items.waiting", "item.approved", "question.asked"),
    *("agent.failing", "agent.well", "device.away", "issue.opened", "issue.closed"),
)
LATER: Final = AT + 60_000


def opened(c: sa.Connection, *, user: str | None = None, digest: str = "d") -> Term:
    """Open the target, and take its lease."""
    deliveries.open_target(c, OPS, digest=digest, user=user, at=AT)
    return some(leases.acquire_lease(c, "notify ops", BOOT, ttl_ms=90_000))


@pytest.fixture
def term(c: sa.Connection) -> Term:
    """The lease of the target, which is open to an agent's events."""
    make_agent(c)
    return opened(c)


def target(c: sa.Connection) -> TargetRow:
    return some(deliveries.find_target(c, OPS))


def collect(c: sa.Connection, term: Term, *, events: Collection[str] = ALL, **asked: Any) -> None:
    at = asked.get("at", LATER)
    row, titles = target(c), asked.get("titles", False)
    news = deliveries.read_news(c, row, row.cursor, events=events, has_titles=titles, at=at)
    deliveries.add_news(c, term, OPS, news, at=at)


def ask(c: sa.Connection, *ids: str, user: str = ME, at: int = AT) -> None:
    """Write questions of a user."""
    common = {"actor": "agent:a", "content": "Which colour?", "reply_source": "x", "trace_id": "0" * 32}
    row = {"user_id": user, "created_at": at, "expires_at": at + 1} | common
    c.execute(sa.insert(questions), [{"id": id} | row for id in ids])


def find(c: sa.Connection, *ids: str, run_id: str = "r") -> None:
    """Write items of a run without a verdict."""
    texts = ("unit_key", "likeness", "quote_hash", "place_hash", "config_fingerprint", "call_id")
    row: dict[str, Any] = dict.fromkeys(texts, "x") | {"user_id": ME, "agent_id": "agent-inbox"}
    row |= {"run_id": run_id, "target_table": "tasks", "data": {"title": "Call Anna"}}
    c.execute(sa.insert(items), [{"id": id, "created_at": AT, "updated_at": AT} | row for id in ids])


def listed(c: sa.Connection) -> list[tuple[str, str, str]]:
    """The deliveries in their order: event, subject and state."""
    rows = reversed(deliveries.list_deliveries(c, OPS))
    return [(row.event, row.subject, row.state) for row in rows]


def due(c: sa.Connection, *, at: int = LATER, most: int = 1) -> list[DeliveryRow]:
    return deliveries.next_deliveries(c, OPS, at=at, most=most)[1]


def settle(
    c: sa.Connection,
    term: Term,
    sent: Sequence[DeliveryRow],
    outcome: Literal["delivered", "later", "refused", "gone"] = "delivered",
    *,
    at: int = LATER,
    wait_ms: int = 0,
    due_ms: int = 0,
) -> None:
    deliveries.settle(c, term, sent, outcome, "status 0", wait_ms=wait_ms, due_ms=due_ms, at=at)


def issue(key: str = "disk.full", subject: str = "", *, is_muted: bool = False) -> OpenIssue:
    return OpenIssue(key, key, subject, "error", "the disk of /home/anna is full", None, AT, is_muted)


def sync(
    c: sa.Connection, *found: OpenIssue, boot: BootId = BOOT, may_close: bool = True, **asked: Any
) -> None:
    has_texts = asked.get("has_texts", False)
    deliveries.sync_issues(
        c, OPS, boot, found, may_close=may_close, events=ALL, has_texts=has_texts, at=LATER
    )


def test_ended_run_with_open_items_makes_two_events_once(c: sa.Connection) -> None:
    held = running(c)
    term = opened(c)
    find(c, "i-1", "i-2", run_id=held.id)
    collect(c, term)
    assert listed(c) == []
    run_moves.move(c, held, RunEvent.FINISHED, outcome=RunOutcome.SUCCESS, at=AT + 1, actor="hub")
    collect(c, term)
    c.execute(sa.text("UPDATE runs SET forgotten_at = completed_at + 5"))
    collect(c, term)
    subject = f"run:{held.id}"
    assert listed(c) == [("run.completed", subject, "waiting"), ("items.waiting", subject, "waiting")]
    completed, waiting = (row.data for row in reversed(deliveries.list_deliveries(c, OPS)))
    assert (completed["agent"], completed["state"], waiting["count"]) == ("inbox", "COMPLETED", 2)


@pytest.mark.parametrize("titles", [False, True])
def test_approved_item_event_has_a_title_only_if_titles_are_enabled(
    c: sa.Connection, term: Term, titles: bool
) -> None:
    find(c, "i-1")
    c.execute(sa.update(items).values(verdict="approved", verdict_at=AT + 1))
    ask(c, "q-1")
    collect(c, term, titles=titles)
    found = {row.event: row.data.get("title") for row in deliveries.list_deliveries(c, OPS)}
    c.execute(sa.update(items).values(verdict_at=AT + 2))  # as a device reports it to a restored hub
    collect(c, term, titles=titles)
    assert len(deliveries.list_deliveries(c, OPS)) == 2
    assert found == (
        {"item.approved": "Call Anna", "question.asked": "Which colour?"}
        if titles
        else {"item.approved": None, "question.asked": None}
    )


def test_target_of_a_user_gets_only_events_of_the_user(c: sa.Connection) -> None:
    make_agent(c)
    c.execute(sa.insert(users), {"id": "eve", "name": "eve", "created_at": AT})
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_USER)):
        opened(c, user="nadia")
    term = opened(c, user="eve")
    ask(c, "q-mine")
    ask(c, "q-hers", user="eve")
    collect(c, term)
    assert [subject for _, subject, _ in listed(c)] == ["question:q-hers"]


def test_changes_older_than_the_target_or_the_news_period_make_no_delivery(c: sa.Connection) -> None:
    make_agent(c)
    ask(c, "q-before")
    term = opened(c)
    ask(c, "q-old", at=AT - 1)
    ask(c, "q-late")
    collect(c, term, at=AT + NEWS_MS + 1)
    assert listed(c) == []
    ask(c, "q-new", at=AT + 1)
    collect(c, term, at=AT + NEWS_MS)
    assert [subject for _, subject, _ in listed(c)] == ["question:q-new"]


def test_changed_cursor_of_a_target_neither_repeats_nor_loses_deliveries(
    c: sa.Connection, term: Term
) -> None:
    ask(c, "q-1")
    collect(c, term)
    before = deliveries.list_deliveries(c, OPS)
    for cursor in (0, 2**40):  # as after a copy, and in a server whose transactions have lower numbers
        c.execute(sa.update(notify_targets).values(cursor=cursor))
        collect(c, term)
        assert deliveries.list_deliveries(c, OPS) == before


def test_delivery_writes_of_a_hub_without_the_lease_are_refused(c: sa.Connection, term: Term) -> None:
    ask(c, "q-1")
    collect(c, term)
    sent = due(c)
    leases.resign_lease(c, term)
    some(leases.acquire_lease(c, "notify ops", OTHER, ttl_ms=90_000))
    with pytest.raises(LostLease):
        settle(c, term, sent)
    with pytest.raises(LostLease):
        collect(c, term)
    assert listed(c) == [("question.asked", "question:q-1", "waiting")]


def test_delivery_waits_only_for_earlier_events_of_the_same_subject(c: sa.Connection, term: Term) -> None:
    sync(c, issue())
    sync(c)
    sync(c, issue("token.ends"))
    (first,) = due(c)
    assert (first.event, first.subject) == ("issue.opened", "issue:disk.full")
    settle(c, term, [first], "refused", due_ms=5_000)
    assert [one.subject for one in due(c, most=9)] == ["issue:token.ends"]
    assert due(c, at=LATER + 5_000)[0].id == first.id
    settle(c, term, [first])
    assert [one.event for one in due(c, most=9)] == ["issue.closed", "issue.opened"]


def test_delivery_fails_after_repeated_refusals_or_days_without_delivery(
    c: sa.Connection, term: Term
) -> None:
    ask(c, "q-1", "q-2")
    collect(c, term)
    for _ in range(MAX_REFUSALS):
        settle(c, term, due(c), "refused")
    assert listed(c)[0][2] == "failed"
    settle(c, term, due(c), "later", at=AT + NEWS_MS + 1)
    assert (listed(c)[1][2], target(c).left_out) == ("failed", 1)
    ask(c, "q-3", at=AT + NEWS_MS)
    collect(c, term, at=AT + NEWS_MS)
    settle(c, term, due(c, at=AT + NEWS_MS + 2), at=AT + NEWS_MS + 2)
    (gap,) = due(c, at=AT + NEWS_MS + 2)
    assert (gap.event, gap.data["left_out"], target(c).left_out) == ("notify.gap", 1, 0)


def test_events_beyond_the_queue_of_a_target_make_a_single_gap_event(
    c: sa.Connection, term: Term, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 100
    monkeypatch.setattr(deliveries, "MAX_WAITING", most)
    ask(c, *(f"q-{number:04}" for number in range(most + 7)))
    for _ in range(4):
        collect(c, term)
    assert (target(c).waiting, target(c).left_out) == (most, 7)
    settle(c, term, due(c))
    ask(c, "q-more")
    collect(c, term)
    assert (target(c).waiting, target(c).left_out) == (most - 1, 8)
    while not any(event == "notify.gap" for event, *_ in listed(c)[-1:]):
        settle(c, term, due(c, most=50))
    ask(c, "q-after")
    collect(c, term)
    rows = deliveries.list_deliveries(c, OPS, limit=2)
    assert [row.event for row in rows] == ["question.asked", "notify.gap"]
    assert rows[1].data == {"left_out": 8, "since": LATER}


def test_pruned_changes_make_a_gap_event_of_unknown_size(c: sa.Connection, term: Term) -> None:
    c.execute(sa.text("INSERT INTO hub (key, value) VALUES ('changes.floor', '1000000')"))
    c.execute(sa.text("UPDATE changes SET seq = seq + 2000000"))
    collect(c, term)
    assert [(row.event, row.data) for row in deliveries.list_deliveries(c, OPS)] == [
        ("notify.gap", {"left_out": None})
    ]


def test_target_with_a_dead_address_is_disabled_until_edited_or_retried(c: sa.Connection, term: Term) -> None:
    ask(c, "q-1")
    collect(c, term)
    (sent,) = due(c)
    for enable in (lambda: opened(c, digest="other"), lambda: deliveries.retry(c, sent.id, at=LATER)):
        settle(c, term, [sent], "gone")
        assert (due(c), target(c).disabled_at) == ([], LATER)
        enable()
        assert [one.id for one in due(c)] == [sent.id]
        term = opened(c, digest=target(c).digest)
    assert deliveries.retry(c, "msg_other", at=LATER) is None


def test_delivery_dropped_while_sent_is_not_retried_and_frees_the_place(c: sa.Connection, term: Term) -> None:
    ask(c, "q-1")
    collect(c, term)
    (sent,) = due(c)
    assert deliveries.drop(c, "msg_other") is None
    outcomes: dict[Literal["later", "delivered"], str] = {"later": "failed", "delivered": "delivered"}
    for outcome, state in outcomes.items():
        deliveries.retry(c, sent.id, at=LATER)
        dropped = some(deliveries.drop(c, sent.id))
        assert (dropped.state, dropped.answer, target(c).waiting) == ("failed", "dropped by a person", 0)
        assert deliveries.drop(c, sent.id) is None
        settle(c, term, [sent], outcome)
        assert [one.state for one in deliveries.list_deliveries(c, "ops")] == [state]
        assert [one.id for one in deliveries.list_deliveries(c, "ops", state="waiting")] == []


def test_issue_is_closed_when_no_living_hub_finds_the_problem(c: sa.Connection) -> None:
    agent = make_agent(c)
    opened(c)
    for boot, node in ((BOOT, "node-1"), (OTHER, "node-2")):
        nodes.begin_boot(c, NodeId(node), boot, AT)
        leases.beat(c, NodeId(node), boot, ttl_ms=90_000)
    failing = issue("agent.runs_fail", agent.id)
    sync(c, issue(), failing, issue("backup.old", is_muted=True))
    sync(c, issue(), boot=OTHER)
    sync(c, may_close=False)
    assert [event for event, *_ in listed(c)] == ["issue.opened", "agent.failing"]
    sync(c)
    assert [event for event, *_ in listed(c)] == ["issue.opened", "agent.failing", "agent.well"]
    nodes.end_boot(c, NodeId("node-2"), OTHER, AT)
    sync(c)
    assert [event for event, *_ in listed(c)][3:] == ["issue.closed"]
    data = [row.data for row in reversed(deliveries.list_deliveries(c, OPS))]
    assert (data[1]["agent"], data[1]["agent_id"]) == ("inbox", agent.id)
    assert "anna" not in str(data)
    sync(c, issue("disk.low"), has_texts=True)
    assert "anna" in deliveries.list_deliveries(c, OPS, limit=1)[0].data["explanation"]


def test_issue_of_an_erased_user_ends_without_an_event(c: sa.Connection) -> None:
    make_agent(c)
    c.execute(sa.insert(users), {"id": "eve", "name": "eve", "created_at": AT})
    opened(c)
    sync(c, msgspec.structs.replace(issue("device.absent", "phone"), user_id=UserId("eve")))
    c.execute(sa.delete(users).where(users.c.id == "eve"))
    sync(c)
    assert ([event for event, *_ in listed(c)], target(c).issues) == (["device.away"], {})


def test_old_deliveries_are_deleted(c: sa.Connection, term: Term) -> None:
    ask(c, "q-1")
    ask(c, "q-2", at=AT + 5)
    collect(c, term)
    assert retention.prune_deliveries(c, before=AT + 1) == 1
    assert [subject for _, subject, _ in listed(c)] == ["question:q-2"]
