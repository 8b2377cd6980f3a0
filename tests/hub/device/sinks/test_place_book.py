"""Places in device.toml: test, addition, change and removal, and how far a hub reaches."""

import os
import socket
import ssl
import sys
from collections.abc import Collection, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.base.clock import IdFactory
from hub.base.outbound.rules import kind_of
from hub.device.device_file import open_device_store
from hub.device.owner import approve
from hub.device.settings import CalDavSink, check_device_file
from hub.device.sinks import web
from hub.device.sinks.configured import sinks_of
from hub.device.sinks.place_book import PlaceBook, orders_of_hubs
from hub.device.sinks.states import forget_others
from hub.device.sinks.sync import synchronize
from protocol.items import ItemSource
from protocol.places import PlaceOrder, PlacesAnswer
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.servers import Asked, Proxy, Reply, answering
from tests.hub.device.sinks.test_wrong_places import CALENDAR, serving
from tests.support.certificates import write_certificate
from tests.support.clock import SeededChance
from tests.support.families import each
from tests.support.radicale import PASSWORD, Radicale

SETTINGS = """\
# mine
hub = ["ws://127.0.0.1:1"]
roots = ["~/notes"]  # shared

[when]
# quiet nights
"""


class Desk:
    """Device with two approved rows, and its places as a person or a hub sees them."""

    is_late = False
    readable: Collection[str] = ("tasks", "timelines")

    def __init__(self, home: Path) -> None:
        for folder in ("notes", "vault/.obsidian", ".hidden", "config", "state/devices", "Documents"):
            (home / folder).mkdir(parents=True)
        self.home, self.config = home, home / "config/device.toml"
        self.config.write_text(SETTINGS)
        self.bench = SinkBench(home / "state/devices")
        self.bench.approve({"title": "Call Ana"})
        self.bench.approve({"title": "Fair", "date": self.bench.at_ms}, "timelines")

    def ask(self, do: str, *, is_hub: bool = True, **order: Any) -> PlacesAnswer:
        order |= order.pop("fields", {})
        by = "the hub" if is_hub else ""
        book = PlaceBook(
            *(self.config, self.bench.path, self.bench.clock.now, by, lambda: self.is_late, self.readable)
        )
        return book.answer(msgspec.convert({"do": do, **order}, PlaceOrder))

    def save(self, name: str = "", *, is_hub: bool = True, **fields: object) -> PlacesAnswer:
        version = self.ask("list").version
        return self.ask("save", is_hub=is_hub, name=name, fields=fields, version=version)

    def tested(self, place: str, kind: str = "markdown") -> str:
        """Return why a hub may not use a file; empty if it may."""
        return self.ask("test", fields={"kind": kind, "place": place}).problem

    def sync(self) -> list[str]:
        settings = check_device_file(self.config).usable()
        with self.bench.open() as db:
            sinks = sinks_of(self.config, self.bench.path, settings)
            return [synchronize(db, sink, self.bench.clock.now()).problem for sink in sinks]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path / "ana"))
    return Desk(tmp_path / "ana")


def test_number_of_items_for_a_place_leaves_out_lines_of_the_file_there(desk: Desk) -> None:
    clock, source = desk.bench.clock, ItemSource(path="notes/todo.txt", quote="Pay", start=0, end=3)
    (desk.home / "notes/todo.txt").write_text("Pay\n")
    data = {"title": "Pay", **SUGGESTED}
    call = ToolCall(id="c1", action=Action.INSERT, table="tasks", data=data, source=source)
    with open_device_store(desk.bench.path, clock=clock, ids=IdFactory(clock, SeededChance(1))) as store:
        store.name_roots([str(desk.home / "notes")])
        store.apply([call])
    approve(desk.bench.path, [1], at_ms=desk.bench.at_ms)
    for place, rows in (("~/notes/todo.txt", 1), ("~/todo.txt", 2)):
        assert desk.ask("test", fields={"kind": "todo.txt", "place": place}).rows == rows


def test_added_place_stands_in_the_settings_with_comments_kept(desk: Desk) -> None:
    answer = desk.save(kind="todo.txt", place="~/todo.txt")
    assert (answer.problem, answer.rows, [place.name for place in answer.places]) == ("", 1, ["todo"])
    text = desk.config.read_text()
    assert text.startswith(SETTINGS)
    assert '[[sinks]] # as the hub asked on 2026-01-05\nname = "todo"' in text
    assert not (desk.home / "todo.txt").exists(), "a test leaves no file"
    assert desk.sync() == [""]
    assert (desk.home / "todo.txt").read_text().startswith("Call Ana id:hub-")
    (place,) = desk.ask("list").places
    assert (place.place, place.rows, place.waiting, place.problem) == ("~/todo.txt", 1, 0, "")
    assert place.written_ms is not None

    assert desk.save(kind="markdown", place="~/notes/todo.md").places[1].name == "todo-2"
    changed = desk.save("todo", kind="ics", place="~/all.ics")
    assert [(place.kind, place.tables) for place in changed.places] == [
        ("ics", ["tasks", "timelines"]),
        ("markdown", ["tasks"]),
    ]
    for name in ("todo", "todo-2"):
        version = desk.ask("list").version
        assert desk.ask("remove", name=name, version=version).problem == ""
    assert desk.config.read_text() == SETTINGS
    assert desk.ask("remove", name="todo", version=desk.ask("list").version).about == "name"


