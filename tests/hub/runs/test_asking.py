"""Questions on their way to a model: journaled, counted, asked once."""

from datetime import timedelta
from functools import partial

import anyio
import anyio.lowlevel
import msgspec
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.toml.limits import Limits
from hub.extraction.model import (
    REFUSED,
    Finish,
    LanguageModel,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    Models,
    ModelUnavailable,
    OddAnswer,
    Price,
    PromptMessage,
)
from hub.health import external
from hub.health.issues import Severity
from hub.runs.asking import UnitAsking, question_of
from hub.runs.interrupt import Interrupt
from hub.runs.model_gates import CONTROL, PROBE, RELEASE, ModelGate, ModelGates
from hub.runs.runner import MODEL_WAIT_S
from protocol.errors import ErrorCode
from protocol.lifecycles import PauseReason, RunEvent, RunOutcome, RunState, UnitState
from protocol.secret_rules import RedactionRule
from protocol.work import Usage
from storage.agents import exhaustion
from storage.agents.agents import AgentRow
from storage.agents.configs import ModelUse
from storage.runs import model_answers, model_calls, run_moves, runs, units
from storage.store import Store
from tests.support.clock import FakeClock
from tests.support.runs import Bench, KeywordModel, declare_agent, folder, titles


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
    return ModelRequest(messages=(PromptMessage("user", text),), schema={"type": "object"}, max_tokens=50)


async def opened(bench: Bench, unit_key: str = "a.md") -> UnitAsking:
    """What stands before the questions about a unit of a new run."""
    bench.connect()
    await bench.control.submit(bench.agent)
    return (await bench.asking.open(await bench.claim())).about(unit_key)


async def journaled(store: Store, agent: AgentRow, request: ModelRequest, model: LanguageModel) -> bool:
    asked = question_of(model.name, request)
    return await store.read(model_answers.find_answer, agent.id, asked, 0) is not None


async def test_stored_model_answer_is_reused_by_the_next_hub_process(store: Store, agent: AgentRow) -> None:
    before, asked = await opened(Bench(store, agent)), Teller()
    await before.through(asked).answer(question())

    teller = Teller()
    unit = (await Bench(store, agent).asking.open(before.run.order)).about("b.md")
    again = await unit.through(teller).answer(question())

    assert (again.text, again.finish, again.model) == ("answer 1", Finish.WHOLE, "teller")
    assert ([one.user for one in asked.asked], teller.asked, again.usage) == (["u"], [], Usage())


async def test_answer_of_a_model_is_not_reused_for_another_model(bench: Bench) -> None:
    unit = await opened(bench)
    await unit.through(Teller("small")).answer(question())
    large = Teller("large")

    await unit.through(large).answer(question())

    assert len(large.asked) == 1


async def test_parallel_equal_questions_are_asked_once(bench: Bench) -> None:
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


async def test_next_of_parallel_equal_questions_asks_if_the_first_gets_no_answer(bench: Bench) -> None:
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


async def test_model_answer_received_by_a_cancelled_caller_is_stored(store: Store, agent: AgentRow) -> None:
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


async def test_cost_of_a_model_answer_is_stored_with_call_and_run(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent)
    unit = await opened(bench)

    await unit.through(Teller()).answer(question("one"))
    await unit.through(Teller()).answer(question("two"))

    run = await bench.row(unit.run.order.run_id)
    assert (run.usage.requests, run.usage.prompt_tokens, run.usage.completion_tokens) == (2, 200, 20)
    assert run.usage.cost_nanos == 2 * (100 * 1_000 + 10 * 2_000)
    spent = await store.read(model_calls.spent_since, 0, agent_id=agent.id)
    assert (spent.tokens, spent.cost_nanos) == (220, run.usage.cost_nanos)


async def test_failed_model_tries_are_counted_with_tokens_and_cost(store: Store, agent: AgentRow) -> None:
    bench, teller = Bench(store, agent), Teller()
    unit = await opened(bench)
    teller.error = ModelUnavailable("no answer after all tries", spent=Usage(3, 300, 7, 11))
    bench.model.errors[""] = ModelUnavailable("no answer about no text", spent=Usage(2, 20, 1, 5))

    with pytest.raises(ModelUnavailable):
        await unit.through(teller).answer(question())

    run = await bench.row(unit.run.order.run_id)
    assert (run.usage.requests, run.usage.prompt_tokens, run.usage.cost_nanos) == (5, 320, 16)
    assert not await journaled(store, agent, question(), teller)


