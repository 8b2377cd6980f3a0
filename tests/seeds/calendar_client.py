"""A client of a calendar, written from the names of its document: nothing of the hub is imported."""

from typing import Any

import httpx2

Row = dict[str, Any]


class Calendar:
    """Agents by status, which are woken for slots and report how they are, over HTTP."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

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

    async def _ask(self, verb: str, path: str, body: Row | None = None) -> Row:
        answer = await self._http.request(verb, f"/v1/agents/{path}", json=body)
        row: Row = answer.raise_for_status().json()
        return row
