"""Servers of WebSocket libraries, each with the least that a call needs, and their installation.

What the environment of the hub has not is installed into a cache folder: aiohttp by pip, ``ws`` by npm.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import msgspec

from tests.bench.library_server import LibraryConfig
from tests.bench.machine import pin_to_core
from tests.bench.processes import BenchProcess
from tests.connectors.software import cache_folder

PACKAGES: Final = {"aiohttp": "aiohttp==3.13.2", "node ws": "ws@8.18.3"}
_NODE_SERVER: Final = Path(__file__).with_name("node_server.mjs")


class NotInstalled(Exception):
    """Error: a program or package of a server is missing; the message names it."""


@cache
def installed(library: str) -> Path:
    """Install *library*, unless that was done before; return its folder.

    Raises:
        NotInstalled: its language is missing, or the installation failed.
    """
    package = PACKAGES[library]
    home = cache_folder().parent / "bench" / package
    if home.exists():
        return home
    unfinished = home.with_name(f".{home.name}-{os.getpid()}")
    if library == "aiohttp":
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(unfinished), package]
    elif (npm := shutil.which("npm")) is None or shutil.which("node") is None:
        raise NotInstalled("node and npm are not in PATH")
    else:
        command = [npm, "install", "--prefix", str(unfinished), "--ignore-scripts", "--no-audit", package]
    if subprocess.run(command, check=False, stdout=DEVNULL, stderr=DEVNULL).returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise NotInstalled(f"{package} cannot be installed")
    unfinished.rename(home)
    return home


def library_process(library: str, devices: int) -> BenchProcess:
    """Start a server.

    Raises:
        NotInstalled: see ``installed``.
    """
    config = msgspec.json.encode(LibraryConfig(devices=devices, library=library)).decode()
    if library == "node ws":
        home = installed(library)
        server = BenchProcess("node", ["node", str(_NODE_SERVER), config, str(home / "node_modules" / "ws")])
        pin_to_core(0, server.pid)
        return server
    path = os.environ.get("PYTHONPATH", "")
    if library == "aiohttp":
        path = os.pathsep.join(filter(None, (path, str(installed(library)))))
    command = [sys.executable, "-m", "tests.bench.library_server", config]
    return BenchProcess(library, command, environment={"PYTHONPATH": path} if path else {})