def test_order_about_settings_that_changed_or_have_errors_is_refused(desk: Desk) -> None:
    version = desk.ask("list").version
    desk.config.write_text(f"{SETTINGS}# typed meanwhile\n")
    before = desk.config.read_bytes()
    fields = {"kind": "todo.txt", "place": "~/todo.txt"}
    assert "changed meanwhile" in desk.ask("save", fields=fields, version=version).problem
    assert desk.config.read_bytes() == before
    desk.config.write_text("roots = 3\n")
    assert "roots" in desk.ask("save", fields=fields, version=version).problem
    assert desk.config.read_text() == "roots = 3\n"


@pytest.mark.parametrize(
    ("fields", "about", "problem"),
    [
        ({"kind": "todo.txt", "place": "~/none/todo.txt"}, "place", "there is no folder"),
        ({"kind": "caldav", "place": "http://example.org/a/", "user": "a"}, "place", "write https://"),
        ({"kind": "caldav", "place": "https://example.org/a/", "user": "a:b"}, "user", ""),
        ({"kind": "caldav", "place": "https://example.org/a/"}, "user", ""),
        ({"kind": "caldav", "place": "nowhere", "user": "a"}, "place", "write https://"),
    ],
)
def test_problem_of_a_place_names_the_field(
    desk: Desk, fields: Mapping[str, Any], about: str, problem: str
) -> None:
    answer = desk.save(**fields, password="secret" if fields["kind"] == "caldav" else "")
    assert (answer.about, problem in answer.problem) == (about, True), answer
    assert "secret" not in f"{answer}"
    assert desk.config.read_text() == SETTINGS


REACHED = [
    ("~/todo.md", "markdown"),
    ("~/notes/deep/todo.md", "markdown"),
    ("~/vault/daily/{date}.md", "markdown"),
    ("~/Documents/Work-TODO.TXT", "todo.txt"),
    ("~/all.ics", "ics"),
    ("~/config/todo.md", "markdown"),
]
ATTACKS = [
    ("~/.bashrc", "markdown", "end with"),
    ("~/todo.sh", "todo.txt", "end with"),
    ("~/notes/todo.md", "todo.txt", "end with"),
    ("~/requirements.txt", "todo.txt", "todo in"),
    ("~/notes/CLAUDE.md", "markdown", "assistants"),
    ("~/notes/agents.md", "markdown", "assistants"),
    *(
        (f"~/notes/{name}", "markdown", "assistants")
        for name in (
            *("CLAUDE.local.md", "AGENTS.override.md", "SOUL.md", "HEARTBEAT.md", "USER.md", "TOOLS.md"),
            *("IDENTITY.md", "BOOTSTRAP.md", "x.instructions.md", "x.prompt.md", "CLAUDE .md"),
            "\uff23\uff2c\uff21\uff35\uff24\uff25.md",
        )
    ),
    ("http://127.0.0.1:9/a/", "caldav", "write https://"),
    ("http://localhost/a/", "caldav", "write https://"),
    ("~/list.csv", "csv", "at the device"),
    ("~/.hidden/todo.md", "markdown", "hidden"),
    ("~/notes/.todo.md", "markdown", "hidden"),
    ("~/vault/.obsidian/todo.md", "markdown", "hidden"),
    ("~/notes/../.hidden/todo.md", "markdown", "whole path"),
    ("notes/todo.md", "markdown", "whole path"),
    ("~bo/todo.md", "markdown", "whole path"),
    ("/etc/todo.md", "markdown", "no shared folder"),
    ("~/../bo/todo.md", "markdown", "whole path"),
    ("~/notes/to\ndo.md", "markdown", "whole path"),
    ("~/notes/todo.md\0.md", "markdown", "whole path"),
    ("~/state/devices/todo.md", "markdown", "own data"),
    ("~/notes/linked/todo.md", "markdown", "link"),
    ("~/notes/out.md", "markdown", "link"),
    ("~/notes/dangling.md", "markdown", "link"),
    ("~/notes/twice.md", "markdown", "2 names"),
    ("~/notes/page.md", "markdown", "HTML"),
    ("~/notes/script.md", "markdown", "a program"),
    ("~/notes/todo-protected.txt", "todo.txt", "write-protected"),
    ("~/notes/pipe.md", "markdown", "pipe"),
    ("~/notes/folder.md", "markdown", "folder"),
]


