"""A client that knows the names of the orchestrator's document alone works with a hub over HTTP."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import anyio
from pydantic import BaseModel

from protocol.agent_status import AgentType, OrchestratorStatus, StateDetail
from tests.seeds.orchestrator import APOLLO
from tests.seeds.orchestrator_client import Orchestrator
from tests.seeds.walk import OF_WALK, Walk, walking
from tests.support.hub import over_tcp
from tests.support.runs import folder

TONE = {"tone": "warm"}
FILES = {"device": "desk", "paths": OF_WALK["paths"], "data_types": OF_WALK["data_types"]}
TASK = str(uuid5(UUID(APOLLO), "task"))


class AgentResponse(BaseModel):
    """The model of that name in the document, which a client reads each answer by."""

    id: UUID
    name: str
    description: str | None = None
    type: AgentType
    project_id: UUID
    template_id: str | None = None
    configuration: dict[str, Any] | None = None
    prompt_template: str | None = None
    status: OrchestratorStatus
    state_detail: StateDetail | None = None
    created_at: datetime
    updated_at: datetime


async def test_a_client_creates_updates_and_executes_an_agent_and_reads_its_history(tmp_path: Path) -> None:
    async with walking(tmp_path) as walk:
        token = (await walk.post("operator-tokens", {"name": "orchestrator", "role": "operator"}))["token"]
        async with over_tcp(walk.hub, token) as http:
            client = Orchestrator(http)
            asked = {"name": "Test Agent", "type": "DEVELOPER", "project_id": APOLLO, "configuration": TONE}
            agent = AgentResponse(**await client.create(**asked, prompt_template="Find what is {{ tone }}."))
            assert (agent.name, agent.status, agent.configuration) == ("Test Agent", "INACTIVE", TONE)
            id = str(agent.id)
            assert AgentResponse(**await client.get(id)) == agent

            await walk.patch(f"agents/{id}", FILES)  # where it works is for the operator to say
            whole = await client.get(id) | {"description": "Finds it.", "status": "ACTIVE"}
            agent = AgentResponse(**await client.update(id, **whole))
            assert (agent.description, agent.status, agent.state_detail) == ("Finds it.", "ACTIVE", "READY")

            await _executes(walk, client, id)
            moves = await client.rows(id, "agent_state_history")
            assert [(one["new_status"], one["new_state_detail"]) for one in reversed(moves)] == [
                ("INACTIVE", "CREATED"),
                ("INACTIVE", "INITIALIZING"),
                ("INACTIVE", "READY"),
                ("ACTIVE", "ACTIVE"),
                ("ACTIVE", "READY"),
                ("BUSY", "ACTIVE"),
                ("ACTIVE", "READY"),
            ]


async def _executes(walk: Walk, client: Orchestrator, id: str) -> None:
    """Let the client execute the agent and poll the execution until it is completed."""
    async with walk.hub.working(*folder(a="- [ ] one")) as link:
        await client.execute(id, task_id=TASK, parameters={"tone": "cold"})
        execution: dict[str, Any] = {}
        with anyio.fail_after(30):
            while execution.get("state") != "COMPLETED":
                (execution,) = await client.rows(id, "agent_execution", task_id=TASK)
    assert (execution["task_id"], execution["parameters"]) == (TASK, {"tone": "cold"})
    assert (execution["progress_percentage"], execution["retry_count"]) == (100.0, 0)
    assert [one.run.config.prompt_template for one in link.streams] == ["Find what is cold."]
    states = await client.rows(id, "execution_state_history", execution_id=execution["id"])
    assert [one["new_state"] for one in states] == ["COMPLETED", "RUNNING", "PREPARING", "QUEUED"]
