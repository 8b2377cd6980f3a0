"""Questions on their way to a model: journaled, counted, asked once."""

import anyio
import anyio.lowlevel
import msgspec
import pytest
import sqlalchemy as sa

from hub.extraction.model import (
    Finish,
    LanguageModel,
    Message,
    ModelAnswer,
    ModelRequest,
    Models,
    ModelUnavailable,
    Price,
)
from hub.runs.asking import UnitAsking, question_of
from hub.runs.lifecycle import Interrupt
from protocol.lifecycles import RunEvent, RunOutcome, RunState, UnitState
from protocol.secret_rules import RedactionRule
from protocol.work import Usage
from storage.agents.agents import AgentRow
from storage.agents.configs import ModelUse
from storage.runs import model_calls, runs, units
from storage.store import Store
from tests.support.runs import Bench, KeywordModel, declare_agent, folder


class Teller:
    """A ``LanguageModel`` that tells how often it was asked, and costs something."""

    chunk_tokens, in_flight, is_literal, price = 1_500, 4, False, Price(1_000, 2_000)

    def __init__(self, name: str = "teller") -> None:
        self.name = name
        self.asked: list[ModelRequest] = []
        self.may_answer = anyio.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    async def reach(self) -> str | None:
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        self.asked.append(request)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        usage = Usage(1, 100, 10, self.price.of(100, 10))
        return ModelAnswer(
            text=f"answer {len(self.asked)}", finish=Finish.WHOLE, usage=usage, model=self.name
        )


def question(text: str = "What is to be done?") -> ModelRequest:
    return ModelRequest(messages=(Message("user", text),), schema={"type": "object"}, max_tokens=50)


async def opened(bench: Bench, unit_key: str = "a.md") -> UnitAsking:
    """What stands before the questions about a unit of a new run."""
    bench.connect()
    await bench.control.submit(bench.agent)
    return (await bench.asking.open(await bench.claim())).about(unit_key)


async def journaled(store: Store, agent: AgentRow, request: ModelRequest, model: LanguageModel) -> bool:
    asked = question_of(model.name, request)
    return await store.read(model_calls.find_answer, agent.id, asked, 0) is not None


async def test_what_was_answered_once_is_not_asked_again_and_costs_nothing(bench: Bench) -> None:
    teller = Teller()
    unit = await opened(bench)
    first = await unit.through(teller).answer(question())

    again = await unit.through(teller).answer(question())

    assert (again.text, again.finish, again.model) == (first.text, Finish.WHOLE, "teller")
    assert (again.usage, len(teller.asked)) == (Usage(), 1)


async def test_an_answer_outlives_the_hub_that_got_it(store: Store, agent: AgentRow) -> None:
    before = await opened(Bench(store, agent))
    await before.through(Teller()).answer(question())

    teller = Teller()
    unit = (await Bench(store, agent).asking.open(before.run.order)).about("b.md")

    assert ((await unit.through(teller).answer(question())).text, teller.asked) == ("answer 1", [])


async def test_another_model_is_asked_anew(bench: Bench) -> None:
    unit = await opened(bench)
    await unit.through(Teller("small")).answer(question())
    large = Teller("large")

    await unit.through(large).answer(question())

    assert len(large.asked) == 1


async def test_a_question_has_the_user_of_its_run(bench: Bench) -> None:
    teller = Teller()
    await (await opened(bench)).through(teller).answer(question())
    assert teller.asked[0].user == "u"


async def test_the_same_question_at_the_same_time_is_asked_once(bench: Bench) -> None:
    teller = Teller()
    teller.may_answer = anyio.Event()
    unit = await opened(bench)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await unit.through(teller).answer(question())).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        teller.may_answer.set()

    assert (answers, len(teller.asked)) == (["answer 1"] * 5, 1)


async def test_where_the_first_of_several_gets_no_answer_the_next_one_asks(bench: Bench) -> None:
    teller = Teller()
    teller.may_answer = anyio.Event()
    unit = await opened(bench)
    answers: list[str] = []

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            answers.append((await unit.through(teller).answer(question())).text)

    first = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        teller.may_answer.set()

    assert answers == ["answer 2"]


async def test_a_received_answer_is_stored_although_its_caller_was_cancelled(
    store: Store, agent: AgentRow
) -> None:
    bench, teller = Bench(store, agent), Teller()
    unit = await opened(bench)
    scope = anyio.CancelScope()

    class Last(Teller):
        async def answer(self, request: ModelRequest) -> ModelAnswer:
            given = await super().answer(request)
            scope.cancel()  # it is here, and the run is stopped before it is written down
            return given

    with scope:
        await unit.through(Last()).answer(question())

    assert await journaled(store, agent, question(), teller)


async def test_the_cost_of_an_answer_is_stored_with_its_call_and_its_run(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent)
    unit = await opened(bench)

    await unit.through(Teller()).answer(question("one"))
    await unit.through(Teller()).answer(question("two"))

    run = await bench.row(unit.run.order.run_id)
    assert (run.usage.requests, run.usage.prompt_tokens, run.usage.completion_tokens) == (2, 200, 20)
    assert run.usage.cost_nanos == 2 * (100 * 1_000 + 10 * 2_000)
    spent = await store.read(model_calls.spent_since, 0, agent_id=agent.id)
    assert (spent.tokens, spent.cost_nanos) == (220, run.usage.cost_nanos)


