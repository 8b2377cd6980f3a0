"""Builds are the same byte for byte, and have what they need."""

import shutil
import zipfile
from pathlib import Path

import pytest

from hub.base.version import VERSION
from tests.release.build import (
    NAME,
    Failed,
    build,
    build_elsewhere,
    build_from_source,
    differences,
    pack,
    run,
    wrong_contents,
)
from tests.release.cut import PACKAGE
from tests.support.source import ROOT

EPOCH = 1_795_680_000


def archive(folder: Path, **files: str) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.whl", "w") as opened:
        for name, text in files.items():
            opened.writestr(zipfile.ZipInfo(name), text)
    return folder


def test_changed_byte_of_a_build_is_found(tmp_path: Path) -> None:
    one = archive(tmp_path / "one", a="text", b="more")
    assert differences(one, archive(tmp_path / "same", a="text", b="more")) == []
    assert differences(one, archive(tmp_path / "changed", a="tExt", b="more")) == ["a.whl: a"]
    assert differences(one, archive(tmp_path / "order", b="more", a="text")) == [
        "a.whl: order or packing of its files"
    ]
    (tmp_path / "empty").mkdir()
    assert differences(one, tmp_path / "empty") == ["a.whl: built once only"]


def test_failed_build_command_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"false ended with 1"):
        run("false", cwd=tmp_path)
    with pytest.raises(Failed, match=r"no-such-program is not installed here"):
        run("no-such-program", cwd=tmp_path)


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here: apt-get install npm")
def test_npm_package_is_reproducible_with_any_file_permissions(tmp_path: Path) -> None:
    for name, mode in (("one", 0o644), ("other", 0o600)):
        copy, built = tmp_path / name, tmp_path / f"built-{name}"
        shutil.copytree(ROOT / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("node_modules"))
        for file in copy.rglob("*.js"):
            file.chmod(mode)
        built.mkdir()
        pack(copy, tmp_path / f"npm-{name}", built)
    assert differences(tmp_path / "built-one", tmp_path / "built-other") == []
    names = {file.name for file in (tmp_path / "built-one").iterdir()}
    assert names == {f"device-hub-{VERSION}.tgz", f"device-hub-obsidian-{VERSION}.zip"}


@pytest.mark.slow
def test_two_builds_and_a_build_of_the_source_distribution_are_the_same(tmp_path: Path) -> None:
    clone = tmp_path / "clone"  # of this folder as it is, also while a release is cut
    for name in run("git", "ls-files", "-z", cwd=ROOT).rstrip("\0").split("\0"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    build(clone, tmp_path / "one", epoch=EPOCH)
    build_elsewhere(clone, tmp_path, tmp_path / "again", epoch=EPOCH)
    assert differences(tmp_path / "one", tmp_path / "again") == []
    assert wrong_contents(tmp_path / "one") == []
    shutil.copytree(tmp_path / "one", tmp_path / "wrong")
    with zipfile.ZipFile(tmp_path / "wrong" / f"{NAME}-py3-none-any.whl", "a") as wheel:
        wheel.writestr("tests/__init__.py", "")
    assert wrong_contents(tmp_path / "wrong") == ["the wheel has tests"]
    build_from_source(
        tmp_path / "one" / f"{NAME}.tar.gz", tmp_path / "sdist", tmp_path / "again", epoch=EPOCH
    )
    assert differences(tmp_path / "one", tmp_path / "again") == []
