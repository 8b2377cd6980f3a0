"""The orchestrator document: agents with templates, executions and checkpoints."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from hub.links.device_link import RunFrame
from protocol.frame import ErrorBody
from protocol.lifecycles import RunState
from protocol.work import AgentAck, AgentComplete
from tests.seeds.columns import furnish
from tests.seeds.walk import OF_WALK, Document, Walk
from tests.support.hub import over_tcp
from tests.support.identity import EndedLink
from tests.support.runs import folder

orchestrator = Document("orchestrator")
AS: Final = "agents/mail/as/orchestrator"
PATCH: Final = "PATCH /v1/agents/{name}/as/orchestrator"


async def _agent(walk: Walk, **more: object) -> None:
    await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK | more)


with_agent = partial(orchestrator.after, _agent)


@with_agent("status=AgentStatus.ACTIVE, state_detail=AgentStateDetail.READY", lives=PATCH)
@with_agent("each local AgentState is a shared AgentStatus and a state_detail", lives=PATCH)
@with_agent("the local AgentType is mapped to the shared one", lives="agents.type, agents.subtype")
@with_agent("updated_at: onupdate=func.now()", lives="agents.updated_at")
@with_agent("TERMINATED: terminal state", lives="POST /v1/agents/{name}/terminate")
async def the_words_of_an_agent_are_pairs_and_types_are_mapped(walk: Walk, _made: None) -> None:
    for status, detail in (
        ("ACTIVE", "READY"),
        ("INACTIVE", "READY"),
        ("ACTIVE", "ACTIVE"),
        ("INACTIVE", "PAUSED"),
        ("ERROR", "ERROR"),
        ("MAINTENANCE", "PAUSED"),
        ("INACTIVE", "CREATED"),
        ("INACTIVE", "INITIALIZING"),
    ):
        pair = {"status": status, "state_detail": detail}
        assert (await walk.patch(AS, pair)).items() >= pair.items()
        assert (await walk.get(AS)).items() >= pair.items()
    wrong = {"status": "INACTIVE", "state_detail": "ACTIVE"}
    await walk.refusals(
        ("PATCH", AS, wrong, 409, "ACTIVE + READY"),
        ("PATCH", AS, {"status": "DONE"}, 422, "values: INACTIVE, ACTIVE"),
    )
    for local, shared in (
        ("RESEARCHER", "RESEARCHER"),
        ("PLANNER", "COORDINATOR"),
        ("DEVELOPER", "DEVELOPER"),
        ("REVIEWER", "AUDITOR"),
        ("MANAGER", "COORDINATOR"),
        ("SPECIALIST", "SPECIALIST"),
        ("TOOL_CURATOR", "SPECIALIST"),
        ("DEPLOYMENT", "SPECIALIST"),
        ("AUDITOR", "AUDITOR"),
        ("CUSTOM", "CUSTOM"),
    ):
        await walk.patch("agents/mail", {"type": local})
        document = await walk.get(AS)
        assert (document["type"], document["local_type"]) == (shared, local)
    await walk.refused("PATCH", "agents/mail", {"type": "PILOT"}, status=422, says="RESEARCHER")
    before = await walk.get(AS)
    walk.hub.clock.advance(60)
    after = await walk.patch(AS, {"description": "Reads mail."})
    assert (after["created_at"], after["description"]) == (before["created_at"], "Reads mail.")
    assert after["updated_at"] == "2026-01-05T09:01:00.000Z" > before["updated_at"]
    await walk.refused(
        "PATCH", AS, {"updated_at": "2026-01-05T09:00:30Z"}, status=422, says="not written here"
    )
    ended = await walk.patch(AS, {"state_detail": "TERMINATED"})
    assert (ended["status"], ended["state_detail"]) == ("INACTIVE", "TERMINATED")
    await walk.refused("PATCH", AS, {"status": "ACTIVE"}, status=409, says="legal: none")


@orchestrator(
    "agent_execution.parameters: JSON", lives="POST /v1/agents/{name}/runs, runs.parameters, agent_run"
)
async def parameters_of_an_execution_are_kept_and_given_to_the_device_and_the_prompt(walk: Walk) -> None:
    await _agent(walk, prompt="Find what is {{ tone }}.", config={"tone": "warm"})
    async with walk.hub.working(*folder(a="- [ ] one")) as link:
        run = (await walk.post("agents/mail/runs", {"parameters": {"tone": "cold"}}))["id"]
        await walk.hub.ends(run)
    (execution,) = (await walk.get(AS))["agent_execution"]
    assert execution["parameters"] == {"tone": "cold"}
    (stream,) = link.streams
    assert (stream.run.parameters, stream.run.config.prompt_template) == (
        {"tone": "cold"},
        "Find what is cold.",
    )
    assert (await walk.get(f"runs/{run}"))["settings"]["prompt"] == "Find what is cold."
    await walk.refused("POST", "agents/mail/runs", {"parameters": []}, status=422, says="parameters")


@with_agent(
    "agent_execution.task_id: index=True",
    lives="runs.task_id, GET /v1/runs?task_id=, hub runs --task, POST /v1/agents/{name}/runs",
)
async def executions_are_found_by_their_task(walk: Walk, _made: None) -> None:
    named = (await walk.post("agents/mail/runs", {"task_id": "t-7"}))["id"]
    unnamed = (await walk.post("agents/mail/runs"))["id"]
    tasks = {one["id"]: one["task_id"] for one in (await walk.get(AS))["agent_execution"]}
    assert tasks == {named: "t-7", unnamed: unnamed}
    other = (await walk.post("agents/notes/runs", {"context": {"task_id": "t-7"}}))["id"]
    for query, found in (
        ({"task_id": "t-7"}, {named, other}),
        ({"task_id": "t-7", "agent": "mail"}, {named}),
        ({"task_id": unnamed}, {unnamed}),
        ({"task_id": "t-8"}, set()),
    ):
        assert {run["id"] for run in (await walk.get("runs", **query))["runs"]} == found
    (listed,) = (await walk.cli("runs", "--task", "t-7", "--agent", "mail"))["runs"]
    assert listed["id"] == named
    for wrong in ("", "t" * 129, 7):
        says = "context.task_id: expected a text of 1 to 128 characters"
        await walk.refused("POST", "agents/mail/runs", {"context": {"task_id": wrong}}, status=422, says=says)
    await walk.refused("GET", f"runs?task_id={'t' * 129}", status=422, says="query.task_id")


@orchestrator(
    "execution.state: QUEUED, PREPARING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED",
    lives="runs.state, GET /v1/runs?state=, hub runs --in-state",
)
async def executions_are_found_by_their_state(walk: Walk) -> None:
    ended = (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)
    for state in (*ended, RunState.RUNNING, RunState.PAUSED, RunState.QUEUED):
        run = f"r-{state.lower()}"
        await walk.hub.run(run)
        if state is RunState.PAUSED:
            await walk.post(f"runs/{run}/pause")
        elif state is not RunState.QUEUED:
            await walk.hub.move(run, state)
        for query in ({"state": str(state)}, {"state": str(state), "agent": "notes"}):
            (found,) = (await walk.get("runs", **query))["runs"]
            assert (found["id"], found["state"]) == (run, state)
        assert [listed["id"] for listed in (await walk.cli("runs", "--in-state", state))["runs"]] == [run]
    assert (await walk.get("runs", state="PREPARING"))["runs"] == []
    says = "expected one of QUEUED, PREPARING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED"
    await walk.refused("GET", "runs?state=DONE", status=422, says=says)
    await walk.cli_refused("runs", "--in-state", "DONE", says="'CANCELLED'")
    await walk.sql_refused("UPDATE runs SET state = 'DONE'")


@with_agent("id: UUID", lives="agents.id, in each path in place of an agent's name")
async def an_agent_is_found_by_its_id(walk: Walk, _made: None) -> None:
    mail = (await walk.get(AS))["id"]
    for path in ("agents/{}", "agents/{}/as/orchestrator", "agents/{}/status", "agents/{}/config"):
        assert await walk.get(path.format(mail)) == await walk.get(path.format("mail"))
    run = await walk.post(f"agents/{mail}/runs")
    assert [one["id"] for one in (await walk.get("runs", agent=mail))["runs"]] == [run["id"]]
    assert (await walk.cli("agents", "status", mail))["agent"] == "mail"
    await walk.post("agents", {"name": mail, "device": "desk"} | OF_WALK)
    assert (await walk.get(f"agents/{mail}"))["name"] == (await walk.get(f"agents/{mail}/status"))["agent"]
    assert (await walk.get(f"agents/{mail}"))["name"] == "mail"
    await walk.refused("GET", "agents/00000000-0000-0000-0000-000000000000", status=404, says="no agent")
    for _ in range(2):
        await walk.delete(f"agents/{mail}")
    assert [one["id"] for one in (await walk.get("runs", agent=mail))["runs"]] == [run["id"]]


@orchestrator(
    'name: String(100), as in "Test Agent"', lives="agents.title, agents.name, hub.toml, agents.update"
)
async def an_agent_has_a_name_for_people(walk: Walk) -> None:
    await _agent(walk, title="Test Agent")
    assert (await walk.get(AS))["name"] == "Test Agent"
    assert (await walk.get("agents/mail"))["title"] == "Test Agent"
    assert (await walk.ask("agents.get", agent_id="mail"))["agent"]["title"] == "Test Agent"
    assert (await walk.cli("agents", "edit", "mail", "--title", "é" * 100))["title"] == "é" * 100
    await walk.ask("agents.update", agent_id="mail", title="Mail of ö")
    assert (await walk.get(AS))["name"] == "Mail of ö"
    await walk.refusals(
        *(
            ("PATCH", "agents/mail", {"title": wrong}, 422, "title")
            for wrong in ("", "  ", "n" * 101, "two\nlines", "\u202eleft", "nul\0", 7)
        )
    )
    await walk.patch("agents/mail", {"title": None})
    assert (await walk.get(AS))["name"] == "mail"


RUNS: Final = 60
NOTES: Final = "agents/notes/as/orchestrator"


@orchestrator(
    "AgentStateHistory: previous and new status and state_detail, reason, timestamp of each change",
    lives="agent_state_history, GET /v1/agents/{name}/as/orchestrator/agent_state_history",
)
@orchestrator(
    "AgentExecution: the executions of an agent",
    lives="runs, GET /v1/agents/{name}/as/orchestrator/agent_execution?task_id=&state=",
)
@orchestrator(
    "ExecutionStateHistory: execution_id, previous_state, new_state, reason, timestamp",
    lives="run_state_history, GET /v1/agents/{name}/as/orchestrator/execution_state_history?execution_id=",
)
async def the_histories_of_an_agent_and_of_its_executions_are_complete_after_sixty_runs(walk: Walk) -> None:
    for number in range(RUNS):
        await walk.hub.run(f"r-{number:02}")
        await walk.hub.move(f"r-{number:02}", RunState.COMPLETED)
    path = f"{NOTES}/agent_state_history"
    history = await walk.pages(path, "agent_state_history", limit=50)
    pairs = [(one["new_status"], one["new_state_detail"]) for one in history]
    at_first = [("INACTIVE", "CREATED"), ("INACTIVE", "INITIALIZING"), ("INACTIVE", "READY")]
    by_runs = [("BUSY", "ACTIVE"), ("ACTIVE", "ACTIVE")] * RUNS
    assert pairs[::-1] == [*at_first, ("ACTIVE", "ACTIVE"), *by_runs]
    before = [(one["previous_status"], one["previous_state_detail"]) for one in history]
    assert before == [*pairs[1:], (None, None)]
    assert (await walk.get(NOTES))["agent_state_history"] == history[:100]
    await walk.refusals(
        *(
            ("GET", wrong, None, status, says)
            for wrong, status, says in (
                (f"{NOTES}/agent_state_histories", 404, "tables: agent_state_history, agent_execution"),
                (
                    "agents/notes/as/calendar/agents",
                    404,
                    "calendar has no table 'agents' that is read in pages",
                ),
                ("agents/notes/as/klingon/agent_execution", 404, "there is no vocabulary 'klingon'"),
                (f"{path}?limit=0", 422, "query.limit"),
                (f"{path}?cursor=x", 422, "take it from next_cursor"),
                (
                    f"{path}?state=RUNNING",
                    422,
                    "agent_state_history is not filtered by it; it has no filters",
                ),
                (f"{path}?mood=fine", 422, "query.mood: there is no such parameter"),
                ("agents/nobody/as/orchestrator/agent_execution", 404, "there is no agent 'nobody'"),
            )
        )
    )
    path = f"{NOTES}/agent_execution"
    executions = await walk.pages(path, "agent_execution", limit=7)
    assert [one["id"] for one in executions] == [f"r-{number:02}" for number in reversed(range(RUNS))]
    assert (await walk.get(NOTES))["agent_execution"] == executions[:20]
    moves = await walk.pages(f"{NOTES}/execution_state_history", "execution_state_history", limit=9)
    task = (await walk.post("agents/notes/runs", {"task_id": "t-7"}))["id"]
    for query, found in (
        ({"task_id": "t-7"}, [task]),
        ({"task_id": "r-03"}, ["r-03"]),
        ({"state": "QUEUED"}, [task]),
        ({"state": "COMPLETED", "task_id": "t-7"}, []),
    ):
        assert [one["id"] for one in await walk.pages(path, "agent_execution", **query)] == found
    says = "agent_execution has no 'DONE'; values: QUEUED, PREPARING, RUNNING"
    await walk.refused("GET", f"{path}?state=DONE", status=422, says=says)
    says = "agent_execution is not filtered by it; filters: task_id, state"
    await walk.refused("GET", f"{path}?status=success", status=422, says=says)
    path = f"{NOTES}/execution_state_history"
    of_runs = [one["execution_id"] for one in moves]
    assert of_runs == sorted(of_runs, reverse=True) and len(set(of_runs)) == RUNS
    own = await walk.pages(path, "execution_state_history", execution_id="r-07", limit=2)
    assert own == [one for one in moves if one["execution_id"] == "r-07"]
    assert [one["new_state"] for one in own] == ["COMPLETED", "RUNNING", "PREPARING", "QUEUED"]
    assert await walk.pages(path, "execution_state_history", execution_id="r-99") == []


@orchestrator("state_detail is finer than status", lives="agent_state_history.old_detail")
async def a_change_of_the_state_detail_alone_is_in_the_history(walk: Walk) -> None:
    for detail in ("READY", "ACTIVE"):
        await walk.patch(NOTES, {"status": "ACTIVE", "state_detail": detail})
    last, first, *_ = (await walk.get(NOTES))["agent_state_history"]
    assert (first["previous_state_detail"], first["new_state_detail"]) == ("ACTIVE", "READY")
    assert (last["previous_state_detail"], last["new_state_detail"]) == ("READY", "ACTIVE")


APOLLO, HERMES = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "6f9619ff-8b86-4d01-b42d-00cf4fc964fe"


@with_agent("class AgentUpdate: name, description, configuration, prompt_template", lives=PATCH)
async def an_agent_is_updated_in_the_words_of_the_document(walk: Walk, _made: None) -> None:
    update = {
        "name": "Reader of mail",
        "description": "Reads what comes in.",
        "configuration": {"tone": "warm", "limit": 5, "exact": True, "share": 1.5, "of": {"a": [1, None]}},
        "prompt_template": "Find what is {{ tone }}.",
    }
    assert (await walk.patch(AS, update)).items() >= update.items()
    assert (await walk.get(AS)).items() >= update.items()
    assert (await walk.get("agents/mail"))["title"] == "Reader of mail"
    less = {"configuration": {"tone": "cold", "limit": True}}
    assert (await walk.patch(AS, less)).items() >= (update | less).items()
    asked = await walk.ask("status.set", agent_id="mail", **{"as": "orchestrator", "set": {"name": "Post"}})
    assert asked["agent"]["name"] == (await walk.get(AS))["name"] == "Post"
    shown = await walk.cli("agents", "status", "mail", "--as", "orchestrator", "--set", "description=null")
    assert shown["description"] is None
    for wrong, says in (
        ({"name": None}, "name: may not be null"),
        ({"name": ""}, "name: "),
        ({"name": "n" * 101}, "name: "),
        ({"description": 7}, "description: "),
        ({"description": "nul\0"}, "description: a text has no character U+0000"),
        ({"configuration": []}, "configuration: expected an object"),
        ({"configuration": {"a b": 1}}, "a key begins with a letter"),
        ({"prompt_template": ["x"]}, "prompt_template: "),
        ({"prompt_template": "nul\0"}, "prompt_template: a text has no character U+0000"),
        ({"prompt_template": "Find {{ nothing }}."}, "nothing"),
    ):
        before = await walk.get(AS)
        await walk.refused("PATCH", AS, {"name": "Other"} | wrong, status=422, says=says)
        assert await walk.get(AS) == before
    await walk.patch(AS, {"prompt_template": "Find the mail.", "configuration": None})
    assert (await walk.get(AS))["configuration"] == {}


@orchestrator("class AgentBase: type, project_id, template_id", lives=PATCH)
async def the_type_the_project_and_the_template_are_written(walk: Walk) -> None:
    schema = {"default_configuration": {"tone": "warm", "limit": 5}, "prompt": "Find it."}
    await walk.put("templates/polite", schema)
    polite = (await walk.get("templates/polite"))["id"]
    await _agent(walk)
    given = {"type": "AUDITOR", "project_id": APOLLO, "template_id": polite}
    assert (await walk.patch(AS, given)).items() >= given.items()
    assert (await walk.patch(AS, {"prompt_template": None}))["prompt_template"] is None
    assert (await walk.patch(AS, {"type": "PLANNER"}))["type"] == "COORDINATOR"
    assert (await walk.get(AS))["local_type"] == "PLANNER"
    both = {"type": "SPECIALIST", "local_type": "DEPLOYMENT"}
    assert (await walk.patch(AS, both)).items() >= both.items()
    changed = {"limit": 7, "tone": "warm"}
    assert (await walk.patch(AS, {"configuration": changed}))["configuration"] == changed
    assert [one["key"] for one in (await walk.get("agents/mail/config"))["configs"]] == ["limit"]
    assert (await walk.patch(AS, {"configuration": {}}))["configuration"] == {"tone": "warm", "limit": 5}
    assert (await walk.patch(AS, {"template_id": None, "prompt_template": "Find."}))["template_id"] is None
    await walk.refusals(
        *(
            ("PATCH", AS, wrong, 422, says)
            for wrong, says in (
                ({"type": "PILOT"}, "type: expected one of COORDINATOR"),
                ({"type": None}, "type: may not be null"),
                ({"type": "AUDITOR", "local_type": "PLANNER"}, "type and local_type contradict"),
                ({"project_id": "apollo"}, "project_id: expected a UUID"),
                ({"project_id": None}, "project_id: may not be null"),
            )
        ),
        ("PATCH", AS, {"template_id": HERMES}, 404, HERMES),
    )


@orchestrator("class AgentResponse: what is read is sent back with a change", lives=PATCH)
async def a_whole_object_is_sent_back_with_a_change(walk: Walk) -> None:
    await furnish(walk)
    read = await walk.get(AS)
    moment = read["created_at"].replace("Z", "+00:00")
    assert await walk.patch(AS, read) == read
    updated = await walk.patch(AS, read | {"name": "Test Agent", "created_at": moment})
    same = updated.keys() - {"name", "updated_at"}
    assert {key: updated[key] for key in same} == {key: read[key] for key in same}
    updated = await walk.patch(AS, updated | {"status": "INACTIVE"})
    assert (updated["status"], updated["state_detail"]) == ("INACTIVE", "PAUSED")
    for name in ("id", "created_at", "updated_at"):
        says = f"{name} is not written here: by the hub only"
        await walk.refused("PATCH", AS, updated | {name: HERMES}, status=422, says=says)
    says = "agent_execution is a table"
    await walk.refused("PATCH", AS, updated | {"agent_execution": []}, status=422, says=says)
    assert (await walk.get(AS))["name"] == "Test Agent"


@with_agent("settings and status in one object", lives=f"{PATCH}, one transaction")
async def settings_and_words_are_written_together_or_not_at_all(walk: Walk, _made: None) -> None:
    both = {"name": "Test Agent", "status": "INACTIVE", "state_detail": "PAUSED"}
    written = await walk.patch(AS, both | {"reason": "a holiday"})
    assert written.items() >= both.items()
    assert written["agent_state_history"][0]["reason"] == "a holiday"
    for wrong, status in (
        ({"name": "Other", "status": "ACTIVE", "state_detail": "PAUSED"}, 409),
        ({"name": "Other", "status": "DONE"}, 422),
        ({"name": "", "status": "ACTIVE"}, 422),
        ({"template_id": HERMES, "status": "ACTIVE"}, 404),
    ):
        await walk.refused("PATCH", AS, wrong, status=status)
        assert await walk.get(AS) == written
    events = [one["event"] for one in (await walk.get("audit"))["entries"][:2]]
    assert events == ["agent.status_set", "agent.edited"]


@with_agent("who may update an agent", lives="scopes run and devices", changed="the document has no roles")
async def settings_need_the_scope_that_they_need_elsewhere(walk: Walk, _made: None) -> None:
    asked = {"name": "runner", "role": "operator", "scopes": ["read", "run"]}
    token = (await walk.post("operator-tokens", asked))["token"]
    async with over_tcp(walk.hub, token) as runner:
        assert (await runner.patch(f"/v1/{AS}", json={"status": "INACTIVE"})).status_code == 200
        refused = await runner.patch(f"/v1/{AS}", json={"name": "Mine", "status": "ACTIVE"})
        assert (refused.status_code, "scope 'devices'" in refused.text) == (403, True)
        whole = (await runner.get(f"/v1/{AS}")).json()
        assert (whole["name"], whole["status"]) == ("mail", "INACTIVE")
        assert (await runner.patch(f"/v1/{AS}", json=whole | {"status": "ACTIVE"})).status_code == 200
    await walk.sql("UPDATE agents SET source = 'file'")
    await walk.refused("PATCH", AS, {"name": "Mine"}, status=409, says="managed by hub.toml")
    assert (await walk.patch(AS, {"name": "mail", "status": "INACTIVE"}))["status"] == "INACTIVE"


@orchestrator(
    "agents of a project by type, status and state_detail",
    lives="GET /v1/agents/as/orchestrator, GET /v1/agents?as=orchestrator&status=&type=&project_id=",
)
async def agents_are_found_by_status_type_and_project(walk: Walk) -> None:
    await _agent(walk, type="PLANNER", project_id="house")
    await walk.post("agents", {"name": "plan", "device": "desk", "type": "COORDINATOR"} | OF_WALK)
    await walk.patch(AS, {"status": "ACTIVE", "state_detail": "READY"})
    await walk.patch("agents/plan/as/orchestrator", {"status": "MAINTENANCE"})
    await walk.hub.run("r-1")
    await walk.hub.move("r-1", RunState.RUNNING)
    for query, found in (
        ({"status": "ACTIVE"}, ["mail"]),
        ({"state_detail": "READY"}, ["mail"]),
        ({"status": "BUSY"}, ["notes"]),
        ({"status": "MAINTENANCE", "state_detail": "ACTIVE"}, ["plan"]),
        ({"status": "ERROR"}, []),
        ({"type": "PLANNER"}, ["mail"]),
        ({"type": "COORDINATOR"}, ["mail", "plan"]),
        ({"project_id": "house"}, ["mail"]),
        ({"project_id": "garden"}, []),
        ({"lifecycle": "active", "activity": "idle"}, ["mail"]),
        ({"lifecycle": "active", "health": "ok", "connectivity": "online"}, ["mail", "notes"]),
        ({"availability": "exhausted"}, []),
        ({}, ["mail", "notes", "plan"]),
    ):
        documents = await walk.pages("agents/as/orchestrator", "agents", **query, limit=2)
        assert [one["name"] for one in documents] == found, query
        listed = await walk.pages("agents", "agents", **query, **{"as": "orchestrator"})
        assert [one["name"] for one in listed] == found
    (shown,) = await walk.pages("agents/as/orchestrator", "agents", status="BUSY")
    whole = await walk.get(NOTES)
    assert shown == {column: whole[column] for column in shown}
    await walk.refusals(
        *(
            ("GET", wrong, None, 422, says)
            for wrong, says in (
                ("agents/as/orchestrator?status=idle", "no value 'idle'; values: INACTIVE, ACTIVE, BUSY"),
                ("agents?status=ACTIVE", "calendar.status has no value 'ACTIVE'"),
                ("agents?type=PILOT", "there is no type 'PILOT'; types: COORDINATOR"),
                ("agents?lifecycle=asleep", "query.lifecycle: expected one of"),
                ("agents?mood=fine", "query.mood: there is no such parameter"),
            )
        )
    )


@orchestrator(
    "AgentCreate: a name and a type; prompt_template and configuration are Optional",
    lives="POST /v1/agents, hub agents create, agents.create of a device",
)
async def an_agent_that_reads_no_files_needs_neither_device_nor_prompt(walk: Walk) -> None:
    made = await walk.post("agents", {"name": "planner", "type": "PLANNER"})
    assert (made["device"], made["paths"], made["user"]) == ("", [], "owner")
    assert (await walk.cli("agents", "create", "thinker", "--set", "type=RESEARCHER"))["device"] == ""
    assert not (await walk.ask("agents.create", name="helper"))["agent"]["paths"]
    await walk.put("agents/planner/config/depth", {"value": 3})
    await walk.put("agents/planner/checkpoints/agent", {"sequence": 1, "state": {"at": 1}})
    await walk.patch("agents/planner/status", {"availability": "on_call"})
    assert {"planner", "thinker"} <= {one["name"] for one in (await walk.get("agents"))["agents"]}
    assert (await walk.cli("agents", "show", "planner"))["device"] == ""
    assert "planner" not in str(await walk.get("issues"))
    await walk.refusals(
        ("POST", "agents", {"name": "other", "device": "dekst"}, 404, "dekst"),
        ("POST", "agents", {"name": "other", "user": "nobody"}, 404, "nobody"),
    )


@orchestrator(
    "agent_execution: an agent executes",
    lives="POST /v1/agents/{name}/runs, POST /v1/agents/{name}/validate",
)
async def a_run_names_what_its_agent_lacks(walk: Walk) -> None:
    await walk.post("agents", {"name": "planner", "data_types": ["tasks"]})
    says = "cannot run without device (the device that the agent works on), paths"
    await walk.refused("POST", "agents/planner/runs", status=422, says=says)
    await walk.cli_refused("run", "planner", says="add device, paths, prompt")
    verdict = await walk.post("agents/planner/validate")
    assert verdict["ok"] and len(verdict["missing_for_runs"]) == 3
    words = "schedule: its runs cannot start without device"
    cron = {"schedule": {"cron": "0 7 * * *"}}
    await walk.refusals(
        ("PATCH", "agents/planner", cron, 422, words),
        ("POST", "agents", {"name": "other"} | cron, 422, words),
    )
    slot = {"label": "standup", "every_s": 900, "duration_s": 60}
    await walk.refused("PATCH", "agents/planner", {"slots": [slot]}, status=422, says="nothing can wake it")
    await walk.patch("agents/planner", {"device": "desk"} | OF_WALK | cron)
    assert (await walk.post("agents/planner/validate"))["missing_for_runs"] == []
    await walk.refused("PATCH", "agents/planner", {"paths": None}, status=422, says="without paths")
    await walk.patch("agents/planner", {"schedule": None})
    run = await walk.post("agents/planner/runs")
    says = "it has runs that have not ended, and they need device"
    await walk.refused("PATCH", "agents/planner", {"device": None}, status=422, says=says)
    await walk.post(f"runs/{run['id']}/cancel")
    assert (await walk.patch("agents/planner", {"device": None}))["device"] == ""


CREATE: Final = {
    "name": "Test Agent",
    "description": "Plans the week.",
    "type": "DEVELOPER",
    "project_id": APOLLO,
    "template_id": None,
    "configuration": {"tone": "warm", "limit": 5},
    "prompt_template": "Find what is {{ tone }}.",
}


@orchestrator(
    "class AgentCreate(AgentBase)", lives="POST /v1/agents/as/orchestrator, agents.create of a device"
)
async def an_agent_is_created_in_the_words_of_the_document(walk: Walk) -> None:
    answer = await walk.send("POST", "agents/as/orchestrator", CREATE)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made.items() >= CREATE.items()
    assert (made["status"], made["local_type"]) == ("INACTIVE", "DEVELOPER")
    assert answer.headers["location"] == f"/v1/agents/{made['id']}/as/orchestrator"
    assert await walk.get(f"agents/{made['id']}/as/orchestrator") == made
    assert (await walk.get("agents/test-agent"))["id"] == made["id"]
    own = (await walk.ask("agents.create", **{"as": "orchestrator"}, **CREATE))["agent"]
    assert own.items() >= CREATE.items()
    assert (await walk.get(f"agents/{own['id']}"))["device"] == "desk"
    least = {"name": "?!", "type": "PLANNER", "project_id": APOLLO}
    assert (await walk.post("agents/as/orchestrator", least))["type"] == "COORDINATOR"
    assert (await walk.get("agents/agent"))["title"] == "?!"
    names = [one["name"] for one in (await walk.get("agents"))["agents"]]
    assert names == ["agent", "notes", "test-agent", "test-agent-2"]


@orchestrator("name, type, project_id: required; all else: Optional", lives="POST /v1/agents/as/orchestrator")
@orchestrator(
    "AgentModel(status=AgentStatus.ACTIVE, state_detail=...)", lives="POST /v1/agents/as/orchestrator"
)
async def an_agent_is_created_with_its_first_words_or_refused_for_what_it_misses(walk: Walk) -> None:
    await walk.refusals(
        *(
            ("POST", "agents/as/orchestrator", CREATE | wrong, 422, says)
            for wrong, says in (
                ({"name": None}, "name: missing"),
                ({"name": ""}, '"name: may not be empty"'),
                ({"name": 7}, '"name: a text is expected"'),
                ({"type": None, "project_id": None}, "type: missing; project_id: missing"),
                ({"name": "n" * 101}, "name: "),
                ({"type": "PILOT"}, "type: expected one of"),
                ({"project_id": "apollo"}, "project_id: expected a UUID"),
                ({"configuration": {"a b": 1}}, "configuration"),
                ({"description": ""}, "description: "),
                ({"prompt_template": "Find {{ nothing }}."}, "nothing"),
                ({"created_at": "2026-01-01T00:00:00Z"}, "created_at is not written here"),
                ({"status": "DONE"}, "values: INACTIVE, ACTIVE"),
            )
        ),
        ("POST", "agents/as/orchestrator", CREATE | {"template_id": HERMES}, 404, ""),
        ("POST", "agents/as/foundation", {"name": "x"}, 422, "calendar, orchestrator"),
        ("POST", "agents/as/telepathy", CREATE, 404, "vocabularies: "),
    )
    assert [one["name"] for one in (await walk.get("agents"))["agents"]] == ["notes"]
    for status, detail in (("ACTIVE", "READY"), ("INACTIVE", "CREATED"), ("MAINTENANCE", "PAUSED")):
        pair = {"status": status, "state_detail": detail}
        assert (await walk.post("agents/as/orchestrator", CREATE | pair)).items() >= pair.items()
    with_reason = await walk.post("agents/as/orchestrator", CREATE | {"reason": "for the move"})
    assert (with_reason["status"], with_reason["state_detail"]) == ("INACTIVE", "READY")
    pair = {"status": "INACTIVE", "state_detail": "ACTIVE"}
    await walk.refused("POST", "agents/as/orchestrator", CREATE | pair, status=409, says="ACTIVE + READY")
    assert len((await walk.get("agents"))["agents"]) == 5


@orchestrator(
    "status: default=AgentStatus.INACTIVE; AgentState.CREATED: initial state",
    lives="agent_states.lifecycle, agent_state_history",
    changed="a new agent is initialized at once, and active unless start is false",
)
async def an_agent_begins_as_created_and_is_ready_or_active(walk: Walk) -> None:
    await _agent(walk, start=False)
    document = await walk.get(AS)
    assert (document["status"], document["state_detail"]) == ("INACTIVE", "READY")
    details = [one["new_state_detail"] for one in document["agent_state_history"]]
    assert details == ["READY", "INITIALIZING", "CREATED"]
    await walk.post("agents", {"name": "plan", "device": "desk"} | OF_WALK)
    assert (await walk.get("agents/plan/as/orchestrator"))["status"] == "ACTIVE"
    await walk.refused("PATCH", AS, {"status": "inactive"}, status=422, says="values: INACTIVE")


@orchestrator(
    "agent_template: name, description, agent_type, configuration_schema '{}', default_configuration '{}'",
    lives="agent_templates, PUT /v1/templates/{name}",
)
async def a_template_has_a_type_a_schema_and_defaults(walk: Walk) -> None:
    bare = await walk.put("templates/bare", {})
    assert (bare["type"], bare["configuration_schema"], bare["default_configuration"]) == ("CUSTOM", {}, {})
    schema = {"properties": {"tone": {"type": "string"}}}
    given = {"type": "AUDITOR", "configuration_schema": schema, "default_configuration": {"tone": "warm"}}
    await walk.put("templates/polite", given | {"description": "Kind.", "prompt": "Be {{ tone }}."})
    files = {key: value for key, value in OF_WALK.items() if key != "prompt"}
    await walk.post("agents", {"name": "mail", "device": "desk", "template": "polite"} | files)
    template = (await walk.get(AS))["agent_template"]
    assert template["agent_type"] == "AUDITOR" and template["prompt_template"] == "Be {{ tone }}."
    assert (await walk.cli("templates", "show", "polite"))["default_configuration"] == {"tone": "warm"}
    await walk.refused("PUT", "templates/odd", {"type": "PILOT"}, status=422, says="body.type")
    wrong = given | {"default_configuration": {"tone": 7}}
    await walk.refused("PUT", "templates/polite", wrong, status=422, says="tone")


@with_agent(
    "sequence_number: default=0",
    lives="checkpoints.sequence_number",
    changed="a write names its number: two writers who leave it out would overwrite each other's state",
)
@with_agent(
    "agent_checkpoint: state_data, sequence_number, is_recoverable default=True",
    lives="checkpoints, PUT /v1/agents/{name}/checkpoints/{scope}",
)
async def an_agent_has_one_checkpoint_that_only_moves_on(walk: Walk, _made: None) -> None:
    path = "agents/mail/checkpoints/agent"
    await walk.refused("PUT", path, {"state": {}}, status=422, says="body.sequence: missing")
    await walk.ask_refused("checkpoints.put", agent_id="mail", state={}, says="sequence")
    assert (await walk.put(path, {"sequence": 0, "state": {}}))["sequence"] == 0
    default = "SELECT dflt_value FROM pragma_table_info('checkpoints') WHERE name = 'sequence_number'"
    assert await walk.sql(default) == [("0",)]
    for sequence in (1, 3):
        await walk.put(path, {"sequence": sequence, "state": {"page": sequence}})
    checkpoint = (await walk.get(AS))["agent_checkpoint"]
    assert (checkpoint["state_data"], checkpoint["sequence_number"]) == ({"page": 3}, 3)
    assert checkpoint["is_recoverable"] is True
    await walk.refusals(
        ("PUT", path, {"sequence": 2, "state": {}}, 409, "stale_checkpoint"),
        ("PUT", path, {"sequence": -1, "state": {}}, 422, "sequence"),
        ("PUT", path, {"sequence": 4, "state": "x"}, 422, "state"),
    )
    assert (await walk.ask("checkpoints.get", agent_id="mail"))["checkpoint"]["sequence"] == 3


@with_agent(
    "agent_execution: state default='QUEUED', progress_percentage default=0.0, retry_count default=0",
    lives="runs.state, runs.progress, runs.attempt",
)
async def a_new_execution_is_queued_and_has_not_begun(walk: Walk, _made: None) -> None:
    run = (await walk.post("agents/mail/runs", {"context": {"room": 7}}))["id"]
    (execution,) = (await walk.get(AS))["agent_execution"]
    assert (
        execution["id"],
        execution["state"],
        execution["retry_count"],
        execution["progress_percentage"],
        execution["context"]["room"],
    ) == (run, "QUEUED", 0, 0.0, 7)
    empty = ("status_message", "result", "error_message", "started_at", "completed_at")
    assert [execution[name] for name in empty] == [None] * 5
    await walk.refusals(
        ("POST", "agents/mail/runs", {"context": 7}, 422, "context"),
        ("POST", "agents/nobody/runs", None, 404, "nobody"),
    )


WORKER: Final = "agents/worker/as/orchestrator"
DOES_TASKS: Final = ("agent_ack", "agent.work")


async def _worker(walk: Walk) -> None:
    given = {"name": "worker", "device": "desk", "type": "PLANNER", "prompt": "Plan {{ what }}."}
    await walk.post("agents", given | {"config": {"what": "the week"}})


@orchestrator.after(
    _worker,
    "AgentExecution: task_id, parameters and context of an agent that reads nothing",
    lives="POST /v1/agents/{name}/runs, agent_run in the mode work",
)
@orchestrator.after(
    _worker,
    "progress_percentage, status_message, result of an execution",
    lives="runs.report of the device, runs.result",
)
async def a_worker_does_a_task_and_reports_progress_and_result(walk: Walk, _made: None) -> None:
    assert (await walk.post("agents/worker/validate"))["missing_for_runs"] == []
    asked = {"task_id": "t-1", "parameters": {"what": "the day"}, "context": {"room": 7}}
    plan = {"plan": ["rise", "rest"]}
    async with _works(walk, [AgentAck(run_id="r")]) as link:
        run = (await walk.post("agents/worker/runs", asked))["id"]
        await walk.hub.comes_to(run, RunState.RUNNING)
        frame = link.streams[0].run
        assert (frame.mode, frame.config.paths, frame.config.prompt_template) == ("work", [], "Plan the day.")
        assert (frame.parameters, frame.context) == (asked["parameters"], {"room": 7, "task_id": "t-1"})
        held = {"run_id": run, "fence": frame.fence}
        await walk.ask("runs.report", progress=40, message="half of it", **held)
        (execution,) = (await walk.get(WORKER))["agent_execution"]
        assert (execution["state"], execution["progress_percentage"]) == ("RUNNING", 40.0)
        assert (execution["status_message"], execution["result"]) == ("half of it", None)
        await walk.ask_refused("runs.report", result={"plan": "nul\0"}, says="result: a null", **held)
        await walk.ask_refused("runs.report", result={"plan": "x" * 20_000}, says="16384", **held)
        await walk.ask("runs.report", result=plan, **held)
        link.cut()
        await walk.hub.comes_to(run, RunState.PAUSED, RunState.QUEUED)
    async with _works(walk, [AgentAck(run_id="r"), AgentComplete(run_id="r")]) as link:
        await walk.hub.ends(run)
    assert [(one.run.run_id, one.run.fence > frame.fence) for one in link.streams] == [(run, True)]
    (execution,) = (await walk.get(WORKER))["agent_execution"]
    assert (execution["state"], execution["progress_percentage"], execution["retry_count"]) == (
        *("COMPLETED", 100.0, 0),
    )
    assert (execution["result"], execution["error_message"]) == (plan, None)
    (logged,) = (await walk.get("agents/worker/as/runlog"))["agent_run_log"]
    assert (logged["status"], logged["items_created"], logged["items_processed"]) == ("success", 0, 0)
    states = (await walk.get(WORKER))["execution_state_history"]
    assert [one["new_state"] for one in states][::-1][:3] == ["QUEUED", "PREPARING", "RUNNING"]
    assert (await walk.cli("runs", "show", run))["result"]["answer"] == plan


@orchestrator.after(
    _worker, "error_message, retry_count of an execution", lives="agent_complete.error, runs.errors"
)
@orchestrator.after(
    _worker, "ExecutionState.FAILED, ExecutionState.CANCELLED", lives="runs.state, runs.timeout_ms"
)
async def a_task_fails_is_tried_again_and_cancelled(walk: Walk, _made: None) -> None:
    def ends(**error: Any) -> list[RunFrame | Exception]:
        return [AgentAck(run_id="r"), AgentComplete(run_id="r", error=ErrorBody(**error))]

    away = ends(code="away", message="no ladder yet", retryable=True)
    no = ends(code="no_ladder", message="there is no ladder")
    async with _works(walk, away, no, [AgentAck(run_id="r")]) as link:
        run = (await walk.post("agents/worker/runs"))["id"]
        await walk.hub.comes_to(run, RunState.RUNNING)
        await walk.hub.comes_to(run, RunState.QUEUED)
        walk.hub.clock.advance(60)
        await walk.hub.ends(run)
        called_off = (await walk.post("agents/worker/runs"))["id"]
        await walk.hub.comes_to(called_off, RunState.RUNNING)
        await walk.post(f"runs/{called_off}/cancel", {"reason": "it rains"})
        await walk.hub.ends(called_off)
        assert not link.streams[-1].is_open
    executions = {one["id"]: one for one in (await walk.get(WORKER))["agent_execution"]}
    ends_as = [(executions[id]["state"], executions[id]["retry_count"]) for id in (run, called_off)]
    assert ends_as == [("FAILED", 1), ("CANCELLED", 0)]
    assert executions[run]["error_message"] == "no ladder yet"
    errors = [one["message"] for one in (await walk.get(f"runs/{run}"))["errors"]]
    assert errors == ["no ladder yet", "the device ended the run early: there is no ladder"]
    await walk.hub.disconnect(await walk.hub.device("desk"))
    late = (await walk.post("agents/worker/runs"))["id"]
    await walk.sql("UPDATE runs SET timeout_ms = 50 WHERE id = :id", id=late)
    async with _works(walk, [AgentAck(run_id="r")]):
        await walk.hub.ends(late)
    assert "deadline: not done after 0.05 s" in (await walk.get(f"runs/{late}"))["reason"]
    async with walk.hub.working(*folder(a="- [ ] one")) as link:
        run = (await walk.post("agents/worker/runs"))["id"]
        await walk.hub.ends(run)
    assert link.streams == [], "a device that does not list agent.work is asked nothing"
    (execution,) = (await walk.get(f"{WORKER}/agent_execution", state="FAILED", limit=1))["agent_execution"]
    assert "its device does no tasks (agent.work)" in execution["error_message"]
    says = "cannot read without paths"
    await walk.refused("POST", "agents/worker/preview", status=422, says=says)
    await walk.refused("POST", "agents/worker/estimate", status=422, says=says)


@asynccontextmanager
async def _works(walk: Walk, *visits: Sequence[RunFrame | Exception]) -> AsyncIterator[EndedLink]:
    """Execute runs in the block, while the device ``desk`` does tasks and sends these frames for each."""
    async with walk.hub.working(*visits, capabilities=DOES_TASKS) as link:
        yield link


@with_agent("agent_execution.context: JSON, task_id beside it", lives="runs.context, runs.task_id")
async def the_context_of_an_execution_is_read_as_it_was_given(walk: Walk, _made: None) -> None:
    context = {"room": 7, "floor": None, "of": {"a": [None]}}
    run = await walk.post("agents/mail/runs", {"context": context, "task_id": "t-1"})
    (execution,) = (await walk.get(AS))["agent_execution"]
    shown = await walk.get(f"runs/{run['id']}")
    assert (execution["context"], execution["task_id"], shown["context"]) == (context, "t-1", context)
    await walk.hub.disconnect(await walk.hub.device("desk"))
    async with walk.hub.working(*folder(a="- [ ] one")) as link:
        await walk.hub.ends(run["id"])
    assert link.streams[0].run.context == context | {"task_id": "t-1"}, "its device reads both together"
    again = await walk.post(f"runs/{run['id']}/rerun")
    shown = await walk.get(f"runs/{again['id']}")
    assert (shown["context"], shown["task_id"]) == (context, "t-1")
    await walk.hub.move(again["id"], RunState.RUNNING)
    fence = (await walk.sql("SELECT fence FROM runs WHERE id = :id", id=again["id"]))[0][0]
    await walk.ask("runs.report", run_id=again["id"], fence=fence, context={"room": None, "step": 2})
    (execution,) = (await walk.get(f"{AS}/agent_execution", state="RUNNING"))["agent_execution"]
    left = {name: value for name, value in context.items() if name != "room"} | {"step": 2}
    assert (execution["context"], execution["task_id"]) == (left, "t-1")


@orchestrator(
    "agent.id, ondelete=CASCADE: histories, checkpoint and executions", lives="REFERENCES agents, runs"
)
async def what_an_agent_has_goes_with_its_row(walk: Walk) -> None:
    await furnish(walk)
    assert await walk.sql("SELECT count(*) > 0 FROM run_state_history WHERE run_id = 'r-1'") == [(1,)]
    await walk.sql("DELETE FROM agents WHERE name = 'mail'")
    for table in ("agent_state_history", "checkpoints", "runs"):
        orphans = f"SELECT count(*) FROM {table} WHERE agent_id NOT IN (SELECT id FROM agents)"
        assert await walk.sql(orphans) == [(0,)]
    assert await walk.sql("SELECT count(*) FROM run_state_history WHERE run_id = 'r-1'") == [(0,)]


@orchestrator(
    "agent_state_history_agent_id_idx, _timestamp_idx, agent_execution_agent_id_idx, _task_id_idx",
    lives="indexes of agent_state_history, runs and run_state_history",
)
async def histories_and_executions_are_found_by_an_index(walk: Walk) -> None:
    for query in (
        "SELECT * FROM agent_state_history WHERE agent_id = 'a'",
        "SELECT * FROM agent_state_history WHERE at > 7",
        "SELECT * FROM checkpoints WHERE agent_id = 'a'",
        "SELECT * FROM runs WHERE agent_id = 'a'",
        "SELECT * FROM runs WHERE task_id = 't'",
        "SELECT * FROM run_state_history WHERE run_id = 'r'",
    ):
        ((*_, plan),) = await walk.sql(f"EXPLAIN QUERY PLAN {query}")
        assert plan.startswith("SEARCH"), plan


@orchestrator(
    "./apply_migration.sh --db-url postgresql://...: migrate, and verify the tables",
    lives="hub migrate --url",
)
async def another_database_is_migrated_and_verified_by_its_url(walk: Walk) -> None:
    url = f"sqlite:///{walk.hub.folder}/other.db"
    assert "applied: 0001" in await walk.text("migrate", "up", "--url", url)
    assert "the tables match this release" in await walk.text("migrate", "verify", "--url", url)
    await walk.cli_refused("migrate", "status", says="there are no tables yet")
    await walk.cli_refused(
        "migrate", "up", "--url", "mysql://localhost/hub", says="of a kind this hub does not know"
    )


@orchestrator(
    "name: String(100), not unique", lives="agents.title; agents.name gets a number where it is taken"
)
async def agents_of_one_user_may_have_one_name(walk: Walk) -> None:
    ids: list[str] = []
    for key in ("test-agent", "test-agent-2", "test-agent-3"):
        made = await walk.post("agents/as/orchestrator", CREATE)
        assert (made["name"], (await walk.get(f"agents/{key}"))["id"]) == ("Test Agent", made["id"])
        await walk.delete("agents/test-agent") if not ids else None
        ids.append(made["id"])
    assert len({*ids}) == 3


@orchestrator("agents: user_id, name", lives="GET /v1/agents/{name}?user=NAME, hub --user NAME")
async def a_name_of_two_users_is_refused_in_the_terms_of_the_caller(walk: Walk) -> None:
    await walk.hub.agent("notes", user_id=await walk.hub.user("eve"))
    await walk.refused("GET", "agents/notes", status=422, says="say whose: ?user=NAME, or give its id")
    await walk.cli_refused("agents", "show", "notes", says="say whose: --user NAME, or give its id")
    hers = await walk.get("agents/notes", user="eve")
    assert (hers["user"], (await walk.get(f"agents/{hers['id']}"))["user"]) == ("eve", "eve")
