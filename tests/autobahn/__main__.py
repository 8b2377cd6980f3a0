"""``python -m tests.autobahn``: the device port before all cases of the Autobahn test suite.

Installs the suite first, which needs CPython 2.7. Exit code 1 when a case is neither passed nor explained, or
passes although it is explained why it cannot; 69 when the suite cannot be installed.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
from websockets.frames import BINARY, TEXT, CloseCode
from websockets.protocol import OPEN

from hub.base.clock import SystemChance, SystemClock
from hub.base.metrics import Metrics
from hub.links import listener
from hub.links.auth import Authenticator
from hub.links.connection_limits import PortLimits
from hub.links.hub_key import HubKey
from hub.links.link_limits import LinkLimits
from hub.links.listener import DevicesPort
from hub.links.roster import Roster
from hub.links.transport import WHOLE_BINARY, WHOLE_TEXT, DeviceSocket
from protocol.frame import PATH
from protocol.ids import BootId
from storage.store import open_store
from tests.support.programs import CannotInstall, cache_folder

_HEAD_END: Final = b"\r\n\r\n"
_UNHURRIED: Final = 1e12  # a second
_MESSAGE_BYTES: Final = 32 * 1024 * 1024  # the suite sends 16 MiB
_FRAGMENTS: Final = 70_000  # the suite sends 4 MiB in fragments of 64 bytes
_SOCKETS: Final = 64


class Kinds:
    """Opcodes of the messages in a stream, read from the headers of frames alone."""

    def __init__(self) -> None:
        self.opcodes: deque[int] = deque()
        self._unread = bytearray()
        self._is_open = False
        self._skipped = 0  # bytes that are left of a payload

    def feed(self, data: bytes) -> None:
        """Read what the client sent: its request, then frames."""
        self._unread += data
        if not self._is_open:
            _, end, rest = self._unread.partition(_HEAD_END)
            if not end:
                return
            self._is_open, self._unread = True, rest
        while self._unread:
            taken = min(self._skipped, len(self._unread))
            del self._unread[:taken]
            self._skipped -= taken
            if self._skipped or len(self._unread) < 2:
                return
            size = self._unread[1] & 0x7F
            extra = {126: 2, 127: 8}.get(size, 0)
            if len(self._unread) < 2 + extra:
                return
            if extra:
                size = int.from_bytes(self._unread[2 : 2 + extra])
            if self._unread[0] & 0x0F in (TEXT, BINARY):
                self.opcodes.append(self._unread[0] & 0x0F)
            self._skipped = 2 + extra + 4 + size


class EchoSocket(DeviceSocket):
    """A device's socket that sends its messages back."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kinds = Kinds()

    def data_received(self, data: bytes) -> None:
        self._kinds.feed(data)
        super().data_received(data)

    def echo(self) -> None:
        """Send every message back from now on."""
        self.welcome(0.0)
        self.attach(self._echo, lambda: None, lambda: None)

    def _echo(self, data: bytes) -> None:
        is_text = self._kinds.opcodes.popleft() == TEXT
        try:
            data.decode() if is_text else None
        except UnicodeDecodeError as wrong:
            if self.protocol.state is OPEN:
                self.protocol.fail(CloseCode.INVALID_DATA, f"{wrong.reason} at {wrong.start}")
                self.send_data()
        else:
            self.send_frame(data, WHOLE_TEXT if is_text else WHOLE_BINARY)


class EchoListener(DevicesPort):
    """A device port without sessions."""

    async def _serve_socket(self, transport: DeviceSocket) -> None:
        assert isinstance(transport, EchoSocket)
        transport.forget_request()
        transport.echo()
        await transport.wait_closed()


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """Serve on a free port, and give its number."""
    clock, chance, metrics = SystemClock(), SystemChance(), Metrics()
    setattr(listener, "DeviceSocket", EchoSocket)  # noqa: B010 - another class than the annotation has
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with open_store("sqlite://", base=None) as store, anyio.create_task_group() as tasks:
            serving = EchoListener(
                sock=listening,
                hub_id="autobahn",
                key=HubKey(bytes(32)),
                authenticator=Authenticator(
                    store, clock=clock, chance=chance, metrics=metrics, boot_id=BootId("autobahn")
                ),
                roster=Roster(lambda _: None, metrics=metrics),
                clock=clock,
                chance=chance,
                metrics=metrics,
                limits=LinkLimits(
                    message_bytes=_MESSAGE_BYTES,
                    message_fragments=_FRAGMENTS,
                    frames_per_s=_UNHURRIED,
                    bytes_per_s=_UNHURRIED,
                ),
                port_limits=PortLimits(
                    connections_per_network=_SOCKETS,
                    strangers=_SOCKETS,
                    strangers_per_network=_SOCKETS,
                    new_at_once=1_000_000,
                    new_per_s=_UNHURRIED,
                ),
                compression=True,
                ping_every_s=None,
            )
            _, port = await tasks.start(serving.serve)
            yield port
            tasks.cancel_scope.cancel()