async def test_run_resumed_within_a_file_asks_only_the_unanswered_questions(
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


async def test_question_open_at_device_loss_is_finished_and_asked_once(store: Store, agent: AgentRow) -> None:
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


async def test_run_without_cloud_use_fails_without_a_local_model(store: Store, agent: AgentRow) -> None:
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
async def test_run_queued_before_a_stricter_model_use_fails_without_asking_the_model(
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


async def test_next_run_asks_only_questions_without_a_whole_answer(store: Store, agent: AgentRow) -> None:
    model = Stutterer()
    bench = Bench(store, agent, model=model)
    prose = " ".join(f"The weather of day {day} was rather fine in all of the valley." for day in range(30))
    bench.connect(runs=folder(a=f"{prose}\n\nA zebra came."))
    assert [error.code for error in (await bench.run()).errors] == ["model_context_exceeded"]

    model.stutters, model.asked = False, 0
    bench.connect(runs=folder(a=f"{prose}\n\nA zebra came."))
    second = await bench.run()

    assert second.outcome is RunOutcome.SUCCESS
    assert model.asked == 1


async def test_refused_text_is_asked_about_once_over_two_runs_and_other_files_are_read(bench: Bench) -> None:
    bench.model.said = f"{REFUSED}I cannot assist with that."
    for made in (["good"], []):
        link = bench.connect(runs=folder(a="A zebra came.", b="- [ ] good"))
        run = await bench.run()
        (error,) = run.errors
        assert (error.unit_key, error.code) == ("a.md", ErrorCode.MODEL_DECLINED)
        assert "I cannot assist with that." in error.message
        assert (bench.model.asked, titles(link)) == (1, made)


# --- a model that gives no answers: rules read on, runs wait for the rest, and go on by themselves ---


AWAY = ModelUnavailable("gpt at http://127.0.0.1:1/v1 gave no answer in 6 tries (ConnectError)")
FILES = {
    "a": "- [ ] one\n- [ ] two\n",
    "b": "- [ ] three\n\nA riddle to read.\n",
    "c": "Another riddle.",
}
FOUND = '{"items": [{"table": "tasks", "title": "four", "quote": "A riddle to read."}]}'


def take_away(bench: Bench) -> None:
    """Let no question about a riddle get an answer."""
    bench.model.errors["iddle"] = AWAY


def give_back(bench: Bench) -> None:
    """Let the model answer again, once it is time for a probe."""
    bench.model.errors.clear()
    bench.clock.advance(PROBE.cap_s)


async def test_run_without_the_model_delivers_rule_items_and_pauses(bench: Bench) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(**FILES))

    run = await bench.run()

    assert sorted(map(str, titles(link))) == ["one", "three", "two"]
    assert (run.state, run.pause_reason, run.attempt) == (RunState.PAUSED, PauseReason.MODEL_AWAY, 1)
    assert run.reason is not None
    assert run.reason.startswith("1 file read; 2 files wait for the model")
    assert run.reason.endswith(f": {AWAY}")
    units = await bench.units(run.id)
    assert {key: unit.state for key, unit in units.items()} == {
        "a.md": UnitState.DONE,
        "b.md": UnitState.PENDING,
        "c.md": UnitState.PENDING,
    }
    assert run.errors == ()


async def test_files_waiting_for_the_model_are_read_later_without_duplicate_items(bench: Bench) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(**FILES) * 2)
    first = await bench.run()
    bench.model.said = FOUND
    give_back(bench)

    run = await bench.run()

    assert (run.id, run.state, run.outcome, run.attempt) == (
        first.id,
        RunState.COMPLETED,
        RunOutcome.SUCCESS,
        1,
    )
    assert sorted(map(str, titles(link))) == ["four", "one", "three", "two"]
    assert (len({call.id for call in link.calls}), run.units_done, run.error_count) == (4, 3, 0)


async def test_new_run_asks_no_question_while_the_model_is_away(bench: Bench) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(**FILES) + folder(d="A new riddle.", e="- [ ] five\n"))
    await bench.run()
    asked = bench.model.asked

    run = await bench.run()  # somebody starts another one

    assert run.pause_reason is PauseReason.MODEL_AWAY
    assert bench.model.asked == asked
    assert "five" in titles(link)


