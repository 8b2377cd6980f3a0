"""The machine below the measurement: who uses its cores, and how much memory a process has."""

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import clock_gettime
from typing import Final, TypeVar

Figure = TypeVar("Figure", int, float)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _LAST = 3, 4, 8  # columns of /proc/stat; what follows is contained in the earlier ones
_PARENT, _ENDED = 1, slice(13, 15)  # columns of /proc/PID/stat behind the name; times of children that ended


class Load:
    """Load of the cores by others than this process and all below it, from here to ``others``."""

    def __init__(self) -> None:
        self._total, self._busy = _ticks()
        self._ours = tree_cpu_s(os.getpid())

    def others(self) -> float:
        """The share of all cores, 0 to 1, that other processes (and the host) have used since."""
        total, busy = _ticks()
        ours = (tree_cpu_s(os.getpid()) - self._ours) * _TICKS_PER_S
        return max(0.0, (busy - self._busy - ours) / max(1, total - self._total))


def _ticks() -> tuple[int, int]:
    with open("/proc/stat", encoding="ascii") as stat:
        columns = [int(word) for word in stat.readline().split()[1 : _LAST + 1]]
    total = sum(columns)
    return total, total - columns[_IDLE] - columns[_IOWAIT]


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all below it, with threads and children that have ended.

    Raises:
        OSError: the process has ended.
    """
    return _cpu_s(pid) + _sum_below(pid, _cpu_s)


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and of all below it; what they share counts for each.

    Raises:
        OSError: the process has ended.
    """
    return rss_bytes(pid) + _sum_below(pid, rss_bytes)


def _sum_below(pid: int, figure: Callable[[int], Figure]) -> Figure:
    found = figure(pid) * 0
    for child in _below(pid):
        with suppress(OSError, LookupError):  # it ended since it was listed
            found += figure(child)
    return found


def _below(pid: int) -> list[int]:
    """Return the processes that *pid* has started, those that these have started, and so on."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended since it was listed
            children.setdefault(int(_stat(int(process.name))[_PARENT]), []).append(int(process.name))
    found = children.get(pid, []).copy()
    for process_id in found:  # grows meanwhile
        found += children.get(process_id, [])
    return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process with all its threads, in nanoseconds' steps, and of its ended children."""
    ended = sum(map(int, _stat(pid)[_ENDED])) / _TICKS_PER_S
    return clock_gettime(~pid << 3 | 2) + ended  # CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it


def bytes_read(pid: int) -> int:
    """Bytes that a process has read from files and sockets, cached or not."""
    return int(Path(f"/proc/{pid}/io").read_text(encoding="ascii").partition("rchar: ")[2].split()[0])


def tree_wakeups(pid: int) -> int:
    """Times that threads of a process and of all below it were woken, as far as they are still there."""
    return _wakeups(pid) + _sum_below(pid, _wakeups)


def _wakeups(pid: int) -> int:
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text(encoding="ascii")
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0])
    return found


def cpu_seconds() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of this process, or of *pid*, now."""
    return _status("VmRSS", pid)


def forget_peak_rss(pid: int | None = None) -> None:
    """Let ``peak_rss_bytes`` count from here."""
    Path(f"/proc/{pid or 'self'}/clear_refs").write_text("5", encoding="ascii")


def peak_rss_bytes(pid: int | None = None) -> int:
    """The most resident memory that this process, or *pid*, has had since ``forget_peak_rss``."""
    return _status("VmHWM", pid)


def _status(name: str, pid: int | None = None) -> int:
    with open(f"/proc/{pid or 'self'}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    raise LookupError(f"the status of the process has no {name}")


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, as far as its hard limit lets it.

    Raises:
        OSError: the hard limit is below *count*.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise OSError(f"{count} open files are needed, the hard limit is {hard} (see: ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def pin_to_core(number: int, pid: int = 0) -> int | None:
    """Keep this process, or *pid*, on the *number*-th core it may use; ``None`` if it may use one only."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    core = cores[number % len(cores)]
    os.sched_setaffinity(pid, {core})
    return core
