"""A run is a trace: what goes to its device bears it, and so does what the log says of it."""

import anyio

from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import trace_id_of
from protocol.work import Answer, ToolCall
from storage.runs import runs
from storage.runs.spans import list_spans
from tests.support.log import opened_log
from tests.support.runs import TAKEN, Bench, folder

FREE = "We talked about the garden for a long while, and nobody wrote down who does it."


async def test_a_call_that_is_sent_again_is_the_same_span(bench: Bench) -> None:
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


async def test_the_trace_of_a_run_that_goes_on_is_open_and_its_parts_are_the_whole(bench: Bench) -> None:
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


async def test_what_the_log_says_of_a_run_bears_its_trace(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    with opened_log() as opened:
        done = await bench.run()
    told = [entry for entry in opened.log.ring.since(0) if entry.fields.get("run_id") == done.id]
    assert [entry.event for entry in told] == ["run.queued", "run.moved", "run.moved"]
    assert {entry.fields["trace_id"] for entry in told} == {trace_id_of(done.id)}