@pytest.mark.parametrize(("place", "kind"), REACHED)
def test_hub_reaches_a_list_in_shared_and_home_folders(desk: Desk, place: str, kind: str) -> None:
    for folder in ("notes/deep", "vault/daily"):
        (desk.home / folder).mkdir()
    assert desk.tested(place, kind) == ""
    assert desk.save(kind=kind, place=place).problem == ""
    assert desk.sync() == [""]


@pytest.mark.parametrize(("place", "kind", "why"), ATTACKS)
def test_hub_reaches_no_other_file(desk: Desk, place: str, kind: str, why: str) -> None:
    notes, outside = desk.home / "notes", desk.home.parent / "outside"
    outside.mkdir()
    (outside / "todo.md").write_text("- [ ] of others\n")
    (notes / "linked").symlink_to(outside)
    (notes / "out.md").symlink_to(outside / "todo.md")
    (notes / "dangling.md").symlink_to(outside / "new.md")
    os.link(outside / "todo.md", notes / "twice.md")
    (notes / "page.md").write_text("<html><body>x</body></html>\n")
    (notes / "script.md").write_text("#!/bin/sh\n")
    (notes / "todo-protected.txt").write_text("Pay\n")
    (notes / "todo-protected.txt").chmod(0o444)
    os.mkfifo(notes / "pipe.md")
    (notes / "folder.md").mkdir()
    before = sorted((path, path.lstat().st_mtime_ns) for path in desk.home.parent.rglob("*"))
    assert why in desk.tested(place, kind) != ""
    answer = desk.save(kind=kind, place=place)
    assert (answer.problem != "", answer.about) in [(True, "place"), (True, "kind")]
    after = sorted((path, path.lstat().st_mtime_ns) for path in desk.home.parent.rglob("*"))
    changed = {path.name for path, _ in set(after) ^ set(before)}
    assert changed <= {"notes", "desk.db-wal", "desk.db-shm", "devices"}, "a folder only, by the trial"
    assert desk.config.read_text() == SETTINGS


def test_hub_reaches_a_list_in_a_shared_folder_below_the_settings(desk: Desk) -> None:
    desk.config = desk.config.rename(desk.home / "device.toml")
    assert desk.tested("~/notes/todo.md") == ""
    secret = desk.home / "notes/secret.md"
    secret.touch(0o600)
    account = f'url = "https://example.org/a/"\nuser = "a"\npassword_file = "{secret}"\n'
    desk.config.write_text(f'{SETTINGS}[[sinks]]\nname = "a"\nkind = "caldav"\n{account}')
    assert "own data" in desk.tested("~/notes/secret.md")


def test_owner_names_any_file_at_the_machine(desk: Desk) -> None:
    fields = {"kind": "csv", "place": str(desk.home / ".hidden/list.csv")}
    answer = desk.ask("save", is_hub=False, fields=fields, version=desk.ask("list").version)
    assert (answer.problem, answer.places[0].name) == ("", "list")
    assert "as the hub" not in desk.config.read_text()


def test_candidates_are_vaults_and_lists_in_shared_folders_without_a_place(desk: Desk) -> None:
    desk.config.write_text(SETTINGS.replace('"~/notes"', '"~/notes", "~/vault"'))
    (desk.home / "notes/todo.txt").write_text("Pay\n")
    found = [(file.kind, file.place) for file in desk.ask("list").candidates]
    assert found == [("markdown", "~/vault/Todo.md"), ("todo.txt", "~/notes/todo.txt")]
    desk.save(kind="markdown", place="~/vault/Todo.md")
    assert [file.place for file in desk.ask("list").candidates] == ["~/notes/todo.txt"]


def test_calendar_is_chosen_among_those_of_the_user_and_its_password_stays_here(
    desk: Desk, radicale: Radicale
) -> None:
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo", "Mine")
    fields: dict[str, Any] = {"kind": "caldav", "place": f"{radicale.url}/", "user": user}
    typed = partial(desk.save, is_hub=False)  # a hub reaches no server without https, unless it is a place
    wrong = typed(**fields, password="wrong")
    assert (wrong.about, wrong.calendars) == ("password", [])
    found = typed(**fields, password=PASSWORD)
    assert (found.about, [(one.url, one.name) for one in found.calendars]) == ("place", [(address, "Mine")])
    assert not list(desk.config.parent.glob("*.password"))

    fields["place"] = address
    assert typed(**fields).about == "password"
    saved = typed(**fields, password=PASSWORD)
    assert (saved.problem, saved.rows, saved.places[0].user) == ("", 2, user)
    (file,) = desk.config.parent.glob("*.password")
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o600, PASSWORD)
    assert PASSWORD not in f"{saved}" + desk.config.read_text()
    assert desk.sync() == [""]
    assert desk.ask("test", name="todo").problem == ""

    assert desk.save("todo", **fields).problem == "", "the password of the same account stays"
    for change in ({"place": "http://127.0.0.1:9/a/"}, {"user": "other"}):
        assert typed("todo", **{**fields, **change}).about == "password"
    desk.save("todo", **fields, password=PASSWORD)
    (renewed,) = desk.config.parent.glob("*.password")
    assert renewed != file
    (sink,) = check_device_file(desk.config).usable().sinks
    assert isinstance(sink, CalDavSink)
    assert sink.password_file == renewed
    assert desk.save("todo", kind="ics", place="~/all.ics").problem == ""
    assert not list(desk.config.parent.glob("*.password"))


