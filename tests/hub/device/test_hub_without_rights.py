"""Permissions of a hub on rows of a device: a table of actions and rows, tried through one honest device."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import open_device_store
from hub.device.owner import approve, change_grants
from hub.links.hub_key import HubKey
from protocol.items import ReviewVerdict, RowReview
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, Answer, ToolCall
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import open_device
from tests.support.scripted_hub import Guest, ScriptedHub

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


class Intruder:
    """A hub that tries actions on rows through the connection of a device."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._calls = 0

    async def call(self, action: str, table: str = "tasks", **more: Any) -> Answer:
        self._calls += 1
        return await self._guest.call(
            ToolCall(id=f"raw-{self._calls}", action=Action(action), table=table, **more)
        )

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
                listed = {row["row_id"]: row["data"] for row in answer.result["rows"]}
                answer = Answer(result={"rows": [listed[row["id"]]] if row["id"] in listed else []})
            case "rows.known":
                answer = await self.call("rows.known", data={"rows": [row["id"]]})
                answer = Answer(result={"rows": [{"description": ""} for _ in answer.result.get("rows", [])]})
            case _:
                seen = f"c-{row['title'].replace(': ', '-')}"
                review = RowReview(verdict=ReviewVerdict(what), seen=seen)
                answer = await self.call("review.apply", where=by_id, review=review)
        return _word(answer)


def _word(answer: Answer) -> str:
    if answer.error is not None:
        return str(answer.error.code)
    if "rows" in answer.result:
        rows = answer.result["rows"]
        return (DONE if "description" in rows[0] else NAMES) if rows else NOT_THERE
    return PROPOSED if answer.result.get("proposed") else DONE


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


@pytest.mark.parametrize("is_granted", [False, True], ids=["without grants", "with both grants"])
async def test_hub_actions_on_device_rows_are_limited_to_the_grants(tmp_path: Path, is_granted: bool) -> None:
    rows, db = plant(tmp_path / "desk.db"), tmp_path / "desk.db"
    if is_granted:
        change_grants(db, HUB.public_key, ["+review.remote", "+rows.read=tasks"])
    before = contents(db)
    async with ScriptedHub().open() as scripted, open_device(scripted.url, tmp_path):
        guest = await scripted.guest()
        hello = await guest.welcome()
        hub = Intruder(guest)
        assert [grant.name for grant in hello.grants] == (
            ["review.remote", "rows.read"] if is_granted else []
        )
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
