"""Sandbox of a process for untrusted files: limits, and blocked system calls and files.

An untrusted file may exploit a hole in its parser. So the parsing process irrevocably limits its memory,
time, output, descriptors and threads. On Linux, it also gives up everything else (on other systems, it keeps
its network and file access):

* it has no descriptor of its parent but its input, its output and its errors;
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
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1  # of seccomp(2); prctl cannot install filters for existing threads
_FOR_ALL_THREADS: Final = 1
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_LANDLOCK_CREATE_RULESET: Final = 444  # these three are the same on all machines
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION: Final = 1  # flag that asks for the version alone
_LANDLOCK_TCP: Final = 0b11  # bind and connect; version 4
_LANDLOCK_SCOPES: Final = 0b11  # abstract sockets and signals; version 6
_LANDLOCK_BENEATH: Final = 1  # kind of a rule: a path and what is below it
_LANDLOCK_FILES: Final = {1: 13, 2: 14, 3: 15, 4: 15}  # number of rights on files by version; 16 since 5
_LANDLOCK_READ: Final = 0b0101  # run and read a file
_LANDLOCK_LIST: Final = 0b1000  # list a folder

# The usual limit, which runtimes expect: Node opens all modules that one imports at once, 100 for a small
# server. Pipes and sockets hold memory of the kernel, which no other limit counts: 200 MB at most.
_MAX_DESCRIPTORS: Final = 1_024
_MAX_THREADS: Final = 64  # binding if the process is not root outside

# struct seccomp_data: the call's number, the architecture, then six arguments of 8 bytes, low half first on
# both machines.
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0000  # with an errno in the low half


class _Machine(NamedTuple):
    """Architecture: the kernel's constant, and where its numbers are listed."""

    audit: int  # AUDIT_ARCH_*
    column: int  # in Call.numbers
    seccomp: int  # number of seccomp(2) itself


_MACHINES: Final = {"x86_64": _Machine(0xC000_003E, 0, 317), "aarch64": _Machine(0xC000_00B7, 1, 277)}


class SystemCall(NamedTuple):
    """Allowed system call.

    Attributes:
        numbers: on x86-64 and on ARM64; -1 where the call does not exist.
        only: the allowed values by argument, counted from 0. The kernel reads 32 bits of each of them.
        null: arguments that must be null pointers.
        bits: by argument, a mask and the value that its bits must have.
    """

    numbers: tuple[int, int]
    only: Mapping[int, Sequence[int]] = {}
    null: Sequence[int] = ()
    bits: Mapping[int, tuple[int, int]] = {}


_ITSELF: Final = -1  # for the id of the process itself, which is known only there
_THREAD_FLAGS: Final = (0x003D_0F00, 0x007D_0F00)  # of pthread_create, by glibc and by musl
_OWN_CLOCKS: Final = range(8)  # others are of devices, or processor times of other processes

