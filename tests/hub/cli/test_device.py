"""``hub device``: settings file, start at login, pause and state of this machine as a device."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.cli.errors import Exit
from hub.device.device_file import RUN_LOCK, held
from hub.device.known_hubs import fingerprint
from hub.device.sending_log import SendingOrder, open_sending_log
from hub.device.settings import check_device_file
from protocol import keys
from protocol.skipped_files import SkippedFile
from tests.hub.cli.conftest import Hub, device_store, ends
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import place_of
from tests.hub.device.sinks.places import RestPlace, sink_text
from tests.hub.device.sinks.servers import Reply
from tests.hub.device.sinks.test_refused_rows import about, refusing
from tests.support.clock import FakeClock
from tests.support.programs import ending, read_until


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a folder to share, and a stand-in for systemctl that accepts everything."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def installed(hub: Hub, home: Path) -> Path:
    words = ("ws://127.0.0.1:1", "--root", str(home / "notes"), "--name", "desk")
    ends(hub("device", "install", *words), 0, "hub device status")
    return home / "config/hub/device.toml"


def status(hub: Hub) -> dict[str, object]:
    shown = hub("device", "status", "--json")
    ends(shown, 0)
    found: dict[str, object] = json.loads(shown.stdout)
    return found


def test_device_install_writes_settings_schema_and_unit_without_overwriting(hub: Hub, home: Path) -> None:
    words = ("ws://127.0.0.1:1", "--root", str(home / "notes"))
    printed = hub("device", "install", *words, "--print")
    ends(printed, 0, stdout=['hub = ["ws://127.0.0.1:1"]', "WantedBy=default.target"])
    assert not (home / "config").exists()

    file = installed(hub, home)
    assert check_device_file(file).usable().roots == (home / "notes",)
    assert json.loads(file.with_name("device.schema.json").read_text())["title"] == "device.toml"
    unit = (home / "config/systemd/user/device-hub.service").read_text()
    assert f'"--config" "{file}"' in unit
    file.write_text(file.read_text().replace('name = "desk"', 'name = "other"'))
    ends(hub("device", "install", *words), 0, "was not changed")
    assert (status(hub)["device"], status(hub)["starts_at_login"]) == ("other", True)

    ends(hub("device", "uninstall"), 0, "removed")
    ends(hub("device", "uninstall"), 0, "was not installed")
    assert (file.exists(), status(hub)["starts_at_login"]) == (True, False)


def test_install_takes_hub_and_folders_of_the_connected_device(hub: Hub, home: Path) -> None:
    ends(hub("device", "install"), Exit.FAILED, "there is no device database")
    file = home / "state/devices/desk.db"
    file.parent.mkdir(parents=True)
    with device_store(file) as store:
        store.name_roots([str(home / "notes")])
        ends(hub("device", "install"), Exit.USAGE, "name them: hub device install URL --root DIR")
        store.meet("hub-key")
        store.keep_addresses([], "wss://hub.example:8770/device")
    ends(hub("device", "install"), 0)
    settings = check_device_file(home / "config/hub/device.toml").usable()
    assert (settings.hub, settings.roots, settings.name) == (
        ("wss://hub.example:8770/device",),
        (home / "notes",),
        "desk",
    )


@pytest.mark.parametrize(
    "command",
    ["device run", "device status", "device sync", "places ls", "places add todo.txt /tmp/todo.txt"],
)
def test_command_without_settings_names_the_missing_file_and_fitting_commands(
    hub: Hub, home: Path, command: str
) -> None:
    SinkBench(home / "state/devices")  # of a device that hub connect ran
    result = hub(*command.split())
    ends(result, Exit.SETTINGS, "there is no settings file", "device.toml", "hub device install")
    assert "Errno" not in result.output


def test_device_pause_lasts_for_the_given_time_or_until_resumed(hub: Hub, home: Path) -> None:
    installed(hub, home)
    ends(hub("device", "pause", "1h"), 0, "paused until 20")
    assert str(status(hub)["pause"]).startswith("paused until 20")
    ends(hub("device", "pause"), 0, "paused until it is resumed")
    ends(hub("device", "resume"), 0, "the pause is over")
    ends(hub("device", "resume"), 0, "was not paused")
    assert status(hub)["pause"] == ""


def test_renamed_device_uses_the_same_data_unless_the_file_is_new(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    data = home / "state/devices/desk.db"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.touch()
    with held(data, RUN_LOCK, settings=file):  # as a running device
        file.write_text(file.read_text().replace('name = "desk"', 'name = "other"'))
        found = status(hub)
        assert (found["device"], found["data"], found["is_running"]) == ("other", str(data), True)
    ends(hub("device", "pause"), 0)
    assert [path.name for path in data.parent.glob("*.pause")] == ["desk.pause"]
    file.unlink()
    ends(hub("device", "install", "ws://h", "--root", str(home / "notes"), "--name", "other"), 0)
    assert status(hub)["data"] == str(data.with_name("other.db"))


@pytest.mark.parametrize("words", [("run",), ("status",)])
def test_device_commands_report_invalid_settings_with_position(
    hub: Hub, home: Path, words: tuple[str, ...]
) -> None:
    ends(hub("device", *words), Exit.SETTINGS, "hub device install")
    file = installed(hub, home)
    file.write_text("hub = 1\n")
    ends(hub("device", *words), Exit.SETTINGS, f"{file}:1:7: error: hub: a list is expected")


def test_device_with_invalid_settings_is_paused_resumed_and_previewed(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    ends(hub("device", "pause"), 0)
    db = home / "state/devices/desk.db"
    with device_store(db) as store:
        store.name_roots([str(home / "notes"), str(home / "gone")])
    file.write_text("hub = 1\n")
    ends(hub("device", "status"), Exit.SETTINGS, f"{file}:1:7: error: ", "  correct the file that is named\n")
    ends(hub("device", "resume"), 0, "the pause is over")
    ends(hub("device", "pause", "1h"), 0, "paused until 20")
    ends(hub("device", "preview"), 0, f"there is no folder {home / 'gone'}")
    ends(hub("device", "log"), 0, "nothing was sent")


def test_status_names_the_missing_program_of_notifications_once(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed(hub, home)
    monkeypatch.setenv("PATH", f"{home}/bin")
    plain = hub("device", "status")
    ends(plain, 0, "start it: ", "hub up")
    assert (plain.stdout + plain.stderr).count("notify-send") == 1
    (home / "bin/notify-send").write_text("#!/bin/sh\n")
    (home / "bin/notify-send").chmod(0o755)
    assert status(hub)["notification"] == "once a day, from 09:00 on"
    file.write_text(file.read_text().replace('# daily = "09:00"', 'daily = ""'))
    assert status(hub)["notification"] == "none: set daily in [notify] of the settings"


def test_device_preview_applies_the_settings_of_the_device(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    for name in (".plan.md", "a.md", "b.log", "long.md"):
        (home / "notes" / name).write_text("word " * 99 if name == "long.md" else "word")
    settings = 'hidden = true\nignore = ["*.log"]\nmax_file_bytes = 400\n'
    file.write_text(f'hub = ["ws://h"]\nroots = ["{home / "notes"}"]\n{settings}')
    shown = hub("device", "preview", "--json")
    ends(shown, 0)
    found = json.loads(shown.stdout)
    assert [folder["files"] for folder in found["offered"]] == [2]
    assert [(one["reason"], one["detail"][:7]) for one in found["stays"]] == [
        ("ignored", "line 1 "),
        ("too_large", "495 byt"),
    ]
    file.write_text("hub = 1\n")
    ends(hub("device", "preview", "--root", str(home / "notes")), 0, "has errors and is not used")


@pytest.fixture
def running(hub: Hub, home: Path) -> Iterator[subprocess.Popen[str]]:
    file = installed(hub, home)
    options = ["--config", str(file), "--state", str(home / "state")]
    command = [sys.executable, "-m", "hub", "device", "run", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, ending(process):
        yield process


def test_device_runs_until_sigterm_and_a_second_device_names_the_process(
    hub: Hub, home: Path, running: subprocess.Popen[str]
) -> None:
    assert running.stderr is not None
    read_until(running.stderr, "not connected")
    found = status(hub)
    assert (found["is_running"], found["is_connected"]) == (True, False)
    assert "not connected" in str(found["last_message"])
    ends(hub("device", "run"), Exit.CANNOT_CREATE, f"another device, process {running.pid}, uses")
    ends(hub("device", "pause"), 0)
    read_until(running.stderr, "disconnected: paused")
    found = status(hub)
    assert (found["is_running"], found["is_connected"]) == (True, False)
    running.send_signal(signal.SIGTERM)
    assert (running.wait(30), running.stderr.read().splitlines()[-1]) == (0, "stopped")
    assert status(hub)["is_running"] is False


def test_device_log_shows_sent_and_held_back_files(hub: Hub, home: Path) -> None:
    file = home / "state/devices/desk.db"
    file.parent.mkdir(parents=True)
    clock = FakeClock()
    with device_store(file):
        ends(hub("device", "log"), 0, "nothing was sent")
        key = keys.encode(bytes(32))
        with open_sending_log(file, clock) as log:
            order = SendingOrder(key, "r-1", "a-1", "cloud gpt")
            log.sent(order, [("notes/a.md", 2_048, "0a"), ("notes/b.md", 3, "0b")])
            log.held_back(order, [SkippedFile(path="notes/k.md", reason="secret: jwt in line 2")])
    who = fingerprint(key)[:7]
    for words, row in (
        ((), ["2026-01-05", who, "cloud", "gpt", "2", "2", "KiB"]),
        (("--files",), ["09:00:00", who, "cloud", "gpt", "notes/b.md", "3", "B"]),
        (("--held-back",), ["09:00:00", who, "notes/k.md", *["secret:", "jwt", "in", "line", "2"]]),
    ):
        shown = hub("device", "log", *words)
        ends(shown, 0)
        assert row in [line.split()[-len(row) :] for line in shown.stdout.splitlines()], shown.stdout
    ends(hub("device", "log", "--since", "1h", "--limit", "1"), 0)
    entries = json.loads(hub("device", "log", "--files", "--json").stdout)["entries"]
    assert [(one["path"], one["sha256"], one["hub"]) for one in entries] == [
        ("notes/b.md", "0b", key),
        ("notes/a.md", "0a", key),
    ]
    ends(hub("device", "log", "--files", "--held-back"), Exit.USAGE, "different lists")

    with open_sending_log(file, clock) as log, closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE sent")
        with pytest.raises(sqlite3.OperationalError):
            log.sent(order, [])
    installed(hub, home)
    fault = "what is sent cannot be logged, so nothing is sent: no such table: sent"
    ends(hub("device", "log", "--held-back"), 0, fault)
    assert status(hub)["faults"] == [fault]


@pytest.mark.parametrize("kind", ["caldav", "rest"])
def test_device_sync_writes_items_to_a_configured_server_sink(
    hub: Hub, home: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    file = installed(hub, home)
    (home / "state/devices").mkdir(parents=True)
    bench = SinkBench(home / "state/devices")
    bench.approve({"title": "Call Ana"})
    with place_of(kind, request, home) as place:
        file.write_text(f"{file.read_text()}\n{sink_text('todo', place.settings())}")
        ends(hub("device", "sync"), 0, "todo: 1 written")
        ends(hub("device", "sync"), 0, "todo: nothing has changed")
        assert place.text.count("Call Ana") == 1
        (home / {"caldav": "password", "rest": "token"}[kind]).chmod(0o644)
        ends(hub("device", "sync"), Exit.FAILED, "other users can read it; run: chmod 600")
    ends(hub("places", "ls"), 0, stdout=[kind, "other users can read it"])


def test_items_without_a_place_and_columns_without_a_field_are_named(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    (home / "state/devices").mkdir(parents=True)
    bench = SinkBench(home / "state/devices")
    bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Fair", "date": bench.at_ms}, "timelines")
    path = home / "list.csv"
    path.write_text("id,title,status,priority,Due,notes,owner,project,Fällig\n")
    sinks = f"\n[[sinks]]\nname = 'list'\nkind = 'csv'\npath = '{path}'\n"
    file.write_text(file.read_text() + sinks)
    remarks = [
        "1 approved timelines go to no place: add a place for them (hub places add),"
        ' or "timelines" to tables of one in device.toml',
        f"{path}: columns without a field of tasks stay as they are: 'Fällig'",
    ]
    assert status(hub)["remarks"] == remarks
    ends(hub("device", "sync"), 0, "list: 1 written")
    assert json.loads(hub("places", "ls", "--json").stdout)["remarks"] == remarks
    ends(hub("places", "ls"), 0, stdout=["1 approved timelines go to no place", "'Fällig'"])
    file.write_text(f"{file.read_text()}\n[[sinks]]\nname = 'all'\nkind = 'ics'\npath = '{home}/all.ics'\n")
    ends(hub("device", "sync"), 0, "all: 2 written")
    assert status(hub)["remarks"] == remarks[1:]


def test_item_refused_by_a_server_is_listed_with_the_reason_and_written_again_on_request(
    hub: Hub, home: Path, request: pytest.FixtureRequest
) -> None:
    file = installed(hub, home)
    (home / "state/devices").mkdir(parents=True)
    bench = SinkBench(home / "state/devices")
    rows = {title: bench.approve({"title": title}) for title in ("Call Ana", "Pay", "Go")}
    with place_of("rest", request, home) as place:
        assert isinstance(place, RestPlace)
        file.write_text(f"{file.read_text()}\n{sink_text('todo', place.settings())}")
        with refusing(place, about(place, rows["Pay"], "POST"), Reply(413)):
            ends(hub("device", "sync"), Exit.FAILED, "todo: 2 written; 'Pay': 127.0.0.1")
        words = ["refused by todo: tasks  Pay: ", "refuses it (413); refused 1 time, tried again from "]
        ends(hub("places", "ls"), 0, stdout=words)
        (state,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
        assert [(one["title"], one["tries"]) for one in state["refused"]] == [("Pay", 1)]
        ends(hub("device", "sync", "--again"), 0, "todo: ")
        assert [place.text.count(title) for title in rows] == [1, 1, 1]
    (state,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
    assert (state["refused"], state["problem"]) == ([], "")


def test_places_lists_places_and_sync_rewrites_items(hub: Hub, home: Path) -> None:
    file = installed(hub, home)
    ends(hub("places", "ls"), 0, "none yet; add one: hub places add")
    path = home / "todo.md"
    file.write_text(f"{file.read_text()}\n[[sinks]]\nname = 'todo'\nkind = 'markdown'\npath = '{path}'\n")
    ends(hub("places", "ls"), 0, stdout=["was not synchronized yet"])
    ends(hub("device", "sync"), Exit.USAGE, "hub device run")
    (home / "state/devices").mkdir(parents=True)
    bench = SinkBench(home / "state/devices")
    ends(hub("device", "sync"), 0, "todo: nothing has changed")
    (state,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
    assert (state["rows"], state["waiting"]) == (0, 0)
    row = bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    ends(hub("device", "sync"), 0, "todo: 2 written")
    ends(hub("device", "sync"), 0, "todo: nothing has changed")
    path.write_text(path.read_text().partition("\n")[2])
    for _ in range(2):
        ends(hub("device", "sync"), 0, "todo: 1 not found: sync again in 10 seconds")
    with bench.open() as db:
        db.execute("UPDATE sink_waits SET until_ms = since_ms")
    ends(hub("device", "sync"), 0, "todo: 1 deleted there")
    ends(
        hub("places", "ls"),
        0,
        stdout=["deleted in todo: tasks  ", "reject NUMBERS --approved", "sync --again"],
    )
    (state,) = json.loads(hub("places", "ls", "--json").stdout)["places"]
    assert (state["rows"], state["waiting"], len(state["deleted"])) == (1, 0, 1)
    path.unlink()
    ends(hub("device", "sync"), 0, "todo: 1 not found: sync again in 10 seconds")
    with bench.open() as db:
        db.execute("UPDATE sink_waits SET until_ms = since_ms")
    ends(hub("device", "sync"), Exit.FAILED, f"{path} is missing or empty")
    text = file.read_text()
    file.write_text(text.replace(str(path), str(home / "state/devices/desk.db")))
    ends(hub("device", "sync"), Exit.SETTINGS, "is in the folder of the device's own data")
    file.write_text(text)
    ends(hub("device", "sync", "--again"), 0, "todo: 2 written")
    assert path.read_text().count("- [ ]") == 2
    file.write_text(text.replace("[[sinks]]\nname = 'todo'", "[[sinks]]\nname = 'list'"))
    ends(hub("device", "sync"), 0, "list: nothing has changed")
    assert [place.name for place in bench.places(row)] == ["list"]
    (home / "second.md").hardlink_to(path)
    bench.change(row, {"title": "Ring Ana"})
    ends(hub("device", "sync"), Exit.FAILED, "2 names (hard links)", "hub device sync --agree list")
    ends(hub("places", "ls"), 0, output=["hub device sync --agree list"])
    assert "Call Ana" in path.read_text()
    ends(hub("device", "sync", "--agree", "todo"), Exit.FAILED, "todo: there is nothing to agree to")
    ends(hub("device", "sync", "--agree", "list"), 0, "list: 1 written")
    assert ("Ring Ana" in path.read_text(), "Call Ana" in (home / "second.md").read_text()) == (True, True)
