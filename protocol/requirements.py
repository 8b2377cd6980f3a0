"""Versions of capabilities, and requirements on them such as ``file.read >= 1.2, < 2``. Pure.

Versions are ordered as in SemVer 2.0.0 (semver.org); the part after a ``+`` does not affect the order and is
not stored.

A requirement is the name of a capability and up to ``MAX_BOUNDS`` version bounds, all of which must hold.
Without a bound any version satisfies it, even an unreadable one. Omitted numbers of a bound are zero.
Pre-releases are ordered as in SemVer, so 1.3.0-beta.1 meets ``>= 1.2``. A bound that excludes a release also
excludes its pre-releases: 2.0.0-beta.1 meets neither ``< 2`` nor ``^ 1.2``.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from semver import Version

from protocol.errors import ErrorCode, HubError

MAX_NUMBER: Final = 2**53 - 1  # exact in JavaScript as well
VERSION_CHARACTERS: Final = 50


class BadVersion(HubError):
    """Error: a text is no semantic version."""

    code = ErrorCode.BAD_PARAMS


def parse_version(text: str) -> Version:
    """Parse a semantic version.

    Raises:
        BadVersion: the text is no version, or a number exceeds ``MAX_NUMBER``.
    """
    if len(text) > VERSION_CHARACTERS or not Version.is_valid(text):
        raise BadVersion(
            f"{text[:VERSION_CHARACTERS]!r} is no version; write three numbers, as in 1.4.0 or 2.0.0-beta.1"
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


MAX_BOUNDS: Final = 4
MAX_CHARACTERS: Final = 512
_EXAMPLE: Final = "as in: file.read, file.read >= 1.2, file.read >= 1.2, < 2"

CAPABILITY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")  # name of a capability
_BOUND: Final = re.compile(r"\s*(>=|<=|==|!=|>|<|\^|~)\s*([0-9A-Za-z.+-]+)\s*")
_SHORT: Final = re.compile(r"[0-9]+(\.[0-9]+)?")  # a version with omitted numbers


class BadRequirement(HubError):
    """Error: a text is no requirement."""

    code = ErrorCode.BAD_PARAMS


class Bound(msgspec.Struct, frozen=True):
    """Bound of a version.

    Attributes:
        operator: ``>= > <= < == !=``; ``^``: compatible, the leftmost non-zero number is fixed; ``~``: the
            second number is fixed too, if given.
        given: how many of the three numbers were written.
    """

    operator: str
    version: Version
    given: int = 3

    def holds(self, found: Version) -> bool:
        """Return True if *found* is within the bound."""
        if self.operator in ("^", "~"):
            return found >= self.version and _is_below(found, self._end)
        if self.operator == "<":
            return _is_below(found, self.version)
        return _COMPARED[self.operator](found, self.version)

    @property
    def _end(self) -> Version:
        """Release below which ``^`` or ``~`` ends."""
        stays = min(self.given, 2) if self.operator == "~" else self._leftmost
        match stays:
            case 1:
                return self.version.bump_major()
            case 2:
                return self.version.bump_minor()
            case _:
                return self.version.bump_patch()

    @property
    def _leftmost(self) -> int:
        """Position of the number that ``^`` fixes: the first non-zero one, else the last given."""
        numbers = (self.version.major, self.version.minor, self.version.patch)
        return next((place for place, number in enumerate(numbers, 1) if number), self.given)

    def __str__(self) -> str:
        spelled = str(self.version)
        if self.given < 3:
            spelled = ".".join(spelled.split(".")[: self.given])
        return f"{self.operator} {spelled}"


_COMPARED: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def _is_below(found: Version, end: Version) -> bool:
    is_early = not end.prerelease and found.finalize_version() == end
    return found < end and not is_early


class Requirement(msgspec.Struct, frozen=True):
    """Required capability with its version bounds; ``str()`` returns the stored spelling."""

    name: str
    bounds: tuple[Bound, ...] = ()

    def is_met_by(self, version: str) -> bool:
        """Return True if the capability in this version satisfies it; an invalid version meets no bound."""
        if not self.bounds:
            return True
        found = find_version(version)
        return found is not None and all(bound.holds(found) for bound in self.bounds)

    def __str__(self) -> str:
        bounds = ", ".join(map(str, self.bounds))
        return f"{self.name} {bounds}" if bounds else self.name


def parse_requirement(text: str) -> Requirement:
    """Parse a requirement.

    Raises:
        BadRequirement: the text is invalid; the message names the faulty part.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRequirement(
            f"a requirement has at most {MAX_CHARACTERS} characters, not {len(text)}; {_EXAMPLE}"
        )
    stripped = text.strip()
    named = CAPABILITY.match(stripped)
    if named is None:
        raise BadRequirement(f"{text!r} begins with no name of a capability; {_EXAMPLE}")
    rest = stripped[named.end() :]
    if not rest.strip():
        return Requirement(named[0])
    parts = rest.split(",")
    if len(parts) > MAX_BOUNDS:
        raise BadRequirement(f"{text!r} has {len(parts)} bounds, and may have {MAX_BOUNDS}; {_EXAMPLE}")
    return Requirement(named[0], tuple(_bound(part, text) for part in parts))


def _bound(part: str, text: str) -> Bound:
    found = _BOUND.fullmatch(part)
    if found is None:
        expected = "an operator (>= > <= < == != ^ ~) and a version"
        raise BadRequirement(f"{text!r}: expected {expected}, not {part.strip()!r}; {_EXAMPLE}")
    operator, version = found.groups()
    given = version.count(".") + 1 if _SHORT.fullmatch(version) else 3
    try:
        return Bound(operator, parse_version(version + ".0" * (3 - given)), given)
    except BadVersion as exc:
        raise BadRequirement(f"{text!r}: {exc}") from exc


class Unmet(msgspec.Struct, frozen=True):
    """Unmet requirement, with the versions of the capability that device and agent have."""

    need: str
    of_device: str | None = None
    of_agent: str | None = None


def unmet_by(needs: Iterable[str], of_device: Mapping[str, str], of_agent: Mapping[str, str]) -> list[Unmet]:
    """Return those of *needs* that neither device nor agent meets, given their versions by capability.

    An unreadable need, written by a newer release or by hand, is not met.
    """
    return [unmet for need in needs if (unmet := _unmet_by(need, of_device, of_agent)) is not None]


def _unmet_by(need: str, of_device: Mapping[str, str], of_agent: Mapping[str, str]) -> Unmet | None:
    try:
        requirement = parse_requirement(need)
    except BadRequirement:
        return Unmet(need)
    versions = of_device.get(requirement.name), of_agent.get(requirement.name)
    is_met = any(version is not None and requirement.is_met_by(version) for version in versions)
    return None if is_met else Unmet(need, *versions)
