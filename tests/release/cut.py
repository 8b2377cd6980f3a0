"""Cuts a release: one version in every place that names it.

``make release VERSION=0.2.0`` (``python -m tests.release.cut 0.2.0``), and ``python -m tests.release.cut
--record COMMIT`` once the commit of the release exists. See ``hub/docs/release.md``.
"""

import argparse
import datetime
import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import semver

from storage.kernel import migrate
from storage.kernel.migrate import Release, revisions
from tests.support.source import ROOT

CHANGES: Final = "CHANGELOG.md"
UNRELEASED: Final = "## Unreleased\n"
HEADING: Final = re.compile(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", re.MULTILINE)
RELEASES: Final = "storage/kernel/releases.json"
PACKAGE: Final = "hub/device/typescript"
# Each place that names the version, and how often.
PLACES: Final = {
    "hub/base/version.py": (r'(VERSION: Final = ")[^"]+', 1),
    ".container/Containerfile": (r'(^ARG VERSION=")[^"]+', 1),
    f"{PACKAGE}/package.json": (r'(^  "version": ")[^"]+', 1),
    f"{PACKAGE}/package-lock.json": (r'("name": "device-hub",\s+"version": ")[^"]+', 2),
    f"{PACKAGE}/obsidian/manifest.json": (r'(^  "version": ")[^"]+', 1),
}
NEXT_STEPS: Final = """\
{version} is cut. Next:
  git diff                                   # read it
  make web                                   # the packages of npm have the version too
  python -m tests.fixtures                   # what every later change has to open
  make check test slow
  make bench                                 # nothing may be slower than the last release
  git commit -am 'release: {version}'
  make release-check                         # builds, installs and looks through what people get
  git tag v{version}
  python -m tests.release.cut --record v{version}
  git rm -q tests/protocol/recorded/*.jsonl && mkdir -p tests/protocol/recorded
  python -m tests.scenarios.versions --record tests/protocol/recorded/{version}.jsonl
  sed -i "s/^baseline = .*/baseline = \"$(git rev-parse v{version})\"/" pyproject.toml
  git add tests/protocol/recorded && git commit -am 'release: record {version}'"""


class NotCut(Exception):
    """A release that cannot be cut. The message says why."""


def digest_of(revision: str) -> str:
    """Return the SHA-256 of the sources of all revisions up to *revision*."""
    files = sorted((migrate.MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))
    sources = (file.read_text(encoding="utf-8") for file in files if file.name[:4] <= revision)
    return hashlib.sha256("".join(sources).encode()).hexdigest()


def edited_since(of: Iterable[Release]) -> list[str]:
    """Return the releases whose revisions are not as they were released."""
    return [
        f"revision {one.revision} or an earlier one of hub {one.version}"
        for one in of
        if one.revision is not None and digest_of(one.revision) != one.digest
    ]


def versions_in(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each place that names the version, and the version there."""
    for name, (pattern, times) in PLACES.items():
        found = re.findall(rf'{pattern.replace("(", "(?:", 1)}(?=")', (root / name).read_text("utf-8"), re.M)
        if len(found) != times:
            raise NotCut(f"{name} has the version {len(found)} times, not {times}")
        yield from ((name, one.rpartition('"')[2]) for one in found)
    if (heading := HEADING.search((root / CHANGES).read_text("utf-8"))) is None:
        raise NotCut(f"{CHANGES} has no heading of a release, as in '## 0.2.0 (2026-11-26)'")
    yield CHANGES, heading[1]
    yield RELEASES, _releases(root)[-1].version


def cut(root: Path, version: str, day: datetime.date) -> None:
    """Write *version* into each place that names it, and begin a section of CHANGELOG.md.

    Raises:
        NotCut: the version is none, or not newer, or nothing changed since the last one.
    """
    released = _releases(root)
    if not semver.Version.is_valid(version) or not semver.Version.parse(version) > released[-1].version:
        raise NotCut(f"{version!r} is no version above {released[-1].version}, as in 0.2.0")
    changes = (root / CHANGES).read_text("utf-8")
    head, mark, rest = changes.partition(UNRELEASED)
    if not mark or rest.lstrip().startswith("## "):
        raise NotCut(f"{CHANGES} has nothing below {UNRELEASED.strip()!r}")
    dict(versions_in(root))  # all of them are found before one is written
    for name, (pattern, _) in PLACES.items():
        text = (root / name).read_text("utf-8")
        (root / name).write_text(re.sub(pattern, rf"\g<1>{version}", text, flags=re.M), "utf-8")
    (root / CHANGES).write_text(f"{head}{mark}\n## {version} ({day})\n{rest}", "utf-8")
    newest = revisions()[-1]
    _write(root, [*released, Release(version, commit=None, revision=newest, digest=digest_of(newest))])


def record(root: Path, commit: str) -> str:
    """Write the commit of the newest release into the table of releases, and return it in full."""
    words = ["git", "rev-parse", "--verify", f"{commit}^{{commit}}"]
    found = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    if found.returncode:
        raise NotCut(f"git knows no commit {commit!r}: {found.stderr.strip()}")
    *earlier, newest = _releases(root)
    _write(root, [*earlier, msgspec.structs.replace(newest, commit=found.stdout.strip())])
    return found.stdout.strip()


def _releases(root: Path) -> list[Release]:
    return msgspec.json.decode((root / RELEASES).read_bytes(), type=list[Release])


def _write(root: Path, of: list[Release]) -> None:
    rows: list[dict[str, Any]] = [msgspec.to_builtins(one) for one in of]
    (root / RELEASES).write_text(
        "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n", "utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut a release, or record its commit.")
    parser.add_argument("version", nargs="?", help="as in 0.2.0")
    parser.add_argument("--date", type=datetime.date.fromisoformat, help="of the heading; today")
    parser.add_argument("--record", metavar="COMMIT", help="the commit of the newest release")
    given = parser.parse_args()
    if (given.version is None) == (given.record is None):
        parser.error("name a version, as in 'make release VERSION=0.2.0', or --record COMMIT")
    try:
        if given.record is not None:
            print(f"{RELEASES} has the commit {record(ROOT, given.record)}")
        else:
            cut(ROOT, given.version, given.date or datetime.datetime.now(datetime.UTC).date())
            print(NEXT_STEPS.format(version=given.version))
    except NotCut as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
