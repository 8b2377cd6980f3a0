"""Servers and clients as processes: started, asked line by line, and ended by their own id."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

import msgspec

from tests.bench import native_client
from tests.bench.client import CORE, ClientConfig
from tests.bench.machine import pin_to_core, tree_cpu_s

_START_S: Final = 60.0
_ANSWER_S: Final = 60.0
_END_S: Final = 5.0

# Frames of one size sit at glibc's threshold and are mapped and unmapped one by one
# (the performance page, section 3); the hub's service file says the same.
_MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}


class ProcessFailed(Exception):
    """A process of the measurement ended or was silent for too long."""


class BenchProcess:
    """Process that takes orders and questions in JSON lines. Use as a context manager."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        steady_malloc: bool = False,
    ) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(_MALLOC if steady_malloc else {})},
        )
        self._read = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "BenchProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, order: dict[str, Any], within_s: float = _ANSWER_S) -> dict[str, Any]:
        """Say *order* and wait for the answer.

        Raises:
            ProcessFailed: there was none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProcessFailed(f"{self._name} has ended") from None
        return self.hear(within_s)

    def hear(self, within_s: float = _START_S) -> dict[str, Any]:
        """The next line.

        Raises:
            ProcessFailed: there was none.
        """
        assert self._process.stdout is not None
        end = perf_counter() + within_s
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - perf_counter()))
            more = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
            if not more:
                raise ProcessFailed(f"{self._name} {'has ended' if ready else 'says nothing'}")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer


class Pair:
    """A server and the client whose devices are connected to it."""

    def __init__(self, server: BenchProcess, client: BenchProcess, loop: str) -> None:
        self.server = server
        self.client = client
        self.loop = loop
        self.client_share = 0.0  # the most of its core that the client used in an order

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have the server do something, and look at what the client uses meanwhile."""
        used_s, began = tree_cpu_s(self.client.pid), perf_counter()
        answer = self.server.ask(order)
        used = tree_cpu_s(self.client.pid) - used_s
        self.client_share = max(self.client_share, used / (perf_counter() - began))
        return answer


def python_process(module: str, config: msgspec.Struct, *, steady_malloc: bool = False) -> BenchProcess:
    """``python -m MODULE CONFIG``."""
    command = [sys.executable, "-m", module, msgspec.json.encode(config).decode()]
    return BenchProcess(module.rpartition(".")[2], command, steady_malloc=steady_malloc)


def client_process(config: ClientConfig) -> BenchProcess:
    """The load client: in C where it can do what *config* wants and there is a compiler, else in Python."""
    native = None if config.is_compressed or config.has_uploads else native_client.binary()
    if native is None:
        return python_process("tests.bench.client", config)
    command = native_client.command(
        native,
        port=config.port,
        devices=config.devices,
        is_prefixed=config.is_prefixed,
        pause_ms=config.pause_ms,
    )
    client = BenchProcess("client", command)
    pin_to_core(CORE, client.pid)
    return client


@contextmanager
def paired(
    module: str, server: msgspec.Struct, client: ClientConfig, *, steady_malloc: bool = False
) -> Iterator[Pair]:
    """A server and its client, connected; *client* gets the port. Both are ended with the block.

    Raises:
        ProcessFailed: one of them did not start.
    """
    with python_process(module, server, steady_malloc=steady_malloc) as serving:
        opened = serving.hear()
        config = msgspec.structs.replace(client, port=opened["port"])
        with client_process(config) as connecting:
            connecting.hear()
            yield Pair(serving, connecting, opened["loop"])
