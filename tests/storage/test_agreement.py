"""How far devices' stores are known, on both databases."""

from collections.abc import Callable

import msgspec
import pytest
import sqlalchemy as sa

from protocol.calls import RowPlace
from protocol.errors import LinkLost
from protocol.handshake import StoreMark
from protocol.ids import CallId
from protocol.lifecycles import CallEvent, CallState, RunEvent, RunOutcome
from storage.executing_runs import FencedRun
from storage.kernel.columns import values_of
from storage.runs import agreement, calls, excerpts, items, run_moves, units
from storage.runs.agreement import ReportedRow, Resent
from storage.runs.calls import ReportedVerdict
from storage.runs.excerpts import SealedExcerpt
from storage.runs.items import TAKEN, ItemRow
from storage.runs.units import SPOILED, has_settled_tree, settle_tree
from storage.schema import devices, folder_trees, run_units, unit_ledger
from storage.schema import items as item_table
from tests.storage.rows import AT, make_agent, running, settle_call, some
from tests.storage.test_items import DESK, as_new, bring, changed, is_known, item, ledger, plan, the_item

MARK = StoreMark(id="store", counter=5)


def agreed(c: sa.Connection, mark: StoreMark = MARK) -> None:
    agreement.greet(c, DESK, mark, AT)
    agreement.note_resent(c, DESK, [], after=None, epoch=0, at=AT)
    agreement.take_rows(c, [], device_id=DESK, epoch=0, mark=mark, is_last=True, at=AT)


def counter(c: sa.Connection) -> int:
    return some(agreement.find_store(c, DESK)).counter


@pytest.fixture
def delivered(c: sa.Connection, held: FencedRun) -> None:
    """The device has the item of a run, and both agree about its store."""
    agreed(c)
    bring(c, held, plan(c, held, as_new(item())))


def test_answer_moves_the_store_counter_forward_only_after_agreement(
    c: sa.Connection, held: FencedRun
) -> None:
    agreement.greet(c, DESK, MARK, AT)
    bring(c, held, plan(c, held, as_new(item())), counter=7)
    assert counter(c) == 0
    agreed(c)
    bring(c, held, plan(c, held, as_new(item("call Berta")), unit="b.txt"), counter=9)
    bring(c, held, plan(c, held, as_new(item("call Carla")), unit="c.txt"), counter=8)
    assert counter(c) == 9


@pytest.mark.usefixtures("delivered")
def test_lost_rows_of_an_older_device_store_are_open_again(c: sa.Connection) -> None:
    agreement.greet(c, DESK, StoreMark(id="store", counter=4), AT)
    (there,) = agreement.list_at_device(c, DESK, after="", limit=9)
    assert there.call_id == the_item(c).call_id
    agreement.note_resent(c, DESK, [Resent(there.id, "row-9")], after=there.call_id, epoch=0, at=AT)
    assert (the_item(c).row_id, the_item(c).verdict) == ("row-9", "open")
    assert agreement.list_at_device(c, DESK, after=there.call_id, limit=9) == []


@pytest.mark.usefixtures("delivered")
def test_places_of_an_item_follow_the_device_reports_until_a_lost_row(
    c: sa.Connection, held: FencedRun
) -> None:
    def listed(*places: RowPlace) -> None:
        told = ReportedRow(the_item(c), places=None if not places else places[1:])
        agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT)

    place = RowPlace(name="todo", kind="markdown", state="arrived", at_ms=7)
    listed(place, place)
    assert the_item(c).places == (place,)
    listed()  # a device that does not report places
    plan(c, held, changed)
    assert the_item(c).places == (place,), "a newer version is planned"
    listed(place)
    assert the_item(c).places == ()
    listed(place, place)
    there = the_item(c)
    agreement.note_resent(c, DESK, [Resent(there.id, "row-9")], after=None, epoch=0, at=AT)
    assert (the_item(c).row_id, the_item(c).places) == ("row-9", ())
    assert items.note_places(c, DESK, {str(there.row_id): [place]}) == 0


