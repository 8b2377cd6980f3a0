"""The same request, however often it arrives, is done once."""

from pathlib import Path

import anyio
import httpx2
import pytest
import sqlalchemy as sa
from msgspec import convert

from hub.api.nouns.runs import RunView
from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, answering, make_run, over_tcp, over_unix, steps

RUNS = "/v1/agents/notes/runs"
CANCEL = "/v1/runs/r-1/cancel"


async def _post(client: httpx2.AsyncClient, path: str, key: str, body: object = None) -> httpx2.Response:
    return await client.post(path, json=body, headers={"idempotency-key": key})


async def test_the_second_request_with_a_key_is_answered_as_the_first_one_was(tmp_path: Path) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        first = await _post(client, CANCEL, "k", {"reason": "wrong folder"})
        again = await _post(client, CANCEL, "k", {"reason": "wrong folder"})
        other = await _post(client, CANCEL, "l", {"reason": "wrong folder"})
    assert len(hub.done) == 2
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    told = [answer.headers.get("idempotency-replayed") for answer in (first, again, other)]
    assert told == [None, "true", None]


async def test_where_a_run_stands_is_told_again_too(tmp_path: Path) -> None:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        first, again = await _post(client, RUNS, "k"), await _post(client, RUNS, "k")
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])


@pytest.mark.parametrize(
    ("path", "body"), [(CANCEL, {"reason": "another"}), ("/v1/runs/r-2/cancel", {"reason": "wrong folder"})]
)
async def test_a_key_of_another_request_is_refused(tmp_path: Path, path: str, body: object) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        await _post(client, CANCEL, "k", {"reason": "wrong folder"})
        refused = await _post(client, path, "k", body)
    assert (refused.status_code, refused.json()["code"], len(hub.done)) == (409, "key_used", 1)


async def test_a_key_belongs_to_who_uses_it_and_to_what_it_is_used_for(tmp_path: Path) -> None:
    hub = FakeHub()
    async with (
        answering(hub, tmp_path) as listening,
        over_unix(listening) as mine,
        over_tcp(listening, await hub.bench.token()) as theirs,
    ):
        await _post(mine, CANCEL, "k")
        await _post(theirs, CANCEL, "k")
        await _post(mine, "/v1/runs/r-1/pause", "k")
    assert [done[0] for done in hub.done] == ["cancel run", "cancel run", "pause run"]
    assert len({done[-1] for done in hub.done[:2]}) == 2


async def test_what_was_refused_is_tried_anew(tmp_path: Path) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        refused = await _post(client, "/v1/runs/r-1/resume", "k")
        hub.progress.extend(steps(make_run("r-1", RunState.PAUSED)))
        done = await _post(client, "/v1/runs/r-1/resume", "k")
    assert (refused.status_code, done.status_code) == (409, 200)


async def test_an_answer_with_a_secret_is_not_told_twice(tmp_path: Path) -> None:
    async with answering(hub := FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        made = await _post(client, "/v1/tokens", "k", {"device": "desk"})
        again = await _post(client, "/v1/tokens", "k", {"device": "desk"})
        listed = (await client.get("/v1/tokens")).json()["tokens"]
        kept = await hub.bench.store.read(_kept)
    assert (made.status_code, again.status_code, again.json()["code"]) == (201, 409, "key_used")
    assert len(listed) == 1
    assert made.json()["token"] not in kept


def _kept(c: sa.Connection) -> str:
    return str(c.execute(sa.text("SELECT * FROM idempotency_keys")).all())


async def test_two_at_once_are_one(tmp_path: Path) -> None:
    hub = FakeHub()
    answers: list[httpx2.Response] = []

    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:

        async def start() -> None:
            answers.append(await _post(client, RUNS, "k"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(start)
    assert len({convert(answer.json(), RunView).id for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 4


@pytest.mark.parametrize("key", ["", "k" * 129, "a\tb"])
async def test_a_key_is_short_and_printable(tmp_path: Path, key: str) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        refused = await _post(client, CANCEL, key)
    assert (refused.status_code, refused.json()["code"], hub.done) == (422, "bad_params", [])


async def test_a_body_that_is_too_long_is_refused_with_a_key_as_without(tmp_path: Path) -> None:
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        refused = await client.post(CANCEL, content=b" " * 3_000, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


async def test_a_fault_is_told_and_not_kept(tmp_path: Path) -> None:
    hub = FakeHub()
    del hub.done
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        first, again = await _post(client, CANCEL, "k"), await _post(client, CANCEL, "k")
    assert [first.status_code, again.status_code] == [500, 500]
    assert first.json()["code"] == "internal"