async def test_doctor_reports_the_runs_waiting_for_the_model_with_time_and_reason(bench: Bench) -> None:
    look = partial(external.check_models, bench.store, {}, bench.asking.gates.away)
    assert list(await look(bench.clock.now())) == []
    take_away(bench)
    bench.connect(runs=folder(**FILES) + folder(d="A new riddle."))
    await bench.run()
    paused_at = from_epoch_ms(epoch_ms(bench.clock.now()))
    bench.clock.advance(1)
    await bench.run()

    (found,) = await look(bench.clock.now())

    assert (found.id, found.severity, found.since) == ("model.away", Severity.WARNING, paused_at)
    assert found.explanation == f"2 runs wait for the model, which gives no answers: {AWAY}"
    assert "hub doctor --online" in found.fix

    give_back(bench)
    await bench.probe_models()
    assert list(await look(bench.clock.now())) == []


async def test_run_waiting_for_the_model_is_resumed_after_a_restart(
    bench: Bench, store: Store, agent: AgentRow
) -> None:
    take_away(bench)
    bench.connect(runs=folder(**FILES))
    first = await bench.run()

    after = Bench(store, agent)
    link = after.connect(runs=folder(**FILES))
    run = await after.run()

    assert (run.id, run.outcome, titles(link)) == (first.id, RunOutcome.SUCCESS, [])


async def test_hub_restarted_between_rules_and_model_reads_the_rest_of_the_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(b=FILES["b"]) * 3)
    await bench.control.submit(bench.agent)
    order = await bench.claim()

    async def die(*_args: object) -> None:
        raise OSError("the process ended")

    monkeypatch.setattr(bench.runner, "_settle", die)  # its item is delivered, and nothing more is written
    monkeypatch.setattr(bench.runner, "_end_surely", die)
    with pytest.raises(OSError, match="ended"):
        await bench.runner.run(order, Interrupt())
    monkeypatch.undo()
    await bench.store.write(
        run_moves.move, order.held(RunState.RUNNING), RunEvent.HUB_LOST, at=bench.now_ms, actor="hub"
    )
    assert titles(link) == ["three"]

    bench.model.said = FOUND
    give_back(bench)
    assert (await bench.run()).pause_reason is PauseReason.MODEL_AWAY
    run = await bench.run()

    assert (run.id, run.outcome, titles(link)) == (order.run_id, RunOutcome.SUCCESS, ["three", "four"])


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        OddAnswer("a page"),
        ModelRefused("HTTP 400"),
        ModelExhausted("HTTP 429", reason="rate_limit", retry_after_s=90.0),
        ModelExhausted("HTTP 402", reason="billing"),
    ],
    ids=["no answer", "odd answer", "refusal", "rate limit", "no quota"],
)
async def test_text_without_an_answer_fails_alone_and_the_next_run_reads_the_rest(
    bench: Bench, error: ModelError
) -> None:
    bench.model.errors["Another riddle"] = error
    bench.model.answers_control = True
    link = bench.connect(runs=folder(**FILES | {"c": "- [ ] five\n\nAnother riddle."}) * 2)

    first = await bench.run()

    assert (first.state, first.outcome, first.attempt) == (RunState.COMPLETED, RunOutcome.PARTIAL, 1)
    (failed,) = first.errors
    assert (failed.unit_key, failed.code) == ("c.md", ErrorCode.MODEL_ANSWER_INVALID)
    assert failed.message.endswith(f"{error}, though it answers other questions")
    assert sorted(map(str, titles(link))) == ["five", "one", "three", "two"]

    bench.model.errors.clear()
    assert (await bench.run()).outcome is RunOutcome.SUCCESS


async def test_run_waiting_a_day_for_the_model_ends_with_file_errors(bench: Bench) -> None:
    take_away(bench)
    bench.connect(runs=folder(**FILES) * 2)
    first = await bench.run()
    bench.clock.advance(MODEL_WAIT_S)
    give_back(bench)
    await bench.probe_models()
    take_away(bench)

    run = await bench.run()

    assert (run.id, run.state, run.outcome) == (first.id, RunState.COMPLETED, RunOutcome.PARTIAL)
    assert sorted(error.unit_key or "" for error in run.errors) == ["b.md", "c.md"]


