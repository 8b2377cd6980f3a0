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
PATCH: Final = "PATCH /v1/agents/{name}/as/runlog"


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


@run_log("config: name, directory_paths, file_extensions, data_types, prompt_template", lives=PATCH)
async def a_configuration_of_files_is_written(walk: Walk) -> None:
    given = {
        "name": "Notes of mine",
        "directory_paths": ["~/notes", "~/more"],
        "file_extensions": [".md", ".txt"],
        "data_types": ["tasks", "notes"],
        "prompt_template": "Find what I promised.",
    }
    assert (await walk.patch(AS, given)).items() >= given.items()
    assert (await walk.get(AS)).items() >= given.items()
    for wrong, says in (
        ({"name": 7}, "name: "),
        ({"directory_paths": []}, "directory_paths: may not be empty"),
        ({"directory_paths": "~/notes"}, "directory_paths: "),
        ({"file_extensions": ["md"]}, "file_extensions.0: a file extension begins with a dot"),
        ({"file_extensions": None}, "file_extensions: may not be null"),
        ({"data_types": ["people"]}, "data_types.0: "),
        ({"prompt_template": None}, "prompt_template: may not be null"),
        ({"agent_type": "cloud"}, "agent_type is not written here"),
        ({"last_run_at": "2026-01-01T00:00:00Z"}, "last_run_at is not written here"),
    ):
        await walk.refused("PATCH", AS, wrong, status=422, says=says)


@run_log("config.schedule_cron", lives=f"schedules.expr, {PATCH}")
async def a_schedule_is_written_and_keeps_its_policies(walk: Walk) -> None:
    schedule = {"cron": "30 7 * * *", "overlap": "queue_one", "max_attempts": 3, "run_timeout_s": 60.0}
    await walk.patch("agents/notes", {"schedule": schedule})
    assert (await walk.patch(AS, {"schedule_cron": "15 8 * * *"}))["schedule_cron"] == "15 8 * * *"
    (kept,) = (await walk.get("agents/notes"))["schedules"]
    assert (kept["overlap"], kept["max_attempts"], kept["run_timeout_s"]) == ("queue_one", 3, 60.0)
    for wrong in ("0 7 * *", "every day", {"every_s": 900}, 7):
        await walk.refused("PATCH", AS, {"schedule_cron": wrong}, status=422, says="schedule_cron")
    assert (await walk.patch(AS, {"schedule_cron": None}))["schedule_cron"] is None
    assert (await walk.get("agents/notes"))["schedule"] is None


@run_log("config.device_id", lives=f"agents.device_id, {PATCH}")
async def an_agent_moves_to_another_device_of_its_user(walk: Walk) -> None:
    laptop = (await walk.hub.device("laptop")).id
    assert (await walk.patch(AS, {"device_id": laptop}))["device_id"] == laptop
    assert (await walk.get("agents/notes"))["device"] == "laptop"
    assert (await walk.patch(AS, {"device_id": "desk"}))["device_id"] == (await walk.hub.device("desk")).id
    hers = (await walk.hub.device("hers", user_id=await walk.hub.user("eve"))).id
    for foreign in ("nowhere", "hers", hers):
        await walk.refused("PATCH", AS, {"device_id": foreign}, status=404, says=foreign)
    says = "set.device_id: a device keeps its agents"
    asked = {"as": "runlog", "set": {"device_id": laptop}}
    await walk.ask_refused("status.set", says=says, agent_id="notes", **asked)
