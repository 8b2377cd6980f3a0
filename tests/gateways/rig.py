"""A real OpenClaw gateway, run for a scene on loopback and stopped by its process id.

Nothing of the person's own OpenClaw is touched: it has a home, a state and a port of its own.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from time import perf_counter
from typing import Any, Final

import anyio

from hub.base.clock import SystemChance
from tests.bench.machine import rss_bytes
from tests.gateways.scripted_model import MODEL, ScriptedModel
from tests.gateways.software import Software
from tests.gateways.witness import NotYet, Witness, witness
from tests.support.processes import Program
from tests.support.programs import free_port

BOOT_TIMEOUT_S: Final = 300.0  # measured: 10 to 42 s on two cores, 114 s on two that are busy
_POLL_S: Final = 0.25
# Of the environment, what a gateway needs to find programs; nothing that could send it anywhere.
_HANDED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "SHELL")


class RealGateway(Program):
    """One gateway, all of it below *folder*, which is new; it keeps port and token over restarts."""

    def __init__(self, software: Software, folder: Path, model: ScriptedModel) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder, "gateway.log", ())
        self._software = software
        self._folder = folder
        self.port = free_port()
        self.token = SystemChance().token_bytes(24).hex()
        self._write_config(model)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}"

    def workspace(self, agent: str) -> Path:
        """A folder for an agent of it."""
        return self._folder / "workspaces" / agent

    async def start(self) -> None:
        """Start it and wait until it lets an operator in."""
        await self.begin()
        await self.until_ready()

    async def begin(self) -> None:
        """Start it; it is not ready by then."""
        words = ["gateway", "run", "--port", str(self.port), "--bind", "loopback", "--auth", "token"]
        words += ["--ws-log", "full"]
        with (self._folder / "gateway.log").open("ab") as output:
            self.process = await anyio.open_process(
                [str(self._software.node), str(self._software.entry), *words],
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                cwd=self._folder,
                env=self._environment(),
            )

    async def until_ready(self, within_s: float = BOOT_TIMEOUT_S) -> None:
        """Wait until it lets an operator in. On a busy machine it ends itself, and is started again."""
        with anyio.move_on_after(within_s):
            while True:
                if self.process is None or self.process.returncode is not None:
                    await self.begin()
                try:
                    async with self.witness():
                        return
                except NotYet:
                    await anyio.sleep(_POLL_S)
        raise AssertionError(f"the gateway did not come up: {self.log()[-4000:]}")

    def witness(self) -> AbstractAsyncContextManager[Witness]:
        """A client of ours that has nothing to do with the hub's."""
        return witness(self.url, self.token)

    async def restart(self, *, at_once: bool = False) -> float:
        """Stop it (*at_once*: kill it), start it again, and tell for how many seconds nobody could use it."""
        began = perf_counter()
        await (self.kill() if at_once else self.stop())
        await self.start()
        return perf_counter() - began

    def resident_mb(self) -> float:
        """Its memory now."""
        return rss_bytes(self.pid) / 2**20

    def _write_config(self, model: ScriptedModel) -> None:
        state = self._folder / "home" / ".openclaw"
        state.mkdir(parents=True)
        (state / "openclaw.json").write_text(json.dumps(_config(self.port, model.base_url), indent=2))

    def _environment(self) -> dict[str, str]:
        home = self._folder / "home"
        kept = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        return {
            **kept,
            "PATH": f"{self._software.node.parent}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(home),
            "TMPDIR": str(self._folder),
            "NO_COLOR": "1",
            "OPENCLAW_STATE_DIR": str(home / ".openclaw"),
            "OPENCLAW_GATEWAY_TOKEN": self.token,
            "OPENCLAW_SKIP_CHANNELS": "1",
            "OPENCLAW_DISABLE_BONJOUR": "1",
        }


@asynccontextmanager
async def real_gateway(software: Software, folder: Path, model: ScriptedModel) -> AsyncIterator[RealGateway]:
    """One that runs, and is gone afterwards whatever happens."""
    gateway = RealGateway(software, folder, model)  # makes the folder
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.close()


def _config(port: int, model_url: str) -> dict[str, Any]:
    nothing = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
    scripted = {
        "id": MODEL,
        "name": MODEL,
        "reasoning": False,
        "input": ["text"],
        "cost": nothing,
        "contextWindow": 196_608,
        "maxTokens": 8_192,
    }
    provider = {
        "baseUrl": model_url,
        "apiKey": "none",
        "api": "openai-completions",
        "models": [scripted],
    }
    return {
        "gateway": {"mode": "local", "bind": "loopback", "port": port, "auth": {"mode": "token"}},
        "discovery": {"mdns": {"mode": "off"}},
        "update": {"checkOnStart": False},
        "models": {"mode": "merge", "providers": {MODEL: provider}},
        "agents": {"defaults": {"model": {"primary": f"{MODEL}/{MODEL}"}, "heartbeat": {"every": "0m"}}},
    }
