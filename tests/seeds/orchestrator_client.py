"""A client of an orchestrator, written from the names of its document: nothing of the hub is imported."""

from typing import Any

import httpx2

Row = dict[str, Any]


class Orchestrator:
    """Agents, their executions and the history of their state, over HTTP."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

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

    async def _ask(self, verb: str, path: str, body: Row | None = None) -> Row:
        answer = await self._http.request(verb, f"/v1/agents/{path}", json=body)
        row: Row = answer.raise_for_status().json()
        return row
