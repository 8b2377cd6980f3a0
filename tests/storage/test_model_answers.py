"""The journal of answers, and what each call cost."""

from typing import get_args

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from protocol.work import Usage
from storage.agents import exhaustion
from storage.effects import retention
from storage.executing_runs import FencedRun
from storage.runs import model_answers, model_batches, model_calls, run_moves, runs, units
from storage.runs.model_answers import JournaledAnswer
from storage.runs.model_calls import CostsBy, ModelCall, RecentCosts, Spent, SpentByFire
from storage.schema import ANSWERED
from storage.schema import model_answers as answers_table
from storage.schema import model_calls as calls_table
from storage.schema import runs as run_table
from tests.storage.rows import AT, ME, make_agent, make_run, plan, running, some

DAY = 86_400_000
SAID = JournaledAnswer(model="large", finish="whole", text='{"items": []}')
USAGE = Usage(requests=2, prompt_tokens=100, completion_tokens=7, cost_nanos=1_500)


def call(
    agent: str = "agent-inbox", *, id: str = "c-1", at: int = AT, question: str = "q", outcome: str = ANSWERED
) -> ModelCall:
    return ModelCall(
        id=id,
        at=at,
        agent_id=AgentId(agent),
        user_id=ME,
        run_id=RunId("run-1"),
        unit_key="a.txt",
        question=question,
        model="large",
        outcome=outcome,
        usage=USAGE,
        took_ms=900,
    )


def find(c: sa.Connection, question: str = "q", *, agent: str = "agent-inbox", at: int = AT) -> str | None:
    found = model_answers.find_answer(c, AgentId(agent), question, at)
    return None if found is None else found[0].text


@pytest.mark.usefixtures("held")
def test_model_answer_is_found_only_by_the_agent_and_question(c: sa.Connection) -> None:
    make_agent(c, "other")
    model_answers.record_answer(c, call(), SAID)
    assert (find(c), find(c, "another"), find(c, agent="agent-other")) == (SAID.text, None, None)


@pytest.mark.usefixtures("held")
def test_first_model_answer_to_a_question_is_not_replaced(c: sa.Connection) -> None:
    model_answers.record_answer(c, call(), SAID)
    model_answers.record_answer(c, call(id="c-2"), msgspec.structs.replace(SAID, text="later"))
    assert find(c) == SAID.text


def test_cost_of_a_call_is_added_to_the_run_under_any_holder(c: sa.Connection, held: FencedRun) -> None:
    model_answers.record_answer(c, call(), SAID)
    run_moves.take_back(c, runs.get_run(c, held.id).lease_boot_id, {held.id}, AT)  # type: ignore[arg-type]
    model_calls.record_call(c, call(id="c-2", outcome="model_unavailable"))
    assert runs.get_run(c, held.id).usage == Usage(
        requests=4, prompt_tokens=200, completion_tokens=14, cost_nanos=3_000
    )
    assert model_calls.spent_by_run(c, held.id) == SpentByFire(tokens=214, cost_nanos=3_000, runs=1)


def test_runs_of_a_fire_share_the_budget_of_a_run(c: sa.Connection, held: FencedRun) -> None:
    model_answers.record_answer(c, call(), SAID)
    c.execute(sa.update(run_table).values(units_done=1))
    follow_up, ended = run_moves.FollowUp(RunId("run-2"), "f", {}), RunOutcome.SUCCESS
    run_moves.move(c, held, RunEvent.FINISHED, at=AT + 5, actor="hub", outcome=ended, follow_up=follow_up)
    make_run(c, "run-3", agent=make_agent(c), at=AT + 9)
    spent = [model_calls.spent_by_run(c, RunId(id)).tokens for id in (held.id, "run-2", "run-3")]
    assert spent == [107, 107, 0]


@pytest.mark.usefixtures("held")
def test_the_costs_of_a_day_are_reported_by_agent_and_in_all(c: sa.Connection) -> None:
    make_agent(c, "other")
    for number, (agent, at) in enumerate([("inbox", AT - DAY), ("inbox", AT), ("other", AT + 5)]):
        model_calls.record_call(c, call(f"agent-{agent}", id=f"c-{number}", at=at))
    assert model_calls.spent_since(c, AT) == Spent(tokens=214, cost_nanos=3_000)
    assert model_calls.spent_since(c, AT, agent_id=AgentId("agent-inbox")) == Spent(
        tokens=107, cost_nanos=1_500
    )
    assert model_calls.spent_by_run(c, RunId("no-such-run")) == SpentByFire(runs=0)


