"""Agents that have time: their questions are handed in together, and nothing is handed in twice."""

from collections.abc import Mapping, Sequence

import anyio
import anyio.lowlevel
import pytest

from hub.base.toml.limits import BudgetSettings
from hub.extraction.model import (
    BatchResult,
    Finish,
    ModelAnswer,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    Price,
)
from hub.runs.batches import MAX_WAIT_S, MIN_WAIT_S
from hub.runs.budget import BudgetAccount
from protocol.lifecycles import RunOutcome, RunState
from protocol.work import Usage
from storage.agents.agents import AgentRow
from storage.agents.configs import ModelUse
from storage.kernel.database import DatabaseUnavailable
from storage.runs import model_batches
from storage.runs.budget_holds import Drawn
from storage.runs.model_batches import BatchState
from storage.runs.model_calls import Spent
from storage.runs.runs import RunRow
from storage.store import Store
from tests.support.runs import Bench, declare_agent, folder

FILES = {"a": "Prose that a model has to read.", "b": "More prose.", "c": "- [ ] by a rule"}
READ = Usage(1, 100, 10, 50)


class Desk:
    """``Batches`` that are answered when the test says so."""

    def __init__(self) -> None:
        self.batches: dict[str, tuple[str, Mapping[str, ModelRequest]]] = {}  # by our own key
        self.discarded: list[str] = []
        self.is_done = False
        self.expired = 0  # so many questions of each are not answered
        self.error: Exception | None = None
        self.strays: tuple[str, ...] = ()  # keys of answers that nobody asked for
        self.loses_answers = False  # it takes a batch, and its answer is lost

    async def submit(self, requests: Mapping[str, ModelRequest], *, key: str) -> str:
        if self.error is not None:
            raise self.error
        name = f"batch-{len(self.batches)}"
        self.batches[key] = name, requests
        if self.loses_answers:
            raise ModelUnavailable("the connection was lost")
        return name

    async def find(self, key: str) -> str | None:
        return self.batches[key][0] if key in self.batches else None

    async def discard(self, batch_id: str) -> None:
        self.discarded.append(batch_id)

    async def check(self, batch_id: str) -> BatchResult:
        if not self.is_done:
            return BatchResult(is_done=False)
        (requests,) = (requests for name, requests in self.batches.values() if name == batch_id)
        answer = ModelAnswer(text='{"items": []}', finish=Finish.WHOLE, usage=READ, model="large")
        return BatchResult(
            is_done=True, answers=dict.fromkeys([*list(requests)[self.expired :], *self.strays], answer)
        )


@pytest.fixture
async def bench(store: Store, agent: AgentRow) -> Bench:
    """The bench of an agent that has time."""
    patient = await declare_agent(store, at=2, fresh_ids="efgh", model_use=ModelUse(batch=True))
    return Bench(store, patient, batches=Desk())


def desk_of(bench: Bench) -> Desk:
    assert isinstance(bench.batches, Desk)
    return bench.batches


async def go(bench: Bench, *, after_s: float = 0.0) -> RunRow:
    """The run goes on with a device that has the same files."""
    bench.clock.advance(after_s)
    bench.connect(runs=folder(**FILES))
    return await bench.run()


async def states(bench: Bench, run: RunRow) -> list[BatchState]:
    return [row.state for row in await bench.store.read(model_batches.batches_of, run.id)]


async def test_questions_are_submitted_as_a_single_batch_and_complete_the_run(bench: Bench) -> None:
    waiting = await go(bench)
    assert (waiting.state, waiting.attempt, waiting.items_created) == (RunState.QUEUED, 1, 1)
    assert waiting.reason is not None and "batch" in waiting.reason
    ((_, requests),) = desk_of(bench).batches.values()
    assert (len(requests), bench.model.asked) == (2, 0), "the rules have read the rest"

    desk_of(bench).is_done = True
    run = await go(bench, after_s=MIN_WAIT_S)

    assert (run.state, run.outcome, run.units_done) == (RunState.COMPLETED, RunOutcome.SUCCESS, 3)
    assert (bench.model.asked, run.usage.requests, run.usage.cost_nanos) == (0, 2, 100)
    assert await states(bench, run) == ["done"]
    assert desk_of(bench).discarded == ["batch-0"]  # people's documents do not stay there


async def test_waits_between_polls_of_a_batch_grow_up_to_the_maximum(bench: Bench) -> None:
    waits = []
    for after_s in (0.0, MIN_WAIT_S, 3_600.0, 36_000.0):
        run = await go(bench, after_s=after_s)
        waits.append(round((run.eligible_at - bench.now_ms) / 1_000))
    assert (waits, run.attempt) == ([MIN_WAIT_S, MIN_WAIT_S, 908, MAX_WAIT_S], 1)
    assert len(desk_of(bench).batches) == 1


DONE: dict[str, object] = {"is_done": True}


