"""Targets at servers when the server, or the way to it, fails: a problem in words, and nothing is lost."""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any

import anyio
import anyio.to_thread
import pytest

from hub.base.outbound.addresses import connect_to_first
from hub.device.sinks import caldav, web
from hub.device.sinks.caldav import CalDavTarget
from hub.device.sinks.rest import Rest
from hub.device.sinks.task_list_manifest import KeyPlace
from hub.device.sinks.web import Web, secret_in
from hub.text.rows.row import TargetFailed
from hub.text.rows.row_keys import key_of
from protocol.frame import Record
from protocol.tables import TABLES, TableName
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.places import CalDavPlace, RestPlace, manifest_at
from tests.hub.device.sinks.servers import TOKEN, Asked, Reply, answering
from tests.support.clock import FakeClock
from tests.support.radicale import PASSWORD, Radicale

Server = CalDavPlace | RestPlace
WRITES = ("PUT", "POST", "DELETE")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Reply(401), "refuses the user or the password (401)"),
        (Reply(403), "refuses it (403)"),
        (Reply(429, headers={"retry-after": "0"}), "is busy (429)"),
        (Reply(503, headers={"retry-after": "0"}), "is busy (503)"),
        (Reply(500), "refuses it (500)"),
        (Reply(400), "'Call Ana': "),
        (Reply(302, headers={"location": "http://127.0.0.1:9/elsewhere"}), "points to 127.0.0.1:9"),
        (Reply(302, headers={"location": "http://[bad"}), "answers with status 302"),
        (None, "the connection broke"),
    ],
)
def test_sink_write_fault_is_a_problem_without_lost_or_doubled_rows(
    server: Server, bench: SinkBench, fault: Reply | None, words: str
) -> None:
    others = server.others()
    row = bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    server.proxy.only, server.proxy.faults = WRITES, [fault]
    synced = bench.synchronize(server.target)
    assert words in synced.problem and synced.problem
    assert PASSWORD not in synced.problem and TOKEN not in synced.problem
    server.proxy.faults = []
    bench.clock.advance(31)  # a refused row waits
    target = server.open() if fault is not None and fault.status == 401 else server.target
    for _ in range(2):
        assert bench.synchronize(target).problem == ""
    assert (server.text.count("Call Ana"), server.text.count("Pay"), server.others()) == (1, 1, others)

    if fault is None:  # the answer is lost
        for change in (partial(bench.change, row, {"title": "Ring Ana"}), partial(bench.delete, row)):
            change()
            server.proxy.faults = [None]
            assert bench.synchronize(target).problem
            assert bench.synchronize(target).problem == ""
        assert (server.text.count(" Ana"), server.text.count("Pay"), server.others()) == (0, 1, others)
    assert bench.history() == []


@pytest.mark.parametrize("fault", [Reply(500), Reply(200, b"<"), None])
def test_sink_read_fault_is_a_problem_and_deletes_no_row(
    server: Server, bench: SinkBench, fault: Reply | None
) -> None:
    bench.approve({"title": "Call Ana"})
    bench.synchronize(server.target)
    for target in (server.target, server.open()):
        server.proxy.faults = [fault] * 3  # with a sync token, without, and by ETags
        synced = bench.synchronize(target)
        assert (bool(synced.problem), synced.deleted, synced.removed) == (True, 0, 0)
        server.proxy.faults = []
        assert (bench.synchronize(target).problem, server.text.count("Call Ana")) == ("", 1)


def test_sink_server_timeout_is_a_problem_with_the_duration(server: Server, bench: SinkBench) -> None:
    answer = Event()

    def wait() -> Reply | None:
        answer.wait(10)
        return Reply(500)

    server.proxy.faults = [wait]
    bench.approve({"title": "Call Ana"})
    assert "does not answer within 0.2 s" in bench.synchronize(server.open(silence_s=0.2)).problem
    answer.set()
    assert bench.synchronize(server.target).written == 1


