"""Verdicts that people gave at the hub, on both databases."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.handshake import StoreMark
from protocol.ids import CallId, UserId
from storage import retention
from storage.runs import agreement, calls, item_verdicts, items
from storage.runs.agreement import ReportedRow
from storage.runs.calls import ReportedVerdict
from storage.runs.item_verdicts import NewVerdict, VerdictAnswer, VerdictRow
from storage.runs.items import ItemRow, SealedExcerpt
from storage.schema import devices, users
from storage.schema import items as item_rows
from tests.storage.rows import AT, ME, running, some
from tests.storage.test_items import DESK, as_new, bring, changed, item, ledger, plan, the_item

EPOCH = 7


def at_device(c: sa.Connection, *titles: str) -> list[ItemRow]:
    """Items that their device has, which is connected."""
    held = running(c)
    bring(c, held, plan(c, held, as_new(*map(item, titles or ("call Anna",)))))
    c.execute(sa.update(devices).values(session_epoch=EPOCH))
    return ledger(c)


def give(c: sa.Connection, verdict: str, id: str = "v-1", **how: Any) -> VerdictRow | HubError | None:
    """A verdict on the only item, as its owner sees it now."""
    row = the_item(c)
    how = {"item_id": row.id, "version": row.version} | how
    new = NewVerdict(id=CallId(id), verdict=verdict, **how)  # type: ignore[arg-type]
    (given,) = item_verdicts.give(c, [new], user_id=None, actor="operator:7", at=AT, check=lambda *_: None)
    return given


def code_of(given: object) -> ErrorCode | None:
    return given.code if isinstance(given, HubError) else None


def send(c: sa.Connection, epoch: int = EPOCH, at: int = AT, again: int = AT + 60) -> set[str]:
    rows = item_verdicts.due(c, DESK, epoch=epoch, at=at, limit=100)
    return item_verdicts.take(c, [row.id for row in rows], epoch=epoch, at=at, again=again)


def settle(c: sa.Connection, id: str, state: Any = None, epoch: int = EPOCH, **how: Any) -> list[VerdictRow]:
    answer = VerdictAnswer(id=CallId(id), state=state, **how)
    return item_verdicts.settle(c, DESK, [answer], epoch=epoch, at=AT + 9)


def stored(c: sa.Connection) -> VerdictRow:
    return item_verdicts.newest_verdicts(c, [the_item(c).id])[the_item(c).id]


@pytest.fixture
def row(c: sa.Connection) -> ItemRow:
    """An item that its device has, which is connected."""
    (made,) = at_device(c)
    return made


@pytest.fixture
def approved(c: sa.Connection, row: ItemRow) -> None:
    """A verdict that waits for its device."""
    give(c, "approve")


@pytest.fixture
def sent(c: sa.Connection, approved: None) -> None:
    """A verdict that was sent to its device."""
    send(c)


@pytest.mark.usefixtures("row")
def test_an_item_is_judged_once_its_device_has_answered(c: sa.Connection) -> None:
    give(c, "approve", data={"projectId": "p"})
    (row,) = item_verdicts.due(c, DESK, epoch=EPOCH, at=AT, limit=9)
    assert (row.row_id, row.target_table, row.data) == (the_item(c).row_id, "tasks", {"projectId": "p"})
    assert (send(c), the_item(c).verdict, stored(c).state) == ({"v-1"}, "open", "sent")
    assert len(settle(c, "v-1", "approved")) == 1
    assert (the_item(c).verdict, the_item(c).verdict_at, stored(c).state) == ("approved", AT + 9, "done")
    assert settle(c, "v-1", "rejected") == [], "it was settled before"
    assert item_verdicts.devices_with_open(c) == []


@pytest.mark.usefixtures("row")
def test_the_values_of_an_approval_are_those_of_its_item_until_it_is_undone(c: sa.Connection) -> None:
    give(c, "approve", data={"title": "call Bob"})
    assert item_verdicts.edited_values(c, ledger(c)) == {}, "it is on its way"
    send(c)
    settle(c, "v-1", "edited")
    edited = {the_item(c).id: {"title": "call Bob"}}
    assert item_verdicts.edited_values(c, ledger(c)) == edited
    assert retention.prune_verdicts(c, before=AT + 99) == 0, "its item has no other record of them"
    give(c, "undo", "v-2")
    send(c)
    settle(c, "v-2", "open")
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    assert item_verdicts.edited_values(c, ledger(c)) == {}, "the owner approved it as it was"
    assert retention.prune_verdicts(c, before=AT + 99) == 2, "what is undone goes with its undoing"


@pytest.mark.usefixtures("row")
def test_the_values_of_an_approval_are_not_those_of_a_newer_version_or_of_a_refused_one(
    c: sa.Connection,
) -> None:
    give(c, "approve", data={"title": "call Bob"})
    send(c)
    settle(c, "v-1", reason="changed_meanwhile")
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    assert item_verdicts.edited_values(c, ledger(c)) == {}, "its owner approved it as it was"
    c.execute(sa.update(item_rows).values(verdict="open", verdict_at=None))
    give(c, "approve", "v-2", data={"title": "call Bob"})
    send(c)
    settle(c, "v-2", "edited")
    assert item_verdicts.edited_values(c, ledger(c)) != {}
    assert retention.prune_verdicts(c, before=AT + 99) == 1, "the refused one"
    c.execute(sa.update(item_rows).values(call_id="c-9"))
    assert (item_verdicts.edited_values(c, ledger(c)), retention.prune_verdicts(c, before=AT + 99)) == ({}, 1)


@pytest.mark.usefixtures("sent")
def test_what_a_device_refuses_leaves_the_item_open(c: sa.Connection) -> None:
    settle(c, "v-1", reason="not_granted")
    assert (the_item(c).verdict, stored(c).state, stored(c).reason) == ("open", "refused", "not_granted")
    assert isinstance(give(c, "approve", "v-2"), VerdictRow), "it may be given again"


@pytest.mark.usefixtures("approved")
def test_a_verdict_leaves_once_over_a_connection_and_again_over_the_next(c: sa.Connection) -> None:
    assert send(c) == {"v-1"}
    assert send(c) == set(), "another hub with the same connection"
    assert send(c, at=AT + 60, again=AT + 999) == {"v-1"}, "no answer came"
    c.execute(sa.update(devices).values(session_epoch=EPOCH + 1))
    assert settle(c, "v-1", "approved") == [], "an answer over the old connection"
    assert item_verdicts.take(c, [CallId("v-1")], epoch=EPOCH, at=AT + 999, again=AT) == set()
    assert (send(c, EPOCH + 1, AT + 61), stored(c).sends) == ({"v-1"}, 3)
    assert len(settle(c, "v-1", "approved", EPOCH + 1)) == 1


@pytest.mark.usefixtures("row")
def test_the_same_verdict_that_is_given_again_is_the_one_that_there_is(c: sa.Connection) -> None:
    for state in ("pending", "sent", "done"):
        first = give(c, "reject", f"v-{state}")
        assert isinstance(first, VerdictRow)
        assert (first.id, first.state) == ("v-pending", state)
        send(c) if state == "pending" else settle(c, "v-pending", "rejected")


@pytest.mark.usefixtures("approved")
def test_another_verdict_waits_for_the_first_one(c: sa.Connection) -> None:
    assert code_of(give(c, "reject", "v-2")) == ErrorCode.VERDICT_UNDER_WAY
    assert code_of(give(c, "approve", "v-2", data={"title": "x"})) == ErrorCode.VERDICT_UNDER_WAY


def test_a_verdict_on_a_version_that_there_is_no_more_is_a_conflict(c: sa.Connection) -> None:
    held = running(c)
    bring(c, held, plan(c, held, as_new(item())))
    c.execute(sa.update(devices).values(session_epoch=EPOCH))
    assert code_of(give(c, "approve", version=2)) == ErrorCode.CHANGED_MEANWHILE
    give(c, "approve")
    send(c)
    settle(c, "v-1", "approved")
    plan(c, held, changed)
    for verdict in ("approve", "undo"):
        given = give(c, verdict, "v-2")
        assert code_of(given) == ErrorCode.CHANGED_MEANWHILE, "the device does not have it yet"


def test_one_bad_verdict_leaves_the_others_as_they_are(c: sa.Connection) -> None:
    rows = at_device(c, "call Anna", "pay the rent")
    new = [
        NewVerdict(id=CallId(f"v-{n}"), item_id=id, verdict="approve")
        for n, id in enumerate([rows[0].id, "none", rows[1].id])
    ]

    def check(item: ItemRow, _: NewVerdict) -> str | None:
        return "tasks.title: is required" if item.id == rows[1].id else None

    first, *bad = item_verdicts.give(c, new, user_id=ME, actor="operator:7", at=AT, check=check)
    assert isinstance(first, VerdictRow)
    assert [*map(code_of, bad)] == [ErrorCode.UNKNOWN_ITEM, ErrorCode.BAD_RECORD]
    given = item_verdicts.give(c, new[:1], user_id=UserId("eve"), actor="eve", at=AT, check=check)
    assert [*map(code_of, given)] == [ErrorCode.UNKNOWN_ITEM], "an item of another user"


@pytest.mark.usefixtures("approved")
def test_undoing_what_was_never_sent_leaves_nothing(c: sa.Connection) -> None:
    assert (give(c, "undo", "v-2"), send(c)) == (None, set())
    assert isinstance(give(c, "reject", "v-3"), VerdictRow)
    send(c)
    assert code_of(give(c, "undo", "v-4")) == ErrorCode.VERDICT_UNDER_WAY, "the device may have it"


def test_a_rejection_that_is_undone_gives_the_item_its_source_back(c: sa.Connection) -> None:
    (before,) = at_device(c)
    give(c, "reject")
    send(c)
    settle(c, "v-1", "rejected")
    assert (the_item(c).source, stored(c).source) == (None, before.source)
    undo = give(c, "undo", "v-2")
    assert isinstance(undo, VerdictRow)
    assert (undo.undoes, undo.seen_call, give(c, "undo", "v-3")) == ("v-1", before.call_id, undo)
    send(c)
    settle(c, "v-2", "open")
    after = the_item(c)
    assert (after.verdict, after.verdict_at, after.source) == ("open", None, before.source)
    assert code_of(give(c, "undo", "v-4")) is None and isinstance(give(c, "approve", "v-5"), VerdictRow)


def test_there_is_nothing_to_undo_where_the_device_decided(c: sa.Connection, row: ItemRow) -> None:
    calls.record_verdicts(c, DESK, [ReportedVerdict(row.call_id, "approved")], AT)
    assert code_of(give(c, "undo")) == ErrorCode.CHANGED_MEANWHILE
    assert code_of(give(c, "reject", "v-2")) == ErrorCode.CHANGED_MEANWHILE


@pytest.mark.parametrize(
    ("verdict", "reported", "state"),
    [("approve", "edited", "refused"), ("approve", "approved", "done"), ("edit", "rejected", "refused")],
)
def test_what_the_owner_decides_at_the_device_meanwhile_is_newer(
    c: sa.Connection, row: ItemRow, verdict: str, reported: Any, state: str
) -> None:
    give(c, verdict)
    send(c)
    report = [ReportedVerdict(row.call_id, reported)]
    calls.record_verdicts(c, DESK, report, AT)
    item_verdicts.overtake(c, DESK, report, AT)
    settle(c, "v-1", "approved")
    assert (the_item(c).verdict, stored(c).state) == (reported, state)


@pytest.mark.usefixtures("sent")
def test_a_verdict_on_an_older_version_waits_for_its_answer_when_the_owner_decides_about_a_newer_one(
    c: sa.Connection,
) -> None:
    c.execute(sa.update(item_rows).values(call_id="c-9", version=2))
    item_verdicts.overtake(c, DESK, [ReportedVerdict(CallId("c-9"), "rejected")], AT)
    assert stored(c).state == "sent"


@pytest.mark.usefixtures("approved")
@pytest.mark.parametrize(("counter", "verdict"), [(4, "open"), (5, "approved")])
def test_an_answer_that_is_older_than_a_listed_row_leaves_the_item_as_it_is(
    c: sa.Connection, row: ItemRow, counter: int, verdict: str
) -> None:
    listed = msgspec.structs.replace(row, version=5)
    mark = StoreMark(id="store", counter=5)
    agreement.take_rows(c, [ReportedRow(listed)], device_id=DESK, epoch=EPOCH, mark=mark, is_last=True, at=AT)
    send(c)
    settle(c, "v-1", "approved", counter=counter)
    assert (the_item(c).verdict, stored(c).state) == (verdict, "done")


def test_a_row_that_its_device_lists_as_open_is_open_again(c: sa.Connection, row: ItemRow) -> None:
    calls.record_verdicts(c, DESK, [ReportedVerdict(row.call_id, "rejected")], AT)
    mark = StoreMark(id="store", counter=5)
    agreement.take_rows(c, [ReportedRow(row)], device_id=DESK, epoch=EPOCH, mark=mark, is_last=True, at=AT)
    assert (the_item(c).verdict, the_item(c).verdict_at, the_item(c).source) == ("open", None, row.source)


@pytest.mark.usefixtures("row")
def test_an_answer_moves_the_counter_of_the_store_forward(c: sa.Connection) -> None:
    agreement.greet(c, DESK, StoreMark(id="store", counter=5), AT)
    agreement.note_resent(c, DESK, [], after=None, epoch=EPOCH, at=AT)
    agreement.take_rows(
        c, [], device_id=DESK, epoch=EPOCH, mark=StoreMark(id="store", counter=5), is_last=True, at=AT
    )
    give(c, "approve")
    send(c)
    settle(c, "v-1", "approved", counter=8)
    assert some(agreement.find_store(c, DESK)).counter == 8


@pytest.mark.usefixtures("approved")
def test_a_device_that_is_revoked_gets_no_verdict(c: sa.Connection) -> None:
    c.execute(sa.update(devices).values(revoked_at=AT))
    assert send(c) == set()
    item_verdicts.refuse_all(c, DESK, AT)
    assert (stored(c).state, stored(c).reason) == ("refused", "revoked")


@pytest.mark.usefixtures("row")
def test_verdicts_and_excerpts_go_when_they_are_old_or_with_their_user(c: sa.Connection) -> None:
    excerpt = {the_item(c).id: SealedExcerpt(the_item(c).id, "k1", b"")}
    items.put_excerpts(c, excerpt, at=AT)
    assert (retention.prune_excerpts(c, before=AT), retention.prune_excerpts(c, before=AT + 1)) == (0, 1)
    give(c, "reject")
    assert retention.prune_verdicts(c, before=AT + 99) == 0, "it is open"
    send(c)
    settle(c, "v-1", "rejected")
    assert (retention.prune_verdicts(c, before=AT + 9), retention.prune_verdicts(c, before=AT + 10)) == (0, 1)
    give(c, "approve", "v-2")
    items.put_excerpts(c, excerpt, at=AT)
    c.execute(sa.delete(users).where(users.c.id == ME))
    assert (item_verdicts.devices_with_open(c), items.keys_of_excerpts(c)) == ([], {})
