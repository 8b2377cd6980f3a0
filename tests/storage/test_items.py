"""The ledger of items, on both databases."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.lifecycles import CallEvent, CallState, RunEvent, RunState, UnitState
from protocol.tables import TABLES
from storage.agents.agents import AgentRow
from storage.kernel.database import Database
from storage.runs import calls, items, plans, run_moves, runs, units
from storage.runs.calls import ReportedVerdict
from storage.runs.items import Decide, Decision, FoundItem, ItemFilter, ItemRow, Known, PlannedCall
from storage.runs.plans import UnitPlan
from storage.runs.runs import HeldRun
from storage.schema import agents as agent_table
from storage.schema import devices as device_table
from tests.storage.jobs import while_the_other_waits
from tests.storage.rows import AT, PROMPT_1, known_units, make_agent, make_run, running, settle_call, some
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


def new(known: Known, one: FoundItem) -> Decision:
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


def changed(known: Known) -> list[Decision]:
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


def is_known(known: Known) -> list[Decision]:
    """Nothing is sent for it."""
    return [Decision(before=one.row) for one in known.here]


def plan(
    c: sa.Connection, held: HeldRun, decide: Decide, unit: str = "a.txt", found: Sequence[FoundItem] = ()
) -> UnitPlan:
    return plans.plan_unit(
        c, held, unit_key=unit, content_hash="sha", size_bytes=1, found=found, decide=decide, at=AT
    )


def bring(c: sa.Connection, held: HeldRun, written: UnitPlan, **answer: Any) -> None:
    """All calls of the plan are sent and answered."""
    for call in written.open_calls:
        calls.mark_sent(c, held, [call.call_id], AT)
        given: dict[str, Any] = {"event": CallEvent.ACKED, "row_id": f"row of {call.call_id}"} | answer
        settle_call(c, call.call_id, given.pop("event"), None, AT + 1, **given)


def ledger(c: sa.Connection, **options: Any) -> list[ItemRow]:
    return [one.row for one in items.list_items(c, ItemFilter(**options), limit=100).items]


def the_item(c: sa.Connection) -> ItemRow:
    (row,) = ledger(c)
    return row


@pytest.fixture
def delivered(c: sa.Connection, held: HeldRun) -> None:
    """The device has the item of the run."""
    bring(c, held, plan(c, held, as_new(item())))


def test_planned_items_are_in_the_ledger_in_the_same_transaction(c: sa.Connection, held: HeldRun) -> None:
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
def test_an_answer_records_the_row_of_the_device_in_the_ledger(c: sa.Connection, held: HeldRun) -> None:
    assert (the_item(c).row_id, the_item(c).answered_at) == (f"row of {the_item(c).call_id}", AT + 1)
    assert runs.get_run(c, held.id).items_created == 1


@pytest.mark.parametrize("event", [CallEvent.REJECTED, CallEvent.GIVEN_UP])
def test_an_item_that_was_not_taken_stays_untold(c: sa.Connection, held: HeldRun, event: CallEvent) -> None:
    bring(c, held, plan(c, held, as_new(item())), event=event, row_id=None)
    assert the_item(c).answered_at is None


@pytest.mark.usefixtures("delivered")
def test_a_changed_row_is_for_its_owner_to_judge_anew(c: sa.Connection, held: HeldRun) -> None:
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


def test_the_row_that_a_device_reported_last_is_the_one_it_has(c: sa.Connection, held: HeldRun) -> None:
    bring(c, held, plan(c, held, as_new(item())), row_id="old")
    bring(c, held, plan(c, held, changed), row_id="new")  # it could not change the first, and made another
    assert the_item(c).row_id == "new"


@pytest.mark.usefixtures("delivered")
def test_a_row_that_is_gone_when_it_is_to_be_changed_was_rejected(c: sa.Connection, held: HeldRun) -> None:
    bring(c, held, plan(c, held, changed), is_deleted=True, row_id=None)
    assert (the_item(c).verdict, the_item(c).verdict_at) == ("rejected", AT + 1)
    assert runs.get_run(c, held.id).items_updated == 0
    assert units.settle_unit(c, held, "a.txt", AT) is UnitState.DONE


def test_the_ledger_has_the_state_of_the_newest_call_of_an_item(c: sa.Connection, agent: AgentRow) -> None:
    first = running(c, "run-1", agent=agent)
    plan(c, first, as_new(item()))
    seen: list[Known] = []

    def look(known: Known) -> list[Decision]:
        seen.append(known)
        return is_known(known)

    run_moves.move(c, first, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    second = running(c, "run-2", agent=agent)
    plan(c, second, look)
    assert [(one.call_state, one.held_by) for one in seen[0].here] == [(CallState.PLANNED, "run-1")]
    run_moves.move(c, HeldRun(first.id, RunState.PAUSED, first.fence), RunEvent.FAILED, at=AT, actor="hub")
    plan(c, second, look)
    assert seen[1].here[0].held_by is None


def test_what_is_alike_in_other_units_of_the_device_is_known_there(c: sa.Connection, held: HeldRun) -> None:
    for unit, one in {
        "same.txt": item(),
        "day.txt": item("ring Anna", day=20_000, quote="on a day"),
        "week.txt": item("ring Anna", day=20_007, quote="in a week"),
        "quoted.txt": item("ring"),
        "other.txt": item("pay the rent", quote="rent"),
    }.items():
        plan(c, held, as_new(one), unit)
    seen: list[Known] = []

    def look(known: Known) -> list[Decision]:
        seen.append(known)
        return []

    plan(c, held, look, found=[item(), item("Anna is called", day=20_001)])
    assert [one.row.unit_key for one in seen[0].elsewhere] == [
        "same.txt",
        "quoted.txt",
        "day.txt",
    ]
    assert seen[0].here == ()
    plan(c, held, look, "same.txt", found=[item()])
    assert [one.row.unit_key for one in seen[1].here] == ["same.txt"]
    assert [one.row.unit_key for one in seen[1].elsewhere] == ["quoted.txt"]

    phone = make_run(c, "run-2", agent=make_agent(c, "other", device="phone"), state=RunState.RUNNING).held
    plan(c, phone, look, found=[item()])
    assert seen[2].elsewhere == ()  # what the laptop has, the phone has not


def test_two_agents_that_read_a_file_of_one_device_know_the_same_items(c: sa.Connection) -> None:
    first = running(c, "run-1", agent=make_agent(c, "inbox"))
    plan(c, first, as_new(item()))
    run_moves.move(c, first, RunEvent.FAILED, at=AT, actor="hub")
    seen: list[Known] = []

    def look(known: Known) -> list[Decision]:
        seen.append(known)
        return []

    plan(c, running(c, "run-2", agent=make_agent(c, "notes")), look)
    assert [one.row.agent_id for one in seen[0].here] == ["agent-inbox"]
    phone = make_agent(c, "phone", device="phone")
    plan(c, make_run(c, "run-3", agent=phone, state=RunState.RUNNING).held, look)
    assert seen[1].here == ()


def test_what_is_known_is_counted_once_however_often_it_is_planned(c: sa.Connection, agent: AgentRow) -> None:
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


def test_a_unit_that_leans_on_an_item_is_known_for_good_once_its_device_has_that(
    c: sa.Connection, held: HeldRun, agent: AgentRow
) -> None:
    written = plan(c, held, as_new(item()), "a.txt")
    id = the_item(c).id
    for unit in ("early.txt", "late.txt"):
        plan(c, held, lambda known: [Decision(awaits=id)], unit, found=[item()])
    assert units.settle_unit(c, held, "early.txt", AT) is UnitState.DONE
    bring(c, held, written)
    assert units.settle_unit(c, held, "late.txt", AT) is UnitState.DONE
    assert known_units(c, agent.id, PROMPT_1) == {"late.txt": "sha"}


def test_a_unit_whose_newer_text_was_put_off_is_read_again(
    c: sa.Connection, held: HeldRun, agent: AgentRow
) -> None:
    bring(c, held, plan(c, held, lambda known: [msgspec.structs.replace(new(known, item()), is_behind=True)]))
    assert units.settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    assert known_units(c, agent.id, PROMPT_1) == {}


# --- verdicts ---


def test_an_owners_verdict_is_stored_and_may_be_reported_twice(c: sa.Connection, held: HeldRun) -> None:
    bring(c, held, plan(c, held, as_new(item(), item("pay the rent"))))
    assert items.count_open(c) == 2
    said = [ReportedVerdict(row.call_id, "rejected") for row in ledger(c)[:1]]
    assert calls.record_verdicts(c, DESK, said, AT + 5) == 1
    assert calls.record_verdicts(c, DESK, said, AT + 9) == 1
    assert ([row.verdict_at for row in ledger(c, verdict="rejected")], items.count_open(c)) == ([AT + 5], 1)


def test_a_long_queue_of_items_that_wait_is_counted_up_to_a_limit(c: sa.Connection) -> None:
    fill(c, {"users": 1, "devices": 1, "agents": 1, "runs": 1, "items": 2 * items.MOST_COUNTED_OPEN})
    assert items.count_open(c) == items.MOST_COUNTED_OPEN == 1_000


@pytest.mark.usefixtures("delivered")
def test_a_device_judges_its_own_items_alone(c: sa.Connection) -> None:
    said = [ReportedVerdict(the_item(c).call_id, "rejected"), ReportedVerdict(CallId("c-none"), "approved")]
    assert calls.record_verdicts(c, DeviceId("device-phone"), said, AT) == 0
    assert (calls.record_verdicts(c, DESK, said[1:], AT), the_item(c).verdict) == (0, "open")


def test_a_verdict_that_is_faster_than_the_answer_stays(c: sa.Connection, held: HeldRun) -> None:
    written = plan(c, held, as_new(item()))
    calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, "approved")], AT)
    bring(c, held, written, row_id="row-1")
    assert (the_item(c).verdict, the_item(c).row_id, the_item(c).answered_at) == ("approved", "row-1", AT)


@pytest.mark.usefixtures("delivered")
@pytest.mark.parametrize("earlier", ["open", "approved", "edited"])
@pytest.mark.parametrize("verdict", ["approved", "edited"])
def test_a_verdict_on_a_change_that_is_faster_than_its_answer_stays_whatever_was_said_before(
    c: sa.Connection, held: HeldRun, earlier: Any, verdict: Any
) -> None:
    if earlier != "open":
        calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, earlier)], AT)
    (call,) = plan(c, held, changed).open_calls
    calls.mark_sent(c, held, [call.call_id], AT)
    calls.record_verdicts(c, DESK, [ReportedVerdict(call.call_id, verdict)], AT)
    settle_call(c, call.call_id, CallEvent.ACKED, None, AT + 1)
    assert (the_item(c).verdict, the_item(c).verdict_at) == (verdict, AT)


@pytest.mark.usefixtures("delivered")
def test_a_verdict_on_a_text_that_a_newer_one_replaces_does_not_count(
    c: sa.Connection, held: HeldRun
) -> None:
    old = the_item(c).call_id
    plan(c, held, changed)
    assert calls.record_verdicts(c, DESK, [ReportedVerdict(old, "approved")], AT) == 0


# --- looking at it, and its end ---


def test_items_are_listed_from_the_newest_in_pages_and_by_what_is_asked_for(
    c: sa.Connection, held: HeldRun, agent: AgentRow
) -> None:
    plan(c, held, as_new(*(item(f"task {n}") for n in range(5))))
    everything = ledger(c)
    assert [row.data["title"] for row in everything] == [f"task {n}" for n in (4, 3, 2, 1, 0)]
    first = items.list_items(c, ItemFilter(), limit=2).items
    last = first[-1].row
    assert first[-1].agent == "inbox"
    rest = items.list_items(c, ItemFilter(), limit=9, after=(last.created_at, last.id)).items
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
    monkeypatch.setattr(items, "MOST_EXAMINED", 10)
    plan(c, running(c), as_new(*(item(f"Überweisung {n}") for n in range(25))))
    sought = ItemFilter(text="ÜBERWEISUNG 2", verdict="open")
    pages = [items.list_items(c, sought, limit=50)]
    while pages[-1].rest is not None:
        pages.append(items.list_items(c, sought, limit=50, after=pages[-1].rest))
    assert len(pages) == 3
    found = [one.row.data["title"] for page in pages for one in page.items]
    assert sorted(found) == [f"Überweisung {n}" for n in (2, 20, 21, 22, 23, 24)]


def test_items_go_with_their_agent_and_outlive_their_device(c: sa.Connection, held: HeldRun) -> None:
    plan(c, held, as_new(item()))
    c.execute(sa.delete(device_table))
    assert the_item(c).device_id is None
    c.execute(sa.delete(agent_table))
    assert ledger(c) == []


# --- several hubs ---


async def test_of_two_units_that_find_the_same_item_at_once_the_second_sees_that_of_the_first(
    hubs: list[Database], postgres: Postgres, url: str
) -> None:
    def two_agents(c: sa.Connection) -> list[HeldRun]:
        made = [make_agent(c, name, device=name) for name in ("inbox", "notes")]
        held = [make_run(c, agent.name, agent=agent, state=RunState.RUNNING).held for agent in made]
        c.execute(sa.text("UPDATE runs SET device_id = 'device-inbox'"))
        return held

    first, second = await hubs[0].write(two_agents)
    seen: list[Known] = []

    def look(known: Known) -> list[Decision]:
        seen.append(known)
        return []

    await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: plan(c, first, as_new(item()), found=[item()]),
        lambda c: plan(c, second, look, "b.txt", found=[item()]),
    )
    assert [one.row.agent_id for one in seen[-1].elsewhere] == ["agent-inbox"]
