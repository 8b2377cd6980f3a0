"""Runs over the REST interface: their numbers by filters, the search for a text, and pages of their files."""

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import httpx2
import pytest
import sqlalchemy as sa

from hub.api.binding import RequestContext
from hub.api.events import StillValid, Streams
from hub.api.resources.runs import WaitPreference
from hub.base.roles import Principal
from protocol.errors import CodedError
from protocol.ids import RunId
from protocol.lifecycles import RunOutcome, RunState
from storage.runs import runs
from storage.schema import run_units
from tests.support.hub import ServedHub


@pytest.fixture(autouse=True)
async def _runs(hub: ServedHub) -> None:
    """Store six runs, of which one is of another user."""
    await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
    await hub.run("r-2", RunState.COMPLETED, outcome=RunOutcome.PARTIAL)
    await hub.run("r-3", RunState.FAILED, reason="the 100%_sure folder is missing")
    await hub.run("r-4", RunState.CANCELLED)
    await _fail_a_file(hub)
    await hub.run("r-5")
    await hub.agent("letters", user_id=await hub.user("anna"))
    await hub.run("r-6", RunState.CANCELLED, agent="letters")


async def _fail_a_file(hub: ServedHub) -> None:
    """Store five files of a run, and an error of one of them."""
    rows = [
        {
            "run_id": "r-1",
            "unit_key": f"{n}.md",
            "content_hash": "h",
            "state": "FAILED" if n == 3 else "PENDING",
        }
        for n in range(5)
    ]
    await hub.store.write(
        lambda c: c.execute(sa.insert(run_units), [row | {"updated_at": 1} for row in rows]).rowcount
    )
    await hub.store.write(runs.record_error, RunId("r-1"), "3.md", "bad_file", "Größe unbekannt", hub.now_ms)


async def test_run_counts_by_state_and_outcome_respect_the_list_filters(
    client: httpx2.AsyncClient,
) -> None:
    found = (await client.get("/v1/runs/counts", params={"user": "owner"})).json()
    assert found == {
        "total": 5,
        "states": {"COMPLETED": 2, "FAILED": 1, "CANCELLED": 1, "QUEUED": 1},
        "outcomes": {"success": 1, "partial": 1, "failed": 1, "cancelled": 1},
        "is_complete": True,
    }
    assert (await client.get("/v1/runs/counts", params={"user": "anna"})).json()["total"] == 1
    failed = (await client.get("/v1/runs/counts", params={"outcome": "failed"})).json()
    assert (failed["total"], failed["outcomes"]) == (1, {"failed": 1})
    assert (await client.get("/v1/runs/counts", params={"device": "nobody"})).status_code == 404


async def test_runs_are_searched_for_a_text_in_agent_reason_and_errors(client: httpx2.AsyncClient) -> None:
    for text, expected in (
        ("folder IS missing", ["r-3"]),
        ("100%_sure", ["r-3"]),
        ("100__sure", []),
        ("grosse UNBEKANNT", ["r-1"]),
        ("GRÖßE", ["r-1"]),
        ("letter", ["r-6"]),
        ("nobody wrote this", []),
    ):
        listed = (await client.get("/v1/runs", params={"text": text})).json()["runs"]
        assert [run["id"] for run in listed] == expected, text
        counts = (await client.get("/v1/runs/counts", params={"text": text})).json()
        assert counts["total"] == len(expected), text


async def test_files_of_a_run_are_read_in_pages_and_by_state(client: httpx2.AsyncClient) -> None:
    paths, cursor = [], None
    while True:
        page = (
            await client.get(
                "/v1/runs/r-1/units", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        paths.append([unit["path"] for unit in page["units"]])
        if (cursor := page["next_cursor"]) is None:
            break
    assert paths == [["0.md", "1.md"], ["2.md", "3.md"], ["4.md"]]
    (failed,) = (await client.get("/v1/runs/r-1/units", params={"state": "FAILED"})).json()["units"]
    assert failed["path"] == "3.md"
    assert (await client.get("/v1/runs/r-1/units", params={"user": "anna"})).status_code == 404


@pytest.mark.parametrize(
    ("prefer", "applied", "state"),
    [
        ("wait=60", "wait=60", "CANCELLED"),
        ('respond-async, Wait = "3600" ;x=1, wait=1', "wait=60", "CANCELLED"),
        ("wait=0", "wait=0", "QUEUED"),
        ("wait=-1, wait=soon, wait", None, "QUEUED"),
        ("handling=lenient", None, "QUEUED"),
    ],
)
async def test_run_request_with_prefer_wait_returns_at_the_end_or_timeout(
    hub: ServedHub, client: httpx2.AsyncClient, prefer: str, applied: str | None, state: str
) -> None:
    headers = {"prefer": prefer, "idempotency-key": "k"}

    async def end() -> None:
        while not len(hub.work.watch):
            await anyio.lowlevel.checkpoint()
        (run,) = await hub.store.read(runs.list_runs, task_id="t-1")
        await hub.move(run.id, RunState.CANCELLED)

    async with anyio.create_task_group() as tasks:
        if state == "CANCELLED":
            tasks.start_soon(end)
        started = await client.post("/v1/agents/notes/runs", json={"task_id": "t-1"}, headers=headers)
    run = started.json()
    assert (started.status_code, started.headers.get("preference-applied"), run["state"]) == (
        202,
        applied,
        state,
    )
    same = await client.get(f"/v1/runs/{run['id']}", headers={"prefer": "wait=0"})
    assert (same.headers["preference-applied"], same.json()["state"]) == ("wait=0", state)
    assert "etag" in same.headers


async def _counts(_: Principal) -> bool:
    return True


async def _counts_no_more(_: Principal) -> bool:
    return False


@pytest.mark.parametrize(
    ("places", "counts", "expected"),
    [
        (4, _counts, ({"preference-applied": "wait=60"}, [])),
        (0, _counts, ({}, [])),
        (4, _counts_no_more, ({}, ["auth_failed"])),
    ],
)
async def test_prefer_wait_ends_at_shutdown_and_needs_a_place_and_valid_token(
    places: int, counts: StillValid, expected: object
) -> None:
    async def endless() -> AsyncGenerator[None]:
        yield
        await anyio.sleep_forever()

    streams = Streams(places, still_counts=counts)
    call = RequestContext({"query_string": b"", "headers": []}, {}, b"", caller=Principal.of_uid(0))
    problems: list[str] = []

    async def wait() -> None:
        try:
            await WaitPreference(60, streams, call).wait_for(endless())
        except CodedError as error:
            problems.append(error.code)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            streams.end()
    assert (call.head.headers, problems) == expected
