"""Places of another kind than the settings say: refused before the first row, with the right one if known."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.device.sinks import answers
from hub.device.sinks.caldav import CalDavTarget
from hub.device.sinks.recognition import other_format
from hub.device.sinks.rest import Rest
from hub.device.sinks.target import Target
from hub.device.sinks.text_file import TextFile
from hub.device.sinks.web import Web, basic_authorization
from hub.text.rows.lines import Markdown
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, manifest_at
from tests.hub.device.sinks.servers import TOKEN, Asked, Proxy, Reply, answering
from tests.support.families import each
from tests.support.radicale import PASSWORD, Radicale

WRITES = {"PUT", "POST", "PATCH", "DELETE", "MKCOL", "MKCALENDAR"}

# Files by what they are; a file of a sink's own kind is none of its wrong places.
TEXTS: dict[str, str] = {
    "ics": "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nEND:VCALENDAR\r\n",
    "markdown": "# Plan\n\nFirst we call Ana.\n\n- [ ] Pay\n- [x] Read\n",
    "todo.txt": "(A) 2026-11-01 Call Ana +house @phone\nx 2026-11-02 2026-11-01 Pay\nRead due:2026-12-01\n",
    "csv": "name,phone,city\nAna,1,Bonn\nBo,2,Ulm\n",
    "jsonl": '{"name": "Ana"}\n{"name": "Bo"}\n',
    "cards": "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Ana\r\nEND:VCARD\r\n",
    "json": '[\n  {"title": "Pay"}\n]\n',
    "html": "<!DOCTYPE html>\n<html><body><h1>Plan</h1></body></html>\n",
    "program": "#!/bin/sh\nset -e\necho done\n",
    "settings": "# mine\n[hub]\nname = 'home'\n",
}
OTHER_COLUMNS = "name|phone\nAna|1\n"
COPIES = ("METHOD:REQUEST", "REFRESH-INTERVAL;VALUE=DURATION:P1D")
BYTES: dict[str, bytes] = {
    "binary": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "a database": b"SQLite format 3\x00\x10\x00\x01\x01",
    "UTF-16": "Plan\n".encode("utf-16"),
}


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


OBJECTS: dict[str, Callable[[Path], None]] = {"folder": make_folder, "link": make_link}
OBJECTS |= {"pipe": make_pipe} if hasattr(os, "mkfifo") else {}


@each("kind", FILES)
def test_file_of_another_kind_is_refused_before_the_first_row(kind: str, tmp_path: Path) -> None:
    contents = {name: text.encode() for name, text in TEXTS.items() if name != kind} | BYTES
    contents |= {"other columns": OTHER_COLUMNS.encode()} if kind == "csv" else {}
    contents |= (
        {line: TEXTS["ics"].replace("END", f"{line}\r\nEND").encode() for line in COPIES}
        if kind == "ics"
        else {}
    )
    wrong = 0
    base = tmp_path / kind
    for name in (*contents, *OBJECTS, "no folder"):
        (base / name).mkdir(parents=True)
        bench, path = SinkBench(base / name), base / name / "place"
        if name in contents:
            path.write_bytes(contents[name])
        elif name in OBJECTS:
            OBJECTS[name](path)
        else:
            path = path / "below"
        row = bench.approve({"title": "Pay the rent"})
        problem = bench.synchronize(TextFile(path, FILES[kind][0]())).problem
        assert problem, name
        assert ("is a pipe or a device: write the path of a file" in problem) is (name == "pipe")
        assert bench.state(row).startswith("waiting "), name
        if name in contents:
            assert path.read_bytes() == contents[name], name
        if name in FILES and "no column" not in problem:
            assert f'write kind = "{name}"' in problem, (name, problem)
        wrong += 1
    assert wrong >= 8


@each("kind", FILES)
def test_file_of_the_right_kind_or_an_empty_file_is_not_refused(kind: str) -> None:
    own = {
        "markdown": "Prose alone, and 1, 2 = 3.\n",
        "csv": "id,title\n",
        "todo.txt": "Call Ana\nPay, soon\n",
    }
    _, head, tail, _ = FILES[kind]
    for text in ("", "\n \n", head + tail, TEXTS[kind], own.get(kind, "")):
        assert other_format(text.replace("\r\n", "\n"), kind) == "", text


@each("kind", ["markdown", "todo.txt"])
def test_file_confirmed_by_the_owner_gets_rows_and_is_not_asked_again(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.place"
    path.write_text(TEXTS["settings"])
    base = tmp_path / kind
    base.mkdir()
    bench = SinkBench(base)
    row = bench.approve({"title": "Pay the rent"})
    problem = bench.synchronize(TextFile(path, FILES[kind][0]())).problem
    assert "hub device sync --agree there" in problem
    assert bench.state(row) == "waiting unconfirmed"
    with bench.open() as db:
        assert answers.agree(db, "there") == 1
    bench.approve({"title": "Call Ana"})
    assert bench.synchronize(TextFile(path, FILES[kind][0]())).written == 2
    assert path.read_text().startswith(TEXTS["settings"])


def test_place_of_an_older_release_gets_further_rows_without_a_question(
    bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "place"
    target = TextFile(path, Markdown())
    bench.approve({"title": "Pay the rent"})
    assert bench.synchronize(target).written == 1
    path.write_text(TEXTS["settings"] + path.read_text())
    with bench.open() as db:
        db.execute("DELETE FROM sink_answers")
    bench.approve({"title": "Call Ana"})
    assert (bench.synchronize(target).written, bench.synchronize(target).problem) == (1, "")


def test_wrong_file_of_a_new_day_stops_no_rows_of_other_days(bench: SinkBench, tmp_path: Path) -> None:
    target = TextFile(tmp_path / "{date}.md", Markdown())
    row = bench.approve({"title": "Pay the rent"})
    assert bench.synchronize(target).written == 1
    first = Path(target.fresh_place(bench.clock.now()))
    bench.clock.advance(86_400)
    second = Path(target.fresh_place(bench.clock.now()))
    second.write_text(TEXTS["ics"])
    bench.approve({"title": "Call Ana"})
    bench.change(row, {"title": "Pay Bo"})
    synced = bench.synchronize(target)
    assert "it is a calendar file" in synced.problem and synced.written == 1
    assert "Pay Bo" in first.read_text() and second.read_bytes() == TEXTS["ics"].encode()


# --- CalDAV ---

CALENDAR = "<d:resourcetype><d:collection/><c:calendar/></d:resourcetype>"
READ = "<d:privilege><d:read/></d:privilege>"
SUBSCRIBED = '<d:collection/><s:subscribed xmlns:s="http://calendarserver.org/ns/"/>'
INBOX = "<d:collection/><c:schedule-inbox/>"


class Server:
    """Radicale behind a proxy, with a user who has a calendar of to-dos and one of events."""

    def __init__(self, radicale: Radicale, proxy: Proxy, port: int) -> None:
        self.radicale, self.proxy, self.port = radicale, proxy, port
        self.user, self.other = radicale.fresh_user(), radicale.fresh_user()
        self.make(self.user, "todo", "VTODO")
        self.make(self.user, "dates", "VEVENT")
        self.make(self.other, "todo", "VTODO")
        radicale.put(self.user, "todo", "one", "SUMMARY:of others")
        cards = (
            '<d:mkcol xmlns:d="DAV:" xmlns:a="urn:ietf:params:xml:ns:carddav"><d:set><d:prop>'
            "<d:resourcetype><d:collection/><a:addressbook/></d:resourcetype></d:prop></d:set></d:mkcol>"
        )
        radicale.ask(self.user, "MKCOL", f"/{self.user}/cards/", cards)

    def make(self, user: str, name: str, component: str) -> None:
        body = (
            '<c:mkcalendar xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:set><d:prop>'
            f'<c:supported-calendar-component-set><c:comp name="{component}"/>'
            "</c:supported-calendar-component-set></d:prop></d:set></c:mkcalendar>"
        )
        self.radicale.ask(user, "MKCALENDAR", f"/{user}/{name}/", body)

    def target(self, path: str) -> Target:
        url = f"http://127.0.0.1:{self.port}{path}"
        return CalDavTarget(Web(url, lambda: basic_authorization(self.user, PASSWORD)), url, poll_s=0)

    def objects(self) -> set[str]:
        """Return the names of all collections and objects of rows."""
        root = self.radicale.folder / "collections/collection-root"
        return {str(path) for path in root.rglob("*") if ".Radicale" not in str(path)}

    def answers_as(self, path: str, properties: str) -> None:
        """Let the server say these properties of a path."""
        there = self.proxy._forward

        def forward(asked: Asked) -> Reply:
            if asked.method == "PROPFIND" and asked.path == path and asked.headers["depth"] == "0":
                principal = (
                    f"<d:current-user-principal><d:href>/{self.user}/</d:href></d:current-user-principal>"
                )
                status = f"HTTP/1.1 {'200 OK' if properties else '404 Not Found'}"
                body = (
                    '<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:response>'
                    f"<d:href>{path}</d:href><d:status>{status}</d:status>"
                    f"<d:propstat><d:prop>{properties}{principal}</d:prop></d:propstat>"
                    "</d:response></d:multistatus>"
                )
                return Reply(207, body.encode(), {"content-type": "application/xml"})
            return there(asked)

        self.proxy._forward = forward  # type: ignore[method-assign]


@contextmanager
def serving(radicale: Radicale) -> Iterator[Server]:
    proxy = Proxy(radicale.port)
    with answering(proxy.answer) as port:
        yield Server(radicale, proxy, port)


ADDRESSES: dict[str, tuple[str, str]] = {
    "home": ("/USER/", "is a user's own address (principal), no calendar"),
    "root": ("/", "is a folder of calendars, no calendar"),
    "address book": ("/USER/cards/", "is an address book, no calendar"),
    "events alone": ("/USER/dates/", "has VEVENT alone, no VTODO"),
    "missing": ("/USER/none/", "is no calendar that this user can see"),
    "object": ("/USER/todo/one.ics", "no calendar"),
    "of another user": ("/OTHER/todo/", "is no calendar that this user can see"),
    "well-known": ("/.well-known/caldav", "is a folder of calendars, no calendar"),
    "page": ("/.web/", "is no calendar that this user can see"),
    "read-only": ("/USER/shared/", "is read-only for this user"),
    "subscribed": ("/USER/holidays/", "is a subscribed calendar, which another server fills, no calendar"),
    "missing in the list": ("/USER/lost/", "is no calendar that this user can see"),
    "inbox": ("/USER/inbox/", "is an inbox of invitations, no calendar"),
}
SHAPES = {
    "read-only": f"{CALENDAR}<d:current-user-privilege-set>{READ}</d:current-user-privilege-set>",
    "subscribed": f"<d:resourcetype>{SUBSCRIBED}</d:resourcetype>",
    "inbox": f"<d:resourcetype>{INBOX}</d:resourcetype>",
    "missing in the list": "",
}


@each("name", ADDRESSES)
def test_address_of_no_calendar_for_rows_is_refused_with_the_right_address(
    name: str, radicale: Radicale, tmp_path: Path
) -> None:
    with serving(radicale) as server:
        (tmp_path / name).mkdir()
        bench = SinkBench(tmp_path / name)
        path, words = ADDRESSES[name]
        path = path.replace("USER", server.user).replace("OTHER", server.other)
        if name in SHAPES:
            server.answers_as(path, SHAPES[name])
        before = server.objects()
        row = bench.approve({"title": "Pay the rent"})
        for _ in range(2):
            problem = bench.synchronize(server.target(path)).problem
            assert words in problem
        assert bench.state(row) == "waiting wrong"
        assert server.objects() == before
        assert not WRITES & {asked.method for asked in server.proxy.asked}
        right = re.findall(rf"http://127\.0\.0\.1:{server.port}(\S+)", problem.partition("; ")[2])
        assert right == [f"/{server.user}/todo/"]
        synced = bench.synchronize(server.target(right[0]))
        assert (synced.problem, synced.written, len(server.objects() - before)) == ("", 1, 1)


def test_calendar_is_asked_once_and_again_when_the_tables_of_the_sink_change(
    bench: SinkBench, radicale: Radicale
) -> None:
    with serving(radicale) as server:
        path = f"/{server.user}/todo/"

        def times() -> int:
            return sum(b"resourcetype" in asked.body for asked in server.proxy.asked)

        row = bench.approve({"title": "Pay the rent"})
        for title in ("Pay the rent", "Pay Bo", "Pay Eve"):
            bench.change(row, {"title": title})
            bench.approve({"title": f"after {title}"})
            assert bench.synchronize(server.target(path)).problem == ""
        assert times() == 1
        bench.approve({"title": "Party"}, "notes")
        bench.change(row, {"title": "Pay Ana"})
        synced = bench.synchronize(server.target(path), "tasks", "notes")
        assert "has VTODO alone, no VJOURNAL" in synced.problem
        assert (synced.written, times()) == (1, 2)  # rows that are there go on


TO_DO, OF_DATES = 'tables = ["tasks"]', 'tables = ["timelines"]'
# Address, and what to write, where no calendar takes to-dos and events.
SOME_TABLES = {
    "to-dos alone": ("/USER/todo/", f"write {TO_DO}"),
    "events alone": ("/USER/dates/", f"write {OF_DATES}"),
    "home": ("/USER/", f"as url: ROOT/USER/dates/ with {OF_DATES} or ROOT/USER/todo/ with {TO_DO}"),
}


@each("name", SOME_TABLES)
def test_calendar_accepting_only_some_tables_is_refused_with_their_names(
    name: str, radicale: Radicale, bench: SinkBench
) -> None:
    with serving(radicale) as server:
        path, hint = (words.replace("USER", server.user) for words in SOME_TABLES[name])
        bench.approve({"title": "Pay the rent"})
        problem = bench.synchronize(server.target(path), "tasks", "timelines").problem
        named = re.sub(r" \('.*?'\)", "", problem.partition("; ")[2])
        assert named.endswith(hint.replace("ROOT", f"http://127.0.0.1:{server.port}"))
        assert not bench.synchronize(server.target(f"/{server.user}/todo/"), "tasks").problem


def test_home_at_another_host_is_named_and_gets_no_password(bench: SinkBench, radicale: Radicale) -> None:
    with serving(radicale) as server:
        home = "http://127.0.0.1:9/123/calendars/"
        principal = "<d:resourcetype><d:principal/></d:resourcetype><c:calendar-home-set><d:href>"
        server.answers_as("/123/", f"{principal}{home}</d:href></c:calendar-home-set>")
        bench.approve({"title": "Pay the rent"})
        problem = bench.synchronize(server.target("/123/")).problem
        assert home in problem and f"/{server.user}/todo/" in problem


@each("name", ("current-user-principal", "c:calendar-home-set", "c:supported-calendar-component-set"))
def test_answer_with_countless_addresses_or_names_costs_few_requests_and_words(
    name: str, bench: SinkBench
) -> None:
    element = name if name.startswith("c:") else f"d:{name}"
    values = "".join(f'<d:href>/{at}/</d:href><c:comp name="{at}{"X" * 400}"/>' for at in range(1_000))
    paths: list[str] = []

    def answer(asked: Asked) -> Reply:
        paths.append(asked.path)
        kind = CALENDAR if "component" in name else "<d:resourcetype><d:collection/></d:resourcetype>"
        body = (
            '<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:response>'
            f"<d:href>{asked.path}</d:href><d:propstat><d:prop>{kind}<{element}>{values}</{element}></d:prop>"
            "</d:propstat></d:response></d:multistatus>"
        )
        return Reply(207, body.encode())

    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/tasks/"
        bench.approve({"title": "Pay the rent"})
        problem = bench.synchronize(CalDavTarget(Web(url, lambda: "Basic x"), url)).problem
    assert "no calendar" in problem or "no VTODO" in problem
    assert len(paths) < 50 and len(problem) < 2_000


# --- REST ---

ITEM = {"id": "1", "content": "of others", "description": ""}
PAGES: dict[str, tuple[Reply, str]] = {
    "page": (Reply(200, b"<!doctype html><title>Sign in</title>"), "no object of JSON"),
    "login": (Reply(302, headers={"location": "/login"}), "no object of JSON"),
    "other host": (Reply(302, headers={"location": "http://127.0.0.1:9/"}), "points to 127.0.0.1:9"),
    "missing": (Reply(404), "refuses it (404)"),
    "method": (Reply(405), "answers with status 405"),
    "array": (Reply(200, json.dumps([ITEM]).encode()), "no object of JSON"),
    "no list": (Reply(200, b'{"results": {}}'), "no list at results"),
    "error in JSON": (Reply(200, b'{"error": "unknown version"}'), "no list at results"),
    "other list": (
        Reply(200, b'{"results": [{"id": "1", "name": "Home"}]}'),
        "lists something else: an item has no content",
    ),
    "without id": (Reply(200, b'{"results": [{"content": "x"}]}'), "an item has no id"),
    "texts": (Reply(200, b'{"results": ["x"]}'), "an item has no id"),
    "empty": (Reply(204), "no object of JSON"),
    "XML": (Reply(200, b"<?xml version='1.0'?><feed/>"), "no object of JSON"),
    "password": (Reply(401), "refuses the user or the password"),
    "forbidden": (Reply(403), "does not allow it (403)"),
}


@each("name", PAGES)
def test_address_without_a_task_list_is_refused_before_the_first_row(name: str, tmp_path: Path) -> None:
    reply, words = PAGES[name]
    asked: list[Asked] = []

    def answer(request: Asked) -> Reply:
        asked.append(request)
        return Reply(200, b"<form>") if request.path == "/login" else reply

    (tmp_path / name).mkdir()
    bench = SinkBench(tmp_path / name)
    row = bench.approve({"title": "Pay the rent"})
    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/api/v1"
        for _ in range(2):
            target = Rest(Web(url, lambda: f"Bearer {TOKEN}"), manifest_at(url), poll_s=0)
            assert words in bench.synchronize(target).problem
    assert {request.method for request in asked} == {"GET"}
    assert bench.state(row).startswith("waiting ")


def test_wrong_places_of_each_kind_are_eight_at_least() -> None:
    assert min(len(ADDRESSES), len(PAGES)) >= 8


@pytest.mark.parametrize("text", [TEXTS["cards"], TEXTS["html"], TEXTS["settings"]])
def test_own_rows_of_markdown_hide_no_other_format(text: str) -> None:
    assert other_format(text + "- [ ] Pay ^hub-aaaaaaaaaaaaaaaa\n", "markdown")
