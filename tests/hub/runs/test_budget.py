"""Budgets: they are reached before they are passed, and whoever reaches one learns which."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio
import pytest

from hub.base.toml.limits import NANOS, BudgetSettings
from hub.extraction.model import Finish, ModelAnswer, ModelRequest, Price, PromptMessage
from hub.runs.asking import UnitAsking
from hub.runs.budget import BudgetAccount, BudgetReached, Budgets, DayBudgetReached, RunBudget, day_around
from protocol.ids import BootId, NodeId
from protocol.lifecycles import PauseReason, RunOutcome, RunState
from protocol.work import Usage
from storage import leases
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.agents.configs import ModelUse
from storage.devices import nodes
from storage.runs.budget_holds import Drawn
from storage.runs.model_calls import Spent
from storage.store import Store, open_store
from tests.support.clock import START
from tests.support.families import each
from tests.support.postgres import Postgres
from tests.support.runs import BOOT, Bench, declare_agent, folder

PRICE = Price(prompt_nanos=1_000_000, completion_nanos=10_000_000)  # dear: 1,000 USD a million tokens


class Spender:
    """A ``LanguageModel`` that spends *share* of what it may."""

    name, chunk_tokens, in_flight, is_literal, price = "spender", 1_500, 4, False, PRICE

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.prompt_tokens = 5
        self.asked = 0
        self.may_answer = anyio.Event()
        self.may_answer.set()

    async def reach(self) -> str | None:
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        self.asked += 1
        await self.may_answer.wait()
        told = round(request.max_tokens * self.share)
        usage = Usage(1, self.prompt_tokens, told, PRICE.of(5, told))
        return ModelAnswer(text="{}", finish=Finish.WHOLE, usage=usage)


NODE, OTHER_BOOT = NodeId("node-1"), BootId("boot-2")


def question(number: int, max_tokens: int = 10) -> ModelRequest:
    return ModelRequest(
        messages=(PromptMessage("user", f"question {number}"),), schema={}, max_tokens=max_tokens
    )


DEAR = question(1, max_tokens=120)  # more than half of two dollars


async def opened(bench: Bench) -> UnitAsking:
    bench.connect()
    await bench.control.submit(bench.agent)
    return (await bench.asking.open(await bench.claim())).about("a.md")


async def declare(store: Store, *, budget_nanos: int, timezone: str = "UTC") -> AgentRow:
    """The agent of the bench, with a budget a day."""
    use = ModelUse(budget_nanos=budget_nanos)
    return await declare_agent(store, at=2, fresh_ids="efgh", timezone=timezone, model_use=use)


async def ask_until_refused(unit: UnitAsking, spender: Spender) -> int:
    """How many questions were answered before a budget was reached."""
    model = unit.through(spender)
    for number in range(1_000):
        try:
            await model.answer(question(number))
        except BudgetReached:
            return number
    raise AssertionError("no budget was reached")


async def test_run_stops_before_exceeding_the_cost_budget(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=1.0)
    unit = await opened(bench)

    answered = await ask_until_refused(unit, Spender())

    spent = (await bench.row(unit.run.order.run_id)).usage.cost_nanos
    assert spent <= NANOS < spent + spent // answered * 2
    assert bench.metrics.reached() == {"budget_run_usd": 1}


async def test_token_budget_of_a_run_applies_to_a_model_without_a_price(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=1 / NANOS, run_tokens=200)
    unit = await opened(bench)
    free = Spender()
    free.price = Price()

    await ask_until_refused(unit, free)

    usage = (await bench.row(unit.run.order.run_id)).usage
    assert 100 < usage.prompt_tokens + usage.completion_tokens <= 200


async def test_parallel_questions_do_not_exceed_the_run_budget(bench: Bench) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=1.0)
    unit, spender = await opened(bench), Spender()
    spender.may_answer = anyio.Event()
    refused: list[int] = []

    async def ask(number: int) -> None:
        try:
            await unit.through(spender).answer(question(number))
        except BudgetReached:
            refused.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(ask, number)
        await anyio.wait_all_tasks_blocked()
        assert not refused  # what is on its way may cost less than was set aside
        spender.may_answer.set()

    assert refused and len(refused) + spender.asked == 40
    assert (await bench.row(unit.run.order.run_id)).usage.cost_nanos <= NANOS


async def test_unspent_reservation_is_available_to_the_next_question(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent)
    bench.budgets.limits = BudgetSettings(run_usd=1.0)
    unit = await opened(bench)

    answered = await ask_until_refused(unit, Spender(share=0.2))

    most = bench.budgets.densities.most_of("spender", question(1), PRICE).cost_nanos
    assert answered > 2 * NANOS // most


async def test_token_estimate_follows_a_model_counting_more_tokens_than_reckoned(
    bench: Bench,
) -> None:
    bench.budgets.limits = BudgetSettings(run_usd=1.0, run_tokens=600)
    unit = await opened(bench)
    spender = Spender()
    spender.prompt_tokens = 200  # for a question of ten characters

    assert await ask_until_refused(unit, spender) == 2

    usage = (await bench.row(unit.run.order.run_id)).usage
    assert usage.prompt_tokens + usage.completion_tokens <= 600


async def test_file_beyond_the_run_budget_fails_and_the_outcome_is_partial(bench: Bench) -> None:
    bench.model.price = PRICE
    bench.budgets.limits = BudgetSettings(run_usd=1 / NANOS)
    bench.connect(runs=folder(a="- [ ] by a rule", b="Prose that a model has to read."))

    run = await bench.run()

    assert (run.state, run.outcome) == (RunState.COMPLETED, RunOutcome.PARTIAL)
    assert [(error.unit_key, error.code) for error in run.errors] == [("b.md", "budget_reached")]
    assert "budget.run_usd" in run.errors[0].message
    assert bench.model.asked == 0


async def test_used_up_day_budget_pauses_the_run_until_midnight_of_the_agent(
    store: Store, agent: AgentRow
) -> None:
    agent = await declare(store, budget_nanos=1, timezone="Asia/Tokyo")
    bench = Bench(store, agent)
    bench.budgets.limits = BudgetSettings(run_usd=0.0)
    bench.model.price = PRICE
    bench.connect(runs=folder(a="Prose that a model has to read."))

    run = await bench.run()

    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.EXHAUSTED)
    assert run.reason is not None and "agents.budget_usd" in run.reason
    (row,) = await store.read(agents.list_agents)
    _, midnight = day_around(START, "Asia/Tokyo")
    assert (row.exhaust_reason, row.recovery_at) == ("budget", int(midnight.timestamp() * 1000))
    assert [one.agent_id for one in bench.budgets.reached()] == [agent.id]


async def test_question_refused_by_the_day_budget_is_answered_the_next_day(
    store: Store, agent: AgentRow
) -> None:
    agent = await declare(store, budget_nanos=NANOS)
    bench = Bench(store, agent)
    bench.budgets.limits = BudgetSettings(run_usd=0.0)
    unit, spender = await opened(bench), Spender()
    model = unit.through(spender)
    with pytest.raises(DayBudgetReached):
        for number in range(100):
            await model.answer(question(number))
    before = spender.asked

    bench.clock.advance(24 * 3_600)
    await model.answer(question(before))

    assert (spender.asked, bench.budgets.reached()) == (before + 1, [])


async def test_day_budget_of_the_hub_includes_costs_before_the_restart(store: Store, agent: AgentRow) -> None:
    before = Bench(store, agent)
    unit = await opened(before)
    for number in range(3):
        await unit.through(Spender()).answer(question(number))
    spent = (await before.row(unit.run.order.run_id)).usage.cost_nanos

    after = Bench(store, agent)
    after.budgets.limits = BudgetSettings(run_usd=0.0, day_usd=spent / NANOS)
    again = (await after.asking.open(unit.run.order)).about("b.md")

    with pytest.raises(DayBudgetReached, match=r"budget\.day_usd"):
        await again.through(Spender()).answer(question(99))


@each(
    ("now", "zone", "began", "ends"),
    [
        ("2026-01-05T09:00", "UTC", "2026-01-05T00:00", "2026-01-06T00:00"),
        ("2026-01-05T23:30", "Europe/Berlin", "2026-01-05T23:00", "2026-01-06T23:00"),
        ("2026-03-29T12:00", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
    ],
)
def test_budget_day_lasts_from_midnight_to_midnight_of_the_time_zone(
    now: str, zone: str, began: str, ends: str
) -> None:
    at, first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, began, ends))
    assert day_around(at, zone) == (first, last)


async def test_amount_spent_during_a_reload_of_the_day_account_is_counted(bench: Bench) -> None:
    class Slow:
        """The store, during whose reading a question comes to its end."""

        is_shared = False

        async def read(self, *asked: Any, **more: Any) -> Any:
            found = await bench.store.read(*asked, **more)
            if days:
                days[0].settle(Spent(), Spent(tokens=7))
            return found

    days: list[BudgetAccount] = []
    budgets = Budgets(Slow(), boot_id=BOOT, clock=bench.clock, metrics=bench.metrics)  # type: ignore[arg-type]
    days.append(await budgets.day_of_hub())
    days[0].is_stale = True
    assert (await budgets.day_of_hub()).spent.tokens == 7


class TwoHubs(NamedTuple):
    """The budget of a run at two hubs of one database, with two dollars a day."""

    one: RunBudget
    other: RunBudget
    others: Budgets
    store: Store


@pytest.fixture
async def hubs(postgres: Postgres, bench: Bench) -> AsyncIterator[TwoHubs]:
    order = (await opened(bench)).run.order
    with postgres.database() as url:
        async with open_store(url) as store, open_store(url) as another:
            both: list[Budgets] = []
            for opened_store, node, boot in ((store, NODE, BOOT), (another, NodeId("node-2"), OTHER_BOOT)):
                await store.write(leases.beat, node, boot, ttl_ms=600_000)
                hub = Budgets(opened_store, boot_id=boot, clock=bench.clock, metrics=bench.metrics)
                hub.limits = BudgetSettings(run_usd=10.0, day_usd=2.0)
                both.append(hub)
            one, other = (RunBudget(at, order, BudgetAccount("budget.run_*", Spent()), None) for at in both)
            yield TwoHubs(one, other, both[1], store)


async def test_budget_promised_by_a_hub_is_not_available_to_another_hub(hubs: TwoHubs) -> None:
    await (await hubs.one.reserve("spender", DEAR, PRICE)).promise()

    with pytest.raises(DayBudgetReached):
        await hubs.other.reserve("spender", DEAR, PRICE)

    await hubs.store.write(nodes.end_boot, NODE, BOOT, 2)  # as when its lease runs out after a kill
    assert await hubs.other.reserve("spender", DEAR, PRICE)


async def test_question_waits_for_the_budget_reserved_by_another_hub(
    hubs: TwoHubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    has_looked = anyio.Event()
    hold = hubs.others.hold

    async def watched(accounts: Sequence[BudgetAccount]) -> list[tuple[BudgetAccount, Drawn]]:
        drawn = await hold(accounts)
        if drawn[0][0].reserved == Spent():  # it has seen what is held, and holds nothing itself
            has_looked.set()
        return drawn

    async def ask() -> None:
        await hubs.other.reserve("spender", DEAR, PRICE)
        ends.append("the other hub asks")
        has_looked.set()

    monkeypatch.setattr(hubs.others, "hold", watched)
    reserved = await hubs.one.reserve("spender", DEAR, PRICE)
    async with anyio.create_task_group() as tasks, reserved.held() as spend:
        tasks.start_soon(ask)
        await has_looked.wait()
        ends.append("the first is answered")
        spend(Usage(1, 5, 5, 0))

    assert ends == ["the first is answered", "the other hub asks"]
