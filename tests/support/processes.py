"""The daemon and the reference device as real processes, in a folder of their own.

They are started on free loopback ports, stopped or killed by process id, and nothing of
them outlives the block they are used in. A process is forked from one that has imported the
hub, so that a life of it begins in a tenth of a second instead of with seconds of imports.
"""

import json
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Protocol, TypeVar

import anyio
import httpx2

from hub.device.items import read_items
from tests.support.database import new_database

Found = TypeVar("Found")

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0  # a busy machine
POLL_S = 0.05
PATIENCE_S = 60.0  # of a client, on a busy machine

SETTINGS = """\
[hub]
name = "test"
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
{model}
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks", "notes", "timelines"]
prompt = "Find the tasks that a person has to do."
"""

CROWD = """\
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
[limits]                            # all devices come from one address, and are one person's
connections_per_network = 2000
connections_per_user = 2000
new_connections_per_s = 2000.0
"""


def model_at(base_url: str) -> str:
    """The ``[model]`` table for an endpoint on this machine."""
    return f'[model]\nkind = "openai"\nbase_url = "{base_url}"\nname = "oracle"\n'


def children() -> set[int]:
    """Ids of the processes that this one has started and not waited for.

    Not from ``/proc/self/task``: a thread that ends takes its list along, and its children move elsewhere.
    """
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended since it was listed
            _state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(parent) == os.getpid():
                found.add(int(process.name))
    return found


class Running(Protocol):
    """A process of ours; ``anyio.abc.Process`` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs; negative: the signal that ended it."""
        ...

    def terminate(self) -> None:
        """SIGTERM."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...


# With the modules that a hub and a device import. The fork server ends with the process that started it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["hub.cli.daemon", "hub.device.app", "openai", "tests.support.faults"])


async def spawn(words: list[str], log: Path, *, is_forked: bool) -> Running:
    """``python -m`` with *words*; what it says goes to the end of *log*.

    Args:
        is_forked: from a process with all imports; otherwise the program begins as it does for its users.
    """
    if is_forked:
        return _Forked(forked(words, log))
    with log.open("ab") as output:
        return await anyio.open_process(
            [sys.executable, "-m", *words], stdin=DEVNULL, stdout=output, stderr=output, cwd=ROOT
        )


def forked(
    words: list[str],
    log: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path = ROOT,
    is_fresh: bool = False,
) -> ForkServerProcess:
    """Start ``python -m`` with *words* in *folder*, from a process that has imported the hub.

    Args:
        is_fresh: in an interpreter that has imported nothing, as users start it.
    """
    process = _FORKS.Process(target=_live, args=(words, log, dict(environ), folder, is_fresh))
    process.start()
    return process


def _live(words: list[str], log: Path, environment: Mapping[str, str], folder: Path, is_fresh: bool) -> None:
    """Be the program, in the fork."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(folder)
    if is_fresh:
        os.execve(sys.executable, [sys.executable, "-m", *words], {**environment})
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def ask_hub(
    path: Path, method: str, target: str, body: Any = None, *, timeout_s: float = 30.0
) -> httpx2.Response:
    """Send a request to the hub that listens on the Unix socket *path*, and return the response.

    Raises:
        OSError, httpx2.TransportError: no hub listens there, or it did not respond in time.
    """
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.connect(str(path))  # httpx2 would leave its own socket open where this fails
    transport = httpx2.HTTPTransport(uds=str(path), verify=False)  # no TLS: nothing to load
    with httpx2.Client(transport=transport, base_url="http://hub", timeout=timeout_s) as client:
        return client.request(method, target, json=body)


