"""The ledger of items, on both databases."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.grants import TokenLimits
from protocol.handshake import StoreMark
from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.items import Rank, RankedOrder
from protocol.lifecycles import CallEvent, CallState, RunEvent, RunState, UnitState
from protocol.tables import TABLES
from storage.agents.agents import AgentRow
from storage.effects import clock_steps, retention
from storage.executing_runs import FencedRun
from storage.kernel.database import Database
from storage.runs import (
    agreement,
    calls,
    excerpts,
    item_lists,
    item_proposals,
    item_verdicts,
    item_words,
    items,
    plans,
    run_moves,
    runs,
    units,
)
from storage.runs.agreement import ReportedRow
from storage.runs.calls import ReportedVerdict
from storage.runs.excerpts import SealedExcerpt
from storage.runs.item_lists import ItemFilter
from storage.runs.item_proposals import ProposalRow
from storage.runs.item_verdicts import NewVerdict, VerdictAnswer, VerdictRow
from storage.runs.item_words import follow
from storage.runs.items import Decide, Decision, FoundItem, ItemRow, KnownItems, PlannedCall, Verdict
from storage.runs.plans import UnitPlan
from storage.schema import agents as agent_table
from storage.schema import devices, users
from storage.schema import devices as device_table
from storage.schema import items as item_rows
from tests.storage.jobs import while_the_other_waits
from tests.storage.rows import (
    AT,
    ME,
    PROMPT_1,
    known_units,
    make_agent,
    make_run,
    plan_unit,
    running,
    settle_call,
    some,
)
from tests.support.filling import fill
from tests.support.postgres import Postgres

DAY = items.DAY_MS
DESK = DeviceId("device-laptop")


def item(title: str = "call Anna", *, day: int | None = None, quote: str = "quote") -> FoundItem:
    return FoundItem(
        ordinal=0,
        declaration=TABLES["tasks"],
        data={"title": title},
        main=title,
        likeness=f"like {title}",
        quote_hash=quote,
        words_hash=quote,
        place_hash="place",
        date_ms=None if day is None else day * DAY,
    )


def new(known: KnownItems, one: FoundItem) -> Decision:
    """It is inserted."""
    finder = known.finder
    id = f"{finder.agent_id} {finder.unit_key} {one.main}"
    row = ItemRow(
        id=id,
        user_id=finder.user_id,
        agent_id=finder.agent_id,
        device_id=finder.device_id,
        unit_key=finder.unit_key,
        target_table=one.table,
        likeness=one.likeness,
        quote_hash=one.quote_hash,
        place_hash=one.place_hash,
        config_fingerprint=finder.config_fingerprint,
        data=one.data,
        date_ms=one.date_ms,
        warnings=("instruction",),
        source={"path": finder.unit_key, "quote": one.main, "start": 0, "end": len(one.main)},
        call_id=CallId(f"c1 {id}"),
        run_id=finder.run_id,
        created_at=finder.at,
        updated_at=finder.at,
    )
    return Decision(after=row, call=call_of(row))


def call_of(row: ItemRow) -> PlannedCall:
    return PlannedCall(
        call_id=row.call_id,
        ordinal=0,
        table="tasks",
        payload={"data": row.data},
        action="update" if row.before else "insert",
        item_id=row.id,
    )


def as_new(*found: FoundItem) -> Decide:
    return lambda known: [new(known, one) for one in found]


def changed(known: KnownItems) -> list[Decision]:
    """The only item of the unit has another title by now."""
    (one,) = known.here
    after = msgspec.structs.replace(
        one.row,
        data={"title": "call Bob"},
        before=one.row.data,
        call_id=CallId("c2"),
        answered_at=None,
        version=2,
    )
    return [Decision(before=one.row, after=after, call=call_of(after))]


def is_known(known: KnownItems) -> list[Decision]:
    """Nothing is sent for it."""
    return [Decision(before=one.row) for one in known.here]


def noting(seen: list[KnownItems]) -> Decide:
    """Add what a plan knows to *seen*; nothing is sent."""

    def note(known: KnownItems) -> list[Decision]:
        seen.append(known)
        return []

    return note


def plan(
    c: sa.Connection, held: FencedRun, decide: Decide, unit: str = "a.txt", found: Sequence[FoundItem] = ()
) -> UnitPlan:
    about = plans.UnitToPlan(
        held=held, unit_key=unit, content_hash="sha", size_bytes=1, found=found, decide=decide, at=AT
    )
    return plan_unit(c, about)


def bring(c: sa.Connection, held: FencedRun, written: UnitPlan, **answer: Any) -> None:
    """All calls of the plan are sent and answered."""
    for call in written.open_calls:
        calls.mark_sent(c, held, [call.call_id], AT)
        given: dict[str, Any] = {"event": CallEvent.ACKED, "row_id": f"row of {call.call_id}"} | answer
        settle_call(c, call.call_id, given.pop("event"), None, AT + 1, **given)


def ledger(c: sa.Connection, **options: Any) -> list[ItemRow]:
    return [one.row for one in item_lists.list_items(c, ItemFilter(**options), limit=100).items]


def the_item(c: sa.Connection) -> ItemRow:
    (row,) = ledger(c)
    return row


@pytest.fixture
def delivered(c: sa.Connection, held: FencedRun) -> None:
    """The device has the item of the run."""
    bring(c, held, plan(c, held, as_new(item())))


def test_planned_items_are_in_the_ledger_in_the_same_transaction(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, as_new(item()))
    row = the_item(c)
    assert (row.data, row.warnings, row.run_id, row.device_id, row.config_fingerprint, row.verdict) == (
        {"title": "call Anna"},
        ("instruction",),
        held.id,
        DESK,
        PROMPT_1,
        "open",
    )
    assert (row.row_id, row.answered_at) == (None, None)


@pytest.mark.usefixtures("delivered")
def test_an_answer_records_the_row_of_the_device_in_the_ledger(c: sa.Connection, held: FencedRun) -> None:
    assert (the_item(c).row_id, the_item(c).answered_at) == (f"row of {the_item(c).call_id}", AT + 1)
    assert runs.get_run(c, held.id).items_created == 1


@pytest.mark.parametrize("event", [CallEvent.REJECTED, CallEvent.GIVEN_UP])
def test_item_refused_by_the_device_remains_unanswered(
    c: sa.Connection, held: FencedRun, event: CallEvent
) -> None:
    bring(c, held, plan(c, held, as_new(item())), event=event, row_id=None)
    assert the_item(c).answered_at is None


@pytest.mark.usefixtures("delivered")
def test_answered_change_of_an_item_reopens_the_verdict(c: sa.Connection, held: FencedRun) -> None:
    before = the_item(c)
    calls.record_verdicts(c, DESK, [ReportedVerdict(before.call_id, "approved")], AT)
    written = plan(c, held, changed)
    assert (the_item(c).verdict, the_item(c).before) == ("approved", {"title": "call Anna"})
    bring(c, held, written, row_id=None)
    after = the_item(c)
    assert (after.verdict, after.verdict_at, after.before, after.row_id, after.data) == (
        "open",
        None,
        None,
        before.row_id,
        {"title": "call Bob"},
    )
    row = runs.get_run(c, held.id)
    assert (row.items_created, row.items_updated) == (1, 1)


@pytest.mark.usefixtures("delivered")
@pytest.mark.parametrize("said", ["approved", "edited", "rejected"])
def test_change_proposed_to_an_owner_has_the_values_before_until_decided(
    c: sa.Connection, held: FencedRun, said: Any
) -> None:
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    bring(c, held, plan(c, held, changed), row_id=None, is_proposed=True)
    assert (the_item(c).verdict, the_item(c).before) == ("open", {"title": "call Anna"})
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, said)], AT)
    assert (the_item(c).verdict, the_item(c).before) == (said, None)


def test_item_has_the_row_id_reported_last_by_the_device(c: sa.Connection, held: FencedRun) -> None:
    bring(c, held, plan(c, held, as_new(item())), row_id="old")
    bring(c, held, plan(c, held, changed), row_id="new")  # it could not change the first, and made another
    assert the_item(c).row_id == "new"


@pytest.mark.usefixtures("delivered")
def test_change_of_a_deleted_row_marks_the_item_as_rejected(c: sa.Connection, held: FencedRun) -> None:
    bring(c, held, plan(c, held, changed), is_deleted=True, row_id=None)
    assert (the_item(c).verdict, the_item(c).verdict_at) == ("rejected", AT + 1)
    assert runs.get_run(c, held.id).items_updated == 0
    assert units.settle_unit(c, held, "a.txt", AT) is UnitState.DONE


def test_the_ledger_has_the_state_of_the_newest_call_of_an_item(c: sa.Connection, agent: AgentRow) -> None:
    first = running(c, "run-1", agent=agent)
    plan(c, first, as_new(item()))
    seen: list[KnownItems] = []

    def look(known: KnownItems) -> list[Decision]:
        seen.append(known)
        return is_known(known)

    run_moves.move(c, first, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    second = running(c, "run-2", agent=agent)
    plan(c, second, look)
    assert [(one.call_state, one.held_by) for one in seen[0].here] == [(CallState.PLANNED, "run-1")]
    run_moves.move(c, FencedRun(first.id, RunState.PAUSED, first.fence), RunEvent.FAILED, at=AT, actor="hub")
    plan(c, second, look)
    assert seen[1].here[0].held_by is None


def test_plan_sees_similar_items_of_other_units_of_the_device(c: sa.Connection, held: FencedRun) -> None:
    for unit, one in {
        "same.txt": item(),
        "day.txt": item("ring Anna", day=20_000, quote="on a day"),
        "week.txt": item("ring Anna", day=20_007, quote="in a week"),
        "quoted.txt": item("ring"),
        "other.txt": item("pay the rent", quote="rent"),
    }.items():
        plan(c, held, as_new(one), unit)
    seen: list[KnownItems] = []
    plan(c, held, noting(seen), found=[item(), item("Anna is called", day=20_001)])
    assert [one.row.unit_key for one in seen[0].elsewhere] == [
        "same.txt",
        "quoted.txt",
        "day.txt",
    ]
    assert seen[0].here == ()
    plan(c, held, noting(seen), "same.txt", found=[item()])
    assert [one.row.unit_key for one in seen[1].here] == ["same.txt"]
    assert [one.row.unit_key for one in seen[1].elsewhere] == ["quoted.txt"]

    phone = make_run(c, "run-2", agent=make_agent(c, "other", device="phone"), state=RunState.RUNNING).held
    plan(c, phone, noting(seen), found=[item()])
    assert seen[2].elsewhere == ()  # what the laptop has, the phone has not


def test_ids_of_items_taken_over_by_another_unit_are_used(c: sa.Connection, held: FencedRun) -> None:
    ids: list[str] = []

    def taken_over(known: KnownItems) -> list[Decision]:
        of_mail = msgspec.structs.replace(known.finder, unit_key="mail.eml")
        ids.extend(of_mail.item_ids[item().likeness, nth] for nth in range(3))
        rows = [new(known, item(f"ring {nth}", quote=f"{nth}")).after for nth in range(2)]
        return [
            Decision(after=msgspec.structs.replace(row, id=id))
            for row, id in zip(rows, ids, strict=False)
            if row is not None
        ]

    plan(c, held, taken_over, "own.txt")
    seen: list[bool] = []

    def look(known: KnownItems) -> list[Decision]:
        seen.extend(map(known.is_used, ids))
        return []

    plan(c, held, look, "mail.eml", found=[item()])
    assert seen == [True, True, False]


def test_items_of_others_leave_out_no_item_of_the_owner_of_the_same_day(
    c: sa.Connection, held: FencedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "MAX_OF_A_DAY", 3)
    ranks = {"mail.eml": Rank.OTHERS, "page.eml": Rank.OTHERS, "known.eml": Rank.TRUSTED, "own.txt": Rank.OWN}
    ranks["approved.eml"] = Rank.OTHERS
    for nth, (unit, rank) in enumerate(ranks.items()):
        one = item(f"ring {nth}", day=20_000, quote=unit)
        plan(c, held, as_new(one), unit)
        c.execute(sa.update(item_rows).where(item_rows.c.unit_key == unit).values(rank=int(rank)))
    c.execute(
        sa.update(item_rows)
        .where(item_rows.c.unit_key == "approved.eml")
        .values(verdict="approved", verdict_at=AT, created_at=AT + 9)
    )
    seen: list[KnownItems] = []
    plan(c, held, noting(seen), found=[item("Anna is called", day=20_001)])
    assert {one.row.unit_key for one in seen[0].elsewhere} == {"own.txt", "approved.eml", "known.eml"}


@pytest.mark.parametrize(("rank", "is_compared"), [(Rank.OTHERS, True), (Rank.OWN, False)])
def test_quoted_days_leave_no_day_of_the_owner_uncompared(
    c: sa.Connection, held: FencedRun, rank: Rank, *, is_compared: bool
) -> None:
    plan(c, held, as_new(item("ring", day=20_000, quote="b")), "other.txt")
    quoted = [item(f"ring {day}", day=day, quote=f"{day}") for day in range(21_000, 21_000 + items.MAX_DAYS)]
    found = [msgspec.structs.replace(one, rank=rank) for one in quoted]
    seen: list[KnownItems] = []
    plan(c, held, noting(seen), found=[*found, item("Anna is called", day=20_000)])
    assert [one.row.unit_key for one in seen[0].elsewhere] == (["other.txt"] if is_compared else [])


def test_held_items_of_others_are_displaced_first_and_displace_none_of_the_owner(
    c: sa.Connection, held: FencedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MAX_HELD_OF_AGENT", 2)

    def holds(unit: str, rank: Rank) -> Decide:
        def decide(known: KnownItems) -> list[Decision]:
            row = new(known, item(unit)).after
            assert row is not None
            return [Decision(after=msgspec.structs.replace(row, verdict="held", rank=int(rank)))]

        return decide

    def units_held() -> list[str]:
        of_held = sa.select(item_rows.c.unit_key).where(item_rows.c.verdict == "held")
        return sorted(c.execute(of_held).scalars())

    for unit, rank in {"a.txt": Rank.OWN, "b.eml": Rank.OTHERS, "c.txt": Rank.OWN}.items():
        plan(c, held, holds(unit, rank), unit)
    assert units_held() == ["a.txt", "c.txt"]
    plan(c, held, holds("d.eml", Rank.OTHERS), "d.eml")
    assert units_held() == ["a.txt", "c.txt"]


def test_two_agents_reading_the_same_file_of_a_device_share_the_items(c: sa.Connection) -> None:
    first = running(c, "run-1", agent=make_agent(c, "inbox"))
    plan(c, first, as_new(item()))
    run_moves.move(c, first, RunEvent.FAILED, at=AT, actor="hub")
    seen: list[KnownItems] = []
    plan(c, running(c, "run-2", agent=make_agent(c, "notes")), noting(seen))
    assert [one.row.agent_id for one in seen[0].here] == ["agent-inbox"]
    phone = make_agent(c, "phone", device="phone")
    plan(c, make_run(c, "run-3", agent=phone, state=RunState.RUNNING).held, noting(seen))
    assert seen[1].here == ()


def test_known_item_is_counted_once_for_repeated_plans(c: sa.Connection, agent: AgentRow) -> None:
    first = running(c, "run-1", agent=agent)
    bring(c, first, plan(c, first, as_new(item())))
    assert plan(c, first, is_known).known == 0  # its own
    units.settle_unit(c, first, "a.txt", AT)
    run_moves.move(c, first, RunEvent.FAILED, at=AT, actor="hub")

    second = running(c, "run-2", agent=agent)
    for _ in range(2):
        assert plan(c, second, is_known).known == 1
    assert runs.get_run(c, second.id).items_known == 1
    unit = some(units.find_unit(c, second.id, "a.txt"))
    assert (unit.items_known, unit.calls_planned) == (1, 0)


def test_unit_awaiting_an_item_enters_the_ledger_only_after_delivery(
    c: sa.Connection, held: FencedRun, agent: AgentRow
) -> None:
    written = plan(c, held, as_new(item()), "a.txt")
    id = the_item(c).id
    for unit in ("early.txt", "late.txt"):
        plan(c, held, lambda known: [Decision(awaits=id)], unit, found=[item()])
    assert units.settle_unit(c, held, "early.txt", AT) is UnitState.DONE
    bring(c, held, written)
    assert units.settle_unit(c, held, "late.txt", AT) is UnitState.DONE
    assert known_units(c, agent.id, PROMPT_1) == {"late.txt": "sha"}


def test_unit_with_a_postponed_newer_version_is_read_again(
    c: sa.Connection, held: FencedRun, agent: AgentRow
) -> None:
    bring(c, held, plan(c, held, lambda known: [msgspec.structs.replace(new(known, item()), is_behind=True)]))
    assert units.settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    assert known_units(c, agent.id, PROMPT_1) == {}


# --- verdicts ---


def test_an_owners_verdict_is_stored_and_may_be_reported_twice(c: sa.Connection, held: FencedRun) -> None:
    bring(c, held, plan(c, held, as_new(item(), item("pay the rent"))))
    assert items.count_open(c) == 2
    said = [ReportedVerdict(row.call_id, "rejected") for row in ledger(c)[:1]]
    assert calls.record_verdicts(c, DESK, said, AT + 5) == {said[0].call_id: True}
    assert calls.record_verdicts(c, DESK, said, AT + 9) == {said[0].call_id: False}
    assert ([row.verdict_at for row in ledger(c, verdict="rejected")], items.count_open(c)) == ([AT + 5], 1)


def test_count_open_counts_open_items_up_to_a_limit(c: sa.Connection) -> None:
    fill(c, {"users": 1, "devices": 1, "agents": 1, "runs": 1, "items": 2 * items.MAX_COUNTED_OPEN})
    assert items.count_open(c) == items.MAX_COUNTED_OPEN == 1_000


@pytest.mark.usefixtures("delivered")
def test_device_verdict_on_an_item_of_another_device_is_ignored(c: sa.Connection) -> None:
    said = [ReportedVerdict(the_item(c).call_id, "rejected"), ReportedVerdict(CallId("c-none"), "approved")]
    assert calls.record_verdicts(c, DeviceId("device-phone"), said, AT) == {}
    assert (calls.record_verdicts(c, DESK, said[1:], AT), the_item(c).verdict) == ({}, "open")


def test_verdict_reported_before_the_answer_of_the_call_remains(c: sa.Connection, held: FencedRun) -> None:
    written = plan(c, held, as_new(item()))
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    bring(c, held, written, row_id="row-1")
    assert (the_item(c).verdict, the_item(c).row_id, the_item(c).answered_at) == ("approved", "row-1", AT)


@pytest.mark.usefixtures("delivered")
@pytest.mark.parametrize("earlier", ["open", "approved", "edited"])
@pytest.mark.parametrize("verdict", ["approved", "edited"])
def test_verdict_reported_before_the_answer_of_a_change_remains_over_earlier_verdicts(
    c: sa.Connection, held: FencedRun, earlier: Any, verdict: Any
) -> None:
    if earlier != "open":
        calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, earlier)], AT)
    (call,) = plan(c, held, changed).open_calls
    calls.mark_sent(c, held, [call.call_id], AT)
    calls.record_verdicts(c, DESK, [ReportedVerdict(call.call_id, verdict)], AT)
    settle_call(c, call.call_id, CallEvent.ACKED, None, AT + 1)
    assert (the_item(c).verdict, the_item(c).verdict_at) == (verdict, AT)


@pytest.mark.usefixtures("delivered")
def test_verdict_on_a_replaced_item_version_is_ignored(c: sa.Connection, held: FencedRun) -> None:
    old = the_item(c).call_id
    plan(c, held, changed)
    assert calls.record_verdicts(c, DESK, [ReportedVerdict(old, "approved")], AT) == {}


# --- looking at it, and its end ---


def test_items_are_listed_newest_first_in_pages_and_by_filter(
    c: sa.Connection, held: FencedRun, agent: AgentRow
) -> None:
    plan(c, held, as_new(*(item(f"task {n}") for n in range(5))))
    everything = ledger(c)
    assert [row.data["title"] for row in everything] == [f"task {n}" for n in (4, 3, 2, 1, 0)]
    first = item_lists.list_items(c, ItemFilter(), limit=2).items
    last = first[-1].row
    assert first[-1].agent == "inbox"
    rest = item_lists.list_items(c, ItemFilter(), limit=9, after=(last.created_at, last.id)).items
    assert [one.row for one in (*first, *rest)] == everything
    for nothing in (
        {"agent_id": AgentId("other")},
        {"run_id": RunId("other")},
        {"user_id": UserId("other")},
        {"verdict": "approved"},
    ):
        assert ledger(c, **nothing) == []
    assert ledger(c, agent_id=agent.id, run_id=held.id, user_id=agent.user_id, verdict="open") == everything


def test_few_items_among_many_are_found_over_pages_of_limited_work(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_lists, "MAX_EXAMINED", 10)
    plan(c, running(c), as_new(*(item(f"Überweisung {n}") for n in range(25))))
    sought = ItemFilter(text='"ÜBERWEISUNG 2"', verdict="open")
    pages = [item_lists.list_items(c, sought, limit=50)]
    while pages[-1].rest is not None:
        pages.append(item_lists.list_items(c, sought, limit=50, after=pages[-1].rest))
    assert len(pages) == 3
    found = [one.row.data["title"] for page in pages for one in page.items]
    assert sorted(found) == [f"Überweisung {n}" for n in (2, 20, 21, 22, 23, 24)]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("reserver une salle", True),
        ("RÉSERVER", True),
        ("server u", True),
        ("strasse 7", True),
        ("a.TXT", True),
        ("zoe@ex", True),
        ("ZOÉ AHR", True),
        ("hobbs | roll", True),
        ("7 STRASSE salle", True),
        ("hobbs zoé a.txt 'réserver", False),
        ("hobbs zoé a.txt réserver", True),
        ('"une salle" reserver', True),
        ("«une salle» reserver", True),
        ('"salle une"', False),
        ('"une salle', True),
        ('"', True),
        ("salle absente", False),
        ("réserver 8", False),
        ("reservée", False),
        ("%", False),
        ("s_lle", False),
    ],
)
def test_text_of_a_filter_is_found_whatever_case_and_accents(
    c: sa.Connection, text: str, is_found: bool
) -> None:
    plan(c, running(c), as_new(item("Réserver une salle, Große Straße 7")))
    source = {"provenance": {"author": "Zoë Ahrens <zoe@example.org>"}, "quote": "| Hobbs | rolls |"}
    c.execute(sa.update(item_rows).values(source=source))
    follow(c, [the_item(c).id])
    chosen = ItemFilter(user_id=ME, text=text, verdict="open")
    assert len(item_lists.list_items(c, chosen, limit=9).items) == is_found
    assert len(item_lists.list_in_order(c, chosen, order="day", limit=9).items) == is_found
    assert item_lists.count_items(c, chosen).total == is_found


@pytest.mark.parametrize("text", ["звонок", "ring", "звонок 12"])
def test_page_of_a_text_is_full_and_the_last_one_leads_nowhere(c: sa.Connection, text: str) -> None:
    titles = [f"{'ring звонок 12' if n % 5 == 0 else f'Grün {n + 1000:o}'} {n:02}x" for n in range(25)]
    plan(c, running(c), as_new(*map(item, titles)))
    chosen = ItemFilter(user_id=ME, text=text, verdict="open")
    first = item_lists.list_in_order(c, chosen, order="day", limit=4)
    assert (len(first.items), first.rest is None) == (4, False)
    last = item_lists.list_in_order(c, chosen, order="day", limit=4, after=first.rest)
    assert (len(last.items), last.rest) == (1, None)


@pytest.mark.parametrize("most", [10, 2_500])
def test_items_are_listed_in_each_order_once_over_pages_among_new_and_decided_items(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(item_lists, "MAX_EXAMINED", most)
    held = running(c)
    plan(c, held, as_new(*(item(f"task {n:02}", day=None if n % 5 == 0 else 90 - n) for n in range(25))))
    plain = item_rows.c.id.not_like("%task 03")
    c.execute(sa.update(item_rows).values(warnings=[]).where(plain))
    lists: tuple[tuple[RankedOrder, Verdict | None], ...] = (
        *(("day", "open"), ("day", None), ("file", "open"), ("doubt", None)),
    )
    for order, verdict in lists:
        before = {row.data["title"] for row in ledger(c, verdict=verdict)}
        pages, after = list[list[str]](), None
        while True:
            chosen = ItemFilter(user_id=ME, verdict=verdict)
            page = item_lists.list_in_order(c, chosen, order=order, limit=4, after=after)
            pages.append([one.row.data["title"] for one in page.items])
            if len(pages) == 1:  # among the pages before and behind the next one
                plan(
                    c, held, as_new(*(item(f"zz {len(before) + n}") for n in range(3))), f"{'z/ä' * 300}.txt"
                )
            if (after := page.rest) is None:
                break
        titles = [title for page_titles in pages for title in page_titles]
        assert len(titles) == len({*titles})
        assert before <= {*titles}
        if order == "day" and most > len(titles):
            assert titles[:3] == ["task 24", "task 23", "task 22"]  # the earliest days
            ends = [titles.index(title) for title in ("task 01", "task 00", "task 03")]
            assert ends == sorted(ends)  # the latest day, no day, a mark
    with pytest.raises(HubError):
        item_lists.list_in_order(c, ItemFilter(), order="day", limit=4, after=(1, "a"))


def test_items_are_listed_by_a_warning_by_any_and_by_none(c: sa.Connection) -> None:
    plan(c, running(c), as_new(item("a"), item("b")))
    c.execute(sa.update(item_rows).values(warnings=[]).where(item_rows.c.id.like("%b")))
    found = {
        warning: [row.data["title"] for row in ledger(c, warning=warning)]
        for warning in ("instruction", item_lists.ANY, item_lists.NONE, "outside")
    }
    assert [*found.values()] == [["a"], ["a"], ["b"], []]


@pytest.mark.parametrize("verdict", ["open", None])
def test_list_by_day_begins_with_the_earliest_days_of_more_items_than_a_part_has(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch, verdict: Verdict | None
) -> None:
    monkeypatch.setattr(item_lists, "MAX_EXAMINED", 5)
    plan(c, running(c), as_new(*(item(f"task {n:02}", day=n or None) for n in range(12))))
    c.execute(sa.update(item_rows).values(warnings=[]))
    chosen, titles, after = ItemFilter(user_id=ME, verdict=verdict), list[str](), None
    while not titles or after is not None:
        page = item_lists.list_in_order(c, chosen, order="day", limit=3, after=after)
        titles += [one.row.data["title"] for one in page.items]
        after = page.rest
    assert titles == [f"task {n:02}" for n in (*range(1, 12), 0)]  # the newest has the last day


@pytest.mark.parametrize(
    ("characters", "user", "table", "is_found"),
    [
        (6, None, "tasks", True),
        (12, ME, "tasks", True),
        (5, ME, "tasks", False),  # too short an end
        (6, UserId("eve"), "tasks", False),
        (6, ME, "notes", False),
    ],
)
def test_item_is_found_by_six_characters_at_the_end_of_the_id_within_limits(
    c: sa.Connection, characters: int, user: UserId | None, table: str, is_found: bool
) -> None:
    plan(c, running(c), as_new(*(item(f"{n}1234567890a{n}") for n in "bcd")))
    id = ledger(c)[1].id
    limits, end = TokenLimits(tables=(table,)), id[-characters:]
    if is_found:
        assert items.get_item(c, end, user, limits)[0].id == id
    else:
        with pytest.raises(HubError, match=f"there is no item '{end}'|'{end}' is too short"):
            items.get_item(c, end, user, limits)


def test_items_are_listed_and_counted_within_token_limits_only(c: sa.Connection, delivered: None) -> None:
    one = the_item(c)
    assert one.device_id is not None
    c.execute(sa.update(item_rows).values(unit_key="notes/a.txt"))
    for limits, expected in (
        (TokenLimits((one.device_id,), (one.target_table,), ("work", "notes")), 1),
        (TokenLimits(devices=(DeviceId("another"),)), 0),
        (TokenLimits(tables=("projects", "notes")), 0),
        (TokenLimits(roots=("note", "notes/")), 0),
    ):
        counts = item_lists.count_items(c, ItemFilter(user_id=ME, verdict="open", limits=limits))
        assert (
            len(ledger(c, user_id=ME, verdict="open", limits=limits)),
            counts.total,
            sum(counts.tables.values()),
        ) == (expected,) * 3


def test_items_are_deleted_with_their_agent_and_survive_their_device(
    c: sa.Connection, held: FencedRun
) -> None:
    plan(c, held, as_new(item()))
    c.execute(sa.delete(device_table))
    assert the_item(c).device_id is None
    c.execute(sa.delete(agent_table))
    assert ledger(c) == []


# --- several hubs ---


async def test_second_of_two_concurrent_plans_sees_the_item_of_the_first(
    hubs: list[Database], postgres: Postgres, url: str
) -> None:
    def two_agents(c: sa.Connection) -> list[FencedRun]:
        made = [make_agent(c, name, device=name) for name in ("inbox", "notes")]
        held = [make_run(c, agent.name, agent=agent, state=RunState.RUNNING).held for agent in made]
        c.execute(sa.text("UPDATE runs SET device_id = 'device-inbox'"))
        return held

    first, second = await hubs[0].write(two_agents)
    seen: list[KnownItems] = []
    await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: plan(c, first, as_new(item()), found=[item()]),
        lambda c: plan(c, second, noting(seen), "b.txt", found=[item()]),
    )
    assert [one.row.agent_id for one in seen[-1].elsewhere] == ["agent-inbox"]


# --- verdicts that are given at the hub ---


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
    return item_verdicts.claim_sends(c, [row.id for row in rows], epoch=epoch, at=at, again=again)


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


@pytest.mark.parametrize("back_ms", [5_000, 70_000, 72_000_000])
def test_newest_verdict_stays_the_newest_after_a_clock_set_back(
    c: sa.Connection, row: ItemRow, back_ms: int
) -> None:
    """The clock is set back to a moment between the verdicts."""
    for id, verdict, state, at in (("v-1", "reject", "rejected", AT), ("v-2", "undo", "open", AT + 60_000)):
        new = NewVerdict(id=CallId(id), item_id=row.id, verdict=verdict)  # type: ignore[arg-type]
        item_verdicts.give(c, [new], user_id=None, actor="operator:7", at=at, check=lambda *_: None)
        send(c, at=at, again=at + 60_000)
        answer = VerdictAnswer(id=CallId(id), state=state)  # type: ignore[arg-type]
        item_verdicts.settle(c, DESK, [answer], epoch=EPOCH, at=at + 9)
    clock_steps.redate(c, "item_verdicts", by_ms=-back_ms, at=AT + 100)
    newest = stored(c)
    assert (newest.verdict, newest.created_at, newest.settled_at) == (
        "undo",
        AT + 60_000 - back_ms,
        AT + 60_009 - back_ms,
    )


@pytest.fixture
def sent(c: sa.Connection, approved: None) -> None:
    """A verdict that was sent to its device."""
    send(c)


@pytest.mark.usefixtures("row")
def test_item_gets_the_verdict_after_the_device_answered(c: sa.Connection) -> None:
    give(c, "approve", data={"projectId": "p"})
    (row,) = item_verdicts.due(c, DESK, epoch=EPOCH, at=AT, limit=9)
    assert (row.row_id, row.target_table, row.data) == (the_item(c).row_id, "tasks", {"projectId": "p"})
    assert (send(c), the_item(c).verdict, stored(c).state) == ({"v-1"}, "open", "sent")
    assert len(settle(c, "v-1", "approved")) == 1
    assert (the_item(c).verdict, the_item(c).verdict_at, stored(c).state) == ("approved", AT + 9, "done")
    assert settle(c, "v-1", "rejected") == [], "it was settled before"
    assert item_verdicts.devices_with_open(c) == []


@pytest.mark.usefixtures("row")
def test_edited_values_of_an_approval_apply_until_the_approval_is_undone(c: sa.Connection) -> None:
    give(c, "approve", data={"title": "call Bob"})
    assert item_words.edited_values(c, ledger(c)) == {}, "it is on its way"
    send(c)
    settle(c, "v-1", "edited")
    edited = {the_item(c).id: {"title": "call Bob"}}
    assert item_words.edited_values(c, ledger(c)) == edited
    assert retention.prune_verdicts(c, before=AT + 99) == 0, "its item has no other record of them"
    give(c, "undo", "v-2")
    send(c)
    settle(c, "v-2", "open")
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    assert item_words.edited_values(c, ledger(c)) == {}, "the owner approved it as it was"
    assert retention.prune_verdicts(c, before=AT + 99) == 2, "what is undone goes with its undoing"


@pytest.mark.usefixtures("row")
def test_edited_values_do_not_apply_after_a_refusal_or_newer_version(
    c: sa.Connection,
) -> None:
    give(c, "approve", data={"title": "call Bob"})
    send(c)
    settle(c, "v-1", reason="changed_meanwhile")
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    assert item_words.edited_values(c, ledger(c)) == {}, "its owner approved it as it was"
    c.execute(sa.update(item_rows).values(verdict="open", verdict_at=None))
    give(c, "approve", "v-2", data={"title": "call Bob"})
    send(c)
    settle(c, "v-2", "edited")
    assert item_words.edited_values(c, ledger(c)) != {}
    assert retention.prune_verdicts(c, before=AT + 99) == 1, "the refused one"
    c.execute(sa.update(item_rows).values(call_id="c-9"))
    assert (item_words.edited_values(c, ledger(c)), retention.prune_verdicts(c, before=AT + 99)) == ({}, 1)


@pytest.mark.usefixtures("sent")
def test_verdict_refused_by_the_device_leaves_the_item_open(c: sa.Connection) -> None:
    settle(c, "v-1", reason="not_granted")
    assert (the_item(c).verdict, stored(c).state, stored(c).reason) == ("open", "refused", "not_granted")
    assert isinstance(give(c, "approve", "v-2"), VerdictRow), "it may be given again"


@pytest.mark.usefixtures("approved")
def test_verdict_is_sent_once_a_connection_and_again_over_the_next(c: sa.Connection) -> None:
    assert send(c) == {"v-1"}
    assert send(c) == set(), "another hub with the same connection"
    assert send(c, at=AT + 60, again=AT + 999) == {"v-1"}, "no answer came"
    c.execute(sa.update(devices).values(session_epoch=EPOCH + 1))
    assert settle(c, "v-1", "approved") == [], "an answer over the old connection"
    assert item_verdicts.claim_sends(c, [CallId("v-1")], epoch=EPOCH, at=AT + 999, again=AT) == set()
    assert (send(c, EPOCH + 1, AT + 61), stored(c).sends) == ({"v-1"}, 3)
    assert len(settle(c, "v-1", "approved", EPOCH + 1)) == 1


@pytest.mark.usefixtures("row")
def test_repeated_verdict_returns_the_existing_row(c: sa.Connection) -> None:
    for state in ("pending", "sent", "done"):
        first = give(c, "reject", f"v-{state}")
        assert isinstance(first, VerdictRow)
        assert (first.id, first.state) == ("v-pending", state)
        send(c) if state == "pending" else settle(c, "v-pending", "rejected")


@pytest.mark.usefixtures("approved")
def test_second_verdict_is_refused_while_the_first_is_under_way(c: sa.Connection) -> None:
    assert code_of(give(c, "reject", "v-2")) == ErrorCode.VERDICT_UNDER_WAY
    assert code_of(give(c, "approve", "v-2", data={"title": "x"})) == ErrorCode.VERDICT_UNDER_WAY


def test_verdict_on_an_outdated_item_version_is_a_conflict(c: sa.Connection) -> None:
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


def propose(c: sa.Connection, id: str, *, by: str = "token:1", why: str = "said so") -> ProposalRow:
    """A proposal to reject the only item."""
    new = [NewVerdict(id=CallId(id), item_id=the_item(c).id, verdict="reject")]
    how: dict[str, Any] = {"user_id": ME, "actor": by, "at": AT, "check": lambda *_: None}
    (row,) = item_verdicts.propose(c, new, {CallId(id): why}, read=lambda _, one: one, **how)
    assert isinstance(row, ProposalRow), row
    return row


def states(c: sa.Connection) -> dict[str, str]:
    return {id: row.state for id, row in item_proposals.find(c, ["p-1", "p-2", "p-3", "p-4"]).items()}


def test_accepted_proposal_withdraws_the_others_and_undo_reopens_none(c: sa.Connection, row: ItemRow) -> None:
    first, again = propose(c, "p-1"), propose(c, "p-2")
    assert again.id == first.id, "said twice"
    other, newer = propose(c, "p-3", by="token:2"), propose(c, "p-4", why="sure")
    assert states(c) == {"p-1": "withdrawn", "p-3": "open", "p-4": "open"}
    for is_proposed, count in ((True, 1), (False, 0), (None, 1)):
        chosen = ItemFilter(user_id=ME, proposed=is_proposed)
        assert (
            len(item_lists.list_items(c, chosen, limit=9).items)
            == item_lists.count_items(c, chosen).total
            == count
        )
    given = give(c, "reject", proposal=newer.id)
    assert isinstance(given, VerdictRow)
    assert (given.proposed_by, stored(c)) == ("token:1", given)
    assert give(c, "reject", "v-2", proposal=newer.id) == given, "accepted twice"
    assert code_of(give(c, "reject", "v-3", proposal=other.id)) == ErrorCode.CHANGED_MEANWHILE
    assert states(c) == {"p-1": "withdrawn", "p-3": "withdrawn", "p-4": "accepted"}
    assert give(c, "undo", "v-4") is None
    assert (states(c)["p-4"], item_proposals.open_on(c, [row.id])) == ("accepted", {})


@pytest.mark.parametrize("how", ["newer", "decided"])
def test_proposal_is_withdrawn_when_the_item_changes_or_is_decided(
    c: sa.Connection, row: ItemRow, how: str
) -> None:
    propose(c, "p-1")
    if how == "newer":
        after = msgspec.structs.replace(row, call_id=CallId("c-newer"), version=2)
        items.write_items(c, [Decision(before=row, after=after)])
    else:
        calls.record_verdicts(c, DESK, [ReportedVerdict(row.call_id, "approved")], AT)
    assert states(c) == {"p-1": "withdrawn"}
    assert code_of(give(c, "reject", proposal="p-1")) == ErrorCode.CHANGED_MEANWHILE
    assert (retention.prune_proposals(c, before=AT), retention.prune_proposals(c, before=AT + 9_999)) == (
        0,
        1,
    )


def test_bad_verdict_of_a_batch_does_not_affect_the_others(c: sa.Connection) -> None:
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
def test_undo_of_an_unsent_verdict_removes_the_verdict(c: sa.Connection) -> None:
    assert (give(c, "undo", "v-2"), send(c)) == (None, set())
    assert isinstance(give(c, "reject", "v-3"), VerdictRow)
    send(c)
    assert code_of(give(c, "undo", "v-4")) == ErrorCode.VERDICT_UNDER_WAY, "the device may have it"


def test_undone_rejection_restores_the_source_of_the_item(c: sa.Connection) -> None:
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


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize("reason", [ErrorCode.CHANGED_MEANWHILE, ErrorCode.NOT_GRANTED])
def test_refused_undo_is_given_again_with_the_row_as_seen(c: sa.Connection, reason: ErrorCode) -> None:
    settle(c, "v-1", "approved")
    give(c, "undo", "v-2")
    send(c)
    settle(c, "v-2", reason=reason.value)
    again = give(c, "undo", "v-3", seen_row="digest")
    assert isinstance(again, VerdictRow)
    assert (again.undoes, again.seen_row, again.state) == ("v-1", "digest", "pending")


def test_undo_of_a_verdict_given_at_the_device_is_a_conflict(c: sa.Connection, row: ItemRow) -> None:
    calls.record_verdicts(c, DESK, [ReportedVerdict(row.call_id, "approved")], AT)
    assert code_of(give(c, "undo")) == ErrorCode.CHANGED_MEANWHILE
    assert code_of(give(c, "reject", "v-2")) == ErrorCode.CHANGED_MEANWHILE


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize(
    ("given", "reported", "is_repeated"),
    [
        (["approve"], "edited", True),
        (["approve"], "rejected", False),
        (["reject"], "rejected", True),
        (["approve", "undo"], None, True),
        (["approve", "undo"], "approved", False),
        (["reject", "undo"], "rejected", False),
    ],
)
def test_repeated_verdict_is_a_conflict_where_the_owner_decided_otherwise_since(
    c: sa.Connection, given: list[str], reported: Any, is_repeated: bool
) -> None:
    states = {"approve": "approved", "reject": "rejected", "undo": "open"}
    for verdict in given:
        give(c, verdict, f"v-{verdict}")
        send(c)
        settle(c, f"v-{verdict}", states[verdict])
    if reported is not None:
        calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, reported)], AT + 99)
    again = give(c, given[-1], "v-again")
    assert isinstance(again, VerdictRow) if is_repeated else code_of(again) == ErrorCode.CHANGED_MEANWHILE


@pytest.mark.parametrize(
    ("verdict", "reported", "state"),
    [("approve", "edited", "refused"), ("approve", "approved", "done"), ("edit", "rejected", "refused")],
)
def test_verdict_given_at_the_device_overtakes_a_sent_verdict(
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
def test_sent_verdict_is_not_overtaken_by_a_verdict_on_a_newer_version(
    c: sa.Connection,
) -> None:
    c.execute(sa.update(item_rows).values(call_id="c-9", version=2))
    item_verdicts.overtake(c, DESK, [ReportedVerdict(CallId("c-9"), "rejected")], AT)
    assert stored(c).state == "sent"


@pytest.mark.usefixtures("approved")
@pytest.mark.parametrize(("counter", "verdict"), [(4, "open"), (5, "approved")])
def test_verdict_answer_older_than_a_listed_row_leaves_the_item_unchanged(
    c: sa.Connection, row: ItemRow, counter: int, verdict: str
) -> None:
    listed = msgspec.structs.replace(row, version=5)
    mark = StoreMark(id="store", counter=5)
    agreement.take_rows(c, [ReportedRow(listed)], device_id=DESK, epoch=EPOCH, mark=mark, is_last=True, at=AT)
    send(c)
    settle(c, "v-1", "approved", counter=counter)
    assert (the_item(c).verdict, stored(c).state) == (verdict, "done")


def test_item_listed_as_open_by_the_device_is_open_again(c: sa.Connection, row: ItemRow) -> None:
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
def test_revoked_device_gets_no_verdict(c: sa.Connection) -> None:
    c.execute(sa.update(devices).values(revoked_at=AT))
    assert send(c) == set()
    item_verdicts.refuse_all(c, DESK, AT)
    assert (stored(c).state, stored(c).reason) == ("refused", "revoked")


@pytest.mark.usefixtures("row")
def test_old_verdicts_and_excerpts_are_pruned_and_deleted_with_their_user(c: sa.Connection) -> None:
    excerpt = {the_item(c).id: SealedExcerpt(the_item(c).id, "k1", b"")}
    excerpts.put_excerpts(c, excerpt, at=AT)
    assert (retention.prune_excerpts(c, before=AT), retention.prune_excerpts(c, before=AT + 1)) == (0, 1)
    give(c, "reject")
    assert retention.prune_verdicts(c, before=AT + 99) == 0, "it is open"
    send(c)
    settle(c, "v-1", "rejected")
    assert (retention.prune_verdicts(c, before=AT + 9), retention.prune_verdicts(c, before=AT + 10)) == (0, 1)
    give(c, "approve", "v-2")
    excerpts.put_excerpts(c, excerpt, at=AT)
    c.execute(sa.delete(users).where(users.c.id == ME))
    assert (item_verdicts.devices_with_open(c), excerpts.keys_of_excerpts(c)) == ([], {})
