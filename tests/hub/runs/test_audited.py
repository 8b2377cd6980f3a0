"""What a person does with runs and agents stands in the audit log, with who it was."""

import json
from typing import Any

import anyio
import msgspec
import pytest
from sqlalchemy import Connection, text

from protocol.errors import IllegalTransition
from storage import audit
from storage.runs import runs
from storage.store import Store, open_store
from tests.support.runs import Bench, folder
from tests.support.schedules import HOUR_S, HOURLY, Desk, hours

ANNA = "operator:1000"


async def told(store: Store) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    """Every entry: who, what, about what, and with which detail that is not None."""
    rows = await store.read(audit.list_entries, limit=99, oldest_first=True)
    return [
        (
            row.actor,
            row.event,
            row.subject,
            {name: value for name, value in json.loads(row.detail).items() if value is not None},
        )
        for row in rows
    ]


async def test_starting_pausing_resuming_and_cancelling_a_run_is_audited(bench: Bench) -> None:
    run = await bench.control.submit(bench.agent, actor=ANNA)
    await bench.control.pause(run.id, actor="token:t-1")
    bench.clock.advance(1)
    await bench.control.resume(run.id, actor=ANNA)
    bench.clock.advance(1)
    await bench.control.cancel(run.id, actor="device:d-1", reason="wrong folder")
    again = await bench.control.rerun(run.id, actor=ANNA)
    assert await told(bench.store) == [
        (ANNA, "run.started", run.id, {"agent": "notes"}),
        ("token:t-1", "run.paused", run.id, {}),
        (ANNA, "run.resumed", run.id, {}),
        ("device:d-1", "run.cancelled", run.id, {"reason": "wrong folder"}),
        (ANNA, "run.rerun", again.id, {"agent": "notes", "rerun_of": run.id}),
    ]


async def test_a_request_without_effect_is_not_audited(bench: Bench) -> None:
    run = await bench.control.submit(bench.agent, key="key", actor=ANNA)
    await bench.control.submit(bench.agent, key="key", actor=ANNA)
    for _ in range(2):
        await bench.control.cancel(run.id, actor=ANNA, reason="not needed")
        bench.clock.advance(1)
    with pytest.raises(IllegalTransition):
        await bench.control.pause(run.id, actor=ANNA)
    await bench.control.pause_agent(bench.agent.id, actor=ANNA)
    await bench.control.pause_agent(bench.agent.id, actor=ANNA)
    await bench.control.resume_agent(bench.agent.id, actor=ANNA)
    await bench.control.resume_agent(bench.agent.id, actor=ANNA)
    assert [event for _, event, _, _ in await told(bench.store)] == [
        "run.started",
        "run.cancelled",
        "agent.paused",
        "agent.resumed",
    ]


async def test_a_start_by_a_schedule_is_not_audited_and_a_backfill_by_a_person_is() -> None:
    async with open_store("sqlite://") as store:
        desk = Desk(store)
        await desk.declare(msgspec.structs.replace(HOURLY, catchup_window_ms=0))
        async with desk.serving():
            await desk.pass_time(HOUR_S)
        desk.clock.advance(5.5 * HOUR_S)
        async with desk.serving() as scheduler:
            (schedule,) = await desk.schedules()
            await scheduler.backfill(schedule.id, hours(2), hours(4), actor=ANNA, dry_run=True)
            done = await scheduler.backfill(schedule.id, hours(2), hours(4), actor=ANNA)
        detail = {"first_at": hours(2), "last_at": hours(4), "runs": len(done.runs)}
        assert await told(store) == [(ANNA, "schedule.backfilled", schedule.id, detail)]


async def test_pause_of_an_executing_run_is_audited_at_the_request(bench: Bench) -> None:
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    run = await bench.control.submit(bench.agent, actor=ANNA)
    bench.connect(runs=[[manifest, first], [manifest, second, end]])
    async with anyio.create_task_group() as services:
        await services.start(bench.dispatcher.serve)
        await bench.settled("a.md")
        await bench.control.pause(run.id, actor=ANNA)
        assert (ANNA, "run.paused", run.id, {}) in await told(bench.store)
        services.cancel_scope.cancel()


async def test_run_is_not_submitted_if_the_audit_entry_cannot_be_written(bench: Bench) -> None:
    """An audit log that cannot be written lets nothing happen that it should tell of."""

    def lose_the_log(c: Connection) -> None:
        c.execute(text("DROP TABLE audit_log"))

    await bench.store.write(lose_the_log)
    with pytest.raises(Exception, match="audit_log"):
        await bench.control.submit(bench.agent, actor=ANNA)
    assert await bench.store.read(runs.list_runs) == []
