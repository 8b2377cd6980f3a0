"""Clients that know the names of one document alone work with a hub over HTTP."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import anyio
import httpx2
import pytest
from pydantic import BaseModel

from hub.links.device_link import RunFrame
from protocol.agent_types import AgentType
from protocol.status_vocabularies import OrchestratorStatus, StateDetail
from protocol.work import AgentAck, AgentComplete
from tests.seeds.orchestrator import APOLLO
from tests.seeds.walk import OF_WALK, Walk, walking
from tests.support.hub import over_tcp
from tests.support.runs import folder

Row = dict[str, Any]


class Client:
    """A client of agents over HTTP, written from the names of a document."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def _ask(self, verb: str, path: str, body: Row | None = None) -> Row:
        answer = await self._http.request(verb, f"/v1/agents/{path}", json=body)
        row: Row = answer.raise_for_status().json()
        return row


class Calendar(Client):
    """Agents by status, which are woken for slots and report how they are, over HTTP."""

    async def with_status(self, status: str) -> list[Row]:
        """Return the agents of this status."""
        return list((await self._ask("GET", f"as/calendar?status={status}"))["agents"])

    async def wake(self) -> Row | None:
        """Set an idle agent on call and return it; ``None``: no agent is idle."""
        idle = await self.with_status("idle")
        return await self.write(idle[0], status="on_call") if idle else None

    async def write(self, agent: Row, **columns: Any) -> Row:
        """Write columns of an agent, as its status."""
        return await self._ask("PATCH", f"external:{agent['agent_id']}/as/calendar", columns)

    async def heartbeat(self, agent: Row, **report: Any) -> Row:
        """Report that an agent works, with its status, and return it."""
        await self._ask("POST", f"external:{agent['agent_id']}/heartbeat", report)
        return await self._ask("GET", f"external:{agent['agent_id']}/as/calendar")


async def test_client_wakes_an_idle_agent_and_follows_the_status(tmp_path: Path) -> None:
    async with walking(tmp_path) as walk:
        await walk.delete("agents/notes")
        given = {"agent_id": "claw-7", "claw_identifier": "server-1"}
        await walk.post("agents/as/calendar", given)
        asked = {"name": "calendar", "role": "operator", "scopes": ["read", "run"]}
        token = (await walk.post("operator-tokens", asked))["token"]
        async with over_tcp(walk.hub, token) as http:
            client = Calendar(http)
            (agent,) = await client.with_status("offline")
            assert agent.items() >= (given | {"last_heartbeat": None}).items()
            assert await client.wake() is None
            agent = await client.heartbeat(agent)
            assert agent["status"] == "idle" and agent["last_heartbeat"] is not None
            woken = await client.wake()
            assert woken is not None and (woken["agent_id"], woken["status"]) == ("claw-7", "on_call")
            assert await client.wake() is None
            with pytest.raises(httpx2.HTTPStatusError) as refused:
                await client.write(agent, status="busy")
            assert refused.value.response.status_code == 409
            assert "legal: " in refused.value.response.json()["detail"]
            assert (await client.heartbeat(agent, status="busy"))["status"] == "busy"
            assert [one["agent_id"] for one in await client.with_status("busy")] == ["claw-7"]
            until = "2026-01-06T09:00:00.000Z"
            spent = {"status": "exhausted", "exhaust_reason": "rate_limit", "recovery_at": until}
            await client.heartbeat(agent)
            assert (await client.write(agent, **spent)).items() >= spent.items()
            assert (await client.heartbeat(agent))["status"] == "exhausted"
            assert (await client.write(agent, status="idle"))["exhausted_at"] is None
            assert [one["status"] for one in await client.with_status("idle")] == ["idle"]


class Orchestrator(Client):
    """Agents, their executions and the history of their state, over HTTP."""

    async def create(self, **agent: Any) -> Row:
        """Create an agent out of the fields of ``AgentCreate``."""
        return await self._ask("POST", "as/orchestrator", agent)

    async def get(self, agent_id: str) -> Row:
        """Return an agent."""
        return await self._ask("GET", f"{agent_id}/as/orchestrator")

    async def update(self, agent_id: str, **fields: Any) -> Row:
        """Update an agent by the fields of ``AgentUpdate``, its status or a whole object."""
        return await self._ask("PATCH", f"{agent_id}/as/orchestrator", fields)

    async def execute(self, agent_id: str, *, task_id: str, parameters: Row) -> None:
        """Start an execution of an agent."""
        await self._ask("POST", f"{agent_id}/runs", {"task_id": task_id, "parameters": parameters})

    async def rows(self, agent_id: str, table: str, **filters: str) -> list[Row]:
        """Return the newest rows of a table of an agent, as ``agent_execution``."""
        path = f"{agent_id}/as/orchestrator/{table}?{httpx2.QueryParams(filters)}"
        return list((await self._ask("GET", path))[table])


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


async def test_client_creates_updates_and_executes_an_agent_and_reads_the_history(tmp_path: Path) -> None:
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


async def test_client_executes_an_agent_without_files(tmp_path: Path) -> None:
    async with walking(tmp_path) as walk:
        token = (await walk.post("operator-tokens", {"name": "orchestrator", "role": "operator"}))["token"]
        async with over_tcp(walk.hub, token) as http:
            client = Orchestrator(http)
            made = await client.create(name="Planner", type="PLANNER", project_id=APOLLO, configuration=TONE)
            id = made["id"]
            await walk.patch(f"agents/{id}", {"device": "desk"})
            await client.update(id, status="ACTIVE")
            acks: list[RunFrame] = [AgentAck(run_id="r")]
            ends: list[RunFrame] = [*acks, AgentComplete(run_id="r")]
            async with walk.hub.working(acks, capabilities=["agent.work"]) as link:
                await client.execute(id, task_id=TASK, parameters={"days": 2})
                execution: Row = {}
                with anyio.fail_after(30):
                    while execution.get("state") != "RUNNING":
                        (execution,) = await client.rows(id, "agent_execution", task_id=TASK)
                told = {"run_id": execution["id"], "fence": link.streams[0].run.fence}
                await walk.ask("runs.report", result={"plan": "rest"}, **told)
                link.cut()
            async with walk.hub.working(ends, capabilities=["agent.work"]):
                with anyio.fail_after(30):
                    while execution.get("state") != "COMPLETED":
                        (execution,) = await client.rows(id, "agent_execution", task_id=TASK)
            assert (execution["parameters"], execution["context"]) == ({"days": 2}, {})
            assert (execution["result"], execution["progress_percentage"]) == ({"plan": "rest"}, 100.0)


async def _executes(walk: Walk, client: Orchestrator, id: str) -> None:
    """Let the client execute the agent and poll the execution until it is completed."""
    async with walk.hub.working(*folder(a="- [ ] one")) as link:
        await client.execute(id, task_id=TASK, parameters={"tone": "cold"})
        execution: dict[str, Any] = {}
        with anyio.fail_after(30):
            while execution.get("state") != "COMPLETED":
                (execution,) = await client.rows(id, "agent_execution", task_id=TASK)
    assert (
        execution["task_id"],
        execution["parameters"],
        execution["progress_percentage"],
        execution["retry_count"],
    ) == (TASK, {"tone": "cold"}, 100.0, 0)
    assert [one.run.config.prompt_template for one in link.streams] == ["Find what is cold."]
    states = await client.rows(id, "execution_state_history", execution_id=execution["id"])
    assert [one["new_state"] for one in states] == ["COMPLETED", "RUNNING", "PREPARING", "QUEUED"]
