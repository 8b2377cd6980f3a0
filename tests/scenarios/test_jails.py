"""Descriptors that are open inside of each process for foreign content, however the hub was started."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from threading import Event, Thread
from typing import Final

import httpx2
import pytest

from hub.text.confinement import landlock_version
from tests.support.processes import ROOT, ask_hub
from tests.support.programs import ending, free_port

pytestmark = pytest.mark.skipif(landlock_version() < 1, reason="the jail is of Linux with Landlock")

PATIENCE_S = 25.0
POLL_S = 0.02
SETTINGS = """
[hub]
name = "test"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
[model]
kind = "local"
reads_prose = true
[[connectors]]
name = "notes"
provider = "process"
settings = { folder = "notes", command = ["python", "silent_connector.py"] }
[[connectors]]
name = "minutes"
provider = "mcp"
settings = { server = { folder = "notes", command = ["python", "silent_server.py"] } }
[[connectors]]
name = "letters"
provider = "maildir"
settings = { path = "letters" }
[[agents]]
name = "mail"
device = "desk"
connector = "letters"
data_types = ["tasks"]
prompt = "Find the tasks."
"""
SILENT = "import sys\nsys.stdin.readlines()\n"  # it waits until it is ended
ON_ASYNCIO = (
    "import hub.app.daemon as daemon; daemon.has_uvloop = lambda: False; from hub.cli.app import main; main()"
)
COMMANDS: Final = {
    "asyncio": [sys.executable, "-c", ON_ASYNCIO],
    "uvloop": [sys.executable, "-m", "hub"],
}
EMBEDDED: Final = "hub.extraction.local_model"
# As the table in security.md has them; pipes to the hub are sockets under uvloop.
PIPES: Final = {0: "pipe", 1: "pipe", 2: "pipe"}
EXPECTED: Final = {
    "worker_main.py": {0: "file", 1: "file", 2: "null"},
    "rules_main.py": {0: "pipe", 1: "pipe", 2: "null"},
    "silent_connector.py": PIPES,
    "mcp_connector.py": PIPES | {4: "pipe", 5: "pipe"},
    "silent_server.py": PIPES,
    EMBEDDED: {0: "pipe", 1: "null", 2: "pipe"},
}
OPENING: Final = ("worker_main.py", EMBEDDED)  # their libraries open some of their own


def _kind(link: str) -> str:
    """Return the kind of what a link in ``/proc/PID/fd`` names."""
    if link == "/dev/null":
        return "null"
    if link.startswith("/"):
        return "file"
    return link.partition(":")[0].replace("socket", "pipe")


def _links(pid: int) -> dict[int, str]:
    links = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links[int(entry.name)] = os.readlink(entry)
    return links


def _jailed(hub: int) -> Iterator[tuple[int, str]]:
    """Yield the processes below the hub with the program of each."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            for program in EXPECTED:
                if any(word == program or word.endswith(f"/{program}") for word in words):
                    beside = program == "silent_server.py"  # the bridge started it
                    if above == hub or (beside and _parent(above) == hub):
                        yield int(entry.name), program


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_confined(pid: int) -> bool:
    return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


def _observed(hub: int) -> dict[str, dict[int, str]]:
    """Return what is open in each process, once it is as expected or the time is over."""
    observed: dict[str, dict[int, str]] = {}
    for _ in range(int(PATIENCE_S / POLL_S)):
        for pid, program in _jailed(hub):
            if observed.get(program) == EXPECTED[program]:
                continue
            with suppress(OSError):
                if program == "worker_main.py":
                    os.kill(pid, signal.SIGSTOP)
                try:
                    links = _links(pid)
                    if program in OPENING:
                        of_hub = {one for one in _links(hub).values() if not one.startswith("anon_inode:")}
                        links = {
                            number: link for number, link in links.items() if number < 3 or link in of_hub
                        }
                    if program == EMBEDDED or _is_confined(pid):
                        observed[program] = {number: _kind(link) for number, link in links.items()}
                finally:
                    os.kill(pid, signal.SIGCONT)
        if observed == EXPECTED:
            break
        Event().wait(POLL_S)
    return observed


def _inheritable(pid: int) -> list[str]:
    """Return what a process leaves to its children, beside standard input, output and error."""
    found = []
    for number, link in _links(pid).items():
        with suppress(FileNotFoundError):
            flags = Path(f"/proc/{pid}/fdinfo/{number}").read_text().partition("flags:\t")[2].split()[0]
            if number > 2 and not int(flags, 8) & os.O_CLOEXEC:
                found.append(link)
    return found


