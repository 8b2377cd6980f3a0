"""A model that gives no answers: rules read on, runs wait for the rest, and go on by themselves."""

from datetime import timedelta
from functools import partial

import anyio
import pytest

from hub.clock import epoch_ms, from_epoch_ms
from hub.extraction.model import Models, ModelUnavailable
from hub.health import external
from hub.health.issues import Severity
from hub.runs.asking import PROBE, RELEASE, ModelGate, ModelGates
from hub.runs.lifecycle import Interrupt
from hub.runs.runner import MODEL_WAIT_S
from protocol.errors import ErrorCode
from protocol.lifecycles import PauseReason, RunEvent, RunOutcome, RunState, UnitState
from storage.agents.agents import AgentRow
from storage.runs import run_moves
from storage.store import Store
from tests.support.clock import FakeClock
from tests.support.runs import Bench, KeywordModel, folder, titles

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


async def test_rules_are_delivered_and_the_run_says_what_waits_for_the_model(bench: Bench) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(**FILES))

    run = await bench.run()

    assert sorted(map(str, titles(link))) == ["one", "three", "two"]
    assert (run.state, run.pause_reason, run.attempt) == (RunState.PAUSED, PauseReason.MODEL_AWAY, 1)
    assert run.reason == f"1 files read by rules; 2 files wait for the model: {AWAY}"
    units = await bench.units(run.id)
    assert {key: unit.state for key, unit in units.items()} == {
        "a.md": UnitState.DONE,
        "b.md": UnitState.PENDING,
        "c.md": UnitState.PENDING,
    }
    assert run.errors == ()


async def test_what_waited_is_read_when_the_model_answers_and_each_item_comes_once(bench: Bench) -> None:
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


async def test_nothing_is_asked_while_the_model_is_known_to_be_away(bench: Bench) -> None:
    take_away(bench)
    link = bench.connect(runs=folder(**FILES) + folder(d="A new riddle.", e="- [ ] five\n"))
    await bench.run()
    asked = bench.model.asked

    run = await bench.run()  # somebody starts another one

    assert run.pause_reason is PauseReason.MODEL_AWAY
    assert bench.model.asked == asked
    assert "five" in titles(link)


async def test_the_doctor_says_how_many_runs_wait_for_the_model_since_when_and_why(bench: Bench) -> None:
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


async def test_a_run_that_waits_for_its_model_goes_on_after_a_restart(
    bench: Bench, store: Store, agent: AgentRow
) -> None:
    take_away(bench)
    bench.connect(runs=folder(**FILES))
    first = await bench.run()

    after = Bench(store, agent)
    link = after.connect(runs=folder(**FILES))
    run = await after.run()

    assert (run.id, run.outcome, titles(link)) == (first.id, RunOutcome.SUCCESS, [])


async def test_a_hub_that_died_between_rules_and_model_reads_the_rest_of_the_file(
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


async def test_a_question_that_alone_gets_no_answer_costs_attempts_and_fails_its_file(bench: Bench) -> None:
    bench.model.errors["riddle"] = AWAY
    bench.connect(runs=folder(c="A riddle.", d="Something else.") * 6)

    # Another run's question is answered while this one is asked.
    gate = bench.asking.gates.find(allow_cloud=True)
    assert gate is not None
    bench.model.on_ask = gate._answered
    states = []
    for _ in range(5):
        run = await bench.run()
        states.append((run.state, run.attempt))
        bench.clock.advance(3_600)

    assert states == [
        *((RunState.QUEUED, attempt) for attempt in (2, 3, 4, 5)),
        (RunState.COMPLETED, 5),
    ]
    assert run.outcome is RunOutcome.PARTIAL
    (error,) = run.lasting_errors
    assert (error.unit_key, error.code) == ("c.md", ErrorCode.MODEL_UNAVAILABLE)
    assert [one.attempt for one in run.errors] == [1, 2, 3, 4, 5]


async def test_a_run_that_has_waited_for_a_day_ends_and_names_its_files(bench: Bench) -> None:
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


async def test_a_file_that_is_deleted_when_the_model_is_back_is_passed_over(bench: Bench) -> None:
    take_away(bench)
    bench.connect(runs=folder(**FILES) + folder(a=FILES["a"], b=FILES["b"]))
    first = await bench.run()
    give_back(bench)

    run = await bench.run()

    assert (run.id, run.outcome) == (first.id, RunOutcome.SUCCESS)
    assert (await bench.units(run.id))["c.md"].state is UnitState.SKIPPED


# --- the gate ---


async def test_a_gate_is_probed_less_and_less_often_and_only_while_runs_wait() -> None:
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


async def test_runs_are_let_through_less_often_while_probes_get_answers_and_questions_none() -> None:
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


async def test_the_questions_under_way_are_given_up_when_one_finds_the_model_away() -> None:
    gate = ModelGate(KeywordModel(), FakeClock())
    ended: list[str] = []

    async def wait() -> None:
        with pytest.raises(ModelUnavailable), gate.asking():
            await anyio.sleep_forever()
        ended.append("given up")

    async with anyio.create_task_group() as asking:
        asking.start_soon(wait)
        asking.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ModelUnavailable), gate.asking():
            raise AWAY
    assert ended == ["given up"] * 2


async def test_a_question_without_an_answer_closes_no_gate_while_others_are_answered() -> None:
    gate = ModelGate(KeywordModel(), FakeClock())
    with pytest.raises(ModelUnavailable), gate.asking():
        with gate.asking():
            pass
        raise AWAY
    assert gate.away is None


def test_a_hub_without_a_model_lets_everything_through() -> None:
    gates = ModelGates(Models(), clock=FakeClock())
    assert gates.let_through(True)
    assert gates.away(allow_cloud=True) is None
