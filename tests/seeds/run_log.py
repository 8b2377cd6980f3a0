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
