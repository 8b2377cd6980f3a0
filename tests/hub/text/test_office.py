"""The pdf library is run from a folder into which nobody else can put another one."""

import sys
import tempfile
from pathlib import Path

import pytest

from hub.text import office


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of a hub whose own folder cannot be written."""
    (tmp_path / "prefix").write_text("not a folder")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_library_is_unpacked_beside_the_installed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    assert office.library_folder() == tmp_path / "share" / "device-hub"


def test_office_library_is_unpacked_to_a_private_folder_without_a_writable_prefix(temporary: Path) -> None:
    folder = office.library_folder()

    assert (folder.parent, folder.stat().st_mode & 0o777) == (temporary, 0o700)
    assert office.library_folder() == folder


@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_of_another_user_is_not_used(temporary: Path, is_link: bool) -> None:
    planted = office.library_folder()
    planted.rmdir()
    if is_link:
        (temporary / "elsewhere").mkdir(mode=0o700)
        planted.symlink_to(temporary / "elsewhere")
    else:
        planted.mkdir()
        planted.chmod(0o777)

    folder = office.library_folder()
    assert folder != planted
    assert folder.stat().st_mode & 0o777 == 0o700
