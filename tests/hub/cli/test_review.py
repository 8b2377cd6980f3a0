"""``hub review``, on the file of a device on this machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from hub.clock import IdFactory
from hub.device.inserts import open_device_store, read_items
from protocol.tables import SUGGESTED
from protocol.work import Action, Changed, ItemSource, ToolCall, Unresolved
from tests.hub.cli.conftest import Hub
from tests.support.clock import FakeClock, SeededChance


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A device's file with three suggestions."""
    path = tmp_path / "desk.db"
    clock = FakeClock()
    source = ItemSource(
        path="notes/a.md",
        quote="Call\nAna soon.",
        start=0,
        end=14,
        warnings=["instruction"],
        unresolved=[Unresolved(field="dueDate", words="soon")],
        changed=[Changed(field="title", before="call Bo", after="call Ana")],
    )
    calls = [
        ToolCall(
            id=f"c-{title}",
            action=Action.INSERT,
            table="tasks",
            data={"title": title, **SUGGESTED},
            source=source if title == "call Ana" else None,
        )
        for title in ("call Ana", "pay the rent", "mend the roof")
    ]
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply(calls)
    return path


@pytest.fixture
def review(hub: Hub, db: Path) -> Callable[..., Result]:
    return lambda *words: hub("review", "--db", str(db), *words)


def test_what_waits_is_listed_with_its_words_and_what_to_know(
    review: Callable[..., Result], db: Path
) -> None:
    listed = review()
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    at = lines.index("1  tasks  call Ana")
    assert lines[at + 1 : at + 6] == [
        "    status todo, priority medium",
        '    notes/a.md: "Call Ana soon."',
        "    ! its words give orders to a reader: look at the file before you trust it",
        "    ! dueDate: cannot tell what 'soon' means",
        "    ! title was 'call Bo', is 'call Ana'",
    ]
    (first, *_) = json.loads(review("ls", "--json").stdout)["items"]
    assert (first["number"], first["standing"], first["remarks"]["warnings"]) == (1, "open", ["instruction"])


def test_items_are_approved_and_rejected_by_their_numbers(review: Callable[..., Result], db: Path) -> None:
    assert "approved: pay the rent" in review("approve", "2").output
    assert "rejected: call Ana" in review("reject", "1").output
    assert [(item.title, item.standing) for item in read_items(db)] == [
        ("pay the rent", "approved"),
        ("mend the roof", "open"),
    ]
    assert "pay the rent" not in review().stdout
    assert "pay the rent" in review("ls", "--all").stdout


def test_what_a_hub_would_change_of_an_approved_item_is_shown_and_waits(
    review: Callable[..., Result], db: Path
) -> None:
    review("approve", "2")
    (rent,) = [item for item in read_items(db) if item.number == 2]
    clock = FakeClock()
    change = ToolCall(
        id="c-4", action=Action.UPDATE, table="tasks", where={"id": rent.row_id}, data={"title": "pay Mr Li"}
    )
    with open_device_store(db, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply([change])
    assert "! the hub would change title from 'pay the rent' to 'pay Mr Li'" in review().stdout
    dropped = review("reject", "2.2")
    assert "stays as it was: pay the rent; what the hub proposed is rejected" in dropped.output
    assert "pay the rent" not in review().stdout
    assert "pay the rent" in review("ls", "--all").stdout


def test_what_was_approved_is_deleted_only_when_that_is_said(review: Callable[..., Result], db: Path) -> None:
    review("approve", "2")
    kept = review("reject", "2", "3")
    assert kept.exit_code == 1
    assert "2  tasks  pay the rent: you have approved it; to delete it, add --approved" in kept.output
    assert "rejected: mend the roof" in kept.output
    assert [item.title for item in read_items(db)] == ["call Ana", "pay the rent"]
    assert "deleted: pay the rent" in review("reject", "--approved", "2").output
    assert [item.title for item in read_items(db)] == ["call Ana"]


def test_what_a_hub_changed_since_it_was_listed_has_another_number(
    review: Callable[..., Result], db: Path
) -> None:
    (rent,) = [item for item in read_items(db) if item.number == 2]
    clock = FakeClock()

    def change(call_id: str, title: str) -> None:
        call = ToolCall(
            id=call_id, action=Action.UPDATE, table="tasks", where={"id": rent.row_id}, data={"title": title}
        )
        with open_device_store(db, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
            store.apply([call])

    change("c-4", "pay Mr Li")
    refused = review("approve", "1", "2")
    assert refused.exit_code == 1
    assert "a hub has changed item 2 since it was listed: it is 2.2 now" in refused.output
    assert {item.standing for item in read_items(db)} == {"open"}
    assert "2.2  tasks  pay Mr Li" in review().stdout
    assert review("approve", "1.1", "2.2").exit_code == 0
    change("c-5", "pay Mr Wu")  # proposed
    assert review("approve", "2.2").exit_code == 1
    assert "2.3  tasks  pay Mr Li" in review().stdout
    assert review("reject", "2.3").exit_code == 0
    assert review("approve", "two").exit_code == 2


def test_a_number_that_is_none_changes_nothing(review: Callable[..., Result], db: Path) -> None:
    refused = review("approve", "1", "9")
    assert refused.exit_code == 1
    assert "there is no item 9" in refused.output
    assert {item.standing for item in read_items(db)} == {"open"}


def test_a_device_that_is_not_there_is_said_so(hub: Hub, tmp_path: Path) -> None:
    none = str(tmp_path / "none.db")
    unlisted = hub("review", "--db", none)
    assert unlisted.exit_code == 1 and f"there is no device's file {none}" in unlisted.output
    refused = hub("review", "--db", none, "reject", "1")
    assert refused.exit_code == 1 and "--db FILE" in refused.output
