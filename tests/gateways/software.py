"""OpenClaw and the Node.js it runs on, installed once into a cache folder, never into the repository."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT
from time import perf_counter
from typing import Final, NamedTuple

OPENCLAW: Final = "2026.9.6"
NODE: Final = "24.21.0"  # of OpenClaw: >= 24.16 < 25, or >= 26.1
_ARCHITECTURES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class CannotInstall(Exception):
    """It says what is missing."""


class Software(NamedTuple):
    """What was installed."""

    node: Path
    entry: Path
    seconds: float  # that it took, 0 when it was there


def cache_folder() -> Path:
    """Where downloads of a person's programs belong."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "device-hub" / "gateway-check"


def install(cache: Path) -> Software:
    """OpenClaw and the Node.js it runs on, both pinned, without running a script of theirs.

    Raises:
        CannotInstall: npm is missing or failed.
    """
    system, machine = sys.platform, _ARCHITECTURES.get(platform.machine().lower(), "")
    node_package = f"node-{system}-{machine}"
    home = cache / f"openclaw-{OPENCLAW}-node-{NODE}"
    node = home / "node_modules" / node_package / "bin" / "node"
    entry = home / "node_modules" / "openclaw" / "openclaw.mjs"
    if node.exists() and entry.exists():
        return Software(node, entry, 0.0)
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstall("npm is needed to install OpenClaw, and is not in PATH (apt-get install npm)")
    began = perf_counter()
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f".{home.name}-{os.getpid()}"  # renamed when it is whole
    command = [npm, "install", "--prefix", str(unfinished), "--ignore-scripts", "--no-audit", "--no-fund"]
    command += [f"{node_package}@{NODE}", f"openclaw@{OPENCLAW}"]
    ended = subprocess.run(command, check=False, stdout=PIPE, stderr=STDOUT)
    if ended.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CannotInstall(f"npm failed: {ended.stdout.decode(errors='replace')[-2000:]}")
    if home.exists():  # a first try that was interrupted
        shutil.rmtree(home)
    unfinished.rename(home)
    return Software(node, entry, perf_counter() - began)
