"""The inbox of a device's owner: decisions on items, taken back while nothing else has changed them."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from hub.base.clock import IdFactory
from hub.base.web.cookies import MARK
from hub.cli import inbox as cli_inbox
from hub.device.device_file import connect_shared, open_device_store
from hub.device.inbox import Inbox, NotDecided
from hub.device.items import DeviceItem
from hub.device.owner import approve
from hub.device.review.server import OwnReview
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from protocol.items import CountedDay, ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance

AT = 1_800_000_000_000


COUNTED = CountedDay(
    field="dueDate", words="by Friday", since="2026-12-08", by="heading", evidence="8 December 2026"
)


def inbox_of(folder: Path, *titles: str, unsure: Collection[str] = ()) -> Inbox:
    """The inbox of a device's file with a task of each title; with a source, if it is *unsure*."""
    path, clock = folder / "desk.db", FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        rows = [{"title": title, **SUGGESTED} for title in titles]
        source = ItemSource(path="a.md", quote="x", start=0, end=1, counted=[COUNTED], unsure="chat")
        store.apply(
            [
                ToolCall(
                    id=f"c-{row['title']}",
                    action=Action.INSERT,
                    table="tasks",
                    data=row,
                    source=source if row["title"] in unsure else None,
                )
                for row in rows
            ]
        )
    return Inbox(path)


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


def test_approval_with_an_unknown_field_is_refused_and_leaves_the_item_open(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    (item,) = inbox.items()
    with pytest.raises(NotDecided, match="did you mean 'title'"):
        inbox.judge(item, "approve", {"titel": "x"}, at_ms=AT)
    assert inbox.items() == [item]


async def test_unsure_items_are_listed_below_all_others_also_page_by_page(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "one", "two", "three", "four", unsure=["four", "two"])
    order = ["three", "one", "four", "two"]
    assert [item.title for item in inbox.items()] == order
    app = OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())
    transport, url = httpx2.ASGITransport(app), "http://127.0.0.1:8080"
    async with httpx2.AsyncClient(transport=transport, base_url=url, headers={MARK: "1"}) as page:
        code = app.path.partition("#")[2]
        await page.post("/v1/sessions", headers={"authorization": f"Bearer {code}"})
        for limit in (1, 2, 3):
            titles, cursor = list[str](), ""
            for _ in range(4):
                body = (await page.get("/v1/items", params={"limit": limit, "cursor": cursor})).json()
                titles += [item["title"] for item in body["items"]]
                cursor = body["next_cursor"] or "0u"
            assert titles == order
        shown = (await page.get("/v1/items/4")).json()
    assert (shown["unsure"], shown["reasons"]) == ("chat", [COUNTED.sentence])


def test_approved_inbox_item_shows_the_sink_place_or_the_problem(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    inbox.judge(shown(inbox)["call Ana"], "approve", at_ms=AT)
    for path in (tmp_path / "no-folder/todo.md", tmp_path / "todo.md"):
        with connect_shared(tmp_path / "desk.db") as db:
            db.execute("DELETE FROM sink_rows")
            sink = Sink("todo", TextFile(path, Markdown()), ("tasks",))
            synchronize(db, sink, FakeClock().now())
        (place,) = shown(inbox)["call Ana"].goes_to
        problem = f"not in todo yet: there is no folder {path.parent}: items follow once it is made, or back"
        assert place.sentence == (f"in todo: {path}" if path.exists() else problem)
    (tmp_path / "todo.md").write_text("# Mine\n")
    with connect_shared(tmp_path / "desk.db") as db:
        for moment in (FakeClock().now(), FakeClock().now() + timedelta(minutes=1)):
            synchronize(db, sink, moment)  # the first look that misses a row is no deletion
    item = shown(inbox)["call Ana"]
    assert [place.sentence for place in item.goes_to] == ["deleted in todo"]
    assert "deleted in todo" in "\n".join(cli_inbox.lines_of(item, 80))