_UNAVAILABLE: Final = 69
_SUITE: Final = "autobahntestsuite==25.10.1"
_TOOLS: Final = ("setuptools==44.0.0", "wheel==0.37.1")  # the last ones for Python 2.7, which has none
_QUICK: Final = ["12.*", "13.*"]  # compression: 216 cases that take ten minutes
_AGENT: Final = "hub"
_PASSED: Final = ("OK", "INFORMATIONAL")
_LATE: Final = (
    "text is decoded once its message is whole, so bad UTF-8 is noticed at the end of its last fragment"
)
EXPLAINED: Final = {
    "6.4.1": _LATE,
    "6.4.2": _LATE,
    "6.4.3": _LATE,
    "6.4.4": _LATE,
    "7.1.5": "a close within a fragmented message is answered as an error (1002), as the library does",
}


def install(cache: Path) -> tuple[Path, dict[str, str]]:
    """Install the suite; return its command and the environment that it needs.

    Raises:
        CannotInstall: Python 2.7 is missing, or pip failed.
    """
    python = next(_pythons(), None)
    if python is None:
        raise CannotInstall(
            "the suite needs CPython 2.7, with headers and a C compiler: pyenv install 2.7.18, or set PYTHON2"
        )
    home = cache / _SUITE
    # not PYTHONPATH, which would not read the .pth file of the namespace package zope
    environment = os.environ | {"PYTHONUSERBASE": str(home)}
    environment.pop("PYTHONPATH", None)
    done = home / ".installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        for packages in (_TOOLS, (_SUITE,)):
            command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--user", *packages]
            ended = subprocess.run(command, check=False, stdout=PIPE, stderr=STDOUT, env=environment)
            if ended.returncode != 0:
                raise CannotInstall(f"pip failed: {ended.stdout.decode(errors='replace')[-2000:]}")
        done.touch()
    return home / "bin" / "wstest", environment


def _pythons() -> Iterator[str]:
    """Commands that run Python 2.7."""
    found = [os.environ.get("PYTHON2"), shutil.which("python2.7"), shutil.which("python2")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found += map(str, sorted(pyenv.glob("2.7.*/bin/python2.7")))
    for python in filter(None, found):
        said = subprocess.run([python, "-m", "pip", "--version"], check=False, stdout=PIPE, stderr=DEVNULL)
        if b"(python 2.7)" in said.stdout:
            yield python


async def play(wstest: Path, environment: dict[str, str], left_out: list[str]) -> dict[str, dict[str, str]]:
    """Run the suite against the echo; return what it says of each case."""
    with TemporaryDirectory() as name:
        folder = anyio.Path(name)
        specification = folder / "suite.json"
        async with echoing() as port:
            url = f"ws://127.0.0.1:{port}{PATH}"
            given = {
                "outdir": str(folder / "reports"),
                "servers": [{"agent": _AGENT, "url": url, "options": {"version": 18}}],
                "cases": ["*"],
                "exclude-cases": left_out,
                "exclude-agent-cases": {},
            }
            await specification.write_text(json.dumps(given))
            command = [str(wstest), "-m", "fuzzingclient", "-s", str(specification)]
            await anyio.run_process(command, env=environment, cwd=folder, stderr=STDOUT)
        report: dict[str, dict[str, dict[str, str]]] = json.loads(
            await (folder / "reports" / "index.json").read_text(encoding="utf-8")
        )
        return report[_AGENT]


def main() -> int:
    """Install, play, compare with the explanations."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the cases of compression out")
    chosen = parser.parse_args()
    cache = cache_folder("autobahn")
    print(f"installing into {cache}, unless it is there", flush=True)
    try:
        wstest, environment = install(cache)
    except CannotInstall as missing:
        print(f"autobahn: {missing}", file=sys.stderr)
        return _UNAVAILABLE
    results = anyio.run(
        play, wstest, environment, _QUICK if chosen.quick else [], backend_options={"use_uvloop": True}
    )
    return 1 if judge(results) else 0


def judge(results: dict[str, dict[str, str]]) -> list[str]:
    """Print what came of the cases; return those that nothing explains."""
    behind = {
        case: f"{result['behavior']}, close: {result['behaviorClose']}"
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= set(_PASSED)
    }
    faults = [f"{case}: {behavior}" for case, behavior in behind.items() if case not in EXPLAINED]
    faults += [
        f"{case}: passed, and is explained" for case in EXPLAINED if case in results and case not in behind
    ]
    for case in behind.keys() & EXPLAINED.keys():
        print(f"  {case}: {behind[case]}: {EXPLAINED[case]}")
    print(
        f"{len(results)} cases: {len(results) - len(behind)} passed, "
        f"{len(behind.keys() & EXPLAINED.keys())} explained, {len(faults)} faults"
    )
    for fault in faults:
        print(f"  FAULT {fault}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
