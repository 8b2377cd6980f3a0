"""Private files and replacement, on this system and with stand-ins for the programs of Windows."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.base.system import files
from hub.base.system.files import is_open_to_others, replace, restrict, restricting
from hub.device.credentials import BadCredential, make_identity
from tests.support.clock import SeededChance

OWN = "S-1-5-21-1-2-3-1001"
INHERITED = f"(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;FA;;;{OWN})"
# Access lists as icacls saves them, in a file next to each file.
ICACLS = """#!{python} -S
import os
import sys
from pathlib import Path
file, *words = sys.argv[1:]
known = Path(file + ".access")
if words[0] == "/save":
    text = known.read_text() if known.exists() else {inherited!r}
    Path(words[1]).write_text(Path(file).name + "\\r\\nD:AI" + text + "\\r\\n", "utf-16-le", newline="")
elif words[:2] == ["/inheritance:r", "/grant:r"]:
    known.write_text("(A;;FA;;;" + words[2].removeprefix("*").removesuffix(":F") + ")")
else:
    sys.exit("Invalid parameter")
"""


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files have access lists, of which the programs of Windows tell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "icacls").write_text(ICACLS.format(python=sys.executable, inherited=INHERITED))
    (programs / "whoami").write_text(f'#!/bin/sh\necho \'"pc\\anna","{OWN}"\'\n')
    for program in programs.iterdir():
        program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


def test_restrict_removes_file_access_of_other_users(tmp_path: Path) -> None:
    file = tmp_path / "desk.key"
    file.write_text("secret")
    file.chmod(0o644)
    assert is_open_to_others(file)
    restrict(file)
    assert not is_open_to_others(file)
    assert restricting(file) == f"chmod 600 {file}"


def test_access_list_of_windows_names_accounts_by_their_identifiers(windows: Path) -> None:
    file, shared = windows / "desk.key", "(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)"
    file.write_text("secret")
    assert not is_open_to_others(file, system="win32")
    Path(f"{file}.access").write_text(shared)
    assert is_open_to_others(file, system="win32")
    restrict(file, system="win32")
    assert Path(f"{file}.access").read_text() == f"(A;;FA;;;{OWN})"
    assert not is_open_to_others(file, system="win32")
    assert restricting(file, system="win32").startswith(f'icacls "{file}" ')


def test_failed_icacls_raises_an_error_with_the_output_of_the_program(windows: Path) -> None:
    (windows / "bin/icacls").write_text("#!/bin/sh\necho Access is denied. >&2; exit 5\n")
    (windows / "desk.key").write_text("secret")
    with pytest.raises(OSError, match=r"icacls: Access is denied."):
        restrict(windows / "desk.key", system="win32")


def test_device_key_is_not_created_if_file_access_cannot_be_restricted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError("icacls: Access is denied.")

    monkeypatch.setattr(files, "restrict", refuse)
    with pytest.raises(BadCredential, match=r"cannot make the device's key .*: icacls: Access is denied."):
        make_identity(tmp_path / "desk.key", SeededChance())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("times", "is_replaced"), [(3, True), (100, False)])
def test_replace_of_a_file_in_use_is_retried_until_the_limit(
    times: int, is_replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, attempts, move = tmp_path / "new", tmp_path / "old", [], os.replace

    def refused(path: Path, to: Path, **folders: Any) -> None:
        attempts.append(path)
        if len(attempts) <= times:
            raise PermissionError(13, "The process cannot access the file")
        move(path, to, **folders)

    monkeypatch.setattr(os, "replace", refused)
    source.write_text("new")
    target.write_text("old")
    if is_replaced:
        replace(source, target)
    else:
        with pytest.raises(PermissionError):
            replace(source, target)
    assert target.read_text() == ("new" if is_replaced else "old")
