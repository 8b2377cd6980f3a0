"""The run-log document: an agent run manager that reads a device's files and inserts what it finds."""

from typing import Any, Final

from hub.runs.sources import DeviceStalled
from protocol.errors import CallTimedOut
from protocol.frame import ErrorBody
from protocol.lifecycles import RunState
from protocol.tool_calls import Answer, ToolCall
from tests.seeds.walk import OF_WALK, Document, Walk
from tests.support.oracle import Fault, order, plant
from tests.support.runs import MODERN, TAKEN, folder

run_log = Document("run log")
AS: Final = "agents/notes/as/runlog"
PATCH: Final = "PATCH /v1/agents/{name}/as/runlog"
PLANTED: Final = plant("Anna", "send the quote", "2026-12-01", "K-0007")


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
        assert [one["attempt"] for one in (await walk.ask("runs.get", run_id=run))["run"]["errors"]] == [1]
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
    await walk.refusals(
        ("GET", f"{path}?status=fine", None, 422, says),
        ("GET", f"{path}?state=FAILED", None, 422, "filters: status"),
    )


@run_log("agent_type: local for a device, cloud for a connector", lives="agents.executor")
@run_log(
    "an invalid expression returns False: never trigger an unparseable schedule",
    lives="schedules.expr",
    changed="an expression that cannot be read is refused when it is written, so that none is stored",
)
@run_log("config.schedule_cron", lives=f"schedules.expr, {PATCH}")
@run_log("_ALLOWED_TABLES: tasks, notes, timelines, projects, taskComments", lives="agents.data_types")
@run_log("config: name, directory_paths, file_extensions, data_types, prompt_template", lives=PATCH)
async def a_configuration_of_files_and_its_schedule_are_written(walk: Walk) -> None:
    assert (await walk.get(AS))["agent_type"] == "local"
    await walk.sql_refused("UPDATE agents SET executor = 'moon'")
    await walk.refusals(
        *(
            ("PATCH", AS, {"schedule_cron": wrong}, 422, "schedule_cron")
            for wrong in ("0 7 * *", "every day", "61 7 * * *", "")
        )
    )
    await walk.cli_refused("agents", "edit", "notes", "--schedule", "61 7 * * *", says="schedule")
    assert (await walk.get(AS))["schedule_cron"] == "0 7 * * 1-5"
    schedule = {"cron": "30 7 * * *", "overlap": "queue_one", "max_attempts": 3, "run_timeout_s": 60.0}
    await walk.patch("agents/notes", {"schedule": schedule})
    assert (await walk.patch(AS, {"schedule_cron": "15 8 * * *"}))["schedule_cron"] == "15 8 * * *"
    (kept,) = (await walk.get("agents/notes"))["schedules"]
    assert (kept["overlap"], kept["max_attempts"], kept["run_timeout_s"]) == ("queue_one", 3, 60.0)
    await walk.refusals(
        *(("PATCH", AS, {"schedule_cron": wrong}, 422, "schedule_cron") for wrong in ({"every_s": 900}, 7))
    )
    assert (await walk.patch(AS, {"schedule_cron": None}))["schedule_cron"] is None
    assert (await walk.get("agents/notes"))["schedule"] is None
    kinds = ["tasks", "notes", "timelines", "projects", "taskComments"]
    assert (await walk.patch("agents/notes", {"data_types": kinds}))["data_types"] == kinds
    await walk.refusals(
        *(
            ("PATCH", "agents/notes", {"data_types": wrong}, 422, "data_types")
            for wrong in (["people"], ["Tasks"], [])
        )
    )
    given = {
        "name": "Notes of mine",
        "directory_paths": ["~/notes", "~/more"],
        "file_extensions": [".md", ".txt"],
        "data_types": ["tasks", "notes"],
        "prompt_template": "Find what I promised.",
    }
    assert (await walk.patch(AS, given)).items() >= given.items()
    assert (await walk.get(AS)).items() >= given.items()
    await walk.refusals(
        *(
            ("PATCH", AS, wrong, 422, says)
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
            )
        )
    )


