"""The orchestrator document: agents with templates, executions and checkpoints."""

from typing import Final

from protocol.lifecycles import RunState
from tests.seeds.walk import OF_WALK, Document, Walk
from tests.support.runs import folder

orchestrator = Document("orchestrator")
AS: Final = "agents/mail/as/orchestrator"
PATCH: Final = "PATCH /v1/agents/{name}/as/orchestrator"


async def _agent(walk: Walk, **more: object) -> None:
    await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK | more)


@orchestrator("status=AgentStatus.ACTIVE, state_detail=AgentStateDetail.READY", lives=PATCH)
async def an_active_agent_may_be_ready(walk: Walk) -> None:
    await _agent(walk)
    pair = {"status": "ACTIVE", "state_detail": "READY"}
    assert (await walk.patch(AS, pair)).items() >= pair.items()
    assert (await walk.get(AS)).items() >= pair.items()


@orchestrator("each local AgentState is a shared AgentStatus and a state_detail", lives=PATCH)
async def states_are_pairs(walk: Walk) -> None:
    await _agent(walk)
    for status, detail in (
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
    wrong = {"status": "INACTIVE", "state_detail": "ACTIVE"}
    await walk.refused("PATCH", AS, wrong, status=409, says="ACTIVE + READY")
    await walk.refused("PATCH", AS, {"status": "DONE"}, status=422, says="values: INACTIVE, ACTIVE")


@orchestrator("TERMINATED: terminal state", lives="POST /v1/agents/{name}/terminate")
async def terminated_is_final(walk: Walk) -> None:
    await _agent(walk)
    ended = await walk.patch(AS, {"state_detail": "TERMINATED"})
    assert (ended["status"], ended["state_detail"]) == ("INACTIVE", "TERMINATED")
    await walk.refused("PATCH", AS, {"status": "ACTIVE"}, status=409, says="legal: none")


@orchestrator("the local AgentType is mapped to the shared one", lives="agents.type, agents.subtype")
async def types_are_mapped(walk: Walk) -> None:
    await _agent(walk)
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
    assert stream.run.parameters == {"tone": "cold"}
    assert stream.run.config.prompt_template == "Find what is cold."
    assert (await walk.get(f"runs/{run}"))["settings"]["prompt"] == "Find what is cold."
    await walk.refused("POST", "agents/mail/runs", {"parameters": []}, status=422, says="parameters")


@orchestrator(
    "agent_execution.task_id: index=True",
    lives="runs.task_id, GET /v1/runs?task_id=, hub runs --task, POST /v1/agents/{name}/runs",
)
async def executions_are_found_by_their_task(walk: Walk) -> None:
    await _agent(walk)
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
        (listed,) = (await walk.cli("runs", "--in-state", state))["runs"]
        assert listed["id"] == run
    assert (await walk.get("runs", state="PREPARING"))["runs"] == []
    says = "expected one of QUEUED, PREPARING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED"
    await walk.refused("GET", "runs?state=DONE", status=422, says=says)
    await walk.cli_refused("runs", "--in-state", "DONE", says="'CANCELLED'")
    await walk.sql_refused("UPDATE runs SET state = 'DONE'")


@orchestrator("id: UUID", lives="agents.id, in each path in place of an agent's name")
async def an_agent_is_found_by_its_id(walk: Walk) -> None:
    await _agent(walk)
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
    for wrong in ("", "  ", "n" * 101, "two\nlines", "\u202eleft", "nul\0", 7):
        await walk.refused("PATCH", "agents/mail", {"title": wrong}, status=422, says="title")
    await walk.patch("agents/mail", {"title": None})
    assert (await walk.get(AS))["name"] == "mail"


RUNS: Final = 60
NOTES: Final = "agents/notes/as/orchestrator"


async def _run_often(walk: Walk) -> None:
    for number in range(RUNS):
        await walk.hub.run(f"r-{number:02}")
        await walk.hub.move(f"r-{number:02}", RunState.COMPLETED)


@orchestrator(
    "AgentStateHistory: previous and new status and state_detail, reason, timestamp of each change",
    lives="agent_state_history, GET /v1/agents/{name}/as/orchestrator/agent_state_history",
)
async def the_history_of_an_agent_is_complete_after_sixty_runs(walk: Walk) -> None:
    await _run_often(walk)
    path = f"{NOTES}/agent_state_history"
    history = await walk.pages(path, "agent_state_history", limit=50)
    pairs = [(one["new_status"], one["new_state_detail"]) for one in history]
    at_first = [("INACTIVE", "CREATED"), ("INACTIVE", "INITIALIZING"), ("INACTIVE", "READY")]
    by_runs = [("BUSY", "ACTIVE"), ("ACTIVE", "ACTIVE")] * RUNS
    assert pairs[::-1] == [*at_first, ("ACTIVE", "ACTIVE"), *by_runs]
    before = [(one["previous_status"], one["previous_state_detail"]) for one in history]
    assert before == [*pairs[1:], (None, None)]
    assert (await walk.get(NOTES))["agent_state_history"] == history[:100]
    for wrong, status, says in (
        (f"{NOTES}/agent_state_histories", 422, "tables: agent_state_history, agent_execution"),
        ("agents/notes/as/calendar/agents", 422, "calendar has no table 'agents' that is read in pages"),
        ("agents/notes/as/klingon/agent_execution", 422, "there is no vocabulary 'klingon'"),
        (f"{path}?limit=0", 422, "query.limit"),
        (f"{path}?cursor=x", 422, "take it from next_cursor"),
        (f"{path}?state=RUNNING", 422, "agent_state_history is not filtered by it; it has no filters"),
        (f"{path}?mood=fine", 422, "query.mood: there is no such parameter"),
        ("agents/nobody/as/orchestrator/agent_execution", 404, "there is no agent 'nobody'"),
    ):
        await walk.refused("GET", wrong, status=status, says=says)


@orchestrator("state_detail is finer than status", lives="agent_state_history.old_detail")
async def a_change_of_the_state_detail_alone_is_in_the_history(walk: Walk) -> None:
    for detail in ("READY", "ACTIVE"):
        await walk.patch(NOTES, {"status": "ACTIVE", "state_detail": detail})
    last, first, *_ = (await walk.get(NOTES))["agent_state_history"]
    assert (first["previous_state_detail"], first["new_state_detail"]) == ("ACTIVE", "READY")
    assert (last["previous_state_detail"], last["new_state_detail"]) == ("READY", "ACTIVE")


@orchestrator(
    "AgentExecution: the executions of an agent",
    lives="runs, GET /v1/agents/{name}/as/orchestrator/agent_execution?task_id=&state=",
)
async def executions_are_read_in_pages_by_task_and_by_state(walk: Walk) -> None:
    await _run_often(walk)
    path = f"{NOTES}/agent_execution"
    executions = await walk.pages(path, "agent_execution", limit=7)
    assert [one["id"] for one in executions] == [f"r-{number:02}" for number in reversed(range(RUNS))]
    document = await walk.get(NOTES)
    assert document["agent_execution"] == executions[:20]
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


@orchestrator(
    "ExecutionStateHistory: execution_id, previous_state, new_state, reason, timestamp",
    lives="run_state_history, GET /v1/agents/{name}/as/orchestrator/execution_state_history?execution_id=",
)
async def the_history_of_executions_is_read_in_pages(walk: Walk) -> None:
    await _run_often(walk)
    path = f"{NOTES}/execution_state_history"
    moves = await walk.pages(path, "execution_state_history", limit=9)
    of_runs = [one["execution_id"] for one in moves]
    assert of_runs == sorted(of_runs, reverse=True) and len(set(of_runs)) == RUNS
    own = await walk.pages(path, "execution_state_history", execution_id="r-07", limit=2)
    assert own == [one for one in moves if one["execution_id"] == "r-07"]
    assert [one["new_state"] for one in own] == ["COMPLETED", "RUNNING", "PREPARING", "QUEUED"]
    assert await walk.pages(path, "execution_state_history", execution_id="r-99") == []
