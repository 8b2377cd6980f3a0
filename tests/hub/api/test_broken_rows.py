"""A hub starts over a database with broken rows of every kind, and serves the others over every route."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

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
