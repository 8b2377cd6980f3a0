"""Locked versions with a known vulnerability are found."""

import datetime
import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from tests.release.locked import DEVELOPMENT, OPTIONAL, RUNTIME, Locked, locked
from tests.release.vulnerabilities import Advisory, Known, age, known, renewed, vulnerable
from tests.support.families import each


def package(name: str, version: str = "1.0") -> Locked:
    return Locked(name, version, here=True, hashes=())


def data(*events: dict[str, str], **fields: Any) -> Known:
    affected = [
        {
            "package": {"ecosystem": "PyPI", "name": "Some_Name"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
    ]
    return msgspec.convert(
        {
            "date": "2026-11-01",
            "source": "a test",
            "accepted": fields.pop("accepted", {}),
            "advisories": [{"id": "X-1", "aliases": ["CVE-1"], "affected": affected, **fields}],
        },
        Known,
    )


@each(
    ("version", "events", "hit"),
    [
        ("1.0", [{"introduced": "0"}, {"fixed": "1.1"}], True),
        ("1.1", [{"introduced": "0"}, {"fixed": "1.1"}], False),
        ("1.1rc1", [{"introduced": "0"}, {"fixed": "1.1"}], True),
        ("1.10", [{"introduced": "1.9"}, {"fixed": "1.11"}], True),
        ("0.9", [{"introduced": "1.0"}], False),
        ("2.0", [{"introduced": "1.0"}, {"last_affected": "2.0"}], True),
        ("2.0.1", [{"introduced": "1.0"}, {"last_affected": "2.0"}], False),
        ("3.0", [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "3.0"}], True),
        ("2.0", [{"introduced": "3.0"}, {"introduced": "0"}, {"fixed": "1.0"}], False),
    ],
)
def test_vulnerable_version_is_found(version: str, events: list[dict[str, str]], hit: bool) -> None:
    found = list(vulnerable([package("some-name", version)], data(*events)))
    assert bool(found) is hit
    assert [str(one) for one in found] == [f"some-name {version}: X-1/CVE-1: "] * hit


def test_withdrawn_accepted_or_unrelated_advisory_is_not_reported() -> None:
    every = {"introduced": "0"}
    assert list(vulnerable([package("some-name")], data(every)))
    assert not list(vulnerable([package("some-name")], data(every, withdrawn="2026-01-01T00:00:00Z")))
    assert not list(vulnerable([package("some-name")], data(every, accepted={"CVE-1": "not used"})))
    assert not list(vulnerable([package("other")], data(every)))


def test_locked_versions_have_no_known_vulnerability() -> None:
    assert list(map(str, vulnerable(locked(RUNTIME + OPTIONAL + DEVELOPMENT), known()))) == []


def test_each_known_advisory_matches_the_affected_older_version() -> None:
    for advisory in known().advisories:
        (affected,) = advisory.affected
        older = package(affected.package.name, affected.ranges[0].events[0]["introduced"])
        assert list(vulnerable([older], known())), advisory.id


def test_age_of_the_advisory_file_is_reported_with_a_renewal_hint() -> None:
    every = data({"introduced": "0"})
    assert age(every, datetime.date(2026, 11, 8)) == "2026-11-01, 7 days ago"
    assert age(every, datetime.date(2027, 11, 8)).endswith(": renew them")


def test_file_is_renewed_from_an_archive_of_all_advisories(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, of in (("A", "some-name"), ("B", "other")):
            affected = [
                {"package": {"ecosystem": "PyPI", "name": of}, "versions": ["1.0"], "database_specific": {}}
            ]
            archive.writestr(
                f"{name}.json", json.dumps({"id": name, "affected": affected, "details": "long"})
            )
    (only,) = renewed(tmp_path / "all.zip", {"some-name"})
    found = Known(datetime.date(2026, 11, 26), "a test", {}, (msgspec.convert(only, Advisory),))
    assert [one.advisory.id for one in vulnerable([package("some-name")], found)] == ["A"]