@pytest.mark.usefixtures("delivered")
def test_item_with_unknown_content_is_deleted_and_all_files_of_its_device_are_read_again(
    c: sa.Connection, held: FencedRun
) -> None:
    units.settle_unit(c, held, "a.txt", AT)
    other = make_agent(c, "elsewhere", device="tower").id  # which has read a file of the same name
    (known,) = c.execute(sa.select(unit_ledger)).mappings()
    c.execute(sa.insert(unit_ledger), {**known, "agent_id": other})
    c.execute(sa.insert(unit_ledger), {**known, "unit_key": "b.txt"})  # which may have the same sentence
    assert not has_settled_tree(c, held, "tree", AT) and settle_tree(c, held, "tree", {})
    (there,) = agreement.list_at_device(c, DESK, after="", limit=9)
    agreement.note_resent(c, DESK, [], unknown=[there], after=None, epoch=0, at=AT)
    assert c.execute(sa.select(folder_trees.c.digest)).scalars().all() == [SPOILED]
    assert agreement.list_at_device(c, DESK, after="", limit=9) == []
    settled = sa.select(unit_ledger.c.agent_id).where(unit_ledger.c.content_hash != "")
    assert c.execute(settled).scalars().all() == [other]
    assert len(c.execute(sa.select(unit_ledger)).all()) == 3, "a unit counts as gone"


@pytest.mark.usefixtures("delivered")
def test_item_of_unknown_content_is_sent_again_although_the_call_was_answered(
    c: sa.Connection, held: FencedRun
) -> None:
    units.settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    agreement.note_resent(c, DESK, [], unknown=[the_item(c)], after=None, epoch=0, at=AT)
    (again,) = plan(c, running(c, "run-2"), as_new(item())).open_calls
    assert (again.call_id, again.state) == (the_item(c).call_id, CallState.PLANNED)


@pytest.mark.usefixtures("delivered")
def test_repeated_row_reports_of_a_device_are_applied_once(c: sa.Connection) -> None:
    known = the_item(c)
    later = msgspec.structs.replace(
        known,
        id="t-1",
        agent_id=None,
        call_id=CallId("c-9"),
        version=8,
        config_fingerprint=TAKEN,
        data={},
        verdict="approved",
        verdict_at=AT,
    )
    fresh = msgspec.structs.replace(later, call_id=CallId("c-8"), row_id="row-8", version=7)
    told = [ReportedRow(later), ReportedRow(fresh)]
    mark = StoreMark(id="store", counter=8)
    assert agreement.take_rows(c, told, device_id=DESK, epoch=0, mark=mark, is_last=True, at=AT) == 2
    row = the_item(c)  # the one that nobody has found yet is of no agent
    assert (row.id, row.call_id, row.version, row.verdict) == (known.id, "c-9", 8, "approved")
    assert agreement.take_rows(c, told, device_id=DESK, epoch=0, mark=mark, is_last=True, at=AT) == 0
    store = some(agreement.find_store(c, DESK))
    assert (store.cause, store.taken, store.agreed_at) == ("hub_older", 2, AT)


@pytest.mark.usefixtures("delivered")
def test_row_from_a_lost_day_overrides_an_older_unanswered_change(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, changed)
    on_its_way = the_item(c)
    assert on_its_way.answered_at is None
    excerpts.put_excerpts(c, {on_its_way.id: SealedExcerpt(on_its_way.id, "k1", b"")}, at=AT)
    told = taken(on_its_way, "c-9")
    assert agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT) == 1
    assert the_item(c).call_id == "c-9"
    assert excerpts.find_excerpts(c, [on_its_way.id]) == {}, "its words are others now"


@pytest.mark.usefixtures("delivered")
def test_unanswered_change_applies_to_the_older_row_of_a_restored_device(
    c: sa.Connection, held: FencedRun
) -> None:
    change = plan(c, held, changed)
    on_its_way = the_item(c)
    told = taken(on_its_way, "c-9")
    (asked,) = agreement.list_doubtful(c, [told], device_id=DESK)
    assert asked == on_its_way.call_id
    agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, lost=[asked], at=AT)
    assert the_item(c) == msgspec.structs.replace(on_its_way, before={})  # which version it is, is unknown
    bring(c, held, change)
    assert the_item(c).answered_at is not None  # so that the next plan knows what the device has