@run_log("config.device_id", lives=f"agents.device_id, {PATCH}")
async def an_agent_moves_to_another_device_of_its_user(walk: Walk) -> None:
    laptop = (await walk.hub.device("laptop")).id
    assert (await walk.patch(AS, {"device_id": laptop}))["device_id"] == laptop
    assert (await walk.get("agents/notes"))["device"] == "laptop"
    assert (await walk.patch(AS, {"device_id": "desk"}))["device_id"] == (await walk.hub.device("desk")).id
    hers = (await walk.hub.device("hers", user_id=await walk.hub.user("eve"))).id
    await walk.refusals(
        *(("PATCH", AS, {"device_id": foreign}, 404, foreign) for foreign in ("nowhere", "hers", hers))
    )
    says = "set.device_id: a device keeps its agents"
    asked = {"as": "runlog", "set": {"device_id": laptop}}
    await walk.ask_refused("status.set", says=says, agent_id="notes", **asked)


@run_log("_finalize_run: completed_at, config.last_run_at", lives="runs.completed_at")
@run_log(
    "_send_insert_to_client: tool_call with id, action insert, table, data, isAiSuggested 1, isApproved 0",
    lives="run_calls, tool_call",
)
@run_log(
    "agent_run: run_id, agent_id, config with paths, file_extensions, prompt_template, data_types",
    lives="agent_run",
)
async def an_item_of_a_run_is_inserted_on_the_device_as_a_suggestion(walk: Walk) -> None:
    assert (await walk.get(AS))["last_run_at"] is None
    async with walk.hub.working(*folder(a="- [ ] one"), answers=lambda _: TAKEN) as link:
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    document = await walk.get(AS)
    (logged,) = document["agent_run_log"]
    assert document["last_run_at"] == logged["completed_at"] == "2026-01-05T09:00:00.000Z"
    (call,) = link.calls
    assert (
        call.action,
        call.table,
        call.data["title"],
        call.data["isAiSuggested"],
        call.data["isApproved"],
    ) == ("insert", "tasks", "one", 1, 0)
    assert not call.data.keys() & {"id", "createdAt", "updatedAt"}
    (kept,) = await walk.sql("SELECT call_id FROM run_calls")
    assert call.id == kept[0]
    (stream,) = link.streams
    assert (stream.run.run_id, stream.run.agent_id) == (run, (await walk.agent()).id)
    config = stream.run.config
    assert (config.paths, config.file_extensions, config.prompt_template, config.data_types) == (
        document["directory_paths"],
        document["file_extensions"],
        document["prompt_template"],
        document["data_types"],
    )


@run_log("_INSERT_TIMEOUT = 30: Timed out awaiting insert ack", lives="tool_call.deadline_ms, run_calls")
async def a_device_has_thirty_seconds_for_an_insert(walk: Walk) -> None:
    late = CallTimedOut("no answer in 30 s")
    async with walk.hub.working(*folder(a="- [ ] one"), answers=[late, TAKEN]) as link:
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    first, again = link.calls
    assert first.deadline_ms == 30_000
    assert again.id == first.id, "what may have been inserted is asked again under the same id"
    assert (await walk.get(f"runs/{run}"))["items_created"] == 1


@run_log("items of tables that are not in data_types are discarded", lives="items, agents.data_types")
async def an_agent_inserts_nothing_of_other_kinds(walk: Walk) -> None:
    await walk.patch("agents/notes", {"data_types": ["projects"]})
    async with walk.hub.working(*folder(a="- [ ] one"), answers=lambda _: TAKEN) as link:
        await walk.hub.ends((await walk.post("agents/notes/runs"))["id"])
    assert link.calls == []
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["items_created"]) == ("success", 0)


@run_log(
    "if not content: continue, before items_processed += 1", lives="runs.units_done, run_units.size_bytes"
)
async def an_empty_file_is_read_and_not_counted_as_processed(walk: Walk) -> None:
    async with walk.hub.working(*folder(a="- [ ] one", b="", c=""), answers=lambda _: TAKEN):
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    assert (await walk.get(f"runs/{run}"))["progress"] == 100.0
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["items_processed"], logged["items_created"]) == (1, 1)
    assert (await walk.get(f"{AS}/agent_run_log"))["agent_run_log"] == [logged]