def test_settings_that_are_a_link_stay_a_link_beside_the_passwords(desk: Desk, radicale: Radicale) -> None:
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo")
    (desk.home / "dotfiles").mkdir()
    desk.config.rename(desk.home / "dotfiles/device.toml")
    desk.config.symlink_to(desk.home / "dotfiles/device.toml")
    added = desk.save(is_hub=False, kind="caldav", place=address, user=user, password=PASSWORD)
    assert added.problem == ""
    assert desk.config.is_symlink()
    assert [path.name for path in (desk.home / "dotfiles").iterdir()] == ["device.toml"]
    assert desk.sync() == [""]


def test_test_that_takes_too_long_ends_and_saves_nothing(desk: Desk, radicale: Radicale) -> None:
    user = radicale.fresh_user()
    fields = {"kind": "caldav", "place": radicale.make_calendar(user, "todo"), "user": user}
    desk.is_late = True
    for do in ("test", "save"):
        version = desk.ask("list").version
        answer = desk.ask(do, is_hub=False, fields=fields | {"password": PASSWORD}, version=version)
        assert "too slowly" in answer.problem
    assert "too long" in desk.save(kind="todo.txt", place="~/todo.txt").problem
    assert (desk.config.read_text(), list(desk.config.parent.glob("*.password"))) == (SETTINGS, [])


# What a calendar accepts, and the tables whose rows go there.
ACCEPTED: dict[str, tuple[str, list[str]]] = {
    "reminders": ('<c:comp name="VTODO"/>', ["tasks"]),
    "dates": ('<c:comp name="VEVENT"/>', ["timelines"]),
    "both": ('<c:comp name="VEVENT"/><c:comp name="VTODO"/>', ["tasks", "timelines"]),
    "small letters": ('<c:comp name="vtodo"/>', ["tasks"]),
    "without a name": ("<c:comp/>", ["tasks", "timelines"]),
    "an empty list": ("", ["tasks", "timelines"]),
    "journals": ('<c:comp name="VJOURNAL"/>', []),
}


@each("name", ACCEPTED)
def test_calendar_takes_the_tables_that_its_server_accepts(
    name: str, tmp_path: Path, radicale: Radicale
) -> None:
    accepted, tables = ACCEPTED[name]
    desk = Desk(tmp_path / name)
    with serving(radicale) as server:
        path = f"/{server.user}/both/"
        radicale.make_calendar(server.user, "both")
        listed = f"<c:supported-calendar-component-set>{accepted}</c:supported-calendar-component-set>"
        server.answers_as(path, f"{CALENDAR}{listed}")
        fields = {"kind": "caldav", "place": f"http://127.0.0.1:{server.port}{path}", "user": server.user}
        saved = desk.save(is_hub=False, **fields, password=PASSWORD)
        if not tables:
            assert "has VJOURNAL alone, no VEVENT or VTODO" in saved.problem
            assert "tables" not in saved.problem
            return
        left_out = [name for name in ("tasks", "timelines") if name not in tables]
        assert (saved.problem, saved.tables, saved.left_out) == ("", tables, left_out)
        assert (saved.places[0].tables, saved.rows) == (tables, len(tables))
        assert ("tables =" in desk.config.read_text()) is bool(left_out)
        assert desk.sync() == [""]
        (place,) = desk.ask("list").places
        assert (place.rows, place.waiting) == (len(tables), 0)
        other = radicale.make_calendar(server.user, "other").replace(str(radicale.port), str(server.port))
        moved = desk.save("both", is_hub=False, **fields | {"place": other})
        assert (moved.tables, moved.left_out) == (["tasks", "timelines"], []), (
            "another calendar, other tables"
        )


# What a person pastes, and whether the user's calendars are offered for it.
PASTED = {
    "server": "/",
    "principal": "/USER/",
    "well-known": "/.well-known/caldav",
    "page of Nextcloud": "/cloud/index.php/apps/calendar/dayGridMonth/now",
    "address of DAV of Nextcloud": "/cloud/remote.php/dav",
    "page of the server": "/.web/",
    "missing calendar": "/USER/none/",
    "address book": "/USER/cards/",
}


