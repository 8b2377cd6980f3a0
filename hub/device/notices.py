"""Desktop notifications of a device's owner: program of each system, and times of the daily digest.

No shell reads an argument, and no argument is read as an option or as a script, whatever a title contains.

A digest counts the items that wait for the owner. The day of the last digest is a file next to the device's
database: neither a restart repeats it, nor a clock that was set back. Days are counted anew after the clock
has shown an earlier day for an hour: a machine without a battery shows 1970 until it has asked the network.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock
from hub.base.name_lists import counted
from hub.device.conditions import output_of
from hub.device.device_file import DeviceFileError
from hub.device.items import WaitingItems, count_waiting

_SUFFIX: Final = ".digest"
_PATIENCE_S: Final = 10.0
_EARLIER_S: Final = 3_600.0
_AGAIN_S: Final = 300.0  # until a desktop is looked for again
_TITLE: Final = "Device hub"
_TITLE_CHARACTERS: Final = 60  # of an item
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
_BUS: Final = "DBUS_SESSION_BUS_ADDRESS"
_SHOW_ON_MACOS: Final = "display notification (item 2 of argv) with title (item 1 of argv)"
_SHOW_ON_WINDOWS: Final = "; ".join(
    (
        "$ErrorActionPreference = 'Stop'",
        "$n = [Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications,"
        " ContentType = WindowsRuntime]",
        "$d = [Windows.Data.Xml.Dom.XmlDocument, Windows.Data.Xml.Dom.XmlDocument,"
        " ContentType = WindowsRuntime]",
        "$x = [xml] $n::GetTemplateContent("
        "[Windows.UI.Notifications.ToastTemplateType]::ToastText02).GetXml()",
        "$t = $x.GetElementsByTagName('text')",
        "[void] $t[0].AppendChild($x.CreateTextNode($env:HUB_TITLE))",
        "[void] $t[1].AppendChild($x.CreateTextNode($env:HUB_TEXT))",
        "$y = $d::new()",
        "$y.LoadXml($x.OuterXml)",
        "$n::CreateToastNotifier('{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}"  # that of PowerShell
        "\\WindowsPowerShell\\v1.0\\powershell.exe')"
        ".Show([Windows.UI.Notifications.ToastNotification]::new($y))",
    )
)


class DailyDigests:
    """Daily digests of a device, each shown once. *db*: the device's database."""

    def __init__(self, db: Path, clock: Clock) -> None:
        self._db = db
        self._file = db.with_suffix(_SUFFIX)
        self._clock = clock
        self._tried = float("-inf")
        self._last = date.min
        self._earlier_since: float | None = None
        with suppress(OSError, ValueError):
            self._last = date.fromisoformat(self._file.read_text("ascii"))

    def is_due(self) -> bool:
        """Return True if the digest of today was not shown, nor tried a moment ago."""
        today, now = self._clock.now().astimezone().date(), self._clock.monotonic()
        if today >= self._last:
            self._earlier_since = None
        elif self._earlier_since is None:
            self._earlier_since = now
        elif now - self._earlier_since >= _EARLIER_S:
            self._last = today
        return today > self._last and now - self._tried >= _AGAIN_S

    def show(self, *, titles: bool) -> str:
        """Show the digest of today if items wait and a desktop is there. Blocks.

        Args:
            titles: with the titles of the newest items.

        Returns:
            Why it was not shown, for the owner; else an empty text.
        """
        self._tried = self._clock.monotonic()
        if command_of("") is None:
            return ""  # its owner may log in later
        today = self._clock.now().astimezone().date()
        try:
            waiting = count_waiting(self._db)
            write_atomically(self._file, today.isoformat().encode(), mode=0o600)
        except (DeviceFileError, OSError) as error:
            return str(error)
        self._last = today
        return show_notice(digest(waiting, titles=titles)) if waiting.items else ""


