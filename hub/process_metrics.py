"""Metrics of the operating system about this process.

Names and units are those of Prometheus' own clients. The collector is fast even with ten thousand
connections: it does not list a directory where the kernel provides a count.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PAGE_BYTES: Final = resource.getpagesize()
STARTTIME: Final = 21  # of the fields of /proc/PID/stat, proc(5), counted from 0
AFTER_NAME: Final = 2  # as many of them end with the name, which may have spaces in it


class ProcessCollector(Collector):
    """Collector of process_*: memory, CPU time, file descriptors and start; unknown values are omitted.

    Args:
        proc: folder of the kernel about this process, see proc(5).
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._self = proc / "self"
        self._started = _started(proc)

    @staticmethod
    def cpu_s() -> float:
        """Return the CPU time spent, in seconds."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def memory_bytes(self) -> tuple[int, int]:
        """Return the virtual and the resident memory.

        Raises:
            OSError, ValueError: this kernel has no such file.
        """
        virtual, resident = (self._self / "statm").read_text().split()[:2]
        return int(virtual) * PAGE_BYTES, int(resident) * PAGE_BYTES

    def collect(self) -> Iterator[Metric]:
        cpu = "User and system CPU time spent, in seconds."
        yield CounterMetricFamily("process_cpu_seconds", cpu, value=self.cpu_s())
        with suppress(OSError, ValueError):
            virtual, resident = self.memory_bytes()
            yield _gauge("process_virtual_memory_bytes", "Virtual memory.", virtual)
            yield _gauge("process_resident_memory_bytes", "Resident memory.", resident)
        with suppress(OSError):
            yield _gauge("process_open_fds", "Open file descriptors.", self._open_fds())
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield _gauge("process_max_fds", "As many file descriptors may be open.", most)
        if self._started is not None:
            documentation = "When the process started, in seconds since 1970."
            yield _gauge("process_start_time_seconds", documentation, self._started)

    def _open_fds(self) -> int:
        # Since Linux 6.2 the size of the directory is the number of descriptors; before, it is 0.
        folder = self._self / "fd"
        return os.stat(folder).st_size or len(os.listdir(folder)) - 1  # the listing's own is among them


def _started(proc: Path) -> float | None:
    """Return when this process started, in epoch seconds."""
    with suppress(OSError, ValueError, IndexError):
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[STARTTIME - AFTER_NAME])
        for line in (proc / "stat").read_text().splitlines():
            if line.startswith("btime "):
                return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return None


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