def test_model_answer_resets_the_exhaustion_count_of_the_agent(c: sa.Connection) -> None:
    agent = make_run(c, state=RunState.RUNNING).agent_id
    waits = []
    for number in range(3):
        if number == 2:
            model_answers.record_answer(c, call(), SAID)
        back = exhaustion.exhaust(c, agent, cause="rate_limit", retry_after_ms=None, at=AT, actor="hub")
        waits.append(back - AT)
        exhaustion.recover_agent(c, agent, at=AT, actor="test")
    assert waits == [60_000, 120_000, 60_000]


@pytest.mark.usefixtures("held")
def test_forget_answers_removes_the_given_questions_only(c: sa.Connection) -> None:
    for number in range(3):
        model_answers.record_answer(c, call(id=f"c-{number}", question=f"q-{number}"), SAID)
    agent = AgentId("agent-inbox")
    assert model_answers.forget_answers(c, agent, {"q-0", "q-2", "never asked"}) == 2
    assert model_answers.answered(c, agent, {"q-0", "q-1", "q-2"}) == {"q-1"}


@pytest.mark.usefixtures("held")
def test_used_model_answer_is_not_pruned(c: sa.Connection) -> None:
    agent = AgentId("agent-inbox")
    for question in ("used", "unused"):
        model_answers.record_answer(c, call(id=question, question=question), SAID)
    assert some(model_answers.find_answer(c, agent, "used", AT + DAY))[1]
    model_answers.touch_answer(c, agent, "used", AT + DAY)
    assert not some(model_answers.find_answer(c, agent, "used", AT + DAY + 1))[1]  # not again before tomorrow

    assert retention.prune_answers(c, before=AT + DAY) == 1
    assert model_answers.answered(c, agent, {"used", "unused"}) == {"used"}


@pytest.mark.usefixtures("held")
def test_model_answers_beyond_the_limit_are_pruned_least_recently_used_first(c: sa.Connection) -> None:
    for number in range(6):
        model_answers.record_answer(c, call(id=f"c-{number}", at=AT + number, question=f"q-{number}"), SAID)
    places, before = [retention.ANSWERS_FROM], None
    while before is None:
        before, place = retention.count_answers(c, places[-1], retained=2, rows=2)
        places.append(place)
    assert places == [retention.ANSWERS_FROM, (AT + 4, 2), retention.ANSWERS_FROM], "two are counted at once"
    assert retention.prune_answers(c, before=before) == 3
    assert set(c.execute(sa.select(answers_table.c.question)).scalars()) == {"q-3", "q-4", "q-5"}
    start = retention.ANSWERS_FROM
    assert retention.count_answers(c, start, retained=3, rows=9) == (None, start), "no more than that"


@pytest.mark.usefixtures("held")
def test_old_model_answers_are_pruned_oldest_first(c: sa.Connection) -> None:
    for number in range(3):
        model_answers.record_answer(c, call(id=f"c-{number}", at=AT + number, question=f"q-{number}"), SAID)
    assert retention.prune_answers(c, before=AT + 9, rows=1) == 1
    assert set(c.execute(sa.select(answers_table.c.question)).scalars()) == {"q-1", "q-2"}


def test_submitted_model_batch_is_not_dropped(c: sa.Connection, held: FencedRun) -> None:
    for name in ("here", "there"):
        model_batches.make_batch(
            c,
            id=name,
            agent_id=AgentId("agent-inbox"),
            run_id=held.id,
            model="large",
            questions={"q": "a.txt"},
            at=AT,
        )
    model_batches.move_batch(c, "there", "submitted", AT, remote_id="batch-1")
    for name in ("here", "there"):
        model_batches.drop_batch(c, name)
    assert [row.id for row in model_batches.batches_of(c, held.id)] == ["there"]


@pytest.mark.usefixtures("held")
def test_old_model_calls_are_pruned_in_steps(c: sa.Connection) -> None:
    for number in range(5):
        model_calls.record_call(c, call(id=f"c-{number}", at=AT + number))
    assert [retention.prune_calls(c, before=AT + 4, rows=3) for _ in range(3)] == [3, 1, 0]
    assert c.execute(sa.select(calls_table.c.id)).scalars().all() == ["c-4"]


def test_model_batch_is_pruned_only_after_the_run(c: sa.Connection, held: FencedRun) -> None:
    agent = AgentId("agent-inbox")
    for id, run_id in (("waiting", held.id), ("over", RunId("pruned by now"))):
        model_batches.make_batch(
            c, id=id, agent_id=agent, run_id=run_id, model="large", questions={"q": "a.txt"}, at=AT
        )
    assert retention.prune_batches(c, before=AT + 90 * DAY) == 1
    assert [row.id for row in model_batches.batches_of(c, held.id)] == ["waiting"]


