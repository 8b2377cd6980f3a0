"""Verdicts that people give at the hub come to the device once, and each item is judged as they said."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import pytest

from hub.base.clock import SystemClock, now_ms
from hub.device.inbox import Inbox, Verdict
from hub.device.items import DeviceItem
from tests.scenarios.restores import Restores, put_back, snapshot
from tests.scenarios.scene import Point, Scene, check_boxes, rows, scene
from tests.support.postgres import Postgres
from tests.support.proxy import Direction

GRANT = "review.remote"
POLL_S = 0.05


@asynccontextmanager
async def found(folder: Path, *grants: str, files: int = 3) -> Any:
    """A device with two rows of each file, which its hub knows, and its owner's *grants*."""
    async with scene(folder, check_boxes(files)[0]) as play:
        play.device.words = [*play.device.words, *(f"--grant=+{grant}" for grant in grants)]
        await play.device.start()
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 2 * files
        yield play


async def give(play: Scene, verdict: str, ids: Sequence[str], **how: Any) -> list[dict[str, Any]]:
    given = {"verdicts": [{"id": id, "verdict": verdict, **how} for id in ids]}
    results: list[dict[str, Any]] = (await play.hub.post("/v1/items/verdicts", given))["results"]
    return results


async def ids(play: Scene) -> list[str]:
    return sorted(item["id"] for item in (await play.hub.get("/v1/items"))["items"])


async def come(
    play: Scene, ids: Sequence[str], state: str, *, within_s: float = 60.0
) -> list[dict[str, Any]]:
    """The items, once the newest verdict on each is in that state."""
    items: list[dict[str, Any]] = []
    with anyio.move_on_after(within_s):
        for id in ids:
            while ((item := await play.hub.get(f"/v1/items/{id}"))["given"] or {}).get("state") != state:
                await anyio.sleep(POLL_S)
            items.append(item)
        return items
    raise AssertionError(f"never {state}: {ids[len(items)]}\n{play.hub.log()[-3000:]}")


def at_device(play: Scene) -> dict[str, int]:
    """How many rows of the device are approved, and how many verdicts it has applied."""
    ((left, approved),) = rows(play.device.database, "SELECT count(*), sum(isApproved) FROM tasks")
    ((applied,),) = rows(play.device.database, "SELECT count(*) FROM calls WHERE action = 'review.apply'")
    return {"rows": left, "approved": approved or 0, "applied": applied}