@each("name", PASTED)
def test_pasted_address_of_a_server_leads_to_the_calendars_of_the_user(
    name: str, tmp_path: Path, radicale: Radicale
) -> None:
    desk = Desk(tmp_path / name)
    with serving(radicale) as server:
        root = f"http://127.0.0.1:{server.port}"
        if "Nextcloud" in name:
            server.answers_as("/", "")
            server.answers_as("/cloud/remote.php/dav/", "<d:resourcetype><d:collection/></d:resourcetype>")
        fields = {"kind": "caldav", "user": server.user, "password": PASSWORD}
        found = desk.ask(
            "test", is_hub=False, place=root + PASTED[name].replace("USER", server.user), **fields
        )
        assert found.about == "place"
        assert "tables" not in found.problem
        assert sorted((calendar.url, *calendar.tables) for calendar in found.calendars) == [
            (f"{root}/{server.user}/dates/", "timelines"),
            (f"{root}/{server.user}/todo/", "tasks"),
        ]
        for calendar in found.calendars:
            assert desk.save(is_hub=False, place=calendar.url, **fields).tables == calendar.tables
        assert desk.sync() == ["", ""]
        assert [(place.rows, place.waiting) for place in desk.ask("list").places] == [(1, 0), (1, 0)]


# Address of a page, and the server that is offered instead: none of both is asked.
PAGES = {
    "https://www.icloud.com/calendar/": ["https://caldav.icloud.com/"],
    "https://app.fastmail.com/calendar/month": ["https://caldav.fastmail.com/"],
    "https://calendar.google.com/calendar/u/0/r": [],
    "https://apidata.googleusercontent.com/caldav/v2/a/events": [],
}


@each("url", PAGES)
def test_page_of_a_known_provider_names_its_server_before_a_password_is_sent(url: str, desk: Desk) -> None:
    answer = desk.ask("test", kind="caldav", place=url, user="ana", password="x")
    assert [calendar.url for calendar in answer.calendars] == PAGES[url]
    assert ("takes no password" in answer.problem) is ("google" in url)


def test_server_that_points_elsewhere_is_a_choice_and_the_other_gets_no_password(
    desk: Desk, radicale: Radicale
) -> None:
    user = radicale.fresh_user()
    address = radicale.make_calendar(user, "todo")
    asked: list[Asked] = []

    def answer(request: Asked) -> Reply:
        asked.append(request)
        return Reply(301, headers={"location": f"{radicale.url}/"})

    with answering(answer) as port:
        fields = {"kind": "caldav", "user": user, "password": PASSWORD}
        found = desk.ask("test", is_hub=False, place=f"http://127.0.0.1:{port}", **fields)
        assert (found.about, [calendar.url for calendar in found.calendars]) == (
            "place",
            [f"{radicale.url}/"],
        )
        chosen = desk.ask("test", is_hub=False, place=found.calendars[0].url, **fields)
        assert [calendar.url for calendar in chosen.calendars] == [address]


# Address that a hub names, why it is refused, and the place in the command that adds it at the device.
NOT_PUBLIC = {
    "127.0.0.1:9/ana": ("write https://", "http://127.0.0.1:9/ana"),
    "http://10.0.0.1/ana/": ("write https://", "http://10.0.0.1/ana/"),
    "https://127.0.0.1:9/ana": ("is this machine", "https://127.0.0.1:9/ana"),
    "https://localhost:9/": ("is this machine", "https://localhost:9/"),
    "https://[::ffff:127.0.0.1]:9/": ("is this machine", "'https://[::ffff:127.0.0.1]:9/'"),
    "192.168.7.1/$(id)": ("is in a private network", "'https://192.168.7.1/$(id)'"),
    "https://169.254.169.254/latest/": ("metadata service", "https://169.254.169.254/latest/"),
}


@each("place", NOT_PUBLIC)
def test_hub_reaches_no_server_that_is_not_public_unless_the_device_has_a_place_there(
    place: str, desk: Desk
) -> None:
    why, named = NOT_PUBLIC[place]
    fields: dict[str, Any] = {"kind": "caldav", "place": place, "user": "ana", "password": "x"}
    for do in ("test", "save"):
        answer = desk.ask(do, version=desk.ask("list").version, **fields)
        assert why in answer.problem
        assert answer.problem.endswith(f"name it at the device: hub places add calendar {named}")
    assert desk.config.read_text() == SETTINGS


