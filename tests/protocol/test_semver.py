"""Semantic versions: what is one, and how it is spelled."""

import pytest
from semver import Version

from protocol.errors import ErrorCode
from protocol.requirements import MAX_NUMBER, BadVersion, find_version, parse_version


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
def test_a_version_is_spelled_again_as_it_was_written(text: str) -> None:
    assert str(parse_version(text)) == text


def test_the_part_after_a_plus_is_ignored() -> None:
    assert parse_version("1.2.3+20261120.sha-5114f85") == parse_version("1.2.3") == Version(1, 2, 3)
    assert str(parse_version("1.2.3+1")) == "1.2.3"
    assert parse_version("1.2.3-rc.1+1").prerelease == "rc.1"


@pytest.mark.parametrize(
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
def test_what_is_no_version_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadVersion, match="is no version") as caught:
        parse_version(text)
    assert caught.value.code is ErrorCode.BAD_PARAMS
    assert find_version(text) is None
