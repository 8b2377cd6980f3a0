"""Pure: what an agent or a run needs of whoever executes it: ``file.read >= 1.2, < 2``.

A requirement is the name of a capability and up to ``MAX_BOUNDS`` bounds of its version, all of which
hold. Without a bound any version will do, one too that cannot be read. Numbers that a bound leaves out
are zero. Pre-releases stand where SemVer puts them, and so 1.3.0-beta.1 meets ``>= 1.2``; but what
excludes a release excludes its pre-releases too: 2.0.0-beta.1 meets neither ``< 2`` nor ``^ 1.2``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from protocol.errors import ErrorCode, HubError
from protocol.semver import BadVersion, Version, find_version, parse_version

MAX_BOUNDS: Final = 4
MAX_CHARACTERS: Final = 256
_EXAMPLE: Final = "as in: file.read, file.read >= 1.2, file.read >= 1.2, < 2"

CAPABILITY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")  # the name of one
_BOUND: Final = re.compile(r"\s*(>=|<=|==|!=|>|<|\^|~)\s*([0-9A-Za-z.+-]+)\s*")
_SHORT: Final = re.compile(r"[0-9]+(\.[0-9]+)?")  # a version that leaves numbers out


class BadRequirement(HubError):
    """A text is no requirement."""

    code = ErrorCode.BAD_PARAMS


class Bound(msgspec.Struct, frozen=True):
    """One bound of a version.

    Attributes:
        operator: ``>= > <= < == !=``; ``^``: compatible, the leftmost number that is not zero stays;
            ``~``: the second number stays too, where it is given.
        given: how many of the three numbers were written down.
    """

    operator: str
    version: Version
    given: int = 3

    def holds(self, found: Version) -> bool:
        """Whether *found* is within it."""
        if self.operator in ("^", "~"):
            return not found < self.version and _is_below(found, self._end)
        if self.operator == "<":
            return _is_below(found, self.version)
        return _COMPARED[self.operator](found, self.version)

    @property
    def _end(self) -> Version:
        """The release that ``^`` or ``~`` ends before."""
        major, minor = self.version.major, self.version.minor
        stays = min(self.given, 2) if self.operator == "~" else self._leftmost
        match stays:
            case 1:
                return Version(major + 1)
            case 2:
                return Version(major, minor + 1)
            case _:
                return Version(major, minor, self.version.patch + 1)

    @property
    def _leftmost(self) -> int:
        """Which number of a compatible version stays: the first that is not zero, else the last given."""
        numbers = (self.version.major, self.version.minor, self.version.patch)
        return next((place for place, number in enumerate(numbers, 1) if number), self.given)

    def __str__(self) -> str:
        spelled = str(self.version)
        if self.given < 3:
            spelled = ".".join(spelled.split(".")[: self.given])
        return f"{self.operator} {spelled}"


_COMPARED: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    ">=": lambda found, bound: not found < bound,
    ">": lambda found, bound: bound < found,
    "<=": lambda found, bound: not bound < found,
    "==": lambda found, bound: found.order == bound.order,
    "!=": lambda found, bound: found.order != bound.order,
}


def _is_below(found: Version, end: Version) -> bool:
    is_early = not end.prerelease and found.prerelease != "" and found.release == end
    return found < end and not is_early


class Requirement(msgspec.Struct, frozen=True):
    """A capability that has to be there, by its name and version; ``str()`` spells it as it is kept."""

    name: str
    bounds: tuple[Bound, ...] = ()

    def is_met_by(self, version: str) -> bool:
        """Whether the capability in this version will do; a text that is no version meets no bound."""
        if not self.bounds:
            return True
        found = find_version(version)
        return found is not None and all(bound.holds(found) for bound in self.bounds)

    def __str__(self) -> str:
        bounds = ", ".join(map(str, self.bounds))
        return f"{self.name} {bounds}" if bounds else self.name


def parse_requirement(text: str) -> Requirement:
    """The requirement that *text* spells.

    Raises:
        BadRequirement: it is none; says what is wrong with which part of it.
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
        told = "an operator (>= > <= < == != ^ ~) and a version"
        raise BadRequirement(f"{text!r}: expected {told}, not {part.strip()!r}; {_EXAMPLE}")
    operator, version = found.groups()
    given = version.count(".") + 1 if _SHORT.fullmatch(version) else 3
    try:
        return Bound(operator, parse_version(version + ".0" * (3 - given)), given)
    except BadVersion as exc:
        raise BadRequirement(f"{text!r}: {exc}") from exc


class Unmet(msgspec.Struct, frozen=True):
    """A requirement that is not met, and in which versions the device and the agent have its capability."""

    need: str
    of_device: str | None = None
    of_agent: str | None = None


def unmet_by(needs: Iterable[str], of_device: Mapping[str, str], of_agent: Mapping[str, str]) -> list[Unmet]:
    """Those of *needs* that are met by neither, told by their versions by capability.

    A need that cannot be read, as a newer release or a hand may have written it, is not met.
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