# Addresses that a name has, one look-up after the other; the name in the certificate; the problem of a test.
HERE, AWAY = "127.0.0.1", "127.0.0.2"  # only the first one counts as public below
REBOUND: dict[str, tuple[list[list[str]], str, str]] = {
    "another address later": ([[HERE], [HERE], [AWAY]], "cloud.example", ""),
    "an address of this machine at the second look-up": (
        [[HERE], [AWAY]],
        "cloud.example",
        "is this machine",
    ),
    "an address of this machine beside a public one": (
        [[HERE], [HERE, AWAY]],
        "cloud.example",
        "is this machine",
    ),
    "an address without an answer first": ([[HERE], ["::1", HERE]], "cloud.example", ""),
    "the certificate of another name": ([[HERE], [HERE]], "other.example", "certificate"),
    "no address": ([[HERE], []], "cloud.example", "cannot be reached"),
}


@each("name", REBOUND)
def test_server_named_by_a_hub_is_called_at_public_addresses_alone(
    name: str, tmp_path: Path, radicale: Radicale, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, certified, why = REBOUND[name]
    desk, look_up = Desk(tmp_path / name), socket.getaddrinfo
    answers: list[list[str]] = []

    def addresses(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != "cloud.example":
            return look_up(host, port, *args, **options)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(*entry[:4], (address, port)) for address in answer for entry in look_up(address, port)[:1]]

    def kind(address: Any) -> str | None:
        return None if str(address) in (HERE, "::1") else kind_of(address)

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setattr(web, "kind_of", kind)
    files = write_certificate(tmp_path, certified)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    proxy, user = Proxy(radicale.port), radicale.fresh_user()
    radicale.make_calendar(user, "todo")
    with answering(proxy.answer, tls) as port:
        place = f"https://cloud.example:{port}/{user}/todo/"
        fields: dict[str, Any] = {"kind": "caldav", "place": place, "user": user, "password": PASSWORD}
        answers[:] = found
        problem = desk.ask("test", **fields).problem
        assert (problem == "", why in problem) == (why == "", True)
        assert {asked.headers["host"] for asked in proxy.asked} <= {f"cloud.example:{port}"}
        assert bool(proxy.asked) is (why == "")
        answers[:] = [[HERE]]
        monkeypatch.setenv("SSL_CERT_FILE", str((files := write_certificate(tmp_path, "cloud.example"))[0]))
        tls.load_cert_chain(*files)
        assert desk.save(**fields).problem == ""
        assert desk.config.read_text().count("public = true") == 1
        proxy.asked.clear()
        answers[:] = [[AWAY]]
        (problem,) = desk.sync()
        assert problem.endswith(f"name it at the device: hub places add calendar {place}")
        assert "is this machine" in desk.ask("test", **fields).problem, "a place of a hub names no server"
        assert proxy.asked == []
        answers[:] = [[HERE]]
        monkeypatch.setattr(web, "kind_of", kind_of)
        assert "is this machine" in desk.sync()[0]
        assert "is this machine" in desk.ask("list").places[0].problem
        saved = desk.save(is_hub=False, **fields)  # as the problem says
        assert (saved.problem, saved.places[0].problem) == ("", ""), (
            "a place that was changed has no old problem"
        )
        assert "public" not in desk.config.read_text()
        assert desk.sync() == [""]
        assert desk.save("todo", **fields).problem == "", "a server that the owner named"
        assert "public" not in desk.config.read_text()


def test_owner_tests_a_server_of_this_machine_and_no_next_attempt_is_promised(desk: Desk) -> None:
    fields: dict[str, Any] = {"kind": "caldav", "user": "ana", "password": "x"}
    answer = desk.ask("test", is_hub=False, place="127.0.0.1:9/ana", **fields)
    refused = "127.0.0.1:9: nothing accepts connections there: is it running, and is its address right?"
    assert answer.problem == refused
    account = 'url = "http://127.0.0.1:9/ana"\nuser = "ana"\npassword_env = "NONE"\n'
    desk.config.write_text(f'{SETTINGS}[[sinks]]\nname = "a"\nkind = "caldav"\n{account}')
    assert desk.ask("test", place="127.0.0.1:9/other", **fields).problem == refused


@each("kind", ("markdown", "todo.txt", "ics", "caldav"))
def test_place_that_is_removed_and_added_again_has_each_row_once(
    kind: str, tmp_path: Path, radicale: Radicale
) -> None:
    desk = Desk(tmp_path / kind)
    user, endings = radicale.fresh_user(), {"markdown": "md", "todo.txt": "txt", "ics": "ics"}
    place = desk.home / f"todo.{endings.get(kind)}"
    fields: dict[str, Any] = {"kind": kind, "place": str(place)}
    if kind == "caldav":
        address = radicale.make_calendar(user, "todo")
        fields = {"kind": kind, "place": address, "user": user, "password": PASSWORD}
        place = radicale.folder / f"collections/collection-root/{user}/todo"

    def written() -> Mapping[str, bytes]:
        files = [place] if place.is_file() else place.glob("hub-*.ics")
        return {file.name: file.read_bytes() for file in files}

    for name in ("", "other", ""):  # the second time under another name
        saved = desk.save(is_hub=False, **fields)
        assert saved.problem == ""
        if name:
            settings = desk.config.read_text().replace('name = "todo"', f'name = "{name}"')
            desk.config.write_text(settings)
        assert desk.sync() == [""]
        before = written()
        assert before
        removed = desk.ask("remove", is_hub=False, name=name or "todo")
        assert removed.problem == ""
        with desk.bench.open() as db:
            forget_others(db, [])
        assert desk.sync() == []
        assert written() == before, "what was written stays"
        desk.bench.clock.advance(60)
        desk.bench.approve({"title": f"Later {name}"})
    text = b"".join(written().values()).decode()
    assert text.count("Call Ana") == 1


def test_hub_sends_only_rows_that_it_may_read_to_a_server_of_its_choice(
    desk: Desk, radicale: Radicale
) -> None:
    user = radicale.fresh_user()
    fields: dict[str, Any] = {"kind": "caldav", "place": radicale.make_calendar(user, "todo"), "user": user}
    settings = desk.config.read_text()
    place = f'[[sinks]]\nname = "mine"\nkind = "caldav"\nurl = "{fields["place"]}"\nuser = "other"\n'
    desk.config.write_text(f'{settings}{place}password_env = "NONE"\n')  # a hub may name this address
    before = desk.config.read_bytes()
    for readable in ((), ("tasks",)):
        desk.readable = readable
        refused = desk.save(**fields, password=PASSWORD)
        lacking = "timelines" if readable else "tasks,timelines"
        assert f"hub grants +rows.read={lacking}" in refused.problem
        assert desk.config.read_bytes() == before
    desk.readable = ("tasks", "timelines", "notes")
    assert desk.save(**fields, password=PASSWORD).problem == ""
    assert [place.asked for place in desk.ask("list").places] == ["", "set through the hub on 2026-01-05"]


@pytest.mark.parametrize(
    ("asker", "end"), [("the hub LTA6QVU", ""), ("the hub B", " LTA6QVU"), ("", " LTA6QVU")]
)
def test_place_names_the_key_of_a_hub_to_others_alone(asker: str, end: str) -> None:
    content = b'[[sinks]] # as the hub LTA6QVU asked on 2026-01-05\nname = "mine"\n'
    (asked,) = orders_of_hubs(content, asker).values()
    assert asked == f"set through the hub on 2026-01-05{end and f', whose key begins{end}'}"


# Change of the owner's place by a hub that may not read its table, and whether it is made.
MOVES: dict[str, tuple[dict[str, Any], bool]] = {
    "another calendar of the account": ({"kind": "caldav", "place": "URL/shared/"}, False),
    "a folder that a server publishes": ({"kind": "markdown", "place": "~/public_html/todo.md"}, False),
    "a shared folder": ({"kind": "todo.txt", "place": "~/notes/todo.txt"}, False),
    "another new place": ({"name": "", "kind": "ics", "place": "~/all.ics"}, False),
    "a new password": (
        {"kind": "caldav", "place": "URL/todo/", "password": PASSWORD},
        True,
    ),
    "the same calendar": ({"kind": "caldav", "place": "URL/todo/"}, True),
}


@each("name", MOVES)
def test_hub_sends_by_a_change_only_rows_that_it_may_read_and_tables_of_the_owner_stay(
    name: str, tmp_path: Path, radicale: Radicale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / name))
    desk, user, (move, is_made) = Desk(tmp_path / name), radicale.fresh_user(), MOVES[name]
    (desk.home / "public_html").mkdir()
    url = radicale.make_calendar(user, "todo").removesuffix("/todo/")
    radicale.make_calendar(user, "shared")
    owned = {"kind": "caldav", "place": f"{url}/todo/", "user": user, "password": PASSWORD}
    assert desk.save("mine", is_hub=False, **owned).problem == ""
    desk.config.write_text(f'{desk.config.read_text()}tables = ["tasks"]\n')
    before, desk.readable = desk.config.read_bytes(), ()
    fields = {"name": "mine", "user": user, **move, "place": move["place"].replace("URL", url)}
    refused = desk.save(**fields)
    assert ("hub grants +rows.read=tasks" in refused.problem) is not is_made
    assert (desk.config.read_bytes() != before) is is_made
    desk.readable = ("tasks", "timelines")
    answer, is_new = desk.save(**fields), move.get("name") == ""
    assert (answer.problem, answer.tables) == ("", ["tasks", "timelines"] if is_new else ["tasks"])


