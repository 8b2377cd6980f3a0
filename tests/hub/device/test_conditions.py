"""Power and network, as each system tells them."""

import socket
import stat
from pathlib import Path

import pytest

from hub.device import conditions
from hub.device.conditions import is_metered, is_on_power


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, True),
        ({"AC": ("Mains", "online", "1")}, True),
        ({"AC": ("Mains", "online", "0"), "BAT0": ("Battery", "status", "Discharging")}, False),
        ({"AC": ("Mains", "online", "1"), "BAT0": ("Battery", "status", "Charging")}, True),
        ({"BAT0": ("Battery", "status", "Discharging")}, False),
        ({"BAT0": ("Battery", "status", "Full"), "mouse": ("USB", "online", "0")}, True),
    ],
)
def test_linux_machine_is_on_power_unless_a_battery_discharges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supplies: dict[str, tuple[str, str, str]], expected: bool
) -> None:
    for name, (kind, file, content) in supplies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        (tmp_path / name / file).write_text(f"{content}\n")
    monkeypatch.setattr(conditions, "_SUPPLIES", tmp_path)
    assert is_on_power("linux") is expected
    monkeypatch.setattr(conditions, "_SUPPLIES", tmp_path / "none")
    assert is_on_power("linux") is None


@pytest.mark.parametrize(
    ("system", "program", "printed", "on_power", "metered"),
    [
        ("darwin", "pmset", "Now drawing from 'AC Power'", True, None),
        ("darwin", "pmset", "Now drawing from 'Battery Power'", False, None),
        ("linux", "nmcli", "GENERAL.METERED:no (guessed)", ..., False),
        ("linux", "nmcli", "GENERAL.METERED:no\nGENERAL.METERED:yes (guessed)", ..., True),
        ("win32", "powershell", "Unrestricted", ..., False),
        ("win32", "powershell", "Fixed", ..., True),
        ("plan9", "none", "", None, None),
    ],
)
def test_power_and_metered_state_are_parsed_from_the_system_program(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    program: str,
    printed: str,
    on_power: object,
    metered: object,
) -> None:
    file = tmp_path / program
    file.write_text(f'#!/bin/sh\nprintf "%s\\n" "{printed}"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert is_metered(system) is metered
    if on_power is not ...:
        assert is_on_power(system) is on_power


@pytest.mark.parametrize("system", ["darwin", "linux", "win32"])
def test_power_and_metered_state_are_unknown_without_the_system_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_metered(system) is None
    if system == "darwin":
        assert is_on_power(system) is None


def test_own_addresses_are_the_source_addresses_of_outgoing_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    here, nowhere = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "255.255.255.255")
    monkeypatch.setattr(conditions, "_FAR", (here, nowhere))
    assert conditions.own_addresses() == ("127.0.0.1",)
