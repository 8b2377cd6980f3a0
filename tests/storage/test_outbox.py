from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import IllegalTransition, LinkLost
from protocol.ids import CallId
from protocol.lifecycles import CallEvent, CallState, RunEvent, RunOutcome, RunState, UnitState
from storage.agents.agents import AgentRow
from storage.executing_runs import FencedRun, StaleRun
from storage.kernel.database import Conflict
from storage.runs import run_moves, runs
from storage.runs.calls import CallAnswer, mark_sent, open_calls
from storage.runs.runs import RunReport
from storage.runs.units import (
    AnsweredCalls,
    SettledCalls,
    StillOpen,
    UnitRow,
    fail_unit,
    find_unit,
    first_units,
    ledger_entries,
    postponed_units,
    settle_answers,
    settle_unit,
    skip_units,
    units_of,
)
from storage.schema import run_calls
from tests.storage.rows import (
    AT,
    PROMPT_1,
    answer,
    calls,
    claim,
    known_units,
    make_run,
    plan,
    running,
    settle_call,
    some,
)
from tests.support.presence import BOOT, open_session


def unit_of(c: sa.Connection, held: FencedRun, key: str = "a.txt") -> UnitRow:
    return some(find_unit(c, held.id, key))


def states_of_calls(c: sa.Connection) -> dict[str, CallState]:
    rows = c.execute(sa.select(run_calls.c.call_id, run_calls.c.state).order_by(run_calls.c.call_id))
    return {row.call_id: row.state for row in rows}


def end(c: sa.Connection, held: FencedRun) -> None:
    run_moves.move(c, held, RunEvent.FAILED, at=AT, actor="hub", reason="broken")


def fail(c: sa.Connection, held: FencedRun, key: str = "a.txt") -> None:
    fail_unit(
        c,
        held,
        unit_key=key,
        content_hash="sha-1",
        size_bytes=3,
        error="no converter for .xyz",
        code="not_convertible",
        at=AT,
    )


@pytest.fixture
def planned(c: sa.Connection, held: FencedRun) -> None:
    """A unit of the run with one call."""
    plan(c, held, of=calls("call-1"))


@pytest.fixture
def two_planned(c: sa.Connection, held: FencedRun) -> None:
    """A unit of the run with two calls."""
    plan(c, held, of=calls("call-1", "call-2"))


def test_plan_stores_all_calls_before_any_is_sent(c: sa.Connection, held: FencedRun) -> None:
    written = plan(c, held, of=calls("call-1", "call-2"))
    assert written.open_calls == open_calls(c, held.id)
    assert [(call.call_id, call.state, call.sends) for call in written.open_calls] == [
        ("call-1", CallState.PLANNED, 0),
        ("call-2", CallState.PLANNED, 0),
    ]
    assert written.open_calls[0].payload == {"data": {"title": "call call-1"}}
    unit = unit_of(c, held)
    assert (unit.state, unit.calls_planned, unit.calls_settled) == (UnitState.EXTRACTED, 2, 0)


def test_repeated_plan_writes_no_second_call(c: sa.Connection, held: FencedRun) -> None:
    first = plan(c, held, of=calls("call-1", "call-2"))
    assert (plan(c, held, of=calls("call-1", "call-2")), unit_of(c, held).calls_planned) == (first, 2)


def test_changed_file_with_unsent_calls_gets_only_the_new_plan(
    c: sa.Connection,
    held: FencedRun,
) -> None:
    plan(c, held, of=calls("old-1", "old-2"), digest="sha-old")
    written = plan(c, held, of=calls("new-1"), digest="sha-new")
    assert [call.call_id for call in written.open_calls] == ["new-1"]
    assert (unit_of(c, held).content_hash, unit_of(c, held).calls_planned) == ("sha-new", 1)


def test_calls_sent_before_a_file_changed_remain_in_the_unit(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, of=calls("old-1", "old-2", "old-3"), digest="sha-old")
    answer(c, held, "old-1")
    mark_sent(c, held, [CallId("old-2")], AT)
    written = plan(c, held, of=calls("new-1"), digest="sha-new")
    assert [call.call_id for call in written.open_calls] == ["new-1", "old-2"]
    assert (unit_of(c, held).calls_planned, unit_of(c, held).calls_settled) == (3, 1)


