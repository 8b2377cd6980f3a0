"""What a device keeps of where its own agents stand, and that runs go on from it."""

from typing import Any

from protocol.coordination import Response
from protocol.errors import ErrorCode
from protocol.lifecycles import RunState
from protocol.work import RunCheckpoint
from storage.agents import checkpoints
from storage.runs.runs import RunRow
from tests.support.link import FakeLink
from tests.support.requests import ask
from tests.support.runs import Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]


async def put(bench: Bench, sequence: int, **said: Any) -> Response:
    about: dict[str, Any] = {"agent_id": "notes", "sequence": sequence, "state": {"page": sequence}} | said
    return await ask(bench, "checkpoints.put", **about)


async def test_a_checkpoint_is_kept_and_read_again(bench: Bench) -> None:
    state = {"seen": {"inbox": ["m-1", "m-2"]}, "cursor": None}
    assert (await put(bench, 3, state=state)).error is None
    told = (await ask(bench, "checkpoints.get", agent_id="notes")).result
    assert told is not None
    kept: Any = told["checkpoint"]
    assert (kept["scope"], kept["sequence"], kept["state"]) == ("agent", 3, state)


async def test_an_answer_that_was_lost_is_given_again_and_an_older_checkpoint_is_refused(
    bench: Bench,
) -> None:
    first = await put(bench, 3)
    assert (await put(bench, 3)).result == first.result
    refused = await put(bench, 2)
    assert refused.error is not None and refused.error.code == ErrorCode.STALE_CHECKPOINT


async def test_a_run_is_handed_out_with_the_checkpoint_of_its_agent(bench: Bench) -> None:
    await put(bench, 3)
    await put(bench, 9, scope="mailbox")
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.control.submit(bench.agent)
    await bench.run()
    assert link.streams[0].run.checkpoint == RunCheckpoint(sequence=3, state={"page": 3})


async def test_a_checkpoint_that_no_run_is_to_go_on_from_is_not_handed_out(bench: Bench) -> None:
    await put(bench, 3, is_recoverable=False)
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    assert link.streams[0].run.checkpoint is None


async def executing(bench: Bench) -> RunRow:
    """A run that is handed out to the device."""
    bench.connect()
    run = await bench.control.submit(bench.agent)
    await bench.claim()
    return await bench.row(run.id)


async def test_a_run_that_was_handed_out_anew_writes_no_checkpoint_under_its_old_fence(bench: Bench) -> None:
    run = await executing(bench)
    assert (await put(bench, 1, run_id=run.id, fence=run.fence)).error is None
    refused = await put(bench, 2, run_id=run.id, fence=run.fence - 1)
    assert refused.error is not None and refused.error.code == ErrorCode.STALE_RUN
    await bench.control.cancel(run.id, actor="me", reason="enough")
    refused = await put(bench, 2, run_id=run.id, fence=run.fence)
    assert refused.error is not None and refused.error.code == ErrorCode.STALE_RUN
    assert (await bench.store.read(checkpoints.get_checkpoint, bench.agent.id)).sequence == 1


async def test_a_cleared_checkpoint_is_returned_one_last_time(bench: Bench) -> None:
    await put(bench, 3)
    told = (await ask(bench, "checkpoints.clear", agent_id="notes")).result
    assert told is not None and told["cleared"]["sequence"] == 3  # type: ignore[index,call-overload]
    gone = await ask(bench, "checkpoints.get", agent_id="notes")
    assert gone.error is not None and gone.error.code == ErrorCode.UNKNOWN_CHECKPOINT


async def test_a_device_reports_the_progress_of_its_run_and_readers_see_it(bench: Bench) -> None:
    run = await executing(bench)
    about: dict[str, Any] = {"run_id": run.id, "fence": run.fence}
    told = await ask(bench, "runs.report", **about, progress=40, message="reading mails", context={"page": 2})
    assert told.error is None
    row = await bench.row(run.id)
    assert (row.progress, row.status_message, row.context) == (40.0, "reading mails", {"page": 2})
    late = await ask(bench, "runs.report", run_id=run.id, fence=run.fence + 1, message="late")
    assert late.error is not None and late.error.code == ErrorCode.STALE_RUN
    stranger = await ask(bench, "runs.report", FakeLink("another"), **about, message="not mine")
    assert stranger.error is not None and stranger.error.code == ErrorCode.UNKNOWN_RUN
    assert (await bench.row(run.id)).status_message == "reading mails"


async def test_a_device_gets_the_purpose_of_a_run(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    started = await ask(bench, "runs.start", link, agent_id="notes", context={"why": "asked"}, task_id="t-7")
    assert started.error is None
    row = await bench.run()
    assert row.state is RunState.COMPLETED
    assert link.streams[0].run.context == {"why": "asked", "task_id": "t-7"}
    assert row.result is not None and row.result["items"]["by_table"] == {"tasks": 1}