@run_log("errors and items_created == 0: error", lives="runs.error_count, GET /v1/agents/{name}/as/runlog")
async def a_run_of_which_every_item_is_refused_is_an_error(walk: Walk) -> None:
    refusal = Answer(error=ErrorBody(code="invalid_value", message="no"))
    async with walk.hub.working(*folder(a="- [ ] one\n- [ ] two"), answers=lambda _: refusal):
        await walk.hub.ends((await walk.post("agents/notes/runs"))["id"])
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["items_created"], len(logged["errors"])) == ("error", 0, 2)
    (shown,) = (await walk.cli("agents", "status", "notes", "--as", "runlog"))["agent_run_log"]
    assert shown == logged


@run_log(
    "Device {config.device_id!r} is not connected: error",
    lives="runs.state",
    changed="the run waits for the device: an hour without it is no error of the agent",
)
@run_log("local agents: only triggered when config.device_id == device_id", lives="runs.device_id")
async def a_run_waits_for_its_device_and_is_executed_there_alone(walk: Walk) -> None:
    await walk.hub.disconnect(await walk.hub.device("desk"))
    run = (await walk.post("agents/notes/runs"))["id"]
    shown = await walk.get(f"runs/{run}")
    assert (shown["state"], shown["outcome"]) == ("QUEUED", None) and "desk" in shown["waiting_for"]
    other = await walk.hub.connect(await walk.hub.device("laptop"), capabilities=MODERN, runs=folder(a="x"))
    async with walk.hub.working(*folder(a="- [ ] one"), answers=lambda _: TAKEN) as link:
        await walk.hub.ends(run)
    outcome = (await walk.get(f"runs/{run}"))["outcome"]
    assert (outcome, len(other.streams), len(link.streams)) == ("success", 0, 1)


@run_log("LocalAgentConfig.enabled, CloudAgentConfig.enabled", lives=f"agent_states.lifecycle, {PATCH}")
async def an_agent_is_enabled_and_disabled_in_the_words_of_the_document(walk: Walk) -> None:
    assert (await walk.get(AS))["enabled"] is True
    for enabled, lifecycle in ((False, "paused"), (False, "paused"), (True, "active"), (True, "active")):
        assert (await walk.patch(AS, {"enabled": enabled}))["enabled"] is enabled
        assert (await walk.get("agents/notes"))["lifecycle"] == lifecycle
    both = {"enabled": False, "name": "Notes of mine"}
    assert (await walk.patch(AS, both)).items() >= both.items()
    read = await walk.get(AS)
    assert await walk.patch(AS, read | {"enabled": True}) == read | {"enabled": True}
    await walk.refusals(
        *(
            ("PATCH", AS, {"enabled": wrong}, 422, "enabled: expected true or false")
            for wrong in (1, "no", None)
        )
    )
    given = {name: read[name] for name in ("device_id", "directory_paths", "data_types", "prompt_template")}
    off = given | {"name": "Off", "enabled": False}
    assert (await walk.post("agents/as/runlog", off)).items() >= off.items()
    own = {"agent_id": "notes", "as": "runlog", "set": {"enabled": False}}
    assert (await walk.ask("status.set", **own))["agent"]["enabled"] is False


@run_log("enabled == True", lives="agent_states.lifecycle, POST /v1/agents/{name}/pause")
async def a_paused_agent_is_not_run_by_its_schedule(walk: Walk) -> None:
    await walk.patch(AS, {"enabled": False})
    await walk.hub.pass_days(3)
    assert {run["state"] for run in (await walk.get("runs"))["runs"]} <= {"QUEUED", "CANCELLED", "PAUSED"}
    assert (await walk.get(AS))["last_run_at"] is None