def test_later_run_adopts_calls_and_answers_of_an_ended_run(c: sa.Connection, agent: AgentRow) -> None:
    first = running(c, "run-1", agent=agent)
    plan(c, first, of=calls("call-1", "call-2", "call-3", "call-4", "call-5"))
    answer(c, first, "call-1")
    answer(c, first, "call-2", event=CallEvent.REJECTED)
    answer(c, first, "call-3", event=CallEvent.GIVEN_UP)
    mark_sent(c, first, [CallId("call-4")], AT)
    end(c, first)

    second = running(c, "run-2", agent=agent)
    written = plan(c, second, of=calls("call-1", "call-2", "call-3", "call-4", "call-5", "call-6"))
    assert written.adopted == 5
    assert [(call.call_id, call.state) for call in written.open_calls] == [
        ("call-2", CallState.PLANNED),  # refused then; the device may take it now
        ("call-3", CallState.PLANNED),  # an answer that never came is asked for again
        ("call-4", CallState.SENT),
        ("call-5", CallState.PLANNED),
        ("call-6", CallState.PLANNED),
    ]
    assert (states_of_calls(c)["call-1"], open_calls(c, first.id)) == (CallState.ACKED, [])
    assert runs.get_run(c, second.id).items_created == 0


def test_unit_wholly_delivered_by_an_earlier_run_is_settled_without_a_call(
    c: sa.Connection,
    agent: AgentRow,
) -> None:
    first = running(c, "run-1", agent=agent)
    plan(c, first, of=calls("call-1"))
    answer(c, first, "call-1")
    end(c, first)
    second = running(c, "run-2", agent=agent)
    assert plan(c, second, of=calls("call-1")).open_calls == []
    assert settle_unit(c, second, "a.txt", AT) is UnitState.DONE


