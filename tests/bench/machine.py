"""The machine below the measurement: who uses its cores, and how much memory a process has."""

import os
import resource
from collections.abc import Collection
from pathlib import Path
from time import clock_gettime
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _LAST = 3, 4, 8  # columns of /proc/stat; what follows is contained in the earlier ones


class Load:
    """How busy the cores are with others, from here to ``others``.

    Args:
        own: process ids that are ours and live until ``others`` was asked. This process and
            what it starts and waits for until then are ours anyway.
    """

    def __init__(self, own: Collection[int]) -> None:
        self._own = own
        self._total, self._busy = _ticks()
        self._ours = self._used_by_us()

    def others(self) -> float:
        """The share of all cores, 0 to 1, that other processes (and the host) have used since."""
        total, busy = _ticks()
        ours = self._used_by_us() - self._ours
        return max(0.0, (busy - self._busy - ours) / max(1, total - self._total))

    def _used_by_us(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (cpu_seconds() + ended.ru_utime + ended.ru_stime) * TICKS_PER_S + sum(
            map(cpu_ticks, self._own)
        )


def _ticks() -> tuple[int, int]:
    with open("/proc/stat", encoding="ascii") as stat:
        columns = [int(word) for word in stat.readline().split()[1 : _LAST + 1]]
    total = sum(columns)
    return total, total - columns[_IDLE] - columns[_IOWAIT]


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in ticks of the kernel (usually 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_time(pid: int) -> float:
    """Seconds of CPU of a process with all its threads, also those that have ended, in nanoseconds' steps."""
    return clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it


def bytes_read(pid: int) -> int:
    """Bytes that a process has read from files and sockets, cached or not."""
    return int(Path(f"/proc/{pid}/io").read_text(encoding="ascii").partition("rchar: ")[2].split()[0])


def wakeups(pid: int) -> int:
    """Times that threads of a process were woken, as far as the threads are still there."""
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
