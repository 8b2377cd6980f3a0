"""What the operating system says about this process."""

import os
import resource
from pathlib import Path

from hub.metrics import ProcessCollector


def told(collector: ProcessCollector) -> dict[str, float]:
    return {sample.name: sample.value for family in collector.collect() for sample in family.samples}


def test_memory_time_and_files_are_those_of_this_process() -> None:
    samples = told(ProcessCollector())
    assert samples["process_resident_memory_bytes"] > 1_000_000
    assert samples["process_virtual_memory_bytes"] >= samples["process_resident_memory_bytes"]
    assert samples["process_cpu_seconds_total"] > 0
    assert samples["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert samples["process_start_time_seconds"] > 1_500_000_000


def test_each_open_file_is_counted() -> None:
    collector = ProcessCollector()
    before = told(collector)["process_open_fds"]
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        assert told(collector)["process_open_fds"] == before + 7
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_open_files_are_counted_by_name_where_the_kernel_does_not_count_them(tmp_path: Path) -> None:
    (tmp_path / "self" / "fd").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "self" / "fd" / str(number)).touch()
    named = len(os.listdir(tmp_path / "self" / "fd"))
    counted = told(ProcessCollector(tmp_path))["process_open_fds"]
    assert counted in (named - 1, os.stat(tmp_path / "self" / "fd").st_size)


def test_a_system_that_tells_nothing_costs_the_numbers_and_no_error(tmp_path: Path) -> None:
    samples = told(ProcessCollector(tmp_path))
    assert set(samples) == {"process_cpu_seconds_total", "process_max_fds"}
