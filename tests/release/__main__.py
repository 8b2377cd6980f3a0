"""Checks all that people get of a release: ``make release-check`` (``python -m tests.release``).

The source is a clean clone of this commit. What is built comes into ``dist``, with the list of its parts and
with checksums. It takes minutes, and the registries of Python and npm.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path
from time import perf_counter
from typing import Final

from hub.base.version import VERSION
from tests.release.build import (
    NAME,
    PACKAGES,
    Failed,
    build,
    build_elsewhere,
    build_from_source,
    differences,
    pack,
    run,
    wrong_contents,
)
from tests.release.licences import licences, not_allowed
from tests.release.locked import DEVELOPMENT, OPTIONAL, RUNTIME, bundled, locked
from tests.release.parts import delivered, parts
from tests.release.vulnerabilities import age, known, vulnerable
from tests.support.source import ROOT

DIST: Final = ROOT / "dist"
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
NEXT, INDENTED = "\n", "\n" + " " * 28
NOT_HERE: Final = 69  # exit of a check whose programs this machine lacks


class Left(Exception):
    """A check that cannot be made here. The message says why."""


class Check:
    """The steps of a check, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source, self.built = folder, folder / "source", folder / "dist"
        self.environment = folder / "environment"

    def steps(self) -> dict[str, Callable[[], str]]:
        """Return the steps in their order. Each returns what is to be known of it."""
        return {
            "clone": self.clone,
            "build": self.build,
            "again": self.build_again,
            "sdist": self.build_from_source,
            "contents": self.contents,
            "weights": self.weights,
            "install": self.install,
            "licences": self.licences,
            "vulnerabilities": self.vulnerabilities,
            "parts": self.parts,
            "installers": lambda: self.program("installers", str(self.built)),
            "container": lambda: self.program("container"),
        }

    def clone(self) -> str:
        """Clone this commit: neither what is not committed nor what was built here before is in it."""
        run("git", "clone", "--quiet", ROOT, self.source, cwd=self.folder)
        changed = run("git", "status", "--porcelain", cwd=ROOT).splitlines()
        left = f"; {len(changed)} files of this folder differ from it" if changed else ""
        return f"commit {self.commit[:12]} of {self.at:%Y-%m-%d}{left}"

    @cached_property
    def commit(self) -> str:
        """Return the commit that is checked."""
        return run("git", "rev-parse", "HEAD", cwd=self.source).strip()

    @cached_property
    def at(self) -> datetime.datetime:
        """Return the time of the commit, which is that of all files."""
        seconds = int(run("git", "log", "-1", "--format=%ct", cwd=self.source))
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    @cached_property
    def _epoch(self) -> int:
        return int(self.at.timestamp())

    def build(self) -> str:
        """Build wheel and source distribution, and pack the package of npm and the plug-in."""
        build(self.source, self.built, epoch=self._epoch)
        pack(self.source, self.folder / "npm", self.built)
        return sizes(self.built)

    def build_again(self) -> str:
        """Build a copy of the clone, and compare."""
        again = self.folder / "again"
        copy = build_elsewhere(self.source, self.folder, again, epoch=self._epoch)
        pack(copy, self.folder / "npm-again", again)
        return _same(self.built, again)

    def build_from_source(self) -> str:
        """Build the wheel of the source distribution, and compare."""
        again, extracted = self.folder / "again", self.folder / "extracted"
        build_from_source(self.built / f"{NAME}.tar.gz", extracted, again, epoch=self._epoch)
        return _same(self.built, again)

    def contents(self) -> str:
        """Look through wheel, source distribution and metadata."""
        if wrong := wrong_contents(self.built):
            raise Failed("\n".join(wrong))
        return "complete, and nothing else"

    def weights(self) -> str:
        """Build the wheel with the small model's weights."""
        wheel = Path(self.program("weights", str(self.built)))
        return f"{wheel.stat().st_size / 1024:8,.0f} KiB  {wheel.name}"

    def install(self) -> str:
        """Install all locked packages and the wheel into an empty environment."""
        run(sys.executable, "-m", "venv", self.environment, cwd=self.folder)
        python, without = self.environment / "bin/python", ("--no-deps",)
        for file in (*RUNTIME[:1], *DEVELOPMENT, *OPTIONAL):
            run(python, *PIP, "--require-hashes", "-r", file, cwd=self.source)
        run(python, *PIP, "--require-hashes", *without, "-r", RUNTIME[1], cwd=self.source)
        run(python, *PIP, *without, self.built / f"{NAME}-py3-none-any.whl", cwd=self.folder)
        told = run(self.environment / "bin/hub", "--version", cwd=self.folder).strip()
        if VERSION not in told.split():
            raise Failed(f"hub --version says {told!r}, not {VERSION}")
        for one in self.installed:
            tops = {file.parts[0] for file in one.files or ()} & {*PACKAGES}
            if tops and one.metadata["Name"] != "device-hub":
                raise Failed(f"{one.metadata['Name']} installs {', '.join(tops)}, as the hub does")
        return f"{told}, {len(self.installed)} packages"

    @cached_property
    def installed(self) -> list[Distribution]:
        """Return what is in the environment."""
        (site,) = self.environment.glob("lib/python*/site-packages")
        return list(importlib.metadata.distributions(path=[str(site)]))

    @cached_property
    def _licences(self) -> dict[str, str | None]:
        return licences(locked(RUNTIME + OPTIONAL + DEVELOPMENT, self.source), self.installed)

    @cached_property
    def _bundled(self) -> list[tuple[str, str, str]]:
        return list(bundled(self.source))

    def licences(self) -> str:
        """Compare the licences of all locked packages with the allowed ones."""
        of_pages = {name: licence for name, _, licence in self._bundled}
        if wrong := list(not_allowed(self._licences | of_pages)):
            raise Failed("\n".join(wrong))
        return f"{len(self._licences)} packages of Python, {len(of_pages)} of npm in the dashboard"

    def vulnerabilities(self) -> str:
        """Look for known vulnerabilities of all locked packages."""
        packages, by = locked(RUNTIME + OPTIONAL + DEVELOPMENT, self.source), known()
        if found := list(map(str, vulnerable(packages, by))):
            raise Failed("\n".join(found))
        today = datetime.datetime.now(datetime.UTC).date()
        return f"none in {len(packages)} packages; {len(by.advisories)} advisories of {age(by, today)}"

    def parts(self) -> str:
        """Write the list of parts."""
        of = delivered(locked(RUNTIME + OPTIONAL + DEVELOPMENT, self.source), self.installed)
        text = parts(
            of,
            self._bundled,
            licences=self._licences,
            installed=self.installed,
            commit=self.commit,
            at=self.at,
        )
        (self.built / f"device-hub-{VERSION}.cdx.json").write_text(text, "utf-8")
        return f"{len(of)} packages of Python; CycloneDX 1.6, valid"

    def program(self, name: str, *words: str) -> str:
        """Run another check of this folder, from the clone, and return the last line that it printed.

        Raises:
            Left: it cannot run on this machine.
        """
        try:
            printed = run(sys.executable, "-m", f"tests.release.{name}", *words, cwd=self.source)
        except Failed as error:
            if f" ended with {NOT_HERE}:" in str(error):
                raise Left(str(error).splitlines()[-1]) from error
            raise
        return printed.strip().rpartition("\n")[2]

    def keep(self) -> str:
        """Copy what was built into dist, with checksums."""
        shutil.rmtree(DIST, ignore_errors=True)
        shutil.copytree(self.built, DIST)
        files = sorted(DIST.iterdir())
        sums = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
        (DIST / "SHA256SUMS").write_text("".join(sums), "utf-8")
        return sizes(DIST)


