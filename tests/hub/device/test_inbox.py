"""The inbox of a device's owner: decisions on items, taken back while nothing else has changed them."""

import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from hub.api.resources.tasks import ApprovedItemView, TasksPage
from hub.base.clock import IdFactory, from_epoch_ms
from hub.base.web.cookies import MARK
from hub.cli.inbox import TerminalInbox, lines_of
from hub.device import owner_requests
from hub.device.device_file import connect_shared, open_device_store
from hub.device.held_items import HeldItem
from hub.device.inbox import Inbox, NotDecided, Verdict
from hub.device.items import DeviceItem, without_repeats
from hub.device.owner import approve
from hub.device.owner_requests import PageReply
from hub.device.review.server import OwnReview
from hub.device.schema import transaction
from protocol.coordination import Method
from protocol.items import CountedDay, ItemSource, Provenance, ProvenanceOrigin
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance

AT = 1_800_000_000_000


COUNTED = CountedDay(
    field="dueDate", words="by Friday", since="2026-12-08", by="heading", evidence="8 December 2026"
)


def inbox_of(
    folder: Path,
    *titles: str,
    sourced: Collection[str] = (),
    marked: Collection[str] = (),
    path_of_source: str = "a.md",
) -> Inbox:
    """The inbox of a device's file with a task of each title; with a source or a mark, if named."""
    path, clock = folder / "desk.db", FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        rows = [{"title": title, **SUGGESTED} for title in titles]
        source = ItemSource(path=path_of_source, quote="x", start=0, end=1, counted=[COUNTED])
        order = ItemSource(path="a.md", quote="x", start=0, end=1, warnings=["instruction"])
        store.apply(
            [
                ToolCall(
                    id=f"c-{row['title']}",
                    action=Action.INSERT,
                    table="tasks",
                    data=row,
                    source=source if row["title"] in sourced else order if row["title"] in marked else None,
                )
                for row in rows
            ]
        )
    return Inbox(path)


