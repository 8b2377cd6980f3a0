"""Folders of both ways: what is opened, what is refused, and names that a system takes for another."""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hub.base.system import folders
from hub.base.system.folders import (
    DescriptorFolder,
    PathFolder,
    enter,
    extended,
    is_hidden,
    is_link,
    is_reserved,
    real_path,
)
from hub.device.exclusion import why_private
from hub.device.shared import Root, SharedFolders
from protocol.skipped_files import SkipReason
from protocol.work import RunConfig

WAYS = [PathFolder, *([DescriptorFolder] if folders.HAS_DESCRIPTORS else [])]


@pytest.fixture(params=WAYS)
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Folder with a file, a folder, and links to what is outside, as each way opens it."""
    monkeypatch.setattr(folders, "way", request.param)
    base = tmp_path / "root"
    (base / "in").mkdir(parents=True)
    (base / "in/a.md").write_bytes(b"a\r\nb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.md").write_text("secret")
    (base / "link").symlink_to(tmp_path / "out")
    (base / "in/link.md").symlink_to(tmp_path / "out/a.md")
    yield base


def why_refused(folder: Path, *parts: str) -> int | None:
    with pytest.raises(OSError) as refused, enter(str(folder), parts[:-1], lists=False) as opened:
        os.close(opened.open_file(parts[-1]))
    return refused.value.errno


def test_entered_folder_reads_a_file_unchanged_and_lists_all_names(root: Path) -> None:
    with enter(str(root), ("in",)) as folder:
        descriptor = folder.open_file("a.md")
        try:
            read = os.read(descriptor, 100)
        finally:
            os.close(descriptor)
        assert (read, sorted(folder.names()), folder.path) == (
            b"a\r\nb",
            ["a.md", "link.md"],
            str(root / "in"),
        )
        assert is_link(folder.stat("link.md"))


def test_symbolic_links_in_any_part_of_a_path_are_refused(root: Path) -> None:
    refused = {errno.ELOOP, errno.ENOTDIR}
    assert why_refused(root, "in", "link.md") in refused
    assert why_refused(root, "link", "a.md") in refused
    with pytest.raises(OSError) as error:
        enter(str(root), ("link",))
    assert error.value.errno in refused
    assert why_refused(root, "in", "none.md") == errno.ENOENT


def test_open_folder_replaced_by_another_shows_no_file_of_the_other(root: Path) -> None:
    with enter(str(root), ("in",)) as folder:
        (root / "in").rename(root / "old")
        (root / "link").rename(root / "in")
        if isinstance(folder, DescriptorFolder):  # it has the folder that was opened
            assert "link.md" in folder.names()
        else:
            with pytest.raises(OSError) as refused:
                folder.names()
            assert refused.value.errno == errno.ELOOP
            with pytest.raises(OSError):
                folder.open_file("a.md")


class _Disk(PathFolder):
    """Folder on a disk that ignores case and forms of Unicode, and knows short names."""

    def stat(self, name: str) -> os.stat_result:
        known = {spelled(other): other for other in self.names()}
        return super().stat(known.get(spelled(name.removesuffix(".").replace("DRAFTS~1", "Drafts")), name))


def spelled(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@pytest.fixture
def disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "way", _Disk)
    for name in ("Drafts/plan.md", "Open/a.md", f"Open/{unicodedata.normalize('NFD', 'Größe')}.md"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    (root / ".hubignore").write_text("Drafts/\n")
    return root


@pytest.mark.parametrize(
    ("asked", "offered", "reasons"),
    [
        ("Open/A.MD", ["r/Open/a.md"], set()),
        ("OPEN/Größe.md", [unicodedata.normalize("NFD", "r/Open/Größe.md")], set()),
        ("Drafts/plan.md", [], {SkipReason.IGNORED}),
        ("drafts/PLAN.md", [], {SkipReason.IGNORED}),
        ("DRAFTS~1/plan.md", [], {SkipReason.MISSING}),
        ("Open./a.md", [], {SkipReason.MISSING}),
        ("Open/a.md::$DATA", [], {SkipReason.MISSING}),
        ("NUL", [], {SkipReason.MISSING}),
    ],
)
def test_rules_hold_for_every_spelling_of_a_name(
    disk: Path, asked: str, offered: list[str], reasons: set[str]
) -> None:
    shared = SharedFolders([Root("r", str(disk), str(disk))], home="/nowhere")
    places, _ = shared.places([asked])
    files, skipped = shared.list_files(places, RunConfig(), None, lambda: None)
    assert ([file.path for file in files], {one.reason for one in skipped}) == (offered, reasons)


def test_real_path_has_the_spelling_of_the_directory_entry(disk: Path) -> None:
    assert real_path(str(disk / "Open")) == str(disk / "Open")
    assert real_path(str(disk / "oPEN")) == str(disk / "Open")


def test_path_of_an_agent_names_a_root_as_the_system_compares_names(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedFolders([Root("Übung", "/home/Übung", "/home/Übung")], home="/home")
    asked = unicodedata.normalize("NFD", "~/ÜBUNG/x.md")
    assert shared.places([asked])[0] == []
    monkeypatch.setattr(folders, "IGNORES_CASE", True)
    assert [place.parts for place in shared.places([asked])[0]] == [("x.md",)]


def test_names_of_secrets_are_private_in_every_form_of_unicode() -> None:
    assert why_private(unicodedata.normalize("NFD", "Passwörter.txt")) is SkipReason.KEY_FILE


# As Windows numbers them: a mount point, and a file of OneDrive that is not here yet.
def test_junctions_are_links_and_files_of_a_cloud_are_not() -> None:
    def info(tag: int, attributes: int = 0, flags: int = 0) -> Any:
        return cast(
            Any,
            SimpleNamespace(
                st_mode=stat.S_IFDIR, st_reparse_tag=tag, st_file_attributes=attributes, st_flags=flags
            ),
        )

    assert is_link(info(0xA000_0003)) and not is_link(info(0x9000_001A))
    assert is_hidden(info(0, stat.FILE_ATTRIBUTE_HIDDEN)) and is_hidden(info(0, 0, stat.UF_HIDDEN))
    assert not is_hidden(info(0, stat.FILE_ATTRIBUTE_READONLY))


def test_reserved_device_names_are_recognized_only_on_windows() -> None:
    names = ("con", "NUL.db", "com1.key", "console", "null.db", "com10", "desk")
    assert [is_reserved(name, system="win32") for name in names] == [True, True, True, *4 * [False]]
    assert not any(is_reserved(name, system="linux") for name in names)


def test_extended_windows_path_has_the_long_path_prefix() -> None:
    assert extended("C:/Users/anna/../bo") == "\\\\?\\C:\\Users\\bo"
    assert extended("//server/share/x") == "\\\\?\\UNC\\server\\share\\x"
    assert extended("\\\\?\\C:\\x") == "\\\\?\\C:\\x"
