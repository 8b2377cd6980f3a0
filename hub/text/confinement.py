"""Sandbox of a process before it parses an untrusted file.

An untrusted file may exploit a hole in its parser. So the parsing process irrevocably limits its memory, time
and output. On Linux, it also gives up everything else (on other systems, it keeps its network and file
access):

* it ends with its parent process;
* no network: an empty network namespace of its own, where the kernel permits that, and on x86-64 and ARM64 no
  sockets at all;
* on these machines no file can be opened, and no process started or signalled: the process reaches only its
  input and the file for its answer. The rule is an allow list of system calls; all others fail with EPERM
  (seccomp(2)).

Imports no other module of this project.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from typing import Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1  # of seccomp(2); prctl cannot install filters for existing threads
_FOR_ALL_THREADS: Final = 1
_CLONE_THREAD: Final = 0x0001_0000
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000

# struct seccomp_data: the call's number, the architecture, then the arguments, low half first on both
# machines.
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0000  # with an errno in the low half


class _Machine(NamedTuple):
    """Architecture: the kernel's constant, and where its numbers are listed."""

    audit: int  # AUDIT_ARCH_*
    column: int  # in _MAY_BE_ASKED
    seccomp: int  # number of seccomp(2) itself


_MACHINES: Final = {"x86_64": _Machine(0xC000_003E, 0, 317), "aarch64": _Machine(0xC000_00B7, 1, 277)}

# Memory, threads, time, open descriptors. Numbers on x86-64 and on ARM64; -1 where the call does not exist.
_MAY_BE_ASKED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, -1),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "ioctl": (16, 29),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),  # over the socket pair by which kreuzberg's threads wake each other
    "recvfrom": (45, 207),
    "socketpair": (53, 199),
    "exit": (60, 93),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "prctl": (157, 167),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "epoll_wait": (232, -1),
    "epoll_ctl": (233, 21),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "pipe2": (293, 59),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
_CLONE: Final = (56, 220)  # for threads, not for processes
_TGKILL: Final = (234, 131)  # to its own threads: abort() ends with it
_PRLIMIT64: Final = (302, 261)  # to read or lower its own limits
# Its flags are in memory, invisible to seccomp; ENOSYS makes libc fall back to clone.
_CLONE3: Final = (435, 435)


class Unconfined(Exception):
    """Confinement that this machine does not support; ``str()`` names the missing part."""


def limit(*, memory_bytes: int, seconds: float, output_bytes: int) -> None:
    """Limit memory, processor time and output; only Linux enforces the memory limit.

    Raises:
        Unconfined: the kernel refuses a limit.
    """
    cpu = max(1, round(seconds))
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError) as error:
            if kind != resource.RLIMIT_AS or sys.platform == "linux":
                raise Unconfined("its memory and time cannot be limited") from error


def die_with(parent: int) -> None:
    """Bind this process's life to the process *parent*, and make it the OOM killer's first choice."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    if os.getppid() != parent:
        os._exit(1)


def leave_network() -> bool:
    """Move to an empty network namespace; return False if that is not permitted.

    Must be called while the process has a single thread.
    """
    return sys.platform == "linux" and bool(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def lock() -> bool:
    """Restrict all threads to open descriptors and allowed system calls; return False if unsupported."""
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    return machine is not None and _install(machine, _rule(machine, os.getpid()))


def _rule(machine: _Machine, pid: int) -> bytes:
    """Compile the allow list to a BPF program (an array of struct sock_filter)."""

    def step(code: int, operand: int, if_so: int = 0, if_not: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_so, if_not, operand)

    def first_argument(call: tuple[int, int], test: int, operand: int) -> list[bytes]:
        return [
            step(_JUMP_IF_EQUAL, call[machine.column], 0, 4),
            step(_LOAD, _FIRST_ARGUMENT_AT),
            step(test, operand, 0, 1),
            step(_RETURN, _ALLOW),
            step(_RETURN, _REFUSE | errno.EPERM),
        ]

    program = [
        step(_LOAD, _MACHINE_AT),
        step(_JUMP_IF_EQUAL, machine.audit, 1, 0),
        step(_RETURN, _KILL),  # numbers of another architecture, for which the list is wrong
        step(_LOAD, _NUMBER_AT),
    ]
    for numbers in _MAY_BE_ASKED.values():
        if (number := numbers[machine.column]) >= 0:
            program += [step(_JUMP_IF_EQUAL, number, 0, 1), step(_RETURN, _ALLOW)]
    program += [step(_JUMP_IF_EQUAL, _CLONE3[machine.column], 0, 1), step(_RETURN, _REFUSE | errno.ENOSYS)]
    program += first_argument(_CLONE, _JUMP_IF_ANY_BIT, _CLONE_THREAD)
    program += first_argument(_TGKILL, _JUMP_IF_EQUAL, pid)
    program += first_argument(_PRLIMIT64, _JUMP_IF_EQUAL, 0)
    program.append(step(_RETURN, _REFUSE | errno.EPERM))
    return b"".join(program)


class _Program(ctypes.Structure):
    """Mirror of struct sock_fprog."""

    _fields_ = [("steps", ctypes.c_ushort), ("first", ctypes.c_char_p)]


def _install(machine: _Machine, rule: bytes) -> bool:
    libc = _libc()
    program = _Program(len(rule) // 8, rule)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    answer = libc.syscall(machine.seccomp, _SET_MODE_FILTER, _FOR_ALL_THREADS, ctypes.byref(program))
    return bool(answer == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