def test_sink_server_answering_503_is_not_asked_before_retry_after(server: Server, bench: SinkBench) -> None:
    clock = FakeClock()
    server.target._web.clock = clock  # type: ignore[attr-defined]
    bench.approve({"title": "Call Ana"})
    server.proxy.faults = [Reply(503, headers={"retry-after": "120"})]
    for _ in range(2):
        assert "is busy (503)" in bench.synchronize(server.target).problem
    assert len(server.proxy.asked) == 1
    clock.advance(121)
    assert bench.synchronize(server.target).written == 1


def test_wrong_sink_password_is_sent_only_once(server: Server, bench: SinkBench) -> None:
    bench.approve({"title": "Call Ana"})
    wrong = server.open(password="wrong")
    for _ in range(3):
        assert "(401)" in bench.synchronize(wrong).problem
    assert len(server.proxy.asked) == 1
    assert bench.synchronize(server.open()).written == 1


def test_idle_sink_server_is_polled_once_a_minute(server: Server, bench: SinkBench) -> None:
    clock = FakeClock()
    target = server.target
    target._web.clock, target._poll_s = clock, 60.0  # type: ignore[attr-defined]
    bench.approve({"title": "Call Ana"})
    bench.synchronize(target)
    places = bench.synchronize(target).places
    clock.advance(61)
    stamp = target.stamp(places)
    server.proxy.asked.clear()
    for _ in range(29):
        clock.advance(2)
        assert target.stamp(places) == stamp
        bench.synchronize(target)
    assert server.proxy.asked == []
    clock.advance(3)
    assert target.stamp(places) == stamp
    pages = [asked for asked in server.proxy.asked if asked.method not in ("GET", "REPORT")]
    assert (pages, 1 <= len(server.proxy.asked) <= 2) == ([], True)  # of five tasks, in two pages
    assert all(b"multiget" not in asked.body for asked in server.proxy.asked)


