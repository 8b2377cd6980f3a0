"""Notifications on the desktop: their exact arguments, the desktops that get them, and one digest a day."""

import ctypes
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.base.clock import IdFactory
from hub.device import notices
from hub.device.device_file import open_device_store
from hub.device.items import WaitingItems, count_waiting, is_apart, read_items, waits
from hub.device.notices import DailyDigests, command_of, digest, missing_program, run
from protocol.items import ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance

DESKTOP = {"DISPLAY": ":0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus"}
HOSTILE = (
    '"; rm -rf ~ #',
    "$(touch x)`id`",
    "--help",
    "-u critical",
    "<b>&amp;\\x41\\n",
    "a\0b\x1b[1m\u202e",
    "%s",
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make stand-ins on PATH that print *shown* and record arguments and environment in a file."""
    for name in (*DESKTOP, "WAYLAND_DISPLAY", "SSH_CONNECTION", "INVOCATION_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name: str, shown: str = "", code: int = 0) -> Path:
        record, file = tmp_path / f"{name}.json", tmp_path / name
        file.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"open({str(record)!r}, 'a').write(json.dumps([sys.argv[1:], dict(os.environ)]) + '\\n')\n"
            f"print({shown!r})\nsys.stderr.write('no bus' if {code} else '')\nsys.exit({code})\n"
        )
        file.chmod(0o755)
        return record

    return make


def recorded(file: Path) -> list[tuple[list[str], Mapping[str, str]]]:
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def fill(path: Path, titles: Mapping[str, str], **source: Any) -> None:
    """Insert a task of each title into a device's file, from its source."""
    clock = FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance(len(titles)))) as store:
        store.name_roots([str(path.parent / "notes")])
        store.apply(
            [
                ToolCall(
                    id=f"c-{title}",
                    action=Action.INSERT,
                    table="tasks",
                    data={"title": title, **SUGGESTED},
                    source=ItemSource(path=origin, quote="x", start=0, end=1, **source),
                )
                for title, origin in titles.items()
            ]
        )


@pytest.mark.parametrize("titles", [HOSTILE[:3], HOSTILE[3:6], HOSTILE[6:]])
def test_arguments_of_each_system_have_the_title_as_text_alone(
    programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, titles: Sequence[str]
) -> None:
    text = digest(WaitingItems(7, 3, 0, titles), titles=True)
    begin = "7 suggestions from 3 files wait for you: hub review\n"
    plain = begin + "\n".join(titles).replace("\0", " ").replace("\x1b", " ").replace("\u202e", " ")
    for name, value in DESKTOP.items():
        monkeypatch.setenv(name, value)
    sends, scripts = programs("notify-send"), programs("osascript")
    programs("launchctl", "Aqua")
    for system in ("linux", "darwin"):
        command = command_of(text, system)
        assert command is not None
        assert run(command) == ""
    ((words, _),) = recorded(sends)
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\\", "\\\\")
    assert words == ["--app-name=hub", "--", "Device hub", escaped]
    ((words, _),) = recorded(scripts)
    assert words == [
        *("-e", "on run argv", "-e", "display notification (item 2 of argv) with title (item 1 of argv)"),
        *("-e", "end run", "Device hub", plain),
    ]
    toasts, session = programs("powershell"), 1

    def of_process(_: int, found: Any) -> None:
        found._obj.value = session

    kernel = SimpleNamespace(ProcessIdToSessionId=of_process)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    command = command_of(text, "win32")
    assert command is not None
    assert run(command) == ""
    ((words, variables),) = recorded(toasts)
    assert (words[:-1], "suggestions" in words[-1]) == (["-NoProfile", "-NonInteractive", "-Command"], False)
    assert (variables["HUB_TITLE"], variables["HUB_TEXT"]) == ("Device hub", plain)
    session = 0
    assert command_of(text, "win32") is None
    assert command_of("another", "linux") is not None


