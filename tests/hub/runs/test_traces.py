"""A run is a trace: what goes to its device bears it, and so does what the log says of it."""

import anyio

from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import trace_id_of, traceparent
from protocol.work import Answer
from tests.support.log import opened_log
from tests.support.runs import TAKEN, Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]


async def test_agent_run_and_every_tool_call_bear_the_trace_of_their_run(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] one\n- [ ] two"))
    done = await bench.run()
    (stream,) = link.streams
    assert stream.run.trace == traceparent(done.id, "agent_run", str(done.fence))
    assert [call.trace for call in link.calls] == [
        traceparent(done.id, "tool_call", call.id) for call in link.calls
    ]
    assert len({call.trace for call in link.calls}) == 2


async def test_a_call_that_is_sent_again_is_the_same_span(bench: Bench) -> None:
    refused = Answer(error=ErrorBody(code=ErrorCode.BUSY, retryable=True))
    link = bench.connect(runs=folder(a="- [ ] one"), answers=[refused, TAKEN])
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        while len(link.calls) < 2:
            await bench.clock.pass_time(1)
    first, second = link.calls
    assert first.trace == second.trace


async def test_what_the_log_says_of_a_run_bears_its_trace(bench: Bench) -> None:
    bench.connect(runs=folder(a="- [ ] one"))
    with opened_log() as opened:
        done = await bench.run()
    told = [entry for entry in opened.log.ring.since(0) if entry.fields.get("run_id") == done.id]
    assert [entry.event for entry in told] == ["run.queued", "run.moved", "run.moved"]
    assert {entry.fields["trace_id"] for entry in told} == {trace_id_of(done.id)}