async def test_file_deleted_during_the_model_wait_is_skipped(bench: Bench) -> None:
    take_away(bench)
    bench.connect(runs=folder(**FILES) + folder(a=FILES["a"], b=FILES["b"]))
    first = await bench.run()
    give_back(bench)

    run = await bench.run()

    assert (run.id, run.outcome) == (first.id, RunOutcome.SUCCESS)
    assert (await bench.units(run.id))["c.md"].state is UnitState.SKIPPED


# --- the gate ---


async def test_model_gate_is_probed_with_growing_waits_only_while_runs_wait() -> None:
    clock, model = FakeClock(), KeywordModel()
    model.errors["anything"] = AWAY
    gate = ModelGate(model, clock)
    gate.close(str(AWAY))
    clock.advance(PROBE.cap_s)
    assert not await gate.probe()  # nobody waits

    waits = []
    for _ in range(6):
        gate.let_through()
        began = clock.monotonic()
        probed = model.reached
        while model.reached == probed:
            if not await gate.probe() and model.reached == probed:
                clock.advance(1.0)
        waits.append(clock.monotonic() - began)
    assert waits == [0, 5, 10, 20, 40, 60]

    model.errors.clear()
    clock.advance(PROBE.cap_s)
    gate.let_through()
    assert await gate.probe()
    assert gate.let_through()
    assert not gate.let_through()  # once for each probe
    assert gate.away is None


async def test_request_of_a_person_ends_the_wait_for_a_model_only_while_the_model_is_away() -> None:
    model = KeywordModel()
    gate = ModelGate(model, FakeClock())
    gate.try_now()
    assert (await gate.probe(), model.reached) == (False, 0)
    gate.close(str(AWAY))
    gate.let_through()
    assert not await gate.probe()  # too early
    gate.try_now()
    assert (await gate.probe(), gate.away, gate.let_through()) == (True, None, True)


async def test_model_gate_releases_runs_ever_more_slowly_if_only_probes_are_answered() -> None:
    clock = FakeClock()
    gate = ModelGate(KeywordModel(), clock)
    released = []
    for _ in range(7):
        gate.close(str(AWAY))
        began = clock.now()
        gate.let_through()
        while not await gate.probe():
            clock.advance(1.0)
        released.append(clock.now() - began)
    assert released[0] <= timedelta(seconds=PROBE.base_s)
    assert released[-1] == timedelta(seconds=RELEASE.cap_s)


async def test_open_questions_are_aborted_when_a_question_finds_the_model_away() -> None:
    model = KeywordModel()
    model.errors["iddle"] = AWAY
    gate = ModelGate(model, FakeClock())
    ended: list[str] = []

    async def wait() -> None:
        with pytest.raises(ModelUnavailable):
            async with gate.asking():
                await anyio.sleep_forever()
        ended.append("given up")

    async with anyio.create_task_group() as asking:
        asking.start_soon(wait)
        asking.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ModelUnavailable):
            async with gate.asking():
                raise AWAY
    assert ended == ["given up"] * 2


async def test_a_question_without_an_answer_closes_no_gate_while_others_are_answered() -> None:
    gate = ModelGate(KeywordModel(), FakeClock())
    with pytest.raises(OddAnswer, match="though it answers other questions"):
        async with gate.asking():
            raise AWAY
    assert gate.away is None


REFUSED_KEY = ModelRefused("the key is refused")
BUSY = ModelExhausted("too many questions", reason="rate_limit", retry_after_s=90.0, spent=Usage(1))
ODD = OddAnswer("gpt answered with a page")


@pytest.mark.parametrize("error", [AWAY, ODD], ids=["no answer", "odd answer"])
@pytest.mark.parametrize(
    ("control", "kind", "more", "away"),
    [
        (None, OddAnswer, ", though it answers other questions", None),
        (REFUSED_KEY, OddAnswer, f"; of a question about no text: {REFUSED_KEY}", None),
        (ModelUnavailable("no answer about no text"), ModelUnavailable, "", "no answer about no text"),
        (OddAnswer("a page about no text"), ModelUnavailable, "", "a page about no text"),
    ],
    ids=["answered", "refused", "silent", "odd"],
)
async def test_model_gate_is_closed_by_the_question_about_no_text_alone(
    error: ModelError, control: ModelError | None, kind: type[ModelError], more: str, away: str | None
) -> None:
    model = KeywordModel()
    model.errors |= {"": control} if control else {}
    gate = ModelGate(model, FakeClock())
    with pytest.raises(ModelError) as caught:
        async with gate.asking():
            raise error
    assert (type(caught.value), str(caught.value), gate.away) == (kind, f"{error}{more}", away)


