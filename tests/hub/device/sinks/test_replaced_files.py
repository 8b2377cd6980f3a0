"""Access rights and names of a file whose content is replaced, and the consent of its owner."""

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hub.base.system import folders
from hub.device.device_file import connect_shared
from hub.device.sinks import answers
from hub.device.sinks.file_ticks import tick_sources
from hub.device.sinks.text_file import TextFile, content_of
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES
from tests.hub.device.sinks.test_links import WAYS
from tests.hub.device.sinks.test_sources import CLOCK, Note
from tests.support.families import each

USER, OTHER, GROUP = 65_533, 65_532, 65_531
ACCESS_LIST = "system.posix_acl_access"
# A user with an entry of his own: owner, user, group, mask, others.
ENTRIES = ((1, 6, -1), (2, 6, OTHER), (4, 4, -1), (16, 6, -1), (32, 0, -1))

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="files of several users are made by root"
)


class Written:
    """File with boxes of others, to which a sink writes a row, or whose own box is ticked."""

    def __init__(self, way: str, base: Path) -> None:
        self.base, self.way = base, way
        if way == "tick_in":
            note = Note(base, "- [ ] Pay\n", "Pay")
            self.path, self.db, self.sink = note.path, note.db, ""
            return
        bench = SinkBench(base)
        bench.approve({"title": "Pay"})
        self.bench, self.db, self.sink = bench, bench.path, "there"
        form, head, tail, _ = FILES[way]
        self.form, self.path = form, base / f"list.{way}"
        self.path.write_text(head + tail)

    def write(self) -> str:
        """Write, and return the problem."""
        if self.way != "tick_in":
            return self.bench.synchronize(TextFile(self.path, self.form())).problem
        with connect_shared(self.db) as db:
            return tick_sources(db, (self.path.parent,), CLOCK.now()).problem

    def agree(self) -> int:
        with connect_shared(self.db) as db:
            return answers.agree(db, self.sink)


@contextmanager
def as_user(base: Path) -> Iterator[None]:
    """Run the block as a user who is not root, and owns the files below *base*."""
    for folder in (base, *base.parents):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)
    for path in (base, *base.rglob("*")):
        if path.stat().st_uid == 0:
            os.chown(path, USER, USER)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(USER)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def set_access_list(path: Path, name: str = ACCESS_LIST) -> bool:
    """Give a file an access list, or a folder one for new files; return False on a disk without them."""
    coded = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, user & 0xFFFF_FFFF) for tag, rights, user in ENTRIES
    )
    with suppress(OSError):
        os.setxattr(path, name, coded)
        return True
    return False


