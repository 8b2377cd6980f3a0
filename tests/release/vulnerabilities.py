"""Known vulnerabilities of the locked versions, by a data file that has a date.

``python -m tests.release.vulnerabilities`` looks the locked versions up in ``vulnerabilities.json``. It has
advisories in the OSV format, cut down to what is compared. ``--renew FILE`` writes it anew from the archive
of all advisories about PyPI that osv.dev offers, ``PyPI/all.zip``; ``hub/docs/release.md`` says when.
"""

import argparse
import datetime
import json
import sys
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tests.release.locked import DEVELOPMENT, OPTIONAL, RUNTIME, Locked, locked

FILE: Final = Path(__file__).with_name("vulnerabilities.json")
OLD_DAYS: Final = 30


class Package(msgspec.Struct, frozen=True):
    """Package of an advisory."""

    ecosystem: str
    name: str


class Range(msgspec.Struct, frozen=True):
    """Affected versions: each event begins or ends them."""

    type: str
    events: tuple[dict[str, str], ...]


class Affected(msgspec.Struct, frozen=True):
    """Affected versions of one package. *versions*: by their names, besides the ranges."""

    package: Package
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()


class Advisory(msgspec.Struct, frozen=True):
    """Advisory, as the OSV format has it. *withdrawn*: when it was taken back."""

    id: str
    affected: tuple[Affected, ...] = ()
    aliases: tuple[str, ...] = ()
    summary: str = ""
    withdrawn: str | None = None


class Known(msgspec.Struct, frozen=True):
    """The data file. *accepted*: ids of advisories that do not concern the hub, with the reason."""

    date: datetime.date
    source: str
    accepted: dict[str, str]
    advisories: tuple[Advisory, ...]


class Finding(NamedTuple):
    """A locked version that an advisory names."""

    package: Locked
    advisory: Advisory

    def __str__(self) -> str:
        names = "/".join((self.advisory.id, *self.advisory.aliases))
        return f"{self.package.name} {self.package.version}: {names}: {self.advisory.summary}"


def known() -> Known:
    """Return the data file."""
    return msgspec.json.decode(FILE.read_bytes(), type=Known)


def vulnerable(of: Iterable[Locked], by: Known) -> Iterator[Finding]:
    """Yield the packages whose version an advisory names that was not accepted."""
    for package in of:
        for advisory in by.advisories:
            if advisory.withdrawn is not None or {advisory.id, *advisory.aliases} & by.accepted.keys():
                continue
            if any(_names(affected, package) for affected in advisory.affected):
                yield Finding(package, advisory)


def _names(affected: Affected, package: Locked) -> bool:
    if affected.package.ecosystem != "PyPI" or canonicalize_name(affected.package.name) != package.name:
        return False
    if package.version in affected.versions:
        return True
    ranges = [one for one in affected.ranges if one.type == "ECOSYSTEM"]
    return any(_is_in(Version(package.version), one.events) for one in ranges)


def _is_in(version: Version, events: Iterable[dict[str, str]]) -> bool:
    """Follow the events in the order of their versions, as the OSV format says."""
    is_affected = False
    for number, kind in sorted(
        ((_version(number), kind) for event in events for kind, number in event.items() if kind != "limit"),
        key=lambda event: event[0],
    ):
        if kind == "introduced" and version >= number:
            is_affected = True
        elif (kind == "fixed" and version >= number) or (kind == "last_affected" and version > number):
            is_affected = False
    return is_affected


def _version(number: str) -> Version:
    try:
        return Version(number)
    except InvalidVersion:
        return Version("0")  # "0" is the beginning; a range that cannot be read includes all versions


def age(by: Known, today: datetime.date) -> str:
    """Return the date of the data file, and that it is to be renewed if it is old."""
    days = (today - by.date).days
    return f"{by.date}, {days} days ago" + (": renew them" if days > OLD_DAYS else "")


def renewed(archive: Path, names: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the advisories of an archive about packages of these names, cut down to what is compared."""
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            advisory = msgspec.json.decode(opened.read(name), type=Advisory)
            affected = tuple(one for one in advisory.affected if canonicalize_name(one.package.name) in names)
            if affected and advisory.withdrawn is None:
                yield msgspec.to_builtins(
                    Advisory(
                        advisory.id, affected=affected, aliases=advisory.aliases, summary=advisory.summary
                    )
                )


def main() -> None:
    parser = argparse.ArgumentParser(description="Look the locked versions up in vulnerabilities.json.")
    parser.add_argument("--renew", metavar="FILE", type=Path, help="archive of advisories in the OSV format")
    archive: Path | None = parser.parse_args().renew
    packages, before = locked(RUNTIME + OPTIONAL + DEVELOPMENT), known()
    if archive is not None:
        day = datetime.datetime.now(datetime.UTC).date()
        advisories = list(renewed(archive, {package.name for package in packages}))
        head = {"date": str(day), "source": f"osv.dev, {archive.name}", "accepted": before.accepted}
        lines = ",\n".join(f"    {json.dumps(advisory)}" for advisory in advisories)
        text = json.dumps(head, indent=2).removesuffix("\n}")
        FILE.write_text(f'{text},\n  "advisories": [\n{lines}\n  ]\n}}\n', "utf-8")
        print(f"{FILE.name}: {len(advisories)} advisories about {len(packages)} packages")
    findings = [str(finding) for finding in vulnerable(packages, known())]
    day = datetime.datetime.now(datetime.UTC).date()
    print("\n".join(findings) or f"no advisory names a locked version; they are of {age(known(), day)}")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