def test_calls_of_a_live_run_are_not_adopted_by_another_run(c: sa.Connection, agent: AgentRow) -> None:
    first = running(c, "run-1", agent=agent)
    plan(c, first, of=calls("call-1"))
    run_moves.move(c, first, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    second = running(c, "run-2", agent=agent)
    with pytest.raises(Conflict, match="run-1, which is PAUSED"):
        plan(c, second, of=calls("call-1"))
    assert units_of(c, second.id) == []


@pytest.mark.usefixtures("two_planned")
def test_call_may_be_sent_until_answered(c: sa.Connection, held: FencedRun) -> None:
    both = [CallId("call-1"), CallId("call-2")]
    assert mark_sent(c, held, both, AT) == both
    settle_call(c, both[0], CallEvent.ACKED, None, AT)
    assert mark_sent(c, held, both, AT) == both[1:]
    assert [(call.call_id, call.sends) for call in open_calls(c, held.id)] == [("call-2", 2)]


@pytest.mark.usefixtures("planned")
def test_only_the_first_answer_to_a_call_counts(c: sa.Connection, held: FencedRun) -> None:
    mark_sent(c, held, [CallId("call-1")], AT)
    assert settle_call(c, CallId("call-1"), CallEvent.ACKED, {"result": 1}, AT)
    assert not settle_call(c, CallId("call-1"), CallEvent.ACKED, {"result": 2}, AT)
    assert not settle_call(c, CallId("call-1"), CallEvent.REJECTED, {"result": 3}, AT)
    assert runs.get_run(c, held.id).items_created == 1
    assert c.execute(sa.select(run_calls.c.result)).scalar_one() == {"result": 1}
    assert unit_of(c, held).calls_settled == 1


@pytest.mark.usefixtures("planned")
def test_answer_counts_after_the_run_has_ended(c: sa.Connection, held: FencedRun) -> None:
    mark_sent(c, held, [CallId("call-1")], AT)
    end(c, held)
    assert settle_call(c, CallId("call-1"), CallEvent.ACKED, None, AT)
    row = runs.get_run(c, held.id)
    assert (row.items_created, row.state) == (1, RunState.FAILED)


@pytest.mark.usefixtures("planned")
def test_answer_to_an_unknown_or_unsent_call_settles_nothing(c: sa.Connection) -> None:
    assert not settle_call(c, CallId("call-9"), CallEvent.ACKED, None, AT)
    with pytest.raises(IllegalTransition):
        settle_call(c, CallId("call-1"), CallEvent.ACKED, None, AT)
    with pytest.raises(ValueError, match="does not settle"):
        settle_call(c, CallId("call-1"), CallEvent.SENT, None, AT)


@pytest.mark.usefixtures("two_planned")
def test_unit_with_all_items_delivered_is_done_and_known_to_the_ledger(
    c: sa.Connection, held: FencedRun
) -> None:
    answer(c, held, "call-1", "call-2")
    assert settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    assert settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    row = runs.get_run(c, held.id)
    assert (row.units_done, row.items_created) == (1, 2)
    assert known_units(c, row.agent_id, PROMPT_1) == {"a.txt": "sha-1"}


def test_plan_marks_calls_within_the_limit_as_sent(c: sa.Connection, held: FencedRun) -> None:
    written = plan(c, held, of=calls("call-1", "call-2"), most_sent=2)
    assert written.marked == 2
    assert written.open_calls == open_calls(c, held.id)
    assert [(call.state, call.sends) for call in written.open_calls] == 2 * [(CallState.SENT, 1)]
    partly = plan(c, held, "b.txt", of=calls("call-3", "call-4"), most_sent=1)
    assert (partly.marked, [call.sends for call in partly.open_calls]) == (1, [1, 0])
    assert partly.open_calls == open_calls(c, held.id)[2:]
    assert plan(c, held, "b.txt", of=calls("call-4"), most_sent=1).marked == 0  # planned before
    assert states_of_calls(c)["call-4"] is CallState.PLANNED


def answered(
    c: sa.Connection, held: FencedRun, *ids: str, event: CallEvent = CallEvent.ACKED, whole: str = "a.txt"
) -> set[str]:
    """Answer these calls at once; the keys of the units that this settled."""
    mark_sent(c, held, [CallId(call_id) for call_id in ids], AT)
    answers = [CallAnswer(call_id=CallId(call_id), event=event) for call_id in ids]
    (settled,) = settle_answers(c, [AnsweredCalls(held=held, answers=answers, at=AT, whole={whole})])
    outcomes, done = settled.outcomes, settled.done
    assert outcomes == [True] * len(ids)
    return done


def test_last_answer_settles_a_whole_unit_like_a_separate_settle(
    c: sa.Connection, held: FencedRun, agent: AgentRow
) -> None:
    runs.note_progress(c, held, 4, AT)
    for key in ("a.txt", "b.txt"):
        plan(c, held, key, of=calls(f"{key}-1", f"{key}-2"))
    assert answered(c, held, "a.txt-1", "a.txt-2") == {"a.txt"}
    at_once, first = unit_of(c, held), runs.get_run(c, held.id)
    answer(c, held, "b.txt-1", "b.txt-2")
    settle_unit(c, held, "b.txt", AT)
    assert at_once == msgspec.structs.replace(unit_of(c, held, "b.txt"), unit_key="a.txt")
    assert (first.units_done, first.items_created, first.progress) == (1, 2, 25)
    assert runs.get_run(c, held.id).progress == 50
    assert known_units(c, agent.id, PROMPT_1) == {"a.txt": "sha-1", "b.txt": "sha-1"}
    assert (settle_unit(c, held, "a.txt", AT), runs.get_run(c, held.id).units_done) == (UnitState.DONE, 2)


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("event", [CallEvent.REJECTED, CallEvent.GIVEN_UP])
def test_answers_settle_no_unit_with_a_refused_item(
    c: sa.Connection, held: FencedRun, event: CallEvent
) -> None:
    assert (answered(c, held, "call-1", event=event), unit_of(c, held).state) == (set(), UnitState.EXTRACTED)
    assert settle_unit(c, held, "a.txt", AT) is UnitState.FAILED


@pytest.mark.usefixtures("two_planned")
@pytest.mark.parametrize(
    ("first", "done"),
    [(CallEvent.ACKED, {"a.txt"}), (CallEvent.REJECTED, set[str]()), (CallEvent.GIVEN_UP, set[str]())],
)
def test_last_answers_settle_a_unit_that_took_the_earlier_calls(
    c: sa.Connection, held: FencedRun, agent: AgentRow, first: CallEvent, done: set[str]
) -> None:
    assert answered(c, held, "call-1", event=first) == set()
    assert answered(c, held, "call-2") == done
    assert settle_unit(c, held, "a.txt", AT) is (UnitState.DONE if done else UnitState.FAILED)
    assert known_units(c, agent.id, PROMPT_1).get("a.txt", "") == ("sha-1" if done else "")
    assert runs.get_run(c, held.id).units_done == len(done)


@pytest.mark.usefixtures("two_planned")
def test_answers_settle_no_unit_missing_a_part_or_an_answer(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, "b.txt", of=calls("call-3"))
    assert answered(c, held, "call-1") == set()
    assert answered(c, held, "call-3") == set()  # of another unit than the whole one
    assert {unit.state for unit in units_of(c, held.id)} == {UnitState.EXTRACTED}
    assert runs.get_run(c, held.id).units_done == 0


@pytest.mark.usefixtures("planned")
def test_answers_under_a_stale_fence_count_but_settle_no_unit(
    c: sa.Connection, held: FencedRun, agent: AgentRow
) -> None:
    mark_sent(c, held, [CallId("call-1")], AT)
    run_moves.move(c, held, RunEvent.HUB_LOST, at=AT, actor="hub")
    assert claim(c) is not None
    answers = [CallAnswer(call_id=CallId("call-1"), event=CallEvent.ACKED)]
    batch = AnsweredCalls(held=held, answers=answers, at=AT, whole={"a.txt"})
    assert settle_answers(c, [batch]) == [SettledCalls([True], set(), [])]
    assert (unit_of(c, held).state, unit_of(c, held).calls_settled) == (UnitState.EXTRACTED, 1)
    assert known_units(c, agent.id, PROMPT_1) == {}


def test_plan_of_a_whole_unit_without_open_calls_settles_the_unit(c: sa.Connection, held: FencedRun) -> None:
    assert plan(c, held, "b.txt", of=calls("call-1"), is_whole=True).settled is None
    assert plan(c, held, is_whole=True).settled is UnitState.DONE
    row = runs.get_run(c, held.id)
    assert (row.units_done, known_units(c, row.agent_id, PROMPT_1)) == (1, {"a.txt": "sha-1"})


@pytest.mark.usefixtures("two_planned")
@pytest.mark.parametrize(
    ("event", "code"), [(CallEvent.REJECTED, "device_error"), (CallEvent.GIVEN_UP, "unknown_effect")]
)
def test_unit_with_a_refused_item_fails_and_is_read_again(
    c: sa.Connection, held: FencedRun, event: CallEvent, code: str
) -> None:
    answer(c, held, "call-1")
    answer(c, held, "call-2", event=event)
    assert settle_unit(c, held, "a.txt", AT) is UnitState.FAILED
    assert settle_unit(c, held, "a.txt", AT) is UnitState.FAILED
    row = runs.get_run(c, held.id)
    assert (
        row.units_failed,
        row.units_done,
        row.error_count,
        row.errors[0].unit_key,
        row.errors[0].code,
    ) == (1, 0, 1, "a.txt", code)
    assert known_units(c, row.agent_id, PROMPT_1) == {}


def test_ledger_records_when_a_unit_was_tried_and_retains_settled_content(
    c: sa.Connection,
    agent: AgentRow,
) -> None:
    first = make_run(c, "run-1", agent=agent, state=RunState.RUNNING).held
    plan(c, first)
    settle_unit(c, first, "a.txt", AT)
    wrong = partial(fail_unit, c, content_hash="", size_bytes=None, error="unreadable")
    wrong(held=first, unit_key="b.txt", at=AT + 1)
    skip_units(c, first, [("c.txt", "", None)], AT + 2, reason="no text", is_tried=True)
    skip_units(c, first, [("d.txt", "", None)], AT + 3, reason="hidden")
    asked = (agent.id, PROMPT_1, ["a.txt", "b.txt", "c.txt", "d.txt"])
    entries = ledger_entries(c, *asked)
    assert {key: entry.tried_at for key, entry in entries.items()} == {
        "a.txt": AT,
        "b.txt": AT + 1,
        "c.txt": AT + 2,
    }
    run_moves.move(c, first, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.PARTIAL)

    wrong(held=make_run(c, "run-2", agent=agent, state=RunState.RUNNING).held, unit_key="a.txt", at=AT + 9)

    assert ledger_entries(c, *asked)["a.txt"].tried_at == AT + 9
    assert known_units(c, agent.id, PROMPT_1) == {"a.txt": "sha-1"}


def test_first_units_lists_units_unknown_to_earlier_runs_first(c: sa.Connection, held: FencedRun) -> None:
    skip_units(c, held, [(f"{number}.txt", "sha", 1) for number in range(50)], AT)
    skip_units(c, held, [("x.txt", "", None)], AT, reason="no text")
    plan(c, held)
    assert [unit.unit_key for unit in first_units(c, held.id, 3)] == ["a.txt", "x.txt", "0.txt"]


@pytest.mark.usefixtures("two_planned")
def test_a_unit_is_not_settled_while_a_call_is_open(c: sa.Connection, held: FencedRun) -> None:
    answer(c, held, "call-1")
    with pytest.raises(StillOpen) as refused:
        settle_unit(c, held, "a.txt", AT)
    assert refused.value.calls == 1
    with pytest.raises(IllegalTransition, match="not known"):
        settle_unit(c, held, "b.txt", AT)


def test_ledger_knows_a_unit_only_by_the_newest_content_and_prompt(c: sa.Connection, agent: AgentRow) -> None:
    for n, (digest, fingerprint) in enumerate([("sha-1", PROMPT_1), ("sha-2", PROMPT_1), ("sha-2", "other")]):
        held = make_run(c, f"run-{n}", agent=agent, state=RunState.RUNNING, fingerprint=fingerprint).held
        plan(c, held, digest=digest)
        settle_unit(c, held, "a.txt", AT)
        run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
        assert known_units(c, agent.id, fingerprint) == {"a.txt": digest}
    assert known_units(c, agent.id, PROMPT_1) == {}


def test_planned_call_of_newer_content_unsettles_the_older_content(c: sa.Connection, agent: AgentRow) -> None:
    held = make_run(c, "run-1", agent=agent, state=RunState.RUNNING).held
    plan(c, held, digest="sha-1")
    settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    later = make_run(c, "run-2", agent=agent, state=RunState.RUNNING).held
    plan(c, later, digest="sha-2")
    assert known_units(c, agent.id, PROMPT_1) == {"a.txt": "sha-1"}  # nothing leaves for it
    plan(c, later, of=calls("call-1"), digest="sha-2")
    assert known_units(c, agent.id, PROMPT_1) == {}


def test_thousands_of_known_units_are_skipped_in_a_single_write(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, "7.txt")
    units = [(f"{n}.txt", f"sha-{n}", n) for n in range(2_000)]
    assert (skip_units(c, held, units, AT), skip_units(c, held, units, AT)) == (1_999, 0)
    assert runs.get_run(c, held.id).units_skipped == 1_999
    states = [unit.state for unit in first_units(c, held.id, 3_000)]
    assert Counter(states) == {UnitState.SKIPPED: 1_999, UnitState.EXTRACTED: 1}
    assert unit_of(c, held, "7.txt").state is UnitState.EXTRACTED


WAITS = "its prose waits"


@pytest.mark.usefixtures("planned")
def test_unit_waiting_for_the_model_is_read_again_before_the_run_ends(
    c: sa.Connection, held: FencedRun
) -> None:
    with pytest.raises(StillOpen):
        settle_unit(c, held, "a.txt", AT, waits_for=WAITS)
    answer(c, held, "call-1")
    assert settle_unit(c, held, "a.txt", AT, waits_for=WAITS) is UnitState.PENDING
    (waiting,) = postponed_units(c, held.id)
    assert (waiting.unit_key, waiting.error) == ("a.txt", WAITS)
    assert known_units(c, runs.get_run(c, held.id).agent_id, PROMPT_1) == {}
    with pytest.raises(IllegalTransition):
        run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)

    plan(c, held, of=calls("call-1", "call-2"))
    answer(c, held, "call-2")
    assert settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    assert (runs.get_run(c, held.id).units_done, postponed_units(c, held.id)) == (1, [])


