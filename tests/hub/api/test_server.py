"""The operator's interface, over its real sockets."""

import json
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.api.http.listening import listen_on_unix
from hub.base.listen_errors import AnotherHub, CannotListen
from hub.base.loop_lag import LoopLag
from hub.base.roles import Role
from hub.base.web.problem import ProblemResponse
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.lifecycles import RunState
from tests.support.hub import ServedHub, over_tcp, over_unix, serving
from tests.support.runs import folder
from tests.support.wire import until


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves on sockets."""
    async with serving(tmp_path) as opened:
        yield opened


async def test_every_noun_can_be_read_over_both_sockets(hub: ServedHub) -> None:
    async with over_unix(hub) as unix, over_tcp(hub, await hub.token(Role.VIEWER)) as tcp:
        async with hub.working(*folder(a="- [ ] one\n- [ ] two")):
            run = (await unix.post("/v1/agents/notes/runs")).json()["id"]
            await hub.ends(run)
        for client in (unix, tcp):
            status = (await client.get("/v1/status")).json()
            assert (status["name"], status["runs"]) == ("home", {})
            assert (await client.get("/v1/devices")).json()["devices"][0]["name"] == "desk"
            assert (await client.get("/v1/agents")).json()["agents"][0]["last_run"]["items_created"] == 2
            assert (await client.get("/v1/agents/notes")).json()["paths"] == ["~/notes"]
            runs = (await client.get("/v1/runs", params={"agent": "notes", "limit": 1})).json()["runs"]
            assert [one["id"] for one in runs] == [run]
            assert (await client.get(f"/v1/runs/{run}")).json()["units"][0]["path"] == "a.md"
            assert "hub_runs_total" in (await client.get("/metrics")).text


async def test_health_and_readiness_routes_answer_503_when_stuck_cut_off_or_draining(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with over_tcp(hub) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json()["ready"] is True
        hub.roster.is_cut_off = lambda: True
        assert [one["id"] for one in (await client.get("/readyz")).json()["issues"]] == ["node.cut_off"]
        hub.drain.begin()
        monkeypatch.setattr(LoopLag, "is_stuck", True)
        assert (await client.get("/healthz")).status_code == 503
        unready = await client.get("/readyz")
    assert (unready.status_code, [one["id"] for one in unready.json()["issues"]]) == (503, ["hub.draining"])


REFUSALS = (
    ("/v1/agents/nobody", 404, "unknown_agent", "nobody"),
    ("/v1/runs/r-9", 404, "unknown_run", "r-9"),
    ("/v1/runs/r-9/events", 404, "unknown_run", "r-9"),
    ("/v1/runs?limit=0", 422, "bad_params", "limit"),
    ("/v1/handbook", 404, "unknown_method", "there is nothing at /v1/handbook"),
    ("/v1/tokens/t-1", 405, "unknown_method", "/v1/tokens/t-1 does not take GET, but DELETE"),
)


async def test_api_refusal_is_a_problem_with_a_stable_code(client: httpx2.AsyncClient) -> None:
    for path, status, code, detail in REFUSALS:
        answer = await client.get(path)
        assert answer.headers["content-type"] == "application/problem+json", path
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), path
        is_route = code != ErrorCode.UNKNOWN_METHOD
        hint = CATALOGUE[ErrorCode(code)].hint if is_route else "openapi"
        assert detail in problem["detail"] and hint in problem["hint"], path


def test_each_error_code_has_the_status_of_the_catalogue() -> None:
    for code, info in CATALOGUE.items():
        assert ProblemResponse(code, "said").status_code == info.http_status >= 400


async def test_internal_error_is_a_500_without_the_exception_message(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [HubError("known"), RuntimeError("a token may be in here")]

    async def fail(*_: object) -> None:
        raise errors.pop()

    monkeypatch.setattr(hub.store, "read", fail)
    answer = await client.get("/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "a token" not in answer.text
    assert (await client.get("/v1/status")).json()["detail"] == "known"


async def test_run_is_followed_until_completion(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    await hub.run("r-1", RunState.RUNNING)
    async with client.stream("GET", "/v1/runs/r-1/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: progress"
        await hub.move("r-1", RunState.COMPLETED)
        rest = [line async for line in lines]
    assert answer.headers["content-type"].startswith("text/event-stream")
    steps = [json.loads(line.removeprefix("data: ")) for line in rest if line.startswith("data: ")]
    assert [(step["seq"], step["run"]["state"]) for step in steps] == [(1, "RUNNING"), (2, "COMPLETED")]


async def test_run_watch_ends_when_the_follower_disconnects(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1")
    async with client.stream("GET", "/v1/runs/r-1/events") as answer:
        lines = answer.aiter_lines()  # closes the response when it is deleted
        await anext(lines)
        assert len(hub.work.watch) == 1
    await until(lambda: not len(hub.work.watch))


async def test_unix_socket_is_private_and_removed_at_shutdown(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        assert stat.S_IMODE(hub.listening.unix.stat().st_mode) == 0o600
        with pytest.raises(AnotherHub, match="is running"), listen_on_unix(hub.listening.unix):
            pass
    assert not hub.listening.unix.exists()


def test_a_dead_hubs_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listen_on_unix(path) as listening:
        assert listening.getsockname() == str(path)


def test_regular_file_at_the_socket_path_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="not a socket"), listen_on_unix(path):
        pass
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="shorter"), listen_on_unix(tmp_path / ("x" * 108)):
        pass


async def test_api_server_leaves_the_signal_handlers_of_the_process(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving(tmp_path):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before
