"""The same request, however often it arrives, is done once."""

import anyio
import httpx2
import pytest
import sqlalchemy as sa

from tests.support.hub import ServedHub, over_tcp

RUNS = "/v1/agents/notes/runs"
PAUSE = "/v1/agents/notes/pause"
CANCEL = "/v1/runs/r-1/cancel"


async def _post(client: httpx2.AsyncClient, path: str, key: str, body: object = None) -> httpx2.Response:
    return await client.post(path, json=body, headers={"idempotency-key": key})


async def _reasons(client: httpx2.AsyncClient) -> list[str]:
    """Return the reasons of the moves of r-1, after its creation."""
    return [move["reason"] for move in (await client.get("/v1/runs/r-1")).json()["history"][1:]]


async def test_second_request_with_a_key_repeats_the_first_response(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1")
    await client.post("/v1/runs/r-1/pause")
    first = await _post(client, "/v1/runs/r-1/resume", "k")
    again = await _post(client, "/v1/runs/r-1/resume", "k")
    other = await _post(client, "/v1/runs/r-1/resume", "l")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (first.status_code, first.json()["state"]) == (200, "QUEUED")
    assert again.headers["etag"] == first.headers["etag"]
    assert (other.status_code, other.json()["code"]) == (409, "illegal_transition"), "it was done again"
    replayed = [answer.headers.get("idempotency-replayed") for answer in (first, again, other)]
    assert replayed == [None, "true", None]


@pytest.mark.parametrize(
    ("path", "body"), [(CANCEL, {"reason": "another"}), ("/v1/runs/r-2/cancel", {"reason": "wrong folder"})]
)
async def test_idempotency_key_of_another_request_is_refused(
    hub: ServedHub, client: httpx2.AsyncClient, path: str, body: object
) -> None:
    await hub.run("r-1")
    await hub.run("r-2")
    await _post(client, CANCEL, "k", {"reason": "wrong folder"})
    refused = await _post(client, path, "k", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "key_used")
    assert await _reasons(client) == ["wrong folder"]
    assert (await client.get("/v1/runs/r-2")).json()["state"] == "QUEUED"


async def test_idempotency_key_is_separate_for_each_caller_and_route(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with over_tcp(hub, await hub.token()) as other:
        runs = [(await _post(one, RUNS, "k")).json()["id"] for one in (client, other)]
    paused = await _post(client, PAUSE, "k")
    assert (len(set(runs)), paused.status_code, paused.json()["lifecycle"]) == (2, 200, "paused")


async def test_refused_request_is_executed_again_with_the_same_key(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1")
    refused = await _post(client, "/v1/runs/r-1/resume", "k")
    await client.post("/v1/runs/r-1/pause")
    done = await _post(client, "/v1/runs/r-1/resume", "k")
    assert (refused.status_code, done.status_code) == (409, 200)


async def test_request_with_a_known_key_never_repeats_a_secret(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    made = await _post(client, "/v1/tokens", "k", {"device": "desk"})
    again = await _post(client, "/v1/tokens", "k", {"device": "desk"})
    listed = (await client.get("/v1/tokens")).json()["tokens"]
    kept = await hub.store.read(_kept)
    assert (made.status_code, again.status_code, again.json()["code"]) == (201, 409, "key_used")
    assert len(listed) == 1
    assert made.json()["token"] not in kept


def _kept(c: sa.Connection) -> str:
    return str(c.execute(sa.text("SELECT * FROM idempotency_keys")).all())


async def test_concurrent_requests_with_the_same_key_are_done_once(client: httpx2.AsyncClient) -> None:
    answers: list[httpx2.Response] = []

    async def start() -> None:
        answers.append(await _post(client, RUNS, "k"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(start)
    assert len({(answer.json()["id"], answer.headers["location"]) for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 4


async def test_empty_long_or_unprintable_idempotency_key_is_refused(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1")
    refused = [await _post(client, CANCEL, key) for key in ("", "k" * 129, "a\tb")]
    assert [(one.status_code, one.json()["code"]) for one in refused] == [(422, "bad_params")] * 3
    assert await _reasons(client) == []


async def test_too_long_body_with_an_idempotency_key_is_refused(client: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    refused = await client.post(CANCEL, content=b" " * 3_000, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


async def test_request_after_an_internal_error_is_executed_with_the_same_key(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.run("r-1")

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    with monkeypatch.context() as broken:
        broken.setattr(hub.work.control, "cancel", fail)
        first = await _post(client, CANCEL, "k")
    again = await _post(client, CANCEL, "k")
    assert (first.status_code, first.json()["code"]) == (500, "internal")
    assert (again.status_code, again.json()["state"]) == (200, "CANCELLED")
