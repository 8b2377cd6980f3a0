"""Every write that cannot be is answered with what is wrong, where, and what to do; nothing is written."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from protocol.errors import CATALOGUE, ErrorCode
from tests.hub.refused.row import Device, Refused, Rest
from tests.support.families import each
from tests.support.processes import SETTINGS, HubProcess

# Each has ROWS, and may have SETTINGS (a piece of hub.toml) and GIVEN (what is asked before, with success).
RESOURCES = (
    "agents",
    "boards",
    "capabilities",
    "checkpoints",
    "gateways",
    "items",
    "leads",
    "locks",
    "messages",
    "metrics",
    "questions",
    "agent_status",
    "slots",
    "souls",
    "configs",
    "templates",
)
TABLES = [import_module(f"tests.hub.refused.{resource}") for resource in RESOURCES]
ROWS: list[Refused] = [row for table in TABLES for row in table.ROWS]

PHONE = """
[[agents]]
name = "phone-notes"
device = "phone"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
KEPT = """
SELECT name FROM sqlite_master WHERE type = 'table' AND (
    name LIKE 'agent%' OR name LIKE 'gateway%' OR name LIKE 'soul%' OR name IN
    ('runs', 'schedules', 'checkpoints', 'wakes', 'lock_waits', 'metric_series', 'items', 'item_verdicts',
    'item_proposals', 'questions', 'messages', 'broadcasts', 'boards', 'board_members', 'board_memory')
)"""
# What the hub measures of itself, every minute, belongs to no agent.
OF_AGENTS = {
    "metric_series": "WHERE agent_id IS NOT NULL",
    "agent_metrics": "WHERE series_id IN (SELECT id FROM metric_series WHERE agent_id IS NOT NULL)",
}


@dataclass
class World:
    """A hub with the agents ``notes`` (of the device ``desk``) and ``phone-notes``; ``desk`` is connected.

    Attributes:
        given: the rows before the first refusal, which every refusal leaves as they are.
    """

    hub: HubProcess
    socket: ClientConnection
    connection: sqlite3.Connection
    version: int = -1  # of the file, when the rows were read
    rows: dict[str, list[Any]] = field(default_factory=dict)
    given: dict[str, list[Any]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    async def ask(self, asked: Rest | Device) -> tuple[int | None, dict[str, Any]]:
        """The HTTP status, and the answer; of a device, its result or its error."""
        if isinstance(asked, Rest):
            body = {} if asked.body is None else {"json": asked.body}
            answer = await self.hub.ask(asked.method, asked.path, headers=dict(asked.headers), **body)
            told = answer.json() if answer.content else {}
            assert isinstance(told, dict)
            return answer.status_code, told
        id = f"q-{next(self.numbers)}"
        frame = {"type": "request", "id": id, "method": asked.method, "params": asked.params}
        await self.socket.send(json.dumps(frame))
        while (told := json.loads(await self.socket.recv())).get("id") != id:
            pass
        error: dict[str, Any] | None = told.get("error")
        return None, told["result"] if error is None else error

    def kept(self) -> dict[str, list[Any]]:
        """Every row about agents, runs and what they hold; read again once the file has changed."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if version != self.version:
            tables = [name for (name,) in self.connection.execute(KEPT)]
            asked = {name: f"SELECT * FROM {name} {OF_AGENTS.get(name, '')}" for name in tables}
            self.rows = {name: sorted(map(repr, self.connection.execute(asked[name]))) for name in asked}
            self.version = version
        return self.rows


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("refused")
    settings = SETTINGS.format(model="") + PHONE + "".join(getattr(table, "SETTINGS", "") for table in TABLES)
    hub = HubProcess(folder, settings=settings)
    database = sqlite3.connect(f"file:{folder}/hub.db?mode=ro", uri=True)
    try:
        await hub.start()
        async with connect(f"{await hub.device_url()}/v1/device") as socket:
            await socket.send(json.dumps({"type": "device_hello", "token": await hub.token()}))
            while json.loads(await socket.recv())["type"] != "welcome":
                pass
            world = World(hub, socket, database)
            for table in TABLES:
                for given in getattr(table, "GIVEN", ()):
                    status, told = await world.ask(given)
                    assert (status or 200) < 300 and "code" not in told, (given, told)
            world.given = world.kept()
            yield world
    finally:
        database.close()
        await hub.close()


@pytest.mark.slow
@each("row", ROWS)
async def test_invalid_write_is_refused_with_code_and_hint_and_changes_nothing(
    world: World, row: Refused
) -> None:
    status, told = await world.ask(row.ask)
    said = " ".join(str(told.get(part, "")) for part in ("message", "detail", "title", "hint", "errors"))
    assert told.get("code") == row.code, told
    assert [word for word in row.words if word not in said] == [], said
    if isinstance(row.ask, Rest):
        assert status == (row.status or CATALOGUE[ErrorCode(row.code)].http_status)
    assert told.get("hint"), "nothing says what to do"
    assert world.kept() == world.given


def test_the_table_has_no_case_twice() -> None:
    assert len({row.case for row in ROWS}) == len(ROWS)