@run_log("_is_overdue: now >= next_run", lives="schedules.next_fire_at, schedules.catch_up")
async def a_run_that_is_overdue_starts_when_the_device_connects(walk: Walk) -> None:
    await walk.hub.disconnect(await walk.hub.device("desk"))
    assert (await walk.get("runs"))["runs"] == []
    await walk.hub.pass_days(2)
    async with walk.hub.working(*folder(a="- [ ] one"), answers=lambda _: TAKEN):
        (run,) = (await walk.get("runs"))["runs"]
        while "just connected" not in ((await walk.get(f"runs/{run['id']}"))["waiting_for"] or ""):
            walk.hub.work.dispatcher.recheck()
        walk.hub.clock.advance(10)
        walk.hub.work.dispatcher.recheck()
        await walk.hub.ends(run["id"])
    assert (await walk.get(f"runs/{run['id']}"))["trigger"] == "catchup"


@run_log(
    "RuntimeError: the device disconnects while it sends",
    lives="runs.state, run_units",
    changed="the run goes on when the device is back, with the files that it has not read yet",
)
async def a_run_whose_device_is_lost_goes_on_later(walk: Walk) -> None:
    await walk.hub.run("r-1", RunState.RUNNING)
    await walk.hub.move("r-1", RunState.PAUSED)
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["errors"], logged["completed_at"]) == ("running", [], None)
    shown = await walk.get("runs/r-1")
    assert (shown["state"], shown["history"][-1]["before"], shown["attempt"]) == ("PAUSED", "RUNNING", 1)


@run_log(
    "a local configuration belongs to a user and a device", lives="POST /v1/agents/as/runlog, agents.create"
)
async def a_configuration_is_created_in_the_words_of_the_document(walk: Walk) -> None:
    desk = (await walk.hub.device("desk")).id
    given = {
        "name": "Notes of mine",
        "device_id": desk,
        "directory_paths": ["~/notes"],
        "file_extensions": [".md"],
        "data_types": ["tasks"],
        "prompt_template": "Find what I promised.",
        "schedule_cron": "30 7 * * *",
    }
    made = await walk.post("agents/as/runlog", given)
    assert made.items() >= given.items()
    assert (await walk.get(f"agents/{made['id']}"))["name"] == "notes-of-mine"
    assert await walk.get("agents/notes-of-mine/as/runlog") == made
    asked = {key: value for key, value in given.items() if key != "device_id"}
    own = (await walk.ask("agents.create", **{"as": "runlog"}, **asked))["agent"]
    assert own.items() >= given.items() and own["id"] != made["id"]
    assert (await walk.get("agents/notes-of-mine-2"))["id"] == own["id"]
    laptop = (await walk.hub.device("laptop")).id
    says = "a device makes agents which work on it"
    await walk.ask_refused("agents.create", says=says, **{"as": "runlog"}, **given | {"device_id": laptop})
    await walk.refusals(
        *(
            ("POST", "agents/as/runlog", given | wrong, 422, says)
            for wrong, says in (
                ({"name": None}, "name: missing"),
                ({"directory_paths": "~"}, "directory_paths: "),
                ({"data_types": ["people"]}, "data_types.0: "),
                ({"schedule_cron": "daily"}, "schedule_cron"),
                ({"id": desk}, "id is not written here"),
                ({"mood": "good"}, "no column 'mood'"),
            )
        ),
        ("POST", "agents/as/runlog", given | {"device_id": "none"}, 404, "none"),
    )
    assert len((await walk.get("agents"))["agents"]) == 3


