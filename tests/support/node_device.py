"""The device in TypeScript as a process of Node."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import pytest

from tests.support.processes import ROOT, DeviceProcess, Running

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


class NodeDevice(DeviceProcess):
    """Process of a device in TypeScript over ``folder/notes``, in the place of the reference device.

    Args:
        options: of the device, beside its token.
    """

    def __init__(self, folder: Path, url: str, token: str = "", **options: Any) -> None:
        super().__init__(folder, url, token)
        self.script = "node_device.mjs"
        self.database = folder / "desk.jsonl"
        self._token_file = folder / "desk.token"
        self._options = {
            "url": url,
            "name": "desk",
            "store": str(self.database),
            "folders": [str(folder / "notes")],
            **options,
        }
        self._input: anyio.abc.ByteSendStream | None = None
        self._numbers = count(1)

    async def _spawn(self, words: list[str], log: Path) -> Running:
        token = self._token_file.read_text()
        accepted = words[words.index("--accept-hub") + 1] if "--accept-hub" in words else None
        given = {"token": token or None, "acceptHub": accepted}
        options = self._options | {name: value for name, value in given.items() if value}
        with log.open("ab") as output:
            process = await anyio.open_process(
                [*NODE, str(ROOT / "tests" / "support" / self.script), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        self._input = process.stdin
        return process

    def events(self, name: str) -> list[Any]:
        """Return what followed the name in each line of this name; a line that a kill cut off is left out."""
        lines = [line for line in self.log().split("\n")[:-1] if line.startswith(f'["{name}",')]
        return [json.loads(line)[1:] for line in lines if line.endswith("]")]

    async def happens(self, name: str, times: int = 1, *, within_s: float = 30.0) -> list[Any]:
        """Wait until an event has happened so often; return what followed the name the last time."""
        found = await self.until(lambda: self.events(name)[times - 1 :], f"had {name}", within_s=within_s)
        latest: list[Any] = found[-1]
        return latest

    async def does(self, name: str, *args: Any, within_s: float = 30.0) -> Any:
        """Call a method of the device, and return its result, or the code of its refusal."""
        assert self._input is not None
        number = next(self._numbers)
        await self._input.send(json.dumps([number, name, *args]).encode() + b"\n")

        def results() -> list[Any]:
            of_all = [*self.events("done"), *self.events("failed")]
            return [result for found, result, *_ in of_all if found == number]

        return (await self.until(results, f"answered {name}", within_s=within_s))[0]

    async def types(self, path: str, before: str, after: str) -> None:
        """Replace a text in a note, as a person in Obsidian does."""
        assert self._input is not None
        await self._input.send(json.dumps([path, before, after]).encode() + b"\n")

    def kept(self) -> list[dict[str, Any]]:
        """Return the rows that hubs wrote and that are there, as the store has them."""
        entries: dict[str, Any] = {}
        if self.database.exists():
            for line in self.database.read_text().split("\n")[1:-1]:
                entries.update(json.loads(line))
        rows = [value for key, value in entries.items() if key.startswith("row/") and value is not None]
        return [row for row in rows if row["row"] is not None]

    def items(self) -> list[tuple[str, str]]:
        """Return path and quote of each row."""
        sources = [row["by"]["source"] or {} for row in self.kept()]
        return [(source.get("path", ""), source.get("quote", "")) for source in sources]
