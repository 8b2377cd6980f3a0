"""Sandbox of a process before it parses an untrusted file.

An untrusted file may exploit a hole in its parser. So the parsing process irrevocably limits its memory,
time, output, descriptors and threads. On Linux, it also gives up everything else (on other systems, it keeps
its network and file access):

* it ends with its parent process;
* no network: an empty network namespace of its own, where the kernel permits that, and on x86-64 and ARM64
  only pairs of its own sockets;
* no signals to other processes, no abstract sockets and no TCP, where the kernel has Landlock (landlock(7));
* on x86-64 and ARM64 no file can be opened, and no process started or signalled: the process reaches only its
  input and the file for its answer. The rule is an allow list of system calls and, where an argument could
  reach something else, of its values; all others fail with EPERM (seccomp(2)).

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
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1  # of seccomp(2); prctl cannot install filters for existing threads
_FOR_ALL_THREADS: Final = 1
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_LANDLOCK_CREATE_RULESET: Final = 444  # these two are the same on all machines
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION: Final = 1  # flag that asks for the version alone
_LANDLOCK_TCP: Final = 0b11  # bind and connect; version 4
_LANDLOCK_SCOPES: Final = 0b11  # abstract sockets and signals; version 6

_MOST_DESCRIPTORS: Final = 64  # pipes and sockets hold memory of the kernel, which no other limit counts
_MOST_THREADS: Final = 64  # binding if the process has a user namespace of its own, and is not root outside

# struct seccomp_data: the call's number, the architecture, then six arguments of 8 bytes, low half first on
# both machines.
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0000  # with an errno in the low half


class _Machine(NamedTuple):
    """Architecture: the kernel's constant, and where its numbers are listed."""

    audit: int  # AUDIT_ARCH_*
    column: int  # in Call.numbers
    seccomp: int  # number of seccomp(2) itself


_MACHINES: Final = {"x86_64": _Machine(0xC000_003E, 0, 317), "aarch64": _Machine(0xC000_00B7, 1, 277)}


class Call(NamedTuple):
    """Allowed system call.

    Attributes:
        numbers: on x86-64 and on ARM64; -1 where the call does not exist.
        only: the allowed values by argument, counted from 0. The kernel reads 32 bits of each of them.
        null: arguments that must be null pointers.
    """

    numbers: tuple[int, int]
    only: Mapping[int, Sequence[int]] = {}
    null: Sequence[int] = ()


_ITSELF: Final = -1  # for the id of the process itself, which is known only there
_THREAD_FLAGS: Final = (0x003D_0F00, 0x007D_0F00)  # of pthread_create, by glibc and by musl
_OWN_CLOCKS: Final = range(8)  # others are of devices, or processor times of other processes

# Allowed calls, by what they reach.
ALLOWED: Final[dict[str, dict[str, Call]]] = {
    "the input and the answer, which are open, and pipes and pairs of sockets of its own": {
        "read": Call((0, 63)),
        "write": Call((1, 64)),
        "close": Call((3, 57)),
        "fstat": Call((5, 80)),
        "poll": Call((7, -1)),
        "lseek": Call((8, 62)),
        "ioctl": Call((16, 29), {1: (0x5401, 0x5421, 0x5450, 0x5451)}),  # TCGETS, FIONBIO, FIONCLEX, FIOCLEX
        "pread64": Call((17, 67)),
        "pwrite64": Call((18, 68)),
        "readv": Call((19, 65)),
        "writev": Call((20, 66)),
        "dup": Call((32, 23)),
        "sendto": Call((44, 206), null=(4,)),  # no address: kreuzberg's threads wake each other by a pair
        "recvfrom": Call((45, 207)),
        "socketpair": Call((53, 199), {0: (1,)}),  # AF_UNIX
        # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. Others name a receiver of signals, lock a file
        # for other processes, or change how the parent reads the answer.
        "fcntl": Call((72, 25), {1: (0, 1, 2, 3, 1030)}),
        "epoll_wait": Call((232, -1)),
        "epoll_ctl": Call((233, 21)),
        "ppoll": Call((271, 73)),
        "epoll_pwait": Call((281, 22)),
        "eventfd2": Call((290, 19)),
        "epoll_create1": Call((291, 20)),
        "pipe2": Call((293, 59)),
    },
    "its own memory": {
        "mmap": Call((9, 222)),
        "mprotect": Call((10, 226)),
        "munmap": Call((11, 215)),
        "brk": Call((12, 214)),
        "mremap": Call((25, 216)),
        # Without MADV_MERGEABLE and MADV_PAGEOUT, which measure and slow the memory of others.
        "madvise": Call((28, 233), {2: (0, 1, 2, 3, 4, 8, 14, 15, 16, 17)}),
    },
    "its own threads and signal handlers": {
        "rt_sigaction": Call((13, 134)),
        "rt_sigprocmask": Call((14, 135)),
        "rt_sigreturn": Call((15, 139)),
        "sched_yield": Call((24, 124)),
        "nanosleep": Call((35, 101)),
        "clone": Call((56, 220), {0: _THREAD_FLAGS}),
        "exit": Call((60, 93)),
        "sigaltstack": Call((131, 132)),
        "prctl": Call((157, 167), {0: (15,)}),  # PR_SET_NAME
        "futex": Call((202, 98)),
        "set_tid_address": Call((218, 96)),
        "restart_syscall": Call((219, 128)),
        "clock_nanosleep": Call((230, 115), {0: _OWN_CLOCKS}),
        "exit_group": Call((231, 94)),
        "tgkill": Call((234, 131), {0: (_ITSELF,)}),  # abort() ends with it
        "set_robust_list": Call((273, 99)),
        "membarrier": Call((324, 283), {0: (0, 8, 16)}),  # of its own threads alone
        "rseq": Call((334, 293)),
    },
    "what the kernel says of time, chance, the machine and the process itself": {
        "getpid": Call((39, 172)),
        "uname": Call((63, 160)),
        "gettimeofday": Call((96, 169)),
        "getrusage": Call((98, 165)),
        "sysinfo": Call((99, 179)),
        "times": Call((100, 153)),
        "getuid": Call((102, 174)),
        "getgid": Call((104, 176)),
        "geteuid": Call((107, 175)),
        "getegid": Call((108, 177)),
        "getppid": Call((110, 173)),
        "gettid": Call((186, 178)),
        "sched_getaffinity": Call((204, 123), {0: (0,)}),
        "clock_gettime": Call((228, 113), {0: _OWN_CLOCKS}),
        "clock_getres": Call((229, 114), {0: _OWN_CLOCKS}),
        "prlimit64": Call((302, 261), {0: (0,)}, null=(2,)),  # reads its own limits
        "getrandom": Call((318, 278)),
    },
}
# Its flags are in memory, invisible to seccomp; ENOSYS makes libc fall back to clone.
_CLONE3: Final = (435, 435)