@pytest.mark.usefixtures("delivered")
def test_row_taken_over_earlier_does_not_undo_an_unanswered_change(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    row = msgspec.structs.replace(taken(the_item(c), "c-9").item, id=the_item(c).id)
    c.execute(items.CHANGE_ITEM, items.change_of(msgspec.structs.replace(row, agent_id=the_item(c).agent_id)))
    plan(c, held, changed)
    told = ReportedRow(msgspec.structs.replace(row, verdict="approved"))
    assert agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT) == 0
    assert the_item(c).call_id == "c2"


@pytest.mark.usefixtures("delivered")
def test_unanswered_change_of_a_row_lost_by_the_device_becomes_an_insert(
    c: sa.Connection, held: FencedRun
) -> None:
    plan(c, held, changed)
    agreement.greet(c, DESK, StoreMark(id="another", counter=0), AT)
    (change,) = agreement.list_at_device(c, DESK, after="", limit=9)
    assert change.answered_at is None and change.row_id is not None
    agreement.note_resent(c, DESK, [], rowless=[change], after=None, epoch=0, at=AT)
    (call,) = calls.open_calls(c, held.id)
    assert (call.payload["action"], call.payload["where"], call.payload["data"]) == (
        "insert",
        {},
        change.data,
    )
    assert (the_item(c).row_id, the_item(c).version) == (None, change.version)


@pytest.mark.usefixtures("delivered")
def test_restored_row_is_an_own_item_although_the_call_created_another_row(
    c: sa.Connection,
) -> None:
    told = taken(the_item(c), "c-9", row_id="row-9")
    agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT)
    (made,) = [row for row in agreement.list_at_device(c, DESK, after="", limit=9) if row.call_id == "c-9"]
    later = msgspec.structs.replace(made, call_id=CallId("c-10"), row_id="row-10")
    c.execute(items.CHANGE_ITEM, items.change_of(later))
    for _ in range(2):  # the second time it is known
        agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT)
    calls = [row.call_id for row in agreement.list_at_device(c, DESK, after="", limit=9)]
    assert sorted(calls)[:2] == ["c-10", "c-9"] and len(calls) == 3


@pytest.mark.usefixtures("delivered")
def test_row_claimed_by_two_items_belongs_to_the_item_the_device_reports(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    units.settle_unit(c, held, "a.txt", AT)
    made = the_item(c)
    older = msgspec.structs.replace(made, id="t-9", call_id=CallId("c-9"), quote_hash="other")
    c.execute(sa.insert(item_table), values_of(older, item_table))  # as it was on the earlier day
    told = ReportedRow(msgspec.structs.replace(made, config_fingerprint=TAKEN))
    agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT)
    assert the_item(c) == made
    (content,) = c.execute(sa.select(unit_ledger.c.content_hash)).scalars()
    assert content == ""  # what the device lost again is read again