def test_unit_waiting_for_the_model_is_skipped_when_no_longer_listed(
    c: sa.Connection, held: FencedRun
) -> None:
    plan(c, held)
    settle_unit(c, held, "a.txt", AT, waits_for=WAITS)
    skip_units(c, held, [("a.txt", "sha-1", 1)], AT, reason="gone")
    unit = unit_of(c, held, "a.txt")
    assert (unit.state, unit.error, runs.get_run(c, held.id).units_skipped) == (UnitState.SKIPPED, "gone", 1)


def test_unreadable_unit_fails_with_a_reason(c: sa.Connection, held: FencedRun) -> None:
    fail(c, held)
    fail(c, held)
    row = runs.get_run(c, held.id)
    assert (row.units_failed, row.error_count, row.errors[0].code) == (1, 1, "not_convertible")
    assert unit_of(c, held).error == "no converter for .xyz"


def test_failed_unit_may_be_retried_in_the_same_run(c: sa.Connection, held: FencedRun) -> None:
    fail(c, held)
    plan(c, held, of=calls("call-1"))
    answer(c, held, "call-1")
    assert settle_unit(c, held, "a.txt", AT) is UnitState.DONE
    row = runs.get_run(c, held.id)
    assert (row.units_failed, row.units_done) == (0, 1)