def test_server_offers_no_calendar_of_another_host_by_a_friendly_name(desk: Desk) -> None:
    def listed(*resources: tuple[str, str]) -> Reply:
        found = "".join(
            f"<d:response><d:href>{href}</d:href><d:propstat><d:prop>{inner}</d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
            for href, inner in resources
        )
        names = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"'
        return Reply(207, f"<d:multistatus {names}>{found}</d:multistatus>".encode())

    def answer(request: Asked) -> Reply:
        if request.path == "/":
            homes = ("/h/", f"http://127.0.0.1:{port}@127.0.0.1:9/p/", "http://127.0.0.1:9/elsewhere/")
            hrefs = "".join(f"<d:href>{home}</d:href>" for home in homes)
            kind = "<d:resourcetype><d:collection/></d:resourcetype>"
            return listed(("/", f"{kind}<c:calendar-home-set>{hrefs}</c:calendar-home-set>"))
        places = (
            "/h/mine/",
            "http://127.0.0.1:9/ana/",
            f"http://127.0.0.1:{port}@127.0.0.1:9/ana/",
            "//b/ana/",
        )
        return listed(*((place, f"{CALENDAR}<d:displayname>My tasks</d:displayname>") for place in places))

    with answering(answer) as port:
        fields = {"kind": "caldav", "user": "ana", "password": "x"}
        found = desk.ask("test", is_hub=False, place=f"http://127.0.0.1:{port}/", **fields)
    assert sorted((one.url, one.name) for one in found.calendars) == [
        (f"http://127.0.0.1:{port}/h/mine/", "My tasks"),
        ("http://127.0.0.1:9/elsewhere/", ""),
    ]


