"""Semantic versions and their order (SemVer 2.0.0, semver.org). Pure.

The part after a ``+`` does not affect the order and is not stored.
"""

from typing import Final

from semver import Version

from protocol.errors import ErrorCode, HubError

MAX_NUMBER: Final = 2**53 - 1  # exact in JavaScript as well
MAX_CHARACTERS: Final = 128


class BadVersion(HubError):
    """Error: a text is no semantic version."""

    code = ErrorCode.BAD_PARAMS


def parse_version(text: str) -> Version:
    """Parse a semantic version.

    Raises:
        BadVersion: the text is no version, or a number exceeds ``MAX_NUMBER``.
    """
    if len(text) > MAX_CHARACTERS or not Version.is_valid(text):
        raise BadVersion(
            f"{text[:MAX_CHARACTERS]!r} is no version; write three numbers, as in 1.4.0 or 2.0.0-beta.1"
        )
    version = Version.parse(text).replace(build=None)
    if max(version.major, version.minor, version.patch) > MAX_NUMBER:
        raise BadVersion(f"{text!r} is no version: a number of it is beyond {MAX_NUMBER}")
    return version


def find_version(text: str) -> Version | None:
    """Parse a semantic version, or return ``None``: a device may report any text."""
    try:
        return parse_version(text)
    except BadVersion:
        return None