@run_log(
    "last_run_at is None: overdue; called when Electron sends device_hello",
    lives="schedules.first_connect; on_first_connect of a schedule, in hub.toml, over REST and the CLI",
    changed="an agent without the setting runs at the times of its schedule alone",
)
async def an_agent_that_never_ran_runs_once_when_its_device_connects(walk: Walk) -> None:
    daily = {"cron": "0 7 * * *", "on_first_connect": True}
    made = await walk.post("agents", {"name": "mail", "device": "desk", "schedule": daily} | OF_WALK)
    (schedule,) = made["schedules"]
    assert (schedule["on_first_connect"], schedule["first_connect"]) == (True, "awaited")
    await walk.post("agents", {"name": "idle", "device": "desk", "schedule": "0 7 * * *"} | OF_WALK)
    await walk.cli("agents", "edit", "idle", "--set", 'schedule={"cron": "0 8 * * *"}')
    assert "it runs when its device connects next" in await walk.text("agents", "next", "mail")
    desk = await walk.hub.device("desk")
    for _ in range(2):
        await walk.hub.disconnect(desk)
        await walk.hub.connect(desk)
        await walk.hub.pass_days(0)
    (run,) = (await walk.get("runs"))["runs"]
    assert (run["agent"], run["trigger"]) == ("mail", "catchup")
    (move,) = (await walk.get(f"runs/{run['id']}"))["history"]
    assert move["because"] == "its device connected, and the agent had never run"
    (schedule,) = (await walk.get("agents/mail/next"))["schedules"]
    assert schedule["first_connect"] == "done"
    wrong = {"schedule": daily | {"on_first_connect": "yes"}}
    await walk.refused("PATCH", "agents/mail", wrong, status=422, says="on_first_connect")
    await walk.sql_refused("UPDATE schedules SET first_connect = 'soon'")


@run_log(
    "config.schedule_cron of a new config, last_run_at is None", lives=f"schedules.first_connect; {PATCH}"
)
async def a_schedule_that_is_made_in_these_words_also_runs_at_the_first_connection(walk: Walk) -> None:
    await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK)
    await walk.patch("agents/mail/as/runlog", {"schedule_cron": "0 7 * * *"})
    given = {"name": "more", "device_id": "desk", "directory_paths": ["~/notes"], "data_types": ["tasks"]}
    given |= {"prompt_template": "Find.", "schedule_cron": "0 7 * * *"}
    await walk.post("agents/as/runlog", given)
    for agent in ("mail", "more"):
        (schedule,) = (await walk.get(f"agents/{agent}"))["schedules"]
        assert schedule["on_first_connect"]
    await walk.patch("agents/mail", {"schedule": {"cron": "0 7 * * *"}})
    await walk.patch("agents/mail/as/runlog", {"schedule_cron": "0 8 * * *"})
    (schedule,) = (await walk.get("agents/mail"))["schedules"]
    assert (schedule["expr"], schedule["on_first_connect"]) == ("0 8 * * *", False)
    says = "4 fields instead of five"
    await walk.refused("PATCH", "agents/mail/as/runlog", {"schedule_cron": "0 7 * *"}, status=422, says=says)


