"""Key ``capabilities`` of an agent in hub.toml: its capabilities and their versions."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from semver import Version

from hub.agents.documents import BadDocument, DocumentTooLarge, document
from hub.settings.reload_policy import REQUIRED, live
from hub.settings.values import Flag, Table, refusal
from protocol.requirements import CAPABILITY
from protocol.semver import BadVersion, parse_version
from storage.agents.capabilities import Capability

# Of one config in the file; over the API, [limits] capability_config_bytes applies.
CONFIG_BYTES: Final = 16 * 1024
MOST: Final = 256


def _name(written: str) -> str:
    if CAPABILITY.fullmatch(written) is None:
        told = "1 to 128 letters, digits and _ . : - are expected"
        raise refusal("capability", told, hint='as in "file.read"')
    return written


def _version(written: str) -> str:
    try:
        return str(parse_version(written))
    except BadVersion as error:
        raise refusal("version", str(error)) from error


def _config(written: dict[str, Any]) -> dict[str, Any]:
    try:
        return document("config", written, most=CONFIG_BYTES, limit="capability_config_bytes")
    except (BadDocument, DocumentTooLarge) as error:
        raise refusal("capability", str(error)) from error


class CapabilitySettings(Table):
    """Capability of an agent, in one version."""

    name: Annotated[str, AfterValidator(_name)] = live(REQUIRED, 'What it is called, as in "file.read".')
    version: Annotated[str, AfterValidator(_version)] = live(
        "1.0.0", 'A semantic version, as in "2.0.0-beta.1".'
    )
    enabled: Flag | None = live(None, "By default the newest version of a name is.")
    config: Annotated[dict[str, Any], AfterValidator(_config)] = live({}, "What its program knows it by.")
    description: Annotated[str, Field(max_length=4_096)] | None = live(None, "What it is, for people.")


def check_versions(written: Sequence[CapabilitySettings]) -> None:
    """Check that each version of a name occurs once, and that at most one version is enabled.

    Raises:
        PydanticCustomError: a version is repeated, or several versions are enabled.
    """
    for place, one in enumerate(written):
        for other in written[:place]:
            if other.name != one.name:
                continue
            if other.version == one.version:
                told = f"{one.name} {one.version} stands here twice"
                raise refusal("capability", told, key=f"capabilities.{place}.version")
            if one.enabled and other.enabled:
                told = f"{one.name} is enabled in {other.version} already"
                hint = "of each name one version is enabled"
                raise refusal("capability", told, key=f"capabilities.{place}.enabled", hint=hint)


def declared_capabilities(written: Sequence[CapabilitySettings]) -> tuple[Capability, ...]:
    """Convert capabilities to their rows; without an explicit choice, the newest version is enabled."""
    parsed = [(one, parse_version(one.version)) for one in written]
    chosen: dict[str, Version] = {}
    for one, version in sorted(parsed, key=lambda told: (told[0].enabled is True, told[1])):
        if one.enabled is not False:
            chosen[one.name] = version  # the last one wins: the explicitly enabled version, else the newest
    return tuple(
        Capability(
            name=one.name,
            version=version,
            enabled=chosen.get(one.name) == version,
            config=one.config,
            description=one.description,
        )
        for one, version in parsed
    )
