"""Settings file of a device: its problems have places and remedies, and a new one is valid."""

import json
import tomllib
from datetime import time
from pathlib import Path

import jsonschema

from hub.device.settings import NotifySettings, WhenSettings, check_device_file, device_schema, device_text
from hub.device.sinks.task_list_manifest import SHIPPED
from tests.support.families import each

SINK = "[[sinks]]\nname = 'todo'\nkind = 'markdown'\npath = 'todo.md'\n"
DAV = """\
[[sinks]]
name = 'todo'
kind = 'caldav'
url = 'https://dav.example.org/ana/todo/'
user = 'ana'
password_file = 'password'
"""
TODOIST = "[[sinks]]\nname = 'todo'\nkind = 'rest'\nmanifest = 'todoist.toml'\npassword_env = 'TOKEN'\n"
PLACES = ((17, "second"), (26, "third"), (33, "fourth"), (37, "fifth"))
GOOD = 'hub = ["ws://h:1"]\nroots = ["."]\n'


def problems(file: Path, text: str | bytes) -> list[str]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(problem).removeprefix(str(file)) for problem in check_device_file(file).problems]


@each(
    ("text", "wrong"),
    [
        (GOOD, []),
        ("", [":1:1: error: the file is empty"]),
        ("hub = [", [":1:8: error: Invalid value"]),
        (b"hub = '\xff'", [":1:8: error: not UTF-8"]),
        ('hub = ["ws://h:1"]\n', [":1:1: error: roots: missing"]),
        ('hub = "ws://h:1"\nroots = ["."]', [":1:7: error: hub: a list is expected"]),
        ('hub = ["http://h"]\nroots = ["."]', [":1:8: error: the first of hub: an address of a hub begins"]),
        (f"{GOOD}nam = 'desk'", [":3:1: error: nam: unknown key - did you mean 'name'?"]),
        (f"{GOOD}name = 'a b'", [":3:8: error: name: "]),
        (f"{GOOD}[when]\nquiet = '22-7'", [":4:9: error: when.quiet: hours are from-until - as in"]),
        (
            f"{GOOD}[when]\nquiet = '07:00-07:00'",
            [":4:9: error: when.quiet: hours begin and end at the same"],
        ),
        (f"{GOOD}[when]\non_power = 'yes'", [":4:12: error: when.on_power: true or false is expected"]),
        (f"{GOOD}[notify]\ndaily = '9:00'", [":4:9: error: notify.daily: a time of day is expected"]),
        (f"{GOOD}[notify]\ndaily = ''", []),
        (f"{GOOD}max_file_bytes = 0", [":3:18: error: max_file_bytes: "]),
        (f"{GOOD}ignore = '*.log'", [":3:10: error: ignore: a list is expected"]),
        (
            f"""{GOOD}ignore = ['a/', '[z-a]', '# b', '', "a\\n"]""",
            [f":3:{at}: error: the {n} of ignore: this is not a p" for at, n in PLACES],
        ),
        (f"{GOOD}{SINK}{SINK.replace('todo', 'more')}", []),
        (
            f"{GOOD}{SINK}{SINK.replace(chr(39) + 'todo' + chr(39), chr(39) + 'more' + chr(39))}",
            [":3:1: error: sinks: two sinks write to "],
        ),
        (
            f"{GOOD}{SINK.replace('todo.md', 'device.toml')}",
            [":6:8: error: sinks.todo.path: this is the settings file"],
        ),
        (f"{GOOD}{SINK}tables = []", [":7:10: error: sinks.todo.tables: "]),
        (f"{GOOD}{SINK}{SINK}", [":3:1: error: sinks: two sinks are called todo"]),
        (f"{GOOD}{SINK.replace('markdown', 'word')}", [":5:8: error: sinks.todo.kind: "]),
        (
            f"{GOOD}{SINK.replace('markdown', 'csv')}tables = ['tasks', 'notes']",
            [":7:10: error: sinks.todo.tables: a CSV file has one table"],
        ),
        (
            f"{GOOD}{SINK.replace('markdown', 'todo.txt')}tables = ['notes']",
            [":7:10: error: sinks.todo.tables: todo.txt has tasks"],
        ),
        (
            f"{GOOD}{SINK.replace('markdown', 'ics').replace('todo.md', '{date}')}",
            [":6:8: error: sinks.todo.path: a file for each day is Markdown"],
        ),
        (GOOD.replace(".", "nowhere"), []),
        (f"{GOOD}{DAV}{TODOIST.replace('todo', 'more', 1)}", []),
        (f"{GOOD}{DAV.replace('https', 'http')}", [":6:7: error: sinks.todo.url: others could read the"]),
        (f"{GOOD}{DAV.replace('https', 'ftp')}", [":6:7: error: sinks.todo.url: an address of a server"]),
        (f"{GOOD}{DAV.replace('//dav', '//[dav')}", [":6:7: error: sinks.todo.url: an address of a server"]),
        (f"{GOOD}{DAV.replace('//dav', '//a:b@dav')}", [":6:7: error: sinks.todo.url: an address of a serv"]),
        (GOOD + DAV.replace("'ana'", "'a:b'"), [":7:8: error: sinks.todo.user: "]),
        (
            f"{GOOD}{DAV}password_env = 'X'",
            [":3:1: error: sinks.todo: one of password_fi"],
        ),
        (
            f"{GOOD}{DAV.replace('user =', 'usr =')}",
            [":3:1: error: sinks.todo.user: missing", ":7:1: "],
        ),
        (
            f"{GOOD}{TODOIST.replace('todoist', 'none')}",
            [":6:12: error: sinks.todo.manifest: there is no "],
        ),
    ],
)
def test_device_file_problems_have_position_and_remedy(
    tmp_path: Path, text: str | bytes, wrong: list[str]
) -> None:
    found = problems(tmp_path / "device.toml", text)
    assert len(found) == len(wrong), found
    assert [one for one, start in zip(found, wrong, strict=True) if not one.startswith(start)] == []


