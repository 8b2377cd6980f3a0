"""Tests of the confinement of the process that reads untrusted files: what it can still reach."""

import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.text import worker
from hub.text.confinement import ALLOWED, FOR_PROGRAMS, SystemCall
from hub.text.files import PDF, ConvertLimits
from hub.text.worker import read_apart
from tests.support.programs import ending

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="system calls are filtered on Linux, on x86-64 and ARM64",
)

ROOT = Path(__file__).parents[3]
COLUMN = 0 if platform.machine() == "x86_64" else 1
CALLS = {name: call for calls in ALLOWED.values() for name, call in calls.items()}
OF_PROGRAMS = CALLS | {name: call for calls in FOR_PROGRAMS.values() for name, call in calls.items()}

# Locks itself and makes raw system calls; prints those that were not refused with EPERM.
SWEEP = """
import ctypes, errno, json, os, sys
from hub.text import confinement

libc = ctypes.CDLL(None, use_errno=True)
calls, sweep, is_program = json.load(sys.stdin)
assert confinement.lock(confinement.FOR_PROGRAMS if is_program else {})

def passes(number, *arguments):
    ctypes.set_errno(0)
    failed = libc.syscall(*(ctypes.c_long(value) for value in (number, *arguments))) == -1
    return not (failed and ctypes.get_errno() == errno.EPERM)

passed = {"numbers": [number for number in calls if passes(number, -1, -1, -1, -1, -1, -1)]}
for name, number, argument, values, others in sweep:
    passed[name] = [
        value for value in values if passes(number, *others[:argument], value, *others[argument + 1 :])
    ]
os.write(1, json.dumps(passed).encode())
"""


def sweep(
    calls: list[int],
    arguments: list[tuple[str, int, int, list[int], list[int]]],
    *,
    is_program: bool = False,
) -> dict[str, list[int]]:
    """Return the numbers, and the values of arguments, that a locked process was not refused."""
    output = subprocess.run(
        [sys.executable, "-c", SWEEP],
        input=json.dumps([calls, arguments, is_program]).encode(),
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    ).stdout
    passed: dict[str, list[int]] = json.loads(output)
    return passed


@pytest.mark.parametrize(("calls", "is_program"), [(CALLS, False), (OF_PROGRAMS, True)])
def test_system_calls_outside_the_allow_list_are_refused(
    calls: dict[str, SystemCall], is_program: bool
) -> None:
    allowed = {call.numbers[COLUMN] for call in calls.values()}
    of_x32 = range(0x4000_0000, 0x4000_0000 + 600)  # the same architecture by its mark, with other numbers
    unfiltered = {335, 336} if COLUMN == 0 else set()  # uretprobe and uprobe: the kernel ends who makes them
    others = [number for number in (*range(600), *of_x32) if number not in allowed | unfiltered]
    clone3 = 435  # refused with ENOSYS, so that libc takes clone

    assert sweep(others, [], is_program=is_program)["numbers"] == [clone3]


def test_confined_process_may_use_only_the_allowed_system_call_arguments() -> None:
    values = sorted(
        {*range(4_200), *range(0x5400, 0x5480), *range(0x8900, 0x8C00), *(1 << bit for bit in range(32))}
        | {0x4008_6602, 0x4004_9409, 0x5961_6D61, 0xFFFF_FFFF, 0x8000_0002, os.getpid()},
        reverse=True,  # the process registers with membarrier before it asks for a barrier
    )
    unsafe = {"clone"}  # its allowed flags would start a thread on the stack of the caller
    cases = [
        (name, call.numbers[COLUMN], argument, values, [-1 if name in ("ioctl", "fcntl") else 0] * 6)
        for name, call in CALLS.items()
        for argument in call.only
        if name not in ("tgkill", "clone")
    ]
    cases.append(("clone", CALLS["clone"].numbers[COLUMN], 0, [1 << bit for bit in range(32)], [0] * 6))
    passed = sweep([], cases)

    for name, _number, argument, _values, _others in cases:
        expected = [] if name in unsafe else sorted(CALLS[name].only[argument])
        assert (name, sorted(passed[name])) == (name, expected)


WITHOUT_NAMESPACE = """
import resource
from hub.text import confinement

class Libc:
    def __init__(self, libc):
        self.syscall, self.prctl, self.unshare = libc.syscall, libc.prctl, lambda flags: -1

libc = Libc(confinement._libc())
confinement._libc = lambda: libc
assert not confinement.leave_others()
print(*resource.getrlimit(resource.RLIMIT_NPROC))
"""


def test_without_a_user_namespace_the_other_threads_of_the_user_do_not_count_against_the_limit() -> None:
    argv = [sys.executable, "-c", WITHOUT_NAMESPACE]
    output = subprocess.run(argv, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
    soft, hard = map(int, output.split())
    assert soft == hard > 64


@contextmanager
def exploited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **orders: object) -> Iterator[Path]:
    """Replace the code of the worker by an exploit, which finds its orders in the file at the given path."""
    monkeypatch.setattr(worker, "_MAIN", Path(__file__).with_name("exploit.py"))
    path = tmp_path / "file.pdf"
    path.write_text(json.dumps(orders))
    yield path


def test_exploited_parser_reaches_no_file_process_or_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [str(tmp_path / "service"), f"\0hub-test-{os.getpid()}"]
    services = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in names]
    for service, name in zip(services, names, strict=True):
        service.bind(name)
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as victim,
        ending(victim),
        exploited(monkeypatch, tmp_path, victim=victim.pid, sockets=names, hangs=False) as path,
        open(path, "r+b") as file,
    ):
        before = path.read_bytes()
        answer = read_apart(file, PDF, ConvertLimits(), lambda: None)
        assert victim.poll() is None
        victim.communicate()

    assert (json.loads(answer.text), path.read_bytes()) == ([], before)
    assert select.select(services, [], [], 0)[0] == []
    for service in services:
        service.close()


def test_exploited_parser_exits_when_the_parent_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exploited(monkeypatch, tmp_path, victim=0, sockets=[], hangs=True) as path:
        code = (
            "import sys; from pathlib import Path; from hub.text import files, worker\n"
            "worker._MAIN = Path(sys.argv[1]); file = open(sys.argv[2], 'rb')\n"
            "worker.read_apart(file, files.PDF, files.ConvertLimits(), lambda: print('x', flush=True))"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", code, str(worker._MAIN), str(path)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert parent.stdout is not None
        for _ in range(20):  # checks for a cancellation: the exploit has tried all within two seconds
            assert parent.stdout.readline() == b"x\n"
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        descriptor = os.pidfd_open(int(children[0]))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()

        assert select.select([descriptor], [], [], 60)[0] == [descriptor]
        os.close(descriptor)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an instruction of x86 makes calls of 32 bits")
def test_system_call_of_another_architecture_ends_the_process() -> None:
    code = """
import ctypes, mmap
from hub.text import confinement
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # mov eax, 20 (getpid); int 0x80; ret
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
assert confinement.lock()
getpid()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT)

    assert ended.returncode in (-signal.SIGSYS, -signal.SIGSEGV)  # the second: the kernel has no such calls