async def _read(walk: Walk, **files: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Let the agent read these files. Return the run and the rows that were inserted."""
    async with walk.hub.working(*folder(**files), answers=lambda _: TAKEN) as link:
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    return await walk.get(f"runs/{run}"), [dict(call.data) for call in link.calls]


@run_log(
    "_EXTRACTION_SYSTEM_PROMPT, user_prompt: instructions, record types and their fields, document",
    lives="the question to the model: hub.extraction.prompt",
)
async def the_model_is_asked_with_the_prompt_the_fields_and_the_document(walk: Walk) -> None:
    oracle = await walk.model()
    run, rows = await _read(walk, a=PLANTED)
    (request,) = oracle.requests
    system, document = request["messages"][0]["content"], request["messages"][-1]["content"]
    assert "Find what I promised to do." in system and PLANTED in document
    for field in ("title", "description", "status", "priority", "assignee", "dueDate"):
        assert field in system
    assert not any(word in system for word in ("taskId", "clientId", "isApproved", "createdAt"))
    due = {"title": "send the quote", "assignee": ["Anna"], "dueDate": 1796083200000}
    assert (rows, run["items_created"]) == ([due | {"isAiSuggested": 1, "isApproved": 0}], 1)


@run_log("table not in allowed: continue", lives="hub.extraction.validate")
async def an_answer_for_another_table_is_discarded(walk: Walk) -> None:
    (await walk.model()).play(Fault.FOREIGN_TABLE)
    _, rows = await _read(walk, a=PLANTED)
    assert [row["title"] for row in rows] == ["send the quote"]


@run_log(
    "json.JSONDecodeError: LLM extraction returned invalid JSON, return []",
    lives="hub.extraction.extractor",
    changed="the model is asked once more, so that a slip of the model loses no item",
)
async def an_answer_that_is_no_json_is_asked_for_again(walk: Walk) -> None:
    oracle = await walk.model()
    oracle.play(Fault.MALFORMED_ANSWER)
    run, rows = await _read(walk, a=PLANTED)
    assert (len(oracle.requests), len(rows), run["outcome"]) == (2, 1, "success")


@run_log(
    "LLM extraction error for {file_path!r}: {exc}; continue",
    lives="run_units.error, runs.errors",
    changed="what may pass is tried again before it is an error",
)
async def an_error_of_the_model_is_overcome_or_is_one_of_its_file(walk: Walk) -> None:
    oracle = await walk.model()
    oracle.play(Fault.SERVER_ERROR)
    run, rows = await _read(walk, a=PLANTED)
    assert (run["outcome"], len(rows), len(oracle.requests)) == ("success", 1, 2)


@run_log(
    "data.pop of id, createdAt, updatedAt, isAiSuggested, isApproved",
    lives="hub.extraction.validate, protocol.tables",
)
async def fields_that_the_hub_sets_are_never_taken_from_the_model(walk: Walk) -> None:
    await walk.model(is_gullible=True)
    _, rows = await _read(walk, a=f"{PLANTED} {order(1)}")
    assert rows and all((row["isAiSuggested"], row["isApproved"]) == (1, 0) for row in rows)
    assert not any(row.keys() & {"id", "createdAt", "updatedAt", "userId"} for row in rows)


@run_log(
    "file_content[:8000]",
    lives="hub.extraction.chunk",
    changed="a long document is read to its end, in parts that fit the model",
)
async def a_long_document_is_read_to_its_end(walk: Walk) -> None:
    oracle = await walk.model()
    _, rows = await _read(walk, a="The sun shines on the roof. " * 1_000 + PLANTED)
    assert [row["title"] for row in rows] == ["send the quote"] and len(oracle.requests) > 1


CLOUD: Final = """
[[connectors]]
name = "work"
provider = "gmail"
client_id = "me.apps.googleusercontent.com"
client_secret = { file = "client.secret" }

[[agents]]
name = "mail"
device = "desk"
connector = "work"
data_types = ["tasks"]
prompt = "Find what somebody wants me to do."
schedule = "*/15 * * * *"
"""


async def _cloud(walk: Walk) -> None:
    secret = walk.hub.folder / "client.secret"
    secret.write_text("s" * 24)
    secret.chmod(0o600)
    await walk.model()
    await walk.declare(CLOUD)


@run_log(
    "CloudAgentConfig: an agent that reads gmail, outlook or teams; agent_type cloud",
    lives="[[connectors]], agents.executor",
)
async def an_agent_with_a_connector_is_of_the_cloud(walk: Walk) -> None:
    await _cloud(walk)
    document = await walk.get("agents/mail/as/runlog")
    assert (document["agent_type"], document["directory_paths"]) == ("cloud", [])
    (connector,) = (await walk.get("connectors"))["connectors"]
    assert (connector["provider"], connector["agents"]) == ("gmail", ["mail"])
    walk.hub.settings.write_text(walk.hub.settings.read_text().replace('"gmail"', '"pigeon"'))
    await walk.refusals(
        ("POST", "reload", None, 422, "there is no provider 'pigeon'"),
        ("PATCH", "agents/mail/as/runlog", {"directory_paths": ["~/a"]}, 409, "hub.toml"),
    )


@run_log("CloudAgentConfig.provider, CloudAgentConfig.filter_config", lives=f"agents.connector_id, {PATCH}")
async def an_agent_of_the_cloud_is_created_and_changed_in_the_words_of_the_document(walk: Walk) -> None:
    await _cloud(walk)
    document = await walk.get("agents/mail/as/runlog")
    assert (document["provider"], document["filter_config"]) == ("gmail", {})
    local = await walk.get(AS)
    assert (local["agent_type"], local["provider"], local["filter_config"]) == ("local", None, None)
    assert await walk.patch(AS, local) == local
    given = {
        "name": "Mail of mine",
        "enabled": True,
        "filter_config": {"lookback_days": 7},
        "data_types": ["tasks", "notes"],
        "prompt_template": "Find what I promised.",
        "schedule_cron": "0 7 * * *",
    }
    made = await walk.post("agents/as/runlog", given | {"provider": "work"})
    assert made.items() >= (given | {"provider": "gmail", "agent_type": "cloud", "device_id": None}).items()
    path = f"agents/{made['id']}/as/runlog"
    assert await walk.patch(path, made) == made
    assert (await walk.patch(path, {"filter_config": {}}))["filter_config"] == {}
    assert (await walk.patch(path, {"filter_config": None}))["filter_config"] == {}
    assert [one["provider"] for one in (await walk.get("agents/as/runlog"))["agents"]] == [
        "gmail",
        "gmail",
        None,
    ]
    await walk.refusals(
        ("POST", "agents/as/runlog", given | {"provider": "pigeon"}, 404, "pigeon"),
        ("POST", "agents/as/runlog", given, 422, "device_id: missing; directory_paths: missing"),
        ("PATCH", path, {"provider": "pigeon"}, 404, "pigeon"),
        ("PATCH", path, {"filter_config": "all"}, 422, "filter_config: "),
        ("PATCH", AS, {"filter_config": {"lookback_days": 7}}, 422, "it reads no connector"),
    )
    asked = given | {"as": "runlog", "provider": "work", "name": "Mail of the desk"}
    desk = (await walk.hub.device("desk")).id
    await walk.sql("UPDATE devices SET grants = '[\"agents\"]' WHERE id = :id", id=desk)
    await walk.ask_refused("agents.create", says="connectors", **asked)
    await walk.sql('UPDATE devices SET grants = \'["agents", "connectors"]\' WHERE id = :id', id=desk)
    own = (await walk.ask("agents.create", **asked))["agent"]
    assert (own["provider"], own["device_id"]) == ("gmail", desk)
    await walk.ask_refused(
        "status.set",
        agent_id=own["id"],
        **{"as": "runlog", "set": {"filter_config": {}}},
        says="agents.update",
    )


@run_log(
    "No OAuth token stored for cloud agent: error",
    lives="connectors.state, runs.state",
    changed="the run waits for the sign-in, and says so; no message is missed meanwhile",
)
async def a_run_of_an_account_that_is_not_signed_in_waits_for_it(walk: Walk) -> None:
    await _cloud(walk)
    run = await walk.post("agents/mail/runs")
    assert run["state"] == "QUEUED" and "connector work needs a sign-in" in run["waiting_for"]
    (connector,) = (await walk.cli("connectors", "ls"))["connectors"]
    assert (connector["state"], connector["code"]) == ("sign_in", "sign_in_needed")
    await walk.cli_refused("connectors", "show", "nowhere", says="nowhere")


@run_log(
    "runs execute sequentially to avoid flooding the WS connection",
    lives="[limits] runs_per_device, by default 1",
)
async def runs_on_a_device_are_executed_one_after_the_other(walk: Walk) -> None:
    await walk.post("agents", {"name": "plan", "device": "desk"} | OF_WALK)
    (frames,) = folder(a="- [ ] one")
    async with walk.hub.working(frames[:1], frames, answers=lambda _: TAKEN):
        first = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.comes_to(first, RunState.RUNNING)
        second = await walk.post("agents/plan/runs")
        walk.hub.work.dispatcher.recheck()
        waiting = (await walk.get(f"runs/{second['id']}"))["waiting_for"]
        assert second["state"] == "QUEUED" and waiting, second
        await walk.post(f"runs/{first}/cancel")
        await walk.hub.ends(second["id"])
