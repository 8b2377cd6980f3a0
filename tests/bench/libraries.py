"""Servers of WebSocket libraries, each with the least that a call needs, and their installation.

What the environment of the hub has not is installed into a cache folder: aiohttp by pip, ``ws`` by npm.
"""

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.library_server import LibraryConfig
from tests.bench.machine import pin_to_core
from tests.bench.processes import BenchProcess
from tests.support.programs import cache_folder, installed, npm_packages

PACKAGES: Final = {"aiohttp": "aiohttp==3.13.2", "node ws": "ws@8.18.3"}
_NODE_SERVER: Final = Path(__file__).with_name("node_server.mjs")


def installed_library(library: str) -> Path:
    """Install *library*, unless that was done before; return its folder.

    Raises:
        CannotInstall: its language is missing, or the installation failed.
    """
    package = PACKAGES[library]
    home = cache_folder("bench") / package
    if library == "node ws":
        return npm_packages(home, package)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
    return installed(home, lambda folder: [*pip, str(folder), package])


def library_process(library: str, devices: int) -> BenchProcess:
    """Start a server.

    Raises:
        CannotInstall: see ``installed_library``.
    """
    config = msgspec.json.encode(LibraryConfig(devices=devices, library=library)).decode()
    if library == "node ws":
        home = installed_library(library)
        server = BenchProcess("node", ["node", str(_NODE_SERVER), config, str(home / "node_modules" / "ws")])
        pin_to_core(0, server.pid)
        return server
    path = os.environ.get("PYTHONPATH", "")
    if library == "aiohttp":
        path = os.pathsep.join(filter(None, (path, str(installed_library(library)))))
    command = [sys.executable, "-m", "tests.bench.library_server", config]
    return BenchProcess(library, command, environment={"PYTHONPATH": path} if path else {})
