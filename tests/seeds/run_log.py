"""The run-log document: an agent run manager that reads a device's files and inserts what it finds."""

from typing import Final

from hub.runs.sources import DeviceStalled
from protocol.frame import ErrorBody
from protocol.lifecycles import RunState
from protocol.work import Answer, ToolCall
from tests.seeds.walk import Document, Walk
from tests.support.runs import TAKEN, folder

run_log = Document("run log")
AS: Final = "agents/notes/as/runlog"


@run_log(
    "errors and items_created == 0: error; errors: partial; else success", lives="runs.outcome, runs.errors"
)
async def a_run_of_which_one_item_of_three_is_taken_is_partial(walk: Walk) -> None:
    def answer(call: ToolCall) -> Answer:
        title = call.data.get("title")
        return (
            TAKEN if title == "one" else Answer(error=ErrorBody(code="invalid_value", message=f"no {title}"))
        )

    async with walk.hub.working(*folder(a="- [ ] one\n- [ ] two\n- [ ] three"), answers=answer):
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["items_created"]) == ("partial", 1)
    assert logged["errors"] == [
        "the device refused an insert of tasks: no two (invalid_value)",
        "the device refused an insert of tasks: no three (invalid_value)",
    ]
    assert (await walk.get(f"runs/{run}"))["state"] == RunState.COMPLETED


@run_log("errors.append(...), before _finalize_run", lives="runs.errors; hub runs show; runs.get")
async def errors_of_the_attempts_so_far_are_read_while_a_run_waits_for_the_next(walk: Walk) -> None:
    (frames,) = folder(a="- [ ] one")
    stalled = [*frames[:1], DeviceStalled("nothing came for 120 s")]
    async with walk.hub.working(stalled, frames, answers=lambda _: TAKEN):
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.comes_to(run, RunState.RUNNING)
        await walk.hub.comes_to(run, RunState.QUEUED)
        shown = await walk.get(f"runs/{run}")
        (error,) = shown["errors"]
        assert (error["attempt"], error["code"], error["path"]) == (1, "attempt_failed", None)
        assert (shown["attempt"], shown["error_count"], shown["outcome"]) == (2, 1, None)
        own = (await walk.ask("runs.get", run_id=run))["run"]
        assert [one["attempt"] for one in own["errors"]] == [1]
        (logged,) = (await walk.get(AS))["agent_run_log"]
        assert (logged["status"], logged["errors"]) == ("running", ["attempt 1: nothing came for 120 s"])
        assert "attempt 1: attempt_failed: nothing came" in await walk.text("runs", "show", run)
        walk.hub.clock.advance(60)
        await walk.hub.ends(run)
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["errors"]) == ("success", ["attempt 1: nothing came for 120 s"])
    shown = await walk.get(f"runs/{run}")
    assert (shown["outcome"], shown["error_count"], shown["result"]["errors"]) == ("success", 0, 0)
    await walk.ask_refused("runs.get", run_id="none", says="this device has no run")


@run_log(
    "status: running, success, partial, error",
    lives="runs.state, GET /v1/agents/{name}/as/runlog/agent_run_log?status=",
)
async def the_run_log_is_read_in_pages_and_by_status(walk: Walk) -> None:
    for run, end in (("r-1", RunState.COMPLETED), ("r-2", RunState.FAILED), ("r-3", RunState.CANCELLED)):
        await walk.hub.run(run)
        await walk.hub.move(run, end)
    for run, items in (("r-4", 2), ("r-5", 0)):
        await walk.hub.run(run)
        await walk.hub.move(run, RunState.COMPLETED)
        counts = "error_count = 1, items_created = :items"
        await walk.sql(f"UPDATE runs SET {counts} WHERE id = :run", run=run, items=items)
    await walk.hub.run("r-6")
    path = f"{AS}/agent_run_log"
    logged = await walk.pages(path, "agent_run_log", limit=2)
    statuses = {one["run_id"]: one["status"] for one in logged}
    assert list(statuses.items()) == [
        ("r-6", "running"),
        ("r-5", "error"),
        ("r-4", "partial"),
        ("r-3", "error"),
        ("r-2", "error"),
        ("r-1", "success"),
    ]
    for status in ("running", "success", "partial", "error"):
        found = await walk.pages(path, "agent_run_log", status=status, limit=2)
        assert found == [one for one in logged if one["status"] == status]
    says = "agent_run_log has no 'fine'; values: running, success, partial, error"
    await walk.refused("GET", f"{path}?status=fine", status=422, says=says)
    await walk.refused("GET", f"{path}?state=FAILED", status=422, says="filters: status")
