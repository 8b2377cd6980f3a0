"""Versions that the lock files pin, for Python and for the pages of the dashboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.source import ROOT

RUNTIME: Final = ("requirements.txt", "requirements-weights.txt")
OPTIONAL: Final = ("requirements-ocr.txt",)
DEVELOPMENT: Final = ("requirements-dev.txt",)
BUNDLED: Final = "hub/api/web/package-lock.json"


class Locked(NamedTuple):
    """Version of a package that a lock file pins.

    Attributes:
        here: whether it is installed on this system, with this Python.
        hashes: SHA-256 of its files.
    """

    name: str
    version: str
    here: bool
    hashes: tuple[str, ...]


def locked(files: tuple[str, ...], root: Path = ROOT) -> list[Locked]:
    """Return the versions that *files* pin, each one once, by name and version."""
    found = {(one.name, one.version): one for file in files for one in _in_file(root / file)}
    return [one for _, one in sorted(found.items())]


def _in_file(file: Path) -> Iterator[Locked]:
    text = re.sub(r"^\s*#.*\n", "", file.read_text("utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        pinned, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(pinned)
        (version,) = requirement.specifier
        yield Locked(
            canonicalize_name(requirement.name),
            version.version,
            requirement.marker is None or requirement.marker.evaluate(),
            tuple(one.strip() for one in hashes),
        )


def bundled(root: Path = ROOT) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and licence of each package of npm that is part of the dashboard's files."""
    for path, package in json.loads((root / BUNDLED).read_bytes())["packages"].items():
        if path and not package.get("dev"):
            yield path.rpartition("node_modules/")[2], package["version"], package.get("license", "")
