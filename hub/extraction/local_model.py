"""Local model on this machine: start of its server process, its end, weights and context size.

Engine and weights are packages (extra ``[local]``); nothing is downloaded. The child ends with its hub: it
reads from a pipe whose other end only the hub holds, and exits when the pipe closes, for whatever reason.
"""

import importlib.util
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import Process, TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.outbound.client import OutboundClient, TransportError
from hub.base.outbound.rules import OutboundRules
from hub.base.output_pace import LOG_BYTES_PER_S, OutputPace
from hub.base.periodic_loop import LoopReports
from hub.base.printable import one_line
from hub.base.version import WEIGHTS, command_to_add
from hub.extraction.model import ModelUnavailable
from protocol.backoff import Backoff

MODEL_NAME: Final = "smollm2-135m-instruct"
CONTEXT_TOKENS: Final = 4_096
CHUNK_TOKENS: Final = 120  # the longest sentence of a question
START_TIMEOUT_S: Final = 120.0  # 2 s on an idle machine; more for a busy one with a cold disk

_POLL_S: Final = 0.1
_BACKOFF: Final = Backoff(base_s=0.5, cap_s=30.0)

log = Channel("hub.extraction.local_model")


class EmbeddedModel:
    """Server of the packaged weights on a loopback port. It starts when the model is first needed.

    Attributes:
        base_url: URL of the server; it stays the same across restarts.
    """

    def __init__(self, *, clock: Clock, chance: Chance, weights: Path | None = None) -> None:
        self.loop = LoopReports(clock)
        self._clock = clock
        self._chance = chance
        self._weights = weights
        self._port = free_port()
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self._needed = anyio.Event()
        self._tried = anyio.Event()  # set while the server answers, or after a start that failed
        self._problem: str | None = None
        self._log = b""

    async def ready(self) -> None:
        """Wait until the server answers; start it first if it does not run.

        Raises:
            ModelUnavailable: it does not start.
        """
        self._needed.set()
        await self._tried.wait()
        if self._problem is not None:
            raise ModelUnavailable(self._problem)

    async def serve(self, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the server from the first ``ready()`` until cancelled; report its base URL at once.

        Raises:
            ModelUnavailable: a package is missing.
        """
        weights = self._weights or find_weights()
        task_status.started(self.base_url)
        failures = 0
        while True:
            self.loop.wait()
            await self._needed.wait()
            self.loop.work()
            async with await _start(weights, self._port) as child, anyio.create_task_group() as reading:
                reading.start_soon(self._read_log, child)
                try:
                    is_up = await self._is_ready(child)
                    if is_up:
                        failures, self._problem = 0, None
                        log.info("embedded.ready", pid=child.pid, port=self._port)
                        self._tried.set()
                        self.loop.wait()
                        await child.wait()
                finally:
                    self.loop.work()
                    await _stop(child)
            failures += 1
            why = _reason(self._log)
            log.warning("embedded.ended", exit_code=child.returncode, failures=failures, why=why)
            if not is_up:
                self._problem = (
                    f"the small model's server did not start (exit code {child.returncode}): {why}; "
                    f"its weights are {weights}: install them anew, or remove [model] from hub.toml"
                )
                self._tried.set()
                wait_s = _BACKOFF.delay(failures - 1, self._chance.uniform(0.0, 1.0))
                self.loop.wait(wait_s)
                await self._clock.sleep(wait_s)
            self._needed, self._tried = anyio.Event(), anyio.Event()

    async def _read_log(self, child: Process) -> None:
        """Keep the end of what the child writes."""
        assert child.stderr is not None
        self._log, pace = b"", OutputPace(LOG_BYTES_PER_S)
        async for part in child.stderr:
            self._log = (self._log + part)[-8_000:]  # the end of the child's log, which is kept
            await pace.pause(len(part))

    async def _is_ready(self, child: Process) -> bool:
        """Wait until the server answers. Return False if it ended or took too long."""
        gives_up_at = self._clock.monotonic() + START_TIMEOUT_S
        async with OutboundClient(OutboundRules(), read_timeout_s=5.0) as client:
            while child.returncode is None and self._clock.monotonic() < gives_up_at:
                self.loop.work()
                with suppress(TransportError):
                    if (await client.get(f"{self.base_url}/models")).status_code == 200:
                        return True
                await self._clock.sleep(_POLL_S)
        return False


def find_weights() -> Path:
    """Return the path of the packaged weights. The packages are not imported.

    Raises:
        ModelUnavailable: the server or the weights are not installed.
    """
    add = f"{command_to_add('local')}; or remove [model] from hub.toml: then rules alone read"
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelUnavailable("the small model needs its engine, the package xllamacpp", hint=add)
    for name in WEIGHTS:
        package = importlib.util.find_spec(name)
        for folder in (package.submodule_search_locations if package else None) or ():
            for weights in sorted(Path(folder).glob("*.gguf")):
                return weights
    raise ModelUnavailable("the small model needs its weights, the package device-hub-weights", hint=add)


def _reason(output: bytes) -> str:
    """Return why the engine ended: its first error, else the last line that it wrote."""
    text = output.decode("utf-8", "replace").strip()
    errors = [line.partition(" E ")[2] for line in text.splitlines() if " E " in line]
    # A line of llama.cpp has time, level, function and text.
    reason = errors[0].partition(": ")[2] if errors else text.rpartition("\n")[2]
    return one_line(reason) or "it wrote nothing"


def command_for(weights: Path, port: int) -> list[str]:
    """Return the command of the child, which serves until its standard input ends."""
    return [sys.executable, "-m", "hub.extraction.local_model", str(weights), str(port)]


async def _start(weights: Path, port: int) -> Process:
    return await anyio.open_process(
        command_for(weights, port),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        # Two threads on busy cores were measured at 1 token per second instead of 90.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C at the terminal is meant for the hub, which drains first
    )


async def _stop(child: Process) -> None:
    """End the child, by force after a timeout."""
    with anyio.CancelScope(shield=True):
        if child.returncode is None:
            child.terminate()
            with anyio.move_on_after(5.0):
                await child.wait()
        if child.returncode is None:
            child.kill()
            await child.wait()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(weights: str, port: str) -> None:
    """Run the child: serve *weights* on loopback until standard input ends."""
    from hub.text import confinement  # imported here: Windows has no limits of resources

    confinement.close_descriptors()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.verbosity = 1  # errors alone
    params.n_ctx, params.n_parallel = CONTEXT_TOKENS, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = 0  # cache of finished questions; by default it grows to 8 GiB
    server = xllamacpp.Server(params)
    sys.stdin.buffer.read()  # returns when the hub has ended for any reason
    # Exits at once, because shutting down a server that is still warming up never returns.
    os._exit(0 if server else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
