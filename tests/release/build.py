"""Builds what people get, and compares builds byte for byte."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from trove_classifiers import classifiers

from hub.base.version import VERSION
from tests.release.cut import PACKAGE

NAME: Final = f"device_hub-{VERSION}"
PACKAGES: Final = ("hub", "protocol", "storage")
PLUGIN: Final = ("main.js", "manifest.json")  # of Obsidian, as its catalogue wants them
HATCHLING: Final = (sys.executable, "-m", "hatchling", "build", "-d")
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # time of a file in a zip archive


class Failed(Exception):
    """A check of a release that does not hold. The message says what is wrong."""


def run(*words: str | Path, cwd: Path, umask: int = 0o022, **variables: str) -> str:
    """Run a command and return its output.

    Raises:
        Failed: the command is not installed, or ended with an error; with the end of its output.
    """
    try:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            umask=umask,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failed(f"{words[0]} is not installed here") from error
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-15:])
        raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{end}")
    return done.stdout


def build(source: Path, target: Path, *, epoch: int, kinds: str = "sdist,wheel") -> None:
    """Build the source distribution and the wheel of *source* into *target*. *epoch*: time of all files."""
    chosen = [word for kind in kinds.split(",") for word in ("-t", kind)]
    run(*HATCHLING, target, *chosen, cwd=source, SOURCE_DATE_EPOCH=str(epoch))


def build_elsewhere(source: Path, folder: Path, target: Path, *, epoch: int) -> Path:
    """Build a copy with other permissions, times, order of files, zone and language. Return the copy."""
    copy = folder / "a longer way" / "to another place"
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_file() and ".git" not in path.relative_to(source).parts:
            file = copy / path.relative_to(source)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, file)
            file.chmod(0o700 if os.access(path, os.X_OK) else 0o600)
            os.utime(file, (1_000_000_000, 1_000_000_000))
    other = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    run(*HATCHLING, target, cwd=copy, umask=0o077, **other)
    return copy


def build_from_source(sdist: Path, folder: Path, target: Path, *, epoch: int) -> None:
    """Build the wheel of a source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    build(folder / NAME, target, epoch=epoch, kinds="wheel")


def pack(source: Path, folder: Path, target: Path) -> None:
    """Pack the package of npm, and the plug-in of Obsidian, into *target*.

    Args:
        folder: for a copy of the package: npm packs the permissions that it finds.
    """

    def copy(one: str, other: str) -> None:
        shutil.copyfile(one, other)
        os.chmod(other, 0o644)

    package = folder / "package"
    shutil.copytree(
        source / PACKAGE, package, ignore=shutil.ignore_patterns("node_modules"), copy_function=copy
    )
    run("npm", "pack", "--offline", "--ignore-scripts", "--pack-destination", target, cwd=package)
    with zipfile.ZipFile(target / f"device-hub-obsidian-{VERSION}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in PLUGIN:
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (package / "obsidian" / name).read_bytes(), zipfile.ZIP_DEFLATED)


def differences(one: Path, other: Path) -> list[str]:
    """Return how the archives of two folders differ; empty if they are the same bytes."""
    first, second = ({file.name: file for file in folder.iterdir()} for folder in (one, other))
    found = [f"{name}: built once only" for name in sorted(first.keys() ^ second.keys())]
    for name in sorted(first.keys() & second.keys()):
        if first[name].read_bytes() == second[name].read_bytes():
            continue
        members, others = dict(_members(first[name])), dict(_members(second[name]))
        differ = [
            path for path in sorted(members.keys() | others.keys()) if members.get(path) != others.get(path)
        ]
        found.append(f"{name}: {', '.join(differ[:5]) or 'order or packing of its files'}")
    return found


def _members(archive: Path) -> Iterator[tuple[str, object]]:
    """Yield the files of an archive: content, permissions and time of each by its name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                yield entry.filename, (opened.read(entry), entry.external_attr, entry.date_time)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member)
                owner = (member.uid, member.gid, member.uname, member.gname)
                yield member.name, (content and content.read(), member.mode, member.mtime, owner)


def metadata_of(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return BytesParser().parsebytes(archive.read(f"{NAME}.dist-info/METADATA"))


def wrong_contents(folder: Path) -> list[str]:
    """Return what the wheel and the source distribution in *folder* lack, or have and should not."""
    wheel = {name for name, _ in _members(folder / f"{NAME}-py3-none-any.whl")}
    source = {name.partition("/")[2] for name, _ in _members(folder / f"{NAME}.tar.gz")}
    metadata = metadata_of(folder / f"{NAME}-py3-none-any.whl")
    typed = {f"{package}/py.typed" for package in PACKAGES}
    licence = f"{NAME}.dist-info/licenses/LICENSE"
    built = {"hub/api/web/dist/index.html", "hub/hub.toml", "hub/docs/first-run.md"}
    built |= {f"hub/connectors/{name}.toml" for name in ("example", "manifests/rss")}
    built |= {f"hub/connectors/sdk/{name}" for name in ("hub_connector.mjs", "connector.py.txt")}
    tops = {name.partition("/")[0] for name in wheel} - {*PACKAGES, f"{NAME}.dist-info"}
    needed = {
        "pyproject.toml",
        "hub.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        f"{PACKAGE}/src/device.ts",
    }
    foreign = {name.partition("/")[0] for name in source if "/" in name} - {*PACKAGES}
    kinds = metadata.get_all("Classifier", [])
    return [
        *(f"the wheel has no {name}" for name in sorted((typed | built | {licence}) - wheel)),
        *(f"the wheel has {name}" for name in sorted(tops)),
        *(f"the source distribution has no {name}" for name in sorted((needed | typed) - source)),
        *(f"the source distribution has {name}" for name in sorted(foreign)),
        *(f"no classifier: {kind}" for kind in kinds if kind not in classifiers),
        *(
            f"the metadata have {metadata[key]!r} as {key}, not {value!r}"
            for key, value in {
                "Version": VERSION,
                "License-Expression": "Apache-2.0",
                "Requires-Python": ">=3.11",
            }.items()
            if metadata[key] != value
        ),
        *(
            f"the metadata have no {key}"
            for key in ("Summary", "Keywords", "Classifier")
            if not metadata[key]
        ),
    ]