class _Forked:
    """A ``Running`` that the server of forks made."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        while (code := self._process.exitcode) is None:
            await anyio.wait_readable(self._process.sentinel)
        return code


class Program:
    """A program of the project, which may be started again after it was killed.

    Args:
        is_forked: see ``spawn``.
    """

    def __init__(
        self,
        folder: Path,
        log: str,
        words: Sequence[str],
        *,
        state: Path | None = None,
        is_forked: bool = True,
    ) -> None:
        self._log = folder / log
        self._is_forked = is_forked
        self._state = state or folder
        self.words = words
        self.process: Running | None = None

    async def start(self) -> None:
        """Start it; it is not necessarily ready by then."""
        self.process = await self._spawn(["--state", str(self._state), *self.words], self._log)

    async def _spawn(self, words: list[str], log: Path) -> Running:
        return await spawn(["hub", *words], log, is_forked=self._is_forked)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Return whether the program's process lives."""
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: nothing of it may run another line."""
        assert self.process is not None
        with suppress(ProcessLookupError):  # it has ended by itself
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        with suppress(ProcessLookupError):  # it has ended by itself: its exit code tells
            self.process.terminate()
        return await self.process.wait()

    async def close(self) -> None:
        """Whatever became of it, it is gone afterwards."""
        if self.is_running:
            with anyio.CancelScope(shield=True):
                await self.kill()

    async def says(self, words: str, *, within_s: float = 30.0) -> None:
        """Wait until *words* stand in what it wrote, or it has ended without them."""
        await self.until(lambda: words in self.log(), f"said {words!r}", within_s=within_s)

    async def until(self, read: Callable[[], Found], what: str, *, within_s: float = 30.0) -> Found:
        """Call *read* until it returns a result, or the program has ended and will have none."""
        with anyio.move_on_after(within_s):
            while True:
                is_running = self.is_running  # before the look: its last words count
                if found := read():
                    return found
                if not is_running:
                    break
                await anyio.sleep(POLL_S)
        code = None if self.process is None else self.process.returncode
        raise AssertionError(f"it never {what} (exit code {code}): {self.log()[-4000:]}")

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text() if self._log.exists() else ""


class HubProcess(Program):
    """``hub serve`` and the operator's way to it."""

    def __init__(
        self, folder: Path, *, model: str = "", settings: str | None = None, is_forked: bool = True
    ) -> None:
        self.folder = folder
        (folder / "hub.toml").write_text(settings or SETTINGS.format(model=model))
        if not (folder / "hub.db").exists():
            new_database(folder / "hub.db")
        words = ["serve", "--config", str(folder / "hub.toml")]
        super().__init__(folder, "hub.log", words, is_forked=is_forked)
        self._socket = folder / "hub.sock"

    async def start(self) -> None:
        """Start it and wait until it takes work."""
        assert await self.comes_up(), self.log()

    async def comes_up(self) -> bool:
        """Start it and wait until it takes work; false when it ended before that."""
        await super().start()
        assert self.process is not None
        with anyio.fail_after(START_TIMEOUT_S):
            while self.process.returncode is None:
                try:
                    if (await self.ask("GET", "/readyz")).status_code == 200:
                        return True
                except (httpx2.TransportError, OSError):
                    pass
                await anyio.sleep(POLL_S)
        return False

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request over the Unix socket."""
        transport = httpx2.AsyncHTTPTransport(uds=str(self._socket), verify=False)  # no TLS: nothing to load
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://hub", timeout=PATIENCE_S
        ) as client:
            return await client.request(method, path, **options)

    async def get(self, path: str) -> Any:
        """The JSON of an answer that must be a success."""
        answer = await self.ask("GET", path)
        answer.raise_for_status()
        return answer.json()

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Like ``get``, for what changes something."""
        answer = await self.ask("POST", path, json=body or {})
        answer.raise_for_status()
        return answer.json()

    async def device_url(self) -> str:
        """Where devices connect, this time."""
        return f"ws://{(await self.get('/v1/status'))['listeners']['devices']}"

    async def token(self, device: str = "desk") -> str:
        """A fresh token."""
        token: str = (await self.post("/v1/tokens", {"device": device}))["token"]
        return token

    async def start_run(self, agent: str = "notes") -> str:
        """Queue a run; its id."""
        run_id: str = (await self.post(f"/v1/agents/{agent}/runs"))["id"]
        return run_id

    async def ended(self, run_id: str, *, within_s: float = 60.0, every_s: float = POLL_S) -> dict[str, Any]:
        """The run, once it has come to a final state; looked at *every_s* seconds.

        The hub may be killed and back meanwhile.
        """
        run: dict[str, Any] = {}
        with anyio.move_on_after(within_s):
            while run.get("state") not in ("COMPLETED", "FAILED", "CANCELLED"):
                await anyio.sleep(every_s)
                try:
                    listed = (await self.get("/v1/runs"))["runs"]  # light: without every file of the run
                except (httpx2.TransportError, OSError):
                    continue
                run = next(run for run in listed if run["id"] == run_id)
            detail: dict[str, Any] = await self.get(f"/v1/runs/{run_id}")
            return detail
        raise AssertionError(f"the run did not end: {run}\n{self.log()[-4000:]}")


class DeviceProcess(Program):
    """``hub connect``: the reference device over ``folder/notes``."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.database = folder / "desk.db"
        token_file = folder / "desk.token"
        token_file.write_text(token)
        token_file.chmod(0o600)
        options = ["--root", str(folder / "notes"), "--db", str(self.database), "--name", "desk"]
        super().__init__(folder, "desk.log", ["connect", url, *options, "--token-file", str(token_file)])

    def items(self) -> list[tuple[str, str]]:
        """Return path and quote of each row that a hub wrote."""
        found = read_items(self.database) if self.database.exists() else []
        return [(item.source_path or "", item.quote or "") for item in found]


class KeptDevice(Program):
    """``hub device run`` over ``folder/notes``, with a key of its own."""

    def __init__(self, folder: Path, url: str, *, root: Path | None = None, is_forked: bool = True) -> None:
        (folder / "notes").mkdir(exist_ok=True)
        self.settings = folder / "device.toml"
        self.root = root or folder / "notes"
        self.database = folder / "devices/desk.db"
        self.move_to(url)
        words = ["device", "run", "--config", str(self.settings)]
        super().__init__(folder, "desk.log", words, is_forked=is_forked)

    def move_to(self, *urls: str) -> None:
        """Write the settings, with other addresses of the hub."""
        scratch = self.settings.with_suffix(".new")
        scratch.write_text(
            f'hub = {json.dumps(urls)}\nroots = [{json.dumps(str(self.root))}]\nname = "desk"\n'
        )
        scratch.replace(self.settings)

    async def let_in(self, hub: HubProcess) -> None:
        """Start it for the first time, and approve the code that it shows."""
        await self.start()
        await self.says("hub pair approve", within_s=START_TIMEOUT_S)
        code = self.log().split("hub pair approve ")[1].split()[0]
        await hub.post("/v1/pairings/approve", {"code": code, "name": "desk"})
        await self.kill()  # it would ask again in some time
        await self.start()
        await self.says("connected as", within_s=START_TIMEOUT_S)


@asynccontextmanager
async def closing(*programs: Program) -> AsyncIterator[None]:
    """Whatever happens inside, the programs are gone afterwards."""
    try:
        yield
    finally:
        for program in programs:
            await program.close()