async def test_tries_that_failed_are_counted_with_what_they_cost(store: Store, agent: AgentRow) -> None:
    bench, teller = Bench(store, agent), Teller()
    unit = await opened(bench)
    teller.error = ModelUnavailable("no answer after all tries", spent=Usage(3, 300, 7, 11))

    with pytest.raises(ModelUnavailable):
        await unit.through(teller).answer(question())

    run = await bench.row(unit.run.order.run_id)
    assert (run.usage.requests, run.usage.prompt_tokens, run.usage.cost_nanos) == (3, 300, 11)
    assert not await journaled(store, agent, question(), teller)


async def test_a_run_cut_off_in_the_middle_of_a_file_asks_only_what_was_not_answered(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent)
    text = "\n\n".join(f"# Part {part}\n\n" + f"Words about {part}. " * 400 for part in range(4))
    bench.connect(runs=folder(a=text))
    interrupt = Interrupt()

    def halt() -> None:
        if bench.model.asked == 3:
            bench.model.may_answer = anyio.Event()  # the third one is never answered
            interrupt.stop(RunEvent.DRAINED, "the hub stops")

    bench.model.on_ask = halt
    bench.model.in_flight = 1
    paused = await bench.run(interrupt)
    assert (paused.state, paused.usage.requests) == (RunState.PAUSED, 2)
    bench.model.may_answer.set()
    bench.model.asked, bench.model.on_ask = 0, lambda: None

    bench.connect(runs=folder(a=text))
    await bench.dispatcher.open_gates()
    run = await bench.run()

    assert run.outcome is RunOutcome.SUCCESS
    assert 2 + bench.model.asked == run.usage.requests
    assert bench.model.asked > 0


async def test_a_question_under_way_when_the_device_is_lost_comes_to_its_end_and_is_not_asked_again(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, device_grace_s=10.0)
    manifest, text, end = folder(a="Prose that a model has to read.")[0]
    lost = bench.connect(runs=[[manifest, text]])  # it is read on when the device goes
    bench.model.may_answer = anyio.Event()

    def leave() -> None:
        lost.cut()
        bench.links.clear()
        bench.model.may_answer.set()

    bench.model.on_ask = leave
    interrupt = Interrupt()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        with anyio.fail_after(5):
            while not await store.read(outbox_of_newest):
                await anyio.lowlevel.checkpoint()
        back = bench.connect(runs=[[manifest, end]])
        with anyio.fail_after(5):
            while not back.streams:
                interrupt.nudge()
                await anyio.lowlevel.checkpoint()

    assert (await store.read(runs.list_runs))[0].outcome is RunOutcome.SUCCESS
    assert bench.model.asked == 1


def outbox_of_newest(c: sa.Connection) -> bool:
    """Return True if a unit of the newest run was extracted."""
    (run,) = runs.list_runs(c, limit=1) or (None,)
    return run is not None and any(
        unit.state in (UnitState.EXTRACTED, UnitState.DONE) for unit in units.first_units(c, run.id, 100)
    )


async def test_a_run_kept_to_local_models_is_refused_where_there_is_none_and_nothing_is_asked(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent)
    bench.asking.models = Models(bench.model, None)
    bench.agent = msgspec.structs.replace(agent, model_use=ModelUse(allow_cloud=False))
    bench.connect(runs=folder(a="Some prose."))

    run = await bench.run()

    assert (run.state, run.outcome) == (RunState.FAILED, RunOutcome.ERROR)
    assert run.reason is not None and "allow_cloud = false" in run.reason
    assert bench.model.asked == 0


@pytest.mark.parametrize(
    "stricter",
    [ModelUse(allow_cloud=False), ModelUse(redact=(RedactionRule("email"),))],
    ids=["cloud", "redact"],
)
async def test_a_run_that_waited_shows_no_model_what_its_owner_has_forbidden_meanwhile(
    bench: Bench, stricter: ModelUse
) -> None:
    await bench.control.submit(bench.agent)
    await declare_agent(bench.store, at=2, fresh_ids="efgh", model_use=stricter)
    bench.connect(runs=folder(a="Some prose of eve@example.org."))

    run = await bench.run()

    assert (run.state, bench.model.asked) == (RunState.FAILED, 0)
    assert run.reason is not None and "start a new run" in run.reason


class Stutterer(KeywordModel):
    """Its answers about zebras are cut off, as long as it stutters."""

    chunk_tokens = 60
    stutters = True

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        answer = await super().answer(request)
        if self.stutters and "zebra" in request.messages[-1].content:
            return msgspec.structs.replace(answer, text='{"items": [', finish=Finish.CUT_OFF)
        return answer


async def test_what_was_given_up_of_a_file_is_asked_again_by_the_next_run_and_the_rest_is_not(
    store: Store, agent: AgentRow
) -> None:
    model = Stutterer()
    bench = Bench(store, agent, model=model)
    prose = " ".join(f"The weather of day {day} was rather fine in all of the valley." for day in range(30))
    bench.connect(runs=folder(a=f"{prose}\n\nA zebra came."))
    assert [error.code for error in (await bench.run()).errors] == ["model_answer_cut_off"]

    model.stutters, model.asked = False, 0
    bench.connect(runs=folder(a=f"{prose}\n\nA zebra came."))
    second = await bench.run()

    assert second.outcome is RunOutcome.SUCCESS
    assert model.asked == 1