@each("reached", WAYS)
@each("way", [*FILES, "tick_in"])
def test_replaced_file_keeps_owner_group_mode_access_list_and_attributes(
    way: str, reached: type[folders.Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "way", reached)
    base = tmp_path / f"{way}-{reached.__name__}"
    base.mkdir()
    file = Written(way, base)
    os.chown(file.path, USER, GROUP)
    file.path.chmod(0o2660)
    attributes = {}
    if sys.platform == "linux":
        set_access_list(file.path)
        with suppress(OSError):
            os.setxattr(file.path, "user.note", b"mine")
        attributes = {name: os.getxattr(file.path, name) for name in os.listxattr(file.path)}
    before = file.path.stat()
    assert file.write() == ""
    after = file.path.stat()
    assert after.st_ino != before.st_ino  # it was replaced as a whole: a kill leaves the old or the new text
    assert (after.st_uid, after.st_gid, after.st_mode) == (USER, GROUP, before.st_mode)
    if sys.platform == "linux":
        assert {name: os.getxattr(file.path, name) for name in os.listxattr(file.path)} == attributes


@pytest.mark.skipif(sys.platform != "linux", reason="access lists are attributes")
def test_replaced_file_without_an_access_list_gets_no_access_list_of_the_folder(tmp_path: Path) -> None:
    file = Written("markdown", tmp_path)
    file.path.chmod(0o660)
    if not set_access_list(file.path.parent, "system.posix_acl_default"):
        pytest.skip("this disk has no access lists")
    assert file.write() == ""
    assert ACCESS_LIST not in os.listxattr(file.path)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o660


@pytest.mark.skipif(sys.platform != "linux", reason="access lists are attributes")
@pytest.mark.parametrize(
    ("broken", "problem"), [("user.note", ""), (ACCESS_LIST, "it would lose its access list: only root")]
)
def test_attribute_impossible_to_copy_removes_no_access_list(
    broken: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Written("markdown", tmp_path)
    if not set_access_list(file.path):
        pytest.skip("this disk has no access lists")
    os.setxattr(file.path, "user.note", b"mine")
    names, content, copy = os.listxattr(file.path), os.getxattr(file.path, ACCESS_LIST), os.setxattr

    def fail(target: int, name: str, value: bytes) -> None:
        if name == broken:
            raise OSError(errno.EINVAL, "no such attribute here")
        copy(target, name, value)

    monkeypatch.setattr(os, "listxattr", lambda path: sorted(names, reverse=True))
    monkeypatch.setattr(os, "setxattr", fail)
    assert problem in file.write() and bool(problem) is ("Pay" not in file.path.read_text())
    assert os.getxattr(file.path, ACCESS_LIST) == content


def link(path: Path) -> None:
    (path.parent / "second name").hardlink_to(path)


def of_other(path: Path) -> None:
    os.chown(path, OTHER, USER)
    path.chmod(0o666)


def of_group(path: Path) -> None:
    os.chown(path, USER, GROUP)


def of_both(path: Path) -> None:
    os.chown(path, OTHER, GROUP)
    path.chmod(0o666)


@each(
    ("change", "words"),
    [
        (link, "it has 2 names (hard links): the others would keep the old text"),
        (of_other, "it would lose its owner: only root, or this owner, can keep that"),
        (of_group, "it would lose its group: only root, or a member of this group, can keep that"),
        (of_both, "owner and group: only root, or this owner who is a member of this group, can keep that"),
    ],
)
@each("way", ["markdown", "csv", "tick_in"])
def test_file_about_to_lose_an_owner_or_a_name_is_written_only_after_consent(
    way: str, change: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    base = tmp_path / f"{way}-{change.__name__}"
    base.mkdir()
    file = Written(way, base)
    change(file.path)
    before = file.path.read_bytes()
    with as_user(base):
        info = file.path.stat()
        for _ in range(2):
            problem = file.write()
            assert words in problem and f"{file.path}: " in problem
            assert f"hub device sync --agree {file.sink or 'tick_in'}" in problem
        now = file.path.stat()
        assert (content_of(file.path)[0], now.st_ino, now.st_uid) == (before, info.st_ino, info.st_uid)
        assert not list(file.path.parent.glob(".*"))
        assert (file.agree(), file.agree()) == (1, 0)
        assert file.write() == ""
        assert content_of(file.path)[0] != before
        assert stat.S_IMODE(file.path.stat().st_mode) == stat.S_IMODE(info.st_mode)


def test_consent_for_a_file_holds_for_no_other_file(tmp_path: Path) -> None:
    file = Written("markdown", tmp_path)
    link(file.path)
    assert "hard links" in file.write()
    assert file.agree() == 1
    (tmp_path / "elsewhere").mkdir()
    file.path = file.path.rename(tmp_path / "elsewhere/list.md")
    assert f"{file.path}: it has 2 names" in file.write()


def test_consent_for_hard_links_does_not_hold_for_later_links(tmp_path: Path) -> None:
    file = Written("markdown", tmp_path)
    link(file.path)
    assert "hard links" in file.write()
    (tmp_path / "third name").hardlink_to(file.path)
    assert file.agree() == 1
    assert "it has 3 names" in file.write()
    assert (file.agree(), file.write()) == (1, "")
    (tmp_path / "later name").hardlink_to(file.path)
    (tmp_path / "last name").hardlink_to(file.path)
    file.bench.approve({"title": "Write"})
    assert "it has 3 names" in file.write()


@each("way", ["markdown", "csv", "tick_in"])
def test_write_protected_file_is_written_only_after_consent(way: str, tmp_path: Path) -> None:
    (base := tmp_path / way).mkdir()
    file = Written(way, base)
    file.path.chmod(0o444)
    before = file.path.read_bytes()
    assert "it is write-protected (mode 0444); if that is meant: hub device sync --agree" in file.write()
    assert (file.path.read_bytes(), file.agree(), file.write()) == (before, 1, "")
    assert (file.path.read_bytes() == before, stat.S_IMODE(file.path.stat().st_mode)) == (False, 0o444)


def test_write_protected_file_with_rows_is_written(tmp_path: Path) -> None:
    file = Written("markdown", tmp_path)
    assert file.write() == ""
    file.path.chmod(0o444)
    file.bench.approve({"title": "Write"})
    assert (file.write(), "Write" in file.path.read_text()) == ("", True)


def test_member_of_a_group_keeps_the_group_of_a_file(tmp_path: Path) -> None:
    file = Written("markdown", tmp_path)
    of_group(file.path)
    with as_user(tmp_path):
        os.seteuid(0)
        os.setgroups([GROUP])
        os.seteuid(USER)
        assert file.write() == ""
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (USER, GROUP)