@pytest.mark.parametrize("control", [BUSY, AWAY], ids=["busy", "silent"])
async def test_text_has_the_fault_if_another_question_is_answered_before_the_control_fails(
    control: ModelError,
) -> None:
    model = KeywordModel()
    gate = ModelGate(model, FakeClock())

    async def answer(_: ModelRequest) -> ModelAnswer:
        async with gate.asking():
            pass
        raise control

    model.answer = answer  # type: ignore[method-assign,assignment]
    with pytest.raises(OddAnswer):
        async with gate.asking():
            raise AWAY
    assert gate.away is None


@pytest.mark.parametrize("error", [AWAY, BUSY, REFUSED_KEY], ids=["silent", "busy", "refused"])
async def test_answer_before_the_failure_of_a_text_is_no_proof_of_the_endpoint(error: ModelError) -> None:
    model = KeywordModel()
    controls: list[ModelRequest] = []

    async def answer(request: ModelRequest) -> ModelAnswer:
        controls.append(request)
        return ModelAnswer(text=model.said, finish=Finish.WHOLE, usage=Usage())

    model.answer = answer  # type: ignore[method-assign]
    gate = ModelGate(model, FakeClock())
    with pytest.raises(OddAnswer):
        async with gate.asking():
            async with gate.asking():
                pass
            raise error
    assert controls == [CONTROL]


async def test_rate_limit_of_the_control_pauses_the_run_after_the_answered_texts_are_delivered(
    bench: Bench,
) -> None:
    bench.model.errors |= {"busy": BUSY, "iddle": AWAY}
    bench.model.may_answer = anyio.Event()
    link = bench.connect(runs=folder(**FILES | {"a": f"{FILES['a']}\n\nPlain prose."}) * 2)

    def answer_all() -> None:
        if bench.model.asked == 3:
            bench.model.may_answer.set()

    bench.model.on_ask = answer_all

    run = await bench.run()

    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.EXHAUSTED)
    assert sorted(map(str, titles(link))) == ["one", "two"]
    back = await bench.store.read(exhaustion.next_recovery)
    assert back == bench.now_ms + 90_000

    bench.model.errors.clear()
    bench.clock.advance(90)
    await bench.dispatcher.open_gates()
    assert (await bench.run()).outcome is RunOutcome.SUCCESS


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AWAY, f"0 files read; 3 files wait for the model (2 not asked about yet): {AWAY}"),
        (BUSY, str(BUSY)),
    ],
    ids=["no answer", "rate limit"],
)
async def test_resumed_run_reads_other_texts_before_the_text_without_an_answer(
    store: Store, agent: AgentRow, error: ModelError, reason: str
) -> None:
    bench = Bench(store, agent, units_in_flight=1)
    bench.model.errors["Text a"] = error
    link = bench.connect(runs=folder(a="Text a.", b="Text b.", c="Text c.") * 2)
    first = await bench.run()
    assert first.reason == reason
    noted = (await bench.units(first.id)).get("a.md")
    assert noted is None or str(error) in (noted.error or "")

    give_back(bench)
    bench.clock.advance(90)
    await bench.dispatcher.open_gates()
    run = await bench.run()

    assert (run.id, run.outcome) == (first.id, RunOutcome.SUCCESS)
    assert [stream.fetched[-1][0] for stream in link.streams] == [
        ("a.md", "b.md", "c.md"),
        ("b.md", "c.md", "a.md"),
    ]


async def test_time_limit_of_a_run_counts_all_executions(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, limits=Limits(run_wall_s=3_600.0))
    take_away(bench)
    bench.model.on_ask = lambda: bench.clock.advance(2_000)
    bench.connect(runs=folder(c=FILES["c"]) * 3)
    states = []
    for _ in range(3):
        run = await bench.run()
        states.append((run.state, run.reason and run.reason.partition(":")[0]))
        give_back(bench)
        await bench.probe_models()
        take_away(bench)
    waits = "0 files read; 1 file waits for the model"
    assert states == [(RunState.PAUSED, waits), (RunState.PAUSED, waits), (RunState.FAILED, "deadline")]


def test_model_gates_without_a_model_are_open() -> None:
    gates = ModelGates(Models(), clock=FakeClock())
    assert gates.let_through(True)
    assert gates.away(allow_cloud=True) is None
