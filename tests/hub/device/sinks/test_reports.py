"""Places of approved rows as hubs get them, and what of them stays on the device."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hub.device.device_file import DeviceStore, connect_shared
from hub.device.owner import approve, reject
from hub.device.sinks.reports import Destination, places_of
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.target import Found, Snapshot
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from hub.text.rows.row import Put, TargetFailed
from protocol.calls import LINK_CHARACTERS, MAX_PLACES, PlaceProblem, PlaceState
from protocol.frame import MAX_PARAMS_BYTES
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.test_device_file import listed
from tests.support.clock import FakeClock
from tests.support.families import each

HOME = "/home/ana"
ROOTS = {f"{HOME}/notes": "notes", f"{HOME}/notes/work": "work"}


class Full(TextFile):
    """File on a full disk."""

    def write(self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]) -> Mapping[str, Found]:
        raise TargetFailed(f"{HOME}/secret plan.md: cannot be written: no space", PlaceProblem.FULL)


def insert(call_id: str, title: str = "Call Ana") -> ToolCall:
    return ToolCall(id=call_id, action=Action.INSERT, table="tasks", data={"title": title, **SUGGESTED})


def to(db: Path, *targets: TextFile, tables: tuple[str, ...] = ("tasks",)) -> None:
    """Synchronize the rows of a device's file with places."""
    with connect_shared(db) as shared:
        for number, target in enumerate(targets):
            synchronize(shared, Sink(f"s{number}", target, tables, kind="markdown"), FakeClock().now())


def reported(store: DeviceStore, most: int = 100) -> list[tuple[str, list[str]]]:
    """Confirm the next report and return its rows: the call of each, and the states of its places."""
    report = store.unreported_places(most)
    store.note_places(report)
    return [(one.call_id, [f"{at.state} {at.problem}" for at in one.row.places]) for one in report]


@each(
    ("link", "known"),
    [
        ("https://dav.example.org/ana/hub-x.ics", "https://dav.example.org/ana/hub-x.ics"),
        ("http://127.0.0.1:5232/ana@home/hub-x.ics", "http://127.0.0.1:5232/ana@home/hub-x.ics"),
        ("https://ana:tulip@dav.example.org/hub-x.ics", None),
        ("javascript:alert(1)", None),
        ("file:///home/ana/notes/todo.md", None),
        (f"{HOME}/notes/todo.md", "notes/todo.md"),
        (f"{HOME}/notes/a b/Ä.md", "notes/a b/Ä.md"),
        (f"{HOME}/notes/work/todo.md", "work/todo.md"),
        (f"{HOME}/notes/.private/todo.md", None),
        (f"{HOME}/notes/.todo.md", None),
        (f"{HOME}/notes of mine/todo.md", None),
        (f"{HOME}/notes/../todo.md", None),
        (f"{HOME}/todo.md", None),
        (f"{HOME}/notes/{'a' * LINK_CHARACTERS}.md", None),
    ],
)
def test_place_link_is_reported_only_as_http_or_below_a_shared_folder(link: str, known: str | None) -> None:
    for state in PlaceState:
        is_there = state in (PlaceState.ARRIVED, PlaceState.OUTDATED, PlaceState.LEAVING)
        one = Destination("todo", "markdown", state, 7, link, f"{HOME}: no", PlaceProblem.FAILED)
        (place,) = places_of([one], ROOTS)
        assert (place.link, HOME in repr(place)) == (known if is_there else None, False)


