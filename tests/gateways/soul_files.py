"""SOUL.md of an agent at the gateway: read, written over what was read, and never over what was not."""

import hashlib
from http import HTTPStatus
from typing import Any

import anyio

from tests.evaluation.figures import Figure, exactly
from tests.gateways.place import Place


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    worker = place.word("writer")
    board = await place.board(worker)
    path = f"/v1/boards/{board['id']}/agents/{worker}/soul"
    return [
        *await _written(place, path, worker),
        *await _changed_by_a_person(place, path, worker),
        *await _two_writers(place, path, worker),
        *await _killed(place, path, worker),
    ]


async def _written(place: Place, path: str, worker: str) -> list[Figure]:
    read = await place.do("GET", path)
    there = await _there(place, worker)
    done = await place.do("PUT", path, {"content": "I write.\n", "expected_sha256": read["sha256"]})
    now = await _there(place, worker)
    return [
        exactly("read as the gateway has it", int(read["content"] == there["content"]), 1),
        exactly(
            "written, and the gateway has it",
            int((done["state"], now["content"]) == ("done", "I write.\n")),
            1,
        ),
        exactly("  by the hash that the hub tells", int(done["sha256"] == now["hash"]), 1),
    ]


async def _changed_by_a_person(place: Place, path: str, worker: str) -> list[Figure]:
    read = await place.do("GET", path)
    async with place.gateway.witness() as witness:
        await witness.ask("agents.files.set", agentId=worker, name="SOUL.md", content="I was changed.\n")
    answer = await place.ask("PUT", path, {"content": "I insist.\n", "expected_sha256": read["sha256"]})
    told = answer.json()
    now = await _there(place, worker)
    texts = await _texts(place, path)
    hashes = {read["sha256"], now["hash"]}
    return [
        exactly("changed by somebody else: 409", answer.status_code, HTTPStatus.CONFLICT),
        exactly("  with both hashes", int(hashes <= set(map(str, told.values()))), 1),
        exactly("  theirs stays at the gateway", int(now["content"] == "I was changed.\n"), 1),
        exactly("  the history has both texts", len({"I insist.\n", "I was changed.\n"} & texts), 2),
    ]


async def _two_writers(place: Place, path: str, worker: str) -> list[Figure]:
    read = await place.do("GET", path)
    answers: dict[str, Any] = {}

    async def write(content: str) -> None:
        body = {"content": content, "expected_sha256": read["sha256"]}
        answers[content] = await place.ask("PUT", path, body)

    async with anyio.create_task_group() as tasks:
        for content in ("One was here.\n", "Two was here.\n"):
            tasks.start_soon(write, content)
    won = [content for content, answer in answers.items() if answer.is_success]
    lost = [answer for answer in answers.values() if answer.status_code == HTTPStatus.CONFLICT]
    now = await _there(place, worker)
    return [
        exactly("two writers at once: one wins", len(won), 1),
        exactly("  the other gets 409", len(lost), 1),
        exactly("  the gateway has the winner's", int(won == [now["content"]]), 1),
        exactly("  the history has both texts", len(set(answers) & await _texts(place, path)), 2),
    ]


async def _killed(place: Place, path: str, worker: str) -> list[Figure]:
    """The gateway dies while the write is under way."""
    read = await place.do("GET", path)
    wanted = "I was there all the time.\n"
    answers: list[Any] = []

    async def write() -> None:
        body = {"content": wanted, "expected_sha256": read["sha256"]}
        answers.append(await place.ask("PUT", f"{path}?wait_s=0", body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await place.gateway.kill()
        await place.gateway.start()
    (answer,) = answers
    if answer.is_success:
        await place.soul_is(path, wanted)
    now = await _there(place, worker)
    writes = (await place.do("GET", f"{path}/history"))["writes"]
    mine = [write for write in writes if write["sha256"] == _sha256(wanted)]
    return [
        exactly("gateway killed under a write: it gets there", int(now["content"] == wanted), 1),
        exactly(
            "  done once, as the hub tells", len([write for write in mine if write["state"] == "done"]), 1
        ),
    ]


async def _there(place: Place, agent: str) -> dict[str, Any]:
    async with place.gateway.witness() as witness:
        return await witness.soul(agent)


async def _texts(place: Place, path: str) -> set[str]:
    versions = (await place.do("GET", f"{path}/history"))["versions"]
    return {(await place.do("GET", f"{path}/history/{one['seq']}"))["content"] for one in versions}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
