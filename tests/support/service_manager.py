"""As much of a service manager as hub.service asks for: sockets that outlive the hub, and an eye on it.

It stands in for systemd where that does not run the machine. What it starts is systemd's
own ``systemd-socket-activate``, which hands the sockets over as the real one does and
becomes the hub at the first knock.
"""

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from time import perf_counter

import anyio
from anyio.abc import Process, TaskStatus

from tests.support.processes import ROOT, START_TIMEOUT_S
from tests.support.programs import end_of

RESTART_S = 0.5  # RestartSec=
_LOOK_S = 0.05
_ABOVE = 10  # no descriptor is in the way of 3, 4 and 5
NAMES = "devices:admin:operators"
# In bash, for dash knows no descriptor above 9.
# The descriptors stand from 3 on, and the id of the process is that of whoever reads them.
_HAND_OVER = (
    "exec 3<&$1 4<&$2 5<&$3; shift 3;"
    f' LISTEN_PID=$$ LISTEN_FDS=3 exec systemd-socket-activate --fdname={NAMES} "$@"'
)


class Unit:
    """One service: started again whenever it ends badly, killed when its beat stops.

    Args:
        words: of ``hub``.
        watchdog_s: ``WatchdogSec=``.
    """

    def __init__(self, folder: Path, words: Sequence[str], *, watchdog_s: float) -> None:
        self._folder = folder
        self._words = words
        self._watchdog_s = watchdog_s
        self._last_beat = 0.0
        self._process: Process | None = None
        self._is_stopped = False
        self._ended = anyio.Event()
        self.ready = anyio.Event()
        self.told: list[str] = []  # every state, as it was told
        self.exits: list[int] = []
        self.devices = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._admin = socket.socket(socket.AF_UNIX)
        self.admin = folder / "hub-admin.sock"
        self._admin.bind(str(self.admin))
        self._admin.listen()
        self.operators = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Where devices connect, through all restarts."""
        host, port = self.devices.getsockname()
        return f"ws://{host}:{port}/v1/device"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The service is kept up inside; afterwards it has been stopped."""
        async with anyio.create_task_group() as tasks:
            with self.devices, self._admin, self.operators:
                await tasks.start(self._hear)
                await tasks.start(self._keep_up)
                tasks.start_soon(self._watch)
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._stop()
            tasks.cancel_scope.cancel()

    def restart(self) -> None:
        """``systemctl restart``: stop in good order, then start."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """``kill -9``."""
        self._signal(signal.SIGKILL)

    def hang(self) -> None:
        """Its event loop turns no more."""
        self._signal(signal.SIGUSR2)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _keep_up(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        try:
            self._process = await self._start()
            task_status.started()
            while True:
                code = await self._process.wait()
                self.exits.append(code)
                if self._is_stopped:
                    break
                is_well = code == 0 or "READY=1" in self.told
                assert is_well, f"the hub ended with {code}: {end_of(self._folder / 'hub.log')}"
                self.ready = anyio.Event()
                if code != 0:
                    await anyio.sleep(RESTART_S)
                self._process = await self._start()
        finally:
            self._ended.set()

    async def _start(self) -> Process:
        hub = [sys.executable, "-m", "tests.support.hung_hub", *self._words]
        environment = {
            "NOTIFY_SOCKET": str(self._folder / "notify"),
            "WATCHDOG_USEC": str(int(self._watchdog_s * 1e6)),
            "PYTHONPATH": str(ROOT),
        }
        options = [f"--setenv={name}={value}" for name, value in environment.items()]
        held = (self.devices, self._admin, self.operators)
        import fcntl

        fds = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for one in held]
        try:
            with (self._folder / "hub.log").open("ab") as output:
                return await anyio.open_process(
                    ["bash", "-c", _HAND_OVER, "bash", *map(str, fds), *options, *hub],
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=fds,
                    cwd=ROOT,
                )
        finally:
            for fd in fds:
                os.close(fd)

    async def _hear(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with await anyio.create_unix_datagram_socket(local_path=self._folder / "notify") as heard:
            task_status.started()
            async for datagram, _ in heard:
                for state in datagram.decode().splitlines():
                    if state == "WATCHDOG=1":
                        self._last_beat = perf_counter()
                        continue
                    self.told.append(state)
                    if state == "READY=1":
                        self._last_beat = perf_counter()
                        self.ready.set()

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(_LOOK_S)
            if self.ready.is_set() and perf_counter() - self._last_beat > self._watchdog_s:
                self.ready = anyio.Event()
                self._signal(signal.SIGABRT)

    async def _stop(self) -> None:
        self._is_stopped = True
        self._signal(signal.SIGTERM)
        with anyio.move_on_after(START_TIMEOUT_S):
            await self._ended.wait()
            return
        self.kill()
        await self._ended.wait()
