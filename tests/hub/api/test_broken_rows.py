"""A hub starts over a database with broken rows of every kind, and serves the others over every route."""

import ast
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import sqlalchemy as sa

from hub.app.settings_application import _is_known, last_generation
from hub.base.roles import AUDITED
from hub.settings.edits import APPLIED, CHANGED
from protocol.ids import NodeId
from storage import audit
from tests.support.broken_rows import Fault, faults, plant
from tests.support.database import new_database
from tests.support.hub import ENDLESS, answering, over_unix

WHOLE: Final = "whole"  # a world of rows without a fault
IN_PATHS: Final = {
    "scope": "agent",
    "seq": "1",
    "vocabulary": "orchestrator",
}  # the others: name of the world
OFTEN: Final = ("json", "shape", "element", "check", "reference")


@asynccontextmanager
async def damaged(folder: Path, *planted: Fault) -> AsyncIterator[httpx2.AsyncClient]:
    """A hub over a file with these faults and a world without."""
    new_database(folder / "hub.db")
    plant(folder / "hub.db", planted, whole=[WHOLE])
    async with (
        answering(folder, database=f"sqlite:///{folder}/hub.db") as hub,
        over_unix(hub) as client,
    ):
        yield client


async def paths(client: httpx2.AsyncClient) -> list[str]:
    """The paths of all routes that answer an operator's GET at once."""
    listed = (await client.get("/v1/routes")).json()["routes"]
    return [
        route["path"]
        for route in listed
        if route["method"] == "GET"
        and not route["path"].startswith(("/v1/agent/", "/docs/"))
        and route["path"] not in (*ENDLESS, "/v1/agent")
    ]


def in_world(path: str, world: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: IN_PATHS.get(found[1], world), path)


async def read_all(client: httpx2.AsyncClient, path: str) -> tuple[int, str]:
    """The worst status of the pages of a list, and what they say."""
    params: dict[str, Any] = {}
    said, worst = "", 200
    while True:
        answer = await client.get(path, params=params)
        said, worst = said + answer.text, max(worst, answer.status_code)
        is_page = answer.headers.get("content-type") == "application/json" and isinstance(answer.json(), dict)
        following = answer.json().get("next_cursor") if is_page else None
        if following is None:
            return worst, said
        params = {"cursor": following}


async def failures(client: httpx2.AsyncClient) -> list[tuple[str, str]]:
    """The lists, and the routes of the world without a fault, that fail."""
    read = [(path, await read_all(client, in_world(path, WHOLE))) for path in await paths(client)]
    return [(path, said[:300]) for path, (status, said) in read if status >= 500]


async def test_broken_row_fails_neither_lists_nor_routes_of_other_rows(tmp_path: Path) -> None:
    planted = [fault for fault in faults() if fault.kind in OFTEN]
    async with damaged(tmp_path, *planted) as client:
        assert await failures(client) == []
        for path, has in (("/v1/agents", f'"name":"{WHOLE}"'), ("/v1/issues", '"row.broken"')):
            assert has in (await read_all(client, path))[1]
        for path in ("agents/whole", "agents/whole/status", "runs/whole", "boards/whole", "messages/whole"):
            assert (await client.get(f"/v1/{path}")).status_code == 200


async def test_route_of_an_unreadable_row_names_the_verify_command(tmp_path: Path) -> None:
    fault = next(one for one in faults() if one.part == "ck_agent_states_lifecycle")
    async with damaged(tmp_path, fault) as client:
        refused = await client.get(f"/v1/agents/{fault.world}/status")
    told = refused.json()
    assert (refused.status_code, told["code"], told["retryable"]) == (409, "row_unreadable", False)
    assert "'hub migrate verify' names the row" in told["hint"]


@pytest.mark.soak
async def test_broken_row_of_any_fault_kind_fails_no_route_of_other_rows(tmp_path: Path) -> None:
    for kind in {fault.kind for fault in faults()} - set(OFTEN):
        (tmp_path / kind).mkdir()
        async with damaged(tmp_path / kind, *(fault for fault in faults() if fault.kind == kind)) as client:
            assert (kind, await failures(client)) == (kind, [])


@pytest.mark.soak
async def test_route_of_a_broken_row_never_answers_500(tmp_path: Path) -> None:
    planted = {fault.table: fault for fault in faults() if fault.kind in OFTEN}.values()  # one a table
    failed: list[tuple[str, str]] = []
    async with damaged(tmp_path, *planted) as client:
        for path in await paths(client):
            for fault in planted if "{" in path else ():
                answer = await client.get(in_world(path, fault.world))
                if answer.status_code == 500:
                    failed.append((answer.url.path, answer.text[:200]))
    assert failed == []


def readers_of_details() -> set[tuple[str, str]]:
    """Return module and name of each function of the product that reads the details of audit entries."""
    found = set()
    for path in [*Path("hub").rglob("*.py"), *Path("storage").rglob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                called = (ast.unparse(one.func) for one in ast.walk(function) if isinstance(one, ast.Call))
                if "audit.read_detail" in called:
                    found.add((path.stem, function.name))
    return found


@pytest.mark.slow
async def test_erased_audit_entries_of_every_event_fail_no_reader(tmp_path: Path) -> None:
    new_database(tmp_path / "hub.db")
    plant(tmp_path / "hub.db", [], whole=[WHOLE])
    events = {CHANGED, APPLIED, audit.BACKUP_MADE, audit.CREATED, *filter(None, AUDITED.values())}

    def write(c: sa.Connection, node: NodeId) -> None:
        said: audit.Detail = {"old": "a", "new": "b", "generation": 1, "node": node, "name": "x"}
        numbers = [
            audit.append(c, at=1, actor="hub", event=event, subject=node, detail=said)
            for event in sorted(events)
            for _ in range(2)
        ]
        audit.erase_entries(c, numbers[::2], at=2)

    async with (
        answering(tmp_path, database=f"sqlite:///{tmp_path}/hub.db") as hub,
        over_unix(hub) as client,
    ):
        node = hub.context.node.id
        await hub.store.write(write, node)
        assert await failures(client) == []
        assert (await client.get("/v1/config/history")).status_code == 200
        assert (await client.get("/v1/config/diff?since=1&until=1")).status_code == 200
        assert (await client.post("/v1/config/revert", json={"generation": 1})).status_code < 500
        assert await last_generation(hub.store, node) == 1
        assert await _is_known(hub.context, "none", "a", "b") is False
    # A reader that is not here is to be called above.
    assert readers_of_details() == {
        ("config", "history"),
        ("config", "_is_own"),
        ("config", "_between"),
        ("config", "_shared"),
        ("config", "_change"),
        ("audit_log", "_view"),
        ("settings_application", "_is_known"),
        ("settings_application", "last_generation"),
        ("user_data", "erase_mentions"),
    }
