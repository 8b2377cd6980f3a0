"""The device in TypeScript as a process of Node."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.processes import ROOT

PACKAGE: Final = ROOT / "hub" / "device" / "typescript"
OLDEST: Final = 20  # version of Node with Ed25519 and, by an option before 22, with WebSocket
NODE: Final = ("node", "--experimental-websocket", "--no-warnings")


@cache
def why_no_node() -> str | None:
    """Return why the device in TypeScript cannot run here, or None."""
    if shutil.which("node") is None:
        return "no Node here: apt-get install nodejs"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return None if int(version[1:].split(".")[0]) >= OLDEST else f"Node {version} is older than {OLDEST}"


needs_node = pytest.mark.skipif(why_no_node() is not None, reason=str(why_no_node()))


def run_script(name: str, given: Any, *words: str) -> Any:
    """Run a script of ``tests/support`` in Node, and return the JSON that it prints."""
    command: Sequence[str | Path] = [*NODE, ROOT / "tests" / "support" / name, *words]
    done = subprocess.run(command, input=json.dumps(given).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