def test_sink_password_is_not_logged(
    server: Server, bench: SinkBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.approve({"title": "Call Ana"})
    bench.synchronize(server.target)
    server.proxy.faults = [Reply(401)]
    bench.synchronize(server.open())
    sent = {asked.headers["authorization"].partition(" ")[2] for asked in server.proxy.asked}
    assert [one for one in (PASSWORD, TOKEN, *sent) if one in caplog.text] == []


def test_redirect_within_the_host_is_followed_with_the_same_request(bench: SinkBench) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        moved = Reply(308, headers={"location": "/new"})
        return moved if one.path == "/old" else Reply(302, headers={"location": "/circle"})

    with answering(answer) as port:
        web = Web(f"http://127.0.0.1:{port}/", lambda: "Bearer x")
        with web.connected(), pytest.raises(TargetFailed, match="302"):
            web.ask("PUT", f"http://127.0.0.1:{port}/old", b"body")
    assert [(one.method, one.path, one.body) for one in asked][:2] == [
        ("PUT", "/old", b"body"),
        ("PUT", "/new", b"body"),
    ]


@contextmanager
def dripping(first: bytes, piece: bytes) -> Iterator[int]:
    """Answer on a free port with *first*, and then with *piece* until the connection ends."""

    connections = list[socket.socket]()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            connections.append(self.request)
            self.request.recv(1)
            with suppress(OSError):
                self.request.sendall(first)
                while piece or self.request.recv(4096):
                    self.request.sendall(piece)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            for connection in connections:  # a send to a peer that is gone may wait for two minutes
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


DRIPS = {
    "interim answers": ("http", b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a body": ("http", b"HTTP/1.1 207 X\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a part of a handshake": ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b""),
}


@pytest.mark.parametrize("limit_s", [0.0, 0.2], ids=["before a connection", "while it answers"])
@pytest.mark.parametrize("name", DRIPS)
def test_server_whose_answer_has_no_end_is_a_problem(
    name: str, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, first, piece = DRIPS[name]
    monkeypatch.setattr(web, "_MAX_S", limit_s)
    with dripping(first, piece) as port:
        web_of = Web(url := f"{scheme}://localhost:{port}/", lambda: "x")
        with web_of.connected(), pytest.raises(TargetFailed, match="too slow"):
            web_of.ask("GET", url)


def test_server_without_an_answer_at_many_addresses_is_tried_at_eight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
        tried.append(address[0])
        raise TimeoutError

    monkeypatch.setattr(web, "public_addresses", lambda _: [f"192.0.2.{number}" for number in range(99)])
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(TargetFailed, match="does not answer"):
        Web("https://many.example/", lambda: "x", is_public=True).ask("GET", "https://many.example/")
    with pytest.raises(TimeoutError):
        connect_to_first(map(str, range(99)), 1, 1.0)
    assert len(tried) == 16


def test_server_named_by_a_hub_is_called_by_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(one: Asked) -> Reply | None:
        asked.append(one)
        return None

    asked: list[Asked] = []
    with answering(answer) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        for is_public in (True, False):
            with pytest.raises(TargetFailed):
                Web("https://wiki.test/", lambda: "x", is_public=is_public).ask("GET", "https://wiki.test/")
            assert bool(asked) is not is_public


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"x\n", 0o644, "other users can read it; run: chmod 600"),
        (b"\n", 0o600, "one line"),
        (b"a\nb\n", 0o600, "one line"),
        (b"\xff", 0o600, "not UTF-8"),
        (None, 0o600, "No such file"),
    ],
)
def test_unusable_password_file_is_refused_with_the_reason(
    tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(TargetFailed, match=words):
        secret_in(file, None)


def test_named_pipe_as_password_file_is_refused_without_blocking(tmp_path: Path) -> None:
    pipe = tmp_path / "password"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(TargetFailed, match="is no file"):
        secret_in(pipe, None)


def test_sink_password_is_read_from_a_variable_or_a_file_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TODO_PASSWORD", " a b ")
    (tmp_path / "password").write_text("ä b\r\n")
    (tmp_path / "password").chmod(0o600)
    assert (secret_in(None, "TODO_PASSWORD"), secret_in(tmp_path / "password", None)) == (" a b ", "ä b")
    with pytest.raises(TargetFailed, match="the environment variable NONE"):
        secret_in(None, "NONE")


def test_tasks_done_or_deleted_at_the_server_are_requested_once(tmp_path: Path, bench: SinkBench) -> None:
    with rest_place(tmp_path) as place:
        rows = [bench.approve({"title": title}) for title in ("Call Ana", "Pay", "Go")]
        bench.synchronize(place.target)
        bench.change(rows[0], {"status": "done"})
        bench.synchronize(place.target)
        gone = next(name for name, task in place.tasks.tasks.items() if task["content"] == "Pay")
        del place.tasks.tasks[gone]
        assert bench.synchronize(place.target).deleted == 1
        place.proxy.asked.clear()
        bench.synchronize(place.target)
        assert {asked.path.partition("?")[0] for asked in place.proxy.asked} == {"/api/v1/tasks"}


def test_server_repeating_a_next_page_is_a_problem_after_two_requests(
    bench: SinkBench,
) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return Reply(200, body=b'{"results": [], "next_cursor": "x"}')

    with answering(answer) as port:
        web = Web(f"http://127.0.0.1:{port}/api/v1", lambda: f"Bearer {TOKEN}")
        bench.approve({"title": "Call Ana"})
        target = Rest(web, manifest_at(f"http://127.0.0.1:{port}/api/v1"), poll_s=0)
        assert "names one page as the next one again" in bench.synchronize(target).problem
    assert len(asked) == 2


def test_sink_update_sends_only_changed_fields_with_a_new_request_id(
    tmp_path: Path, bench: SinkBench
) -> None:
    with rest_place(tmp_path) as place:
        row = bench.approve({"title": "Call Ana", "dueDate": 1_796_126_400_000})  # at noon
        bench.synchronize(place.target)
        bench.change(row, {"title": "Ring Ana"})
        bench.synchronize(place.target)
        first, sent = (asked for asked in place.proxy.asked if asked.method == "POST")
        assert json.loads(sent.body) == {"content": "Ring Ana"}
        assert first.headers["x-request-id"] != sent.headers["x-request-id"]


def test_manifest_may_place_key_in_labels_and_status_in_a_field(tmp_path: Path, bench: SinkBench) -> None:
    with rest_place(tmp_path) as place:
        changes = {"key": KeyPlace(path="labels", form="label"), "close": None, "reopen": None}
        place.manifest = place.manifest.model_copy(update=changes)
        row = bench.approve({"title": "Call Ana", "description": "soon"})
        bench.synchronize(place.open())
        task = next(task for task in place.tasks.tasks.values() if task["content"] == "Call Ana")
        assert (task["labels"], task["description"]) == ([key_of("tasks", row)], "soon")
        place.tasks.change(task["id"], {"labels": ["mine", *task["labels"]]})
        bench.change(row, {"status": "done", "title": "Ring Ana"})
        for target in (place.open(), place.open()):
            assert bench.synchronize(target).problem == ""
        assert (task["labels"], task["checked"], task["content"]) == (
            ["mine", key_of("tasks", row)],
            True,
            "Ring Ana",
        )


@pytest.fixture
def calendar(radicale: Radicale, tmp_path: Path) -> Iterator[CalDavPlace]:
    with caldav_place(radicale, tmp_path) as place:
        yield place


@pytest.mark.parametrize("status", [403, 415, 422, 500, 501, 505])
def test_calendar_without_sync_tokens_is_synchronized_by_etags(
    calendar: CalDavPlace, bench: SinkBench, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    forward = calendar.proxy._forward

    def answer(asked: Asked) -> Reply:
        return Reply(status) if b"sync-collection" in asked.body else forward(asked)

    monkeypatch.setattr(calendar.proxy, "_forward", answer)
    rows = [bench.approve({"title": title}) for title in ("Call Ana", "Pay")]
    for target in (calendar.target, calendar.target, calendar.open()):
        assert bench.synchronize(target).problem == ""
    calendar.proxy.asked.clear()
    calendar.rename("Call", "Phone")
    assert (bench.synchronize(calendar.target).taken_back, bench.row(rows[0])["title"]) == (1, "Phone Ana")
    (fetched,) = [asked.body for asked in calendar.proxy.asked if b"multiget" in asked.body]
    assert fetched.count(b"<d:href>") == 1
    saved = calendar.save()
    calendar.restore({name: text for name, text in saved.items() if "Phone" not in text})
    assert bench.synchronize(calendar.target).deleted == 1


CHANGES = {  # what a calendar makes of an object that is written
    "no due date": ("DUE.*\r\n", ""),
    "no priority": ("PRIORITY.*\r\n", ""),
    "no text": ("DESCRIPTION.*\r\n", ""),
    "no time of change": ("LAST-MODIFIED.*\r\n", ""),
    "a later time of change": ("LAST-MODIFIED:.*\r\n", "LAST-MODIFIED:20980101T000000Z\r\n"),
    "a cut text": (r"DESCRIPTION:(.{4})[^\r]*", r"DESCRIPTION:\1"),
    "a cut title": (r"SUMMARY:(.{6})[^\r]*", r"SUMMARY:\1"),
    "another state": ("IN-PROCESS", "NEEDS-ACTION"),
    "another priority": ("PRIORITY:1", "PRIORITY:5"),
    "a day as a time": (r"DUE;VALUE=DATE:(\d+)", r"DUE:\1T000000Z"),
    "a later server's time": (
        "LAST-MODIFIED:.*\r\n(?s:(.*))DUE.*\r\n",
        r"LAST-MODIFIED:20980101T000000Z\r\n\1",
    ),
}
COPIED: Record = {
    "title": "Call Ana",
    "description": "about it",
    "status": "in_progress",
    "priority": "high",
    "dueDate": 1_797_638_400_000,
}


@pytest.mark.parametrize("has_etag", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_value_that_a_calendar_does_not_keep_is_no_edit(
    calendar: CalDavPlace, bench: SinkBench, monkeypatch: pytest.MonkeyPatch, change: str, has_etag: bool
) -> None:
    forward = calendar.proxy._forward
    old, new = CHANGES[change]

    def answer(asked: Asked) -> Reply:
        if asked.method != "PUT":
            return forward(asked)
        headers = {name: value for name, value in asked.headers.items() if name != "content-length"}
        body = re.sub(old, new, asked.body.decode(), count=1).encode()
        reply = forward(asked._replace(headers=headers, body=body))
        return reply if has_etag else reply._replace(headers={})

    monkeypatch.setattr(calendar.proxy, "_forward", answer)
    row = bench.approve(COPIED)
    before = bench.row(row)
    for target in (calendar.target, calendar.target, calendar.open(), calendar.target):
        assert bench.synchronize(target).problem == ""
        bench.clock.advance(60)
    writes = [asked.method for asked in calendar.proxy.asked if asked.method == "PUT"]
    assert (bench.row(row), bench.history(), writes) == (before, [], ["PUT"])
    calendar.rename("SUMMARY:Call", "SUMMARY:Ring")
    for target in (calendar.target, calendar.open(), calendar.target):
        assert bench.synchronize(target).problem == ""
    edited = {"title": "Ring A" if change == "a cut title" else "Ring Ana"}
    after = bench.row(row)
    assert {name: after[name] for name in COPIED} == COPIED | edited
    bench.change(row, {"title": "Meet Ana"})
    for target in (calendar.target, calendar.open(), calendar.target):
        assert bench.synchronize(target).problem == ""
    assert {name: bench.row(row)[name] for name in COPIED} == COPIED | {"title": "Meet Ana"}
    writes = [asked.method for asked in calendar.proxy.asked if asked.method == "PUT"]
    assert writes == ["PUT"] * 2


def _cut(task: dict[str, Any], name: str, length: int) -> None:
    task[name] = (
        f"{task[name][:length]}\n\n{task[name][-20:]}" if name == "description" else task[name][:length]
    )


DROPS: dict[str, Callable[[dict[str, Any]], object]] = {  # what a task list makes of an item that is written
    "no due date": lambda task: task.update(due=None),
    "no priority": lambda task: task.update(priority=1),
    "a cut text": lambda task: _cut(task, "description", 4),
    "a cut title": lambda task: _cut(task, "content", 6),
    "another due date": lambda task: task.update(due={"date": "2026-12-24"}),
}


@pytest.mark.parametrize("echo", ["an item", "an id", "nothing"])
@pytest.mark.parametrize("drop", DROPS)
def test_value_dropped_by_a_task_list_is_no_edit(
    tmp_path: Path, bench: SinkBench, monkeypatch: pytest.MonkeyPatch, drop: str, echo: str
) -> None:
    with rest_place(tmp_path) as place:
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply:
            reply = forward(asked)
            if asked.method != "POST" or not asked.body:
                return reply
            task = place.tasks.tasks[json.loads(reply.body)["id"]]
            DROPS[drop](task)
            is_new = asked.path.endswith("/tasks")
            answers = {
                "an item": task,
                "an id": {"id": task["id"]},
                "nothing": {"id": task["id"]} if is_new else {},
            }
            return reply._replace(body=json.dumps(answers[echo]).encode())

        monkeypatch.setattr(place.proxy, "_forward", answer)
        row = bench.approve(COPIED | {"status": "todo"})
        before = bench.row(row)
        for target in (place.target, place.target, place.open(), place.target):
            assert bench.synchronize(target).problem == ""
            bench.clock.advance(60)
        writes = [asked.method for asked in place.proxy.asked if asked.method == "POST"]
        assert (bench.row(row), bench.history(), writes) == (before, [], ["POST"])
        bench.change(row, {"title": "Meet Ana", "status": "done"})
        for target in (place.target, place.open(), place.target):
            assert bench.synchronize(target).problem == ""
        changed = COPIED | {"title": "Meet Ana", "status": "done"}
        assert {name: bench.row(row)[name] for name in COPIED} == changed
        writes = [asked.method for asked in place.proxy.asked if asked.method == "POST"]
        assert writes == ["POST"] * 3


def test_edit_of_a_person_between_a_write_and_its_reading_comes_back(
    calendar: CalDavPlace, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})

    def edit() -> None:
        if calendar.proxy.asked[-1].method == "PUT":
            calendar.rename("Call", "Ring")

    calendar.proxy.on_request = edit
    bench.synchronize(calendar.target)
    bench.synchronize(calendar.target)
    assert bench.row(row)["title"] == "Ring Ana"


def test_calendar_object_missing_in_a_partial_answer_is_not_deleted(
    calendar: CalDavPlace, bench: SinkBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.approve({"title": "Call Ana"})
    bench.synchronize(calendar.target)
    forward = calendar.proxy._forward
    empty = Reply(207, b'<multistatus xmlns="DAV:"/>')
    monkeypatch.setattr(
        calendar.proxy, "_forward", lambda asked: empty if b"multiget" in asked.body else forward(asked)
    )
    synced = bench.synchronize(calendar.open())
    assert (synced.deleted, "leaves it out (no answer)" in synced.problem) == (0, True)


def test_row_edit_leaves_foreign_properties_of_a_calendar_object(
    calendar: CalDavPlace, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(calendar.target)
    alarm = ("CATEGORIES:Home", "X-MINE:1", "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "END:VALARM")
    standard = ("DTSTART:19700101T000000", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0100", "END:STANDARD")
    zone = ("BEGIN:VTIMEZONE", "TZID:Mine", "BEGIN:STANDARD", *standard, "END:VTIMEZONE")
    calendar.rename("END:VTODO", "\r\n".join((*alarm, "END:VTODO")))
    calendar.rename("BEGIN:VTODO", "\r\n".join((*zone, "BEGIN:VTODO")))
    bench.change(row, {"title": "Ring Ana"})
    assert bench.synchronize(calendar.target).problem == ""
    (text,) = [text for text in calendar.save().values() if "Ring Ana" in text]
    assert [part for part in (*alarm, *zone) if part not in text] == []


async def test_stopped_device_ends_a_synchronization_after_a_single_request(
    server: Server, bench: SinkBench
) -> None:
    for title in ("Call Ana", "Call Bo", "Call Cy"):
        bench.approve({"title": title})
    loop, stopped = asyncio.get_running_loop(), Event()
    with anyio.CancelScope() as scope:

        def stop() -> None:
            scope.cancel()
            stopped.set()

        def on_request() -> None:
            if server.proxy.asked[-1].method in WRITES:
                loop.call_soon_threadsafe(stop)
                stopped.wait(10)

        server.proxy.on_request = on_request
        await anyio.to_thread.run_sync(bench.synchronize, server.target)
    assert (scope.cancelled_caught, server.text.count("Call ")) == (True, 1)
    server.proxy.on_request = lambda: None
    assert (bench.synchronize(server.open()).problem, server.text.count("Call ")) == ("", 3)


def test_calendar_whose_list_of_changes_never_ends_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply | None:
        asked.append(one)
        body = (
            '<d:multistatus xmlns:d="DAV:"><d:response><d:href>/tasks/</d:href>'
            f"<d:status>HTTP/1.1 507 More</d:status></d:response><d:sync-token>{len(asked)}</d:sync-token>"
            "</d:multistatus>"
        )
        return Reply(207, body.encode()) if len(asked) < 50 else None

    monkeypatch.setattr(caldav, "_MAX_PAGES", 10)
    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/tasks/"
        with pytest.raises(TargetFailed, match="without end"):
            CalDavTarget(Web(url, lambda: "Basic x"), url).read([url], {})
    assert len(asked) == 10


@pytest.mark.parametrize("href", ["//{}", "https://{}", "other:/{}", "https://127.0.0.1:9/{}.ics"])
def test_calendar_listing_a_row_at_another_server_leaves_out_the_row_alone(href: str) -> None:
    key, asked = "hub-aaaaaaaaaaaaaaaa", list[Asked]()
    answers = [
        f"<d:response><d:href>{href.format(key)}</d:href><d:propstat><d:prop><d:getetag>1</d:getetag></d:prop>"
        "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>",
        "",
    ]

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return Reply(207, f'<d:multistatus xmlns:d="DAV:">{answers[len(asked) - 1]}</d:multistatus>'.encode())

    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/tasks/"
        web_of = Web(url, lambda: "Basic x")
        found = CalDavTarget(web_of, url).read([url], {key: TABLES[TableName.TASKS]})
    assert (len(asked), "leaves it out" in found.unreadable[key]) == (2, True)