def test_restored_rows_with_swapped_words_get_their_older_words_again(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    agreed(c)
    bring(c, held, plan(c, held, as_new(item("call Anna", quote="Anna"), item("call Bob", quote="Bob"))))
    before = ledger(c)
    for one, other in zip(before, reversed(before), strict=True):
        call = CallId(f"later {one.call_id}")
        words = {"data": other.data, "quote_hash": other.quote_hash, "source": other.source}
        c.execute(
            items.CHANGE_ITEM, items.change_of(msgspec.structs.replace(one, call_id=call, version=2, **words))
        )
    told = [taken(one, one.call_id) for one in before]
    lost = agreement.list_doubtful(c, told, device_id=DESK)
    agreement.take_rows(c, told, device_id=DESK, epoch=0, mark=MARK, is_last=True, lost=lost, at=AT)
    assert {one.row_id: one.quote_hash for one in ledger(c)} == {one.row_id: one.quote_hash for one in before}


@pytest.mark.usefixtures("delivered")
def test_older_row_replaces_an_item_version_of_unknown_words(c: sa.Connection) -> None:
    known = msgspec.structs.replace(
        the_item(c),
        call_id=CallId("c-10"),
        config_fingerprint=TAKEN,
        verdict="approved",
        verdict_at=AT,
        data={},
    )
    c.execute(items.CHANGE_ITEM, items.change_of(known))  # as a device of a lost day reported it
    older = taken(known, "c1 agent-inbox a.txt call Anna")
    assert agreement.take_rows(c, [older], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT) == 1
    assert the_item(c).call_id == older.item.call_id


@pytest.mark.usefixtures("delivered")
def test_change_planned_during_a_resend_updates_the_new_row(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    (there,) = agreement.list_at_device(c, DESK, after="", limit=9)
    plan(c, held, changed)
    agreement.note_resent(c, DESK, [Resent(there.id, "row-9")], after=None, epoch=0, at=AT)
    (call,) = calls.open_calls(c, held.id)
    assert (call.payload["action"], call.payload["where"]) == ("update", {"id": "row-9"})
    assert the_item(c).row_id == "row-9"


@pytest.mark.usefixtures("delivered")
def test_planned_change_of_an_item_of_unknown_content_becomes_an_insert(
    c: sa.Connection, held: FencedRun
) -> None:
    (there,) = agreement.list_at_device(c, DESK, after="", limit=9)
    plan(c, held, changed)
    agreement.note_resent(c, DESK, [], unknown=[there], after=None, epoch=0, at=AT)
    assert [call.payload["action"] for call in calls.open_calls(c, held.id)] == ["insert"]
    assert the_item(c).row_id is None


@pytest.mark.usefixtures("delivered")
def test_item_without_a_source_has_unknown_content(c: sa.Connection) -> None:
    call = the_item(c).call_id
    assert agreement.list_at_device(c, DESK, after="", limit=9)[0].data
    for verdict in ("rejected", "approved"):  # by the owner; approved by a device of an older day
        calls.record_verdicts(c, DESK, [ReportedVerdict(call, verdict)], AT)
    (there,) = agreement.list_at_device(c, DESK, after="", limit=9)
    assert (there.source, there.data) == (None, {})


@pytest.mark.usefixtures("delivered")
def test_item_with_a_row_deleted_by_the_owner_during_the_comparison_is_rejected(c: sa.Connection) -> None:
    agreement.note_resent(c, DESK, [], deleted=[the_item(c)], after=None, epoch=0, at=AT)
    assert the_item(c).verdict == "rejected"


def test_unanswered_insert_updates_a_reported_row_of_the_same_words(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    agreed(c)
    planned = plan(c, held, as_new(item()))
    told = taken(the_item(c), "c-9", row_id="row-9")
    assert agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT) == 1
    (call,) = calls.open_calls(c, held.id)
    assert call.payload == planned.open_calls[0].payload | {"action": "update", "where": {"id": "row-9"}}
    assert (the_item(c).row_id, the_item(c).answered_at) == ("row-9", None)


def test_unanswered_insert_takes_the_restored_row_of_a_rejected_item(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    agreed(c)
    bring(c, held, plan(c, held, as_new(item("pay the rent")), unit="b.txt"))
    rejected = the_item(c)
    calls.record_verdicts(c, DESK, [ReportedVerdict(rejected.call_id, "rejected")], AT)
    planned = plan(c, held, as_new(item()))
    (coming,) = (one for one in ledger(c) if one.id != rejected.id)
    told = taken(coming, "c-9", row_id=rejected.row_id)  # the rejected version came later than this one
    agreement.take_rows(c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT)
    (call,) = calls.open_calls(c, held.id)
    change = {"action": "update", "where": {"id": rejected.row_id}}
    assert call.payload == planned.open_calls[0].payload | change
    rows = {one.id: (one.row_id, one.verdict) for one in ledger(c)}
    assert rows == {coming.id: (rejected.row_id, "open"), rejected.id: (None, "rejected")}


@pytest.mark.usefixtures("delivered")
def test_unanswered_change_of_a_lost_row_updates_the_restored_row(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, changed)
    on_its_way = the_item(c)
    told = taken(on_its_way, "c-9", row_id="row-9")  # of an item that was rejected in a later version
    assert agreement.list_doubtful(c, [told], device_id=DESK) == {on_its_way.call_id: on_its_way.row_id}
    lost = [on_its_way.call_id]
    agreement.take_rows(
        c, [told], device_id=DESK, epoch=0, mark=MARK, is_last=True, at=AT, lost=lost, rowless=lost
    )
    (call,) = calls.open_calls(c, held.id)
    assert (call.payload["action"], call.payload["where"]) == ("update", {"id": "row-9"})
    assert the_item(c).row_id == "row-9"


def test_item_rejected_before_the_call_is_answered_is_not_sent_again(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    plan(c, held, as_new(item()))
    (call,) = calls.open_calls(c, held.id)
    calls.mark_sent(c, held, [call.call_id], AT)
    assert calls.record_verdicts(c, DESK, [ReportedVerdict(call.call_id, "rejected")], AT)
    assert (calls.open_calls(c, held.id), calls.mark_sent(c, held, [call.call_id], AT)) == ([], [])
    assert c.execute(sa.select(run_units.c.calls_settled)).scalars().all() == [1]
    assert not settle_call(c, call.call_id, CallEvent.ACKED, {}, AT)  # its late answer


def taken(row: ItemRow, call_id: str, row_id: str | None = None) -> ReportedRow:
    """What a device tells of the row of an item, which a call that the hub does not know wrote last."""
    return ReportedRow(
        msgspec.structs.replace(
            row,
            id="t-1",
            agent_id=None,
            call_id=CallId(call_id),
            row_id=row_id or row.row_id,
            answered_at=AT,
            config_fingerprint=TAKEN,
            source={"quote": "as it was read"},
            data={},
        )
    )


def test_units_awaiting_items_enter_the_ledger_after_the_answers(c: sa.Connection, held: FencedRun) -> None:
    bring(c, held, plan(c, held, as_new(item())))
    plan(c, held, is_known, unit="b.txt")
    c.execute(sa.update(run_units).where(run_units.c.unit_key == "b.txt").values(awaits=[the_item(c).id]))
    c.execute(sa.text("UPDATE items SET answered_at = NULL"))
    units.settle_unit(c, held, "b.txt", AT)
    assert units.settle_leaning(c, held, after="", at=AT) is None
    in_ledger = sa.text("SELECT unit_key FROM unit_ledger ORDER BY unit_key")
    assert list(c.execute(in_ledger).scalars()) == []
    c.execute(sa.text(f"UPDATE items SET answered_at = {AT}"))
    assert units.settle_leaning(c, held, after="", at=AT, most=1) == "b.txt"
    assert list(c.execute(in_ledger).scalars()) == ["b.txt"]


@pytest.mark.parametrize(
    "write",
    [
        lambda c: agreement.take_rows(c, [], device_id=DESK, epoch=1, mark=MARK, is_last=True, at=AT),
        lambda c: agreement.note_resent(c, DESK, [], after=None, epoch=1, at=AT),
        lambda c: agreement.note_problem(c, DESK, "the device answered with something else", epoch=1),
    ],
    ids=["take_rows", "note_resent", "note_problem"],
)
def test_store_comparison_writes_nothing_after_the_device_connected_again(
    c: sa.Connection, write: Callable[[sa.Connection], object]
) -> None:
    """Another hub has taken it over: the page is from before its rows were lost."""
    running(c)
    c.execute(sa.update(devices).values(session_epoch=2))
    agreement.greet(c, DESK, MARK, AT)
    before = agreement.find_store(c, DESK)
    with pytest.raises(LinkLost, match="connected again"):
        write(c)
    assert agreement.find_store(c, DESK) == before
    c.execute(sa.update(devices).values(session_epoch=1))
    write(c)
    assert agreement.find_store(c, DESK) != before
