"""The inbox of a device's owner: decisions on items, taken back while nothing else has changed them."""

from pathlib import Path

import pytest

from hub.clock import IdFactory
from hub.device.inbox import DeviceItem, Inbox, NotDecided
from hub.device.inserts import open_device_store
from hub.device.owner import approve
from protocol.tables import SUGGESTED
from protocol.work import Action, CountedDay, ToolCall
from tests.support.clock import FakeClock, SeededChance

AT = 1_800_000_000_000


COUNTED = CountedDay(
    field="dueDate", words="by Friday", since="2026-12-08", by="heading", evidence="8 December 2026"
)


def inbox_of(folder: Path, *titles: str) -> Inbox:
    """The inbox of a device's file with a task of each title."""
    path, clock = folder / "desk.db", FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        rows = [{"title": title, **SUGGESTED} for title in titles]
        store.apply(
            [ToolCall(id=f"c-{row['title']}", action=Action.INSERT, table="tasks", data=row) for row in rows]
        )
    return Inbox(path)


def shown(inbox: Inbox) -> dict[str, DeviceItem]:
    return {item.title: item for item in inbox.items()}


def test_a_decision_is_taken_back_and_the_item_waits_as_before(tmp_path: Path) -> None:
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


def test_a_decision_on_an_item_that_has_changed_since_stays(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    (item,) = inbox.items()
    inbox.judge(item, "edit", {"title": "call Bo"}, at_ms=AT)
    approve(inbox.path, [1], at_ms=AT)  # as another program of the owner may
    with pytest.raises(NotDecided, match="changed since"):
        inbox.undo(1)
    assert shown(inbox)["call Bo"].data["isApproved"]


def test_what_cannot_be_approved_is_refused_with_its_reason(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    (item,) = inbox.items()
    with pytest.raises(NotDecided, match="did you mean 'title'"):
        inbox.judge(item, "approve", {"titel": "x"}, at_ms=AT)
    assert inbox.items() == [item]