def test_places_of_a_row_are_reported_until_confirmed_and_after_each_change(
    store: DeviceStore, db: Path, tmp_path: Path
) -> None:
    store.apply([insert("c-1"), insert("c-2", "Pay"), insert("c-3", "open")])
    approve(db, [1, 2], at_ms=5)
    assert reported(store) == []
    to(db, Full(tmp_path / "todo.md", Markdown()), TextFile(tmp_path / "list.md", Markdown()))
    waiting = ["waiting full", "arrived None"]
    assert [one.call_id for one in store.unreported_places(9)] == ["c-1", "c-2"], "it was not confirmed"
    assert [reported(store, 1) for _ in range(3)] == [[("c-1", waiting)], [("c-2", waiting)], []]
    to(db, TextFile(tmp_path / "todo.md", Markdown()))
    assert reported(store) == [(call, ["arrived None"] * 2) for call in ("c-1", "c-2")]
    assert reported(store) == []
    reject(db, [1], deletes=True)
    assert reported(store) == [("c-1", ["leaving None"] * 2)]
    to(db, TextFile(tmp_path / "todo.md", Markdown()), TextFile(tmp_path / "list.md", Markdown()))
    assert [reported(store) for _ in range(2)] == [[("c-1", [])], []]


def test_place_link_is_reported_only_while_the_folder_is_shared(
    store: DeviceStore, db: Path, tmp_path: Path
) -> None:
    (tmp_path / "vault").mkdir()
    store.apply([insert("c-1")])
    approve(db, [1], at_ms=5)
    to(db, TextFile(tmp_path / "vault/todo.md", Markdown()))
    links = []
    for roots in ([], [str(tmp_path / "vault")], []):
        store.name_roots(roots)
        (one,) = store.unreported_places(9)
        store.note_places([one])
        links.append(one.row.places[0].link)
    assert links == [None, "vault/todo.md", None]


def test_rows_of_the_owner_of_another_hub_and_deleted_ones_are_not_reported(
    store: DeviceStore, db: Path, tmp_path: Path
) -> None:
    store.meet("one")
    store.apply([insert("c-1")])
    store.meet("other")
    store.apply([insert("c-2", "Pay")])
    approve(db, [1, 2], at_ms=5)
    to(db, TextFile(tmp_path / "todo.md", Markdown()))
    assert reported(store) == [("c-2", ["arrived None"])]
    store.meet("one")
    assert reported(store) == [("c-1", ["arrived None"])]
    with connect_shared(db) as shared:
        shared.execute("DELETE FROM reviews")
        assert shared.execute("SELECT count(*) FROM place_reports").fetchone()[0] == 0


def test_place_report_and_row_list_are_bounded_for_many_places(
    store: DeviceStore, db: Path, tmp_path: Path
) -> None:
    folder = tmp_path / ("Ä" * 80)
    folder.mkdir()
    store.name_roots([str(tmp_path)])
    store.apply([insert(f"c-{number}") for number in range(60)])
    approve(db, range(1, 61), at_ms=5)
    to(db, *(TextFile(folder / f"{'a' * 100}-{number}.md", Markdown()) for number in range(MAX_PLACES + 2)))
    report = store.unreported_places(60)
    size = sum(len(repr(one.row).encode()) for one in report)
    assert ({len(one.row.places) for one in report}, 0 < len(report) < 60) == ({MAX_PLACES}, True)
    assert size < MAX_PARAMS_BYTES
    while store.unreported_places(60):
        reported(store, 60)
    page = listed(store)
    assert [len(row.places or ()) for row in page.rows] == [MAX_PLACES] * len(page.rows)
    assert page.more


def test_confirmed_places_are_listed_for_a_restored_hub(store: DeviceStore, db: Path, tmp_path: Path) -> None:
    store.apply([insert("c-1")])
    approve(db, [1], at_ms=5)
    before = store.mark.counter
    to(db, TextFile(tmp_path / "todo.md", Markdown()))
    assert [row.places for row in listed(store, before).rows] == []
    reported(store)
    (row,) = listed(store, before).rows
    assert [place.state for place in row.places or ()] == ["arrived"]


def test_changed_but_unwritable_row_is_outdated_at_the_place(bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(TextFile(tmp_path / "todo.md", Markdown()))
    bench.clock.advance(60)
    bench.change(row, {"title": "Ring Ana"})
    assert bench.state(row) == "arrived"
    bench.synchronize(Full(tmp_path / "todo.md", Markdown()))
    assert bench.state(row) == "outdated full"
    bench.synchronize(TextFile(tmp_path / "todo.md", Markdown()))
    assert bench.state(row) == "arrived"