def sizes(folder: Path) -> str:
    """Return the files of a folder with their sizes."""
    files = sorted(folder.iterdir())
    return NEXT.join(f"{file.stat().st_size / 1024:8,.0f} KiB  {file.name}" for file in files)


def _same(one: Path, again: Path) -> str:
    if found := differences(one, again):
        raise Failed("\n".join(found))
    return f"{len(list(one.iterdir()))} files, the same bytes"


def check(steps: dict[str, Callable[[], str]], *, needed: tuple[str, ...]) -> list[str]:
    """Do the steps, print a line of each, and return the names of those that failed.

    Args:
        needed: steps without which no further one can be done.
    """
    failed = []
    for name, step in steps.items():
        began = perf_counter()
        try:
            told = step()
        except Left as error:
            told = f"LEFT OUT: {error}"
        except Failed as error:
            told = f"FAILED: {error}"
            failed.append(name)
        print(f"{perf_counter() - began:8.1f} s  {name:15} {told.replace(NEXT, INDENTED)}", flush=True)
        if name in failed and name in needed:
            break
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description="Check what people get of a release.")
    parser.add_argument("--without", nargs="*", default=[], metavar="STEP", help="steps to leave out")
    left = parser.parse_args().without
    with tempfile.TemporaryDirectory() as folder:
        made = Check(Path(folder))
        steps = made.steps()
        if unknown := set(left) - {*steps}:
            parser.error(f"no step {', '.join(unknown)}; there are {', '.join(steps)}")
        chosen = {name: step for name, step in steps.items() if name not in left}
        failed = check(chosen | {"dist": made.keep}, needed=("clone", "build", "install"))
    if failed:
        sys.exit(f"the release check failed: {', '.join(failed)}")
    others = f"these steps hold; a release needs {', '.join(left)} too"
    print(others if left else f"device-hub {VERSION} may be released")


if __name__ == "__main__":
    main()
