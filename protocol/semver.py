"""Semantic versions and their order. Pure.

As in SemVer 2.0.0 (semver.org): the three numbers decide, then a release follows its pre-releases, which are
compared part by part. The part after a ``+`` does not affect the order and is not stored.
"""

import re
from typing import Final, TypeAlias

import msgspec

from protocol.errors import ErrorCode, HubError

MAX_NUMBER: Final = 2**53 - 1  # exact in JavaScript as well
MAX_CHARACTERS: Final = 128

_NUMBER = r"0|[1-9][0-9]*"
_WORD = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_GRAMMAR: Final = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_WORD}(?:\.{_WORD})*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)

Order: TypeAlias = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


class BadVersion(HubError):
    """Error: a text is no semantic version."""

    code = ErrorCode.BAD_PARAMS


class Version(msgspec.Struct, frozen=True):
    """Semantic version. *prerelease*: the part after the hyphen, such as ``beta.2``; empty for a release."""

    major: int
    minor: int = 0
    patch: int = 0
    prerelease: str = ""

    @property
    def order(self) -> Order:
        """Sort key of versions: 1.0.0-alpha < 1.0.0-alpha.1 < 1.0.0-beta < 1.0.0."""
        parts = self.prerelease.split(".") if self.prerelease else []
        # Numbers precede words, and are ordered by value.
        ranks = ((False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts)
        return self.major, self.minor, self.patch, not self.prerelease, tuple(ranks)

    @property
    def release(self) -> "Version":
        """Release of this version, without the pre-release part."""
        return Version(self.major, self.minor, self.patch)

    def __lt__(self, other: "Version") -> bool:
        return self.order < other.order

    def __str__(self) -> str:
        told = f"{self.major}.{self.minor}.{self.patch}"
        return f"{told}-{self.prerelease}" if self.prerelease else told


def parse_version(text: str) -> Version:
    """Parse a semantic version.

    Raises:
        BadVersion: the text is no version, or a number exceeds ``MAX_NUMBER``.
    """
    found = _GRAMMAR.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if found is None:
        raise BadVersion(
            f"{text[:MAX_CHARACTERS]!r} is no version; write three numbers, as in 1.4.0 or 2.0.0-beta.1"
        )
    major, minor, patch = (int(found[name]) for name in ("major", "minor", "patch"))
    if max(major, minor, patch) > MAX_NUMBER:
        raise BadVersion(f"{text!r} is no version: a number of it is beyond {MAX_NUMBER}")
    return Version(major, minor, patch, found["prerelease"] or "")


def find_version(text: str) -> Version | None:
    """Parse a semantic version, or return ``None``: a device may report any text."""
    try:
        return parse_version(text)
    except BadVersion:
        return None