@pytest.mark.usefixtures("two_planned")
def test_failed_unit_drops_the_unsent_calls(c: sa.Connection, held: FencedRun) -> None:
    mark_sent(c, held, [CallId("call-1")], AT)
    with pytest.raises(StillOpen):
        fail(c, held)
    settle_call(c, CallId("call-1"), CallEvent.ACKED, None, AT)
    fail(c, held)
    assert states_of_calls(c) == {"call-1": CallState.ACKED}
    assert (unit_of(c, held).calls_planned, unit_of(c, held).calls_settled) == (1, 1)


@pytest.mark.parametrize("again", [plan, fail])
def test_settled_unit_cannot_be_planned_or_failed_again(
    c: sa.Connection, held: FencedRun, again: Callable[..., object]
) -> None:
    plan(c, held)
    settle_unit(c, held, "a.txt", AT)
    skip_units(c, held, [("b.txt", "sha", 1)], AT)
    for key in ("a.txt", "b.txt"):
        with pytest.raises(IllegalTransition):
            again(c, held, key)


STALE: list[Callable[[sa.Connection, FencedRun], object]] = [
    lambda c, held: plan(c, held, "b.txt", of=calls("call-2")),
    lambda c, held: skip_units(c, held, [("b.txt", "sha", 1)], AT),
    lambda c, held: mark_sent(c, held, [CallId("call-1")], AT),
    lambda c, held: settle_unit(c, held, "a.txt", AT),
    lambda c, held: fail(c, held, "b.txt"),
    lambda c, held: runs.report(c, held, RunReport(message="still here"), at=AT, context_bytes=99),
    lambda c, held: runs.record_held_error(c, held, None, "late", "too late", AT),
]


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("write", STALE)
@pytest.mark.parametrize("event", [RunEvent.CANCELLED, RunEvent.HUB_LOST])
def test_write_of_a_former_holder_of_a_run_is_refused(
    c: sa.Connection,
    held: FencedRun,
    event: RunEvent,
    write: Callable[[sa.Connection, FencedRun], object],
) -> None:
    run_moves.move(c, held, event, at=AT, actor="hub")
    if event is RunEvent.HUB_LOST:
        assert claim(c) is not None
    units, opened = units_of(c, held.id), open_calls(c, held.id)
    with pytest.raises(StaleRun):
        write(c, held)
    assert (units_of(c, held.id), open_calls(c, held.id)) == (units, opened)


@pytest.mark.usefixtures("planned")
def test_call_answer_over_an_older_connection_is_refused(c: sa.Connection, held: FencedRun) -> None:
    mark_sent(c, held, [CallId("call-1")], AT)
    device_id = some(runs.get_run(c, held.id).device_id)
    older, newer = (open_session(c, device_id, boot_id=BOOT, platform=None, at=AT) for _ in range(2))
    with pytest.raises(LinkLost, match="has connected again"):
        settle_call(c, CallId("call-1"), CallEvent.ACKED, {}, AT, epoch=older)
    assert states_of_calls(c) == {"call-1": CallState.SENT}
    assert settle_call(c, CallId("call-1"), CallEvent.ACKED, {}, AT, epoch=newer)