class Unconfined(Exception):
    """Confinement that this machine does not support; ``str()`` names the missing part."""


def limit(*, memory_bytes: int, seconds: float, output_bytes: int) -> None:
    """Limit memory, processor time, output and descriptors; only Linux enforces the memory limit.

    Raises:
        Unconfined: the kernel refuses a limit.
    """
    cpu = max(1, round(seconds))
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS),
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


def leave_others() -> bool:
    """Give up the network and other processes, where the kernel permits; return True if the network is left.

    Must be called while the process has a single thread, as Landlock binds the calling thread alone.
    """
    if sys.platform != "linux":
        return False
    libc = _libc()
    is_apart = bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)
    if is_apart:  # the count is of this user namespace; in the one outside it would be of all the user's
        resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_THREADS, _MOST_THREADS))
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version >= 4:
        scopes = struct.pack("=Q", _LANDLOCK_SCOPES) if version >= 6 else b""
        rules = struct.pack("=QQ", 0, _LANDLOCK_TCP) + scopes
        ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
    return is_apart


def lock() -> bool:
    """Restrict all threads to open descriptors and allowed system calls; return False if unsupported."""
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    return machine is not None and _install(machine, _rule(machine, os.getpid()))


def _rule(machine: _Machine, pid: int) -> bytes:
    """Compile the allow list to a BPF program (an array of struct sock_filter)."""

    def step(code: int, operand: int, if_so: int = 0, if_not: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_so, if_not, operand)

    def one_of(offset: int, values: Sequence[int]) -> list[bytes]:
        past_refusal = [
            step(_JUMP_IF_EQUAL, pid if value == _ITSELF else value, len(values) - at)
            for at, value in enumerate(values)
        ]
        return [step(_LOAD, offset), *past_refusal, step(_RETURN, _REFUSE | errno.EPERM)]

    program = [
        step(_LOAD, _MACHINE_AT),
        step(_JUMP_IF_EQUAL, machine.audit, 1, 0),
        step(_RETURN, _KILL),  # numbers of another architecture, for which the list is wrong
        step(_LOAD, _NUMBER_AT),
    ]
    for call in (call for calls in ALLOWED.values() for call in calls.values()):
        checks = [
            check
            for argument, values in (*call.only.items(), *((null, (0,)) for null in call.null))
            for half in ((0, 4) if argument in call.null else (0,))
            for check in one_of(_ARGUMENTS_AT + 8 * argument + half, values)
        ]
        if (number := call.numbers[machine.column]) >= 0:
            program += [step(_JUMP_IF_EQUAL, number, 0, len(checks) + 1), *checks, step(_RETURN, _ALLOW)]
    program += [step(_JUMP_IF_EQUAL, _CLONE3[machine.column], 0, 1), step(_RETURN, _REFUSE | errno.ENOSYS)]
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
