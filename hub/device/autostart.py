"""Start of the device at login (systemd, launchd, Task Scheduler), and restarts after failures.

Linux: a unit of ``systemd --user``. macOS: an agent of launchd. Windows: a task of the Task Scheduler. Only
systemd knows exit codes that end the restarts (``_NO_RESTART``); the others restart after each failure.
"""

import os
import plistlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

_LABEL: Final = "device-hub"
_PATIENCE_S: Final = 30.0  # with a service manager
_NO_RESTART: Final = "2 73 77 78"  # wrong settings, a file that cannot be used, a hub that refuses the device

_UNIT: Final = """\
[Unit]
Description=Device of a hub: shares folders, and keeps suggestions
After=network-online.target

[Service]
ExecStart={command}
Restart=always
RestartSec=5
RestartPreventExitStatus={no_restart}
NoNewPrivileges=true
UMask=0077

[Install]
WantedBy=default.target
"""
_TASK: Final = """\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Device of a hub: shares folders, and keeps suggestions</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{user}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>999</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


class CannotStart(Exception):
    """Refusal of the service manager; ``str()`` has its words."""


class LoginEntry(NamedTuple):
    """Entry of a service manager.

    Attributes:
        file: where it is written.
        content: what is written.
        start, stop: commands that begin and end it; *state*: one that succeeds while it runs.
    """

    file: Path
    content: bytes
    start: Sequence[Sequence[str]]
    stop: Sequence[Sequence[str]]
    state: Sequence[str]


def entry_of(
    command: Sequence[str], *, system: str = sys.platform, home: Path, user: str
) -> LoginEntry | None:
    """Return the entry that runs a command at login; None for a system without one that is known."""
    make = _ENTRIES.get(system)
    return None if make is None else make(command, home, user)


def install(entry: LoginEntry) -> None:
    """Write the entry and start it; write nothing if it does not start. Raises CannotStart, OSError."""
    entry.file.parent.mkdir(parents=True, exist_ok=True)
    entry.file.write_bytes(entry.content)
    try:
        for words in entry.start:
            _run(words)
    except CannotStart:
        with suppress(OSError):  # it would hide why the entry does not start
            entry.file.unlink()
        raise


def uninstall(entry: LoginEntry) -> bool:
    """Stop the entry and remove its file; return False if there is none. Raises CannotStart, OSError."""
    if not entry.file.exists():
        return False
    for words in entry.stop:
        _run(words)
    entry.file.unlink()
    return True


def is_running(entry: LoginEntry) -> bool:
    """Return True if the service manager runs the entry."""
    try:
        _run(entry.state)
    except CannotStart:
        return False
    return True


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError as error:
        raise CannotStart(f"there is no program {words[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise CannotStart(f"{' '.join(words)} does not end") from error
    if done.returncode:
        answer = (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
        raise CannotStart(f"{' '.join(words)}: {answer}")


def _of_systemd(command: Sequence[str], home: Path, _: str) -> LoginEntry:
    base = os.environ.get("XDG_CONFIG_HOME") or home / ".config"
    name = f"{_LABEL}.service"
    unit = _UNIT.format(command=" ".join(map(_quoted, command)), no_restart=_NO_RESTART)
    ctl = ("systemctl", "--user")
    return LoginEntry(
        Path(base, "systemd/user", name),
        unit.encode(),
        start=[(*ctl, "daemon-reload"), (*ctl, "enable", "--now", name)],
        stop=[(*ctl, "disable", "--now", name)],
        state=(*ctl, "is-active", "--quiet", name),
    )


def _quoted(word: str) -> str:
    """Return a word of a command as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _of_launchd(command: Sequence[str], home: Path, _: str) -> LoginEntry:
    logs = home / "Library/Logs/device-hub.log"
    file = home / "Library/LaunchAgents" / f"{_LABEL}.plist"
    content = plistlib.dumps(
        {
            "Label": _LABEL,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ProcessType": "Background",
            "StandardErrorPath": str(logs),
            "Umask": 0o077,
        }
    )
    domain = f"gui/{os.getuid() if hasattr(os, 'getuid') else 0}"
    return LoginEntry(
        file,
        content,
        start=[("launchctl", "bootstrap", domain, str(file))],
        stop=[("launchctl", "bootout", f"{domain}/{_LABEL}")],
        state=("launchctl", "print", f"{domain}/{_LABEL}"),
    )


def _of_task_scheduler(command: Sequence[str], home: Path, user: str) -> LoginEntry:
    program, *arguments = command
    task = _TASK.format(
        user=escape(user), program=escape(program), arguments=escape(subprocess.list2cmdline(arguments))
    )
    file = home / "AppData/Local/hub" / f"{_LABEL}.xml"
    run = ("schtasks", "/Run", "/TN", _LABEL)
    return LoginEntry(
        file,
        task.encode("utf-16"),
        start=[("schtasks", "/Create", "/TN", _LABEL, "/XML", str(file), "/F"), run],
        stop=[("schtasks", "/End", "/TN", _LABEL), ("schtasks", "/Delete", "/TN", _LABEL, "/F")],
        state=("schtasks", "/Query", "/TN", _LABEL),
    )


_ENTRIES: Final[Mapping[str, Callable[[Sequence[str], Path, str], LoginEntry]]] = {
    "linux": _of_systemd,
    "darwin": _of_launchd,
    "win32": _of_task_scheduler,
}
