"""The version, the same in every place that names it, and the cut of the next one."""

import datetime
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hub.base.version import VERSION
from storage.kernel.migrate import revisions
from tests.release.cut import (
    CHANGES,
    PLACES,
    RELEASES,
    UNRELEASED,
    NotCut,
    _releases,
    cut,
    digest_of,
    record,
    versions_in,
)
from tests.support.source import ROOT

DAY = datetime.date(2026, 11, 26)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the files that name the version."""
    for name in (*PLACES, CHANGES, RELEASES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changes = (tmp_path / CHANGES).read_text("utf-8")
    (tmp_path / CHANGES).write_text(changes.replace(UNRELEASED, f"{UNRELEASED}\nA change.\n", 1), "utf-8")
    return tmp_path


def next_version() -> str:
    major, minor, _ = VERSION.split(".")
    return f"{major}.{int(minor) + 1}.0"


def test_each_place_names_the_version_of_the_hub() -> None:
    assert {name: version for name, version in versions_in(ROOT) if version != VERSION} == {}


def test_tag_of_the_current_commit_is_the_version() -> None:
    words = ["git", "tag", "--points-at", "HEAD", "v[0-9]*"]
    tags = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{VERSION}"}


def test_changelog_begins_with_the_unreleased_section() -> None:
    assert re.findall(r"^## .*\n", (ROOT / CHANGES).read_text("utf-8"), re.MULTILINE)[0] == UNRELEASED


def test_cut_writes_the_new_version_to_all_places_and_the_changelog(root: Path) -> None:
    version = next_version()
    before = (root / CHANGES).read_text("utf-8")
    cut(root, version, DAY)
    assert {one for _, one in versions_in(root)} == {version}
    changes = (root / CHANGES).read_text("utf-8")
    assert changes.startswith(f"# Changes\n\n{UNRELEASED}\n## {version} (2026-11-26)\n\nA change.\n")
    assert changes.replace(f"\n## {version} (2026-11-26)\n", "", 1) == before
    newest = _releases(root)[-1]
    assert (newest.revision, newest.digest) == (revisions()[-1], digest_of(revisions()[-1]))
    assert newest.commit is None


@pytest.mark.parametrize("version", ["0.0.9", VERSION, "next", "1.0", ""])
def test_version_not_above_the_current_is_refused_and_nothing_is_written(root: Path, version: str) -> None:
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with pytest.raises(NotCut, match=r"is no version above"):
        cut(root, version, DAY)
    assert {file: file.read_bytes() for file in before} == before


def test_release_without_changes_is_refused(root: Path) -> None:
    cut(root, next_version(), DAY)
    with pytest.raises(NotCut, match="has nothing below"):
        cut(root, "99.0.0", DAY)


def test_place_without_the_version_is_named_before_anything_is_written(root: Path) -> None:
    manifest = root / "hub/device/typescript/obsidian/manifest.json"
    manifest.write_text("{}", "utf-8")
    with pytest.raises(NotCut, match=r"manifest\.json has the version 0 times, not 1"):
        cut(root, next_version(), DAY)
    assert dict(versions_in(ROOT))["hub/base/version.py"] in (root / "hub/base/version.py").read_text("utf-8")


def test_commit_of_the_release_is_recorded_in_full(root: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "release")
    cut(root, next_version(), DAY)
    assert record(root, "HEAD") == git("rev-parse", "HEAD") == _releases(root)[-1].commit
    with pytest.raises(NotCut, match="knows no commit 'v77'"):
        record(root, "v77")