def show_notice(text: str) -> str:
    """Show a text if a desktop is there. Return why it was not shown; else an empty text. Blocks."""
    command = command_of(text)
    return "" if command is None or missing_program() else run(command)


def digest(waiting: WaitingItems, *, titles: bool) -> str:
    """Return the digest of the items that wait. *titles*: with the titles of the newest items."""
    sources = ((waiting.files, "file"), (waiting.others, "other source"))
    listed = " and ".join(counted(count, noun) for count, noun in sources if count)
    begin = f"{counted(waiting.items, 'suggestion')}{' from ' if listed else ''}{listed}"
    named = [f"\n{' '.join(title.split())[:_TITLE_CHARACTERS]}" for title in waiting.titles if titles]
    return f"{begin} {'waits' if waiting.items == 1 else 'wait'} for you: hub review{''.join(named)}"


class NotificationCommand(NamedTuple):
    """Program with its arguments, and the environment that it needs besides that of this process."""

    words: list[str]
    variables: Mapping[str, str] = {}


def command_of(text: str, system: str = sys.platform) -> NotificationCommand | None:
    """Return what shows a notification; None over ssh, or without a desktop."""
    make = _COMMANDS.get(system)
    if make is None or "SSH_CONNECTION" in os.environ:
        return None
    return make(
        "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    )


def missing_program(system: str = sys.platform) -> str:
    """Return the program of this system that shows notifications, if it is missing; else an empty text."""
    name = _PROGRAMS.get(system, "")
    return "" if not name or shutil.which(name) else name


def run(command: NotificationCommand) -> str:
    """Show a notification. Return why it was not shown; empty if it was. Blocks."""
    try:
        done = subprocess.run(
            command.words,
            env={**os.environ, **command.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command.words[0]}: {error}"
    problem = done.stderr.decode(errors="replace").strip() or f"it ended with {done.returncode}"
    return f"{command.words[0]}: {problem}" if done.returncode else ""


def _on_linux(text: str) -> NotificationCommand | None:
    # A unit begins before the desktop, which gives its variables to the service manager later.
    shown = output_of(["systemctl", "--user", "show-environment"]) if "INVOCATION_ID" in os.environ else ""
    of_manager = dict(line.split("=", 1) for line in (shown or "").splitlines() if "=" in line)
    names = (*_DISPLAYS, _BUS)
    found = {name: value for name in names if (value := os.environ.get(name) or of_manager.get(name))}
    if _BUS not in found or found.keys().isdisjoint(_DISPLAYS):
        return None
    body = escape(text, quote=False).replace("\\", "\\\\")  # markup, and escapes as in C
    return NotificationCommand(["notify-send", "--app-name=hub", "--", _TITLE, body], found)


def _on_macos(text: str) -> NotificationCommand | None:
    if (output_of(["launchctl", "managername"]) or "").strip() != "Aqua":
        return None
    script = [word for line in ("on run argv", _SHOW_ON_MACOS, "end run") for word in ("-e", line)]
    return NotificationCommand(["osascript", *script, _TITLE, text])  # after the title, nothing is an option


def _on_windows(text: str) -> NotificationCommand | None:
    session = ctypes.c_ulong()
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  # only Windows has it
    kernel.ProcessIdToSessionId(os.getpid(), ctypes.byref(session))
    if session.value == 0:  # that of services
        return None
    words = ["powershell", "-NoProfile", "-NonInteractive", "-Command", _SHOW_ON_WINDOWS]
    return NotificationCommand(words, {"HUB_TITLE": _TITLE, "HUB_TEXT": text})


_COMMANDS: Final[Mapping[str, Callable[[str], NotificationCommand | None]]] = {
    "linux": _on_linux,
    "darwin": _on_macos,
    "win32": _on_windows,
}
_PROGRAMS: Final[Mapping[str, str]] = {
    "linux": "notify-send",
    "darwin": "osascript",
    "win32": "powershell",
}