def inbox_of_repeats(folder: Path) -> Inbox:
    """The inbox of a call in two files, of the same call in a mail, and of another one."""
    inbox = inbox_of(folder)
    mail = Provenance(origin=ProvenanceOrigin.MAIL, author="Eve", trusted=False)
    calls = [("call Anna", "todo.txt", None), ("Call Anna", "journal.md", None), ("call Anna", "m.eml", mail)]
    calls.append(("call Anne", "other.md", None))
    clock = FakeClock()
    with open_device_store(inbox.path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply(
            [
                ToolCall(
                    id=f"c-{n}",
                    action=Action.INSERT,
                    table="tasks",
                    data={"title": title, **SUGGESTED},
                    source=ItemSource(path=path, quote=title, start=0, end=len(title), provenance=by),
                )
                for n, (title, path, by) in enumerate(calls)
            ]
        )
    return inbox


def test_item_of_two_files_is_shown_once_and_settled_and_undone_as_a_whole(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    before = {item.number: item for item in inbox.items()}
    listed = without_repeats(inbox.items())
    (first,) = (item for item in listed if item.also)
    (other,) = first.also

    assert {(item.title, item.source_path) for item in listed} == {
        ("Call Anna", "journal.md"),
        ("call Anna", "m.eml"),
        ("call Anne", "other.md"),
    }
    assert f"    also in todo.txt: {other.label}" in list(lines_of(first, None))
    (minor,) = (item for item in inbox.items() if item.number == other.number)
    assert f"    also in journal.md: {first.label}" in list(lines_of(minor, None))
    done = inbox.judge(first, "approve", at_ms=AT, also=[other.label])
    assert done == "approved: Call Anna; 1 more of the same thing settled with it"
    assert {item.source_path for item in inbox.items()} == {"journal.md", "m.eml", "other.md"}
    inbox.undo(first.number)
    assert {item.number: item for item in inbox.items()} == before


def test_items_with_a_mark_and_without_a_file_are_no_repeats(tmp_path: Path) -> None:
    titles = ("call Anna", "Call Anna", "CALL Anna")
    inbox = inbox_of(tmp_path, *titles, sourced=titles[:1], marked=titles[1:2], path_of_source="b.md")
    assert [item.also for item in inbox.items()] == [[], [], []]


def test_approval_of_either_item_settles_no_other_one_unless_shown(tmp_path: Path) -> None:
    for place, source in enumerate(("todo.txt", "journal.md")):
        (folder := tmp_path / str(place)).mkdir()
        inbox = inbox_of_repeats(folder)
        (item,) = (item for item in inbox.items() if item.source_path == source)
        same = {item.number, item.also[0].number}
        unlike = [other.label for other in inbox.items() if other.number not in same]
        assert inbox.judge(item, "approve", at_ms=AT, also=unlike) == f"approved: {item.title}"
        assert len(inbox.items()) == 4


def test_number_on_the_command_line_settles_no_other_item(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    (item,) = (item for item in inbox.items() if item.source_path == "todo.txt")
    assert approve(inbox.path, [item.number], at_ms=AT).done == ["approved: call Anna"]
    assert len(inbox.items()) == 4


def test_terminal_settles_what_its_screen_shows_alone(tmp_path: Path) -> None:
    def press(name: str, height: int, *keys: str, new: bool = False) -> int:
        (folder := tmp_path / name).mkdir()
        inbox = inbox_of_repeats(folder)
        shown = TerminalInbox(inbox, FakeClock())
        for key in (*"/todo.txt", "\r"):
            shown.press(key)
        if not new:
            shown.lines(100, height)
        for key in keys:
            shown.press(key)
        return len(inbox.items())

    assert press("whole", 40, "a") == 3
    assert press("cut", 6, "a") == 4
    assert press("undrawn", 40, "a", new=True) == 4
    assert press("undone", 40, "a", "u") == 4


def test_rejection_of_a_repeated_item_leaves_the_other_one_waiting(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    (first,) = (item for item in without_repeats(inbox.items()) if item.also)

    inbox.judge(first, "reject", at_ms=AT)

    left = {item.number: item.also for item in without_repeats(inbox.items())}
    assert left[first.also[0].number] == []


def test_repeats_that_are_approved_by_their_numbers_stay_both(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    (first,) = (item for item in without_repeats(inbox.items()) if item.also)

    approve(inbox.path, [first.number, first.also[0].number], at_ms=AT)

    assert sum(item.verdict == "approved" for item in inbox.items()) == 2


def test_approval_leaves_a_repeat_with_comments(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    (first,) = (item for item in without_repeats(inbox.items()) if item.also)
    other = next(item for item in inbox.items() if item.number == first.also[0].number)
    with connect_shared(inbox.path) as db, transaction(db):
        db.execute(
            "INSERT INTO taskComments (id, taskId, content, author, createdAt, updatedAt)"
            " VALUES ('k', ?, 'soon', 'Anna', 1, 1)",
            (other.row_id,),
        )

    assert inbox.judge(first, "approve", at_ms=AT, also=[other.label]) == "approved: Call Anna"
    assert other.number in {item.number for item in inbox.items()}


def shown(inbox: Inbox) -> dict[str, DeviceItem]:
    return {item.title: item for item in inbox.items()}


def test_undone_decision_restores_the_waiting_item(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana", "pay")
    before = shown(inbox)
    assert (
        inbox.judge(before["call Ana"], "approve", at_ms=AT),
        inbox.judge(before["pay"], "reject", at_ms=AT),
    ) == ("approved: call Ana", "rejected: pay")
    assert {title: item.verdict for title, item in shown(inbox).items()} == {"call Ana": "approved"}
    for item in before.values():
        inbox.undo(item.number)
    assert shown(inbox) == before
    with pytest.raises(NotDecided, match="cannot be taken back"):
        inbox.undo(1)


def test_undo_of_a_decision_on_a_changed_item_is_refused(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    (item,) = inbox.items()
    inbox.judge(item, "edit", {"title": "call Bo"}, at_ms=AT)
    approve(inbox.path, [1], at_ms=AT)  # as another program of the owner may
    with pytest.raises(NotDecided, match="changed since"):
        inbox.undo(1)
    assert shown(inbox)["call Bo"].data["isApproved"]


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_undo_behind_a_decided_change_leaves_the_approval_before_unchanged(
    tmp_path: Path, verdict: Verdict
) -> None:
    inbox = inbox_of(tmp_path, "one")
    (item,) = inbox.items()
    inbox.judge(item, "approve", at_ms=AT)
    clock = FakeClock()
    update = ToolCall(
        id="c-2", action=Action.UPDATE, table="tasks", where={"id": item.row_id}, data={"priority": "high"}
    )
    with open_device_store(inbox.path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply([update])
    (changed,) = inbox.items()
    inbox.judge(changed, verdict, at_ms=AT + 1)
    before = inbox.items()
    with pytest.raises(NotDecided, match="cannot be taken back"):
        inbox.undo(item.number)
    assert inbox.items() == before


def test_approval_with_an_unknown_field_is_refused_and_leaves_the_item_open(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    (item,) = inbox.items()
    with pytest.raises(NotDecided, match="did you mean 'title'"):
        inbox.judge(item, "approve", {"titel": "x"}, at_ms=AT)
    assert inbox.items() == [item]


async def test_items_are_listed_page_by_page_the_newest_first(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "one", "two", "three", "four", sourced=["four"])
    order = ["four", "three", "two", "one"]
    assert [item.title for item in inbox.items()] == order
    async with signed_in(OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())) as page:
        for limit in (1, 2, 3):
            assert await _listed(page, limit=limit) == order
        shown = (await page.get("/v1/items/4")).json()
    assert shown["reasons"] == [COUNTED.sentence]


async def test_own_page_names_the_method_of_a_path_and_the_time_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = OwnReview(inbox_of(tmp_path, "one"), port=8080, clock=FakeClock(), chance=SeededChance())
    async with signed_in(app) as page:
        for method, path, allowed in (
            ("DELETE", "/v1/items", "GET"),
            ("POST", "/v1/tasks", "GET"),
            ("GET", "/v1/items/verdicts", "POST"),
            ("PUT", "/v1/sessions", "POST"),
        ):
            refused = await page.request(method, path, content=b"x" * 10)
            assert (refused.status_code, refused.headers.get("allow")) == (405, allowed), path
        monkeypatch.setattr("hub.device.review.server.MAX_AT_ONCE", 0)
        busy = await page.get("/v1/items")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")


async def _listed(page: httpx2.AsyncClient, **query: Any) -> list[str]:
    """Return the titles of all pages of a list."""
    titles, cursor = list[str](), ""
    while True:
        body = (await page.get("/v1/items", params={**query, "cursor": cursor})).json()
        titles += [item["title"] for item in body["items"]]
        if (cursor := body["next_cursor"]) is None:
            return titles


async def test_items_are_listed_page_by_page_by_day_by_file_and_the_surest_first(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "one", "two", "three", "four", sourced=["three", "four"])
    with closing(sqlite3.connect(inbox.path)) as db, db:
        db.execute(
            """UPDATE tasks SET "dueDate" = iif(title = 'two', 86400000, 172800000) WHERE title <> 'one'"""
        )
        marked = """json_set(remarks, '$.warnings', json('["outside"]'), '$.line', 26)"""
        db.execute(f"UPDATE calls SET remarks = {marked} WHERE call_id = 'c-three'")
    async with signed_in(OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())) as page:
        for order, titles in {
            "day": ["two", "four", "one", "three"],
            "file": ["one", "two", "four", "three"],
            "doubt": ["two", "four", "one", "three"],
        }.items():
            for limit in (1, 3):
                assert await _listed(page, order=order, limit=limit) == titles, order
        first = (await page.get("/v1/items", params={"order": "day"})).json()["items"]
    assert [(item["day"], item["line"]) for item in first][2:] == [(None, None), ("1970-01-03T00:00:00Z", 26)]


async def test_approved_tasks_are_listed_and_ticked_on_the_own_page(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "one", "two", sourced=["one"])
    approve(inbox.path, [1, 2], at_ms=AT)
    asked = {"begin": "2026-11-28T00:00:00.000Z"}
    async with signed_in(OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())) as page:
        body = (await page.get("/v1/tasks", params=asked)).json()
        assert set(body) == set(TasksPage.__struct_fields__)
        one, _ = sorted(body["tasks"], key=lambda task: str(task["title"]))
        assert list(one) == list(ApprovedItemView.__struct_fields__)
        assert (one["title"], one["path"], one["data"]["status"]) == ("one", "a.md", "todo")

        async def tick(task: dict[str, Any]) -> Any:
            verdict = {"verdict": "edit", "data": {"status": "done"}, "seen_row": task["seen_row"]}
            given = {"verdicts": [{"id": task["id"], "version": task["version"], **verdict}]}
            (result,) = (await page.post("/v1/items/verdicts", json=given)).json()["results"]
            return result

        assert (await tick(one))["state"] == "done"
        assert (await tick(one))["error"]["code"] == "changed_meanwhile"
        done = (await page.get("/v1/tasks", params=asked | {"done": "true"})).json()["tasks"]
        assert [(task["title"], task["verdict"]) for task in done] == [("one", "edited")]
        undone = {"verdicts": [{"id": one["id"], "verdict": "undo"}]}
        await page.post("/v1/items/verdicts", json=undone)
        assert len((await page.get("/v1/tasks", params=asked)).json()["tasks"]) == 2
        for wrong in ({}, {"begin": "2026-01-01"}, {"begin": "soon"}, asked | {"cursor": f"{'9' * 5_000}."}):
            refused = await page.get("/v1/tasks", params=wrong)
            assert (refused.json()["code"], refused.status_code) == ("bad_params", 422)
        assert (await page.get("/v1/tasks", params=asked | {"cursor": f"{'9' * 30}."})).status_code == 200
        assert (await page.get("/v1/items", params={"limit": "9" * 5_000})).status_code == 200


@pytest.mark.parametrize(
    ("text", "is_missing"),
    [
        ("x", False),
        ("- [x] 'one', at last", False),
        ("two", True),
        (None, False),
    ],
)
async def test_approved_task_without_a_line_in_the_file_is_marked(
    tmp_path: Path, text: str | None, is_missing: bool
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    if text is not None:
        (notes / "a.md").write_text(text)
    inbox = inbox_of(tmp_path, "one", sourced=["one"], path_of_source="notes/a.md")
    with connect_shared(inbox.path) as db:
        db.execute("INSERT INTO roots (path, name) VALUES (?, 'notes')", (str(notes),))
        db.commit()
    approve(inbox.path, [1], at_ms=AT)
    async with signed_in(OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())) as page:
        (task,) = (await page.get("/v1/tasks", params={"begin": "2026-11-28T00:00:00.000Z"})).json()["tasks"]
        assert task["warnings"] == (["missing"] if is_missing else [])
        verdict = {"id": task["id"], "verdict": "edit", "data": {"status": "done"}}
        given = {"verdicts": [verdict | {"version": task["version"], "seen_row": task["seen_row"]}]}
        (result,) = (await page.post("/v1/items/verdicts", json=given)).json()["results"]
        assert result["state"] == "done"


async def test_own_page_settles_the_items_that_a_verdict_names_alone(tmp_path: Path) -> None:
    inbox = inbox_of_repeats(tmp_path)
    app = OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())
    async with signed_in(app) as page:

        async def approve_on_page(*ids: str, also: Collection[str]) -> list[Any]:
            given = [{"id": id, "verdict": "approve", "also": [*also]} for id in ids]
            answer = await page.post("/v1/items/verdicts", json={"verdicts": given})
            return [result["state"] for result in answer.json()["results"]]

        asked = {"verdict": "open", "path": "todo.txt"}
        (item,) = (await page.get("/v1/items", params=asked)).json()["items"]
        (other,) = (repeat["id"] for repeat in item["also"])
        for ids, also, left in (
            ((item["id"],), (), 4),
            ((item["id"], other), (item["id"], other), 4),
            ((item["id"],), (other, "999"), 3),
        ):
            assert await approve_on_page(*ids, also=also) == ["done"] * len(ids)
            assert len(inbox.items()) == left
            for id in ids:
                inbox.undo(int(id))


@asynccontextmanager
async def signed_in(app: OwnReview) -> AsyncIterator[httpx2.AsyncClient]:
    transport, url = httpx2.ASGITransport(app), "http://127.0.0.1:8080"
    async with httpx2.AsyncClient(transport=transport, base_url=url, headers={MARK: "1"}) as page:
        await page.post("/v1/sessions", headers={"authorization": f"Bearer {app.path.partition('#')[2]}"})
        yield page


HELD = [
    HeldItem("i-aaaaaa1", "c-1", "tasks", "ask Bo", "notes/a.md", "ask Bo", from_epoch_ms(AT)),
    HeldItem(
        "i-aaaaaa2", "c-2", "tasks", "ask Cy", "b.md", "ask Cy", from_epoch_ms(AT), warnings=("outside",)
    ),
]


class HoldingHub:
    """A hub that holds items, in place of the connected device that passes requests on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *items: HeldItem) -> None:
        self.items = {item.id: item for item in items or HELD}
        self.verdicts: list[tuple[str, str]] = []
        monkeypatch.setattr(owner_requests, "ask_hub", self._answer)

    def _answer(self, path: Path, method: Method, params: dict[str, Any]) -> PageReply:
        waiting = [item for id, item in self.items.items() if (id, "reject") not in self.verdicts]
        if method is Method.HELD_LIST:
            items = msgspec.to_builtins(waiting)
            return PageReply(hub="hub", result={"items": items, "total": len(items)})
        if method is Method.HELD_JUDGE:
            self.verdicts += [(one["id"], one["verdict"]) for one in params["verdicts"]]
            return PageReply(hub="hub", result={"results": [None] * len(params["verdicts"])})
        return PageReply(hub="hub")


async def test_page_of_the_device_approves_a_marked_item_only_with_confirmation_of_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = HoldingHub(monkeypatch)
    inbox = inbox_of(tmp_path, "pay", "obey", marked=["obey"])
    app = OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())
    async with signed_in(app) as page:

        async def judge(id: str, verdict: str, **more: Any) -> Any:
            body = {"verdicts": [{"id": id, "verdict": verdict, **more}]}
            (result,) = (await page.post("/v1/items/verdicts", json=body)).json()["results"]
            return result["state"] or result["error"]["code"]

        for more in ({}, {"version": 1}, {"confirmed": True}):
            assert await judge("2", "approve", **more) == "needs_confirmation"
        assert await judge("2", "edit", version=1, data={"title": "x"}) == "needs_confirmation"
        assert await judge("i-aaaaaa2", "approve", version=1) == "needs_confirmation"
        assert inbox.items()[0].verdict == "open"
        confirmed = {"version": 1, "confirmed": True}
        assert await judge("2", "approve", version=9, confirmed=True) == "changed_meanwhile"
        both = {"verdicts": [{"id": id, "verdict": "approve", **confirmed} for id in ("1", "2")]}
        assert (await page.post("/v1/items/verdicts", json=both)).json()["code"] == "bad_params"
        assert await judge("2", "approve", **confirmed) == "done"
        held = confirmed | {"version": (await page.get("/v1/items/i-aaaaaa2")).json()["version"]}
        hub.items["i-aaaaaa2"] = msgspec.structs.replace(hub.items["i-aaaaaa2"], title="pay 900 EUR")
        assert await judge("i-aaaaaa2", "approve", **held) == "changed_meanwhile"
        held["version"] = (await page.get("/v1/items/i-aaaaaa2")).json()["version"]
        assert await judge("i-aaaaaa2", "approve", **held) == "done"
        assert await judge("1", "approve") == "done"


async def test_held_items_are_folded_and_judged_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = HoldingHub(monkeypatch)
    app = OwnReview(inbox_of(tmp_path, "one"), port=8080, clock=FakeClock(), chance=SeededChance())
    held: dict[str, Any] = {"unsure": "true"}
    async with signed_in(app) as page:

        async def titles(**more: str) -> list[str]:
            body = (await page.get("/v1/items", params=held | more)).json()
            return [item["title"] for item in body["items"]]

        async def judge(id: str, verdict: str) -> Any:
            body = {"verdicts": [{"id": id, "verdict": verdict}]}
            (result,) = (await page.post("/v1/items/verdicts", json=body)).json()["results"]
            return result["state"] or result["error"]["code"]

        assert [item["title"] for item in (await page.get("/v1/items")).json()["items"]] == ["one"]
        assert (await page.get("/v1/items/counts", params=held)).json()["total"] == 2
        assert (await titles(), await titles(path="notes/"), await titles(warning="none")) == (
            ["ask Bo", "ask Cy"],
            ["ask Bo"],
            ["ask Bo"],
        )
        assert (await page.get("/v1/items/i-aaaaaa1")).json()["place"]["quote"] == "ask Bo"
        assert [
            await judge("i-aaaaaa1", verdict) for verdict in ("approve", "undo", "reject", "undo", "edit")
        ] == [*("done", "open", "done", "open", "bad_params")]
        assert await judge("i-none", "approve") == "unknown_item"
    assert [verdict for _, verdict in hub.verdicts] == ["approve", "undo", "reject", "undo"]
