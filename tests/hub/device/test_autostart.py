"""Start at login: what each system's service manager is given, and what is done when it refuses."""

import os
import plistlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hub.device.autostart import CannotStart, LoginEntry, entry_of, install, is_running, uninstall

COMMAND = [
    sys.executable,
    "-m",
    "hub",
    "device",
    "run",
    "--config",
    '/anna b/100% "x" $HOME/device.toml',
]
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def entry(system: str, home: Path) -> LoginEntry:
    found = entry_of(COMMAND, system=system, home=home, user="PC\\anna & co")
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def test_systemd_unit_is_valid_and_quotes_the_command_arguments(tmp_path: Path) -> None:
    unit = entry("linux", tmp_path)
    assert unit.file == tmp_path / ".config/systemd/user/device-hub.service"
    unit.file.parent.mkdir(parents=True)
    unit.file.write_bytes(unit.content)
    if shutil.which("systemd-analyze") is not None:
        words = ["systemd-analyze", "--user", "verify", str(unit.file)]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in unit.content.decode().splitlines() if line.startswith("ExecStart=")]
    assert line.endswith(r'"--config" "/anna b/100%% \"x\" $$HOME/device.toml"')


def test_agent_of_launchd_starts_at_login_and_again_after_a_failure(tmp_path: Path) -> None:
    agent = entry("darwin", tmp_path)
    found = plistlib.loads(agent.content)
    assert agent.file == tmp_path / "Library/LaunchAgents/device-hub.plist"
    assert (found["ProgramArguments"], found["RunAtLoad"], found["KeepAlive"]) == (
        COMMAND,
        True,
        {"SuccessfulExit": False},
    )


def test_task_of_windows_starts_at_logon_without_a_limit_of_time(tmp_path: Path) -> None:
    task = entry("win32", tmp_path)
    root = ElementTree.fromstring(task.content.decode("utf-16").partition("?>")[2])
    assert root.tag == f"{TASK}Task"
    assert [child.tag.removeprefix(TASK) for child in root] == [
        "RegistrationInfo",
        "Triggers",
        "Principals",
        "Settings",
        "Actions",
    ], "in the order of the schema"
    assert root.findtext(f"{TASK}Triggers/{TASK}LogonTrigger/{TASK}UserId") == "PC\\anna & co"
    assert root.findtext(f"{TASK}Settings/{TASK}ExecutionTimeLimit") == "PT0S"
    run = root.find(f"{TASK}Actions/{TASK}Exec")
    assert run is not None
    assert (run.findtext(f"{TASK}Command"), run.findtext(f"{TASK}Arguments")) == (
        COMMAND[0],
        subprocess.list2cmdline(COMMAND[1:]),
    )


def test_other_systems_have_no_entry(tmp_path: Path) -> None:
    assert entry_of(COMMAND, system="plan9", home=tmp_path, user="anna") is None


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the service managers, which note their words, and fail for those in ``refused``."""
    programs, log, refused = tmp_path / "bin", tmp_path / "asked", tmp_path / "refused"
    programs.mkdir()
    for name in ("systemctl", "launchctl", "schtasks"):
        program = programs / name
        fails = f'grep -qx -- "$2" {refused} 2>/dev/null'
        program.write_text(
            f'#!/bin/sh\necho "{name} $@" >> {log}\nif {fails}; then echo no bus >&2; exit 1; fi\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


DOMAIN = f"gui/{os.getuid() if hasattr(os, 'getuid') else 0}"
ASKED = {
    "linux": (
        "systemctl --user daemon-reload",
        "systemctl --user enable --now device-hub.service",
        "systemctl --user is-active --quiet device-hub.service",
        "systemctl --user disable --now device-hub.service",
    ),
    "darwin": (
        f"launchctl bootstrap {DOMAIN} {{file}}",
        f"launchctl print {DOMAIN}/device-hub",
        f"launchctl bootout {DOMAIN}/device-hub",
    ),
    "win32": (
        "schtasks /Create /TN device-hub /XML {file} /F",
        "schtasks /Run /TN device-hub",
        "schtasks /Query /TN device-hub",
        "schtasks /End /TN device-hub",
        "schtasks /Delete /TN device-hub /F",
    ),
}


@pytest.mark.parametrize("system", ASKED)
def test_autostart_entry_runs_after_install_and_is_removed_by_uninstall(system: str, manager: Path) -> None:
    unit = entry(system, manager)
    install(unit)
    assert (unit.file.read_bytes(), is_running(unit)) == (unit.content, True)
    assert [uninstall(unit), uninstall(unit)] == [True, False]
    assert not unit.file.exists()
    expected = [words.format(file=unit.file) for words in ASKED[system]]
    assert (manager / "asked").read_text().splitlines() == expected


def test_autostart_entry_failing_to_start_is_removed_with_the_manager_message(manager: Path) -> None:
    (manager / "refused").write_text("enable\nis-active\n")
    unit = entry("linux", manager)
    with pytest.raises(CannotStart, match=r"systemctl --user enable --now device-hub.service: no bus"):
        install(unit)
    assert (unit.file.exists(), is_running(unit)) == (False, False)


def test_install_without_the_service_manager_program_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match="there is no program schtasks"):
        install(entry("win32", tmp_path))
