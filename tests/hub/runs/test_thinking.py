"""Models that think before they answer: room for thoughts is learnt, bounded, and paid for by budgets."""

from contextlib import aclosing
from typing import Final, NamedTuple

import anyio
import pytest

from hub.extraction.endpoint import Chain
from hub.extraction.model import MAX_THINKING_TOKENS
from hub.runs.failures import explain
from protocol.lifecycles import RunOutcome
from storage.store import open_store
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.oracle import Oracle, plant
from tests.support.runs import Bench, declare_agent, folder, titles

WORK: Final = ("send the quote", "mend the gate", "water the roses")
ENDLESS: Final = 10**9


class Cost(NamedTuple):
    """Questions and their limits about one text."""

    requests: int
    most_limit: int


async def read_one_after_another(oracle: Oracle) -> tuple[list[Cost], list[str], list[str]]:
    """Read a note of two sentences in a run for each of WORK; return costs, titles and errors."""
    costs, found, said = list[Cost](), list[str](), list[str]()
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0))
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            for number, work in enumerate(WORK):
                text = f"The day was long. {plant('Anna', work, '2026-12-01', 'K-0001')}"
                link = bench.connect(runs=folder(**{"abc"[number]: text}))
                before = len(oracle.requests)
                run = await bench.run()
                limits = [request["max_tokens"] for request in oracle.requests[before:]]
                costs.append(Cost(len(limits), max(limits)))
                found += map(str, titles(link))
                said += [explain(error, run, "desk").sentence for error in run.lasting_errors]
        tasks.cancel_scope.cancel()
    return costs, found, said


@pytest.mark.parametrize("thinks_in", ["details", "reasoning_content", "content", "hidden"])
@pytest.mark.parametrize(("thinks", "first", "later"), [(0, 1, 1), (300, 1, 1), (1_500, 2, 1), (4_000, 2, 1)])
async def test_note_is_read_by_a_thinking_model_and_the_room_for_thoughts_is_learnt(
    thinks_in: str, thinks: int, first: int, later: int
) -> None:
    costs, found, said = await read_one_after_another(Oracle(thinks_tokens=thinks, thinks_in=thinks_in))
    assert (tuple(found), said) == (WORK, [])
    assert [cost.requests for cost in costs] == [first, later, later]
    assert costs[-1].most_limit <= 500 + min(2.2 * thinks, MAX_THINKING_TOKENS)


async def test_model_with_endless_thoughts_is_asked_twice_and_named_as_the_cause() -> None:
    costs, found, said = await read_one_after_another(Oracle(thinks_tokens=ENDLESS))
    assert (found, [cost.requests for cost in costs]) == ([], [2, 2, 2])
    assert all(cost.most_limit < 500 + MAX_THINKING_TOKENS for cost in costs)
    assert "tokens about 70 characters of text, and gave no answer: switch thinking off" in said[0]


async def test_question_with_more_room_is_left_out_beyond_a_budget() -> None:
    oracle = Oracle(thinks_tokens=1_500)
    text = f"The day was long. {plant('Anna', WORK[0], '2026-12-01', 'K-0001')}"
    async with anyio.create_task_group() as tasks:
        await tasks.start(oracle.serve)
        endpoint = model_at(oracle.base_url, clock=HastyClock(0.0))
        async with open_store("sqlite://") as store, aclosing(endpoint):
            bench = Bench(store, await declare_agent(store), model=Chain([endpoint]))  # type: ignore[arg-type]
            bench.budgets.limits = bench.budgets.limits.model_copy(update={"run_tokens": 5_000})
            bench.connect(runs=folder(a=text))
            run = await bench.run()
        tasks.cancel_scope.cancel()
    assert ([error.code for error in run.errors], len(oracle.requests)) == (["budget_reached"], 1)
    assert run.outcome is RunOutcome.ERROR


async def test_small_context_leaves_less_room_for_thoughts() -> None:
    oracle = SmallContext(thinks_tokens=1_500)
    costs, found, said = await read_one_after_another(oracle)
    assert (tuple(found), said) == (WORK, [])
    assert costs[0].requests <= 4


class SmallContext(Oracle):
    """Oracle that counts the limit of an answer as a part of a context of 4,096 tokens."""

    def _refused(self, request, tokens, asked, now):  # type: ignore[no-untyped-def]
        self.context_tokens = 4_096 - request["max_tokens"]
        return super()._refused(request, tokens, asked, now)