def _write_settings(folder: Path) -> Path:
    """Write settings, programs and a long mail; return the settings file."""
    for name in ("notes", "letters"):
        (folder / name).mkdir()
    for program in ("silent_connector.py", "silent_server.py"):
        (folder / "notes" / program).write_text(SILENT)
    for number in range(8):
        letter = EmailMessage(SMTP)
        letter["From"], letter["To"], letter["Subject"] = "ana@example.com", "bo@example.com", "Plants"
        letter["Message-ID"] = f"<{number}@example.com>"
        rows = "".join(f"<tr><td>row {row}</td><td><b>text</b> of it</td></tr>" for row in range(20_000))
        letter.set_content(f"<p>Bo must water the plants.</p><table>{rows}</table>", subtype="html")
        (folder / "letters" / f"{number}.eml").write_bytes(letter.as_bytes())
    file = folder / "hub.toml"
    file.write_text(SETTINGS)
    return file


Start = Callable[[str, Path, Path], AbstractContextManager[int]]


@contextmanager
def _by_hand(loop: str, state: Path, settings: Path) -> Iterator[int]:
    """Start a hub which inherits a pipe that nobody meant for it."""
    reading, writing = os.pipe()
    command = [*COMMANDS[loop], "--state", str(state), "serve", "--config", str(settings)]
    with (
        (state / "hub.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, pass_fds=[writing]) as hub,
        ending(hub),
    ):
        yield hub.pid
    os.close(reading)
    os.close(writing)


@contextmanager
def _by_sockets(loop: str, state: Path, settings: Path) -> Iterator[int]:
    """Start a hub by socket activation, with a socket that it does not know."""
    port, admin = free_port(), state / "hub-admin.sock"
    listen = [f"--listen={one}" for one in (f"127.0.0.1:{port}", admin, f"127.0.0.1:{free_port()}")]
    tool = ["systemd-socket-activate", *listen, "--fdname=devices:admin:other", f"--setenv=PYTHONPATH={ROOT}"]
    command = [*tool, *COMMANDS[loop], "--state", str(state), "serve", "--config", str(settings)]
    with (
        (state / "hub.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as hub,
        ending(hub),
        socket.socket() as knocking,
    ):
        while knocking.connect_ex(("127.0.0.1", port)):
            Event().wait(POLL_S)
        yield hub.pid


@contextmanager
def _by_up(loop: str, state: Path, settings: Path) -> Iterator[int]:
    """Start a hub by ``hub up``."""
    assert loop == "uvloop"
    home = settings.parent / "home"
    (home / "notes").mkdir(parents=True)
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home)}
    environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
    environment.pop("STATE_DIRECTORY", None)
    command = [*COMMANDS[loop], "up", "--no-browser", "--config", str(settings), "--state", str(state)]
    try:
        subprocess.run([*command, str(home / "notes")], cwd=home, env=environment, check=True)
        yield int((state / "up" / "hub.pid").read_text())
    finally:
        down = [*COMMANDS[loop], "down", "--state", str(state)]
        subprocess.run(down, cwd=home, env=environment, check=True)


def _post(state: Path, sockets: str, path: str) -> None:
    """Send a request over the Unix socket; its answer is not looked at."""
    with suppress(httpx2.TransportError):
        ask_hub(state / sockets, "POST", path, {}, timeout_s=PATIENCE_S)


def _wait_until_ready(state: Path, sockets: str) -> None:
    for _ in range(int(PATIENCE_S / POLL_S)):
        with suppress(OSError, httpx2.TransportError):  # a socket has its path before it listens
            if ask_hub(state / sockets, "GET", "/readyz").status_code == 200:
                return
        Event().wait(POLL_S)
    raise AssertionError("the hub is not ready in time")


@pytest.mark.parametrize(
    ("start", "loop"),
    [
        (_by_hand, "asyncio"),
        pytest.param(_by_hand, "uvloop", marks=pytest.mark.soak),
        pytest.param(_by_sockets, "asyncio", marks=pytest.mark.soak),
        (_by_sockets, "uvloop"),
        (_by_up, "uvloop"),
    ],
)
def test_jailed_processes_have_exactly_the_documented_descriptors(
    tmp_path: Path, start: Start, loop: str
) -> None:
    pytest.importorskip("xllamacpp", reason="the small model is an extra")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    settings = _write_settings(tmp_path)
    sockets = "hub-admin.sock" if start is _by_sockets else "hub.sock"
    with start(loop, state, settings) as hub:
        _wait_until_ready(state, sockets)
        paths = ("/v1/connectors/notes/test", "/v1/connectors/minutes/test", "/v1/agents/mail/runs")
        asking = [Thread(target=_post, args=(state, sockets, path), daemon=True) for path in paths]
        for thread in asking:
            thread.start()
        observed = _observed(hub)
        inheritable = _inheritable(hub)
    for thread in asking:
        thread.join()
    assert observed == EXPECTED
    assert inheritable == []