async def test_remote_verdicts_are_applied_undone_and_yield_to_the_owner(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play:
        first, second, third, fourth, fifth, sixth = await ids(play)
        assert [one["state"] for one in await give(play, "approve", [first])] == ["pending"]
        await give(play, "reject", [second])
        await give(play, "edit", [third], data={"title": "Another one"})
        items = await come(play, [first, second, third], "done")
        assert [item["verdict"] for item in items] == ["approved", "rejected", "edited"]
        assert at_device(play) == {"rows": 5, "approved": 1, "applied": 3}
        await give(play, "undo", [second])
        (item,) = await come(play, [second], "done")
        assert (item["verdict"], item["place"]["quote"] != "") == ("open", True)
        assert at_device(play) == {"rows": 6, "approved": 1, "applied": 4}

        await give(play, "approve", [fourth], data={"projectId": {"title": "House"}})
        await come(play, [fourth], "done")
        choices = await play.hub.get(f"/v1/items/{fifth}/choices")
        (field,) = choices["fields"]
        assert (choices["is_asked"], [row["title"] for row in field["rows"]]) == (True, ["House"])
        await give(play, "approve", [fifth], data={"projectId": field["rows"][0]["id"]})
        await come(play, [fifth], "done")
        under = "SELECT count(*) FROM tasks JOIN projects ON projects.id = projectId WHERE name = 'House'"
        assert rows(play.device.database, under) == [(2,)]

        row = (await play.hub.get(f"/v1/items/{sixth}"))["row_id"]
        with closing(sqlite3.connect(play.device.database)) as db, db:
            db.execute("UPDATE tasks SET title = 'By myself' WHERE id = ?", (row,))
        await give(play, "reject", [sixth])
        (item,) = await come(play, [sixth], "refused")
        assert (item["given"]["reason"], at_device(play)["rows"]) == ("changed_meanwhile", 6)


async def verdicts_at_hub(play: Scene, ids: Sequence[str], wanted: Sequence[str]) -> None:
    """Wait until the hub has these verdicts of the items."""
    found: list[str] = []
    with anyio.move_on_after(60):
        while found != [*wanted]:
            found = [(await play.hub.get(f"/v1/items/{id}"))["verdict"] for id in ids]
            await anyio.sleep(POLL_S)
        return
    raise AssertionError(f"never {wanted}, but {found}\n{play.hub.log()[-3000:]}")


AT_THE_DEVICE: Final[Sequence[tuple[Verdict, dict[str, str]]]] = [
    ("approve", {}),
    ("reject", {}),
    ("edit", {"title": "Another one"}),
]
DECIDED: Final = ["approved", "rejected", "edited"]


async def test_verdicts_undone_at_the_device_are_undone_at_the_hub_past_restarts_and_lost_reports(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play:
        inbox = Inbox(play.device.database)

        def judge() -> None:
            for item, (verdict, fields) in zip(shown, AT_THE_DEVICE, strict=True):
                inbox.judge(inbox_item(item.number), verdict, fields, at_ms=now_ms(SystemClock()))

        def undo() -> None:
            for item in shown:
                inbox.undo(item.number)

        def inbox_item(number: int) -> DeviceItem:
            return next(item for item in inbox.items() if item.number == number)

        shown = inbox.items()[:3]
        named = {item["row_id"]: item["id"] for item in (await play.hub.get("/v1/items"))["items"]}
        chosen = [named[item.row_id] for item in shown]

        judge()
        await verdicts_at_hub(play, chosen, DECIDED)
        undo()
        await verdicts_at_hub(play, chosen, ["open"] * 3)
        for id in chosen:
            assert (await play.hub.get(f"/v1/items/{id}"))["place"]["quote"]

        judge()
        await verdicts_at_hub(play, chosen, DECIDED)
        await play.device.kill()
        undo()
        await play.kill_hub()
        await play.start_hub()
        await play.device.start()
        await verdicts_at_hub(play, chosen, ["open"] * 3)

        judge()
        await verdicts_at_hub(play, chosen, DECIDED)
        await play.device.kill()
        with closing(sqlite3.connect(play.device.database)) as db, db:  # the hub's answer was lost
            db.execute("INSERT INTO sent_verdicts SELECT call_id FROM reviews WHERE reported IS NOT NULL")
            db.execute("UPDATE reviews SET reported = NULL")
        undo()
        await play.device.start()
        await verdicts_at_hub(play, chosen, ["open"] * 3)
        assert {one["state"] for one in await give(play, "approve", chosen)} == {"pending"}
        assert [item["verdict"] for item in await come(play, chosen, "done")] == ["approved"] * 3


def of_one_thing(play: Scene) -> dict[str, Any]:
    ((left, approved),) = rows(play.device.database, "SELECT count(*), sum(isApproved) FROM tasks")
    return {"rows": left, "approved": approved or 0}


REPEATED = {
    "todo.txt": "Call Anna Rossi about the offer due:2027-02-03\n",
    "journal.md": "# Monday\n\n- [ ] call Anna Rossi about offer\n",
}


async def test_one_thing_of_two_files_is_approved_once_and_comes_back_only_by_undo(tmp_path: Path) -> None:
    async with scene(tmp_path, REPEATED) as play:
        play.device.words = [*play.device.words, f"--grant=+{GRANT}"]
        await play.device.start()
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 2
        (shown,) = (await play.hub.get("/v1/items?verdict=open"))["items"]
        (other,) = shown["also"]
        assert (shown["path"].endswith("todo.txt"), other["path"].endswith("journal.md")) == (True, True)

        await give(play, "approve", [shown["id"]], also=[other["id"]])
        await come(play, [shown["id"], other["id"]], "done")
        assert of_one_thing(play) == {"rows": 1, "approved": 1}
        journal = next(play.folder.rglob("journal.md"))
        journal.write_text(journal.read_text() + "- [ ] pay the rent\n")
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 1
        assert of_one_thing(play) == {"rows": 2, "approved": 1}

        await give(play, "undo", [shown["id"]])
        await come(play, [shown["id"], other["id"]], "done")
        assert of_one_thing(play) == {"rows": 3, "approved": 0}


class Step(NamedTuple):
    """Verdicts after those of other steps, and what is at the device and at the hub then."""

    after: tuple[str, ...]
    calls: int  # of the device
    rows: list[tuple[int, str]]  # isApproved and status
    verdicts: list[str]  # of the shown item and the other one


JOINED, TICKED = "joined approval", "tick of an approved row"
STEPS = {
    JOINED: Step((), 2, [(1, "todo")], ["approved", "rejected"]),
    TICKED: Step((JOINED,), 1, [(1, "done")], ["edited", "rejected"]),
    "undo of a joined approval": Step((JOINED,), 2, [(0, "todo"), (0, "todo")], ["open", "open"]),
    "undo of a tick": Step((JOINED, TICKED), 1, [(1, "todo")], ["approved", "rejected"]),
}


async def take(play: Scene, step: str, shown: str, other: str) -> None:
    """Give the verdict of a step."""
    if step == JOINED:
        await give(play, "approve", [shown], also=[other])
    elif step == TICKED:
        (task,) = (await play.hub.get("/v1/tasks?begin=2026-11-28T00:00:00Z"))["tasks"]
        await give(play, "edit", [shown], data={"status": "done"}, seen_row=task["seen_row"])
    else:
        await give(play, "undo", [shown])


async def settled(play: Scene, shown: str, other: str) -> list[str]:
    """The verdicts on both items, once those given at the hub are done."""
    return [item["verdict"] for item in await come(play, [shown, other], "done")]


@pytest.fixture(params=["file", "server"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Settings of a hub with its database in a file, and on a server."""
    if request.param == "file":
        yield ""
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.bare_database() as url:
        yield f'[storage]\nurl = "{url}"\n'


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["hub", "device"])
@pytest.mark.parametrize("arrives", [False, True], ids=["lost", "arrives"])
@pytest.mark.parametrize("frame", ["tool_call", "tool_result"])
@pytest.mark.parametrize(
    ("step", "nth"), [(step, nth) for step, about in STEPS.items() for nth in range(1, about.calls + 1)]
)
async def test_step_is_taken_once_though_hub_or_device_is_killed_at_a_frame(
    tmp_path: Path, database: str, step: str, nth: int, frame: str, arrives: bool, victim: str
) -> None:
    about = STEPS[step]
    async with scene(tmp_path, REPEATED, settings=database) as play:
        play.device.words = [*play.device.words, f"--grant=+{GRANT}=approved"]
        await play.device.start()
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 2
        (item,) = (await play.hub.get("/v1/items?verdict=open"))["items"]
        both = item["id"], item["also"][0]["id"]
        for earlier in about.after:
            await take(play, earlier, *both)
            assert await settled(play, *both) == STEPS[earlier].verdicts
        direction: Direction = "to_device" if frame == "tool_call" else "to_hub"
        point = Point(frame, direction, frame, nth=nth, arrives=arrives)
        play.at(point, play.kill_hub if victim == "hub" else play.device.kill)
        await take(play, step, *both)
        await play.happened()
        await (play.start_hub() if victim == "hub" else play.device.start())
        assert await settled(play, *both) == about.verdicts
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] == 0
        found = rows(play.device.database, "SELECT isApproved, status FROM tasks")
        applied = sum(STEPS[taken].calls for taken in (*about.after, step))
        assert (found, at_device(play)["applied"]) == (about.rows, applied)


@pytest.mark.soak
@pytest.mark.parametrize(
    "point",
    [
        Point("the device gets the first verdict", "to_device", "tool_call"),
        Point("the device has the first verdict", "to_device", "tool_call", arrives=True),
        Point("the hub gets the third answer", "to_hub", "tool_result", nth=3),
    ],
    ids=str,
)
async def test_hub_killed_among_verdicts_delivers_each_once(tmp_path: Path, point: Point) -> None:
    async with found(tmp_path, GRANT) as play:
        every = await ids(play)
        await play.hold_device_off()
        await play.device.kill()
        await give(play, "approve", every)
        await play.kill_hub()  # between the answer to the person and the first call
        await play.hub.start()
        assert at_device(play)["applied"] == 0
        play.at(point, play.kill_hub)
        await play.let_device_in()
        await play.device.start()
        await play.happened()
        await play.start_hub()
        assert {item["verdict"] for item in (await come(play, every, "done"))} == {"approved"}
        assert at_device(play) == {"rows": 6, "approved": 6, "applied": 6}


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["hub", "device"])
@pytest.mark.parametrize(
    "point",
    [
        Point("the report leaves", "to_hub", "request"),
        Point("the report arrives", "to_hub", "request", arrives=True),
        Point("the report is answered", "to_device", "response"),
        Point("the answer arrives", "to_device", "response", arrives=True),
    ],
    ids=str,
)
async def test_places_of_approved_items_reach_the_hub_under_kills_of_either_side(
    tmp_path: Path, victim: str, point: Point
) -> None:
    async with found(tmp_path) as play:
        restores = Restores(play)
        await restores.approve()
        play.at(point, play.kill_hub if victim == "hub" else play.device.kill)
        restores.place()
        await play.happened()
        await (play.start_hub() if victim == "hub" else play.device.start())
        await restores.places_agree()
        own, _ = restores.places()
        assert list(own.values()) == [["arrived"]] * 6


@pytest.mark.soak
async def test_hub_restored_from_before_verdicts_delivers_the_verdicts_again_with_a_single_effect(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play:
        every = await ids(play)
        await play.hold_device_off()
        await play.device.kill()
        await give(play, "approve", every)
        await play.kill_hub()
        snapshot(tmp_path / "hub.db", tmp_path / "before")
        await play.start_hub()
        await play.device.start()
        await come(play, every, "done")
        await give(play, "undo", every[:1])
        (undone,) = [item for item in await come(play, every, "done") if item["id"] == every[0]]
        assert undone["verdict"] == "open"
        await play.kill_hub()
        put_back(tmp_path / "before", tmp_path / "hub.db")
        await play.start_hub()
        assert [item["verdict"] for item in (await come(play, every, "done"))] == ["open", *["approved"] * 5]
        assert at_device(play) == {"rows": 6, "approved": 5, "applied": 7}


@pytest.mark.soak
async def test_items_are_open_again_when_their_device_is_restored_from_before_the_verdicts(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play:
        every = await ids(play)
        await play.device.kill()
        snapshot(play.device.database, tmp_path / "before")
        await play.device.start()
        await give(play, "approve", every[:3])
        await give(play, "reject", every[3:])
        await come(play, every, "done")
        await play.device.kill()
        put_back(tmp_path / "before", play.device.database)
        await play.device.start()
        with anyio.fail_after(60):
            while len((await play.hub.get("/v1/items?verdict=open"))["items"]) < len(every):
                await anyio.sleep(POLL_S)
        for id in every:
            assert (await play.hub.get(f"/v1/items/{id}"))["place"]["quote"]
        assert at_device(play) == {"rows": 6, "approved": 0, "applied": 0}
        assert {one["state"] for one in await give(play, "approve", every)} == {"pending"}
        await come(play, every, "done")
        assert at_device(play) == {"rows": 6, "approved": 6, "applied": 6}