# Allowed calls, by what they reach.
ALLOWED: Final[dict[str, dict[str, SystemCall]]] = {
    "the input and the answer, which are open, and pipes and pairs of sockets of its own": {
        "read": SystemCall((0, 63)),
        "write": SystemCall((1, 64)),
        "close": SystemCall((3, 57)),
        "fstat": SystemCall((5, 80)),
        "poll": SystemCall((7, -1)),
        "lseek": SystemCall((8, 62)),
        "ioctl": SystemCall(
            (16, 29), {1: (0x5401, 0x5421, 0x5450, 0x5451)}
        ),  # TCGETS, FIONBIO, FIONCLEX, FIOCLEX
        "pread64": SystemCall((17, 67)),
        "pwrite64": SystemCall((18, 68)),
        "readv": SystemCall((19, 65)),
        "writev": SystemCall((20, 66)),
        "dup": SystemCall((32, 23)),
        "sendto": SystemCall(
            (44, 206), null=(4,)
        ),  # no address: kreuzberg's threads wake each other by a pair
        "recvfrom": SystemCall((45, 207)),
        "socketpair": SystemCall((53, 199), {0: (1,)}),  # AF_UNIX
        # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. Others name a receiver of signals, lock a file
        # for other processes, or change how the parent reads the answer.
        "fcntl": SystemCall((72, 25), {1: (0, 1, 2, 3, 1030)}),
        "epoll_wait": SystemCall((232, -1)),
        "epoll_ctl": SystemCall((233, 21)),
        "ppoll": SystemCall((271, 73)),
        "epoll_pwait": SystemCall((281, 22)),
        "eventfd2": SystemCall((290, 19)),
        "epoll_create1": SystemCall((291, 20)),
        "pipe2": SystemCall((293, 59)),
    },
    "its own memory": {
        "mmap": SystemCall((9, 222)),
        "mprotect": SystemCall((10, 226)),
        "munmap": SystemCall((11, 215)),
        "brk": SystemCall((12, 214)),
        "mremap": SystemCall((25, 216)),
        # Without MADV_MERGEABLE and MADV_PAGEOUT, which measure and slow the memory of others.
        "madvise": SystemCall((28, 233), {2: (0, 1, 2, 3, 4, 8, 14, 15, 16, 17)}),
    },
    "its own threads and signal handlers": {
        "rt_sigaction": SystemCall((13, 134)),
        "rt_sigprocmask": SystemCall((14, 135)),
        "rt_sigreturn": SystemCall((15, 139)),
        "sched_yield": SystemCall((24, 124)),
        "nanosleep": SystemCall((35, 101)),
        "clone": SystemCall((56, 220), {0: _THREAD_FLAGS}),
        "exit": SystemCall((60, 93)),
        "sigaltstack": SystemCall((131, 132)),
        "prctl": SystemCall((157, 167), {0: (15,)}),  # PR_SET_NAME
        "futex": SystemCall((202, 98)),
        "set_tid_address": SystemCall((218, 96)),
        "restart_syscall": SystemCall((219, 128)),
        "clock_nanosleep": SystemCall((230, 115), {0: _OWN_CLOCKS}),
        "exit_group": SystemCall((231, 94)),
        "tgkill": SystemCall((234, 131), {0: (_ITSELF,)}),  # abort() ends with it
        "set_robust_list": SystemCall((273, 99)),
        "membarrier": SystemCall((324, 283), {0: (0, 8, 16)}),  # of its own threads alone
        "rseq": SystemCall((334, 293)),
    },
    "what the kernel says of time, chance, the machine and the process itself": {
        "getpid": SystemCall((39, 172)),
        "uname": SystemCall((63, 160)),
        "gettimeofday": SystemCall((96, 169)),
        "getrusage": SystemCall((98, 165)),
        "sysinfo": SystemCall((99, 179)),
        "times": SystemCall((100, 153)),
        "getuid": SystemCall((102, 174)),
        "getgid": SystemCall((104, 176)),
        "geteuid": SystemCall((107, 175)),
        "getegid": SystemCall((108, 177)),
        "getppid": SystemCall((110, 173)),
        "gettid": SystemCall((186, 178)),
        "sched_getaffinity": SystemCall((204, 123), {0: (0,)}),
        "clock_gettime": SystemCall((228, 113), {0: _OWN_CLOCKS}),
        "clock_getres": SystemCall((229, 114), {0: _OWN_CLOCKS}),
        "prlimit64": SystemCall((302, 261), {0: (0,)}, null=(2,)),  # reads its own limits
        "getrandom": SystemCall((318, 278)),
    },
}
_CLONE_THREAD: Final = 0x0001_0000
_CLONE_NAMESPACES: Final = 0x7E02_0080  # all CLONE_NEW*
_MAP_SHARED: Final = 0x01  # memory that no limit of the process counts
# Calls that a program of others may make in addition: it starts after the lock, reads files that Landlock
# allows, and has a runtime of its own. Still without sockets, other processes and writing of files.
FOR_PROGRAMS: Final[dict[str, dict[str, SystemCall]]] = {
    "files, which Landlock limits": {
        "open": SystemCall((2, -1)),
        "openat": SystemCall((257, 56)),
        "stat": SystemCall((4, -1)),
        "lstat": SystemCall((6, -1)),
        "newfstatat": SystemCall((262, 79)),
        "statx": SystemCall((332, 291)),
        "access": SystemCall((21, -1)),
        "faccessat": SystemCall((269, 48)),
        "faccessat2": SystemCall((439, 439)),
        "readlink": SystemCall((89, -1)),
        "readlinkat": SystemCall((267, 78)),
        "getcwd": SystemCall((79, 17)),
        "chdir": SystemCall((80, 49)),
        "getdents64": SystemCall((217, 61)),
        "fadvise64": SystemCall((221, 223)),
        "preadv": SystemCall((295, 69)),
        "execve": SystemCall((59, 221)),
        # TIOCGWINSZ and FIONREAD in addition; F_SETFL, as runtimes make pipes non-blocking.
        "ioctl": SystemCall((16, 29), {1: (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)}),
        "fcntl": SystemCall((72, 25), {1: (0, 1, 2, 3, 4, 1030)}),
    },
    "pipes, timers and pairs of stream sockets, which take no address": {
        "socketpair": SystemCall((53, 199), {0: (1,), 1: (0x1, 0x801, 0x8_0001, 0x8_0801)}),
        "getsockname": SystemCall((51, 204)),
        "getpeername": SystemCall((52, 205)),
        "getsockopt": SystemCall((55, 209)),
        "shutdown": SystemCall((48, 210)),
        "pipe": SystemCall((22, -1)),
        "dup2": SystemCall((33, -1)),
        "dup3": SystemCall((292, 24)),
        "select": SystemCall((23, -1)),
        "pselect6": SystemCall((270, 72)),
        "epoll_create": SystemCall((213, -1)),
        "epoll_pwait2": SystemCall((441, 441)),
        "eventfd": SystemCall((284, -1)),
        "timerfd_create": SystemCall((283, 85)),
        "timerfd_settime": SystemCall((286, 86)),
        "timerfd_gettime": SystemCall((287, 87)),
    },
    "memory, threads and signals of its own": {
        "mmap": SystemCall((9, 222), bits={3: (_MAP_SHARED, 0)}),
        "madvise": SystemCall((28, 233), {2: (0, 1, 2, 3, 4, 8, 10, 14, 15, 16, 17)}),
        "mincore": SystemCall((27, 232)),
        "clone": SystemCall((56, 220), bits={0: (_CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD)}),
        "prctl": SystemCall((157, 167), {0: (15, 16, 0x53564D41)}),  # PR_GET_NAME, PR_SET_VMA
        "arch_prctl": SystemCall((158, -1)),
        "get_robust_list": SystemCall((274, 100), {0: (0,)}),
        "wait4": SystemCall((61, 260)),
        "kill": SystemCall((62, 129), {0: (_ITSELF,)}),
        "tkill": SystemCall((200, 130), {0: (_ITSELF,)}),
        "pause": SystemCall((34, -1)),
        "alarm": SystemCall((37, -1)),
        "getitimer": SystemCall((36, 102)),
        "setitimer": SystemCall((38, 103)),
        "rt_sigpending": SystemCall((127, 136)),
        "rt_sigtimedwait": SystemCall((128, 137)),
        "rt_sigsuspend": SystemCall((130, 133)),
        "umask": SystemCall((95, 166)),
    },
    "what the kernel says of it": {
        "time": SystemCall((201, -1)),
        "getcpu": SystemCall((309, 168)),
        "getpgrp": SystemCall((111, -1)),
        "getpgid": SystemCall((121, 155), {0: (0,)}),
        "getsid": SystemCall((124, 156), {0: (0,)}),
        "getgroups": SystemCall((115, 158)),
        "getresuid": SystemCall((118, 148)),
        "getresgid": SystemCall((120, 150)),
        "getrlimit": SystemCall((97, 163)),
        "getpriority": SystemCall((140, 141), {1: (0,)}),
        "sched_getparam": SystemCall((143, 121), {0: (0, _ITSELF)}),
        "sched_getscheduler": SystemCall((145, 120), {0: (0, _ITSELF)}),
        "sched_get_priority_max": SystemCall((146, 125)),
        "sched_get_priority_min": SystemCall((147, 126)),
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
        (resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError) as error:
            if kind != resource.RLIMIT_AS or sys.platform == "linux":
                raise Unconfined("its memory and time cannot be limited") from error


def close_descriptors() -> None:
    """Close all descriptors but standard input, output and error, whatever this process inherited.

    Raises:
        OSError: the open descriptors cannot be listed.
    """
    for number in map(int, os.listdir("/dev/fd")):
        if number > 2:
            with contextlib.suppress(OSError):  # the list's own descriptor is closed already
                os.close(number)


def die_with(parent: int) -> None:
    """Bind this process's life to the process *parent*, and make it the OOM killer's first choice."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    if os.getppid() != parent:
        os._exit(1)


def landlock_version() -> int:
    """Return the version of Landlock in this kernel; below 1 without it."""
    if sys.platform != "linux":
        return 0
    size = ctypes.c_size_t(0)
    return int(_libc().syscall(_LANDLOCK_CREATE_RULESET, None, size, _LANDLOCK_VERSION))


def leave_others() -> bool:
    """Give up the network and other processes, where the kernel permits; return True if the network is left.

    Must be called while the process has a single thread, as Landlock binds the calling thread alone.
    """
    if sys.platform != "linux":
        return False
    libc = _libc()
    is_apart = bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)
    # The count is of this user namespace; in the one outside it is of all the user's.
    most = _MAX_THREADS + (0 if is_apart else _threads_of(os.getuid()))
    with contextlib.suppress(ValueError):  # a limit below is in force already
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    version = landlock_version()
    if version >= 4:
        scopes = struct.pack("=Q", _LANDLOCK_SCOPES) if version >= 6 else b""
        rules = struct.pack("=QQ", 0, _LANDLOCK_TCP) + scopes
        ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
    return is_apart


def _threads_of(user: int) -> int:
    """Return the number of threads of all processes of *user* that this process can see."""
    found = 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if os.stat(f"/proc/{process}").st_uid == user:
                found += len(os.listdir(f"/proc/{process}/task"))
    return found


def leave_files(readable: Sequence[str]) -> bool:
    """Give up all files but those in *readable*, which stay readable; return False without Landlock.

    Opened files stay open. Must be called while the process has a single thread.

    Raises:
        OSError: a path of *readable* cannot be opened.
    """
    libc, version = _libc(), landlock_version()
    if version < 1:
        return False
    rights = struct.pack("=Q", (1 << _LANDLOCK_FILES.get(version, 16)) - 1)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0)
    for path in readable:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = _LANDLOCK_READ | (_LANDLOCK_LIST if os.path.isdir(path) else 0)
        rule = struct.pack("=Qi", allowed, place)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_BENEATH, rule, 0)
        os.close(place)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    is_restricted = bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    os.close(ruleset)
    return is_restricted


def lock(more: Mapping[str, Mapping[str, SystemCall]] = {}) -> bool:
    """Restrict all threads to open descriptors and allowed system calls; return False if unsupported.

    Args:
        more: allowed in addition; a call of the same name replaces that of ``ALLOWED``.
    """
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        return False
    calls = {name: call for part in (*ALLOWED.values(), *more.values()) for name, call in part.items()}
    return _install(machine, _rule(machine, os.getpid(), calls.values()))


def _rule(machine: _Machine, pid: int, calls: Iterable[SystemCall]) -> bytes:
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
    for call in calls:
        checks = [
            check
            for argument, (mask, value) in call.bits.items()
            for check in (
                step(_LOAD, _ARGUMENTS_AT + 8 * argument),
                step(_AND, mask),
                step(_JUMP_IF_EQUAL, value, 1),
                step(_RETURN, _REFUSE | errno.EPERM),
            )
        ]
        checks += [
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