@pytest.mark.parametrize(
    ("before", "after", "states_before", "asked", "of_batch"),
    [
        ({}, DONE | {"expired": 1}, ["submitted"], 1, 1),
        ({}, DONE | {"strays": ("stray",)}, ["submitted"], 0, 2),
        ({"loses_answers": True}, DONE, ["made"], 0, 2),
        ({"error": ModelRefused("it has no batches")}, {}, ["failed"], 2, 0),
    ],
    ids=["not all are answered", "more is answered than was asked", "the hand-in was cut off", "no batches"],
)
async def test_run_succeeds_after_any_batch_fate_and_submits_each_question_once(
    bench: Bench,
    before: dict[str, object],
    after: dict[str, object],
    states_before: list[BatchState],
    asked: int,
    of_batch: int,
) -> None:
    vars(desk_of(bench)).update(before)
    assert await states(bench, await go(bench)) == states_before
    vars(desk_of(bench)).update(after)
    run = await go(bench, after_s=3_600)
    assert (run.outcome, bench.model.asked) == (RunOutcome.SUCCESS, asked)
    assert (len(desk_of(bench).batches), run.usage.prompt_tokens // READ.prompt_tokens) == (
        of_batch > 0,
        of_batch,
    )


async def test_batch_after_a_failed_submission_is_submitted_again(bench: Bench) -> None:
    desk_of(bench).error = ModelUnavailable("not reached")
    await go(bench)
    desk_of(bench).error = None

    waiting = await go(bench, after_s=3_600)

    assert waiting.state is RunState.QUEUED
    assert await states(bench, waiting) == ["submitted"]


async def test_batch_of_a_cancelled_run_is_reused_by_the_next_run(bench: Bench) -> None:
    first = await go(bench)
    await bench.control.cancel(first.id, actor="test", reason="not now")

    waiting = await go(bench, after_s=MIN_WAIT_S)

    assert waiting.id != first.id
    assert (waiting.state, len(desk_of(bench).batches)) == (RunState.QUEUED, 1)
    assert await states(bench, waiting) == []

    desk_of(bench).is_done = True
    done = await go(bench, after_s=3_600)

    assert (done.id, done.outcome, done.units_done) == (waiting.id, RunOutcome.SUCCESS, 2)
    assert (bench.model.asked, len(desk_of(bench).batches)) == (0, 1)
    assert (await bench.row(first.id)).usage.cost_nanos == 100
    assert await states(bench, first) == ["done"]


async def test_batch_questions_within_the_day_budget_are_submitted_before_the_run_pauses(
    bench: Bench,
) -> None:
    # Room for one of the two questions; were it let go, the next day would come no further.
    bench.budgets.limits = BudgetSettings(run_usd=0.0, day_tokens=2_000)

    paused = await go(bench)

    assert paused.state is RunState.PAUSED
    ((_, requests),) = desk_of(bench).batches.values()
    assert (len(requests), await states(bench, paused)) == (1, ["submitted"])


async def test_finished_batch_replaces_the_promised_tokens_of_the_day_by_spent_tokens(
    bench: Bench,
) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=0.0, day_tokens=100_000)
    await go(bench)
    day = await bench.budgets.day_of_hub()
    assert (day.spent.tokens, day.promised.tokens > 200) == (0, True)

    desk_of(bench).is_done = True
    assert (await go(bench, after_s=MIN_WAIT_S)).outcome is RunOutcome.SUCCESS

    day = await bench.budgets.day_of_hub()
    assert (day.spent.tokens, day.promised.tokens, day.reserved.tokens) == (2 * 110, 0, 0)


async def test_batch_question_is_promised_at_half_the_price(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=0.0, day_usd=1_000.0, day_tokens=10**9)
    bench.model.price = Price(1_000, 1_000)
    await go(bench)
    day = await bench.budgets.day_of_hub()
    assert day.promised.cost_nanos == day.promised.tokens * 500 > 0


async def test_budget_promised_for_a_batch_not_submitted_is_released(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=0.0, day_tokens=100_000)
    lost = bench.connect(runs=[folder(**FILES)[0][:2]])
    day = await bench.budgets.day_of_hub()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        with anyio.fail_after(10):
            while day.promised.tokens == 0:
                await anyio.lowlevel.checkpoint()
        lost.cut()
    assert (desk_of(bench).batches, day.promised.tokens) == ({}, 0)


async def test_database_failure_as_a_question_is_promised_leaves_no_budget_promised_and_no_model_in_use(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = [True, False, False]  # for the reservation, for the promise, and for its release

    async def hold(accounts: Sequence[BudgetAccount]) -> list[tuple[BudgetAccount, Drawn]]:
        if not holds.pop(0):
            raise DatabaseUnavailable("the database cannot be reached")
        return []

    bench.budgets.limits = BudgetSettings(day_usd=1.0)
    monkeypatch.setattr(bench.budgets, "hold", hold)
    bench.connect()
    await bench.control.submit(bench.agent)
    asking = await bench.asking.open(await bench.claim())
    assert asking.collection is not None
    request = ModelRequest(messages=(), schema={}, max_tokens=100)
    with pytest.raises(DatabaseUnavailable):
        async with asking.opened():
            await asking.collection.note("large", Price(1, 1), "a.md", "question", request)
    day = await bench.budgets.day_of_hub()
    assert (day.reserved, day.promised, holds) == (Spent(), Spent(), [])
    assert not bench.asking.in_use