def test_order_that_is_killed_at_any_step_leaves_a_place_whole_and_no_password_behind(
    desk: Desk, radicale: Radicale
) -> None:
    user = radicale.fresh_user()
    fields = {"kind": "caldav", "place": radicale.make_calendar(user, "todo"), "user": user}
    orders: list[dict[str, Any]] = [
        {"do": "save", "fields": fields | {"password": PASSWORD}},
        {"do": "save", "name": "todo", "fields": fields | {"password": PASSWORD}},
        {"do": "remove", "name": "todo"},
    ]
    for order in orders:
        texts, steps = {desk.config.read_text()}, 0
        while True:
            process = get_context("fork").Process(target=killed_at, args=(steps, desk, order))
            process.start()
            process.join()
            texts.add(desk.config.read_text())
            assert check_device_file(desk.config).settings is not None
            assert all(not problem for problem in desk.sync()), "the password that is named is there"
            if process.exitcode == 0:
                break
            assert process.exitcode == KILLED
            steps += 1
            if "[[sinks]]" in desk.config.read_text() and order is orders[0]:
                desk.ask("remove", is_hub=False, name="todo")
        assert steps >= 2
        assert len({text.count("[[sinks]]") for text in texts}) <= 2
    desk.save(is_hub=False, kind="todo.txt", place="~/todo.txt")
    assert not list(desk.config.parent.glob("*.password"))


KILLED = 9


def killed_at(step: int, desk: Desk, order: dict[str, Any]) -> None:
    """Carry out an order in a process that ends at a step: a file that is made, replaced or deleted."""
    left = step

    def count(event: str, values: tuple[Any, ...]) -> None:
        nonlocal left
        is_made = event == "open" and isinstance(values[2], int) and values[2] & os.O_CREAT
        if (is_made and "config" in str(values[0])) or event in ("os.rename", "os.remove"):
            left -= 1
            if left < 0:
                os._exit(KILLED)

    sys.addaudithook(count)
    problem = desk.ask(order.pop("do"), is_hub=False, **order).problem
    os._exit(1 if problem and "no place called" not in problem else 0)


def test_place_changed_to_an_empty_calendar_of_other_tables_gets_their_rows(
    desk: Desk, radicale: Radicale
) -> None:
    with serving(radicale) as server:
        root = f"http://127.0.0.1:{server.port}/{server.user}"
        fields = {"kind": "caldav", "user": server.user, "password": PASSWORD}
        assert desk.save(is_hub=False, place=f"{root}/dates/", **fields).tables == ["timelines"]
        assert desk.sync() == [""]
        assert desk.save("dates", is_hub=False, place=f"{root}/both/", **fields).about == "place"
        server.make(server.user, "list", "VTODO")
        assert desk.save("dates", is_hub=False, place=f"{root}/list/", **fields).tables == ["tasks"]
        assert desk.sync() == [""]
        (place,) = desk.ask("list").places
        assert (place.rows, place.waiting) == (1, 0)
        written = [Path(name) for name in server.objects() if f"/{server.user}/" in name]
        rows = [path.parent.name for path in written if path.name.startswith("hub-")]
        assert sorted({*rows}) == ["dates", "list"], "what was written stays"
