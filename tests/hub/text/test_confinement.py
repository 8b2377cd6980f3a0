"""What a process can no longer do once it has locked itself in: anything but think and answer."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the list of what may be asked of the kernel is Linux's, on two machines",
)

TRY_EVERYTHING = """
import json, os, resource, socket, subprocess, threading
from hub.text import confinement

ours = os.getppid()
inside = os.open("/", os.O_RDONLY)
early = threading.Event()
answers = {}

def attempt(name, deed):
    try:
        deed()
        answers[name] = "done"
    except (OSError, ValueError, MemoryError) as error:
        answers[name] = type(error).__name__

def late():
    early.wait()
    attempt("open a file in a thread that was there before", lambda: open("/etc/hostname"))

thread = threading.Thread(target=late)
thread.start()
confinement.limit(memory_bytes=400 << 20, seconds=5, output_bytes=1 << 20)
assert confinement.lock()
early.set()
thread.join()

attempt("open a file", lambda: open("/etc/hostname"))
attempt("open a file below a folder that is open", lambda: os.open("etc", os.O_RDONLY, dir_fd=inside))
attempt("make a file", lambda: open("/tmp/planted", "w"))
attempt("remove a file", lambda: os.unlink("/tmp/planted"))
attempt("look at a file", lambda: os.stat("/etc/hostname"))
attempt("speak over the network", lambda: socket.socket(socket.AF_INET))
attempt("speak to a service", lambda: socket.socket(socket.AF_UNIX))
attempt("fork", os.fork)
attempt("run a program", lambda: os.execv("/bin/true", ["true"]))
attempt("start a program", lambda: subprocess.Popen(["/bin/true"]))
attempt("signal who started it", lambda: os.kill(ours, 0))
attempt("take hold of who started it", lambda: os.pidfd_open(ours))
attempt("limit who started it", lambda: resource.prlimit(ours, resource.RLIMIT_NOFILE))
attempt("raise its own limit", lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)))
attempt("take memory", lambda: bytearray(500 << 20))
attempt("think in a thread", lambda: threading.Thread(target=len, args=("x",)).start())
os.write(1, json.dumps(answers).encode())
"""


def test_a_locked_process_can_think_and_answer_and_nothing_else() -> None:
    said = subprocess.run(
        [sys.executable, "-c", TRY_EVERYTHING],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    answers = json.loads(said.stdout)

    assert answers.pop("think in a thread") == "done"
    assert answers.pop("take memory") == "MemoryError"
    assert answers.pop("raise its own limit") == "ValueError"
    assert len(answers) == 14
    assert set(answers.values()) == {"PermissionError"}
