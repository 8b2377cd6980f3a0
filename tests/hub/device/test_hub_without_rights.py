"""What a hub may do to rows of a device, tried with raw frames: one table, all of it through one device."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from hub.base.clock import IdFactory
from hub.device.inserts import open_device_store
from hub.device.owner import approve, change_grants
from hub.links.hub_key import HubKey
from protocol.codec import JSON
from protocol.handshake import NONCE_HEADER, SPOKEN, Challenge
from protocol.tables import SUGGESTED
from protocol.work import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import open_device

HUB, OTHER = HubKey(bytes([1]) * 32), HubKey(bytes([2]) * 32)

# The rows of one device. *own*: its owner wrote it, which approves it; *draft*: and has not approved it.
# *approved*: this hub wrote it, its owner approved it. *open*: this hub wrote it. *others*: another hub
# wrote it; *others_approved*: that, and approved.
ROWS = ("own", "draft", "approved", "open", "others", "others_approved")
NOT_THERE, PROPOSED, DONE, NAMES = "database_conflict", "proposed", "done", "name alone"
UNGRANTED, BAD, DECIDED = "not_granted", "bad_record", "changed_meanwhile"

# What comes of each action on each of ROWS: without grants, then where it differs with both of them.
Words = tuple[str, str, str, str, str, str]
NONE_GRANTED: Words = (UNGRANTED,) * 6
TABLE: dict[str, tuple[Words, Words | None]] = {
    "update": ((NOT_THERE, NOT_THERE, PROPOSED, DONE, NOT_THERE, NOT_THERE), None),
    "delete": ((NOT_THERE, NOT_THERE, PROPOSED, DONE, NOT_THERE, NOT_THERE), None),
    "update by title": ((NOT_THERE, NOT_THERE, NOT_THERE, DONE, NOT_THERE, NOT_THERE), None),
    "approve by update": ((BAD,) * 6, None),
    "insert with its id": ((BAD,) * 6, None),
    "query": ((NAMES, NOT_THERE, NAMES, DONE, NOT_THERE, NAMES), None),
    "query by text": ((NOT_THERE, NOT_THERE, NOT_THERE, DONE, NOT_THERE, NOT_THERE), None),
    "query approved": (NONE_GRANTED, (DONE, NOT_THERE, DONE, NOT_THERE, NOT_THERE, DONE)),
    "query approved notes": (NONE_GRANTED, None),
    "rows.list": ((NOT_THERE, NOT_THERE, NAMES, DONE, NOT_THERE, NOT_THERE), None),
    "rows.known": ((NOT_THERE, NOT_THERE, DONE, DONE, NOT_THERE, NOT_THERE), None),
    "approve": (NONE_GRANTED, (NOT_THERE, NOT_THERE, DECIDED, DONE, NOT_THERE, NOT_THERE)),
    "reject": (NONE_GRANTED, (NOT_THERE, NOT_THERE, DECIDED, DONE, NOT_THERE, NOT_THERE)),
}


class BareHub:
    """Frames of a hub as JSON, with no judgement and nothing of the hub's code but its key."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._calls = 0

    async def greet(self) -> dict[str, Any]:
        """Take the device in, whoever it is; its hello."""
        assert self._socket.request is not None
        headers = self._socket.request.headers
        challenge = Challenge(nonce="A" * 43, hub_id="hub-1", protocol=SPOKEN, ts_ms=1)
        proof = HUB.prove(challenge, address=headers["Host"], device_nonce=headers[NONCE_HEADER])
        frame = JSON.encode(msgspec.structs.replace(challenge, proof=proof)).decode()
        await self._socket.send(frame)
        hello: dict[str, Any] = json.loads(await self._socket.recv())
        await self.say(
            type="welcome", protocol=1, hub_id="hub-1", connection_id="c", user_id="u", device_id="desk",
            epoch=1, server_ts_ms=1,
        )  # fmt: skip
        return hello

    async def say(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def call(self, action: str, table: str = "tasks", **more: Any) -> dict[str, Any]:
        self._calls += 1
        id = f"raw-{self._calls}"
        await self.say(type="tool_call", id=id, action=action, table=table, **more)
        while True:
            frame: dict[str, Any] = json.loads(await self._socket.recv())
            if frame["type"] == "tool_result" and frame["id"] == id:
                return frame

    async def attempt(self, what: str, row: dict[str, str]) -> str:
        """Do *what* to a row of that id and title, and say in one word what came of it."""
        by_id, by_title = {"id": row["id"]}, {"title": row["title"]}
        match what:
            case "update":
                answer = await self.call("update", where=by_id, data={"description": "changed"})
            case "update by title":
                answer = await self.call("update", where=by_title, data={"description": "changed"})
            case "approve by update":
                answer = await self.call("update", where=by_id, data={"isApproved": 1})
            case "delete":
                answer = await self.call("delete", where=by_id)
            case "insert with its id":
                answer = await self.call("insert", data={"id": row["id"], "title": "x"})
            case "query":
                answer = await self.call("query", where=by_id, limit=9)
            case "query by text":
                answer = await self.call("query", where=by_id | {"description": "secret"}, limit=9)
            case "query approved":
                answer = await self.call("query", where=by_id, limit=9, data={"approved": True})
            case "query approved notes":
                answer = await self.call("query", "notes", where=by_id, limit=9, data={"approved": True})
            case "rows.list":
                answer = await self.call("rows.list", limit=500)
                listed = {row["row_id"]: row["data"] for row in answer["result"]["rows"]}
                answer = {"result": {"rows": [listed[row["id"]]] if row["id"] in listed else []}}
            case "rows.known":
                answer = await self.call("rows.known", data={"rows": [row["id"]]})
                answer = {"result": {"rows": [{"description": ""} for _ in answer["result"].get("rows", [])]}}
            case _:
                seen = f"c-{row['title'].replace(': ', '-')}"
                answer = await self.call("review.apply", where=by_id, review={"verdict": what, "seen": seen})
        return _word(answer)


def _word(answer: dict[str, Any]) -> str:
    if error := answer.get("error"):
        return str(error["code"])
    result = answer["result"]
    if "rows" in result:
        return (DONE if "description" in result["rows"][0] else NAMES) if result["rows"] else NOT_THERE
    return PROPOSED if result.get("proposed") else DONE


def plant(db: Path) -> dict[str, dict[str, str]]:
    """Write rows of each kind, for each action, into a device's file; their ids and titles, by these."""
    clock = FakeClock()
    with open_device_store(db, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        for key, names in ((HUB, ("approved", "open")), (OTHER, ("others", "others_approved"))):
            store.meet(key.public_key)
            store.apply(
                [
                    ToolCall(
                        id=f"c-{what}-{name}",
                        action=Action.INSERT,
                        table="tasks",
                        data={"title": f"{what}: {name}", "description": "secret", **SUGGESTED},
                    )
                    for what in TABLE
                    for name in names
                ]
            )
    with closing(sqlite3.connect(db, isolation_level=None)) as owner:
        for what in TABLE:
            for name, is_approved in (("own", 1), ("draft", 0)):
                title = f"{what}: {name}"
                owner.execute(
                    "INSERT INTO tasks (id, title, description, isApproved, createdAt, updatedAt)"
                    " VALUES (?1, ?1, 'secret', ?2, 1, 1)",
                    (title, is_approved),
                )
        numbers = owner.execute(
            "SELECT number FROM reviews JOIN tasks ON row_id = id WHERE title LIKE '%: %approved'"
        )
        approve(db, [number for (number,) in numbers.fetchall()], at_ms=5)
        listed = owner.execute("SELECT id, title FROM tasks").fetchall()
    return {title: {"id": id, "title": title} for id, title in listed}


def contents(db: Path) -> dict[str, tuple[str, int]]:
    with closing(sqlite3.connect(db)) as opened:
        found = opened.execute("SELECT title, description, isApproved FROM tasks")
        return {title: (description, is_approved) for title, description, is_approved in found}


@asynccontextmanager
async def bare_hub(state: Path) -> AsyncIterator[tuple[BareHub, dict[str, Any]]]:
    """A device that is honest, connected to a hub that is not; and the device's hello."""
    arrived, taken = anyio.create_memory_object_stream[ServerConnection](1)

    async def host(socket: ServerConnection) -> None:
        await arrived.send(socket)
        await socket.wait_closed()

    with arrived, taken:
        async with serve(host, "127.0.0.1", 0, compression=None) as server:
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            async with open_device(url, state):
                with anyio.fail_after(30):
                    hub = BareHub(await taken.receive())
                    yield hub, await hub.greet()


@pytest.mark.parametrize("is_granted", [False, True], ids=["without grants", "with both grants"])
async def test_hub_actions_on_device_rows_are_limited_to_the_grants(tmp_path: Path, is_granted: bool) -> None:
    rows, db = plant(tmp_path / "desk.db"), tmp_path / "desk.db"
    if is_granted:
        change_grants(db, HUB.public_key, ["+review.remote", "+rows.read=tasks"])
    before = contents(db)
    async with bare_hub(tmp_path) as (hub, hello):
        named = [grant["name"] for grant in hello.get("grants", [])]
        assert named == (["review.remote", "rows.read"] if is_granted else [])
        came = {
            what: tuple([await hub.attempt(what, rows[f"{what}: {name}"]) for name in ROWS]) for what in TABLE
        }
        if is_granted:  # over the same connection, and whatever another hub may
            change_grants(db, HUB.public_key, ["-rows.read"])
            change_grants(db, OTHER.public_key, ["+rows.read=tasks"])
            assert await hub.attempt("query approved", rows["query approved: approved"]) == UNGRANTED
    assert came == {
        what: (granted if is_granted else None) or without for what, (without, granted) in TABLE.items()
    }
    after = contents(db)
    for what, words in came.items():
        for title in (f"{what}: {name}" for name, word in zip(ROWS, words, strict=True) if word != DONE):
            assert after.get(title) == before[title], "what was not done has changed the row"