@pytest.mark.parametrize(
    ("variables", "of_manager", "is_shown"),
    [
        (DESKTOP, "", True),
        ({**DESKTOP, "SSH_CONNECTION": "::1 22"}, "", False),
        ({"DISPLAY": ":0"}, "", False),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus"}, "", False),
        ({"WAYLAND_DISPLAY": "wayland-0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus"}, "", True),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus"}, "WAYLAND_DISPLAY=wayland-0\nLANG=C", False),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus", "INVOCATION_ID": "1"}, "LANG=C", False),
        ({"INVOCATION_ID": "1"}, "WAYLAND_DISPLAY=w\nDBUS_SESSION_BUS_ADDRESS=unix:path=/bus,guid=1", True),
    ],
)
def test_linux_desktop_session_is_found_in_the_environment_or_the_service_manager(
    programs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    variables: Mapping[str, str],
    of_manager: str,
    is_shown: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    programs("systemctl", of_manager)
    sends = programs("notify-send")
    command = command_of("7 suggestions", "linux")
    assert (command is not None) is is_shown
    if command is not None:
        assert run(command) == ""
        ((_, environment),) = recorded(sends)
        assert environment["DBUS_SESSION_BUS_ADDRESS"].startswith("unix:path=/bus")


@pytest.mark.parametrize(("session", "is_shown"), [("Aqua", True), ("Background", False), ("System", False)])
def test_desktop_of_macos_is_a_session_of_the_window_server(
    programs: Callable[..., Path], session: str, is_shown: bool
) -> None:
    programs("launchctl", session)
    assert (command_of("7", "darwin") is not None) is is_shown


def test_failure_and_missing_program_have_reasons(
    programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in DESKTOP.items():
        monkeypatch.setenv(name, value)
    command = command_of("7", "linux")
    assert command is not None
    assert run(command).startswith("notify-send: ")
    assert (missing_program("linux"), missing_program("darwin")) == ("notify-send", "osascript")
    programs("notify-send", code=1)
    assert (run(command), missing_program("linux")) == ("notify-send: no bus", "")
    assert (command_of("7", "plan9"), missing_program("plan9")) == (None, "")


def test_digest_counts_the_items_of_review_and_contains_titles_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "desk.db"
    assert count_waiting(path).items == 0
    fill(path, {"Call Ana": "notes/a.md", "Pay": "notes/a.md", "Post": "notes/b.md", "Mail": "mail:1"})
    fill(path, {"Of a stranger": "notes/c.md"}, warnings=["apart"])
    waiting = count_waiting(path)
    assert waiting == WaitingItems(4, 2, 1, ["Mail", "Post", "Pay"])
    assert waiting.items == len([one for one in read_items(path) if waits(one) and not is_apart(one)])
    text = "4 suggestions from 2 files and 1 other source wait for you: hub review"
    assert digest(waiting, titles=False) == text
    assert digest(waiting, titles=True) == f"{text}\nMail\nPost\nPay"
    long = digest(WaitingItems(1, 1, 0, ["two\nlines" + "x" * 99]), titles=True)
    assert long == f"1 suggestion from 1 file waits for you: hub review\ntwo lines{'x' * 51}"
    assert digest(WaitingItems(2, 0, 0, []), titles=True) == "2 suggestions wait for you: hub review"


class Desk:
    """Device whose digests are shown by a stand-in; ``days`` moves its wall clock alone."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.path, self.clock = path, clock
        self.digests = DailyDigests(path, clock)

    def look(self) -> None:
        if self.digests.is_due():
            assert self.digests.show(titles=False) == ""

    def step(self, change: timedelta) -> None:
        self.clock.set_wall(self.clock.now() + change)


@pytest.fixture
def desk(
    tmp_path: Path, programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> Desk:
    monkeypatch.setattr(notices, "command_of", lambda text: command_of(text, "linux"))
    monkeypatch.setattr(notices, "missing_program", lambda: missing_program("linux"))
    for name, value in DESKTOP.items():
        monkeypatch.setenv(name, value)
    return Desk(tmp_path / "desk.db", clock)


def shown(desk: Desk) -> Sequence[object]:
    return recorded(desk.path.with_name("notify-send.json"))


def test_digest_is_shown_once_a_day_despite_restarts_and_clock_steps(
    desk: Desk, programs: Callable[..., Path]
) -> None:
    programs("notify-send")
    fill(desk.path, {"Call Ana": "notes/a.md"})
    for _ in range(2):
        desk.look()
    assert len(shown(desk)) == 1
    desk.digests = DailyDigests(desk.path, desk.clock)
    desk.look()
    assert len(shown(desk)) == 1, "after a restart"
    desk.step(timedelta(days=1))
    desk.clock.advance(300)
    desk.look()
    assert len(shown(desk)) == 2, "on the next day"
    desk.step(timedelta(days=-1, hours=-1))
    desk.clock.advance(300)
    desk.look()
    desk.step(timedelta(days=-20_000))
    desk.digests = DailyDigests(desk.path, desk.clock)
    desk.look()
    desk.step(timedelta(days=20_001, hours=1))
    desk.clock.advance(3_599)
    desk.look()
    assert len(shown(desk)) == 2, "clock that was set back, 1970 at a start, and the right day again"
    desk.step(timedelta(days=-300))
    desk.look()
    desk.clock.advance(3_600)
    desk.look()
    assert len(shown(desk)) == 2, "clock that was a year ahead"
    desk.step(timedelta(days=1))
    desk.look()
    assert len(shown(desk)) == 3


def test_digest_is_not_shown_without_waiting_items_or_without_the_program(
    desk: Desk, programs: Callable[..., Path]
) -> None:
    sends = programs("notify-send")
    desk.look()
    assert recorded(sends) == []
    fill(desk.path, {"Call Ana": "notes/a.md"})
    desk.look()
    assert recorded(sends) == [], "its hour of today is over"
    os.unlink(sends.with_suffix(""))
    desk.step(timedelta(days=1))
    desk.clock.advance(300)
    desk.look()
    assert not desk.digests.is_due()


def test_digest_waits_for_a_desktop_and_reports_a_broken_file(
    desk: Desk, programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("notify-send")
    monkeypatch.delenv("DISPLAY")
    fill(desk.path, {"Call Ana": "notes/a.md"})
    desk.look()
    monkeypatch.setenv("DISPLAY", ":1")
    desk.look()
    assert shown(desk) == []
    desk.clock.advance(300)
    desk.look()
    assert len(shown(desk)) == 1
    desk.path.write_text("this is not a database, but a text that is long enough to be taken for one" * 9)
    desk.step(timedelta(days=1))
    desk.clock.advance(300)
    assert "desk.db" in desk.digests.show(titles=False)
    assert not desk.digests.is_due(), "it is tried again after a while"
    desk.clock.advance(300)
    assert desk.digests.is_due()