def test_notes_of_a_plan_are_stored_with_the_unit(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, notes={"halved": 2})
    assert some(units.find_unit(c, held.id, "a.txt")).notes == {"halved": 2}


# --- costs ---


DAY_OF_COSTS = model_calls.DAY_MS


@pytest.fixture
def spent(c: sa.Connection) -> sa.Connection:
    """Four calls: two of one file and one of another by the agent inbox, and one by the agent other."""
    running(c)
    make_agent(c, "other")
    first = call(id="c-1")
    for made in (
        first,
        msgspec.structs.replace(first, id="c-2", outcome="model_unavailable"),
        msgspec.structs.replace(first, id="c-3", unit_key="b.txt", at=AT + DAY_OF_COSTS, model="small"),
        msgspec.structs.replace(first, id="c-4", agent_id=AgentId("agent-other"), run_id=None),
    ):
        model_calls.record_call(c, made)
    return c


def rows(c: sa.Connection, by: CostsBy, **about: int) -> dict[str, tuple[str | None, int, int]]:
    found = model_calls.costs(
        c, by, since=about.get("since", 0), until=about.get("until", AT + 10 * DAY_OF_COSTS)
    )
    return {row.key: (row.agent, row.calls, row.usage.cost_nanos) for row in found}


def test_costs_are_grouped_by_each_supported_key(spent: sa.Connection) -> None:
    assert rows(spent, "agent") == {"inbox": ("inbox", 3, 4_500), "other": ("other", 1, 1_500)}
    assert rows(spent, "user") == {"me": (None, 4, 6_000)}
    assert rows(spent, "model") == {"large": (None, 3, 4_500), "small": (None, 1, 1_500)}
    assert rows(spent, "run") == {"run-1": ("inbox", 3, 4_500)}
    assert rows(spent, "day") == {
        str(AT - AT % DAY_OF_COSTS): (None, 3, 4_500),
        str(DAY_OF_COSTS): (None, 1, 1_500),
    }
    assert len(rows(spent, "call")) == 4


def test_model_costs_by_file_are_separate_for_each_agent(spent: sa.Connection) -> None:
    found = model_calls.costs(spent, "file", since=0, until=AT + 10 * DAY_OF_COSTS)
    assert [(row.key, row.agent, row.calls, row.failed) for row in found] == [
        ("a.txt", "inbox", 2, 1),
        ("a.txt", "other", 1, 0),
        ("b.txt", "inbox", 1, 0),
    ]


def test_only_costs_within_the_period_are_reported_and_the_total_is_of_all_rows(spent: sa.Connection) -> None:
    assert rows(spent, "agent", since=AT + 1) == {"inbox": ("inbox", 1, 1_500)}
    assert rows(spent, "agent", until=AT) == {}
    total = model_calls.total(spent, since=0, until=AT + 10 * DAY_OF_COSTS)
    assert (total.calls, total.failed, total.usage) == (
        4,
        1,
        Usage(requests=8, prompt_tokens=400, completion_tokens=28, cost_nanos=6_000),
    )
    assert model_calls.total(spent, since=0, until=1).usage == Usage()


@pytest.mark.parametrize("by", get_args(CostsBy))
def test_model_costs_are_filtered_by_user(spent: sa.Connection, by: CostsBy) -> None:
    until = AT + 10 * DAY_OF_COSTS
    assert model_calls.costs(spent, by, since=0, until=until, user_id=ME)
    assert model_calls.costs(spent, by, since=0, until=until, user_id=UserId("somebody")) == []


def test_the_recent_cost_of_files_is_reported_with_their_size(c: sa.Connection) -> None:
    plan(c, running(c), "a.txt")
    agent = AgentId("agent-inbox")
    for made in (call(id="c-1"), call(id="c-2"), call(id="c-3", at=AT - 5)):
        model_calls.record_call(c, made)
    unread = msgspec.structs.replace(call(id="c-4"), unit_key="never planned", run_id=RunId("run-1"))
    model_calls.record_call(c, unread)

    found = model_calls.lately(c, agent, since=AT)

    twice = Usage(requests=4, prompt_tokens=200, completion_tokens=14, cost_nanos=2 * USAGE.cost_nanos)
    assert found == RecentCosts(files=1, size=10, usage=twice)
