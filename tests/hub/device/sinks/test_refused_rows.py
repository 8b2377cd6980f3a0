"""Rows that a place refuses, unlike others: they wait alone, with reason and back-off, and are shown."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.base.outbound.refusal_reach import MAX_REFUSALS, RefusalScope
from hub.device.sinks.recorded_rows import write_again
from hub.device.sinks.states import State, states
from hub.device.sinks.target import Snapshot, Written
from hub.device.sinks.text_file import TextFile
from hub.device.sinks.waits import RowWait, WaitReason, store_wait
from hub.text.rows.lines import Markdown
from hub.text.rows.row import Fields, Put, TargetFailed
from hub.text.rows.row_keys import key_of
from protocol.tables import DeviceTable
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.places import CalDavPlace, RestPlace
from tests.hub.device.sinks.servers import Asked, Reply
from tests.support.clock import FakeClock
from tests.support.radicale import Radicale

Server = CalDavPlace | RestPlace
# Those of each scope before each commit; all with the slow tests.
STATUSES = [
    status if status in (401, 403, 412, 413, 429) else pytest.param(status, marks=pytest.mark.slow)
    for status in (400, 401, 403, 404, 409, 410, 412, 413, 415, 429, 500, 503, 507)
]
TITLES = ("Call Ana", "Pay", "Write", "Go", "Read")


@contextmanager
def refusing(server: Server, is_refused: Callable[[Asked], bool], reply: Reply) -> Iterator[None]:
    """Answer requests of a kind by *reply* inside the block."""
    forward = server.proxy._forward
    server.proxy._forward = lambda asked: reply if is_refused(asked) else forward(asked)  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.proxy._forward = forward  # type: ignore[method-assign]


def about(server: Server, row: str, *methods: str) -> Callable[[Asked], bool]:
    """Return a check for requests about one object, also before it exists."""
    key = key_of("tasks", row).encode()

    def is_about(asked: Asked) -> bool:
        tasks = server.tasks.tasks if isinstance(server, RestPlace) else {}
        ids = [task_id for task_id, task in tasks.items() if key.decode() in task["description"]]
        is_there = any(asked.path.endswith(f"/tasks/{task_id}") for task_id in ids)
        is_created = key in asked.body and asked.method in ("PUT", "POST")
        return asked.method in methods and (is_there or is_created or key.decode() in asked.path)

    return is_about


def later(server: Server, bench: SinkBench, seconds: float) -> None:
    """Let time pass for the device, and for the client of its server."""
    bench.clock.advance(seconds)
    server.target._web.clock.advance(seconds)  # type: ignore[attr-defined]


@pytest.fixture
def timed(server: Server) -> Server:
    """Place at a server whose client has a clock of the test."""
    server.target._web.clock = FakeClock()  # type: ignore[attr-defined]
    return server


def state_of(bench: SinkBench) -> State:
    with bench.open() as db:
        return states(db)["there"]


@pytest.mark.parametrize("status", STATUSES)
def test_new_row_refused_by_a_server_waits_alone_and_all_others_arrive(
    timed: Server, bench: SinkBench, status: int
) -> None:
    ids = [bench.approve({"title": title}) for title in TITLES]
    with refusing(timed, about(timed, ids[1], "PUT", "POST", "GET"), Reply(status)):
        for _ in range(4):
            synced = bench.synchronize(timed.target)
            later(timed, bench, 301)
        assert [bench.state(row) for row in ids] == [
            "waiting refused" if row == ids[1] else "arrived" for row in ids
        ]
        (refused,) = state_of(bench).refused
        assert (refused.title, "'Pay': " in synced.problem) == ("Pay", True)
        of_place = ("read-only", "create the calendar", "no space")
        assert not any(words in refused.reason for words in of_place), "the reason is of the row"
    later(timed, bench, 7 * 3_600)
    assert bench.synchronize(timed.target).problem == ""
    assert ([bench.state(row) for row in ids], state_of(bench).refused) == (["arrived"] * 5, [])
    assert [timed.text.count(title) for title in TITLES] == [1] * 5


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ["change", "delete"])
def test_changed_or_deleted_row_refused_by_a_server_leaves_the_others_in_step(
    timed: Server, bench: SinkBench, status: int, action: str
) -> None:
    ids = [bench.approve({"title": title}) for title in TITLES]
    bench.synchronize(timed.target)
    bench.synchronize(timed.target)
    later(timed, bench, 60)
    for row, title in zip(ids, TITLES, strict=True):
        if action == "delete" and title != "Read":  # a list without any item counts as lost
            bench.delete(row)
        else:
            bench.change(row, {"title": f"New {title}"})
    with refusing(timed, about(timed, ids[1], "PUT", "POST", "GET", "DELETE"), Reply(status)):
        for _ in range(4):
            bench.synchronize(timed.target)
            later(timed, bench, 301)
        others = [title for title in TITLES if title != "Pay"]
        if action == "change":
            assert ([timed.text.count(f"New {title}") for title in others]) == [1] * 4
        else:
            assert [timed.text.count(title) for title in others] == [0, 0, 0, 1]
        if (status, action) not in ((404, "delete"), (410, "delete")):  # it is gone, as it was to be
            assert timed.text.count("Pay") == 1
    later(timed, bench, 7 * 3_600)
    for _ in range(2):
        assert bench.synchronize(timed.target).problem == ""
    assert state_of(bench).refused == []
    assert timed.text.count("New Read") == 1


@pytest.mark.parametrize("status", [403, 500, 507])
@pytest.mark.parametrize("is_alone", [True, False])
def test_unreadable_calendar_object_is_left_out_alone(
    radicale: Radicale, tmp_path: Path, bench: SinkBench, status: int, is_alone: bool
) -> None:
    with caldav_place(radicale, tmp_path) as place:
        ids = [bench.approve({"title": title}) for title in TITLES]
        bench.synchronize(place.target)
        for title in TITLES:
            place.rename(title, f"New {title}")
        key = key_of("tasks", ids[1])
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply | None:
            if b"multiget" not in asked.body or key.encode() not in asked.body:
                return forward(asked)
            if not is_alone:  # one object fails the whole report
                return Reply(status)
            href = f"{place.path}{key}.ics"
            body = asked.body.replace(f"<d:href>{href}</d:href>".encode(), b"")
            headers = {**asked.headers, "content-length": str(len(body)), "accept-encoding": "identity"}
            found = forward(asked._replace(body=body, headers=headers))
            assert found is not None and body != asked.body
            response = f"<response><href>{href}</href><status>HTTP/1.1 {status} No</status></response>"
            whole = found.body.replace(b"</multistatus>", f"{response}</multistatus>".encode())
            return found._replace(body=whole)

        place.proxy._forward = answer  # type: ignore[method-assign, assignment]
        synced = bench.synchronize(place.open())
        titles = [bench.row(row)["title"] for row in ids]
        assert titles == [title if title == "Pay" else f"New {title}" for title in TITLES]
        assert (f"{key}.ics: " in synced.problem, str(status) in synced.problem) == (True, True)
        assert (synced.deleted, synced.removed) == (0, 0)
        place.proxy._forward = forward  # type: ignore[method-assign]
        assert bench.synchronize(place.open()).problem == ""
        assert bench.row(ids[1])["title"] == "New Pay"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_unreadable_done_item_is_left_out_alone(tmp_path: Path, bench: SinkBench, status: int) -> None:
    with rest_place(tmp_path) as place:
        place.target._web.clock = FakeClock()  # type: ignore[attr-defined]
        ids = [bench.approve({"title": title}) for title in TITLES]
        for _ in range(2):
            bench.synchronize(place.target)
        for task in place.tasks.tasks.values():
            if "hub-" in task["description"]:
                place.tasks.change(task["id"], {"checked": True})
        with refusing(place, about(place, ids[1], "GET"), Reply(status)):
            for _ in range(3):
                synced = bench.synchronize(place.target)
                later(place, bench, 301)
            states_there = [bench.row(row)["status"] for row in ids]
            assert states_there == ["todo" if row == ids[1] else "done" for row in ids]
            assert (str(status) in synced.problem, synced.deleted) == (True, 0)
        assert (bench.synchronize(place.target).problem, bench.row(ids[1])["status"]) == ("", "done")


def test_read_only_place_is_tried_with_few_requests_and_named_as_a_place(
    timed: Server, bench: SinkBench
) -> None:
    ids = [bench.approve({"title": f"Call {number}"}) for number in range(20)]
    timed.proxy.only, timed.proxy.faults = ("PUT", "POST"), [Reply(403)] * 99
    for _ in range(3):
        timed.proxy.asked.clear()
        assert "is it read-only" in bench.synchronize(timed.target).problem
        written = [asked for asked in timed.proxy.asked if asked.method in timed.proxy.only]
        assert len(written) == MAX_REFUSALS
        later(timed, bench, 30)
    assert ({bench.state(row) for row in ids}, state_of(bench).refused) == ({"waiting read_only"}, [])
    timed.proxy.faults = []
    assert bench.synchronize(timed.target).written == 20


def test_refused_row_waits_twice_as_long_after_each_attempt_until_an_edit(
    timed: Server, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    with refusing(timed, about(timed, row, "PUT", "POST"), Reply(413)):
        attempts = []
        for number in range(100):
            timed.proxy.asked.clear()
            bench.synchronize(timed.target)
            if any(asked.method in ("PUT", "POST") for asked in timed.proxy.asked):
                attempts.append(number)
            later(timed, bench, 10)
        assert attempts == [0, 3, 9, 21, 45, 93]
    bench.change(row, {"title": "Call"})
    assert bench.synchronize(timed.target).problem == ""


def test_again_writes_refused_rows_at_once(timed: Server, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    with refusing(timed, about(timed, row, "PUT", "POST"), Reply(500)):
        bench.synchronize(timed.target)
    assert bench.synchronize(timed.target).written == 0
    with bench.open() as db:
        write_again(db, "there")
    assert (bench.synchronize(timed.target).problem, timed.text.count("Call Ana")) == ("", 1)


class Board(TextFile):
    """File of a package that expresses no row with a colon, and refuses to write rows with a plus."""

    def expressed(self, table: DeviceTable, fields: Fields) -> Fields:
        if ":" in fields["title"]:
            raise ValueError(fields["title"])
        return super().expressed(table, fields)

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        refused = [put for put in puts if "+" in put.fields["title"]]
        super().write(snapshot, [put for put in puts if put not in refused], removed)
        return {put.key: TargetFailed("no plus, please", scope=RefusalScope.ROW) for put in refused}


def test_row_refused_or_not_expressed_by_a_package_waits_alone(bench: SinkBench, tmp_path: Path) -> None:
    ids = [bench.approve({"title": title}) for title in ("Call: Ana", "C++", "Pay")]
    synced = bench.synchronize(Board(tmp_path / "board.md", Markdown()))
    assert (synced.written, (tmp_path / "board.md").read_text().count("- [ ]")) == (1, 1)
    assert [bench.state(row) for row in ids] == ["waiting refused", "waiting refused", "arrived"]
    assert {one.reason for one in state_of(bench).refused} == {
        "no plus, please",
        "it fails: ValueError('Call: Ana')",
    }


def test_wait_of_a_row_unknown_to_both_sides_ends_at_the_next_synchronization(
    bench: SinkBench, tmp_path: Path
) -> None:
    target = TextFile(tmp_path / "there.md", Markdown())
    row = bench.approve({"title": "Pay"})
    bench.synchronize(target)
    for key in (key_of("tasks", "unknown"), key_of("tasks", row)):
        with bench.open() as db:
            store_wait(db, "there", RowWait(key, WaitReason.REFUSED, 0, 2**53, "no"))
        bench.delete(row)
        assert bench.synchronize(target).problem == ""
        with bench.open() as db:
            assert db.execute("SELECT count(*) FROM sink_waits").fetchone()[0] == 0
