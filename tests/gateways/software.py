"""OpenClaw and the Node.js it runs on, installed once into a cache folder, never into the repository."""

import platform
import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.programs import npm_packages

OPENCLAW: Final = "2026.9.6"
NODE: Final = "24.21.0"  # of OpenClaw: >= 24.16 < 25, or >= 26.1
_ARCHITECTURES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class Software(NamedTuple):
    """Programs that were installed."""

    node: Path
    entry: Path


def install(cache: Path) -> Software:
    """Install OpenClaw and the Node.js it runs on, both pinned, unless that was done before.

    Raises:
        CannotInstall: npm is missing or failed.
    """
    system, machine = sys.platform, _ARCHITECTURES.get(platform.machine().lower(), "")
    node = f"node-{system}-{machine}"
    home = cache / f"openclaw-{OPENCLAW}-node-{NODE}"
    modules = npm_packages(home, f"{node}@{NODE}", f"openclaw@{OPENCLAW}") / "node_modules"
    return Software(modules / node / "bin" / "node", modules / "openclaw" / "openclaw.mjs")
