"""A run from its claim to its end, over a real store and a device that is a list."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from hub.base.toml.limits import BudgetSettings, Limits
from hub.extraction.model import ExtractionError, Finish, ModelExhausted, ModelUnavailable
from hub.links.device_link import RunFrame
from hub.runs import runner
from hub.runs.call_window import SINGLE_CALLS
from hub.runs.interrupt import Interrupt
from hub.runs.run_order import RunOptions, RunOrder
from protocol.capabilities import CapabilityName
from protocol.causes import FOLDER_MISSING
from protocol.errors import CallInWork, DeliveryError, ErrorCode, LinkLost, TooManyCalls
from protocol.frame import ErrorBody
from protocol.ids import trace_id_of
from protocol.lifecycles import EXECUTING_RUN_STATES, PauseReason, RunEvent, RunOutcome, RunState, UnitState
from protocol.skipped_files import LEFT_OUT, SkippedFile, SkipReason
from protocol.tool_calls import Answer, ToolCall
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    FilePiece,
    ManifestFile,
    ManifestTree,
    RunLimits,
)
from storage.agents import agents, exhaustion
from storage.agents.agents import AgentRow
from storage.executing_runs import FencedRun
from storage.kernel.database import Busy
from storage.runs import run_pauses, runs
from storage.runs.calls import open_calls
from storage.runs.runs import RunRow
from storage.runs.spans import list_spans
from storage.runs.units import RENEWED_AFTER_MS
from storage.schema import items, unit_ledger
from storage.store import Store
from tests.storage.rows import calls, plan
from tests.support.log import opened_log
from tests.support.runs import PAGED, TAKEN, Bench, declare_agent, digest, folder, titles
from tests.support.wire import until


async def test_each_item_is_inserted_as_a_suggestion_with_the_quote(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna\n- [/] pay the rent\n- [x] water it\n"))

    run = await bench.run()

    assert (run.state, run.outcome) == (RunState.COMPLETED, RunOutcome.SUCCESS)
    assert (run.units_total, run.units_done, run.items_created) == (1, 1, 2)
    assert titles(link) == ["call Anna", "pay the rent"]
    assert link.streams[0].run.reader == "local keyword"
    for call in link.calls:
        assert (call.data["isAiSuggested"], call.data["isApproved"]) == (1, 0)
        assert call.source is not None and call.source.path == "a.md"
        assert str(call.data["title"]) in call.source.quote


async def test_file_with_items_uses_two_transactions_and_a_further_transaction_per_question(
    store: Store, agent: AgentRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(store, agent, units_in_flight=1)
    done: list[str] = []
    for kind in ("read", "write"):
        real = getattr(store, kind)

        async def run(job: Any, *args: Any, real: Any = real, **named: Any) -> Any:
            done.append(getattr(job, "func", job).__name__)
            return await real(job, *args, **named)

        monkeypatch.setattr(store, kind, run)
    link = bench.connect(runs=folder(a="- [ ] call Anna\n\nSome prose.", b="- [ ] pay the rent\n- [ ] go"))

    assert (await bench.run()).items_created == len(link.calls) == 3

    of_files = done[done.index("find_answer") : done.index("postponed_units")]
    of_model = ["find_answer", "record_answer"]
    decided, *others = [name for name in of_files if name not in of_model]
    assert (decided, others) == ("decided_kinds", 2 * ["plan_units", "settle_answers"])
    assert [of_files.count(name) for name in of_model] == 2 * [bench.model.asked]


async def test_run_over_an_unchanged_folder_reads_only_the_manifest(bench: Bench) -> None:
    files = {"a": "- [ ] call Anna\n\nSome prose.", "b": "- [ ] pay the rent"}
    bench.connect(runs=folder(**files))
    await bench.run()
    asked = bench.model.asked
    link = bench.connect(runs=[[folder(**files)[0][0], AgentComplete(run_id="r")]])

    run = await bench.run()

    assert (run.outcome, run.units_skipped, run.units_done) == (RunOutcome.SUCCESS, 2, 0)
    assert (link.streams[0].fetched, link.calls, bench.model.asked) == ([((), True)], [], asked)


def tree_of(*, last: bool, digest: str = "f", files: int = 2) -> AgentManifest:
    return AgentManifest(run_id="r", tree=ManifestTree(digest=digest * 64, files=files), last=last)


async def test_folder_with_a_known_tree_digest_is_not_listed(bench: Bench) -> None:
    listed, *rest = folder(a="- [ ] call Anna", b="- [ ] pay the rent")[0]
    bench.connect(capabilities=PAGED, runs=[[tree_of(last=False), listed, *rest]])
    assert (await bench.run()).units_done == 2
    link = bench.connect(capabilities=PAGED, runs=[[tree_of(last=False), AgentComplete(run_id="r")]])

    run = await bench.run()

    assert link.streams[0].fetched == [((), True)]
    assert (run.outcome, run.units_total, run.units_skipped, run.units_done) == (RunOutcome.SUCCESS, 2, 2, 0)
    assert (run.progress, await bench.units(run.id)) == (100.0, {})


async def test_folder_with_a_failed_file_is_listed_again(bench: Bench) -> None:
    listed, first, _, _ = folder(a="- [ ] call Anna", b="- [ ] pay the rent")[0]
    failed = [SkippedFile(path="b.md", reason="changed")]
    end = AgentComplete(run_id="r", skipped=failed)
    bench.connect(capabilities=PAGED, runs=[[tree_of(last=False), listed, first, end]])
    assert (await bench.run()).units_failed == 1
    link = bench.connect(capabilities=PAGED, runs=[[tree_of(last=False), listed, first, end]])

    assert (await bench.run()).units_skipped == 1
    assert link.streams[0].fetched == [((), False), (("b.md",), True)]


async def test_ledger_entry_of_an_unchanged_file_is_renewed_after_a_month(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    now = epoch_ms(bench.clock.now())
    for settled_at in (now - RENEWED_AFTER_MS + 60_000, now - RENEWED_AFTER_MS - 1):
        await bench.store.write(
            lambda c, at: c.execute(sa.update(unit_ledger).values(done_at=at)), settled_at
        )
        bench.connect(runs=folder(a="- [ ] call Anna"))
        assert (await bench.run()).units_skipped == 1
        (seen_at,) = await bench.store.read(lambda c: c.execute(sa.select(unit_ledger.c.done_at)).one())
        assert (seen_at >= now) is (settled_at < now - RENEWED_AFTER_MS)


async def test_run_of_a_lost_device_pauses_and_later_repeats_the_open_call(
    bench: Bench,
) -> None:
    gone = LinkLost("the connection was cut", dispatched=True)
    lost = bench.connect(runs=folder(a="- [ ] one\n- [ ] two\n"), answers=[TAKEN, gone])
    paused = await bench.run()
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.DEVICE_OFFLINE)
    assert paused.items_created == 1

    back = bench.connect(runs=folder(a="- [ ] one\n- [ ] two\n"))
    await bench.dispatcher.open_gates()
    asked = bench.model.asked
    run = await bench.run()

    assert (run.id, run.state, run.items_created) == (paused.id, RunState.COMPLETED, 2)
    assert run.fence > paused.fence
    assert ([call.id for call in back.calls], bench.model.asked) == ([lost.calls[1].id], asked)


async def test_files_of_all_attempts_count_for_the_file_limit_of_a_run(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=1))
    lost = bench.connect(runs=[folder(a="- [ ] one")[0][:2]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        await bench.settled("a.md")
        lost.cut()
    back = bench.connect(runs=folder(b="- [ ] two"))
    await bench.dispatcher.open_gates()

    run = await bench.run()

    assert (titles(lost), titles(back), run.outcome, run.units_done) == (["one"], [], RunOutcome.SUCCESS, 1)
    assert (run.result or {})["followed_by"] is not None


REFUSAL = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="tasks.title: is required"))
NOTHING = ErrorBody(code=ErrorCode.NOTHING_SHARED, message="no shared folder")
UNREADABLE = AgentComplete(run_id="r", skipped=[SkippedFile(path="big.md", reason="unreadable")])

# Frames of a device, the state and outcome of the run, its only error, and how many files were done.
ENDS: dict[str, tuple[list[Any], tuple[RunState, RunOutcome], tuple[str | None, str, str], int]] = {
    "an item refused": (
        folder(a="- [ ] bad", b="- [ ] good")[0],
        (RunState.COMPLETED, RunOutcome.PARTIAL),
        ("a.md", "device_error", "tasks.title: is required"),
        1,
    ),
    "an answer of the model that cannot be read": (
        folder(a="A riddle to read.", b="- [ ] good")[0],
        (RunState.COMPLETED, RunOutcome.PARTIAL),
        ("a.md", ErrorCode.MODEL_ANSWER_INVALID, "not JSON"),
        1,
    ),
    "nothing shared": (
        [AgentComplete(run_id="r", error=NOTHING)],
        (RunState.FAILED, RunOutcome.ERROR),
        (None, ErrorCode.NOTHING_SHARED, "no shared folder"),
        0,
    ),
    "a file skipped": (
        [*folder(a="- [ ] one")[0][:-1], UNREADABLE],
        (RunState.COMPLETED, RunOutcome.PARTIAL),
        ("big.md", "unreadable", "unreadable"),
        1,
    ),
    "refused after it was taken on": (
        [
            AgentAck(run_id="r"),
            AgentAck(run_id="r", accepted=False, reason="busy"),
            AgentComplete(run_id="r"),
        ],
        (RunState.FAILED, RunOutcome.ERROR),
        (None, ErrorCode.BUSY, ""),
        0,
    ),
}


@pytest.mark.parametrize("case", ENDS)
async def test_run_reports_a_failed_file_and_finishes_the_other_files(bench: Bench, case: str) -> None:
    frames, end, (unit, code, words), done = ENDS[case]
    bench.model.errors["riddle"] = ExtractionError("the model's answer is not JSON")
    bench.connect(runs=[frames], answers=lambda call: REFUSAL if call.data["title"] == "bad" else TAKEN)

    run = await bench.run()

    (error,) = run.errors
    assert ((run.state, run.outcome), error.unit_key, run.units_done) == (end, unit, done)
    assert (error.code, words in error.message) == (code, True)


async def test_run_without_one_of_several_folders_reads_the_others_and_is_partial_until_the_folder_is_back(
    bench: Bench,
) -> None:
    one_away = [SkippedFile(path="~/away", reason=SkipReason.OUTSIDE_SHARED)]
    frames = [*folder(a="- [ ] one")[0][:-1], AgentComplete(run_id="r", skipped=one_away)]
    bench.connect(runs=[frames]).missing = ("~/away",)

    run = await bench.run()

    (error,) = run.errors
    assert (run.outcome, run.units_done, error.code) == (RunOutcome.PARTIAL, 1, FOLDER_MISSING)
    assert "~/away was moved or renamed" in error.message
    bench.connect(runs=folder(b="- [ ] two"))
    assert (await bench.run()).outcome is RunOutcome.SUCCESS


async def test_used_up_model_quota_pauses_the_run_and_exhausts_the_agent(bench: Bench) -> None:
    bench.model.errors["riddle"] = ModelExhausted("429", reason="rate_limit", retry_after_s=90)
    bench.connect(runs=folder(a="A riddle to read."))

    run = await bench.run()

    assert (run.state, run.pause_reason, run.attempt) == (RunState.PAUSED, PauseReason.EXHAUSTED, 1)
    assert (await bench.store.read(agents.get_agent, bench.agent.id)).availability == "exhausted"
    back = await bench.store.read(exhaustion.next_recovery)
    assert back == bench.clock.now().timestamp() * 1000 + 90_000


async def test_exception_at_the_end_of_a_run_fails_the_run_as_internal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def overflow(*_: Any, **__: Any) -> None:
        raise OverflowError

    monkeypatch.setattr(bench.lifecycle, "exhaust", overflow)
    bench.model.errors["riddle"] = ModelExhausted("429", reason="rate_limit", retry_after_s=90)
    bench.connect(runs=folder(a="A riddle to read."))

    run = await bench.run()

    assert (run.state, run.reason) == (RunState.FAILED, "internal: OverflowError")
    assert "run.broke" in {record.message for record in caplog.records}


async def test_run_refused_by_a_busy_device_is_retried_without_using_an_attempt(bench: Bench) -> None:
    bench.connect(runs=[[AgentAck(run_id="r", accepted=False, reason="busy")]])

    run = await bench.run()

    assert (run.state, run.attempt, run.dispatch_count) == (RunState.QUEUED, 1, 1)
    assert run.eligible_at > bench.clock.now().timestamp() * 1000


async def test_unreadable_file_is_logged_by_name_once_until_readable_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [*folder()[0][:-1], UNREADABLE]
    good = folder(big="- [ ] one")[0]
    bench.connect(runs=[bad, bad, good, bad])
    counts = []
    for _ in range(4):
        bench.clock.advance(60)
        await bench.run()
        counts.append(sum(record.getMessage() == "unit.unread" for record in caplog.records))
    assert counts == [1, 1, 1, 2]
    logged = next(record for record in caplog.records if record.getMessage() == "unit.unread")
    assert "big.md" in str(vars(logged))


@pytest.mark.parametrize("reason", [SkipReason.HIDDEN, SkipReason.UNREADABLE, "only_a_device_knows"])
@pytest.mark.parametrize("others", ["- [ ] one", None])
async def test_outcome_of_a_run_follows_from_the_reasons_of_skipped_files(
    bench: Bench, reason: str, others: str | None
) -> None:
    frames = folder(**({} if others is None else {"a": others}))[0]
    frames[-1] = AgentComplete(run_id="r", skipped=[SkippedFile(path="b.md", reason=f"{reason}: detail")])
    bench.connect(runs=[frames])
    run = await bench.run()
    failed = RunOutcome.ERROR if others is None else RunOutcome.PARTIAL
    assert run.outcome is (RunOutcome.SUCCESS if reason in LEFT_OUT else failed)


async def test_files_skipped_in_two_attempts_of_a_run_are_counted_once(bench: Bench) -> None:
    frames = folder(a="- [ ] one")[0]
    skipped = [
        SkippedFile(path="cat.png", reason="not_convertible"),
        SkippedFile(path="*", reason="hidden", files=2),
    ]
    frames[-1] = AgentComplete(run_id="r", skipped=skipped)
    gone = LinkLost("the connection was cut", dispatched=True)
    bench.connect(runs=[frames], answers=[gone])
    paused = await bench.run()
    bench.connect(runs=[frames])
    await bench.dispatcher.open_gates()

    run = await bench.run()

    assert run.id == paused.id and run.result is not None
    assert (run.result["left_out"], run.result["unlisted"]) == ({"not_convertible": 1, "hidden": 2}, 2)


async def test_document_breaking_the_reader_fails_alone_and_is_logged_without_text(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.model.errors["riddle"] = ZeroDivisionError("a bug about Bob's salary")
    bench.connect(runs=folder(a="A riddle to read.", b="- [ ] good"))

    run = await bench.run()

    assert (run.outcome, run.items_created) == (RunOutcome.PARTIAL, 1)
    assert (run.errors[0].unit_key, run.errors[0].message) == ("a.md", "ZeroDivisionError")
    assert any(record.message == "unit.broke" and record.exc_info for record in caplog.records)
    assert "salary" not in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("why", [TooManyCalls("64 calls are open"), CallInWork("call c is in work")])
async def test_call_refused_by_the_link_is_retried_until_sent(bench: Bench, why: DeliveryError) -> None:
    link = bench.connect(runs=folder(a="- [ ] one"), answers=[why] * 20 + [TAKEN])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        with anyio.fail_after(20):
            while len(link.calls) < 21:
                bench.clock.advance(1)
                await anyio.lowlevel.checkpoint()

    run = (await bench.store.read(runs.list_runs))[0]
    assert (run.outcome, run.items_created, run.error_count) == (RunOutcome.SUCCESS, 1, 0)


async def test_final_move_of_a_run_is_retried_while_the_database_is_busy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    move = bench.lifecycle.move
    refused: list[RunEvent] = []

    async def refuse_once(held: FencedRun, event: RunEvent, **given: Any) -> FencedRun:
        if event is RunEvent.FINISHED and not refused:
            refused.append(event)
            raise Busy("somebody holds the file")
        return await move(held, event, **given)

    monkeypatch.setattr(bench.lifecycle, "move", refuse_once)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        with anyio.fail_after(20):
            while not bench.clock.sleeping:
                await anyio.lowlevel.checkpoint()
        bench.clock.advance(2)

    assert refused and (await bench.store.read(runs.list_runs))[0].state is RunState.COMPLETED


async def test_run_cancelled_during_a_pause_is_cancelled(bench: Bench) -> None:
    gone = LinkLost("the connection was cut", dispatched=True)
    bench.connect(runs=[[folder(a="- [ ] one")[0][0], gone]])
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    await bench.store.write(run_pauses.request_cancel, order.run_id, reason="enough", at=1)

    await bench.runner.run(order, Interrupt())

    run = await bench.row(order.run_id)
    assert (run.state, run.reason) == (RunState.CANCELLED, "enough")


async def test_done_file_sent_again_incompletely_remains_done(bench: Bench) -> None:
    whole = AgentData(run_id="r", files=[FilePiece(path="a.md", content="- [ ] one")])
    half = AgentData(run_id="r", files=[FilePiece(path="a.md", content="- [ ] o", pieces=2)])
    lost = bench.connect(runs=[[whole]], capabilities=())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        await bench.settled("a.md")
        lost.cut()
    bench.connect(runs=[[half, AgentComplete(run_id="r")]], capabilities=())
    await bench.dispatcher.open_gates()

    run = await bench.run()

    assert (run.outcome, run.error_count) == (RunOutcome.SUCCESS, 0)


async def test_cancelled_run_stops_the_open_question_and_closes_the_stream(bench: Bench) -> None:
    interrupt = Interrupt()
    bench.model.on_ask = lambda: interrupt.stop(RunEvent.CANCELLED, "enough", grace_s=30)
    bench.model.may_answer = anyio.Event()
    link = bench.connect(runs=folder(a="- [ ] one", b="Prose to read."))

    run = await bench.run(interrupt)

    assert (run.state, run.outcome) == (RunState.CANCELLED, None)
    assert not link.streams[0].is_open


async def test_cancelled_run_waits_for_answers_to_the_sent_calls(bench: Bench) -> None:
    interrupt, may_answer, sent = Interrupt(), anyio.Event(), []
    link = bench.connect(runs=folder(a="".join(f"- [ ] item {n}\n" for n in range(100))))
    call = link.call

    async def call_slowly(frame: ToolCall) -> Answer:
        sent.append(frame)
        await may_answer.wait()
        return await call(frame)

    link.call = call_slowly  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        with anyio.fail_after(10):
            while len(sent) < SINGLE_CALLS:
                await anyio.lowlevel.checkpoint()
        interrupt.stop(RunEvent.CANCELLED, "enough", grace_s=30)
        may_answer.set()

    run = (await bench.store.read(runs.list_runs))[0]
    assert (run.state, run.items_created, len(link.calls)) == (RunState.CANCELLED, SINGLE_CALLS, SINGLE_CALLS)


async def test_cancelled_run_ends_after_the_grace_without_an_answer(bench: Bench) -> None:
    interrupt = Interrupt()
    link = bench.connect(runs=folder(a="- [ ] one"), answers=[])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        with anyio.fail_after(10):
            while not link.calls:
                await anyio.lowlevel.checkpoint()
        interrupt.stop(RunEvent.CANCELLED, "enough", grace_s=0.01)

    run = (await bench.store.read(runs.list_runs))[0]
    assert (run.state, run.reason) == (RunState.CANCELLED, "enough")


async def test_run_continues_without_a_pause_if_the_device_returns_within_the_grace(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, device_grace_s=60)
    interrupt = Interrupt()
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    lost = bench.connect(runs=[[manifest, first]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        await bench.settled("a.md")
        del bench.links[lost.device_id]
        lost.cut()
        await anyio.wait_all_tasks_blocked()
        back = bench.connect(runs=[[manifest, second, end]])
        interrupt.nudge()

    run = (await store.read(runs.list_runs))[0]
    moves = [move.new_state for move in await store.read(runs.run_history, run.id)]
    assert (titles(lost), titles(back), run.fence) == (["one"], ["two"], 1)
    assert moves == [RunState.QUEUED, RunState.PREPARING, RunState.RUNNING, RunState.COMPLETED]


async def test_a_run_whose_device_is_away_is_cancelled_at_once(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, device_grace_s=60)
    interrupt = Interrupt()
    lost = bench.connect(runs=[[folder(a="- [ ] one")[0][0]]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        while not await bench.store.read(runs.list_runs, states=EXECUTING_RUN_STATES):
            await anyio.lowlevel.checkpoint()
        await bench.comes_to(RunState.RUNNING)
        del bench.links[lost.device_id]
        lost.cut()
        await anyio.wait_all_tasks_blocked()
        interrupt.stop(RunEvent.CANCELLED, "enough", grace_s=30)

    assert (await store.read(runs.list_runs))[0].state is RunState.CANCELLED


async def test_run_paused_by_a_person_before_acknowledgement_has_pause_reason_user(bench: Bench) -> None:
    interrupt = Interrupt()
    bench.connect(runs=[[]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        await anyio.wait_all_tasks_blocked()
        interrupt.ask(RunEvent.USER_PAUSED, "paused by anna")

    run = (await bench.store.read(runs.list_runs))[0]
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.USER)


async def test_drained_run_finishes_the_current_file_before_the_pause(bench: Bench) -> None:
    interrupt = Interrupt()
    bench.model.on_ask = lambda: interrupt.ask(RunEvent.DRAINED, "the hub stops")
    manifest, first, *_ = folder(a="- [ ] one\n\nProse.", b="- [ ] two")[0]
    link = bench.connect(runs=[[manifest, first]])
    bench.model.may_answer = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, interrupt)
        await anyio.wait_all_tasks_blocked()
        bench.model.may_answer.set()

    run = (await bench.store.read(runs.list_runs))[0]
    units = await bench.units(run.id)
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.DRAIN)
    assert units["a.md"].state is UnitState.DONE
    assert titles(link) == ["one"]


async def test_halted_hub_logs_a_run_taken_over_by_another_hub_as_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    await bench.control.submit(bench.agent)
    order, read = await bench.claim(), bench.store.read
    again: list[RunOrder] = []

    async def halted(work: Any, *args: Any, **named: Any) -> Any:
        if work is open_calls and not again:
            await bench.lifecycle.move(order.held(RunState.RUNNING), RunEvent.HUB_LOST)
            again.append(await bench.claim())
            await bench.lifecycle.move(again[0].held(RunState.PREPARING), RunEvent.ACKNOWLEDGED)
            await bench.store.write(plan, again[0].held(RunState.RUNNING), "b.md", of=calls("c-other"))
        return await read(work, *args, **named)

    monkeypatch.setattr(bench.store, "read", halted)
    await bench.runner.run(order, Interrupt())

    row = await bench.row(order.run_id)
    assert (row.state, row.fence) == (RunState.RUNNING, again[0].fence)
    assert {record.message for record in caplog.records} & {"run.lost", "run.broke"} == {"run.lost"}


async def test_unchanged_file_of_a_device_without_digests_is_skipped_by_text(bench: Bench) -> None:
    stream = [
        AgentData(run_id="r", files=[FilePiece(path="a.md", content="- [ ] one")]),
        AgentComplete(run_id="r"),
    ]
    bench.connect(runs=[stream], capabilities=())
    assert (await bench.run()).items_created == 1
    link = bench.connect(runs=[stream], capabilities=())

    run = await bench.run()

    assert (run.outcome, run.units_skipped, link.calls) == (RunOutcome.SUCCESS, 1, [])


@pytest.fixture
def run_to_deadline(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[RunRow]]:
    """Function that returns a run whose deadline passes once something is so."""

    async def run_to(bench: Bench, is_due: Callable[[], bool]) -> RunRow:
        loop, passed_s, ended = asyncio.get_running_loop(), 0.0, list[RunRow]()
        elapsed = loop.time
        monkeypatch.setattr(loop, "time", lambda: elapsed() + passed_s)

        async def execute() -> None:
            ended.append(await bench.run())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(execute)
            await until(is_due)
            passed_s = bench.limits.run_wall_s
        return ended[0]

    return run_to


async def test_files_unread_at_the_run_deadline_are_read_by_the_next_run(
    store: Store, agent: AgentRow, run_to_deadline: Callable[..., Awaitable[RunRow]]
) -> None:
    bench = Bench(store, agent, limits=Limits(run_wall_s=3_600.0))
    first = bench.connect(runs=[folder(a="- [ ] one", b="- [ ] two")[0][:1]])
    run = await run_to_deadline(bench, lambda: bool(first.streams and first.streams[0].taken))
    assert (run.state, "deadline" in run.errors[0].message) == (RunState.FAILED, True)
    assert bench.metrics.reached()["run_wall_s"] == 1

    link = bench.connect(runs=folder(a="- [ ] one", b="- [ ] two"))
    run = await bench.run()
    assert (sorted(map(str, titles(link))), run.outcome) == (["one", "two"], RunOutcome.SUCCESS)


async def test_run_at_the_deadline_names_the_number_of_unanswered_calls(
    store: Store, agent: AgentRow, run_to_deadline: Callable[..., Awaitable[RunRow]]
) -> None:
    bench = Bench(store, agent, limits=Limits(run_wall_s=3_600.0))
    link = bench.connect(runs=folder(a="- [ ] one"), answers=[])
    run = await run_to_deadline(bench, lambda: bool(link.calls))
    waited = "deadline: not done after 3600 s; calls that the device has not answered: 1"
    assert (run.state, run.reason) == (RunState.FAILED, waited)


@pytest.mark.parametrize("in_flight", [2, 8])
async def test_files_read_in_parallel_are_bounded_by_units_in_flight(
    store: Store, agent: AgentRow, in_flight: int
) -> None:
    bench = Bench(store, agent, units_in_flight=in_flight)
    bench.model.may_answer = anyio.Event()
    (frames,) = folder(**{f"file{number}": f"A riddle to read. {number}" for number in range(20)})
    link = bench.connect(runs=[frames])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        with anyio.fail_after(10):
            while bench.model.asked < in_flight:
                await anyio.lowlevel.checkpoint()
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        assert bench.model.asked == in_flight
        assert link.streams[0].taken <= len(frames) - 20 + in_flight + 1
        bench.model.may_answer.set()


# --- what the log tells of a run: everything but the words of its documents ---


SECRET = "Zanzibar"
FILES = {
    "a": f"- [ ] call {SECRET}",
    "b": f"- [ ] pay {SECRET}",
    "c": f"Anna must write to {SECRET} by Friday.",
    "d": f"{SECRET}: a riddle.",
    "e": f"{SECRET}: an enigma.",
    "f": f"{SECRET}: a puzzle.",
}


async def test_log_contains_no_document_text_after_any_outcome_of_a_file(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.model.said = f'{{"items": [{{"table": "tasks", "quote": "{SECRET}", "title": "{SECRET}"}}]}}'
    bench.model.errors |= {
        "riddle": ExtractionError("the answer was cut off", code=ErrorCode.MODEL_ANSWER_CUT_OFF),
        "puzzle": ExtractionError("the answer is not JSON"),
        "enigma": ValueError(f"not a word: {SECRET}"),
    }
    refusal = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message=f"tasks.title: {SECRET}"))
    bench.connect(
        runs=folder(**FILES),
        answers=lambda call: refusal if "pay" in str(call.data["title"]) else TAKEN,
    )
    run = await bench.run()
    assert (run.outcome, run.units_failed) == (RunOutcome.PARTIAL, 4)

    told = [str(vars(record)) for record in caplog.records] + [caplog.text]
    assert caplog.records
    assert not [line for line in told if SECRET in line]


async def test_log_contains_no_document_text_if_the_model_is_away(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.model.said, bench.model.finish = SECRET, Finish.CUT_OFF
    bench.model.errors["riddle"] = ModelUnavailable("connection refused")
    bench.connect(runs=folder(**FILES))
    await bench.run()
    assert not [record for record in caplog.records if SECRET in str(vars(record))]


# --- a run is a trace: what goes to its device bears it, and so does what the log says of it ---


FREE = "We talked about the garden for a long while, and nobody wrote down who does it."


async def test_repeated_call_has_the_same_span(bench: Bench) -> None:
    refused = Answer(error=ErrorBody(code=ErrorCode.BUSY, retryable=True))
    link = bench.connect(runs=folder(a="- [ ] one"), answers=[refused, TAKEN])
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        while len(link.calls) < 2:
            await bench.clock.pass_time(1)
    first, second = link.calls
    assert first.trace == second.trace


async def test_a_trace_has_a_span_for_each_state_file_question_and_call(bench: Bench) -> None:
    bench.model.on_ask = lambda: bench.clock.advance(3)

    def answer(call: ToolCall) -> Answer:
        bench.clock.advance(2)
        return Answer(error=ErrorBody(code=ErrorCode.BAD_PARAMS)) if call.data["title"] == "two" else TAKEN

    link = bench.connect(runs=folder(a=f"- [ ] one\n- [ ] two\n\n{FREE}"), answers=answer)
    done = await bench.run()
    began = done.created_at
    run, *states, unit, model, first, second = await bench.store.read(list_spans, done.id)
    assert (run.kind, run.parent, run.ended_at) == ("run", None, done.completed_at)
    assert [(span.kind, span.name) for span in states] == [
        ("state", state) for state in ("QUEUED", "PREPARING", "RUNNING")
    ]
    assert (unit.kind, unit.unit_key, unit.outcome, unit.items) == ("unit", "a.md", "FAILED", 2)
    assert (unit.started_at, unit.read_at, unit.planned_at) == (began, began, began + 3_000)
    assert (model.kind, model.started_at, model.ended_at) == ("model", began, began + 3_000)
    assert {(call.name, call.outcome, call.sends) for call in (first, second)} == {
        ("insert tasks", "ACKED", 1),
        ("insert tasks", "REJECTED", 1),
    }
    assert {(call.started_at, call.ended_at) for call in (first, second)} == {(began + 3_000, began + 7_000)}
    assert {span.parent for span in (model, first, second)} == {unit.id}
    assert {span.parent for span in (*states, unit)} == {run.id}
    # the frames name the spans that they belong to
    assert link.streams[0].run.trace == f"00-{trace_id_of(done.id)}-{states[1].id}-01"
    assert {call.trace for call in link.calls} == {
        f"00-{trace_id_of(done.id)}-{call.id}-01" for call in (first, second)
    }


async def test_trace_of_an_executing_run_has_open_spans_and_complete_pages(bench: Bench) -> None:
    bench.model.may_answer = anyio.Event()
    bench.connect(runs=folder(a="- [ ] one", b=FREE))
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        await bench.settled("a.md")
        while not bench.model.asked:
            await bench.clock.pass_time(0)
        (row,) = await bench.store.read(runs.list_runs)
        spans = await bench.store.read(list_spans, row.id)
        bench.model.may_answer.set()
    assert [span.name for span in spans if span.ended_at is None] == [row.trigger_kind, "RUNNING"]
    after, parts = None, []
    while part := await bench.store.read(list_spans, row.id, limit=2, after=after):
        parts += part
        after = part[-1].key
    assert parts == await bench.store.read(list_spans, row.id)
    assert {span.unit_key for span in parts if span.kind == "model"} == {"b.md"}


async def test_log_entries_of_a_run_have_the_trace_id(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    with opened_log() as opened:
        done = await bench.run()
    told = [entry for entry in opened.log.ring.since(0) if entry.fields.get("run_id") == done.id]
    assert [entry.event for entry in told] == ["run.queued", "run.moved", "run.moved"]
    assert {entry.fields["trace_id"] for entry in told} == {trace_id_of(done.id)}


def part(listed: dict[str, str], *sent: str, last: bool = True) -> list[RunFrame | Exception]:
    """Frames of a device that lists files, with a letter for the content of each, and sends some of them."""
    files = [ManifestFile(path=f"{name}.md", size_bytes=9, sha256=digest(of)) for name, of in listed.items()]
    pieces = [
        FilePiece(path=f"{name}.md", content=f"- [ ] {name}{listed[name]}", sha256=digest(listed[name]))
        for name in sent
    ]
    data = [AgentData(run_id="r", files=[piece]) for piece in pieces]
    return [AgentManifest(run_id="r", files=files), *data, *([AgentComplete(run_id="r")] if last else ())]


ALL = {name: name for name in "abcde"}


async def test_run_with_files_left_is_followed_immediately_until_no_file_is_left(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    link = bench.connect(runs=[part(ALL, "a", "b"), part(ALL, "c", "d"), part(ALL, "e")])
    first = await bench.control.submit(
        agent, options=RunOptions(parameters={"x": 1}, context={"task_id": "t"})
    )

    runs_made = [await bench.run() for _ in range(3)]

    made = list(map(str, titles(link)))
    assert [sorted(made[:2]), sorted(made[2:4]), made[4:]] == [["aa", "bb"], ["cc", "dd"], ["ee"]]
    assert [(run.outcome, run.error_count, run.units_total) for run in runs_made] == [
        (RunOutcome.SUCCESS, 0, 5)
    ] * 3
    assert [run.progress for run in runs_made] == [40.0, 80.0, 100.0]
    assert [run.units_skipped for run in runs_made] == [0, 2, 4]
    followed_by = [(run.result or {}).get("followed_by") for run in runs_made]
    assert followed_by == [runs_made[1].id, runs_made[2].id, None]
    assert [run.trigger_kind for run in runs_made] == ["manual", "wake", "wake"]
    for run in runs_made:
        assert (run.fire_at, run.task_id, run.parameters) == (first.fire_at, "t", {"x": 1})
    assert await store.read(runs.count_runs, 9) == 3
    assert bench.metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "run_files"}) is None


async def test_follow_up_has_the_current_settings_of_the_agent(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    bench.connect(runs=[part(ALL, "a", "b")])
    await bench.control.submit(agent)
    await declare_agent(store, prompt="Find other tasks.")

    await bench.run()

    (follow_up,) = await store.read(runs.list_runs, states=[RunState.QUEUED])
    assert follow_up.settings["prompt"] == "Find other tasks."


async def test_waiting_run_with_the_same_settings_reads_the_files_left_by_a_run(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    bench.connect(runs=[part(ALL, "a", "b")])
    first = await bench.control.submit(agent)
    order = await bench.claim()
    waiting = await bench.control.submit(agent)

    await bench.runner.run(order, Interrupt())

    assert ((await bench.row(first.id)).result or {})["followed_by"] == waiting.id
    assert await store.read(runs.count_runs, 9) == 2


UNREAD = AgentComplete(run_id="r", skipped=[SkippedFile(path=f"{n}.md", reason="unreadable") for n in "ab"])
# Frames of a run for two of five files, and the budget in tokens.
UNFOLLOWED: dict[str, tuple[list[RunFrame | Exception], int | None]] = {
    "each file fails": ([*part(ALL, last=False), UNREAD], None),
    "the budget of a run is reached": (part(ALL, "a", "b"), 1),
}


@pytest.mark.parametrize("case", UNFOLLOWED)
async def test_run_settling_nothing_or_meeting_a_budget_is_not_followed(
    store: Store, agent: AgentRow, case: str
) -> None:
    frames, tokens = UNFOLLOWED[case]
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    if tokens:
        frames[1] = AgentData(run_id="r", files=[FilePiece(path="a.md", content="Pay.", sha256=digest("a"))])
    bench.budgets.limits = BudgetSettings(run_tokens=tokens)
    bench.connect(runs=[frames])

    run = await bench.run()

    assert run.error_count >= 2
    assert (run.result or {}).get("followed_by") is None
    assert await store.read(runs.count_runs, 9) == 1


async def test_cancelled_run_is_not_followed(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    bench.connect(runs=[part(ALL, "a", "b")])
    await bench.control.submit(agent)
    order = await bench.claim()
    await store.write(run_pauses.request_cancel, order.run_id, reason="stop", at=bench.now_ms, actor="anna")

    await bench.runner.run(order, Interrupt())  # the request is found by its end only

    assert (await bench.row(order.run_id)).state in (RunState.COMPLETED, RunState.CANCELLED)
    assert await store.read(runs.count_runs, 9) == 1


async def test_runs_of_a_fire_try_each_file_once_although_files_change_constantly(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    changed = [dict.fromkeys("abc", letter) for letter in "123"]
    bench.connect(runs=[part(changed[0], "a", "b"), part(changed[1], "c", "a"), part(changed[2])])

    first = await bench.run()
    bench.clock.advance(60)
    second = await bench.run()

    assert ((first.result or {})["followed_by"], first.outcome) == (second.id, RunOutcome.SUCCESS)
    assert ((second.result or {}).get("followed_by"), second.outcome) == (None, RunOutcome.PARTIAL)
    assert [error.code for error in second.errors] == [ErrorCode.LIMIT_REACHED]
    assert await store.read(runs.count_runs, 9) == 2


@pytest.mark.parametrize("frame", [part(ALL, last=False)[0], part(ALL, "a")[1]], ids=["list", "content"])
async def test_task_receiving_files_from_a_device_fails_and_reads_no_file(
    store: Store, frame: RunFrame | Exception
) -> None:
    worker = await declare_agent(store, paths=(), data_types=())
    bench = Bench(store, worker)
    bench.connect(runs=[[frame, AgentComplete(run_id="r")]], capabilities=(CapabilityName.AGENT_WORK,))

    run = await bench.run()

    assert (run.state, run.units_total, run.units_done) == (RunState.FAILED, 0, 0)
    assert run.reason is not None and "sends files for a task" in run.reason


async def test_device_sending_changed_files_first_without_a_list_ends_the_runs_of_a_fire(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, run_limits=RunLimits(files=2))
    sent = [part(dict.fromkeys("abc", of), *"abc")[1:] for of in "123"]
    bench.connect(runs=sent, capabilities=())

    first = await bench.run()
    bench.clock.advance(60)
    second = await bench.run()

    assert (first.units_done, second.units_done) == (2, 2)
    assert ((first.result or {})["followed_by"], first.outcome) == (second.id, RunOutcome.SUCCESS)
    assert ((second.result or {}).get("followed_by"), second.outcome) == (None, RunOutcome.PARTIAL)


async def test_device_with_new_files_at_each_listing_ends_the_runs_of_a_fire_at_their_limit(
    store: Store, agent: AgentRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_RUNS_OF_FIRE", 2)
    bench = Bench(store, agent, run_limits=RunLimits(files=1))
    listed = [dict.fromkeys(names, "1") for names in ("ab", "cd", "ef")]
    bench.connect(runs=[part(files, min(files)) for files in listed])

    first = await bench.run()
    bench.clock.advance(60)
    second = await bench.run()

    assert ((first.result or {})["followed_by"], first.outcome) == (second.id, RunOutcome.SUCCESS)
    assert ((second.result or {}).get("followed_by"), second.outcome) == (None, RunOutcome.PARTIAL)
    assert [error.code for error in second.errors] == [ErrorCode.LIMIT_REACHED]


async def test_run_not_done_in_time_is_followed_only_after_another_settled_file(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent)
    changed = [part(dict.fromkeys("ab", of), "a", last=False) for of in "12"]
    bench.connect(runs=changed)
    bench.control.run_timeout_s = 0.5

    first = await bench.run()
    bench.clock.advance(60)
    second = await bench.run()

    assert (first.units_done, second.units_done) == (1, 1)
    followed_by = [(run.result or {}).get("followed_by") for run in (first, second)]
    assert followed_by == [second.id, None]


async def test_run_not_done_in_time_is_followed_after_a_settled_file(store: Store, agent: AgentRow) -> None:
    bench = Bench(store, agent)
    bench.connect(runs=[part(ALL, "a", last=False)])
    bench.control.run_timeout_s = 0.5
    run = await bench.run()

    assert (run.state, run.units_done) == (RunState.FAILED, 1)
    assert (run.result or {})["followed_by"] is not None


async def test_files_beyond_the_most_items_of_a_run_are_read_by_the_next_at_once(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, limits=Limits(items_per_run=1), units_in_flight=1)
    three = {name: name for name in "abc"}
    link = bench.connect(runs=[part(three, "a", "b", "c"), part(three, "c", "b")])

    first, second = [await bench.run() for _ in range(2)]

    assert (titles(link), second.units_done) == (["aa", "cc"], 1)
    followed_by = [(run.result or {}).get("followed_by") for run in (first, second)]
    assert followed_by == [second.id, None]


def boxes(*files: tuple[str, str, str]) -> list[list[RunFrame | Exception]]:
    """Return the data of files with one box each, by name, letter in the box and digest."""
    manifest, sent = list[ManifestFile](), list[AgentData]()
    for name, box, letter in files:
        text = f"- [{box}] call Anna about the lease" if box else "The lease was extended."
        manifest.append(ManifestFile(path=name, size_bytes=len(text), sha256=digest(letter)))
        sent.append(AgentData(run_id="r", files=[FilePiece(path=name, content=text, sha256=digest(letter))]))
    return [[AgentManifest(run_id="r", files=manifest), *sent, AgentComplete(run_id="r")]]


MOVES = {
    "ticked after a run over the new place": ("~/notes", "notes/Daily/x.md", "notes/Journal/x.md", True),
    "ticked before a run over the new place": ("~/notes", "notes/Daily/x.md", "notes/Journal/x.md", False),
    "folder moved": ("~/work/notes", "notes/Daily/x.md", "notes (work)/Daily/x.md", True),
    "folder renamed": ("~/vault", "notes/Daily/x.md", "vault/Daily/x.md", True),
}


@pytest.mark.parametrize(("root", "before", "after", "is_read"), MOVES.values(), ids=MOVES)
async def test_box_ticked_in_a_moved_file_is_done_in_the_item_of_the_old_place(
    bench: Bench, root: str, before: str, after: str, is_read: bool
) -> None:
    bench.connect(runs=boxes((before, " ", "1")))
    await bench.run()
    if is_read:
        bench.connect(runs=boxes((after, " ", "2"))).roots = (root,)
        await bench.run()
    link = bench.connect(runs=boxes((after, "x", "3")))
    link.roots = (root,)

    await bench.run()

    (item,) = await bench.store.read(lambda c: c.execute(sa.select(items)).all())
    assert (item.unit_key, item.data["status"], item.source["path"]) == (after, "done", after)
    assert [(call.action, call.data["status"]) for call in link.calls] == [("update", "done")]


NOTE, EMPTY, OTHER = ("notes/a.md", " ", "1"), ("notes/a.md", "", "2"), ("notes/b.md", "", "3")
LATER = {
    "unchanged": ([[NOTE, OTHER]], False),
    "file deleted": ([[OTHER]], True),
    "file deleted, and there again": ([[OTHER], [NOTE, OTHER]], False),
    "line deleted": ([[EMPTY, OTHER]], True),
    "line deleted, and there again": ([[EMPTY, OTHER], [NOTE, OTHER]], False),
    "line deleted, and the file saved": ([[EMPTY, OTHER], [(*EMPTY[:2], "4"), OTHER]], True),
    "line deleted, and the file": ([[EMPTY, OTHER], [OTHER]], True),
}


@pytest.mark.parametrize(("later", "is_missing"), LATER.values(), ids=LATER)
async def test_waiting_item_is_marked_while_the_file_or_its_words_are_gone(
    bench: Bench, later: list[list[tuple[str, str, str]]], is_missing: bool
) -> None:
    for listing in ([NOTE, OTHER], *later):
        bench.connect(runs=boxes(*listing)).roots = ("~/notes",)
        run = await bench.run()
        assert run.outcome == "success"

    (item,) = await bench.store.read(lambda c: c.execute(sa.select(items)).all())
    assert (item.warnings, item.version) == (["missing"] if is_missing else [], 1)


@pytest.mark.parametrize("verdict", ["open", "held"])
async def test_item_that_the_hub_holds_ends_with_its_file(bench: Bench, verdict: str) -> None:
    for listing in ([NOTE, OTHER], [OTHER]):
        bench.connect(runs=boxes(*listing)).roots = ("~/notes",)
        await bench.run()
        await bench.store.write(lambda c: c.execute(sa.update(items).values(verdict=verdict)))

    found = await bench.store.read(lambda c: c.execute(sa.select(items)).all())
    assert len(found) == (verdict == "open")


async def test_repeat_of_an_item_whose_file_is_still_listed_leaves_the_item_there(bench: Bench) -> None:
    first = ("notes/a.md", " ", "1")
    bench.connect(runs=boxes(first))
    await bench.run()
    link = bench.connect(runs=boxes(first, ("notes/b.md", " ", "2")))
    link.roots = ("~/notes",)

    await bench.run()

    (item,) = await bench.store.read(lambda c: c.execute(sa.select(items)).all())
    assert (item.unit_key, link.calls) == ("notes/a.md", [])
