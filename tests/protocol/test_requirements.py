"""Requirements of runs, and the semantic versions that meet them."""

import pytest
from semver import Version

from protocol.errors import ErrorCode
from protocol.requirements import (
    MAX_BOUNDS,
    MAX_NUMBER,
    BadRequirement,
    BadVersion,
    Unmet,
    find_version,
    parse_requirement,
    parse_version,
    unmet_by,
)
from tests.support.families import each


@each(
    ("need", "will_do", "will_not"),
    [
        ("file.read", "0.0.1 1.2.0-beta 9.9.9 whatever", ""),
        ("file.read >= 1.2", "1.2.0 1.3.0-beta.1 1.10.0 2.0.0", "1.1.9 1.2.0-rc.1 whatever"),
        ("file.read > 1.2", "1.2.1 1.3.0-beta.1", "1.2.0 1.2.0-rc.1"),
        ("file.read <= 2", "1.9.9 2.0.0-beta 2.0.0", "2.0.1 2.1.0-a"),
        ("file.read < 2", "1.9.9 1.9.9-rc.1", "2.0.0 2.0.0-alpha"),
        ("file.read < 2.0.0-beta", "2.0.0-alpha 1.0.0", "2.0.0-beta 2.0.0-rc.1 2.0.0"),
        ("file.read == 1.2", "1.2.0 1.2.0+build.7", "1.2.1 1.2.0-rc.1"),
        ("file.read == 1.2.0-rc.1", "1.2.0-rc.1", "1.2.0"),
        ("file.read != 1.2.7", "1.2.6 1.2.8 1.2.7-rc.1", "1.2.7"),
        ("file.read ^ 1.2", "1.2.0 1.9.9 1.3.0-beta", "1.1.9 2.0.0-alpha 2.0.0"),
        ("file.read ^ 1.2.0-beta", "1.2.0-beta 1.2.0 1.9.0", "1.2.0-alpha 2.0.0"),
        ("file.read ^ 0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0-rc.1 0.3.0 1.0.0"),
        ("file.read ^ 0.0.3", "0.0.3", "0.0.4 0.1.0"),
        ("file.read ^ 0.0", "0.0.0 0.0.9", "0.1.0"),
        ("file.read ^ 0", "0.0.0 0.9.9", "1.0.0-alpha 1.0.0"),
        ("file.read ~ 1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0-alpha 1.3.0"),
        ("file.read ~ 1.2", "1.2.0 1.2.9", "1.3.0"),
        ("file.read ~ 1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("file.read >= 1.2, < 2, != 1.5.0", "1.2.0 1.5.1", "1.5.0 2.0.0-beta.1 2.0.0 1.1.0"),
    ],
)
def test_requirement_is_met_by_versions_within_all_bounds_only(
    need: str, will_do: str, will_not: str
) -> None:
    requirement = parse_requirement(need)
    assert [version for version in will_do.split() if not requirement.is_met_by(version)] == []
    assert [version for version in will_not.split() if requirement.is_met_by(version)] == []


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("file.read>=1.2", "file.read >= 1.2"),
        ("  agent_data.credit  ", "agent_data.credit"),
        ("x>=1.0.0-rc.1,<2", "x >= 1.0.0-rc.1, < 2"),
        ("my:tool-2 ^0", "my:tool-2 ^ 0"),
    ],
)
def test_requirement_has_a_single_stored_spelling_with_the_same_meaning(written: str, kept: str) -> None:
    requirement = parse_requirement(written)
    assert (str(requirement), parse_requirement(kept)) == (kept, requirement)


@each(
    ("written", "told"),
    [
        ("", "begins with no name of a capability"),
        (">= 1.2", "begins with no name of a capability"),
        ("x 1.2", "expected an operator"),
        ("x = 1.2", "expected an operator"),
        ("x >= ", "expected an operator"),
        ("x >= 1.2,", "expected an operator"),
        ("x y", "not 'y'"),
        ("x >= 1.2.3.4", "'1.2.3.4' is no version"),
        ("x >= 1.2-beta", "'1.2-beta' is no version"),
        ("x >= 01.2", "is no version"),
        ("x " + ", ".join([">= 1"] * (MAX_BOUNDS + 1)), f"may have {MAX_BOUNDS}"),
        ("x" * 513, "at most 512 characters"),
    ],
)
def test_invalid_requirement_is_refused_with_the_fault(written: str, told: str) -> None:
    with pytest.raises(BadRequirement) as caught:
        parse_requirement(written)
    assert told in str(caught.value)
    assert caught.value.code is ErrorCode.BAD_PARAMS


def test_a_need_is_met_by_the_device_or_by_the_agent() -> None:
    needs = ["file.read >= 1.2", "web.search", "mail ^ 2"]
    assert unmet_by(needs, {"file.read": "1.3.0", "web.search": "?"}, {"mail": "2.5.0"}) == []
    assert unmet_by(needs, {"file.read": "1.1.0"}, {"file.read": "1.2.0-rc.1", "web.search": "1.0.0"}) == [
        Unmet("file.read >= 1.2", of_device="1.1.0", of_agent="1.2.0-rc.1"),
        Unmet("mail ^ 2"),
    ]


def test_unparsable_need_is_listed_as_unmet() -> None:
    assert unmet_by(["file.read => 1"], {"file.read": "1.0.0"}, {}) == [Unmet("file.read => 1")]


# What the grammar of semver.org allows.
@pytest.mark.parametrize(
    "text",
    [
        "0.0.4",
        "10.20.30",
        "1.0.0-alpha.beta.1",
        "1.0.0-alpha0.valid",
        "1.0.0-rc.1",
        "2.0.0--rc",
        "1.0.0-0A.is.legal",
        "1.2.3----R-S.12.9.1--.12",
        f"{MAX_NUMBER}.0.0",
    ],
)
def test_parsed_version_is_spelled_as_written(text: str) -> None:
    assert str(parse_version(text)) == text


def test_the_part_after_a_plus_is_ignored() -> None:
    assert parse_version("1.2.3+20261120.sha-5114f85") == parse_version("1.2.3") == Version(1, 2, 3)
    assert (str(parse_version("1.2.3+1")), parse_version("1.2.3-rc.1+1").prerelease) == ("1.2.3", "rc.1")


@each(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "01.1.1",
        "1.01.1",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3+",
        "1.2.3-a_b",
        " 1.2.3",
        "1.2.3\n",
        "-1.0.0",
        "1.2.\u0663",
        f"{MAX_NUMBER + 1}.0.0",
        "1.0.0-" + "a" * 128,
    ],
)
def test_invalid_version_is_refused(text: str) -> None:
    with pytest.raises(BadVersion, match="is no version") as caught:
        parse_version(text)
    assert caught.value.code is ErrorCode.BAD_PARAMS
    assert find_version(text) is None
