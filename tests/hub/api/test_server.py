"""The operator's interface, over its real sockets."""

import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hub.api.door.roles import Role
from hub.api.door.server import Listening
from hub.api.door.sockets import AnotherHub, CannotListen, listen_on_unix
from hub.api.errors import Problem
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, make_run, over_tcp, over_unix, serving, steps


async def test_every_noun_can_be_read_over_both_sockets(tmp_path: Path) -> None:
    hub = FakeHub()
    async with (
        serving(hub, tmp_path) as listening,
        over_unix(listening) as unix,
        over_tcp(listening, await hub.bench.token(Role.VIEWER)) as tcp,
    ):
        for client in (unix, tcp):
            status = (await client.get("/v1/status")).json()
            assert (status["name"], status["runs"]) == ("home", {"RUNNING": 1, "COMPLETED": 4})
            assert (await client.get("/v1/devices")).json()["devices"][0]["name"] == "desk"
            assert (await client.get("/v1/agents")).json()["agents"][0]["last_run"]["items_created"] == 2
            assert (await client.get("/v1/agents/notes")).json()["paths"] == ["~/notes"]
            runs = (await client.get("/v1/runs", params={"agent": "notes", "limit": 1})).json()["runs"]
            assert [run["id"] for run in runs] == ["r-1"]
            assert (await client.get("/v1/runs/r-1")).json()["units"][1]["error"] == "not text"
            assert (await client.get("/metrics")).text == "hub_build_info 1\n"


async def test_health_and_readiness_say_it_in_their_status(tmp_path: Path) -> None:
    hub = FakeHub()
    async with serving(hub, tmp_path) as listening, over_tcp(listening) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json()["ready"] is True
        hub.stuck, hub.ready = True, False
        assert (await client.get("/healthz")).status_code == 503
        unready = await client.get("/readyz")
        assert (unready.status_code, unready.json()["checks"][0]["ok"]) == (503, False)


async def test_a_run_is_started_once_for_each_idempotency_key(tmp_path: Path) -> None:
    async with serving(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        first = await client.post("/v1/agents/notes/runs", headers={"idempotency-key": "k"})
        again = await client.post("/v1/agents/notes/runs", headers={"idempotency-key": "k"})
        other = await client.post("/v1/agents/notes/runs")
    assert (first.status_code, first.headers["location"]) == (202, f"/v1/runs/{first.json()['id']}")
    assert again.json()["id"] == first.json()["id"] != other.json()["id"]


async def test_a_token_is_made_shown_once_and_revoked(tmp_path: Path) -> None:
    async with serving(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        made = await client.post("/v1/tokens", json={"device": "desk"})
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
        assert made.json()["token"].startswith("hub_dev_")
        listed = (await client.get("/v1/tokens")).json()["tokens"]
        assert "token" not in listed[0]
        revoked = await client.delete(f"/v1/tokens/{made.json()['id']}")
        assert revoked.json()["revoked_at"] is not None


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/agents/nobody", 404, "unknown_agent"),
        ("/v1/runs/r-9", 404, "unknown_run"),
        ("/v1/runs/r-9/events", 404, "unknown_run"),
        ("/v1/runs?limit=0", 422, "bad_params"),
        ("/v1/handbook", 404, "unknown_method"),
        ("/v1/tokens/t-1", 405, "unknown_method"),
    ],
)
async def test_a_refusal_is_a_problem_with_a_stable_code(
    tmp_path: Path, path: str, status: int, code: str
) -> None:
    async with serving(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        answer = await client.get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["status"], told["code"]) == (status, status, code)
    assert told["hint"] == CATALOGUE[ErrorCode(code)].hint


def test_each_error_code_has_the_status_of_the_catalogue() -> None:
    for code, info in CATALOGUE.items():
        assert Problem(code, "said").status_code == info.http_status >= 400


async def test_a_fault_in_the_hub_is_a_500_without_its_message(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.broken = RuntimeError("a token may be in here")
    async with serving(hub, tmp_path) as listening, over_unix(listening) as client:
        answer = await client.get("/v1/status")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "a token" not in answer.text
        hub.broken = HubError("known")
        assert (await client.get("/v1/status")).json()["detail"] == "known"


async def test_openapi_is_served_and_nothing_around_it_is(tmp_path: Path) -> None:
    async with serving(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        document = (await client.get("/v1/openapi.json")).json()
        assert "/v1/agents/{name}/runs" in document["paths"]
        assert (await client.get("/redoc")).status_code == 404


async def test_a_body_that_is_too_long_or_does_not_say_how_long_it_is_is_refused(tmp_path: Path) -> None:
    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    async with serving(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        told = await client.post("/v1/tokens", content=b"x" * 2_001)
        untold = await client.post(
            "/v1/tokens", content=chunked(), headers={"content-type": "application/json"}
        )
    assert [(answer.status_code, answer.json()["code"]) for answer in (told, untold)] == [
        (413, "too_large"),
        (411, "bad_params"),
    ]


async def test_a_run_is_followed_to_its_end(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress = steps(make_run(state=RunState.RUNNING), make_run(state=RunState.COMPLETED))
    async with serving(hub, tmp_path) as listening, over_unix(listening) as client:
        answer = await client.get("/v1/runs/r-1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("event: progress\n") == 2
    assert '"state":"COMPLETED"' in answer.text.split("\n\n")[1]


async def test_a_follower_who_leaves_is_noticed(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress, hub.goes_on = steps(make_run()), True
    async with serving(hub, tmp_path) as listening, over_unix(listening) as client:
        async with client.stream("GET", "/v1/runs/r-1/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
        with anyio.fail_after(5):
            await hub.left.wait()


async def test_followers_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress, hub.goes_on = steps(make_run()), True
    async with (
        serving(hub, tmp_path, event_streams=1) as listening,
        over_unix(listening) as client,
        client.stream("GET", "/v1/runs/r-1/events") as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        refused = await client.get("/v1/runs/r-1/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")


async def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress, hub.goes_on = steps(make_run()), True
    ended = anyio.Event()

    async def follow(listening: Listening) -> None:
        async with over_unix(listening) as client:
            await client.get("/v1/runs/r-1/events", timeout=None)
            ended.set()

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(3):  # less than the server would wait for answers under way
            async with serving(hub, tmp_path) as listening:
                tasks.start_soon(follow, listening)
                await hub.following.wait()
            await ended.wait()


async def test_the_socket_is_its_owners_and_goes_with_the_hub(tmp_path: Path) -> None:
    async with serving(FakeHub(), tmp_path) as listening:
        assert stat.S_IMODE(listening.unix.stat().st_mode) == 0o600
        with pytest.raises(AnotherHub, match="is running"), listen_on_unix(listening.unix):
            pass
    assert not listening.unix.exists()


def test_a_dead_hubs_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listen_on_unix(path) as listening:
        assert listening.getsockname() == str(path)


def test_a_file_where_the_socket_belongs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="not a socket"), listen_on_unix(path):
        pass
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="shorter"), listen_on_unix(tmp_path / ("x" * 108)):
        pass


async def test_the_processs_signals_are_left_to_the_daemon(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving(FakeHub(), tmp_path):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before