@each(
    ("old", "new", "wrong"),
    [
        ("", "", []),
        ("id =", "ids =", [":6:1: error: ids: unknown key"]),
        ('method = "DELETE"', 'method = "ERASE"', [":56:10: error: delete.method: must be"]),
        ('path = "content"', 'path = "a..b"', [":15:8: error: fields.title.path: has characters that"]),
        ("[create]", "[make]", [":1:1: error: create: missing", ":47:2: error: make: unknown table"]),
        ("https://api.todoist", "http://api.todoist", [":2:7: error: url: others could read the password"]),
        ("{token}", "", [":3:17: error: authorization: has characters that"]),
        ("[key]", "[key", [":10:5: error: "]),
    ],
)
def test_problems_of_a_connector_manifest_have_positions_in_the_manifest(
    tmp_path: Path, old: str, new: str, wrong: list[str]
) -> None:
    manifest = tmp_path / "todoist.toml"
    manifest.write_text((SHIPPED / manifest.name).read_text().replace(old, new, 1))
    (tmp_path / "device.toml").write_text(f"{GOOD}{TODOIST}")
    reading = check_device_file(tmp_path / "device.toml")
    found = [str(problem).removeprefix(str(manifest)) for problem in reading.problems]
    assert (len(found), reading.settings is None) == (len(wrong), bool(wrong)), found
    assert [one for one, start in zip(found, wrong, strict=True) if not one.startswith(start)] == []


def test_place_at_a_link_to_itself_leaves_the_settings_readable(tmp_path: Path) -> None:
    (tmp_path / "todo.md").symlink_to(tmp_path / "todo.md")
    assert problems(tmp_path / "device.toml", f"{GOOD}{SINK}") == []


def test_missing_device_file_is_reported_with_the_install_command(tmp_path: Path) -> None:
    (problem,) = check_device_file(tmp_path / "device.toml").problems
    assert "hub device install" in problem.hint


@each(
    ("quiet", "at", "is_quiet"),
    [
        ("", "03:00", False),
        ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "03:00", True),
        ("22:00-07:00", "07:00", False),
        ("22:00-07:00", "12:00", False),
        ("12:00-13:30", "13:29", True),
        ("12:00-13:30", "13:30", False),
        ("12:00-13:30", "11:59", False),
    ],
)
def test_quiet_hours_may_contain_midnight(quiet: str, at: str, is_quiet: bool) -> None:
    assert WhenSettings(quiet=quiet).is_quiet(time.fromisoformat(at)) is is_quiet


def test_notification_is_daily_unless_the_time_is_empty() -> None:
    assert NotifySettings().at == time(9)
    assert NotifySettings(daily="").at is None


@each(
    ("kind", "place", "tables"),
    [
        ("markdown", "path = 'T.md'", ("tasks",)),
        ("todo.txt", "path = 'T.txt'", ("tasks",)),
        ("csv", "path = 'T.csv'", ("tasks",)),
        ("jsonl", "path = 'T.jsonl'", ("tasks",)),
        ("ics", "path = 'T.ics'", ("tasks", "timelines")),
        ("ics", "path = 'T.ics'\ntables = ['notes']", ("notes",)),
        (
            "caldav",
            "url = 'https://h/ana/todo/'\nuser = 'ana'\npassword_env = 'SECRET'",
            ("tasks", "timelines"),
        ),
        ("rest", "manifest = 'todoist.toml'\npassword_env = 'SECRET'", ("tasks",)),
        ("package", "provider = 'there'", ("tasks",)),
    ],
)
def test_sink_has_the_tables_of_the_sink_kind_by_default(
    kind: str, place: str, tables: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "device.toml"
    (tmp_path / "notes").mkdir(exist_ok=True)
    text = f"hub = ['wss://h']\nroots = ['notes']\n[[sinks]]\nname = 'there'\nkind = '{kind}'\n{place}\n"
    file.write_text(text)
    (sink,) = check_device_file(file).usable().sinks
    assert sink.tables == tables


def test_new_file_is_valid_and_has_every_setting_with_the_default(tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    name = 'quote " and \\ backslash'
    (tmp_path / name).mkdir()
    text = device_text(("wss://hub.example:1", "wss://other:2"), (tmp_path / name,), "desk")
    assert problems(file, text) == []
    jsonschema.validate(tomllib.loads(text), device_schema())
    settings = check_device_file(file).usable()
    assert (settings.hub, settings.roots, settings.name) == (
        ("wss://hub.example:1", "wss://other:2"),
        (tmp_path / name,),
        "desk",
    )
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    uncommented = "\n".join(line for line in lines if " = " in line or line.startswith("["))
    assert problems(file, uncommented) == [], "the defaults in comments are valid"
    assert json.loads(json.dumps(device_schema()))["properties"].keys() == type(settings).model_fields.keys()
